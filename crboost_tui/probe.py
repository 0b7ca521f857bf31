"""Looking at the disk while a person types: in a thread, only the newest question counts, and a folder that never
answers holds up nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

MOST_THREADS = 6
"""Beyond so many that hang in a dead mount, questions wait for one of them."""


class Probe(Generic[Q, A]):
    """``look(question, cancelled)`` runs in a daemon thread (the app's own pool would be waited for at the end, however
    dead the mount); ``deliver`` is called in that thread with the newest question and its answer."""

    def __init__(self, look: Callable[[Q, Callable[[], bool]], A], deliver: Callable[[Q, A], None]) -> None:
        self._look, self._deliver = look, deliver
        self._lock = threading.Lock()
        self._number = 0
        self._waiting: tuple[int, Q] | None = None
        self._running = 0

    def ask(self, question: Q) -> None:
        """Forget the question before, answer this one."""
        with self._lock:
            self._number += 1
            self._waiting = (self._number, question)
            if self._running >= MOST_THREADS:
                return
            self._running += 1
        threading.Thread(target=self._run, daemon=True).start()

    def forget(self) -> None:
        """No answer is wanted any more."""
        with self._lock:
            self._number += 1
            self._waiting = None

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._waiting is None:
                    self._running -= 1
                    return
                number, question = self._waiting
                self._waiting = None
            answer = self._look(question, lambda number=number: number != self._number)  # type: ignore[misc]
            if number == self._number:
                self._deliver(question, answer)
