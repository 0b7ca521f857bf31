"""One object for each thing a person can do on a screen: it feeds the key, the footer, the palette and the help."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding, BindingType

_SHOWN = {"enter": "enter", "question_mark": "?", "slash": "/", "escape": "esc", "ctrl+p": "^p"}


@dataclass(frozen=True, slots=True)
class Action:
    """``name`` is the Textual action that is called, ``keys`` are Textual's key names (the first is shown)."""

    name: str
    keys: str
    label: str
    help: str
    footer: bool = True

    @property
    def key(self) -> str:
        first = self.keys.split(",")[0]
        return _SHOWN.get(first, first)

    def binding(self) -> Binding:
        return Binding(self.keys, self.name, self.label, show=False, tooltip=self.help, id=self.name)


def bindings(actions: tuple[Action, ...]) -> list[BindingType]:
    return [action.binding() for action in actions]
