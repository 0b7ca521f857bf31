"""Following a project for the monitor: pictures at the pace at which a person can read them, in a thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from core.engine.events import Event, EventReader, event_files
from core.engine.lease import is_alive, read_lease
from core.engine.reading import StatusFollower
from core.engine.states import TaskState
from core.engine.status import JobStatus, Status
from core.errors import CrboostError
from core.files import read_text
from core.project.layout import ProjectPaths
from core.watch.mounts import hides_events, kind_of, read_mounts
from crboost_tui.data import gone
from crboost_tui.picture import SILENT, Drawer, Picture, Told, Wants, newest, tell
from crboost_tui.snapshot import load_snapshot_in_pieces

POLL_SECONDS = 0.02
SLOW_POLL_SECONDS = 0.5
"""Where another machine's writes are not announced, each look goes to the server."""
AGE_SECONDS = 20.0
"""How old a picture may become: it says for how long the engine has run."""
LOOK_SECONDS = 1.0
"""How often it is seen whether the project and its engine are still there."""
SILENT_SECONDS = 60.0
EVENTS_KEPT = 200
EVENTS_SHOWN = 6


class Follower:
    """Hands pictures to ``show`` and sentences to ``complain`` (what keeps the project from being read) until
    ``gone``. Both are called in its own thread."""

    def __init__(
        self, root: Path, gone: threading.Event, show: Callable[[Picture], None], complain: Callable[[str], None]
    ) -> None:
        self.root = root
        self.paths = ProjectPaths(root)
        self._gone = gone
        self._show = show
        self._complain = complain
        self._told: deque[Told] = deque(maxlen=EVENTS_KEPT)
        self._drawer = Drawer()
        self._live: StatusFollower | None = None
        self._status: Status | None = None
        """What was drawn last: another one is drawn at once."""
        self._engine = ""
        self._seen = False
        self._drawn = self._looked = 0.0
        self._newest = self.paths.events
        self._stamp: object = None
        self._file: object = None
        self._pipeline: frozenset[str] | None = None
        """The jobs that the project file has now, None where that is not known."""
        self._asked: object = None
        self._view: Status | None = None
        self._beat: object = None
        self._beat_at = 0.0

    def run(self) -> None:
        """Follow until ``gone``, however slow the disk is."""
        slow = hides_events(kind_of(self.root, read_mounts()))
        problem = ""
        while not self._gone.is_set():
            began, used = time.monotonic(), time.thread_time()
            try:
                self._step(began)
                problem = ""
            except Exception as error:
                if self._gone.is_set():
                    return
                self._live = None
                sentence = self._sentence(error)
                if sentence != problem:
                    problem = sentence
                    self._complain(sentence)
            pause = 1.0 if self._live is None else SLOW_POLL_SECONDS if slow else POLL_SECONDS
            # A slow disk is asked the less the longer it takes; a local one takes at most a fifth of a core.
            spent = time.monotonic() - began if slow else time.thread_time() - used
            self._gone.wait(max(pause, 4 * spent))

    def _step(self, now: float) -> None:
        if self._live is None:
            self._live = StatusFollower(self.root, load_snapshot_in_pieces)
            self._told.clear()
            self._told.extend(tell(self._recent(self._live.status.event), self._live.status))
            self._status, self._looked = None, 0.0
        live = self._live
        look = now - self._looked >= LOOK_SECONDS
        stamp = _stamp(self._newest)
        events = []
        if look or stamp != self._stamp:
            if not self.paths.file.exists():  # before its missing lease looks like an engine that died
                raise gone(self.root)
            events = live.update()
        if look:
            self._looked = now
            self._newest = max(event_files(self.paths.events), default=self.paths.events)
            self._look(now)
            self._read_pipeline()
        self._stamp = stamp
        if events:
            self._told.extend(tell(events, live.status))
        status = self._with_jobs_of_file(live.status)
        if look or events:
            self._want(status)
        if events:
            self._drawer.note(status, events)
        urgent = status is not self._status or status.engine.state != self._engine or now - self._drawn >= AGE_SECONDS
        if urgent or now >= self._drawer.due:
            self._status, self._engine, self._drawn, self._seen = status, status.engine.state, now, True
            self._show(self._drawer.draw(status, newest(tuple(self._told), EVENTS_SHOWN), whole=urgent))

    def _read_pipeline(self) -> None:
        file = _changed(self.paths.file)
        if file == self._file:
            return
        from core.formats import plain_yaml

        self._file = file
        try:
            values = plain_yaml.load(read_text(self.paths.file), str(self.paths.file))
            self._pipeline = frozenset(str(each["id"]) for each in values["pipeline"])
        except (CrboostError, KeyError, TypeError):
            self._pipeline = None  # somebody edits it; the workspace says what is wrong

    def _with_jobs_of_file(self, status: Status) -> Status:
        """The status without jobs that were taken out of the pipeline: it has them until an engine plans again. What
        still runs of them is shown."""
        jobs = [job for job in status.jobs if self._pipeline is None or job.id in self._pipeline or _lives(job)]
        if len(jobs) == len(status.jobs):
            return status
        view = self._view
        if view is None or len(view.jobs) != len(jobs) or any(a is not b for a, b in zip(view.jobs, jobs, strict=True)):
            view = self._view = replace(status, jobs=jobs)
        view.event, view.updated, view.engine = status.event, status.updated, status.engine
        view.needs, view.queue = status.needs, status.queue
        return view

    def _want(self, status: Status) -> None:
        """Which series are held, and whether what waits was asked for. A spoilt file is the engine's to complain of."""
        waits = tuple(any(state in job.states for state in _WAITS) for job in status.jobs)
        asked = _changed(self.paths.wanted), tuple(job.id for job in status.jobs), len(status.series), waits
        if asked == self._asked:
            return
        from core.engine.wishes import Wish, reduce_requests, selection
        from core.project.wanted import read_wanted

        self._asked = asked
        try:
            requests = read_wanted(self.root).requests
        except CrboostError:
            return
        ids = [job.id for job in status.jobs]
        before = {id: frozenset(ids[: place + 1]) for place, id in enumerate(ids)}
        held: set[tuple[str, str]] = set()
        for request in requests:
            if request.kind in ("hold", "release"):
                meant = selection(request, before, status.series)
                held = held | set(meant) if request.kind == "hold" else held - set(meant)
        wishes = reduce_requests(requests, before, status.series)
        wanted = any(
            wishes.of(job.id, key) in (Wish.RUN, Wish.HOLD)
            for job, any_waits in zip(status.jobs, waits, strict=True)
            if any_waits
            for key, state in zip(status.keys(job), job.states, strict=False)
            if state in _WAITS
        )
        self._drawer.want(Wants(frozenset(key for _, key in held), wanted))

    def _look(self, now: float) -> None:
        """An engine on another host is silent when its heartbeat has not changed during our own looks for long."""
        assert self._live is not None
        lease = read_lease(self.paths.lease)
        engine = self._live.status.engine
        if engine.state not in ("running", SILENT) or is_alive(lease) is not None:
            self._beat = None
            return
        if lease != self._beat:
            self._beat, self._beat_at = lease, now
            if engine.state == SILENT:
                engine.state = "running"
        elif now - self._beat_at > SILENT_SECONDS:
            engine.state = SILENT

    def _sentence(self, error: Exception) -> str:
        if self._seen and not self.paths.file.exists():
            return str(gone(self.root))
        return str(error) if isinstance(error, CrboostError) else f"{type(error).__name__}: {error}"

    def _recent(self, last: int) -> list[Event]:
        """The events before the status that was loaded, for the first look."""
        reader = EventReader(self.paths.events, max(0, last - EVENTS_KEPT))
        return [event for event in reader.read() if event.number <= last]


_WAITS = (TaskState.WAITING.value, TaskState.READY.value)


def _lives(job: JobStatus) -> bool:
    return any(TaskState(state).live for state in set(job.states))


def _changed(file: Path) -> object:
    """What differs when a file has been replaced or edited."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _stamp(newest: Path) -> object:
    """What tells that there are new events, for next to nothing: the newest file, and that of a newer one."""
    try:
        return newest.stat().st_size, newest.parent.stat().st_mtime_ns
    except OSError:
        return None
