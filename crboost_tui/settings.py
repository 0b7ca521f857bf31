"""What a user has set for the app: ``$XDG_CONFIG_HOME/crboost/app.yaml``.

A wrong file never keeps the app from starting: what is wrong in it is said, and the rest holds. Reading YAML and
checking it costs a tenth of a second before the first frame: so what was read is kept, with the file's time and size,
in the user's state folder, and read from there until the file changes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from core.errors import CrboostError
from crboost_tui.actions import Action, Keymap
from crboost_tui.state import state_folder

ThemeName = Literal["dark", "light", "terminal"]
Pictures = Literal["auto", "half-blocks", "sixel", "kitty"]
CHOICES: Mapping[str, tuple[str, ...]] = {"theme": get_args(ThemeName), "pictures": get_args(Pictures)}

_KEY = re.compile(r"(ctrl\+|shift\+)?([a-z0-9]|[A-Z]|[a-z]+(_[a-z]+)*|f[0-9]+)")
_SWALLOWED = {
    "ctrl+a": "screen", "ctrl+b": "tmux",
    "ctrl+c": "the shell", "ctrl+i": "the terminal (it is tab)", "ctrl+m": "the terminal (it is enter)",
}  # fmt: skip
_NAMES = {
    "?": "question_mark", "/": "slash", ",": "comma", ".": "full_stop", "+": "plus", "-": "minus", "esc": "escape",
    "=": "equals_sign", " ": "space", "*": "asterisk", "#": "number_sign", "<": "less_than_sign",
    ">": "greater_than_sign", "pgup": "pageup", "pgdn": "pagedown",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AppSettings:
    """``keys``: id of an action -> its keys with commas between them."""

    theme: ThemeName = "dark"
    pictures: Pictures = "auto"
    bell: bool = True
    keys: Keymap = field(default_factory=dict)


def settings_file() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "crboost" / "app.yaml"


def load_settings() -> tuple[AppSettings, tuple[str, ...]]:
    """The settings, and a sentence for each thing that is wrong in the file. Never raises."""
    path = settings_file()
    try:
        status = path.stat()
    except FileNotFoundError:
        return AppSettings(), ()
    except OSError as error:
        return AppSettings(), (f"{path}: cannot be read ({error.strerror or error}).",)
    stamp = [str(path), status.st_mtime_ns, status.st_size]
    known = _kept(stamp)
    if known is not None:
        return known
    found = _read(path)
    _keep(stamp, *found)
    return found


def save_settings(settings: AppSettings) -> None:
    """Write what differs from the defaults. Raises :class:`CrboostError`, so for a file that is no YAML: all that
    a person wrote in it would be lost."""
    from core.files import replace_text, write_error
    from core.formats import plain_yaml

    path = settings_file()
    try:
        _parsed(path)
    except CrboostError as error:
        raise CrboostError(f"{error} Nothing is saved until that is mended: this holds until you quit.") from error
    values = {name: value for name, value in asdict(settings).items() if value != getattr(AppSettings(), name)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path.parent, error) from error
    text = plain_yaml.dump(values) if values else ""
    replace_text(path, "# Settings of the crboost app; its settings screen (key ,) writes this file.\n" + text)


def changed(settings: AppSettings, name: str, value: object) -> AppSettings:
    return replace(settings, **{name: value})  # type: ignore[arg-type]


def textual_keys(text: str) -> tuple[str, str]:
    """Keys as a person writes them (``R``, ``ctrl+r, ?``) as Textual's names, and a sentence where one cannot be."""
    keys = []
    for part in re.split(r"\s*,\s+|(?<=.),(?=.)", text.strip()):
        key = _NAMES.get(part, part)
        if not _KEY.fullmatch(key):
            return "", f"{part!r} is no key: write a letter, a digit, a name like pageup or f5, or ctrl+r."
        if key in _SWALLOWED:
            return "", f"{key} never reaches a program: {_SWALLOWED[key]} takes it. Choose another key."
        keys.append(key)
    return ",".join(keys), ""


def wrong_keys(keymap: Keymap, screens: Mapping[str, Iterable[Action]]) -> list[str]:
    """A sentence for each id that no action has, and for each key that two actions of a screen would share."""
    from core.project.problems import nearest
    from crboost_tui.actions import conflicts, with_app_actions

    known = {action.id for actions in screens.values() for action in actions}
    wrong = [f"keys: there is no action {id!r}.{_short(nearest(id, known))}" for id in keymap if id not in known]
    said = set()
    for screen, actions in screens.items():
        before = {(key, one.id, two.id) for key, one, two in conflicts(with_app_actions(actions), {})}
        for key, one, two in conflicts(with_app_actions(actions), keymap):
            pair = (key, one.id, two.id)
            if pair not in said and pair not in before:
                said.add(pair)
                wrong.append(f"keys: {key} is both {one.id!r} and {two.id!r} on the screen {screen}; the own one wins.")
    return wrong


def _short(advice: str) -> str:
    return advice if advice.startswith(" Did") else " The settings screen lists them all."


def _read(path: Path) -> tuple[AppSettings, tuple[str, ...]]:
    try:
        return _checked(_parsed(path), path)
    except CrboostError as error:
        return AppSettings(), (str(error),)


def _parsed(path: Path) -> dict[str, Any]:
    """What stands in the file, {} where there is none. Raises :class:`CrboostError`."""
    from core.files import read_text
    from core.formats import plain_yaml

    value = plain_yaml.load(read_text(path), str(path)) if os.path.exists(path) else None
    if value is not None and not isinstance(value, dict):
        raise CrboostError("must hold 'name: value' lines.", path)
    return value or {}


def _checked(value: dict[str, Any], path: Path) -> tuple[AppSettings, tuple[str, ...]]:
    """What is right in ``value``, and sentences about the rest."""
    from pydantic import BaseModel, ConfigDict, ValidationError

    from core.project.problems import nearest, sentences

    class Model(BaseModel):
        """The same fields, strictly."""

        model_config = ConfigDict(strict=True)
        theme: ThemeName = "dark"
        pictures: Pictures = "auto"
        bell: bool = True
        keys: dict[str, str | int | list[str | int]] = {}

    assert set(Model.model_fields) == {each.name for each in fields(AppSettings)}
    wrong = []
    for name in [name for name in value if name not in Model.model_fields]:
        wrong.append(f"{path}: there is no setting {name!r}.{nearest(name, Model.model_fields)}")
    right = {name: each for name, each in value.items() if name in Model.model_fields and each is not None}
    try:
        model = Model.model_validate(right)
    except ValidationError as error:
        told: dict[str, str] = {}
        for detail, (place, sentence) in zip(error.errors(include_url=False), sentences(error, Model), strict=True):
            told.setdefault(str(detail["loc"][0]), f"{path}, {place}: {sentence}")
        wrong += told.values()
        model = Model.model_validate({name: each for name, each in right.items() if name not in told})
    keys = {}
    for id, given in model.keys.items():
        text = ", ".join(str(each) for each in given) if isinstance(given, list) else str(given)
        names, sentence = textual_keys(text)
        if sentence:
            wrong.append(f"{path}, keys.{id}: {sentence}")
        else:
            keys[id] = names
    return AppSettings(model.theme, model.pictures, model.bell, keys), tuple(wrong)


def _kept_file() -> Path:
    return state_folder() / "app.json"


def _kept(stamp: list[object]) -> tuple[AppSettings, tuple[str, ...]] | None:
    """What was read of the file before, where it has not changed since."""
    try:
        kept = json.loads(_kept_file().read_text(encoding="utf-8"))
        return (AppSettings(**kept["settings"]), tuple(kept["wrong"])) if kept["stamp"] == stamp else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _keep(stamp: list[object], settings: AppSettings, wrong: tuple[str, ...]) -> None:
    from core.files import replace_text

    try:
        state_folder().mkdir(parents=True, exist_ok=True)
        replace_text(_kept_file(), json.dumps({"stamp": stamp, "settings": asdict(settings), "wrong": wrong}))
    except (OSError, CrboostError):
        return  # it is read again the next time
