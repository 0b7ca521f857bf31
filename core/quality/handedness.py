"""Does the defocus gradient across the tilt images agree with the sense of the tilt angles?

The number is the one that ``WarpTools ts_defocus_hand --check`` averages: the correlation, over the tilts of a series,
between the defocus difference of the specimen's left and right edge as fitted in the single images and as expected
from the alignment with angles not inverted. Positive means that the angles are right, negative that they are inverted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from core.project.decisions import HANDEDNESS, Decision
from core.quality.geometry import ANGSTROM_PER_UM, Projection, Vector, WarpTilt, warp_projection

SERIES_NEEDED = 5
MINIMUM_CORRELATION = 0.3
MINIMUM_AGREEMENT = 0.8


@dataclass(frozen=True, slots=True)
class DefocusGrid:
    """Fitted defocus (µm) of one image on ``width`` x ``height`` nodes that span it; ``values`` row by row."""

    width: int
    height: int
    values: tuple[float, ...]


def correlation(
    tilts: Sequence[WarpTilt], grids: Sequence[DefocusGrid | None], volume_angstrom: Vector
) -> float | None:
    """The correlation of one series (-1 ... 1), tilts in the rows' order of its XML.

    ``volume_angstrom`` is the size of the tomogram; as in WarpTools its X and Y also stand for the image. None where
    nothing can be said: a tilt without a grid of at least two nodes, fewer than two tilts, or no gradient at all.
    """
    if len(tilts) < 2 or any(grid is None or len(grid.values) < 2 for grid in grids):
        return None
    width, height, depth = volume_angstrom
    plain = [_not_inverted(tilt) for tilt in tilts]
    left = [warp_projection(tilt, (0.0, height / 2, depth / 2), volume_angstrom, (width, height)) for tilt in plain]
    right = [warp_projection(tilt, (width, height / 2, depth / 2), volume_angstrom, (width, height)) for tilt in plain]
    fitted, expected = [], []
    for index, grid in enumerate(grids):
        assert grid is not None
        # WarpTools takes Y of the first tilt for all of them; the same here, so that the numbers are the same.
        low = _defocus_at(grid, left[index], left[0], width, height)
        high = _defocus_at(grid, right[index], right[0], width, height)
        fitted.append(high - low)
        expected.append((right[index].defocus_angstrom - left[index].defocus_angstrom) / ANGSTROM_PER_UM)
    return _pearson(fitted, expected)


def decide(correlations: Mapping[str, float], *, no_more: bool) -> Decision | None:
    """The project's handedness from the first aligned series (id -> correlation, in order), or None while too few are
    there; with ``no_more`` fewer than five do. Below the stated size or agreement it asks."""
    if len(correlations) < SERIES_NEEDED and not no_more:
        return None
    if not correlations:
        evidence = (
            "No aligned series has local defocus values (a CTF grid of at least 2x2 per movie), so nothing can be "
            "computed: take what you know of the microscope."
        )
        return Decision(HANDEDNESS, "ask", None, evidence)
    used = dict(list(correlations.items())[:SERIES_NEEDED])
    mean = sum(used.values()) / len(used)
    agreeing = sum(1 for value in used.values() if value * mean > 0)
    listed = ", ".join(f"{series} {value:+.2f}" for series, value in used.items())
    evidence = (
        f"Mean correlation of defocus gradients {mean:+.2f}; {agreeing} of {len(used)} series agree in sign ({listed})."
    )
    if abs(mean) < MINIMUM_CORRELATION or agreeing < MINIMUM_AGREEMENT * len(used):
        evidence += " That is not clear enough to decide: compare two reconstructions, or take what you know."
        return Decision(HANDEDNESS, "ask", None, evidence)
    return Decision(HANDEDNESS, "decided", "flip" if mean < 0 else "no_flip", evidence)


def interpolate(values: Sequence[float], position: float) -> float:
    """Natural cubic spline through ``values``, which lie evenly from 0 to 1, at ``position``. Outside, the outermost
    piece goes on, as in the spline library that Warp uses. Two values make a straight line."""
    count = len(values)
    if count == 1:
        return values[0]
    at = position * (count - 1)
    cell = min(max(int(at // 1), 0), count - 2)
    bend = _second_derivatives(values)
    b = at - cell
    a = 1 - b
    return a * values[cell] + b * values[cell + 1] + ((a**3 - a) * bend[cell] + (b**3 - b) * bend[cell + 1]) / 6


def _second_derivatives(values: Sequence[float]) -> list[float]:
    """Of the natural spline, unit spacing: zero at both ends (Thomas algorithm for the inner ones)."""
    inner = len(values) - 2
    bend = [0.0] * len(values)
    upper: list[float] = []
    right: list[float] = []
    for i in range(inner):
        pivot = 4.0 - (upper[-1] if upper else 0.0)
        load = 6 * (values[i] - 2 * values[i + 1] + values[i + 2]) - (right[-1] if right else 0.0)
        upper.append(1 / pivot)
        right.append(load / pivot)
    for i in reversed(range(inner)):
        bend[i + 1] = right[i] - upper[i] * bend[i + 2]
    return bend


def _defocus_at(grid: DefocusGrid, x_of: Projection, y_of: Projection, width: float, height: float) -> float:
    rows = [grid.values[row * grid.width : (row + 1) * grid.width] for row in range(grid.height)]
    column = [interpolate(row, x_of.x_angstrom / width) for row in rows]
    return interpolate(column, y_of.y_angstrom / height)


def _not_inverted(tilt: WarpTilt) -> WarpTilt:
    return WarpTilt(
        tilt.angle_deg,
        tilt.axis_deg,
        tilt.offset_x_angstrom,
        tilt.offset_y_angstrom,
        tilt.level_x_deg,
        tilt.level_y_deg,
    )


def _pearson(a: Sequence[float], b: Sequence[float]) -> float | None:
    count = len(a)
    mean_a, mean_b = sum(a) / count, sum(b) / count
    variance_a = sum((x - mean_a) ** 2 for x in a)
    variance_b = sum((x - mean_b) ** 2 for x in b)
    # Rounding errors of identical gradients are no gradient: 1e-7 µm is far below any fit.
    if sqrt(variance_a / count) < 1e-7 or sqrt(variance_b / count) < 1e-7:
        return None
    return sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / sqrt(variance_a * variance_b)
