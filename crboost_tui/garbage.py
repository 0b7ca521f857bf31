"""When Python looks for garbage: young objects in small portions, all of them only while nobody is at the keyboard.

A look holds up all threads of the process, and takes about a second for each two million objects: with Python's own
settings it is 0.1 s at any moment on a project of 2,000 tilt series.
"""

from __future__ import annotations

import gc
import time

YOUNG, PORTIONS, NEVER = 4_000, 4, 1_000_000
"""Objects of a portion, portions that are looked through once more, and what turns the look at all of them off."""
REST_SECONDS = 20.0
"""After so long without a key nobody is waiting for the next one."""


def begin() -> None:
    """Keep all that there is for good (Textual, our modules, the first screen), and look at what comes after it."""
    gc.freeze()
    gc.set_threshold(YOUNG, PORTIONS, NEVER)
    gc.enable()


class Housekeeping:
    """Looks at all objects once in each pause of the person."""

    def __init__(self) -> None:
        self._pressed = time.monotonic()
        self._done = True

    def pressed(self) -> None:
        """A key was pressed, or the mouse was used."""
        self._pressed = time.monotonic()
        self._done = False

    def look(self) -> bool:
        """Called now and then; whether it was time for it."""
        if self._done or time.monotonic() - self._pressed < REST_SECONDS:
            return False
        self._done = True
        gc.collect()
        return True
