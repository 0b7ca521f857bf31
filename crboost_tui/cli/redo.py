"""Run again what is finished. Present products go to Trash first; what depends on them follows."""

from __future__ import annotations

import argparse

from core.errors import InputError
from crboost_tui.cli._common import add_choice, add_json, add_project, find_project
from crboost_tui.cli._requests import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    add_choice(parser, "redo")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.engine import requests
    from crboost_tui.data import config_dir

    if not options.jobs:
        raise InputError("Say which jobs: --jobs tsCtf,tsReconstruct")
    root = find_project(options.project)
    serve(root, options, requests.redo(root, config_dir(), jobs=options.jobs, series=options.series))
    return 0
