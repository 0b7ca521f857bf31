"""What RELION's own job types share: options, the command of a ``job.star``, its split over series, logs and tables.

The fields of such a type have the names of RELION's options. :meth:`RelionJob.unsplit_command` makes of all options of
a ``job.star`` the arguments that RELION itself would make of them. A task runs the same command on one series: only
``--i``, ``--o`` or ``--tn`` differ. ``--pipeline_control`` is never among them, because one series would end the whole
job; RELION adds it where it runs the command itself.

RELION ignores options that it does not know, with a warning: what people add is compared with its catalogue before.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from core.dataset.model import Acquisition
from core.errors import InputError, WorkFailed
from core.jobs._base import JobContext, P, Problem, Producer, SeriesContext, SeriesResult, TaskContext
from core.jobs._registry import job_type
from core.jobs._star import Row, TableJob, read_series
from core.jobs._warp import number_text
from core.jobs.fields import Group, JobParameters, Level, field_list
from core.tools import catalogue
from core.tools.command import Command

RELION_VERSION = "5.1"
PIXEL = "rlnTomoTiltSeriesPixelSize"


class RelionRun(JobParameters):
    """Fields that every type of RELION's has."""

    other_args: Annotated[str, Group("Running"), Level.ADVANCED] = ""
    """Additional arguments: further options of RELION's program, as on its command line, that have no field here."""


class RelionJob(TableJob[P]):
    """Base of the types that carry RELION's own label. The first slot is the job whose table they read."""

    tools = ("relion",)
    reads_tables = True
    gather_decisions = ("handedness",)
    program: ClassVar[str]
    """RELION's program; with several ranks it is the one of that name with ``_mpi``."""
    input_option: ClassVar[str]
    """The option of ``job.star`` that names the table of the job before."""
    written: ClassVar[frozenset[str]] = frozenset()
    """Options of the program that this type sets itself and that no field has as its flag."""

    def relion_options(self, job: JobContext[P], series: Sequence[SeriesContext[P]]) -> Mapping[str, str]:
        """As RELION's form would have them; where acquisition groups differ, those of the first series."""
        options = {
            info.name: option_text(value)
            for info in field_list(self.parameters)
            if (value := getattr(job.values, info.name)) != ""
        }
        if series:
            options.update(self.data_options(series[0].acquisition))
            options[self.input_option] = self.input_table(job, series[0])
        return options

    def data_options(self, acquisition: Acquisition) -> Mapping[str, str]:
        """Options that come from how the data were taken."""
        return {}

    def gather_series(self, job: JobContext[P], key: str, context: SeriesContext[P] | None) -> SeriesResult:
        assert context is not None
        try:
            return self.gather_one(job, context)
        except (InputError, WorkFailed) as error:
            return SeriesResult(problem=str(error))

    def gather_one(self, job: JobContext[P], context: SeriesContext[P]) -> SeriesResult:
        """As :meth:`gather_series`. What it raises as :class:`InputError` or :class:`WorkFailed` is the problem."""
        raise NotImplementedError

    def unsplit_command(self, options: Mapping[str, str], folder: str) -> tuple[str, ...]:
        """The command that RELION would make of these options (all of a ``job.star``) for the job in ``folder``
        (``Tomograms/job006/``), but for ``--pipeline_control``."""
        raise NotImplementedError

    def task_options(self, task: TaskContext[P], context: SeriesContext[P]) -> dict[str, str]:
        """All options that matter to the command, with the series' own values."""
        texts = {info.name: "" for info in field_list(self.parameters) if info.kind == "text"}
        own = self.relion_options(replace(task.job, values=context.values), [context])
        return {**texts, **own, "nr_mpi": str(task.ranks), "nr_threads": str(task.cpus)}

    def task_command(self, task: TaskContext[P], argv: tuple[str, ...], *, gpu: bool = False) -> Command:
        return Command("relion", argv, cwd=str(task.job.project), gpu=gpu, mpi=argv[0].endswith("_mpi"))

    def producer(self, context: SeriesContext[P]) -> Producer:
        """The job before. Raises :class:`InputError` where the input is not connected."""
        slot = self.slots[0].name
        found = context.inputs.get(slot)
        if found is None:
            raise InputError(f"Input {slot} of {context.series.id} is not connected.")
        return found

    def input_table(self, job: JobContext[P], context: SeriesContext[P]) -> str:
        """Path of the producer's global table, relative to the project."""
        producer = self.producer(context)
        return job.relative(producer.folder / job_type(producer.job_type).main_output[0])

    def input_rows(self, context: SeriesContext[P]) -> list[Row]:
        """The series' own table, as the job before wrote it."""
        return read_series(self.producer(context).folder, context.series.id)

    def table_row(self, job: JobContext[P], context: SeriesContext[P]) -> Row:
        """The series' row in the job's table, as it is to be where all goes as it was asked for."""
        raise NotImplementedError

    def checks(self, values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
        written = {info.flag for info in field_list(self.parameters)} | self.written | _WRITTEN
        return argument_problems(self.program, str(values["other_args"]), written)

    def progress(self, log_tail: str) -> float | None:
        return relion_progress(log_tail)

    def cause(self, out_tail: str, err_tail: str) -> str:
        return relion_cause(out_tail, err_tail)


def option_text(value: bool | int | float | str) -> str:
    """A value as ``job.star`` has it: Yes and No, numbers with a decimal point, texts as they are."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return value if isinstance(value, str) else number_text(value)


def is_yes(options: Mapping[str, str], name: str) -> bool:
    return options[name] == "Yes"


def program_name(program: str, options: Mapping[str, str]) -> str:
    return f"{program}_mpi" if int(options["nr_mpi"]) > 1 else program


def folder_text(job: JobContext[Any], folder: Path) -> str:
    """A folder as RELION's ``--o`` has it: relative to the project, with a slash at its end."""
    return job.relative(folder) + "/"


# Additional arguments

_WRITTEN = frozenset(("--i", "--t", "--o", "--tn", "--j", "--pipeline_control", "--only_do_unfinished"))
"""Options that the program itself sets, or that would let it skip what is to be made again."""

_SHELL = re.compile(r"[|&;<>$`\\(){}*?!#~\n\r\0]")
_NO_PARTNER = "Additional arguments have a quotation mark without its partner."


def split_arguments(text: str) -> list[str]:
    """The words of ``other_args``. Raises :class:`InputError` where a quotation mark has no partner."""
    try:
        return shlex.split(text)
    except ValueError:
        raise InputError(_NO_PARTNER, "other_args") from None


def shell_problems(field: str, text: str) -> list[Problem]:
    """RELION puts some of its options into lines for a shell."""
    if not _SHELL.search(text):
        return []
    sentence = f"{field} is options and values only: no shell syntax such as $ | ; > * or brackets."
    return [Problem("error", (field,), sentence)]


def argument_problems(program: str, text: str, written: Iterable[str]) -> list[Problem]:
    """What is wrong with ``other_args``. ``written``: options that the program gets already."""
    sentences = _argument_sentences(program, text, written)
    return shell_problems("other_args", text) or [Problem("error", ("other_args",), one) for one in sentences]


def _argument_sentences(program: str, text: str, written: Iterable[str]) -> list[str]:
    if not text.strip():
        return []
    try:
        words = split_arguments(text)
    except InputError:
        return [_NO_PARTNER]
    taken = set(written)
    sentences = [
        f"{word} is set by the program or by a field of this form: take it out of the additional arguments."
        for word in words
        if word in taken
    ]
    known = catalogue.relion()
    if known is not None:
        sentences += known.check_options(known.commands[program], words, RELION_VERSION, complete=False)
    return sentences


# Logs

_BAR = re.compile(r'sec (\.*)~~\(,_,">')
_BAR_LENGTH = 60


def relion_progress(log_tail: str) -> float | None:
    """Fraction done of the bar that runs now: a mouse that comes nearer, with at most 60 dots behind it."""
    bars = _BAR.findall(log_tail)
    return len(bars[-1]) / _BAR_LENGTH if bars else None


_ARGUMENT = re.compile(r"^ERROR: (Argument .+)$", re.MULTILINE)
_ERROR = re.compile(r"^ERROR:[ \t]*\n?(?P<cause>[^\n]+(?:\n(?!===|in: |ERROR:)[^\n]+)*)", re.MULTILINE)
_CRASH = re.compile(
    r"(?P<cause>terminate called after throwing .+|.*std::bad_alloc.*|.*[Ss]egmentation fault.*"
    r"|MPI_ABORT was invoked.*)"
)


def relion_cause(out: str, err: str) -> str:
    """RELION's own reason for a failure, as one line; "" where none is found."""
    text = (err + "\n" + out).replace("\r", "\n")
    if arguments := _ARGUMENT.findall(text):
        return "; ".join(dict.fromkeys(arguments))[:300]
    for pattern in (_ERROR, _CRASH):
        if found := list(pattern.finditer(text)):
            return " ".join(found[-1]["cause"].split()).removeprefix("ERROR: ")[:300]
    return ""


# Tables


def tilt_series_pixel_angstrom(context: SeriesContext[Any]) -> float:
    """Pixel size of the averages: the movies' one, binned by the motion correction on the way.

    Raises :class:`InputError` where the movies' is not known.
    """
    raw = context.acquisition.pixel_size_angstrom.value
    if raw is None:
        group = context.acquisition.group
        raise InputError(f"The pixel size of acquisition group {group!r} is not known: enter it.", "acquisition")
    producer = context.ancestor("averages")
    values = context.values if producer is None else producer.values
    return raw * float(getattr(values, "bin_factor", 1.0))


def moved_rows(rows: Iterable[Row], old: str, new: str) -> list[Row]:
    """Rows with ``new`` in the place of ``old`` at the beginning of every path."""
    return [
        {
            label: new + value[len(old) :] if isinstance(value, str) and value.startswith(old) else value
            for label, value in row.items()
        }
        for row in rows
    ]


def number(row: Row, label: str) -> float:
    """Raises :class:`WorkFailed` where a table has no such number."""
    try:
        return float(row[label])
    except (KeyError, ValueError):
        raise WorkFailed(f"RELION's table has no usable {label}.") from None
