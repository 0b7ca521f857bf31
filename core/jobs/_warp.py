"""What all WarpTools steps share: fields, command lines, progress, and the reason for a failure.

WarpTools' traps are answered here once. It exits with 0 after refusing its command line (``alive_marker``), reads
``10,5`` as 105 and no exponents (:func:`number_text`), takes a flag with any value as true (flags are presence-only),
destroys runs that share a queue folder (``--task_dir`` is new for every attempt and command), and never ends after four
items failed on one host (``watch_folders``).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from core.dataset.model import Acquisition, Sourced
from core.errors import InputError
from core.jobs._base import JobContext, Problem, SeriesContext, TaskContext
from core.jobs.fields import Flag, Group, JobParameters, Level, NoResult
from core.tools import catalogue
from core.tools.command import Command

T = TypeVar("T")
OptionValue = bool | int | float | str | Path | Sequence[int | float | str | Path] | None

DISTRIBUTED = frozenset(
    (
        "fs_motion_and_ctf",
        "fs_motion",
        "fs_ctf",
        "fs_export_micrographs",
        "ts_stack",
        "ts_aretomo",
        "ts_aretomo3",
        "ts_etomo_patches",
        "ts_etomo_fiducials",
        "ts_autolevel",
        "ts_ctf",
        "ts_reconstruct",
    )
)
"""Commands that work their items off through a queue and GPU workers (in head with ``--task_dir``)."""

COMMON_MANAGED = frozenset(
    (
        "--settings",
        "--input_data",
        "--input_data_recursive",
        "--input_processing",
        "--output_processing",
        "--input_norawdata",
        "--strict",
        "--device_list",
        "--perdevice",
        "--task_dir",
        "--external_provisioner",
        "--cluster_script",
        "--cluster_config",
        "--pool_size",
        "--cluster_var",
        "--workers",
    )
)
"""Options that the program itself sets, or that would take the run out of its hands."""

MANAGED: dict[str, frozenset[str]] = {
    verb: COMMON_MANAGED | frozenset(options.split())
    for verb, options in {
        "fs_motion_and_ctf": "--m_range_min --m_range_max --m_bfac --m_grid --c_window --c_range_min --c_range_max "
        "--c_defocus_min --c_defocus_max --c_voltage --c_cs --c_amplitude --c_fit_phase --c_use_sum --c_grid "
        "--out_averages --out_average_halves --out_thumbnails --out_skip_first --out_skip_last",
        "ts_import": "--mdocs --pattern --exclude_pattern --frameseries --tilt_exposure --dont_invert --override_axis "
        "--auto_zero --tilt_offset --max_tilt --min_intensity --max_mask --min_ntilts --output -o",
        "ts_aretomo": "--angpix --mask --min_fov --axis --axis_iter --axis_batch --alignz --patches "
        "--delete_intermediate --thumbnails --exe",
        "ts_aretomo3": "--angpix --mask --min_fov --axis --axis_iter --axis_batch --alignz --patches "
        "--delete_intermediate --thumbnails --exe",
        "ts_etomo_patches": "--angpix --mask --min_fov --initial_axis --do_axis_search --patch_size "
        "--delete_intermediate --thumbnails",
        "ts_etomo_fiducials": "--angpix --mask --min_fov --initial_axis --do_axis_search --fiducial_size "
        "--n_beads_target --delete_intermediate --thumbnails",
        "ts_autolevel": "--angpix --patch_size",
        "ts_ctf": "--window --range_low --range_high --defocus_min --defocus_max --voltage --cs --amplitude "
        "--fit_phase --auto_hand",
        "ts_reconstruct": "--angpix --dont_invert --dont_normalize --dont_mask --dont_overwrite --halfmap_frames "
        "--halfmap_tilts --deconv --deconv_strength --deconv_falloff --deconv_highpass --keep_full_voxels "
        "--subvolume_size --subvolume_padding",
    }.items()
}
"""Per command: what extra arguments may not contain, because fields or the program set it."""

_SHELL = re.compile(r"[|&;<>$`\\(){}*?!#~\n\r\0]")


class WarpRun(JobParameters):
    """Fields that every WarpTools step has."""

    processes_per_gpu: Annotated[
        int, Group("Running"), Level.ADVANCED, Flag("--perdevice"), NoResult(), Field(ge=1, le=8)
    ] = 1
    """Worker processes on each GPU: 1 for 16 GB of GPU memory, up to 4 for 80 GB."""
    extra_arguments: Annotated[str, Group("Running"), Level.ADVANCED] = ""
    """Further WarpTools options, as on its command line, that have no field here."""


def number_text(value: int | float) -> str:
    """A number as WarpTools' parser takes it: decimal point, no exponent, no superfluous zeros (10.0 -> ``10``)."""
    if isinstance(value, int):
        return str(value)
    text = format(Decimal(repr(value)), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def dimensions_text(size: Sequence[int]) -> str:
    """``4096x4096x2048``."""
    return "x".join(str(side) for side in size)


def grid_size(text: str) -> tuple[int, int, int] | None:
    """``2x2x1`` -> (2, 2, 1); None where it is not three numbers above 0 with a lower-case x between them."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def tilt_list_text(paths: Iterable[Path | str]) -> str:
    """Content of a ``.txt`` for ``--input_data``: absolute paths, one per line, nothing else.

    WarpTools takes every line as it stands, blank ones too. Raises :class:`InputError` for a path it would misread.
    """
    lines = [str(path) for path in paths]
    for line in lines:
        if not line.startswith("/") or line != line.strip() or any(character in line for character in "\n\r"):
            raise InputError(
                f"WarpTools cannot read the path {line!r}: rename it without blanks at its end or line breaks."
            )
    return "\n".join(lines) + "\n"


def movie_root(name: str) -> str:
    """What WarpTools calls a movie's products: the file name without its last extension."""
    return name.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def needed(value: Sourced[T], what: str, group: str) -> T:
    """The value of an acquisition field; raises :class:`InputError` where nobody knows it."""
    if value.value is None:
        raise InputError(f"The {what} of acquisition group {group!r} is not known: enter it.", "acquisition")
    return value.value


def movie_pattern(acquisition: Acquisition, movies: Sequence[str] = ()) -> str:
    """``*.eer``: exactly so for EER, because WarpTools keeps the fractions only with that pattern."""
    extension = (acquisition.movie_extension.value or "").lstrip(".")
    if not extension and movies:
        extension = movies[0].rsplit(".", 1)[-1]
    if not extension:
        raise InputError(f"The kind of movies of acquisition group {acquisition.group!r} is not known.", "acquisition")
    return "*.eer" if extension.lower() == "eer" else f"*.{extension}"


def settings_command(
    job: JobContext[Any],
    task: TaskContext[Any],
    *,
    output: Path,
    folder_data: Path,
    extension: str,
    folder_processing: Path,
    acquisition: Acquisition,
    tomo_dimensions_px: Sequence[int] | None = None,
    extra: Sequence[tuple[str, OptionValue]] = (),
) -> Command:
    """``WarpTools create_settings`` with absolute paths. ``extension`` is a pattern (``*.tomostar``).

    ``--exposure`` (e/Å² per tilt) is always given, because its default is 1. EER frames per fraction N become
    ``--eer_ngroups -N``: a positive number would be a number of groups.
    """
    group = acquisition.group
    options: list[tuple[str, OptionValue]] = [
        ("--output", output),
        ("--folder_data", folder_data),
        ("--extension", extension),
        ("--folder_processing", folder_processing),
        ("--angpix", needed(acquisition.pixel_size_angstrom, "pixel size", group)),
        ("--exposure", needed(acquisition.dose_per_tilt_e_per_a2, "dose per tilt", group)),
    ]
    if extension == "*.eer":
        frames = needed(acquisition.eer_frames_per_fraction, "number of EER frames per fraction", group)
        if frames < 1:
            raise InputError(f"Acquisition group {group!r} needs at least 1 EER frame per fraction.", "acquisition")
        options.append(("--eer_ngroups", -frames))
    if acquisition.gain_path.value:
        options += [
            ("--gain_path", _absolute(acquisition.gain_path.value, "gain reference")),
            ("--gain_flip_x", bool(acquisition.gain_flip_x.value)),
            ("--gain_flip_y", bool(acquisition.gain_flip_y.value)),
            ("--gain_transpose", bool(acquisition.gain_transpose.value)),
        ]
    if acquisition.defects_path.value:
        options.append(("--defects_path", _absolute(acquisition.defects_path.value, "defect file")))
    if tomo_dimensions_px is not None:
        options.append(("--tomo_dimensions", dimensions_text(tomo_dimensions_px)))
    return warp_command(job, task, "create_settings", [*options, *extra], gpu=False)


def warp_command(
    job: JobContext[Any],
    task: TaskContext[Any],
    verb: str,
    options: Sequence[tuple[str, OptionValue]],
    *,
    gpu: bool,
    extra: str = "",
) -> Command:
    """``WarpTools <verb>`` with these options, in the project folder.

    True is a flag, False, None and "" leave the option out, a sequence is a list. Distributed commands also get
    ``--perdevice`` and, in head, ``--task_dir <job>/warp_tasks/<key>/<attempt>/<verb>``. ``--device_list`` is never
    given: the submitter hides other tasks' GPUs (CUDA_VISIBLE_DEVICES), WarpTools then takes all that it sees, and a
    node without a GPU ends with a message, where with the option its workers crash for ever.
    ``extra`` is the text of ``extra_arguments``. Raises :class:`InputError` where that is not allowed.
    """
    pairs = list(options)
    watch: tuple[str, ...] = ()
    if verb in DISTRIBUTED:
        values = task.series.values if task.series is not None else job.values
        if isinstance(values, WarpRun):
            pairs.append(("--perdevice", values.processes_per_gpu))
        if job.warp_version == "head":
            queue = job.folder / "warp_tasks" / task.key / str(task.attempt) / verb
            pairs.append(("--task_dir", queue))
            watch = (str(queue / "blacklisted_nodes"), str(queue / "sick"))
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError(f"an option of WarpTools {verb} is given twice: {names}")
    words = [word for name, value in pairs for word in _words(name, value)]
    if extra.strip():
        problems = extra_argument_problems(verb, extra, names, job.warp_version)
        if problems:
            raise InputError(problems[0].sentence, "extra_arguments")
        words += shlex.split(extra)
    return Command(
        tool="warp",
        argv=("WarpTools", verb, *words),
        cwd=str(job.project),
        binds=data_binds([task.series] if task.series is not None else task.cohort),
        gpu=gpu,
        alive_marker=f"Running command {verb} with:",
        watch_folders=watch,
    )


def data_binds(contexts: Iterable[SeriesContext[Any]]) -> tuple[str, ...]:
    """Folders outside the project that WarpTools reads: raw movies behind their links, gain reference, defect file."""
    folders: set[str] = set()
    for context in contexts:
        paths = [
            *context.series.tilts.source,
            context.acquisition.gain_path.value,
            context.acquisition.defects_path.value,
        ]
        folders.update(str(Path(path).parent) for path in paths if path)
    return tuple(sorted(folders))


def _words(name: str, value: OptionValue) -> list[str]:
    if value is None or value is False or value == "":
        return []
    if value is True:
        return [name]
    if isinstance(value, (list, tuple)):
        words = [_word(item) for item in value]
        if not words:
            return []
        if any(_needs_equals(word) or not word for word in words):
            raise InputError(
                f"WarpTools cannot read a list with a value that begins with '-' ({name} {' '.join(words)})."
            )
        return [name, *words]
    assert isinstance(value, (int, float, str, Path))
    word = _word(value)
    return [f"{name}={word}"] if _needs_equals(word) else [name, word]


def _word(value: int | float | str | Path) -> str:
    return number_text(value) if isinstance(value, (int, float)) else str(value)


def _needs_equals(word: str) -> bool:
    return word.startswith("-") and not word[1:2].isdigit()


def _absolute(path: str, what: str) -> str:
    if not path.startswith("/"):
        raise InputError(f"The path of the {what} must be absolute: {path}", "acquisition")
    return path


def extra_argument_problems(
    verb: str, text: str, managed: Iterable[str] = (), version: str | None = None, *, field: str = "extra_arguments"
) -> list[Problem]:
    """What is wrong with the text of ``extra_arguments`` for that command and version (default: the site's).

    ``managed`` are further options that may not stand there, beside :data:`MANAGED` of the command.
    """

    def problem(sentence: str) -> Problem:
        return Problem("error", (field,), sentence)

    if not text.strip():
        return []
    if _SHELL.search(text):
        return [problem("Extra arguments are options and values only: no shell syntax such as $ | ; > * or brackets.")]
    try:
        words = shlex.split(text)
    except ValueError:
        return [problem("Extra arguments have a quotation mark without its partner.")]
    taken = MANAGED.get(verb, COMMON_MANAGED).union(managed)
    names = [word.partition("=")[0] for word in words if word.startswith("-")]
    problems = [
        problem(f"{name} is set by the program or by a field of this form: take it out of the extra arguments.")
        for name in names
        if name in taken
    ]
    known = catalogue.default()
    command = None if known is None else known.commands.get(verb)
    if known is None or command is None:
        if not words[0].startswith("-"):
            problems.append(problem(f"{words[0]!r} belongs to no option and would be ignored."))
        return problems
    version = version or catalogue.default_version()
    return problems + [problem(sentence) for sentence in known.check_options(command, words, version, complete=False)]


_PROGRESS = re.compile(r"(\d+)/(\d+)(?:, (\d+) failed)?, ((?:\d\d\.)?(?:\d\d:)?\d\d:\d\d) remaining")


def warp_progress(log_tail: str) -> float | None:
    """Fraction done of the distribution that runs now. A command that distributes again begins at 0 again."""
    last = _last(_PROGRESS, log_tail)
    counted = last.end() if last else 0
    finished, begun = log_tail.rfind("Finished processing in"), log_tail.rfind("Distributing ")
    if begun > max(counted, finished):
        return 0.0
    if finished >= counted and finished >= 0:
        return 1.0
    if last is None or int(last[2]) == 0:
        return None
    return min(1.0, int(last[1]) / int(last[2]))


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    matches = list(pattern.finditer(text))
    return matches[-1] if matches else None


_CAUSES = (
    # The worker's own error first: what follows it in the log is only its consequence.
    re.compile(r"\[pool\]\s{2,}error: (?P<cause>.+)"),
    re.compile(r"Exception details:\s*(?P<cause>\S.*)"),
    re.compile(r"(?P<cause>Failed to parse [^:\n]+: .+)"),
    re.compile(
        r"(?P<cause>No devices found or specified.*|CUDA (?:error|failure).*|.*out of memory.*"
        r"|Another manager is already using queue dir.*)",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?P<cause>Option '[^'\n]*' (?:is unknown|is defined multiple times|is defined with a bad format"
        r"|has no value)\.?.*|Required option '[^\n]*' is missing\.?|Verb '[^'\n]*' is not recognized\.?"
        r"|No verb selected\.?"
        r"|Token '[^'\n]*' is not recognized\.?|.*Equals.* sign with no value.*)"
    ),
    re.compile(r"(?P<cause>File not found: .+)"),
    re.compile(r"(?P<cause>(?:ERROR|Error): .+)"),
    re.compile(r"Unhandled exception\. (?:[\w.]+: )?(?P<cause>.+)"),
    re.compile(r"(?P<cause>An error occurred: .+)"),
    re.compile(r"\[pool\] (?P<cause>task \S+ (?:crashed|failed) on .+)"),
    re.compile(r"(?P<cause>Failed to process .+)"),
    re.compile(r"(?P<cause>No images left.*)"),
)


def warp_cause(out: str, err: str) -> str:
    """WarpTools' (or AreTomo's, IMOD's) own reason for a failure, as one line; "" where none is found."""
    text = (err + "\n" + out).replace("\r", "\n")
    for pattern in _CAUSES:
        found = _last(pattern, text)
        if found is not None:
            return " ".join(found["cause"].split())[:300]
    return ""
