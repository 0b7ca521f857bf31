"""What Textual draws and sends without need, and does in one go.

Its partial updates are cut at both ends: what it sends of a line begins where the change begins. Textual 8.2.8 sends a
changed piece of a line from the left edge of its widget on (``ChopsUpdate.render_segments`` crops the right end alone),
which makes a wide line cost ten times what changed in it, on every key and over every slow line.

It draws what nobody sees: while updates are held back (``App.batch_update``) everything is drawn and thrown away, which
on the way to the first frame is the whole screen; and a screen that has just been laid out and drawn hears that it has
a size now, and does both again.

A screen that is opened gets a dozen messages, and takes them all before a key or another widget has its turn.

And the screen under a window is tinted anew in every piece of its lines, though these have a handful of styles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from rich.console import Console
from rich.control import Control
from rich.segment import Segment
from rich.style import Style
from textual import _compositor, events
from textual.color import Color
from textual.message import Message
from textual.renderables.background_screen import BackgroundScreen
from textual.screen import Screen


def _render_segments(self: _compositor.ChopsUpdate, console: Console) -> str:
    """As the method that it replaces, but for what lies left of each span."""
    sent: list[str] = []
    for y, first, last in self.spans:
        for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
            left, right = max(x, first), min(end, last)
            if strip is not None and left < right:
                sent.append(Control.move_to(left, y).segment.text)
                sent.append(strip.crop(left - x, right - x).render(console))
    return "".join(sent)


_draw, _next, _resized = Screen._compositor_refresh, Screen._get_message, Screen._on_resize
_tint = BackgroundScreen.process_segments


def _draw_unless_held_back(self: Screen[Any]) -> None:
    """What is to be drawn stays known to the compositor, until the end of the batch draws it."""
    if not self.app._batch_count:
        _draw(self)


async def _resize_unless_laid_out(self: Screen[Any], event: events.Resize) -> None:
    if all(screen._compositor.size == event.size for screen in (self, *self.app._background_screens)):
        event.stop()
    else:
        await _resized(self, event)


async def _get_message_in_turn(self: Any) -> Message:
    if self._pending_message is None and not self._message_queue.empty():
        await asyncio.sleep(0)
    message: Message = await _next(self)
    return message


@lru_cache(4096)
def _tinted(style: Style | None, colour: Color) -> Style:
    (segment,) = _tint([Segment(" ", style)], colour)
    assert segment.style is not None
    return segment.style


def _tint_each_style_once(segments: Iterable[Segment], color: Color) -> Iterator[Segment]:
    for segment in segments:
        text, style, control = segment
        yield segment if control else Segment(text, _tinted(style, color))


def install() -> None:
    """Let every screen of this process draw and send only what changed."""
    screen: Any = Screen
    screen._compositor_refresh = _draw_unless_held_back
    screen._get_message = _get_message_in_turn
    screen._on_resize = _resize_unless_laid_out
    BackgroundScreen.process_segments = staticmethod(_tint_each_style_once)  # type: ignore[method-assign]
    _compositor.ChopsUpdate.render_segments = _render_segments  # type: ignore[method-assign]
