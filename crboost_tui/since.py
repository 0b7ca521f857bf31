"""What became of a project since this user last looked at it."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from core.engine.events import Event, EventReader, event_files, parse_event
from core.engine.lease import is_alive, read_lease
from core.engine.reading import StatusFollower
from core.engine.states import MEANING, TaskState
from core.engine.status import DIED, JobStatus, Status
from core.errors import CrboostError
from core.files import replace_text
from core.project.layout import ProjectPaths
from crboost_tui.matrix import doing, labels, need_text, stale_hint
from crboost_tui.snapshot import load_snapshot_in_pieces
from crboost_tui.state import project_key, state_folder

AWAY_SECONDS = 90.0
"""Who was away for less has seen it: the mark is renewed every minute."""
EVENTS_BYTES = 8_000_000
"""Where more was written since, the status alone is asked."""
TAIL_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Seen:
    """What was known when the user last looked: the number of the last event and its time (the engine's clock), the
    time here, and whether an engine ran."""

    event: int
    event_time: float
    at: float
    engine: bool


@dataclass(frozen=True, slots=True)
class Failures:
    """One cause, with the series in which it came up."""

    job: str
    cause: str
    series: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Since:
    """``since``: when the user last looked (seconds since 1970). ``finished``: series that have become ready, of
    which ``ready`` of ``series`` are in all. ``ended``: how the engine ended, "" where it did not. ``now``: what
    becomes of the run at present."""

    since: float
    name: str
    rehearsal: bool
    done: int
    finished: int
    ready: int
    series: int
    failures: tuple[Failures, ...]
    needs: tuple[str, ...]
    ended: str
    now: str

    @property
    def failed(self) -> int:
        return sum(len(one.series) for one in self.failures)


def mark_seen(root: Path) -> None:
    """Note that the user looks at it now. A state folder that cannot be written is no reason to stop."""
    paths = ProjectPaths(root)
    with contextlib.suppress(OSError, CrboostError):
        last = _last_event(paths)
        if last is None:
            return  # nothing ever happened, or the folder is gone
        seen = Seen(last.number, last.time, time.time(), is_alive(read_lease(paths.lease)) is not False)
        _file(root).parent.mkdir(parents=True, exist_ok=True)
        replace_text(_file(root), json.dumps({"root": str(root), **asdict(seen)}))


def read_seen(root: Path) -> Seen | None:
    try:
        data = json.loads(_file(root).read_text(encoding="utf-8"))
        return Seen(int(data["event"]), float(data["event_time"]), float(data["at"]), bool(data["engine"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def since(root: Path) -> Since | None:
    """What happened since, None where nothing did that a person wants to hear of, and on the first visit."""
    paths = ProjectPaths(root)
    seen = read_seen(root)
    if seen is None or time.time() - seen.at < AWAY_SECONDS:
        return None
    last = _last_event(paths)
    died = seen.engine and is_alive(read_lease(paths.lease)) is False
    if (last is None or last.number <= seen.event) and not died:
        return None
    status = StatusFollower(root, load_snapshot_in_pieces).status
    found = _compare(status, seen, _events(paths, seen.event))
    return found if found.done or found.failures or found.needs or found.ended else None


def _compare(status: Status, seen: Seen, events: list[Event] | None) -> Since:
    """``events``: all since then, None where they are not there any more."""
    if events is None:
        touched = {
            (job.id, key)
            for job in status.jobs
            for key, ended in zip(status.keys(job), job.ended, strict=False)
            if ended > seen.event_time
        }
    else:
        touched = {
            (str(event.fields.get("job")), str(event.fields.get("key"))) for event in events if event.kind == "task"
        }
    done, failed = 0, defaultdict(list)
    short = labels(status.jobs, 12)
    names = dict(zip(status.series, status.names, strict=False))
    good: Counter[str] = Counter()
    new: set[str] = set()
    for label, job in zip(short, status.jobs, strict=True):
        for key, state in zip(status.keys(job), job.states, strict=False):
            is_new = (job.id, key) in touched
            if state in (TaskState.DONE.value, TaskState.EMPTY.value, TaskState.EXCLUDED.value):
                good[key] += 1
                if is_new and state != TaskState.EXCLUDED.value:
                    done += 1
                    new.add(key)
            elif is_new and state == TaskState.FAILED.value:
                failed[label, _cause(job, key)].append(names.get(key, key))
    ready = {key for key in status.series if status.jobs and good[key] == len(status.jobs)}
    failures = sorted((Failures(*why, tuple(who)) for why, who in failed.items()), key=lambda one: -len(one.series))
    told = events is None or any(event.kind == "needs" for event in events)
    needs = tuple(need_text(need) for need in status.needs) if told else ()
    return Since(
        seen.at, status.name, status.rehearsal, done, len(ready & new), len(ready), len(status.series),
        tuple(failures), needs, _ended(status, seen, events), _now(status),
    )  # fmt: skip


def _cause(job: JobStatus, key: str) -> str:
    """Why a task failed, without its own name: then it is the same for all that failed alike."""
    return job.causes.get(key, MEANING[TaskState.FAILED]).replace(key, "…")


def _ended(status: Status, seen: Seen, events: Iterable[Event] | None) -> str:
    if status.engine.state == DIED:
        return f"the engine died after {clock(status.updated)}: R starts one" if seen.engine else ""
    if status.engine.state != "ended":
        return ""
    ends = [event.time for event in events or () if event.kind == "engine" and event.fields.get("state") == "ended"]
    if not ends and (events is not None or not seen.engine):
        return ""
    return f"the engine ended at {clock(ends[-1] if ends else status.updated)}"


def _now(status: Status) -> str:
    counts = status.counts()
    parts = [
        f"{counts[state]} {state.name.lower()}" for state in (TaskState.RUNNING, TaskState.QUEUED) if counts[state]
    ]
    words = ", ".join(parts) if counts[TaskState.RUNNING] else doing(status)
    return f"{words}; {stale_hint(status)}" if counts[TaskState.STALE] else words


def clock(when: float) -> str:
    """``18:40`` today, ``Friday 18:40`` in the last days, ``3 November`` before."""
    there, now = time.localtime(when), time.time()
    if there[:3] == time.localtime(now)[:3]:
        return time.strftime("%H:%M", there)
    return time.strftime("%A %H:%M" if now - when < 6 * 86400 else "%-d %B", there)


def _events(paths: ProjectPaths, number: int) -> list[Event] | None:
    """The events after one, None where some of them are gone or they are too many to read."""
    files = event_files(paths.events)
    later = [path for path in files if int(path.stem) > number]
    first = files[max(0, len(files) - len(later) - 1) :]
    if sum(path.stat().st_size for path in first) > EVENTS_BYTES:
        return None
    reader = EventReader(paths.events, number)
    found = []
    while events := reader.read():
        found += events
    return None if reader.gap else found


def _last_event(paths: ProjectPaths) -> Event | None:
    """The newest event, from the end of the newest file."""
    for path in reversed(event_files(paths.events)):
        with open(path, "rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - TAIL_BYTES))
            lines = stream.read().decode("utf-8", "replace").splitlines()
        for line in reversed(lines):
            event = parse_event(line)
            if event is not None:
                return event
    return None


def _file(root: Path) -> Path:
    return state_folder() / "seen" / f"{project_key(root)}.json"
