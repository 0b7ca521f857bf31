"""The wrapper through the real Apptainer: hostile names, what is seen and what survives, ranks, a whole pipeline."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.cluster.protocol import AttemptPaths, read_state
from core.cluster.script import Attempt, render
from core.engine.states import TaskState
from core.formats.sif import read_image
from core.jobs._task import Link, MakeFolder, Product, Work
from core.project.layout import ProjectPaths
from core.tools.command import Command
from core.tools.environment import HIDDEN, PASSED
from core.tools.table import Tool, ToolTable
from core.tools.wrapper import folders_of, launched, wrap
from tests.real.cluster import PrivateCluster
from tests.rehearsed import CONF, rehearsal, run_to_end, states

HOSTILE = (
    "a b",
    "$(touch evil)",
    "`touch evil`",
    "'; touch evil; '",
    'double "quotes"',
    "two\nlines",
    "--option",
    "--",
    "a,b",
    "a:b:c",
    "back\\slash \\: \\,",
    "*",
    "${HOME}",
    "é µ",
    " ",
)

# Prints its arguments, the environment and what it finds of its arguments as files, as JSON.
SHOW = (
    "import json, os, sys; a = sys.argv[1:];"
    "print(json.dumps([a, dict(os.environ), [path for path in a if os.path.exists(path)]]))"
)


def show(image: Path, project: Path, *arguments: str, tool: dict[str, Any] | None = None, **more: Any) -> list[Any]:
    """What a program in the container sees. ``more``: fields of the Command, ``data``, and the ``environment``."""
    data, environment = more.pop("data", ()), more.pop("environment", {})
    command = Command("any", ("python3", "-c", SHOW, *arguments), str(project), **more)
    argv = wrap(command, ToolTable({"any": Tool("container", str(image), **(tool or {}))}), project=project, data=data)
    ended = subprocess.run(
        argv, env={**os.environ, **environment}, cwd=project, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found: list[Any] = json.loads(ended.stdout)
    return found


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that no container sees by itself, as it sees /tmp."""
    with tempfile.TemporaryDirectory(dir=pwd.getpwuid(os.getuid()).pw_dir) as folder:
        if any(Path(folder).is_relative_to(seen) for seen in ("/tmp", "/var/tmp")):
            pytest.skip("the home folder lies below /tmp, which every container sees")
        yield Path(folder)


def test_hostile_arguments_and_values_arrive_as_they_are_and_are_not_executed(image: Path, tmp_path: Path) -> None:
    values = tuple((f"V{number}", value) for number, value in enumerate(HOSTILE))
    site = tuple((f"S{number}", value) for number, value in enumerate(HOSTILE))
    around = {"CUDA_VISIBLE_DEVICES": "$(touch evil)", "TZ": "a,b=c\n`touch evil`"}
    arguments, environment, _ = show(image, tmp_path, *HOSTILE, env=values, tool={"env": site}, environment=around)
    assert tuple(arguments) == HOSTILE
    assert {name: environment[name] for name, _ in (*values, *site)} == dict((*values, *site))
    assert {name: environment[name] for name in around} == around
    assert not (tmp_path / "evil").exists()


def test_folders_with_hostile_names_are_seen_and_raw_data_cannot_be_written_to(image: Path, elsewhere: Path) -> None:
    project = elsewhere / "$(touch evil), 'project'\nof: two \"lines\" --nv"
    project.mkdir()
    files = [elsewhere / "raw" / name / name for name in HOSTILE]
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True)
        file.write_text("raw\n")
        (project / str(number)).symlink_to(file)
    data = folders_of(map(str, files))
    links = [str(number) for number in range(len(files))]
    _, _, seen = show(image, project, *links, *map(str, files), data=data)
    assert seen == [*links, *map(str, files)]
    _, _, seen = show(image, project, *links)  # the links alone tell what they need
    assert seen == links
    write = Command("any", ("sh", "-c", 'echo x > mine; for f; do echo x >> "$f"; done', "sh", *links), str(project))
    table = ToolTable({"any": Tool("container", str(image))})
    subprocess.run(wrap(write, table, project=project, data=data), cwd=project, capture_output=True, check=False)
    assert (project / "mine").read_text() == "x\n"
    assert all(file.read_text() == "raw\n" for file in files)
    assert sorted(path.name for path in elsewhere.iterdir()) == sorted(["raw", project.name])
    assert not (project / "evil").exists()


def test_only_what_a_link_names_is_seen_outside_the_project(image: Path, elsewhere: Path) -> None:
    project, far, private = elsewhere / "project", elsewhere / "far", elsewhere / "private"
    for folder in (project, far, private):
        folder.mkdir()
        (folder / "file").touch()
    (project / "External").symlink_to("../far")
    (project / "passwd").symlink_to("/etc/passwd")
    argument = "External/new/product.mrc"
    _, _, seen = show(image, project, argument, "External/file", "passwd", f"{private}/../private/none")
    assert seen == ["External/file", "passwd"]
    make = Command("any", ("sh", "-c", 'mkdir External/new; echo x > "$1"', "sh", argument), str(project))
    argv = wrap(make, ToolTable({"any": Tool("container", str(image))}), project=project)
    assert subprocess.run(argv, cwd=project, check=False).returncode == 0
    assert (far / "new" / "product.mrc").read_text() == "x\n"
    script = f"ls {private} {private}/file ../private; echo x > /etc/passwd"
    before = Path("/etc/passwd").read_text()
    argv = wrap(
        Command("any", ("sh", "-c", script), str(project)),
        ToolTable({"any": Tool("container", str(image))}),
        project=project,
    )
    ended = subprocess.run(argv, cwd=project, capture_output=True, text=True, check=False)
    assert ended.stdout == "" and ended.stderr.count("No such file") == 3
    assert Path("/etc/passwd").read_text() == before


def test_the_environment_is_clean_but_for_what_the_tables_let_through(image: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch of, mine").mkdir()
    around = {"STRAY": "1", "TMPDIR": str(tmp_path / "scratch of, mine"), "SCRATCH": "/not/there"}
    hidden = [name.replace("*", "X") for rule in HIDDEN if "none" in rule.mpi for name in rule.names]
    around |= dict.fromkeys(hidden, "/hidden")
    passed = [name for rule in PASSED if "none" in rule.mpi for name in rule.names]
    around |= dict.fromkeys(passed, "1,2")
    _, environment, seen = show(image, tmp_path, around["TMPDIR"], environment=around)
    assert not {"STRAY", "SCRATCH", *hidden}.intersection(environment) - {"LD_LIBRARY_PATH"}
    assert "/hidden" not in environment.values()
    assert {name: environment[name] for name in passed} == dict.fromkeys(passed, "1,2")
    assert environment["TMPDIR"] == around["TMPDIR"] and seen == [around["TMPDIR"]]
    assert environment["CUDA_CACHE_PATH"] == f"{tmp_path}/.crboost/cache/cuda"


def test_a_task_script_with_hostile_names_does_its_work_in_a_container(image: Path, tmp_path: Path) -> None:
    project = tmp_path / 'it\'s $(touch evil): a "project", --really'
    folder = project / "External" / "job001"
    raw = tmp_path / "raw ;&|"
    for one in (folder, raw, project / ".crboost" / "inbox"):
        one.mkdir(parents=True)
    (raw / "movie $(touch evil).mrc").write_text("movie\n")
    staged, product = str(folder / "staged $(touch evil)" / "in put"), str(folder / "--product `touch evil`")
    work = Work(
        stage=(MakeFolder(str(folder / "staged $(touch evil)")), Link(staged, str(raw / "movie $(touch evil).mrc"))),
        commands=(
            Command(
                "any",
                ("sh", "-c", 'cat "$1" > "$2"; echo "$3" >> "$2"', "sh", staged, product, "$(touch evil)\n'"),
                str(project),
            ),
        ),
        products=(Product((product,)),),
    )
    paths = AttemptPaths(folder, "Position_1", 1)
    paths.folder.mkdir(parents=True)
    table = ToolTable({"any": Tool("container", str(image))})
    text = render(
        work,
        Attempt(paths=paths, instance="x", project=project, inbox=project / ".crboost" / "inbox", visible_seconds=1),
        lambda command: wrap(command, table, project=project, data=folders_of([str(raw)])),
    )
    paths.script.write_text(text)
    subprocess.run(["bash", str(paths.script)], check=False, env={**os.environ, "CRBOOST_JOB_ID": "1"}, cwd=tmp_path)
    state = read_state(paths.state)
    assert state is not None and state.state == "done", (state, paths.err.read_text())
    assert Path(product).read_text() == "movie\n$(touch evil)\n'\n"
    assert not list(tmp_path.rglob("evil"))


def test_the_mpirun_of_the_image_starts_ranks_that_are_not_tied_to_one_core(image: Path, tmp_path: Path) -> None:
    table = ToolTable({"any": Tool("container", str(image), mpi="inside")})
    says = 'echo "rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE on $(nproc) cores" > said.$OMPI_COMM_WORLD_RANK'
    ranks = 2 * (os.cpu_count() or 1)  # more than Open MPI would start by itself
    command = launched(Command("any", ("sh", "-c", says), str(tmp_path), mpi=True), table, ranks)
    around = {"SLURM_JOB_ID": "1", "SLURM_JOBID": "1", "SLURM_NODELIST": "other", "SLURM_NTASKS": "1", "PMI_RANK": "0"}
    argv = wrap(command, table, project=tmp_path)
    ended = subprocess.run(
        argv, env={**os.environ, **around}, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    cores = len(os.sched_getaffinity(0))
    said = sorted(path.read_text() for path in tmp_path.glob("said.*"))
    assert said == sorted(f"rank {rank} of {ranks} on {cores} cores\n" for rank in range(ranks))


def test_the_programs_of_relion_find_each_other_in_two_ranks(image: Path, tmp_path: Path) -> None:
    table = ToolTable({"relion": Tool("container", str(image), mpi="inside")})
    program = ("relion_refine_mpi", "--i", "none.star", "--o", "x")
    command = launched(Command("relion", program, str(tmp_path), mpi=True), table, 2)
    argv = wrap(command, table, project=tmp_path)
    ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "Number of MPI processes                 = 2" in ended.stdout, ended.stdout + ended.stderr


def test_slurm_starts_a_container_for_each_rank(cluster: PrivateCluster, image: Path, tmp_path: Path) -> None:
    table = ToolTable({"any": Tool("container", str(image), mpi="outside")})
    says = 'echo "$SLURM_PROCID of $SLURM_NTASKS, $PMI_RANK of $PMI_SIZE"'
    command = launched(Command("any", ("sh", "-c", says), str(tmp_path), mpi=True), table, 3)
    argv = wrap(command, table, project=tmp_path)
    said = cluster.run("srun", "--mpi=pmi2", "-N2", "-n3", *argv, cwd=tmp_path)
    assert sorted(said.splitlines()) == [f"{rank} of 3, {rank} of 3" for rank in range(3)]


def test_labels_of_an_image_are_what_apptainer_says(image: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "file").touch()
    definition = f"Bootstrap: localimage\nFrom: {tmp_path}/empty\n\n%labels\n    version 1.2.3\n    b two words\n"
    (tmp_path / "x.def").write_text(definition)
    built = subprocess.run(
        ["apptainer", "--quiet", "build", "x.sif", "x.def"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    said = subprocess.run(["apptainer", "inspect", "--json", "--labels", "x.sif"], cwd=tmp_path, capture_output=True)
    assert read_image(tmp_path / "x.sif").labels == json.loads(said.stdout)["data"]["attributes"]["labels"]
    assert read_image(tmp_path / "x.sif").labels["version"] == "1.2.3"


def test_the_whole_warp_pipeline_runs_in_containers(image: Path, tmp_path: Path) -> None:
    """The stand-ins as programs in the image: their folder is one of the tool's binds, and on its PATH."""
    root = rehearsal(tmp_path, series=2, pieces={"rehearsal": False})
    programs = tmp_path / "programs"
    programs.mkdir()
    standin = ProjectPaths(root).state / "standins" / "warptools.py"
    (programs / "WarpTools").write_text(f'#!/bin/sh\nexec python3 "{standin}" WarpTools "$@"\n')
    (programs / "WarpTools").chmod(0o755)
    tool = f"{{container: true, path: {image}, binds: [{programs}], env: {{PREPEND_PATH: {programs}}}}}"
    (ProjectPaths(root).state / "conf.yaml").write_text(f"{CONF}tools: {{warp: {tool}}}\n")
    status = run_to_end(root, seconds=240)
    done = TaskState.DONE.value
    assert set("".join(states(status).values())) == {done}, [(job.id, job.causes) for job in status.jobs]
    scripts = list(root.glob("External/job*/tasks/*/1.sh"))
    assert scripts and all(str(image) in script.read_text() for script in scripts if "WarpTools" in script.read_text())
    (entry,) = json.loads((root / status.job("tsCtf").folder / "tools.json").read_text())["tools"]
    assert entry["tool"] == "warp" and entry["file"] == str(image)


def without_python(image: Path, folder: Path) -> Path:
    """A small image as a folder, with a shell and ``ls``."""
    programs = [image / "usr/bin/dash", image / "usr/bin/ls"]
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    names = {Path(word).name for word in said.split() if ".so" in word}
    libraries = [path for name in names for path in image.glob(f"usr/lib*/**/{name}")]
    for file in (*programs, *libraries):
        (folder / file.relative_to(image)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, folder / file.relative_to(image))
    (folder / "usr/bin/sh").symlink_to("dash")
    for name in ("bin", "lib", "lib64"):
        (folder / name).symlink_to(f"usr/{name}")
    return folder


@pytest.mark.parametrize("python", [True, False])
def test_a_rehearsal_goes_through_the_containers_of_the_site(image: Path, tmp_path: Path, python: bool) -> None:
    root = rehearsal(tmp_path, series=1)
    shown = image if python else without_python(image, tmp_path / "small")
    tool = f"{{container: true, path: {shown}, binds: [/not/here]}}"
    (ProjectPaths(root).state / "conf.yaml").write_text(f"{CONF}tools: {{warp: {tool}}}\n")
    status = run_to_end(root, seconds=240)
    assert set("".join(states(status).values())) == {TaskState.DONE.value}, [
        (job.id, job.causes) for job in status.jobs
    ]
    said = [path.read_text() for path in root.glob("External/job*/tasks/*/1.err")]
    assert any("/not/here is not on" in text for text in said)


def test_a_rehearsal_finds_an_image_that_is_not_there(image: Path, tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=1)
    tool = f"{{container: true, path: {tmp_path}/none.sif}}"
    (ProjectPaths(root).state / "conf.yaml").write_text(f"{CONF}tools: {{warp: {tool}}}\n")
    status = run_to_end(root, seconds=240)
    job = status.job("fsMotionAndCtf")
    assert job.states == [TaskState.FAILED.value]
    assert "none.sif" in next(root.glob("External/job*/tasks/*/1.err")).read_text()
