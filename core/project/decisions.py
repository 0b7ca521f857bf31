"""Decisions that a whole project or acquisition group shares: the handedness, the calibrated tilt axis.

Made once, with their evidence, then frozen: everything downstream follows the one value. An automatic decision is
written by the engine to ``.crboost/decisions.json``; a person's stands in ``crboost.yaml`` and wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HANDEDNESS = "handedness"
"""Value ``flip`` (Warp AreAnglesInverted True, rlnTomoHand -1) or ``no_flip`` (rlnTomoHand +1)."""

TILT_AXIS = "tilt_axis"
"""``tilt_axis:<acquisition group>``, value in degrees."""


@dataclass(frozen=True, slots=True)
class Decision:
    """``ask``: the evidence is unclear and a person must decide. ``evidence`` is one sentence with its numbers."""

    key: str
    state: Literal["decided", "ask"]
    value: float | str | None
    evidence: str
    by: Literal["automatic", "you"] = "automatic"
    spread: float | None = None
    source: str = ""
    """Job instance whose results an automatic one rests on: when that is redone, it is made again."""


def tilt_axis_key(group: str) -> str:
    return f"{TILT_AXIS}:{group}"
