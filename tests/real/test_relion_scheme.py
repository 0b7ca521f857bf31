"""An exported pipeline that the real relion_schemer 5.1 runs from its container, its jobs through the host's Slurm."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from core.export.scheme import Scheme, export_scheme
from core.export.script import FOLDER, export_script
from core.formats import star
from core.formats.mrc import HEADER_BYTES, read_mrc_header
from core.standins.imod_files import write_imod_files
from tests.real.cluster import PrivateCluster
from tests.real.slurm import wait_until
from tests.rehearsed import DATA, rehearsal

JOBS = ("importmovies", "fsMotionAndCtf", "tsImport", "aligntiltsWarp", "tsCtf", "tsReconstruct")
SMALL = "{cpus: 1, gpus: 0, memory_gb: 1, minutes: 10}"
DECIDED = {"decisions": {"handedness": "flip"}}
NOMINAL_AXIS = {"aligntiltsWarp": {"calibrate_axis": False}}

TEMPLATE = """\
#!/bin/bash
#SBATCH --partition=XXXextra1XXX
#SBATCH --time=XXXextra2XXX
#SBATCH --cpus-per-task=XXXthreadsXXX
#SBATCH --job-name=XXXnameXXX
#SBATCH --output=XXXoutfileXXX
#SBATCH --error=XXXerrfileXXX
echo "the lab's template on $SLURMD_NODENAME"
mpirun -n XXXmpinodesXXX XXXcommandXXX
"""
TABLE = "qsub:\n  template: {}\n  extra:\n    1: {{field: partition}}\n    2: {{field: minutes}}\n"


def project(folder: Path, image: Path, more: str = "", **options: object) -> Path:
    profiles = "".join(f"  {job}: {SMALL}\n" for job in JOBS)
    conf = f"submitter: slurm\ntools:\n  relion: {{container: true, path: {image}}}\nprofiles:\n{profiles}{more}"
    return rehearsal(folder, tilts=3, conf=conf, pieces=DECIDED, parameters=NOMINAL_AXIS, **options)  # type: ignore[arg-type]


def run(root: Path, scheme: Scheme, seconds: float = 100.0) -> str:
    """Run the scheme to its end; what relion_schemer says."""
    ended = subprocess.run(
        ["bash", str(scheme.start)], cwd=root, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def processes(root: Path) -> dict[str, str]:
    name, status = "rlnPipeLineProcessName", "rlnPipeLineProcessStatusLabel"
    found = star.read_columns(root / "default_pipeline.star", "pipeline_processes", [name, status])
    return dict(zip(found[name], found[status], strict=True))


def test_the_whole_pipeline_runs_as_a_scheme(image: Path, cluster: PrivateCluster, tmp_path: Path) -> None:
    root = project(tmp_path / "a:b;c", image, series=3)
    scheme = export_scheme(root, DATA, "whole")
    assert scheme.jobs == JOBS and scheme.start is not None
    assert len(scheme.start.read_text().splitlines()) > 50
    said = run(root, scheme)
    assert said.count("Submitted batch job") == len(JOBS)
    assert processes(root) == {f"External/job{number:03d}/": "Succeeded" for number in range(1, 7)}
    for number, (name, tasks) in enumerate(zip(JOBS, (1, 3, 3, 3, 3, 3), strict=True), 1):
        job = root / f"External/job{number:03d}"
        assert (scheme.folder / "jobs" / name).resolve() == job
        assert (job / "run.out").read_text().count(": done") == tasks
    tomograms = sorted(path.name for path in (root / "External/job006").rglob("*.mrc"))
    assert len([name for name in tomograms if name.startswith("Position_")]) >= 3, tomograms
    jobs = {row.name for row in cluster.jobs()}
    assert jobs == {f"External/job{number:03d}/" for number in range(1, 7)}
    table = star.read_columns(root / "External/job001/tilt_series.star", "global", ["rlnTomoTiltSeriesStarFile"])
    for path in table["rlnTomoTiltSeriesStarFile"]:
        assert path.startswith("External/job001/tilt_series/") and (root / path).is_file()
    assert "External/job001/tilt_series.star" in (root / "default_pipeline.star").read_text()


def test_a_series_that_fails_misses_its_later_steps_only(image: Path, cluster: PrivateCluster, tmp_path: Path) -> None:
    template = tmp_path / "lab qsub.sh"
    template.write_text(TEMPLATE)
    fail = {"seconds": 0.02, "fail": "fs_motion_and_ctf:Position_2:fail"}
    lab = TABLE.format(template) + "resources: {partition: main}\n"
    root = project(tmp_path / "it's $(touch x)", image, lab, series=2, settings=fail)
    scheme = export_scheme(root, DATA, "lab")
    submitted = scheme.folder / "fsMotionAndCtf" / "job.star"
    options = star.read(submitted).block("joboptions_values")
    given = dict(zip(options.column("rlnJobOptionVariable"), options.column("rlnJobOptionValue"), strict=True))
    assert (given["qsub_extra1"], given["qsub_extra2"], given["qsubscript"]) == ("main", "0:10:00", str(template))
    assert "--time" not in given["qsub"] and "--array=0-1" in given["qsub"]
    told_to_wait_less(scheme)
    run(root, scheme)
    assert set(processes(root).values()) == {"Succeeded"}
    for number, ended in ((1, ["done"]), (2, ["done", "failed"]), (6, ["done", "failed"])):
        job = root / f"External/job{number:03d}"
        assert [path.read_text().strip() for path in sorted(job.glob("ended/*/*"))] == ended
        assert (job / "run.out").read_text().count("the lab's template on n") == len(ended)


def told_to_wait_less(scheme: Scheme) -> None:
    """Inputs of a series that failed are looked for as on a slow file system: a second is enough here."""
    for task in scheme.folder.glob("tasks/*/*.sh"):
        task.write_text(task.read_text().replace("visible_seconds=90", "visible_seconds=1"))


def test_a_scheme_that_is_aborted_ends_its_job_in_the_queue(
    image: Path, cluster: PrivateCluster, tmp_path: Path
) -> None:
    root = project(tmp_path, image, series=2, settings={"seconds": 60})
    scheme = export_scheme(root, DATA, "short")
    assert scheme.start is not None
    with subprocess.Popen(["bash", str(scheme.start)], cwd=root, stdout=subprocess.PIPE, text=True) as running:
        job = root / "External/job002"
        wait_until((job / "tasks/Position_1/1.start").exists, lambda: "motion correction to begin", 40)
        (job / "RELION_JOB_ABORT_NOW").touch()
        said, _ = running.communicate(timeout=40)
    assert processes(root) == {"External/job001/": "Succeeded", "External/job002/": "Aborted"}, said
    wait_until(
        lambda: {row.state for row in cluster.jobs() if row.name == "External/job002/"} == {"COMPLETED"},
        lambda: f"the array to end: {cluster.jobs()}",
        20,
    )


RELION_JOBS = ("importmovies", "motioncorr", "importAlignments", "reconstructtomograms")
FOR_SMALL_MOVIES: dict[str, dict[str, Any]] = {
    "motioncorr": {"do_save_ps": False, "do_float16": False},
    "reconstructtomograms": {"xdim": 48, "ydim": 48, "zdim": 24, "binned_angpix": 2.7},
}


def relion_project(folder: Path, image: Path, submitter: str) -> Path:
    """A real project, whose tool is RELION in its container."""
    two_ranks = SMALL.replace("cpus: 1", "tasks: 2, cpus: 1")
    profiles = "".join(f"  {job}: {two_ranks if job == 'motioncorr' else SMALL}\n" for job in RELION_JOBS)
    tools = f"tools:\n  relion: {{container: true, path: {image}}}\n"
    root = rehearsal(
        folder,
        series=2,
        pipeline="relion_to_tomograms",
        conf=f"submitter: {submitter}\n{tools}profiles:\n{profiles}",
        pieces={"rehearsal": False, **DECIDED},
        parameters=FOR_SMALL_MOVIES,
    )
    write_imod_files(folder / "session/frames/session.json", root / "alignments")
    return root


def check_tomograms(root: Path, job: Path, motion: str) -> None:
    """Half tomograms of both series are there and are no empty boxes; the tables lead to all files."""
    names = star.read_columns(job / "tomograms.star", "global", ["rlnTomoReconstructedTomogramHalf1"])
    halves = names["rlnTomoReconstructedTomogramHalf1"]
    assert len(halves) == 2
    for half in halves:
        header = read_mrc_header(root / half)
        assert (header.nx, header.ny, header.nz) == (24, 24, 12)
        assert np.fromfile(root / half, np.float32, offset=HEADER_BYTES).std() > 0
    tilts = star.read(job / "tilt_series/Position_1.star").block("Position_1")
    images = tilts.column("rlnMicrographNameEven")
    assert len(images) == 5 and all(name.startswith(motion) and (root / name).is_file() for name in images)


def test_relions_own_jobs_run_as_a_scheme(image: Path, cluster: PrivateCluster, tmp_path: Path) -> None:
    root = relion_project(tmp_path, image, "slurm")
    scheme = export_scheme(root, DATA, "relion")
    assert scheme.jobs == RELION_JOBS
    said = run(root, scheme)
    assert said.count("Submitted batch job") == 4
    assert processes(root) == {f"External/job{number:03d}/": "Succeeded" for number in range(1, 5)}
    assert "relion_run_motioncorr_mpi" in (root / "External/job002/tasks/Position_2/1.out").read_text()
    edges = star.read(root / "default_pipeline.star").block("pipeline_input_edges")
    inputs = ["job001/tilt_series.star", "job002/corrected_tilt_series.star", "job003/aligned_tilt_series.star"]
    assert list(edges.column("rlnPipeLineEdgeFromNode")) == [f"External/{table}" for table in inputs]
    check_tomograms(root, root / "External/job004", "External/job002/frames/")
    tables = [path.read_text() for path in root.glob("External/job*/**/*.star")]
    assert tables and not any("Schemes/relion/jobs/" in text for text in tables)


def test_a_broken_movie_costs_relions_jobs_its_own_series_only(
    image: Path, cluster: PrivateCluster, tmp_path: Path
) -> None:
    root = relion_project(tmp_path, image, "slurm")
    movie = next((root / "frames").glob("Position_1_*")).resolve()
    movie.write_bytes(b"no movie at all")
    scheme = export_scheme(root, DATA, "broken")
    told_to_wait_less(scheme)
    run(root, scheme)
    assert set(processes(root).values()) == {"Succeeded"}
    for number, table in ((2, "corrected_tilt_series"), (3, "aligned_tilt_series"), (4, "tomograms")):
        job = root / f"External/job{number:03d}"
        assert star.read_columns(job / f"{table}.star", "global", ["rlnTomoName"])["rlnTomoName"] == ["Position_2"]
        assert sorted((job / "run.out").read_text().splitlines())[-2:] == [
            f"{RELION_JOBS[number - 1]} Position_1: failed",
            f"{RELION_JOBS[number - 1]} Position_2: done",
        ]


def test_relions_own_jobs_run_from_one_script(image: Path, tmp_path: Path) -> None:
    root = relion_project(tmp_path, image, "local")
    script = tmp_path / "run.sh"
    script.write_text(export_script(root, DATA))
    ended = subprocess.run(["bash", str(script)], cwd="/", capture_output=True, text=True, timeout=100, check=False)
    steps = [f"{job} {key}" for job in RELION_JOBS[1:] for key in ("Position_1", "Position_2", "@tables")]
    said = ["importmovies @all: done", *(f"{step}: done" for step in steps)]
    assert ended.stdout.splitlines() == said, ended.stdout + ended.stderr
    check_tomograms(root, root / FOLDER / "reconstructtomograms/job004", f"{FOLDER}/motioncorr/job002/frames/")
