"""A whole run with stand-ins, from the request to RELION's files."""

from __future__ import annotations

from pathlib import Path

from core.engine import requests
from core.formats import star
from core.relion.lock import read_pipeline
from tests.rehearsed import DATA, done_attempts, rehearsal, run_engine, run_to_end, states

JOBS = ["importmovies", "fsMotionAndCtf", "tsImport", "aligntiltsWarp", "tsCtf", "tsReconstruct"]


def test_whole_pipeline_ends_with_tomograms_and_relion_files(tmp_path: Path) -> None:
    root = rehearsal(tmp_path)
    status = run_to_end(root)
    assert status.outcome() == "succeeded", states(status)
    assert states(status) == {job: "++++" if job == "aligntiltsWarp" else "+++" for job in JOBS}
    assert set(done_attempts(root).values()) == {1}
    tables = star.read(root / status.job("tsReconstruct").folder / "tomograms.star").block("global")
    assert tables.column("rlnTomoName") == ["Position_1", "Position_2", "Position_3"]
    for path in tables.column("rlnTomoReconstructedTomogram"):
        assert (root / path).stat().st_size > 1024
    for job in status.jobs:
        assert (root / job.folder / "RELION_JOB_EXIT_SUCCESS").exists()
        assert (root / job.folder / "job.star").exists()
    text = (root / "default_pipeline.star").read_text()
    assert text.count("Succeeded") == 6 and "Running" not in text


def test_pilot_then_release_all(tmp_path: Path) -> None:
    root = rehearsal(tmp_path)
    status = run_to_end(root, series=["Position_2"], to="tsImport")
    assert states(status)["tsImport"] == ".+."
    assert states(status)["fsMotionAndCtf"] == ".+."
    assert states(status)["aligntiltsWarp"] == "...."
    assert status.outcome() == "unfinished"
    status = run_to_end(root)
    assert status.outcome() == "succeeded"
    assert set(done_attempts(root).values()) == {1}


def test_a_second_run_does_nothing_again(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2)
    run_to_end(root)
    before = done_attempts(root)
    status = run_to_end(root)
    assert done_attempts(root) == before
    assert status.outcome() == "succeeded"


def test_failing_series_stops_only_itself_and_is_retried_alone(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, settings={"fail": "ts_ctf:Position_2:fail"})
    status = run_to_end(root)
    assert states(status)["tsCtf"] == "+x+"
    assert states(status)["tsReconstruct"] == "+b+"
    assert "Position_2" in status.job("tsCtf").causes
    assert status.outcome() == "failed"
    (root / ".crboost/standins/standin.json").write_text('{"seconds": 0.02}')
    requests.retry(root, DATA)
    status = run_engine(root)
    assert status.outcome() == "succeeded", states(status)
    done = done_attempts(root)
    assert set(done.values()) == {1}


def test_pause_after_five_failures_of_one_cause(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=8, tilts=3, settings={"fail": "fs_motion_and_ctf:*:crash"})
    (root / ".crboost/conf.yaml").write_text("submitter: local\nlocal: {cpus: 1, gpus: 1}\n")
    status = run_to_end(root)
    assert states(status)["fsMotionAndCtf"].count("x") == 5
    assert states(status)["fsMotionAndCtf"].count("!") == 3
    assert any("5 failures" in need.sentence for need in status.needs)
    assert "Running" in (root / "default_pipeline.star").read_text()


def test_pipeline_file_is_relions(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1)
    run_to_end(root)
    pipeline = read_pipeline(root)
    assert [process.status for process in pipeline.processes()] == ["Succeeded"] * 6


def test_relion_sees_which_job_feeds_which(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1)
    run_to_end(root)
    pipeline = read_pipeline(root)
    assert pipeline.input_edges() == [
        ("Import/job001/tilt_series.star", "External/job002/"),
        ("External/job002/fs_motion_and_ctf.star", "External/job003/"),
        ("External/job003/tilt_series.star", "External/job004/"),
        ("External/job004/aligned_tilt_series.star", "External/job005/"),
        ("External/job005/tilt_series_ctf.star", "External/job006/"),
    ]
