"""The handedness correlation is WarpTools' number, and the decision asks where it is unclear."""

from __future__ import annotations

from math import cos, radians, sin, tan

import pytest

from core.quality.geometry import WarpTilt
from core.quality.handedness import DefocusGrid, correlation, decide, interpolate

VOLUME = (4000.0, 4000.0, 1000.0)
ANGLES = [-60.0 + 3 * step for step in range(41)]


def grid_of(angle: float, axis: float, sign: int, nodes: int = 2) -> DefocusGrid:
    """Defocus (µm) of a flat specimen: sign * tan(angle) * distance from the axis, on nodes that span the image."""
    values = []
    for row in range(nodes):
        for column in range(nodes):
            u = (column / (nodes - 1) - 0.5) * VOLUME[0]
            v = (row / (nodes - 1) - 0.5) * VOLUME[1]
            across = u * cos(radians(axis)) + v * sin(radians(axis))
            values.append(3.0 + sign * tan(radians(angle)) * across * 1e-4)
    return DefocusGrid(nodes, nodes, tuple(values))


def series(axis: float, sign: int, nodes: int = 2) -> tuple[list[WarpTilt], list[DefocusGrid | None]]:
    tilts = [WarpTilt(angle, axis, 0, 0, inverted=sign < 0) for angle in ANGLES]
    return tilts, [grid_of(angle, axis, sign, nodes) for angle in ANGLES]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("nodes", [2, 4])
def test_flat_specimen_with_the_axis_upright(sign: int, nodes: int) -> None:
    tilts, grids = series(0, sign, nodes)
    assert correlation(tilts, grids, VOLUME) == pytest.approx(sign, abs=1e-6)


def test_y_of_the_first_tilt_counts_for_all() -> None:
    # With the axis along X the edges lie at the first tilt's Y: tan(angle) is correlated with sin(angle).
    tilts, grids = series(90, 1)
    a, b = [tan(radians(angle)) for angle in ANGLES], [sin(radians(angle)) for angle in ANGLES]
    expected = sum(x * y for x, y in zip(a, b, strict=True)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
    assert correlation(tilts, grids, VOLUME) == pytest.approx(expected, abs=1e-6)
    assert expected < 0.999


@pytest.mark.parametrize("axis", [85.3, -93.5, -4.3, 174.7])
def test_sign_with_any_axis_and_shifts(axis: float) -> None:
    tilts, grids = series(axis, -1)
    shifted = [
        WarpTilt(tilt.angle_deg, axis, 120.0 * (index % 3), -80.0, inverted=True) for index, tilt in enumerate(tilts)
    ]
    found = correlation(shifted, grids, VOLUME)
    assert found is not None
    assert found < -0.9


def test_nothing_can_be_said() -> None:
    tilts, grids = series(0, 1)
    assert correlation(tilts, [None, *grids[1:]], VOLUME) is None
    assert correlation(tilts, [DefocusGrid(1, 1, (3.0,)), *grids[1:]], VOLUME) is None
    assert correlation(tilts[:1], grids[:1], VOLUME) is None
    flat: list[DefocusGrid | None] = [DefocusGrid(2, 2, (3.0, 3.0, 3.0, 3.0))] * len(tilts)
    assert correlation(tilts, flat, VOLUME) is None


def test_natural_spline() -> None:
    assert interpolate([2.0, 4.0], 0.25) == pytest.approx(2.5)
    assert interpolate([2.0, 4.0], 1.5) == pytest.approx(5.0)  # goes on outside
    # Through 0, 1, 0 the second derivative in the middle is -3; half-way 0.5 + 0.375 * 3 / 6.
    assert interpolate([0.0, 1.0, 0.0], 0.25) == pytest.approx(0.6875)
    assert interpolate([7.0], 0.3) == 7.0


def ids(*values: float) -> dict[str, float]:
    return {f"TS_{index}": value for index, value in enumerate(values)}


def test_clear_cases_are_decided() -> None:
    flip = decide(ids(-0.8, -0.7, -0.9, -0.6, 0.1), no_more=False)
    assert flip is not None
    assert (flip.state, flip.value) == ("decided", "flip")
    assert "-0.58" in flip.evidence
    assert "4 of 5" in flip.evidence
    no_flip = decide(ids(0.8, 0.7, 0.9, 0.6, 0.5), no_more=False)
    assert no_flip is not None
    assert no_flip.value == "no_flip"


def test_only_the_first_five_count() -> None:
    found = decide(ids(0.5, 0.5, 0.5, 0.5, 0.5, -1.0, -1.0, -1.0), no_more=False)
    assert found is not None
    assert found.value == "no_flip"


@pytest.mark.parametrize(
    "values", [(0.2, 0.3, 0.25, 0.28, 0.29), (0.9, 0.9, 0.9, -0.2, -0.1), (0.31, -0.3, 0.3, -0.3, 0.3)]
)
def test_unclear_cases_ask(values: tuple[float, ...]) -> None:
    found = decide(ids(*values), no_more=False)
    assert found is not None
    assert found.state == "ask"
    assert found.value is None


def test_too_few_wait_unless_no_more_come() -> None:
    assert decide(ids(0.9, 0.9, 0.9), no_more=False) is None
    found = decide(ids(0.9, 0.9, 0.9), no_more=True)
    assert found is not None
    assert found.state == "decided"
    nothing = decide({}, no_more=True)
    assert nothing is not None
    assert nothing.state == "ask"
