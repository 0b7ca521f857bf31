"""The plan: every task of the pipeline, what each needs, and the fingerprint of what can change its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.dataset.registry import Registry, load_registry
from core.engine.binding import Binding, BoundInstance, Choices, chosen, digest
from core.engine.decisions import load_decisions
from core.engine.status import Status, load_snapshot
from core.jobs._base import Problem
from core.jobs._task import COHORT, TaskDeclaration
from core.project.decisions import Decision
from core.project.file import ensure_version, load_version
from core.project.layout import ProjectPaths
from core.project.model import ProjectFile
from core.project.site import Site, load_site
from core.project.wanted import exclusions, read_wanted
from core.tools.catalogue import use


@dataclass(slots=True)
class PlannedJob:
    """One instance with its tasks by key, per-series ones first, in the registry's order."""

    bound: BoundInstance
    tasks: dict[str, TaskDeclaration]
    decisions: dict[str, tuple[str, ...]]
    own: dict[str, str]
    cohorts: list[str]

    @property
    def id(self) -> str:
        return self.bound.id


class Plan:
    """All jobs in order. Made from a :class:`Binding` once; fingerprints are computed when they are asked for."""

    def __init__(self, binding: Binding, version: int) -> None:
        self.binding = binding
        self.version = version
        self.series = list(binding.series)
        self.jobs: dict[str, PlannedJob] = {}
        self.downstream: dict[str, list[str]] = {instance: [] for instance in binding.instances}
        self.ancestors: dict[str, frozenset[str]] = {}
        self._expected: dict[tuple[str, str], str] = {}
        for instance, bound in binding.instances.items():
            sources = {name for names in bound.inputs.values() for name in names}
            self.ancestors[instance] = frozenset({instance}).union(*(self.ancestors[name] for name in sources))
            for name in sources:
                self.downstream[name].append(instance)
            self.jobs[instance] = self._plan_job(bound)

    def _plan_job(self, bound: BoundInstance) -> PlannedJob:
        tasks: dict[str, TaskDeclaration] = {}
        own: dict[str, str] = {}
        declared, decisions = self.binding.declarations(bound.id)
        for declaration in sorted(declared, key=lambda item: item.series.startswith(COHORT)):
            key = declaration.series
            tasks[key] = declaration
            if not key.startswith(COHORT):
                own[key] = self.binding.own_fingerprint(bound.id, key, decisions[key])
        return PlannedJob(bound, tasks, decisions, own, [key for key in tasks if key.startswith(COHORT)])

    def redecide(self, decisions: Mapping[str, Decision]) -> None:
        """Follow decisions that were made since: they enter the fingerprints of the tasks that need them."""
        self.binding.set_decisions(decisions)
        self._expected.clear()
        for job in self.jobs.values():
            for key, needed in job.decisions.items():
                if needed:
                    job.own[key] = self.binding.own_fingerprint(job.id, key, needed)

    def producers(self, instance: str, key: str, choices: Choices | None) -> list[str]:
        """The instances that this task takes its inputs from."""
        inputs = self.jobs[instance].bound.inputs
        return [chosen(choices, instance, slot, names) for slot, names in inputs.items()]

    def expected(self, instance: str, key: str, choices: Choices | None = None, cohort: tuple[str, ...] = ()) -> str:
        """The fingerprint that a run of this task would have now."""
        if key.startswith(COHORT):
            members = cohort or self.jobs[instance].tasks[key].cohort
            parts = [self.jobs[instance].bound.own_digest]
            for member in members:
                parts.append(member)
                parts.extend(self.expected(p, member, choices) for p in self.producers(instance, member, choices))
            return digest(parts)
        if choices:
            return self._fingerprint(instance, key, choices)
        found = self._expected.get((instance, key))
        if found is None:
            found = self._expected[(instance, key)] = self._fingerprint(instance, key, None)
        return found

    def _fingerprint(self, instance: str, key: str, choices: Choices | None) -> str:
        upstream = [self.expected(name, key, choices) for name in self.producers(instance, key, choices)]
        return digest([self.jobs[instance].own[key], *upstream])

    def descendants(self, instance: str) -> list[str]:
        """All instances that depend on this one, nearest first."""
        found: dict[str, None] = {}
        waiting = list(self.downstream[instance])
        while waiting:
            name = waiting.pop(0)
            if name not in found:
                found[name] = None
                waiting.extend(self.downstream[name])
        return list(found)

    def problems(self) -> list[tuple[str, Problem]]:
        return self.binding.problems()

    def errors(self) -> list[tuple[str, Problem]]:
        return [(instance, problem) for instance, problem in self.problems() if problem.level == "error"]


@dataclass(frozen=True, slots=True)
class Sources:
    """What a plan is made from, all read from the project's files."""

    paths: ProjectPaths
    project: ProjectFile
    version: int
    registry: Registry
    site: Site
    excluded_series: frozenset[str]
    excluded_tilts: Mapping[str, frozenset[str]]
    decisions: Mapping[str, Decision]

    def bind(self, folders: Mapping[str, Path]) -> Binding:
        return Binding(
            self.paths.root,
            self.project,
            self.registry,
            self.decisions,
            folders,
            self.excluded_tilts,
            self.site.warp_version,
            self.site,
        )


def read_sources(root: Path, data: Path, version: int | None = None) -> Sources:
    """Read everything; ``version`` is a saved version of the project file, by default what the file says now."""
    if version is None:
        version = ensure_version(root)
    return sources_of(root, data, load_version(root, version), version)


def sources_of(root: Path, data: Path, project: ProjectFile, version: int = 0) -> Sources:
    """Everything else read for this project file, which need not be a saved one (``version`` 0)."""
    paths = ProjectPaths(root)
    site = load_site(root, data)
    use(data / "catalogues", site.warp_version)
    series, tilts = exclusions(read_wanted(root))
    return Sources(
        paths,
        project,
        version,
        load_registry(paths.registry) if paths.registry.exists() else Registry(()),
        site,
        frozenset(series),
        {key: frozenset(ids) for key, ids in tilts.items()},
        load_decisions(paths, project),
    )


def job_folders(status: Status | None, root: Path) -> dict[str, Path]:
    """Job folders of the instances that have been deployed."""
    return {} if status is None else {job.id: root / job.folder for job in status.jobs if job.folder}


def make_plan(root: Path, data: Path, version: int | None = None) -> Plan:
    """The plan of a project as its files stand."""
    sources = read_sources(root, data, version)
    folders = job_folders(load_snapshot(sources.paths), root)
    return Plan(sources.bind(folders), sources.version)
