"""Changing the project file: values by name, jobs of the pipeline and what feeds them.

Every function takes a :class:`ProjectFile` and gives a new one, checked like a loaded file; nothing is saved here.
Values are named as ``crboost set`` names them: ``tsCtf.window``, ``tsCtf.resources.minutes``,
``instrument.voltage_kv``, ``acquisition.<group>.pixel_size_angstrom``, ``decisions.handedness``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.dataset.model import CONFIRMED
from core.errors import InputError, listed
from core.formats import plain_yaml
from core.jobs._registry import job_type, job_types
from core.jobs._values import validate
from core.jobs.fields import field_list
from core.project.layout import PROJECT_FILE
from core.project.model import AcquisitionValues, Instance, Instrument, ProjectFile, to_plain
from core.project.problems import validated
from core.project.resources import Resources

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
        entry[rest[0]] = dict(entry.get(rest[0], {}))
        return entry[rest[0]], rest[1]
    if len(rest) == 3 and rest[:2] == ["resources", "extra"]:
        entry["resources"] = dict(entry.get("resources", {}))
        entry["resources"]["extra"] = dict(entry["resources"].get("extra", {}))
        return entry["resources"]["extra"], rest[2]
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
    kind = field_kind(model, name)
    if kind in ("text", "choice"):
        return text
    value = plain_yaml.load(text, name) if text else ""
    if not isinstance(value, str | int | float | bool | None):
        value = text
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def field_kind(model: ProjectFile, name: str) -> str:
    """``bool``, ``int``, ``float``, ``text`` or ``choice``; "" for what is no field with a kind."""
    match name.split("."):
        case ["instrument", key]:
            infos = field_list(Instrument)
        case ["resources", key] | [_, "resources", key]:
            infos = field_list(Resources)
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


def with_edits(model: ProjectFile, edits: Mapping[str, str | None]) -> tuple[ProjectFile, dict[str, str]]:
    """The project file with what was typed in it (None: back to the default), and by name why the rest cannot be.

    Names are those of :func:`assign`; ``tsCtf.window@Position_1`` is the value of a single tilt series. The text
    :data:`CONFIRMED` changes no value: a person says that what was found in the files is right.
    """
    refused: dict[str, str] = {}
    for name, text in edits.items():
        bare, _, series = name.partition("@")
        chosen = [series] if series else None
        try:
            if text == CONFIRMED:
                model = assign(model, [], confirm=[bare])
            elif text is not None:
                model = assign(model, [f"{bare}={text}"], series=chosen)
            elif is_set(model, bare, chosen):
                model = assign(model, [], series=chosen, unset=[bare])
        except InputError as error:
            refused[name] = error.sentence
    return model, refused


def is_set(model: ProjectFile, name: str, series: Sequence[str] | None = None) -> bool:
    """Whether the project file itself has this value."""
    table, key = _table(to_plain(model), model, name, series)
    return key in table


def set_value(model: ProjectFile, name: str) -> Any:
    """The value that the project file itself has under a name as in :func:`with_edits`, None for none."""
    bare, _, series = name.partition("@")
    table, key = _table(to_plain(model), model, bare, [series] if series else None)
    return table.get(key)


def inputs_of(model: ProjectFile, job: str) -> dict[str, tuple[str, ...]]:
    """The producers of each input of a job in order of preference; where none is named, the nearest that fits."""
    instance = model.instance(job)
    found: dict[str, tuple[str, ...]] = {}
    for slot in job_type(instance.type).slots:
        named = instance.inputs.get(slot.name)
        found[slot.name] = tuple(named if named else candidates(model, job, slot.name)[-1:])
    return found


def candidates(model: ProjectFile, job: str, slot: str) -> list[str]:
    """The jobs that stand before ``job`` and make what its input ``slot`` wants, nearest last."""
    kind = job_type(model.instance(job).type)
    wanted = next((each.kind for each in kind.slots if each.name == slot), None)
    if wanted is None:
        raise InputError(f"{job} has no input {slot}. It has: {listed(each.name for each in kind.slots)}.")
    return _makers_in(_before(model, job), wanted)


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
    changed = instance.model_copy(update={"inputs": inputs})
    return _with_pipeline(model, [changed if each.id == job else each for each in model.pipeline])


def unfed(model: ProjectFile, type: str, *, after: str = "") -> str:
    """Why a job of a type cannot stand after ``after`` (else at the end): what no job before it makes; "" if it can."""
    kind = job_type(type)
    before = model.pipeline[: _place(model, after)]
    for slot in kind.slots:
        if slot.required and not _makers_in(before, slot.kind):
            makers = listed(each.name for each in job_types().values() if slot.kind in each.provides)
            made = f": add {makers} first" if makers else ""
            return f"{kind.name} needs {slot.kind.replace('_', ' ')}, which no job before it makes{made}."
    return ""


def add_job(model: ProjectFile, type: str, *, after: str = "", id: str = "") -> tuple[ProjectFile, str]:
    """A new job of a type after ``after`` (else at the end), fed by the nearest jobs that fit; and its id.

    What feeds the jobs that are there stays as it is.
    """
    reason = unfed(model, type, after=after)
    if reason:
        raise InputError(reason)
    kind = job_type(type)
    id = id or free_id(model, kind.name)
    place = _place(model, after)
    before = model.pipeline[:place]
    line = _upstream(model, after) if after else {each.id for each in before}
    inputs: dict[str, list[str]] = {}
    for slot in kind.slots:
        fitting = _makers_in(before, slot.kind)
        own = [name for name in fitting if name in line] or fitting
        if own:
            inputs[slot.name] = own[-1:]
    return _inserted(model, place, Instance(id=id, type=kind.name, inputs=inputs)), id


def copy_job(model: ProjectFile, job: str, *, id: str = "") -> tuple[ProjectFile, str]:
    """A second instance with the same values, inputs and resources right after ``job``; and its id."""
    instance = model.instance(job)
    id = id or free_id(model, instance.type)
    inputs = {slot: list(names) for slot, names in inputs_of(model, job).items() if names}
    copy = instance.model_copy(update={"id": id, "inputs": inputs})
    return _inserted(model, _place(model, job), copy), id


def remove_job(model: ProjectFile, job: str) -> ProjectFile:
    """Without ``job``. Raises :class:`InputError` while other jobs take their input from nothing else."""
    model.instance(job)
    pipeline: list[Instance] = []
    for each in model.pipeline:
        if each.id == job:
            continue
        required = {slot.name for slot in job_type(each.type).slots if slot.required}
        inputs = {slot: list(names) for slot, names in each.inputs.items()}
        for slot, names in inputs_of(model, each.id).items():
            if job in names:
                inputs[slot] = [name for name in names if name != job]
                if not inputs[slot] and slot in required:
                    raise InputError(
                        f"{each.id} takes its {slot.replace('_', ' ')} from {job}: "
                        "connect it to another job, or remove it first."
                    )
        kept = {slot: names for slot, names in inputs.items() if names}
        pipeline.append(each.model_copy(update={"inputs": kept}))
    return _with_pipeline(model, pipeline)


def free_id(model: ProjectFile, type: str) -> str:
    """``tsCtf``, then ``tsCtf__2``, ``tsCtf__3``."""
    taken = {each.id for each in model.pipeline}
    return next(id for id in [type, *(f"{type}__{number}" for number in range(2, 1000))] if id not in taken)


def _before(model: ProjectFile, job: str) -> list[Instance]:
    ids = [each.id for each in model.pipeline]
    return list(model.pipeline[: ids.index(job)])


def _place(model: ProjectFile, after: str) -> int:
    return next((n + 1 for n, each in enumerate(model.pipeline) if each.id == after), len(model.pipeline))


def _makers_in(pipeline: Sequence[Instance], kind: str) -> list[str]:
    return [each.id for each in pipeline if kind in job_type(each.type).provides]


def _upstream(model: ProjectFile, job: str) -> set[str]:
    """A job and all that feed it."""
    found: set[str] = set()
    waiting = [job]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [maker for names in inputs_of(model, name).values() for maker in names]
    return found


def _inserted(model: ProjectFile, place: int, new: Instance) -> ProjectFile:
    """With ``new`` at ``place``. Jobs behind it that name no input keep the one that they have."""
    made = set(job_type(new.type).provides)
    pipeline = [*model.pipeline[:place], new]
    for each in model.pipeline[place:]:
        concerned = {slot.name for slot in job_type(each.type).slots if slot.kind in made}
        now = {slot: list(names) for slot, names in inputs_of(model, each.id).items() if names and slot in concerned}
        pipeline.append(each.model_copy(update={"inputs": {**now, **each.inputs}}))
    return _with_pipeline(model, pipeline)


def _with_pipeline(model: ProjectFile, pipeline: Sequence[Instance]) -> ProjectFile:
    plain = to_plain(model.model_copy(update={"pipeline": list(pipeline)}))
    return validated(ProjectFile, plain, PROJECT_FILE)
