"""New project from an empty line to the workspace by keys alone, and more data for a project that is there."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot

from core.dataset.registry import load_registry
from core.project.file import load
from core.project.layout import ProjectPaths
from core.project.wanted import exclusions, read_wanted
from crboost_tui.app import CrboostApp
from crboost_tui.import_client import Look, Make, Progress, Wrong
from crboost_tui.import_data import COLUMNS, SeriesLine, SeriesPicture
from crboost_tui.recent import remembered
from crboost_tui.screens.ask import AskScreen
from crboost_tui.screens.new_project import NewProjectScreen
from crboost_tui.screens.new_project_steps import unsure_of, wrong_of
from crboost_tui.screens.projects import ProjectsScreen
from crboost_tui.screens.workspace import WorkspaceScreen
from tests.tui.import_seed import add_series, session
from tests.tui.until import text_of, told, until

SnapCompare = Callable[..., bool]
SIZES = [(80, 24), (120, 34), (200, 60)]


@pytest.fixture
def home(_own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home that the tests have, as the folder where the app was started, with so much free."""
    monkeypatch.chdir(_own_home)
    real = os.statvfs

    def statvfs(path: str) -> Any:
        real(path)
        return SimpleNamespace(f_bavail=3_200_000_000, f_frsize=1000)

    monkeypatch.setattr(os, "statvfs", statvfs)
    return _own_home


@pytest.fixture
def data(home: Path) -> Path:
    return session(home / "data" / "ribosome_2026_11")


def new_of(pilot: Pilot[Any]) -> NewProjectScreen:
    screen = pilot.app.screen
    assert isinstance(screen, NewProjectScreen)
    return screen


async def opened(pilot: Pilot[Any], root: Path | None = None) -> NewProjectScreen:
    await until(pilot, lambda: isinstance(pilot.app.screen, ProjectsScreen))
    screen = NewProjectScreen(root)
    await pilot.app.push_screen(screen)
    await until(pilot, lambda: screen.begun is not None and screen.data.inputs["movies"].has_focus)
    return screen


async def typed(pilot: Pilot[Any], text: str) -> None:
    """Type a text, and wait until the disk has answered."""
    screen = new_of(pilot)
    await pilot.press(*text)
    await until(
        pilot, lambda: screen._debounce is None and screen.found is not None and screen.found_of == screen._typed
    )


async def looked(
    pilot: Pilot[Any], text: str = "~/data/ribosome_2026_11", root: Path | None = None
) -> NewProjectScreen:
    """At the table, by one path and enter."""
    screen = await opened(pilot, root)
    await typed(pilot, text)
    await pilot.press("enter")
    await until(pilot, lambda: screen.step == "series" and not screen.looking and screen.forms is not None)
    return screen


def said(screen: NewProjectScreen, name: str) -> str:
    """What stands below an entry."""
    return "".join(text for text, _ in screen.data.inputs[name].told).strip()


def app() -> CrboostApp:
    return CrboostApp(None, utf8=True)


# ---- From nothing to the workspace


async def test_one_path_and_four_keys_lead_to_the_workspace(data: Path, home: Path) -> None:
    async with app().run_test(size=(80, 24)) as pilot:
        await looked(pilot)
        await pilot.press("n", "n", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkspaceScreen))
        root = home / "ribosome_2026_11"
        assert pilot.app.root == root  # type: ignore[attr-defined]
        assert remembered() == [root]
        model = load(root).model
        assert model.name == "ribosome_2026_11"
        assert [job.id for job in model.pipeline][:2] == ["importmovies", "fsMotionAndCtf"]
        registry = load_registry(ProjectPaths(root).registry)
        assert len(registry.series) == 10
        assert len(list((root / "frames").iterdir())) == 108
        assert (root / "default_pipeline.star").exists()
        assert exclusions(read_wanted(root))[0] == set()


async def test_series_without_a_tick_come_in_excluded(data: Path, home: Path) -> None:
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await looked(pilot)
        await pilot.press("o")  # only the good ones
        await pilot.press("space")  # and not the first
        await pilot.press("n", "n")
        will = "\n".join(text_of(pilot.app))
        assert "with 7 series, links 108 movies" in will
        assert "3 without a tick come in excluded" in will
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkspaceScreen))
        root = home / "ribosome_2026_11"
        assert exclusions(read_wanted(root))[0] == {"Position_1", "Position_3_2", "Position_9_2"}
        assert len(load_registry(ProjectPaths(root).registry).series) == 10
        assert screen is not pilot.app.screen


async def test_an_empty_pipeline_and_a_name_of_ones_own(data: Path, home: Path) -> None:
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot)
        await typed(pilot, "~/data/ribosome_2026_11")
        await until(pilot, lambda: screen.place is not None)
        await pilot.press("tab", "tab")
        await until(pilot, lambda: not screen.data.inputs["movies"].has_focus)
        assert screen.data.inputs["folder"].has_focus
        await pilot.press("ctrl+u", *"~/mine")
        await until(pilot, lambda: screen.place is not None and screen.place.path == str(home / "mine"))
        await pilot.press("enter")
        await until(pilot, lambda: screen.step == "series" and not screen.looking)
        await pilot.press("n", "n", "end", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkspaceScreen))
        model = load(home / "mine").model
        assert (model.name, model.pipeline) == ("mine", [])


async def test_a_confirmed_and_a_set_value_are_in_the_project(data: Path, home: Path) -> None:
    (data / "gain.mrc").write_bytes((data / "frames" / "Position_1_000_0.0.mrc").read_bytes())
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await looked(pilot)
        await pilot.press("n")
        view = screen.values.form_view
        await until(pilot, lambda: view.selected is not None and view.selected.name.endswith("gain_path"))
        assert unsure_of(screen.forms) == 1
        await pilot.press("c")
        await until(pilot, lambda: unsure_of(screen.forms) == 0)
        view.go("acquisition.optics1.dose_per_tilt_e_per_a2")
        await pilot.press("enter", "ctrl+u", *"2.5", "enter")
        await until(pilot, lambda: screen.edits.get("acquisition.optics1.dose_per_tilt_e_per_a2") == "2.5")
        await pilot.press("escape", "n", "n", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkspaceScreen))
        values = load(home / "ribosome_2026_11").model.acquisition["optics1"]
        assert (values.dose_per_tilt_e_per_a2, values.confirmed) == (2.5, ["gain_path"])


# ---- What one types


async def test_counts_come_while_typing_and_the_mdocs_are_found_beside(data: Path) -> None:
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot)
        await typed(pilot, "~/data/ribosome_2026_11/frames/Position_1_*")
        await until(pilot, lambda: screen.place is not None)
        assert said(screen, "movies") == "✓ 11 movies (.mrc)"
        assert said(screen, "mdocs") == "✓ 11 mdocs, in ~/data/ribosome_2026_11/mdocs"
        assert screen.data.text("folder") == "~/ribosome_2026_11"
        assert said(screen, "folder") == "✓ will be made, 3.2 TB free"


async def test_tab_completes_folders_and_offers_patterns(data: Path, home: Path) -> None:
    (home / "data" / "ribosome_2026_12").mkdir()
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot)
        entry = screen.data.inputs["movies"]
        await typed(pilot, "~/da")
        await pilot.press("tab")
        await until(pilot, lambda: entry.text == "~/data/")
        await pilot.press("tab")
        await until(pilot, lambda: entry.text == "~/data/ribosome_2026_1")
        await until(
            pilot,
            lambda: [each.name for each in entry.candidates] == ["ribosome_2026_11/", "ribosome_2026_12/"],
        )
        await pilot.press("down", "enter")
        await until(pilot, lambda: entry.text == "~/data/ribosome_2026_11/")
        await until(pilot, lambda: said(screen, "movies") == "✓ 108 movies (.mrc), in frames/")
        await pilot.press("f", "tab")
        await until(pilot, lambda: entry.text == "~/data/ribosome_2026_11/frames/")
        await until(pilot, lambda: said(screen, "movies") == "✓ 108 movies (.mrc)")
        await pilot.press("tab")  # there is what it names: on to the next line
        await until(pilot, lambda: screen.data.inputs["mdocs"].has_focus)


async def test_files_are_completed_as_patterns(data: Path) -> None:
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot)
        entry = screen.data.inputs["movies"]
        await typed(pilot, "~/data/ribosome_2026_11/frames/Position_1")
        await pilot.press("tab")
        await until(pilot, lambda: entry.text == "~/data/ribosome_2026_11/frames/Position_1*.mrc")
        await until(pilot, lambda: said(screen, "movies") == "✓ 11 movies (.mrc)")


async def test_a_pattern_that_matches_nothing_says_what_is_there(data: Path) -> None:
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot)
        await typed(pilot, "~/data/ribosome_2026_11/mdocs/*.eer")
        await pilot.press("enter")
        await until(pilot, lambda: said(screen, "movies").startswith("✗"))
        assert said(screen, "movies") == "✗ no file matches; ~/data/ribosome_2026_11/mdocs holds 11 *.mdoc"
        assert screen.step == "data"


async def test_a_folder_without_permission_and_one_that_is_not_there(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("mdocs"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    async with app().run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot)
        monkeypatch.setattr(os, "scandir", scandir)
        await typed(pilot, "~/data/ribosome_2026_11/frames")
        await pilot.press("tab", *"~/data/ribosome_2026_11/mdocs")
        await until(pilot, lambda: "you may not read ~/data/ribosome_2026_11/mdocs" in said(screen, "mdocs"))
        await pilot.press("ctrl+u", *"~/data/gone/x")
        await until(
            pilot, lambda: "there is no folder ~/data/gone; ~/data holds ribosome_2026_11" in said(screen, "mdocs")
        )


async def test_a_folder_that_never_answers_stops_nobody(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    answer = threading.Event()
    real = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: answer.wait(20) and False if "dead" in str(path) else real(path))
    monkeypatch.setattr("crboost_tui.screens.new_project.SILENT_SECONDS", 0.3)
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot)
        await pilot.press(*"/dead/frames")
        await until(pilot, lambda: "does not answer" in said(screen, "movies"))
        await pilot.press("ctrl+u")
        await typed(pilot, "~/data/ribosome_2026_11/frames")
        assert said(screen, "movies") == "✓ 108 movies (.mrc)"
        answer.set()
        await pilot.pause()
        assert said(screen, "movies") == "✓ 108 movies (.mrc)"


async def test_a_project_that_is_there_is_said_at_once_and_another_folder_is_suggested(data: Path, home: Path) -> None:
    (home / "ribosome_2026_11").mkdir()
    (home / "ribosome_2026_11" / "crboost.yaml").write_text("format: 1\nname: x\n")
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot)
        await typed(pilot, "~/data/ribosome_2026_11")
        await until(pilot, lambda: screen.data.text("folder") == "~/ribosome_2026_11_2")
        await pilot.press("tab", "tab", "backspace", "backspace")
        await until(pilot, lambda: "a project is there already" in said(screen, "folder"))
        await pilot.press("enter")
        await pilot.pause()
        assert screen.step == "data"


async def test_a_folder_that_cannot_be_written_is_said_at_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: False if str(path) == "/" else real(path, mode))
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot)
        await pilot.press("down", "down", *"/nowhere/p")
        await until(pilot, lambda: said(screen, "folder") == "✗ you may not write in /: choose another folder")


# ---- The table


async def test_odd_and_refused_series_are_told_apart_and_found_by_f(data: Path) -> None:
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await looked(pilot)
        table = screen.series.table
        shown = "\n".join(text_of(pilot.app))
        assert "✓ 8 good   ! 2 odd   ✗ 1 refused" in shown
        assert "10 chosen, 110 tilts" in shown
        assert "a montage, not a tilt series" in shown
        await pilot.press("f")
        assert table.line is not None and table.line.id == "Position_3_2"
        assert table.line.note == "two movies named in the mdoc are not there"
        await pilot.press("f")
        assert table.line.id == "Position_9_2"
        assert table.line.note.startswith("axis -84.9, others 85.3; ")
        assert {"axis", "first", "range"} == {
            ("series", "tilts", "range", "first", "scheme", "dose", "pixel", "axis")[n] for n in table.line.odd
        }
        await pilot.press("f")
        assert table.selected is not None and table.selected.refused is not None
        await pilot.press("space")
        assert told(pilot.app)[-1] == "LMM.mrc.mdoc: a montage, not a tilt series"
        assert len(table.chosen()) == 10


async def test_enter_shows_the_tilts_and_arrows_lead_to_the_next_series(data: Path) -> None:
    async with app().run_test(size=(80, 24)) as pilot:
        screen = await looked(pilot)
        await pilot.press("f", "enter")
        await until(pilot, lambda: screen.series.tilts_open)
        shown = "\n".join(text_of(pilot.app))
        assert "Position_3_2  11 tilts, dose-symmetric 3°, 2 cannot be used" in shown
        assert "004     +6.0    12.0   3.00" in shown
        assert len([line for line in screen.series.tilts.rows if line.problem]) == 2
        await pilot.press("right")
        await until(pilot, lambda: screen.series.tilts_of == "Position_4")
        await pilot.press("escape")
        assert not screen.series.tilts_open
        assert screen.series.table.has_focus and screen.step == "series"


async def test_sorting_goes_through_the_columns_and_the_cursor_stays_on_its_series(data: Path) -> None:
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await looked(pilot)
        table = screen.series.table
        await pilot.press("f", "f", "s", "s", "s")  # by the first tilt
        assert [row.line.id for row in table.rows if row.line and not row.note][-1] == "Position_9_2"
        assert table.line is not None and table.line.id == "Position_9_2"
        await pilot.press("S")
        assert table.rows[0].line is not None and table.rows[0].line.id == "Position_9_2"
        assert table.cursor == 0


async def test_escape_ends_the_reading_and_enter_begins_it_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with app().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await typed(pilot, "~/data/ribosome_2026_11")
        asked: list[object] = []
        monkeypatch.setattr(screen._client, "ask", asked.append)
        await pilot.press("enter")
        await until(pilot, lambda: screen.step == "series")
        look = asked[0]
        assert isinstance(look, Look)
        screen.post_message(screen.Answered(look, Progress(312, 2000)))
        await until(pilot, lambda: "reading mdocs: 312 of 2,000" in "\n".join(text_of(pilot.app)))
        await pilot.press("n")
        assert told(pilot.app)[-1] == "The mdocs are still being read."
        await pilot.press("escape")
        assert screen.step == "data" and screen.looked is None
        screen.post_message(screen.Answered(look, (1, 2)))  # what was on its way counts no more
        await pilot.pause()
        assert screen._lines == []
        monkeypatch.undo()
        await pilot.press("enter")
        await until(pilot, lambda: screen.step == "series" and not screen.looking)


async def test_a_wrong_value_keeps_one_on_the_page_of_values(data: Path, home: Path) -> None:
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await looked(pilot)
        await pilot.press("n")
        view, name = screen.values.form_view, "acquisition.optics1.image_height_px"
        await until(pilot, lambda: view.form is not None and name in view.form.by_name)
        view.go(name)
        await pilot.press("enter", "ctrl+u", *"-5", "enter")
        await until(pilot, lambda: wrong_of(screen.forms) is not None)
        await pilot.press("n")
        await pilot.pause()
        assert screen.step == "values" and view.selected is not None and view.selected.name == name


async def test_a_value_that_is_not_certain_is_counted_and_found(data: Path, home: Path) -> None:
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await looked(pilot)
        await pilot.press("n")
        await until(pilot, lambda: screen.forms is not None and bool(screen.values.form_view.form))
        assert screen.forms is not None
        form = screen.forms.forms[0]
        fields = tuple(replace(each, findings=(), confirm=at == 2) for at, each in enumerate(form.fields))
        screen.values.show(replace(screen.forms, forms=(replace(form, fields=fields),)))
        await until(pilot, lambda: "1 value is not certain: c confirms it" in "\n".join(text_of(pilot.app)))
        await pilot.press("exclamation_mark")
        assert screen.values.form_view.selected == fields[2]


async def test_going_back_keeps_ticks_and_values(data: Path) -> None:
    async with app().run_test(size=(80, 24)) as pilot:
        screen = await looked(pilot)
        await pilot.press("space", "n", "n", "escape", "escape", "escape")
        assert screen.step == "data"
        await pilot.press("enter")
        await until(pilot, lambda: screen.step == "series")
        assert not screen.looking  # the same data are not read again
        assert len(screen.series.table.chosen()) == 9
        await pilot.press("r")
        await until(pilot, lambda: bool(screen.series.table.picture.lines) and not screen.looking)
        assert len(screen.series.table.chosen()) == 9


async def test_mdocs_without_movies_are_odd_and_nothing_breaks(data: Path, home: Path) -> None:
    add_series(home / "data" / "bare", "TS_01", missing=tuple(range(1, 11)))
    async with app().run_test(size=(80, 24)) as pilot:
        screen = await looked(pilot, "~/data/bare")
        assert [line.good for line in screen.series.table.picture.lines] == [False]
        await pilot.press("enter")
        await until(pilot, lambda: screen.series.tilts_open)


async def test_data_that_vanish_before_they_are_read_are_said_beside_their_line(data: Path) -> None:
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot)
        await typed(pilot, "~/data/ribosome_2026_11")
        (data / "mdocs").rename(data / "away")
        await pilot.press("enter")
        await until(pilot, lambda: said(screen, "mdocs").startswith("✗"))
        assert "does not exist" in said(screen, "mdocs")
        assert screen.step == "data"


def many(number: int) -> SeriesPicture:
    """A table as the worker process makes it; every tenth series is odd."""
    lines = []
    for place in range(number):
        cells = (
            f"TS_{place:04d}",
            "60",
            "-60 … +60",
            "0.0",
            "dose-symmetric 2°",
            "180.0",
            "1.35 header",
            "85.3",
            "–",
            "optics1",
        )
        order = ("", 60, -60.0, 0.0, cells[4], 180.0, 1.35, float(place % 7), 0, "optics1")
        note = "" if place % 10 else "two movies named in the mdoc are not there"
        lines.append(
            SeriesLine(cells[0], f"/d/{place}.mdoc", 60, cells, cells, order, (), note, (note,) if note else ())
        )
    widths = tuple(max(len(line.cells[place]) for line in lines[:1]) for place in range(len(COLUMNS)))
    return SeriesPicture(f"{number} series", tuple(lines), (), ("optics1",), number * 60, widths, widths)


async def test_a_table_of_2000_series_answers_every_key_at_once(data: Path) -> None:
    """The watchdog fails this test where a step takes more than 50 ms."""
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await looked(pilot)
        screen.series.show(many(2000))
        table = screen.series.table
        await pilot.pause()
        await pilot.press("end")
        assert table.line is not None and table.line.id == "TS_1999"
        await pilot.press(*"sssssss")
        assert COLUMNS[table.sorted_by] == "axis"
        assert table.line.id == "TS_1999"
        await pilot.press("S", "pageup", "f", "o")
        assert len(table.chosen()) == 1800
        await pilot.press("a", "space")
        assert len(table.chosen()) == 1999


# ---- Leaving, errors


async def test_leaving_asks_and_what_was_typed_is_offered_the_next_time(data: Path) -> None:
    async with app().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ProjectsScreen))
        screen = await opened(pilot)
        await typed(pilot, "~/data/ribosome_2026_11")
        await pilot.press("escape")
        await until(pilot, lambda: screen.data.inputs["movies"].is_open or isinstance(pilot.app.screen, AskScreen))
        if not isinstance(pilot.app.screen, AskScreen):  # the first closed the list of choices
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(pilot.app.screen, AskScreen))
        await pilot.press("enter")
        assert new_of(pilot) is screen
        await pilot.press("escape", "y")
        await until(pilot, lambda: isinstance(pilot.app.screen, ProjectsScreen))
        screen = await opened(pilot)
        await until(pilot, lambda: screen.data.text("movies") == "~/data/ribosome_2026_11")


async def test_a_project_that_cannot_be_made_is_told_and_can_be_tried_again(
    data: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await looked(pilot)
        await pilot.press("n", "n")
        (home / "ribosome_2026_11").write_text("in the way")
        await pilot.press("enter")
        await until(pilot, lambda: "is a file" in "\n".join(text_of(pilot.app)))
        (home / "ribosome_2026_11").unlink()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkspaceScreen))
        assert screen.making


async def test_a_worker_that_dies_is_told_and_the_next_one_goes_on(data: Path) -> None:
    async with app().run_test(size=(80, 24)) as pilot:
        screen = await looked(pilot)
        process = screen._client._process
        assert process is not None
        process.kill()
        process.wait()
        await until(pilot, lambda: screen._client._process is None)
        await pilot.press("enter")
        await until(pilot, lambda: "look at them again" in " ".join(told(pilot.app)))
        await pilot.press("r")
        await until(pilot, lambda: bool(screen.series.table.picture.lines) and not screen.looking)


async def test_the_process_ends_with_the_screen(data: Path) -> None:
    async with app().run_test(size=(80, 24)) as pilot:
        screen = await looked(pilot)
        process = screen._client._process
        assert process is not None
        await pilot.press("escape", "escape", "y")
        await until(pilot, lambda: isinstance(pilot.app.screen, ProjectsScreen) and process.poll() is not None)


# ---- More data for a project


async def made(home: Path, data: Path) -> Path:
    async with app().run_test(size=(80, 24)) as pilot:
        await looked(pilot)
        await pilot.press("space", "n", "n", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkspaceScreen))
    return home / "ribosome_2026_11"


async def test_more_data_come_into_a_project_and_what_it_has_stays(data: Path, home: Path) -> None:
    root = await made(home, data)
    add_series(data, "Position_20")
    add_series(data, "Position_21")
    async with app().run_test(size=(120, 34)) as pilot:
        screen = await looked(pilot, root=root)
        shown = "\n".join(text_of(pilot.app))
        assert "Add data to ribosome_2026_11" in shown
        assert "10 in the project already, 2 chosen, 22 tilts" in shown
        await pilot.press("space")
        assert told(pilot.app)[-1].startswith("Position_1 is in the project already")
        await pilot.press("end", "up", "space", "n", "n")  # the last line is the montage
        assert "Adds 1 new series to ~/ribosome_2026_11" in "\n".join(text_of(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkspaceScreen))
        assert screen.adding
    assert len(load_registry(ProjectPaths(root).registry).series) == 12
    assert exclusions(read_wanted(root))[0] == {"Position_1", "Position_21"}


# ---- What it looks like


def at(step: Callable[[Pilot[Any]], Awaitable[object]], *keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def before(pilot: Pilot[Any]) -> None:
        await step(pilot)
        for key in keys:
            await pilot.press(key)
        await pilot.pause(0.3)

    return before


async def _typed(pilot: Pilot[Any]) -> None:
    screen = await opened(pilot)
    await typed(pilot, "~/data/ribosome_2026_11")
    await until(pilot, lambda: screen.place is not None)
    screen.data.inputs["movies"].close()


async def _wrong(pilot: Pilot[Any]) -> None:
    await opened(pilot)
    await typed(pilot, "~/data/ribosome_2026_11/mdocs/*.eer")
    await pilot.press("enter")


async def _choices(pilot: Pilot[Any]) -> None:
    for month in range(1, 11):
        (Path.home() / "data" / f"ribosome_2026_{month:02d}").mkdir()
    screen = await opened(pilot)
    await typed(pilot, "~/data/r")
    await until(pilot, lambda: screen.data.inputs["movies"].is_open)
    await pilot.press("down")


async def _reading(pilot: Pilot[Any]) -> None:
    screen = await opened(pilot)
    await typed(pilot, "~/data/ribosome_2026_11")
    screen._client.stop()
    screen._client.ask = lambda question: None  # type: ignore[method-assign]
    await pilot.press("enter")
    await until(pilot, lambda: screen.looked is not None)
    assert screen.looked is not None
    screen.post_message(screen.Answered(screen.looked, Progress(312, 2000)))


async def _tilts(pilot: Pilot[Any]) -> None:
    screen = await looked(pilot)
    await pilot.press("f", "enter")
    await until(pilot, lambda: screen.series.tilts_open)


async def _values(pilot: Pilot[Any]) -> None:
    await looked(pilot)
    await pilot.press("n")


async def _make(pilot: Pilot[Any]) -> None:
    await looked(pilot)
    await pilot.press("o", "n", "n")


async def _not_made(pilot: Pilot[Any]) -> None:
    screen = await looked(pilot)
    await pilot.press("n", "n")
    question = Make(Path("~/ribosome"), "ribosome", "", {}, (), False)
    screen.post_message(screen.Answered(question, Wrong("~/ribosome: cannot be written (No space left on device).")))


PAGES: dict[str, Callable[[Pilot[Any]], Awaitable[object]]] = {
    "empty": opened,
    "typed": _typed,
    "wrong": _wrong,
    "choices": _choices,
    "reading": _reading,
    "table": looked,
    "tilts": _tilts,
    "values": _values,
    "make": _make,
    "not_made": _not_made,
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("page", PAGES)
def test_pages(snap_compare: SnapCompare, data: Path, page: str, size: tuple[int, int]) -> None:
    if page == "values":  # an mdoc that says dose 0 does not know it
        for number in range(1, 9):
            add_series(data, f"Position_{number}", dose=0.0)
    keys = ("f", "f") if page == "table" else ()
    assert snap_compare(app(), terminal_size=size, run_before=at(PAGES[page], *keys))


@pytest.mark.parametrize("page", ["typed", "table"])
def test_pages_without_utf8(snap_compare: SnapCompare, data: Path, page: str) -> None:
    assert snap_compare(CrboostApp(None, utf8=False), terminal_size=(80, 24), run_before=at(PAGES[page]))


def test_a_very_small_terminal(snap_compare: SnapCompare, data: Path) -> None:
    assert snap_compare(app(), terminal_size=(40, 12), run_before=at(looked, "f"))
