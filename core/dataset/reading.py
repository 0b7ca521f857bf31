"""One mdoc and its movies -> one tilt series, or the reason why it is none."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from core.dataset.detect import Detected, dose_per_tilt, pixel_size, software_of, tilt_axis
from core.dataset.model import Sourced
from core.dataset.movies import Movie, MovieIndex
from core.dataset.naming import extension, name_parts, series_name
from core.dataset.scheme import tilt_scheme
from core.errors import CrboostError
from core.formats.mdoc import Mdoc, Section, axis_from_titles, base_name, parse_datetime, read_mdoc
from core.formats.movie import MovieHeader, read_movie_header

FEWEST_TILTS = 3
SAME_ANGLE_DEG = 0.1
Value = Sourced[float | int | str | bool]


@dataclass(slots=True)
class Exposure:
    """One section of an mdoc and the movie that belongs to it."""

    z_value: int
    angle_deg: float
    acquired: str
    named: str
    """SubFramePath as it stands in the mdoc."""
    frames: int
    exposure_e_per_a2: float
    target_defocus_um: float
    prior_dose_e_per_a2: float | None
    movie: Movie | None = None
    has_angle: bool = True
    problem: str = ""

    @property
    def base(self) -> str:
        """The name of its movie, as found or as the mdoc has it."""
        return self.movie.name if self.movie else base_name(self.named)


@dataclass(slots=True)
class Reading:
    """What one mdoc says, before ids are given. ``exposures`` are in acquisition order."""

    path: str
    name: str
    digest: str
    exposures: list[Exposure]
    scheme: str
    detected: dict[str, Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NoSeries:
    """``kind``: why, in one word; ``single`` mdocs describe one movie and are judged together with their folder."""

    path: str
    kind: str
    reason: str
    movie: str = ""
    angle_deg: float = 0.0


def open_mdoc(path: str) -> Mdoc | NoSeries:
    """The mdoc, or why it is no tilt series (as far as it alone tells)."""
    try:
        mdoc = read_mdoc(Path(path))
    except CrboostError as error:
        return NoSeries(path, "unreadable", error.sentence)
    tilts = [section for section in mdoc.sections if section.kind == "ZValue"]
    frame_sets = [section for section in mdoc.sections if section.kind == "FrameSet"]
    if _is_montage(mdoc):
        return NoSeries(path, "montage", "a montage, not a tilt series")
    if any("FrameTSStartEndFrames" in section.values for section in tilts):
        return NoSeries(
            path,
            "continuous",
            "a continuous tilt series in one movie (FrameTSStartEndFrames): split it into one movie per tilt first",
        )
    if frame_sets and not tilts:
        if len(frame_sets) == 1:
            values = frame_sets[0].values
            return NoSeries(path, "single", "", base_name(values.get("SubFramePath", "")), _number(values, "TiltAngle"))
        return NoSeries(
            path,
            "frame sets",
            f"{len(frame_sets)} movies in [FrameSet] sections: give the tilt series' own mdoc, with [ZValue] sections",
        )
    if not tilts:
        return NoSeries(path, "empty", "has no [ZValue] section, so it names no tilts")
    if not any("TiltAngle" in section.values for section in tilts):
        return NoSeries(path, "no angles", "has no tilt angles")
    if len(tilts) == 1:
        values = tilts[0].values
        movie = base_name(values.get("SubFramePath", ""))
        if movie and os.path.basename(path).lower() in (
            f"{movie}.mdoc".lower(),
            f"{os.path.splitext(movie)[0]}.mdoc".lower(),
        ):
            return NoSeries(path, "single", "", movie, _number(values, "TiltAngle"))
    if len(tilts) < FEWEST_TILTS:
        return NoSeries(path, "short", f"has only {len(tilts)} tilt{'s' * (len(tilts) > 1)}, fewer than {FEWEST_TILTS}")
    usable = sum(_angle(section.values) is not None for section in tilts)
    if usable < FEWEST_TILTS:
        bad = next(section for section in tilts if _angle(section.values) is None)
        few = f"only {usable} of its {len(tilts)} tilts have one" if usable else "none of its tilts has one"
        return NoSeries(path, "no angles", f"has no tilt angles: {few}; {_angle_problem(bad)}")
    return mdoc


def reason_of_single(single: NoSeries, movies_of_series: set[str], tilted_folders: set[str]) -> str:
    """Per-movie mdocs of a tilt series and single-particle movies look the same: other files decide."""
    if single.movie in movies_of_series or os.path.dirname(single.path) in tilted_folders or abs(single.angle_deg) > 2:
        return "the mdoc of a single movie, not of a tilt series"
    return "single-particle data: one movie without tilt, not a tilt series"


def read_series(
    path: str,
    mdoc: Mdoc,
    movies: MovieIndex,
    own_movies: Callable[[str], Sequence[Movie]],
    gains_near: Callable[[str], Sequence[Movie]],
    settle_seconds: float,
) -> Reading | NoSeries:
    """The series of one mdoc. ``own_movies`` gives the movies whose name begins with the series' name, ``gains_near``
    the gain references found near a folder. An mdoc younger than ``settle_seconds`` with something missing counts as
    still being written."""
    sections = [section for section in mdoc.sections if section.kind == "ZValue"]
    notes: list[str] = []
    exposures = _exposures(os.path.basename(path), sections)
    exposures = _without_repeated(exposures, notes)
    if all(exposure.named for exposure in exposures):
        _find_by_name(path, exposures, movies, notes)
    else:
        _find_by_name(path, [exposure for exposure in exposures if exposure.named], movies, notes)
        unnamed = [exposure for exposure in exposures if not exposure.named]
        _find_by_angle(path, unnamed, own_movies(series_name(path)), notes)
    if _age_seconds(path) < settle_seconds and (not mdoc.complete or _last_is_coming(exposures)):
        return NoSeries(path, "unfinished", _why_unfinished(mdoc, exposures))
    if not mdoc.complete:
        notes.append("the mdoc ends in the middle of a section")
    _judge(exposures, notes)
    exposures = _in_order(exposures, notes)
    header = _first_header(exposures)
    if header is not None and header.kind == "MRC":
        _find_cut_short(exposures)
    _note_duplicates(exposures, notes)
    usable = [exposure.angle_deg for exposure in exposures if exposure.has_angle]
    reading = Reading(path, series_name(path), _digest(path, sections), exposures, str(tilt_scheme(usable)), {}, notes)
    folder = next((exposure.movie.folder for exposure in exposures if exposure.movie), os.path.dirname(path))
    _detect(reading, mdoc, sections, header, gains_near(folder))
    return reading


def _why_unfinished(mdoc: Mdoc, exposures: Sequence[Exposure]) -> str:
    """An mdoc that is young and incomplete: what is missing may come yet, or never."""
    last = exposures[-1]
    if not mdoc.complete:
        return "not yet complete: it is still being written; add it when it has ended"
    if last.movie is None:
        state = "is not there"
    elif last.movie.size_bytes == 0:
        state = "is empty"
    else:
        state = "cannot be read yet"
    return (
        f"not yet complete: its last movie {last.base} {state}; it is still being written, or was never written. "
        "Add it when it has ended"
    )


def _is_montage(mdoc: Mdoc) -> bool:
    return (
        mdoc.header.get("Montage", "0").strip() not in ("", "0")
        or any(section.kind == "MontSection" for section in mdoc.sections)
        or any("PieceCoordinates" in section.values for section in mdoc.sections)
    )


def _number(values: Mapping[str, str], key: str) -> float:
    return _number_or_none(values, key) or 0.0


def _number_or_none(values: Mapping[str, str], key: str) -> float | None:
    """A finite number, or None. Of several numbers in one value the first."""
    text = values.get(key)
    if not text:
        return None
    try:
        number = float(text.split()[0])
    except (ValueError, IndexError):
        return None
    return number if abs(number) < 1e12 else None


def _angle(values: Mapping[str, str]) -> float | None:
    """The tilt angle in degrees, None where there is none or it is no angle."""
    angle = _number_or_none(values, "TiltAngle")
    return angle if angle is not None and abs(angle) <= 180 else None


def _angle_problem(section: Section) -> str:
    place = f"[ZValue = {section.number}]"
    text = section.values.get("TiltAngle", "").strip()
    return f"TiltAngle = {text[:40]} in {place} is no tilt angle" if text else f"the mdoc has no tilt angle in {place}"


def _exposures(file: str, sections: Sequence[Section]) -> list[Exposure]:
    result = []
    for section in sections:
        values = section.values
        angle = _angle(values)
        acquired = parse_datetime(values.get("DateTime", ""))
        result.append(
            Exposure(
                z_value=int(section.number),
                angle_deg=angle or 0.0,
                acquired=acquired.isoformat() if acquired else "",
                named=values.get("SubFramePath", "").strip(),
                frames=max(0, int(_number(values, "NumSubFrames"))),
                exposure_e_per_a2=max(0.0, _number(values, "ExposureDose")),
                target_defocus_um=_number(values, "TargetDefocus"),
                prior_dose_e_per_a2=_number_or_none(values, "PriorRecordDose"),
                has_angle=angle is not None,
                problem="" if angle is not None else f"{file}: {_angle_problem(section)}",
            )
        )
    return result


def _without_repeated(exposures: list[Exposure], notes: list[str]) -> list[Exposure]:
    """A section that is there twice, with the same movie and time, is one exposure, not two."""
    seen: set[tuple[str, str]] = set()
    result = []
    for exposure in exposures:
        key = (exposure.named, exposure.acquired)
        if all(key) and key in seen:
            notes.append(f"the mdoc lists {exposure.base} twice; it is counted once")
            continue
        seen.add(key)
        result.append(exposure)
    return result


def _find_by_name(path: str, exposures: Sequence[Exposure], movies: MovieIndex, notes: list[str]) -> None:
    beside = os.path.dirname(path)
    remarks: dict[str, None] = {}
    for exposure in exposures:
        exposure.movie, remark = movies.find(exposure.named, base_name(exposure.named), beside)
        if remark:
            remarks[remark] = None
    notes.extend(list(remarks)[:3])


def _find_by_angle(path: str, exposures: Sequence[Exposure], candidates: Sequence[Movie], notes: list[str]) -> None:
    """Without SubFramePath: by the tilt number and angle in the movies' names."""
    name = series_name(path)
    parts = [(movie, name_parts(movie.stem[len(name) :])) for movie in candidates]
    numbers = [part.number for _, part in parts if part.number is not None]
    if not exposures or not candidates:
        if exposures:
            notes.append(f"the mdoc names no movies, and none is called {name}...")
        return
    offset = min(numbers) - min(exposure.z_value for exposure in exposures) if numbers else 0
    free = dict.fromkeys(movie for movie, _ in parts)
    for exposure in exposures:
        found = [
            (abs(part.angle_deg - exposure.angle_deg) if part.angle_deg is not None else 0.0, movie)
            for movie, part in parts
            if movie in free
            and (part.number is None or part.number - offset == exposure.z_value)
            and (part.angle_deg is not None or part.number is not None)
            and (part.angle_deg is None or abs(part.angle_deg - exposure.angle_deg) <= 0.75)
        ]
        if not found:
            found = [
                (abs(part.angle_deg - exposure.angle_deg), movie)
                for movie, part in parts
                if movie in free and part.angle_deg is not None and abs(part.angle_deg - exposure.angle_deg) <= 0.75
            ]
        found.sort(key=lambda pair: pair[0])
        if found and (len(found) == 1 or found[1][0] - found[0][0] > 0.05):
            exposure.movie = found[0][1]
            del free[found[0][1]]
    count = sum(exposure.movie is not None for exposure in exposures)
    notes.append(f"the mdoc names no movies: {count} of {len(exposures)} were found by tilt number and angle")


def _age_seconds(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return float("inf")


def _judge(exposures: Sequence[Exposure], notes: list[str]) -> None:
    missing = empty = 0
    owners: dict[str, Exposure] = {}
    for exposure in exposures:
        if exposure.movie is None:
            missing += 1
            exposure.problem = exposure.problem or (
                f"its movie {exposure.base} is not there" if exposure.base else "its movie was not found"
            )
        elif exposure.movie.size_bytes == 0:
            empty += 1
            exposure.problem = exposure.problem or f"its movie {exposure.base} is empty"
        elif exposure.movie.path in owners:
            first = owners[exposure.movie.path]
            exposure.problem = exposure.problem or f"its movie is that of the tilt at {first.angle_deg:.1f}° too"
            notes.append(f"two tilts name the same movie {exposure.base}")
        else:
            owners[exposure.movie.path] = exposure
    if missing == len(exposures):
        notes.append("none of its movies is there")
    elif missing:
        notes.append(_plural(missing, "movie named in the mdoc is", "movies named in the mdoc are") + " not there")
    if empty:
        notes.append(_plural(empty, "movie is", "movies are") + " empty")
    without_angle = sum(not exposure.has_angle for exposure in exposures)
    if without_angle:
        notes.append(_plural(without_angle, "tilt has", "tilts have") + " no angle in the mdoc")


def _plural(count: int, one: str, several: str) -> str:
    words = {1: "one", 2: "two", 3: "three"}
    return f"{words.get(count, count)} {one if count == 1 else several}"


def _in_order(exposures: list[Exposure], notes: list[str]) -> list[Exposure]:
    """Acquisition order: by DateTime where all have one, else by PriorRecordDose, else as in the mdoc."""
    times = [exposure.acquired for exposure in exposures]
    if all(times) and len(set(times)) * 2 > len(times):
        return sorted(exposures, key=lambda exposure: exposure.acquired)
    doses = [exposure.prior_dose_e_per_a2 for exposure in exposures]
    if all(dose is not None for dose in doses) and len(set(doses)) == len(doses):
        notes.append("the order of the tilts is that of PriorRecordDose: the mdoc has no usable times")
        return sorted(exposures, key=lambda exposure: exposure.prior_dose_e_per_a2 or 0.0)
    notes.append("the order of the tilts is that in the mdoc: it has no usable times")
    return exposures


def _first_header(exposures: Sequence[Exposure]) -> MovieHeader | None:
    """The header of the first movie that can be read; those that cannot are marked, three at most."""
    tried = 0
    for exposure in exposures:
        if exposure.movie is None or exposure.problem:
            continue
        try:
            return read_movie_header(Path(exposure.movie.path))
        except CrboostError as error:
            exposure.problem = f"its movie {error.sentence}"
            tried += 1
            if tried == 3:
                return None
    return None


def _last_is_coming(exposures: Sequence[Exposure]) -> bool:
    """Whether the last movie is missing or unreadable though others are there."""
    last = exposures[-1].movie
    if last is None:
        return any(exposure.movie for exposure in exposures)
    try:
        read_movie_header(Path(last.path))
    except CrboostError:
        return True
    return False


def _find_cut_short(exposures: Sequence[Exposure]) -> None:
    """Movies in MRC are not compressed: one that is smaller than usual has its own header compared with its size."""
    usable = [(exposure, exposure.movie) for exposure in exposures if exposure.movie and not exposure.problem]
    usual = Counter(movie.size_bytes for _, movie in usable).most_common(1)[0][0]
    for exposure, movie in usable:
        if movie.size_bytes < max(usual, usable[0][1].size_bytes):
            try:
                read_movie_header(Path(movie.path))
            except CrboostError as error:
                exposure.problem = f"its movie {error.sentence}"


def _note_duplicates(exposures: Sequence[Exposure], notes: list[str]) -> None:
    ordered = sorted(
        (exposure for exposure in exposures if exposure.has_angle), key=lambda exposure: exposure.angle_deg
    )
    twice = [
        after.angle_deg for before, after in pairwise(ordered) if after.angle_deg - before.angle_deg < SAME_ANGLE_DEG
    ]
    for angle in twice[:3]:
        notes.append(f"two tilts at {angle:.1f}°: both are kept")


def _digest(path: str, sections: Sequence[Section]) -> str:
    """Identity of a series: time and movie of the mdoc's first section, so that a moved, renamed or grown mdoc stays
    the same. Where it has neither, the mdoc's name and first stage position stand in."""
    first = sections[0].values
    parts = [first.get("DateTime", "").strip(), first.get("SubFramePath", "").strip()]
    if not any(parts):
        parts = [series_name(path), first.get("StagePosition", ""), first.get("TiltAngle", "")]
    elif not all(parts):
        parts.append(series_name(path))
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _detect(
    reading: Reading, mdoc: Mdoc, sections: Sequence[Section], header: MovieHeader | None, gains: Sequence[Movie]
) -> None:
    first, detected = sections[0].values, reading.detected
    software = software_of(mdoc.titles) or software_of(tuple(mdoc.header.values()))
    if software:
        detected["software"] = Sourced(software, "mdoc title")
    spacing = _number_or_none(first, "PixelSpacing") or _number_or_none(mdoc.header, "PixelSpacing")
    image_size = _pair(mdoc.header.get("ImageSize", "")) or _pair(first.get("ImageSize", ""))
    movie_size = None if header is None else (header.width_px, header.height_px)
    _keep(
        reading,
        "pixel_size_angstrom",
        pixel_size(spacing, image_size, movie_size, None if header is None else header.pixel_size_angstrom),
    )
    if movie_size:
        detected["image_width_px"] = Sourced(movie_size[0], "movie header")
        detected["image_height_px"] = Sourced(movie_size[1], "movie header")
    tomo5 = axis_from_titles(title for title in mdoc.titles if "TiltAxisAngle" in title)
    serialem = axis_from_titles(title for title in mdoc.titles if "TiltAxisAngle" not in title)
    _keep(reading, "tilt_axis_deg", tilt_axis(serialem, tomo5, _number_or_none(first, "RotationAngle"), software))
    voltage = _number_or_none(mdoc.header, "Voltage") or _number_or_none(first, "Voltage")
    if voltage:
        detected["voltage_kv"] = Sourced(voltage, "mdoc")
    _keep(reading, "dose_per_tilt_e_per_a2", dose_per_tilt([e.exposure_e_per_a2 for e in reading.exposures]))
    defocus = [exposure.target_defocus_um for exposure in reading.exposures if exposure.target_defocus_um]
    if defocus:
        detected["target_defocus_um"] = Sourced(sorted(defocus)[len(defocus) // 2], "mdoc")
    _detect_movies(reading, header)
    _detect_gain(reading, sections, gains)


def _detect_movies(reading: Reading, header: MovieHeader | None) -> None:
    found = Counter(extension(exposure.movie.name) for exposure in reading.exposures if exposure.movie is not None)
    extensions = found or Counter(extension(exposure.base) for exposure in reading.exposures if exposure.base)
    if extensions:
        reading.detected["movie_extension"] = Sourced(extensions.most_common(1)[0][0], "movies" if found else "mdoc")
        if len(extensions) > 1:
            reading.notes.append(f"movies of several kinds: {', '.join(sorted(extensions))}")
    counts = Counter(exposure.frames for exposure in reading.exposures if exposure.frames)
    usual = counts.most_common(1)[0][0] if counts else 0
    if header is not None:
        reading.detected["frames_per_movie"] = Sourced(header.frames, "movie header")
        if usual and header.frames != usual and header.kind != "EER":
            reading.notes.append(f"the movies have {header.frames} frames, the mdoc says {usual}")
    elif usual:
        reading.detected["frames_per_movie"] = Sourced(usual, "mdoc", False)
    if header is not None:
        believed = header.kind != "EER" or usual == header.frames
        for exposure in reading.exposures:
            if not believed or not exposure.frames:
                exposure.frames = header.frames


def _detect_gain(reading: Reading, sections: Sequence[Section], gains: Sequence[Movie]) -> None:
    """The mdoc's GainReference where it is near; otherwise the only file near the movies that is called a gain."""
    named = {base_name(section.values["GainReference"]) for section in sections if section.values.get("GainReference")}
    by_name = {gain.name: gain for gain in gains}
    found = sorted(named & by_name.keys())
    if found:
        reading.detected["gain_path"] = Sourced(by_name[found[0]].path, "mdoc")
        return
    if named:
        reading.notes.append(f"the gain {min(named)} named in the mdoc is not near the movies")
    if len(gains) == 1:
        reading.detected["gain_path"] = Sourced(gains[0].path, "near the movies", False)
    elif gains:
        reading.detected["gain_path"] = Sourced(None, f"near the movies: {len(gains)} files, choose one", False)


def _keep(reading: Reading, name: str, detected: Detected) -> None:
    reading.detected[name] = Sourced(detected.value.value, detected.value.source, detected.value.confirmed)
    if detected.note:
        reading.notes.append(detected.note)


def _pair(text: str) -> tuple[int, int] | None:
    words = text.split()
    if len(words) >= 2 and words[0].isdigit() and words[1].isdigit():
        return int(words[0]), int(words[1])
    return None
