"""200 kills of engines and commands in rehearsed projects, each of which must end whole."""

from __future__ import annotations

import shutil
import sys
import traceback
from pathlib import Path

from tests.kills import check_whole, finish, kill_until_done
from tests.rehearsed import rehearsal

KILLS = 200
PER_PROJECT = 20


def survived(folder: Path) -> dict[str, float]:
    """Kills after which every task was done exactly once, no file was half written and RELION's files were readable.

    A project that is not whole in the end counts for none of its kills.
    """
    killed = good = seed = 0
    while killed < KILLS:
        seed += 1
        place = folder / str(seed)
        root = rehearsal(place, series=4, tilts=5)
        kills = kill_until_done(root, min(PER_PROJECT, KILLS - killed), seed)
        killed += kills
        try:
            finish(root)
            check_whole(root)
            good += kills
            shutil.rmtree(place)
        except Exception:
            kept = shutil.move(place, f"{folder}-{seed}")
            print(f"project {seed} did not survive; it is kept in {kept}", file=sys.stderr)
            traceback.print_exc()
    return {"kills_survived": good}
