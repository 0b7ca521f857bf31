"""A rehearsal: the whole pipeline of a project with stand-ins for every tool, in a project of its own.

It is made from the same ``crboost.yaml``, registry and links below ``.crboost/rehearsal/NNN/``; the real project's job
numbers and pipeline file are never touched.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from core.errors import InputError
from core.files import write_error
from core.project.create import create_project
from core.project.file import load
from core.project.layout import ProjectPaths


def make_rehearsal(root: Path) -> Path:
    """Make a new rehearsal project and return its folder. Raises :class:`InputError` for a project without data."""
    paths = ProjectPaths(root)
    model = load(root).model
    if model.rehearsal:
        raise InputError("is a rehearsal itself: run it.", root)
    if not paths.registry.exists():
        raise InputError("has no tilt series yet: add data before rehearsing.", root)
    target = _next_folder(paths.rehearsal)
    pieces = model.model_dump(exclude_none=True, exclude={"format", "name", "note", "rehearsal"})
    create_project(target, f"{model.name} (REHEARSAL)", model.note, {**pieces, "rehearsal": True})
    copy = ProjectPaths(target)
    try:
        shutil.copy2(paths.registry, copy.registry)
        if (paths.state / "conf.yaml").exists():
            shutil.copy2(paths.state / "conf.yaml", copy.state / "conf.yaml")
        copy.frames.mkdir()
        for link in os.scandir(paths.frames):
            os.symlink(os.path.realpath(link.path), copy.frames / link.name)
        shutil.copytree(paths.mdoc, copy.mdoc)
    except OSError as error:
        raise write_error(target, error) from error
    return target


def _next_folder(folder: Path) -> Path:
    taken = [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{max(taken, default=0) + 1:03d}"
