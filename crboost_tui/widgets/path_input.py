"""An entry of a form: a label, a line for a path, and what is there below it. What one types is completed from the disk
as a shell does it, with the choices in a list. Drawn line by line, without widgets inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from crboost_tui.import_files import Candidate, Completion, Wants, complete
from crboost_tui.probe import Probe
from crboost_tui.terminal import ASCII_TWINS, cell_width, fit, shorten
from crboost_tui.widgets.editor import LineEditor
from crboost_tui.widgets.line_list import Piece

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

LABEL = 16
"""Cells of the label."""
WIDEST = 110
SHOWN = 6
"""Choices that are shown at once."""


class PathInput(Widget, can_focus=True):
    """``wants``: what kind of files the choices are about.

    While it is ``satisfied`` (there is what it names), tab goes on to the next line instead of offering more.
    """

    app: CrboostApp
    COMPONENT_CLASSES = {"path--line", "path--focused"}
    DEFAULT_CSS = """
    PathInput { height: auto; margin-bottom: 1; }
    PathInput .path--line { background: $surface; color: $foreground; }
    PathInput .path--focused { background: $panel; color: $foreground; }
    """
    BINDINGS = [
        Binding("enter", "enter", "go on", show=False),
        Binding("tab", "complete", "complete", show=False),
        Binding("shift+tab", "leave(-1)", "line before", show=False),
        Binding("down", "choose(1)", "down", show=False),
        Binding("up", "choose(-1)", "up", show=False),
        Binding("escape", "close", "close the list", show=False),
    ]

    class Changed(Message):
        """Another text was typed."""

        def __init__(self, path_input: PathInput, text: str) -> None:
            super().__init__()
            self.path_input, self.text = path_input, text

        @property
        def control(self) -> PathInput:
            return self.path_input

    class Left(Message):
        """Enter (``step`` 0), or a key that leads to the line after (1) or before (-1)."""

        def __init__(self, path_input: PathInput, step: int) -> None:
            super().__init__()
            self.path_input, self.step = path_input, step

    def __init__(self, wants: Wants, label: str, *, placeholder: str = "", id: str | None = None) -> None:
        super().__init__(id=id)
        self.wants: Wants = wants
        self.label = label
        self.placeholder = placeholder
        self.satisfied = False
        self.candidates: tuple[Candidate, ...] = ()
        self.chosen = -1
        """The choice that enter takes; -1 for none."""
        self.told: tuple[Piece, ...] = ()
        self._editor = LineEditor("")
        self._offered = False
        """The text is a suggestion: what is typed now takes its place."""
        self._wanted = False
        """Tab was pressed before the disk had answered."""
        self._known: tuple[str, Completion] = ("", Completion(""))
        self._probe: Probe[str, Completion] = Probe(
            lambda text, cancelled: complete(text, self.wants, cancelled),
            lambda text, found: self._call(lambda: self._completed(text, found)),
        )

    def _call(self, then: Callable[[], None]) -> None:
        if self.is_attached:
            self.call_later(then)

    @property
    def text(self) -> str:
        return self._editor.text

    def fill(self, text: str, offered: bool = False) -> None:
        """Put a text there that nobody typed. ``offered``: the next letter begins a new one."""
        if text != self._editor.text:
            self._editor = LineEditor(text)
        self._offered = offered and bool(text)
        self._draw(0)

    @property
    def is_open(self) -> bool:
        return bool(self.candidates)

    def tell(self, *pieces: Piece) -> None:
        """What stands below the line."""
        if pieces != self.told:
            self.told = pieces
            self._draw(1 + self._shown)

    def close(self) -> None:
        """Without choices."""
        self._probe.forget()
        self._offer(())

    def satisfy(self, satisfied: bool) -> None:
        self.satisfied = satisfied
        if satisfied and self.is_open and self.chosen < 0:
            self._offer(())

    def take(self, text: str) -> None:
        """Put a choice into the line, and look on from there."""
        self._offer(())
        self._editor = LineEditor(text)
        self._changed()

    # ---- Keys

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return character is not None and character.isprintable()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.is_open if action == "close" else True

    async def _on_key(self, event: events.Key) -> None:
        before = self._editor.text
        if self._offered and event.character is not None and event.character.isprintable():
            self._editor = LineEditor("")
        if not self._editor.press(event.key, event.character):
            return
        event.stop()
        event.prevent_default()
        self._offered = False
        if self._editor.text != before:
            self._changed()
        else:
            self._draw(0)

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        if self._offered:
            self._editor = LineEditor("")
        self._offered = False
        self._editor.insert(event.text)
        self._changed()

    def on_click(self, event: events.Click) -> None:
        place = event.y - 1 + self._first
        if event.y > 0 and place < len(self.candidates) and event.y <= self._shown:
            self.take(self.candidates[place].text)

    def on_focus(self) -> None:
        self._draw(0)

    def on_blur(self) -> None:
        self.close()
        self._draw(0)

    def action_enter(self) -> None:
        if self.chosen >= 0:
            self.take(self.candidates[self.chosen].text)
        else:
            self.action_leave(0)

    def action_leave(self, step: int) -> None:
        self.close()
        self.post_message(self.Left(self, step))

    def action_close(self) -> None:
        self.close()

    def action_choose(self, step: int) -> None:
        """Up and down in the list; out of it, and without one, to the lines around."""
        if not self.candidates or (step < 0 and self.chosen < 0):
            self.action_leave(step)
            return
        self.chosen = max(-1, min(len(self.candidates) - 1, self.chosen + step))
        self.refresh()

    def action_complete(self) -> None:
        """As far as all choices agree; on to the next line where there is nothing to complete."""
        text = self.text
        if self.chosen >= 0:
            self.take(self.candidates[self.chosen].text)
            return
        if not text.strip():
            self.action_leave(1)
            return
        if self._known[0] != text:
            self._wanted = True
            self._probe.ask(text)
            return
        found = self._known[1]
        if self.satisfied and (text.endswith("/") or found.common in (text, f"{text}/")):
            self.action_leave(1)
        elif found.common != text:
            self.take(found.common)
        elif len(found.candidates) > 1:
            self._offer(found.candidates)
            self.chosen = 0
            self.refresh()
        else:
            self.action_leave(1)

    def _changed(self) -> None:
        self.satisfied = False
        self._draw(0)
        self._probe.ask(self.text)
        self.post_message(self.Changed(self, self.text))

    def _completed(self, text: str, found: Completion) -> None:
        if text != self.text or not self.has_focus:
            return
        self._known = (text, found)
        if self._wanted:
            self._wanted = False
            self.action_complete()
            return
        exact = len(found.candidates) == 1 and found.candidates[0].text.rstrip("/") == text.rstrip("/")
        self._offer(() if exact or self.satisfied else found.candidates)

    def _offer(self, candidates: tuple[Candidate, ...]) -> None:
        """Show these choices."""
        if candidates == self.candidates and self.chosen < 0:
            return
        shown = self._shown
        self.candidates, self.chosen = candidates, -1
        self.refresh(layout=self._shown != shown)

    # ---- Drawing

    @property
    def _shown(self) -> int:
        return min(SHOWN, len(self.candidates))

    @property
    def _first(self) -> int:
        """The first of the choices that are shown."""
        return max(0, min(self.chosen - SHOWN + 2, len(self.candidates) - SHOWN))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return 2 + self._shown

    def _draw(self, y: int) -> None:
        self.refresh(Region(0, y, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        room = max(4, min(width - LABEL, WIDEST))
        if y == 0:
            segments = [self._segment(fit(self.label, LABEL), "quiet"), *self._line(room)]
        elif y <= self._shown:
            segments = [self._segment(" " * LABEL), *self._choice(self._first + y - 1, y == self._shown, room)]
        else:
            left, segments = room, [self._segment(" " * LABEL)]
            for text, how in self.told:
                segments.append(self._segment(shorten(text, left), how))
                left -= cell_width(segments[-1].text)
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _line(self, room: int) -> list[Segment]:
        base = self.get_component_rich_style("path--focused" if self.has_focus else "path--line")
        quiet = base + Style.parse(self.app.colour("quiet"))
        if not self.has_focus:
            text, style = (self.text, base) if self.text else (self.placeholder, quiet)
            return [Segment(self._plain(fit(text, room)), style)]
        before, under, after = self._editor.window(room)
        if not self.text:
            under, after = (fit(self.placeholder, room)[:1], fit(self.placeholder, room)[1:])
            return [Segment(self._plain(under), quiet + Style(reverse=True)), Segment(self._plain(after), quiet)]
        typed = base + Style(reverse=True) if self._offered else base
        return [
            Segment(self._plain(before), typed),
            Segment(self._plain(under), base + Style(reverse=not self._offered)),
            Segment(self._plain(after), base),
        ]

    def _choice(self, place: int, last: bool, room: int) -> list[Segment]:
        each = self.candidates[place]
        width = min(max(cell_width(one.name) for one in self.candidates) + 2, max(10, room - 20))
        below = len(self.candidates) - place - 1
        about = f"{below} more below" if last and below else each.about
        mark, how = (" ▸ ", "bold") if place == self.chosen else ("   ", "")
        return [
            self._segment(mark + fit(each.name, width), how),
            self._segment(shorten(about, max(0, room - width - 4)), "quiet"),
        ]

    def _segment(self, text: str, how: str = "") -> Segment:
        style = self.rich_style
        if how:
            style += Style.parse(how if how == "bold" else self.app.colour(how))
        return Segment(self._plain(text), style)

    def _plain(self, text: str) -> str:
        return text if self.app.utf8 else text.translate(ASCII_TWINS)
