"""The vocabulary of parameter fields: meaning only, never a widget's name.

A job type's parameters are a pydantic model whose fields carry this metadata in ``Annotated``::

    class Parameters(JobParameters):
        pixel_size: Annotated[float, Unit("Å/px"), Group("Output"), Flag("--angpix"), Field(ge=2, le=50)] = 10.0
        '''One sentence of help.'''

The attribute docstring is the field's help (``use_attribute_docstrings``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Unit:
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    title: str


class Level(Enum):
    BASIC = "basic"
    ADVANCED = "advanced"


@dataclass(frozen=True, slots=True)
class Flag:
    """The tool's own option that this field becomes, shown beside it (``--c_window``)."""

    text: str


@dataclass(frozen=True, slots=True)
class PerSeries:
    """The field can be overridden for chosen tilt series."""


@dataclass(frozen=True, slots=True)
class NoResult:
    """The field cannot change a result (devices, threads, scratch, logging): it stays out of the fingerprint."""


@dataclass(frozen=True, slots=True)
class Only:
    """The field applies only while other fields have one of these values; otherwise it keeps its value but enters
    neither the command nor the fingerprint: ``Only({"method": ("AreTomo2", "AreTomo3")})``."""

    when: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Suggest:
    """While it is not set, the value comes from this field of :class:`core.dataset.model.Acquisition`."""

    acquisition: str


class JobParameters(BaseModel):
    """Base of every job type's parameters. Frozen; unknown keys, infinities and NaN are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
    )


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field as forms, schema and documentation see it."""

    name: str
    kind: Literal["bool", "int", "float", "text", "choice"]
    default: Any
    optional: bool
    """None is allowed and means: not set, the tool's or the data set's own value."""
    help: str
    group: str
    level: Level
    unit: str = ""
    flag: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    minimum_excluded: bool = False
    maximum_excluded: bool = False
    pattern: str = ""
    per_series: bool = False
    no_result: bool = False
    only: Mapping[str, tuple[Any, ...]] | None = None
    suggest: str = ""


def field_list(model: type[BaseModel]) -> tuple[FieldInfo, ...]:
    """Every field of a parameter model, in order of declaration."""
    return tuple(_describe(name, info) for name, info in model.model_fields.items())


def applies(info: FieldInfo, values: Mapping[str, Any]) -> bool:
    """Whether the field counts with these values (see :class:`Only`)."""
    return info.only is None or all(values.get(name) in allowed for name, allowed in info.only.items())


def _describe(name: str, info: Any) -> FieldInfo:
    annotation, optional = _without_none(info.annotation)
    found: dict[str, Any] = {"level": Level.BASIC, "group": "Parameters"}
    for item in (*info.metadata, *_of_the_value(info.annotation)):
        match item:
            case Unit(text):
                found["unit"] = text
            case Group(title):
                found["group"] = title
            case Level():
                found["level"] = item
            case Flag(text):
                found["flag"] = text
            case PerSeries():
                found["per_series"] = True
            case NoResult():
                found["no_result"] = True
            case Only(when):
                found["only"] = when
            case Suggest(acquisition):
                found["suggest"] = acquisition
            case _:
                _bounds(item, found)
    return FieldInfo(
        name=name,
        kind=_kind(annotation),
        default=info.default,
        optional=optional,
        help=" ".join((info.description or "").split()),
        choices=_choices(annotation),
        **found,
    )


def _bounds(item: Any, found: dict[str, Any]) -> None:
    for attribute, key, excluded in (
        ("ge", "minimum", None),
        ("gt", "minimum", "minimum_excluded"),
        ("le", "maximum", None),
        ("lt", "maximum", "maximum_excluded"),
        ("pattern", "pattern", None),
    ):
        value = getattr(item, attribute, None)
        if value is not None:
            found[key] = value
            if excluded:
                found[excluded] = True


def _without_none(annotation: Any) -> tuple[Any, bool]:
    arguments = get_args(annotation)
    if type(None) in arguments and get_origin(annotation) is not Literal:
        rest = [argument for argument in arguments if argument is not type(None)]
        return _bare(rest[0]), True
    return annotation, False


def _of_the_value(annotation: Any) -> list[Any]:
    """The metadata of what may also be None: of ``Annotated[float, Field(gt=0)] | None``."""
    own = [item for argument in get_args(annotation) for item in getattr(argument, "__metadata__", ())]
    return [*own, *(inner for item in own for inner in getattr(item, "metadata", ()))]


def _bare(annotation: Any) -> Any:
    """Without the metadata of an ``Annotated`` (``Annotated[float, Field(gt=0)] | None``)."""
    return get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation


def _kind(annotation: Any) -> Literal["bool", "int", "float", "text", "choice"]:
    if _choices(annotation):
        return "choice"
    if annotation is bool:
        return "bool"
    if annotation is int:
        return "int"
    if annotation is float:
        return "float"
    return "text"


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(str(choice) for choice in get_args(annotation))
    return ()
