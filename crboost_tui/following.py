"""Following a project for the monitor: pictures at the pace at which a person can read them, in a thread."""

from __future__ import annotations

import os
import pwd
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from core.engine.events import Event, EventReader, event_files
from core.engine.lease import is_alive, read_lease
from core.engine.reading import StatusFollower
from core.engine.status import Status
from core.errors import CrboostError, InputError
from core.project.layout import ProjectPaths
from core.watch.mounts import hides_events, kind_of, read_mounts
from crboost_tui.picture import SILENT, Drawer, Picture, Told, tell
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


def owner_of_foreign(root: Path) -> str:
    """Whose project it is, where this user may only look at it; else ""."""
    state = ProjectPaths(root).state
    folder = state if state.exists() else root
    if os.access(folder, os.W_OK) or not folder.exists():
        return ""
    number = folder.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


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
                raise InputError("is not there any more.", self.root)
            events = live.update()
        if look:
            self._looked = now
            self._newest = max(event_files(self.paths.events), default=self.paths.events)
            self._look(now)
        self._stamp = stamp
        if events:
            self._told.extend(tell(events, live.status))
            self._drawer.note(live.status, events)
        status = live.status
        urgent = status is not self._status or status.engine.state != self._engine or now - self._drawn >= AGE_SECONDS
        if urgent or now >= self._drawer.due:
            self._status, self._engine, self._drawn, self._seen = status, status.engine.state, now, True
            self._show(self._drawer.draw(status, tuple(self._told)[-EVENTS_SHOWN:], whole=urgent))

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
            return f"{self.root} is not there any more. This is how it was last; it goes on when the folder is back."
        return str(error) if isinstance(error, CrboostError) else f"{type(error).__name__}: {error}"

    def _recent(self, last: int) -> list[Event]:
        """The events before the status that was loaded, for the first look."""
        reader = EventReader(self.paths.events, max(0, last - EVENTS_KEPT))
        return [event for event in reader.read() if event.number <= last]


def _stamp(newest: Path) -> object:
    """What tells that there are new events, for next to nothing: the newest file, and that of a newer one."""
    try:
        return newest.stat().st_size, newest.parent.stat().st_mtime_ns
    except OSError:
        return None
