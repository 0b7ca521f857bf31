"""What the results show, read in a thread: numbers of a job's series, numbers of a series' tilts, and its pictures.

Everything is frozen, so that a screen may draw it at any time. Only what gather has stored is read, and for pictures
the STAR file of the series.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from core.errors import CrboostError
from core.jobs._task import COHORT
from core.project.layout import ProjectPaths

if TYPE_CHECKING:
    from core.engine.status import JobStatus, Status
    from core.quality.slices import Slab

OUTLIER_MADS = 3.5
"""Median absolute deviations, scaled to a standard deviation, from which on a value is marked."""
LEAST_FOR_OUTLIERS = 5

_UNITS = (
    ("_angstrom_per_frame", "Å/frame"), ("_e_per_a2", "e/Å²"), ("_angstrom", "Å"), ("_um", "µm"), ("_nm", "nm"),
    ("_deg", "°"), ("_px", "px"),
)  # fmt: skip
_TITLES = {
    "ctf_resolution": "CTF fit", "largest_shift": "largest shift", "tilt_axis_departure": "axis off by",
    "dose_per_fraction": "dose/fraction", "handedness_correlation": "handedness", "tomogram_pixel": "pixel",
    "tilt_angle": "RELION's tilt",
    "tomogram_size_x": "size x", "tomogram_size_y": "size y", "tomogram_size_z": "size z",
}  # fmt: skip
_ANGLES = ("angle_deg", "tilt_deg", "tilt_angle_deg")
"""What gather calls a tilt's angle, the nominal one first."""
_PICTURE_LABELS = (("rlnMicrographName", "average"), ("rlnCtfImage", "power spectrum"))
_TOMOGRAM = "rlnTomoReconstructedTomogram"


@dataclass(frozen=True, slots=True)
class Column:
    """One quantity over all rows. ``digits``: decimals; ``odd``: rows that depart from the others."""

    name: str
    title: str
    unit: str
    values: tuple[float | None, ...]
    digits: int
    odd: frozenset[int] = frozenset()

    def text(self, value: float | None) -> str:
        return "–" if value is None else f"{value:.{self.digits}f}"

    def summary(self) -> tuple[str, str, str]:
        """Median, minimum and maximum."""
        known = [value for value in self.values if value is not None]
        if not known:
            return ("–", "–", "–")
        return self.text(median(known)), self.text(min(known)), self.text(max(known))


@dataclass(frozen=True, slots=True)
class Table:
    """``label`` heads the names of the rows. ``keys`` are the rows' ids; ``x`` where each stands in a plot."""

    label: str
    label_unit: str
    keys: tuple[str, ...]
    names: tuple[str, ...]
    columns: tuple[Column, ...]
    x: tuple[float, ...]
    x_title: str
    x_unit: str
    joined: bool
    """Whether a plot joins its points."""


@dataclass(frozen=True, slots=True)
class PictureFile:
    title: str
    path: str


@dataclass(frozen=True, slots=True)
class Results:
    """Of a job, or of one series in it (``key``). ``pictures``: of the series as a whole; ``row_pictures``: of each
    row. ``facts`` are a series' numbers in words. ``empty`` says why there is nothing."""

    project: str
    rehearsal: bool
    job: str
    title: str
    key: str
    name: str
    table: Table | None
    facts: str = ""
    notes: tuple[str, ...] = ()
    pictures: tuple[PictureFile, ...] = ()
    row_pictures: tuple[tuple[PictureFile, ...], ...] = ()
    start: int = 0
    """The row where the cursor begins: the tilt nearest to 0."""
    empty: str = ""
    row_notes: tuple[str, ...] = ()
    """What gather has noted of each series of a job."""


def stamp(root: Path, job: str) -> tuple[float, ...]:
    """Changes when there is something new to read."""
    paths = ProjectPaths(root)
    return tuple(_changed(path) for path in (paths.status, paths.gathered / f"{job}.jsonl"))


def read_results(root: Path, job_id: str, key: str | None) -> Results:
    """Raises :class:`CrboostError` where project or job are not there."""
    from core.engine.reading import load_status

    status = load_status(root)
    job = status.job(job_id)
    return _of_series(root, status, job, key) if key else _of_job(status, job)


def read_pictures(root: Path, job_id: str, key: str) -> tuple[PictureFile, ...]:
    """The tomograms of one series, as gather stored them."""
    return _tomograms(root, _stored(root, job_id, key).get("row") or {})


def make_slabs(
    path: str, columns: int, rows: int, cell: tuple[int, int], form: str, stop: Callable[[], bool]
) -> list[Slab]:
    """The slabs of a file, made by a process of their own. Raises :class:`CrboostError`; a stopped one gives []."""
    from core.quality.slices import Request, from_json

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crboost" / "slices"
    request = Request(path, columns, rows, *cell, form, str(cache))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "core.quality.slices"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    question: bytes | None = json.dumps(asdict(request)).encode()
    while True:
        try:
            answer, _ = process.communicate(question, timeout=0.1)
            return from_json(answer)
        except subprocess.TimeoutExpired:
            question = None
            if stop():
                process.kill()
                process.communicate()
                return []


def quantity(name: str) -> tuple[str, str]:
    """Title and unit of a quantity: ``motion_angstrom_per_frame`` is ``motion``, ``Å/frame``."""
    for ending, unit in _UNITS:
        if name.endswith(ending):
            base = name.removesuffix(ending)
            return _TITLES.get(base, base.replace("_", " ")), unit
    return _TITLES.get(name, name.replace("_", " ")), ""


def outliers(values: Sequence[float | None], least: float = 0.0) -> frozenset[int]:
    """Indices of values that are far from the median, measured by the median of all departures. ``least``: what a
    person would see as a difference."""
    known = [value for value in values if value is not None]
    if len(known) < LEAST_FOR_OUTLIERS:
        return frozenset()
    middle = median(known)
    spread = 1.4826 * median(abs(value - middle) for value in known)
    limit = max(OUTLIER_MADS * spread, least)
    return frozenset(index for index, value in enumerate(values) if value is not None and abs(value - middle) > limit)


def column(name: str, values: Sequence[float | None], *, mark: bool) -> Column:
    title, unit = quantity(name)
    digits = _digits(values)
    return Column(name, title, unit, tuple(values), digits, outliers(values, 10.0**-digits) if mark else frozenset())


def _digits(values: Sequence[float | None]) -> int:
    """Decimals that show three figures of the largest value; none where all are whole numbers."""
    known = [abs(value) for value in values if value is not None]
    if all(value == int(value) for value in known):
        return 0
    largest = max(known)
    return max(0, min(4, 2 - math.floor(math.log10(largest)))) if largest > 0 else 0


def _of_job(status: Status, job: JobStatus) -> Results:
    names = status.names if len(status.names) == len(status.series) else status.series
    known = [(key, name) for key, name in zip(status.series, names, strict=True) if key in job.numbers]
    # A cohort's own numbers (an axis for each of its series) are shown when it is opened.
    found = list(dict.fromkeys(quantity for key, _ in known for quantity in job.numbers[key]))
    cohorts = [(key, key.removeprefix(COHORT).replace("_", " ")) for key in job.cohorts if key in job.numbers]
    rows = known + cohorts
    total = f"{len(known)} of {len(status.series)} series"
    table = Table(
        "tilt series",
        "",
        tuple(key for key, _ in rows),
        tuple(name for _, name in rows),
        tuple(column(name, [job.numbers[key].get(name) for key, _ in rows], mark=True) for name in found),
        tuple(float(index + 1) for index in range(len(rows))),
        "tilt series",
        "",
        False,
    )
    empty = (
        ""
        if (rows and found) or cohorts
        else f"{job.title} has no numbers yet: they come with its first finished series."
    )
    notes = tuple(" ".join(job.notes.get(key, ())) for key, _ in rows)
    return Results(status.name, status.rehearsal, job.id, job.title, "", total, table, row_notes=notes, empty=empty)


def _of_series(root: Path, status: Status, job: JobStatus, key: str) -> Results:
    stored = _stored(root, job.id, key)
    names = dict(zip(status.series, status.names, strict=False))
    name = names.get(key) or key.removeprefix(COHORT).replace("_", " ")
    numbers: dict[str, float] = stored.get("numbers") or job.numbers.get(key, {})
    tilts: dict[str, list[float | None]] = stored.get("tilts") or {}
    tomograms = _tomograms(root, stored.get("row") or {})
    notes = tuple(filter(None, [str(stored.get("problem") or ""), *map(str, stored.get("notes") or ())]))
    facts = "  ".join(_fact(*item) for item in numbers.items()) if not key.startswith(COHORT) else ""
    table: Table | None = None
    start, row_pictures = 0, tuple[tuple[PictureFile, ...], ...]()
    if any(tilts.values()):
        angles = _angles(root, status, key, tilts)
        table, order = _tilt_table(tilts, angles)
        if angles is not None:
            start = min(range(len(order)), key=lambda place: abs(angles[order[place]] or 0.0))
        if not tomograms:
            row_pictures = _tilt_pictures(root, job, key, angles, order)
    elif numbers:
        table = _number_table(numbers)
    empty = "" if table or tomograms else _why_nothing(status, job, key, name)
    return Results(
        status.name, status.rehearsal, job.id, job.title, key, name, table, facts, notes, tomograms, row_pictures,
        start, empty,
    )  # fmt: skip


def _fact(name: str, value: float) -> str:
    one = column(name, [value], mark=False)
    return f"{one.title} {one.text(value)}" + (one.unit if one.unit == "°" else f" {one.unit}" if one.unit else "")


def _why_nothing(status: Status, job: JobStatus, key: str, name: str) -> str:
    from core.engine.states import MEANING, TaskState
    from core.engine.status import position

    index = position(status, job, key)
    if index is None:
        return f"{job.title} has no task for {name}."
    state = job.states[index] if index < len(job.states) else TaskState.WAITING.value
    if state in (TaskState.DONE.value, TaskState.EMPTY.value):
        return f"{job.title} of {name} is done; its results are being read." if key not in job.gathered else (
            f"{job.title} has no numbers of {name}."
        )  # fmt: skip
    meaning = MEANING[TaskState(state)].split(" (")[0] if state in {each.value for each in TaskState} else state
    return f"{job.title} of {name} has no results yet: {meaning}."


def _tilt_table(
    tilts: dict[str, list[float | None]], angles: list[float | None] | None
) -> tuple[Table, tuple[int, ...]]:
    """Rows by angle, and which tilt (in acquisition order) each is."""
    number = max(len(values) for values in tilts.values())
    order = tuple(range(number))
    if angles is not None:
        order = tuple(sorted(order, key=lambda index: (angles[index] is None, angles[index] or 0.0, index)))
    shown = [(name, values) for name, values in tilts.items() if not _is_label(name, values, angles)]
    shown.sort(key=lambda item: item[0] in _ANGLES)  # RELION's angle tells least in a plot against the stage's
    columns = [column(name, [values[index] for index in order], mark=False) for name, values in shown]
    if angles is not None:
        taken = Column("", "taken", "", tuple(float(index + 1) for index in order), 0)
        columns.append(taken)
        names = tuple("–" if angles[index] is None else _angle_text(angles[index] or 0.0) for index in order)
        x = tuple(angles[index] if angles[index] is not None else math.nan for index in order)
        label, unit, x_title = "tilt", "°", "tilt angle"
    else:
        names, x = tuple(str(index + 1) for index in order), tuple(float(index + 1) for index in order)
        label, unit, x_title = "tilt", "", "tilt, as taken"
    keys = tuple(str(index) for index in order)
    return Table(label, unit, keys, names, tuple(columns), tuple(x), x_title, unit, True), order  # type: ignore[arg-type]


def _angle_text(angle_deg: float) -> str:
    """With its sign, but for 0 (and the -0.0 of some mdocs)."""
    return "0.0" if abs(angle_deg) < 0.05 else f"{angle_deg:+.1f}"


def _is_label(name: str, values: Sequence[float | None], angles: list[float | None] | None) -> bool:
    """Whether a column only repeats the angles that head the rows."""
    return angles is not None and name in _ANGLES and all(value is None or value in angles for value in values)


def _number_table(numbers: dict[str, float]) -> Table:
    """Numbers that are of no tilt, one below the other: rows are quantities (or a cohort's series)."""
    names, values = [], []
    for name, value in numbers.items():
        base, _, of = name.partition(":")
        title = " ".join(filter(None, quantity(base)))
        names.append(f"{of}  {title}" if of else title)
        values.append(value)
    one = Column("", "value", "", tuple(values), _digits(values))
    x = tuple(float(index + 1) for index in range(len(names)))
    return Table("quantity", "", tuple(numbers), tuple(names), (one,), x, "", "", False)


def _angles(root: Path, status: Status, key: str, tilts: dict[str, list[float | None]]) -> list[float | None] | None:
    """The nominal angle of each tilt, in acquisition order: this job's, else an earlier one's, else the refined one."""
    size = max(len(values) for values in tilts.values())
    nominal, *others = _ANGLES
    earlier = (_stored(root, job.id, key).get("tilts") or {} for job in status.jobs)
    for place in chain([tilts], earlier):
        if len(place.get(nominal, ())) == size:
            return list(place[nominal])
    return next((list(tilts[name]) for name in others if name in tilts), None)


def _tilt_pictures(
    root: Path, job: JobStatus, key: str, angles: list[float | None] | None, order: tuple[int, ...]
) -> tuple[tuple[PictureFile, ...], ...]:
    """Averages and power spectra that this job itself has made, for each row of the table."""
    from core.formats import star

    if angles is None or not job.folder:
        return ()
    try:
        block = star.read(root / job.folder / "tilt_series" / f"{key}.star").block(key)
    except CrboostError:
        return ()
    rows = [dict(zip(block.labels, row, strict=True)) for row in block.rows]
    found: dict[float, tuple[PictureFile, ...]] = {}
    for row in rows:
        files = [(title, str(row[label])) for label, title in _PICTURE_LABELS if label in row]
        own = tuple(
            PictureFile(title, str(root / path))
            for title, path in files
            if path.startswith(job.folder) and _is_mrc(path)
        )
        if own and "rlnTomoNominalStageTiltAngle" in row:
            found[round(float(row["rlnTomoNominalStageTiltAngle"]), 2)] = own
    if not found:
        return ()
    return tuple(found.get(round(angles[index] or 0.0, 2), ()) for index in order)


def _tomograms(root: Path, row: dict[str, Any]) -> tuple[PictureFile, ...]:
    return tuple(
        PictureFile(label.removeprefix(_TOMOGRAM).lower().replace("half", "half ") or "tomogram", str(root / str(path)))
        for label, path in row.items()
        if label.startswith(_TOMOGRAM) and _is_mrc(str(path))
    )


def _is_mrc(path: str) -> bool:
    return path.endswith((".mrc", ".mrcs"))


def _stored(root: Path, job: str, key: str) -> dict[str, Any]:
    """What gather read of one task: its newest line in the job's file, {} where there is none."""
    try:
        data = (ProjectPaths(root).gathered / f"{job}.jsonl").read_bytes()
    except OSError:
        return {}
    begin = b"\n" + json.dumps({"key": key}, separators=(",", ":")).encode()[:-1] + b","
    data, newest, at = b"\n" + data, {}, -1
    # Forward: searching megabytes from their end holds all threads for a second.
    while (at := data.find(begin, at + 1)) >= 0:
        end = data.find(b"\n", at + 1)
        try:
            found = json.loads(data[at:end]) if end > 0 else None  # a line without an end is still being written
        except ValueError:
            continue
        if isinstance(found, dict):
            newest = found
    return newest


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
