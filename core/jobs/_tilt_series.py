"""What the steps on whole tilt series with WarpTools share: places, settings, and the geometry of a tilt-series XML.

Each job has one processing folder ``warp_tiltseries`` with one XML per series; a task works on one series
(``--input_data``), reads the XML of its upstream job (``--input_processing``) and writes its own
(``--output_processing``). What an earlier attempt left is moved aside first: an old XML beats the ``.tomostar``, and an
old ``.xf`` beats a newer alignment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InputError, WorkFailed
from core.formats.warp_xml import TiltSeriesXml, read_tilt_series
from core.jobs._base import JobContext, Producer, SeriesContext, StarValue, TaskContext
from core.jobs._star import Row, average_pixel_angstrom, by_movie, global_row, read_series
from core.jobs._task import MakeFolder, MoveAside, StageOperation
from core.jobs._warp import OptionValue, needed, settings_command
from core.jobs.fields import JobParameters
from core.project.decisions import tilt_axis_key
from core.quality.axis import departure_deg, mean_axis_deg
from core.quality.geometry import WarpTilt, relion_tilt, tomogram_dimensions_px
from core.tools.command import Command

PROCESSING = "warp_tiltseries"
SETTINGS = "settings"
ALIGNMENT_TYPE = "aligntiltsWarp"


def processing(folder: Path) -> Path:
    return folder / PROCESSING


def series_xml(folder: Path, series_id: str) -> Path:
    """The XML of one series in a job folder."""
    return processing(folder) / f"{series_id}.xml"


def settings_file(folder: Path, series_id: str) -> Path:
    return folder / SETTINGS / f"{series_id}.settings"


def tomostar_producer(context: SeriesContext[Any]) -> Producer:
    found = context.ancestor("tomostar")
    if found is None:
        raise InputError(f"There is no job before this one that makes a tomostar of {context.series.id}.")
    return found


def tomostar(context: SeriesContext[Any]) -> Path:
    return tomostar_producer(context).folder / "tomostar" / f"{context.series.id}.tomostar"


def upstream(context: SeriesContext[Any], slot: str) -> Producer:
    found = context.inputs.get(slot)
    if found is None:
        raise InputError(f"Input {slot} of {context.series.id} is not connected.")
    return found


def axis_is_given(context: SeriesContext[Any]) -> bool:
    """A person gave the group's axis; then nothing is calibrated."""
    axis = context.acquisition.tilt_axis_deg
    return axis.value is not None and axis.source == "you" and axis.confirmed


def axis_deg(job: JobContext[Any], context: SeriesContext[Any]) -> float:
    """The fixed tilt axis of a series: its own, a person's of the group, the decided one, else the nominal one.

    Raises :class:`InputError` where nobody knows any.
    """
    own = getattr(alignment_values(context), "tilt_axis", None)
    if own is not None:
        return float(own)
    decision = job.decisions.get(tilt_axis_key(context.series.group))
    if not axis_is_given(context) and decision is not None and decision.state == "decided":
        return float(decision.value or 0.0)
    return float(needed(context.acquisition.tilt_axis_deg, "tilt axis", context.series.group))


def alignment_values(context: SeriesContext[Any]) -> JobParameters:
    """The parameters of the alignment that this series went or goes through."""
    if hasattr(context.values, "tomogram_thickness"):
        values: JobParameters = context.values
        return values
    for producer in context.inputs.values():
        for candidate in producer.chain():
            if hasattr(candidate.values, "tomogram_thickness"):
                return candidate.values
    raise InputError(f"There is no {ALIGNMENT_TYPE} before this job for {context.series.id}.")


def dimensions_px(job: JobContext[Any], context: SeriesContext[Any]) -> tuple[int, int, int]:
    """Unbinned size of the tomogram, with its Y along the tilt axis."""
    group, acquisition = context.series.group, context.acquisition
    size = (
        int(needed(acquisition.image_width_px, "image width", group)),
        int(needed(acquisition.image_height_px, "image height", group)),
    )
    thickness = float(getattr(alignment_values(context), "tomogram_thickness"))  # noqa: B009
    pixel = float(needed(acquisition.pixel_size_angstrom, "pixel size", group))
    return tomogram_dimensions_px(size, axis_deg(job, context), thickness, pixel)


def series_settings(job: JobContext[Any], task: TaskContext[Any], context: SeriesContext[Any], folder: Path) -> Command:
    """``create_settings`` for one series, ``<folder>/settings/<id>.settings``: no two tasks share a settings file. The
    binning is that of the averages."""
    frames = context.ancestor("frame_series")
    binning = getattr(frames.values, "bin_times", 0.0) if frames is not None else 0.0
    return settings_command(
        job,
        task,
        output=settings_file(folder, context.series.id),
        folder_data=tomostar_producer(context).folder / "tomostar",
        extension="*.tomostar",
        folder_processing=processing(folder),
        acquisition=context.acquisition,
        tomo_dimensions_px=dimensions_px(job, context),
        extra=[("--bin", binning)] if binning else [],
    )


def series_options(
    context: SeriesContext[Any], folder: Path, input_folder: Path | None = None
) -> list[tuple[str, OptionValue]]:
    """``--settings``, one item of ``--input_data``, where to read the XML from and where to write it."""
    options: list[tuple[str, OptionValue]] = [
        ("--settings", settings_file(folder, context.series.id)),
        ("--input_data", [tomostar(context)]),
    ]
    if input_folder is not None:
        options.append(("--input_processing", processing(input_folder)))
    options.append(("--output_processing", processing(folder)))
    return options


def clean_stage(folder: Path, series_id: str, *more: Path) -> tuple[StageOperation, ...]:
    """The folders, without what an earlier attempt of this series left (``more``: beside its XML)."""
    return (
        MakeFolder(str(folder / SETTINGS)),
        MakeFolder(str(processing(folder))),
        MoveAside(str(series_xml(folder, series_id))),
        *(MoveAside(str(path)) for path in more),
    )


def inputs(context: SeriesContext[Any], upstream_folder: Path | None = None) -> tuple[str, ...]:
    """Files that must be visible before the task starts."""
    found = [str(tomostar(context))]
    if upstream_folder is not None:
        found.append(str(series_xml(upstream_folder, context.series.id)))
    return tuple(found)


def average_pixel(context: SeriesContext[Any]) -> float:
    """Pixel size of the motion-corrected averages (Å), which is RELION's tilt-series pixel size."""
    found = average_pixel_angstrom(context)
    return found or float(needed(context.acquisition.pixel_size_angstrom, "pixel size", context.series.group))


def check_pixel(context: SeriesContext[Any], pixel_angstrom: float, field: str) -> None:
    """Raises :class:`InputError` where a step's pixel is smaller than the averages': WarpTools refuses that."""
    smallest = average_pixel(context)
    if pixel_angstrom < smallest - 1e-6:
        sentence = f"{pixel_angstrom:g} Å/px is finer than the averages of {context.series.id} ({smallest:g} Å/px)."
        raise InputError(sentence, field)


def read_product(folder: Path, series_id: str) -> TiltSeriesXml:
    """The series XML of this job. Raises :class:`WorkFailed` where Warp deselected the series: its worker failed."""
    xml = read_tilt_series(series_xml(folder, series_id))
    if xml.unselect_manual:
        raise WorkFailed(f"WarpTools deselected {series_id}: the step failed inside, see its log.")
    return xml


@dataclass(frozen=True, slots=True)
class XmlTilt:
    """One tilt of a series XML. ``index`` is its place there (the Z of its grid nodes), ``movie`` the movie's name."""

    index: int
    movie: str
    used: bool
    geometry: WarpTilt


def xml_tilts(xml: TiltSeriesXml) -> list[XmlTilt]:
    """All tilts in the XML's order."""
    return [
        XmlTilt(
            index,
            path.replace("\\", "/").rsplit("/", 1)[-1],
            xml.use_tilt[index],
            WarpTilt(
                angle_deg=xml.angles_deg[index],
                axis_deg=xml.axis_angles_deg[index],
                offset_x_angstrom=xml.offsets_x_angstrom[index],
                offset_y_angstrom=xml.offsets_y_angstrom[index],
                level_x_deg=xml.level_angle_x_deg,
                level_y_deg=xml.level_angle_y_deg,
                inverted=xml.angles_inverted,
                defocus_um=xml.grid_ctf.get(index, 0.0),
                defocus_delta_um=xml.grid_ctf_delta.get(index, 0.0),
            ),
        )
        for index, path in enumerate(xml.movie_paths)
    ]


def refined_axis_deg(xml: TiltSeriesXml) -> float:
    """The axis of the used tilts of one series."""
    return mean_axis_deg([tilt.geometry.axis_deg for tilt in xml_tilts(xml) if tilt.used])


def geometry_columns(tilts: Iterable[XmlTilt]) -> dict[str, dict[str, StarValue]]:
    """RELION's geometry columns by movie name, of the used tilts only."""
    columns: dict[str, dict[str, StarValue]] = {}
    for tilt in tilts:
        if tilt.used:
            relion = relion_tilt(tilt.geometry)
            columns[tilt.movie] = {
                "rlnTomoXTilt": relion.x_tilt_deg,
                "rlnTomoYTilt": relion.y_tilt_deg,
                "rlnTomoZRot": relion.z_rot_deg,
                "rlnTomoXShiftAngst": relion.shift_x_angstrom,
                "rlnTomoYShiftAngst": relion.shift_y_angstrom,
            }
    return columns


def upstream_rows(context: SeriesContext[Any], slot: str) -> list[Row]:
    return read_series(upstream(context, slot).folder, context.series.id)


def dropped_notes(rows: Sequence[Row], tilts: Sequence[XmlTilt]) -> tuple[str, ...]:
    """Sentences about tilts of the upstream table that are not used."""
    unused = [tilt.movie for tilt in tilts if not tilt.used]
    absent = sorted(by_movie(rows).keys() - {tilt.movie for tilt in tilts})
    notes = []
    if unused:
        notes.append(f"{len(unused)} of {len(tilts)} tilts are not used after alignment: {', '.join(unused)}.")
    if absent:
        notes.append(f"{len(absent)} tilts are not in WarpTools' series: {', '.join(absent)}.")
    return tuple(notes)


def per_tilt(context: SeriesContext[Any], values: Mapping[str, float]) -> list[float | None]:
    """Values by movie name, in acquisition order with None where a tilt has none."""
    return [values.get(movie) if movie else None for movie in context.series.tilts.movie]


def geometry_numbers(job: JobContext[Any], context: SeriesContext[Any], tilts: Sequence[XmlTilt]) -> dict[str, float]:
    """Tilts used, the axis found and its departure from the group's, the largest shift."""
    used = [tilt.geometry for tilt in tilts if tilt.used]
    if not used:
        raise WorkFailed(f"No tilt of {context.series.id} is used after alignment.")
    axis = mean_axis_deg([tilt.axis_deg for tilt in used])
    return {
        "tilts_used": float(len(used)),
        "tilt_axis_deg": axis,
        "tilt_axis_departure_deg": departure_deg(axis, axis_deg(job, context)),
        "largest_shift_angstrom": max((tilt.offset_x_angstrom**2 + tilt.offset_y_angstrom**2) ** 0.5 for tilt in used),
    }


def aligned_row(
    job: JobContext[Any], context: SeriesContext[Any], more: Mapping[str, StarValue] | None = None
) -> dict[str, StarValue]:
    """The global row of an aligned series, with its tomogram's size in pixels of the averages, as RELION counts it."""
    raw = needed(context.acquisition.pixel_size_angstrom, "pixel size", context.series.group)
    x, y, z = (round(side * raw / average_pixel(context)) for side in dimensions_px(job, context))
    return global_row(job, context, {"rlnTomoSizeX": x, "rlnTomoSizeY": y, "rlnTomoSizeZ": z, **(more or {})})


def alignment_per_tilt(context: SeriesContext[Any], tilts: Sequence[XmlTilt]) -> dict[str, list[float | None]]:
    used = [tilt for tilt in tilts if tilt.used]
    return {
        "tilt_angle_deg": per_tilt(context, {tilt.movie: tilt.geometry.angle_deg for tilt in used}),
        "shift_x_angstrom": per_tilt(context, {tilt.movie: tilt.geometry.offset_x_angstrom for tilt in used}),
        "shift_y_angstrom": per_tilt(context, {tilt.movie: tilt.geometry.offset_y_angstrom for tilt in used}),
    }
