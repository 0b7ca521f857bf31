"""The lines of a log of any size: opened at its end, counted backwards in pieces as far as somebody wants to see.

Of each block of the file only the number of its lines is kept (a few hundred kB for 1 GB), and only the lines that are
asked for are read and decoded. The file may grow, be cut, be replaced, come later or go away at any time.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from core.files import read_error
from core.watch.log_text import plain, shown

BLOCK_BYTES = 64 * 1024
PIECE_BYTES = 16 * BLOCK_BYTES
SEARCH_BYTES = 4 * BLOCK_BYTES
_REMEMBERED_BYTES = 64
_GONE = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR)


class LogIndex:
    """The known lines are numbered from :attr:`first` to :attr:`stop` (not included). The numbers stay when lines
    before them become known (``first`` becomes smaller) or others are added at the end. Not thread-safe.

    Every method reads a bounded piece, so that its caller can be asked to stop in between. Offsets are bytes in the
    file.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.there = False
        """Whether the file was there at the last look."""
        self.restarted = False
        """Whether the last look found another file, or a shorter one: all numbers are void."""
        self.behind = False
        """Whether there is more to read at once."""
        self.begin = self.end = 0
        self.first = 0
        self._counts: list[int] = []
        self._sums: list[int] | None = None
        self._before = b""
        self._identity: tuple[int, int] | None = None
        self._suspect = False

    @property
    def whole(self) -> bool:
        return self.begin == 0

    @property
    def stop(self) -> int:
        """The number after the last line; one that has no end yet counts."""
        ended = self._totals()[-1] if self._counts else 0
        return self.first + ended + (self._before[-1:] not in (b"", b"\n"))

    def look(self) -> bool:
        """Look at the file's end; whether anything is new. Raises :class:`InputError` where it may not be read."""
        self.restarted = self.behind = False
        there, self.there = self.there, True
        try:
            data = self._news()
        except OSError as error:
            self.there = False
            if error.errno in _GONE:
                return there
            assert self.path is not None
            raise read_error(self.path, error) from error
        self.behind = len(data) == PIECE_BYTES
        self._take(data)
        return bool(data) or self.restarted or not there

    def extend(self) -> bool:
        """Count one piece further back; False where that is not possible (any more)."""
        start = max(0, self.begin - PIECE_BYTES)
        data = self._read(start, self.begin - start)
        if not data or len(data) < self.begin - start:
            return False
        counts = [data.count(b"\n", at, at + BLOCK_BYTES) for at in range(0, len(data), BLOCK_BYTES)]
        self._counts[:0] = counts
        self._sums = None
        self.first -= sum(counts)
        self.begin = start
        return True

    def lines(self, first: int, count: int) -> list[str]:
        """The known ones of ``count`` lines from number ``first``, as they are shown."""
        count = min(count, self.stop - first)
        offset = self.offset_of(first)
        found: list[str] = []
        while len(found) < count and offset < self.end:
            data = self._read(offset, min(BLOCK_BYTES, self.end - offset))
            whole, ended, _ = data.rpartition(b"\n")
            if not data:
                break
            if ended:
                found += [shown(raw) for raw in whole.split(b"\n", count - len(found))[: count - len(found)]]
                offset += len(whole) + 1
            elif offset + len(data) >= self.end:
                found.append(shown(data))
                break
            else:
                stop = self._end_of(offset + len(data))
                found.append(self._long(offset, stop))
                offset = stop
        return found

    def offset_of(self, line: int) -> int:
        """Where a known line begins."""
        wanted = line - self.first
        if wanted <= 0 or not self._counts:
            return self.begin
        sums = self._totals()
        if wanted > sums[-1]:
            return self.end
        block = bisect_left(sums, wanted)
        data = self._read(self.begin + block * BLOCK_BYTES, BLOCK_BYTES)
        at = -1
        for _ in range(wanted - (sums[block - 1] if block else 0)):
            at = data.find(b"\n", at + 1)
        return self.begin + block * BLOCK_BYTES + at + 1

    def line_at(self, offset: int) -> int:
        """The number of the line that the byte at ``offset`` belongs to."""
        block = (offset - self.begin) // BLOCK_BYTES
        start = self.begin + block * BLOCK_BYTES
        before = self._totals()[block - 1] if block and self._counts else 0
        return self.first + before + self._read(start, offset - start).count(b"\n")

    def find(self, offset: int, back: bool, words: Sequence[bytes], wanted: Callable[[str], bool]) -> Iterator[int]:
        """Where the nearest line begins that begins at or after ``offset`` (``back``: before it), has one of ``words``
        (lower case) and is ``wanted`` as it is shown. ``offset`` is a line's begin. Gives -1 after each piece that was
        looked through, the place once, and ends; how far it is stands in :attr:`looked_to`."""
        self.looked_to = offset
        pieces = self._pieces_back(offset) if back else self._pieces(offset)
        for start, data in pieces:
            self.looked_to = start
            if isinstance(data, str):
                if wanted(data):
                    yield start
                    return
            elif data:
                at = _hit(data, back, words, wanted)
                if at >= 0:
                    yield start + at
                    return
            yield -1

    def _pieces(self, offset: int) -> Iterator[tuple[int, bytes | str]]:
        """Whole lines from ``offset`` on, piece by piece; one that is longer than a piece as it is shown."""
        while offset < self.end:
            data = self._read(offset, min(SEARCH_BYTES, self.end - offset))
            if not data:
                return
            cut = data.rfind(b"\n") + 1
            if not cut and offset + len(data) < self.end:
                stop = self._end_of(offset + len(data))
                yield offset, self._long(offset, stop)
                offset = stop
            else:
                cut = cut or len(data)
                yield offset, data[:cut]
                offset += cut

    def _pieces_back(self, offset: int) -> Iterator[tuple[int, bytes | str]]:
        """The same backwards. What is not known yet is counted on the way."""
        while offset > 0:
            low = max(self.begin, offset - SEARCH_BYTES)
            data = self._read(low, offset - low)
            if len(data) < offset - low:
                return
            cut = 0 if low == 0 else data.find(b"\n", 0, max(0, len(data) - 1)) + 1
            if cut or low == 0:
                yield low + cut, data[cut:]
                offset = low + cut
                continue
            start = self._begin_of(low)
            while start is None:
                known = self.begin
                if not self.extend():
                    return
                yield self.begin, b""
                start = self._begin_of(known)
            yield start, self._long(start, offset)
            offset = start

    def _news(self) -> bytes:
        assert self.path is not None
        # Opened anew each time, which is what makes a network file system look again.
        with open(self.path, "rb", buffering=0) as stream:
            status = os.fstat(stream.fileno())
            identity = (status.st_dev, status.st_ino)
            if identity != self._identity:
                self.restarted = self._identity is not None
                self._identity = identity
                self._start(status.st_size)
            data = os.pread(stream.fileno(), len(self._before) + PIECE_BYTES, self.end - len(self._before))
            if data.startswith(self._before):
                self._suspect = False
                return data[len(self._before) :]
            # Shorter than it was, or written anew. On a network file system the size may be stale: only the second
            # look in a row decides.
            self._suspect = not self._suspect
            if self._suspect:
                return b""
            self.restarted = True
            self._start(status.st_size)
            return os.pread(stream.fileno(), PIECE_BYTES, self.end)

    def _start(self, size: int) -> None:
        self.begin = self.end = max(0, size - PIECE_BYTES // 2) // BLOCK_BYTES * BLOCK_BYTES
        self.first = 0
        self._counts, self._sums, self._before, self._suspect = [], None, b"", False

    def _take(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            block, inside = divmod(self.end - self.begin, BLOCK_BYTES)
            part = min(BLOCK_BYTES - inside, len(data) - at)
            if block == len(self._counts):
                self._counts.append(0)
            self._counts[block] += data.count(b"\n", at, at + part)
            self.end += part
            at += part
        if data:
            self._sums = None
            self._before = (self._before + data)[-_REMEMBERED_BYTES:]

    def _totals(self) -> list[int]:
        if self._sums is None:
            self._sums = list(accumulate(self._counts))
        return self._sums

    def _end_of(self, offset: int) -> int:
        """The end of the line that goes on at ``offset``, its line break included."""
        while offset < self.end:
            block, inside = divmod(offset - self.begin, BLOCK_BYTES)
            if inside or self._counts[block]:
                at = self._read(offset, min(BLOCK_BYTES - inside, self.end - offset)).find(b"\n")
                if at >= 0:
                    return offset + at + 1
            offset += BLOCK_BYTES - inside
        return self.end

    def _begin_of(self, offset: int) -> int | None:
        """The begin of the line that the byte before ``offset`` belongs to, None where that is not known yet."""
        while offset > self.begin:
            block = (offset - 1 - self.begin) // BLOCK_BYTES
            start = self.begin + block * BLOCK_BYTES
            if self._counts[block]:
                at = self._read(start, offset - start).rfind(b"\n")
                if at >= 0:
                    return start + at + 1
            offset = start
        return 0 if self.whole else None

    def _long(self, start: int, stop: int) -> str:
        """A line that is longer than a block: a progress bar's last state, or its begin."""
        tail = self._read(max(start, stop - BLOCK_BYTES), min(BLOCK_BYTES, stop - start)).rstrip(b"\r\n")
        if b"\r" in tail:
            return shown(tail)
        return shown(self._read(start, min(BLOCK_BYTES, stop - start)).rstrip(b"\r\n"))

    def _read(self, offset: int, size: int) -> bytes:
        """``size`` bytes, fewer where the file has been cut or is gone: the next look finds out."""
        if size <= 0 or self.path is None:
            return b""
        try:
            with open(self.path, "rb", buffering=0) as stream:
                return os.pread(stream.fileno(), size, offset)
        except OSError:
            return b""


class TextIndex(LogIndex):
    """The same of a text that is no file."""

    def __init__(self, text: str) -> None:
        super().__init__(None)
        self._text = text.encode()

    def _news(self) -> bytes:
        return self._text[self.end : self.end + PIECE_BYTES]

    def _read(self, offset: int, size: int) -> bytes:
        return self._text[offset : offset + size]


def _hit(data: bytes, back: bool, words: Sequence[bytes], wanted: Callable[[str], bool]) -> int:
    """Where in ``data`` (whole lines) the first line (``back``: the last) begins that is looked for, else -1."""
    probe = plain(data).lower()
    if not any(word in probe for word in words):
        return -1
    rest = data[:-1] if data.endswith(b"\n") else data
    at = len(rest) + 1 if back else 0
    for raw in reversed(rest.split(b"\n")) if back else rest.split(b"\n"):
        if back:
            at -= len(raw) + 1
        probe = plain(raw).lower()
        if any(word in probe for word in words) and wanted(shown(raw)):
            return at
        if not back:
            at += len(raw) + 1
    return -1
