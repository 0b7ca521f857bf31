"""The monitor: tilt series by jobs, filling up live, and what needs a person."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Input, Static

from core.engine.states import MEANING, TaskState
from core.errors import CrboostError
from core.project.access import Access, access_to
from crboost_tui.actions import Action, bindings
from crboost_tui.data import config_dir
from crboost_tui.following import EVENTS_SHOWN, Follower
from crboost_tui.matrix import brief
from crboost_tui.picture import Picture, PictureRow, newest
from crboost_tui.screens.work_on import WORK_ON, ask_to_work_on
from crboost_tui.shown import Choice, orders
from crboost_tui.terminal import ASCII_TWINS, cell_width, glyph, hue, shorten
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.live_line import LiveLine
from crboost_tui.widgets.matrix_view import MatrixView

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

AGAIN = (TaskState.FAILED.value, TaskState.STALE.value, TaskState.STOPPED.value)
"""What a retry runs again."""
LIVE = (TaskState.RUNNING.value, TaskState.QUEUED.value)
WAITS = (TaskState.WAITING.value, TaskState.READY.value)
RESTING = {state.value for state in TaskState if state.settled and state != TaskState.STOPPED}
"""What a run leaves as it is; it takes up what was stopped."""
TROUBLE = (TaskState.NEEDS_YOU.value, TaskState.FAILED.value, TaskState.UNKNOWN.value)
NEEDS_SHOWN = 3

ACTIONS = (
    Action("open('script')", "enter", "open", "the task under the cursor, or where to settle what needs you"),
    Action("open('log')", "l", "log", "its log, or the log of what failed in this series"),
    Action("retry", "r", "retry", "run again: this task, else what failed in its series; or the marked series"),
    Action("workspace", "w", "workspace", "the pipeline and its parameters"),
    Action("next_failed", "f", "failed", "go to what needs you, then from one failed series to the next"),
    Action("find", "slash", "find", "show series by name or number: ctf>8, motion>0.5, used<40"),
    Action("results", "p", "plots", "numbers and pictures of this task"),
    Action("run", "R", "run all", "run everything; an engine is started if none lives"),
    Action("stop", "s", "stop", "stop all that runs, or the marked series (asks first)"),
    Action("app.projects", "P,backspace", "projects", "the list of projects"),
    Action("order", "o", "order", "another order: as imported, by name, by state, by a number; the worst first"),
    Action("mark", "space", "mark", "mark this series: r, s, h, H, x and X then act on all that are marked"),
    Action("hold", "h", "hold", "start no new tasks of this series, or of the marked ones"),
    Action("release", "H", "release", "end the hold of this series, or of the marked ones"),
    Action("exclude", "x", "exclude", "leave this series, or the marked ones, out of what follows (asks first)"),
    Action("include", "X", "include", "take an excluded series in again"),
    Action("retry_job", "C", "retry column", "run again all that failed, was stopped or is stale in this job", False),
    Action("only_failed", "F", "only failed", "show only series that failed or need you", False),
    Action("mark_all", "A", "mark all", "mark all series that are shown, or none", False),
    Action("numbers", "number_sign", "numbers", "numbers in place of what happens now, or the other way round", False),
    Action("relion", "g", "relion", "the jobs of RELION's pipeline, also those that are none of ours", False),
    WORK_ON,
    Action("clear", "escape", "clear", "no marks, then all series in their order, then the list of projects", False),
    Action("move(-1, 0)", "up,k", "up", "the tilt series above (home, end, page keys too)", False),
    Action("move(1, 0)", "down,j", "down", "the tilt series below", False),
    Action("move(0, -1)", "left", "left", "the job before", False),
    Action("move(0, 1)", "right", "right", "the job after", False),
    Action("app.command_palette", "ctrl+p", "all", "every action by name", False),
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
    MonitorScreen #head, MonitorScreen #summary { background: $panel; }
    MonitorScreen #trouble, MonitorScreen .need { height: auto; padding: 0 1; }
    MonitorScreen .event { color: $text-muted; }
    MonitorScreen #finding { height: 1; display: none; background: $panel; }
    MonitorScreen #finding Static { width: 7; padding: 0 1; color: $text-muted; }
    MonitorScreen #finding Input { width: 1fr; background: $panel; background-tint: transparent; padding: 0; }
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.picture: Picture | None = None
        self.access: Access | None = None
        """Whose project it is, and whether it could be changed; None while that is looked up."""
        self.need: int | None = None
        """Which of the needs the cursor is on."""
        self._gone = threading.Event()
        self._was = ""
        self._visited: tuple[str, ...] = ()
        self._to_failed = False

    def compose(self) -> ComposeResult:
        utf8 = self.app.utf8
        yield LiveLine(utf8=utf8, id="head")
        yield MatrixView(self.app.colour, utf8=utf8, id="matrix")
        yield Static(id="trouble", markup=False)
        for index in range(NEEDS_SHOWN):
            yield Static(id=f"need{index}", classes="need", markup=False)
        yield LiveLine(utf8=utf8, id="told")
        with Horizontal(id="finding"):
            yield Static("find", markup=False)
            yield Input(placeholder="a name, or ctf>8 motion>0.5 used<40", compact=True, id="find")
        for index in range(EVENTS_SHOWN):
            yield LiveLine(utf8=utf8, id=f"event{index}", classes="event")
        yield LiveLine(utf8=utf8, id="summary")
        yield Keys(self.ACTIONS, utf8=utf8)

    def on_mount(self) -> None:
        self.line("head").say(f" {self.root.name}", "reading ... ")
        for widget in self.query(".need, #trouble"):
            widget.display = False
        self.query_one(Input).cursor_blink = False
        self.matrix.focus()
        self._follow()

    def on_unmount(self) -> None:
        self._gone.set()

    def on_resize(self) -> None:
        shown = self._event_lines()
        for index in range(EVENTS_SHOWN):
            self.line(f"event{index}").display = index < shown
        if self.picture is not None:
            self._say_head(self.picture)
            self._say_events(self.picture)
            self._say_needs(self.picture)
            self._say_summary(self.picture)
            self._say_told()

    @property
    def matrix(self) -> MatrixView:
        return self.query_one(MatrixView)

    def line(self, id: str) -> LiveLine:
        return self.query_one(f"#{id}", LiveLine)

    def _event_lines(self) -> int:
        height = self.app.size.height
        return 0 if height < 14 else 1 if height < 20 else 3 if height < 36 else EVENTS_SHOWN

    @work(thread=True, exclusive=True, group="follow", exit_on_error=False)
    def _follow(self) -> None:
        """Follow the project and hand pictures to the screen, however slow the disk is."""

        def hand(function: Callable[..., None], *values: object) -> None:
            if not self._gone.is_set():
                self.app.call_from_thread(function, *values)

        hand(self._belongs, access_to(self.root))
        show, complain = self.show, self.complain
        Follower(self.root, self._gone, lambda it: hand(show, it), lambda said: hand(complain, said)).run()

    def _belongs(self, access: Access) -> None:
        self.access = access
        if self.picture is not None:
            self._say_head(self.picture)

    def complain(self, sentence: str) -> None:
        """Say what keeps the project from being read; the last picture stays."""
        self._was = ""
        self._say("trouble", Text(sentence, self.app.colour("fail")))
        if self.picture is None:
            self.line("head").say(f" {self.root.name}", "cannot be read ")

    def show(self, picture: Picture) -> None:
        self._say("trouble", None)
        before, self.picture = self.picture, picture
        if self.need is not None and (before is None or before.needs != picture.needs):
            self.need = None
        self.matrix.show(picture)
        if before is None or replace(before, rows=picture.rows) != picture:
            self._say_events(picture)
            self._say_needs(picture)
            self._say_summary(picture)
        self.app.say_outside(picture, self._was)
        self._was = picture.outcome
        if self._to_failed:
            self.go_to_failed()

    def on_matrix_view_moved(self) -> None:
        if self.picture is not None:
            self._say_head(self.picture)
            self._say_told()

    def on_matrix_view_opened(self) -> None:
        self.action_open("script")

    def on_click(self, event: events.Click) -> None:
        """A click on a need goes to it, a second one opens it."""
        ids = [f"need{index}" for index in range(NEEDS_SHOWN)]
        if self.picture is None or event.widget is None or event.widget.id not in ids:
            return
        self._go_to_need(self._first_need() + ids.index(event.widget.id))
        if event.chain == 2:
            self.action_open("script")

    def _say_told(self) -> None:
        """What is under the cursor, and how far its job is."""
        picture, matrix, line = self.picture, self.matrix, self.line("told")
        if picture is None:
            return
        row = matrix.selected
        if row is None or not picture.jobs:
            new = picture.rows and not picture.jobs
            line.say(" Nothing has run yet: R runs all, w opens the workspace." if new else "")
            return
        state, job = row.cells[matrix.column], picture.jobs[matrix.column]
        text = Text(" ")
        text.append(row.name, "bold")
        text.append(f"  {job.title}")
        if state:
            meaning = MEANING[TaskState(state)] if state in {each.value for each in TaskState} else state
            text.append(": ")
            text.append(meaning, self.app.colour(hue(state)))
        if row.progress[matrix.column]:
            text.append(f" {row.progress[matrix.column]}".replace("%", " %"))
        if state == TaskState.QUEUED.value and picture.waits[matrix.column]:
            text.append(f": {brief(picture.waits[matrix.column])}")
        if row.trouble and row.now:
            here = f"{job.wide}: " if state in TROUBLE else ""
            cause = row.now.removeprefix(here) if here else f"  {row.now}"
            text.append(f"{': ' if here and cause != row.now else '   '}{cause.strip()}", self.app.colour("fail"))
        if row.held:
            text.append("   held: H releases it", self.app.colour("quiet"))
        foot = picture.feet[matrix.column].words
        roomy = self.size.width - text.cell_len - 2 >= cell_width(foot)
        line.say(text, Text(f"{foot} ", self.app.colour("quiet")) if roomy else "")

    def _say_head(self, picture: Picture) -> None:
        matrix, colour = self.matrix, self.app.colour
        marked, hidden = len(matrix.marks), len(matrix.marks - {row.key for row in matrix.shown_rows})
        wrong = "died" in picture.engine or "no sign" in picture.engine
        parts = [
            ("REHEARSAL" if picture.rehearsal and "REHEARSAL" not in picture.name else "", colour("rehearsal")),
            ("? Slurm does not answer" if picture.trouble else "", colour("fail")),
            (self.access.words(self.root in self.app.working_on) if self.access else "", colour("need")),
            (
                f"{marked} marked" + (f", {hidden} of them not shown" if hidden else "") if marked else "",
                colour("need"),
            ),
            (matrix.choice.words(), colour("run")),
            (picture.engine, colour("fail") if wrong else "" if picture.alive else colour("quiet")),
        ]
        head = Text(" ")
        head.append(picture.name, "bold")
        for words, style in parts:
            if words:
                head.append("   ")
                head.append(words, style)
        right = Text()
        for state, number in picture.counts:
            right.append(f"{glyph(state, self.app.utf8)} {number}  ", colour(hue(state) if number else "quiet"))
        if self.size.width < 60:
            right = Text()
        self.line("head").say(head, right)

    def _say_summary(self, picture: Picture) -> None:
        """How far, how fast, and what it waits for; the pace goes first where there is no room for all."""
        waiting = f"waiting: {picture.waiting}" if picture.waiting and picture.waiting not in picture.pace else ""
        waiting = f"? {picture.trouble}" if picture.trouble else waiting
        said = "   ".join(part for part in (picture.summary, picture.pace, waiting) if part)
        if waiting and cell_width(said) > self.app.size.width - 2:
            said = f"{picture.summary}   {waiting}"
        self.line("summary").say(f" {said}")

    def _need_lines(self) -> int:
        return 1 if self.app.size.height < 30 else NEEDS_SHOWN

    def _first_need(self) -> int:
        """The first of the needs that are shown: the one that the cursor is on is among them."""
        return 0 if self.need is None else max(0, self.need - self._need_lines() + 1)

    def _say_needs(self, picture: Picture) -> None:
        first, lines = self._first_need(), self._need_lines()
        hidden = len(picture.needs) - first - lines
        for place in range(NEEDS_SHOWN):
            index = first + place
            if place >= lines or index >= len(picture.needs):
                self._say(f"need{place}", None)
                continue
            need, here = picture.needs[index], index == self.need
            more = "   enter settles it" if here and need.field else ""
            more = f"   {hidden} more: f" if place == lines - 1 and hidden > 0 and not here else more
            room = self.size.width - 2 - len(more)
            words = f"! {need.text}" if here else shorten(f"! {need.text}", room)  # the one under the cursor as a whole
            text = Text(words, f"{self.app.colour('need')}{' reverse' if here else ''}")
            self._say(f"need{place}", text.append(more, "bold"))

    def _say(self, id: str, text: Text | None) -> None:
        """A sentence that takes as many lines as it needs; None takes none."""
        widget = self.query_one(f"#{id}", Static)
        widget.display = text is not None
        if text is not None:
            if not self.app.utf8:
                text.plain = text.plain.replace("…", "~").translate(ASCII_TWINS)
            widget.update(text)

    def _say_events(self, picture: Picture) -> None:
        shown = self._event_lines()
        told = newest(picture.events, shown)
        for index in range(EVENTS_SHOWN):
            line = self.line(f"event{index}")
            if index >= len(told):
                line.say("")
                continue
            event = told[index]
            text = Text(f" {event.clock}  ")
            text.append(glyph(event.state, self.app.utf8) if event.state else " ", self.app.colour(hue(event.state)))
            text.append(f"  {event.sentence}")
            line.say(text)

    def action_move(self, rows: int, columns: int) -> None:
        self._leave_need()
        self.matrix.move(rows, columns)

    def action_page(self, pages: int) -> None:
        self._leave_need()
        self.matrix.move(pages * self.matrix.page)

    def _leave_need(self) -> None:
        if self.need is not None and self.picture is not None:
            self.need = None
            self._say_needs(self.picture)

    def _go_to_need(self, index: int) -> None:
        assert self.picture is not None
        self.need = index
        self._say_needs(self.picture)

    def go_to_failed(self) -> None:
        """To the first that failed, else to what needs somebody, as soon as there is a picture."""
        self._to_failed = self.picture is None
        if self._to_failed:
            return
        self.matrix.choose(Choice())
        rows = self.matrix.shown_rows
        first = next((index for index, row in enumerate(rows) if row.trouble), None)
        if first is None:
            self.action_next_failed()
        else:
            self.matrix.go(first, _trouble_column(rows[first].cells))

    def action_next_failed(self) -> None:
        """First what needs somebody, because that holds up the rest; then from one failed series to the next."""
        picture, matrix = self.picture, self.matrix
        if picture is None:
            return
        needs = tuple(need.text for need in picture.needs)
        following = 0 if self.need is None else self.need + 1
        if following < len(needs) and (self.need is not None or self._visited != needs):
            self._go_to_need(following)
            return
        self._visited, from_needs = needs, self.need is not None
        self._leave_need()
        rows = matrix.shown_rows
        for step in range(1, len(rows) + 1):
            index = matrix.row + step
            if index >= len(rows) and needs and not from_needs:
                self._go_to_need(0)
                return
            row = rows[index % len(rows)]
            if row.trouble:
                matrix.go(index % len(rows), _trouble_column(row.cells))
                return
        if needs:
            self._go_to_need(0)
        else:
            hidden = any(row.trouble for row in picture.rows)
            self.app.tell("What failed is not shown now: esc shows all." if hidden else "Nothing failed.")

    def action_only_failed(self) -> None:
        choice = self.matrix.choice
        if not choice.failed and self.picture is not None and not any(row.trouble for row in self.picture.rows):
            self.app.tell("Nothing failed.")
            return
        self.matrix.choose(replace(choice, failed=not choice.failed))

    def action_order(self) -> None:
        if self.picture is None:
            return
        every, matrix = orders(self.picture.numbers), self.matrix
        at = every.index(matrix.choice.order) if matrix.choice.order in every else 0
        matrix.choose(replace(matrix.choice, order=every[(at + 1) % len(every)]))

    def action_find(self) -> None:
        field = self.query_one(Input)
        field.value = self.matrix.choice.find
        self._finding(True)

    def _finding(self, on: bool) -> None:
        self.query_one("#finding").display = on
        self.line("told").display = not on
        (self.query_one(Input) if on else self.matrix).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.matrix.choose(replace(self.matrix.choice, find=event.value.strip()))

    def on_input_submitted(self) -> None:
        self._finding(False)

    def action_clear(self) -> None:
        """One thing at a time; with nothing left to clear it is the way back."""
        matrix = self.matrix
        if self.query_one("#finding").display:
            self._finding(False)
            matrix.choose(replace(matrix.choice, find=""))
        elif self.need is not None:
            self._leave_need()
        elif matrix.marks:
            matrix.clear_marks()
        elif matrix.choice != Choice():
            matrix.choose(Choice())
        else:
            self.app.action_projects()

    def action_mark(self) -> None:
        self.matrix.toggle_mark()

    def action_mark_all(self) -> None:
        self.matrix.mark_shown()

    def action_numbers(self) -> None:
        if self.picture is not None and not self.picture.numbers:
            self.app.tell("There are no numbers yet.")
            return
        self.matrix.toggle_numbers()

    def action_open(self, part: str) -> None:
        """The task under the cursor, or the place where a need is settled."""
        matrix = self.matrix
        if self.need is not None and self.picture is not None:
            need = self.picture.needs[self.need]
            if need.field or need.job:
                self.app.show_workspace(self.root, need.job, need.field)
            else:
                held = "A marks all series, H releases them." if need.kind == "held" else need.text
                self.app.tell(held)
            return
        row = matrix.selected
        if row is None or self.picture is None or not self.picture.jobs:
            self.app.tell("There is no task yet. R runs all.")
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

    def action_results(self) -> None:
        row = self.matrix.selected
        if row is None or self.picture is None or not self.picture.jobs:
            self.app.tell("There is no task yet. R runs all.")
            return
        from crboost_tui.screens.results import ResultsScreen

        self.app.push_screen(ResultsScreen(self.root, self.picture.jobs[self.matrix.column].id, row.key))

    def action_workspace(self) -> None:
        self.app.show_workspace(self.root)

    def action_relion(self) -> None:
        from crboost_tui.screens.relion import RelionScreen

        self.app.push_screen(RelionScreen(self.root))

    def _meant(self) -> list[PictureRow]:
        """The rows that an action is about: those that are marked, else the one under the cursor."""
        row = self.matrix.selected
        return self.matrix.marked or ([] if row is None else [row])

    def _meant_series(self, what: str) -> list[PictureRow]:
        rows = [row for row in self._meant() if not row.cohort]
        if not rows:
            self.app.tell(f"Only a tilt series can be {what}.")
        return rows

    def _may(self) -> bool:
        """Whether anything may be changed here; says why not."""
        why_not = (
            "The project is being read." if self.access is None
            else self.access.why_not(self.root in self.app.working_on)
        )  # fmt: skip
        if why_not:
            self.app.tell(why_not, True)
        return not why_not

    def action_work_on(self) -> None:
        ask_to_work_on(self.app, self.root, self.access, lambda: self._belongs(self.access or Access()))

    def action_retry(self) -> None:
        """The task under the cursor; where that is none to run again, those of its series; or of the marked series."""
        rows = self._meant()
        again = [row for row in rows if set(AGAIN) & set(row.cells)]
        if not self._may():
            return
        if not again or self.picture is None:
            self.app.tell(f"Nothing of {_named(rows)} failed, was stopped or is stale." if rows else "Nothing has run.")
            return
        column = self.matrix.column
        if not self.matrix.marks and again[0].cells[column] in AGAIN:
            job = self.picture.jobs[column]
            self._retry([job.id], [again[0].key], f"{again[0].name}, {job.title}: asked to run again")
            return
        tasks = sum(state in AGAIN for row in again for state in row.cells)
        said = "its 1 task" if tasks == 1 else f"{tasks} tasks"
        self._retry(None, [row.key for row in again], f"{_named(again)}: {said} asked to run again")

    def action_retry_job(self) -> None:
        if not self._may():
            return
        column = self.matrix.column
        rows = (
            [row for row in self.picture.rows if column < len(row.cells) and row.cells[column] in AGAIN]
            if self.picture
            else []
        )
        if not rows or self.picture is None:
            self.app.tell("Nothing of this job failed, was stopped or is stale.")
            return
        job = self.picture.jobs[column]
        said = f"{job.title}: {len(rows)} task{'s' if len(rows) > 1 else ''} asked to run again"
        self._retry([job.id], [row.key for row in rows], said)

    def _retry(self, jobs: Sequence[str] | None, series: Sequence[str], said: str) -> None:
        self._ask_for(lambda requests: requests.retry(self.root, config_dir(), jobs=jobs, series=series), said)

    def action_run(self) -> None:
        if self._may():
            self._ask_for(lambda requests: requests.run(self.root, config_dir()), "asked to run all", run=self.picture)

    def action_hold(self) -> None:
        self._series_request("hold", "held", "held: nothing new starts")

    def action_release(self) -> None:
        self._series_request("release", "released", "released")

    def action_include(self) -> None:
        rows = self._meant_series("taken in again")
        excluded = [row for row in rows if TaskState.EXCLUDED.value in row.cells]
        if rows and not excluded:
            self.app.tell(f"{_named(rows)} is not excluded." if len(rows) == 1 else "None of them is excluded.")
        elif excluded and self._may():
            keys = [row.key for row in excluded]
            ask = lambda requests: requests.ask(self.root, "include", series=keys)  # noqa: E731
            self._ask_for(ask, f"{_named(excluded)} taken in again")

    def action_stop(self) -> None:
        if not self._may():
            return
        marked = self.matrix.marked
        rows = marked or (self.picture.rows if self.picture else ())
        live = sum(state in LIVE for row in rows for state in row.cells)
        waits = sum(state in WAITS for row in rows for state in row.cells)
        if (
            not live
            and self.picture is not None
            and (self.picture.alive or self.picture.wanted)
            and (waits or not marked)
        ):
            self._stop_waiting(marked, waits)
            return
        if not live:
            self.app.tell(f"Nothing of {_named(marked)} runs or waits in the queue." if marked
                          else "Nothing runs or waits in the queue.")  # fmt: skip
            return
        tasks = "1 running or queued task ends" if live == 1 else f"{live} running or queued tasks end"
        impact = f"{tasks} now, to begin again from the start when asked for. What is finished stays."
        keys = [row.key for row in marked] or None
        question = f"Stop {_named(marked)}?" if marked else "Stop all that runs?"
        said = f"asked to stop {_named(marked)}" if marked else "asked to stop all"
        self._after_yes(
            question, impact, lambda requests: requests.ask(self.root, "stop", series=keys), said, stop=True
        )

    def _stop_waiting(self, marked: list[PictureRow], waits: int) -> None:
        tasks = "1 task that waits does" if waits == 1 else f"{waits} tasks that wait do"
        impact = f"Nothing runs yet; {tasks} not start." if waits else "Nothing runs now, and no task waits."
        keys = [row.key for row in marked] or None
        self._after_yes(
            f"Stop {_named(marked)}?" if marked else "Stop the run?",
            impact,
            lambda requests: requests.ask(self.root, "stop", series=keys),
            f"asked to stop {_named(marked)}" if marked else "asked to stop all",
            stop=True,
        )

    def action_exclude(self) -> None:
        rows = self._meant_series("excluded")
        if not rows or not self._may():
            return
        done = sum(state == TaskState.DONE.value for row in rows for state in row.cells)
        live = sum(state in LIVE for row in rows for state in row.cells)
        what = "It takes" if len(rows) == 1 else "They take"
        steps = "1 finished step stays" if done == 1 else f"{done} finished steps stay"
        impact = (
            f"{what} no part in what follows. {steps} on disk. X takes {'it' if len(rows) == 1 else 'them'} in again."
        )
        if live:
            impact += f" {live} running or queued task{'s end' if live > 1 else ' ends'} now."
        keys = [row.key for row in rows]
        self._after_yes(
            f"Exclude {_named(rows)}?",
            impact,
            lambda requests: requests.ask(self.root, "exclude", series=keys),
            f"{_named(rows)} excluded",
        )

    def _after_yes(
        self, question: str, impact: str, call: Callable[[Any], object], said: str, *, stop: bool = False
    ) -> None:
        from crboost_tui.screens.ask import AskScreen

        def answered(yes: bool | None) -> None:
            if yes:
                self._ask_for(call, said, stop)

        self.app.push_screen(AskScreen(question, impact), answered)

    def _series_request(self, kind: str, what: str, said: str) -> None:
        rows = self._meant_series(what)
        if rows and self._may():
            keys = [row.key for row in rows]
            self._ask_for(lambda requests: requests.ask(self.root, kind, series=keys), f"{_named(rows)} {said}")

    @work(thread=True, group="requests", exit_on_error=False)
    def _ask_for(
        self, call: Callable[[Any], object], said: str, stop: bool = False, run: Picture | None = None
    ) -> None:
        """Write a request and see that somebody acts on it, off the screen's loop. ``run``: what was to be seen when
        all was asked to run; no engine is started where that leaves nothing to do."""
        from core.engine import requests
        from core.engine.start import ensure_engine, stop_now

        try:
            call(requests)
            idle = _nothing_to_run(run) if run is not None else ""
            if run is not None and idle and _is_planned(self.root, run):
                self.app.call_from_thread(self.app.tell, idle)
                return
            engine = (stop_now if stop else ensure_engine)(self.root, config_dir())
        except (CrboostError, OSError) as error:
            self.app.call_from_thread(self.app.tell, str(error), True)
            return
        self.app.call_from_thread(self.app.tell, f"{said}. {engine}")


def _named(rows: Sequence[PictureRow]) -> str:
    return rows[0].name if len(rows) == 1 else f"{len(rows)} series"


def _nothing_to_run(picture: Picture) -> str:
    """Why a run has nothing to do, in a sentence; "" where it has, or where an engine is to see to it."""
    counts = Counter(state for row in picture.rows for state in row.cells if state)
    if picture.alive or "died" in picture.engine or not counts or set(counts) - RESTING:
        return ""
    parts = []
    failed, stale = counts[TaskState.FAILED.value], counts[TaskState.STALE.value]
    if failed:
        parts.append("1 task failed; r tries it again" if failed == 1 else f"{failed} tasks failed; r tries them again")
    if stale:
        parts.append(
            "1 task is stale; r runs it again" if stale == 1 else f"{stale} tasks are stale; r runs them again"
        )
    return f"Nothing to run: {', '.join(parts) or 'all is finished'}."


def _is_planned(root: Path, picture: Picture) -> bool:
    """Whether an engine has acted on all that was asked for, with these jobs, parameters and series."""
    from core.dataset.registry import load_registry
    from core.project.layout import ProjectPaths
    from core.project.wanted import read_wanted

    since = [each for each in read_wanted(root).requests if each.number > picture.request]
    known = [one.id for one in load_registry(ProjectPaths(root).registry).series]
    return known == [row.key for row in picture.rows if not row.cohort] and all(
        each.kind == "run" and each.version == picture.version for each in since
    )


def _trouble_column(cells: tuple[str, ...]) -> int:
    """The first job of a row that failed or needs somebody, else its first task."""
    for wanted in (TROUBLE, None):
        for index, state in enumerate(cells):
            if state and (wanted is None or state in wanted):
                return index
    return 0
