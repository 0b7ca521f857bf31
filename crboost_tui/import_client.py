"""The app's side of the worker process that looks at raw data: questions, answers, and the process itself.

A process because 120,000 tilts read in a thread hold up the app's loop for tenths of seconds, because it can be ended
while it waits for a dead mount, and because pydantic and the registry stay out of the app's memory.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from crboost_tui.form import Form
from crboost_tui.import_data import PipelineChoice


@dataclass(frozen=True, slots=True)
class Begin:
    """What can be known before anything is typed. ``root``: of a project that gets more data."""

    root: Path | None


@dataclass(frozen=True, slots=True)
class Look:
    """Inspect data; ``root`` as in :class:`Begin`."""

    movies: tuple[str, ...]
    mdocs: tuple[str, ...]
    root: Path | None


@dataclass(frozen=True, slots=True)
class ShowTilts:
    series: str


@dataclass(frozen=True, slots=True)
class ShowForms:
    """The forms of the instrument and of each acquisition group, with what was typed in them."""

    root: Path | None
    edits: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Make:
    """Make a project, or with ``add`` bring the data that were looked at into one. ``left_out``: ids."""

    root: Path
    name: str
    pipeline: str
    edits: Mapping[str, str | None]
    left_out: tuple[str, ...]
    add: bool


Question = Begin | Look | ShowTilts | ShowForms | Make


@dataclass(frozen=True, slots=True)
class Begun:
    """``base``: the folder below which projects are made. ``name``: of the project that gets data."""

    base: str
    pipelines: tuple[PipelineChoice, ...]
    name: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Forms:
    """``gains``: beside each form what its gain reference is, in words."""

    forms: tuple[Form, ...]
    gains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Made:
    root: Path


@dataclass(frozen=True, slots=True)
class Wrong:
    """``made``: the project is there all the same."""

    sentence: str
    made: bool = False


class ImportClient:
    """``deliver(question, answer)`` is called in a thread of the process that answers; after :meth:`stop` or a newer
    process none of the older one's answers come any more."""

    def __init__(self, deliver: Callable[[Question, Any], None]) -> None:
        self._answer = deliver
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._asked: list[Question] = []
        self._waiting: queue.SimpleQueue[tuple[int, Question | None]] = queue.SimpleQueue()
        self._stops = 0
        """How often everything was forgotten: what was put before the last time is not asked any more."""
        self._sender: threading.Thread | None = None

    def ask(self, question: Question) -> None:
        """Put a question; answers come in the order of the questions. Does not wait."""
        self._waiting.put((self._stops, question))
        if self._sender is None:
            self._sender = threading.Thread(target=self._send_all, daemon=True)
            self._sender.start()

    def close(self) -> None:
        """Nothing will be asked any more."""
        self.stop()
        self._waiting.put((self._stops, None))

    def stop(self) -> None:
        """End the process, whatever it does."""
        with self._lock:
            self._stops += 1
            process, self._process, self._asked = self._process, None, []
        if process is not None:
            process.kill()
            threading.Thread(target=process.wait, daemon=True).start()

    def _send_all(self) -> None:
        while True:
            stops, question = self._waiting.get()
            if question is None:
                return
            self._send(stops, question)

    def _send(self, stops: int, question: Question) -> None:
        with self._lock:
            if stops != self._stops:
                return
            if self._process is None or self._process.poll() is not None:
                self._asked = []
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "crboost_tui.import_worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
            self._asked.append(question)
            pipe = self._process.stdin
            assert pipe is not None
            with contextlib.suppress(OSError, ValueError):
                pickle.dump(question, pipe)
                pipe.flush()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        pipe: IO[bytes] | None = process.stdout
        assert pipe is not None
        while True:
            try:
                last, answer = pickle.load(pipe)
            except (EOFError, OSError, ValueError, pickle.UnpicklingError):
                break
            with self._lock:
                if process is not self._process or not self._asked:
                    return
                question = self._asked.pop(0) if last else self._asked[0]
            self._answer(question, answer)
        with self._lock:
            if process is not self._process:
                return
            left, self._asked, self._process = self._asked, [], None
        for question in left:
            self._answer(question, Wrong("The process that reads the data ended unexpectedly: try again."))
