"""What is known of every task, columnar: ``status.json``, ``summary.json`` and their reading.

One row of columns per job; a state is one character (:class:`core.engine.states.TaskState`). The engine changes a
:class:`Status` in memory and writes it at most every two seconds; readers load it once and then follow the events.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from core.engine.events import Event
from core.engine.states import JobState, TaskState
from core.errors import CrboostError, InputError
from core.files import read_text, replace_text
from core.project.layout import ProjectPaths

FORMAT = 1
DIED = "died"
"""State of an engine that was killed before it ended in order: RELION may be behind until another one runs."""


@dataclass(slots=True)
class JobStatus:
    """One job instance. Lists are columns over ``keys``: the series of the status, then the cohort keys."""

    id: str
    type: str
    title: str
    folder: str = ""
    state: str = JobState.PLANNED.value
    cohorts: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    progress: dict[str, float] = field(default_factory=dict)
    causes: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    numbers: dict[str, dict[str, float]] = field(default_factory=dict)
    choices: dict[str, dict[str, str]] = field(default_factory=dict)
    cohort_series: dict[str, list[str]] = field(default_factory=dict)
    short: dict[str, bool] = field(default_factory=dict)
    """Cohort tasks that a pilot did with fewer series than they should have."""
    retries: dict[str, int] = field(default_factory=dict)
    more: dict[str, dict[str, int]] = field(default_factory=dict)
    """Tasks that are retried with a multiple of their ``memory`` or ``time``."""
    queue_ids: dict[str, str] = field(default_factory=dict)
    """How Slurm calls the newest attempt of a task (``123_4``)."""
    usage: dict[str, dict[str, float]] = field(default_factory=dict)
    """What ended tasks used, where Slurm knows it: ``memory_gb``, ``cpu_percent``, ``minutes``."""
    gathered: dict[str, str] = field(default_factory=dict)
    tables: str = ""
    """A digest of what the job's own STAR files hold."""
    nodes: dict[str, str] = field(default_factory=dict)
    paused: str = ""

    def count(self) -> Counter[TaskState]:
        return Counter({TaskState(character): number for character, number in Counter(self.states).items()})


@dataclass(slots=True)
class EngineStatus:
    host: str = ""
    pid: int = 0
    version: str = ""
    state: str = "ended"
    since: float = 0.0
    epoch: int = 0
    request: int = 0
    plan_version: int = 0
    notice: str = ""
    queued: bool = False
    """Whether the job of an engine waits in Slurm's queue. Found when the status is read."""


@dataclass(slots=True)
class Need:
    """Something that only a person can settle. ``kind``: decision, paused, problem, space, refused, stalled.
    ``fields``: those of the form beside which the sentence belongs (``resources.partition``)."""

    kind: str
    key: str
    sentence: str
    fields: list[str] = field(default_factory=list)


@dataclass(slots=True)
class QueueStatus:
    """Slurm's queue as the engine last saw it. ``asked``: when (seconds since 1970). ``trouble``: why it could not be
    asked since, "" where it could. ``rows``: see :meth:`core.engine.slurm_queue.SlurmQueue.rows`. ``nodes``: those
    that are left out because tasks failed there."""

    asked: float = 0.0
    trouble: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Status:
    name: str = ""
    rehearsal: bool = False
    event: int = 0
    updated: float = 0.0
    engine: EngineStatus = field(default_factory=EngineStatus)
    series: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    jobs: list[JobStatus] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    queue: QueueStatus = field(default_factory=QueueStatus)
    positions: dict[str, int] = field(default_factory=dict, repr=False, compare=False)
    """Index of each series, made when it is first asked for; not part of the file."""

    def job(self, instance: str) -> JobStatus:
        for job in self.jobs:
            if job.id == instance:
                return job
        raise InputError(f"There is no job {instance} in this project.")

    def keys(self, job: JobStatus) -> list[str]:
        return self.series + job.cohorts

    def counts(self) -> Counter[TaskState]:
        total: Counter[TaskState] = Counter()
        for job in self.jobs:
            total.update(job.count())
        return total

    def outcome(self) -> str:
        """``succeeded``, ``failed``, ``stale``, ``needs you``, ``running`` or ``unfinished``."""
        states = {job.state for job in self.jobs}
        if self.engine.state == "running":
            return "running"
        if self.engine.state == DIED:
            return "unfinished"
        if self.needs:
            return "needs you"
        if JobState.FAILED.value in states or any(TaskState.FAILED.value in job.states for job in self.jobs):
            return "failed"
        if any(TaskState.STALE.value in job.states for job in self.jobs):
            return "stale"
        if states <= {JobState.SUCCEEDED.value} and states:
            return "succeeded"
        return "unfinished"

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"format": FORMAT, **_plain(self)}
        del data["positions"]
        data["engine"] = _plain(self.engine)
        data["queue"] = _plain(self.queue)
        data["needs"] = [_plain(need) for need in self.needs]
        data["jobs"] = [{**_plain(job), "states": "".join(job.states)} for job in self.jobs]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Status:
        """The other way round. Raises what a wrong shape raises."""
        del data["format"]
        engine = EngineStatus(**data.pop("engine"))
        needs = [Need(**need) for need in data.pop("needs")]
        data["queue"] = QueueStatus(**data.get("queue", {}))
        jobs = [JobStatus(**{**job, "states": list(job["states"])}) for job in data.pop("jobs")]
        return cls(engine=engine, needs=needs, jobs=jobs, **data)

    def summary(self) -> dict[str, Any]:
        """The few numbers that the list of projects shows (under 1 kB)."""
        counts = self.counts()
        return {
            "format": FORMAT,
            "name": self.name,
            "rehearsal": self.rehearsal,
            "updated": self.updated,
            "series": len(self.series),
            "tasks": sum(counts.values()),
            "counts": {state.value: number for state, number in counts.items()},
            "engine": self.engine.state,
            "host": self.engine.host,
            "needs": len(self.needs),
            "outcome": self.outcome(),
        }

    def apply(self, event: Event) -> None:
        """Bring the status up to date with one event. Events about unknown jobs or tasks are passed over."""
        values = event.fields
        self.event = event.number
        self.updated = event.time
        match event.kind:
            case "task":
                self._apply_task(values)
            case "job":
                job = self._find(values)
                if job is not None:
                    for name in ("folder", "state", "paused", "tables", "nodes"):
                        if name in values:
                            setattr(job, name, values[name])
            case "gathered":
                job = self._find(values)
                if job is not None:
                    job.numbers.update(values.get("numbers", {}))
                    job.notes.update(values.get("notes", {}))
                    job.gathered.update(values.get("gathered", {}))
            case "engine":
                for name, value in values.items():
                    if hasattr(self.engine, name):
                        setattr(self.engine, name, value)
            case "queue":
                self.queue = QueueStatus(**{**_plain(self.queue), **values})
            case "queued" | "usage":
                job = self._find(values)
                if job is not None:
                    job.queue_ids.update(values.get("ids", {}))
                    job.usage.update(values.get("usage", {}))
            case "needs":
                self.needs = [Need(**need) for need in values.get("needs", [])]

    def _find(self, values: Mapping[str, Any]) -> JobStatus | None:
        return next((job for job in self.jobs if job.id == values.get("job")), None)

    def _apply_task(self, values: Mapping[str, Any]) -> None:
        job = self._find(values)
        key = str(values.get("key"))
        if job is None:
            return
        index = position(self, job, key)
        if index is None:
            return
        job.states[index] = str(values["state"])
        if values.get("attempt", job.attempts[index]) > job.attempts[index]:
            job.gathered.pop(key, None)  # that was of an earlier attempt
        for name, column in (
            ("attempt", job.attempts),
            ("fingerprint", job.fingerprints),
            ("started", job.started),
            ("ended", job.ended),
        ):
            if name in values:
                column[index] = values[name]
        _set_or_drop(job.causes, key, values.get("cause"))
        _set_or_drop(job.progress, key, values.get("progress"))
        if "retries" in values:
            job.retries[key] = values["retries"]
        if "more" in values:
            _set_or_drop(job.more, key, values["more"] or None)
        if "choices" in values:
            job.choices[key] = values["choices"]
        if "cohort" in values:
            job.cohort_series[key] = values["cohort"]
            _set_or_drop(job.short, key, values.get("short") or None)


def position(status: Status, job: JobStatus, key: str) -> int | None:
    """The index of a key in a job's columns."""
    if key.startswith("@"):
        return len(status.series) + job.cohorts.index(key) if key in job.cohorts else None
    if len(status.positions) != len(status.series):
        status.positions = {name: index for index, name in enumerate(status.series)}
    return status.positions.get(key)


def _plain(record: Any) -> dict[str, Any]:
    """The fields of one record, not copied: ``dataclasses.asdict`` takes ten times as long for 16,000 tasks."""
    return {item.name: getattr(record, item.name) for item in fields(record)}


def _set_or_drop(mapping: dict[str, Any], key: str, value: Any) -> None:
    if value is None or value == "":
        mapping.pop(key, None)
    else:
        mapping[key] = value


def save_status(paths: ProjectPaths, status: Status) -> None:
    """Replace ``status.json`` and ``summary.json``."""
    replace_text(paths.status, json.dumps(status.to_json(), ensure_ascii=False, separators=(",", ":")))
    replace_text(paths.summary, json.dumps(status.summary(), ensure_ascii=False))


_DAMAGED = "is damaged: move it away, the engine makes it anew from the events."


def load_snapshot(paths: ProjectPaths) -> Status | None:
    """``status.json`` as it was last written, without later events. None where there is none yet."""
    if not paths.status.exists():
        return None
    try:
        data = json.loads(read_text(paths.status))
        if int(data["format"]) > FORMAT:
            raise InputError("was made by a newer version of crboost: use that version.", paths.status)
        return Status.from_json(data)
    except CrboostError as error:
        if isinstance(error.__cause__, UnicodeDecodeError):
            raise InputError(_DAMAGED, paths.status) from error
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(_DAMAGED, paths.status) from error
