"""Make a project: look at the data, link it, and write crboost.yaml.

crboost new /scratch/ribosome --frames '/data/s1/*.eer' --mdocs '/data/s1/*.mdoc' --pipeline warp_to_tomograms
crboost new --pipelines        the pipelines to start from
"""

from __future__ import annotations

import argparse
from pathlib import Path

from core.errors import InputError
from crboost_tui.cli._common import add_json, columns, folded, print_json, say
from crboost_tui.cli.inspect import add_data, as_json, look, overview_lines
from crboost_tui.making import make_project
from crboost_tui.terminal import Terminal

DEFAULT_PIPELINE = "warp_to_tomograms"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", metavar="DIR", help="the new project's folder")
    add_data(parser)
    parser.add_argument("--pipeline", metavar="NAME", default=DEFAULT_PIPELINE, help="pipeline to start from")
    parser.add_argument("--pipelines", action="store_true", help="list the pipelines and end")
    parser.add_argument("--name", help="the project's name (by default its folder's)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="as crboost set does", dest="words"
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.cluster.quoting import words
    from crboost_tui.data import config_dir

    if options.pipelines:
        return _list_pipelines(config_dir() / "pipelines", options.json)
    if options.folder is None:
        raise InputError("Say where: crboost new DIR --mdocs PATTERN --frames PATTERN")
    root = Path(options.folder).expanduser().absolute()
    found = look(options) if options.mdocs else None
    make_project(root, options.name or root.name, found, options.pipeline, options.words)
    if options.json:
        print_json({"project": str(root), **({} if found is None else as_json(found))})
        return 0
    if found is not None:
        for line in overview_lines(found, Terminal.of()):
            print(line)
    say(f"Made {root}. Next: {words(['crboost', 'plan', options.folder])}")
    return 0


def _list_pipelines(folder: Path, json: bool) -> int:
    from core.project.pipelines import list_pipelines

    found = list_pipelines(folder)
    if json:
        print_json(
            [
                {"name": p.name, "title": p.title, "summary": p.summary, "jobs": [i.id for i in p.pipeline]}
                for p in found
            ]
        )
        return 0
    terminal = Terminal.of()
    heads = columns([(terminal.paint(pipeline.name, "1"), pipeline.title) for pipeline in found])
    for head, pipeline in zip(heads, found, strict=True):
        print(terminal.text(head))
        for line in folded(pipeline.summary, terminal.width - 4):
            print(terminal.text(f"    {line}"))
    return 0
