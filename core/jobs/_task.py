"""The unit of work: what a job type asks to be done for one tilt series or one cohort.

Everything here is data. ``core.cluster.script`` renders it into the one bash script of an attempt, in this order:
inputs are looked for, stage operations, commands, checks of the products.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from core.tools.command import Command

COHORT = "@"
"""First character of the key of a cohort task (``@axis_batch1``, ``@all``); other keys are ids of tilt series."""


@dataclass(frozen=True, slots=True)
class MakeFolder:
    path: str


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link at ``path`` to ``target`` (absolute). Replaces an older link, never a file."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy a file, or with ``pattern`` (``*.xml``) all matching files of folder ``source`` into folder ``path``."""

    path: str
    source: str
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class MoveAside:
    """Move what an earlier attempt left at ``path`` (file or folder) into the task's ``aside/<attempt>/``."""

    path: str


@dataclass(frozen=True, slots=True)
class WriteText:
    path: str
    text: str


StageOperation = MakeFolder | Link | Copy | MoveAside | WriteText


class Check(Enum):
    """What bash can check of a product beside that it is there and newer than the attempt's own stamp."""

    PRESENT = "present"  # not empty
    MRC = "mrc"  # exactly as long as its header says (modes 0, 1, 2, 6, 12; extended header counted), or longer
    XML = "xml"  # ends with a closing root tag
    WORDS = "words"  # contains every one of Product.words
    ABSENT = "absent"  # must not be there
    ANY_AGE = "any_age"  # there and not empty, however old


@dataclass(frozen=True, slots=True)
class Product:
    """Literal absolute paths that must be whole after the commands. ``at_least``: how many of them, None for all."""

    paths: tuple[str, ...]
    check: Check = Check.PRESENT
    words: tuple[str, ...] = ()
    at_least: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What one attempt does. All paths are absolute.

    ``inputs`` are files that must be visible before anything starts (looked for up to 90 s, then *blocked*).
    ``internal`` work has no commands: the engine's worker calls the job type's ``run_internal``.
    """

    stage: tuple[StageOperation, ...] = ()
    commands: tuple[Command, ...] = ()
    products: tuple[Product, ...] = ()
    inputs: tuple[str, ...] = ()
    internal: bool = False


@dataclass(frozen=True, slots=True)
class TaskDeclaration:
    """One task of a job instance.

    ``needs``: other tasks of the *same* instance that must be settled first (the axis calibration). Needs on
    other instances follow from the input slots. ``cohort``: the series that a cohort task works on. ``at_least``: how
    many of them must be done upstream before it can start.
    """

    series: str
    needs: tuple[str, ...] = ()
    cohort: tuple[str, ...] = ()
    at_least: int = 1
