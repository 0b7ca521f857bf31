"""The file systems of a project: how they are watched, whether locks hold there, and how much space is left."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.checks.findings import Check, Finding, failed, ok, warning
from core.checks.space import needed_bytes
from core.checks.surroundings import Surroundings, cache_folder, short
from core.cluster.slots import slot_folder
from core.dataset.registry import load_registry
from core.errors import CrboostError
from core.project.layout import ProjectPaths
from core.watch.mounts import hides_events, kind_of, read_mounts

GROUP = "File systems"
SECONDS = 8.0
SLOTS = slot_folder().parent
"""Where tasks on this host take their slots, whatever TMPDIR says."""
INOTIFY = Path("/proc/sys/fs/inotify")
LEAST_INSTANCES = 16
"""inotify instances that should be free: each app and each engine takes one or two."""

_DEAD = "Its server may be down: ask your administrator. Until it answers, nothing that needs it can work."
_KEPT_IN_MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that matters. ``trial``: where locks are tried, None where nothing is ever written."""

    name: str
    folder: Path
    trial: Path | None


def checks(around: Surroundings, raw_folders: Iterable[str]) -> list[Check]:
    """One check for each place, so that one that hangs hides none of the others. ``raw_folders`` hold the raw data."""
    places = [Place("data", Path(folder), None) for folder in raw_folders]
    home = Path(os.environ.get("HOME", "/"))
    scratch = Path(os.environ.get("TMPDIR") or SLOTS)
    origins = {value.origin for value in around.site.values if value.origin.startswith("/")}
    folders = {Path(origin).parent for origin in origins} - {around.root and ProjectPaths(around.root).state}
    places += [Place("settings", folder, None) for folder in sorted(folders) if not folder.is_relative_to(home)]
    places += [
        Place("program", around.program, None),
        Place("scratch", scratch, scratch),
        *([Place("slots", SLOTS, SLOTS)] if scratch != SLOTS else []),
        Place("home", home, cache_folder()),
    ]
    if around.root is not None:
        places.insert(0, Place("project", around.root, ProjectPaths(around.root).state))
    found = [
        Check(GROUP, place.name, partial(_place, around, place), SECONDS, _DEAD, short(place.folder))
        for place in places
    ]
    return [*found, Check(GROUP, "inotify", partial(inotify, around))]


def raw_folders(root: Path, most: int = 4) -> list[str]:
    """The folders with the raw data of a project, those with most movies first."""
    path = ProjectPaths(root).registry
    if not path.exists():
        return []
    counts: dict[str, int] = {}
    for series in load_registry(path).series:
        for source in series.tilts.source:
            if source:
                folder = source.rpartition("/")[0]
                counts[folder] = counts.get(folder, 0) + 1
    return sorted(counts, key=lambda folder: -counts[folder])[:most]


def _place(around: Surroundings, place: Place) -> Iterator[Finding]:
    folder = place.folder
    if not folder.is_dir():
        advice = {
            "data": "Did the data move? crboost relink OLD NEW. Is a disk not mounted?",
            "scratch": "Set TMPDIR to a folder that is there.",
        }
        yield failed(place.name, f"{short(folder)} is no folder", advice.get(place.name, "Make it, or mount its disk."))
        return
    kind = kind_of(folder, read_mounts())
    told = f"{kind or 'unknown kind'}, {_watching(around, kind)}"
    if place.name == "project":
        yield _project_space(around, folder, f"{short(folder)}: {told}")
    elif place.name == "data" and not os.access(folder, os.R_OK | os.X_OK):
        yield failed(place.name, f"{short(folder)} may not be read", "Ask its owner for permission.")
    else:
        free = f"; {_gb(shutil.disk_usage(folder).free)} free" if place.trial is not None else ""
        yield ok(place.name, f"{short(folder)}: {told}{free}")
    if place.name == "project" and kind in _KEPT_IN_MEMORY:
        yield warning("project", f"{kind} is memory", "It is gone after a reboot: move the project to a disk.")
    if place.trial is not None:
        yield _locks(place, place.trial)


def _watching(around: Surroundings, kind: str) -> str:
    watch = around.site.watch
    if watch.mode == "poll" or (watch.mode == "auto" and hides_events(kind)):
        return f"looked at every {watch.seconds:g} s"
    return "announces changes"


def _project_space(around: Surroundings, folder: Path, told: str) -> Finding:
    usage = os.statvfs(folder)
    free = usage.f_bavail * usage.f_frsize
    least_gb = around.site.min_free_gb
    try:
        needed = needed_bytes(folder, around.project) if around.project is not None else 0.0
        wants = f", about {_gb(needed)} will be needed" if needed else ""
    except CrboostError as error:
        needed, wants = 0.0, f" (what will be needed cannot be told: {error.sentence})"
    except OSError as error:
        needed, wants = 0.0, f" (what will be needed cannot be told: {error.strerror})"
    found = f"{told}; {_gb(free)} free{wants}"
    if free < least_gb * 1e9:
        return failed(
            "project", found, f"Nothing is started below {least_gb:g} GB (limits.min_free_gb): make room there."
        )
    if needed > free:
        return warning("project", found, "Make room, or run the series in portions: crboost run --series A,B")
    if usage.f_files and usage.f_favail < 10_000:
        return warning(
            "project", f"{found}; {usage.f_favail:,} more files may be made", "Remove files, or ask for more."
        )
    return ok("project", found)


def _locks(place: Place, parent: Path) -> Finding:
    """Hard links, exclusive folders and ``flock``, tried in a temporary folder."""
    name = f"{place.name} locks"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        trial = Path(tempfile.mkdtemp(prefix=".crboost-doctor-", dir=parent))
    except OSError as error:
        return _not_writable(name, place, parent, error)
    try:
        works = {what: holds(trial) for what, holds in _LOCKS.items()}
    except OSError as error:
        return _not_writable(name, place, parent, error)
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    good = [what for what, holds in works.items() if holds]
    bad = [what for what, holds in works.items() if not holds]
    found = f"{_list(good)} work" if good else ""
    if not bad:
        return ok(name, found)
    found = f"{_list(bad)} {'does' if bad == ['flock'] else 'do'} not work{f'; {found}' if found else ''}"
    if place.name == "project":
        if bad == ["flock"]:
            return ok(name, f"{found}, which is enough here")
        return failed(name, found, "Projects need them: put this one on another file system.")
    if place.folder == SLOTS and "flock" in bad:
        return failed(name, found, "Tasks on this host take their slots with it: ask your administrator about /tmp.")
    return warning(name, found, "Other programs may want them.")


def _not_writable(name: str, place: Place, parent: Path, error: OSError) -> Finding:
    found = f"{short(parent)} cannot be written ({error.strerror})"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return failed(name, f"{short(parent)} is full, or your quota is", "Make room there.")
    if place.name == "project":
        return warning(name, found, "You can look at this project; to run it, ask its owner for permission.")
    return failed(name, found, "Programs need to write there: ask your administrator.")


def _hard_links(folder: Path) -> bool:
    own, lock = folder / "own", folder / "lock"
    own.touch()
    try:
        os.link(own, lock)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            return False
        raise
    try:
        os.link(own, lock)
    except FileExistsError:
        return os.stat(own).st_nlink == 2
    return False


def _exclusive_folders(folder: Path) -> bool:
    (folder / "taken").mkdir()
    try:
        (folder / "taken").mkdir()
    except FileExistsError:
        return True
    return False


def _flock(folder: Path) -> bool:
    with open(folder / "flock", "w") as first, open(folder / "flock", "w") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


_LOCKS: dict[str, Callable[[Path], bool]] = {
    "hard links": _hard_links,
    "mkdir": _exclusive_folders,
    "flock": _flock,
}


def inotify(around: Surroundings, folder: Path = INOTIFY) -> Iterator[Finding]:
    """Where no more watchers can be made, changes are seen by looking: slower, and more work for the disk."""
    if around.site.watch.mode == "poll":
        return
    try:
        instances, watches = (int((folder / f"max_user_{what}").read_text()) for what in ("instances", "watches"))
    except (OSError, ValueError):
        return
    used = _instances_in_use()
    found = f"{used} of {instances} instances in use, {watches:,} watches"
    advice = "Close programs that watch files, or ask for fs.inotify.max_user_instances=1024; until then crboost polls."
    if not _can_watch():
        yield warning("inotify", f"no watcher can be made: {found}", advice)
    elif instances - used < LEAST_INSTANCES:
        yield warning("inotify", found, advice)
    else:
        yield ok("inotify", found)


def _instances_in_use() -> int:
    """inotify instances of all processes of this user."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.stat().st_uid != os.getuid():
                continue
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    count += os.readlink(descriptor) == "anon_inode:inotify"
    return count


def _can_watch() -> bool:
    descriptor = ctypes.CDLL(None).inotify_init1(0)
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True


def _gb(size: float) -> str:
    return (
        f"{size / 1e12:.1f} TB" if size >= 1e12 else f"{size / 1e9:.1f} GB" if size < 10e9 else f"{size / 1e9:.0f} GB"
    )


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
