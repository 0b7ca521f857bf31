"""Making the folder of a new project."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import InputError
from core.files import write_error
from core.project.file import save
from core.project.layout import PROJECT_FILE, ProjectPaths
from core.project.model import FORMAT, ProjectFile
from core.project.problems import validated


def create_project(root: Path, name: str, note: str = "", pieces: Mapping[str, Any] | None = None) -> None:
    """Make ``root`` (it may exist) a project with its first version of ``crboost.yaml``.

    ``pieces`` are further parts of the project file as plain values (``pipeline``, ``acquisition``, ``instrument``,
    ``decisions``, ``resources``, ``rehearsal``). Nothing is written where they are wrong or where a project is there.
    RELION's own files are ``core.relion.project.prepare_project``'s.
    """
    paths = ProjectPaths(root)
    model = validated(ProjectFile, {"format": FORMAT, "name": name, "note": note, **(pieces or {})}, PROJECT_FILE)
    if os.path.lexists(paths.file):
        raise InputError("is a crboost project already: open it, or choose another folder.", root)
    for folder in (root, paths.state, paths.versions, paths.inbox):
        try:
            folder.mkdir(parents=folder == root, exist_ok=True)
        except FileExistsError as error:
            raise InputError("is a file, a folder was expected: choose another name.", folder) from error
        except NotADirectoryError as error:
            raise InputError("lies below a file: choose another folder.", folder) from error
        except OSError as error:
            raise write_error(folder, error) from error
    save(root, model, "")
