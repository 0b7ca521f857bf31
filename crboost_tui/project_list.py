"""What is known of projects from outside: one small file of each, however slow or dead the disk that it is on.

A look may wait for ever on a mount whose server is gone. So each is made by one of a few threads that nobody waits for:
where one of them hangs, another one goes on with the rest, and the program can end.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from core.errors import CrboostError
from core.files import replace_text
from core.project.access import access_to
from core.project.layout import PROJECT_FILE, ProjectPaths
from crboost_tui.state import state_folder

Kind = Literal["project", "relion", "gone", "silent"]
PIPELINE_FILE = "default_pipeline.star"
"""RELION's; what knows more about it takes long to import."""
READERS = 12
"""Disks that may hang before the rest of a list has to wait for them."""
PATIENCE_SECONDS = 0.7
"""A look that takes longer is left alone."""
DEPTH, FOLDERS, SEARCH_SECONDS = 4, 20_000, 60.0
"""How far a configured folder is searched for projects."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What ``summary.json`` of a project says. ``counts`` by state character; ``updated``: last activity, 0 for none.

    ``kind``: a project of ours, one that only RELION has made, none any more (gone), or one whose disk does not answer.
    ``owner`` is "" where it is you.
    """

    root: str
    name: str
    kind: Kind = "project"
    rehearsal: bool = False
    series: int = 0
    tasks: int = 0
    counts: tuple[tuple[str, int], ...] = ()
    outcome: str = ""
    updated: float = 0.0
    needs: int = 0
    owner: str = ""
    read_only: bool = False

    @property
    def key(self) -> str:
        return self.root

    def count(self, states: str) -> int:
        return sum(number for state, number in self.counts if state in states)


def read_entry(root: Path) -> Entry:
    """A project as it is now. It may take for ever: use :func:`look_at_all`."""
    paths = ProjectPaths(root)
    try:
        status = paths.file.stat()
    except OSError:
        try:
            status = (root / PIPELINE_FILE).stat()
        except OSError:
            return Entry(str(root), root.name, "gone")
        return _owned(Entry(str(root), root.name, "relion", updated=status.st_mtime), root)
    try:
        data = json.loads(paths.summary.read_text(encoding="utf-8"))
        entry = Entry(
            str(root), str(data["name"]), "project", bool(data["rehearsal"]), int(data["series"]), int(data["tasks"]),
            tuple((str(state), int(number)) for state, number in data["counts"].items()),
            str(data["outcome"]), float(data["updated"]), int(data.get("needs", 0)),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        entry = Entry(str(root), root.name, outcome="not run yet", updated=status.st_mtime)
    return _owned(entry, root)


def _owned(entry: Entry, root: Path) -> Entry:
    access = access_to(root)
    return replace(entry, owner=access.owner, read_only=not access.writable)


_looking: dict[Path, float] = {}
"""What a thread looks at, since when."""


def look_at_all(roots: Iterable[Path], look: Callable[[Path], Entry] = read_entry) -> Iterator[Entry]:
    """An entry for each, as they come; those that do not answer as ``silent``, and once more should they answer while
    others are waited for. Ends when all have been told."""
    known = list(roots)
    begun = time.monotonic()
    hanging = [each for each in known if begun - _looking.get(each, begun) > PATIENCE_SECONDS]
    for each in hanging:  # a thread waits for it already
        yield Entry(str(each), each.name, "silent")
    waiting = deque(each for each in known if each not in hanging)
    answers: queue.SimpleQueue[tuple[int, Path | None, Entry | None]] = queue.SimpleQueue()
    busy: dict[int, tuple[Path, float]] = {}
    started = 0

    def reader(number: int) -> None:
        while True:
            try:
                root = waiting.popleft()
            except IndexError:
                answers.put((number, None, None))
                return
            answers.put((number, root, None))
            _looking[root] = time.monotonic()
            entry = look(root)
            _looking.pop(root, None)
            answers.put((number, root, entry))

    def start() -> None:
        nonlocal started
        threading.Thread(target=reader, args=(started,), daemon=True, name="look at a project").start()
        started += 1

    silent: set[int] = set()
    start()
    while True:
        try:
            number, root, entry = answers.get(timeout=PATIENCE_SECONDS / 4)
        except queue.Empty:
            pass
        else:
            if root is None:
                busy.pop(number, None)
                silent.add(number)
            elif entry is None:
                busy[number] = root, time.monotonic()
            else:
                busy.pop(number, None)
                silent.discard(number)
                yield entry
        late = [
            (number, root)
            for number, (root, since) in busy.items()
            if number not in silent and time.monotonic() - since > PATIENCE_SECONDS
        ]
        for number, root in late:
            silent.add(number)
            yield Entry(str(root), root.name, "silent")
        if len(silent) == started:
            if not waiting:
                return
            if started < READERS:
                start()


def seen_before() -> dict[str, Entry]:
    """The entries as they were when they were last read, by folder."""
    try:
        listed = json.loads((state_folder() / "seen.json").read_text(encoding="utf-8"))
        entries = [Entry(**{**each, "counts": tuple(map(tuple, each["counts"]))}) for each in listed]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return {entry.root: entry for entry in entries}


def keep_seen(entries: Iterable[Entry]) -> None:
    try:
        state_folder().mkdir(parents=True, exist_ok=True)
        replace_text(state_folder() / "seen.json", json.dumps([asdict(entry) for entry in entries]))
    except (OSError, CrboostError):
        return


def search(root: Path) -> Iterator[Path]:
    """Projects at most ``DEPTH`` folders below one, nearest first; no link is followed, none is looked for in another.

    It may take for ever, where its disk does not answer.
    """
    end = time.monotonic() + SEARCH_SECONDS
    folders = deque([(root, 0)])
    seen = 0
    while folders and seen < FOLDERS and time.monotonic() < end:
        folder, depth = folders.popleft()
        seen += 1
        below: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name in (PROJECT_FILE, PIPELINE_FILE):
                        yield folder
                        below = []
                        break
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                        below.append(entry.name)
        except OSError:
            continue
        if depth < DEPTH:
            folders.extend((folder / name, depth + 1) for name in sorted(below))
