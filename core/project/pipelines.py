"""Pipelines to start a project from: ``config/pipelines/*.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from core.errors import InputError
from core.files import read_error, read_text
from core.formats import plain_yaml
from core.project.model import Instance, Pipeline
from core.project.problems import nearest, validated


@dataclass(frozen=True, slots=True)
class PipelineTemplate:
    """``name`` is the file's name without ``.yaml``."""

    name: str
    title: str
    summary: str
    pipeline: tuple[Instance, ...]


class _TemplateFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    title: str
    summary: str
    pipeline: Pipeline


def list_pipelines(folder: Path) -> list[PipelineTemplate]:
    """Every pipeline of the folder, by name. Raises :class:`InputError` for one that is wrong."""
    return [load_pipeline(folder, name) for name in _names(folder)]


def load_pipeline(folder: Path, name: str) -> PipelineTemplate:
    """The pipeline of that name. Raises :class:`InputError` naming those that exist."""
    names = _names(folder)
    if name not in names:
        raise InputError(f"There is no pipeline {name!r}.{nearest(name, names)}", folder)
    path = folder / f"{name}.yaml"
    found = validated(_TemplateFile, plain_yaml.load(read_text(path), str(path)), path)
    return PipelineTemplate(name, found.title, " ".join(found.summary.split()), tuple(found.pipeline))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.stem for path in folder.iterdir() if path.suffix == ".yaml" and path.name[0] != ".")
    except OSError as error:
        raise read_error(folder, error) from error
