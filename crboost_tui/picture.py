"""What the monitor draws, made in a thread from the status: frozen, so that the screen may read it at any time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.engine.events import Event
from core.engine.states import TaskState
from core.engine.status import JobStatus, Status
from crboost_tui import matrix

PACE_WINDOW_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class PictureRow:
    """One series or cohort. ``cells`` are state characters, ``progress`` like ``62%`` or "", one for each job."""

    key: str
    name: str
    cells: tuple[str, ...]
    progress: tuple[str, ...]
    numbers: tuple[str, ...]
    now: str
    trouble: bool


@dataclass(frozen=True, slots=True)
class PictureJob:
    id: str
    title: str
    folder: str
    wide: str
    narrow: str


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it is shown."""

    clock: str
    state: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    rehearsal: bool
    engine: str
    outcome: str
    counts: tuple[tuple[str, int], ...]
    jobs: tuple[PictureJob, ...]
    rows: tuple[PictureRow, ...]
    numbers: tuple[str, ...]
    needs: tuple[str, ...]
    waits: tuple[str, ...]
    """Why the queued tasks of each job wait, "" where that is not known."""
    trouble: str
    """Why the queue does not answer, while something is in it."""
    summary: str
    pace: str
    waiting: str
    """What most of the queued tasks wait for."""
    events: tuple[Told, ...]


def draw(status: Status, events: tuple[Told, ...] = ()) -> Picture:
    """The picture of a status and the events told so far."""
    wide, narrow = matrix.labels(status.jobs, 6), matrix.labels(status.jobs, 3)
    columns = matrix.number_columns(status)
    rows = tuple(
        PictureRow(
            row.key,
            row.name,
            row.cells,
            tuple(_percent(job, row.key, state) for job, state in zip(status.jobs, row.cells, strict=True)),
            tuple("" if row.cohort else matrix.number_text(status, row.key, column) for column in columns),
            matrix.now(status, row, wide),
            row.trouble,
        )
        for row in matrix.rows(status)
    )
    return Picture(
        status.name,
        status.rehearsal,
        matrix.engine_text(status),
        status.outcome(),
        tuple((state.value, number) for state, number in matrix.counts(status)),
        tuple(
            PictureJob(job.id, job.title, job.folder, wide[index], narrow[index])
            for index, job in enumerate(status.jobs)
        ),
        rows,
        tuple(column.title for column in columns),
        tuple(matrix.need_text(need) for need in status.needs),
        tuple(matrix.queue_words(status, job.id) for job in status.jobs),
        status.queue.trouble if matrix.queue_trouble(status) else "",
        f"{matrix.finished(status)} of {len(status.series)} series finished",
        _pace(status),
        matrix.brief(matrix.queue_words(status)),
        events,
    )


def tell(events: list[Event], status: Status) -> list[Told]:
    """The events that a person wants to see."""
    found = []
    for event in events:
        told = matrix.event_text(event, status)
        if told is not None and told[1]:
            found.append(Told(time.strftime("%H:%M", time.localtime(event.time)), *told))
    return found


def _percent(job: JobStatus, key: str, state: str) -> str:
    progress = job.progress.get(key)
    return f"{progress:.0%}" if progress is not None and state == TaskState.RUNNING.value else ""


def _pace(status: Status) -> str:
    """How fast the run is and when it is done; how it ended where no engine runs."""
    ended = [value for job in status.jobs for value in job.ended if value]
    counts = status.counts()
    left = sum(counts[state] for state in TaskState if not state.settled)
    if status.engine.state != "running":
        return status.outcome()
    if not left or not ended:
        return ""
    now = max(status.updated, max(ended))
    begin = max(
        now - PACE_WINDOW_SECONDS, min((value for job in status.jobs for value in job.started if value), default=now)
    )
    recent = sum(1 for value in ended if value >= begin)
    if recent < 3 or now - begin < 5:
        return ""
    pace = recent / (now - begin)
    done_about = time.strftime("%H:%M", time.localtime(now + left / pace))
    return f"{pace * 3600:.0f} tasks an hour   all done about {done_about}"
