"""Changing the project file: values by name, jobs of the pipeline and what feeds them.

Every function takes a :class:`ProjectFile` and gives a new one, checked like a loaded file; nothing is saved here.
Values are named as ``crboost set`` names them: ``tsCtf.window``, ``tsCtf.resources.minutes``,
``instrument.voltage_kv``, ``acquisition.<group>.pixel_size_angstrom``, ``decisions.handedness``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.errors import InputError, listed
from core.formats import plain_yaml
from core.jobs._registry import job_type
from core.jobs._values import validate
from core.jobs.fields import field_list
from core.project.layout import PROJECT_FILE
from core.project.model import AcquisitionValues, Instance, Instrument, ProjectFile, to_plain
from core.project.problems import validated

_FORM = "NAME=VALUE"


def assign(
    model: ProjectFile,
    words: Sequence[str],
    *,
    series: Sequence[str] | None = None,
    unset: Sequence[str] = (),
    confirm: Sequence[str] = (),
) -> ProjectFile:
    """The project file with ``NAME=VALUE`` words applied. Raises :class:`InputError` for what cannot be."""
    plain = to_plain(model)
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise InputError(f"{word!r} has no value. The form is {_FORM}, as in tsCtf.window=512")
        table, key = _table(plain, model, name, series)
        table[key] = _value(model, name, text)
    for name in unset:
        table, key = _table(plain, model, name, series)
        if key not in table:
            raise InputError(f"{name} is not set" + (f" for {', '.join(series)}." if series else "."))
        del table[key]
    for name in confirm:
        parts = name.split(".")
        if len(parts) != 3 or parts[0] != "acquisition":
            raise InputError(f"{name!r} cannot be confirmed. The form is acquisition.GROUP.FIELD")
        values = plain.setdefault("acquisition", {}).setdefault(parts[1], {})
        values["confirmed"] = sorted({*values.get("confirmed", []), parts[2]})
    return validated(ProjectFile, plain, PROJECT_FILE)


class _Several(dict[str, Any]):
    """The overrides of several series, written and read as one table."""

    def __init__(self, tables: Sequence[dict[str, Any]]) -> None:
        super().__init__(tables[0])
        self.tables = tables

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        for table in self.tables:
            table[key] = value

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        for table in self.tables:
            table.pop(key, None)


def _table(
    plain: dict[str, Any], model: ProjectFile, name: str, series: Sequence[str] | None
) -> tuple[dict[str, Any], str]:
    """The table of the plain project file that holds a dotted name, and the key in it."""
    parts = name.split(".")
    match parts:
        case ["name" | "note"]:
            return plain, parts[0]
        case ["instrument" | "resources" | "decisions" as table, key]:
            return plain.setdefault(table, {}), key
        case ["acquisition", group, key]:
            return plain.setdefault("acquisition", {}).setdefault(group, {}), key
        case [job, *rest] if rest and job not in ("instrument", "resources", "decisions", "acquisition"):
            instance = model.instance(job)
            entry: dict[str, Any] = next(each for each in plain["pipeline"] if each["id"] == instance.id)
        case _:
            raise InputError(
                f"{name!r} is not the name of a value. Names are like tsCtf.window, instrument.voltage_kv, "
                "acquisition.GROUP.pixel_size_angstrom, decisions.handedness"
            )
    if rest == ["note"]:
        return entry, "note"
    if len(rest) == 2 and rest[0] in ("resources", "inputs", "tools"):
        return entry.setdefault(rest[0], {}), rest[1]
    if len(rest) != 1:
        raise InputError(
            f"{name!r} is not the name of a value: a job has parameters, resources.X, inputs.X, tools.X and note."
        )
    if series:
        entry["per_series"] = {key: dict(value) for key, value in entry.get("per_series", {}).items()}
        return _Several([entry["per_series"].setdefault(one, {}) for one in series]), rest[0]
    entry["parameters"] = dict(entry.get("parameters", {}))
    return entry["parameters"], rest[0]


def _value(model: ProjectFile, name: str, text: str) -> Any:
    """``text`` as the kind of value that the field wants; texts and choices are taken as they are."""

    parts = name.split(".")
    if parts[-1] == "note" or name == "name":
        return text
    if len(parts) == 3 and parts[1] == "inputs":
        return [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) == 3 and parts[1] == "tools":
        return text
    value = plain_yaml.load(text, name) if text else ""
    if not isinstance(value, str | int | float | bool | None):
        value = text
    kind = _field_kind(model, parts)
    if kind in ("text", "choice"):
        return text
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _field_kind(model: ProjectFile, parts: Sequence[str]) -> str:

    match list(parts):
        case ["instrument", key]:
            infos = field_list(Instrument)
        case ["acquisition", _, key]:
            infos = field_list(AcquisitionValues)
        case [job, key] if job in {instance.id for instance in model.pipeline}:
            infos = field_list(job_type(model.instance(job).type).parameters)
        case _:
            return ""
    return next((info.kind for info in infos if info.name == key), "")


def job_problems(model: ProjectFile, jobs: set[str]) -> list[tuple[str, str, str]]:
    """``(level, job, sentence)`` of every finding about the parameters of these jobs."""

    found: dict[tuple[str, str, str], None] = {}
    for instance in model.pipeline:
        if instance.id not in jobs:
            continue
        kind = job_type(instance.type)
        per_series = {info.name for info in field_list(kind.parameters) if info.per_series}
        tables = [instance.parameters, *({**instance.parameters, **own} for own in instance.per_series.values())]
        for table in tables:
            for problem in validate(kind, table, None)[1]:
                found[problem.level, instance.id, problem.sentence] = None
        for own in instance.per_series.values():
            for name in own:
                if name not in per_series:
                    found["error", instance.id, f"{name} cannot be set for single tilt series."] = None
    return list(found)


def candidates(model: ProjectFile, job: str, slot: str) -> list[str]:
    """The jobs that stand before ``job`` and make what its input ``slot`` wants, nearest last."""
    kind = job_type(model.instance(job).type)
    wanted = next((each.kind for each in kind.slots if each.name == slot), None)
    if wanted is None:
        raise InputError(f"{job} has no input {slot}. It has: {listed(each.name for each in kind.slots)}.")
    return [each.id for each in _before(model, job) if wanted in job_type(each.type).provides]


def connect(model: ProjectFile, job: str, slot: str, names: Sequence[str]) -> ProjectFile:
    """``names``: producers in order of preference; none puts the input back to the nearest job that fits."""
    instance = model.instance(job)
    inputs = {**instance.inputs, slot: list(names)}
    if not names:
        del inputs[slot]
    fitting = candidates(model, job, slot)
    for name in names:
        if name not in fitting:
            raise InputError(f"{name} cannot be the input {slot} of {job}. Possible are: {listed(fitting) or 'none'}.")
    return _replaced(model, instance.model_copy(update={"inputs": inputs}))


def add_job(model: ProjectFile, type: str, *, after: str = "", id: str = "") -> tuple[ProjectFile, str]:
    """A new job of a type after ``after`` (else at the end), fed by the nearest jobs that fit; and its id."""
    kind = job_type(type)
    id = id or _free_id(model, kind.name)
    pipeline = list(model.pipeline)
    place = next((n + 1 for n, each in enumerate(pipeline) if each.id == after), len(pipeline))
    inputs: dict[str, list[str]] = {}
    for slot in kind.slots:
        fitting = [each.id for each in pipeline[:place] if slot.kind in job_type(each.type).provides]
        if fitting:
            inputs[slot.name] = fitting[-1:]
        elif slot.required:
            makers = listed(each.name for each in _makers(slot.kind))
            raise InputError(
                f"{kind.name} needs {slot.kind} as {slot.name}, which no job before it makes: add {makers}."
            )
    pipeline.insert(place, Instance(id=id, type=kind.name, inputs=inputs))
    return _with_pipeline(model, pipeline), id


def copy_job(model: ProjectFile, job: str, *, id: str = "") -> tuple[ProjectFile, str]:
    """A second instance with the same values, inputs and resources right after ``job``; and its id."""
    instance = model.instance(job)
    id = id or _free_id(model, instance.type)
    pipeline = list(model.pipeline)
    pipeline.insert(pipeline.index(instance) + 1, instance.model_copy(update={"id": id}))
    return _with_pipeline(model, pipeline), id


def remove_job(model: ProjectFile, job: str) -> ProjectFile:
    """Without ``job``. Raises :class:`InputError` while other jobs take their input from nothing else."""
    instance = model.instance(job)
    pipeline: list[Instance] = []
    for each in model.pipeline:
        if each.id == job:
            continue
        inputs = {slot: [name for name in names if name != job] for slot, names in each.inputs.items()}
        bare = [slot for slot, names in inputs.items() if not names]
        if bare:
            raise InputError(
                f"{each.id} takes its {listed(bare)} from {job}: connect it to another job, or remove it first."
            )
        pipeline.append(each.model_copy(update={"inputs": inputs}))
    assert instance not in pipeline
    return _with_pipeline(model, pipeline)


def _before(model: ProjectFile, job: str) -> list[Instance]:
    ids = [each.id for each in model.pipeline]
    return list(model.pipeline[: ids.index(job)])


def _makers(kind: str) -> list[Any]:
    from core.jobs._registry import job_types

    return [each for each in job_types().values() if kind in each.provides]


def _free_id(model: ProjectFile, type: str) -> str:
    """``tsCtf``, then ``tsCtf__2``, ``tsCtf__3``."""
    taken = {each.id for each in model.pipeline}
    return next(id for id in [type, *(f"{type}__{number}" for number in range(2, 1000))] if id not in taken)


def _replaced(model: ProjectFile, instance: Instance) -> ProjectFile:
    return _with_pipeline(model, [instance if each.id == instance.id else each for each in model.pipeline])


def _with_pipeline(model: ProjectFile, pipeline: Sequence[Instance]) -> ProjectFile:
    plain = to_plain(model.model_copy(update={"pipeline": list(pipeline)}))
    return validated(ProjectFile, plain, PROJECT_FILE)
