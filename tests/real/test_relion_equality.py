"""RELION 5.1 and we build the same commands, and work in each other's projects."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from core.engine import requests
from core.formats import star
from core.jobs import importmovies, motioncorr, reconstructtomograms
from core.relion import project as relion_project
from core.relion.job_star import external_options, job_star, native_options
from core.relion.lock import read_pipeline
from core.relion.pipeline import Process
from core.relion.project import prepare_project
from tests.engine.test_relion_pipeline import JOBS, relion_rehearsal
from tests.real.relion import Relion, movies
from tests.rehearsed import DATA, run_engine, run_to_end, states

TYPES = {
    kind.relion_label: kind for kind in (importmovies.JOB_TYPE, motioncorr.JOB_TYPE, reconstructtomograms.JOB_TYPE)
}
TEMPLATE = "#!/bin/bash\nXXXcommandXXX\n"
QUEUED = "do_queue == Yes;qsub == true;qsubscript == template.sh"

CASES: dict[str, tuple[str, str, dict[str, str]]] = {
    # label, sublabel, options: RELION's own defaults for the others
    "import": ("relion.importtomo", "", {"movie_files": "frames/*.eer", "angpix": "1.35", "optics_group_name": "og1"}),
    "import, everything": (
        "relion.importtomo",
        "",
        {
            "dose_is_per_movie_frame": "Yes",
            "dose_rate": "0.4",
            "flip_tiltseries_hand": "No",
            "images_are_motion_corrected": "Yes",
            "mtf_file": "mtf.star",
            "optics_group_name": "og 1",
            "prefix": "p1",
            "other_args": "--verbose",
        },
    ),
    "motion correction": ("relion.motioncorr", ".own", {}),
    "motion correction, everything": (
        "relion.motioncorr",
        ".own",
        {
            "do_even_odd_split": "Yes",
            "do_float16": "No",
            "do_save_ps": "No",
            "bin_factor": "1.5",
            "bfactor": "300",
            "patch_x": "5",
            "patch_y": "4",
            "group_frames": "3",
            "eer_grouping": "20",
            "fn_gain_ref": "gain.mrc",
            "gain_rot": "270 degrees (3)",
            "gain_flip": "Flip left to right (2)",
            "fn_defect": "defects.txt",
            "nr_mpi": "3",
            "nr_threads": "8",
            "other_args": "--max_iter 7 --skip_defect",
        },
    ),
    "motion correction with MotionCor2": (
        "relion.motioncorr",
        ".motioncor2",
        {
            "do_own_motioncor": "No",
            "do_float16": "No",
            "do_save_ps": "No",
            "fn_motioncor2_exe": "/opt/MotionCor2",
            "gpu_ids": "0:1",
            "other_motioncor2_args": "-InFmMotion 1",
        },
    ),
    "tomograms": ("relion.reconstructtomograms", "", {}),
    "tomograms, halves": (
        "relion.reconstructtomograms",
        "",
        {"generate_split_tomograms": "Yes", "do_fourier": "No", "do_proj": "No", "tiltangle_offset": "-2.5"},
    ),
    "tomograms, everything": (
        "relion.reconstructtomograms",
        "",
        {
            "tomo_name": "TS_01",
            "xdim": "3838",
            "ydim": "3710",
            "zdim": "1600",
            "binned_angpix": "7.5",
            "centre_proj": "-20",
            "thickness_proj": "30",
            "tiltangle_offset": "3",
            "do_skip_wiener": "Yes",
            "ctf_intact_first_peak": "No",
            "nr_mpi": "2",
            "nr_threads": "16",
            "other_args": "--SNR 5",
        },
    ),
}
INPUTS = {"input_star_mics": "Import/job001/tilt_series.star", "in_tiltseries": "External/job003/aligned.star"}


@pytest.fixture
def relion(image: Path, tmp_path: Path) -> Relion:
    """An empty project, with a template that shows the command."""
    root = tmp_path / "relion"
    root.mkdir()
    prepare_project(root)
    (root / "template.sh").write_text(TEMPLATE)
    return Relion(root, image)


def schedule(relion: Relion, text: str, more: str = QUEUED) -> Process:
    """RELION makes a job of a ``job.star``."""
    (relion.project / "given_job.star").write_text(text)
    said = relion.run("relion_pipeliner", "--addJobFromStar", "given_job.star", "--addJobOptions", more)
    assert "WARNING" not in said, said
    return read_pipeline(relion.project).processes()[-1]


def built(relion: Relion, process: Process) -> list[str]:
    """The command that RELION built, without what it adds for its own pipeline."""
    script = (relion.project / process.name / "run_submit.script").read_text()
    line = next(line for line in script.splitlines() if "relion_" in line)
    words = shlex.split(re.sub(r"`which (\S+)`", r"\1", line))
    at = words.index("--pipeline_control")
    assert words[at + 1] == process.name
    return words[:at] + words[at + 2 :]


def options_of(path: Path) -> dict[str, str]:
    return dict(star.read(path).block("joboptions_values").rows)


@pytest.mark.parametrize("case", CASES)
def test_relion_builds_the_command_that_we_build(relion: Relion, case: str) -> None:
    label, sublabel, changes = CASES[case]
    kind = TYPES[label]
    known = native_options(DATA, label, {})
    given = {name: value for name, value in INPUTS.items() if name in known}
    options = native_options(DATA, label, {**given, **changes})
    process = schedule(relion, job_star(label + sublabel, options, is_tomo=kind.relion_is_tomo))
    assert (process.label, process.name) == (label + sublabel, f"{kind.relion_folder}/job001/")
    assert list(kind.unsplit_command(options, process.name)) == built(relion, process)
    # and RELION read what we wrote: it writes the same again
    theirs = options_of(relion.project / process.name / "job.star")
    queue = {"do_queue": "Yes", "qsub": "true", "qsubscript": "template.sh"}
    assert {name: value for name, value in theirs.items() if not name.startswith("qsub_extra")} == {**options, **queue}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of ours, made with stand-ins: import, motion correction, alignments, half tomograms."""
    root = relion_rehearsal(tmp_path_factory.mktemp("ours"), series=2, tilts=5)
    assert set("".join(states(run_to_end(root)).values())) == {"+"}
    return root


@pytest.fixture
def ours(project: Path, image: Path, tmp_path: Path) -> Relion:
    """RELION in a copy of it."""
    root = tmp_path / "project"
    shutil.copytree(project, root, symlinks=True)
    (root / "template.sh").write_text(TEMPLATE)
    return Relion(root, image)


def session_of(project: Path) -> Path:
    return project.parent / "session"


def test_the_jobs_of_a_project_of_ours_are_relions_but_for_what_splits_them(ours: Relion) -> None:
    for folder, label, split in (
        ("Import/job001", "relion.importtomo", {}),
        ("MotionCorr/job002", "relion.motioncorr", {"--i": "MotionCorr/job002/series/Position_1/tilt_series.star"}),
        ("Tomograms/job004", "relion.reconstructtomograms", {"--tn": "Position_1"}),
    ):
        path = ours.project / folder / "job.star"
        process = schedule(ours, path.read_text())
        theirs = built(ours, process)
        assert list(TYPES[label].unsplit_command(options_of(path), process.name)) == theirs
        if split:
            task = task_words(ours.project / folder / "tasks/Position_1/1.sh", theirs[0])
            differing = {name: (task.get(name), as_options(theirs).get(name)) for name in {*task, *as_options(theirs)}}
            differing = {name: pair for name, pair in differing.items() if pair[0] != pair[1]}
            assert set(differing) == {*split, "--o"}, differing
            assert all(differing[name][0] == value for name, value in split.items())


def task_words(script: Path, program: str) -> dict[str, str]:
    """The options of the command in a task's script."""
    text = script.read_text().replace("\\\n", " ")
    line = next(line for line in text.splitlines() if line.strip().startswith("exec ") and program in line)
    words = shlex.split(line)
    return as_options(words[words.index(program) :])


def as_options(words: list[str]) -> dict[str, str]:
    """Options with their values; flags have none."""
    found: dict[str, str] = {}
    for at, word in enumerate(words[1:], 1):
        if word.startswith("--"):
            following = words[at + 1] if at + 1 < len(words) else "--"
            found[word] = "" if following.startswith("--") else following
    return found


def test_a_project_of_ours_opens_in_relion(ours: Relion) -> None:
    before = (ours.project / "default_pipeline.star").read_text()
    ours.run("relion_pipeliner", "--check_job_completion")
    after = read_pipeline(ours.project)
    assert [(each.name, each.status) for each in after.processes()] == [
        ("Import/job001/", "Succeeded"),
        ("MotionCorr/job002/", "Succeeded"),
        ("External/job003/", "Succeeded"),
        ("Tomograms/job004/", "Succeeded"),
    ]
    assert (ours.project / "default_pipeline.star").read_text() == before


def test_relion_continues_a_project_of_ours(ours: Relion, project: Path) -> None:
    """It runs our jobs again in their folders, and one of its own on our alignment."""
    binds = [session_of(project)]
    local = "do_queue == No"
    process = schedule(ours, (ours.project / "Tomograms/job004/job.star").read_text(), local)
    assert process.name == "Tomograms/job005/"
    jobs = ["MotionCorr/job002/", "Tomograms/job004/", process.name]
    run = ("relion_pipeliner", "--RunJobs", " ".join(jobs), "--schedule", "again", "--sec_wait_after", "1")
    ours.run(*run, binds=binds, seconds=120)
    after = read_pipeline(ours.project)
    assert [each.status for each in after.processes()] == ["Succeeded"] * 5
    for folder in jobs[1:]:
        table = star.read(ours.project / folder / "tomograms.star").block("global")
        assert table.column("rlnTomoName") == ["Position_1", "Position_2"]
        for half in (1, 2):
            for path in table.column(f"rlnTomoReconstructedTomogramHalf{half}"):
                assert path.startswith(folder) and (ours.project / path).is_file()
    # RELION's tables of our job have our columns, in our order
    theirs = star.read(ours.project / "MotionCorr/job002/tilt_series/Position_1.star").block("Position_1")
    mine = star.read(project / "MotionCorr/job002/tilt_series/Position_1.star").block("Position_1")
    assert theirs.labels == mine.labels
    assert theirs.column("rlnMicrographName") == mine.column("rlnMicrographName")
    for name in ("tilt_series/Position_1.star", "tomograms.star"):
        block = "global" if name == "tomograms.star" else "Position_1"
        ours_now = star.read(project / "Tomograms/job004" / name).block(block)
        relions = star.read(ours.project / "Tomograms/job004" / name).block(block)
        assert ours_now.labels == relions.labels, name


@pytest.mark.parametrize("how", ["--gentle_clean", "--harsh_clean"])
def test_relion_cleans_up_a_project_of_ours(ours: Relion, how: str) -> None:
    for number in range(1, 5):
        ours.run("relion_pipeliner", how, str(number))
    assert [each.status for each in read_pipeline(ours.project).processes()] == ["Succeeded"] * 4
    for table in ("MotionCorr/job002/corrected_tilt_series.star", "External/job003/aligned_tilt_series.star"):
        assert (ours.project / table).is_file()
    row = star.read(ours.project / "Tomograms/job004/tomograms.star").block("global")
    assert all((ours.project / path).is_file() for path in row.column("rlnTomoReconstructedTomogramHalf1"))
    # nothing of it makes us do anything again
    requests.run(ours.project, DATA)
    assert states(run_engine(ours.project)) == dict.fromkeys(JOBS, "++")


def test_a_project_of_relions_opens_in_ours(image: Path, tmp_path: Path) -> None:
    """Its jobs, states and inputs are read; a job of ours can stand after them."""
    root = tmp_path / "theirs"
    root.mkdir()
    movies(root, series=1, tilts=3)
    relion = Relion(root, image)
    (root / "default_pipeline.star").write_text(
        "\n# version 50001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n \n"
    )
    small = {"do_save_ps": "No", "do_float16": "No", "input_star_mics": "tilt_series.star"}
    text = job_star("relion.motioncorr", native_options(DATA, "relion.motioncorr", small), is_tomo=True)
    first = schedule(relion, text, "do_queue == No")
    wrong = {"in_tiltseries": f"{first.name}corrected_tilt_series.star"}  # nobody aligned it
    text = job_star(
        "relion.reconstructtomograms", native_options(DATA, "relion.reconstructtomograms", wrong), is_tomo=False
    )
    second = schedule(relion, text, "do_queue == No")
    third = schedule(relion, text, "do_queue == No")
    jobs = f"{first.name} {second.name}"
    relion.run("relion_pipeliner", "--RunJobs", jobs, "--schedule", "one", "--sec_wait_after", "1", seconds=120)

    pipeline = read_pipeline(root)
    assert [(each.name, each.label, each.status) for each in pipeline.processes()] == [
        ("MotionCorr/job001/", "relion.motioncorr.own", "Succeeded"),
        ("Tomograms/job002/", "relion.reconstructtomograms", "Failed"),
        ("Tomograms/job003/", "relion.reconstructtomograms", "Scheduled"),
    ]
    table = f"{first.name}corrected_tilt_series.star"
    assert pipeline.input_edges() == [("tilt_series.star", first.name), (table, second.name), (table, third.name)]
    assert (first.name, table) in pipeline.output_edges()
    assert options_of(root / first.name / "job.star")["do_float16"] == "No"
    assert pipeline.render() == (root / "default_pipeline.star").read_text()

    mine = relion_project.deploy_job(
        root,
        label="relion.external",
        alias="ours",
        is_tomo=False,
        options=external_options({"fn_exe": "crboost"}),
        input_nodes={table: "TomogramGroupMetadata.star.relion.tomo.motioncorr"},
    )
    assert mine == "External/job004/"
    relion.run("relion_pipeliner", "--check_job_completion")
    assert read_pipeline(root).input_edges()[-1] == (table, mine)
