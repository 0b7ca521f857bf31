"""The monitor: tilt series by jobs, filling up live, and what needs a person."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.screen import Screen
from textual.worker import get_current_worker

from core.engine.events import Event, EventReader
from core.engine.states import MEANING, TaskState
from core.errors import CrboostError
from core.project.layout import ProjectPaths
from core.watch.mounts import hides_events, kind_of, read_mounts
from crboost_tui.actions import Action, bindings
from crboost_tui.data import config_dir
from crboost_tui.matrix import brief
from crboost_tui.picture import Picture, Told, draw, tell
from crboost_tui.terminal import ASCII_TWINS, cell_width, glyph, hue
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.matrix_view import MatrixView

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

POLL_SECONDS = 0.1
SLOW_POLL_SECONDS = 0.5
"""Where another machine's writes are not announced, each look goes to the server."""
AGE_SECONDS = 20.0
"""How old a picture may become: it says for how long the engine has run."""
EVENTS_KEPT = 200

ACTIONS = (
    Action("move(-1, 0)", "up,k", "up", "the tilt series above (home, end, page keys too)", footer=False),
    Action("move(1, 0)", "down,j", "down", "the tilt series below", footer=False),
    Action("move(0, -1)", "left", "left", "the job before", footer=False),
    Action("move(0, 1)", "right", "right", "the job after", footer=False),
    Action("open('script')", "enter", "open", "the task under the cursor: log, errors, script"),
    Action("open('log')", "l", "log", "its log, or the log of what failed in this series"),
    Action("retry", "r", "retry", "run again what failed or is stale in this series"),
    Action("run", "R", "run", "run everything; an engine is started if none lives"),
    Action("stop", "s", "stop", "stop all that runs (asks first)"),
    Action("hold", "h", "hold", "start no new tasks of this series"),
    Action("release", "H", "release", "end the hold of this series"),
    Action("exclude", "x", "exclude", "leave this series out of what follows (asks first)"),
    Action("next_failed", "f", "failed", "go to the next task that failed or needs you"),
    Action("relion", "g", "relion", "the jobs of RELION's pipeline, also those that are none of ours", footer=False),
    Action("app.projects", "p", "projects", "the list of projects"),
    Action("app.command_palette", "ctrl+p", "all", "every action by name", footer=False),
    Action("app.help", "question_mark", "help", "this page"),
    Action("app.quit", "q", "quit", "leave; the run goes on"),
)
EXTRA_KEYS = (
    Action("move(-1000000, 0)", "home", "first", ""),
    Action("move(1000000, 0)", "end", "last", ""),
    Action("page(-1)", "pageup", "page up", ""),
    Action("page(1)", "pagedown", "page down", ""),
)


class MonitorScreen(Screen[None]):
    app: CrboostApp
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS + EXTRA_KEYS)
    DEFAULT_CSS = """
    MonitorScreen #head { background: $panel; }
    MonitorScreen #told, MonitorScreen #needs { padding: 0 1; }
    MonitorScreen .event { padding: 0 1; color: $text-muted; }
    MonitorScreen #summary { background: $panel; padding: 0 1; }
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.picture: Picture | None = None
        self._gone = threading.Event()
        self._was = ""

    def compose(self) -> ComposeResult:
        yield Line(id="head")
        yield MatrixView(self.app.colour, utf8=self.app.utf8, id="matrix")
        yield Line(id="told")
        for index in range(6):
            yield Line(id=f"event{index}", classes="event")
        yield Line(id="needs")
        yield Line(id="summary")
        yield Keys(self.ACTIONS, utf8=self.app.utf8)

    def on_mount(self) -> None:
        self.query_one("#head", Line).say(f" {self.root.name}", "reading ...")
        self.query_one(MatrixView).focus()
        self._follow()

    def on_unmount(self) -> None:
        self._gone.set()

    def on_resize(self) -> None:
        shown = self._event_lines()
        for index in range(6):
            self.query_one(f"#event{index}", Line).display = index < shown
        if self.picture is not None:
            self._say_events(self.picture)
            self._say_summary(self.picture)

    def _event_lines(self) -> int:
        height = self.app.size.height
        return 1 if height < 20 else 3 if height < 36 else 6

    @work(thread=True, exclusive=True, group="follow", exit_on_error=False)
    def _follow(self) -> None:
        """Follow the project and hand pictures to the screen, however slow the disk is."""
        from core.engine.reading import StatusFollower

        worker = get_current_worker()
        told: deque[Told] = deque(maxlen=EVENTS_KEPT)
        live: StatusFollower | None = None
        pause = SLOW_POLL_SECONDS if hides_events(kind_of(self.root, read_mounts())) else POLL_SECONDS
        engine = problem = ""
        drawn = -AGE_SECONDS
        while not worker.is_cancelled and not self._gone.is_set():
            began = time.monotonic()
            try:
                if live is None:
                    live = StatusFollower(self.root)
                    told.extend(tell(_recent(self.root, live.status.event), live.status))
                    drawn = -AGE_SECONDS
                events = live.update()
                told.extend(tell(events, live.status))
                if events or live.status.engine.state != engine or began - drawn >= AGE_SECONDS:
                    engine, problem, drawn = live.status.engine.state, "", began
                    self.app.call_from_thread(self.show, draw(live.status, tuple(told)[-6:]))
            except Exception as error:
                if self._gone.is_set():
                    return
                sentence = str(error) if isinstance(error, CrboostError) else f"{type(error).__name__}: {error}"
                if sentence != problem:
                    problem = sentence
                    self.app.call_from_thread(self.complain, sentence)
                live = None
            self._gone.wait(max(pause if live else 1.0, 4 * (time.monotonic() - began)))

    def complain(self, sentence: str) -> None:
        """Say what keeps the project from being read; the last picture stays."""
        self._was = ""
        self.query_one("#told", Line).say(Text(sentence, self.app.colour("fail")))

    def show(self, picture: Picture) -> None:
        if picture == self.picture and picture.outcome == self._was:
            return
        self.picture = picture
        self.query_one(MatrixView).show(picture)
        self._say_head(picture)
        self._say_events(picture)
        self._say_needs(picture)
        self._say_summary(picture)
        self.app.say_outside(picture, self._was)
        self._was = picture.outcome

    def on_matrix_view_moved(self) -> None:
        row = self.query_one(MatrixView).selected
        line = self.query_one("#told", Line)
        if row is None or self.picture is None:
            line.say("Nothing has run yet. R runs it." if self.picture else "")
            return
        column = self.query_one(MatrixView).column
        state = row.cells[column] if column < len(row.cells) else ""
        text = Text()
        text.append(row.name, "bold")
        if self.picture.jobs:
            job = self.picture.jobs[column]
            meaning = MEANING[TaskState(state)] if state in {each.value for each in TaskState} else ""
            text.append(f"  {job.title}: ")
            text.append(meaning, self.app.colour(hue(state)))
            if state == TaskState.QUEUED.value and self.picture.waits[column]:
                text.append(f": {brief(self.picture.waits[column])}")
        else:
            text.append("  Nothing has run yet. R runs it.")
        if row.trouble and row.now:
            text.append(f"   {row.now}", self.app.colour("fail"))
        self.query_one("#told", Line).say(self._text(text))

    def on_matrix_view_opened(self) -> None:
        self.action_open("script")

    def _say_head(self, picture: Picture) -> None:
        head = Text(" ")
        head.append(picture.name, "bold")
        if picture.rehearsal and "REHEARSAL" not in picture.name:
            head.append("  REHEARSAL", self.app.colour("rehearsal"))
        if picture.trouble:
            head.append("  ? Slurm does not answer", self.app.colour("fail"))
        head.append(f"   {picture.engine}", "" if picture.outcome == "running" else self.app.colour("quiet"))
        right = Text()
        for state, number in picture.counts:
            style = self.app.colour(hue(state)) if number else self.app.colour("quiet")
            right.append(f"{glyph(state, self.app.utf8)} {number}  ", style)
        self.query_one("#head", Line).say(self._text(head), right)

    def _say_summary(self, picture: Picture) -> None:
        """How far, how fast, and what it waits for; the pace goes first where there is no room for all."""
        waiting = f"waiting: {picture.waiting}" if picture.waiting else ""
        waiting = f"? {picture.trouble}" if picture.trouble else waiting
        said = "   ".join(part for part in (picture.summary, picture.pace, waiting) if part)
        if waiting and cell_width(said) > self.app.size.width - 2:
            said = f"{picture.summary}   {waiting}"
        self.query_one("#summary", Line).say(self._plain(said))

    def _say_needs(self, picture: Picture) -> None:
        line = self.query_one("#needs", Line)
        line.display = bool(picture.needs)
        if picture.needs:
            more = f"   and {len(picture.needs) - 1} more: crboost status" if len(picture.needs) > 1 else ""
            line.say(Text(self._plain(f"! {picture.needs[0]}"), self.app.colour("need")), more)

    def _say_events(self, picture: Picture) -> None:
        shown = self._event_lines()
        told = picture.events[-shown:]
        for index in range(6):
            line = self.query_one(f"#event{index}", Line)
            if index >= len(told):
                line.say("")
                continue
            event = told[index]
            text = Text(f"{event.clock}  ")
            text.append(glyph(event.state, self.app.utf8) if event.state else " ", self.app.colour(hue(event.state)))
            text.append(f"  {event.sentence}")
            line.say(self._text(text))

    def _text(self, text: Text) -> Text:
        if not self.app.utf8:
            text.plain = text.plain.translate(ASCII_TWINS)
        return text

    def _plain(self, text: str) -> str:
        return text if self.app.utf8 else text.translate(ASCII_TWINS)

    def action_move(self, rows: int, columns: int) -> None:
        self.query_one(MatrixView).move(rows, columns)

    def action_page(self, pages: int) -> None:
        matrix = self.query_one(MatrixView)
        matrix.move(pages * max(1, matrix.size.height - 2))

    def action_next_failed(self) -> None:
        matrix = self.query_one(MatrixView)
        if self.picture is None:
            return
        size = len(self.picture.rows)
        for step in range(1, size + 1):
            index = (matrix.row + step) % size
            row = self.picture.rows[index]
            if row.trouble:
                matrix.go(index, _trouble_column(row.cells))
                return
        needs = self.picture.needs
        self.app.tell("What needs you stands below the events." if needs else "Nothing failed.")

    def action_open(self, part: str) -> None:
        matrix = self.query_one(MatrixView)
        row = matrix.selected
        if row is None or self.picture is None or not self.picture.jobs:
            self.app.tell("There is no task yet.")
            return
        column = matrix.column
        if not row.cells[column] or (part == "log" and row.trouble and row.cells[column] in ("b", ".")):
            column = _trouble_column(row.cells)
        from crboost_tui.screens.task import TaskScreen

        ran = row.cells[column] not in (TaskState.WAITING.value, TaskState.READY.value, TaskState.BLOCKED.value)
        opened = "log" if ran else part
        cause = row.now if row.trouble else ""
        if row.cells[column] == TaskState.QUEUED.value:
            cause = self.picture.waits[column]
        self.app.push_screen(
            TaskScreen(self.root, self.picture.jobs[column].id, row.key, row.cells[column], cause, opened)
        )

    def action_relion(self) -> None:
        from crboost_tui.screens.relion import RelionScreen

        self.app.push_screen(RelionScreen(self.root))

    def action_retry(self) -> None:
        row = self.query_one(MatrixView).selected
        again = {TaskState.FAILED.value, TaskState.STALE.value, TaskState.STOPPED.value, TaskState.BLOCKED.value}
        if row is None or not again & set(row.cells):
            self.app.tell("Nothing of this series failed, was stopped or is stale.")
            return
        self._ask_for(
            "retry",
            lambda requests: requests.retry(self.root, config_dir(), series=[row.key]),
            f"{row.name}: retry asked for",
        )

    def action_run(self) -> None:
        self._ask_for("run", lambda requests: requests.run(self.root, config_dir()), "run asked for")

    def action_hold(self) -> None:
        self._series_request("hold", "held: nothing new starts")

    def action_release(self) -> None:
        self._series_request("release", "released")

    def action_stop(self) -> None:
        live = sum(n for state, n in self.picture.counts if state in (">", "q")) if self.picture else 0
        if not live:
            self.app.tell("Nothing runs or waits in the queue.")
            return
        from crboost_tui.screens.ask import AskScreen

        impact = f"{live} running or queued tasks end now and will begin again from their start. Finished ones stay."

        def answered(yes: bool | None) -> None:
            if yes:
                self._ask_for("stop", lambda requests: requests.ask(self.root, "stop"), "stop asked for")

        self.app.push_screen(AskScreen("Stop all that runs?", impact), answered)

    def action_exclude(self) -> None:
        row = self.query_one(MatrixView).selected
        if row is None or row.key.startswith("@"):
            self.app.tell("Only a tilt series can be excluded.")
            return
        from crboost_tui.screens.ask import AskScreen

        done = sum(state == TaskState.DONE.value for state in row.cells)
        impact = f"Its {done} finished steps stay on disk; it takes no part in what follows. crboost include undoes it."

        def answered(yes: bool | None) -> None:
            if yes:
                self._ask_for(
                    "exclude",
                    lambda requests: requests.ask(self.root, "exclude", series=[row.key]),
                    f"{row.name} excluded",
                )

        self.app.push_screen(AskScreen(f"Exclude {row.name}?", impact), answered)

    def _series_request(self, name: str, said: str) -> None:
        row = self.query_one(MatrixView).selected
        if row is None or row.key.startswith("@"):
            self.app.tell("Choose a tilt series first.")
            return
        self._ask_for(name, lambda requests: requests.ask(self.root, name, series=[row.key]), f"{row.name} {said}")

    @work(thread=True, group="requests", exit_on_error=False)
    def _ask_for(self, name: str, call: Callable[[object], object], said: str) -> None:
        """Write a request and see that an engine lives, off the screen's loop."""
        from core.engine import requests
        from core.engine.start import ensure_engine

        try:
            call(requests)
            engine = ensure_engine(self.root, config_dir())
        except CrboostError as error:
            self.app.call_from_thread(self.app.tell, str(error), True)
            return
        self.app.call_from_thread(self.app.tell, f"{said}. {engine}")


def _trouble_column(cells: tuple[str, ...]) -> int:
    """The first job of a row that failed or needs somebody, else its first task."""
    for wanted in ((TaskState.NEEDS_YOU.value, TaskState.FAILED.value, TaskState.UNKNOWN.value), None):
        for index, state in enumerate(cells):
            if state and (wanted is None or state in wanted):
                return index
    return 0


def _recent(root: Path, last: int) -> list[Event]:
    """The events before the status that was loaded, for the first look."""
    return [
        event
        for event in EventReader(ProjectPaths(root).events, max(0, last - EVENTS_KEPT)).read()
        if event.number <= last
    ]
