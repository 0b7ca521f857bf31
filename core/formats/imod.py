"""IMOD's alignment files: transforms (``.xf``) and lists of angles (``.tlt``, ``.xtilt``, ``.rawtlt``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from core.files import read_text


@dataclass(frozen=True, slots=True)
class Transform:
    """One line of an ``.xf``: x' = a11 x + a12 y + dx, y' = a21 x + a22 y + dy, about the centre, in pixels."""

    a11: float
    a12: float
    a21: float
    a22: float
    dx_px: float
    dy_px: float

    @property
    def rotation_deg(self) -> float:
        """The rotation that brings the tilt axis to the vertical, counter-clockwise (its negative is the axis)."""
        return math.degrees(math.atan2(self.a21, self.a11))


def read_xf(path: Path) -> tuple[Transform, ...]:
    """One transform per view. Raises :class:`InputError` with the line where the file is cut off or is none."""
    transforms = []
    for number, line in _lines(path):
        values = _numbers(line, path, number)
        if len(values) != 6:
            raise InputError(f"has {len(values)} numbers where a transform has 6: cut off or damaged.", path, number)
        transforms.append(Transform(*values))
    return tuple(transforms)


def read_tlt(path: Path) -> tuple[float, ...]:
    """One angle in degrees per view. Raises :class:`InputError` with the line where the file is none."""
    angles = []
    for number, line in _lines(path):
        values = _numbers(line, path, number)
        if len(values) != 1 or abs(values[0]) > 360:
            raise InputError(f"has no single angle: {line[:60]!r}.", path, number)
        angles.append(values[0])
    return tuple(angles)


def _lines(path: Path) -> list[tuple[int, str]]:
    lines = [(number, line) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
    if not lines:
        raise InputError("is empty: it was cut off, or the alignment failed.", path)
    return lines


def _numbers(line: str, path: Path, number: int) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError as error:
        raise InputError(f"has something that is no number: {line.strip()[:60]!r}.", path, number) from error
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"has a result that is no number: {line.strip()[:60]!r}.", path, number)
    return values
