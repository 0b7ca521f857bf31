"""Text that bash reads back as exactly the same bytes. The only place where arguments become shell text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.errors import InputError

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")


def quote(text: str) -> str:
    """``text`` as one word of bash. Raises :class:`InputError` for what no argument can hold (NUL, half characters)."""
    if "\0" in text:
        raise InputError(
            f"The value {text[:60]!r} contains a NUL character, which no command line or file name can hold."
        )
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InputError(f"The value {text[:60]!r} contains half of a character and cannot be written.") from error
    if _PLAIN.fullmatch(text) and not _ASSIGNMENT.match(text):
        return text
    return "'" + text.replace("'", "'\\''") + "'"


def words(arguments: Sequence[str]) -> str:
    """A whole command line."""
    return " ".join(quote(argument) for argument in arguments)


def variable(name: str, value: str) -> str:
    """``NAME=value`` as it stands after ``export``. Raises :class:`InputError` for a name that is none."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is not a name of an environment variable: letters, digits and underscores only.")
    return f"{name}={quote(value)}"


def comment(text: str) -> str:
    """``text`` on one line, for a comment or a log: everything that could end the line becomes a blank."""
    return "".join(character if character.isprintable() else " " for character in text)
