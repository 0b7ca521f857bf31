"""How long single steps of an app's event loop keep everything else waiting.

A step is one ``asyncio.Handle._run``: what a handler does between two awaits. Counted is the time that it took of its
own doing: its CPU time, and the time for which it waited for something. What the machine's load adds is left out, as
far as the kernel tells it (second number of ``schedstat``: how long a thread was ready while others had the CPU): for
the loop's own thread, and for our other threads, where the loop waited for one of them (to start, or to let go of
Python's lock). Where the kernel does not tell, CPU time alone counts. A step over the limit has its CPU time counted at
the best speed of the CPU that was seen: two threads that share a core have half of it each. Python's looks for garbage
are left out where a test runs: what it looks through is the test process (``garbage=True`` counts them).

Not counted are steps before the app's first frame (Textual's own import, CSS and first compose; the app says when its
first frame is there: ``drawn``), and steps of tasks that are not Textual's message pumps, timers and callbacks: a
test's own code, and the pilot of a snapshot, which also makes the SVG.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from textual._context import active_app

LIMIT_MS = 50.0
ONCE = 1.3
"""What is left of the noise: a step that was over the limit only once in a test is none that blocks, up to so many
times the limit. A handler that blocks does so every time, or for long."""
_LOOKS_PER_SECOND = 250


@dataclass(frozen=True, slots=True)
class Step:
    """A step that took long: who did it, and where it was when it had taken half of the limit."""

    milliseconds: float
    who: str
    where: str

    def __str__(self) -> str:
        return f"{self.milliseconds:.0f} ms of {self.who}\n{self.where}"


@dataclass
class Watch:
    limit_ms: float = LIMIT_MS
    worst_ms: float = 0.0
    worst: str = ""
    steps: list[Step] = field(default_factory=list)
    """Those over the limit."""

    @property
    def blocking(self) -> list[Step]:
        """The steps that are no noise."""
        times = Counter(step.who for step in self.steps)
        return [step for step in self.steps if step.milliseconds > ONCE * self.limit_ms or times[step.who] > 1]


@contextmanager
def watching(limit_ms: float = LIMIT_MS, *, garbage: bool = False) -> Iterator[Watch]:
    """Measure every step of every app that runs meanwhile in this thread."""
    watch = Watch(limit_ms)
    for _ in range(20):
        _spin()
    sampler = _Sampler(limit_ms / 2000)
    looks = _GarbageLooks()
    run = asyncio.events.Handle._run
    delay = _run_queue_delay()
    thread = threading.get_ident()

    def measured(handle: Any) -> None:
        if threading.get_ident() != thread or not _counts(handle):
            return run(handle)
        who = _name(handle)
        sampler.begin()
        cpu, clock, queue = time.thread_time(), time.perf_counter(), delay()
        own, others = looks.own, looks.others
        try:
            return run(handle)
        finally:
            cpu, clock, queue = time.thread_time() - cpu, time.perf_counter() - clock, delay() - queue
            busy, blocked = cpu - (looks.own - own), clock - queue - cpu - (looks.others - others)
            if busy + blocked > watch.worst_ms / 1000:
                blocked = min(blocked, sampler.waited_for_nobody())
            blocked = max(0.0, blocked)
            if 1000 * (busy + blocked) > watch.limit_ms:
                busy /= _slowness()
            taken = 1000 * (busy + blocked)
            where = sampler.end()
            if taken > watch.worst_ms:
                watch.worst_ms, watch.worst = taken, who
            if taken > watch.limit_ms:
                watch.steps.append(Step(taken, who, where))

    asyncio.events.Handle._run = measured  # type: ignore[method-assign, assignment]
    if not garbage:
        gc.callbacks.append(looks)
    sampler.start(thread)
    try:
        yield watch
    finally:
        asyncio.events.Handle._run = run  # type: ignore[method-assign]
        if not garbage:
            gc.callbacks.remove(looks)
        sampler.stop()


def _counts(handle: Any) -> bool:
    context = getattr(handle, "_context", None)
    app = context.get(active_app) if context is not None else None
    if app is None or not getattr(app, "drawn", False):
        return False
    coroutine = _coroutine(handle)
    if coroutine is None:
        return True
    code = getattr(coroutine, "cr_code", None)
    return code is not None and "/textual/" in code.co_filename and code.co_name != "run_auto_pilot"


def _coroutine(handle: Any) -> Any:
    task = getattr(getattr(handle, "_callback", None), "__self__", None)
    return task.get_coro() if isinstance(task, asyncio.Task) else None


def _name(handle: Any) -> str:
    task = getattr(getattr(handle, "_callback", None), "__self__", None)
    if isinstance(task, asyncio.Task):
        return f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', '?')})"
    return f"a callback ({getattr(handle._callback, '__qualname__', repr(handle._callback))})"


class _GarbageLooks:
    """Seconds of CPU that looks for garbage took in the thread that made this, and seconds that they took in others."""

    def __init__(self) -> None:
        self.own = self.others = 0.0
        self._thread = threading.get_ident()
        self._begun = 0.0

    def __call__(self, phase: str, _: object) -> None:
        """No two looks overlap."""
        own = threading.get_ident() == self._thread
        now = time.thread_time() if own else time.perf_counter()
        if phase == "start":
            self._begun = now
        elif own:
            self.own += now - self._begun
        else:
            self.others += now - self._begun


def _run_queue_delay() -> Callable[[], float]:
    """Seconds for which this thread was ready to run and had no CPU; where that is not told, what is not CPU time."""
    try:
        descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        int(os.pread(descriptor, 100, 0).split()[1])
    except (OSError, IndexError, ValueError):
        return lambda: time.perf_counter() - time.thread_time()
    return lambda: int(os.pread(descriptor, 100, 0).split()[1]) / 1e9


_quickest = [1.0]


def _slowness() -> float:
    """How many times slower than at its best this CPU is now: two threads that share a core have half of it each."""
    now = sorted(_spin() for _ in range(9))[4]
    return min(3.0, max(1.0, now / _quickest[0]))


def _spin() -> float:
    begun = time.thread_time()
    for number in range(3_000):
        {str(number): [number]}.copy()
    taken = time.thread_time() - begun
    _quickest[0] = min(_quickest[0], taken)
    return taken


def _delays() -> dict[str, float]:
    """The same of every thread of ours, by its number."""
    found = {}
    with contextlib.suppress(OSError):
        for number in os.listdir("/proc/self/task"):
            with (
                contextlib.suppress(OSError, IndexError, ValueError),
                open(f"/proc/self/task/{number}/schedstat") as told,
            ):
                found[number] = int(told.read().split()[1]) / 1e9
    return found


class _Sampler:
    """Looks from beside where a step is that takes long, and how the other threads get on meanwhile."""

    def __init__(self, after_seconds: float) -> None:
        self.after_seconds = after_seconds
        self._current = 0.0
        self._where = ""
        self._looked = 0.0
        self._delays: dict[str, float] | None = None
        self._ended = threading.Event()

    def begin(self) -> None:
        self._where, self._delays = "", None
        self._current = time.perf_counter()

    def end(self) -> str:
        self._current = 0.0
        return self._where

    def waited_for_nobody(self) -> float:
        """Seconds of this step in which none of our other threads was ready and had no CPU. What was before the first
        look is not counted: the one who looks was kept waiting as well."""
        if self._delays is None:
            return 0.0
        loop, seconds = str(threading.get_native_id()), time.perf_counter() - self._looked
        delays = _delays().items()
        return seconds - sum(delay - self._delays.get(number, 0.0) for number, delay in delays if number != loop)

    def start(self, thread: int) -> None:
        threading.Thread(target=self._look, args=(thread,), daemon=True, name="watchdog").start()

    def stop(self) -> None:
        self._ended.set()

    def _look(self, thread: int) -> None:
        while not self._ended.wait(1 / _LOOKS_PER_SECOND):
            begun = self._current
            if not begun:
                continue
            age = time.perf_counter() - begun
            if self._delays is None and age > self.after_seconds / 4:
                seen = _delays()
                if self._current == begun:
                    self._looked, self._delays = time.perf_counter(), seen
            if not self._where and age > self.after_seconds:
                frame = sys._current_frames().get(thread)
                if frame is not None and self._current == begun:
                    self._where = "".join(traceback.format_stack(frame)[-8:])
