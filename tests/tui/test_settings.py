"""A user's settings: wrong ones are said and never keep the app from starting; the screen that shows all settings."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core.checks.findings import Finding
from crboost_tui import checking, settings
from crboost_tui.actions import Action, all_actions
from crboost_tui.app import CrboostApp
from crboost_tui.screens.settings import KeyScreen, SettingsScreen
from crboost_tui.settings import AppSettings, load_settings, save_settings, settings_file, textual_keys, wrong_keys
from tests.tui import seed
from tests.tui.until import text_of, told, until

SnapCompare = Callable[..., bool]
SIZES = [(80, 24), (120, 34), (200, 60)]

FOUND = [
    Finding("Python", "ok", "3.11.7, /opt/crboost/bin/python", group="Python"),
    Finding("warp", "ok", "2.0.0dev39, /groups/lab/WarpTools", group="Tools"),
    Finding(
        "relion", "failed", "the image is not there: /groups/lab/relion-5.0.1-cuda.sif",
        "Correct tools.relion.path in /etc/crboost/conf.yaml, or ask who moved it.", group="Tools",
    ),
    Finding(
        "limits", "warning", "MaxArraySize is 1001, and 2,000 tilt series are in one job",
        "Nothing: they go in two arrays.", group="Slurm",
    ),
]  # fmt: skip
CONF = """\
tools:
  warp:   {binary: true,  container: false, path: /groups/lab/WarpTools}
  relion: {binary: false, container: true,  path: /groups/lab/relion-5.0.1-cuda.sif}
resources: {partition: gpu, account: lab}
"""


def write(text: str) -> Path:
    path = settings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# -- the file ----------------------------------------------------------------------------------------------------------


def test_without_a_file_the_defaults_hold() -> None:
    assert load_settings() == (AppSettings(), ())


def test_everything_can_be_set() -> None:
    write("theme: light\npictures: half-blocks\nbell: false\nkeys:\n  retry: R\n  find: [ctrl+f, '/']\n  part.log: 1\n")
    keys = {"retry": "R", "find": "ctrl+f,slash", "part.log": "1"}
    assert load_settings() == (AppSettings("light", "half-blocks", False, keys), ())


def test_what_is_wrong_is_said_and_the_rest_holds() -> None:
    path = write("theme: blue\nbell: false\nthem: dark\nkeys: {retry: alt+r, find: ctrl+b, stop: S}\n")
    found, wrong = load_settings()
    assert found == AppSettings(bell=False, keys={"stop": "S"})
    said = "\n".join(wrong)
    assert f"{path}: there is no setting 'them'. Did you mean 'theme'?" in said
    assert "theme: is 'blue', but must be 'dark', 'light' or 'terminal'." in said
    assert "keys.retry: 'alt+r' is no key" in said
    assert "keys.find: ctrl+b never reaches a program: tmux takes it" in said


@pytest.mark.parametrize("text", ["- a\n", "theme: [", "\x00", "theme: {a: b}\n", "keys: 3\n"])
def test_a_file_that_is_no_settings_is_a_sentence(text: str) -> None:
    write(text)
    found, wrong = load_settings()
    assert found == AppSettings()
    assert len(wrong) == 1 and "app.yaml" in wrong[0]


def test_what_was_read_is_kept_until_the_file_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("theme: light\nwrong: 1\n")
    first = load_settings()
    with monkeypatch.context() as patch:
        patch.setattr(settings, "_read", lambda path: pytest.fail("it was read again"))
        assert load_settings() == first
    path.write_text("theme: terminal\n")
    assert load_settings()[0].theme == "terminal"


def test_saving_is_whole_and_keeps_the_mode(_own_home: Path) -> None:
    path = write("theme: light\n")
    path.chmod(0o640)
    save_settings(AppSettings("terminal", "sixel", False, {"retry": "R"}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert load_settings() == (AppSettings("terminal", "sixel", False, {"retry": "R"}), ())
    save_settings(AppSettings())
    assert load_settings() == (AppSettings(), ())
    assert [each.name for each in path.parent.iterdir()] == ["app.yaml"]


def test_keys_are_typed_as_people_write_them() -> None:
    assert textual_keys("?, ctrl+r") == ("question_mark,ctrl+r", "")
    assert textual_keys(",") == ("comma", "")
    assert textual_keys("a,b") == ("a,b", "")
    assert textual_keys("R")[0] == "R"
    assert "write a letter" in textual_keys("meta+x")[1]


def test_two_actions_on_one_key_of_a_screen_are_said() -> None:
    screens = {"monitor": (Action("retry", "r", "retry", ""), Action("stop", "s", "stop", ""))}
    assert wrong_keys({"retry": "R"}, screens) == []
    (conflict,) = wrong_keys({"retry": "s"}, screens)
    assert "s is both 'retry' and 'stop' on the screen monitor" in conflict
    assert wrong_keys({"retry": "s", "stop": "x"}, screens) == []
    (unknown,) = wrong_keys({"retri": "x"}, screens)
    assert "there is no action 'retri'. Did you mean 'retry'?" in unknown


def test_ids_of_a_screen_are_its_own_and_can_be_written_in_yaml() -> None:
    for screen, actions in all_actions().items():
        ids = [action.id for action in actions]
        assert len(set(ids)) == len(ids), screen
        assert all(id and not set(id) & set("'\"(): ,") for id in ids), ids


# -- in the app --------------------------------------------------------------------------------------------------------


async def test_a_wrong_file_is_told_in_the_app(tmp_path: Path) -> None:
    write("theme: blue\nbell: 3\n")
    async with CrboostApp(None, utf8=True).run_test() as pilot:
        await until(pilot, lambda: told(pilot.app))
        assert "theme: is 'blue'" in told(pilot.app)[0] and told(pilot.app)[0].endswith("And 1 more.")
        assert pilot.app.theme == "crboost-dark"


async def test_own_keys_count_and_stand_in_the_footer(tmp_path: Path) -> None:
    write("keys: {order: O, settings: f2}\n")
    async with CrboostApp(None, utf8=True).run_test(size=(100, 24)) as pilot:
        app = pilot.app
        await pilot.pause()
        assert "O order" in text_of(app)[-1] and "f2 settings" in text_of(app)[-1]
        await pilot.press("O")
        assert app.screen.by_name  # type: ignore[attr-defined]
        await pilot.press("o")
        assert app.screen.by_name  # type: ignore[attr-defined]
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, SettingsScreen))


async def test_an_unknown_theme_in_the_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUAL_THEME", "solarised")
    async with CrboostApp(None, utf8=True).run_test() as pilot:
        await until(pilot, lambda: told(pilot.app))
        assert "there is no theme 'solarised'" in told(pilot.app)[0]


async def opened(pilot: Pilot[Any]) -> SettingsScreen:
    app = pilot.app
    await pilot.press("comma")
    await until(pilot, lambda: isinstance(app.screen, SettingsScreen) and app.screen._actions and app.screen._site)
    assert isinstance(app.screen, SettingsScreen)
    return app.screen


async def test_a_theme_is_changed_at_once_and_saved(tmp_path: Path) -> None:
    async with CrboostApp(None, utf8=True).run_test(size=(100, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, CrboostApp)
        screen = await opened(pilot)
        screen.lines.go_to("theme")
        await pilot.press("enter")
        assert app.theme == "crboost-light"
        await until(pilot, lambda: load_settings()[0].theme == "light")
        await pilot.press("d")
        assert app.theme == "crboost-dark"
        screen.lines.go_to("bell")
        await pilot.press("enter")
        await until(pilot, lambda: load_settings()[0] == AppSettings(bell=False))


async def test_a_file_that_cannot_be_parsed_is_not_written_over(tmp_path: Path) -> None:
    text = "bell: false\nkeys: {screen.save: w\n"
    path = write(text)
    async with CrboostApp(None, utf8=True).run_test(size=(100, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, CrboostApp)
        screen = await opened(pilot)
        screen.lines.go_to("theme")
        await pilot.press("enter")
        assert app.theme == "crboost-light"  # for this session
        await until(pilot, lambda: "Nothing is saved until that is mended" in told(app)[-1])
        assert str(path) in told(app)[-1] and "line" in told(app)[-1]
    assert path.read_text() == text


async def test_a_key_is_changed_by_pressing_it_and_a_conflict_is_said(tmp_path: Path) -> None:
    async with CrboostApp(None, utf8=True).run_test(size=(100, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, CrboostApp)
        screen = await opened(pilot)
        assert screen.lines.go_to("key order")
        await pilot.press("enter")
        assert isinstance(app.screen, KeyScreen)
        await pilot.press("O")
        await until(pilot, lambda: app.settings.keys == {"order": "O"})
        await until(pilot, lambda: load_settings()[0].keys == {"order": "O"})
        screen.lines.go_to("key order")
        await pilot.press("enter", "n")
        await until(pilot, lambda: any("n is both 'new' and 'order'" in each for each in told(app)))
        screen.lines.go_to("key order")
        await pilot.press("enter", "ctrl+b")
        await until(pilot, lambda: any("tmux takes it" in each for each in told(app)))
        await pilot.press("d")
        await until(pilot, lambda: app.settings.keys == {})


async def test_the_site_shows_where_each_value_comes_from_and_is_searched(_own_home: Path) -> None:
    (_own_home / "config" / "crboost").mkdir(parents=True)
    conf = _own_home / "config" / "crboost" / "conf.yaml"
    conf.write_text(CONF)
    async with CrboostApp(None, utf8=True).run_test(size=(120, 30)) as pilot:
        screen = await opened(pilot)
        await pilot.press("2")
        keys = [row.key for row in screen.lines.rows]
        assert keys[0] == f"head {conf}"
        assert "resources.partition" in keys and keys.index("head defaults") > keys.index("resources.partition")
        await pilot.press("slash", *"partition")
        await until(pilot, lambda: len(screen.lines.rows) < 5)
        assert any("gpu" in line for line in text_of(pilot.app))
        await pilot.press("enter", "escape")
        assert len(screen.lines.rows) > 20
        await pilot.press("enter")
        assert "changed in the file" in told(pilot.app)[-1]
        await pilot.press("3")
        assert any("/groups/lab/WarpTools" in line for line in text_of(pilot.app))


async def test_a_wrong_conf_is_a_sentence_in_the_place_of_its_values(_own_home: Path) -> None:
    (_own_home / "config" / "crboost").mkdir(parents=True)
    (_own_home / "config" / "crboost" / "conf.yaml").write_text("tool: 1\n")
    async with CrboostApp(None, utf8=True).run_test(size=(120, 30)) as pilot:
        await pilot.press("comma")
        screen = pilot.app.screen
        assert isinstance(screen, SettingsScreen)
        await until(pilot, lambda: screen._problem)
        await pilot.press("2")
        await until(pilot, lambda: "Did you mean" in " ".join(text_of(pilot.app)))


def script(path: Path, lines: list[str]) -> Callable[..., subprocess.Popen[str]]:
    """A doctor that says these lines."""
    path.write_text("import sys, time\n" + "\n".join(lines))

    def start(*_: object) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)

    return start


async def test_doctor_tells_what_it_found_while_others_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        """print('{"finding": {"name": "warp", "state": "failed", "found": "not there", "advice": "Install it.", """
        """"group": "Tools"}}', flush=True)""",
        """print('{"ended": 1, "left": ["a job"]}', flush=True)""",
        "time.sleep(600)",
    ]
    monkeypatch.setattr(checking, "check", script(tmp_path / "doctor.py", lines))
    async with CrboostApp(None, utf8=True).run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await pilot.press("comma", "4")
        screen = app.screen
        assert isinstance(screen, SettingsScreen)
        await until(pilot, lambda: any("1 of 2, waiting for a job" in line for line in text_of(app)))
        assert any("✗ warp" in line and "not there" in line for line in text_of(app))
        assert any("→ Install it." in line for line in text_of(app))
        process = screen._doctor
        assert process is not None
        await pilot.press("escape")
        await until(pilot, lambda: process.poll() is not None)


async def test_doctor_can_look_again_and_at_the_project_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path | None] = []

    def start(root: Path | None, *_: object) -> subprocess.Popen[str]:
        looked.append(root)
        return subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr(checking, "check", start)
    root = seed.write(tmp_path / "p", seed.status())
    async with CrboostApp(root, utf8=True).run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await until(pilot, lambda: len(app.screen_stack) == 3)
        await pilot.press("comma", "4")
        screen = app.screen
        assert isinstance(screen, SettingsScreen)
        for key, count in (("r", 2), ("s", 3), ("enter", 4)):
            await until(pilot, lambda: screen._doctor is None)
            await pilot.press(key)
            await until(pilot, lambda count=count: len(looked) == count)  # type: ignore[misc]
        assert looked == [root, root, None, None]


def test_the_real_doctor_is_a_process_that_tells_line_by_line(tmp_path: Path) -> None:
    process = checking.check(None, 80, 24, "utf-8")
    found = []
    begun = time.monotonic()
    for each in checking.findings(process):
        found.append(each)
        if isinstance(each, Finding) and each.name == "crboost":
            break
    assert time.monotonic() - begun < 60
    assert any(isinstance(each, Finding) and each.name == "Python" for each in found)
    os.killpg(process.pid, 15)
    process.wait(20)


# -- pictures ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same paths in every run, and few keys, so that a picture does not change with every action."""
    monkeypatch.setattr("crboost_tui.screens.settings.settings_file", lambda: "~/.config/crboost/app.yaml")
    from crboost_tui.actions import APP_ACTIONS
    from crboost_tui.screens import projects

    monkeypatch.setattr(
        "crboost_tui.actions.all_actions", lambda: {"everywhere": APP_ACTIONS, "projects": projects.ACTIONS}
    )
    conf = tmp_path_factory.mktemp("conf") / "conf.yaml"
    conf.write_text(CONF)
    from core.project import site

    monkeypatch.setattr(site, "SITE_FILE", conf)
    layers = site._layers
    monkeypatch.setattr(
        site,
        "_layers",
        lambda root, data: (
            (path, "/etc/crboost/conf.yaml" if origin == str(conf) else origin) for path, origin in layers(root, data)
        ),
    )
    monkeypatch.setattr("crboost_tui.screens.settings._tool_lines", _tools_without_disk)
    yield


def _tools_without_disk(site: Any) -> tuple[Any, ...]:
    from crboost_tui.screens.settings import ToolLine

    return tuple(
        ToolLine(name, "container" if tool.container else "binary", tool.path, "not seen from here")
        for name, tool in site.tools.items()
    )


@pytest.mark.parametrize("part", ["1", "2", "3"])
@pytest.mark.parametrize("size", SIZES)
def test_settings(snap_compare: SnapCompare, frozen: None, size: tuple[int, int], part: str) -> None:
    async def before(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        await pilot.press(part, "down")

    write("theme: dark\nkeys: {order: O}\nbell: false\n")
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES)
def test_doctor(
    snap_compare: SnapCompare, frozen: None, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SettingsScreen, "_run_doctor", lambda self, root: None)

    async def before(pilot: Pilot[Any]) -> None:
        screen = await opened(pilot)
        await pilot.press("4")
        screen._findings = tuple(FOUND)
        screen._progress = "21 of 24, waiting for bind, a job ..."
        screen._show()

    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=size, run_before=before)


@pytest.mark.parametrize("state", ["reading", "wrong"])
def test_settings_before_and_instead_of_their_values(
    snap_compare: SnapCompare, frozen: None, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def before(pilot: Pilot[Any]) -> None:
        await pilot.press("comma", "2")
        screen = pilot.app.screen
        assert isinstance(screen, SettingsScreen)
        if state == "wrong":
            sentence = "/etc/crboost/conf.yaml, tool: there is no setting 'tool' here. Did you mean 'tools'?"
            screen._take_site(None, sentence, ())

    monkeypatch.setattr(SettingsScreen, "_read", lambda self: None)
    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=(80, 24), run_before=before)
