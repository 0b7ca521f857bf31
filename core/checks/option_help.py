"""An installed tool's own help, compared with the option catalogue of the commands that crboost writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from core.jobs._warp import MANAGED
from core.tools.catalogue import CommandOptions

_EVERYWHERE = frozenset(("--help", "--version", "--pipeline_control"))
"""Said of no command in particular; RELION's last one stands in no help."""


@dataclass(frozen=True, slots=True)
class Help:
    """How a tool explains a command. ``catalogue``: file of ours. ``program``: stands before the command's name where
    that is none itself. ``option``: a line of the help that begins an option. ``also``: words without which a command
    does not get as far as its help. ``written``: options that job types write, by command."""

    catalogue: str
    option: re.Pattern[str]
    program: tuple[str, ...] = ()
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    written: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def argv(self, command: str) -> tuple[str, ...]:
        return (*self.program, command, *self.also.get(command, ()), "--help")

    def options(self, text: str) -> frozenset[str]:
        """The options that a help lists; none where it is no such help."""
        return frozenset(self.option.findall(text)) - _EVERYWHERE


HELPS: Mapping[str, Help] = {
    # -o, --output       REQUIRED Path to ... (at the beginning of a line; descriptions go on far to the right)
    "warp": Help(
        "warptools.json",
        re.compile(r"^ {0,3}(?:-\w, )?(--\w+)(?=\s|$)", re.MULTILINE),
        ("WarpTools",),
        written=MANAGED,
    ),
    #                 --eer_grouping (40) : EER grouping
    "relion": Help(
        "relion.json",
        re.compile(r"^ *(--\w+)(?: \(.*?\))? : ", re.MULTILINE),
        also={"relion_run_motioncorr": ("--use_own",)},
    ),
}
"""By the tool's name."""


@dataclass(frozen=True, slots=True)
class Difference:
    """``missing``: options of the catalogue that the tool does not have. ``new``: its own that nobody here knows."""

    command: str
    missing: tuple[str, ...]
    new: tuple[str, ...]


def difference(how: Help, command: CommandOptions, version: str, text: str) -> Difference | None:
    """What differs; None where ``text`` is no help of the command."""
    found = how.options(text)
    if not found:
        return None
    known = {option.name for option in command.options if option.known_to(version)} - _EVERYWHERE
    return Difference(command.name, tuple(sorted(known - found)), tuple(sorted(found - known)))
