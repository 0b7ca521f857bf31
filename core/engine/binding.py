"""The project file, the registry and the job types bound together: who feeds whom, with which values.

A :class:`Binding` is made from files alone, so the engine, its worker, ``plan`` and ``render`` all see the same.
"""

from __future__ import annotations

import graphlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.dataset.acquisition import effective, gain_problem, unconfirmed
from core.dataset.model import Acquisition, TiltSeries
from core.dataset.registry import Registry
from core.errors import InputError, listed
from core.jobs._base import JobContext, JobType, Problem, Producer, SeriesContext
from core.jobs._registry import job_type
from core.jobs._task import TaskDeclaration
from core.jobs._values import result_values, validate
from core.jobs.fields import JobParameters, field_list
from core.project.decisions import Decision
from core.project.model import Instance, ProjectFile
from core.project.problems import nearest
from core.project.resources import effective as effective_resources
from core.project.site import Site

_COMPACT = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)

Choices = Mapping[str, str]
"""``instance/slot`` -> the producer that one series takes there, where an input names several."""


@dataclass(slots=True)
class BoundInstance:
    """One job instance, its type, its values and its producers by slot (in order of preference)."""

    index: int
    id: str
    job_type: JobType[Any]
    declared: Instance
    inputs: Mapping[str, tuple[str, ...]]
    values: JobParameters
    overrides: dict[str, JobParameters] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    own_digest: str = ""
    override_digests: dict[str, str] = field(default_factory=dict)

    def values_for(self, series: str) -> JobParameters:
        return self.overrides.get(series, self.values)


class Binding:
    """Everything that a plan needs. ``folders``: job folders (absolute) of the instances that have one already."""

    def __init__(
        self,
        root: Path,
        project: ProjectFile,
        registry: Registry,
        decisions: Mapping[str, Decision],
        folders: Mapping[str, Path],
        excluded_tilts: Mapping[str, frozenset[str]],
        warp_version: str = "head",
        site: Site | None = None,
    ) -> None:
        self.root = root
        self.site = site
        self.project = project
        self.registry = registry
        self.series: dict[str, TiltSeries] = {series.id: series for series in registry.series}
        self.decisions = dict(decisions)
        self.folders = dict(folders)
        self.excluded_tilts = excluded_tilts
        self.warp_version = warp_version
        self._acquisitions: dict[tuple[str, bool], Acquisition] = {}
        self._producers: dict[tuple[Any, ...], Producer] = {}
        self._usual_producers: dict[str, Mapping[str, Producer]] = {}
        self._jobs: dict[str, JobContext[Any]] = {}
        self.instances: dict[str, BoundInstance] = {}
        for index, declared in enumerate(_in_order(project.pipeline)):
            self.instances[declared.id] = self._bind(index, declared)

    def set_decisions(self, decisions: Mapping[str, Decision]) -> None:
        self.decisions = dict(decisions)
        self._jobs.clear()
        self._acquisitions = {key: value for key, value in self._acquisitions.items() if not key[1]}

    def job_context(self, instance: str) -> JobContext[Any]:
        """The instance with its folder; one that is not deployed yet gets the folder that its alias will have."""
        found = self._jobs.get(instance)
        if found is None:
            bound = self.instances[instance]
            folder = self.folders.get(instance) or self.root / bound.job_type.relion_folder / instance
            found = JobContext(self.root, instance, folder, bound.values, self.decisions, self.warp_version)
            self._jobs[instance] = found
        return found

    def set_folder(self, instance: str, folder: Path) -> None:
        """The instance has a job folder now."""
        self.folders[instance] = folder
        self._jobs.clear()
        self._producers.clear()
        self._usual_producers.clear()

    def acquisition(self, series: str, *, decided: bool = False) -> Acquisition:
        """Effective acquisition values; with ``decided`` the calibrated tilt axis is among them."""
        found = self._acquisitions.get((series, decided))
        if found is None:
            record = self.series[series]
            values = self.project.acquisition.get(record.group)
            found = effective(
                record,
                values.model_dump(exclude_none=True) if values is not None else {},
                self.project.instrument.model_dump(),
                self.decisions if decided else {},
            )
            self._acquisitions[(series, decided)] = found
        return found

    def series_context(self, instance: str, series: str, choices: Choices | None = None) -> SeriesContext[Any]:
        """One series in one instance; ``choices`` settle inputs with several producers (by default the first)."""
        context = self._nominal_context(instance, series, choices)
        if not self.instances[instance].job_type.needs_decisions(self.job_context(instance), context):
            return context
        return replace(context, acquisition=self.acquisition(series, decided=True))

    def _nominal_context(self, instance: str, series: str, choices: Choices | None) -> SeriesContext[Any]:
        """The same with nominal acquisition values, before any decision."""
        bound = self.instances[instance]
        return SeriesContext(
            self.series[series],
            self.acquisition(series),
            bound.values_for(series),
            self._producers_of(instance, series, choices),
            self.excluded_tilts.get(series, frozenset()) if bound.job_type.uses_tilt_selection else frozenset(),
        )

    def declarations(self, instance: str) -> tuple[list[TaskDeclaration], dict[str, tuple[str, ...]]]:
        """The instance's tasks, per-series ones in the registry's order, and the decisions that each series needs."""
        kind, job = self.instances[instance].job_type, self.job_context(instance)
        contexts = [self._nominal_context(instance, series, None) for series in self.series]
        decisions = {context.series.id: kind.needs_decisions(job, context) for context in contexts}
        return kind.declare(job, contexts), decisions

    def own_fingerprint(self, instance: str, series: str, decisions: Sequence[str]) -> str:
        """What of this instance itself can change the result for one series, without its inputs."""
        bound = self.instances[instance]
        record = self.series[series]
        acquisition = self.acquisition(series, decided=bool(decisions))
        parts: list[Any] = [
            bound.override_digests.get(series, bound.own_digest),
            [getattr(acquisition, name).value for name in bound.job_type.acquisition_fields],
            [[key, self.decisions[key].value if key in self.decisions else None] for key in decisions],
        ]
        if bound.job_type.uses_tilt_selection:
            parts.append(sorted(self.excluded_tilts.get(series, ())))
        if not bound.inputs:
            parts.append([record.mdoc_digest, record.tilts.movie, record.tilts.problem])
        return digest(parts)

    def problems(self) -> list[tuple[str, Problem]]:
        """All findings, by instance id ("" for the project as a whole)."""
        found = [
            (bound.id, problem)
            for bound in self.instances.values()
            for problem in (*bound.problems, *self._tool_problems(bound))
        ]
        groups: dict[str, str] = {}
        for series in self.series.values():
            groups.setdefault(series.group, series.id)
        for group, member in groups.items():
            acquisition = self.acquisition(member)
            for name, sentence in unconfirmed(acquisition):
                found.append(("", Problem("error", (f"acquisition.{group}.{name}",), sentence)))
            wrong_gain = gain_problem(acquisition)
            if wrong_gain:
                found.append(("", Problem("error", (f"acquisition.{group}.gain_path",), wrong_gain)))
        if not self.series:
            found.append(("", Problem("error", ("data",), "There are no tilt series yet: add data first.")))
        return found

    def _tool_problems(self, bound: BoundInstance) -> list[Problem]:
        """What the site's tools have against an instance's choice of tools and of nodes."""
        found: list[Problem] = []
        if self.site is None:
            return found
        kind, declared, tools = bound.job_type, bound.declared, self.site.tools
        for name, entry in declared.tools.items():
            if name not in kind.tools:
                used = f"it uses {listed(kind.tools)}" if kind.tools else "it uses none"
                found.append(Problem("error", (f"tools.{name}",), f"{declared.id} uses no tool {name}: {used}."))
            elif entry not in tools:
                sentence = f"There is no tool {entry!r} in conf.yaml.{nearest(entry, tools)}"
                found.append(Problem("error", (f"tools.{name}",), sentence))
        for name in kind.tools:
            if name not in tools and name not in declared.tools and not self.project.rehearsal:
                sentence = f"The tool {name} is not configured: give its path under tools.{name} in conf.yaml."
                found.append(Problem("error", (f"tools.{name}",), sentence))
        nodes = effective_resources(kind.needs, self.site, declared, self.project.resources).get("nodes")
        if nodes is None or nodes.value in (None, 1):
            return found
        for name in kind.tools:
            entry = declared.tools.get(name, name)
            if entry in tools and tools[entry].container and tools[entry].mpi != "outside":
                sentence = (
                    f"{name} runs in a container with its own MPI, on one node only: set nodes to 1, or set "
                    f"tools.{entry}.mpi to outside in conf.yaml where the site's launcher can start its ranks."
                )
                found.append(Problem("error", ("resources.nodes",), sentence))
        return found

    def _bind(self, index: int, declared: Instance) -> BoundInstance:
        kind = job_type(declared.type)
        acquisition = self.acquisition(next(iter(self.series))) if self.series else None
        values, problems = validate(kind, declared.parameters, acquisition)
        bound = BoundInstance(index, declared.id, kind, declared, {}, values or kind.parameters(), problems=problems)
        bound.own_digest = _values_digest(kind, bound.values)
        allowed = {info.name for info in field_list(kind.parameters) if info.per_series}
        for series, changed in declared.per_series.items():
            if series not in self.series:
                sentence = f"There is no tilt series {series}: its own values are not used."
                problems.append(Problem("warning", (f"per_series.{series}",), sentence))
                continue
            for name in changed:
                if name not in allowed:
                    sentence = f"{name} cannot be set for single tilt series."
                    problems.append(Problem("error", (f"per_series.{series}.{name}",), sentence))
            own, own_problems = validate(kind, {**declared.parameters, **changed}, acquisition)
            known = {(problem.level, problem.sentence) for problem in problems}
            for problem in own_problems:
                if (problem.level, problem.sentence) not in known:
                    fields = tuple(f"per_series.{series}.{name}" for name in problem.fields)
                    problems.append(Problem(problem.level, fields, problem.sentence))
            if own is not None:
                bound.overrides[series] = own
                bound.override_digests[series] = _values_digest(kind, own)
        bound.inputs = self._inputs(declared, kind, problems)
        return bound

    def _inputs(self, declared: Instance, kind: JobType[Any], problems: list[Problem]) -> dict[str, tuple[str, ...]]:
        inputs: dict[str, tuple[str, ...]] = {}
        for name in declared.inputs:
            if name not in {slot.name for slot in kind.slots}:
                problems.append(Problem("error", (f"inputs.{name}",), f"{declared.id} has no input {name}."))
        for slot in kind.slots:
            names = tuple(declared.inputs.get(slot.name, ()))
            if not names:
                before = [b.id for b in self.instances.values() if slot.kind in b.job_type.provides]
                names = tuple(before[-1:])
            good = []
            for name in names:
                if name not in self.instances:
                    sentence = f"Input {slot.name} names {name}, which is not in the pipeline before it."
                elif slot.kind not in self.instances[name].job_type.provides:
                    sentence = f"Input {slot.name} needs {slot.kind}; {name} does not make that."
                else:
                    good.append(name)
                    continue
                problems.append(Problem("error", (f"inputs.{slot.name}",), sentence))
            if good:
                inputs[slot.name] = tuple(good)
            elif slot.required and not names:
                sentence = f"Input {slot.name} is not connected: no earlier job makes {slot.kind}."
                problems.append(Problem("error", (f"inputs.{slot.name}",), sentence))
        return inputs

    def _producers_of(self, instance: str, series: str, choices: Choices | None) -> Mapping[str, Producer]:
        """The producers by slot. They are the same for all series that have no values and choices of their own."""
        usual = not choices and not any(series in bound.overrides for bound in self.instances.values())
        found = self._usual_producers.get(instance) if usual else None
        if found is None:
            found = {
                slot: self._producer(chosen(choices, instance, slot, names), series, choices)
                for slot, names in self.instances[instance].inputs.items()
            }
            if usual:
                self._usual_producers[instance] = found
        return found

    def _producer(self, instance: str, series: str, choices: Choices | None) -> Producer:
        bound = self.instances[instance]
        upstream = self._producers_of(instance, series, choices)
        values = bound.values_for(series)
        key = (instance, id(values), self.folders.get(instance), *(id(producer) for producer in upstream.values()))
        found = self._producers.get(key)
        if found is None:
            folder = self.job_context(instance).folder
            kind = bound.job_type
            found = Producer(instance, kind.name, kind.provides, folder, values, upstream)
            self._producers[key] = found
        return found


def chosen(choices: Choices | None, instance: str, slot: str, names: Sequence[str]) -> str:
    """The producer that was chosen, by default the first in order of preference."""
    return names[0] if not choices else choices.get(f"{instance}/{slot}", names[0])


def digest(value: Any) -> str:
    """A short digest of plain data: 12 hexadecimal digits of SHA-256 of its compact JSON."""
    return hashlib.sha256(_COMPACT.encode(value).encode()).hexdigest()[:12]


def _values_digest(kind: JobType[Any], values: JobParameters) -> str:
    return digest([kind.name, result_values(values)])


def _in_order(pipeline: Sequence[Instance]) -> list[Instance]:
    by_id = {instance.id: instance for instance in pipeline}
    if len(by_id) != len(pipeline):
        twice = sorted({i.id for i in pipeline if sum(o.id == i.id for o in pipeline) > 1})
        raise InputError(f"Two jobs of the pipeline have the same id: {', '.join(twice)}.", "crboost.yaml")
    sorter: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for instance in pipeline:
        sources = [name for names in instance.inputs.values() for name in names if name in by_id]
        sorter.add(instance.id, *sources)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        circle = " -> ".join(error.args[1])
        raise InputError(f"The pipeline's inputs go in a circle: {circle}.", "crboost.yaml") from None
    position = {instance.id: index for index, instance in enumerate(pipeline)}
    ordered: list[str] = []
    waiting: list[str] = []
    while sorter.is_active():
        waiting.extend(sorter.get_ready())
        waiting.sort(key=position.__getitem__)
        first = waiting.pop(0)
        ordered.append(first)
        sorter.done(first)
    return [by_id[name] for name in ordered]
