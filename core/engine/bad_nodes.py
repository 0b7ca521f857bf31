"""Nodes on which tasks fail quickly one after another, while others do well: a broken driver eats a whole night."""

from __future__ import annotations

from collections.abc import Sequence

QUICK_SECONDS = 60.0
FAILURES = 3

Address = tuple[str, str]


class BadNodes:
    """``excluded``: nodes that are left out; given by what an earlier engine found."""

    def __init__(self, excluded: Sequence[str] = ()) -> None:
        self.excluded = list(excluded)
        self._failed: dict[str, dict[Address, None]] = {}
        self._good: set[str] = set()

    def succeeded(self, node: str) -> None:
        self._good.add(node)
        self._failed.pop(node, None)

    def failed(self, node: str, address: Address, seconds: float) -> list[Address]:
        """A task failed after ``seconds`` on ``node``. Where that makes the node a bad one, the tasks that failed there
        (each of another series, three at least): they deserve another node."""
        if not node or seconds > QUICK_SECONDS or node in self.excluded:
            return []
        mine = self._failed.setdefault(node, {})
        mine[address] = None
        if len({key for _, key in mine}) < FAILURES or not self._good - {node}:
            return []
        self.excluded.append(node)
        return list(self._failed.pop(node))

    def forgive(self) -> bool:
        """A person asks to try again: no node is left out. Whether any was."""
        any_was = bool(self.excluded)
        self.excluded.clear()
        self._failed.clear()
        return any_was
