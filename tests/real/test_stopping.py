"""Stop, drain, hold, release and exclude: what runs and what waits in the queue, and nothing but ours."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from core.engine import requests
from core.engine.lease import watch_until_known
from core.engine.reading import load_status
from core.engine.start import stop_now
from core.project.layout import ProjectPaths
from tests.engine.driving import drive, engine_of, letters
from tests.real.cluster import PrivateCluster
from tests.real.conftest import MakeCluster
from tests.real.slurm_project import array_of, site_conf, slurm_project, stand_in
from tests.rehearsed import DATA, done_attempts, start_engine, states, wait_for

MOTION = "fsMotionAndCtf"
LIVE = ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED")


def live_jobs(cluster: PrivateCluster) -> list[str]:
    return [row.job_id for row in cluster.jobs() if row.state in LIVE]


def test_stop_cancels_what_runs_and_what_waits_and_only_ours(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(nodes=1, cpus=4, gpus=0)
    root = slurm_project(tmp_path, series=6, seconds=60)
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine, lambda: sorted(letters(engine, MOTION)) == sorted(">>>>qq"))
        token = cluster.run(
            "squeue", "-h", "-t", "all", "-j", array_of(engine, MOTION, "Position_1"), "-o", "%j"
        ).split()[0]
        similar = [
            cluster.submit(f"--job-name={name}", "--mem=100", command="sleep 60", folder=tmp_path)
            for name in (token[:-1], token.rpartition("-")[0], "test_REHEARSAL")
        ]
        requests.ask(root, "stop")
        began = time.monotonic()
        drive(engine, seconds=15)
        assert time.monotonic() - began < 8
        assert letters(engine, MOTION) == "ssssss"
        assert sorted(live_jobs(cluster)) == sorted(similar)
        cluster.run("scancel", *similar)
        stand_in(root)
        requests.run(root, DATA, to=MOTION)
        drive(engine, lambda: engine.ledger.status.engine.request == 3)
        drive(engine)
        assert letters(engine, MOTION) == "++++++"
    assert set(done_attempts(root).values()) == {1}


def test_stop_without_an_engine_makes_the_pass_itself(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, seconds=60)
    requests.run(root, DATA, to=MOTION)
    engine = start_engine(root)
    wait_for(lambda: states(load_status(root)).get(MOTION) == ">>>", what="for running tasks")
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    assert not watch_until_known(ProjectPaths(root).lease).alive
    requests.ask(root, "stop")
    assert "no engine" in stop_now(root, DATA)
    assert states(load_status(root))[MOTION] == "sss"
    assert not live_jobs(cluster)
    assert load_status(root).engine.state == "ended"


def test_a_drain_lets_run_what_runs_and_takes_the_rest_out_of_the_queue(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(nodes=1, cpus=2, gpus=0)
    root = slurm_project(tmp_path, series=4, seconds=3)
    requests.run(root, DATA, to="tsImport")
    with engine_of(root) as engine:
        drive(engine, lambda: sorted(letters(engine, MOTION)) == sorted(">>qq"))
        running = {
            key for key, state in zip(engine.ledger.status.series, letters(engine, MOTION), strict=True) if state == ">"
        }
        requests.ask(root, "drain")
        drive(engine, seconds=30)
        now = dict(zip(engine.ledger.status.series, letters(engine, MOTION), strict=True))
        assert {key for key, state in now.items() if state == "+"} == running
        assert {key for key, state in now.items() if state == "."} == now.keys() - running
        assert letters(engine, "tsImport") == "...."
        assert not live_jobs(cluster)
        stand_in(root)
        requests.run(root, DATA, to="tsImport")
        drive(engine, lambda: engine.ledger.status.engine.request == 3)
        drive(engine)
        assert letters(engine, "tsImport") == "++++"
    assert set(done_attempts(root).values()) == {1}


def test_in_a_pack_a_drain_lets_the_series_finish_that_runs(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=2, seconds=3, conf=site_conf(resources={"series_per_task": 2}))
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine, lambda: sorted(letters(engine, MOTION)) == sorted(">q"))
        before = letters(engine, MOTION)
        requests.ask(root, "drain")
        drive(engine, seconds=30)
        assert letters(engine, MOTION) == before.replace(">", "+").replace("q", ".")
        assert not live_jobs(cluster)
    assert set(done_attempts(root).values()) == {1}


def test_what_is_held_leaves_the_queue_until_it_is_released(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(nodes=1, cpus=1, gpus=0)
    root = slurm_project(tmp_path, series=3, seconds=4)
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine, lambda: sorted(letters(engine, MOTION)) == sorted(">qq"))
        series = engine.ledger.status.series
        first = series[letters(engine, MOTION).index(">")]
        held, other = (key for key in series if key != first)
        requests.ask(root, "hold", series=[held])
        drive(
            engine,
            lambda: engine.ledger.state(MOTION, held).value == "." and not engine.attempts.live.get((MOTION, held)),
        )
        stand_in(root)
        drive(engine, seconds=30)
        assert engine.ledger.state(MOTION, first).good and engine.ledger.state(MOTION, other).good
        assert "On hold" in engine.ledger.status.needs[0].sentence
        assert not live_jobs(cluster)
        requests.ask(root, "release", series=[held])
        drive(engine, lambda: engine.ledger.status.engine.request == 3)
        drive(engine)
        assert letters(engine, MOTION) == "+++"
    assert set(done_attempts(root).values()) == {1}


def test_a_job_is_held_and_released(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path)
    requests.run(root, DATA, to="tsImport")
    requests.ask(root, "hold", jobs=["tsImport"])
    with engine_of(root) as engine:
        drive(engine)
        assert (letters(engine, MOTION), letters(engine, "tsImport")) == ("+++", "...")
        requests.ask(root, "release", jobs=["tsImport"])
        drive(engine, lambda: engine.ledger.status.engine.request == 3)
        drive(engine)
        assert letters(engine, "tsImport") == "+++"


def test_a_waiting_series_that_is_excluded_leaves_the_queue(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(nodes=1, cpus=1, gpus=0)
    root = slurm_project(tmp_path, series=2, seconds=3)
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine, lambda: sorted(letters(engine, MOTION)) == sorted(">q"))
        waiting = engine.ledger.status.series[letters(engine, MOTION).index("q")]
        requests.ask(root, "exclude", series=[waiting])
        drive(engine, seconds=30)
        assert sorted(letters(engine, MOTION)) == ["+", "-"]
        assert not live_jobs(cluster)
    assert not any(waiting in task for task in done_attempts(root) if "job002" in task)
