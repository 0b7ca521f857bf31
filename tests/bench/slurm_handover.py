"""From the end of one task to the start of its successor in Slurm, where slots are free.

Our part ends where ``sbatch`` is started; the rest is Slurm's. ``relion_schemer`` is given chains of the same durations
on the same Slurm. Their tasks last some seconds, since Slurm starts batch jobs on a clock of one second: where they end
at once it takes 1 s from one to the next, whoever submits them and however soon.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from core.engine import requests
from core.engine.reading import load_status
from core.project.layout import ProjectPaths
from tests.bench.as_user import measured_by_user
from tests.bench.jobs.rest import Parameters, rest_seconds
from tests.bench.schemer import relion_image, schemer_handovers
from tests.bench.slurm import bench_cluster, resting_project, state_time
from tests.real.slurm_project import calls
from tests.rehearsed import DATA, done_attempts, run_engine

SERIES, STEPS = 5, 6
RESTING = {"median_seconds": 4.0, "sigma": 0.3}
"""So slow that the budget of submissions is never used up: what is measured is the way of one task."""
CHAINS = 5
IN_CHAIN = {"median_seconds": 2.0, "sigma": 0.3}


def handover(folder: Path) -> dict[str, float]:
    """Medians of 25 handovers, with events and with polling at its usual pace."""
    with bench_cluster(folder):
        ours, whole = _handovers(resting_project(folder / "events", SERIES, STEPS, RESTING))
        _say("with events: ours", ours)
        _say("with events: to the next start", whole)
        ours_polling, whole = _handovers(resting_project(folder / "poll", SERIES, STEPS, RESTING, mode="poll"))
        _say("with polling: ours", ours_polling)
        _say("with polling: to the next start", whole)
    return {"slurm_handover_ours_median_s": median(ours), "slurm_handover_polling_median_s": median(ours_polling)}


def beside_schemer(folder: Path) -> dict[str, float]:
    """Medians of 25 handovers of each, one chain after the other. RELION is in a container, and Apptainer is not for
    root."""
    if os.getuid() == 0:
        return measured_by_user("slurm_handover_over_schemer", "schemer_handover_median_s")
    image = relion_image()
    ours: list[float] = []
    theirs: list[float] = []
    with bench_cluster(folder):
        for seed in range(CHAINS):
            chain = {**IN_CHAIN, "seed": seed}
            root = resting_project(folder / f"ours{seed}", 1, STEPS, chain)
            ours += _handovers(root)[1]
            (key,) = load_status(root).series
            durations = [
                rest_seconds(Parameters.model_validate({**chain, "step": step}), key) for step in range(1, STEPS + 1)
            ]
            theirs += schemer_handovers(folder / f"schemer{seed}", image, durations)
    _say("in a chain: ours to the next start", ours)
    _say("in a chain: relion_schemer", theirs)
    return {
        "slurm_handover_over_schemer": median(ours) / median(theirs),
        "schemer_handover_median_s": median(theirs),
    }


def _say(what: str, seconds: Sequence[float]) -> None:
    print(
        f"{what} {median(seconds):.3f} s, {min(seconds):.3f} to {max(seconds):.3f} s; load {os.getloadavg()[0]:.1f}",
        file=sys.stderr,
    )


def _handovers(root: Path) -> tuple[list[float], list[float]]:
    """Run it. Of each handover: from the end of a task to the ``sbatch`` of the next one, and to its start."""
    requests.run(root, DATA)
    status = run_engine(root, seconds=300.0)
    assert status.outcome() == "succeeded" and set(done_attempts(root).values()) == {1}, root
    submitted = submission_times(root)
    ours, whole = [], []
    for before, now in pairwise(job.id for job in status.jobs):
        for key in status.series:
            ended = state_time(root, status, before, key)
            ours.append(submitted[now, key] - ended)
            whole.append(state_time(root, status, now, key, "start") - ended)
    return ours, whole


def submission_times(root: Path) -> dict[tuple[str, str], float]:
    """When the ``sbatch`` of each task was started, by instance and key."""
    tokens = {}
    for line in ProjectPaths(root).submissions.read_text().splitlines():
        values = json.loads(line)
        tokens.update({(name, key): values["intent"] for name, key, _ in values.get("attempts", ())})
    started = {word: float(call["t"]) for call in calls(root, "sbatch") for word in call["call"]}
    return {task: started[f"--job-name={token}"] for task, token in tokens.items()}
