"""Option catalogues: which options each version of a tool really has, and whether it would take a command line.

WarpTools exits with 0 after refusing its command line, ignores stray values, and takes ``10,5`` for 105: a command that
is wrong is found here, before it is submitted. Rules: CommandLineParser 2.9.1 as WarpTools uses it.

Job types are pure and read no files: the program calls :func:`use` once at its start, with its catalogue folder, and
their checks of extra arguments ask :func:`default`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import InputError
from core.files import read_text

_INT = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?")
_NEGATIVE_NUMBER = re.compile(r"-\d")


@dataclass(frozen=True, slots=True)
class Option:
    """``name`` has its dashes; ``kind``: flag, decimal, int, string or list<...>; no ``versions``: in every version."""

    name: str
    kind: str
    short: str = ""
    required: bool = False
    versions: frozenset[str] = frozenset()

    def known_to(self, version: str) -> bool:
        return not self.versions or version in self.versions


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """One command of a tool. ``distributed``: WarpTools works its items off through workers and a queue."""

    name: str
    options: tuple[Option, ...]
    distributed: bool = False

    def option(self, name: str, version: str) -> Option | None:
        for option in self.options:
            if name in (option.name, option.short) and option.known_to(version):
                return option
        return None


@dataclass(frozen=True, slots=True)
class Catalogue:
    tool: str
    versions: tuple[str, ...]
    commands: Mapping[str, CommandOptions] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Catalogue:
        """Read ``config/catalogues/<tool>.json``. Raises :class:`InputError` where it is no catalogue."""
        try:
            data = json.loads(read_text(path))
            commands = {
                name: CommandOptions(
                    name,
                    tuple(
                        Option(
                            item["long"],
                            item["type"],
                            item.get("short", ""),
                            bool(item.get("required", False)),
                            frozenset(item.get("versions", ())),
                        )
                        for item in command["options"]
                    ),
                    bool(command.get("distributed", False)),
                )
                for name, command in data["commands"].items()
            }
            return cls(str(data["tool"]), tuple(data["versions"]), commands)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"is not an option catalogue ({error}).", path) from error

    def check(self, argv: Sequence[str], version: str) -> list[str]:
        """What is wrong with ``argv`` (program, command, options) for that version; [] where the tool would take it.

        Stricter than the tool where the tool is silent: a value after a flag, a stray value, a decimal comma.
        """
        if version not in self.versions:
            return [f"There is no version {version!r} of {self.tool} in the catalogue."]
        if len(argv) < 2:
            return [f"{self.tool} needs a command."]
        command = self.commands.get(argv[1])
        if command is None:
            return [f"{self.tool} has no command {argv[1]!r}."]
        return self.check_options(command, argv[2:], version)

    def check_options(
        self, command: CommandOptions, words: Sequence[str], version: str, *, complete: bool = True
    ) -> list[str]:
        """As :meth:`check` for the words after the command; without ``complete``, required options may be missing."""
        problems: list[str] = []
        seen: set[str] = set()
        for name, inline, values in _group(words):
            if not name:
                problems.append(f"{command.name}: {values[0]!r} belongs to no option and would be ignored.")
                continue
            option = command.option(name, version)
            if option is None:
                problems.append(f"{command.name} has no option {name} in version {version}.")
                continue
            if option.name in seen:
                problems.append(f"{command.name}: {option.name} is given more than once.")
            seen.add(option.name)
            problems += _check_values(command.name, option, inline, values)
        if complete:
            problems += [
                f"{command.name} needs {option.name}."
                for option in command.options
                if option.required and option.known_to(version) and option.name not in seen
            ]
        return problems


def _group(words: Sequence[str]) -> list[tuple[str, bool, list[str]]]:
    """Options with what follows them: (name, was the value joined by ``=``, values). Name "" for stray words."""
    groups: list[tuple[str, bool, list[str]]] = []
    for word in words:
        if word.startswith("-") and len(word) > 1 and not _NEGATIVE_NUMBER.match(word):
            name, equals, value = word.partition("=")
            groups.append((name, bool(equals), [value] if equals else []))
        elif groups and not groups[-1][1]:
            groups[-1][2].append(word)
        else:
            groups.append(("", False, [word]))
    return groups


def _check_values(command: str, option: Option, inline: bool, values: list[str]) -> list[str]:
    where = f"{command}: {option.name}"
    if option.kind == "flag":
        if inline or values:
            return [f"{where} takes no value (it would count as given, whatever the value)."]
        return []
    if not values or values == [""]:
        return [f"{where} has no value."]
    kind = option.kind
    if kind.startswith("list<"):
        kind = kind[5:-1]
    elif len(values) > 1:
        return [f"{where} takes one value, {values[1]!r} would be ignored."]
    if kind == "int":
        return [f"{where}: {value!r} is not a whole number." for value in values if not _INT.fullmatch(value)]
    if kind == "decimal":
        return [
            f"{where}: {value!r} is not a number with a decimal point."
            for value in values
            if not _DECIMAL.fullmatch(value)
        ]
    return []


@dataclass(slots=True)
class _Program:
    warptools: Catalogue | None = None
    relion: Catalogue | None = None
    version: str = "head"


_program = _Program()


def use(folder: Path, warp_version: str = "head") -> None:
    """Set the program's catalogues, once at its start. ``warp_version`` is the site's WarpTools (head or dev39)."""
    _program.warptools = Catalogue.load(folder / "warptools.json")
    _program.relion = Catalogue.load(folder / "relion.json")
    _program.version = warp_version


def default() -> Catalogue | None:
    """WarpTools' catalogue as set by :func:`use`; None before (then only the form of extra arguments is checked)."""
    return _program.warptools


def relion() -> Catalogue | None:
    """RELION's catalogue as set by :func:`use`; None before. A command is a program of RELION's."""
    return _program.relion


def default_version() -> str:
    """The site's version of WarpTools as set by :func:`use`."""
    return _program.version
