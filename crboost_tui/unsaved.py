"""What was typed and is not saved, with the way back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from crboost_tui.drafts import Draft, DraftKeeper


class Unsaved:
    """The edits of one project. Every change is kept in a draft."""

    def __init__(self, root: Path, tell: Callable[[str], None]) -> None:
        """``tell``: as for :class:`DraftKeeper`."""
        self.edits: dict[str, str | None] = {}
        self._before: list[dict[str, str | None]] = []
        self._keeper = DraftKeeper(root, tell)

    def __bool__(self) -> bool:
        return bool(self.edits)

    def __len__(self) -> int:
        return len(self.edits)

    @property
    def words(self) -> str:
        return "1 unsaved value" if len(self.edits) == 1 else f"{len(self.edits)} unsaved values"

    def become(self, edits: Mapping[str, str | None]) -> None:
        """Take in what was typed: these are all edits now."""
        if dict(edits) != self.edits:
            self._before.append(self.edits)
            self.edits = dict(edits)
            self._keeper.keep(self.edits)

    def typing(self, edits: Mapping[str, str | None]) -> None:
        """These would be all edits, were the open editor left now: the draft has them already."""
        self._keeper.keep(edits)

    def drop(self, names: Collection[str]) -> None:
        """Take these values out: they are as saved again."""
        self.become({name: text for name, text in self.edits.items() if name not in names})

    def drop_job(self, job: str) -> None:
        self.drop([name for name in self.edits if name.partition(".")[0] == job])

    def back(self) -> list[str]:
        """Take the last change back; the names of what it was about."""
        if not self._before:
            names = list(self.edits)
            self.clear()
            return names
        before = self._before.pop()
        names = [name for name in {**before, **self.edits} if before.get(name, "") != self.edits.get(name, "")]
        self.edits = before
        self._keeper.keep(self.edits)
        return names

    def clear(self) -> None:
        """They are saved, or given up."""
        self.edits, self._before = {}, []
        self._keeper.keep({})

    def restore(self, draft: Draft) -> None:
        """Take in a draft."""
        self.edits, self._before = dict(draft.edits), []
        self._keeper.keep(self.edits, draft)

    def refuse(self, draft: Draft) -> None:
        """Nobody wants that draft."""
        self._keeper.keep(self.edits, draft)

    def close(self) -> None:
        self._keeper.close()
