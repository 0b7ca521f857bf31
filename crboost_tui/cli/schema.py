"""The parameters of a job type: unit, range, default, the tool's own option, and a sentence of help."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, Any

from crboost_tui.cli._common import add_json, print_json
from crboost_tui.terminal import Terminal

if TYPE_CHECKING:
    from core.jobs.fields import FieldInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_type", metavar="TYPE", help="a job type, as crboost jobs lists them")
    parser.add_argument("--all", action="store_true", help="the advanced parameters too")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.jobs._registry import job_type
    from core.jobs.fields import Level, field_list

    kind = job_type(options.job_type)
    infos = field_list(kind.parameters)
    if options.json:
        print_json({"name": kind.name, "title": kind.title, "fields": [as_json(info) for info in infos]})
        return 0
    terminal = Terminal.of()
    print(terminal.paint(f"{kind.name}", "1") + terminal.text(f"  {kind.title}. {kind.summary}"))
    shown = [info for info in infos if options.all or info.level is Level.BASIC]
    group = ""
    for info in shown:
        if info.group != group:
            group = info.group
            print(terminal.paint(f"\n{group}", "1"))
        print(terminal.text(f"  {info.name} = {value_text(info.default)} {info.unit}".rstrip()))
        told = "; ".join(part for part in (allowed(info), info.flag, "per series" if info.per_series else "") if part)
        if told:
            print(terminal.text(terminal.paint(f"      {told}", "2")))
        for line in textwrap.wrap(info.help, min(terminal.width, 100) - 6):
            print(terminal.text(f"      {line}"))
    if len(shown) < len(infos):
        print(f"\n{len(infos) - len(shown)} advanced parameters more: crboost schema {kind.name} --all")
    return 0


def as_json(info: FieldInfo) -> dict[str, Any]:
    """A field as plain values, without what is not there."""
    found: dict[str, Any] = {
        "name": info.name,
        "kind": info.kind,
        "default": info.default,
        "optional": info.optional,
        "unit": info.unit,
        "group": info.group,
        "level": info.level.value,
        "flag": info.flag,
        "help": info.help,
        "choices": list(info.choices),
        "minimum": info.minimum,
        "maximum": info.maximum,
        "pattern": info.pattern,
        "per_series": info.per_series,
        "changes_result": not info.no_result,
        "only": {name: list(values) for name, values in info.only.items()} if info.only else None,
        "suggested_by": info.suggest,
    }
    return {name: value for name, value in found.items() if value not in ("", None, []) or name == "default"}


def value_text(value: Any) -> str:
    """A value as it is typed in ``crboost.yaml``; what is not set is ``not set``."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) else f"{value:.1f}"
    return str(value) if value != "" else '""'


def allowed(info: FieldInfo) -> str:
    """``20 to 500 nm``, ``AreTomo2, AreTomo3``, ``when method is ...``."""
    parts = []
    if info.choices:
        parts.append("one of " + ", ".join(info.choices))
    low, high = info.minimum, info.maximum
    if low is not None and high is not None:
        parts.append(f"{low:g} to {high:g}")
    elif low is not None:
        parts.append(f"more than {low:g}" if info.minimum_excluded else f"at least {low:g}")
    elif high is not None:
        parts.append(f"less than {high:g}" if info.maximum_excluded else f"at most {high:g}")
    if info.only:
        when = " and ".join(
            f"{name} is {' or '.join(value_text(value) for value in values)}" for name, values in info.only.items()
        )
        parts.append(f"only where {when}")
    return "; ".join(parts)
