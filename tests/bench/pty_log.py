"""Bytes that go to a terminal of 140 x 45 while the app follows a chatty log: what a slow line has to carry."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from tests.tui import seed

SECONDS = 6.0
APPENDS_PER_SECOND = 10
COLUMNS, LINES = 140, 45
_QUERIES = {b"\x1b[?2026$p": b"\x1b[?2026;2$y"}
"""What Textual asks the terminal, and the answer of one that draws whole frames."""


def following(folder: Path) -> dict[str, float]:
    root = seed.write(folder / "project", seed.status())
    log = seed.write_log(root, "External/job004", "Position_3", "".join(_lines(number) for number in range(200)))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    home = folder / "home"
    environment = {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    app = subprocess.Popen(
        [sys.executable, "-P", "-m", "crboost_tui.main", str(root)],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**environment, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"},
    )  # fmt: skip
    os.close(theirs)
    try:
        _until(ours, b"Position_1")
        os.write(ours, b"f")
        _read(ours, 0.5)
        os.write(ours, b"l")
        _until(ours, b"following")
        _read(ours, 1.5)
        assert not _read(ours, 2.0), "an idle log costs bytes"
        return {"pty_log_bytes_per_s": _while_it_grows(ours, log) / SECONDS}
    finally:
        app.terminate()
        app.wait(10)
        os.close(ours)


def _while_it_grows(terminal: int, log: Path) -> int:
    """Bytes within :data:`SECONDS`, the log growing by some lines and a progress bar at a time."""
    total, begun = 0, time.monotonic()
    with open(log, "a", encoding="utf-8") as stream:
        for number in range(int(SECONDS * APPENDS_PER_SECOND)):
            stream.write("\n" + _lines(1000 + number) + f"\r 12/41 ({number} %)  00:{number:02d} remaining")
            stream.flush()
            total += len(_read(terminal, begun + (number + 1) / APPENDS_PER_SECOND - time.monotonic()))
    assert total > 1000, "the log was not followed"
    return total


def _lines(number: int) -> str:
    """Three lines as a tool would print them, of different lengths."""
    return (
        f"Position_3 {number}: patch {number % 16} of 16, shift {number * 0.37:.2f} {number * -0.21:.2f} nm, cc 0.6\n"
        f"  iteration {number}  cross-correlation {1 / (number + 2):.6f}\n"
        f"Loading /groups/lab/session/frames/Position_3_{number:03d}_-42.0_20261123_140211_fractions.eer, 4096 x 4096\n"
    )


def _read(terminal: int, seconds: float) -> bytes:
    """What is written to the terminal within ``seconds``; its questions are answered."""
    found, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            data = os.read(terminal, 65536)
            found += data
            for question, answer in _QUERIES.items():
                if question in data:
                    os.write(terminal, answer)
    return found


def _until(terminal: int, wanted: bytes, seconds: float = 20.0) -> None:
    found, end = b"", time.monotonic() + seconds
    while wanted not in found:
        assert time.monotonic() < end, f"{wanted!r} never came: {found[-500:]!r}"
        found += _read(terminal, 0.1)
