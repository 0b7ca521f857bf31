"""The site's own command, called when a person should know: a job paused, the run finished, failed or stalled."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from core.engine.status import Status


def notify(command: Sequence[str], root: Path, name: str, sentence: str) -> None:
    """Start ``command NAME SENTENCE`` in the project folder and leave it to itself. One that fails stops nothing."""
    if command:
        with contextlib.suppress(OSError):
            subprocess.Popen(
                [*command, name, sentence],
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )


def end_sentence(status: Status) -> str:
    """What is to be said when an engine ends, "" where nothing is."""
    match status.outcome():
        case "succeeded":
            return "finished: all jobs succeeded"
        case "failed":
            failed = sum(job.states.count("x") for job in status.jobs)
            return f"failed: {failed} tasks failed"
        case "stale":
            return "finished, but some results are stale: their parameters changed since"
        case "needs you":
            return f"stalled: {status.needs[0].sentence}"
    return ""
