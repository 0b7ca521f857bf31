"""Where two lines of cells differ: only that goes over the wire."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

GAP = 8
"""Equal cells between two different ones are sent with them where they are fewer: moving the cursor costs as much."""

Cells = Sequence[tuple[str, Style | None]]


def cells_of(strip: Strip) -> Cells:
    """A character and its style for each cell; the second cell of a wide character is empty."""
    found: list[tuple[str, Style | None]] = []
    for text, style, _ in strip:
        if text.isascii():
            found.extend(zip(text, repeat(style)))
            continue
        for char in text:
            width = cell_len(char)
            if width:
                found.append((char, style))
                found.extend(("", style) for _ in range(width - 1))
            elif found:
                found[-1] = (found[-1][0] + char, found[-1][1])
    return found


def changed_spans(before: Cells, after: Cells) -> list[tuple[int, int]]:
    """``(first cell, cell after the last)`` of what differs."""
    if len(before) != len(after):
        return [(0, max(len(before), len(after)))]
    if before == after:
        return []
    spans: list[tuple[int, int]] = []
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        if old == new:
            continue
        gap = index - spans[-1][1] if spans else GAP
        if gap == 0 or (gap < GAP and _same_style(after, spans[-1][1] - 1, index + 1)):
            spans[-1] = (spans[-1][0], index + 1)
        else:
            spans.append((index, index + 1))
    return spans


def strip_of(cells: Cells) -> Strip:
    """The line of cells, with as few changes of style as it takes."""
    segments: list[Segment] = []
    chars: list[str] = []
    now: Style | None = None
    for char, style in cells:
        if style is not now and style != now:
            if chars:
                segments.append(Segment("".join(chars), now))
            chars, now = [], style
        chars.append(char)
    if chars:
        segments.append(Segment("".join(chars), now))
    return Strip(segments, len(cells))


def _same_style(cells: Cells, first: int, end: int) -> bool:
    return all(cells[index][1] == cells[first][1] for index in range(first, end))
