"""The monitor: pictures of it, and what its keys do."""

from __future__ import annotations

import asyncio
import contextvars
import random
import shutil
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual import _compositor
from textual.geometry import Size
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widgets import Input

from core.engine import requests
from core.engine.events import Event, EventLog
from core.engine.reading import StatusFollower
from core.engine.status import Need, Status, load_snapshot
from core.errors import InputError
from core.project.access import Access
from core.project.layout import ProjectPaths
from core.project.wanted import add_request
from crboost_tui import following, snapshot, sparing
from crboost_tui.app import CrboostApp
from crboost_tui.following import Follower
from crboost_tui.matrix import doing
from crboost_tui.picture import Drawer, Picture, Told, draw, newest, tell
from crboost_tui.screens import monitor
from crboost_tui.screens.ask import AskScreen
from crboost_tui.screens.monitor import MonitorScreen
from crboost_tui.screens.projects import ProjectsScreen
from crboost_tui.screens.results import ResultsScreen
from crboost_tui.screens.task import TaskScreen
from crboost_tui.shown import Choice, rows_shown
from crboost_tui.widgets.matrix_view import MatrixView
from crboost_tui.widgets.spans import cells_of, changed_spans, strip_of
from tests.rehearsed import rehearsal
from tests.tui import seed
from tests.tui.until import text_of, told, until

SnapCompare = Callable[..., bool]
Before = Callable[[Pilot[Any]], Awaitable[None]]
SIZES = [(80, 24), (120, 34), (200, 60)]


async def shown(pilot: Pilot[Any]) -> MonitorScreen:
    """Wait until the monitor has drawn its first picture."""
    await until(pilot, lambda: getattr(pilot.app.screen, "picture", None) is not None)
    screen = pilot.app.screen
    assert isinstance(screen, MonitorScreen)
    return screen


def pressing(*keys: str) -> Before:
    async def before(pilot: Pilot[Any]) -> None:
        await shown(pilot)
        for key in keys:
            await pilot.press(key)
        await pilot.pause(0.1)

    return before


def names(screen: MonitorScreen) -> list[str]:
    return [row.name for row in screen.matrix.shown_rows]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Requests as they come, without an engine."""
    found: list[tuple[Any, ...]] = []
    monkeypatch.setattr(requests, "retry", lambda root, data, **choice: found.append(("retry", choice)))
    monkeypatch.setattr(requests, "run", lambda root, data, **choice: found.append(("run", choice)))
    monkeypatch.setattr(requests, "ask", lambda root, kind, **choice: found.append((kind, choice)))
    monkeypatch.setattr("core.engine.start.ensure_engine", lambda root, data: "engine started")
    monkeypatch.setattr("core.engine.start.stop_now", lambda root, data: "done; no engine was running")
    return found


# Pictures


@pytest.mark.parametrize("size", SIZES)
def test_in_the_middle_of_a_run(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = seed.write(tmp_path / "p", seed.status(30))
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=size, run_before=pressing("f"))


@pytest.mark.parametrize("size", SIZES)
def test_what_needs_you_is_the_brightest(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = seed.write(tmp_path / "p", needing())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=size, run_before=pressing("f"))


def test_needs_before_anybody_goes_to_them(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", needing())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(80, 24), run_before=pressing("down"))


@pytest.mark.parametrize("size", SIZES)
def test_when_all_is_done(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = seed.write(tmp_path / "p", seed.finished())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=size, run_before=pressing())


@pytest.mark.parametrize("size", SIZES)
def test_before_anything_ran(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = seed.write(tmp_path / "p", never_ran())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=size, run_before=pressing())


def test_without_any_series(snap_compare: SnapCompare, tmp_path: Path) -> None:
    status = never_ran()
    status.series, status.names = [], []
    root = seed.write(tmp_path / "p", status)
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(80, 24), run_before=pressing())


@pytest.mark.parametrize("size", SIZES)
def test_while_it_is_read(
    snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Follower, "run", lambda self: None)
    root = seed.write(tmp_path / "ribosome_2026_11", seed.status())

    async def before(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, MonitorScreen))

    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_a_damaged_status(
    snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = seed.write(tmp_path / "ribosome_2026_11", seed.status())
    ProjectPaths(root).status.write_text("{", encoding="utf-8")
    monkeypatch.setattr(Follower, "_sentence", lambda self, error: str(error).replace(str(tmp_path), "/data"))
    before = complaining()
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=size, run_before=before)


def test_a_project_that_is_gone(snap_compare: SnapCompare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    sentence = Follower._sentence
    monkeypatch.setattr(
        Follower, "_sentence", lambda self, error: sentence(self, error).replace(str(tmp_path), "/data")
    )

    async def before(pilot: Pilot[Any]) -> None:
        await shown(pilot)
        shutil.rmtree(root)
        await complaining()(pilot)

    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(120, 34), run_before=before)


@pytest.mark.parametrize("size", [(80, 24), (120, 34)])
def test_only_what_failed(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = seed.write(tmp_path / "p", troubled())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=size, run_before=pressing("F"))


@pytest.mark.parametrize("size", [(80, 24), (120, 34)])
def test_marked_series(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = seed.write(tmp_path / "p", troubled())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=size, run_before=pressing("space", "space", "down"))


def test_ordered_by_a_number(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", troubled())
    before = pressing("o", "o", "o", "o", "o")
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(120, 34), run_before=before)


def test_finding(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", troubled())
    before = pressing("slash", *"ctf", "greater_than_sign", *"7")
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(80, 24), run_before=before)


def test_nothing_found(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", troubled())
    assert snap_compare(
        CrboostApp(root, utf8=True), terminal_size=(80, 24), run_before=pressing("slash", *"xyz", "enter")
    )


def test_numbers_at_80_columns(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(80, 24), run_before=pressing("number_sign"))


def test_a_colleagues_project(snap_compare: SnapCompare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "access_to", lambda root: Access("anna", writable=False))
    root = seed.write(tmp_path / "p", seed.status())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(120, 34), run_before=pressing("h"))


def test_an_engine_that_died(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    kill_engine(root)
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(80, 24), run_before=pressing())


def test_without_utf8(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status(30))
    assert snap_compare(CrboostApp(root, utf8=False), terminal_size=(80, 24), run_before=pressing("f"))


def test_in_a_very_small_terminal(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(40, 12), run_before=pressing("f"))


def test_on_a_light_ground(snap_compare: SnapCompare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUAL_THEME", "crboost-light")
    root = seed.write(tmp_path / "p", seed.status(30))
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(120, 34), run_before=pressing("down"))


@pytest.mark.parametrize("keys", ["s", "x"])
def test_what_asks_states_its_impact(snap_compare: SnapCompare, tmp_path: Path, keys: str) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=(80, 24), run_before=pressing(keys))


# What is shown


async def test_events_fill_the_matrix_live(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        log = EventLog(ProjectPaths(root).events, 3)
        log.add(seed.NOW, "task", job="tsReconstruct", key="Position_1", state="+")
        log.flush()
        await until(pilot, lambda: screen.matrix.shown_rows[0].cells[-1] == "+")
        await until(pilot, lambda: any("Position_1  tsReconstruct done" in line for line in text_of(pilot.app)))
        assert any("✓ 29" in line for line in text_of(pilot.app)[:1])


def test_a_picture_drawn_in_steps_is_the_one_that_is_drawn_at_once(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status(20))
    live, drawer, dice = StatusFollower(root), Drawer(), random.Random(3)
    log = EventLog(ProjectPaths(root).events, 3)
    drawer.draw(live.status)
    for _ in range(60):
        for _ in range(dice.randrange(1, 5)):
            job = dice.choice(live.status.jobs)
            key = dice.choice(live.status.keys(job))
            state = dice.choice("+>qx.")
            match dice.randrange(6):
                case 0:
                    log.add(seed.NOW, "gathered", job=job.id, numbers={key: {"defocus_um": dice.random()}})
                case 1:
                    row = {"job": job.id, "phase": "pending", "words": f"reason {dice.random()}", "tasks": 1}
                    log.add(seed.NOW, "queue", rows=[{**row, "reason": "", "partition": "", "start": 0.0}])
                case 2:
                    log.add(seed.NOW, "job", job=job.id, folder=f"External/job{dice.randrange(9)}/")
                case 3:
                    log.add(seed.NOW, "task", job=job.id, key=key, state=">", progress=dice.random())
                case _:
                    log.add(seed.NOW, "task", job=job.id, key=key, state=state, cause="it went wrong")
        log.flush()
        drawer.note(live.status, live.update())
        drawer.draw(live.status, whole=False)
        assert drawer.draw(live.status) == draw(live.status)


def test_a_state_is_drawn_at_once_and_progress_when_it_is_time(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    live, drawer = StatusFollower(root), Drawer()
    log = EventLog(ProjectPaths(root).events, 3)
    before = drawer.draw(live.status)
    assert drawer.due == float("inf")
    log.add(seed.NOW, "task", job="tsReconstruct", key="Position_1", state=">", progress=0.7)
    log.flush()
    drawer.note(live.status, live.update())
    assert time.monotonic() < drawer.due < time.monotonic() + 5
    assert drawer.draw(live.status, whole=False) is before
    log.add(seed.NOW, "task", job="tsCtf", key="Position_4", state=">")
    log.flush()
    drawer.note(live.status, live.update())
    assert drawer.due == 0.0
    after = drawer.draw(live.status, whole=False)
    assert after.rows[3].cells[5] == ">" and after.rows[0].progress[6] == "62%"
    assert drawer.draw(live.status).rows[0].progress[6] == "70%"


async def test_the_foot_does_not_say_running_while_all_wait_in_vain(tmp_path: Path) -> None:
    status = seed.status()
    for job in status.jobs:
        job.states = ["q" if state == ">" else state for state in job.states]
        job.progress.clear()
    words = "waiting: its account may not use partition gpu"
    row = {"job": "fsMotionAndCtf", "phase": "pending", "reason": "x", "partition": "gpu", "tasks": 3, "words": words}
    status.queue.rows = [{**row, "start": 0.0}]
    assert doing(status).startswith("all tasks wait in the queue: ")
    status.needs = [Need("waits", "fsMotionAndCtf", "3 tasks wait in vain.", ["resources.account"])]
    root = seed.write(tmp_path / "p", status)
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        await shown(pilot)
        foot = text_of(pilot.app)[-2]
        assert "all tasks wait in vain: " in foot and "account may not use partition gpu" in foot
        assert "running" not in foot


async def test_a_need_leads_to_its_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, str]] = []
    monkeypatch.setattr(CrboostApp, "show_workspace", lambda self, root, job="", field="": opened.append((job, field)))
    root = seed.write(tmp_path / "p", needing())
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        await pilot.press("f", "enter", "f", "enter")
        assert opened == [("", "decisions.handedness"), ("tsCtf", "tsCtf.resources.partition")]
        await pilot.press("f", "enter")
        assert any("A marks all" in sentence for sentence in told(pilot.app))
        await pilot.press("f")
        assert screen.need is None and screen.matrix.selected is not None
        assert screen.matrix.selected.name == "Position_3"
        await pilot.press("w")
        assert opened[-1] == ("", "")


async def test_f_goes_round_the_failed_and_comes_back_to_the_needs(tmp_path: Path) -> None:
    status = troubled()
    status.needs = [Need("space", "", "The disk is full.", [])]
    root = seed.write(tmp_path / "p", status)
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        at = []
        for _ in range(5):
            await pilot.press("f")
            at.append("need" if screen.need is not None else screen.matrix.shown_rows[screen.matrix.row].name)
        assert at == ["need", "Position_3", "Position_8", "need", "Position_3"]


async def test_nothing_failed_is_said(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.finished())
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        for key in ("f", "F", "r", "C", "s"):
            await pilot.press(key)
        said = told(pilot.app)
        assert said[:2] == ["Nothing failed.", "Nothing failed."]
        assert said[2] == "Nothing of Position_1 failed, was stopped or is stale."
        assert said[3:] == [
            "Nothing of this job failed, was stopped or is stale.", "Nothing runs or waits in the queue."
        ]  # fmt: skip


async def test_rows_are_found_by_name_and_number_as_one_types(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", troubled())
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        await pilot.press("slash", *"tion_1")
        assert names(screen) == ["Position_1", "Position_10", "Position_11", "Position_12"]
        await pilot.press("space", *"motion", "greater_than_sign", *"0.295")
        assert names(screen) == ["Position_12"]
        await pilot.press("enter", "down")
        assert screen.matrix.has_focus and names(screen) == ["Position_12"]
        await until(pilot, lambda: any(line.startswith(" Position_12  Import movies") for line in text_of(pilot.app)))
        assert "/tion_1 motion>0.295" in text_of(pilot.app)[0]
        await pilot.press("escape")
        assert len(names(screen)) == 13 and "motion>" not in text_of(pilot.app)[0]
        await pilot.press("slash", "3", "escape")
        assert len(names(screen)) == 13 and screen.matrix.has_focus
        assert not screen.query_one(Input).parent.display  # type: ignore[union-attr]


def test_a_comparison_is_with_the_number_that_is_shown() -> None:
    picture = draw(troubled())
    find: Callable[[str], list[str]] = lambda text: [  # noqa: E731
        picture.rows[index].name for index in rows_shown(picture, Choice(find=text))
    ]
    assert find("ctf>=11.8") == ["Position_3"]
    assert find("used<40") == ["Position_6"]  # of those whose alignment says how many are used
    assert find("axis<-0.05 used<=39") == ["Position_6"] or find("axis<-0.05")
    assert "Position_1" in find("ctf>")  # not typed to its end
    assert find("nosuch>3") == []


async def test_the_worst_come_first_and_the_cursor_stays_on_its_series(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", troubled())
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        await pilot.press("down")
        orders = []
        for _ in range(9):
            await pilot.press("o")
            assert screen.matrix.selected is not None and screen.matrix.selected.name == "Position_2"
            orders.append((screen.matrix.choice.order, names(screen)[0]))
        assert orders[:5] == [
            ("name", "Position_1"), ("state", "Position_3"), ("used", "Position_6"), ("motion", "Position_3"),
            ("ctf", "Position_3"),
        ]  # fmt: skip
        assert orders[-1] == ("", "Position_1")
        assert names(screen)[-1] == "axis batch1"
        await pilot.press("o", "o", "o", "o")
        assert "by motion, worst first" in text_of(pilot.app)[0]
        await pilot.press("escape")
        assert screen.matrix.choice == Choice()


async def test_only_failed_follows_what_becomes_of_them(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", troubled())
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        await pilot.press("F")
        assert names(screen) == ["Position_3", "Position_8"]
        log = EventLog(ProjectPaths(root).events, 3)
        log.add(seed.NOW, "task", job="aligntiltsWarp", key="Position_3", state=">")
        log.flush()
        await until(pilot, lambda: names(screen) == ["Position_8"])
        await pilot.press("F")
        assert len(names(screen)) == 13


# What is asked for


async def test_retry_is_for_the_cell_else_for_the_series_else_for_the_column(
    tmp_path: Path, asked: list[tuple[Any, ...]]
) -> None:
    root = seed.write(tmp_path / "p", troubled())
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("r")
        await pilot.press("f", "r")
        await until(pilot, lambda: len(asked) == 1)
        await pilot.press("left", "r")
        await until(pilot, lambda: len(asked) == 2)
        await pilot.press("right", "C")
        await until(pilot, lambda: len(asked) == 3)
        assert asked == [
            ("retry", {"jobs": ["aligntiltsWarp"], "series": ["Position_3"]}),
            ("retry", {"jobs": None, "series": ["Position_3"]}),
            ("retry", {"jobs": ["aligntiltsWarp"], "series": ["Position_3", "Position_8"]}),
        ]
        await until(pilot, lambda: len(told(pilot.app)) == 4)
        said = told(pilot.app)
        assert said[0] == "Nothing of Position_1 failed, was stopped or is stale."
        assert said[1] == "Position_3, Alignment: asked to run again. engine started"
        assert said[2] == "Position_3: its 1 task asked to run again. engine started"
        assert said[3] == "Alignment: 2 tasks asked to run again. engine started"


async def test_actions_are_for_all_that_are_marked(tmp_path: Path, asked: list[tuple[Any, ...]]) -> None:
    root = seed.write(tmp_path / "p", troubled())
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        await pilot.press("f", "space", "f", "space", "home", "h")
        await until(pilot, lambda: len(asked) == 1)
        await pilot.press("r")
        await until(pilot, lambda: len(asked) == 2)
        await pilot.press("H")
        await until(pilot, lambda: len(asked) == 3)
        both = ["Position_3", "Position_8"]
        assert asked == [
            ("hold", {"series": both}), ("retry", {"jobs": None, "series": both}), ("release", {"series": both})
        ]  # fmt: skip
        await pilot.press("slash", *"tion_3", "enter")
        assert "2 marked, 1 of them not shown" in text_of(pilot.app)[0]
        await pilot.press("escape")
        assert not screen.matrix.marks and screen.matrix.choice.find
        await pilot.press("escape", "A")
        assert len(screen.matrix.marks) == 12
        await pilot.press("A")
        assert not screen.matrix.marks


async def test_stop_and_exclude_are_only_done_after_yes(tmp_path: Path, asked: list[tuple[Any, ...]]) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        for key in ("s", "x"):
            await pilot.press(key, "enter")
        assert asked == []
        await pilot.press("s")
        question = pilot.app.screen
        assert isinstance(question, AskScreen) and "7 running or queued tasks end now" in question.impact
        await pilot.press("y")
        await until(pilot, lambda: asked == [("stop", {"series": None})])
        await pilot.press("space", "space", "s", "y")
        await until(pilot, lambda: asked[1:] == [("stop", {"series": ["Position_1", "Position_2"]})])
        await pilot.press("x")
        question = pilot.app.screen
        assert isinstance(question, AskScreen) and "12 finished steps stay on disk" in question.impact
        assert "1 running or queued task ends now" in question.impact
        await pilot.press("y")
        await until(pilot, lambda: asked[2:] == [("exclude", {"series": ["Position_1", "Position_2"]})])


async def test_an_excluded_series_is_taken_in_again_by_a_key(tmp_path: Path, asked: list[tuple[Any, ...]]) -> None:
    status = seed.status()
    for job in status.jobs:
        job.states[1] = "-"
    root = seed.write(tmp_path / "p", status)
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("X")
        assert told(pilot.app) == ["Position_1 is not excluded."] and asked == []
        await pilot.press("down", "X")
        await until(pilot, lambda: asked == [("include", {"series": ["Position_2"]})])
        await pilot.press("end", "x")
        assert told(pilot.app)[-1] == "Only a tilt series can be excluded."


async def test_a_refusal_is_told_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("The pipeline cannot run yet.")

    monkeypatch.setattr(requests, "run", refuse)
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("R")
        await until(pilot, lambda: told(pilot.app) == ["The pipeline cannot run yet."])


async def test_on_a_colleagues_project_nothing_is_asked_for(
    tmp_path: Path, asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "access_to", lambda root: Access("anna", writable=False))
    status = troubled()
    status.jobs[0].states[1] = "-"
    root = seed.write(tmp_path / "p", status)
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        await until(pilot, lambda: screen.access is not None)
        for key in ("r", "C", "s", "h", "H", "x", "down", "X", "R"):
            await pilot.press(key)
        assert set(told(pilot.app)) == {"This project belongs to anna, and you may not write in it: ask anna for that."}
        assert len(told(pilot.app)) == 8 and asked == []
        assert isinstance(pilot.app.screen, MonitorScreen)


async def test_a_colleagues_project_that_can_be_written_is_read_only_until_one_asks(
    tmp_path: Path, asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "access_to", lambda root: Access("anna"))
    root = seed.write(tmp_path / "p", seed.status())
    app = CrboostApp(root, utf8=True)
    async with app.run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        await until(pilot, lambda: screen.access is not None)
        await pilot.press("R")
        assert (
            told(app) == ["This project belongs to anna: it is open read-only. W works on it all the same."]
            and asked == []
        )
        await pilot.press("W")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("enter", "R")
        assert len(told(app)) == 2 and asked == []
        await pilot.press("W")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("y")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("R")
        await until(pilot, lambda: len(asked) == 1)
        await pilot.press("W")
        assert told(app)[-1] == "You work on anna's project already."


# What a run that only waits, or has nothing left, tells


def all_waiting() -> Status:
    """An engine runs, and every task waits for slots of this host."""
    status = seed.status(4)
    for job in status.jobs:
        job.states = ["o" if job is status.jobs[0] else "."] * len(job.states)
        job.causes.clear()
        job.progress.clear()
    return status


async def test_a_run_that_only_waits_can_be_stopped(tmp_path: Path, asked: list[tuple[Any, ...]]) -> None:
    root = seed.write(tmp_path / "p", all_waiting())
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        await shown(pilot)
        await pilot.press("s")
        question = pilot.app.screen
        assert isinstance(question, AskScreen) and question.question == "Stop the run?"
        assert question.impact == "Nothing runs yet; 28 tasks that wait do not start."
        await pilot.press("y")
        await until(pilot, lambda: asked == [("stop", {"series": None})])


async def test_a_wanted_run_without_an_engine_can_be_stopped(tmp_path: Path, asked: list[tuple[Any, ...]]) -> None:
    status = all_waiting()
    status.engine.state = "ended"
    root = seed.write(tmp_path / "p", status)
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        await pilot.press("s")
        assert told(pilot.app) == ["Nothing runs or waits in the queue."]
        add_request(root, "run", version=1)
        await until(pilot, lambda: screen.picture is not None and screen.picture.wanted)
        await pilot.press("s", "y")
        await until(pilot, lambda: asked == [("stop", {"series": None})])


@pytest.mark.parametrize(
    "width, keys",
    [(80, ["l log", "r retry", "w workspace", "/ find"]), (120, ["w workspace", "p plots", "/ find", "s stop"])],
)
async def test_the_footer_shows_the_ways_out(tmp_path: Path, width: int, keys: list[str]) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(width, 34)) as pilot:
        await shown(pilot)
        footer = text_of(pilot.app)[-1]
        assert [key for key in [*keys, "? help"] if key not in footer] == []


async def test_a_job_that_is_taken_out_of_the_pipeline_has_no_column(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.finished(4))
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        assert "recon" in text_of(pilot.app)[1] and "✓ 29" in text_of(pilot.app)[0]
        pipeline(root, [id for id, _, _ in seed.JOBS][:-1])
        await until(pilot, lambda: "recon" not in text_of(pilot.app)[1])
        await until(pilot, lambda: "✓ 25" in text_of(pilot.app)[0])
        pipeline(root, [id for id, _, _ in seed.JOBS])
        await until(pilot, lambda: "recon" in text_of(pilot.app)[1])
        assert screen.picture is not None and len(screen.picture.jobs) == 7


async def test_what_still_runs_of_a_removed_job_is_shown_and_goes_on_live(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    pipeline(root, ["importmovies"])
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        await until(pilot, lambda: screen.picture is not None and len(screen.picture.jobs) < 7)
        assert screen.picture is not None and screen.picture.jobs[-1].id == "tsReconstruct"
        log = EventLog(ProjectPaths(root).events, 3)
        log.add(seed.NOW, "task", job="tsReconstruct", key="Position_2", state=">")
        log.flush()
        await until(pilot, lambda: screen.matrix.shown_rows[1].cells[-1] == ">")


async def test_R_says_that_there_is_nothing_to_run(tmp_path: Path, asked: list[tuple[Any, ...]]) -> None:
    status = seed.finished(2)
    status.jobs[-1].states[0] = "x"
    status.jobs[3].causes["Position_3"] = ""  # which the seeded events speak of
    status.engine.plan_version, status.engine.request = 1, 0
    root = seed.write(tmp_path / "p", status)
    series = [SimpleNamespace(id=key) for key in status.series]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests, "run", lambda root, data: add_request(root, "run", version=1))
        patch.setattr("core.dataset.registry.load_registry", lambda path: SimpleNamespace(series=series))
        async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
            await shown(pilot)
            for times in (1, 2):
                await pilot.press("R")
                await until(pilot, lambda times=times: len(told(pilot.app)) == times)  # type: ignore[misc]
            assert set(told(pilot.app)) == {"Nothing to run: 1 task failed; r tries it again."}
            series.append(SimpleNamespace(id="Position_3"))  # that came since: there is something to run
            await pilot.press("R")
            await until(pilot, lambda: told(pilot.app)[-1] == "asked to run all. engine started")
            del series[-1]
            add_request(root, "run", version=2)  # of a pipeline that no engine has seen
            await pilot.press("R")
            await until(pilot, lambda: told(pilot.app)[2:] == ["asked to run all. engine started"] * 2)


async def test_a_held_series_is_seen(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", all_waiting())
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        await shown(pilot)
        add_request(root, "hold", version=1, series=["Position_2"])
        await until(pilot, lambda: "‖Position_2" in text_of(pilot.app)[3] and "held" in text_of(pilot.app)[3])
        assert "held" not in text_of(pilot.app)[2]
        await pilot.press("down")
        await until(pilot, lambda: any("Position_2  Import movies" in line and "held" in line
                                       for line in text_of(pilot.app)))  # fmt: skip
        add_request(root, "release", version=1, series=["Position_2"])
        await until(pilot, lambda: not any("held" in line for line in text_of(pilot.app)))


@pytest.mark.parametrize("count", [7, 9])
def test_at_120_columns_headings_are_words_and_now_is_there(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = MatrixView(lambda name: "")
    picture = draw(seed.status())
    matrix.picture = replace(picture, jobs=tuple(picture.jobs[index % 7] for index in range(count)))
    monkeypatch.setattr(MatrixView, "outer_size", Size(120, 20))
    layout = matrix._columns()
    assert (layout.cell, layout.shown) == (7, count) and layout.rest >= 18
    matrix.other_numbers, matrix._layout = True, None
    assert len(matrix._columns().numbers) >= 3


async def test_a_failure_is_seen_from_anywhere_at_120_columns(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        await shown(pilot)
        assert "align: AreTomo2" in text_of(pilot.app)[4]


def test_engines_that_start_and_end_do_not_push_failures_out() -> None:
    told = [Told("14:00", "x", "it failed"), *[Told("14:01", "", f"engine {number}", True) for number in range(5)]]
    assert [each.sentence for each in newest(told, 3)] == ["it failed", "engine 3", "engine 4"]
    assert newest(told[:2], 3) == tuple(told[:2]) and newest(told, 0) == ()
    log = [Event(1, seed.NOW, "engine", {"state": "ended"}), Event(2, seed.NOW, "engine", {"notice": "it waits"})]
    assert [each.minor for each in tell(log, seed.status())] == [True, False]


# Going elsewhere, and the hand


async def test_a_red_cell_is_one_key_from_its_task(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        for keys in (("f", "l"), ("right", "l"), ("left", "enter")):
            await pilot.press(*keys)
            screen = pilot.app.screen
            assert isinstance(screen, TaskScreen)
            assert (screen.job, screen.key) == ("aligntiltsWarp", "Position_3")
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(pilot.app.screen, MonitorScreen))
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultsScreen))


@pytest.mark.parametrize("key", ["P", "backspace", "escape"])
async def test_the_projects_are_one_key_away(tmp_path: Path, key: str) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press(key)
        await until(pilot, lambda: isinstance(pilot.app.screen, ProjectsScreen))


async def test_numbers_take_the_place_of_now_at_80_columns(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        assert "now" in text_of(pilot.app)[1] and "ctf Å" not in text_of(pilot.app)[1]
        await pilot.press("number_sign")
        assert "now" not in text_of(pilot.app)[1] and "ctf Å" in text_of(pilot.app)[1]
        await pilot.press("number_sign")
        assert "now" in text_of(pilot.app)[1]
        await pilot.resize_terminal(200, 60)
        await until(pilot, lambda: "ctf Å" in text_of(pilot.app)[1] and "now" in text_of(pilot.app)[1])
        await pilot.press("number_sign")
        assert "ctf Å" not in text_of(pilot.app)[1] and "now" in text_of(pilot.app)[1]


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_now_is_always_there_where_numbers_are_not(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = MatrixView(lambda name: "")
    matrix.picture = draw(seed.status())
    jobs = tuple(matrix.picture.jobs[index % 7] for index in range(14))
    matrix.picture = Picture(**{**{name: getattr(matrix.picture, name) for name in Picture.__slots__}, "jobs": jobs})
    monkeypatch.setattr(MatrixView, "outer_size", Size(width, 20))
    for column in range(14):
        matrix.column, matrix._layout = column, None
        layout = matrix._columns()
        assert layout.first <= column < layout.first + layout.shown
        assert layout.rest >= (18 if width > 60 else 12)
        assert matrix._states_at(layout) + layout.cell * layout.shown + layout.rest <= width - 1


async def test_the_cursor_stays_inside_and_in_sight(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status(40))
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        matrix = screen.matrix
        await pilot.press("end", "right", "right")
        assert (matrix.row, matrix.column) == (40, 2)
        assert matrix.row - matrix.top < matrix.page
        await pilot.press("home", "up", "left", "left", "left")
        assert (matrix.row, matrix.column, matrix.top) == (0, 0, 0)
        await pilot.press("pagedown")
        assert matrix.row > 5
        await pilot.resize_terminal(40, 12)
        await pilot.pause()
        assert 0 <= matrix.row - matrix.top < matrix.page
        await pilot.resize_terminal(120, 34)
        await until(pilot, lambda: any("▸ Position" in line for line in text_of(pilot.app)))


async def test_the_mouse_selects_opens_and_scrolls(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status(40))
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        line = text_of(pilot.app)[4]
        await pilot.click(MatrixView, offset=(line.index("✗"), 3))
        assert (screen.matrix.row, screen.matrix.column) == (2, 3)
        for _ in range(4):
            screen.matrix.post_message(wheel(screen.matrix))
        await until(pilot, lambda: screen.matrix.top == 12)
        assert screen.matrix.row == 12
        await pilot.click(MatrixView, offset=(30, 2), times=2)
        await until(pilot, lambda: isinstance(pilot.app.screen, TaskScreen))


# What goes wrong


async def test_a_project_that_vanishes_is_said_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await shown(pilot)
        root.rename(tmp_path / "away")
        await until(pilot, lambda: any("is not there any more: it goes on" in line for line in text_of(pilot.app)))
        assert any("Position_1" in line for line in text_of(pilot.app))
        (tmp_path / "away").rename(root)
        await until(pilot, lambda: not screen.query_one("#trouble").display)
        log = EventLog(ProjectPaths(root).events, 3)
        log.add(seed.NOW, "task", job="tsReconstruct", key="Position_1", state="+")
        log.flush()
        await until(pilot, lambda: screen.matrix.shown_rows[0].cells[-1] == "+")


async def test_a_damaged_status_is_said_and_the_app_goes_on(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    good = ProjectPaths(root).status.read_text(encoding="utf-8")
    ProjectPaths(root).status.write_text("{", encoding="utf-8")
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        await complaining()(pilot)
        assert any("cannot be read" in line for line in text_of(pilot.app)[:1])
        for key in ("down", "enter", "f", "r", "o", "F", "space", "A", "p", "C"):
            await pilot.press(key)
        ProjectPaths(root).status.write_text(good, encoding="utf-8")
        await shown(pilot)


async def test_an_engine_that_dies_is_said_and_R_starts_one(tmp_path: Path, asked: list[tuple[Any, ...]]) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        await shown(pilot)
        assert "engine login2" in text_of(pilot.app)[0]
        kill_engine(root)
        await until(pilot, lambda: "the engine died: R starts one" in text_of(pilot.app)[0])
        await pilot.press("R")
        await until(pilot, lambda: asked == [("run", {})])
        assert told(pilot.app)[-1] == "asked to run all. engine started"


def test_an_engine_elsewhere_without_a_heartbeat_gives_no_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    gone = threading.Event()
    pictures: list[Picture] = []
    follower = Follower(root, gone, pictures.append, lambda sentence: None)
    follower._step(1000.0)
    follower._step(1010.0)
    assert pictures[-1].engine == "engine login2"
    follower._step(1000.0 + 2 * following.SILENT_SECONDS)
    assert pictures[-1].engine == "the engine on login2 gives no sign of life"
    lease = ProjectPaths(root).lease
    lease.write_text(lease.read_text().replace('"beat": 1', '"beat": 2'))
    follower._step(1002.0 + 2 * following.SILENT_SECONDS)
    assert pictures[-1].engine == "engine login2"


async def test_two_apps_on_one_project_show_the_same(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    seen: dict[int, list[str]] = {}
    ready = asyncio.Barrier(2)

    async def look(number: int) -> None:
        async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
            screen = await shown(pilot)
            await ready.wait()
            if number == 0:
                log = EventLog(ProjectPaths(root).events, 3)
                log.add(seed.NOW, "task", job="tsReconstruct", key="Position_1", state="x", cause="no space")
                log.flush()
            await until(pilot, lambda: screen.matrix.shown_rows[0].cells[-1] == "x")
            await until(pilot, lambda: "✗ 2" in text_of(pilot.app)[0])
            seen[number] = text_of(pilot.app)
            await ready.wait()

    tasks = [asyncio.create_task(look(number), context=contextvars.copy_context()) for number in range(2)]
    await asyncio.gather(*tasks)
    assert seen[0] == seen[1]
    assert any("no space" in line for line in seen[0])


async def _over_a_project_that_never_ran(root: Path) -> None:
    app = CrboostApp(None, utf8=True)
    async with app.run_test() as pilot:
        await pilot.pause()
        app.show_monitor(root)
        screen = await shown(pilot)
        for key in ("down", "right", "enter", "l", "f", "r", "C", "p", "down", "s", "o", "F", "space"):
            await pilot.press(key)
            assert app.screen is screen
        assert names(screen) == ["Position_1", "Position_2"]


def test_a_project_that_never_ran_shows_its_series(tmp_path: Path) -> None:
    asyncio.run(_over_a_project_that_never_ran(rehearsal(tmp_path, series=2, tilts=3)))


# What goes over the wire


def test_only_what_differs_is_sent_of_a_line() -> None:
    red, plain = Style.parse("red"), Style()
    before = cells_of(Strip([Segment("one two three", plain)]))
    after = cells_of(Strip([Segment("one ", plain), Segment("TWO", red), Segment(" thred", plain)]))
    assert changed_spans(before, after) == [(4, 7), (12, 13)]
    assert changed_spans(before, before) == []
    assert [(segment.text, segment.style) for segment in strip_of(after)] == [
        ("one ", plain), ("TWO", red), (" thred", plain)
    ]  # fmt: skip
    wide = cells_of(Strip([Segment("日本x", plain)]))
    assert len(wide) == 5 and strip_of(wide).text == "日本x" and strip_of(wide).cell_length == 5


def test_a_partial_update_begins_where_the_change_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compositor.ChopsUpdate, "render_segments", _compositor.ChopsUpdate.render_segments)
    sparing.install()
    chops = [{0: Strip([Segment("abcdef")], 6), 6: Strip([Segment("ghij")], 4)}]
    update = _compositor.ChopsUpdate(chops, [(0, 2, 4), (0, 5, 8)], [[6, 10]])
    assert update.render_segments(Console()) == "\x1b[1;3Hcd\x1b[1;6Hf\x1b[1;7Hgh"


def test_a_large_status_is_read_in_pieces_and_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ProjectPaths(seed.write(tmp_path / "p", seed.status(40)))
    monkeypatch.setattr(snapshot, "LARGE_BYTES", 100)
    found, whole = snapshot.load_snapshot_in_pieces(paths), load_snapshot(paths)
    assert found is not None and whole is not None and asdict(found) == asdict(whole)
    assert found.jobs[1].numbers["Position_40"] == whole.jobs[1].numbers["Position_40"]
    paths.status.write_text("{" + " " * 200, encoding="utf-8")
    with pytest.raises(InputError, match="is damaged"):
        snapshot.load_snapshot_in_pieces(paths)


# Projects to look at


def troubled() -> Status:
    """Twelve series, two of which failed in the alignment."""
    status = seed.status(12)
    for place, state in ((3, "x"), (4, "b"), (5, "b"), (6, "b")):
        status.jobs[place].states[7] = state
    for place in (1, 2):
        status.jobs[place].states[7] = "+"
    status.jobs[3].causes["Position_8"] = "ended with code 137: out of memory"
    status.jobs[3].numbers["Position_6"] = {"tilts_used": 31.0, "tilt_axis_departure_deg": -0.4}
    return status


def needing() -> Status:
    """A rehearsal in which a person must decide, correct a field, and release what is held."""
    status = seed.waiting_for_you(30)
    sentence = "tsCtf: Slurm refused the job: Invalid partition name specified."
    status.needs.append(Need("refused", "tsCtf", sentence, ["resources.partition"]))
    status.needs.append(Need("held", "", "On hold: Position_9. crboost release lets them go on."))
    return status


def never_ran() -> Status:
    status = seed.status(3)
    status.jobs = []
    status.engine.state = "ended"
    return status


def pipeline(root: Path, ids: list[str]) -> None:
    """Save the project file with these jobs."""
    lines = "".join(f"- id: {id}\n  type: {id}\n" for id in ids)
    ProjectPaths(root).file.write_text(f"format: 1\nname: p\npipeline:\n{lines}", encoding="utf-8")


def kill_engine(root: Path) -> None:
    """A lease of this host whose process is gone."""
    import socket

    lease = ProjectPaths(root).lease
    lease.write_text(lease.read_text().replace("login2", socket.gethostname()), encoding="utf-8")


def complaining() -> Before:
    async def before(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, MonitorScreen))
        screen = pilot.app.screen
        assert isinstance(screen, MonitorScreen)
        await until(pilot, lambda: screen.query_one("#trouble").display)
        await pilot.pause(0.1)

    return before


def wheel(widget: MatrixView) -> Any:
    from textual import events

    return events.MouseScrollDown(widget, 5, 5, 0, 1, 0, False, False, False)
