"""The one writer of task scripts: one readable bash script per attempt.

A script needs bash 4.2, coreutils and awk, and nothing of ours. It claims itself, waits for its inputs, does its stage
operations, runs its commands, checks their products and says how it ended (files: ``core.cluster.protocol``).
Its exit code is 0 for *done* and *duplicate*, 1 *failed*, 75 *blocked*, 143 *stopped*, 90 where it could not even
begin; but only the state file decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from core.cluster.machinery import MACHINERY
from core.cluster.protocol import DONE, AttemptPaths, inbox_name
from core.cluster.quoting import comment, quote, variable, words
from core.errors import InputError
from core.jobs._task import (
    COHORT,
    Check,
    Copy,
    Link,
    MakeFolder,
    MoveAside,
    Product,
    StageOperation,
    Work,
    WriteText,
)
from core.tools.command import Command
from core.tools.environment import Mpi
from core.tools.wrapper import prelude, readable_prelude

COMMON = "# From here on the same in every task."
"""The line of a script that stands between what is its own and the machinery."""

_LINE = 100
_PRELUDES: Mapping[Mpi, str] = {"none": "container", "inside": "container_with_ranks", "outside": "container_of_rank"}
"""Names of variables in the script, by what they hold: :func:`core.tools.wrapper.prelude`, rehearsed or not."""

_SEPARATOR = "\x1f"
"""Between the words of a product in an environment variable."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt. ``project`` and ``inbox`` are absolute folders. Inputs are looked for up to ``visible_seconds``.
    ``environment`` is set for all of the script; ``note`` is a line of its header (REHEARSAL, stand-ins). ``ranks``: of
    commands with MPI, where no submission template says how these are launched."""

    paths: AttemptPaths
    instance: str
    project: Path
    inbox: Path
    visible_seconds: int = 90
    environment: tuple[tuple[str, str], ...] = ()
    note: str = ""
    version: str = ""
    ranks: int = 1


def render(work: Work, attempt: Attempt, wrap: Callable[[Command], Sequence[str]]) -> str:
    """The bash script of an attempt. ``wrap`` makes the argv that runs a command (``core.tools.wrapper``).

    Raises :class:`InputError` for a value that no command line can hold and for paths that are not absolute.
    """
    paths = attempt.paths
    calls = [(command, tuple(wrap(command))) for command in work.commands]
    series = f"cohort {paths.key}" if paths.key.startswith(COHORT) else f"tilt series {paths.key}"
    by = f"crboost {attempt.version}".strip()
    inbox = attempt.inbox / inbox_name(attempt.instance, paths.key, paths.number, DONE)
    fresh = [
        f"product_{number}"
        for number, product in enumerate(work.products, 1)
        if product.paths and product.check not in (Check.ABSENT, Check.ANY_AGE)
    ]
    lines = [
        "#!/usr/bin/env bash",
        f"# {comment(attempt.instance)}, {comment(series)}, attempt {paths.number}. Written by {comment(by)}.",
        *([f"# {comment(attempt.note)}"] if attempt.note else []),
        "# Needs bash and the tool, nothing else. How it ended: the .state file beside it.",
        "",
        "set -u",
        "unset -f command_not_found_handle",
        "export LC_ALL=C",
        *(f"export {variable(name, value)}" for name, value in attempt.environment),
        f"project={_absolute(str(attempt.project))}",
        f"attempt={_absolute(str(paths.folder / str(paths.number)))}",
        f"inbox={_absolute(str(inbox).rpartition('~')[0])}",
        f"visible_seconds={max(0, attempt.visible_seconds)}",
        f"commands={len(work.commands)}",
        "",
        *_array("inputs", work.inputs),
        *_stage(work.stage, paths),
        *_launcher(work.commands, attempt.ranks),
        *_containers(calls),
        *(line for number, call in enumerate(calls, 1) for line in _command(number, *call)),
        *_work(work, fresh),
        *(
            line
            for number, product in enumerate(work.products, 1)
            for line in _array(f"product_{number}", product.paths)
        ),
        *_products(work.products),
        COMMON,
        "",
        MACHINERY.strip("\n"),
        "",
        'main "$@"; exit',
        "",
    ]
    return "\n".join(lines)


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise InputError(f"The path {path!r} of a task is not absolute.")
    return quote(path)


def _array(name: str, paths: Iterable[str]) -> list[str]:
    return [f"{name}=(", *(f"    {_absolute(path)}" for path in paths), ")", ""]


def _stage(operations: Sequence[StageOperation], paths: AttemptPaths) -> list[str]:
    """Function ``stage``: what is moved aside, then folders (also those that the others need), links, copies, texts.

    Links and copies that keep their name go into one folder together: a process per file would cost more than the work.
    """
    moves = [operation for operation in operations if isinstance(operation, MoveAside)]
    lines = [f"move_aside {_absolute(move.path)} {_absolute(str(_aside(move.path, paths)))}" for move in moves]
    folders = {_folder(operation): None for operation in operations if not isinstance(operation, MoveAside)}
    if folders:
        lines.append(_call("make_folders", [_absolute(folder) for folder in folders]))
    into: dict[tuple[str, str], list[str]] = {}
    singles: list[str] = []
    for operation in operations:
        match operation:
            case Link(path, target) if _same_name(path, target):
                into.setdefault(("link_into", _folder(operation)), []).append(target)
            case Link(path, target):
                singles.append(f"link {_absolute(path)} {_absolute(target)}")
            case Copy(path, source, "") if _same_name(path, source):
                into.setdefault(("copy_into", _folder(operation)), []).append(source)
            case Copy(path, source, ""):
                singles.append(f"copy {_absolute(path)} {_absolute(source)}")
            case Copy(path, source, pattern):
                singles.append(f"copy_matching {_absolute(path)} {_absolute(source)} {quote(pattern)}")
            case WriteText(path, text):
                singles.append(f"write_text {_absolute(path)} {quote(text)}")
    for (verb, folder), sources in into.items():
        lines.append(_call(f"{verb} {_absolute(folder)}", [_absolute(source) for source in sources]))
    return _function("stage", lines + singles)


def _folder(operation: StageOperation) -> str:
    """The folder that must be there for it."""
    if isinstance(operation, MakeFolder) or (isinstance(operation, Copy) and operation.pattern):
        return operation.path
    return str(PurePosixPath(operation.path).parent)


def _same_name(path: str, source: str) -> bool:
    return PurePosixPath(path).name == PurePosixPath(source).name


def _aside(path: str, paths: AttemptPaths) -> Path:
    found = Path(path)
    inside = found.relative_to(paths.job_folder) if found.is_relative_to(paths.job_folder) else Path(found.name)
    return paths.aside / inside


def _launcher(commands: Iterable[Command], ranks: int) -> list[str]:
    """How commands with MPI are launched, unless the submission has said so (``core.cluster.batch``)."""
    if not any(command.mpi for command in commands):
        return []
    return [f'declare -F crboost_launch > /dev/null || crboost_launch() {{ mpirun -n {ranks} "$@"; }}', ""]


def preludes() -> dict[Mpi, str]:
    """The assignments of what comes before the runtime of containers, on lines that can be read."""
    return {mpi: f"{name}={quote(readable_prelude(mpi))}" for mpi, name in _PRELUDES.items()}


def _containers(calls: Iterable[tuple[Command, Sequence[str]]]) -> list[str]:
    """What comes before the runtime of containers, once for all commands and on lines that can be read."""
    used = {argument for _, arguments in calls for argument in arguments}
    lines: list[str] = []
    for mpi, name in _PRELUDES.items():
        for rehearsal in (False, True):
            if prelude(mpi, rehearsal) in used:
                lines += [f"{name}={quote(readable_prelude(mpi, rehearsal))}", ""]
    return lines


def _command(number: int, command: Command, argv: Sequence[str]) -> list[str]:
    names = {prelude(mpi, some): f'"${name}"' for mpi, name in _PRELUDES.items() for some in (False, True)}
    arguments = [names.get(argument) or quote(argument) for argument in argv]
    call = [_call("crboost_launch" if command.mpi else "env" if command.may_fail else "exec", arguments)]
    if command.may_fail:
        call.append('echo "ended with code $?" >&2')
    return _function(
        f"command_{number}",
        [
            f"cd -- {_absolute(command.cwd)} || exit 90",
            *(f"export {variable(name, value)}" for name, value in command.env),
            *call,
        ],
    )


def _work(work: Work, fresh: Sequence[str]) -> list[str]:
    lines = [" ".join(("write_stamp", *fresh))]
    for number, command in enumerate(work.commands, 1):
        title = quote(comment(words(command.argv)))
        program = quote(PurePosixPath(command.argv[0]).name)
        watched = "".join(f" {_absolute(folder)}" for folder in command.watch_folders)
        lines.append(f"run {number} {program} {title} {quote(command.alive_marker)}{watched}")
    return _function("work", lines)


def _products(products: Sequence[Product]) -> list[str]:
    lines = []
    for number, product in enumerate(products, 1):
        if not product.paths:
            continue
        needed = len(product.paths) if product.at_least is None else product.at_least
        line = f"check {product.check.value} {needed} product_{number}"
        if product.check is Check.WORDS:
            if any(_SEPARATOR in word or "\n" in word for word in product.words):
                raise InputError("A word that a product must contain has a line break in it.")
            line += f" {quote(_SEPARATOR.join(product.words))}"
        lines.append(line)
    return _function("products", lines)


def _function(name: str, lines: Sequence[str]) -> list[str]:
    return [f"{name}() {{", *(f"    {line}" for line in (lines or [":"])), "}", ""]


def _call(head: str, arguments: Sequence[str]) -> str:
    """One line where it is short, otherwise a line for each option with its values (of a program), or each path."""
    line = " ".join((head, *arguments))
    if len(line) <= _LINE:
        return line
    rows = [head]
    for argument in arguments:
        if (
            head in ("exec", "crboost_launch")
            and not argument.startswith("-")
            and len(rows[-1]) + len(argument) < _LINE
        ):
            rows[-1] += f" {argument}"
        else:
            rows.append(argument)
    return " \\\n        ".join(rows)
