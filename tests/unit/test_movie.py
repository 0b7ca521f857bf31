"""Headers of movies and MRC files, and what is said of broken ones."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from core.errors import InputError
from core.formats.movie import MovieHeader, read_movie_header
from core.formats.mrc import read_mrc_header


def mrc_header(order: str, size: tuple[int, int, int], mode: int, pixel: float, extended: int = 0) -> bytes:
    data = bytearray(1024)
    struct.pack_into(order + "4i", data, 0, *size, mode)
    struct.pack_into(order + "3i", data, 28, *size)
    struct.pack_into(order + "3f", data, 40, *(pixel * length for length in size))
    struct.pack_into(order + "i", data, 92, extended)
    data[208:212] = b"MAP "
    data[212:214] = b"DD" if order == "<" else b"\x11\x11"
    return bytes(data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("mode", "row_bytes"), [(0, 7), (1, 14), (2, 28), (6, 14), (12, 14), (101, 4)])
def test_mrc(tmp_path: Path, order: str, mode: int, row_bytes: int) -> None:
    path = tmp_path / "x.mrc"
    data = mrc_header(order, (7, 5, 3), mode, 1.35, extended=256) + bytes(256 + row_bytes * 5 * 3)
    path.write_bytes(data)
    header = read_mrc_header(path)
    assert (header.nx, header.ny, header.nz, header.mode, header.extended_bytes) == (7, 5, 3, mode, 256)
    assert header.pixel_size_angstrom == pytest.approx(1.35)
    assert header.expected_bytes == len(data)
    assert header.whole
    movie = read_movie_header(path)
    assert (movie.width_px, movie.height_px, movie.frames, movie.kind) == (7, 5, 3, "MRC")
    path.write_bytes(data[:-1])
    assert not read_mrc_header(path).whole
    with pytest.raises(InputError, match="cut off"):
        read_movie_header(path)


def test_mrc_without_machine_stamp_or_pixel(tmp_path: Path) -> None:
    path = tmp_path / "x.mrc"
    data = bytearray(mrc_header(">", (4, 4, 1), 2, 0.0))
    data[208:214] = bytes(6)
    path.write_bytes(bytes(data) + bytes(64))
    header = read_mrc_header(path)
    assert (header.nx, header.pixel_size_angstrom, header.whole) == (4, None, True)


@pytest.mark.parametrize("data", [b"", b"short", b"x" * 2000, bytes(2000)])
def test_no_movie(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.mrc"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"x\.mrc: .*(no MRC file|cut off)"):
        read_movie_header(path)
    with pytest.raises(InputError, match="does not exist"):
        read_movie_header(tmp_path / "none.mrc")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_written_by_tifffile(tmp_path: Path, big: bool, order: str) -> None:
    import numpy
    import tifffile

    path = tmp_path / "x.tif"
    images = numpy.zeros((6, 10, 12), dtype=numpy.uint8)
    per_cm = 1e8 / 0.7894
    tifffile.imwrite(
        path,
        images,
        bigtiff=big,
        byteorder=order,
        resolution=(per_cm, per_cm),
        resolutionunit=3,
        photometric="minisblack",
        metadata=None,
    )
    header = read_movie_header(path)
    assert (header.width_px, header.height_px, header.frames, header.kind) == (12, 10, 6, "TIFF")
    assert header.pixel_size_angstrom == pytest.approx(0.7894, rel=1e-6)
    tifffile.imwrite(path, images, resolution=(72, 72), resolutionunit=2, photometric="minisblack", metadata=None)
    assert read_movie_header(path).pixel_size_angstrom is None
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cut off"):
        read_movie_header(path)


def eer(path: Path, frames: int, metadata: str, sum_image: bool = False) -> None:
    """A BigTIFF with EER's compression, without image data."""
    text = metadata.encode()
    data = bytearray(b"II+\0" + struct.pack("<HHQ", 8, 0, 16))
    data[4:16] = struct.pack("<HHQ", 8, 0, 16)
    total = frames + sum_image
    for number in range(total):
        compression = 65001 if number < frames else 1
        entries = [(256, 4, 1, 4096), (257, 4, 1, 4096), (259, 4, 1, compression)]
        if number == 0 and text:
            entries.append((65001, 7, len(text), 0))
        length = 8 + 20 * len(entries) + 8
        after = len(data) + length
        text_offset = after
        following = after + (len(text) if number == 0 else 0)
        block = struct.pack("<Q", len(entries))
        for tag, kind, count, value in entries:
            block += struct.pack("<HHQQ", tag, kind, count, text_offset if tag == 65001 else value)
        block += struct.pack("<Q", following if number < total - 1 else 0)
        data += block
        if number == 0:
            data += text
    path.write_bytes(bytes(data))


METADATA = (
    '<metadata><item name="cameraName">Falcon4i</item><item name="numberOfFrames">{frames}</item>'
    '<item name="sensorPixelSize.height" unit="m">1.5e-10</item>'
    '<item name="sensorPixelSize.width" unit="m">1.5e-10</item></metadata>'
)


def test_eer(tmp_path: Path) -> None:
    path = tmp_path / "x.eer"
    eer(path, 5, METADATA.format(frames=1015))
    header = read_movie_header(path)
    assert (header.width_px, header.height_px, header.frames, header.kind) == (4096, 4096, 1015, "EER")
    assert header.pixel_size_angstrom == pytest.approx(1.5)
    eer(path, 7, "<metadata></metadata>", sum_image=True)
    assert read_movie_header(path) == MovieHeader(4096, 4096, 7, None, "EER")


def test_counting_thousands_of_frames_is_fast(tmp_path: Path) -> None:
    path = tmp_path / "x.eer"
    eer(path, 2000, "")
    start = time.perf_counter()
    assert read_movie_header(path).frames == 2000
    assert time.perf_counter() - start < 0.5


def test_a_circle_of_directories_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    entries = struct.pack("<HHII", 256, 4, 1, 8) + struct.pack("<HHII", 257, 4, 1, 8)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 2) + entries + struct.pack("<I", 8))
    with pytest.raises(InputError, match="circle"):
        read_movie_header(path)
