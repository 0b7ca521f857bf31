"""The terminal: what the app can draw there. Told from the environment, and by tmux itself where one is around us."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping

from core.checks.findings import Finding, ok, warning
from core.checks.probing import ask
from core.checks.surroundings import Surroundings

LEAST_COLUMNS, LEAST_LINES = 80, 24
ESCAPE_MS = 100
"""A longer wait after Esc is felt."""

_KITTY = ("xterm-kitty", "xterm-ghostty")
_SIXEL = ("foot", "mlterm", "contour", "yaft", "xterm-sixel")
_NO_UTF8 = "Set a UTF-8 locale before you start: export LC_ALL=C.UTF-8 (locale -a lists those that are there)."


def size_and_text(around: Surroundings) -> Iterator[Finding]:
    screen = around.screen
    if not screen.terminal:
        yield ok("terminal", "standard output is none: the app needs one, the commands do not")
    elif screen.columns < LEAST_COLUMNS or screen.lines < LEAST_LINES:
        found = f"{screen.columns} x {screen.lines} cells"
        yield warning("size", found, f"The app wants {LEAST_COLUMNS} x {LEAST_LINES} at least: make the window larger.")
    else:
        yield ok("size", f"{screen.columns} x {screen.lines} cells")
    plain = screen.encoding.lower().replace("-", "").replace("_", "")
    if plain == "utf8":
        yield ok("text", "UTF-8")
    else:
        yield warning("text", f"{screen.encoding or 'no encoding'}: states are shown as ASCII", _NO_UTF8)


def colours(around: Surroundings, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    term = environment.get("TERM", "")
    if not around.screen.terminal:
        return
    if term in ("", "dumb"):
        yield warning(
            "colours", f"TERM is {term or 'not set'}", "Start from a terminal, or: export TERM=xterm-256color"
        )
    elif environment.get("NO_COLOR"):
        yield ok("colours", f"none, because NO_COLOR is set (TERM={term})")
    elif environment.get("COLORTERM") in ("truecolor", "24bit") or term.endswith("-direct"):
        yield ok("colours", f"16 million (TERM={term})")
    elif "256color" in term or term in _KITTY or term.startswith(_SIXEL):
        yield ok("colours", f"256 (TERM={term}); export COLORTERM=truecolor where your terminal has more")
    else:
        yield warning("colours", f"TERM={term} promises 16 at most", "export TERM=xterm-256color if it has 256.")


def pictures(around: Surroundings, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """By what the terminal says of itself in the environment, which rarely passes through ssh: a guess."""
    if not around.screen.terminal:
        return
    protocol = picture_protocol(environment)
    if environment.get("TMUX"):
        yield ok("pictures", f"half blocks in tmux{f'; {protocol} outside of it' if protocol else ''}")
    elif protocol:
        yield ok("pictures", f"{protocol}, by what the environment says")
    else:
        yield ok("pictures", "half blocks: nothing in the environment tells of sixel or kitty")


def picture_protocol(environment: Mapping[str, str]) -> str:
    """``kitty``, ``sixel`` or "" where the environment tells of neither."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    konsole = environment.get("KONSOLE_VERSION", "")
    if term in _KITTY or environment.get("KITTY_WINDOW_ID") or program in ("ghostty", "WezTerm"):
        return "kitty"
    if term.startswith(_SIXEL) or program in ("iTerm.app", "mintty", "rio") or environment.get("WT_SESSION"):
        return "sixel"
    return "sixel" if konsole.isdecimal() and int(konsole) >= 220400 else ""


def tmux(around: Surroundings, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    if not environment.get("TMUX"):
        if environment.get("STY"):
            yield ok("tmux", "none, but GNU screen is around us; tmux shows more colours")
        elif shutil.which("tmux") is None:
            yield warning("tmux", "is not installed here", "The run survives your logout without it; the app does not.")
        elif around.screen.terminal:
            yield ok("tmux", "none around us: the run survives your logout, the app only inside tmux")
        return
    version = ask(["tmux", "-V"], 3.0)
    features = ask(["tmux", "display-message", "-p", "#{client_termname} #{client_termfeatures}"], 3.0)
    if not features.good:
        yield warning("tmux", features.why, "Detach and attach again; tmux does not answer for this window.")
        return
    yield ok("tmux", version.out.strip() or "is around us")
    name, _, known = features.out.strip().partition(" ")
    if name and "RGB" not in known.split(","):
        yield warning(
            "tmux", f"256 colours at most on {name}", f"In ~/.tmux.conf: set -as terminal-features ',{name}:RGB'"
        )
    wanted = (
        ("focus-events", ("-gv", "-sv"), ("on",), "the app cannot tell whether you look", "set -g focus-events on"),
        ("allow-passthrough", ("-gwv",), ("on", "all"), "no pictures and no OSC 9", "set -g allow-passthrough on"),
        ("set-clipboard", ("-sv", "-gv"), ("on", "external"), "y cannot copy", "set -s set-clipboard on"),
    )
    for option, scopes, good, consequence, line in wanted:
        value = _option(option, scopes)
        if value is not None and value not in good:
            yield warning("tmux", f"{option} is {value}: {consequence}", f"In ~/.tmux.conf: {line}")
    escape = _option("escape-time", ("-sv",))
    if escape is not None and re.fullmatch(r"\d+", escape) and int(escape) > ESCAPE_MS:
        yield warning(
            "tmux",
            f"escape-time is {escape}: so many ms pass before Esc is heard",
            "In ~/.tmux.conf: set -s escape-time 20",
        )


def _option(name: str, scopes: tuple[str, ...]) -> str | None:
    """The value of one of tmux's options, None for one that this tmux does not have."""
    for scope in scopes:
        answer = ask(["tmux", "show-options", scope, name], 3.0)
        if answer.good and answer.out.strip():
            return answer.out.strip()
    return None
