"""YAML that means what people typed."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.formats.plain_yaml import dump, load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:00:00", "12:00:00"),
        ("1_2", "1_2"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("No", "No"),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("~", "~"),
        ("2026-11-23", "2026-11-23"),
        ("1e-3", 0.001),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-0.7894", -0.7894),
        ("5.", 5.0),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("true", True),
        ("false", False),
        ("null", None),
        ("", None),
        ("'12'", "12"),
        ('"true"', "true"),
        ("<<", "<<"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    loaded = load(f"key: {text}\n")
    assert loaded == {"key": value}
    assert type(loaded["key"]) is type(value)


def test_keys_are_texts() -> None:
    assert load("1: a\n010: b\ntrue: c\n12:00:00: d\n") == {"1": "a", "010": "b", "true": "c", "12:00:00": "d"}
    assert load("") is None
    assert load("a: [1, x, {b: 2.0}]\n") == {"a": [1, "x", {"b": 2.0}]}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml, line 3: has the key 'a' twice"),
        ("a:\n  b: 1\n  b: 2\n", "line 3: has the key 'b' twice"),
        ("a: .nan\n", "line 1: has .nan"),
        ("a: 1\nb: -.Inf\n", "line 2: has -.Inf"),
        ("a: 1e999\n", "line 1: has the number 1e999"),
        ("a:\n\tb: 1\n", "line 2: is not valid YAML.*blanks"),
        ("a: [1, 2\n", "is not valid YAML"),
        ("a: b: c\n", "line 1: is not valid YAML"),
        ("a: \x00\x01\n", "is not valid YAML"),
        ("a: !!python/object:os.system x\n", "line 1: uses the tag"),
        ("a: &x 1\nb: *x\n", "line 1: uses an alias"),
        ("a: 1\n---\nb: 2\n", "is not valid YAML"),
        ("[a, b]: 1\n", "line 1: has a key that is no text"),
        ("[" * 200 + "]" * 200, "nested deeper"),
        ("a: " + "9" * 40, "digits"),
    ],
)
def test_what_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        load(text, "f.yaml")
    assert str(caught.value).startswith("f.yaml")


def test_the_written_form() -> None:
    value = {
        "format": 1,
        "name": "HIV",
        "note": "first line\nsecond: line\n",
        "acquisition": {"g1": {"pixel_size_angstrom": 0.675, "gain": None, "flip": True}},
        "empty": {},
        "pipeline": [{"id": "tsCtf", "inputs": {"aligned": ["imod", "aretomo"]}, "time": "12:00:00", "no": "no"}],
    }
    text = dump(value)
    assert text == (
        "format: 1\nname: HIV\nnote: |\n  first line\n  second: line\nacquisition:\n  g1:\n"
        "    pixel_size_angstrom: 0.675\n    gain: null\n    flip: true\nempty: {}\npipeline:\n- id: tsCtf\n"
        "  inputs:\n    aligned: [imod, aretomo]\n  time: '12:00:00'\n  'no': 'no'\n"
    )
    assert load(text) == value
    assert yaml.safe_load(text) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, object(), {"a": {3}}])
def test_what_cannot_be_written(value: object) -> None:
    with pytest.raises(InputError):
        dump({"a": value} if not isinstance(value, dict) else value)


texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "no",
        "1_2",
        "010",
        "12:00:00",
        "- a",
        "a: b",
        "# x",
        " x ",
        "a\nb",
        "a\n\nb\n",
        "\n",
        "'",
        '"',
        "~",
        "|",
        "0x1",
        "a #b",
        "=",
        "<<",
    ]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(values)
def test_every_value_comes_back(value: Any) -> None:
    text = dump(value)
    assert load(text) == value
    assert dump(load(text)) == text
