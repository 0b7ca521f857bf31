"""What asks the engine for something from the workspace: run, stop, retry, redo, or a second instance instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from textual import work

from core.engine.states import TaskState
from core.errors import CrboostError
from crboost_tui.data import config_dir
from crboost_tui.screens.workspace_change import Changing
from crboost_tui.workspace_data import Cost

if TYPE_CHECKING:
    from core.project.model import ProjectFile
    from crboost_tui.widgets.task_list import TaskList

_AGAIN = {state.value for state in (TaskState.FAILED, TaskState.STOPPED, TaskState.STALE, TaskState.BLOCKED)}

_SAVED_FIRST = "{words}: saved first, and used."


class Running(Changing):
    """The part of the workspace that writes requests."""

    @property
    def tasks(self) -> TaskList:
        raise NotImplementedError

    # ---- Run

    def action_run_here(self) -> None:
        job = self.job
        if self._a_job():
            self.once_known(lambda: self._run(job))

    def action_run_all(self) -> None:
        self.once_known(lambda: self._run(""))

    def _run(self, to: str) -> None:
        """Run up to a job, or all, once it is settled what becomes of results that the edits make stale."""
        if not self.may_change():
            return
        if not self.built.nodes:
            self.app.tell("There is no job yet. a adds one.")
            return
        concerned = self.built.upstream(to)
        wrong = [each for each in self.built.troubles if each.level == "error" and each.job in ("", *concerned)]
        if wrong:
            self.app.tell("It cannot run yet: these must be corrected first.", True)
            self.action_problems()
        elif any(job in concerned for job in self.cost.jobs):
            self._offer_ways(to)
        else:
            self._ask_to_run(to)

    def _offer_ways(self, to: str) -> None:
        """Results would become stale: keep both, do them again, or leave them."""
        from crboost_tui.screens.options import Answer, OptionsScreen

        cost = self.cost

        def answered(answer: str | None) -> None:
            if answer == "n":
                self._new_instance(cost.direct[0], run=True)
            elif answer == "e":
                self._ask_to_run(to, again=cost.jobs)
            elif answer == "k":
                self._ask_to_run(to)

        each = [f"{job}: {number} finished" for job, number in cost.marks.items()]
        answers = [
            Answer(
                "n", f"new instance: {cost.direct[0]} keeps what it has, a copy gets the new values", self._why_no(cost)
            ),
            Answer("e", f"redo in place: {cost.tasks} results move to the Trash and are made again"),
            Answer("k", "keep them as they are, marked stale, and run only what is missing"),
        ]
        self.app.push_screen(
            OptionsScreen(f"{cost.words[:1].upper()}{cost.words[1:]}", "\n".join(each), answers), answered
        )

    def _why_no(self, cost: Cost) -> str:
        """Why there can be no new instance instead, "" where there can."""
        if not any(name.partition(".")[0] in cost.direct for name in self.unsaved.edits):
            return "The values are saved already: c copies a job, u goes back to the version before."
        if len(cost.direct) > 1:
            return f"The edits are in several jobs ({', '.join(cost.direct)}): make one of them first."
        return ""

    @work(thread=True, group="requests", exit_on_error=False)
    def _ask_to_run(self, to: str, again: Sequence[str] = ()) -> None:
        """Save, then write the requests and see that an engine lives."""
        if self.save_now() is not None:
            self._requests_to_run(to, again)

    def _requests_to_run(self, to: str, again: Sequence[str] = ()) -> None:
        from core.engine import requests

        def ask() -> None:
            requests.run(self.root, config_dir(), to=to or None)
            if again:
                requests.retry(self.root, config_dir(), jobs=again)

        what = f"up to {to}" if to else "all"
        self._serve(ask, f"{what}: run asked for" + (f", {', '.join(again)} again" if again else ""))

    # ---- A new instance, or again in place

    def action_new_instance(self) -> None:
        if not self._a_job() or not self.may_change():
            return
        if not self._edits_of(self.job):
            self.app.tell("n puts edits into a second instance; nothing is edited here. c copies the job as it is.")
        else:
            self._new_instance(self.job, run=False)

    def _edits_of(self, job: str) -> dict[str, str | None]:
        return {name: text for name, text in self.unsaved.edits.items() if name.partition(".")[0] == job}

    @work(thread=True, group="requests", exit_on_error=False)
    def _new_instance(self, job: str, run: bool) -> None:
        """A copy of a job with the edits in it; the job itself, and what it made, stay."""
        from core.engine.edits import copy_job, with_edits
        from core.errors import InputError

        edits = self._edits_of(job)

        def copy(model: ProjectFile) -> tuple[ProjectFile, str]:
            copied, id = copy_job(model, job)
            moved = {f"{id}{name.removeprefix(job)}": text for name, text in edits.items()}
            changed, refused = with_edits(copied, moved)
            if refused:
                raise InputError("; ".join(f"{name} {why}" for name, why in refused.items()))
            return changed, id

        id = self.change_now(copy, "{job} has the new values; " + f"{job} and what it made stay as they are.")
        if id:
            self.app.call_from_thread(self._without, job)
            if run:
                self._requests_to_run(id)

    def _without(self, job: str) -> None:
        self.unsaved.drop_job(job)
        self.refresh_lines()
        self.rebuild()

    def action_redo(self) -> None:
        if self._a_job() and self.may_change():
            self.once_known(self._redo)

    def _redo(self) -> None:
        concerned = ("", *self.built.upstream(self.job), *{name.partition(".")[0] for name in self.unsaved.edits})
        wrong = [each for each in self.built.troubles if each.level == "error" and each.job in concerned]
        if wrong:
            name = wrong[0].name.rpartition(".")[2] or wrong[0].job
            self.app.tell(f"Correct {name} first: {wrong[0].sentence}", True)
            return
        if self.job in self.cost.jobs:
            self._redo_changed()
            return
        job = self.job
        pulse = self.pulse.jobs.get(job) if self.pulse is not None else None
        if pulse is None or not pulse.done:
            self.app.tell(f"Nothing of {job} is finished yet. t tries again what failed.")
            return
        jobs = self.pulse.jobs if self.pulse is not None else {}
        later = sum(jobs[name].done for name in self.built.downstream(job) if name in jobs)
        impact = f"Its {pulse.done} finished results move to the Trash and are made again."
        if later:
            impact += f" {later} results of later jobs take from them and become stale where they differ."
        if self.unsaved:
            impact += f" {_SAVED_FIRST.format(words=self.unsaved.words)}"
        from crboost_tui.screens.ask import AskScreen

        def answered(yes: bool | None) -> None:
            if yes:
                self._ask_to_redo(job)

        self.app.push_screen(AskScreen(f"Do {job} again in place?", impact), answered)

    @work(thread=True, group="requests", exit_on_error=False)
    def _ask_to_redo(self, job: str) -> None:
        """Save, then write the request."""
        from core.engine import requests

        if self.save_now() is not None:
            self._serve(lambda: requests.redo(self.root, config_dir(), jobs=[job]), f"{job}: redo asked for")

    def _redo_changed(self) -> None:
        """The edits make results of this job stale: save, and make them and what follows again."""
        from crboost_tui.screens.ask import AskScreen

        cost, job = self.cost, self.job

        def answered(yes: bool | None) -> None:
            if yes:
                self._ask_to_run(job, again=cost.jobs)

        impact = f"{cost.tasks} finished results move to the Trash and are made again, in {', '.join(cost.jobs)}."
        impact += f" {_SAVED_FIRST.format(words=self.unsaved.words)}" if self.unsaved else ""
        self.app.push_screen(AskScreen(f"Save, and do {job} again in place?", impact), answered)

    # ---- Stop and retry

    def action_stop(self) -> None:
        if not self.may_change():
            return
        jobs = self.pulse.jobs if self.pulse is not None else {}
        here = jobs[self.job].live if self.job in jobs else 0
        live = sum(job.live for job in jobs.values())
        if not live:
            self.app.tell("Nothing runs or waits in the queue.")
            return
        from crboost_tui.screens.options import Answer, OptionsScreen

        job = self.job
        answers = [
            Answer("j", f"this job, {job}: {here} tasks", "" if here else f"Nothing of {job or 'it'} runs or waits."),
            Answer("a", f"all: {live} tasks"),
        ]

        def answered(answer: str | None) -> None:
            if answer is not None:
                self._stop([job] if answer == "j" else None)

        told = "Running and queued tasks end now and will begin again from their start. Finished ones stay."
        self.app.push_screen(OptionsScreen("Stop what runs?", told, answers, "nothing is stopped"), answered)

    @work(thread=True, group="requests", exit_on_error=False)
    def _stop(self, jobs: Sequence[str] | None) -> None:
        from core.engine import requests

        self._serve(lambda: requests.ask(self.root, "stop", jobs=jobs), "stop asked for", stop=True)

    def action_retry(self) -> None:
        """What failed, was stopped or is stale in this job."""
        if not self._a_job() or not self.may_change():
            return
        states = {state for state, number in self._states_of_job() if number}
        if not states & _AGAIN:
            self.app.tell(f"Nothing of {self.job} failed, was stopped or is stale.")
            return
        self._retry(self.job, None)

    def _states_of_job(self) -> list[tuple[str, int]]:
        jobs = self.pulse.jobs if self.pulse is not None else {}
        return list(jobs[self.job].states) if self.job in jobs else []

    def action_retry_tasks(self) -> None:
        keys = self.tasks.chosen()
        rows = [row for row in self.tasks.all_rows if row.key in keys]
        if not self._a_job() or not self.may_change():
            return
        if not any(row.state in _AGAIN for row in rows):
            self.app.tell("Of these nothing failed, was stopped or is stale. e does finished work again.")
            return
        self._retry(self.job, keys)

    @work(thread=True, group="requests", exit_on_error=False)
    def _retry(self, job: str, series: Sequence[str] | None) -> None:
        from core.engine import requests

        def ask() -> None:
            requests.retry(self.root, config_dir(), jobs=[job], series=series)

        self._serve(ask, f"{job}: retry asked for" + (f", {len(series)} tasks" if series else ""))

    # ---- All requests

    def _serve(self, ask: Callable[[], Any], said: str, stop: bool = False) -> None:
        """In a thread: write a request and see that somebody acts on it."""
        from core.engine.start import ensure_engine, stop_now

        try:
            ask()
            engine = (stop_now if stop else ensure_engine)(self.root, config_dir())
        except CrboostError as error:
            self.app.call_from_thread(self.app.tell, str(error), True)
            return
        self.app.call_from_thread(self.app.tell, f"{said}. {engine}")
