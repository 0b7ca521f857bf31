"""CPU and GPU slots of this host, shared by all projects of one user.

A slot is a locked file (``flock``). The task inherits the open file, so that the kernel frees the slot when the last
process of the task is gone, whatever happened to the engine. Locks are never taken back explicitly: that would take
them from the task as well.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import CrboostError


def slot_folder() -> Path:
    """Where this user's slots on this host lie. Always below /tmp: ``$XDG_RUNTIME_DIR`` is removed when the user logs
    out, and running tasks would lose their slots; cron has none at all."""
    return Path(f"/tmp/crboost-{os.getuid()}")


@dataclass(slots=True)
class Held:
    """Slots that are held as long as any process has one of ``fds`` open."""

    fds: tuple[int, ...]
    cpus: int
    gpu_indices: tuple[int, ...]

    def release(self) -> None:
        """Close our own copies. Slots that a task inherited stay held until it ends."""
        for descriptor in self.fds:
            os.close(descriptor)
        self.fds = ()


class Slots:
    """``cpus`` and ``gpus`` are how many of each tasks may use on this host.

    Raises :class:`CrboostError` where the folder of the slots is not ours alone.
    """

    def __init__(self, cpus: int, gpus: int, folder: Path | None = None) -> None:
        self.cpus = cpus
        self.gpus = gpus
        self.folder = folder or slot_folder()
        _make_private(self.folder)

    def take(self, cpus: int, gpus: int) -> Held | None:
        """Hold that many slots, or none of them where there are not enough free ones (None).

        A task that wants more than the host has gets all of it, so that it can run at all."""
        wanted_gpus = min(gpus, self.gpus)
        wanted_cpus = min(cpus, self.cpus)
        taken_gpus = self._lock("gpu", self.gpus, wanted_gpus)
        if taken_gpus is None:
            return None
        taken_cpus = self._lock("cpu", self.cpus, wanted_cpus)
        if taken_cpus is None:
            _close(taken_gpus.values())
            return None
        return Held((*taken_cpus.values(), *taken_gpus.values()), wanted_cpus, tuple(taken_gpus))

    def free(self) -> tuple[int, int]:
        """How many CPU and GPU slots nobody holds at this moment."""
        counts = []
        for kind, total in (("cpu", self.cpus), ("gpu", self.gpus)):
            taken = self._take_free(kind, total, total)
            counts.append(len(taken))
            _close(taken.values())
        return counts[0], counts[1]

    def _lock(self, kind: str, total: int, wanted: int) -> dict[int, int] | None:
        taken = self._take_free(kind, total, wanted)
        if len(taken) == wanted:
            return taken
        _close(taken.values())
        return None

    def _take_free(self, kind: str, total: int, wanted: int) -> dict[int, int]:
        """Up to ``wanted`` free slots: index -> descriptor."""
        taken: dict[int, int] = {}
        for index in range(total):
            if len(taken) == wanted:
                break
            path = self.folder / f"{kind}-{index:03d}"
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                _close(taken.values())
                raise CrboostError(f"this host's slots cannot be opened ({error.strerror}).", path) from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            taken[index] = descriptor
        return taken


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True, parents=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise CrboostError(
                "must be a folder of your own; somebody else made it. Remove it, or have it removed.", folder
            )
        if status.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise CrboostError(f"this host's slots cannot be kept there ({error.strerror}).", folder) from error
