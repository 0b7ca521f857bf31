"""What an attempt leaves behind in its task folder, and how one claims itself.

``<job folder>/tasks/<key>/<number>.sh`` is the script, ``.claim`` holds the id of the job that runs it, ``.start`` who
and where it is, ``.state`` how it ended (one line of JSON), ``.out`` and ``.err`` what its commands said. The bash
script (``core.cluster.script``) writes the same files; the functions here serve internal tasks and the engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from core.files import replace_text, write_error

DONE, FAILED, BLOCKED, DUPLICATE, STOPPED = "done", "failed", "blocked", "duplicate", "stopped"
STATES = frozenset((DONE, FAILED, BLOCKED, DUPLICATE, STOPPED))
RUNNING = "running"
"""Only in the inbox: the attempt has started."""

_ATTEMPT_FILE = re.compile(r"([0-9]+)\.[a-z]")
_WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class AttemptPaths:
    """Files of attempt ``number`` (from 1) of the task ``key`` (series id or cohort key); ``job_folder`` absolute."""

    job_folder: Path
    key: str
    number: int

    @property
    def folder(self) -> Path:
        return self.job_folder / "tasks" / self.key

    @property
    def script(self) -> Path:
        return self.folder / f"{self.number}.sh"

    @property
    def claim(self) -> Path:
        return self.folder / f"{self.number}.claim"

    @property
    def start(self) -> Path:
        return self.folder / f"{self.number}.start"

    @property
    def state(self) -> Path:
        return self.folder / f"{self.number}.state"

    @property
    def out(self) -> Path:
        return self.folder / f"{self.number}.out"

    @property
    def err(self) -> Path:
        return self.folder / f"{self.number}.err"

    @property
    def aside(self) -> Path:
        """Folder for what this attempt moved out of its way."""
        return self.folder / "aside" / str(self.number)


@dataclass(frozen=True, slots=True)
class AttemptState:
    """How an attempt ended. ``code`` is the exit code of the command that failed (0 where none did), ``step`` where it
    ended (``command 2 of 3``), ``reason`` one sentence; ``start`` and ``end`` are seconds since 1970 on its host."""

    state: str
    code: int
    step: str
    reason: str
    job: str
    host: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class StartMark:
    """Who runs an attempt. ``pid_start`` is the start time of process ``pid`` in clock ticks since the boot ``boot``
    (/proc/PID/stat, field 22): together they name a process for good. ``time`` is seconds since 1970."""

    job: str
    host: str
    boot: str
    pid: int
    pid_start: int
    time: int


def read_state(path: Path) -> AttemptState | None:
    """The end of an attempt; None where there is no such file yet or it is torn."""
    values = _read_json(path)
    try:
        state = str(values["state"])
        if state not in STATES:
            return None
        return AttemptState(
            state,
            int(values["code"]),
            str(values["step"]),
            str(values["reason"]),
            str(values["job"]),
            str(values["host"]),
            int(values["start"]),
            int(values["end"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def read_start(path: Path) -> StartMark | None:
    """Who runs an attempt; None where it has not started or the file is torn."""
    values = _read_json(path)
    try:
        return StartMark(
            str(values["job"]),
            str(values["host"]),
            str(values["boot"]),
            int(values["pid"]),
            int(values["pid_start"]),
            int(values["time"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def newest_attempt(folder: Path) -> int:
    """The highest number of an attempt in the task folder ``folder``, 0 where there is none. Lists the folder, so that
    a slow file system shows what another host wrote."""
    newest = 0
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            match = _ATTEMPT_FILE.match(entry.name)
            if match:
                newest = max(newest, int(match[1]))
    return newest


def claim(paths: AttemptPaths, job: str) -> bool:
    """Claim an attempt for ``job``; False where somebody else has it. The same id continues (a requeue).

    A private file is hard-linked to the claim, which only one can, and the claim is read back, because the answer to
    a link can get lost on NFS. Raises :class:`CrboostError` where the folder cannot be written.
    """
    return _claim_text(paths, job) == job


def withdraw(paths: AttemptPaths) -> bool:
    """Fence an attempt that was perhaps never submitted: a copy that starts later ends as *duplicate*.

    False where the attempt has claimed itself already, so that its end must be waited for.
    """
    return _claim_text(paths, f"{_WITHDRAWN} {os.uname().nodename} {os.getpid()}").split(" ")[0] == _WITHDRAWN


def mark_start(paths: AttemptPaths, job: str) -> StartMark:
    """Say that this process runs the attempt."""
    mark = StartMark(
        job, os.uname().nodename, boot_id(), os.getpid(), process_start(os.getpid()) or 0, int(time.time())
    )
    values = {name: getattr(mark, name) for name in StartMark.__slots__}
    replace_text(paths.start, json.dumps(values, ensure_ascii=False) + "\n")
    return mark


def write_state(
    paths: AttemptPaths, state: str, *, job: str, start: float, code: int = 0, step: str = "", reason: str = ""
) -> AttemptState:
    """Say how an attempt ended. ``start`` in seconds since 1970; the end is now."""
    if state not in STATES:
        raise ValueError(f"no such state: {state}")
    ended = AttemptState(state, code, step, reason, job, os.uname().nodename, int(start), int(time.time()))
    values = {name: getattr(ended, name) for name in AttemptState.__slots__}
    replace_text(paths.state, json.dumps(values, ensure_ascii=False) + "\n")
    return ended


def inbox_name(instance: str, key: str, number: int, state: str) -> str:
    """Name of the empty file that tells the engine to look at an attempt (``fsMotionAndCtf~TS_01~1~done``)."""
    return f"{_escape(instance)}~{_escape(key)}~{number}~{state}"


def parse_inbox_name(name: str) -> tuple[str, str, int, str] | None:
    """``(instance, key, number, state)``; None for a file that is none of ours."""
    parts = name.split("~")
    if len(parts) != 4 or not parts[2].isascii() or not parts[2].isdigit() or parts[3] not in STATES | {RUNNING}:
        return None
    return unquote(parts[0]), unquote(parts[1]), int(parts[2]), parts[3]


def boot_id() -> str:
    """Changes whenever this host starts. Empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return int(stream.read().rpartition(b") ")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def _claim_text(paths: AttemptPaths, text: str) -> str:
    """Try to make ``text`` the claim of an attempt; what the claim says afterwards."""
    private = paths.folder / f"{paths.number}.claim.{os.uname().nodename}.{os.getpid()}.{secrets.token_hex(3)}"
    try:
        paths.folder.mkdir(parents=True, exist_ok=True)
        private.write_text(text + "\n", encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(private, paths.claim)
        private.unlink(missing_ok=True)
        return paths.claim.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise write_error(paths.claim, error) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            values = json.loads(stream.read(65536).decode("utf-8", "replace"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _escape(text: str) -> str:
    """``~`` separates the parts, so it is written as %7E in them."""
    return quote(text, safe=" @#+,=()[]{}!$&';").replace("~", "%7E")
