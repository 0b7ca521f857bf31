"""Waiting for what a thread brings: never a bare sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot


async def until(pilot: Pilot[Any], condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while True:
        await pilot.pause()
        if condition():
            return
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.02)


def told(app: Any) -> list[str]:
    """The sentences in the corner."""
    return [notice.message for notice in app._notifications]


def text_of(app: Any) -> list[str]:
    """What the terminal shows, line by line."""
    from rich.segment import Segment

    lines = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip if isinstance(segment, Segment)) for strip in lines]
