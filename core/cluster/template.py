"""The lab's own RELION submission template becomes the script that is submitted.

``XXX...XXX`` words mean what they mean to RELION (facts/relion-pipeline.md 6.2). Which resource field an
``XXXextraNXXX`` stands for is known here and nowhere else, from ``qsub.extra`` of the site's configuration.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from core.cluster.quoting import quote, words
from core.dataset.model import Sourced
from core.errors import InputError
from core.files import read_error
from core.project.resources import Resources, ResourceValue
from core.project.site import Qsub

Shell = Literal["bash", "sh", "csh"]

_SHELLS: Mapping[str, Shell] = {"bash": "bash", "sh": "sh", "dash": "sh", "csh": "csh", "tcsh": "csh"}

_WORD = re.compile(
    r"XXX(command|mpinodes|threads|cores|dedicated|nodes|name|outfile|errfile|queue|extra[1-9][0-9]*)XXX"
)
_COMMAND = "XXXcommandXXX"

_EXPRESSES = {
    "queue": ("partition",),
    "nodes": ("nodes",),
    "mpinodes": ("tasks",),
    "threads": ("cpus",),
    "cores": ("tasks", "cpus"),
    "dedicated": ("tasks", "cpus"),
}
"""The resource fields that a word on a ``#SBATCH`` line asks for."""

_OPTIONS = {
    "partition": ("partition",),
    "constraint": ("constraint",),
    "nodes": ("nodes",),
    "tasks": ("ntasks-per-node", "tasks-per-node", "ntasks"),
    "cpus": ("cpus-per-task", "cpus-per-gpu"),
    "gres": ("gres", "gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket"),
    "memory_gb": ("mem", "mem-per-cpu", "mem-per-gpu"),
    "minutes": ("time",),
    "account": ("account",),
    "qos": ("qos",),
}
"""sbatch's options by resource field: the one that is given, then others that a template may have for the same."""

_SHORT = {
    "A": "account",
    "C": "constraint",
    "D": "chdir",
    "G": "gpus",
    "J": "job-name",
    "N": "nodes",
    "a": "array",
    "c": "cpus-per-task",
    "e": "error",
    "n": "ntasks",
    "o": "output",
    "p": "partition",
    "q": "qos",
    "t": "time",
}

_MEASURES = {"memory_gb": ("Memory per node", "16G"), "minutes": ("Time limit", "1:30:00")}
"""Fields whose values have a unit, with the words for them and what Slurm takes for one."""

_OVERRIDDEN = frozenset(("job-name", "output", "error", "array", "chdir", "requeue", "signal", "open-mode"))
"""Options that every submission sets itself: a word in one of them asks for nothing."""

_ASKED = frozenset(("you", "project", "retry"))
"""Sources of a value that somebody wants for just this, whatever the template has."""

_SBATCH = re.compile(r"#SBATCH(?=\s)")
_SBATCH_WORD = re.compile(r"""\s*(?:\#.*|(?:"[^"]*"|'[^']*'|\\.|\S)+)""")

_WHOLE = re.compile(
    r"""\\. | \$'(?:\\.|[^'\\])*' | '[^']*' | "(?:\\.|[^"\\])*" | (?<![^\s;&|()])\#[^\n]*(?=\n)
    | (?<!<)<<-?[ \t]*(["']?)\\?([A-Za-z_]\w*)\1[^\n]*\n(?:[^\n]*\n)*?\t*\2(?=\n)""",
    re.VERBOSE | re.DOTALL,
)
_OPEN = re.compile(r"""['"] | (?<![^\s;&|()])\# | (?<!<)<<-?[ \t]*\\?[A-Za-z_]""", re.VERBOSE)

_KEYWORDS = re.compile(r"\s*(?:(?:if|elif|then|else|while|until|do|!|\{)\s+|\(\s*)*")
_CLOSING = {'"': re.compile(r'(?:\\.|[^"\\])*"'), "'": re.compile(r"[^']*'")}
_ARGUMENTS = re.compile(r"""(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|\$\([^()]*\)|(?!\s+\#|\s*\d*[<>])[^;&|<>()'"\\])*""")
"""What follows a command up to a redirection, a comment, or whatever separates it from the next one."""
_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)")

_BEGINS = "# The tasks, called by crboost:"

_FIND = (
    'until [ -r "$1" ]; do if [ $SECONDS -ge 90 ]; then '
    'echo "crboost: $1 cannot be seen on $HOSTNAME (looked for 90 s)." >&2; exit 75; fi; '
    'ls "${1%/*}" > /dev/null 2>&1; sleep 1; done; exec bash "$1"'
)
"""Waits for the table of tasks: a node may not see yet what another one wrote. No quote that ``'...'`` cannot hold, no
``!`` and no line break, because csh reads it too."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template as it is on the disk, but for line ends; bytes that are no UTF-8 are kept as surrogates."""

    path: Path
    text: str
    shell: Shell


@dataclass(frozen=True, slots=True)
class Filled:
    """The script to submit, further options for sbatch, and the body of a bash function that runs its arguments as the
    template runs a command."""

    text: str
    options: tuple[str, ...]
    launch: str


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a template, with those that continue it. ``start`` is where it begins in the text."""

    start: int
    text: str
    kind: Literal["sbatch", "comment", "code"]


@dataclass(frozen=True, slots=True)
class _Piece:
    """One option of a ``#SBATCH`` line, filled in: names of options in it, and the fields that its words ask for."""

    text: str
    names: frozenset[str]
    fields: frozenset[str]


def read_template(path: Path) -> Template:
    """Read a template. Raises :class:`InputError` where it cannot be read, does not begin with ``#!`` and a shell that
    can be spoken to, or has no ``XXXcommandXXX``."""
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise read_error(path, error) from error
    text = text.replace("\r\n", "\n")
    template = Template(path, text, _shell(path, text.partition("\n")[0]))
    if not any(_command_at(line) for line in _lines(text)):
        raise InputError(
            f"has no line with {_COMMAND}, where the command goes: is it a RELION submission template?", path
        )
    return template


def fill(
    template: Template,
    resources: Mapping[str, Sourced[ResourceValue]],
    qsub: Qsub,
    *,
    job_folder: str,
    tasks_file: Path,
    explicit: Collection[str] = (),
) -> Filled:
    """Fill a template in, so that it runs ``tasks_file`` in place of its command.

    Options of ``#SBATCH`` lines whose value is empty are dropped. What no word asks for becomes an option of sbatch: if
    the template does not say it either, or if somebody wants just that (``you``, ``project``, a ``retry``, or a field
    in ``explicit``); then the template's own is taken out, because Slurm refuses some together.

    Raises :class:`InputError` for an ``XXXextraNXXX`` that ``qsub.extra`` does not have, and for values that the
    template cannot take.
    """
    found = _Words(template, resources, qsub, job_folder)
    lines = list(_lines(template.text))
    header = {line: list(_sbatch_pieces(line, found)) for line in lines if line.kind == "sbatch"}
    options, replaced = _further_options(resources, chain.from_iterable(header.values()), explicit)
    rows: list[str] = []
    launches: list[str] = []
    for line in lines:
        command = _command_at(line)
        if line.kind == "sbatch":
            kept = [piece.text for piece in header[line] if piece.fields or not piece.names & replaced]
            if not all(text.lstrip().startswith("#") for text in kept):
                rows.append("#SBATCH" + "".join(kept))
        elif command is None:
            rows.append(found.shell(line.text, line.start, comment=line.kind == "comment"))
        else:
            before = found.shell(line.text[: command.start()], line.start)
            after = found.shell(line.text[command.end() :], line.start + command.end())
            number = template.text.count("\n", 0, line.start + command.start()) + 1
            launch = _launch(template, number, before.replace("\\\n", " "), after.replace("\\\n", " "))
            launches.append(launch)
            indent = line.text[: len(line.text) - len(line.text.lstrip())]
            rows += [indent + row for row in _call(template, launch, tasks_file)]
    launch = next(filter(None, launches), f'mpirun -n {found.values["mpinodes"]} "$@"')
    return Filled("\n".join(rows), options, launch)


def check(filled: Filled, template: Template) -> None:
    """Have bash read a filled template without running it. Raises :class:`InputError` naming the template where it is
    no valid script, and where the call of the tasks came to stand inside a quoted text. Nothing reads csh's."""
    if template.shell == "csh":
        return
    for call in re.finditer(re.escape(_BEGINS), filled.text):
        # A pipe that begins a line is an error wherever commands stand, and mere text inside quotes.
        found = _syntax_error(filled.text[: call.start()] + "|\n", template)
        if not found or "looking for matching" in found:
            raise InputError(
                f"{_COMMAND} stands inside a text that begins on an earlier line (quotes, or a here-document), which "
                "can hold no call of the tasks: put it on a line of its own.",
                template.path,
            )
    found = _syntax_error(filled.text, template)
    if found:
        raise InputError(f"is no valid {template.shell} script once it is filled in: {found}", template.path)
    if _syntax_error(f"launch() {{\n{filled.launch}\n}}\n", template):
        raise InputError(
            f"what stands around {_COMMAND} runs no command: {filled.launch}. Put it on a line of its own.",
            template.path,
        )


def relion_variables(qsub: Qsub, site_resources: Mapping[str, Any]) -> dict[str, str]:
    """The environment in which RELION offers the template that ``qsub`` names and the same fields; the site's
    ``resources`` are their defaults, in the form in which RELION, which puts them in as they are, gets what
    :func:`fill` puts in."""
    defaults: dict[str, Sourced[ResourceValue]] = {
        name: Sourced(value, "site") for name, value in site_resources.items()
    }
    found = {
        "RELION_QUEUE_USE": "yes",
        "RELION_QUEUE_NAME": _text(defaults, "partition"),
        "RELION_QSUB_COMMAND": qsub.command,
        "RELION_QSUB_TEMPLATE": qsub.template,
        "RELION_QSUB_EXTRA_COUNT": str(max(qsub.extra, default=0)),
    }
    units = _units(qsub)
    for number, extra in sorted(qsub.extra.items()):
        name, _ = _MEASURES.get(extra.field, (extra.field.replace("_", " ").capitalize(), ""))
        found[f"RELION_QSUB_EXTRA{number}"] = extra.label or name
        found[f"RELION_QSUB_EXTRA{number}_DEFAULT"] = _text(defaults, extra.field, units[number])
        if extra.field in Resources.model_fields:
            found[f"RELION_QSUB_EXTRA{number}_HELP"] = _help(extra.field, units[number])
    return found


def relion_queue_options(qsub: Qsub, resources: Mapping[str, Sourced[ResourceValue]]) -> dict[str, str]:
    """The queue's options of a ``job.star``, for RELION to put into the template as they are; none where the site has
    no template of its own."""
    if not qsub.template:
        return {}
    units = _units(qsub)
    return {
        "do_queue": "Yes",
        "qsub": qsub.command,
        "qsubscript": qsub.template,
        "queuename": _text(resources, "partition"),
        "min_dedicated": str(_number(resources, "tasks") * _number(resources, "cpus")),
        **{
            f"qsub_extra{number}": _text(resources, extra.field, units[number])
            for number, extra in sorted(qsub.extra.items())
        },
    }


class _Words:
    """What the words of a template are replaced by."""

    def __init__(
        self, template: Template, resources: Mapping[str, Sourced[ResourceValue]], qsub: Qsub, job_folder: str
    ) -> None:
        self._template, self._resources, self._qsub = template, resources, qsub
        folder = job_folder.rstrip("/")
        nodes, tasks, cpus = (_number(resources, field) for field in ("nodes", "tasks", "cpus"))
        self.values = {
            "mpinodes": str(nodes * tasks),
            "threads": str(cpus),
            "cores": str(nodes * tasks * cpus),
            "dedicated": str(tasks * cpus),
            "nodes": str(nodes),
            "name": f"{folder}/",
            "outfile": f"{folder}/run.out",
            "errfile": f"{folder}/run.err",
            "queue": _text(resources, "partition"),
        }
        for value in (folder, *(_text(resources, field) for field in _fields(resources))):
            if any(character in value for character in "\n\r\0"):
                raise InputError(f"The value {value!r} has a line break in it, which no submission script can hold.")

    def sbatch(self, text: str, start: int) -> tuple[str, frozenset[str]] | None:
        """An option of a ``#SBATCH`` line and the fields that it asks for; None where a value of it is empty."""
        fields: set[str] = set()
        empty = False

        def put(match: re.Match[str]) -> str:
            nonlocal empty
            value = self._value(match, start)
            empty = empty or not value
            fields.update(self._expresses(match[1]))
            return value

        filled = _WORD.sub(put, text)
        return None if empty else (filled, frozenset(fields))

    def shell(self, text: str, start: int, *, comment: bool = False) -> str:
        """Other text. A value that the shell would act on is quoted, so that it comes back as it is; but a field of the
        site's own that stands as an argument may be several plain words, as with RELION."""

        def put(match: re.Match[str]) -> str:
            if comment and self._field(match[1]) is None and match[1] not in self.values:
                return match[0]
            value = self._value(match, start)
            if not value or quote(value) == value:
                return value
            at = start + match.start()
            before = self._template.text[:at]
            context = _context(before)
            if context == "#":
                return value
            here = before[before.rfind("\n") + 1 :]
            alone = here.strip() and here[-1].isspace() and text[match.end() :][:1] in ("", " ", "\t", "\n")
            own = self._field(match[1]) not in (None, *Resources.model_fields)
            if own and alone and not context and all(quote(part) == part for part in value.split()):
                return value
            if context == "<<" or "`" in here or "$(" in here or (self._template.shell == "csh" and "!" in value):
                raise self._error(
                    f"{match[0]} stands where the shell would act on its value {value!r}: take it out of here, or "
                    "choose a value of letters, digits and _ @ % + = : , . / - only.",
                    at,
                )
            return context + quote(value) + context

        return _WORD.sub(put, text)

    def _value(self, match: re.Match[str], start: int) -> str:
        word = match[1]
        if word == "command":
            return match[0]
        if word in self.values:
            return self.values[word]
        field = self._field(word)
        if field is None:
            number = word.removeprefix("extra")
            raise self._error(
                f"{match[0]} means nothing yet: say which resource field it is with qsub.extra.{number} in conf.yaml "
                "(1 to 10), or take it out of the template.",
                start + match.start(),
            )
        return _text(self._resources, field, _unit(field, match.string[match.end() :]))

    def _field(self, word: str) -> str | None:
        number = word.removeprefix("extra")
        return self._qsub.extra[int(number)].field if number.isdecimal() and int(number) in self._qsub.extra else None

    def _expresses(self, word: str) -> tuple[str, ...]:
        field = self._field(word)
        if field is None:
            return _EXPRESSES.get(word, ())
        return (field, "gres") if field == "gpus" else (field,)

    def _error(self, sentence: str, at: int) -> InputError:
        return InputError(sentence, self._template.path, self._template.text.count("\n", 0, at) + 1)


def _units(qsub: Qsub) -> dict[int, str]:
    """The unit in which RELION has to give each ``XXXextraNXXX``; "" for as Slurm writes it. A template that cannot be
    read takes everything so: RELION cannot read it either."""
    try:
        text = Path(qsub.template).read_bytes().decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    except OSError:
        text = ""
    return {number: _unit(extra.field, _after(text, number, extra.field)) for number, extra in qsub.extra.items()}


def _after(text: str, number: int, field: str) -> str:
    """What follows ``XXXextraNXXX`` in a template. RELION knows one value for all its places: the option that is for
    the field decides, then any ``#SBATCH`` line, then a command."""
    places: list[tuple[int, str]] = []
    for line in _lines(text):
        sbatch = line.kind == "sbatch"
        for piece in _pieces(line.text.removeprefix("#SBATCH")) if sbatch else [line.text]:
            _, word, after = piece.partition(f"XXXextra{number}XXX")
            if word and sbatch:
                places.append((0 if _option_name(piece) in _OPTIONS.get(field, ()) else 1, after))
            elif word:
                places.append((2 if line.kind == "code" else 3, after))
    return min(places, key=lambda place: place[0], default=(0, ""))[1]


def _unit(field: str, after: str) -> str:
    """The unit that a template itself gives a field with what follows the word; "" where the value brings its own."""
    if field == "memory_gb":
        return {"G": "GB", "M": "MB"}.get(after[:1].upper(), "")
    if field == "minutes" and after.startswith(":00"):
        return "hours" if after.startswith(":00:00") else "minutes"
    return ""


def _help(field: str, unit: str) -> str:
    """What RELION's user should enter for a field."""
    if field not in _MEASURES:
        description = (Resources.model_fields[field].description or "").replace("``", "")
        return description.partition(";")[0].rstrip(".") + "."
    name, example = _MEASURES[field]
    return f"{name} in {unit}, a whole number." if unit else f"{name} as Slurm takes it, e.g. {example}."


def _shell(path: Path, first: str) -> Shell:
    words = first[2:].split() if first.startswith("#!") else []
    if not words:
        raise InputError("does not begin with #! and a shell (#!/bin/bash), so that Slurm refuses it.", path, 1)
    if PurePosixPath(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word] or words
    name = PurePosixPath(words[0]).name
    if name not in _SHELLS:
        raise InputError(f"is a script for {name}; it must be one for bash, sh, csh or tcsh.", path, 1)
    return _SHELLS[name]


def _lines(text: str) -> Iterator[_Line]:
    """The lines of a template. sbatch reads its options only above the first command."""
    header = True
    start = 0
    rows = iter(text.split("\n"))
    for row in rows:
        line = row
        kind: Literal["sbatch", "comment", "code"] = "comment" if row.lstrip().startswith("#") else "code"
        if header and _SBATCH.match(row):
            kind = "sbatch"
        elif kind == "code":
            header = header and not row.strip()
            while (len(line) - len(line.rstrip("\\"))) % 2:
                more = next(rows, None)
                if more is None:
                    break
                line += "\n" + more
        yield _Line(start, line, kind)
        start += len(line) + 1


def _command_at(line: _Line) -> re.Match[str] | None:
    """Where a line runs the command: not in a comment."""
    if line.kind != "code":
        return None
    found = re.finditer(_COMMAND, line.text)
    return next((match for match in found if _context(line.text[: match.start()]) != "#"), None)


def _context(before: str) -> str:
    """What the shell is in after ``before``: an open quote (``'`` or ``"``), a comment (``#``), a here-document
    (``<<``), or nothing of these."""
    found = _OPEN.search(_WHOLE.sub("_", before))
    return "" if found is None else found[0][:2].strip() if found[0].startswith("<<") else found[0]


def _pieces(text: str) -> list[str]:
    """The rest of a ``#SBATCH`` line: each option with its value, other words, and a comment at its end."""
    pieces: list[str] = []
    waits = False
    for word in _SBATCH_WORD.findall(text):
        bare = word.lstrip()
        if waits and not bare.startswith(("-", "#")):
            pieces[-1] += word
            waits = False
        else:
            pieces.append(word)
            waits = bare.startswith("-") and ("=" not in bare if bare.startswith("--") else len(bare) == 2)
    return pieces


def _option_name(piece: str) -> str:
    """The long name of an option; "" for what is none."""
    piece = piece.strip()
    if piece.startswith("--"):
        return re.split(r"[=\s]", piece[2:], maxsplit=1)[0]
    return _SHORT.get(piece[1:2], "") if piece.startswith("-") else ""


def _sbatch_pieces(line: _Line, words: _Words) -> Iterator[_Piece]:
    start = line.start + len("#SBATCH")
    for piece in _pieces(line.text.removeprefix("#SBATCH")):
        filled = words.sbatch(piece, start)
        start += len(piece)
        if filled is not None:
            text, fields = filled
            names = frozenset(filter(None, map(_option_name, _pieces(text))))
            yield _Piece(text, names, frozenset() if names & _OVERRIDDEN else fields)


def _further_options(
    resources: Mapping[str, Sourced[ResourceValue]], pieces: Iterable[_Piece], explicit: Collection[str]
) -> tuple[tuple[str, ...], frozenset[str]]:
    """Options for sbatch itself, and the names of those in the template whose place they take."""
    pieces = list(pieces)
    expressed = frozenset().union(*(piece.fields for piece in pieces))
    present = frozenset().union(*(piece.names for piece in pieces))
    options: list[str] = []
    replaced: set[str] = set()
    for field, names in _OPTIONS.items():
        found = _gres(resources) if field == "gres" else resources.get(field)
        if found is None or field in expressed:
            continue
        if present.intersection(names):
            if found.source not in _ASKED and field not in explicit:
                continue
            replaced.update(names)
        value = _slurm_text(field, found.value)
        if value:
            options.append(f"--{names[0]}={value}")
    return tuple(options), frozenset(replaced)


def _gres(resources: Mapping[str, Sourced[ResourceValue]]) -> Sourced[ResourceValue] | None:
    """``gres`` with the source of the number that it follows from; empty where no GPU is wanted."""
    gres, gpus = resources.get("gres"), resources.get("gpus")
    if gpus is not None and gres is None and not gpus.value:
        return Sourced("", gpus.source)
    return Sourced(gres.value, gpus.source) if gres is not None and gpus is not None and gres.source == "gpus" else gres


def _launch(template: Template, number: int, before: str, after: str) -> str:
    """The body of a bash function that runs its arguments as the template runs a command; "" where the command stands
    alone. What only tells one command from the next, and where output goes, is left out."""
    context = _context(before)
    before = before[_end(_KEYWORDS, before) :]
    inside = ""
    if context in _CLOSING:
        closing = _CLOSING[context].match(after)
        if closing is None:
            raise InputError(
                f"The quote around {_COMMAND} is not closed on the same line, so that no call of the tasks can take "
                "its place: put it on one line.",
                template.path,
                number,
            )
        inside, after = closing[0], after[closing.end() :]
    after = after[: _end(_ARGUMENTS, after)].rstrip()
    if not before.strip() and not after.strip():
        return ""
    arguments = {'"': "$crboost_words", "'": "'\"$crboost_words\"'"}.get(context, '"$@"')
    return f"{before}{arguments}{inside}{after}"


def _end(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.match(text)
    return 0 if found is None else found.end()


def _call(template: Template, launch: str, tasks_file: Path) -> list[str]:
    """The lines that run the table of tasks. Its exit code is that of the last one."""
    path = str(tasks_file)
    start = words(("bash", "-c", _FIND, "crboost", path)) + " < /dev/null"
    if template.shell == "csh":
        if "!" in path or "\n" in path:
            raise InputError(
                f"The path {path!r} has a ! or a line break in it, which a {template.shell} script cannot hold: move "
                "the project, or use a template for bash.",
                template.path,
            )
        return [_BEGINS, start]
    names = dict.fromkeys(_VARIABLE.findall(launch))
    names.pop("crboost_words", None)
    return [
        _BEGINS,
        *([f"export {' '.join(names)}"] if names else []),
        "crboost_pid='' crboost_signal='' crboost_code=127 crboost_traps=$(trap)",
        "trap 'crboost_signal=USR2; kill -s USR2 $crboost_pid 2> /dev/null || :' USR2",
        "trap 'crboost_signal=TERM; kill -s TERM $crboost_pid 2> /dev/null || :' TERM",
        f"{start} &",
        "crboost_pid=$!",
        '[ -z "$crboost_signal" ] || kill -s "$crboost_signal" "$crboost_pid" || :',
        "while :; do # a signal ends the waiting, not the tasks",
        "    crboost_signal='' crboost_wait=0",
        '    wait "$crboost_pid" || crboost_wait=$?',
        '    [ "$crboost_wait" = 127 ] || crboost_code=$crboost_wait',
        '    [ -n "$crboost_signal" ] || break',
        "done",
        "trap - USR2 TERM",
        'eval "$crboost_traps"',
        '(exit "$crboost_code")',
    ]


def _syntax_error(text: str, template: Template) -> str:
    """What bash finds wrong with a script; "" where it is valid."""
    try:
        done = subprocess.run(
            ["bash", "-n"],
            input=text.encode("utf-8", "surrogateescape"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"could not be checked with bash -n: {error}", template.path) from error
    if not done.returncode:
        return ""
    return done.stderr.decode("utf-8", "replace").strip().partition("\n")[0].removeprefix("bash: ")


def _fields(resources: Mapping[str, Sourced[ResourceValue]]) -> list[str]:
    """Every field that has a value, the site's own included."""
    extra = resources.get("extra")
    own = list(extra.value) if extra is not None and isinstance(extra.value, Mapping) else []
    return [*(name for name in resources if name != "extra"), *own]


def _value_of(resources: Mapping[str, Sourced[ResourceValue]], field: str) -> str | int | None:
    """A resource field, or one of the site's own; None where it is not set."""
    found = resources.get(field)
    if found is None and field not in Resources.model_fields:
        extra = resources.get("extra")
        return extra.value.get(field) if extra is not None and isinstance(extra.value, Mapping) else None
    return None if found is None or isinstance(found.value, Mapping) else found.value


def _number(resources: Mapping[str, Sourced[ResourceValue]], field: str) -> int:
    """A number of nodes, tasks or CPUs: 1 where nobody sets it."""
    value = _value_of(resources, field)
    return value if isinstance(value, int) else 1


def _text(resources: Mapping[str, Sourced[ResourceValue]], field: str, unit: str = "") -> str:
    return _slurm_text(field, _value_of(resources, field), unit)


def _slurm_text(field: str, value: ResourceValue | None, unit: str = "") -> str:
    """A value as Slurm takes it: ``16G``, ``1:30:00``, ``2-02:00:00``; "" for none. Only the number in ``unit``, where
    one is given."""
    if value is None:
        return ""
    if unit and isinstance(value, int):
        return str({"MB": value * 1024, "hours": -(-value // 60)}.get(unit, value))
    if field == "memory_gb":
        return f"{value}G"
    if field == "minutes" and isinstance(value, int):
        days, rest = divmod(value, 1440)
        hours, minutes = divmod(rest, 60)
        return f"{days}-{hours:02}:{minutes:02}:00" if days else f"{hours}:{minutes:02}:00"
    return str(value)
