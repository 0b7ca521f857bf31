"""The keys of a screen, and what the glyphs mean."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from core.engine.states import MEANING, TaskState
from crboost_tui.actions import Action
from crboost_tui.terminal import ASCII_TWINS, glyph


class HelpScreen(ModalScreen[None]):
    BINDINGS = [Binding("escape,q,question_mark,enter", "dismiss", "close")]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; background: $background 60%; }
    HelpScreen > VerticalScroll {
        width: 78; max-width: 96%; height: auto; max-height: 94%; border: round $primary; padding: 0 2;
        background: $surface;
    }
    """

    def __init__(self, title: str, actions: tuple[Action, ...], utf8: bool) -> None:
        super().__init__()
        self.heading = title
        self.actions = actions
        self.utf8 = utf8

    def compose(self) -> ComposeResult:
        text = Text()
        text.append(f"{self.heading}\n", "bold")
        for action in self.actions:
            text.append(f"  {action.key:<7}", "bold")
            text.append(f" {action.help}\n")
        text.append("\nStates\n", "bold")
        states = list(TaskState)
        half = (len(states) + 1) // 2
        for index in range(half):
            for state in states[index::half]:
                text.append(f"  {glyph(state.value, self.utf8)} {MEANING[state].split(' (')[0]:<32}")
            text.append("\n")
        text.append("\nesc closes", "dim")
        if not self.utf8:
            text.plain = text.plain.translate(ASCII_TWINS)
        with VerticalScroll():
            yield Static(text)
