"""Whose project it is, and whether this user may change it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.project.access import Access, access_to


def test_a_project_in_a_folder_of_somebody_else_is_theirs_though_it_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crboost.yaml").touch()
    assert access_to(tmp_path) == Access()
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert access_to(tmp_path) == Access(tmp_path.owner())
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "crboost.yaml")
    assert access_to(tmp_path) == Access(tmp_path.owner(), writable=False)


@pytest.mark.parametrize(
    ("access", "asked", "begin", "head"),
    [
        (Access(), False, "", ""),
        (Access("anna"), False, "This project belongs to anna: it is open read-only. W", "read-only, anna's"),
        (Access("anna"), True, "", "anna's"),
        (Access("anna", writable=False), True, "This project belongs to anna, and you may not", "read-only, anna's"),
        (Access("", writable=False), False, "This project's folder cannot be written:", "read-only"),
    ],
)
def test_why_it_may_not_be_changed_is_said(access: Access, asked: bool, begin: str, head: str) -> None:
    why_not = access.why_not(asked)
    assert why_not.startswith(begin) and bool(why_not) == bool(begin)
    assert access.words(asked) == head
