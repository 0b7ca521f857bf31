"""Making a project with its data, as ``crboost new`` and the screen do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from core.errors import InputError

if TYPE_CHECKING:
    from core.dataset.scan import Inspection
    from core.project.model import ProjectFile


def make_project(
    root: Path,
    name: str,
    found: Inspection | None,
    pipeline: str,
    words: Sequence[str] = (),
    rehearsal: bool = False,
    *,
    edits: Mapping[str, str | None] = MappingProxyType({}),
    left_out: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """A new project of a pipeline ("" for none), with the inspected data linked into it. ``words`` are NAME=VALUE as
    ``crboost set`` takes them, ``edits`` the same as forms hold them, ``left_out`` ids of series that come in excluded:
    they can be included at any time. ``progress`` is called with (series linked, series in all)."""
    from core.engine.edits import assign, job_problems
    from core.project.create import create_project
    from core.project.model import ProjectFile, to_plain
    from core.project.pipelines import load_pipeline
    from core.relion.project import prepare_project
    from crboost_tui.data import config_dir

    jobs = list(load_pipeline(config_dir() / "pipelines", pipeline).pipeline) if pipeline else []
    model = ProjectFile(name=name, rehearsal=rehearsal, pipeline=jobs)
    model = edited(assign(model, words), edits)
    wrong = [
        sentence for level, _, sentence in job_problems(model, {each.id for each in model.pipeline}) if level == "error"
    ]
    if wrong:
        raise InputError(" ".join(wrong) + " Nothing was made.")
    pieces: dict[str, Any] = to_plain(model)
    for known in ("format", "name", "note"):
        pieces.pop(known, None)
    create_project(root, name, model.note, pieces)
    prepare_project(root)
    if found is not None:
        bring_data(root, found, left_out, progress)


def edited(model: ProjectFile, edits: Mapping[str, str | None]) -> ProjectFile:
    """With what was typed in forms. Raises :class:`InputError` for what cannot be."""
    from core.engine.edits import with_edits

    model, refused = with_edits(model, edits)
    if refused:
        raise InputError("; ".join(f"{name}: {sentence}" for name, sentence in refused.items()))
    return model


def bring_data(
    root: Path,
    found: Inspection,
    left_out: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Link an inspection's data into a project. Series that are left out are excluded first, so that an engine that
    runs does not begin with them."""
    from core.errors import CrboostError
    from core.project.data import link_data
    from core.project.file import ensure_version
    from core.project.wanted import add_request

    if left_out:
        add_request(root, "exclude", version=ensure_version(root), series=left_out)
    try:
        link_data(root, found, progress=progress)
    except CrboostError:
        if left_out:  # the ids may be another's now
            add_request(root, "include", version=ensure_version(root), series=left_out)
        raise
