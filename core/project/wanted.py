"""What people want done: numbered requests in ``.crboost/wanted.json``. The engine only reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from core.errors import InputError
from core.files import read_text, replace_text
from core.project.layout import ProjectPaths
from core.project.lock import project_lock, user
from core.project.problems import nearest, refuse_newer, validated
from core.project.versions import version_numbers

FORMAT = 1

Kind = Literal[
    "run", "stop", "drain", "hold", "release", "retry", "redo", "exclude", "include", "exclude_tilts", "include_tilts"
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Request:
    """One wish. ``version``: the saved version of ``crboost.yaml`` that it speaks of. ``jobs`` and ``series``: ids,
    None for all. ``to``: the last instance of a run. ``tilts``: series id -> tilt ids. ``at``: ISO 8601 with offset."""

    number: int
    kind: Kind
    version: int | None = None
    jobs: tuple[str, ...] | None = None
    series: tuple[str, ...] | None = None
    to: str | None = None
    tilts: Mapping[str, tuple[str, ...]] | None = None
    by: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    requests: tuple[Request, ...] = ()


class _RequestFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    number: Annotated[int, Field(ge=1)]
    kind: Kind
    version: int | None = None
    jobs: list[str] | None = None
    series: list[str] | None = None
    to: str | None = None
    tilts: dict[str, list[str]] | None = None
    by: str = ""
    at: str = ""


class _WantedFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]
    requests: list[_RequestFile]


def read_wanted(root: Path) -> Wanted:
    """All requests in order; none where the file is not there. Raises :class:`InputError` where it is spoilt."""
    path = ProjectPaths(root).wanted
    if not os.path.lexists(path):
        return Wanted()
    text = read_text(path)
    try:
        value = json.loads(text)
    except ValueError as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        sentence = "is not valid JSON. Only crboost writes it: restore it from a backup."
        raise InputError(sentence, path, line) from error
    refuse_newer(value, FORMAT, path)
    return Wanted(tuple(_request(each) for each in validated(_WantedFile, value, path).requests))


def add_request(
    root: Path,
    kind: Kind,
    *,
    version: int | None = None,
    jobs: Sequence[str] | None = None,
    series: Sequence[str] | None = None,
    to: str | None = None,
    tilts: Mapping[str, Sequence[str]] | None = None,
) -> Request:
    """Add one request, numbered under the project's lock.

    ``version`` is by default the newest saved one; call ``core.project.file.ensure_version`` before, so that it is
    what ``crboost.yaml`` says. Raises :class:`InputError` for a request without what its kind needs.
    """
    if kind not in KINDS:
        raise InputError(f"There is no request {kind!r}.{nearest(kind, KINDS)}")
    if kind in ("exclude", "include") and not series:
        raise InputError(f"{kind} needs the tilt series that are meant.")
    if kind in ("exclude_tilts", "include_tilts") and not tilts:
        raise InputError(f"{kind} needs the tilts that are meant.")
    with project_lock(root):
        before = read_wanted(root)
        if version is None:
            version = max(version_numbers(root), default=None)
        request = Request(
            number=max((each.number for each in before.requests), default=0) + 1,
            kind=kind,
            version=version,
            jobs=None if jobs is None else tuple(jobs),
            series=None if series is None else tuple(series),
            to=to,
            tilts=None if tilts is None else {key: tuple(ids) for key, ids in tilts.items()},
            by=user(),
            at=datetime.now().astimezone().isoformat(timespec="seconds"),
        )
        lines = ",\n".join(json.dumps(asdict(each), ensure_ascii=False) for each in (*before.requests, request))
        replace_text(ProjectPaths(root).wanted, f'{{"format": {FORMAT}, "requests": [\n{lines}\n]}}\n', sync=True)
        return request


def exclusions(wanted: Wanted) -> tuple[set[str], dict[str, set[str]]]:
    """The tilt series that are excluded now, and the excluded tilts of each series."""
    series: set[str] = set()
    tilts: dict[str, set[str]] = {}
    for request in wanted.requests:
        match request.kind:
            case "exclude":
                series.update(request.series or ())
            case "include":
                series.difference_update(request.series or ())
            case "exclude_tilts":
                for key, ids in (request.tilts or {}).items():
                    tilts.setdefault(key, set()).update(ids)
            case "include_tilts":
                for key, ids in (request.tilts or {}).items():
                    tilts.setdefault(key, set()).difference_update(ids)
    return series, {key: ids for key, ids in tilts.items() if ids}


def _request(each: _RequestFile) -> Request:
    return Request(
        number=each.number,
        kind=each.kind,
        version=each.version,
        jobs=None if each.jobs is None else tuple(each.jobs),
        series=None if each.series is None else tuple(each.series),
        to=each.to,
        tilts=None if each.tilts is None else {key: tuple(ids) for key, ids in each.tilts.items()},
        by=each.by,
        at=each.at,
    )
