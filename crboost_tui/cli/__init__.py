"""The command line: one module for each command, imported when that command is used.

A command module has ``add_arguments(parser)`` and ``run(options) -> int``. What it prints on standard output is data;
what it has to say beside that goes to standard error.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

GROUPS: dict[str, dict[str, str]] = {
    "Begin": {
        "demo": "a rehearsed pipeline over a small synthetic session",
        "inspect": "look at movies and mdocs before a project is made",
        "new": "make a project",
        "add": "add movies and mdocs to a project",
        "relink": "after the raw data moved",
    },
    "Describe": {
        "jobs": "the job types there are",
        "schema": "the parameters of a job type",
        "set": "set parameters, instrument and acquisition values, decisions",
        "config": "the site's settings and where each comes from",
        "doctor": "what works on this host and what does not",
    },
    "Look ahead": {
        "plan": "what would run, and what stands in the way",
        "render": "print the script that would run for one task",
        "rehearse": "the whole pipeline with stand-ins, through the real queue",
        "export": "the pipeline as a bash script, or as a scheme for RELION",
    },
    "Run": {
        "run": "run everything, or a pilot of some series",
        "stop": "stop running tasks",
        "hold": "start no new tasks of some jobs or series",
        "release": "end a hold",
        "retry": "run again what failed or is stale",
        "redo": "run again what is finished; its products go to Trash first",
        "exclude": "leave series or tilts out",
        "include": "take them in again",
        "engine": "be the engine of a project (run starts it by itself)",
    },
    "Watch": {
        "status": "series by jobs, and what needs you",
        "queue": "what runs and what waits, and for what",
        "logs": "the output of one task",
    },
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"crboost: {message}. See: {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def parse(arguments: Sequence[str]) -> tuple[Callable[[argparse.Namespace], int], argparse.Namespace]:
    """The command's ``run`` and its options. Ends the process for ``--help``, ``--version`` and wrong use."""
    commands = {name: sentence for group in GROUPS.values() for name, sentence in group.items()}
    if arguments and arguments[0] in commands:
        name = arguments[0]
        module = importlib.import_module(f"crboost_tui.cli.{name}")
        parser = _Parser(
            prog=f"crboost {name}",
            description=(module.__doc__ or "").strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(parser)
        run: Callable[[argparse.Namespace], int] = module.run
        return run, parser.parse_args(list(arguments[1:]))
    parser = _Parser(
        prog="crboost",
        usage="crboost [PROJECT]\n       crboost COMMAND ...",
        description=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("project", nargs="?", metavar="PROJECT", help="open the app on this project (a folder)")
    parser.add_argument("--version", action="store_true", help="print the version and end")
    return _open_app, parser.parse_args(list(arguments))


def _overview() -> str:
    lines = ["Cryo-electron tomography from raw movies to averages, on a cluster. Without a command: the app.", ""]
    for title, group in GROUPS.items():
        lines.append(f"{title}:")
        lines.extend(f"  {name:<9} {sentence}" for name, sentence in group.items())
    lines += ["", "crboost COMMAND --help tells more. Exit codes: 0 good, 1 the work failed, 2 wrong use or input."]
    return "\n".join(lines)


def _open_app(options: argparse.Namespace) -> int:
    if options.version:
        from importlib.metadata import version

        print(f"crboost {version('crboost')}")
        return 0
    from core.errors import InputError
    from crboost_tui.cli._common import find_project, project_or_none
    from crboost_tui.project_list import PIPELINE_FILE

    text: str | None = options.project
    if text is not None and not text.startswith((".", "/", "~")) and "/" not in text and project_or_none(text) is None:
        raise InputError(f"There is no command and no project {text!r}. See: crboost --help")
    root = project_or_none(text)
    if root is None and Path(text or ".", PIPELINE_FILE).is_file():
        root = Path(text or ".").resolve()
    elif text is not None:
        root = find_project(text)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError("The app needs a terminal. Without one, use: crboost status")
    from crboost_tui.app import open_app

    return open_app(root)
