"""Be the engine of a project, in the foreground. crboost run starts one by itself.

crboost engine --once    one pass: for cron, and for sites that allow no long processes
"""

from __future__ import annotations

import argparse
import os
import sys

from crboost_tui.cli._common import add_project, find_project


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    parser.add_argument("--once", action="store_true", help="make one pass and end")


def run(options: argparse.Namespace) -> int:
    from crboost_tui.data import config_dir

    root = find_project(options.project)
    command = [sys.executable, "-P", "-m", "core.engine", str(root), "--data", str(config_dir())]
    sys.stdout.flush()
    os.execv(command[0], [*command, "--once"] if options.once else command)
