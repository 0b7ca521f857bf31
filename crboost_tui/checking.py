"""Doctor as a process of its own: one JSON line for each finding as it comes, and one for each check that ended.

``python -P -m crboost_tui.checking COLUMNS LINES ENCODING [PROJECT]``. The app reads it; whatever hangs, hangs here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from core.checks.findings import Finding

Progress = tuple[int, tuple[str, ...]]
"""How many checks have ended, and the names of those that have not."""


def check(root: Path | None, columns: int, lines: int, encoding: str) -> subprocess.Popen[str]:
    """Start it. SIGTERM makes it take back what it began (a job, a folder), and end."""
    command = [sys.executable, "-P", "-m", "crboost_tui.checking", str(columns), str(lines), encoding]
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [*command, *([str(root)] if root is not None else [])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
    )


def findings(process: subprocess.Popen[str]) -> Iterator[Finding | Progress]:
    """What it tells, as it comes."""
    assert process.stdout is not None
    for line in process.stdout:
        told = json.loads(line)
        yield Finding(**told["finding"]) if "finding" in told else (told["ended"], tuple(told["left"]))


def main(arguments: Sequence[str]) -> int:
    from core.checks.doctor import examine
    from core.checks.surroundings import Screen
    from core.errors import CrboostError
    from crboost_tui.data import config_dir

    columns, lines, encoding, *rest = arguments
    root = Path(rest[0]) if rest else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        examine(
            lambda: root,
            config_dir(),
            Path(__file__).resolve().parents[1],
            Screen(True, int(columns), int(lines), encoding),
            lambda ended, left: _say({"ended": ended, "left": list(left)}),
            lambda finding: _say({"finding": asdict(finding)}),
        )
    except CrboostError as error:
        _say({"finding": asdict(Finding("project", "failed", str(error), group="Settings"))})
    return 0


def _say(value: dict[str, object]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
