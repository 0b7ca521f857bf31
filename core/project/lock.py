"""One lock per project for the files that people write: ``crboost.yaml``, its versions and ``wanted.json``.

It is a hard link, which is atomic on NFS too: the taker writes a file of its own that says who it is, and links it to
``.crboost/lock``. It is held for milliseconds. A lock whose holder is a dead process of this host, or that nobody
has touched for 60 s, is taken over.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import hashlib
import json
import os
import random
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import ConflictError, CrboostError
from core.files import write_error
from core.project.layout import ProjectPaths

STALE_SECONDS = 60.0


@contextlib.contextmanager
def project_lock(root: Path, *, wait_seconds: float = 20.0) -> Iterator[None]:
    """Hold the project's lock.

    Raises :class:`ConflictError` naming the holder after ``wait_seconds``, and :class:`CrboostError` at once where
    the folder cannot be written.
    """
    state = ProjectPaths(root).state
    lock = state / "lock"
    token = secrets.token_hex(8)
    own = state / f"lock.{token}"
    _write_own(state, own, token)
    try:
        _take(lock, own, wait_seconds)
        try:
            yield
        finally:
            if _read(lock).get("token") == token:
                with contextlib.suppress(OSError):
                    os.unlink(lock)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(own)


@contextlib.contextmanager
def only_breaker(lock: Path) -> Iterator[bool]:
    """Whether this process alone on this host may remove the stale ``lock`` now, so that nobody removes the one that
    follows it. It is an abstract socket's name, which the kernel frees whenever the process ends."""
    name = hashlib.sha256(os.fsencode(os.path.abspath(lock))).hexdigest()[:32]
    with socket.socket(socket.AF_UNIX) as guard:
        try:
            guard.bind(f"\0crboost-breaks-{name}")
        except OSError:
            yield False
            return
        yield True


def file_system_now(folder: Path) -> float:
    """The time by the clock of the file system, which may be another computer's. Seconds since 1970."""
    probe = folder / f".clock.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        with open(probe, "x"):
            pass
        try:
            return os.stat(probe).st_mtime
        finally:
            os.unlink(probe)
    except OSError as error:
        raise write_error(folder, error) from error


def process_start(pid: int) -> str:
    """When a process of this host began, in the kernel's ticks; "" where it is not there or cannot be told."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def is_dead(holder: dict[str, Any]) -> bool:
    """Whether ``host``, ``pid`` and ``start`` say a process of this host that is no longer there."""
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    if not os.path.isdir("/proc/self"):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False
    start = process_start(pid)
    return not start or (bool(holder.get("start")) and start != holder["start"])


def identity() -> dict[str, Any]:
    """This process, for a lock file."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "start": process_start(pid), "user": user()}


def user() -> str:
    """The name of the person who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _write_own(state: Path, own: Path, token: str) -> None:
    text = json.dumps({**identity(), "time": time.time(), "token": token})
    try:
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o664)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(own)
        if isinstance(error, FileNotFoundError):
            raise CrboostError("is not there: is this a crboost project?", state) from error
        raise write_error(state, error) from error


def _take(lock: Path, own: Path, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while not _link(own, lock):
        late = time.monotonic() > deadline
        if _break_if_stale(lock, own):
            continue
        if late:
            holder = _read(lock)
            who = f"{holder.get('user', 'somebody')} (process {holder.get('pid', '?')} on {holder.get('host', '?')})"
            raise ConflictError(
                f"{who} has been writing to this project for longer than {wait_seconds:.0f} s. "
                f"Try again; a lock that nobody touches is given up after {STALE_SECONDS:.0f} s.",
                lock,
            )
        time.sleep(random.uniform(0.002, 0.02))


def _link(own: Path, lock: Path) -> bool:
    try:
        os.link(own, lock)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise CrboostError(
                "this folder's file system has no hard links, which locks need: use another one for projects.", lock
            ) from error
        if os.stat(own).st_nlink != 2:
            raise write_error(lock, error) from error
    else:
        return True
    # NFS may lose the answer to a link that it made, and report that the name exists.
    return os.stat(own).st_nlink == 2


def _break_if_stale(lock: Path, own: Path) -> bool:
    """Whether a stale lock was removed."""
    token = _stale_token(lock, own)
    if token is None:
        return False
    with only_breaker(lock) as alone:
        if not alone or _stale_token(lock, own) != token:
            return False
        _remove_stale(lock, token)
        for left in lock.parent.glob("lock.????????????????"):
            if is_dead(_read(left)):
                left.unlink(missing_ok=True)
        return True


def _remove_stale(lock: Path, token: str) -> None:
    """Another host may do the same: what we moved aside is looked at again, and put back where it is a newer lock."""
    aside = lock.with_name(f"lock.{secrets.token_hex(8)}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(lock, aside)
        if str(_read(aside).get("token", "")) != token:
            with contextlib.suppress(FileExistsError):
                os.link(aside, lock)
        os.unlink(aside)


def _stale_token(lock: Path, own: Path) -> str | None:
    """The token of a lock that is stale, None where it is not. Ages are told by the file system's own clock."""
    try:
        modified = os.stat(lock).st_mtime
        os.utime(own)
        now = os.stat(own).st_mtime
    except OSError:
        return None
    holder = _read(lock)
    if is_dead(holder) or now - modified > STALE_SECONDS:
        return str(holder.get("token", ""))
    return None


def _read(lock: Path) -> dict[str, Any]:
    try:
        value = json.loads(lock.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
