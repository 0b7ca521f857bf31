from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import pytest

from core.errors import InputError
from core.tools.command import Command
from core.tools.table import Tool, ToolTable
from core.tools.wrapper import HIDDEN, PASSED, wrap


def run(tool: Tool, command: Command, project: Path, **more: object) -> tuple[str, ...]:
    return wrap(command, ToolTable({"warp": tool}), project=project, **more)  # type: ignore[arg-type]


def binds(argv: tuple[str, ...]) -> list[str]:
    return [argv[index + 1] for index, part in enumerate(argv) if part == "--bind"]


def test_a_tool_that_is_not_configured(tmp_path: Path) -> None:
    command = Command("imod", ("newstack",), "/p")
    with pytest.raises(InputError, match=r"tools\.imod in conf\.yaml"):
        wrap(command, ToolTable({}), project=tmp_path)
    with pytest.raises(InputError, match=r"tools\.imod\.path"):
        wrap(command, ToolTable({"imod": Tool("container")}), project=tmp_path)


def test_binaries_and_stand_ins(tmp_path: Path) -> None:
    command = Command("warp", ("WarpTools", "ts_ctf", "a b"), str(tmp_path))
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("WarpTools", "AreTomo3"):
        (folder / name).touch()
    assert run(Tool("binary", str(folder)), command, tmp_path) == (f"{folder}/WarpTools", "ts_ctf", "a b")
    assert run(Tool("binary", str(folder / "WarpTools")), command, tmp_path)[0] == f"{folder}/WarpTools"
    assert run(Tool("binary", str(folder / "AreTomo3")), command, tmp_path)[0] == f"{folder}/WarpTools"
    assert run(Tool("binary", "/only/on/the/nodes"), command, tmp_path)[0] == "/only/on/the/nodes/WarpTools"
    assert run(Tool("binary"), command, tmp_path) == command.argv
    standin = Tool("standin", prefix=("python3", "/s/warptools.py"), env=(("SPEED", "1"),))
    assert run(standin, command, tmp_path) == ("env", "SPEED=1", "python3", "/s/warptools.py", *command.argv)
    assert wrap(Command("host", ("awk", "1"), "/"), ToolTable({}), project=tmp_path) == ("awk", "1")


def test_modules_are_loaded_without_losing_an_argument(tmp_path: Path) -> None:
    argv = run(
        Tool("binary", modules=("cuda/12", "warp")), Command("warp", ("printf", "%s|", "a b", "$(x)"), "/"), tmp_path
    )
    (tmp_path / "profile").write_text("module() { printf '<%s %s>' \"$@\"; }; export -f module\n")
    text = f'. {tmp_path}/profile; exec bash -c "${{@:3:1}}" "${{@:4}}"'
    result = subprocess.run(["bash", "-c", text, "x", *argv], capture_output=True, text=True)
    assert result.stdout == "<load cuda/12><load warp>a b|$(x)|"


def test_a_container_sees_what_the_call_needs_and_no_more(tmp_path: Path) -> None:
    project, raw, far = tmp_path / "project", tmp_path / "raw", tmp_path / "far"
    for folder in (project / "frames", raw, far):
        folder.mkdir(parents=True)
    (far / "gain.mrc").touch()
    (raw / "gain.mrc").symlink_to(far / "gain.mrc")
    (project / "gain.mrc").symlink_to("../raw/gain.mrc")
    (project / "etc").symlink_to("/etc/hostname")
    argv = ("WarpTools", "ts_ctf", "--gain=gain.mrc", "--x", f"{project}/gain.mrc", f"{project}/etc", "--n", "1/2")
    command = Command("warp", argv, str(project), (("A", "1,2=3"), ("B", "1,2")), (str(project / "frames"),), gpu=True)
    wrapped = run(Tool("container", "/images/warp.sif", binds=("/scratch",)), command, project, data=("/data/raw",))
    assert wrapped[-len(argv) - 1 :] == ("/images/warp.sif", *argv)
    start = wrapped.index("exec")
    assert wrapped[start - 1 : start + 6] == (
        "apptainer",
        "exec",
        "--nv",
        "--cleanenv",
        "--no-home",
        "--pwd",
        str(project),
    )
    expected = {str(project), str(raw), str(far), "/data/raw", "/scratch", "/etc/hostname"}
    assert set(binds(wrapped)) == expected
    values = [wrapped[index + 1] for index, part in enumerate(wrapped) if part == "--env"]
    assert next(csv.reader([values[0]])) == ["A=1,2=3"] and values[1] == "B=1,2"
    assert "--nv" not in run(Tool("container", "/i.sif"), command, project, gpu=False)
    assert run(Tool("container", "/i.sif"), command, project, runtime="singularity")[4] == "singularity"


def test_a_folder_that_cannot_be_bound(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be shown to a container"):
        run(Tool("container", "/i.sif"), Command("warp", ("x",), "/a,b"), tmp_path)


def test_the_prelude_hides_and_passes_on_what_the_tables_say(tmp_path: Path) -> None:
    """With a stand-in for the runtime that prints its environment."""
    (tmp_path / "apptainer").write_text('#!/bin/bash\nenv -0\nprintf "ARG %s\\0" "$@"\n')
    (tmp_path / "apptainer").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "KEPT": "1"}
    for rule in HIDDEN:
        for name in rule.names:
            environment[name.replace("*", "X")] = "hidden"
    for rule in PASSED:
        for name in rule.names:
            environment[name] = f"a 'b' $c {name}"
    environment["TMPDIR"] = str(tmp_path)
    argv = run(Tool("container", "/i.sif"), Command("warp", ("WarpTools", "a b", "$(x)"), str(tmp_path)), tmp_path)
    output = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout.split("\0")
    values = dict(line.partition("=")[::2] for line in output if not line.startswith("ARG "))
    assert "hidden" not in values.values()
    for rule in PASSED:
        for name in rule.names:
            assert values[f"APPTAINERENV_{name}"] == environment[name]
    assert values["APPTAINER_BIND"] == str(tmp_path) and values["KEPT"] == "1"
    assert [line for line in output if line.startswith("ARG ")][-2:] == ["ARG a b", "ARG $(x)"]
    assert all(rule.reason for rule in (*HIDDEN, *PASSED))
