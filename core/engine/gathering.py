"""Which finished tasks are to be gathered, in which order, and what came of it.

A series is gathered at a job only after it was gathered at every producer (its STAR file is made from theirs). The
mark of a reading names everything it rests on, so a changed decision or a repeated task is gathered again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from core.engine.binding import digest
from core.engine.ledger import Ledger
from core.engine.plan import Plan
from core.engine.readiness import Readiness
from core.engine.states import TaskState
from core.engine.wishes import Wish
from core.jobs._task import COHORT

PAUSE_SECONDS = 0.5
BATCH = 200
_FINISHED = frozenset((TaskState.DONE.value, TaskState.EMPTY.value))


@dataclass(slots=True)
class _Marks:
    """The marks of one job's tasks. ``version`` grows with every change of them or of what has been gathered."""

    marks: dict[str, str] = field(default_factory=dict)
    parts: dict[str, list[Any]] = field(default_factory=dict)
    made_from: tuple[Any, ...] = ()
    version: int = 0


class Gathering:
    """Decides what the worker should read next.

    Thousands of tasks are looked at after each that ends, so marks are kept and only made anew where what they rest on
    has changed.
    """

    def __init__(self, plan: Plan, ledger: Ledger, readiness: Readiness) -> None:
        self.plan = plan
        self.ledger = ledger
        self.readiness = readiness
        self.dirty: set[str] = set(plan.jobs)
        self._ended: dict[str, float] = {}
        self._marks = {instance: _Marks() for instance in plan.jobs}

    def next_request(self) -> dict[str, Any] | None:
        """The most urgent gather as a worker request, None where nothing is to be gathered now."""
        now = time.monotonic()
        for instance in list(self.plan.jobs) if self.dirty else ():
            marks = self.marks(instance)
            if instance not in self.dirty or now - self._ended.get(instance, 0.0) < PAUSE_SECONDS:
                continue
            request = self._request(instance, marks)
            if request is not None:
                return request
            self.dirty.discard(instance)
        return None

    def _request(self, instance: str, marks: Mapping[str, str]) -> dict[str, Any] | None:
        job = self.ledger.job(instance)
        if not job.folder:
            return None
        keys: list[str] = []
        included: list[str] = []
        items: list[dict[str, Any]] = []
        for key, character in zip(self.ledger.status.keys(job), job.states, strict=True):
            if character not in _FINISHED or key not in marks:
                continue
            if job.gathered.get(key) == marks[key]:
                keys.append(key)
            elif len(items) < BATCH:
                items.append({"key": key, "mark": marks[key]})
            else:
                continue
            included.append(key)
        settled = self._settled(instance)
        table = digest([settled, [[key, marks[key]] for key in keys]])
        if not items and (job.tables == table or not keys):
            return None
        return {
            "op": "gather",
            "instance": instance,
            "keys": {key: self.readiness.choices(instance, key) for key in included},
            "items": items,
            "settled": settled,
            "marks": {item["key"]: item["mark"] for item in items},
        }

    def _settled(self, instance: str) -> bool:
        """Whether nothing more will come: what nobody has asked for (outside a pilot) is not waited for."""
        job = self.ledger.job(instance)
        if all(state.settled for state in job.count()):
            return True
        wanted = self.readiness.wishes.of
        return all(
            TaskState(character).settled or wanted(instance, key) == Wish.NONE
            for key, character in zip(self.ledger.status.keys(job), job.states, strict=True)
        )

    def marks(self, instance: str) -> Mapping[str, str]:
        """What a reading of each task rests on, by key; none while a producer has not been gathered. To be asked for
        in the order of the plan: it looks at the producers' as they were last."""
        job, known = self.ledger.job(instance), self._marks[instance]
        bound = self.plan.jobs[instance].bound
        names = {name for names in bound.inputs.values() for name in names}
        versions = [self._marks[name].version for name in sorted(names)]
        decisions = [
            [name, decision.value]
            for name, decision in sorted(self.plan.binding.decisions.items())
            if name.split(":")[0] in bound.job_type.gather_decisions and decision.state == "decided"
        ]
        made_from = (job.attempts, job.fingerprints, job.choices, job.gathered, decisions, versions)
        if known.made_from == made_from:
            return known.marks
        known.made_from = tuple(map(copy, made_from))
        known.version += 1
        before, known.parts = known.parts, {}
        columns = zip(self.ledger.status.keys(job), job.attempts, job.fingerprints, strict=True)
        for key, attempt, fingerprint in columns:
            upstream = [] if key.startswith(COHORT) else self._upstream(instance, key)
            if not attempt or upstream is None:
                known.marks.pop(key, None)
                continue
            parts = known.parts[key] = [attempt, fingerprint, *upstream, *decisions]
            if parts != before.get(key):
                known.marks[key] = digest(parts)
        return known.marks

    def _upstream(self, instance: str, key: str) -> list[str] | None:
        """The marks of the producers' readings, None where one of them is still to be read."""
        found = []
        for name in self.plan.producers(instance, key, self.readiness.choices(instance, key)):
            gathered = self.ledger.job(name).gathered.get(key)
            if gathered is None or gathered != self._marks[name].marks.get(key):
                return None
            found.append(gathered)
        return found

    def finished(self, instance: str) -> None:
        """A gather of this job has been answered; what ended meanwhile joins the next one."""
        self._ended[instance] = time.monotonic()
        self.dirty.add(instance)
        self.dirty.update(self.plan.descendants(instance))

    def wrote(self, instance: str, keys: Sequence[str], settled: bool, nodes: Mapping[str, str]) -> None:
        """The job's tables hold these tasks now, and were written when it was settled, or not."""
        marks = self.ledger.job(instance).gathered
        tables = digest([settled, [[key, marks.get(key)] for key in keys]])
        self.ledger.set_job(instance, tables=tables, nodes=dict(nodes))

    def put_off(self, instance: str, seconds: float) -> None:
        """Read this job again after a while."""
        self._ended[instance] = time.monotonic() + seconds - PAUSE_SECONDS

    def waits_until(self) -> float | None:
        """When the next gather may begin (monotonic clock), None where none is waited for."""
        times = [self._ended.get(instance, 0.0) + PAUSE_SECONDS for instance in self.dirty]
        return min(times, default=None)

    def complete(self, instance: str) -> bool:
        """Whether every finished task of the job has been gathered and its tables are written."""
        return instance not in self.dirty
