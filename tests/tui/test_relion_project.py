"""``crboost status`` on a project that RELION has made, and on RELION's side of one of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core.relion.project import prepare_project
from crboost_tui.app import CrboostApp
from crboost_tui.main import main
from crboost_tui.screens.monitor import MonitorScreen
from crboost_tui.screens.relion import RelionScreen
from tests.shared import shared
from tests.tui import seed

PIPELINE = """
# version 50001

data_pipeline_general

_rlnPipeLineJobCounter                       4
 

# version 50001

data_pipeline_processes

loop_ 
_rlnPipeLineProcessName #1 
_rlnPipeLineProcessAlias #2 
_rlnPipeLineProcessTypeLabel #3 
_rlnPipeLineProcessStatusLabel #4 
MotionCorr/job002/       None relion.motioncorr.own    Failed 
Import/job001/ Import/session/ relion.importtomo  Succeeded 
External/job003/       None relion.external    Running 
 

# version 50001

data_pipeline_nodes

loop_ 
_rlnPipeLineNodeName #1 
_rlnPipeLineNodeTypeLabel #2 
_rlnPipeLineNodeTypeLabelDepth #3 
Import/job001/tilt_series.star TomogramGroupMetadata.star.relion.tomo.import            1 
 

# version 50001

data_pipeline_input_edges

loop_ 
_rlnPipeLineEdgeFromNode #1 
_rlnPipeLineEdgeProcess #2 
Import/job001/tilt_series.star MotionCorr/job002/ 
 

# version 50001

data_pipeline_output_edges

loop_ 
_rlnPipeLineEdgeProcess #1 
_rlnPipeLineEdgeToNode #2 
Import/job001/ Import/job001/tilt_series.star 
 
"""  # noqa: W291, W293 - as RELION writes it


def test_a_project_of_relion_opens_with_its_jobs_states_and_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "default_pipeline.star").write_text(PIPELINE)
    assert main(["status", "--json", str(tmp_path)]) == 0
    jobs = json.loads(capsys.readouterr().out)["relion"]
    assert [(job["name"], job["status"], job["alias"]) for job in jobs] == [
        ("Import/job001", "Succeeded", "Import/session"),
        ("MotionCorr/job002", "Failed", ""),
        ("External/job003", "Running", ""),
    ]
    assert jobs[1]["inputs"] == [["Import/job001/tilt_series.star", "Import/job001"]]
    assert main(["status", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "MotionCorr/job002" in told.out and "Import/job001/tilt_series.star" in told.out
    assert "crboost new" in told.err
    assert {path.name for path in tmp_path.iterdir()} == {"default_pipeline.star"}, "looking writes nothing"


def test_a_project_made_in_its_folder_goes_on_after_its_jobs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "default_pipeline.star").write_text(PIPELINE)
    assert main(["new", str(tmp_path)]) == 0
    assert (tmp_path / "default_pipeline.star").read_text() == PIPELINE
    capsys.readouterr()
    assert main(["status", "--relion", "--json", str(tmp_path)]) == 0
    assert len(json.loads(capsys.readouterr().out)["relion"]) == 3


def test_a_pipeline_of_relion_5_1_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shared("facts/relion-samples/default_pipeline_all_tomo_jobs_scheduled.star").read_text()
    (tmp_path / "default_pipeline.star").write_text(text)
    assert main(["status", "--json", str(tmp_path)]) == 0
    jobs = json.loads(capsys.readouterr().out)["relion"]
    assert len(jobs) == text.count(" Scheduled") and any(job["inputs"] for job in jobs)


@pytest.mark.parametrize("size", [(80, 24), (120, 34)])
def test_relions_jobs_on_a_screen(tmp_path: Path, snap_compare: Any, size: tuple[int, int]) -> None:
    root = tmp_path / "session"
    root.mkdir()
    (root / "default_pipeline.star").write_text(PIPELINE)

    async def before(pilot: Pilot[Any]) -> None:
        await shown(pilot, 3)

    assert snap_compare(CrboostApp(root, utf8=True), terminal_size=size, run_before=before)


async def test_a_scheme_that_runs_beside_us_is_shown_live(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "ours", seed.status())
    (root / "default_pipeline.star").write_text(PIPELINE)
    app = CrboostApp(root, utf8=True)
    async with app.run_test(size=(80, 24)) as pilot:
        for _ in range(100):
            await pilot.pause(0.02)
            if isinstance(app.screen, MonitorScreen) and app.screen.picture is not None:
                break
        await pilot.press("g")
        screen = await shown(pilot, 3)
        new = PIPELINE.replace(
            "External/job003/       None relion.external    Running",
            "External/job003/ None relion.external Succeeded \nExternal/job004/ None relion.external    Running",
        )
        (root / "default_pipeline.star").write_text(new)
        await shown(pilot, 4)
        assert [job.status for job in screen.jobs[2:]] == ["Succeeded", "Running"]
        await pilot.press("escape")
        assert isinstance(app.screen, MonitorScreen)


async def shown(pilot: Pilot[Any], jobs: int) -> RelionScreen:
    for _ in range(1500):
        await pilot.pause(0.02)
        screen = pilot.app.screen
        if isinstance(screen, RelionScreen) and len(screen.jobs) == jobs:
            await pilot.pause()
            return screen
    raise AssertionError("the jobs did not come")


def test_what_is_neither_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert "not a project" in capsys.readouterr().err
    (tmp_path / "default_pipeline.star").write_text("data_x\n\n_y 1\n")
    assert main(["status", str(tmp_path)]) == 2
    assert "has no block data_pipeline_general" in capsys.readouterr().err
    root = seed.write(tmp_path / "ours", seed.status())
    prepare_project(root)
    capsys.readouterr()
    assert main(["status", "--relion", str(root)]) == 0
    assert "no jobs yet" in capsys.readouterr().out
