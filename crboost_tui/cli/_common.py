"""What the commands share: finding the project, lists in options, and printing."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import InputError
from core.project.layout import PROJECT_FILE
from crboost_tui.terminal import cell_width, is_utf8


def add_project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "project", nargs="?", metavar="PROJECT", help="project folder (by default this folder or one above it)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_choice(parser: argparse.ArgumentParser, verb: str) -> None:
    """``--jobs`` and ``--series``: which tasks a request is about."""
    parser.add_argument("--jobs", type=comma_list, metavar="A,B", help=f"only {verb} these jobs of the pipeline")
    parser.add_argument("--series", type=comma_list, metavar="A,B", help=f"only {verb} these tilt series")


def comma_list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def project_or_none(text: str | None) -> Path | None:
    """The project's absolute folder: ``text``, or the current folder or the nearest above it that holds one."""
    start = Path(text).expanduser() if text is not None else Path.cwd()
    if text is not None:
        if start.name == PROJECT_FILE:
            start = start.parent
        return start.resolve() if (start / PROJECT_FILE).is_file() else None
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder.resolve()
    return None


def find_project(text: str | None) -> Path:
    """As :func:`project_or_none`. Raises :class:`InputError` where there is no project."""
    found = project_or_none(text)
    if found is not None:
        return found
    if text is None:
        raise InputError(
            f"Neither this folder nor one above it is a project ({PROJECT_FILE} is not there). "
            "Name one, or make one with: crboost new"
        )
    if not Path(text).expanduser().exists():
        raise InputError("This folder does not exist.", text)
    raise InputError(f"This is not a project: {PROJECT_FILE} is not in it. Make one with: crboost new", text)


def print_json(value: Any) -> None:
    """One JSON document on standard output, ASCII where the terminal has no UTF-8."""
    print(json.dumps(value, ensure_ascii=not is_utf8(sys.stdout.encoding), indent=1, default=str))


def say(sentence: str) -> None:
    """Narration, on standard error."""
    print(sentence, file=sys.stderr)


def folded(text: str, width: int) -> list[str]:
    """A text as lines of at most ``width`` cells where its words allow it; what one copies (a path) stays whole."""
    return textwrap.wrap(text, max(20, width), break_long_words=False, break_on_hyphens=False) or [""]


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), gap: int = 2) -> list[str]:
    """Rows as aligned lines. ``right``: columns that are aligned to the right, as numbers are."""
    if not rows:
        return []
    widths = [max(cell_width(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = []
    for row in rows:
        parts = []
        for index, text in enumerate(row):
            space = " " * (widths[index] - cell_width(text))
            parts.append(space + text if index in right else text + space)
        lines.append((" " * gap).join(parts).rstrip())
    return lines
