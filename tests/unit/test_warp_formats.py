"""Warp's files: series and movie XML, settings, tomostar, motion tracks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from core.errors import InputError
from core.formats.motion_json import read_tracks
from core.formats.tomostar import Tomostar, read_tomostar, write_tomostar
from core.formats.warp_settings import read_settings
from core.formats.warp_xml import read_frame_series, read_tilt_series
from tests.shared import shared

SERIES = "data/warp/tiltseries_00254_m_refined.xml"


def test_a_real_tilt_series() -> None:
    xml = read_tilt_series(shared(SERIES))
    assert len(xml.angles_deg) == len(xml.doses) == len(xml.movie_paths) == 41
    assert (xml.angles_deg[0], xml.doses[0], xml.use_tilt[0]) == (-60.01, 117.0, True)
    assert xml.movie_paths[0] == "../2/TS_01_041_-60.0.tif"
    assert xml.offsets_x_angstrom[0] == pytest.approx(262.72888)
    assert xml.offsets_y_angstrom[-1] == pytest.approx(0.011603832)
    assert xml.axis_angles_deg[0] == pytest.approx(-4.3, abs=1e-5)
    assert xml.angles_inverted
    assert xml.plane_normal == pytest.approx((-0.041061223, -0.074988976, 0.99633867))
    assert (xml.level_angle_x_deg, xml.level_angle_y_deg) == (0.0, 0.0)
    assert (xml.ctf_resolution_angstrom, xml.has_ctf, xml.unselect_manual) == (6.3, True, None)
    assert xml.data_directory.endswith("relay-empiar-10499/3")
    assert set(xml.grid_ctf) == set(xml.grid_ctf_delta) == set(range(41))
    assert xml.grid_ctf_delta[40] == pytest.approx(0.015311956)
    assert xml.grid_ctf_angle[7] == 69.0
    assert xml.grid_ctf_phase[0] == 0.0


def test_every_cut_of_a_tilt_series_is_refused(tmp_path: Path) -> None:
    data = shared(SERIES).read_bytes()
    path = tmp_path / "cut.xml"
    for part in range(0, 100, 7):
        path.write_bytes(data[: len(data) * part // 100])
        with pytest.raises(InputError, match=r"cut\.xml"):
            read_tilt_series(path)
    path.write_bytes(data[:-1])
    with pytest.raises(InputError, match="not whole XML"):
        read_tilt_series(path)


MOVIE = (
    '\ufeff<?xml version="1.0" encoding="utf-8"?>\n<Movie DataDirectory="/data/frames" UnselectFilter="False" '
    'UnselectManual="{manual}" CTFResolutionEstimate="4.3" MeanFrameMovement="0.61">\n'
    '<OptionsMovement><Param Name="RangeMin" Value="0.05" /></OptionsMovement>{options}'
    '<CTF><Param Name="PixelSize" Value="0.7894" /><Param Name="Defocus" Value="2.41" />'
    '<Param Name="DefocusDelta" Value="0.05" /><Param Name="DefocusAngle" Value="31" />'
    '<Param Name="PhaseShift" Value="0.1" /></CTF>\n'
    '<GridCTF Width="2" Height="2" Depth="1" MarginX="0" MarginY="0" MarginZ="0">'
    '<Node X="1" Y="1" Z="0" Value="2.44" /><Node X="0" Y="0" Z="0" Value="2.40" />'
    '<Node X="0" Y="1" Z="0" Value="2.42" /><Node X="1" Y="0" Z="0" Value="2.43" /></GridCTF>\n</Movie>'
)


def test_a_movie_and_its_grid_by_place(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(MOVIE.format(manual="null", options="<OptionsCTF></OptionsCTF>"))
    xml = read_frame_series(path)
    assert (xml.defocus_um, xml.defocus_delta_um, xml.defocus_angle_deg, xml.phase_shift_pi) == (2.41, 0.05, 31.0, 0.1)
    assert (xml.ctf_resolution_angstrom, xml.mean_frame_movement_angstrom) == (4.3, 0.61)
    assert (xml.has_ctf, xml.has_movement, xml.unselect_manual) == (True, True, None)
    assert xml.ctf_grid.values == (2.40, 2.43, 2.42, 2.44)
    path.write_text(MOVIE.format(manual="True", options=""))
    xml = read_frame_series(path)
    assert (xml.has_ctf, xml.unselect_manual) == (False, True)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("<Movie", "<Film", "not whole XML"),
        ('Value="2.44"', 'Value="NaN"', "'NaN' in GridCTF"),
        ('X="1" Y="1"', 'X="0" Y="0"', "two nodes at one place"),
        ('X="1" Y="1"', 'X="2" Y="1"', "outside of GridCTF"),
        ('Width="2"', 'Width="3"', "4 nodes in GridCTF"),
    ],
)
def test_broken_movies(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(MOVIE.format(manual="null", options="").replace(old, new, 1))
    with pytest.raises(InputError, match=sentence):
        read_frame_series(path)


def test_the_wrong_kind_and_missing_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<Movie><CTF/></Movie>")
    xml = read_frame_series(path)
    assert math.isnan(xml.defocus_um)
    assert xml.ctf_grid.values == ()
    with pytest.raises(InputError, match="begins with <Movie>, not <TiltSeries>"):
        read_tilt_series(path)
    path.write_text("<TiltSeries><Angles>1\n2</Angles><Dose>0</Dose><MoviePath>a\nb</MoviePath></TiltSeries>")
    with pytest.raises(InputError, match="1 values in Dose for 2 tilts"):
        read_tilt_series(path)


def test_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.settings"
    text = (
        '<Settings><Param Name="ProcessCTF" Value="True" /><Import><Param Name="DataFolder" Value="frames" />'
        '<Param Name="PixelSize" Value="0.7894" /></Import>'
        '<Tomo><Param Name="DimensionsX" Value="4400" /></Tomo></Settings>'
    )
    path.write_text(text)
    settings = read_settings(path)
    assert settings[""] == {"ProcessCTF": "True"}
    assert settings["Import"] == {"DataFolder": "frames", "PixelSize": "0.7894"}
    assert settings["Tomo"]["DimensionsX"] == "4400"
    path.write_text(text.replace("PixelSize", "Pixels"))
    with pytest.raises(InputError, match="no PixelSize in its Import section"):
        read_settings(path)
    path.write_text(text[:-20])
    with pytest.raises(InputError, match="not whole XML"):
        read_settings(path)


def test_tomostar(tmp_path: Path) -> None:
    path = tmp_path / "TS_1.tomostar"
    rows = Tomostar(
        movies=("../warp_frameseries/a b.tif", "../warp_frameseries/c.tif"),
        angles_deg=(-3.01, 0.0),
        axis_deg=(-93.5, -93.5),
        doses=(2.64, 0.0),
        intensities=(4.125, 4.25),
        masked=(0.0, 0.0),
    )
    write_tomostar(path, rows)
    assert read_tomostar(path) == rows
    path.write_text(
        "\ndata_\n\nloop_\n_wrpMovieName #1\n_wrpAngleTilt #2\n_wrpDose #3\n"
        "  ../f/a.tif  -3.00  2.64\n  ../f/b.tif  0.00  0\n"
    )
    plain = read_tomostar(path)
    assert (plain.angles_deg, plain.doses, plain.axis_deg) == ((-3.0, 0.0), (2.64, 0.0), ())
    path.write_text("data_\nloop_\n_wrpMovieName #1\n_wrpAngleTilt #2\na.tif x\n")
    with pytest.raises(InputError, match="'x' in wrpAngleTilt"):
        read_tomostar(path)


def test_motion_tracks(tmp_path: Path) -> None:
    path = tmp_path / "a_motion.json"
    path.write_text('{"0_0": {"x": [0, 3], "y": [0, 4]}, "1_0": {"x": [0.5], "y": [1]}}')
    assert read_tracks(path) == (((0.0, 0.0), (3.0, 4.0)), ((0.5, 1.0),))
    for text in (
        '{"0_0": {"x": [0, 3], "y": [0',
        "[]",
        '{"0_0": {"x": [0], "y": []}}',
        '{"a": {"x": [NaN], "y": [0]}}',
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=r"a_motion\.json"):
            read_tracks(path)
