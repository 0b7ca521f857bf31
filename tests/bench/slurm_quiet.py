"""What the controller is asked while nothing changes: sixteen tasks run, more wait, and three people look on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from core.engine import requests
from core.engine.reading import load_status
from core.engine.states import TaskState
from tests.bench.slurm import SLOTS, bench_cluster, resting_project
from tests.kills import CRBOOST
from tests.rehearsed import DATA, start_engine, wait_for

SERIES, READERS = 40, 3
TASK_SECONDS = 3600.0
SETTLING_SECONDS = 60.0
"""The engine asks less and less often; this is how long it is given to come to that."""
MINUTES = 2.0


def quiet(folder: Path) -> dict[str, float]:
    """All that clients ask, less what counting it costs."""
    with bench_cluster(folder) as cluster:
        root = resting_project(folder / "quiet", SERIES, 1, {"median_seconds": TASK_SECONDS})
        requests.run(root, DATA)
        engine = start_engine(root)
        watch = [*CRBOOST, "status", "--watch", str(root)]
        readers = [subprocess.Popen(watch, stdout=subprocess.DEVNULL) for _ in range(READERS)]
        try:
            wait_for(lambda: _counts(root) == (SLOTS, SERIES - SLOTS), 60.0, "for running tasks")
            time.sleep(SETTLING_SECONDS)
            cluster.reset_rpcs()
            time.sleep(60.0 * MINUTES)
            asked = cluster.rpcs()
            assert _counts(root) == (SLOTS, SERIES - SLOTS)
            assert [reader.poll() for reader in readers] == [None] * READERS
        finally:
            for reader in readers:
                reader.kill()
                reader.wait()
            requests.ask(root, "stop")
            engine.wait(60)
    print(f"asked in {MINUTES:g} minutes: {asked}", file=sys.stderr)
    return {"slurm_rpcs_per_minute_quiet": sum(asked.values()) / MINUTES}


def _counts(root: Path) -> tuple[int, int]:
    """How many tasks run, and how many wait in the queue."""
    states = [state for job in load_status(root).jobs for state in job.states]
    return states.count(TaskState.RUNNING.value), states.count(TaskState.QUEUED.value)
