"""The script of one task: exactly what would run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core import __version__
from core.cluster.protocol import AttemptPaths, newest_attempt
from core.cluster.script import Attempt, render
from core.dataset.model import Sourced
from core.engine.binding import BoundInstance, Choices
from core.engine.plan import Plan, Sources, job_folders, read_sources
from core.engine.status import Status, load_snapshot
from core.engine.tool_table import tool_table
from core.errors import InputError, listed
from core.jobs._base import SeriesContext, TaskContext
from core.jobs._task import COHORT, Link, Work
from core.project.layout import ProjectPaths
from core.project.model import ProjectFile
from core.project.resources import ResourceValue, effective
from core.project.site import Site
from core.tools.table import ToolTable
from core.tools.wrapper import folders_of, launched, wrap

Effective = Mapping[str, Sourced[ResourceValue]]


@dataclass(frozen=True, slots=True)
class TaskResources:
    """What a task's own command lines, and the local submitter, need to know of its resources. ``ranks``: of MPI."""

    cpus: int
    gpus: int
    minutes: int
    ranks: int = 1

    @classmethod
    def of(cls, resources: Effective) -> TaskResources:
        cpus, gpus, minutes, nodes, tasks = (
            int(str(resources[name].value)) if name in resources else 1
            for name in ("cpus", "gpus", "minutes", "nodes", "tasks")
        )
        return cls(cpus, gpus, minutes, nodes * tasks)


def task_resources(site: Site, project: ProjectFile, bound: BoundInstance) -> dict[str, Sourced[ResourceValue]]:
    """Effective resources of one task: job type < site < profile of the job type < project < instance."""
    return effective(bound.job_type.needs, site, bound.declared, project.resources)


def script_of(
    plan: Plan,
    table: ToolTable,
    site: Site,
    paths: ProjectPaths,
    instance: str,
    key: str,
    attempt: AttemptPaths,
    choices: Choices | None,
    cohort: tuple[str, ...],
) -> tuple[Work, str]:
    """The work of one attempt and its script."""
    binding = plan.binding
    bound = plan.jobs[instance].bound
    resources = TaskResources.of(task_resources(site, binding.project, bound))
    context = None if key.startswith(COHORT) else binding.series_context(instance, key, choices)
    members = tuple(binding.series_context(instance, member, choices) for member in cohort)
    job = binding.job_context(instance)
    task = TaskContext(job, key, attempt.number, context, members, resources.cpus, resources.gpus, resources.ranks)
    work = bound.job_type.build(task)
    return written(plan, table, site, paths, instance, attempt, work, [*([context] if context else []), *members])


def written(
    plan: Plan,
    table: ToolTable,
    site: Site,
    paths: ProjectPaths,
    instance: str,
    attempt: AttemptPaths,
    work: Work,
    contexts: Sequence[SeriesContext[Any]],
) -> tuple[Work, str]:
    """``work`` as the instance's tools launch it, and its script, whose commands see the raw data of these series."""
    binding = plan.binding
    bound = plan.jobs[instance].bound
    resources = TaskResources.of(task_resources(site, binding.project, bound))
    table = table.choose(bound.declared.tools)
    work = replace(work, commands=tuple(launched(command, table, resources.ranks) for command in work.commands))
    seen = folders_of([*_raw_files(contexts), *_touched(work, paths.root)])
    text = render(
        work,
        Attempt(
            paths=attempt,
            instance=instance,
            project=paths.root,
            inbox=paths.inbox,
            note="REHEARSAL: every tool is a stand-in." if binding.project.rehearsal else "",
            version=__version__,
            ranks=resources.ranks,
        ),
        lambda command: wrap(command, table, project=paths.root, data=seen),
    )
    return work, text


def _raw_files(contexts: Sequence[SeriesContext[Any]]) -> list[str]:
    """The raw data of these series: a container must see what the project's links point to. Of many series one movie
    of each folder stands for all."""
    files: dict[str, str] = {}
    for context in contexts:
        acquisition = context.acquisition
        others = [str(p.value) for p in (acquisition.gain_path, acquisition.defects_path) if p.value]
        for path in (*filter(None, context.series.tilts.source), *others):
            files.setdefault(path if len(contexts) == 1 else os.path.dirname(path), path)
    return list(files.values())


def _touched(work: Work, project: Path) -> set[str]:
    """What the work itself says it needs; of what lies in the project the folders, which may be links."""
    paths = {*work.inputs, *(operation.target for operation in work.stage if isinstance(operation, Link))}
    return {os.path.dirname(path) if path.startswith(f"{project}/") else path for path in paths}


def render_task(root: Path, data: Path, instance: str, key: str) -> str:
    """The script that the next attempt of a task would run, as the project's files stand. Writes nothing.

    Raises :class:`InputError` for a job, series or task that is not there, and for an internal task.
    """
    sources = read_sources(root, data)
    status = load_snapshot(sources.paths)
    plan = Plan(sources.bind(job_folders(status, root)), sources.version)
    return render_planned(sources, plan, status, data, instance, key)


def render_planned(sources: Sources, plan: Plan, status: Status | None, data: Path, instance: str, key: str) -> str:
    """The same for a plan that is made already, also of values that are not saved."""
    if instance not in plan.jobs:
        raise InputError(f"There is no job {instance}. There are: {', '.join(plan.jobs)}.")
    planned = plan.jobs[instance]
    if key not in planned.tasks:
        there = listed(planned.tasks)
        raise InputError(
            f"{instance} has no task {key}. "
            + (f"There are: {there}." if there else "This project has no tilt series.")
        )
    if planned.bound.job_type.internal:
        raise InputError(f"{instance} is done by crboost itself: there is no script.")
    for name, problem in plan.errors():
        if name == instance:
            raise InputError(problem.sentence, f"{instance}: {', '.join(problem.fields)}")
    folder = plan.binding.job_context(instance).folder
    attempt = AttemptPaths(folder, key, newest_attempt(folder / "tasks" / key) + 1)
    cohort = planned.tasks[key].cohort
    choices: Mapping[str, str] = {}
    if status is not None:
        for job in status.jobs:
            choices = {**choices, **job.choices.get(key, {})}
    table = tool_table(sources, data, write=False)
    return script_of(plan, table, sources.site, sources.paths, instance, key, attempt, choices, cohort)[1]
