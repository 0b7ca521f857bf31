"""Stop running tasks and start no new ones. What is finished stays; crboost run goes on from there."""

from __future__ import annotations

import argparse

from crboost_tui.cli._common import add_choice, add_json, add_project, find_project
from crboost_tui.cli._requests import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    add_choice(parser, "stop")
    parser.add_argument("--drain", action="store_true", help="let what runs finish, start nothing new")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.engine import requests

    root = find_project(options.project)
    serve(
        root,
        options,
        requests.ask(root, "drain" if options.drain else "stop", jobs=options.jobs, series=options.series),
    )
    return 0
