"""Since you left: what is told when a project is opened again."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot

from core.engine.events import EventLog
from core.engine.ledger import Ledger
from core.engine.states import TaskState
from core.engine.status import Need
from core.project.layout import ProjectPaths
from crboost_tui import since as data
from crboost_tui.app import CrboostApp
from crboost_tui.screens import since as screens
from crboost_tui.screens.monitor import MonitorScreen
from crboost_tui.screens.since import SinceScreen
from crboost_tui.since import Failures, Since, clock, mark_seen, read_seen, since
from crboost_tui.state import state_folder
from tests.tui import seed
from tests.tui.until import text_of, until

SnapCompare = Callable[..., bool]
AWAY = 14 * 3600.0


def left(root: Path) -> Ledger:
    """The user looks, and leaves; gives what the engine goes on with, fourteen hours before now."""
    mark_seen(root)
    seen = data.read_seen(root)
    assert seen is not None
    file = next((state_folder() / "seen").iterdir())
    file.write_text(file.read_text().replace(str(seen.at), str(seen.at - AWAY)))
    return Ledger(ProjectPaths(root))


def night(ledger: Ledger) -> None:
    """Seven tasks end well, one series is finished by that, and three fail for two reasons."""
    for job, key in (
        ("tsReconstruct", "Position_1"), ("tsReconstruct", "Position_2"), ("tsAutolevel", "Position_4"),
        ("aligntiltsWarp", "Position_5"), ("tsImport", "Position_6"), ("fsMotionAndCtf", "Position_7"),
        ("tsAutolevel", "Position_5"),
    ):  # fmt: skip
        ledger.set_task(job, key, TaskState.RUNNING)
        ledger.set_task(job, key, TaskState.DONE, ended=time.time())
    for key, cause in (("Position_8", "out of memory"), ("Position_9", "out of memory"), ("Position_6", "no .aln")):
        ledger.set_task("fsMotionAndCtf", key, TaskState.FAILED, cause=cause, ended=time.time())
    ledger.set_needs([Need("decision", "handedness", "The handedness is unclear: set decisions.handedness.")])
    ledger.set_engine(state="ended")
    ledger.save(force=True)


def project(folder: Path) -> Path:
    root = seed.write(folder / "p", seed.status())
    ledger = Ledger(ProjectPaths(root))
    ledger.save(force=True)
    return root


def test_a_first_visit_and_a_quiet_night_say_nothing(tmp_path: Path) -> None:
    root = project(tmp_path)
    assert since(root) is None
    ledger = left(root)
    assert since(root) is None
    ledger.set_task("tsReconstruct", "Position_1", TaskState.RUNNING, progress=0.9)
    ledger.save(force=True)
    assert since(root) is None


def test_the_night_is_told_with_its_causes_the_most_frequent_first(tmp_path: Path) -> None:
    root = project(tmp_path)
    night(left(root))
    found = since(root)
    assert found is not None
    assert (found.done, found.finished, found.ready, found.series) == (7, 2, 2, 9)
    assert found.failures == (
        Failures("motion", "out of memory", ("Position_8", "Position_9")),
        Failures("motion", "no .aln", ("Position_6",)),
    )
    assert found.needs == ("The handedness is unclear: set decisions.handedness.",)
    assert found.ended.startswith("the engine ended at ")
    assert found.now == "needs you"
    assert abs(time.time() - found.since - AWAY) < 60


def test_what_was_looked_at_is_not_told_again(tmp_path: Path) -> None:
    root = project(tmp_path)
    night(left(root))
    mark_seen(root)
    assert since(root) is None
    left(root)
    assert since(root) is None


def test_who_was_away_for_a_minute_knows_it(tmp_path: Path) -> None:
    root = project(tmp_path)
    ledger = left(root)
    mark_seen(root)
    night(ledger)
    assert since(root) is None


@pytest.mark.parametrize("how", ["rotated", "large"])
def test_without_the_events_the_status_tells_the_same(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path)
    night(left(root))
    with_events = since(root)
    events = ProjectPaths(root).events
    if how == "large":
        monkeypatch.setattr(data, "EVENTS_BYTES", 10)
    else:
        last = data._last_event(ProjectPaths(root))
        assert last is not None
        for path in events.iterdir():
            path.unlink()
        (events / f"{last.number:012d}.jsonl").write_text(last.line() + "\n")
    found = since(root)
    assert with_events is not None and found is not None
    assert (found.done, found.finished, found.failures) == (
        with_events.done, with_events.finished, with_events.failures
    )  # fmt: skip
    assert found.ended.startswith("the engine ended at ")


def test_an_engine_that_died_is_told_although_it_said_nothing(tmp_path: Path) -> None:
    root = project(tmp_path)
    left(root)
    assert since(root) is None
    lease = ProjectPaths(root).lease
    lease.write_text(lease.read_text().replace("login2", socket.gethostname()))
    found = since(root)
    assert found is not None and found.ended.startswith("the engine died after ")


def test_a_damaged_note_or_a_state_folder_that_cannot_be_written_is_a_first_visit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path)
    left(root)
    next((state_folder() / "seen").iterdir()).write_text("{")
    assert read_seen(root) is None and since(root) is None
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setattr(data, "state_folder", lambda: blocked)
    mark_seen(root)
    assert read_seen(root) is None


def test_times_are_said_as_people_say_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "time", frozen())
    assert clock(seed.NOW - 3600) == "13:02"
    assert clock(seed.NOW - 19.5 * 3600) == "Sunday 18:32"
    assert clock(seed.NOW - 20 * 86400) == "3 November"


async def test_it_is_said_once_when_a_project_is_opened_and_f_leads_to_what_failed(tmp_path: Path) -> None:
    root = project(tmp_path)
    night(left(root))
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.screen, SinceScreen))
        assert any("tasks done" in line for line in text_of(pilot.app))
        await pilot.press("f")
        await until(pilot, lambda: isinstance(pilot.app.screen, MonitorScreen))
        screen = pilot.app.screen
        assert isinstance(screen, MonitorScreen)
        await until(pilot, lambda: screen.matrix.selected is not None)
        assert screen.matrix.selected is not None and screen.matrix.selected.trouble
        assert screen.matrix.selected.cells[screen.matrix.column] == "x"
        await until(pilot, lambda: (data.read_seen(root) or SimpleNamespace(event=0)).event > 20)
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        await until(pilot, lambda: getattr(pilot.app.screen, "picture", None) is not None)
        await until(pilot, lambda: not any(worker.group == "open" for worker in pilot.app.workers))
        await pilot.pause(0.3)
        assert isinstance(pilot.app.screen, MonitorScreen)


async def test_leaving_notes_what_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(tmp_path)
    async with CrboostApp(root, utf8=True).run_test() as pilot:
        await until(pilot, lambda: read_seen(root) is not None)
        log = EventLog(ProjectPaths(root).events, 3)
        log.add(time.time(), "task", job="tsReconstruct", key="Position_1", state="+")
        log.flush()
        await pilot.press("P")
        await until(pilot, lambda: (read_seen(root) or SimpleNamespace(event=0)).event == 4)


@pytest.mark.parametrize("size", [(80, 24), (120, 34), (200, 60)])
def test_picture(
    snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=telling(tmp_path, monkeypatch))


def test_picture_without_utf8(snap_compare: SnapCompare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = CrboostApp(None, utf8=False)
    assert snap_compare(app, terminal_size=(80, 24), run_before=telling(tmp_path, monkeypatch))


def test_picture_in_a_very_small_terminal(
    snap_compare: SnapCompare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = CrboostApp(None, utf8=True)
    assert snap_compare(app, terminal_size=(40, 12), run_before=telling(tmp_path, monkeypatch))


def telling(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The monitor with a told night over it, at a time that stands still."""
    root = seed.write(folder / "p", seed.status())
    for module in (data, screens):
        monkeypatch.setattr(module, "time", frozen())
    found = Since(
        seed.NOW - AWAY - 5.4 * 3600, "ribosome_2026_11", False, 212, 31, 31, 48,
        (
            Failures("align", "AreTomo2 ended with code 1, no .aln written", ("Position_3", "Position_17")),
            Failures("ctf", "out of memory", ("Position_9",)),
        ),
        ("The handedness is unclear (correlation 0.03): set decisions.handedness.",),
        "the engine ended at 03:12", "needs you",
    )  # fmt: skip

    async def before(pilot: Pilot[Any]) -> None:
        await pilot.pause()
        app = pilot.app
        assert isinstance(app, CrboostApp)
        app.show_monitor(root)
        await until(pilot, lambda: getattr(app.screen, "picture", None) is not None)
        app.push_screen(SinceScreen(found))
        await pilot.pause(0.1)

    return before


def frozen() -> Any:
    real = {name: getattr(time, name) for name in ("localtime", "strftime", "monotonic", "sleep")}
    return SimpleNamespace(time=lambda: seed.NOW, **real)
