"""What the page of one task shows, read in a thread: frozen, so that the screen may use it at any time."""

from __future__ import annotations

import os
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.cluster.protocol import AttemptPaths, newest_attempt, read_start, read_state
from core.engine.states import MEANING, TaskState
from core.engine.status import JobStatus, Status, position
from core.errors import CrboostError
from core.jobs._task import COHORT
from core.project.layout import ProjectPaths
from crboost_tui.data import config_dir, gone
from crboost_tui.matrix import cohort_name, duration, need_text, queue_words, slurm_text
from crboost_tui.terminal import cell_width

if TYPE_CHECKING:
    from crboost_tui.results import Column


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One attempt. ``ended``: how it ended, in words, "" while it has not; ``script``: whether one was submitted;
    ``errors``: whether its error output has anything."""

    number: int
    host: str
    started: float
    seconds: float
    ended: str
    reason: str
    script: bool
    errors: bool


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """``why``: why there is no log, or why it has not begun; ``attempts``: those that left files, in order (``tries``
    were made); ``folder``: where these are; ``keys``: of all tasks of the job, in order."""

    project: str
    rehearsal: bool
    job: str
    title: str
    key: str
    name: str
    state: str
    cause: str
    why: str
    progress: str
    slurm: str
    retries: int
    tries: int
    folder: Path | None
    attempts: tuple[AttemptFacts, ...]
    internal: bool
    keys: tuple[str, ...]
    gathered: str
    done: int
    """Steps of this series that are done."""

    @property
    def meaning(self) -> str:
        return state_words(self.state)


def state_words(state: str) -> str:
    """What a state character means; of a newer program's the character itself."""
    try:
        return MEANING[TaskState(state)].split(" (")[0]
    except ValueError:
        return state


class FactsReader:
    """Keeps the facts of one task up to date. Not thread-safe; everything here reads files."""

    def __init__(self, root: Path, job: str, key: str) -> None:
        from core.engine.reading import StatusFollower

        self.root, self.job, self.key = root, job, key
        self._follower = StatusFollower(root)
        self._waits: tuple[object, str] = (None, "")
        self._ended: dict[int, AttemptFacts] = {}

    def read(self) -> TaskFacts:
        """Raises :class:`CrboostError` for a job or task that is not there (any more)."""
        if not ProjectPaths(self.root).file.exists():
            raise gone(self.root)
        self._follower.update()
        status = self._follower.status
        job = status.job(self.job)
        why = _why(status, job, self.key, _state(status, job, self.key))
        return _facts(self.root, status, job, self.key, self._waiting(status, job) if why is None else why, self._ended)

    def _waiting(self, status: Status, job: JobStatus) -> str:
        """What the task waits for; the plan is only made again when a step of the project has another state."""
        of_what = (
            [one.states for one in status.jobs if one is not job]
            if self.key.startswith(COHORT)
            else [_state(status, one, self.key) for one in status.jobs]
        )
        if self._waits[0] != of_what:
            self._waits = (of_what, _waits_for(self.root, status, job, self.key))
        return self._waits[1] + _idle(status)


def _state(status: Status, job: JobStatus, key: str) -> str:
    index = position(status, job, key)
    return job.states[index] if index is not None and index < len(job.states) else ""


def _facts(root: Path, status: Status, job: JobStatus, key: str, why: str, ended: dict[int, AttemptFacts]) -> TaskFacts:
    """``ended``: attempts that nothing happens to any more; those that are found are added."""
    index = position(status, job, key)
    if index is None or index >= len(job.states):
        raise CrboostError(f"{job.title} has no task for {task_name(status, key)}.")
    folder = root / job.folder / "tasks" / key if job.folder else None
    attempts = tuple(_attempts(root / job.folder, key, job.attempts[index], ended)) if folder else ()
    state = job.states[index]
    progress = job.progress.get(key)
    running = state == TaskState.RUNNING.value and progress is not None
    return TaskFacts(
        project=status.name,
        rehearsal=status.rehearsal,
        job=job.id,
        title=job.title,
        key=key,
        name=task_name(status, key),
        state=state,
        cause=job.causes.get(key, ""),
        why=why,
        progress=f"{100 * progress:.0f} %" if running and progress is not None else "",
        slurm=slurm_text(job, key),
        retries=job.retries.get(key, 0),
        tries=job.attempts[index],
        folder=folder,
        attempts=attempts,
        internal=not any(one.script for one in attempts) if attempts else _is_internal(job.type),
        keys=tuple(name for index, name in enumerate(status.keys(job)) if index < len(job.states)),
        gathered=job.gathered.get(key, ""),
        done=sum(_state(status, one, key) == TaskState.DONE.value for one in status.jobs),
    )


def task_name(status: Status, key: str) -> str:
    """The series' own name, or a cohort's in words."""
    if key.startswith(COHORT):
        return cohort_name(key)
    return dict(zip(status.series, status.names, strict=False)).get(key, key)


def _attempts(job_folder: Path, key: str, newest: int, ended: dict[int, AttemptFacts]) -> list[AttemptFacts]:
    found = []
    for number in range(1, max(newest, newest_attempt(job_folder / "tasks" / key)) + 1):
        if number in ended:
            found.append(ended[number])
            continue
        paths = AttemptPaths(job_folder, key, number)
        start, end = read_start(paths.start), read_state(paths.state)
        script = paths.script.exists()
        if start is None and end is None and not script:
            continue
        began = start.time if start else end.start if end else 0
        found.append(
            AttemptFacts(
                number,
                (end.host if end else start.host if start else "").split(".")[0],
                float(began),
                float(end.end - began) if end else 0.0,
                end.state if end else "",
                end.reason if end else "",
                script,
                _size(paths.err) > 0,
            )
        )
        if end is not None:
            ended[number] = found[-1]
    return found


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _is_internal(job_type: str) -> bool:
    """Whether tasks of this type are done by crboost itself."""
    from core.jobs._registry import job_type as find

    try:
        return find(job_type).internal
    except CrboostError:  # of a newer program
        return False


def ran_words(attempt: AttemptFacts, live: bool, now: float) -> str:
    """``ran 3 m 12 s on gpu04``."""
    where = f" on {attempt.host}" if attempt.host else ""
    if attempt.ended:
        return f"{attempt.ended} after {_seconds(attempt.seconds)}{where}"
    if attempt.started and live:
        return f"runs for {duration(now - attempt.started)}{where}"
    if attempt.started:
        return f"began at {time.strftime('%H:%M', time.localtime(attempt.started))}{where}"
    return "has not begun"


def _seconds(seconds: float) -> str:
    """``3 m 12 s``: exact, unlike :func:`crboost_tui.matrix.duration`, where it is not much."""
    whole = max(0, int(seconds))
    return f"{whole // 60} m {whole % 60} s" if 60 <= whole < 3600 else duration(seconds)


def _idle(status: Status) -> str:
    return "" if status.engine.state == "running" else " No engine runs now: R in the monitor runs everything."


def _why(status: Status, job: JobStatus, key: str, state: str) -> str | None:
    """Why there is nothing to see of a task, as sentences; None where the plan knows."""
    cause = job.causes.get(key, "")
    match state:
        case TaskState.QUEUED.value:
            why = queue_words(status, job.id)
            return f"Queued{f': {why}' if why else ''}. Its log begins when it starts."
        case TaskState.WAITING.value:
            return f"Waiting: {cause}.{_idle(status)}" if cause else None
        case TaskState.READY.value:
            return f"Ready: all that it needs is done, and it has not been submitted yet.{_idle(status)}"
        case TaskState.BLOCKED.value:
            why = cause or "a step before it did not succeed for this series"
            return (
                f"Blocked: {why}. r runs again what failed in this series; the failed step's own log says why it did."
            )
        case TaskState.EXCLUDED.value:
            return f"This series is excluded. crboost include --series {key} takes it in again."
        case TaskState.NEEDS_YOU.value:
            needs = [need_text(need) for need in status.needs]
            return "It waits for you: " + (cause or "  ".join(needs) or "the monitor says what for.")
        case TaskState.UNKNOWN.value:
            return "It is not known what became of it: the queue does not answer."
    index = position(status, job, key)
    ran = index is not None and job.attempts[index] > 0
    return "The files of its attempts are not there (any more)." if ran else "This task has not run yet."


def _waits_for(root: Path, status: Status, job: JobStatus, key: str) -> str:
    """The steps before it that are not done, by the project's own plan."""
    from core.engine.plan import make_plan

    try:
        plan = make_plan(root, config_dir())
    except CrboostError:
        return "Waiting for the steps before it."
    planned = plan.jobs.get(job.id)
    if planned is None or key not in planned.tasks:
        return "Waiting: the project's pipeline does not have this task (any more)."
    inputs = {name for names in planned.bound.inputs.values() for name in names}
    found = []
    for producer in status.jobs:
        if producer.id not in inputs:
            continue
        members = planned.tasks[key].cohort if key.startswith(COHORT) else (key,)
        states = [producer.states[at] for at in (position(status, producer, one) for one in members) if at is not None]
        open_ones = [state for state in states if not TaskState(state).good]
        if len(members) > 1 and open_ones:
            found.append(f"{producer.title} ({len(states) - len(open_ones)} of {len(states)} series done)")
        elif open_ones:
            progress = producer.progress.get(key)
            done = (
                f", {100 * progress:.0f} %" if progress is not None and open_ones[0] == TaskState.RUNNING.value else ""
            )
            found.append(f"{producer.title} ({state_words(open_ones[0])}{done})")
    if found:
        return f"Waiting for {', '.join(found)}."
    return "Waiting: nobody has asked for it to run yet." if inputs else "Waiting: it has not been asked for yet."


def internal_text(root: Path, facts: TaskFacts) -> str:
    """What stands in the place of a log for a task that crboost does itself."""
    from core.engine.reading import load_status
    from core.jobs._registry import job_type

    summary = job_type(load_status(root).job(facts.job).type).summary
    lines = [f"{facts.title} is done by crboost itself: there is no log and no script.", ""]
    lines += ["What it does", *_folded(summary), ""]
    if facts.attempts:
        last = facts.attempts[-1]
        lines += ["What became of it", *_folded(last.reason or last.ended or "It is not known yet.")]
        if last.ended == "failed":
            lines += _folded("More may stand in the engine's own log: .crboost/engine.log")
    elif facts.why:
        lines += ["What became of it" if facts.tries else "What it waits for", *_folded(facts.why)]
    return "\n".join([*lines, *numbers_text(root, facts).splitlines()[1:]]) + "\n"


def numbers_text(root: Path, facts: TaskFacts) -> str:
    """What gather found: numbers, notes, and a table of the tilts. Lines that are not indented are headings."""
    from core.engine.reading import load_status
    from crboost_tui.results import read_results

    status = load_status(root)
    job, found = status.job(facts.job), read_results(root, facts.job, facts.key)
    lines = [f"{facts.name} in {job.title}"]
    numbers = [_number(name, value) for name, value in sorted(job.numbers.get(facts.key, {}).items())]
    if numbers:
        width = max(cell_width(title) for title, _, _ in numbers)
        lines += ["", "Numbers"]
        lines += [f"  {title:<{width}}  {text:>10} {unit}".rstrip() for title, text, unit in numbers]
    for heading, said in (
        ("Taken from", [f"{slot.split('/')[-1]}: {name}" for slot, name in job.choices.get(facts.key, {}).items()]),
        ("Notes", job.notes.get(facts.key, [])),
        ("Its series", [task_name(status, name) for name in job.cohort_series.get(facts.key, [])]),
    ):
        lines += ["", heading, *(part for one in said for part in _folded(one))] if said else []
    if found.table is not None and found.table.joined:
        lines += ["", "Tilts", *_rows(found.table.label, found.table.names, list(found.table.columns))]
    if len(lines) == 1:
        lines += ["", *_folded(found.empty or "There are no numbers.")]
    return "\n".join(lines) + "\n"


def _number(name: str, value: float) -> tuple[str, str, str]:
    """Title, text and unit. A cohort has numbers of its series: ``axis_deg:Position_1``."""
    from crboost_tui.results import column

    base, _, of = name.partition(":")
    one = column(base, [value], mark=False)
    return f"{one.title} of {of}" if of else one.title, one.text(value), one.unit


def _folded(text: str) -> list[str]:
    return textwrap.wrap(text, 74, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def _rows(label: str, names: tuple[str, ...], columns: list[Column]) -> list[str]:
    """A table, numbers to the right."""
    heads = [label, *(f"{one.title} {one.unit}".strip() for one in columns)]
    body = [[name, *(one.text(one.values[row]) for one in columns)] for row, name in enumerate(names)]
    widths = [max(cell_width(line[at]) for line in [heads, *body]) for at in range(len(heads))]
    return [
        "  " + "   ".join(" " * (width - cell_width(text)) + text for text, width in zip(line, widths, strict=True))
        for line in [heads, *body]
    ]


def script_text(root: Path, job: str, key: str) -> str:
    """The script that the next attempt would run, or why there is none."""
    from core.engine.rendering import render_task

    return render_task(root, config_dir(), job, key)
