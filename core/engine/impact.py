"""What a change would cost: finished results whose fingerprint would no longer be the one that they were made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.engine.plan import Plan
from core.engine.states import TaskState
from core.engine.status import Status
from core.jobs._task import COHORT

_FINISHED = (TaskState.DONE.value, TaskState.EMPTY.value, TaskState.STALE.value)


@dataclass(frozen=True, slots=True)
class Impact:
    """Finished tasks that the plan makes stale, by job in the order of the pipeline. ``direct``: those whose own job
    changed; ``later``: those that only take from such. ``series``: of the direct ones, tilt series. ``new``: how many
    are not stale yet."""

    direct: Mapping[str, tuple[str, ...]]
    later: Mapping[str, tuple[str, ...]]
    series: int = 0
    new: int = 0

    @property
    def jobs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.direct, *self.later)))

    @property
    def tasks(self) -> int:
        return sum(len(keys) for keys in (*self.direct.values(), *self.later.values()))

    def __bool__(self) -> bool:
        return bool(self.direct or self.later)


def impact(plan: Plan, status: Status) -> Impact:
    """Which finished tasks of ``status`` are, or become, stale by ``plan``."""
    jobs = {job.id: job for job in status.jobs}
    stale: dict[str, dict[str, None]] = {}
    direct: dict[str, list[str]] = {}
    later: dict[str, list[str]] = {}
    new = 0
    for instance, planned in plan.jobs.items():
        job = jobs.get(instance)
        if job is None:
            continue
        mine = stale.setdefault(instance, {})
        chosen = {name: jobs[name].choices for name in plan.ancestors[instance] if name in jobs and jobs[name].choices}
        for key, state, fingerprint in zip(status.keys(job), job.states, job.fingerprints, strict=False):
            if not fingerprint or state not in _FINISHED or key not in planned.tasks:
                continue
            choices = _choices(chosen, key)
            cohort = tuple(job.cohort_series.get(key, ()))
            if plan.expected(instance, key, choices, cohort) == fingerprint:
                continue
            mine[key] = None
            new += state != TaskState.STALE.value
            members = cohort or planned.tasks[key].cohort if key.startswith(COHORT) else (key,)
            fed = {(name, one) for one in members for name in plan.producers(instance, one, choices)}
            follows = any(one in stale.get(name, {}) for name, one in fed)
            (later if follows else direct).setdefault(instance, []).append(key)
    series = {key for keys in direct.values() for key in keys if not key.startswith(COHORT)}
    return Impact(_frozen(direct), _frozen(later), len(series), new)


def _choices(chosen: Mapping[str, Mapping[str, Mapping[str, str]]], key: str) -> dict[str, str] | None:
    """Every recorded choice of producers of this series, as the engine takes them together."""
    found: dict[str, str] = {}
    for choices in chosen.values():
        found.update(choices.get(key, {}))
    return found or None


def _frozen(found: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {job: tuple(keys) for job, keys in found.items()}
