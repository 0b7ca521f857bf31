"""From a :class:`Command` to the argv that runs it: as it is, with the configured path, or inside a container.

What a container must not inherit and what must get through its clean environment are two tables with a reason for
each row. Both are applied on the node, by a constant bash prelude, because the values (which GPU, which job) are only
known there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import InputError
from core.tools.command import Command
from core.tools.table import Tool, ToolTable

HOST = "host"
"""Name of the "tool" for programs that every node has."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Variables (``*`` at the end: all that begin so) and why."""

    names: tuple[str, ...]
    reason: str


HIDDEN = (
    Rule(
        ("APPTAINER_BIND*", "SINGULARITY_BIND*"),
        "The user's own binds: a mount that is missing on the node ends the call, and results depend on who runs it.",
    ),
    Rule(
        ("APPTAINERENV_*", "SINGULARITYENV_*"),
        "Variables that the user's profile smuggles past the clean environment (library and Python paths).",
    ),
    Rule(
        ("APPTAINER_NAME", "APPTAINER_CONTAINER", "SINGULARITY_NAME", "SINGULARITY_CONTAINER"),
        "Left by an engine that itself runs in a container: the runtime takes the call for a nested one.",
    ),
    Rule(("LD_PRELOAD", "LD_LIBRARY_PATH"), "The host's libraries do not fit the runtime's helpers or the image."),
    Rule(("XDG_RUNTIME_DIR",), "Belongs to the login node; it does not exist on the compute node."),
    Rule(("PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX", "CONDA_DEFAULT_ENV"), "A Python of the host inside the image."),
    Rule(
        ("PMI_*", "PMIX_*", "OMPI_*"),
        "An MPI inside the image would take itself for a rank of the job's launcher and wait for the others.",
    ),
)
"""Removed before the runtime starts."""

PASSED = (
    Rule(("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "NVIDIA_VISIBLE_DEVICES"), "Which GPUs the job was given."),
    Rule(("OMP_NUM_THREADS",), "How many threads the job was given."),
    Rule(("SLURM_CPUS_PER_TASK", "SLURM_JOB_ID", "SLURM_JOB_NODELIST"), "What the tool logs and sizes itself by."),
    Rule(("LC_ALL",), "Numbers with a decimal point, whatever the user's language."),
    Rule(("TZ",), "Times in logs as on the host."),
    Rule(("TMPDIR",), "The job's own scratch; it is bound."),
    Rule(("CRBOOST_JOB_ID",), "So that a local task's processes can be found and ended."),
)
"""Set inside the image to the value that they have on the node."""

_SYSTEM_FOLDERS = frozenset(
    [
        "/",
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/lib64",
        "/opt",
        "/proc",
        "/root",
        "/run",
        "/sbin",
        "/sys",
        "/usr",
        "/usr/bin",
        "/usr/lib",
        "/usr/lib64",
        "/usr/share",
        "/var",
    ]
)
"""Never bound as a whole: the image's own would vanish behind the host's."""

_LOAD_MODULES = 'while [ "$1" != -- ]; do module load "$1" || exit 126; shift; done; shift; exec "$@"'


def wrap(
    command: Command,
    table: ToolTable,
    *,
    project: Path,
    runtime: Literal["apptainer", "singularity"] = "apptainer",
    gpu: bool | None = None,
    data: Sequence[str] = (),
) -> tuple[str, ...]:
    """The argv that runs ``command`` on a node.

    ``project``: absolute project folder. ``gpu``: whether the task has a GPU (default: what the command says).
    ``data``: absolute folders with the raw data that the project's links point to.
    Raises :class:`InputError` where the tool is not configured or a path cannot be bound.
    """
    if command.tool == HOST:
        return command.argv
    tool = table.tool(command.tool)
    if tool.kind == "standin":
        inner = (*tool.prefix, *command.argv)
    elif tool.kind == "binary":
        inner = (*tool.prefix, _program(tool.path, command.argv[0]), *command.argv[1:])
    else:
        with_gpu = command.gpu if gpu is None else gpu
        inner = (*tool.prefix, *_container(command, tool, project, runtime, with_gpu, data))
    if tool.env and tool.kind != "container":
        inner = ("env", *(f"{name}={value}" for name, value in tool.env), *inner)
    if tool.modules:
        inner = ("bash", "-lc", _LOAD_MODULES, "modules", *tool.modules, "--", *inner)
    return inner


def _program(path: str, program: str) -> str:
    """``path`` of conf.yaml is a folder with the programs, or one executable whose neighbours are its sisters."""
    if not path:
        return program
    given = Path(path)
    if given.name == program and not given.is_dir():
        return path
    if given.is_file():
        sister = given.parent / program
        return str(sister) if sister.is_file() else path
    return str(given / program)


def _container(
    command: Command, tool: Tool, project: Path, runtime: str, gpu: bool, data: Sequence[str]
) -> tuple[str, ...]:
    binds = _binds(command, tool, project, data)
    environment = [f"{name}={value}" for name, value in (*tool.env, *command.env)]
    return (
        "bash",
        "-c",
        _prelude(runtime),
        runtime,
        runtime,
        "exec",
        *(("--nv",) if gpu else ()),
        "--cleanenv",
        "--no-home",
        "--pwd",
        command.cwd,
        *(part for bind in binds for part in ("--bind", bind)),
        *(part for one in environment for part in ("--env", _as_env_option(one))),
        tool.path,
        *command.argv,
    )


def _prelude(runtime: str) -> str:
    """Constant bash text: hides, passes on, and becomes the runtime. What follows are its arguments."""
    hidden = [name for rule in HIDDEN for name in rule.names]
    names = " ".join(name if not name.endswith("*") else "${!" + name[:-1] + "@}" for name in hidden)
    passed = " ".join(name for rule in PASSED for name in rule.names)
    into = f"{runtime.upper()}ENV_"
    return (
        f"unset {names}; for name in {passed}; do "
        f'[ -z "${{!name+x}}" ] || export "{into}$name=${{!name}}"; done; '
        'if [ -n "${TMPDIR:-}" ] && [ -d "$TMPDIR" ]; then '
        f'export {runtime.upper()}_BIND="$TMPDIR"; fi; exec "$@"'
    )


def _as_env_option(assignment: str) -> str:
    """``--env`` reads one assignment as it is, but a value that has ``=`` itself as CSV (spf13/pflag, stringToString),
    so that a comma would split it."""
    if assignment.count("=") > 1 and ("," in assignment or '"' in assignment):
        return '"' + assignment.replace('"', '""') + '"'
    return assignment


def _binds(command: Command, tool: Tool, project: Path, data: Sequence[str]) -> list[str]:
    """Every folder that the call needs, without those that lie in another one."""
    wanted = [str(project), os.path.realpath(project), command.cwd]
    wanted += [*command.binds, *tool.binds, *data]
    for path in (*command.binds, *tool.binds, *data, *_paths(command)):
        wanted += _hops(path)
    folders: list[str] = []
    for path in sorted(set(map(os.path.normpath, wanted)), key=len):
        if path in _SYSTEM_FOLDERS or any(path == one or path.startswith(one + "/") for one in folders):
            continue
        if "," in path or ":" in path:
            raise InputError(
                f"The folder {path} cannot be shown to a container, whose runtime reads ',' and ':' as separators; "
                "rename it or reach it by another link."
            )
        folders.append(path)
    return folders


def _paths(command: Command) -> Iterable[str]:
    """Arguments that are paths of something that exists, also as ``--option=path``, seen from the command's folder."""
    for argument in command.argv[1:]:
        for candidate in {argument, argument.partition("=")[2]}:
            if "/" in candidate and len(candidate) < 4096 and "\0" not in candidate:
                path = os.path.join(command.cwd, candidate)
                if os.path.lexists(path):
                    yield path


def _hops(path: str, depth: int = 0) -> list[str]:
    """The folders of everything that symbolic links on the way of ``path`` point to, one hop after another: inside the
    container each hop must be there. A single file in a folder of the system is bound alone."""
    found: list[str] = []
    walked = "/"
    for part in Path(path).parts[1:]:
        walked = os.path.join(walked, part)
        if os.path.islink(walked) and depth < 20:
            target = os.path.normpath(os.path.join(os.path.dirname(walked), os.readlink(walked)))
            folder = target if os.path.isdir(target) else os.path.dirname(target)
            found.append(target if folder in _SYSTEM_FOLDERS else folder)
            found += _hops(target, depth + 1)
            walked = target
    return found
