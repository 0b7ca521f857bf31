"""SIGKILL of engines and commands while their tasks are with Slurm: nothing is lost, nothing is submitted twice."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from tests.kills import check_submissions, check_whole, finish, kill_until_done
from tests.real.cluster import PrivateCluster
from tests.real.slurm import QueueRow
from tests.real.slurm_project import slurm_project, stand_in
from tests.rehearsed import run_to_end

KILLS = 10


def test_kills_lose_nothing_and_submit_nothing_twice(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=4)
    stand_in(root, seconds=0.3, sigma=0.8)  # each series at its own pace: a submission for almost every task
    assert kill_until_done(root, KILLS, seed=1) > 0
    finish(root)
    check_whole(root)
    check_submissions(root, cluster.jobs())


def test_a_second_submission_or_claim_would_be_noticed(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=1)
    run_to_end(root)
    queue = cluster.jobs()
    check_submissions(root, queue)

    copy = QueueRow(**{**asdict(queue[-1]), "job_id": "77_0", "array_id": "77"})
    with pytest.raises(AssertionError, match="Slurm has twice"):
        check_submissions(root, [*queue, copy])

    claim = next(root.glob("External/job*/tasks/*/1.claim"))
    owner = claim.read_text()
    claim.write_text("77_0\n")
    with pytest.raises(AssertionError, match="77_0"):
        check_submissions(root, queue)
    claim.write_text(owner)

    journal = root / ".crboost/submissions.jsonl"
    intent = next(line for line in journal.read_text().splitlines() if "intent" in line)
    with journal.open("a") as stream:
        stream.write(intent + "\n")
    with pytest.raises(AssertionError, match="submitted twice"):
        check_submissions(root, queue)
