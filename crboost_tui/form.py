"""A form as data: the fields of a job's parameters, of its resources, or of an acquisition, as a form shows them.

A form is made in a thread from the project file with the edits that are not saved yet in it, so that values, origins
and problems are always those of what would be saved. The widget draws it and hands back what a person typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["bool", "int", "float", "text", "choice", "path"]
Edits = Mapping[str, str | None]
"""What was typed and is not saved yet: name of a value -> its text, None for back to the default."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem beside its field. ``level``: error or warning."""

    level: Literal["error", "warning"]
    sentence: str


@dataclass(frozen=True, slots=True)
class FormField:
    """One value. ``name`` as ``crboost set`` takes it (``tsCtf.window``), with ``@Position_1`` where it is the value of
    single tilt series; texts are as a person types them, "" where nothing is set."""

    name: str
    label: str
    kind: Kind
    group: str
    value: str
    origin: str
    """Where the value comes from: ``default``, ``mdoc``, ``site (<file>)``, ``profile``, ``project``, ``you``."""
    default: str = ""
    """What it goes back to."""
    optional: bool = False
    unit: str = ""
    allowed: str = ""
    """The range or the pattern in words: ``2–50``."""
    choices: tuple[str, ...] = ()
    help: str = ""
    flag: str = ""
    """The tool's own option that the value becomes."""
    advanced: bool = False
    applies: bool = True
    """Whether it counts with the other values (it keeps its value all the same)."""
    edited: bool = False
    """Typed and not saved yet."""
    findings: tuple[Finding, ...] = ()
    per_series: int = -1
    """Tilt series with values of their own; -1 where a field cannot have such."""
    used: str | None = None
    """What finished tasks used, where that is another value than the present one."""
    compared: str | None = None
    """The value on the other side of a comparison, where it differs."""
    changes_result: bool = True
    only: str = ""
    """When it counts, in words, for a field that counts only with other values: ``only with method AreTomo2``."""
    confirm: bool = False
    """Found in the files but not certain: a person may confirm it (an edit ``core.dataset.model.CONFIRMED``)."""
    fills: Mapping[str, Edits] = field(default_factory=dict)
    """What each choice sets in other fields, for a choice that is no value itself (a preset)."""
    names: tuple[str, ...] = ()
    """Further values that are set together with this one: those of the other tilt series that the form is about."""


@dataclass(frozen=True, slots=True)
class Form:
    """``findings``: those of no single field, and of fields that are not in this form, by the name of what they are
    about."""

    title: str
    fields: tuple[FormField, ...]
    findings: tuple[tuple[str, Finding], ...] = ()
    compared_with: str = ""
    """Words for the other side of a comparison (``defaults``, ``what ran``, ``tsCtf__2``), "" for none."""
    empty: str = "This job has no parameters."
    """What stands there where there are no fields."""
    by_name: Mapping[str, FormField] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {each.name: each for each in self.fields})

    @property
    def errors(self) -> int:
        """Fields, and other things, that are wrong."""
        wrong = sum(any(one.level == "error" for one in each.findings) for each in self.fields)
        return wrong + sum(finding.level == "error" for _, finding in self.findings)
