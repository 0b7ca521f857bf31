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


def read_lease(path: Path) -> Lease | None:
    """The lease as it stands, None where there never was one."""
    if not path.exists():
        return None
    try:
        return Lease(**json.loads(read_text(path)))
    except (ValueError, TypeError) as error:
        raise InputError(f"is damaged ({error}): move it away if no engine runs for this project.", path) from error


def is_alive(lease: Lease | None) -> bool | None:
    """Whether its engine lives; None where only waiting can tell (it is on another host)."""
    if lease is None or lease.released:
        return False
    if lease.host != socket.gethostname():
        return None
    return lease.boot == boot_id() and process_start(lease.pid) == lease.pid_start


def watch_until_known(path: Path) -> bool:
    """Whether the engine of another host lives, by looking at its heartbeat for up to 20 s."""
    first = read_lease(path)
    known = is_alive(first)
    if known is not None:
        return known
    assert first is not None
    for _ in range(LOOKS):
        time.sleep(LOOK_SECONDS)
        later = read_lease(path)
        if later is None or later.released:
            return False
        if (later.epoch, later.beat) != (first.epoch, first.beat):
            return True
    return False


class HeldLease:
    """The lease that this process holds."""

    def __init__(self, paths: ProjectPaths, lease: Lease) -> None:
        self.paths = paths
        self.lease = lease
        self._beaten = time.monotonic()

    @classmethod
    def take(cls, paths: ProjectPaths, version: str) -> HeldLease:
        """Take the lease. Raises :class:`ConflictError` while another engine lives."""
        if watch_until_known(paths.lease):
            other = read_lease(paths.lease)
            assert other is not None
            raise ConflictError(
                f"An engine already runs for this project: process {other.pid} of {other.user} on {other.host}.",
                paths.root,
            )
        with project_lock(paths.root):
            other = read_lease(paths.lease)
            if is_alive(other):
                raise ConflictError("Another engine has just started for this project.", paths.root)
            lease = Lease(
                socket.gethostname(),
                os.getpid(),
                process_start(os.getpid()),
                boot_id(),
                version,
                1 if other is None else other.epoch + 1,
                0,
                user(),
            )
            replace_text(paths.lease, json.dumps(asdict(lease)))
        return cls(paths, lease)

    def beat(self) -> None:
        """Renew the heartbeat; to be called every few seconds."""
        self.check()
        self.lease = Lease(**{**asdict(self.lease), "beat": self.lease.beat + 1})
        replace_text(self.paths.lease, json.dumps(asdict(self.lease)))
        self._beaten = time.monotonic()

    def check(self) -> None:
        """Raises :class:`ConflictError` where the lease is no longer ours."""
        current = read_lease(self.paths.lease)
        if current is None or current.epoch != self.lease.epoch or current.pid != self.lease.pid:
            raise ConflictError("Another engine has taken over this project; this one ends.", self.paths.root)

    @property
    def late(self) -> bool:
        """Our own heartbeat is so late that others may think us dead: nothing must be done until it is renewed."""
        return time.monotonic() - self._beaten > LATE_SECONDS

    def release(self) -> None:
        """Give the lease back. The caller holds the project's lock."""
        self.check()
        replace_text(self.paths.lease, json.dumps({**asdict(self.lease), "released": True}))
