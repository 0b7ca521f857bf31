"""Parameters, data and wishes that change: stale marks, redoing in place, new instances, stop, hold, exclusions."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from core.cluster.protocol import AttemptPaths
from core.engine import requests
from core.engine.plan import make_plan
from core.engine.reading import load_status
from core.project.file import load, save
from core.project.model import Instance
from tests.rehearsed import (
    DATA,
    done_attempts,
    rehearsal,
    run_engine,
    run_to_end,
    start_engine,
    states,
    wait_for,
)


def change(root: Path, instance: str, **fields: Any) -> None:
    """Save the project with some fields of one instance replaced."""
    loaded = load(root)
    changed = loaded.model.instance(instance).model_copy(update=fields)
    save(root, loaded.model.with_instance(changed), loaded.digest)


def expected_stale(root: Path) -> dict[str, str]:
    """What the plan of the file as it stands says of the finished tasks, without any engine."""
    plan, status = make_plan(root, DATA), load_status(root)
    found = {}
    for job in status.jobs:
        keys = status.keys(job)
        found[job.id] = "".join(
            "=" if plan.expected(job.id, key, None, tuple(job.cohort_series.get(key, ()))) == mark else "#"
            for key, mark in zip(keys, job.fingerprints, strict=True)
        )
    return found


def test_changes_make_stale_what_they_can_change_and_nothing_else(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2)
    status = run_to_end(root)
    assert status.outcome() == "succeeded"
    assert set("".join(expected_stale(root).values())) == {"="}

    change(root, "tsCtf", parameters={"processes_per_gpu": 2})
    assert set("".join(expected_stale(root).values())) == {"="}  # cannot change a result

    change(root, "tsCtf", parameters={"window": 256})
    stale = expected_stale(root)
    assert (stale["tsImport"], stale["tsCtf"], stale["tsReconstruct"]) == ("==", "##", "##")

    # saving changed nothing that runs; the next run shows it and repeats nothing by itself
    assert states(load_status(root))["tsCtf"] == "++"
    status = run_to_end(root)
    assert states(status) | {"aligntiltsWarp": ""} == {
        "importmovies": "++",
        "fsMotionAndCtf": "++",
        "tsImport": "++",
        "aligntiltsWarp": "",
        "tsCtf": "##",
        "tsReconstruct": "##",
    }
    old = (root / status.job("tsCtf").folder / "warp_tiltseries/Position_1.xml").read_text()
    requests.retry(root, DATA, series=["Position_1"])
    status = run_engine(root)
    assert states(status)["tsCtf"] == "+#" and states(status)["tsReconstruct"] == "+#"
    moved = list((root / "Trash").glob("External/job005/*/warp_tiltseries/Position_1.xml"))
    assert [path.read_text() for path in moved] == [old]
    assert done_attempts(root)["job005/Position_1"] == 2
    assert done_attempts(root)["job004/Position_1"] == 1

    # and back: what was made with the old value is good again
    change(root, "tsCtf", parameters={})
    status = run_to_end(root)
    assert states(status)["tsCtf"] == "#+"


def test_a_new_instance_keeps_both(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1)
    run_to_end(root)
    loaded = load(root)
    second = Instance(id="tsReconstruct__2", type="tsReconstruct", parameters={"pixel_size": 20.0})
    save(root, loaded.model.model_copy(update={"pipeline": [*loaded.model.pipeline, second]}), loaded.digest)
    status = run_to_end(root)
    assert status.outcome() == "succeeded"
    folders = [status.job(name).folder for name in ("tsReconstruct", "tsReconstruct__2")]
    assert folders == ["External/job006", "External/job007"]
    names = [path.name for folder in folders for path in (root / folder).glob("warp_tiltseries/reconstruction/*.mrc")]
    assert names == ["Position_1_10.00Apx.mrc", "Position_1_20.00Apx.mrc"]


def test_one_series_can_have_its_own_value(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2)
    run_to_end(root)
    change(root, "aligntiltsWarp", per_series={"Position_2": {"sample_thickness": 90.0}})
    stale = expected_stale(root)
    assert stale["aligntiltsWarp"][:2] == "=#" and stale["tsReconstruct"] == "=#"
    assert stale["tsImport"] == "=="


def test_stop_hold_and_release(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2, settings={"seconds": 3.0})
    requests.run(root, DATA)
    engine = start_engine(root)
    wait_for(lambda: states(load_status(root)).get("fsMotionAndCtf") == ">>", what="for both to run")
    requests.ask(root, "stop")
    assert engine.wait(60) == 0
    status = load_status(root)
    assert states(status)["fsMotionAndCtf"] == "ss"
    for key in status.series:
        paths = AttemptPaths(root / status.job("fsMotionAndCtf").folder, key, 1)
        assert '"stopped"' in paths.state.read_text()
    (root / ".crboost/standins/standin.json").write_text('{"seconds": 0.02}')
    requests.run(root, DATA)
    requests.ask(root, "hold", jobs=["tsCtf"])
    status = run_engine(root)
    assert states(status)["fsMotionAndCtf"] == "++"
    assert states(status)["aligntiltsWarp"] == "+++"
    assert states(status)["tsCtf"] == ".."
    requests.ask(root, "release")
    assert run_engine(root).outcome() == "succeeded"


def test_exclusions(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=3)
    requests.ask(root, "exclude", series=["Position_3"])
    requests.ask_tilts(root, "exclude_tilts", {"Position_1": ["001"]})
    status = run_to_end(root)
    assert status.outcome() == "succeeded"
    assert all(states[2] == "-" for states in (job.states for job in status.jobs))
    job = status.job("tsImport")
    assert any("001" in note or "movie" in note for note in job.notes["Position_1"]), job.notes
    assert job.numbers["Position_1"]["tilts"] == job.numbers["Position_2"]["tilts"] - 1
    # excluding a tilt later makes stale what follows the import, not the motion correction
    requests.ask_tilts(root, "exclude_tilts", {"Position_2": ["002"]})
    stale = expected_stale(root)
    assert stale["fsMotionAndCtf"][:2] == "==" and stale["tsImport"][:2] == "=#"


def test_an_interrupted_engine_leaves_its_tasks_running(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, settings={"seconds": 2.0})
    requests.run(root, DATA)
    engine = start_engine(root)
    wait_for(lambda: states(load_status(root)).get("fsMotionAndCtf") == ">", what="for a running task")
    engine.send_signal(signal.SIGTERM)
    assert engine.wait(60) == 0
    assert load_status(root).engine.state == "ended"
    (root / ".crboost/standins/standin.json").write_text('{"seconds": 0.02}')
    assert run_engine(root).outcome() == "succeeded"
    assert set(done_attempts(root).values()) == {1}
