"""To work on a colleague's project, which is only looked at until one asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from core.project.access import Access
from crboost_tui.actions import Action

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

WORK_ON = Action("work_on", "W", "work on it", "change a colleague's project: it opens read-only (asks first)", False)


def ask_to_work_on(app: CrboostApp, root: Path, access: Access | None, then: Callable[[], object]) -> None:
    """Ask where it can be written, then hold it for open until the app is left; else say why not."""
    from crboost_tui.screens.ask import AskScreen

    if access is None:
        app.tell("The project is being read.")
    elif not access.writable:
        app.tell(access.why_not(True), True)
    elif not access.owner:
        app.tell("This is your own project: you can change it.")
    elif root in app.working_on:
        app.tell(f"You work on {access.owner}'s project already.")
    else:

        def answered(yes: bool | None) -> None:
            if yes:
                app.working_on.add(root)
                then()

        question = f"This project belongs to {access.owner}. Change it all the same?"
        impact = f"What runs now stays {access.owner}'s; what you ask for runs under your name."
        app.push_screen(AskScreen(question, impact), answered)
