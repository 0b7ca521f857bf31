"""The projects of this user: opened before, or below the site's project folders."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from core.project.layout import ProjectPaths
from crboost_tui.actions import Action, bindings
from crboost_tui.matrix import duration
from crboost_tui.recent import recent_projects
from crboost_tui.terminal import ASCII_TWINS, fit, glyph, hue, shorten
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.line import Line

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

ACTIONS = (
    Action("open", "enter", "open", "open the project under the cursor"),
    Action("back", "escape", "back", "back to the project that was open", footer=False),
    Action("app.command_palette", "ctrl+p", "all", "every action by name"),
    Action("app.help", "question_mark", "help", "this page"),
    Action("app.quit", "q", "quit", "leave; runs go on"),
)
REFRESH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Entry:
    """What ``summary.json`` of a project says. ``counts`` by state character."""

    root: Path
    name: str
    rehearsal: bool = False
    series: int = 0
    tasks: int = 0
    counts: tuple[tuple[str, int], ...] = ()
    outcome: str = ""
    updated: float = 0.0


def read_entry(root: Path) -> Entry:
    """A project as one small file tells it; only its folder where there is no such file yet."""
    try:
        data = json.loads(ProjectPaths(root).summary.read_text(encoding="utf-8"))
        counts = tuple((str(state), int(number)) for state, number in data["counts"].items())
        return Entry(
            root, str(data["name"]), bool(data["rehearsal"]), int(data["series"]), int(data["tasks"]), counts,
            str(data["outcome"]), float(data["updated"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Entry(root, root.name, outcome="not run yet")


class ProjectsScreen(Screen[None]):
    app: CrboostApp
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS)
    DEFAULT_CSS = """
    ProjectsScreen #head { background: $panel; }
    ProjectsScreen OptionList { height: 1fr; padding: 1 1; }
    ProjectsScreen #hint { padding: 0 1; color: $text-muted; }
    """

    def compose(self) -> ComposeResult:
        yield Line(id="head")
        yield OptionList(id="list")
        yield Line(id="hint")
        yield Keys(self.ACTIONS, utf8=self.app.utf8)

    def on_mount(self) -> None:
        self.query_one("#head", Line).say(Text(" crboost", "bold"), "projects ")
        self.query_one(OptionList).focus()
        self._timer = self.set_interval(REFRESH_SECONDS, self._read, pause=True)

    def on_screen_resume(self) -> None:
        self._read()
        self._timer.resume()

    def on_screen_suspend(self) -> None:
        """Under another screen it costs nothing: not a read, and not a byte to the terminal."""
        self._timer.pause()

    @work(thread=True, exclusive=True, group="read", exit_on_error=False)
    def _read(self) -> None:
        entries = [read_entry(root) for root in recent_projects()]
        self.app.call_from_thread(self._show, entries)

    def _show(self, entries: list[Entry]) -> None:
        if not self.is_current:
            return
        options = self.query_one(OptionList)
        at = options.highlighted
        rows = [Option(self._row(entry), id=str(entry.root)) for entry in entries]
        options.set_options(rows)
        if rows:
            options.highlighted = min(at or 0, len(rows) - 1)
        hint = "crboost new makes a project; make demo makes one to look at." if not rows else ""
        self.query_one("#hint", Line).say(hint)

    def _row(self, entry: Entry) -> Text:
        width = self.size.width - 6
        wide = width >= 100
        row = Text(no_wrap=True)
        row.append(fit(entry.name, 30 if wide else 22), "bold")
        counts = dict(entry.counts)
        share = (counts.get("+", 0) + counts.get("0", 0)) / entry.tasks if entry.tasks else 0.0
        cells = 12 if wide else 6
        row.append("  " + "█" * round(cells * share), self.app.colour("done"))
        row.append("░" * (cells - round(cells * share)) + f" {entry.series:>4} series  ", self.app.colour("quiet"))
        for state in (">", "q", "x", "!") if wide else (">", "x", "!"):
            number = counts.get(state, 0)
            row.append(f"{glyph(state, self.app.utf8)} {number:<4}", self.app.colour(hue(state) if number else "quiet"))
        row.append(fit(entry.outcome, 11), self.app.colour("quiet"))
        if entry.updated and wide:
            row.append(f"{duration(time.time() - entry.updated):>9} ago", self.app.colour("quiet"))
        if width - row.cell_len > 24:
            row.append("  " + shorten(str(entry.root), width - row.cell_len - 3), self.app.colour("quiet"))
        if not self.app.utf8:
            row.plain = row.plain.translate(ASCII_TWINS)
        return row

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if event.option.id is not None:
            self.app.open_project(Path(event.option.id))

    def action_back(self) -> None:
        if self.app.root is not None:
            self.app.open_project(self.app.root)

    def action_open(self) -> None:
        self.query_one(OptionList).action_select()
