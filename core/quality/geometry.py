"""Where a specimen point lands in a tilt image and at which defocus, by Warp's formula and by RELION's.

The two programs describe one tilt differently; :func:`relion_tilt` is the only place that turns one description into
the other. Source of the formulas: WarpTools (position of a point in a tilt, with the level angles of its newer
versions) and RELION's projection matrix; see "Geometry and defocus" of the project's science rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, radians, sin

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]

ANGSTROM_PER_UM = 1e4


@dataclass(frozen=True, slots=True)
class WarpTilt:
    """One tilt as a tilt-series XML of Warp has it. ``inverted`` is AreAnglesInverted, ``defocus_um`` the GridCTF node
    of the tilt (positive is underfocus), ``defocus_delta_um`` the whole astigmatic difference."""

    angle_deg: float
    axis_deg: float
    offset_x_angstrom: float
    offset_y_angstrom: float
    level_x_deg: float = 0.0
    level_y_deg: float = 0.0
    inverted: bool = False
    defocus_um: float = 0.0
    defocus_delta_um: float = 0.0


@dataclass(frozen=True, slots=True)
class RelionTilt:
    """One row of a RELION tilt-series STAR: rlnTomoXTilt, rlnTomoYTilt, rlnTomoZRot, rlnTomoX/YShiftAngst,
    rlnDefocusU/V, and the series' rlnTomoHand."""

    x_tilt_deg: float
    y_tilt_deg: float
    z_rot_deg: float
    shift_x_angstrom: float
    shift_y_angstrom: float
    hand: int
    defocus_u_angstrom: float
    defocus_v_angstrom: float


@dataclass(frozen=True, slots=True)
class Projection:
    """Position in the image in Å from the middle of its first pixel's corner, and mean defocus in Å there."""

    x_angstrom: float
    y_angstrom: float
    defocus_angstrom: float


def relion_tilt(tilt: WarpTilt) -> RelionTilt:
    """Warp's description of a tilt as RELION's. U and V are D ± Delta/2: Warp's delta is the whole difference."""
    half = tilt.defocus_delta_um / 2
    return RelionTilt(
        x_tilt_deg=tilt.level_x_deg,
        y_tilt_deg=-(tilt.angle_deg + tilt.level_y_deg),
        z_rot_deg=tilt.axis_deg,
        shift_x_angstrom=tilt.offset_x_angstrom,
        shift_y_angstrom=tilt.offset_y_angstrom,
        hand=-1 if tilt.inverted else 1,
        defocus_u_angstrom=(tilt.defocus_um + half) * ANGSTROM_PER_UM,
        defocus_v_angstrom=(tilt.defocus_um - half) * ANGSTROM_PER_UM,
    )


def warp_projection(
    tilt: WarpTilt, point_angstrom: Vector, volume_angstrom: Vector, image_angstrom: tuple[float, float]
) -> Projection:
    """Warp's formula. ``point_angstrom`` counts from the volume's corner; both sizes are in Å.

    With inverted angles Warp computes the depth a second time, with the point mirrored in Z and all angles negated.
    """
    centred = _subtract(point_angstrom, _half(volume_angstrom))
    x, y, depth = _apply(_warp_rotation(tilt.angle_deg + tilt.level_y_deg, tilt.axis_deg, tilt.level_x_deg), centred)
    if tilt.inverted:
        mirrored = (centred[0], centred[1], -centred[2])
        turned = _warp_rotation(-(tilt.angle_deg + tilt.level_y_deg), tilt.axis_deg, -tilt.level_x_deg)
        depth = _apply(turned, mirrored)[2]
    return Projection(
        x + tilt.offset_x_angstrom + image_angstrom[0] / 2,
        y + tilt.offset_y_angstrom + image_angstrom[1] / 2,
        tilt.defocus_um * ANGSTROM_PER_UM + depth,
    )


def relion_projection(
    tilt: RelionTilt,
    point_px: Vector,
    volume_px: tuple[int, int, int],
    image_px: tuple[int, int],
    pixel_angstrom: float,
) -> Projection:
    """RELION's formula: image = Rz(ZRot) Ry(YTilt) Rx(XTilt) (point - centre) + shift + image centre, where both
    centres are whole pixels, int(size/2); defocus = mean of U and V + hand * depth."""
    centred = (
        (point_px[0] - volume_px[0] // 2) * pixel_angstrom,
        (point_px[1] - volume_px[1] // 2) * pixel_angstrom,
        (point_px[2] - volume_px[2] // 2) * pixel_angstrom,
    )
    rotation = _product(_rz(tilt.z_rot_deg), _product(_ry(tilt.y_tilt_deg), _rx(tilt.x_tilt_deg)))
    x, y, depth = _apply(rotation, centred)
    return Projection(
        x + tilt.shift_x_angstrom + (image_px[0] // 2) * pixel_angstrom,
        y + tilt.shift_y_angstrom + (image_px[1] // 2) * pixel_angstrom,
        (tilt.defocus_u_angstrom + tilt.defocus_v_angstrom) / 2 + tilt.hand * depth,
    )


def tomogram_dimensions_px(
    image_px: tuple[int, int], axis_deg: float, thickness_nm: float, pixel_angstrom: float
) -> tuple[int, int, int]:
    """Unbinned X, Y and Z of the tomogram, whose Y lies along the tilt axis. ``axis_deg`` is the angle between the
    image's Y and the tilt axis, so with an axis nearer 90 than 0 degrees X and Y change places. Z is even."""
    width, height = image_px
    across = 45 < abs(axis_deg) % 180 < 135
    x, y = (height, width) if across else (width, height)
    return x, y, max(2, 2 * round(thickness_nm * 10 / pixel_angstrom / 2))


def _warp_rotation(angle_deg: float, axis_deg: float, level_x_deg: float) -> Matrix:
    """Warp's Euler(0, angle, -axis) followed on the specimen's side by a rotation about X."""
    cb, sb = cos(radians(angle_deg)), sin(radians(angle_deg))
    ca, sa = cos(radians(axis_deg)), sin(radians(axis_deg))
    euler: Matrix = ((ca * cb, -sa, -ca * sb), (sa * cb, ca, -sa * sb), (sb, 0.0, cb))
    return _product(euler, _rx(level_x_deg))


def _rx(angle_deg: float) -> Matrix:
    c, s = cos(radians(angle_deg)), sin(radians(angle_deg))
    return ((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c))


def _ry(angle_deg: float) -> Matrix:
    c, s = cos(radians(angle_deg)), sin(radians(angle_deg))
    return ((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c))


def _rz(angle_deg: float) -> Matrix:
    c, s = cos(radians(angle_deg)), sin(radians(angle_deg))
    return ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0))


def _product(a: Matrix, b: Matrix) -> Matrix:
    columns = [_apply(a, (b[0][j], b[1][j], b[2][j])) for j in range(3)]
    first, second, third = columns
    return (
        (first[0], second[0], third[0]),
        (first[1], second[1], third[1]),
        (first[2], second[2], third[2]),
    )


def _apply(matrix: Matrix, vector: Sequence[float]) -> Vector:
    x, y, z = vector
    row1, row2, row3 = matrix
    return (
        row1[0] * x + row1[1] * y + row1[2] * z,
        row2[0] * x + row2[1] * y + row2[2] * z,
        row3[0] * x + row3[1] * y + row3[2] * z,
    )


def _subtract(a: Vector, b: Vector) -> Vector:
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2])


def _half(a: Vector) -> Vector:
    return (a[0] / 2, a[1] / 2, a[2] / 2)
