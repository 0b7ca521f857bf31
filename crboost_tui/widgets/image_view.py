"""Slabs of tomograms as pictures: half blocks everywhere, kitty's or sixel graphics where the terminal has them.

The pictures come from a worker process in the form that is drawn. kitty's are sent once and stand in the text as its
placeholder characters, so that what covers them clears them; sixel pictures are drawn after the last line, over cells
that are blank. Without colours or UTF-8 greys become shades.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import math
import struct
import sys
import termios
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from rich.color import Color
from rich.segment import ControlType, Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from crboost_tui.terminal import ASCII_TWINS, shorten

if TYPE_CHECKING:
    from core.quality.slices import Slab

HALF_BLOCKS, KITTY, SIXEL, SHADES = "half-blocks", "kitty", "sixel", "shades"
FORMS = {HALF_BLOCKS: "grey", SHADES: "grey", KITTY: "png", SIXEL: "sixel"}
"""What the worker makes for each way to draw."""
DEFAULT_CELL = (8, 16)
"""Pixels of a cell where the terminal does not say: small, so that no picture is larger than its place."""
GREYS = 24
"""Different greys with half blocks: as many as the terminal's palette of 256 colours has."""
CHUNK = 4096

_BLOCK_SHADES, _ASCII_SHADES = " ░▒▓█", " .:-=+*#%@"
_KITTY_TERMS = ("xterm-kitty", "xterm-ghostty")
_SIXEL_TERMS = ("foot", "mlterm", "contour", "yaft", "wezterm")
_SIXEL_PROGRAMS = ("WezTerm", "iTerm.app")
_PLACEHOLDER = "\U0010eeee"
_ROWS = (
    "\u0305\u030d\u030e\u0310\u0312\u033d\u033e\u033f\u0346\u034a\u034b\u034c\u0350\u0351\u0352\u0357"
    "\u035b\u0363\u0364\u0365\u0366\u0367\u0368\u0369\u036a\u036b\u036c\u036d\u036e\u036f\u0483\u0484"
    "\u0485\u0486\u0487\u0592\u0593\u0594\u0595\u0597\u0598\u0599\u059c\u059d\u059e\u059f\u05a0\u05a1"
    "\u05a8\u05a9\u05ab\u05ac\u05af\u05c4\u0610\u0611\u0612\u0613\u0614\u0615\u0616\u0617\u0657\u0658"
)
"""kitty's marks of the rows 0, 1, ...: a picture is at most so many lines high."""
_IDS = (((255, 0, 0), 196), ((0, 255, 0), 46))
"""kitty reads a picture's id from its placeholders' colour: as 24 bits, and in the palette of 256."""


def picture_form(setting: str, environ: Mapping[str, str], *, utf8: bool, colours: str | None) -> str:
    """How to draw. ``setting``: ``auto``, or what a person chose. ``colours``: of the terminal, as Rich calls it.

    ``auto`` goes by the names that terminals give themselves, and ssh passes on: nothing is asked of the terminal,
    whose answer would come between the keys. In tmux and screen it is half blocks.
    """
    plain = SHADES if colours in (None, "standard") or not utf8 else HALF_BLOCKS
    if setting in (KITTY, SIXEL):
        return setting
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if setting != "auto" or plain == SHADES or environ.get("NO_COLOR"):
        return plain
    if environ.get("TMUX") or environ.get("STY") or term.startswith(("tmux", "screen")):
        return plain
    if term in _KITTY_TERMS or program == "ghostty":
        return KITTY
    iterm = environ.get("LC_TERMINAL") == "iTerm2"
    return SIXEL if term.split("-")[0] in _SIXEL_TERMS or program in _SIXEL_PROGRAMS or iterm else plain


def cell_pixels() -> tuple[int, int]:
    """Width and height of a cell in pixels, as the terminal (through ssh too) reports them."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        size = fcntl.ioctl(sys.__stdout__.fileno(), termios.TIOCGWINSZ, b"\0" * 8)  # type: ignore[union-attr]
        rows, columns, width, height = struct.unpack("HHHH", size)
        if rows and columns and width >= columns and height >= rows:
            return width // columns, height // rows
    return DEFAULT_CELL


@dataclass(frozen=True, slots=True)
class Pictures:
    """What the view draws: slabs, in the way ``form``. ``lines``: of each slab as text, where it is drawn as text."""

    slabs: tuple[Slab, ...]
    form: str
    cell: tuple[int, int]
    lines: tuple[tuple[Strip, ...], ...]


def prepare(slabs: list[Slab], form: str, cell: tuple[int, int], *, utf8: bool) -> Pictures:
    """Make lines of text of the greys; to be called in a thread."""
    make = {HALF_BLOCKS: _half_blocks, SHADES: _block_shades if utf8 else _ascii_shades}.get(form)
    lines = tuple(tuple(make(slab)) if make is not None else () for slab in slabs)
    return Pictures(tuple(slabs), form, cell, lines)


def scale_bar(angstrom_per_cell: float, cells: int, utf8: bool) -> str:
    """A bar of a round length, a third of ``cells`` at most, exact to half a cell; "" where there is no scale."""
    most = angstrom_per_cell * cells / 30.0  # nm
    if angstrom_per_cell <= 0 or cells < 4:
        return ""
    power = 10.0 ** math.floor(math.log10(most))
    length = max(step * power for step in (1.0, 2.0, 5.0) if step * power <= most)
    halves = max(1, round(length * 20.0 / angstrom_per_cell))
    bar = "━" * (halves // 2) + "╸" * (halves % 2) if utf8 else "=" * max(1, round(halves / 2))
    return f"{bar} {length:g} nm"


class ImageView(Widget):
    """Draws pictures, or says why there is none."""

    DEFAULT_CSS = """
    ImageView { height: 1fr; margin: 0 1; background: $background; }
    """

    class Resized(Message):
        """There is another amount of room for pictures."""

    def __init__(self, colours: Callable[[str], str], *, utf8: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self.colours = colours
        self.utf8 = utf8
        self.pictures: Pictures | None = None
        self.sentence = ""
        self.wrong = False
        self._base = Style.null()
        self._sent = False

    def show(self, pictures: Pictures) -> None:
        if pictures == self.pictures:
            return
        self.pictures, self.sentence = pictures, ""
        if pictures.form == KITTY:
            self._send(pictures)
        self.refresh()

    def say(self, sentence: str, wrong: bool = False) -> None:
        """Instead of a picture."""
        if (self.pictures, self.sentence, self.wrong) != (None, sentence, wrong):
            self.pictures, self.sentence, self.wrong = None, sentence, wrong
            self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        self.post_message(self.Resized())

    def on_unmount(self) -> None:
        if self._sent:
            for place in range(len(_IDS)):
                self._write(f"\x1b_Ga=d,d=I,i={self._image_id(place)},q=2\x1b\\")

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self._base
        if self.pictures is None:
            style = base + Style.parse(self.colours("fail" if self.wrong else "quiet"))
            words = textwrap.wrap(self.sentence, max(10, width))
            text = words[y] if y < len(words) else ""
            return Strip([Segment(self._plain(text), style)]).adjust_cell_length(width, base)
        segments: list[Segment] = []
        at = 0
        for place, slab in enumerate(self.pictures.slabs):
            columns, rows = self._cells(slab)
            others = [other.x for other in self.pictures.slabs if other.x > slab.x]
            room = min([width, *others]) - slab.x - (1 if others else 0)
            line = y - slab.y
            if -1 <= line <= rows:
                if slab.x > at:
                    segments.append(Segment(" " * (slab.x - at), base))
                piece = self._piece(slab, place, line, columns, rows, room)
                segments += piece
                at = slab.x + piece.cell_length
        return Strip(segments).adjust_cell_length(width, base)

    def render_lines(self, crop: Region) -> list[Strip]:
        self._base = self.rich_style  # asked for once: it costs more than the rest of a line
        strips = super().render_lines(crop)
        if self.pictures is None or self.pictures.form != SIXEL or not strips or not self.screen.is_active:
            return strips
        x, y = self.region.offset
        drawn = "".join(
            f"\x1b[{y + slab.y + 1};{x + slab.x + 1}H" + slab.data.decode("ascii") for slab in self.pictures.slabs
        )
        back = f"\x1b[{y + crop.bottom};{x + strips[-1].cell_length + 1}H"
        control = Segment(drawn + back, None, [(ControlType.CURSOR_FORWARD, 0)])
        return [*strips[:-1], Strip([*strips[-1], control], strips[-1].cell_length)]

    def _piece(self, slab: Slab, place: int, line: int, columns: int, rows: int, room: int) -> Strip:
        base = self._base
        quiet = base + Style.parse(self.colours("quiet"))
        assert self.pictures is not None
        if line == -1:
            return Strip([Segment(self._plain(shorten(_title(slab), room)), base)])
        if line == rows:
            if not slab.angstrom_per_px:
                return Strip([Segment(shorten("its header has no pixel size", room), quiet)])
            bar = scale_bar(slab.angstrom_per_px * self.pictures.cell[0], columns, self.utf8)
            return Strip([Segment(self._plain(shorten(bar, room)), base)])
        if self.pictures.form == KITTY:
            first = _PLACEHOLDER + _ROWS[line] + _ROWS[0]
            style = base + Style(color=Color.from_rgb(*_IDS[place][0]))
            return Strip([Segment(first + _PLACEHOLDER * (columns - 1), style)], columns)
        if self.pictures.form == SIXEL:
            return Strip([Segment(" " * columns, base)])
        text = self.pictures.lines[place][line]
        # the last line may have upper pixels only
        return text.apply_style(base) if self.pictures.form == SHADES or line == rows - 1 else text

    def _cells(self, slab: Slab) -> tuple[int, int]:
        assert self.pictures is not None
        width, height = self.pictures.cell
        rows = -(-slab.height_px // height)
        return -(-slab.width_px // width), min(rows, len(_ROWS)) if self.pictures.form == KITTY else rows

    def _send(self, pictures: Pictures) -> None:
        """The pictures themselves, once; the terminal keeps them until the view goes."""
        for place, slab in enumerate(pictures.slabs[: len(_IDS)]):
            columns, rows = self._cells(slab)
            data = base64.standard_b64encode(slab.data).decode("ascii")
            pieces = [data[begin : begin + CHUNK] for begin in range(0, len(data), CHUNK)]
            head = f"a=T,U=1,f=100,q=2,i={self._image_id(place)},c={columns},r={rows},"
            for number, piece in enumerate(pieces):
                more = int(number < len(pieces) - 1)
                self._write(f"\x1b_G{head if number == 0 else ''}m={more};{piece}\x1b\\")
        self._sent = True

    def _image_id(self, place: int) -> int:
        (red, green, blue), small = _IDS[place]
        truecolour = self.app.console.color_system == "truecolor"
        return red << 16 | green << 8 | blue if truecolour else small

    def _write(self, text: str) -> None:
        if self.app._driver is not None and not self.app.is_headless:
            self.app._driver.write(text)

    def _plain(self, text: str) -> str:
        return text if self.utf8 else text.translate(ASCII_TWINS)


def _title(slab: Slab) -> str:
    if slab.flat:
        return f"{slab.plane}  every value is the same"
    return slab.what if slab.plane == "image" else f"{slab.plane}  {slab.what}"


def _half_blocks(slab: Slab) -> list[Strip]:
    """Two pixels in each cell: the upper one in the foreground's colour, the lower one in the background's."""
    width, data = slab.width_px, slab.data
    found = []
    for top in range(0, slab.height_px, 2):
        upper = data[top * width : (top + 1) * width]
        lower = data[(top + 1) * width : (top + 2) * width]
        alone = not lower
        segments: list[Segment] = []
        begin, look = 0, (-1, -1)
        for x, grey in enumerate(upper):
            now = (grey * GREYS >> 8, -1 if alone else lower[x] * GREYS >> 8)
            if now != look:
                if x:
                    segments.append(Segment("▀" * (x - begin), _pair(*look)))
                begin, look = x, now
        segments.append(Segment("▀" * (width - begin), _pair(*look)))
        found.append(Strip(segments, width))
    return found


@cache
def _pair(upper: int, lower: int) -> Style:
    return Style(color=_grey(upper), bgcolor=_grey(lower) if lower >= 0 else None)


def _grey(level: int) -> Color:
    """One of the palette's own greys, so that 256 colours show the same."""
    value = 8 + 10 * level
    return Color.from_rgb(value, value, value)


def _block_shades(slab: Slab) -> list[Strip]:
    return _shades(slab, _BLOCK_SHADES)


def _ascii_shades(slab: Slab) -> list[Strip]:
    return _shades(slab, _ASCII_SHADES)


def _shades(slab: Slab, characters: str) -> list[Strip]:
    width, data = slab.width_px, slab.data
    found = []
    for top in range(0, slab.height_px, 2):
        upper = data[top * width : (top + 1) * width]
        lower = data[(top + 1) * width : (top + 2) * width] or upper
        text = "".join(
            characters[(above + below) * len(characters) >> 9] for above, below in zip(upper, lower, strict=True)
        )
        found.append(Strip([Segment(text)], width))
    return found
