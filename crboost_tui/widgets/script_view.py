"""The script of a task as lines, with those marked that differ from what was shown before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from textual import events

from crboost_tui.actions import Action
from crboost_tui.terminal import cell_width
from crboost_tui.widgets.line_list import LineList, Piece

SERIES_ACTIONS = (
    Action("series(1)", "],J", "next series", "the next tilt series"),
    Action("series(-1)", "[,K", "series before", "the tilt series before"),
    Action("copy_text", "y", "copy", "copy the script to the terminal's clipboard"),
)
"""While a script has the keys."""


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """``part`` says how it is drawn: ``head`` (a heading of ours), ``own``, ``same`` (the same in every task)."""

    text: str
    part: str = "own"
    changed: bool = False


class ScriptView(LineList[ScriptLine]):
    """Lines that are too long go on below, further in."""

    def __init__(self, colours: Callable[[str], str], *, utf8: bool = True, id: str | None = None) -> None:
        super().__init__(colours, utf8=utf8, id=id)
        self.lines: tuple[ScriptLine, ...] = ()

    def take(self, lines: Sequence[ScriptLine]) -> None:
        """Show other lines, with the first one in view that changed just now."""
        before, self.lines = self.lines, tuple(lines)
        self._fold()
        changed = [line for line in self.lines if line.changed]
        if changed and changed != [line for line in before if line.changed]:
            self.go(next(index for index, row in enumerate(self.rows) if row.changed))
            self.call_after_refresh(
                lambda: self.scroll_to(y=max(0, self.cursor - self.size.height // 3), animate=False)
            )

    def on_resize(self, event: events.Resize) -> None:
        self._fold()
        super().on_resize(event)

    def _fold(self) -> None:
        room = max(20, self.size.width - 3)
        rows: list[ScriptLine] = []
        for line in self.lines:
            text = line.text.expandtabs(4)
            while cell_width(text) > room:
                lead = " " * min(room // 2, len(text) - len(text.lstrip()) + 4)
                at = text.rfind(" ", len(lead) + 1, room)
                at = at if at > len(lead) else room
                rows.append(replace(line, text=text[:at]))
                text = lead + text[at:].lstrip()
            rows.append(replace(line, text=text))
        self.show(rows, ["reading ..."])

    def pieces(self, row: ScriptLine, width: int) -> list[Piece]:
        mark: Piece = ("▎" if row.changed else " ", "need")
        if row.part == "head":
            return [mark, (row.text, "bold")]
        quiet = row.part == "same" or row.text.lstrip().startswith("#")
        return [mark, (row.text, "quiet" if quiet else "")]
