"""Finished products that are made again go to RELION's Trash first; nothing is ever deleted."""

from __future__ import annotations

import os
from pathlib import Path

from core.cluster.protocol import DONE, AttemptPaths, read_state
from core.errors import CrboostError
from core.files import write_error
from core.jobs._task import MoveAside, Work
from core.project.layout import ProjectPaths


def move_products(paths: ProjectPaths, work: Work, attempt: AttemptPaths) -> Path | None:
    """Before a task that was once done runs again: its products move to ``Trash/<job folder>/<key>-<attempt>/``.

    What a failed attempt left is none of ours: the script itself moves that aside, also where an attempt failed after
    the products of an earlier one were moved. Returns the folder in the Trash,
    None where there was nothing to move.
    """
    earlier = [AttemptPaths(attempt.job_folder, attempt.key, number) for number in range(1, attempt.number)]
    done = [before.number for before in earlier if (state := read_state(before.state)) and state.state == DONE]
    if not done or any(before.script.exists() for before in earlier if before.number > done[-1]):
        return None
    target = paths.trash / attempt.job_folder.relative_to(paths.root) / f"{attempt.key}-{done[-1]}"
    moved = None
    places = [operation.path for operation in work.stage if isinstance(operation, MoveAside)]
    places += [path for product in work.products for path in product.paths]
    for place in map(Path, places):
        if not place.is_relative_to(attempt.job_folder) or not os.path.lexists(place):
            continue
        to = target / place.relative_to(attempt.job_folder)
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(to):
                raise CrboostError("is in the Trash already: move it away, then redo.", to)
            os.rename(place, to)
        except OSError as error:
            raise write_error(to, error) from error
        moved = target
    return moved
