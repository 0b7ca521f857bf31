"""Which finished tasks are to be gathered, in which order, and what came of it.

A series is gathered at a job only after it was gathered at every producer (its STAR file is made from theirs). The
mark of a reading names everything it rests on, so a changed decision or a repeated task is gathered again.
"""

from __future__ import annotations

import time
from typing import Any

from core.engine.binding import digest
from core.engine.ledger import Ledger
from core.engine.plan import Plan
from core.engine.readiness import Readiness
from core.engine.states import TaskState
from core.jobs._task import COHORT

PAUSE_SECONDS = 0.5
BATCH = 200


class Gathering:
    """Decides what the worker should read next. ``tables``: what each job's written tables hold."""

    def __init__(self, plan: Plan, ledger: Ledger, readiness: Readiness) -> None:
        self.plan = plan
        self.ledger = ledger
        self.readiness = readiness
        self.tables: dict[str, str] = {}
        self.dirty: set[str] = set(plan.jobs)
        self._ended: dict[str, float] = {}
        self._marks: dict[tuple[str, str], str | None] = {}

    def next_request(self) -> dict[str, Any] | None:
        """The most urgent gather as a worker request, None where nothing is to be gathered now."""
        now = time.monotonic()
        self._marks.clear()
        for instance in list(self.plan.jobs):
            if instance not in self.dirty or now - self._ended.get(instance, 0.0) < PAUSE_SECONDS:
                continue
            request = self._request(instance)
            if request is not None:
                return request
            self.dirty.discard(instance)
        return None

    def _request(self, instance: str) -> dict[str, Any] | None:
        job = self.ledger.job(instance)
        if not job.folder:
            return None
        keys: dict[str, dict[str, str] | None] = {}
        marks: dict[str, str] = {}
        items: list[dict[str, Any]] = []
        for key, character in zip(self.ledger.status.keys(job), job.states, strict=True):
            if character not in (TaskState.DONE.value, TaskState.EMPTY.value):
                continue
            mark = self.mark(instance, key)
            if mark is None:
                continue
            marks[key] = mark
            keys[key] = self.readiness.choices(instance, key)
            if job.gathered.get(key) != mark and len(items) < BATCH:
                items.append({"key": key, "mark": mark})
        settled = all(TaskState(character).settled for character in job.states)
        table = digest([settled, [[key, marks[key]] for key in keys if job.gathered.get(key) == marks[key]]])
        if not items and (self.tables.get(instance) == table or not keys):
            return None
        done = {key for key in keys if job.gathered.get(key) == marks[key]} | {item["key"] for item in items}
        return {
            "op": "gather",
            "instance": instance,
            "keys": {key: keys[key] for key in keys if key in done},
            "items": items,
            "settled": settled,
            "marks": {item["key"]: item["mark"] for item in items},
        }

    def mark(self, instance: str, key: str) -> str | None:
        """What a reading of this task rests on; None while a producer has not been gathered."""
        if (instance, key) not in self._marks:
            self._marks[(instance, key)] = self._mark(instance, key)
        return self._marks[(instance, key)]

    def _mark(self, instance: str, key: str) -> str | None:
        planned = self.plan.jobs[instance]
        parts: list[Any] = [self.ledger.attempt(instance, key), self.ledger.fingerprint(instance, key)]
        if not key.startswith(COHORT):
            for name in self.plan.producers(instance, key, self.readiness.choices(instance, key)):
                upstream = self.ledger.job(name).gathered.get(key)
                if upstream is None or upstream != self.mark(name, key):
                    return None
                parts.append(upstream)
        for kind in planned.bound.job_type.gather_decisions:
            parts.extend(
                [name, decision.value]
                for name, decision in sorted(self.plan.binding.decisions.items())
                if name.split(":")[0] == kind and decision.state == "decided"
            )
        return digest(parts)

    def finished(self, instance: str) -> None:
        """A gather of this job has been answered; what ended meanwhile joins the next one."""
        self._ended[instance] = time.monotonic()
        self.dirty.add(instance)
        self.dirty.update(self.plan.descendants(instance))

    def wrote(self, instance: str, keys: list[str], settled: bool) -> None:
        """The job's tables hold these tasks now, and were written when it was settled, or not."""
        marks = self.ledger.job(instance).gathered
        self.tables[instance] = digest([settled, [[key, marks.get(key)] for key in keys]])

    def waits_until(self) -> float | None:
        """When the next gather may begin (monotonic clock), None where none is waited for."""
        times = [self._ended.get(instance, 0.0) + PAUSE_SECONDS for instance in self.dirty]
        return min(times, default=None)

    def complete(self, instance: str) -> bool:
        """Whether every finished task of the job has been gathered and its tables are written."""
        return instance not in self.dirty
