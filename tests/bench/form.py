"""How long a form of 60 fields takes: from the key that opens it to its first line on a terminal of 140 x 45.

``python -m tests.bench.form ROOT`` is the app that is typed at: ``o`` makes the form in a thread and shows it, ``x``
takes it away.
"""

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
from statistics import median
from typing import Annotated, Any

from pydantic import Field, create_model
from textual import work

from core.engine.plan import Sources, read_sources
from core.jobs import _registry
from core.jobs._base import JobType
from core.jobs.fields import Flag, Group, JobParameters, Only, Unit
from crboost_tui.form import Form
from crboost_tui.forms import parameter_form
from tests.synthetic import DATA, make_project
from tests.tui.form_app import FormApp, FormScreen

OPENINGS = 15
FIELDS = 60
COLUMNS, LINES = 140, 45


def opening(folder: Path) -> dict[str, float]:
    root = make_project(folder / "project", 50, pipeline=[{"id": "sixty", "type": "sixty"}])
    with Terminal([sys.executable, "-P", "-m", "tests.bench.form", str(root)], folder) as terminal:
        terminal.until(b"nothing yet")
        taken = []
        for _ in range(OPENINGS):
            begun = time.perf_counter()
            terminal.write(b"o")
            terminal.until(b"field 31")
            taken.append(time.perf_counter() - begun)
            terminal.write(b"x")
            terminal.until(b"nothing yet")
        return {"form_open_60_fields_ms": 1000 * median(taken)}


class Terminal:
    """A program on a terminal of its own, which is read and typed at."""

    def __init__(self, command: list[str], home: Path, columns: int = COLUMNS, lines: int = LINES) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        own = {name: str(home) for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME")}
        self.program = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={**os.environ, **own, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"},
        )  # fmt: skip
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.terminate()
        self.program.wait(10)
        os.close(self.ours)

    def write(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def read(self, seconds: float) -> bytes:
        """What comes within ``seconds``."""
        found, end = b"", time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.ours], [], [], left)[0]:
                found += self._take()
        return found

    def until(self, wanted: bytes, seconds: float = 20.0) -> None:
        found, end = b"", time.monotonic() + seconds
        while wanted not in found:
            assert time.monotonic() < end, f"{wanted!r} never came: {found[-500:]!r}"
            if select.select([self.ours], [], [], 0.1)[0]:
                found += self._take()

    def _take(self) -> bytes:
        data = os.read(self.ours, 65536)
        if b"\x1b[?2026$p" in data:  # as a terminal that draws whole frames
            os.write(self.ours, b"\x1b[?2026;2$y")
        return data


def _parameters() -> type[JobParameters]:
    fields: dict[str, Any] = {}
    for number in range(FIELDS):
        group = Group(f"Group {number // 8}")
        extra = [Only({"field_1": (True,)})] if number % 7 == 5 else []
        kind, default, bounds = [
            (float, 10.0, Field(ge=1, le=500)), (bool, True, Field()), (int, 4, Field(ge=1)), (str, "text", Field()),
        ][number % 4]  # fmt: skip
        told = f"What field {number} does, in a sentence as long as such sentences are."
        annotation = Annotated[(kind, group, Unit("Å/px"), Flag(f"--field_{number}"), bounds, *extra)]  # type: ignore[valid-type]
        fields[f"field_{number}"] = (annotation, Field(default, description=told))
    return create_model("Sixty", __base__=JobParameters, **fields)


class Sixty(JobType[JobParameters]):
    name = "sixty"
    title = "Sixty fields"
    summary = "Only for measuring."
    parameters = _parameters()


def know_sixty() -> None:
    """Let the registry find the job type with sixty fields."""
    load = _registry._load
    _registry._modules()["sixty"] = "sixty"
    _registry._load = lambda module: Sixty() if module == "sixty" else load(module)  # type: ignore[assignment]


class OpenScreen(FormScreen):
    BINDINGS = [("o", "open"), ("x", "close")]

    def __init__(self, sources: Sources) -> None:
        super().__init__(lambda edits: Form("", (), empty="nothing yet"))
        self.sources = sources

    @work(thread=True, exclusive=True, exit_on_error=False)
    def action_open(self) -> None:
        self.app.call_from_thread(self.view.show, parameter_form(self.sources, "sixty", {}))

    def action_close(self) -> None:
        self.view.show(self.make({}))


class OpenApp(FormApp):
    def __init__(self, sources: Sources) -> None:
        super().__init__(lambda edits: Form("", ()))
        self.sources = sources

    def first_screen(self) -> FormScreen:
        return OpenScreen(self.sources)


if __name__ == "__main__":
    know_sixty()
    OpenApp(read_sources(Path(sys.argv[1]), DATA)).run()
