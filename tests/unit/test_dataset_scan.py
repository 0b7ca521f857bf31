"""Frames and mdocs -> tilt series: the real mdocs, names, missing and doubtful things, ids that stay."""

from __future__ import annotations

import os
import re
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dataset.naming import LinkNames, NameParts, name_parts, owner, safe_id, series_name
from core.dataset.overview import row
from core.dataset.registry import Registry
from core.dataset.scan import Inspection, inspect
from core.errors import InputError
from tests.shared import shared
from tests.unit.dataset_files import DOSE_SYMMETRIC, age, serialem, write_mrc, write_old, write_session

TS_01 = "data/mdoc/serialem_empiar10164_TS_01.mrc.mdoc"


def only(inspection: Inspection):  # type: ignore[no-untyped-def]
    assert len(inspection.series) == 1, inspection.refused
    return inspection.series[0]


def test_empiar_10164_without_its_movies_has_an_unconfirmed_pixel_size() -> None:
    series = only(inspect([], [str(shared(TS_01))]))
    assert len(series.tilts) == 41
    assert (series.detected["tilt_axis_deg"].value, series.scheme) == (85.3, "dose-symmetric 3°")
    assert series.detected["pixel_size_angstrom"].value == 5.4
    assert not series.detected["pixel_size_angstrom"].confirmed
    assert series.detected["dose_per_tilt_e_per_a2"].value is None  # ExposureDose = 0 means unknown
    assert series.detected["software"].value == "SerialEM"
    assert series.tilts.acquired[:2] == ("2015-11-30T15:21:38", "2015-11-30T15:22:37")
    assert series.tilts.angle_deg[:5] == (0.000999877, 3.00113, -2.99863, -5.99876, 6.00126)
    assert set(series.tilts.frame_count) == {8}
    assert set(series.tilts.target_defocus_um) == {-4.0}
    assert series.tilts.problem[0] == "its movie TS_01_000_0.0.mrc is not there"
    assert "none of its movies is there" in series.notes


def test_empiar_10164_with_a_movie_of_7420_x_7676_has_0_675_angstrom(tmp_path: Path) -> None:
    write_mrc(tmp_path / "TS_01_000_0.0.mrc", 7420, 7676, 8)
    shutil.copy(shared(TS_01), tmp_path / "TS_01.mrc.mdoc")
    age(tmp_path / "TS_01.mrc.mdoc")
    series = only(inspect([str(tmp_path)], [str(tmp_path / "*.mdoc")]))
    assert series.id == "TS_01"
    pixel = series.detected["pixel_size_angstrom"]
    assert (pixel.value, pixel.source, pixel.confirmed) == (0.675, "movie header", True)
    assert (series.detected["image_width_px"].value, series.detected["image_height_px"].value) == (7420, 7676)
    assert "40 movies named in the mdoc are not there" in series.notes
    assert series.tilts.movie[0] == "TS_01_000_0.0.mrc"
    assert series.tilts.movie[1] == series.tilts.source[1] == ""


def test_freshly_copied_mdoc_without_any_movie_is_no_unfinished_one(tmp_path: Path) -> None:
    (tmp_path / "TS_01.mrc.mdoc").write_bytes(shared(TS_01).read_bytes())
    assert len(inspect([], [str(tmp_path)]).series) == 1


def test_what_is_no_tilt_series_is_refused_with_the_reason() -> None:
    inspection = inspect([], [str(shared("data/mdoc"))])
    reasons = {os.path.basename(refused.mdoc): refused.reason for refused in inspection.refused}
    assert reasons == {
        "serialem_montage_lowmag_LMM.mdoc": "a montage, not a tilt series",
        "spa_deapollo_not_tomo.mdoc": "single-particle data: one movie without tilt, not a tilt series",
        "serialem_frameset_multiple_k3_crlf.mdoc": "a continuous tilt series in one movie (FrameTSStartEndFrames): "
        "split it into one movie per tilt first",
    }
    assert len(inspection.series) == 2


def test_portal_mdoc_has_a_dose_for_one_tilt_only() -> None:
    series = only(inspect([], [str(shared("data/mdoc/portal_empiar_style_relative_tiff_TS_run1.mdoc"))]))
    dose = series.detected["dose_per_tilt_e_per_a2"]
    assert (dose.value, dose.confirmed) == (2.3594, False)
    assert "the mdoc has no dose for 4 of 5 tilts" in series.notes
    assert series.detected["tilt_axis_deg"].value == 84.7
    assert series.detected["movie_extension"].value == ".tiff"
    assert series.tilts.angle_deg == (-0.00499939, 2.013, -1.98, -4.38, 4.28)


@pytest.mark.parametrize("folder", ["D:\\DATA\\frames\\", "\\\\server\\share\\x y\\", "/data/frames/", ""])
def test_movies_are_found_by_windows_unc_posix_and_bare_paths(tmp_path: Path, folder: str) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"], folder=folder)
    series = only(inspect([str(frames)], [str(mdocs)]))
    assert series.tilts.problem == ("",) * 7
    assert series.tilts.source[2] == str(frames / "TS_1_002_-3.0.mrc")
    assert series.detected["pixel_size_angstrom"].value == 2.0
    assert set(series.tilts.size_bytes) == {1024 + 64 * 48 * 4}


@pytest.mark.parametrize(("encoding", "newline"), [("utf-8-sig", "\r\n"), ("latin-1", "\n"), ("utf-8", "\r\n")])
def test_mdocs_in_other_encodings(tmp_path: Path, encoding: str, newline: str) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    text = serialem("TS_1", extra="Note = Glühlampe").replace("\n", newline)
    write_old(mdocs / "TS_1.mrc.mdoc", text, encoding=encoding)
    assert only(inspect([str(frames)], [str(mdocs)])).tilts.problem == ("",) * 7


@pytest.mark.parametrize(
    "pattern",
    [
        "{n}_{i:03d}_{a:.1f}.mrc",
        "{n}_{i:03d}[{a:.2f}].mrc",
        "{n}_{j:03d}_{a:.1f}_Oct08_07.46.46.mrc",
        "{n}_{i}.mrc",
        "{n}[{a:.1f}].mrc",
        "{n}_{a:.1f}.mrc",
        "{n}_{j:03d}_{a:.2f}_20240101_101010_EER.mrc",
    ],
)
def test_without_subframepath_movies_are_found_by_number_and_angle(tmp_path: Path, pattern: str) -> None:
    for name in ("TS_1", "TS_1_2"):
        write_old(
            tmp_path / f"{name}.mdoc", serialem(name, with_path=False, start_minute=10 * len(name), spacing=len(name))
        )
        for index, angle in enumerate(DOSE_SYMMETRIC):
            write_mrc(tmp_path / pattern.format(n=name, i=index, j=index + 1, a=angle))
    inspection = inspect([str(tmp_path)], [str(tmp_path)])
    assert [series.id for series in inspection.series] == ["TS_1", "TS_1_2"]
    for series in inspection.series:
        expected = [
            str(tmp_path / pattern.format(n=series.id, i=index, j=index + 1, a=angle))
            for index, angle in enumerate(DOSE_SYMMETRIC)
        ]
        assert list(series.tilts.source) == expected
        assert "the mdoc names no movies: 7 of 7 were found by tilt number and angle" in series.notes


def test_other_extension_is_taken_where_the_stem_is_unique_and_said(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    write_old(mdocs / "TS_1.mrc.mdoc", serialem("TS_1", movie="{name}_{index:03d}_{angle:.1f}.tif"))
    series = only(inspect([str(frames)], [str(mdocs)]))
    assert series.tilts.problem == ("",) * 7
    assert "the mdoc names .tif movies, the folder has .mrc" in series.notes
    shutil.copy(frames / "TS_1_000_0.0.mrc", frames / "TS_1_000_0.0.mrcs")
    series = only(inspect([str(frames)], [str(mdocs)]))
    assert series.tilts.problem[0] == "its movie TS_1_000_0.0.tif is not there"


def test_equal_names_in_two_folders_are_told_apart_by_the_mdocs_path(tmp_path: Path) -> None:
    for session, spacing in (("s1", 2.0), ("s2", 4.0)):
        folder = tmp_path / session / "frames"
        folder.mkdir(parents=True)
        text = serialem("TS_1", folder=f"X:\\{session}\\frames\\", spacing=spacing, start_minute=int(spacing))
        write_old(tmp_path / session / "TS_1.mdoc", text)
        for index, angle in enumerate(DOSE_SYMMETRIC):
            write_mrc(folder / f"TS_1_{index:03d}_{angle:.1f}.mrc")
    inspection = inspect([str(tmp_path / "*/frames/*.mrc")], [str(tmp_path / "*/*.mdoc")])
    first, second = inspection.series
    assert (first.id, second.id) == ("TS_1", "TS_1_2")
    assert "/s1/" in first.tilts.source[0] and "/s2/" in second.tilts.source[0]
    assert (first.tilts.movie[0], second.tilts.movie[0]) == ("TS_1_000_0.0.mrc", "TS_1_2_TS_1_000_0.0.mrc")
    assert (first.group, second.group) == ("optics1", "optics2")  # their pixel sizes differ
    assert inspection.batch.groups == ("optics1", "optics2")


def test_missing_empty_and_cut_movies_are_problems_and_still_exposures(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    (frames / "TS_1_001_3.0.mrc").unlink()
    (frames / "TS_1_002_-3.0.mrc").write_bytes(b"")
    os.truncate(frames / "TS_1_003_-6.0.mrc", 5000)
    series = only(inspect([str(frames)], [str(mdocs)]))
    assert len(series.tilts) == 7
    assert series.tilts.problem[1] == "its movie TS_1_001_3.0.mrc is not there"
    assert series.tilts.problem[2] == "its movie TS_1_002_-3.0.mrc is empty"
    assert "cut off" in series.tilts.problem[3]
    assert [bool(problem) for problem in series.tilts.problem] == [False, True, True, True, False, False, False]
    assert "one movie named in the mdoc is not there" in series.notes
    assert row(series).missing == 3


def test_duplicates(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    text = serialem("TS_1")
    repeated = text[text.index("[ZValue = 6]") :]
    again = text[text.index("[ZValue = 1]") : text.index("[ZValue = 2]")].replace("15:01:00", "15:50:00")
    write_old(mdocs / "TS_1.mrc.mdoc", text + repeated + again)
    series = only(inspect([str(frames)], [str(mdocs)]))
    assert len(series.tilts) == 8
    assert "the mdoc lists TS_1_006_-9.0.mrc twice; it is counted once" in series.notes
    assert "two tilts name the same movie TS_1_001_3.0.mrc" in series.notes
    assert "two tilts at 3.0°: both are kept" in series.notes
    assert series.tilts.problem[-1] == "its movie is that of the tilt at 3.0° too"


def test_order_is_that_of_the_times_and_else_of_the_dose(tmp_path: Path) -> None:
    angles = (-6.0, -3.0, 0.0, 3.0, 6.0)
    text = serialem("TS_1", angles)
    for index, minute in enumerate((3, 2, 0, 1, 4)):  # the file is sorted by angle, the times are not
        text = text.replace(f"15:{index:02d}:00", f"16:{minute:02d}:00")
    mdoc = write_old(tmp_path / "TS_1.mdoc", text)
    assert only(inspect([], [str(mdoc)])).tilts.angle_deg == (0.0, 3.0, -3.0, -6.0, 6.0)
    text = serialem("TS_2", angles, with_time=False)
    for index, dose in enumerate((9, 6, 0, 3, 12)):
        text = text.replace(f"[ZValue = {index}]", f"[ZValue = {index}]\nPriorRecordDose = {dose}")
    series = only(inspect([], [str(write_old(tmp_path / "TS_2.mdoc", text))]))
    assert series.tilts.angle_deg == (0.0, 3.0, -3.0, -6.0, 6.0)
    assert series.tilts.z_value == (2, 3, 1, 0, 4)
    assert "the order of the tilts is that of PriorRecordDose: the mdoc has no usable times" in series.notes


def test_per_movie_mdocs_short_ones_and_those_without_angles(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    for index, angle in enumerate(DOSE_SYMMETRIC):
        name = f"TS_1_{index:03d}_{angle:.1f}.mrc"
        write_old(frames / f"{name}.mdoc", f"[FrameSet = 0]\nTiltAngle = {angle}\nSubFramePath = D:\\x\\{name}\n")
    write_old(mdocs / "short.mdoc", serialem("short", (0.0, 3.0)))
    write_old(mdocs / "flat.mdoc", serialem("flat").replace("TiltAngle", "Tilted"))
    write_old(mdocs / "torn.mdoc", "\0\0\0")
    inspection = inspect([str(frames)], [str(mdocs), str(frames / "*.mdoc")])
    assert [series.id for series in inspection.series] == ["TS_1"]
    reasons = {os.path.basename(refused.mdoc): refused.reason for refused in inspection.refused}
    assert len(reasons) == 10
    assert reasons["TS_1_000_0.0.mrc.mdoc"] == "the mdoc of a single movie, not of a tilt series"
    assert reasons["short.mdoc"] == "has only 2 tilts, fewer than 3"
    assert reasons["flat.mdoc"] == "has no tilt angles"
    assert "binary" in reasons["torn.mdoc"]


def test_angles_that_are_no_numbers_are_problems_with_their_place(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    mdoc = mdocs / "TS_1.mrc.mdoc"
    write_old(mdoc, serialem("TS_1").replace("TiltAngle = 3.0", "TiltAngle = abc"))
    series = only(inspect([str(frames)], [str(mdocs)]))
    assert series.tilts.problem[1] == "TS_1.mrc.mdoc: TiltAngle = abc in [ZValue = 1] is no tilt angle"
    assert series.tilts.problem[0] == ""
    write_old(mdoc, re.sub(r"TiltAngle = .*", "TiltAngle = abc", serialem("TS_1")))
    reason = inspect([str(frames)], [str(mdocs)]).refused[0].reason
    assert reason == "has no tilt angles: none of its tilts has one; TiltAngle = abc in [ZValue = 0] is no tilt angle"


def test_an_empty_last_movie_may_come_or_never(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    last = frames / "TS_1_006_-9.0.mrc"
    last.write_bytes(b"")
    os.utime(mdocs / "TS_1.mrc.mdoc")
    reason = inspect([str(frames)], [str(mdocs)]).refused[0].reason
    assert f"its last movie {last.name} is empty; it is still being written, or was never written" in reason


def test_an_mdoc_still_being_written_is_refused_until_it_has_ended(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    mdoc = mdocs / "TS_1.mrc.mdoc"
    (frames / "TS_1_006_-9.0.mrc").unlink()
    os.utime(mdoc)
    assert "not yet complete" in inspect([str(frames)], [str(mdocs)]).refused[0].reason
    assert only(inspect([str(frames)], [str(mdocs)], settle_seconds=0)).tilts.problem[6]
    write_mrc(frames / "TS_1_006_-9.0.mrc")
    assert only(inspect([str(frames)], [str(mdocs)])).tilts.problem[6] == ""
    mdoc.write_text(serialem("TS_1")[:-60])
    assert "not yet complete" in inspect([str(frames)], [str(mdocs)]).refused[0].reason
    age(mdoc)
    assert "the mdoc ends in the middle of a section" in only(inspect([str(frames)], [str(mdocs)])).notes


def test_tomo5(tmp_path: Path) -> None:
    text = (
        "DataMode = 6\nImageSize = 64 48\nImageFile = Position_1.mrc\nPixelSpacing = 3.30\nVoltage = 300.00\n\n"
        "[T = Tomography: TITAN    13-Jan-2025  17:15:32]\n\n"
        "[T =   TiltAxisAngle = -176.20  Binning = 1  SpotSize = 6]\n\n"
    )
    for index, angle in enumerate((8.0, 11.0, 5.0, 2.0, 14.0)):
        name = f"Position_1_{index + 1:03d}_{angle:.2f}_20250113_17150{index}_EER.mrc"
        write_mrc(tmp_path / name)
        text += (
            f"[ZValue = {index}]\nTiltAngle = {angle:.2f}\nExposureDose = 1.73\nRotationAngle = 86.20\n"
            f"SubFramePath = \\\\server\\share\\{name}\nDateTime = 2025-01-13 17:15:0{index}\n\n"
        )
    write_old(tmp_path / "Position_1.mdoc", text)
    series = only(inspect([str(tmp_path)], [str(tmp_path)]))
    assert series.detected["tilt_axis_deg"].value == 86.2
    assert not series.detected["tilt_axis_deg"].confirmed
    assert series.detected["software"].value == "Tomo 5"
    assert (series.detected["dose_per_tilt_e_per_a2"].value, series.detected["voltage_kv"].value) == (1.73, 300.0)
    shown = row(series)
    assert (shown.first_deg, shown.lowest_deg, shown.highest_deg, shown.total_dose_e_per_a2) == (8.0, 2.0, 14.0, 8.65)


def test_gain_near_the_movies_and_in_the_mdoc(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    write_mrc(frames.parent / "gain_20250113.mrc", frames=1)
    gain = only(inspect([str(frames)], [str(mdocs)])).detected["gain_path"]
    assert (gain.value, gain.confirmed) == (str(frames.parent / "gain_20250113.mrc"), False)
    write_mrc(frames / "CountRef_a.mrc", frames=1)
    write_mrc(frames / "CountRef_b.mrc", frames=1)
    several = only(inspect([str(frames)], [str(mdocs)])).detected["gain_path"]
    assert (several.value, several.source) == (None, "near the movies: 2 files, choose one")
    write_old(mdocs / "TS_1.mrc.mdoc", serialem("TS_1", extra="GainReference = X:\\g\\CountRef_b.mrc"))
    named = only(inspect([str(frames)], [str(mdocs)])).detected["gain_path"]
    assert (named.value, named.source, named.confirmed) == (str(frames / "CountRef_b.mrc"), "mdoc", True)


def test_ids_are_given_once(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["Position_2", "Position_10"])
    first = inspect([str(frames)], [str(mdocs)])
    assert [series.id for series in first.series] == ["Position_2", "Position_10"]
    known = Registry(first.series, first.refused, (first.batch,))

    grown = serialem("Position_2", (*DOSE_SYMMETRIC, -12.0), start_minute=0)
    write_old(mdocs / "Position_2.mrc.mdoc", grown)
    write_mrc(frames / "Position_2_007_-12.0.mrc")
    write_old(mdocs / "Position_2.mdoc", serialem("Position_2", start_minute=300))  # another session, the same name
    second = inspect([str(frames)], [str(mdocs)], known=known)
    assert second.added == ("Position_2_2",)
    by_id = {series.id: series for series in second.series}
    assert by_id["Position_2"].tilts.ids == tuple(f"{number:03d}" for number in range(8))
    assert by_id["Position_2"].tilts.movie[:7] == first.series[0].tilts.movie
    assert by_id["Position_10"] == first.series[1]
    assert second.batch.name == "batch1" and second.batch.groups == ("optics1",)

    moved = tmp_path / "elsewhere" / "renamed.mdoc"
    write_old(moved, grown)
    third = inspect([str(frames)], [str(moved)], known=Registry(second.series, (), (second.batch,)))
    assert third.series[0].id == "Position_2" and third.added == ()


def test_a_tilt_that_the_mdoc_lost_stays_an_exposure(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    first = inspect([str(frames)], [str(mdocs)])
    text = serialem("TS_1")
    start, end = text.index("[ZValue = 3]"), text.index("[ZValue = 4]")
    write_old(mdocs / "TS_1.mrc.mdoc", text[:start] + text[end:])
    series = only(inspect([str(frames)], [str(mdocs)], known=Registry(first.series)))
    assert series.tilts.ids == first.series[0].tilts.ids
    assert series.tilts.angle_deg == DOSE_SYMMETRIC
    assert series.tilts.problem == ("", "", "", "no longer in the mdoc", "", "", "")


def test_two_mdocs_of_one_series_count_once(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    write_old(mdocs / "TS_1_copy.mdoc", serialem("TS_1", DOSE_SYMMETRIC[:5]))
    inspection = inspect([str(frames)], [str(mdocs)])
    assert only(inspection).id == "TS_1"
    assert inspection.refused[0].reason == f"the same tilt series as {mdocs / 'TS_1.mrc.mdoc'}"


def test_majority_and_who_departs(tmp_path: Path) -> None:
    names = [f"TS_{number}" for number in range(1, 6)]
    frames, mdocs = write_session(tmp_path, names)
    write_old(mdocs / "TS_3.mrc.mdoc", serialem("TS_3", axis=-84.9, dose=3.1, start_minute=90))
    write_old(mdocs / "TS_4.mrc.mdoc", serialem("TS_4", DOSE_SYMMETRIC[:6], start_minute=135))
    overview = inspect([str(frames)], [str(mdocs)]).overview
    assert overview.departures["TS_3"] == ("axis -84.9: 4 others say 85.3",)
    assert overview.departures["TS_4"] == (
        "tilts 6: 4 others say 7",
        "lowest tilt -6.0: 4 others say -9.0",
    )
    assert set(overview.departures) == {"TS_3", "TS_4"}
    assert overview.headline.startswith("5 series · 34 tilts · ")
    majority = next(m for m in overview.majorities if m.quantity == "axis")
    assert (majority.text, majority.count, majority.total) == ("85.3", 4, 5)


def test_progress_and_patterns_that_lead_nowhere(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1", "TS_2"])
    seen: list[tuple[int, int]] = []
    inspect([str(frames / "*.mrc")], [str(mdocs)], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    for bad_frames, bad_mdocs in (
        ([str(frames)], [str(tmp_path / "no")]),
        ([str(frames)], [str(frames)]),
        ([str(frames / "*.eer")], [str(mdocs)]),
        ([str(tmp_path / "no" / "*.mrc")], [str(mdocs)]),
    ):
        with pytest.raises(InputError):
            inspect(bad_frames, bad_mdocs)


def test_names() -> None:
    assert [series_name(name) for name in ("X.mrc.mdoc", "X.st.mdoc", "a/X.mdoc", "X.1.5.tif.mdoc")] == [
        "X",
        "X",
        "X",
        "X.1.5",
    ]
    assert [safe_id(name) for name in ("TS 1.5", "None_1", "01", "nan", "-x", "ü", "")] == [
        "TS_1_5",
        "No-ne_1",
        "TS_01",
        "TS_nan",
        "x",
        "_",
        "TS",
    ]
    assert name_parts("_012_-33.0") == NameParts(12, -33.0)
    assert name_parts("_012[-9.00]_EER") == NameParts(12, -9.0)
    assert name_parts("_7") == NameParts(7, None)
    assert owner("TS_1_2_003_6.0", {"TS_1", "TS_1_2"}) == "TS_1_2"
    assert owner("TS_11_000", {"TS_1"}) is None
    links = LinkNames(["a.mrc"])
    assert [links.give("a.tif", "TS_1"), links.give("A b.tif", "TS_1"), links.give("a.eer", "TS_1")] == [
        "TS_1_a.tif",
        "A_b.tif",
        "TS_1_a_2.eer",
    ]


@given(st.text(max_size=120))
@settings(max_examples=50, deadline=None)
def test_every_name_becomes_a_safe_id(name: str) -> None:
    made = safe_id(name)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", made)
    assert "none" not in made.lower()
    assert safe_id(made) == made
    link = LinkNames().give(name or "x", made)
    assert re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9._+-]*", link)


@given(st.lists(st.text(alphabet="aA b_.1", min_size=1, max_size=4), max_size=30))
@settings(max_examples=50, deadline=None)
def test_link_names_are_unique(names: list[str]) -> None:
    links = LinkNames()
    given_names = [links.give(f"{name}.mrc", "TS_1") for name in names]
    assert len({name.casefold() for name in given_names}) == len(names)


def test_inspection_touches_nothing(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    before = sorted((str(path), path.stat().st_mtime_ns) for path in (tmp_path / "raw").rglob("*"))
    inspect([str(frames)], [str(mdocs)])
    assert before == sorted((str(path), path.stat().st_mtime_ns) for path in (tmp_path / "raw").rglob("*"))


def write_eer(path: Path, width: int, height: int, frames: int) -> None:
    """A TIFF whose directories all have EER's compression (65000), without image data."""
    data = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    for number in range(frames):
        data += struct.pack("<H", 3)
        for tag, value in ((256, width), (257, height), (259, 65000)):
            data += struct.pack("<HHII", tag, 4, 1, value)
        data += struct.pack("<I", len(data) + 4 if number + 1 < frames else 0)
    path.write_bytes(data)


def test_eer_movies_count_raw_frames(tmp_path: Path) -> None:
    for index, angle in enumerate(DOSE_SYMMETRIC):
        write_eer(tmp_path / f"TS_1_{index:03d}_{angle:.1f}_EER.eer", 4096, 4096, 12)
    text = serialem("TS_1", movie="{name}_{index:03d}_{angle:.1f}_EER.eer", spacing=1.66, image="4096 4096")
    write_old(tmp_path / "TS_1.mdoc", text)  # NumSubFrames is 4 there, as for fractions
    series = only(inspect([str(tmp_path / "*.eer")], [str(tmp_path)]))
    assert series.detected["movie_extension"].value == ".eer"
    assert series.detected["frames_per_movie"].value == 12
    assert set(series.tilts.frame_count) == {12}
    assert series.detected["pixel_size_angstrom"].value == 1.66
    assert not any("frames" in note for note in series.notes)
