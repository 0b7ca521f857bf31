"""The engine's side of its worker: started when there is work, one request at a time, answers in order."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class WorkerClient:
    """``wake`` is called (in another thread) when an answer has come. Not thread-safe beyond that."""

    def __init__(self, root: Path, data: Path, log: Path, wake: Callable[[], None]) -> None:
        self._root, self._data, self._log, self._wake = root, data, log, wake
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._number = 0
        self._pending: dict[str, Any] | None = None
        self._tries = 0

    @property
    def busy(self) -> bool:
        return self._pending is not None

    @property
    def pid(self) -> int:
        """Process id of the running worker, 0 where none runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    def start(self) -> int:
        """Make sure that a worker runs; its process id."""
        if not self.pid:
            with open(self._log, "ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "core.engine.worker", str(self._root), str(self._data)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=self._root,
                )
            threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        return self.pid

    def ask(self, request: dict[str, Any], *, again: bool) -> None:
        """Send one request. The answer comes out of :meth:`answer`, with the request beside it. ``again``: where the
        worker dies meanwhile, ask the next one, once."""
        assert self._pending is None
        self._number += 1
        self._pending = {**request, "id": self._number}
        self._tries = 0 if again else 1
        self._send()

    def answer(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The request that was answered and its answer, or None while there is none."""
        while True:
            try:
                answer = self._answers.get_nowait()
            except queue.Empty:
                return None
            if self._pending is None or answer.get("id", self._number) != self._number:
                continue
            if "ended" in answer:
                if answer["ended"] != self.pid and self.pid:
                    continue
                self._tries += 1
                if self._tries < 2:
                    self._send()
                    continue
                answer = {"error": "the worker process ended unexpectedly; see engine.log"}
            request, self._pending = self._pending, None
            return request, answer

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _send(self) -> None:
        self.start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(self._pending).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self._answers.put({"ended": self._process.pid})
            self._wake()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(ValueError):  # the last words of one that was killed are no answer
                self._answers.put(json.loads(line))
                self._wake()
        process.wait()
        self._answers.put({"ended": process.pid})
        self._wake()
