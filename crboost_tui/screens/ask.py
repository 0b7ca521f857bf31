"""A question before something that is hard to take back. It states the impact; Enter is never the dangerous answer."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static


class AskScreen(ModalScreen[bool]):
    BINDINGS = [Binding("y", "answer(True)", "yes"), Binding("n,escape,enter,q", "answer(False)", "no")]
    DEFAULT_CSS = """
    AskScreen { align: center middle; background: $background 60%; }
    AskScreen > Vertical { width: 64; max-width: 90%; height: auto; border: round $warning; padding: 1 2;
        background: $surface; }
    AskScreen > Vertical.-ascii { border: ascii $warning; }
    AskScreen #answers { margin-top: 1; color: $text-muted; }
    """

    def __init__(self, question: str, impact: str) -> None:
        super().__init__()
        self.question = question
        self.impact = impact

    def compose(self) -> ComposeResult:
        with Vertical(classes="" if getattr(self.app, "utf8", True) else "-ascii"):
            yield Static(f"{self.question}\n", markup=False, classes="question")
            yield Static(self.impact, markup=False)
            yield Static("y yes    n no", markup=False, id="answers")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)
