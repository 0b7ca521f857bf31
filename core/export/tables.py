"""RELION's tables without this program: what gathering does with Python, as awk programs whose values are made now.

A task ends with the table of its own series. When a job's tasks have ended, its last step writes the table of the
series that are done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.errors import InputError
from core.formats import star
from core.jobs._base import JobContext, StarValue, TaskContext
from core.jobs._relion import RelionJob, folder_text
from core.jobs._star import MOVIE, by_movie, movie_name, read_series, series_star
from core.jobs._task import MakeFolder, Product, StageOperation, Work, WriteText
from core.jobs.motioncorr import MotionCorr, input_file, task_folder
from core.jobs.reconstructtomograms import ReconstructTomograms
from core.tools.command import Command
from core.tools.wrapper import HOST

ADD_COLUMNS = r"""
function fail(text) { print "crboost: " text > "/dev/stderr"; failed = 1; exit 3 }
{ sub(/\r$/, "") }
FILENAME == columns && FNR == 1 { added = split($0, name); next }
FILENAME == columns { movie = $1; order[++wanted] = movie; $1 = ""; values[movie] = $0; next }
/^data_/ { block = $1; next }
/^_/ { label[++labels] = $1; if ($1 == "_MOVIE") place = labels; next }
/^[ \t]*$/ || /^(loop_|#)/ { next }
{
  if (!place) fail("no _MOVIE in " FILENAME)
  if (NF != labels) fail("a row of " FILENAME " has " NF " values, " labels " were expected")
  movie = $place; sub(/^.*\//, "", movie); row[movie] = $0
}
END {
  if (failed) exit 3
  text = "\n# version 50001\n\n" block "\n\nloop_ \n"
  for (i = 1; i <= labels; i++) text = text label[i] " #" i " \n"
  for (i = 1; i <= added; i++) text = text "_" name[i] " #" (labels + i) " \n"
  for (i = 1; i <= wanted; i++) if (order[i] in row) { text = text row[order[i]] values[order[i]] " \n"; kept++ }
  if (!kept) fail("no tilt of " FILENAME " is among those of " columns)
  printf "%s \n", text > out
  if (close(out) != 0) fail("cannot write " out)
  print "crboost: " kept " of " wanted " tilts"
}
""".replace("MOVIE", MOVIE)
"""awk: the rows of a table of RELION's whose movies are in ``columns`` (first line: labels; others: movie and values),
in that order, with these values behind them, to ``out``."""

_END = r"""
{ text = text $0 "\n" }
END {
  if (!rows) { print "crboost: " nothing > "/dev/stderr"; exit 3 }
  printf "%s", text > out
  exit close(out) != 0
}
"""

ONE_SERIES = r"""
/^_/ { labels++; if ($1 == "_rlnTomoName") name = labels }
!/^_/ && labels && NF == labels { if ($name != series) next; rows++ }
""" + _END.lstrip()
"""awk: a table of all series with the row of ``series`` only, to ``out``."""

MOVED = r"""
/^_/ { labels++ }
!/^_/ && labels && NF == labels {
  rows++
  for (i = 1; i <= NF; i++) if (index($i, before) == 1) $i = after substr($i, length(before) + 1)
}
""" + _END.lstrip()
"""awk: a table with ``after`` in the place of ``before`` at the beginning of every path, to ``out``."""

RECONSTRUCTED = r"""
/^_/ { labels++; if ($1 == "_rlnTomoYTilt") tilt = labels; if ($1 == "_rlnCtfScalefactor") scale = labels }
!/^_/ && labels && NF == labels {
  if (!tilt) { nothing = "no _rlnTomoYTilt in " FILENAME; exit }
  if (!scale && !rows) text = text "_rlnCtfScalefactor #" (labels + 1) " \n"
  rows++
  angle = $tilt + offset
  if (offset != 0) $tilt = sprintf("%.6f", angle)
  if (!scale) $0 = $0 " " sprintf("%.6f", cos(angle * atan2(0, -1) / 180))
}
""" + _END.lstrip()
"""awk: a series' table as RELION's reconstruction leaves it: ``offset`` is in the tilt, and there is a scale factor."""

DONE_ONLY = r"""
function is_done(folder,    number, line, state) {
  for (number = 1; (getline line < (folder "/" number ".claim")) >= 0; number++) {
    close(folder "/" number ".claim")
    state = ""
    if ((getline line < (folder "/" number ".state")) > 0) state = line
    close(folder "/" number ".state")
  }
  return index(state, "{\"state\":\"done\"") == 1
}
function header(volume, type, place,    command, value) {
  command = "od -A n -N 4 -t " type " -j " place " " "\047" volume "\047"
  command | getline value
  close(command)
  return value + 0
}
/^_/ {
  labels++
  if ($1 == "_rlnTomoName") name = labels
  if ($1 == "_rlnTomoTiltSeriesPixelSize") pixel = labels
  if ($1 == "_rlnTomoTomogramBinning") binning = labels
  if ($1 ~ /^_rlnTomoReconstructedTomogram(Half1)?$/) volume = labels
}
!/^_/ && labels && NF == labels {
  if (!is_done(tasks "/" $name)) next
  rows++
  sampling = 0
  if (binning && volume && pixel) sampling = header($volume, "d4", 28)
  if (sampling > 0) {
    found = header($volume, "f4", 40) / sampling / $pixel
    difference = found / $binning - 1
    if (found > 0 && (difference > 0.001 || difference < -0.001)) $binning = sprintf("%.6f", found)
  }
}
""" + _END.lstrip()
"""awk: a table of all series with those whose newest attempt in ``tasks`` is done, to ``out``. The binning of a
tomogram is that of its file: RELION rounds the sides of images to even numbers."""


def awk(job: JobContext[Any], program: str, values: Mapping[str, Any], files: Sequence[Path]) -> Command:
    """awk with these variables. It undoes backslashes in their values, so they are doubled."""
    words = [
        word for name, value in values.items() for word in ("-v", f"{name}={str(value).replace(chr(92), chr(92) * 2)}")
    ]
    argv = ("awk", *words, program.strip(), *(str(path) for path in files))
    return Command(tool=HOST, argv=argv, cwd=str(job.project), env=(("LC_ALL", "C"),))


def columns_text(folder: Path, key: str, known: set[str]) -> str:
    """The columns of a series' table that are not in ``known``: a line of labels, then one for each tilt."""
    rows = read_series(folder, key)
    by_movie(rows)
    labels = [label for label in rows[0] if label not in known]
    lines = [" ".join(labels), *(" ".join([movie_name(row), *(str(row[label]) for label in labels)]) for row in rows)]
    return "".join(f"{line}\n" for line in lines)


def series_work(kind: RelionJob[Any], task: TaskContext[Any]) -> Work:
    """A task of RELION's as the engine runs it, and then the table of its series."""
    context = task.series
    assert context is not None
    job, key, work = task.job, context.series.id, kind.build(task)
    upstream = job.project / kind.input_table(job, context)
    table = series_star(job.folder, key)
    stage: tuple[StageOperation, ...]
    nothing = f"RELION's table has no tilt of {key}"
    if isinstance(kind, MotionCorr):
        own, row = task_folder(job.folder, key), input_file(job.folder, key)
        # The row is what stands in the table then: RELION gives its jobs their numbers in a scheme.
        one = {"series": key, "out": row, "nothing": f"{key} is not in {job.relative(upstream)}"}
        paths = {"before": folder_text(job, own), "after": folder_text(job, job.folder)}
        before = [awk(job, ONE_SERIES, one, [upstream])]
        after = awk(job, MOVED, {**paths, "out": table, "nothing": nothing}, [series_star(own, key)])
        stage = tuple(operation for operation in work.stage if not isinstance(operation, WriteText))
    elif isinstance(kind, ReconstructTomograms):
        offset = {"offset": f"{context.values.tiltangle_offset:g}", "out": table, "nothing": nothing}
        before, stage = [], work.stage
        after = awk(job, RECONSTRUCTED, offset, [series_star(kind.producer(context).folder, key)])
    else:
        raise InputError(f"{job.instance} ({kind.name}) cannot be exported: its tables are written by crboost only.")
    return replace(
        work,
        stage=(*stage, MakeFolder(str(table.parent))),
        commands=(*before, *work.commands, after),
        products=(*work.products, Product((str(table),))),
        inputs=tuple(dict.fromkeys((str(upstream), *work.inputs))),
    )


def job_work(job: JobContext[Any], name: str, rows: Sequence[Mapping[str, StarValue]]) -> Work:
    """The last step of a job: its table ``name`` with those of these rows whose series are done."""
    every, out = job.folder / "tables" / "every_series.star", job.folder / name
    labels = [label for label in rows[0] if all(label in row for row in rows)]
    text = star.new_file([star.loop_block("global", labels, [[row[label] for label in labels] for row in rows])])
    values = {"tasks": job.folder / "tasks", "out": out, "nothing": "no tilt series is done"}
    return Work(
        stage=(WriteText(str(every), text.render()),),
        commands=(awk(job, DONE_ONLY, values, [every]),),
        products=(Product((str(out),)),),
    )
