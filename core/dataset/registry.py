"""The registry file ``.crboost/registry.json``: all series of a project with their tilts, in columns.

Format 1. A column whose entries are all equal is stored as that one entry; folders are stored once and named by
number; problems are stored only where there are any. Order of series is the order in which they were added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core.dataset.model import Refused, Sourced, Tilts, TiltSeries
from core.errors import InputError
from core.files import read_text, replace_text

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """One import: where its data came from, and the acquisition groups that it made. ``added`` is ISO 8601."""

    name: str
    frames: tuple[str, ...]
    mdocs: tuple[str, ...]
    groups: tuple[str, ...]
    added: str = ""


@dataclass(frozen=True, slots=True)
class Registry:
    series: tuple[TiltSeries, ...] = ()
    refused: tuple[Refused, ...] = ()
    batches: tuple[Batch, ...] = ()

    def by_id(self) -> dict[str, TiltSeries]:
        return {series.id: series for series in self.series}


def save_registry(path: Path, registry: Registry) -> None:
    """Replace the registry atomically. Raises CrboostError where it cannot be written."""
    folders: dict[str, int] = {}
    document = {
        "format": FORMAT,
        "batches": [
            {"name": b.name, "frames": b.frames, "mdocs": b.mdocs, "groups": b.groups, "added": b.added}
            for b in registry.batches
        ],
        "refused": [[refused.mdoc, refused.reason] for refused in registry.refused],
        "series": [_series_out(series, folders) for series in registry.series],
        "folders": list(folders),
    }
    replace_text(path, json.dumps(document, separators=(",", ":"), ensure_ascii=True, allow_nan=False), sync=True)


def load_registry(path: Path) -> Registry:
    """Read the registry. Raises InputError where it is missing, damaged, or made by a newer version."""
    try:
        document = json.loads(read_text(path), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError("is damaged (no complete JSON): restore it from a backup.", path) from error
    if not isinstance(document, dict) or type(document.get("format")) is not int:
        raise InputError("is no registry of tilt series.", path)
    if document["format"] > FORMAT:
        raise InputError(
            f"was written by a newer crboost (format {document['format']}, this one reads {FORMAT}): update crboost.",
            path,
        )
    try:
        folders = document["folders"]
        return Registry(
            tuple(_series_in(entry, folders) for entry in document["series"]),
            tuple(Refused(str(mdoc), str(reason)) for mdoc, reason in document["refused"]),
            tuple(
                Batch(b["name"], tuple(b["frames"]), tuple(b["mdocs"]), tuple(b["groups"]), b["added"])
                for b in document["batches"]
            ),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError("is damaged (entries are missing or wrong): restore it from a backup.", path) from error


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _series_out(series: TiltSeries, folders: dict[str, int]) -> dict[str, Any]:
    tilts = series.tilts
    split = [source.rpartition("/") for source in tilts.source]
    numbers = [folders.setdefault(folder, len(folders)) for folder, _, _ in split]
    names = [name for _, _, name in split]
    return {
        "id": series.id,
        "name": series.name,
        "group": series.group,
        "mdoc": series.mdoc,
        "digest": series.mdoc_digest,
        "scheme": series.scheme,
        "detected": {key: [value.value, value.source, value.confirmed] for key, value in series.detected.items()},
        "notes": series.notes,
        "count": len(tilts),
        "ids": tilts.ids,
        "z": tilts.z_value,
        "angle": tilts.angle_deg,
        "acquired": tilts.acquired,
        "movie": [None if movie == name else movie for movie, name in zip(tilts.movie, names, strict=True)]
        if tilts.movie != tuple(names)
        else None,
        "source": names,
        "folder": _packed(numbers),
        "frames": _packed(tilts.frame_count),
        "exposure": _packed(tilts.exposure_e_per_a2),
        "defocus": _packed(tilts.target_defocus_um),
        "problem": {str(index): text for index, text in enumerate(tilts.problem) if text},
        "size": _packed(tilts.size_bytes) if tilts.size_bytes else None,
    }


def _series_in(entry: Mapping[str, Any], folders: Sequence[str]) -> TiltSeries:
    count = entry["count"]
    names = entry["source"]
    folder_of = [folders[number] for number in _unpacked(entry["folder"], count)]
    source = tuple(f"{folder}/{name}" if name else "" for folder, name in zip(folder_of, names, strict=True))
    movie = entry["movie"]
    problems = entry["problem"]
    size = entry["size"]
    tilts = Tilts(
        ids=_typed(entry["ids"], str),
        z_value=_typed(entry["z"], int),
        angle_deg=_floats(entry["angle"]),
        acquired=_typed(entry["acquired"], str),
        movie=tuple(names)
        if movie is None
        else tuple(name if own is None else own for own, name in zip(movie, names, strict=True)),
        source=source,
        frame_count=_typed(_unpacked(entry["frames"], count), int),
        exposure_e_per_a2=_floats(_unpacked(entry["exposure"], count)),
        target_defocus_um=_floats(_unpacked(entry["defocus"], count)),
        problem=tuple(problems.get(str(index), "") for index in range(count)) if problems else ("",) * count,
        size_bytes=() if size is None else _typed(_unpacked(size, count), int),
    )
    if any(len(getattr(tilts, column.name)) not in (count, 0) for column in fields(Tilts)) or len(tilts) != count:
        raise ValueError("columns differ in length")
    return TiltSeries(
        id=entry["id"],
        name=entry["name"],
        group=entry["group"],
        mdoc=entry["mdoc"],
        mdoc_digest=entry["digest"],
        tilts=tilts,
        scheme=entry["scheme"],
        detected={
            key: Sourced(value, source, confirmed) for key, (value, source, confirmed) in entry["detected"].items()
        },
        notes=tuple(entry["notes"]),
    )


def _packed(column: Sequence[Any]) -> Any:
    """The column, or its one value where all are equal."""
    return column[0] if column and column.count(column[0]) == len(column) else list(column)


def _unpacked(packed: Any, count: int) -> list[Any]:
    return packed if isinstance(packed, list) else [packed] * count


def _typed(column: Sequence[Any], kind: type) -> tuple[Any, ...]:
    if not all(type(value) is kind for value in column):
        raise TypeError("a column holds something else")
    return tuple(column)


def _floats(column: Sequence[Any]) -> tuple[float, ...]:
    return tuple(map(float, column))
