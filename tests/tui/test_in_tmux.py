"""The app in a real tmux, by keys alone: from raw data to tomograms, and what terminals do and are.

The site's WarpTools is the stand-in: the project is a real one, made and run as a person does it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.engine.lease import is_alive, read_lease
from core.engine.reading import load_status
from core.project.layout import ProjectPaths
from core.standins.install import install
from core.standins.session import make_session
from crboost_tui.actions import all_actions
from crboost_tui.data import config_dir
from tests.rehearsed import done_attempts, states, wait_for
from tests.tui import seed
from tests.tui.tmux import PATIENCE_SECONDS, Tmux

REPOSITORY = Path(__file__).resolve().parents[2]
CRBOOST = (sys.executable, "-P", "-m", "crboost_tui.main")
SERIES = tuple(f"Position_{number}" for number in range(1, 5))
JOBS = ("importmovies", "fsMotionAndCtf", "tsImport", "aligntiltsWarp", "tsCtf", "tsReconstruct")
FAILING = "Position_3"

pytestmark = pytest.mark.timeout(300)

if shutil.which("tmux") is None and os.environ.get("CRBOOST_TESTBED") != "required":
    pytest.skip("there is no tmux", allow_module_level=True)


class Site:
    """A home, a configuration that names the tools, and terminals in which somebody works."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        self.root = home / "ribosome"
        """Where the project comes to lie."""
        self._sockets = Path(tempfile.mkdtemp(prefix="crb"))  # a socket's path must be short
        self._terminals: list[Tmux] = []

    def terminal(self, *arguments: str, width: int = 120, height: int = 34, **more: str) -> Tmux:
        """The app in a tmux of its own."""
        socket = self._sockets / str(len(self._terminals))
        terminal = Tmux(socket, width=width, height=height, PYTHONPATH=str(REPOSITORY))
        self._terminals.append(terminal)
        terminal.run([*CRBOOST, *arguments], self.home, **more)
        return terminal

    def install_tools(self, seconds: float, fails: int = 0) -> None:
        """A site with a WarpTools, in which one series fails so many times in its CTF."""
        tools = self.folder / "tools"
        plan = self.folder / "plan.json"
        plan.write_text(json.dumps([{"verb": "ts_ctf", "series": FAILING, "how": "fail", "times": fails}]))
        install(tools, config_dir() / "catalogues", settings={"seconds": seconds, "plan": str(plan)})
        program = tools / "WarpTools"
        program.write_text(f'#!/bin/sh\nexec python3 {tools}/warptools.py WarpTools "$@"\n')
        program.chmod(0o755)
        conf = Path(os.environ["XDG_CONFIG_HOME"]) / "crboost" / "conf.yaml"
        conf.parent.mkdir(parents=True, exist_ok=True)
        conf.write_text(
            f"tools:\n  warp: {{binary: true, container: false, path: {tools}}}\n"
            "submitter: local\nlocal: {cpus: 64, gpus: 16}\n"
        )

    def take_data(self) -> Path:
        """A session of the microscope; returns the folder of its movies."""
        folder = self.folder / "ribosome"
        return make_session(folder, series=len(SERIES), tilts=3, size_px=(48, 48), frames=3).frames

    def close(self) -> None:
        for terminal in self._terminals:
            terminal.close()
        lease = read_lease(ProjectPaths(self.root).lease)
        if lease is not None and is_alive(lease):
            os.kill(lease.pid, signal.SIGKILL)
        shutil.rmtree(self._sockets, ignore_errors=True)


@pytest.fixture
def site(tmp_path: Path, _own_home: Path) -> Iterator[Site]:
    found = Site(tmp_path, _own_home)
    yield found
    found.close()


@pytest.fixture
def seeded(site: Site) -> Site:
    """With a project of fixed numbers in the middle of a run."""
    seed.write(site.root, seed.status())
    return site


def make_project(terminal: Tmux, frames: Path) -> None:
    """From the list of projects to the workspace of a new one."""
    terminal.wait_for("No projects yet")
    terminal.keys("n")
    terminal.wait_for("movies +/data/session")
    terminal.type(str(frames))
    terminal.wait_for("✓ 12 movies")
    terminal.wait_for("✓ 4 mdocs")
    terminal.wait_for("project folder .*~/ribosome")
    terminal.keys("Enter")
    terminal.wait_for("4 chosen, 12 tilts")
    terminal.keys("n")
    terminal.wait_for("tilt axis .*nominal")
    terminal.keys("n")
    terminal.wait_for("Makes ~/ribosome with 4 series, links 12 movies")
    terminal.keys("Enter")
    terminal.wait_for("· tsReconstruct")
    terminal.wait_for("optics group name")


def edit_pixel_size(terminal: Tmux, text: str) -> None:
    """In the form of the last job, from the workspace's list of jobs."""
    terminal.keys("End")
    terminal.wait_for(r"▕ +tsReconstruct +Parameters|tsReconstruct +Parameters  Inputs")
    terminal.wait_for("▸ pixel size")
    terminal.keys("Enter")
    terminal.wait_for("enter edit")
    terminal.keys("Enter")
    terminal.wait_for(r"▸ pixel size .*\[")
    terminal.keys("C-u")
    terminal.type(text)
    terminal.wait_for(rf"\[{re.escape(text)} ")
    terminal.keys("Enter")
    terminal.wait_for(r"\* 1 unsaved value, \^s saves")


def row(screen: str, name: str) -> str:
    """The line of a tilt series in the monitor, from its name on."""
    found = re.search(rf"^[ ▸]*({name} .*)$", screen, re.M)
    return found[1] if found else ""


# -- the whole way -----------------------------------------------------------------------------------------------------


def test_from_raw_data_to_tomograms_by_keys_alone(site: Site) -> None:
    site.install_tools(seconds=0.05, fails=5)
    terminal = site.terminal()
    make_project(terminal, site.take_data())

    edit_pixel_size(terminal, "12.5")
    terminal.keys("C-s")
    terminal.wait_for("Saved as version 2")
    assert "pixel_size: 12.5" in ProjectPaths(site.root).file.read_text()

    terminal.keys("R")
    terminal.wait_for(r"engine \S+, \d+ s")
    terminal.keys("m")
    terminal.wait_for(lambda screen: "✗" in row(screen, FAILING))
    terminal.wait_for("3 of 4 series finished")
    terminal.wait_for("no engine runs")

    terminal.keys("f")
    terminal.wait_for(f"^ {FAILING}  CTF of tilt series.*: failed")
    terminal.keys("l")
    terminal.wait_for("the stand-in was told to fail on Position_3")
    terminal.wait_for("attempt 1")
    terminal.keys("Escape")
    terminal.wait_for("f failed")
    terminal.keys("r")
    terminal.wait_for("4 of 4 series finished")
    terminal.wait_for("no engine runs")
    assert "✗" not in row(terminal.screen(), FAILING)
    assert set(states(load_status(site.root)).values()) <= {"++++", "+++++"}
    assert {name: count for name, count in done_attempts(site.root).items() if count > 1} == {}
    assert list(site.root.glob("External/job*/warp_tiltseries/reconstruction/*_12.50Apx.mrc"))

    def whole(screen: str) -> bool:
        """All rows, and the keys in the last line."""
        return (
            all(row(screen, name).count("✓") == len(JOBS) for name in SERIES)
            and "enter open" in screen.splitlines()[-1]
        )

    client = terminal.attach(100, 30)
    client.wait_for(b"Position_4")
    terminal.wait_for(whole)
    terminal.detach()
    client.wait_for_end()
    terminal.wait_for(whole)
    again = terminal.attach(88, 26)
    again.wait_for(b"4 of 4 series finished")
    terminal.wait_for(lambda screen: whole(screen) and max(map(len, screen.splitlines())) <= 88)
    again.type(b"q")
    again.wait_for(b"ended with code 0")
    assert terminal.exit_code() == 0


def test_a_dropped_connection_ends_neither_the_run_nor_what_was_typed(site: Site) -> None:
    site.install_tools(seconds=0.6)
    terminal = site.terminal()
    make_project(terminal, site.take_data())
    terminal.keys("R")
    terminal.wait_for(r"engine \S+, \d+ s")
    edit_pixel_size(terminal, "14")
    process = terminal.process()
    wait_for(lambda: list((site.home / "state").rglob("drafts/*.json")), PATIENCE_SECONDS)
    terminal.close()
    wait_for(lambda: not Path(f"/proc/{process}").exists(), PATIENCE_SECONDS)
    assert load_status(site.root).engine.state == "running"

    terminal = site.terminal()
    terminal.wait_for("ribosome")
    terminal.keys("Enter")
    terminal.wait_for(r"^ *series +used")
    terminal.keys("w")
    terminal.wait_for("1 unsaved value from")
    terminal.wait_for(r"tsReconstruct\.pixel_size = 14")
    terminal.keys("k")
    terminal.wait_for(r"\* 1 unsaved value, \^s saves")
    terminal.keys("m")
    terminal.wait_for("4 of 4 series finished")
    assert "pixel_size" not in ProjectPaths(site.root).file.read_text()
    assert set(states(load_status(site.root)).values()) <= {"++++", "+++++"}


def test_two_apps_on_one_project_show_the_same(site: Site) -> None:
    site.install_tools(seconds=0.05)
    one = site.terminal()
    make_project(one, site.take_data())
    one.keys("m")
    one.wait_for("R runs all")
    other = site.terminal(str(site.root))
    other.wait_for("pipeline")
    other.keys("m")
    other.wait_for("R runs all")
    one.keys("R")
    for terminal in (one, other):
        terminal.wait_for("4 of 4 series finished")
        terminal.wait_for("no engine runs")
    for name in SERIES:
        assert row(one.screen(), name).count("✓") == len(JOBS), name
        assert row(one.screen(), name) == row(other.screen(), name)


def test_inside_tmux_a_lost_client_is_not_even_noticed(seeded: Site) -> None:
    terminal = seeded.terminal(str(seeded.root))
    terminal.wait_for("Position_9")
    process = terminal.process()
    client = terminal.attach(100, 30)
    client.wait_for(b"Position_9")
    client.hang_up()
    terminal.keys("f")
    terminal.wait_for("^ Position_3  ")
    assert terminal.process() == process
    again = terminal.attach(100, 30)
    again.wait_for(b"AreTomo2 ended with code 1")


# -- what terminals do and are -----------------------------------------------------------------------------------------


def test_a_window_may_become_tiny_and_large_again(seeded: Site) -> None:
    terminal = seeded.terminal(str(seeded.root))
    terminal.wait_for("Position_9")
    before = terminal.wait_for("aligntiltsWarp failed|Alignment failed|✗  Position_3")
    terminal.resize(40, 12)
    terminal.wait_for(lambda screen: max(map(len, screen.splitlines())) <= 40 and "Position_3" in screen)
    terminal.keys("f")
    terminal.keys("Enter")
    terminal.wait_for("attempt|no log")
    terminal.keys("Escape")
    terminal.wait_for("Position_3")
    terminal.keys("Home", *["Left"] * 7)
    terminal.resize(120, 34)
    terminal.wait_for(lambda screen: _without_times(screen) == _without_times(before))


def _without_times(screen: str) -> list[str]:
    """Lines without the running times and the cursor, both of which may have moved on."""
    return [re.sub(r"\d+ (s|min|h|d)\b|▸", "", line).rstrip() for line in screen.splitlines()[:12]]


@pytest.mark.parametrize("term", ["screen-256color", "xterm", "linux"])
def test_other_terminals_show_the_same(seeded: Site, term: str) -> None:
    terminal = seeded.terminal(str(seeded.root), term=term)
    screen = terminal.wait_for("Position_9")
    assert "▶" in row(screen, "Position_1")
    terminal.keys("Down", "Down")
    terminal.wait_for("^ Position_3  ")
    terminal.keys("q")
    assert terminal.exit_code() == 0


def test_without_utf_8_every_screen_is_ascii(seeded: Site) -> None:
    terminal = seeded.terminal(str(seeded.root), LANG="C", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    terminal.wait_for("Position_9")
    for key, there, gone in (
        ("f", "^ Position_3  Align", "^ Position_1  Import"), ("Enter", "attempt 1", "f failed"),
        ("Escape", "f failed", "attempt 1"), ("?", "This screen", "axis batch1"),
        ("Escape", "axis batch1", "This screen"),
        ("C-p", "What to do|retry column", "axis batch1"), ("Escape", "axis batch1", "retry column"),
        ("w", "pipeline", "f failed"), ("p", "n new", "pipeline"), ("n", "New project", "n new"),
        ("Escape", "n new", "New project"), (",", "theme", "n new"), ("4", "^ Python", "theme"),
    ):  # fmt: skip
        terminal.keys(key)
        terminal.wait_for(there)
        screen = terminal.wait_for(rf"\A(?s:(?!.*(?:{gone})))")
        assert screen.isascii(), sorted({char for char in screen if not char.isascii()})


def test_no_color_means_no_colour(seeded: Site) -> None:
    terminal = seeded.terminal(str(seeded.root), NO_COLOR="1")
    terminal.wait_for("Position_9")
    terminal.keys("f")
    terminal.wait_for("^ Position_3  ")
    sequences = {int(number) for found in re.findall(r"\x1b\[([\d;]*)m", terminal.screen(colours=True))
                 for number in found.split(";") if number}  # fmt: skip
    assert sequences, "not even bold"
    assert not sequences & {*range(30, 39), *range(40, 49), *range(90, 98), *range(100, 108)}


def test_a_terminal_that_can_do_nothing_is_refused_with_a_sentence(seeded: Site) -> None:
    terminal = seeded.terminal(str(seeded.root), term="dumb")
    screen = terminal.wait_for("crboost status")
    assert terminal.exit_code() == 2
    assert "TERM=dumb" in screen
    assert "Traceback" not in screen


def test_no_action_is_on_a_key_that_tmux_screen_or_the_terminal_keep_for_themselves() -> None:
    for place, actions in all_actions().items():
        for action in actions:
            for key in action.keys.split(","):
                assert key not in ("ctrl+a", "ctrl+b", "ctrl+q" if place != "everywhere" else "", "f11", "f12"), action
                assert not key.startswith(("alt+", "super+", "ctrl+shift+")), action


def test_a_suspended_app_comes_back_by_fg(seeded: Site) -> None:
    terminal = seeded.terminal()
    words = " ".join([*CRBOOST, str(seeded.root)])
    terminal.run(["sh", "-i"], seeded.home, PS1="shell> ")
    terminal.wait_for("^shell>")
    terminal.type(f"TERM=tmux-256color {words}\n")
    terminal.wait_for("Position_9")
    terminal.keys("C-z")
    terminal.wait_for("^shell> *$")
    terminal.type("fg\n")
    terminal.wait_for("Position_9")
    terminal.keys("q")
    terminal.wait_for("^shell> *$")


def test_the_shell_is_as_it_was_when_the_app_is_left(seeded: Site) -> None:
    """Tried by what a person does next: a line is typed and seen."""
    terminal = seeded.terminal()
    terminal.run(["sh", "-i"], seeded.home, PS1="shell> ")
    terminal.wait_for("^shell>")
    terminal.type(f"TERM=tmux-256color {' '.join(CRBOOST)} {seeded.root}\n")
    terminal.wait_for("Position_9")
    terminal.keys("q")
    terminal.wait_for("^shell> *$")
    terminal.type("echo as it $((1 + 1)) was\n")
    screen = terminal.wait_for("^as it 2 was$")
    assert "echo as it" in screen
    assert "Position_9" not in screen


def test_it_is_drawn_in_the_256_colours_that_tmux_has(seeded: Site) -> None:
    terminal = seeded.terminal(str(seeded.root))
    terminal.wait_for("Position_9")
    assert re.search(r"\x1b\[[\d;]*38;5;\d+m", terminal.screen(colours=True))
