"""Values that were typed and not saved: kept in the user's own state folder, one file for each project.

They are written within a second by a thread of their own, so that neither a slow disk delays a key nor a hang-up loses
what was typed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import CrboostError
from core.files import replace_text
from core.project.lock import process_start
from crboost_tui.recent import state_folder

FORMAT = 1
PAUSE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Draft:
    """``edits``: name of a value -> its text, None for back to the default. ``at``: seconds since 1970."""

    edits: Mapping[str, str | None]
    at: float
    own: bool = False
    """Typed in this very session of the app."""

    @property
    def clock(self) -> str:
        """``14:02``, or the day where it was not today."""
        then, now = time.localtime(self.at), time.localtime()
        return time.strftime("%H:%M" if then[:3] == now[:3] else "%d %b, %H:%M", then)


def draft_path(root: Path) -> Path:
    name = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return state_folder() / "drafts" / f"{name}.json"


def read_draft(root: Path) -> Draft | None:
    """The draft of a project, None where there is none or it is spoilt."""
    try:
        found = json.loads(draft_path(root).read_text(encoding="utf-8"))
        edits = {str(name): None if text is None else str(text) for name, text in found["edits"].items()}
        own = found.get("by") == _session()
        return Draft(edits, float(found["at"]), own) if edits and found["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_draft(root: Path, edits: Mapping[str, str | None]) -> None:
    """Keep these edits, or nothing where there are none. A state folder that cannot be written is no reason to stop."""
    path = draft_path(root)
    with contextlib.suppress(OSError, CrboostError):
        if not edits:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"format": FORMAT, "project": str(root), "at": time.time(), "by": _session(), "edits": dict(edits)}
        replace_text(path, json.dumps(kept, ensure_ascii=False, indent=1))


def _session() -> str:
    return f"{socket.gethostname()} {os.getpid()} {process_start(os.getpid())}"


class DraftKeeper:
    """Writes the newest edits of one project, in a thread that lives from the first edit to :meth:`close`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._edits: Mapping[str, str | None] | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def keep(self, edits: Mapping[str, str | None]) -> None:
        with self._changed:
            self._edits = dict(edits)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Write at once what is not written yet; does not wait for it."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._edits is not None or self._closed)
                self._changed.wait_for(lambda: self._closed, PAUSE_SECONDS)
                edits, self._edits = self._edits, None
                if edits is None:
                    return
            write_draft(self.root, edits)
