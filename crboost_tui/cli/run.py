"""Run the pipeline. An engine is started that survives this terminal; it ends by itself when all is done.

crboost run                                    everything
crboost run --series TS_01,TS_02 --to tsCtf    a pilot: everything else waits for the next: crboost run
crboost run --wait                             follow to the end; exit code 0 or 1 by the outcome
"""

from __future__ import annotations

import argparse

from crboost_tui.cli._common import add_choice, add_json, add_project, find_project
from crboost_tui.cli._requests import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    add_choice(parser, "run")
    parser.add_argument("--to", metavar="JOB", help="up to this job")
    parser.add_argument(
        "--engine",
        choices=("here", "slurm"),
        help="where the engine lives (by default as conf.yaml says): this host, or a job",
    )
    parser.add_argument("--wait", action="store_true", help="follow to the end, exit code by the outcome")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.engine import requests
    from crboost_tui.data import config_dir

    root = find_project(options.project)
    request = requests.run(root, config_dir(), series=options.series, to=options.to, jobs=options.jobs)
    serve(root, options, request, options.engine)
    if not options.wait:
        return 0
    from crboost_tui.cli._follow import follow

    scope = None
    if options.series or options.to or options.jobs:
        from core.engine.plan import make_plan
        from core.engine.wishes import selection

        plan = make_plan(root, config_dir(), request.version)
        scope = selection(request, plan.ancestors, plan.series)
    return follow(root, request.number, scope)
