"""What the workspace shows, made in threads from the project's files: frozen, so that the screen may read it."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.engine.states import MEANING, TaskState
from core.engine.status import JobStatus, Status
from core.errors import CrboostError, InputError
from core.jobs._task import COHORT
from core.project.access import Access, access_to
from core.project.layout import ProjectPaths
from crboost_tui import matrix
from crboost_tui.picture import engine_words

if TYPE_CHECKING:
    from core.engine.impact import Impact
    from core.engine.plan import Plan, Sources
    from core.project.model import ProjectFile

PROJECT = "@project"
"""The line of the pipeline that stands for microscope and data, which belong to no job."""
SAME_IN_ALL = "# From here on the same in every task."


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task as the list shows it. ``began`` and ``seconds`` are what it is sorted by."""

    key: str
    name: str
    state: str
    attempt: int
    began: float
    seconds: float
    started: str
    took: str
    slurm: str
    words: str


@dataclass(frozen=True, slots=True)
class JobPulse:
    """How one job stands. ``share``: of what runs now, how much is done (0..1)."""

    type: str
    title: str
    state: str
    done: int
    total: int
    failed: int
    live: int
    share: float | None
    folder: str
    states: tuple[tuple[str, int], ...] = ()
    """How many tasks are in each state."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """How the project stands. ``tasks`` are those of the job ``tasks_of``."""

    name: str
    rehearsal: bool
    engine: str
    outcome: str
    trouble: str
    counts: tuple[tuple[str, int], ...]
    jobs: Mapping[str, JobPulse]
    series: tuple[str, ...]
    """Ids of all tilt series."""
    tasks_of: str = ""
    tasks: tuple[TaskRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """The project file as it was read. ``broken``: why it could not be; ``read_only``: why nothing may be changed."""

    root: Path
    sources: Sources | None = None
    broken: str = ""
    read_only: str = ""
    access: Access = field(default_factory=Access)


@dataclass(frozen=True, slots=True)
class Edited:
    """The project file with what was typed in it. ``refused``: what cannot be, by name."""

    model: ProjectFile
    sources: Sources
    refused: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class JobLine:
    """One line of the pipeline. ``branch``: the lines of the tree before its name; ``own``: what follows ``__``."""

    id: str
    name: str
    own: str
    branch: str
    state: str
    done: int
    total: int
    failed: int
    share: float | None
    edited: bool = False
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """A job of the pipeline and where it stands in the tree."""

    id: str
    type: str
    branch: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """One finding about the project. ``name``: of the value as the form has it, "" where it is about the whole."""

    job: str
    name: str
    level: str
    sentence: str


@dataclass(frozen=True, slots=True)
class SlotView:
    """An input of a job: what it takes, in order of preference, and what it could take. ``named``: chosen by somebody,
    not the nearest."""

    name: str
    kind: str
    help: str
    required: bool
    takes: tuple[str, ...]
    fitting: tuple[str, ...]
    named: bool


@dataclass(frozen=True, slots=True)
class Built:
    """What follows from the project file and the edits at once."""

    nodes: tuple[Node, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    slots: tuple[SlotView, ...] = ()
    slots_of: str = ""
    feeds: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """What each job takes from, at once."""

    def upstream(self, job: str) -> set[str]:
        """A job and all that it needs; with "" every job."""
        found: set[str] = set() if job else {node.id for node in self.nodes}
        waiting = [job] if job else []
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.feeds.get(name, ())
        return found

    def downstream(self, job: str) -> set[str]:
        """All jobs that need this one."""
        return {node.id for node in self.nodes if node.id != job and job in self.upstream(node.id)}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A script, and what is submitted with it. ``problem``: why there is none."""

    title: str
    script: tuple[str, ...] = ()
    submission: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What edits would make stale, in words and by job."""

    words: str = ""
    jobs: tuple[str, ...] = ()
    direct: tuple[str, ...] = ()
    tasks: int = 0
    marks: Mapping[str, int] = field(default_factory=dict)


NO_COST = Cost()


# ---- how the project stands


def take_pulse(status: Status, watched: str) -> Pulse:
    """The status as the workspace shows it, with the tasks of the job ``watched``."""
    jobs = {job.id: _job_pulse(job) for job in status.jobs}
    tasks: tuple[TaskRow, ...] = ()
    for job in status.jobs:
        if job.id == watched:
            tasks = _task_rows(status, job)
    return Pulse(
        status.name,
        status.rehearsal,
        engine_words(status),
        status.outcome(),
        status.queue.trouble if matrix.queue_trouble(status) else "",
        tuple((state.value, number) for state, number in matrix.counts(status)),
        jobs,
        tuple(status.series),
        watched,
        tasks,
    )


def _job_pulse(job: JobStatus) -> JobPulse:
    counts = job.count()
    total = sum(counts.values()) - counts[TaskState.EXCLUDED]
    done = counts[TaskState.DONE] + counts[TaskState.EMPTY]
    running = [job.progress.get(key, 0.0) for key in job.progress] if counts[TaskState.RUNNING] else []
    share = sum(running) / counts[TaskState.RUNNING] if running else None
    live = sum(number for state, number in counts.items() if state.live)
    failed = counts[TaskState.FAILED]
    whole = _whole_state(job, counts, total)
    states = tuple((state.value, number) for state, number in counts.items())
    return JobPulse(job.type, job.title, whole, done, total, failed, live, share, job.folder, states)


_BY_ATTENTION = (
    TaskState.RUNNING, TaskState.UNKNOWN, TaskState.QUEUED, TaskState.FAILED, TaskState.STALE, TaskState.STOPPED,
    TaskState.READY, TaskState.BLOCKED, TaskState.WAITING,
)  # fmt: skip


def _whole_state(job: JobStatus, counts: Mapping[TaskState, int], total: int) -> str:
    """The state of a job as one character: what wants attention first, else how far it is."""
    if job.paused or counts.get(TaskState.NEEDS_YOU):
        return TaskState.NEEDS_YOU.value
    first = next((state for state in _BY_ATTENTION if counts.get(state)), None)
    if first is None and total:
        return TaskState.EMPTY.value if counts.get(TaskState.EMPTY) == total else TaskState.DONE.value
    return (first or TaskState.WAITING).value


def _task_rows(status: Status, job: JobStatus) -> tuple[TaskRow, ...]:
    names = status.names if len(status.names) == len(status.series) else status.series
    waits = matrix.queue_words(status, job.id)
    found = []
    for index, key in enumerate(status.keys(job)):
        if index >= len(job.states):
            break
        state, began, ended = job.states[index], job.started[index], job.ended[index]
        until = ended if ended >= began else time.time() if state == TaskState.RUNNING.value else began
        seconds = until - began if began else 0.0
        found.append(
            TaskRow(
                key,
                matrix.cohort_name(key) if key.startswith(COHORT) else names[index],
                state,
                job.attempts[index],
                began,
                seconds,
                _clock(began),
                matrix.duration(seconds) if began and until > began else "",
                job.queue_ids.get(key, ""),
                _task_words(job, key, state, waits),
            )
        )
    return tuple(found)


def _task_words(job: JobStatus, key: str, state: str, waits: str) -> str:
    known = next((each for each in TaskState if each.value == state), None)
    meaning: str = MEANING[known].split(" (")[0] if known else state
    if state == TaskState.RUNNING.value:
        progress = job.progress.get(key)
        return meaning if progress is None else f"{meaning}, {100 * progress:.0f} %"
    if state == TaskState.QUEUED.value:
        return f"{meaning}: {matrix.brief(waits)}" if waits else meaning
    cause = job.causes.get(key, "")
    notes = job.notes.get(key, [])
    return f"{meaning}: {cause}" if cause else f"{meaning}; {notes[0]}" if notes else meaning


def _clock(seconds: float) -> str:
    """``14:02``, with the day where it was not today."""
    if not seconds:
        return ""
    then, now = time.localtime(seconds), time.localtime()
    return time.strftime("%H:%M" if then[:3] == now[:3] else "%d %b %H:%M", then)


# ---- the project file and what was typed


def open_project(root: Path, data: Path, asked: bool = False) -> Opened:
    """Read the project file and what is bound with it. Never raises for what is wrong in there. ``asked``: this user
    asked to work on it, should it be a colleague's."""
    from core.engine.plan import read_sources, sources_of
    from core.project.file import load

    access = access_to(root)
    reason = access.why_not(asked)
    try:
        sources = sources_of(root, data, load(root).model) if reason else read_sources(root, data)
        return Opened(root, sources, "", reason, access)
    except CrboostError as error:
        return Opened(root, broken=str(error), read_only=reason, access=access)


def file_stamp(root: Path) -> tuple[int, int]:
    """What changes when the project file does."""
    try:
        found = os.stat(ProjectPaths(root).file)
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def edit(opened: Opened, edits: Mapping[str, str | None]) -> Edited | None:
    """The project file with the edits in it; None where it cannot be read."""
    from core.engine.decisions import load_decisions
    from core.engine.edits import with_edits

    if opened.sources is None:
        return None
    model, refused = with_edits(opened.sources.project, edits)
    decisions = load_decisions(opened.sources.paths, model)
    return Edited(model, replace(opened.sources, project=model, decisions=decisions), refused)


def job_of(name: str, model: ProjectFile) -> str:
    """The job that a value belongs to, "" for one of the whole project."""
    job = name.partition(".")[0]
    return job if any(each.id == job for each in model.pipeline) else ""


def build(edited: Edited, folders: Mapping[str, Path], job: str) -> Built:
    """The tree, all findings, and the inputs of one job."""
    from core.engine.edits import candidates, inputs_of
    from core.jobs._registry import job_type

    model = edited.model
    troubles = [Trouble(job_of(name, model), name, "error", text) for name, text in edited.refused.items()]
    try:
        feeds = {each.id: inputs_of(model, each.id) for each in model.pipeline}
        binding = edited.sources.bind(folders)
    except InputError as error:
        return Built(
            tuple(Node(each.id, each.type, "") for each in model.pipeline),
            (*troubles, Trouble("", "", "error", str(error))),
        )
    for owner, problem in binding.problems():
        for name in problem.fields or ("",):
            full = f"{owner}.{name}" if owner and name else name
            troubles.append(Trouble(owner, full, problem.level, problem.sentence))
            break  # one sentence stands once, beside the first of its fields
    order = {each.id: place for place, each in enumerate(model.pipeline)}
    parents = {
        name: max((makers[0] for makers in slots.values() if makers), key=order.__getitem__, default="")
        for name, slots in feeds.items()
    }
    types = {each.id: each.type for each in model.pipeline}
    views: list[SlotView] = []
    if job in types:
        named = model.instance(job).inputs
        for slot in job_type(types[job]).slots:
            fitting = tuple(reversed(candidates(model, job, slot.name)))
            views.append(
                SlotView(
                    slot.name, slot.kind.replace("_", " "), slot.help, slot.required, feeds[job][slot.name], fitting,
                    slot.name in named,
                )
            )  # fmt: skip
    nodes = tuple(Node(name, types[name], branch) for name, branch in tree(parents))
    makers = {name: frozenset(one for names in slots.values() for one in names) for name, slots in feeds.items()}
    return Built(nodes, tuple(troubles), tuple(views), job, makers)


def tree(parents: Mapping[str, str]) -> list[tuple[str, str]]:
    """``(job, the lines before its name)`` in the order of a tree. A job stands right under the one that feeds it;
    where several take from one job, each begins a branch."""
    children: dict[str, list[str]] = {}
    for name, parent in parents.items():
        children.setdefault(parent if parent in parents else "", []).append(name)
    found: list[tuple[str, str]] = []
    waiting = [(name, "", "") for name in reversed(children.get("", []))]
    while waiting:
        name, head, rest = waiting.pop()
        found.append((name, head))
        below = children.get(name, [])
        if len(below) == 1:
            waiting.append((below[0], rest, rest))
            continue
        for place, child in reversed(list(enumerate(below))):
            last = place == len(below) - 1
            waiting.append((child, rest + ("└ " if last else "├ "), rest + ("  " if last else "│ ")))
    return found


def job_lines(
    nodes: Sequence[Node], pulse: Pulse | None, edits: Mapping[str, str | None], troubles: Sequence[Trouble]
) -> tuple[JobLine, ...]:
    """The pipeline as lines; without a readable project file the jobs that the status knows."""
    jobs = pulse.jobs if pulse is not None else {}
    errors: dict[str, int] = {}
    for each in troubles:
        errors[each.job] = errors.get(each.job, 0) + (each.level == "error")
    edited = {name.partition(".")[0] for name in edits}
    found = []
    for node in nodes or tuple(Node(name, job.type, "") for name, job in jobs.items()):
        name, _, own = node.id.partition("__")
        now = jobs.get(node.id)
        total = len(pulse.series) if now is None and pulse is not None else now.total if now is not None else 0
        found.append(
            JobLine(
                node.id, name, own.replace("_", " "), node.branch,
                TaskState.WAITING.value if now is None else now.state,
                0 if now is None else now.done, 0 if now is None else total,
                0 if now is None else now.failed, None if now is None else now.share,
                node.id in edited, errors.get(node.id, 0),
            )
        )  # fmt: skip
    return tuple(found)


# ---- what takes a little longer: the script, and what would become stale


def plan_of(edited: Edited, folders: Mapping[str, Path]) -> Plan:
    from core.engine.plan import Plan

    return Plan(edited.sources.bind(folders), edited.sources.version)


def rendered(edited: Edited, plan: Plan, status: Status | None, data: Path, job: str, key: str, name: str) -> Rendered:
    """The script of one task as these values would have it, and the lab's own lines where Slurm is used."""
    from core.engine.rendering import render_planned
    from core.engine.submission import goes_to_slurm, submission_of

    title = f"{job}, {name}"
    mine = [text for each, text in edited.refused.items() if each.partition(".")[0] == job]
    if mine:
        return Rendered(title, problem=mine[0])
    try:
        script = render_planned(edited.sources, plan, status, data, job, key)
        lab = submission_of(edited.sources, plan, data, job) if goes_to_slurm(edited.sources) else ""
    except CrboostError as error:
        return Rendered(title, problem=error.sentence)
    return Rendered(title, tuple(script.splitlines()), tuple(lab.splitlines()))


def changed_lines(old: Sequence[str], new: Sequence[str]) -> frozenset[int]:
    """Indices of lines of ``new`` that are not in ``old``."""
    begin = 0
    while begin < min(len(old), len(new)) and old[begin] == new[begin]:
        begin += 1
    end = 0
    while end < min(len(old), len(new)) - begin and old[-1 - end] == new[-1 - end]:
        end += 1
    before, after = old[begin : len(old) - end], new[begin : len(new) - end]
    found: set[int] = set()
    for kind, _, _, first, last in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind in ("replace", "insert"):
            found.update(range(begin + first, begin + last))
    return frozenset(found)


def without_wrong(edits: Mapping[str, str | None], troubles: Sequence[Trouble]) -> dict[str, str | None]:
    """The edits that could be saved: a wrong one changes nothing yet."""
    wrong = {each.name for each in troubles if each.level == "error"}
    return {name: text for name, text in edits.items() if name.partition("@")[0] not in wrong and name not in wrong}


def cost_of(impact: Impact, unsaved: bool) -> Cost:
    """An impact in one sentence: ``41 finished series and their 63 later results would become stale``."""
    if not impact:
        return NO_COST
    later = sum(len(keys) for keys in impact.later.values())
    several = impact.tasks - later
    if impact.series:
        words = "1 finished series" if impact.series == 1 else f"{impact.series} finished series"
        if len(impact.direct) > 1:
            words += f" in {len(impact.direct)} jobs"
        whose = "its" if impact.series == 1 else "their"
    else:
        words = "1 finished result" if several == 1 else f"{several} finished results"
        whose = "its" if several == 1 else "their"
    if later:
        words += f" and {whose} {later} later result{'s' if later > 1 else ''}"
    many = impact.tasks > 1
    if not impact.new:
        words += " are stale" if many else " is stale"
    elif unsaved:
        words += " would become stale"
    else:
        words += f" become{'' if many else 's'} stale with the next run"
    marks = {job: len(impact.direct.get(job, ())) + len(impact.later.get(job, ())) for job in impact.jobs}
    return Cost(words, impact.jobs, tuple(impact.direct), impact.tasks, marks)
