"""``aligntiltsWarp``: WarpTools stacks a tilt series and aligns it with AreTomo2, AreTomo3 or IMOD.

None of these refines the tilt axis of a single series: the axis is calibrated once per acquisition group on a few
series, with the tool's axis search and one run per series (a run over several series ends by repeating all with their
common axis, which leaves nothing to see how well they agree), and is then passed fixed to every series.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from core.dataset.model import Acquisition
from core.errors import InputError, WorkFailed
from core.formats.warp_xml import TiltSeriesXml, read_frame_series, read_tilt_series
from core.jobs._base import (
    JobContext,
    JobResult,
    Needs,
    Problem,
    SeriesContext,
    SeriesResult,
    Slot,
    TaskContext,
)
from core.jobs._star import TableJob, add_columns, write_series
from core.jobs._task import COHORT, Check, MakeFolder, MoveAside, Product, TaskDeclaration, Work
from core.jobs._tilt_series import (
    SETTINGS,
    XmlTilt,
    aligned_row,
    alignment_per_tilt,
    axis_deg,
    axis_is_given,
    check_pixel,
    clean_stage,
    dimensions_px,
    dropped_notes,
    geometry_columns,
    geometry_numbers,
    inputs,
    processing,
    read_product,
    refined_axis_deg,
    series_options,
    series_settings,
    series_xml,
    tomostar_producer,
    upstream_rows,
    xml_tilts,
)
from core.jobs._warp import (
    OptionValue,
    WarpRun,
    extra_argument_problems,
    movie_root,
    needed,
    warp_cause,
    warp_command,
    warp_progress,
)
from core.jobs.fields import Flag, Group, Level, Only, PerSeries, Unit
from core.project.decisions import HANDEDNESS, Decision, tilt_axis_key
from core.quality.axis import MINIMUM_SERIES, decide_axis, mean_axis_deg, spread_deg
from core.quality.handedness import DefocusGrid, correlation, decide
from core.tools.command import Command

ARETOMO = ("AreTomo2", "AreTomo3")
VERBS = {
    "AreTomo2": "ts_aretomo",
    "AreTomo3": "ts_aretomo3",
    "IMOD patches": "ts_etomo_patches",
    "IMOD fiducials": "ts_etomo_fiducials",
}
AXIS_TASK = f"{COHORT}axis_"
AXIS_OF = "axis_deg:"
"""Prefix of the numbers of a calibration: one refined axis per series."""


class AlignTiltsParameters(WarpRun):
    method: Annotated[Literal["AreTomo2", "AreTomo3", "IMOD patches", "IMOD fiducials"], PerSeries()] = "AreTomo2"
    """Program that aligns. IMOD corrects no pre-tilt: add tsAutolevel after it."""
    alignment_pixel_size: Annotated[float, Unit("Å/px"), Flag("--angpix"), Field(ge=1, le=50)] = 10.0
    """Pixel size of the stack that is aligned; 10 to 15 for frozen specimens."""
    sample_thickness: Annotated[
        float, Unit("nm"), Flag("--alignz"), PerSeries(), Only({"method": ARETOMO}), Field(ge=0, le=1000)
    ] = 180.0
    """Thickness of the specimen, for AreTomo's alignment. 0 lets AreTomo3 estimate it. Not used by IMOD."""
    tomogram_thickness: Annotated[float, Unit("nm"), Flag("--tomo_dimensions"), PerSeries(), Field(ge=10, le=2000)] = (
        300.0
    )
    """Height of the tomogram. Its other sides are the image's, with Y along the tilt axis."""
    tilt_axis: Annotated[float | None, Unit("°"), PerSeries(), Group("Tilt axis"), Field(ge=-360, le=360)] = None
    """Fixed axis for this job or for chosen series, in place of the group's."""
    calibrate_axis: Annotated[bool, Group("Tilt axis")] = True
    """Refine the axis on a few series of each acquisition group first, unless you gave it yourself."""
    calibration_series: Annotated[
        int, Group("Tilt axis"), Level.ADVANCED, Only({"calibrate_axis": (True,)}), Field(ge=5, le=10)
    ] = 8
    """Series per acquisition group on which the axis is refined: the first of each group."""
    calibration_iterations: Annotated[
        int,
        Group("Tilt axis"),
        Level.ADVANCED,
        Flag("--axis_iter"),
        Only({"calibrate_axis": (True,), "method": ARETOMO}),
        Field(ge=1, le=5),
    ] = 2
    """Rounds of AreTomo's axis search, each starting from the last one's axis."""
    patches_x: Annotated[
        int, Group("AreTomo"), Level.ADVANCED, Flag("--patches"), Only({"method": ARETOMO}), Field(ge=0, le=20)
    ] = 0
    """Patches along X for local alignment, 0 for none. Warp takes over the improved global alignment only."""
    patches_y: Annotated[
        int, Group("AreTomo"), Level.ADVANCED, Flag("--patches"), Only({"method": ARETOMO}), Field(ge=0, le=20)
    ] = 0
    """Patches along Y, 0 for none."""
    executable: Annotated[
        str,
        Group("AreTomo"),
        Level.ADVANCED,
        Flag("--exe"),
        Only({"method": ARETOMO}),
        Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.+-]*)?$"),
    ] = ""
    """Name of AreTomo's program on the PATH, where it is not AreTomo2 or AreTomo3."""
    patch_size: Annotated[
        float,
        Unit("Å"),
        Group("IMOD"),
        Flag("--patch_size"),
        Only({"method": ("IMOD patches",)}),
        Field(gt=0, le=10000),
    ] = 500.0
    """Side of the tracked patches; 500 Å is 50 nm."""
    fiducial_size: Annotated[
        float,
        Unit("nm"),
        Group("IMOD"),
        Flag("--fiducial_size"),
        Only({"method": ("IMOD fiducials",)}),
        Field(gt=0, le=100),
    ] = 10.0
    """Diameter of the gold beads."""
    beads_target: Annotated[
        int, Group("IMOD"), Flag("--n_beads_target"), Only({"method": ("IMOD fiducials",)}), Field(ge=1, le=1000)
    ] = 50
    """How many beads IMOD tries to find."""
    min_fov: Annotated[float, Group("Images"), Level.ADVANCED, Flag("--min_fov"), Field(ge=0, le=1)] = 0.0
    """Leave out tilts that show less than this fraction of the tomogram's area because of their shift."""
    mask_images: Annotated[bool, Group("Images"), Level.ADVANCED, Flag("--mask")] = False
    """Fill masked areas (dirt) with noise before stacking, where masks exist."""
    delete_intermediate: Annotated[bool, Group("Running"), Level.ADVANCED, Flag("--delete_intermediate")] = False
    """Remove the stack and the program's own files after a good alignment; they can then not be looked at."""


class AlignTiltsWarp(TableJob[AlignTiltsParameters]):
    name = "aligntiltsWarp"
    title = "Align tilt series (Warp)"
    summary = "Aligns each tilt series with AreTomo2, AreTomo3 or IMOD, with a tilt axis calibrated once per group."
    parameters = AlignTiltsParameters
    slots = (Slot("tomostar", "tomostar", "Tilt series imported by Warp (tsImport)."),)
    provides = ("alignment",)
    main_output = ("aligned_tilt_series.star", "TomogramGroupMetadata.star.relion.tomo.aligntiltseries")
    tools = ("warp",)
    needs = Needs(cpus=4, gpus=1, memory_gb=32, minutes=60)
    acquisition_fields = ("pixel_size_angstrom", "image_width_px", "image_height_px", "tilt_axis_deg")
    gather_decisions = (HANDEDNESS,)

    def checks(self, values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
        problems: list[Problem] = []
        method = values["method"]
        if method in ARETOMO and bool(values["patches_x"]) != bool(values["patches_y"]):
            sentence = "Local alignment needs patches along both X and Y: set both, or both to 0."
            problems.append(Problem("error", ("patches_x", "patches_y"), sentence))
        if method == "AreTomo2" and values["sample_thickness"] <= 0:
            problems.append(
                Problem(
                    "error", ("sample_thickness",), "AreTomo2 needs a sample thickness above 0 (AreTomo3 can guess)."
                )
            )
        if method in ARETOMO and values["sample_thickness"] > values["tomogram_thickness"]:
            sentence = "The sample is thicker than the tomogram: its top and bottom would be cut off."
            problems.append(Problem("warning", ("sample_thickness", "tomogram_thickness"), sentence))
        problems += extra_argument_problems(VERBS.get(method, "ts_aretomo"), values["extra_arguments"])
        if acquisition is not None:
            problems += self._acquisition_checks(values, acquisition)
        return problems

    def _acquisition_checks(self, values: Mapping[str, Any], acquisition: Acquisition) -> list[Problem]:
        problems: list[Problem] = []
        pixel = acquisition.pixel_size_angstrom.value
        if pixel is not None and values["alignment_pixel_size"] < pixel:
            sentence = f"The alignment's pixel cannot be smaller than the movies' ({pixel:g} Å)."
            problems.append(Problem("error", ("alignment_pixel_size",), sentence))
        axis = acquisition.tilt_axis_deg
        if axis.value is None and values["tilt_axis"] is None:
            sentence = "The tilt axis is not known, not even roughly: enter it with the acquisition values."
            problems.append(Problem("error", ("tilt_axis",), sentence))
        elif (
            values["tilt_axis"] is None
            and not values["calibrate_axis"]
            and not (axis.source == "you" and axis.confirmed)
        ):
            sentence = f"The nominal tilt axis ({axis.value:g}°) is used as it is: such values are often wrong."
            problems.append(Problem("warning", ("calibrate_axis",), sentence))
        return problems

    def needs_decisions(
        self, job: JobContext[AlignTiltsParameters], context: SeriesContext[AlignTiltsParameters]
    ) -> tuple[str, ...]:
        given = context.values.tilt_axis is not None or axis_is_given(context)
        return () if given or not job.values.calibrate_axis else (tilt_axis_key(context.series.group),)

    def declare(
        self, job: JobContext[AlignTiltsParameters], series: Sequence[SeriesContext[AlignTiltsParameters]]
    ) -> list[TaskDeclaration]:
        calibrations: list[TaskDeclaration] = []
        waiting_for: dict[str, str] = {}
        for group in dict.fromkeys(context.series.group for context in series):
            decision = job.decisions.get(tilt_axis_key(group))
            members = [c.series.id for c in series if c.series.group == group and self.needs_decisions(job, c)]
            if not members or (decision is not None and decision.by == "you"):
                continue
            cohort = tuple(members[: job.values.calibration_series])
            key = axis_task(group)
            at_least = min(MINIMUM_SERIES, len(cohort))
            calibrations.append(TaskDeclaration(key, cohort=cohort, at_least=at_least))
            if decision is None:
                waiting_for.update(dict.fromkeys(members, key))
        tasks = [
            TaskDeclaration(c.series.id, needs=(waiting_for[c.series.id],) if c.series.id in waiting_for else ())
            for c in series
        ]
        return calibrations + tasks

    def build(self, task: TaskContext[AlignTiltsParameters]) -> Work:
        return self._build_series(task, task.series) if task.series is not None else self._build_calibration(task)

    def _build_series(
        self, task: TaskContext[AlignTiltsParameters], context: SeriesContext[AlignTiltsParameters]
    ) -> Work:
        job, series_id = task.job, context.series.id
        stack = processing(job.folder) / "tiltstack" / series_id
        products = [Product((str(series_xml(job.folder, series_id)),), Check.XML)]
        if not context.values.delete_intermediate:
            products.append(Product(alignment_files(context.values.method, stack, series_id), at_least=1))
        return Work(
            stage=clean_stage(job.folder, series_id, stack),
            commands=(
                series_settings(job, task, context, job.folder),
                align_command(task, context, job.folder, axis=axis_deg(job, context), search=False),
            ),
            products=tuple(products),
            inputs=inputs(context),
        )

    def _build_calibration(self, task: TaskContext[AlignTiltsParameters]) -> Work:
        """One run per series with axis search, in a folder of its own; a failing one leaves the others."""
        job = task.job
        folder = axis_folder(job, task.key)
        commands: list[Command] = []
        for context in task.cohort:
            # A queue folder of its own for each run: the key is part of its path.
            single = replace(task, key=f"{task.key}/{context.series.id}", series=context, cohort=())
            nominal = needed(context.acquisition.tilt_axis_deg, "tilt axis", context.series.group)
            commands.append(series_settings(job, single, context, folder))
            commands.append(replace(align_command(single, context, folder, axis=nominal, search=True), may_fail=True))
        xmls = tuple(str(series_xml(folder, context.series.id)) for context in task.cohort)
        return Work(
            stage=(MoveAside(str(folder)), MakeFolder(str(folder / SETTINGS)), MakeFolder(str(processing(folder)))),
            commands=tuple(commands),
            products=(Product(xmls, Check.XML, at_least=min(MINIMUM_SERIES, len(xmls))),),
            inputs=tuple(path for context in task.cohort for path in inputs(context)),
        )

    def progress(self, log_tail: str) -> float | None:
        return warp_progress(log_tail)

    def cause(self, out_tail: str, err_tail: str) -> str:
        return warp_cause(out_tail, err_tail)

    def gather_series(
        self, job: JobContext[AlignTiltsParameters], key: str, context: SeriesContext[AlignTiltsParameters] | None
    ) -> SeriesResult:
        try:
            return self._gather_calibration(job, key) if context is None else self._gather_alignment(job, context)
        except (InputError, WorkFailed) as error:
            return SeriesResult(problem=str(error))

    def _gather_calibration(self, job: JobContext[AlignTiltsParameters], key: str) -> SeriesResult:
        xmls = sorted(processing(axis_folder(job, key)).glob("*.xml"))
        refined: dict[str, float] = {}
        failed: list[str] = []
        for path in xmls:
            xml = read_tilt_series(path)
            if xml.unselect_manual or not is_aligned(xml_tilts(xml)):
                failed.append(path.stem)
            else:
                refined[path.stem] = refined_axis_deg(xml)
        notes = (f"Not aligned, so left out of the calibration: {', '.join(failed)}.",) if failed else ()
        if len(refined) < min(MINIMUM_SERIES, len(xmls)) or not refined:
            problem = f"Only {len(refined)} of {len(xmls)} series were aligned for the calibration of the tilt axis."
            return SeriesResult(notes=notes, problem=problem)
        numbers = {f"{AXIS_OF}{series}": angle for series, angle in refined.items()}
        numbers["tilt_axis_deg"] = mean_axis_deg(list(refined.values()))
        spread = spread_deg(list(refined.values()))
        if spread is not None:
            numbers["tilt_axis_spread_deg"] = spread
        return SeriesResult(numbers=numbers, notes=notes)

    def _gather_alignment(
        self, job: JobContext[AlignTiltsParameters], context: SeriesContext[AlignTiltsParameters]
    ) -> SeriesResult:
        xml = read_product(job.folder, context.series.id)
        tilts = xml_tilts(xml)
        if not is_aligned(tilts):
            sentence = f"WarpTools took over no alignment of {context.series.id}: every shift in its XML is 0."
            return SeriesResult(problem=sentence)
        rows = upstream_rows(context, "tomostar")
        write_series(job, context.series.id, add_columns(rows, geometry_columns(tilts)))
        numbers = geometry_numbers(job, context, tilts)
        notes = dropped_notes(rows, tilts)
        correlated = series_correlation(xml, context, dimensions_px(job, context))
        if correlated is None:
            notes += ("Its movies have no local defocus values, so it says nothing about the handedness.",)
        else:
            numbers["handedness_correlation"] = correlated
        return SeriesResult(
            row=aligned_row(job, context),
            numbers=numbers,
            tilts=alignment_per_tilt(context, tilts),
            notes=notes,
        )

    def gather_job(
        self,
        job: JobContext[AlignTiltsParameters],
        results: Mapping[str, SeriesResult],
        contexts: Mapping[str, SeriesContext[AlignTiltsParameters]],
    ) -> JobResult:
        made = [*self._decide_axes(job, results, contexts), *self._decide_hand(job, results)]
        now = replace(job, decisions={**job.decisions, **{decision.key: decision for decision in made}})
        return replace(super().gather_job(now, results, contexts), decisions=tuple(made))

    def _decide_axes(
        self,
        job: JobContext[AlignTiltsParameters],
        results: Mapping[str, SeriesResult],
        contexts: Mapping[str, SeriesContext[AlignTiltsParameters]],
    ) -> list[Decision]:
        made: list[Decision] = []
        nominal: dict[str, float | None] = {}
        for context in contexts.values():
            nominal.setdefault(context.series.group, context.acquisition.tilt_axis_deg.value)
        for group, angle in nominal.items():
            result = results.get(axis_task(group))
            if result is None or result.problem or tilt_axis_key(group) in job.decisions:
                continue
            refined = {
                name.removeprefix(AXIS_OF): value for name, value in result.numbers.items() if name.startswith(AXIS_OF)
            }
            if refined:
                made.append(decide_axis(group, refined, angle))
        return made

    def _decide_hand(
        self, job: JobContext[AlignTiltsParameters], results: Mapping[str, SeriesResult]
    ) -> Iterable[Decision]:
        if HANDEDNESS in job.decisions:
            return ()
        found = {
            key: result.numbers["handedness_correlation"]
            for key, result in results.items()
            if "handedness_correlation" in result.numbers and not result.problem
        }
        aligned = any(result.row for result in results.values())
        decision = decide(found, no_more=job.settled and aligned)
        return () if decision is None else (decision,)


def axis_task(group: str) -> str:
    """Key of the calibration of an acquisition group; it is also a folder's name."""
    return AXIS_TASK + re.sub(r"[^A-Za-z0-9_-]", "_", group)


def axis_folder(job: JobContext[Any], key: str) -> Path:
    return job.folder / key.removeprefix(COHORT)


def alignment_files(method: str, stack: Path, series_id: str) -> tuple[str, ...]:
    """Where each program leaves its result: one of them must be there, newer than the attempt, because WarpTools
    (dev39) ends with 0 and writes an XML when the program failed."""
    if method in ARETOMO:
        names = [
            f"{series_id}.st.aln",
            f"{series_id}.aln",
            *(
                f"{folder}/{series_id}{ending}.xf"
                for folder in (f"{series_id}_Imod", f"{series_id}_aligned_Imod", f"{series_id}_st_Imod")
                for ending in ("", "_st")
            ),
        ]
    else:
        names = [f"{series_id}.xf", f"{series_id}_st.xf"]
    return tuple(str(stack / name) for name in names)


def align_command(
    task: TaskContext[AlignTiltsParameters],
    context: SeriesContext[AlignTiltsParameters],
    folder: Path,
    *,
    axis: float,
    search: bool,
) -> Command:
    """The alignment of one series around a fixed axis, or (``search``) starting from it and refining it.

    The calibration is global: local patches take time and do not change the axis that is read.
    """
    values = context.values
    check_pixel(context, values.alignment_pixel_size, "alignment_pixel_size")
    options: list[tuple[str, OptionValue]] = series_options(context, folder)
    options.append(("--angpix", values.alignment_pixel_size))
    if values.method in ARETOMO:
        options += [
            # nm here, whole Å on WarpTools' command line
            ("--alignz", round(values.sample_thickness * 10)),
            ("--axis", axis),
            ("--axis_iter", values.calibration_iterations if search else None),
            ("--patches", patches_text(values, search)),
            ("--exe", values.executable),
        ]
    else:
        options += [("--initial_axis", axis), ("--do_axis_search", search)]
        if values.method == "IMOD patches":
            options.append(("--patch_size", values.patch_size))
        else:
            options += [("--fiducial_size", values.fiducial_size), ("--n_beads_target", values.beads_target)]
    options += [
        ("--min_fov", values.min_fov or None),
        ("--mask", values.mask_images),
        ("--delete_intermediate", values.delete_intermediate),
    ]
    verb = VERBS[values.method]
    return warp_command(task.job, task, verb, options, gpu=True, extra=values.extra_arguments)


def patches_text(values: AlignTiltsParameters, search: bool) -> str | None:
    """``5x4`` for AreTomo2, ``5,4`` for AreTomo3, whose own default of 4,4 is only avoided by saying ``0,0``."""
    local = not search and values.patches_x > 0 and values.patches_y > 0
    if values.method == "AreTomo3":
        return f"{values.patches_x},{values.patches_y}" if local else "0,0"
    return f"{values.patches_x}x{values.patches_y}" if local else None


def is_aligned(tilts: Sequence[XmlTilt]) -> bool:
    """An alignment was taken over: some used tilt is shifted. Without one all shifts are exactly 0."""
    used = [tilt.geometry for tilt in tilts if tilt.used]
    return any(tilt.offset_x_angstrom or tilt.offset_y_angstrom for tilt in used)


def series_correlation(
    xml: TiltSeriesXml, context: SeriesContext[Any], dimensions: tuple[int, int, int]
) -> float | None:
    """See :mod:`core.quality.handedness`; None where the movies' XML files have no local defocus."""
    folder = tomostar_producer(context).folder / "warp_frameseries" / context.series.id
    tilts = xml_tilts(xml)
    grids: list[DefocusGrid | None] = []
    for tilt in tilts:
        try:
            grid = read_frame_series(folder / f"{movie_root(tilt.movie)}.xml").ctf_grid
        except InputError:
            return None
        plane = tuple(grid.values[: grid.width * grid.height])
        grids.append(DefocusGrid(grid.width, grid.height, plane))
    pixel = needed(context.acquisition.pixel_size_angstrom, "pixel size", context.series.group)
    x, y, z = (side * pixel for side in dimensions)
    return correlation([tilt.geometry for tilt in tilts], grids, (x, y, z))


JOB_TYPE = AlignTiltsWarp()
