"""The watchdog finds what blocks the loop, and nothing else."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable

import pytest

from crboost_tui.app import CrboostApp
from tests.tui.until import until
from tests.tui.watchdog import LIMIT_MS, Step, Watch, _spin, watching


async def watched(do: Callable[[], object], times: int = 1) -> Watch:
    """What is found while an app does something in its loop, after its first frame."""
    with watching() as watch:
        app = CrboostApp(None, utf8=True)
        async with app.run_test() as pilot:
            await until(pilot, lambda: app.drawn)
            for _ in range(times):
                done: list[bool] = []

                def doing(done: list[bool] = done) -> None:
                    do()
                    done.append(True)

                app.call_later(doing)
                await until(pilot, lambda done=done: done)  # type: ignore[misc]
    return watch


def computing(milliseconds: float) -> Callable[[], None]:
    """Work that takes so long on this machine when nobody shares the core."""
    rounds = round(milliseconds / 1000 / min(_spin() for _ in range(50)))

    def compute() -> None:
        for _ in range(rounds):
            _spin()

    return compute


@pytest.fixture
def _watchdog() -> None:
    """Not the one of all other tests: here steps shall be found."""


async def test_a_handler_that_computes_160_ms_is_found_with_its_place() -> None:
    found = (await watched(computing(160), times=3)).blocking
    assert found
    assert "CrboostApp" in found[0].who and "_spin" in found[0].where


async def test_a_handler_that_sleeps_120_ms_is_found() -> None:
    found = (await watched(lambda: time.sleep(0.12), times=3)).blocking
    assert found
    assert "test_watchdog.py" in found[0].where


async def test_a_handler_that_sleeps_long_is_found_the_first_time() -> None:
    (found,) = (await watched(lambda: time.sleep(0.2))).blocking
    assert "test_watchdog.py" in found.where


async def test_a_step_little_over_the_limit_is_a_note_until_it_comes_again() -> None:
    watch = Watch(50.0, steps=[Step(60.0, "a screen", ""), Step(60.0, "another screen", "")])
    assert watch.blocking == []
    watch.steps.append(Step(51.0, "a screen", ""))
    assert [step.milliseconds for step in watch.blocking] == [60.0, 51.0]
    assert Watch(50.0, steps=[Step(66.0, "a screen", "")]).blocking


async def test_a_look_for_garbage_in_the_test_process_is_not_counted() -> None:
    kept = [[number] for number in range(1_000_000)]
    assert (await watched(gc.collect)).blocking == []
    assert len(kept) == 1_000_000


async def test_short_steps_and_work_in_threads_are_not() -> None:
    def work() -> None:
        threading.Thread(target=time.sleep, args=(0.2,)).start()
        time.sleep(LIMIT_MS / 5000)

    assert (await watched(work)).blocking == []


async def test_what_a_test_itself_does_is_not() -> None:
    with watching() as watch:
        app = CrboostApp(None, utf8=True)
        async with app.run_test() as pilot:
            await until(pilot, lambda: app.drawn)
            computing(90)()
    assert watch.steps == []
