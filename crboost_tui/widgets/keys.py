"""The footer: the keys of a screen, as many as the width takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.style import Style
from rich.text import Text
from textual.widget import Widget

from crboost_tui.actions import Action
from crboost_tui.terminal import ASCII_TWINS

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp


def without_hidden(actions: Iterable[Action]) -> list[Action]:
    """Those whose first key no action before them has: a focused widget's stand first, and hide the screen's."""
    taken: set[str] = set()
    found = []
    for action in actions:
        keys = [key.strip() for key in action.keys.split(",")]
        if keys[0] not in taken:
            found.append(action)
        taken.update(keys)
    return found


class Keys(Widget):
    """The most useful first; help is always there. Click on a key to do it."""

    app: CrboostApp
    COMPONENT_CLASSES = {"keys--key", "keys--label"}
    auto_links = False
    DEFAULT_CSS = """
    Keys { height: 1; dock: bottom; }
    """

    def __init__(self, actions: tuple[Action, ...], *, lead: str = "", utf8: bool = True) -> None:
        super().__init__()
        self.actions = [action for action in actions if action.footer or action.name == "app.help"]
        self.lead = lead
        self.instead: tuple[tuple[str, str], ...] = ()
        """Keys and labels that stand there alone while an editor has the keys."""
        self.utf8 = utf8

    def render(self) -> Text:
        key_style = self.get_component_rich_style("keys--key", partial=True)
        label_style = self.get_component_rich_style("keys--label", partial=True)
        keymap = self.app.settings.keys
        help_key = "app.help"
        reserved = sum(
            len(action.key_in(keymap) + action.label) + 4 for action in self.actions if action.name == help_key
        )
        text, room = Text(no_wrap=True, end=""), self.size.width - reserved
        if self.lead:
            text.append(f" {self._plain(self.lead)} ", label_style)
        for key, label in self.instead:
            text.append(f" {self._plain(key)}", key_style)
            text.append(f" {label}  ", label_style)
        for action in self.actions if not self.instead else ():
            piece = Text(" ")
            piece.append(self._plain(action.key_in(keymap)), key_style)
            piece.append(f" {self._plain(action.label)}  ", label_style)
            click = action.name if "." in action.name.split("(")[0] else f"screen.{action.name}"
            piece.stylize(Style(meta={"@click": click}))
            if action.name == help_key or text.cell_len + piece.cell_len <= room:
                text.append_text(piece)
        return text

    def say_instead(self, keys: tuple[tuple[str, str], ...]) -> None:
        """Show these alone; () for the screen's own again."""
        if keys != self.instead:
            self.instead = keys
            self.refresh()

    def _plain(self, text: str) -> str:
        return text if self.utf8 else text.translate(ASCII_TWINS)
