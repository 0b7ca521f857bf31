"""New project, and more data for one that is there: where the data are, which series, their values, what is made.

Typing is answered by threads that look at the disk; everything else is asked of a worker process (see
:mod:`crboost_tui.import_client`), so that neither a dead mount nor 2,000 mdocs hold up a key.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import ContentSwitcher

from crboost_tui.actions import Action, bindings
from crboost_tui.drafts import Draft, DraftKeeper, read_draft
from crboost_tui.import_client import (
    Begin,
    Begun,
    Forms,
    ImportClient,
    Look,
    Made,
    Make,
    Progress,
    Question,
    ShowForms,
    ShowTilts,
    Wrong,
)  # fmt: skip
from crboost_tui.import_data import SeriesLine, SeriesPicture, TiltPicture
from crboost_tui.import_files import DataCount, Place, count_data, look_at_place, suggested_name, tilde
from crboost_tui.probe import Probe
from crboost_tui.screens.ask import AskScreen
from crboost_tui.screens.new_project_steps import (
    FOLDER,
    MDOCS,
    MOVIES,
    NAME,
    DataPage,
    MakePage,
    Page,
    SeriesPage,
    ValuesPage,
    unsure_of,
    wrong_of,
)  # fmt: skip
from crboost_tui.state import state_folder
from crboost_tui.widgets.form_view import FormView
from crboost_tui.widgets.import_table import ImportTable
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.line_list import LineList
from crboost_tui.widgets.path_input import PathInput

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

DEBOUNCE_SECONDS = 0.15
SILENT_SECONDS = 2.5
"""After so long without an answer a folder counts as one that does not answer."""
PREFERRED_PIPELINE = "warp_to_tomograms"
NARROW = 64
"""Cells below which only the present step is named."""
STEPS = ("data", "series", "values", "make")

ACTIONS = (Action("app.help", "f1,question_mark", "help", "this page"),)


@dataclass(frozen=True, slots=True)
class Typed:
    """What is asked of the disk. ``base``: below which projects are made, "" where no folder is to be suggested."""

    movies: str
    mdocs: str
    base: str


@dataclass(frozen=True, slots=True)
class Found:
    counts: DataCount
    folder: str
    """One for the project, "" for none."""


class NewProjectScreen(Screen[None]):
    """``root``: the project that gets more data; None for a new one."""

    app: CrboostApp
    ACTIONS: tuple[Action, ...] = ACTIONS
    BINDINGS = bindings(ACTIONS)
    DEFAULT_CSS = """
    NewProjectScreen #head { background: $panel; }
    NewProjectScreen ContentSwitcher { height: 1fr; }
    """

    class Answered(Message):
        """The worker process answered."""

        def __init__(self, question: Question, answer: Any) -> None:
            super().__init__()
            self.question, self.answer = question, answer

    def __init__(self, root: Path | None = None) -> None:
        super().__init__()
        self.root = root
        self.begun: Begun | None = None
        self.found: Found | None = None
        self.found_of: Typed | None = None
        self.place: Place | None = None
        self.looked: Look | None = None
        """The data that the table shows."""
        self.forms: Forms | None = None
        self.edits: dict[str, str | None] = {}
        self.making = False
        self._lines: list[SeriesLine] = []
        self._touched: set[str] = set()
        """Entries that a person typed in: they are not filled any more."""
        self._going = False
        """Enter was pressed before the disk had answered."""
        self._debounce: Timer | None = None
        self._silence: Timer | None = None
        self._client = ImportClient(self._deliver)
        self._counting: Probe[Typed, Found] = Probe(
            _look, lambda typed, found: self._later(self._counted, typed, found)
        )
        self._placing: Probe[tuple[str, str], Place] = Probe(
            lambda asked, _: look_at_place(*asked), lambda asked, place: self._later(self._placed, asked, place)
        )
        self._keeper = DraftKeeper(self._draft_root, lambda told: self._later(self.app.tell, told))

    @property
    def adding(self) -> bool:
        return self.root is not None

    @property
    def _draft_root(self) -> Path:
        """Drafts are kept by project: this one's is of a project that is not there yet, or of its further data."""
        return state_folder() / "new project" if self.root is None else self.root / "more data"

    def compose(self) -> ComposeResult:
        yield Line(id="head")
        self.data = DataPage(self.adding)
        self.series = SeriesPage(self.app.colour, self.app.utf8)
        self.values = ValuesPage(FormView())
        self.make = MakePage(self.adding, self.app.colour, self.app.utf8)
        with ContentSwitcher(initial="data"):
            yield self.data  # the others come when they are gone to: all at once would hold up the loop
        yield Keys(self.ACTIONS, utf8=self.app.utf8)

    async def on_mount(self) -> None:
        await self._show_step("data")
        self._client.ask(Begin(self.root))
        self._read_draft()

    def on_resize(self) -> None:
        self._say_head()

    def on_unmount(self) -> None:
        self._client.close()
        self._counting.forget()
        self._placing.forget()
        self._keeper.close()

    # ---- Pages

    @property
    def step(self) -> str:
        return self.query_one(ContentSwitcher).current or "data"

    @property
    def page(self) -> Page:
        return {"data": self.data, "series": self.series, "values": self.values, "make": self.make}[self.step]

    async def _show_step(self, step: str) -> None:
        switcher = self.query_one(ContentSwitcher)
        new = {"data": self.data, "series": self.series, "values": self.values, "make": self.make}[step]
        if not new.is_attached:
            await switcher.add_content(new)
        switcher.current = step
        page = new
        keys = self.query_one(Keys)
        self.ACTIONS = page.ACTIONS + ACTIONS
        keys.actions = [each for each in self.ACTIONS if each.footer]
        keys.refresh()
        self._say_head()
        page.take_focus()
        if step == "values" and self.forms is not None:
            self.values.show(self.forms)
        elif step == "make":
            self.make.show(self.begun.pipelines if self.begun is not None else (), PREFERRED_PIPELINE)
            self._say_will()

    def _say_head(self) -> None:
        name = self.begun.name if self.begun is not None else ""
        title = Text(" ")
        title.append(f"Add data to {name or self.root.name}" if self.root is not None else "New project", "bold")
        steps = Text()
        last = "add" if self.adding else "make"
        for number, (step, label) in enumerate(zip(STEPS, ("data", "series", "values", last), strict=True), 1):
            if self.size.width < NARROW:
                steps.append(f" {number} of {len(STEPS)} {label} " if step == self.step else "")
                continue
            steps.append(f" {number} {label} ", "reverse" if step == self.step else "")
        self.query_one("#head", Line).say(title, steps)

    def _deliver(self, question: Question, answer: Any) -> None:
        """Called in a thread."""
        self.post_message(self.Answered(question, answer))

    # ---- Typing

    def on_path_input_changed(self, event: PathInput.Changed) -> None:
        name = event.path_input.id or ""
        self._touched.add(name)
        if not event.text and name in (FOLDER, NAME):
            self._touched.discard(name)
        self._going = False
        self._keep_draft()
        if name in (MOVIES, MDOCS):
            self.data.say_quiet(name, "counting" if event.text.strip() else "")
        elif name == NAME:
            self.data.say_quiet(NAME, "")
        if self._debounce is not None:
            self._debounce.stop()
        self._debounce = self.set_timer(DEBOUNCE_SECONDS, self._ask_disk)

    def action_complete(self) -> None:
        for entry in self.data.inputs.values():
            if entry.has_focus:
                entry.action_complete()

    async def on_path_input_left(self, event: PathInput.Left) -> None:
        event.stop()
        name = event.path_input.id or ""
        if event.step:
            self.data.focus_on(self.data.beside(name, event.step))
            if self.found is not None and self.found_of == self._typed:
                self.data.say_counts(self.found.counts, calm=False)
        else:
            await self.action_enter()

    @property
    def _typed(self) -> Typed:
        base = self.begun.base if self.begun is not None and FOLDER not in self._touched and not self.adding else ""
        return Typed(self.data.text(MOVIES), self.data.text(MDOCS), base)

    def _ask_disk(self) -> None:
        """Count what was typed, and look at the project's folder."""
        if self._debounce is not None:
            self._debounce.stop()
            self._debounce = None
        if self._silence is not None:
            self._silence.stop()
        if self._typed != self.found_of:
            self._counting.ask(self._typed)
        self._ask_place()
        self._silence = self.set_timer(SILENT_SECONDS, self._say_silence)

    def _ask_place(self) -> None:
        folder = self.data.text(FOLDER)
        if folder.strip():
            self._placing.ask((folder, self.begun.base if self.begun is not None else os.sep))
        elif not self.adding:
            self.place = None
            self.data.say_quiet(FOLDER, "suggested when the movies are found")

    def _later(self, then: Callable[..., object], *arguments: Any) -> None:
        """Called in threads."""
        if self.is_attached:
            self.call_later(then, *arguments)

    async def _counted(self, typed: Typed, found: Found) -> None:
        if typed != self._typed or not self.is_attached:
            return
        self.found, self.found_of = found, typed
        self.data.say_counts(found.counts, calm=not self._going)
        if found.folder and FOLDER not in self._touched and not self.adding:
            self.data.inputs[FOLDER].fill(tilde(found.folder))
            self._ask_place()
        if found.folder and not self._touched & {FOLDER, NAME} and not self.adding:
            self.data.inputs[NAME].fill(os.path.basename(found.folder))
        await self._go_on()

    async def _placed(self, asked: tuple[str, str], place: Place) -> None:
        if asked[0] != self.data.text(FOLDER) or not self.is_attached:
            return
        self.place = place
        self.data.say_place(place)
        if NAME not in self._touched:
            self.data.inputs[NAME].fill(os.path.basename(place.path))
        await self._go_on()

    def _say_silence(self) -> None:
        if self._typed != self.found_of:
            waits = MOVIES if self.data.text(MOVIES).strip() else MDOCS
            self.data.say_wrong(waits, "this folder does not answer: its disk or server may be away")

    # ---- From the data to the table

    async def action_enter(self) -> None:
        """On with what is there; where something is missing, to it."""
        match self.step:
            case "data":
                self._going = True
                self._ask_disk()
                await self._go_on()
            case "series":
                self._open_tilts()
            case "make":
                self._make()

    async def _go_on(self) -> None:
        """Look at the data, once the disk has answered and everything is there."""
        if not self._going or self.step != "data" or self._typed != self.found_of or self.found is None:
            return
        counts = self.found.counts
        wrong = next((name for name, count in ((MOVIES, counts.movies), (MDOCS, counts.mdocs)) if not count.some), "")
        if wrong:
            self._going = False
            count = counts.movies if wrong == MOVIES else counts.mdocs
            self.data.say_wrong(wrong, count.problem or f"say where the {wrong} are")
            self.data.focus_on(wrong)
            return
        if not self.adding:
            if not self.data.text(FOLDER).strip():
                self._going = False
                self.data.say_wrong(FOLDER, "say where the project is to be made")
                self.data.focus_on(FOLDER)
                return
            if self.place is None or self.begun is None:
                return
            if not self.place.good:
                self._going = False
                self.data.focus_on(FOLDER)
                return
            if not self.data.text(NAME).strip():
                self._going = False
                self.data.say_wrong(NAME, "give it a name")
                self.data.focus_on(NAME)
                return
        self._going = False
        look = Look(counts.movies.patterns, counts.mdocs.patterns, self.root)
        await self._show_step("series")
        if look != self.looked:
            self._look(look)

    def _look(self, look: Look) -> None:
        self.looked = look
        self._lines = []
        self.forms = self.values.found = None
        self.series.clear()
        self.series.say_reading(0, 0)
        self._client.ask(look)

    @property
    def looking(self) -> bool:
        return self.looked is not None and not self.series.table.picture.headline

    async def _stop_looking(self, sentence: str = "") -> None:
        """Back to the paths. ``sentence``: what was wrong with them."""
        self._client.stop()
        self.looked = None
        await self._show_step("data")
        name = MOVIES if "movie" in sentence else MDOCS
        self.data.focus_on(name)
        if sentence:
            self.data.say_wrong(name, sentence.replace(os.path.expanduser("~/"), "~/"))

    async def on_new_project_screen_answered(self, event: Answered) -> None:
        event.stop()
        question, answer = event.question, event.answer
        match question, answer:
            case Begin(), Begun():
                self._begun(answer)
            case Look(), _ if question != self.looked:
                return
            case Look(), Progress(done=done, total=total):
                self.series.say_reading(done, total)
            case Look(), tuple():
                self._lines += answer
            case Look(), SeriesPicture():
                self.series.show(replace(answer, lines=tuple(self._lines)))
                self._ask_forms()
            case Look(), Wrong(sentence=sentence):
                await self._stop_looking(sentence)
            case ShowTilts(), TiltPicture():
                self.series.show_tilts(answer)
                self._say_head()
            case ShowForms(), Forms():
                if question.edits == self._shown_edits:
                    self.forms = answer
                    if self.values.is_attached:
                        self.values.show(answer)
            case Make(), Progress(done=done, total=total):
                self._say_making(done, total)
            case Make(), Made(root=root):
                self._made(root)
            case Make(), Wrong():
                self._not_made(question, answer)
            case _, Wrong(sentence=sentence):
                self.app.tell(sentence, wrong=True)

    def _begun(self, begun: Begun) -> None:
        self.begun = begun
        self._say_head()
        if begun.problem:
            self.app.tell(begun.problem, wrong=True)
        self._ask_disk()

    # ---- The table

    def action_tick(self) -> None:
        if self.looking or self.series.tilts_open:
            return
        why = self.series.table.toggle()
        if why:
            self.app.tell(why)
        self.series.say_counts()

    def action_tick_all(self) -> None:
        self.series.table.tick(lambda line: True)
        self.series.say_counts()

    def action_tick_none(self) -> None:
        self.series.table.tick(lambda line: False)
        self.series.say_counts()

    def action_tick_good(self) -> None:
        self.series.table.tick(lambda line: line.good)
        self.series.say_counts()

    def action_next_odd(self) -> None:
        if not self.series.table.next_odd():
            self.app.tell("Nothing is odd, and nothing was refused.")

    def action_sort(self, step: int) -> None:
        self.series.table.sort(step)

    def action_look_again(self) -> None:
        if self.looked is not None and not self.looking:
            self._look(self.looked)

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        if isinstance(event.lines, ImportTable):
            self.series.say_note()
        elif event.lines is self.make.list:
            self.make.say_choice()
            self._say_will()

    async def on_line_list_opened(self, event: LineList.Opened) -> None:
        await self.action_enter()

    def _open_tilts(self) -> None:
        series = self.series
        if series.tilts_open:
            series.close_tilts()
        elif series.table.line is not None:
            self._client.ask(ShowTilts(series.table.line.id))
        else:
            why = series.table.toggle()
            if why and not self.looking:
                self.app.tell(why)

    def action_other_series(self, step: int) -> None:
        """The tilts of the series after or before this one."""
        series = self.series
        if series.tilts_open:
            series.table.action_move(step)
            if series.table.line is not None:
                self._client.ask(ShowTilts(series.table.line.id))

    # ---- Values

    @property
    def _shown_edits(self) -> dict[str, str | None]:
        return {**self.edits, **self._being_typed}

    _being_typed: dict[str, str | None] = {}

    def _ask_forms(self) -> None:
        self._client.ask(ShowForms(self.root, self._shown_edits))

    def on_form_view_typed(self, event: FormView.Typed) -> None:
        self._being_typed = dict(event.changes)
        self._ask_forms()

    def on_form_view_edited(self, event: FormView.Edited) -> None:
        self._being_typed = {}
        for name, text in event.changes.items():
            self.edits[name] = text
        self._ask_forms()

    def on_form_view_compare(self) -> None:
        self.app.tell("There is nothing to compare these values with yet.")

    def action_other_group(self, step: int) -> None:
        if not self.values.other(step):
            self.app.tell("All series belong to one acquisition group.")

    # ---- Going through the steps

    async def action_next(self) -> None:
        match self.step:
            case "series" if self.looking:
                self.app.tell("The mdocs are still being read.")
            case "series" if not self.series.table.picture.lines:
                self.app.tell("There is no tilt series to go on with: esc leads back to the paths.")
            case "series":
                await self._show_step("values")
            case "values" if wrong := wrong_of(self.forms):
                self.values.form_view.go(wrong[0])
                self.app.tell(f"Correct this first: {wrong[1]}", True)
            case "values":
                await self._show_step("make")

    async def action_back(self) -> None:
        match self.step:
            case "series" if self.series.tilts_open:
                self.series.close_tilts()
            case "series" if self.looking:
                await self._stop_looking()
            case "series":
                await self._show_step("data")
            case "values":
                await self._show_step("series")
            case "make" if self.making:
                self.app.tell("The project is being made: a moment.")
            case "make":
                await self._show_step("values")
            case _:
                self._ask_to_leave()

    def _ask_to_leave(self) -> None:
        typed = any(self.data.text(name).strip() for name in (MOVIES, MDOCS)) or self._touched
        if not typed:
            self.dismiss()
            return
        impact = "Nothing was made. The paths are kept for the next time"
        impact += "; ticks and values are not." if self.looked is not None else "."
        question = "Leave without adding data?" if self.adding else "Leave without making the project?"
        self.app.push_screen(AskScreen(question, impact), self._leave)

    def _leave(self, answer: bool | None) -> None:
        if answer:
            self.dismiss()

    # ---- Making

    def _left_out(self) -> list[str]:
        return [
            line.id for line in self.series.table.picture.lines if not line.known and not self.series.table.is_in(line)
        ]

    def _say_will(self) -> None:
        picture = self.series.table.picture
        left_out = len(self._left_out())
        new = sum(not line.known for line in picture.lines) - left_out
        series = f"{new:,} {'new ' if self.adding else ''}series"
        begin = (
            f"Adds {series} to {tilde(str(self.root))}"
            if self.root is not None
            else f"Makes {tilde(self._folder)} with {series}"
        )
        text = Text()
        text.append(f"{begin}, links {picture.movies:,} movies. Nothing is copied or changed.", "bold")
        if left_out:
            text.append(
                f"\n{left_out:,} without a tick come in excluded: nothing runs on them until you include them.",
                self.app.colour("quiet"),
            )
        unsure = unsure_of(self.forms)
        if unsure:
            what = "1 value is" if unsure == 1 else f"{unsure} values are"
            words = f"\n! {what} still to be confirmed or set: before the first run at the latest."
            text.append(words, self.app.colour("need"))
        self.make.say_will(text)

    @property
    def _folder(self) -> str:
        return self.place.path if self.place is not None else self.data.text(FOLDER)

    def _make(self) -> None:
        if self.making or self.looked is None:
            return
        root = self.root or Path(self._folder)
        choice = self.make.list.selected
        pipeline = choice.name if choice is not None else ""
        self.making = True
        self._say_making(0, 0)
        edits = {name: text for name, text in self.edits.items() if text is not None or self.adding}
        name = self.data.text(NAME).strip()
        self._client.ask(Make(root, name, pipeline, edits, tuple(self._left_out()), self.adding))

    def _say_making(self, done: int, total: int) -> None:
        words = f"linking: {done:,} of {total:,} series" if total else "making the project"
        share = round(30 * done / total) if total else 0
        bar = Text("█" * share, self.app.colour("run"))
        bar.append("░" * (30 - share), self.app.colour("quiet"))
        bar.append(f"  {words}", "bold")
        self.make.say_will(bar)

    def _made(self, root: Path) -> None:
        self._touched.clear()
        self._keeper.keep({})
        self.app.root = root
        self.app.show_workspace(root)

    def _not_made(self, question: Make, wrong: Wrong) -> None:
        self.making = False
        sentence = wrong.sentence
        if wrong.made:
            self.root = question.root
            sentence += " The project itself was made: enter tries again to bring the data in."
        self.make.say_will(Text(f"✗ {sentence}", self.app.colour("fail")))

    # ---- Drafts

    def _keep_draft(self) -> None:
        self._keeper.keep({name: text for name, text in self.data.texts().items() if text and name in self._touched})

    @work(thread=True, group="draft", exit_on_error=False)
    def _read_draft(self) -> None:
        draft = read_draft(self._draft_root)
        if draft is not None:
            self._later(self._offer, draft)

    def _offer(self, draft: Draft) -> None:
        """What was typed the last time, where nothing has been typed since."""
        if self._touched or not self.is_attached:
            return
        for name, text in draft.edits.items():
            if name in self.data.inputs and text:
                self.data.inputs[name].fill(text)
                self._touched.add(name)
        self._keeper.keep(draft.edits, draft)
        self.data.inputs[MOVIES].fill(self.data.text(MOVIES), offered=True)
        self.app.tell(f"as you left it, {draft.clock}")
        self._ask_disk()


def _look(typed: Typed, cancelled: Callable[[], bool]) -> Found:
    counts = count_data(typed.movies, typed.mdocs, cancelled)
    name = suggested_name(counts.movies.patterns) if counts.movies.some else ""
    folder = ""
    if name and typed.base:
        for number in range(1, 100):
            folder = os.path.join(typed.base, name if number == 1 else f"{name}_{number}")
            if look_at_place(folder, typed.base).good or not os.path.isdir(typed.base):
                break
    return Found(counts, folder)
