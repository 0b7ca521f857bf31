"""Set values in crboost.yaml. Nothing that runs changes until the next: crboost run

crboost set tsCtf.window=512                            a parameter of a job
crboost set 'aligntiltsWarp.method=IMOD patches' --series TS_01,TS_02
crboost set tsCtf.resources.minutes=60                  what its tasks ask of the cluster
crboost set tsCtf.resources=large                       a preset of conf.yaml to begin from
crboost set tsCtf.tools.warp=warp_new                   another entry of conf.yaml's tools, for this job
crboost set instrument.voltage_kv=300
crboost set acquisition.batch1.pixel_size_angstrom=1.35
crboost set decisions.handedness=flip
crboost set --confirm acquisition.batch1.tilt_axis_deg  trust what was found in the files
crboost set --unset tsCtf.window                        back to the default
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import InputError, listed
from crboost_tui.cli._common import add_json, comma_list, find_project, print_json, say

if TYPE_CHECKING:
    from core.project.model import ProjectFile

_FORM = "NAME=VALUE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "crboost set [PROJECT] NAME=VALUE ... [--series A,B] [--unset NAME] [--confirm NAME] [--json]"
    parser.add_argument("words", nargs="*", metavar=_FORM, help="what to set; a first word without = is the project")
    parser.add_argument("--series", type=comma_list, metavar="A,B", help="for these tilt series only")
    parser.add_argument("--unset", action="append", default=[], metavar="NAME", help="back to the default")
    parser.add_argument("--confirm", action="append", default=[], metavar="NAME", help="trust a detected value")
    parser.add_argument("--undo", action="store_true", help="restore the version before the present one")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.project.file import load, save, undo

    words: list[str] = list(options.words)
    project = words.pop(0) if words and "=" not in words[0] else None
    root = find_project(project)
    if options.undo:
        say(f"The version before is restored, as version {undo(root)}.")
        return 0
    if not (words or options.unset or options.confirm):
        raise InputError("Nothing to set. The form is: crboost set tsCtf.window=512")
    loaded = load(root)
    words = _presets_spelt_out(root, loaded.model, words)
    model = assign(loaded.model, words, series=options.series, unset=options.unset, confirm=options.confirm)
    if options.series:
        _check_series(root, options.series)
    _check_groups(root, [*words, *options.confirm])
    problems = job_problems(model, {word.partition("=")[0].split(".")[0] for word in [*words, *options.unset]})
    errors = [sentence for level, _, sentence in problems if level == "error"]
    if errors:
        raise InputError(" ".join(errors) + " Nothing was saved.")
    version = save(root, model, loaded.digest)
    if options.json:
        found = [{"level": level, "job": job, "sentence": sentence} for level, job, sentence in problems]
        print_json({"version": version, "problems": found})
        return 0
    for _, job, sentence in problems:
        say(f"! {job}: {sentence}")
    say(f"Saved as version {version}. It takes effect with the next: crboost run")
    return 0


def assign(
    model: ProjectFile,
    words: Sequence[str],
    *,
    series: Sequence[str] | None = None,
    unset: Sequence[str] = (),
    confirm: Sequence[str] = (),
) -> ProjectFile:
    """The project file with ``NAME=VALUE`` words applied. Raises :class:`InputError` for what cannot be."""
    from core.project.layout import PROJECT_FILE
    from core.project.model import ProjectFile, to_plain
    from core.project.problems import validated

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


def _presets_spelt_out(root: Path, model: ProjectFile, words: Sequence[str]) -> list[str]:
    """``tsCtf.resources=large`` as one word for each field of the preset."""
    from core.project.site import load_site, preset
    from crboost_tui.data import config_dir

    jobs = {instance.id for instance in model.pipeline}
    found: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        job, _, rest = name.rpartition(".")
        if equals and rest == "resources" and (job in jobs or not job):
            fields = preset(load_site(root, config_dir()), value)
            found += [f"{name}.{field}={each}" for field, each in fields.items()]
        else:
            found.append(word)
    return found


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
    from core.formats import plain_yaml

    parts = name.split(".")
    if parts[-1] == "note" or name == "name":
        return text
    if len(parts) == 3 and parts[1] == "inputs":
        return comma_list(text)
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
    from core.jobs._registry import job_type
    from core.jobs.fields import field_list
    from core.project.model import AcquisitionValues, Instrument

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
    from core.jobs._registry import job_type
    from core.jobs._values import validate
    from core.jobs.fields import field_list

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


def _check_series(root: Any, series: Sequence[str]) -> None:
    from core.dataset.registry import load_registry
    from core.project.layout import ProjectPaths
    from core.project.problems import nearest

    path = ProjectPaths(root).registry
    known = {each.id for each in load_registry(path).series} if path.exists() else set()
    for one in series:
        if one not in known:
            raise InputError(f"There is no tilt series {one!r} in this project.{nearest(one, known)}")


def _check_groups(root: Any, names: Sequence[str]) -> None:
    """Values for an acquisition group that no series belongs to would have no effect, and nobody would notice."""
    groups = [name.split(".")[1] for name in names if name.startswith("acquisition.") and name.count(".") >= 2]
    if not groups:
        return
    from core.dataset.registry import load_registry
    from core.project.layout import ProjectPaths

    path = ProjectPaths(root).registry
    if not path.exists():
        return
    known = sorted({each.group for each in load_registry(path).series})
    for group in groups:
        if known and group not in known:
            raise InputError(f"There is no acquisition group {group!r}. There are: {listed(known)}. Nothing was saved.")
