"""Checks in processes of their own: what hangs, breaks or dies spoils nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from core.checks.probing import ask
from core.checks.side_by_side import Job, Result, side_by_side
from core.errors import InputError


def good() -> Iterator[str]:
    yield "one"
    yield "two"


def hangs() -> Iterator[str]:
    yield "before"
    time.sleep(600)
    yield "after"


def breaks() -> Iterator[str]:
    yield "before"
    raise ZeroDivisionError("nothing is left")


def dies() -> Iterator[str]:
    yield "before"
    os.kill(os.getpid(), signal.SIGKILL)


def items(result: Result) -> list[object]:
    return [item for item, _ in result.items]


def test_results_come_in_the_order_of_the_jobs_with_what_was_known_before_a_trouble() -> None:
    begun = time.monotonic()
    jobs = [Job("hangs", hangs, 1.0), Job("good", good, 5.0), Job("breaks", breaks, 5.0), Job("dies", dies, 5.0)]
    late, fine, broken, dead = side_by_side(jobs, 5.0)
    assert time.monotonic() - begun < 3.0
    assert (items(late), late.late, late.broken) == (["before"], True, "")
    assert (items(fine), fine.late, fine.broken) == (["one", "two"], False, "")
    assert (items(broken), broken.late) == (["before"], False)
    assert "ZeroDivisionError: nothing is left" in broken.broken
    assert (items(dead), dead.broken) == (["before"], "its process died")


def test_an_error_for_a_person_is_passed_on_as_it_is() -> None:
    def refuse() -> str:
        raise InputError("is no folder.", "/data")

    def refuses() -> Iterator[str]:
        yield refuse()

    (result,) = side_by_side([Job("refuses", refuses, 5.0)], 5.0)
    assert result.broken == "/data: is no folder."


def test_all_end_at_the_common_limit() -> None:
    begun = time.monotonic()
    results = side_by_side([Job(str(number), hangs, 60.0) for number in range(8)], 0.8)
    assert time.monotonic() - begun < 3.0
    assert all(result.late and items(result) == ["before"] for result in results)


def test_who_has_ended_is_told() -> None:
    told: list[tuple[int, list[str]]] = []
    jobs = [Job("hangs", hangs, 1.0), Job("good", good, 5.0)]
    side_by_side(jobs, 5.0, lambda ended, left: told.append((ended, list(left))))
    assert told == [(1, ["hangs"]), (2, [])]


def test_whatever_a_late_job_started_ends_with_it(tmp_path: Path) -> None:
    script = tmp_path / "program"
    script.write_text(f"#!/bin/sh\nsleep 601 &\necho $! > {tmp_path}/pid\nsleep 602\n")
    script.chmod(0o755)

    def starts() -> Iterator[str]:
        yield str(ask([str(script)], 60.0))

    side_by_side([Job("starts", starts, 1.0)], 5.0)
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 5.0
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < end, "a grandchild lives on"
        time.sleep(0.02)


def test_whoever_reads_our_output_does_not_wait_for_what_was_left_behind() -> None:
    code = (
        "import time\n"
        "from core.checks.side_by_side import Job, side_by_side\n"
        "def hangs():\n    time.sleep(600)\n    yield 1\n"
        "print(side_by_side([Job('a', hangs, 0.5)], 5.0)[0].late)\n"
    )
    begun = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert ended.stdout == "True\n"
    assert time.monotonic() - begun < 10.0


def test_who_is_interrupted_takes_back_what_was_begun(tmp_path: Path) -> None:
    def begins() -> Iterator[str]:
        trace = tmp_path / "trace"
        trace.touch()
        try:
            time.sleep(600)
            yield "never"
        finally:
            trace.unlink()

    def interrupt(ended: int, left: Sequence[str]) -> None:
        while not (tmp_path / "trace").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side([Job("begins", begins, 20.0), Job("good", good, 20.0)], 20.0, interrupt)
    assert not (tmp_path / "trace").exists()


def test_a_program_that_hangs_is_left_behind() -> None:
    begun = time.monotonic()
    answer = ask(["sleep", "600"], 0.5)
    assert time.monotonic() - begun < 3.0
    assert (answer.code, answer.late, answer.why) == (None, True, "sleep did not answer within 0.5 s")


def test_a_child_that_keeps_the_pipe_does_not_hide_the_answer() -> None:
    answer = ask(["bash", "-c", "sleep 3 & echo told"], 1.0)
    assert answer.good and answer.out == "told\n"


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["/nowhere/program"], "program cannot be started: No such file or directory"),
        (["bash", "-c", "echo first; echo no such thing >&2; exit 3"], "ended with code 3: no such thing"),
        (["bash", "-c", "exit 4"], "ended with code 4"),
        (["a\0b"], "a\0b cannot be started: embedded null byte"),
    ],
)
def test_what_went_wrong_is_the_end_of_a_sentence(argv: list[str], why: str) -> None:
    assert ask(argv).why == why
