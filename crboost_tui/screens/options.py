"""A question with several answers, each a letter, and what each one means. Enter is never one of them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from crboost_tui.terminal import ASCII_TWINS

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp


@dataclass(frozen=True, slots=True)
class Answer:
    """``why``: why it cannot be given."""

    key: str
    words: str
    why: str = ""


class OptionsScreen(ModalScreen[str | None]):
    """Gives the key of the answer, None for esc."""

    app: CrboostApp
    BINDINGS = [Binding("escape,q", "leave", "leave", show=False)]
    DEFAULT_CSS = """
    OptionsScreen { align: center middle; background: $background 60%; }
    OptionsScreen > VerticalScroll { width: 76; max-width: 96%; height: auto; max-height: 94%; border: round $warning;
        padding: 0 2; background: $surface; }
    OptionsScreen > VerticalScroll.-ascii { border: ascii $warning; }
    """

    def __init__(self, question: str, told: str, answers: Sequence[Answer], leave: str = "leave it") -> None:
        super().__init__()
        self.question = question
        self.told = told
        self.answers = answers
        self.leave = leave

    def compose(self) -> ComposeResult:
        text = Text()
        text.append(f"{self.question}\n", "bold")
        if self.told:
            text.append(f"\n{self.told}\n", self.app.colour("quiet"))
        text.append("\n")
        room = max(20, min(76, self.app.size.width - 4) - 14)
        for answer in self.answers:
            quiet = self.app.colour("quiet")
            text.append(f"  {answer.key}    ", quiet if answer.why else "bold")
            text.append(f"{_indented(answer.words, room)}\n", quiet if answer.why else "")
            if answer.why:
                text.append(f"       {_indented(answer.why, room)}\n", quiet)
        text.append("  esc  ", "bold")
        text.append(self.leave)
        if not self.app.utf8:
            text.plain = text.plain.translate(ASCII_TWINS)
        with VerticalScroll(classes="" if self.app.utf8 else "-ascii"):
            yield Static(text)

    def on_key(self, event: events.Key) -> None:
        for answer in self.answers:
            if event.character == answer.key:
                event.stop()
                if answer.why:
                    self.app.tell(answer.why)
                else:
                    self.dismiss(answer.key)

    def action_leave(self) -> None:
        self.dismiss(None)


def _indented(words: str, room: int) -> str:
    """As lines of which all but the first begin where the words of an answer do."""
    return ("\n" + " " * 7).join(textwrap.wrap(words, room))
