"""What the figures of Slurm have in common: a cluster of 16 CPUs on this machine, and projects whose tasks sleep."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import core.jobs
from core.engine.status import Status
from tests.bench import jobs
from tests.bench.figures import NotMeasured
from tests.real.cluster import PrivateCluster, missing_programs
from tests.rehearsed import rehearsal

SLOTS = 16
JOBS = str(Path(jobs.__file__).parent)
CONF = """\
submitter: slurm
watch: {{mode: {mode}}}
limits: {{min_free_gb: 0.1}}
profiles:
  rest: {{cpus: 1, gpus: 0, memory_gb: 1, minutes: 60}}
"""


@contextmanager
def bench_cluster(folder: Path) -> Iterator[PrivateCluster]:
    """One node of 16 CPUs, each for one task at a time. It is the Slurm of this process and of those that it starts,
    and all of them know the job types of the bench."""
    if missing := missing_programs():
        raise NotMeasured(f"Slurm is not installed here ({', '.join(missing)}): make testbed installs it")
    known = folder / "site"
    known.mkdir()
    (known / "sitecustomize.py").write_text(f"import core.jobs\n\ncore.jobs.__path__.append({JOBS!r})\n")
    if JOBS not in core.jobs.__path__:
        core.jobs.__path__.append(JOBS)
    with (
        PrivateCluster(folder / "cluster", nodes=1, cpus=SLOTS, gpus=0, min_job_age=86_400) as cluster,
        mock.patch.dict(os.environ, SLURM_CONF=str(cluster.conf), PYTHONPATH=str(known)),
    ):
        yield cluster


def resting_project(
    folder: Path, series: int, steps: int, parameters: Mapping[str, float], *, mode: str = "auto"
) -> Path:
    """A project of ``steps`` steps (``rest1`` ...) in a row. ``mode``: how the engine watches for tasks that end."""
    pipeline: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        before = {"inputs": {"before": [f"rest{step - 1}"]}} if step > 1 else {}
        pipeline.append({"id": f"rest{step}", "type": "rest", "parameters": {**parameters, "step": step}, **before})
    return rehearsal(folder, series=series, tilts=3, pieces={"pipeline": pipeline}, conf=CONF.format(mode=mode))


def state_time(root: Path, status: Status, instance: str, key: str, suffix: str = "state") -> float:
    """When a task's only attempt wrote that it had ended (or another file)."""
    return (root / status.job(instance).folder / "tasks" / key / f"1.{suffix}").stat().st_mtime
