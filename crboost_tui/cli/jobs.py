"""The job types there are, with what each one needs and makes."""

from __future__ import annotations

import argparse

from crboost_tui.cli._common import add_json, columns, print_json
from crboost_tui.terminal import Terminal, shorten


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.jobs._registry import job_types

    types = list(job_types().values())
    if options.json:
        print_json(
            [
                {
                    "name": kind.name,
                    "title": kind.title,
                    "summary": kind.summary,
                    "scope": kind.scope.value,
                    "takes": [{"name": slot.name, "kind": slot.kind, "required": slot.required} for slot in kind.slots],
                    "makes": list(kind.provides),
                    "tools": list(kind.tools),
                    "relion": kind.relion_label,
                }
                for kind in types
            ]
        )
        return 0
    terminal = Terminal.of()
    lines = columns([(kind.name, kind.scope.value, kind.summary) for kind in types])
    for line in lines:
        print(terminal.text(shorten(line, terminal.width)))
    return 0
