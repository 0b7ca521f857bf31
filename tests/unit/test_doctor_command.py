"""``crboost doctor`` and ``crboost config init`` as a person or a script uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.checks.findings import Finding
from core.project.site import load_site
from crboost_tui import data
from crboost_tui.cli.doctor import lines
from crboost_tui.main import main
from crboost_tui.terminal import Terminal, cell_width
from tests.synthetic import DATA, make_project

REPOSITORY = Path(__file__).resolve().parents[2]

SINFO = """\
cpu*|16|64000|(null)|2-00:00:00|idle|4|(null)
gpu|32|48000|gpu:a100:4(S:0-1)|12:00:00|mixed|2|(null)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user of a host without Slurm, containers and tools."""
    (tmp_path / "home").mkdir()
    (tmp_path / "bin").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "CRBOOST_", "SLURM"))}
    return {
        **kept,
        "HOME": str(tmp_path / "home"),
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONIOENCODING": "utf-8",
        "SLURM_CONF": str(tmp_path / "slurm.conf"),
        "COLUMNS": "80",
    }


def crboost(environment: dict[str, str], *arguments: str, cwd: Path = Path("/")) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "crboost_tui.main", *arguments],
        env=environment, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", timeout=60,
        check=False,
    )  # fmt: skip


def program(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def test_json_has_every_group_and_the_same_fields_everywhere(environment: dict[str, str], tmp_path: Path) -> None:
    ended = crboost(environment, "doctor", "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert ended.stderr == ""
    found = json.loads(ended.stdout)
    assert {tuple(one) for one in found} == {("group", "name", "state", "found", "advice", "seconds")}
    groups = list(dict.fromkeys(one["group"] for one in found))
    assert groups == [
        "Python", "Settings", "Tools", "Containers", "Slurm", "Engine", "File systems", "Terminal"
    ]  # fmt: skip
    assert all(one["advice"] for one in found if one["state"] != "ok")


def test_something_failed_is_exit_code_1_and_a_project_is_looked_at(
    environment: dict[str, str], tmp_path: Path
) -> None:
    root = make_project(tmp_path / "p", 1)
    for arguments, cwd in (((str(root),), Path("/")), ((), root / ".crboost")):
        ended = crboost(environment, "doctor", *arguments, cwd=cwd)
        assert ended.returncode == 1
        assert "✗ failed  data" in ended.stdout and "crboost relink" in ended.stdout
        assert "✗ failed  job types" in ended.stdout
    assert list((root / ".crboost").glob("*doctor*")) == []


def test_what_is_no_project_is_wrong_use(environment: dict[str, str], tmp_path: Path) -> None:
    for name, said in ((str(tmp_path), "This is not a project"), (str(tmp_path / "gone"), "does not exist")):
        ended = crboost(environment, "doctor", name)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert said in ended.stderr


def test_a_wrong_file_of_settings_does_not_hide_the_rest(environment: dict[str, str], tmp_path: Path) -> None:
    conf = tmp_path / "home" / ".config" / "crboost" / "conf.yaml"
    conf.parent.mkdir(parents=True)
    conf.write_text("tols: {}\n")
    ended = crboost(environment, "doctor", "--json", cwd=tmp_path)
    assert ended.returncode == 1
    found = json.loads(ended.stdout)
    assert [one["name"] for one in found if one["state"] == "failed"] == ["your file"]
    assert "~/.config/crboost/conf.yaml, line 1, tols" in next(o["found"] for o in found if o["state"] == "failed")
    assert len({one["group"] for one in found}) == 8


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("utf8", [True, False])
def test_lines_fit_the_terminal_and_lose_no_word(width: int, utf8: bool) -> None:
    findings = [
        Finding("Python", "ok", "3.11.2", "", "Python", 0.1),
        Finding("a longer name", "failed", "word " * 60, "do this: " + "and that " * 40, "Slurm", 3.0),
        Finding("resources", "warning", "/a/path/that/is/so/long/that/it/would/not/fit" * 4, "x", "Slurm", 3.0),
    ]
    told = lines(findings, Terminal(utf8, False, width), 12.34)
    assert told[0] == "Python"
    assert told[1].startswith("  ✓ ok " if utf8 else "  + ok ")
    assert "Slurm" in told
    assert all(cell_width(line) <= width for line in told)
    words = " ".join(told).split()
    assert words.count("word") == 60 and words.count("that") == 40
    assert told[-1].endswith("12.3 s") and "1 warning" in told[-1] and "1 failed" in told[-1]


DEFINITION = """\
# RELION without a GPU.
# Takes: 5 minutes
Bootstrap: debootstrap

%help
    Build, as root:
      apptainer build --build-arg MIRROR=ADDRESS relion.sif relion.def
    Build, as anybody:
      apptainer build --build-arg FROM=FOLDER relion.sif \\
          relion.def
    conf.yaml: after apptainer built it

%labels
    apptainer build never.sif never.def
"""


def test_every_definition_file_says_how_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my checkout" / "container_defs"
    folder.mkdir(parents=True)
    monkeypatch.setattr(data, "config_dir", lambda: folder.parent / "config")
    assert main(["doctor", "--build"]) == 2
    assert "definition files are missing" in capsys.readouterr().err
    (folder / "relion.def").write_text(DEFINITION)
    (folder / "imod.def").write_text("Bootstrap: docker\n")
    (folder / "README.md").touch()
    assert main(["doctor", "--build", "--json"]) == 0
    imod, relion = json.loads(capsys.readouterr().out)
    assert imod["commands"] == [["", ["apptainer", "build", "imod.sif", str(folder / "imod.def")]]]
    assert relion["about"] == ["RELION without a GPU.", "Takes: 5 minutes"]
    assert main(["doctor", "--build"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"apptainer build imod.sif '{folder / 'imod.def'}'",
        "",
        "# RELION without a GPU.",
        "# Takes: 5 minutes",
        "# as root:",
        f"apptainer build --build-arg 'MIRROR=ADDRESS' relion.sif '{folder / 'relion.def'}'",
        "# as anybody:",
        f"apptainer build --build-arg 'FROM=FOLDER' relion.sif '{folder / 'relion.def'}'",
        "",
    ]


# crboost config init


def test_the_first_conf_names_what_is_there_and_loads(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "the images"
    images.mkdir()
    for name in (
        "relion5_tomo_5.0.sif",
        "relion5_tomo_5.1.sif",
        "relion_9_cpu.sif",
        "cryocare.sif",
        ".relion9.sif",
        "unknown.sif",
    ):
        (images / name).touch()
    program(tmp_path, "WarpTools", "echo '--task_dir   Folder'")
    program(tmp_path, "relion_refine", "echo RELION version: 5.0")
    conf = tmp_path / "home" / ".config" / "crboost" / "conf.yaml"
    ended = crboost(environment, "config", "init", "--images", str(images))
    assert ended.returncode == 0, ended.stderr
    assert str(conf) in ended.stderr and "image relion5_tomo_5.1.sif" in ended.stdout
    monkeypatch.setenv("CRBOOST_CONFIG", str(conf))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    site = load_site(None, DATA)
    assert site.tools["warp"].binary and site.tools["warp"].path == str(tmp_path / "bin")
    assert site.tools["relion"].container and site.tools["relion"].path == str(images / "relion5_tomo_5.1.sif")
    assert set(site.tools) == {"warp", "relion", "cryocare"}
    assert site.local.cpus == len(os.sched_getaffinity(0))
    assert (site.warp_version, site.resources) == ("head", {"nodes": 1, "tasks": 1})
    assert "also there: relion5_tomo_5.0.sif, relion_9_cpu.sif" in conf.read_text()


def test_the_first_conf_follows_slurm_s_partitions(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slurm.conf").touch()
    program(tmp_path, "sbatch", "exit 1")
    program(tmp_path, "sinfo", f"cat <<'END'\n{SINFO}END")
    program(tmp_path, "WarpTools", "echo 'Showing all available options'")
    conf = tmp_path / "lab" / "conf.yaml"
    ended = crboost(environment, "config", "init", "--to", str(conf))
    assert ended.returncode == 0, ended.stderr
    monkeypatch.setenv("CRBOOST_CONFIG", str(conf))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    site = load_site(None, DATA)
    assert site.resources["partition"] == "cpu"
    assert site.profiles["tsCtf"]["partition"] == "gpu" and "partition" not in site.profiles["tsImport"]
    assert (site.profiles["tsReconstruct"]["partition"], site.profiles["tsReconstruct"]["memory_gb"]) == ("gpu", 46)
    assert site.warp_version == "dev39"
    assert "Kinds of GPUs: a100" in conf.read_text()


def test_modules_that_bring_a_program_are_taken(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imod" / "bin").mkdir(parents=True)
    (tmp_path / "home" / ".bash_profile").write_text(
        "module() {\n"
        '    case $1 in\n    -t) printf "%s\\n" /modules: IMOD/4.11 IMOD/4.12 "IMOD/4.9(default)" relion/5.0 ;;\n'
        f'    load) [ "$2" != IMOD/4.9 ] || PATH={tmp_path}/imod/bin:$PATH ;;\n    esac\n}}\n'
    )
    program(tmp_path, "../imod/bin/batchruntomo", "exit 0")
    conf = tmp_path / "conf.yaml"
    ended = crboost(environment, "config", "init", "--to", str(conf))
    assert ended.returncode == 0, ended.stderr
    monkeypatch.setenv("CRBOOST_CONFIG", str(conf))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    site = load_site(None, DATA)
    assert set(site.tools) == {"imod"}
    assert site.tools["imod"].modules == ["IMOD/4.9"]


def test_an_existing_conf_is_kept_unless_it_is_forced(environment: dict[str, str], tmp_path: Path) -> None:
    conf = tmp_path / "conf.yaml"
    conf.write_text("retries: 1\n")
    ended = crboost(environment, "config", "init", "--to", str(conf))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--force" in ended.stderr and conf.read_text() == "retries: 1\n"
    assert crboost(environment, "config", "init", "--to", str(conf), "--force").returncode == 0
    assert "local:" in conf.read_text()
    ended = crboost(environment, "config", "init", "--to", str(tmp_path / "x"), "--images", str(tmp_path / "gone"))
    assert ended.returncode == 2 and "is no folder" in ended.stderr
    assert crboost(environment, "config", "--force").returncode == 2
