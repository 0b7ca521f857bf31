"""mdoc files as SerialEM, Tomo 5 and people leave them."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.formats.mdoc import axis_from_titles, base_name, parse_datetime, parse_mdoc, read_mdoc
from tests.shared import shared


def test_serialem_tilt_series() -> None:
    mdoc = read_mdoc(shared("data/mdoc/serialem_empiar10164_TS_01.mrc.mdoc"))
    assert mdoc.complete
    assert mdoc.header["PixelSpacing"] == "5.4"
    assert mdoc.header["ImageSize"] == "924 958"
    assert axis_from_titles(mdoc.titles) == 85.3
    assert [section.number for section in mdoc.sections] == list(range(41))
    last = mdoc.sections[-1]
    assert (last.kind, last.values["TiltAngle"]) == ("ZValue", "60.0006")
    assert base_name(last.values["SubFramePath"]) == "TS_01_040_60.0.mrc"
    assert parse_datetime(last.values["DateTime"]) == datetime(2015, 11, 30, 16, 6, 45)


def test_other_real_files() -> None:
    portal = read_mdoc(shared("data/mdoc/portal_empiar_style_relative_tiff_TS_run1.mdoc"))
    assert (len(portal.sections), portal.complete, axis_from_titles(portal.titles)) == (5, True, 84.7)
    frame_sets = read_mdoc(shared("data/mdoc/serialem_frameset_multiple_k3_crlf.mdoc"))
    assert frame_sets.titles[0].startswith("SerialEM: UMass_Krios")
    assert frame_sets.header == {"Voltage": "300"}
    assert [section.kind for section in frame_sets.sections][:2] == ["FrameSet", "ZValue"]
    montage = read_mdoc(shared("data/mdoc/serialem_montage_lowmag_LMM.mdoc"))
    assert montage.header["Montage"] == "1"
    single = read_mdoc(shared("data/mdoc/spa_deapollo_not_tomo.mdoc"))
    assert single.sections[0].values["DE12-PreexposureTime(s)"] == "0"


TOMO5 = (
    "PixelSpacing = 1.54\r\nVoltage = 300\r\n"
    "Version = Tomography 5.12\r\nImageFile = P_1.mrc\r\nImageSize = 4096 4096\r\n"
    "DataMode = 1\r\n\r\n[T = TOMOGRAPHY]\r\n[T = Tilt axis angle = -95.25, binning = 1  spot = 8  camera = 0]\r\n\r\n"
    "[ZValue = 0]\r\nTiltAngle = 0.01\r\n"
    "SubFramePath = \\\\srv\\offload\\P_1_001[0.00]_fractions.eer\r\nNote = a = b = c\r\n"
    "DateTime = 2024-08-02 07:52:28.250\r\n\r\n"
)


def test_tomo5_with_byte_order_mark_and_equals_signs(tmp_path: Path) -> None:
    path = tmp_path / "P_1.mdoc"
    path.write_bytes(b"\xef\xbb\xbf" + TOMO5.encode())
    mdoc = read_mdoc(path)
    assert mdoc.header["PixelSpacing"] == "1.54"
    assert axis_from_titles(mdoc.titles) == -95.25
    values = mdoc.sections[0].values
    assert values["Note"] == "a = b = c"
    assert base_name(values["SubFramePath"]) == "P_1_001[0.00]_fractions.eer"
    assert parse_datetime(values["DateTime"]) == datetime(2024, 8, 2, 7, 52, 28, 250000)
    path.write_bytes("Note = 20 \xb5m\n[ZValue = 0]\nTiltAngle = 1\n".encode("latin-1"))
    assert read_mdoc(path).header["Note"] == "20 µm"


def test_a_repeated_header_belongs_to_no_section() -> None:
    text = (
        "PixelSpacing = 2\nImageFile = a.mrc\n\n[T = one]\n\n[ZValue = 0]\nTiltAngle = 0\nPixelSpacing = 2.5\n\n"
        "PixelSpacing = 9\nImageFile = b.mrc\n\n[T = two]\n\n[ZValue = 1]\nTiltAngle = 3\nPixelSpacing = 2.5\n"
    )
    mdoc = parse_mdoc(text)
    assert mdoc.header == {"PixelSpacing": "2", "ImageFile": "a.mrc"}
    assert mdoc.titles == ("one", "two")
    assert [section.values for section in mdoc.sections] == [
        {"TiltAngle": "0", "PixelSpacing": "2.5"},
        {"TiltAngle": "3", "PixelSpacing": "2.5"},
    ]


def test_every_cut_of_a_file_is_noticed_or_harmless() -> None:
    section = "[ZValue = {}]\nTiltAngle = {}.25\nSubFramePath = x_{}.tif\nDateTime = 28-Apr-18  11:38:54\n\n"
    text = "PixelSpacing = 2\n\n" + "".join(section.format(n, n, n) for n in range(4))
    start = text.index("[ZValue = 3]")
    for cut in range(start + 1, len(text) - 2):
        assert not parse_mdoc(text[:cut]).complete, text[start:cut]
    assert parse_mdoc(text[:start]).complete
    assert parse_mdoc(text).complete


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b"hello\n", "no 'key = value'"),
        (b"a = 1\n[ZValue = x]\nb = 2\n", "line 2: has a section header"),
        (b"a = 1\n\0\0\0", "line 2: holds binary"),
        ("a = 1\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_what_is_refused(data: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mdoc"
    path.write_bytes(data)
    with pytest.raises(InputError, match=sentence):
        read_mdoc(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("28-Apr-18  11:38:54", datetime(2018, 4, 28, 11, 38, 54)),
        ("28-Apr-2018 11:38:54", datetime(2018, 4, 28, 11, 38, 54)),
        ("05-Jun-99 00:00:00", datetime(1999, 6, 5)),
        ("01-Aug-2024 15:27-36", datetime(2024, 8, 1, 15, 27, 36)),
        ("2024-08-02 07:52:28", datetime(2024, 8, 2, 7, 52, 28)),
        ("2024-Aug-02  07:52:28", datetime(2024, 8, 2, 7, 52, 28)),
        ("02/08/2024 07:52:28 PM", datetime(2024, 8, 2, 19, 52, 28)),
        ("31-Feb-2024 07:52:28", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times(text: str, expected: datetime | None) -> None:
    assert parse_datetime(text) == expected


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("D:\\DATA\\frames\\x.mrc", "x.mrc"),
        ("\\\\srv\\share\\a b.tif", "a b.tif"),
        ("/data/x.eer", "x.eer"),
        ("X:/mixed\\x.tif", "x.tif"),
        ("x.tif", "x.tif"),
        ("", ""),
    ],
)
def test_base_names(path: str, name: str) -> None:
    assert base_name(path) == name


def test_reading_is_fast() -> None:
    path = shared("data/mdoc/serialem_empiar10164_TS_01.mrc.mdoc")
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        read_mdoc(path)
        best = min(best, time.perf_counter() - start)
    assert best < 0.003


keys = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8).filter(lambda key: key != "T")
words = st.text(st.characters(categories=("L", "N", "S"), include_characters=" =[]"), max_size=20).map(str.strip)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(keys, words, min_size=1, max_size=4), min_size=1, max_size=4))
def test_sections_come_back(sections: list[dict[str, str]]) -> None:
    text = "".join(
        f"[ZValue = {number}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()) + "\n"
        for number, values in enumerate(sections)
    )
    assert [section.values for section in parse_mdoc(text).sections] == sections
