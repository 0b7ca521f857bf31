"""What a person sees of a line of a log: its last state, plain, and whether it tells of trouble."""

from __future__ import annotations

import re

LONGEST_LINE = 4000
_ESCAPES = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])"
)  # colours and cursor moves; titles and links; the short ones

_ERRORS = re.compile(
    r"""(?<![\w./-])(?:
        traceback | \w*exception | errno | \w+error | segmentation\ fault | segfault | core\ dumped
        | out\ of\ memory | oom(?:[ -]?kill(?:ed|er)?)? | killed | abort(?:ed|ing)? | fatal | panic | failed | failure
        | cannot\ (?:open|read|write|find|allocate|create|access) | command\ not\ found | permission\ denied
        | no\ such\ file | no\ space\ left | invalid\ option | terminate\ called | cuda_error\w*
    )(?!\w) | (?<![\w./-])errors?(?![\w./-])""",
    re.IGNORECASE | re.VERBOSE,
)
_NO_ERRORS = re.compile(
    r"""\b(?:no|0|zero|without|any)\ (?:\w+\ )?(?:errors?|failures?)\b | \b(?:0\ failed|failed:?\ 0)\b
        | \b(?:mean|average|median|residual|rms|standard|std|r\.m\.s\.?|fit(?:ting)?|alignment|total|weighted|estimated|
              phase|angular|max(?:imum)?|min(?:imum)?|final)\ (?:\w+\ )?errors?\b
        | \berrors?\ (?:mean|per|of|bars?|weighted|and\ sd|rate|in\ (?:nm|px|pixels?))\b""",
    re.IGNORECASE | re.VERBOSE,
)
_WARNINGS = re.compile(r"(?<![\w./-])(?:\w*warn(?:ing)?s?|deprecated|caution)(?![\w./-])", re.IGNORECASE)

ERROR_WORDS = (
    b"error", b"exception", b"traceback", b"killed", b"oom", b"out of memory", b"fault", b"dumped", b"abort", b"fatal",
    b"panic", b"fail", b"cannot", b"not found", b"denied", b"no such", b"no space", b"invalid", b"terminate", b"errno",
)  # fmt: skip
"""Words of which every line that :func:`trouble` calls an error has one (in lower case)."""


def plain(raw: bytes) -> bytes:
    """Without escape sequences (colours, cursor, titles)."""
    return _ESCAPES.sub(b"", raw) if b"\x1b" in raw else raw


def shown(raw: bytes) -> str:
    """A line as it is shown: nothing in it can reach a terminal but printable characters."""
    text = capped(fold(plain(raw).decode("utf-8", "replace")))
    if "\t" in text:
        text = text.expandtabs(8)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char.isspace() else "" for char in text)


def trouble(line: str) -> str:
    """``error``, ``warning`` or "": what a line seems to tell, judged by its words. ``0 errors`` and ``residual
    error`` are none."""
    if _ERRORS.search(line):
        return "error" if _ERRORS.search(_NO_ERRORS.sub("", line)) else ""
    return "warning" if _WARNINGS.search(line) and not re.search(r"\b(?:no|0) warnings?\b", line, re.IGNORECASE) else ""


def fold(line: str) -> str:
    """What a terminal shows of a line with carriage returns: its last state that is not empty."""
    if "\r" not in line:
        return line
    return next((state for state in reversed(line.split("\r")) if state), "")


def capped(line: str) -> str:
    """A line of a bearable length, with a mark where it was cut."""
    return line[:LONGEST_LINE] + "…" if len(line) > LONGEST_LINE else line
