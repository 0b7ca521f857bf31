"""aligntiltsWarp: command lines, calibration of the axis, geometry columns and the two decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.formats import star
from core.jobs._base import JobContext, SeriesContext, SeriesResult, TaskContext
from core.jobs._star import read_series
from core.jobs._task import Check, MoveAside
from core.jobs._values import result_values
from core.jobs.align_tilts_warp import AXIS_OF, JOB_TYPE, axis_task
from core.project.decisions import Decision
from core.tools.catalogue import Catalogue
from core.tools.command import Command
from tests.unit.job_parts import acquisition, job_context, task_context
from tests.unit.tilt_series_parts import decided, imported, nominal, small, write_movie_xml, write_xml

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "config" / "catalogues" / "warptools.json")
METHODS = ("AreTomo2", "AreTomo3", "IMOD patches", "IMOD fiducials")
AXIS = "tilt_axis:main"


def option(command: Command, name: str) -> str | None:
    words = list(command.argv)
    return words[words.index(name) + 1] if name in words else None


def one(
    tmp_path: Path, version: str = "head", decisions: dict[str, Decision] | None = None, **values: Any
) -> tuple[JobContext[Any], SeriesContext[Any]]:
    job = job_context(JOB_TYPE, tmp_path, "External/job004", decisions=decisions, version=version, **values)
    return job, imported(tmp_path).context(job, small(), nominal())


@pytest.mark.parametrize("version", ["head", "dev39"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("patches", [0, 4])
def test_every_command_is_in_the_catalogue(tmp_path: Path, version: str, method: str, patches: int) -> None:
    values = {"method": method, "patches_x": patches, "patches_y": patches, "min_fov": 0.5, "mask_images": True}
    job, context = one(tmp_path, version, decided(AXIS, -85.6), **values, delete_intermediate=bool(patches))
    works = [
        JOB_TYPE.build(task_context(job, context)),
        JOB_TYPE.build(TaskContext(job, axis_task("main"), 1, None, (context,))),
    ]
    for work in works:
        for command in work.commands:
            assert CATALOGUE.check(command.argv, version) == []


def test_aretomo2_gets_fixed_axis_and_thickness_in_angstrom(tmp_path: Path) -> None:
    job, context = one(tmp_path, decisions=decided(AXIS, -85.6), sample_thickness=180.0)
    settings, align = JOB_TYPE.build(task_context(job, context)).commands
    assert align.argv[:2] == ("WarpTools", "ts_aretomo")
    assert option(align, "--alignz") == "1800"
    assert option(align, "--axis") == "-85.6"
    assert option(align, "--axis_iter") is None
    assert option(align, "--angpix") == "10"
    assert option(align, "--patches") is None
    assert option(align, "--input_data") == str(tmp_path / "External/job003/tomostar/TS_01.tomostar")
    assert option(align, "--input_processing") is None
    assert option(align, "--output_processing") == str(tmp_path / "External/job004/warp_tiltseries")
    assert align.gpu
    assert not align.may_fail
    assert option(settings, "--extension") == "*.tomostar"
    # axis nearer 90: X and Y change places on the 3710 x 3838 movie; 300 nm at 0.675 Å/px
    assert option(settings, "--tomo_dimensions") == "3838x3710x4444"


def test_patches_are_written_as_each_program_wants(tmp_path: Path) -> None:
    for method, given, expected in (
        ("AreTomo2", 5, "5x5"),
        ("AreTomo3", 5, "5,5"),
        ("AreTomo2", 0, None),
        ("AreTomo3", 0, "0,0"),  # its own default is 4,4
    ):
        job, context = one(tmp_path, decisions=decided(AXIS, 85), method=method, patches_x=given, patches_y=given)
        assert option(JOB_TYPE.build(task_context(job, context)).commands[1], "--patches") == expected


def test_imod_sizes_keep_their_units(tmp_path: Path) -> None:
    job, context = one(tmp_path, decisions=decided(AXIS, 85.25), method="IMOD patches", patch_size=500.0)
    align = JOB_TYPE.build(task_context(job, context)).commands[1]
    assert option(align, "--patch_size") == "500"
    assert option(align, "--initial_axis") == "85.25"
    assert "--do_axis_search" not in align.argv
    assert "--alignz" not in align.argv
    job, context = one(tmp_path, decisions=decided(AXIS, 85.25), method="IMOD fiducials", fiducial_size=10.0)
    align = JOB_TYPE.build(task_context(job, context)).commands[1]
    assert option(align, "--fiducial_size") == "10"
    assert option(align, "--n_beads_target") == "50"


def test_a_repeated_alignment_starts_without_old_results(tmp_path: Path) -> None:
    job, context = one(tmp_path, decisions=decided(AXIS, 85))
    work = JOB_TYPE.build(task_context(job, context))
    moved = {operation.path for operation in work.stage if isinstance(operation, MoveAside)}
    base = tmp_path / "External/job004/warp_tiltseries"
    assert moved == {str(base / "TS_01.xml"), str(base / "tiltstack/TS_01")}


def test_products_are_xml_and_the_programs_own_result(tmp_path: Path) -> None:
    job, context = one(tmp_path, decisions=decided(AXIS, 85))
    xml, found = JOB_TYPE.build(task_context(job, context)).products
    assert xml.check == Check.XML
    assert found.at_least == 1
    assert str(tmp_path / "External/job004/warp_tiltseries/tiltstack/TS_01/TS_01.st.aln") in found.paths
    job, context = one(tmp_path, decisions=decided(AXIS, 85), method="IMOD patches")
    assert JOB_TYPE.build(task_context(job, context)).products[1].paths[0].endswith("tiltstack/TS_01/TS_01.xf")
    job, context = one(tmp_path, decisions=decided(AXIS, 85), delete_intermediate=True)
    assert len(JOB_TYPE.build(task_context(job, context)).products) == 1


def test_attempts_do_not_share_a_queue(tmp_path: Path) -> None:
    job, context = one(tmp_path, decisions=decided(AXIS, 85))
    queues = {
        option(JOB_TYPE.build(TaskContext(job, "TS_01", attempt, context, ())).commands[1], "--task_dir")
        for attempt in (1, 2)
    }
    assert len(queues) == 2
    contexts = tuple(imported(tmp_path).context(job, small(f"TS_{n}"), nominal()) for n in range(3))
    calibration = JOB_TYPE.build(TaskContext(job, axis_task("main"), 1, None, contexts))
    used = [option(c, "--task_dir") for c in calibration.commands if c.gpu]
    assert len(set(used)) == 3


def test_a_group_is_calibrated_first(tmp_path: Path) -> None:
    job = job_context(JOB_TYPE, tmp_path, "External/job004", calibration_series=6)
    contexts = [imported(tmp_path).context(job, small(f"TS_{n}"), nominal()) for n in range(9)]
    calibration, *tasks = JOB_TYPE.declare(job, contexts)
    assert calibration.series == "@axis_main"
    assert calibration.cohort == tuple(f"TS_{n}" for n in range(6))
    assert calibration.at_least == 5
    assert all(task.needs == ("@axis_main",) for task in tasks)
    assert JOB_TYPE.needs_decisions(job, contexts[0]) == (AXIS,)
    few, *_ = JOB_TYPE.declare(job, contexts[:3])
    assert few.at_least == 3


def test_nothing_is_calibrated_where_the_axis_is_given(tmp_path: Path) -> None:
    job = job_context(JOB_TYPE, tmp_path, "External/job004")
    you = imported(tmp_path).context(job, small(), acquisition(tilt_axis_deg=-85.6))
    assert [task.series for task in JOB_TYPE.declare(job, [you])] == ["TS_01"]
    assert JOB_TYPE.needs_decisions(job, you) == ()
    by_you = job_context(JOB_TYPE, tmp_path, "External/job004", decisions=decided(AXIS, 80.0, "you"))
    context = imported(tmp_path).context(by_you, small(), nominal())
    assert [task.series for task in JOB_TYPE.declare(by_you, [context])] == ["TS_01"]
    assert option(JOB_TYPE.build(task_context(by_you, context)).commands[1], "--axis") == "80"
    own = job_context(JOB_TYPE, tmp_path, "External/job004", tilt_axis=12.5)
    context = imported(tmp_path).context(own, small(), nominal())
    assert JOB_TYPE.needs_decisions(own, context) == ()
    assert option(JOB_TYPE.build(task_context(own, context)).commands[1], "--axis") == "12.5"


def test_after_the_decision_no_series_waits_for_the_calibration(tmp_path: Path) -> None:
    job, context = one(tmp_path, decisions=decided(AXIS, 85))
    calibration, task = JOB_TYPE.declare(job, [context])
    assert calibration.series == "@axis_main"
    assert task.needs == ()


def test_calibration_runs_series_by_series_in_its_own_folder(tmp_path: Path) -> None:
    job = job_context(JOB_TYPE, tmp_path, "External/job004", patches_x=4, patches_y=4)
    contexts = tuple(imported(tmp_path).context(job, small(f"TS_{n}"), nominal()) for n in range(6))
    work = JOB_TYPE.build(TaskContext(job, "@axis_main", 1, None, contexts))
    runs = [command for command in work.commands if command.gpu]
    assert len(runs) == 6
    assert all(command.may_fail for command in runs)
    assert option(runs[0], "--axis_iter") == "2"
    assert option(runs[0], "--axis") == "85.3"
    assert option(runs[0], "--patches") is None
    folder = tmp_path / "External/job004/axis_main"
    assert option(runs[0], "--output_processing") == str(folder / "warp_tiltseries")
    assert work.products[0].at_least == 5
    assert work.stage[0] == MoveAside(str(folder))
    imod = job_context(JOB_TYPE, tmp_path, "External/job004", method="IMOD patches")
    contexts = (imported(tmp_path).context(imod, small(), nominal()),)
    work = JOB_TYPE.build(TaskContext(imod, "@axis_main", 1, None, contexts))
    assert "--do_axis_search" in work.commands[1].argv
    assert option(work.commands[1], "--initial_axis") == "85.3"


def test_calibration_is_decided_from_its_xml_files(tmp_path: Path) -> None:
    job = job_context(JOB_TYPE, tmp_path, "External/job004")
    folder = tmp_path / "External/job004/axis_main/warp_tiltseries"
    axes = {"TS_0": 86.0, "TS_1": 86.2, "TS_2": 85.9, "TS_3": 86.1, "TS_4": 86.0}
    for name, axis in axes.items():
        write_xml(folder / f"{name}.xml", small(name), axis=axis)
    write_xml(folder / "TS_5.xml", small("TS_5"), axis=50, unselected="True")
    write_xml(folder / "TS_6.xml", small("TS_6"), axis=50, shifts=dict.fromkeys(range(5), (0.0, 0.0)))
    result = JOB_TYPE.gather_series(job, "@axis_main", None)
    assert result.problem == ""
    assert {name: result.numbers[f"{AXIS_OF}{name}"] for name in axes} == pytest.approx(axes)
    assert "TS_5, TS_6" in result.notes[0]
    contexts = {name: imported(tmp_path).context(job, small(name), nominal()) for name in axes}
    made = JOB_TYPE.gather_job(job, {"@axis_main": result}, contexts).decisions
    assert [(d.key, d.state, d.value) for d in made] == [(AXIS, "decided", 86.0)]
    assert "nominal 85.3°" in made[0].evidence
    frozen = job_context(JOB_TYPE, tmp_path, "External/job004", decisions=decided(AXIS, 80.0))
    assert JOB_TYPE.gather_job(frozen, {"@axis_main": result}, contexts).decisions == ()


def test_calibration_with_too_few_good_series_fails(tmp_path: Path) -> None:
    job = job_context(JOB_TYPE, tmp_path, "External/job004")
    folder = tmp_path / "External/job004/axis_main/warp_tiltseries"
    for number in range(6):
        write_xml(folder / f"TS_{number}.xml", small(f"TS_{number}"), unselected="True" if number < 2 else "")
    assert "Only 4 of 6" in JOB_TYPE.gather_series(job, "@axis_main", None).problem


def aligned(tmp_path: Path, **xml: Any) -> tuple[JobContext[Any], SeriesContext[Any], SeriesResult]:
    project = imported(tmp_path)
    project.add(small())
    job, context = one(tmp_path, decisions=decided(AXIS, 84.0))
    write_xml(tmp_path / "External/job004/warp_tiltseries/TS_01.xml", small(), **xml)
    return job, context, JOB_TYPE.gather_series(job, "TS_01", context)


def test_geometry_columns_follow_the_rule_and_the_movie(tmp_path: Path) -> None:
    job, context, result = aligned(tmp_path, level=(1.5, 2.0))
    assert result.problem == ""
    rows = {row["rlnMicrographMovieName"]: row for row in read_series(job.folder, "TS_01")}
    assert len(rows) == 5
    for index, movie in enumerate(context.series.tilts.movie):
        row = {name: float(value) for name, value in rows[f"frames/{movie}"].items() if name.startswith("rlnTomo")}
        stage = context.series.tilts.angle_deg[index]
        assert row["rlnTomoXTilt"] == pytest.approx(1.5)
        assert row["rlnTomoYTilt"] == pytest.approx(-(-stage + 2.0))
        assert row["rlnTomoZRot"] == pytest.approx(85.0)
        assert row["rlnTomoXShiftAngst"] == pytest.approx(10 + index)
        assert row["rlnTomoYShiftAngst"] == pytest.approx(-20 - index)
    assert result.row["rlnTomoSizeX"] == 3838
    assert result.row["rlnTomoSizeY"] == 3710
    assert result.row["rlnTomoSizeZ"] == 4444
    assert result.numbers["tilt_axis_departure_deg"] == pytest.approx(1.0)
    assert result.tilts["shift_x_angstrom"] == pytest.approx([10, 11, 12, 13, 14])


def test_unused_tilts_have_no_row_and_are_named(tmp_path: Path) -> None:
    job, context, result = aligned(tmp_path, unused=(3,))
    movie = context.series.tilts.movie[3]
    assert f"frames/{movie}" not in {row["rlnMicrographMovieName"] for row in read_series(job.folder, "TS_01")}
    assert movie in result.notes[0]
    assert result.numbers["tilts_used"] == 4
    assert result.tilts["tilt_angle_deg"][3] is None


def test_deselected_series_failed(tmp_path: Path) -> None:
    assert "deselected" in aligned(tmp_path, unselected="True")[2].problem


def test_an_alignment_that_was_not_taken_over_failed(tmp_path: Path) -> None:
    result = aligned(tmp_path, shifts=dict.fromkeys(range(5), (0.0, 0.0)))[2]
    assert "no alignment" in result.problem


def test_a_missing_xml_is_a_sentence(tmp_path: Path) -> None:
    job, context = one(tmp_path)
    assert "does not exist" in JOB_TYPE.gather_series(job, "TS_01", context).problem


def test_handedness_from_the_movies_defocus(tmp_path: Path) -> None:
    project = imported(tmp_path)
    tilt_series = small(count=41)
    project.add(tilt_series)
    job = job_context(JOB_TYPE, tmp_path, "External/job004", decisions=decided(AXIS, 85.0))
    context = project.context(job, tilt_series, nominal())
    write_xml(job.folder / "warp_tiltseries/TS_01.xml", tilt_series)
    assert "handedness_correlation" not in JOB_TYPE.gather_series(job, "TS_01", context).numbers
    for angle, movie in zip(tilt_series.tilts.angle_deg, tilt_series.tilts.movie, strict=True):
        write_movie_xml(project.producer.folder / "warp_frameseries/TS_01", movie, -angle, 85.0, -1, 2500.0)
    found = JOB_TYPE.gather_series(job, "TS_01", context).numbers["handedness_correlation"]
    assert found < -0.9


def correlated(*values: float) -> dict[str, SeriesResult]:
    return {
        f"TS_{n}": SeriesResult(
            row={"rlnTomoName": f"TS_{n}", "rlnTomoHand": -1.0}, numbers={"handedness_correlation": value}
        )
        for n, value in enumerate(values)
    }


def test_handedness_is_decided_once_and_the_star_follows(tmp_path: Path) -> None:
    job = job_context(JOB_TYPE, tmp_path, "External/job004")
    contexts = {f"TS_{n}": imported(tmp_path).context(job, small(f"TS_{n}"), nominal()) for n in range(8)}
    assert JOB_TYPE.gather_job(job, correlated(0.8, 0.7, 0.9, 0.8), contexts).decisions == ()
    made = JOB_TYPE.gather_job(job, correlated(0.8, 0.7, 0.9, 0.8, 0.6), contexts)
    assert [(d.key, d.value) for d in made.decisions] == [("handedness", "no_flip")]
    path = tmp_path / "External/job004/aligned_tilt_series.star"
    assert {float(v) for v in star.read(path).block("global").column("rlnTomoHand")} == {1.0}
    assert made.nodes == {
        "External/job004/aligned_tilt_series.star": "TomogramGroupMetadata.star.relion.tomo.aligntiltseries"
    }
    frozen = job_context(JOB_TYPE, tmp_path, "External/job004", decisions=decided("handedness", "flip"))
    assert JOB_TYPE.gather_job(frozen, correlated(0.8, 0.7, 0.9, 0.8, 0.6), contexts).decisions == ()


def test_fewer_than_five_series_decide_when_all_are_settled(tmp_path: Path) -> None:
    waiting = job_context(JOB_TYPE, tmp_path, "External/job004")
    assert JOB_TYPE.gather_job(waiting, correlated(-0.8, -0.7), {}).decisions == ()
    settled = JobContext(
        waiting.project, waiting.instance, waiting.folder, waiting.values, {}, waiting.warp_version, settled=True
    )
    (made,) = JOB_TYPE.gather_job(settled, correlated(-0.8, -0.7), {}).decisions
    assert made.value == "flip"
    no_grid = {"TS_0": SeriesResult(row={"rlnTomoName": "TS_0"})}
    (asked,) = JOB_TYPE.gather_job(settled, no_grid, {}).decisions
    assert asked.state == "ask"


def checked(**values: Any) -> list[str]:
    given = JOB_TYPE.parameters(**values).model_dump()
    return [f"{p.level}: {p.sentence}" for p in JOB_TYPE.checks(given, nominal())]


def test_checks() -> None:
    assert checked() == []
    assert "both X and Y" in checked(patches_x=4)[0]
    assert "AreTomo2 needs" in checked(sample_thickness=0)[0]
    assert checked(sample_thickness=0, method="AreTomo3") == []
    assert checked(sample_thickness=400)[0].startswith("warning")
    assert "set by the program" in checked(extra_arguments="--axis 85")[0]
    nominal_axis = checked(calibrate_axis=False)[0]
    assert nominal_axis.startswith("warning")
    assert "85.3" in nominal_axis


def test_fields_that_do_not_apply_do_not_count() -> None:
    first = JOB_TYPE.parameters(method="IMOD patches", sample_thickness=100)
    second = JOB_TYPE.parameters(method="IMOD patches", sample_thickness=200)
    assert result_values(first) == result_values(second)
    assert result_values(JOB_TYPE.parameters(sample_thickness=100)) != result_values(JOB_TYPE.parameters())
