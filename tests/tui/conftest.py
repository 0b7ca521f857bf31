"""Every test of screens and commands gets a home of its own, so that nobody's real list of projects is touched; and no
test passes in which a handler kept all else waiting for more than 50 ms: twice, or once for more than 65 ms. Below that
a single step is a note (``-rw`` or ``-W error`` show it): what a busy machine adds cannot be told from it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui.watchdog import LIMIT_MS, watching


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    for name, folder in (("HOME", ""), ("XDG_STATE_HOME", "state"), ("XDG_CONFIG_HOME", "config")):
        monkeypatch.setenv(name, str(home / folder))
    for name in ("CRBOOST_CONFIG", "NO_COLOR", "TEXTUAL_THEME", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    return home


@pytest.fixture(autouse=True)
def _watchdog() -> Iterator[None]:
    with watching() as watch:
        yield
    told = "\n\n".join(map(str, watch.steps[:3]))
    if watch.blocking:
        pytest.fail(f"{len(watch.steps)} steps of the app's loop took more than {LIMIT_MS:g} ms:\n{told}")
    if told:
        warnings.warn(f"A step of the app's loop took more than {LIMIT_MS:g} ms once: {told}", stacklevel=1)
