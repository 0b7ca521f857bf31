"""The header of an MRC file (MRC2014, CCP-EM), without reading its data."""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from core.files import read_error

HEADER_BYTES = 1024

BITS_PER_PIXEL = {0: 8, 1: 16, 2: 32, 3: 32, 4: 64, 6: 16, 12: 16, 16: 24, 101: 4}
"""By mode: int8, int16, float32, complex int16, complex float32, uint16, float16, RGB, 4-bit (rows padded to bytes)."""


@dataclass(frozen=True, slots=True)
class MrcHeader:
    """Sizes in pixels; ``nz`` is sections, frames or slices. ``extended_bytes`` stand between header and data.

    ``pixel_size_angstrom`` is the X cell length over its sampling, None where the header has none. ``expected_bytes``
    is how long the file must be, ``actual_bytes`` how long it is.
    """

    nx: int
    ny: int
    nz: int
    mode: int
    pixel_size_angstrom: float | None
    extended_bytes: int
    expected_bytes: int
    actual_bytes: int

    @property
    def whole(self) -> bool:
        """Whether the file is as long as its header says."""
        return self.actual_bytes >= self.expected_bytes


def read_mrc_header(path: Path) -> MrcHeader:
    """Read the header. Raises :class:`InputError` where the file is no MRC file. A short file has ``whole`` False."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(HEADER_BYTES)
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise read_error(path, error) from error
    if len(data) < HEADER_BYTES:
        raise InputError(
            f"has only {len(data)} bytes, less than an MRC header: it was cut off or is no MRC file.", path
        )
    order = _byte_order(data)
    if order is None:
        raise InputError("is no MRC file: its header makes no sense.", path)
    nx, ny, nz, mode = struct.unpack_from(order + "4i", data, 0)
    sampling_x = struct.unpack_from(order + "i", data, 28)[0]
    cell_x = struct.unpack_from(order + "f", data, 40)[0]
    extended = max(0, struct.unpack_from(order + "i", data, 92)[0])
    pixel = cell_x / sampling_x if sampling_x > 0 else 0.0
    row_bytes = (nx * BITS_PER_PIXEL[mode] + 7) // 8
    return MrcHeader(
        nx=nx,
        ny=ny,
        nz=nz,
        mode=mode,
        pixel_size_angstrom=pixel if math.isfinite(pixel) and pixel > 0 else None,
        extended_bytes=extended,
        expected_bytes=HEADER_BYTES + extended + row_bytes * ny * nz,
        actual_bytes=size,
    )


def _byte_order(data: bytes) -> str | None:
    """By the machine stamp if it makes sense of the sizes, otherwise by whichever order does."""
    orders = "><" if data[212:214] == b"\x11\x11" else "<>"
    for order in orders:
        nx, ny, nz, mode = struct.unpack_from(order + "4i", data, 0)
        if mode in BITS_PER_PIXEL and all(0 < size < 1_000_000 for size in (nx, ny, nz)):
            return order
    return None
