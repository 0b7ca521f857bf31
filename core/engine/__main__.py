"""``python -P -m core.engine ROOT --data DIR [--once]``: the engine of one project, until nothing is left to do."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from core.engine.engine import Engine
from core.errors import CrboostError
from core.watch.folders import FolderWatch, Mode

LINGER_SECONDS = 1.0


async def serve(root: Path, data: Path, mode: Mode, poll_seconds: float) -> int:
    """Step whenever something happens, until actual equals wanted."""
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
    engine = await asyncio.to_thread(Engine, root, data, wake)
    watch = FolderWatch(mode, poll_seconds)
    watch.set_folders({engine.paths.inbox})
    watcher = asyncio.create_task(_watch(watch, woken))
    exits = Exits(engine, woken)
    idle_since: float | None = None
    try:
        while not stopping.is_set():
            woken.clear()
            await asyncio.to_thread(engine.step)
            exits.update()
            if engine.idle():
                idle_since = idle_since or time.monotonic()
                if time.monotonic() - idle_since >= LINGER_SECONDS and await asyncio.to_thread(engine.finish):
                    return 0
                timeout = min(engine.due(), LINGER_SECONDS)
            else:
                idle_since = None
                timeout = engine.due()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), timeout)
        await asyncio.to_thread(engine.finish)
        return 0
    finally:
        exits.close()
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        watch.close()


async def _watch(watch: FolderWatch, woken: asyncio.Event) -> None:
    while True:
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
        if not (engine.worker.busy or engine.relion.busy or engine.gathering.dirty or engine.internal_waiting):
            break
        time.sleep(0.05)
    engine.finish()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="core.engine", description="The engine of one project.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--once", action="store_true", help="one pass, for cron")
    parser.add_argument("--watch", choices=("auto", "events", "poll"), default="auto")
    parser.add_argument("--poll-seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    root, data = arguments.root.resolve(), arguments.data.resolve()
    try:
        if arguments.once:
            return once(root, data)
        return asyncio.run(serve(root, data, arguments.watch, arguments.poll_seconds))
    except CrboostError as error:
        sys.stderr.write(f"crboost: {error}\n")
        return error.exit_code
    except Exception:
        sys.stderr.write(traceback.format_exc())
        return 1


if __name__ == "__main__":
    sys.exit(main())
