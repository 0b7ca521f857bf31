"""Real files of the field, read where they lie; tests skip where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("CRBOOST_SHARED", Path(__file__).resolve().parents[1].parent / "shared"))


def shared(path: str) -> Path:
    """A file or folder below ``shared/``; skips the test where it is not there."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"{path} is not there (set CRBOOST_SHARED)")
    return found
