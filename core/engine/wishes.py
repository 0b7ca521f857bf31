"""What people want of each task: the numbered requests of ``wanted.json``, reduced in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from core.jobs._task import COHORT
from core.project.wanted import Request


class Wish(Enum):
    """What should be so for a task. ``DRAIN``: nothing new, what runs may finish. ``HOLD``: nothing new for now."""

    NONE = "none"
    RUN = "run"
    HOLD = "hold"
    DRAIN = "drain"
    STOP = "stop"


_LASTING = {
    "run": Wish.RUN,
    "release": Wish.RUN,
    "hold": Wish.HOLD,
    "retry": Wish.RUN,
    "redo": Wish.RUN,
    "drain": Wish.DRAIN,
    "stop": Wish.STOP,
}
ONE_SHOT = ("retry", "redo")
PLANNING = ("run", "retry", "redo")


@dataclass(frozen=True, slots=True)
class Wishes:
    """The reduced requests. ``version``: the saved version of the project file that is to be planned from."""

    tasks: Mapping[str, Mapping[str, Wish]]
    last: int
    version: int

    def of(self, instance: str, key: str) -> Wish:
        """The wish for one task. A cohort task is wanted as soon as one series is wanted in its job."""
        wishes = self.tasks.get(instance, {})
        if key.startswith(COHORT):
            values = set(wishes.values())
            return next((wish for wish in (Wish.RUN, Wish.HOLD, Wish.DRAIN, Wish.STOP) if wish in values), Wish.NONE)
        return wishes.get(key, Wish.NONE)


def reduce_requests(
    requests: Sequence[Request], ancestors: Mapping[str, frozenset[str]], series: Sequence[str]
) -> Wishes:
    """``ancestors``: of each instance, itself included. Later requests win over earlier ones where they meet; a hold
    lasts until it is released, whatever is asked to run meanwhile."""
    tasks: dict[str, dict[str, Wish]] = {instance: {} for instance in ancestors}
    held: set[tuple[str, str]] = set()
    version = 0
    for request in requests:
        if request.kind in PLANNING:
            version = request.version or version
        wish = _LASTING.get(request.kind)
        if wish is None:
            continue
        for instance, key in selection(request, ancestors, series):
            if request.kind == "hold":
                held.add((instance, key))
            elif request.kind == "release":
                held.discard((instance, key))
            elif request.kind != "run" and key not in tasks[instance]:
                continue  # what nobody asked to run is neither stopped nor run again
            else:
                tasks[instance][key] = wish
    for instance, key in held:
        if tasks[instance].get(key) == Wish.RUN:
            tasks[instance][key] = Wish.HOLD
    return Wishes(tasks, requests[-1].number if requests else 0, version)


def selection(
    request: Request, ancestors: Mapping[str, frozenset[str]], series: Sequence[str]
) -> list[tuple[str, str]]:
    """The tasks (per series) that a request speaks of."""
    instances = list(ancestors)
    if request.to is not None:
        instances = [instance for instance in instances if instance in ancestors.get(request.to, frozenset())]
    if request.jobs is not None:
        wanted = set(request.jobs)
        if request.kind == "run":
            wanted = {name for job in request.jobs for name in ancestors.get(job, frozenset())}
        instances = [instance for instance in instances if instance in wanted]
    keys = list(series)
    if request.series is not None:
        chosen = set(request.series)
        keys = [key for key in series if key in chosen]
    return [(instance, key) for instance in instances for key in keys]
