"""What an export is made of: every task of the pipeline with the script that runs it, in folders of the export's own.

An export runs without this program. So what this program does itself is done now, as far as it can be: the import's
tables are written out as texts, and so are the columns that a job adds to tables of RELION's, which awk puts there at
run time. RELION's own jobs run unsplit, since nobody gathers. What is decided on the way (tilt axis, handedness) must
have been decided.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.cluster.protocol import AttemptPaths
from core.engine.plan import Plan, PlannedJob, Sources, read_sources
from core.engine.rendering import Effective, TaskResources, script_of, task_resources, written
from core.engine.requests import refuse_errors
from core.engine.tool_table import tool_table
from core.errors import CrboostError, InputError, listed
from core.files import write_error
from core.jobs._base import JobContext, SeriesContext, SeriesResult, TaskContext
from core.jobs._relion import RelionJob, folder_text
from core.jobs._star import MOVIE, by_movie, movie_name, read_series, series_star, write_series
from core.jobs._task import COHORT, Check, MakeFolder, Product, StageOperation, Work, WriteText
from core.jobs.importmovies import movie_rows
from core.project.layout import ProjectPaths
from core.relion.job_star import native_options
from core.tools.command import Command
from core.tools.wrapper import HOST

ALL = f"{COHORT}all"
"""Key of the task of a job that has only one."""

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

MOVE_TABLES = r"""
/^_/ { labels++; if ($1 == "_rlnTomoTiltSeriesStarFile") place = labels; if ($1 == "_rlnTomoName") name = labels }
place && NF == labels && !/^_/ {
  if (index(series, " " $name " ") == 0) next
  file = $place; sub(/^.*\//, "", file); $place = folder "/" file; rows++
}
{ text = text $0 "\n" }
END {
  if (!rows) { print "crboost: none of the tilt series is in " FILENAME > "/dev/stderr"; exit 3 }
  printf "%s", text > out
  exit close(out) != 0
}
"""
"""awk: a table of all series with those of ``series``, their own tables in ``folder``, to ``out``."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task; ``text`` is its whole script. ``needs``: tasks (instance, key) without which it cannot succeed."""

    key: str
    paths: AttemptPaths
    text: str
    needs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One job of the pipeline. ``folder`` is absolute. ``output``: name and node type of its STAR file, where the
    export makes one."""

    id: str
    title: str
    folder: Path
    producers: tuple[str, ...]
    resources: Effective
    tasks: tuple[Task, ...]
    output: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """A whole pipeline and what it was made from."""

    sources: Sources
    jobs: tuple[Job, ...]

    @property
    def name(self) -> str:
        return self.sources.project.name or self.sources.paths.root.name

    @property
    def note(self) -> str:
        """A line for headers, of a rehearsal."""
        return "REHEARSAL: every tool is a stand-in." if self.sources.project.rehearsal else ""


class _Paths(ProjectPaths):
    """A project whose engine is told nothing: the tasks of an export are not its own."""

    @property
    def inbox(self) -> Path:
        return self.root / ".crboost" / "no-inbox"


def make_export(root: Path, data: Path, folder_of: Callable[[int, str], Path]) -> Export:
    """Every task of the pipeline of a project. ``folder_of``: a job's folder in the project, from its number and id.

    Raises :class:`InputError` for a plan with errors, an open decision, or a job that only this program can do.
    """
    sources = read_sources(root, data)
    names = list(sources.bind({}).instances)
    folders = {name: folder_of(number, name) for number, name in enumerate(names, 1)}
    export = _Exporting(sources, data, folders)
    jobs = {planned.id: job for planned in export.plan.jobs.values() if (job := export.job(planned)) and job.tasks}
    if not jobs:
        raise InputError("There is nothing to export: no job has a task.", root)
    return Export(sources, tuple(_with_needs(job, jobs) for job in jobs.values()))


class _Exporting:
    def __init__(self, sources: Sources, data: Path, folders: Mapping[str, Path]) -> None:
        self.sources = sources
        self.data = data
        self.folders = folders
        self.plan = Plan(sources.bind(folders), sources.version)
        refuse_errors(self.plan, None)
        self._refuse_open_decisions()
        self.table = tool_table(sources, data)
        self._with_tables: set[str] = set()

    def _refuse_open_decisions(self) -> None:
        for planned in self.plan.jobs.values():
            for key, needed in planned.decisions.items():
                for name in needed:
                    decision = self.sources.decisions.get(name)
                    if key not in self.sources.excluded_series and (decision is None or decision.state != "decided"):
                        raise InputError(
                            f"{planned.id} needs {name}, which is not decided yet, and an export decides nothing: let "
                            f"a pilot decide it (crboost run --series ... --to {planned.id}), or set it (crboost set)."
                        )

    def job(self, planned: PlannedJob) -> Job:
        kind = planned.bound.job_type
        if kind.reads_tables:
            self._refuse_without_tables(planned)
        if isinstance(kind, RelionJob):
            work = self._whole(planned, kind)
        elif not kind.internal:
            return self._about(planned, list(self._split(planned)))
        elif not planned.bound.inputs:
            work = self._written_out(planned)
        elif kind.reads_tables:
            work = self._joined(planned)
        else:
            raise InputError(
                f"{planned.id} ({kind.name}) is done by crboost itself from the results of {_sources_of(planned)}: "
                "a pipeline with it cannot be exported."
            )
        self._with_tables.add(planned.id)
        paths = AttemptPaths(self.folders[planned.id], ALL, 1)
        contexts = [self._context(planned, key) for key in self._series(planned)]
        task = Task(ALL, paths, self._text(planned.id, paths, work, contexts))
        return self._about(planned, (task,), kind.main_output)

    def _refuse_without_tables(self, planned: PlannedJob) -> None:
        for name in _producers(planned):
            if name not in self._with_tables:
                raise InputError(
                    f"{planned.id} reads the tables of {name}, which crboost writes when {name} has ended: a pipeline "
                    "with both cannot be exported."
                )

    def _about(self, planned: PlannedJob, tasks: Sequence[Task], output: tuple[str, str] | None = None) -> Job:
        resources = task_resources(self.sources.site, self.sources.project, planned.bound)
        title = planned.bound.job_type.title
        producers = tuple(_producers(planned))
        return Job(planned.id, title, self.folders[planned.id], producers, resources, tuple(tasks), output)

    def _series(self, planned: PlannedJob) -> list[str]:
        return [key for key in self.plan.series if key in planned.tasks and key not in self.sources.excluded_series]

    def _context(self, planned: PlannedJob, key: str) -> SeriesContext[Any]:
        return self.plan.binding.series_context(planned.id, key)

    def _text(self, instance: str, paths: AttemptPaths, work: Work, contexts: Sequence[SeriesContext[Any]]) -> str:
        project = _Paths(self.sources.paths.root)
        return written(self.plan, self.table, self.sources.site, project, instance, paths, work, contexts)[1]

    def _split(self, planned: PlannedJob) -> Iterator[Task]:
        """Each task as the engine would run it."""
        excluded, project = self.sources.excluded_series, _Paths(self.sources.paths.root)
        wanted = {need for declaration in planned.tasks.values() for need in declaration.needs}
        per_series = len(planned.tasks) > len(planned.cohorts)
        for key, declaration in planned.tasks.items():
            if key in excluded or (key in planned.cohorts and per_series and key not in wanted):
                continue  # a calibration whose result has been decided
            cohort = tuple(member for member in declaration.cohort if member not in excluded)
            paths = AttemptPaths(self.folders[planned.id], key, 1)
            site = self.sources.site
            _, text = script_of(self.plan, self.table, site, project, planned.id, key, paths, None, cohort)
            yield Task(key, paths, text, tuple((planned.id, need) for need in declaration.needs))

    def _whole(self, planned: PlannedJob, kind: RelionJob[Any]) -> Work:
        """A job of RELION's as the one command that RELION makes of it."""
        if planned.bound.overrides:
            raise InputError(
                f"{planned.id} has own values for {listed(planned.bound.overrides)}: RELION's command, which "
                "does all series at once, cannot have them."
            )
        job = self.plan.binding.job_context(planned.id)
        contexts = [self._context(planned, key) for key in self._series(planned)]
        asked = TaskResources.of(task_resources(self.sources.site, self.sources.project, planned.bound))
        running = {"nr_mpi": str(asked.ranks), "nr_threads": str(asked.cpus)}
        options = native_options(self.data, kind.relion_label, kind.relion_options(job, contexts), running)
        argv = kind.unsplit_command(options, folder_text(job, job.folder))
        task = TaskContext(job, ALL, 1, None, tuple(contexts), asked.cpus, asked.gpus, asked.ranks)
        return Work(
            stage=(MakeFolder(str(job.folder)),),
            commands=(kind.task_command(task, argv, gpu=asked.gpus > 0),),
            products=(Product((str(job.folder / kind.main_output[0]),)),),
            inputs=(str(job.project / kind.input_table(job, contexts[0])),) if contexts else (),
        )

    def _written_out(self, planned: PlannedJob) -> Work:
        """A job that this program does itself, from nothing but the project, as the files that it makes."""
        folder = self.folders[planned.id]
        with self._scratch(planned.id) as scratch:
            job = replace(self.plan.binding.job_context(planned.id), folder=scratch, settled=True)
            contexts = {key: self._context(planned, key) for key in self._series(planned)}
            results = {key: self._run_here(planned, job, key, context) for key, context in contexts.items()}
            planned.bound.job_type.gather_job(job, results, contexts)
            here, there = job.relative(scratch), job.relative(folder)
            files = {
                str(folder / path.relative_to(scratch)): path.read_text(encoding="utf-8").replace(here, there)
                for path in sorted(scratch.rglob("*.star"))
            }
        stage: tuple[StageOperation, ...] = tuple(WriteText(path, text) for path, text in files.items())
        return Work(stage=stage, products=(Product(tuple(files), Check.ANY_AGE),))

    def _joined(self, planned: PlannedJob) -> Work:
        """A job that adds columns to tables of RELION's: made now, on the import's tables, and added by awk then."""
        job = self.plan.binding.job_context(planned.id)
        (producer,) = _producers(planned)
        before, name = self.plan.binding.job_context(producer), planned.bound.job_type.main_output[0]
        stage: list[StageOperation] = [MakeFolder(str(series_star(job.folder, "").parent))]
        commands, tables = [], []
        with self._scratch(planned.id) as scratch:
            own, upstream = replace(job, folder=scratch / "own", settled=True), replace(job, folder=scratch / "before")
            binding = self.sources.bind({**self.folders, producer: upstream.folder, planned.id: own.folder})
            for key in self._series(planned):
                context = binding.series_context(planned.id, key)
                rows = movie_rows(context)
                write_series(upstream, key, rows)
                self._run_here(planned, own, key, context)
                columns = job.folder / "columns" / f"{key}.txt"
                stage.append(WriteText(str(columns), _columns_text(own.folder, key, set(rows[0]))))
                table = series_star(job.folder, key)
                tables.append(str(table))
                added = series_star(before.folder, key)
                commands.append(_awk(job, ADD_COLUMNS, {"columns": columns, "out": table}, [columns, added]))
        series = " ".join(["", *self._series(planned), ""])
        every = {"series": series, "folder": job.relative(series_star(job.folder, "").parent), "out": job.folder / name}
        whole = before.folder / self.plan.jobs[producer].bound.job_type.main_output[0]
        commands.append(_awk(job, MOVE_TABLES, every, [whole]))
        return Work(
            stage=tuple(stage),
            commands=tuple(commands),
            products=(Product((str(job.folder / name),)), Product(tuple(tables), at_least=1)),
            inputs=(str(whole),),
        )

    def _run_here(
        self, planned: PlannedJob, job: JobContext[Any], key: str, context: SeriesContext[Any]
    ) -> SeriesResult:
        kind = planned.bound.job_type
        job.folder.mkdir(exist_ok=True)
        kind.run_internal(TaskContext(job, key, 1, context, ()))
        result = kind.gather_series(job, key, context)
        if result.problem:
            raise CrboostError(f"{planned.id}, {key}: {result.problem}")
        return result

    @contextmanager
    def _scratch(self, instance: str) -> Iterator[Path]:
        """A folder in the project, so that paths in tables are as they will be."""
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"export-{instance}-", dir=self.sources.paths.state))
        except OSError as error:
            raise write_error(self.sources.paths.state, error) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _producers(planned: PlannedJob) -> list[str]:
    """Where an input has several producers, an export takes the first."""
    return list(dict.fromkeys(names[0] for names in planned.bound.inputs.values()))


def _sources_of(planned: PlannedJob) -> str:
    return listed(_producers(planned))


def _columns_text(folder: Path, key: str, known: set[str]) -> str:
    """The columns of a series' table that are not in ``known``: a line of labels, then one for each tilt."""
    rows = read_series(folder, key)
    by_movie(rows)
    labels = [label for label in rows[0] if label not in known]
    lines = [" ".join(labels), *(" ".join([movie_name(row), *(str(row[label]) for label in labels)]) for row in rows)]
    return "".join(f"{line}\n" for line in lines)


def _awk(job: JobContext[Any], program: str, values: Mapping[str, Any], files: Sequence[Path]) -> Command:
    """awk with these variables. It undoes backslashes in their values, so they are doubled."""
    words = [
        word for name, value in values.items() for word in ("-v", f"{name}={str(value).replace(chr(92), chr(92) * 2)}")
    ]
    argv = ("awk", *words, program.strip(), *(str(path) for path in files))
    return Command(tool=HOST, argv=argv, cwd=str(job.project), env=(("LC_ALL", "C"),))


def _with_needs(job: Job, jobs: Mapping[str, Job]) -> Job:
    """A task needs those of the same series in the jobs before it, or what these have done for all series at once."""
    tasks = []
    for task in job.tasks:
        needs = dict.fromkeys(task.needs)
        for name in job.producers:
            keys = [one.key for one in jobs[name].tasks] if name in jobs else []
            if task.key in keys:
                needs[(name, task.key)] = None
            elif not task.key.startswith(COHORT):
                needs.update(dict.fromkeys((name, key) for key in keys if key.startswith(COHORT)))
        tasks.append(replace(task, needs=tuple(needs)))
    return replace(job, tasks=tuple(tasks))
