"""The engine's talk with Slurm, with a Slurm that answers as it is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from core.cluster.slurm import Account, Facts, NotKnown, Queue, Row, Slurm
from core.engine import slurm_queue
from core.engine.slurm_queue import SlurmQueue, Submitted


class Told(Slurm):
    """``rows``: what the queue shows, None where it does not answer."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.rows: dict[tuple[int, int], Row] | None = {}
        self.array: int | None = 7
        self.account_name = "crb"
        self.looks: list[float] = []
        self.look_seconds = 0.0
        self.given_up = 0.0
        self.cancelled: list[str] = []

    def cancel(self, jobs: Sequence[str]) -> None:
        self.cancelled += jobs

    def submit(self, options: Sequence[str], script: Path, folder: Path) -> int:
        if self.array is None:
            time.sleep(0.1)
            self.given_up = time.monotonic()
            raise NotKnown("sbatch hangs")
        return self.array

    def queue(self) -> Queue:
        self.looks.append(time.monotonic())
        time.sleep(self.look_seconds)
        if self.rows is None:
            raise NotKnown("squeue hangs")
        return Queue(self.rows, {}, {job[0]: row.name for job, row in self.rows.items()})

    def facts(self) -> Facts:
        return Facts("c", "22.05", 1001, 300.0, True)

    def accounts(self, jobs: Iterable[str]) -> dict[str, Account]:
        return {job: Account(self.account_name, "COMPLETED", 60.0, 60.0, 1, 1.0) for job in jobs}


def row(state: str, name: str = "crb") -> Row:
    return Row(state, "None", "n1", "main", 0.0, name)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def queue(told: Told, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmQueue]:
    for name, seconds in (("HURRY_SECONDS", 0.02), ("SOON_SECONDS", 0.1), ("ACCOUNTS_SECONDS", 0.02)):
        monkeypatch.setattr(slurm_queue, name, seconds)
    made = SlurmQueue(told, lambda: None)
    yield made
    made.close()


def submit(queue: SlurmQueue, size: int = 1) -> None:
    queue.submit(Submitted("crb", "job"), [], Path("x.sh"), Path(), range(size))


def until(queue: SlurmQueue, true: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        queue.step()
        if true():
            return
        time.sleep(0.002)
    raise AssertionError("waited in vain")


def cancel(queue: SlurmQueue, *indices: int) -> bool:
    """As the engine does in every round."""
    queue.cancel({"crb": indices})
    return False


def test_accounting_of_another_job_with_the_same_number_is_not_ours(told: Told, queue: SlurmQueue) -> None:
    told.account_name = "theirs"
    submit(queue)
    until(queue, lambda: queue.facts and queue.submissions["crb"].array)
    until(queue, lambda: queue.account("crb", 0))
    found = queue.account("crb", 0)
    assert found is not None and found.state == ""
    assert queue.take_accounts() == {}


def test_what_accounting_said_is_known_as_long_as_the_task_is_followed(told: Told, queue: SlurmQueue) -> None:
    submit(queue)
    until(queue, lambda: queue.facts and queue.submissions["crb"].array)
    until(queue, lambda: queue.account("crb", 0))
    assert queue.take_accounts().keys() == {"7_0"}
    until(queue, lambda: len(told.looks) > 3)
    found = queue.account("crb", 0)
    assert found is not None and found.state == "COMPLETED"
    queue.ended("crb", 0)
    assert queue.account("crb", 0) is None and queue.take_accounts() == {}


def test_a_queue_that_fails_at_once_is_not_asked_without_a_pause(told: Told, queue: SlurmQueue) -> None:
    submit(queue)
    until(queue, lambda: queue.snapshot)
    told.rows = None
    told.looks.clear()
    began = time.monotonic()

    def for_a_while() -> bool:
        queue.hurry()
        return time.monotonic() - began > 0.6

    until(queue, for_a_while)
    assert 2 <= len(told.looks) <= 6


def test_silence_ends_although_nothing_is_left_in_the_queue(told: Told, queue: SlurmQueue) -> None:
    told.array = None
    submit(queue)
    until(queue, lambda: queue.trouble)
    queue.ended("crb", 0)
    until(queue, lambda: not queue.trouble)


def test_looks_that_began_before_sbatch_was_given_up_prove_nothing(
    told: Told, queue: SlurmQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "SEARCH_SECONDS", 0.3)
    told.array, told.look_seconds = None, 0.15
    submit(queue)
    made = queue.submissions["crb"]
    until(queue, lambda: "crb" not in queue.submissions)
    assert told.looks[0] < told.given_up <= made.missing[0]
    assert made.missing[-1] - made.missing[0] >= 0.3


def test_only_what_was_just_seen_under_our_name_is_cancelled(told: Told, queue: SlurmQueue) -> None:
    cancelled = told.cancelled
    told.rows = {(7, 0): row("RUNNING"), (7, 1): row("PENDING"), (7, 2): row("COMPLETED"), (7, 3): row("PENDING")}
    submit(queue, 4)
    until(queue, lambda: queue.row("crb", 0))
    told.rows = {(7, 0): row("RUNNING", "theirs"), (7, 1): row("PENDING", "theirs")}
    looks = len(told.looks)
    until(queue, lambda: cancel(queue, 0, 1) or len(told.looks) > looks + 3)
    assert cancelled == []
    told.rows = {(7, 0): row("RUNNING"), (7, 1): row("PENDING"), (7, 2): row("COMPLETED"), (7, 3): row("PENDING")}
    until(queue, lambda: cancel(queue, 0, 1) or cancelled)
    assert sorted(cancelled) == ["7_0", "7_1"]
    cancelled.clear()
    queue.ended("crb", 2)
    until(queue, lambda: cancel(queue, 0, 1, 3) or cancelled)
    assert cancelled == ["7"]
