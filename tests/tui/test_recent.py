"""The projects that this user opened."""

from __future__ import annotations

from pathlib import Path

from crboost_tui.recent import remember, remembered
from tests.tui import seed


def test_opened_projects_are_remembered_newest_first(tmp_path: Path) -> None:
    for name in ("a", "b"):
        seed.write(tmp_path / name, seed.finished())
        remember(tmp_path / name)
    remember(tmp_path / "a")
    assert [path.name for path in remembered()] == ["a", "b"]
