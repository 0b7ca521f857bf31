"""Why an attempt failed, in one line, and when a repeated cause should pause a job."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from core.jobs._base import JobType

TAIL_BYTES = 4096
PAUSE_AFTER = 5


def tail(path: Path, size: int = TAIL_BYTES) -> str:
    """The end of a file as text, "" where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - size))
            return stream.read(size).decode("utf-8", "replace")
    except OSError:
        return ""


def describe(job_type: JobType[Any], out: Path, err: Path, reason: str) -> str:
    """The tool's own reason where it gave one, then what the script saw."""
    try:
        own = job_type.cause(tail(out), tail(err)).strip()
    except Exception:  # a log that the job type cannot read must not hide what the script saw
        own = ""
    if not own or own in reason:
        return reason or "no reason was given"
    return f"{own} ({reason})" if reason else own


def kind_of(cause: str, key: str) -> str:
    """The cause without what differs from series to series: names, paths and numbers."""
    text = cause.replace(key.lstrip("@"), "*")
    text = re.sub(r"/\S+", "/*", text)
    return re.sub(r"\d+(?:\.\d+)?", "#", text)


class Streaks:
    """Failures of each cause per job, without a success in between."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def failed(self, instance: str, cause: str, key: str) -> int:
        """How many of this cause there are now."""
        counts = self._counts.setdefault(instance, Counter())
        kind = kind_of(cause, key)
        counts[kind] += 1
        return counts[kind]

    def succeeded(self, instance: str) -> None:
        self._counts.pop(instance, None)
