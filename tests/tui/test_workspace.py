"""The workspace: the pipeline and its jobs, by the keyboard, and how it looks."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot

from core.engine.edits import add_job, connect, copy_job, with_edits
from core.engine.lease import Lease
from core.engine.reading import load_status
from core.engine.status import save_status
from core.project.access import Access
from core.project.file import load, save
from core.project.layout import ProjectPaths
from core.project.wanted import Request, read_wanted
from crboost_tui import drafts, workspace_build, workspace_data
from crboost_tui.app import CrboostApp
from crboost_tui.drafts import Draft, draft_path, read_draft, write_draft
from crboost_tui.screens import workspace
from crboost_tui.screens.ask import AskScreen
from crboost_tui.screens.choose import ChooseScreen
from crboost_tui.screens.monitor import MonitorScreen
from crboost_tui.screens.options import OptionsScreen
from crboost_tui.screens.prompt import PromptScreen
from crboost_tui.screens.task import TaskScreen
from crboost_tui.screens.workspace import WorkspaceScreen
from crboost_tui.state import state_folder
from crboost_tui.widgets.form_view import FormView
from crboost_tui.widgets.input_list import InputList
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.log_view import LogView
from crboost_tui.widgets.pipeline_view import PipelineView
from crboost_tui.widgets.script_view import ScriptView
from crboost_tui.widgets.task_list import TaskList
from tests.rehearsed import rehearsal, run_engine, run_to_end, states
from tests.tui import seed
from tests.tui.until import text_of

SnapCompare = Callable[..., bool]
Size = tuple[int, int]
SIZES = [(80, 24), (120, 34), (200, 60)]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rehearsed project of which all is done; only looked at."""
    root = rehearsal(tmp_path_factory.mktemp("finished"), series=2, tilts=3)
    assert run_to_end(root).outcome() == "succeeded"
    return root


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A rehearsed project that never ran."""
    return rehearsal(tmp_path, series=2, tilts=3)


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.engine.start.ensure_engine", lambda root, data, host=None: "engine started")
    monkeypatch.setattr("core.engine.start.stop_now", lambda root, data: "stopped")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the app says in its corner."""
    found: list[str] = []
    monkeypatch.setattr(CrboostApp, "tell", lambda self, sentence, wrong=False: found.append(sentence))
    return found


async def until(pilot: Pilot[Any], condition: Callable[[], Any], what: str = "it did not come") -> None:
    """Wait for something that a thread brings."""
    for _ in range(1500):
        await pilot.pause()
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(what)


def settled(screen: WorkspaceScreen) -> bool:
    """Whether all that follows from what was typed is on the screen."""
    known = screen.opened is not None and screen.pulse is not None
    return known and screen._known == screen._asked and not screen._busy and screen._resting is None


class At:
    """The workspace of one project under the pilot's hand."""

    def __init__(self, root: Path, size: Size = (120, 34), job: str = "", field: str = "") -> None:
        self.root, self.size, self.job, self.field = root, size, job, field
        self.app = CrboostApp(None, utf8=True)

    async def __aenter__(self) -> At:
        self._context = self.app.run_test(size=self.size)
        self.pilot = await self._context.__aenter__()
        await self.pilot.pause()
        self.app.show_workspace(self.root, self.job, self.field)
        await until(self.pilot, lambda: self._workspace() is not None)
        screen = self._workspace()
        assert screen is not None
        self.screen = screen
        await until(self.pilot, lambda: self.screen.pulse is not None and self.screen.opened is not None)
        await self.pilot.pause()
        return self

    def _workspace(self) -> WorkspaceScreen | None:
        return next((each for each in self.app.screen_stack if isinstance(each, WorkspaceScreen)), None)

    async def __aexit__(self, *error: Any) -> None:
        await self._context.__aexit__(*error)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, condition: Callable[[], Any], what: str = "it did not come") -> None:
        await until(self.pilot, condition, what)

    async def settled(self) -> None:
        await self.until(lambda: settled(self.screen), "it did not settle")

    async def type_into(self, name: str, text: str) -> None:
        """Edit a field of the form by the keyboard."""
        form = self.screen.query_one(FormView)
        await self.until(lambda: form.form is not None and name in form.form.by_name, f"no field {name}")
        form.focus()
        assert form.go(name)
        old = form.selected
        assert old is not None
        await self.press("enter", *["backspace"] * len(old.value), *text, "enter")

    def jobs(self) -> list[str]:
        return [line.id for line in self.screen.query_one(PipelineView).rows]

    def requests(self) -> list[Request]:
        return list(read_wanted(self.root).requests)

    def on_top(self, kind: type[Any]) -> bool:
        return isinstance(self.app.screen, kind)


# ---- Values


async def test_a_typed_value_changes_the_script_and_is_saved_by_ctrl_s(fresh: Path, told: list[str]) -> None:
    async with At(fresh, job="fsMotionAndCtf") as at:
        await at.type_into("fsMotionAndCtf.c_range_max", "5")
        assert at.screen.unsaved.edits == {"fsMotionAndCtf.c_range_max": "5"}
        await at.press("4")
        script = at.screen.query_one(ScriptView)
        await at.until(lambda: any("--c_range_max 5" in line.text for line in script.lines), "no new script")
        changed = [line.text.strip() for line in script.lines if line.changed]
        assert any("--c_range_max 5" in text for text in changed) and len(changed) <= 2
        assert load(fresh).model.instance("fsMotionAndCtf").parameters == {}
        await at.press("ctrl+s")
        await at.until(lambda: not at.screen.unsaved)
        assert load(fresh).model.instance("fsMotionAndCtf").parameters == {"c_range_max": 5.0}
        assert any(sentence.startswith("Saved as version") for sentence in told)


async def test_the_script_follows_while_one_types(fresh: Path) -> None:
    async with At(fresh, job="fsMotionAndCtf") as at:
        await at.press("4")
        script = at.screen.query_one(ScriptView)
        await at.until(lambda: any("--c_range_max 6" in line.text for line in script.lines))
        at.screen.on_form_view_typed(FormView.Typed({"fsMotionAndCtf.c_range_max": "4"}))
        await at.until(lambda: any("--c_range_max 4" in line.text for line in script.lines))
        assert not at.screen.unsaved


async def test_a_wrong_value_is_said_and_not_saved(fresh: Path) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.type_into("tsCtf.window", "1")
        await at.until(lambda: any(each.name == "tsCtf.window" for each in at.screen.built.troubles))
        line = next(each for each in at.screen.query_one(PipelineView).rows if each.id == "tsCtf")
        assert line.errors == 1 and line.edited
        await at.press("ctrl+s")
        await at.until(lambda: at.on_top(ChooseScreen))
        assert at.screen.unsaved and load(fresh).model.instance("tsCtf").parameters == {}
        await at.press("enter")
        await at.until(lambda: at.on_top(WorkspaceScreen))
        form = at.screen.query_one(FormView)
        await at.until(lambda: form.selected is not None and form.selected.name == "tsCtf.window")


async def test_a_value_typed_as_it_was_is_no_edit(fresh: Path) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.type_into("tsCtf.window", "256")
        assert at.screen.unsaved
        form = at.screen.query_one(FormView)
        await at.until(lambda: form.form is not None and form.form.by_name["tsCtf.window"].edited)
        form.go("tsCtf.window")
        await at.press("d")
        await at.until(lambda: not at.screen.unsaved)
        await at.until(lambda: form.form is not None and not form.form.by_name["tsCtf.window"].edited)


async def test_u_takes_back_edits_then_versions(fresh: Path, told: list[str]) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.type_into("tsCtf.window", "256")
        await at.type_into("tsCtf.range_low", "40")
        await at.press("u")
        assert at.screen.unsaved.edits == {"tsCtf.window": "256"}
        await at.press("ctrl+s")
        await at.until(lambda: not at.screen.unsaved and not at.screen._busy)
        await at.press("u")
        await at.until(lambda: load(fresh).model.instance("tsCtf").parameters == {})
        await at.until(lambda: any("Restored from version 1. It is version 3 now." in each for each in told))


async def test_a_field_can_be_opened_from_elsewhere(fresh: Path) -> None:
    async with At(fresh, job="tsCtf", field="tsCtf.resources.minutes") as at:
        form = at.screen.query_one(FormView)
        await at.until(lambda: form.selected is not None and form.selected.name == "tsCtf.resources.minutes")
        await at.until(lambda: form.has_focus)
        assert at.screen.job == "tsCtf"


async def test_values_of_the_microscope_stand_on_a_line_of_their_own(fresh: Path) -> None:
    async with At(fresh, field="instrument.voltage_kv") as at:
        await at.type_into("instrument.voltage_kv", "200")
        await at.press("ctrl+s")
        await at.until(lambda: load(fresh).model.instrument.voltage_kv == 200.0)


async def test_a_series_can_have_a_value_of_its_own(fresh: Path) -> None:
    async with At(fresh, job="aligntiltsWarp", field="aligntiltsWarp.sample_thickness") as at:
        form = at.screen.query_one(FormView)
        await at.until(lambda: form.selected is not None and form.selected.name == "aligntiltsWarp.sample_thickness")
        await at.until(lambda: form.has_focus)
        await at.press("P")
        await at.until(lambda: at.on_top(ChooseScreen))
        await at.press("down", "enter")
        own = "aligntiltsWarp.sample_thickness@Position_2"
        await at.type_into(own, "90")
        assert at.screen.unsaved.edits == {own: "90"}
        await at.press("escape")
        assert at.screen.per_series == ()


async def test_values_are_copied_from_another_instance(fresh: Path) -> None:
    loaded = load(fresh)
    model, _ = copy_job(loaded.model, "tsCtf")
    save(fresh, with_edits(model, {"tsCtf__2.window": "256"})[0], loaded.digest)
    async with At(fresh, job="tsCtf") as at:
        await at.press("C")
        await at.until(lambda: at.on_top(ChooseScreen))
        await at.press("enter")
        await at.until(lambda: at.screen.unsaved.edits == {"tsCtf.window": "256"})


# ---- Jobs and inputs


async def test_a_job_is_added_after_the_one_under_the_cursor_and_u_removes_it(fresh: Path) -> None:
    async with At(fresh, job="aligntiltsWarp") as at:
        await at.press("a")
        await at.until(lambda: at.on_top(ChooseScreen))
        await at.press(*"autolevel", "enter")
        await at.until(lambda: "tsAutolevel" in at.jobs())
        assert [each.id for each in load(fresh).model.pipeline][4] == "tsAutolevel"
        await at.until(lambda: at.screen.job == "tsAutolevel" and settled(at.screen))
        await at.press("u")
        await at.until(lambda: "tsAutolevel" not in at.jobs())


async def test_a_job_that_cannot_be_fed_says_why(fresh: Path, told: list[str]) -> None:
    async with At(fresh, job="importmovies") as at:
        await at.press("a")
        await at.until(lambda: at.on_top(ChooseScreen))
        await at.press(*"tsctf", "enter")
        assert at.on_top(ChooseScreen)
        assert any("tsCtf needs alignment, which no job before it makes" in sentence for sentence in told)


async def test_a_job_that_others_need_stays(fresh: Path, told: list[str]) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.press("D")
        await at.until(lambda: told)
        assert "tsReconstruct takes its tilt series ctf from tsCtf" in told[-1]
        assert "tsCtf" in at.jobs()


async def test_the_last_job_goes_after_yes(fresh: Path) -> None:
    async with At(fresh, job="tsReconstruct") as at:
        await at.press("D")
        await at.until(lambda: at.on_top(AskScreen))
        await at.press("y")
        await at.until(lambda: "tsReconstruct" not in at.jobs())
        assert [each.id for each in load(fresh).model.pipeline][-1] == "tsCtf"


async def test_a_copy_gets_the_name_that_was_typed_and_stands_beside_the_first(fresh: Path) -> None:
    async with At(fresh, job="tsReconstruct") as at:
        await at.press("c")
        await at.until(lambda: at.on_top(PromptScreen))
        await at.press(*"fine", "enter")
        await at.until(lambda: "tsReconstruct__fine" in at.jobs())
        await at.settled()
        branches = {line.id: line.branch for line in at.screen.query_one(PipelineView).rows}
        assert (branches["tsCtf"], branches["tsReconstruct"], branches["tsReconstruct__fine"]) == ("", "├ ", "└ ")


async def test_an_input_is_chosen_and_gets_a_fallback(fresh: Path) -> None:
    loaded = load(fresh)
    save(fresh, copy_job(loaded.model, "aligntiltsWarp", id="aligntiltsWarp__imod")[0], loaded.digest)
    async with At(fresh, job="tsCtf") as at:
        await at.press("2", "enter")
        await at.settled()
        inputs = at.screen.query_one(InputList)
        assert [row.producer for row in inputs.rows] == ["", "aligntiltsWarp"]
        await at.press("plus")
        await at.until(lambda: at.on_top(ChooseScreen))
        await at.press("enter")
        await at.until(lambda: [row.producer for row in inputs.rows][1:] == ["aligntiltsWarp", "aligntiltsWarp__imod"])
        await at.press("down", "enter")
        await at.until(lambda: at.on_top(ChooseScreen))
        await at.press(*"imod", "enter")
        await at.until(lambda: [row.producer for row in inputs.rows][1:] == ["aligntiltsWarp__imod"])
        await at.press("ctrl+s")
        await at.until(lambda: load(fresh).model.instance("tsCtf").inputs == {"alignment": ["aligntiltsWarp__imod"]})


# ---- Drafts, conflicts, other people


def another_session() -> None:
    """As after a start of the app anew: what was kept is of a process that is no more."""
    for path in draft_files():
        kept = json.loads(path.read_text())
        path.write_text(json.dumps({**kept, "by": {**kept["by"], "start": "1"}}))
        path.rename(path.with_name(path.stem.rpartition("-")[0] + "-1.json"))


def draft_files() -> list[Path]:
    return list((state_folder() / "drafts").glob("*.json"))


def kept_edits(root: Path) -> dict[str, str | None]:
    draft = read_draft(root)
    return {} if draft is None else dict(draft.edits)


async def test_unsaved_values_are_in_a_draft_within_a_second_and_offered_back(
    fresh: Path,
) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.type_into("tsCtf.window", "256")
        began = time.monotonic()
        await at.until(lambda: read_draft(fresh) is not None)
        assert time.monotonic() - began < 1.0
    another_session()
    async with At(fresh, job="tsCtf") as at:
        await at.until(lambda: at.on_top(OptionsScreen))
        await at.press("k")
        await at.until(lambda: at.screen.unsaved.edits == {"tsCtf.window": "256"})
        await at.press("ctrl+s")
        await at.until(lambda: not at.screen.unsaved)
        await at.until(lambda: draft_files() == [])


async def test_a_draft_that_is_dropped_is_gone(fresh: Path) -> None:
    write_draft(fresh, {"tsCtf.window": "256"})
    another_session()
    async with At(fresh) as at:
        await at.until(lambda: at.on_top(OptionsScreen))
        assert len(draft_files()) == 1
        await at.press("d")
        await at.until(lambda: draft_files() == [])
        assert not at.screen.unsaved


async def test_the_draft_of_an_app_that_lives_is_neither_offered_nor_touched(fresh: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(fresh)
    script = (
        "import sys; from pathlib import Path; from crboost_tui.drafts import write_draft\n"
        "write_draft(Path(sys.argv[1]), {'tsCtf.window': '300'}); print('kept', flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", script, str(link)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdin is not None and first.stdout is not None
    assert first.stdout.readline() == "kept\n"
    try:
        theirs = draft_files()
        async with At(fresh, job="tsCtf") as at:
            await at.settled()
            assert at.on_top(WorkspaceScreen) and not at.screen.unsaved
            await at.type_into("tsCtf.window", "256")
            await at.until(lambda: len(draft_files()) == 2)
            await at.press("u")
            await at.until(lambda: draft_files() == theirs)
        assert "300" in theirs[0].read_text() and read_draft(fresh) is None
    finally:
        first.stdin.close()
        first.wait()
        first.stdout.close()
    left = read_draft(fresh)
    assert left is not None and left.edits == {"tsCtf.window": "300"} and not left.own


def test_a_draft_of_another_host_is_offered_after_hours(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(drafts, "identity", lambda: {"host": "login9", "pid": 7, "start": "1", "user": "ada"})
        write_draft(fresh, {"tsCtf.window": "256"})
    path = draft_files()[0]
    assert read_draft(fresh) is None
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "at": time.time() - drafts.ELSEWHERE_SECONDS - 1}))
    assert read_draft(fresh) is not None


async def test_what_stands_in_the_open_editor_is_in_the_draft_too(fresh: Path) -> None:
    async with At(fresh, job="tsCtf") as at:
        form = at.screen.query_one(FormView)
        await at.until(lambda: form.form is not None and "tsCtf.window" in form.form.by_name)
        form.focus()
        assert form.go("tsCtf.window")
        await at.press("enter", "7")
        began = time.monotonic()
        await at.until(lambda: kept_edits(fresh) == {"tsCtf.window": "5127"})
        assert time.monotonic() - began < 1.0 and not at.screen.unsaved
        await at.press("escape")
        await at.until(lambda: kept_edits(fresh) == {})


async def test_a_state_folder_that_cannot_be_written_is_said_once(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "state" / "crboost").write_text("a file in its place")
    async with At(fresh, job="tsCtf") as at:
        await at.type_into("tsCtf.window", "256")
        await at.until(lambda: any("cannot be kept" in sentence for sentence in told))
        await at.type_into("tsCtf.window", "128")
        await asyncio.sleep(2 * drafts.PAUSE_SECONDS)
        await at.pilot.pause()
        found = [sentence for sentence in told if "cannot be kept" in sentence]
        assert len(found) == 1 and found[0].startswith("Unsaved values cannot be kept over a hang-up: ")
        assert "cannot be written" in found[0] and at.screen.unsaved.edits == {"tsCtf.window": "128"}


async def test_values_of_the_same_session_come_back_unasked(fresh: Path, told: list[str]) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.type_into("tsCtf.window", "256")
        await at.press("escape", "m")
        await at.until(lambda: at.on_top(MonitorScreen))
        assert any("offered back" in sentence for sentence in told)
        await at.until(lambda: draft_path(fresh).exists())
        at.app.show_workspace(fresh)
        await at.until(lambda: isinstance(at.app.screen, WorkspaceScreen) and at.app.screen.unsaved)


async def test_what_somebody_else_saved_meanwhile_is_shown_and_kept(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "LOOK_AT_FILE_SECONDS", 1e9)
    async with At(fresh, job="tsCtf") as at:
        await at.type_into("tsCtf.window", "256")
        loaded = load(fresh)
        save(fresh, with_edits(loaded.model, {"tsCtf.range_low": "40"})[0], loaded.digest)
        await at.press("ctrl+s")
        await at.until(lambda: at.on_top(OptionsScreen))
        assert "range_low" in at.app.screen.told  # type: ignore[attr-defined]
        loaded = load(fresh)  # and once more while the question stands
        save(fresh, with_edits(loaded.model, {"tsCtf.range_low": "41"})[0], loaded.digest)
        await at.press("l")
        await at.until(lambda: at.on_top(WorkspaceScreen) and settled(at.screen))
        form = at.screen.query_one(FormView)
        await at.until(lambda: form.form is not None and form.form.by_name["tsCtf.range_low"].value == "41")
        assert at.screen.unsaved.edits == {"tsCtf.window": "256"}
        await at.press("ctrl+s")
        await at.until(lambda: load(fresh).model.instance("tsCtf").parameters == {"window": 256, "range_low": 41.0})


async def test_edits_stand_on_top_of_what_somebody_else_saved(fresh: Path, told: list[str]) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.type_into("tsCtf.window", "256")
        loaded = load(fresh)
        save(fresh, with_edits(loaded.model, {"tsCtf.range_low": "40"})[0], loaded.digest)
        form = at.screen.query_one(FormView)
        await at.until(lambda: form.form is not None and form.form.by_name["tsCtf.range_low"].value == "40")
        assert form.form is not None and form.form.by_name["tsCtf.window"].value == "256"
        said = "crboost.yaml was changed by somebody else: your 1 edit stands on top of it."
        assert told.count(said) == 1
        await at.press("ctrl+s")
        await at.until(lambda: load(fresh).model.instance("tsCtf").parameters == {"window": 256, "range_low": 40.0})
        await at.until(lambda: not at.screen.unsaved)
        await asyncio.sleep(workspace.LOOK_AT_FILE_SECONDS + 0.3)
        await at.settled()
        assert told.count(said) == 1  # the own save is nobody else's


async def test_a_file_that_somebody_breaks_is_said_and_the_edits_stay(fresh: Path, told: list[str]) -> None:
    async with At(fresh, job="tsCtf") as at:
        form = at.screen.query_one(FormView)
        await at.until(lambda: form.form is not None and "tsCtf.window" in form.form.by_name)
        form.focus()
        assert form.go("tsCtf.window")
        await at.press("enter", "7")
        good = (fresh / "crboost.yaml").read_text()
        (fresh / "crboost.yaml").write_text(good.replace("rehearsal: true", "rehearsal: [true"))
        await at.until(lambda: at.screen.opened is not None and "line" in at.screen.opened.broken)
        assert at.screen.unsaved.edits == {"tsCtf.window": "5127"}
        await at.press("escape", "2")
        await at.until(lambda: "line" in " ".join(at.screen.query_one(InputList).nothing))
        (fresh / "crboost.yaml").write_text(good)
        await at.until(lambda: at.screen.opened is not None and not at.screen.opened.broken)
        assert at.screen.unsaved.edits == {"tsCtf.window": "5127"}


async def test_a_project_that_goes_away_is_said_as_everywhere_and_comes_back(fresh: Path) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.settled()
        fresh.rename(fresh.parent / "away")
        said = f"{fresh} is not there any more: it goes on when the folder is back."
        await at.until(lambda: at.screen._lost == said)
        assert "is not there any more" in " ".join(text_of(at.app))
        (fresh.parent / "away").rename(fresh)
        await at.until(lambda: not at.screen._lost)
        assert "is not there any more" not in " ".join(text_of(at.app))


def test_an_engine_that_died_is_told_as_in_the_monitor(tmp_path: Path) -> None:
    root = middle_of_a_run(tmp_path)
    status = load_status(root)
    status.engine.state, status.engine.host = "died", "login2"
    assert workspace_data.take_pulse(status, "").engine == "the engine died: R starts one"


async def test_in_40_columns_the_footer_names_run_before_adding(fresh: Path) -> None:
    async with At(fresh, size=(40, 12), job="tsCtf") as at:
        await at.settled()
        words = text_of(at.app)[-1].split()
        assert {"enter", "r"} <= set(words) and not {"a", "c"} & set(words), words


async def test_without_edits_another_persons_change_is_simply_shown(fresh: Path) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.settled()
        loaded = load(fresh)
        save(fresh, with_edits(loaded.model, {"tsCtf.window": "256"})[0], loaded.digest)
        form = at.screen.query_one(FormView)
        await at.until(lambda: form.form is not None and form.form.by_name["tsCtf.window"].value == "256")


async def test_in_a_colleagues_project_nothing_can_be_changed(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    monkeypatch.setattr(workspace_data, "access_to", lambda root: Access("ada"))
    async with At(fresh, job="tsCtf") as at:
        await at.settled()
        await at.press("r", "a", "enter", "down", "enter")
        assert told == ["This project belongs to ada: it is open read-only. W works on it all the same."] * 3
        assert not at.screen.unsaved and at.requests() == []
        await at.press("W")
        await at.until(lambda: at.on_top(AskScreen))
        await at.press("y")
        await at.until(lambda: not at.screen.locked)
        await at.settled()
        await at.press("a")
        assert len(told) == 3


async def test_the_keys_of_the_log_hide_those_of_the_screen(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with At(finished, job="tsCtf") as at:
        await at.settled()
        await at.press("enter", "6")
        await at.until(lambda: at.screen.focused is not None and at.screen.focused.id == "log")
        shown = [each.label for each in at.screen.query_one(Keys).actions if each.key == "e"]
        assert shown == ["last error"]
        log = at.screen.focused
        pressed: list[str] = []
        monkeypatch.setattr(type(log), "action_last_error", lambda self: pressed.append("log"))
        monkeypatch.setattr(type(at.screen), "action_redo", lambda self: pressed.append("redo"))
        await at.press("e")
        assert pressed == ["log"]


async def test_a_broken_file_is_said_and_all_else_goes_on(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(finished, root, symlinks=True)
    good = (root / "crboost.yaml").read_text()
    (root / "crboost.yaml").write_text(good.replace("rehearsal: true", "rehearsal: [true"))
    async with At(root) as at:
        assert at.screen.opened is not None and "line" in at.screen.opened.broken
        await at.until(lambda: "tsCtf" in at.jobs())
        await at.press("5")
        await at.until(lambda: len(at.screen.query_one(TaskList).rows) == 2)
        (root / "crboost.yaml").write_text(good)
        await at.until(lambda: at.screen.opened is not None and not at.screen.opened.broken)


# ---- Running


async def test_run_to_here_saves_first_and_writes_the_request(fresh: Path, no_engine: None) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.type_into("tsCtf.window", "256")
        await at.press("escape", "r")
        await at.until(lambda: at.requests())
        request = at.requests()[0]
        assert (request.kind, request.to) == ("run", "tsCtf")
        assert load(fresh).model.instance("tsCtf").parameters == {"window": 256}


async def test_run_all_asks_for_everything(fresh: Path, no_engine: None, told: list[str]) -> None:
    async with At(fresh) as at:
        await at.press("R")
        await at.until(lambda: at.requests())
        assert (at.requests()[0].kind, at.requests()[0].to) == ("run", None)
        await at.until(lambda: any("run asked for. engine started" in sentence for sentence in told))


async def test_nothing_runs_while_something_is_wrong(fresh: Path, no_engine: None) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.type_into("tsCtf.window", "1")
        await at.press("escape", "r")
        await at.until(lambda: at.on_top(ChooseScreen))
        assert at.requests() == []
        await at.press("escape", "up", "r")
        await at.until(lambda: at.requests() or at.on_top(ChooseScreen))
        assert at.on_top(ChooseScreen) is False or at.requests() == []


async def test_what_becomes_stale_is_told_while_one_types(finished: Path) -> None:
    async with At(finished, job="tsCtf") as at:
        await at.settled()
        assert at.screen.cost.words == ""
        at.screen.on_form_view_typed(FormView.Typed({"tsCtf.window": "256"}))
        await at.until(lambda: at.screen.cost.words)
        assert at.screen.cost.words == "2 finished series and their 2 later results would become stale"
        at.screen.on_form_view_typed(FormView.Typed({}))
        await at.until(lambda: not at.screen.cost.words)


async def test_redo_in_place_makes_what_changed_again(finished: Path, tmp_path: Path, no_engine: None) -> None:
    root = tmp_path / "project"
    shutil.copytree(finished, root, symlinks=True)
    async with At(root, job="tsCtf") as at:
        await at.type_into("tsCtf.window", "256")
        await at.press("escape", "r")
        await at.until(lambda: at.on_top(OptionsScreen))
        before = len(at.requests())
        await at.press("e")
        await at.until(lambda: len(at.requests()) == before + 2)
        run, retry = at.requests()[before:]
        assert (run.kind, run.to) == ("run", "tsCtf")
        assert (retry.kind, retry.jobs) == ("retry", ("tsCtf", "tsReconstruct"))
    status = run_engine(root)
    assert states(status)["tsCtf"] == states(status)["tsReconstruct"] == "++"
    assert set(status.job("tsCtf").attempts) == {2}
    assert list((root / "Trash").glob("**/Position_1.xml"))


async def test_a_new_instance_keeps_both(finished: Path, tmp_path: Path, no_engine: None) -> None:
    root = tmp_path / "project"
    shutil.copytree(finished, root, symlinks=True)
    async with At(root, job="tsCtf") as at:
        await at.type_into("tsCtf.window", "256")
        await at.press("escape", "r")
        await at.until(lambda: at.on_top(OptionsScreen))
        before = len(at.requests())
        await at.press("n")
        await at.until(lambda: len(at.requests()) == before + 1)
        assert at.requests()[-1].to == "tsCtf__2"
        model = load(root).model
        assert model.instance("tsCtf__2").parameters == {"window": 256}
        assert model.instance("tsCtf").parameters == {}
        await at.until(lambda: not at.screen.unsaved and at.screen.job == "tsCtf__2")
    status = run_engine(root)
    assert states(status)["tsCtf"] == states(status)["tsCtf__2"] == "++"


async def test_esc_runs_nothing_and_saves_nothing(finished: Path, no_engine: None) -> None:
    async with At(finished, job="tsCtf") as at:
        before = at.requests()
        await at.type_into("tsCtf.window", "256")
        await at.press("escape", "R")
        await at.until(lambda: at.on_top(OptionsScreen))
        await at.press("escape")
        await at.pilot.pause(0.2)
        assert at.requests() == before
        assert load(finished).model.instance("tsCtf").parameters == {}


async def test_finished_work_is_done_again_after_yes(finished: Path, tmp_path: Path, no_engine: None) -> None:
    root = tmp_path / "project"
    shutil.copytree(finished, root, symlinks=True)
    async with At(root, job="tsReconstruct") as at:
        await at.settled()
        await at.press("e")
        await at.until(lambda: at.on_top(AskScreen))
        await at.press("y")
        await at.until(lambda: at.requests()[-1].kind == "redo")
        assert at.requests()[-1].jobs == ("tsReconstruct",)


async def test_redo_is_refused_while_an_edit_is_wrong(finished: Path, told: list[str], no_engine: None) -> None:
    async with At(finished, job="tsCtf") as at:
        before = at.requests()
        await at.type_into("tsCtf.window", "many")
        await at.press("escape", "e")
        await at.until(lambda: any(each.startswith("Correct window first: ") for each in told))
        assert not at.on_top(AskScreen) and at.requests() == before


async def test_redo_saves_and_uses_edits_that_are_right(finished: Path, tmp_path: Path, no_engine: None) -> None:
    root = tmp_path / "project"
    shutil.copytree(finished, root, symlinks=True)
    async with At(root, job="tsReconstruct") as at:
        await at.settled()
        at.screen.put({"tsReconstruct.resources.minutes": "77"})
        await at.settled()
        await at.press("e")
        await at.until(lambda: at.on_top(AskScreen))
        assert "1 unsaved value: saved first, and used." in at.app.screen.impact  # type: ignore[attr-defined]
        await at.press("y")
        await at.until(lambda: at.requests()[-1].kind == "redo")
        assert load(root).model.instance("tsReconstruct").resources["minutes"] == 77


async def test_undo_asks_before_finished_jobs_leave_and_can_be_undone(
    finished: Path, tmp_path: Path, no_engine: None
) -> None:
    root = tmp_path / "project"
    shutil.copytree(finished, root, symlinks=True)
    loaded = load(root)
    save(root, copy_job(loaded.model, "tsCtf")[0], loaded.digest)
    run_to_end(root)
    async with At(root, job="tsCtf") as at:
        await at.settled()
        await at.press("u")
        await at.until(lambda: at.on_top(AskScreen))
        assert "has no tsCtf__2: it leaves the pipeline (2 finished tasks;" in at.app.screen.impact  # type: ignore
        await at.press("n")
        await at.settled()
        assert "tsCtf__2" in [each.id for each in load(root).model.pipeline]
        await at.press("u")
        await at.until(lambda: at.on_top(AskScreen))
        await at.press("y")
        await at.until(lambda: "tsCtf__2" not in [each.id for each in load(root).model.pipeline])
        await at.settled()
        await at.press("U")
        await at.until(lambda: "tsCtf__2" in [each.id for each in load(root).model.pipeline])


async def test_the_footer_has_the_keys_of_an_open_editor(fresh: Path) -> None:
    async with At(fresh, job="tsCtf", field="tsCtf.window") as at:
        form, keys = at.screen.query_one(FormView), at.screen.query_one(Keys)
        await at.until(lambda: form.has_focus)
        await at.press("enter")
        assert keys.render().plain.split() == ["enter", "keep", "esc", "leave", "↑↓", "keep,", "next"]
        await at.press("escape")
        assert "run" in keys.render().plain


async def test_slash_in_the_pipeline_finds_a_job(fresh: Path) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.settled()
        await at.press("slash", *"recons")
        assert at.on_top(ChooseScreen)
        await at.press("enter")
        await at.until(lambda: at.screen.job == "tsReconstruct")


async def test_enter_while_the_project_is_read_says_so(fresh: Path, told: list[str]) -> None:
    async with At(fresh) as at:
        at.screen.opened, at.screen.job = None, ""
        at.screen.action_into()
        assert told[-1] == f"Reading {fresh.name} ..."


async def test_stopping_tells_what_it_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_engine: None) -> None:
    root = middle_of_a_run(tmp_path)
    async with At(root, job="tsCtf") as at:
        await at.press("s")
        await at.until(lambda: at.on_top(OptionsScreen))
        await at.press("j")
        await at.until(lambda: at.requests())
        assert (at.requests()[0].kind, at.requests()[0].jobs) == ("stop", ("tsCtf",))


async def test_marked_tasks_are_tried_again(tmp_path: Path, no_engine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.engine import requests

    asked: list[Any] = []
    monkeypatch.setattr(requests, "retry", lambda root, data, **choice: asked.append(choice))
    root = middle_of_a_run(tmp_path)
    async with At(root, job="aligntiltsWarp") as at:
        await at.press("5", "enter")
        tasks = at.screen.query_one(TaskList)
        await at.until(lambda: tasks.has_focus and len(tasks.rows) == 10)
        await at.press("f")
        assert [row.key for row in tasks.rows] == ["Position_3"]
        assert "AreTomo2 ended with code 1" in tasks.rows[0].words
        await at.press("space", "r")
        await at.until(lambda: asked)
        assert asked == [{"jobs": ["aligntiltsWarp"], "series": ["Position_3"]}]


# ---- Moving about


async def test_enter_on_a_task_opens_it(tmp_path: Path) -> None:
    root = middle_of_a_run(tmp_path)
    async with At(root, job="aligntiltsWarp") as at:
        await at.press("5", "enter")
        await at.until(lambda: at.screen.query_one(TaskList).has_focus and at.screen.query_one(TaskList).rows)
        await at.press("down", "down", "enter")
        await at.until(lambda: at.on_top(TaskScreen))
        assert (at.app.screen.job, at.app.screen.key) == ("aligntiltsWarp", "Position_3")  # type: ignore[attr-defined]


async def test_in_80_columns_one_pane_is_shown_at_a_time(fresh: Path) -> None:
    async with At(fresh, size=(80, 24), job="tsCtf") as at:
        left, pane = at.screen.query_one("#left"), at.screen.query_one("#pane")
        assert left.display and not pane.display
        await at.press("enter")
        await at.until(lambda: pane.display and not left.display)
        await at.until(lambda: at.screen.query_one(FormView).has_focus)
        await at.press("escape")
        await at.until(lambda: left.display and not pane.display)
        await at.press("4")
        await at.until(lambda: at.screen.query_one(ScriptView).has_focus)
        await at.pilot.resize_terminal(120, 34)
        await at.until(lambda: left.display and pane.display)


async def test_script_and_log_go_from_series_to_series(finished: Path) -> None:
    async with At(finished, job="tsCtf") as at:
        await at.press("4", "enter")
        script = at.screen.query_one(ScriptView)
        await at.until(lambda: script.lines and "Position_1" in script.lines[0].text)
        await at.press("]")
        await at.until(lambda: "Position_2" in script.lines[0].text)
        await at.press("6")
        log = at.screen.query_one("#log", LogView)
        assert log.path is not None and log.path.match("tasks/Position_2/1.out")


async def test_results_and_log_open_on_every_job(finished: Path) -> None:
    async with At(finished, job="fsMotionAndCtf") as at:
        await at.press("7", "enter")
        await at.until(lambda: at.screen.query("#results"))
        await at.press("6")
        log = at.screen.query_one("#log", LogView)
        assert log.path is not None and log.path.name == "run.out"


async def test_an_empty_pipeline_says_how_to_begin(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    loaded = load(root)
    save(root, loaded.model.model_copy(update={"pipeline": []}), loaded.digest)
    async with At(root) as at:
        await at.settled()
        assert at.screen.query_one(PipelineView).rows[1].name == "No jobs yet. a adds one."
        await at.press("down")
        assert at.screen.job == workspace_data.PROJECT
        await at.press("a")
        await at.until(lambda: at.on_top(ChooseScreen))
        await at.press(*"importmovies", "enter")
        await at.until(lambda: at.jobs() == [workspace_data.PROJECT, "importmovies"])


async def test_the_cursor_stays_on_its_job_while_the_pipeline_changes(fresh: Path) -> None:
    async with At(fresh, job="tsCtf") as at:
        await at.settled()
        loaded = load(fresh)
        save(fresh, copy_job(loaded.model, "fsMotionAndCtf")[0], loaded.digest)
        await at.until(lambda: "fsMotionAndCtf__2" in at.jobs())
        pipeline = at.screen.query_one(PipelineView)
        assert pipeline.selected is not None and pipeline.selected.id == "tsCtf"


async def test_it_survives_a_tiny_terminal(fresh: Path) -> None:
    async with At(fresh, size=(120, 34), job="tsCtf") as at:
        await at.settled()
        for tab in "1234567":
            await at.press(tab)
            await at.pilot.resize_terminal(40, 12)
            await at.pilot.pause()
            await at.pilot.resize_terminal(120, 34)
            await at.pilot.pause()
        assert at.on_top(WorkspaceScreen)


# ---- Pictures


def middle_of_a_run(folder: Path) -> Path:
    """The seeded run, with its pipeline in the project file, on the series of a rehearsal."""
    root = rehearsal(folder, series=2, tilts=3)
    found = seed.status()
    found.rehearsal = True
    found.jobs = [job for job in found.jobs if job.id != "tsAutolevel"]
    paths = ProjectPaths(root)
    text = paths.file.read_text(encoding="utf-8").replace("test (REHEARSAL)", found.name)
    paths.file.write_text(text, encoding="utf-8")
    save_status(paths, found)
    lease = Lease(found.engine.host, found.engine.pid, "", "", "0.1.0", 1, 1, "ada")
    paths.lease.write_text(json.dumps(asdict(lease)), encoding="utf-8")
    return root


@pytest.fixture
def two_past_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures do not depend on the clock."""
    clock = SimpleNamespace(time=lambda: seed.NOW, localtime=time.localtime, strftime=time.strftime)
    monkeypatch.setattr(workspace_data, "time", clock)


def showing(
    root: Path, *keys: str, job: str = "", until_is: Callable[[WorkspaceScreen], Any] = settled
) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Open the workspace, press keys, and wait until all of it is drawn."""

    async def before(pilot: Pilot[Any]) -> None:
        app: CrboostApp = pilot.app  # type: ignore[assignment]
        app.show_workspace(root, job)
        await pilot.pause()
        screen = next(each for each in app.screen_stack if isinstance(each, WorkspaceScreen))
        await until(pilot, lambda: until_is(screen))
        for key in keys:
            await pilot.press(key)
            await until(pilot, lambda: until_is(screen))
        await pilot.pause(0.2)
        await until(pilot, lambda: until_is(screen))
        await pilot.pause()

    return before


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_run(snap_compare: SnapCompare, tmp_path: Path, size: Size, two_past_two: None) -> None:
    root = middle_of_a_run(tmp_path)
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=showing(root, job="aligntiltsWarp"))


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_job(snap_compare: SnapCompare, tmp_path: Path, size: Size, two_past_two: None) -> None:
    root = middle_of_a_run(tmp_path)
    before = showing(root, "enter", "down", job="aligntiltsWarp")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_tasks(snap_compare: SnapCompare, tmp_path: Path, size: Size, two_past_two: None) -> None:
    root = middle_of_a_run(tmp_path)
    before = showing(root, "enter", "5", "down", "down", "space", job="aligntiltsWarp")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_edits_that_cost_results(
    snap_compare: SnapCompare, finished: Path, size: Size, two_past_two: None
) -> None:
    keys = ("enter", "down", "enter", "backspace", "backspace", "backspace", "2", "5", "6", "enter")
    before = showing(finished, *keys, job="tsCtf")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_script(
    snap_compare: SnapCompare, fresh: Path, size: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "#!/usr/bin/env bash", "# tsCtf, tilt series Position_1, attempt 1.", "", "command_1() {",
        "    exec WarpTools ts_ctf \\", "        --settings /data/p/External/job005/settings/Position_1.settings \\",
        "        --window 512 \\", "        --range_high 6", "}", "", workspace_data.SAME_IN_ALL, "main() {", "}",
    )  # fmt: skip
    lab = ("#!/bin/bash", "#SBATCH --partition=gpu", "#SBATCH --time=0:10:00")
    monkeypatch.setattr(workspace_build, "rendered", lambda *_: workspace_data.Rendered("tsCtf, Position_1", text, lab))
    before = showing(fresh, "enter", "4", job="tsCtf")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_branches_and_inputs(snap_compare: SnapCompare, fresh: Path, size: Size) -> None:
    loaded = load(fresh)
    model, _ = copy_job(loaded.model, "aligntiltsWarp", id="aligntiltsWarp__imod")
    model, _ = add_job(model, "tsCtf", after="aligntiltsWarp__imod", id="tsCtf__imod")
    model, _ = add_job(model, "tsReconstruct", after="tsCtf__imod", id="tsReconstruct__fine")
    model, _ = add_job(model, "tsReconstruct", after="tsCtf__imod", id="tsReconstruct__imod")
    model = connect(model, "tsCtf", "alignment", ["aligntiltsWarp", "aligntiltsWarp__imod"])
    save(fresh, model, loaded.digest)
    before = showing(fresh, "2", "1", "2", job="tsCtf") if size[0] >= 100 else showing(fresh, job="tsCtf")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_picture_without_jobs(snap_compare: SnapCompare, tmp_path: Path, size: Size) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    loaded = load(root)
    save(root, loaded.model.model_copy(update={"pipeline": []}), loaded.digest)
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=showing(root))


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_broken_file(
    snap_compare: SnapCompare, tmp_path: Path, size: Size, two_past_two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = middle_of_a_run(tmp_path)
    text = (root / "crboost.yaml").read_text()
    (root / "crboost.yaml").write_text(text.replace("rehearsal: true", "rehearsal: [true"))
    really = workspace_data.open_project

    def opened(root: Path, data: Path, asked: bool) -> workspace_data.Opened:
        found = really(root, data, asked)
        return replace(found, broken=found.broken.replace(str(root), "/data/ribosome"))

    monkeypatch.setattr(workspace, "open_project", opened)
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=showing(root))


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_colleagues_project(
    snap_compare: SnapCompare, tmp_path: Path, size: Size, two_past_two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_data, "access_to", lambda root: Access("ada"))
    root = middle_of_a_run(tmp_path)
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=showing(root, job="tsCtf"))


@pytest.mark.parametrize("size", SIZES)
def test_picture_while_the_project_is_read(
    snap_compare: SnapCompare, tmp_path: Path, size: Size, two_past_two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(workspace, "open_project", lambda root, data, asked: go_on.wait(30))
    root = middle_of_a_run(tmp_path)
    before = showing(root, until_is=lambda screen: screen.pulse is not None)
    try:
        assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)
    finally:
        go_on.set()


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_draft_that_is_offered_back(
    snap_compare: SnapCompare, tmp_path: Path, size: Size, two_past_two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = Draft({"tsCtf.window": "256", "tsCtf.range_low": None, "instrument.voltage_kv": "200"}, seed.NOW)
    monkeypatch.setattr(workspace, "read_draft", lambda root: draft)
    root = middle_of_a_run(tmp_path)
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=showing(root, job="tsCtf"))


@pytest.mark.parametrize("size", [(80, 24), (120, 34)])
def test_picture_of_the_ways_to_run_what_changed(snap_compare: SnapCompare, finished: Path, size: Size) -> None:
    keys = ("enter", "down", "enter", "backspace", "backspace", "backspace", "2", "5", "6", "enter", "escape", "r")
    before = showing(finished, *keys, job="tsCtf")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", [(80, 24), (120, 34)])
def test_picture_of_jobs_to_add(snap_compare: SnapCompare, fresh: Path, size: Size) -> None:
    async def before(pilot: Pilot[Any]) -> None:
        await showing(fresh, "a", job="tsCtf")(pilot)
        await until(pilot, lambda: isinstance(pilot.app.screen, ChooseScreen))
        await pilot.press("down")
        await pilot.pause()

    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


def test_picture_without_utf8(snap_compare: SnapCompare, tmp_path: Path, two_past_two: None) -> None:
    root = middle_of_a_run(tmp_path)
    before = showing(root, job="aligntiltsWarp")
    assert snap_compare(CrboostApp(None, utf8=False), terminal_size=(120, 34), run_before=before)


def test_picture_on_a_light_ground(
    snap_compare: SnapCompare, tmp_path: Path, two_past_two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTUAL_THEME", "crboost-light")
    root = middle_of_a_run(tmp_path)
    before = showing(root, "enter", job="aligntiltsWarp")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=(120, 34), run_before=before)
