"""What reads a log for the screen, in a thread of its own: the lines that are to be seen, searching, jumping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from core.errors import CrboostError
from core.watch.log_index import LogIndex
from core.watch.log_text import ERROR_WORDS, trouble

LOOK_SECONDS = 0.5
"""How often a log is looked at, and at most told of: what has grown is drawn twice a second."""
COUNTED_AT_ONCE_BYTES = 32_000_000
"""A log up to this size is counted as soon as it is opened; a larger one as far as somebody wants to see."""
MARGIN_PAGES = 2
OUR_LINE = "[crboost]"
"""How a line begins that the task's script wrote: it only repeats what the tool said before."""
_SLICE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a log. ``lines`` begin with number ``at``; numbers count from ``first`` to ``stop`` (not
    included), of which ``whole`` says that nothing is before them. ``anew``: how often it was begun anew."""

    first: int
    stop: int
    whole: bool
    size: int
    known: int
    there: bool
    anew: int
    at: int
    lines: tuple[str, ...]
    problem: str = ""
    busy: str = ""


@dataclass(frozen=True, slots=True)
class Looked:
    """The end of a search (or of a jump to the first line): its line, None where there is none. ``where``: ``up``,
    ``down`` or everywhere. ``seen``: what is around it."""

    line: int | None
    words: str = ""
    where: str = ""
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """``text``: what is looked for, "" for lines that tell of an error. ``line``: from which, upwards where ``back``
    (that line itself not included); ``both``: the other way too, where nothing is found."""

    text: str
    line: int
    back: bool
    both: bool = False

    def words(self) -> tuple[bytes, ...]:
        """What a line must have, in lower case as bytes are made lower: only ASCII letters."""
        if not self.text:
            return ERROR_WORDS
        return tuple({text.encode().lower() for text in (self.text.lower(), self.text.upper())})

    def wanted(self, line: str) -> bool:
        if self.text:
            return self.text.lower() in line.lower()
        return trouble(line) == "error" and not line.startswith(OUR_LINE)


class LogReader:
    """``post`` takes what was found, called in the thread of :meth:`run`. The other methods only note a wish and may
    be called from anywhere."""

    def __init__(self, index: LogIndex, post: Callable[[Seen | Looked], object]) -> None:
        self._index = index
        self._post = post
        self._changed = threading.Condition()
        self._top: int | None = None
        self._height = 1
        self._asked: Search | str | None = None
        self._ended = False
        self._anew = 0
        self._problem = self._busy = ""
        self._fresh = True
        self._told: Seen | None = None

    def show(self, top: int | None, height: int) -> None:
        """``height`` lines from number ``top`` on, None for the last ones, however many come."""
        with self._changed:
            if (top, height) != (self._top, self._height):
                self._top, self._height = top, height
                self._changed.notify()

    def search(self, search: Search) -> None:
        self._ask(search)

    def go_to_begin(self) -> None:
        self._ask("begin")

    def cancel(self) -> None:
        self._ask("cancel")

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _ask(self, wish: Search | str) -> None:
        with self._changed:
            self._asked = wish
            self._changed.notify()

    def run(self) -> None:
        """Until :meth:`end` is called."""
        looked = posted = -LOOK_SECONDS
        work: Iterator[Looked | None] | None = None
        while not self._ended:
            now = time.monotonic()
            if now - looked >= LOOK_SECONDS or (self._index.behind and not work):
                looked = now
                if self._look():
                    work = None  # the numbers mean other lines now
            with self._changed:
                asked, self._asked = self._asked, None
            if asked is not None:
                work = None if asked == "cancel" else self._work(asked)
                self._fresh, posted = True, -LOOK_SECONDS
            more = self._work_on(work) if work is not None else self._count(self._top, self._height)
            if work is not None and not more:
                work, posted = None, -LOOK_SECONDS
            with self._changed:
                top, height = self._top, self._height
            told = self._told
            wishes = told is None or not self._covers(told, top, height)
            if wishes or (self._fresh and now - posted >= LOOK_SECONDS):
                seen = self._seen(top, height, self._busy if work is not None else "")
                self._fresh = False
                if seen != told:
                    self._post(seen)
                    self._told, posted = seen, now
            with self._changed:
                same = (top, height) == (self._top, self._height)
                if same and not (self._asked or self._ended or more or self._index.behind):
                    self._changed.wait(max(0.01, looked + LOOK_SECONDS - time.monotonic()))

    def _look(self) -> bool:
        """Whether the log was begun anew."""
        before, self._problem = self._problem, ""
        try:
            self._fresh |= self._index.look()
        except CrboostError as error:
            self._problem = str(error)
        self._fresh |= self._problem != before
        self._anew += self._index.restarted
        return self._index.restarted

    def _count(self, top: int | None, height: int) -> bool:
        """Know a little more of what is before the lines on the screen; whether it is worth to go on."""
        index = self._index
        wanted = (index.stop - height if top is None else top) - MARGIN_PAGES * height
        if index.whole or (index.end > COUNTED_AT_ONCE_BYTES and index.first <= wanted):
            return False
        return self._slice(index.extend)

    def _work(self, asked: Search | str) -> Iterator[Looked | None]:
        return self._searching(asked) if isinstance(asked, Search) else self._beginning()

    def _work_on(self, work: Iterator[Looked | None]) -> bool:
        """Whether there is more to do."""

        def step() -> bool:
            looked = next(work, None)
            if looked is not None:
                with self._changed:  # what the screen is going to wish when it has heard of it
                    self._top = self._top if looked.line is None else looked.line - self._height // 2
                self._post(replace(looked, seen=self._seen(self._top, self._height, "")))
            return looked is None

        return self._slice(step)

    def _slice(self, step: Callable[[], bool]) -> bool:
        self._fresh = True
        end = time.monotonic() + _SLICE_SECONDS
        while step():
            if time.monotonic() > end:
                return True
        return False

    def _beginning(self) -> Iterator[Looked | None]:
        while self._index.extend():
            counted = size_text(self._index.end - self._index.begin)
            self._busy = f"counting lines: {counted} of {size_text(self._index.end)}"
            yield None
        yield Looked(self._index.first)

    def _searching(self, search: Search) -> Iterator[Looked | None]:
        index, words = self._index, search.words()
        what = f"“{search.text}”" if search.text else "an error"
        for back in (search.back, not search.back) if search.both else (search.back,):
            start = index.offset_of(search.line)
            for found in index.find(start, back, words, search.wanted):
                if found >= 0:
                    yield Looked(index.line_at(found), search.text)
                    return
                self._busy = f"looking for {what}: {size_text(abs(start - index.looked_to))} of {size_text(index.end)}"
                yield None
        yield Looked(None, search.text, "" if search.both else "up" if search.back else "down")

    def _covers(self, seen: Seen, top: int | None, height: int) -> bool:
        if top is None:
            return seen.at + len(seen.lines) >= seen.stop and len(seen.lines) >= min(height, seen.stop - seen.first)
        first, stop = max(top, seen.first), min(top + height, seen.stop)
        return seen.at <= first and stop <= seen.at + len(seen.lines)

    def _seen(self, top: int | None, height: int, busy: str) -> Seen:
        index = self._index
        begin = index.stop - height if top is None else top
        at = max(index.first, begin - MARGIN_PAGES * height)
        stop = index.stop if top is None else min(index.stop, begin + (1 + MARGIN_PAGES) * height)
        lines = tuple(index.lines(at, stop - at))
        if not index.there and self._told is not None:
            at, lines = self._told.at, self._told.lines  # a file that is gone stays on the screen
        return Seen(
            index.first,
            index.stop,
            index.whole,
            index.end,
            index.end - index.begin,
            index.there,
            self._anew,
            at,
            lines,
            self._problem,
            busy,
        )


def size_text(size: int) -> str:
    """``812 B``, ``4.2 kB``, ``340 MB``, ``1.1 GB``."""
    if size < 1000:
        return f"{size} B"
    power = min(4, next(power for power in range(1, 9) if size < 999.5 * 1000**power))
    value = size / 1000**power
    return f"{value:.{0 if value >= 9.95 else 1}f} {['kB', 'MB', 'GB', 'TB'][power - 1]}"
