"""Pictures of the screens, and what their keys do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Log

from core.engine import requests
from core.engine.events import EventLog
from core.errors import InputError
from core.project.layout import ProjectPaths
from crboost_tui.app import CrboostApp
from crboost_tui.recent import recent_projects, remember
from crboost_tui.screens.ask import AskScreen
from crboost_tui.screens.monitor import MonitorScreen
from crboost_tui.screens.projects import ProjectsScreen
from crboost_tui.screens.task import TaskScreen
from crboost_tui.widgets.matrix_view import MatrixView
from tests.rehearsed import rehearsal
from tests.tui import seed

SnapCompare = Callable[..., bool]
SIZES = [(80, 24), (120, 40)]


async def shown(pilot: Pilot[Any]) -> MonitorScreen:
    """Wait until the monitor has drawn its first picture."""
    screen = pilot.app.screen
    for _ in range(200):
        screen = pilot.app.screen
        if isinstance(screen, MonitorScreen) and screen.picture is not None:
            await pilot.pause()
            return screen
        await asyncio.sleep(0.02)
    raise AssertionError("no picture came")


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Wait for something that a thread brings."""
    for _ in range(250):
        await pilot.pause()
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come")


def pressing(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def before(pilot: Pilot[Any]) -> None:
        await shown(pilot)
        for key in keys:
            await pilot.press(key)
        await pilot.pause(0.3)

    return before


@pytest.mark.parametrize("size", SIZES)
def test_monitor_in_the_middle_of_a_run(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=size, run_before=pressing("f"))


@pytest.mark.parametrize("size", SIZES)
def test_what_needs_you_is_the_brightest(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = seed.write(tmp_path / "p", seed.waiting_for_you(40))
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=size, run_before=pressing("f", "f", "end"))


def test_monitor_when_all_is_done(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.finished())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(120, 40), run_before=pressing())


def test_monitor_without_utf8(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    assert snap_compare(CrboostApp(root, utf8=False), terminal_size=(80, 24), run_before=pressing())


def test_monitor_on_a_light_ground(snap_compare: SnapCompare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUAL_THEME", "crboost-light")
    root = seed.write(tmp_path / "p", seed.status())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(120, 40), run_before=pressing("down"))


@pytest.mark.parametrize("size", SIZES)
def test_help(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=size, run_before=pressing("question_mark"))


def test_stopping_says_what_it_costs(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(80, 24), run_before=pressing("s"))


@pytest.mark.parametrize("size", SIZES)
def test_list_of_projects(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    for name, found in (("a", seed.status()), ("b", seed.waiting_for_you(30)), ("c", seed.finished())):
        found.name, found.updated = f"project_{name}", 0.0
        seed.write(tmp_path / name, found)
        remember(tmp_path / name)

    async def before(pilot: Pilot[Any]) -> None:
        await pilot.pause(0.5)

    app = CrboostApp(None, utf8=True)
    assert snap_compare(app, terminal_size=size, run_before=before)


async def test_a_red_cell_is_one_key_from_its_log(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    seed.write_log(root, "External/job004", "Position_3", "Patch 3 of 16\nError: no .aln\n")
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("f", "l")
        await until(pilot, lambda: isinstance(pilot.app.screen, TaskScreen))
        screen = pilot.app.screen
        assert isinstance(screen, TaskScreen)
        assert (screen.job, screen.key) == ("aligntiltsWarp", "Position_3")
        await until(pilot, lambda: "Error: no .aln" in screen.query_one(Log).lines)
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(pilot.app.screen, MonitorScreen)


def lines(pilot: Pilot[Any]) -> list[str]:
    return [line for log in pilot.app.screen.query(Log) for line in log.lines if line]


async def test_a_log_is_followed_as_it_grows(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    log = seed.write_log(root, "External/job004", "Position_3", "one\n")
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("f", "l")
        await until(pilot, lambda: "one" in lines(pilot))
        with open(log, "a", encoding="utf-8") as stream:
            stream.write("two\n")
        await until(pilot, lambda: lines(pilot) == ["one", "two"])


async def test_events_fill_the_matrix_live(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(120, 40)) as pilot:
        screen = await shown(pilot)
        log = EventLog(ProjectPaths(root).events, 3)
        log.add(seed.NOW, "task", job="tsReconstruct", key="Position_1", state="+")
        log.flush()
        await until(pilot, lambda: screen.picture is not None and screen.picture.rows[0].cells[-1] == "+")
        assert screen.picture is not None
        assert screen.picture.events[-1].sentence == "Position_1  tsReconstruct done"


async def test_retry_asks_the_engine_for_this_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(requests, "retry", lambda root, data, **choice: asked.append(choice))
    monkeypatch.setattr("core.engine.start.ensure_engine", lambda root, data: "engine started")
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("r")
        await pilot.press("f", "r")
        await until(pilot, lambda: bool(asked))
        assert asked == [{"series": ["Position_3"]}]


async def test_stop_is_only_done_after_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(requests, "ask", lambda root, kind, **choice: asked.append(kind))
    monkeypatch.setattr("core.engine.start.ensure_engine", lambda root, data: "engine started")
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("s", "enter")
        await pilot.pause(0.1)
        assert asked == []
        await pilot.press("s")
        await pilot.pause()
        assert isinstance(pilot.app.screen, AskScreen)
        await pilot.press("y")
        await until(pilot, lambda: asked == ["stop"])


async def test_a_refusal_is_told_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("The pipeline cannot run yet.")

    told: list[tuple[str, bool]] = []
    monkeypatch.setattr(requests, "run", refuse)
    monkeypatch.setattr(CrboostApp, "tell", lambda self, sentence, wrong=False: told.append((sentence, wrong)))
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("R")
        await until(pilot, lambda: bool(told))
        assert told == [("The pipeline cannot run yet.", True)]


async def test_a_damaged_status_is_said_and_the_app_goes_on(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    good = ProjectPaths(root).status.read_text(encoding="utf-8")
    ProjectPaths(root).status.write_text("{", encoding="utf-8")
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.5)
        screen = pilot.app.screen
        assert isinstance(screen, MonitorScreen)
        assert screen.picture is None
        ProjectPaths(root).status.write_text(good, encoding="utf-8")
        await shown(pilot)


async def test_the_cursor_stays_on_its_series_and_inside(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status(40))
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        matrix = screen.query_one(MatrixView)
        await pilot.press("end", "right", "right")
        assert (matrix.row, matrix.column) == (40, 2)
        assert matrix.row - matrix.scroll_offset.y < matrix.size.height
        await pilot.press("home", "up", "left", "left", "left")
        assert (matrix.row, matrix.column) == (0, 0)
        await pilot.press("pagedown")
        assert matrix.row > 5


async def _over_a_project_that_never_ran(root: Path) -> None:
    app = CrboostApp(root, utf8=True)
    async with app.run_test() as pilot:
        screen = await shown(pilot)
        for key in ("down", "right", "enter", "l", "f", "down", "s"):
            await pilot.press(key)
        await pilot.pause(0.2)
        assert screen.picture is not None
        assert [row.name for row in screen.picture.rows] == ["Position_1", "Position_2"]


def test_a_project_that_never_ran_shows_its_series(tmp_path: Path) -> None:
    asyncio.run(_over_a_project_that_never_ran(rehearsal(tmp_path, series=2, tilts=3)))


async def _to_the_projects_and_back(root: Path) -> None:
    app = CrboostApp(root, utf8=True)
    async with app.run_test() as pilot:
        await shown(pilot)
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.screen, ProjectsScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen))


def test_escape_leads_back_from_the_projects(tmp_path: Path) -> None:
    asyncio.run(_to_the_projects_and_back(seed.write(tmp_path / "p", seed.status())))


def test_opened_projects_are_remembered_newest_first(tmp_path: Path) -> None:
    for name in ("a", "b"):
        seed.write(tmp_path / name, seed.finished())
        remember(tmp_path / name)
    remember(tmp_path / "a")
    assert [path.name for path in recent_projects()] == ["a", "b"]
