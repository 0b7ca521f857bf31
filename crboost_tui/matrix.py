"""Series by jobs, as every screen and ``crboost status`` show it: labels, cells, numbers, and what happens now."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.engine.events import Event
from core.engine.states import MEANING, JobState, TaskState
from core.engine.status import JobStatus, Need, Status
from core.jobs._task import COHORT

_SHOWN = (TaskState.RUNNING, TaskState.QUEUED, TaskState.DONE, TaskState.FAILED, TaskState.NEEDS_YOU, TaskState.STALE)
_QUIET_COUNTS = (TaskState.RUNNING, TaskState.QUEUED, TaskState.NEEDS_YOU, TaskState.STALE)
_TROUBLE = (TaskState.NEEDS_YOU, TaskState.FAILED, TaskState.UNKNOWN)


_WORDS = {
    "aligntilts": "align", "autolevel": "level", "importmovies": "movies", "reconstruct": "recon",
    "templatematching": "match", "tmextractcand": "picks", "denoisetrain": "train", "denoisepredict": "denoise",
}  # fmt: skip
"""What people call a step, where its name is too long for a column."""


@dataclass(frozen=True, slots=True)
class Number:
    """One column of numbers beside the matrix. ``name`` is the quantity's name in gather's results, ``word`` what a
    person types for it, ``worst`` the end at which a series deserves a look: ``high``, ``low``, or ``far`` from 0."""

    title: str
    name: str
    form: str
    word: str
    worst: Literal["high", "low", "far"] = "high"


USED = Number("used", "tilts", ".0f", "used", "low")
NUMBERS = (
    USED,
    Number("Å/frame", "motion_angstrom_per_frame", ".2f", "motion"),
    Number("ctf Å", "ctf_resolution_angstrom", ".1f", "ctf"),
    Number("axis Δ°", "tilt_axis_departure_deg", "+.1f", "axis", "far"),
    Number("shift Å", "largest_shift_angstrom", ".0f", "shift"),
    Number("defocus", "defocus_um", ".2f", "defocus"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the matrix. ``cells``: a state character for each job, "" where the job has no such task."""

    key: str
    name: str
    cells: tuple[str, ...]

    @property
    def cohort(self) -> bool:
        return self.key.startswith(COHORT)

    @property
    def trouble(self) -> bool:
        return any(state.value in self.cells for state in _TROUBLE)

    @property
    def live(self) -> bool:
        return any(state in self.cells for state in (TaskState.RUNNING.value, TaskState.QUEUED.value))


def rows(status: Status) -> list[Row]:
    """Tilt series in the registry's order, then cohort tasks."""
    return [*(series_row(status, index) for index in range(len(status.series))), *cohort_rows(status)]


def series_row(status: Status, index: int) -> Row:
    """The row of one tilt series."""
    names = status.names if len(status.names) == len(status.series) else status.series
    columns = (job.states for job in status.jobs)
    cells = tuple(states[index] if index < len(states) else "" for states in columns)
    return Row(status.series[index], names[index], cells)


def cohort_rows(status: Status) -> list[Row]:
    """The rows of cohort tasks, which stand below those of the series."""
    found, size = [], len(status.series)
    often = Counter(key for job in status.jobs for key in job.cohorts)
    short = labels(status.jobs, 12) if often else []
    for position, job in enumerate(status.jobs):
        for offset, key in enumerate(job.cohorts):
            cells = [""] * len(status.jobs)
            if size + offset < len(job.states):
                cells[position] = job.states[size + offset]
            of = f" {short[position]}" if often[key] > 1 else ""
            found.append(Row(key, cohort_name(key) + of, tuple(cells)))
    return found


def cohort_name(key: str) -> str:
    return key.removeprefix(COHORT).replace("_", " ")


def labels(jobs: Sequence[JobStatus], cells: int) -> list[str]:
    """A short name for each job, at most ``cells`` wide: ``fsMotionAndCtf`` is ``motion``; all different where
    that is possible."""
    found: list[str] = []
    for job in jobs:
        base, _, own = job.id.partition("__")
        words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", base) or [base]
        plain = words[1:] if words[0] in ("fs", "ts") and len(words) > 1 else words
        first = plain[0].lower()
        word = _WORDS.get(first, first)
        candidates = [word, "".join(plain).lower(), "".join(words).lower(), own.lower(), job.id]
        if 0 < len(own) <= 2:  # "2" alone says nothing: "align 2", or "align2" where there is no room
            space = " " if len(word) + 1 + len(own) <= cells else ""
            candidates.insert(0, f"{word[: max(1, cells - len(own) - len(space))]}{space}{own.lower()}")
        elif own:
            candidates.insert(0, own.lower())
        cut = [text[:cells] for text in candidates if text]
        found.append(next((text for text in cut if text not in found), cut[0]))
    return found


def counts(status: Status, quiet: bool = True) -> list[tuple[TaskState, int]]:
    """How many tasks are in the states that matter; with ``quiet`` those that are zero and good to be zero are left
    out."""
    total = status.counts()
    return [(state, total[state]) for state in _SHOWN if total[state] or not (quiet and state in _QUIET_COUNTS)]


def stale_hint(status: Status) -> str:
    """What to do about stale tasks, "" where there are none."""
    number = status.counts()[TaskState.STALE]
    if not number:
        return ""
    tasks = "1 task is" if number == 1 else f"{number} tasks are"
    return f"{tasks} stale: parameters changed since. crboost retry runs them again."


def series_words(status: Status) -> str:
    """``7 of 7 series finished, 1 excluded``."""
    left_out = {index for job in status.jobs for index, state in enumerate(job.states[: len(status.series)])
                if state == TaskState.EXCLUDED.value}  # fmt: skip
    more = f", {len(left_out)} excluded" if left_out else ""
    return f"{finished(status)} of {len(status.series) - len(left_out)} series finished{more}"


def finished(status: Status) -> int:
    """Tilt series with nothing left to do: every task is good. Those that are excluded do not count."""
    good = {TaskState.DONE.value, TaskState.EMPTY.value}
    columns = [job.states for job in status.jobs]
    if not columns:
        return 0  # nothing ever ran
    return sum(
        all(index < len(states) and states[index] in good for states in columns) for index in range(len(status.series))
    )


def number(status: Status, key: str, name: str) -> float | None:
    """A quantity of one task's row, from the last job that knows it."""
    for job in reversed(status.jobs):
        value = job.numbers.get(key, {}).get(name)
        if value is not None:
            return value
    return None


def number_columns(status: Status) -> list[Number]:
    """The columns of numbers that any job has a value for."""
    known = {name for job in status.jobs for values in job.numbers.values() for name in values}
    return [column for column in NUMBERS if column.name in known]


def number_text(status: Status, key: str, column: Number) -> str:
    value = number(status, key, column.name)
    if column is USED and value is not None:
        return f"{number(status, key, 'tilts_used') or value:.0f}/{_most(status, key, column.name):.0f}"
    return "–" if value is None else format(value, column.form)


def number_value(status: Status, key: str, column: Number) -> float | None:
    """What a column is sorted and filtered by: of tilts those that are used."""
    used = number(status, key, "tilts_used") if column is USED else None
    return number(status, key, column.name) if used is None else used


def _most(status: Status, key: str, name: str) -> float:
    return max(job.numbers.get(key, {}).get(name, 0.0) for job in status.jobs)


def now(status: Status, row: Row, short: Sequence[str], waits: Sequence[str], percent: bool = True) -> str:
    """What happens to a series now, in a few words: what runs (and with ``percent`` how far), else why it does not.
    ``waits``: see :func:`queue_waits`."""
    first_waiting = ""
    for job, state, label, wait in zip(status.jobs, row.cells, short, waits, strict=True):
        if state == TaskState.RUNNING.value:
            progress = job.progress.get(row.key) if percent else None
            return f"{label} {progress:.0%}".replace("%", " %") if progress is not None else label
        if state in (TaskState.FAILED.value, TaskState.NEEDS_YOU.value, TaskState.UNKNOWN.value):
            cause = job.causes.get(row.key, "")
            return f"{label}: {cause}" if cause else f"{label} {MEANING[TaskState(state)]}"
        if state == TaskState.BLOCKED.value and job.causes.get(row.key):
            return f"{label}: {job.causes[row.key]}"
        if not first_waiting and state == TaskState.QUEUED.value:
            first_waiting = brief(wait) or f"{label} {MEANING[TaskState.QUEUED]}"
        if not first_waiting and state in (
            TaskState.STOPPED.value, TaskState.STALE.value, TaskState.EXCLUDED.value
        ):  # fmt: skip
            first_waiting = f"{label} {MEANING[TaskState(state)].split(' (')[0]}"
    return first_waiting


_PHASES = {TaskState.QUEUED: "pending", TaskState.RUNNING: "running", TaskState.UNKNOWN: "unknown"}


def queue_rows(status: Status) -> list[dict[str, Any]]:
    """What is in the queue: as many tasks of each job as its states say, with what the last look at the queue knew of
    them. Fields as in :attr:`core.engine.status.QueueStatus.rows`."""
    found = []
    for job in status.jobs:
        counts = job.count()
        for state, phase in _PHASES.items():
            if counts[state]:
                seen = [row for row in status.queue.rows if row["job"] == job.id and row["phase"] == phase]
                found += _shared(counts[state], seen) or [_unseen(job, state, phase, counts[state])]
    return found


def _shared(tasks: int, seen: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """``tasks`` among the rows that were seen, the largest first; what came since has the largest one's reason."""
    found: list[dict[str, Any]] = []
    left = tasks
    for row in sorted(seen, key=lambda row: -row["tasks"]):
        if left:
            found.append({**row, "tasks": min(left, row["tasks"])})
            left -= found[-1]["tasks"]
    if found:
        found[0]["tasks"] += left
    return found


def _unseen(job: JobStatus, state: TaskState, phase: str, tasks: int) -> dict[str, Any]:
    """A row of which the queue has not told anything yet."""
    words = {TaskState.RUNNING: "runs", TaskState.UNKNOWN: MEANING[TaskState.UNKNOWN]}.get(state)
    words = words or ("just submitted" if job.queue_ids else MEANING[state])
    return {
        "job": job.id, "phase": phase, "reason": "", "partition": "", "words": words, "tasks": tasks, "start": 0.0
    }  # fmt: skip


def queue_words(status: Status, job: str = "") -> str:
    """Why tasks wait in the queue (of a job, or any), by the reason that most of them have; "" where none is known."""
    return _most_wait([row for row in queue_rows(status) if not job or row["job"] == job])


def queue_waits(status: Status) -> tuple[str, ...]:
    """:func:`queue_words` of every job, for one look at the queue's rows: counting them takes long for many tasks."""
    rows = queue_rows(status)
    return tuple(_most_wait([row for row in rows if row["job"] == job.id]) for job in status.jobs)


def _most_wait(rows: Sequence[Mapping[str, Any]]) -> str:
    waiting = [row for row in rows if row["phase"] == "pending" and row["words"] != MEANING[TaskState.QUEUED]]
    return str(max(waiting, key=lambda row: row["tasks"])["words"]) if waiting else ""


def brief(words: str) -> str:
    """``a GPU in gpu: 3 jobs before it``: a reason for waiting where it is plain that it is one."""
    return words.removeprefix("waiting for ").removeprefix("waiting ").replace(" in partition ", " in ")


def queue_trouble(status: Status) -> str:
    """That Slurm does not answer, and what it said, while something is in its queue; else ""."""
    live = any(TaskState(state).live for job in status.jobs for state in job.states)
    return f"Slurm does not answer: {status.queue.trouble}" if status.queue.trouble and live else ""


def doing(status: Status) -> str:
    """What becomes of the run as a whole: ``running`` only where a task runs or is about to, else what all wait for."""
    outcome, counts = status.outcome(), status.counts()
    if outcome == "failed" and counts[TaskState.FAILED]:
        return f"{counts[TaskState.FAILED]} failed"
    if outcome != "running" or counts[TaskState.RUNNING]:
        return outcome
    vain = [need for need in status.needs if need.kind in ("waits", "refused")]
    if counts[TaskState.QUEUED]:
        words = brief(queue_words(status)) or "their turn in the queue"
        return f"all tasks wait {'in vain' if vain else 'in the queue'}: {words}"
    if counts[TaskState.UNKNOWN]:
        return "not known: the queue does not answer"
    return "waiting for you" if status.needs else outcome


def need_text(need: Need) -> str:
    """The sentence, with the fields that it is about where it does not name them."""
    prefix = f"{need.key}." if need.key else ""
    unnamed = [f"{prefix}{name}" for name in need.fields if name not in need.sentence]
    return f"{need.sentence} ({', '.join(unnamed)})" if unnamed else need.sentence


def slurm_text(job: JobStatus, key: str) -> str:
    """``Slurm's job 123_4, 12 m, 14.2 GB, 88 % of its cores``: what Slurm knows of a task, else ""."""
    if key not in job.queue_ids:
        return ""
    used = job.usage.get(key, {})
    told = [f"Slurm's job {job.queue_ids[key]}"]
    if "minutes" in used:
        told.append(duration(60.0 * used["minutes"]))
    if "memory_gb" in used:
        memory = used["memory_gb"]
        told.append(f"{memory:.1f} GB" if memory >= 1.0 else f"{1000.0 * memory:.0f} MB")
    if "cpu_percent" in used:
        told.append(f"{used['cpu_percent']:.0f} % of its cores")
    return ", ".join(told)


def engine_text(status: Status) -> str:
    """``engine login2, 3 h 12 m``, or that there is none."""
    engine = status.engine
    if engine.queued and engine.state != "running":
        return "the engine's own job waits in Slurm's queue"
    if engine.state == "ended" or not engine.host:
        return "no engine runs"
    words = f"engine {engine.host.split('.')[0]}"
    if engine.since:
        words += f", {duration(time.time() - engine.since)}"
    return words if engine.state == "running" else f"{words} ({engine.state})"


def duration(seconds: float) -> str:
    """``42 s``, ``7 m``, ``3 h 12 m``, ``2 d 4 h``."""
    seconds = max(0, int(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if hours == 0:
        return f"{minutes} m"
    if days == 0:
        return f"{hours} h {minutes % 60} m"
    return f"{days} d {hours % 24} h"


def event_text(event: Event, status: Status) -> tuple[str, str] | None:
    """``(state character or "", sentence)`` of an event that a person wants to see, None for the others."""
    values = event.fields
    job, key = str(values.get("job", "")), str(values.get("key", ""))
    who = cohort_name(key) if key.startswith(COHORT) else key
    match event.kind:
        case "task":
            return _task_text(str(values.get("state", "")), job, who, values)
        case "job" if values.get("paused"):
            return "!", f"{job} is {values['paused']}"
        case "job" if values.get("state") == JobState.SUCCEEDED.value:
            return "+", f"{job} finished"
        case "job" if values.get("state") == JobState.FAILED.value:
            return "x", f"{job} failed"
        case "notice":
            return "", str(values.get("sentence", ""))
        case "needs" if values.get("needs"):
            return "!", str(values["needs"][0]["sentence"])
        case "engine" if values.get("notice"):
            return "", str(values["notice"])
        case "engine" if values.get("state"):
            return "", f"engine {values['state']}"
    return None


def _task_text(state: str, job: str, who: str, values: Mapping[str, object]) -> tuple[str, str] | None:
    cause = str(values.get("cause") or "")
    if state == TaskState.RUNNING.value:
        return None if values.get("progress") else (state, f"{who}  {job} started")
    if state in (TaskState.DONE.value, TaskState.EMPTY.value):
        return state, f"{who}  {job} done"
    if state in (TaskState.FAILED.value, TaskState.NEEDS_YOU.value, TaskState.STOPPED.value, TaskState.UNKNOWN.value):
        meaning = MEANING[TaskState(state)].split(" (")[0]
        return state, f"{who}  {job} {meaning}" + (f": {cause}" if cause else "")
    return None
