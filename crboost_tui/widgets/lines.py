"""Lines that keep their names: the cursor stays with its line wherever that goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from textual.geometry import Region
from textual.strip import Strip

from crboost_tui.terminal import cell_width
from crboost_tui.widgets.line_list import LineList, Piece


class Named(Protocol):
    @property
    def key(self) -> str:
        """What tells a line from others, also when it says something else."""


R = TypeVar("R", bound=Named)


CURSOR_CELLS = 8
"""The cursor is shown on the first pieces of a line that fill so many cells: a whole line costs ten times the bytes."""


class NamedLines(LineList[R]):
    def show(self, rows: Sequence[R], nothing: Sequence[str] = ()) -> None:
        chosen, old = self.selected, self.cursor
        if chosen is not None:
            self.cursor = next((place for place, row in enumerate(rows) if row.key == chosen.key), self.cursor)
        if self.cursor != old:
            self._line_changed(old)
        super().show(rows, nothing)
        self._into_view()

    def go(self, index: int) -> None:
        """Put the cursor on a row; only the begin of both lines is drawn again."""
        index = self._stop(max(0, min(len(self.rows) - 1, index)), 1 if index >= self.cursor else -1)
        if not self.rows or index == self.cursor:
            super().go(index)
            return
        old, self.cursor = self.cursor, index
        for place in (old, index):
            self._strips.pop(place, None)
            y, cells = place - self.scroll_offset.y, self._begin(self.pieces(self.rows[place], self.size.width))[1]
            if 0 <= y < self.size.height:
                self.refresh(Region(0, y, cells, 1))
        self._into_view()
        self.post_message(self.Moved(self))

    def _begin(self, pieces: Sequence[Piece]) -> tuple[int, int]:
        """How many pieces, and how many cells, show the cursor."""
        cells = 0
        for number, (text, _) in enumerate(pieces, 1):
            cells += cell_width(text)
            if cells >= CURSOR_CELLS:
                return number, cells
        return len(pieces), max(cells, CURSOR_CELLS)

    def _strip(self, pieces: list[Piece], width: int, cursor: bool) -> Strip:
        if not cursor:
            return super()._strip(pieces, width, False)
        number, cells = self._begin(pieces)
        begin = super()._strip(pieces[:number], min(cells, width), True)
        return Strip.join([begin, super()._strip(pieces[number:], max(0, width - cells), False)])

    def go_to(self, key: str) -> bool:
        """Put the cursor on a line; whether it is there."""
        place = next((place for place, row in enumerate(self.rows) if row.key == key), None)
        if place is not None:
            self.go(place)
        return place is not None


@dataclass(frozen=True, slots=True)
class Row:
    """A line as it stands. ``choice``: the cursor may be on it."""

    key: str
    pieces: tuple[Piece, ...]
    choice: bool = True


class Lines(NamedLines[Row]):
    """Lines that somebody else has laid out."""

    def pieces(self, row: Row, width: int) -> list[Piece]:
        return list(row.pieces)

    def can_stop(self, row: Row) -> bool:
        return row.choice
