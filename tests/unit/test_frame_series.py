from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import InputError
from core.formats import star
from core.jobs import fs_motion_and_ctf as frame_series
from core.jobs import importmovies
from core.jobs._base import SeriesContext
from core.jobs._task import Check, MakeFolder, MoveAside, WriteText
from core.jobs._values import result_values, validate
from core.jobs.fields import field_list
from core.jobs.fs_motion_and_ctf import JOB_TYPE, accumulated_motion_angstrom, ctf_columns
from core.tools import catalogue
from tests.unit import job_parts
from tests.unit.frame_products import write_movie

CATALOGUES = Path(__file__).parents[2] / "config" / "catalogues"


@pytest.fixture(autouse=True)
def warp() -> Iterator[catalogue.Catalogue]:
    catalogue.use(CATALOGUES)
    found = catalogue.default()
    assert found is not None
    yield found


def context_of(
    project: Path, version: str = "head", count: int = 5, extension: str = "tif", acquisition: Any = None, **values: Any
) -> tuple[Any, SeriesContext[Any]]:
    import_job = job_parts.job_context(importmovies.JOB_TYPE, project, "Import/job001")
    job = job_parts.job_context(JOB_TYPE, project, "External/job002", version=version, **values)
    context = job_parts.series_context(
        job,
        job_parts.series(count=count, extension=extension),
        acquisition or job_parts.acquisition(),
        {"movies": job_parts.producer(importmovies.JOB_TYPE, import_job)},
    )
    return job, context


def words_of(project: Path = Path("/p"), **arguments: Any) -> tuple[str, ...]:
    job, context = context_of(project, **arguments)
    return JOB_TYPE.build(job_parts.task_context(job, context)).commands[1].argv


def after(words: tuple[str, ...], name: str) -> str:
    return words[words.index(name) + 1]


@pytest.mark.parametrize("version", ["head", "dev39"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"m_grid": "", "c_grid": "", "out_average_halves": False, "bin_times": 1.0},
        {"c_use_sum": True, "c_fit_phase": True, "out_thumbnails": 256, "out_skip_first": 1, "out_skip_last": 1},
        {"processes_per_gpu": 4, "m_bfac": -0.5, "c_defocus_min": 0.00001},
    ],
)
def test_both_versions_take_the_commands(warp: catalogue.Catalogue, version: str, values: dict[str, Any]) -> None:
    for acquisition in (
        job_parts.acquisition(),
        job_parts.acquisition(
            movie_extension=".eer",
            eer_frames_per_fraction=32,
            gain_path="/raw/gain.mrc",
            gain_flip_x=True,
            defects_path="/raw/defects.txt",
        ),
    ):
        job, context = context_of(Path("/p"), version=version, acquisition=acquisition, **values)
        work = JOB_TYPE.build(job_parts.task_context(job, context))
        for command in work.commands:
            assert warp.check(command.argv, version) == []
            assert command.alive_marker == f"Running command {command.argv[1]} with:"
            assert command.cwd == "/p" and command.tool == "warp"
        assert [command.gpu for command in work.commands] == [False, True]


def test_a_series_has_its_own_folders_and_starts_clean() -> None:
    job, context = context_of(Path("/p"))
    work = JOB_TYPE.build(job_parts.task_context(job, context, attempt=3))
    folder = "/p/External/job002"
    moved = [step.path for step in work.stage if isinstance(step, MoveAside)]
    assert moved == [f"{folder}/settings/TS_01.settings", f"{folder}/warp_frameseries/TS_01"]
    assert MakeFolder(f"{folder}/warp_frameseries/TS_01") in work.stage
    (text,) = [step for step in work.stage if isinstance(step, WriteText)]
    assert text.path == f"{folder}/lists/TS_01.txt"
    assert text.text.splitlines() == [f"/p/frames/{name}" for name in context.series.tilts.movie]
    settings, run = (command.argv for command in work.commands)
    assert after(settings, "--folder_processing") == f"{folder}/warp_frameseries/TS_01"
    assert after(settings, "--folder_data") == "/p/frames"
    assert after(settings, "--extension") == "*.tif"
    assert after(settings, "--angpix") == "0.675" and after(settings, "--exposure") == "3"
    assert after(run, "--input_data") == text.path and after(run, "--settings") == after(settings, "--output")
    assert after(run, "--task_dir") == f"{folder}/warp_tasks/TS_01/3/fs_motion_and_ctf"
    assert work.inputs == tuple(text.text.splitlines())


def test_averages_are_always_written_and_halves_by_default() -> None:
    assert "--out_averages" in words_of() and "--out_average_halves" in words_of()
    words = words_of(out_average_halves=False, c_use_sum=True)
    assert "--out_averages" in words and "--c_use_sum" in words and "--out_average_halves" not in words


def test_products_are_every_xml_average_and_half() -> None:
    job, context = context_of(Path("/p"))
    products = JOB_TYPE.build(job_parts.task_context(job, context)).products
    assert [(product.check, len(product.paths), product.at_least) for product in products] == [
        (Check.XML, 1, None),
        (Check.XML, 5, 5),
        (Check.MRC, 5, 5),
        (Check.MRC, 5, 5),
        (Check.MRC, 5, 5),
    ]
    # the root is the file name without its last extension only
    assert products[1].paths[1] == "/p/External/job002/warp_frameseries/TS_01/TS_01_001_3.0.xml"
    assert products[3].paths[1].endswith("/average/even/TS_01_001_3.0.mrc")
    job, context = context_of(Path("/p"), allow_failed_tilts=2, out_average_halves=False)
    products = JOB_TYPE.build(job_parts.task_context(job, context)).products
    assert [product.at_least for product in products] == [None, 3, 3]


def test_missing_movies_are_not_asked_for() -> None:
    job, context = context_of(Path("/p"))
    short = job_parts.series_context(
        job, job_parts.without_movie(context.series, 1), context.acquisition, context.inputs, frozenset(("002",))
    )
    work = JOB_TYPE.build(job_parts.task_context(job, short))
    assert len(work.inputs) == 4  # an excluded tilt is processed: including it again must not repeat anything


def test_building_is_pure_and_the_same_each_time(tmp_path: Path) -> None:
    job, context = context_of(tmp_path / "not there")
    task = job_parts.task_context(job, context)
    assert JOB_TYPE.build(task) == JOB_TYPE.build(task)
    assert list(tmp_path.iterdir()) == []


def test_hostile_names_are_single_words(warp: catalogue.Catalogue) -> None:
    project = Path("/p/$(rm -rf x) 'quoted' \"a\" ;&|")
    job, context = context_of(project)
    for command in JOB_TYPE.build(job_parts.task_context(job, context)).commands:
        assert warp.check(command.argv, "head") == []
        assert all("\n" not in word for word in command.argv)
    with pytest.raises(InputError):
        job, context = context_of(Path("/p/with\nbreak"))
        JOB_TYPE.build(job_parts.task_context(job, context))


def problems(acquisition: Any = None, **values: Any) -> list[tuple[str, tuple[str, ...]]]:
    found = validate(JOB_TYPE, values, acquisition or job_parts.acquisition())[1]
    return [(problem.level, problem.fields) for problem in found]


def test_the_defaults_are_good() -> None:
    assert problems() == []
    eer = job_parts.acquisition(movie_extension=".eer", frames_per_movie=320, eer_frames_per_fraction=32)
    assert problems(eer) == []
    assert validate(JOB_TYPE, {}, None)[1] == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"m_range_min": 10.0, "m_range_max": 10.0}, ("error", ("m_range_min", "m_range_max"))),
        ({"c_range_min": 5.0, "c_range_max": 6.0}, ("error", ("c_range_min", "c_range_max"))),
        ({"c_defocus_min": 8.0}, ("error", ("c_defocus_min", "c_defocus_max"))),
        ({"c_range_max": 1.3}, ("error", ("c_range_max",))),  # Nyquist of 0.675 is 1.35
        ({"m_range_max": 2.6, "bin_times": 1.0}, ("error", ("m_range_max",))),  # 2.7 when binned
        ({"c_grid": "1x1x1"}, ("warning", ("c_grid",))),
        ({"c_grid": "2x2x3", "c_use_sum": True}, ("error", ("c_grid", "c_use_sum"))),
        ({"c_grid": "2X2x1"}, ("error", ("c_grid",))),
        ({"m_grid": "1x1x9"}, ("error", ("m_grid",))),  # 8 frames
        ({"m_grid": "1x3"}, ("error", ("m_grid",))),
        ({"out_thumbnails": 255}, ("error", ("out_thumbnails",))),
        ({"out_skip_first": 4, "out_skip_last": 4}, ("error", ("out_skip_first", "out_skip_last"))),
        ({"allow_failed_tilts": 4}, ("error", ("allow_failed_tilts",))),
        ({"extra_arguments": "--task_dir /x"}, ("error", ("extra_arguments",))),
    ],
)
def test_wrong_values_are_found(values: dict[str, Any], expected: tuple[str, tuple[str, ...]]) -> None:
    assert problems(**values) == [expected]


def test_single_frame_movies_are_an_error() -> None:
    assert ("error", ()) in problems(job_parts.acquisition(frames_per_movie=1), m_grid="1x1x1")


def test_too_few_eer_fractions_are_an_error() -> None:
    few = job_parts.acquisition(movie_extension=".eer", frames_per_movie=40, eer_frames_per_fraction=32)
    assert ("error", ()) in problems(few)


def test_every_option_of_the_tool_is_a_field_or_the_programs(warp: catalogue.Catalogue) -> None:
    from core.jobs._warp import COMMON_MANAGED

    infos = field_list(frame_series.Parameters)
    flags = {info.flag for info in infos}
    wanted = {option.name for option in warp.commands["fs_motion_and_ctf"].options} - COMMON_MANAGED
    assert wanted - flags == {"--c_voltage", "--c_cs", "--c_amplitude", "--out_averages"}  # the microscope's; always on
    for info in infos:
        assert info.help and info.group


def test_devices_are_no_part_of_the_result() -> None:
    one, two = frame_series.Parameters(), frame_series.Parameters(processes_per_gpu=4)
    assert result_values(one) == result_values(two)
    assert result_values(one) != result_values(frame_series.Parameters(extra_arguments="--x"))


def gathered(project: Path, broken: tuple[int, ...] = (), **values: Any) -> tuple[Any, SeriesContext[Any], Any]:
    job, context = context_of(project, **values)
    (project / "frames").mkdir(exist_ok=True)
    import_job = job_parts.job_context(importmovies.JOB_TYPE, project, "Import/job001")
    for name in context.series.tilts.movie:
        (project / "frames" / name).touch()
    importmovies.JOB_TYPE.run_internal(job_parts.task_context(import_job, context))
    for index, name in enumerate(context.series.tilts.movie):
        write_movie(
            job.folder, "TS_01", name, defocus=2.4 + index / 100, motion=0.1 * (index + 1), resolution=4 + index,
            manual="True" if index in broken else "null",
        )  # fmt: skip
    return job, context, JOB_TYPE.gather_series(job, "TS_01", context)


def test_numbers_reach_relion_by_movie_name(tmp_path: Path) -> None:
    job, context, result = gathered(tmp_path, count=41)
    assert result.problem == "" and result.notes == ()
    block = star.read(job.folder / "tilt_series" / "TS_01.star").block("TS_01")
    row = dict(zip(block.labels, block.rows[3], strict=True))
    base = "External/job002/warp_frameseries/TS_01"
    assert row["rlnMicrographMovieName"] == "frames/TS_01_003_6.0.tif"
    assert row["rlnMicrographName"] == f"{base}/average/TS_01_003_6.0.mrc"
    assert row["rlnMicrographNameEven"] == f"{base}/average/even/TS_01_003_6.0.mrc"
    assert row["rlnMicrographNameOdd"] == f"{base}/average/odd/TS_01_003_6.0.mrc"
    assert row["rlnMicrographMetadata"] == f"{base}/TS_01_003_6.0.xml"
    assert row["rlnCtfImage"] == f"{base}/powerspectrum/TS_01_003_6.0.mrc"
    # D = 2.43 um, Delta = 0.06 um: U = 24600, V = 24000 A
    assert float(row["rlnDefocusU"]) == pytest.approx(24600)
    assert float(row["rlnDefocusV"]) == pytest.approx(24000)
    assert float(row["rlnCtfAstigmatism"]) == pytest.approx(600)
    assert float(row["rlnDefocusAngle"]) == 31.5 and float(row["rlnCtfMaxResolution"]) == 7
    assert float(row["rlnMicrographPreExposure"]) == 9
    assert "rlnPhaseShift" not in block.labels and "rlnCtfFigureOfMerit" not in block.labels
    # angles to +-30 are the first 21 tilts: resolutions 4..24, their median 14
    assert result.numbers["ctf_resolution_angstrom"] == 14
    assert result.numbers["motion_angstrom_per_frame"] == pytest.approx(2.1)
    assert result.numbers["defocus_um"] == pytest.approx(2.4)
    assert result.numbers["dose_per_fraction_e_per_a2"] == pytest.approx(3 / 8)
    assert result.tilts["defocus_um"][3] == pytest.approx(2.43) and len(result.tilts["defocus_um"]) == 41
    made = JOB_TYPE.gather_job(job, {"TS_01": result}, {"TS_01": context})
    assert list(made.nodes) == ["External/job002/fs_motion_and_ctf.star"]
    table = star.read(job.folder / "fs_motion_and_ctf.star").block("global")
    assert float(table.column("rlnTomoTiltSeriesPixelSize")[0]) == pytest.approx(0.675)


def test_binned_averages_have_a_larger_pixel(tmp_path: Path) -> None:
    _, _, result = gathered(tmp_path, bin_times=1.0, c_fit_phase=True)
    assert result.row["rlnTomoTiltSeriesPixelSize"] == pytest.approx(1.35)
    assert result.row["rlnMicrographOriginalPixelSize"] == pytest.approx(0.675)
    block = star.read(tmp_path / "External/job002/tilt_series/TS_01.star").block("TS_01")
    assert float(block.column("rlnPhaseShift")[0]) == 45  # 0.25 pi


def test_a_failed_tilt_is_a_problem_unless_it_may_fail(tmp_path: Path) -> None:
    _, _, result = gathered(tmp_path, broken=(2,))
    assert "1 of 5 tilts failed" in result.problem and "marked it as failed" in result.problem
    _, _, result = gathered(tmp_path, broken=(2,), allow_failed_tilts=1)
    assert result.problem == "" and result.notes == (
        "Tilt 002 (-3.0°) failed and is left out: WarpTools marked it as failed.",
    )
    block = star.read(tmp_path / "External/job002/tilt_series/TS_01.star").block("TS_01")
    assert len(block.rows) == 4
    assert [float(dose) for dose in block.column("rlnMicrographPreExposure")] == [0, 3, 9, 12]
    assert result.tilts["defocus_um"][2] is None


def test_missing_files_and_missing_fits_are_failures(tmp_path: Path) -> None:
    job, context, _ = gathered(tmp_path)
    movies = context.series.tilts.movie
    frame_series.tilt_files(job.folder, "TS_01", movies[0]).even.unlink()
    xml = frame_series.tilt_files(job.folder, "TS_01", movies[1]).xml
    xml.write_text(xml.read_text("utf-8").replace("OptionsCTF", "OtherCTF"), "utf-8")
    notes = JOB_TYPE.gather_series(job, "TS_01", context).notes
    assert "even half" in notes[0] and "CTF was not fitted" in notes[1] and len(notes) == 2
    xml.write_text("<Movie", "utf-8")
    with pytest.raises(InputError, match="cut off"):
        JOB_TYPE.gather_series(job, "TS_01", context)


def test_astigmatism_is_halved_to_each_side() -> None:
    columns = ctf_columns(3.0, 0.2, 45.0)
    assert columns["rlnDefocusU"] == pytest.approx(31000)
    assert columns["rlnDefocusV"] == pytest.approx(29000)
    assert columns["rlnCtfAstigmatism"] == pytest.approx(2000)


def test_motion_is_the_length_of_the_path() -> None:
    # steps 5, 1, 0 A on one node and 0, 2, 2 A on the other: totals 6 and 4, mean 5
    tracks = (
        ((0.0, 0.0), (3.0, 4.0), (3.0, 5.0), (3.0, 5.0)),
        ((0.0, 0.0), (0.0, 0.0), (0.0, 2.0), (0.0, 4.0)),
    )
    # 1 e/A2 per frame: steps end at 1, 2, 3 e/A2, all early
    assert accumulated_motion_angstrom(tracks, 0.0, 4.0) == pytest.approx((5.0, 5.0, 0.0))
    # after 2 e/A2: steps end at 3, 4, 5; only the first is early: (5 + 0) / 2
    assert accumulated_motion_angstrom(tracks, 2.0, 4.0) == pytest.approx((5.0, 2.5, 2.5))
    assert accumulated_motion_angstrom((((1.0, 1.0),),), 0.0, 4.0) is None
    assert accumulated_motion_angstrom((), 0.0, 4.0) is None
    assert math.isclose(accumulated_motion_angstrom(tracks, 120.0, 4.0)[2], 5.0)  # type: ignore[index]
