"""Run again what failed, was stopped or is stale, and only that, from clean products."""

from __future__ import annotations

import argparse

from crboost_tui.cli._common import add_choice, add_json, add_project, find_project
from crboost_tui.cli._requests import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    add_choice(parser, "retry")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.engine import requests
    from crboost_tui.data import config_dir

    root = find_project(options.project)
    serve(root, options, requests.retry(root, config_dir(), jobs=options.jobs, series=options.series))
    return 0
