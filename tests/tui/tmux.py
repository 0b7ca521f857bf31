"""A real terminal: a tmux server of its own, without anybody's configuration, in which the app runs and is typed at."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PATIENCE_SECONDS = 60.0
"""For what takes a second or two on a machine that has nothing else to do."""


class Tmux:
    """One session of one window. ``keys`` are tmux's names (``Enter``, ``Escape``, ``C-s``) or single characters.

    ``socket``: of the server, in a folder with a short name; ``more``: variables of what runs in it."""

    def __init__(self, socket: Path, *, width: int = 120, height: int = 34, **more: str) -> None:
        self.socket = socket
        self._environment = {**os.environ, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PAGER": "less", "LESS": "", **more}
        self._environment.pop("TMUX", None)
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "/bin/sh")
        self._tmux("set-option", "-s", "escape-time", "20")

    def run(self, arguments: Sequence[str], cwd: Path, term: str = "tmux-256color", **more: str) -> None:
        """Start a program in the place of what runs in the window. How it ends is said there (see :meth:`exit_code`):
        tmux 3.3a itself now and then misses the end of a program."""
        words = [f"TERM={term}", *(f"{name}={value}" for name, value in more.items()), *arguments]
        line = f'env {" ".join(map(shlex.quote, words))}; echo "ended with code $?"; read -r _'
        self._tmux("respawn-window", "-k", "-c", str(cwd), line)

    def keys(self, *keys: str) -> None:
        for key in keys:
            self._tmux("send-keys", key)
            time.sleep(0.02)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def screen(self, *, colours: bool = False) -> str:
        """What is shown; with ``colours`` as it came, with the sequences between the characters."""
        return self._tmux("capture-pane", "-p", *(["-e"] if colours else [])).rstrip("\n")

    def exit_code(self) -> int:
        """Of what ran in the window, once it has ended."""
        found = re.search(r"^ended with code (\d+)$", self.wait_for(r"^ended with code \d+$"), re.M)
        assert found is not None
        return int(found[1])

    def process(self) -> int:
        """The program that runs in the window."""
        shell = self._tmux("display-message", "-p", "#{pane_pid}").strip()
        return int(Path(f"/proc/{shell}/task/{shell}/children").read_text().split()[0])

    def detach(self) -> None:
        """What ``C-b d`` does, to all who are attached."""
        self._tmux("detach-client", "-a")
        self._tmux("detach-client")

    def attach(self, width: int, height: int) -> Client:
        return Client(["tmux", "-S", str(self.socket), "attach"], self._environment, width, height)

    def wait_for(self, wanted: str | Callable[[str], object], seconds: float = PATIENCE_SECONDS) -> str:
        """The screen once it holds a text (a regular expression) or a condition is true of it."""
        end = time.monotonic() + seconds
        while True:
            screen = self.screen()
            if re.search(wanted, screen, re.M) if isinstance(wanted, str) else wanted(screen):
                return screen
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s in vain for {wanted!r}; the screen:\n{screen}")
            time.sleep(0.1)

    def close(self) -> None:
        """End the server, as when its machine goes down: all that runs in it is hung up."""
        subprocess.run(["tmux", "-S", str(self.socket), "kill-server"], capture_output=True, check=False)

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), *arguments], env=self._environment, capture_output=True, text=True,
            check=False, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"tmux {' '.join(arguments)}: {done.stderr}")
        return done.stdout


class Client:
    """A person's terminal that is attached to a session: a pseudo-terminal of its own, as under ssh."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str], width: int, height: int) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.process = subprocess.Popen(
            arguments, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, close_fds=True,
            env={**environment, "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(slave)
        self.seen = b""

    def wait_for(self, text: bytes, seconds: float = PATIENCE_SECONDS) -> None:
        """Read until a text has come."""
        self._read_until(lambda: text in self.seen, seconds, repr(text))

    def wait_for_end(self, seconds: float = PATIENCE_SECONDS) -> None:
        self._read_until(lambda: self.process.poll() is not None, seconds, "its end")

    def _read_until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """A terminal that nobody reads from would hold up the client."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s in vain for {what}; what came: {self.seen[-2000:]!r}")
            if select.select([self._master], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):  # the client has gone
                    self.seen += os.read(self._master, 65536)

    def type(self, text: bytes) -> None:
        os.write(self._master, text)

    def hang_up(self) -> None:
        """The connection is gone."""
        os.close(self._master)
        self.process.wait(timeout=PATIENCE_SECONDS)
