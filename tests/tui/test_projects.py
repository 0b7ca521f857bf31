"""The list of projects: there at once, true soon after, and never waiting for a disk."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core.project.layout import ProjectPaths
from crboost_tui import project_list
from crboost_tui.app import CrboostApp
from crboost_tui.project_list import Entry, look_at_all, read_entry, search
from crboost_tui.recent import remember, remembered
from crboost_tui.screens.ask import AskScreen
from crboost_tui.screens.monitor import MonitorScreen
from crboost_tui.screens.projects import ProjectsScreen
from crboost_tui.screens.relion import RelionScreen
from crboost_tui.screens.workspace import WorkspaceScreen
from crboost_tui.widgets.project_lines import ProjectLines, end_of, when_text, with_tilde
from tests.tui import seed
from tests.tui.until import text_of, told, until

SnapCompare = Callable[..., bool]
SIZES = [(80, 24), (120, 34), (200, 60)]


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProjectLines, "clock", staticmethod(lambda: seed.NOW + 60))


def three(folder: Path) -> list[Path]:
    roots = []
    for hours, (name, found) in enumerate(
        (("apoferritin", seed.finished()), ("ribosome", seed.status()), ("pilot", seed.waiting_for_you(30)))
    ):
        found.name, found.updated = f"{name}_2026_11", seed.NOW - 3600 * 20 * (2 - hours)
        roots.append(seed.write(folder / name, found))
        remember(folder / name)
    return roots


def screen_of(app: CrboostApp) -> ProjectsScreen:
    assert isinstance(app.screen, ProjectsScreen)
    return app.screen


def names(app: CrboostApp) -> list[str]:
    return [entry.name for entry in screen_of(app).lines.rows]


async def settled(pilot: Pilot[Any]) -> None:
    """All has been looked at and nothing is searched."""
    screen = screen_of(pilot.app)  # type: ignore[arg-type]
    await until(pilot, lambda: screen._searched_once and screen._ordered)
    await pilot.pause(0.05)


@pytest.mark.parametrize("size", SIZES)
def test_a_list_of_projects(snap_compare: SnapCompare, place: Path, size: tuple[int, int]) -> None:
    three(place)
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=settled)


@pytest.mark.parametrize("size", SIZES)
def test_an_empty_list_says_what_to_do(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=settled)


@pytest.mark.parametrize("size", SIZES)
def test_a_list_with_disks_that_do_not_answer(
    snap_compare: SnapCompare, place: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    three(place)
    (place / "gone").mkdir()
    remember(place / "gone")
    relion = place / "relion_only"
    relion.mkdir()
    (relion / "default_pipeline.star").touch()
    os.utime(relion / "default_pipeline.star", (seed.NOW, seed.NOW))
    remember(relion)

    def look(roots: list[Path]) -> Iterator[Entry]:
        for root in roots:
            entry = read_entry(root)
            yield Entry(entry.root, "ribosome", "silent") if root.name == "ribosome" else entry

    monkeypatch.setattr(project_list, "look_at_all", look)

    async def before(pilot: Pilot[Any]) -> None:
        screen = screen_of(pilot.app)  # type: ignore[arg-type]
        kinds = {"project", "silent", "gone", "relion"}
        await until(pilot, lambda: {entry.kind for entry in screen.entries.values()} == kinds and screen._searched_once)
        await until(pilot, lambda: screen._ordered)

    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_a_list_before_it_was_read(
    snap_compare: SnapCompare, place: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = three(place)
    project_list.keep_seen([read_entry(root) for root in roots[:2]])
    monkeypatch.setattr(ProjectsScreen, "_look_at", lambda self, roots: None)
    monkeypatch.setattr(ProjectsScreen, "_search_roots", lambda self: None)
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size)


def test_a_list_without_utf8(snap_compare: SnapCompare, place: Path) -> None:
    three(place)
    assert snap_compare(CrboostApp(None, utf8=False), terminal_size=(80, 24), run_before=settled)


async def test_last_activity_comes_first_and_o_sorts_by_name(tmp_path: Path) -> None:
    three(tmp_path)
    async with CrboostApp(None, utf8=True).run_test(size=(100, 24)) as pilot:
        app = pilot.app
        assert isinstance(app, CrboostApp)
        await settled(pilot)
        assert names(app) == ["pilot_2026_11", "ribosome_2026_11", "apoferritin_2026_11"]
        await pilot.press("o")
        assert names(app) == ["apoferritin_2026_11", "pilot_2026_11", "ribosome_2026_11"]


async def test_letters_find_a_project_and_esc_brings_all_back(tmp_path: Path) -> None:
    three(tmp_path)
    async with CrboostApp(None, utf8=True).run_test(size=(100, 24)) as pilot:
        app = pilot.app
        assert isinstance(app, CrboostApp)
        await settled(pilot)
        await pilot.press("slash", "r", "i", "b")
        assert names(app) == ["ribosome_2026_11"]
        await pilot.press("enter")
        assert names(app) == ["ribosome_2026_11"]
        await pilot.press("slash", "x", "x", "escape")
        await pilot.pause()
        assert len(names(app)) == 3


async def test_the_cursor_stays_with_its_project_in_another_order(tmp_path: Path) -> None:
    three(tmp_path)
    async with CrboostApp(None, utf8=True).run_test(size=(100, 24)) as pilot:
        await settled(pilot)
        lines = pilot.app.screen.query_one(ProjectLines)
        lines.go_to(str(tmp_path / "apoferritin"))
        for _ in range(2):
            await pilot.press("o")
            assert lines.selected is not None and lines.selected.name == "apoferritin_2026_11"


async def test_a_changed_summary_changes_its_line_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three(tmp_path)
    async with CrboostApp(None, utf8=True).run_test(size=(100, 24)) as pilot:
        app = pilot.app
        assert isinstance(app, CrboostApp)
        await settled(pilot)
        drawn: list[int] = []
        monkeypatch.setattr(ProjectLines, "_line_changed", lambda self, index: drawn.append(index), raising=True)
        monkeypatch.setattr(ProjectLines, "_all", lambda self: drawn.append(-1))
        summary = ProjectPaths(tmp_path / "ribosome").summary
        data = json.loads(summary.read_text())
        data["counts"]["x"] = 7
        summary.write_text(json.dumps(data))
        screen = screen_of(app)
        await until(pilot, lambda: screen.entries[str(tmp_path / "ribosome")].count("x") == 7)
        place = next(index for index, entry in enumerate(screen.lines.rows) if entry.root == str(tmp_path / "ribosome"))
        assert drawn == [place]


async def test_x_forgets_after_yes_and_touches_nothing_on_disk(tmp_path: Path) -> None:
    three(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*"))
    async with CrboostApp(None, utf8=True).run_test(size=(100, 24)) as pilot:
        app = pilot.app
        assert isinstance(app, CrboostApp)
        await settled(pilot)
        screen_of(app).lines.go_to(str(tmp_path / "pilot"))
        await pilot.press("x", "enter")
        assert tmp_path / "pilot" in remembered()
        await pilot.press("x")
        assert isinstance(app.screen, AskScreen)
        assert "nothing in" in app.screen.impact
        await pilot.press("y")
        await pilot.pause()
        assert sorted(names(app)) == ["apoferritin_2026_11", "ribosome_2026_11"]
    assert tmp_path / "pilot" not in remembered()
    assert sorted(path for path in tmp_path.rglob("*")) == before


async def test_configured_roots_are_searched_and_relions_own_projects_are_shown_as_such(
    tmp_path: Path, _own_home: Path
) -> None:
    seed.write(tmp_path / "lab" / "ada" / "deep" / "p", seed.finished())
    (tmp_path / "lab" / "bob" / "r").mkdir(parents=True)
    (tmp_path / "lab" / "bob" / "r" / "default_pipeline.star").touch()
    conf = _own_home / "config" / "crboost" / "conf.yaml"
    conf.parent.mkdir(parents=True)
    conf.write_text(f"projects: {{roots: [{tmp_path}/lab, {tmp_path}/not_there]}}\n")
    async with CrboostApp(None, utf8=True).run_test(size=(120, 24)) as pilot:
        app = pilot.app
        assert isinstance(app, CrboostApp)
        await until(pilot, lambda: len(names(app)) == 2)
        await settled(pilot)
        assert {entry.kind for entry in screen_of(app).lines.rows} == {"project", "relion"}
        assert any("RELION only" in line for line in text_of(app))
        screen_of(app).lines.go_to(str(tmp_path / "lab" / "bob" / "r"))
        await pilot.press("x")
        assert "would be found again" in told(app)[-1]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RelionScreen))


async def test_a_project_of_mine_that_never_ran_opens_in_the_workspace_and_others_in_the_monitor(
    tmp_path: Path,
) -> None:
    never = tmp_path / "never"
    never.mkdir()
    (never / "crboost.yaml").write_text("format: 1\nname: never\n")
    ran = seed.write(tmp_path / "ran", seed.status())
    async with CrboostApp(never, utf8=True).run_test() as pilot:
        app = pilot.app
        assert isinstance(app, CrboostApp)
        await until(pilot, lambda: isinstance(app.screen, WorkspaceScreen))
        app.open_project(ran)
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen))
        assert len(app.screen_stack) == 3
        assert remembered()[:2] == [ran, never]


async def test_a_vanished_project_is_a_sentence(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    remember(root)
    async with CrboostApp(None, utf8=True).run_test() as pilot:
        app = pilot.app
        assert isinstance(app, CrboostApp)
        await settled(pilot)
        root.rename(tmp_path / "moved")
        await pilot.press("enter")
        await until(pilot, lambda: told(app))
        assert told(app)[-1] == f"{root}: this folder is not there any more. x takes it out of the list."
        app.open_project(tmp_path)
        await until(pilot, lambda: "there is no project in it" in told(app)[-1])
        assert isinstance(app.screen, ProjectsScreen)


async def test_a_disk_that_hangs_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = [seed.write(tmp_path / f"p{number}", seed.finished()) for number in range(6)]
    for root in roots:
        remember(root)
    answers = threading.Event()

    def hanging(root: Path) -> Entry:
        if root.name in ("p2", "p3"):
            answers.wait(60)
        return read_entry(root)

    monkeypatch.setattr(project_list, "look_at_all", lambda wanted: look_at_all(wanted, hanging))
    async with CrboostApp(None, utf8=True).run_test() as pilot:
        app = pilot.app
        assert isinstance(app, CrboostApp)
        screen = screen_of(app)
        begun = time.monotonic()
        await pilot.press("down")  # at once
        assert time.monotonic() - begun < 1.0
        kinds = ["project", "project", "silent", "silent", "project", "project"]
        await until(pilot, lambda: [screen.entries[str(root)].kind for root in roots] == kinds)
        app.open_project(roots[2])
        await until(pilot, lambda: told(app))
        assert "its disk does not answer" in told(app)[-1]
        answers.set()


def test_those_that_answer_are_told_before_those_that_do_not(tmp_path: Path) -> None:
    answers = threading.Event()

    def look(root: Path) -> Entry:
        if root.name == "b":
            answers.wait(30)
        return Entry(str(root), root.name)

    begun = time.monotonic()
    found = [(entry.name, entry.kind) for entry in look_at_all([Path("a"), Path("b"), Path("c")], look)]
    assert time.monotonic() - begun < 10
    assert found == [("a", "project"), ("b", "silent"), ("c", "project")]
    answers.set()


def test_what_hangs_already_is_waited_for_by_one_thread_alone() -> None:
    answers = threading.Event()

    def look(root: Path) -> Entry:
        answers.wait(30)
        return Entry(str(root), root.name)

    assert [entry.kind for entry in look_at_all([Path("hanging")], look)] == ["silent"]
    threads = threading.active_count()
    for _ in range(3):
        assert [entry.kind for entry in look_at_all([Path("hanging")], look)] == ["silent"]
    assert threading.active_count() <= threads + 1
    answers.set()


def test_the_search_is_bounded_and_follows_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a/p", "b/c/d/e/too_deep", ".hidden/p"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "crboost.yaml").touch()
    (tmp_path / "a" / "p" / "inside").mkdir()
    (tmp_path / "a" / "p" / "inside" / "crboost.yaml").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert list(search(tmp_path)) == [tmp_path / "a" / "p"]
    monkeypatch.setattr(project_list, "FOLDERS", 1)
    assert list(search(tmp_path)) == []


def test_owner_and_rights_of_a_colleagues_project_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = seed.write(tmp_path / "p", seed.waiting_for_you(3))
    entry = read_entry(root)
    assert (entry.owner, entry.read_only, entry.rehearsal, entry.needs, entry.series) == ("", False, True, 1, 3)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    entry = read_entry(root)
    assert entry.owner and entry.read_only


def test_times_do_not_change_while_nothing_happens() -> None:
    assert when_text(seed.NOW, seed.NOW + 3600) == "14:02"
    assert when_text(seed.NOW - 86400, seed.NOW) == "22 Nov 14:02"
    assert when_text(seed.NOW - 365 * 86400, seed.NOW) == "23 Nov 2025"
    assert when_text(0.0, seed.NOW) == ""


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose name is the same in every run, for pictures that show it."""
    import shutil
    import tempfile

    folder = Path(tempfile.gettempdir()) / "crboost-projects"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_folder_is_cut_at_its_front_and_home_is_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/demo")
    assert with_tilde("/home/demo/a/project") == "~/a/project" and with_tilde("/home/demos/p") == "/home/demos/p"
    assert end_of("~/a/project", 11) == "~/a/project"
    assert end_of("/data/lab/a/project", 11) == "…/a/project"
