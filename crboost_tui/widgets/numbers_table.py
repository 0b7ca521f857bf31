"""A table of numbers, drawn line by line: heads with units above, median, minimum and maximum below."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from crboost_tui.results import Column, Table
from crboost_tui.terminal import ASCII_TWINS, cell_width, fit

HEAD = 2
SUMMARY = ("median", "min", "max")
FULL_SUMMARY_LINES = 16
"""With fewer lines only the median stands below."""
LONGEST_NAME = 24


class NumbersTable(ScrollView, can_focus=False, inherit_bindings=False):
    """The cursor is a row and a column; the column is the one that is sorted by and plotted first."""

    COMPONENT_CLASSES = {"numbers--head", "numbers--cursor", "numbers--text"}
    DEFAULT_CSS = """
    NumbersTable { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; background: $background; }
    NumbersTable .numbers--head { color: $secondary; background: $background; }
    NumbersTable .numbers--text { color: $foreground; background: $background; }
    NumbersTable .numbers--cursor { color: $foreground; background: $panel; }
    """

    class Moved(Message):
        """The cursor is somewhere else, or the rows are others."""

    class Opened(Message):
        """A person opened the row under the cursor."""

    def __init__(self, colours: Callable[[str], str], *, utf8: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self.colours = colours
        self.utf8 = utf8
        self.table: Table | None = None
        self.row = 0
        self.column = 0
        self.sorted_by: tuple[str, bool] | None = None
        """Name of a column, and whether the largest stand first."""
        self.order: list[int] = []
        self._first = 0
        self._label = 0
        self._widths: list[int] = []
        self._summaries: list[tuple[str, str, str]] = []

    @property
    def selected(self) -> int:
        """Index in the table of the row under the cursor, -1 where there is none."""
        return self.order[self.row] if self.row < len(self.order) else -1

    def show(self, table: Table | None, start: int | None = None) -> None:
        """Show a table; the cursor goes to row ``start`` of it, or stays on the same key."""
        key = self.table.keys[self.selected] if self.table is not None and self.selected >= 0 else ""
        if (
            table is None
            or self.table is None
            or [c.name for c in table.columns] != [c.name for c in self.table.columns]
        ):
            self.column, self.sorted_by = 0, None
        self.table = table
        columns = table.columns if table is not None else ()
        self._label = _name_width(table) if table is not None else 0
        self._widths = [_width(column) for column in columns]
        self._summaries = [column.summary() if column.name else ("", "", "") for column in columns]
        self._sort()
        index = start if start is not None else table.keys.index(key) if table and key in table.keys else 0
        self.row = self.order.index(index) if index in self.order else 0
        self._measure()
        self.refresh()
        self.call_after_refresh(self._reveal)
        self.post_message(self.Moved())

    def natural_width(self) -> int:
        """Cells that all columns take, the scroll bar included."""
        return self._label + 4 + sum(self._widths) + 1

    def move(self, rows: int, columns: int = 0) -> None:
        if self.table is None or not self.order:
            return
        old, shown = self.row, self._shown(self.table, self.size.width)
        self.row = max(0, min(len(self.order) - 1, self.row + rows))
        column = max(0, min(len(self.table.columns) - 1, self.column + columns))
        if column != self.column:
            self.column = column
            same = self._shown(self.table, self.size.width) == shown
            self.refresh(*([Region(0, 0, self.size.width - 1, HEAD)] if same else []))
        elif old != self.row:
            self._refresh_row(old)
            self._refresh_row(self.row)
        else:
            return
        self._reveal()
        self.post_message(self.Moved())

    def sort(self) -> str:
        """By the current column: the largest first, then the smallest, then as it was. Says which."""
        if self.table is None or not self.table.columns:
            return ""
        column = self.table.columns[self.column]
        before = self.sorted_by
        if before is None or before[0] != column.name:
            self.sorted_by = (column.name, True)
        else:
            self.sorted_by = (column.name, False) if before[1] else None
        chosen = self.selected
        self._sort()
        self.row = self.order.index(chosen)
        self.refresh()
        self._reveal()
        if self.sorted_by is None:
            return "in its own order"
        return f"sorted by {column.title}, {'largest' if self.sorted_by[1] else 'smallest'} first"

    def on_resize(self, event: events.Resize) -> None:
        self._measure()
        self.refresh()
        self.call_after_refresh(self._reveal)

    def on_click(self, event: events.Click) -> None:
        row = event.y - HEAD + self.scroll_offset.y
        if self.table is not None and HEAD <= event.y < self.size.height - self._foot() and row < len(self.order):
            self.move(row - self.row)
            if event.chain == 2:
                self.post_message(self.Opened())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width, height = self.size.width, self.size.height
        if self.table is None:
            return Strip.blank(width, self.rich_style)
        if y < HEAD:
            return self._head(self.table, y, width)
        foot = self._foot()
        if y >= height - foot:
            return self._summary(self.table, y - (height - foot), width)
        row = y - HEAD + self.scroll_offset.y
        if row >= len(self.order):
            return Strip.blank(width, self.rich_style)
        return self._line(self.table, self.order[row], width, row == self.row)

    def _sort(self) -> None:
        table = self.table
        self.order = list(range(len(table.keys))) if table is not None else []
        if table is None or self.sorted_by is None:
            return
        name, largest = self.sorted_by
        values = next((column.values for column in table.columns if column.name == name), None)
        if values is not None:
            known = [index for index in self.order if values[index] is not None]
            known.sort(key=lambda index: values[index] or 0.0, reverse=largest)
            self.order = known + [index for index in self.order if values[index] is None]

    def _foot(self) -> int:
        named = self.table is not None and any(column.name for column in self.table.columns)
        if self.table is None or not named or len(self.table.keys) < 2 or self.size.height < 8:
            return 0
        return 3 if self.size.height >= FULL_SUMMARY_LINES else 1

    def _measure(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.order) + HEAD + self._foot())
        self._first = 0

    def _reveal(self) -> None:
        top, height = self.scroll_offset.y, self.size.height - HEAD - self._foot()
        if height < 1:
            return
        if self.row < top:
            self.scroll_to(y=self.row, animate=False)
        elif self.row >= top + height:
            self.scroll_to(y=self.row - height + 1, animate=False)

    def _refresh_row(self, row: int) -> None:
        y = row - self.scroll_offset.y + HEAD
        if HEAD <= y < self.size.height - self._foot():
            self.refresh(Region(0, y, self.size.width - 1, 1))

    def _shown(self, table: Table, width: int) -> list[tuple[int, Column]]:
        """The columns that fit, the current one among them."""
        room = width - self._label - 4
        widths = self._widths
        first = min(self._first, self.column)
        while first < self.column and sum(widths[first : self.column + 1]) > room:
            first += 1
        self._first = first
        shown: list[tuple[int, Column]] = []
        for index in range(first, len(widths)):
            if shown and sum(widths[first : index + 1]) > room:
                break
            shown.append((index, table.columns[index]))
        return shown

    def _head(self, table: Table, y: int, width: int) -> Strip:
        style = self._style("head")
        segments = [Segment(self._plain("   " + fit((table.label, table.label_unit)[y], self._label) + " "), style)]
        for index, column in self._shown(table, width):
            text = (column.title, column.unit)[y]
            mark = " "
            if y == 0 and self.sorted_by is not None and self.sorted_by[0] == column.name:
                mark = "↓" if self.sorted_by[1] else "↑"
            current = index == self.column and len(table.columns) > 1
            look = style + Style(bold=True, underline=True) + Style.parse(self.colours("run")) if current else style
            room = self._widths[index] - 1
            segments.append(Segment(" " * (room - cell_width(text)), style))
            segments.append(Segment(self._plain(text), look))
            segments.append(Segment(self._plain(mark), style))
        shown = self._shown(table, width)
        strip = Strip(segments).adjust_cell_length(width, style).simplify()
        if y == 0 and shown and shown[-1][0] < len(table.columns) - 1:
            strip = Strip([*strip.crop(0, width - 1), Segment(self._plain("›"), style)])
        return strip

    def _line(self, table: Table, index: int, width: int, cursor: bool) -> Strip:
        base = self._style("cursor") if cursor else self._style("text")
        quiet, need = base + self._meaning("quiet"), base + self._meaning("need")
        segments = [
            Segment(self._plain(" ▸ " if cursor else "   "), base),
            Segment(self._plain(fit(table.names[index], self._label)) + " ", base),
        ]
        for place, column in self._shown(table, width):
            text, odd = column.text(column.values[index]), index in column.odd
            style = need if odd else quiet if column.values[index] is None else base
            segments.append(Segment(self._plain(f"{text:>{self._widths[place] - 1}}"), style))
            segments.append(Segment("!" if odd else " ", need if odd else base))
        return Strip(segments).adjust_cell_length(width, base).simplify()

    def _summary(self, table: Table, which: int, width: int) -> Strip:
        style = self._style("head")
        segments = [Segment("   " + fit(SUMMARY[which], self._label) + " ", style)]
        for place, _ in self._shown(table, width):
            text = self._summaries[place][which]
            segments.append(Segment(self._plain(f"{text:>{self._widths[place] - 1}} "), style))
        return Strip(segments).adjust_cell_length(width, style).simplify()

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"numbers--{name}")

    def _meaning(self, name: str) -> Style:
        return Style.parse(self.colours(name))

    def _plain(self, text: str) -> str:
        return text if self.utf8 else text.translate(ASCII_TWINS).replace("›", ">")


def _name_width(table: Table) -> int:
    foot = SUMMARY if len(table.keys) > 1 else ()
    return min(LONGEST_NAME, max(map(cell_width, [*table.names, table.label, *foot])))


def _width(column: Column) -> int:
    """Cells of a column, with two before it and one behind it for a mark."""
    numbers = max((len(column.text(value)) for value in column.values), default=1)
    return 2 + max(numbers, cell_width(column.title), cell_width(column.unit)) + 1
