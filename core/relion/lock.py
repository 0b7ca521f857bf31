"""RELION's own lock around ``default_pipeline.star``, and one safe way to change that file.

The protocol (facts/relion-pipeline.md 3; RELION src/pipeliner.cpp): ``mkdir .relion_lock`` (0700), a file
``lock_default_pipeline.star`` with one line in it, then read, write, remove the file, ``rmdir``. RELION tries every 3 s
for about a minute. Ours names host, process and token in that line, so that what a crash of ours leaves can be
recognised and removed; what RELION or another host left never is.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from core.errors import ConflictError, CrboostError, InputError
from core.files import read_text, replace_text, write_error
from core.project.layout import ProjectPaths
from core.project.lock import file_system_now, identity, is_dead, only_breaker
from core.relion.pipeline import Pipeline, parse_pipeline

PIPELINE_FILE = "default_pipeline.star"
LOCK_FOLDER = ".relion_lock"
LOCK_FILE = "lock_default_pipeline.star"
CHANGED_FILE = ".pipeline_has_changed"

_EMPTY_SECONDS = 5.0
"""RELION writes its file at once: a lock folder that is empty for longer was left by a crash."""


@contextlib.contextmanager
def locked_pipeline(root: Path, *, wait_seconds: float = 60.0) -> Iterator[Pipeline]:
    """The project's pipeline under RELION's lock; what is changed in it is written on leaving, in one step.

    Nothing is written where the body raises. Raises :class:`ConflictError` naming the holder where the lock is not
    free in time, and :class:`CrboostError` at once where the folder cannot be written.
    """
    with relion_lock(root, wait_seconds=wait_seconds) as check:
        pipeline, text = _read(root / PIPELINE_FILE)
        yield pipeline
        changed = pipeline.render()
        if changed != text:
            check()
            replace_text(root / PIPELINE_FILE, changed, sync=True)
            touch(root / CHANGED_FILE)


def read_pipeline(root: Path) -> Pipeline:
    """The pipeline without the lock. RELION writes in place: half a file is read again, for up to 5 s."""
    path = root / PIPELINE_FILE
    deadline = time.monotonic() + 5.0
    while True:
        before = _signature(path)
        try:
            pipeline = parse_pipeline(read_text(path), path)
            if _signature(path) == before and not os.path.lexists(root / LOCK_FOLDER):
                return pipeline
            if time.monotonic() > deadline:
                return pipeline
        except InputError:
            if not os.path.lexists(path) or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


@contextlib.contextmanager
def relion_lock(root: Path, *, wait_seconds: float = 60.0) -> Iterator[Callable[[], None]]:
    """Hold RELION's lock. Gives a function that raises :class:`ConflictError` where the lock was taken away."""
    folder = root / LOCK_FOLDER
    token = secrets.token_hex(8)
    line = json.dumps({"crboost": token, **identity(), "time": time.time()})
    intent = _write_intent(root, token, line)
    try:
        _take(root, wait_seconds)
        try:
            _write_line(folder / LOCK_FILE, line)
            _drop_dead_intents(root)
        except CrboostError:
            with contextlib.suppress(OSError):
                os.rmdir(folder)
            raise
        try:

            def check() -> None:
                if _holder(folder).get("crboost") != token:
                    raise ConflictError("was removed while it was ours; nothing was written. Try again.", folder)

            yield check
        finally:
            if _holder(folder).get("crboost") == token:
                with contextlib.suppress(OSError):
                    os.unlink(folder / LOCK_FILE)
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(intent)


def touch(path: Path) -> None:
    """Make an empty file, or give it the present time."""
    try:
        with open(path, "a"):
            os.utime(path)
    except PermissionError:
        # Somebody else's file that is there already says what it should.
        if not path.exists():
            raise CrboostError("may not be written: ask the owner of the folder for permission.", path) from None
    except OSError as error:
        raise write_error(path, error) from error


def _take(root: Path, wait_seconds: float) -> None:
    folder = root / LOCK_FOLDER
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            os.mkdir(folder, 0o700)
            return
        except FileExistsError:
            pass
        except OSError as error:
            raise write_error(folder, error) from error
        late = time.monotonic() > deadline
        if _break_if_ours(root):
            continue
        if late:
            raise ConflictError(_holder_sentence(root, wait_seconds), folder)
        time.sleep(random.uniform(0.005, 0.03))


def _read(path: Path) -> tuple[Pipeline, str]:
    """Under the lock a broken file may still be one that a slow file system has not shown us whole."""
    for attempt in range(3):
        try:
            text = read_text(path)
            return parse_pipeline(text, path), text
        except InputError:
            if attempt == 2:
                raise
            time.sleep(0.2)
    raise AssertionError("unreachable")


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _write_intent(root: Path, token: str, line: str) -> Path:
    """Who is about to take the lock: tells whose an empty lock folder is, if we die between the two steps."""
    state = ProjectPaths(root).state
    intent = state / f"relion_lock.{token}"
    try:
        state.mkdir(exist_ok=True)
        _write_line(intent, line)
    except OSError as error:
        raise write_error(intent, error) from error
    return intent


def _write_line(path: Path, line: str) -> None:
    try:
        with open(path, "x") as stream:
            stream.write(line + "\n")
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise write_error(path, error) from error


def _holder(folder: Path) -> dict[str, Any]:
    """What our line in the lock says; empty for RELION's."""
    try:
        value = json.loads((folder / LOCK_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) and "crboost" in value else {}


def _break_if_ours(root: Path) -> bool:
    """Remove a lock that a dead process of ours on this host left; whether one was removed."""
    if not _is_ours_and_dead(root):
        return False
    folder = root / LOCK_FOLDER
    with only_breaker(folder) as alone:
        if not alone or not _is_ours_and_dead(root):
            return False
        with contextlib.suppress(OSError):
            os.unlink(folder / LOCK_FILE)
        with contextlib.suppress(OSError):
            os.rmdir(folder)
        return True


def _is_ours_and_dead(root: Path) -> bool:
    folder = root / LOCK_FOLDER
    holder = _holder(folder)
    if holder:
        return is_dead(holder)
    try:
        if os.listdir(folder) and os.stat(folder / LOCK_FILE).st_size > 0:
            return False
        modified = os.stat(folder).st_mtime
    except OSError:
        return False
    dead = any(is_dead(holder) for _, holder in _intents(root))
    return dead and file_system_now(ProjectPaths(root).state) - modified > _EMPTY_SECONDS


def _drop_dead_intents(root: Path) -> None:
    """Whoever holds the lock knows that none of them does."""
    for path, holder in _intents(root):
        if is_dead(holder):
            with contextlib.suppress(OSError):
                os.unlink(path)


def _intents(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in ProjectPaths(root).state.glob("relion_lock.*"):
        try:
            value = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(value, dict):
            yield path, value


def _holder_sentence(root: Path, wait_seconds: float) -> str:
    folder = root / LOCK_FOLDER
    holder = _holder(folder)
    age = 0.0
    with contextlib.suppress(OSError, CrboostError):
        age = max(0.0, file_system_now(root) - os.stat(folder).st_mtime)
    if holder:
        return (
            f"crboost of {holder.get('user', '?')} (process {holder.get('pid', '?')} on {holder.get('host', '?')}) "
            f"has held RELION's lock for {age:.0f} s, longer than the {wait_seconds:.0f} s that were waited. If that "
            f"process is gone, remove this folder and try again."
        )
    owner = "somebody"
    with contextlib.suppress(OSError, KeyError):
        owner = folder.owner()
    return (
        f"RELION (started by {owner}) has held its lock for {age:.0f} s, longer than the {wait_seconds:.0f} s that "
        f"were waited. It holds it for moments only: where no RELION is busy in this project a crash has left it; then "
        f"remove this folder and try again."
    )
