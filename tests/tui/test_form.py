"""The form on a screen: what its keys and the mouse do, what it looks like, and what it sends to the terminal."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core.dataset.model import CONFIRMED, Sourced
from core.dataset.registry import Registry
from core.engine.plan import read_sources
from crboost_tui.form import Finding, Form, FormField
from crboost_tui.forms import acquisition_form, parameter_form, resource_form
from crboost_tui.widgets.editor import LineEditor
from crboost_tui.widgets.form_view import FormView
from tests.bench.form import Terminal
from tests.synthetic import DATA, make_project
from tests.tui.form_app import FormApp, FormScreen, Maker
from tests.tui.until import until

SnapCompare = Callable[..., bool]
SIZES = [(80, 24), (120, 34), (200, 60)]
ALIGN = "aligntiltsWarp"


@pytest.fixture
def align(tmp_path: Path) -> Maker:
    sources = read_sources(make_project(tmp_path / "p", 3), DATA)
    return lambda edits: parameter_form(sources, ALIGN, edits)


def a_form(*fields: FormField) -> Maker:
    return lambda edits: Form("Form", fields)


def a_field(name: str, value: str = "1", **more: Any) -> FormField:
    return FormField(f"job.{name}", name, more.pop("kind", "int"), more.pop("group", "Group"), value, "default", **more)


def screen_of(pilot: Pilot[Any]) -> FormScreen:
    screen = pilot.app.screen
    assert isinstance(screen, FormScreen)
    return screen


async def opened(pilot: Pilot[Any]) -> FormScreen:
    for _ in range(1500):
        await pilot.pause()
        screen = pilot.app.screen
        if isinstance(screen, FormScreen) and screen.query(FormView) and screen.view.form is not None:
            await pilot.pause()
            return screen
        await asyncio.sleep(0.01)
    raise AssertionError("no form came")


def edits(view: FormView) -> bool:
    """Whether an editor is open (a function, so that mypy does not take it for settled)."""
    return view.editing


def at(view: FormView) -> str:
    """The label under the cursor, "" where that is no field."""
    return view.selected.label if view.selected is not None else ""


def shown(view: FormView) -> list[str]:
    """The lines as they stand on the screen."""
    return [view.render_line(y).text.rstrip() for y in range(view.size.height)]


def line(view: FormView, label: str) -> str:
    return next(each for each in shown(view) if each[2:].startswith(label))


def pressing(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def before(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        for key in keys:
            await pilot.press(key)
        await pilot.pause()

    return before


# ---- Keys


async def test_a_number_is_edited_by_keys_and_the_cursor_goes_on(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        view = screen.view
        await pilot.press("down", "enter")
        assert edits(view)
        assert "[10" in line(view, "alignment pixel size")
        await pilot.press("backspace", "2", ".", "5", "enter")
        assert screen.edits == {f"{ALIGN}.alignment_pixel_size": "12.5"}
        assert at(view) == "sample thickness" and not edits(view)
        assert "*12.5" in line(view, "alignment pixel size").replace("* ", "*")


@pytest.mark.parametrize("size", [(80, 24), (140, 34)])
async def test_a_value_that_a_person_set_says_so_in_its_line(size: tuple[int, int]) -> None:
    form = a_form(replace(a_field("window", "256", default="512"), origin="you"), a_field("other"))
    async with FormApp(form).run_test(size=size) as pilot:
        view = (await opened(pilot)).view
        assert "you" in line(view, "window") and "you" not in line(view, "other")


async def test_a_wrong_number_is_said_at_once_and_esc_leaves_it(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("down", "down", "enter", "x")
        await pilot.pause()
        assert "sample_thickness is '180x'; a number was expected." in "\n".join(shown(screen.view))
        assert "✗" in line(screen.view, "sample thickness")
        assert line(screen.view, "sample thickness").endswith("] nm    a number was expected.")
        await pilot.press("escape")
        await pilot.pause()
        assert screen.edits == {} and not edits(screen.view)
        assert "a number was expected" not in "\n".join(shown(screen.view))
        assert " 180 " in line(screen.view, "sample thickness")


async def test_a_wrong_number_is_kept_as_it_was_typed_when_it_is_committed(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("down", "down", "enter", "x", "up")
        assert screen.edits == {f"{ALIGN}.sample_thickness": "180x"}
        assert at(screen.view) == "alignment pixel size"
        await pilot.press("exclamation_mark")
        assert at(screen.view) == "sample thickness"


async def test_a_choice_opens_a_list_in_its_place(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("enter")
        lines = shown(screen.view)
        assert [each.strip(" ▸●○") for each in lines[2:6]] == ["AreTomo2", "AreTomo3", "IMOD patches", "IMOD fiducials"]
        await pilot.press("i", "i", "enter")
        assert screen.edits == {f"{ALIGN}.method": "IMOD fiducials"}
        assert "alignment pixel size" in shown(screen.view)[2]
        await pilot.press("enter", "up", "escape")
        assert screen.edits == {f"{ALIGN}.method": "IMOD fiducials"} and not edits(screen.view)


async def test_a_switch_turns_at_once_and_d_takes_it_back(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        assert screen.view.go(f"{ALIGN}.calibrate_axis")
        await pilot.press("enter")
        assert screen.edits == {f"{ALIGN}.calibrate_axis": "false"}
        assert " off" in line(screen.view, "calibrate axis")
        await pilot.press("d")
        assert screen.edits == {f"{ALIGN}.calibrate_axis": None}
        assert " on" in line(screen.view, "calibrate axis")


async def test_an_emptied_number_goes_back_to_its_default(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("down", "enter", "ctrl+u", "7", "enter", "up", "enter", "ctrl+u", "enter")
        assert screen.edits == {f"{ALIGN}.alignment_pixel_size": None}
        assert " 10 " in line(screen.view, "alignment pixel size")


async def test_what_is_seldom_changed_is_folded_into_one_line(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 40)) as pilot:
        screen = await opened(pilot)
        assert "Advanced (10)  ▸" in "\n".join(shown(screen.view))
        await pilot.press("end", "right")
        assert "calibration series" in "\n".join(shown(screen.view))
        await pilot.press("left")
        assert "calibration series" not in "\n".join(shown(screen.view))
        await pilot.press("enter", "down")
        assert screen.view.selected is not None and screen.view.selected.advanced
        await pilot.press("a")
        assert at(screen.view) == "" and "Advanced (10)  ▸" in "\n".join(shown(screen.view))


async def test_searching_shows_what_matches_and_enter_goes_there(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("slash", *"axis_iter")
        lines = shown(screen.view)
        assert [each for each in lines[:3] if each] == [" Tilt axis", line(screen.view, "calibration iterati")]
        assert "/axis_iter   1 of 19 fields" in "\n".join(lines)
        await pilot.press("enter")
        assert screen.view.selected is not None
        assert at(screen.view) == "calibration iterations"
        assert "alignment pixel size" in "\n".join(shown(screen.view)) or screen.view.scroll_offset.y > 0
        await pilot.press("home", "slash", *"zzz")
        assert "No field has these letters." in "\n".join(shown(screen.view))
        await pilot.press("escape")
        assert at(screen.view) == "method"


async def test_the_first_that_matches_is_under_the_cursor(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        view = (await opened(pilot)).view
        await pilot.press("slash", *"patch")
        assert at(view) == "patch size"
        await pilot.press("down", "enter")
        assert at(view) == "patches x"


async def test_all_choices_are_in_view_at_the_bottom_of_the_screen() -> None:
    fields = [a_field(f"field {number}") for number in range(12)]
    choice = a_field("last", "b", kind="choice", choices=("a", "b", "c", "d"))
    async with FormApp(a_form(*fields, choice)).run_test(size=(80, 12)) as pilot:
        view = (await opened(pilot)).view
        await pilot.press("end", "enter")
        lines = shown(view)[:-3]
        assert lines[-5].split()[:2] == ["last", "b"]
        assert [each.strip(" ▸●○") for each in lines[-4:]] == ["a", "b", "c", "d"]
        await pilot.press("escape", "home")
        assert shown(view)[0] == " Group"


async def test_going_to_a_hidden_field_unfolds_it(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        assert screen.view.go(f"{ALIGN}.delete_intermediate")
        assert at(screen.view) == "delete intermediate"
        assert not screen.view.go("tsCtf.window")


async def test_the_cursor_stays_on_its_field_in_another_form(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        view = (await opened(pilot)).view
        assert view.go(f"{ALIGN}.calibrate_axis")
        assert view.form is not None
        view.show(replace(view.form, fields=view.form.fields[4:]))
        assert at(view) == "calibrate axis"
        view.show(Form("other", (a_field("one"), a_field("two"))))
        assert view.selected is not None


async def test_an_open_editor_stays_open_when_the_form_is_made_again(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        view = (await opened(pilot)).view
        await pilot.press("down", "enter", "5")
        assert view.form is not None
        view.show(view.form)
        assert edits(view) and "[105" in line(view, "alignment pixel size")
        view.show(Form("other", (a_field("one"),)))
        assert not edits(view)


async def test_a_locked_form_says_why_nothing_changes(align: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(FormApp, "tell", lambda self, sentence, wrong=False: told.append(sentence))
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        screen.view.locked = "This project is not yours."
        await pilot.press("enter", "d", "down", "enter", "5")
        assert told == ["This project is not yours."] * 3 and screen.edits == {}


async def test_other_keys_are_asked_of_the_screen(align: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    copied: list[str] = []
    monkeypatch.setattr(FormApp, "tell", lambda self, sentence, wrong=False: told.append(sentence))
    monkeypatch.setattr(FormApp, "copy_to_clipboard", lambda self, text: copied.append(text))
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("equals_sign", "P", "y")
        await pilot.pause()
        assert screen.asked[0] == "compare"
        asked = screen.asked[1]
        assert isinstance(asked, FormField) and asked.name == f"{ALIGN}.method"
        assert copied == [f"crboost set {ALIGN}.method=AreTomo2"]
        screen.view.go(f"{ALIGN}.patch_size")
        await pilot.press("P", "c", "d", "exclamation_mark")
        assert told[1:] == [
            "This value is the same for all tilt series.", "There is nothing to confirm here.",
            "patch size is at its default.", "Nothing is wrong here.",
        ]  # fmt: skip


async def test_a_preset_fills_the_fields_and_d_empties_them(tmp_path: Path) -> None:
    sources = read_sources(make_project(tmp_path / "p", 2), DATA)
    async with FormApp(lambda edits: resource_form(sources, ALIGN, edits)).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("enter", "l", "enter")
        assert screen.edits[f"{ALIGN}.resources.memory_gb"] == "64"
        assert "large" in line(screen.view, "preset") and " 64 " in line(screen.view, "memory")
        await pilot.press("d")
        assert set(screen.edits.values()) == {None} and " 16 " in line(screen.view, "memory")


async def test_what_the_files_say_is_confirmed_with_one_key(tmp_path: Path) -> None:
    sources = read_sources(make_project(tmp_path / "p", 2), DATA)
    unsure = Registry(
        tuple(
            replace(each, detected={**each.detected, "voltage_kv": Sourced(300.0, "assumed", False)})
            for each in sources.registry.series
        )
    )
    make = lambda edits: acquisition_form(sources.project, unsure, "batch1", edits)  # noqa: E731
    async with FormApp(make).run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot)
        await pilot.press("exclamation_mark")
        assert at(screen.view) == "voltage"
        assert "Set" not in line(screen.view, "voltage") and "✗" in line(screen.view, "voltage")
        await pilot.press("c")
        assert screen.edits == {"acquisition.batch1.voltage_kv": CONFIRMED}
        assert "✗" not in line(screen.view, "voltage")


async def test_tab_completes_a_path_from_the_disk(tmp_path: Path) -> None:
    (tmp_path / "gains").mkdir()
    for name in ("gain_1.mrc", "gain_2.mrc"):
        (tmp_path / "gains" / name).touch()
    make = a_form(a_field("gain", f"{tmp_path}/ga", kind="path"), a_field("other"))
    async with FormApp(make).run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot)
        view = screen.view
        await pilot.press("enter", "tab")
        await until(pilot, lambda: "gains/" in line(view, "gain"))
        await pilot.press("tab")
        await until(pilot, lambda: "gain_1.mrc  gain_2.mrc" in "\n".join(shown(view)))
        await pilot.press("1", "tab")
        await until(pilot, lambda: "gain_1.mrc" in line(view, "gain"))
        await pilot.press("enter")
        assert screen.edits == {"job.gain": f"{tmp_path}/gains/gain_1.mrc"}


async def test_several_series_are_set_together() -> None:
    field = a_field("window", "512", names=("job.window@TS_2",), per_series=2)
    async with FormApp(a_form(replace(field, name="job.window@TS_1"))).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("enter", "0", "enter")
        assert screen.edits == {"job.window@TS_1": "5120", "job.window@TS_2": "5120"}


async def test_the_mouse_selects_edits_and_picks(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        view = screen.view
        await pilot.click(FormView, offset=(10, 3))
        assert at(view) == "sample thickness" and not edits(view)
        await pilot.click(FormView, offset=(10, 3))
        assert edits(view)
        await pilot.click(FormView, offset=(10, 1))
        assert not edits(view)
        await pilot.click(FormView, offset=(10, 1))
        await pilot.click(FormView, offset=(30, 4))
        await pilot.pause()
        assert screen.edits == {f"{ALIGN}.method": "IMOD patches"}


async def test_what_was_typed_counts_when_a_person_goes_elsewhere(align: Maker) -> None:
    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("down", "enter", "5")
        await pilot.click(FormView, offset=(10, 6))
        assert screen.edits == {f"{ALIGN}.alignment_pixel_size": "105"}
        await pilot.press("enter", "7")
        screen.set_focus(None)
        await pilot.pause()
        assert screen.edits == {f"{ALIGN}.alignment_pixel_size": "105", f"{ALIGN}.tilt_axis": "7"}


async def test_an_editor_stays_open_while_the_terminal_s_window_is_left(align: Maker) -> None:
    from textual import events

    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("down", "enter", "5")
        pilot.app.post_message(events.AppBlur())
        await pilot.pause()
        pilot.app.post_message(events.AppFocus())
        await pilot.pause()
        assert edits(screen.view) and screen.edits == {}
        await pilot.press("6", "enter")
        assert screen.edits == {f"{ALIGN}.alignment_pixel_size": "1056"}


async def test_pasted_text_is_typed_into_the_editor_and_nowhere_else(align: Maker) -> None:
    from textual import events

    async with FormApp(align).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        screen.view.post_message(events.Paste("dqa"))
        await pilot.press("down", "enter", "ctrl+u")
        screen.view.post_message(events.Paste("7.5\nrm -rf"))
        await pilot.pause()
        await pilot.press("enter")
        assert screen.edits == {f"{ALIGN}.alignment_pixel_size": "7.5"}


@pytest.mark.parametrize("width", range(40, 171, 10))
async def test_nothing_is_wider_than_the_screen(align: Maker, width: int) -> None:
    async with FormApp(lambda edits: align({f"{ALIGN}.sample_thickness": "thick"})).run_test(size=(width, 12)) as pilot:
        view = (await opened(pilot)).view
        await pilot.press("a", "end", "enter", "home")
        for y in range(view.size.height):
            assert view.render_line(y).cell_length == view.size.width
        assert "thick" in "\n".join(shown(view)), "a value is not shown"


@pytest.mark.parametrize("height", [1, 2, 3, 4, 8, 9, 14, 15])
async def test_the_cursor_is_on_the_screen_at_every_height(align: Maker, height: int) -> None:
    async with FormApp(align).run_test(size=(60, height)) as pilot:
        view = (await opened(pilot)).view
        await pilot.press("a")
        for _ in range(22):
            await pilot.press("down")
            assert sum(each.startswith("▸") for each in shown(view)) == 1
        for _ in range(22):
            await pilot.press("up")
            assert sum(each.startswith("▸") for each in shown(view)) == 1


def test_the_editor_moves_cuts_and_shows_its_cursor() -> None:
    editor = LineEditor("one two")
    for key in ("ctrl+w", "3", "home", "delete", "right", "end"):
        assert editor.press(key, key if len(key) == 1 else None)
    assert (editor.text, editor.cursor) == ("ne 3", 4)
    assert not editor.press("f5", None) and not editor.press("ctrl+p", "\x10")
    editor = LineEditor("abcdefghij")
    assert editor.window(5) == ("ghij", " ", "")
    editor.press("home", None)
    assert editor.window(5) == ("", "a", "bcde")
    assert (
        "".join(LineEditor("漢字漢字").window(6)) == "字漢字 "[1:]
        or len("".join(LineEditor("漢字漢字").window(6))) <= 6
    )


# ---- What goes to the terminal


def test_an_arrow_costs_few_bytes_and_an_open_editor_none(tmp_path: Path) -> None:
    root = make_project(tmp_path / "p", 3)
    command = [sys.executable, "-P", "-m", "tests.tui.form_app", str(root), ALIGN]
    with Terminal(command, tmp_path) as terminal:
        terminal.until(b"Advanced")
        terminal.write(b"a")
        terminal.read(0.5)
        sizes = []
        for key in (b"\x1b[B",) * 12 + (b"\x1b[A",) * 12:
            terminal.write(key)
            sizes.append(len(terminal.read(0.15)))
        assert 0 < max(sizes) <= 500, sizes
        assert sum(size > 0 for size in sizes) >= 20
        terminal.write(b"\x1b[B\r7")
        assert terminal.read(1.0)
        assert terminal.read(1.5) == b"", "an open editor costs bytes"


async def test_sixty_fields_are_shown_in_less_than_20_ms() -> None:
    fields = tuple(
        a_field(f"field {number}", group=f"Group {number // 8}", unit="Å", allowed="1–500", help="Help. " * 12)
        for number in range(60)
    )
    async with FormApp(a_form(a_field("one"))).run_test(size=(140, 45)) as pilot:
        view = (await opened(pilot)).view
        taken = []
        for number in range(20):
            form = Form("Sixty", (*fields[:number], *fields[number + 1 :]))
            begun = time.thread_time()
            view.show(form)
            for y in range(view.size.height):
                view.render_line(y)
            taken.append(time.thread_time() - begun)
        assert min(taken) < 0.02


# ---- Pictures


@pytest.mark.parametrize("size", SIZES)
def test_a_form_with_everything(snap_compare: SnapCompare, align: Maker, size: tuple[int, int]) -> None:
    make = lambda edits: align({f"{ALIGN}.method": "IMOD patches", f"{ALIGN}.min_fov": "0.5", **edits})  # noqa: E731
    keys = ("a", "down", "down", "down")
    assert snap_compare(FormApp(make), terminal_size=size, run_before=pressing(*keys))


@pytest.mark.parametrize("size", SIZES)
def test_a_form_with_problems(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    sources = read_sources(make_project(tmp_path / "p", 2), DATA)
    wrong = {
        "tsReconstruct.pixel_size": "10.123", "tsReconstruct.halfmap_tilts": "true",
        "tsReconstruct.subvolume_size": "8", "tsReconstruct.deconvolve": "true",
    }  # fmt: skip
    make = lambda edits: parameter_form(sources, "tsReconstruct", {**wrong, **edits})  # noqa: E731
    keys = ("exclamation_mark", "exclamation_mark", "up", "enter", "9")
    assert snap_compare(FormApp(make), terminal_size=size, run_before=pressing(*keys))


@pytest.mark.parametrize("size", SIZES)
def test_a_form_beside_another(snap_compare: SnapCompare, align: Maker, tmp_path: Path, size: tuple[int, int]) -> None:
    sources = read_sources(make_project(tmp_path / "q", 2), DATA)
    changed = {
        f"{ALIGN}.method": "IMOD patches",
        f"{ALIGN}.alignment_pixel_size": "12.5",
        f"{ALIGN}.mask_images": "true",
    }
    make = lambda edits: parameter_form(sources, ALIGN, {**changed, **edits}, compare="defaults")  # noqa: E731
    assert snap_compare(FormApp(make), terminal_size=size, run_before=pressing("down"))


@pytest.mark.parametrize("size", [(80, 24), (120, 34)])
def test_a_choice_is_open(snap_compare: SnapCompare, align: Maker, size: tuple[int, int]) -> None:
    assert snap_compare(FormApp(align), terminal_size=size, run_before=pressing("enter", "down"))


@pytest.mark.parametrize("size", SIZES)
def test_resources(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    sources = read_sources(make_project(tmp_path / "p", 2), DATA)
    edited = {f"{ALIGN}.resources.minutes": "90", f"{ALIGN}.resources.partition": "gpu"}
    make = lambda edits: resource_form(sources, ALIGN, {**edited, **edits})  # noqa: E731
    assert snap_compare(FormApp(make), terminal_size=size, run_before=pressing("down", "down", "down", "down"))


@pytest.mark.parametrize("size", SIZES)
def test_acquisition_values(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    sources = read_sources(make_project(tmp_path / "p", 2), DATA)
    make = lambda edits: acquisition_form(sources.project, sources.registry, "batch1", edits)  # noqa: E731
    assert snap_compare(FormApp(make), terminal_size=size, run_before=pressing("slash", "t", "i", "l", "t"))


def test_a_job_without_parameters(snap_compare: SnapCompare) -> None:
    make: Maker = lambda edits: Form("Nothing", ())  # noqa: E731
    assert snap_compare(FormApp(make), terminal_size=(80, 24), run_before=pressing("down", "enter"))


def test_a_form_in_half_of_a_small_screen(snap_compare: SnapCompare, align: Maker) -> None:
    make = lambda edits: align({f"{ALIGN}.sample_thickness": "thick", **edits})  # noqa: E731
    assert snap_compare(FormApp(make), terminal_size=(48, 20), run_before=pressing("down", "down"))


def test_what_ran_stands_beside_what_is_set_now(snap_compare: SnapCompare) -> None:
    fields = (
        a_field("window", "512", unit="px", allowed="128–2048", used="1024", help="Side of the power spectra."),
        a_field("range low", "30", unit="Å", per_series=3),
        a_field(
            "defocus", "5", unit="µm", findings=(Finding("warning", "TS_01: more than the microscope was set to."),)
        ),
        a_field("phase", "false", kind="bool", edited=True),
    )
    assert snap_compare(FormApp(a_form(*fields)), terminal_size=(120, 34), run_before=pressing())


def test_a_form_without_utf8(snap_compare: SnapCompare, align: Maker) -> None:
    make = lambda edits: align({f"{ALIGN}.sample_thickness": "thick", **edits})  # noqa: E731
    app = FormApp(make, utf8=False)
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing("a", "down", "down"))


def test_a_form_on_a_light_ground(snap_compare: SnapCompare, align: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUAL_THEME", "crboost-light")
    make = lambda edits: align({f"{ALIGN}.sample_thickness": "thick", **edits})  # noqa: E731
    assert snap_compare(FormApp(make), terminal_size=(120, 34), run_before=pressing("down", "enter"))
