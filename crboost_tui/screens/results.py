"""Results of a job or of one series, over the whole terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.screen import Screen

from crboost_tui.actions import Action, bindings
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.results_view import ACTIONS as VIEW_ACTIONS
from crboost_tui.widgets.results_view import ResultsView

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

ACTIONS = (
    *VIEW_ACTIONS,
    Action("focused.back", "escape,q", "back", "to the series of the job, then to where it was opened"),
    Action("app.command_palette", "ctrl+p", "all", "every action by name", footer=False),
    Action("app.help", "question_mark", "help", "this page"),
)
EXTRA_KEYS = (Action("focused.view", "tab", "view", ""),)


class ResultsScreen(Screen[None]):
    """``key``: a series (or cohort) of the job, None for all."""

    app: CrboostApp
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS + EXTRA_KEYS)
    DEFAULT_CSS = """
    ResultsScreen #head { background: $panel; }
    """

    def __init__(self, root: Path, job: str, key: str | None = None) -> None:
        super().__init__()
        self.root = root
        self.job = job
        self.key = key

    @property
    def view(self) -> ResultsView:
        return self.query_one(ResultsView)

    def compose(self) -> ComposeResult:
        yield Line(id="head")
        yield ResultsView(self.root)
        yield Keys(self.ACTIONS, utf8=self.app.utf8)

    def on_mount(self) -> None:
        self.query_one("#head", Line).say(f" {self.root.name}", "results ")
        self.view.show(self.job, self.key)
        self.view.focus()

    def on_results_view_loaded(self, event: ResultsView.Loaded) -> None:
        results = event.results
        head = Text(" ")
        head.append(results.project, "bold")
        if results.rehearsal and "REHEARSAL" not in results.project:
            head.append("  REHEARSAL", self.app.colour("rehearsal"))
        head.append(f"   {results.title}")
        self.query_one("#head", Line).say(head, "results ")

    def on_results_view_left(self) -> None:
        self.dismiss()
