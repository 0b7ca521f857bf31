"""The settings of site, user and project together, and the file that each comes from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from crboost_tui.cli._common import add_json, add_project, columns, find_project, print_json, project_or_none
from crboost_tui.terminal import Terminal

if TYPE_CHECKING:
    from core.project.site import Site


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    add_json(parser)
    parser.add_argument(
        "--relion",
        action="store_true",
        help='print the variables with which RELION offers the same queue: eval "$(crboost config --relion)"',
    )


def run(options: argparse.Namespace) -> int:
    from core.project.site import load_site
    from crboost_tui.data import config_dir

    root = find_project(options.project) if options.project else project_or_none(None)
    site = load_site(root, config_dir())
    if options.relion:
        return _relion(site, config_dir(), options.json)
    if options.json:
        print_json([{"setting": value.path, "value": value.value, "origin": value.origin} for value in site.values])
        return 0
    terminal = Terminal.of()
    for line in columns([(value.path, str(value.value), value.origin) for value in site.values]):
        print(terminal.text(line))
    return 0


def _relion(site: Site, data: Path, as_json: bool) -> int:
    from core.cluster.quoting import variable
    from core.cluster.template import relion_variables

    template = site.qsub.template or str(data / "qsub" / "slurm.sh")
    variables = relion_variables(site.qsub.model_copy(update={"template": template}), site.resources)
    if as_json:
        print_json(variables)
    else:
        for name, value in variables.items():
            print(f"export {variable(name, value)}")
    return 0
