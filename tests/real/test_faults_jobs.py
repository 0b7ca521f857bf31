"""What happens to jobs in Slurm that nobody asked for: nodes die, somebody cancels or requeues, time runs out."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from core.engine import attempts, requests
from core.engine.engine import Engine
from tests.engine.driving import drive, engine_of, letters
from tests.real.cluster import PrivateCluster
from tests.real.conftest import MakeCluster
from tests.real.faults import Client, check_once, notices
from tests.real.slurm import wait_until
from tests.real.slurm_project import array_of, calls, site_conf, slurm_project, stand_in
from tests.rehearsed import DATA

STEP = "fsMotionAndCtf"
LIVE = {"PENDING", "RUNNING", "COMPLETING"}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of nodes on this machine are visible at once."""
    for name in ("QUEUE_VISIBLE_SECONDS", "ABSENT_SECONDS"):
        monkeypatch.setattr(attempts, name, 3.0)


def running(engine: Engine, root: Path, how_many: int, seconds: float = 60) -> str:
    """Ask for the step and wait until so many of its tasks run; the number of their array."""
    stand_in(root, seconds=seconds)
    requests.run(root, DATA, to=STEP)
    drive(engine, until=lambda: letters(engine, STEP).count(">") == how_many, seconds=40)
    return array_of(engine, STEP, engine.ledger.status.series[0])


def crash(cluster: PrivateCluster, node: str) -> None:
    """A node dies, and Slurm, which would take its time to see it, is told."""
    cluster.kill_node(node)
    cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")


def names(engine: Engine) -> list[str]:
    """How Slurm calls the tasks."""
    return [engine.ledger.job(STEP).queue_ids[key] for key in engine.ledger.status.series]


def to_the_end(engine: Engine, root: Path, cluster: PrivateCluster) -> None:
    """Let new tasks be quick, wait for all of it; all is done once, and nothing is left in Slurm."""
    stand_in(root)
    drive(engine, seconds=60)
    check_once(root, engine, STEP)
    ours = set(names(engine))
    assert not [row for row in cluster.jobs() if row.job_id in ours and row.state in LIVE]


def test_tasks_of_a_node_that_died_run_on_another_one(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=2)
    with engine_of(root) as engine:
        running(engine, root, 2)
        nodes = {row.nodes for row in cluster.jobs() if row.state == "RUNNING"}
        (dead,) = nodes
        cluster.kill_node(dead)
        to_the_end(engine, root, cluster)
        assert engine.ledger.job(STEP).attempts == [2, 2]
    assert notices(root).count(f"on {dead} its node failed; it is tried again on another node") == 2
    assert f"--exclude={dead}" in calls(root, "sbatch")[-1]["call"]
    cluster.start_node(dead)


def test_a_task_that_still_speaks_has_not_failed_with_its_node(cluster: PrivateCluster, tmp_path: Path) -> None:
    """The node does not answer Slurm any more, but runs on."""
    root = slurm_project(tmp_path, series=1)
    with engine_of(root) as engine:
        running(engine, root, 1, seconds=2)
        (node,) = {row.nodes for row in cluster.jobs() if row.state == "RUNNING"}
        daemon = cluster._daemons[node]
        daemon.send_signal(signal.SIGSTOP)
        try:
            cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
            cluster.wait_states(names(engine)[0].partition("_")[0], "NODE_FAIL")
            drive(engine, seconds=60)
            check_once(root, engine, STEP)
            assert engine.ledger.job(STEP).attempts == [1]
        finally:
            daemon.send_signal(signal.SIGCONT)
    cluster.wait_node(node, "idle")


def forces_requeue(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """As a plugin or a wrapper of the site may."""
    Client("sbatch", folder, patch).do('real "${@:1:$#-1}" --requeue "${@: -1}"')


def test_a_site_that_requeues_by_itself_runs_the_same_attempt_again(
    cluster: PrivateCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forces_requeue(tmp_path, monkeypatch)
    root = slurm_project(tmp_path, series=2)
    with engine_of(root) as engine:
        running(engine, root, 2)
        (dead,) = {row.nodes for row in cluster.jobs() if row.state == "RUNNING"}
        crash(cluster, dead)
        to_the_end(engine, root, cluster)
        assert engine.ledger.job(STEP).attempts == [1, 1]
    cluster.start_node(dead)


def test_a_task_that_somebody_requeues_is_done_by_a_new_attempt(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=2)
    with engine_of(root) as engine:
        running(engine, root, 2)
        cluster.run("scontrol", "update", f"JobId={names(engine)[0]}", "Requeue=1")
        cluster.run("scontrol", "requeue", names(engine)[0])
        to_the_end(engine, root, cluster)
        assert engine.ledger.job(STEP).attempts == [2, 1]
    assert "was put back into the queue" in notices(root)


def test_a_requeue_that_was_over_before_anybody_looked_is_one_all_the_same(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    """It begins again, finds that it has an end already, and is a success to Slurm."""
    root = slurm_project(tmp_path, series=1)
    with engine_of(root) as engine:
        running(engine, root, 1)
        (name,) = names(engine)
        cluster.run("scontrol", "update", f"JobId={name}", "Requeue=1")
        cluster.run("scontrol", "requeue", name)
        cluster.wait_states(name.partition("_")[0], "COMPLETED")  # meanwhile the engine does nothing
        to_the_end(engine, root, cluster)
        assert engine.ledger.job(STEP).attempts == [2]
    assert "was put back into the queue" in notices(root)


def test_what_somebody_cancels_is_failed_until_a_person_retries_it(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=6, conf=site_conf(resources={"at_once": 2}))
    with engine_of(root) as engine:
        array = running(engine, root, 2)
        cluster.run("scancel", names(engine)[0], names(engine)[4])  # one runs, one waits
        drive(engine, until=lambda: letters(engine, STEP).count("x") == 2, seconds=40)
        assert letters(engine, STEP)[0] == letters(engine, STEP)[4] == "x"
        drive(engine, until=lambda: letters(engine, STEP).count(">") == 2, seconds=40)
        assert {row.job_id for row in cluster.jobs() if row.array_id == array and row.state in LIVE} == {
            f"{array}_{index}" for index in (1, 2, 3, 5)
        }
        cluster.run("scancel", array)
        drive(engine, seconds=40)
        assert letters(engine, STEP) == "xxxxxx"
        assert set(engine.ledger.job(STEP).causes.values()) == {
            "cancelled in Slurm, not by crboost; retry runs it again"
        }
        assert set(engine.ledger.job(STEP).attempts) == {1}
        stand_in(root)
        requests.retry(root, DATA)
        drive(engine, seconds=60)
        assert letters(engine, STEP) == "++++++"
        assert set(engine.ledger.job(STEP).attempts) == {2}


def test_a_task_that_ran_out_of_time_gets_twice_as_much(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=1, conf=site_conf(resources={"minutes": 2}))
    with engine_of(root) as engine:
        running(engine, root, 1)
        cluster.run("scontrol", "update", f"JobId={names(engine)[0]}", "EndTime=now+1")  # two minutes are long
        drive(engine, until=lambda: engine.ledger.job(STEP).attempts == [2], seconds=120)
        drive(engine, until=lambda: letters(engine, STEP) == ">", seconds=40)
        key = engine.ledger.status.series[0]
        assert engine.ledger.job(STEP).more[key] == {"time": 2}
        assert cluster.run("squeue", "-h", "-j", names(engine)[0], "-o", "%l") == "4:00"
        assert "reached its time limit" in notices(root)
        to_the_end(engine, root, cluster)


@pytest.mark.parametrize(
    ("mode", "forced", "words"),
    [
        ("CANCEL", False, "had to give way to a job of higher priority"),
        ("REQUEUE", False, "had to give way to a job of higher priority"),
        ("REQUEUE", True, "was put back into the queue"),
    ],
)
def test_a_task_that_gave_way_to_another_job_runs_again(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, forced: bool, words: str
) -> None:
    if forced:
        forces_requeue(tmp_path, monkeypatch)
    cluster = make_cluster(
        nodes=1,
        gpus=0,
        cpus=2,
        partitions=("low Nodes=ALL Default=YES PriorityTier=1", "high Nodes=ALL PriorityTier=10 PreemptMode=OFF"),
        extra=(f"PreemptMode={mode}", "PreemptType=preempt/partition_prio"),
    )
    root = slurm_project(tmp_path, series=2)
    with engine_of(root) as engine:
        running(engine, root, 2)
        high = cluster.submit("-p", "high", "--exclusive", "--mem=0", command="sleep 2", folder=tmp_path)
        cluster.wait_states(high, "RUNNING", "COMPLETED")
        to_the_end(engine, root, cluster)
        assert engine.ledger.job(STEP).attempts == [2, 2]
    assert notices(root).count(words) == 2, notices(root)


def test_a_task_that_slurm_forgot_before_anybody_looked_has_its_state(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_cluster(nodes=1, gpus=0, min_job_age=2)
    squeue = Client("squeue", tmp_path, monkeypatch)
    root = slurm_project(tmp_path, series=2)
    with engine_of(root) as engine:
        array = running(engine, root, 2)
        squeue.do("exit 1")  # nobody looks
        engine.attempts._read_inbox = lambda: None  # type: ignore[method-assign]  # and nobody is told
        stand_in(root)
        wait_until(lambda: cluster.states(array) == [], lambda: "Slurm to forget", 90)
        assert letters(engine, STEP) == ">>"
        squeue.behave()
        drive(engine, seconds=60)
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [1, 1]


def test_a_task_that_was_killed_and_forgotten_is_lost_and_tried_again_a_few_times(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_cluster(nodes=1, gpus=0, min_job_age=2)
    squeue = Client("squeue", tmp_path, monkeypatch)
    root = slurm_project(tmp_path, series=1, conf=site_conf(retries=1))
    with engine_of(root) as engine:
        for attempt in (1, 2):
            running(engine, root, 1)
            assert engine.ledger.job(STEP).attempts == [attempt]
            squeue.do("exit 1")
            crash(cluster, "n1")
            cluster.start_node("n1")
            wait_until(lambda: cluster.jobs() == [], lambda: "Slurm to forget", 90)
            squeue.behave()
            drive(engine, until=lambda: letters(engine, STEP) != ">", seconds=60)
        drive(engine, seconds=20)
        assert letters(engine, STEP) == "x"
        (cause,) = engine.ledger.job(STEP).causes.values()
        assert cause.startswith("Slurm no longer knows its job") and cause.endswith("left no state")
