"""The tilt scheme, read from the angles in the order in which they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median


@dataclass(frozen=True, slots=True)
class Scheme:
    """``kind``: ``dose-symmetric``, ``bidirectional``, ``unidirectional`` or ``irregular``. ``step_deg``: the usual
    distance of neighbouring angles. ``group``: tilts taken on one side before the other side follows (dose-symmetric;
    1 also where the sides swing, 0 3 -3 -6 6 9 -9)."""

    kind: str
    step_deg: float
    group: int = 1

    def __str__(self) -> str:
        text = f"{self.kind} {self.step_deg:g}°"
        return f"{text}, groups of {self.group}" if self.group > 1 else text


def tilt_scheme(angles_deg: Sequence[float]) -> Scheme:
    """The scheme of angles in acquisition order, relative to the first one (which is the pre-tilt of a lamella)."""
    step = _step(angles_deg)
    if step == 0 or len(angles_deg) < 3:
        return Scheme("irregular", step)
    places = [round((angle - angles_deg[0]) / step) for angle in angles_deg]
    places = [place for index, place in enumerate(places) if place and place not in places[:index]]
    runs = _runs(places)
    grows = all(_monotonic([abs(place) for place in run]) for run in runs)
    if len(runs) == 1 and grows:
        return Scheme("unidirectional", step)
    if len(runs) == 2 and grows and max(len(run) for run in runs) > 1:
        return Scheme("bidirectional", step)
    if len(runs) >= 3 and grows and _outward(runs):
        first = len(runs[0])
        usual = round(median(len(run) for run in runs[1:-1] or runs[1:]))
        return Scheme("dose-symmetric", step, first if usual == 2 * first else max(usual, 1))
    return Scheme("irregular", step)


def _step(angles_deg: Sequence[float]) -> float:
    ordered = sorted(angles_deg)
    distances = [after - before for before, after in pairwise(ordered) if after - before > 0.2]
    if not distances:
        return 0.0
    step = median(distances)
    nearest = round(step * 2) / 2
    return nearest if nearest and abs(nearest - step) < 0.12 else round(step, 1)


def _runs(places: Sequence[int]) -> list[list[int]]:
    """``places`` cut wherever the sign changes."""
    runs: list[list[int]] = []
    for place in places:
        if runs and (runs[-1][0] > 0) == (place > 0):
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


def _monotonic(sizes: Sequence[int]) -> bool:
    return all(after > before for before, after in pairwise(sizes))


def _outward(runs: Sequence[Sequence[int]]) -> bool:
    """Whether each side goes on where it was left."""
    reached = {True: 0, False: 0}
    for run in runs:
        side = run[0] > 0
        if abs(run[0]) <= reached[side]:
            return False
        reached[side] = abs(run[-1])
    return True
