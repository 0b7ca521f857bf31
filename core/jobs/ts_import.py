"""Tilts into tilt series: one ``.tomostar`` per series, with the tilts that are wanted and the registry's doses.

WarpTools counts a tilt's dose from its rank among the sections of the mdoc, refuses a whole series for one missing
average, and drops deselected tilts afterwards. So each series gets an mdoc of its own, made from the registry, with its
own folder for everything:

1. sections of tilts that the frame-series step lost are taken out of the mdoc (and no others);
2. tilts that a person excluded are deselected, in copies of the frame-series XML files;
3. ``ts_import`` writes ``tomostar_imported/<id>/<id>.tomostar``;
4. its ``wrpDose`` is replaced by the registry's dose, matched by movie name: ``tomostar/<id>.tomostar``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from core.dataset.model import Acquisition
from core.errors import InputError
from core.formats.tomostar import Tomostar, read_tomostar
from core.jobs import fs_motion_and_ctf as frame_series
from core.jobs._base import (
    JobContext,
    Needs,
    Problem,
    Producer,
    SeriesContext,
    SeriesResult,
    Slot,
    StarValue,
    TaskContext,
)
from core.jobs._star import TableJob, add_columns, by_movie, global_row, read_series, write_series
from core.jobs._task import Copy, Link, MakeFolder, MoveAside, Product, StageOperation, Work, WriteText
from core.jobs._warp import needed, number_text, tilt_list_text, warp_cause, warp_command
from core.jobs.fields import Flag, Group, JobParameters, Level, PerSeries, Unit
from core.jobs.importmovies import movie_paths, usable
from core.tools.command import Command

VERB = "ts_import"
DOSE_TOLERANCE_E_PER_A2 = 0.01

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

FILTER_MDOC = r"""
function fail(text) { print "crboost: " text > "/dev/stderr"; failed = 1; exit 3 }
function lost(root,   line, status, path, bad, ctf, motion) {
  path = folder "/" root ".xml"
  while ((status = (getline line < path)) > 0) {
    if (index(line, "UnselectManual=\"True\"")) bad = 1
    if (index(line, "<OptionsCTF")) ctf = 1
    if (index(line, "<OptionsMovement")) motion = 1
  }
  close(path)
  if (bad || !ctf || !motion) return 1
  path = folder "/average/" root ".mrc"
  status = (getline line < path)
  close(path)
  return status <= 0
}
function finish() {
  if (name == "") return
  root = name; sub(/\.[^.]*$/, "", root)
  if (lost(root)) { missing++; print "crboost: " name " has no average or was marked as failed: left out" }
  else { text = text section; kept++ }
  name = ""
}
/^\[ZValue/ { finish(); inside = 1; section = "" }
!inside { text = text $0 "\n"; next }
/^SubFramePath = / { name = substr($0, 16) }
{ section = section $0 "\n" }
END {
  if (failed) exit 3
  finish()
  if (missing > allowed) fail(missing " tilts have no average, " allowed " may be missing")
  if (!kept) fail("no tilt has an average")
  printf "%s", text > out
  if (close(out) != 0) fail("cannot write " out)
  print "crboost: " kept " tilts of the mdoc have averages"
}
"""
"""awk: copies an mdoc to ``out`` without the sections whose movie has no average in ``folder``, or an XML that is not
there, lacks motion or CTF, or says that WarpTools gave the movie up.
Ends with 3 where more than ``allowed`` would go, or all."""

SET_DOSES = r"""
function fail(text) { print "crboost: " text > "/dev/stderr"; failed = 1; exit 3 }
{ sub(/\r$/, "") }
FILENAME == doses { dose[$1] = $2; next }
/^_/ { columns++; if ($1 == "_wrpMovieName") movie = columns; if ($1 == "_wrpDose") place = columns }
/^[ \t]*$/ || /^(_|data_|loop_|#)/ { text = text $0 "\n"; next }
{
  if (!movie || !place) fail("no wrpMovieName or wrpDose in " FILENAME)
  if (NF != columns) fail("a row of " FILENAME " has " NF " values, " columns " were expected")
  name = $movie; sub(/^.*\//, "", name)
  if (!(name in dose)) fail("the movie " name " of " FILENAME " is not in the registry")
  if (name in seen) fail("the movie " name " stands twice in " FILENAME)
  seen[name] = 1; rows++
  $movie = folder "/" name; $place = dose[name]
  line = "  " $1; for (i = 2; i <= NF; i++) line = line "  " $i
  text = text line "\n"
}
END {
  if (failed) exit 3
  if (rows < least) fail("only " (rows + 0) " tilts are left, " least " are needed")
  printf "%s", text > out
  if (close(out) != 0) fail("cannot write " out)
  print "crboost: doses of " rows " tilts set from the registry"
}
"""
"""awk: copies a tomostar to ``out`` with the doses of the table ``doses`` (movie name, blank, dose) and movie paths
below ``folder``. Ends with 3 for an unknown or repeated movie, a broken row, or fewer than ``least`` tilts."""


class Parameters(JobParameters):
    min_intensity: Annotated[float, Group("Tilts"), Flag("--min_intensity"), PerSeries(), Field(ge=0, le=1)] = 0.0
    """Leave out tilts darker than this part of the zero tilt's brightness times cos(angle); they are named later."""
    max_tilt: Annotated[int, Group("Tilts"), Unit("°"), Flag("--max_tilt"), PerSeries(), Field(ge=1, le=90)] = 90
    """Leave out tilts beyond this angle."""
    min_ntilts: Annotated[int, Group("Tilts"), Flag("--min_ntilts"), Field(ge=1, le=500)] = 3
    """A series with fewer tilts left fails."""
    max_mask: Annotated[float, Group("Tilts"), Level.ADVANCED, Flag("--max_mask"), PerSeries(), Field(ge=0, le=1)] = 1.0
    """Leave out tilts of which more than this part is masked."""
    tilt_offset: Annotated[
        float, Group("Angles"), Level.ADVANCED, Unit("°"), Flag("--tilt_offset"), PerSeries(), Field(ge=-90, le=90)
    ] = 0.0
    """Subtracted from every tilt angle: the pre-tilt of a lamella."""
    auto_zero: Annotated[bool, Group("Angles"), Level.ADVANCED, Flag("--auto_zero"), PerSeries()] = False
    """Shift the angles so that the brightest tilt is at zero."""


class TsImport(TableJob[Parameters]):
    name = "tsImport"
    title = "Tilt series"
    summary = "Puts each series' tilts together for WarpTools, without those that were excluded."
    parameters = Parameters
    slots = (Slot("frame_series", "frame_series", "Motion-corrected tilts with their first CTF."),)
    provides = ("tomostar", "tilt_frames")
    main_output = ("tilt_series.star", "TomogramGroupMetadata.star.relion.tomo.excludeimages")
    tools = ("warp",)
    needs = Needs(cpus=1, gpus=0, memory_gb=8, minutes=30)
    acquisition_fields = ("dose_per_tilt_e_per_a2", "tilt_axis_deg", "invert_tilt_angles")
    uses_tilt_selection = True
    gather_decisions = ("handedness",)

    def checks(self, values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
        problems = []
        if values["auto_zero"] and values["tilt_offset"]:
            sentence = "Either the brightest tilt is zero or the offset is given, not both."
            problems.append(Problem("error", ("tilt_offset", "auto_zero"), sentence))
        dose = None if acquisition is None else acquisition.dose_per_tilt_e_per_a2.value
        if dose is not None and dose <= 0:
            problems.append(Problem("error", (), "The dose per tilt must be more than 0 e/Å²."))
        return problems

    def build(self, task: TaskContext[Parameters]) -> Work:
        job, context = task.job, task.series
        assert context is not None
        series = context.series.id
        upstream = context.inputs["frame_series"]
        processing = frame_series.processing_folder(job.folder, series)
        imported = job.folder / "tomostar_imported" / series
        final = tomostar_file(job.folder, series)
        lists = job.folder / "lists"
        mdocs = job.folder / "mdocs" / series
        whole = mdocs / f"{series}.all"
        mdoc = mdocs / f"{series}.mdoc"
        doses = lists / f"{series}_doses.txt"
        all_list, excluded_list = lists / f"{series}.txt", lists / f"{series}_excluded.txt"
        movies = movie_paths(job.project, context)
        excluded = [path for index, path in movies.items() if context.series.tilts.ids[index] in context.excluded_tilts]
        stage: list[StageOperation] = [
            *(MoveAside(str(path)) for path in (processing, imported, mdocs, final)),
            *(MakeFolder(str(path)) for path in (processing, imported, mdocs, final.parent, lists)),
            *_upstream_files(upstream, series, processing),
            WriteText(str(whole), mdoc_text(context)),
            WriteText(str(doses), dose_table(context)),
            WriteText(str(all_list), tilt_list_text(movies.values())),
        ]
        commands = [
            _awk(
                job,
                FILTER_MDOC,
                {"folder": processing, "out": mdoc, "allowed": _may_be_missing(upstream)},
                [whole],
            ),
            _selection(job, task, upstream, "--null", all_list),
        ]
        if excluded:
            stage.append(WriteText(str(excluded_list), tilt_list_text(excluded)))
            commands.append(_selection(job, task, upstream, "--deselect", excluded_list))
        commands += [
            _import(task, mdocs, imported),
            _awk(
                job,
                SET_DOSES,
                {
                    "doses": doses,
                    "folder": f"../warp_frameseries/{series}",
                    "out": final,
                    "least": context.values.min_ntilts,
                },
                [doses, imported / f"{series}.tomostar"],
            ),
        ]
        return Work(
            stage=tuple(stage),
            commands=tuple(commands),
            products=(Product((str(imported / f"{series}.tomostar"),)), Product((str(final),))),
            inputs=_inputs(upstream, context),
        )

    def cause(self, out_tail: str, err_tail: str) -> str:
        own = [line for line in err_tail.splitlines() if line.startswith("crboost: ")]
        return warp_cause(out_tail, err_tail) or (own[-1].removeprefix("crboost: ") if own else "")

    def gather_series(
        self, job: JobContext[Parameters], key: str, context: SeriesContext[Parameters] | None
    ) -> SeriesResult:
        assert context is not None
        tomostar = read_tomostar(tomostar_file(job.folder, key))
        names = [path.rsplit("/", 1)[-1] for path in tomostar.movies]
        upstream = read_series(context.inputs["frame_series"].folder, key)
        before = by_movie(upstream)
        mdoc = job.folder / "mdocs" / key / f"{key}.mdoc"
        in_mdoc = {
            line.removeprefix("SubFramePath = ").strip()
            for line in mdoc.read_text(encoding="utf-8").splitlines()
            if line.startswith("SubFramePath = ")
        }
        problem = _problem(context, tomostar, names, before, in_mdoc)
        if not problem:
            columns: dict[str, dict[str, StarValue]] = {
                name: {"rlnMicrographPreExposure": float(dose)}
                for name, dose in zip(names, tomostar.doses, strict=True)
            }
            write_series(job, key, add_columns(upstream, columns))
        order = {name: row for row, name in enumerate(names)}
        used = [order.get(movie) for movie in context.series.tilts.movie]
        angles = tomostar.angles_deg
        return SeriesResult(
            row=global_row(job, context),
            numbers={
                "tilts": float(len(names)),
                **({"min_tilt_deg": min(angles), "max_tilt_deg": max(angles)} if len(angles) else {}),
            },
            tilts={
                "tilt_deg": tuple(None if row is None else float(angles[row]) for row in used),
                "dose_e_per_a2": tuple(None if row is None else float(tomostar.doses[row]) for row in used),
            },
            notes=_notes(context, set(names), before, in_mdoc),
            problem=problem,
        )


def tomostar_file(folder: Path, series_id: str) -> Path:
    return folder / "tomostar" / f"{series_id}.tomostar"


def mdoc_text(context: SeriesContext[Any]) -> str:
    """The series' own mdoc from the registry: usable tilts in acquisition order, at times that increase.

    Real times are kept where every exposure has one and they increase; WarpTools ranks the tilts by them.
    """
    tilts = context.series.tilts
    axis = needed(context.acquisition.tilt_axis_deg, "tilt axis", context.series.group)
    pixel = context.acquisition.pixel_size_angstrom.value
    times = _times(context)
    lines = [
        *([f"PixelSpacing = {number_text(pixel)}"] if pixel is not None else []),
        f"ImageFile = {context.series.id}",
        "",
        f"[T = SerialEM: {context.series.id}   made from the registry by crboost]",
        "",
        f"[T =     Tilt axis angle = {number_text(axis)}, binning = 1  spot = 1  camera = 0]",
        "",
    ]
    for index in usable(context):
        lines += [
            f"[ZValue = {index}]",
            f"TiltAngle = {number_text(tilts.angle_deg[index])}",
            f"SubFramePath = {tilts.movie[index]}",
            f"DateTime = {_mdoc_time(times[index])}",
            "",
        ]
    return "\n".join(lines) + "\n"


def dose_table(context: SeriesContext[Any]) -> str:
    """Lines of movie name, blank, accumulated dose before it (e/Å²), for every usable tilt."""
    doses = context.doses_e_per_a2()
    return "".join(f"{context.series.tilts.movie[index]} {number_text(doses[index])}\n" for index in usable(context))


def _times(context: SeriesContext[Any]) -> list[datetime]:
    tilts = context.series.tilts
    try:
        times = [datetime.fromisoformat(text).replace(tzinfo=None, microsecond=0) for text in tilts.acquired]
        if all(early < late for early, late in pairwise(times)):
            return times
    except ValueError:
        pass
    return [datetime(2000, 1, 1) + timedelta(minutes=index) for index in range(len(tilts))]


def _mdoc_time(time: datetime) -> str:
    """``05-Jan-2024 13:07:09``, in English whatever the locale."""
    return f"{time.day:02d}-{_MONTHS[time.month - 1]}-{time.year:04d} {time:%H:%M:%S}"


def _upstream_files(upstream: Producer, series: str, processing: Path) -> list[StageOperation]:
    """Copies of the XML files, which WarpTools rewrites, and links to the images beside them."""
    source = frame_series.processing_folder(upstream.folder, series)
    return [
        Copy(str(processing), str(source), "*.xml"),
        *(Link(str(processing / name), str(source / name)) for name in ("average", "powerspectrum")),
    ]


def _inputs(upstream: Producer, context: SeriesContext[Any]) -> tuple[str, ...]:
    """Every XML and average must be visible, unless some tilts may have failed: then only what is there for sure."""
    series = context.series.id
    inputs = [str(frame_series.settings_file(upstream.folder, series))]
    if _may_be_missing(upstream) == 0:
        for index in usable(context):
            files = frame_series.tilt_files(upstream.folder, series, context.series.tilts.movie[index])
            inputs += [str(files.xml), str(files.average)]
    return tuple(inputs)


def _may_be_missing(upstream: Producer) -> int:
    return int(getattr(upstream.values, "allow_failed_tilts", 0))


def _selection(
    job: JobContext[Parameters], task: TaskContext[Parameters], upstream: Producer, how: str, items: Path
) -> Command:
    assert task.series is not None
    series = task.series.series.id
    processing = frame_series.processing_folder(job.folder, series)
    return warp_command(
        job,
        task,
        "change_selection",
        [
            (how, True),
            ("--settings", frame_series.settings_file(upstream.folder, series)),
            ("--input_data", items),
            ("--input_processing", processing),
            ("--output_processing", processing),
        ],
        gpu=False,
    )


def _import(task: TaskContext[Parameters], mdocs: Path, imported: Path) -> Command:
    assert task.series is not None
    context, values = task.series, task.series.values
    acquisition, series = context.acquisition, context.series.id
    dose = needed(acquisition.dose_per_tilt_e_per_a2, "dose per tilt", acquisition.group)
    if dose <= 0:
        raise InputError(
            f"The dose per tilt of acquisition group {acquisition.group!r} must be more than 0.", "acquisition"
        )
    return warp_command(
        task.job,
        task,
        VERB,
        [
            ("--mdocs", mdocs),
            ("--pattern", f"{series}.mdoc"),
            ("--frameseries", frame_series.processing_folder(task.job.folder, series)),
            ("--tilt_exposure", dose),
            ("--override_axis", needed(acquisition.tilt_axis_deg, "tilt axis", acquisition.group)),
            ("--dont_invert", acquisition.invert_tilt_angles.value is False),
            ("--auto_zero", values.auto_zero),
            ("--tilt_offset", values.tilt_offset or None),
            ("--max_tilt", values.max_tilt),
            ("--min_intensity", values.min_intensity),
            ("--max_mask", values.max_mask),
            ("--min_ntilts", values.min_ntilts),
            ("--output", imported),
        ],
        gpu=False,
    )


def _awk(job: JobContext[Parameters], program: str, values: Mapping[str, Any], files: list[Path]) -> Command:
    """awk with these variables. It undoes backslashes in their values, so they are doubled."""
    words = [
        word for name, value in values.items() for word in ("-v", f"{name}={str(value).replace(chr(92), chr(92) * 2)}")
    ]
    argv = ("awk", *words, program.strip(), *(str(path) for path in files))
    return Command(tool="host", argv=argv, cwd=str(job.project), env=(("LC_ALL", "C"),))


def _problem(
    context: SeriesContext[Parameters],
    tomostar: Tomostar,
    names: list[str],
    before: Mapping[str, Any],
    in_mdoc: set[str],
) -> str:
    expected = dict(zip(context.series.tilts.movie, context.doses_e_per_a2(), strict=True))
    for name, dose in zip(names, tomostar.doses, strict=True):
        if name not in expected:
            return f"The tomostar has the movie {name}, which is not in this tilt series."
        if name not in before:
            return f"The tomostar has the movie {name}, which the frame-series step does not have: run this step again."
        if abs(float(dose) - expected[name]) > DOSE_TOLERANCE_E_PER_A2:
            return f"The dose of {name} is {dose:g} e/Å² in the tomostar and {expected[name]:g} in the registry."
    excluded = [context.series.tilts.movie[index] for index in _excluded(context)]
    kept = sorted(set(excluded) & set(names))
    if kept:
        return f"The excluded tilt with the movie {kept[0]} is still in the tomostar."
    unseen = sorted(set(before) - in_mdoc)
    if unseen:
        return f"The average of {unseen[0]} was not visible when this step ran: run it again."
    if len(names) < context.values.min_ntilts:
        return f"Only {len(names)} tilts are left, {context.values.min_ntilts} are needed."
    return ""


def _excluded(context: SeriesContext[Any]) -> list[int]:
    tilts = context.series.tilts
    return [index for index in usable(context) if tilts.ids[index] in context.excluded_tilts]


def _notes(
    context: SeriesContext[Parameters], names: set[str], before: Mapping[str, Any], in_mdoc: set[str]
) -> tuple[str, ...]:
    """A sentence for every tilt that is not in the tomostar."""
    tilts = context.series.tilts
    notes = []
    for index in range(len(tilts)):
        movie = tilts.movie[index]
        if movie and movie in names:
            continue
        if tilts.problem[index] or not movie:
            reason = tilts.problem[index] or "its movie is missing"
        elif tilts.ids[index] in context.excluded_tilts:
            reason = "you excluded it"
        elif movie not in before or movie not in in_mdoc:
            reason = "it failed in the frame-series step"
        else:
            reason = "WarpTools dropped it (brightness, masked part or angle)"
        notes.append(f"Tilt {tilts.ids[index]} ({tilts.angle_deg[index]:+.1f}°) is left out: {reason}.")
    return tuple(notes)


JOB_TYPE = TsImport()
