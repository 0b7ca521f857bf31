"""Import: the registry's movies as RELION's tilt-series STAR files, the same that its own import job writes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from core.dataset.model import Acquisition
from core.errors import WorkFailed
from core.jobs._base import (
    JobContext,
    Needs,
    Problem,
    SeriesContext,
    SeriesResult,
    TaskContext,
)
from core.jobs._star import (
    MOVIE,
    Row,
    TableJob,
    global_row,
    read_series,
    relion_hand,
    series_star,
    write_series,
)
from core.jobs._task import Product, Work
from core.jobs._warp import movie_pattern, number_text
from core.jobs.fields import Flag, Group, JobParameters, Level


class Parameters(JobParameters):
    optics_group_name: Annotated[
        str, Group("Import"), Flag("optics_group_name"), Field(pattern=r"^[A-Za-z0-9_.-]*$", max_length=64)
    ] = ""
    """Name of the optics group in RELION's files; empty: the acquisition group's own name."""
    mtf_file: Annotated[str, Group("Import"), Level.ADVANCED, Flag("mtf_file")] = ""
    """STAR file with the detector's MTF, for RELION's refinements; absolute or relative to the project."""


class ImportMovies(TableJob[Parameters]):
    name = "importmovies"
    title = "Import movies"
    summary = "Movies, tilt angles and accumulated dose of every tilt series into RELION's STAR files."
    parameters = Parameters
    provides = ("movies",)
    main_output = ("tilt_series.star", "TomogramGroupMetadata.star.relion.tomo.import")
    needs = Needs(cpus=1, gpus=0, memory_gb=1, minutes=5)
    internal = True
    relion_label = "relion.importtomo"
    relion_folder = "Import"
    acquisition_fields = (
        "pixel_size_angstrom",
        "voltage_kv",
        "spherical_aberration_mm",
        "amplitude_contrast",
        "dose_per_tilt_e_per_a2",
        "tilt_axis_deg",
    )
    gather_decisions = ("handedness",)

    def checks(self, values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
        mtf = str(values.get("mtf_file") or "")
        if any(character in mtf for character in '\n\r\t"'):
            return [
                Problem("error", ("mtf_file",), "The path of the MTF file has a line break, tab or quotation mark.")
            ]
        return []

    def relion_options(
        self, job: JobContext[Parameters], series: Sequence[SeriesContext[Parameters]]
    ) -> Mapping[str, str]:
        """As RELION's import form would have them; where acquisition groups differ, those of the first series."""
        options = {
            "mdoc_files": "mdoc/*.mdoc",
            "dose_is_per_movie_frame": "No",
            "images_are_motion_corrected": "No",
            "flip_tiltseries_hand": "Yes" if relion_hand(job.decisions) < 0 else "No",
            "optics_group_name": job.values.optics_group_name,
            "mtf_file": job.values.mtf_file,
        }
        if not series:
            return options
        acquisition = series[0].acquisition
        options["optics_group_name"] = job.values.optics_group_name or acquisition.optics_group
        movies = [movie for movie in series[0].series.tilts.movie if movie]
        if movies or acquisition.movie_extension.value:
            options["movie_files"] = f"frames/{movie_pattern(acquisition, movies)}"
        for name, value in (
            ("angpix", acquisition.pixel_size_angstrom.value),
            ("kV", acquisition.voltage_kv.value),
            ("Cs", acquisition.spherical_aberration_mm.value),
            ("Q0", acquisition.amplitude_contrast.value),
            ("dose_rate", acquisition.dose_per_tilt_e_per_a2.value),
            ("tilt_axis_angle", acquisition.tilt_axis_deg.value),
        ):
            if value is not None:
                options[name] = number_text(value)
        return options

    def unsplit_command(self, options: Mapping[str, str], folder: str) -> tuple[str, ...]:
        """The command that RELION would make of these options (all of a ``job.star``) for the job in ``folder``
        (``Import/job001/``), but for ``--pipeline_control``. RELION names the movies twice."""
        movies = ("--tilt-image-movie-pattern", options["movie_files"])
        words = ["relion_python_tomo_import", "SerialEM", *movies, "--mdoc-file-pattern", options["mdoc_files"]]
        words += ["--nominal-tilt-axis-angle", options["tilt_axis_angle"], "--nominal-pixel-size", options["angpix"]]
        words += ["--voltage", options["kV"], "--spherical-aberration", options["Cs"]]
        words += ["--amplitude-contrast", options["Q0"], *movies]
        words += ["--optics-group-name", options["optics_group_name"]] if options["optics_group_name"] else []
        per_frame = options["dose_is_per_movie_frame"] == "Yes"
        words += ["--dose-per-movie-frame" if per_frame else "--dose-per-tilt-image", options["dose_rate"]]
        words += ["--prefix", options["prefix"]] if options["prefix"] else []
        words += ["--mtf-file", options["mtf_file"]] if options["mtf_file"] else []
        words += ["--invert-defocus-handedness"] if options["flip_tiltseries_hand"] == "Yes" else []
        words += ["--images-are-motion-corrected"] if options["images_are_motion_corrected"] == "Yes" else []
        return (*words, "--output-directory", folder, *shlex.split(options["other_args"]))

    def build(self, task: TaskContext[Parameters]) -> Work:
        assert task.series is not None
        star = series_star(task.job.folder, task.series.series.id)
        return Work(products=(Product((str(star),)),), internal=True)

    def run_internal(self, task: TaskContext[Parameters]) -> None:
        """Write ``tilt_series/<id>.star``. Raises :class:`WorkFailed` where a movie has gone or none is usable."""
        assert task.series is not None
        context = task.series
        for index in usable(context):
            link = task.job.project / "frames" / context.series.tilts.movie[index]
            if not link.exists():
                target = os.readlink(link) if link.is_symlink() else context.series.tilts.source[index]
                raise WorkFailed(
                    f"The movie {link.name} of {context.series.id} is not there any more ({target}): "
                    "bring it back, or give its new place with relink.",
                    link,
                )
        write_series(task.job, context.series.id, movie_rows(context))

    def gather_series(
        self, job: JobContext[Parameters], key: str, context: SeriesContext[Parameters] | None
    ) -> SeriesResult:
        assert context is not None
        rows = read_series(job.folder, key)
        tilts, doses = context.series.tilts, context.doses_e_per_a2()
        there = set(usable(context))
        problem = ""
        if len(rows) != len(there):
            problem = (
                f"{series_star(job.folder, key).name} has {len(rows)} tilts, {len(there)} were expected: run it again."
            )
        missing = [index for index in range(len(tilts)) if index not in there]
        notes = tuple(
            f"Tilt {tilts.ids[index]} ({tilts.angle_deg[index]:+.1f}°) is left out: "
            f"{tilts.problem[index] or 'its movie is missing'}."
            for index in missing
        )
        return SeriesResult(
            row=global_row(job, context),
            numbers={"tilts": float(len(rows)), "total_dose_e_per_a2": _total_dose(context)},
            tilts={"angle_deg": tilts.angle_deg, "dose_e_per_a2": doses},
            notes=notes,
            problem=problem,
        )


def usable(context: SeriesContext[Any]) -> tuple[int, ...]:
    """Indices of tilts with a usable movie, in acquisition order, whether a person excluded them or not: excluding
    happens where tilts become a series (``tsImport``), so including one again repeats nothing before that."""
    tilts = context.series.tilts
    return tuple(index for index in range(len(tilts)) if tilts.movie[index] and not tilts.problem[index])


def movie_rows(context: SeriesContext[Any]) -> list[Row]:
    """The table of RELION's own import job, one row per usable tilt in acquisition order.

    The dose before a tilt counts all exposures, those of missing tilts included.
    """
    tilts, doses = context.series.tilts, context.doses_e_per_a2()
    axis = context.acquisition.tilt_axis_deg.value
    rows: list[Row] = []
    for index in usable(context):
        row: Row = {MOVIE: f"frames/{tilts.movie[index]}"}
        if tilts.frame_count[index] > 0:
            row["rlnTomoTiltMovieFrameCount"] = tilts.frame_count[index]
        row["rlnTomoNominalStageTiltAngle"] = float(tilts.angle_deg[index])
        if axis is not None:
            row["rlnTomoNominalTiltAxisAngle"] = float(axis)
        row["rlnMicrographPreExposure"] = float(doses[index])
        if tilts.target_defocus_um[index] != 0.0:
            row["rlnTomoNominalDefocus"] = float(tilts.target_defocus_um[index])
        rows.append(row)
    return rows


def movie_paths(project: Path, context: SeriesContext[Any]) -> dict[int, Path]:
    """Absolute path of the link of every usable tilt, by index."""
    return {index: project / "frames" / context.series.tilts.movie[index] for index in usable(context)}


def _total_dose(context: SeriesContext[Any]) -> float:
    doses = context.doses_e_per_a2()
    if not doses:
        return 0.0
    last = context.acquisition.dose_per_tilt_e_per_a2
    own = context.series.tilts.exposure_e_per_a2
    final = own[-1] if last.source == "mdoc" and all(dose > 0 for dose in own) else last.value or 0.0
    return round(doses[-1] + final, 4)


JOB_TYPE = ImportMovies()
