"""The app: its colours, what it tells the terminal, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, work
from textual.app import App
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widget import Widget

from core.errors import CrboostError, InputError
from crboost_tui import garbage, sparing
from crboost_tui.actions import APP_ACTIONS, bindings
from crboost_tui.plain_text import OnlyAscii
from crboost_tui.recent import remember
from crboost_tui.settings import AppSettings, changed, load_settings
from crboost_tui.terminal import glyph, is_utf8
from crboost_tui.themes import BY_SETTING, DARK, TERMINAL, THEMES, ReversedPanels, style_of

if TYPE_CHECKING:
    from crboost_tui.picture import Picture

THREADS = 32
"""For all that waits for a disk or a queue; a disk that hangs keeps some of them for good."""
LEAVE_SECONDS = 0.7
"""Nothing is lost where the app ends before its threads do: all state is in files, the engine is another process."""


class CrboostApp(App[int]):
    """``root``: the project to open, None for the list of projects."""

    TITLE = "crboost"
    ENABLE_COMMAND_PALETTE = False  # it has one of its own
    BINDINGS = bindings(APP_ACTIONS)
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
    OptionList, OptionList:focus {
        background: $background; background-tint: transparent; border: none;
    }
    OptionList > .option-list--option-highlighted { background: $panel; color: $foreground; text-style: none; }
    OptionList:focus > .option-list--option-highlighted {
        background: $panel; color: $foreground; text-style: none;
    }
    """

    def __init__(self, root: Path | None = None, *, utf8: bool | None = None) -> None:
        sparing.install()
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.root = root
        """The project that was opened last."""
        self.utf8 = is_utf8(sys.stdout.encoding) if utf8 is None else utf8
        self.settings, self.wrong_settings = load_settings()
        self.working_on: set[Path] = set()
        """The colleagues' projects that this user asked to change; they are read-only again in the next session."""
        self.drawn = False
        """Whether the first frame is there."""
        self._title = ""
        self._failed: dict[str, int] = {}
        self._reversed = ReversedPanels()
        self._housekeeping = garbage.Housekeeping()
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self._first_theme()
        self.set_keymap(dict(self.settings.keys))

    def _first_theme(self) -> str:
        if self.no_color:
            return TERMINAL
        named = os.environ.get("TEXTUAL_THEME")
        if not named:
            return BY_SETTING.get(self.settings.theme, DARK)
        wanted = BY_SETTING.get(named, named)
        if wanted in self.available_themes:
            return wanted
        self.wrong_settings += (f"TEXTUAL_THEME: there is no theme {named!r}; there are {', '.join(BY_SETTING)}.",)
        return DARK

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent):
            self._housekeeping.pressed()
        await super().on_event(event)

    def refresh_css(self, animate: bool = True) -> None:
        if self.is_running:
            super().refresh_css(animate)
        else:  # nothing has a style yet: what will be parsed is parsed with these
            self.stylesheet.set_variables(self.get_css_variables())

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = [*super().get_line_filters(), *(() if self.utf8 else (OnlyAscii(),))]
        return [self._reversed, *filters] if self.native_ansi_color else filters

    def on_load(self) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="work"))

    def on_mount(self) -> None:
        from crboost_tui.screens.projects import ProjectsScreen

        self.push_screen(ProjectsScreen())
        if self.root is not None:
            self.open_project(self.root)
        self.call_after_refresh(self._first_frame)

    def _first_frame(self) -> None:
        self.drawn = True
        if not self.is_headless:  # in a test the process is not ours
            garbage.begin()
            self.set_interval(garbage.REST_SECONDS / 2, self._housekeeping.look)
        if self.wrong_settings:
            more = f" And {len(self.wrong_settings) - 1} more." if len(self.wrong_settings) > 1 else ""
            self.tell(self.wrong_settings[0] + more, wrong=True)
        if self.settings.keys:
            self.set_timer(1.0, self._check_keys)  # it imports every screen

    @work(thread=True, group="keys", exit_on_error=False)
    def _check_keys(self) -> None:
        from crboost_tui.actions import all_actions
        from crboost_tui.settings import wrong_keys

        for sentence in wrong_keys(self.settings.keys, all_actions())[:3]:
            self.call_from_thread(self.tell, sentence, True)

    def open_project(self, root: Path) -> None:
        """Open a project where it is best looked at; where it is none, or its disk does not answer, say so."""
        self._open(root)

    @work(thread=True, exclusive=True, group="open", exit_on_error=False)
    def _open(self, root: Path) -> None:
        from crboost_tui.project_list import look_at_all

        entry = next(look_at_all([root]))
        if entry.kind == "gone":
            sentence = "there is no project in it any more" if root.is_dir() else "this folder is not there any more"
            self.call_from_thread(self.tell, f"{root}: {sentence}. x takes it out of the list.", True)
        elif entry.kind == "silent":
            self.call_from_thread(self.tell, f"{root}: its disk does not answer. Try again in a while.", True)
        elif entry.kind == "relion":
            self.call_from_thread(self._show_relion, root)
        else:
            remember(root)
            mine_and_new = entry.outcome == "not run yet" and not entry.owner
            self.call_from_thread(self._show_opened, root, self.show_workspace if mine_and_new else self.show_monitor)

    def _show_opened(self, root: Path, show: Callable[[Path], None]) -> None:
        from crboost_tui.screens.since import look_back

        self.root = root
        show(root)
        look_back(self, root)

    def _show_relion(self, root: Path) -> None:
        from crboost_tui.screens.relion import RelionScreen

        self.push_screen(RelionScreen(root, alone=True))

    def show_monitor(self, root: Path) -> None:
        """The monitor of a project, in the place of its workspace where that is open."""
        from crboost_tui.screens.monitor import MonitorScreen

        self._show_project_screen(MonitorScreen(root))

    def show_workspace(self, root: Path, job: str = "", field: str = "") -> None:
        """The workspace of a project with the cursor on a job, and on a field of its form (``tsCtf.window``)."""
        from crboost_tui.screens.workspace import WorkspaceScreen

        self._show_project_screen(WorkspaceScreen(root, job, field))

    def show_series(self, root: Path, key: str) -> None:
        """The monitor with the cursor on a tilt series."""
        from crboost_tui.screens.monitor import MonitorScreen

        at = self.screen_stack[2] if len(self.screen_stack) > 2 else None
        if isinstance(at, MonitorScreen) and at.root == root:
            while len(self.screen_stack) > 3:
                self.pop_screen()
        else:
            self.show_monitor(root)
        self._go_to_series(key, 100)

    def _go_to_series(self, key: str, looks: int) -> None:
        """As soon as the monitor has read what it shows."""
        from crboost_tui.widgets.matrix_view import MatrixView

        matrix = next(iter(self.screen.query(MatrixView)), None)
        rows = matrix.shown_rows if matrix is not None else []
        place = next((place for place, row in enumerate(rows) if row.key == key), None)
        if matrix is not None and place is not None:
            matrix.go(place, matrix.column)
        elif rows:
            self.tell("This tilt series is not among those that are shown: esc shows all.")
        elif looks:
            self.set_timer(0.1, lambda: self._go_to_series(key, looks - 1))

    def _show_project_screen(self, screen: Screen[None]) -> None:
        """Over the list of projects there is one screen of one project, and what was opened from it."""
        while len(self.screen_stack) > 3:
            self.pop_screen()
        if len(self.screen_stack) == 3:
            self.switch_screen(screen)
        else:
            self.push_screen(screen)

    def colour(self, name: str) -> str:
        """The style of a meaning (run, done, fail, stale, need, quiet, rehearsal) in the present theme."""
        return style_of(self.current_theme, name, self.no_color)

    def tell(self, sentence: str, wrong: bool = False) -> None:
        """One sentence in the corner at the bottom right, for 2 s; 4 s where something is wrong."""
        self.notify(sentence, severity="error" if wrong else "information", timeout=4 if wrong else 2, markup=False)

    def say_outside(self, picture: Picture, before: str) -> None:
        """The terminal's title; a bell and a notice when something failed, or a run ended or waits for somebody."""
        if self.is_headless or self._driver is None:
            return
        counts = dict(picture.counts)
        words = [f"{glyph(state, self.utf8)}{counts[state]}" for state in "x>!" if counts.get(state)]
        title = _printable(" ".join([*words, picture.name]))
        if title != self._title:
            self._driver.write(f"\x1b]2;{title}\x07" if self._title else f"\x1b[22;2t\x1b]2;{title}\x07")
            self._title = title
        failed = counts.get("x", 0)
        newly_failed = failed - self._failed.get(picture.name, failed)
        self._failed[picture.name] = failed
        if not self.settings.bell:
            return
        if before == "running" and picture.outcome != "running":
            self._call_for_attention(f"{picture.name}: {picture.outcome}")
        elif newly_failed > 0:
            self._call_for_attention(f"{picture.name}: {newly_failed} failed")

    def _call_for_attention(self, sentence: str) -> None:
        self.bell()
        assert self._driver is not None
        self._driver.write(f"\x1b]9;{_printable(sentence)}\x07")

    def on_unmount(self) -> None:
        if self._title and self._driver is not None:
            self._driver.write("\x1b[23;2t")  # the title that the terminal had before

    def set_setting(self, name: str, value: object) -> None:
        """Change one of the user's settings: it holds at once, and is saved."""
        self.settings = changed(self.settings, name, value)
        if name == "theme" and not self.no_color:
            self.theme = BY_SETTING[self.settings.theme]
            self.call_later(self._say_all_again)
        if name == "keys":
            self.set_keymap(dict(self.settings.keys))
            for screen in self.screen_stack:
                screen.refresh(layout=False)
        self._save_settings(self.settings)

    def _say_all_again(self) -> None:
        """What was said in the colours of another theme: it is laid out anew as for another size."""
        for screen in self.screen_stack:
            for widget in (screen, *screen.walk_children(Widget)):
                widget.post_message(events.Resize(widget.size, widget.virtual_size, widget.container_size))
                widget.refresh()

    @work(thread=True, group="settings", exit_on_error=False)
    def _save_settings(self, settings: AppSettings) -> None:
        from crboost_tui.settings import save_settings

        with _SAVING:
            if settings is not self.settings:
                return  # another change came after it, and saves all
            try:
                save_settings(settings)
            except CrboostError as error:
                self.call_from_thread(self.tell, str(error), True)

    def action_help(self) -> None:
        from crboost_tui.screens.help import HelpScreen, focused_actions

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(focused_actions(self.screen), getattr(self.screen, "ACTIONS", ())))

    def action_command_palette(self) -> None:
        from crboost_tui.screens.palette import PaletteScreen

        if not isinstance(self.screen, PaletteScreen):
            self.push_screen(PaletteScreen(self.screen))

    def action_settings(self) -> None:
        from crboost_tui.screens.settings import SettingsScreen

        if not any(isinstance(screen, SettingsScreen) for screen in self.screen_stack):
            self.push_screen(SettingsScreen(self.root if len(self.screen_stack) > 2 else None))

    def action_projects(self) -> None:
        while len(self.screen_stack) > 2:
            self.pop_screen()

    def _fatal_error(self) -> None:
        """An error of ours: no traceback on a person's screen, see :func:`open_app`."""
        if self.is_headless:
            super()._fatal_error()
        else:
            self._close_messages_no_wait()


_SAVING = threading.Lock()


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def open_app(root: Path | None) -> int:
    """Run the app until it is left, the terminal hangs up or its input ends. The exit code is 0 in all three."""
    if os.environ.get("TERM") == "dumb":
        raise InputError(
            "This terminal says that it can do nothing but lines (TERM=dumb): say what it is, for instance "
            "TERM=xterm-256color crboost, or use: crboost status"
        )
    gc.disable()  # until the first frame, which keeps all that was made before it
    app = CrboostApp(root)
    if app.console.color_system not in ("256", "truecolor") and not os.environ.get("TEXTUAL_THEME"):
        app.theme = TERMINAL  # of 16 colours only those that the terminal's owner chose
    leave_on_hangup(app)

    async def run() -> None:
        await app.run_async()
        # What waits for a dead disk ends with the process, not before it.
        threading.Thread(target=_end_soon, args=(app.return_code or 0,), daemon=True).start()

    asyncio.run(run())
    if app._exception is not None:
        raise app._exception
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


def _end_soon(code: int = 0) -> None:
    threading.Event().wait(LEAVE_SECONDS)
    os._exit(code)
