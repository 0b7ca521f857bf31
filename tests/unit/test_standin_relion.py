"""The stand-in for RELION is as strict as a careful reader of RELION's command line, and makes what RELION makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.formats import star
from core.formats.mrc import read_mrc_header
from core.standins.install import install
from core.standins.session import make_session

CATALOGUES = Path(__file__).parents[2] / "config" / "catalogues"
CORRECT = ("--i", "tilt_series.star", "--o", "MotionCorr/job002/", "--use_own", "--even_odd_split")
RECONSTRUCT = (
    *("--t", "aligned.star", "--o", "Tomograms/job004/", "--w", "64", "--h", "48", "--d", "32"),
    *("--binned_angpix", "2.7", "--do_proj"),
)


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    return star.new_file([star.loop_block(name, list(rows[0]), [list(row.values()) for row in rows])]).render()


class Project:
    """A small session in RELION's tables, and the stand-in beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        session = make_session(root, series=1, tilts=3, size_px=(64, 48), frames=3)
        self.prefix = install(root / "standins", CATALOGUES, settings={"seconds": 0.0})["relion"][1:]
        truth = json.loads(session.truth.read_text())["series"]["Position_1"]["tilts"]
        tilts = [
            {
                "rlnMicrographMovieName": f"frames/{name}.mrc",
                "rlnTomoTiltMovieFrameCount": 3,
                "rlnMicrographPreExposure": 3.0 * tilt["order"],
            }
            for name, tilt in truth.items()
        ]
        (root / "tilt_series").mkdir()
        (root / "tilt_series/Position_1.star").write_text(table("Position_1", tilts))
        row = {
            "rlnTomoName": "Position_1",
            "rlnTomoTiltSeriesStarFile": "tilt_series/Position_1.star",
            "rlnMicrographOriginalPixelSize": 1.35,
        }
        (root / "tilt_series.star").write_text(table("global", [row]))
        self.angles = [tilt["angle_deg"] for tilt in truth.values()]

    def call(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *self.prefix, *words],
            cwd=self.root,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def align(self, without: str = "") -> None:
        """As an alignment would leave the tables of the motion correction."""
        block = star.read(self.root / "MotionCorr/job002/tilt_series/Position_1.star").block("Position_1")
        rows = [
            {
                **dict(zip(block.labels, row, strict=True)),
                **{"rlnDefocusU": 3e4, "rlnDefocusV": 3e4, "rlnDefocusAngle": 0.0},
                **{"rlnTomoXShiftAngst": 0.0, "rlnTomoYShiftAngst": 0.0, "rlnTomoZRot": 84.7, "rlnTomoYTilt": angle},
            }
            for row, angle in zip(block.rows, self.angles, strict=True)
        ]
        rows = [{label: value for label, value in row.items() if label != without} for row in rows]
        (self.root / "aligned.star").write_text(
            (self.root / "MotionCorr/job002/corrected_tilt_series.star").read_text()
        )
        (self.root / "MotionCorr/job002/tilt_series/Position_1.star").write_text(table("Position_1", rows))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_motion_correction_makes_relions_files(project: Project) -> None:
    ended = project.call("relion_run_motioncorr", *CORRECT, "--pipeline_control", "MotionCorr/job002/")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("yum!") == 1 and "STAND-IN" in ended.stderr
    job = project.root / "MotionCorr/job002"
    assert (job / "RELION_JOB_EXIT_SUCCESS").exists()
    rows = star.read(job / "tilt_series/Position_1.star").block("Position_1")
    assert rows.labels[3:] == [
        *("rlnMicrographNameEven", "rlnMicrographNameOdd", "rlnMicrographName", "rlnMicrographMetadata"),
        *("rlnAccumMotionTotal", "rlnAccumMotionEarly", "rlnAccumMotionLate"),
    ]
    for label in rows.labels[3:6]:
        for path in rows.column(label):
            header = read_mrc_header(project.root / path)
            assert header.whole and (header.nx, header.ny, header.mode) == (64, 48, 2)
    assert rows.column("rlnMicrographName")[1] == "MotionCorr/job002/frames/Position_1_001_3_0.mrc"
    shifts = star.read(job / "frames/Position_1_001_3_0.star").block("global_shift")
    assert shifts.column("rlnMicrographFrameNumber") == ["1", "2", "3"]
    whole = star.read(job / "corrected_tilt_series.star").block("global")
    assert whole.column("rlnTomoTiltSeriesStarFile") == ["MotionCorr/job002/tilt_series/Position_1.star"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--nonsense",), "Option --nonsense is not a valid RELION argument"),
        (("--bin_factor",), "Argument --bin_factor not found or invalid argument"),
        (("--bin_factor", "two"), "has a value that is no number"),
        (("--bin_factor", "1", "--bin_factor", "2"), "given twice"),
        (("stray",), "stray is not a valid RELION argument"),
        (("--use_motioncor2",), "either UCSF MotionCor2 or RELION's own"),
        (("--float16",), "you have to write power spectra"),
        (("--grouping_for_ps", "4"), "Invalid size given to cropInFourierSpace"),
        (("--gainref", "no.mrc"), "no.mrc"),
        (("--bin_factor", "1.4"), "after binning must be even"),
    ],
)
def test_a_wrong_command_is_refused(project: Project, words: tuple[str, ...], sentence: str) -> None:
    ended = project.call("relion_run_motioncorr", *CORRECT, *words)
    assert ended.returncode == 1 and sentence in ended.stderr
    assert not list(project.root.glob("MotionCorr/job002/*.star"))


def test_a_missing_input_is_refused(project: Project) -> None:
    ended = project.call("relion_run_motioncorr", "--i", "no.star", "--o", "x/", "--use_own")
    assert ended.returncode == 1 and "MetaDataTable::read: File no.star does not exist" in ended.stderr
    (project.root / "frames/Position_1_001_3.0.mrc").unlink()
    ended = project.call("relion_run_motioncorr", *CORRECT)
    assert ended.returncode == 1 and "Position_1_001_3.0.mrc" in ended.stderr


def test_tomograms_and_halves(project: Project) -> None:
    project.call("relion_run_motioncorr", *CORRECT)
    project.align()
    job = project.root / "Tomograms/job004"
    one = ("--tn", "Position_1", "--generate_split_tomograms")
    ended = project.call("relion_tomo_reconstruct_tomogram", *RECONSTRUCT, *one)
    assert ended.returncode == 0, ended.stderr
    for half in (1, 2):
        header = read_mrc_header(job / f"tomograms/rec_Position_1_half{half}.mrc")
        assert header.whole and (header.nx, header.ny, header.nz) == (32, 24, 16)
        assert header.pixel_size_angstrom == pytest.approx(2.7)
        assert read_mrc_header(job / f"projections/rec_Position_1_half{half}.mrc").nz == 1
    assert not (job / "tomograms.star").exists()  # as RELION with --tn

    ended = project.call("relion_tomo_reconstruct_tomogram", *RECONSTRUCT, "--tiltangle_offset", "5")
    assert ended.returncode == 0, ended.stderr
    row = star.read(job / "tomograms.star").block("global").pairs()
    assert row["rlnTomoReconstructedTomogram"] == "Tomograms/job004/tomograms/rec_Position_1.mrc"
    assert float(row["rlnTomoTomogramBinning"]) == 2 and row["rlnTomoSizeX"].strip() == "64"
    tilts = star.read(job / "tilt_series/Position_1.star").block("Position_1")
    assert float(tilts.column("rlnTomoYTilt")[0]) == pytest.approx(project.angles[0] + 5, abs=1e-4)


@pytest.mark.parametrize(
    ("without", "words", "sentence"),
    [
        ("rlnTomoZRot", (), "do not have tilt series alignment parameters"),
        ("rlnDefocusU", (), "Label rlnDefocusU not present in Position_1"),
        ("rlnMicrographNameEven", ("--fourier",), "does not contain a rlnTomoMicrographNameEven label"),
        ("", ("--tn", "nope"), 'cannot find specific tomogram name "nope"'),
        ("rlnMicrographNameOdd", ("--generate_split_tomograms",), "rlnTomoMicrographNameOdd"),
    ],
)
def test_a_table_that_relion_cannot_reconstruct_from(
    project: Project, without: str, words: tuple[str, ...], sentence: str
) -> None:
    project.call("relion_run_motioncorr", *CORRECT)
    project.align(without)
    ended = project.call("relion_tomo_reconstruct_tomogram", *RECONSTRUCT, *words)
    assert ended.returncode == 1 and sentence in ended.stderr


def test_only_the_first_rank_works(project: Project) -> None:
    ended = project.call("relion_run_motioncorr_mpi", *CORRECT, OMPI_COMM_WORLD_RANK="1")
    assert ended.returncode == 0 and not (project.root / "MotionCorr").exists()
    assert project.call("relion_run_motioncorr_mpi", *CORRECT, OMPI_COMM_WORLD_RANK="0").returncode == 0
    assert (project.root / "MotionCorr/job002/corrected_tilt_series.star").exists()


def test_it_misbehaves_as_often_as_it_is_told(project: Project) -> None:
    plan = project.root / "plan.json"
    plan.write_text(json.dumps([{"verb": "relion_run_motioncorr", "series": "Position_1", "how": "fail", "times": 1}]))
    codes = [
        project.call("relion_run_motioncorr", *CORRECT, CRBOOST_STANDIN_PLAN=str(plan)).returncode for _ in range(2)
    ]
    assert codes == [1, 0]


def test_other_programs_are_unknown(project: Project) -> None:
    assert project.call("relion_refine", "--o", "x").returncode == 2
