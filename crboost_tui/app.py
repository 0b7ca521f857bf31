"""The app: its colours, what it tells the terminal, and how it ends."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import termios
import threading
from collections.abc import Iterable
from pathlib import Path

from textual.app import App, SystemCommand
from textual.screen import Screen
from textual.theme import Theme

from core.project.layout import ProjectPaths
from crboost_tui.picture import Picture
from crboost_tui.recent import remember
from crboost_tui.terminal import glyph, is_utf8

# What each meaning looks like on a dark and a light ground. (Names as in crboost_tui.terminal.hue)
_DARK = {
    "run": "#6cb6ff", "done": "#57ab5a", "fail": "bold #f47067", "stale": "#b083f0", "need": "bold #f2cc60",
    "quiet": "#768390", "rehearsal": "bold #daaa3f",
}  # fmt: skip
_LIGHT = {
    "run": "#0550ae", "done": "#116329", "fail": "bold #b3261e", "stale": "#6639ba", "need": "bold #7d4e00",
    "quiet": "#6e7781", "rehearsal": "bold #7d4e00",
}  # fmt: skip
_ANSI = {
    "run": "blue", "done": "green", "fail": "bold red", "stale": "magenta", "need": "bold yellow", "quiet": "dim",
    "rehearsal": "bold yellow",
}  # fmt: skip

THEMES = (
    Theme(
        name="crboost-dark", primary="#6cb6ff", secondary="#768390", warning="#f2cc60", error="#f47067",
        success="#57ab5a", accent="#6cb6ff", foreground="#cdd9e5", background="#1c2128", surface="#22272e",
        panel="#2d333b", dark=True,
    ),
    Theme(
        name="crboost-light", primary="#0550ae", secondary="#6e7781", warning="#7d4e00", error="#b3261e",
        success="#116329", accent="#0550ae", foreground="#24292f", background="#ffffff", surface="#f6f8fa",
        panel="#eaeef2", dark=False,
    ),
)  # fmt: skip


class CrboostApp(App[int]):
    """``root``: the project to open, None for the list of projects."""

    TITLE = "crboost"
    ENABLE_COMMAND_PALETTE = True
    CSS = """
    MatrixView { background: $background; color: $foreground; }
    MatrixView .matrix--head { color: $secondary; background: $background; }
    MatrixView .matrix--text { color: $foreground; background: $background; }
    MatrixView .matrix--cursor { color: $foreground; background: $panel; }
    MatrixView .matrix--cell { background: $primary-muted; }
    Keys { background: $background; }
    Keys .keys--key { color: $foreground; text-style: bold; }
    Keys .keys--label { color: $secondary; }
    ToastRack { align: right bottom; }
    Toast { width: auto; max-width: 50%; padding: 0 1; margin-top: 0; }
    Log, Log:focus, OptionList, OptionList:focus {
        background: $background; background-tint: transparent; border: none;
    }
    OptionList > .option-list--option-highlighted { background: $panel; color: $foreground; text-style: none; }
    OptionList:focus > .option-list--option-highlighted {
        background: $panel; color: $foreground; text-style: none;
    }
    """

    def __init__(self, root: Path | None = None, *, utf8: bool | None = None) -> None:
        super().__init__()
        self.root = root
        """The project that was opened last."""
        self.utf8 = is_utf8(sys.stdout.encoding) if utf8 is None else utf8
        self._title = ""
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = os.environ.get("TEXTUAL_THEME") or "crboost-dark"

    def on_mount(self) -> None:
        from crboost_tui.screens.projects import ProjectsScreen

        self.push_screen(ProjectsScreen())
        if self.root is not None:
            self.open_project(self.root)
        self.call_after_refresh(gc.freeze)

    def open_project(self, root: Path) -> None:
        if not ProjectPaths(root).file.exists():  # RELION has made it
            from crboost_tui.screens.relion import RelionScreen

            self.push_screen(RelionScreen(root, alone=True))
            return
        from crboost_tui.screens.monitor import MonitorScreen

        self.root = root
        remember(root)
        self.push_screen(MonitorScreen(root))

    def colour(self, name: str) -> str:
        """The style of a meaning (run, done, fail, stale, need, quiet, rehearsal) in the present theme."""
        if self.theme.startswith("ansi") or self.theme == "textual-ansi":
            return _ANSI[name]
        return (_DARK if self.current_theme.dark else _LIGHT)[name]

    def tell(self, sentence: str, wrong: bool = False) -> None:
        """One sentence in the corner at the bottom right, for 2 s; 4 s where something is wrong."""
        self.notify(sentence, severity="error" if wrong else "information", timeout=4 if wrong else 2, markup=False)

    def say_outside(self, picture: Picture, before: str) -> None:
        """The terminal's title, and a bell when a run failed, ended or waits for somebody."""
        if self.is_headless:
            return
        words = [f"{glyph(state, self.utf8)}{number}" for state, number in picture.counts if number and state in "x>!"]
        title = " ".join([*words, picture.name])
        if title != self._title and self._driver is not None:
            self._title = title
            printable = "".join(char if char.isprintable() else " " for char in title)
            self._driver.write(f"\x1b]2;{printable}\x07")
        if before == "running" and picture.outcome != "running":
            self.bell()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: what the screen under it can do, then themes."""
        for action in getattr(screen, "ACTIONS", ()):
            if not action.name.startswith("move") and action.name != "app.command_palette":
                yield SystemCommand(action.label, f"{action.help}  ({action.key})", _Call(self, screen, action.name))
        yield SystemCommand("theme", "choose the colours", self.action_change_theme)

    def action_help(self) -> None:
        from crboost_tui.screens.help import HelpScreen

        actions = getattr(self.screen, "ACTIONS", ())
        if actions:
            self.push_screen(HelpScreen("Keys", actions, self.utf8))

    def action_projects(self) -> None:
        while len(self.screen_stack) > 2:
            self.pop_screen()


class _Call:
    """An action of a screen as the palette calls it."""

    def __init__(self, app: CrboostApp, screen: Screen[object], name: str) -> None:
        self.app, self.screen, self.name = app, screen, name

    async def __call__(self) -> None:
        await self.app.run_action(self.name, default_namespace=self.screen)


def open_app(root: Path | None) -> int:
    """Run the app until it is left, the terminal hangs up or its input ends. The exit code is 0 in all three."""
    app = CrboostApp(root)
    leave_on_hangup(app)
    app.run()
    return app.return_code or 0


def leave_on_hangup(app: CrboostApp) -> None:
    """End within a second of a hang-up. The terminal may be gone, so that nothing that is written to it returns."""

    def leave(*_: object) -> None:
        threading.Thread(target=_end_soon, daemon=True).start()
        app.call_later(app.exit)

    def watch_input() -> None:
        """A terminal that went away without a signal: its settings cannot be read any more."""
        while not ended.wait(0.3):
            try:
                termios.tcgetattr(sys.stdin.fileno())
            except (termios.error, ValueError, OSError):
                leave()
                return

    ended = threading.Event()
    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGHUP, leave)
        signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=watch_input, daemon=True).start()


def _end_soon() -> None:
    """Nothing is lost by this: all state is in files, and the engine is another process."""
    threading.Event().wait(0.7)
    os._exit(0)
