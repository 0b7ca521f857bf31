"""Since you left: what became of a project while nobody looked, said once, when it is opened."""

from __future__ import annotations

import textwrap
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static
from textual.worker import get_current_worker

from core.engine.states import TaskState
from core.errors import CrboostError, listed
from crboost_tui.actions import Action, bindings
from crboost_tui.matrix import duration
from crboost_tui.since import Since, clock, mark_seen, since
from crboost_tui.terminal import ASCII_TWINS, glyph, hue

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

MARK_SECONDS = 60.0
LOOK_SECONDS = 0.2
"""How soon it is noticed that the project was left."""
CAUSES_SHOWN = 6
WIDTH = 78
"""Cells of the frame."""

ACTIONS = (
    Action("close(False)", "enter,escape,q,space", "go on", "to the project"),
    Action("close(True)", "f", "first failed", "to the first that failed or needs you"),
)


class SinceScreen(ModalScreen[bool]):
    """Gives True where the first that failed is to be shown."""

    app: CrboostApp
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS)
    DEFAULT_CSS = """
    SinceScreen { align: center middle; background: $background 60%; }
    SinceScreen > VerticalScroll {
        width: 78; max-width: 96%; height: auto; max-height: 94%; border: round $primary; padding: 1 2;
        background: $surface; scrollbar-size-vertical: 1;
    }
    SinceScreen > VerticalScroll.-ascii { border: ascii $primary; }
    """

    def __init__(self, found: Since) -> None:
        super().__init__()
        self.found = found

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="" if self.app.utf8 else "-ascii"):
            yield Static(self.text())

    def text(self) -> Text:
        found, quiet = self.found, self.app.colour("quiet")
        text = Text()
        text.append(f"Since {clock(found.since)}", "bold")
        text.append(f" ({duration(time.time() - found.since)})   {found.name}", quiet)
        if found.rehearsal and "REHEARSAL" not in found.name:
            text.append("  REHEARSAL", self.app.colour("rehearsal"))
        text.append("\n\n")
        if found.done:
            self._line(text, TaskState.DONE, found.done, "task done" if found.done == 1 else "tasks done")
            ready = f"{found.finished} series finished, {found.ready} of {found.series} now"
            self._wrapped(text, ready)
        if found.failures:
            self._line(text, TaskState.FAILED, found.failed, "failed")
            for one in found.failures[:CAUSES_SHOWN]:
                self._wrapped(text, f"{one.job}: {one.cause}", number=len(one.series))
                self._wrapped(text, listed(one.series, 4), quiet)
            if len(found.failures) > CAUSES_SHOWN:
                text.append(f"         and {len(found.failures) - CAUSES_SHOWN} other causes\n", quiet)
        if found.needs:
            self._line(
                text, TaskState.NEEDS_YOU, len(found.needs), "needs you" if len(found.needs) == 1 else "need you"
            )
            for sentence in found.needs[:CAUSES_SHOWN]:
                self._wrapped(text, sentence)
        if found.ended:
            text.append(f"\n  {found.ended}\n")
        text.append(f"\n  now: {found.now}\n\n")
        for action in ACTIONS:
            if action.name == "close(False)" or found.failures or found.needs:
                text.append(f"  {action.key}", "bold")
                text.append(f" {action.label}", quiet)
        if not self.app.utf8:
            text.plain = text.plain.translate(ASCII_TWINS)
        return text

    def _wrapped(self, text: Text, sentence: str, style: str = "", number: int | None = None) -> None:
        """A sentence below its number, folded under itself."""
        room = min(WIDTH, int(self.app.size.width * 0.96)) - 7
        start = " " * 9 if number is None else f"{number:>8} "
        folded = textwrap.wrap(sentence, room, initial_indent=start, subsequent_indent=" " * 9)
        text.append("".join(f"{line}\n" for line in folded), style)

    def _line(self, text: Text, state: TaskState, number: int, words: str) -> None:
        colour = self.app.colour(hue(state.value))
        text.append(f"  {glyph(state.value, self.app.utf8)} {number:>4} ", colour)
        text.append(f"{words}\n", colour if state is not TaskState.DONE else "")

    def action_close(self, failed: bool) -> None:
        self.dismiss(failed)


def look_back(app: CrboostApp, root: Path) -> None:
    """Say what happened since the user last looked, then note every minute, and in the end, that the user looks."""
    watch = partial(_watch, app, root)
    app.run_worker(watch, thread=True, exclusive=True, group="since", exit_on_error=False)


def _watch(app: CrboostApp, root: Path) -> None:
    worker = get_current_worker()
    try:
        found = since(root)
    except (CrboostError, OSError):
        found = None  # the monitor says what is wrong with it
    if found is not None and not worker.is_cancelled:
        app.call_from_thread(_tell, app, root, found)
    due = time.monotonic()
    while not worker.is_cancelled and any(getattr(screen, "root", None) == root for screen in app.screen_stack):
        if time.monotonic() >= due:
            due = time.monotonic() + MARK_SECONDS
            mark_seen(root)
        time.sleep(LOOK_SECONDS)
    mark_seen(root)


def _tell(app: CrboostApp, root: Path, found: Since) -> None:
    from crboost_tui.screens.monitor import MonitorScreen

    def closed(to_failed: bool | None) -> None:
        if not to_failed:
            return
        if not isinstance(app.screen, MonitorScreen):
            app.show_monitor(root)
        if isinstance(app.screen, MonitorScreen):
            app.screen.go_to_failed()

    app.push_screen(SinceScreen(found), closed)
