"""Attempts that are with the local submitter or the worker: submitting, following, cancelling, recovering.

Every attempt is journaled before it is submitted and claims itself before it does anything, so a kill of the engine
at any moment neither loses one nor runs one twice (design 2 and 5).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.cluster.journal import AttemptId, Journal, Submission
from core.cluster.local import LocalJob, LocalSubmitter
from core.cluster.protocol import (
    AttemptPaths,
    AttemptState,
    newest_attempt,
    parse_inbox_name,
    process_start,
    read_start,
    read_state,
    withdraw,
)
from core.cluster.slots import Held
from core.errors import ConflictError, CrboostError
from core.project.layout import ProjectPaths
from core.project.lock import user

VISIBLE_SECONDS = 3.0
GRACE_SECONDS = 10.0
_ANSWERED = -1
INTERNAL = "internal-"
TIME_LIMIT = "time limit"


@dataclass(slots=True)
class Live:
    """One attempt that has been submitted and has not ended. ``worker`` is a process id for internal work."""

    instance: str
    key: str
    number: int
    paths: AttemptPaths
    token: str
    job: LocalJob | None = None
    worker: int = 0
    worker_start: int = 0
    submitted: float = field(default_factory=time.time)
    running: bool = False
    gone: float | None = None
    cancelled: str = ""
    limit_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended. ``outcome``: a state of the protocol, ``lost``, or ``withdrawn`` (it never started)."""

    live: Live
    outcome: str
    state: AttemptState | None
    reason: str = ""


class Attempts:
    """All live attempts of this engine."""

    def __init__(self, paths: ProjectPaths, submitter: LocalSubmitter, wake: Callable[[], None]) -> None:
        self.paths = paths
        self.submitter = submitter
        self.journal = Journal(paths.submissions)
        self.live: dict[tuple[str, str], Live] = {}
        self._pool = ThreadPoolExecutor(4, "cancel")
        self._cancelling: dict[tuple[str, str], Future[bool]] = {}
        self._wake = wake
        self._seen: set[tuple[str, str]] = set()

    def next_number(self, folder: Path, key: str, known: int) -> int:
        """The number of a new attempt: above every one that the ledger or the disk knows."""
        return max(known, newest_attempt(folder / "tasks" / key)) + 1

    def submit(
        self, instance: str, paths: AttemptPaths, held: Held, limit_seconds: float, facts: Mapping[str, Any]
    ) -> Live:
        """Start the script of an attempt as a detached process. ``facts`` is what an engine that takes over must know
        of it (its fingerprint). Raises :class:`CrboostError` where it was not started."""
        token = f"{paths.key.strip('@')}-{paths.number}-{secrets.token_hex(6)}"
        who = {"host": os.uname().nodename, "user": user(), "limit_seconds": limit_seconds}
        self.journal.intent(token, [(instance, paths.key, paths.number)], **who, **facts)
        try:
            job = self.submitter.submit(paths.script, job_id=token, environment={}, held=held, cwd=self.paths.root)
        except CrboostError:
            self._settled(token)
            raise
        live = Live(instance, paths.key, paths.number, paths, token, job=job, limit_seconds=limit_seconds)
        self.live[(instance, paths.key)] = live
        with contextlib.suppress(CrboostError):  # it runs: whoever takes over finds it by its token
            self.journal.submitted(token, pid=job.pid, pid_start=job.pid_start, boot=job.boot)
        return live

    def hand_to_worker(self, instance: str, paths: AttemptPaths, worker: int) -> Live:
        """Note an internal attempt that the worker process will carry out."""
        start = process_start(worker) or 0
        token = internal_token(worker, start)
        live = Live(instance, paths.key, paths.number, paths, token, worker=worker, worker_start=start)
        self.live[(instance, paths.key)] = live
        return live

    def recover(self, instance: str, key: str, paths: AttemptPaths, submission: Submission | None) -> None:
        """Take up an attempt that an earlier engine submitted; :meth:`follow` then finds out how it stands."""
        live = Live(instance, key, paths.number, paths, "", submitted=time.time() - VISIBLE_SECONDS)
        start = read_start(paths.start)
        if start is not None:
            live.submitted = min(live.submitted, float(start.time))
        if submission is not None:
            live.token = submission.token
            live.limit_seconds = float(submission.intent.get("limit_seconds", 0.0))
            if submission.fields is not None:
                live.job = LocalJob(**submission.fields, token=submission.token)
            else:
                live.job = self.submitter.find_by_token(submission.token)
        if live.job is None and start is not None:
            if start.job.startswith(INTERNAL):
                live.worker, live.worker_start = start.pid, start.pid_start
            else:
                live.job = LocalJob(start.pid, start.pid_start, start.boot, start.job)
        self.live[(instance, key)] = live

    def unsettled(self) -> dict[AttemptId, Submission]:
        """Attempts of the journal whose end nobody has noted yet."""
        return {attempt: submission for submission in self.journal.read().values() for attempt in submission.attempts}

    def refuse_foreign(self, folders: Mapping[str, str]) -> None:
        """Raise :class:`ConflictError` where tasks are alive that only another host or user can look after: taking
        over would run them twice. ``folders``: the job folder of each instance, below the project."""
        here, me = os.uname().nodename, user()
        found: dict[tuple[str, str], list[str]] = {}
        for (instance, key, number), submission in self.unsettled().items():
            host, owner = str(submission.intent.get("host", here)), str(submission.intent.get("user", me))
            if (host, owner) == (here, me) or instance not in folders:
                continue
            paths = AttemptPaths(self.paths.root / folders[instance], key, number)
            if read_state(paths.state) is not None or not paths.claim.exists():
                continue
            start = read_start(paths.start)
            if host == here and start is not None and process_start(start.pid) != start.pid_start:
                continue
            found.setdefault((owner, host), []).append(f"{instance} {key}")
        for (owner, host), tasks in found.items():
            more = f" and {len(tasks) - 3} more" if len(tasks) > 3 else ""
            raise ConflictError(
                f"Tasks of {owner} still run on {host} ({', '.join(tasks[:3])}{more}): only {owner} can take over, on "
                f"{host}, until they have ended. If they are gone for good, move .crboost/submissions.jsonl away.",
                self.paths.root,
            )

    def follow(self) -> list[Ended]:
        """Every attempt that has ended since the last call. Marks those that began to run."""
        self._read_inbox()
        ended: list[Ended] = []
        now = time.time()
        for address, live in list(self.live.items()):
            found = self._look(live, now, address in self._seen)
            if found is None:
                continue
            cancelling = self._cancelling.get(address)
            if cancelling is not None and not cancelling.done():
                continue
            self._cancelling.pop(address, None)
            del self.live[address]
            if live.token and not live.worker:
                self._settled(live.token)
            ended.append(found)
        self._seen.clear()
        return ended

    def _look(self, live: Live, now: float, told: bool) -> Ended | None:
        # An attempt that has just said its end is not looked for: that takes a walk through all processes.
        if told and (ended := _end_of(live)) is not None:
            return ended
        alive = self._alive(live)
        if not alive and (ended := _end_of(live)) is not None:
            return ended
        if not live.running and (told or not alive or now - live.submitted > 1.0):
            live.running = live.paths.start.exists()
        if alive:
            live.gone = None
            if live.limit_seconds and live.running and now - live.submitted > live.limit_seconds:
                self.cancel(live.instance, live.key, TIME_LIMIT)
            return None
        if live.gone is None:
            live.gone = now
        if now - live.gone < (0.2 if live.cancelled else VISIBLE_SECONDS):
            return None
        if withdraw(live.paths):
            return Ended(live, "withdrawn", None)
        return Ended(
            live, "lost", None, "its process is gone and left no state: killed from outside, or the host restarted"
        )

    def _alive(self, live: Live) -> bool:
        if live.worker:
            return process_start(live.worker) == live.worker_start
        return live.job is not None and self.submitter.alive(live.job)

    def _settled(self, token: str) -> None:
        with contextlib.suppress(CrboostError):  # one that is not noted is settled again by the next engine
            self.journal.settled(token)

    def _read_inbox(self) -> None:
        self.paths.inbox.mkdir(exist_ok=True)
        for path in sorted(self.paths.inbox.iterdir()):
            parsed = parse_inbox_name(path.name)
            if parsed is not None:
                self._seen.add((parsed[0], parsed[1]))
            with contextlib.suppress(OSError):
                path.unlink()

    @property
    def uncertain(self) -> bool:
        """Whether some attempt's process is gone and its state may only not be visible yet."""
        return any(live.gone is not None for live in self.live.values())

    def cancel(self, instance: str, key: str, why: str) -> None:
        """End a live attempt: asked kindly, then killed; it counts as ended when it is seen gone."""
        live = self.live.get((instance, key))
        if live is None or live.cancelled:
            return
        live.cancelled = why
        if live.job is not None:
            future = self._pool.submit(self.submitter.cancel, live.job, GRACE_SECONDS)
            self._cancelling[(instance, key)] = future
            future.add_done_callback(lambda _: self._wake())

    def worker_answered(self, addresses: Iterable[tuple[str, str]]) -> None:
        """The worker is through with these internal attempts, whatever became of them: what left no state is lost."""
        for address in addresses:
            live = self.live.get(address)
            if live is not None and live.worker:
                live.worker_start = _ANSWERED

    @property
    def cancelling(self) -> bool:
        return any(not future.done() for future in self._cancelling.values())

    def close(self) -> None:
        self._pool.shutdown(wait=False)


def _end_of(live: Live) -> Ended | None:
    state = read_state(live.paths.state)
    return None if state is None or state.state == "duplicate" else Ended(live, state.state, state, state.reason)


def internal_token(worker: int, start: int) -> str:
    """The job id of work in the worker process."""
    return f"{INTERNAL}{worker}-{start}"
