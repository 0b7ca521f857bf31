"""Plots in cells: braille dots with axes and round numbers, and sparklines. Without UTF-8 in ASCII.

``draw_plot`` makes the lines of one plot; :class:`PlotView` shows as many beside and below each other as there is room
for, with the selected row as a mark in each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from crboost_tui.terminal import ASCII_TWINS, cell_width, fit, shorten

TWO_COLUMNS = 96
"""Cells from which on two plots stand side by side."""
PLOT_LINES = 15
"""Lines of one plot where several stand below each other."""
LEAST_LINES = 7
"""With fewer a plot is a sparkline."""
LEAST_CELLS = 24
REST_SECONDS = 0.4
LONGEST_NAME = 16

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BARS = "▁▂▃▄▅▆▇█"
_DEGREE_STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 45.0, 90.0)


@dataclass(frozen=True, slots=True)
class Plot:
    """``x``, ``y`` and the points' ``names`` are of the same length; NaN and None are left out. ``odd``: points that
    are marked. ``level``: a dotted line across (the median), None for none."""

    title: str
    unit: str
    x_title: str
    x_unit: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    names: tuple[str, ...]
    digits: int
    joined: bool = True
    odd: frozenset[int] = frozenset()
    level: float | None = None

    def points(self) -> list[tuple[int, float, float]]:
        """Index, x and y of what can be drawn, by x."""
        pairs = zip(self.x, self.y, strict=True)
        finite = math.isfinite
        found = [(i, x, y) for i, (x, y) in enumerate(pairs) if y is not None and finite(x) and finite(y)]
        found.sort(key=_second)
        return found


_second = itemgetter(1)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plot as cells: lines of (text, meaning) pieces, and where each point is (x, y)."""

    lines: tuple[tuple[tuple[str, str], ...], ...]
    cells: dict[int, tuple[int, int]]


def sparkline(values: Sequence[float | None], cells: int) -> str:
    """``values`` as bars, at most ``cells`` of them; a space where there is no value."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known or cells < 1:
        return ""
    low, high = min(known), max(known)
    size = min(cells, len(values))
    text = ""
    for place in range(size):
        part = values[place * len(values) // size : (place + 1) * len(values) // size]
        there = [value for value in part if value is not None and math.isfinite(value)]
        if not there:
            text += " "
            continue
        share = (sum(there) / len(there) - low) / (high - low) if high > low else 0.0
        text += _BARS[min(7, int(share * 8))]
    return text


def ticks(low: float, high: float, most: int, *, degrees: bool = False, least: float = 0.0) -> list[float]:
    """Round numbers between ``low`` and ``high``, at most ``most`` of them, at least ``least`` apart."""
    span = high - low
    if span <= 0 or most < 1:
        return [low]
    if degrees and span > 4:
        candidates = list(_DEGREE_STEPS)
    else:
        power = 10.0 ** math.floor(math.log10(span / most))
        candidates = [power * step for step in (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)]
    for step in candidates:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most and step > least * 0.99:
            return [number * step for number in range(first, last + 1)]
    return []


def draw_plot(plot: Plot, width: int, height: int, utf8: bool) -> Drawing:
    """The lines of a plot without its title: ``height`` lines, the last two are the x axis and its numbers."""
    points = plot.points()
    if not points:
        empty = fit("  no values", width)
        return Drawing(((((empty, "quiet")),), *((((" " * width), ""),) for _ in range(height - 1))), {})
    rows = height - 2
    low_x, high_x = _range(points[0][1], points[-1][1], 0.02, 1.0)
    level = [] if plot.level is None else [plot.level]
    values = [y for _, _, y in points] + level
    low_y, high_y = _range(min(values), max(values), 0.06, 10.0**-plot.digits)
    y_ticks = ticks(low_y, high_y, max(2, min(6, rows // 2)), least=10.0**-plot.digits)
    labels = dict(zip(y_ticks, _numbers(y_ticks), strict=True))
    margin = max([3, *(len(text) for text in labels.values())]) + 1
    columns = max(1, width - margin - 2)
    canvas = _Canvas(columns, rows)

    def place(x: float, y: float) -> tuple[int, int]:
        across = round((x - low_x) / (high_x - low_x) * (columns * 2 - 1))
        down = round((high_y - y) / (high_y - low_y) * (rows * 4 - 1))
        return across, down

    spots = [(index, *place(x, y)) for index, x, y in points]
    if plot.level is not None:
        _, y = place(low_x, plot.level)
        for x in range(0, columns * 2, 4):
            canvas.dot(x, y)
    if plot.joined:
        for (_, x0, y0), (_, x1, y1) in pairwise(spots):
            canvas.line(x0, y0, x1, y1)
    crowded = len(spots) > columns
    for x, y in {(x, y) for _, x, y in spots}:
        (canvas.dot if crowded else canvas.spot)(x, y)
    cells = {index: (margin + 1 + x // 2, y // 4) for index, x, y in spots}
    marked = {cells[index] for index in plot.odd if index in cells}
    axis_rows = {place(low_x, value)[1] // 4: value for value in y_ticks}
    lines: list[tuple[tuple[str, str], ...]] = []
    for row in range(rows):
        value = axis_rows.get(row)
        label = "" if value is None else labels[value]
        pieces: list[tuple[str, str]] = [(f"{label:>{margin}}" + ("│" if value is None else "┤"), "quiet")]
        text = canvas.row(row, utf8)
        odd = sorted(x - margin - 1 for x, y in marked if y == row)
        at = 0
        for x in odd:
            pieces += [(text[at:x], "run"), ("◆" if utf8 else "!", "need")]
            at = x + 1
        pieces.append((text[at:] + " ", "run"))
        lines.append(tuple(piece for piece in pieces if piece[0]))
    lines += _x_axis(plot, low_x, high_x, columns, margin, width)
    return Drawing(tuple(lines), cells)


def _x_axis(
    plot: Plot, low: float, high: float, columns: int, margin: int, width: int
) -> list[tuple[tuple[str, str], ...]]:
    degrees = plot.x_unit == "°"
    # without degrees they are numbers of series or tilts
    found = ticks(low, high, max(2, columns // 9), degrees=degrees, least=0.0 if degrees else 1.0)
    axis, below = list("─" * columns), [" "] * (margin + 1 + columns + 1)
    for value, text in zip(found, _numbers(found), strict=True):
        at = round((value - low) / (high - low) * (columns * 2 - 1)) // 2
        axis[at] = "┬"
        begin = min(max(0, margin + 1 + at - (len(text) - 1) // 2), len(below) - len(text))
        if all(char == " " for char in below[max(0, begin - 1) : begin + len(text)]):
            below[begin : begin + len(text)] = text
    corner = " " * margin + "└" + "".join(axis)
    return [((fit(corner, width), "quiet"),), ((fit("".join(below), width), "quiet"),)]


def _numbers(values: Sequence[float]) -> list[str]:
    """Ticks as text, all with the decimals that the step needs."""
    step = abs(values[1] - values[0]) if len(values) > 1 else abs(values[0]) if values and values[0] else 1.0
    digits = max(0, min(6, -math.floor(math.log10(step) + 1e-9))) if step > 0 else 0
    return [f"{0.0 if abs(value) < step / 1e6 else value:.{digits}f}" for value in values]


def _range(low: float, high: float, padding: float, least: float) -> tuple[float, float]:
    """The ends of an axis, with some room beyond the values; values that are all the same get ``least`` around."""
    if high - low < least * 1e-6 or high == low:
        return low - least, high + least
    room = (high - low) * padding
    return low - room, high + room


class _Canvas:
    """Dots, 2 x 4 in each cell."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.bits = [[0] * columns for _ in range(rows)]

    def dot(self, x: int, y: int) -> None:
        if 0 <= x < self.columns * 2 and 0 <= y < self.rows * 4:
            self.bits[y // 4][x // 2] |= _DOTS[y % 4][x % 2]

    def spot(self, x: int, y: int) -> None:
        """A point that stands out from a line: four dots."""
        for dx in (0, 1):
            for dy in (0, 1):
                self.dot(x + dx, y + dy)

    def line(self, x0: int, y0: int, x1: int, y1: int) -> None:
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            self.dot(round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps))

    def row(self, row: int, utf8: bool) -> str:
        if utf8:
            return "".join(chr(0x2800 + bits) if bits else " " for bits in self.bits[row])
        return "".join(_ascii(bits) for bits in self.bits[row])


def _ascii(bits: int) -> str:
    upper, lower = bits & 0b00011011, bits & 0b11100100
    return ":" if upper and lower else "'" if upper else "." if lower else " "


@dataclass(frozen=True, slots=True)
class _Slot:
    """One plot's place in the view."""

    index: int
    region: Region


class PlotView(Widget):
    """Several plots of the same rows. The plot of the current column is the first; its title is bold."""

    DEFAULT_CSS = """
    PlotView { height: 1fr; }
    """

    def __init__(self, colours: Callable[[str], str], *, utf8: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self.colours = colours
        self.utf8 = utf8
        self.plots: tuple[Plot, ...] = ()
        self.current = 0
        self.selected = 0
        self._base = Style.null()
        self._shown: list[_Slot] = []
        self._cells = 0
        self._rested = 0
        self._beside = False
        self._first = 0
        self._timer: Timer | None = None
        self._drawings: dict[tuple[int, int, int], Drawing] = {}

    def show(self, plots: tuple[Plot, ...], current: int, selected: int, beside: bool = False) -> None:
        """``beside`` a table that shows the row's numbers, they need not stand in the titles, and every mark may wait
        until the cursor rests."""
        if (plots, beside) != (self.plots, self._beside):
            self.plots, self.current, self.selected, self._rested = plots, current, selected, selected
            self._beside, self._first = beside, 0
            self._drawings.clear()
            self.refresh()
            return
        slots, before, old = self._slots(), self.current, self.selected
        self.current, self.selected = current, selected
        if slots != self._slots():
            self.refresh()
        elif before != current:
            for slot in slots:
                if slot.index in (before, current):
                    self.refresh(Region(slot.region.x, slot.region.y, slot.region.width - 1, 1))
        if old != selected and not beside:
            self._move_mark(old, selected, [slot for slot in self._slots() if slot.index == current])
        if self._rested != selected or before != current:
            if self._timer is not None:
                self._timer.stop()
            self._timer = self.set_timer(REST_SECONDS, self._rest)

    def _rest(self) -> None:
        """These marks come after the cursor: each costs a line or two of bytes."""
        old, self._rested = self._rested, self.selected
        self._move_mark(
            old, self._rested, [slot for slot in self._slots() if self._beside or slot.index != self.current]
        )

    def on_resize(self) -> None:
        self._drawings.clear()

    def render_lines(self, crop: Region) -> list[Strip]:
        # asked for once: they cost more than the rest of a line
        self._base, self._shown, self._cells = self.rich_style, self._slots(), self.size.width
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        width, background = self._cells, self._base
        segments: list[Segment] = []
        at = 0
        for slot in self._shown:
            region = slot.region
            if region.y <= y < region.bottom:
                if region.x > at:
                    segments.append(Segment(" " * (region.x - at), background))
                segments += self._plot_line(slot, y - region.y)
                at = region.right
        return Strip(segments).adjust_cell_length(width, background).simplify()

    def _slots(self) -> list[_Slot]:
        """Which plots are shown and where: as before, as long as the current one is among them."""
        width, height, number = self.size.width, self.size.height, len(self.plots)
        if not number or width < LEAST_CELLS or height < 1:
            return []
        if height < LEAST_LINES:
            shown = min(number, height)
            first = self._window(shown)
            return [_Slot(first + row, Region(0, row, width, 1)) for row in range(shown)]
        columns = min(number, 2 if width >= TWO_COLUMNS else 1)
        rows = min(-(-number // columns), max(1, height // PLOT_LINES))
        shown = min(number, columns * rows)
        first = self._window(shown)
        each, lines = (width - 2 * (columns - 1)) // columns, height // rows
        return [
            _Slot(first + place, Region(place % columns * (each + 2), place // columns * lines, each, lines))
            for place in range(shown)
        ]

    def _window(self, shown: int) -> int:
        """The first plot of those that are shown."""
        low, high = max(0, self.current - shown + 1), min(self.current, len(self.plots) - shown)
        self._first = max(low, min(self._first, high))
        return self._first

    def _drawing(self, slot: _Slot) -> Drawing:
        key = (slot.index, slot.region.width, slot.region.height)
        if key not in self._drawings:
            # the last line stays free below a plot that another one follows
            self._drawings[key] = draw_plot(
                self.plots[slot.index], slot.region.width, slot.region.height - 1, self.utf8
            )
        return self._drawings[key]

    def _plot_line(self, slot: _Slot, y: int) -> list[Segment]:
        plot, base = self.plots[slot.index], self._base
        width = slot.region.width
        if slot.region.height == 1:
            left = f"{plot.title} {plot.unit} "
            bars = sparkline(plot.y, max(1, width - cell_width(left) - 10))
            value = self._value(plot, self._marked(slot))
            return self._painted(((left, ""), (bars, "run"), (f" {value}", "")), width)
        if y == 0:
            strong = base + Style(bold=True) if slot.index == self.current else base
            title, value = self._title(plot), "" if self._beside else self._mark_text(plot, self._marked(slot))
            room = width - cell_width(value) - 1
            title = title if cell_width(title) <= room else self._title(plot, short=True)
            return [
                Segment(self._plain(fit(title, room)), strong),
                Segment(self._plain(f"{value} "), base + self._meaning("quiet")),
            ]
        drawing = self._drawing(slot)
        if y - 1 >= len(drawing.lines):
            return [Segment(" " * width, base)]
        segments = self._painted(drawing.lines[y - 1], width)
        mark = drawing.cells.get(self._marked(slot))
        if mark is not None and mark[1] == y - 1:
            before, _, after = Strip(segments).divide([mark[0], mark[0] + 1, width])
            point = Segment("●" if self.utf8 else "O", base + Style(bold=True))
            segments = [*before, point, *after]
        return segments

    def _painted(self, pieces: Sequence[tuple[str, str]], width: int) -> list[Segment]:
        base = self._base
        segments = [
            Segment(self._plain(text), base + self._meaning(meaning) if meaning else base) for text, meaning in pieces
        ]
        return list(Strip(segments).adjust_cell_length(width, base))

    def _marked(self, slot: _Slot) -> int:
        return self.selected if slot.index == self.current and not self._beside else self._rested

    def _move_mark(self, old: int, new: int, slots: Sequence[_Slot]) -> None:
        """Draw again the two cells of the mark, and its value in the title."""
        for slot in slots:
            x, y, width, height = slot.region
            if height == 1:
                self.refresh(Region(x, y, width, 1))
                continue
            drawing = self._drawing(slot)
            for index in (old, new):
                if index in drawing.cells:
                    column, row = drawing.cells[index]
                    self.refresh(Region(x + column, y + 1 + row, 1, 1))
            if self._beside:
                continue
            cells = max(len(self._mark_text(self.plots[slot.index], index)) for index in (old, new)) + 1
            self.refresh(Region(x + width - cells, y, cells, 1))

    def _title(self, plot: Plot, short: bool = False) -> str:
        unit = f"  {plot.unit}" if plot.unit else ""
        return f" {plot.title}{unit}" + ("" if short else f"  by {plot.x_title}")

    def _mark_text(self, plot: Plot, index: int) -> str:
        """``-12.0°  2.68 µm``."""
        if not 0 <= index < len(plot.names):
            return ""
        return f"{shorten(plot.names[index], LONGEST_NAME)}  {self._value(plot, index)}"

    def _value(self, plot: Plot, index: int) -> str:
        value = plot.y[index] if 0 <= index < len(plot.y) else None
        between = "" if plot.unit == "°" else " "
        return "–" if value is None else f"{value:.{plot.digits}f}{between}{plot.unit}".rstrip()

    def _meaning(self, name: str) -> Style:
        return Style.parse(self.colours(name))

    def _plain(self, text: str) -> str:
        return text if self.utf8 else text.translate(_ASCII)


_ASCII = ASCII_TWINS | str.maketrans({"│": "|", "┤": "+", "└": "+", "┬": "+", "●": "O", "⠀": " "})
