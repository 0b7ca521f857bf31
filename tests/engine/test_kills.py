"""SIGKILL at random moments: nothing is lost, nothing runs twice, nothing is half written."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

from core.engine import requests
from core.engine.engine import Engine  # noqa: F401  # a defect on import must fail here, not in the engine's log
from core.engine.reading import load_status
from tests.engine.driving import drive, engine_of, kill_before_saving, letters
from tests.kills import check_whole, finish, kill_until_done
from tests.rehearsed import DATA, done_attempts, rehearsal, start_engine, states, wait_for


def executions(root: Path) -> Counter[str]:
    """How often each series' tool really ran to its end, as the tool itself noted."""
    found: Counter[str] = Counter()
    for path in root.glob("*/job*/tasks/*/*.claim"):
        if not path.read_text().startswith("withdrawn"):
            found[str(path.parent)] += 1
    return found


def test_twenty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=4, tilts=5, settings={"seconds": 0.15})
    assert kill_until_done(root, 20, seed=1) > 0
    finish(root)
    check_whole(root)


def test_a_killed_engine_is_taken_over_and_running_tasks_are_kept(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, settings={"seconds": 2.0})
    requests.run(root, DATA)
    engine = start_engine(root)
    wait_for(lambda: ">" in states(load_status(root)).get("fsMotionAndCtf", ""), what="for a running task")
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    (root / ".crboost/standins/standin.json").write_text('{"seconds": 0.05}')
    finish(root)
    check_whole(root)
    assert set(executions(root).values()) == {1}


def test_a_task_that_ended_between_two_kills_is_not_run_again(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1)
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:  # it submits, and is killed before it says so
        kill_before_saving(engine, when=lambda: letters(engine, "fsMotionAndCtf") == "q")
    wait_for(lambda: set(done_attempts(root)) == {"job001/Position_1", "job002/Position_1"}, what="for the task")
    with engine_of(root) as engine:  # it sees the end, and is killed before it says so
        kill_before_saving(engine, when=lambda: letters(engine, "fsMotionAndCtf") == "+")
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, "fsMotionAndCtf") == "+"
        assert set(engine.ledger.job("fsMotionAndCtf").attempts) == {1}
        assert not engine.attempts.journal.read(), "the journal still has a submission that is over"
    assert set(done_attempts(root).values()) == {1}


def test_what_the_worker_does_for_a_killed_engine_is_not_done_again(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1)
    requests.run(root, DATA, to="importmovies")
    with engine_of(root) as engine:
        kill_before_saving(engine, when=lambda: letters(engine, "importmovies") == "q")
    wait_for(lambda: not engine.worker.pid, what="for the worker to end")
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, "importmovies") == "+"
    assert set(done_attempts(root).values()) == {1}
