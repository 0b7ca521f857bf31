"""Tilt series from frame series. The awk programs run for real; ``ts_import`` is played by a few lines of Python that
do what WarpTools' source does (dose by rank among the sections, rows sorted by angle, deselected tilts dropped)."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from core.errors import InputError
from core.formats import mdoc, star
from core.formats.tomostar import Tomostar, read_tomostar, write_tomostar
from core.jobs import fs_motion_and_ctf as frame_series
from core.jobs import importmovies
from core.jobs._base import JobContext, SeriesContext
from core.jobs._task import Copy, Link, MakeFolder, MoveAside, Work, WriteText
from core.jobs._values import validate
from core.jobs.ts_import import JOB_TYPE, mdoc_text
from core.tools import catalogue
from core.tools.command import Command
from tests.unit import job_parts
from tests.unit.frame_products import write_movie

CATALOGUES = Path(__file__).parents[2] / "config" / "catalogues"
SERIES = "TS_01"


@pytest.fixture
def warp() -> Iterator[catalogue.Catalogue]:
    yield catalogue.Catalogue.load(CATALOGUES / "warptools.json")


class Case:
    """One series that went through import and the frame-series step in a project folder."""

    def __init__(
        self,
        project: Path,
        *,
        count: int = 41,
        missing: tuple[int, ...] = (),
        failed: tuple[int, ...] = (),
        excluded: tuple[int, ...] = (),
        acquisition: Any = None,
        version: str = "head",
        series: str = SERIES,
        **values: Any,
    ) -> None:
        self.project = project
        project.mkdir(parents=True, exist_ok=True)
        self.series = job_parts.without_movie(job_parts.series(series, count=count), *missing)
        self.acquisition = acquisition or job_parts.acquisition()
        import_job = job_parts.job_context(importmovies.JOB_TYPE, project, "Import/job001")
        imported = job_parts.producer(importmovies.JOB_TYPE, import_job)
        frames_job = job_parts.job_context(
            frame_series.JOB_TYPE, project, "External/job002", allow_failed_tilts=len(failed)
        )
        frames = job_parts.producer(frame_series.JOB_TYPE, frames_job, movies=imported)
        (project / "frames").mkdir(exist_ok=True)
        for name in self.series.tilts.movie:
            if name:
                (project / "frames" / name).touch()
        context = job_parts.series_context(frames_job, self.series, self.acquisition, {"movies": imported})
        importmovies.JOB_TYPE.run_internal(job_parts.task_context(import_job, context))
        for index, name in enumerate(self.series.tilts.movie):
            if name:
                write_movie(frames_job.folder, series, name, manual="True" if index in failed else "null")
        self.frames_folder = frames_job.folder
        assert frame_series.JOB_TYPE.gather_series(frames_job, series, context).problem == ""
        self.job: JobContext[Any] = job_parts.job_context(
            JOB_TYPE, project, "External/job003", version=version, **values
        )
        ids = frozenset(self.series.tilts.ids[index] for index in excluded)
        self.context: SeriesContext[Any] = job_parts.series_context(
            self.job, self.series, self.acquisition, {"frame_series": frames}, ids
        )
        self.work: Work = JOB_TYPE.build(job_parts.task_context(self.job, self.context))

    def run(self, drop: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Stage and commands; the last result. ``drop``: movies that WarpTools finds too dark."""
        self.stage()
        self.deselected: set[str] = set()
        result = subprocess.CompletedProcess[str]([], 0, "", "")
        for command in self.work.commands:
            if command.tool == "host":
                result = execute(command)
                if result.returncode:
                    return result
            elif command.argv[1] == "change_selection" and "--deselect" in command.argv:
                names = Path(after(command.argv, "--input_data")).read_text().splitlines()
                self.deselected |= {Path(name).name for name in names}
            elif command.argv[1] == "ts_import":
                self.play_ts_import(command.argv, self.deselected | set(drop))
        return result

    def stage(self) -> None:
        for step in self.work.stage:
            match step:
                case MakeFolder(path):
                    Path(path).mkdir(parents=True, exist_ok=True)
                case MoveAside(path):
                    shutil.rmtree(path, ignore_errors=True)
                case WriteText(path, text):
                    Path(path).write_text(text)
                case Link(path, target):
                    Path(path).symlink_to(target)
                case Copy(path, source, pattern):
                    for file in Path(source).glob(pattern):
                        shutil.copy(file, path)

    def play_ts_import(self, argv: tuple[str, ...], deselected: set[str]) -> None:
        frames = Path(after(argv, "--frameseries"))
        output = Path(after(argv, "--output"))
        parsed = mdoc.read_mdoc(Path(after(argv, "--mdocs")) / after(argv, "--pattern"))
        sections = [section.values for section in parsed.sections]
        times = [datetime.strptime(section["DateTime"], "%d-%b-%Y %H:%M:%S") for section in sections]
        rank = {index: position for position, index in enumerate(sorted(range(len(times)), key=times.__getitem__))}
        rows = []
        for index, section in enumerate(sections):
            movie = section["SubFramePath"]
            root = movie.rsplit(".", 1)[0]
            assert (frames / f"{root}.xml").exists() and (frames / "average" / f"{root}.mrc").exists()
            if movie not in deselected:
                sign = 1 if "--dont_invert" in argv else -1
                dose = rank[index] * float(after(argv, "--tilt_exposure"))
                rows.append((float(section["TiltAngle"]), sign * float(section["TiltAngle"]), movie, dose))
        rows.sort()
        depth = "../" * len(output.relative_to(self.job.folder).parts)
        write_tomostar(
            output / f"{SERIES}.tomostar",
            Tomostar(
                tuple(f"{depth}warp_frameseries/{SERIES}/{movie}" for _, _, movie, _ in rows),
                tuple(angle for _, angle, _, _ in rows),
                (float(after(argv, "--override_axis")),) * len(rows),
                tuple(dose for *_, dose in rows),
                (9.5,) * len(rows),
                (0.0,) * len(rows),
            ),
        )

    def tomostar(self) -> Tomostar:
        return read_tomostar(self.job.folder / "tomostar" / f"{SERIES}.tomostar")

    def gather(self) -> Any:
        return JOB_TYPE.gather_series(self.job, SERIES, self.context)


def after(words: tuple[str, ...], name: str) -> str:
    return words[words.index(name) + 1]


def execute(command: Command, *program: str) -> subprocess.CompletedProcess[str]:
    argv = [*(program or ("awk",)), *command.argv[1:]]
    return subprocess.run(argv, cwd="/", env=dict(command.env), capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def path_to_awk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


def doses_by_movie(tomostar: Tomostar) -> dict[str, float]:
    return {movie.rsplit("/", 1)[-1]: dose for movie, dose in zip(tomostar.movies, tomostar.doses, strict=True)}


def test_dropping_exposures_3_and_17_changes_no_other_dose(tmp_path: Path) -> None:
    """The rule of the project: 41 exposures of 3 e/A2; the 3rd and the 17th go in each of the three possible ways."""
    for name, how in (("missing", "missing"), ("failed", "failed"), ("excluded", "excluded")):
        case = Case(tmp_path / name, **{how: (2, 16)})  # type: ignore[arg-type]
        assert case.run().returncode == 0
        doses = doses_by_movie(case.tomostar())
        movies = job_parts.series().tilts.movie
        expected = {movie: 3.0 * index for index, movie in enumerate(movies) if index not in (2, 16)}
        assert doses == expected
        # by hand: the 2nd, 4th, 18th and 41st exposure
        assert [doses[movies[index]] for index in (1, 3, 17, 40)] == [3, 9, 51, 120]
        result = case.gather()
        assert result.problem == "" and len(result.notes) == 2
        block = star.read(case.job.folder / "tilt_series" / f"{SERIES}.star").block(SERIES)
        rows = zip(block.column("rlnMicrographMovieName"), block.column("rlnMicrographPreExposure"), strict=True)
        assert {movie.rsplit("/", 1)[-1]: float(dose) for movie, dose in rows} == expected


def test_sections_leave_the_mdoc_only_for_what_cannot_be_imported(tmp_path: Path) -> None:
    case = Case(tmp_path, missing=(1,), failed=(4,), excluded=(6,), count=9)
    assert case.run().returncode == 0
    parsed = mdoc.read_mdoc(case.job.folder / "mdocs" / SERIES / f"{SERIES}.mdoc")
    left = {section.values["SubFramePath"] for section in parsed.sections}
    movies = job_parts.series(count=9).tilts.movie
    assert left == {movies[index] for index in (0, 2, 3, 5, 6, 7, 8)}  # the excluded one stays: it is deselected
    assert case.deselected == {movies[6]}
    assert case.gather().notes == (
        "Tilt 001 (+3.0°) is left out: the movie is missing.",
        "Tilt 004 (-6.0°) is left out: it failed in the frame-series step.",
        "Tilt 006 (-9.0°) is left out: you excluded it.",
    )


def test_the_final_tomostar_lies_one_folder_below_the_job(tmp_path: Path) -> None:
    case = Case(tmp_path, count=5)
    case.run()
    tomostar = case.tomostar()
    assert tomostar.movies[0] == "../warp_frameseries/TS_01/TS_01_004_-6.0.tif"
    for movie in tomostar.movies:
        average = case.job.folder / "tomostar" / Path(movie).parent / "average" / f"{Path(movie).stem}.mrc"
        assert average.exists()
    assert tomostar.angles_deg == (6.0, 3.0, 0.0, -3.0, -6.0)  # Warp's angles are the mdoc's with the other sign
    assert tomostar.axis_deg[0] == 85.3 and tomostar.intensities[0] == 9.5
    assert case.gather().tilts["tilt_deg"] == (0.0, -3.0, 3.0, -6.0, 6.0)
    assert case.gather().numbers == {"tilts": 5.0, "min_tilt_deg": -6.0, "max_tilt_deg": 6.0}


def test_doses_from_the_mdoc_are_the_registrys(tmp_path: Path) -> None:
    series = job_parts.series(count=4, exposure_e_per_a2=(3.1, 3.25, 3.0, 2.9))
    case = Case(tmp_path, count=4)
    values = replace(
        case.acquisition, dose_per_tilt_e_per_a2=replace(case.acquisition.dose_per_tilt_e_per_a2, source="mdoc")
    )
    case.context = replace(case.context, series=series, acquisition=values)
    case.work = JOB_TYPE.build(job_parts.task_context(case.job, case.context))
    assert case.run().returncode == 0
    assert [doses_by_movie(case.tomostar())[movie] for movie in series.tilts.movie] == [0, 3.1, 6.35, 9.35]
    assert case.gather().problem == ""


def test_every_drop_by_the_tool_is_named(tmp_path: Path) -> None:
    case = Case(tmp_path, count=7)
    case.run(drop=(case.series.tilts.movie[5],))
    result = case.gather()
    assert result.problem == ""
    assert result.notes == ("Tilt 005 (+9.0°) is left out: WarpTools dropped it (brightness, masked part or angle).",)
    assert result.tilts["dose_e_per_a2"][5] is None and result.tilts["dose_e_per_a2"][6] == 18.0
    made = JOB_TYPE.gather_job(case.job, {SERIES: result}, {SERIES: case.context})
    assert list(made.nodes) == ["External/job003/tilt_series.star"]


@pytest.mark.parametrize("version", ["head", "dev39"])
def test_both_versions_take_the_commands(warp: catalogue.Catalogue, tmp_path: Path, version: str) -> None:
    for number, values in enumerate(
        ({}, {"auto_zero": True, "max_tilt": 55, "min_intensity": 0.3}, {"tilt_offset": -9.5, "max_mask": 0.35})
    ):
        case = Case(tmp_path / str(number), count=5, excluded=(1,), version=version, **values)  # type: ignore[arg-type]
        tools = [command for command in case.work.commands if command.tool == "warp"]
        assert [command.argv[1] for command in tools] == ["change_selection", "change_selection", "ts_import"]
        for command in tools:
            assert warp.check(command.argv, version) == []
            assert command.alive_marker == f"Running command {command.argv[1]} with:" and not command.gpu


def test_the_import_command(tmp_path: Path) -> None:
    case = Case(tmp_path, count=5, acquisition=job_parts.acquisition(invert_tilt_angles=False, tilt_axis_deg=-93.5))
    argv = next(c.argv for c in case.work.commands if c.argv[1] == "ts_import")
    folder = case.job.folder
    assert after(argv, "--mdocs") == str(folder / "mdocs" / SERIES)
    assert after(argv, "--pattern") == "TS_01.mdoc"
    assert after(argv, "--frameseries") == str(folder / "warp_frameseries" / SERIES)
    assert after(argv, "--output") == str(folder / "tomostar_imported" / SERIES)
    assert after(argv, "--tilt_exposure") == "3" and after(argv, "--override_axis") == "-93.5"
    assert "--dont_invert" in argv and "--tilt_offset" not in argv and "--auto_zero" not in argv
    inverted = Case(tmp_path / "b", count=5)
    assert "--dont_invert" not in next(c.argv for c in inverted.work.commands if c.argv[1] == "ts_import")


def test_the_selection_is_cleared_before_tilts_are_deselected(tmp_path: Path) -> None:
    case = Case(tmp_path, count=5, excluded=(3,))
    null, deselect = (c.argv for c in case.work.commands if c.argv[1] == "change_selection")
    assert "--null" in null and "--deselect" in deselect
    processing = str(case.job.folder / "warp_frameseries" / SERIES)
    for argv in (null, deselect):
        assert after(argv, "--input_processing") == after(argv, "--output_processing") == processing
    texts = {step.path: step.text for step in case.work.stage if isinstance(step, WriteText)}
    assert len(texts[after(null, "--input_data")].splitlines()) == 5
    assert texts[after(deselect, "--input_data")] == f"{case.project}/frames/{case.series.tilts.movie[3]}\n"
    assert len([c for c in Case(tmp_path / "b", count=5).work.commands if c.argv[1] == "change_selection"]) == 1


def test_files_that_are_rewritten_are_copies_and_series_share_nothing(tmp_path: Path) -> None:
    case = Case(tmp_path, count=3)
    target = case.job.folder / "warp_frameseries" / SERIES
    source = case.frames_folder / "warp_frameseries" / SERIES
    assert Copy(str(target), str(source), "*.xml") in case.work.stage
    assert Link(str(target / "average"), str(source / "average")) in case.work.stage
    for step in case.work.stage:
        if not isinstance(step, MakeFolder):
            assert SERIES in step.path
    assert len(case.work.inputs) == 1 + 2 * 3
    loose = Case(tmp_path / "b", count=3, failed=(1,))
    assert loose.work.inputs == (str(loose.frames_folder / "settings" / "TS_01.settings"),)


def test_the_mdoc_has_times_that_warptools_reads_and_that_increase() -> None:
    job = job_parts.job_context(JOB_TYPE, Path("/p"), "External/job003")
    context = job_parts.series_context(job, job_parts.series(count=3), job_parts.acquisition())
    text = mdoc_text(context)
    assert re.findall(r"DateTime = (.*)", text) == [
        "05-Jan-2024 13:00:09",
        "05-Jan-2024 13:01:09",
        "05-Jan-2024 13:02:09",
    ]
    assert "Tilt axis angle = 85.3," in text
    parsed = mdoc.parse_mdoc(text, "x")
    assert mdoc.axis_from_titles(parsed.titles) == pytest.approx(85.3)
    for acquired in (("", "", ""), ("2024-01-05T13:00:09",) * 3, ("2024-01-05T13:02:00", "2024-01-05T13:01:00", "")):
        bad = job_parts.series(count=3, acquired=acquired)
        times = re.findall(r"DateTime = (.*)", mdoc_text(replace(context, series=bad)))
        assert times == ["01-Jan-2000 00:00:00", "01-Jan-2000 00:01:00", "01-Jan-2000 00:02:00"]


AWKS = [name for name in ("awk", "mawk", "gawk", "busybox") if shutil.which(name)]


@pytest.mark.parametrize("awk", AWKS)
def test_the_awk_programs_refuse_what_is_wrong(tmp_path: Path, awk: str) -> None:
    case = Case(tmp_path / r"a\tb = 'c'  (d)", count=5, min_ntilts=4)
    assert case.run().returncode == 0
    final = case.work.commands[-1]
    raw = case.job.folder / "tomostar_imported" / SERIES / f"{SERIES}.tomostar"
    out = case.job.folder / "tomostar" / f"{SERIES}.tomostar"
    good = raw.read_text()

    def attempt(text: str) -> tuple[int, str, bool]:
        out.unlink(missing_ok=True)
        raw.write_text(text)
        result = execute(final, *(["busybox", "awk"] if awk == "busybox" else [awk]))
        return result.returncode, result.stderr, out.exists()

    assert attempt(good)[0] == 0
    assert attempt(good.replace("\n", "\r\n"))[0] == 0
    assert read_tomostar(out).doses == (12.0, 6.0, 0.0, 3.0, 9.0) or sorted(read_tomostar(out).doses) == [
        0,
        3,
        6,
        9,
        12,
    ]
    movie = case.series.tilts.movie
    for text, part in (
        (good.replace(movie[2], "other.tif"), "other.tif"),
        (good.replace(movie[2], movie[1]), "twice"),
        (good.replace("_wrpDose", "_wrpDosis"), "no wrpMovieName or wrpDose"),
        (good.replace("  9.500", "", 1).replace(" 9.500", "", 1), "values"),
        (
            "\n".join(line for line in good.splitlines() if movie[2] not in line and movie[3] not in line) + "\n",
            "only 3",
        ),
        ("data_\n\n", "only 0"),
    ):
        code, message, there = attempt(text)
        assert (code, there) == (3, False), text
        assert part in message
        assert part in JOB_TYPE.cause("", message)


def test_more_lost_tilts_than_allowed_end_the_task(tmp_path: Path) -> None:
    case = Case(tmp_path, count=5)
    frame_series.tilt_files(case.frames_folder, SERIES, case.series.tilts.movie[2]).average.unlink()
    result = case.run()
    assert result.returncode == 3 and "1 tilts have no average, 0 may be missing" in result.stderr
    assert not (case.job.folder / "mdocs" / SERIES / f"{SERIES}.mdoc").exists()


def test_an_average_that_was_not_visible_yet_is_a_problem_not_a_dropped_tilt(tmp_path: Path) -> None:
    case = Case(tmp_path, count=5, failed=(1,))
    upstream = case.context.inputs["frame_series"]
    more = replace(upstream, values=upstream.values.model_copy(update={"allow_failed_tilts": 2}))
    case.context = replace(case.context, inputs={"frame_series": more})
    case.work = JOB_TYPE.build(job_parts.task_context(case.job, case.context))
    average = frame_series.tilt_files(case.frames_folder, SERIES, case.series.tilts.movie[2]).average
    average.rename(average.with_suffix(".hidden"))
    assert case.run().returncode == 0
    assert "was not visible" in case.gather().problem


def test_a_wrong_tomostar_is_a_problem(tmp_path: Path) -> None:
    case = Case(tmp_path, count=5, excluded=(1,))
    case.run()
    path = case.job.folder / "tomostar" / f"{SERIES}.tomostar"
    good = case.tomostar()
    for changed, part in (
        (replace(good, doses=tuple(dose + 1 for dose in good.doses)), "dose of"),
        (replace(good, movies=("../warp_frameseries/TS_01/x.tif", *good.movies[1:])), "not in this tilt series"),
        (
            replace(good, movies=(case.series.tilts.movie[1], *good.movies[1:]), doses=(3.0, *good.doses[1:])),
            "excluded",
        ),
        (Tomostar(*(getattr(good, name)[:2] for name in Tomostar.__slots__)), "Only 2 tilts"),
    ):
        write_tomostar(path, changed)
        assert part in case.gather().problem


def test_building_is_pure_and_needs_dose_and_axis(tmp_path: Path) -> None:
    case = Case(tmp_path, count=3)
    before = sorted(tmp_path.rglob("*"))
    task = job_parts.task_context(case.job, case.context)
    assert JOB_TYPE.build(task) == JOB_TYPE.build(task)
    assert sorted(tmp_path.rglob("*")) == before
    for change in ({"dose_per_tilt_e_per_a2": None}, {"dose_per_tilt_e_per_a2": 0.0}, {"tilt_axis_deg": None}):
        context = replace(case.context, acquisition=job_parts.acquisition(**change))
        with pytest.raises(InputError):
            JOB_TYPE.build(job_parts.task_context(case.job, context))


def test_checks() -> None:
    def fields(acquisition: Any = None, **values: Any) -> list[tuple[str, ...]]:
        return [problem.fields for problem in validate(JOB_TYPE, values, acquisition)[1]]

    assert fields() == []
    assert fields(auto_zero=True, tilt_offset=3.0) == [("tilt_offset", "auto_zero")]
    assert fields(max_tilt=91) == [("max_tilt",)]
    assert fields(job_parts.acquisition(dose_per_tilt_e_per_a2=0.0)) == [()]
