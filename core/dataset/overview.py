"""Across series: the majority value of each quantity, and who departs from it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from core.dataset.model import TiltSeries

Comparable = float | str | None


@dataclass(frozen=True, slots=True)
class Majority:
    """``count`` of the ``total`` series that say anything say ``text``."""

    quantity: str
    text: str
    count: int
    total: int


@dataclass(frozen=True, slots=True)
class Departure:
    """A series says ``text`` where the majority says ``usual``."""

    quantity: str
    text: str
    usual: str


@dataclass(frozen=True, slots=True)
class Overview:
    """``departures``: by series id, one sentence for each quantity in which it differs from the majority; ``departing``
    the same by its parts."""

    headline: str
    majorities: tuple[Majority, ...]
    departures: Mapping[str, tuple[str, ...]]
    departing: Mapping[str, tuple[Departure, ...]]


@dataclass(frozen=True, slots=True)
class Row:
    """One series of the table that a person decides by. Angles in degrees, dose in e/Å² (None: unknown), pixel in Å."""

    series: str
    tilts: int
    lowest_deg: float
    highest_deg: float
    first_deg: float
    scheme: str
    total_dose_e_per_a2: float | None
    pixel_size_angstrom: float | None
    pixel_size_source: str
    tilt_axis_deg: float | None
    missing: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Quantity:
    """``tolerance`` is absolute, or relative to the majority's value with ``relative``; 0 compares for equality."""

    name: str
    value: Callable[[TiltSeries], Comparable]
    text: Callable[[Comparable], str]
    tolerance: float = 0.0
    relative: bool = False


def _detected(name: str) -> Callable[[TiltSeries], Comparable]:
    def value(series: TiltSeries) -> Comparable:
        found = series.detected.get(name)
        return None if found is None or found.value is None else found.value

    return value


def _image_size(series: TiltSeries) -> Comparable:
    width, height = series.detected.get("image_width_px"), series.detected.get("image_height_px")
    return f"{width.value} x {height.value}" if width and height else None


def _pixel_source(series: TiltSeries) -> Comparable:
    found = series.detected.get("pixel_size_angstrom")
    return None if found is None else found.source if found.confirmed else "unconfirmed"


def _gain(series: TiltSeries) -> Comparable:
    found = series.detected.get("gain_path")
    return os.path.basename(str(found.value)) if found and found.value else "none"


def _number(form: str) -> Callable[[Comparable], str]:
    return lambda value: "unknown" if value is None else format(round(float(value), 6) + 0.0, form)


def _plain(value: Comparable) -> str:
    return "unknown" if value is None else f"{value:g}" if isinstance(value, float | int) else value


_QUANTITIES = (
    _Quantity("tilts", lambda series: len(series.tilts), _plain),
    _Quantity("lowest tilt", lambda series: min(series.tilts.angle_deg), _number("+.1f"), 1.0),
    _Quantity("highest tilt", lambda series: max(series.tilts.angle_deg), _number("+.1f"), 1.0),
    _Quantity("first tilt", lambda series: series.tilts.angle_deg[0], _number("+.1f"), 1.0),
    _Quantity("scheme", lambda series: series.scheme, _plain),
    _Quantity("pixel size", _detected("pixel_size_angstrom"), _number(".4g"), 0.01, True),
    _Quantity("pixel size source", _pixel_source, _plain),
    _Quantity("axis", _detected("tilt_axis_deg"), _number(".1f"), 2.0),
    _Quantity("dose per tilt", _detected("dose_per_tilt_e_per_a2"), _number(".2f"), 0.05, True),
    _Quantity("voltage", _detected("voltage_kv"), _plain, 1.0),
    _Quantity("image size", _image_size, _plain),
    _Quantity("movies", _detected("movie_extension"), _plain),
    _Quantity("frames per movie", _detected("frames_per_movie"), _plain, 0.05, True),
    _Quantity("gain", _gain, _plain),
    _Quantity("software", _detected("software"), _plain),
)


def make_overview(series: Sequence[TiltSeries]) -> Overview:
    """The majority of each quantity, and every departure from it where more than half of the series agree."""
    majorities: list[Majority] = []
    departures: dict[str, list[str]] = {}
    departing: dict[str, list[Departure]] = {}
    for quantity in _QUANTITIES:
        values = [quantity.value(one) for one in series]
        known = [value for value in values if value is not None]
        if not known:
            continue
        usual, count = _majority(known, quantity)
        majorities.append(Majority(quantity.name, quantity.text(usual), count, len(known)))
        if count < 2 or count * 2 <= len(series):
            continue
        for one, value in zip(series, values, strict=True):
            if value is None or not _same(value, usual, quantity):
                departures.setdefault(one.id, []).append(
                    f"{quantity.name} {quantity.text(value)}: {count} others say {quantity.text(usual)}"
                )
                departing.setdefault(one.id, []).append(
                    Departure(quantity.name, quantity.text(value), quantity.text(usual))
                )
    return Overview(
        _headline(series),
        tuple(majorities),
        {key: tuple(value) for key, value in departures.items()},
        {key: tuple(value) for key, value in departing.items()},
    )


def row(series: TiltSeries, departures: Sequence[str] = ()) -> Row:
    """A series as the overview table shows it."""
    tilts = series.tilts
    pixel, axis = series.detected.get("pixel_size_angstrom"), series.detected.get("tilt_axis_deg")
    return Row(
        series=series.id,
        tilts=len(tilts),
        lowest_deg=min(tilts.angle_deg),
        highest_deg=max(tilts.angle_deg),
        first_deg=tilts.angle_deg[0],
        scheme=series.scheme,
        total_dose_e_per_a2=_total_dose(series),
        pixel_size_angstrom=float(pixel.value) if pixel and pixel.value is not None else None,
        pixel_size_source="" if pixel is None else pixel.source if pixel.confirmed else "unconfirmed",
        tilt_axis_deg=float(axis.value) if axis and axis.value is not None else None,
        missing=sum(1 for problem in tilts.problem if problem),
        notes=(*series.notes, *departures),
    )


def _total_dose(series: TiltSeries) -> float | None:
    """Where every tilt has a dose their sum, else tilts times the usual one."""
    dose = series.detected.get("dose_per_tilt_e_per_a2")
    if dose is None or dose.value is None:
        return None
    if all(exposure > 0 for exposure in series.tilts.exposure_e_per_a2):
        return round(sum(series.tilts.exposure_e_per_a2), 2)
    return round(float(dose.value) * len(series.tilts), 2)


def _majority(known: Sequence[Comparable], quantity: _Quantity) -> tuple[Comparable, int]:
    counts = Counter(known)
    if not quantity.tolerance:
        return counts.most_common(1)[0]
    best, most = known[0], 0
    for candidate in counts:
        agreeing = sum(count for value, count in counts.items() if _same(value, candidate, quantity))
        if agreeing > most:
            best, most = candidate, agreeing
    middle = median(float(value) for value in known if value is not None and _same(value, best, quantity))
    agreeing = sum(count for value, count in counts.items() if _same(value, middle, quantity))
    return (middle, agreeing) if agreeing >= most else (best, most)


def _same(value: Comparable, other: Comparable, quantity: _Quantity) -> bool:
    if not quantity.tolerance or value is None or other is None:
        return value == other
    allowed = quantity.tolerance * (abs(float(other)) if quantity.relative else 1.0)
    return abs(float(value) - float(other)) <= allowed + 1e-9


def _headline(series: Sequence[TiltSeries]) -> str:
    tilts = sum(len(one.tilts) for one in series)
    size = sum(sum(one.tilts.size_bytes) for one in series)
    parts = [f"{len(series):,} series", f"{tilts:,} tilts"]
    if size:
        parts.append(bytes_text(size))
    for name, label in (("software", "mdoc"), ("movie_extension", "frames")):
        values = sorted({str(one.detected[name].value) for one in series if name in one.detected})
        if values:
            parts.append(f"{label} {' and '.join(values)}")
    gains = {str(_gain(one)) for one in series} - {"none"}
    parts.append(f"gain {min(gains)}" if len(gains) == 1 else f"{len(gains)} gains" if gains else "no gain found")
    return " · ".join(parts)


def bytes_text(size: float) -> str:
    """``1.3 TB``: three digits and the unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
