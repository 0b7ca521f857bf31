"""What changes the project file from the workspace: values that are typed, jobs that come and go, and what feeds them.

Values are edits until they are saved. Jobs that are added, copied or removed are saved at once, each as a version that
``u`` takes back; nothing that runs changes by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from textual import work
from textual.screen import Screen

from core.errors import ConflictError, CrboostError, InputError
from crboost_tui.data import config_dir
from crboost_tui.unsaved import Unsaved
from crboost_tui.workspace_data import PROJECT, Built, Cost, Opened, Pulse, file_stamp, open_project

if TYPE_CHECKING:
    from core.engine.plan import Sources
    from core.project.model import ProjectFile
    from crboost_tui.app import CrboostApp
    from crboost_tui.drafts import Draft
    from crboost_tui.widgets.input_list import InputList

ID_HINT = "Letters, digits, - and _: a name or species that tells it from the first (ribosome)."


class Changing(Screen[None]):
    """The part of the workspace that changes the project file."""

    app: CrboostApp
    root: Path
    unsaved: Unsaved
    opened: Opened | None
    pulse: Pulse | None
    built: Built
    cost: Cost
    job: str
    tab: int
    compare: str
    per_series: tuple[str, ...]
    _busy: bool
    _typed: dict[str, str | None]
    _undone: list[int]
    """Versions that were present before each undo; ``U`` restores the last one."""

    @property
    def inputs(self) -> InputList:
        raise NotImplementedError

    def rebuild(self) -> None:
        raise NotImplementedError

    def refresh_lines(self) -> None:
        raise NotImplementedError

    def job_changed(self) -> None:
        """Another job is selected."""
        raise NotImplementedError

    def once_known(self, then: Callable[[], None]) -> None:
        """Do something as soon as problems and cost of all that was typed are known."""
        raise NotImplementedError

    def take_project(self, opened: Opened, stamp: tuple[int, int], draft: Draft | None = None) -> None:
        raise NotImplementedError

    # ---- Values

    @property
    def locked(self) -> str:
        """Why nothing can be changed, "" where it can."""
        if self.opened is None:
            return "The project is being read."
        if self.opened.read_only:
            return self.opened.read_only
        return "" if self.opened.sources is not None else f"Not before this is mended: {self.opened.broken}"

    def put(self, changes: Mapping[str, str | None]) -> None:
        """Keep what was typed among the edits."""
        if self.locked:
            self.app.tell(self.locked)
        else:
            edits = {**self.unsaved.edits, **changes}
            self.unsaved.become({name: text for name, text in edits.items() if not self._is(name, text)})
        self.refresh_lines()
        self.rebuild()

    def _is(self, name: str, text: str | None) -> bool:
        """Whether the saved file has this text under a name already."""
        from core.engine.edits import set_value
        from crboost_tui.forms import text_of

        if self.opened is None or self.opened.sources is None:
            return False
        try:
            value = set_value(self.opened.sources.project, name)
        except InputError:
            return False
        if isinstance(value, list):
            return text == ", ".join(value)
        return value is None if text is None else value is not None and text_of(value) == text

    def action_save(self) -> None:
        if not self.unsaved:
            self.app.tell("Nothing was typed that is not saved.")
        elif self.may_change():
            self._save()

    def may_change(self) -> bool:
        """Whether the project can be changed now; else it is said why not."""
        if self.locked:
            self.app.tell(self.locked, True)
        elif self._busy:
            self.app.tell("The last change is being saved.")
        return not (self.locked or self._busy)

    @work(thread=True, exclusive=True, group="save", exit_on_error=False)
    def _save(self) -> None:
        self.save_now()

    def save_now(self) -> Sources | None:
        """Save the edits and read the project again; None where that was refused, which is told. In a thread."""
        from crboost_tui.forms import saved

        opened, edits = self.opened, dict(self.unsaved.edits)
        if opened is None or opened.sources is None:
            return None
        if not edits:
            return opened.sources
        self._busy = True  # else the change of the file would look like somebody else's
        try:
            version = saved(opened.sources, edits)
        except ConflictError as error:
            self.app.call_from_thread(self._conflict, str(error))
            return None
        except CrboostError as error:
            self.app.call_from_thread(self._refused, str(error))
            return None
        stamp, now = file_stamp(self.root), open_project(self.root, config_dir(), self.root in self.app.working_on)
        self.app.call_from_thread(self._saved, edits, now, stamp, f"Saved as version {version}.")
        return now.sources

    def _saved(self, edits: Mapping[str, str | None], opened: Opened, stamp: tuple[int, int], said: str) -> None:
        self._undone = []
        if self.unsaved.edits == edits:
            self.unsaved.clear()
        else:  # somebody went on typing
            self.unsaved.drop([name for name, text in edits.items() if self.unsaved.edits.get(name, "") == text])
        self.app.tell(said)
        self.take_project(opened, stamp)

    def _refused(self, sentence: str) -> None:
        """Nothing was saved: the list of what is wrong, from where one goes to each."""
        self._busy = False
        if any(each.level == "error" for each in self.built.troubles):
            self.action_problems()
        else:
            self.app.tell(sentence, True)

    def _conflict(self, sentence: str) -> None:
        from crboost_tui.screens.options import Answer, OptionsScreen

        self._busy = False

        def answered(answer: str | None) -> None:
            if answer == "l":
                self.read_again()

        lines = sentence.splitlines()
        shown = "\n".join([*lines[1:16], *(["..."] if len(lines) > 16 else [])])
        answers = [Answer("l", "load what is there now, with your unsaved values in it")]
        self.app.push_screen(
            OptionsScreen("Somebody else changed the project meanwhile; nothing was saved.", shown, answers), answered
        )

    @work(thread=True, exclusive=True, group="open", exit_on_error=False)
    def read_again(self) -> None:
        """Read what somebody else left in the project file, as it is now."""
        stamp = file_stamp(self.root)
        opened = open_project(self.root, config_dir(), self.root in self.app.working_on)
        self.app.call_from_thread(self._take_change, opened, stamp)

    def _take_change(self, opened: Opened, stamp: tuple[int, int]) -> None:
        if opened.sources is None and self._typed:  # there will be no form whose editor could hold it
            self.unsaved.become({**self.unsaved.edits, **self._typed})
            self._typed = {}
        self._undone = []
        self.take_project(opened, stamp)
        if opened.sources is not None and self.unsaved:
            self.unsaved.drop([name for name, text in self.unsaved.edits.items() if self._is(name, text)])
            self.refresh_lines()
            number = len(self.unsaved)
            if number:
                stand = "edit stands" if number == 1 else "edits stand"
                self.app.tell(f"crboost.yaml was changed by somebody else: your {number} {stand} on top of it.")

    def action_undo(self) -> None:
        if self.unsaved:
            names = self.unsaved.back()
            self.app.tell(f"taken back: {', '.join(names)}" if names else "taken back")
            self.refresh_lines()
            self.rebuild()
        elif self.may_change():
            self._busy = True
            self._undo()

    def action_undo_back(self) -> None:
        """Restore what the last undo took away."""
        if self.may_change():
            if self._undone:
                self._busy = True
                self._undo(self._undone[-1])
            else:
                self.app.tell("Nothing was undone since the last change.")

    @work(thread=True, exclusive=True, group="save", exit_on_error=False)
    def _undo(self, number: int | None = None) -> None:
        """See what a version would take out of the pipeline, before it is restored; None for the one before."""
        from core.project.file import load_version, version_before

        try:
            before = version_before(self.root) if number is None else number
            left = {each.id for each in load_version(self.root, before).pipeline}
        except CrboostError as error:
            self.app.call_from_thread(self._not_now, error.sentence)
            return
        self.app.call_from_thread(self._ask_to_restore, before, left, number is not None)

    def _ask_to_restore(self, number: int, left: set[str], back: bool) -> None:
        """Restore a version; where jobs with results would leave the pipeline, after a yes."""
        sources = self.opened.sources if self.opened is not None else None
        pulses = self.pulse.jobs if self.pulse is not None else {}
        ids = [each.id for each in sources.project.pipeline] if sources is not None else []
        gone = {id: pulses[id] for id in ids if id not in left and id in pulses}
        live = next((id for id, pulse in gone.items() if pulse.live), "")
        if live:
            self._not_now(f"{live} has {gone[live].live} tasks running or queued: s stops them first.")
            return
        gone = {id: pulse for id, pulse in gone.items() if pulse.done or pulse.folder}
        if not gone:
            self._restore(number, back)
            return
        from crboost_tui.screens.ask import AskScreen

        done = sum(pulse.done for pulse in gone.values())
        impact = (
            f"Version {number} has no {' and '.join(gone)}: {'they leave' if len(gone) > 1 else 'it leaves'} the "
            f"pipeline ({done} finished task{'' if done == 1 else 's'}; the folders stay on disk). "
            f"{'u' if back else 'U'} brings {'them' if len(gone) > 1 else 'it'} back."
        )

        def answered(yes: bool | None) -> None:
            if yes:
                self._restore(number, back)
            else:
                self._busy = False

        self.app.push_screen(AskScreen(f"Go back to version {number}?", impact), answered)

    @work(thread=True, exclusive=True, group="save", exit_on_error=False)
    def _restore(self, before: int, back: bool) -> None:
        from core.project.file import ensure_version, restore
        from core.project.versions import read_version

        try:
            present = ensure_version(self.root)
            number = restore(self.root, before)
        except CrboostError as error:
            self.app.call_from_thread(self._not_now, error.sentence)
            return
        undone = self._undone[:-1] if back else [*self._undone, present]
        stamp, opened = file_stamp(self.root), open_project(self.root, config_dir(), self.root in self.app.working_on)
        note = read_version(self.root, number).splitlines()[1]  # "# Restored from version 3."
        said = f"{note.removeprefix('# ').rstrip('.')}. It is version {number} now."
        said += "" if back else " U brings back what was undone."
        self.app.call_from_thread(self._restored, opened, stamp, said, undone)

    def _restored(self, opened: Opened, stamp: tuple[int, int], said: str, undone: list[int]) -> None:
        self._changed(opened, stamp, "", said)
        self._undone = undone

    def _not_now(self, sentence: str) -> None:
        self._busy = False
        self.app.tell(sentence[:1].upper() + sentence[1:], True)

    # ---- The list of problems

    def action_problems(self) -> None:
        from crboost_tui.screens.choose import ChooseScreen

        troubles = [*self.built.troubles]
        troubles.sort(key=lambda each: each.level != "error")
        choices = [
            (
                str(place),
                f"{'✗' if each.level == 'error' else '!'} {each.name.removeprefix('acquisition.') or each.job}",
                each.sentence,
            )
            for place, each in enumerate(troubles)
        ]

        def chosen(place: str | None) -> None:
            if place is not None:
                self.go_to(troubles[int(place)].job, troubles[int(place)].name)

        self.app.push_screen(
            ChooseScreen("What stands in the way", choices, nothing="Nothing is wrong: this can run."), chosen
        )

    def go_to(self, job: str, name: str) -> None:
        """Put the cursor on a job and a value of its form."""
        raise NotImplementedError

    # ---- Jobs

    def change(self, what: Callable[[ProjectFile], tuple[ProjectFile, str]], said: str) -> None:
        """Save another pipeline; ``what`` gives it and the job to select."""
        if self.may_change():
            self._busy = True
            self._change(what, said)

    @work(thread=True, exclusive=True, group="save", exit_on_error=False)
    def _change(self, what: Callable[[ProjectFile], tuple[ProjectFile, str]], said: str) -> None:
        self.change_now(what, said)

    def change_now(self, what: Callable[[ProjectFile], tuple[ProjectFile, str]], said: str) -> str:
        """In a thread: as :meth:`change`. The job that is selected now, "" where it was refused."""
        from core.project.file import digest, save
        from core.project.versions import read_version

        sources = self.opened.sources if self.opened is not None else None
        if sources is None:
            return ""
        try:
            model, job = what(sources.project)
            save(self.root, model, digest(read_version(self.root, sources.version)))
        except ConflictError as error:
            self.app.call_from_thread(self._conflict, str(error))
            return ""
        except CrboostError as error:
            self.app.call_from_thread(self._not_now, error.sentence)
            return ""
        stamp, opened = file_stamp(self.root), open_project(self.root, config_dir(), self.root in self.app.working_on)
        self.app.call_from_thread(self._changed, opened, stamp, job, said.format(job=job))
        return job

    def _changed(self, opened: Opened, stamp: tuple[int, int], job: str, said: str) -> None:
        self._undone = []
        if job:
            self.job = job
        left = {each.id for each in opened.sources.project.pipeline} if opened.sources is not None else set()
        for name in {name.partition(".")[0] for name in self.unsaved.edits} - left:
            if name not in ("acquisition", "instrument", "decisions", "resources"):
                self.unsaved.drop_job(name)
        if said:
            self.app.tell(said)
        self.take_project(opened, stamp)

    def action_add(self) -> None:
        if self.may_change():
            self._offer_jobs(self.job if self.job != PROJECT else "")

    @work(thread=True, exclusive=True, group="save", exit_on_error=False)
    def _offer_jobs(self, after: str) -> None:
        from core.engine.edits import add_job, inputs_of, unfed
        from core.jobs._registry import job_types
        from crboost_tui.screens.choose import Choice

        assert self.opened is not None and self.opened.sources is not None
        model = self.opened.sources.project
        choices = [
            Choice(name, name, f"{kind.title}. {kind.summary}", unfed(model, name, after=after))
            for name, kind in job_types().items()
        ]

        def distance(choice: Choice) -> int:
            """What takes from the selected job first, what cannot be fed last."""
            if choice.why:
                return 2
            changed, id = add_job(model, choice.id, after=after)
            return 0 if any(after in makers for makers in inputs_of(changed, id).values()) else 1

        choices.sort(key=distance)
        self.app.call_from_thread(self._choose_job, after, choices)

    def _choose_job(self, after: str, choices: list[object]) -> None:
        from core.engine.edits import add_job
        from crboost_tui.screens.choose import ChooseScreen

        def chosen(type: str | None) -> None:
            if type is not None:
                self.change(
                    lambda model: add_job(model, type, after=after),
                    "{job} is added. 2 shows what it takes; u undoes it.",
                )

        title = f"Add a job after {after}" if after else "Add a job"
        self.app.push_screen(ChooseScreen(title, choices), chosen)  # type: ignore[arg-type]

    def action_copy_job(self) -> None:
        if not self._a_job() or not self.may_change():
            return
        from crboost_tui.screens.prompt import PromptScreen

        base = self.job.partition("__")[0]
        job = self.job

        def typed(own: str | None) -> None:
            if own is None:
                return
            from core.engine.edits import copy_job

            id = f"{base}__{own}" if own else ""
            self.change(lambda model: copy_job(model, job, id=id), "{job} is a second instance, with the same values.")

        self.app.push_screen(
            PromptScreen(f"A second {base}. Its name:", ID_HINT, wrong=lambda own: self._wrong_id(f"{base}__{own}")),
            typed,
        )

    def _wrong_id(self, id: str) -> str:
        own = id.partition("__")[2]
        if not all(char.isascii() and (char.isalnum() or char in "-_") for char in own):
            return "Only letters, digits, - and _."
        if any(node.id == id for node in self.built.nodes):
            return f"There is a {id} already."
        return ""

    def action_remove(self) -> None:
        if not self._a_job() or not self.may_change():
            return
        job = self.job
        pulse = self.pulse.jobs.get(job) if self.pulse is not None else None
        if pulse is not None and pulse.live:
            self.app.tell(f"{job} has {pulse.live} tasks running or queued: s stops them first.")
            return
        from core.engine.edits import remove_job

        assert self.opened is not None and self.opened.sources is not None
        try:
            remove_job(self.opened.sources.project, job)
        except InputError as error:
            self.app.tell(error.sentence, True)
            return
        from crboost_tui.screens.ask import AskScreen

        impact = "It has not run; nothing is on disk."
        if pulse is not None and pulse.folder:
            impact = f"It only leaves the pipeline: its results ({pulse.done} done) stay on disk in {pulse.folder}."

        def answered(yes: bool | None) -> None:
            if yes:
                self.change(lambda model: (remove_job(model, job), ""), f"{job} is out of the pipeline. u undoes it.")

        self.app.push_screen(AskScreen(f"Take {job} out of the pipeline?", f"{impact} u brings it back."), answered)

    def action_find_job(self) -> None:
        """A list of the jobs that gets shorter while one types."""
        from crboost_tui.screens.choose import ChooseScreen

        def chosen(job: str | None) -> None:
            if job is not None:
                self.job = job
                self.refresh_lines()
                self.job_changed()

        jobs = self.pulse.jobs if self.pulse is not None else {}
        choices = [(node.id, node.id, jobs[node.id].title if node.id in jobs else "") for node in self.built.nodes]
        self.app.push_screen(ChooseScreen("Go to which job?", choices), chosen)

    def _a_job(self) -> bool:
        if self.job in ("", PROJECT):
            self.app.tell("Choose a job on the left first.")
            return False
        return True

    # ---- Inputs

    def action_choose_input(self) -> None:
        self._choose_producer(add=False)

    def action_add_input(self) -> None:
        self._choose_producer(add=True)

    def _choose_producer(self, add: bool) -> None:
        row = self.inputs.selected
        if not self.may_change():
            return
        if row is None:
            self.app.tell("This job takes nothing from other jobs.")
            return
        slot = next(each for each in self.built.slots if each.name == row.slot)
        taken = list(slot.takes)
        fitting = [name for name in slot.fitting if not add or name not in taken]
        if not fitting:
            more = "No other job" if add else "No job"
            self.app.tell(f"{more} before this one makes {slot.kind}.")
            return
        from crboost_tui.screens.choose import ChooseScreen

        jobs = self.pulse.jobs if self.pulse is not None else {}
        choices = [(name, name, jobs[name].title if name in jobs else "has not run yet") for name in fitting]

        def chosen(name: str | None) -> None:
            if name is None:
                return
            if add:
                names = [*taken, name]
            else:
                kept = [name if each == row.producer else each for each in taken]
                names = list(dict.fromkeys(kept if row.producer else [name, *taken]))
            self._connect(slot.name, names)

        title = f"Where the others failed, take {slot.kind} from" if add else f"Take {slot.kind} from"
        self.app.push_screen(ChooseScreen(title, choices, at=row.producer), chosen)

    def action_remove_input(self) -> None:
        row = self.inputs.selected
        if row is None or not row.producer or not self.may_change():
            self.app.tell("Put the cursor on a job that is taken first.")
            return
        slot = next(each for each in self.built.slots if each.name == row.slot)
        names = [name for name in slot.takes if name != row.producer]
        if not names and slot.required:
            if slot.named:
                self._connect(slot.name, [])
                self.app.tell("Back to the nearest job that fits: this input cannot be empty.")
            else:
                self.app.tell("This input cannot be empty. Enter chooses another job.")
            return
        self._connect(slot.name, names)

    def _connect(self, slot: str, names: list[str]) -> None:
        self.put({f"{self.job}.inputs.{slot}": ", ".join(names) if names else None})

    # ---- Comparing and copying values

    def next_comparison(self) -> None:
        """Compare with the next thing there is, after the last one with nothing."""
        if self._a_job() and self.opened is not None and self.opened.sources is not None:
            self._find_comparisons(self.opened.sources, self.job, self.compare)

    @work(thread=True, exclusive=True, group="compare", exit_on_error=False)
    def _find_comparisons(self, sources: Sources, job: str, now: str) -> None:
        from core.engine.reading import load_status
        from crboost_tui.forms import comparisons

        try:
            found = ["", *comparisons(sources, job, load_status(self.root))]
        except CrboostError as error:
            self.app.call_from_thread(self.app.tell, error.sentence, True)
            return
        place = (found.index(now) + 1) % len(found) if now in found else 0
        self.app.call_from_thread(self._compare_with, job, found[place])

    def _compare_with(self, job: str, other: str) -> None:
        if job == self.job:
            self.compare = other
            self.app.tell(f"beside {other}" if other else "beside nothing")
            self.rebuild()

    def action_copy_values(self) -> None:
        if not self._a_job() or not self.may_change():
            return
        assert self.opened is not None and self.opened.sources is not None
        model = self.opened.sources.project
        type = model.instance(self.job).type
        others = [each.id for each in model.pipeline if each.type == type and each.id != self.job]
        from crboost_tui.screens.choose import ChooseScreen
        from crboost_tui.screens.prompt import PromptScreen

        def typed(folder: str | None) -> None:
            if folder:
                self._copy_values(folder if ":" in folder else f"{folder}:{self.job}")

        def chosen(name: str | None) -> None:
            if name == ":":
                hint = f"Its folder; another job than {self.job} behind a colon (/data/p:tsCtf)."
                self.app.push_screen(PromptScreen("Values of which project?", hint), typed)
            elif name is not None:
                self._copy_values(name)

        choices = [(name, name, "of this project") for name in others]
        choices.append((":", "another project ...", "its folder is asked for"))
        self.app.push_screen(ChooseScreen(f"{self.job} takes the parameters of", choices), chosen)

    @work(thread=True, exclusive=True, group="compare", exit_on_error=False)
    def _copy_values(self, source: str) -> None:
        from crboost_tui.forms import copied

        assert self.opened is not None and self.opened.sources is not None
        try:
            changes = copied(source, self.opened.sources, self.job)
        except CrboostError as error:
            self.app.call_from_thread(self.app.tell, str(error), True)
            return
        self.app.call_from_thread(self._take_values, source, changes)

    def _take_values(self, source: str, changes: Mapping[str, str | None]) -> None:
        before = len(self.unsaved)
        self.put(changes)
        number = len(self.unsaved) - before
        self.app.tell(f"{number} values as in {source}, not saved yet" if number else f"{source} has the same values")
