"""Series by jobs as lines of cells. Drawn line by line: only the cells that changed go over the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from core.engine.states import GLYPH, TaskState
from crboost_tui.matrix import USED
from crboost_tui.picture import Foot, Picture, PictureRow
from crboost_tui.shown import Choice, rows_shown
from crboost_tui.terminal import ASCII_TWINS, cell_width, fit, glyph, hue
from crboost_tui.widgets.spans import Cells, cells_of, changed_spans, strip_of

NARROW, WIDE = 4, 7
"""Cells of one job's column, the space after it included."""
NOW = 18
"""What happens now needs so many cells to say anything."""
NUMBERS_LEAST = 20
SMALL = 60
"""A terminal that is narrower shows shorter names and no numbers."""
WHEEL = 3


@dataclass(frozen=True, slots=True)
class Layout:
    """How the columns share the width. ``first`` and ``shown``: the window of jobs. ``used``, ``numbers``: indices of
    the columns of numbers beside the name, and of those behind the states. ``rest``: cells for what happens now,
    0 where there are too few."""

    name: int
    used: int | None
    cell: int
    first: int
    shown: int
    numbers: tuple[int, ...]
    rest: int


class MatrixView(Widget, can_focus=True, inherit_bindings=False):
    """The first line are the labels, the last one says how far each job is. The cursor is a row and a job and stays on
    its series, whatever the order becomes. ``colours``: style of a meaning."""

    COMPONENT_CLASSES = {
        "matrix--head", "matrix--cursor", "matrix--cell", "matrix--text",
    }  # fmt: skip
    DEFAULT_CSS = """
    MatrixView { height: 1fr; }
    """

    class Moved(Message):
        """The cursor is somewhere else, or what is under it changed."""

    class Opened(Message):
        """A person opened the task under the cursor."""

    def __init__(self, colours: Callable[[str], str], *, utf8: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self.colours = colours
        self.utf8 = utf8
        self.picture: Picture | None = None
        self.choice = Choice()
        self.shown: list[int] = []
        """Indices of the picture's rows, as they are shown."""
        self.row = self.column = self.top = 0
        self.marks: set[str] = set()
        """Keys of the rows that a person marked."""
        self.other_numbers = False
        """Whether a person asked for numbers where there are none by default, or the other way round."""
        self._layout: Layout | None = None
        self._painted: dict[int, tuple[object, Cells, Strip]] = {}
        self._painted_width = 0
        self._styles: dict[str, Style] = {}

    @property
    def selected(self) -> PictureRow | None:
        if self.picture is None or not self.shown:
            return None
        return self.picture.rows[self.shown[self.row]]

    @property
    def shown_rows(self) -> list[PictureRow]:
        return [self.picture.rows[index] for index in self.shown] if self.picture else []

    @property
    def marked(self) -> list[PictureRow]:
        """The rows that are marked, also those that are not shown now."""
        return [row for row in self.picture.rows if row.key in self.marks] if self.picture and self.marks else []

    def show(self, picture: Picture) -> None:
        """Draw another picture; only cells that differ are sent."""
        before, self.picture = self.picture, picture
        if before is None or _shape(before) != _shape(picture):
            self._layout = None
        if self.marks:
            self.marks &= {row.key for row in picture.rows}
        self.column = min(self.column, max(0, len(picture.jobs) - 1))
        self._choose(before)

    def choose(self, choice: Choice) -> None:
        """Show other rows, or in another order."""
        if choice != self.choice:
            self.choice = choice
            self._choose(self.picture)

    def _choose(self, before: Picture | None) -> None:
        """The rows that are shown now; the cursor stays on its series where that is still among them."""
        picture = self.picture
        if picture is None:
            return
        key = before.rows[self.shown[self.row]].key if before is not None and self.shown else ""
        plain = self.choice == Choice()
        shown = list(range(len(picture.rows))) if plain else rows_shown(picture, self.choice)
        if shown != self.shown or (before is not picture and (before is None or before.rows is not picture.rows)):
            self.shown = shown
            found = self.row < len(shown) and picture.rows[shown[self.row]].key == key
            if not found:
                self.row = next((row for row, index in enumerate(shown) if picture.rows[index].key == key), self.row)
        self.row = min(self.row, max(0, len(self.shown) - 1))
        self._keep_in_sight()
        self._repaint()
        self.post_message(self.Moved())

    def move(self, rows: int, columns: int = 0) -> None:
        if self.picture is None:
            return
        self.row = max(0, min(self.row + rows, len(self.shown) - 1))
        self.column = max(0, min(self.column + columns, len(self.picture.jobs) - 1))
        if columns:
            self._layout = None
        self._keep_in_sight()
        self._repaint()
        self.post_message(self.Moved())

    def go(self, row: int, column: int) -> None:
        self.move(row - self.row, column - self.column)

    @property
    def page(self) -> int:
        """Rows that there is room for."""
        return max(1, self.outer_size.height - 1 - self._has_foot)

    def scroll_rows(self, rows: int) -> None:
        """Show other rows; the cursor comes along where it would be out of sight."""
        self.top = max(0, min(self.top + rows, len(self.shown) - self.page))
        self.row = max(self.top, min(self.row, self.top + self.page - 1))
        self._repaint()
        self.post_message(self.Moved())

    def toggle_mark(self) -> None:
        """Mark the row under the cursor, or no longer, and go on to the next one."""
        row = self.selected
        if row is not None:
            self.marks ^= {row.key}
            self.move(1)

    def mark_shown(self) -> None:
        """Mark all series that are shown; where they all are marked, none."""
        keys = {row.key for row in self.shown_rows if not row.cohort}
        self.marks = self.marks - keys if keys <= self.marks else self.marks | keys
        self._repaint()
        self.post_message(self.Moved())

    def clear_marks(self) -> None:
        self.marks = set()
        self._repaint()
        self.post_message(self.Moved())

    def toggle_numbers(self) -> None:
        self.other_numbers = not self.other_numbers
        self._layout = None
        self._repaint()

    def on_resize(self) -> None:
        self._layout = None
        if self._painted_width != self.outer_size.width:
            self._painted_width = self.outer_size.width
            self._painted.clear()
        self._keep_in_sight()
        self._repaint()
        self.refresh()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._painted.clear()
        self._styles.clear()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_rows(WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_rows(-WHEEL)

    def on_click(self, event: events.Click) -> None:
        if self.picture is None or event.y < 1:
            return
        row = event.y - 1 + self.top
        layout = self._columns()
        column = (event.x - self._states_at(layout)) // layout.cell
        if row < len(self.shown) and event.y <= self.page:
            inside = 0 <= column < layout.shown and event.x >= self._states_at(layout)
            self.go(row, column + layout.first if inside else self.column)
            if event.chain == 2:
                self.post_message(self.Opened())

    def render_line(self, y: int) -> Strip:
        if y not in self._painted:
            self._paint(y)
        return self._painted[y][2]

    def _keep_in_sight(self) -> None:
        if self.outer_size.height:
            self.top = max(self.row - self.page + 1, min(self.top, self.row))
            self.top = max(0, min(self.top, len(self.shown) - self.page))

    def _repaint(self) -> None:
        """Send what differs from what was painted."""
        if not self.outer_size.width:
            return
        regions = [
            Region(first, y, end - first, 1) for y in range(self.outer_size.height) for first, end in self._paint(y)
        ]
        if regions:
            self.refresh(*regions)

    def _paint(self, y: int) -> Sequence[tuple[int, int]]:
        """Make one line anew unless all that it depends on is the same; where it differs from before."""
        key = self._depends_on(y)
        before = self._painted.get(y)
        if before is not None and before[0] == key:
            return ()
        cells = cells_of(self._make(y))
        spans = changed_spans(before[1], cells) if before is not None else [(0, len(cells))]
        self._painted[y] = (key, cells, strip_of(cells))
        return spans

    def _depends_on(self, y: int) -> object:
        if self.picture is None:
            return None
        layout, index = self._columns(), y - 1 + self.top
        if y == 0:
            return layout, self.picture.jobs, self.column, self.choice
        bar = self._bar(y)
        if y > self.page or index >= len(self.shown):
            feet = self.picture.feet if self._foot_at == y else None
            return layout, feet, self._empty(y), bar
        row = self.picture.rows[self.shown[index]]
        return layout, id(row), row, row.key in self.marks, self.column if index == self.row else None, bar

    def _make(self, y: int) -> Strip:
        width = self.outer_size.width
        if self.picture is None:
            return Strip.blank(width, self.rich_style)
        index = y - 1 + self.top
        if y == 0:
            segments = self._head()
        elif y <= self.page and index < len(self.shown):
            segments = self._line(self.picture.rows[self.shown[index]], index == self.row)
        elif y == self._foot_at:
            segments = self._foot()
        else:
            segments = [Segment(self._plain(self._empty(y)), self._style("head"))]
        strip = Strip(segments).adjust_cell_length(max(0, width - 1), self.rich_style)
        return Strip([*strip, Segment(self._plain(self._bar(y)), self._style("head"))], width)

    @property
    def _has_foot(self) -> bool:
        return self.picture is not None and bool(self.picture.jobs) and self.outer_size.height >= 6

    @property
    def _foot_at(self) -> int:
        """The line that says how far each job is: below the last row, or at the bottom."""
        return min(len(self.shown), self.page) + 1 if self._has_foot else -1

    def _empty(self, y: int) -> str:
        """What stands in the place of rows where there are none."""
        if self.picture is None or self.shown or y != 2:
            return ""
        if not self.picture.rows:
            return "   This project has no tilt series yet: w opens the workspace."
        return f"   No series fits {self.choice.words()}. esc shows all."

    def _bar(self, y: int) -> str:
        """One cell of the scroll bar."""
        rows, page = len(self.shown), self.page
        if rows <= page or not 1 <= y <= page:
            return " "
        size = max(1, page * page // rows)
        first = round((page - size) * self.top / (rows - page))
        return "█" if first <= y - 1 < first + size else "│"

    def _states_at(self, layout: Layout) -> int:
        return 4 + layout.name + (0 if layout.used is None else _cells(USED.title) + 1)

    def _columns(self) -> Layout:
        if self._layout is None:
            self._layout = self._divide()
        return self._layout

    def _divide(self) -> Layout:
        picture, width = self.picture, self.outer_size.width - 1
        assert picture is not None
        longest = max([6, *(cell_width(row.name) for row in picture.rows)])
        name = min(longest, 10 if width < SMALL else 14 if width < 100 else 24)
        used = next((index for index, column in enumerate(picture.numbers) if column is USED), None)
        others = tuple(index for index, column in enumerate(picture.numbers) if column is not USED)
        if width < SMALL:
            used = None
        layout = Layout(name, used, NARROW, 0, 0, (), 0)
        left = width - self._states_at(layout)
        jobs, room = len(picture.jobs), sum(_cells(picture.numbers[index].title) + 1 for index in others) + 2
        least = NOW if width >= SMALL else 12
        some = min(room, NUMBERS_LEAST)  # what happens now, and headings that can be read, come before all numbers
        forms = [(cell, numbers) for cell in (WIDE, NARROW) for numbers in ((room, some, 0) if others else (0,))]
        fitting = (form for form in forms if left >= jobs * form[0] + form[1] + least)
        cell, taken = next(fitting, forms[-1])
        numbers = taken > 0
        if self.other_numbers and others:
            numbers = taken < room and not (taken and left >= jobs * cell + room + least)
            least = 0 if numbers else NOW
            cell = WIDE if left >= jobs * WIDE + room * numbers + least else NARROW
        reserve = least + (min(room, NUMBERS_LEAST) if numbers else 0)
        shown = min(jobs, max(1, (left - reserve) // cell))
        first = max(0, min(self.column - shown + 1, jobs - shown))
        behind = _fitting(picture, others, left - shown * cell - 2 - least) if numbers else ()
        rest = left - shown * cell
        if numbers:
            rest -= 2 + sum(_cells(picture.numbers[index].title) + 1 for index in behind)
        enough = jobs and rest >= min(least or NOW, NOW)
        return Layout(name, used, cell, first, shown, behind, rest if enough else 0)

    def _head(self) -> list[Segment]:
        layout, picture = self._columns(), self.picture
        assert picture is not None
        style = self._style("head")
        segments = [Segment("   " + fit("series", layout.name) + " ", style)]
        if layout.used is not None:
            segments.append(self._title(layout.used, layout))
        for index in range(layout.first, layout.first + layout.shown):
            job = picture.jobs[index]
            label = self._plain(job.wide if layout.cell == WIDE else job.narrow)
            here = style + Style(bold=True, underline=True) if index == self.column else style
            segments += [Segment(label, here), Segment(" " * (layout.cell - cell_width(label)), style)]
        if layout.numbers:
            segments.append(Segment(self._plain("│ "), style))
            segments += [self._title(index, layout) for index in layout.numbers]
        if layout.rest:
            hidden = len(picture.jobs) - layout.shown
            more = f"   {hidden} more jobs" if hidden and layout.rest >= 18 else ""
            segments.append(Segment(f" now{more}", style))
        return segments

    def _title(self, index: int, layout: Layout) -> Segment:
        assert self.picture is not None
        column = self.picture.numbers[index]
        style = self._style("head")
        if column.word == self.choice.order:
            style += Style(bold=True, underline=True)
        return Segment(self._plain(f"{column.title:>{_cells(column.title)}} "), style)

    def _line(self, row: PictureRow, cursor: bool) -> list[Segment]:
        layout, picture = self._columns(), self.picture
        assert picture is not None
        base = self._style("text")
        own = self._style("cursor") if cursor else base
        quiet = base + self._meaning("quiet")
        mark = "*" if row.key in self.marks else " "
        name = own + self._meaning("quiet") if row.cohort else own
        segments = [
            Segment(mark, own + self._meaning("need") if mark == "*" else own),
            Segment(self._plain("▸" if cursor else " "), own),
            Segment(
                ("‖" if self.utf8 else "=") if row.held else " ", own + self._meaning("quiet") if row.held else own
            ),
            Segment(self._fit(row.name, layout.name) + " ", name),
        ]
        if layout.used is not None:
            segments.append(self._number(row, layout.used, base, quiet))
        for index in range(layout.first, layout.first + layout.shown):
            state = row.cells[index]
            style = base + self._meaning(hue(state)) if state else base
            text = self._cell(state, row.progress[index], layout.cell - 1)
            if cursor and index == self.column:
                style = Style(color=style.color, bold=style.bold) + self._style("cell")
            segments += [Segment(text, style), Segment(" ", base)]
        if layout.numbers:
            segments.append(Segment(self._plain("│ "), quiet))
            segments += [self._number(row, index, base, quiet) for index in layout.numbers]
        if layout.rest:
            running = next((text for text in row.progress if text), "") if layout.cell == NARROW else ""
            now = f"{row.now} {running}" if running else row.now
            segments.append(Segment(" " + self._fit(now, layout.rest - 1), base if row.trouble else quiet))
        return segments

    def _number(self, row: PictureRow, index: int, base: Style, quiet: Style) -> Segment:
        assert self.picture is not None
        text = row.numbers[index] if index < len(row.numbers) else ""
        cells = _cells(self.picture.numbers[index].title)
        return Segment(self._plain(f"{text:>{cells}} "), quiet if text == "–" else base)

    def _foot(self) -> list[Segment]:
        layout, picture = self._columns(), self.picture
        assert picture is not None
        style = self._style("head")
        segments = [Segment("   " + fit("done", layout.name) + " ", style)]
        if layout.used is not None:
            segments.append(Segment(" " * (_cells(USED.title) + 1), style))
        for foot in picture.feet[layout.first : layout.first + layout.shown]:
            segments.append(Segment(self._fit(_share(foot, layout.cell - 1), layout.cell), style))
        return segments

    def _cell(self, state: str, progress: str, cells: int) -> str:
        if not state:
            return " " * cells
        mark = glyph(state, self.utf8)
        if progress and cells >= 6:
            return fit(f"{mark} {progress}", cells)
        left = (cells - 1) // 2 if cells < 6 else 2
        return " " * left + mark + " " * (cells - left - 1)

    def _style(self, name: str) -> Style:
        if name not in self._styles:
            self._styles[name] = self.get_component_rich_style(f"matrix--{name}", partial=name == "cell")
        return self._styles[name]

    def _meaning(self, name: str) -> Style:
        if f" {name}" not in self._styles:
            self._styles[f" {name}"] = Style.parse(self.colours(name))
        return self._styles[f" {name}"]

    def _plain(self, text: str) -> str:
        return text if self.utf8 else text.translate(ASCII_TWINS)

    def _fit(self, text: str, cells: int) -> str:
        """``text`` in exactly ``cells`` cells, also where there is no ellipsis."""
        fitted = fit(self._plain(text), cells)
        return fitted if self.utf8 else fitted.replace("…", "~")


def _shape(picture: Picture) -> object:
    """What the columns depend on."""
    return picture.jobs, picture.numbers, len(picture.rows)


def _cells(title: str) -> int:
    """Width of a column of numbers."""
    return max(6, cell_width(title))


def _fitting(picture: Picture, columns: Sequence[int], room: int) -> tuple[int, ...]:
    """The first columns of numbers that there is room for."""
    found: list[int] = []
    for index in columns:
        room -= _cells(picture.numbers[index].title) + 1
        if room < 0:
            break
        found.append(index)
    return tuple(found)


def _share(foot: Foot, cells: int) -> str:
    """``41/48``, or in per cent where that is too long; a tick where all is done."""
    if not foot.total:
        return ""
    if foot.done == foot.total:
        return " " * (2 if cells >= 6 else 1) + GLYPH[TaskState.DONE]
    text = f"{foot.done}/{foot.total}"
    return text if len(text) <= cells else f"{100 * foot.done // foot.total}%"
