"""A controller that stands still, or that starts again and has forgotten everything."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.engine import attempts, requests, slurm_queue
from core.engine import engine as engine_module
from core.engine.engine import Engine
from core.engine.states import TaskState
from tests.engine.driving import drive, engine_of, letters
from tests.real.cluster import PrivateCluster
from tests.real.conftest import MakeCluster
from tests.real.faults import check_once, notices, states_seen
from tests.real.slurm_project import FAST, array_of, site_conf, slurm_project, stand_in
from tests.rehearsed import DATA, wait_for

STEP = "fsMotionAndCtf"
IMPATIENT = site_conf(slurm={**FAST, "seconds": 5}, resources={"at_once": 2})
SLOW = [
    pytest.mark.skipif("not os.environ.get('CRBOOST_SLOW')", reason="two minutes twice: CRBOOST_SLOW=1"),
    pytest.mark.timeout(900),
]


@pytest.fixture(autouse=True)
def _moving(cluster: PrivateCluster) -> Iterator[None]:
    yield
    cluster.resume_controller()


def steps(engine: Engine, seconds: float) -> None:
    until = time.monotonic() + seconds
    drive(engine, until=lambda: time.monotonic() > until, seconds=seconds + 30)


@pytest.mark.parametrize("seconds", [10, pytest.param(120, marks=SLOW)])
def test_a_controller_that_stands_still_changes_nothing(
    cluster: PrivateCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    monkeypatch.setattr(slurm_queue, "UNANSWERED_SECONDS", min(seconds / 2, 30.0))
    root = slurm_project(tmp_path, series=4, conf=IMPATIENT)
    stand_in(root, seconds=seconds / 4)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        assert engine.slurm is not None
        engine.slurm.facts = engine.slurm.slurm.facts()
        cluster.pause_controller()
        # While submitting: sbatch is given up, but the controller takes the job when it goes on.
        drive(engine, until=lambda: "sbatch" in engine.ledger.status.queue.trouble, seconds=30)
        steps(engine, seconds)
        assert letters(engine, STEP) == "????"
        cluster.resume_controller()
        drive(engine, until=lambda: letters(engine, STEP).count(">") == 2, seconds=60)
        # While two run, which end meanwhile, and two wait.
        cluster.pause_controller()
        drive(engine, until=lambda: "+" in letters(engine, STEP) and "?" in letters(engine, STEP), seconds=3 * seconds)
        assert engine.ledger.status.queue.trouble
        cluster.resume_controller()
        drive(engine, until=lambda: "?" not in letters(engine, STEP), seconds=60)
        stand_in(root)
        drive(engine, seconds=60)
        check_once(root, engine, STEP)
        assert set(engine.ledger.job(STEP).attempts) == {1}


def test_a_controller_that_is_down_when_a_run_begins_and_goes_down_again(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(nodes=1, gpus=0)
    root = slurm_project(tmp_path, series=3, conf=site_conf(slurm={**FAST, "seconds": 5}))
    stand_in(root, seconds=4)
    requests.run(root, DATA, to=STEP)
    cluster.stop_controller()
    with engine_of(root) as engine:
        drive(engine, until=lambda: bool(engine.ledger.status.queue.trouble), seconds=30)
        assert letters(engine, STEP) == "ooo"
        cluster.start_controller()
        drive(engine, until=lambda: letters(engine, STEP) == ">>>", seconds=60)
        cluster.stop_controller()
        steps(engine, 6)
        cluster.start_controller()
        drive(engine, seconds=90)
        check_once(root, engine, STEP)
        assert set(engine.ledger.job(STEP).attempts) == {1}


def test_why_a_task_was_killed_is_not_guessed_while_the_controller_stands_still(
    cluster: PrivateCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "VERDICT_SECONDS", 1.0)
    root = slurm_project(tmp_path, series=2, conf=IMPATIENT)
    stand_in(root, seconds=60)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=lambda: letters(engine, STEP) == ">>", seconds=30)
        name = engine.ledger.job(STEP).queue_ids["Position_1"]
        cluster.run("scontrol", "update", f"JobId={name}", "Requeue=1")
        cluster.run("scontrol", "requeue", name)
        wait_for((root / engine.ledger.job(STEP).folder / "tasks" / "Position_1" / "1.state").exists)
        cluster.pause_controller()
        steps(engine, 5)
        assert letters(engine, STEP) == ">>"
        cluster.resume_controller()
        stand_in(root)
        drive(engine, until=lambda: engine.ledger.job(STEP).attempts == [2, 1], seconds=30)
        assert "was put back into the queue" in notices(root)
        cluster.run("scancel", array_of(engine, STEP, engine.ledger.status.series[1]))
        drive(engine, seconds=30)
    assert letters(engine, STEP) == "+x"


def test_a_new_engine_takes_up_tasks_of_which_nothing_was_known(
    cluster: PrivateCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "UNANSWERED_SECONDS", 1.0)
    root = slurm_project(tmp_path, series=4, conf=IMPATIENT)
    stand_in(root, seconds=12)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=lambda: letters(engine, STEP) == ">>qq", seconds=30)
        cluster.pause_controller()
        drive(engine, until=lambda: letters(engine, STEP) == "????", seconds=30)
    cluster.resume_controller()
    with engine_of(root) as engine:
        drive(engine, until=lambda: letters(engine, STEP) == ">>qq", seconds=10)
        stand_in(root)
        drive(engine, seconds=60)
        check_once(root, engine, STEP)
        assert set(engine.ledger.job(STEP).attempts) == {1}


def test_a_foreign_job_with_our_old_number_is_neither_ours_nor_cancelled(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ABSENT_SECONDS", 3.0)
    monkeypatch.setattr(engine_module, "BLOCKED_PAUSE_SECONDS", 0.1)
    cluster = make_cluster(nodes=1, gpus=0)
    root = slurm_project(tmp_path, series=4, conf=site_conf(resources={"at_once": 2}))
    stand_in(root, seconds=60)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=lambda: letters(engine, STEP) == ">>qq", seconds=30)
        array = array_of(engine, STEP, engine.ledger.status.series[0])
        cluster.kill_node("n1")
        cluster.stop_controller()
        shutil.rmtree(cluster.folder / "state")
        (cluster.folder / "state").mkdir()
        cluster.start_controller()
        cluster.start_node("n1")
        foreign = cluster.submit("--array=0-3", "--mem=10", command="sleep 300", folder=tmp_path)
        assert foreign == array
        requests.ask(root, "stop", series=engine.ledger.status.series[:1])
        stand_in(root)
        drive(engine, until=lambda: letters(engine, STEP)[0] == "s", seconds=60)
        drive(engine, seconds=60)
        assert letters(engine, STEP) == "s+++"
        assert TaskState.FAILED not in states_seen(root, STEP)
        assert set(cluster.states(foreign)) <= {"RUNNING", "PENDING"} and len(cluster.states(foreign)) == 4
        cluster.run("scancel", foreign)
