"""Retry, redo, exclusions and what they leave alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.dataset.registry import load_registry
from core.engine import requests
from core.engine.reading import load_status
from core.errors import InputError
from core.jobs._registry import job_type
from core.project.data import add_data
from core.project.file import load, save
from core.project.layout import ProjectPaths
from core.project.model import Instance
from core.standins.session import make_session
from tests.engine.driving import drive, engine_of, letters
from tests.rehearsed import DATA, done_attempts, rehearsal, states


def attempts(root: Path, instance: str) -> dict[str, int]:
    status = load_status(root)
    job = status.job(instance)
    return dict(zip(status.keys(job), job.attempts, strict=True))


def decisions(root: Path) -> dict[str, object]:
    items = json.loads(ProjectPaths(root).decisions.read_text())["decisions"]
    return {item["key"]: item["value"] for item in items}


def test_a_calibration_can_be_redone_and_decides_anew(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="aligntiltsWarp")
    with engine_of(root) as engine:
        drive(engine)
        calibration = engine.plan.jobs["aligntiltsWarp"].cohorts[0]
        key = next(name for name in decisions(root) if name.startswith("tilt_axis"))
        made = decisions(root)[key]
        path = ProjectPaths(root).decisions
        path.write_text(path.read_text().replace(f'"value": {made}', '"value": 12.5'))
        requests.redo(root, DATA, jobs=["aligntiltsWarp"], series=[calibration])
        drive(engine, lambda: engine.ledger.status.engine.request == 2)
        assert letters(engine, "aligntiltsWarp")[0] in "#."
        drive(engine)
        assert decisions(root)[key] == made
        assert letters(engine, "aligntiltsWarp") == "++"
    assert attempts(root, "aligntiltsWarp") == {"Position_1": 1, calibration: 2}


def test_a_failed_calibration_is_retried_by_its_name_alone(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3, settings={"fail": "ts_aretomo:*:crash"})
    requests.run(root, DATA, to="aligntiltsWarp")
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, "aligntiltsWarp") == "bx"
        calibration = engine.plan.jobs["aligntiltsWarp"].cohorts[0]
        (root / ".crboost/standins/standin.json").write_text('{"seconds": 0.02}')
        requests.retry(root, DATA, series=[calibration])
        drive(engine, lambda: engine.ledger.status.engine.request == 2)
        drive(engine)
        assert letters(engine, "aligntiltsWarp") == "++"


def test_a_retry_runs_nothing_that_nobody_asked_for(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3, settings={"fail": "fs_motion_and_ctf:*:crash"})
    requests.run(root, DATA, series=["Position_1"], to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, "fsMotionAndCtf") == "x."
        (root / ".crboost/standins/standin.json").write_text('{"seconds": 0.02}')
        requests.retry(root, DATA)
        drive(engine, lambda: engine.ledger.status.engine.request == 2)
        drive(engine)
        assert letters(engine, "fsMotionAndCtf") == "+." and letters(engine, "tsImport") == ".."


def test_what_was_excluded_and_taken_in_again_is_not_repeated(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3)
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine)
        requests.ask(root, "exclude", series=["Position_2"])
        drive(engine, lambda: letters(engine, "fsMotionAndCtf") == "+-")
        drive(engine)
        assert "Position_2" not in _table(root, engine.ledger.job("fsMotionAndCtf").folder)
        requests.ask(root, "include", series=["Position_2"])
        drive(engine, lambda: letters(engine, "fsMotionAndCtf") == "++")
        drive(engine)
        assert "Position_2" in _table(root, engine.ledger.job("fsMotionAndCtf").folder)
    assert set(done_attempts(root).values()) == {1}


def _table(root: Path, folder: str) -> str:
    return (root / folder / job_type("fsMotionAndCtf").main_output[0]).read_text()


def test_a_redo_that_fails_can_be_retried(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine)
        for number, setting in ((2, '{"seconds": 0.02, "fail": "fs_motion_and_ctf:*:half"}'), (3, '{"seconds": 0.02}')):
            (root / ".crboost/standins/standin.json").write_text(setting)
            requests.redo(root, DATA, jobs=["fsMotionAndCtf"])
            drive(engine, lambda number=number: engine.ledger.status.engine.request == number)  # type: ignore[misc]
            drive(engine)
        assert letters(engine, "fsMotionAndCtf") == "+", engine.ledger.job("fsMotionAndCtf").causes
    assert attempts(root, "fsMotionAndCtf") == {"Position_1": 3}


def test_finished_jobs_stay_finished_for_relion_while_another_is_retried(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine)
    requests.ask(root, "hold")
    with engine_of(root) as engine:
        seen: set[str] = set()

        def look() -> bool:
            seen.add(engine.ledger.job("importmovies").state)
            return engine.idle()

        drive(engine, look)
        assert seen == {"Succeeded"}
        assert (root / engine.ledger.job("importmovies").folder / "RELION_OUTPUT_NODES.star").exists()


def test_series_that_are_added_join_with_the_next_request(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="aligntiltsWarp")
    with engine_of(root) as engine:
        drive(engine)
        more = make_session(tmp_path / "more", series=2, tilts=3, size_px=(48, 48), frames=3)
        add_data(root, [str(more.frames)], [str(more.mdocs)], settle_seconds=0)
        known = [series.id for series in load_registry(ProjectPaths(root).registry).series]
        assert len(known) > 1
        drive(engine)
        assert letters(engine, "importmovies") == "+"
        requests.run(root, DATA, to="aligntiltsWarp")
        drive(engine, lambda: engine.ledger.job("importmovies").state == "Running")
        drive(engine)
        assert letters(engine, "importmovies") == "+" * len(known)
        job = engine.ledger.job("aligntiltsWarp")
        assert set(states(engine.ledger.status)["aligntiltsWarp"]) == {"+"}
        assert any("Not in this cohort" in note for notes in job.notes.values() for note in notes), job.notes
    assert set(done_attempts(root).values()) == {1}


def test_a_job_that_leaves_the_pipeline_while_it_runs_is_ended(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3, settings={"seconds": 20.0})
    requests.run(root, DATA, to="fsMotionAndCtf")
    with engine_of(root) as engine:
        drive(engine, lambda: letters(engine, "fsMotionAndCtf") == ">")
        loaded = load(root)
        kept = [one for one in loaded.model.pipeline if one.id == "importmovies"]
        save(root, loaded.model.model_copy(update={"pipeline": kept}), loaded.digest)
        requests.run(root, DATA)
        drive(engine, lambda: engine.ledger.status.engine.request == 2)
        drive(engine)
        assert not engine.attempts.live
    text = (root / "default_pipeline.star").read_text()
    assert "Aborted" in text and "Running" not in text


def test_of_several_producers_each_series_takes_the_first_that_is_done(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3, settings={"fail": "ts_aretomo:Position_2:crash"})
    loaded = load(root)
    pipeline = []
    for one in loaded.model.pipeline:
        if one.id == "aligntiltsWarp":
            one = one.model_copy(update={"parameters": {**one.parameters, "tilt_axis": 84.7}})
            pipeline += [
                one,
                Instance(id="imod", type=one.type, parameters={**one.parameters, "method": "IMOD patches"}),
            ]
        elif one.id == "tsCtf":
            slot = next(iter(_slots("tsCtf")))
            pipeline.append(one.model_copy(update={"inputs": {slot: ["aligntiltsWarp", "imod"]}}))
        else:
            pipeline.append(one)
    model = loaded.model.model_copy(update={"pipeline": pipeline, "decisions": {"handedness": "flip"}})
    save(root, model, loaded.digest)
    requests.run(root, DATA, to="tsCtf")
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, "aligntiltsWarp") == "+x" and letters(engine, "imod") == "++"
        assert letters(engine, "tsCtf") == "++", engine.ledger.job("tsCtf").causes
        chosen = {key: list(choice.values()) for key, choice in engine.ledger.job("tsCtf").choices.items()}
        assert chosen == {"Position_1": ["aligntiltsWarp"], "Position_2": ["imod"]}
        prints = engine.ledger.job("tsCtf").fingerprints
        assert prints[1] == engine.plan.expected("tsCtf", "Position_2", engine.readiness.choices("tsCtf", "Position_2"))
        assert prints[1] != engine.plan.expected("tsCtf", "Position_2")
        # AreTomo mended: what was made from IMOD stays until it is asked for again
        (root / ".crboost/standins/standin.json").write_text('{"seconds": 0.02}')
        requests.retry(root, DATA, jobs=["aligntiltsWarp"])
        drive(engine, lambda: letters(engine, "aligntiltsWarp") == "++")
        drive(engine)
        assert letters(engine, "tsCtf") == "++"
        requests.redo(root, DATA, jobs=["tsCtf"], series=["Position_2"])
        drive(engine, lambda: engine.ledger.status.engine.request == 3)
        drive(engine)
        assert list(engine.ledger.job("tsCtf").choices["Position_2"].values()) == ["aligntiltsWarp"]


def _slots(name: str) -> list[str]:
    return [slot.name for slot in job_type(name).slots if slot.kind in job_type("aligntiltsWarp").provides]


def test_a_request_about_what_is_not_there_is_refused(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    with pytest.raises(InputError, match="no job tsCft"):
        requests.ask(root, "stop", jobs=["tsCft"])
    with pytest.raises(InputError, match="no tilt series Position_7"):
        requests.ask(root, "exclude", series=["Position_7"])


def test_internal_work_of_a_job_that_left_stops_nothing(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA, to="importmovies")
    with engine_of(root) as engine:
        engine.step()
        engine.submitting.internal.append(("importmovies", "Position_1"))
        loaded = load(root)
        save(root, loaded.model.model_copy(update={"pipeline": []}), loaded.digest)
        requests.run(root, DATA)
        drive(engine, lambda: engine.ledger.status.engine.request == 2)
        drive(engine)
