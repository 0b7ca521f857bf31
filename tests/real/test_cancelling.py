"""Cancelling: of a hundred tasks at once, of single ones, and never of what is not ours."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from core.cluster.slurm import Slurm
from core.engine.slurm_queue import SlurmQueue, Submitted
from tests.real.cluster import PrivateCluster
from tests.real.faults import Client

LIVE = {"PENDING", "RUNNING", "COMPLETING"}


class Array:
    """Tasks that sleep, submitted through a queue of our own, which is stepped by hand."""

    def __init__(self, folder: Path, size: int, name: str) -> None:
        self.record = folder / "calls.jsonl"
        self.queue = SlurmQueue(Slurm(self.record), lambda: None)
        self.token = name
        script = folder / "sleep.sh"
        script.write_text("#!/bin/bash\nexec sleep 300\n")
        options = [f"--job-name={name}", f"--array=0-{size - 1}", "--output=/dev/null", "--mem=100"]
        self.queue.submit(Submitted(name, "job"), options, script, folder, range(size))
        self.until(lambda: self.queue.row(name, 0) is not None)

    @property
    def array(self) -> int:
        return self.queue.submissions[self.token].array or 0

    def until(self, true: Callable[[], bool], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.queue.hurry()
            self.queue.step()
            if true():
                return
            time.sleep(0.02)
        raise AssertionError("waited in vain")

    def cancel(self, indices: list[int]) -> None:
        """As the engine does: wanted again and again."""

        def all_ended() -> bool:
            self.queue.cancel({self.token: indices})
            rows = [self.queue.row(self.token, index) for index in indices]
            return not any(row is not None and row.state in LIVE for row in rows)

        self.until(all_ended)

    def cancelled(self) -> list[list[str]]:
        """What ``scancel`` was told."""
        calls = [json.loads(line)["call"] for line in self.record.read_text().splitlines()]
        return [call[1:] for call in calls if call[0] == "scancel"]


def live(cluster: PrivateCluster, array: int) -> set[int]:
    return {
        int(row.job_id.partition("_")[2]) for row in cluster.jobs() if row.array_id == str(array) and row.state in LIVE
    }


def test_a_hundred_tasks_of_which_some_run_are_cancelled_in_one_call(cluster: PrivateCluster, tmp_path: Path) -> None:
    tasks = Array(tmp_path, 100, "crb-stop")
    tasks.until(lambda: cluster.states(str(tasks.array)).count("RUNNING") == 16)
    began = time.monotonic()
    tasks.cancel(list(range(100)))
    assert time.monotonic() - began < 5
    assert live(cluster, tasks.array) == set()
    assert Counter(cluster.states(str(tasks.array))).keys() == {"CANCELLED"}
    assert tasks.cancelled() == [[str(tasks.array)]]


def test_single_tasks_leave_the_others_of_their_array_alone(cluster: PrivateCluster, tmp_path: Path) -> None:
    tasks = Array(tmp_path, 30, "crb-few")
    tasks.until(lambda: cluster.states(str(tasks.array)).count("RUNNING") == 16)
    tasks.cancel([3, 17, 29])  # one runs, two wait
    # Slurm starts others in the place of what has ended.
    assert live(cluster, tasks.array) == set(range(30)) - {3, 17, 29}
    assert [sorted(words) for words in tasks.cancelled()] == [[f"{tasks.array}_{index}" for index in (17, 29, 3)]]
    cluster.run("scancel", str(tasks.array))


def test_a_number_that_is_anothers_is_never_given_to_scancel(cluster: PrivateCluster, tmp_path: Path) -> None:
    tasks = Array(tmp_path, 2, "crb-mine")
    foreign = cluster.submit("--array=0-1", "--job-name=crb-min", "--mem=100", command="sleep 300", folder=tmp_path)
    tasks.queue.submissions[tasks.token].array = int(foreign)
    end = time.monotonic() + 3

    def for_a_while() -> bool:
        tasks.queue.cancel({tasks.token: [0, 1]})
        return time.monotonic() > end

    tasks.until(for_a_while)
    assert tasks.cancelled() == []
    assert live(cluster, int(foreign)) == {0, 1}
    cluster.run("scancel", foreign)


def test_what_scancel_did_not_hear_it_is_told_again_when_slurm_answers(
    cluster: PrivateCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.engine.slurm_queue.SOON_SECONDS", 0.5)
    client, squeue = Client("scancel", tmp_path, monkeypatch), Client("squeue", tmp_path, monkeypatch)
    tasks = Array(tmp_path, 4, "crb-deaf")
    tasks.until(lambda: cluster.states(str(tasks.array)) == ["RUNNING"] * 4)
    client.do("echo 'scancel: error: Kill job error on job id 1: Unable to contact slurm controller' >&2; exit 1")

    def unheard() -> bool:
        tasks.queue.cancel({tasks.token: range(4)})
        return len(tasks.cancelled()) == 1

    tasks.until(unheard)
    end = time.monotonic() + 1
    tasks.until(lambda: time.monotonic() > end)
    assert len(tasks.cancelled()) == 1  # not a storm of them
    squeue.do("exit 1")
    tasks.until(lambda: tasks.queue.trouble != "")
    client.behave()
    squeue.behave()
    began = time.monotonic()
    tasks.cancel([0, 1, 2, 3])
    assert time.monotonic() - began < 8
    assert live(cluster, tasks.array) == set()
