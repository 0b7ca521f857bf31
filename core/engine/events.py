"""The live feed: numbered events, one JSON line each, in files of at most 10 MB named by their first number.

The engine appends; everybody else reads. A reader that finds a gap loads ``status.json`` again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import CrboostError
from core.files import write_error

ROTATE_BYTES = 10_000_000
KEEP_FILES = 20


@dataclass(frozen=True, slots=True)
class Event:
    """``kind``: task, job, request, decision, gathered, notice, engine. ``time``: seconds since 1970."""

    number: int
    time: float
    kind: str
    fields: Mapping[str, Any]

    def line(self) -> str:
        return json.dumps({"n": self.number, "t": self.time, "kind": self.kind, **self.fields}, ensure_ascii=False)


def parse_event(line: str) -> Event | None:
    """The event of a line, None where the line is torn."""
    try:
        data = json.loads(line)
        return Event(int(data.pop("n")), float(data.pop("t")), str(data.pop("kind")), data)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class EventLog:
    """The writing side. Events are collected and written in one piece by :meth:`flush`."""

    def __init__(self, folder: Path, last: int) -> None:
        self.folder = folder
        self.last = last
        self._lines: list[str] = []
        self._file: Path | None = None
        self._bytes = 0

    def add(self, time: float, kind: str, **fields: Any) -> Event:
        self.last += 1
        event = Event(self.last, round(time, 3), kind, fields)
        self._lines.append(event.line())
        return event

    def flush(self) -> None:
        if not self._lines:
            return
        lines = self._lines
        data = ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")
        if self._file is None or self._bytes > ROTATE_BYTES:
            self._file = self.folder / f"{self.last - len(lines) + 1:012d}.jsonl"
            self._bytes = 0
            self._drop_old()
        try:
            with open(self._file, "ab", buffering=0) as stream:
                end = stream.tell()
                try:
                    left = memoryview(data)
                    while left:
                        left = left[stream.write(left) :]
                except OSError:
                    stream.truncate(end)  # a full disk: the same lines come whole, when there is space
                    raise
        except OSError as error:
            raise write_error(self._file, error) from error
        self._lines = []
        self._bytes += len(data)

    def _drop_old(self) -> None:
        for path in event_files(self.folder)[:-KEEP_FILES]:
            path.unlink(missing_ok=True)


class EventReader:
    """Reads on from the event after ``number``; ``gap`` becomes True when events are missing in between."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number
        self.gap = False
        self._file: Path | None = None
        self._offset = 0

    def read(self) -> list[Event]:
        """What came since the last call, at most some megabytes. Never raises for a torn or missing file."""
        found: list[Event] = []
        for path, offset in self._files():
            try:
                with open(path, "rb") as stream:
                    stream.seek(offset)
                    data = stream.read(4_000_000)
            except OSError:
                continue
            end = data.rfind(b"\n") + 1
            self._file, self._offset = path, offset + end
            for line in data[:end].decode("utf-8", "replace").splitlines():
                event = parse_event(line)
                if event is None or event.number <= self.number:
                    continue
                self.gap = self.gap or event.number != self.number + 1
                self.number = event.number
                found.append(event)
        return found

    def _files(self) -> Iterator[tuple[Path, int]]:
        files = event_files(self.folder)
        if self._file is None or self._file not in files:
            started = [path for path in files if int(path.stem) <= self.number + 1]
            files = files[len(started) - 1 :] if started else files
            self._file, self._offset = None, 0
        else:
            files = files[files.index(self._file) :]
        for path in files:
            yield path, self._offset if path == self._file else 0


def event_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".jsonl" and path.stem.isdigit())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CrboostError(f"cannot be listed ({error.strerror}).", folder) from error
