"""What tools do at night: each kind of failure is seen, named, and stops only what depends on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.engine import requests
from core.engine.reading import load_status
from core.errors import InputError
from core.project.file import load, save
from tests.rehearsed import DATA, rehearsal, run_engine, run_to_end, start_engine, states, wait_for

RULES = (
    "fs_motion_and_ctf:Position_1:silent,ts_aretomo:Position_2:crash,ts_reconstruct:Position_3:half,"
    "ts_ctf:Position_4:memory"
)


def test_every_kind_of_failure_is_named(tmp_path: Path) -> None:
    root = rehearsal(
        tmp_path,
        series=5,
        settings={"fail": RULES},
        pieces={"decisions": {"handedness": "flip"}},
        parameters={"aligntiltsWarp": {"tilt_axis": 84.7}, "tsReconstruct": {"pixel_size": 4.0}},
    )
    status = run_to_end(root)
    assert states(status) == {
        "importmovies": "+++++",
        "fsMotionAndCtf": "x++++",
        "tsImport": "b++++",
        "aligntiltsWarp": "bx+++",
        "tsCtf": "bb+x+",
        "tsReconstruct": "bbxb+",
    }
    causes = {job.id: job.causes for job in status.jobs}
    assert ".xml" in causes["fsMotionAndCtf"]["Position_1"] or "average" in causes["fsMotionAndCtf"]["Position_1"]
    assert causes["aligntiltsWarp"]["Position_2"]
    assert "memory" in causes["tsCtf"]["Position_4"] or "137" in causes["tsCtf"]["Position_4"]
    assert "cut short" in causes["tsReconstruct"]["Position_3"]
    assert "did not succeed" in causes["tsReconstruct"]["Position_4"]
    # a job with at least one good series is a success, but the run as a whole says that something failed
    assert status.outcome() == "failed"


def test_unclear_handedness_asks_and_an_answer_goes_on(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, parameters={"fsMotionAndCtf": {"c_grid": "1x1x1"}})
    status = run_to_end(root)
    assert states(status)["tsCtf"] in ("!", "."), states(status)
    assert status.outcome() in ("needs you", "unfinished")
    loaded = load(root)
    save(root, loaded.model.model_copy(update={"decisions": {"handedness": "flip"}}), loaded.digest)
    assert run_to_end(root).outcome() == "succeeded"


def test_a_hanging_tool_ends_at_its_time_limit(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, settings={"fail": "fs_motion_and_ctf:*:hang"})
    requests.run(root, DATA)
    engine = start_engine(root)
    wait_for(lambda: states(load_status(root)).get("fsMotionAndCtf") == ">", what="for the task to run")
    requests.ask(root, "stop")
    assert engine.wait(60) == 0
    assert states(load_status(root))["fsMotionAndCtf"] == "s"


def test_a_plan_with_errors_is_refused_with_all_of_them(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, parameters={"tsCtf": {"window": -5}, "tsReconstruct": {"nonsense": 1}})
    with pytest.raises(InputError) as caught:
        requests.run(root, DATA)
    assert "window" in str(caught.value) and "nonsense" in str(caught.value)


def test_second_engine_is_refused(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1, settings={"seconds": 1.0})
    requests.run(root, DATA)
    first = start_engine(root)
    wait_for(lambda: load_status(root).engine.state == "running", what="for the engine")
    second = start_engine(root)
    assert second.wait(20) == 2
    assert "already runs" in (root / ".crboost/engine.log").read_text()
    first.terminate()
    first.wait(20)


def test_once_makes_one_pass(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1)
    requests.run(root, DATA)
    status = run_engine(root, "--once")
    assert states(status)["importmovies"] == "+"
    assert status.engine.state == "ended"
    for _ in range(40):
        if run_engine(root, "--once").outcome() == "succeeded":
            break
    assert load_status(root).outcome() == "succeeded"
