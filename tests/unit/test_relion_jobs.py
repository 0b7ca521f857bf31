"""RELION-native job types: commands, what they refuse, RELION's logs, and tables from RELION's own products."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from core.dataset.model import TiltSeries
from core.errors import InputError
from core.formats import star
from core.jobs import import_alignments, importmovies, motioncorr, reconstructtomograms
from core.jobs._base import JobContext, JobType, Problem, Producer, SeriesContext
from core.jobs._relion import relion_cause, relion_progress
from core.jobs._star import read_series, write_series
from core.jobs._task import Link, WriteText
from core.relion.job_star import native_options
from core.tools import catalogue
from core.tools.catalogue import Catalogue
from tests.shared import shared
from tests.unit import job_parts

CONFIG = Path(__file__).parents[2] / "config"
PIXEL = 1.35
MOTIONCOR2 = {"do_own_motioncor": False, "do_float16": False, "do_save_ps": False, "fn_motioncor2_exe": "/opt/mc2"}


@pytest.fixture(autouse=True)
def catalogues() -> None:
    catalogue.use(CONFIG / "catalogues")


class Chain:
    """A project with contexts for each of the jobs."""

    def __init__(self, project: Path, series: TiltSeries | None = None, **values: Any) -> None:
        self.project, self.series = project, series or job_parts.series(count=3, extension="mrc")
        self.acquisition = job_parts.acquisition(pixel_size_angstrom=PIXEL, movie_extension=".mrc", **values)
        job = job_parts.job_context(importmovies.JOB_TYPE, project, "Import/job001")
        self.imported = job_parts.producer(importmovies.JOB_TYPE, job)

    def motion(self, **values: Any) -> tuple[JobContext[Any], SeriesContext[Any]]:
        job = job_parts.job_context(motioncorr.JOB_TYPE, self.project, "MotionCorr/job002", **values)
        return job, job_parts.series_context(job, self.series, self.acquisition, {"movies": self.imported})

    def tomograms(
        self, motion: dict[str, Any] | None = None, **values: Any
    ) -> tuple[JobContext[Any], SeriesContext[Any]]:
        before, _ = self.motion(**(motion or {"do_even_odd_split": True}))
        averages = job_parts.producer(motioncorr.JOB_TYPE, before, movies=self.imported)
        alignment = job_parts.job_context(import_alignments.JOB_TYPE, self.project, "External/job003")
        aligned: Producer = job_parts.producer(import_alignments.JOB_TYPE, alignment, averages=averages)
        job = job_parts.job_context(reconstructtomograms.JOB_TYPE, self.project, "Tomograms/job004", **values)
        return job, job_parts.series_context(job, self.series, self.acquisition, {"aligned_tilt_series": aligned})


def problems(kind: JobType[Any], acquisition: Any = None, **values: Any) -> list[Problem]:
    return kind.checks({**kind.parameters().model_dump(), **values}, acquisition)


def write_mrc(path: Path, size: tuple[int, int, int], pixel: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cell = [side * pixel for side in size]
    header = struct.pack("<10i", *size, 2, 0, 0, 0, *size) + struct.pack("<3f", *cell)
    path.write_bytes(header.ljust(1024, b"\0") + bytes(4 * size[0] * size[1] * size[2]))


# Commands


def test_defaults_are_relions_own() -> None:
    for kind, sample in (
        (motioncorr.JOB_TYPE, "relion.motioncorr.tomo1.star"),
        (reconstructtomograms.JOB_TYPE, "relion.reconstructtomograms.tomo0.star"),
    ):
        theirs = dict(
            star.read(shared(f"facts/relion-samples/job.star-defaults-5.1/{sample}")).block("joboptions_values").rows
        )
        theirs |= {name: "" for name in ("qsubscript", "fn_motioncor2_exe") if name in theirs}  # of their own site
        job = job_parts.job_context(kind, Path("/p"), "x/job001")
        assert native_options(CONFIG, kind.relion_label, kind.relion_options(job, [])) == theirs


def test_every_option_is_in_relions_catalogue(tmp_path: Path) -> None:
    known = Catalogue.load(CONFIG / "catalogues" / "relion.json")
    chain = Chain(tmp_path, gain_path="/raw/gain.mrc", defects_path="/raw/defects.txt")
    everything = {"do_even_odd_split": True, "group_frames": 2, "other_args": "--max_iter 7"}
    halves: dict[str, Any] = {"generate_split_tomograms": True, "do_fourier": False, "tiltangle_offset": 2.5}
    for kind, (job, context) in (
        (motioncorr.JOB_TYPE, chain.motion(**everything)),
        (motioncorr.JOB_TYPE, chain.motion(**MOTIONCOR2, other_motioncor2_args="-InFmMotion 1")),
        (reconstructtomograms.JOB_TYPE, chain.tomograms()),
        (reconstructtomograms.JOB_TYPE, chain.tomograms(**halves)),
    ):
        for command in kind.build(job_parts.task_context(job, context)).commands:
            assert known.check(["relion", *command.argv], "5.1") == []


def test_a_motion_correction_of_one_series(tmp_path: Path) -> None:
    job, context = Chain(tmp_path).motion(do_even_odd_split=True)
    work = motioncorr.JOB_TYPE.build(job_parts.task_context(job, context))
    (command,) = work.commands
    assert " ".join(command.argv) == (
        "relion_run_motioncorr --i MotionCorr/job002/series/TS_01/tilt_series.star --o MotionCorr/job002/series/TS_01/ "
        "--even_odd_split --use_own --j 4 --float16 --bin_factor 1 --bfactor 150 --patch_x 1 --patch_y 1 "
        "--eer_grouping 32 --grouping_for_ps 4"
    )
    assert command.cwd == str(tmp_path) and not command.mpi and not command.gpu
    own = tmp_path / "MotionCorr/job002/series/TS_01"
    assert Link(str(own / "frames"), str(tmp_path / "MotionCorr/job002/frames")) in work.stage
    text = next(step.text for step in work.stage if isinstance(step, WriteText))
    table = star.parse(text).block("global")
    assert table.column("rlnTomoTiltSeriesStarFile") == ["Import/job001/tilt_series/TS_01.star"]
    products = {path for product in work.products for path in product.paths}
    root = tmp_path / "MotionCorr/job002/frames/TS_01_001_3_0"  # RELION turns dots into underscores
    assert {f"{root}{end}" for end in (".mrc", "_EVN.mrc", "_ODD.mrc", "_PS.mrc", ".star")} <= products
    assert str(own / "tilt_series/TS_01.star") in products


def test_a_reconstruction_of_one_series(tmp_path: Path) -> None:
    job, context = Chain(tmp_path).tomograms(binned_angpix=7.5)
    work = reconstructtomograms.JOB_TYPE.build(job_parts.task_context(job, context))
    assert " ".join(work.commands[0].argv) == (
        "relion_tomo_reconstruct_tomogram --t External/job003/aligned_tilt_series.star --o Tomograms/job004/ "
        "--tn TS_01 --w 4000 --h 4000 --d 2000 --binned_angpix 7.5 --fourier --ctf_intact_first_peak --do_proj "
        "--centre_proj 0 --thickness_proj 10 --j 4"
    )
    assert str(tmp_path / "External/job003/tilt_series/TS_01.star") in work.inputs


def test_several_ranks_run_relions_mpi_program(tmp_path: Path) -> None:
    job, context = Chain(tmp_path).motion()
    task = job_parts.task_context(job, context)
    task = type(task)(task.job, task.key, 1, task.series, (), cpus=2, ranks=3)
    (command,) = motioncorr.JOB_TYPE.build(task).commands
    assert command.argv[0] == "relion_run_motioncorr_mpi" and command.mpi
    assert command.argv[command.argv.index("--j") + 1] == "2"


def test_how_the_data_were_taken_reaches_relion(tmp_path: Path) -> None:
    chain = Chain(
        tmp_path, eer_frames_per_fraction=39, gain_path="/raw/gain.mrc", gain_flip_y=True, defects_path="/raw/bad.txt"
    )
    job, context = chain.motion()
    options = motioncorr.JOB_TYPE.relion_options(job, [context])
    assert options["eer_grouping"] == "39" and options["fn_defect"] == "/raw/bad.txt"
    assert options["gain_flip"] == "Flip upside down (1)" and options["gain_rot"] == "No rotation (0)"
    assert options["input_star_mics"] == "Import/job001/tilt_series.star"
    argv = motioncorr.JOB_TYPE.build(job_parts.task_context(job, context)).commands[0].argv
    at = argv.index("--gainref")
    assert argv[at : at + 6] == ("--gainref", "/raw/gain.mrc", "--gain_rot", "0", "--gain_flip", "1")


@pytest.mark.parametrize("turned", list(motioncorr.GAIN))
def test_the_gain_is_turned_as_warptools_turns_it(turned: tuple[bool, bool, bool]) -> None:
    """On the corners of a picture: flip X, flip Y, then transpose, against RELION's turns and flips (found with RELION
    5.1: one turn takes (x, y) to (-y, x), flip 1 turns Y round, flip 2 X; the turn comes first)."""
    flip_x, flip_y, transpose = turned
    rotation, flip = motioncorr.GAIN[turned]
    for x, y in ((1, 2), (-1, 2), (1, -2)):
        u, v = (-x if flip_x else x), (-y if flip_y else y)
        if transpose:
            u, v = v, u
        a, b = x, y
        for _ in range(rotation):
            a, b = -b, a
        a, b = (-a if flip == 2 else a), (-b if flip == 1 else b)
        assert (u, v) == (a, b)


# What is refused


def test_halves_and_fourier_inversion_are_not_for_one_tomogram() -> None:
    (problem,) = problems(reconstructtomograms.JOB_TYPE, generate_split_tomograms=True)
    assert problem.fields == ("generate_split_tomograms", "do_fourier") and problem.level == "error"
    assert not problems(reconstructtomograms.JOB_TYPE, generate_split_tomograms=True, do_fourier=False)


@pytest.mark.parametrize("name", ["do_fourier", "generate_split_tomograms"])
def test_what_needs_halves_says_where_to_switch_them_on(tmp_path: Path, name: str) -> None:
    values = {"do_fourier": False, "generate_split_tomograms": False, name: True}
    job, context = Chain(tmp_path).tomograms(motion={"do_even_odd_split": False}, **values)
    with pytest.raises(InputError, match=f"motioncorr saves no images for denoising.*{name} off here"):
        reconstructtomograms.JOB_TYPE.build(job_parts.task_context(job, context))


def test_a_tomogram_finer_than_its_images_is_refused(tmp_path: Path) -> None:
    acquisition = Chain(tmp_path).acquisition
    assert [p.fields for p in problems(reconstructtomograms.JOB_TYPE, acquisition, binned_angpix=1.0)] == [
        ("binned_angpix",)
    ]
    job, context = Chain(tmp_path).tomograms(motion={"bin_factor": 2, "do_even_odd_split": True}, binned_angpix=2.0)
    with pytest.raises(InputError, match="finer than the averages"):
        reconstructtomograms.JOB_TYPE.build(job_parts.task_context(job, context))


def test_motion_correction_refuses_what_relion_refuses_after_an_hour(tmp_path: Path) -> None:
    kind = motioncorr.JOB_TYPE
    assert not problems(kind, Chain(tmp_path).acquisition)
    assert [p.fields for p in problems(kind, do_save_ps=False)] == [("do_float16", "do_save_ps")]
    small = job_parts.acquisition(pixel_size_angstrom=1.0, image_width_px=700, image_height_px=720)
    # a spectrum of 512 px at 1.4 A needs 717 px at 1 A
    assert "need 717" in problems(kind, small)[0].sentence
    assert not problems(kind, small, do_save_ps=False, do_float16=False)
    odd = job_parts.acquisition(image_width_px=3838, image_height_px=3710)
    assert problems(kind, odd, bin_factor=2.0)[0].fields == ("bin_factor",)
    single = job_parts.acquisition(frames_per_movie=1)
    assert "no motion to correct" in problems(kind, single)[0].sentence
    other = problems(kind, do_own_motioncor=False)
    assert {problem.fields[0] for problem in other} == {"fn_motioncor2_exe", "do_float16", "do_save_ps"}


def test_movies_whose_products_would_overwrite_each_other_are_refused(tmp_path: Path) -> None:
    series = job_parts.series(count=2, movie=("a_1.0.mrc", "a_1_0.mrc"))
    job, context = Chain(tmp_path, series).motion()
    with pytest.raises(InputError, match="RELION mixes up"):
        motioncorr.JOB_TYPE.build(job_parts.task_context(job, context))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("--max_itre 7", "no option --max_itre"),  # RELION would run without it, with a warning
        ("--max_iter seven", "not a whole number"),
        ("--o elsewhere/", "set by the program"),
        ("--bfactor 20", "field of this form"),
        ("--pipeline_control x/", "set by the program"),
        ("--max_iter $(touch x)", "no shell syntax"),
        ("--archive 'x", "without its partner"),
        ("stray", "belongs to no option"),
    ],
)
def test_additional_arguments_are_looked_at_before_relion_ignores_them(text: str, part: str) -> None:
    assert part in problems(motioncorr.JOB_TYPE, other_args=text)[0].sentence


def test_what_relion_hands_to_a_shell_has_no_shell_syntax() -> None:
    assert not problems(motioncorr.JOB_TYPE, **MOTIONCOR2, other_motioncor2_args="-Iter 7")
    assert problems(motioncorr.JOB_TYPE, **MOTIONCOR2, other_motioncor2_args="-Iter `touch x`")


# Logs

MOUSE = '000/??? sec ~~(,_,">                 [oo]\r   0/   0 sec ...............~~(,_,">          [oo]'


def test_progress_is_how_far_the_mouse_has_come() -> None:
    assert relion_progress("Using our own implementation") is None
    assert relion_progress(MOUSE[:40]) == 0.0
    assert relion_progress(MOUSE) == 0.25
    assert relion_progress(MOUSE + "\r   1/   1 sec " + "." * 60 + '~~(,_,"> yum!') == 1.0


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (
            "in: ./src/motioncorr_runner.cpp, line 145\nERROR: \nWhen writing in float16, you have to write power "
            "spectra for CTFFIND.\n=== Backtrace  ===\nrelion(+0x47dd5)\n==================\nERROR: \nWhen writing in "
            "float16, you have to write power spectra for CTFFIND.\n",
            "When writing in float16, you have to write power spectra for CTFFIND.",
        ),
        (
            'in: ./src/jaz/x.cpp, line 195\nERROR: \nERROR: cannot find specific tomogram name "nope" in the file\n',
            'cannot find specific tomogram name "nope" in the file',
        ),
        (
            "The following errors were encountered upon command-line parsing: \nERROR: Argument --h not found or "
            "invalid argument\nERROR: Argument --d not found or invalid argument\nin: ./src/x.cpp, line 150\nERROR: \n"
            "Errors encountered on the command line (see above), exiting...\n",
            "Argument --h not found or invalid argument; Argument --d not found or invalid argument",
        ),
        ("terminate called after throwing an instance of 'x'\n", "terminate called after throwing an instance of 'x'"),
        ("sh: 1: gs: not found\n ERROR in executing: gs -sDEVICE=pdfwrite\n", ""),
    ],
)
def test_the_cause_is_relions_own_sentence(log: str, cause: str) -> None:
    assert relion_cause("", log) == cause


# Tables


def test_relions_table_of_one_series_becomes_the_jobs(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    job, context = chain.motion(do_even_odd_split=True, bin_factor=2)
    own = motioncorr.task_folder(job.folder, "TS_01")
    rows: list[dict[str, Any]] = [
        {
            "rlnMicrographMovieName": f"frames/{movie}",
            "rlnTomoTiltMovieFrameCount": 8,
            "rlnMicrographName": f"MotionCorr/job002/series/TS_01/frames/{index}.mrc",
            "rlnAccumMotionTotal": 7.0 * (index + 1),
            "rlnAccumMotionEarly": 1.0,
            "rlnAccumMotionLate": 7.0 * (index + 1) - 1,
        }
        for index, movie in enumerate(chain.series.tilts.movie)
    ]
    write_series(job_parts.job_context(motioncorr.JOB_TYPE, tmp_path, str(own.relative_to(tmp_path))), "TS_01", rows)
    result = motioncorr.JOB_TYPE.gather_series(job, "TS_01", context)
    assert result.problem == ""
    assert [row["rlnMicrographName"] for row in read_series(job.folder, "TS_01")] == [
        f"MotionCorr/job002/frames/{index}.mrc" for index in range(3)
    ]
    assert result.row["rlnTomoTiltSeriesPixelSize"] == 2 * PIXEL
    # three tilts with 7, 14 and 21 A over 7 steps between 8 frames
    assert result.numbers["motion_angstrom"] == 14 and result.numbers["motion_angstrom_per_frame"] == 2
    assert result.tilts["late_motion_angstrom"] == [6, 13, 20]
    write_series(
        job_parts.job_context(motioncorr.JOB_TYPE, tmp_path, str(own.relative_to(tmp_path))), "TS_01", rows[:2]
    )
    assert "left out 1 of 3 movies" in motioncorr.JOB_TYPE.gather_series(job, "TS_01", context).problem


def aligned_rows(chain: Chain, **more: Any) -> None:
    job = job_parts.job_context(import_alignments.JOB_TYPE, chain.project, "External/job003")
    rows: list[dict[str, Any]] = [
        {"rlnMicrographMovieName": f"frames/{movie}", "rlnTomoYTilt": angle, **more}
        for movie, angle in zip(chain.series.tilts.movie, (0.0, 60.0, -60.0), strict=True)
    ]
    write_series(job, "TS_01", rows)


def test_the_tables_of_tomograms_are_relions(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    aligned_rows(chain)
    halves: dict[str, Any] = {"generate_split_tomograms": True, "do_fourier": False}
    job, context = chain.tomograms(xdim=100, ydim=80, zdim=50, binned_angpix=2 * PIXEL, **halves)
    for half in (1, 2):
        write_mrc(job.folder / f"tomograms/rec_TS_01_half{half}.mrc", (50, 40, 25), 2 * PIXEL)
    result = reconstructtomograms.JOB_TYPE.gather_series(job, "TS_01", context)
    assert result.problem == "" and not result.notes
    sample = star.read(shared("facts/relion-samples/tomo-star/tomograms_split_halves.star")).block("global")
    skipped = {label for label in sample.labels if "IMOD" in label or "Etomo" in label}  # of an alignment by RELION
    assert list(result.row) == [label for label in sample.labels if label not in skipped]
    assert result.row["rlnTomoTomogramBinning"] == 2 and result.row["rlnTomoSizeZ"] == 50
    scales = [float(row["rlnCtfScalefactor"]) for row in read_series(job.folder, "TS_01")]
    assert scales == pytest.approx([1.0, 0.5, 0.5])


def test_an_offset_of_the_tilts_is_in_the_table_as_relion_leaves_it(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    aligned_rows(chain)
    job, context = chain.tomograms(
        xdim=10, ydim=10, zdim=10, binned_angpix=PIXEL, do_fourier=False, do_proj=False, tiltangle_offset=-60
    )
    write_mrc(job.folder / "tomograms/rec_TS_01.mrc", (10, 10, 10), PIXEL)
    result = reconstructtomograms.JOB_TYPE.gather_series(job, "TS_01", context)
    assert "rlnTomoTomogramBinning" not in result.row and "rlnTomogramProjection" not in result.row
    rows = read_series(job.folder, "TS_01")
    assert [float(row["rlnTomoYTilt"]) for row in rows] == [-60, 0, -120]
    assert float(rows[1]["rlnCtfScalefactor"]) == 1


def test_the_pixel_that_relion_rounded_to_is_kept_and_a_nominal_defocus_said(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    aligned_rows(chain)
    job, context = chain.tomograms(xdim=128, ydim=96, zdim=64, binned_angpix=2.7)
    write_mrc(job.folder / "tomograms/rec_TS_01.mrc", (63, 47, 31), 2.73553)
    result = reconstructtomograms.JOB_TYPE.gather_series(job, "TS_01", context)
    assert result.row["rlnTomoTomogramBinning"] == pytest.approx(2.026316, abs=1e-4)
    assert "nominal defocus" in result.notes[0]
    aligned_rows(chain, rlnCtfMaxResolution=6.0)
    assert not reconstructtomograms.JOB_TYPE.gather_series(job, "TS_01", context).notes


@pytest.mark.parametrize(("size", "pixel"), [((50, 40, 30), 2.7), ((50, 40, 25), 5.4)])
def test_a_tomogram_of_another_size_is_a_failure(tmp_path: Path, size: tuple[int, int, int], pixel: float) -> None:
    chain = Chain(tmp_path)
    aligned_rows(chain)
    job, context = chain.tomograms(xdim=100, ydim=80, zdim=50, binned_angpix=2.7)
    write_mrc(job.folder / "tomograms/rec_TS_01.mrc", size, pixel)
    assert "expected" in reconstructtomograms.JOB_TYPE.gather_series(job, "TS_01", context).problem
