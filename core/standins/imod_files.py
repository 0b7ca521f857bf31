"""IMOD's alignment of a synthetic session, as IMOD itself would write it: ``.xf``, ``.tlt`` and ``.rawtlt``.

IMOD's transform of a view takes a point of the image, in pixels from its centre, to the aligned stack: p' = A p + d.
There the tilt axis is vertical and the specimen's centre lies in the middle. A turns the image by minus the axis angle;
the specimen's centre is at the image's shift s, so that A s + d = 0. Views are in the order of their angles.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from core.errors import CrboostError
from core.files import read_text, replace_text, write_error


def write_imod_files(truth: Path, folder: Path, *, turn_shifts: bool = False) -> None:
    """Write ``<series>.xf``, ``.tlt`` and ``.rawtlt`` of every series of a ``session.json`` into ``folder``.

    ``turn_shifts``: with the shifts' sign turned, which is wrong. Raises :class:`CrboostError`.
    """
    try:
        known = json.loads(read_text(truth))
        folder.mkdir(parents=True, exist_ok=True)
        for name, series in known["series"].items():
            axis = math.radians(known["axis_deg"])
            c, s = math.cos(axis), math.sin(axis)
            sign = 1 if turn_shifts else -1
            lines, angles = [], []
            for tilt in sorted(series["tilts"].values(), key=lambda tilt: tilt["angle_deg"]):
                x, y = tilt["shift_px"]
                dx, dy = sign * (c * x + s * y), sign * (-s * x + c * y)
                lines.append(f"{c:12.7f}{s:12.7f}{-s:12.7f}{c:12.7f}{dx:12.3f}{dy:12.3f}\n")
                angles.append(f"{tilt['angle_deg']:7.2f}\n")
            replace_text(folder / f"{name}.xf", "".join(lines))
            for end in ("tlt", "rawtlt"):
                replace_text(folder / f"{name}.{end}", "".join(angles))
    except (ValueError, KeyError, TypeError) as error:
        raise CrboostError("is not the truth of a synthetic session.", truth) from error
    except OSError as error:
        raise write_error(folder, error) from error
