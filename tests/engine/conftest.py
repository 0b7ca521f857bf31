"""No test leaves a process behind: an engine that does not end is a failure, whatever else is left is ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_process_left(tmp_path: Path) -> Iterator[None]:
    yield
    end = time.monotonic() + 20.0
    while engines := [pid for pid, words in _processes(tmp_path) if "core.engine" in words]:
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    for pid, _ in _processes(tmp_path):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not engines, "an engine did not end"


def _processes(folder: Path) -> list[tuple[int, list[str]]]:
    """Processes that were started with a path below ``folder`` on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                text = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                if str(folder) in text:
                    found.append((int(entry.name), text.split("\0")))
    return found
