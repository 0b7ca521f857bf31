"""The definition files of ``container_defs/``: what each builds, and the command that does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from core.files import read_text

_SECTION = re.compile(r"^%(\w+)[ \t]*(.*)$", re.MULTILINE)
_USED = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_NEEDS = re.compile(r"^# Needs: (\w+) (.+)$", re.MULTILINE)
_TAKES = re.compile(r"^# Takes: (.+)$", re.MULTILINE)
_HEADER = re.compile(r"^(\w+):[ \t]*(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a build. ``header``: ``Bootstrap`` and its other keys, by name in lower case."""

    header: Mapping[str, str]
    sections: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Definition:
    """``needs``: arguments without a default, with what they are. ``takes``: time and size, for people."""

    path: Path
    title: str
    takes: str
    needs: Mapping[str, str]
    stages: tuple[Stage, ...]

    @property
    def labels(self) -> dict[str, str]:
        lines = [line.split(maxsplit=1) for line in self.stages[-1].sections.get("labels", "").splitlines()]
        return {words[0]: words[1] for words in lines if len(words) == 2}

    @property
    def arguments(self) -> dict[str, str]:
        """Those with a default."""
        lines = [line.strip() for stage in self.stages for line in stage.sections.get("arguments", "").splitlines()]
        pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
        return {name: value for name, _, value in pairs}

    @property
    def command(self) -> list[str]:
        """Builds ``<name>.sif`` in the working folder. What must be given stands in it as ``NAME=...``."""
        given = [word for name in self.needs for word in ("--build-arg", f"{name}=...")]
        return ["apptainer", "build", *given, f"{self.path.stem}.sif", str(self.path)]

    def used(self) -> set[str]:
        """Every argument that stands in it."""
        texts = [text for stage in self.stages for text in (*stage.header.values(), *stage.sections.values())]
        return {name for text in texts for name in _USED.findall(text)}


def read_definition(path: Path) -> Definition:
    """Raises :class:`InputError` where the file has no header or cannot be read."""
    text = read_text(path)
    starts = [match.start() for match in re.finditer(r"^Bootstrap:", text, re.MULTILINE)]
    if not starts:
        raise InputError("has no Bootstrap: line, so that it is no definition of a container.", path)
    head = text[: starts[0]]
    title = next((line.removeprefix("# ") for line in head.splitlines() if line.startswith("# ")), path.stem)
    takes = _TAKES.search(head)
    ends = [*starts[1:], len(text)]
    stages = tuple(_stage(text[start:end]) for start, end in zip(starts, ends, strict=True))
    return Definition(path, title, takes[1] if takes else "", dict(_NEEDS.findall(head)), stages)


def _stage(text: str) -> Stage:
    found = list(_SECTION.finditer(text))
    header = text[: found[0].start()] if found else text
    ends = [*(match.start() for match in found[1:]), len(text)]
    sections: dict[str, str] = {}
    for match, end in zip(found, ends, strict=True):
        sections[match[1]] = sections.get(match[1], "") + text[match.end() : end]
    return Stage({name.lower(): value.strip() for name, value in _HEADER.findall(header)}, sections)
