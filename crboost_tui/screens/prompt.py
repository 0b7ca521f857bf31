"""One line to type: a name, a text to look for."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class PromptScreen(ModalScreen[str | None]):
    """``wrong`` says why a text cannot be, "" where it can. Gives the text, None where it was left."""

    BINDINGS = [Binding("escape", "leave", "leave", show=False)]
    DEFAULT_CSS = """
    PromptScreen { align: center middle; background: $background 60%; }
    PromptScreen > Vertical { width: 64; max-width: 96%; height: auto; border: round $primary; padding: 0 2;
        background: $surface; }
    PromptScreen > Vertical.-ascii { border: ascii $primary; }
    PromptScreen Input, PromptScreen Input:focus { height: 1; border: none; padding: 0 1; margin: 1 0;
        background: $panel; }
    PromptScreen #said { height: auto; min-height: 1; color: $text-muted; }
    """

    def __init__(
        self, question: str, hint: str = "", value: str = "", wrong: Callable[[str], str] = lambda text: ""
    ) -> None:
        super().__init__()
        self.question = question
        self.hint = hint
        self.value = value
        self.wrong = wrong

    def compose(self) -> ComposeResult:
        with Vertical(classes="" if getattr(self.app, "utf8", True) else "-ascii"):
            yield Static(self.question, markup=False)
            line = Input(self.value, compact=True, select_on_focus=True)
            line.cursor_blink = False
            yield line
            yield Static(self.hint, markup=False, id="said")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        said = self.wrong(event.value) if event.value else ""
        self.query_one("#said", Static).update(said or self.hint)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if not self.wrong(event.value):
            self.dismiss(event.value)

    def action_leave(self) -> None:
        self.dismiss(None)
