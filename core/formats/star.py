"""STAR files, byte for byte: a file that was read and not changed is written back identically.

What is new is written as RELION's own writer does it (src/metadata_table.cpp; facts/relion-pipeline.md 4.3), so that a
file of ours cannot be told from one of RELION's. The reader takes RELION's files and those of the ``starfile`` package.
It refuses what RELION refuses (CR+LF, rows with too many or too few columns) and what would lose data in silence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from core.errors import InputError
from core.files import read_text

StarValue = str | int | float | bool | Sequence[float]

BEL = "\a"
"""RELION's mark before a quote inside a quoted string that would otherwise end it."""

_TOKEN = re.compile(
    r"""[ \t]*(?:"(?P<double>.*?)(?<!\a)"(?=[ \t]|$)|'(?P<single>.*?)(?<!\a)'(?=[ \t]|$)|(?P<plain>[^ \t]+))"""
)
_BINARY = "\0\x0b\x0c\x1c\x1d\x1e\x1f"
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_STRING_WIDTH = 10
_NUMBER_WIDTH = 12


class Row(list[str]):
    """The cells of one row, with the text that it was read from. Cells are plain strings, without quotes."""

    __slots__ = ("raw",)
    raw: str


class _Number(str):
    """The text of a number that RELION writes 12 wide; other cells are 10 wide."""

    __slots__ = ()


class Block:
    """One ``data_`` block: a list of label-value pairs, or a table (``is_loop``).

    ``labels`` are without the leading underscore. ``rows`` may be changed in any way (cells, order, additions); what
    was not changed keeps its bytes. A list has one row.
    """

    __slots__ = (
        "_head",
        "_label_text",
        "_pair_text",
        "_parsed_labels",
        "_tail",
        "is_loop",
        "labels",
        "name",
        "place",
        "rows",
    )

    def __init__(self, name: str, is_loop: bool, labels: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self.name = name
        self.is_loop = is_loop
        self.labels = list(labels)
        self.rows: list[list[str]] = [row if isinstance(row, Row) else list(row) for row in rows]
        self.place = ""
        self._head = f"\n# version 50001\n\ndata_{name}\n\n"
        self._label_text = ""
        self._parsed_labels: tuple[str, ...] = ()
        self._pair_text: dict[str, tuple[str, str]] = {}
        self._tail = " \n"

    def index(self, label: str) -> int:
        """The position of a label. Raises :class:`InputError` where the block has no such label."""
        try:
            return self.labels.index(label)
        except ValueError:
            raise InputError(f"has no {label} in data_{self.name}.", self.place or None) from None

    def column(self, label: str) -> list[str]:
        """The cells of one column. Raises :class:`InputError` where the block has no such label."""
        position = self.index(label)
        return [row[position] for row in self.rows]

    def pairs(self) -> dict[str, str]:
        """A list's values by label; of a table with one row, that row's."""
        if not self.rows:
            return {}
        if len(self.rows) != 1:
            raise InputError(f"data_{self.name} has {len(self.rows)} rows where one was expected.", self.place or None)
        return dict(zip(self.labels, self.rows[0], strict=True))

    def set(self, label: str, value: StarValue) -> None:
        """Set a value in every row (a list has one); a new label is added at the end."""
        self.set_column(label, [value] * len(self.rows))

    def set_column(self, label: str, values: Sequence[StarValue]) -> None:
        """Replace a column or add it at the end. One value per row."""
        if len(values) != len(self.rows):
            raise ValueError(f"{len(values)} values for {len(self.rows)} rows")
        cells = [_cell(value) for value in values]
        if label in self.labels:
            position = self.labels.index(label)
            for row, cell in zip(self.rows, cells, strict=True):
                row[position] = cell
        else:
            self.labels.append(label)
            for row, cell in zip(self.rows, cells, strict=True):
                row.append(cell)

    def append_row(self, values: Mapping[str, StarValue]) -> None:
        """Add a row; every label must be given. Raises :class:`InputError` where one is missing or unknown."""
        if set(values) != set(self.labels):
            wrong = sorted(set(values) ^ set(self.labels))
            raise InputError(
                f"a row of data_{self.name} is missing or has too much: {', '.join(wrong)}.", self.place or None
            )
        self.rows.append([_cell(values[label]) for label in self.labels])

    def render(self) -> str:
        """The text of the block, with what stands before and after it."""
        return self._render_loop() if self.is_loop else self._render_list()

    def _render_loop(self) -> str:
        if tuple(self.labels) == self._parsed_labels:
            parts = [self._head, self._label_text]
        else:
            parts = [self._head, "loop_ \n"]
            parts += [f"_{label} #{number} \n" for number, label in enumerate(self.labels, 1)]
        count = len(self.labels)
        for row in self.rows:
            if len(row) != count:
                raise InputError(
                    f"a row of data_{self.name} has {len(row)} cells for {count} labels.", self.place or None
                )
            raw = row.raw if isinstance(row, Row) else None
            if raw is None:
                parts.append(_new_row(row))
            elif _row_cells(raw, count) == row:
                parts.append(raw)
            else:
                parts.append(_edited_row(raw, row))
        parts.append(self._tail)
        return "".join(parts)

    def _render_list(self) -> str:
        width = max([10, *(len(label) for label in self.labels)]) + 12
        parts = [self._head]
        for label, value in zip(self.labels, self.rows[0], strict=True):
            raw, previous = self._pair_text.get(label, ("", None))
            if previous is not None and previous == value:
                parts.append(raw)
            elif previous is not None:
                parts.append(_edited_pair(raw, value))
            else:
                shown = value.rjust(_NUMBER_WIDTH) if isinstance(value, _Number) else _quoted(value)
                parts.append(f"_{label:<{width}}{shown}\n")
        parts.append(self._tail)
        return "".join(parts)


class StarFile:
    """All blocks of a file, in order. ``tail`` is the text after the last one."""

    __slots__ = ("blocks", "place")

    def __init__(self, blocks: Iterable[Block], place: str = "") -> None:
        self.blocks = list(blocks)
        self.place = place

    def block(self, name: str) -> Block:
        """The first block of that name (``""`` is plain ``data_``). Raises :class:`InputError` where there is none."""
        for block in self.blocks:
            if block.name == name:
                return block
        found = ", ".join(f"data_{block.name}" for block in self.blocks) or "none"
        raise InputError(f"has no block data_{name} (found: {found}).", self.place or None)

    def has(self, name: str) -> bool:
        """Whether there is a block of that name. RELION omits empty tables."""
        return any(block.name == name for block in self.blocks)

    def render(self) -> str:
        """The text of the file: identical to what was read, but for what was changed."""
        return "".join(block.render() for block in self.blocks)


def list_block(name: str, pairs: Mapping[str, StarValue]) -> Block:
    """A list as RELION writes it. Raises :class:`InputError` for a value that a STAR file cannot hold."""
    return Block(name, False, list(pairs), [[_cell(value) for value in pairs.values()]])


def loop_block(name: str, labels: Sequence[str], rows: Iterable[Sequence[StarValue]]) -> Block:
    """A table as RELION writes it. Raises :class:`InputError` for a value that a STAR file cannot hold."""
    return Block(name, True, labels, ([_cell(value) for value in row] for row in rows))


def new_file(blocks: Iterable[Block]) -> StarFile:
    """A new file in RELION's form; tables without rows are left out, as RELION does."""
    return StarFile(block for block in blocks if block.rows)


def read(path: Path) -> StarFile:
    """Read a file. Raises :class:`InputError` with the line where it is not a whole STAR file."""
    return parse(read_text(path), str(path))


def read_columns(path: Path, block: str, labels: Sequence[str]) -> dict[str, list[str]]:
    """Some columns of one block. Raises :class:`InputError` where the block or a label is missing."""
    table = read(path).block(block)
    return {label: table.column(label) for label in labels}


def parse(text: str, place: str = "") -> StarFile:
    """Parse the text of a STAR file; ``place`` names it in errors. Raises :class:`InputError` with the line."""
    _refuse_foreign(text, place)
    lines = _lines(text)
    blocks: list[Block] = []
    pending: list[str] = []
    position, count = 0, len(lines)
    while position < count:
        line = lines[position]
        word = line.strip(" \t\n")
        if word.startswith("data_"):
            pending.append(line)
            name = "".join(word[5:].split()[:1])
            position = _read_block(lines, position + 1, name, pending, blocks, place)
            pending = []
        elif word == "" or word.startswith("#"):
            pending.append(line)
            position += 1
        else:
            where = "before the first data_ block" if not blocks else "after the end of a table (a blank line ends it)"
            raise InputError(f"has text {where}: {word[:40]!r}.", place or None, position + 1)
    if not blocks:
        raise InputError("has no data_ block: it is not a STAR file.", place or None)
    blocks[-1]._tail += "".join(pending)
    for block in blocks:
        block.place = place
    return StarFile(blocks, place)


def _refuse_foreign(text: str, place: str) -> None:
    if "\r" in text:
        line = text.count("\n", 0, text.index("\r")) + 1
        raise InputError("has Windows line ends, which RELION refuses: convert it with dos2unix.", place or None, line)
    binary = [text.index(letter) for letter in _BINARY if letter in text]
    if binary:
        line = text.count("\n", 0, min(binary)) + 1
        raise InputError("holds binary data: it is not a STAR file, or it is damaged.", place or None, line)
    if not text.strip():
        raise InputError("is empty: it is not a STAR file (yet).", place or None)


def _lines(text: str) -> list[str]:
    parts = text.split("\n")
    lines = [part + "\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def _read_block(lines: list[str], position: int, name: str, head: list[str], blocks: list[Block], place: str) -> int:
    """Read the list or table after a ``data_`` line into ``blocks``; returns the position after it."""
    labels: list[str] = []
    values: list[str] = []
    texts: list[str] = []
    waiting = head
    while position < len(lines):
        line = lines[position]
        word = line.strip(" \t\n")
        if word == "loop_" or word.startswith(("loop_ ", "loop_\t")):
            if labels:
                # RELION allows a table after a list in one block; it becomes a second block without a header.
                _finish_list(name, labels, values, texts, head, blocks)
                head = waiting
            return _read_loop(lines, position, name, head, blocks, place)
        if word.startswith("data_"):
            break
        if word == "" or word.startswith("#"):
            waiting.append(line)
            position += 1
            continue
        if not word.startswith("_"):
            raise InputError(f"has text that is no label in data_{name}: {word[:40]!r}.", place or None, position + 1)
        cells = _tokens(line, place, position + 1)
        if len(cells) < 2:
            raise InputError(f"has no value for {cells[0]}.", place or None, position + 1)
        if len(cells) > 2:
            raise InputError(
                f"has more than one value for {cells[0]}; quote a value with blanks.", place or None, position + 1
            )
        if not line.endswith("\n"):
            raise _cut_off(place, position + 1)
        label = cells[0][1:]
        if label in labels:
            raise InputError(f"gives {label} twice in data_{name}.", place or None, position + 1)
        if labels:
            line = "".join(waiting) + line
        waiting = []
        labels.append(label)
        values.append(cells[1])
        texts.append(line)
        position += 1
    after = [] if waiting is head else waiting
    _finish_list(name, labels, values, texts, head, blocks)
    # The line that ends the list belongs to it; comments after that belong to what follows.
    blocks[-1]._tail = "".join(line for line in after[:1] if not line.strip())
    return position - len(after) + bool(blocks[-1]._tail)


def _finish_list(
    name: str, labels: list[str], values: list[str], texts: list[str], head: list[str], blocks: list[Block]
) -> None:
    row = Row(values)
    row.raw = ""
    block = Block(name, False, labels, [row])
    block._head = "".join(head)
    block._tail = ""
    block._pair_text = {label: (text, value) for label, text, value in zip(labels, texts, values, strict=True)}
    blocks.append(block)


def _read_loop(lines: list[str], start: int, name: str, head: list[str], blocks: list[Block], place: str) -> int:
    position = start + 1
    labels: list[str] = []
    end_of_labels = position
    while position < len(lines):
        word = lines[position].strip(" \t\n")
        if word.startswith("_"):
            label = word.split("#", 1)[0].split()[0][1:]
            if label in labels:
                raise InputError(f"gives the column {label} twice in data_{name}.", place or None, position + 1)
            labels.append(label)
            end_of_labels = position + 1
        elif word != "" and not word.startswith("#"):
            break
        position += 1
    if not labels:
        raise InputError(f"has a table without labels in data_{name}.", place or None, start + 1)
    rows, end = _read_rows(lines, position, labels, name, place)
    if not rows:
        position = end = end_of_labels
    block = Block(name, True, labels, rows)
    block._head = "".join(head)
    block._label_text = "".join(lines[start:position])
    block._parsed_labels = tuple(labels)
    block._tail = "".join(line for line in lines[end : end + 1] if not line.strip())
    blocks.append(block)
    return end + bool(block._tail)


def _read_rows(lines: list[str], position: int, labels: list[str], name: str, place: str) -> tuple[list[Row], int]:
    """The rows from ``position`` on; a blank line, a ``data_`` line or the end of the file ends them."""
    count = len(labels)
    rows: list[Row] = []
    total = len(lines)
    comments = ""
    while position < total:
        line = lines[position]
        if _is_plain(line):
            cells = line.split()
        elif line.lstrip(" \t").startswith("#"):
            comments += line
            position += 1
            continue
        else:
            cells = _tokens(line, place, position + 1)
        if len(cells) != count:
            if not cells or (len(cells) == 1 and cells[0].startswith("data_")):
                break
            if count == 2 and len(cells) == 1:
                # RELION reads old option tables with "label <nothing>" as an empty value.
                cells.append("")
            else:
                much = "many" if len(cells) > count else "few"
                raise InputError(
                    f"has a row with too {much} columns in data_{name}: {len(cells)} where there are {count} labels.",
                    place or None,
                    position + 1,
                )
        elif count == 1 and cells[0].startswith("data_"):
            break
        if line[-1] != "\n":
            raise _cut_off(place, position + 1)
        row = Row(cells)
        row.raw = comments + line if comments else line
        comments = ""
        rows.append(row)
        position += 1
    if comments:
        position -= comments.count("\n") + (not comments.endswith("\n"))
    return rows, position


def _cut_off(place: str, line: int) -> InputError:
    return InputError(
        "ends in the middle of a line: it was cut off while it was written (if not, end it with a newline).",
        place or None,
        line,
    )


def _tokens(line: str, place: str = "", number: int | None = None) -> list[str]:
    """The words of one line by RELION's rules (src/strings.cpp: nextTokenInSTAR)."""
    cells = []
    for match in _TOKEN.finditer(line.rstrip("\n")):
        kind = match.lastgroup
        cell = match[kind] if kind else ""
        if kind == "plain":
            if cell.startswith("#"):
                break
            if cell[0] in "\"'":
                raise InputError("has a quote that is not closed.", place or None, number)
        else:
            cell = cell.replace(BEL, "")
        cells.append(cell)
    return cells


def _is_plain(line: str) -> bool:
    """Whether splitting at blanks gives the words of a line: no quotes, no comment, no foreign blanks."""
    return line.isascii() and '"' not in line and "'" not in line and "#" not in line


def _row_cells(raw: str, count: int) -> list[str]:
    line = raw.rstrip("\n")
    if "\n" in line:
        line = line[line.rindex("\n") + 1 :]
    cells = line.split() if _is_plain(line) else _tokens(line)
    if count == 2 and len(cells) == 1:
        cells.append("")
    return cells


def _new_row(row: Sequence[str]) -> str:
    cells = []
    for position, cell in enumerate(row):
        if isinstance(cell, _Number):
            cells.append(cell.rjust(_NUMBER_WIDTH))
        else:
            cells.append(_quoted(cell, first=position == 0).rjust(_STRING_WIDTH))
    return " ".join(cells) + " \n"


def _edited_row(raw: str, row: Sequence[str]) -> str:
    """The row's text with only the changed cells replaced, in their columns."""
    line = raw.rstrip("\n")
    before, line = (line[: line.rindex("\n") + 1], line[line.rindex("\n") + 1 :]) if "\n" in line else ("", line)
    parts = [before]
    end = 0
    position = 0
    for match in _TOKEN.finditer(line):
        kind = match.lastgroup or "plain"
        if position >= len(row) or (kind == "plain" and match[kind].startswith("#")):
            break
        old = match[kind] if kind == "plain" else match[kind].replace(BEL, "")
        segment = line[end : match.end()]
        parts.append(segment if old == row[position] else _replaced(segment, row[position], position == 0))
        end = match.end()
        position += 1
    rest = line[end:]
    for cell in row[position:]:
        parts.append(
            " " + (cell.rjust(_NUMBER_WIDTH) if isinstance(cell, _Number) else _quoted(cell).rjust(_STRING_WIDTH))
        )
    return "".join(parts) + rest + "\n"


def _replaced(segment: str, cell: str, first: bool) -> str:
    """One cell's text with what is before it, for another value of the same column."""
    shown = str(cell) if isinstance(cell, _Number) else _quoted(cell, first=first)
    token = segment.lstrip(" \t")
    space = segment[: len(segment) - len(token)]
    separator = "" if first else " "
    if "\t" in space:
        return space + shown
    if len(space) > len(separator):
        width = len(segment) - len(separator)
    else:
        width = _NUMBER_WIDTH if isinstance(cell, _Number) else min(len(token), _STRING_WIDTH)
    return separator + shown.rjust(width)


def _edited_pair(raw: str, value: str) -> str:
    """A list's line with another value; comment lines before it stay."""
    body = raw.rstrip("\n")
    cut = body.rindex("\n") + 1 if "\n" in body else 0
    matches = list(_TOKEN.finditer(body[cut:]))
    column = cut + matches[0].end()
    rest = body[cut + matches[1].end() :]
    segment = body[column : cut + matches[1].end()]
    token = segment.lstrip(" \t")
    space = segment[: len(segment) - len(token)]
    if isinstance(value, _Number):
        shown = str(value)
        width = len(segment)
        return body[:column] + (space + shown if "\t" in space else (" " + shown).rjust(width)) + rest + "\n"
    return body[:column] + space + _quoted(value) + rest + "\n"


def _cell(value: StarValue) -> str:
    """A value as the text of a cell, without quotes and padding, by RELION's rules for its type."""
    if isinstance(value, str):
        if _FORBIDDEN.search(value):
            raise InputError(
                f"a STAR file cannot hold the text {value[:60]!r}: it has line breaks or control characters."
            )
        return value
    if isinstance(value, (bool, int)):
        return _Number(int(value))
    if isinstance(value, float):
        return _Number(format_float(value))
    return "[" + ",".join(format(_finite(float(item)), ".12g") for item in value) + "]"


def format_float(value: float) -> str:
    """A number as RELION prints a double: 12 characters, six decimals (five below zero), or with an exponent.

    Raises :class:`InputError` for NaN and infinity, which would spread through a refinement.
    """
    _finite(value)
    kind = "e" if 0 < abs(value) < 0.001 or abs(value) > 100000 else "f"
    return format(value, f".{5 if value < 0 else 6}{kind}")[:12]


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise InputError(f"a STAR file may not hold the number {value}.")
    return value


def _quoted(value: str, first: bool = False) -> str:
    """A string with quotes where RELION needs them, and where a bare one would be read as something else."""
    if value == "":
        return '""'
    keyword = value.startswith("#") or (first and value.startswith(("_", ";", "data_", "loop_")))
    if value[0] not in "\"'" and " " not in value and "\t" not in value and not keyword:
        return value
    last = len(value) - 1
    parts = ['"']
    for position, letter in enumerate(value):
        if letter == '"' and position < last and (position == last - 1 or value[position + 1] in " \t"):
            parts.append(BEL)
        parts.append(letter)
    parts.append('"')
    return "".join(parts)
