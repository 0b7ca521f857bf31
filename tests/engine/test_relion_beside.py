"""RELION is open on the project too: its lock, its delete key, its windows, its buttons."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest

from core.engine import relion_jobs, requests
from core.engine.states import TaskState
from core.formats import star
from core.relion import project as relion
from core.relion.lock import locked_pipeline, read_pipeline, relion_lock
from tests.engine.driving import drive, engine_of, letters, sentences
from tests.rehearsed import DATA, done_attempts, rehearsal, wait_for


def taken(lock: Path) -> bool:
    try:
        lock.mkdir()
    except FileExistsError:
        return False
    return True


def test_a_lock_that_somebody_holds_is_said_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relion_jobs, "AGAIN_SECONDS", 0.2)
    monkeypatch.setattr(relion, "locked_pipeline", functools.partial(locked_pipeline, wait_seconds=0.2))
    monkeypatch.setattr(relion, "relion_lock", functools.partial(relion_lock, wait_seconds=0.2))
    root = rehearsal(tmp_path, series=1, tilts=3)
    lock = root / ".relion_lock"
    lock.mkdir()
    (lock / "lock_default_pipeline.star").write_text("lock\n")
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine, lambda: "has held its lock" in sentences(engine))
        assert not engine.idle() and letters(engine, "importmovies") == "o"
        requests.ask(root, "hold")  # it still listens
        drive(engine, lambda: letters(engine, "importmovies") == ".", seconds=5)
        requests.ask(root, "release")
        (lock / "lock_default_pipeline.star").unlink()
        lock.rmdir()
        drive(engine, lambda: letters(engine, "importmovies") == "+")
        wait_for(lambda: taken(lock), what="for RELION's lock, which the engine may have just now")
        (lock / "lock_default_pipeline.star").write_text("lock\n")
        drive(engine, lambda: "has held its lock" in sentences(engine))
        (lock / "lock_default_pipeline.star").unlink()
        lock.rmdir()
        drive(engine)
        assert not engine.ledger.status.needs
    assert [process.status for process in read_pipeline(root).processes()] == ["Succeeded", "Succeeded"]
    assert set(done_attempts(root).values()) == {1}


def test_a_job_that_relion_removed_is_said_and_made_anew_on_request(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="importmovies")
    with engine_of(root) as engine:
        drive(engine)
        requests.run(root, DATA, to="fsMotionAndCtf")
        drive(engine, lambda: letters(engine, "fsMotionAndCtf") == "+")
        drive(engine)
        old = engine.ledger.job("fsMotionAndCtf").folder
        relion.trash_job(root, old + "/")
        requests.redo(root, DATA, jobs=["fsMotionAndCtf"])
        drive(engine, lambda: engine.ledger.status.engine.request == 3)
        drive(engine)
        assert engine.ledger.job("fsMotionAndCtf").folder != old
        assert letters(engine, "fsMotionAndCtf") == "+" and not engine.ledger.status.needs
        assert not (root / old).exists()


def test_a_job_that_relion_removed_while_it_waited_is_not_written_to(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3, settings={"fail": "fs_motion_and_ctf:*:crash"})
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine, lambda: letters(engine, "fsMotionAndCtf") == "x")
        folder = engine.ledger.job("fsMotionAndCtf").folder
        drive(engine)
        relion.trash_job(root, folder + "/")
        engine.streaks.succeeded("fsMotionAndCtf")
        engine.ledger.set_task("fsMotionAndCtf", "Position_1", TaskState.WAITING, fingerprint="")
        engine.touch("fsMotionAndCtf", "Position_1")
        drive(engine)
        assert "removed from RELION's pipeline" in sentences(engine)
        assert not (root / folder).exists()


def test_relions_windows_tell_what_happened(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3, settings={"fail": "fs_motion_and_ctf:Position_2:crash"})
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine)
        folder = root / engine.ledger.job("fsMotionAndCtf").folder
        assert "Position_1 (attempt 1) done" in (folder / "run.out").read_text()
        assert "Position_2 (attempt 1) failed: " in (folder / "run.err").read_text()
        notes = (folder / "note.txt").read_text().count("++++ Executing")
        (root / ".crboost/standins/standin.json").write_text('{"seconds": 0.02}')
        requests.retry(root, DATA)
        drive(engine, lambda: engine.ledger.status.engine.request == 2)
        drive(engine)
        assert "Position_2 (attempt 2) done" in (folder / "run.out").read_text()
        text = (folder / "note.txt").read_text()
        assert text.count("++++ Executing") == notes + 1 and "crboost retry . --jobs fsMotionAndCtf" in text


def test_relions_own_button_asks_crboost(tmp_path: Path) -> None:
    """RELION runs ``<fn_exe> --o FOLDER --j 1`` by a shell: what it appends must not reach crboost."""
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine)
        table = star.read(root / engine.ledger.job("fsMotionAndCtf").folder / "job.star").block("joboptions_values")
    options = dict(zip(table.column("rlnJobOptionVariable"), table.column("rlnJobOptionValue"), strict=True))
    program = tmp_path / "crboost"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    command = f"{options['fn_exe']} --o External/job002/ --in_mics x.star --j 1"
    said = subprocess.run(
        command, shell=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert said.stdout == "retry . --jobs fsMotionAndCtf\n", said
