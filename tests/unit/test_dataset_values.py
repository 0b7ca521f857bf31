"""Rules with hand-worked numbers: pixel size, axis, dose, scheme, effective values, EER, gain; the registry."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dataset.acquisition import (
    eer_fractions,
    effective,
    gain_factor,
    gain_problem,
    suggested_eer_frames_per_fraction,
    unconfirmed,
)
from core.dataset.detect import dose_per_tilt, normalised_deg, pixel_size, tilt_axis
from core.dataset.model import Refused, Sourced, Tilts, TiltSeries, accumulated_dose_e_per_a2
from core.dataset.registry import Batch, Registry, load_registry, save_registry
from core.dataset.scheme import tilt_scheme
from core.errors import CrboostError, InputError
from core.project.decisions import Decision, tilt_axis_key
from tests.unit.dataset_files import write_mrc


def make_series(number: int = 1, tilts: int = 5, dose: float = 0.0, **detected: Sourced[Any]) -> TiltSeries:
    names = tuple(f"TS_{number}_{index:03d}.eer" for index in range(tilts))
    return TiltSeries(
        id=f"TS_{number}",
        name=f"TS {number}",
        group="optics1",
        mdoc=f"/raw/TS_{number}.mdoc",
        mdoc_digest=f"{number:016x}",
        tilts=Tilts(
            ids=tuple(f"{index:03d}" for index in range(tilts)),
            z_value=tuple(range(tilts)),
            angle_deg=tuple(3.0 * index + 0.01 for index in range(tilts)),
            acquired=tuple(f"2026-11-23T10:{index % 60:02d}:00" for index in range(tilts)),
            movie=names,
            source=tuple(f"/raw/session/frames/{name}" for name in names),
            frame_count=(8,) * tilts,
            exposure_e_per_a2=(dose,) * tilts,
            target_defocus_um=(-4.0,) * tilts,
            problem=("",) * (tilts - 1) + ("its movie is empty",),
            size_bytes=(1000,) * tilts,
        ),
        scheme="dose-symmetric 3°",
        detected=detected,
        notes=("a note",),
    )


class TestPixelSize:
    def test_the_ratio_is_snapped_to_a_simple_binning(self) -> None:
        # 7420/924 = 8.030, 7676/958 = 8.013: binning 8, and 5.4 / 8 = 0.675
        found = pixel_size(5.4, (924, 958), (7420, 7676))
        assert found.value == Sourced(0.675, "movie header")

    def test_super_resolution_movie_of_a_k3(self) -> None:
        # the mdoc's image is 5760 x 4092 with 1.35 Å, the movie twice that
        assert pixel_size(1.35, (5760, 4092), (11520, 8184)).value.value == 0.675

    def test_eer_of_the_same_size(self) -> None:
        assert pixel_size(1.66, (4096, 4096), (4096, 4096)).value.value == 1.66

    def test_a_ratio_that_is_no_binning_is_used_as_it_is_and_said(self) -> None:
        found = pixel_size(2.0, (1000, 1000), (1440, 1440))
        assert found.value.value == 1.3889 and found.value.confirmed  # 2 / 1.44
        assert "1.440 times" in found.note

    def test_turned_and_unfitting_movies(self) -> None:
        turned = pixel_size(1.35, (5760, 4092), (4092, 5760))
        assert (turned.value.value, turned.value.confirmed) == (1.35, True) and "turned" in turned.note
        odd = pixel_size(1.35, (5760, 4092), (4096, 4096))
        assert not odd.value.confirmed and "do not fit" in odd.note

    def test_unknown_parts(self) -> None:
        assert not pixel_size(5.4, (924, 958), None).value.confirmed
        assert not pixel_size(5.4, None, (7420, 7676)).value.confirmed
        assert pixel_size(None, (64, 64), (64, 64)).value.value is None
        assert pixel_size(None, None, (64, 64), 1.2345).value == Sourced(1.2345, "movie header", False)
        assert "header says 1.35" in pixel_size(5.4, (924, 958), (7392, 7664), 1.35).note


class TestAxis:
    def test_title_then_rotation(self) -> None:
        assert tilt_axis(85.3, None, 175.3, "SerialEM").value.value == 85.3
        assert tilt_axis(None, None, 174.7, "SerialEM").value.value == 84.7  # 174.7 - 90

    def test_tomo5_by_the_rule_of_imods_header(self) -> None:
        assert tilt_axis(None, -176.2, 86.2, "Tomo 5").value.value == 86.2  # -(86.2 + 90) = -176.2
        assert tilt_axis(None, -3.8, 86.2, "Tomo 5").value.value == -3.8  # 86.2 - 90
        assert tilt_axis(None, 3.8, 86.2, "Tomo 5").value.value == -3.8  # -(86.2 - 90)
        odd = tilt_axis(None, 45.0, 86.2, "Tomo 5")
        assert odd.value.value == 86.2 and not odd.value.confirmed and "do not fit" in odd.note

    @pytest.mark.parametrize(("angle", "expected"), [(-180, 180), (180, 180), (270, -90), (-275.3, 84.7), (540, 180)])
    def test_normalised(self, angle: float, expected: float) -> None:
        assert normalised_deg(angle) == expected


class TestDose:
    def test_believable(self) -> None:
        assert dose_per_tilt([3.0, 3.0, 3.0]).value == Sourced(3.0, "mdoc")
        assert dose_per_tilt([0.0, 0.0]).value.value is None
        long = dose_per_tilt([291.302])
        assert not long.value.confirmed and "291.3" in long.note
        varying = dose_per_tilt([2.0, 3.0, 4.0])
        assert varying.value.confirmed and varying.note == "the dose differs between tilts, 2.00 to 4.00 e/Å²"


@pytest.mark.parametrize(
    ("angles", "expected"),
    [
        ((0, 3, -3, -6, 6, 9, -9, -12, 12), "dose-symmetric 3°"),
        ((0, 3, -3, 6, -6, 9, -9), "dose-symmetric 3°"),
        ((8, 11, 5, 2, 14, 17, -1, -4, 20), "dose-symmetric 3°"),
        ((0, 2, 4, 6, -2, -4, -6, 8, 10, 12, -8, -10, -12), "dose-symmetric 2°, groups of 3"),
        ((0, 2, 4, -2, -4, -6, -8, 6, 8, 10, 12, -10, -12), "dose-symmetric 2°, groups of 2"),
        ((0, 3, 6, 9, 12, -3, -6, -9, -12), "bidirectional 3°"),
        ((-21, -18, -15, 0, 3, -24, -27, -30), "bidirectional 3°"),
        ((-60, -57, -54, -51), "unidirectional 3°"),
        ((60.01, 58.02, 55.98, 54.0), "unidirectional 2°"),
        ((0, 9, 3, -6, 6, -3, 12), "irregular 3°"),
        ((0.0, 3.001, -2.998, -6.02, 5.99), "dose-symmetric 3°"),
        ((0, 0, 0), "irregular 0°"),
    ],
)
def test_scheme(angles: tuple[float, ...], expected: str) -> None:
    assert str(tilt_scheme(angles)) == expected


class TestEffective:
    def test_a_person_wins_then_the_instrument_then_the_files(self) -> None:
        series = make_series(
            pixel_size_angstrom=Sourced(1.66, "movie header"),
            voltage_kv=Sourced(200.0, "mdoc"),
            dose_per_tilt_e_per_a2=Sourced(3.0, "mdoc"),
        )
        acquisition = effective(series, {"pixel_size_angstrom": 1.7}, {"voltage_kv": 300.0}, {})
        assert acquisition.pixel_size_angstrom == Sourced(1.7, "you")
        assert acquisition.voltage_kv == Sourced(300.0, "you")
        assert acquisition.dose_per_tilt_e_per_a2 == Sourced(3.0, "mdoc")
        assert acquisition.spherical_aberration_mm == Sourced(2.7, "default")
        assert acquisition.amplitude_contrast == Sourced(0.1, "default")
        assert (acquisition.group, acquisition.optics_group) == ("optics1", "optics1")
        assert acquisition.gain_flip_x == Sourced(False, "default")

    def test_nothing_is_relied_on_that_is_not_confirmed(self) -> None:
        series = make_series(
            pixel_size_angstrom=Sourced(5.4, "mdoc PixelSpacing", False),
            dose_per_tilt_e_per_a2=Sourced(None, "mdoc", False),
            image_width_px=Sourced(7420, "movie header"),
            image_height_px=Sourced(7676, "movie header"),
            tilt_axis_deg=Sourced(85.3, "mdoc title"),
        )
        problems = dict(unconfirmed(effective(series, {}, {}, {})))
        assert set(problems) == {"pixel_size_angstrom", "voltage_kv", "dose_per_tilt_e_per_a2"}
        assert problems["pixel_size_angstrom"] == (
            "the movies' pixel size is not certain (5.4 Å from mdoc PixelSpacing): confirm or set pixel_size_angstrom."
        )
        assert problems["dose_per_tilt_e_per_a2"] == "the dose per tilt is unknown: set dose_per_tilt_e_per_a2."
        values = {"confirmed": ["pixel_size_angstrom", "voltage_kv"], "dose_per_tilt_e_per_a2": 3.0}
        acquisition = effective(series, values, {}, {})
        assert unconfirmed(acquisition) == []
        assert acquisition.pixel_size_angstrom == Sourced(5.4, "mdoc PixelSpacing")
        # the whole chain: 5 exposures of 3 e/Å², the empty last movie included
        assert accumulated_dose_e_per_a2(series, acquisition) == (0.0, 3.0, 6.0, 9.0, 12.0)

    def test_axis_is_nominal_until_calibrated_or_confirmed(self) -> None:
        series = make_series(tilt_axis_deg=Sourced(-93.5, "mdoc title"))
        assert effective(series, {}, {}, {}).tilt_axis_deg == Sourced(-93.5, "nominal", False)
        assert effective(series, {"confirmed": ["tilt_axis_deg"]}, {}, {}).tilt_axis_deg == Sourced(-93.5, "you")
        key = tilt_axis_key("optics1")
        decided = {key: Decision(key, "decided", -85.6, "8 series, spread 0.1")}
        assert effective(series, {}, {}, decided).tilt_axis_deg == Sourced(-85.6, "calibrated")
        asked = {key: Decision(key, "ask", None, "unclear")}
        assert effective(series, {}, {}, asked).tilt_axis_deg.source == "nominal"
        assert effective(series, {"tilt_axis_deg": -86.0}, {}, decided).tilt_axis_deg == Sourced(-86.0, "you")

    def test_eer(self) -> None:
        series = make_series(
            movie_extension=Sourced(".eer", "movies"),
            frames_per_movie=Sourced(1000, "movie header"),
            dose_per_tilt_e_per_a2=Sourced(3.0, "mdoc"),
        )
        assert effective(series, {}, {}, {}).eer_frames_per_fraction == Sourced(166, "suggested")
        assert effective(series, {"eer_frames_per_fraction": 40}, {}, {}).eer_frames_per_fraction == Sourced(40, "you")
        assert effective(make_series(), {"movie_extension": "TIF"}, {}, {}).movie_extension == Sourced(".tif", "you")
        assert effective(make_series(), {}, {}, {}).eer_frames_per_fraction.value == 0


def test_eer_fractions() -> None:
    found = eer_fractions(1000, 160, 3.0)
    assert (found.fractions, found.frames_lost, found.e_per_a2_per_fraction) == (6, 40, 0.48)
    # aim 1000 * 0.5 / 3 = 167; 166 loses 4 frames (6 * 166 = 996), the fewest within 10 % of the aim
    assert suggested_eer_frames_per_fraction(1000, 3.0) == 166
    assert suggested_eer_frames_per_fraction(0, 3.0) == 0
    with pytest.raises(ValueError, match="positive"):
        eer_fractions(10, 0, 3.0)


@given(st.integers(1, 3000), st.floats(0.1, 20))
@settings(max_examples=50, deadline=None)
def test_suggested_fractions_lose_little(frames: int, dose: float) -> None:
    number = suggested_eer_frames_per_fraction(frames, dose)
    found = eer_fractions(frames, number, dose)
    assert 1 <= number <= frames
    assert found.fractions * number + found.frames_lost == frames
    if frames >= 100 and dose >= 1.5:
        assert found.frames_lost < 0.15 * frames


def test_gain_must_fit_the_movies(tmp_path: Path) -> None:
    series = make_series(
        image_width_px=Sourced(64, "movie header"),
        image_height_px=Sourced(48, "movie header"),
        movie_extension=Sourced(".tif", "movies"),
    )

    def problem(width: int, height: int, **values: object) -> str | None:
        path = write_mrc(tmp_path / f"gain_{width}_{height}.mrc", width, height, 1)
        return gain_problem(effective(series, {"gain_path": str(path), **values}, {}, {}))

    assert problem(64, 48) is None
    assert "switch gain_transpose on" in (problem(48, 64) or "")
    assert problem(48, 64, gain_transpose=True) is None
    assert "the movies need 64 x 48" in (problem(128, 96) or "")
    assert problem(128, 96, movie_extension=".eer") is None
    assert problem(256, 192, movie_extension=".eer") is None
    assert "or 256 x 192" in (problem(192, 144, movie_extension=".eer") or "")
    assert gain_factor(effective(series, {}, {}, {}), (128, 96)) == 2
    assert "dm2mrc" in (gain_problem(effective(series, {"gain_path": "/x/ref.dm4"}, {}, {})) or "")
    assert "does not exist" in (gain_problem(effective(series, {"gain_path": "/x/none.mrc"}, {}, {})) or "")
    assert gain_problem(effective(series, {}, {}, {})) is None


class TestRegistry:
    def test_written_and_read_again(self, tmp_path: Path) -> None:
        missing = make_series(2)
        tilts = missing.tilts
        odd = Tilts(
            **{
                **{name: getattr(tilts, name) for name in Tilts.__slots__},
                "movie": ("", "other.eer", *tilts.movie[2:]),
                "source": ("", *tilts.source[1:]),
                "frame_count": (1, 2, 3, 4, 5),
            }
        )
        registry = Registry(
            (
                make_series(1, pixel_size_angstrom=Sourced(1.5, "movie header"), gain_path=Sourced(None, "x", False)),
                TiltSeries("a", "b", "c", "d", "e", odd, "f", {}, ()),
            ),
            (Refused("/raw/m.mdoc", "a montage"),),
            (Batch("batch1", ("/raw/*.eer",), ("/raw/*.mdoc",), ("optics1",), "2026-11-23T10:00:00"),),
        )
        save_registry(tmp_path / "registry.json", registry)
        assert load_registry(tmp_path / "registry.json") == registry

    def test_newer_and_damaged_files_are_one_sentence(self, tmp_path: Path) -> None:
        path = tmp_path / "registry.json"
        with pytest.raises(InputError, match="does not exist"):
            load_registry(path)
        path.write_text('{"format": 2}')
        with pytest.raises(InputError, match="newer crboost"):
            load_registry(path)
        save_registry(path, Registry((make_series(),)))
        whole = path.read_text()
        for text in (whole[:-20], "[]", '{"format": true}', whole.replace('"ids":["000",', '"ids":['), "\0"):
            path.write_text(text)
            with pytest.raises(InputError):
                load_registry(path)

    @given(st.data())
    @settings(max_examples=40, deadline=None)
    def test_whatever_is_changed_in_it_there_is_no_traceback(self, tmp_path_factory: Any, data: st.DataObject) -> None:
        path = tmp_path_factory.mktemp("registry") / "registry.json"
        save_registry(path, Registry((make_series(pixel_size_angstrom=Sourced(1.5, "movie header")),)))
        document = json.loads(path.read_text())
        target = document if data.draw(st.booleans()) else document["series"][0]
        key = data.draw(st.sampled_from(sorted(target)))
        target[key] = data.draw(
            st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3))
        )
        path.write_text(json.dumps(document))
        try:
            load_registry(path)
        except CrboostError as error:
            assert str(path) in str(error)

    def test_2000_series_of_60_tilts_load_in_a_moment(self, tmp_path: Path) -> None:
        path = tmp_path / "registry.json"
        save_registry(path, Registry(tuple(make_series(number, 60) for number in range(2000))))
        assert path.stat().st_size < 20e6
        started = time.process_time()
        assert len(load_registry(path).series) == 2000
        assert time.process_time() - started < 3
