"""Where the app keeps what it knows by itself: the user's own state folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def state_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "crboost"


def project_key(root: Path) -> str:
    """The name of a project's own files in there, the same by whatever links one comes to it. Asks the disk."""
    return hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
