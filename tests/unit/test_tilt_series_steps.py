"""tsAutolevel, tsCtf and tsReconstruct: command lines, WarpTools' traps, and what is gathered from its files."""

from __future__ import annotations

import struct
from math import cos, radians
from pathlib import Path
from typing import Any

import pytest

from core.errors import InputError
from core.formats import star
from core.formats.warp_xml import read_tilt_series
from core.jobs import align_tilts_warp, fs_motion_and_ctf, ts_autolevel, ts_ctf, ts_reconstruct
from core.jobs._base import JobContext, JobType, Problem, Producer, SeriesContext
from core.jobs._star import read_series, write_series
from core.jobs._task import Check, MoveAside
from core.jobs._tilt_series import geometry_columns, xml_tilts
from core.project.decisions import Decision
from core.tools.catalogue import Catalogue
from core.tools.command import Command
from tests.shared import shared
from tests.unit.job_parts import acquisition, job_context, producer, series_context, task_context
from tests.unit.tilt_series_parts import decided, imported, nominal, small, write_xml

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "config" / "catalogues" / "warptools.json")
ALIGN, LEVEL, CTF, RECONSTRUCT = (m.JOB_TYPE for m in (align_tilts_warp, ts_autolevel, ts_ctf, ts_reconstruct))
AXIS = decided("tilt_axis:main", 85.0)
DEFOCUS = {index: (2.5 + 0.1 * index, 0.04, 30.0 + index, 0.5) for index in range(5)}


def option(command: Command, name: str) -> str | None:
    words = list(command.argv)
    return words[words.index(name) + 1] if name in words else None


def alignment(project: Path, **frames: Any) -> Producer:
    """A finished alignment, with its STAR file and XML, after a frame-series step with these values."""
    done = imported(project)
    fs_job = job_context(fs_motion_and_ctf.JOB_TYPE, project, "External/job002", **frames)
    before = producer(fs_motion_and_ctf.JOB_TYPE, fs_job)
    tomostar = Producer(
        done.producer.instance,
        done.producer.job_type,
        done.producer.provides,
        done.producer.folder,
        done.producer.values,
        {"frame_series": before},
    )
    job = job_context(ALIGN, project, "External/job004")
    done.add(small())
    rows = read_series(tomostar.folder, "TS_01")
    write_series(job, "TS_01", [{**row, "rlnTomoYTilt": row["rlnTomoNominalStageTiltAngle"]} for row in rows])
    write_xml(job.folder / "warp_tiltseries/TS_01.xml", small())
    return producer(ALIGN, job, tomostar=tomostar)


def step(
    kind: JobType[Any],
    project: Path,
    before: Producer,
    slot: str = "alignment",
    *,
    decisions: dict[str, Decision] | None = None,
    version: str = "head",
    **values: Any,
) -> tuple[JobContext[Any], SeriesContext[Any]]:
    made = AXIS if decisions is None else {**AXIS, **decisions}
    job = job_context(kind, project, "External/job005", decisions=made, version=version, **values)
    return job, series_context(job, small(), nominal(), {slot: before})


FLIP = decided("handedness", "flip")


@pytest.mark.parametrize("version", ["head", "dev39"])
@pytest.mark.parametrize(
    ("kind", "slot", "values"),
    [
        (LEVEL, "alignment", {}),
        (CTF, "alignment", {"fit_phase": True, "range_high": 4.5}),
        (CTF, "alignment", {"defocus_hand": "no_flip"}),
        (RECONSTRUCT, "tilt_series_ctf", {}),
        (RECONSTRUCT, "tilt_series_ctf", {"halfmap_frames": False, "deconvolve": True, "keep_full_voxels": True}),
        (RECONSTRUCT, "tilt_series_ctf", {"halfmap_frames": False, "halfmap_tilts": True, "dont_normalize": True}),
    ],
)
def test_every_command_is_in_the_catalogue(
    tmp_path: Path, version: str, kind: JobType[Any], slot: str, values: dict[str, Any]
) -> None:
    job, context = step(kind, tmp_path, alignment(tmp_path), slot, decisions=FLIP, version=version, **values)
    for command in kind.build(task_context(job, context)).commands:
        assert CATALOGUE.check(command.argv, version) == []
        assert ("--task_dir" in command.argv) == (version == "head" and command.gpu)


def test_levelling_reads_upstream_and_writes_its_own(tmp_path: Path) -> None:
    job, context = step(LEVEL, tmp_path, alignment(tmp_path), patch_size=600)
    work = LEVEL.build(task_context(job, context))
    level = work.commands[1]
    assert option(level, "--input_processing") == str(tmp_path / "External/job004/warp_tiltseries")
    assert option(level, "--output_processing") == str(tmp_path / "External/job005/warp_tiltseries")
    assert option(level, "--patch_size") == "600"
    assert str(tmp_path / "External/job004/warp_tiltseries/TS_01.xml") in work.inputs
    assert MoveAside(str(job.folder / "warp_tiltseries/TS_01.xml")) in work.stage


def test_levelling_rewrites_the_geometry(tmp_path: Path) -> None:
    job, context = step(LEVEL, tmp_path, alignment(tmp_path))
    write_xml(job.folder / "warp_tiltseries/TS_01.xml", small(), level=(3.0, -8.0))
    result = LEVEL.gather_series(job, "TS_01", context)
    assert result.problem == ""
    assert (result.numbers["level_x_deg"], result.numbers["level_y_deg"]) == (3.0, -8.0)
    for row in read_series(job.folder, "TS_01"):
        assert float(row["rlnTomoXTilt"]) == 3.0
        assert float(row["rlnTomoYTilt"]) == pytest.approx(float(row["rlnTomoNominalStageTiltAngle"]) + 8.0)
    made = LEVEL.gather_job(job, {"TS_01": result}, {"TS_01": context})
    assert list(made.nodes) == ["External/job005/aligned_tilt_series.star"]


def test_ctf_sets_the_decided_hand_first_and_then_fits_its_own_xml(tmp_path: Path) -> None:
    job, context = step(CTF, tmp_path, alignment(tmp_path), decisions=FLIP)
    settings, hand, fit = CTF.build(task_context(job, context)).commands
    assert settings.argv[1] == "create_settings"
    assert hand.argv[1] == "ts_defocus_hand"
    assert "--set_flip" in hand.argv
    assert not hand.gpu
    assert option(hand, "--input_processing") == str(tmp_path / "External/job004/warp_tiltseries")
    own = str(tmp_path / "External/job005/warp_tiltseries")
    assert option(hand, "--output_processing") == own
    assert (option(fit, "--input_processing"), option(fit, "--output_processing")) == (own, own)
    assert "--auto_hand" not in fit.argv
    assert option(fit, "--voltage") == "300"
    assert option(fit, "--amplitude") == "0.1"
    assert "--fit_phase" not in fit.argv


def test_hand_comes_from_the_decision_or_the_field(tmp_path: Path) -> None:
    before = alignment(tmp_path)
    job, context = step(CTF, tmp_path, before, decisions=decided("handedness", "no_flip"))
    assert CTF.needs_decisions(job, context) == ("handedness",)
    assert "--set_noflip" in CTF.build(task_context(job, context)).commands[1].argv
    job, context = step(CTF, tmp_path, before, decisions=FLIP, defocus_hand="no_flip")
    assert CTF.needs_decisions(job, context) == ()
    assert "--set_noflip" in CTF.build(task_context(job, context)).commands[1].argv
    job, context = step(CTF, tmp_path, before)
    with pytest.raises(InputError, match="not decided"):
        CTF.build(task_context(job, context))
    ask = {"handedness": Decision("handedness", "ask", None, "unclear")}
    job, context = step(CTF, tmp_path, before, decisions=ask)
    with pytest.raises(InputError, match="not decided"):
        CTF.build(task_context(job, context))


def test_ctf_product_is_the_fit_and_not_only_the_flag(tmp_path: Path) -> None:
    job, context = step(CTF, tmp_path, alignment(tmp_path), decisions=FLIP)
    products = CTF.build(task_context(job, context)).products
    assert [product.check for product in products] == [Check.XML, Check.WORDS]
    assert products[1].words == ("<OptionsCTF",)


def fitted(tmp_path: Path, decision: str = "flip", **xml: Any) -> tuple[JobContext[Any], Any]:
    job, context = step(CTF, tmp_path, alignment(tmp_path), decisions=decided("handedness", decision), fit_phase=True)
    write_xml(job.folder / "warp_tiltseries/TS_01.xml", small(), **{"inverted": True, "defocus": DEFOCUS, **xml})
    return job, CTF.gather_series(job, "TS_01", context)


def test_defocus_by_z_and_movie_with_relions_units(tmp_path: Path) -> None:
    job, result = fitted(tmp_path)
    assert result.problem == ""
    rows = {row["rlnMicrographMovieName"]: row for row in read_series(job.folder, "TS_01")}
    for index, movie in enumerate(small().tilts.movie):
        row = rows[f"frames/{movie}"]
        assert float(row["rlnDefocusU"]) == pytest.approx((2.5 + 0.1 * index + 0.02) * 1e4)
        assert float(row["rlnDefocusV"]) == pytest.approx((2.5 + 0.1 * index - 0.02) * 1e4)
        assert float(row["rlnCtfAstigmatism"]) == pytest.approx(400)
        assert float(row["rlnDefocusAngle"]) == pytest.approx(30 + index)
        assert float(row["rlnPhaseShift"]) == pytest.approx(90)
    assert result.row["rlnTomoHand"] == -1
    assert result.numbers["ctf_resolution_angstrom"] == pytest.approx(6.8)
    assert result.numbers["defocus_um"] == pytest.approx(2.5)
    assert result.tilts["defocus_um"] == pytest.approx([2.5, 2.6, 2.7, 2.8, 2.9])


def test_flag_against_the_decision_is_a_problem(tmp_path: Path) -> None:
    assert "against the decision" in fitted(tmp_path, inverted=False)[1].problem
    assert "against the decision" in fitted(tmp_path, "no_flip")[1].problem


def test_missing_fit_and_deselection_are_problems(tmp_path: Path) -> None:
    assert "no CTF fit" in fitted(tmp_path, defocus=None)[1].problem
    assert "deselected" in fitted(tmp_path, unselected="True")[1].problem


def test_the_ctf_star_keeps_the_hand_of_its_files(tmp_path: Path) -> None:
    job, context = step(CTF, tmp_path, alignment(tmp_path), decisions=FLIP, defocus_hand="no_flip")
    write_xml(job.folder / "warp_tiltseries/TS_01.xml", small(), inverted=False, defocus=DEFOCUS)
    result = CTF.gather_series(job, "TS_01", context)
    made = CTF.gather_job(job, {"TS_01": result}, {"TS_01": context})
    assert made.nodes == {"External/job005/tilt_series_ctf.star": "TomogramGroupMetadata.star.relion.tomo.ctffind"}
    block = star.read(job.folder / "tilt_series_ctf.star").block("global")
    assert [float(value) for value in block.column("rlnTomoHand")] == [1.0]


def problems(kind: JobType[Any], **values: Any) -> list[Problem]:
    return kind.checks(kind.parameters(**values).model_dump(), acquisition())


def test_ctf_checks() -> None:
    assert problems(CTF) == []
    assert problems(CTF, range_high=40)[0].fields == ("range_low", "range_high")
    assert problems(CTF, defocus_min=6, defocus_max=3)[0].level == "error"
    assert "twice the pixel size" in problems(CTF, range_high=1.2)[0].sentence
    assert "set by the program" in problems(CTF, extra_arguments="--auto_hand 4")[0].sentence


def test_fit_beyond_the_averages_is_refused(tmp_path: Path) -> None:
    before = alignment(tmp_path, bin_times=3.0)  # 5.4 Å/px
    job, context = step(CTF, tmp_path, before, decisions=FLIP, range_high=8.0)
    with pytest.raises(InputError, match="10.8"):
        CTF.build(task_context(job, context))
    job, context = step(LEVEL, tmp_path, before, level_pixel_size=4.0)
    with pytest.raises(InputError, match="finer than the averages"):
        LEVEL.build(task_context(job, context))
    job, context = step(LEVEL, tmp_path, before)
    assert option(LEVEL.build(task_context(job, context)).commands[0], "--bin") == "3"


def ctf(project: Path, **frames: Any) -> Producer:
    before = alignment(project, **frames)
    job = job_context(CTF, project, "External/job006")
    write_series(job, "TS_01", read_series(before.folder, "TS_01"))
    write_xml(job.folder / "warp_tiltseries/TS_01.xml", small(), inverted=True, defocus=DEFOCUS)
    return producer(CTF, job, alignment=before)


def volume(path: Path, size: tuple[int, int, int], pixel: float) -> None:
    header = bytearray(1024)
    struct.pack_into("<4i", header, 0, *size, 0)
    struct.pack_into("<3i", header, 28, *size)
    struct.pack_into("<3f", header, 40, *(side * pixel for side in size))
    header[208:216] = b"MAP \x44\x44\x00\x00"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(header) + bytes(16))


def test_reconstruct_products_have_two_decimals_and_halves(tmp_path: Path) -> None:
    job, context = step(RECONSTRUCT, tmp_path, ctf(tmp_path), "tilt_series_ctf", pixel_size=7.5)
    work = RECONSTRUCT.build(task_context(job, context))
    base = tmp_path / "External/job005/warp_tiltseries/reconstruction"
    (product,) = work.products
    assert product.check == Check.MRC
    assert product.paths == tuple(
        str(base / name) for name in ("TS_01_7.50Apx.mrc", "even/TS_01_7.50Apx.mrc", "odd/TS_01_7.50Apx.mrc")
    )
    assert set(product.paths) < {operation.path for operation in work.stage if isinstance(operation, MoveAside)}
    run = work.commands[1]
    assert option(run, "--angpix") == "7.5"
    assert "--halfmap_frames" in run.argv
    assert "--dont_invert" in run.argv
    for absent in ("--deconv", "--deconv_strength", "--dont_mask", "--dont_overwrite", "--halfmap_tilts"):
        assert absent not in run.argv


def test_deconvolution_overwrites_halves_so_it_is_refused() -> None:
    assert problems(RECONSTRUCT) == []
    found = problems(RECONSTRUCT, deconvolve=True)[0]
    assert found.level == "error"
    assert "second instance" in found.sentence
    assert problems(RECONSTRUCT, deconvolve=True, halfmap_frames=False) == []
    assert problems(RECONSTRUCT, halfmap_tilts=True)[0].level == "error"
    assert "two decimals" in problems(RECONSTRUCT, pixel_size=7.505)[0].sentence
    assert "dont_mask" not in RECONSTRUCT.parameters.model_fields


def test_halves_need_halves_of_the_movies(tmp_path: Path) -> None:
    job, context = step(RECONSTRUCT, tmp_path, ctf(tmp_path, out_average_halves=False), "tilt_series_ctf")
    with pytest.raises(InputError, match="even and odd"):
        RECONSTRUCT.build(task_context(job, context))


def reconstructed(
    tmp_path: Path, size: tuple[int, int, int] = (260, 250, 300), pixel: float = 10.0
) -> tuple[JobContext[Any], SeriesContext[Any]]:
    job, context = step(RECONSTRUCT, tmp_path, ctf(tmp_path), "tilt_series_ctf")
    base = job.folder / "warp_tiltseries/reconstruction"
    for name in ("", "even/", "odd/"):
        volume(base / f"{name}TS_01_10.00Apx.mrc", size, pixel)
    return job, context


def test_tomograms_star(tmp_path: Path) -> None:
    job, context = reconstructed(tmp_path)
    result = RECONSTRUCT.gather_series(job, "TS_01", context)
    assert result.problem == ""
    made = RECONSTRUCT.gather_job(job, {"TS_01": result}, {"TS_01": context})
    assert made.nodes == {"External/job005/tomograms.star": "TomogramGroupMetadata.star.relion.tomo.reconstruct"}
    block = star.read(job.folder / "tomograms.star").block("global")
    row = dict(zip(block.labels, block.rows[0], strict=True))
    base = "External/job005/warp_tiltseries/reconstruction"
    assert row["rlnTomoReconstructedTomogram"] == f"{base}/TS_01_10.00Apx.mrc"
    assert row["rlnTomoReconstructedTomogramHalf1"] == f"{base}/even/TS_01_10.00Apx.mrc"
    assert row["rlnTomoReconstructedTomogramHalf2"] == f"{base}/odd/TS_01_10.00Apx.mrc"
    assert float(row["rlnTomoTomogramBinning"]) == pytest.approx(10 / 0.675, abs=1e-5)
    assert [int(row[f"rlnTomoSize{axis}"]) for axis in "XYZ"] == [3838, 3710, 4444]
    assert float(row["rlnTomoHand"]) == -1
    for tilt in read_series(job.folder, "TS_01"):
        assert float(tilt["rlnCtfScalefactor"]) == pytest.approx(cos(radians(float(tilt["rlnTomoYTilt"]))), abs=1e-5)


def test_sizes_are_in_pixels_of_binned_averages(tmp_path: Path) -> None:
    job, context = step(RECONSTRUCT, tmp_path, ctf(tmp_path, bin_times=1.0), "tilt_series_ctf")
    base = job.folder / "warp_tiltseries/reconstruction"
    for name in ("", "even/", "odd/"):
        volume(base / f"{name}TS_01_10.00Apx.mrc", (260, 250, 300), 10.0)
    row = RECONSTRUCT.gather_series(job, "TS_01", context).row
    assert row["rlnTomoTiltSeriesPixelSize"] == pytest.approx(1.35)
    assert [row[f"rlnTomoSize{axis}"] for axis in "XYZ"] == [1919, 1855, 2222]
    assert row["rlnTomoTomogramBinning"] == pytest.approx(10 / 1.35)


def test_a_volume_of_the_wrong_size_or_pixel_is_a_problem(tmp_path: Path) -> None:
    job, context = reconstructed(tmp_path, size=(250, 260, 300))
    assert "260 x 250 x 300 px were expected" in RECONSTRUCT.gather_series(job, "TS_01", context).problem
    job, context = reconstructed(tmp_path, pixel=12.0)
    assert "12 Å" in RECONSTRUCT.gather_series(job, "TS_01", context).problem


def test_a_real_xml_of_warp() -> None:
    xml = read_tilt_series(shared("data/warp/tiltseries_00254_m_refined.xml"))
    columns = geometry_columns(xml_tilts(xml))
    assert len(columns) == 41
    first = columns["TS_01_041_-60.0.tif"]
    assert first["rlnTomoYTilt"] == pytest.approx(60.01)
    assert first["rlnTomoZRot"] == pytest.approx(-4.2999988)
    assert first["rlnTomoXShiftAngst"] == pytest.approx(262.72888)
    assert first["rlnTomoYShiftAngst"] == pytest.approx(-19.614283)
    assert xml_tilts(xml)[0].geometry.inverted
