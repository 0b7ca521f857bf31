"""Alignments of AreTomo and IMOD."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InputError
from core.formats.aln import AlignedTilt, DarkTilt, LocalShift, read_aln
from core.formats.imod import read_tlt, read_xf
from tests.shared import shared


def test_aretomo_1() -> None:
    aln = read_aln(shared("data/aretomo/aretomo_v1_2_0.aln"))
    assert (aln.tilts_in_stack, aln.patches, len(aln.tilts)) == (41, 0, 41)
    assert aln.tilts[0] == AlignedTilt(0, -93.7196, 1.0, 155.235, 708.75, -51.98)
    assert (aln.dark, aln.local, aln.alpha_offset_deg, aln.thickness_px) == ((), (), None, None)


def test_aretomo_3_with_dark_frames_and_patches() -> None:
    aln = read_aln(shared("data/aretomo/aretomo3_darkframes_local.aln"))
    assert (aln.tilts_in_stack, aln.patches, aln.alpha_offset_deg, aln.beta_offset_deg) == (90, 16, 0.0, 0.0)
    assert aln.dark[0] == DarkTilt(1, 0, -66.0)
    assert [dark.index for dark in aln.dark] == [1, 2, 88, 89]
    assert [tilt.tilt_deg for tilt in aln.tilts] == [-61.5, -60.0, -58.5, -57.0]
    assert aln.local[0] == LocalShift(0, 0, -558.42, -802.0, -100.07, 24.43, True)


HEAD = "# AreTomo Alignment / Priims bprmMn\n# RawSize = 10 10 2\n# Thickness = 200\n"
ROW = "    1   -12.6611    1.00000     24.786     -2.677     1.00     1.00     1.00     0.00    -61.50\n"


def test_broken_alignments(tmp_path: Path) -> None:
    path = tmp_path / "a.aln"
    path.write_text(HEAD + ROW)
    assert read_aln(path).thickness_px == 200.0
    for text, sentence in (
        (HEAD, "no aligned tilts"),
        (HEAD + ROW + ROW[:40], "line 5: has 4 columns"),
        (HEAD + ROW[:-3], "cut off"),
        (HEAD + ROW.replace("24.786", "nan"), "line 4: has a result that is no number"),
        (HEAD + ROW.replace("24.786", "x"), "line 4: has something that is no number"),
        ("hello\n", "no AreTomo alignment"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            read_aln(path)


def test_imod() -> None:
    transforms = read_xf(shared("data/imod/TS_001.xf"))
    assert len(transforms) == 40
    assert (transforms[0].a11, transforms[0].a12, transforms[0].dx_px) == (0.1020875, 0.994776, 2.395)
    assert transforms[0].rotation_deg == pytest.approx(-84.14, abs=0.01)
    assert read_tlt(shared("data/imod/TS_001.tlt"))[:2] == (-57.12, -54.11)
    assert len(read_tlt(shared("data/imod/TS_001.rawtlt"))) == len(read_tlt(shared("data/imod/TS_001.xtilt"))) == 40


def test_broken_imod_files(tmp_path: Path) -> None:
    path = tmp_path / "a.xf"
    for text, sentence in (("1 0 0 1 2.5 3\n1 0 0\n", "line 2: has 3 numbers"), ("", "is empty"), ("a\n", "no number")):
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            read_xf(path)
    for text, sentence in (
        ("1.0\n2.0 3.0\n", "line 2: has no single angle"),
        ("nan\n", "no number"),
        ("1e9\n", "single"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            read_tlt(path)
