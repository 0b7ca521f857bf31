"""Names: safe ids given once, safe link names, and what the names of movies say about tilt number and angle."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_STACK_SUFFIXES = (".mrc", ".st", ".mrcs", ".tif", ".tiff", ".eer", ".hdf", ".ali", ".rec")
_LONGEST_ID = 80
_LOOKS_LIKE_A_NUMBER = re.compile(r"[+-]?(\d[\d_]*(\.\d*)?(e[+-]?\d+)?|nan|inf|infinity|na|null|true|false)", re.I)


def series_name(mdoc: str) -> str:
    """What the microscope called the series: ``X`` for ``X.mrc.mdoc``, ``X.st.mdoc``, ``X.tif.mdoc`` and ``X.mdoc``."""
    name = mdoc.replace("\\", "/").rsplit("/", 1)[-1]
    if name.lower().endswith(".mdoc"):
        name = name[:-5]
    for suffix in _STACK_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def safe_id(name: str) -> str:
    """``name`` with everything but ASCII letters, digits, ``_`` and ``-`` replaced by ``_``.

    It never begins with ``-`` (an option to every tool), never contains "None" (RELION's word for nothing) in
    any case, and is never something that a table reader would turn into a number or a missing value (``01``, ``nan``):
    those get ``TS_`` before them.
    """
    text = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:_LONGEST_ID].lstrip("-") or "TS"
    text = re.sub("none", lambda found: found.group()[:2] + "-" + found.group()[2:], text, flags=re.I)
    return f"TS_{text}" if _LOOKS_LIKE_A_NUMBER.fullmatch(text) else text


class UniqueNames:
    """Gives each name out once; names that differ only in case count as the same."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {name.casefold() for name in taken}

    def has(self, name: str) -> bool:
        return name.casefold() in self._taken

    def give(self, name: str) -> str:
        """``name``, or with ``_2``, ``_3`` ... after it where it is taken."""
        result, number = name, 1
        while result.casefold() in self._taken:
            number += 1
            result = f"{name}_{number}"
        self._taken.add(result.casefold())
        return result


class LinkNames:
    """Names of the links in ``frames/``, unique without their extension too: tools name their products by the stem."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._stems = {_split(name)[0].casefold() for name in taken}

    def give(self, movie: str, series_id: str) -> str:
        """The movie's own name made safe; where it is taken, with the series' id before it."""
        stem, extension = _split(safe_file_name(movie))
        candidate, number = stem, 1
        while candidate.casefold() in self._stems:
            candidate = f"{series_id}_{stem}" if number == 1 else f"{series_id}_{stem}_{number}"
            number += 1
        self._stems.add(candidate.casefold())
        return candidate + extension


def safe_file_name(name: str) -> str:
    """``name`` with only ASCII letters, digits and ``._+-``, not beginning with ``-`` or ``.``."""
    text = re.sub(r"[^A-Za-z0-9._+-]", "_", name) or "_"
    return f"_{text}" if text[0] in "-." else text


def extension(name: str) -> str:
    """The part from the last dot on, in small letters; "" where there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _split(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem else (name, "")


@dataclass(frozen=True, slots=True)
class NameParts:
    """What a movie's name says after the name of its series: tilt number and angle in degrees, None where unsaid."""

    number: int | None
    angle_deg: float | None


_NUMBER_AND_ANGLE = re.compile(r"[_\s.-]?(\d{1,5})[_\s]?(?:\[([-+]?\d+(?:\.\d+)?)\]|([-+]?\d+(?:\.\d+)?)(?![\d]))")
_ANGLE = re.compile(r"[_\s]?(?:\[([-+]?\d+(?:\.\d+)?)\]|([-+]?\d+\.\d+)(?!\d))")
_NUMBER = re.compile(r"[_\s.-]?(\d{1,5})(?!\d)")


def name_parts(rest: str) -> NameParts:
    """Reads ``_000_0.0``, ``_012[-9.00]_EER``, ``_012_-33.0_Oct08_07.46.46``, ``_[12.0]``, ``_-33.0``, ``_7``.

    ``rest`` is the movie's stem after the name of its series.
    """
    found = _NUMBER_AND_ANGLE.match(rest)
    if found:
        angle = float(found.group(2) or found.group(3))
        if abs(angle) <= 90:
            return NameParts(int(found.group(1)), angle)
    found = _ANGLE.match(rest)
    if found:
        angle = float(found.group(1) or found.group(2))
        if abs(angle) <= 90:
            return NameParts(None, angle)
    found = _NUMBER.match(rest)
    return NameParts(int(found.group(1)) if found else None, None)


def owner(stem: str, names: set[str]) -> str | None:
    """The longest of the series' ``names`` with which a movie's stem begins, followed by no letter or digit:
    ``TS_1_2_003_6.0`` belongs to ``TS_1_2`` rather than to ``TS_1``."""
    for end in range(len(stem) - 1, 0, -1):
        if not stem[end].isalnum() and stem[:end] in names:
            return stem[:end]
    return None
