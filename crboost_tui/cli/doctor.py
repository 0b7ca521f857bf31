"""Look at this host, the site's settings and a project: what works, what does not, and what to do.

crboost doctor                       the host, and the project that this folder belongs to
crboost doctor /scratch/ribosome     the host and that project
crboost doctor --build               the commands that build the containers of the tools

A job of one CPU is sent through Slurm, and small files are written and removed. It ends within 30 s, whatever hangs.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import InputError
from crboost_tui.cli._common import add_json, add_project, find_project, print_json, project_or_none, say
from crboost_tui.terminal import Terminal, shorten

if TYPE_CHECKING:
    from core.checks.findings import Finding

_STATES = {"ok": "+", "warning": "!", "failed": "x"}
_MARKS = {"ok": "✓", "warning": "!", "failed": "✗"}
_WIDEST = 140


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    add_json(parser)
    parser.add_argument("--build", action="store_true", help="print the commands that build the containers, and end")


def run(options: argparse.Namespace) -> int:
    from core.checks.doctor import examine
    from core.checks.surroundings import Screen
    from crboost_tui.data import config_dir

    if options.build:
        return _build(options.json)
    terminal = Terminal.of()
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        columns, rows = 0, 0
    screen = Screen(sys.stdout.isatty(), columns, rows, sys.stdout.encoding or "")
    named: str | None = options.project
    begun = time.monotonic()
    findings = examine(
        lambda: find_project(named) if named is not None else project_or_none(None),
        config_dir(),
        Path(__file__).resolve().parents[2],
        screen,
        _progress() if sys.stderr.isatty() else None,
    )
    if options.json:
        print_json([_as_json(finding) for finding in findings])
    else:
        for line in lines(findings, terminal, time.monotonic() - begun):
            print(line)
    return 1 if any(finding.state == "failed" for finding in findings) else 0


def _build(as_json: bool) -> int:
    """The commands are printed, not run: each takes minutes to an hour, and a site may want them elsewhere."""
    from core.checks.building import read_recipe
    from core.cluster.quoting import words
    from crboost_tui.data import config_dir

    folder = config_dir().parent / "container_defs"
    recipes = [read_recipe(path) for path in sorted(folder.glob("*.def"))]
    if not recipes:
        raise InputError("The program's definition files are missing: install crboost again.", folder)
    if as_json:
        print_json([asdict(recipe) for recipe in recipes])
        return 0
    terminal = Terminal.of()
    for recipe in recipes:
        for line in recipe.about:
            print(terminal.text(terminal.paint(f"# {line}", "2")))
        for when, command in recipe.commands:
            if when:
                print(terminal.paint(f"# {when}:", "2"))
            print(words(command))
        print()
    say("Then name the images in conf.yaml, or have them found: crboost config init --images FOLDER")
    return 0


class _progress:
    """One line on standard error that tells which checks have not ended."""

    def __init__(self) -> None:
        self.terminal = Terminal.of(sys.stderr)

    def __call__(self, ended: int, left: Sequence[str]) -> None:
        text = f"  {ended} of {ended + len(left)} checks, waiting for {', '.join(left)}" if left else ""
        line = self.terminal.text(shorten(text, self.terminal.width - 1))
        print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)


def _as_json(finding: Finding) -> dict[str, str | float]:
    order = ("group", "name", "state", "found", "advice", "seconds")
    values = {**asdict(finding), "seconds": round(finding.seconds, 3)}
    return {name: values[name] for name in order}


def lines(findings: Sequence[Finding], terminal: Terminal, seconds: float) -> list[str]:
    """The findings by group: state, what was looked at, what was found; and below it what to do."""
    width = min(terminal.width, _WIDEST)
    names = max(len(finding.name) for finding in findings)
    indent = 2 + 10 + names + 2
    told: list[str] = []
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            told += ["", terminal.paint(group, "1")] if told else [terminal.paint(group, "1")]
        first, *rest = _wrapped(finding.found, width - indent)
        mark = terminal.state(_STATES[finding.state], f"{_MARKS[finding.state]} {finding.state}")
        space = " " * (8 - len(finding.state))
        told.append(f"  {mark}{space}{finding.name:<{names}}  {first}")
        told += [" " * indent + line for line in rest]
        if finding.advice:
            first, *rest = _wrapped(finding.advice, width - indent - 2)
            told.append(" " * indent + terminal.paint("→ ", "1") + first)
            told += [" " * (indent + 2) + line for line in rest]
    told += ["", f"  {_summary(findings, terminal)}    {seconds:.1f} s"]
    return [terminal.text(line) for line in told]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(20, width), break_on_hyphens=False) or [""]


def _summary(findings: Sequence[Finding], terminal: Terminal) -> str:
    counts = {state: sum(finding.state == state for finding in findings) for state in _STATES}
    words = {"ok": "ok", "warning": "warning" if counts["warning"] == 1 else "warnings", "failed": "failed"}
    return "  ".join(
        terminal.state(_STATES[state], f"{_MARKS[state]} {count} {words[state]}")
        for state, count in counts.items()
        if count
    )
