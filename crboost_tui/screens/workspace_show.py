"""What the workspace draws: its head, the pipeline's lines, and the panels of a job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual.containers import Vertical
from textual.widget import Widget

from core.project.access import Access
from crboost_tui.screens.workspace_run import Running
from crboost_tui.terminal import ASCII_TWINS, glyph, hue
from crboost_tui.widgets.form_view import FormView
from crboost_tui.widgets.input_list import InputList, InputRow
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.pipeline_view import PipelineView
from crboost_tui.widgets.script_view import ScriptLine, ScriptView
from crboost_tui.widgets.tab_line import TabLine
from crboost_tui.widgets.task_list import ORDERS, TaskList
from crboost_tui.workspace_data import PROJECT, SAME_IN_ALL, JobLine, Rendered, job_lines

if TYPE_CHECKING:
    from crboost_tui.widgets.log_view import LogView
    from crboost_tui.widgets.results_view import ResultsView

NARROW = 100
"""Cells below which there is room for one pane."""
TABS = ("Parameters", "Inputs", "Resources", "Script", "Tasks", "Log", "Results")
PARAMETERS, INPUTS, RESOURCES, SCRIPT, TASKS, LOG, RESULTS = range(7)


class Showing(Running):
    """The part of the workspace that draws."""

    rendered: Rendered | None
    key: str
    _panels: dict[int, Widget]
    _lost: str

    def job_changed(self) -> None:
        """Another job is selected."""
        raise NotImplementedError

    def say_keys(self) -> None:
        """The footer, by what has the keys."""
        raise NotImplementedError

    @property
    def pipeline(self) -> PipelineView:
        return self.query_one("#pipeline", PipelineView)

    @property
    def form(self) -> FormView:
        return self.query_one("#form", FormView)

    @property
    def tasks(self) -> TaskList:
        return self.panel(TASKS).query_one(TaskList)

    @property
    def inputs(self) -> InputList:
        return cast("InputList", self.panel(INPUTS))

    def panel(self, tab: int) -> Widget:
        """The widget of a tab, made when it is first needed."""
        if tab in (PARAMETERS, RESOURCES):
            return self.form
        made = self._panels.get(tab)
        if made is None:
            made = self._panels[tab] = self._make_panel(tab)
            self.query_one("#panels").mount(made)
        return made

    def _make_panel(self, tab: int) -> Widget:
        colour, utf8 = self.app.colour, self.app.utf8
        if tab == INPUTS:
            return InputList(colour, utf8=utf8, id="inputs")
        if tab == SCRIPT:
            return ScriptView(colour, utf8=utf8, id="script")
        if tab == TASKS:
            return Vertical(Line(id="task-head"), TaskList(colour, utf8=utf8, id="task-list"), id="tasks")
        if tab == LOG:
            from crboost_tui.widgets.log_view import LogView

            return LogView(utf8, id="log")
        from crboost_tui.widgets.results_view import ResultsView

        return ResultsView(self.root, id="results")

    def say_head(self) -> None:
        pulse = self.pulse
        if self._lost:
            text = Text(f" {self.root.name}  {self._plain(self._lost)}", self.app.colour("fail"))
            self.query_one("#head", Line).say(text)
            return
        if pulse is None:
            return
        head = Text(" ")
        head.append(pulse.name, "bold")
        if pulse.rehearsal and "REHEARSAL" not in pulse.name:
            head.append("  REHEARSAL", self.app.colour("rehearsal"))
        if self.opened is not None and self.opened.access != Access():
            head.append(f"   {self.opened.access.words(self.root in self.app.working_on)}", self.app.colour("need"))
        if self.unsaved:
            head.append(f"   * {self.unsaved.words}", self.app.colour("need"))
            head.append(", ^s saves", self.app.colour("quiet"))
        if pulse.trouble:
            head.append("  ? Slurm does not answer", self.app.colour("fail"))
        if not self.unsaved or self.app.size.width >= NARROW:
            wrong = "died" in pulse.engine
            hue_of = "fail" if wrong else "" if pulse.outcome == "running" else "quiet"
            head.append(f"   {pulse.engine}", self.app.colour(hue_of) if hue_of else "")
        right = Text()
        for state, number in pulse.counts:
            style = self.app.colour(hue(state)) if number else self.app.colour("quiet")
            right.append(f"{glyph(state, self.app.utf8)} {number}  ", style)
        self.query_one("#head", Line).say(self._text(head), right)

    def refresh_lines(self) -> None:
        """The pipeline's lines, from the status, the project file and the edits."""
        opened = self.opened
        if opened is None:
            return
        lines = job_lines(self.built.nodes, self.pulse, self.unsaved.edits, self.built.troubles)
        known = opened.sources is not None
        if known and not self.built.nodes and opened.sources is not None and opened.sources.project.pipeline:
            return  # not built yet
        none = JobLine("", "No jobs yet. a adds one.", "", "", "", 0, 0, 0, None)
        shown = (self._project_line(), *(lines or [none])) if known else lines
        ids = {line.id for line in shown}
        if opened.sources is not None:  # one that was added just now has no line yet
            ids |= {each.id for each in opened.sources.project.pipeline}
        if not self.job or self.job not in ids:
            near = shown[: self.pipeline.cursor + 1] if self.job and self.pipeline.rows else shown
            self.job = near[-1].id if near is not shown and near else self._first(shown)
            self.job_changed()
        nothing = ["" if known else opened.broken or "reading ..."]
        self.pipeline.show_jobs(shown, self.job, nothing)
        self.say_tabs()
        self.say_head()
        self.say_keys()

    def _project_line(self) -> JobLine:
        errors = sum(each.job == "" and each.level == "error" for each in self.built.troubles)
        edited = any(name.startswith(("acquisition.", "instrument.")) for name in self.unsaved.edits)
        return JobLine(PROJECT, "microscope and data", "", "", "", 0, 0, 0, None, edited, errors)

    @staticmethod
    def _first(lines: tuple[JobLine, ...]) -> str:
        """Where the cursor begins: at what needs somebody, else at what runs, else at the first job."""
        jobs = [line for line in lines if line.id not in ("", PROJECT)]
        if not jobs:
            return lines[0].id if lines else ""
        for states in ("!", "x", ">", "#"):
            found = next((line.id for line in jobs if line.state and line.state in states), "")
            if found:
                return found
        return next((line.id for line in lines if line.errors), jobs[0].id)

    def say_tabs(self) -> None:
        title = "microscope and data" if self.job == PROJECT else self.job.replace("__", "  ")
        if self.per_series and self.tab == PARAMETERS:
            title += f", {', '.join(self.per_series)}"
        self.query_one("#tabs", TabLine).say(title or "no job", self.tab)

    def say_trouble(self) -> None:
        mine = [each for each in self.built.troubles if each.job == ("" if self.job == PROJECT else self.job)]
        wrong = [each for each in mine if each.level == "error"]
        line = self.query_one("#trouble", Line)
        line.set_class(bool(mine), "-said")
        if not mine:
            return
        first = wrong[0] if wrong else mine[0]
        text = Text(self._plain("✗ " if wrong else "! "), self.app.colour("fail" if wrong else "need"))
        if len(mine) > 1:
            text.append(f"{len(mine)} problems: ")
        text.append(self._plain(first.sentence.splitlines()[0]), "")
        line.say(text, Text("w all", self.app.colour("quiet")))

    def say_cost(self) -> None:
        line = self.query_one("#cost", Line)
        line.set_class(bool(self.cost.words), "-said")
        if self.cost.words:
            text = Text(self._plain(f"≠ {self.cost.words}"), self.app.colour("stale"))
            room = self.query_one("#pane").size.width - len(self.cost.words) - 6
            ways = ("n new instance   e redo in place   u undo", "n new  e redo  u undo", "")
            if not self.unsaved:
                ways = ("e redo in place", "e redo", "")
            keys = next(each for each in ways if len(each) <= max(0, room))
            line.say(text, Text(keys, self.app.colour("quiet")))

    def show_inputs(self) -> None:
        rows: list[InputRow] = []
        jobs = self.pulse.jobs if self.pulse is not None else {}
        if self.built.slots_of == self.job:
            for slot in self.built.slots:
                name = f"{self.job}.inputs.{slot.name}"
                edited = name in self.unsaved.edits
                wrong = slot.required and not slot.takes
                note = "nothing makes this yet" if wrong else "" if slot.required else "optional"
                rows.append(
                    InputRow(slot.name, "", slot.kind, f"{note}  {slot.help}".strip(), "", edited, wrong, slot.fitting)
                )
                for place, producer in enumerate(slot.takes):
                    order = f"{place + 1}.  where those before it failed" if place else ""
                    how = "not saved" if edited else order or ("chosen" if slot.named else "the nearest that fits")
                    state = jobs[producer].state if producer in jobs else "."
                    rows.append(InputRow(slot.name, producer, producer, how, state, edited, False, slot.fitting))
        self.inputs.show(rows, [self._no_inputs()])

    def _no_inputs(self) -> str:
        if self.job == PROJECT:
            return "Choose a job on the left."
        if self._lost or (self.opened is not None and self.opened.broken):
            return self._lost or self.locked
        known = self.opened is not None and self.built.slots_of == self.job
        return "This job takes nothing from other jobs." if known else "reading ..."

    def show_script(self, rendered: Rendered, changed: frozenset[int]) -> None:
        self.rendered = rendered
        view = cast("ScriptView", self.panel(SCRIPT))
        if rendered.problem:
            view.take([ScriptLine(rendered.title, "head"), ScriptLine(f"# {rendered.problem}")])
            return
        note = f"   {len(changed)} lines changed" if len(changed) > 1 else "   1 line changed" if changed else ""
        lines = [ScriptLine(rendered.title + note, "head")]
        part = "own"
        for index, text in enumerate(rendered.script):
            part = "same" if text == SAME_IN_ALL else part
            lines.append(ScriptLine(text, part, index in changed))
        if rendered.submission:
            lines.append(ScriptLine(""))
            lines.append(ScriptLine("What is given to sbatch, from the site's own template", "head"))
            lines += [ScriptLine(text) for text in rendered.submission]
        view.take(lines)

    def show_log(self) -> None:
        log = cast("LogView", self.panel(LOG))
        pulse = self.pulse.jobs.get(self.job) if self.pulse is not None else None
        folder = self.root / pulse.folder if pulse is not None and pulse.folder else None
        if folder is None:
            log.follow(None, "This job has not run yet." if self.job != PROJECT else "Choose a job on the left.")
        elif self.key:
            log.follow(self._newest(folder, ".out"), f"{self.key} has not run yet.")
        else:
            log.follow(folder / "run.out", "Nothing of this job has ended yet: ] goes to its tasks.")

    def _newest(self, folder: Path, ending: str) -> Path:
        """The log of the newest attempt of the chosen task."""
        tasks = self.pulse.tasks if self.pulse is not None else ()
        attempt = next((row.attempt for row in tasks if row.key == self.key), 0)
        return folder / "tasks" / self.key / f"{max(1, attempt)}{ending}"

    def show_results(self) -> None:
        results = cast("ResultsView", self.panel(RESULTS))
        if self.job != PROJECT:
            results.show(self.job, self.key or None)

    def show_tasks(self) -> None:
        if self.tab == TASKS:
            self.tasks.take(self.pulse.tasks if self.pulse is not None and self.pulse.tasks_of == self.job else ())
            self.say_task_head()

    def say_task_head(self) -> None:
        tasks = self.tasks
        told = [] if tasks.order == ORDERS[0] else [f"by {tasks.order}"]
        told += ["failed only"] if tasks.only_failed else []
        told += [f"with {tasks.needle!r}"] if tasks.needle else []
        width = self.query_one("#pane").size.width
        self.query_one("#task-head", Line).say(tasks.heading(width), Text(", ".join(told), self.app.colour("need")))

    def _text(self, text: Text) -> Text:
        if not self.app.utf8:
            text.plain = text.plain.translate(ASCII_TWINS)
        return text

    def _plain(self, text: str) -> str:
        return text if self.app.utf8 else text.translate(ASCII_TWINS)
