"""Which rows of the matrix are shown, and in which order: what a person searches for, failed ones only, worst first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from crboost_tui.matrix import Number
from crboost_tui.picture import Picture, PictureRow

_COMPARISON = re.compile(r"([a-z]+)(<=|>=|<|>)(-?[0-9.]*)$")
_BAD_FIRST = "!x?b>qs#o.+0-"
"""States from what deserves a look first to what is settled."""


@dataclass(frozen=True, slots=True)
class Choice:
    """``find``: words that must all fit, parts of a name or like ``ctf>8``. ``order``: "" as imported, ``name``,
    ``state``, or the word of a number."""

    find: str = ""
    failed: bool = False
    order: str = ""

    def words(self) -> str:
        """What is shown, "" where that is everything as it was imported."""
        order = self.order if self.order in ("", "name") else f"{self.order}, worst first"
        parts = [f"/{self.find}" if self.find else "", "failed only" if self.failed else "", order and f"by {order}"]
        return "   ".join(part for part in parts if part)


def orders(numbers: Sequence[Number]) -> list[str]:
    """The orders that there are, as one key goes through them."""
    return ["", "name", "state", *(column.word for column in numbers)]


def rows_shown(picture: Picture, choice: Choice) -> list[int]:
    """Indices of the rows, as they are shown. Cohort rows stay below the series."""
    words = choice.find.lower().split()
    every = [
        index
        for index, row in enumerate(picture.rows)
        if (row.trouble or not choice.failed) and all(_fits(row, word, picture.numbers) for word in words)
    ]
    if not choice.order:
        return every
    return sorted(every, key=lambda index: (picture.rows[index].cohort, _rank(picture, index, choice.order)))


def _fits(row: PictureRow, word: str, numbers: Sequence[Number]) -> bool:
    compared = _COMPARISON.match(word)
    column = None if compared is None else _column(numbers, compared[1])
    if compared is None or column is None:
        return word in row.name.lower()
    try:
        limit = float(compared[3])
    except ValueError:
        return True  # it is still being typed
    value = row.values[column] if column < len(row.values) else None
    if value is None:
        return False
    match compared[2]:
        case "<":
            return value < limit
        case ">":
            return value > limit
        case "<=":
            return value <= limit
    return value >= limit


def _column(numbers: Sequence[Number], word: str) -> int | None:
    return next((index for index, column in enumerate(numbers) if column.word.startswith(word)), None)


def _rank(picture: Picture, index: int, order: str) -> tuple[object, ...]:
    row = picture.rows[index]
    if order == "name":
        parts = re.split(r"([0-9]+)", row.name.lower())
        return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)
    if order == "state":
        known = [_BAD_FIRST.find(state) for state in row.cells if state]
        return (min(known, default=len(_BAD_FIRST)),)
    column = _column(picture.numbers, order)
    value = row.values[column] if column is not None and column < len(row.values) else None
    if column is None or value is None:
        return (1, 0.0)
    worst = picture.numbers[column].worst
    return (0, value if worst == "low" else -abs(value) if worst == "far" else -value)
