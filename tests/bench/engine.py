"""The engine's own appetite: processor and memory while it waits, memory over many events, one step with many tasks.

``python -m tests.bench.engine ROOT`` is the process that :func:`growth` measures.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from core.engine import requests
from core.engine.engine import Engine
from core.engine.reading import load_status
from core.engine.states import TaskState
from tests.bench.command_line import EIGHT_JOBS, SERIES, TILTS, fill_status
from tests.rehearsed import DATA, rehearsal, start_engine, wait_for
from tests.synthetic import make_project

IDLE_SECONDS = 30.0
EVENTS_PER_HOUR = 3600 * 5


def idle(folder: Path) -> dict[str, float]:
    """Three tasks sleep; nothing else happens. The worker has its own process and is not counted."""
    root = rehearsal(folder, series=3, settings={"seconds": 300.0})
    requests.run(root, DATA)
    engine = start_engine(root)
    try:
        wait_for(lambda: _running(root) >= 3, 60.0, "for three running tasks")
        time.sleep(5.0)
        before = _cpu_seconds(engine.pid)
        time.sleep(IDLE_SECONDS)
        used = _cpu_seconds(engine.pid) - before
        memory = _resident_mb(engine.pid)
    finally:
        requests.ask(root, "stop")
        engine.wait(60)
    return {"engine_idle_cpu_percent": 100.0 * used / IDLE_SECONDS, "engine_memory_mb": memory}


def growth(folder: Path) -> dict[str, float]:
    """Resident memory after an hour's equivalent of events, less what it was after the first tenth of them."""
    root = make_project(folder / "project", 50)
    measured = subprocess.run(
        [sys.executable, "-m", "tests.bench.engine", str(root)], check=True, capture_output=True, text=True
    )
    early, late = map(float, measured.stdout.split())
    return {"engine_memory_growth_mb": late - early}


def _drive(root: Path) -> None:
    """Five events a second for an hour, a step of the engine after each."""
    engine = Engine(root, DATA, lambda: None)
    keys = engine.plan.series
    life = (TaskState.QUEUED, TaskState.RUNNING, TaskState.RUNNING, TaskState.WAITING)
    for number in range(EVENTS_PER_HOUR):
        if number == EVENTS_PER_HOUR // 10:
            print(_resident_mb(os.getpid()))
        key = keys[number // len(life) % len(keys)]
        fields = {"attempt": number, "progress": (number % 100) / 100, "fingerprint": f"{number:012x}"}
        engine.ledger.set_task("fsMotionAndCtf", key, life[number % len(life)], **fields)
        engine.step()
    print(_resident_mb(os.getpid()))
    engine.finish()


def step_of_many_tasks(folder: Path) -> dict[str, float]:
    """One step of a project of 2,000 series x 8 jobs after a task has ended: what the engine does all day. Without the
    snapshot, which is written every few seconds."""
    root = make_project(folder / "project", SERIES, TILTS, EIGHT_JOBS)
    fill_status(root)
    engine = Engine(root, DATA, lambda: None)
    taken = []
    for key in engine.plan.series[:20]:
        settled = time.monotonic() + 1.0
        while engine.worker.busy or time.monotonic() < settled:
            engine.step()
            time.sleep(0.02)
        engine.ledger.save(force=True)
        engine.ledger.set_task("fsMotionAndCtf", key, TaskState.DONE, attempt=2, ended=time.time())
        engine.gathering.dirty.update(engine.plan.jobs)
        begun = time.perf_counter()
        engine.step()
        taken.append(time.perf_counter() - begun)
    engine.finish()
    return {"engine_step_16000_tasks_ms": 1000.0 * median(taken)}


def _running(root: Path) -> int:
    return sum(job.states.count(TaskState.RUNNING.value) for job in load_status(root).jobs)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise AssertionError(f"process {pid} has no memory")


if __name__ == "__main__":
    _drive(Path(sys.argv[1]))
