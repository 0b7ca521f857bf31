"""Functions side by side, each in a process of its own with its own time limit.

A process, not a thread: what waits for a dead mount may be beyond every signal, and a program cannot end while one of
its threads is. Such a process is killed and left behind. Everything that it started goes with it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import CrboostError

_LENGTH = struct.Struct("!I")
_GRACE_SECONDS = 5
LEAVE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Job:
    """``function`` yields what is to come back, item by item, and is given ``seconds``."""

    name: str
    function: Callable[[], Iterable[Any]]
    seconds: float


@dataclass(slots=True)
class Result:
    """``items`` with the seconds that each took. ``late``: it did not end in time. ``broken``: what ended it before."""

    items: list[tuple[Any, float]] = field(default_factory=list)
    late: bool = False
    broken: str = ""


@dataclass(slots=True)
class _Child:
    pid: int
    pipe: int
    deadline: float
    received: bytearray = field(default_factory=bytearray)


def side_by_side(
    jobs: Sequence[Job],
    seconds: float,
    told: Callable[[int, Sequence[str]], None] | None = None,
    came: Callable[[int, Result], None] | None = None,
) -> list[Result]:
    """The results in the order of the jobs, after ``seconds`` at the latest. ``told`` hears, as jobs end, how many have
    ended and which have not; ``came`` gets each job's number and result."""
    results = [Result() for _ in jobs]
    end = time.monotonic() + seconds
    living: dict[int, _Child] = {}
    with selectors.DefaultSelector() as selector:
        try:
            for number, job in enumerate(jobs):
                child = _start(job.function, min(time.monotonic() + job.seconds, end))
                living[number] = child
                selector.register(child.pipe, selectors.EVENT_READ, number)
            while living:
                now = time.monotonic()
                for key, _ in selector.select(max(0.0, min(child.deadline for child in living.values()) - now)):
                    if _read(living[key.data], results[key.data]):
                        continue
                    _end(living.pop(key.data), selector)
                    if came is not None:
                        came(key.data, results[key.data])
                    _tell(told, jobs, living)
                for number, child in list(living.items()):
                    if time.monotonic() >= child.deadline:
                        results[number].late = True
                        _end(living.pop(number), selector)
                        if came is not None:
                            came(number, results[number])
                        _tell(told, jobs, living)
        finally:
            _ask_to_leave(living.values())
            for child in living.values():
                _end(child, selector)
    return results


def _ask_to_leave(children: Collection[_Child]) -> None:
    """Where we are interrupted: let them take back what they began (a job, a folder)."""
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)
    end = time.monotonic() + LEAVE_SECONDS
    while time.monotonic() < end and not all(map(_has_ended, children)):
        time.sleep(0.02)


def _has_ended(child: _Child) -> bool:
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _leave(*_: object) -> None:
    raise SystemExit


def _tell(told: Callable[[int, Sequence[str]], None] | None, jobs: Sequence[Job], living: dict[int, _Child]) -> None:
    if told is not None:
        told(len(jobs) - len(living), [jobs[number].name for number in sorted(living)])


def _start(function: Callable[[], Iterable[Any]], deadline: float) -> _Child:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return _Child(pid, reader, deadline)
    try:
        # Whoever reads our output must not wait for a child that is left behind, and Ctrl-C is the parent's.
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, _leave)
        signal.alarm(max(1, int(deadline - time.monotonic()) + _GRACE_SECONDS))  # even where our parent was killed
        with os.fdopen(writer, "wb") as stream:
            for message in _messages(function):
                data = pickle.dumps(message)
                stream.write(_LENGTH.pack(len(data)) + data)
                stream.flush()
    finally:
        os._exit(0)


def _messages(function: Callable[[], Iterable[Any]]) -> Iterator[tuple[Any, float, str]]:
    """``(item, seconds, "")``, and at the end ``(None, seconds, what went wrong)``, "" where nothing did."""
    begun = time.monotonic()
    trouble = ""
    try:
        for item in function():
            now = time.monotonic()
            yield item, now - begun, ""
            begun = now
    except CrboostError as error:
        trouble = str(error)
    except Exception as error:
        trouble = " ".join(f"an error of crboost itself, please report it ({type(error).__name__}: {error})".split())
    yield None, time.monotonic() - begun, trouble


def _read(child: _Child, result: Result) -> bool:
    """Whether more may come."""
    data = os.read(child.pipe, 65536)
    if not data:
        result.broken = "its process died"
        return False
    child.received += data
    while len(child.received) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(child.received)
        if len(child.received) < _LENGTH.size + length:
            break
        item, seconds, broken = pickle.loads(child.received[_LENGTH.size : _LENGTH.size + length])
        del child.received[: _LENGTH.size + length]
        if item is None:
            result.broken = broken
            return False
        result.items.append((item, seconds))
    return True


def _end(child: _Child, selector: selectors.BaseSelector) -> None:
    """End the process and all that it started. It is not waited for."""
    selector.unregister(child.pipe)
    os.close(child.pipe)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(child.pid, signal.SIGKILL)  # should it not lead a group yet
    for _ in range(10):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(child.pid, os.WNOHANG)[0]:
                return
        time.sleep(0.002)
