"""Grey pictures as terminals draw them: PNG for kitty's protocol, sixel bands for the others."""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIXEL_GREYS = 16
"""More look hardly better through a terminal, and cost bytes."""

_RUN = re.compile(rb"(.)\1{3,}", re.DOTALL)


def png(grey: NDArray[np.uint8]) -> bytes:
    """An 8-bit grey PNG."""
    height, width = grey.shape
    rows = b"".join(b"\0" + row.tobytes() for row in grey)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 6)) + chunk(b"IEND", b"")


def sixel(grey: NDArray[np.uint8]) -> bytes:
    """A whole sixel sequence: bands of six rows, in each one line of characters for every grey that is in it."""
    import numpy as np

    height, width = grey.shape
    levels = (grey.astype(np.uint16) * SIXEL_GREYS // 256).astype(np.uint8)
    parts = [b"\x1bP0;1;0q", b'"1;1;%d;%d' % (width, height)]
    for level in range(SIXEL_GREYS):
        percent = round(100 * level / (SIXEL_GREYS - 1))
        parts.append(b"#%d;2;%d;%d;%d" % (level, percent, percent, percent))
    for top in range(0, height, 6):
        band = levels[top : top + 6]
        weights = (1 << np.arange(len(band), dtype=np.uint8))[:, None].astype(np.uint8)
        lines = []
        for level in np.unique(band):
            bits = ((band == level) * weights).sum(axis=0, dtype=np.uint8) + np.uint8(63)
            lines.append(b"#%d" % level + _RUN.sub(_run, bits.tobytes().rstrip(b"?")))
        parts.append(b"$".join(lines) + b"-")
    return b"".join(parts) + b"\x1b\\"


def _run(found: re.Match[bytes]) -> bytes:
    return b"!%d%s" % (len(found.group(0)), found.group(1))
