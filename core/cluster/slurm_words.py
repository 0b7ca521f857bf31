"""What Slurm says, and what it means: states of a job, reasons for waiting, refusals of ``sbatch``.

Three tables, each with words for a person. Names and texts are Slurm's (src/common/slurm_protocol_defs.c and
slurm_errno.c of 21.08 to 24.11; see also ``scontrol(1)``, JOB REASON CODES). What is not in a table is shown as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache


class Phase(Enum):
    """Where a job stands, as far as a task is concerned."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


class Trouble(Enum):
    """Why a task did not come to its own end. The value is how it is named in sentences."""

    NONE = ""
    TIME = "time limit"
    MEMORY = "out of memory"
    NODE = "node failure"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled from outside"
    REQUEUED = "requeued by Slurm"
    LOST = "lost"
    UNSEEN = "not begun"


@dataclass(frozen=True, slots=True)
class StateMeaning:
    phase: Phase
    trouble: Trouble
    words: str


_PENDING, _RUNNING, _ENDED = Phase.PENDING, Phase.RUNNING, Phase.ENDED

STATES: dict[str, StateMeaning] = {
    "PENDING": StateMeaning(_PENDING, Trouble.NONE, "waits in the queue"),
    "CONFIGURING": StateMeaning(_PENDING, Trouble.NONE, "its node is being started"),
    "REQUEUED": StateMeaning(_PENDING, Trouble.REQUEUED, "put back into the queue"),
    "REQUEUE_FED": StateMeaning(_PENDING, Trouble.REQUEUED, "put back into the queue of a federation"),
    "REQUEUE_HOLD": StateMeaning(_PENDING, Trouble.REQUEUED, "put back into the queue and held"),
    "SPECIAL_EXIT": StateMeaning(_PENDING, Trouble.REQUEUED, "put back into the queue and held (special exit)"),
    "RESV_DEL_HOLD": StateMeaning(_PENDING, Trouble.NONE, "held: its reservation was deleted"),
    "RUNNING": StateMeaning(_RUNNING, Trouble.NONE, "runs"),
    "SUSPENDED": StateMeaning(_RUNNING, Trouble.NONE, "is suspended in favour of another job"),
    "STOPPED": StateMeaning(_RUNNING, Trouble.NONE, "was stopped, and keeps its node"),
    "SIGNALING": StateMeaning(_RUNNING, Trouble.NONE, "is being signalled"),
    "RESIZING": StateMeaning(_RUNNING, Trouble.NONE, "is changing its size"),
    "STAGE_OUT": StateMeaning(_RUNNING, Trouble.NONE, "copies files from a burst buffer"),
    "COMPLETING": StateMeaning(_RUNNING, Trouble.NONE, "is ending"),
    "COMPLETED": StateMeaning(_ENDED, Trouble.NONE, "ended"),
    "FAILED": StateMeaning(_ENDED, Trouble.NONE, "ended with an error"),
    "LAUNCH_FAILED": StateMeaning(_ENDED, Trouble.UNSEEN, "could not be started by its node"),
    "TIMEOUT": StateMeaning(_ENDED, Trouble.TIME, "reached its time limit"),
    "DEADLINE": StateMeaning(_ENDED, Trouble.TIME, "reached its deadline"),
    "OUT_OF_MEMORY": StateMeaning(_ENDED, Trouble.MEMORY, "needed more memory than it asked for"),
    "NODE_FAIL": StateMeaning(_ENDED, Trouble.NODE, "its node failed"),
    "BOOT_FAIL": StateMeaning(_ENDED, Trouble.NODE, "its node could not be started"),
    "RECONFIG_FAIL": StateMeaning(_ENDED, Trouble.NODE, "its node could not be reconfigured"),
    "PREEMPTED": StateMeaning(_ENDED, Trouble.PREEMPTED, "had to give way to a job of higher priority"),
    "CANCELLED": StateMeaning(_ENDED, Trouble.CANCELLED, "was cancelled"),
    "REVOKED": StateMeaning(_ENDED, Trouble.CANCELLED, "was revoked: another cluster of the federation took it"),
}
"""Every state of a job. ``COMPLETING`` counts as running: processes may be left."""


def state_meaning(raw: str) -> StateMeaning:
    """The meaning of a state as ``squeue`` or ``sacct`` print it (``CANCELLED by 1000``, ``OUT_OF_ME+``)."""
    word = raw.strip().split(" ")[0].upper()
    found = STATES.get(word)
    if found is None and word.endswith("+"):
        found = next((meaning for name, meaning in STATES.items() if name.startswith(word[:-1])), None)
    return found or StateMeaning(Phase.UNKNOWN, Trouble.NONE, f"is in a state that crboost does not know ({raw})")


@dataclass(frozen=True, slots=True)
class ReasonMeaning:
    """``words`` may contain ``{partition}``, ``{what}`` (GPU, memory, ...) and ``{ahead}``. ``person``: it will not
    pass by itself. ``fields``: the resource fields that it is about."""

    words: str
    person: bool = False
    fields: tuple[str, ...] = ()


_NODE = ("cpus", "gpus", "gres", "memory_gb", "nodes", "constraint", "partition")

REASONS: dict[str, ReasonMeaning] = {
    "None": ReasonMeaning("waiting to be looked at by Slurm"),
    "Priority": ReasonMeaning("waiting for {what} in partition {partition}{ahead}"),
    "Resources": ReasonMeaning("waiting for {what} in partition {partition}{ahead}"),
    "Dependency": ReasonMeaning("held by its dependency"),
    "DependencyNeverSatisfied": ReasonMeaning("its dependency can never be met: cancel it", True),
    "JobHeldUser": ReasonMeaning("held in the queue by its owner: scontrol release lets it go on", True),
    "JobHeldAdmin": ReasonMeaning("held in the queue by an administrator", True),
    "JobHoldMaxRequeue": ReasonMeaning("held by Slurm after too many requeues: ask your administrator", True),
    "launch failed requeued held": ReasonMeaning("held by Slurm: its node could not start it", True),
    "BeginTime": ReasonMeaning("waiting for its start time (after a requeue about two minutes)"),
    "JobArrayTaskLimit": ReasonMeaning("the job's own limit of tasks at once"),
    "PartitionTimeLimit": ReasonMeaning(
        "asks for more time than partition {partition} allows", True, ("minutes", "partition")
    ),
    "PartitionNodeLimit": ReasonMeaning(
        "asks for more or fewer nodes than partition {partition} allows", True, ("nodes", "partition")
    ),
    "PartitionDown": ReasonMeaning("partition {partition} is down"),
    "PartitionInactive": ReasonMeaning("partition {partition} is switched off"),
    "PartitionConfig": ReasonMeaning("partition {partition} cannot give what is asked for", True, (*_NODE, "minutes")),
    "BadConstraints": ReasonMeaning("no node can give what is asked for", True, _NODE),
    "ReqNodeNotAvail": ReasonMeaning("the nodes that it needs are down, drained or reserved"),
    "NodeDown": ReasonMeaning("a node that it needs is down"),
    "Reservation": ReasonMeaning("waiting for a reservation"),
    "ReservationDeleted": ReasonMeaning("its reservation was deleted", True),
    "Licenses": ReasonMeaning("waiting for a licence"),
    "Cleaning": ReasonMeaning("its earlier run is still being cleaned up"),
    "Prolog": ReasonMeaning("its node is being prepared"),
    "InvalidAccount": ReasonMeaning("its account is not valid", True, ("account",)),
    "InvalidQOS": ReasonMeaning("its quality of service is not valid", True, ("qos",)),
    "AccountNotAllowed": ReasonMeaning("its account may not use partition {partition}", True, ("account", "partition")),
    "QOSNotAllowed": ReasonMeaning("its quality of service may not be used here", True, ("qos", "partition")),
    "FrontEndDown": ReasonMeaning("a front end is down"),
    "SystemFailure": ReasonMeaning("Slurm, its file system or its network failed"),
    "NonZeroExitCode": ReasonMeaning("ended with an error"),
    "RaisedSignal": ReasonMeaning("was ended by a signal"),
}

REASON_TEXTS: tuple[tuple[str, ReasonMeaning], ...] = (
    ("account not permitted to use this partition", REASONS["AccountNotAllowed"]),
    ("QOS not permitted to use this partition", REASONS["QOSNotAllowed"]),
    (
        "group not permitted to use this partition",
        ReasonMeaning("your group may not use partition {partition}", True, ("partition", "account")),
    ),
    (
        "Nodes required for job are DOWN, DRAINED or reserved",
        ReasonMeaning("the nodes that it needs are down, drained, or kept for jobs before it{ahead}"),
    ),
    ("MaxMemPerLimit", ReasonMeaning("asks for more memory than one job may have", True, ("memory_gb",))),
)
"""Reasons that Slurm tells in sentences, by what stands in them."""

_LIMITS = re.compile(r"(Assoc|QOS)(Max|Grp|Min)(\w*)")
_LIMIT_OF: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Submit", "jobs in the queue", ()),
    ("JobsLimit", "running jobs", ()),
    ("JobsPerUser", "running jobs", ()),
    ("JobsPerAccount", "running jobs", ()),
    ("GRES", "GPUs", ("gres", "gpus")),
    ("Cpu", "CPU cores", ("cpus",)),
    ("CPU", "CPU cores", ("cpus",)),
    ("Mem", "memory", ("memory_gb",)),
    ("Node", "nodes", ("nodes",)),
    ("Wall", "time", ("minutes",)),
    ("Run", "running time", ()),
    ("Billing", "billing units", ()),
    ("Energy", "energy", ()),
)


@cache
def reason_meaning(reason: str) -> ReasonMeaning:
    """The meaning of a reason for waiting as ``squeue`` prints it."""
    bare = reason.strip()
    if bare.startswith("(") and bare.endswith(")"):
        bare = bare[1:-1]
    found = REASONS.get(bare) or next((meaning for text, meaning in REASON_TEXTS if text in bare), None)
    found = found or REASONS.get(bare.split(",")[0].split(":")[0].split("(")[0].strip())
    if found is not None:
        return found
    match = _LIMITS.match(bare)
    if match is None:
        return ReasonMeaning(f"Slurm says: {bare}")
    whose = {"Assoc": "account", "QOS": "quality of service"}[match[1]]
    what, fields = next(((words, fields) for name, words, fields in _LIMIT_OF if name in match[3]), ("this", ()))
    per_job = "PerJob" in match[3] or match[2] == "Min"
    if per_job:
        return ReasonMeaning(f"asks for more {what} than one job of your {whose} may have ({bare})", True, fields)
    group = "your group's limit" if match[2] == "Grp" else "your own limit"
    return ReasonMeaning(f"{group} of {what} ({bare})")


def waiting_words(reason: str, *, partition: str, gpus: bool, ahead: int | None) -> str:
    """One sentence part for a task that waits: ``waiting for a GPU in partition gpu: 3 jobs before it``."""
    meaning = reason_meaning(reason)
    before = (
        "" if ahead is None else f": {ahead} job{'' if ahead == 1 else 's'} before it" if ahead else ": next in line"
    )
    what = "a GPU" if gpus else "free nodes"
    return meaning.words.format(partition=partition or "?", what=what, ahead=before)


class Refusal(Enum):
    """What kind of refusal ``sbatch`` gave."""

    LIMIT = "limit"
    """Not now: too many of our jobs are in the queue."""
    ARRAY = "array"
    """The array is too large."""
    FIELD = "field"
    """A value is wrong: it will be refused again."""


_NOT_NOW = re.compile(r"(Assoc|QOS)\w*Submit\w*Limit|MaxSubmitJob|[Jj]ob submit limit reached|MaxJobCount|QOSGrpSubmit")
_FIELDS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), fields)
    for pattern, fields in (
        (r"account or account/partition", ("account", "partition")),
        (r"invalid account|account.*not permitted", ("account",)),
        (r"invalid qos|qos.*not permitted|InvalidQOS", ("qos",)),
        (r"invalid partition|partition.*(not|in)valid|group not permitted to use this partition", ("partition",)),
        (r"invalid feature", ("constraint",)),
        (r"generic resource|gres", ("gres",)),
        (r"memory specification|MaxMemPer|MemPerJob", ("memory_gb",)),
        (r"time limit|--time|WallDuration|TimeLimit", ("minutes",)),
        (r"CPU count|processors|cpus-per-task|CpuPerJob", ("cpus",)),
        (r"node count|NodePerJob|too many nodes", ("nodes",)),
        (r"task count|ntasks", ("tasks",)),
        (r"node configuration is not available", _NODE),
    )
)
_ARRAY = re.compile(r"invalid job array specification", re.IGNORECASE)
_UNANSWERED = re.compile(
    r"timed out|Unable to contact|connect failure|Connection (refused|reset)|Zero Bytes|Transport endpoint|"
    r"Unexpected message|Communication|temporarily un(able|available)|Socket|Protocol authentication|munge|"
    r"Could not establish a configuration source|resolve_ctls|in backup mode|shutting down|Slurm backup controller",
    re.IGNORECASE,
)


def unanswered(text: str) -> bool:
    """Whether an error of a Slurm command means that the controller did not answer, so that nothing is known."""
    return bool(_UNANSWERED.search(text))


def refusal(text: str) -> tuple[Refusal, tuple[str, ...]]:
    """The kind of a refusal, and the resource fields that it is about."""
    if _ARRAY.search(text):
        return Refusal.ARRAY, ()
    if _NOT_NOW.search(text):
        return Refusal.LIMIT, ()
    return Refusal.FIELD, next((fields for pattern, fields in _FIELDS if pattern.search(text)), ())


def sentence(text: str) -> str:
    """What a Slurm command complained about, on one line, without its own name before it."""
    lines = [
        re.sub(
            r"^\s*(sbatch|squeue|scancel|scontrol|sacct): (error: |fatal: )?(Batch job submission failed: )?", "", line
        )
        for line in text.splitlines()
    ]
    return "; ".join(dict.fromkeys(line.strip() for line in lines if line.strip()))[:500]
