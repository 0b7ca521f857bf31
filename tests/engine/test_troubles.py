"""Files that cannot be read or written now, and defects of ours: said, confined to what they concern, and passing."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from core.engine import engine as engine_module
from core.engine import requests, space
from core.engine import submitting as submitting_module
from core.engine.events import EventLog
from core.engine.lease import LeaseLost
from core.engine.worker import Worker
from core.errors import CrboostError
from core.jobs._registry import job_type
from core.project.layout import ProjectPaths
from tests.engine.driving import drive, engine_of, letters, sentences
from tests.rehearsed import DATA, done_attempts, rehearsal


def test_damaged_requests_are_said_and_the_old_wishes_hold(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA)
    wanted = ProjectPaths(root).wanted
    good = wanted.read_text()
    with engine_of(root) as engine:
        drive(engine, lambda: letters(engine, "importmovies") == "+")
        wanted.write_text(good[:-20])
        drive(engine, lambda: "wanted.json" in sentences(engine))
        drive(engine)  # goes on with what was wanted
        wanted.write_text(good)
        drive(engine, lambda: not engine.ledger.status.needs)
    assert set(done_attempts(root).values()) == {1}


def test_a_job_type_that_chokes_on_a_series_fails_that_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3)
    kind = type(job_type("fsMotionAndCtf"))
    build = kind.build

    def choke(self: Any, task: Any) -> Any:
        if task.key == "Position_1":
            raise KeyError("surprise")
        return build(self, task)

    monkeypatch.setattr(kind, "build", choke)
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, "fsMotionAndCtf") == "x+"
        assert "surprise" in engine.ledger.job("fsMotionAndCtf").causes["Position_1"]


def test_a_reader_that_chokes_on_a_series_fails_that_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3)
    requests.run(root, DATA, to="importmovies")
    with engine_of(root) as engine:
        drive(engine)
        folder = engine.ledger.job("importmovies").folder
        epoch = engine.lease.lease.epoch
    kind = type(job_type("importmovies"))
    gather = kind.gather_series

    def choke(self: Any, job: Any, key: str, context: Any) -> Any:
        if key == "Position_1":
            raise ValueError("surprise")
        return gather(self, job, key, context)

    monkeypatch.setattr(kind, "gather_series", choke)
    request = {
        "op": "gather",
        "id": 1,
        "instance": "importmovies",
        "keys": {"Position_1": None, "Position_2": None},
        "items": [{"key": "Position_1", "mark": "new"}, {"key": "Position_2", "mark": "new"}],
        "settled": True,
        "version": None,
        "folders": {"importmovies": folder},
        "epoch": epoch,
    }
    answer = Worker(root, DATA).answer(request)
    assert list(answer["problems"]) == ["Position_1"] and "surprise" in answer["problems"]["Position_1"]
    # a full disk is no series' failure
    monkeypatch.setattr(kind, "gather_series", full_disk)
    answer = Worker(root, DATA).answer({**request, "items": [{"key": "Position_1", "mark": "newer"}]})
    assert answer["full"] and "problems" not in answer


def test_the_worker_of_an_engine_that_lost_the_project_writes_no_tables(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="importmovies")
    with engine_of(root) as engine:
        drive(engine)
        folder, epoch = engine.ledger.job("importmovies").folder, engine.lease.lease.epoch
    table = root / folder / job_type("importmovies").main_output[0]
    table.unlink()
    request = {
        "op": "gather", "id": 1, "instance": "importmovies", "keys": {"Position_1": None},
        "items": [{"key": "Position_1", "mark": "new"}], "settled": True, "version": None,
        "folders": {"importmovies": folder}, "epoch": epoch,
    }  # fmt: skip
    with engine_of(root):
        assert "Another engine" in Worker(root, DATA).answer(request)["error"]
        assert not table.exists()
        assert "error" not in Worker(root, DATA).answer({**request, "epoch": epoch + 1})
        assert table.exists()


def test_tables_that_cannot_be_written_are_said_and_read_again_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "GATHER_PAUSE_SECONDS", 0.1)
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="importmovies")
    with engine_of(root) as engine:
        drive(engine, lambda: engine.ledger.job("importmovies").folder)
        folder = root / engine.ledger.job("importmovies").folder
        table = folder / job_type("importmovies").main_output[0]
        table.mkdir()
        drive(engine)
        assert "could not be read" in sentences(engine)
        assert engine.ledger.job("importmovies").state == "Failed"
        assert engine.ledger.status.event < 200  # it is not tried for ever
        table.rmdir()
        requests.run(root, DATA, to="importmovies")
        drive(engine, lambda: engine.ledger.status.engine.request == 2)
        drive(engine)
        assert engine.ledger.job("importmovies").state == "Succeeded" and not engine.ledger.status.needs
    assert set(done_attempts(root).values()) == {1}


def test_a_killed_worker_loses_and_doubles_nothing(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3)
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        for _ in range(4):
            drive(engine, lambda: (engine.worker.busy and engine.worker.pid) or engine.idle())
            if engine.worker.pid:
                os.kill(engine.worker.pid, signal.SIGKILL)
            drive(engine, lambda: not engine.worker.busy)
        drive(engine)
        assert letters(engine, "fsMotionAndCtf") == "++"
        assert engine.ledger.job("fsMotionAndCtf").state == "Succeeded"
    assert set(done_attempts(root).values()) == {1}


def full_disk(*_: Any, **__: Any) -> None:
    raise CrboostError("cannot be written: the disk is full.") from OSError(errno.ENOSPC, "full")


def test_a_full_disk_stops_submitting_and_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "SPACE_SECONDS", 0.2)
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine, monkeypatch.context() as patch:
        patch.setattr(submitting_module, "replace_text", full_disk)
        drive(engine, lambda: "full" in sentences(engine))
        assert letters(engine, "fsMotionAndCtf") == "o" and not engine.idle()
        patch.undo()
        drive(engine)
        assert letters(engine, "fsMotionAndCtf") == "+" and not engine.ledger.status.needs


def test_events_that_find_no_space_come_whole_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path, 0)
    log.add(0.0, "notice", sentence="one")
    log.flush()
    log.add(0.0, "notice", sentence="two")
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(CrboostError, match="full"):
            log.flush()
    log.add(0.0, "notice", sentence="three")
    log.flush()
    lines = "".join(path.read_text() for path in sorted(tmp_path.glob("*.jsonl"))).splitlines()
    assert [line.split('"sentence": ')[1] for line in lines] == ['"one"}', '"two"}', '"three"}']


def test_what_the_worker_was_to_do_while_the_disk_was_full_is_done_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="importmovies")
    with engine_of(root) as engine:
        save, complaints = engine.ledger.save, [CrboostError("full")]

        def full_once(*, force: bool = False) -> None:
            if complaints and letters(engine, "importmovies") == "q":
                raise complaints.pop()
            save(force=force)

        monkeypatch.setattr(engine.ledger, "save", full_once)
        drive(engine, seconds=20)
        assert letters(engine, "importmovies") == "+" and not complaints
    assert set(done_attempts(root).values()) == {1}


def test_nothing_starts_below_the_limit_of_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "SPACE_SECONDS", 0.1)
    usage = namedtuple("usage", "total used free")
    free = [1.5e9]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, free[0]))
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="importmovies")
    with engine_of(root) as engine:
        drive(engine, lambda: "only 1.5 GB are free" in sentences(engine))
        assert letters(engine, "importmovies") == "o" and not engine.idle()
        assert engine.ledger.status.needs[0].kind == "space"
        free[0] = 5e9
        drive(engine)
        assert letters(engine, "importmovies") == "+" and not engine.ledger.status.needs


def test_an_engine_whose_project_is_gone_ends(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    with engine_of(root) as engine:
        engine.step()
        root.rename(tmp_path / "elsewhere")
        engine._beat_due = 0.0
        with pytest.raises(LeaseLost, match="gone"):
            engine.step()
        assert not root.exists()


def test_an_error_in_one_job_does_not_stop_the_others(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3, parameters={"tsReconstruct": {"nonsense": 1}})
    requests.run(root, DATA, to="importmovies")
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, "importmovies") == "+" and "nonsense" in sentences(engine)
