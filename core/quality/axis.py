"""The tilt axis of an acquisition group from the refined axes of some of its series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import atan2, cos, degrees, radians, sin
from statistics import median

from core.project.decisions import Decision, tilt_axis_key

MINIMUM_SERIES = 5
"""A calibration wants at least so many series (where the group has them)."""

MAXIMUM_SPREAD_DEG = 3.0
"""Above this spread a person must look: the series do not agree on an axis."""

_MAD_TO_SIGMA = 1.4826


def departure_deg(angle_deg: float, reference_deg: float) -> float:
    """``angle_deg`` - ``reference_deg``, brought into -180 ... 180."""
    return (angle_deg - reference_deg + 180) % 360 - 180


def mean_axis_deg(angles_deg: Sequence[float]) -> float:
    """The mean direction of angles that may lie on both sides of ±180."""
    return degrees(atan2(sum(sin(radians(a)) for a in angles_deg), sum(cos(radians(a)) for a in angles_deg)))


def median_axis_deg(angles_deg: Sequence[float]) -> float:
    """The median, taken as departures from the mean direction."""
    centre = mean_axis_deg(angles_deg)
    return departure_deg(centre + median(departure_deg(a, centre) for a in angles_deg), 0.0)


def spread_deg(angles_deg: Sequence[float]) -> float | None:
    """Standard deviation estimated from the median departure from the median, so that one failed alignment in a cohort
    does not decide; None for a single series."""
    if len(angles_deg) < 2:
        return None
    centre = median_axis_deg(angles_deg)
    return _MAD_TO_SIGMA * median(abs(departure_deg(a, centre)) for a in angles_deg)


def decide_axis(group: str, refined_deg: Mapping[str, float], nominal_deg: float | None) -> Decision:
    """The decision on the axis of ``group`` from its refined series (id -> degrees, at least one); ``ask`` where they
    do not agree."""
    angles = list(refined_deg.values())
    axis, spread = median_axis_deg(angles), spread_deg(angles)
    listed = ", ".join(f"{series} {angle:.1f}" for series, angle in refined_deg.items())
    count = f"{len(angles)} series" if len(angles) > 1 else "one series"
    nominal = "" if nominal_deg is None else f"; nominal {nominal_deg:.1f}°"
    agreement = ", without a spread" if spread is None else f", spread {spread:.1f}°"
    evidence = f"Refined axis {axis:.2f}°{agreement}, from {count} ({listed}){nominal}."
    if len(angles) < MINIMUM_SERIES:
        evidence += f" {MINIMUM_SERIES} series would be better evidence."
    rounded = None if spread is None else round(spread, 2)
    if spread is not None and spread > MAXIMUM_SPREAD_DEG:
        evidence += " They do not agree: look at their alignments and give the axis yourself."
        return Decision(tilt_axis_key(group), "ask", round(axis, 2), evidence, spread=rounded)
    return Decision(tilt_axis_key(group), "decided", round(axis, 2), evidence, spread=rounded)
