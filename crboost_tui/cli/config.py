"""The settings of site, user and project together, and the file that each comes from."""

from __future__ import annotations

import argparse

from crboost_tui.cli._common import add_json, add_project, columns, find_project, print_json, project_or_none
from crboost_tui.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.project.site import load_site
    from crboost_tui.data import config_dir

    root = find_project(options.project) if options.project else project_or_none(None)
    site = load_site(root, config_dir())
    if options.json:
        print_json([{"setting": value.path, "value": value.value, "origin": value.origin} for value in site.values])
        return 0
    terminal = Terminal.of()
    for line in columns([(value.path, str(value.value), value.origin) for value in site.values]):
        print(terminal.text(line))
    return 0
