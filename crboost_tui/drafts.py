"""Values that were typed and not saved: kept in the user's own state folder, a file for each project and each process.

A process writes and removes only its own file, so that two at once do not lose each other's values. Offered is what a
process left behind that is no more. They are written within a second by a thread of their own, so that neither a slow
disk delays a key nor a hang-up loses what was typed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from core.errors import CrboostError
from core.files import replace_text, write_error
from core.project.lock import identity, is_dead
from crboost_tui.state import project_key, state_folder

FORMAT = 2
PAUSE_SECONDS = 0.3
ELSEWHERE_SECONDS = 6 * 3600.0
"""Whether a process of another host still lives cannot be seen: its draft counts as left behind after so long."""


@dataclass(frozen=True, slots=True)
class Draft:
    """``edits``: name of a value -> its text, None for back to the default. ``at``: seconds since 1970."""

    edits: Mapping[str, str | None]
    at: float
    own: bool = False
    """Typed in this very session of the app."""
    path: Path | None = None

    @property
    def clock(self) -> str:
        """``14:02``, or the day where it was not today."""
        then, now = time.localtime(self.at), time.localtime()
        return time.strftime("%H:%M" if then[:3] == now[:3] else "%d %b, %H:%M", then)


def draft_path(root: Path) -> Path:
    """The file of this process."""
    own = identity()
    return _folder() / f"{project_key(root)}-{own['host']}-{own['pid']}-{own['start']}.json"


def read_draft(root: Path) -> Draft | None:
    """The draft of a project: this session's own, else the newest that was left behind."""
    found = [_read(path) for path in _folder().glob(f"{project_key(root)}-*.json")]
    return max((draft for draft in found if draft is not None), key=lambda each: (each.own, each.at), default=None)


def write_draft(root: Path, edits: Mapping[str, str | None]) -> None:
    """Keep these edits, or nothing where there are none. Raises :class:`CrboostError`."""
    path = draft_path(root)
    try:
        if not edits:
            if path.parent.is_dir():
                path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    kept = {"format": FORMAT, "project": str(root), "at": time.time(), "by": identity(), "edits": dict(edits)}
    replace_text(path, json.dumps(kept, ensure_ascii=False, indent=1))


def _folder() -> Path:
    return state_folder() / "drafts"


def _read(path: Path) -> Draft | None:
    """None for one of a living process, and for a spoilt one."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        edits = {str(name): None if text is None else str(text) for name, text in found["edits"].items()}
        at, by, here = float(found["at"]), dict(found["by"]), identity()
        if found["format"] != FORMAT or not edits:
            return None
        left = is_dead(by) or (by["host"] != here["host"] and time.time() - at > ELSEWHERE_SECONDS)
        return Draft(edits, at, by == here, path) if left or by == here else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class DraftKeeper:
    """Writes the newest edits of one project, in a thread that lives from the first edit to :meth:`close`. ``tell``
    is called in it, with a sentence, where they cannot be kept."""

    _said: ClassVar[set[str]] = set()
    """What was told in this process, once."""

    def __init__(self, root: Path, tell: Callable[[str], None]) -> None:
        self.root = root
        self._tell = tell
        self._edits: Mapping[str, str | None] | None = None
        self._spent: list[Path] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def keep(self, edits: Mapping[str, str | None], settled: Draft | None = None) -> None:
        """``settled``: the draft that was taken in or dropped with it: its file goes once these are kept."""
        with self._changed:
            self._edits = dict(edits)
            if settled is not None and settled.path is not None and not settled.own:
                self._spent.append(settled.path)
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
                spent = list(self._spent)
                if edits is None:
                    return
            try:
                write_draft(self.root, edits)
                for path in spent:
                    path.unlink(missing_ok=True)
                    self._spent.remove(path)
            except (OSError, CrboostError) as error:
                sentence = f"Unsaved values cannot be kept over a hang-up: {str(error).rstrip('.')}."
                if sentence not in self._said:
                    self._said.add(sentence)
                    self._tell(sentence)
