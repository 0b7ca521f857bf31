"""Pydantic's findings about a file of settings, as sentences with the path of the field."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from core.errors import InputError

M = TypeVar("M", bound=BaseModel)

_KINDS = {
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "string_type": "a text (in quotes where it looks like a number)",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table of 'name: value' lines",
    "model_type": "a table of 'name: value' lines",
    "model_attributes_type": "a table of 'name: value' lines",
    "finite_number": "a finite number",
}


def validated(model: type[M], value: Any, place: str | Path) -> M:
    """``value`` as ``model``. Raises :class:`InputError` that names every wrong field by its path, one per line."""
    if not isinstance(value, Mapping):
        raise InputError(f"must hold a table of 'name: value' lines, not {_said(value)}.", place)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = sentences(error, model)
    first_path, first = found[0]
    rest = "".join(
        f"\n{place}, {path}: {sentence}" if path else f"\n{place}: {sentence}" for path, sentence in found[1:]
    )
    raise InputError(first + rest, f"{place}, {first_path}" if first_path else place)


def sentences(error: ValidationError, model: type[BaseModel]) -> list[tuple[str, str]]:
    """``(field path, sentence)`` of each finding; a path is like ``pipeline[2].parameters.window``."""
    return [_sentence(detail, model) for detail in error.errors(include_url=False)]


def refuse_newer(value: Any, known: int, place: str | Path) -> None:
    """Refuse a file whose ``format`` is newer than ``known``."""
    number = value.get("format") if isinstance(value, dict) else None
    if isinstance(number, int) and not isinstance(number, bool) and number > known:
        raise InputError(
            f"was made by a newer version of crboost (format {number}, this version knows {known}): update crboost.",
            place,
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` for the nearest known word, otherwise the list of what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known are: {', '.join(known)}." if known else ""


def field_path(location: Iterable[Any]) -> str:
    """``("pipeline", 2, "parameters")`` as ``pipeline[2].parameters``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{part}" if text else str(part)
    return text


def _sentence(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    location, kind, value = detail["loc"], detail["type"], detail["input"]
    context = detail.get("ctx", {})
    path = field_path((*location, *context.get("within", ())))
    if location and location[-1] == "[key]":
        return path, f"{_said(value)} cannot be a name here: put it in quotes if it is meant as text."
    if kind == "extra_forbidden":
        key = str(location[-1])
        return path, f"there is no setting {key!r} here.{nearest(key, _fields_at(model, location[:-1]))}"
    if kind == "missing":
        return path, "is missing and has no default: add it."
    if kind in _KINDS:
        return path, f"is {_said(value)}, but must be {_KINDS[kind]}."
    if kind == "literal_error":
        return path, f"is {_said(value)}, but must be {context['expected']}."
    bounds = {
        "greater_than": ("gt", "greater than"),
        "greater_than_equal": ("ge", "at least"),
        "less_than": ("lt", "less than"),
        "less_than_equal": ("le", "at most"),
    }
    if kind in bounds:
        key, words = bounds[kind]
        return path, f"is {_said(value)}, but must be {words} {context[key]:g}."
    if kind == "string_pattern_mismatch":
        return path, f"is {_said(value)}, but must look like {context['pattern']}."
    return path, detail["msg"]


def _said(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(annotation: Any, location: Iterable[Any]) -> set[str]:
    """Names of the fields of the model that stands at ``location`` below ``annotation``."""
    for part in location:
        annotation = _below(_plain(annotation), part)
    annotation = _plain(annotation)
    return set(annotation.model_fields) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else set()


def _below(annotation: Any, part: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return None if field is None else field.annotation
    arguments = get_args(annotation)
    return arguments[-1] if arguments and not is_dataclass(annotation) else None


def _plain(annotation: Any) -> Any:
    """Without Annotated and without an optional None."""
    if hasattr(annotation, "__metadata__"):
        return _plain(get_args(annotation)[0])
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    if type(None) in get_args(annotation) and get_origin(annotation) is not None and len(arguments) == 1:
        return _plain(arguments[0])
    return annotation
