"""What *New project* shows, as frozen data: the table of series, the tilts of one, the pipelines to start from. Made in
the worker process of :mod:`crboost_tui.import_worker`, sent to the app in pieces."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crboost_tui.terminal import cell_width

if TYPE_CHECKING:
    from pathlib import Path

    from core.dataset.model import TiltSeries
    from core.dataset.overview import Departure
    from core.dataset.scan import Inspection

SERIES, GROUP = "series", "optics"
COLUMNS = (SERIES, "tilts", "range", "first", "scheme", "dose", "pixel", "axis", "missing", GROUP)
RIGHT = frozenset({"tilts", "first", "dose", "axis", "missing"})
_COLUMN_OF = {
    "tilts": "tilts", "lowest tilt": "range", "highest tilt": "range", "first tilt": "first", "scheme": "scheme",
    "pixel size": "pixel", "pixel size source": "pixel", "axis": "axis", "dose per tilt": "dose",
}  # fmt: skip
_WEIGHTY = ("pixel size", "axis", "dose per tilt", "voltage", "image size", "gain")
"""Departures that are told first."""
_SHORT = {"dose-symmetric": "dose-sym", "bidirectional": "bidir", "unidirectional": "unidir"}


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """One tilt series. ``cells``, ``short`` (for narrow terminals) and ``order`` (to sort by) have an entry for each of
    :data:`COLUMNS`; ``odd`` are the places of cells that depart from the majority."""

    id: str
    mdoc: str
    tilts: int
    cells: tuple[str, ...]
    short: tuple[str, ...]
    order: tuple[float | str, ...]
    odd: tuple[int, ...] = ()
    note: str = ""
    """All that is odd about it, in few words."""
    notes: tuple[str, ...] = ()
    """The same in whole sentences."""
    known: bool = False
    """The project has it already."""
    excluded: bool = False
    """The project has it and leaves it out."""

    @property
    def good(self) -> bool:
        return not self.notes


@dataclass(frozen=True, slots=True)
class RefusedLine:
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class SeriesPicture:
    """``headline`` sums the data up; ``movies`` are those that become links. ``widths``, ``short_widths`` and ``alike``
    (what all series say, "" where they differ) have an entry for each of :data:`COLUMNS`."""

    headline: str
    lines: tuple[SeriesLine, ...] = ()
    refused: tuple[RefusedLine, ...] = ()
    groups: tuple[str, ...] = ()
    movies: int = 0
    widths: tuple[int, ...] = (0,) * len(COLUMNS)
    short_widths: tuple[int, ...] = (0,) * len(COLUMNS)
    alike: tuple[str, ...] = ("",) * len(COLUMNS)


@dataclass(frozen=True, slots=True)
class TiltLine:
    """One exposure, as texts. ``dose`` e/Å² before it."""

    number: str
    angle: str
    dose: str
    exposure: str
    frames: str
    size: str
    movie: str
    problem: str


@dataclass(frozen=True, slots=True)
class TiltPicture:
    id: str
    about: str
    lines: tuple[TiltLine, ...]


@dataclass(frozen=True, slots=True)
class PipelineChoice:
    """``name`` is "" for the empty pipeline. ``jobs``: (id, title)."""

    name: str
    title: str
    summary: str
    jobs: tuple[tuple[str, str], ...]


def series_line(
    series: TiltSeries, departures: Sequence[str], departing: Sequence[Departure], known: bool, excluded: bool
) -> SeriesLine:
    from core.dataset.overview import row

    one = row(series, departures)
    pixel, short_pixel = "–", "–"
    if one.pixel_size_angstrom is not None:
        source = one.pixel_size_source.removeprefix("movie ")
        pixel = f"{one.pixel_size_angstrom:.4g} {source}"
        short_pixel = f"{one.pixel_size_angstrom:.4g}" + ("?" if source == "unconfirmed" else "")
    scheme = one.scheme or "–"
    short_scheme = scheme
    for word, fewer in _SHORT.items():
        short_scheme = short_scheme.replace(word, fewer)
    cells = (
        one.series, str(one.tilts), f"{one.lowest_deg:+.0f} … {one.highest_deg:+.0f}", _signed(one.first_deg), scheme,
        _number(one.total_dose_e_per_a2), pixel, _number(one.tilt_axis_deg), str(one.missing) if one.missing else "–",
        series.group,
    )  # fmt: skip
    short = tuple({4: short_scheme, 6: short_pixel}.get(place, text) for place, text in enumerate(cells))
    order = (
        "", one.tilts, one.lowest_deg, one.first_deg, scheme, _last(one.total_dose_e_per_a2),
        _last(one.pixel_size_angstrom), _last(one.tilt_axis_deg), -one.missing, series.group,
    )  # fmt: skip
    odd = {COLUMNS.index(_COLUMN_OF[each.quantity]) for each in departing if each.quantity in _COLUMN_OF}
    if one.missing:
        odd.add(COLUMNS.index("missing"))
    if pixel.endswith("unconfirmed"):
        odd.add(COLUMNS.index("pixel"))
    return SeriesLine(
        series.id, series.mdoc, one.tilts, cells, short, order, tuple(sorted(odd)), _brief(series.notes, departing),
        one.notes, known, excluded,
    )  # fmt: skip


def _brief(notes: Sequence[str], departing: Sequence[Departure]) -> str:
    """``two movies are not there; axis -84.9, others 85.3``."""
    ordered = sorted(departing, key=lambda each: each.quantity not in _WEIGHTY)
    return "; ".join((*notes, *(f"{each.quantity} {each.text}, others {each.usual}" for each in ordered)))


def series_lines(found: Inspection, excluded: Collection[str] = ()) -> list[SeriesLine]:
    """The lines of the table in natural order. ``excluded``: series that the project leaves out."""
    overview, added = found.overview, set(found.added)
    return [
        series_line(
            series, overview.departures.get(series.id, ()), overview.departing.get(series.id, ()),
            series.id not in added, series.id in excluded,
        )
        for series in found.series
    ]  # fmt: skip


def summary(found: Inspection, lines: Sequence[SeriesLine]) -> SeriesPicture:
    """Everything about an inspection but the lines of its series, which are sent by themselves."""
    places = range(len(COLUMNS))
    return SeriesPicture(
        found.overview.headline,
        refused=tuple(RefusedLine(os.path.basename(each.mdoc), each.reason) for each in found.refused),
        groups=tuple(dict.fromkeys(series.group for series in found.series)),
        movies=sum(bool(source) for series in found.series for source in series.tilts.source),
        widths=tuple(max((cell_width(line.cells[place]) for line in lines), default=0) for place in places),
        short_widths=tuple(max((cell_width(line.short[place]) for line in lines), default=0) for place in places),
        alike=tuple(_only({line.cells[place] for line in lines}) for place in places),
    )


def tilt_picture(series: TiltSeries) -> TiltPicture:
    tilts = series.tilts
    dose = series.detected.get("dose_per_tilt_e_per_a2")
    usual = float(dose.value) if dose is not None and dose.value is not None else 0.0
    own = all(exposure > 0 for exposure in tilts.exposure_e_per_a2)
    total, lines = 0.0, []
    for place in range(len(tilts)):
        exposure = tilts.exposure_e_per_a2[place] if own else usual
        size = tilts.size_bytes[place] if tilts.size_bytes else 0
        lines.append(
            TiltLine(
                tilts.ids[place],
                _signed(tilts.angle_deg[place]),
                f"{total:.1f}" if exposure else "–",
                f"{exposure:.2f}" if exposure else "–",
                str(tilts.frame_count[place]) if tilts.frame_count[place] else "–",
                _bytes(size) if size else "–",
                _own_part(os.path.basename(tilts.source[place]), series.name) or "–",
                tilts.problem[place].replace(f" {series.name}", " …"),
            )
        )
        total += exposure
    bad = sum(bool(problem) for problem in tilts.problem)
    about = f"{len(tilts)} tilts, {series.scheme}" + (f", {bad} cannot be used" if bad else "")
    return TiltPicture(series.id, about, tuple(lines))


def pipeline_choices(folder: Path) -> tuple[PipelineChoice, ...]:
    from core.errors import CrboostError
    from core.jobs._registry import job_type
    from core.project.pipelines import list_pipelines

    def title(kind: str) -> str:
        try:
            return job_type(kind).title
        except CrboostError:
            return kind

    found = [
        PipelineChoice(each.name, each.title, each.summary, tuple((job.id, title(job.type)) for job in each.pipeline))
        for each in list_pipelines(folder)
    ]
    return (*found, PipelineChoice("", "Empty pipeline", "No jobs yet: add them one by one in the workspace.", ()))


def _own_part(movie: str, series: str) -> str:
    """A movie's name without that of its series: ``…_003_-6.0.mrc``."""
    return f"…{movie[len(series) :]}" if movie.startswith(series) and len(movie) > len(series) else movie


def _only(texts: Collection[str]) -> str:
    return next(iter(texts)) if len(texts) == 1 else ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _last(value: float | None) -> float:
    return float("inf") if value is None else value


def _signed(angle_deg: float) -> str:
    return f"{angle_deg:+.1f}" if abs(angle_deg) >= 0.05 else "0.0"


def _bytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
