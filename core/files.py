"""Files on shared file systems: atomic replacement, exclusive creation, bounded reads.

A replaced file keeps its mode and group: a plain temporary file would turn 0664 into 0600 and lock a lab out
of its own project. Names of temporary files begin with a dot and end with ``.tmp``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from pathlib import Path

from core.errors import CrboostError, InputError


def replace_text(path: Path, text: str, *, sync: bool = False) -> None:
    """Write ``text`` as UTF-8 to ``path`` by a temporary file in the same folder and a rename.

    With ``sync`` the data are on the disk before the rename. Raises :class:`CrboostError` with the reason.
    """
    replace_bytes(path, text.encode("utf-8", "surrogateescape"), sync=sync)


def replace_bytes(path: Path, data: bytes, *, sync: bool = False) -> None:
    """As :func:`replace_text`, for bytes."""
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.{secrets.token_hex(3)}.tmp")
    try:
        previous = _status(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                if previous is not None:
                    _keep_owner(stream.fileno(), previous)
                if sync:
                    stream.flush()
                    os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise write_error(path, error) from error


def drop_leftovers(folder: Path, older_than_seconds: float = 600.0) -> None:
    """Remove temporary files of ours that a crash left in ``folder`` long ago."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > older_than_seconds:
                        os.unlink(entry.path)


def append_line(path: Path, line: str, *, sync: bool = False) -> None:
    """Append one line. A line that a crash left unfinished is ended first, so it spoils only itself."""
    try:
        with open(path, "ab+") as stream:
            if stream.tell() > 0:
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    stream.write(b"\n")
            stream.write(line.encode("utf-8", "surrogateescape") + b"\n")
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
    except OSError as error:
        raise write_error(path, error) from error


def read_text(path: Path, *, limit_bytes: int = 256 * 1024 * 1024) -> str:
    """The text of a UTF-8 file. Raises :class:`InputError` where it is unreadable, too large or not text."""
    try:
        if os.path.isdir(path):
            raise InputError("is a folder, a file was expected.", path)
        with open(path, "rb") as stream:
            data = stream.read(limit_bytes + 1)
    except OSError as error:
        raise read_error(path, error) from error
    if len(data) > limit_bytes:
        raise InputError(f"is larger than {limit_bytes // 2**20} MB; is it the right file?", path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError("is not a text file in UTF-8.", path, line) from error


def read_error(path: Path, error: OSError) -> InputError:
    """A sentence for a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return InputError("does not exist.", path)
    if isinstance(error, PermissionError):
        return InputError("may not be read: ask its owner for permission.", path)
    return InputError(f"cannot be read ({error.strerror or error}).", path)


def write_error(path: Path, error: OSError) -> CrboostError:
    """A sentence for a file that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CrboostError("cannot be written: the disk or your quota is full. Nothing was changed.", path)
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return CrboostError("may not be written: ask the owner of the folder for permission.", path)
    if isinstance(error, FileNotFoundError):
        return CrboostError("cannot be written: its folder does not exist.", path)
    return CrboostError(f"cannot be written ({error.strerror or error}).", path)


def disk_is_full(error: BaseException) -> bool:
    """Whether an error, or what it came from, is a full disk or quota: that passes, and nothing else is wrong."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        cause = cause.__cause__
    return False


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _keep_owner(descriptor: int, previous: os.stat_result) -> None:
    with contextlib.suppress(OSError):
        os.fchown(descriptor, -1, previous.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, previous.st_mode & 0o7777)
