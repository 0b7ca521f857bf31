"""One object for each thing a person can do on a screen: it feeds the key, the footer, the palette and the help."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from textual.binding import Binding, BindingType

_SHOWN = {
    "question_mark": "?", "slash": "/", "comma": ",", "full_stop": ".", "escape": "esc", "plus": "+", "minus": "-",
    "equals_sign": "=", "pageup": "pgup", "pagedown": "pgdn", "delete": "del", "backspace": "bksp",
    "exclamation_mark": "!", "number_sign": "#",
}  # fmt: skip
ARROWS = {"up": "↑", "down": "↓", "left": "←", "right": "→"}
_TEXTS = re.compile(r"'([^']+)'")

Keymap = Mapping[str, str]
"""A user's own keys: id of an action -> Textual's names of its keys, with commas between them."""


@dataclass(frozen=True, slots=True)
class Action:
    """``name`` is the Textual action that is called, ``keys`` are Textual's key names (the first is shown)."""

    name: str
    keys: str
    label: str
    help: str
    footer: bool = True

    @property
    def id(self) -> str:
        """By what a user's settings call it: ``retry``, ``open.log``, ``move.up``; the same on every screen."""
        verb, _, arguments = self.name.partition("(")
        verb = verb.removeprefix("app.").removeprefix("focused.")
        if not arguments:
            return verb
        words = _TEXTS.findall(arguments) or [self.label.replace(" ", "-")]
        return ".".join([verb, *words])

    @property
    def key(self) -> str:
        """The first of its keys, as it is shown."""
        return shown_key(self.keys.split(",")[0])

    def key_in(self, keymap: Keymap) -> str:
        """The first of its keys with a user's own keys, as it is shown."""
        return shown_key(keymap.get(self.id, self.keys).split(",")[0])

    def binding(self) -> Binding:
        return Binding(self.keys, self.name, self.label, show=False, tooltip=self.help, id=self.id)


def bindings(actions: tuple[Action, ...]) -> list[BindingType]:
    return [action.binding() for action in actions]


def shown_key(key: str) -> str:
    """A key of Textual's as people write it: ``?``, ``esc``, ``^p``."""
    key = key.strip()
    if key.startswith("ctrl+"):
        return f"^{key[5:]}"
    return ARROWS.get(key) or _SHOWN.get(key, key)


APP_ACTIONS = (
    Action("app.settings", "comma", "settings", "colours, keys, the site's settings, and what works here (doctor)"),
    Action("app.command_palette", "ctrl+p", "all", "every action, project, job and tilt series by name"),
    Action("app.help", "question_mark", "help", "this page"),
    Action("app.suspend_process", "ctrl+z", "shell", "to the shell; fg brings it back"),
    Action("app.quit", "ctrl+q", "quit", "leave; runs go on"),
)
"""What can be done on every screen."""


def with_app_actions(actions: Iterable[Action]) -> list[Action]:
    """The actions of a screen, then those of the app that it does not name itself."""
    found = list(actions)
    named = {action.name for action in found}
    return found + [action for action in APP_ACTIONS if action.name not in named]


def conflicts(actions: Iterable[Action], keymap: Keymap) -> list[tuple[str, Action, Action]]:
    """``(key, action, other action)`` of one screen where a user's keys give one key to two of them."""
    taken: dict[str, Action] = {}
    found = []
    for action in actions:
        for key in keymap.get(action.id, action.keys).split(","):
            other = taken.setdefault(key.strip(), action)
            if other.id != action.id:
                found.append((shown_key(key), other, action))
    return found


def all_actions() -> dict[str, tuple[Action, ...]]:
    """The actions of every screen and widget by its module's name. Imports them all: not for the app's loop."""
    import importlib
    import pkgutil

    from crboost_tui import screens, widgets

    found: dict[str, tuple[Action, ...]] = {"everywhere": APP_ACTIONS}
    for package in (screens, widgets):
        for module in pkgutil.iter_modules(package.__path__):
            loaded = importlib.import_module(f"{package.__name__}.{module.name}")
            actions: dict[str, Action] = {}
            for name, value in vars(loaded).items():
                if name.isupper() and isinstance(value, tuple) and value and name != "APP_ACTIONS":
                    actions |= {each.id: each for each in value if isinstance(each, Action)}
            if actions:
                found[module.name.removesuffix("_view").replace("_", " ")] = tuple(actions.values())
    return found
