"""Requests in order become what is wanted of each task."""

from __future__ import annotations

from core.engine.wishes import Wish, reduce_requests
from core.project.wanted import Request

ANCESTORS = {
    "imp": frozenset({"imp"}),
    "ctf": frozenset({"imp", "ctf"}),
    "rec": frozenset({"imp", "ctf", "rec"}),
}
SERIES = ["A", "B", "C"]


def wishes(*requests: Request):  # type: ignore[no-untyped-def]
    return reduce_requests(requests, ANCESTORS, SERIES)


def test_pilot_then_release_all() -> None:
    pilot = Request(1, "run", 4, series=("A",), to="ctf")
    found = wishes(pilot)
    assert found.of("imp", "A") == found.of("ctf", "A") == Wish.RUN
    assert found.of("rec", "A") == found.of("ctf", "B") == Wish.NONE
    found = wishes(pilot, Request(2, "run", 5))
    assert found.of("rec", "C") == Wish.RUN
    assert (found.version, found.last) == (5, 2)


def test_later_requests_win() -> None:
    run, stop = Request(1, "run", 1), Request(2, "stop", 1, series=("B",))
    assert wishes(run, stop).of("ctf", "B") == Wish.STOP
    assert wishes(run, stop).of("ctf", "A") == Wish.RUN
    assert wishes(run, stop, Request(3, "run", 1)).of("ctf", "B") == Wish.RUN


def test_release_wants_nothing_that_was_not_wanted() -> None:
    found = wishes(Request(1, "run", 1, series=("A",)), Request(2, "hold", 1), Request(3, "release", 1))
    assert found.of("ctf", "A") == Wish.RUN
    assert found.of("ctf", "B") == Wish.NONE


def test_run_of_a_job_wants_what_it_needs() -> None:
    found = wishes(Request(1, "run", 1, jobs=("ctf",)))
    assert found.of("imp", "A") == Wish.RUN
    assert found.of("rec", "A") == Wish.NONE


def test_a_cohort_task_is_wanted_with_one_of_its_series() -> None:
    found = wishes(Request(1, "run", 1, series=("C",)))
    assert found.of("ctf", "@axis") == Wish.RUN
    assert wishes().of("ctf", "@axis") == Wish.NONE


def test_saving_alone_changes_no_version() -> None:
    assert wishes(Request(1, "run", 3), Request(2, "hold", 9)).version == 3
