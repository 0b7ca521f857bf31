"""Help and palette: everything that can be done from here, by its key or by a few letters of its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

from crboost_tui.actions import Action, bindings
from crboost_tui.app import CrboostApp
from crboost_tui.recent import remember
from crboost_tui.screens.help import HelpScreen
from crboost_tui.screens.monitor import MonitorScreen
from crboost_tui.screens.palette import Entry, PaletteLines, PaletteScreen, matching
from crboost_tui.screens.projects import ProjectsScreen
from crboost_tui.screens.workspace import WorkspaceScreen
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.matrix_view import MatrixView
from tests.tui import seed
from tests.tui.until import text_of, told, until

SnapCompare = Callable[..., bool]
SIZES = [(80, 24), (120, 34), (200, 60)]

FORM = (
    Action("edit", "enter", "edit", "change the value under the cursor"),
    Action("default", "d", "default", "back to the default"),
)
SCREEN = (
    Action("save", "ctrl+s", "save", "save what was typed"),
    Action("stop", "s", "stop", "stop all that runs (asks first)"),
    *(Action(f"tab_to({number})", str(number), f"tab {number}", f"to tab {number}", False) for number in range(1, 8)),
    Action("app.help", "question_mark", "help", "this page"),
)


class Form(Widget, can_focus=True):
    BINDINGS = bindings(FORM)
    edited = 0

    def render(self) -> str:
        return "a form"

    def action_edit(self) -> None:
        self.edited += 1


class Made(Screen[None]):
    """A screen with a form, as help and palette meet it."""

    app: CrboostApp
    ACTIONS = SCREEN
    BINDINGS = bindings(SCREEN)

    def compose(self) -> ComposeResult:
        yield Form()
        yield Keys(self.ACTIONS, utf8=self.app.utf8)

    def on_mount(self) -> None:
        self.query_one(Form).focus()

    def action_stop(self) -> None:
        self.app.tell("Nothing runs or waits in the queue.")


async def over_made(pilot: Pilot[Any], *keys: str) -> Made:
    screen = Made()
    await pilot.app.push_screen(screen)
    await pilot.pause()
    for key in keys:
        await pilot.press(key)
    await pilot.pause()
    return screen


@pytest.mark.parametrize("size", SIZES)
def test_help(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[Any]) -> None:
        await over_made(pilot, "question_mark")

    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("keys", [["s", "t", "o", "p"], ["z", "z", "z"]])
def test_help_finds_words(snap_compare: SnapCompare, keys: list[str]) -> None:
    async def before(pilot: Pilot[Any]) -> None:
        await over_made(pilot, "question_mark", "slash", *keys)

    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=(80, 24), run_before=before)


def test_help_without_utf8(snap_compare: SnapCompare) -> None:
    async def before(pilot: Pilot[Any]) -> None:
        await over_made(pilot, "question_mark", "end")

    assert snap_compare(CrboostApp(None, utf8=False), terminal_size=(80, 24), run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_palette(snap_compare: SnapCompare, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PaletteScreen, "_read_places", lambda self, root: None)

    async def before(pilot: Pilot[Any]) -> None:
        await over_made(pilot, "ctrl+p")

    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


async def test_the_keys_of_what_has_the_focus_come_first(tmp_path: Path) -> None:
    async with CrboostApp(None, utf8=True).run_test(size=(90, 40)) as pilot:
        await over_made(pilot, "question_mark")
        lines = text_of(pilot.app)
        words = ("What has the focus", "change the value", "This screen", "save what was typed", "States")
        places = [next(place for place, line in enumerate(lines) if word in line) for word in words]
        assert places == sorted(places)
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, Made)


async def test_help_scrolls_to_its_end_at_80_x_24(tmp_path: Path) -> None:
    async with CrboostApp(None, utf8=True).run_test(size=(80, 24)) as pilot:
        await over_made(pilot, "question_mark")
        assert not any("not known" in line for line in text_of(pilot.app))
        await pilot.press("end")
        await until(pilot, lambda: any("not known" in line for line in text_of(pilot.app)))


async def test_help_shows_a_persons_own_keys(_own_home: Path) -> None:
    (_own_home / "config" / "crboost").mkdir(parents=True)
    (_own_home / "config" / "crboost" / "app.yaml").write_text("keys: {stop: X}\n")
    async with CrboostApp(None, utf8=True).run_test(size=(90, 40)) as pilot:
        await over_made(pilot, "question_mark")
        assert any(line.split()[1:4] == ["X", "stop", "all"] for line in text_of(pilot.app) if "stop all" in line)


def entry(label: str, kind: str = "", help: str = "") -> Entry:
    return Entry(label, label, help, kind, "", lambda: None)


def test_the_best_match_comes_first() -> None:
    entries = [entry("exclude", help="stop a series"), entry("nonstop"), entry("to stop"), entry("stop")]
    assert [found.label for found in matching(entries, "stop")] == ["stop", "to stop", "nonstop", "exclude"]
    assert [found.label for found in matching(entries, "st ex")] == ["exclude"]
    assert matching(entries, "xyz") == []
    assert matching(entries, "") == entries


async def test_the_palette_does_what_a_key_does_also_for_the_widget_with_the_focus(tmp_path: Path) -> None:
    async with CrboostApp(None, utf8=True).run_test(size=(90, 30)) as pilot:
        screen = await over_made(pilot, "ctrl+p", *"edit", "enter")
        await until(pilot, lambda: screen.query_one(Form).edited == 1)
        assert pilot.app.screen is screen


async def test_an_impossible_action_is_in_the_palette_and_says_why(tmp_path: Path) -> None:
    async with CrboostApp(None, utf8=True).run_test(size=(90, 30)) as pilot:
        await over_made(pilot, "ctrl+p", *"stop", "enter")
        await until(pilot, lambda: told(pilot.app))
        assert told(pilot.app) == ["Nothing runs or waits in the queue."]


async def test_the_palette_goes_to_a_project_a_series_and_a_job(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status(30))
    remember(root)
    async with CrboostApp(None, utf8=True).run_test(size=(120, 30)) as pilot:
        app = pilot.app
        await until(pilot, lambda: isinstance(app.screen, ProjectsScreen) and app.screen._ordered)
        await pilot.press("ctrl+p", *"ribosome")
        await until(pilot, lambda: [each.kind for each in lines(app).rows] == ["project"])
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen) and app.screen.picture)
        await pilot.press("ctrl+p", *"position_22")
        await until(pilot, lambda: [each.kind for each in lines(app).rows] == ["series"])
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen))
        matrix = app.screen.query_one(MatrixView)
        await until(pilot, lambda: matrix.selected is not None and matrix.selected.key == "Position_22")
        await pilot.press("ctrl+p", *"tsctf")
        await until(pilot, lambda: lines(app).rows and lines(app).rows[0].kind == "job")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, WorkspaceScreen))
        assert len(app.screen_stack) == 3


async def test_the_palette_changes_the_theme(tmp_path: Path) -> None:
    async with CrboostApp(None, utf8=True).run_test() as pilot:
        await pilot.press("ctrl+p", *"theme light", "enter")
        await until(pilot, lambda: pilot.app.theme == "crboost-light")


def lines(app: Any) -> PaletteLines:
    assert isinstance(app.screen, PaletteScreen)
    found = app.screen.query_one(PaletteLines)
    assert isinstance(found, PaletteLines)
    return found


async def test_the_footer_always_has_help(tmp_path: Path) -> None:
    async with CrboostApp(None, utf8=True).run_test(size=(30, 12)) as pilot:
        await pilot.pause()
        assert text_of(pilot.app)[-1].rstrip().endswith("? help")
        await pilot.press("question_mark")
        assert isinstance(pilot.app.screen, HelpScreen)
