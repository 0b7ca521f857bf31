"""The forms of a project, made from its files and what was typed: parameters, resources, acquisition values.

All that a form says of a field stands in the fields themselves; nothing here knows a job type. These functions read
files and import the job types: they are called in threads.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from core.dataset.model import CONFIRMED, Acquisition, Sourced, TiltSeries
from core.errors import InputError, listed
from crboost_tui.form import Edits, Finding, Form, FormField, Kind

if TYPE_CHECKING:
    from core.engine.plan import Sources
    from core.engine.status import Status
    from core.jobs.fields import FieldInfo
    from core.project.model import Instance, ProjectFile
    from core.project.site import Site

DEFAULTS, RAN = "defaults", "what ran"
"""Other sides of a comparison; the rest are jobs (``tsCtf__2``) and jobs of other projects (``/data/p:tsCtf``)."""

Findings = Mapping[str, Sequence[Finding]]


class HasSeries(Protocol):
    """A registry, or what an inspection found."""

    @property
    def series(self) -> tuple[TiltSeries, ...]: ...


# ---- Parameters


def parameter_form(
    sources: Sources,
    job: str,
    edits: Edits,
    series: Sequence[str] | None = None,
    compare: str | None = None,
    status: Status | None = None,
) -> Form:
    """Every parameter of a job; with ``series`` those that single tilt series can have, for these.

    ``compare``: one of :func:`comparisons`, or ``PROJECT:JOB``. ``status`` tells what ran and what needs a person.
    Raises :class:`InputError` for a job that is not there.
    """
    from core.engine.edits import with_edits
    from core.jobs._registry import job_type
    from core.jobs.fields import applies, field_list

    model, refused = with_edits(sources.project, edits)
    instance = model.instance(job)
    kind = job_type(instance.type)
    infos = field_list(kind.parameters)
    binding = replace(sources, project=model).bind({})
    own = [{**instance.parameters, **instance.per_series.get(one, {})} for one in series] if series else []
    tables: list[Mapping[str, Any]] = list(own) or [instance.parameters]
    suggested = _suggested(infos, [binding.acquisition(one, decided=True) for one in _one_of_each_group(sources)])
    found = _findings(binding.problems(), job, series, status)
    ran = ran_with(sources, status, job, series) if status is not None else None
    used = _as_texts(infos, ran.parameters) if ran is not None else {}
    other = _other_texts(compare, sources, model, job, suggested, used) if compare else {}
    complete = [_complete(kind.parameters, table) for table in tables]
    suffixes = [f"@{one}" for one in series] if series else [""]

    fields: list[FormField] = []
    for info in infos:
        if series and not info.per_series:
            continue
        names = tuple(f"{job}.{info.name}{suffix}" for suffix in suffixes)
        texts = sorted(
            {text_of(table[info.name]) if info.name in table else suggested[info.name][0] for table in tables}
        )
        typed = next((edits[name] for name in names if edits.get(name) is not None and name in refused), None)
        fallback, where = suggested[info.name]
        if series:
            mine = any(info.name in instance.per_series.get(one, {}) for one in series)
            if info.name in instance.parameters:
                fallback = text_of(instance.parameters[info.name])
            where = "you" if mine else "as the job"
        elif info.name in instance.parameters:
            where = "you"
        value = typed if typed is not None else texts[0] if len(texts) == 1 else ""
        if len(texts) > 1:
            where = f"differ: {listed((text or 'none' for text in texts), 3)}"
        fields.append(
            FormField(
                name=names[0],
                names=names[1:],
                label=info.name.replace("_", " "),
                kind=info.kind,
                group=info.group,
                value=value,
                origin=where,
                default=fallback,
                optional=info.optional,
                unit=info.unit,
                allowed=allowed(info),
                choices=info.choices,
                help=info.help.replace("``", ""),
                flag=info.flag,
                advanced=info.level.value == "advanced",
                applies=any(applies(info, each) for each in complete),
                only=_only(info),
                edited=any(_changes(sources.project, model, name, edits, refused) for name in names),
                findings=(*_refusals(info.name, names, refused), *found.pop(f"{job}.{info.name}", ())),
                per_series=-1 if not info.per_series else sum(info.name in o for o in instance.per_series.values()),
                used=_if_other(used.get(info.name), value),
                compared=_if_other(other.get(info.name), value),
                changes_result=not info.no_result,
            )
        )
    known = {info.name for info in infos}
    for name, given in instance.parameters.items():
        if name not in known and not series:  # of another version of the program: it can be taken out here
            findings = tuple(found.pop(f"{job}.{name}", ()))
            fields.append(
                FormField(f"{job}.{name}", name, "text", "Not known", text_of(given), "you", findings=findings)
            )
    title = f"{kind.title}, {listed(series, 3)}" if series else kind.title
    rest = tuple((name, one) for name, several in found.items() for one in several)
    empty = (
        "No parameter of this job can differ between tilt series."
        if series and infos
        else "This job has no parameters."
    )
    return Form(title, tuple(fields), rest, compare or "", empty)


def comparisons(sources: Sources, job: str, status: Status | None = None) -> tuple[str, ...]:
    """What a job's parameters can be compared with, as :func:`parameter_form` takes it."""
    instance = sources.project.instance(job)
    others = [one.id for one in sources.project.pipeline if one.type == instance.type and one.id != job]
    ran = [RAN] if status is not None and ran_with(sources, status, job) is not None else []
    return (DEFAULTS, *ran, *others)


def copied(source: str, sources: Sources, job: str) -> dict[str, str | None]:
    """The edits that give ``job`` the explicit parameters of ``source``: a job, or ``PROJECT:JOB``.

    Raises :class:`InputError` where that is no job of the same type.
    """
    instance = sources.project.instance(job)
    theirs = _instance_named(source, sources.project, instance.type).parameters
    edits: dict[str, str | None] = {f"{job}.{name}": None for name in instance.parameters if name not in theirs}
    for name, value in theirs.items():
        edits[f"{job}.{name}"] = None if value is None else text_of(value)
    return edits


def ran_with(sources: Sources, status: Status, job: str, series: Sequence[str] | None = None) -> Instance | None:
    """A job as it stood when the newest of its finished tasks was asked for; None where nothing is finished.

    That is the newest version a request speaks of that gives the fingerprint of this task; where none does (a decision
    or the choice of tilts has changed since), the one of the last request before the task began.
    """
    from datetime import datetime

    from core.engine.states import TaskState
    from core.project.wanted import read_wanted

    column = next((each for each in status.jobs if each.id == job), None)
    if column is None:
        return None
    finished = {TaskState.DONE.value, TaskState.EMPTY.value, TaskState.STALE.value}
    done = [
        (column.ended[place], place, key)
        for place, key in enumerate(status.keys(column))
        if column.states[place] in finished and column.fingerprints[place] and (not series or key in series)
    ]
    if not done:
        return None
    _, place, key = max(done)
    asked = [each for each in read_wanted(sources.paths.root).requests if each.version is not None]
    runs = [each for each in asked if each.kind in ("run", "retry", "redo")]
    for number in sorted({each.version for each in runs if each.version is not None}, reverse=True):
        instance = _instance_then(sources, number, job)
        if instance is not None and _fingerprint(sources, number, status, job, key) == column.fingerprints[place]:
            return _with_own(instance, key, series)
    before = [each for each in runs if datetime.fromisoformat(each.at).timestamp() <= column.started[place] + 1.0]
    for each in reversed(before):
        instance = _instance_then(sources, each.version or 0, job)
        if instance is not None:
            return _with_own(instance, key, series)
    return None


def _with_own(instance: Instance, key: str, series: Sequence[str] | None) -> Instance:
    """With the values of the series as the job's, where the form is about series."""
    if not series:
        return instance
    return instance.model_copy(update={"parameters": {**instance.parameters, **instance.per_series.get(key, {})}})


_VERSIONS: dict[tuple[Path, int], ProjectFile] = {}
"""Saved versions that were read: by file and the time when it was written."""


def _version(root: Path, number: int) -> ProjectFile | None:
    from core.project.file import load_version
    from core.project.versions import version_path

    path = version_path(root, number)
    try:
        key = (path, path.stat().st_mtime_ns)
        if key not in _VERSIONS:
            _VERSIONS[key] = load_version(root, number)
    except (OSError, InputError):
        return None  # too old to be kept
    return _VERSIONS[key]


def _instance_then(sources: Sources, number: int, job: str) -> Instance | None:
    model = _version(sources.paths.root, number)
    return next((each for each in model.pipeline if each.id == job), None) if model is not None else None


def _fingerprint(sources: Sources, number: int, status: Status, job: str, key: str) -> str:
    """What a task's fingerprint would be with a saved version. Only the series that it is about are looked at."""
    from core.dataset.registry import Registry
    from core.engine.plan import Plan

    model = _version(sources.paths.root, number)
    column = status.job(job)
    members = column.cohort_series.get(key, [key])
    few = Registry(tuple(each for each in sources.registry.series if each.id in members))
    if model is None or len(few.series) != len(members):
        return ""
    choices = {name: chosen for each in status.jobs for name, chosen in each.choices.get(key, {}).items()}
    try:
        plan = Plan(replace(sources, project=model, registry=few).bind({}), number)
        cohort = tuple(members) if key in column.cohorts else ()
        return plan.expected(job, key, choices or None, cohort)
    except (InputError, KeyError):
        return ""


def _other_texts(
    compare: str,
    sources: Sources,
    model: ProjectFile,
    job: str,
    suggested: Mapping[str, tuple[str, str]],
    used: Mapping[str, str],
) -> dict[str, str]:
    """The texts of the other side of a comparison, by parameter."""
    from core.jobs._registry import job_type
    from core.jobs.fields import field_list

    if compare == DEFAULTS:
        return {name: text for name, (text, _) in suggested.items()}
    if compare == RAN:
        return dict(used)
    instance = model.instance(job)
    other = _instance_named(compare, model, instance.type)
    return _as_texts(field_list(job_type(instance.type).parameters), other.parameters)


def _instance_named(name: str, model: ProjectFile, type: str) -> Instance:
    """``tsCtf__2`` of this project, or ``/data/p:tsCtf`` of another."""
    from core.project.file import load

    folder, colon, job = name.rpartition(":")
    found = (load(Path(folder).expanduser()).model if colon else model).instance(job)
    if found.type != type:
        raise InputError(f"{name} is a {found.type}: only another {type} has the same parameters.")
    return found


def _as_texts(infos: Sequence[FieldInfo], parameters: Mapping[str, Any]) -> dict[str, str]:
    return {info.name: text_of(parameters.get(info.name, info.default)) for info in infos}


def _suggested(infos: Sequence[FieldInfo], groups: Sequence[Acquisition]) -> dict[str, tuple[str, str]]:
    """``(text, origin)`` of what each parameter is while nobody sets it."""
    found = {info.name: (text_of(info.default), "default") for info in infos}
    for info in infos:
        if info.suggest:
            values: list[Sourced[Any]] = [getattr(each, info.suggest) for each in groups]
            texts = list(dict.fromkeys(text_of(each.value) for each in values if each.value is not None))
            if texts:
                origins = listed(dict.fromkeys(each.source for each in values if each.value is not None))
                found[info.name] = (texts[0], origins) if len(texts) == 1 else ("", f"by group: {listed(texts, 3)}")
    return found


def _one_of_each_group(sources: Sources) -> list[str]:
    return list({each.group: each.id for each in reversed(sources.registry.series)}.values())[::-1]


def _findings(
    problems: Sequence[tuple[str, Any]], job: str, series: Sequence[str] | None, status: Status | None
) -> dict[str, list[Finding]]:
    """Problems of a job by the whole name of what they are about; those of series that have values of their own stand
    beside the job's field."""
    found: dict[str, list[Finding]] = {}
    of_series: dict[tuple[str, str, str], list[str]] = {}
    for instance, problem in problems:
        if instance != job:
            continue
        for name in problem.fields:
            if name.startswith("per_series.") and name.count(".") >= 2:
                _, one, name = name.split(".", 2)
                if series is None or one in series:
                    of_series.setdefault((name, problem.level, problem.sentence), []).append(one)
            else:
                found.setdefault(f"{job}.{name}", []).append(Finding(problem.level, problem.sentence))
    for (name, level, sentence), those in of_series.items():
        finding = Finding("error" if level == "error" else "warning", f"{listed(those, 3)}: {sentence}")
        found.setdefault(f"{job}.{name}", []).append(finding)
    for need in status.needs if status is not None else ():
        if need.key == job:
            for name in need.fields:
                found.setdefault(f"{job}.{name}", []).append(Finding("warning", need.sentence))
    return found


def _complete(parameters: Any, table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: table.get(name, info.default) for name, info in parameters.model_fields.items()}


def _only(info: FieldInfo) -> str:
    """``only with method AreTomo2 or AreTomo3``."""
    if info.only is None:
        return ""
    parts = []
    for name, values in info.only.items():
        shown = " or ".join({"true": "on", "false": "off"}.get(text_of(each), text_of(each)) for each in values)
        parts.append(f"{name.replace('_', ' ')} {shown}")
    return f"only with {' and '.join(parts)}"


# ---- Resources

_CLUSTER = {
    "memory_gb": ("memory", "GB"), "minutes": ("time limit", "min"), "at_once": ("at once", "tasks"),
    "series_per_task": ("series per task", ""), "cpus": ("CPUs", ""), "gpus": ("GPUs", ""), "qos": ("QOS", ""),
    "tasks": ("MPI ranks", ""), "gres": ("generic resources", ""),
}  # fmt: skip
_SELDOM = ("constraint", "nodes", "tasks", "gres", "qos", "series_per_task")


def resource_form(
    sources: Sources, job: str, edits: Edits, compare: str | None = None, status: Status | None = None
) -> Form:
    """What a job's tasks ask of the cluster, and which entries of the site's tools they use. Each value with where it
    comes from; a preset fills the others."""
    from core.engine.edits import with_edits
    from core.jobs._registry import job_type
    from core.jobs.fields import field_list
    from core.project.resources import Resources, effective
    from core.project.site import RESOURCE_FIELDS

    model, refused = with_edits(sources.project, edits)
    instance, site = model.instance(job), sources.site
    kind = job_type(instance.type)
    if kind.internal:
        return Form(kind.title, (), empty="crboost does this job itself: it asks nothing of the cluster.")
    bare = instance.model_copy(update={"resources": {}})
    now = _flat(effective(kind.needs, site, instance, model.resources))
    before = _flat(effective(kind.needs, site, bare, model.resources))
    found = _findings(replace(sources, project=model).bind({}).problems(), job, None, status)
    other = _flat(_other_resources(compare, sources, model, job)) if compare else {}
    labels = {each.field: each.label for each in site.qsub.extra.values() if each.label}
    extra = [each.field for each in site.qsub.extra.values() if each.field not in RESOURCE_FIELDS]

    def field_of(key: str, what: Mapping[str, Any]) -> FormField:
        name = f"{job}.resources.{key}"
        own, usual = now.get(key), before.get(key)
        typed = edits.get(name) if name in refused else None
        value = typed if typed is not None else text_of(own.value) if own else ""
        theirs = other.get(key)
        return FormField(
            name=name,
            value=value,
            origin="you" if typed is not None else own.source if own else "not set",
            default=text_of(usual.value) if usual else "",
            edited=_changes(sources.project, model, name, edits, refused),
            findings=(*_refusals(str(what["label"]), (name,), refused), *found.pop(name, ())),
            compared=_if_other(text_of(theirs.value) if theirs else "", value) if compare else None,
            changes_result=False,
            **what,
        )

    fields: list[FormField] = []
    for info in field_list(Resources):
        if info.name != "extra":
            label, unit = _CLUSTER.get(info.name, (info.name.replace("_", " "), ""))
            fields.append(
                field_of(
                    info.name,
                    {
                        "label": label,
                        "unit": unit,
                        "kind": info.kind,
                        "group": "Cluster",
                        "optional": True,
                        "allowed": allowed(info),
                        "help": info.help.replace("``", ""),
                        "advanced": info.name in _SELDOM,
                    },
                )
            )
    for key in extra:
        told = f"A field of this site's own template ({os.path.basename(site.qsub.template) or 'qsub'})."
        what = {"label": labels.get(key, key), "kind": "text", "group": "This site", "optional": True, "help": told}
        fields.append(field_of(f"extra.{key}", what))
    if site.presets:
        fields.insert(0, _preset_field(site, job, now))
    for tool in kind.tools:
        fields.append(_tool_field(sources, model, job, tool, edits, found, refused))
    rest = tuple((name, one) for name, several in found.items() for one in several if ".resources." in name)
    return Form(kind.title, tuple(fields), rest, compare or "")


def _preset_field(site: Site, job: str, now: Mapping[str, Sourced[Any]]) -> FormField:
    fills: dict[str, Edits] = {}
    chosen = ""
    for name, table in site.presets.items():
        values = _flat({key: Sourced(each, "") for key, each in table.items()})
        fills[name] = {f"{job}.resources.{key}": text_of(each.value) for key, each in values.items()}
        if not chosen and all(key in now and now[key].value == each.value for key, each in values.items()):
            chosen = name
    return FormField(
        f"{job}.resources", "preset", "choice", "Cluster", chosen, "default", optional=True,
        choices=tuple(site.presets), help="Values of conf.yaml to begin from: it fills the fields below.", fills=fills,
        changes_result=False,
    )  # fmt: skip


def _tool_field(
    sources: Sources,
    model: ProjectFile,
    job: str,
    tool: str,
    edits: Edits,
    found: dict[str, list[Finding]],
    refused: Mapping[str, str],
) -> FormField:
    name = f"{job}.tools.{tool}"
    own = model.instance(job).tools.get(tool)
    entries = sources.site.tools
    used = own or tool
    where = entries[used].path if used in entries else ""
    return FormField(
        name, tool, "choice", "Tools", used, "you" if own else "default", default=tool,
        choices=(tool, *(each for each in entries if each != tool)),
        help=f"Which entry of conf.yaml's tools runs {tool} here{f': {where}' if where else ''}.",
        edited=_changes(sources.project, model, name, edits, refused), findings=tuple(found.pop(name, [])),
    )  # fmt: skip


def _other_resources(compare: str, sources: Sources, model: ProjectFile, job: str) -> dict[str, Sourced[Any]]:
    from core.jobs._registry import job_type
    from core.project.resources import effective

    instance = model.instance(job)
    needs = job_type(instance.type).needs
    if compare == DEFAULTS:
        return effective(needs, sources.site, instance.model_copy(update={"resources": {}}), model.resources)
    other = _instance_named(compare, model, instance.type)
    return effective(needs, sources.site, other, model.resources)


def _flat(values: Mapping[str, Sourced[Any]]) -> dict[str, Sourced[Any]]:
    """With ``extra.<name>`` for each of the site's own fields."""
    found = {name: each for name, each in values.items() if name != "extra"}
    extra = values.get("extra")
    if extra is not None and extra.value:
        found |= {f"extra.{name}": Sourced(each, extra.source) for name, each in extra.value.items()}
    return found


# ---- Acquisition and instrument

_ACQUISITION = {
    "optics_group": ("optics group", "", "Name", "Name of the optics group in RELION's tables."),
    "pixel_size_angstrom": ("pixel size", "Å", "Images", "Of the movies as recorded."),
    "image_width_px": ("image width", "px", "Images", "Of a movie."),
    "image_height_px": ("image height", "px", "Images", "Of a movie."),
    "movie_extension": ("movie format", "", "Images", "Ending of the movies' names (.eer, .tif, .mrc)."),
    "frames_per_movie": ("frames per movie", "", "Images", "Raw frames of one movie."),
    "eer_frames_per_fraction": ("EER frames per fraction", "", "Images", "Raw EER frames that are summed to one."),
    "voltage_kv": ("voltage", "kV", "Microscope", "Acceleration voltage."),
    "spherical_aberration_mm": ("spherical aberration", "mm", "Microscope", "Cs of the objective lens."),
    "amplitude_contrast": ("amplitude contrast", "", "Microscope", "Fraction of it; 0.07 to 0.1 in ice."),
    "dose_per_tilt_e_per_a2": ("dose per tilt", "e/Å²", "Tilts", "Electrons per Å² of one exposure."),
    "tilt_axis_deg": ("tilt axis", "°", "Tilts", "From the image's Y axis, as SerialEM counts it."),
    "invert_tilt_angles": ("invert tilt angles", "", "Tilts", "Warp turns their sign; off mirrors the tomogram."),
    "gain_path": ("gain reference", "", "Gain", "File of the gain reference; empty for none."),
    "gain_flip_x": ("flip gain in X", "", "Gain", "Mirror the gain reference along X."),
    "gain_flip_y": ("flip gain in Y", "", "Gain", "Mirror the gain reference along Y."),
    "gain_transpose": ("transpose gain", "", "Gain", "Turn the gain reference by 90° and mirror it."),
    "defects_path": ("defects", "", "Gain", "File of the camera's defects; empty for none."),
}  # fmt: skip
"""Label, unit, group of the form, help. In the order in which they are shown."""


def acquisition_form(model: ProjectFile, data: HasSeries, group: str, edits: Edits) -> Form:
    """The values of one acquisition group, each with where it comes from; what is not certain can be confirmed."""
    from core.dataset.acquisition import effective, gain_problem, unconfirmed
    from core.engine.edits import with_edits
    from core.jobs.fields import field_list
    from core.project.model import AcquisitionValues

    changed, refused = with_edits(model, edits)
    members = [each for each in data.series if each.group == group]
    if not members:
        return Form(group, (), empty="No tilt series belongs to this acquisition group.")
    own = changed.acquisition.get(group)
    values = own.model_dump(exclude_none=True) if own is not None else {}
    instrument = changed.instrument.model_dump()
    each_has = [effective(one, values, instrument, {}) for one in members]
    bare = effective(members[0], {}, instrument, {})
    sentences = dict(unconfirmed(each_has[0]))
    gain = gain_problem(each_has[0])
    infos = {info.name: info for info in field_list(AcquisitionValues)}

    fields: list[FormField] = []
    for key, (label, unit, section, told) in _ACQUISITION.items():
        info, name = infos[key], f"acquisition.{group}.{key}"
        found = _majority(each_has, key)
        different = sum(_sourced(one, key).value != found.value for one in each_has)
        typed = edits.get(name) if name in refused else None
        findings = list(_refusals(label, (name,), refused))
        if key in sentences and name not in refused:
            findings.append(Finding("error", _capital(sentences[key])))
        if key == "gain_path" and gain:
            findings.append(Finding("error", _capital(gain)))
        more = f" ({different} of {len(members)} series differ)" if different else ""
        fields.append(
            _sourced_field(name, label, unit, section, told, info, found, _sourced(bare, key), typed, more, findings)
        )
    edited = [replace(each, edited=_changes(model, changed, each.name, edits, refused)) for each in fields]
    return Form(f"Acquisition, {group}", tuple(edited))


def instrument_form(model: ProjectFile, data: HasSeries, edits: Edits) -> Form:
    """The microscope, for all groups that do not say otherwise."""
    from core.dataset.acquisition import effective
    from core.engine.edits import with_edits
    from core.jobs.fields import field_list
    from core.project.model import Instrument

    changed, refused = with_edits(model, edits)
    if not data.series:
        return Form("Microscope", (), empty="There are no tilt series yet.")
    now = [effective(one, {}, changed.instrument.model_dump(), {}) for one in data.series]
    bare = [effective(one, {}, {}, {}) for one in data.series]
    fields: list[FormField] = []
    for info in field_list(Instrument):
        label, unit, section, told = _ACQUISITION[info.name]
        name = f"instrument.{info.name}"
        found = _majority(now, info.name)
        typed = edits.get(name) if name in refused else None
        findings = list(_refusals(label, (name,), refused))
        if not found.confirmed and found.value is not None:
            sentence = f"Not in the files ({text_of(found.value)} {unit} is {found.source}): set it."
            findings.append(Finding("warning", sentence))
        usual = _majority(bare, info.name)
        field = _sourced_field(name, label, unit, section, told, info, found, usual, typed, "", findings)
        edited = _changes(model, changed, name, edits, refused)
        fields.append(replace(field, confirm=False, edited=edited))
    return Form("Microscope", tuple(fields))


def _sourced_field(
    name: str,
    label: str,
    unit: str,
    section: str,
    told: str,
    info: FieldInfo,
    found: Sourced[Any],
    usual: Sourced[Any],
    typed: str | None,
    more: str,
    findings: Sequence[Finding],
) -> FormField:
    kind: Kind = "path" if name.endswith("_path") else info.kind
    return FormField(
        name=name,
        label=label,
        kind=kind,
        group=section,
        value=typed if typed is not None else text_of(found.value),
        origin=("you" if typed is not None else found.source) + more,
        default=text_of(usual.value),
        optional=True,
        unit=unit,
        allowed=allowed(info),
        help=told,
        findings=tuple(findings),
        confirm=typed is None and not found.confirmed and found.value is not None,
    )


def _sourced(acquisition: Acquisition, name: str) -> Sourced[Any]:
    value = getattr(acquisition, name)
    if isinstance(value, Sourced):
        return value
    return Sourced(value, "default" if value == acquisition.group else "you")


def _majority(each_has: Sequence[Acquisition], name: str) -> Sourced[Any]:
    counts = Counter(_sourced(one, name) for one in each_has)
    return counts.most_common(1)[0][0]


# ---- Saving


def saved(sources: Sources, edits: Edits) -> int:
    """Save what was typed over the version that ``sources`` are of; the number of the new version.

    Raises :class:`InputError` with every wrong value (then nothing is saved), and ConflictError with the difference
    where somebody else changed the project file since. What is wrong already, and warnings, keep nothing from being
    saved.
    """
    from core.engine.edits import job_problems, with_edits
    from core.project.file import digest, save
    from core.project.versions import read_version

    root = sources.paths.root
    model, refused = with_edits(sources.project, edits)
    wrong = [f"{name} {sentence.splitlines()[0]}" for name, sentence in refused.items()]
    jobs = {name.split(".")[0] for name in edits}
    known = job_problems(sources.project, jobs)
    wrong += [
        f"{job}: {sentence}"
        for level, job, sentence in job_problems(model, jobs)
        if level == "error" and (level, job, sentence) not in known
    ]
    if wrong:
        raise InputError(" ".join([*wrong, "Nothing was saved."]))
    return save(root, model, digest(read_version(root, sources.version)))


# ---- Words


def text_of(value: Any) -> str:
    """A value as a person types it: ``10`` for 10.0, ``true``, "" for none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return str(value)


def allowed(info: FieldInfo) -> str:
    """The range in words: ``2–50``, ``at least 1``, ``more than 0``."""
    low, high = info.minimum, info.maximum
    if low is not None and high is not None:
        if info.minimum_excluded:
            return f"more than {low:g}, at most {high:g}" if low else f"above 0, at most {high:g}"
        return f"{low:g}–{high:g}" if low >= 0 else f"{low:g} to {high:g}"
    if low is not None:
        return f"more than {low:g}" if info.minimum_excluded else f"at least {low:g}"
    if high is not None:
        return f"less than {high:g}" if info.maximum_excluded else f"at most {high:g}"
    return ""


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _refusals(label: str, names: Sequence[str], refused: Mapping[str, str]) -> list[Finding]:
    sentence = next((refused[name] for name in names if name in refused), None)
    return [] if sentence is None else [Finding("error", f"{label} {sentence.splitlines()[0]}")]


def _if_other(text: str | None, value: str) -> str | None:
    return text if text is not None and text != value else None


def _changes(before: ProjectFile, after: ProjectFile, name: str, edits: Edits, refused: Mapping[str, str]) -> bool:
    """Whether an edit leaves something else than what is saved."""
    from core.engine.edits import set_value

    if name not in edits:
        return False
    return name in refused or edits[name] == CONFIRMED or set_value(before, name) != set_value(after, name)
