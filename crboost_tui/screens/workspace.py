"""The workspace: the pipeline on the left, and everything about one of its jobs on the right."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.reactive import Reactive
from textual.widget import Widget

from core.errors import CrboostError
from core.watch.mounts import hides_events, kind_of, read_mounts
from crboost_tui.actions import Action, bindings
from crboost_tui.data import config_dir, gone
from crboost_tui.drafts import Draft, read_draft
from crboost_tui.form import FormField
from crboost_tui.screens.work_on import WORK_ON, ask_to_work_on
from crboost_tui.screens.workspace_show import (
    INPUTS,
    LOG,
    NARROW,
    PARAMETERS,
    RESOURCES,
    RESULTS,
    SCRIPT,
    TABS,
    TASKS,
    Showing,
)
from crboost_tui.unsaved import Unsaved
from crboost_tui.widgets.form_view import FORM_ACTIONS, FormView
from crboost_tui.widgets.input_list import INPUT_ACTIONS
from crboost_tui.widgets.keys import Keys, without_hidden
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.line_list import LineList
from crboost_tui.widgets.pipeline_view import PIPELINE_ACTIONS, PipelineView
from crboost_tui.widgets.script_view import SERIES_ACTIONS
from crboost_tui.widgets.tab_line import TabLine
from crboost_tui.widgets.task_list import ORDERS, TASK_ACTIONS
from crboost_tui.workspace_build import Ask, Builder, Costly, Shown
from crboost_tui.workspace_data import (
    NO_COST,
    PROJECT,
    Built,
    Cost,
    Opened,
    Pulse,
    Rendered,
    file_stamp,
    open_project,
    take_pulse,
)

if TYPE_CHECKING:
    from textual.timer import Timer

    from crboost_tui.picture import Picture

POLL_SECONDS = 0.1
SLOW_POLL_SECONDS = 0.5
"""Where another machine's writes are not announced, each look goes to the server."""
AGE_SECONDS = 20.0
"""How old what is said of a running project may become."""
LOOK_AT_FILE_SECONDS = 1.5
REST_SECONDS = 0.15
"""The pane shows another job once the cursor rests on it."""

RUN_ACTIONS = (
    Action("run_here", "r", "run to here", "save, then run all that this job needs, and the job"),
    Action("run_all", "R", "run all", "save, then run everything; an engine is started if none lives"),
    Action("stop", "s", "stop", "stop this job, or all (asks first)"),
    Action("retry", "t", "retry", "run again what failed, was stopped or is stale in this job"),
)
EDIT_ACTIONS = (
    Action("save", "ctrl+s", "save", "save what was typed; nothing that runs changes until the next run"),
    Action("undo", "u", "undo", "take back the last edit; without edits the version before of crboost.yaml"),
    Action("new_instance", "n", "new instance", "put the edits into a second instance: both results are kept"),
    Action("redo", "e", "redo", "do finished work again in place; its products go to the Trash (asks first)"),
    Action(
        "undo_back", "U", "undo the undo", "restore the version of crboost.yaml that u went back from", footer=False
    ),
    Action("copy_values", "C", "copy values", "take the parameters of another job, or of another project's"),
    Action("problems", "w", "what is wrong", "everything that stands in the way, as a list"),
)
SCREEN_ACTIONS = (
    Action("tab(1)", "tab", "next tab", "parameters, inputs, resources, script, tasks, log, results (also 1 to 7)"),
    Action("tab(-1)", "shift+tab", "tab before", "the tab before", footer=False),
    Action("back", "escape", "pipeline", "back to the pipeline"),
    WORK_ON,
    Action("monitor", "m", "monitor", "tilt series by jobs, live"),
    Action("projects", "p", "projects", "the list of projects"),
    Action("app.command_palette", "ctrl+p", "all", "every action by name"),
    Action("app.help", "question_mark", "help", "this page"),
    Action("leave", "q", "quit", "leave; the run goes on, what was typed is kept"),
)
ACTIONS = (*PIPELINE_ACTIONS, *RUN_ACTIONS, *EDIT_ACTIONS, *SCREEN_ACTIONS)
EXTRA_KEYS = (
    *(Action(f"tab_to({number})", str(number), f"tab {number}", "") for number in range(1, 8)),
    Action("left", "left", "left", ""),
    *SERIES_ACTIONS,
)
_OF_PANE: dict[int, tuple[Action, ...]] = {
    PARAMETERS: FORM_ACTIONS, RESOURCES: FORM_ACTIONS, INPUTS: INPUT_ACTIONS, SCRIPT: SERIES_ACTIONS,
    TASKS: TASK_ACTIONS,
}  # fmt: skip


class WorkspaceScreen(Showing):
    """``job`` and ``field``: where the cursor begins."""

    # Textual's own draws the whole screen again whenever the focus moves.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS + EXTRA_KEYS)
    DEFAULT_CSS = """
    WorkspaceScreen #head { background: $panel; }
    WorkspaceScreen #left { width: 38; border-right: vkey $panel; }
    WorkspaceScreen.-wide #left { width: 48; }
    WorkspaceScreen.-ascii #left { border-right: ascii $panel; }
    WorkspaceScreen #pane { width: 1fr; }
    WorkspaceScreen #panels { height: 1fr; }
    WorkspaceScreen #task-head { color: $secondary; }
    WorkspaceScreen #tasks { height: 1fr; }
    WorkspaceScreen #trouble, WorkspaceScreen #cost, WorkspaceScreen #broken { padding: 0 1; display: none; }
    WorkspaceScreen #trouble.-said, WorkspaceScreen #cost.-said, WorkspaceScreen #broken.-said { display: block; }
    WorkspaceScreen.-narrow #left { width: 1fr; border-right: none; }
    """

    def __init__(self, root: Path, job: str = "", field: str = "") -> None:
        super().__init__()
        self.root = root
        self.unsaved = Unsaved(root, self._not_kept)
        self.opened: Opened | None = None
        self.pulse: Pulse | None = None
        self.built = Built()
        self.cost: Cost = NO_COST
        self.rendered: Rendered | None = None
        self.job = job
        self.tab = PARAMETERS
        self.key = ""
        """The tilt series (or cohort) of script and log, "" for none chosen."""
        self.per_series: tuple[str, ...] = ()
        """The form is about values of these tilt series alone."""
        self.compare = ""
        self._field = field
        self._typed: dict[str, str | None] = {}
        self._panels: dict[int, Widget] = {}
        self._resting: Timer | None = None
        self._gone = threading.Event()
        self._stir = threading.Event()
        self._builder = Builder(root)
        self._asked = self._known = 0
        """Numbers of the last wish, and of the last one whose cost is known."""
        self._then: Callable[[], None] | None = None
        self._undone = []
        self._stamp = (0, 0)
        self._busy = False
        self._was = ""
        self._lost = ""
        """Why it is not known how the project stands."""
        if field:
            project = field.startswith(("acquisition.", "instrument."))
            self.job = job or (PROJECT if project else field.partition(".")[0])
            self.tab = PARAMETERS if project else _tab_of(field)

    # ---- What it is made of

    def compose(self) -> ComposeResult:
        colour, utf8 = self.app.colour, self.app.utf8
        self._say_size()  # as long as there is nothing in it whose style would be looked up again
        yield Line(id="head")
        with Horizontal(id="panes"):
            with Vertical(id="left"):
                yield TabLine((), utf8=utf8, id="left-title")
                yield PipelineView(colour, utf8=utf8, id="pipeline")
            with Vertical(id="pane"):
                yield TabLine(TABS, utf8=utf8, id="tabs")
                with Vertical(id="panels"):
                    yield FormView(id="form")
                yield Line(id="trouble")
                yield Line(id="cost")
        yield Line(id="broken")
        yield Keys(ACTIONS, utf8=utf8)

    def on_mount(self) -> None:
        self.query_one("#head", Line).say(f" {self.root.name}", "reading ... ")
        self.query_one("#left-title", TabLine).say("pipeline", 0)
        self.pipeline.show((), ["reading ..."])
        self._show_tab()
        self.pipeline.focus()
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """Once the first frame is there: threads that work hard beside it would delay it."""
        self._read_project(True)
        self._follow()
        self._build()

    def on_unmount(self) -> None:
        self._gone.set()
        self._stir.set()
        self._builder.close()
        self.unsaved.close()

    def on_resize(self) -> None:
        self._say_size()
        self._show_panes(self._inside)

    def _say_size(self) -> None:
        self.set_class(not self.app.utf8, "-ascii")
        self.set_class(self.app.size.width < NARROW, "-narrow")
        self.set_class(self.app.size.width >= 160, "-wide")

    def _show_panes(self, inside: bool) -> None:
        """Both, or where there is no room the one that has the keys."""
        narrow = self.app.size.width < NARROW
        self.query_one("#left").display = not (narrow and inside)
        self.query_one("#pane").display = not narrow or inside

    @property
    def _inside(self) -> bool:
        """Whether the keys go to the pane of the job."""
        focused = self.focused
        return focused is not None and any(each.id == "pane" for each in focused.ancestors)

    def _not_kept(self, sentence: str) -> None:
        """In a thread of the drafts."""
        if not self._gone.is_set():
            self.app.call_from_thread(self.app.tell, sentence, True)

    # ---- Reading the project

    @work(thread=True, exclusive=True, group="open", exit_on_error=False)
    def _read_project(self, first: bool = False) -> None:
        draft = read_draft(self.root) if first else None
        stamp = file_stamp(self.root)
        opened = open_project(self.root, config_dir(), self.root in self.app.working_on)
        if not self._gone.is_set():
            self.app.call_from_thread(self.take_project, opened, stamp, draft)

    def take_project(self, opened: Opened, stamp: tuple[int, int], draft: Draft | None = None) -> None:
        """The project file was read."""
        self._busy = False
        self.opened, self._stamp = opened, stamp
        self.form.locked = opened.read_only or ("" if opened.sources else f"Not now: {opened.broken}")
        broken = self.query_one("#broken", Line)
        said = opened.broken or opened.read_only
        broken.set_class(bool(said), "-said")
        broken.say(Text(self._plain(said), self.app.colour("fail" if opened.broken else "need")))
        if draft is not None and not self.unsaved:
            if draft.own or opened.read_only:
                self.unsaved.restore(draft)
                back = "is back" if len(self.unsaved.edits) == 1 else "are back"
                self.app.tell(f"{self.unsaved.words} {back}. ctrl+s saves, u takes back.")
            else:
                self._offer(draft)
        self.refresh_lines()
        self.rebuild()

    def _offer(self, draft: Draft) -> None:
        from crboost_tui.screens.options import Answer, OptionsScreen

        number = len(draft.edits)
        question = f"{number} unsaved value{'s' if number > 1 else ''} from {draft.clock}"
        shown = [f"{name} = {'default' if text is None else text}" for name, text in draft.edits.items()]
        told = "\n".join([*shown[:8], *([f"and {number - 8} more"] if number > 8 else [])])

        def answered(answer: str | None) -> None:
            if answer == "d":
                self.unsaved.refuse(draft)
            else:
                self.unsaved.restore(draft)
            self.refresh_lines()
            self.rebuild()

        answers = [Answer("k", "keep: they are typed in again, and not saved"), Answer("d", "drop them")]
        self.app.push_screen(OptionsScreen(question, told, answers, "keep them"), answered)

    @work(thread=True, exclusive=True, group="follow", exit_on_error=False)
    def _follow(self) -> None:
        """Follow the project's status, and see when its file is changed by somebody else."""
        from core.engine.reading import StatusFollower

        live: StatusFollower | None = None
        pause = SLOW_POLL_SECONDS if hides_events(kind_of(self.root, read_mounts())) else POLL_SECONDS
        engine = problem = watched = ""
        drawn = looked = -AGE_SECONDS
        while not self._gone.is_set():
            self._stir.clear()
            began = time.monotonic()
            try:
                if began - looked >= LOOK_AT_FILE_SECONDS:
                    looked = began
                    stamp = file_stamp(self.root)
                    if stamp == (0, 0) and self.opened is not None:
                        raise gone(self.root)
                    if stamp != self._stamp and self.opened is not None:
                        self.app.call_from_thread(self._file_changed, stamp)
                events = []
                if live is None:
                    live, drawn = StatusFollower(self.root), -AGE_SECONDS
                else:
                    events = live.update()
                now_watched = self.job if self.tab in (TASKS, LOG) else ""
                moved = live.status.engine.state != engine or now_watched != watched
                if events or moved or began - drawn >= AGE_SECONDS:
                    engine, watched, problem, drawn = live.status.engine.state, now_watched, "", began
                    self.app.call_from_thread(self.take_pulse, take_pulse(live.status, watched))
            except Exception as error:
                if self._gone.is_set():
                    return
                sentence = str(error) if isinstance(error, CrboostError) else f"{type(error).__name__}: {error}"
                if sentence != problem:
                    problem = sentence
                    self.app.call_from_thread(self._no_pulse, sentence)
                live, looked = None, -AGE_SECONDS
            self._stir.wait(max(pause if live else 1.0, 4 * (time.monotonic() - began)))

    def _file_changed(self, stamp: tuple[int, int]) -> None:
        """Somebody else saved, broke or mended the project file."""
        if not self._busy and stamp != self._stamp:
            self._busy = True
            self.read_again()

    def _no_pulse(self, sentence: str) -> None:
        self._lost = sentence
        self.say_head()
        if self.tab == INPUTS:
            self.show_inputs()

    def take_pulse(self, pulse: Pulse) -> None:
        """How the project stands now."""
        if pulse == self.pulse and not self._lost:
            return
        if self._lost:
            self._lost = ""
            self.rebuild()
        before, self.pulse = self.pulse, pulse
        self.say_head()
        self.refresh_lines()
        if pulse.tasks_of == self.job:
            self.show_tasks()
            if self.tab == LOG and self.key and (before is None or before.tasks != pulse.tasks):
                self.show_log()
        finished = before is not None and {name: job.done for name, job in before.jobs.items()} != {
            name: job.done for name, job in pulse.jobs.items()
        }
        if before is None or finished or before.series != pulse.series:
            self.rebuild()
        self.app.say_outside(cast("Picture", pulse), self._was)
        self._was = pulse.outcome

    # ---- What is built from it, in a thread, the newest wish first

    def rebuild(self) -> None:
        """Make anew what follows from the project file, the edits and what is selected."""
        if self.opened is None or self.pulse is None:
            return
        self._asked += 1
        self._builder.ask(
            Ask(
                self._asked, self.opened, {**self.unsaved.edits, **self._typed}, self.job, TABS[self.tab], self.key,
                self.per_series, self.compare, bool(self.unsaved or self._typed),
            )
        )  # fmt: skip

    @work(thread=True, exclusive=True, group="build", exit_on_error=False)
    def _build(self) -> None:
        for made in self._builder.work(config_dir()):
            if self._gone.is_set():
                return
            if isinstance(made, str):
                self.app.call_from_thread(self._not_built, made)
            elif isinstance(made, Shown):
                self.app.call_from_thread(self._take_built, made)
            else:
                self.app.call_from_thread(self._take_costly, made)

    def _not_built(self, sentence: str) -> None:
        self._then = None
        if not self._lost:  # else the head says why
            self.app.tell(sentence, True)

    def once_known(self, then: Callable[[], None]) -> None:
        if self._known == self._asked:
            then()
        else:
            self._then = then

    def _take_built(self, made: Shown) -> None:
        if made.number != self._asked and made.built.slots_of != self.job:
            return
        self.built = made.built
        self.refresh_lines()
        if made.form is not None and (made.job, made.tab) == (self.job, TABS[self.tab]):
            self.form.show(made.form)
            if self._field and self.form.go(self._field):
                self._field = ""
                self._enter()
        if self.tab == INPUTS:
            self.show_inputs()
        self.say_trouble()

    def _take_costly(self, made: Costly) -> None:
        if made.number != self._asked:
            return
        self.cost = made.cost
        self._known = made.number
        self.say_cost()
        self.say_keys()
        then, self._then = self._then, None
        if then is not None:
            then()
        if made.rendered is not None and self.tab == SCRIPT:
            self.show_script(made.rendered, made.changed)

    # ---- Drawing

    # ---- Moving about

    def _show_tab(self) -> None:
        """Bring the panel of the present tab forward, and what is in it up to date."""
        shown = self.panel(self.tab)
        for each in (self.form, *self._panels.values()):
            each.display = each is shown
        self.say_tabs()
        if self.tab == TASKS:
            self.call_after_refresh(self.show_tasks)
            self._stir.set()
        elif self.tab == LOG:
            self.show_log()
            self._stir.set()
        elif self.tab == RESULTS:
            self.show_results()
        self.rebuild()

    def job_changed(self) -> None:
        """Another job is selected."""
        self.per_series, self.compare, self._typed = (), "", {}
        if self.is_mounted:
            self._show_tab()
            self.say_trouble()

    def _rested(self) -> None:
        self._resting = None
        self.job_changed()

    def _enter(self) -> None:
        """Give the keys to the pane of the job."""
        if self._resting is not None:
            self._resting.stop()
            self._rested()
        self._show_panes(True)
        panel = self.panel(self.tab)
        if self.tab == TASKS or not panel.is_mounted:  # made just now
            self.call_after_refresh(self._focus_panel)
        else:
            self.set_focus(panel)

    def _focus_panel(self) -> None:
        self.set_focus(self.tasks if self.tab == TASKS else self.panel(self.tab))

    @on(LineList.Moved, "#pipeline")
    def _pipeline_moved(self) -> None:
        chosen = self.pipeline.selected
        if chosen is not None and chosen.id != self.job:
            self.job, self.key = chosen.id, ""
            if self._resting is not None:
                self._resting.stop()
            self._resting = self.set_timer(REST_SECONDS, self._rested)

    @on(LineList.Opened, "#pipeline")
    def _pipeline_opened(self) -> None:
        self._enter()

    @on(LineList.Moved, "#task-list")
    def _task_moved(self) -> None:
        row = self.tasks.selected
        if row is not None:
            self.key = row.key

    @on(LineList.Opened, "#task-list")
    def _task_opened(self) -> None:
        self.action_open_task()

    @on(LineList.Opened, "#inputs")
    def _input_opened(self) -> None:
        self.action_choose_input()

    def on_tab_line_chosen(self, event: TabLine.Chosen) -> None:
        self.action_tab_to(event.tab + 1)

    def on_results_view_left(self) -> None:
        self.action_back()

    def on_descendant_focus(self) -> None:
        self.say_keys()

    def say_keys(self) -> None:
        inside = self._inside
        self.query_one("#tabs", TabLine).light(inside)
        self.query_one("#left-title", TabLine).light(not inside)
        keys = self.query_one(Keys)
        save, undo, new, redo, *_ = EDIT_ACTIONS
        edits: tuple[Action, ...] = (save, undo) if self.unsaved else ()
        edits += (new, redo) if self.unsaved and self.cost.words else ()
        if not inside:  # where there is little room: open, run, and the tabs
            into, *others = PIPELINE_ACTIONS
            first: tuple[Action, ...] = (*edits, into, *RUN_ACTIONS[:2], SCREEN_ACTIONS[0], *others, *RUN_ACTIONS)
        else:
            own = _OF_PANE.get(self.tab) or self._foreign_actions()
            seen = without_hidden((*own, *edits))  # whose keys are the widget's, which has them first
            edits = tuple(each for each in edits if each in seen)
            first = (*own[: 1 if edits else None], *edits, *own, *RUN_ACTIONS[: 0 if self.tab == TASKS else 2])
        found = dict.fromkeys((*first, *SCREEN_ACTIONS, *EDIT_ACTIONS))
        actions = [each for each in without_hidden(found) if each.footer]
        if actions != keys.actions:
            keys.actions = actions
            keys.refresh()

    def _foreign_actions(self) -> tuple[Action, ...]:
        if self.tab == LOG:
            from crboost_tui.widgets.log_view import ACTIONS as LOG_ACTIONS

            return (*LOG_ACTIONS, *SERIES_ACTIONS[:2])
        from crboost_tui.widgets.results_view import ACTIONS as RESULT_ACTIONS

        return RESULT_ACTIONS

    def action_into(self) -> None:
        if self._inside:
            if self.tab == TASKS:
                self.action_open_task()
            elif self.tab == INPUTS:
                self.action_choose_input()
            return
        if not self.job:
            reading = self.opened is None or self.pulse is None
            self.app.tell(f"Reading {self.root.name} ..." if reading else "There is no job yet. a adds one.")
            return
        self._enter()

    def action_left(self) -> None:
        if self._inside:
            self.action_back()

    def action_back(self) -> None:
        if self.per_series:
            self.per_series = ()
            self.say_tabs()
            self.rebuild()
            return
        self._show_panes(False)
        self.set_focus(self.pipeline)

    def action_tab(self, step: int) -> None:
        self.action_tab_to((self.tab + step) % len(TABS) + 1)

    def action_tab_to(self, number: int) -> None:
        inside = self._inside or self.has_class("-narrow")
        self.tab = number - 1
        self._show_tab()
        if inside:
            self._enter()
        self.say_keys()

    def action_series(self, step: int) -> None:
        """Another tilt series for script and log; before the first one stands the job as a whole."""
        keys = ["", *(self.pulse.series if self.pulse is not None else ())]
        if self.tab in (PARAMETERS, RESOURCES, INPUTS) or len(keys) == 1:
            self.app.tell("Script and Log are about one tilt series: 4 or 6, then ] and [ for another one.")
            return
        now = keys.index(self.key) if self.key in keys else 0
        if self.tab == SCRIPT and now == 0:
            now = 1  # a script is always one of a series
        self.key = keys[max(1 if self.tab != LOG else 0, min(len(keys) - 1, now + step))]
        if self.tab == LOG:
            self.show_log()
        elif self.tab == RESULTS:
            self.show_results()
        elif self.tab == TASKS:
            self.tasks.action_move(step)
        else:
            self.rebuild()

    def action_copy_text(self) -> None:
        if self.tab != SCRIPT or self.rendered is None or not self.rendered.script:
            self.app.tell("There is no script here to copy: 4 shows the one of this job.")
            return
        self.app.copy_to_clipboard("\n".join(self.rendered.script) + "\n")
        self.app.tell(f"copied the script of {self.rendered.title}")

    def action_work_on(self) -> None:
        access = self.opened.access if self.opened is not None else None
        ask_to_work_on(self.app, self.root, access, self._read_project)

    def action_monitor(self) -> None:
        self._say_kept()
        self.app.show_monitor(self.root)

    def action_projects(self) -> None:
        self._say_kept()
        self.app.action_projects()

    def action_leave(self) -> None:
        kept = f"{self.unsaved.words} of {self._called} kept, to be offered back." if self.unsaved else None
        self.app.exit(message=kept)

    @property
    def _called(self) -> str:
        """What the project is called; of one that was not read yet, its folder."""
        return self.pulse.name if self.pulse is not None else self.root.name

    def _say_kept(self) -> None:
        if self.unsaved:
            self.app.tell(f"{self.unsaved.words} of {self._called} kept, to be offered back.")

    def go_to(self, job: str, name: str) -> None:
        self.job = job or PROJECT
        self.tab = _tab_of(name) if job else PARAMETERS
        self._field = name.partition(".per_series.")[0] if self.tab in (PARAMETERS, RESOURCES) else ""
        self.job_changed()
        self.refresh_lines()
        self._enter()

    # ---- Tasks

    def action_open_task(self) -> None:
        row = self.tasks.selected
        if row is None:
            self.app.tell("There is no task yet.")
            return
        from crboost_tui.screens.task import TaskScreen

        self.app.push_screen(TaskScreen(self.root, self.job, row.key, row.state, row.words))

    def action_mark(self) -> None:
        if self.tab == TASKS:
            self.tasks.toggle_mark()

    def action_only_failed(self) -> None:
        self.tasks.only_failed = not self.tasks.only_failed
        self.tasks.sift()
        self.say_task_head()

    def action_sort_tasks(self) -> None:
        self.tasks.order = ORDERS[(ORDERS.index(self.tasks.order) + 1) % len(ORDERS)]
        self.tasks.sift()
        self.say_task_head()

    def action_find_task(self) -> None:
        from crboost_tui.screens.prompt import PromptScreen

        def typed(text: str | None) -> None:
            if text is not None:
                self.tasks.needle = text
                self.tasks.sift()
                self.say_task_head()

        hint = "Enter without a word shows all."
        self.app.push_screen(PromptScreen("Tilt series whose name has", hint, self.tasks.needle), typed)

    # ---- The form

    def on_form_view_typed(self, event: FormView.Typed) -> None:
        self._typed = dict(event.changes)
        edits = {name: text for name, text in self.unsaved.edits.items() if name not in self._typed}
        self.unsaved.typing({**edits, **{name: text for name, text in self._typed.items() if not self._is(name, text)}})
        self.rebuild()

    def on_form_view_edited(self, event: FormView.Edited) -> None:
        self._typed = {}
        self.put(event.changes)

    def on_form_view_compare(self) -> None:
        self.next_comparison()

    def on_form_view_per_series(self, event: FormView.PerSeries) -> None:
        self._choose_series(event.field)

    def _choose_series(self, field: FormField) -> None:
        from crboost_tui.screens.choose import ChooseScreen

        if self.pulse is None or not self.pulse.series:
            self.app.tell("This project has no tilt series yet.")
            return
        model = self.opened.sources.project if self.opened is not None and self.opened.sources is not None else None
        parameter = field.name.partition("@")[0].partition(".")[2]
        own = model.instance(self.job).per_series if model is not None else {}
        choices = [
            (one, one, f"{field.label} {own[one][parameter]}" if parameter in own.get(one, {}) else "as the job")
            for one in self.pulse.series
        ]

        def chosen(series: str | None) -> None:
            if series is not None:
                self.per_series = (series,)
                self._field = f"{field.name.partition('@')[0]}@{series}"
                self.say_tabs()
                self.rebuild()

        self.app.push_screen(ChooseScreen(f"{field.label}: values of its own for", choices), chosen)


def _tab_of(name: str) -> int:
    """The tab on which a value stands: ``tsCtf.resources.minutes`` among the resources."""
    part = name.partition(".")[2].partition(".")[0]
    return {"resources": RESOURCES, "tools": RESOURCES, "inputs": INPUTS}.get(part, PARAMETERS)
