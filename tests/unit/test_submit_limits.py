"""How much may be submitted: the budget, a limit that is found out by being refused, throttles of a job's arrays."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from core.cluster.submit_limits import Budget, SubmitLimit, throttles
from core.engine.bad_nodes import BadNodes


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_one_a_second() -> None:
    clock = Clock()
    budget = Budget(3, 1.0, clock)
    spent = 0
    for _ in range(200):
        if not budget.wait_seconds():
            budget.spend()
            spent += 1
        clock.now += 0.1
    assert spent == 3 + 19


def test_a_limit_of_100_is_found_by_halves_and_then_kept_full() -> None:
    clock = Clock()
    limit = SubmitLimit(None, clock)
    queued, waiting, refusals, dice = 0, 500, 0, random.Random(1)
    most = 0
    while waiting or queued:
        room = limit.room(queued, waiting)
        if room:
            if queued + room > 100:
                limit.refused(queued, room)
                refusals += 1
            else:
                queued, waiting = queued + room, waiting - room
                limit.accepted(queued)
        most = max(most, queued)
        if dice.random() < 0.5:
            queued = max(0, queued - dice.randrange(4))
        clock.now += 1.0
    assert most == 100
    assert refusals <= 12


def test_a_site_that_says_its_limit_is_never_refused() -> None:
    limit = SubmitLimit(100)
    assert limit.room(0, 500) == 100 and limit.room(99, 5) == 1 and limit.room(100, 5) == 0


def test_one_that_has_just_ended_and_still_counts_does_not_lower_the_limit() -> None:
    clock = Clock()
    limit = SubmitLimit(None, clock)
    limit.refused(0, 101)
    limit.accepted(100)
    limit.refused(99, 1)
    assert limit.room(99, 1) == 0
    clock.now += 6
    assert limit.room(95, 20) == 5


def test_where_nothing_more_is_taken_there_is_a_pause_that_grows() -> None:
    clock = Clock()
    limit = SubmitLimit(None, clock)
    limit.refused(0, 1)
    assert limit.wait_seconds() == 5
    clock.now += 5
    assert limit.room(0, 10) == 0 or limit.room(0, 10) == 1
    limit.refused(0, 1)
    assert limit.wait_seconds() == 10
    clock.now += 700
    assert limit.room(0, 10) == 10  # forgotten: the other jobs of this user may be gone


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(1, 40))
def test_throttles_keep_within_the_limit_and_let_the_oldest_first(remaining: list[int], at_once: int) -> None:
    found = throttles(remaining, at_once)
    assert sum(found) == min(at_once, sum(remaining))
    assert all(0 <= share <= left for share, left in zip(found, remaining, strict=True))


def test_a_node_where_three_series_fail_at_once_is_left_out() -> None:
    nodes = BadNodes()
    nodes.succeeded("n2", "ctf")
    assert nodes.failed("n1", ("ctf", "A"), 2.0, 0.0) == []
    assert nodes.failed("n1", ("ctf", "A"), 2.0, 0.0) == []  # the same series again proves nothing
    assert nodes.failed("n1", ("ctf", "B"), 2.0, 0.0) == []
    assert nodes.failed("n1", ("ctf", "C"), 200.0, 0.0) == []  # not quick
    assert nodes.suspects("n1", "ctf")
    assert nodes.failed("n1", ("ctf", "D"), 2.0, 0.0) == [("ctf", "A"), ("ctf", "B"), ("ctf", "D")]
    assert nodes.excluded == ["n1"]
    assert nodes.failed("n1", ("ctf", "E"), 2.0, 0.0) == [("ctf", "E")]  # it was in the queue before
    assert nodes.forgive() and not nodes.excluded


def test_tasks_that_run_on_while_others_have_failed_tell_as_much_as_a_success() -> None:
    nodes = BadNodes()
    for key in "AB":
        assert nodes.failed("n1", ("ctf", key), 4.0, 20.0) == []
    assert nodes.failed("n1", ("ctf", "C"), 2.0, 12.0) == []  # they may fail yet
    assert nodes.failed("n1", ("ctf", "D"), 2.0, 14.0) == [("ctf", key) for key in "ABCD"]


def test_failures_everywhere_are_not_the_nodes_fault() -> None:
    nodes = BadNodes()
    for key in "ABCDEF":
        assert nodes.failed("n1", ("ctf", key), 1.0, 0.0) == []
    nodes.succeeded("n2", "import")  # says nothing about the other job
    assert nodes.failed("n1", ("ctf", "G"), 1.0, 0.0) == []
    nodes.failed("n2", ("ctf", "H"), 1.0, 0.0)
    assert not nodes.suspects("n1", "ctf")
    nodes.succeeded("n1", "ctf")
    nodes.succeeded("n2", "ctf")
    assert nodes.failed("n1", ("ctf", "I"), 1.0, 0.0) == []


def test_a_success_elsewhere_tells_of_what_failed_before() -> None:
    nodes = BadNodes()
    for key in "ABC":
        assert nodes.failed("n1", ("ctf", key), 1.0, 0.0) == []
    assert nodes.succeeded("n2", "import") == {}
    assert nodes.succeeded("n2", "ctf") == {"n1": [("ctf", key) for key in "ABC"]}
    assert nodes.succeeded("n2", "ctf") == {} and nodes.excluded == ["n1"]
