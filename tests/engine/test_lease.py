"""One engine per project, on this host, on others, and of other people."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from core.cluster.protocol import AttemptPaths
from core.engine import lease as lease_module
from core.engine import requests
from core.engine import start as start_module
from core.engine.attempts import Attempts, Live
from core.engine.engine import Engine
from core.engine.lease import HeldLease, Lease, LeaseLost, read_lease, watch_until_known
from core.engine.reading import load_status
from core.engine.start import ensure_engine, stop_now
from core.errors import ConflictError, CrboostError
from core.project.layout import ProjectPaths
from tests.engine.driving import drive, engine_of, letters
from tests.rehearsed import DATA, done_attempts, rehearsal, start_engine, states, wait_for

ELSEWHERE = Lease("elsewhere", 1, "1", "boot", "0", 7, 3, "anna")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectPaths:
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 0.02)
    paths = ProjectPaths(tmp_path)
    paths.state.mkdir()
    return paths


def write(paths: ProjectPaths, lease: Lease) -> None:
    paths.lease.write_text(json.dumps(asdict(lease)))


def test_a_lease_of_another_host_whose_heart_stands_still_is_taken(paths: ProjectPaths) -> None:
    write(paths, ELSEWHERE)
    held = HeldLease.take(paths, "1")
    assert held.lease.epoch == 8


def test_a_lease_of_another_host_that_beats_is_refused(paths: ProjectPaths) -> None:
    write(paths, ELSEWHERE)
    threading.Timer(0.05, write, (paths, replace(ELSEWHERE, beat=4))).start()
    with pytest.raises(ConflictError, match="process 1 of anna on elsewhere"):
        HeldLease.take(paths, "1")


def test_of_two_that_find_a_dead_lease_of_another_host_one_takes_it(
    paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(paths, ELSEWHERE)
    watch = lease_module.watch_until_known

    def slower(path: Path) -> lease_module.Seen:
        seen = watch(path)
        write(paths, replace(ELSEWHERE, host="third", epoch=8))  # somebody on a third host was faster
        return seen

    monkeypatch.setattr(lease_module, "watch_until_known", slower)
    with pytest.raises(ConflictError, match="just started"):
        HeldLease.take(paths, "1")


def test_a_released_lease_is_taken_at_once(paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 60.0)
    write(paths, replace(ELSEWHERE, released=True))
    assert HeldLease.take(paths, "1").lease.epoch == 8


def test_a_damaged_lease_is_mended_by_who_holds_it_and_else_taken(paths: ProjectPaths) -> None:
    held = HeldLease.take(paths, "1")
    paths.lease.write_text('{"host": ')
    held.beat()
    assert read_lease(paths.lease) == held.lease
    paths.lease.write_text('{"host": ')
    assert not watch_until_known(paths.lease).alive
    HeldLease.take(paths, "2")
    with pytest.raises(LeaseLost, match="taken over"):
        held.beat() if held.lease.epoch != 1 else _take_over(paths, held)


def _take_over(paths: ProjectPaths, held: HeldLease) -> None:
    write(paths, replace(held.lease, epoch=held.lease.epoch + 1))
    held.beat()


def test_an_engine_that_lost_its_lease_touches_nothing(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="importmovies")
    with engine_of(root) as engine:
        engine.step()
        paths = ProjectPaths(root)
        write(paths, replace(ELSEWHERE, epoch=engine.lease.lease.epoch + 1))
        before = {path: path.stat().st_mtime_ns for path in paths.state.rglob("*") if path.is_file()}
        engine._beat_due = 0.0
        with pytest.raises(LeaseLost):
            engine.step()
    after = {path: path.stat().st_mtime_ns for path in paths.state.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} <= {paths.engine_log}


def test_an_engine_that_was_stopped_in_the_middle_of_a_round_writes_nothing_after_it(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="importmovies")
    paths = ProjectPaths(root)
    with engine_of(root) as engine:
        engine.step()
        judge, before = engine._judge, {path: path.stat().st_mtime_ns for path in paths.events.iterdir()}

        def stopped() -> None:
            judge()
            write(paths, replace(ELSEWHERE, epoch=engine.lease.lease.epoch + 1))
            engine.lease._beaten -= 30.0
            engine.ledger.notice("something to be written")

        engine._judge = stopped  # type: ignore[method-assign]
        with pytest.raises(LeaseLost):
            engine.step()
        assert {path: path.stat().st_mtime_ns for path in paths.events.iterdir()} == before


def test_an_engine_that_was_stopped_while_another_took_over_ends(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3, settings={"seconds": 5.0})
    requests.run(root, DATA)
    engine = start_engine(root)
    wait_for(lambda: states(load_status(root)).get("fsMotionAndCtf") == ">", what="for a running task")
    os.kill(engine.pid, signal.SIGSTOP)
    paths = ProjectPaths(root)
    lease = read_lease(paths.lease)
    assert lease is not None
    write(paths, replace(ELSEWHERE, epoch=lease.epoch + 1))
    os.kill(engine.pid, signal.SIGCONT)
    assert engine.wait(30) == 2
    assert "taken over" in paths.engine_log.read_text()


def live_attempt(root: Path, monkeypatch: pytest.MonkeyPatch, **who: str) -> Engine:
    """A project in which a task of somebody runs, without an engine."""
    requests.run(root, DATA, to="fsMotionAndCtf")
    monkeypatch.setattr(Attempts, "submit", lambda self, *args: _submit_as(self, who, *args))
    with engine_of(root) as engine:
        drive(engine, lambda: letters(engine, "fsMotionAndCtf") == ">")
    monkeypatch.undo()
    return engine


_SUBMIT = Attempts.submit


def _submit_as(self: Attempts, who: Mapping[str, str], *args: Any) -> Live:
    noted = self.journal.intent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(self.journal, "intent", lambda *words, **fields: noted(*words, **{**fields, **who}))
        return _SUBMIT(self, *args)


def test_tasks_that_run_on_another_host_bind_the_project_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3, settings={"seconds": 1.5})
    live_attempt(root, monkeypatch, host="elsewhere")
    with pytest.raises(ConflictError, match=r"still run on elsewhere \(fsMotionAndCtf Position_1\)"):
        Engine(root, DATA, lambda: None)
    lease = read_lease(ProjectPaths(root).lease)
    assert lease is not None and lease.released
    # when it has ended, anybody may go on
    paths = AttemptPaths(root / load_status(root).job("fsMotionAndCtf").folder, "Position_1", 1)
    wait_for(paths.state.exists, what="for the task's end")
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, "fsMotionAndCtf") == "+"
    assert set(done_attempts(root).values()) == {1}


def test_running_tasks_of_a_colleague_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3, settings={"seconds": 1.0})
    live_attempt(root, monkeypatch, user="anna")
    with pytest.raises(ConflictError, match="Tasks of anna still run"):
        Engine(root, DATA, lambda: None)


def test_two_that_ask_at_once_get_one_engine_and_both_are_served(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    command = [sys.executable, "-P", "-m", "crboost_tui.main", "run", str(root), "--to", "importmovies"]
    asked = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    said = [one.communicate() for one in asked]
    assert [one.returncode for one in asked] == [0, 0, 0], said
    wait_for(lambda: load_status(root).engine.request == 3 and load_status(root).engine.state == "ended")
    assert states(load_status(root))["importmovies"] == "+"
    assert set(done_attempts(root).values()) == {1}


def test_who_finds_that_the_engine_of_somebody_else_was_faster_waits_for_that_one(
    paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object) -> subprocess.Popen[bytes]:
        ours = subprocess.Popen(["false"])
        ours.wait()
        HeldLease.take(paths, "1")  # the other's, which has not found yet whether it may act
        return ours

    monkeypatch.setattr(start_module, "_start", too_late)
    beat = threading.Timer(0.2, lambda: write(paths, replace(_lease(paths), beat=1)))
    beat.start()
    assert ensure_engine(paths.root, DATA, "here").startswith("engine started")
    beat.join()

    write(paths, replace(_lease(paths), released=True))
    monkeypatch.setattr(start_module, "_start", lambda *_: subprocess.Popen(["false"]))
    with pytest.raises(CrboostError, match="did not start"):
        ensure_engine(paths.root, DATA, "here")


def _lease(paths: ProjectPaths) -> Lease:
    lease = read_lease(paths.lease)
    assert lease is not None
    return lease


def test_a_request_at_the_moment_of_the_end_is_not_lost(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="importmovies")
    with engine_of(root) as engine:
        drive(engine)
        requests.run(root, DATA, to="fsMotionAndCtf")
        assert not engine.finish()
        drive(engine, lambda: engine.ledger.status.engine.request == 2)
        drive(engine)
        assert letters(engine, "fsMotionAndCtf") == "+"
        assert engine.finish()
        assert load_status(root).engine.state == "ended"


def test_stop_without_an_engine_makes_the_pass_itself(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3, settings={"seconds": 20.0})
    requests.run(root, DATA)
    ensure_engine(root, DATA)
    wait_for(lambda: states(load_status(root)).get("fsMotionAndCtf") == ">", what="for a running task")
    lease = read_lease(ProjectPaths(root).lease)
    assert lease is not None
    os.kill(lease.pid, signal.SIGKILL)
    wait_for(lambda: not watch_until_known(ProjectPaths(root).lease).alive)
    requests.ask(root, "stop")
    began = time.monotonic()
    assert "no engine" in stop_now(root, DATA)
    assert time.monotonic() - began < 15
    assert states(load_status(root))["fsMotionAndCtf"] == "s"
    assert load_status(root).engine.state == "ended"
