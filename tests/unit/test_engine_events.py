"""The events feed and the status that is rebuilt from snapshot and events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.engine import events as events_module
from core.engine.events import EventLog, EventReader
from core.engine.ledger import Ledger
from core.engine.reading import StatusFollower
from core.engine.states import TaskState
from core.engine.status import JobStatus, Status, load_snapshot, save_status
from core.errors import InputError
from core.project.layout import ProjectPaths


def folders(root: Path) -> ProjectPaths:
    paths = ProjectPaths(root)
    paths.events.mkdir(parents=True)
    return paths


def small_status() -> Status:
    job = JobStatus("tsCtf", "tsCtf", "CTF", cohorts=["@all"])
    job.states, job.attempts = [".", ".", "."], [0, 0, 0]
    job.fingerprints, job.started, job.ended = ["", "", ""], [0.0] * 3, [0.0] * 3
    return Status(name="p", series=["TS_1", "TS_2"], names=["a", "b"], jobs=[job])


def test_reader_gets_every_event_once_across_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "ROTATE_BYTES", 500)
    paths = folders(tmp_path)
    log, reader = EventLog(paths.events, 0), EventReader(paths.events, 0)
    seen = []
    for number in range(60):
        log.add(1000.0 + number, "notice", sentence=f"event {number}")
        if number % 7 == 0:
            log.flush()
            seen += [event.fields["sentence"] for event in reader.read()]
    log.flush()
    seen += [event.fields["sentence"] for event in reader.read()]
    assert seen == [f"event {number}" for number in range(60)]
    assert len(list(paths.events.iterdir())) > 3
    assert not reader.gap


def test_reader_passes_over_a_torn_line_and_reads_on(tmp_path: Path) -> None:
    paths = folders(tmp_path)
    log = EventLog(paths.events, 0)
    log.add(1.0, "notice", sentence="one")
    log.flush()
    file = next(paths.events.iterdir())
    with open(file, "ab") as stream:
        stream.write(b'{"n": 2, "t": 2.0, "ki')
    reader = EventReader(paths.events, 0)
    assert [event.number for event in reader.read()] == [1]
    with open(file, "ab") as stream:
        stream.write(b'nd": "notice"}\n')
    assert [event.number for event in reader.read()] == [2]


def test_a_gap_is_noticed(tmp_path: Path) -> None:
    paths = folders(tmp_path)
    (paths.events / "000000000005.jsonl").write_text('{"n": 5, "t": 1.0, "kind": "notice"}\n')
    reader = EventReader(paths.events, 2)
    reader.read()
    assert reader.gap


def test_status_survives_writing_and_reading(tmp_path: Path) -> None:
    paths = folders(tmp_path)
    status = small_status()
    status.jobs[0].causes["TS_2"] = "out of memory"
    save_status(paths, status)
    again = load_snapshot(paths)
    assert again is not None and again.to_json() == status.to_json()
    assert json.loads(paths.summary.read_text())["counts"] == {".": 3}
    assert len(paths.summary.read_text()) < 1000


def test_ledger_rebuilds_what_was_not_in_the_snapshot(tmp_path: Path) -> None:
    paths = folders(tmp_path)
    save_status(paths, small_status())
    ledger = Ledger(paths)
    ledger.set_task("tsCtf", "TS_2", TaskState.RUNNING, attempt=3, fingerprint="abc")
    ledger.set_task("tsCtf", "@all", TaskState.FAILED, cause="no disk")
    ledger.log.flush()
    # no save: as if the engine was killed here
    again = Ledger(paths)
    assert again.state("tsCtf", "TS_2") == TaskState.RUNNING
    assert again.attempt("tsCtf", "TS_2") == 3
    assert again.fingerprint("tsCtf", "TS_2") == "abc"
    assert again.state("tsCtf", "@all") == TaskState.FAILED
    assert again.job("tsCtf").causes == {"@all": "no disk"}
    assert again.log.last == ledger.log.last


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "engine": {}, "needs": [], "jobs": [3]}']
)
def test_damaged_status_is_one_sentence(tmp_path: Path, text: str) -> None:
    paths = folders(tmp_path)
    paths.status.write_text(text)
    with pytest.raises(InputError, match="damaged"):
        load_snapshot(paths)


def test_status_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    paths = folders(tmp_path)
    paths.status.write_text('{"format": 2}')
    with pytest.raises(InputError, match="newer version"):
        load_snapshot(paths)


def test_a_reader_takes_up_series_that_were_added_meanwhile(tmp_path: Path) -> None:
    paths = folders(tmp_path)
    paths.file.write_text("name: p\n")
    save_status(paths, small_status())
    follower = StatusFollower(tmp_path)
    log = EventLog(paths.events, 0)
    log.add(1.0, "task", job="tsCtf", key="TS_3", state="+", attempt=1)
    log.flush()
    follower.update()
    assert follower.status.series == ["TS_1", "TS_2"]  # the snapshot does not have it yet
    grown = small_status()
    grown.series, job = ["TS_1", "TS_2", "TS_3"], grown.jobs[0]
    for column in (job.states, job.attempts, job.fingerprints, job.started, job.ended):
        column.insert(2, column[0])  # type: ignore[arg-type]
    save_status(paths, grown)
    follower.update()
    assert follower.status.series == ["TS_1", "TS_2", "TS_3"]
    assert follower.status.jobs[0].states == [".", ".", "+", "."]
