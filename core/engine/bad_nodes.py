"""Nodes on which tasks fail quickly one after another, while others do well: a broken driver eats a whole night."""

from __future__ import annotations

from collections.abc import Sequence

QUICK_SECONDS = 60.0
FAILURES = 3
SETTLED_SECONDS = 5.0

Address = tuple[str, str]
"""Job instance and key of a task."""


class BadNodes:
    """``excluded``: nodes that are left out; given by what an earlier engine found."""

    def __init__(self, excluded: Sequence[str] = ()) -> None:
        self.excluded = list(excluded)
        self._failed: dict[tuple[str, str], dict[str, float]] = {}
        """Series that failed quickly, by node and job, and how long each took."""
        self._good: set[tuple[str, str]] = set()

    def succeeded(self, node: str, instance: str) -> dict[str, list[Address]]:
        """A task did well on ``node``. Other nodes that this makes bad ones, with the tasks that failed there."""
        self._good.add((node, instance))
        self._failed.pop((node, instance), None)
        others = [name for name, job in self._failed if job == instance]
        return {name: self._exclude(name) for name in others if self._is_bad(name, instance)}

    def failed(self, node: str, address: Address, seconds: float, elsewhere_seconds: float) -> list[Address]:
        """A task failed after ``seconds`` on ``node``, while on another node one of the same job has been running for
        ``elsewhere_seconds`` (0: none does). The tasks that deserve another node: all that failed quickly on this one
        where that makes it a bad one, and those that do so later."""
        instance, key = address
        if not node or seconds > QUICK_SECONDS:
            return []
        if node in self.excluded:
            return [address]
        mine = self._failed.setdefault((node, instance), {})
        mine[key] = seconds
        runs_on = elsewhere_seconds > 2 * max(mine.values()) + SETTLED_SECONDS
        return self._exclude(node) if self._is_bad(node, instance, runs_on) else []

    def _is_bad(self, node: str, instance: str, well: bool = False) -> bool:
        well = well or any(other != node and job == instance for other, job in self._good)
        return well and len(self._failed[(node, instance)]) >= FAILURES

    def _exclude(self, node: str) -> list[Address]:
        self.excluded.append(node)
        here = [where for where in self._failed if where[0] == node]
        return [(job, series) for _, job in here for series in self._failed.pop((node, job))]

    def suspects(self, node: str, instance: str) -> bool:
        """Whether tasks of this job have failed quickly on this node, and nowhere else."""
        return {name for name, job in self._failed if job == instance} == {node}

    def forgive(self) -> bool:
        """A person asks to try again: no node is left out. Whether any was."""
        any_was = bool(self.excluded)
        self.excluded.clear()
        self._failed.clear()
        return any_was
