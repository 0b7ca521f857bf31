"""A screen with nothing but a form, as the workspace shows one: it keeps what is edited and makes the form again.

``python -m tests.tui.form_app ROOT JOB`` shows the parameters of a job.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from textual.app import ComposeResult
from textual.events import Mount
from textual.screen import Screen

from core.engine.plan import read_sources
from crboost_tui.app import CrboostApp
from crboost_tui.form import Edits, Form, FormField
from crboost_tui.forms import parameter_form
from crboost_tui.widgets.form_view import FormView
from tests.synthetic import DATA

Maker = Callable[[Edits], Form]


class FormScreen(Screen[None]):
    def __init__(self, make: Maker) -> None:
        super().__init__()
        self.make = make
        self.edits: dict[str, str | None] = {}
        self.asked: list[FormField | str] = []

    def compose(self) -> ComposeResult:
        yield FormView(id="form")

    def on_mount(self) -> None:
        self.view.show(self.make(self.edits))
        self.view.focus()

    @property
    def view(self) -> FormView:
        return self.query_one(FormView)

    def on_form_view_typed(self, message: FormView.Typed) -> None:
        self.view.show(self.make({**self.edits, **message.changes}))

    def on_form_view_edited(self, message: FormView.Edited) -> None:
        self.edits.update(message.changes)
        self.view.show(self.make(self.edits))

    def on_form_view_compare(self) -> None:
        self.asked.append("compare")

    def on_form_view_per_series(self, message: FormView.PerSeries) -> None:
        self.asked.append(message.field)


class FormApp(CrboostApp):
    def __init__(self, make: Maker, *, utf8: bool = True) -> None:
        super().__init__(utf8=utf8)
        self.make = make

    def on_mount(self, event: Mount | None = None) -> None:
        if event is not None:
            event.prevent_default()  # no list of projects
        self.push_screen(self.first_screen())

    def first_screen(self) -> FormScreen:
        return FormScreen(self.make)


if __name__ == "__main__":
    sources = read_sources(Path(sys.argv[1]), DATA)
    FormApp(lambda edits: parameter_form(sources, sys.argv[2], edits)).run()
