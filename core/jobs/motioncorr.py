"""``motioncorr``: RELION corrects the motion within each tilt's movie and writes averages, with halves for denoising.

A task corrects one series: its own ``--i`` has the series' row only, its own ``--o`` is ``<job>/series/<id>/``. The
images still land where RELION's job has them (``<job>/frames/``), because that folder is linked into the task's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from pydantic import Field

from core.dataset.model import Acquisition
from core.errors import InputError, WorkFailed
from core.formats import star
from core.jobs._base import JobContext, Needs, Problem, SeriesContext, SeriesResult, Slot, TaskContext
from core.jobs._relion import (
    PIXEL,
    RelionJob,
    RelionRun,
    folder_text,
    is_yes,
    moved_rows,
    number,
    program_name,
    shell_problems,
    split_arguments,
    tilt_series_pixel_angstrom,
)
from core.jobs._star import Row, by_movie, global_row, read_series, series_star, write_series
from core.jobs._task import Check, Link, MakeFolder, MoveAside, Product, Work, WriteText
from core.jobs._warp import movie_root
from core.jobs.fields import Flag, Group, Level, Only, Unit
from core.jobs.importmovies import usable

SPECTRUM_PX = 512
SPECTRUM_PIXEL_ANGSTROM = 1.4
"""RELION's power spectra have this side and at least this pixel size: smaller movies can have none."""

GAIN = {
    # flip X, flip Y, transpose (in this order, as WarpTools): number of gain_rot, number of gain_flip
    (False, False, False): (0, 0),
    (True, False, False): (0, 2),
    (False, True, False): (0, 1),
    (True, True, False): (2, 0),
    (False, False, True): (1, 2),
    (True, False, True): (3, 0),
    (False, True, True): (1, 0),
    (True, True, True): (1, 1),
}
ROTATIONS = ("No rotation (0)", "90 degrees (1)", "180 degrees (2)", "270 degrees (3)")
FLIPS = ("No flipping (0)", "Flip upside down (1)", "Flip left to right (2)")

_OTHER = Only({"do_own_motioncor": (False,)})


class MotionCorrParameters(RelionRun):
    do_even_odd_split: Annotated[bool, Group("Output"), Flag("--even_odd_split")] = False
    """Save images for denoising: two more averages of each movie, from its even and its odd frames."""
    do_float16: Annotated[bool, Group("Output"), Flag("--float16")] = True
    """Write output in float16: half the disk space. RELION then also wants the power spectra."""
    do_save_ps: Annotated[bool, Group("Output")] = True
    """Save sum of power spectra, for the CTF fit; not possible for movies of less than about 512 pixels."""
    group_for_ps: Annotated[
        float, Unit("frames"), Group("Output"), Level.ADVANCED, Flag("--grouping_for_ps"),
        Only({"do_save_ps": (True,)}), Field(gt=0, le=100),
    ] = 4  # fmt: skip
    """Sum power spectra every n frames; about 4 electrons per Å²."""
    bfactor: Annotated[float, Unit("px²"), Group("Motion"), Flag("--bfactor"), Field(ge=0, le=1500)] = 150
    """B-factor of the alignment of frames; larger is smoother, for noisier movies."""
    patch_x: Annotated[int, Group("Motion"), Flag("--patch_x"), Field(ge=1, le=50)] = 1
    """Number of patches in X; 1 is whole-frame alignment only."""
    patch_y: Annotated[int, Group("Motion"), Flag("--patch_y"), Field(ge=1, le=50)] = 1
    """Number of patches in Y; 1 is whole-frame alignment only."""
    group_frames: Annotated[int, Unit("frames"), Group("Motion"), Flag("--group_frames"), Field(ge=1, le=100)] = 1
    """Group frames: average this many together before their shifts are measured."""
    bin_factor: Annotated[float, Group("Motion"), Flag("--bin_factor"), Field(ge=1, le=8)] = 1
    """Binning factor of the averages: 2 for super-resolution movies."""
    do_own_motioncor: Annotated[bool, Group("Program"), Level.ADVANCED] = True
    """Use RELION's own implementation, on the CPU; otherwise MotionCor2, for which the job's resources need a GPU."""
    fn_motioncor2_exe: Annotated[str, Group("Program"), Level.ADVANCED, Flag("--motioncor2_exe"), _OTHER] = ""
    """MotionCor2's program."""
    gpu_ids: Annotated[str, Group("Program"), Level.ADVANCED, Flag("--gpu"), _OTHER, Field(pattern=r"^[0-9:,]*$")] = "0"
    """Which GPUs to use, of those that the task was given."""
    other_motioncor2_args: Annotated[str, Group("Program"), Level.ADVANCED, Flag("--other_motioncor2_args"), _OTHER] = (
        ""
    )
    """Other MotionCor2 arguments."""


@dataclass(frozen=True, slots=True)
class TiltFiles:
    """Places of one movie's products."""

    average: Path
    even: Path
    odd: Path
    spectrum: Path
    metadata: Path


class MotionCorr(RelionJob[MotionCorrParameters]):
    name = "motioncorr"
    title = "Motion correction (RELION)"
    summary = "Corrects the motion within each tilt's movie and writes averages, with halves for denoising."
    parameters = MotionCorrParameters
    slots = (Slot("movies", "movies", "Imported movies and their tilt angles."),)
    provides = ("averages",)
    main_output = ("corrected_tilt_series.star", "TomogramGroupMetadata.star.relion.tomo.motioncorr")
    needs = Needs(cpus=4, gpus=0, memory_gb=24, minutes=60)
    relion_label = "relion.motioncorr"
    relion_folder = "MotionCorr"
    relion_is_tomo = True
    program = "relion_run_motioncorr"
    input_option = "input_star_mics"
    written = frozenset(
        ("--use_own", "--use_motioncor2", "--gainref", "--gain_rot", "--gain_flip", "--eer_grouping", "--defect_file")
    )
    acquisition_fields = (
        "pixel_size_angstrom",
        "voltage_kv",
        "dose_per_tilt_e_per_a2",
        "eer_frames_per_fraction",
        "gain_path",
        "gain_flip_x",
        "gain_flip_y",
        "gain_transpose",
        "defects_path",
    )

    def relion_sublabel(self, values: MotionCorrParameters) -> str:
        return ".own" if values.do_own_motioncor else ".motioncor2"

    def checks(self, values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
        problems = super().checks(values, acquisition)
        if values["do_own_motioncor"]:
            if values["do_float16"] and not values["do_save_ps"]:
                sentence = "RELION writes float16 only together with power spectra: switch these on, or float16 off."
                problems.append(Problem("error", ("do_float16", "do_save_ps"), sentence))
        else:
            if not values["fn_motioncor2_exe"]:
                sentence = "Say where MotionCor2 is, or use RELION's own implementation."
                problems.append(Problem("error", ("fn_motioncor2_exe",), sentence))
            for name in ("fn_motioncor2_exe", "other_motioncor2_args"):
                problems += shell_problems(name, values[name])
            for name, what in (("do_float16", "float16"), ("do_save_ps", "power spectra")):
                if values[name]:
                    sentence = f"MotionCor2 writes no {what}: switch them off, or use RELION's own implementation."
                    problems.append(Problem("error", (name, "do_own_motioncor"), sentence))
        return problems + _data_problems(values, acquisition)

    def data_options(self, acquisition: Acquisition) -> Mapping[str, str]:
        options = {}
        if acquisition.eer_frames_per_fraction.value:
            options["eer_grouping"] = str(acquisition.eer_frames_per_fraction.value)
        if acquisition.gain_path.value:
            turned = tuple(
                bool(flag.value)
                for flag in (acquisition.gain_flip_x, acquisition.gain_flip_y, acquisition.gain_transpose)
            )
            rotation, flip = GAIN[turned]  # type: ignore[index]
            options |= {
                "fn_gain_ref": acquisition.gain_path.value,
                "gain_rot": ROTATIONS[rotation],
                "gain_flip": FLIPS[flip],
            }
        if acquisition.defects_path.value:
            options["fn_defect"] = acquisition.defects_path.value
        return options

    def unsplit_command(self, options: Mapping[str, str], folder: str) -> tuple[str, ...]:
        own = is_yes(options, "do_own_motioncor")
        words = [program_name(self.program, options), "--i", options["input_star_mics"], "--o", folder]
        words += ["--even_odd_split"] if is_yes(options, "do_even_odd_split") else []
        if own:
            words += ["--use_own", "--j", options["nr_threads"]]
            words += ["--float16"] if is_yes(options, "do_float16") else []
        else:
            words += ["--use_motioncor2", "--motioncor2_exe", options["fn_motioncor2_exe"]]
            if options["other_motioncor2_args"]:
                words += ["--other_motioncor2_args", f" {options['other_motioncor2_args']} "]
            words += ["--gpu", options["gpu_ids"]]
        words += ["--defect_file", options["fn_defect"]] if options["fn_defect"] else []
        for name in ("bin_factor", "bfactor", "patch_x", "patch_y", "eer_grouping"):
            words += [f"--{name}", options[name]]
        if float(options["group_frames"]) > 1:
            words += ["--group_frames", options["group_frames"]]
        if options["fn_gain_ref"]:
            rotation, flip = ROTATIONS.index(options["gain_rot"]), FLIPS.index(options["gain_flip"])
            words += ["--gainref", options["fn_gain_ref"], "--gain_rot", str(rotation), "--gain_flip", str(flip)]
        words += ["--grouping_for_ps", options["group_for_ps"]] if is_yes(options, "do_save_ps") else []
        return (*words, *split_arguments(options["other_args"]))

    def task_options(
        self, task: TaskContext[MotionCorrParameters], context: SeriesContext[MotionCorrParameters]
    ) -> dict[str, str]:
        unset = {"fn_gain_ref": "", "fn_defect": "", "eer_grouping": "32"}
        return {**unset, **super().task_options(task, context)}

    def build(self, task: TaskContext[MotionCorrParameters]) -> Work:
        context = task.series
        assert context is not None
        job, values = task.job, context.values
        own, table = task_folder(job.folder, context.series.id), input_file(job.folder, context.series.id)
        upstream = series_star(self.producer(context).folder, context.series.id)
        movies = [context.series.tilts.movie[index] for index in usable(context)]
        files = [tilt_files(job.folder, movie) for movie in movies]
        images = [file.average for file in files]
        if len(set(images)) < len(images):
            raise InputError(f"Two movies of {context.series.id} differ only by a dot or '_', which RELION mixes up.")
        if values.do_even_odd_split:
            images += [path for file in files for path in (file.even, file.odd)]
        if values.do_save_ps:
            images += [file.spectrum for file in files]
        options = {**self.task_options(task, context), "input_star_mics": job.relative(table)}
        row = {**global_row(job, context), "rlnTomoTiltSeriesStarFile": job.relative(upstream)}
        gain = context.acquisition.gain_path.value
        return Work(
            stage=(
                MoveAside(str(own)),
                MakeFolder(str(job.folder / "frames")),
                Link(str(own / "frames"), str(job.folder / "frames")),
                WriteText(
                    str(table), star.new_file([star.loop_block("global", list(row), [list(row.values())])]).render()
                ),
            ),
            commands=(
                self.task_command(
                    task,
                    self.unsplit_command(options, folder_text(job, own)),
                    gpu=not values.do_own_motioncor,
                ),
            ),
            products=(
                Product(tuple(str(path) for path in images), Check.MRC),
                Product((str(series_star(own, context.series.id)), *(str(file.metadata) for file in files))),
            ),
            inputs=(
                str(upstream),
                *(str(job.project / "frames" / movie) for movie in movies),
                *([gain] if gain else []),
            ),
        )

    def table_row(self, job: JobContext[MotionCorrParameters], context: SeriesContext[MotionCorrParameters]) -> Row:
        return global_row(job, context, {PIXEL: tilt_series_pixel_angstrom(context)})

    def gather_one(
        self, job: JobContext[MotionCorrParameters], context: SeriesContext[MotionCorrParameters]
    ) -> SeriesResult:
        series, own = context.series, task_folder(job.folder, context.series.id)
        rows = moved_rows(read_series(own, series.id), folder_text(job, own), folder_text(job, job.folder))
        found = by_movie(rows)
        missing = [movie for index in usable(context) if (movie := series.tilts.movie[index]) not in found]
        if missing:
            raise WorkFailed(f"RELION left out {len(missing)} of {len(usable(context))} movies, first {missing[0]}.")
        write_series(job, series.id, rows)
        return SeriesResult(
            row=self.table_row(job, context), numbers=_numbers(context, rows), tilts=_tilt_columns(context, found)
        )


def task_folder(folder: Path, series_id: str) -> Path:
    """The ``--o`` of one series in a job folder."""
    return folder / "series" / series_id


def input_file(folder: Path, series_id: str) -> Path:
    """The ``--i`` of one series."""
    return task_folder(folder, series_id) / "tilt_series.star"


def tilt_files(folder: Path, movie: str) -> TiltFiles:
    """The products of one movie (name of its link): RELION turns the dots in its name into underscores."""
    root = folder / "frames" / movie_root(movie).replace(".", "_")

    def named(end: str) -> Path:
        return root.with_name(root.name + end)

    return TiltFiles(named(".mrc"), named("_EVN.mrc"), named("_ODD.mrc"), named("_PS.mrc"), named(".star"))


def _numbers(context: SeriesContext[Any], rows: list[Row]) -> dict[str, float]:
    """Medians over the tilts. RELION's motion is the length of the path, in Å."""
    total = [number(row, "rlnAccumMotionTotal") for row in rows]
    numbers = {
        "tilts": float(len(rows)),
        "motion_angstrom": median(total),
        "early_motion_angstrom": median(number(row, "rlnAccumMotionEarly") for row in rows),
        "late_motion_angstrom": median(number(row, "rlnAccumMotionLate") for row in rows),
    }
    steps = [
        (motion, count - 1) for motion, count in zip(total, map(_fractions(context), rows), strict=True) if count > 1
    ]
    if steps:
        numbers["motion_angstrom_per_frame"] = median(motion / count for motion, count in steps)
    return numbers


def _fractions(context: SeriesContext[Any]) -> Any:
    per_fraction = context.acquisition.eer_frames_per_fraction.value or 1
    return lambda row: int(float(row.get("rlnTomoTiltMovieFrameCount", 0))) // per_fraction


def _tilt_columns(context: SeriesContext[Any], found: Mapping[str, Row]) -> dict[str, list[float | None]]:
    return {
        name: [number(found[movie], label) if movie in found else None for movie in context.series.tilts.movie]
        for name, label in (
            ("motion_angstrom", "rlnAccumMotionTotal"),
            ("early_motion_angstrom", "rlnAccumMotionEarly"),
            ("late_motion_angstrom", "rlnAccumMotionLate"),
        )
    }


def _data_problems(values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
    if acquisition is None:
        return []
    problems = []
    sides = [side for side in (acquisition.image_width_px.value, acquisition.image_height_px.value) if side]
    pixel, binning = acquisition.pixel_size_angstrom.value, values["bin_factor"]
    if sides and pixel and values["do_save_ps"]:
        needed = math.ceil(SPECTRUM_PX * max(1.0, SPECTRUM_PIXEL_ANGSTROM / (pixel * binning)) * binning)
        if min(sides) < needed:
            sentence = (
                f"The movies have a side of {min(sides)} px, RELION's power spectra need {needed}: switch do_save_ps "
                "and do_float16 off."
            )
            problems.append(Problem("error", ("do_save_ps",), sentence))
    if binning != 1 and any(int(side / binning) % 2 for side in sides):
        sentence = f"RELION wants images with even sides: {' x '.join(map(str, sides))} px cannot be binned so."
        problems.append(Problem("error", ("bin_factor",), sentence))
    frames, per_fraction = acquisition.frames_per_movie.value, acquisition.eer_frames_per_fraction.value or 1
    fractions = None if frames is None else frames // per_fraction
    if fractions is not None and fractions < 2:
        sentence = f"The movies have {fractions} frame(s): there is no motion to correct."
        problems.append(Problem("error", (), sentence))
    if fractions is not None and values["group_frames"] > fractions:
        sentence = f"The movies have only {fractions} frames to group."
        problems.append(Problem("error", ("group_frames",), sentence))
    return problems


JOB_TYPE = MotionCorr()
