"""Twice the series take at most 2.9 times as long: nothing looks at every series for every series."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.dataset.scan import inspect
from core.engine.plan import make_plan
from tests.synthetic import DATA, make_project, write_session

MOST = 2.9


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """What the rest of the suite left in memory must not be looked through here."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def best_ratio(small: Callable[[], object], large: Callable[[], object]) -> float:
    """Processor time of ``large`` over that of ``small``, each the best of three runs in turn."""
    taken: dict[Callable[[], object], list[float]] = {small: [], large: []}
    for _ in range(3):
        for work, seconds in taken.items():
            begun = time.process_time()
            work()
            seconds.append(time.process_time() - begun)
    return min(taken[large]) / min(taken[small])


def test_plan_scales_with_the_series(tmp_path: Path) -> None:
    small, large = make_project(tmp_path / "small", 250), make_project(tmp_path / "large", 500)
    assert best_ratio(lambda: make_plan(small, DATA), lambda: make_plan(large, DATA)) <= MOST


def test_inspect_scales_with_the_series(tmp_path: Path) -> None:
    for name, series in (("small", 60), ("large", 120)):
        write_session(tmp_path / name, series, 41)

    def look(name: str) -> object:
        return inspect([f"{tmp_path / name}/frames/*.mrc"], [f"{tmp_path / name}/mdocs/*.mdoc"])

    assert best_ratio(lambda: look("small"), lambda: look("large")) <= MOST
