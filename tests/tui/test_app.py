"""The app around its screens: colours, terminals, sizes, and the way out."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.color import Color
from textual.screen import Screen

from core.errors import InputError
from crboost_tui.app import CrboostApp, open_app
from crboost_tui.picture import Picture
from crboost_tui.screens.ask import AskScreen
from crboost_tui.screens.help import HelpScreen
from crboost_tui.screens.monitor import MonitorScreen
from crboost_tui.screens.new_project import NewProjectScreen
from crboost_tui.screens.palette import PaletteScreen
from crboost_tui.screens.projects import ProjectsScreen
from crboost_tui.screens.relion import RelionScreen
from crboost_tui.screens.results import ResultsScreen
from crboost_tui.screens.settings import SettingsScreen
from crboost_tui.screens.task import TaskScreen
from crboost_tui.screens.workspace import WorkspaceScreen
from crboost_tui.themes import DARK, LIGHT, MEANINGS, TERMINAL, THEMES, style_of
from tests.rehearsed import rehearsal
from tests.tui import seed
from tests.tui.test_leaving import Terminal
from tests.tui.until import text_of, until

SnapCompare = Callable[..., bool]

SCREENS: dict[str, Callable[[CrboostApp, Path], Screen[Any]]] = {
    "projects": lambda app, root: ProjectsScreen(),
    "monitor": lambda app, root: MonitorScreen(root),
    "workspace": lambda app, root: WorkspaceScreen(root),
    "task": lambda app, root: TaskScreen(root, "aligntiltsWarp", "Position_1", "x", "no .aln written", "log"),
    "results": lambda app, root: ResultsScreen(root, "fsMotionAndCtf", "Position_1"),
    "relion": lambda app, root: RelionScreen(root),
    "new project": lambda app, root: NewProjectScreen(),
    "settings": lambda app, root: SettingsScreen(root),
    "palette": lambda app, root: PaletteScreen(app.screen),
    "help": lambda app, root: HelpScreen((), MonitorScreen.ACTIONS),
    "ask": lambda app, root: AskScreen("Stop all that runs?", "7 running or queued tasks end now."),
}
"""Every screen; who builds another one adds it here."""


# -- colours -----------------------------------------------------------------------------------------------------------


def luminance(color: Color) -> float:
    parts = [value / 255 for value in color.rgb]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Color, other: Color) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES[:2], ids=lambda theme: theme.name)
def test_every_text_is_legible_on_every_ground(theme: Any) -> None:
    variables = theme.to_color_system().generate() | theme.variables
    grounds = {name: Color.parse(variables[name]) for name in ("background", "surface", "panel")}
    texts = {name: style.split()[-1] for name, style in MEANINGS[theme.name].items()}
    texts |= {name: variables[name] for name in ("foreground", "secondary", "text-muted", "primary")}
    for text, colour in texts.items():
        for ground, below in grounds.items():
            assert contrast(Color.parse(colour), below) >= 4.5, (text, ground)


def test_every_theme_has_every_meaning() -> None:
    assert {theme.name for theme in THEMES} == set(MEANINGS) == {DARK, LIGHT, TERMINAL}
    assert len({frozenset(styles) for styles in MEANINGS.values()}) == 1


def colours(app: CrboostApp) -> set[Any]:
    """All colours that are on the screen, as the terminal would get them."""
    found = set()
    for strip in app.screen._compositor.render_strips():
        for segment in strip:
            if segment.style is not None:
                found |= {segment.style.color, segment.style.bgcolor}
    return found - {None}


@pytest.mark.parametrize("name", SCREENS)
async def test_in_the_terminals_colours_there_are_no_others(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTUAL_THEME", "terminal")
    root = rehearsal(tmp_path, series=2, tilts=3)
    app = CrboostApp(None, utf8=True)
    async with app.run_test(size=(100, 30)) as pilot:
        await app.push_screen(SCREENS[name](app, root))
        await pilot.pause(0.3)
        assert {colour.name for colour in colours(app) if not (colour.is_default or colour.is_system_defined)} == set()


async def test_no_color_means_no_colour_and_the_cursor_is_reversed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    root = seed.write(tmp_path / "p", seed.status())
    app = CrboostApp(root, utf8=True)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen) and app.screen.picture)
        assert all(colour.is_default for colour in colours(app))
        strips = app.screen._compositor.render_strips()
        cursor = next(strip for strip in strips if "▸" in strip.text or "Position_1" in strip.text)
        assert any(segment.style is not None and segment.style.reverse for segment in cursor)
        app.set_setting("theme", "dark")
        await pilot.pause()
        assert all(colour.is_default for colour in colours(app))


def test_without_colours_meanings_are_bold_or_nothing() -> None:
    assert {style_of(THEMES[2], name, no_colour=True) for name in ("quiet", "need")} == {"", "bold"}


@pytest.mark.parametrize("theme", ["dark", "light", "terminal"])
def test_the_projects_in_each_theme(
    snap_compare: SnapCompare, tmp_path: Path, theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crboost_tui.recent import remember
    from crboost_tui.widgets.project_lines import ProjectLines

    monkeypatch.setenv("TEXTUAL_THEME", theme)
    monkeypatch.setattr(ProjectLines, "clock", staticmethod(lambda: seed.NOW + 60))
    for name, found in (("a", seed.status()), ("b", seed.waiting_for_you(30)), ("c", seed.finished())):
        found.name, found.updated = f"project_{name}", seed.NOW - ord(name)
        remember(seed.write(tmp_path / name, found))

    async def before(pilot: Any) -> None:
        await until(pilot, lambda: pilot.app.screen._ordered and pilot.app.screen._searched_once)
        pilot.app.screen.query_one("#hint").display = False  # a folder of this run
        await pilot.pause()

    assert snap_compare(CrboostApp(None, utf8=True), terminal_size=(80, 24), run_before=before)


async def test_another_theme_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    app = CrboostApp(root, utf8=True)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen) and app.screen.picture)
        dark = {THEMES[0].background, *(style.split()[-1] for style in MEANINGS[DARK].values())}
        assert {colour.name for colour in colours(app)} & dark
        app.set_setting("theme", "light")
        await until(pilot, lambda: not {colour.name for colour in colours(app)} & dark)


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCREENS)
async def test_every_screen_survives_40_x_12_and_comes_back(tmp_path: Path, name: str) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3)
    app = CrboostApp(None, utf8=True)
    async with app.run_test(size=(120, 34)) as pilot:
        screen = SCREENS[name](app, root)
        await app.push_screen(screen)
        await pilot.pause(0.3)
        for size in ((40, 12), (120, 34), (20, 5), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.1)
            assert app.is_running and app.screen is screen
            lines = text_of(app)
            assert len(lines) == size[1]
            assert any(line.strip() for line in lines)


# -- what is told outside ----------------------------------------------------------------------------------------------


class Heard:
    """A driver that only listens."""

    def __init__(self) -> None:
        self.written = ""

    def write(self, text: str) -> None:
        self.written += text


def outside(app: CrboostApp, monkeypatch: pytest.MonkeyPatch) -> Heard:
    heard = Heard()
    monkeypatch.setattr(CrboostApp, "is_headless", False)
    monkeypatch.setattr(app, "_driver", heard)
    monkeypatch.setattr(app, "bell", lambda: heard.write("BELL"))
    return heard


def picture(outcome: str, **counts: int) -> Picture:
    from crboost_tui.picture import draw

    found = draw(seed.status())
    from dataclasses import replace

    states = {"x": counts.get("failed", 0), ">": counts.get("running", 0)}
    return replace(found, name="ribosome", outcome=outcome, counts=tuple(states.items()))


def test_the_terminals_title_tells_how_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    app = CrboostApp(None, utf8=True)
    heard = outside(app, monkeypatch)
    app.say_outside(picture("running", failed=3, running=8), "")
    assert heard.written == "\x1b[22;2t\x1b]2;✗3 ▶8 ribosome\x07" or heard.written.endswith("\x1b]2;▶8 ✗3 ribosome\x07")
    heard.written = ""
    app.say_outside(picture("running", failed=3, running=8), "running")
    assert heard.written == ""


def test_a_failure_and_an_end_ring_and_a_user_can_say_no(monkeypatch: pytest.MonkeyPatch) -> None:
    app = CrboostApp(None, utf8=True)
    heard = outside(app, monkeypatch)
    app.say_outside(picture("running", failed=3), "")
    assert "BELL" not in heard.written
    app.say_outside(picture("running", failed=5), "running")
    assert "BELL\x1b]9;ribosome: 2 failed\x07" in heard.written
    app.say_outside(picture("succeeded", failed=5), "running")
    assert heard.written.endswith("BELL\x1b]9;ribosome: succeeded\x07")
    heard.written = ""
    monkeypatch.setattr(app, "set_setting", app.set_setting)
    from dataclasses import replace

    app.settings = replace(app.settings, bell=False)
    app.say_outside(picture("running", failed=9), "running")
    assert "BELL" not in heard.written


# -- terminals ---------------------------------------------------------------------------------------------------------


def test_a_dumb_terminal_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(InputError, match="TERM=dumb"):
        open_app(None)


@pytest.mark.parametrize("term", ["", "vt100", "xterm", "xterm-mono", "nonsense", "tmux-256color"])
def test_it_works_with_any_other_terminal(tmp_path: Path, term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    terminal = Terminal([str(root)], TERM=term)
    terminal.wait_for(b"Position_9")
    os.write(terminal.master, b"q")
    terminal.wait_for(b"\x1b[?1049l")
    assert terminal.process.wait(timeout=10) == 0
    os.close(terminal.master)


def test_a_terminal_without_utf8_gets_ascii_alone(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    terminal = Terminal([str(root)], LANG="C", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    seen = terminal.wait_for(b"Position_9")
    os.write(terminal.master, b"?")
    seen += terminal.wait_for(b"needs you", 20)
    os.write(terminal.master, b"?")  # closes it
    terminal.drain(1.0)
    os.write(terminal.master, b"q")
    seen += terminal.wait_for(b"\x1b[?1049l")
    assert all(byte < 128 for byte in seen)
    assert terminal.process.wait(timeout=10) == 0
    os.close(terminal.master)


def test_ctrl_z_goes_to_the_shell_and_fg_comes_back(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    terminal = Terminal([str(root)])
    terminal.wait_for(b"Position_9")
    os.write(terminal.master, b"\x1a")
    terminal.wait_for(b"\x1b[?1049l")
    pid, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.kill(pid, signal.SIGCONT)
    terminal.wait_for(b"\x1b[?1049h")
    terminal.wait_for(b"Position_9")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    os.kill(pid, signal.SIGWINCH)
    terminal.wait_for(b"Position_9")
    os.write(terminal.master, b"q")
    terminal.wait_for(b"\x1b[?1049l")
    assert terminal.process.wait(timeout=10) == 0
    os.close(terminal.master)


def test_an_error_of_ours_is_a_sentence_and_a_file_and_no_traceback(tmp_path: Path, _own_home: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    code = (
        "import sys; import crboost_tui.screens.projects as p;"
        "p.ProjectsScreen.action_order = lambda self: 1 / 0;"
        "from crboost_tui.main import main; sys.exit(main(sys.argv[1:]))"
    )
    terminal = Terminal([], program=["-c", code])
    del root
    terminal.wait_for(b"No projects yet")
    os.write(terminal.master, b"o")
    seen = terminal.wait_for(b"Please report it")
    assert b"ZeroDivisionError" in seen and b"Traceback" not in seen
    assert terminal.process.wait(timeout=10) == 2
    os.close(terminal.master)
    (crash,) = (_own_home / "state" / "crboost").glob("crash-*.txt")
    assert "action_order" in crash.read_text() or "ZeroDivisionError" in crash.read_text()


def test_the_first_frame_needs_neither_yaml_nor_pydantic(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import sys\n"
        "from crboost_tui.cli import parse\n"
        "import crboost_tui.app, crboost_tui.screens.projects\n"
        "crboost_tui.app.CrboostApp(None)\n"
        "print([name for name in ('yaml', 'pydantic', 'numpy', 'starfile', 'watchfiles') if name in sys.modules])\n"
    )
    repository = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == "[]"
