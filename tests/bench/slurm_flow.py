"""How fast a project flows through Slurm: 40 series, 4 steps, 16 slots, tasks that are mostly short and sometimes long.

It is compared with an ideal scheduler of the same durations, which needs no time for anything, and with the same tasks
on the same Slurm step after step, where each step waits for the slowest series of the one before.
"""

from __future__ import annotations

import heapq
import os
import sys
import time
from pathlib import Path
from statistics import mean

from core.engine import requests
from core.engine.plan import make_plan
from tests.bench.jobs.rest import Parameters, rest_seconds
from tests.bench.slurm import SLOTS, bench_cluster, resting_project, state_time
from tests.real.slurm_project import calls
from tests.rehearsed import DATA, done_attempts, run_engine

SERIES, STEPS = 40, 4
MEDIAN_SECONDS, SIGMA = 3.0, 1.0
SEEDS = (1, 2, 3)
Durations = list[list[float]]
"""By step, then series."""


def flow(folder: Path) -> dict[str, float]:
    """Both from the first ``sbatch`` to the end of the last task, means of the three seeds."""
    over_ideal, over_barrier = [], []
    with bench_cluster(folder):
        for seed in SEEDS:
            load = os.getloadavg()[0]
            root = _project(folder / f"flow{seed}", seed)
            flowing = _run(root, f"rest{STEPS}")
            barrier = _project(folder / f"barrier{seed}", seed)
            one_by_one = sum(_run(barrier, f"rest{step}") for step in range(1, STEPS + 1))
            durations = _durations(root, seed)
            best = ideal(durations, SLOTS)
            best_step_by_step = sum(ideal([step], SLOTS) for step in durations)
            print(
                f"seed {seed}: flow {flowing:.1f} s, ideal {best:.1f} s; step by step {one_by_one:.1f} s, ideal "
                f"{best_step_by_step:.1f} s; load {load:.1f} to {os.getloadavg()[0]:.1f}",
                file=sys.stderr,
            )
            over_ideal.append(flowing / best)
            over_barrier.append(flowing / one_by_one)
    return {"slurm_flow_over_ideal": mean(over_ideal), "slurm_flow_over_barrier": mean(over_barrier)}


def _project(folder: Path, seed: int) -> Path:
    parameters = {"median_seconds": MEDIAN_SECONDS, "sigma": SIGMA, "seed": seed}
    return resting_project(folder, SERIES, STEPS, parameters)


def _run(root: Path, to: str) -> float:
    """Run all that is new up to this step; how long it took from the first ``sbatch`` to the end of the last task."""
    begun = time.time()
    requests.run(root, DATA, to=to)
    status = run_engine(root, seconds=600.0)
    job = status.job(to)
    assert set(done_attempts(root).values()) == {1} and set(job.states) == {"+"}, (root, job.causes)
    first = min(t for call in calls(root, "sbatch") if (t := float(call["t"])) >= begun)
    return max(state_time(root, status, to, key) for key in status.series) - first


def _durations(root: Path, seed: int) -> Durations:
    keys = make_plan(root, DATA).series
    steps = [
        Parameters(median_seconds=MEDIAN_SECONDS, sigma=SIGMA, seed=seed, step=step) for step in range(1, STEPS + 1)
    ]
    return [[rest_seconds(values, key) for key in keys] for values in steps]


def ideal(durations: Durations, slots: int) -> float:
    """When a scheduler is through that knows everything at once: whenever a slot is free it takes the first task, in
    the order (step, series), whose step before is over."""
    now = 0.0
    ready = [(0, index) for index in range(len(durations[0]))]
    running: list[tuple[float, int, int]] = []
    while ready or running:
        while ready and len(running) < slots:
            step, index = heapq.heappop(ready)
            heapq.heappush(running, (now + durations[step][index], step, index))
        now, step, index = heapq.heappop(running)
        if step + 1 < len(durations):
            heapq.heappush(ready, (step + 1, index))
    return now
