"""A pipeline taken out of this program: as one bash file that is run here, and as the files of a scheme."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.errors import InputError
from core.export.scheme import export_scheme
from core.export.script import FOLDER, export_script
from core.formats import star
from core.standins.imod_files import write_imod_files
from crboost_tui.main import main
from tests.rehearsed import CONF, DATA, rehearsal, run_to_end, wait_for

JOBS = ("importmovies", "fsMotionAndCtf", "tsImport", "aligntiltsWarp", "tsCtf", "tsReconstruct")
DECIDED: Mapping[str, Any] = {
    "pieces": {"decisions": {"handedness": "flip"}},
    "parameters": {"aligntiltsWarp": {"calibrate_axis": False}},
}


def run(script: Path, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run it as somebody would who has nothing of ours: from another folder, with a bare environment."""
    return subprocess.run(
        ["bash", str(script)],
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def test_the_whole_run_is_one_file_that_can_be_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = rehearsal(tmp_path / "it's $(touch x)", series=2, tilts=3, **DECIDED)
    script = tmp_path / "run it.sh"
    assert main(["export", "script", str(root), "-o", str(script)]) == 0
    assert os.access(script, os.X_OK) and f"bash '{script}'\n" in capsys.readouterr().err
    ended = run(script)
    lines = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert lines[0] == "importmovies @all: done" and len(lines) == 1 + 5 * 2
    assert lines[1:] == [f"{job} Position_{number}: done" for job in JOBS[1:] for number in (1, 2)]
    tomograms = list((root / FOLDER / "tsReconstruct").rglob("Position_*.mrc"))
    assert {path.name[:10] for path in tomograms} == {"Position_1", "Position_2"}
    assert not (root / "External").exists()
    before = tomograms[0].stat().st_mtime_ns
    again = run(script)
    assert again.returncode == 0
    assert [line.rpartition(": ")[2] for line in again.stdout.splitlines()] == ["done before"] * len(lines)
    assert tomograms[0].stat().st_mtime_ns == before


def test_a_series_that_fails_misses_its_own_later_steps_and_can_be_tried_again(tmp_path: Path) -> None:
    fail = {"fail": "ts_ctf:Position_1:fail"}
    root = rehearsal(tmp_path, series=2, tilts=3, settings=fail, **DECIDED)
    script = tmp_path / "run.sh"
    script.write_text(export_script(root, DATA))
    ended = run(script)
    assert ended.returncode == 1
    assert "tsReconstruct Position_1: left out, because tsCtf Position_1 is not done" in ended.stdout
    assert "tsReconstruct Position_2: done" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "2 of 11 tasks are not done"
    (root / ".crboost/standins/standin.json").write_text('{"seconds": 0.02}')
    again = run(script)
    assert again.returncode == 0 and "tsCtf Position_1: done\n" in again.stdout
    tried = sorted(path.name for path in (root / FOLDER / "tsCtf/job005/tasks/Position_1").glob("*.state"))
    assert tried == ["1.state", "2.state"]


def test_a_script_that_is_stopped_ends_its_tool_and_starts_no_other(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3, settings={"seconds": 60}, **DECIDED)
    script = tmp_path / "run.sh"
    script.write_text(export_script(root, DATA))
    task = root / FOLDER / "fsMotionAndCtf/job002/tasks/Position_1"
    with subprocess.Popen(["bash", str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
        wait_for((task / "1.start").exists)
        time.sleep(0.5)
        running.send_signal(signal.SIGTERM)
        said, _ = running.communicate(timeout=30)
    assert running.returncode == 1
    assert said.splitlines()[-2] == "stopped: run it again to go on"
    assert '"state":"stopped"' in (task / "1.state").read_text()
    assert not (root / FOLDER / "fsMotionAndCtf/job002/tasks/Position_2").exists()


def test_a_calibration_that_has_decided_is_not_exported(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=3, tilts=3)
    with pytest.raises(InputError, match="aligntiltsWarp needs tilt_axis:.* not decided yet"):
        export_script(root, DATA)
    run_to_end(root)
    text = export_script(root, DATA)
    assert "@axis" not in text and "task_16() {" in text and "task_17() {" not in text


def test_what_is_excluded_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3, **DECIDED)
    assert main(["exclude", str(root), "--series", "Position_1"]) == 0
    capsys.readouterr()
    assert main(["export", "script", str(root)]) == 0
    text = capsys.readouterr().out
    assert "Position_2" in text and "Position_1" not in text


def test_a_scheme_has_a_chain_of_external_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = rehearsal(tmp_path / "two words", series=2, tilts=3, conf=CONF, **DECIDED)
    assert main(["export", "scheme", "plain", str(root)]) == 0
    folder = root / "Schemes/plain"
    assert f"cd '{root}' && relion_schemer --scheme plain --run" in capsys.readouterr().err
    scheme = star.read(folder / "scheme.star")
    edges = scheme.block("scheme_edges")
    chain = list(
        zip(edges.column("rlnSchemeEdgeInputNodeName"), edges.column("rlnSchemeEdgeOutputNodeName"), strict=True)
    )
    assert chain == list(zip(JOBS, (*JOBS[1:], "EXIT"), strict=True))
    block = star.read(folder / "tsCtf/job.star").block("joboptions_values")
    options = dict(zip(block.column("rlnJobOptionVariable"), block.column("rlnJobOptionValue"), strict=True))
    assert options["fn_exe"] == "Schemes/plain/tsCtf.sh" and options["do_queue"] == "No"
    assert (options["param1_label"], options["param1_value"]) == ("aligntiltsWarp", "Schemes/plain/aligntiltsWarp/")
    assert options["in_mic"] == "Schemes/plain/importmovies/tilt_series.star"
    assert {path.name for path in (folder / "tasks/tsCtf").iterdir()} == {"Position_1.sh", "Position_2.sh"}
    assert not (folder / "start.sh").exists()


def test_the_jobs_of_a_scheme_run_without_a_queue_too(tmp_path: Path) -> None:
    root = rehearsal(tmp_path / "it's $(touch x)", series=2, tilts=3, **DECIDED)
    folder = export_scheme(root, DATA, "plain").folder
    for number, job in enumerate(JOBS[:3], 1):
        place = root / f"External/job{number:03d}"
        place.mkdir(parents=True)
        called = [str(folder / f"{job}.sh"), "--o", f"External/job{number:03d}/", "--in_mics", "a.star"]
        ended = subprocess.run(called, cwd=root, capture_output=True, text=True, check=False)
        assert ended.returncode == 0 and ended.stderr == ""
        assert (place / "RELION_JOB_EXIT_SUCCESS").exists(), ended.stdout
    assert (root / "External/job003/tomostar/Position_2.tomostar").is_file()


RELION_JOBS = ("importmovies", "motioncorr", "importAlignments", "reconstructtomograms")
FOR_SMALL_MOVIES: dict[str, dict[str, Any]] = {
    "motioncorr": {"do_save_ps": False, "do_float16": False},
    "reconstructtomograms": {"xdim": 48, "ydim": 48, "zdim": 24, "binned_angpix": 2.7},
}


def relion(folder: Path, pipeline: str = "relion_to_tomograms") -> Path:
    root = rehearsal(folder, series=2, tilts=3, pipeline=pipeline, parameters=FOR_SMALL_MOVIES)
    write_imod_files(folder / "session/frames/session.json", root / "alignments")
    return root


RELION_STEPS = [
    "importmovies @all",
    *(f"{job} {key}" for job in RELION_JOBS[1:] for key in ("Position_1", "Position_2", "@tables")),
]


def test_relions_jobs_run_for_each_series_and_their_tables_are_written_without_us(tmp_path: Path) -> None:
    root = relion(tmp_path)
    script = tmp_path / "run.sh"
    script.write_text(export_script(root, DATA))
    ended = run(script)
    assert ended.stdout.splitlines() == [f"{step}: done" for step in RELION_STEPS], ended.stdout + ended.stderr
    run_to_end(root)
    for job, place, table in (
        ("motioncorr/job002", "MotionCorr/job002", "corrected_tilt_series.star"),
        ("motioncorr/job002", "MotionCorr/job002", "tilt_series/Position_2.star"),
        ("importAlignments/job003", "External/job003", "aligned_tilt_series.star"),
        ("importAlignments/job003", "External/job003", "tilt_series/Position_2.star"),
        ("reconstructtomograms/job004", "Tomograms/job004", "tomograms.star"),
        ("reconstructtomograms/job004", "Tomograms/job004", "tilt_series/Position_1.star"),
    ):
        ours = (root / place / table).read_text()
        theirs = (root / FOLDER / job / table).read_text().replace(f"{FOLDER}/{job}/", f"{place}/")
        theirs = theirs.replace(f"{FOLDER}/motioncorr/", "MotionCorr/")
        assert numbers(theirs) == numbers(ours), table


def test_a_series_whose_movie_is_broken_is_missing_from_later_tables_until_it_is_whole(tmp_path: Path) -> None:
    root = relion(tmp_path)
    script = tmp_path / "run.sh"
    script.write_text(export_script(root, DATA).replace("visible_seconds=90", "visible_seconds=1"))
    movie = next((root / "frames").glob("Position_1_*"))
    away = movie.rename(tmp_path / movie.name)
    ended = run(script)
    assert ended.returncode == 1
    failed = {"motioncorr Position_1": "not done,", **dict.fromkeys(STEPS_AFTER, "left out,")}
    for line, step in zip(ended.stdout.splitlines(), RELION_STEPS, strict=False):
        assert line.startswith(f"{step}: {failed.get(step, 'done')}"), ended.stdout
    tables = root / FOLDER / "reconstructtomograms/job004"
    assert series_in(tables / "tomograms.star") == ["Position_2"]
    away.rename(movie)
    again = run(script)
    assert again.returncode == 0, again.stdout
    assert "reconstructtomograms Position_2: done before" in again.stdout
    assert series_in(tables / "tomograms.star") == ["Position_1", "Position_2"]


STEPS_AFTER = ("importAlignments Position_1", "reconstructtomograms Position_1")


def series_in(table: Path) -> list[str]:
    return star.read_columns(table, "global", ["rlnTomoName"])["rlnTomoName"]


def test_an_array_of_relions_own_jobs_has_an_index_for_each_series(tmp_path: Path) -> None:
    root = relion(tmp_path)
    folder = export_scheme(root, DATA, "relion").folder
    assert sorted(path.name for path in (folder / "tasks/motioncorr").iterdir()) == [
        "@tables.sh",
        "Position_1.sh",
        "Position_2.sh",
    ]
    text = (folder / "motioncorr.sh").read_text()
    assert "keys=(\n    Position_1\n    Position_2\n)" in text and "tables=@tables" in text.replace("'", "")


def numbers(table: str) -> list[dict[str, str]]:
    """The rows of the one table of a STAR file, without what RELION measured."""
    (block,) = star.parse(table).blocks
    rows = [dict(zip(block.labels, row, strict=True)) for row in block.rows]
    return [{name: value for name, value in row.items() if "AccumMotion" not in name} for row in rows]


def test_what_a_container_needs_stands_in_the_script_once(tmp_path: Path) -> None:
    conf = CONF + "tools:\n  warp: {container: true, path: /images/warp.sif}\n"
    root = rehearsal(
        tmp_path,
        series=2,
        tilts=3,
        conf=conf,
        parameters=DECIDED["parameters"],
        pieces={**DECIDED["pieces"], "rehearsal": False},
    )
    text = export_script(root, DATA)
    assert text.count("\ncontainer='") == 1 and text.count('"$container"') > 20
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("a/b", "no name for a scheme"), ("", "no name for a scheme"), ("there", "is there already")],
)
def test_names_of_schemes(tmp_path: Path, name: str, sentence: str) -> None:
    root = rehearsal(tmp_path, series=1, tilts=3, **DECIDED)
    (root / "Schemes/there").mkdir(parents=True)
    with pytest.raises(InputError, match=sentence):
        export_scheme(root, DATA, name)
    assert [path.name for path in (root / "Schemes").iterdir()] == ["there"]
