"""What a job type is: the interface between the engine and the one file that describes a processing step.

The engine calls, in a task's life: :meth:`JobType.declare` (which tasks are there), :meth:`JobType.build` (what one
attempt does), :meth:`JobType.progress` and :meth:`JobType.cause` (reading its log), :meth:`JobType.gather_series` (the
tools' output of one finished series into numbers and its STAR file) and :meth:`JobType.gather_job` (the job's own STAR
files, output nodes and decisions). The last two run in a worker process and may import numpy and pandas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from core.dataset.model import Acquisition, TiltSeries, accumulated_dose_e_per_a2
from core.jobs._task import TaskDeclaration, Work
from core.jobs.fields import JobParameters
from core.project.decisions import Decision

P = TypeVar("P", bound=JobParameters)
StarValue = str | int | float


class Scope(Enum):
    PER_SERIES = "per series"
    COHORT = "cohort"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding about parameters. Errors block a run, warnings do not. ``fields`` names what to change."""

    level: Literal["error", "warning"]
    fields: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Slot:
    """An input of a job type: it accepts instances whose type provides ``kind``."""

    name: str
    kind: str
    help: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Needs:
    """What one task of a type needs by default, before the site's and the instance's own resources."""

    cpus: int = 1
    gpus: int = 0
    memory_gb: int = 4
    minutes: int = 30


@dataclass(frozen=True, slots=True)
class Policy:
    """When the job as a whole has succeeded: at least this fraction of its series is done (and at least one)."""

    done_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class Producer:
    """An upstream job instance as one series sees it. ``folder`` is absolute."""

    instance: str
    job_type: str
    provides: tuple[str, ...]
    folder: Path
    values: JobParameters
    inputs: Mapping[str, Producer] = field(default_factory=dict)

    def chain(self) -> Iterator[Producer]:
        """Itself, then everything upstream of it, nearest first."""
        yield self
        for producer in self.inputs.values():
            yield from producer.chain()


@dataclass(frozen=True, slots=True)
class SeriesContext(Generic[P]):
    """One tilt series in one job instance. ``values`` have its own overrides in them."""

    series: TiltSeries
    acquisition: Acquisition
    values: P
    inputs: Mapping[str, Producer]
    excluded_tilts: frozenset[str] = frozenset()
    """Ids of tilts that a person excluded."""

    def ancestor(self, kind: str) -> Producer | None:
        """The nearest upstream instance that provides ``kind``."""
        for producer in self.inputs.values():
            for candidate in producer.chain():
                if kind in candidate.provides:
                    return candidate
        return None

    def doses_e_per_a2(self) -> tuple[float, ...]:
        """Accumulated dose before each tilt, from all exposures (see ``core.dataset.model``)."""
        return accumulated_dose_e_per_a2(self.series, self.acquisition)

    def used(self) -> tuple[int, ...]:
        """Indices (acquisition order) of tilts that have a usable movie and are not excluded."""
        tilts = self.series.tilts
        return tuple(
            index
            for index in range(len(tilts))
            if not tilts.problem[index] and tilts.ids[index] not in self.excluded_tilts
        )


@dataclass(frozen=True, slots=True)
class JobContext(Generic[P]):
    """One job instance. All paths are absolute; commands run in ``project`` (RELION's convention)."""

    project: Path
    instance: str
    folder: Path
    values: P
    decisions: Mapping[str, Decision]
    warp_version: str = "head"
    """``head`` (2026, file queue with --task_dir) or ``dev39``: which command lines the site's WarpTools takes."""
    settled: bool = False
    """For :meth:`JobType.gather_job`: no task of the instance will end any more by itself (decide on what is there)."""

    def relative(self, path: Path | str) -> str:
        """The path as RELION's STAR files want it: relative to the project."""
        path = Path(path)
        return str(path.relative_to(self.project)) if path.is_relative_to(self.project) else str(path)


@dataclass(frozen=True, slots=True)
class TaskContext(Generic[P]):
    """One attempt that is to be built. ``series`` for a per-series task, ``cohort`` for a cohort task."""

    job: JobContext[P]
    key: str
    attempt: int
    series: SeriesContext[P] | None
    cohort: tuple[SeriesContext[P], ...]
    cpus: int = 1
    gpus: int = 0
    ranks: int = 1
    """Of commands with MPI."""


@dataclass(frozen=True, slots=True)
class SeriesResult:
    """What gather found for one series (or cohort task). ``row`` is its row of the job's global table, in column order.
    ``numbers`` are for the screens (``motion_angstrom_per_frame``, ``ctf_resolution_angstrom``, ...). ``tilts`` are the
    same per tilt, columns keyed by quantity, in acquisition order, with None where a tilt has none. ``notes`` are
    sentences (dropped tilts, unselected series). ``problem`` turns done into failed. ``empty``: done, nothing found."""

    row: Mapping[str, StarValue] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    tilts: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problem: str = ""
    empty: bool = False


@dataclass(frozen=True, slots=True)
class JobResult:
    """``nodes``: RELION output nodes, path relative to the project -> node type label. ``decisions``: newly made."""

    nodes: Mapping[str, str] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()


class JobType(Generic[P]):
    """Base class. A module of ``core.jobs`` defines one subclass and binds an instance of it to ``JOB_TYPE``."""

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    parameters: type[P]
    slots: ClassVar[tuple[Slot, ...]] = ()
    provides: ClassVar[tuple[str, ...]] = ()
    scope: ClassVar[Scope] = Scope.PER_SERIES
    tools: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Needs] = Needs()
    policy: ClassVar[Policy] = Policy()
    internal: ClassVar[bool] = False
    relion_label: ClassVar[str] = "relion.external"
    relion_folder: ClassVar[str] = "External"
    relion_is_tomo: ClassVar[bool] = False
    """``rlnJobIsTomo``: for jobs that RELION has for single particles too, and switches by it."""
    main_output: ClassVar[tuple[str, str]] = ("", "")
    """Name in the job folder and RELION node type of the STAR file that later jobs take as their input."""
    acquisition_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of :class:`Acquisition` that reach this type's commands: they enter its fingerprint."""
    uses_tilt_selection: ClassVar[bool] = False
    """Whether a person's exclusion of tilts reaches this step: elsewhere ``excluded_tilts`` is empty."""
    reads_tables: ClassVar[bool] = False
    """Whether its tasks read the STAR tables of the jobs before it: a series then waits until these hold it."""
    gather_decisions: ClassVar[tuple[str, ...]] = ()
    """Kinds of decisions (``handedness``) that only its STAR files follow: a change gathers again, nothing is stale."""

    def checks(self, values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
        """Checks across fields, on whatever fields are valid."""
        return []

    def declare(self, job: JobContext[P], series: Sequence[SeriesContext[P]]) -> list[TaskDeclaration]:
        """The tasks of the instance, in order. By default one per series."""
        return [TaskDeclaration(context.series.id) for context in series]

    def needs_decisions(self, job: JobContext[P], context: SeriesContext[P]) -> tuple[str, ...]:
        """Keys of decisions that must be made before this series' task may start. They enter its fingerprint."""
        return ()

    def relion_options(self, job: JobContext[P], series: Sequence[SeriesContext[P]]) -> Mapping[str, str]:
        """Options of ``job.star`` for a type with RELION's own label, by RELION's names; others keep its defaults."""
        return {}

    def relion_sublabel(self, values: P) -> str:
        """What RELION adds to the label when it builds the command (``.own``)."""
        return ""

    def build(self, task: TaskContext[P]) -> Work:
        """Stage operations, commands and products of one attempt. Pure: touches no file."""
        raise NotImplementedError

    def run_internal(self, task: TaskContext[P]) -> None:
        """Do the work of an *internal* task, in the worker process. Raises CrboostError with the reason."""
        raise NotImplementedError

    def progress(self, log_tail: str) -> float | None:
        """Fraction done (0..1) from the last 4 kB of the attempt's output, or None where it cannot be told."""
        return None

    def cause(self, out_tail: str, err_tail: str) -> str:
        """The tool's own reason for a failure in its last output, as one line; "" where none is found."""
        return ""

    def gather_series(self, job: JobContext[P], key: str, context: SeriesContext[P] | None) -> SeriesResult:
        """Read the products of one finished task; write its own STAR file (``tilt_series/<id>.star``) atomically."""
        raise NotImplementedError

    def gather_job(
        self, job: JobContext[P], results: Mapping[str, SeriesResult], contexts: Mapping[str, SeriesContext[P]]
    ) -> JobResult:
        """Write the job's global STAR files from the results of all gathered tasks, by key in the registry's order.
        ``results`` also holds cohort tasks; ``contexts`` are all series of the project, gathered or not.
        Called again whenever anything changed."""
        raise NotImplementedError
