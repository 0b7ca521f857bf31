"""A pilot of a few series: it reaches its end, and what it decided with too little is decided anew for all."""

from __future__ import annotations

import json
from pathlib import Path

from core.engine import requests
from core.engine.reading import load_status
from tests.rehearsed import DATA, done_attempts, rehearsal, run_engine, run_to_end, states


def decisions(root: Path) -> dict[str, dict[str, object]]:
    found = json.loads((root / ".crboost/decisions.json").read_text())["decisions"]
    return {decision["key"]: decision for decision in found}


def test_a_pilot_reaches_its_tomograms_and_its_small_calibration_is_made_again(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=6, tilts=5)
    status = run_to_end(root, series=["Position_1", "Position_2"])
    assert states(status)["tsReconstruct"] == "++....", (states(status), status.needs)
    axis = next(key for key in decisions(root) if key.startswith("tilt_axis"))
    assert "2 series" in str(decisions(root)[axis]["evidence"])
    status = run_to_end(root)
    assert "6 series" in str(decisions(root)[axis]["evidence"])
    # the pilot's two follow the new axis only when somebody asks for it
    assert states(status)["aligntiltsWarp"] in ("##+++++", "+++++++")
    if "#" in states(status)["aligntiltsWarp"]:
        assert status.outcome() == "stale"
        requests.retry(root, DATA)
        status = run_engine(root)
    assert status.outcome() == "succeeded", states(status)


def test_a_hold_lasts_until_it_is_released(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3)
    requests.run(root, DATA, to="tsImport")
    requests.ask(root, "hold", series=["Position_2"])
    requests.run(root, DATA, to="tsImport")
    status = run_engine(root)
    assert states(status)["tsImport"] == "+." and states(status)["importmovies"] == "+."
    assert [need.kind for need in status.needs] == ["held"]
    assert "Position_2" in status.needs[0].sentence
    requests.ask(root, "release")
    status = run_engine(root)
    assert states(status)["tsImport"] == "++" and not status.needs


def test_a_lost_snapshot_is_made_again_from_the_events(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3)
    before = run_to_end(root)
    done = done_attempts(root)
    (root / ".crboost/status.json").unlink()
    after = run_to_end(root)
    assert done_attempts(root) == done
    assert states(after) == states(before) and after.outcome() == "succeeded"
    assert [job.folder for job in after.jobs] == [job.folder for job in before.jobs]
    assert [job.numbers for job in load_status(root).jobs] == [job.numbers for job in before.jobs]
