"""Frame series: motion correction, averages (with halves) and a first CTF fit of every tilt, with WarpTools.

Every series has its own settings, its own processing folder ``warp_frameseries/<id>/`` and its own list of movies, so
that thousands of series neither see nor slow down each other. An attempt starts from an empty processing folder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from pydantic import Field

from core.dataset.model import Acquisition
from core.formats.motion_json import read_tracks
from core.formats.warp_xml import FrameSeriesXml, read_frame_series
from core.jobs._base import (
    JobContext,
    Needs,
    Problem,
    SeriesContext,
    SeriesResult,
    Slot,
    StarValue,
    TaskContext,
)
from core.jobs._star import TableJob, add_columns, global_row, read_series, write_series
from core.jobs._task import Check, MakeFolder, MoveAside, Product, Work, WriteText
from core.jobs._warp import (
    WarpRun,
    extra_argument_problems,
    grid_size,
    movie_pattern,
    movie_root,
    needed,
    settings_command,
    tilt_list_text,
    warp_cause,
    warp_command,
    warp_progress,
)
from core.jobs.fields import Flag, Group, Level, Unit
from core.jobs.importmovies import movie_paths, usable

VERB = "fs_motion_and_ctf"
EARLY_DOSE_E_PER_A2 = 4.0
"""RELION counts motion before this accumulated dose as early."""
GOOD_TILT_DEG = 30.0
"""CTF resolutions of tilts beyond this angle say little about the microscope's focus and are left out of the median."""

_GRID = r"^([1-9]\d*x[1-9]\d*x[1-9]\d*)?$"


class Parameters(WarpRun):
    m_range_min: Annotated[float, Group("Motion"), Unit("Å"), Flag("--m_range_min"), Field(gt=0, le=5000)] = 500.0
    """Coarsest detail that the motion fit uses."""
    m_range_max: Annotated[float, Group("Motion"), Unit("Å"), Flag("--m_range_max"), Field(gt=0, le=1000)] = 10.0
    """Finest detail that the motion fit uses."""
    m_bfac: Annotated[float, Group("Motion"), Unit("Å²"), Flag("--m_bfac"), Field(ge=-10000, le=0)] = -500.0
    """B-factor that weights fine detail down in the motion fit; more negative is smoother."""
    m_grid: Annotated[str, Group("Motion"), Flag("--m_grid"), Field(pattern=_GRID)] = "1x1x3"
    """Motion model, X x Y x time: 1x1x3 is one smooth track per tilt, as low doses need. Empty: WarpTools chooses."""
    c_range_min: Annotated[float, Group("CTF"), Unit("Å"), Flag("--c_range_min"), Field(gt=0, le=500)] = 30.0
    """Coarsest detail that the CTF fit uses."""
    c_range_max: Annotated[float, Group("CTF"), Unit("Å"), Flag("--c_range_max"), Field(gt=0, le=100)] = 6.0
    """Finest detail that the CTF fit uses."""
    c_defocus_min: Annotated[float, Group("CTF"), Unit("µm"), Flag("--c_defocus_min"), Field(ge=0, le=50)] = 0.5
    """Lower end of the defocus search; underfocus is positive."""
    c_defocus_max: Annotated[float, Group("CTF"), Unit("µm"), Flag("--c_defocus_max"), Field(gt=0, le=50)] = 8.0
    """Upper end of the defocus search."""
    c_window: Annotated[int, Group("CTF"), Unit("px"), Flag("--c_window"), Field(ge=128, le=4096, multiple_of=2)] = 512
    """Size of the windows of the power spectrum; larger for high defocus."""
    c_grid: Annotated[str, Group("CTF"), Flag("--c_grid"), Field(pattern=_GRID)] = "2x2x1"
    """Defocus model, X x Y x frames: 2x2x1 lets the handedness be found. Empty: WarpTools chooses."""
    c_use_sum: Annotated[bool, Group("CTF"), Level.ADVANCED, Flag("--c_use_sum")] = False
    """Fit the spectrum of the motion-corrected average, not the mean of the frames' spectra; for very low doses."""
    c_fit_phase: Annotated[bool, Group("CTF"), Level.ADVANCED, Flag("--c_fit_phase")] = False
    """Fit a phase shift too; only for data taken with a phase plate."""
    out_average_halves: Annotated[bool, Group("Output"), Flag("--out_average_halves")] = True
    """Write averages of even and of odd frames too: denoising needs them."""
    out_skip_first: Annotated[int, Group("Output"), Unit("frames"), Flag("--out_skip_first"), Field(ge=0, le=1000)] = 0
    """Frames at the beginning of each movie that stay out of the averages."""
    out_skip_last: Annotated[int, Group("Output"), Unit("frames"), Flag("--out_skip_last"), Field(ge=0, le=1000)] = 0
    """Frames at the end of each movie that stay out of the averages."""
    out_thumbnails: Annotated[
        int, Group("Output"), Level.ADVANCED, Unit("px"), Flag("--out_thumbnails"), Field(ge=0, le=4096, multiple_of=2)
    ] = 0
    """Long side of a PNG preview of every average; 0 for none."""
    bin_times: Annotated[float, Group("Output"), Level.ADVANCED, Flag("--bin"), Field(ge=0, le=4)] = 0.0
    """Binning of the averages as a power of two: 0 none, 1 for super-resolution movies (half as many pixels a side)."""
    allow_failed_tilts: Annotated[int, Group("Failures"), Level.ADVANCED, Field(ge=0, le=3)] = 0
    """Tilts of a series that may fail; they are left out. At 4 WarpTools gives up the machine and never ends."""


@dataclass(frozen=True, slots=True)
class TiltFiles:
    """Places of one movie's products; ``average``, ``even``, ``odd``, ``spectrum`` and ``tracks`` may not be there."""

    xml: Path
    average: Path
    even: Path
    odd: Path
    spectrum: Path
    tracks: Path


class FsMotionAndCtf(TableJob[Parameters]):
    name = "fsMotionAndCtf"
    title = "Motion and CTF"
    summary = "Corrects the motion within each tilt's movie, writes averages and halves, and fits a first CTF."
    parameters = Parameters
    slots = (Slot("movies", "movies", "Imported movies and their tilt angles."),)
    provides = ("frame_series",)
    main_output = ("fs_motion_and_ctf.star", "TomogramGroupMetadata.star.relion.tomo.ctffind")
    tools = ("warp",)
    needs = Needs(cpus=4, gpus=1, memory_gb=24, minutes=60)
    acquisition_fields = (
        "pixel_size_angstrom",
        "voltage_kv",
        "spherical_aberration_mm",
        "amplitude_contrast",
        "dose_per_tilt_e_per_a2",
        "movie_extension",
        "eer_frames_per_fraction",
        "gain_path",
        "gain_flip_x",
        "gain_flip_y",
        "gain_transpose",
        "defects_path",
    )
    gather_decisions = ("handedness",)

    def checks(self, values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
        problems = _range_problems(values) + _grid_problems(values)
        problems += extra_argument_problems(VERB, str(values.get("extra_arguments") or ""))
        if acquisition is not None:
            problems += _nyquist_problems(values, acquisition) + _frame_problems(values, acquisition)
        return problems

    def build(self, task: TaskContext[Parameters]) -> Work:
        job, context = task.job, task.series
        assert context is not None
        values, acquisition, series = context.values, context.acquisition, context.series.id
        movies = movie_paths(job.project, context)
        settings = settings_file(job.folder, series)
        movie_list = job.folder / "lists" / f"{series}.txt"
        processing = processing_folder(job.folder, series)
        files = [tilt_files(job.folder, series, path.name) for path in movies.values()]
        group = acquisition.group
        make_settings = settings_command(
            job,
            task,
            output=settings,
            folder_data=job.project / "frames",
            extension=movie_pattern(acquisition, [path.name for path in movies.values()]),
            folder_processing=processing,
            acquisition=acquisition,
            extra=[("--bin", values.bin_times)] if values.bin_times else [],
        )
        run = warp_command(
            job,
            task,
            VERB,
            [
                ("--settings", settings),
                ("--input_data", movie_list),
                ("--m_range_min", values.m_range_min),
                ("--m_range_max", values.m_range_max),
                ("--m_bfac", values.m_bfac),
                ("--m_grid", values.m_grid),
                ("--c_range_min", values.c_range_min),
                ("--c_range_max", values.c_range_max),
                ("--c_defocus_min", values.c_defocus_min),
                ("--c_defocus_max", values.c_defocus_max),
                ("--c_window", values.c_window),
                ("--c_grid", values.c_grid),
                ("--c_voltage", round(float(needed(acquisition.voltage_kv, "voltage", group)))),
                ("--c_cs", needed(acquisition.spherical_aberration_mm, "spherical aberration", group)),
                ("--c_amplitude", needed(acquisition.amplitude_contrast, "amplitude contrast", group)),
                ("--c_use_sum", values.c_use_sum),
                ("--c_fit_phase", values.c_fit_phase),
                ("--out_averages", True),
                ("--out_average_halves", values.out_average_halves),
                ("--out_skip_first", values.out_skip_first),
                ("--out_skip_last", values.out_skip_last),
                ("--out_thumbnails", values.out_thumbnails or None),
            ],
            gpu=True,
            extra=values.extra_arguments,
        )
        at_least = max(1, len(files) - values.allow_failed_tilts)
        images = [("average", [file.average for file in files])]
        if values.out_average_halves:
            images += [("even", [file.even for file in files]), ("odd", [file.odd for file in files])]
        gain = acquisition.gain_path.value
        return Work(
            stage=(
                MakeFolder(str(settings.parent)),
                MakeFolder(str(movie_list.parent)),
                MoveAside(str(settings)),
                MoveAside(str(processing)),
                MakeFolder(str(processing)),
                WriteText(str(movie_list), tilt_list_text(movies.values())),
            ),
            commands=(make_settings, run),
            products=(
                Product((str(settings),), Check.XML),
                Product(tuple(str(file.xml) for file in files), Check.XML, at_least=at_least),
                *(Product(tuple(str(path) for path in paths), Check.MRC, at_least=at_least) for _, paths in images),
            ),
            inputs=(*(str(path) for path in movies.values()), *([gain] if gain else [])),
        )

    def progress(self, log_tail: str) -> float | None:
        return warp_progress(log_tail)

    def cause(self, out_tail: str, err_tail: str) -> str:
        return warp_cause(out_tail, err_tail)

    def gather_series(
        self, job: JobContext[Parameters], key: str, context: SeriesContext[Parameters] | None
    ) -> SeriesResult:
        assert context is not None
        tilts, doses, values = context.series.tilts, context.doses_e_per_a2(), context.values
        columns: dict[str, dict[str, StarValue]] = {}
        failed: list[str] = []
        found: dict[int, FrameSeriesXml] = {}
        for index in usable(context):
            files = tilt_files(job.folder, key, tilts.movie[index])
            reason = _missing(files, values)
            xml = None if reason else read_frame_series(files.xml)
            if xml is not None:
                reason = _failure(xml)
            if xml is None or reason:
                failed.append(
                    f"Tilt {tilts.ids[index]} ({tilts.angle_deg[index]:+.1f}°) failed and is left out: {reason}."
                )
                continue
            found[index] = xml
            columns[tilts.movie[index]] = _columns(job, context, files, xml, doses[index])
        problem = ""
        if not found and not failed:
            problem = "No tilt has a usable movie."
        elif len(failed) > values.allow_failed_tilts or not found:
            everything = len(failed) + len(found)
            problem = f"{len(failed)} of {everything} tilts failed ({values.allow_failed_tilts} may): {failed[0]}"
        else:
            producer = context.inputs["movies"]
            write_series(job, key, add_columns(read_series(producer.folder, key), columns))
        return SeriesResult(
            row=global_row(job, context),
            numbers=_numbers(context, found),
            tilts=_tilt_columns(context, found),
            notes=tuple(failed),
            problem=problem,
        )


def processing_folder(folder: Path, series_id: str) -> Path:
    """One series' frame processing folder in a job folder: ``<job>/warp_frameseries/<id>``."""
    return folder / "warp_frameseries" / series_id


def settings_file(folder: Path, series_id: str) -> Path:
    return folder / "settings" / f"{series_id}.settings"


def tilt_files(folder: Path, series_id: str, movie: str) -> TiltFiles:
    """The products of one movie (name of its link) in a job folder."""
    base, root = processing_folder(folder, series_id), movie_root(movie)
    return TiltFiles(
        xml=base / f"{root}.xml",
        average=base / "average" / f"{root}.mrc",
        even=base / "average" / "even" / f"{root}.mrc",
        odd=base / "average" / "odd" / f"{root}.mrc",
        spectrum=base / "powerspectrum" / f"{root}.mrc",
        tracks=base / "average" / f"{root}_motion.json",
    )


def accumulated_motion_angstrom(
    tracks: Sequence[Sequence[tuple[float, float]]], dose_before_e_per_a2: float, dose_e_per_a2: float
) -> tuple[float, float, float] | None:
    """Total, early and late motion in Å: path lengths of the tracks (points in Å, one per frame), their mean over the
    grid. A step is early where it ends before 4 e/Å² have hit the specimen, as RELION counts it."""
    sums = [0.0, 0.0, 0.0]
    counted = [track for track in tracks if len(track) > 1]
    if not counted:
        return None
    for track in counted:
        per_frame = dose_e_per_a2 / len(track)
        for step in range(1, len(track)):
            length = math.dist(track[step], track[step - 1])
            sums[0] += length
            sums[1 if dose_before_e_per_a2 + step * per_frame < EARLY_DOSE_E_PER_A2 else 2] += length
    total, early, late = (value / len(counted) for value in sums)
    return total, early, late


def _missing(files: TiltFiles, values: Parameters) -> str:
    wanted = [("metadata", files.xml), ("average", files.average)]
    if values.out_average_halves:
        wanted += [("even half", files.even), ("odd half", files.odd)]
    for what, path in wanted:
        if not path.exists():
            return f"its {what} {path.name} was not written"
    return ""


def _failure(xml: FrameSeriesXml) -> str:
    if xml.unselect_manual:
        return "WarpTools marked it as failed"
    if not xml.has_movement:
        return "its motion was not fitted"
    if not xml.has_ctf or not all(map(math.isfinite, (xml.defocus_um, xml.defocus_delta_um, xml.defocus_angle_deg))):
        return "its CTF was not fitted"
    return ""


def _columns(
    job: JobContext[Parameters],
    context: SeriesContext[Parameters],
    files: TiltFiles,
    xml: FrameSeriesXml,
    dose_before_e_per_a2: float,
) -> dict[str, StarValue]:
    row: dict[str, StarValue] = {}
    if context.values.out_average_halves:
        row["rlnMicrographNameEven"] = job.relative(files.even)
        row["rlnMicrographNameOdd"] = job.relative(files.odd)
    row["rlnMicrographName"] = job.relative(files.average)
    row["rlnMicrographMetadata"] = job.relative(files.xml)
    dose = context.acquisition.dose_per_tilt_e_per_a2.value or 0.0
    motion = None
    if files.tracks.exists():
        motion = accumulated_motion_angstrom(read_tracks(files.tracks), dose_before_e_per_a2, dose)
    if motion is not None:
        row["rlnAccumMotionTotal"], row["rlnAccumMotionEarly"], row["rlnAccumMotionLate"] = motion
    if files.spectrum.exists():
        row["rlnCtfImage"] = job.relative(files.spectrum)
    row.update(ctf_columns(xml.defocus_um, xml.defocus_delta_um, xml.defocus_angle_deg))
    if _is_resolution(xml.ctf_resolution_angstrom):
        row["rlnCtfMaxResolution"] = xml.ctf_resolution_angstrom
    if context.values.c_fit_phase and math.isfinite(xml.phase_shift_pi):
        row["rlnPhaseShift"] = xml.phase_shift_pi * 180.0
    return row


def ctf_columns(defocus_um: float, delta_um: float, angle_deg: float) -> dict[str, StarValue]:
    """Warp's mean defocus D and astigmatism Delta (µm) as RELION's: U, V = (D +- Delta/2) * 1e4 Å; U - V."""
    return {
        "rlnDefocusU": (defocus_um + delta_um / 2) * 1e4,
        "rlnDefocusV": (defocus_um - delta_um / 2) * 1e4,
        "rlnCtfAstigmatism": delta_um * 1e4,
        "rlnDefocusAngle": angle_deg,
    }


def _numbers(context: SeriesContext[Parameters], found: Mapping[int, FrameSeriesXml]) -> dict[str, float]:
    angles = context.series.tilts.angle_deg
    numbers = {"tilts": float(len(found))}
    motion = [
        xml.mean_frame_movement_angstrom for xml in found.values() if math.isfinite(xml.mean_frame_movement_angstrom)
    ]
    if motion:
        numbers["motion_angstrom_per_frame"] = median(motion)
    resolution = [
        xml.ctf_resolution_angstrom
        for index, xml in found.items()
        if abs(angles[index]) <= GOOD_TILT_DEG and _is_resolution(xml.ctf_resolution_angstrom)
    ]
    if resolution:
        numbers["ctf_resolution_angstrom"] = median(resolution)
    if found:
        zero = min(found, key=lambda index: (abs(angles[index]), index))
        numbers["defocus_um"] = found[zero].defocus_um
    numbers.update(_fractions(context))
    return numbers


def _fractions(context: SeriesContext[Parameters]) -> dict[str, float]:
    """Electrons per Å² and fraction, and the EER frames that do not fill a last one."""
    counts = [count for count in context.series.tilts.frame_count if count > 0]
    dose = context.acquisition.dose_per_tilt_e_per_a2.value
    if not counts or dose is None:
        return {}
    per_fraction = context.acquisition.eer_frames_per_fraction.value or 1
    numbers = {"dose_per_fraction_e_per_a2": round(dose * per_fraction / median(counts), 4)}
    if per_fraction > 1:
        numbers["frames_lost"] = float(median(counts) % per_fraction)
    return numbers


def _tilt_columns(
    context: SeriesContext[Parameters], found: Mapping[int, FrameSeriesXml]
) -> dict[str, tuple[float | None, ...]]:
    def column(read: Callable[[FrameSeriesXml], float], good: Callable[[float], bool]) -> tuple[float | None, ...]:
        values = (read(found[index]) if index in found else math.nan for index in range(len(context.series.tilts)))
        return tuple(value if good(value) else None for value in values)

    return {
        "motion_angstrom_per_frame": column(lambda xml: xml.mean_frame_movement_angstrom, math.isfinite),
        "ctf_resolution_angstrom": column(lambda xml: xml.ctf_resolution_angstrom, _is_resolution),
        "defocus_um": column(lambda xml: xml.defocus_um, math.isfinite),
        "astigmatism_um": column(lambda xml: xml.defocus_delta_um, math.isfinite),
    }


def _is_resolution(value: float) -> bool:
    return math.isfinite(value) and 0 < value < 500


def _range_problems(values: Mapping[str, Any]) -> list[Problem]:
    problems = []
    if values["m_range_min"] <= values["m_range_max"]:
        problems.append(
            Problem(
                "error", ("m_range_min", "m_range_max"), "The motion fit's coarse end must be the larger number of Å."
            )
        )
    if values["c_range_min"] <= values["c_range_max"]:
        problems.append(
            Problem("error", ("c_range_min", "c_range_max"), "The CTF fit's coarse end must be the larger number of Å.")
        )
    if values["c_defocus_min"] >= values["c_defocus_max"]:
        problems.append(
            Problem("error", ("c_defocus_min", "c_defocus_max"), "The defocus search must end higher than it begins.")
        )
    return problems


def _grid_problems(values: Mapping[str, Any]) -> list[Problem]:
    problems: list[Problem] = []
    size = grid_size(values["c_grid"])
    if size is None:
        return problems
    if values["c_use_sum"] and size[2] > 1:
        sentence = "A fit of the average has no frames: the CTF grid must end with x1."
        problems.append(Problem("error", ("c_grid", "c_use_sum"), sentence))
    if size[0] < 2 or size[1] < 2:
        sentence = "Without a CTF grid of at least 2x2x1 the handedness cannot be found from the data."
        problems.append(Problem("warning", ("c_grid",), sentence))
    return problems


def _nyquist_problems(values: Mapping[str, Any], acquisition: Acquisition) -> list[Problem]:
    pixel = acquisition.pixel_size_angstrom.value
    if pixel is None:
        return []
    limit = 2 * pixel * math.exp2(values["bin_times"])
    return [
        Problem("error", (name,), f"{what} to {values[name]:g} Å is beyond the Nyquist limit of {limit:.3g} Å.")
        for name, what in (("m_range_max", "The motion fit"), ("c_range_max", "The CTF fit"))
        if values[name] < limit
    ]


def _frame_problems(values: Mapping[str, Any], acquisition: Acquisition) -> list[Problem]:
    frames = acquisition.frames_per_movie.value
    if frames is None:
        return []
    problems = []
    per_fraction = acquisition.eer_frames_per_fraction.value or 0
    fractions = frames // per_fraction if per_fraction > 0 else frames
    if frames == 1:
        sentence = "The movies have one frame only: there is no motion to correct. WarpTools would fail on every one."
        problems.append(Problem("error", (), sentence))
    elif fractions < 2:
        sentence = (
            f"{per_fraction} EER frames per fraction make {fractions} fraction(s) of {frames} frames: "
            "motion correction needs at least 2."
        )
        problems.append(Problem("error", (), sentence))
    if values["out_skip_first"] + values["out_skip_last"] >= fractions > 0:
        sentence = f"No frame of the movies' {fractions} is left after leaving out the first and the last ones."
        problems.append(Problem("error", ("out_skip_first", "out_skip_last"), sentence))
    size = grid_size(values["m_grid"])
    if size is not None and size[2] > fractions > 1:
        sentence = f"The motion grid has {size[2]} points in time, the movies have only {fractions} frames."
        problems.append(Problem("error", ("m_grid",), sentence))
    return problems


JOB_TYPE = FsMotionAndCtf()
