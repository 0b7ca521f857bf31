"""A terminal without UTF-8: whatever a widget draws (frames, scroll bars, names), only ASCII reaches it."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from crboost_tui.terminal import ASCII_TWINS, cell_width

_MORE_TWINS = str.maketrans({
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼", "+"), **dict.fromkeys("▏▎▍▌▋▊▉▐▕┃║", "|"), **dict.fromkeys("═▔", "-"),
    "…": "~", "•": "*", "“": '"', "”": '"', "’": "'",
})  # fmt: skip


class OnlyAscii(LineFilter):
    """Every character takes as many cells as before."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.control or segment.text.isascii() else Segment(_plain(segment.text), segment.style)
            for segment in segments
        ]


def _plain(text: str) -> str:
    twins = text.translate(_MORE_TWINS).translate(ASCII_TWINS)
    return "".join(char if char.isascii() else "?" * cell_width(char) for char in twins)
