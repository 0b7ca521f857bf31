"""What one series' own mdoc and movie say about its acquisition, each value with its source.

Sources of the rules: facts/science-rules.md, "Pixel size, axis and dimensions from files".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from core.dataset.model import Sourced

SIMPLE_BINNINGS = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, 32.0)
LOWEST_DOSE_E_PER_A2 = 0.1
HIGHEST_DOSE_E_PER_A2 = 20.0
"""Believable exposures of one tilt; outside lie counting mistakes and single long exposures."""


@dataclass(frozen=True, slots=True)
class Detected:
    """A value and what has to be said about it ("" where nothing)."""

    value: Sourced[float]
    note: str = ""


def pixel_size(
    spacing_angstrom: float | None,
    image_size_px: tuple[int, int] | None,
    movie_size_px: tuple[int, int] | None,
    header_angstrom: float | None = None,
) -> Detected:
    """The movie's pixel size: mdoc PixelSpacing * mdoc ImageSize / movie size.

    The image that an mdoc describes is binned, and trimmed by some pixels to a size that suits an FFT. So the ratio of
    the two sizes is taken as the nearest simple binning where one lies within 2 %: EMPIAR-10164, 7420/924 = 8.03 and
    7676/958 = 8.01, is 8, and the pixel 5.4 / 8 = 0.675 Å. The size ratios of width and height must agree within 1 %.
    Unconfirmed without a movie, without an ImageSize, and where they disagree.
    """
    if spacing_angstrom is None or spacing_angstrom <= 0:
        if header_angstrom is not None and _says_something(header_angstrom):
            return Detected(Sourced(round(header_angstrom, 4), "movie header", False), "the mdoc has no PixelSpacing")
        return Detected(Sourced(None, "mdoc", False), "the mdoc has no PixelSpacing")
    if movie_size_px is None:
        return Detected(Sourced(spacing_angstrom, "mdoc PixelSpacing", False))
    if image_size_px is None or min(image_size_px) <= 0:
        return Detected(
            Sourced(spacing_angstrom, "mdoc PixelSpacing", False), "the mdoc has no ImageSize to compare with the movie"
        )
    ratios = (movie_size_px[0] / image_size_px[0], movie_size_px[1] / image_size_px[1])
    note = ""
    if not _agree(*ratios, 0.01):
        turned = (movie_size_px[0] / image_size_px[1], movie_size_px[1] / image_size_px[0])
        if not _agree(*turned, 0.01):
            return Detected(
                Sourced(round(spacing_angstrom / max(ratios), 4), "mdoc and movie header", False),
                f"the movie is {_size(movie_size_px)} and the mdoc's image {_size(image_size_px)}: "
                "their sides do not fit each other",
            )
        ratios, note = turned, "movies are turned by 90° against the mdoc's images"
    ratio = (ratios[0] * ratios[1]) ** 0.5
    nearest = min(SIMPLE_BINNINGS, key=lambda binning: abs(binning / ratio - 1))
    if abs(nearest / ratio - 1) <= 0.02:
        ratio = nearest
    else:
        note = f"movies are {ratio:.3f} times the mdoc's images, which is no simple binning"
    value = round(spacing_angstrom / ratio, 4)
    if _says_something(header_angstrom) and not _agree(header_angstrom or 0.0, value, 0.02):
        note = f"the movie's header says {header_angstrom:.4g} Å per pixel"
    return Detected(Sourced(value, "movie header"), note)


def tilt_axis(
    serialem_deg: float | None, tomo5_deg: float | None, rotation_deg: float | None, software: str
) -> Detected:
    """The tilt axis in degrees as SerialEM counts it: nominal, whatever it says.

    SerialEM has it in a title line (``serialem_deg``); otherwise it is RotationAngle - 90. Tomo 5 writes
    ``TiltAxisAngle`` in a title (``tomo5_deg``) in another convention, which its RotationAngle R reveals, as IMOD's
    ``header`` program decides: R where the title is -(R + 90), the title where it is R - 90, the title's opposite
    where it is -(R - 90).
    """
    if serialem_deg is not None:
        return Detected(Sourced(normalised_deg(serialem_deg), "mdoc title"))
    if rotation_deg is None:
        if tomo5_deg is None:
            return Detected(Sourced(None, "mdoc", False), "the mdoc has no tilt axis")
        return Detected(
            Sourced(normalised_deg(-tomo5_deg - 90), "mdoc title", False), "Tomo 5 gives no RotationAngle with its axis"
        )
    if tomo5_deg is None:
        if software == "Tomo 5":
            return Detected(Sourced(normalised_deg(rotation_deg), "mdoc RotationAngle", False))
        return Detected(Sourced(normalised_deg(rotation_deg - 90), "mdoc RotationAngle"))
    for expected, axis in (
        (-(rotation_deg + 90), rotation_deg),
        (rotation_deg - 90, tomo5_deg),
        (-(rotation_deg - 90), -tomo5_deg),
    ):
        if abs(normalised_deg(expected - tomo5_deg)) < 0.11:
            return Detected(Sourced(normalised_deg(axis), "mdoc title and RotationAngle", False))
    return Detected(
        Sourced(normalised_deg(rotation_deg), "mdoc RotationAngle", False),
        f"TiltAxisAngle {tomo5_deg:g} and RotationAngle {rotation_deg:g} in the mdoc do not fit each other",
    )


def normalised_deg(angle: float) -> float:
    """The same direction in (-180, 180]."""
    return round(180 - (180 - angle) % 360, 4)


def dose_per_tilt(exposures_e_per_a2: Sequence[float]) -> Detected:
    """The usual ExposureDose of a tilt in e/Å², confirmed only where every tilt has a believable one.

    0 means unknown.
    """
    known = [dose for dose in exposures_e_per_a2 if dose > 0]
    if not known:
        return Detected(Sourced(None, "mdoc", False), "the mdoc says dose 0, which means unknown")
    usual = round(median(known), 4)
    unbelievable = [dose for dose in known if not LOWEST_DOSE_E_PER_A2 <= dose <= HIGHEST_DOSE_E_PER_A2]
    if unbelievable:
        return Detected(
            Sourced(usual, "mdoc", False),
            f"a dose of {unbelievable[0]:.4g} e/Å² for one tilt is not believable "
            f"({LOWEST_DOSE_E_PER_A2:g} to {HIGHEST_DOSE_E_PER_A2:g} is)",
        )
    if len(known) < len(exposures_e_per_a2):
        missing = len(exposures_e_per_a2) - len(known)
        return Detected(
            Sourced(usual, "mdoc", False), f"the mdoc has no dose for {missing} of {len(exposures_e_per_a2)} tilts"
        )
    note = ""
    if max(known) > 1.05 * min(known):
        note = f"the dose differs between tilts, {min(known):.2f} to {max(known):.2f} e/Å²"
    return Detected(Sourced(usual, "mdoc"), note)


def software_of(titles: Sequence[str]) -> str:
    """``SerialEM``, ``Tomo 5`` or ""."""
    text = " ".join(titles)
    if "SerialEM" in text:
        return "SerialEM"
    return "Tomo 5" if "Tomography" in text or "TOMO5" in text.upper().replace(" ", "") else ""


def _says_something(header_angstrom: float | None) -> bool:
    """Whether a header's pixel size is one: programs that do not know it write 0 or 1."""
    return header_angstrom is not None and 0.1 <= header_angstrom <= 20 and header_angstrom != 1.0


def _agree(one: float, other: float, tolerance: float) -> bool:
    return abs(one - other) <= tolerance * max(abs(one), abs(other))


def _size(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]} x {size_px[1]}"
