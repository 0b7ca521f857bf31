"""What the terminal can show: UTF-8, colours, width. State characters become glyphs and colours here."""

from __future__ import annotations

import os
import re
import shutil
import sys
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TextIO

from core.engine.states import GLYPH, TaskState

# One hue for each meaning; everything else stays quiet. (ANSI code, name of the colour in the app's theme)
_HUES = {
    TaskState.RUNNING: ("34", "run"),
    TaskState.DONE: ("32", "done"),
    TaskState.EMPTY: ("32", "done"),
    TaskState.FAILED: ("1;31", "fail"),
    TaskState.STALE: ("35", "stale"),
    TaskState.NEEDS_YOU: ("1;30;43", "need"),
}
_QUIET = ("2", "quiet")

RELION_STATES = {"Succeeded": "+", "Running": ">", "Failed": "x", "Aborted": "s", "Scheduled": "."}
"""RELION's labels as our state characters."""

_ESCAPE = re.compile("\x1b\\[[0-9;]*m")
_STATES = {state.value: state for state in TaskState}

ASCII_TWINS = str.maketrans(
    {"─": "-", "━": "=", "│": "|", "…": "..", "·": ".", "–": "-", "Å": "A", "µ": "u", "°": " ", "▸": ">", "×": "x",
     "²": "2", "Δ": "d", "↑": "^", "↓": "v", "←": "<", "→": ">", "█": "#", "░": ".", "▁": "_", "▂": "_", "▃": "-",
     "▄": "-", "▅": "=", "▆": "=", "▇": "#", "≠": "#", "✓": "+", "✗": "x", "▶": ">", "◔": "q", "○": "o",
     "∅": "0", "⊘": "b", "■": "s"}
)  # fmt: skip


def glyph(state: str, utf8: bool) -> str:
    """The glyph of a state character; unknown characters of a newer program are shown as they are."""
    known = _STATES.get(state)
    return GLYPH[known] if utf8 and known is not None else state


def hue(state: str) -> str:
    """Name of a state's colour: run, done, fail, stale, need or quiet."""
    known = _STATES.get(state)
    return (_HUES.get(known, _QUIET) if known is not None else _QUIET)[1]


@dataclass(frozen=True, slots=True)
class Terminal:
    """How to write to one stream. ``width`` in cells."""

    utf8: bool
    colour: bool
    width: int

    @classmethod
    def of(cls, stream: TextIO | None = None) -> Terminal:
        stream = stream or sys.stdout
        tty = stream.isatty()
        colour = tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        width = shutil.get_terminal_size((120, 40)).columns
        return cls(is_utf8(stream.encoding), colour, max(40, width))

    def text(self, text: str) -> str:
        """``text`` with ASCII twins where there is no UTF-8."""
        return text if self.utf8 else text.translate(ASCII_TWINS)

    def paint(self, text: str, code: str) -> str:
        """``text`` between escape sequences (``1``, ``2``, ``31`` ...), plain where there are no colours."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def state(self, state: str, text: str | None = None) -> str:
        """A state's glyph (or ``text``) in its colour."""
        known = _STATES.get(state)
        code = (_HUES.get(known, _QUIET) if known is not None else _QUIET)[0]
        return self.paint(glyph(state, self.utf8) if text is None else text, code)


def cell_width(text: str) -> int:
    """Cells that a text takes in a terminal, escape sequences not counted."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    return _wide_width(text)


@lru_cache(4096)
def _wide_width(text: str) -> int:
    plain = _ESCAPE.sub("", text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in plain
    )


def shorten(text: str, cells: int) -> str:
    """``text`` cut to at most ``cells`` cells, with an ellipsis where something was cut, without control characters."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    if cell_width(text) <= cells:
        return text
    cut = ""
    for char in text:
        if cell_width(cut + char) > cells - 1:
            break
        cut += char
    return cut + "…" if cells > 0 else ""


def fit(text: str, cells: int) -> str:
    """``text`` cut or filled with spaces to exactly ``cells`` cells."""
    short = shorten(text, cells)
    return short + " " * (cells - cell_width(short))


def is_utf8(encoding: str | None) -> bool:
    return (encoding or "").lower().replace("-", "").replace("_", "") == "utf8"
