"""The registry's types: tilt series with ids given once, their tilts as columns, and acquisition values with sources.

Everything is frozen. Columns of :class:`Tilts` are in acquisition order and hold *all* exposures, the missing and
dropped ones included, because the accumulated dose of a tilt depends on every exposure before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

CONFIRMED = "✓"
"""What a person gives in place of a value to say that the one that was found in the files is right."""


@dataclass(frozen=True, slots=True)
class Sourced(Generic[T]):
    """A value, where it came from (``mdoc``, ``movie header``, ``you``, ``calibrated``, ...), and whether it may be
    trusted. ``value`` None means that nobody knows; ``confirmed`` False means that a run must not rely on it."""

    value: T | None
    source: str
    confirmed: bool = True


@dataclass(frozen=True, slots=True)
class Tilts:
    """Columns, one entry per exposure, in acquisition order.

    ``ids``: given once, unique within the series (``000``, ``001``, ... in the order in which they were first seen).
    ``angle_deg``: the stage's tilt angle from the mdoc. ``movie``: name of the link in ``frames/`` ("" where the movie
    is missing). ``source``: absolute path of the raw movie ("" where missing). ``acquired``: ISO 8601 or "".
    ``exposure_e_per_a2``: the mdoc's ExposureDose (0 is common and means unknown). ``target_defocus_um``: the mdoc's
    (negative is underfocus), NaN-free: 0.0 where unknown. ``problem``: why a tilt cannot be used ("" where it can).
    """

    ids: tuple[str, ...]
    z_value: tuple[int, ...]
    angle_deg: tuple[float, ...]
    acquired: tuple[str, ...]
    movie: tuple[str, ...]
    source: tuple[str, ...]
    frame_count: tuple[int, ...]
    exposure_e_per_a2: tuple[float, ...]
    target_defocus_um: tuple[float, ...]
    problem: tuple[str, ...]
    size_bytes: tuple[int, ...] = ()
    """Of the raw movie when it was imported; () where unknown. Only :mod:`core.project.data` compares it."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class TiltSeries:
    """One tilt series. ``id`` is a safe name given once (letters, digits, ``_``, ``-``; never containing "None"), it
    is RELION's ``rlnTomoName``, the stem of ``mdoc/<id>.mdoc`` and of Warp's ``<id>.tomostar``. ``name`` is what the
    microscope called it. ``group`` is the acquisition group. ``detected`` holds what its own mdoc and movies say, by
    the names of the fields of :class:`Acquisition`; ``notes`` are sentences for the overview table."""

    id: str
    name: str
    group: str
    mdoc: str
    mdoc_digest: str
    tilts: Tilts
    scheme: str
    detected: Mapping[str, Sourced[float | int | str | bool]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """An mdoc that is no tilt series (yet), and why."""

    mdoc: str
    reason: str


@dataclass(frozen=True, slots=True)
class Acquisition:
    """The effective acquisition values of one series: those set for its group in ``crboost.yaml`` over detected ones.

    ``pixel_size_angstrom`` is that of the movies as recorded. ``tilt_axis_deg`` is the angle between the image's Y axis
    and the tilt axis as SerialEM and Warp count it; its source says ``nominal``, ``calibrated`` or ``you``.
    ``dose_per_tilt_e_per_a2`` e/Å² per exposure. ``eer_frames_per_fraction``: raw EER frames per fraction (0 where the
    movies are not EER). ``invert_tilt_angles``: whether Warp turns the stage angles' sign, as it does by default; then
    RELION's rlnTomoYTilt is the stage angle. Not turning them mirrors the tomogram. ``image_width_px`` and
    ``image_height_px``: of a movie.
    """

    group: str
    optics_group: str
    pixel_size_angstrom: Sourced[float]
    voltage_kv: Sourced[float]
    spherical_aberration_mm: Sourced[float]
    amplitude_contrast: Sourced[float]
    dose_per_tilt_e_per_a2: Sourced[float]
    tilt_axis_deg: Sourced[float]
    invert_tilt_angles: Sourced[bool]
    image_width_px: Sourced[int]
    image_height_px: Sourced[int]
    movie_extension: Sourced[str]
    frames_per_movie: Sourced[int]
    eer_frames_per_fraction: Sourced[int]
    gain_path: Sourced[str]
    gain_flip_x: Sourced[bool]
    gain_flip_y: Sourced[bool]
    gain_transpose: Sourced[bool]
    defects_path: Sourced[str]


def accumulated_dose_e_per_a2(series: TiltSeries, acquisition: Acquisition) -> tuple[float, ...]:
    """Dose before each tilt in e/Å², from *all* exposures in acquisition order.

    With a dose per tilt from a person (or from the group) it is rank times dose; where the mdoc's own doses are the
    source and believable for every tilt, their running sum. Source: facts/science-rules.md, "Dose".
    """
    if acquisition.dose_per_tilt_e_per_a2.source == "mdoc" and all(d > 0 for d in series.tilts.exposure_e_per_a2):
        total, result = 0.0, []
        for exposure in series.tilts.exposure_e_per_a2:
            result.append(round(total, 4))
            total += exposure
        return tuple(result)
    dose = acquisition.dose_per_tilt_e_per_a2.value or 0.0
    return tuple(round(rank * dose, 4) for rank in range(len(series.tilts)))
