"""The line in which one types what is looked for. It stands at the bottom of a list while it is used."""

from __future__ import annotations

from textual.binding import Binding
from textual.message import Message
from textual.widgets import Input


class Find(Input):
    """What is typed comes as ``Input.Changed``. Enter keeps what is found, esc brings everything back."""

    BINDINGS = [
        Binding("escape", "leave(False)", "all", show=False),
        Binding("enter", "leave(True)", "keep", show=False),
        Binding("up", "step(-1)", "up", show=False),
        Binding("down", "step(1)", "down", show=False),
    ]
    DEFAULT_CSS = """
    Find { height: 1; border: none; padding: 0 1; background: $surface; }
    Find:focus { border: none; background: $surface; background-tint: transparent; }
    """

    class Left(Message):
        """``kept``: what was typed still counts."""

        def __init__(self, kept: bool) -> None:
            super().__init__()
            self.kept = kept

    class Stepped(Message):
        """Up or down, for the list."""

        def __init__(self, lines: int) -> None:
            super().__init__()
            self.lines = lines

    def __init__(self, what: str, value: str = "") -> None:
        super().__init__(value=value, placeholder=what, compact=True, select_on_focus=False)
        self.cursor_blink = False

    def action_leave(self, kept: bool) -> None:
        self.post_message(self.Left(kept))

    def action_step(self, lines: int) -> None:
        self.post_message(self.Stepped(lines))
