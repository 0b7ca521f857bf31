"""Reading a large ``status.json`` in a process of its own, which hands it over in pieces: parsed in one piece it would
hold up the app, whose loop gets no turn while the parser runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from core.engine.status import Status, load_snapshot
from core.errors import InputError
from core.project.layout import ProjectPaths

LARGE_BYTES = 1_000_000
PIECE_KEYS = 500
_BY_KEY = ("progress", "causes", "notes", "numbers", "choices", "retries", "more", "queue_ids", "usage", "gathered")


def load_snapshot_in_pieces(paths: ProjectPaths) -> Status | None:
    """As :func:`core.engine.status.load_snapshot`, without ever taking long for one step."""
    try:
        large = paths.status.stat().st_size > LARGE_BYTES
    except OSError:
        large = False
    if not large:
        return load_snapshot(paths)
    command = [sys.executable, "-P", "-m", "crboost_tui.snapshot", str(paths.root)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as made:
        assert made.stdout is not None
        status: dict[str, object] = {}
        jobs: list[dict[str, object]] = []
        for line in made.stdout:
            kind, value = json.loads(line)
            if kind == "status":
                status = value
            elif kind == "job":
                jobs.append(value)
            elif kind == "error":
                raise InputError(value)
            else:
                jobs[-1][kind].update(value)  # type: ignore[attr-defined]
    return Status.from_json({**status, "jobs": jobs}) if status else load_snapshot(paths)


def _hand_over(root: Path) -> None:
    """Write the status in lines that each take a millisecond or so to parse."""
    try:
        status = load_snapshot(ProjectPaths(root))
    except InputError as error:
        print(json.dumps(["error", str(error)]))
        return
    if status is None:
        return
    data = status.to_json()
    jobs = data.pop("jobs")
    print(json.dumps(["status", data]))
    for job in jobs:
        print(json.dumps(["job", {**job, **{name: {} for name in _BY_KEY}}]))
        for name in _BY_KEY:
            items = list(job[name].items())
            for first in range(0, len(items), PIECE_KEYS):
                print(json.dumps([name, dict(items[first : first + PIECE_KEYS])]))


if __name__ == "__main__":
    _hand_over(Path(sys.argv[1]))
