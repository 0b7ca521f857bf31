"""One line of text with something at its right end, of which only what changed is sent to the terminal."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip

from crboost_tui.terminal import ASCII_TWINS
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.spans import Cells, cells_of, changed_spans, strip_of


class LiveLine(Line):
    """A line that changes often: a status, a cursor's description, an event."""

    def __init__(self, *, utf8: bool = True, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.utf8 = utf8
        self._cells: Cells = ()
        self._strip: Strip | None = None

    def say(self, left: Text | str, right: Text | str = "") -> None:
        texts = [Text(text) if isinstance(text, str) else text for text in (left, right)]
        if not self.utf8:
            for text in texts:
                text.plain = text.plain.translate(ASCII_TWINS)
        if texts == [self._left, self._right]:
            return
        self._left, self._right = texts
        if self._strip is None or not self.size.width:  # not shown now
            self._strip = None
            self.refresh()
            return
        before = self._cells
        spans = self._paint(before)
        if spans:
            self.refresh(*(Region(first, 0, end - first, 1) for first, end in spans))

    def render_line(self, y: int) -> Strip:
        if self._strip is None or self._strip.cell_length != self.size.width:
            self._paint(())
        assert self._strip is not None
        return self._strip

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strip = None

    def _paint(self, before: Cells) -> list[tuple[int, int]]:
        """Make the line anew; where it differs from what it was."""
        style, width = self.rich_style, self.size.width
        pieces = self.render().render(self.app.console)
        segments = [
            Segment(piece.text if self.utf8 else piece.text.replace("…", "~"), style + (piece.style or Style()))
            for piece in pieces
        ]
        self._cells = cells_of(Strip(segments).adjust_cell_length(width, style))
        spans = changed_spans(before, self._cells) if before else []
        self._strip = strip_of(self._cells)
        return spans
