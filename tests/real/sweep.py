"""Finding and ending all processes of a private cluster: daemons, Slurm's step daemons, and what jobs have started.

Run as a program it is the guard of one cluster: it waits for its input to end, which happens however its parent dies,
and then ends whatever of the cluster is left.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def find(folder: Path, node: str = "") -> set[int]:
    """Processes of the cluster in ``folder``, or of one node of it.

    A daemon has its log open; ``slurmstepd`` has that of its ``slurmd``. A job's process has Slurm's variables, or
    descends from one of those.
    """
    log = str(folder / "log") + "/" + (f"slurmd-{node}.log" if node else "")
    marks = [f"SLURM_CONF={folder / 'slurm.conf'}".encode(), f"SLURMD_NODENAME={node}".encode()]
    marks[1] += b"\0" if node else b""
    found = set()
    children: dict[int, list[int]] = {}
    for pid in _pids():
        children.setdefault(_parent(pid), []).append(pid)
        if _has_open(pid, log) or all(mark in _environment(pid) for mark in marks):
            found.add(pid)
    waiting = list(found)
    while waiting:
        below = children.get(waiting.pop(), [])
        waiting += [pid for pid in below if pid not in found]
        found.update(below)
    return found - {os.getpid()}


def end(folder: Path, node: str = "", seconds: float = 10.0) -> set[int]:
    """End them as a crash of the machine would: all stand still before the first one dies. Returns who did not."""
    stopped: set[int] = set()
    while new := find(folder, node) - stopped:
        for pid in new:
            _signal(pid, signal.SIGSTOP)
        stopped |= new
    for pid in sorted(stopped, reverse=True):  # children first: orphans that stand still are woken by SIGHUP
        _signal(pid, signal.SIGKILL)
    until = time.monotonic() + seconds
    while (left := {pid for pid in stopped if _lives(pid)}) and time.monotonic() < until:
        time.sleep(0.02)
    return left


def _pids() -> Iterator[int]:
    user = os.getuid()
    for entry in os.scandir(PROC):
        try:
            if entry.name.isdigit() and user in (0, entry.stat().st_uid):
                yield int(entry.name)
        except FileNotFoundError:
            continue


def _state(pid: int) -> tuple[str, int]:
    """State letter and parent of a process; ``Z`` and 0 where it is gone."""
    try:
        after_name = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "Z", 0
    return after_name[0], int(after_name[1])


def _parent(pid: int) -> int:
    return _state(pid)[1]


def _lives(pid: int) -> bool:
    return _state(pid)[0] not in ("Z", "X")


def _environment(pid: int) -> bytes:
    try:
        return (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return b""


def _has_open(pid: int, beginning: str) -> bool:
    try:
        names = os.listdir(PROC / str(pid) / "fd")
    except OSError:
        return False
    for name in names:
        try:
            if os.readlink(PROC / str(pid) / "fd" / name).startswith(beginning):
                return True
        except OSError:
            continue
    return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end(Path(sys.argv[1]))
