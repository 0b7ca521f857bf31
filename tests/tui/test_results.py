"""Results: tables, plots and pictures of what gather has stored, and what their keys do."""

from __future__ import annotations

import fcntl
import json
import math
import re
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.color import Color, ColorSystem
from rich.segment import Segment
from textual.pilot import Pilot

from core.engine.status import Status
from core.errors import InputError
from core.project.layout import ProjectPaths
from core.quality.slices import Slab
from crboost_tui.app import CrboostApp
from crboost_tui.results import Results, outliers, quantity, read_results
from crboost_tui.screens.results import ResultsScreen
from crboost_tui.widgets import image_view, results_view
from crboost_tui.widgets.image_view import ImageView, cell_pixels, picture_form, prepare, scale_bar
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.numbers_table import NumbersTable
from crboost_tui.widgets.plot import Plot, PlotView, draw_plot, sparkline, ticks
from crboost_tui.widgets.results_view import PICTURE, PLOTS, TABLE
from tests.tui import seed
from tests.tui.until import until

SnapCompare = Callable[..., bool]
SIZES = [(80, 24), (120, 34), (200, 60)]
ANGLES = (0.0, 3.0, -3.0, -6.0, 6.0, 9.0, -9.0, -12.0, 12.0, 15.0, -15.0)
"""In the order in which they were taken."""
MOTION, JOB = "fsMotionAndCtf", "tsReconstruct"


@pytest.fixture(autouse=True)
def _in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("TMUX", "STY", "TERM_PROGRAM", "LC_TERMINAL"):
        monkeypatch.delenv(name, raising=False)


def project(root: Path) -> Path:
    """A finished run of nine series, with what gather stores of three of its jobs."""
    found = seed.finished()
    for number, name in enumerate(found.series):
        found.jobs[6].numbers[name] = {"tomogram_pixel_angstrom": 10.0, "tomogram_size_z_px": 30.0 + number % 2}
    found.jobs[1].notes["Position_3"] = ["Tilt 7 (-9.0°) failed and is left out: its CTF was not fitted."]
    seed.write(root, found)
    store(root, "importmovies", found, lambda _: {"tilts": {"angle_deg": ANGLES}})
    store(
        root,
        MOTION,
        found,
        lambda number: {"tilts": tilts(number), "notes": found.jobs[1].notes.get(f"Position_{number}", [])},
    )
    place = "Tomograms/job007/{}.mrc"
    store(
        root, JOB, found, lambda number: {"row": {"rlnTomoReconstructedTomogram": place.format(f"Position_{number}")}}
    )
    (root / "Tomograms/job007").mkdir(parents=True)
    for number in (1, 2):
        write_mrc(root / place.format(f"Position_{number}"), number)
    return root


def tilts(number: int) -> dict[str, list[float | None]]:
    """Smooth numbers; the seventh tilt of the third series has none."""
    missing = 6 if number == 3 else None
    columns = {
        "motion_angstrom_per_frame": [0.2 + abs(angle) / 60 for angle in ANGLES],
        "ctf_resolution_angstrom": [4.5 + (angle / 10) ** 2 for angle in ANGLES],
        "defocus_um": [2.5 + 0.1 * number + math.sin(math.radians(angle)) for angle in ANGLES],
        "astigmatism_um": [0.02 + 0.001 * index for index in range(len(ANGLES))],
    }
    return {
        name: [None if index == missing else round(value, 4) for index, value in enumerate(values)]
        for name, values in columns.items()
    }


def store(root: Path, job: str, found: Status, of: Callable[[int], Mapping[str, Any]]) -> None:
    """Lines as gather writes them."""
    numbers = found.job(job).numbers
    lines = [
        json.dumps(
            {"key": name, "mark": "a", "row": {}, "numbers": numbers[name], "tilts": {}, "notes": [], "problem": "",
             "empty": False, **of(index + 1)},
            separators=(",", ":"),
        )
        for index, name in enumerate(found.series)
    ]  # fmt: skip
    path = ProjectPaths(root).gathered / f"{job}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def write_mrc(path: Path, number: int = 1) -> None:
    """A ball in noise that is always the same: 96 x 96 x 30 voxels of 10 Å."""
    size = (30, 96, 96)
    z, y, x = np.mgrid[: size[0], : size[1], : size[2]]
    volume = np.random.default_rng(number).normal(0, 1, size).astype(np.float32)
    volume[(z - 15) ** 2 + (y - 60) ** 2 + (x - 30) ** 2 < 100] -= 4
    head = bytearray(1024)
    struct.pack_into("<4i", head, 0, 96, 96, 30, 2)
    struct.pack_into("<3i3f", head, 28, 96, 96, 30, 960.0, 960.0, 300.0)
    head[212:214] = b"DD"
    path.write_bytes(bytes(head) + volume.astype("<f4").tobytes())


async def opened(pilot: Pilot[Any], root: Path, job: str, key: str | None = None) -> ResultsScreen:
    screen = ResultsScreen(root, job, key)
    await pilot.app.push_screen(screen)
    await until(pilot, lambda: screen.view.results is not None)
    return screen


def drawn(screen: ResultsScreen) -> bool:
    return screen.view.query_one(ImageView).pictures is not None


def note(screen: ResultsScreen) -> str:
    return screen.view.query_one("#results-note", Line)._left.plain.strip()


def showing(
    root: Path, job: str, key: str | None, *keys: str, picture: bool = False
) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """For a snapshot: open, press, and wait for what comes from threads."""

    async def before(pilot: Pilot[Any]) -> None:
        screen = await opened(pilot, root, job, key)
        await pilot.press(*keys)
        if picture:
            await until(pilot, lambda: drawn(screen))
        await pilot.pause(0.5)

    return before


@pytest.mark.parametrize("size", SIZES)
def test_a_jobs_series_as_a_table(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = project(tmp_path / "p")
    assert snap_compare(CrboostApp(utf8=True), terminal_size=size, run_before=showing(root, MOTION, None, "down"))


@pytest.mark.parametrize("size", SIZES)
def test_plots_of_a_series(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = project(tmp_path / "p")
    before = showing(root, MOTION, "Position_1", "v", "right", "down")
    assert snap_compare(CrboostApp(utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_slabs_of_a_tomogram(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = project(tmp_path / "p")
    before = showing(root, JOB, "Position_1", picture=True)
    assert snap_compare(CrboostApp(utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_gathered_yet(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    found = seed.status()
    found.jobs[6].numbers.clear()
    root = seed.write(tmp_path / "p", found)
    assert snap_compare(CrboostApp(utf8=True), terminal_size=size, run_before=showing(root, JOB, "Position_3"))


@pytest.mark.parametrize("size", SIZES)
def test_a_tomogram_that_is_cut_short(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = project(tmp_path / "p")
    path = root / "Tomograms/job007/Position_1.mrc"
    path.write_bytes(path.read_bytes()[:400_000])

    async def before(pilot: Pilot[Any]) -> None:
        screen = await opened(pilot, root, JOB, "Position_1")
        image = screen.view.query_one(ImageView)
        await until(pilot, lambda: image.wrong)
        # Where the test's folder is has no place in a picture.
        image.say(image.sentence.replace(str(root), "/data"), wrong=True)
        await pilot.pause(0.2)

    assert snap_compare(CrboostApp(utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_while_it_is_read(
    snap_compare: SnapCompare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    root = project(tmp_path / "p")
    monkeypatch.setattr(results_view, "read_results", lambda *_: _never())

    async def before(pilot: Pilot[Any]) -> None:
        await pilot.app.push_screen(ResultsScreen(root, MOTION))
        await pilot.pause(0.3)

    assert snap_compare(CrboostApp(utf8=True), terminal_size=size, run_before=before)


def test_without_utf8(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    before = showing(root, MOTION, "Position_1", "v")
    assert snap_compare(CrboostApp(utf8=False), terminal_size=(80, 24), run_before=before)


def test_a_picture_without_utf8(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    before = showing(root, JOB, "Position_1", picture=True)
    assert snap_compare(CrboostApp(utf8=False), terminal_size=(80, 24), run_before=before)


@pytest.mark.parametrize("job", [MOTION, JOB])
def test_in_a_tiny_terminal(snap_compare: SnapCompare, tmp_path: Path, job: str) -> None:
    root = project(tmp_path / "p")
    before = showing(root, job, "Position_1", *(["v"] if job == MOTION else []), picture=job == JOB)
    assert snap_compare(CrboostApp(utf8=True), terminal_size=(40, 12), run_before=before)


def test_numbers_of_the_tilts_stand_by_angle_with_the_order_in_which_they_were_taken(tmp_path: Path) -> None:
    found = read_results(project(tmp_path / "p"), MOTION, "Position_1")
    table = found.table
    assert table is not None
    assert table.names[0] == "-15.0" and table.names[-1] == "+15.0"
    assert table.names[found.start] == "0.0"
    assert [column.title for column in table.columns] == ["motion", "CTF fit", "defocus", "astigmatism", "taken"]
    assert [column.unit for column in table.columns] == ["Å/frame", "Å", "µm", "µm", ""]
    defocus = table.columns[2]
    assert defocus.values[0] == round(2.6 + math.sin(math.radians(-15.0)), 4)  # -15 degrees, taken last
    assert table.columns[4].values[0] == 11.0


def test_only_the_newest_line_of_a_series_counts_and_a_torn_one_does_not(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    path = ProjectPaths(root).gathered / f"{MOTION}.jsonl"
    newer = {"key": "Position_1", "mark": "b", "tilts": {"defocus_um": [9.0] * len(ANGLES)}, "numbers": {}}
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(newer, separators=(",", ":")) + "\n" + '{"key":"Position_1","mark":"c","tilts":{"def')
    table = read_results(root, MOTION, "Position_1").table
    assert table is not None
    assert set(table.columns[0].values) == {9.0}


def test_a_tilt_without_values_leaves_a_gap_and_its_note_is_said(tmp_path: Path) -> None:
    found = read_results(project(tmp_path / "p"), MOTION, "Position_3")
    assert found.table is not None
    assert found.table.columns[0].values[found.table.names.index("-9.0")] is None
    assert found.notes == ("Tilt 7 (-9.0°) failed and is left out: its CTF was not fitted.",)


def test_without_nominal_angles_the_refined_ones_head_the_rows(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    (ProjectPaths(root).gathered / "importmovies.jsonl").unlink()
    refined = {
        "key": "Position_1",
        "mark": "a",
        "tilts": {"tilt_angle_deg": [0.4, 3.4, -2.6], "shift_x_angstrom": [1, 2, 3]},
    }
    path = ProjectPaths(root).gathered / "aligntiltsWarp.jsonl"
    path.write_text(json.dumps(refined, separators=(",", ":")) + "\n", encoding="utf-8")
    table = read_results(root, "aligntiltsWarp", "Position_1").table
    assert table is not None
    assert table.names == ("-2.6", "+0.4", "+3.4")
    assert list(table.columns[0].values) == [3, 1, 2]
    plain = read_results(root, MOTION, "Position_1").table
    assert plain is not None and (plain.x_title, plain.names[0]) == ("tilt, as taken", "1")


def test_what_is_unknown_is_one_sentence(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    with pytest.raises(InputError, match="There is no job tsNothing"):
        read_results(root, "tsNothing", None)
    with pytest.raises(InputError, match="no crboost.yaml"):
        read_results(tmp_path / "q", MOTION, None)


def test_outliers_are_measured_by_the_median_of_departures() -> None:
    # Median 2.0, departures 0.1 0 0.1 0.2 0.6: their median 0.1, so the limit is 3.5 * 1.4826 * 0.1 = 0.519.
    assert outliers([1.9, 2.0, 2.1, 1.8, 2.6], 0.01) == {4}
    assert outliers([1.9, 2.0, 2.1, 1.8, 2.5], 0.01) == frozenset()
    assert outliers([41.0, 41.0, 41.0, 39.0, 41.0], 0.5) == {3}
    assert outliers([84.81, 84.81, 84.81, 84.86, 84.81], 0.1) == frozenset()  # they read the same
    assert outliers([1.0, 9.0, None, None, None, None]) == frozenset()  # too few to say


def test_names_of_quantities_carry_their_units() -> None:
    assert quantity("motion_angstrom_per_frame") == ("motion", "Å/frame")
    assert quantity("shift_x_angstrom") == ("shift x", "Å")
    assert quantity("dose_e_per_a2") == ("dose", "e/Å²")
    assert quantity("tilts_used") == ("tilts used", "")


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.18, 0.83, 5) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert ticks(-61.0, 61.0, 5, degrees=True) == [-60, -30, 0, 30, 60]
    assert ticks(40.0, 42.0, 6, least=1.0) == [40, 41, 42]


@pytest.mark.parametrize("utf8", [True, False])
def test_points_stand_where_axes_say(utf8: bool) -> None:
    x = (-60.0, 0.0, 60.0)
    plot = Plot("defocus", "µm", "tilt angle", "°", x, (1.0, 2.0, 3.0), ("a", "b", "c"), 1)
    drawing = draw_plot(plot, 61, 14, utf8)
    lines = ["".join(text for text, _ in line) for line in drawing.lines]
    assert len(lines) == 14
    assert "-60" in lines[-1] and "60" in lines[-1]
    for index, value in enumerate(("1.0", "2.0", "3.0")):
        column, row = drawing.cells[index]
        assert f"{value}┤" in lines[row]
        label = re.search(rf"(?<![-\d]){x[index]:.0f}(?!\d)", lines[-1])
        assert label is not None
        assert label.start() <= column <= label.end()
    assert drawing.cells[0][0] < drawing.cells[1][0] < drawing.cells[2][0]
    if not utf8:
        assert lines[drawing.cells[1][1]].isascii() or "┤" in lines[drawing.cells[1][1]]


def test_a_plot_without_values_or_with_one_says_so_or_shows_it() -> None:
    empty = Plot("a", "", "x", "", (1.0, 2.0), (None, math.nan), ("a", "b"), 0)
    assert draw_plot(empty, 40, 8, True).lines[0][0][0].strip() == "no values"
    one = Plot("a", "", "x", "", (1.0, math.nan), (5.0, 6.0), ("a", "b"), 0)
    assert set(draw_plot(one, 40, 8, True).cells) == {0}


def test_a_sparkline_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([1.0, 2.0, None, 3.0], 10) == "▁▅ █"
    assert sparkline([1.0] * 100, 5) == "▁▁▁▁▁"
    assert sparkline([], 5) == ""


def test_a_scale_bar_is_a_round_length_within_half_a_cell() -> None:
    # 20 Å for each cell, 60 cells are 120 nm: a third is 40 nm, so 20 nm are ten cells.
    assert scale_bar(20.0, 60, True) == "━" * 10 + " 20 nm"
    # 13 Å: a third of 78 nm is 26, and 20 nm are 15.4 cells, drawn as 15 and a half.
    assert scale_bar(13.0, 60, True) == "━" * 15 + "╸ 20 nm"
    assert scale_bar(20.0, 60, False) == "=" * 10 + " 20 nm"
    assert scale_bar(0.0, 60, True) == ""


@pytest.mark.parametrize(
    "setting, environ, utf8, colours, expected",
    [
        ("auto", {"TERM": "xterm-256color"}, True, "truecolor", "half-blocks"),
        ("auto", {"TERM": "xterm-kitty"}, True, "truecolor", "kitty"),
        ("auto", {"TERM": "foot"}, True, "256", "sixel"),
        ("auto", {"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, True, "truecolor", "sixel"),
        ("auto", {"TERM": "tmux-256color", "TERM_PROGRAM": "WezTerm"}, True, "256", "half-blocks"),
        ("auto", {"TERM": "xterm-kitty", "TMUX": "/tmp/tmux-1/x"}, True, "truecolor", "half-blocks"),
        ("auto", {"TERM": "xterm-kitty"}, False, "truecolor", "shades"),
        ("auto", {"TERM": "vt220"}, True, None, "shades"),
        ("auto", {"TERM": "xterm"}, True, "standard", "shades"),
        ("half-blocks", {"TERM": "xterm-kitty"}, True, "truecolor", "half-blocks"),
        ("sixel", {"TERM": "xterm"}, True, "standard", "sixel"),
        ("kitty", {"TMUX": "x"}, True, "truecolor", "kitty"),
    ],
)
def test_which_way_pictures_are_drawn(
    setting: str, environ: dict[str, str], utf8: bool, colours: str | None, expected: str
) -> None:
    assert picture_form(setting, environ, utf8=utf8, colours=colours) == expected


def slab(data: bytes, width: int, form_height: int) -> Slab:
    return Slab("XY", 0, 1, width, form_height, 10.0, "slices 1–2 of 3", False, data)


def test_half_blocks_have_the_upper_pixel_in_front_and_the_lower_behind() -> None:
    (lines,) = prepare([slab(bytes([0, 255, 255, 0, 0, 255]), 2, 3)], "half-blocks", (1, 2), utf8=True).lines
    assert [strip.cell_length for strip in lines] == [2, 2]
    first, second = list(lines[0])
    assert (first.text, second.text) == ("▀", "▀")
    assert (_red(first, True), _red(first, False)) == (8, 238)
    assert (_red(second, True), _red(second, False)) == (238, 8)
    assert all(segment.style is not None and segment.style.bgcolor is None for segment in lines[1])


def test_shades_go_from_dark_to_light() -> None:
    data = bytes([0, 60, 120, 180, 255] * 2)
    assert prepare([slab(data, 5, 2)], "shades", (1, 2), utf8=True).lines[0][0].text == " ░▒▓█"
    ascii_text = prepare([slab(data, 5, 2)], "shades", (1, 2), utf8=False).lines[0][0].text
    assert ascii_text.isascii() and ascii_text[0] == " " and ascii_text[-1] == "@"


async def test_enter_leads_into_a_series_and_esc_back_and_out(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    async with CrboostApp(utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, root, MOTION)
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: screen.view.results is not None and screen.view.results.key == "Position_3")
        assert note(screen).startswith("Tilt 7 (-9.0°) failed")
        await pilot.press("escape")
        await until(pilot, lambda: screen.view.results is not None and not screen.view.results.key)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is not screen)


async def test_the_views_follow_each_other_and_lose_no_key(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    async with CrboostApp(utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, root, JOB)
        view = screen.view
        seen = []
        for key in ("v", "v", "tab"):
            seen.append(view.chosen)
            await pilot.press(key)
        assert seen == [TABLE, PLOTS, PICTURE] and view.chosen == TABLE
        assert view.query_one(NumbersTable).display and not view.query_one(PlotView).display
        await pilot.press("v", "down")
        assert view.query_one(NumbersTable).selected == 1  # also where the table is not seen


async def test_in_a_wide_terminal_the_table_stands_beside_plots(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    async with CrboostApp(utf8=True).run_test(size=(200, 60)) as pilot:
        screen = await opened(pilot, root, MOTION)
        view = screen.view
        assert view.query_one(NumbersTable).display and view.query_one(PlotView).display
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: not view.query_one(PlotView).display)
        await pilot.resize_terminal(40, 12)
        await pilot.resize_terminal(200, 60)
        await until(pilot, lambda: view.query_one(PlotView).display)


async def test_sorting_goes_by_the_quantity_under_the_cursor(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    async with CrboostApp(utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, root, MOTION)
        table = screen.view.query_one(NumbersTable)
        assert table.table is not None
        await pilot.press("s")
        assert table.table.names[table.order[0]] == "Position_3"  # 0.74 Å/frame
        assert note(screen) == "sorted by motion, largest first"
        assert table.selected == 0  # the cursor stays on its series
        await pilot.press("s")
        assert table.table.names[table.order[0]] == "Position_1"
        assert note(screen) == "sorted by motion, smallest first"
        await pilot.press("s", "right", "s")
        assert note(screen) == "sorted by CTF fit, largest first"
        assert 2 in table.table.columns[0].odd  # 0.74 among 0.19 ... 0.27


async def test_the_command_for_3dmod_is_copied_and_said(tmp_path: Path) -> None:
    root = project(tmp_path / "my project")
    async with CrboostApp(utf8=True).run_test(size=(200, 24)) as pilot:
        screen = await opened(pilot, root, JOB, "Position_1")
        await until(pilot, lambda: drawn(screen))
        await pilot.press("o")
        command = f"3dmod '{root}/Tomograms/job007/Position_1.mrc'"
        assert pilot.app.clipboard == command
        assert note(screen) == f"copied: {command}"
        other = await opened(pilot, root, MOTION, "Position_1")
        await pilot.press("o")
        assert note(other).startswith("There is no picture to open")


async def test_the_pictures_of_a_job_follow_the_cursor(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    async with CrboostApp(utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, root, JOB)
        image = screen.view.query_one(ImageView)
        await pilot.press("v", "v")
        await until(pilot, lambda: drawn(screen))
        first = image.pictures
        assert "Position_1.mrc" in note(screen)
        await pilot.press("down")
        await until(pilot, lambda: image.pictures is not None and image.pictures != first)
        assert "Position_2.mrc" in note(screen)
        await pilot.press("down")  # of which there is no file
        await until(pilot, lambda: image.wrong)
        assert "Position_3.mrc" in image.sentence


async def test_averages_and_power_spectra_belong_to_the_tilt_under_the_cursor(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    folder = root / "External/job002"
    (folder / "tilt_series").mkdir(parents=True)
    rows = "".join(
        f"{angle} External/job002/average/{index}.mrc External/job002/powerspectrum/{index}.mrc\n"
        for index, angle in enumerate(ANGLES)
    )
    labels = "_rlnTomoNominalStageTiltAngle #1\n_rlnMicrographName #2\n_rlnCtfImage #3\n"
    (folder / "tilt_series/Position_1.star").write_text(f"\ndata_Position_1\n\nloop_\n{labels}{rows}\n")
    found = read_results(root, MOTION, "Position_1")
    assert found.table is not None
    at = found.table.names.index("-3.0")  # the third that was taken
    assert [file.title for file in found.row_pictures[at]] == ["average", "power spectrum"]
    assert found.row_pictures[at][0].path == str(folder / "average/2.mrc")
    async with CrboostApp(utf8=True).run_test(size=(120, 24)) as pilot:
        screen = await opened(pilot, root, MOTION, "Position_1")
        await pilot.press("enter")
        assert screen.view.chosen == PICTURE
        await pilot.press("o")
        assert pilot.app.clipboard == f"relion_display --i {folder}/average/0.mrc"


async def test_new_results_come_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_view, "LOOK_SECONDS", 0.05)
    found = seed.status()
    found.jobs[1].numbers.clear()
    root = seed.write(tmp_path / "p", found)
    async with CrboostApp(utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, root, MOTION)
        view = screen.view
        assert view.results is not None and "no numbers yet" in view.results.empty
        assert view.query_one(ImageView).display
        from core.engine.status import save_status

        found.jobs[1].numbers["Position_1"] = {"defocus_um": 2.5}
        save_status(ProjectPaths(root), found)
        await until(pilot, lambda: view.results is not None and not view.results.empty)
        assert view.query_one(NumbersTable).display


async def test_what_is_shown_is_another_jobs_before_the_first_has_come(tmp_path: Path) -> None:
    """The workspace calls ``show`` for each job that the cursor passes."""
    root = project(tmp_path / "p")
    async with CrboostApp(utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, root, MOTION)
        for job, key in ((JOB, None), (MOTION, "Position_2"), (JOB, "Position_1")):
            screen.view.show(job, key)
        await until(pilot, lambda: drawn(screen))
        assert screen.view.results is not None and screen.view.results.key == "Position_1"


def test_why_there_is_nothing_is_told_by_the_tasks_state(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    assert read_results(root, "tsCtf", "Position_3").empty == (
        "CTF of tilt series of Position_3 has no results yet: blocked by an earlier failure."
    )
    assert read_results(root, "tsCtf", "@axis_batch1").empty == "CTF of tilt series has no task for axis batch1."


async def test_a_file_that_nobody_foresaw_is_said_too(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    line = {"key": "Position_1", "mark": "a", "tilts": {"defocus_um": "2.5"}}
    path = ProjectPaths(root).gathered / f"{MOTION}.jsonl"
    path.write_text(json.dumps(line, separators=(",", ":")) + "\n", encoding="utf-8")
    async with CrboostApp(utf8=True).run_test(size=(80, 24)) as pilot:
        screen = ResultsScreen(root, MOTION, "Position_1")
        await pilot.app.push_screen(screen)
        image = screen.view.query_one(ImageView)
        await until(pilot, lambda: image.wrong)
        assert "Error: " in image.sentence


async def test_a_broken_project_is_said_in_one_sentence(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    async with CrboostApp(utf8=True).run_test(size=(80, 24)) as pilot:
        screen = ResultsScreen(root, "tsNothing")
        await pilot.app.push_screen(screen)
        image = screen.view.query_one(ImageView)
        await until(pilot, lambda: image.wrong)
        assert image.sentence == "There is no job tsNothing in this project."
        await pilot.press("down", "enter", "s", "v", "o")
        assert pilot.app.screen is screen


def test_kittys_ids_are_the_colours_of_the_placeholders_in_both_palettes() -> None:
    for colour, small in image_view._IDS:
        downgraded = Color.from_rgb(*colour).downgrade(ColorSystem.EIGHT_BIT)
        assert downgraded.number == small


async def test_kittys_pictures_are_sent_once_and_stand_as_placeholders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(ImageView, "_write", lambda _, text: sent.append(text))
    monkeypatch.setattr(results_view, "picture_form", lambda *_, **__: "kitty")
    root = project(tmp_path / "p")
    async with CrboostApp(utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, root, JOB, "Position_1")
        await until(pilot, lambda: drawn(screen))
        image = screen.view.query_one(ImageView)
        firsts = [text for text in sent if text.startswith("\x1b_Ga=T,U=1,f=100,q=2,")]
        assert [text.split(",")[4] for text in firsts] == [f"i={0xFF0000}", f"i={0x00FF00}"]
        assert all(len(text) < 4300 and text.endswith("\x1b\\") for text in sent)
        line = image.render_line(1)
        assert line.text.startswith("\U0010eeee\u0305\u0305\U0010eeee")
        assert line.cell_length == image.size.width
        assert image.render_line(2).text.startswith("\U0010eeee\u030d\u0305")
        number = len(sent)
        image.refresh()
        await pilot.pause()
        assert len(sent) == number
    assert sent[-2:] == [f"\x1b_Ga=d,d=I,i={0xFF0000},q=2\x1b\\", f"\x1b_Ga=d,d=I,i={0x00FF00},q=2\x1b\\"]


async def test_sixel_pictures_are_drawn_after_the_last_line_but_not_below_another_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_view, "picture_form", lambda *_, **__: "sixel")
    root = project(tmp_path / "p")
    async with CrboostApp(utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, root, JOB, "Position_1")
        await until(pilot, lambda: drawn(screen))
        image = screen.view.query_one(ImageView)
        await pilot.pause()
        region = image.region
        lines = image.render_lines(region.reset_offset)
        control = list(lines[-1])[-1]
        assert control.control and control.text.count("\x1bP0;1;0q") == 2
        assert control.text.startswith(f"\x1b[{region.y + 2};{region.x + 1}H")
        assert control.text.endswith(f"\x1b[{region.bottom};{region.right + 1}H")
        assert all(line.cell_length == region.width for line in lines)
        assert not any("\x1b" in line.text for line in lines[:-1])
        await pilot.press("question_mark")
        await until(pilot, lambda: pilot.app.screen is not screen)
        assert not any("\x1b" in line.text for line in image.render_lines(region.reset_offset))


def test_without_a_size_in_pixels_a_cell_is_taken_to_be_small(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_terminal(*_: object) -> bytes:
        raise OSError

    monkeypatch.setattr(fcntl, "ioctl", no_terminal)
    assert cell_pixels() == (8, 16)


def _never() -> Results:
    import time

    for _ in range(60):
        time.sleep(0.05)
    raise InputError("nothing came")


def _red(segment: Segment, front: bool) -> int:
    assert segment.style is not None
    color: Color | None = segment.style.color if front else segment.style.bgcolor
    assert color is not None and color.triplet is not None
    return color.triplet.red
