"""Following a set of folders live: by events where the file system announces changes, by looking where it does not.

Folders are followed themselves, not what is below their subfolders. One thread does all that may block, so a hanging
file system never stops the caller's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from watchfiles import Change
from watchfiles._rust_notify import RustNotify

from core.watch.mounts import hides_events, kind_of, read_mounts

STEP_MS = 10
"""How long the watcher waits for more before it reports: 15 to 30 ms pass from a rename to its report."""

IDLE_STEP_MS = 25
"""The same while nothing changes: the first change takes 30 to 65 ms, and waiting costs 0.2 % of a core, not 0.6 %."""

IDLE_AFTER_SECONDS = 5.0

DEBOUNCE_MS = 100
"""How long changes may keep coming before they are reported anyway."""

Mode = Literal["auto", "events", "poll"]
_Listing = dict[str, tuple[int, int, int]]


class FolderWatch:
    """Follows folders, which may be exchanged at any time.

    ``mode``: ``auto`` looks every ``poll_seconds`` where events would be missed, ``events`` and ``poll`` force one way.
    ``notice`` is called (from another thread) with one sentence, once per reason for looking instead of listening.
    """

    def __init__(
        self, mode: Mode = "auto", poll_seconds: float = 2.0, notice: Callable[[str], None] | None = None
    ) -> None:
        self._mode = mode
        self._poll_seconds = max(0.05, poll_seconds)
        self._notice = notice
        self._noticed: set[str] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._wanted: frozenset[Path] = frozenset()
        self._changes: set[Path] = set()
        self._arrived = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._followed: frozenset[Path] = frozenset()
        self._listened: dict[str, Path] = {}
        self._listings: dict[Path, _Listing | None] = {}
        self._watcher: RustNotify | None = None
        self._events_work = True
        self._renew = False
        self._last_change = time.monotonic()

    def set_folders(self, folders: Iterable[Path]) -> None:
        """Follow these folders from now on. They need not exist yet.

        A folder that is new to the set is itself reported once as changed, as soon as it is followed: what happened
        in it before cannot be known.
        """
        with self._lock:
            self._wanted = frozenset(folders)
        self._wake.set()
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._follow, name="folder-watch", daemon=True)
            self._thread.start()

    async def changed(self, timeout_seconds: float | None = None) -> set[Path]:
        """Paths that appeared, changed or went since the last call; waits until there are any, or returns an empty set
        after the time-out. A followed folder itself stands for all that is in it."""
        self._loop = asyncio.get_running_loop()
        end = None if timeout_seconds is None else self._loop.time() + timeout_seconds
        while True:
            with self._lock:
                changes, self._changes = self._changes, set()
                self._arrived.clear()
            left = None if end is None else end - self._loop.time()
            if changes or (left is not None and left <= 0):
                return changes
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)

    def close(self) -> None:
        """Stop following. Waits at most a second for the thread, which a hanging file system may hold."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _follow(self) -> None:
        next_look = 0.0
        while not self._closed:
            self._wake.clear()
            with self._lock:
                wanted = self._wanted
            if wanted != self._followed:
                self._rebuild(wanted)
            now = time.monotonic()
            if self._listings and now >= next_look:
                self._look()
                next_look = time.monotonic() + self._poll_seconds
            self._listen(max(0.001, next_look - time.monotonic()) if self._listings else None)
        if self._watcher is not None:
            self._watcher.close()

    def _rebuild(self, wanted: frozenset[Path]) -> None:
        """Decide how each folder is followed, and make the watcher for those that are listened to."""
        mounts = read_mounts()
        listened: dict[str, Path] = {}
        looked: list[Path] = []
        for folder in wanted:
            # Events name the path that was asked for, so that is how it is found again.
            if self._mode == "poll" or not self._events_work or not folder.is_dir():
                looked.append(folder)
                continue
            kind = kind_of(folder, mounts) if self._mode == "auto" else "local"
            if hides_events(kind):
                looked.append(folder)
                self._say(
                    f"hidden {kind}",
                    f"{folder} is on {kind or 'an unknown file system'}, which does not announce what other machines "
                    f"write: it is looked at every {self._poll_seconds:g} s.",
                )
            else:
                listened[str(folder)] = folder
        new = set(wanted - self._followed)
        if self._renew or listened != self._listened:
            previous, self._watcher = self._watcher, None
            if listened and not self._start_watcher(listened):
                new.update(listened.values())
                looked += listened.values()
                listened = {}
            if previous is not None:
                with contextlib.suppress(OSError, RuntimeError):
                    # What it saw until now; the new one is listening already.
                    rest = previous.watch(1, 1, 1, None)
                    if isinstance(rest, set):
                        new.update(Path(path) for _, path in rest)
                previous.close()
        self._renew = False
        self._listened = listened
        before = self._listings
        self._listings = {folder: before[folder] if folder in before else _listing(folder) for folder in looked}
        self._followed = wanted
        self._report(new)

    def _start_watcher(self, listened: dict[str, Path]) -> bool:
        try:
            self._watcher = RustNotify(list(listened), False, False, 0, False, True)
        except FileNotFoundError:
            # One went just now: it will be seen to be gone when it is looked at.
            return False
        except (OSError, RuntimeError) as error:
            self._give_up_events(error)
            return False
        return True

    def _listen(self, seconds: float | None) -> None:
        """Wait for events, a wake-up, or until ``seconds`` have passed."""
        if self._watcher is None:
            self._wake.wait(seconds)
            return
        idle = time.monotonic() - self._last_change >= IDLE_AFTER_SECONDS
        longest = IDLE_AFTER_SECONDS if seconds is None or seconds > IDLE_AFTER_SECONDS else seconds
        step_ms = IDLE_STEP_MS if idle else STEP_MS
        try:
            result = self._watcher.watch(DEBOUNCE_MS, step_ms, max(1, int(longest * 1000)), self._wake)
        except (OSError, RuntimeError) as error:
            self._give_up_events(error)
            self._watcher = None
            self._renew = True
            self._followed = frozenset()
            return
        if not isinstance(result, set):
            return
        self._last_change = time.monotonic()
        # A removed folder loses its watch; made again, it needs a new one.
        gone = {self._listened[path] for kind, path in result if path in self._listened and kind == Change.deleted}
        if gone:
            self._renew = True
            self._followed -= gone
        self._report(Path(path) for _, path in result)

    def _look(self) -> None:
        """List the folders that are looked at, and report what differs from the last time."""
        changes: set[Path] = set()
        for folder, before in self._listings.items():
            after = _listing(folder)
            if after == before:
                continue
            self._listings[folder] = after
            if before is None or after is None:
                changes.add(folder)
                # It appeared, and perhaps can be listened to now.
                self._followed -= {folder}
            else:
                names = {name for name, _ in before.items() ^ after.items()}
                changes.update(folder / name for name in names)
        self._report(changes)

    def _report(self, changes: Iterable[Path]) -> None:
        with self._lock:
            self._changes.update(changes)
            if not self._changes or self._loop is None:
                return
        # The loop may have ended; then nobody waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrived.set)

    def _give_up_events(self, error: Exception) -> None:
        self._events_work = False
        self._say(
            "events",
            f"folders cannot be followed by events ({error}); they are looked at every {self._poll_seconds:g} s. "
            "If a limit of inotify was reached, your administrator can raise fs.inotify.max_user_instances.",
        )

    def _say(self, reason: str, sentence: str) -> None:
        if reason not in self._noticed:
            self._noticed.add(reason)
            if self._notice is not None:
                self._notice(sentence)


def _listing(folder: Path) -> _Listing | None:
    """Name -> size, time of change in ns, inode; None where the folder is not there or cannot be read."""
    found: _Listing = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                # A file may go between its listing and its stat.
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    found[entry.name] = (status.st_size, status.st_mtime_ns, status.st_ino)
    except OSError:
        return None
    return found
