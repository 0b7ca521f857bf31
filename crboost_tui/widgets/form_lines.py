"""What one line of a form looks like, for every width: label, value, unit, what is allowed, what matters, origin."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from crboost_tui.form import Form, FormField
from crboost_tui.terminal import ASCII_TWINS, cell_width, fit, shorten
from crboost_tui.widgets.editor import LineEditor
from crboost_tui.widgets.form_rows import Row

_TWINS = ASCII_TWINS | str.maketrans({"▾": "v", "●": "*", "…": "."})

_QUIET_ORIGINS = ("default", "not set", "you")
"""What needs no word beside the value: it is as ever, or it is bold."""

Piece = tuple[str, Style]


@dataclass(frozen=True, slots=True)
class Columns:
    """Cells of each column; 0: not shown."""

    label: int
    value: int
    unit: int
    allowed: int
    note: int
    origin: int

    @property
    def left(self) -> int:
        """Where the value begins, behind the cursor, the label and the sign."""
        return 2 + self.label + 3


def columns_of(fields: Sequence[FormField], values: Sequence[str], width: int) -> Columns:
    """Label, value and unit first; then what is wrong or allowed; on wide screens also where it comes from."""
    longest = max((cell_width(each.label) for each in fields), default=8)
    label = min(longest, 16 if width < 56 else 20 if width < 80 else 28)
    widest = max(map(cell_width, values), default=8)
    value = max(8, min(widest, 14 if width < 56 else 16 if width < 80 else 20 if width < 120 else 32))
    unit = min(8, max((cell_width(each.unit) for each in fields), default=0))
    rest = width - 1 - (2 + label + 3 + value + 2 + unit + 2)
    words = max((cell_width(each.allowed) for each in fields), default=0)
    origin = 22 if rest >= 84 else 16 if rest >= 60 else 0
    allowed = min(words, 22) if rest >= 60 else 0
    note = min(60, max(0, rest - (allowed + 2 if allowed else 0) - (origin + 2 if origin else 0)))
    return Columns(label, value, unit, allowed, note, origin)


def shown(field: FormField, text: str) -> str:
    """A switch is on or off; everything else is shown as it is typed."""
    if field.kind == "bool":
        return {"true": "on", "false": "off"}.get(text, text)
    return text


def facts(field: FormField, columns: Columns) -> str:
    """Its option, default, where its value comes from, and what the line has no room for."""
    default = shown(field, field.default) or "none"
    parts = (
        field.flag,
        f"default {default}{f' {field.unit}' if field.unit and field.default else ''}",
        f"from {field.origin}" if field.origin not in _QUIET_ORIGINS else "",
        "" if columns.allowed else field.allowed,
        f"{shown(field, field.used) or 'none'} was used" if field.used is not None else "",
        f"{field.per_series} series differ" if field.per_series > 0 else "",
        "not saved" if field.edited else "",
        "" if field.changes_result or field.fills else "does not change results",
    )
    return "   ".join(part for part in parts if part)


def wrapped(texts: Sequence[str], cells: int, lines: int) -> list[tuple[int, str]]:
    """``(number of the text, line)``, each text on lines of its own; what comes first has all of them, and is cut
    only where it alone has too many."""
    found: list[tuple[int, str]] = []
    for number, text in enumerate(texts):
        room = lines - len(found)
        if not text or room < 1:
            continue
        rows = textwrap.wrap(text, max(10, cells))
        if len(rows) > room:
            rows = [*rows[: room - 1], shorten(" ".join(rows[room - 1 :]), cells)]
        found += [(number, line) for line in rows]
    return found[:lines]


def _brief(field: FormField, sentence: str) -> str:
    """Without the name and the value, where these stand before it in the line."""
    start = f"{field.name.rpartition('.')[2].partition('@')[0]} is "
    return sentence.partition("; ")[2] or sentence if sentence.startswith(start) else sentence


class Pen:
    """Draws lines in the present styles. ``colours``: style of a meaning."""

    def __init__(self, style: Callable[[str], Style], colours: Callable[[str], str], utf8: bool) -> None:
        self.text, self.head, self.editor = style("text"), style("head"), style("editor")
        self.cursor = style("cursor") + Style(bold=True)
        self.blank = Style.from_color(bgcolor=self.text.bgcolor)
        """Of spaces: half as many bytes as with a colour for what is not there."""
        self.colours = colours
        self.utf8 = utf8

    def meaning(self, name: str) -> Style:
        return self.text + Style.parse(self.colours(name))

    def plain(self, text: str) -> str:
        return text if self.utf8 else text.translate(_TWINS)

    def strip(self, pieces: Sequence[Piece], width: int) -> Strip:
        segments = [Segment(self.plain(words), style) for words, style in pieces if words]
        return Strip(segments).adjust_cell_length(width, self.text)

    def line(
        self, row: Row, form: Form, columns: Columns, width: int, value: str, cursor: bool, editor: LineEditor | None
    ) -> Strip:
        """Pieces end with spaces but do not begin with them: pictures (SVG) of the screen would lose these."""
        quiet = self.meaning("quiet")
        match row.kind:
            case "head":
                pieces = [(" ", self.blank), (row.text, self.head)]
            case "note":
                pieces = [("  ", self.blank), (row.text, quiet)]
            case "fold":
                pieces = [(f"▸ {row.text}", self.cursor)] if cursor else [("  ", self.blank), (row.text, quiet)]
            case "option":
                pieces = self._option(row, columns, width, value, cursor)
            case _:
                assert row.field is not None
                pieces = self._field(row.field, form, columns, width, value, cursor, editor)
        return self.strip(pieces, width)

    def _option(self, row: Row, columns: Columns, width: int, value: str, cursor: bool) -> list[Piece]:
        lead = columns.left - 2
        words = f"{'●' if row.text == value else '○'} {shorten(row.text, max(4, width - lead - 7))} "
        if cursor:
            return [(" " * lead, self.blank), (f"▸ {words}", self.cursor)]
        return [(" " * (lead + 2), self.blank), (words, self.text)]

    def _field(
        self,
        field: FormField,
        form: Form,
        columns: Columns,
        width: int,
        value: str,
        cursor: bool,
        editor: LineEditor | None,
    ) -> list[Piece]:
        quiet = self.meaning("quiet")
        base = self.text if field.applies else quiet
        label = fit(field.label, columns.label)
        pieces = (
            [(f"▸ {label}", self.cursor), (" ", self.blank)] if cursor else [("  ", self.blank), (f"{label} ", base)]
        )
        pieces.append(self._sign(field, value))
        if cursor and editor is not None:
            wide = field.kind in ("text", "path")
            pieces += self._editor(editor, max(8, width - 3 - columns.left) if wide else columns.value)
            if wide:
                return pieces
        else:
            words = fit(shown(field, value) or "–", columns.value)
            pieces += [(" ", self.blank), (f"{words}  ", self._value_style(field, value, base))]
        pieces.append((f"{fit(field.unit, columns.unit)}  ", quiet if field.unit else self.blank))
        note, meaning = self._note(field, form, columns)
        room = columns.note
        if columns.allowed and field.allowed:
            pieces.append((f"{fit(field.allowed, columns.allowed)}  ", quiet))
        elif columns.allowed:
            room += columns.allowed + 2
        if field.findings and columns.origin:
            room += columns.origin + 2
        if room >= 3:
            pieces.append((fit(note, room), self.meaning(meaning)))
        if columns.origin and not field.findings:
            pieces += [("  ", self.blank), self._origin(field, columns.origin)]
        return pieces

    def _editor(self, editor: LineEditor, cells: int) -> list[Piece]:
        """The open editor; for texts it takes the rest of the line."""
        before, under, after = editor.window(cells)
        reverse = self.editor + Style(reverse=True)
        return [("[", self.text), (before, self.editor), (under, reverse), (after, self.editor), ("] ", self.text)]

    def _value_style(self, field: FormField, value: str, base: Style) -> Style:
        if any(finding.level == "error" for finding in field.findings):
            return self.meaning("fail")
        if not value:
            return self.meaning("quiet")
        return base + Style(bold=True) if field.origin.startswith("you") or field.edited else base

    def _sign(self, field: FormField, value: str) -> Piece:
        if any(finding.level == "error" for finding in field.findings):
            return "✗", self.meaning("fail")
        if field.findings or field.confirm:
            return "!", self.meaning("need")
        if field.edited or value != field.value:
            return "*", self.meaning("run")
        if field.compared is not None or field.used is not None:
            return "≠", self.meaning("stale")
        return " ", self.blank

    def _note(self, field: FormField, form: Form, columns: Columns) -> tuple[str, str]:
        """What matters most about a field, and its meaning."""
        if field.findings:
            worst = next((each for each in field.findings if each.level == "error"), field.findings[0])
            return _brief(field, worst.sentence), "fail" if worst.level == "error" else "need"
        if field.compared is not None:
            return f"{shown(field, field.compared) or 'none'} ({form.compared_with})", "stale"
        if field.used is not None:
            return f"{shown(field, field.used) or 'none'} was used", "stale"
        if field.confirm:
            return "not certain: c confirms it", "need"
        if not field.applies:
            return field.only, "quiet"
        if field.per_series > 0:
            return f"{field.per_series} series differ", "run"
        if field.origin.startswith("you") and not field.edited and not columns.origin:
            return f"set by you, default {shown(field, field.default) or 'none'}", "quiet"
        if field.choices:
            return ", ".join(field.choices), "quiet"
        if columns.allowed:
            return "", "quiet"
        return (field.allowed if field.origin in _QUIET_ORIGINS else field.origin), "quiet"

    def _origin(self, field: FormField, cells: int) -> Piece:
        """Where a value comes from, without the file where that is long; the foot has all of it."""
        if field.edited:
            return "not saved", self.meaning("run")
        told = "" if field.origin in ("default", "not set") else field.origin
        if cell_width(told) > cells:
            told = told.partition(" (")[0]
        return shorten(told, cells), self.meaning("quiet")
