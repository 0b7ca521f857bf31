"""AreTomo's alignment files (``.aln``) of its versions 1, 2 and 3.

The table holds only the tilts that were kept; dark ones are listed in the header. Sections are 0-based in AreTomo 1
and 1-based or 0-based later, and no index into the raw series where dark tilts were taken out: match by tilt angle.
Format: facts/quality-and-formats.md 5.1.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from core.files import read_text

_HEADER = re.compile(r"#\s*(\w+)\s*=\s*(.*)")
_OLD_SIZE = re.compile(r"#\s*(\d+)\s+(\d+)\s*$")


@dataclass(frozen=True, slots=True)
class DarkTilt:
    """A tilt that AreTomo left out: its index and section as AreTomo counts them, and its stage angle."""

    index: int
    section: int
    tilt_deg: float


@dataclass(frozen=True, slots=True)
class AlignedTilt:
    """A row of the table. Shifts in pixels of the stack; ``tilt_deg`` contains the alpha offset if one was applied."""

    section: int
    rotation_deg: float
    magnification: float
    shift_x_px: float
    shift_y_px: float
    tilt_deg: float


@dataclass(frozen=True, slots=True)
class LocalShift:
    """Where a patch of a tilt (the table's row) is, and how far it is from the global alignment, in pixels."""

    tilt: int
    patch: int
    x_px: float
    y_px: float
    shift_x_px: float
    shift_y_px: float
    good: bool


@dataclass(frozen=True, slots=True)
class Aln:
    """A whole file. ``tilts_in_stack`` and the offsets are None where the version does not write them."""

    tilts_in_stack: int | None
    patches: int
    alpha_offset_deg: float | None
    beta_offset_deg: float | None
    thickness_px: float | None
    dark: tuple[DarkTilt, ...]
    tilts: tuple[AlignedTilt, ...]
    local: tuple[LocalShift, ...]


def read_aln(path: Path) -> Aln:
    """Read a file. Raises :class:`InputError` with the line where it is cut off or is none."""
    text = read_text(path)
    lines = text.split("\n")
    if not lines[0].startswith("# AreTomo"):
        raise InputError("is no AreTomo alignment: it does not begin with '# AreTomo'.", path, 1)
    header: dict[str, str] = {}
    dark: list[DarkTilt] = []
    tilts: list[AlignedTilt] = []
    local: list[LocalShift] = []
    in_local = False
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if line.startswith("#"):
            match = _HEADER.match(line)
            if line.startswith("# Local Alignment"):
                in_local = True
            elif match is not None and match[1] == "DarkFrame":
                values = _numbers(match[2], 3, path, number)
                dark.append(DarkTilt(int(values[0]), int(values[1]), values[2]))
            elif match is not None:
                header[match[1]] = match[2]
            elif old := _OLD_SIZE.match(line):
                header.setdefault("RawSize", f"0 0 {old[1]}")
                header.setdefault("NumPatches", old[2])
        elif line and in_local:
            tilt, patch, x, y, shift_x, shift_y, good = _numbers(line, 7, path, number)
            local.append(LocalShift(int(tilt), int(patch), x, y, shift_x, shift_y, good > 0.5))
        elif line:
            row = _numbers(line, 10, path, number)
            tilts.append(AlignedTilt(int(row[0]), row[1], row[2], row[3], row[4], row[9]))
    if not tilts:
        raise InputError("has no aligned tilts: it was cut off, or the alignment failed.", path)
    if not text.endswith("\n"):
        raise InputError("ends in the middle of a line: it was cut off while it was written.", path, len(lines))
    size = _optional(header, "RawSize", path)
    patches = _optional(header, "NumPatches", path)
    alpha, beta, thickness = (_optional(header, name, path) for name in ("AlphaOffset", "BetaOffset", "Thickness"))
    return Aln(
        tilts_in_stack=int(size[2]) if len(size) == 3 else None,
        patches=int(patches[0]) if patches else 0,
        alpha_offset_deg=alpha[0] if alpha else None,
        beta_offset_deg=beta[0] if beta else None,
        thickness_px=thickness[0] if thickness else None,
        dark=tuple(dark),
        tilts=tuple(tilts),
        local=tuple(local),
    )


def _optional(header: dict[str, str], name: str, path: Path) -> list[float]:
    return _numbers(header[name], None, path, None) if header.get(name) else []


def _numbers(text: str, count: int | None, path: Path, line: int | None) -> list[float]:
    words = text.split()
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise InputError(f"has something that is no number: {text[:60]!r}.", path, line) from error
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"has a result that is no number: {text[:60]!r}; the alignment failed.", path, line)
    if count is not None and len(values) != count:
        raise InputError(f"has {len(values)} columns where {count} were expected: cut off or damaged.", path, line)
    return values
