"""The projects as lines: how far each one is, and whether something needs you."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from crboost_tui.project_list import Entry, Kind
from crboost_tui.terminal import cell_width, fit, glyph, hue, shorten
from crboost_tui.widgets.line_list import Piece
from crboost_tui.widgets.lines import NamedLines

_STATES = {
    "running": ">", "succeeded": "+", "failed": "x", "needs you": "!", "stale": "#", "unfinished": "s",
    "not run yet": ".",
}  # fmt: skip
"""The outcome of a project as a state."""
WIDE, NARROW = 100, 60
SERIES, WHEN = 9, 14
"""Cells of the columns, the space after them included."""
_NO_NUMBERS: Mapping[Kind, Piece] = {
    "silent": ("its disk does not answer", "fail"),
    "gone": ("not there any more", "fail"),
    "relion": ("RELION only", "quiet"),
}


class ProjectLines(NamedLines[Entry]):
    clock: Callable[[], float] = staticmethod(time.time)

    def head(self, width: int) -> str:
        name, bar, columns, when, _ = self._columns(width)
        titles = {">": "run", "x": "fail", "!": "needs", "q": "queue"}
        text = "   " + fit("project", name) + "  " + fit("done" if bar else "", bar) + " series  "
        text += "".join(fit(titles[state], _count(width)) for state in columns)
        return text + (fit("last activity", WHEN) if when else "")

    def pieces(self, entry: Entry, width: int) -> list[Piece]:
        name, bar, columns, when, rest = self._columns(width)
        silent = entry.kind in ("silent", "gone")
        state = "?" if silent else _STATES.get(entry.outcome, " ")
        found: list[Piece] = [(f" {glyph(state, True)} ", hue(state))]
        found.append((fit(entry.name, name) + "  ", "quiet" if silent else "bold"))
        if entry.kind in _NO_NUMBERS:
            said, how = _NO_NUMBERS[entry.kind]
            found.append((fit(said, bar + SERIES + _count(width) * len(columns)), how))
        else:
            found += self._numbers(entry, bar, columns, _count(width))
        if when:
            found.append((fit(when_text(entry.updated, self.clock()), WHEN), "quiet"))
        for text, how in _notes(entry):
            if rest >= cell_width(text):
                found += [(text, how), ("  ", "")]
                rest -= cell_width(text) + 2
        if rest > 12 and width >= WIDE:
            found.append((end_of(with_tilde(entry.root), rest), "quiet"))
        return found

    def _numbers(self, entry: Entry, bar: int, columns: str, cells: int) -> list[Piece]:
        share = entry.count("+0") / entry.tasks if entry.tasks else 0.0
        filled = round(bar * share)
        found: list[Piece] = [("━" * filled, "done")]
        found.append(("─" * (bar - filled) if entry.tasks else " " * bar, "quiet"))
        found.append((f"{entry.series or '':>{SERIES - 2}}  ", ""))
        for column in columns:
            number = entry.needs or entry.count("!") if column == "!" else entry.count(column)
            said = f"{glyph(column, True)} {number}" if number else ""
            found += [(said, hue(column)), (" " * (cells - cell_width(said)), "")]
        return found

    def _columns(self, width: int) -> tuple[int, int, str, bool, int]:
        """Cells of the name, of the bar, the states that are counted, whether there is room for the time, the rest."""
        longest = max([7, *(cell_width(entry.name) for entry in self.rows)])
        most = 14 if width < NARROW else 20 if width < WIDE else 34
        name, bar = min(longest, most), 0 if width < NARROW else 6 if width < WIDE else 12
        columns = "x!" if width < NARROW else ">x!" if width < WIDE else ">qx!"
        when = width >= NARROW + 8
        used = 3 + name + 2 + bar + SERIES + _count(width) * len(columns) + (WHEN if when else 0)
        return name, bar, columns, when, width - used


def _count(width: int) -> int:
    """Cells of a column that counts tasks."""
    return 6 if width < WIDE else 7


def _notes(entry: Entry) -> list[Piece]:
    """What else is to be known of a project, the most important first."""
    notes: list[Piece] = []
    if entry.rehearsal and "REHEARSAL" not in entry.name:
        notes.append(("REHEARSAL", "rehearsal"))
    if entry.owner:
        notes.append((f"of {entry.owner}", "quiet"))
    if entry.read_only:
        notes.append(("read-only", "quiet"))
    return notes


def with_tilde(folder: str) -> str:
    """A folder with ~ for this user's home."""
    home = os.path.expanduser("~")
    inside = home != "/" and (folder == home or folder.startswith(f"{home}/"))
    return f"~{folder[len(home) :]}" if inside else folder


def end_of(folder: str, cells: int) -> str:
    """Cut at the front: its end tells two projects of one name apart."""
    if cell_width(folder) <= cells:
        return shorten(folder, cells)
    return f"…{shorten(folder[::-1], cells)[:-1][::-1]}"


def when_text(at: float, now: float) -> str:
    """``14:02`` of today, ``23 Nov 14:02``, ``23 Nov 2025``: texts that do not change while nothing happens."""
    if not at:
        return ""
    then, today = time.localtime(at), time.localtime(now)
    if (then.tm_year, then.tm_yday) == (today.tm_year, today.tm_yday):
        return time.strftime("%H:%M", then)
    day = f"{then.tm_mday} {time.strftime('%b', then)}"
    return f"{day} {time.strftime('%H:%M', then)}" if then.tm_year == today.tm_year else f"{day} {then.tm_year}"
