"""Frames and mdocs -> tilt series with ids given once, and everything that is wrong with them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from core.dataset.model import Refused, Tilts, TiltSeries
from core.dataset.movies import GAIN_EXTENSIONS, MOVIE_EXTENSIONS, Folders, Movie, MovieIndex
from core.dataset.naming import LinkNames, UniqueNames, extension, safe_id, series_name
from core.dataset.overview import Overview, make_overview
from core.dataset.reading import Exposure, NoSeries, Reading, open_mdoc, read_series, reason_of_single
from core.dataset.registry import Batch, Registry
from core.errors import CrboostError, InputError
from core.formats.mdoc import Mdoc, base_name

SETTLE_SECONDS = 60.0
_LIST_SINGLES_UP_TO = 20
_GAIN_NAME = re.compile(r"gain|(?<![a-z])(super|count)?ref(erence)?(?![a-z])", re.I)


@dataclass(frozen=True, slots=True)
class Inspection:
    """``series``: the tilt series found, in natural order of their mdocs, known ones with the ids they have.
    ``refused``: mdocs that are none (yet), with the reason. ``added``: ids that no registry has yet. ``batch``: the
    import that they belong to, with its acquisition groups."""

    series: tuple[TiltSeries, ...]
    refused: tuple[Refused, ...]
    overview: Overview
    batch: Batch
    added: tuple[str, ...]


def inspect(
    frames: Sequence[str],
    mdocs: Sequence[str],
    *,
    known: Registry | None = None,
    progress: Callable[[int, int], None] | None = None,
    settle_seconds: float = SETTLE_SECONDS,
) -> Inspection:
    """Read all mdocs and look their movies up. Nothing is written and no raw file is touched.

    ``frames`` and ``mdocs`` are glob patterns, folders or files; ``frames`` may be empty. ``known`` is the project's
    registry: its series keep their ids. ``progress`` is called with (mdocs read, mdocs in all). An mdoc that changed
    less than ``settle_seconds`` ago and is incomplete is refused as not yet complete. Raises InputError where a
    pattern leads nowhere or no mdoc is found.
    """
    known = known or Registry()
    folders = Folders()
    files = sorted(folders.find(mdocs, (".mdoc",)), key=lambda movie: (_natural(movie.name), movie.folder))
    if not files:
        raise InputError("no mdoc file is there; check the path or the pattern.", ", ".join(mdocs) or "mdocs")
    movies = folders.find(frames, MOVIE_EXTENSIONS)
    if frames and not movies:
        raise InputError("no movie is there; check the path or the pattern.", ", ".join(frames))
    index = MovieIndex(movies)
    refused: list[NoSeries] = []
    readings: list[Reading] = []
    total = len(files)

    names = {series_name(file.name) for file in files}
    own_movies: dict[str, list[Movie]] | None = None

    def movies_of(name: str) -> Sequence[Movie]:
        nonlocal own_movies
        if own_movies is None:
            own_movies = index.of_series(names)
        return own_movies.get(name, [])

    gains: dict[str, list[Movie]] = {}

    def gains_near(folder: str) -> Sequence[Movie]:
        if folder not in gains:
            gains[folder] = _gains(folders, folder)
        return gains[folder]

    for number, file in enumerate(files, 1):
        found = open_mdoc(file.path)
        if isinstance(found, Mdoc):
            series = read_series(file.path, found, index, movies_of, gains_near, settle_seconds)
            if isinstance(series, Reading):
                readings.append(series)
            else:
                refused.append(series)
        else:
            refused.append(found)
        if progress is not None:
            progress(number, total)
    readings, repeated = _without_copies(readings)
    batch, groups = _grouped(readings, known, _batch(frames, mdocs, known))
    series_found, added = _identified(readings, groups, known)
    return Inspection(
        series_found,
        tuple(_reasons(refused, readings) + repeated),
        make_overview(series_found),
        batch,
        added,
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """``Position_2`` before ``Position_10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _gains(folders: Folders, folder: str) -> list[Movie]:
    """Files called a gain in the folder of the movies, or else in the one above it."""
    for place in (folder, os.path.dirname(folder)):
        try:
            names = folders.names(place)
        except CrboostError:
            continue
        found = [
            Movie(place, name)
            for name in names
            if name.lower().endswith(".gain")
            or (name.lower().endswith(GAIN_EXTENSIONS) and _GAIN_NAME.search(os.path.splitext(name)[0]))
        ]
        if found:
            return found
    return []


def _without_copies(readings: Sequence[Reading]) -> tuple[list[Reading], list[Refused]]:
    """Of several mdocs of one series the fullest stays."""
    best: dict[str, Reading] = {}
    for reading in readings:
        other = best.get(reading.digest)
        if other is None or len(reading.exposures) > len(other.exposures):
            best[reading.digest] = reading
    kept = [reading for reading in readings if best[reading.digest] is reading]
    return kept, [
        Refused(reading.path, f"the same tilt series as {best[reading.digest].path}")
        for reading in readings
        if best[reading.digest] is not reading
    ]


def _reasons(refused: Sequence[NoSeries], readings: Sequence[Reading]) -> list[Refused]:
    movies = {base_name(exposure.named) for reading in readings for exposure in reading.exposures if exposure.named}
    tilted = {os.path.dirname(item.path) for item in refused if item.kind == "single" and abs(item.angle_deg) > 2}
    result: list[Refused] = []
    singles: dict[tuple[str, str], list[str]] = {}
    for item in refused:
        if item.kind != "single":
            result.append(Refused(item.path, item.reason))
            continue
        reason = reason_of_single(item, movies, tilted)
        singles.setdefault((os.path.dirname(item.path), reason), []).append(item.path)
    for (_, reason), paths in singles.items():
        if len(paths) <= _LIST_SINGLES_UP_TO:
            result.extend(Refused(path, reason) for path in paths)
        else:
            result.append(Refused(paths[0], f"{reason} (and {len(paths) - 1} more like it in its folder)"))
    return result


def _batch(frames: Sequence[str], mdocs: Sequence[str], known: Registry) -> Batch:
    """The batch with these patterns, or a new one."""
    own_frames = tuple(os.path.abspath(os.path.expanduser(pattern)) for pattern in frames)
    own_mdocs = tuple(os.path.abspath(os.path.expanduser(pattern)) for pattern in mdocs)
    for batch in known.batches:
        if batch.frames == own_frames and batch.mdocs == own_mdocs:
            return batch
    taken = UniqueNames(batch.name for batch in known.batches)
    return Batch(_numbered("batch", taken), own_frames, own_mdocs, ())


def _numbered(stem: str, taken: UniqueNames) -> str:
    number = 1
    while taken.has(f"{stem}{number}"):
        number += 1
    return taken.give(f"{stem}{number}")


_Kind = tuple[float | None, bool, object, object, object]


def _kind(detected: Mapping[str, object]) -> _Kind:
    """What must agree within one acquisition group (one optics group of RELION)."""

    def value(name: str) -> object:
        return getattr(detected.get(name), "value", None)

    number = value("pixel_size_angstrom")
    return (
        float(number) if isinstance(number, int | float) else None,
        bool(getattr(detected.get("pixel_size_angstrom"), "confirmed", False)),
        value("image_width_px"),
        value("image_height_px"),
        value("voltage_kv"),
    )


def _fits(one: _Kind, other: _Kind) -> bool:
    """Equal, where both are known; pixel sizes within 1 %, if both or neither are confirmed."""
    if one[0] and other[0] and one[1] == other[1] and abs(one[0] - other[0]) > 0.01 * other[0]:
        return False
    return all(a is None or b is None or a == b for a, b in zip(one[2:], other[2:], strict=True))


def _grouped(readings: Sequence[Reading], known: Registry, batch: Batch) -> tuple[Batch, dict[str, str]]:
    """The group of each series by digest. A batch has one acquisition group, and more only where pixel size, image
    size or voltage differ. Known series stay in theirs."""
    own = {series.mdoc_digest: series.group for series in known.series}
    kinds: dict[str, _Kind] = {}
    for series in known.series:
        if series.group in batch.groups:
            kinds.setdefault(series.group, _kind(series.detected))
    taken = UniqueNames([group for other in known.batches for group in other.groups] + list(own.values()))
    result: dict[str, str] = {}
    order = sorted(readings, key=lambda reading: not _kind(reading.detected)[1])
    for reading in order:
        kind = _kind(reading.detected)
        group = own.get(reading.digest) or next((name for name, other in kinds.items() if _fits(kind, other)), None)
        if group is None:
            group = _numbered("optics", taken)
        kinds.setdefault(group, kind)
        result[reading.digest] = group
    groups = dict.fromkeys(batch.groups) | dict.fromkeys(
        group
        for reading in readings
        if (group := result[reading.digest]) not in batch.groups and reading.digest not in own
    )
    return replace(batch, groups=tuple(groups)), result


def _identified(
    readings: Sequence[Reading], groups: Mapping[str, str], known: Registry
) -> tuple[tuple[TiltSeries, ...], tuple[str, ...]]:
    """Ids for series, tilts and links: those they have, or new ones."""
    before = {series.mdoc_digest: series for series in known.series}
    ids = UniqueNames(series.id for series in known.series)
    links = LinkNames(movie for series in known.series for movie in series.tilts.movie if movie)
    result, added = [], []
    for reading in readings:
        old = before.get(reading.digest)
        series_id = old.id if old else ids.give(safe_id(reading.name))
        if old is None:
            added.append(series_id)
        result.append(
            TiltSeries(
                id=series_id,
                name=reading.name,
                group=groups[reading.digest],
                mdoc=reading.path,
                mdoc_digest=reading.digest,
                tilts=_columns(reading.exposures, series_id, links, old.tilts if old else None),
                scheme=reading.scheme,
                detected=reading.detected,
                notes=tuple(dict.fromkeys(reading.notes)),
            )
        )
    return tuple(result), tuple(added)


_Row = tuple[str, int, float, str, str, str, int, float, float, str, int]


def _columns(exposures: Sequence[Exposure], series_id: str, links: LinkNames, old: Tilts | None) -> Tilts:
    """The exposures as columns. Tilts of ``old`` keep their ids and link names; those that the mdoc has lost stay,
    since the specimen has taken their dose."""
    left: dict[tuple[str, float], int] = {}
    if old is not None:
        for place in range(len(old)):
            left[_tilt_key(old.acquired[place], old.z_value[place], old.angle_deg[place])] = place
    next_number = 0 if old is None else max((int(tilt) for tilt in old.ids), default=-1) + 1
    rows: list[_Row] = []
    place_of: dict[int, int] = {}
    for exposure in exposures:
        place = left.pop(_tilt_key(exposure.acquired, exposure.z_value, exposure.angle_deg), -1)
        if old is not None and place >= 0:
            tilt_id, link = old.ids[place], old.movie[place]
            place_of[place] = len(rows)
        else:
            tilt_id, link = f"{next_number:03d}", ""
            next_number += 1
        movie = exposure.movie
        if movie is None:
            link = ""
        elif not link or extension(link) != extension(movie.name):
            link = links.give(movie.name, series_id)
        rows.append(
            (
                tilt_id,
                exposure.z_value,
                exposure.angle_deg,
                exposure.acquired,
                link,
                movie.path if movie else "",
                exposure.frames,
                exposure.exposure_e_per_a2,
                exposure.target_defocus_um,
                exposure.problem,
                movie.size_bytes if movie else 0,
            )
        )
    if old is not None:
        for place in sorted(left.values()):
            where = place_of.get(place - 1, -1) + 1
            rows.insert(where, _lost(old, place))
            place_of = {key: at + (at >= where) for key, at in place_of.items()} | {place: where}
    return Tilts(*zip(*rows, strict=True))


def _lost(old: Tilts, place: int) -> _Row:
    return (
        old.ids[place],
        old.z_value[place],
        old.angle_deg[place],
        old.acquired[place],
        old.movie[place],
        old.source[place],
        old.frame_count[place],
        old.exposure_e_per_a2[place],
        old.target_defocus_um[place],
        old.problem[place] or "no longer in the mdoc",
        old.size_bytes[place] if old.size_bytes else 0,
    )


def _tilt_key(acquired: str, z_value: int, angle_deg: float) -> tuple[str, float]:
    return (acquired or str(z_value), round(angle_deg, 2))
