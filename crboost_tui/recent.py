"""The projects that this user opened, newest first, in the user's state folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

from core.errors import CrboostError
from core.files import replace_text
from core.project.layout import PROJECT_FILE

KEEP = 50


def state_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "crboost"


def recent_projects() -> list[Path]:
    """Folders that still are projects."""
    try:
        listed = json.loads((state_folder() / "recent.json").read_text(encoding="utf-8"))
        paths = [Path(str(text)) for text in listed]
    except (OSError, ValueError, TypeError):
        return []
    return [path for path in paths if (path / PROJECT_FILE).is_file()]


def remember(root: Path) -> None:
    """Put a project first. A state folder that cannot be written is no reason to stop."""
    paths = [root, *(path for path in recent_projects() if path != root)][:KEEP]
    try:
        state_folder().mkdir(parents=True, exist_ok=True)
        replace_text(state_folder() / "recent.json", json.dumps([str(path) for path in paths], indent=1))
    except (OSError, CrboostError):
        return
