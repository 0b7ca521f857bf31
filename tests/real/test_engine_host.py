"""Where an engine lives: single passes as cron makes them, and an engine that is a job of Slurm itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from core.engine import attempts, engine_job, requests
from core.engine.__main__ import once
from core.engine.engine_job import submit_engine_job
from core.engine.lease import read_lease
from core.engine.reading import load_status
from core.project.layout import ProjectPaths
from tests.kills import CRBOOST
from tests.real.cluster import PrivateCluster
from tests.real.conftest import MakeCluster
from tests.real.site import Site
from tests.real.slurm import wait_until
from tests.real.slurm_project import calls, site_conf, slurm_project, stand_in
from tests.rehearsed import DATA, done_attempts, run_engine, start_engine, states, wait_for

MOTION = "fsMotionAndCtf"


def test_passes_alone_bring_a_run_to_its_end(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, seconds=1)
    requests.run(root, DATA, to="tsImport")
    seen = []
    for _ in range(12):
        status = run_engine(root, "--once", seconds=30)
        assert status.engine.state == "ended"
        seen.append("".join(states(status).get(job, "") for job in (MOTION, "tsImport")))
        if states(status).get("tsImport") == "+++":
            break
        time.sleep(1)
    assert re.fullmatch(r"[q>]{3}\.{3}", seen[0]) and seen[-1] == "++++++", seen
    assert any(re.fullmatch(r"\+{3}[q>]{3}", one) for one in seen), seen
    assert set(done_attempts(root).values()) == {1}
    assert len(calls(root, "squeue")) <= 2 * len(seen)


def test_a_pass_waits_until_it_knows_how_a_forgotten_task_ended(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "VERDICT_SECONDS", 3.0)
    cluster = make_cluster(nodes=1, gpus=0, min_job_age=2)
    root = slurm_project(tmp_path, series=2)
    stand_in(root, fail="fs_motion_and_ctf:Position_2:fail")
    requests.run(root, DATA, to=MOTION)
    assert once(root, DATA) == 0
    assert set(states(load_status(root))[MOTION]) <= set("q>")
    wait_until(lambda: cluster.jobs() == [], lambda: "Slurm to forget them", 30)
    began = time.monotonic()
    assert once(root, DATA) == 0
    assert states(load_status(root))[MOTION] == "+x"
    assert time.monotonic() - began < 20  # looks that show nothing new come ever less often


def hosted(**more: Any) -> str:
    return site_conf(engine={"host": "slurm", "minutes": 2, "resources": {"cpus": 1, "memory_gb": 1}}, **more)


def crboost(*words: str, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CRBOOST, *words], capture_output=True, text=True, timeout=seconds, check=False)


def engine_jobs(cluster: PrivateCluster) -> dict[str, str]:
    """State of each job that was to be an engine."""
    return {row.job_id: row.state for row in cluster.jobs() if row.name.startswith("crboost-engine-")}


def test_an_engine_that_is_a_job_takes_a_run_to_its_end(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path)
    done = crboost("run", str(root), "--to", MOTION, "--engine", "slurm", "--wait", seconds=60)
    assert done.returncode == 0, done.stderr
    assert "submitted to Slurm as job" in done.stderr
    status = load_status(root)
    assert states(status)[MOTION] == "+++"
    assert set(done_attempts(root).values()) == {1}
    wait_until(lambda: set(engine_jobs(cluster).values()) == {"COMPLETED"}, lambda: str(engine_jobs(cluster)), 10)
    assert not ProjectPaths(root).engine_job.exists()


def test_an_engine_that_is_a_job_hands_over_to_its_successor_in_time(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_cluster(nodes=1, gpus=0)
    root = slurm_project(tmp_path, seconds=12, conf=hosted())
    with monkeypatch.context() as patch:
        patch.setattr(engine_job, "heir_seconds", lambda minutes: 8.0)
        submit_engine_job(root, DATA)
    wait = subprocess.Popen(
        [*CRBOOST, "run", str(root), "--to", "tsImport", "--wait"], stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: states(load_status(root)).get(MOTION) == ">>>", what="for running tasks")
    wait_for(lambda: _epoch(root) == 2, what="for the successor")
    stand_in(root)
    said = wait.communicate(timeout=60)[1]
    assert wait.returncode == 0, said
    assert _epoch(root) == 2
    assert states(load_status(root))["tsImport"] == "+++"
    assert set(done_attempts(root).values()) == {1}
    wait_until(lambda: list(engine_jobs(cluster).values()) == ["COMPLETED"] * 2, lambda: str(engine_jobs(cluster)), 10)
    assert not ProjectPaths(root).engine_job.exists()


def _epoch(root: Path) -> int:
    lease = read_lease(ProjectPaths(root).lease)
    return 0 if lease is None else lease.epoch


def test_an_engine_whose_job_is_killed_or_requeued_loses_nothing(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(nodes=1, gpus=0)
    root = slurm_project(tmp_path, seconds=6, conf=hosted())
    crboost("run", str(root), "--to", "tsImport")
    wait_for(lambda: states(load_status(root)).get(MOTION) == ">>>", what="for running tasks")
    (first,) = engine_jobs(cluster)
    lease = read_lease(ProjectPaths(root).lease)
    assert lease is not None
    os.kill(lease.pid, signal.SIGKILL)
    cluster.wait_states(first, "FAILED")
    assert load_status(root).engine.state == "died"
    assert "submitted to Slurm" in crboost("run", str(root), "--to", "tsImport").stderr
    wait_for(lambda: _epoch(root) == 2 and load_status(root).engine.state == "running", what="for the second")
    second = max(engine_jobs(cluster), key=int)
    cluster.run("scontrol", "requeue", second)
    wait_for(lambda: _epoch(root) == 3, 40, "for the second, again")
    stand_in(root)
    wait_for(lambda: states(load_status(root))["tsImport"] == "+++", 40, "for the end of the run")
    wait_for(lambda: load_status(root).engine.state == "ended", what="for the engine's end")
    assert set(done_attempts(root).values()) == {1}
    assert len(engine_jobs(cluster)) == 2


def test_an_engines_job_in_a_full_queue_is_submitted_once_and_said(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(nodes=1, cpus=2, gpus=0)
    filling = cluster.submit("--exclusive", command="sleep 300", folder=tmp_path)
    cluster.wait_states(filling, "RUNNING")
    root = slurm_project(tmp_path, conf=hosted())
    assert "submitted to Slurm as job" in crboost("run", str(root), "--to", "importmovies").stderr
    (job,) = engine_jobs(cluster)
    assert f"job {job} is in Slurm's queue" in crboost("run", str(root), "--to", MOTION).stderr
    assert "engine's own job waits" in crboost("queue", str(root)).stdout
    assert "engine's own job waits" in crboost("status", str(root)).stdout
    assert engine_jobs(cluster) == {job: "PENDING"}

    # It was cancelled meanwhile: whoever asks next has another one submitted.
    cluster.run("scancel", job)
    assert "submitted to Slurm as job" in crboost("run", str(root), "--to", MOTION).stderr
    # One that lives elsewhere meanwhile is left alone.
    here = start_engine(root)
    wait_for(lambda: states(load_status(root)).get(MOTION) == "qqq", what="for tasks in the queue")
    second = max(engine_jobs(cluster), key=int)
    cluster.run("scontrol", "update", f"JobId={second}", "Priority=1000000")
    cluster.run("scancel", filling)
    cluster.wait_states(second, "COMPLETED", "FAILED")
    assert here.wait(60) == 0
    assert _epoch(root) == 1
    assert states(load_status(root))[MOTION] == "+++"
    assert set(done_attempts(root).values()) == {1}


def test_while_the_queue_takes_no_more_an_engine_makes_room_for_its_successor(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = hosted(resources={"account": "tiny"})
    conf = conf.replace('"cpus": 1, "memory_gb": 1}}', '"cpus": 1, "memory_gb": 1, "account": "tiny"}}')
    root = slurm_project(tmp_path, series=6, seconds=1.5, conf=conf)
    with monkeypatch.context() as patch:
        patch.setattr(engine_job, "heir_seconds", lambda minutes: 5.0)
        requests.run(root, DATA, to=MOTION)
        submit_engine_job(root, DATA)
    wait_for(lambda: _epoch(root) == 2, 60, what="for the successor")
    wait_for(lambda: states(load_status(root))[MOTION] == "+" * 6, 60, "for the end of the run")
    wait_for(lambda: load_status(root).engine.state == "ended", what="for the engine's end")
    assert set(done_attempts(root).values()) == {1}
    assert "no successor could be submitted" in ProjectPaths(root).engine_log.read_text()
