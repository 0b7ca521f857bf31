"""After the raw data moved: point the project's links to the new place. Nothing is copied.

crboost relink /old/place/session /new/place/session
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict

from core.errors import InputError
from crboost_tui.cli._common import add_json, add_project, find_project, print_json, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    parser.add_argument("old", metavar="OLD", help="the folder as it was")
    parser.add_argument("new", metavar="NEW", help="the folder as it is now")
    parser.add_argument("--anyway", action="store_true", help="even where movies are missing at the new place")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.project.data import relink

    root = find_project(options.project)
    done = relink(root, os.path.abspath(options.old), os.path.abspath(options.new), anyway=options.anyway)
    if options.json:
        print_json(asdict(done))
    elif done.done:
        say(f"{done.moved} movies are now found below {options.new}.")
    else:
        for path in (*done.missing, *done.different)[:20]:
            say(f"  not there, or another file: {path}")
    if done.done:
        return 0
    wrong = len(done.missing) + len(done.different)
    raise InputError(f"{wrong} movies are not at the new place; nothing was changed (--anyway does it all the same).")
