"""A file of settings without its mistakes: what is right in it can be checked all the same."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.errors import InputError
from core.files import read_text
from core.formats import plain_yaml
from core.project.site import SiteFile

_ROUNDS = 3
"""A mistake may hide another one behind it."""


def mended(path: Path) -> str | None:
    """The file's text without the settings that are wrong, its paths made absolute so that it may lie elsewhere. None
    where nothing of it can be read."""
    try:
        values = plain_yaml.load(read_text(path), str(path))
    except InputError:
        return None
    if not isinstance(values, dict):
        return None
    for _ in range(_ROUNDS):
        try:
            SiteFile.model_validate(values)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                _remove(values, detail["loc"])
        else:
            _make_absolute(values, path.parent)
            return plain_yaml.dump(values)
    return None


def _remove(values: dict[str, Any], location: Iterable[int | str]) -> None:
    """Take out what stands at ``location``, or the last part of the way that is a name."""
    holder, name = values, ""
    inner: Any = values
    for part in location:
        if not isinstance(inner, dict) or str(part) not in inner:
            break
        holder, name = inner, str(part)
        inner = inner[name]
    holder.pop(name, None)


def _make_absolute(values: dict[str, Any], folder: Path) -> None:
    def whole(text: str, always: bool) -> str:
        text = os.path.expanduser(text)
        return str(folder / text) if always or "/" in text else text

    containers = values.get("containers") or {}
    containers.update({name: whole(image, True) for name, image in containers.items()})
    for tool in (values.get("tools") or {}).values():
        if tool.get("path"):
            tool["path"] = whole(tool["path"], bool(tool.get("container")))
    qsub = values.get("qsub") or {}
    if qsub.get("template"):
        qsub["template"] = whole(qsub["template"], True)
