"""Be the engine of a project, in the foreground. crboost run starts one by itself.

crboost engine --once    one pass: for cron, and for sites that allow no long processes
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from core.engine.reading import load_status
from core.engine.states import TaskState
from core.engine.status import Status
from crboost_tui.cli._common import add_project, find_project

_TOLD = (
    TaskState.QUEUED, TaskState.RUNNING, TaskState.UNKNOWN, TaskState.DONE, TaskState.EMPTY, TaskState.FAILED,
    TaskState.BLOCKED, TaskState.STOPPED, TaskState.STALE, TaskState.NEEDS_YOU,
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    parser.add_argument("--once", action="store_true", help="make one pass and end")


def run(options: argparse.Namespace) -> int:
    from crboost_tui.data import config_dir

    root = find_project(options.project)
    command = [sys.executable, "-P", "-m", "core.engine", str(root), "--data", str(config_dir())]
    sys.stdout.flush()
    if not options.once:
        os.execv(command[0], command)
    code = subprocess.run([*command, "--once"], check=False).returncode
    if code == 0:
        print(one_pass(load_status(root)))
    return code if code >= 0 else 128 - code


def one_pass(status: Status) -> str:
    """What a pass has left behind, and whether it was the last that is needed."""
    counts = status.counts()
    told = [f"{counts[state]} {state.name.lower().replace('_', ' ')}" for state in _TOLD if counts[state]]
    left = sum(number for state, number in counts.items() if not state.settled and not state.live)
    told += [f"{left} not begun"] if left else []
    end = "" if any(not state.settled for state in counts) else "; nothing is left to do"
    return f"{status.name}: {', '.join(told) or 'no tasks'}{end}"
