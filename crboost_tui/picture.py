"""What the monitor draws, made in a thread from the status: frozen, so that the screen may read it at any time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from core.engine.events import Event
from core.engine.states import TaskState
from core.engine.status import DIED, JobStatus, Status, position
from crboost_tui import matrix

PACE_WINDOW_SECONDS = 1800.0
SILENT = "silent"
"""State of an engine on another host whose heartbeat stands still."""
TOTALS_SECONDS = 1.0
"""How often what concerns the whole run (counts, pace, events) is drawn again; a cell's state is drawn at once."""
PROGRESS_SECONDS = 1.0
"""How often progress within tasks is drawn again: dozens of them change all the time."""


_OVER = (TaskState.DONE.value, TaskState.EMPTY.value, TaskState.EXCLUDED.value)


@dataclass(frozen=True, slots=True)
class PictureRow:
    """One series or cohort. ``cells`` are state characters, ``progress`` like ``62%`` or "", one for each job.
    ``values``: what ``numbers`` say, to sort and filter by."""

    key: str
    name: str
    cells: tuple[str, ...]
    progress: tuple[str, ...]
    numbers: tuple[str, ...]
    values: tuple[float | None, ...]
    now: str
    trouble: bool
    held: bool
    """Whether nothing new of it starts, though something is left."""

    @property
    def cohort(self) -> bool:
        return self.key.startswith("@")


@dataclass(frozen=True, slots=True)
class PictureJob:
    id: str
    title: str
    folder: str
    wide: str
    narrow: str


@dataclass(frozen=True, slots=True)
class Foot:
    """How far a job is: tasks that are done, all that are not excluded, and in words."""

    done: int
    total: int
    words: str


@dataclass(frozen=True, slots=True)
class PictureNeed:
    """Something that only a person can settle. ``job`` and ``field``: where, as the workspace is opened; "" where it
    is settled elsewhere."""

    text: str
    kind: str
    job: str
    field: str


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it is shown."""

    clock: str
    state: str
    sentence: str
    minor: bool = False
    """That an engine starts or ends: it makes room for what is about tasks and needs."""


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    rehearsal: bool
    engine: str
    alive: bool
    """Whether an engine runs, or is about to."""
    outcome: str
    counts: tuple[tuple[str, int], ...]
    jobs: tuple[PictureJob, ...]
    feet: tuple[Foot, ...]
    rows: tuple[PictureRow, ...]
    numbers: tuple[matrix.Number, ...]
    needs: tuple[PictureNeed, ...]
    waits: tuple[str, ...]
    """Why the queued tasks of each job wait, "" where that is not known."""
    trouble: str
    """Why the queue does not answer, while something is in it."""
    summary: str
    pace: str
    waiting: str
    """What all queued tasks, or most of them, wait for."""
    events: tuple[Told, ...]
    wanted: bool
    """Whether tasks that wait have been asked for."""
    request: int
    version: int
    """The last request that an engine has acted on, and the version of the project file that it planned from."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What people asked for, as far as it is shown. ``held``: keys of series of which nothing new starts."""

    held: frozenset[str] = frozenset()
    wanted: bool = False


def draw(status: Status, events: tuple[Told, ...] = ()) -> Picture:
    """The picture of a status and the events told so far."""
    return Drawer().draw(status, events)


class Drawer:
    """Draws one picture after the other, only what changed in between: a row takes a fifth of a millisecond, and there
    may be thousands. Not thread-safe."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._shape: object = None
        self._rows: list[PictureRow] = []
        self._wide: list[str] = []
        self._waits: tuple[str, ...] = ()
        self._columns: list[matrix.Number] = []
        self._picture: Picture | None = None
        self._at_once: set[int] = set()
        self._soon: set[int] = set()
        self._wants = Wants()
        self._totals = False
        self._totals_at = self._progress_at = 0.0

    def note(self, status: Status, events: Iterable[Event]) -> None:
        """Take in what changed since the last call, in a status that has it already."""
        if status is not self._status:
            return  # all of it is drawn anew
        jobs = {job.id: job for job in status.jobs}
        for event in events:
            self._totals = True
            job = jobs.get(str(event.fields.get("job", "")))
            if event.kind == "task" and job is not None:
                self._note_task(status, job, str(event.fields.get("key", "")))
            elif event.kind == "gathered":
                for key in event.fields.get("numbers", {}):
                    self._note_row(status, key, self._soon)
                if len(self._columns) < len(matrix.NUMBERS):
                    self._columns = matrix.number_columns(status)
            elif event.kind in ("queue", "queued"):
                queued = TaskState.QUEUED.value
                self._soon.update(index for index, row in enumerate(self._rows) if queued in row.cells)

    def want(self, wants: Wants) -> None:
        """Take in what people asked for."""
        if wants != self._wants:
            changed = wants.held ^ self._wants.held
            self._at_once.update(index for index, row in enumerate(self._rows) if row.key in changed)
            self._wants, self._totals = wants, True

    def _note_task(self, status: Status, job: JobStatus, key: str) -> None:
        index = position(status, job, key)
        if index is None or index >= len(job.states):
            return
        if key.startswith("@"):
            self._at_once.add(-1)
        elif index < len(self._rows):
            column = status.jobs.index(job)
            same = self._rows[index].cells[column] == job.states[index] == TaskState.RUNNING.value
            (self._soon if same else self._at_once).add(index)

    def _note_row(self, status: Status, key: str, into: set[int]) -> None:
        index = None if key.startswith("@") else position(status, status.jobs[0], key)
        if index is not None:
            into.add(index)

    @property
    def due(self) -> float:
        """The time (monotonic) at which something that has changed is to be drawn; infinite where all is drawn."""
        if self._at_once:
            return 0.0
        times = [self._totals_at + TOTALS_SECONDS] if self._totals else []
        times += [self._progress_at + PROGRESS_SECONDS] if self._soon else []
        return min(times, default=float("inf"))

    def draw(self, status: Status, events: tuple[Told, ...] = (), *, whole: bool = True) -> Picture:
        """The picture now. With ``whole`` everything is up to date in it, else each thing at its own pace."""
        now = time.monotonic()
        shape = self._shape_of(status)
        if status is not self._status or shape != self._shape or self._picture is None:
            self._begin(status, shape)
            whole = True
        changed = set(self._at_once)
        self._at_once.clear()
        if whole or now >= self._progress_at + PROGRESS_SECONDS:
            changed |= self._soon
            self._soon.clear()
            self._progress_at = now
        self._draw_rows(status, changed)
        if whole or self._picture is None or now >= self._totals_at + TOTALS_SECONDS:
            self._totals, self._totals_at = False, now
            self._picture = self._whole(status, events)
        elif changed:
            self._picture = replace(self._picture, rows=tuple(self._rows))
        return self._picture

    def _shape_of(self, status: Status) -> object:
        jobs = [(job.id, job.title, job.folder, len(job.cohorts)) for job in status.jobs]
        return len(status.series), jobs, self._columns

    def _begin(self, status: Status, shape: object) -> None:
        self._columns = matrix.number_columns(status)
        self._status, self._shape = status, self._shape_of(status)
        self._wide = matrix.labels(status.jobs, 6)
        self._at_once.clear()
        self._soon.clear()
        self._waits = matrix.queue_waits(status)
        self._rows = [self._row(status, row) for row in matrix.rows(status)]

    def _draw_rows(self, status: Status, changed: set[int]) -> None:
        size = len(status.series)
        if changed:
            self._waits = matrix.queue_waits(status)
        for index in changed:
            if 0 <= index < size:
                self._rows[index] = self._row(status, matrix.series_row(status, index))
        if any(index < 0 or index >= size for index in changed):
            self._rows[size:] = [self._row(status, row) for row in matrix.cohort_rows(status)]

    def _row(self, status: Status, row: matrix.Row) -> PictureRow:
        columns = () if row.cohort else tuple(self._columns)
        held = row.key in self._wants.held and any(state and state not in _OVER for state in row.cells)
        now = matrix.now(status, row, self._wide, self._waits, percent=False)
        if held and not row.trouble:
            now = f"held, {now}" if now else "held"
        return PictureRow(
            row.key,
            row.name,
            row.cells,
            tuple(_percent(job, row.key, state) for job, state in zip(status.jobs, row.cells, strict=True)),
            tuple(matrix.number_text(status, row.key, column) for column in columns),
            tuple(matrix.number_value(status, row.key, column) for column in columns),
            now,
            row.trouble,
            held,
        )

    def _whole(self, status: Status, events: tuple[Told, ...]) -> Picture:
        narrow = matrix.labels(status.jobs, 3)
        return Picture(
            status.name,
            status.rehearsal,
            engine_words(status),
            status.engine.state == "running" or status.engine.queued,
            status.outcome(),
            tuple((state.value, number) for state, number in matrix.counts(status)),
            tuple(
                PictureJob(job.id, job.title, job.folder, self._wide[index], narrow[index])
                for index, job in enumerate(status.jobs)
            ),
            tuple(_foot(job, len(status.series), status.updated) for job in status.jobs),
            tuple(self._rows),
            tuple(self._columns),
            _needs(status),
            matrix.queue_waits(status),
            status.queue.trouble if matrix.queue_trouble(status) else "",
            matrix.series_words(status),
            _pace(status),
            matrix.brief(matrix.queue_words(status)),
            events,
            self._wants.wanted,
            status.engine.request,
            status.engine.plan_version,
        )


def newest(events: Sequence[Told], number: int) -> tuple[Told, ...]:
    """The last ``number`` of the events in their order; those that are minor only where there is room left."""
    by_weight = sorted(range(len(events)), key=lambda index: (not events[index].minor, index))
    return tuple(events[index] for index in sorted(by_weight[len(events) - min(number, len(events)) :]))


def engine_words(status: Status) -> str:
    """How the engine is, in the head of a screen."""
    if status.engine.state == DIED:
        return "the engine died: R starts one"
    if status.engine.state == SILENT:
        return f"the engine on {status.engine.host.split('.')[0]} gives no sign of life"
    return matrix.engine_text(status)


def tell(events: Sequence[Event], status: Status) -> list[Told]:
    """The events that a person wants to see."""
    found = []
    for event in events:
        told = matrix.event_text(event, status)
        if told is not None and told[1]:
            minor = event.kind == "engine" and not event.fields.get("notice")
            found.append(Told(time.strftime("%H:%M", time.localtime(event.time)), *told, minor))
    return found


def _percent(job: JobStatus, key: str, state: str) -> str:
    progress = job.progress.get(key)
    return f"{progress:.0%}" if progress is not None and state == TaskState.RUNNING.value else ""


def _needs(status: Status) -> tuple[PictureNeed, ...]:
    """Needs with the place where each is settled: a decision by its name, else a job and the first of its fields."""
    jobs = {job.id for job in status.jobs}
    found = []
    for need in status.needs:
        job = need.key if need.key in jobs else ""
        field = f"{job}.{need.fields[0]}" if job and need.fields else ""
        if need.kind == "decision":
            field = f"decisions.{need.key}"
        found.append(PictureNeed(matrix.need_text(need), need.kind, job, field))
    return tuple(found)


def _foot(job: JobStatus, series: int, updated: float) -> Foot:
    """How far one job is with the series, or with its cohorts where there are no series. Its end is told from the pace
    of its own tasks in the last half hour."""
    part = slice(0, series or None)
    counts = Counter(TaskState(state) for state in job.states[part])
    done = counts[TaskState.DONE] + counts[TaskState.EMPTY]
    total = sum(counts.values()) - counts[TaskState.EXCLUDED]
    words = [f"{done} of {total} done"]
    for state, word in ((TaskState.RUNNING, "running"), (TaskState.QUEUED, "queued"), (TaskState.FAILED, "failed")):
        if counts[state]:
            words.append(f"{counts[state]} {word}")
    left = sum(number for state, number in counts.items() if not state.settled)
    rate = _rate(
        [value for value in job.ended[part] if value], [value for value in job.started[part] if value], updated
    )
    if rate and left and counts[TaskState.RUNNING]:
        words.append(f"until about {_clock(updated + left / rate, updated)}")
    return Foot(done, total, ", ".join(words))


def _pace(status: Status) -> str:
    """How fast the run is and when it is done; how it ended where no engine runs, and what all of it waits for."""
    if not status.jobs:
        return "not run yet"
    doing = matrix.doing(status)
    if doing != "running":
        return doing
    ended = [value for job in status.jobs for value in job.ended if value]
    counts = status.counts()
    left = sum(counts[state] for state in TaskState if not state.settled)
    rate = _rate(ended, [value for job in status.jobs for value in job.started if value], status.updated)
    if not left or not rate:
        return ""
    now = max(status.updated, max(ended))
    return f"{_rounded(rate * 3600)} tasks an hour   all done about {_clock(now + left / rate, now)}"


def _rate(ended: Sequence[float], started: Sequence[float], updated: float) -> float:
    """Tasks that ended in a second, lately; 0 where too few did."""
    if not ended:
        return 0.0
    now = max(updated, max(ended))
    begin = max(now - PACE_WINDOW_SECONDS, min(started, default=now))
    recent = sum(1 for value in ended if value >= begin)
    return recent / (now - begin) if recent >= 3 and now - begin >= 5 else 0.0


def _rounded(number: float) -> str:
    """Two digits that mean something: more would only flicker."""
    return f"{number:.0f}" if number < 100 else f"{float(f'{number:.2g}'):.0f}"


def _clock(when: float, now: float) -> str:
    """Of what comes within the hour to the minute, else to five; with the day where that is another one."""
    exact = when if when - now < 3600 else 300 * round(when / 300)
    there, here = time.localtime(exact), time.localtime(now)
    return time.strftime("%H:%M" if there[:3] == here[:3] else "%a %H:%M", there)
