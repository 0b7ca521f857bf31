"""The watchdog finds what blocks the loop, and nothing else."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from crboost_tui.app import CrboostApp
from tests.tui.until import until
from tests.tui.watchdog import LIMIT_MS, watching


async def step_of(do: Any) -> list[str]:
    """What is found while an app does something in its loop, after its first frame."""
    with watching() as watch:
        app = CrboostApp(None, utf8=True)
        async with app.run_test() as pilot:
            await until(pilot, lambda: app.drawn)
            done: list[bool] = []

            def doing() -> None:
                do()
                done.append(True)

            app.call_later(doing)
            await until(pilot, lambda: done)
    return [str(step) for step in watch.steps]


def spin() -> None:
    end = time.thread_time() + 0.09
    while time.thread_time() < end:
        pass


@pytest.fixture
def _watchdog() -> None:
    """Not the one of all other tests: here steps shall be found."""


async def test_work_that_blocks_the_loop_is_found_with_its_handler() -> None:
    (found,) = await step_of(spin)
    assert "CrboostApp" in found and "spin" in found


async def test_sleeping_in_the_loop_is_found() -> None:
    (found,) = await step_of(lambda: time.sleep(0.2))
    assert "test_watchdog.py" in found


async def test_short_steps_and_work_in_threads_are_not() -> None:
    def work() -> None:
        threading.Thread(target=time.sleep, args=(0.2,)).start()
        time.sleep(LIMIT_MS / 5000)

    assert await step_of(work) == []


async def test_what_a_test_itself_does_is_not() -> None:
    with watching() as watch:
        app = CrboostApp(None, utf8=True)
        async with app.run_test() as pilot:
            await until(pilot, lambda: app.drawn)
            spin()
    assert watch.steps == []
