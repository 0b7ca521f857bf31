"""Central planes of MRC files as small pictures: right, upright, and read from the few bytes that they need."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import InputError
from core.formats.mrc import read_mrc_header
from core.quality import slices
from core.quality.graphics import SIXEL_GREYS, png, sixel
from core.quality.slices import Request, arrange, central, from_json, make, read_plane

MODES = {"int8": 0, "int16": 1, "float32": 2, "uint16": 6, "float16": 12}


def write(
    path: Path, volume: NDArray[Any], pixel: float = 10.0, order: Literal["<", ">"] = "<", extended: int = 0
) -> Path:
    """An MRC file of a volume (z, y, x)."""
    nz, ny, nx = volume.shape
    head = bytearray(1024)
    struct.pack_into(order + "4i", head, 0, nx, ny, nz, MODES[volume.dtype.name])
    struct.pack_into(order + "3i", head, 28, nx, ny, nz)
    struct.pack_into(order + "3f", head, 40, nx * pixel, ny * pixel, nz * pixel)
    struct.pack_into(order + "i", head, 92, extended)
    head[212:214] = b"DD" if order == "<" else b"\x11\x11"
    path.write_bytes(bytes(head) + b"\xff" * extended + volume.astype(volume.dtype.newbyteorder(order)).tobytes())
    return path


def ramp(nz: int, ny: int, nx: int, kind: str = "float32") -> NDArray[Any]:
    """A voxel's value is 20 z + 4 y + x."""
    z, y, x = np.mgrid[:nz, :ny, :nx]
    values: NDArray[Any] = (20 * z + 4 * y + x).astype(kind)
    return values


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", MODES)
def test_planes_are_means_of_the_central_slab_in_every_kind_of_number(
    tmp_path: Path, kind: str, order: Literal["<", ">"]
) -> None:
    # 50 Å pixels: 10 nm are two slices, z = 1 and 2 of 4, and two rows, y = 2 and 3 of 6.
    path = write(tmp_path / "t.mrc", ramp(4, 6, 3, kind), 50.0, order, extended=128)
    header = read_mrc_header(path)
    assert central(header, "XY") == (1, 3)
    assert central(header, "XZ") == (2, 4)
    xy = read_plane(path, header, "XY")
    # Mean of 20 and 40 is 30; the first row is the top, that is y = 5.
    assert xy.shape == (6, 3)
    assert xy[0].tolist() == [50.0, 51.0, 52.0]
    assert xy[5].tolist() == [30.0, 31.0, 32.0]
    xz = read_plane(path, header, "XZ")
    # Mean of 4 * 2 and 4 * 3 is 10; the first row is z = 3.
    assert xz.shape == (4, 3)
    assert xz[0].tolist() == [70.0, 71.0, 72.0]
    assert xz[3].tolist() == [10.0, 11.0, 12.0]


def test_the_slab_is_10_nm_by_the_headers_pixel_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "t.mrc", ramp(30, 40, 8), 12.5)
    xy, xz = make(Request(str(path), 80, 20))
    assert (xy.plane, xy.what) == ("XY", "10 nm: slices 12–19 of 30")
    assert (xz.plane, xz.what) == ("XZ", "10 nm: rows 17–24 of 40")


def test_without_a_pixel_size_ten_slices_are_averaged_and_there_is_no_scale(tmp_path: Path) -> None:
    path = write(tmp_path / "t.mrc", ramp(30, 40, 8), 0.0)
    xy, _ = make(Request(str(path), 80, 20))
    assert xy.what == "slices 11–20 of 30"
    assert xy.angstrom_per_px == 0.0


def test_a_huge_sparse_volume_is_read_in_part_and_fast(tmp_path: Path) -> None:
    path = tmp_path / "huge.mrc"
    side, deep = 3000, 1200
    write(path, np.zeros((1, 1, 1), np.float32), 8.0)
    with open(path, "r+b") as stream:
        stream.write(struct.pack("<4i", side, side, deep, 2))
        stream.seek(28)
        stream.write(struct.pack("<3i", side, side, deep) + struct.pack("<3f", side * 8.0, side * 8.0, deep * 8.0))
        stream.truncate(1024 + side * side * deep * 4)
    assert path.stat().st_size > 40e9
    before, began = _bytes_read(), time.monotonic()
    xy, xz = make(Request(str(path), 100, 40))
    seconds, read = time.monotonic() - began, _bytes_read() - before
    assert xy.flat and xz.flat
    assert read < 2 * slices.READ_BYTES + 1_000_000
    assert seconds < 20


def test_an_image_is_shown_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "average.mrc", ramp(1, 4, 4), 1.35)
    (image,) = make(Request(str(path), 4, 4))
    assert (image.plane, image.what) == ("image", "4 × 4 px of 1.35 Å")
    grey = np.frombuffer(image.data, np.uint8).reshape(image.height_px, image.width_px)
    assert grey[0, 0] > grey[-1, 0] and grey[0, -1] > grey[0, 0]


def test_a_file_that_is_cut_short_says_how_much_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "t.mrc", ramp(100, 316, 316), 10.0)
    os.truncate(path, 12_000_000)
    with pytest.raises(InputError, match="t.mrc: is cut short: 12 of 40 MB."):
        make(Request(str(path), 80, 20))
    write(path, ramp(4, 6, 3), 10.0)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(InputError, match="is cut short: 1.311 of 1.312 kB."):
        make(Request(str(path), 80, 20))


def test_complex_numbers_are_no_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "t.mrc", np.zeros((2, 2, 4), np.float32))
    with open(path, "r+b") as stream:
        stream.write(struct.pack("<4i", 2, 2, 2, 4))
    with pytest.raises(InputError, match="MRC mode 4"):
        make(Request(str(path), 80, 20))


def test_a_smaller_picture_has_the_means_of_its_blocks_and_a_larger_one_repeats_pixels() -> None:
    plane = np.arange(24, dtype=np.float32).reshape(4, 6)
    # Blocks of 2 x 3: (0 + 1 + 2 + 6 + 7 + 8) / 6 = 4, and so on.
    assert slices._resized(plane, 2, 2).tolist() == [[4.0, 7.0], [16.0, 19.0]]
    assert slices._resized(plane[:1, :2], 4, 2).tolist() == [[0.0, 0.0, 1.0, 1.0]] * 2
    uneven = slices._resized(plane, 4, 3)
    assert uneven.shape == (3, 4)
    assert uneven[0, 0] == 0.0  # edges 0 1 3 4 of 6: the first block is one pixel


def test_contrast_is_by_percentiles_so_that_one_bead_does_not_blacken_the_rest() -> None:
    plane = np.tile(np.linspace(0, 1, 100, dtype=np.float32), (100, 1))
    plane[50, 50] = 1000.0
    plane[0, 0] = np.nan
    grey, flat = slices._grey(plane)
    assert not flat
    assert grey[10, 5] < 15 and grey[10, 95] > 240
    assert grey[50, 50] == 255 and grey[0, 0] == 0


def test_a_plane_of_one_value_is_grey_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "t.mrc", np.zeros((4, 4, 4), np.float32))
    xy, _ = make(Request(str(path), 80, 20))
    assert xy.flat and set(xy.data) == {127}


@pytest.mark.parametrize("cell", [(1, 2), (8, 16), (10, 21)])
@pytest.mark.parametrize("room", [(80, 18), (120, 28), (140, 54), (40, 6)])
@pytest.mark.parametrize("size", [(1000, 1000, 300), (400, 960, 200), (18, 18, 300), (4000, 4000, 2000)])
def test_pictures_stay_in_their_room_without_touching(
    cell: tuple[int, int], room: tuple[int, int], size: tuple[int, int, int]
) -> None:
    nx, ny, nz = size
    (x0, y0, w0, h0), (x1, y1, w1, h1) = arrange(*room, cell, [(nx, ny), (nx, nz)])
    columns, rows = room
    for x, y, width, height in ((x0, y0, w0, h0), (x1, y1, w1, h1)):
        assert x + -(-width // cell[0]) <= columns
        assert y >= 1 and y + -(-height // cell[1]) + 1 <= rows
        assert width >= 1 and height >= 1
    assert x1 >= x0 + -(-w0 // cell[0]) + 2 or y1 >= y0 + -(-h0 // cell[1]) + 2
    if size != (18, 18, 300) and rows > 6:  # one scale for both
        assert abs(w0 - w1) <= 1


def test_a_plane_is_kept_until_its_file_changes(tmp_path: Path) -> None:
    path, cache = write(tmp_path / "t.mrc", ramp(4, 6, 3)), tmp_path / "cache"
    request = Request(str(path), 80, 20, cache=str(cache))
    first = make(request)
    assert len(list(cache.glob("*.npy"))) == 2
    status = path.stat()
    with open(path, "r+b") as stream:  # other data, the same time: only what is kept can give the same picture
        stream.seek(1024)
        stream.write(np.flip(ramp(4, 6, 3)).astype("<f4").tobytes())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert make(request) == first
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert make(request)[0].data == first[0].data[::-1]


def test_only_the_newest_planes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "KEPT_FILES", 3)
    cache = tmp_path / "cache"
    for number in range(4):
        path = write(tmp_path / f"{number}.mrc", ramp(1, 4, 4))
        make(Request(str(path), 80, 20, cache=str(cache)))
    assert len(list(cache.glob("*.npy"))) == 3


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    path = write(tmp_path / "t.mrc", ramp(4, 6, 3))
    (tmp_path / "file").write_text("")
    assert len(make(Request(str(path), 80, 20, cache=str(tmp_path / "file")))) == 2


def test_the_worker_process_answers_with_pictures_or_a_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "t.mrc", ramp(4, 6, 3))
    assert _worker(Request(str(path), 80, 20)) == make(Request(str(path), 80, 20))
    with pytest.raises(InputError, match="there.mrc"):
        _worker(Request(str(tmp_path / "not_there.mrc"), 80, 20))
    with pytest.raises(InputError, match="ended without an answer"):
        from_json(b"")


def test_the_app_can_name_a_request_without_loading_numpy() -> None:
    code = "import core.quality.slices, sys; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_png_holds_the_greys() -> None:
    grey = np.arange(15, dtype=np.uint8).reshape(3, 5) * 17
    data = png(grey)
    assert struct.unpack(">II", data[16:24]) == (5, 3)
    begin = data.index(b"IDAT") + 4
    rows = zlib.decompress(data[begin : data.index(b"IEND") - 8])
    assert rows == b"".join(b"\0" + row.tobytes() for row in grey)


@pytest.mark.parametrize("height", [6, 7, 17])
def test_sixel_bands_give_back_the_greys(height: int) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (height, 40)).astype(np.uint8)
    grey[:, 10:30] = 200  # a long run
    found = _decoded(sixel(grey), 40, height)
    assert np.array_equal(found, grey.astype(int) * SIXEL_GREYS // 256)


def _worker(request: Request) -> list[slices.Slab]:
    command = [sys.executable, "-P", "-m", "core.quality.slices"]
    done = subprocess.run(command, input=json.dumps(asdict(request)).encode(), capture_output=True, check=False)
    return from_json(done.stdout)


def _bytes_read() -> int:
    found = re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())
    assert found is not None
    return int(found[1])


def _decoded(data: bytes, width: int, height: int) -> NDArray[np.int64]:
    """What a terminal draws of a sixel sequence: the colour number of each pixel."""
    text = data.decode("ascii")
    assert text.startswith("\x1bP0;1;0q") and text.endswith("\x1b\\")
    body = text[len("\x1bP0;1;0q") : -2]
    size = re.match(r'"1;1;(\d+);(\d+)', body)
    assert size is not None and (int(size[1]), int(size[2])) == (width, height)
    body = re.sub(r"#\d+;2;\d+;\d+;\d+", "", body[size.end() :])
    picture = np.full((height + 6, width), -1)
    x = top = colour = 0
    for token in re.finditer(r"#(\d+)|!(\d+)(.)|([$-])|(.)", body):
        if token[1]:
            colour = int(token[1])
        elif token[4] == "$":
            x = 0
        elif token[4] == "-":
            x, top = 0, top + 6
        else:
            count, char = (int(token[2]), token[3]) if token[2] else (1, token[5])
            for bit in range(6):
                if (ord(char) - 63) >> bit & 1:
                    picture[top + bit, x : x + count] = colour
            x += count
    return picture[:height]
