"""The tabs of a pane as one line: what the pane is about, and its parts with their numbers."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual.message import Message
from textual.widget import Widget

from crboost_tui.terminal import ASCII_TWINS, cell_width, shorten


class TabLine(Widget):
    """Where there is no room for all, the present one and its number."""

    COMPONENT_CLASSES = {"tabs--title", "tabs--tab", "tabs--active"}
    auto_links = False
    DEFAULT_CSS = """
    TabLine { height: 1; background: $surface; }
    TabLine .tabs--title { color: $foreground; text-style: bold; }
    TabLine .tabs--tab { color: $text-muted; }
    TabLine .tabs--active { color: $primary; text-style: bold; }
    TabLine.-lit .tabs--active { color: $background; background: $primary; text-style: bold; }
    """

    class Chosen(Message):
        def __init__(self, tab: int) -> None:
            super().__init__()
            self.tab = tab

    def __init__(self, tabs: tuple[str, ...], *, utf8: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self.names = tabs
        self.utf8 = utf8
        self.active = 0
        self._title = ""

    def say(self, title: str, active: int) -> None:
        if (title, active) != (self._title, self.active):
            self._title, self.active = title, active
            self.refresh()

    def light(self, lit: bool) -> None:
        """Whether the keys go to this pane."""
        self.set_class(lit, "-lit")

    def action_tab(self, tab: int) -> None:
        self.post_message(self.Chosen(tab))

    def render(self) -> Text:
        width = self.size.width
        title, tab, active = (
            self.get_component_rich_style(f"tabs--{part}", partial=True) for part in ("title", "tab", "active")
        )
        words = sum(cell_width(name) + 2 for name in self.names)
        numbered = width >= words + 2 * len(self.names) + min(cell_width(self._title), 24) + 2
        room = width - words - (2 * len(self.names) if numbered else 0)
        line = Text(no_wrap=True, end="")
        if room < min(cell_width(self._title), 8) + 2:
            here = f" {self.active + 1}/{len(self.names)} {self.names[self.active]} "
            line.append(f" {self._plain(shorten(self._title, max(4, width - cell_width(here) - 2)))} ", title)
            line.append(here, active)
            return line
        line.append(f" {self._plain(shorten(self._title, room - 2))} ", title)
        line.append(" " * max(0, room - line.cell_len))
        for index, name in enumerate(self.names):
            piece = Text(f" {index + 1} {name} " if numbered else f" {name} ", active if index == self.active else tab)
            piece.stylize(Style(meta={"@click": f"tab({index})"}))
            line.append_text(piece)
        return line

    def _plain(self, text: str) -> str:
        return text if self.utf8 else text.translate(ASCII_TWINS)
