"""What an export is made of: every task of the pipeline with the script that runs it, in folders of the export's own.

An export runs without this program. So what this program does itself is done now, as far as it can be: the import's
tables are written out as texts, and so are the columns that a job adds to tables of RELION's, which awk puts there at
run time. RELION's own jobs run for each series as under the engine; awk writes the tables that gathering would write
(see :mod:`core.export.tables`). What is decided on the way (tilt axis, handedness) must have been decided.
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
from core.export.tables import ADD_COLUMNS, awk, columns_text, job_work, series_work
from core.files import write_error
from core.jobs._base import JobContext, SeriesContext, SeriesResult, StarValue, TaskContext
from core.jobs._relion import RelionJob, folder_text, moved_rows
from core.jobs._star import series_star, write_series
from core.jobs._task import COHORT, Check, MakeFolder, Product, StageOperation, Work, WriteText
from core.jobs.importmovies import movie_rows
from core.project.layout import ProjectPaths

ALL = f"{COHORT}all"
"""Key of the task of a job that has only one."""

TABLES = f"{COHORT}tables"
"""Key of the step that writes a job's table, when its tasks have ended."""


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
    export makes one. ``tables``: what writes it when the tasks have ended, where no task does; made again whenever one
    of them has been."""

    id: str
    title: str
    folder: Path
    producers: tuple[str, ...]
    resources: Effective
    tasks: tuple[Task, ...]
    output: tuple[str, str] | None = None
    tables: Task | None = None


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
        if not kind.internal and not isinstance(kind, RelionJob):
            return self._about(planned, list(self._split(planned)))
        self._with_tables.add(planned.id)
        if isinstance(kind, RelionJob):
            return self._in_parts(planned, *self._relion(planned, kind))
        if kind.reads_tables:
            return self._in_parts(planned, *self._joined(planned))
        if planned.bound.inputs:
            raise InputError(
                f"{planned.id} ({kind.name}) is done by crboost itself from the results of {_sources_of(planned)}: "
                "a pipeline with it cannot be exported."
            )
        contexts = [self._context(planned, key) for key in self._series(planned)]
        task = self._task(planned, ALL, self._written_out(planned), contexts)
        return self._about(planned, (task,), kind.main_output)

    def _in_parts(self, planned: PlannedJob, works: Mapping[str, Work], rows: Sequence[Mapping[str, StarValue]]) -> Job:
        """A job with a task for each series, and one for its table, in which they have these rows."""
        if not works:
            return self._about(planned, ())
        output = planned.bound.job_type.main_output
        tasks = [self._task(planned, key, work, [self._context(planned, key)]) for key, work in works.items()]
        last = job_work(self.plan.binding.job_context(planned.id), output[0], rows)
        return self._about(planned, tasks, output, self._task(planned, TABLES, last, []))

    def _task(self, planned: PlannedJob, key: str, work: Work, contexts: Sequence[SeriesContext[Any]]) -> Task:
        paths = AttemptPaths(self.folders[planned.id], key, 1)
        return Task(key, paths, self._text(planned.id, paths, work, contexts))

    def _refuse_without_tables(self, planned: PlannedJob) -> None:
        for name in _producers(planned):
            if name not in self._with_tables:
                raise InputError(
                    f"{planned.id} reads the tables of {name}, which crboost writes when {name} has ended: a pipeline "
                    "with both cannot be exported."
                )

    def _about(
        self,
        planned: PlannedJob,
        tasks: Sequence[Task],
        output: tuple[str, str] | None = None,
        tables: Task | None = None,
    ) -> Job:
        resources = task_resources(self.sources.site, self.sources.project, planned.bound)
        title = planned.bound.job_type.title
        producers = tuple(_producers(planned))
        return Job(planned.id, title, self.folders[planned.id], producers, resources, tuple(tasks), output, tables)

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

    def _relion(
        self, planned: PlannedJob, kind: RelionJob[Any]
    ) -> tuple[dict[str, Work], list[Mapping[str, StarValue]]]:
        """A job of RELION's: the work for each series, and their rows."""
        job = self.plan.binding.job_context(planned.id)
        asked = TaskResources.of(task_resources(self.sources.site, self.sources.project, planned.bound))
        contexts = {key: self._context(planned, key) for key in self._series(planned)}
        works = {
            key: series_work(kind, TaskContext(job, key, 1, context, (), asked.cpus, asked.gpus, asked.ranks))
            for key, context in contexts.items()
        }
        return works, [kind.table_row(job, context) for context in contexts.values()]

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

    def _joined(self, planned: PlannedJob) -> tuple[dict[str, Work], list[Mapping[str, StarValue]]]:
        """A job that adds columns to tables of RELION's: made now, on the import's tables, and added by awk then."""
        job = self.plan.binding.job_context(planned.id)
        (producer,) = _producers(planned)
        before = self.plan.binding.job_context(producer)
        works: dict[str, Work] = {}
        found: list[Mapping[str, StarValue]] = []
        with self._scratch(planned.id) as scratch:
            own, upstream = replace(job, folder=scratch / "own", settled=True), replace(job, folder=scratch / "before")
            binding = self.sources.bind({**self.folders, producer: upstream.folder, planned.id: own.folder})
            for key in self._series(planned):
                context = binding.series_context(planned.id, key)
                rows = movie_rows(context)
                write_series(upstream, key, rows)
                result = self._run_here(planned, own, key, context)
                found.append(_moved(result.row, own, job))
                columns, table = job.folder / "columns" / f"{key}.txt", series_star(job.folder, key)
                text, added = columns_text(own.folder, key, set(rows[0])), series_star(before.folder, key)
                works[key] = Work(
                    stage=(MakeFolder(str(table.parent)), WriteText(str(columns), text)),
                    commands=(awk(job, ADD_COLUMNS, {"columns": columns, "out": table}, [columns, added]),),
                    products=(Product((str(table),)),),
                    inputs=(str(added),),
                )
        return works, found

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


def _moved(row: Mapping[str, StarValue], made: JobContext[Any], job: JobContext[Any]) -> Mapping[str, StarValue]:
    """A row with the job's folder in the place of the one that it was made in."""
    return moved_rows([dict(row)], folder_text(made, made.folder), folder_text(job, job.folder))[0]


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
            if name in jobs and jobs[name].tables:
                needs[(name, TABLES)] = None
        tasks.append(replace(task, needs=tuple(needs)))
    return replace(job, tasks=tuple(tasks))
