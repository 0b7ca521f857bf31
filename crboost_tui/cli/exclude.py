"""Leave tilt series, or single tilts of them, out of everything that follows.

crboost exclude --series TS_01,TS_02
crboost exclude --tilts TS_03:000,040
"""

from __future__ import annotations

import argparse

from core.errors import InputError
from crboost_tui.cli._common import add_json, add_project, comma_list, find_project
from crboost_tui.cli._requests import serve, tilt_choice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    parser.add_argument("--series", type=comma_list, metavar="A,B", help="tilt series to be left out")
    parser.add_argument("--tilts", action="append", metavar="SERIES:TILT,TILT", help="tilts of one series, by id")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.engine import requests

    root = find_project(options.project)
    if bool(options.series) == bool(options.tilts):
        raise InputError("Say which: --series TS_01,TS_02 or --tilts TS_03:000,040")
    if options.series:
        request = requests.ask(root, "exclude", series=options.series)
    else:
        request = requests.ask_tilts(root, "exclude_tilts", tilt_choice(options.tilts))
    serve(root, options, request)
    return 0
