"""The projects that this user opened, newest first, in the user's state folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from core.errors import CrboostError
from core.files import replace_text
from crboost_tui.state import state_folder

KEEP = 50


def remembered() -> list[Path]:
    """What was opened, without a look at where it lies: a disk may not answer."""
    try:
        listed = json.loads((state_folder() / "recent.json").read_text(encoding="utf-8"))
        return [Path(str(text)) for text in listed]
    except (OSError, ValueError, TypeError):
        return []


def remember(root: Path) -> None:
    """Put a project first. A state folder that cannot be written is no reason to stop."""
    _write([root, *(path for path in remembered() if path != root)][:KEEP])


def forget(root: Path) -> None:
    """Take a project out of the list; nothing of the project itself is touched."""
    _write([path for path in remembered() if path != root])


def _write(paths: Sequence[Path]) -> None:
    try:
        state_folder().mkdir(parents=True, exist_ok=True)
        replace_text(state_folder() / "recent.json", json.dumps([str(path) for path in paths], indent=1))
    except (OSError, CrboostError):
        return
