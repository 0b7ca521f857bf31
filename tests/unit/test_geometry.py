"""Warp's and RELION's formulas for one specimen point agree; turning any sign makes them disagree."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from core.quality.geometry import (
    Projection,
    RelionTilt,
    WarpTilt,
    relion_projection,
    relion_tilt,
    tomogram_dimensions_px,
    warp_projection,
)

PIXEL = 1.35
IMAGE = (5760, 4092)
VOLUME = (4092, 5760, 2222)


def random_tilts(seed: int, count: int, inverted: bool) -> list[WarpTilt]:
    draw = random.Random(seed)
    return [
        WarpTilt(
            angle_deg=draw.uniform(-62, 62),
            axis_deg=draw.uniform(-180, 180),
            offset_x_angstrom=draw.gauss(0, 300),
            offset_y_angstrom=draw.gauss(0, 300),
            level_x_deg=draw.uniform(-12, 12),
            level_y_deg=draw.uniform(-12, 12),
            inverted=inverted,
            defocus_um=draw.uniform(1, 6),
            defocus_delta_um=draw.uniform(-0.2, 0.2),
        )
        for _ in range(count)
    ]


def random_points(seed: int, count: int) -> list[tuple[float, float, float]]:
    draw = random.Random(seed)
    return [(draw.uniform(0, VOLUME[0]), draw.uniform(0, VOLUME[1]), draw.uniform(0, VOLUME[2])) for _ in range(count)]


def by_warp(tilt: WarpTilt, point_px: tuple[float, float, float]) -> Projection:
    x, y, z = (value * PIXEL for value in point_px)
    width, height, depth = (side * PIXEL for side in VOLUME)
    return warp_projection(tilt, (x, y, z), (width, height, depth), (IMAGE[0] * PIXEL, IMAGE[1] * PIXEL))


def by_relion(tilt: RelionTilt, point_px: tuple[float, float, float]) -> Projection:
    return relion_projection(tilt, point_px, VOLUME, IMAGE, PIXEL)


def agree(first: Projection, second: Projection) -> bool:
    return (
        abs(first.x_angstrom - second.x_angstrom) <= 0.01
        and abs(first.y_angstrom - second.y_angstrom) <= 0.01
        and abs(first.defocus_angstrom - second.defocus_angstrom) <= 1
    )


@pytest.mark.parametrize("inverted", [False, True])
def test_random_points_agree_in_both_programs(inverted: bool) -> None:
    tilts = random_tilts(1, 41, inverted)
    for point in random_points(2, 100):
        for tilt in tilts:
            assert agree(by_warp(tilt, point), by_relion(relion_tilt(tilt), point))


def test_one_point_by_hand() -> None:
    # 100 Å along X and 50 Å up, tilt 30°, axis 90°: Ry(-30) gives x 86.6025 - 25 = 61.6025 and depth 50 + 43.3013;
    # Rz(90) puts x along the image's Y.
    tilt = WarpTilt(30, 90, 7, -11, defocus_um=3.0)
    size, image = (1000.0, 1000.0, 400.0), (800.0, 600.0)
    found = warp_projection(tilt, (600, 500, 250), size, image)
    assert found.x_angstrom == pytest.approx(400 + 7)
    assert found.y_angstrom == pytest.approx(300 + 61.6025 - 11, abs=1e-3)
    assert found.defocus_angstrom == pytest.approx(30000 + 93.3013, abs=1e-3)
    assert warp_projection(
        replace(tilt, inverted=True), (600, 500, 250), size, image
    ).defocus_angstrom == pytest.approx(30000 - 93.3013, abs=1e-3)
    star = relion_tilt(tilt)
    assert (star.x_tilt_deg, star.y_tilt_deg, star.z_rot_deg) == (0, -30, 90)
    assert (star.shift_x_angstrom, star.shift_y_angstrom, star.hand) == (7, -11, 1)
    assert relion_projection(star, (600, 500, 250), (1000, 1000, 400), (800, 600), 1.0).y_angstrom == pytest.approx(
        350.6025, abs=1e-3
    )


def test_levelled_point_by_hand() -> None:
    # Level X 90° turns Y up: a point 10 Å along Y is 10 Å high, so at tilt 0 it lies in the middle, 10 Å deeper.
    found = warp_projection(WarpTilt(0, 0, 0, 0, level_x_deg=90), (50, 60, 50), (100, 100, 100), (100, 100))
    assert (found.x_angstrom, found.y_angstrom, found.defocus_angstrom) == pytest.approx((50, 50, 10))


@pytest.mark.parametrize(
    "field", ["x_tilt_deg", "y_tilt_deg", "z_rot_deg", "shift_x_angstrom", "shift_y_angstrom", "hand"]
)
@pytest.mark.parametrize("inverted", [False, True])
def test_a_turned_sign_is_found(field: str, inverted: bool) -> None:
    tilts = random_tilts(3, 5, inverted)
    points = random_points(4, 20)
    wrong = 0
    for tilt in tilts:
        right = relion_tilt(tilt)
        changed: dict[str, Any] = {field: -getattr(right, field)}
        wrong += sum(not agree(by_warp(tilt, point), by_relion(replace(right, **changed), point)) for point in points)
    assert wrong > 95


def test_level_angle_y_belongs_to_the_tilt() -> None:
    tilt = WarpTilt(20, 85, 0, 0, level_y_deg=8)
    assert relion_tilt(tilt).y_tilt_deg == -28


def test_astigmatism_is_not_doubled() -> None:
    star = relion_tilt(WarpTilt(0, 0, 0, 0, defocus_um=2.5, defocus_delta_um=0.1))
    assert star.defocus_u_angstrom == pytest.approx(25500)
    assert star.defocus_v_angstrom == pytest.approx(24500)


def test_inverted_angles_are_hand_minus_one() -> None:
    assert relion_tilt(WarpTilt(0, 0, 0, 0, inverted=True)).hand == -1
    assert relion_tilt(WarpTilt(0, 0, 0, 0)).hand == 1


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (85.3, (4092, 5760, 2222)),
        (-93.5, (4092, 5760, 2222)),
        (174.7, (5760, 4092, 2222)),
        (-4.3, (5760, 4092, 2222)),
        (44, (5760, 4092, 2222)),
        (46, (4092, 5760, 2222)),
        (271, (4092, 5760, 2222)),
    ],
)
def test_sides_of_the_tomogram(axis: float, expected: tuple[int, int, int]) -> None:
    assert tomogram_dimensions_px(IMAGE, axis, 300, PIXEL) == expected
