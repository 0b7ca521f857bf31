"""The keys: of what has the focus, of the screen, and everywhere; and what the glyphs mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen

from core.engine.states import MEANING, TaskState
from crboost_tui.actions import Action, bindings, shown_key, with_app_actions
from crboost_tui.terminal import cell_width, fit, glyph, hue
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.line_list import Piece
from crboost_tui.widgets.lines import Lines, Row

if TYPE_CHECKING:
    from textual.widgets import Input

    from crboost_tui.app import CrboostApp
    from crboost_tui.widgets.find import Find

ACTIONS = (
    Action("find", "slash", "find", "find a key or a word"),
    Action("leave", "escape,q,question_mark,enter", "back", "close this page"),
)
TWO_COLUMNS = 96
"""Cells of the page from which on two columns are easier to read than one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of help: an action with its keys, or a state with its glyph."""

    keys: str
    text: str
    colour: str = "bold"


def focused_actions(screen: Screen[object]) -> tuple[Action, ...]:
    """The actions of the widget that has the focus, and of those around it, nearest first: their bindings that tell
    what they do."""
    found: dict[str, Action] = {}
    node: DOMNode | None = screen.focused
    while node is not None and node is not screen:
        for kind in type(node).__mro__:
            for binding in kind.__dict__.get("BINDINGS", ()):
                if isinstance(binding, Binding) and binding.id and binding.tooltip:
                    action = Action(binding.action, binding.key, binding.description, binding.tooltip)
                    found.setdefault(action.name, action)
        node = node.parent
    return tuple(found.values())


class HelpScreen(ModalScreen[None]):
    app: CrboostApp
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS)
    DEFAULT_CSS = """
    HelpScreen { align: center middle; background: $background 60%; }
    HelpScreen > Vertical {
        width: 130; max-width: 96%; height: auto; max-height: 94%; border: round $primary; background: $background;
    }
    HelpScreen Lines { height: auto; max-height: 1fr; }
    HelpScreen Keys { dock: none; }
    """

    def __init__(self, focused: Sequence[Action], screen: Sequence[Action]) -> None:
        super().__init__()
        self.focused_actions = focused
        names = {action.name for action in focused}
        self.screen_actions = [action for action in with_app_actions(screen) if action.name not in names]
        self._query = ""

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Lines(self.app.colour, utf8=self.app.utf8, id="keys")
            yield Keys(self.ACTIONS, utf8=self.app.utf8)

    def on_mount(self) -> None:
        self.query_one(Lines).focus()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        width = min(130, int(self.app.size.width * 0.96)) - 3
        words = self._query.lower().split()
        sections = [
            ("What has the focus", self._entries(self.focused_actions)),
            ("This screen", self._entries(self.screen_actions)),
            ("States", [Entry(glyph(each.value, True), MEANING[each], hue(each.value)) for each in TaskState]),
        ]
        rows: list[Row] = []
        for title, entries in sections:
            fitting = [one for one in entries if all(word in f"{one.keys} {one.text}".lower() for word in words)]
            if fitting:
                rows += [Row(f"above {title}", (), False)] if rows else []
                rows.append(Row(title, ((f" {title}", "bold"),), False))
                rows += _laid_out(title, fitting, width)
        self.query_one(Lines).show(rows, (f"Nothing with {self._query!r}.",))

    def _entries(self, actions: Iterable[Action]) -> list[Entry]:
        keymap = self.app.settings.keys
        entries = []
        for action in actions:
            keys = [shown_key(key) for key in keymap.get(action.id, action.keys).split(",")]
            entries.append(Entry(" ".join(keys), action.help or action.label))
        return entries

    def action_leave(self) -> None:
        self.dismiss()

    def action_find(self) -> None:
        from crboost_tui.widgets.find import Find

        if not self.query(Find):
            find = Find("a key or a word", self._query)
            self.query_one(Vertical).mount(find, before=self.query_one(Keys))
            find.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._query = event.value.strip()
        self._show()

    def on_find_stepped(self, event: Find.Stepped) -> None:
        self.query_one(Lines).action_move(event.lines)

    async def on_find_left(self, event: Find.Left) -> None:
        from crboost_tui.widgets.find import Find

        await self.query(Find).remove()
        if not event.kept:
            self._query = ""
        self.query_one(Lines).focus()
        self._show()


def _laid_out(section: str, entries: Sequence[Entry], width: int) -> list[Row]:
    """The entries below each other, or in two columns where that is easier to read; long ones over several lines."""
    columns = 2 if width >= TWO_COLUMNS and len(entries) > 3 else 1
    cells = width // columns
    per_column = -(-len(entries) // columns)
    keys = min(16, max(cell_width(entry.keys) for entry in entries)) + 1
    blocks = [
        [line for entry in entries[begin : begin + per_column] for line in _entry_lines(entry, keys, cells)]
        for begin in range(0, len(entries), per_column)
    ]
    rows = []
    for index in range(max(map(len, blocks))):
        pieces: list[Piece] = []
        for block in blocks:
            pieces += block[index] if index < len(block) else [(" " * cells, "")]
        rows.append(Row(f"{section} {index}", tuple(pieces)))
    return rows


def _entry_lines(entry: Entry, keys: int, cells: int) -> list[list[Piece]]:
    import textwrap

    texts = textwrap.wrap(entry.text, max(12, cells - keys - 5)) or [""]
    lines: list[list[Piece]] = []
    for index, text in enumerate(texts):
        begin = fit(entry.keys, keys) if index == 0 else " " * keys
        space = max(0, cells - 3 - keys - 1 - cell_width(text))
        lines.append([("   ", ""), (begin, entry.colour), (" " + text + " " * space, "")])
    return lines
