"""A gain reference that WarpTools would turn by its flips and transposition is turned the same way by RELION 5.1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.formats.mrc import HEADER_BYTES
from core.jobs.motioncorr import GAIN
from core.standins.session import _mrc
from tests.real.relion import OPTICS, Relion, Row, table

SIDE = 128


@pytest.fixture(scope="module")
def relion(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Relion:
    """One movie of an even beam on a detector whose sensitivity differs from corner to corner."""
    root = tmp_path_factory.mktemp("gain")
    counts = np.random.default_rng(0).poisson(2000 / gain(), (3, SIDE, SIDE))
    (root / "frames").mkdir()
    (root / "frames/a.mrc").write_bytes(_mrc(counts.astype(np.int16), 1, 1.35))
    row: Row = {"rlnMicrographMovieName": "frames/a.mrc", "rlnTomoTiltMovieFrameCount": 3}
    angles: Row = {"rlnTomoNominalStageTiltAngle": 0, "rlnTomoNominalTiltAxisAngle": 85, "rlnMicrographPreExposure": 0}
    (root / "TS.star").write_text(table("TS", [{**row, **angles}]))
    series: Row = {"rlnTomoName": "TS", "rlnTomoTiltSeriesStarFile": "TS.star", **OPTICS}
    pixel: Row = {"rlnMicrographOriginalPixelSize": 1.35, "rlnTomoHand": -1.0, "rlnOpticsGroupName": "og1"}
    (root / "tilt_series.star").write_text(table("global", [{**series, **pixel}]))
    return Relion(root, image)


def gain() -> NDArray[np.float64]:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    found: NDArray[np.float64] = 1 + 0.6 * x + 0.25 * y
    return found


@pytest.mark.parametrize("turned", list(GAIN))
def test_the_corrected_image_is_even(relion: Relion, turned: tuple[bool, bool, bool]) -> None:
    flip_x, flip_y, transpose = turned
    reference = gain()  # the file is what becomes this by flipping X, flipping Y and transposing
    reference = reference.T if transpose else reference
    reference = reference[::-1] if flip_y else reference
    reference = reference[:, ::-1] if flip_x else reference
    (relion.project / "gain.mrc").write_bytes(_mrc(reference[None].astype(np.float32), 2, 1.35))
    rotation, flip = GAIN[turned]
    folder = f"o_{''.join('01'[each] for each in turned)}"
    relion.run(
        *("relion_run_motioncorr", "--i", "tilt_series.star", "--o", f"{folder}/", "--use_own", "--skip_logfile"),
        *("--gainref", "gain.mrc", "--gain_rot", str(rotation), "--gain_flip", str(flip)),
    )
    path = relion.project / folder / "frames/a.mrc"
    image = np.fromfile(path, np.float32, offset=HEADER_BYTES).reshape(SIDE, SIDE)[8:-8, 8:-8]
    coarse = image.reshape(14, 8, 14, 8).mean(axis=(1, 3))
    assert coarse.std() < 0.01 * coarse.mean()
