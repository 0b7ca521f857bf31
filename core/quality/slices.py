"""Central planes of tomograms, and single images, as small grey pictures.

Only the planes that are needed are read, never a whole volume. ``python -P -m core.quality.slices`` reads one request
(JSON) from its input and writes one answer (JSON): numpy stays in that process, away from the app.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import struct
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import CrboostError, InputError
from core.files import read_error, replace_bytes
from core.formats.mrc import HEADER_BYTES, MrcHeader, read_mrc_header
from core.quality.graphics import png, sixel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Plane = NDArray[np.float32]

SLAB_NM = 10.0
SLICES_WITHOUT_PIXEL = 10
"""How many are averaged where the header has no pixel size."""
READ_BYTES = 256 * 1024 * 1024
"""No plane reads more than this: of a huge volume the slab becomes thinner."""
KEPT_PX = 1024
"""Long side of the planes that are kept for a terminal of another size."""
KEPT_FILES = 60
GAP = 2
"""Cells between pictures that stand side by side."""
TINY_PX = 24
LEAST_COLUMNS = 12
"""A picture has at least this room for its title."""
GREY_PERCENTILES = (1.0, 99.0)

_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


@dataclass(frozen=True, slots=True)
class Request:
    """``columns`` and ``rows``: cells of the terminal that the pictures, their titles and scale bars may take;
    ``cell_width`` and ``cell_height``: pixels of a cell (1 and 2 with half blocks). ``form`` of the pictures: ``grey``
    (one byte for each pixel), ``png`` or ``sixel``. ``cache``: a folder, "" to keep nothing."""

    path: str
    columns: int
    rows: int
    cell_width: int = 1
    cell_height: int = 2
    form: str = "grey"
    cache: str = ""


@dataclass(frozen=True, slots=True)
class Slab:
    """One picture. ``plane``: ``XY``, ``XZ`` or ``image``; ``what``: which slices it is the mean of, in words (counted
    from 1). ``x`` and ``y``: its place in cells; its title is the line above it, its scale bar
    the line below. ``angstrom_per_px`` is of the picture's own pixels, 0 where the header says none. ``flat``: every
    value is the same."""

    plane: str
    x: int
    y: int
    width_px: int
    height_px: int
    angstrom_per_px: float
    what: str
    flat: bool
    data: bytes


def arrange(columns: int, rows: int, cell: tuple[int, int], sizes: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Pictures of ``sizes`` (voxels) side by side or below each other, whichever shows them larger; at one scale, but
    each at its own where one scale would leave a picture tiny.

    For each its place (x, y) in cells and its size in pixels. Every picture has a line above and one below it.
    """
    number = len(sizes)
    wide = (max(1, columns - GAP * (number - 1)) * cell[0], max(1, rows - 2) * cell[1])
    high = (columns * cell[0], max(1, rows - 3 * number + 1) * cell[1])  # each may fill its last line in part
    across = min(wide[0] / sum(x for x, _ in sizes), wide[1] / max(y for _, y in sizes))
    down = min(high[0] / max(x for x, _ in sizes), high[1] / sum(y for _, y in sizes))
    scale = max(across, down)
    scales = [scale] * number
    own = [min(wide[0] / number / x, wide[1] / y) for x, y in sizes]
    beside = across >= down
    if max(own) > 3 * scale and min(map(min, sizes)) * scale < TINY_PX:
        scales, beside = own, True
    found: list[tuple[int, ...]] = []
    x = y = 0
    for (nx, ny), scale in zip(sizes, scales, strict=True):
        width, height = max(1, int(nx * scale)), max(1, int(ny * scale))
        found.append((x, y + 1, width, height))
        if beside:
            x += max(-(-width // cell[0]), LEAST_COLUMNS) + GAP
        else:
            y += -(-height // cell[1]) + 2
    return found


def make(request: Request) -> list[Slab]:
    """The pictures of a file: XY and XZ of a volume, one picture of an image. Raises :class:`InputError`."""
    path = Path(request.path)
    header = _checked_header(path)
    pixel = header.pixel_size_angstrom or 0.0
    planes = ["XY", "XZ"] if header.nz > 1 else ["image"]
    sizes = [(header.nx, header.nz if plane == "XZ" else header.ny) for plane in planes]
    places = arrange(request.columns, request.rows, (request.cell_width, request.cell_height), sizes)
    found = []
    for plane, size, (x, y, width, height) in zip(planes, sizes, places, strict=True):
        mean = _kept(path, header, plane, request.cache)
        grey, flat = _grey(_resized(mean, width, height))
        data = {"png": png, "sixel": sixel}[request.form](grey) if request.form != "grey" else grey.tobytes()
        scale = pixel * size[0] / width
        found.append(Slab(plane, x, y, width, height, scale, _what(header, plane), flat, data))
    return found


def central(header: MrcHeader, plane: str) -> tuple[int, int]:
    """The slices of the central slab, from the first to before the last."""
    count = header.ny if plane == "XZ" else header.nz
    if plane == "image":
        return 0, 1
    pixel = header.pixel_size_angstrom
    wanted = round(SLAB_NM * 10.0 / pixel) if pixel else SLICES_WITHOUT_PIXEL
    item = _item_bytes(header)
    one = header.nx * item * (header.nz if plane == "XZ" else header.ny)
    number = max(1, min(wanted, count, READ_BYTES // max(one, 1)))
    first = (count - number) // 2
    return first, first + number


def _what(header: MrcHeader, plane: str) -> str:
    """``10 nm: slices 146–155 of 300``."""
    pixel = header.pixel_size_angstrom
    if plane == "image":
        return f"{header.nx} × {header.ny} px" + (f" of {pixel:.3g} Å" if pixel else "")
    first, last = central(header, plane)
    name, count = ("rows", header.ny) if plane == "XZ" else ("slices", header.nz)
    thick = f"{(last - first) * pixel / 10.0:.3g} nm: " if pixel else ""
    return f"{thick}{name} {first + 1}–{last} of {count}"


def read_plane(path: Path, header: MrcHeader, plane: str) -> Plane:
    """The mean of the central slab, as it is shown: the first row is the top, so Y (or Z) grows upward as in 3dmod."""
    import numpy as np

    first, last = central(header, plane)
    kind = np.dtype(_order(path, header) + _TYPES[header.mode])
    row = header.nx * kind.itemsize
    start = HEADER_BYTES + header.extended_bytes
    with open(path, "rb", buffering=0) as stream:

        def read(offset: int, rows: int) -> NDArray[Any]:
            data = b""
            while len(data) < rows * row:
                piece = os.pread(stream.fileno(), rows * row - len(data), offset + len(data))
                if not piece:
                    raise InputError("became shorter while it was read.", path)
                data = data + piece if data else piece
            return np.frombuffer(data, kind).reshape(rows, header.nx)

        if plane == "XZ":
            mean = np.empty((header.nz, header.nx), np.float32)
            for z in range(header.nz):
                offset = start + (z * header.ny + first) * row
                mean[z] = read(offset, last - first).mean(axis=0, dtype=np.float32)
        else:
            mean = np.zeros((header.ny, header.nx), np.float32)
            for z in range(first, last):
                mean += read(start + z * header.ny * row, header.ny)
            mean /= np.float32(last - first)
    return mean[::-1]


def _checked_header(path: Path) -> MrcHeader:
    header = read_mrc_header(path)
    if not header.whole:
        size, unit = (1e6, "MB") if header.expected_bytes >= 1e7 else (1e3, "kB")
        there, whole = header.actual_bytes / size, header.expected_bytes / size
        digits = 0 if f"{there:.0f}" != f"{whole:.0f}" else 3
        raise InputError(f"is cut short: {there:.{digits}f} of {whole:.{digits}f} {unit}.", path)
    if header.mode not in _TYPES:
        raise InputError(f"holds values of MRC mode {header.mode}, which cannot be shown as a picture.", path)
    return header


def _item_bytes(header: MrcHeader) -> int:
    return int(_TYPES[header.mode][1:])


def _order(path: Path, header: MrcHeader) -> str:
    try:
        with open(path, "rb") as stream:
            return "<" if struct.unpack("<i", stream.read(4))[0] == header.nx else ">"
    except OSError as error:
        raise read_error(path, error) from error


def _kept(path: Path, header: MrcHeader, plane: str, cache: str) -> Plane:
    """The plane, at most :data:`KEPT_PX` wide and high, from the cache where the file has not changed since."""
    import numpy as np

    name = Path()
    if cache:
        status = path.stat()
        mark = f"{path.absolute()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ino}|{plane}|{SLAB_NM}"
        name = Path(cache) / f"{hashlib.sha1(mark.encode()).hexdigest()}.npy"
        with contextlib.suppress(OSError, ValueError):
            known: Plane = np.load(name, allow_pickle=False)
            return known
    try:
        mean = read_plane(path, header, plane)
    except OSError as error:
        raise read_error(path, error) from error
    height, width = mean.shape
    shrink = min(1.0, KEPT_PX / max(height, width))
    mean = _resized(mean, max(1, round(width * shrink)), max(1, round(height * shrink)))
    if cache:
        with contextlib.suppress(OSError, CrboostError):  # it only saves time
            data = io.BytesIO()
            np.save(data, mean)
            name.parent.mkdir(parents=True, exist_ok=True)
            replace_bytes(name, data.getvalue())
            kept = sorted(name.parent.glob("*.npy"), key=lambda one: one.stat().st_mtime)
            for old in kept[:-KEPT_FILES]:
                old.unlink()
    return mean


def _resized(plane: Plane, width: int, height: int) -> Plane:
    """Means of blocks where the picture becomes smaller, repeated pixels where it becomes larger."""
    import numpy as np

    for axis, size in ((0, height), (1, width)):
        before = plane.shape[axis]
        if size < before:
            edges = np.arange(size) * before // size
            counts = np.diff(np.append(edges, before)).astype(np.float32)
            plane = (np.add.reduceat(plane, edges, axis=axis) / np.expand_dims(counts, 1 - axis)).astype(np.float32)
        elif size > before:
            plane = np.take(plane, np.arange(size) * before // size, axis=axis)
    return plane


def _grey(plane: Plane) -> tuple[NDArray[np.uint8], bool]:
    """Black and white are percentiles; and whether all values are the same."""
    import numpy as np

    finite = plane[np.isfinite(plane)]
    low, high = np.percentile(finite, GREY_PERCENTILES) if finite.size else (0.0, 0.0)
    if high <= low and finite.size:
        low, high = finite.min(), finite.max()
    if not high > low:
        return np.full(plane.shape, 127, np.uint8), True
    scaled = (np.nan_to_num(plane, nan=low, posinf=high, neginf=low) - low) * (255.0 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8), False


def as_json(slabs: list[Slab]) -> str:
    return json.dumps(
        [
            {field.name: getattr(slab, field.name) for field in fields(slab) if field.name != "data"}
            | {"data": base64.b64encode(slab.data).decode("ascii")}
            for slab in slabs
        ]
    )


def from_json(text: bytes) -> list[Slab]:
    """The answer of the worker process. Raises :class:`InputError` with its sentence where it could make none."""
    try:
        found = json.loads(text)
        if isinstance(found, dict):
            raise InputError(str(found["error"]))
        return [Slab(**{**one, "data": base64.b64decode(one["data"])}) for one in found]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("The pictures could not be made: their worker process ended without an answer.") from error


def main() -> int:
    request = Request(**json.loads(sys.stdin.buffer.read()))
    try:
        answer = as_json(make(request))
    except (CrboostError, OSError) as error:
        answer = json.dumps({"error": str(error)})
    sys.stdout.write(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
