"""States of tasks and jobs, everywhere the same. The value is the one character that stands in ``status.json`` and the
ASCII twin on screens; ``GLYPH`` is its form where there is UTF-8."""

from __future__ import annotations

from enum import Enum


class TaskState(Enum):
    WAITING = "."
    READY = "o"
    QUEUED = "q"
    RUNNING = ">"
    DONE = "+"
    EMPTY = "0"
    FAILED = "x"
    BLOCKED = "b"
    STOPPED = "s"
    NEEDS_YOU = "!"
    STALE = "#"
    EXCLUDED = "-"
    UNKNOWN = "?"

    @property
    def live(self) -> bool:
        """An attempt is with the submitter."""
        return self in (TaskState.QUEUED, TaskState.RUNNING, TaskState.UNKNOWN)

    @property
    def settled(self) -> bool:
        """Nothing more will happen to it by itself."""
        return self in _SETTLED

    @property
    def good(self) -> bool:
        """Its products may be used downstream."""
        return self in (TaskState.DONE, TaskState.EMPTY)


_SETTLED = frozenset(
    (
        TaskState.DONE,
        TaskState.EMPTY,
        TaskState.FAILED,
        TaskState.BLOCKED,
        TaskState.STOPPED,
        TaskState.STALE,
        TaskState.EXCLUDED,
    )
)

GLYPH = {
    TaskState.WAITING: "·",
    TaskState.READY: "○",
    TaskState.QUEUED: "◔",
    TaskState.RUNNING: "▶",
    TaskState.DONE: "✓",
    TaskState.EMPTY: "∅",
    TaskState.FAILED: "✗",
    TaskState.BLOCKED: "⊘",
    TaskState.STOPPED: "■",
    TaskState.NEEDS_YOU: "!",
    TaskState.STALE: "≠",
    TaskState.EXCLUDED: "–",
    TaskState.UNKNOWN: "?",
}

MEANING = {
    TaskState.WAITING: "waiting",
    TaskState.READY: "ready",
    TaskState.QUEUED: "queued",
    TaskState.RUNNING: "running",
    TaskState.DONE: "done",
    TaskState.EMPTY: "done, nothing found",
    TaskState.FAILED: "failed",
    TaskState.BLOCKED: "blocked by an earlier failure",
    TaskState.STOPPED: "stopped",
    TaskState.NEEDS_YOU: "needs you",
    TaskState.STALE: "stale (parameters changed since)",
    TaskState.EXCLUDED: "excluded",
    TaskState.UNKNOWN: "not known (the queue does not answer)",
}


class JobState(Enum):
    """RELION's status labels, with ``Planned`` for an instance that has no job folder yet."""

    PLANNED = "Planned"
    SCHEDULED = "Scheduled"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ABORTED = "Aborted"
