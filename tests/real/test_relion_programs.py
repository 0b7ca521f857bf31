"""RELION 5.1's own programs on a synthetic session, from their container: alone and in two ranks of MPI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.formats import star
from core.formats.mrc import HEADER_BYTES, read_mrc_header
from tests.real.relion import OPTICS, Relion, Row, movies, table

CORRECT = ("--i", "tilt_series.star", "--use_own", "--even_odd_split", "--j", "1")
SIZE, PIXEL, BINNED = 256, 4.0, 8.0


@pytest.fixture(scope="module")
def relion(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Relion:
    project = tmp_path_factory.mktemp("programs")
    movies(project, tilts=11, size_px=(SIZE, SIZE), pixel_size=PIXEL)
    return Relion(project, image)


@pytest.fixture(scope="module")
def corrected(relion: Relion) -> list[str]:
    """The averages that motion correction made, as its table names them."""
    relion.run("relion_run_motioncorr", *CORRECT, "--o", "MotionCorr/job002/")
    return averages(relion.project / "MotionCorr/job002")


def averages(job: Path) -> list[str]:
    return star.read_columns(job / "tilt_series/Position_1.star", "Position_1", ["rlnMicrographName"])[
        "rlnMicrographName"
    ]


def read_image(path: Path) -> NDArray[np.float32]:
    header = read_mrc_header(path)
    assert header.whole and header.mode == 2
    data = np.fromfile(path, np.float32, offset=HEADER_BYTES + header.extended_bytes)
    return data.reshape(header.nz, header.ny, header.nx)


def test_motion_correction_makes_averages_and_half_sums(relion: Relion, corrected: list[str]) -> None:
    assert len(corrected) == 11
    for name in corrected:
        whole, even, odd = (
            read_image(relion.project / name.replace(".mrc", f"{ending}.mrc")) for ending in ("", "_EVN", "_ODD")
        )
        assert whole.shape == (1, SIZE, SIZE)
        assert np.allclose(whole, even + odd, atol=0.05 * float(whole.mean()))


def test_two_ranks_of_mpi_make_the_same_as_one(relion: Relion, corrected: list[str]) -> None:
    said = relion.run("mpirun", "-n", "2", "relion_run_motioncorr_mpi", *CORRECT, "--o", "MotionCorr/job003/")
    assert "2 MPI processes" in said or "Number of MPI processes" in said, said
    for one, two in zip(corrected, averages(relion.project / "MotionCorr/job003"), strict=True):
        assert np.array_equal(read_image(relion.project / one), read_image(relion.project / two))


def test_a_tomogram_shows_the_specimen_where_it_is(relion: Relion, corrected: list[str]) -> None:
    project = relion.project
    truth = json.loads((project / "frames/session.json").read_text())
    known = truth["series"]["Position_1"]
    tilts: list[Row] = [
        {
            "rlnMicrographName": name,
            "rlnMicrographPreExposure": truth["dose_per_tilt_e_per_a2"] * tilt["order"],
            "rlnTomoXTilt": 0.0,
            "rlnTomoYTilt": tilt["angle_deg"],
            "rlnTomoZRot": truth["axis_deg"],
            "rlnTomoXShiftAngst": tilt["shift_px"][0] * PIXEL,
            "rlnTomoYShiftAngst": tilt["shift_px"][1] * PIXEL,
            "rlnDefocusU": known["defocus_um"] * 1e4,
            "rlnDefocusV": known["defocus_um"] * 1e4,
            "rlnDefocusAngle": 0.0,
        }
        for name, tilt in zip(corrected, known["tilts"].values(), strict=True)
    ]
    series: dict[str, Any] = {
        "rlnTomoName": "Position_1",
        "rlnTomoTiltSeriesStarFile": "aligned/Position_1.star",
        **OPTICS,
        "rlnMicrographOriginalPixelSize": PIXEL,
        "rlnTomoTiltSeriesPixelSize": PIXEL,
        "rlnTomoHand": -1.0,
        "rlnOpticsGroupName": "og1",
    }
    (project / "aligned").mkdir()
    (project / "aligned/Position_1.star").write_text(table("Position_1", tilts))
    (project / "aligned.star").write_text(table("global", [series]))
    sizes = ("--w", str(SIZE), "--h", str(SIZE), "--d", "96", "--binned_angpix", str(BINNED))
    relion.run(
        "relion_tomo_reconstruct_tomogram", "--t", "aligned.star", "--o", "Tomograms/job004/", *sizes, "--j", "1"
    )
    tomogram = read_image(project / "Tomograms/job004/tomograms/rec_Position_1.mrc")
    assert tomogram.shape == (48, 128, 128)
    scaled = (tomogram - tomogram.mean()) / tomogram.std()
    blobs = np.array([blob[:3] for blob in known["blobs"]])
    shown, mirrored = (density(scaled, blobs * turn) for turn in ((1, 1, 1), (-1, 1, 1)))
    assert shown < -2.0 and mirrored > shown / 2, (shown, mirrored)  # dark on a bright ground


def density(tomogram: NDArray[np.float32], places: NDArray[np.float64]) -> float:
    """Mean at places in Å (x, y, z) from the specimen's centre, as far as they are inside."""
    indices = np.rint(places[:, ::-1] / BINNED).astype(int) + np.array(tomogram.shape) // 2
    inside = indices[np.all((indices >= 0) & (indices < tomogram.shape), axis=1)]
    assert len(inside) > 20
    return float(np.mean(tomogram[tuple(inside.T)]))
