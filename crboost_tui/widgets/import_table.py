"""The table by which a person decides which tilt series come into a project: a line for each, with a tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.text import Text
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip

from crboost_tui.import_data import COLUMNS, GROUP, RIGHT, RefusedLine, SeriesLine, SeriesPicture, TiltLine
from crboost_tui.terminal import cell_width, fit, shorten
from crboost_tui.widgets.line_list import LineList, Piece

LEAD = 6
"""Cells before the name: cursor, tick, what is odd."""
GAP = 2
NAME_PIECES = 4
"""Pieces of a line up to the end of the name."""
LONGEST_NAME = 24
ROOM_FOR_NOTES = 40
WIDE_TILTS = 70
"""Cells from which on the frames and the size of each movie are shown."""
_DROPPED_FIRST = ("scheme", "first", "pixel", "range", "dose", "axis", GROUP, "missing")


@dataclass(frozen=True, slots=True)
class Row:
    """A series, the note below it, or an mdoc that was refused."""

    line: SeriesLine | None = None
    note: str = ""
    refused: RefusedLine | None = None


@dataclass(frozen=True, slots=True)
class TableLayout:
    """Which columns are shown and how wide. ``same``: what all series agree in, where its column had no room."""

    columns: tuple[tuple[int, int], ...]
    short: bool
    notes: int
    """Cells for notes beside; 0 where they stand in lines of their own."""
    same: tuple[str, ...]


class ImportTable(LineList[Row]):
    """``left_out``: mdocs of series without a tick."""

    class Arranged(Message):
        """The columns are other ones now."""

    def __init__(self, colours: Callable[[str], str], *, utf8: bool = True, id: str | None = None) -> None:
        super().__init__(colours, utf8=utf8, id=id)
        self.picture = SeriesPicture("")
        self.left_out: set[str] = set()
        self.sorted_by = 0
        self.backwards = False
        self._laid: TableLayout | None = None
        self._laid_for = self._arranged_for = 0
        self._moving = False

    def show_picture(self, picture: SeriesPicture) -> None:
        self.picture = picture
        self.cursor = 0
        self.rearrange()

    def rearrange(self) -> None:
        """Sort and lay out again; the cursor stays on its series."""
        at = self.line
        lines = list(self.picture.lines)
        if self.sorted_by:
            lines.sort(key=lambda line: line.order[self.sorted_by])
        if self.backwards:
            lines.reverse()
        self._laid, self._arranged_for = None, self.size.width
        rows: list[Row] = []
        beside = self.layout_for(self.size.width).notes
        for line in lines:
            rows.append(Row(line))
            if line.notes and not beside:
                rows.append(Row(line, line.note))
        rows += [Row(refused=each) for each in self.picture.refused]
        self.rows = tuple(rows)
        self.cursor = next((n for n, row in enumerate(rows) if row.line is at and not row.note), 0) if at else 0
        self.redraw()
        self._into_view()
        self.post_message(self.Arranged())

    def layout_for(self, width: int) -> TableLayout:
        if self._laid is None or self._laid_for != width:
            self._laid, self._laid_for = _divide(self.picture, self.sorted_by, width), width
        return self._laid

    @property
    def line(self) -> SeriesLine | None:
        """The series under the cursor."""
        return self.selected.line if self.selected is not None else None

    def chosen(self) -> list[SeriesLine]:
        """The series that come in: those with a tick, and those that the project has and does not leave out."""
        return [line for line in self.picture.lines if self.is_in(line)]

    def is_in(self, line: SeriesLine) -> bool:
        return not line.excluded if line.known else line.mdoc not in self.left_out

    def toggle(self) -> str:
        """Tick or untick the series under the cursor; why not, where that cannot be."""
        row = self.selected
        if row is None:
            return "There is no series."
        if row.refused is not None:
            return f"{row.refused.name}: {row.refused.reason}"
        line = row.line
        assert line is not None
        if line.known:
            return f"{line.id} is in the project already: leave it out or take it in again in the monitor."
        self.left_out.symmetric_difference_update({line.mdoc})
        self._line_changed(self.cursor)
        return ""

    def tick(self, wanted: Callable[[SeriesLine], bool]) -> None:
        """A tick for those series, none for the others."""
        for line in self.picture.lines:
            if not line.known:
                (self.left_out.discard if wanted(line) else self.left_out.add)(line.mdoc)
        self.redraw()

    def next_odd(self) -> bool:
        """To the next series with a note or refusal, from the top again after the last."""
        size = len(self.rows)
        for step in range(1, size + 1):
            at = (self.cursor + step) % size
            row = self.rows[at]
            if row.refused is not None or (row.line is not None and not row.note and row.line.notes):
                self.go(at)
                return True
        return False

    def sort(self, step: int) -> str:
        """By the next column that is shown (0: the other way round); its name."""
        places = [0, *(place for place, _ in self.layout_for(self.size.width).columns if place)]
        if step:
            at = places.index(self.sorted_by) if self.sorted_by in places else 0
            self.sorted_by, self.backwards = places[(at + step) % len(places)], False
        else:
            self.backwards = not self.backwards
        self.rearrange()
        return COLUMNS[self.sorted_by]

    def can_stop(self, row: Row) -> bool:
        return not row.note

    def go(self, index: int) -> None:
        self._moving = True
        super().go(index)
        self._moving = False

    def _line_changed(self, index: int) -> None:
        """The cursor is seen at the name alone: a key then sends a few bytes, not two lines."""
        if not self._moving:
            super()._line_changed(index)
            return
        self._strips.pop(index, None)
        y = index - self.scroll_offset.y
        if 0 <= y < self.size.height:
            self.refresh(Region(0, y, min(self.size.width, LEAD + self._name_width), 1))

    @property
    def _name_width(self) -> int:
        return self.layout_for(self.size.width).columns[0][1]

    def _strip(self, pieces: list[Piece], width: int, cursor: bool) -> Strip:
        rest = _joined(pieces[NAME_PIECES:])
        if not cursor:
            return super()._strip(pieces[:NAME_PIECES] + rest, width, False)
        head = super()._strip(pieces[:NAME_PIECES], LEAD + self._name_width, True)
        return Strip.join([head, super()._strip(rest, width - head.cell_length, False)])

    def on_resize(self, event: object) -> None:
        if self._arranged_for != self.size.width:
            self.rearrange()

    def head(self) -> Text:
        """The names of the columns, for the line above the table."""
        layout = self.layout_for(self.size.width)
        text = " " * LEAD
        for place, width in layout.columns:
            name = COLUMNS[place]
            if place == self.sorted_by and (place or self.backwards):
                name += "↑" if self.backwards else "↓"
            text += (f"{name:>{width}}" if COLUMNS[place] in RIGHT else f"{name:<{width}}") + " " * GAP
        return Text(text + ("note" if layout.notes else ""))

    def pieces(self, row: Row, width: int) -> list[Piece]:
        here = row is self.selected
        lead = " ▸ " if here else "   "
        if row.refused is not None:
            name = fit(row.refused.name, self._name_width)
            reason = shorten(row.refused.reason, width - LEAD - cell_width(name) - GAP)
            return [(lead, ""), ("✗", "fail"), ("  ", ""), (name, "quiet"), ("  ", ""), (reason, "fail")]
        line = row.line
        assert line is not None
        if row.note:
            return [(" " * LEAD, ""), ("! " + shorten(row.note, width - LEAD - 3), "need")]
        layout = self.layout_for(width)
        inside = self.is_in(line)
        plain = "" if inside else "quiet"
        tick = ("✓" if inside else "–") if not line.known else ("=" if inside else "–")
        found: list[Piece] = [
            (lead, ""), (tick, ("done" if inside else "quiet") if not line.known else "quiet"),
            ("! " if line.notes else "  ", "need"),
        ]  # fmt: skip
        texts = line.short if layout.short else line.cells
        for place, cells in layout.columns:
            text = shorten(texts[place], cells)
            space = " " * (cells - cell_width(text))
            piece = space + text if COLUMNS[place] in RIGHT else text + space
            found.append((piece, "need" if place in line.odd else plain))
            found.append((" " * GAP, ""))
        if layout.notes and line.notes:
            found.append(("! " + shorten(line.note, layout.notes - 3), "need"))
        return found


class TiltList(LineList[TiltLine]):
    """The exposures of one series in the order in which they were taken."""

    def head(self, width: int) -> str:
        more = f"{'frames':>8}{'size':>9}" if width >= WIDE_TILTS else ""
        return shorten(f" {'tilt':<5}{'angle':>7}{'dose':>8}{'e/Å²':>7}{more}  movie", width)

    def pieces(self, row: TiltLine, width: int) -> list[Piece]:
        lead = "▸" if row is self.selected else " "
        more = f"{row.frames:>8}{row.size:>9}" if width >= WIDE_TILTS else ""
        room = max(0, width - 31 - len(more))
        found: list[Piece] = [
            (f"{lead}{row.number:<5}{row.angle:>7}", ""),
            (f"{row.dose:>8}{row.exposure:>7}{more}  ", "quiet"),
        ]
        if row.problem:
            movie = "" if row.movie == "–" else f"{row.movie}: "
            return [*found, (shorten(f"! {movie}{row.problem}", room), "need")]
        return [*found, (shorten(row.movie, room), "")]


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Neighbours of one meaning in one piece: each costs bytes on the way to the terminal."""
    found: list[Piece] = []
    for text, how in pieces:
        if found and (found[-1][1] == how or not text.strip()):
            found[-1] = (found[-1][0] + text, found[-1][1])
        else:
            found.append((text, how))
    return found


def _divide(picture: SeriesPicture, sorted_by: int, width: int) -> TableLayout:
    """The columns that have room: first those go that say the same everywhere (told above the table), then cells are
    shortened, then the least needed ones go."""
    places = list(range(len(COLUMNS)))
    if len(picture.groups) < 2:
        places.remove(COLUMNS.index(GROUP))

    def width_of(place: int, short: bool) -> int:
        longest = (picture.short_widths if short else picture.widths)[place]
        return max(len(COLUMNS[place]) + 1, min(longest, LONGEST_NAME))

    def too_wide() -> bool:
        return LEAD + sum(width_of(place, short) + GAP for place in places) > width

    short = False
    same: list[str] = []
    alike = [place for place in places[1:] if picture.alike[place] and place != sorted_by and len(picture.lines) > 1]
    alike.sort(key=lambda place: -picture.widths[place])
    while too_wide() and alike:
        place = alike.pop(0)
        places.remove(place)
        same.append(f"{COLUMNS[place]} {picture.alike[place].replace('–', 'none')}")
    short = too_wide()
    for name in _DROPPED_FIRST:
        place = COLUMNS.index(name)
        if too_wide() and place in places and place != sorted_by:
            places.remove(place)
    columns = tuple((place, width_of(place, short)) for place in places)
    rest = width - LEAD - sum(cells + GAP for _, cells in columns)
    return TableLayout(columns, short, rest if rest >= ROOM_FOR_NOTES else 0, tuple(same))
