"""All tasks of a job: how each one stands, when it ran, and why it did not succeed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crboost_tui.actions import Action, bindings
from crboost_tui.terminal import cell_width, fit, glyph, hue, shorten
from crboost_tui.widgets.line_list import LineList, Piece
from crboost_tui.workspace_data import TaskRow

TASK_ACTIONS = (
    Action("screen.open_task", "enter", "open", "the task under the cursor: log, script, numbers"),
    Action("screen.retry_tasks", "r", "retry", "run the marked tasks again, or the one under the cursor"),
    Action("screen.mark", "space", "mark", "mark this task"),
    Action("screen.only_failed", "f", "failed", "only what failed, was stopped, is stale or needs you"),
    Action("screen.find_task", "slash", "find", "only tilt series whose name has these letters"),
    Action("screen.sort_tasks", "o", "sort", "by series, by state, by start, by time taken"),
)
"""While the list of tasks has the keys."""
ORDERS = ("series", "state", "started", "time taken")
"""What the list can be sorted by."""
_RANK = "!x?#sb>qo.0+-"
"""States in the order in which they want attention."""


class TaskList(LineList[TaskRow]):
    """``all_rows`` are the tasks, ``rows`` those that are shown."""

    BINDINGS = bindings(TASK_ACTIONS)

    def __init__(self, colours: Callable[[str], str], *, utf8: bool = True, id: str | None = None) -> None:
        super().__init__(colours, utf8=utf8, id=id)
        self.all_rows: tuple[TaskRow, ...] = ()
        self.marked: frozenset[str] = frozenset()
        self.only_failed = False
        self.needle = ""
        self.order = ORDERS[0]
        self._name_cells = 10

    def take(self, rows: Sequence[TaskRow]) -> None:
        """The tasks as they are now."""
        self.all_rows = tuple(rows)
        self.marked &= frozenset(row.key for row in rows)
        self.sift()

    def sift(self) -> None:
        """Filter and sort again; the cursor stays with its task."""
        at = self.selected
        found = [
            row
            for row in self.all_rows
            if (not self.only_failed or row.state in "x!?s#") and self.needle.lower() in row.name.lower()
        ]
        match self.order:
            case "state":
                found.sort(key=lambda row: _RANK.find(row.state))
            case "started":
                found.sort(key=lambda row: -row.began)
            case "time taken":
                found.sort(key=lambda row: -row.seconds)
        self._name_cells = max([6, *(len(row.name) for row in self.all_rows)])
        if at is not None:
            self.cursor = next((index for index, row in enumerate(found) if row.key == at.key), self.cursor)
        self.show(found, ["Nothing failed here." if self.only_failed and self.all_rows else "No task yet."])

    def toggle_mark(self) -> None:
        if self.selected is not None:
            self.marked ^= {self.selected.key}
            self._line_changed(self.cursor)
            self.action_move(1)

    def chosen(self) -> list[str]:
        """The marked tasks, else the one under the cursor."""
        if self.marked:
            return [row.key for row in self.all_rows if row.key in self.marked]
        return [self.selected.key] if self.selected is not None else []

    def heading(self, width: int) -> str:
        name, times, slurm = self._columns(width)
        text = f"     {fit('series', name)}  try"
        if times:
            text += f"  {'started':>11}  {'took':>9}"
        if slurm:
            text += f"  {'Slurm':>11}"
        return text + "  why"

    def pieces(self, row: TaskRow, width: int) -> list[Piece]:
        name, times, slurm = self._columns(width)
        facts = f"  {row.attempt or '':>3}"
        if times:
            facts += f"  {row.started:>11}  {row.took:>9}"
        if slurm:
            facts += f"  {row.slurm:>11}"
        left = width - name - 5 - cell_width(facts) - 3
        words = f"  {shorten(row.words, left)}" if left > 4 else ""
        marked = row.key in self.marked
        found: list[Piece] = [
            (" * " if marked else "   ", "need" if marked else ""),
            (f"{glyph(row.state, True)} ", hue(row.state)),
            (fit(row.name, name), ""),
        ]
        if row.state in "x!?":
            return [*found, (facts, "quiet"), (words, "fail")]
        return [*found, (facts + words, "quiet")]

    def _columns(self, width: int) -> tuple[int, bool, bool]:
        """Cells of the name, whether times, and whether Slurm's numbers fit."""
        name = min(self._name_cells, 14 if width < 70 else 24)
        times = width >= name + 48
        slurm = any(row.slurm for row in self.all_rows) and width >= name + 72
        return name, times, slurm
