"""IMOD's alignments as RELION's geometry, worked by hand, and views told apart."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.dataset.model import Sourced, TiltSeries
from core.errors import InputError, WorkFailed
from core.formats.imod import Transform, read_tlt, read_xf
from core.jobs import import_alignments, motioncorr
from core.jobs._base import SeriesContext
from core.jobs._star import read_series, write_series
from core.jobs.import_alignments import JOB_TYPE, relion_geometry
from core.standins.imod_files import write_imod_files
from core.standins.session import make_session
from tests.shared import shared
from tests.unit import job_parts

PIXEL = 1.35


def test_a_quarter_turn_by_hand() -> None:
    """x' = -y + 10, y' = x + 20: the image is turned by +90 degrees. Undone: A^-1 (10, 20) = (20, -10)."""
    found = relion_geometry(Transform(0, -1, 1, 0, 10, 20), 12.5, 2.0)
    assert found.z_rot_deg == pytest.approx(-90)
    assert (found.shift_x_angstrom, found.shift_y_angstrom) == pytest.approx((-40.0, 20.0))
    assert found.y_tilt_deg == 12.5


def test_an_alignment_without_rotation_turns_the_shift_round() -> None:
    found = relion_geometry(Transform(1, 0, 0, 1, 3, -4), 0.0, 2.5)
    assert (found.z_rot_deg, found.shift_x_angstrom, found.shift_y_angstrom) == pytest.approx((0.0, -7.5, 10.0))


def test_magnification_is_undone_in_the_shift_and_does_not_turn_the_axis() -> None:
    """Twice as large and turned by -30 degrees: A = 2 R(-30), A^-1 = R(30) / 2."""
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    found = relion_geometry(Transform(2 * c, 2 * s, -2 * s, 2 * c, 8.0, 0.0), 0.0, 1.0)
    assert found.z_rot_deg == pytest.approx(30)
    assert (found.shift_x_angstrom, found.shift_y_angstrom) == pytest.approx((-4 * c, -4 * s))


def test_a_transform_that_mirrors_is_refused() -> None:
    with pytest.raises(InputError, match="mirrors"):
        relion_geometry(Transform(-1, 0, 0, 1, 0, 0), 0.0, 1.0)


def test_imods_own_files() -> None:
    """A real alignment: the matrix's first column (0.1021, -0.9948) is a turn by -84.14 degrees, the axis 84.14."""
    transforms = read_xf(shared("data/imod/TS_001.xf"))
    angles = read_tlt(shared("data/imod/TS_001.tlt"))
    first = relion_geometry(transforms[0], angles[0], 1.0)
    assert first.z_rot_deg == pytest.approx(84.1406, abs=1e-3)
    # A^-1 = A^T: x = 0.1020875 * 2.395 + 0.994776 * 3.871 = 4.0953, y = 0.994776 * 2.395 - 0.1020875 * 3.871 = 1.9873
    assert (first.shift_x_angstrom, first.shift_y_angstrom) == pytest.approx((-4.0953, -1.9873), abs=1e-3)
    assert first.y_tilt_deg == -57.12


def test_the_specimen_lands_where_imod_says(tmp_path: Path) -> None:
    """IMOD's definition alone: a transform takes every particle's place in the image to (x cos + z sin, y)."""
    session = make_session(tmp_path, series=1, tilts=5, size_px=(64, 64), shift_sigma_angstrom=20)
    write_imod_files(session.truth, tmp_path / "imod")
    truth = json.loads(session.truth.read_text())
    series, pixel = truth["series"]["Position_1"], truth["pixel_size_angstrom"]
    axis = math.radians(truth["axis_deg"])
    tilts = sorted(series["tilts"].values(), key=lambda tilt: tilt["angle_deg"])
    transforms = read_xf(tmp_path / "imod/Position_1.xf")
    for tilt, transform in zip(tilts, transforms, strict=True):
        angle = math.radians(tilt["angle_deg"])
        for x, y, z, *_ in series["blobs"][:5]:
            across = x * math.cos(angle) + z * math.sin(angle)
            u = (across * math.cos(axis) - y * math.sin(axis)) / pixel + tilt["shift_px"][0]
            v = (across * math.sin(axis) + y * math.cos(axis)) / pixel + tilt["shift_px"][1]
            aligned = (
                transform.a11 * u + transform.a12 * v + transform.dx_px,
                transform.a21 * u + transform.a22 * v + transform.dy_px,
            )
            assert aligned == pytest.approx((across / pixel, y / pixel), abs=0.01)
        # and back, as RELION has it
        found = relion_geometry(transform, tilt["angle_deg"], pixel)
        shift = [value * pixel for value in tilt["shift_px"]]
        assert (found.shift_x_angstrom, found.shift_y_angstrom) == pytest.approx(shift, abs=0.01)


class Aligned:
    """A project whose series has motion-corrected images, and IMOD's files."""

    def __init__(self, project: Path, series: TiltSeries | None = None, excluded: tuple[str, ...] = ()) -> None:
        self.project = project
        self.series = series or job_parts.series(count=7)
        self.excluded = frozenset(excluded)
        before = job_parts.job_context(motioncorr.JOB_TYPE, project, "MotionCorr/job002")
        rows: list[dict[str, Any]] = [
            {
                "rlnMicrographMovieName": f"frames/{movie}",
                "rlnTomoNominalStageTiltAngle": self.series.tilts.angle_deg[index],
                "rlnTomoNominalDefocus": self.series.tilts.target_defocus_um[index],
                "rlnMicrographName": f"MotionCorr/job002/frames/{index}.mrc",
            }
            for index, movie in enumerate(self.series.tilts.movie)
            if movie
        ]
        write_series(before, self.series.id, rows)
        self.before = job_parts.producer(motioncorr.JOB_TYPE, before)

    def write(self, angles: list[float], rotation: float = -85.3, **raw: list[float]) -> None:
        """View k has dx = k + 1, so that it is known where it went."""
        folder = self.project / "alignments"
        folder.mkdir(exist_ok=True)
        c, s = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
        lines = [f"{c:12.7f}{-s:12.7f}{s:12.7f}{c:12.7f}{view + 1:12.3f}{0:12.3f}\n" for view in range(len(angles))]
        (folder / f"{self.series.id}.xf").write_text("".join(lines))
        (folder / f"{self.series.id}.tlt").write_text("".join(f"{angle:.2f}\n" for angle in angles))
        for end, values in raw.items():
            (folder / f"{self.series.id}.{end}").write_text("".join(f"{value:.2f}\n" for value in values))

    def context(self, **values: Any) -> SeriesContext[Any]:
        self.job = job_parts.job_context(JOB_TYPE, self.project, "External/job003", **values)
        acquisition = job_parts.acquisition(pixel_size_angstrom=PIXEL)
        return job_parts.series_context(self.job, self.series, acquisition, {"averages": self.before}, self.excluded)

    def run(self, **values: Any) -> dict[str, int]:
        """Run and gather; which view each movie's row has."""
        context = self.context(**values)
        JOB_TYPE.run_internal(job_parts.task_context(self.job, context))
        self.result = JOB_TYPE.gather_series(self.job, self.series.id, context)
        assert self.result.problem == ""
        pixel = values.get("stack_pixel_size") or PIXEL
        return {
            str(row["rlnMicrographName"]).rsplit("/", 1)[-1]: round(
                math.hypot(float(row["rlnTomoXShiftAngst"]), float(row["rlnTomoYShiftAngst"])) / pixel
            )
            for row in read_series(self.job.folder, self.series.id)
        }


# angles as they are taken: 0, 3, -3, 6, -6, 9, -9; views of a stack by angle: tilts 6 4 2 0 1 3 5
BY_ANGLE = {"6.mrc": 1, "4.mrc": 2, "2.mrc": 3, "0.mrc": 4, "1.mrc": 5, "3.mrc": 6, "5.mrc": 7}


def test_views_by_angle_are_matched_though_the_specimen_is_inclined(tmp_path: Path) -> None:
    aligned = Aligned(tmp_path)
    aligned.write([angle + 8.7 for angle in (-9, -6, -3, 0, 3, 6, 9)])
    assert aligned.run() == BY_ANGLE
    rows = read_series(aligned.job.folder, "TS_01")
    assert [float(row["rlnTomoYTilt"]) for row in rows] == pytest.approx([-0.3, 2.7, 5.7, 8.7, 11.7, 14.7, 17.7])
    assert aligned.result.numbers["tilt_axis_departure_deg"] == pytest.approx(0.0, abs=1e-3)
    assert aligned.result.row["rlnTomoTiltSeriesPixelSize"] == PIXEL and not aligned.result.notes


def test_views_from_high_to_low_and_as_they_were_taken(tmp_path: Path) -> None:
    aligned = Aligned(tmp_path)
    aligned.write([9, 6, 3, 0, -3, -6, -9])
    assert aligned.run() == {name: 8 - view for name, view in BY_ANGLE.items()}
    aligned.write(list(aligned.series.tilts.angle_deg))
    assert aligned.run() == {f"{index}.mrc": index + 1 for index in range(7)}


def test_views_that_were_left_out_of_the_stack_are_told_by_their_angles(tmp_path: Path) -> None:
    aligned = Aligned(tmp_path)
    aligned.write([-9.2, -3.1, 0.1, 2.9, 9.1])
    assert aligned.run() == {"6.mrc": 1, "2.mrc": 2, "0.mrc": 3, "1.mrc": 4, "5.mrc": 5}
    assert "2 tilts are not in TS_01.xf" in aligned.result.notes[0]


def test_an_inclined_specimen_with_views_left_out_needs_the_nominal_angles(tmp_path: Path) -> None:
    aligned = Aligned(tmp_path)
    angles = [-9.0, -3.0, 0.0, 3.0, 9.0]
    aligned.write([angle + 1.6 for angle in angles], rawtlt=angles)
    with pytest.raises(InputError, match="rawtlt_pattern"):
        aligned.run()
    found = aligned.run(rawtlt_pattern="alignments/{series}.rawtlt")
    assert found == {"6.mrc": 1, "2.mrc": 2, "0.mrc": 3, "1.mrc": 4, "5.mrc": 5}


def test_as_many_views_as_tilts_but_not_the_same_ones_are_refused(tmp_path: Path) -> None:
    aligned = Aligned(tmp_path)
    aligned.write([-12, -9, -6, -3, 0, 3, 9])
    with pytest.raises(InputError, match="cannot be told"):
        aligned.run()


def test_two_tilts_at_one_angle_cannot_be_told_apart_by_it(tmp_path: Path) -> None:
    series = job_parts.series(count=5, angle_deg=(0.0, 3.0, -3.0, 0.05, 6.0))
    aligned = Aligned(tmp_path, series)
    aligned.write([-3, 0, 0, 3, 6])
    with pytest.raises(InputError, match="cannot be told"):
        aligned.run()
    aligned.write([0, 3, -3, 0, 6])  # as they were taken
    assert aligned.run() == {f"{index}.mrc": index + 1 for index in range(5)}


def test_tilts_without_a_movie_and_excluded_ones_are_left_out_of_all_views(tmp_path: Path) -> None:
    series = job_parts.without_movie(job_parts.series(count=7), 3)
    aligned = Aligned(tmp_path, series, excluded=("005",))
    aligned.write([-9, -6, -3, 0, 3, 6, 9])
    found = aligned.run()
    assert found == {name: view for name, view in BY_ANGLE.items() if name not in ("3.mrc", "5.mrc")}
    assert aligned.result.notes == (
        "View 6 (+6.0°) is left out: the movie is missing.",
        "View 7 (+9.0°) is left out: you excluded this tilt.",
    )


def test_views_that_imod_left_out_of_its_alignment_are_left_out_here(tmp_path: Path) -> None:
    """They have no transform of their own: that of the view beside them, or one that does nothing."""
    aligned = Aligned(tmp_path)
    aligned.write([-9, -6, -3, 0, 3, 6, 9])
    path = tmp_path / "alignments/TS_01.xf"
    lines = path.read_text().splitlines()
    lines[6] = lines[5]
    lines[1] = "   1.0000000   0.0000000   0.0000000   1.0000000       0.000       0.000"
    path.write_text("\n".join(lines) + "\n")
    found = aligned.run()
    assert found == {name: view for name, view in BY_ANGLE.items() if view not in (2, 7)}
    assert aligned.result.notes[0] == "View 2 (-6.0°) is left out: IMOD left it out of the alignment."
    lines[4] = lines[3]
    path.write_text("\n".join(lines) + "\n")
    assert "5.mrc" not in aligned.run()
    assert any("Views 4 and 5 have the same transform" in note for note in aligned.result.notes)


def test_the_nominal_defocus_stands_in_where_no_ctf_was_fitted(tmp_path: Path) -> None:
    aligned = Aligned(tmp_path)
    aligned.write([-9, -6, -3, 0, 3, 6, 9])
    aligned.run()
    row = read_series(aligned.job.folder, "TS_01")[0]
    assert (float(row["rlnDefocusU"]), float(row["rlnDefocusV"]), float(row["rlnDefocusAngle"])) == (40000, 40000, 0)
    aligned.run(nominal_defocus=2.5)
    assert float(read_series(aligned.job.folder, "TS_01")[0]["rlnDefocusU"]) == 25000


def test_without_any_defocus_it_says_what_to_set(tmp_path: Path) -> None:
    aligned = Aligned(tmp_path)
    rows = read_series(tmp_path / "MotionCorr/job002", "TS_01")
    job = job_parts.job_context(motioncorr.JOB_TYPE, tmp_path, "MotionCorr/job002")
    for row in rows:
        del row["rlnTomoNominalDefocus"]
    write_series(job, "TS_01", rows)
    aligned.write([-9, -6, -3, 0, 3, 6, 9])
    with pytest.raises(WorkFailed, match="set nominal_defocus"):
        aligned.run()


def test_a_fitted_defocus_stays(tmp_path: Path) -> None:
    aligned = Aligned(tmp_path)
    job = job_parts.job_context(motioncorr.JOB_TYPE, tmp_path, "MotionCorr/job002")
    fitted = {"rlnDefocusU": 31000.0, "rlnDefocusV": 30000.0, "rlnDefocusAngle": 12.0}
    write_series(job, "TS_01", [{**row, **fitted} for row in read_series(tmp_path / "MotionCorr/job002", "TS_01")])
    aligned.write([-9, -6, -3, 0, 3, 6, 9])
    aligned.run(nominal_defocus=2.5)
    assert float(read_series(aligned.job.folder, "TS_01")[0]["rlnDefocusU"]) == 31000


def test_a_binned_stack_has_its_own_pixel(tmp_path: Path) -> None:
    aligned = Aligned(tmp_path)
    aligned.write([-9, -6, -3, 0, 3, 6, 9])
    assert aligned.run(stack_pixel_size=10.8) == BY_ANGLE
    shift = float(read_series(aligned.job.folder, "TS_01")[0]["rlnTomoYShiftAngst"])
    # the first view's dx = 1 px: A^-1 (1, 0) = (cos, sin) of the axis, and -10.8 times that
    assert shift == pytest.approx(-10.8 * math.sin(math.radians(85.3)), abs=1e-3)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    aligned = Aligned(tmp_path)
    aligned.write([-9, -6, -3, 0, 3, 6, 9])
    (tmp_path / "alignments/TS_01.tlt").write_text("0.0\n3.0\n")
    with pytest.raises(InputError, match="has 7 transforms, TS_01.tlt 2 angles"):
        aligned.run()
    (tmp_path / "alignments/TS_01.xf").unlink()
    with pytest.raises(InputError, match=r"TS_01\.xf"):
        aligned.run()


def test_an_axis_far_from_the_nominal_one_is_said(tmp_path: Path) -> None:
    aligned = Aligned(tmp_path)
    aligned.write([-9, -6, -3, 0, 3, 6, 9], rotation=-40.0)
    aligned.run()
    assert "-45° from the nominal one" in aligned.result.notes[0]
    acquisition = replace(job_parts.acquisition(), tilt_axis_deg=Sourced(None, "nobody"))
    context = replace(aligned.context(), acquisition=acquisition)
    assert not JOB_TYPE.gather_series(aligned.job, "TS_01", context).notes


def test_what_was_imported_is_kept_whatever_becomes_of_the_files(tmp_path: Path) -> None:
    aligned = Aligned(tmp_path)
    aligned.write([-9, -6, -3, 0, 3, 6, 9])
    aligned.run()
    kept = (tmp_path / "alignments/TS_01.xf").read_text()
    (tmp_path / "alignments/TS_01.xf").write_text("nothing\n")
    assert (aligned.job.folder / "imod/TS_01.xf").read_text() == kept
    assert JOB_TYPE.gather_series(aligned.job, "TS_01", aligned.context()).problem == ""


def test_patterns_name_the_series(tmp_path: Path) -> None:
    assert not JOB_TYPE.checks(JOB_TYPE.parameters().model_dump(), None)
    values = {**JOB_TYPE.parameters().model_dump(), "xf_pattern": "all.xf"}
    assert [problem.fields for problem in JOB_TYPE.checks(values, None)] == [("xf_pattern",)]
    aligned = Aligned(tmp_path, replace(job_parts.series(count=7), name="Grid 1"))
    context = aligned.context(xf_pattern="/imod/{name}/{series}_st.xf")
    assert import_alignments.given_files(tmp_path, context).xf == Path("/imod/Grid 1/TS_01_st.xf")


def test_a_rehearsal_takes_the_files_of_its_project(tmp_path: Path) -> None:
    context = Aligned(tmp_path).context()
    rehearsal = tmp_path / ".crboost" / "rehearsal" / "001"
    assert import_alignments.given_files(rehearsal, context).tlt == tmp_path / "alignments/TS_01.tlt"
