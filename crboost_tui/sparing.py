"""Textual's partial updates, cut at both ends: what it sends of a line begins where the change begins.

Textual 8.2.8 sends a changed piece of a line from the left edge of its widget on (``ChopsUpdate.render_segments`` crops
the right end alone), which makes a wide line cost ten times what changed in it, on every key and over every slow line.
"""

from __future__ import annotations

from rich.console import Console
from rich.control import Control
from textual import _compositor


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


def install() -> None:
    """Let every screen of this process send only what changed."""
    _compositor.ChopsUpdate.render_segments = _render_segments  # type: ignore[method-assign]
