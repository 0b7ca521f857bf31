"""The jobs of RELION's pipeline, live: those of ours, of RELION's windows, and of a scheme that relion_schemer runs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from core.errors import CrboostError
from core.relion.listing import ListedJob, list_jobs
from core.relion.lock import PIPELINE_FILE
from crboost_tui.actions import Action, bindings
from crboost_tui.terminal import RELION_STATES, fit, glyph, hue
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.line import Line

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

POLL_SECONDS = 1.0

ACTIONS = (
    Action("back", "escape,left,g", "back", "back to the screen before; out of a project that RELION made: leave"),
    Action("app.command_palette", "ctrl+p", "all", "every action by name", footer=False),
    Action("app.help", "question_mark", "help", "this page"),
    Action("app.quit", "q", "quit", "leave; runs go on"),
)


class RelionScreen(Screen[None]):
    """``alone``: the project is RELION's, with no screen of ours below this one."""

    app: CrboostApp
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS)
    DEFAULT_CSS = """
    RelionScreen #head { background: $panel; }
    RelionScreen OptionList { height: 1fr; padding: 0 1; }
    RelionScreen #inputs { padding: 0 1; color: $text-muted; }
    """

    def __init__(self, root: Path, *, alone: bool = False) -> None:
        super().__init__()
        self.root = root
        self.alone = alone
        self.jobs: list[ListedJob] = []
        self._gone = threading.Event()

    def compose(self) -> ComposeResult:
        yield Line(id="head")
        yield OptionList(id="list")
        yield Line(id="inputs")
        yield Keys(self.ACTIONS, utf8=self.app.utf8)

    def on_mount(self) -> None:
        self.query_one("#head", Line).say(f" {self.root.name}", "reading ...")
        self.query_one(OptionList).focus()
        self._follow()

    def on_unmount(self) -> None:
        self._gone.set()

    def action_back(self) -> None:
        if self.alone:
            self.app.exit()
        else:
            self.dismiss()

    @work(thread=True, exclusive=True, group="follow", exit_on_error=False)
    def _follow(self) -> None:
        """Read the pipeline whenever it was written."""
        seen: tuple[int, int] | None = None
        while not self._gone.is_set():
            try:
                with open(self.root / PIPELINE_FILE, "rb") as stream:  # opened: what stat says may be old on NFS
                    stream.seek(0, 2)
                    size = stream.tell()
                stamp = ((self.root / PIPELINE_FILE).stat().st_mtime_ns, size)
                if stamp != seen:
                    seen = stamp
                    self.app.call_from_thread(self.show, list_jobs(self.root))
            except (CrboostError, OSError) as error:
                if self._gone.is_set():
                    return
                seen = None
                self.app.call_from_thread(self._complain, str(error))
            self._gone.wait(POLL_SECONDS)

    def _complain(self, sentence: str) -> None:
        self.query_one("#inputs", Line).say(Text(sentence, self.app.colour("fail")))

    def show(self, jobs: list[ListedJob]) -> None:
        self.jobs = jobs
        options = self.query_one(OptionList)
        at = options.highlighted
        options.set_options([Option(self._row(job)) for job in jobs])
        if jobs:
            options.highlighted = len(jobs) - 1 if at is None else min(at, len(jobs) - 1)
        running = sum(job.status == "Running" for job in jobs)
        head = Text(" ")
        head.append(self.root.name, "bold")
        head.append("   RELION's pipeline")
        self.query_one("#head", Line).say(head, f"{len(jobs)} jobs, {running} running ")
        if not jobs:
            self.query_one("#inputs", Line).say("RELION's pipeline has no jobs yet.")

    def _row(self, job: ListedJob) -> Text:
        state = RELION_STATES.get(job.status, "?")
        row = Text(no_wrap=True)
        row.append(f"{glyph(state, self.app.utf8)} ", self.app.colour(hue(state)))
        row.append(fit(job.name, 22), "bold")
        row.append("  " + fit(job.status, 10), self.app.colour(hue(state)))
        row.append("  " + fit(job.type.removeprefix("relion."), 24))
        row.append(job.alias.rpartition("/")[2], self.app.colour("quiet"))
        row.truncate(max(20, self.size.width - 4), overflow="ellipsis")
        return row

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_index < len(self.jobs):
            files = [file for file, _ in self.jobs[event.option_index].inputs]
            self.query_one("#inputs", Line).say(
                f"takes {', '.join(files)}" if files else "takes nothing of another job"
            )
