"""From a :class:`Command` to the argv that runs it: as it is, with the configured path, or inside a container.

What only the node knows is decided there, by a constant bash prelude that then becomes the runtime: whether it is
``apptainer`` or ``singularity`` (the head node, where this runs, often has neither), whose GPU is there, which scratch
folder the job was given, and what the tables of ``core.tools.environment`` hide and pass on. The words before ``--``
are the prelude's: ``rw:``, ``ro:`` and ``try:`` before a path (bound with write access, for reading, or where it exists
on the node), ``gpu``, ``beside:N:M`` in a rehearsal (the image ends the first N words that follow, the stand-in begins
after M), and ``NAME=VALUE`` of variables in the container. The rest is the runtime's command line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from core.tools.command import Command
from core.tools.environment import HIDDEN, KEPT, PASSED, SCRATCH, Mpi, Rule, given
from core.tools.table import Tool, ToolTable

HOST = "host"
"""Name of the "tool" for programs that every node has."""

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

_OF_THE_IMAGE = ("/bin/", "/dev/", "/etc/", "/lib/", "/lib64/", "/opt/", "/proc/", "/run/", "/sbin/", "/sys/", "/usr/")
"""A path below one of these that a command names is the image's own."""

_GPU_OPTIONS = {"nvidia": ("--nv",), "amd": ("--rocm",)}

_PRELUDE = r"""
stop() { echo "crboost: $1" >&2; exit 126; };
bind() { local mode= quoted; shown+=("$1"); [ "$2" != ro ] || mode=ro; case $1 in
    *[,:\"\\]* | *"$newline"*) quoted=${1//\"/\"\"};
        options+=(--mount "type=bind,\"source=$quoted\",\"destination=$quoted\"${mode:+,$mode}") ;;
    *) options+=(--bind "$1${mode:+:$1:$mode}") ;; esac; };
printf -v newline "\n";
for name in @HIDDEN@; do
    case $name in @KEPT@) ;; *) unset "$name" ;; esac; done;
export APPTAINER_NO_EVAL=1 SINGULARITY_NO_EVAL=1;
for runtime in apptainer singularity ""; do hash "$runtime" 2> /dev/null && break; done;
[ -n "$runtime" ] || stop "neither apptainer nor singularity is on the PATH of $HOSTNAME.";
into=APPTAINERENV_; [ "$runtime" = apptainer ] || into=SINGULARITYENV_;
for name in @PASSED@; do
    [ -z "${!name+x}" ] || export "$into$name=${!name}"; done;
options=() scratch=() shown=();
for name in @SCRATCH@; do
    if [ -d "${!name-}" ]; then export "$into$name=${!name}"; scratch+=("${!name}"); fi; done;
while [ "$1" != -- ]; do case $1 in
    rw:* | ro:* | try:*) path=${1#*:}; kind=${1%%:*};
        if [ -e "$path" ]; then bind "$path" "$kind";
        elif [ "$kind" = try ]; then echo "crboost: $path is not on $HOSTNAME and not shown to the container." >&2;
        else stop "$path cannot be seen on $HOSTNAME."; fi ;;
    gpu) if [ -e /dev/nvidiactl ] || [ -e /dev/dxg ]; then options+=(--nv);
        elif [ -e /dev/kfd ]; then options+=(--rocm);
        else echo "crboost: there is no GPU on $HOSTNAME (neither /dev/nvidiactl nor /dev/kfd)." >&2; fi ;;
    beside:*) beside=${1#*:} ;;
    *) export "$into$1" ;; esac; shift; done;
shift;
for path in "${scratch[@]}"; do bind "$path"; done;
@REHEARSAL@
exec "$runtime" exec "${options[@]}" "$@"
"""

_REHEARSAL = r"""
if ! "$runtime" exec "${options[@]}" "${@:1:${beside%:*}}" python3 -c "" 2> /dev/null; then
    "$runtime" exec "${options[@]}" "${@:1:${beside%:*}}" sh -c "ls -d -- \"\$@\" > /dev/null" sh "${shown[@]}" ||
        stop "the container does not show what the tool would need.";
    shift "${beside#*:}"; exec "$@"; fi;
"""
"""A stand-in needs python3: where the image has none, it is only looked whether all is seen in there, and the stand-in
runs beside it."""

_MPIRUN = ("mpirun", "--bind-to", "none", "--map-by", ":OVERSUBSCRIBE", "-n")
"""As Open MPI 4, 5 and 6 take it. By itself it ties a rank to one core, where all of its threads would share it, and
counts cores where Slurm counts hardware threads, so that it refuses ranks that the job asked for."""

_LOAD_MODULES = 'while [ "$1" != -- ]; do module load "$1" || exit 126; shift; done; shift; exec "$@"'


def launched(command: Command, table: ToolTable, ranks: int) -> Command:
    """``command``, where the ``mpirun`` inside its image starts the ranks: then nobody outside launches any."""
    if not command.mpi or command.tool == HOST or not table.tool(command.tool).one_node:
        return command
    return replace(command, mpi=False, ranks=ranks)


def wrap(command: Command, table: ToolTable, *, project: Path, data: Sequence[str] = ()) -> tuple[str, ...]:
    """The argv that runs ``command`` on a node.

    ``project``: absolute project folder. ``data``: absolute folders that must be readable, beside what the command
    itself names: those of raw data that the project's links point to (:func:`folders_of`).
    Raises :class:`InputError` where the tool is not configured.
    """
    if command.tool == HOST:
        return command.argv
    tool = table.tool(command.tool)
    mpi: Mpi = "inside" if command.ranks else "outside" if command.mpi else "none"
    set_for_it = {
        **given(command.tool, mpi, f"{project}/.crboost/cache", inside=tool.kind == "container"),
        **dict(tool.env),
    }
    if tool.kind == "container":
        variables = {**set_for_it, **dict(command.env)}
        inner = (*tool.prefix, *_container(command, tool, project, mpi, variables, data))
    else:
        program = command.argv[0] if tool.kind == "standin" else program_path(tool.path, command.argv[0])
        inner = (*tool.prefix, program, *command.argv[1:])
        own = dict(command.env)
        assignments = [f"{name}={value}" for name, value in set_for_it.items() if name not in own]
        if assignments:
            inner = ("env", *assignments, *inner)
    if tool.modules:
        inner = ("bash", "-lc", _LOAD_MODULES, "modules", *tool.modules, "--", *inner)
    return inner


def folders_of(paths: Iterable[str]) -> list[str]:
    """The folders that must be seen for these absolute paths to be readable, with the real targets of links."""
    seen = _Links()
    found: dict[str, None] = {}
    for path in paths:
        found.update(dict.fromkeys([_shown(path)[0], *seen.hops(path)]))
    return sorted(found)


def program_path(path: str, program: str) -> str:
    """``path`` of conf.yaml is a folder with the programs, or one executable whose neighbours are its sisters."""
    if not path:
        return program
    given_path = Path(path)
    if given_path.name == program and not given_path.is_dir():
        return path
    if given_path.is_file():
        sister = given_path.parent / program
        return str(sister) if sister.is_file() else path
    return str(given_path / program)


def _container(
    command: Command, tool: Tool, project: Path, mpi: Mpi, variables: dict[str, str], data: Sequence[str]
) -> tuple[str, ...]:
    gpu = _GPU_OPTIONS[tool.gpu] if command.gpu and tool.gpu != "auto" else ()
    runtime = (*gpu, "--cleanenv", "--no-home", "--pwd", command.cwd, tool.path)
    ranks = (*_MPIRUN, str(command.ranks)) if command.ranks else ()
    return (
        "bash",
        "-c",
        prelude(mpi, bool(tool.standin)),
        "crboost",
        *_binds(command, tool, project, data),
        *(("gpu",) if command.gpu and tool.gpu == "auto" else ()),
        *((f"beside:{len(runtime)}:{len(runtime) + len(ranks)}",) if tool.standin else ()),
        *(f"{name}={value}" for name, value in variables.items()),
        "--",
        *runtime,
        *ranks,
        *tool.standin,
        *command.argv,
    )


@cache
def prelude(mpi: Mpi, rehearsal: bool = False) -> str:
    """Constant bash text (4.2) without single quotes, on one line, so that a job file of any kind can hold it."""
    return " ".join(line.strip() for line in readable_prelude(mpi, rehearsal).splitlines()).strip()


@cache
def readable_prelude(mpi: Mpi, rehearsal: bool = False) -> str:
    """The same on several lines, for people."""
    text = _PRELUDE.replace("@REHEARSAL@\n", _REHEARSAL.lstrip("\n") if rehearsal else "")
    for rules, token in ((HIDDEN, "@HIDDEN@"), (PASSED, "@PASSED@"), (SCRATCH, "@SCRATCH@")):
        text = text.replace(token, _names(rules, mpi))
    return text.replace("@KEPT@", " | ".join(KEPT))


def _names(rules: Iterable[Rule], mpi: Mpi) -> str:
    names = [name for rule in rules if mpi in rule.mpi for name in rule.names]
    return " ".join(name if not name.endswith("*") else "${!" + name[:-1] + "@}" for name in names)


def _binds(command: Command, tool: Tool, project: Path, data: Sequence[str]) -> Iterator[str]:
    """The prelude's words for everything that the call needs to see, outer folders first, without what lies in another
    one. Raw data, and files that links of the project point to, are for reading; folders of the project that are links
    to elsewhere may be written to."""
    seen = _Links()
    wanted: dict[str, str] = {}
    for path in (*data, *command.binds):
        wanted.update(dict.fromkeys([_absolute(path), *seen.hops(path)], "ro"))
    for path in tool.binds:
        wanted.update(dict.fromkeys([_absolute(path), *seen.hops(path)], "try"))
    root = str(project)
    for path in _paths(command):
        if path == root or path.startswith(f"{root}/"):
            for folder, is_folder in seen.hops(path).items():
                if is_folder:
                    wanted[folder] = "try"
                else:
                    wanted.setdefault(folder, "ro")
        elif not path.startswith(_OF_THE_IMAGE):
            shown = _shown(path)[0] if os.path.lexists(path) else path
            for folder in (shown, *seen.hops(path)):
                wanted.setdefault(folder, "try")
    for path in (root, command.cwd):
        wanted.update(dict.fromkeys([_absolute(path), *seen.hops(path)], "rw"))
    kept: dict[str, str] = {}
    for path in sorted(wanted, key=len):
        how = wanted[path]
        outer = max((one for one in kept if path.startswith(one + "/")), key=len, default="")
        if path in _SYSTEM_FOLDERS or (outer and (kept[outer] != "ro" or how == "ro")):
            continue
        kept[path] = how
        yield f"{how}:{path}"


def _paths(command: Command) -> Iterator[str]:
    """Arguments that may be paths, also as ``--option=path``, absolute; of a pattern the folder that it begins with."""
    for argument in command.argv[1:]:
        for text in (argument, argument.partition("=")[2]):
            if text and not text.startswith("-") and "\0" not in text and len(text) < 4096:
                wildcard = min((text.index(mark) for mark in "*?[" if mark in text), default=None)
                text = text if wildcard is None else os.path.dirname(text[:wildcard])
                yield _absolute(os.path.join(command.cwd, text))


def _shown(path: str) -> tuple[str, bool]:
    """What is bound to show ``path``, and whether it is a folder itself; a single file in a folder of the system is
    shown alone."""
    is_folder = os.path.isdir(path)
    folder = path if is_folder else os.path.dirname(path)
    return path if folder in _SYSTEM_FOLDERS else folder, is_folder


class _Links:
    """Follows symbolic links, each folder of a path once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, tuple[str, ...]]] = {"/": ("/", ())}
        self._followed: set[str] = set()

    def hops(self, path: str) -> dict[str, bool]:
        """What must be bound for the links on the way of an absolute ``path``, one hop after another: inside the
        container each must be there. Whether a link was one to a folder."""
        place, targets = self._walk(_absolute(path))
        found: dict[str, bool] = {}
        for target in dict.fromkeys((*targets, place) if targets else ()):
            shown, is_folder = _shown(target)
            found[shown] = found.get(shown, False) or is_folder
        return found

    def _walk(self, path: str) -> tuple[str, tuple[str, ...]]:
        """Where ``path`` really is, and the targets of the links on the way."""
        known = self._known.get(path)
        if known is None:
            folder, name = os.path.split(path)
            place, targets = self._walk(folder)
            link = f"{place.rstrip('/')}/{name}"
            try:
                target = _absolute(os.path.join(place, os.readlink(link)))
            except OSError:
                target = ""
            if not target or link in self._followed:  # no link, or one in a circle
                return self._known.setdefault(path, (link, targets))
            self._followed.add(link)
            place, more = self._walk(target)
            self._followed.remove(link)
            known = self._known[path] = (place, (*targets, target, *more))
        return known


def _absolute(path: str) -> str:
    return "/" + os.path.normpath(path).lstrip("/")
