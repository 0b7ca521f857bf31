"""The header of a movie: EER, TIFF or MRC. Only headers are read, by ``struct``: a data set has 100,000 movies, and
what reads their images costs a hundred times more.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from core.files import read_error
from core.formats.mrc import read_mrc_header

EER_COMPRESSIONS = (65000, 65001, 65002)
_EER_METADATA_TAG = 65001
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGER_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MOST_FRAMES = 1_000_000
_ITEM = re.compile(r'<item\s+name="(?P<name>[^"]+)"(?:\s+unit="(?P<unit>[^"]*)")?[^>]*>(?P<value>[^<]*)</item>')
_METRE_IN_ANGSTROM = {"m": 1e10, "nm": 10.0, "um": 1e4, "A": 1.0}


@dataclass(frozen=True, slots=True)
class MovieHeader:
    """``frames`` of an EER movie are its raw frames. ``pixel_size_angstrom`` is None where the header has none (or has
    a printer's resolution). ``kind`` is ``EER``, ``TIFF`` or ``MRC``."""

    width_px: int
    height_px: int
    frames: int
    pixel_size_angstrom: float | None
    kind: str


def read_movie_header(path: Path) -> MovieHeader:
    """Read a movie's header, its kind found by its content. Raises :class:`InputError` where it is none or cut off."""
    try:
        with open(path, "rb", buffering=0) as stream:
            if stream.read(4) in _TIFF_MAGIC:
                return _Tiff(path, stream.fileno()).header()
    except OSError as error:
        raise read_error(path, error) from error
    header = read_mrc_header(path)
    if not header.whole:
        raise InputError(
            f"was cut off: it has {header.actual_bytes} bytes where its header says {header.expected_bytes}.", path
        )
    return MovieHeader(header.nx, header.ny, header.nz, header.pixel_size_angstrom, "MRC")


class _Tiff:
    """Reads directories (IFDs) of a classic or BigTIFF file at their offsets, one ``pread`` each."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        start = os.pread(descriptor, 16, 0)
        self.order = "<" if start[:2] == b"II" else ">"
        self.big = struct.unpack_from(self.order + "H", start, 2)[0] == 43
        if len(start) < 16:
            raise self._cut_off()
        self.first = struct.unpack_from(self.order + ("Q" if self.big else "I"), start, 8 if self.big else 4)[0]

    def header(self) -> MovieHeader:
        tags, following = self._directory(self.first)
        width, height = self._integer(tags, 256), self._integer(tags, 257)
        if width <= 0 or height <= 0:
            raise InputError("is a TIFF file without an image size.", self.path)
        if self._integer(tags, 259) in EER_COMPRESSIONS:
            return self._eer(tags, following, width, height)
        frames = 1 + sum(1 for _ in self._walk(following))
        return MovieHeader(width, height, frames, self._resolution(tags), "TIFF")

    def _eer(self, tags: dict[int, tuple[int, int, bytes]], following: int, width: int, height: int) -> MovieHeader:
        text = self._bytes(tags[_EER_METADATA_TAG]).decode("utf-8", "replace") if _EER_METADATA_TAG in tags else ""
        items = {match["name"]: (match["value"].strip(), match["unit"] or "m") for match in _ITEM.finditer(text)}
        frames = _number(items.get("numberOfFrames", ("", ""))[0])
        value, unit = items.get("sensorPixelSize.width", ("", "m"))
        pixel = _number(value) * _METRE_IN_ANGSTROM.get(unit, 0.0)
        count = int(frames)
        if count <= 0:
            # The last directory may hold the sum image, which is no frame.
            count = 1 + sum(1 for found in self._walk(following) if self._integer(found, 259) in EER_COMPRESSIONS)
        return MovieHeader(width, height, count, _plausible(pixel), "EER")

    def _walk(self, offset: int) -> list[dict[int, tuple[int, int, bytes]]]:
        found = []
        seen = {self.first}
        while offset:
            if offset in seen or len(seen) > _MOST_FRAMES:
                raise InputError("is a damaged TIFF file: its directories form a circle.", self.path)
            seen.add(offset)
            tags, offset = self._directory(offset)
            found.append(tags)
        return found

    def _directory(self, offset: int) -> tuple[dict[int, tuple[int, int, bytes]], int]:
        """Tags (number -> type, count, value bytes) of the directory at an offset, and the offset of the next one."""
        count_code, count_bytes, entry_bytes = ("Q", 8, 20) if self.big else ("H", 2, 12)
        pointer_code, pointer_bytes = ("Q", 8) if self.big else ("I", 4)
        data = os.pread(self.descriptor, 1024, offset)
        if len(data) < count_bytes:
            raise self._cut_off()
        count = struct.unpack_from(self.order + count_code, data, 0)[0]
        needed = count_bytes + count * entry_bytes + pointer_bytes
        if count > 10_000 or offset + needed > self.size:
            raise self._cut_off()
        if needed > len(data):
            data = os.pread(self.descriptor, needed, offset)
        tags = {}
        layout = struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))
        for tag, kind, values, value in layout.iter_unpack(data[count_bytes : count_bytes + count * entry_bytes]):
            tags[tag] = (kind, values, value)
        return tags, struct.unpack_from(self.order + pointer_code, data, needed - pointer_bytes)[0]

    def _bytes(self, tag: tuple[int, int, bytes]) -> bytes:
        kind, count, value = tag
        length = _VALUE_BYTES.get(kind, 1) * count
        if length <= len(value):
            return value[:length]
        offset = struct.unpack(self.order + ("Q" if self.big else "I"), value)[0]
        if offset + length > self.size:
            raise self._cut_off()
        return os.pread(self.descriptor, length, offset)

    def _integer(self, tags: dict[int, tuple[int, int, bytes]], number: int) -> int:
        tag = tags.get(number)
        if tag is None or tag[0] not in _INTEGER_CODES:
            return 0
        return int(struct.unpack_from(self.order + _INTEGER_CODES[tag[0]], self._bytes(tag))[0])

    def _resolution(self, tags: dict[int, tuple[int, int, bytes]]) -> float | None:
        unit = {2: 2.54e8, 3: 1e8}.get(self._integer(tags, 296))
        tag = tags.get(282)
        if unit is None or tag is None or tag[0] != 5:
            return None
        numerator, denominator = struct.unpack(self.order + "II", self._bytes(tag)[:8])
        if numerator == 0 or denominator == 0:
            return None
        return _plausible(unit * denominator / numerator)

    def _cut_off(self) -> InputError:
        return InputError("was cut off: it is shorter than its own directories say.", self.path)


def _plausible(pixel_angstrom: float) -> float | None:
    """A pixel on the specimen; 72 dots per inch is not one."""
    return pixel_angstrom if 0.01 <= pixel_angstrom <= 1000.0 else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
