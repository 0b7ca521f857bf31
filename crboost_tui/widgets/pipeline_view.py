"""The jobs of a pipeline with their branches: how each one stands, one line a job."""

from __future__ import annotations

from collections.abc import Sequence

from crboost_tui.actions import Action, bindings
from crboost_tui.terminal import cell_width, glyph, hue, shorten
from crboost_tui.widgets.line_list import LineList, Piece
from crboost_tui.workspace_data import JobLine

PIPELINE_ACTIONS = (
    Action("screen.into", "enter,right", "open", "into the job under the cursor"),
    Action("screen.add", "a", "add", "add a job after this one: a list of what can be added"),
    Action("screen.copy_job", "c", "copy", "a second instance of this job, with a name of its own"),
    Action("screen.remove", "D", "remove", "take this job out of the pipeline (asks first)"),
    Action("screen.find_job", "slash", "find", "go to a job: type a part of its name", footer=False),
)
"""While the pipeline has the keys."""


class PipelineView(LineList[JobLine]):
    """A mark at the end of a line: ``*`` unsaved edits, ``!`` what must be corrected before it can run."""

    BINDINGS = bindings(PIPELINE_ACTIONS)

    def can_stop(self, row: JobLine) -> bool:
        return bool(row.id)

    def show_jobs(self, lines: Sequence[JobLine], at: str, nothing: Sequence[str]) -> None:
        """The lines with the cursor on the job ``at``."""
        before = self.cursor
        self.cursor = next((index for index, line in enumerate(lines) if line.id == at), before)
        if before != self.cursor:
            self._line_changed(before)
            self._line_changed(self.cursor)
        self.show(lines, nothing)

    def pieces(self, row: JobLine, width: int) -> list[Piece]:
        if not row.id:
            return [(f" {row.name}", "quiet")]
        room = max(8, width - 3)
        right: list[Piece] = []
        if row.failed:
            right.append((f" {glyph('x', True)}{row.failed}", "fail"))
        if row.total:
            right.append((f" {f'{row.done}/{row.total}':>5}", "quiet" if row.state in "+0." else ""))
        if room >= 24:
            right.append((f"{row.share:>5.0%}" if row.share is not None else " " * 5, "run"))
        marks: list[Piece] = [("*" if row.edited else " ", "need"), ("!" if row.errors else " ", "need")]
        left = max(6, room - sum(cell_width(text) for text, _ in right) - 4)
        name = shorten(row.name, left - len(row.branch))
        own = shorten(f"  {row.own}", left - len(row.branch) - cell_width(name)) if row.own else ""
        fill = left - len(row.branch) - cell_width(name + own)
        state: Piece = (f"{glyph(row.state, True)} " if row.state else "  ", hue(row.state))
        return [
            (" ", ""), state, (row.branch, "quiet"), (name, "" if row.state else "quiet"), (own, "quiet"),
            (" " * fill, ""), *right, *marks,
        ]  # fmt: skip
