"""Results of a job and of one series in it: a table, plots, and pictures.

It reads and draws by itself: ``show`` is all that a screen has to call. Everything from a disk comes from threads, and
is read again when gather has stored something new.
"""

from __future__ import annotations

import os
import shlex
import threading
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widget import Widget
from textual.worker import get_current_worker

from core.errors import CrboostError
from crboost_tui.actions import Action, bindings
from crboost_tui.results import PictureFile, Results, Table, make_slabs, read_pictures, read_results, stamp
from crboost_tui.terminal import ASCII_TWINS, cell_width
from crboost_tui.widgets.image_view import (
    FORMS,
    HALF_BLOCKS,
    SHADES,
    ImageView,
    Pictures,
    cell_pixels,
    picture_form,
    prepare,
)
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.numbers_table import NumbersTable
from crboost_tui.widgets.plot import Plot, PlotView

if TYPE_CHECKING:
    from textual.timer import Timer

    from crboost_tui.app import CrboostApp

LOOK_SECONDS = 2.0
SETTLE_SECONDS = 0.15
"""A picture is made once the cursor and the terminal's size have rested for so long."""
SIDE_BY_SIDE = 130
"""Cells from which on the table stands beside plots or picture."""
TABLE, PLOTS, PICTURE = "table", "plots", "picture"

ACTIONS = (
    Action("focused.move(-1, 0)", "up,k", "up", "the row above (home, end, page keys too)", footer=False),
    Action("focused.move(1, 0)", "down,j", "down", "the row below", footer=False),
    Action(
        "focused.move(0, -1)", "left", "left", "the quantity before; in the picture view the file before", footer=False
    ),
    Action(
        "focused.move(0, 1)", "right", "right", "the quantity after; in the picture view the file after", footer=False
    ),
    Action("focused.enter", "enter", "open", "the tilts of this series; of a tilt its average and power spectrum"),
    Action("focused.view", "v", "view", "table, plots, picture in turn"),
    Action("focused.sort", "s", "sort", "by the underlined quantity: largest first, smallest first, as it was"),
    Action(
        "focused.copy_command",
        "o",
        "copy command",
        "copy the 3dmod or relion_display command of the picture to the clipboard",
    ),
)
EXTRA_KEYS = (
    Action("focused.move(-1000000, 0)", "home", "first", ""),
    Action("focused.move(1000000, 0)", "end", "last", ""),
    Action("focused.page(-1)", "pageup", "page up", ""),
    Action("focused.page(1)", "pagedown", "page down", ""),
    Action("focused.back", "escape", "back", ""),
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which picture is to be made, and how. ``files``: None where they are still to be read."""

    job: str
    key: str
    files: tuple[PictureFile, ...] | None
    number: int
    columns: int
    rows: int
    form: str
    cell: tuple[int, int]


class ResultsView(Widget, can_focus=True):
    """``root`` is the project. It posts :class:`Loaded` for the screen's own head, and :class:`Left` where a person
    goes back from where ``show`` has led."""

    app: CrboostApp
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS + EXTRA_KEYS)
    DEFAULT_CSS = """
    ResultsView { height: 1fr; }
    ResultsView #results-body { height: 1fr; }
    ResultsView #results-note { color: $text-muted; }
    ResultsView PlotView { margin: 0 1 0 0; }
    """

    class Loaded(Message):
        def __init__(self, results: Results) -> None:
            super().__init__()
            self.results = results

    class Left(Message):
        """There is nothing to go back to in here."""

    def __init__(self, root: Path, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.root = root
        self.job = ""
        self.key = ""
        self.results: Results | None = None
        self.chosen = TABLE
        self.file = 0
        """Which of the row's pictures is shown."""
        self._came_from = ""
        self._plots: tuple[Plot, ...] = ()
        self._files: tuple[PictureFile, ...] = ()
        self._gone = threading.Event()
        self._wake = threading.Event()
        self._settle: Timer | None = None
        self._drawn: _Wanted | None = None

    def compose(self) -> ComposeResult:
        yield Line(id="results-what")
        with Horizontal(id="results-body"):
            yield NumbersTable(self.app.colour, utf8=self.app.utf8)
            yield PlotView(self.app.colour, utf8=self.app.utf8)
            yield ImageView(self.app.colour, utf8=self.app.utf8)
        yield Line(id="results-note")

    def on_mount(self) -> None:
        self._arrange()
        if self.job:
            self._begin()

    def on_unmount(self) -> None:
        self._gone.set()
        self._wake.set()

    def show(self, job: str, key: str | None = None) -> None:
        """Show a job's series, or one series' tilts."""
        self._came_from = ""
        self._go(job, key or "")

    def _go(self, job: str, key: str) -> None:
        if (job, key) == (self.job, self.key):
            return
        self.job, self.key, self.results, self._files, self.file = job, key, None, (), 0
        self._plots, self._drawn = (), None
        self.chosen = TABLE
        if self.is_mounted:
            self._begin()

    def _begin(self) -> None:
        self.query_one(NumbersTable).show(None)
        self.query_one(ImageView).say("")
        self._say_what("reading ...")
        self.query_one("#results-note", Line).say("")
        self._arrange()
        self._wake.set()
        self._follow(self.job, self.key)

    @work(thread=True, exclusive=True, group="results", exit_on_error=False)
    def _follow(self, job: str, key: str) -> None:
        """Read, and again whenever there is something new; what cannot be read is said."""
        worker = get_current_worker()
        seen: tuple[float, ...] | None = None
        before: Results | str | None = None
        self._wake.clear()
        plots: tuple[Plot, ...] = ()
        while not worker.is_cancelled and not self._gone.is_set():
            now = stamp(self.root, job)
            if now != seen:
                seen = now
                found: Results | str
                try:
                    found = read_results(self.root, job, key or None)
                    plots = _plots(found.table)
                except Exception as error:  # whatever a file holds, it is one sentence and not a stopped thread
                    found = _sentence(error)
                if found != before and not self._gone.is_set():
                    before = found
                    self.app.call_from_thread(self._have, job, key, found, plots)
            self._wake.wait(LOOK_SECONDS)

    def _have(self, job: str, key: str, found: Results | str, plots: tuple[Plot, ...]) -> None:
        if not self.is_mounted or (job, key) != (self.job, self.key):
            return
        if isinstance(found, str):
            self._say_what()
            self.query_one(ImageView).say(found, wrong=True)
            self.results = None
            self._arrange()
            return
        first = self.results is None
        self.results, self._plots = found, plots
        table = self.query_one(NumbersTable)
        table.show(found.table, found.start if first else None)
        if first and PICTURE in self._views() and found.pictures:
            self.chosen = PICTURE
        if found.empty:
            self.query_one(ImageView).say(found.empty)
        elif not first and self.query_one(ImageView).pictures is None:
            self._drawn = None  # what was not there may be there now
        self._arrange()
        self._say_note()
        self.post_message(self.Loaded(found))

    def on_resize(self) -> None:
        self._arrange()

    def _views(self) -> list[str]:
        """The views that there are now; beside a table there is always a plot, where there is room for both."""
        results = self.results
        if results is None or results.empty:
            return []
        found = [TABLE] if results.table is not None and results.table.columns else []
        if found and self._plots and not self._wide():
            found.append(PLOTS)
        if results.pictures or any(results.row_pictures) or self._has_tomograms(results):
            found.append(PICTURE)
        return found

    def _has_tomograms(self, results: Results) -> bool:
        """Whether a job makes tomograms, of which each row has one."""
        names = [column.name for column in results.table.columns] if results.table is not None else []
        return not results.key and "tomogram_pixel_angstrom" in names

    def _wide(self) -> bool:
        return self.size.width >= SIDE_BY_SIDE

    def _arrange(self) -> None:
        """Which widgets are seen, and how wide the table is."""
        if not self.is_mounted:
            return
        table, plots, image = self.query_one(NumbersTable), self.query_one(PlotView), self.query_one(ImageView)
        views = self._views()
        if views and self.chosen not in views:
            self.chosen = views[0]
        wide, results = self._wide(), self.results
        several = results is not None and results.table is not None
        beside = wide and several and bool(self._plots or self.chosen == PICTURE)
        image.display = not views or self.chosen == PICTURE
        plots.display = bool(views) and (self.chosen == PLOTS or (beside and self.chosen == TABLE))
        table.display = bool(views) and (self.chosen == TABLE or (wide and several))
        table.styles.width = min(table.natural_width() + 1, self.size.width // 2) if beside else "1fr"
        plots.styles.width = image.styles.width = "1fr"
        if results is not None:
            self._say_what()
        self._draw_plots()
        self._want_picture()

    def _draw_plots(self) -> None:
        plots, table = self.query_one(PlotView), self.query_one(NumbersTable)
        if self.results is not None and plots.display:
            current = min(table.column, len(self._plots) - 1)
            plots.show(self._plots, current, table.selected, beside=table.display)

    def on_numbers_table_moved(self) -> None:
        if self.results is not None and not self.results.key:
            self._files = ()  # those of another series
        self._draw_plots()
        self._say_note()
        if self.chosen == PICTURE:
            self._want_picture()

    def on_numbers_table_opened(self) -> None:
        self.action_enter()

    def on_image_view_resized(self) -> None:
        self._want_picture()

    def _want_picture(self) -> None:
        """Make the picture once things have settled."""
        if self.chosen != PICTURE or PICTURE not in self._views():
            return
        if self._settle is not None:
            self._settle.stop()
        self._settle = self.set_timer(SETTLE_SECONDS, self._begin_picture)

    def _begin_picture(self) -> None:
        results, image = self.results, self.query_one(ImageView)
        if results is None or self.chosen != PICTURE or not image.display or image.size.height < 3:
            return
        form = picture_form(
            self.app.settings.pictures, os.environ, utf8=self.app.utf8, colours=self.app.console.color_system
        )
        cell = (1, 2) if form in (HALF_BLOCKS, SHADES) else cell_pixels()
        files: tuple[PictureFile, ...] | None = results.pictures or self._row_files()
        key = results.key
        if not key and results.table is not None:
            selected = self.query_one(NumbersTable).selected
            key, files = results.table.keys[selected] if selected >= 0 else "", None
        size = image.size
        wanted = _Wanted(self.job, key, files, self.file, size.width, size.height, form, cell)
        if wanted == self._drawn:
            return
        self._drawn = wanted
        if image.pictures is None:
            image.say("making the picture ...")
        self._make_picture(wanted)

    def _row_files(self) -> tuple[PictureFile, ...]:
        row = self.query_one(NumbersTable).selected
        files = self.results.row_pictures if self.results is not None else ()
        return files[row] if 0 <= row < len(files) else ()

    @work(thread=True, exclusive=True, group="picture", exit_on_error=False)
    def _make_picture(self, wanted: _Wanted) -> None:
        worker = get_current_worker()
        files = wanted.files
        found: Pictures | str
        try:
            if files is None:
                files = read_pictures(self.root, wanted.job, wanted.key)
            if files:
                path, size = files[wanted.number % len(files)].path, (wanted.columns, wanted.rows)
                slabs = make_slabs(path, *size, wanted.cell, FORMS[wanted.form], lambda: worker.is_cancelled)
                found = prepare(slabs, wanted.form, wanted.cell, utf8=self.app.utf8)
            else:
                found = "There is no picture of it."
        except Exception as error:
            found = _sentence(error)
        if not worker.is_cancelled and not self._gone.is_set():
            self.app.call_from_thread(self._have_picture, wanted, files or (), found)

    def _have_picture(self, wanted: _Wanted, files: tuple[PictureFile, ...], found: Pictures | str) -> None:
        if not self.is_mounted or wanted != self._drawn:
            return
        self._files = files
        image = self.query_one(ImageView)
        if isinstance(found, str):
            image.say(found, wrong=bool(files))
        else:
            image.show(found)
        self._say_note()

    def action_move(self, rows: int, columns: int) -> None:
        table = self.query_one(NumbersTable)
        if columns and self.chosen == PICTURE:
            if len(self._files) > 1:
                self.file = (self.file + columns) % len(self._files)
                self._want_picture()
            return
        table.move(rows, columns)

    def action_page(self, pages: int) -> None:
        table = self.query_one(NumbersTable)
        table.move(pages * max(1, (table.size.height or self.size.height) - 6))

    def action_view(self) -> None:
        views = self._views()
        if not views:
            self.app.tell("There are no results yet.")
            return
        self.chosen = views[(views.index(self.chosen) + 1) % len(views)]
        self._drawn = None
        self._arrange()
        self._say_note()

    def action_sort(self) -> None:
        said = self.query_one(NumbersTable).sort()
        self._say_note(said or "There is nothing to sort.")

    def action_enter(self) -> None:
        results, table = self.results, self.query_one(NumbersTable)
        if results is None or results.table is None or table.selected < 0:
            self.app.tell("There are no results yet.")
        elif not results.key:
            self._came_from = results.table.keys[table.selected]
            self._go(self.job, self._came_from)
        elif PICTURE in self._views():
            self.chosen = PICTURE
            self._drawn = None
            self._arrange()
        else:
            self.app.tell("There is no picture of this tilt.")

    def action_back(self) -> None:
        if self._came_from:
            self._came_from = ""
            self._go(self.job, "")
        else:
            self.post_message(self.Left())

    def action_copy_command(self) -> None:
        files = (self.results.pictures if self.results is not None else ()) or self._row_files() or self._files
        if not files:
            self._say_note("There is no picture to open: v shows one where there is any.")
            return
        file = files[self.file % len(files)]
        volume = self.results is None or not self.results.row_pictures
        command = ("3dmod " if volume else "relion_display --i ") + shlex.quote(file.path)
        self.app.copy_to_clipboard(command)
        self._say_note(f"copied: {command}")

    def _say_what(self, state: str = "") -> None:
        results, line = self.results, self.query_one("#results-what", Line)
        left = Text(" ")
        left.append(self.job, "bold")
        if self.key:
            left.append(f"  {results.name if results is not None else self.key}", "bold")
        facts = "" if results is None else results.facts if results.key else results.name
        left.append(f"  {state or facts}", self.app.colour("quiet"))
        right = Text()
        for view in self._views():
            shown = "table and plots" if view == TABLE and self._wide() and self._plots else view
            right.append(f" {shown} ", "reverse" if view == self.chosen else "")
        line.say(self._text(left), right)

    def _say_note(self, said: str = "") -> None:
        results = self.results
        if results is None:
            return
        if not said and self.chosen == PICTURE and self._files:
            file = self._files[self.file % len(self._files)]
            more = f"   {self.file % len(self._files) + 1} of {len(self._files)}: ← →" if len(self._files) > 1 else ""
            path = Path(file.path)
            where = path.relative_to(self.root) if path.is_relative_to(self.root) else path
            said = f"{file.title}  {where}"
            room = self.size.width - cell_width(more) - 3
            said = said if cell_width(said) <= room else f"{file.title}  {path.name}"
            said += more
        row = self.query_one(NumbersTable).selected
        if not said and 0 <= row < len(results.row_notes):
            said = results.row_notes[row]
        if not said and results.notes:
            said = results.notes[0]
            said += f"   and {len(results.notes) - 1} more" if len(results.notes) > 1 else ""
        self.query_one("#results-note", Line).say(self._text(Text(f" {said}")))

    def _text(self, text: Text) -> Text:
        if not self.app.utf8:
            text.plain = text.plain.translate(ASCII_TWINS)
        return text


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, CrboostError | OSError) else f"{type(error).__name__}: {error}"


def _plots(table: Table | None) -> tuple[Plot, ...]:
    if table is None or not table.x_title or len(table.keys) < 2:
        return ()
    found = []
    names = tuple(f"{name}{table.label_unit}" for name in table.names)
    for column in filter(lambda one: one.name, table.columns):
        known = [value for value in column.values if value is not None]
        level = median(known) if known and not table.joined else None
        found.append(
            Plot(column.title, column.unit, table.x_title, table.x_unit, table.x, column.values, names,
                 column.digits, table.joined, column.odd, level)
        )  # fmt: skip
    return tuple(found)
