"""The synthetic session: what real readers find in it, and that it shows the specimen it claims."""

from __future__ import annotations

import json
import math
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError
from core.formats.mdoc import axis_from_titles, base_name, parse_datetime, read_mdoc
from core.formats.movie import read_movie_header
from core.standins.session import acquisition_angles, make_session


def test_dose_symmetric_order() -> None:
    assert acquisition_angles(7) == [0.0, 3.0, -3.0, -6.0, 6.0, 9.0, -9.0]


def test_default_session_is_quick_and_readable(tmp_path: Path) -> None:
    begun = time.monotonic()
    session = make_session(tmp_path)
    assert time.monotonic() - begun < 4
    assert session.movies == len(list(session.frames.glob("*.mrc"))) == 44
    header = read_movie_header(session.frames / "Position_1_000_0.0.mrc")
    assert (header.width_px, header.height_px, header.frames, header.kind) == (128, 128, 4, "MRC")
    assert header.pixel_size_angstrom == pytest.approx(1.35)
    path = session.mdocs / "Position_1.mrc.mdoc"
    assert path.read_bytes().count(b"\r\n") == path.read_bytes().count(b"\n")
    mdoc = read_mdoc(path)
    assert axis_from_titles(mdoc.titles) == pytest.approx(85.3)
    assert len(mdoc.sections) == 11
    # Pixel of a movie = PixelSpacing * ImageSize / size of the movie.
    width = float(mdoc.header["ImageSize"].split()[0])
    assert float(mdoc.header["PixelSpacing"]) * width / 128 == pytest.approx(1.35)
    times = [parse_datetime(section.values["DateTime"]) for section in mdoc.sections]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(times))
    for section in mdoc.sections:
        assert "\\" in section.values["SubFramePath"]
        assert (session.frames / base_name(section.values["SubFramePath"])).is_file()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    one = make_session(tmp_path / "a", series=1, tilts=2, seed=5)
    two = make_session(tmp_path / "b", series=1, tilts=2, seed=5)
    other = make_session(tmp_path / "c", series=1, tilts=2, seed=6)
    name = "Position_1_001_3.0.mrc"
    assert (one.frames / name).read_bytes() == (two.frames / name).read_bytes()
    assert (one.frames / name).read_bytes() != (other.frames / name).read_bytes()


def test_particles_lie_where_the_geometry_says(tmp_path: Path) -> None:
    """Rz(axis) Ry(angle) x + shift: the image is darker there than elsewhere, and not at mirrored places."""
    session = make_session(tmp_path, series=1, tilts=11, size_px=(160, 160), frames=6)
    truth = json.loads(session.truth.read_text())
    series = truth["series"]["Position_1"]
    axis = math.radians(truth["axis_deg"])
    right: list[float] = []
    mirrored: list[float] = []
    for root, tilt in series["tilts"].items():
        raw = np.frombuffer((session.frames / f"{root}.mrc").read_bytes(), np.int8, offset=1024).reshape(6, 160, 160)
        drifts = zip(raw, tilt["drift_px"], strict=True)
        image = np.sum([np.roll(frame.astype(float), (-y, -x), (0, 1)) for frame, (x, y) in drifts], axis=0)
        image = (image - np.mean(image)) / np.std(image)
        angle = math.radians(tilt["angle_deg"])
        for x, y, z, _, _ in series["blobs"]:
            for values, sign in ((right, 1), (mirrored, -1)):
                across = x * math.cos(angle) + sign * z * math.sin(angle)
                u = (across * math.cos(axis) - sign * y * math.sin(axis)) / 1.35 + tilt["shift_px"][0] + 80
                v = (across * math.sin(axis) + y * math.cos(axis)) / 1.35 + tilt["shift_px"][1] + 80
                if 8 <= u < 152 and 8 <= v < 152:
                    values.append(float(image[int(v) - 1 : int(v) + 2, int(u) - 1 : int(u) + 2].mean()))
    assert np.mean(right) < -0.8
    assert abs(np.mean(mirrored)) < 0.4


def test_contrast_and_counts_fall_with_the_tilt(tmp_path: Path) -> None:
    session = make_session(tmp_path, series=1, tilts=41, size_px=(64, 64), frames=2)
    mean = {
        root: float(np.frombuffer((session.frames / f"{root}.mrc").read_bytes(), np.int8, offset=1024).mean())
        for root in ("Position_1_000_0.0", "Position_1_039_-60.0", "Position_1_040_60.0")
    }
    assert mean["Position_1_000_0.0"] > 1.15 * mean["Position_1_039_-60.0"]
    assert mean["Position_1_000_0.0"] > 1.15 * mean["Position_1_040_60.0"]


@pytest.mark.parametrize(("mode", "number", "size"), [("int8", 0, 1), ("int16", 1, 2), ("uint16", 6, 2)])
def test_modes(tmp_path: Path, mode: str, number: int, size: int) -> None:
    session = make_session(tmp_path, series=1, tilts=1, size_px=(64, 48), frames=3, mode=mode)
    data = (session.frames / "Position_1_000_0.0.mrc").read_bytes()
    assert data[12] == number and len(data) == 1024 + 3 * 48 * 64 * size


def test_faults_are_there_and_said(tmp_path: Path) -> None:
    session = make_session(tmp_path, tilts=5, gain=True, faults=("missing_movie", "empty_movie", "montage"))
    assert len(session.faults) == 3
    assert len(list(session.frames.glob("*.mrc"))) == 19
    assert [path.name for path in session.frames.glob("*.mrc") if path.stat().st_size == 0] == [
        "Position_3_004_6.0.mrc"
    ]
    assert "Montage = 1" in (session.mdocs / "LMM.mrc.mdoc").read_text()
    assert session.gain is not None and read_movie_header(session.gain).width_px == 128


@pytest.mark.parametrize("wrong", [{"series": 0}, {"mode": "float"}, {"faults": ("fire",)}, {"size_px": (8, 8)}])
def test_values_that_make_no_session(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        make_session(tmp_path, **wrong)  # type: ignore[arg-type]
