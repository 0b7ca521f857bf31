"""SerialEM's metadata files (``.mdoc``), as SerialEM, Tomo 5 and people's scripts write them.

A file is a header of ``key = value`` lines, title lines (``[T = ...]`` or ``T = ...``), then sections ``[ZValue = n]``,
``[FrameSet = n]`` or ``[MontSection = n]``. Values may hold ``=``. SerialEM repeats the header where an acquisition was
continued; a repeated header belongs to no section.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.errors import InputError
from core.files import read_error

HEADER_KEYS = frozenset({"PixelSpacing", "Voltage", "Version", "ImageFile", "ImageSize", "Montage", "DataMode", "T"})

_LARGEST_BYTES = 64 * 1024 * 1024
_MONTHS = {
    month: number
    for number, month in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_DATE = re.compile(
    r"\s*(?P<a>\d{1,4})[-/. ](?P<b>\d{1,2}|[A-Za-z]{3,9})[-/. ](?P<c>\d{1,4})[T ,]+"
    r"(?P<hour>\d{1,2})[:-](?P<minute>\d{2})[:-](?P<second>\d{2})(?:[.,](?P<fraction>\d+))?\s*(?P<half>[AaPp][Mm])?\s*$"
)
_AXIS = re.compile(r"tilt\s*axis\s*angle\s*[=:]\s*([-+]?\d+(?:\.\d*)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Section:
    """One section. ``kind`` is ``ZValue``, ``FrameSet`` or ``MontSection``; of a repeated key the last value counts."""

    kind: str
    number: int
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class Mdoc:
    """A whole file. ``complete`` is False where it was cut off: its last line has no end, or its last section lacks a
    key that all others of its kind have (two at least). A section still being written looks the same."""

    header: dict[str, str]
    titles: tuple[str, ...]
    sections: tuple[Section, ...]
    complete: bool


def read_mdoc(path: Path) -> Mdoc:
    """Read a file in UTF-8 (with or without BOM) or Latin-1. Raises :class:`InputError` where it is no mdoc."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise read_error(path, error) from error
    if len(data) > _LARGEST_BYTES:
        raise InputError(f"is larger than {_LARGEST_BYTES // 2**20} MB: it is no mdoc.", path)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise InputError("holds binary data (or is saved as UTF-16): it is no mdoc, or it is damaged.", path, line)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return parse_mdoc(text, str(path))


def parse_mdoc(text: str, place: str = "") -> Mdoc:
    """Parse the text of an mdoc; ``place`` names it in errors. Raises :class:`InputError` with the line."""
    ended = text.endswith(("\n", "\r"))
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    header: dict[str, str] = {}
    titles: list[str] = []
    sections: list[Section] = []
    values = header
    after_blank = False
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line:
            after_blank = True
            continue
        if line[0] == "[":
            inner, closed = (line[1:-1], True) if line[-1] == "]" else (line[1:], False)
            kind, separator, value = inner.partition("=")
            kind, value = kind.strip(), value.strip()
            if kind == "T":
                titles.append(value)
                values = header
            elif closed and separator and value.lstrip("-").isdecimal():
                values = {}
                sections.append(Section(kind, int(value), values))
            elif ended or number < len(lines):
                raise InputError(f"has a section header that cannot be read: {line[:60]!r}.", place or None, number)
            after_blank = False
            continue
        key, separator, value = line.partition("=")
        if not separator:
            continue
        key = key.rstrip()
        if after_blank and values is not header and key in HEADER_KEYS:
            values = header
        after_blank = False
        if values is header:
            if key == "T":
                titles.append(value.strip())
            else:
                header.setdefault(key, value.lstrip())
        else:
            values[key] = value.lstrip()
    if not header and not titles and not sections:
        sentence = "has no 'key = value' lines: it is no mdoc." if text.strip() else "is empty: it is no mdoc (yet)."
        raise InputError(sentence, place or None)
    return Mdoc(header, tuple(titles), tuple(sections), ended and _last_is_whole(sections))


def _last_is_whole(sections: list[Section]) -> bool:
    if not sections:
        return True
    last = sections[-1]
    others = [section.values for section in sections[:-1] if section.kind == last.kind]
    if len(others) < 2:
        return True
    return not [key for key in others[0] if key not in last.values and all(key in other for other in others)]


def parse_datetime(text: str) -> datetime | None:
    """The time of a ``DateTime`` value, or None where it cannot be read. No time zone is known.

    Forms: SerialEM's ``28-Apr-18  11:38:54`` and ``28-Apr-2018 11:38:54``, AreTomo's ``01-Aug-2024 15:27-36``,
    Tomo 5's ``2024-08-02 07:52:28`` with or without fractions, and the month by name or number.
    """
    match = _DATE.match(text)
    if match is None:
        return None
    first, middle, last = match["a"], match["b"], match["c"]
    year, day = (first, last) if len(first) == 4 else (last, first)
    month = _MONTHS.get(middle[:3].lower(), 0) if middle.isalpha() else int(middle)
    hour = int(match["hour"])
    if match["half"]:
        hour = hour % 12 + (12 if match["half"].lower() == "pm" else 0)
    full_year = int(year) if len(year) > 2 else int(year) + (2000 if int(year) < 80 else 1900)
    microsecond = int((match["fraction"] or "0")[:6].ljust(6, "0"))
    try:
        return datetime(full_year, month, int(day), hour, int(match["minute"]), int(match["second"]), microsecond)
    except ValueError:
        return None


def axis_from_titles(titles: Iterable[str]) -> float | None:
    """The tilt axis in degrees from a title line (``Tilt axis angle = 85.3, binning = 4``), None where none has it."""
    for title in titles:
        match = _AXIS.search(title)
        if match is not None:
            return float(match[1])
    return None


def base_name(sub_frame_path: str) -> str:
    r"""The file name of a ``SubFramePath``: ``D:\data\x.tif``, ``\\server\share\x.tif``, ``/data/x.tif``, ``x.tif``."""
    path = sub_frame_path.strip().strip('"')
    if not path.startswith("/"):
        path = path.replace("\\", "/")
    return path.rstrip("/").rpartition("/")[2]
