"""The output of one task: its newest attempt, or the one that is named.

crboost logs tsCtf TS_01 --follow
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from core.engine.reading import load_status
from core.engine.states import TaskState
from core.engine.status import Status, position
from core.errors import InputError
from core.watch.log_text import shown
from crboost_tui.cli._common import add_json, add_project, find_project, print_json, say
from crboost_tui.matrix import slurm_text

PIECE_BYTES = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    parser.add_argument("job", metavar="JOB", help="a job of the pipeline")
    parser.add_argument("series", metavar="SERIES", help="a tilt series (or a cohort's key)")
    parser.add_argument("--attempt", type=int, metavar="N", help="this attempt instead of the newest")
    parser.add_argument("--err", action="store_true", help="the error output instead")
    parser.add_argument("--follow", action="store_true", help="go on as it grows, until the task has ended")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    root = find_project(options.project)
    status = load_status(root)
    path = log_path(root, status, options.job, options.series, attempt=options.attempt, err=options.err)
    if options.json:
        with open(path, "rb") as stream:
            text = stream.read(PIECE_BYTES).decode("utf-8", "replace")
        job = status.job(options.job)
        slurm = {"id": job.queue_ids.get(options.series, ""), **job.usage.get(options.series, {})}
        print_json({"job": options.job, "series": options.series, "path": str(path), "slurm": slurm, "text": text})
        return 0
    say(str(path))
    if told := slurm_text(status.job(options.job), options.series):
        say(told)
    offset = _print_from(path, 0, ended=not options.follow)
    while options.follow and _live(load_status(root), options.job, options.series):
        time.sleep(0.3)
        offset = _print_from(path, offset, ended=False)
    _print_from(path, offset)
    return 0


def log_path(
    root: Path, status: Status, job_id: str, key: str, *, attempt: int | None = None, err: bool = False
) -> Path:
    """The log of an attempt. Raises :class:`InputError` where the task has none yet."""
    job = status.job(job_id)
    index = position(status, job, key)
    if index is None:
        raise InputError(f"{job_id} has no task {key!r}.")
    number = attempt or job.attempts[index]
    if not job.folder or number < 1:
        raise InputError(f"{job_id} has not run for {key} yet: there is no log.")
    path = root / job.folder / "tasks" / key / f"{number}.{'err' if err else 'out'}"
    if not path.exists():
        raise InputError(f"There is no log of attempt {number} of {job_id} for {key} (yet).", path)
    return path


def _print_from(path: Path, offset: int, ended: bool = True) -> int:
    """Print what is new, in bounded pieces; a file that became shorter is begun again. A terminal gets whole lines
    (but the last of what has ``ended``) of printable characters only, anything else the bytes as they are."""
    terminal = sys.stdout.isatty()
    with open(path, "rb") as stream:
        if stream.seek(0, 2) < offset:
            offset = 0
        stream.seek(offset)
        while data := stream.readline(PIECE_BYTES) if terminal else stream.read(PIECE_BYTES):
            if terminal and not ended and not data.endswith(b"\n"):
                break
            offset += len(data)
            sys.stdout.buffer.write(f"{shown(data)}\n".encode() if terminal else data)
    sys.stdout.flush()
    return offset


def _live(status: Status, job_id: str, key: str) -> bool:
    job = status.job(job_id)
    index = position(status, job, key)
    return index is not None and TaskState(job.states[index]).live
