"""The settings of site, user and project together, and the file that each comes from.

crboost config                             every value, below the file that it comes from
crboost config init --images /groups/sif   write a first conf.yaml from what is found on this host
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import InputError
from crboost_tui.cli._common import add_json, add_project, find_project, folded, print_json, project_or_none, say
from crboost_tui.terminal import Terminal, cell_width

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
    first = parser.add_argument_group("with init in place of PROJECT")
    first.add_argument("--to", metavar="FILE", help="write here (by default ~/.config/crboost/conf.yaml)")
    first.add_argument("--images", action="append", default=[], metavar="DIR", help="a folder with .sif files")
    first.add_argument("--force", action="store_true", help="replace a file that is there")


def run(options: argparse.Namespace) -> int:
    from core.project.site import load_site
    from crboost_tui.data import config_dir

    if options.project == "init":
        return _init(options)
    if options.to or options.images or options.force:
        raise InputError("--to, --images and --force are for: crboost config init")
    root = find_project(options.project) if options.project else project_or_none(None)
    site = load_site(root, config_dir())
    if options.relion:
        return _relion(site, config_dir(), options.json)
    if options.json:
        print_json([{"setting": value.path, "value": value.value, "origin": value.origin} for value in site.values])
        return 0
    for line in lines(site, Terminal.of()):
        print(line)
    return 0


def lines(site: Site, terminal: Terminal) -> list[str]:
    """The settings below the file that each comes from, long values folded."""
    by_origin: dict[str, list[tuple[str, str]]] = {}
    for each in site.values:
        by_origin.setdefault(each.origin, []).append((each.path, str(each.value)))
    told: list[str] = []
    for origin, settings in by_origin.items():
        told += ["", terminal.paint(origin, "1")] if told else [terminal.paint(origin, "1")]
        names = max(cell_width(name) for name, _ in settings)
        for name, value in settings:
            first, *rest = folded(value, terminal.width - names - 4)
            told.append(f"  {name}{' ' * (names - cell_width(name))}  {first}".rstrip())
            told += [" " * (names + 4) + line for line in rest]
    return [terminal.text(line) for line in told]


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


def _init(options: argparse.Namespace) -> int:
    from core.checks.first_conf import first_conf
    from core.files import replace_text, write_error
    from core.project.site import user_config
    from crboost_tui.data import config_dir

    path = Path(options.to).expanduser().absolute() if options.to else user_config()
    if path.exists() and not options.force:
        raise InputError("is there already: name another file with --to, or replace it with --force.", path)
    images = [Path(folder).expanduser().absolute() for folder in options.images]
    for folder in images:
        if not folder.is_dir():
            raise InputError("is no folder.", folder)
    text, found = first_conf(config_dir(), images)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path.parent, error) from error
    replace_text(path, text)
    if options.json:
        print_json({"file": str(path), "found": found})
        return 0
    for line in found:
        print(Terminal.of().text(line))
    say(f"Wrote {path}. Next: crboost doctor")
    return 0
