"""What is on the disk where a person types a path: how many movies and mdocs, how the path could go on, whether a
project can be made there. Bounded in time, for threads; nothing raises, everything wrong is a sentence."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from core.dataset.movies import MOVIE_EXTENSIONS
from core.project.layout import PROJECT_FILE

MDOC = (".mdoc",)
MOST_FILES = 100_000
SECONDS = 1.0
MOST_CANDIDATES = 200
MOST_SUBFOLDERS = 60
_SURE_MOVIES = (".eer", ".tif", ".tiff")
_NOT_A_NAME = {"frames", "movies", "raw", "mdoc", "mdocs", "data", "micrographs", "images", "session"}

Wants = Literal["movies", "mdocs", "folder", "name"]


@dataclass(frozen=True, slots=True)
class Count:
    """``patterns``: where to look (what was typed, or found near it, then ``near`` says where). ``more``: at least so
    many. ``problem``: why there is nothing."""

    patterns: tuple[str, ...] = ()
    number: int = 0
    more: bool = False
    kinds: tuple[str, ...] = ()
    """Extensions, the most frequent first."""
    near: str = ""
    problem: str = ""

    @property
    def some(self) -> bool:
        """Whether there is something, or nobody had the time to find out."""
        return bool(self.patterns) and (self.number > 0 or self.more)


@dataclass(frozen=True, slots=True)
class DataCount:
    movies: Count
    mdocs: Count


@dataclass(frozen=True, slots=True)
class Candidate:
    """``text`` is the whole field with this choice in it, ``name`` what the list shows."""

    text: str
    name: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """``common``: the field's text as far as all candidates agree."""

    common: str
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Whether a project can be made at ``path``, in one sentence."""

    path: str
    good: bool
    sentence: str
    free_bytes: int = -1


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    path: str
    is_dir: bool


@dataclass(slots=True)
class _Disk:
    """Listings for one question, each folder read once. ``over``: the time is, or a newer question came."""

    cancelled: Callable[[], bool]
    end: float = 0.0
    _listed: dict[str, list[_Entry]] = field(default_factory=dict)

    def begin(self) -> None:
        """Give the next part of the question its time."""
        self.end = time.monotonic() + SECONDS

    @property
    def over(self) -> bool:
        return time.monotonic() > self.end or self.cancelled()

    def scan(self, folder: str) -> Iterator[_Entry]:
        """The entries of a folder as far as the time goes; a second time from memory."""
        if folder in self._listed:
            yield from self._listed[folder]
            return
        found: list[_Entry] = []
        with os.scandir(folder) as entries:
            self._listed[folder] = found
            for number, entry in enumerate(entries):
                if number % 1000 == 999 and self.over:
                    return
                each = _Entry(entry.name, entry.path, entry.is_dir())
                found.append(each)
                yield each


def patterns_of(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def count_data(movies: str, mdocs: str, cancelled: Callable[[], bool]) -> DataCount:
    """Movies and mdocs of what was typed. An empty ``mdocs`` means near the movies: in their folder, or beside it."""
    disk = _Disk(cancelled)
    disk.begin()
    found = _count(movies, MOVIE_EXTENSIONS, disk)
    disk.begin()
    if mdocs.strip() or not movies.strip():
        return DataCount(found, _count(mdocs, MDOC, disk))
    return DataCount(found, _near(found.patterns or patterns_of(movies), disk))


def _count(text: str, extensions: tuple[str, ...], disk: _Disk) -> Count:
    patterns = patterns_of(text)
    kinds: Counter[str] = Counter()
    problems: list[str] = []
    used: list[str] = []
    near: list[str] = []
    for pattern in patterns:
        try:
            own = _matching(pattern, extensions, disk)
            places = [pattern]
            if not own and os.path.isdir(_whole(pattern)):
                places, own = _below(pattern, extensions, disk)
                near += [os.path.basename(place) + "/" for place in places]
            if not own and not disk.over:
                problems.append(_why_nothing(pattern, extensions, disk))
        except (OSError, ValueError) as error:
            problems.append(_sentence(pattern, error))
            continue
        used += places
        kinds += own
    number = sum(kinds.values())
    more = disk.over and not disk.cancelled()
    return Count(
        tuple(used), min(number, MOST_FILES), more or number > MOST_FILES,
        tuple(kind for kind, _ in kinds.most_common(3)), ", ".join(near[:3]) + (" ..." if len(near) > 3 else ""),
        problems[0] if problems else "",
    )  # fmt: skip


def _matching(pattern: str, extensions: tuple[str, ...], disk: _Disk) -> Counter[str]:
    """How many files of these kinds a pattern means, by extension; as ``core.dataset`` understands patterns."""
    whole = _whole(pattern)
    if os.path.isdir(whole):
        places = [(whole, "*")]
    else:
        parent, name = os.path.split(whole)
        if glob.has_magic(parent) and not os.path.isdir(parent):
            places = []
            for folder in glob.iglob(parent, recursive=True):
                if disk.over:
                    break
                if os.path.isdir(folder):
                    places.append((folder, name))
        else:
            places = [(parent, name)]
    found: Counter[str] = Counter()
    number = 0
    for folder, wanted in places:
        if not glob.has_magic(wanted):
            if os.path.isfile(os.path.join(folder, wanted)) and wanted.lower().endswith(extensions):
                found[os.path.splitext(wanted)[1].lower()] += 1
            continue
        matches = re.compile(fnmatch.translate(wanted)).match
        for entry in disk.scan(folder):
            name = entry.name
            kind = name[name.rfind(".") :].lower()
            if (
                kind in extensions
                and name[0] != "."
                and (wanted == "*" or matches(name))
                and "gain" not in name.lower()
            ):
                found[kind] += 1
                number += 1
                if number > MOST_FILES:
                    return found
    return found


def _below(pattern: str, extensions: tuple[str, ...], disk: _Disk) -> tuple[list[str], Counter[str]]:
    """The folders directly below one that hold such files: EER and TIFF before MRC, which may be averages."""
    held: dict[str, Counter[str]] = {}
    for folder in _subfolders(_whole(pattern), disk):
        try:
            own = _matching(folder, extensions, disk)
        except OSError:
            continue
        if own:
            held[folder] = own
    sure = {folder: own for folder, own in held.items() if any(kind in _SURE_MOVIES for kind in own)}
    chosen = sure or held
    total: Counter[str] = Counter()
    for own in chosen.values():
        total += own
    return list(chosen) or [pattern], total


def _near(patterns: tuple[str, ...], disk: _Disk) -> Count:
    """The mdocs in the movies' folders; else in the folder above, or in a folder beside or below."""
    folders = list(dict.fromkeys(_folder_of(pattern) for pattern in patterns))
    found = _count(",".join(folders), MDOC, disk)
    if found.number:
        return Count(found.patterns, found.number, found.more, found.kinds, found.near or "beside the movies")
    disk.begin()
    for folder in folders:
        above = os.path.dirname(folder)
        try:
            places = [above, *_subfolders(above, disk), *_subfolders(folder, disk)]
        except (OSError, ValueError):
            continue
        for place in places:
            if disk.over:
                break
            try:
                number = _matching(place, MDOC, disk).total()
            except OSError:
                continue
            if number:
                return Count((place,), number, disk.over, MDOC, tilde(place))
    shown = tilde(folders[0]) if folders else "this folder"
    return Count(problem=f"no mdoc is in {shown} or near it: say where they are")


def _subfolders(folder: str, disk: _Disk) -> list[str]:
    found = [entry.path for entry in disk.scan(folder) if entry.name[0] != "." and entry.is_dir]
    return sorted(found)[:MOST_SUBFOLDERS]


def _folder_of(pattern: str) -> str:
    whole = _whole(pattern)
    if os.path.isdir(whole):
        return whole
    return os.path.dirname(whole)


def _why_nothing(pattern: str, extensions: tuple[str, ...], disk: _Disk) -> str:
    """What is there in its place."""
    whole = _whole(pattern)
    folder = whole if os.path.isdir(whole) else os.path.dirname(whole)
    if glob.has_magic(folder) and not os.path.isdir(folder):
        return "no folder matches"
    if not os.path.isdir(folder):
        above = folder
        while above != "/" and not os.path.isdir(above):
            above = os.path.dirname(above)
        names = [os.path.basename(path) for path in _subfolders(above, disk)]
        there = f"; {tilde(above)} holds {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}" if names else ""
        return f"there is no folder {tilde(folder)}{there}"
    kinds = Counter(os.path.splitext(entry.name)[1].lower() for entry in disk.scan(folder) if not entry.is_dir)
    what = "mdoc" if extensions == MDOC else "movie"
    begin = f"no {what} is there" if os.path.isdir(whole) else "no file matches"
    if not kinds:
        return f"{begin}; {tilde(folder)} holds no files"
    held = ", ".join(f"{number:,} *{kind or ' without ending'}" for kind, number in kinds.most_common(2))
    return f"{begin}; {tilde(folder)} holds {held}"


def complete(text: str, wants: Wants, cancelled: Callable[[], bool]) -> Completion:
    """How the path that stands last in a field can go on: folders, and files as patterns (``*.eer``)."""
    if wants == "name":
        return Completion(text)
    before, _, typed = text.rpartition(",") if wants != "folder" else ("", "", text)
    lead = text[: len(before) + 1] + " " if before else ""
    typed = typed.lstrip()
    if typed == "~":
        return Completion(f"{lead}~/", (Candidate(f"{lead}~/", "~/"),))
    head, slash, prefix = typed.rpartition("/")
    if glob.has_magic(typed) or not typed:
        return Completion(text)
    folder = _whole(head + slash) if head or slash else os.getcwd()
    disk = _Disk(cancelled)
    disk.begin()
    folders: list[str] = []
    files: Counter[str] = Counter()
    extensions = {"movies": MOVIE_EXTENSIONS, "mdocs": MDOC, "folder": ()}[wants]
    try:
        for entry in disk.scan(folder):
            name = entry.name
            if not name.startswith(prefix) or (name[0] == "." and not prefix.startswith(".")):
                continue
            kind = os.path.splitext(name)[1].lower()
            if kind in extensions:
                files[os.path.splitext(name)[1]] += 1
            elif entry.is_dir:
                folders.append(name)
    except (OSError, ValueError):
        return Completion(text)
    start = f"{lead}{head}{slash}"
    found = [Candidate(f"{start}{name}/", f"{name}/") for name in sorted(folders)]
    found += [
        Candidate(f"{start}{prefix}*{kind}", f"{prefix}*{kind}", f"{number:,} files" if number > 1 else "1 file")
        for kind, number in files.most_common()
    ]
    texts = [each.text for each in found]
    common = os.path.commonprefix(texts) if texts else text  # noqa: RUF071 (letters are what is wanted)
    return Completion(common if len(common) > len(text.rstrip()) else text, tuple(found[:MOST_CANDIDATES]))


def look_at_place(text: str, base: str) -> Place:
    """Whether a project can be made there. A name alone lies below ``base``."""
    path = os.path.normpath(os.path.join(base, os.path.expanduser(text.strip())))
    try:
        return _place(path)
    except (OSError, ValueError) as error:
        return Place(path, False, _sentence(path, error))


def _place(path: str) -> Place:
    from core.dataset.overview import bytes_text

    above = path
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if os.path.lexists(os.path.join(path, PROJECT_FILE)):
        return Place(path, False, "a project is there already: choose another folder, or open it in the list")
    if not os.path.isdir(above):
        return Place(path, False, f"{tilde(above)} is a file: choose another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        return Place(path, False, f"you may not write in {tilde(above)}: choose another folder")
    status = os.statvfs(above)
    free = status.f_bavail * status.f_frsize
    if above != path:
        made = f"will be made, {bytes_text(free)} free"
    elif os.path.exists(os.path.join(path, "default_pipeline.star")):
        made = f"a RELION project is there: its jobs stay as they are, {bytes_text(free)} free"
    elif any(os.scandir(path)):
        made = f"is there and not empty: what is in it stays, {bytes_text(free)} free"
    else:
        made = f"is there and empty, {bytes_text(free)} free"
    return Place(path, True, made, free)


def suggested_name(patterns: tuple[str, ...]) -> str:
    """A project's name from where its movies are: the first part of the path, from its end, that says something."""
    if not patterns:
        return ""
    parts = [part for part in _folder_of(patterns[0]).split("/") if part and not glob.has_magic(part)]
    return next((part for part in reversed(parts) if part.lower() not in _NOT_A_NAME), "")


def tilde(path: str) -> str:
    """A path as people write it: ``~`` for their own folder."""
    home = os.path.expanduser("~").rstrip("/")
    return f"~{path[len(home) :]}" if home and (path == home or path.startswith(home + "/")) else path


def _whole(pattern: str) -> str:
    return os.path.abspath(os.path.expanduser(pattern))


def _sentence(path: str, error: Exception) -> str:
    place = tilde(str(getattr(error, "filename", None) or path))
    if isinstance(error, PermissionError):
        return f"you may not read {place}: ask its owner for permission"
    if isinstance(error, FileNotFoundError):
        return f"{place} is not there"
    return f"{place} cannot be read ({getattr(error, 'strerror', None) or error})"
