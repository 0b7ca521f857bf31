"""Warp's ``.tomostar``: the tilts of a series, in the order of their angles. Format: facts/warptools.md section 6."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from core.files import replace_text
from core.formats import star


@dataclass(frozen=True, slots=True)
class Tomostar:
    """Columns, one entry per tilt. ``movies`` are relative to the file. ``doses`` are accumulated before the tilt, in
    e/Å². ``axis_deg``, ``intensities`` (mean counts) and ``masked`` (fraction) are empty where the file lacks them."""

    movies: tuple[str, ...]
    angles_deg: tuple[float, ...]
    axis_deg: tuple[float, ...]
    doses: tuple[float, ...]
    intensities: tuple[float, ...]
    masked: tuple[float, ...]


def read_tomostar(path: Path) -> Tomostar:
    """Read a file. Raises :class:`InputError` where it is cut off, is none, or lacks what WarpTools needs."""
    blocks = star.read(path).blocks
    if not blocks[0].rows:
        raise InputError("has no tilts.", path)
    block = blocks[0]
    return Tomostar(
        movies=tuple(block.column("wrpMovieName")),
        angles_deg=_numbers(block, "wrpAngleTilt", path),
        axis_deg=_numbers(block, "wrpAxisAngle", path, optional=True),
        doses=_numbers(block, "wrpDose", path),
        intensities=_numbers(block, "wrpAverageIntensity", path, optional=True),
        masked=_numbers(block, "wrpMaskedFraction", path, optional=True),
    )


def write_tomostar(path: Path, tomostar: Tomostar) -> None:
    """Write a file as ``ts_import`` does: angles with two decimals, the axis with three. Empty columns are left out."""
    columns: dict[str, list[str]] = {"wrpMovieName": list(tomostar.movies)}
    for label, values, decimals in (
        ("wrpAngleTilt", tomostar.angles_deg, 2),
        ("wrpAxisAngle", tomostar.axis_deg, 3),
        ("wrpDose", tomostar.doses, 4),
        ("wrpAverageIntensity", tomostar.intensities, 3),
        ("wrpMaskedFraction", tomostar.masked, 3),
    ):
        if values:
            columns[label] = [f"{value:.{decimals}f}" for value in values]
    rows = list(zip(*columns.values(), strict=True))
    replace_text(path, star.new_file([star.loop_block("", list(columns), rows)]).render())


def _numbers(block: star.Block, label: str, path: Path, optional: bool = False) -> tuple[float, ...]:
    if optional and label not in block.labels:
        return ()
    numbers = []
    for text in block.column(label):
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"has {text!r} in {label} where a number was expected.", path)
        numbers.append(number)
    return tuple(numbers)
