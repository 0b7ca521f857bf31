"""A run in which nothing happens any more, although tasks are with the submitter: said once."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 6 * 3600.0


class Stall:
    """``sentence`` says that nothing has happened for long, "" while something does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved = clock()
        self.sentence = ""

    def moved(self) -> None:
        """A task began or ended, or a person asked for something."""
        self._moved = self._clock()
        self.sentence = ""

    @property
    def suspected(self) -> bool:
        """Whether nothing has happened for so long that it is worth a look."""
        return not self.sentence and self._clock() - self._moved > PATIENCE_SECONDS

    def look(self, running: int, waiting: int, longest_seconds: float) -> bool:
        """Whether it has just become one: so many tasks run, with this time limit at most, and so many wait."""
        quiet = self._clock() - self._moved
        if not self.suspected or not (running or waiting) or quiet <= 3 * longest_seconds:
            return False
        self.sentence = (
            f"stalled: nothing has begun or ended for {quiet / 3600:.0f} h, though {running} tasks run and {waiting} "
            "wait in the queue"
        )
        return True
