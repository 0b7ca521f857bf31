"""A list whose rows are lines of text with a cursor. Only the lines that changed are drawn again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from crboost_tui.terminal import ASCII_TWINS, cell_width

T = TypeVar("T")
Piece = tuple[str, str]
"""Text and its meaning: a name of :meth:`CrboostApp.colour`, ``bold``, ``reverse``, "" for plain, or several."""

TWINS = {**ASCII_TWINS, **str.maketrans({"├": "|", "└": "`", "‹": "<", "›": ">", "▎": "|", "●": "*"})}


class LineList(ScrollView, Generic[T], can_focus=True, inherit_bindings=False):
    """Rows of any kind; a subclass says how one looks (:meth:`pieces`), and what is said while there are none."""

    BINDINGS = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("home", "move(-1000000)", "first", show=False),
        Binding("end", "move(1000000)", "last", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
    ]
    COMPONENT_CLASSES = {"lines--text", "lines--cursor", "lines--here"}
    DEFAULT_CSS = """
    LineList { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; background: $background; }
    LineList .lines--text { color: $foreground; background: $background; }
    LineList .lines--cursor { color: $foreground; background: $panel; }
    LineList .lines--here { color: $foreground; background: $surface; }
    """

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, lines: LineList[Any]) -> None:
            super().__init__()
            self.lines = lines

        @property
        def control(self) -> LineList[Any]:
            return self.lines

    class Opened(Moved):
        """A person opened the row under the cursor with a double click."""

    def __init__(self, colours: Callable[[str], str], *, utf8: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self.colours = colours
        self.utf8 = utf8
        self.rows: tuple[T, ...] = ()
        self.cursor = 0
        self.nothing: tuple[str, ...] = ()
        """Lines that stand there while there are no rows."""
        self._strips: dict[int, Strip] = {}
        self._styles: dict[tuple[str, bool, bool], Style] = {}

    def pieces(self, row: T, width: int) -> list[Piece]:
        """One row as it looks in so many cells."""
        raise NotImplementedError

    def can_stop(self, row: T) -> bool:
        """Whether the cursor may stand on this row."""
        return True

    @property
    def selected(self) -> T | None:
        return (
            self.rows[self.cursor] if self.cursor < len(self.rows) and self.can_stop(self.rows[self.cursor]) else None
        )

    def show(self, rows: Sequence[T], nothing: Sequence[str] = ()) -> None:
        """Show other rows; those that are the same are not drawn again."""
        before, self.rows = self.rows, tuple(rows)
        said, self.nothing = self.nothing, tuple(nothing)
        at = self.cursor
        self.cursor = self._stop(min(self.cursor, max(0, len(self.rows) - 1)), 1)
        if len(before) != len(self.rows) or (not self.rows and said != self.nothing):
            self._all()
            return
        for index, (old, new) in enumerate(zip(before, self.rows, strict=True)):
            if old != new or (index in (at, self.cursor) and at != self.cursor):
                self._line_changed(index)

    def redraw(self) -> None:
        """Draw every row again: what they look like depends on something else that changed."""
        self._all()

    def go(self, index: int) -> None:
        """Put the cursor on a row."""
        index = self._stop(max(0, min(len(self.rows) - 1, index)), 1 if index >= self.cursor else -1)
        if not self.rows or index == self.cursor:
            self._into_view()
            return
        old, self.cursor = self.cursor, index
        self._line_changed(old)
        self._line_changed(index)
        self._into_view()
        self.post_message(self.Moved(self))

    def action_move(self, rows: int) -> None:
        self.go(self.cursor + rows)

    def action_page(self, pages: int) -> None:
        self.go(self.cursor + pages * max(1, self.size.height - 1))

    def on_resize(self, event: events.Resize) -> None:
        self._all()
        self._into_view()

    def on_focus(self) -> None:
        self._restyle()

    def on_blur(self) -> None:
        self._restyle()

    def on_click(self, event: events.Click) -> None:
        index = event.y + self.scroll_offset.y
        if index < len(self.rows) and self.can_stop(self.rows[index]):
            self.go(index)
            if event.chain == 2:
                self.post_message(self.Opened(self))

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles.clear()
        self._strips.clear()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        index = y + self.scroll_offset.y
        if index >= len(self.rows):
            words = self.nothing[y] if not self.rows and y < len(self.nothing) else ""
            return self._strip([(f" {words}", "quiet")], width, False)
        found = self._strips.get(index)
        if found is None:
            row = self.rows[index]
            at_cursor = index == self.cursor and self.can_stop(row)
            found = self._strips[index] = self._strip(self.pieces(row, width), width, at_cursor)
        return found

    def _strip(self, pieces: list[Piece], width: int, cursor: bool) -> Strip:
        base = self._style("", cursor)
        segments = [
            Segment(text if self.utf8 else text.translate(TWINS), self._style(how, cursor)) for text, how in pieces
        ]
        return Strip(segments, sum(cell_width(segment.text) for segment in segments)).adjust_cell_length(width, base)

    def _style(self, meaning: str, cursor: bool) -> Style:
        key = (meaning, cursor, self.has_focus)
        found = self._styles.get(key)
        if found is None:
            part = ("cursor" if self.has_focus else "here") if cursor else "text"
            found = self.get_component_rich_style(f"lines--{part}")
            for word in meaning.split():
                found += Style.parse(word if word in ("bold", "reverse") else self.colours(word))
            self._styles[key] = found
        return found

    def _stop(self, index: int, step: int) -> int:
        """The nearest row from ``index`` on where the cursor may stand, else the nearest before."""
        size = len(self.rows)
        ahead = range(index, size) if step > 0 else range(index, -1, -1)
        back = range(index, -1, -1) if step > 0 else range(index, size)
        return next((each for each in (*ahead, *back) if self.can_stop(self.rows[each])), 0) if size else 0

    def _into_view(self) -> None:
        top, height = self.scroll_offset.y, self.size.height
        if height and self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif height and self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)

    def _restyle(self) -> None:
        self._line_changed(self.cursor)

    def _line_changed(self, index: int) -> None:
        self._strips.pop(index, None)
        y = index - self.scroll_offset.y
        if 0 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def _all(self) -> None:
        self._strips.clear()
        self.virtual_size = Size(self.size.width, len(self.rows))
        self.refresh()
