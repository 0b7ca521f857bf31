"""The palette: everything that can be done from here, and everywhere that one can go, by a few letters of its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen

from crboost_tui.actions import Action, bindings, with_app_actions
from crboost_tui.project_list import seen_before
from crboost_tui.recent import remembered
from crboost_tui.screens.help import focused_actions
from crboost_tui.terminal import cell_width, fit, shorten
from crboost_tui.themes import BY_SETTING
from crboost_tui.widgets.find import Find
from crboost_tui.widgets.line_list import Piece
from crboost_tui.widgets.lines import NamedLines

if TYPE_CHECKING:
    from textual.widgets import Input

    from crboost_tui.app import CrboostApp

ACTIONS = (Action("leave", "escape", "back", "close the palette"),)
SHOWN = 200
"""Lines that are shown at most; a few letters more find the rest."""


@dataclass(frozen=True, slots=True)
class Entry:
    """``kind`` says what it is where it is no action of this screen: project, job, series, theme."""

    key: str
    label: str
    help: str
    kind: str
    shortcut: str
    call: Callable[[], object]


class PaletteLines(NamedLines[Entry]):
    def pieces(self, row: Entry, width: int) -> list[Piece]:
        name = min(26, max(14, width // 3))
        found: list[Piece] = [(f"  {fit(row.label, name)}  ", "bold")]
        right = row.shortcut or row.kind
        room = width - name - 7 - cell_width(right)
        found.append((fit(row.help, room) if room > 0 else "", "quiet"))
        found.append((f" {shorten(right, 12)} ", "" if row.shortcut else "quiet"))
        return found


class PaletteScreen(ModalScreen[None]):
    """``under``: the screen whose actions these are."""

    app: CrboostApp
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS)
    DEFAULT_CSS = """
    PaletteScreen { align: center top; background: $background 60%; }
    PaletteScreen > Vertical {
        width: 100; max-width: 96%; height: 70%; margin-top: 2; border: round $primary; background: $background;
    }
    PaletteScreen Find, PaletteScreen Find:focus { margin-bottom: 1; background: $background; }
    """

    def __init__(self, under: Screen[object]) -> None:
        super().__init__()
        self.under = under
        self.entries: list[Entry] = []
        self._query = ""

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Find("an action, a project, a job, a tilt series, a theme")
            yield PaletteLines(self.app.colour, utf8=self.app.utf8)

    def on_mount(self) -> None:
        self.query_one(Find).focus()
        self.entries = [*self._actions(), *self._themes()]
        self._show()
        self._read_places(self.app.root if len(self.app.screen_stack) > 3 else None)

    def _actions(self) -> Iterator[Entry]:
        focused: DOMNode = self.under.focused or self.under
        nearest = focused_actions(self.under)
        told = {action.name for action in nearest}
        for node, actions in ((focused, nearest), (self.under, with_app_actions(getattr(self.under, "ACTIONS", ())))):
            for action in actions:
                verb = action.name.split("(")[0]
                if verb in ("move", "page", "app.command_palette") or (node is self.under and action.name in told):
                    continue
                shortcut = action.key_in(self.app.settings.keys)
                yield Entry(
                    f"{verb} {action.id} {node}", action.label, action.help, "", shortcut, self._runner(node, action)
                )

    def _runner(self, node: DOMNode, action: Action) -> Callable[[], Awaitable[bool]]:
        return lambda: self.app.run_action(action.name, default_namespace=_namespace(node, action))

    def _themes(self) -> Iterator[Entry]:
        said = {"dark": "light letters", "light": "dark letters", "terminal": "the terminal's own 16 colours"}
        for name in BY_SETTING:

            def choose(name: str = name) -> None:
                self.app.set_setting("theme", name)

            yield Entry(f"theme {name}", f"theme {name}", said[name], "theme", "", choose)

    @work(thread=True, exit_on_error=False)
    def _read_places(self, root: Path | None) -> None:
        self.app.call_from_thread(self._add, list(_projects(self.app)))
        if root is not None:
            self.app.call_from_thread(self._add, list(_places(self.app, root)))

    def _add(self, entries: list[Entry]) -> None:
        if self.is_mounted:
            self.entries += entries
            self._show()

    def _show(self) -> None:
        found = matching(self.entries, self._query)
        self.query_one(PaletteLines).show(found[:SHOWN], ("", f"Nothing with {self._query!r}."))

    def on_input_changed(self, event: Input.Changed) -> None:
        self._query = event.value
        lines = self.query_one(PaletteLines)
        lines.go(0)
        self._show()
        lines.go(0)

    def on_find_stepped(self, event: Find.Stepped) -> None:
        self.query_one(PaletteLines).action_move(event.lines)

    def on_line_list_opened(self) -> None:
        self._choose()

    def on_find_left(self, event: Find.Left) -> None:
        if event.kept:
            self._choose()
        else:
            self.dismiss()

    def action_leave(self) -> None:
        self.dismiss()

    def _choose(self) -> None:
        chosen = self.query_one(PaletteLines).selected
        if chosen is not None:
            self.dismiss()
            self.app.call_later(chosen.call)


def _namespace(node: DOMNode, action: Action) -> DOMNode:
    """The widget around the one with the focus that knows the action."""
    at: DOMNode | None = node
    while at is not None and not hasattr(at, f"action_{action.name.split('(')[0]}"):
        at = at.parent
    return at or node


def matching(entries: Iterable[Entry], query: str) -> list[Entry]:
    """The entries with all words of ``query``, best first: the name begins with it, a word of it does, it is in it."""
    words = query.lower().split()
    ranked = []
    for place, entry in enumerate(entries):
        label = entry.label.lower()
        whole = f"{label} {entry.kind} {entry.help.lower()}"
        if not all(word in whole for word in words):
            continue
        worst = 0
        for word in words:
            worst += 0 if label.startswith(word) else 1 if f" {word}" in f" {label}" else 2 if word in label else 3
        ranked.append((worst, place, entry))
    return [entry for _, _, entry in sorted(ranked, key=lambda each: each[:2])]


def _projects(app: CrboostApp) -> Iterator[Entry]:
    seen = seen_before()
    for root in dict.fromkeys([*map(str, remembered()), *seen]):
        name = seen[root].name if root in seen else Path(root).name

        def open_it(root: str = root) -> None:
            app.open_project(Path(root))

        yield Entry(f"project {root}", name, root, "project", "", open_it)


def _places(app: CrboostApp, root: Path) -> Iterator[Entry]:
    """The jobs and the tilt series of a project, as its status has them."""
    from core.engine.reading import load_status
    from core.errors import CrboostError

    try:
        status = load_status(root)
    except CrboostError:
        return
    for job in status.jobs:

        def go_to_job(id: str = job.id) -> None:
            app.show_workspace(root, id)

        yield Entry(f"job {job.id}", job.id, job.title, "job", "", go_to_job)
    names = status.names if len(status.names) == len(status.series) else status.series
    for key, name in zip(status.series, names, strict=True):

        def go_to_series(key: str = key) -> None:
            app.show_series(root, key)

        yield Entry(f"series {key}", name, "" if key == name else key, "series", "", go_to_series)
