"""How much may be submitted now: the budget of ``sbatch`` calls, the site's limit on queued jobs, a job's throttle."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

FORGET_SECONDS = 600.0
REFUSED_SECONDS = 5.0
REFUSED_MOST_SECONDS = 60.0


class Budget:
    """``burst`` submissions at once, then ``per_second``."""

    def __init__(self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.burst, self.per_second = burst, per_second
        self._clock = clock
        self._left = float(burst)
        self._at = clock()

    def wait_seconds(self) -> float:
        """How long until the next submission is allowed, 0 where it is now."""
        now = self._clock()
        self._left = min(float(self.burst), self._left + (now - self._at) * self.per_second)
        self._at = now
        return max(0.0, (1.0 - self._left) / self.per_second)

    def spend(self) -> None:
        self.wait_seconds()
        self._left -= 1.0


class SubmitLimit:
    """Finds out, by being refused, how many of our tasks may be in the queue at once.

    ``floor`` were accepted together, ``ceiling`` were refused together: between them the next try is half-way. What was
    refused is forgotten after ten minutes, since limits change and other jobs of the same user count too.
    """

    def __init__(self, most: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self.floor = 0
        self.ceiling: int | None = None
        self._forget_at = 0.0
        self._not_before = 0.0
        self._pause = REFUSED_SECONDS
        self._again = False

    def room(self, queued: int, wanted: int) -> int:
        """How many of ``wanted`` tasks should be tried now, while ``queued`` of ours are in the queue."""
        now = self._clock()
        if self.ceiling is not None and now >= self._forget_at:
            self.ceiling = None
        if now < self._not_before:
            return 0
        total = queued + wanted
        if self.most is not None:
            total = min(total, self.most)
        if self.ceiling is not None and total > self.floor:
            half = self.floor + max((self.ceiling - self.floor) // 2, 0)
            total = min(total, half)
        return max(0, total - queued)

    def accepted(self, queued: int) -> None:
        """``queued`` tasks of ours are in the queue now."""
        self._again = False
        self.floor = max(self.floor, queued)
        if self.ceiling is not None and self.floor >= self.ceiling:
            self.ceiling = None
        self._pause = REFUSED_SECONDS

    def refused(self, queued: int, tried: int) -> None:
        """``tried`` more were refused while ``queued`` were there. Where not even one more is taken, nothing is tried
        for a while. So many were taken before? Then Slurm may only still count one that has just ended: once."""
        now = self._clock()
        if queued + tried <= self.floor and not self._again:
            self._again = True
            self._not_before = now + self._pause
            return
        self.ceiling = max(queued + tried, 1)
        self._forget_at = now + FORGET_SECONDS
        self.floor = min(self.floor, self.ceiling - 1)
        if tried <= 1 or self.ceiling - max(self.floor, queued) <= 1:
            self._not_before = now + self._pause
            self._pause = min(self._pause * 2, REFUSED_MOST_SECONDS)

    def wait_seconds(self) -> float:
        """How long nothing is tried."""
        return max(0.0, self._not_before - self._clock())


def throttles(remaining: Sequence[int], at_once: int) -> list[int]:
    """How many tasks of each array (oldest first, ``remaining`` in each) may run at once, so that their sum stays
    within ``at_once``. Slurm has no throttle of 0: an array for which nothing is left must not be submitted yet."""
    found: list[int] = []
    for left in remaining:
        share = min(left, at_once - sum(found))
        found.append(share)
    return found
