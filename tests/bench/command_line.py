"""How long single commands take, from the start of their process to its end: the median of several runs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median

from core.engine.decisions import save_decisions
from core.engine.gathering import Gathering
from core.engine.ledger import Ledger
from core.engine.plan import make_plan
from core.engine.readiness import Readiness
from core.engine.states import JobState, TaskState
from core.engine.status import save_status
from core.engine.wishes import reduce_requests
from core.project.decisions import HANDEDNESS, Decision, tilt_axis_key
from core.project.layout import ProjectPaths
from tests.synthetic import DATA, WARP_PIPELINE, make_project, write_session

CRBOOST = [sys.executable, "-P", "-m", "crboost_tui.main"]
SERIES, TILTS, MDOCS = 2000, 60, 1000
EIGHT_JOBS = [*WARP_PIPELINE, {"id": "tsReconstruct__fine", "type": "tsReconstruct"}]


def _seconds(*arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run([*CRBOOST, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def help_text(_: Path) -> dict[str, float]:
    return {"help_s": median(_seconds("--help") for _ in range(9))}


def plan(folder: Path) -> dict[str, float]:
    root = make_project(folder / "project", SERIES, TILTS, EIGHT_JOBS)
    return {"plan_2000x60x8_s": median(_seconds("plan", "--json", str(root)) for _ in range(5))}


def status(folder: Path) -> dict[str, float]:
    root = make_project(folder / "project", SERIES, TILTS, EIGHT_JOBS)
    fill_status(root)
    return {"status_2000x60x8_s": median(_seconds("status", "--json", str(root)) for _ in range(5))}


def fill_status(root: Path) -> None:
    """A ``status.json`` as full as it gets: every task done and gathered, with its numbers, times and notes."""
    decided = (
        Decision(HANDEDNESS, "decided", "flip", "All of 2000 series agree."),
        Decision(tilt_axis_key("batch1"), "decided", 85.1, "The median of 5 series."),
    )
    save_decisions(ProjectPaths(root), {decision.key: decision for decision in decided})
    plan = make_plan(root, DATA)
    ledger = Ledger(ProjectPaths(root))
    ledger.adopt(plan, "bench", False)
    for number, job in enumerate(ledger.status.jobs, 1):
        job.folder, job.state = f"External/job{number:03d}", JobState.SUCCEEDED.value
        keys = ledger.status.keys(job)
        job.states = [TaskState.DONE.value] * len(keys)
        job.attempts = [1] * len(keys)
        job.cohort_series = {key: list(plan.jobs[job.id].tasks[key].cohort) for key in job.cohorts}
        job.fingerprints = [plan.expected(job.id, key) for key in keys]
        job.started = [1.79e9 + index for index in range(len(keys))]
        job.ended = [1.79e9 + index + 60.0 for index in range(len(keys))]
        job.numbers = {key: {"tilts": 60.0, "ctf_resolution_angstrom": 4.25, "defocus_um": 3.1} for key in keys}
        job.notes = {key: ["2 tilts were dropped by the alignment"] for key in keys[::10]}
    wishes = reduce_requests((), plan.ancestors, plan.series)
    gathering = Gathering(plan, ledger, Readiness(plan, ledger, wishes, frozenset()))
    for job in ledger.status.jobs:
        job.gathered = dict(gathering.marks(job.id))
        gathering.marks(job.id)
    save_status(ledger.paths, ledger.status)


def inspect(folder: Path) -> dict[str, float]:
    """1,000 mdocs of 41 tilts with their 41,000 movies, the progress bar drawn on a terminal."""
    write_session(folder / "whole", MDOCS, 41)
    write_session(folder / "half", MDOCS // 2, 41)
    whole = [_inspect_seconds(folder / "whole") for _ in range(3)]
    half = [_inspect_seconds(folder / "half") for _ in range(3)]
    return {"inspect_1000_mdocs_s": median(whole), "inspect_scaling_ratio": min(whole) / min(half)}


def _inspect_seconds(session: Path) -> float:
    ours, theirs = pty.openpty()
    drawn: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(ours, drawn))
    reader.start()
    begun = time.perf_counter()
    subprocess.run(
        [*CRBOOST, "inspect", "--json", "--frames", f"{session}/frames/*.mrc", "--mdocs", f"{session}/mdocs/*.mdoc"],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        check=True,
    )
    seconds = time.perf_counter() - begun
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert b"mdocs" in b"".join(drawn), "no progress bar was drawn"
    return seconds


def _drain(descriptor: int, into: list[bytes]) -> None:
    while True:
        try:
            data = os.read(descriptor, 65536)
        except OSError:
            return
        if not data:
            return
        into.append(data)
