"""Errors as sentences for the person who can do something about them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class CrboostError(Exception):
    """One clear sentence: what is wrong, where, and what to do. Never shown with a traceback.

    ``place`` is a file (with ``line`` where it is known) or a field; it is put before the sentence.
    """

    exit_code = 2

    def __init__(self, sentence: str, place: str | Path | None = None, line: int | None = None) -> None:
        self.sentence = sentence
        self.place = None if place is None else str(place)
        self.line = line
        super().__init__(str(self))

    def __str__(self) -> str:
        if self.place is None:
            return self.sentence
        where = self.place if self.line is None else f"{self.place}, line {self.line}"
        return f"{where}: {self.sentence}"


class InputError(CrboostError):
    """A wrong value, file or setting. Exit code 2."""


class ConflictError(CrboostError):
    """Somebody else changed or holds what was to be written. Exit code 2, nothing was written."""


class WorkFailed(CrboostError):
    """The work itself failed. Exit code 1."""

    exit_code = 1


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names for a sentence, the first ``most`` of them: ``a, b, c and 4 more``."""
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
