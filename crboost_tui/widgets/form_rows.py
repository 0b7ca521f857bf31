"""The lines of a form in their order: heads of groups, fields, what is folded away, an open list of choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from crboost_tui.form import Form, FormField

FOLD = "advanced"
"""Key of the line that hides what is seldom changed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line. ``key``: the field's name, or of what else it is; it finds the cursor again. ``option``: the number of
    a choice, from 1."""

    kind: Literal["head", "field", "fold", "option", "note"]
    key: str
    text: str = ""
    field: FormField | None = None
    option: int = 0

    @property
    def place(self) -> tuple[str, str, int]:
        """What makes it the same line in another form."""
        return self.kind, self.key, self.option


def rows_of(form: Form, *, unfolded: bool, letters: str | None, choosing: str) -> list[Row]:
    """``letters``: only fields that have them, None for all. ``choosing``: the field whose choices are open."""
    if not form.fields:
        return [Row("note", "", form.empty)]
    if letters is not None:
        found = [each for each in form.fields if _matches(each, letters)]
        return _grouped(form, found, choosing) or [Row("note", "", "No field has these letters.")]
    rows = _grouped(form, [each for each in form.fields if not each.advanced], choosing)
    advanced = [each for each in form.fields if each.advanced]
    if advanced:
        rows.append(Row("fold", FOLD, _fold_text(advanced, unfolded)))
        if unfolded:
            rows += _grouped(form, advanced, choosing)
    return rows


def in_order(fields: Sequence[FormField]) -> list[FormField]:
    """As the rows show them: basic ones first."""
    return sorted(fields, key=lambda each: each.advanced)


def _grouped(form: Form, fields: Sequence[FormField], choosing: str) -> list[Row]:
    groups: dict[str, list[FormField]] = {each.group: [] for each in in_order(form.fields)}
    for each in fields:
        groups[each.group].append(each)
    rows: list[Row] = []
    for title, members in groups.items():
        if not members:
            continue
        rows.append(Row("head", f"head {title}", title))
        for each in members:
            rows.append(Row("field", each.name, field=each))
            if each.name == choosing:
                rows += [Row("option", each.name, text, each, number) for number, text in enumerate(each.choices, 1)]
    return rows


def _fold_text(advanced: Sequence[FormField], unfolded: bool) -> str:
    """``Advanced (9, 1 set, 2 problems)``."""
    told = [str(len(advanced))]
    own = sum(each.origin.startswith("you") for each in advanced)
    wrong = sum(bool(each.findings) for each in advanced)
    if own:
        told.append(f"{own} set")
    if wrong:
        told.append(f"{wrong} problem" + "s" * (wrong > 1))
    return f"Advanced ({', '.join(told)})  {'▾' if unfolded else '▸'}"


def _matches(field: FormField, letters: str) -> bool:
    """Every word stands in the label, name, option, help or group."""
    text = f"{field.label} {field.name} {field.flag} {field.help} {field.group}".lower()
    return all(word in text for word in letters.lower().split())
