"""Add movies and mdocs to a project. Series that it has keep their ids.

crboost add --frames '/data/s2/*.eer' --mdocs '/data/s2/*.mdoc'
"""

from __future__ import annotations

import argparse

from core.errors import InputError
from crboost_tui.cli._common import add_json, add_project, find_project, print_json, say
from crboost_tui.cli.inspect import add_data, as_json, overview_lines, progress_bar
from crboost_tui.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    add_data(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.project import data

    root = find_project(options.project)
    if not options.mdocs:
        raise InputError("Say where the mdocs are: --mdocs '/data/session/*.mdoc'")
    found = data.add_data(root, options.frames, options.mdocs, progress=progress_bar("mdocs"))
    if options.json:
        print_json({**as_json(found), "added": list(found.added)})
        return 0
    for line in overview_lines(found, Terminal.of()):
        print(line)
    say(f"{len(found.added)} new tilt series. They run with the next: crboost run")
    return 0
