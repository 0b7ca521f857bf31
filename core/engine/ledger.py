"""The engine's own account of every task: a :class:`Status` in memory, each change also an event.

``status.json`` is the snapshot, the events after its number are the rest: together they survive any kill.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from core.engine.events import EventLog, EventReader
from core.engine.plan import Plan
from core.engine.states import TaskState
from core.engine.status import JobStatus, Need, Status, load_snapshot, position, save_status
from core.project.layout import ProjectPaths

SAVE_SECONDS = 2.0
SAVE_SHARE = 0.03
"""At most this part of the time goes into snapshots: those of 16,000 tasks are written every three seconds or so."""


class Ledger:
    """All that is known. Tasks are addressed by instance and key."""

    def __init__(self, paths: ProjectPaths) -> None:
        self.paths = paths
        snapshot = load_snapshot(paths)
        self.status = snapshot or Status()
        self._rebuild = snapshot is None
        reader = EventReader(paths.events, self.status.event)
        while events := reader.read():
            for event in events:
                self.status.apply(event)
        self.log = EventLog(paths.events, max(reader.number, self.status.event))
        self._index: dict[str, JobStatus] = {job.id: job for job in self.status.jobs}
        self._changed = True
        self._save_due = 0.0

    def adopt(self, plan: Plan, name: str, rehearsal: bool) -> None:
        """Bring the columns in line with the plan: tasks that are new begin as waiting, those that are gone leave."""
        old = self.status
        jobs: list[JobStatus] = []
        series = list(plan.series)
        for planned in plan.jobs.values():
            before = self._index.get(planned.id)
            kind = planned.bound.job_type
            job = JobStatus(planned.id, kind.name, kind.title, cohorts=list(planned.cohorts))
            keys = series + job.cohorts
            if before is None:
                job.states = [TaskState.WAITING.value] * len(keys)
                job.attempts = [0] * len(keys)
                job.fingerprints = [""] * len(keys)
                job.started = [0.0] * len(keys)
                job.ended = [0.0] * len(keys)
            else:
                where = [position(old, before, key) for key in keys]
                job.folder, job.state, job.paused = before.folder, before.state, before.paused
                job.tables, job.nodes = before.tables, before.nodes
                job.states = [TaskState.WAITING.value if i is None else before.states[i] for i in where]
                job.attempts = [0 if i is None else before.attempts[i] for i in where]
                job.fingerprints = ["" if i is None else before.fingerprints[i] for i in where]
                job.started = [0.0 if i is None else before.started[i] for i in where]
                job.ended = [0.0 if i is None else before.ended[i] for i in where]
                for mapping in (
                    "progress",
                    "causes",
                    "notes",
                    "numbers",
                    "choices",
                    "cohort_series",
                    "short",
                    "retries",
                    "more",
                    "queue_ids",
                    "usage",
                    "gathered",
                ):
                    setattr(job, mapping, getattr(before, mapping))
            jobs.append(job)
        self.status.series = series
        self.status.positions = {}
        self.status.names = [plan.binding.series[key].name for key in series]
        self.status.jobs = jobs
        self.status.name, self.status.rehearsal = name, rehearsal
        self._index = {job.id: job for job in jobs}
        if self._rebuild:
            self._rebuild = False
            self._replay()
        self.status.engine.plan_version = plan.version
        self._changed = True

    def _replay(self) -> None:
        """Without a snapshot (new, or moved away because it was damaged) the events tell all that happened."""
        reader = EventReader(self.paths.events, 0)
        while events := reader.read():
            for event in events:
                if event.kind in ("task", "job", "gathered"):
                    self.status.apply(event)

    def job(self, instance: str) -> JobStatus:
        return self._index[instance]

    def knows(self, instance: str, key: str) -> bool:
        job = self._index.get(instance)
        return job is not None and position(self.status, job, key) is not None

    def index(self, instance: str, key: str) -> int:
        found = position(self.status, self._index[instance], key)
        if found is None:
            raise KeyError(f"{instance} {key}")
        return found

    def state(self, instance: str, key: str) -> TaskState:
        return TaskState(self._index[instance].states[self.index(instance, key)])

    def attempt(self, instance: str, key: str) -> int:
        return self._index[instance].attempts[self.index(instance, key)]

    def fingerprint(self, instance: str, key: str) -> str:
        return self._index[instance].fingerprints[self.index(instance, key)]

    def set_task(self, instance: str, key: str, state: TaskState, **fields: Any) -> None:
        """Change one task. ``cause`` and ``progress`` are dropped where they are not given again."""
        self._record("task", job=instance, key=key, state=state.value, **fields)

    def set_job(self, instance: str, **fields: Any) -> None:
        """Change ``folder``, ``state``, ``paused``, ``tables`` or ``nodes`` of one job."""
        self._record("job", job=instance, **fields)

    def set_needs(self, needs: Sequence[Need]) -> None:
        if list(needs) != self.status.needs:
            self._record("needs", needs=[asdict(need) for need in needs])

    def set_queue(self, **fields: Any) -> None:
        """What is known of Slurm's queue: fields of :class:`QueueStatus`."""
        self._record("queue", **fields)

    def queued(self, instance: str, ids: Mapping[str, str]) -> None:
        """How Slurm calls tasks that it has taken."""
        self._record("queued", job=instance, ids=dict(ids))

    def used(self, instance: str, usage: Mapping[str, Mapping[str, float]]) -> None:
        """What ended tasks used."""
        self._record("usage", job=instance, usage=dict(usage))

    def set_engine(self, **fields: Any) -> None:
        self._record("engine", **fields)

    def notice(self, sentence: str) -> None:
        """Something that a person may want to know, in the list of events."""
        self._record("notice", sentence=sentence)

    def gathered(self, instance: str, numbers: Any, notes: Any, marks: Any) -> None:
        self._record("gathered", job=instance, numbers=numbers, notes=notes, gathered=marks)

    def save(self, *, force: bool = False) -> None:
        """Write what changed: events at once, the snapshot every two seconds or more (see :data:`SAVE_SHARE`)."""
        self.log.flush()
        now = time.monotonic()
        if self._changed and (force or now >= self._save_due):
            save_status(self.paths, self.status)
            taken = time.monotonic() - now
            self._save_due = now + max(SAVE_SECONDS, taken / SAVE_SHARE)
            self._changed = False

    @property
    def unsaved(self) -> bool:
        return self._changed

    def _record(self, kind: str, **fields: Any) -> None:
        self.status.apply(self.log.add(time.time(), kind, **fields))
        self._changed = True
