"""Following a log that another machine may write: in bounded pieces, through truncation, rotation, stale sizes."""

from __future__ import annotations

import codecs
import errno
import os
from pathlib import Path

from core.files import read_error

PIECE_BYTES = 256 * 1024
LONGEST_LINE = 4000
_REMEMBERED_BYTES = 64


class LogFollower:
    """Reads what was added to a file since the last time. The file need not exist yet.

    The file is opened anew each time, which is what makes a network file system look again. ``partial`` is the line
    that has no end yet (a progress bar's newest state), ``restarted`` says that the last :meth:`read` began a file
    anew (truncated or replaced), ``behind`` that there is more to read at once.
    """

    def __init__(self, path: Path, *, tail_bytes: int | None = None) -> None:
        self.path = path
        self.partial = ""
        self._unfinished = ""
        self._offset = 0
        self._before = b""
        self._decoder = _decoder()
        self.restarted = False
        self.behind = False
        self._tail_bytes = tail_bytes
        self._skip_first_line = False
        self._identity: tuple[int, int] | None = None
        self._suspect = False

    def read(self) -> list[str]:
        """Complete new lines, at most :data:`PIECE_BYTES` of them. Raises :class:`InputError` where the file may not
        be read; a file that is not there gives no lines."""
        self.restarted = False
        self.behind = False
        try:
            data = self._new_bytes()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                return []
            raise read_error(self.path, error) from error
        self.behind = len(data) == PIECE_BYTES
        self._offset += len(data)
        self._before = (self._before + data)[-_REMEMBERED_BYTES:]
        return self._lines(self._decoder.decode(data))

    def _begin(self, offset: int) -> None:
        self._offset = offset
        self._before = b""
        self._decoder = _decoder()
        self._unfinished = ""
        self.partial = ""

    def _new_bytes(self) -> bytes:
        with open(self.path, "rb", buffering=0) as stream:
            status = os.fstat(stream.fileno())
            identity = (status.st_dev, status.st_ino)
            if self._identity is None:
                if self._tail_bytes is not None and status.st_size > self._tail_bytes:
                    self._begin(status.st_size - self._tail_bytes)
                    self._skip_first_line = True
            elif identity != self._identity:
                self._restart()
            self._identity = identity
            for _ in range(2):
                start = self._offset - len(self._before)
                data = os.pread(stream.fileno(), len(self._before) + PIECE_BYTES, start)
                if data.startswith(self._before):
                    self._suspect = False
                    return data[len(self._before) :]
                # Shorter than it was, or written anew. On a network file system the size may be stale: only the
                # second look in a row decides.
                if not self._suspect:
                    self._suspect = True
                    return b""
                self._restart()
        return b""

    def _restart(self) -> None:
        self._begin(0)
        self._suspect = False
        self._skip_first_line = False
        self.restarted = True

    def _lines(self, text: str) -> list[str]:
        *ended, rest = (self._unfinished + text).split("\n")
        lines = [_capped(fold(line)) for line in ended]
        if ended and self._skip_first_line:
            del lines[0]
            self._skip_first_line = False
        # A carriage return at the end still has to begin the line anew when more comes.
        self._unfinished = _capped(fold(rest)) + ("\r" if rest.endswith("\r") else "")
        self.partial = "" if self._skip_first_line else fold(self._unfinished)
        return lines


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


def fold(line: str) -> str:
    """What a terminal shows of a line with carriage returns: its last state that is not empty."""
    if "\r" not in line:
        return line
    return next((state for state in reversed(line.split("\r")) if state), "")


def _capped(line: str) -> str:
    return line[:LONGEST_LINE] + "…" if len(line) > LONGEST_LINE else line


def read_tail_text(path: Path, limit_bytes: int) -> str:
    """The end of a file as text, carriage returns and all. Raises :class:`InputError` where it cannot be read."""
    return _read_tail(path, limit_bytes)[0].decode("utf-8", "replace")


def tail(path: Path, limit_bytes: int) -> list[str]:
    """The last lines that are whole within ``limit_bytes``, progress bars folded to their newest state. The end of a
    file that does not end with a newline counts as a line. Raises :class:`InputError` where it cannot be read."""
    data, whole = _read_tail(path, limit_bytes)
    lines = data.decode("utf-8", "replace").split("\n")
    if not whole:
        del lines[0]
    if lines and lines[-1] == "":
        lines.pop()
    return [_capped(fold(line)) for line in lines]


def _read_tail(path: Path, limit_bytes: int) -> tuple[bytes, bool]:
    """The last bytes, and whether they are the whole file."""
    try:
        with open(path, "rb", buffering=0) as stream:
            start = max(0, os.fstat(stream.fileno()).st_size - limit_bytes)
            # A network file system may have more than its size says.
            data = os.pread(stream.fileno(), limit_bytes + PIECE_BYTES, start)
    except OSError as error:
        raise read_error(path, error) from error
    return data[-limit_bytes:], start == 0 and len(data) <= limit_bytes
