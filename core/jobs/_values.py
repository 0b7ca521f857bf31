"""Parameters as a person typed them -> a job type's validated values, with every problem as a sentence."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from core.dataset.model import Acquisition
from core.jobs._base import JobType, Problem
from core.jobs.fields import FieldInfo, JobParameters, applies, field_list


def validate(
    job_type: JobType[Any], given: Mapping[str, Any], acquisition: Acquisition | None
) -> tuple[JobParameters | None, list[Problem]]:
    """The values, or None where a field is wrong, and all problems: of single fields and across fields."""
    problems: list[Problem] = []
    values: JobParameters | None = None
    valid = dict(given)
    try:
        values = job_type.parameters.model_validate(dict(given))
    except ValidationError as error:
        infos = {info.name: info for info in field_list(job_type.parameters)}
        for item in error.errors():
            name = str(item["loc"][0]) if item["loc"] else ""
            problems.append(Problem("error", (name,), _sentence(name, item, infos)))
            valid.pop(name, None)
    complete = values.model_dump() if values is not None else _with_defaults(job_type.parameters, valid)
    wrong = {name for problem in problems for name in problem.fields}
    # A check across fields would speak of a default in place of what was typed.
    problems.extend(each for each in job_type.checks(complete, acquisition) if not wrong.intersection(each.fields))
    return values, problems


def result_values(values: BaseModel) -> dict[str, Any]:
    """The parameters that can change a result: those that apply and are not marked as unable to."""
    dumped = values.model_dump(mode="json")
    return {
        info.name: dumped[info.name]
        for info in field_list(type(values))
        if not info.no_result and applies(info, dumped)
    }


def _with_defaults(model: type[BaseModel], valid: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults with the valid given values over them; a value that only fails beside others is left at its default."""
    values = {name: info.default for name, info in model.model_fields.items()}
    values.update({name: value for name, value in valid.items() if name in values})
    return values


def _sentence(name: str, item: Any, infos: Mapping[str, FieldInfo]) -> str:
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, infos, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"There is no parameter {name}.{hint}"
    info = infos.get(name)
    given = item.get("input")
    if info is None:
        return f"{name}: {item['msg']}."
    unit = f" {info.unit}" if info.unit else ""
    if info.kind == "choice":
        return f"{name} is {given!r}; choose one of {', '.join(info.choices)}."
    if item["type"] in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        return f"{name} is {given}{unit}; it must be {_range(info)}{unit}."
    if item["type"] == "string_pattern_mismatch":
        return f"{name} is {given!r}; it must look like {info.pattern}."
    wanted = {"int": "a whole number", "float": "a number", "bool": "true or false", "text": "text"}[info.kind]
    return f"{name} is {given!r}; {wanted} was expected."


def _range(info: FieldInfo) -> str:
    low, high = info.minimum, info.maximum
    if low is not None and high is not None:
        if info.minimum_excluded or info.maximum_excluded:
            first = f"above {low:g}" if info.minimum_excluded else f"at least {low:g}"
            return f"{first} and {'below' if info.maximum_excluded else 'at most'} {high:g}"
        return f"between {low:g} and {high:g}"
    if low is not None:
        return f"more than {low:g}" if info.minimum_excluded else f"at least {low:g}"
    if high is not None:
        return f"less than {high:g}" if info.maximum_excluded else f"at most {high:g}"
    return "in range"
