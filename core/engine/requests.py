"""What a person asks for: each function writes one numbered request and tells a living engine to look."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from core.dataset.model import TiltSeries
from core.dataset.registry import load_registry
from core.engine.plan import Plan, make_plan
from core.errors import InputError, listed
from core.jobs._task import COHORT
from core.project.file import ensure_version, load
from core.project.layout import ProjectPaths
from core.project.wanted import Kind, Request, add_request


def run(
    root: Path,
    data: Path,
    *,
    series: Sequence[str] | None = None,
    to: str | None = None,
    jobs: Sequence[str] | None = None,
) -> Request:
    """Ask for the pipeline, or part of it, to be run. Raises :class:`InputError` while the plan has errors."""
    plan = make_plan(root, data)
    refuse_errors(plan, to)
    _check(plan, jobs, series, to)
    return _ask(root, "run", jobs=jobs, series=series, to=to)


def retry(root: Path, data: Path, *, jobs: Sequence[str] | None = None, series: Sequence[str] | None = None) -> Request:
    """Ask for what failed, was stopped or is stale to be run again, and only that."""
    plan = make_plan(root, data)
    refuse_errors(plan, None)
    _check(plan, jobs, series, None)
    return _ask(root, "retry", jobs=jobs, series=series)


def redo(root: Path, data: Path, *, jobs: Sequence[str], series: Sequence[str] | None = None) -> Request:
    """Ask for finished work to be done again in place; its products move to the Trash first."""
    plan = make_plan(root, data)
    refuse_errors(plan, None)
    _check(plan, jobs, series, None)
    return _ask(root, "redo", jobs=jobs, series=series)


def ask(root: Path, kind: Kind, *, jobs: Sequence[str] | None = None, series: Sequence[str] | None = None) -> Request:
    """``stop``, ``drain``, ``hold``, ``release``, ``exclude`` or ``include``. Raises :class:`InputError` for a job or
    series that is not there."""
    known = [instance.id for instance in load(root).model.pipeline]
    for name in jobs or ():
        if name not in known:
            raise InputError(f"There is no job {name}. There are: {', '.join(known)}.")
    if series:
        ids = _registered(root)
        cohorts = kind not in ("exclude", "include")
        for name in series:
            if name not in ids and not (cohorts and name.startswith(COHORT)):
                raise InputError(_no_series(name, ids))
    return _ask(root, kind, jobs=jobs, series=series)


def ask_tilts(root: Path, kind: Kind, tilts: Mapping[str, Sequence[str]]) -> Request:
    """``exclude_tilts`` or ``include_tilts``: series id -> tilt ids. Raises :class:`InputError` for a series or tilt
    that is not there."""
    known = _registered(root)
    for name, chosen in tilts.items():
        if name not in known:
            raise InputError(_no_series(name, known))
        ids = known[name].tilts.ids
        for tilt in chosen:
            if tilt not in ids:
                raise InputError(f"{name} has no tilt {tilt}. Its tilts are: {listed(ids, 100)}.")
    request = add_request(root, kind, version=ensure_version(root), tilts=tilts)
    wake(root)
    return request


def _registered(root: Path) -> dict[str, TiltSeries]:
    path = ProjectPaths(root).registry
    return load_registry(path).by_id() if path.exists() else {}


def _no_series(name: str, known: Iterable[str]) -> str:
    there = listed(known)
    return f"There is no tilt series {name}. " + (f"There are: {there}." if there else "This project has none yet.")


def wake(root: Path) -> None:
    """Tell a living engine that there is something to look at."""
    inbox = ProjectPaths(root).inbox
    if inbox.is_dir():
        (inbox / f"wake~{secrets.token_hex(4)}").touch()


def refuse_errors(plan: Plan, to: str | None) -> None:
    """Raise the plan's errors as one; with ``to`` only those of the jobs that it needs."""
    concerned = plan.ancestors.get(to, frozenset()) if to else frozenset(plan.jobs)
    errors = [(name, problem) for name, problem in plan.errors() if not name or name in concerned]
    if errors:
        lines = [f"{name or 'project'}, {', '.join(problem.fields)}: {problem.sentence}" for name, problem in errors]
        raise InputError("The pipeline cannot run yet:\n  " + "\n  ".join(lines))


def _check(plan: Plan, jobs: Sequence[str] | None, series: Sequence[str] | None, to: str | None) -> None:
    for name in [*(jobs or ()), *([to] if to else [])]:
        if name not in plan.jobs:
            raise InputError(f"There is no job {name}. There are: {', '.join(plan.jobs)}.")
    cohorts = {key for job in plan.jobs.values() for key in job.cohorts}
    for name in series or ():
        if name not in plan.binding.series and name not in cohorts:
            raise InputError(_no_series(name, plan.binding.series))


def _ask(
    root: Path,
    kind: Kind,
    *,
    jobs: Sequence[str] | None = None,
    series: Sequence[str] | None = None,
    to: str | None = None,
) -> Request:
    request = add_request(root, kind, version=ensure_version(root), jobs=jobs, series=series, to=to)
    wake(root)
    return request
