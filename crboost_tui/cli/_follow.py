"""Following a run on standard error, and its outcome as an exit code."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Collection
from pathlib import Path

from core.engine.engine_job import engine_job_is_queued, engine_job_waits
from core.engine.events import Event
from core.engine.reading import StatusFollower, load_status
from core.engine.states import TaskState
from core.engine.status import Status
from core.errors import CrboostError
from crboost_tui.data import config_dir
from crboost_tui.matrix import duration, event_text, stale_hint
from crboost_tui.terminal import Terminal, shorten

POLL_SECONDS = 0.2
START_SECONDS = 20.0
JOB_SECONDS = 60.0
Scope = Collection[tuple[str, str]]


def follow(root: Path, request: int, scope: Scope | None = None) -> int:
    """Print what happens until the engine has served ``request`` and ended. 0 where all went well, else 1.

    ``scope``: the (job, key) that the outcome is about; None for the whole project.
    """
    live = StatusFollower(root)
    job = _EngineJob(root)
    terminal = Terminal.of(sys.stderr)
    began = time.monotonic()
    while True:
        for event in live.update():
            print_event(event, live.status, terminal)
        status = live.status
        served = status.engine.request >= request
        late = time.monotonic() - began > START_SECONDS
        if status.engine.state != "running" and (served or late) and not job.waits():
            for event in live.update():
                print_event(event, live.status, terminal)
            break
        if status.needs and not _anything_live(status) and served:
            break
        time.sleep(POLL_SECONDS)
    return _outcome(load_status(root), scope, terminal, time.monotonic() - began)


class _EngineJob:
    """An engine that is to come as a job of Slurm. That it is still in the queue is asked once a minute."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._due = time.monotonic() + JOB_SECONDS

    def waits(self) -> bool:
        if engine_job_waits(self.root) and time.monotonic() >= self._due:
            self._due = time.monotonic() + JOB_SECONDS
            with contextlib.suppress(CrboostError):  # Slurm does not answer: it may be there
                engine_job_is_queued(self.root, config_dir())
        return engine_job_waits(self.root)


def print_event(event: Event, status: Status, terminal: Terminal) -> None:
    told = event_text(event, status)
    if told is None or not told[1]:
        return
    state, sentence = told
    clock = time.strftime("%H:%M:%S", time.localtime(event.time))
    mark = terminal.state(state) if state else " "
    print(terminal.text(f"{clock} {mark} {shorten(sentence, terminal.width - 12)}"), file=sys.stderr, flush=True)


def _anything_live(status: Status) -> bool:
    counts = status.counts()
    if any(counts[state] for state in TaskState if state.live):
        return True
    # What is ready starts at once, unless a full disk or a quota keeps everything back.
    return bool(counts[TaskState.READY]) and not any(need.kind == "space" for need in status.needs)


def _outcome(status: Status, scope: Scope | None, terminal: Terminal, seconds: float) -> int:
    if scope is None:
        outcome = status.outcome()
        good = outcome == "succeeded"
    else:
        good = _scope_good(status, scope)
        outcome = "succeeded" if good else "not all done"
    for need in status.needs:
        print(terminal.text(f"{terminal.state('!')} {need.sentence}"), file=sys.stderr)
    if hint := stale_hint(status):
        print(terminal.text(f"{terminal.state('#')} {hint}"), file=sys.stderr)
    word = terminal.state("+" if good else "x", outcome)
    print(terminal.text(f"{status.name}: {word} after {duration(seconds)}"), file=sys.stderr)
    return 0 if good else 1


def _scope_good(status: Status, scope: Scope) -> bool:
    good = {TaskState.DONE.value, TaskState.EMPTY.value, TaskState.EXCLUDED.value}
    wanted = set(scope)
    for job in status.jobs:
        keys = status.keys(job)
        if any((job.id, key) in wanted and state not in good for key, state in zip(keys, job.states, strict=True)):
            return False
    return True
