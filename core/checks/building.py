"""How each container of the tools is built: its definition file says so itself, in its head and in its ``%help``."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from core.files import read_text

_HELP = re.compile(r"^%help\b[^\n]*\n(.*?)(?=^%\w|\Z)", re.MULTILINE | re.DOTALL)
_BUILD = re.compile(r"^\s*Build\b,?\s*([^:]*):\s*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Recipe:
    """``about``: the lines at the head of the file (what is in it, what it takes and needs). ``commands``: command
    lines with the words (``as root``) that say when each is the right one."""

    name: str
    about: tuple[str, ...]
    commands: tuple[tuple[str, tuple[str, ...]], ...]


def read_recipe(path: Path) -> Recipe:
    """Raises :class:`core.errors.InputError` where the file cannot be read."""
    text = read_text(path)
    about = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        about.append(line.lstrip("# "))
    help_text = _HELP.search(text)
    commands = _commands(help_text[1], path) if help_text else []
    usual = ("apptainer", "build", f"{path.stem}.sif", str(path))
    return Recipe(path.stem, tuple(about), tuple(commands) or (("", usual),))


def _commands(text: str, path: Path) -> list[tuple[str, tuple[str, ...]]]:
    found = []
    when = ""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        heading = _BUILD.match(line)
        when = heading[1].strip() if heading else when
        _, begin, rest = line.partition("apptainer build ")
        if begin:
            words = shlex.split(begin + rest)
            found.append((when, tuple(str(path) if word == path.name else word for word in words)))
    return found
