"""Series by jobs as lines of cells. Drawn line by line: only what changed goes over the wire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import var
from textual.scroll_view import ScrollView
from textual.strip import Strip

from crboost_tui.picture import Picture, PictureRow
from crboost_tui.terminal import ASCII_TWINS, cell_width, fit, glyph, hue, shorten

NARROW, WIDE = 4, 7
"""Cells of one job's column, the space after it included."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the columns share the width. ``first`` and ``shown``: the window of jobs."""

    name: int
    cell: int
    first: int
    shown: int
    numbers: bool
    rest: int


class MatrixView(ScrollView, can_focus=True, inherit_bindings=False):
    """The first line are the labels and stays; the cursor is a row and a job. ``colours``: style of a meaning."""

    COMPONENT_CLASSES = {
        "matrix--head", "matrix--cursor", "matrix--cell", "matrix--text",
    }  # fmt: skip
    DEFAULT_CSS = """
    MatrixView { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }
    """
    row = var(0)
    column = var(0)

    class Moved(Message):
        """The cursor is somewhere else, or what is under it changed."""

    class Opened(Message):
        """A person opened the task under the cursor."""

    def __init__(self, colours: Callable[[str], str], *, utf8: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self.colours = colours
        self.utf8 = utf8
        self.picture: Picture | None = None
        self._strips: dict[tuple[int, bool], Strip] = {}
        self._layout: Layout | None = None

    def show(self, picture: Picture) -> None:
        """Draw another picture; only lines that differ are drawn again."""
        before, self.picture = self.picture, picture
        self._strips.clear()
        rows = len(picture.rows)
        self.row = min(self.row, max(0, rows - 1))
        self.column = min(self.column, max(0, len(picture.jobs) - 1))
        same_shape = (
            before is not None
            and len(before.rows) == rows
            and before.jobs == picture.jobs
            and before.numbers == picture.numbers
        )
        if not same_shape or before is None:
            self._layout = None
            self.virtual_size = Size(self.size.width, rows + 1)
            self.refresh()
        else:
            for index, (old, new) in enumerate(zip(before.rows, picture.rows, strict=True)):
                if old != new:
                    self._refresh_row(index)
        self.post_message(self.Moved())

    @property
    def selected(self) -> PictureRow | None:
        if self.picture is None or not self.picture.rows:
            return None
        return self.picture.rows[self.row]

    def move(self, rows: int, columns: int = 0) -> None:
        if self.picture is None or not self.picture.rows:
            return
        old_row, old_first = self.row, self._columns().first
        self.row = max(0, min(len(self.picture.rows) - 1, self.row + rows))
        self.column = max(0, min(len(self.picture.jobs) - 1, self.column + columns))
        self._layout = None
        self._strips.clear()
        if self._columns().first != old_first:
            self.refresh()
        self._refresh_row(old_row)
        self._refresh_row(self.row)
        top, height = self.scroll_offset.y, self.size.height - 1
        if self.row < top:
            self.scroll_to(y=self.row, animate=False)
        elif self.row >= top + height:
            self.scroll_to(y=self.row - height + 1, animate=False)
        self.post_message(self.Moved())

    def go(self, row: int, column: int) -> None:
        self.move(row - self.row, column - self.column)

    def on_resize(self, event: events.Resize) -> None:
        self._layout = None
        self._strips.clear()
        rows = len(self.picture.rows) if self.picture else 0
        self.virtual_size = Size(event.size.width, rows + 1)
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        if self.picture is None or event.y < 1:
            return
        row = event.y - 1 + self.scroll_offset.y
        layout = self._columns()
        column = (event.x - 4 - layout.name) // layout.cell + layout.first
        if row < len(self.picture.rows):
            inside = 0 <= column < len(self.picture.jobs) and event.x >= 4 + layout.name
            self.go(row, column if inside else self.column)
            if event.chain == 2:
                self.post_message(self.Opened())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if self.picture is None:
            return Strip.blank(width, self.rich_style)
        if y == 0:
            return self._head(width)
        index = y - 1 + self.scroll_offset.y
        if index >= len(self.picture.rows):
            return Strip.blank(width, self.rich_style)
        key = (index, index == self.row)
        strip = self._strips.get(key)
        if strip is None:
            strip = self._strips[key] = self._line(self.picture.rows[index], width, index == self.row)
        return strip

    def _refresh_row(self, index: int) -> None:
        y = index - self.scroll_offset.y + 1
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def _columns(self) -> Layout:
        if self._layout is None:
            self._layout = self._divide()
        return self._layout

    def _divide(self) -> Layout:
        picture, width = self.picture, self.size.width - 1
        assert picture is not None
        longest = max([6, *(cell_width(row.name) for row in picture.rows)])
        name = min(longest, 14 if width < 100 else 24)
        jobs, numbers = len(picture.jobs), sum(_cells(title) + 1 for title in picture.numbers)
        left = width - name - 4
        cell = WIDE if left >= jobs * WIDE + min(numbers, 24) + 2 else NARROW
        shown = min(jobs, max(1, left // cell))
        first = max(0, min(self.column - shown + 1, jobs - shown)) if jobs > shown else 0
        rest = left - shown * cell
        with_numbers = bool(numbers) and rest >= numbers + 2
        return Layout(name, cell, first, shown, with_numbers, rest - (numbers + 2 if with_numbers else 0))

    def _head(self, width: int) -> Strip:
        layout, picture = self._columns(), self.picture
        assert picture is not None
        style = self._style("head")
        text = "   " + fit("series", layout.name) + " "
        for index in range(layout.first, layout.first + layout.shown):
            job = picture.jobs[index]
            label = job.wide if layout.cell == WIDE else job.narrow
            text += fit(label, layout.cell - 1) + " "
        if layout.numbers:
            text += "│ " + "".join(f"{title:>{_cells(title)}} " for title in picture.numbers)
        if layout.rest > 12:
            text += " now"
        return Strip([Segment(self._plain(text), style)]).adjust_cell_length(width, style)

    def _line(self, row: PictureRow, width: int, cursor: bool) -> Strip:
        layout, picture = self._columns(), self.picture
        assert picture is not None
        base = self._style("cursor") if cursor else self._style("text")
        quiet = base + self._meaning("quiet")
        segments = [Segment(self._plain(" ▸ " if cursor else "   "), base)]
        segments.append(
            Segment(self._plain(fit(row.name, layout.name)) + " ", quiet if row.key.startswith("@") else base)
        )
        for index in range(layout.first, layout.first + layout.shown):
            state = row.cells[index]
            style = base + self._meaning(hue(state)) if state else base
            text = self._cell(state, row.progress[index], layout.cell - 1)
            if cursor and index == self.column:
                segments.append(Segment(text, style + self._style("cell")))
                segments.append(Segment(" ", base))
            else:
                segments.append(Segment(text + " ", style))
        if layout.numbers:
            segments.append(Segment(self._plain("│ "), quiet))
            for title, text in zip(picture.numbers, row.numbers, strict=True):
                segments.append(Segment(self._plain(f"{text:>{_cells(title)}} "), quiet if text == "–" else base))
        if layout.rest > 12:
            segments.append(
                Segment(" " + self._plain(shorten(row.now, layout.rest - 2)), base if row.trouble else quiet)
            )
        return Strip(segments).adjust_cell_length(width, base if cursor else self.rich_style)

    def _cell(self, state: str, progress: str, cells: int) -> str:
        if not state:
            return " " * cells
        mark = glyph(state, self.utf8)
        if progress and cells >= 6:
            return fit(f"{mark} {progress}", cells)
        left = (cells - 1) // 2 if cells < 6 else 2
        return " " * left + mark + " " * (cells - left - 1)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"matrix--{name}", partial=name == "cell")

    def _meaning(self, name: str) -> Style:
        return Style.parse(self.colours(name))

    def _plain(self, text: str) -> str:
        return text if self.utf8 else text.translate(ASCII_TWINS)


def _cells(title: str) -> int:
    """Width of a column of numbers."""
    return max(6, cell_width(title))
