"""``python -P -m core.engine ROOT --data DIR [--once]``: the engine of one project, until nothing is left to do.

With ``--in-slurm`` it is a job of Slurm (:mod:`core.engine.engine_job`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.engine.engine import Engine
from core.engine.engine_job import (
    engine_job_began,
    engine_job_begins,
    engine_job_is_queued,
    forget_engine_job,
    submit_engine_job,
    withdraw_engine_job,
)
from core.engine.lease import LeaseLost, read_lease
from core.errors import ConflictError, CrboostError
from core.project.layout import ProjectPaths
from core.watch.folders import FolderWatch, Mode

LINGER_SECONDS = 1.0
FREE_SECONDS = 1.0
AGAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Hosted:
    """This process is the job ``token`` of Slurm, which succeeds the engine with the epoch ``after`` (0: none), and
    after ``seconds`` submits its own successor."""

    token: str
    after: int
    seconds: float


async def serve(
    root: Path, data: Path, mode: Mode | None, poll_seconds: float | None, hosted: Hosted | None = None
) -> int:
    """Step whenever something happens, until actual equals wanted. How the inbox is watched is the site's, where it is
    not given."""
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(woken.set)

    stopping = asyncio.Event()

    def end() -> None:
        stopping.set()
        woken.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    if hosted is None:
        engine = await asyncio.to_thread(Engine, root, data, wake)
    else:
        taken = await _take_over(root, data, wake, hosted, stopping)
        if taken is None:
            return 0
        engine = taken
    gc.collect()
    gc.freeze()  # what was read at the start stays: no walk through it again and again
    site = engine.sources.site.watch
    watch = FolderWatch(mode or site.mode, poll_seconds or site.seconds, _log)
    watch.set_folders({engine.paths.inbox})
    ending = asyncio.Event()
    watcher = asyncio.create_task(_watch(watch, woken, ending))
    heir = asyncio.create_task(_make_way(engine, hosted, end)) if hosted is not None else None
    exits = Exits(engine, woken)
    idle_since: float | None = None
    try:
        while not stopping.is_set():
            woken.clear()
            await asyncio.to_thread(engine.step)
            exits.update()
            if engine.idle():
                idle_since = idle_since or time.monotonic()
                if time.monotonic() - idle_since >= LINGER_SECONDS:
                    try:
                        if hosted is not None:
                            await asyncio.to_thread(withdraw_engine_job, root, data)
                        if await asyncio.to_thread(engine.finish):
                            return 0
                    except LeaseLost:
                        raise
                    except CrboostError as error:  # somebody writes a request just now, or the disk is full
                        _log(f"crboost: {error}")
                timeout = min(engine.due(), LINGER_SECONDS)
            else:
                idle_since = None
                timeout = engine.due()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), timeout)
        await asyncio.to_thread(lambda: engine.finish(anyway=True))
        return 0
    finally:
        exits.close()
        ending.set()
        for task in (watcher, heir):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        watch.close()


async def _take_over(
    root: Path, data: Path, wake: Callable[[], None], hosted: Hosted, stopping: asyncio.Event
) -> Engine | None:
    """The engine, once the one before it has ended; None where it is ended itself before that. Raises
    :class:`ConflictError` where another one lives."""
    try:
        while not stopping.is_set():
            try:
                return await asyncio.to_thread(Engine, root, data, wake)
            except ConflictError:
                lease = read_lease(ProjectPaths(root).lease)
                if lease is None or lease.epoch != hosted.after or lease.released:
                    raise
            await asyncio.to_thread(engine_job_begins, root, hosted.token)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), FREE_SECONDS)
        return None
    finally:
        await asyncio.to_thread(forget_engine_job, root, hosted.token)


async def _make_way(engine: Engine, hosted: Hosted, end: Callable[[], None]) -> None:
    """Submit the successor of an engine that is a job, before its time is over, and end when that has begun. While
    Slurm takes no more jobs, no tasks are submitted either."""
    root, data, epoch = engine.root, engine.data, engine.lease.lease.epoch
    await asyncio.sleep(hosted.seconds)
    while not engine_job_began(root):
        try:
            if not await asyncio.to_thread(engine_job_is_queued, root, data):
                _log(f"crboost: its time ends soon; {await asyncio.to_thread(submit_engine_job, root, data, epoch)}")
            engine.submitting.makes_room = False
        except CrboostError as error:
            _log(f"crboost: no successor could be submitted: {error}")
            engine.submitting.makes_room = True
        again = time.monotonic() + AGAIN_SECONDS
        while time.monotonic() < again and not engine_job_began(root):
            await asyncio.sleep(FREE_SECONDS)
    end()


def _log(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")


async def _watch(watch: FolderWatch, woken: asyncio.Event, ending: asyncio.Event) -> None:
    # Python 3.11 may lose a cancellation that comes together with a change.
    while not ending.is_set():
        if await watch.changed(60.0):
            woken.set()


class Exits:
    """Wakes the loop when a local task's process ends, where the kernel can tell."""

    def __init__(self, engine: Engine, woken: asyncio.Event) -> None:
        self.engine = engine
        self.woken = woken
        self._watched: dict[tuple[int, int], int] = {}

    def update(self) -> None:
        jobs = {(j.pid, j.pid_start): j for live in self.engine.attempts.live.values() if (j := live.job) is not None}
        loop = asyncio.get_running_loop()
        for address in [address for address in self._watched if address not in jobs]:
            descriptor = self._watched.pop(address)
            loop.remove_reader(descriptor)
            os.close(descriptor)
        for address, job in jobs.items():
            if address not in self._watched:
                found = self.engine.attempts.submitter.exit_fd(job)
                if found is not None:
                    self._watched[address] = found
                    loop.add_reader(found, self._ended, found)

    def _ended(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        self.woken.set()

    def close(self) -> None:
        for descriptor in self._watched.values():
            os.close(descriptor)


def once(root: Path, data: Path) -> int:
    """One pass: take what happened, submit what is ready, gather, and leave the rest to the next pass."""
    engine = Engine(root, data, lambda: None)
    end = time.monotonic() + 600.0
    while time.monotonic() < end:
        engine.step()
        if not engine.passing:
            break
        time.sleep(0.05)
    engine.finish(anyway=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="core.engine", description="The engine of one project.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--once", action="store_true", help="one pass, for cron")
    parser.add_argument("--in-slurm", metavar="TOKEN", help="as a job of Slurm, with a successor")
    parser.add_argument("--after", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--watch", choices=("auto", "events", "poll"))
    parser.add_argument("--poll-seconds", type=float)
    arguments = parser.parse_args()
    root, data = arguments.root.resolve(), arguments.data.resolve()
    try:
        if arguments.once:
            return once(root, data)
        token = arguments.in_slurm
        hosted = Hosted(token, arguments.after, arguments.seconds) if token else None
        return asyncio.run(serve(root, data, arguments.watch, arguments.poll_seconds, hosted))
    except CrboostError as error:
        sys.stderr.write(f"crboost: {error}\n")
        return error.exit_code
    except Exception:
        sys.stderr.write(traceback.format_exc())
        return 1


if __name__ == "__main__":
    sys.exit(main())
