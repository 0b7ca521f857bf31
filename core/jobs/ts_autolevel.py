"""``tsAutolevel``: WarpTools estimates how the specimen is inclined (lamella pre-tilt) and stores two level angles.

Optional, between alignment and CTF. It works on the alignment's XML, read from there and written here; the level angles
turn all images together: X enters rlnTomoXTilt, Y is added to every tilt angle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from core.dataset.model import Acquisition
from core.errors import InputError, WorkFailed
from core.jobs._base import (
    JobContext,
    Needs,
    Problem,
    SeriesContext,
    SeriesResult,
    Slot,
    TaskContext,
)
from core.jobs._star import TableJob, add_columns, write_series
from core.jobs._task import Check, Product, Work
from core.jobs._tilt_series import (
    aligned_row,
    alignment_per_tilt,
    check_pixel,
    clean_stage,
    dropped_notes,
    geometry_columns,
    geometry_numbers,
    inputs,
    read_product,
    series_options,
    series_settings,
    series_xml,
    upstream,
    upstream_rows,
    xml_tilts,
)
from core.jobs._warp import OptionValue, WarpRun, extra_argument_problems, warp_cause, warp_command, warp_progress
from core.jobs.fields import Flag, Unit
from core.project.decisions import HANDEDNESS


class AutolevelParameters(WarpRun):
    level_pixel_size: Annotated[float, Unit("Å/px"), Flag("--angpix"), Field(ge=1, le=50)] = 10.0
    """Pixel size of the images for this estimate."""
    patch_size: Annotated[int, Unit("Å"), Flag("--patch_size"), Field(ge=80, le=10000)] = 500
    """Side of the patches whose height is estimated; 500 Å is 50 nm."""


class TsAutolevel(TableJob[AutolevelParameters]):
    name = "tsAutolevel"
    title = "Level tilt series (Warp)"
    summary = "Estimates the inclination of the specimen (pre-tilt) and levels the tomogram; useful after IMOD."
    parameters = AutolevelParameters
    slots = (Slot("alignment", "alignment", "Aligned tilt series."),)
    provides = ("alignment",)
    main_output = ("aligned_tilt_series.star", "TomogramGroupMetadata.star.relion.tomo.aligntiltseries")
    tools = ("warp",)
    needs = Needs(cpus=4, gpus=1, memory_gb=32, minutes=30)
    acquisition_fields = ("pixel_size_angstrom",)
    gather_decisions = (HANDEDNESS,)

    def checks(self, values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
        problems = extra_argument_problems("ts_autolevel", values["extra_arguments"])
        pixel = acquisition.pixel_size_angstrom.value if acquisition is not None else None
        if pixel is not None and values["level_pixel_size"] < pixel:
            sentence = f"The pixel size for levelling cannot be smaller than the movies' ({pixel:g} Å)."
            problems.append(Problem("error", ("level_pixel_size",), sentence))
        return problems

    def build(self, task: TaskContext[AutolevelParameters]) -> Work:
        context = task.series
        assert context is not None
        job, before, values = task.job, upstream(context, "alignment"), context.values
        check_pixel(context, values.level_pixel_size, "level_pixel_size")
        options: list[tuple[str, OptionValue]] = [
            *series_options(context, job.folder, before.folder),
            ("--angpix", values.level_pixel_size),
            ("--patch_size", values.patch_size),
        ]
        return Work(
            stage=clean_stage(job.folder, context.series.id),
            commands=(
                series_settings(job, task, context, job.folder),
                warp_command(job, task, "ts_autolevel", options, gpu=True, extra=values.extra_arguments),
            ),
            products=(Product((str(series_xml(job.folder, context.series.id)),), Check.XML),),
            inputs=inputs(context, before.folder),
        )

    def progress(self, log_tail: str) -> float | None:
        return warp_progress(log_tail)

    def cause(self, out_tail: str, err_tail: str) -> str:
        return warp_cause(out_tail, err_tail)

    def gather_series(
        self, job: JobContext[AutolevelParameters], key: str, context: SeriesContext[AutolevelParameters] | None
    ) -> SeriesResult:
        assert context is not None
        try:
            xml = read_product(job.folder, key)
            tilts = xml_tilts(xml)
            rows = upstream_rows(context, "alignment")
            write_series(job, key, add_columns(rows, geometry_columns(tilts)))
            numbers = geometry_numbers(job, context, tilts)
        except (InputError, WorkFailed) as error:
            return SeriesResult(problem=str(error))
        numbers["level_x_deg"] = xml.level_angle_x_deg
        numbers["level_y_deg"] = xml.level_angle_y_deg
        return SeriesResult(
            row=aligned_row(job, context),
            numbers=numbers,
            tilts=alignment_per_tilt(context, tilts),
            notes=dropped_notes(rows, tilts),
        )


JOB_TYPE = TsAutolevel()
