"""How long the app lets one wait: until its first frame, and in single steps of its loop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.tui import seed

if TYPE_CHECKING:
    from textual.screen import Screen

    from crboost_tui.app import CrboostApp

PROJECTS, SERIES, RUNS = 50, 200, 9
REPOSITORY = Path(__file__).resolve().parents[2]


def first_frame(folder: Path) -> dict[str, float]:
    """From the start of the process until the terminal has the whole list of remembered projects and the footer; with
    settings of the user's, and once before to warm the disk up."""
    home = _home(folder)
    return {"first_frame_s": median([_first_frame(home) for _ in range(RUNS + 1)][1:])}


def _home(folder: Path) -> Path:
    """A home with projects that were opened before."""
    from crboost_tui.recent import remember

    home = folder / "home"
    os.environ["XDG_STATE_HOME"] = str(home / "state")
    for number in range(PROJECTS):
        found = seed.status(20)
        found.name = f"project_{number:02d}_of_the_lab"
        remember(seed.write(folder / f"p{number}", found))
    (home / "config" / "crboost").mkdir(parents=True)
    (home / "config" / "crboost" / "app.yaml").write_text("theme: dark\nkeys: {order: O}\n", encoding="utf-8")
    return home


def _first_frame(home: Path) -> float:
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 140, 0, 0))
    environment = {
        **os.environ, "XDG_STATE_HOME": str(home / "state"), "XDG_CONFIG_HOME": str(home / "config"),
        "HOME": str(home), "PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color", "LANG": "C.UTF-8",
    }  # fmt: skip
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "crboost_tui.main"],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, cwd=home, env=environment,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    wanted = [f"project_{number:02d}_of".encode() for number in range(PROJECTS)] + [b"settings", b"help"]
    while not all(text in seen for text in wanted):
        assert time.perf_counter() - begun < 60, seen[-2000:]
        if select.select([ours], [], [], 1.0)[0]:
            seen += os.read(ours, 65536)
    seconds = time.perf_counter() - begun
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGHUP)
    process.wait(10)
    os.close(ours)
    return seconds


def loop_block(folder: Path) -> dict[str, float]:
    """The worst step of the loop in a walk through all screens of a project with 200 tilt series."""
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    os.environ["XDG_CONFIG_HOME"] = str(folder / "config")
    return {"loop_block_max_ms": asyncio.run(_walk(folder))}


Step = tuple[Callable[["CrboostApp", Path], object] | None, str]
"""Where to go, and what to press there."""

WALK: tuple[Step, ...] = (
    (None, "down down / p o s enter escape o end pageup home"),
    (None, "question_mark pagedown end escape ctrl+p r i b escape comma 2 pagedown 3 1 4 escape"),
    (lambda app, root: app.open_project(root), "f down right end pageup home escape"),
    (None, "question_mark escape ctrl+p p o s 1 1 escape comma escape"),
    (lambda app, root: app.push_screen(_task(root)), "down pagedown home tab tab tab"),
    (lambda app, root: app.pop_screen(), "f"),
    (lambda app, root: app.push_screen(_results(root)), "down right tab tab"),
    (lambda app, root: app.pop_screen(), "down"),
    (lambda app, root: app.show_workspace(root), "down down down tab down tab down tab down tab down tab down tab"),
    (None, "question_mark escape ctrl+p escape"),
    (lambda app, root: app.show_workspace(root, "tsCtf"), "tab down down enter escape"),
    (lambda app, root: app.action_projects(), "down up"),
    (lambda app, root: app.push_screen(_new_project()), "tab tab down"),
)
"""A key that means nothing on a screen is no step of the walk."""


def _task(root: Path) -> Screen[None]:
    from crboost_tui.screens.task import TaskScreen

    return TaskScreen(root, "aligntiltsWarp", "Position_3", "x", "AreTomo2 ended with code 1, no .aln written", "log")


def _results(root: Path) -> Screen[None]:
    from crboost_tui.screens.results import ResultsScreen

    return ResultsScreen(root, "fsMotionAndCtf", "Position_3")


def _new_project() -> Screen[None]:
    from crboost_tui.screens.new_project import NewProjectScreen

    return NewProjectScreen()


async def _walk(folder: Path) -> float:
    from crboost_tui.app import CrboostApp
    from crboost_tui.recent import remember
    from tests.tui.watchdog import watching

    found = seed.status(SERIES)
    root = seed.write(folder / "p", found)
    seed.write_log(root, "External/job004", "Position_3", "Patch 3 of 16\n" * 20_000)
    remember(root)
    visited = set()
    with watching() as watch:
        app = CrboostApp(None, utf8=True)
        async with app.run_test(size=(140, 45)) as pilot:
            await pilot.pause(1.0)
            for go, keys in WALK:
                if go is not None:
                    go(app, root)
                    await pilot.pause(0.5)
                for key in keys.split():
                    await pilot.press("slash" if key == "/" else key)
                    visited.add(type(app.screen).__name__)
                await pilot.pause(0.4)
    print(f"visited {', '.join(sorted(visited))}; worst {watch.worst}", file=sys.stderr)
    for step in watch.steps:
        print(step, file=sys.stderr)
    return watch.worst_ms
