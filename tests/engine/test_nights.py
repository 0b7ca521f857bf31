"""What happens while nobody looks: killed tasks, time limits, restarts, slow file systems, and who is told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from core.engine import requests
from core.engine.attempts import Live
from core.engine.causes import Streaks
from core.engine.engine import Engine
from core.engine.rendering import TaskResources
from core.engine.submitting import Submitting
from core.project.layout import ProjectPaths
from core.watch.mounts import kind_of, read_mounts
from tests.engine.driving import drive, engine_of, letters
from tests.engine.test_changes import change
from tests.rehearsed import DATA, done_attempts, rehearsal, run_engine, states, wait_for


def short(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Give every task this time limit."""
    monkeypatch.setattr(Submitting, "_resources_of", lambda self, instance: TaskResources(1, 0, seconds / 60))  # type: ignore[arg-type]


def test_a_task_that_was_killed_is_run_again_and_at_last_named(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3, settings={"seconds": 20.0})
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        for number in (1, 2, 3):
            drive(engine, lambda number=number: _running(engine, number))  # type: ignore[misc]
            job = engine.attempts.live[("fsMotionAndCtf", "Position_1")].job
            assert job is not None
            os.killpg(job.pid, signal.SIGKILL)
            began = time.monotonic()
            drive(engine, lambda: letters(engine, "fsMotionAndCtf") in "oqx")
            assert time.monotonic() - began < 6
        drive(engine)
        assert letters(engine, "fsMotionAndCtf") == "x"
        assert "killed from outside" in engine.ledger.job("fsMotionAndCtf").causes["Position_1"]


def _running(engine: Engine, attempt: int) -> bool:
    live = engine.attempts.live.get(("fsMotionAndCtf", "Position_1"))
    return live is not None and live.running and live.number == attempt


def test_a_time_limit_is_doubled_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, 2.0)
    root = rehearsal(tmp_path, series=1, tilts=3, settings={"seconds": 4.0})
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine, lambda: _running(engine, 1))
        drive(engine, lambda: _running(engine, 2))
        (root / ".crboost/standins/standin.json").write_text('{"seconds": 0.02}')
        assert engine.attempts.live[("fsMotionAndCtf", "Position_1")].limit_seconds == 4.0
        notices = "".join(path.read_text() for path in ProjectPaths(root).events.iterdir())
        assert "time limit of 0.0333 min reached; it is tried again with twice the time" in notices


def test_a_time_limit_holds_after_the_engine_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, 3.0)
    root = rehearsal(tmp_path, series=1, tilts=3, settings={"seconds": 30.0})
    (root / ".crboost/conf.yaml").write_text("submitter: local\nlocal: {cpus: 8, gpus: 4}\nretries: 0\n")
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine, lambda: _running(engine, 1))
    with engine_of(root) as engine:
        drive(engine, seconds=20)
        assert "time limit of 0.05 min" in engine.ledger.job("fsMotionAndCtf").causes["Position_1"]


def test_what_was_submitted_keeps_its_own_fingerprint(tmp_path: Path) -> None:
    """The engine dies after submitting, the parameters change: what ran is not taken for what is wanted now."""
    root = rehearsal(tmp_path, series=1, tilts=3, settings={"seconds": 1.0})
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        submit = engine.attempts.submit

        def submit_and_die(*arguments: Any) -> Live:
            engine.ledger.save = lambda **_: None  # type: ignore[method-assign]
            return submit(*arguments)

        engine.attempts.submit = submit_and_die  # type: ignore[method-assign,assignment]
        drive(engine, lambda: ("fsMotionAndCtf", "Position_1") in engine.attempts.live)
    change(root, "fsMotionAndCtf", parameters={"c_window": 256})
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, "fsMotionAndCtf") == "#"
    assert done_attempts(root)["job002/Position_1"] == 1


def test_failures_of_one_cause_count_although_others_come_between() -> None:
    streaks = Streaks()
    for number in range(4):
        assert streaks.failed("ctf", "out of memory", f"TS_{number}") == number + 1
        streaks.failed("ctf", f"no such file: /data/{number}", f"TS_{number}")
    streaks.succeeded("ctf")
    assert streaks.failed("ctf", "out of memory", "TS_9") == 1


def test_the_site_is_told(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    told = tmp_path / "told"
    script = tmp_path / "tell.sh"
    script.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {told}\n')
    script.chmod(0o755)
    (root / ".crboost/conf.yaml").write_text(f"submitter: local\nlocal: {{cpus: 8, gpus: 4}}\nnotify: [{script}, -p]\n")
    requests.run(root, DATA)
    with engine_of(root) as engine:
        drive(engine)
    wait_for(told.exists)
    assert told.read_text() == "-p|test (REHEARSAL)|finished: all jobs succeeded|"


def test_an_engine_that_only_looks_completes(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="fsMotionAndCtf")
    status = run_engine(root, "--watch", "poll", "--poll-seconds", "0.2")
    assert states(status)["fsMotionAndCtf"] == "+"


def test_requests_that_another_machine_writes_are_seen(tmp_path: Path) -> None:
    """The engine sees the project through bindfs, which hides what is written below it, as a network does."""
    root = rehearsal(tmp_path, series=1, tilts=3, settings={"seconds": 3.0})
    seen = tmp_path / "seen"
    seen.mkdir()
    if not shutil.which("bindfs") or subprocess.run(["bindfs", str(root), str(seen)], capture_output=True).returncode:
        pytest.skip("no bindfs here")
    try:
        assert kind_of(seen, read_mounts()).startswith("fuse")
        requests.run(root, DATA, to="fsMotionAndCtf")
        with engine_of(seen) as engine:
            drive(engine, lambda: letters(engine, "fsMotionAndCtf") == ">")
            requests.ask(root, "stop")
            drive(engine, lambda: letters(engine, "fsMotionAndCtf") == "s")
    finally:
        subprocess.run(["fusermount", "-uz", str(seen)], check=False, capture_output=True)
