"""From movies to half tomograms with RELION's own job types, rehearsed: real engine, scripts and stand-ins."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from core.engine import requests
from core.engine.readiness import ON_HOLD
from core.engine.states import TaskState
from core.formats import star
from core.formats.mrc import read_mrc_header
from core.relion.lock import read_pipeline
from core.standins.imod_files import write_imod_files
from tests.engine.driving import drive, engine_of
from tests.engine.test_changes import change
from tests.rehearsed import DATA, done_attempts, rehearsal, run_engine, run_to_end, states

JOBS = ("importmovies", "motioncorr", "importAlignments", "reconstructtomograms")
PARAMETERS: dict[str, dict[str, Any]] = {
    # what the movies of 48 px allow
    "motioncorr": {"do_save_ps": False, "do_float16": False},
    "reconstructtomograms": {"xdim": 48, "ydim": 48, "zdim": 24, "binned_angpix": 2.7},
}


def relion_rehearsal(folder: Path, **more: Any) -> Path:
    """A project with IMOD's files for all its series."""
    root = rehearsal(folder, pipeline="relion_to_tomograms", **{"parameters": PARAMETERS, **more})
    write_imod_files(folder / "session" / "frames" / "session.json", root / "alignments")
    return root


def test_relions_job_types_make_relions_layout(tmp_path: Path) -> None:
    root = relion_rehearsal(tmp_path, series=2, tilts=5)
    status = run_to_end(root)
    assert states(status) == dict.fromkeys(JOBS, "++"), status.needs
    assert set(done_attempts(root).values()) == {1}
    assert [(each.name, each.label, each.status) for each in read_pipeline(root).processes()] == [
        ("Import/job001/", "relion.importtomo", "Succeeded"),
        ("MotionCorr/job002/", "relion.motioncorr.own", "Succeeded"),
        ("External/job003/", "relion.external", "Succeeded"),
        ("Tomograms/job004/", "relion.reconstructtomograms", "Succeeded"),
    ]

    corrected = star.read(root / "MotionCorr/job002/corrected_tilt_series.star").block("global")
    assert corrected.column("rlnTomoName") == ["Position_1", "Position_2"]
    assert corrected.column("rlnTomoTiltSeriesStarFile")[0] == "MotionCorr/job002/tilt_series/Position_1.star"
    assert [float(pixel) for pixel in corrected.column("rlnTomoTiltSeriesPixelSize")] == [1.35, 1.35]
    tilts = star.read(root / "MotionCorr/job002/tilt_series/Position_1.star").block("Position_1")
    assert tilts.column("rlnMicrographName")[1] == "MotionCorr/job002/frames/Position_1_001_3_0.mrc"
    for label in ("rlnMicrographName", "rlnMicrographNameEven", "rlnMicrographNameOdd", "rlnMicrographMetadata"):
        assert all((root / path).is_file() for path in tilts.column(label))

    aligned = star.read(root / "External/job003/tilt_series/Position_1.star").block("Position_1")
    assert [float(angle) for angle in aligned.column("rlnTomoZRot")] == pytest.approx([84.7] * 5, abs=1e-4)
    angles = [float(angle) for angle in aligned.column("rlnTomoYTilt")]
    assert angles == sorted(angles)

    tomograms = star.read(root / "Tomograms/job004/tomograms.star").block("global")
    row = dict(zip(tomograms.labels, tomograms.rows[0], strict=True))
    assert row["rlnTomoReconstructedTomogramHalf1"] == "Tomograms/job004/tomograms/rec_Position_1_half1.mrc"
    assert float(row["rlnTomoTomogramBinning"]) == 2 and int(row["rlnTomoSizeZ"]) == 24
    header = read_mrc_header(root / row["rlnTomoReconstructedTomogramHalf2"])
    assert (header.nx, header.ny, header.nz) == (24, 24, 12)
    numbers = {job.id: job.numbers["Position_1"] for job in status.jobs}
    assert numbers["motioncorr"]["motion_angstrom"] > 0 and numbers["importAlignments"]["tilts_used"] == 5


def test_no_task_writes_markers_of_a_job(tmp_path: Path) -> None:
    """One series would end the job for all."""
    root = relion_rehearsal(tmp_path, series=2, tilts=3)
    run_to_end(root)
    scripts = [path.read_text() for path in root.glob("*/job*/tasks/*/1.sh")]
    assert scripts and not any("pipeline_control" in script for script in scripts)


def test_a_job_star_has_every_option_and_the_tasks_follow_it(tmp_path: Path) -> None:
    root = relion_rehearsal(tmp_path, series=2, tilts=3)
    run_to_end(root)
    for folder, tomo in (("MotionCorr/job002", "1"), ("Tomograms/job004", "0")):
        job = star.read(root / folder / "job.star")
        options = dict(job.block("joboptions_values").rows)
        label = job.block("job").pairs()["rlnJobTypeLabel"]
        name = ".".join(label.split(".")[:2]).replace(".", "_")
        catalogue = json.loads((DATA / "catalogues" / f"{name}.json").read_text())
        assert set(options) == set(catalogue["options"]) and job.block("job").pairs()["rlnJobIsTomo"] == tomo
        script = (root / folder / "tasks/Position_2/1.sh").read_text()
        assert re.search(rf"--j\s+\\?\s*{options['nr_threads']}\b", script)
    table = star.read(root / "MotionCorr/job002/job.star").block("joboptions_values")
    assert dict(table.rows)["input_star_mics"] == "Import/job001/tilt_series.star"


def test_a_series_waits_until_the_tables_before_it_hold_it_anew(tmp_path: Path) -> None:
    """A changed parameter makes everything anew: nobody reads the tables of before."""
    root = relion_rehearsal(tmp_path, series=2, tilts=3)
    run_to_end(root)
    change(root, "motioncorr", parameters={**PARAMETERS["motioncorr"], "do_even_odd_split": True, "bin_factor": 2})
    requests.redo(root, DATA, jobs=list(JOBS[1:]))
    assert states(run_engine(root)) == dict.fromkeys(JOBS, "++")
    row = star.read(root / "Tomograms/job004/tomograms.star").block("global")
    assert [float(pixel) for pixel in row.column("rlnTomoTiltSeriesPixelSize")] == [2.7, 2.7]
    assert "rlnTomoTomogramBinning" not in row.labels
    image = read_mrc_header(root / "MotionCorr/job002/frames/Position_1_001_3_0.mrc")
    assert image.nx == 24 and image.pixel_size_angstrom == pytest.approx(2.7)
    shifts = star.read(root / "External/job003/tilt_series/Position_1.star").block("Position_1")
    assert shifts.column("rlnMicrographNameEven")[0].startswith("MotionCorr/job002/frames/")
    assert set(done_attempts(root).values()) == {1, 2}


def test_a_series_is_not_ready_before_the_tables_hold_this_attempt_of_it(tmp_path: Path) -> None:
    root = relion_rehearsal(tmp_path, series=1, tilts=3)
    requests.run(root, DATA)
    requests.ask(root, "hold", jobs=["importAlignments"])
    with engine_of(root) as engine:
        drive(engine, lambda: engine.ledger.job("motioncorr").gathered)

        def held() -> bool:
            """Ready, but for the hold."""
            return engine.readiness.judge("importAlignments", "Position_1").why == ON_HOLD

        assert held()
        ledger = engine.ledger
        ledger.set_task("motioncorr", "Position_1", TaskState.QUEUED, attempt=2)
        ledger.set_task("motioncorr", "Position_1", TaskState.DONE)
        assert not held()
        ledger.gathered("motioncorr", {}, {}, {"Position_1": "mark"})
        assert held()


def test_what_relion_says_is_the_cause(tmp_path: Path) -> None:
    root = relion_rehearsal(tmp_path, series=2, tilts=3, settings={"fail": "relion_run_motioncorr:Position_2:fail"})
    status = run_to_end(root)
    assert states(status) == {
        "importmovies": "++",
        "motioncorr": "+x",
        "importAlignments": "+b",
        "reconstructtomograms": "+b",
    }
    cause = next(job for job in status.jobs if job.id == "motioncorr").causes["Position_2"]
    assert "the stand-in was told to fail on Position_2" in cause


@pytest.mark.parametrize(
    ("program", "job"),
    [("relion_run_motioncorr", "motioncorr"), ("relion_tomo_reconstruct_tomogram", "reconstructtomograms")],
)
@pytest.mark.parametrize("how", ["half", "silent"])
def test_a_product_that_is_missing_or_cut_short_fails_its_series(
    tmp_path: Path, program: str, job: str, how: str
) -> None:
    root = relion_rehearsal(tmp_path, series=1, tilts=3, settings={"fail": f"{program}:Position_1:{how}"})
    assert states(run_to_end(root))[job] == "x"
