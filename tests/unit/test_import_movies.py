from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.dataset.model import TiltSeries
from core.errors import WorkFailed
from core.formats import star
from core.jobs._star import add_columns, read_series, write_global, write_series
from core.jobs.importmovies import JOB_TYPE
from core.project.decisions import HANDEDNESS, Decision
from tests.shared import shared
from tests.unit import job_parts


def link_movies(project: Path, tilt_series: TiltSeries) -> None:
    (project / "frames").mkdir(exist_ok=True)
    for name in tilt_series.tilts.movie:
        if name:
            (project / "frames" / name).touch()


def test_the_table_is_relions_own(tmp_path: Path) -> None:
    job = job_parts.job_context(JOB_TYPE, tmp_path, "Import/job001")
    tilt_series = job_parts.series()
    context = job_parts.series_context(job, tilt_series, job_parts.acquisition())
    link_movies(tmp_path, tilt_series)
    JOB_TYPE.run_internal(job_parts.task_context(job, context))
    result = JOB_TYPE.gather_series(job, "TS_01", context)
    made = JOB_TYPE.gather_job(job, {"TS_01": result}, {"TS_01": context})
    assert made.nodes == {"Import/job001/tilt_series.star": "TomogramGroupMetadata.star.relion.tomo.import"}

    sample = shared("data/relion/tutorial10164/Import/job001")
    theirs = star.read(sample / "tilt_series" / "TS_01.star").block("TS_01")
    ours = star.read(job.folder / "tilt_series" / "TS_01.star").block("TS_01")
    assert ours.labels == theirs.labels
    assert len(ours.rows) == len(theirs.rows) == 41
    # dose before each tilt: 3 e/A2 per exposure in acquisition order, exactly as RELION's own import counts it
    assert [float(d) for d in ours.column("rlnMicrographPreExposure")] == pytest.approx(
        [float(d) for d in theirs.column("rlnMicrographPreExposure")]
    )
    assert ours.rows[1][:2] == ["frames/TS_01_001_3.0.tif", "8"]
    whole = star.read(job.folder / "tilt_series.star").block("global")
    assert whole.labels == star.read(sample / "tilt_series.star").block("global").labels
    row = dict(zip(whole.labels, whole.rows[0], strict=True))
    assert row["rlnTomoTiltSeriesStarFile"] == "Import/job001/tilt_series/TS_01.star"
    assert float(row["rlnMicrographOriginalPixelSize"]) == 0.675
    assert float(row["rlnTomoHand"]) == -1
    assert row["rlnOpticsGroupName"] == "optics1"


def test_missing_tilts_are_left_out_and_keep_their_dose(tmp_path: Path) -> None:
    job = job_parts.job_context(JOB_TYPE, tmp_path, "Import/job001")
    tilt_series = job_parts.without_movie(job_parts.series(), 2, 16)
    context = job_parts.series_context(job, tilt_series, job_parts.acquisition())
    link_movies(tmp_path, tilt_series)
    JOB_TYPE.run_internal(job_parts.task_context(job, context))
    rows = {
        str(row["rlnMicrographMovieName"]): float(row["rlnMicrographPreExposure"])
        for row in read_series(job.folder, "TS_01")
    }
    assert len(rows) == 39
    # exposures 3 and 17 of 41 are gone: the 2nd still has 3, the 4th 9, the 18th 51, the 41st 120 e/A2 before it
    movies = tilt_series.tilts.movie
    assert [rows[f"frames/{movies[index]}"] for index in (1, 3, 17, 40)] == [3.0, 9.0, 51.0, 120.0]
    result = JOB_TYPE.gather_series(job, "TS_01", context)
    assert result.numbers == {"tilts": 39.0, "total_dose_e_per_a2": 123.0}
    assert result.notes == (
        "Tilt 002 (-3.0°) is left out: the movie is missing.",
        "Tilt 016 (-24.0°) is left out: the movie is missing.",
    )


def test_excluded_tilts_stay_in_the_import(tmp_path: Path) -> None:
    job = job_parts.job_context(JOB_TYPE, tmp_path, "Import/job001")
    tilt_series = job_parts.series(count=5)
    context = job_parts.series_context(job, tilt_series, job_parts.acquisition(), excluded=frozenset(("001",)))
    link_movies(tmp_path, tilt_series)
    JOB_TYPE.run_internal(job_parts.task_context(job, context))
    assert len(read_series(job.folder, "TS_01")) == 5


def test_unknown_defocus_and_frame_count_leave_no_placeholder(tmp_path: Path) -> None:
    job = job_parts.job_context(JOB_TYPE, tmp_path, "Import/job001")
    tilt_series = job_parts.series(count=3, target_defocus_um=(0.0, -4.0, -4.0), frame_count=(0, 0, 0))
    context = job_parts.series_context(job, tilt_series, job_parts.acquisition())
    link_movies(tmp_path, tilt_series)
    JOB_TYPE.run_internal(job_parts.task_context(job, context))
    labels = star.read(job.folder / "tilt_series" / "TS_01.star").block("TS_01").labels
    assert "rlnTomoNominalDefocus" not in labels and "rlnTomoTiltMovieFrameCount" not in labels


def test_a_movie_that_has_gone_is_named(tmp_path: Path) -> None:
    job = job_parts.job_context(JOB_TYPE, tmp_path, "Import/job001")
    tilt_series = job_parts.series(count=3)
    context = job_parts.series_context(job, tilt_series, job_parts.acquisition())
    link_movies(tmp_path, tilt_series)
    (tmp_path / "frames" / tilt_series.tilts.movie[1]).unlink()
    with pytest.raises(WorkFailed, match=r"TS_01_001_3.0.tif .*relink"):
        JOB_TYPE.run_internal(job_parts.task_context(job, context))
    nothing = job_parts.series_context(job, job_parts.without_movie(tilt_series, 0, 1, 2), job_parts.acquisition())
    with pytest.raises(WorkFailed, match="No tilt"):
        JOB_TYPE.run_internal(job_parts.task_context(job, nothing))


@pytest.mark.parametrize(
    ("value", "state", "hand"), [("flip", "decided", -1), ("no_flip", "decided", 1), (None, "ask", -1)]
)
def test_the_hand_follows_the_decision(tmp_path: Path, value: str | None, state: str, hand: int) -> None:
    decision = Decision(HANDEDNESS, state, value, "test")  # type: ignore[arg-type]
    before = job_parts.job_context(JOB_TYPE, tmp_path, "Import/job001")
    tilt_series = job_parts.series(count=3)
    context = job_parts.series_context(before, tilt_series, job_parts.acquisition())
    link_movies(tmp_path, tilt_series)
    JOB_TYPE.run_internal(job_parts.task_context(before, context))
    result = JOB_TYPE.gather_series(before, "TS_01", context)  # gathered before the decision
    job = replace(before, decisions={HANDEDNESS: decision})
    JOB_TYPE.gather_job(job, {"TS_01": result}, {"TS_01": context})
    assert float(star.read(job.folder / "tilt_series.star").block("global").column("rlnTomoHand")[0]) == hand
    assert JOB_TYPE.relion_options(job, [context])["flip_tiltseries_hand"] == ("Yes" if hand < 0 else "No")


def test_relions_import_form_shows_the_values(tmp_path: Path) -> None:
    job = job_parts.job_context(JOB_TYPE, tmp_path, "Import/job001", optics_group_name="og7")
    context = job_parts.series_context(job, job_parts.series(), job_parts.acquisition())
    options = JOB_TYPE.relion_options(job, [context])
    assert options["angpix"] == "0.675" and options["kV"] == "300" and options["dose_rate"] == "3"
    assert options["movie_files"] == "frames/*.tif" and options["optics_group_name"] == "og7"
    sample = star.read(shared("facts/relion-samples/job.star-defaults-5.1/relion.importtomo.tomo0.star"))
    known = set(sample.block("joboptions_values").column("rlnJobOptionVariable"))
    assert set(options) <= known


def test_columns_are_matched_by_movie_never_by_position(tmp_path: Path) -> None:
    rows = [{"rlnMicrographMovieName": f"frames/{name}", "a": name} for name in ("x.tif", "y.tif", "z.tif")]
    added = add_columns(rows, {"z.tif": {"b": 3.0}, "x.tif": {"b": 1.0}})  # type: ignore[arg-type]
    assert [(row["a"], row["b"]) for row in added] == [("x.tif", 1.0), ("z.tif", 3.0)]
    with pytest.raises(Exception, match="w.tif"):
        add_columns(rows, {"w.tif": {"b": 3.0}})  # type: ignore[arg-type]
    with pytest.raises(Exception, match="two rows"):
        add_columns([*rows, rows[0]], {})  # type: ignore[list-item]


def test_tables_have_only_columns_that_all_rows_have(tmp_path: Path) -> None:
    job = job_parts.job_context(JOB_TYPE, tmp_path, "Import/job001")
    assert write_global(job, "a.star", [{"rlnTomoName": "a", "x": 1, "y": 2}, {"rlnTomoName": "b", "y": 3}]) == (
        "Import/job001/a.star"
    )
    table = star.read(job.folder / "a.star").block("global")
    assert (table.labels, table.rows) == (["rlnTomoName", "y"], [["a", "2"], ["b", "3"]])
    write_global(job, "none.star", [])
    with pytest.raises(WorkFailed):
        write_series(job, "TS", [])
    assert JOB_TYPE.checks({"optics_group_name": "", "mtf_file": 'a"b'}, None)
