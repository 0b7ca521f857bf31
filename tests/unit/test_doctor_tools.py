"""What doctor says of tools, their options, containers and what job types ask of Slurm."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.checks import containers, slurm, tools
from core.checks.findings import Finding
from core.checks.option_help import HELPS, difference
from core.checks.settings import shipped
from core.checks.surroundings import Screen, Surroundings
from core.dataset.model import Sourced
from core.project.file import load
from core.project.resources import ResourceValue
from core.project.site import Tool
from core.standins.install import install
from core.tools.catalogue import Catalogue
from tests.synthetic import DATA, make_project


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "no.conf"))


COMMANDS = ("create_settings", "fs_motion_and_ctf", "ts_ctf", "ts_export_particles")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program's data with a catalogue of only a few commands, each of which is a process."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "catalogues").mkdir()
    catalogue = json.loads((DATA / "catalogues" / "warptools.json").read_text())
    catalogue["commands"] = {name: catalogue["commands"][name] for name in COMMANDS}
    (folder / "catalogues" / "warptools.json").write_text(json.dumps(catalogue))
    return folder


def around(known: dict[str, Tool], *, data: Path = DATA, warp: str = "head") -> Surroundings:
    site = replace(shipped(DATA), tools=known, warp_version=warp)  # type: ignore[arg-type]
    return Surroundings(data, DATA, Screen(False, 0, 0, ""), site)


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def warp(tmp_path: Path) -> Path:
    """A folder with a WarpTools, which is the stand-in, and an aligner."""
    folder = tmp_path / "Warp Tools"
    folder.mkdir()
    install(folder / "standin", DATA / "catalogues")
    standin = folder / "standin" / "warptools.py"
    program(folder, "WarpTools", f'exec {sys.executable} "{standin}" WarpTools "$@" 2> /dev/null')
    program(folder, "AreTomo2", "echo AreTomo2")
    return folder


def look(surroundings: Surroundings, name: str) -> list[Finding]:
    (check,) = (one for one in tools.checks(surroundings) if one.name == name)
    return list(check.look())


def test_warptools_is_run_and_every_command_s_help_is_compared(
    warp: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{warp}:{os.environ['PATH']}")
    found = look(around({"warp": Tool(binary=True, path=str(warp))}, data=few), "warp")
    assert [(one.name, one.state) for one in found] == [
        ("warp", "ok"),
        ("warp aligners", "ok"),
        ("warp options", "ok"),
    ]
    assert found[2].found == "4 of 4 commands compared with our catalogue"
    assert list((Path(os.environ["HOME"]) / ".cache" / "crboost").iterdir()) == []


def test_the_wrong_version_of_warptools_is_failed(warp: Path, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRBOOST_STANDIN_VERSION", "dev39")
    known = {"warp": Tool(binary=True, path=str(warp))}
    first, *_ = look(around(known, data=few), "warp")
    assert first.state == "failed" and "warp: {version: dev39}" in first.advice
    first, *rest = look(around(known, data=few, warp="dev39"), "warp")
    assert first.state == "ok" and rest[-1].state == "ok"


def test_the_aligner_that_a_project_needs_must_be_there(warp: Path, few: Path, tmp_path: Path) -> None:
    align = {"id": "align", "type": "aligntiltsWarp", "parameters": {"method": "AreTomo3"}}
    root = make_project(tmp_path / "p", 1, pipeline=[align])
    here = around({"warp": Tool(binary=True, path=str(warp))}, data=few)
    found = look(replace(here, root=root, project=load(root).model), "warp")[1]
    assert found.state == "failed" and "AreTomo3" in found.found


@pytest.mark.parametrize(
    ("command", "option", "state"),
    [("fs_motion_and_ctf", "--out_average_halves", "failed"), ("ts_export_particles", "--2d", "warning")],
)
def test_options_that_a_tool_lost_are_failed_where_job_types_write_them_and_warned_of_elsewhere(
    warp: Path, few: Path, command: str, option: str, state: str
) -> None:
    real = warp / "standin" / "warptools.json"
    real.write_text(real.read_text().replace(f'"long": "{option}"', f'"long": "{option}_no_more"'))
    found = look(around({"warp": Tool(binary=True, path=str(warp))}, data=few), "warp")[-1]
    assert found.state == state and f"{command} {option}" in found.found


def test_warptools_own_layout_of_help_is_read() -> None:
    text = (
        "Version 2.0.0\n\nShowing all available options for command create_settings:\n\n"
        "-------------------------Data import-------------------------\n\n"
        "-o, --output           REQUIRED Path to the file, see --folder_data for\n"
        "                       --not_an_option and what follows\n\n"
        "--folder_data          REQUIRED Default: x. Folder\n\n--2d     Flag\n\n--help    x\n"
    )
    how = HELPS["warp"]
    assert how.options(text) == {"--output", "--folder_data", "--2d"}
    command = Catalogue.load(DATA / "catalogues" / "warptools.json").commands["create_settings"]
    one = difference(how, command, "head", text)
    assert one is not None and one.new == ("--2d",)
    assert "--angpix" in one.missing and "--output" not in one.missing
    assert difference(how, command, "head", "Unhandled exception.") is None


def test_relion_s_layout_of_help_is_read() -> None:
    text = (
        "+++ RELION: command line arguments (with defaults for optional ones between parentheses) +++\n"
        "====== General options ===== \n"
        "                                --i : STAR file with --all input\n"
        "                   --o (MotionCorr) : Name for the output directory\n"
        "                             --t () : Tomogram set\n"
        "                          --version : Print RELION version and exit\n"
    )
    assert HELPS["relion"].options(text) == {"--i", "--o", "--t"}


def test_a_tool_that_is_not_there_or_does_not_run(tmp_path: Path) -> None:
    program(tmp_path, "relion_refine", "echo 'libcuda.so: cannot open shared object file' >&2; exit 127")
    known = {
        "imod": Tool(binary=True, path=str(tmp_path / "gone")),
        "relion": Tool(binary=True, path=str(tmp_path)),
        "cryocare": Tool(binary=True, path=str(tmp_path)),
        "pytom": Tool(container=True, path=str(tmp_path / "pytom.sif")),
    }
    for name in known:
        (found,) = look(around(known), name)
        assert found.state == "failed" and f"tools.{name}" in found.advice, found
    assert "libcuda.so" in look(around(known), "relion")[0].found


def test_a_warptools_that_is_something_else_is_failed(tmp_path: Path) -> None:
    program(tmp_path, "WarpTools", "echo 'You must install .NET to run this application.'")
    (found,) = look(around({"warp": Tool(binary=True, path=str(tmp_path))}), "warp")
    assert found.state == "failed" and "install .NET" in found.found


def test_a_tool_that_tells_its_version_is_fine_whatever_its_exit_code(tmp_path: Path) -> None:
    program(tmp_path, "batchruntomo", "echo 'Usage: batchruntomo, IMOD Version 4.12.62'; exit 1")
    (found,) = look(around({"imod": Tool(binary=True, path=str(tmp_path))}), "imod")
    assert (found.state, found.found) == ("ok", "binary, batchruntomo runs, version 4.12.62")


def test_several_versions_of_one_tool_are_tried_each(tmp_path: Path) -> None:
    program(tmp_path, "pytom_match_template.py", "echo usage: pytom_match_template.py")
    (found,) = look(around({"pytom_0.10": Tool(binary=True, path=str(tmp_path))}), "pytom_0.10")
    assert found.state == "ok" and "does not tell its version" in found.found


def test_job_types_that_lack_a_tool_are_named(tmp_path: Path) -> None:
    found = list(tools.missing_tools(around({})))
    assert found[0].state == "warning" and "warp" in found[0].found and "aligntiltsWarp" in found[0].found
    root = make_project(tmp_path / "p", 1, pipeline=[{"id": "importmovies", "type": "importmovies"}])
    (found_of_project,) = tools.missing_tools(replace(around({}), root=root, project=load(root).model))
    assert found_of_project.state == "ok"
    root = make_project(tmp_path / "q", 1)
    (found_of_project,) = tools.missing_tools(replace(around({}), root=root, project=load(root).model))
    assert found_of_project.state == "failed" and "tools.warp" in found_of_project.advice


# Containers


def test_user_namespaces_are_told_from_the_kernel_s_files(tmp_path: Path) -> None:
    clone, most, armour = (
        tmp_path / "unprivileged_userns_clone",
        tmp_path / "max_user_namespaces",
        tmp_path / "apparmor",
    )
    most.write_text("0\n")
    assert containers.namespaces((clone, most, armour), False).state == "failed"
    assert containers.namespaces((clone, most, armour), True).state == "ok"
    most.write_text("1000\n")
    clone.write_text("0\n")
    found = containers.namespaces((clone, most, armour), False)
    assert found.state == "failed" and "unprivileged_userns_clone is 0" in found.found


def test_containers_without_a_runtime_are_failed_where_tasks_run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = containers.runtime(around({"relion": Tool(container=True, path="/x.sif")}))
    assert found.state == "failed" and "relion" in found.found
    (found,) = containers.runtime(around({}))
    assert found.state == "ok"


# Slurm

SINFO = """\
cpu*|16|64000|(null)|2-00:00:00|idle|4|avx2
gpu|32|256000|gpu:a100:4(S:0-1)|1-00:00:00|mixed|2|avx2,a100
gpu|32|128000|gpu:v100:2|1-00:00:00|drained|1|v100
short|8|16000|gpu:1,lscratch:500|30:00|idle~|1|(null)
"""


def asked(**values: ResourceValue) -> dict[str, Sourced[ResourceValue]]:
    return {name: Sourced(value, "you") for name, value in values.items()}


def test_nodes_are_read_from_sinfo() -> None:
    cpu, gpu, _, short = slurm.parse_nodes(SINFO + "garbage\n")
    assert (cpu.partition, cpu.default, cpu.cpus, cpu.memory_mb, cpu.minutes) == ("cpu", True, 16, 64000, 2880.0)
    assert (gpu.gres, gpu.usable, "a100" in gpu.features) == ("gpu:a100:4(S:0-1)", True, True)
    assert short.minutes == 30.0


@pytest.mark.parametrize(
    ("gres", "part", "can"),
    [
        ("gpu:a100:4(S:0-1)", "gpu:4", True),
        ("gpu:a100:4(S:0-1)", "gpu:a100:5", False),
        ("gpu:a100:2,gpu:v100:2", "gpu:3", True),
        ("gpu:a100:2,gpu:v100:2", "gpu:v100:3", False),
        ("gpu:a100:2", "gres/gpu:a100", True),
        ("(null)", "gpu:1", False),
        ("gpu:1,lscratch:500G", "lscratch:100G", True),
        ("gpu:1", "lscratch:100", False),
    ],
)
def test_what_nodes_give_is_compared_with_what_is_asked(gres: str, part: str, can: bool) -> None:
    assert slurm.gives(gres, part) is can


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"cpus": 4, "memory_gb": 60}, ""),
        ({"gres": "gpu:1"}, "no node of cpu has gpu:1 (they have (null))"),
        ({"partition": "gpu", "gres": "gpu:4", "cpus": 8, "memory_gb": 200, "minutes": 1440}, ""),
        ({"partition": "gpu", "gres": "gpu:8"}, "no node of gpu has gpu:8 (they have gpu:a100:4(S:0-1), gpu:v100:2)"),
        ({"partition": "gpu", "gres": "gpu:v100:2", "memory_gb": 200}, "no node of gpu gives 200 GB (125 at most)"),
        ({"partition": "gpu", "gres": "gpu:v100:1"}, "every such node of gpu is down or drained at the moment"),
        ({"partition": "cpu", "tasks": 5, "cpus": 4}, "no node of cpu gives 20 CPUs (16 at most)"),
        ({"partition": "short", "minutes": 31}, "no node of short gives 31 minutes (30 at most)"),
        ({"partition": "gpu", "constraint": "h100"}, "no such node of gpu has the feature h100"),
        ({"partition": "short,gpu", "gres": "gpu:4"}, ""),
        ({"partition": "nowhere"}, ""),
    ],
)
def test_what_no_node_can_give_is_one_sentence(values: dict[str, ResourceValue], problem: str) -> None:
    assert slurm.unfit(asked(**values), slurm.parse_nodes(SINFO), "cpu") == problem


def test_every_image_is_tried_and_a_bad_one_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path, "apptainer", 'case $* in *bad.sif*) echo broken >&2; exit 255 ;; esac; touch "${@: -1}"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    images = {"warp": "bad.sif", "relion": "good.sif", "imod": "good.sif"}
    known = {}
    for name, image in images.items():
        (tmp_path / image).touch()
        known[name] = Tool(container=True, path=str(tmp_path / image))
    bad, good = containers.bind_and_write(around(known))
    assert (bad.state, good.state) == ("failed", "ok")
    assert bad.found.startswith("warp: ") and "broken" in bad.found
    assert bad.advice == f"Try it by hand: apptainer exec {tmp_path / 'bad.sif'} true"
    assert "inside relion, imod into" in good.found


def test_ranks_that_nothing_here_can_start_are_not_said_to_be_fine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path, "relion_refine", "echo RELION version: 5.0.1")
    monkeypatch.setattr("shutil.which", lambda name: None)
    here = around({"relion": Tool(binary=True, path=str(tmp_path))})
    ranks = [one for one in tools._tool(here, "relion") if one.name == "relion MPI"]
    assert [one.state for one in ranks] == ["warning"] and "not tried" in ranks[0].found


@pytest.mark.parametrize(
    ("text", "state", "said"),
    [
        ("rank 1\nrank 0\nended 0\n", "ok", "two ranks started on n1"),
        ("rank ?\nrank ?\nended 0\n", "warning", "do not know their number"),
        ("rank 0\nended 0\n", "warning", "1 of them began"),
        ("tasks.sh: line 4: mpirun: command not found\nended 127\n", "failed", "code 127: tasks.sh: line 4: mpirun:"),
        ("", "failed", "could not be started"),
    ],
)
def test_what_came_of_two_ranks_on_a_node_is_one_line(text: str, state: str, said: str) -> None:
    found = slurm._two_ranks(around({}), text, "n1")
    assert found.state == state and said in found.found


def test_without_slurm_there_is_one_line_about_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    here = around({})
    assert [finding.state for finding in slurm.answers(here)] == ["ok"]
    for check in (slurm.facts, slurm.requests, slurm.template, slurm.round_trip):
        assert list(check(here)) == []
    forced = replace(here, site=replace(here.site, submitter="slurm"))
    assert [finding.state for finding in slurm.answers(forced)] == ["failed"]
