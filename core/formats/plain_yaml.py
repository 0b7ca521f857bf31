"""YAML with only what people mean: text, true/false, null, decimal integers and floats.

PyYAML's own rules turn ``12:00:00`` into 43200, ``1_2`` into 12, ``010`` into 8 and ``no`` into False. Here these are
texts. Keys are always texts. Duplicate keys, anchors, tags, NaN and infinity are refused with file and line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from yaml.resolver import Resolver

from core.errors import InputError

try:
    from yaml import CBaseDumper as _Dumper
    from yaml import CBaseLoader as _Loader
except ImportError:  # PyYAML without libyaml: ten times slower, the same results.
    from yaml import BaseDumper as _Dumper  # type: ignore[assignment]
    from yaml import BaseLoader as _Loader  # type: ignore[assignment]

_TEXT = "tag:yaml.org,2002:str"
_TAGS = frozenset({_TEXT, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_DEEPEST = 60
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)\Z")
_NO_NUMBER = re.compile(r"[-+]?\.(?:nan|inf)\Z", re.IGNORECASE)
_WORDS = {"": None, "null": None, "true": True, "false": False}
_BLOCK_TEXT = re.compile(
    r"(?:[^\s\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff](?:[^\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff]*[^\s\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff])?\n?)+\Z"
)


def load(text: str, place: str = "") -> Any:
    """The value of a YAML text: dict (keys are str), list, str, int, float, bool or None.

    ``place`` names the text in errors. Raises :class:`InputError` with the line.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _problem(error, place) from error
    except (UnicodeError, RecursionError) as error:
        raise InputError("is not a YAML text.", place or None) from error
    return None if node is None else _value(node, place, set(), 0)


def dump(value: Any) -> str:
    """The YAML text of a value made of mappings with text keys, sequences, text, numbers, booleans and None.

    Keeps the order of keys, and gives the same text for the same value. Raises :class:`InputError` for what YAML (or
    :func:`load`) cannot hold.
    """
    try:
        text = yaml.serialize(_node(value), Dumper=_Dumper, allow_unicode=True, width=1_000_000)
    except (yaml.YAMLError, UnicodeError) as error:
        raise InputError(f"cannot be written as YAML: {error}.") from error
    return str(text)


def _value(node: yaml.Node, place: str, seen: set[int], depth: int) -> Any:
    line = node.start_mark.line + 1
    if id(node) in seen:
        raise InputError("uses an alias (*name): write the value out.", place or None, line)
    seen.add(id(node))
    if node.tag not in _TAGS:
        raise InputError(f"uses the tag {node.tag!r}: only plain values are known.", place or None, line)
    if depth > _DEEPEST:
        raise InputError(f"is nested deeper than {_DEEPEST} levels.", place or None, line)
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise InputError("has a key that is no text.", place or None, key.start_mark.line + 1)
            if id(key) in seen:
                raise InputError("uses an alias (*name): write the key out.", place or None, key.start_mark.line + 1)
            seen.add(id(key))
            if key.value in result:
                raise InputError(f"has the key {key.value!r} twice.", place or None, key.start_mark.line + 1)
            result[key.value] = _value(value, place, seen, depth + 1)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, place, seen, depth + 1) for item in node.value]
    return node.value if getattr(node, "style", None) else _scalar(node.value, place, line)


def _scalar(text: str, place: str, line: int) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        if len(text) > 30:
            raise InputError(f"has a number with {len(text)} digits; quote it if it is a name.", place or None, line)
        return int(text)
    if _FLOAT.match(text):
        number = float(text)
        if not math.isfinite(number):
            raise InputError(f"has the number {text}, which is too large.", place or None, line)
        return number
    if _NO_NUMBER.match(text):
        raise InputError(f"has {text}, which is no number; leave the value out, or quote it.", place or None, line)
    return text


def _problem(error: yaml.YAMLError, place: str) -> InputError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = None if mark is None else mark.line + 1
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read")
    if "cannot start any token" in problem and ("'\\t'" in problem or "character that" in problem):
        problem += " (tabs may not indent: use blanks)"
    return InputError(f"is not valid YAML: {problem}.", place or None, line)


def _node(value: Any) -> yaml.Node:
    if isinstance(value, str):
        return yaml.ScalarNode(_TEXT, value, style=_style(value))
    if value is None:
        return yaml.ScalarNode(_TEXT, "null")
    if isinstance(value, bool):
        return yaml.ScalarNode(_TEXT, "true" if value else "false")
    if isinstance(value, int):
        return yaml.ScalarNode(_TEXT, str(value))
    if isinstance(value, float):
        return yaml.ScalarNode(_TEXT, _float_text(value))
    if isinstance(value, Mapping):
        pairs = []
        for key, item in value.items():
            if not isinstance(key, str):
                raise InputError(f"the key {key!r} is no text.")
            pairs.append((yaml.ScalarNode(_TEXT, key, style=_style(key, key=True)), _node(item)))
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=False)
    if isinstance(value, Sequence):
        items = [_node(item) for item in value]
        flow = all(isinstance(item, yaml.ScalarNode) and item.style != "|" for item in items)
        return yaml.SequenceNode("tag:yaml.org,2002:seq", items, flow_style=flow)
    raise InputError(f"a value of type {type(value).__name__} cannot be written as YAML.")


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        raise InputError(f"the number {value} cannot be written.")
    text = repr(value)
    # Other YAML readers take 1e-07 for a text.
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


class _Rules(Resolver):
    """What other YAML readers would make of a plain text."""


_RULES = _Rules()


def _style(text: str, key: bool = False) -> str | None:
    """None where the text may stand bare: neither our rules nor those of other YAML readers take it for more."""
    if "\n" in text and not key and _BLOCK_TEXT.match(text):
        return "|"
    if not text.isprintable():
        return '"'
    if text in _WORDS or _INTEGER.match(text) or _FLOAT.match(text) or _NO_NUMBER.match(text):
        return "'"
    foreign = _RULES.resolve(yaml.ScalarNode, text, (True, False)) != _TEXT  # type: ignore[no-untyped-call]
    return "'" if foreign else None
