"""The pages of *New project*: data and place, the table of series, the values of the acquisition, what is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from crboost_tui.actions import Action
from crboost_tui.import_client import Forms
from crboost_tui.import_data import PipelineChoice, SeriesPicture, TiltPicture
from crboost_tui.import_files import Count, DataCount, Place, Wants
from crboost_tui.terminal import ASCII_TWINS, cell_width, shorten
from crboost_tui.widgets.form_view import FORM_ACTIONS, FormView
from crboost_tui.widgets.import_table import ImportTable, TiltList
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.line_list import LineList, Piece
from crboost_tui.widgets.path_input import PathInput

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

BESIDE = 110
"""Cells from which on the tilts of a series stand beside the table."""
HIGH, LOW = 28, 14
"""Lines from which on a note may be long, and below which there is no room for it."""
BAR = 30

DATA_ACTIONS = (
    Action("enter", "enter", "look at the data", "read the mdocs and look their movies up; the table comes next"),
    Action("complete", "tab", "complete", "complete the path; on to the next line where it is complete"),
    Action("back", "escape", "leave", "leave (asks first where something was typed)"),
)
SERIES_ACTIONS = (
    Action("next", "n", "next", "on to the values, with the series that have a tick"),
    Action("tick", "space", "tick", "take this series, or leave it out"),
    Action("enter", "enter", "tilts", "the tilts of this series: angles, dose, movies, what is wrong"),
    Action("next_odd", "f", "next odd", "to the next series that is odd or was refused"),
    Action("sort(1)", "s", "sort", "sort by the next column"),
    Action("sort(0)", "S", "reverse", "sort the other way round", footer=False),
    Action("tick_good", "o", "only good", "take the good series alone: no tick for the odd ones"),
    Action("tick_all", "a", "all", "take all series"),
    Action("tick_none", "A", "none", "take no series", footer=False),
    Action("look_again", "r", "read again", "read the mdocs again"),
    Action("other_series(1)", "right", "next series", "while tilts are shown: those of the next series", footer=False),
    Action("other_series(-1)", "left", "series before", "and of the series before", footer=False),
    Action("back", "escape,b", "back", "back to the paths; ends the reading"),
)
VALUES_ACTIONS = (
    Action("next", "n", "next", "on to the pipeline"),
    Action("back", "escape,b", "back", "back to the table"),
    Action("other_group(1)", "g", "group", "the values of the next acquisition group"),
)
_OFTEN = ("focused.edit", "focused.confirm", "focused.next_problem", "focused.default")
"""What the form's keys are mostly for on this page."""
_FORM_ACTIONS = tuple(replace(each, footer=each.name in _OFTEN) for each in FORM_ACTIONS)
MAKE_ACTIONS = (
    Action("enter", "enter", "make it", "do what the line says, and open the workspace"),
    Action("back", "escape,b", "back", "back to the values"),
)

MOVIES, MDOCS, FOLDER, NAME = "movies", "mdocs", "folder", "name"
_LABELS = {MOVIES: "movies", MDOCS: "mdocs", FOLDER: "project folder", NAME: "name"}
_PLACEHOLDERS = {
    MOVIES: "/data/session/frames or /data/session/*.eer",
    MDOCS: "near the movies",
    FOLDER: "",
    NAME: "",
}


class Words(Widget):
    """A sentence folded into a place of fixed height. Only what changed in a line is drawn again."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._sentence = ""
        self._lines: list[str] = []

    def say(self, sentence: str) -> None:
        before, self._sentence = self._lines, sentence
        self._fold()
        for y, (old, new) in enumerate(zip_longest(before, self._lines, fillvalue="")):
            if old != new:
                self.refresh(Region(0, y, max(cell_width(old), cell_width(new)), 1))

    def on_resize(self) -> None:
        self._fold()
        self.refresh()

    def _fold(self) -> None:
        width, height = max(20, self.size.width - 2), max(1, self.size.height)
        lines = [f" {line}" for line in wrap(self._sentence, width)]
        if len(lines) > height:
            lines[height - 1 :] = [shorten(" ".join(lines[height - 1 :]).replace("  ", " "), width)]
        self._lines = lines

    def render_line(self, y: int) -> Strip:
        text = self._lines[y] if y < len(self._lines) else ""
        return Strip([Segment(text, self.rich_style)]).adjust_cell_length(self.size.width, self.rich_style)


def of_screen(actions: tuple[Action, ...]) -> list[BindingType]:
    """The keys of a page; what they do is the screen's."""
    return [
        Binding(each.keys, f"screen.{each.name}", each.label, show=False, tooltip=each.help, id=each.id)
        for each in actions
    ]


class Page(Vertical):
    """What the pages share: the app's colours and glyphs. ``ACTIONS`` are done by the screen."""

    app: CrboostApp
    ACTIONS: ClassVar[tuple[Action, ...]] = ()
    DEFAULT_CSS = """
    Page { height: 1fr; }
    """

    def take_focus(self) -> None:
        """Give the keys to what they are for."""

    def say(self, name: str, left: Text | str, right: Text | str = "") -> None:
        self.query_one(f"#{name}", Line).say(self.plain(left), self.plain(right))

    def plain(self, text: Text | str) -> Text:
        text = Text(text) if isinstance(text, str) else text
        if not self.app.utf8:
            text.plain = text.plain.translate(ASCII_TWINS)
        return text


class DataPage(Page):
    """Where the data are, and where the project goes. ``adding``: the project is there already."""

    ACTIONS = DATA_ACTIONS
    BINDINGS = of_screen(DATA_ACTIONS)

    DEFAULT_CSS = """
    DataPage { padding: 1 1 0 1; }
    DataPage VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
    DataPage #advice { height: auto; margin-left: 16; color: $text-muted; }
    """

    def __init__(self, adding: bool) -> None:
        super().__init__(id="data")
        self.names = (MOVIES, MDOCS) if adding else (MOVIES, MDOCS, FOLDER, NAME)
        kinds: dict[str, Wants] = {MOVIES: "movies", MDOCS: "mdocs", FOLDER: "folder", NAME: "name"}
        self.inputs = {
            name: PathInput(kinds[name], _LABELS[name], placeholder=_PLACEHOLDERS[name], id=name) for name in self.names
        }

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield from self.inputs.values()
            yield Static(
                "Several patterns are separated by commas. Nothing is copied, and no raw file is changed.",
                id="advice",
                markup=False,
            )

    def take_focus(self) -> None:
        self.focus_on(MOVIES)

    def text(self, name: str) -> str:
        return self.inputs[name].text if name in self.inputs else ""

    def texts(self) -> dict[str, str]:
        return {name: self.text(name) for name in self.names}

    def focus_on(self, name: str) -> None:
        self.inputs[name].focus()

    def beside(self, name: str, step: int) -> str:
        """The entry after or before one."""
        at = self.names.index(name) + step
        return self.names[max(0, min(len(self.names) - 1, at))]

    def say_wrong(self, name: str, sentence: str) -> None:
        self._tell(name, f"✗ {sentence}", "fail")

    def say_quiet(self, name: str, words: str) -> None:
        self._tell(name, words, "quiet")

    def _tell(self, name: str, words: str, how: str, more: str = "") -> None:
        self.inputs[name].tell((words, how), (more, "need"))

    def say_counts(self, found: DataCount, calm: bool) -> None:
        """``calm``: while somebody still types, nothing is wrong yet."""
        for name, count in ((MOVIES, found.movies), (MDOCS, found.mdocs)):
            self.inputs[name].satisfy(count.some)
        self._say_count(MOVIES, found.movies, "movie", calm)
        if found.movies.number or found.mdocs.number or self.text(MDOCS).strip():
            self._say_count(MDOCS, found.mdocs, "mdoc", calm)
        else:
            self.say_quiet(MDOCS, "")

    def _say_count(self, name: str, count: Count, word: str, calm: bool) -> None:
        if count.problem and not count.number:
            if calm:
                self.say_quiet(name, f"  {count.problem}")
            else:
                self.say_wrong(name, count.problem)
            return
        if not count.number:
            self.say_quiet(name, "not counted: the folder is large, or its disk is slow" if count.more else "")
            return
        number = int(f"{count.number:.1e}"[0]) * 10 ** (len(str(count.number)) - 1) if count.more else count.number
        words = "more than " if count.more else ""
        words += f"{number:,} {word}{'s' if count.number != 1 else ''}"
        words += f" ({', '.join(count.kinds)})" if word == "movie" else ""
        words += f", in {count.near}" if count.near and not count.near.startswith("beside") else ""
        words += ", beside the movies" if count.near.startswith("beside") else ""
        self._tell(name, f"✓ {words}", "done", f"   ! {count.problem}" if count.problem else "")

    def say_place(self, place: Place) -> None:
        self.inputs[FOLDER].satisfy(place.good)
        if place.good:
            self._tell(FOLDER, f"✓ {place.sentence}", "done")
        else:
            self.say_wrong(FOLDER, place.sentence)


class SeriesPage(Page):
    """The overview of all series, and the tilts of one of them."""

    ACTIONS = SERIES_ACTIONS
    BINDINGS = of_screen(SERIES_ACTIONS)

    DEFAULT_CSS = """
    SeriesPage #headline { padding: 0 1; margin-top: 1; }
    SeriesPage #same { padding: 0 1; color: $text-muted; }
    SeriesPage #columns { color: $secondary; }
    SeriesPage #tilts { display: none; border-left: solid $panel; }
    SeriesPage #tilt_head { color: $secondary; }
    SeriesPage #note { height: 2; color: $text-muted; }
    SeriesPage.-high #note { height: 3; }
    SeriesPage.-low #note { display: none; }
    SeriesPage #counts { padding: 0 1; background: $panel; }
    SeriesPage.-tilts #tilts { display: block; width: 100%; }
    SeriesPage.-tilts #table { display: none; }
    SeriesPage.-tilts.-wide #table { display: block; width: 1fr; }
    SeriesPage.-tilts.-wide #tilts { width: 45%; min-width: 54; }
    """

    def __init__(self, colours: Callable[[str], str], utf8: bool) -> None:
        super().__init__(id="series")
        self.table = ImportTable(colours, utf8=utf8)
        self.tilts = TiltList(colours, utf8=utf8)
        self.tilts_of = ""
        """Whose tilts are shown."""

    def compose(self) -> ComposeResult:
        yield Line(id="headline")
        yield Line(id="same")
        with Horizontal():
            with Vertical(id="table"):
                yield Line(id="columns")
                yield self.table
            with Vertical(id="tilts"):
                yield Line(id="tilt_title")
                yield Line(id="tilt_head")
                yield self.tilts
        yield Words(id="note")
        yield Line(id="counts")

    def take_focus(self) -> None:
        (self.tilts if self.tilts_open else self.table).focus()

    @property
    def tilts_open(self) -> bool:
        return self.has_class("-tilts")

    def on_resize(self) -> None:
        self.set_class(self.size.width >= BESIDE, "-wide")
        self.set_class(self.size.height >= HIGH, "-high")
        self.set_class(self.size.height < LOW, "-low")
        self.call_after_refresh(self.say_tilt_head)

    def on_import_table_arranged(self, event: ImportTable.Arranged) -> None:
        event.stop()
        self.say_layout()

    def say_reading(self, done: int, total: int) -> None:
        share = round(BAR * done / total) if total else 0
        words = f"reading mdocs: {done:,} of {total:,}" if total else "looking at the folders"
        bar = Text(f" {'█' * share}", self.app.colour("run"))
        bar.append("░" * (BAR - share), self.app.colour("quiet"))
        bar.append(f"  {words}", "bold")
        self.say("headline", bar, "esc cancels ")

    def clear(self) -> None:
        self.show(SeriesPicture(""))

    def show(self, picture: SeriesPicture) -> None:
        self.close_tilts()
        self.table.show_picture(picture)
        self.table.nothing = ("", "no tilt series was found") if picture.headline else ()
        self.say_layout()
        self.say_counts()
        self.say_note()

    def say_layout(self) -> None:
        """The lines above the table."""
        picture = self.table.picture
        layout = self.table.layout_for(self.table.size.width)
        if picture.headline:
            self.say("headline", Text(picture.headline, "bold"))
        self.say("same", f"all: {', '.join(layout.same)}" if layout.same and picture.lines else "")
        self.query_one("#same", Line).display = bool(layout.same and picture.lines)
        self.say("columns", self.table.head() if picture.lines else "")

    def say_counts(self) -> None:
        picture, table = self.table.picture, self.table
        if not picture.headline:
            self.say("counts", "")
            return
        good = sum(line.good for line in picture.lines)
        words = Text()
        for mark, number, word, how in (
            ("✓", good, "good", "done"), ("!", len(picture.lines) - good, "odd", "need"),
            ("✗", len(picture.refused), "refused", "fail"),
        ):  # fmt: skip
            words.append(f"{mark} {number:,} {word}   ", self.app.colour(how if number else "quiet"))
        known = sum(line.known for line in picture.lines)
        chosen = [line for line in table.chosen() if not line.known]
        tilts = sum(line.tilts for line in chosen)
        more = f"{known:,} in the project already, " if known else ""
        self.say("counts", words, Text(f"{more}{len(chosen):,} chosen, {tilts:,} tilts ", "bold"))

    def say_note(self) -> None:
        """All that is odd about the series under the cursor."""
        row, note = self.table.selected, ""
        if row is not None and row.refused is not None:
            note = f"{row.refused.name} is refused: {row.refused.reason}. It can be added later."
        elif row is not None and row.line is not None and row.line.notes:
            note = f"{row.line.id}: {'; '.join(row.line.notes)}"
        self.query_one("#note", Words).say(self.plain(note).plain)

    def show_tilts(self, picture: TiltPicture) -> None:
        self.tilts_of = picture.id
        self.add_class("-tilts")
        title = Text(f" {picture.id}", "bold")
        title.append(f"  {picture.about}", self.app.colour("quiet"))
        self.say("tilt_title", title)
        self.tilts.cursor = 0
        self.tilts.show(picture.lines)
        self.tilts.scroll_to(y=0, animate=False)
        self.tilts.focus()
        self.call_after_refresh(self.say_tilt_head)

    def say_tilt_head(self) -> None:
        self.say("tilt_head", self.tilts.head(self.tilts.size.width) if self.tilts_open else "")

    def close_tilts(self) -> None:
        if self.tilts_open:
            self.remove_class("-tilts")
            self.table.focus()


def unsure_of(found: Forms | None) -> int:
    """Values in all forms on which a run must not rely yet."""
    return sum(form.errors for form in found.forms) if found is not None else 0


def wrong_of(found: Forms | None) -> tuple[str, str] | None:
    """A value that was typed and cannot be, and what is wrong with it."""
    for form in found.forms if found is not None else ():
        for field in form.fields:
            for finding in field.findings:
                if field.edited and finding.level == "error":
                    return field.name, finding.sentence
    return None


class ValuesPage(Page):
    """What the files say about microscope and acquisition, to be confirmed or put right."""

    ACTIONS = VALUES_ACTIONS[:1] + _FORM_ACTIONS + VALUES_ACTIONS[1:]
    BINDINGS = of_screen(VALUES_ACTIONS)

    DEFAULT_CSS = """
    ValuesPage #group { padding: 0 1; margin-top: 1; }
    ValuesPage #gain { padding: 0 1; color: $text-muted; }
    ValuesPage #sure { padding: 0 1; background: $panel; }
    """

    def __init__(self, form_view: FormView) -> None:
        super().__init__(id="values")
        self.form_view = form_view
        self.at = 0
        """Which of the forms is shown."""
        self.found: Forms | None = None

    def compose(self) -> ComposeResult:
        yield Line(id="group")
        yield self.form_view
        yield Line(id="gain")
        yield Line(id="sure")

    def take_focus(self) -> None:
        self.form_view.focus()

    def show(self, found: Forms) -> None:
        first, self.found = self.found is None, found
        self.at = min(self.at, len(found.forms) - 1)
        self._draw()
        if first:
            self.to_first_problem()

    def to_first_problem(self) -> None:
        """The cursor where a person is needed."""
        found = self.found
        for field in found.forms[self.at].fields if found is not None else ():
            if any(finding.level == "error" for finding in field.findings):
                self.form_view.go(field.name)
                return

    def other(self, step: int) -> bool:
        """The form of another group; whether there is one."""
        if self.found is None or len(self.found.forms) < 2:
            return False
        self.at = (self.at + step) % len(self.found.forms)
        self._draw()
        self.to_first_problem()
        return True

    def _draw(self) -> None:
        found = self.found
        assert found is not None
        form = found.forms[self.at]
        self.form_view.show(form)
        title = Text(form.title, "bold")
        several = f"{self.at + 1} of {len(found.forms)}: g next " if len(found.forms) > 1 else ""
        self.say("group", title, several)
        gain = found.gains[self.at]
        self.say("gain", gain)
        self.query_one("#gain", Line).display = bool(gain)
        number = unsure_of(found)
        if number:
            words = f"! {number} value{'s' if number != 1 else ''} to confirm or set: now, or before the first run"
            self.say("sure", Text(words, self.app.colour("need")))
        elif unconfirmed := sum(field.confirm for form in found.forms for field in form.fields):
            one = unconfirmed == 1
            words = "1 value is not certain: c confirms it" if one else f"{unconfirmed} values are not certain"
            self.say("sure", Text(f"! {words}", self.app.colour("need")))
        else:
            self.say("sure", Text("✓ every value is known", self.app.colour("done")))


class PipelineList(LineList[PipelineChoice]):
    def pieces(self, row: PipelineChoice, width: int) -> list[Piece]:
        lead = " ▸ " if row is self.selected else "   "
        jobs = f"{len(row.jobs)} jobs" if row.jobs else "no jobs"
        room = max(10, width - len(jobs) - 6)
        title = row.title if len(row.title) <= room else row.title[: room - 1] + "…"
        return [(lead, ""), (title.ljust(room), "bold"), (f" {jobs}", "quiet")]


class MakePage(Page):
    """What to start from, and in one line what will happen."""

    ACTIONS = MAKE_ACTIONS
    BINDINGS = of_screen(MAKE_ACTIONS)

    DEFAULT_CSS = """
    MakePage #ask { padding: 0 1; margin: 1 0; }
    MakePage PipelineList { height: auto; max-height: 8; }
    MakePage #about { height: 1fr; padding: 1 3; }
    MakePage #about Static { height: auto; }
    MakePage #summary { color: $text-muted; margin-bottom: 1; }
    MakePage #will { height: auto; max-height: 4; padding: 0 1; background: $panel; }
    """

    def __init__(self, adding: bool, colours: Callable[[str], str], utf8: bool) -> None:
        super().__init__(id="make")
        self.adding = adding
        self.list = PipelineList(colours, utf8=utf8)

    def compose(self) -> ComposeResult:
        yield Line(id="ask")
        yield self.list
        with VerticalScroll(id="about", can_focus=False):
            yield Static("", id="summary", markup=False)
            yield Static("", id="jobs", markup=False)
        yield Static("", id="will", markup=False)

    def take_focus(self) -> None:
        self.list.focus()

    def show(self, choices: tuple[PipelineChoice, ...], preferred: str) -> None:
        if self.adding:
            self.say("ask", Text("More data for this project", "bold"))
            self.query_one("#summary", Static).update(
                "Series that it has keep their names and results. Movies that were missing and are there now get "
                "their links."
            )
            return
        if self.list.rows:
            return
        self.list.show(choices)
        self.list.go(next((place for place, each in enumerate(choices) if each.name == preferred), 0))
        self.say("ask", Text("What to start from", "bold"))
        self.say_choice()

    def say_choice(self) -> None:
        choice = self.list.selected
        if choice is None:
            return
        self.query_one("#summary", Static).update(self.plain(choice.summary))
        jobs = Text()
        width = max((len(id) for id, _ in choice.jobs), default=0) + 3
        for number, (id, title) in enumerate(choice.jobs, 1):
            jobs.append(f"{number:>2}  {id:<{width}}")
            jobs.append(f"{title}\n", self.app.colour("quiet"))
        self.query_one("#jobs", Static).update(self.plain(jobs))

    def say_will(self, words: Text | str) -> None:
        self.query_one("#will", Static).update(self.plain(words))
