"""Take the whole pipeline through the real queue and templates with stand-ins for the tools.

It happens in a project of its own below .crboost/rehearsal/; the real project is not touched.
"""

from __future__ import annotations

import argparse

from crboost_tui.cli._common import add_json, add_project, find_project, say
from crboost_tui.cli._requests import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    parser.add_argument("--wait", action="store_true", help="follow to the end, exit code by the outcome")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.engine import requests
    from core.engine.rehearsal import make_rehearsal
    from crboost_tui.data import config_dir

    rehearsal = make_rehearsal(find_project(options.project))
    say(f"The rehearsal is {rehearsal}")
    request = requests.run(rehearsal, config_dir())
    serve(rehearsal, options, request)
    if not options.wait:
        return 0
    from crboost_tui.cli._follow import follow

    return follow(rehearsal, request.number)
