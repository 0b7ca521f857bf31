"""Whether there is space to start anything: the site's limit, and a disk or quota that turned out to be full."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

SPACE_SECONDS = 5.0
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)


class Space:
    """Looked at every few seconds. ``sentence`` says what is wrong, "" while there is space."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sentence = ""
        self.due = 0.0
        """When it is looked at again (monotonic clock)."""
        self.short_at = 0.0
        """When there was too little of it the last time (seconds since 1970)."""

    def left(self, least_gb: float) -> bool:
        """Whether more than ``least_gb`` are free."""
        now = time.monotonic()
        if now >= self.due:
            self.due = now + SPACE_SECONDS
            free_gb = shutil.disk_usage(self.root).free / 1e9
            self.sentence = ""
            if free_gb < least_gb:
                self.short_at = time.time()
                self.sentence = (
                    f"only {free_gb:.1f} GB are free on this project's disk, the limit is {least_gb:g} GB: nothing new "
                    f"is started until there is more."
                )
        return not self.sentence

    def ran_out(self, sentence: str) -> None:
        """Something could not be written: nothing is started for a while, then it is tried again."""
        self.short_at = time.time()
        self.sentence = f"{sentence} Nothing new is started until there is space."
        self.due = time.monotonic() + SPACE_SECONDS

    def explains(self, began: float, *logs: str) -> bool:
        """Whether a task that began then (seconds since 1970) may have failed for want of space: it says so, or could
        not even do that."""
        return self.short_at >= began or any(_NO_SPACE.search(log) for log in logs)
