"""Motion tracks of one movie, ``average/<name>_motion.json``: one track per node of the local motion grid.

Format: ``{"<x>_<y>": {"x": [...], "y": [...]}}`` (facts/warptools.md section 6, WarpLib Movie.cs).
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from core.errors import InputError
from core.files import read_text


def read_tracks(path: Path) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Tracks as points (x, y) in Å, one per frame. Raises :class:`InputError` where the file is cut off or is none."""
    text = read_text(path)
    try:
        data = json.loads(text)
    except ValueError as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise InputError("is not whole JSON: it was cut off or damaged.", path, line) from error
    if not isinstance(data, dict) or not data:
        raise InputError("holds no motion tracks.", path)
    tracks = []
    for name, track in data.items():
        xs, ys = (track.get("x"), track.get("y")) if isinstance(track, dict) else (None, None)
        if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
            raise InputError(f"has a track {name!r} without as many x as y.", path)
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in [*xs, *ys]):
            raise InputError(f"has a track {name!r} with something that is no number.", path)
        tracks.append(tuple((float(x), float(y)) for x, y in zip(xs, ys, strict=True)))
    return tuple(tracks)
