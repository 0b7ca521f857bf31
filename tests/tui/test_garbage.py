"""Python's looks for garbage: in portions, and all at once only while nobody is at the keyboard."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from crboost_tui import garbage
from crboost_tui.app import CrboostApp
from tests.tui.until import until


class _Ring:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def _as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("_as_before")
def test_no_look_goes_through_all_objects_while_a_person_works() -> None:
    garbage.begin()
    kept = [[number] for number in range(1_000_000)]
    before = gc.get_stats()[2]["collections"]
    kept += [[number] for number in range(1_000_000)]
    assert gc.isenabled() and gc.get_stats()[2]["collections"] == before


@pytest.mark.usefixtures("_as_before")
def test_old_garbage_goes_once_in_each_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr("crboost_tui.garbage.time.monotonic", lambda: clock)
    keeping = garbage.Housekeeping()
    garbage.begin()
    ring = _Ring()
    gc.collect()
    gone = weakref.ref(ring)
    del ring
    keeping.pressed()
    clock += garbage.REST_SECONDS - 1
    assert not keeping.look() and gone() is not None
    clock += 1
    assert keeping.look() and gone() is None
    clock += 100
    assert not keeping.look()
    keeping.pressed()
    clock += 100
    assert keeping.look()


async def test_a_key_begins_the_pause_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    app = CrboostApp(None, utf8=True)
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.drawn)
        pressed: list[bool] = []
        monkeypatch.setattr(app._housekeeping, "pressed", lambda: pressed.append(True))
        await pilot.press("down")
        assert pressed
