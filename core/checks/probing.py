"""Asking other programs: every call has a time limit, and a program that hangs is left behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """``code`` is None where the program could not be started or did not end in time; ``trouble`` says which."""

    code: int | None
    out: str = ""
    err: str = ""
    trouble: str = ""

    @property
    def good(self) -> bool:
        return self.code == 0

    @property
    def late(self) -> bool:
        return self.code is None and "did not answer" in self.trouble

    @property
    def text(self) -> str:
        """All that it printed."""
        return f"{self.out}\n{self.err}" if self.out and self.err else self.out or self.err

    @property
    def why(self) -> str:
        """Why it is not good, as the end of a sentence."""
        if self.trouble:
            return self.trouble
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return f"ended with code {self.code}" + (f": {' '.join(lines[-1].split())[:200]}" if lines else "")


def ask(
    argv: Sequence[str],
    seconds: float = 6.0,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    name: str = "",
) -> Answer:
    """Run a program with no input. Never raises, and returns within ``seconds`` and half a second. ``name``: what it is
    called in sentences, by default as ``argv`` calls it."""
    name = name or os.path.basename(argv[0])
    try:
        child = subprocess.Popen(
            argv,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Answer(None, trouble=f"{name} cannot be started: {reason}")
    try:
        out, err = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as late:
        # Its own children may hold the pipes, and a dead mount may hold itself: nobody waits for either.
        if child.poll() is not None:
            return Answer(child.returncode, _text(late.output), _text(late.stderr))
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.3)
        return Answer(None, trouble=f"{name} did not answer within {seconds:g} s")
    return Answer(child.returncode, out[:MOST_CHARACTERS], err[:MOST_CHARACTERS])


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")[:MOST_CHARACTERS]
