"""The effective acquisition values of a series: a person's over decisions over what the files say over defaults."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from core.dataset.model import Acquisition, Sourced, TiltSeries
from core.errors import CrboostError
from core.formats.movie import read_movie_header

EER = ".eer"
WANTED_E_PER_A2_PER_FRACTION = 0.5
MOST_FRAMES_LOST = 0.15


class AxisDecision(Protocol):
    """As much of a project's decision as is needed here (``core.project.decisions`` stands above this layer)."""

    @property
    def state(self) -> str: ...
    @property
    def value(self) -> float | str | None: ...
    @property
    def by(self) -> str: ...


_SENTENCES = {
    "pixel_size_angstrom": "the movies' pixel size is not certain ({value} Å from {source})",
    "voltage_kv": "the voltage is not in the mdoc ({value} kV is assumed)",
    "dose_per_tilt_e_per_a2": "the dose per tilt is not certain ({value} e/Å² from {source})",
    "tilt_axis_deg": "the tilt axis is unknown",
    "image_width_px": "the movies' width is unknown: no movie could be read",
    "image_height_px": "the movies' height is unknown: no movie could be read",
    "gain_path": "a gain reference was found but nothing says that it belongs to these movies ({value})",
}


@dataclass(frozen=True, slots=True)
class EerFractions:
    """What a number of raw EER frames per fraction means for one movie."""

    fractions: int
    frames_lost: int
    e_per_a2_per_fraction: float


def effective(
    series: TiltSeries,
    values: Mapping[str, Any],
    instrument: Mapping[str, float | None],
    decisions: Mapping[str, AxisDecision],
) -> Acquisition:
    """The values that every job of this series uses.

    ``values``: what a person set for the series' acquisition group (and ``confirmed``: names of detected fields that
    they confirmed). ``instrument``: voltage, spherical aberration and amplitude contrast of the project. A calibrated
    tilt axis comes from ``decisions``. A nominal axis has the source ``nominal`` and is unconfirmed.
    """
    pick = _Picker(series, values, instrument)
    extension = pick("movie_extension", ".mrc", "default")
    extension = replace(extension, value=f".{str(extension.value).lstrip('.').lower()}")
    frames = pick("frames_per_movie", None, "movie header")
    dose = pick("dose_per_tilt_e_per_a2", None, "mdoc")
    return Acquisition(
        group=series.group,
        optics_group=str(values.get("optics_group") or series.group),
        pixel_size_angstrom=pick("pixel_size_angstrom", None, "movie header"),
        voltage_kv=pick("voltage_kv", 300.0, "assumed", certain=False),
        spherical_aberration_mm=pick("spherical_aberration_mm", 2.7, "default"),
        amplitude_contrast=pick("amplitude_contrast", 0.1, "default"),
        dose_per_tilt_e_per_a2=dose,
        tilt_axis_deg=_axis(pick, decisions.get(f"tilt_axis:{series.group}")),
        invert_tilt_angles=pick("invert_tilt_angles", True, "default"),
        image_width_px=pick("image_width_px", None, "movie header"),
        image_height_px=pick("image_height_px", None, "movie header"),
        movie_extension=extension,
        frames_per_movie=frames,
        eer_frames_per_fraction=_eer(pick, extension.value, frames.value, dose.value),
        gain_path=pick("gain_path", "", "none found"),
        gain_flip_x=pick("gain_flip_x", False, "default"),
        gain_flip_y=pick("gain_flip_y", False, "default"),
        gain_transpose=pick("gain_transpose", False, "default"),
        defects_path=pick("defects_path", "", "none found"),
    )


def unconfirmed(acquisition: Acquisition) -> list[tuple[str, str]]:
    """(field, sentence) of every value that a run must not rely on until a person sets or confirms it.

    A nominal tilt axis is not among them: alignment calibrates it.
    """
    result = []
    for name, sentence in _SENTENCES.items():
        value: Sourced[Any] = getattr(acquisition, name)
        certain = value.confirmed or (name == "tilt_axis_deg" and value.value is not None)
        missing = value.value is None or (value.value == "" and not value.confirmed)
        if certain and not missing:
            continue
        if missing and name in ("pixel_size_angstrom", "dose_per_tilt_e_per_a2"):
            sentence = sentence.partition(" is not certain")[0] + " is unknown"
        if missing and name == "gain_path":
            sentence = "several gain references were found: choose one, or set none"
        shown = f"{value.value:g}" if isinstance(value.value, float) else value.value
        verb = "set" if missing else "confirm or set"
        result.append((name, f"{sentence.format(value=shown, source=value.source)}: {verb} {name}."))
    return result


def eer_fractions(frames: int, frames_per_fraction: int, dose_e_per_a2: float) -> EerFractions:
    """Whole fractions of a movie, the raw frames left over, and e/Å² in each fraction.

    The dose of a movie is spread over all its raw frames. 1,000 frames, 3 e/Å², 160 per fraction: 6 fractions, 40
    frames lost, 0.48 e/Å². Raises ValueError where a number is not positive.
    """
    if frames <= 0 or frames_per_fraction <= 0:
        raise ValueError("frames and frames per fraction must be positive")
    fractions = frames // frames_per_fraction
    return EerFractions(
        fractions, frames - fractions * frames_per_fraction, round(dose_e_per_a2 * frames_per_fraction / frames, 4)
    )


def suggested_eer_frames_per_fraction(frames: int, dose_e_per_a2: float) -> int:
    """The number with about 0.5 e/Å² in a fraction that loses the fewest frames, within 30 % of that aim and losing
    less than 15 % where that is possible; of equal ones the nearest to the aim."""
    if frames <= 0 or dose_e_per_a2 <= 0:
        return 0
    aim = max(1, min(frames, round(frames * WANTED_E_PER_A2_PER_FRACTION / dose_e_per_a2)))
    candidates = range(max(1, round(aim * 0.7)), min(frames, round(aim * 1.3)) + 1)
    near = [n for n in candidates if abs(n - aim) <= 0.1 * aim and frames % n < MOST_FRAMES_LOST * frames]
    return min(near or candidates, key=lambda n: (frames % n, abs(n - aim)))


def gain_problem(acquisition: Acquisition) -> str | None:
    """Why the gain reference does not fit the movies, as a sentence; None where it does or there is none.

    Width and height must be the movie's, for EER once, twice or four times that. A reference that fits only when
    turned needs the transposition. A .gain file is a TIFF; Gatan's .dm4 must be converted.
    """
    path = acquisition.gain_path.value
    width, height = acquisition.image_width_px.value, acquisition.image_height_px.value
    if not path:
        return None
    if path.lower().endswith((".dm3", ".dm4")):
        return f"the gain {path} is in Gatan's own format: convert it to MRC first (IMOD's dm2mrc)."
    try:
        header = read_movie_header(Path(path))
    except CrboostError as error:
        return f"the gain {path} {error.sentence}"
    if width is None or height is None:
        return None
    size = (header.width_px, header.height_px)
    if acquisition.gain_transpose.value:
        size = size[::-1]
    factors = (1, 2, 4) if acquisition.movie_extension.value == EER else (1,)
    allowed = [(factor * width, factor * height) for factor in factors]
    if size in allowed:
        return None
    if size[::-1] in allowed:
        other = "off" if acquisition.gain_transpose.value else "on"
        return f"the gain is turned by 90° against the movies ({width} x {height}): switch gain_transpose {other}."
    shown = " or ".join(f"{one} x {two}" for one, two in allowed)
    return f"the gain is {header.width_px} x {header.height_px}, the movies need {shown}: choose another gain."


def gain_factor(acquisition: Acquisition, gain_size_px: tuple[int, int]) -> int | None:
    """How many times the movie's size an EER gain has (1, 2 or 4), None where it does not fit. The movie read at that
    super-resolution has the pixel size divided by it."""
    width, height = acquisition.image_width_px.value, acquisition.image_height_px.value
    if not width or not height:
        return None
    return next((n for n in (1, 2, 4) if gain_size_px in ((n * width, n * height), (n * height, n * width))), None)


class _Picker:
    """A field's value: set by a person for the group, or for the instrument, or detected, or the default."""

    def __init__(self, series: TiltSeries, values: Mapping[str, Any], instrument: Mapping[str, float | None]) -> None:
        self.detected = series.detected
        self.values = values
        self.instrument = instrument
        self.confirmed: Collection[str] = values.get("confirmed") or ()

    def __call__(self, name: str, default: Any, source: str, *, certain: bool = True) -> Sourced[Any]:
        own = self.values.get(name)
        if own is None:
            own = self.instrument.get(name)
        if own is not None:
            return Sourced(own, "you")
        found: Sourced[Any] | None = self.detected.get(name)
        if found is None or (found.value is None and default is not None and name not in ("gain_path",)):
            found = Sourced(default, source, certain and default is not None)
        if name in self.confirmed and found.value is not None:
            return replace(found, confirmed=True)
        return found


def _axis(pick: _Picker, decision: AxisDecision | None) -> Sourced[float]:
    found: Sourced[float] = pick("tilt_axis_deg", None, "mdoc")
    if found.source == "you":
        return found
    if "tilt_axis_deg" in pick.confirmed and found.value is not None:
        return Sourced(found.value, "you")
    if decision is not None and decision.state == "decided" and isinstance(decision.value, int | float):
        return Sourced(float(decision.value), "you" if decision.by == "you" else "calibrated")
    return Sourced(found.value, "nominal", False)


def _eer(pick: _Picker, extension: str | None, frames: int | None, dose: float | None) -> Sourced[int]:
    if extension != EER:
        return Sourced(0, "not EER")
    suggested = suggested_eer_frames_per_fraction(frames or 0, dose or 0.0) or max(1, (frames or 0) // 8)
    found: Sourced[int] = pick("eer_frames_per_fraction", suggested, "suggested")
    return found
