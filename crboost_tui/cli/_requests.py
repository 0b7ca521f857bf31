"""What the small request commands share: write the wish, see that an engine lives, say so."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import InputError
from crboost_tui.cli._common import comma_list, print_json, say

if TYPE_CHECKING:
    from core.engine.start import Host
    from core.project.wanted import Request

_SAID = {
    "run": "asked to run",
    "stop": "asked to stop",
    "drain": "asked to start nothing new; what runs may finish",
    "hold": "held: nothing new starts",
    "release": "released",
    "retry": "asked to run again what failed or is stale",
    "redo": "asked to run again; present products go to Trash",
    "exclude": "excluded",
    "include": "taken in again",
    "exclude_tilts": "excluded these tilts",
    "include_tilts": "took these tilts in again",
}


def serve(root: Path, options: argparse.Namespace, request: Request, host: Host | None = None) -> None:
    """Make sure that somebody acts on a request, and report it. ``host``: where a new engine lives."""
    from core.engine.start import ensure_engine, stop_now
    from crboost_tui.data import config_dir

    if request.kind in ("stop", "drain"):
        engine = stop_now(root, config_dir())
    else:
        engine = ensure_engine(root, config_dir(), host)
    if options.json:
        print_json({**asdict(request), "engine": engine})
        return
    what = _SAID[request.kind]
    jobs = f" {', '.join(request.jobs)}" if request.jobs else ""
    series = f" ({', '.join(request.series)})" if request.series else ""
    say(f"Request {request.number}: {what}{jobs}{series}. {engine}")


def tilt_choice(words: list[str]) -> dict[str, list[str]]:
    """``["TS_03:000,040"]`` as ``{"TS_03": ["000", "040"]}``."""
    found: dict[str, list[str]] = {}
    for word in words:
        series, colon, tilts = word.partition(":")
        if not colon or not comma_list(tilts):
            raise InputError(f"{word!r} names no tilts. The form is TS_03:000,040")
        found.setdefault(series, []).extend(comma_list(tilts))
    return found
