"""The journal of submissions: what was intended, before it was done, and under which id it was.

Append-only JSON lines. An intent is on the disk before anything is submitted, so that a restart knows every token that
may be in the queue.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import append_line, replace_text, write_error

_COMPACT_BYTES = 1_000_000

AttemptId = tuple[str, str, int]
"""Job instance, key of the task, number of the attempt."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One that is not settled. ``intent`` are the fields noted before it was submitted, ``fields`` those noted after
    (``job``, ``pid``, ...); ``fields`` is None where nobody knows whether it was submitted. ``time``: of the intent."""

    token: str
    attempts: tuple[AttemptId, ...]
    time: float
    intent: Mapping[str, Any]
    fields: Mapping[str, Any] | None


class Journal:
    """``path`` is ``submissions.jsonl``; one writer (the engine)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0

    def intent(self, token: str, attempts: Sequence[AttemptId], **fields: Any) -> None:
        """Note, durably, that a submission is about to be made."""
        new = not self.path.exists()
        line = {"intent": token, "time": time.time(), "attempts": [list(attempt) for attempt in attempts]}
        self._append({**line, **({"with": fields} if fields else {})}, sync=True)
        if new:
            _sync_folder(self.path.parent)

    def submitted(self, token: str, **fields: Any) -> None:
        """Note, durably, how the submitter knows it (``job="1234"``, ``pid=...``)."""
        self._append({"submitted": token, "fields": fields}, sync=True)

    def settled(self, token: str) -> None:
        """Nothing of this submission runs or will. Not forced to the disk: one that is lost is settled again."""
        self._append({"settled": token}, sync=False)
        if self._size > _COMPACT_BYTES:
            self.compact()

    def read(self) -> dict[str, Submission]:
        """Unsettled submissions by token, in order. Torn and foreign lines are passed over."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise write_error(self.path, error) from error
        self._size = len(data)
        found: dict[str, Submission] = {}
        for raw in data.split(b"\n"):
            _apply(found, raw)
        return found

    def compact(self) -> None:
        """Rewrite the file with what is not settled."""
        lines = []
        for one in self.read().values():
            attempts = [list(attempt) for attempt in one.attempts]
            lines.append({"intent": one.token, "time": one.time, "attempts": attempts, "with": dict(one.intent)})
            if one.fields is not None:
                lines.append({"submitted": one.token, "fields": dict(one.fields)})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        replace_text(self.path, text, sync=True)
        self._size = 0

    def _append(self, values: Mapping[str, Any], *, sync: bool) -> None:
        line = json.dumps(values)
        append_line(self.path, line, sync=sync)
        self._size += len(line) + 1


def _apply(found: dict[str, Submission], raw: bytes) -> None:
    try:
        line = json.loads(raw)
        if "intent" in line:
            attempts = tuple((str(instance), str(key), int(number)) for instance, key, number in line["attempts"])
            token = str(line["intent"])
            found[token] = Submission(token, attempts, float(line["time"]), dict(line.get("with", {})), None)
        elif "submitted" in line:
            old = found[line["submitted"]]
            found[old.token] = Submission(old.token, old.attempts, old.time, old.intent, dict(line["fields"]))
        elif "settled" in line:
            found.pop(line["settled"], None)
    except (ValueError, TypeError, KeyError, AttributeError):
        return


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable too."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
