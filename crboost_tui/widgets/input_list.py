"""What a job takes from other jobs: its inputs, and under each one its producers in order of preference."""

from __future__ import annotations

from dataclasses import dataclass

from crboost_tui.actions import Action, bindings
from crboost_tui.terminal import cell_width, glyph, hue, shorten
from crboost_tui.widgets.line_list import LineList, Piece

INPUT_ACTIONS = (
    Action("screen.choose_input", "enter", "choose", "choose what this input takes"),
    Action("screen.add_input", "plus", "fallback", "add another job that is taken where those before it failed"),
    Action("screen.remove_input", "minus,delete", "take out", "take this producer out"),
)
"""While the list of inputs has the keys."""


@dataclass(frozen=True, slots=True)
class InputRow:
    """``producer`` "" is the input itself. ``note`` stands at its end. ``fitting``: jobs that could be taken."""

    slot: str
    producer: str
    text: str
    note: str = ""
    state: str = ""
    edited: bool = False
    wrong: bool = False
    fitting: tuple[str, ...] = ()


class InputList(LineList[InputRow]):
    BINDINGS = bindings(INPUT_ACTIONS)

    def pieces(self, row: InputRow, width: int) -> list[Piece]:
        room = max(10, width - 2)
        if not row.producer:
            begin: list[Piece] = [(f" {shorten(row.text, room)}", "bold")]
            colour = "fail" if row.wrong else "quiet"
        else:
            begin = [("   ", ""), (f"{glyph(row.state, True)} " if row.state else "  ", hue(row.state))]
            begin.append((shorten(row.text, room - 5), ""))
            colour = "need" if row.edited else "quiet"
        left = room - sum(cell_width(text) for text, _ in begin)
        if row.note and left > 4:
            begin.append((f"  {shorten(row.note, left - 2)}", colour))
        return begin
