"""One line of text with something at its right end. It repaints only when what it says changed."""

from __future__ import annotations

from rich.text import Text
from textual.widget import Widget


class Line(Widget):
    """``left`` is cut where both do not fit; ``right`` stays whole."""

    DEFAULT_CSS = """
    Line { height: 1; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._left, self._right = Text(), Text()

    def say(self, left: Text | str, right: Text | str = "") -> None:
        new_left = Text(left) if isinstance(left, str) else left
        new_right = Text(right) if isinstance(right, str) else right
        if (new_left, new_right) != (self._left, self._right):
            self._left, self._right = new_left, new_right
            self.refresh()

    def render(self) -> Text:
        width = self.size.width
        left, right = self._left.copy(), self._right
        room = max(0, width - right.cell_len - (1 if right.cell_len else 0))
        left.truncate(room, overflow="ellipsis", pad=True)
        line = Text(no_wrap=True, end="")
        line.append_text(left)
        if right.cell_len:
            line.append(" ")
            line.append_text(right)
        return line
