from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import InputError
from core.tools.command import Command
from core.tools.environment import GIVEN, HIDDEN, PASSED, SCRATCH
from core.tools.table import Tool, ToolTable
from core.tools.wrapper import folders_of, launched, prelude, wrap

HOSTILE = ("a b", "$(touch x)", 'it\'s "q"', "`id`; |&", "two\nlines", "--option", "a,b", "a:b", "back\\slash", "é")


def run(tool: Tool, command: Command, project: Path, **more: object) -> tuple[str, ...]:
    return wrap(command, ToolTable({"warp": tool}), project=project, **more)  # type: ignore[arg-type]


def words(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the prelude."""
    assert argv[:2] == ("bash", "-c") and argv[3] == "crboost"
    return argv[4 : argv.index("--")]


def binds(argv: tuple[str, ...]) -> list[str]:
    return [word for word in words(argv) if word.partition(":")[0] in ("rw", "ro", "try")]


class Runtime:
    """A stand-in for the runtime that tells its arguments and its environment."""

    def __init__(self, folder: Path, name: str = "apptainer") -> None:
        folder.mkdir()
        program = folder / name
        program.write_text('#!/bin/bash\nprintf "ARG %s\\0" "$@"\nenv -0\n')
        program.chmod(0o755)
        self.path = f"{folder}:/usr/bin:/bin"
        self.arguments: list[str] = []
        self.environment: dict[str, str] = {}
        self.said = ""

    def call(self, argv: tuple[str, ...], **environment: str) -> int:
        done = subprocess.run(argv, env={"PATH": self.path, **environment}, capture_output=True, text=True, check=False)
        parts = done.stdout.split("\0")
        self.arguments = [part.removeprefix("ARG ") for part in parts if part.startswith("ARG ")]
        self.environment = dict(part.partition("=")[::2] for part in parts if part and not part.startswith("ARG "))
        self.said = done.stderr
        return done.returncode

    def inside(self, name: str) -> str | None:
        return self.environment.get(f"APPTAINERENV_{name}")


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return Runtime(tmp_path / "runtime")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def test_a_tool_that_is_not_configured(project: Path) -> None:
    command = Command("imod", ("newstack",), "/p")
    with pytest.raises(InputError, match=r"tools\.imod in conf\.yaml"):
        wrap(command, ToolTable({}), project=project)
    with pytest.raises(InputError, match=r"tools\.imod\.path"):
        wrap(command, ToolTable({"imod": Tool("container")}), project=project)


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


def test_a_container_sees_what_the_call_needs_and_no_more(tmp_path: Path, project: Path) -> None:
    raw, far, templates = tmp_path / "raw", tmp_path / "far", tmp_path / "templates"
    for folder in (project / "frames", raw, far, templates):
        folder.mkdir()
    (far / "gain.mrc").touch()
    (raw / "gain.mrc").symlink_to(far / "gain.mrc")
    (project / "gain.mrc").symlink_to("../raw/gain.mrc")
    (project / "etc").symlink_to("/etc/hostname")
    (templates / "map.mrc").touch()
    argv = (
        "WarpTools",
        "ts_ctf",
        "--gain=gain.mrc",
        "--x",
        f"{project}/etc",
        "--n",
        "1/2",
        "--t",
        f"{templates}/*.mrc",
    )
    command = Command("warp", (*argv, "/dev/null", "/bin/sh"), str(project), binds=("/data/raw",))
    wrapped = run(Tool("container", "/images/warp.sif", binds=("/scratch",)), command, project)
    assert wrapped[wrapped.index("--") :] == (
        "--",
        "--cleanenv",
        "--no-home",
        "--pwd",
        str(project),
        "/images/warp.sif",
        *command.argv,
    )
    assert set(binds(wrapped)) == {
        f"rw:{project}",
        f"ro:{raw}",
        f"ro:{far}",
        "ro:/etc/hostname",
        f"try:{templates}",
        "ro:/data/raw",
        "try:/scratch",
    }


def test_raw_data_are_shown_with_the_targets_of_their_links_and_cannot_be_written_to(
    tmp_path: Path, project: Path
) -> None:
    view, archive, disk = tmp_path / "view", tmp_path / "archive", tmp_path / "disk"
    for folder in (view, archive / "0", archive / "1", disk):
        folder.mkdir(parents=True)
    for number in (0, 1):
        (archive / str(number) / "a.eer").touch()
        (view / f"{number}.eer").symlink_to(f"../archive/{number}/a.eer")
    (tmp_path / "alias").symlink_to(view)
    data = folders_of([f"{tmp_path}/alias/0.eer", f"{tmp_path}/alias/1.eer"])
    (project / "External").symlink_to(disk)
    command = Command("warp", ("WarpTools", "--output", f"{project}/External/job002"), str(project))
    found = binds(run(Tool("container", "/i.sif"), command, project, data=data))
    assert found == [
        f"ro:{view}",
        f"try:{disk}",
        f"ro:{tmp_path}/alias",
        f"rw:{project}",
        f"ro:{archive}/0",
        f"ro:{archive}/1",
    ]


def test_a_project_inside_the_folder_of_its_raw_data_can_be_written(tmp_path: Path, project: Path) -> None:
    command = Command("warp", ("WarpTools",), str(project))
    found = binds(run(Tool("container", "/i.sif"), command, project, data=(str(tmp_path), f"{tmp_path}/raw")))
    assert found == [f"ro:{tmp_path}", f"rw:{project}"]


def test_links_in_a_circle_are_followed_once(project: Path) -> None:
    (project / "a").symlink_to("b")
    (project / "b").symlink_to("a")
    command = Command("warp", ("WarpTools", "a/x", "b/a"), str(project))
    assert binds(run(Tool("container", "/i.sif"), command, project)) == [f"rw:{project}"]


def test_folders_with_hostile_names_reach_the_runtime_whole(runtime: Runtime, project: Path, tmp_path: Path) -> None:
    for name in HOSTILE:
        (tmp_path / name).mkdir()
    folders = [str(tmp_path / name) for name in HOSTILE]
    command = Command("warp", ("WarpTools", *HOSTILE), str(project), (("A", "1,2=3 $(x)\n'"),))
    argv = run(Tool("container", "/i.sif"), command, project, data=folders)
    assert runtime.call(argv, TMPDIR=str(tmp_path / "a,b")) == 0
    assert tuple(runtime.arguments[-len(HOSTILE) :]) == HOSTILE
    assert runtime.inside("A") == "1,2=3 $(x)\n'"
    assert f"{tmp_path}/a b:{tmp_path}/a b:ro" in runtime.arguments
    assert f'type=bind,"source={tmp_path}/a:b","destination={tmp_path}/a:b",ro' in runtime.arguments
    assert f'type=bind,"source={tmp_path}/a,b","destination={tmp_path}/a,b"' in runtime.arguments
    quoted = f'{tmp_path}/it\'s ""q""'
    assert f'type=bind,"source={quoted}","destination={quoted}",ro' in runtime.arguments
    assert runtime.arguments.count("--mount") == 6 and not Path("x").exists()


def test_what_a_node_does_not_have_is_said(runtime: Runtime, project: Path) -> None:
    command = Command("warp", ("WarpTools",), str(project), gpu=True)
    tool = Tool("container", "/i.sif", binds=("/no/scratch",))
    assert runtime.call(run(tool, command, project)) == 0
    assert "/no/scratch is not on" in runtime.said and "--bind" in runtime.arguments
    if not any(map(os.path.exists, ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))):
        assert "no GPU" in runtime.said and not {"--nv", "--rocm"}.intersection(runtime.arguments)
    assert runtime.call(run(tool, command, project, data=("/no/raw",))) == 126
    assert "/no/raw cannot be seen on" in runtime.said
    runtime.path = "/usr/bin:/bin"
    if not os.path.exists("/usr/bin/apptainer") and not os.path.exists("/usr/bin/singularity"):
        assert runtime.call(run(tool, command, project)) == 126
        assert "neither apptainer nor singularity is on the PATH" in runtime.said


def test_singularity_is_taken_where_there_is_no_apptainer(tmp_path: Path, project: Path) -> None:
    old = Runtime(tmp_path / "old", "singularity")
    old.path = f"{tmp_path}/old"
    (tmp_path / "old" / "bash").symlink_to("/bin/bash")
    (tmp_path / "old" / "env").symlink_to("/usr/bin/env")
    argv = run(Tool("container", "/i.sif"), Command("warp", ("WarpTools",), str(project), (("A", "1"),)), project)
    assert old.call(argv) == 0
    assert old.environment["SINGULARITYENV_A"] == "1" and old.environment["SINGULARITY_NO_EVAL"] == "1"


@pytest.mark.parametrize(
    ("gpu", "device", "option"),
    [("auto", "nvidiactl", "--nv"), ("auto", "kfd", "--rocm"), ("nvidia", "", "--nv"), ("amd", "nvidiactl", "--rocm")],
)
def test_a_gpu_step_is_shown_the_gpus_that_the_node_has_or_that_the_site_says(
    runtime: Runtime, project: Path, gpu: str, device: str, option: str
) -> None:
    """With a /dev of our own, where this machine lets us have one."""
    command = Command("warp", ("WarpTools",), str(project), gpu=True)
    tool = replace(Tool("container", "/i.sif"), gpu=gpu)  # type: ignore[arg-type]
    make = f"mount -t tmpfs none /dev && touch /dev/null /dev/{device or 'x'} && exec"
    own = ("unshare", "--user", "--map-root-user", "--mount", "bash", "-c", f'{make} "$@"', "x")
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace of our own here")
    assert runtime.call((*own, *run(tool, command, project))) == 0, runtime.said
    assert {"--nv", "--rocm"}.intersection(runtime.arguments) == {option}
    assert runtime.call((*own, *run(tool, replace(command, gpu=False), project))) == 0
    assert not {"--nv", "--rocm"}.intersection(runtime.arguments)


def test_the_prelude_hides_and_passes_on_what_the_tables_say(runtime: Runtime, project: Path, tmp_path: Path) -> None:
    environment = {"KEPT": "1", "APPTAINER_CACHEDIR": "/site/cache"}
    for rule in HIDDEN:
        for name in rule.names:
            if "none" in rule.mpi:
                environment[name.replace("*", "X")] = "hidden"
    passed = [name for rule in PASSED for name in rule.names if "none" in rule.mpi]
    environment |= {name: f"a 'b' $c {name}" for name in passed}
    scratch = [name for rule in SCRATCH for name in rule.names if "none" in rule.mpi]
    environment |= {name: str(tmp_path / name) for name in scratch}
    (tmp_path / scratch[0]).mkdir()
    command = Command("warp", ("WarpTools", "a b", "$(x)"), str(project))
    assert runtime.call(run(Tool("container", "/i.sif"), command, project), **environment) == 0
    assert "hidden" not in runtime.environment.values()
    assert all(runtime.inside(name) == environment[name] for name in passed)
    assert {"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"} <= set(passed)
    assert runtime.inside(scratch[0]) == str(tmp_path / scratch[0])
    assert str(tmp_path / scratch[0]) in runtime.arguments
    assert all(runtime.inside(name) is None for name in scratch[1:])
    assert runtime.environment["KEPT"] == "1" and runtime.environment["APPTAINER_CACHEDIR"] == "/site/cache"
    assert runtime.arguments[-2:] == ["a b", "$(x)"]


def test_every_row_of_the_tables_has_a_reason() -> None:
    assert all(row.reason.endswith(".") for row in (*HIDDEN, *PASSED, *SCRATCH, *GIVEN))


def test_values_of_the_command_win_over_the_sites_and_these_over_the_tools_own(runtime: Runtime, project: Path) -> None:
    site = Tool("container", "/i.sif", env=(("TF_GPU_ALLOCATOR", "mine"), ("TMPDIR", "/here"), ("B", "site")))
    command = Command("cryocare", ("train",), str(project), (("B", "command"),))
    argv = wrap(command, ToolTable({"cryocare": site}), project=project)
    assert runtime.call(argv, TMPDIR=str(project)) == 0
    assert runtime.inside("TF_GPU_ALLOCATOR") == "mine" and runtime.inside("TF_FORCE_GPU_ALLOW_GROWTH") == "true"
    assert runtime.inside("B") == "command" and runtime.inside("TMPDIR") == "/here"
    assert runtime.inside("CUDA_CACHE_PATH") == f"{project}/.crboost/cache/cuda"
    assert runtime.inside("CUPY_CACHE_DIR") is None


def test_a_binary_gets_what_its_tool_needs_but_no_cache_of_ours(project: Path) -> None:
    table = ToolTable({"cryocare": Tool("binary", env=(("A", "1"), ("B", "2")))})
    argv = wrap(Command("cryocare", ("train",), str(project), (("B", "3"),)), table, project=project)
    assert argv[0] == "env" and argv[-1] == "train"
    assert {"TF_FORCE_GPU_ALLOW_GROWTH=true", "A=1"} <= set(argv)
    assert not any(word.startswith(("B=", "CUDA_CACHE_PATH=")) for word in argv)


@pytest.fixture
def ranks(project: Path) -> Callable[[Tool], tuple[Command, tuple[str, ...]]]:
    """A command with three ranks as the script writer gets it, and its argv."""

    def make(tool: Tool) -> tuple[Command, tuple[str, ...]]:
        table = ToolTable({"warp": tool})
        command = launched(Command("warp", ("relion_mpi", "--o", "x"), str(project), mpi=True), table, 3)
        return command, wrap(command, table, project=project)

    return make


def test_an_mpirun_inside_the_image_starts_the_ranks_and_knows_nothing_of_slurm(
    runtime: Runtime, ranks: Callable[[Tool], tuple[Command, tuple[str, ...]]]
) -> None:
    command, argv = ranks(Tool("container", "/i.sif", mpi="inside"))
    assert not command.mpi
    assert argv[argv.index("/i.sif") + 1] == "mpirun"
    assert argv[-5:] == ("-n", "3", "relion_mpi", "--o", "x")
    around = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "3", "PMI_RANK": "0", "PMIX_RANK": "0", "OMPI_COMM_WORLD_RANK": "0"}
    assert runtime.call(argv, **around) == 0
    assert not [name for name in runtime.environment if name.removeprefix("APPTAINERENV_") in around]


def test_a_launcher_outside_starts_a_container_for_each_rank(
    runtime: Runtime, ranks: Callable[[Tool], tuple[Command, tuple[str, ...]]], tmp_path: Path
) -> None:
    command, argv = ranks(Tool("container", "/i.sif", mpi="outside"))
    assert command.mpi
    assert argv[-4:] == ("/i.sif", "relion_mpi", "--o", "x")
    sockets = tmp_path / "pmix"
    sockets.mkdir()
    around = {"SLURM_PROCID": "2", "PMI_RANK": "2", "PMIX_RANK": "2", "PMIX_SERVER_TMPDIR": str(sockets)}
    assert runtime.call(argv, **around) == 0
    assert {name: runtime.inside(name) for name in around} == around
    assert str(sockets) in runtime.arguments
    command, argv = ranks(Tool("binary"))
    assert command.mpi and argv[-3:] == ("relion_mpi", "--o", "x")


def test_a_job_may_take_another_entry_of_the_table_for_a_tool() -> None:
    old, new = Tool("container", "/old.sif"), Tool("container", "/new.sif")
    table = ToolTable({"pytom": old, "pytom_new": new})
    assert table.choose({}) is table
    assert table.choose({"pytom": "pytom_new"}).tool("pytom") == new and table.tool("pytom") == old
    with pytest.raises(InputError, match=r"tools\.pytom_newer in conf\.yaml"):
        table.choose({"pytom": "pytom_newer"})


def test_in_a_rehearsal_a_stand_in_takes_the_place_of_every_tool() -> None:
    tools = {
        "relion": Tool("container", "/relion.sif"),
        "relion_new": Tool("container", "/new.sif"),
        "warp": Tool("binary", "/groups/warp", modules=("cuda/12",), env=(("A", "1"),)),
        "imod": Tool("binary"),
    }
    table = ToolTable(tools, {"relion": ("python3", "/relion.py"), "warp": ("python3", "/warp.py")})
    assert table.tool("warp") == Tool("standin", prefix=("python3", "/warp.py"), modules=("cuda/12",))
    assert table.tool("relion") == replace(tools["relion"], standin=("python3", "/relion.py"))
    assert table.choose({"relion": "relion_new"}).tool("relion").path == "/new.sif"
    for name in ("imod", "relion_new"):
        with pytest.raises(InputError, match=f"no stand-in of {name}"):
            table.tool(name)


@pytest.mark.parametrize("python", [True, False])
def test_a_stand_in_runs_inside_the_container_or_beside_it(tmp_path: Path, project: Path, python: bool) -> None:
    """With a runtime that runs what stands after the image, if it is there."""
    (tmp_path / "bin").mkdir()
    runtime = tmp_path / "bin" / "apptainer"
    runtime.write_text(
        '#!/bin/bash\necho "$*" >> calls; while [ "$1" != /i.sif ]; do shift; done; shift\n'
        f'[ "$1" != python3 ] || {"true" if python else "false"} || exit 255\nINSIDE=yes exec "$@"\n'
    )
    runtime.chmod(0o755)
    (tmp_path / "s.py").write_text("import os, sys; print(os.environ.get('INSIDE', 'no'), sys.argv[1:])")
    table = ToolTable(
        {"warp": Tool("container", "/i.sif", mpi="inside")}, {"warp": ("python3", str(tmp_path / "s.py"))}
    )
    command = Command("warp", ("WarpTools", "$(x)"), str(project), gpu=True, mpi=not python)
    argv = wrap(launched(command, table, 3), table, project=project, data=(str(tmp_path),))
    path = f"{tmp_path}/bin:/usr/bin:/bin"
    done = subprocess.run(argv, cwd=project, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{'yes' if python else 'no'} ['WarpTools', '$(x)']\n"
    if python:
        return
    (tmp_path / "bin" / "ls").write_text("#!/bin/sh\nexit 2\n")
    (tmp_path / "bin" / "ls").chmod(0o755)
    done = subprocess.run(argv, cwd=project, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 126 and "the container does not show what the tool would need" in done.stderr


def test_any_job_file_can_hold_the_prelude() -> None:
    for mpi in ("none", "inside", "outside"):
        text = prelude(mpi)
        assert (
            "\n" not in text
            and "'" not in text
            and "@" not in text.replace("@}", "").replace("[@]", "").replace("$@", "")
        )
