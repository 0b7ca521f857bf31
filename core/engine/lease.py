"""One engine per project: a lease with host, process, version, heartbeat and epoch.

A lease is dead at once where its process was on this host and is gone, elsewhere when its heartbeat has not changed
during several of the observer's own looks. Clocks of two hosts are never compared.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from core.cluster.protocol import boot_id
from core.errors import ConflictError, InputError
from core.files import read_text, replace_text
from core.project.layout import ProjectPaths
from core.project.lock import process_start, project_lock, user

HEARTBEAT_SECONDS = 5.0
LOOKS = 5
LOOK_SECONDS = 4.0
LATE_SECONDS = 60.0
UNSURE_SECONDS = 15.0


class LeaseLost(ConflictError):
    """The project is another engine's, or gone: this one ends and touches nothing more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """``released`` is True where the engine ended in order."""

    host: str
    pid: int
    pid_start: str
    boot: str
    version: str
    epoch: int
    beat: int
    user: str
    released: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What an observer saw. ``lease`` is None where there is none, or a damaged one."""

    text: str
    lease: Lease | None
    alive: bool


def read_lease(path: Path) -> Lease | None:
    """The lease as it stands, None where there never was one."""
    text = _text(path)
    lease = _parse(text)
    if text and lease is None:
        raise InputError(
            "is damaged: wait some seconds, an engine that runs mends it; else move it away, crboost makes it anew.",
            path,
        )
    return lease


def is_alive(lease: Lease | None) -> bool | None:
    """Whether its engine lives; None where only waiting can tell (it is on another host)."""
    if lease is None or lease.released:
        return False
    if lease.host != socket.gethostname():
        return None
    return lease.boot == boot_id() and process_start(lease.pid) == lease.pid_start


def watch_until_known(path: Path) -> Seen:
    """Look whether an engine lives: at the heartbeat of one on another host, or at a damaged lease (which a living
    engine mends), for up to 20 s."""
    first = _text(path)
    for look in range(LOOKS + 1):
        if look:
            time.sleep(LOOK_SECONDS)
        text = _text(path)
        lease = _parse(text)
        known = None if text and lease is None else is_alive(lease)
        if known is None and lease is not None and text != first:
            known = True
        if known is not None:
            return Seen(text, lease, known)
    return Seen(text, lease, False)


class HeldLease:
    """The lease that this process holds."""

    def __init__(self, paths: ProjectPaths, lease: Lease) -> None:
        self.paths = paths
        self.lease = lease
        self._beaten = time.monotonic()

    @classmethod
    def take(cls, paths: ProjectPaths, version: str) -> HeldLease:
        """Take the lease. Raises :class:`ConflictError` while another engine lives."""
        seen = watch_until_known(paths.lease)
        if seen.alive and seen.lease is not None:
            raise ConflictError(
                f"An engine already runs for this project: process {seen.lease.pid} of {seen.lease.user} "
                f"on {seen.lease.host}.",
                paths.root,
            )
        with project_lock(paths.root):
            if _text(paths.lease) != seen.text:
                raise ConflictError("Another engine has just started for this project.", paths.root)
            lease = Lease(
                socket.gethostname(),
                os.getpid(),
                process_start(os.getpid()),
                boot_id(),
                version,
                1 if seen.lease is None else seen.lease.epoch + 1,
                0,
                user(),
            )
            replace_text(paths.lease, json.dumps(asdict(lease)))
        return cls(paths, lease)

    def beat(self) -> None:
        """Renew the heartbeat; to be called every few seconds. A damaged lease is written anew: an observer waits
        longer than a heartbeat before it takes one."""
        self.check()
        self.lease = Lease(**{**asdict(self.lease), "beat": self.lease.beat + 1})
        replace_text(self.paths.lease, json.dumps(asdict(self.lease)))
        self._beaten = time.monotonic()

    def check(self) -> None:
        """Raises :class:`LeaseLost` where the lease is no longer ours."""
        text = _text(self.paths.lease)
        if not text:
            raise LeaseLost("The project folder or its lease is gone; this engine ends.", self.paths.root)
        current = _parse(text)
        if current is not None and _holder(current) != _holder(self.lease):
            raise LeaseLost("Another engine has taken over this project; this one ends.", self.paths.root)

    def check_if_unsure(self) -> None:
        """:meth:`check` where this process may have been stopped for a while since its last heartbeat."""
        if time.monotonic() - self._beaten > UNSURE_SECONDS:
            self.check()

    @property
    def late(self) -> bool:
        """Our own heartbeat is so late that others may think us dead: nothing must be done until it is renewed."""
        return time.monotonic() - self._beaten > LATE_SECONDS

    def release(self) -> None:
        """Give the lease back. The caller holds the project's lock."""
        self.check()
        replace_text(self.paths.lease, json.dumps({**asdict(self.lease), "released": True}))


def _holder(lease: Lease) -> tuple[object, ...]:
    return lease.host, lease.pid, lease.pid_start, lease.epoch


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return ""
        if isinstance(error.__cause__, UnicodeDecodeError):
            return "not a text"  # as damaged as half a JSON: a living engine mends it, the next one replaces it
        raise


def _parse(text: str) -> Lease | None:
    try:
        return Lease(**json.loads(text))
    except (ValueError, TypeError):
        return None
