"""One file as it grows, of any size: read in a thread, drawn line by line, only what changed is drawn again."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult, SuspendNotSupported
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from core.watch.log_index import LogIndex, TextIndex
from core.watch.log_text import trouble
from crboost_tui.actions import Action, bindings
from crboost_tui.log_reader import LogReader, Looked, Search, Seen, size_text
from crboost_tui.terminal import ASCII_TWINS, cell_width
from crboost_tui.widgets.line import Line

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

SIDE_CELLS = 20

ACTIONS = (
    Action("focused.find", "slash", "find", "find a text in it (n the next below, N the next above)"),
    Action("focused.again(False)", "n", "next below", "the next line below that was looked for", footer=False),
    Action("focused.again(True)", "N", "next above", "the next line above that was looked for", footer=False),
    Action("focused.last_error", "e", "last error", "the last line that tells of an error (N the one before)"),
    Action("focused.follow", "G,end", "follow", "to the end, and on as it grows"),
    Action("focused.to_begin", "g,home", "begin", "to the first line", footer=False),
    Action("focused.pager", "v", "pager", "open it in $PAGER (less where that is not set)"),
)
"""What a screen with a log shows in its footer and help. The log must have the focus."""
EXTRA_KEYS = (
    Action("focused.move(-1)", "up,k", "up", ""),
    Action("focused.move(1)", "down,j", "down", ""),
    Action("focused.page(-1)", "pageup,ctrl+u", "page up", ""),
    Action("focused.page(1)", "pagedown,space,ctrl+d", "page down", ""),
    Action("focused.side(-1)", "left", "left", ""),
    Action("focused.side(1)", "right", "right", ""),
    Action("leave", "escape", "leave the search", ""),
)


class LogView(Widget, can_focus=True, inherit_bindings=False):
    """Shows :meth:`follow`'s file, at its end until somebody scrolls up; or :meth:`show`'s text from its begin."""

    app: CrboostApp
    BINDINGS = bindings(ACTIONS + EXTRA_KEYS)
    COMPONENT_CLASSES = {"log--text", "log--cursor", "log--match", "log--thumb"}
    DEFAULT_CSS = """
    LogView { height: 1fr; overflow: hidden; background: $background; color: $foreground; }
    LogView .log--text { color: $foreground; background: $background; }
    LogView .log--cursor { color: $foreground; background: $panel; }
    LogView .log--match { color: $background; background: $warning; }
    LogView .log--thumb { background: $secondary-muted; }
    LogView #state { dock: bottom; padding: 0 1; color: $text-muted; background: $surface; }
    LogView Input, LogView Input:focus { dock: bottom; height: 1; border: none; padding: 0 1; display: none;
        background: $surface; }
    """

    class Read(Message, bubble=False):
        """Something that the thread read."""

        def __init__(self, reader: LogReader, found: Seen | Looked) -> None:
            super().__init__()
            self.reader = reader
            self.found = found

    def __init__(self, utf8: bool, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.utf8 = utf8
        self.path: Path | None = None
        self.following = True
        self.seen: Seen | None = None
        self._text: str | None = None
        self._told = ""
        self._marks = "log"
        self._reader: LogReader | None = None
        self._top = 0
        self._left = 0
        self._cursor: int | None = None
        self._needle = ""
        self._searched = False
        self._drawn: list[tuple[object, ...]] = []

    def compose(self) -> ComposeResult:
        yield Line(id="state")
        find = Input(placeholder="find", compact=True, select_on_focus=True)
        find.cursor_blink = False
        yield find

    def follow(self, path: Path | None, told: str = "", marks: str = "log") -> None:
        """Show a file, which need not be there yet; None: ``told`` alone, in grey. ``told`` also stands for a file
        that is not there. ``marks``: ``log`` (errors and warnings coloured) or ``script`` (comments grey, and shown
        from its begin)."""
        self._begin(path, None, told, marks)
        self.following = marks == "log"
        if path is not None:
            self._start(LogIndex(path))

    def show(self, text: str, marks: str = "script") -> None:
        """Show a text. ``marks`` as in :meth:`follow`, or ``table``: lines that are not indented are headings."""
        self._begin(None, text, "", marks)
        self.following = False
        self._start(TextIndex(text))

    @property
    def rows(self) -> int:
        """Lines of the log that there is room for."""
        return max(1, self.size.height - 1)

    @property
    def top(self) -> int:
        """Number of the line at the top."""
        if self.seen is None:
            return 0
        last = max(self.seen.first, self.seen.stop - self.rows)
        return last if self.following else max(self.seen.first, min(self._top, last))

    def visible_lines(self) -> list[str]:
        """The lines on the screen."""
        return [text for text in (self._line(y) for y in range(self.rows)) if text is not None]

    def _begin(self, path: Path | None, text: str | None, told: str, marks: str) -> None:
        if self._reader is not None:
            self._reader.end()
        self._reader = None
        self.path, self._text, self._told, self._marks = path, text, told, marks
        self.seen, self._cursor, self._searched = None, None, False
        self.following, self._top, self._left = True, 0, 0
        if self.is_mounted:
            self._say_state()
            self._repaint()

    def _start(self, index: LogIndex) -> None:
        reader = self._reader = LogReader(index, lambda found: self.post_message(self.Read(reader, found)))
        self._wish()
        self.run_worker(reader.run, thread=True, group="log", exit_on_error=False)

    def on_unmount(self) -> None:
        if self._reader is not None:
            self._reader.end()

    def on_resize(self) -> None:
        self._drawn = []
        self._moved()

    def on_log_view_read(self, message: Read) -> None:
        if message.reader is not self._reader:
            return  # of the file before
        found = message.found
        if isinstance(found, Looked):
            self._looked(found)
            return
        if self.seen is not None and found.anew != self.seen.anew:
            self.following, self._cursor = self._marks == "log", None
        self.seen = found
        self._moved()

    def _looked(self, looked: Looked) -> None:
        self.seen = looked.seen or self.seen
        if looked.line is None:
            self._moved()
            self.app.tell(self._plain(self._nothing(looked)))
            return
        if self._searched:
            self._cursor = looked.line
        self.following = False
        self._top = looked.line - self.rows // 2 if self._searched else looked.line
        self._moved()

    def _nothing(self, looked: Looked) -> str:
        """That a search found nothing."""
        other = "other " if self._cursor is not None else ""
        where = {"up": " above", "down": " below"}.get(looked.where, "")
        what = f"“{looked.words}”{where}" if looked.words else f"line{where} that tells of an error"
        return f"No {other}{what}."

    def _moved(self) -> None:
        """What is to be seen may be something else now."""
        self._wish()
        self._say_state()
        self._repaint()

    def _wish(self) -> None:
        if self._reader is not None:
            self._reader.show(None if self.following else self.top, self.rows)

    def _repaint(self) -> None:
        """Draw the lines again that look different."""
        rows, before = [self._key(y) for y in range(self.rows)], self._drawn
        self._drawn = rows
        if len(before) != len(rows):
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, rows, strict=True)):
            if old != new:
                self.refresh(Region(0, y, self.size.width, 1))

    def _key(self, y: int) -> tuple[object, ...]:
        """All that the look of a line rests on."""
        text = self._line(y)
        if text is None:
            return (self._empty(y), self._thumb(y))
        return (text, self._left, self.top + y == self._cursor, self._thumb(y), self._needle)

    def _line(self, y: int) -> str | None:
        seen = self.seen
        if seen is None:
            return None
        at = self.top + y - seen.at
        return seen.lines[at] if 0 <= at < len(seen.lines) else None

    def _empty(self, y: int) -> str:
        """What stands where there are no lines."""
        seen = self.seen
        if seen is not None and seen.stop > seen.first:
            return ""
        told = self._told
        if seen is not None and seen.problem:
            told = seen.problem
        elif seen is not None and (self._text is not None or seen.there):
            told = "Nothing is in it." if self._text is not None else "Nothing is in it yet."
        folded = Text(told).wrap(self.app.console, max(8, self.size.width - 3))
        return folded[y - 1].plain.rstrip() if 1 <= y <= len(folded) else ""

    def _thumb(self, y: int) -> bool:
        """Whether the scroll bar's thumb is beside this line. What is not counted is guessed from its bytes."""
        seen = self.seen
        if seen is None or seen.stop - seen.first <= self.rows:
            return False
        known = seen.stop - seen.first
        above = 0 if seen.whole else known * (seen.size - seen.known) // max(1, seen.known)
        total, rows = known + above, self.rows
        size = max(1, rows * rows // total)
        begin = round((rows - size) * (above + self.top - seen.first) / max(1, total - rows))
        return begin <= y < begin + size

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.get_component_rich_style("log--text")
        text = self._line(y) if y < self.rows else ""
        if text is None:
            style = base + Style.parse(self.app.colour("quiet"))
            segments, cursor = [Segment(f" {self._plain(self._empty(y))}", style)], False
        else:
            cursor = self.seen is not None and self._cursor == self.top + y
            base = self.get_component_rich_style("log--cursor") if cursor else base
            segments = self._segments(text, base)
        thumb = self.get_component_rich_style("log--thumb") if self._thumb(y) else base
        line = Strip.join([Strip(segments).adjust_cell_length(width - 1, base), Strip([Segment(" ", thumb)])])
        return line.simplify()  # each change of style costs forty bytes

    def _segments(self, text: str, base: Style) -> list[Segment]:
        """One line, cut at the screen's sides (with marks), what was looked for marked."""
        text, room = self._plain(text), self.size.width - 2
        base += self._meaning(text)
        strip = Strip(list(self._marked(text, base)))
        length = strip.cell_length
        if not self._left and length <= room:
            return [Segment(" ", base), *strip]
        quiet = base + Style.parse(self.app.colour("quiet"))
        before, after = ("‹", "›") if self.utf8 else ("<", ">")
        cut = strip.crop(self._left, self._left + room)
        more = length > self._left + room
        return [
            Segment(before if self._left and length else " ", quiet),
            *(cut.crop(0, room - 1) if more else cut),
            *([Segment(after, quiet)] if more else []),
        ]

    def _marked(self, text: str, base: Style) -> Iterator[Segment]:
        needle, lower, at = self._needle.lower(), text.lower(), 0
        found = self.get_component_rich_style("log--match")
        while needle and len(lower) == len(text) and (hit := lower.find(needle, at)) >= 0:
            yield Segment(text[at:hit], base)
            yield Segment(text[hit : hit + len(needle)], found)
            at = hit + len(needle)
        yield Segment(text[at:], base)

    def _meaning(self, text: str) -> Style:
        """How a line stands out: quietly."""
        if self._marks == "log":
            name = {"error": "fail", "warning": "need"}.get(trouble(text))
            return Style.parse(self.app.colour(name)) + Style(bold=False) if name else Style.null()
        if self._marks == "script":
            return Style.parse(self.app.colour("quiet")) if text.startswith("#") else Style.null()
        return Style(bold=True) if text[:1].strip() else Style.null()

    def _say_state(self) -> None:
        seen = self.seen
        right = size_text(seen.size) if seen is not None and seen.there and self.path is not None else ""
        if seen is None:
            left = ""
        elif seen.busy:
            left, right = seen.busy, "esc stops"
        elif not seen.there:
            left = "the file is gone" if seen.stop > seen.first else "no file"
        elif self.following:
            left = "following" + (f"   {seen.stop - seen.first:,} lines" if seen.whole and seen.stop else "")
        else:
            left = self._place(seen)
        if self._left:
            left += f"   from column {self._left + 1}"
        self.query_one("#state", Line).say(self._plain(left), self._plain(right))

    def _place(self, seen: Seen) -> str:
        bottom = min(seen.stop, self.top + self.rows)
        on_screen = self._cursor is not None and self.top <= self._cursor < bottom
        line = self._cursor if on_screen and self._cursor is not None else bottom - 1
        if seen.stop == seen.first:
            return ""
        if seen.whole:
            return f"line {line - seen.first + 1:,} of {seen.stop - seen.first:,}"
        return f"{seen.stop - 1 - line:,} lines before the end"

    def _plain(self, text: str) -> str:
        return text if self.utf8 else text.translate(ASCII_TWINS).encode("ascii", "replace").decode()

    # -- what the keys do

    def action_move(self, lines: int) -> None:
        if self.seen is None:
            return
        top = self.top + lines
        self.following = top >= self.seen.stop - self.rows and self._text is None
        self._top = max(self.seen.first, top)
        self._moved()

    def action_page(self, pages: int) -> None:
        self.action_move(pages * max(1, self.rows - 1))

    def action_side(self, steps: int) -> None:
        longest = max(map(cell_width, self.visible_lines()), default=0)
        most = max(0, longest - self.size.width // 2)
        self._left = max(0, min(self._left + steps * SIDE_CELLS, max(most, self._left)))
        self._moved()

    def action_follow(self) -> None:
        self._cursor = None
        if self._reader is not None:
            self._reader.cancel()
        if self._text is None:
            self.following = True
            self._moved()
        elif self.seen is not None:
            self.action_move(self.seen.stop)

    def action_to_begin(self) -> None:
        if self._reader is None or self.seen is None:
            return
        if self.seen.whole:
            self.action_move(self.seen.first - self.top)
            return
        self._searched = False
        self._reader.go_to_begin()

    def action_find(self) -> None:
        if self._reader is None:
            self.app.tell("There is nothing to look through.")
            return
        self.query_one("#state", Line).display = False
        find = self.query_one(Input)
        find.display = True
        find.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._needle, self._cursor = event.value, None
        self._close_find()
        if self._needle:
            self._look_for(self._needle, back=True, both=True)
        else:
            self._moved()

    def action_again(self, back: bool) -> None:
        if not self._searched:
            self.app.tell("Nothing was looked for yet: / finds a text, e an error.")
            return
        self._look_for(self._needle, back=back)

    def action_last_error(self) -> None:
        if self.seen is None:
            self.app.tell("There is nothing to look through.")
            return
        self._needle, self._cursor = "", None
        self._look_for("", back=True, line=self.seen.stop)

    def _look_for(self, text: str, *, back: bool, both: bool = False, line: int | None = None) -> None:
        """From ``line``, by default from the line that was found last or else from what is on the screen."""
        if self._reader is None or self.seen is None:
            return
        self._searched = True
        bottom = self.top + self.rows
        if both or self._cursor is None or not self.top <= self._cursor < bottom:
            start = min(self.seen.stop, bottom) if back else self.top
        else:
            start = self._cursor if back else self._cursor + 1
        self._reader.search(Search(text, start if line is None else line, back, both))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """``esc`` belongs to the screen unless there is something to leave here."""
        if action == "leave":
            return bool(self.query_one(Input).display or self._needle or (self.seen and self.seen.busy))
        return True

    def action_leave(self) -> None:
        self._needle, self._cursor = "", None
        if self.query_one(Input).display:
            self._close_find()
        elif self._reader is not None:
            self._reader.cancel()
        self._moved()

    def _close_find(self) -> None:
        find = self.query_one(Input)
        find.display = False
        self.query_one("#state", Line).display = True
        self.focus()

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-3)

    def on_mouse_scroll_down(self) -> None:
        self.action_move(3)

    def action_pager(self) -> None:
        if self._text is None and (self.seen is None or not self.seen.there):
            self.app.tell("There is no file yet.")
            return
        pager = shlex.split(os.environ.get("PAGER", "")) or ["less"]
        if Path(pager[0]).name == "less" and self._marks == "log":
            pager.append("+G")
        argv = pager if self.path is None else [*pager, str(self.path)]
        try:
            with self.app.suspend(), _interrupts_ignored():
                subprocess.run(argv, input=self._text and self._text.encode(), check=False)
        except SuspendNotSupported:
            self.app.tell("This terminal cannot be handed to another program.", True)
        except OSError as error:
            self.app.tell(f"{pager[0]} cannot be started ({error.strerror}): set $PAGER.", True)
        self.app.refresh()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """ctrl+c in the pager is the pager's. (A handler, unlike being ignored, is not handed on to it.)"""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
