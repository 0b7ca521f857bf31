"""``python -P -m core.engine ROOT --data DIR [--once]``: the engine of one project, until nothing is left to do."""

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
from pathlib import Path

from core.engine.engine import Engine
from core.engine.engine_job import engine_job_begins, submit_successor
from core.engine.lease import LeaseLost
from core.errors import ConflictError, CrboostError
from core.watch.folders import FolderWatch, Mode

LINGER_SECONDS = 1.0
FREE_SECONDS = 5.0


async def serve(
    root: Path, data: Path, mode: Mode | None, poll_seconds: float | None, *, in_slurm: bool = False
) -> int:
    """Step whenever something happens, until actual equals wanted. How the inbox is watched is the site's, where it is
    not given. ``in_slurm``: this is a job, which waits for the lease, and submits its successor on SIGUSR1."""
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
    if in_slurm:
        loop.add_signal_handler(signal.SIGUSR1, lambda: loop.run_in_executor(None, _succeed, root, data))
        engine_job_begins(root)
        engine = await _when_free(root, data, wake, stopping)
        if engine is None:
            return 0
    else:
        engine = await asyncio.to_thread(Engine, root, data, wake)
    gc.collect()
    gc.freeze()  # what was read at the start stays: no walk through it again and again
    site = engine.sources.site.watch
    watch = FolderWatch(mode or site.mode, poll_seconds or site.seconds, _log)
    watch.set_folders({engine.paths.inbox})
    ending = asyncio.Event()
    watcher = asyncio.create_task(_watch(watch, woken, ending))
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
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        watch.close()


async def _when_free(root: Path, data: Path, wake: Callable[[], None], stopping: asyncio.Event) -> Engine | None:
    """The engine, as soon as the one before has given up the lease. None where it is ended before that."""
    while not stopping.is_set():
        try:
            return await asyncio.to_thread(Engine, root, data, wake)
        except ConflictError as error:
            _log(f"crboost: {error} This one waits.")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), FREE_SECONDS)
    return None


def _succeed(root: Path, data: Path) -> None:
    try:
        _log(f"crboost: {submit_successor(root, data)}")
    except CrboostError as error:
        _log(f"crboost: no successor could be submitted: {error}")


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
    parser.add_argument("--in-slurm", action="store_true", help="as a job of Slurm, with a successor")
    parser.add_argument(
        "--watch",
        choices=("auto", "events", "poll"),
    )
    parser.add_argument("--poll-seconds", type=float)
    arguments = parser.parse_args()
    root, data = arguments.root.resolve(), arguments.data.resolve()
    try:
        if arguments.once:
            return once(root, data)
        return asyncio.run(serve(root, data, arguments.watch, arguments.poll_seconds, in_slurm=arguments.in_slurm))
    except CrboostError as error:
        sys.stderr.write(f"crboost: {error}\n")
        return error.exit_code
    except Exception:
        sys.stderr.write(traceback.format_exc())
        return 1


if __name__ == "__main__":
    sys.exit(main())
