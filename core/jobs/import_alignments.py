"""``importAlignments``: tilt-series alignments made elsewhere with IMOD, from their ``.xf`` and ``.tlt`` files.

IMOD's transform of a view, ``x' = A x + d`` in pixels about the centre, takes an image to the aligned stack, whose tilt
axis is vertical. RELION describes where the specimen lands in the image as it is: the inverse. So its rotation is that
of A turned round, its shift ``-A^-1 d``, and its tilt the angle of the ``.tlt``, levelled as IMOD levelled it. IMOD's
X-axis tilts and magnifications have no place there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from pydantic import Field

from core.dataset.model import Acquisition
from core.errors import InputError, WorkFailed
from core.files import read_text, replace_text
from core.formats.imod import Transform, read_tlt, read_xf
from core.jobs._base import JobContext, Needs, Problem, SeriesContext, SeriesResult, Slot, TaskContext
from core.jobs._relion import PIXEL, number, tilt_series_pixel_angstrom
from core.jobs._star import Row, TableJob, by_movie, global_row, movie_name, read_series, series_star, write_series
from core.jobs._task import Product, Work
from core.jobs.fields import Flag, Group, JobParameters, Level, Unit
from core.project.layout import ProjectPaths
from core.quality.axis import departure_deg, mean_axis_deg

DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
NOMINAL_DEFOCUS = "rlnTomoNominalDefocus"
NOMINAL_TILT = "rlnTomoNominalStageTiltAngle"
SAME_ANGLE_DEG = 0.2
"""Two tilts nearer than this cannot be told apart by their angles."""
MATCH_STEPS = 0.6
"""How far an angle may be from where it is expected, in the smallest step between tilts."""
MAGNIFICATION = 0.03
FAR_AXIS_DEG = 20.0
NOTHING = Transform(1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


class ImportAlignmentsParameters(JobParameters):
    xf_pattern: Annotated[str, Group("Files"), Flag(".xf")] = "alignments/{series}.xf"
    """Transforms of each series. {series} is its id here, {name} what the microscope called it; relative to the project
    or absolute. Redo the job when the files change."""
    tlt_pattern: Annotated[str, Group("Files"), Flag(".tlt")] = "alignments/{series}.tlt"
    """Refined tilt angles of each series, as many as transforms."""
    rawtlt_pattern: Annotated[str, Group("Files"), Level.ADVANCED, Flag(".rawtlt")] = ""
    """Nominal tilt angles of the stack that was aligned: only needed where views were left out of it, because the
    refined angles may all be off by the specimen's inclination."""
    stack_pixel_size: Annotated[float | None, Unit("Å/px"), Group("Files"), Field(gt=0, le=200)] = None
    """Pixel size of the stack that was aligned; not set: that of the averages."""
    nominal_defocus: Annotated[
        float | None, Unit("µm"), Group("Defocus"), Level.ADVANCED, Field(ge=-5, le=50)
    ] = None  # fmt: skip
    """Underfocus that stands in where no CTF was fitted before; not set: the target defocus of the mdoc."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one series; ``rawtlt`` None where there is none."""

    xf: Path
    tlt: Path
    rawtlt: Path | None


@dataclass(frozen=True, slots=True)
class Geometry:
    """RELION's description of one view."""

    z_rot_deg: float
    y_tilt_deg: float
    shift_x_angstrom: float
    shift_y_angstrom: float


@dataclass(frozen=True, slots=True)
class Alignment:
    rows: list[Row]
    notes: tuple[str, ...]


class ImportAlignments(TableJob[ImportAlignmentsParameters]):
    name = "importAlignments"
    title = "Import alignments (IMOD)"
    summary = (
        "Takes over tilt-series alignments from IMOD's .xf and .tlt files. Where no CTF was fitted before, the nominal "
        "defocus stands in: RELION wants one, but do not correct the CTF by it."
    )
    parameters = ImportAlignmentsParameters
    slots = (Slot("averages", "averages", "Motion-corrected tilt images."),)
    provides = ("aligned_tilt_series",)
    main_output = ("aligned_tilt_series.star", "TomogramGroupMetadata.star.relion.tomo.aligntiltseries")
    needs = Needs(cpus=1, gpus=0, memory_gb=1, minutes=5)
    internal = True
    reads_tables = True
    uses_tilt_selection = True
    gather_decisions = ("handedness",)
    acquisition_fields = ("pixel_size_angstrom",)

    def checks(self, values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
        problems = []
        for name in ("xf_pattern", "tlt_pattern", "rawtlt_pattern"):
            pattern = values[name]
            if not pattern and name == "rawtlt_pattern":
                continue
            if "{series}" not in pattern and "{name}" not in pattern:
                sentence = f"{name} has neither {{series}} nor {{name}} in it: all series would get the same file."
                problems.append(Problem("error", (name,), sentence))
        return problems

    def build(self, task: TaskContext[ImportAlignmentsParameters]) -> Work:
        assert task.series is not None
        star = series_star(task.job.folder, task.series.series.id)
        return Work(products=(Product((str(star),)),), internal=True)

    def run_internal(self, task: TaskContext[ImportAlignmentsParameters]) -> None:
        """Keep the files in the job's folder and write the series' table. Raises :class:`CrboostError`."""
        context = task.series
        assert context is not None
        given, kept = given_files(task.job.project, context), kept_files(task.job.folder, context)
        kept.xf.parent.mkdir(parents=True, exist_ok=True)
        replace_text(kept.xf, read_text(given.xf))
        replace_text(kept.tlt, read_text(given.tlt))
        if given.rawtlt is not None and kept.rawtlt is not None:
            replace_text(kept.rawtlt, read_text(given.rawtlt))
        write_series(task.job, context.series.id, align(context, kept).rows)

    def gather_series(
        self,
        job: JobContext[ImportAlignmentsParameters],
        key: str,
        context: SeriesContext[ImportAlignmentsParameters] | None,
    ) -> SeriesResult:
        assert context is not None
        try:
            alignment = align(context, kept_files(job.folder, context))
            rows = alignment.rows
            write_series(job, key, rows)
            return SeriesResult(
                row=global_row(job, context, {PIXEL: tilt_series_pixel_angstrom(context)}),
                numbers=_numbers(context, rows),
                tilts=_tilt_columns(context, rows),
                notes=(*alignment.notes, *_axis_notes(context, rows)),
            )
        except (InputError, WorkFailed) as error:
            return SeriesResult(problem=str(error))


def given_files(project: Path, context: SeriesContext[ImportAlignmentsParameters]) -> Files:
    """Where the patterns say that the series' files are. A rehearsal has those of the project that it is of."""
    values, series = context.values, context.series
    rehearsals = ProjectPaths(project.parents[2]).rehearsal if len(project.parents) > 2 else None
    root = project.parents[2] if project.parent == rehearsals else project

    def place(pattern: str) -> Path:
        return root / pattern.replace("{series}", series.id).replace("{name}", series.name)

    return Files(
        place(values.xf_pattern),
        place(values.tlt_pattern),
        place(values.rawtlt_pattern) if values.rawtlt_pattern else None,
    )


def kept_files(folder: Path, context: SeriesContext[ImportAlignmentsParameters]) -> Files:
    """The job's own copies: what was imported, whatever becomes of the files."""
    root = folder / "imod" / context.series.id
    raw = root.with_name(f"{root.name}.rawtlt") if context.values.rawtlt_pattern else None
    return Files(root.with_name(f"{root.name}.xf"), root.with_name(f"{root.name}.tlt"), raw)


def relion_geometry(transform: Transform, angle_deg: float, pixel_angstrom: float) -> Geometry:
    """One view of IMOD's as RELION's. Raises :class:`InputError` for a transform that nothing can undo."""
    a11, a12, a21, a22 = transform.a11, transform.a12, transform.a21, transform.a22
    determinant = a11 * a22 - a12 * a21
    if determinant <= 0:
        raise InputError("A transform mirrors the image or flattens it: this is no alignment of a tilt series.")
    # The rotation nearest to A, so that neither magnification nor skew turns it.
    rotation = math.degrees(math.atan2(a21 - a12, a11 + a22))
    x = (a22 * transform.dx_px - a12 * transform.dy_px) / determinant
    y = (a11 * transform.dy_px - a21 * transform.dx_px) / determinant
    return Geometry(-rotation, angle_deg, -x * pixel_angstrom, -y * pixel_angstrom)


def align(context: SeriesContext[ImportAlignmentsParameters], files: Files) -> Alignment:
    """The table of the job before with the geometry of every view that is used, by nominal angle.

    Raises :class:`InputError` or :class:`WorkFailed` where files are not there, do not belong together, or views cannot
    be told apart.
    """
    transforms, angles = read_xf(files.xf), read_tlt(files.tlt)
    if len(transforms) != len(angles):
        raise InputError(f"has {len(transforms)} transforms, {files.tlt.name} {len(angles)} angles.", files.xf)
    nominal = angles if files.rawtlt is None else read_tlt(files.rawtlt)
    if len(nominal) != len(angles):
        raise InputError(f"has {len(nominal)} angles, {files.xf.name} {len(angles)} transforms.", files.rawtlt)
    producer = context.inputs["averages"]
    table = by_movie(read_series(producer.folder, context.series.id))
    matched = match_views(nominal, context, table.keys())
    pixel = context.values.stack_pixel_size or tilt_series_pixel_angstrom(context)
    tilts, unaligned = context.series.tilts, _unaligned(transforms)
    rows: list[Row] = []
    left_out: list[str] = []
    for view, index in enumerate(matched):
        movie = tilts.movie[index]
        if reason := _why_left_out(context, index, movie in table, view in unaligned):
            left_out.append(f"View {view + 1} ({tilts.angle_deg[index]:+.1f}°) is left out: {reason}.")
            continue
        geometry = relion_geometry(transforms[view], angles[view], pixel)
        rows.append({**_with_defocus(table[movie], context), **_columns(geometry)})
    absent = sorted(set(table) - {tilts.movie[index] for index in matched})
    if absent:
        left_out.append(f"{len(absent)} tilts are not in {files.xf.name}: {', '.join(absent)}.")
    rows.sort(key=lambda row: number(row, NOMINAL_TILT))
    if not rows:
        raise WorkFailed(f"No view of {files.xf.name} is left.")
    notes = (*_twin_notes(transforms, unaligned), *_magnification_notes(transforms, unaligned))
    return Alignment(rows, (*left_out, *notes))


def match_views(view_deg: Sequence[float], context: SeriesContext[Any], movies: Any) -> list[int]:
    """The tilt (its index in acquisition order) of every view, by order and angle.

    As many views as tilts may all be off by one angle (an inclined specimen). Fewer or more are matched by their
    angles as they are. Raises :class:`InputError` where that is not clear.
    """
    tilts = context.series.tilts
    everything = list(range(len(tilts)))
    there = [index for index in everything if tilts.movie[index] in movies]
    kept = [index for index in there if tilts.ids[index] not in context.excluded_tilts]
    step = _smallest_step(tilts.angle_deg)
    for subset in (there, everything, kept):
        if len(subset) == len(view_deg):
            found = _in_order(view_deg, subset, tilts.angle_deg, step)
            if found is not None:
                return found
    found = _nearest(view_deg, tilts.angle_deg, min(step, 2.0) * 0.5)
    if found is None:
        raise InputError(
            f"The {len(view_deg)} views cannot be told by their angles from the {len(tilts)} tilts of "
            f"{context.series.id}: give the nominal angles of the aligned stack as rawtlt_pattern.",
            "tlt_pattern",
        )
    return found


def _smallest_step(angles_deg: Sequence[float]) -> float:
    ordered = sorted(angles_deg)
    gaps = [b - a for a, b in pairwise(ordered) if b - a > SAME_ANGLE_DEG]
    return min(gaps, default=3.0)


def _in_order(
    view_deg: Sequence[float], subset: Sequence[int], angles_deg: Sequence[float], step: float
) -> list[int] | None:
    """All tilts of ``subset`` as views in the order in which they were taken, or else in that of their angles."""
    if _agree(view_deg, [angles_deg[index] for index in subset], step):
        return list(subset)
    by_angle = sorted(subset, key=lambda index: angles_deg[index])
    ordered = [angles_deg[index] for index in by_angle]
    if any(b - a < SAME_ANGLE_DEG for a, b in pairwise(ordered)):
        return None
    views = sorted(range(len(view_deg)), key=lambda view: view_deg[view])
    if not _agree([view_deg[view] for view in views], ordered, step):
        return None
    found = dict(zip(views, by_angle, strict=True))
    return [found[view] for view in range(len(view_deg))]


def _agree(views: Sequence[float], tilts: Sequence[float], step: float) -> bool:
    """Whether they are the same but for one offset and small changes."""
    differences = [view - tilt for view, tilt in zip(views, tilts, strict=True)]
    middle = median(differences)
    return all(abs(difference - middle) < MATCH_STEPS * step for difference in differences)


def _nearest(view_deg: Sequence[float], angles_deg: Sequence[float], limit: float) -> list[int] | None:
    found = []
    for view in view_deg:
        near = [index for index, angle in enumerate(angles_deg) if abs(angle - view) < limit]
        if len(near) != 1:
            return None
        found += near
    return found if len(set(found)) == len(found) else None


def _unaligned(transforms: Sequence[Transform]) -> frozenset[int]:
    """Views that IMOD left out of its alignment: with a transform that does nothing, unlike all others, or at an end
    of the series with that of the view beside it."""
    if len(set(transforms)) == 1:
        return frozenset()
    rotation = median(abs(transform.rotation_deg) for transform in transforms)
    found = {view for view, one in enumerate(transforms) if one == NOTHING and rotation > 1.0}
    for views in (range(len(transforms) - 1), range(len(transforms) - 1, 0, -1)):
        for view in views:
            beside = view + views.step
            if transforms[view] != transforms[beside] or transforms[view] == NOTHING:
                break
            found.add(view)
    return frozenset(found)


def _twin_notes(transforms: Sequence[Transform], unaligned: frozenset[int]) -> tuple[str, ...]:
    """Inside a series it is not clear which of two views with one transform IMOD left out."""
    return tuple(
        f"Views {view + 1} and {view + 2} have the same transform: IMOD left one of them out of the alignment. Exclude "
        "that tilt."
        for view, (one, other) in enumerate(pairwise(transforms))
        if one == other != NOTHING and not {view, view + 1} & unaligned and len(set(transforms)) > 1
    )


def _why_left_out(context: SeriesContext[Any], index: int, in_table: bool, unaligned: bool) -> str:
    tilts = context.series.tilts
    if tilts.ids[index] in context.excluded_tilts:
        return "you excluded this tilt"
    if not in_table:
        return tilts.problem[index] or "it has no motion-corrected image"
    return "IMOD left it out of the alignment" if unaligned else ""


def _with_defocus(row: Row, context: SeriesContext[ImportAlignmentsParameters]) -> Row:
    """With RELION's defocus columns. Raises :class:`WorkFailed` where nobody knows any defocus."""
    if all(label in row for label in DEFOCUS):
        return row
    given = context.values.nominal_defocus
    if given is None and NOMINAL_DEFOCUS not in row:
        raise WorkFailed(
            f"The mdoc of {context.series.id} has no target defocus, and no CTF was fitted: set nominal_defocus."
        )
    underfocus = given if given is not None else -number(row, NOMINAL_DEFOCUS)
    return {**row, "rlnDefocusU": underfocus * 1e4, "rlnDefocusV": underfocus * 1e4, "rlnDefocusAngle": 0.0}


def _columns(geometry: Geometry) -> Row:
    return {
        "rlnTomoXShiftAngst": geometry.shift_x_angstrom,
        "rlnTomoYShiftAngst": geometry.shift_y_angstrom,
        "rlnTomoZRot": geometry.z_rot_deg,
        "rlnTomoXTilt": 0.0,
        "rlnTomoYTilt": geometry.y_tilt_deg,
    }


def _numbers(context: SeriesContext[Any], rows: Sequence[Row]) -> dict[str, float]:
    axis = mean_axis_deg([number(row, "rlnTomoZRot") for row in rows])
    numbers = {
        "tilts_used": float(len(rows)),
        "tilt_axis_deg": axis,
        "largest_shift_angstrom": max(
            math.hypot(number(row, "rlnTomoXShiftAngst"), number(row, "rlnTomoYShiftAngst")) for row in rows
        ),
    }
    nominal = context.acquisition.tilt_axis_deg.value
    if nominal is not None:
        numbers["tilt_axis_departure_deg"] = departure_deg(axis, float(nominal))
    return numbers


def _axis_notes(context: SeriesContext[Any], rows: Sequence[Row]) -> tuple[str, ...]:
    departure = _numbers(context, rows).get("tilt_axis_departure_deg", 0.0)
    if abs(departure) < FAR_AXIS_DEG:
        return ()
    return (f"The tilt axis of the alignment is {departure:+.0f}° from the nominal one: do the files belong to it?",)


def _magnification_notes(transforms: Sequence[Transform], unaligned: frozenset[int]) -> tuple[str, ...]:
    changes = [
        math.sqrt(abs(one.a11 * one.a22 - one.a12 * one.a21)) - 1
        for view, one in enumerate(transforms)
        if view not in unaligned
    ]
    worst = max(changes, key=abs, default=0.0)
    if abs(worst) < MAGNIFICATION:
        return ()
    return (f"Changes of magnification, up to {worst:+.0%}, are not taken over: RELION's geometry has none.",)


def _tilt_columns(context: SeriesContext[Any], rows: Sequence[Row]) -> dict[str, list[float | None]]:
    found = {movie_name(row): row for row in rows}
    return {
        name: [number(found[movie], label) if movie in found else None for movie in context.series.tilts.movie]
        for name, label in (
            ("tilt_angle_deg", "rlnTomoYTilt"),
            ("shift_x_angstrom", "rlnTomoXShiftAngst"),
            ("shift_y_angstrom", "rlnTomoYShiftAngst"),
        )
    }


JOB_TYPE = ImportAlignments()
