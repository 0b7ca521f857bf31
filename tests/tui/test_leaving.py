"""The app in a real terminal: its way out when the terminal goes away."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from crboost_tui.recent import remember
from tests.bench.doctor import can_mount, hanging_disk
from tests.tui import seed

REPOSITORY = Path(__file__).resolve().parents[2]


class Terminal:
    """A program in a pseudo-terminal of its own session, as under ssh."""

    def __init__(self, arguments: list[str], program: Sequence[str] = ("-m", "crboost_tui.main"), **more: str) -> None:
        """``more``: variables of its environment."""
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-P", *program, *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, close_fds=True, cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color", "LANG": "C.UTF-8", **more},
        )  # fmt: skip
        os.close(slave)

    def wait_for(self, text: bytes, seconds: float = 20.0) -> bytes:
        seen, end = b"", time.monotonic() + seconds
        while text not in seen:
            if time.monotonic() > end:
                raise AssertionError(f"{text!r} did not come; seen {seen[-500:]!r}")
            if select.select([self.master], [], [], 0.1)[0]:
                seen += os.read(self.master, 65536)
        return seen

    def drain(self, seconds: float) -> int:
        """Bytes that the program writes in a time."""
        found, end = 0, time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                found += len(os.read(self.master, 65536))
        return found


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    root = seed.write(tmp_path / "p", seed.status())
    found = Terminal([str(root)])
    found.wait_for(b"Position_9")
    return found


def test_a_hang_up_ends_it_within_a_second_or_so(terminal: Terminal) -> None:
    os.kill(terminal.process.pid, signal.SIGHUP)
    assert terminal.process.wait(timeout=3) == 0
    os.close(terminal.master)


def test_a_terminal_that_is_gone_ends_it(terminal: Terminal) -> None:
    os.close(terminal.master)
    terminal.process.wait(timeout=4)


def test_quitting_restores_the_screen(terminal: Terminal) -> None:
    os.write(terminal.master, b"q")
    terminal.wait_for(b"\x1b[?1049l")
    assert terminal.process.wait(timeout=5) == 0
    os.close(terminal.master)


def test_it_is_silent_while_nothing_changes(terminal: Terminal) -> None:
    terminal.drain(1.5)
    assert terminal.drain(2.0) < 200
    os.write(terminal.master, b"q")
    terminal.wait_for(b"\x1b[?1049l")
    os.close(terminal.master)
    terminal.process.wait(timeout=5)


@pytest.mark.skipif(not can_mount(), reason="bindfs is not here: no disk can be made to hang")
def test_a_disk_that_hangs_keeps_nobody_from_leaving(tmp_path: Path) -> None:
    with hanging_disk(tmp_path) as disk:
        remember(disk / "p")
        terminal = Terminal([])
        terminal.wait_for(b"its disk does not answer")
        os.write(terminal.master, b"\r")
        terminal.wait_for(b"Try again")
        begun = time.monotonic()
        os.write(terminal.master, b"q")
        terminal.wait_for(b"\x1b[?1049l")
        assert terminal.process.wait(timeout=10) == 0
        assert time.monotonic() - begun < 4
        os.close(terminal.master)
