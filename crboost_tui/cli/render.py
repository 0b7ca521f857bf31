"""Print exactly the script that would run for one task.

crboost render tsCtf TS_01
"""

from __future__ import annotations

import argparse
import sys

from crboost_tui.cli._common import add_json, add_project, find_project, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    parser.add_argument("job", metavar="JOB", help="a job of the pipeline")
    parser.add_argument("series", metavar="SERIES", help="a tilt series (or a cohort's key)")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.engine.rendering import render_task
    from crboost_tui.data import config_dir

    script = render_task(find_project(options.project), config_dir(), options.job, options.series)
    if options.json:
        print_json({"job": options.job, "series": options.series, "script": script})
    else:
        sys.stdout.write(script)
    return 0
