"""What a check found: one line for a person, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``name`` says what was looked at, ``found`` what is there, ``advice`` what to do ("" where nothing is to be
    done). ``seconds``: how long it took. ``group`` and ``seconds`` are filled in by whoever runs the check."""

    name: str
    state: State
    found: str
    advice: str = ""
    group: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Check:
    """``look`` yields findings, each as soon as it knows it: those that came before a time limit are kept.

    ``name`` stands for the check itself where it breaks or does not end within ``seconds``; ``late``: what to do then;
    ``about``: what it is that does not answer then.
    """

    group: str
    name: str
    look: Callable[[], Iterable[Finding]]
    seconds: float = 10.0
    late: str = ""
    about: str = ""


def ok(name: str, found: str, advice: str = "") -> Finding:
    return Finding(name, "ok", found, advice)


def warning(name: str, found: str, advice: str) -> Finding:
    return Finding(name, "warning", found, advice)


def failed(name: str, found: str, advice: str) -> Finding:
    return Finding(name, "failed", found, advice)
