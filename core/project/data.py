"""The raw data of a project: links in ``frames/``, mdocs as used in ``mdoc/``, and following data that moved.

Raw files are only ever read. Links are made before the registry is written, so that whatever was interrupted can be
done again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.dataset.model import Refused, Sourced, Tilts, TiltSeries
from core.dataset.naming import safe_file_name
from core.dataset.registry import Batch, Registry, load_registry, save_registry
from core.dataset.scan import SETTLE_SECONDS, Inspection, inspect
from core.errors import ConflictError, InputError
from core.files import read_text, replace_text, write_error
from core.formats.mdoc import Mdoc, base_name, parse_datetime, read_mdoc
from core.project.layout import ProjectPaths
from core.project.lock import project_lock

_PATH_FIELDS = ("gain_path", "defects_path")


@dataclass(frozen=True, slots=True)
class RelinkReport:
    """``moved``: raw files that are found below the new prefix. ``missing`` and ``different`` (in size): paths below
    the new prefix that are not there, or are other files. ``done``: whether anything was changed."""

    moved: int
    missing: tuple[str, ...]
    different: tuple[str, ...]
    done: bool


def link_data(root: Path, inspection: Inspection, *, progress: Callable[[int, int], None] | None = None) -> Registry:
    """Bring an inspection into the project: links, mdocs as used, registry. Doing it again changes nothing.

    ``progress`` is called with (series linked, series in all). Raises ConflictError where the registry got other series
    under the same ids since the inspection.
    """
    paths = ProjectPaths(root)
    _make_folder(paths.state)
    with project_lock(root):
        known = load_registry(paths.registry) if paths.registry.exists() else Registry()
        before = known.by_id()
        for series in inspection.series:
            if series.id in before and before[series.id].mdoc_digest != series.mdoc_digest:
                raise ConflictError(
                    f"another tilt series became {series.id} since the data were inspected: inspect them again.",
                    paths.registry,
                )
        for folder in (paths.frames, paths.mdoc):
            _make_folder(folder)
        for number, series in enumerate(inspection.series, 1):
            for link, source in zip(series.tilts.movie, series.tilts.source, strict=True):
                if link and source:
                    _link(paths.frames / link, source)
            _write_mdoc(paths.mdoc / f"{series.id}.mdoc", series)
            if progress is not None:
                progress(number, len(inspection.series))
        found = {series.id: series for series in inspection.series}
        registry = Registry(
            tuple(found.pop(series.id, series) for series in known.series) + tuple(found.values()),
            _refused(known, inspection),
            _batches(known, inspection.batch),
        )
        save_registry(paths.registry, registry)
        return registry


def add_data(
    root: Path,
    frames: Sequence[str],
    mdocs: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
    settle_seconds: float = SETTLE_SECONDS,
) -> Inspection:
    """Inspect and link more data. The same patterns as an earlier import continue it: what was refused as not yet
    complete, movies that were missing and mdocs that grew are picked up; ids that are given never change."""
    paths = ProjectPaths(root)
    known = load_registry(paths.registry) if paths.registry.exists() else Registry()
    inspection = inspect(frames, mdocs, known=known, progress=progress, settle_seconds=settle_seconds)
    link_data(root, inspection)
    return inspection


def relink(root: Path, old_prefix: str, new_prefix: str, *, anyway: bool = False) -> RelinkReport:
    """Point links and registry to raw data that moved from below ``old_prefix`` to below ``new_prefix``.

    Every movie must be at its new place with the size it had; where one is not, nothing is changed unless ``anyway``.
    Raises InputError where nothing of the project lies below ``old_prefix``.
    """
    paths = ProjectPaths(root)
    registry = load_registry(paths.registry)
    move = _Move(old_prefix, new_prefix)
    targets: list[tuple[str, str, int]] = []
    for series in registry.series:
        sizes = series.tilts.size_bytes or (-1,) * len(series.tilts)
        for link, source, size in zip(series.tilts.movie, series.tilts.source, sizes, strict=True):
            if source and move(source) != source:
                targets.append((link, move(source), size))
    if not targets and all(move(series.mdoc) == series.mdoc for series in registry.series):
        raise InputError("no raw data of this project lie below that folder.", old_prefix)
    missing, different = [], []
    for _, target, size in targets:
        try:
            actual = os.stat(target).st_size
        except OSError:
            missing.append(target)
            continue
        if size >= 0 and actual != size:
            different.append(target)
    bad = bool(missing or different)
    report = RelinkReport(
        len(targets) - len(missing) - len(different), tuple(missing), tuple(different), anyway or not bad
    )
    if not report.done:
        return report
    for link, target, _ in targets:
        if link:
            _link(paths.frames / link, target)
    save_registry(
        paths.registry,
        Registry(
            tuple(_moved(series, move) for series in registry.series),
            tuple(replace(refused, mdoc=move(refused.mdoc)) for refused in registry.refused),
            tuple(
                replace(batch, frames=tuple(map(move, batch.frames)), mdocs=tuple(map(move, batch.mdocs)))
                for batch in registry.batches
            ),
        ),
    )
    return report


class _Move:
    """A path below the old prefix becomes the same below the new one; others stay."""

    def __init__(self, old: str, new: str) -> None:
        self.old = os.path.abspath(os.path.expanduser(old))
        self.new = os.path.abspath(os.path.expanduser(new))

    def __call__(self, path: str) -> str:
        if path == self.old:
            return self.new
        start = self.old.rstrip("/") + "/"
        return f"{self.new.rstrip('/')}/{path[len(start) :]}" if path.startswith(start) else path


def _moved(series: TiltSeries, move: _Move) -> TiltSeries:
    detected: dict[str, Sourced[Any]] = dict(series.detected)
    for name in _PATH_FIELDS:
        if name in detected and detected[name].value:
            detected[name] = replace(detected[name], value=move(str(detected[name].value)))
    tilts: Tilts = replace(series.tilts, source=tuple(move(source) for source in series.tilts.source))
    return replace(series, mdoc=move(series.mdoc), tilts=tilts, detected=detected)


def _refused(known: Registry, inspection: Inspection) -> tuple[Refused, ...]:
    """What this inspection refused, and earlier refusals of mdocs that it did not see."""
    seen = {series.mdoc for series in inspection.series} | {refused.mdoc for refused in inspection.refused}
    return tuple(refused for refused in known.refused if refused.mdoc not in seen) + inspection.refused


def _batches(known: Registry, batch: Batch) -> tuple[Batch, ...]:
    names = [other.name for other in known.batches]
    if batch.name in names:
        return tuple(
            replace(batch, added=other.added) if other.name == batch.name else other for other in known.batches
        )
    return (*known.batches, replace(batch, added=datetime.now(UTC).isoformat(timespec="seconds")))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error


def _link(link: Path, source: str) -> None:
    """A symbolic link to ``source``; one that points elsewhere is replaced in one step, a real file never."""
    try:
        try:
            os.symlink(source, link)
            return
        except FileExistsError:
            if not os.path.islink(link):
                raise InputError("is a file where the link to a movie must be: move it away.", link) from None
        if os.readlink(link) == source:
            return
        temporary = f"{link}.{secrets.token_hex(4)}.tmp"
        os.symlink(source, temporary)
        try:
            os.replace(temporary, link)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise write_error(link, error) from error


def _write_mdoc(path: Path, series: TiltSeries) -> None:
    """The mdoc as used: as it is, with SubFramePath naming the links."""
    text = _mdoc_text(read_mdoc(Path(series.mdoc)), series.tilts)
    if not path.exists() or read_text(path) != text:
        replace_text(path, text)


def _mdoc_text(mdoc: Mdoc, tilts: Tilts) -> str:
    links: dict[tuple[int, str], list[int]] = {}
    for place in range(len(tilts)):
        links.setdefault((tilts.z_value[place], tilts.acquired[place]), []).append(place)
    lines = [f"{key} = {value}" for key, value in mdoc.header.items()]
    for title in mdoc.titles:
        lines += ["", f"[T = {title}]"]
    lines.append("")
    for section in mdoc.sections:
        values: Mapping[str, str] = section.values
        if section.kind == "ZValue":
            acquired = parse_datetime(values.get("DateTime", ""))
            places = links.get((section.number, acquired.isoformat() if acquired else ""))
            if not places:
                continue
            place = places.pop(0)
            movie = tilts.movie[place] or safe_file_name(base_name(values.get("SubFramePath", "")))
            values = {**values, "SubFramePath": movie} if movie != "_" else values
        lines.append(f"[{section.kind} = {section.number}]")
        lines += [f"{key} = {value}" for key, value in values.items()]
        lines.append("")
    return "\n".join(lines) + "\n"
