"""What the checks are about: the program, the terminal, the site's settings and, where there is one, the project."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from core.project.model import ProjectFile
from core.project.site import Site


@dataclass(frozen=True, slots=True)
class Screen:
    """What standard output is: a terminal of so many cells, and the encoding of what is written there."""

    terminal: bool
    columns: int
    lines: int
    encoding: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``data``: the folder of ``conf.template.yaml``. ``program``: the folder in which the command line found itself.
    ``project`` is None where there is none, or its file is wrong."""

    data: Path
    program: Path
    screen: Screen
    site: Site
    root: Path | None = None
    project: ProjectFile | None = None

    @property
    def job_types(self) -> tuple[str, ...]:
        """The types of the project's pipeline, each once."""
        return () if self.project is None else tuple(dict.fromkeys(one.type for one in self.project.pipeline))


def short(path: Path | str) -> str:
    """A path for a person: ``~`` for the home folder, without asking any file system."""
    text = str(path)
    home = os.environ.get("HOME", "").rstrip("/")
    return "~" + text[len(home) :] if home and (text == home or text.startswith(home + "/")) else text


def plural(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def cache_folder() -> Path:
    """Where this user's programs keep what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crboost"
