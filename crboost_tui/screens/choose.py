"""A list to choose one thing from: letters filter it, enter chooses, esc leaves it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from crboost_tui.terminal import ASCII_TWINS, cell_width, fit, shorten
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.line_list import LineList, Piece

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp


@dataclass(frozen=True, slots=True)
class Choice:
    """``detail`` stands beside the label and, whole, below the list. ``why``: why it cannot be chosen."""

    id: str
    label: str
    detail: str = ""
    why: str = ""


class ChoiceList(LineList[Choice], inherit_bindings=False):
    """Letters belong to the filter, so that only other keys move."""

    BINDINGS = [
        Binding("up", "move(-1)", "up", show=False),
        Binding("down", "move(1)", "down", show=False),
        Binding("home", "move(-1000000)", "first", show=False),
        Binding("end", "move(1000000)", "last", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
    ]
    label_cells = 10

    def pieces(self, row: Choice, width: int) -> list[Piece]:
        label = fit(row.label, min(self.label_cells, max(8, width - 4)))
        left = width - cell_width(label) - 5
        found: list[Piece] = [(f" {label}", "quiet" if row.why else "")]
        if left > 6:
            found.append((f"  {shorten(row.why or row.detail, left)}", "quiet"))
        return found


class ChooseScreen(ModalScreen[str | None]):
    """``choices``: ``(id, label, detail)`` or :class:`Choice`. Gives the id, None where nothing was chosen."""

    app: CrboostApp
    BINDINGS = [
        Binding("enter", "choose", "choose", show=False),
        Binding("escape", "leave", "leave", show=False),
        Binding("backspace", "shorter", "shorter", show=False),
    ]
    DEFAULT_CSS = """
    ChooseScreen { align: center middle; background: $background 60%; }
    ChooseScreen > Vertical {
        width: 92; max-width: 96%; height: auto; max-height: 90%; border: round $primary; padding: 0 1;
        background: $background;
    }
    ChooseScreen > Vertical.-ascii { border: ascii $primary; }
    ChooseScreen #title { text-style: bold; }
    ChooseScreen LineList { height: auto; min-height: 1; }
    ChooseScreen #detail { height: auto; min-height: 1; max-height: 4; color: $text-muted; margin-top: 1;
        padding: 0 1; }
    ChooseScreen #keys { color: $text-muted; padding: 0 1; }
    """

    def __init__(
        self,
        title: str,
        choices: Iterable[Choice | tuple[str, str, str]],
        *,
        at: str = "",
        nothing: str = "There is nothing to choose from.",
    ) -> None:
        super().__init__()
        self.heading = title
        self.choices = [each if isinstance(each, Choice) else Choice(*each) for each in choices]
        self.at = at
        self.nothing = nothing
        self.needle = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="" if self.app.utf8 else "-ascii"):
            yield Line(id="title")
            yield ChoiceList(self.app.colour, utf8=self.app.utf8)
            yield Static(id="detail", markup=False)
            yield Line(id="keys")

    def on_mount(self) -> None:
        choices = self.query_one(ChoiceList)
        choices.label_cells = max([10, *(cell_width(each.label) for each in self.choices)])
        choices.focus()
        self._filter()
        index = next((place for place, each in enumerate(self.choices) if each.id == self.at), 0)
        choices.go(index)
        self.query_one("#keys", Line).say(self._plain("letters filter   ↑↓ move   enter choose   esc leave"))

    def on_key(self, event: events.Key) -> None:
        if event.is_printable and event.character:
            event.stop()
            self.needle += event.character
            self._filter()

    def action_shorter(self) -> None:
        self.needle = self.needle[:-1]
        self._filter()

    def action_leave(self) -> None:
        if self.needle:
            self.needle = ""
            self._filter()
        else:
            self.dismiss(None)

    def action_choose(self) -> None:
        chosen = self.query_one(ChoiceList).selected
        if chosen is None:
            return
        if chosen.why:
            self.app.tell(chosen.why)
        else:
            self.dismiss(chosen.id)

    def on_line_list_opened(self) -> None:
        self.action_choose()

    def on_line_list_moved(self) -> None:
        self._say_detail()

    def _filter(self) -> None:
        words = self.needle.lower().split()
        found = [each for each in self.choices if all(word in f"{each.label} {each.detail}".lower() for word in words)]
        found.sort(key=lambda each: (bool(each.why), not _begins(each.label, words)))
        choices = self.query_one(ChoiceList)
        choices.cursor = 0
        choices.show(found, [self.nothing if not self.choices else f"Nothing has {self.needle!r} in it."])
        choices.redraw()
        choices.styles.height = max(1, min(len(found), self.app.size.height - 10))
        self.query_one("#title", Line).say(
            Text(self._plain(f" {self.heading}"), "bold"), self._plain(f"{self.needle}_ " if self.needle else "")
        )
        self._say_detail()

    def _say_detail(self) -> None:
        chosen = self.query_one(ChoiceList).selected
        said = "" if chosen is None else chosen.why or chosen.detail
        self.query_one("#detail", Static).update(Text(self._plain(said)))

    def _plain(self, text: str) -> str:
        return text if self.app.utf8 else text.translate(ASCII_TWINS)


def _begins(label: str, words: Sequence[str]) -> bool:
    return bool(words) and label.lower().startswith(words[0])
