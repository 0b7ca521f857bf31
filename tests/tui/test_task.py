"""The page of one task: what it says in each state, what it shows, and what its keys do."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from core.engine import requests
from core.engine.ledger import Ledger
from core.engine.plan import make_plan
from core.engine.status import Status, save_status
from core.errors import InputError
from core.project.layout import ProjectPaths
from crboost_tui.app import CrboostApp
from crboost_tui.screens import task
from crboost_tui.screens.ask import AskScreen
from crboost_tui.screens.monitor import MonitorScreen
from crboost_tui.screens.task import TaskScreen
from crboost_tui.task_facts import FactsReader
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.log_view import LogView
from tests.rehearsed import DATA, rehearsal
from tests.tui import seed
from tests.tui.until import until

SnapCompare = Callable[..., bool]
SIZES = [(80, 24), (120, 34), (200, 60)]
ALIGNMENT = "External/job004"
LOG = (
    "Running command AreTomo2 with:\npixel_size = 10\nInput: Position_3.st\n"
    + "".join(f"Patch {number} of 16: shift {number * 1.7:.1f} {number * -0.9:.1f} nm\n" for number in range(1, 17))
    + "WARNING: 2 tilts have no movie\nTracking  10 %\rTracking  60 %\rTracking 100 %\n"
    + "Error: the alignment did not converge for 16 of 16 patches, no .aln was written\n[crboost] failed\n"
)


def attempt(root: Path, job: str, key: str, number: int, **files: str) -> Path:
    """One attempt that began 75 s before it failed; ``files`` by ending. Returns its log."""
    folder = root / job / "tasks" / key
    folder.mkdir(parents=True, exist_ok=True)
    for ending, text in {"out": LOG, "err": "", "sh": "#!/usr/bin/env bash\n# by crboost\nset -u\n", **files}.items():
        (folder / f"{number}.{ending}").write_text(text, encoding="utf-8")
    began = int(seed.NOW) - 1000 + 100 * number
    start = {"job": "123_4", "host": "gpu04.cluster", "boot": "", "pid": 1, "pid_start": 1, "time": began}
    (folder / f"{number}.start").write_text(json.dumps(start), encoding="utf-8")
    if number != RUNNING:
        reason = f"AreTomo2 ended with code {number}, no .aln written"
        end = {"state": "failed", "code": 1, "step": "command 1 of 1", "reason": reason, "job": "", "host": "gpu04"}
        (folder / f"{number}.state").write_text(
            json.dumps({**end, "start": began, "end": began + 75}), encoding="utf-8"
        )
    return folder / f"{number}.out"


RUNNING = 3


def own_attempt(root: Path, key: str) -> None:
    """What a task leaves behind that crboost does itself."""
    folder = attempt(root, "Import/job001", key, 1).parent
    for ending in ("out", "err", "sh"):
        (folder / f"1.{ending}").unlink()
    end = json.loads((folder / "1.state").read_text())
    (folder / "1.state").write_text(json.dumps({**end, "state": "done", "code": 0, "reason": "", "end": end["start"]}))


def project(folder: Path, change: Callable[[Status], None] = lambda found: None) -> Path:
    """A seeded project in which the third series failed twice in the alignment."""
    found = seed.status()
    found.jobs[3].attempts[2] = 2
    found.jobs[3].queue_ids["Position_3"] = "123_4"
    found.jobs[3].usage["Position_3"] = {"minutes": 1.25, "memory_gb": 14.2, "cpu_percent": 88.0}
    change(found)
    root = seed.write(folder / "ribosome", found)
    attempt(root, ALIGNMENT, "Position_3", 1, out="the first attempt\n")
    attempt(root, ALIGNMENT, "Position_3", 2, err="CUDA out of memory\n")
    return root


async def opened(pilot: Pilot[Any], root: Path, job: str, key: str, part: str = "log") -> TaskScreen:
    screen = TaskScreen(root, job, key, opened=part)
    await pilot.app.push_screen(screen)
    await until(pilot, lambda: screen.facts is not None or screen._problem)
    return screen


def lines(screen: TaskScreen) -> list[str]:
    return screen.query_one(LogView).visible_lines()


def empty(screen: TaskScreen) -> str:
    view = screen.query_one(LogView)
    return " ".join(view._empty(y) for y in range(view.rows)).strip()


def said(screen: TaskScreen, id: str) -> str:
    line = screen.query_one(f"#{id}", Line)
    return f"{line._left.plain}  {line._right.plain}".strip()


def cause(screen: TaskScreen) -> str:
    line = screen.query_one("#cause", Static)
    return str(line.content) if line.display else ""


def telling(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sentences: list[str] = []
    monkeypatch.setattr(CrboostApp, "tell", lambda self, sentence, wrong=False: sentences.append(sentence))
    return sentences


def asking(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    asked: list[Any] = []
    monkeypatch.setattr(requests, "retry", lambda root, data, **choice: asked.append(("retry", choice)))
    monkeypatch.setattr(requests, "ask", lambda root, kind, **choice: asked.append((kind, choice)))
    monkeypatch.setattr("core.engine.start.ensure_engine", lambda root, data: "engine started")
    return asked


async def test_a_failed_task_says_how_where_and_why_and_shows_its_log(tmp_path: Path) -> None:
    root = project(tmp_path)
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot, root, "aligntiltsWarp", "Position_3")
        await until(pilot, lambda: lines(screen)[-1:] == ["[crboost] failed"])
        assert "Tracking 100 %" in lines(screen) and "Tracking  60 %" not in lines(screen)
        assert said(screen, "head").startswith("✗ Position_3  Alignment   failed")
        assert cause(screen) == "AreTomo2 ended with code 1, no .aln written"
        assert said(screen, "facts") == (
            "attempt 2 of 2 [ ]   failed after 1 m 15 s on gpu04   Slurm's job 123_4, 1 m, 14.2 GB, 88 % of its cores"
        )
        assert "External/job004/tasks/Position_3/2.out" in said(screen, "parts")


async def test_earlier_attempts_can_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(tmp_path)
    sentences = telling(monkeypatch)
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot, root, "aligntiltsWarp", "Position_3")
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: lines(screen) == ["the first attempt"])
        assert said(screen, "facts").startswith("attempt 1 of 2 [ ]   failed after 1 m 15 s on gpu04")
        assert "123_4" not in said(screen, "facts"), "Slurm's numbers are of the newest"
        await pilot.press("left_square_bracket")
        assert sentences == ["There is no earlier attempt."]
        await pilot.press("2")
        await until(pilot, lambda: lines(screen)[-1:] == ["[crboost] failed"])
        await pilot.press("right_square_bracket", "3")
        assert sentences[1:] == ["There is no later attempt.", "There is no attempt 3."]


async def test_a_new_attempt_is_followed_as_soon_as_it_begins(tmp_path: Path) -> None:
    root = project(tmp_path)
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot, root, "aligntiltsWarp", "Position_3")
        await until(pilot, lambda: lines(screen)[-1:] == ["[crboost] failed"])
        attempt(root, ALIGNMENT, "Position_3", 4, out="once more\n")
        await until(pilot, lambda: lines(screen) == ["once more"])
        assert said(screen, "facts").startswith("attempt 4 of 4")


async def test_errors_script_and_numbers_are_a_key_away(tmp_path: Path) -> None:
    root = project(tmp_path)
    tilts = {"angle_deg": [0.0, 3.0, -3.0], "shift_x_angstrom": [1.25, -20.5, None]}
    gathered = {"key": "Position_1", "mark": "m", "row": {}, "numbers": {}, "tilts": tilts, "notes": []}
    ProjectPaths(root).gathered.mkdir()
    (ProjectPaths(root).gathered / "aligntiltsWarp.jsonl").write_text(
        json.dumps(gathered, separators=(",", ":")) + "\n"
    )
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot, root, "aligntiltsWarp", "Position_3")
        await pilot.press("E")
        await until(pilot, lambda: lines(screen) == ["CUDA out of memory"])
        await pilot.press("s")
        await until(pilot, lambda: lines(screen)[:1] == ["#!/usr/bin/env bash"])
        await pilot.press("tab", "tab")
        await until(pilot, lambda: lines(screen)[-1:] == ["[crboost] failed"])
        await pilot.press("K", "K", "number_sign")
        await until(pilot, lambda: lines(screen)[:1] == ["Position_1 in Alignment"])
        shown = " ".join(" ".join(lines(screen)).split())
        assert "largest shift 112 Å" in shown
        assert "Tilts tilt shift x Å taken -3.0 – 3 0.0 1.2 1 +3.0 -20.5 2" in shown


async def test_the_series_of_the_job_are_one_key_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(tmp_path)
    attempt(root, ALIGNMENT, "@axis_batch1", 1, out="the axis\n")
    sentences = telling(monkeypatch)
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot, root, "aligntiltsWarp", "Position_2")
        await pilot.press("J")
        await until(pilot, lambda: lines(screen)[-1:] == ["[crboost] failed"])
        await pilot.press("K", "K")
        await until(pilot, lambda: screen.facts is not None and screen.facts.name == "Position_1")
        await pilot.press("K")
        assert sentences == ["This is the first one."]
        for _ in range(9):
            before = screen.key
            await pilot.press("J")
            await until(pilot, lambda: screen.facts is not None and screen.facts.key != before)  # noqa: B023
        await until(pilot, lambda: lines(screen) == ["the axis"])
        assert said(screen, "head").startswith("✓ axis batch1  Alignment   done")


async def test_a_task_of_our_own_says_what_it_did_instead_of_a_log(tmp_path: Path) -> None:
    root = project(tmp_path)
    own_attempt(root, "Position_1")
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot, root, "importmovies", "Position_1")
        for key in ("l", "E", "s"):
            await pilot.press(key)
            await until(pilot, lambda: lines(screen)[:1] != [])
            assert lines(screen)[0] == "Import movies is done by crboost itself: there is no log and no script."
        assert any("accumulated dose" in line for line in lines(screen))
        assert lines(screen)[lines(screen).index("What became of it") + 1] == "  done"
        assert " ".join(lines(screen)[-1].split()) == "tilts 41"


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("q", "Queued. Its log begins when it starts."),
        ("o", "Ready: all that it needs is done, and it has not been submitted yet."),
        ("b", "Blocked: aligntiltsWarp did not succeed for this series. r runs again what failed in this series"),
        ("-", "This series is excluded. crboost include --series Position_9 takes it in again."),
        ("!", "It waits for you: aligntiltsWarp did not succeed for this series"),
        ("?", "It is not known what became of it: the queue does not answer."),
        ("s", "This task has not run yet."),
        ("+", "The files of its attempts are not there (any more)."),
    ],
)
async def test_a_task_without_a_log_says_why(tmp_path: Path, state: str, why: str) -> None:
    def change(found: Status) -> None:
        found.jobs[5].states[8] = state
        found.jobs[5].attempts[8] = int(state == "+")
        if state in "b!":
            found.jobs[5].causes["Position_9"] = "aligntiltsWarp did not succeed for this series"

    root = project(tmp_path, change)
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot, root, "tsCtf", "Position_9")
        await until(pilot, lambda: empty(screen))
        assert empty(screen).startswith(why)
        assert said(screen, "facts").startswith("attempt 1" if state == "+" else "no attempt yet")


async def _what_it_waits_for(root: Path) -> str:
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot, root, "fsMotionAndCtf", "Position_1")
        await until(pilot, lambda: empty(screen))
        await pilot.press("s")
        await until(pilot, lambda: lines(screen)[:1] == ["#!/usr/bin/env bash"])
        assert any("fsMotionAndCtf, tilt series Position_1, attempt 1" in line for line in lines(screen))
        await pilot.press("l")
        await until(pilot, lambda: empty(screen))
        return empty(screen)


def test_a_waiting_task_names_the_steps_before_it_and_shows_the_script_that_would_run(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3)
    ledger = Ledger(ProjectPaths(root))
    ledger.adopt(make_plan(root, DATA), "test (REHEARSAL)", True)
    save_status(ledger.paths, ledger.status)
    found = asyncio.run(_what_it_waits_for(root))
    assert found.startswith("Waiting for ") and "(waiting)" in found
    assert found.endswith("No engine runs now: R in the monitor runs everything.")


async def test_a_task_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    root = project(tmp_path)
    async with CrboostApp(None, utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, root, "tsDenoise", "Position_1")
        assert empty(screen) == "There is no job tsDenoise in this project."
        for key in ("s", "number_sign", "E", "J", "r", "x", "y", "Y", "e", "n", "left_square_bracket", "v", "l"):
            await pilot.press(key)
        await pilot.pause(0.5)
        assert pilot.app.is_running and isinstance(pilot.app.screen, TaskScreen)


async def test_a_project_that_vanishes_is_said_and_waited_for(tmp_path: Path) -> None:
    root = project(tmp_path)
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot, root, "aligntiltsWarp", "Position_3")
        state = screen.query_one("#state", Line)
        await until(pilot, lambda: state._left.plain.startswith("following"))
        root.rename(tmp_path / "away")
        await until(pilot, lambda: state._left.plain == "the file is gone")
        said = f"{root} is not there any more: it goes on when the folder is back."
        await until(pilot, lambda: cause(screen) == said)
        assert lines(screen)[-1:] == ["[crboost] failed"], "what was read stays"
        (tmp_path / "away").rename(root)
        await until(pilot, lambda: state._left.plain.startswith("following"))
        await until(pilot, lambda: cause(screen).startswith("AreTomo2"))


async def test_retry_asks_for_the_series_and_says_why_where_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, asked, sentences = project(tmp_path), asking(monkeypatch), telling(monkeypatch)
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        await opened(pilot, root, "aligntiltsWarp", "Position_2")
        await pilot.press("r")
        assert sentences == ["Only what failed, was stopped, blocked or is stale is run again: this is done."]
        assert asked == []
        await pilot.press("escape")
        await opened(pilot, root, "aligntiltsWarp", "Position_3")
        await pilot.press("r")
        await until(pilot, lambda: sentences[1:] == ["Position_3: retry asked for. engine started"])
        assert asked == [("retry", {"series": ["Position_3"]})]


async def test_a_refused_retry_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("The pipeline cannot run yet.")

    root, sentences = project(tmp_path), telling(monkeypatch)
    monkeypatch.setattr(requests, "retry", refuse)
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        await opened(pilot, root, "aligntiltsWarp", "Position_3")
        await pilot.press("r")
        await until(pilot, lambda: sentences == ["The pipeline cannot run yet."])


async def test_excluding_asks_first_and_is_for_series_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, asked, sentences = project(tmp_path), asking(monkeypatch), telling(monkeypatch)
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        await opened(pilot, root, "aligntiltsWarp", "@axis_batch1")
        await pilot.press("x")
        assert sentences == ["Only a tilt series can be excluded."]
        await pilot.press("escape")
        await opened(pilot, root, "aligntiltsWarp", "Position_3")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskScreen))
        screen = pilot.app.screen
        assert isinstance(screen, AskScreen) and screen.impact.startswith("Its 3 finished steps stay on disk")
        await pilot.press("n", "x")
        assert asked == []
        await until(pilot, lambda: isinstance(pilot.app.screen, AskScreen))
        await pilot.press("y")
        await until(pilot, lambda: asked == [("exclude", {"series": ["Position_3"]})])


async def test_path_and_script_are_copied(tmp_path: Path) -> None:
    root = project(tmp_path)
    async with CrboostApp(None, utf8=True).run_test(size=(120, 34)) as pilot:
        screen = await opened(pilot, root, "aligntiltsWarp", "Position_3")
        await until(pilot, lambda: lines(screen))
        await pilot.press("y")
        assert pilot.app.clipboard == str(root / ALIGNMENT / "tasks/Position_3/2.out")
        await pilot.press("Y")
        await until(pilot, lambda: pilot.app.clipboard == "#!/usr/bin/env bash\n# by crboost\nset -u\n")


async def test_escape_goes_back_to_the_monitor_with_its_cursor_where_it_was(tmp_path: Path) -> None:
    root = project(tmp_path)
    async with CrboostApp(root, utf8=True).run_test(size=(120, 34)) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.screen, MonitorScreen) and pilot.app.screen.picture is not None)
        monitor = pilot.app.screen
        assert isinstance(monitor, MonitorScreen)
        await pilot.press("f", "l")
        await until(pilot, lambda: isinstance(pilot.app.screen, TaskScreen) and lines(pilot.app.screen))
        await pilot.press("J", "slash", "x", "escape", "escape")
        await until(pilot, lambda: pilot.app.screen is monitor)
        matrix = monitor.query_one("#matrix")
        assert (matrix.row, matrix.column) == (2, 3)  # type: ignore[attr-defined]


# -- pictures


def taken(root: Path, job: str, key: str, *keys: str, part: str = "log") -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Open a task, wait until it shows something, and press keys."""

    async def before(pilot: Pilot[Any]) -> None:
        screen = await opened(pilot, root, job, key, part)
        await until(pilot, lambda: lines(screen) or empty(screen))
        for name in keys:
            await pilot.press(name)
        await pilot.pause(0.7)

    return before


@pytest.fixture
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day as it is in the seeded projects."""
    monkeypatch.setattr(task, "time", SimpleNamespace(time=lambda: seed.NOW, monotonic=time.monotonic))


@pytest.mark.usefixtures("_still")
@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_failed_task(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = project(tmp_path)
    before = taken(root, "aligntiltsWarp", "Position_3", "e")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.usefixtures("_still")
@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_running_task(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    def change(found: Status) -> None:
        found.rehearsal = True
        found.jobs[3].states[2], found.jobs[3].progress["Position_3"] = ">", 0.44
        found.jobs[3].attempts[2] = RUNNING
        found.jobs[3].causes.clear()

    root = project(tmp_path, change)
    attempt(root, ALIGNMENT, "Position_3", RUNNING, out="".join(f"tilt {number} of 41\n" for number in range(300)))
    before = taken(root, "aligntiltsWarp", "Position_3", "up", "pageup")
    # The events that the seeded project ends with say that it failed.
    for path in ProjectPaths(root).events.iterdir():
        path.unlink()
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.usefixtures("_still")
@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_task_that_waits(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = project(tmp_path)
    before = taken(root, "tsAutolevel", "Position_3")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_task_that_is_not_there(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    root = project(tmp_path)
    assert snap_compare(
        CrboostApp(None, utf8=True), terminal_size=size, run_before=taken(root, "tsDenoise", "Position_1")
    )


@pytest.mark.parametrize("size", SIZES)
def test_picture_while_it_is_read(
    snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path)
    slow = threading.Event()
    monkeypatch.setattr(FactsReader, "read", lambda self: slow.wait(20))

    async def before(pilot: Pilot[Any]) -> None:
        await pilot.app.push_screen(TaskScreen(root, "aligntiltsWarp", "Position_3", "x", "AreTomo2 ended with code 1"))
        await pilot.pause(0.3)

    try:
        assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)
    finally:
        slow.set()


@pytest.mark.usefixtures("_still")
@pytest.mark.parametrize("size", SIZES)
def test_picture_of_numbers(snap_compare: SnapCompare, tmp_path: Path, size: tuple[int, int]) -> None:
    def change(found: Status) -> None:
        found.jobs[3].notes["Position_1"] = ["2 tilts were dropped by the alignment"]

    root = project(tmp_path, change)
    angles = [3.0 * number for number in range(-20, 21)]
    tilts = {
        "angle_deg": angles, "shift_x_angstrom": [0.7 * angle for angle in angles],
        "shift_y_angstrom": [None if abs(angle) > 57 else -1.3 * angle + 4 for angle in angles],
    }  # fmt: skip
    gathered = {"key": "Position_1", "mark": "m", "row": {}, "numbers": {}, "tilts": tilts, "notes": []}
    ProjectPaths(root).gathered.mkdir()
    (ProjectPaths(root).gathered / "aligntiltsWarp.jsonl").write_text(
        json.dumps(gathered, separators=(",", ":")) + "\n"
    )
    before = taken(root, "aligntiltsWarp", "Position_1", part="numbers")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.usefixtures("_still")
def test_picture_of_a_task_of_our_own(snap_compare: SnapCompare, tmp_path: Path) -> None:
    root = project(tmp_path)
    own_attempt(root, "Position_1")
    before = taken(root, "importmovies", "Position_1")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=(80, 24), run_before=before)


@pytest.mark.usefixtures("_still")
def test_picture_of_a_search_without_utf8(snap_compare: SnapCompare, tmp_path: Path) -> None:
    before = taken(project(tmp_path), "aligntiltsWarp", "Position_3", "slash", *"patch 1", "enter")
    assert snap_compare(CrboostApp(None, utf8=False), terminal_size=(80, 24), run_before=before)


@pytest.mark.usefixtures("_still")
def test_picture_on_a_light_ground(snap_compare: SnapCompare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUAL_THEME", "crboost-light")
    before = taken(project(tmp_path), "aligntiltsWarp", "Position_3", "slash", *"patch 1")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=(120, 34), run_before=before)


@pytest.mark.usefixtures("_still")
def test_picture_of_a_very_small_terminal(snap_compare: SnapCompare, tmp_path: Path) -> None:
    before = taken(project(tmp_path), "aligntiltsWarp", "Position_3")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=(40, 12), run_before=before)
