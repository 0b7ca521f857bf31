"""Saved versions of ``crboost.yaml`` in ``.crboost/versions/NNNNNN.yaml``, as the very text that was saved."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection
from pathlib import Path

from core.errors import InputError
from core.files import read_error, read_text, replace_text, write_error
from core.project.layout import ProjectPaths

KEPT = 50

_NAME = re.compile(r"(\d{6,})\.yaml")


def version_numbers(root: Path) -> list[int]:
    """The numbers of all kept versions, ascending."""
    folder = ProjectPaths(root).versions
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise read_error(folder, error) from error
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)


def version_path(root: Path, number: int) -> Path:
    return ProjectPaths(root).versions / f"{number:06d}.yaml"


def read_version(root: Path, number: int) -> str:
    """The text of one version. Raises :class:`InputError` where it is not kept (any more)."""
    path = version_path(root, number)
    if not path.exists():
        raise InputError(f"version {number} of this project is not kept (any more).", path)
    return read_text(path)


def write_version(root: Path, text: str) -> int:
    """Keep ``text`` as the next version and return its number. The caller holds the project's lock."""
    number = max(version_numbers(root), default=0) + 1
    path = version_path(root, number)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(path.parent, error) from error
    replace_text(path, text, sync=True)
    return number


def drop_old_versions(root: Path, named: Collection[int]) -> None:
    """Keep the last 50, and those that a request names."""
    for number in version_numbers(root)[:-KEPT]:
        if number not in named:
            with contextlib.suppress(OSError):
                os.unlink(version_path(root, number))
