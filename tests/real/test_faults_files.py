"""Nodes that do not see what the engine wrote, or cannot write."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.cluster import template
from core.engine import attempts, requests, slurm_queue
from core.engine import engine as engine_module
from core.engine.engine import Engine
from core.engine.states import TaskState
from tests.engine.driving import drive, engine_of, letters, sentences
from tests.real.cluster import PrivateCluster
from tests.real.faults import Client, check_once, notices, states_seen
from tests.real.slurm_project import site_conf, slurm_project
from tests.rehearsed import DATA

STEP = "fsMotionAndCtf"


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "QUEUE_VISIBLE_SECONDS", 2.0)
    monkeypatch.setattr(slurm_queue, "SOON_SECONDS", 1.0)
    monkeypatch.setattr(engine_module, "BLOCKED_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(engine_module, "BLOCKED_RETRIES", 2)


def queued(engine: Engine, root: Path, cluster: PrivateCluster) -> Path:
    """Ask for the step and wait until its tasks stand in the queue of a partition that starts nothing; its folder."""
    cluster.run("scontrol", "update", "PartitionName=main", "State=DOWN")
    requests.run(root, DATA, to=STEP)
    drive(engine, until=lambda: engine.ledger.job(STEP).queue_ids, seconds=30)
    return root / engine.ledger.job(STEP).folder


def start(cluster: PrivateCluster) -> None:
    cluster.run("scontrol", "update", "PartitionName=main", "State=UP")


@pytest.mark.parametrize("what", ["tasks", "submit/*.tasks.sh", "tasks/*/1.sh"])
def test_what_a_node_sees_some_seconds_late_is_waited_for(cluster: PrivateCluster, tmp_path: Path, what: str) -> None:
    root = slurm_project(tmp_path, series=2)
    with engine_of(root) as engine:
        folder = queued(engine, root, cluster)
        hidden = [path.rename(path.with_name(f"{path.name}.hidden")) for path in folder.glob(what)]
        start(cluster)
        cluster.wait_states(engine.ledger.job(STEP).queue_ids["Position_1"].partition("_")[0], "RUNNING")
        for path in hidden:
            path.rename(path.with_suffix(""))
        drive(engine, seconds=30)
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [1, 1]


def test_a_folder_for_slurms_output_that_a_node_does_not_see_is_no_failure(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    root = slurm_project(tmp_path, series=2)
    with engine_of(root) as engine:
        folder = queued(engine, root, cluster)
        (folder / "submit").rename(folder / "submit.hidden")
        start(cluster)
        drive(engine, seconds=40)
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [2, 2]
    assert "could not be started by its node; it is tried again" in notices(root)


def test_what_a_node_never_sees_fails_in_words(
    cluster: PrivateCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "_FIND", template._FIND.replace("90", "1"))
    sbatch = Client("sbatch", tmp_path, monkeypatch)
    sbatch.do('for script; do :; done; rm "${script%.sh}.tasks.sh"; real "$@"')
    root = slurm_project(tmp_path, series=1)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, seconds=60)
        assert letters(engine, STEP) == "x"
        assert engine.ledger.job(STEP).attempts == [3]
        (cause,) = engine.ledger.job(STEP).causes.values()
    assert cause.startswith("it could not even begin on n") and "cannot be seen on" in cause, cause


def test_a_full_spool_of_a_node_is_no_ones_failure(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=2)
    full = cluster.folder / "spool-n1"
    full.chmod(0o500)
    try:
        requests.run(root, DATA, to=STEP)
        with engine_of(root) as engine:
            drive(engine, seconds=60)
            check_once(root, engine, STEP)
    finally:
        full.chmod(0o700)
    assert "could not even begin on n1" in notices(root)


def test_a_task_folder_that_cannot_be_written_is_said_and_others_go_on(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=2)
    with engine_of(root) as engine:
        folder = queued(engine, root, cluster)
        mine = folder / "tasks" / "Position_1"
        mine.chmod(0o500)
        start(cluster)
        drive(engine, until=lambda: letters(engine, STEP)[1] == "+" and "Position_1" in sentences(engine), seconds=40)
        assert letters(engine, STEP)[0] == "q"
        mine.chmod(0o700)
        drive(engine, seconds=40)
        check_once(root, engine, STEP)
    assert not sentences(engine)


@pytest.mark.parametrize("blocks", [0, 4])
def test_nothing_counts_as_done_where_a_node_cannot_write_files(
    cluster: PrivateCluster, tmp_path: Path, blocks: int
) -> None:
    """Nothing at all, or only small files, like on a full disk."""
    qsub = tmp_path / "qsub.sh"
    qsub.write_text(f"#!/bin/bash\ntrap '' XFSZ\nulimit -f {blocks}\nXXXcommandXXX\n")
    root = slurm_project(tmp_path, series=1, conf=site_conf(qsub={"template": str(qsub)}))
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, seconds=60)
        assert letters(engine, STEP) == "x"
        (cause,) = engine.ledger.job(STEP).causes.values()
    assert "File too large" in cause or "could not even begin" in cause, cause
    assert TaskState.DONE not in states_seen(root, STEP)
