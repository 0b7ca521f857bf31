"""RELION STAR tables of tilt series, as every gather step reads and writes them.

Rows are dicts from label to value. New columns are matched by movie name, never by position: RELION and Warp each
sort tilts in their own way. Paths in the tables are relative to the project.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from core.errors import InputError, WorkFailed
from core.files import replace_text
from core.formats import star
from core.jobs._base import JobContext, JobResult, JobType, P, SeriesContext, SeriesResult, StarValue
from core.project.decisions import HANDEDNESS, Decision

MOVIE = "rlnMicrographMovieName"
HAND = "rlnTomoHand"
SERIES_FOLDER = "tilt_series"

Row = dict[str, StarValue]


def series_star(folder: Path, series_id: str) -> Path:
    """The STAR file of one series in a job folder; RELION rewrites this part of the path from job to job."""
    return folder / SERIES_FOLDER / f"{series_id}.star"


def read_series(folder: Path, series_id: str) -> list[Row]:
    """Rows of ``<folder>/tilt_series/<id>.star`` in the order of the file; values are the text that stands there.

    Raises :class:`InputError` where the file or its block ``data_<id>`` is missing.
    """
    block = star.read(series_star(folder, series_id)).block(series_id)
    return [dict(zip(block.labels, row, strict=True)) for row in block.rows]


def movie_name(row: Mapping[str, StarValue]) -> str:
    """Name of the movie's link in ``frames/``: the last part of its rlnMicrographMovieName."""
    return str(row[MOVIE]).rsplit("/", 1)[-1]


def by_movie(rows: Sequence[Row]) -> dict[str, Row]:
    """Rows by :func:`movie_name`. Raises :class:`InputError` where two rows have the same movie."""
    found: dict[str, Row] = {}
    for row in rows:
        name = movie_name(row)
        if name in found:
            raise InputError(f"The movie {name} stands in two rows of one tilt series.")
        found[name] = row
    return found


def add_columns(rows: Sequence[Row], columns: Mapping[str, Mapping[str, StarValue]]) -> list[Row]:
    """The rows whose movie is in ``columns`` (by :func:`movie_name`), with its values added or replaced.

    Rows of other movies are left out: a table never has a placeholder. Raises :class:`InputError` where a movie of
    ``columns`` has no row.
    """
    unknown = sorted(set(columns) - by_movie(rows).keys())
    if unknown:
        raise InputError(f"The movie {unknown[0]} is not in the upstream table of its tilt series.")
    return [{**row, **columns[movie_name(row)]} for row in rows if movie_name(row) in columns]


def write_series(job: JobContext[Any], series_id: str, rows: Sequence[Row]) -> str:
    """Write ``tilt_series/<id>.star`` of this job, block ``data_<id>``; returns its path relative to the project.

    Only columns that every row has are written. Raises :class:`WorkFailed` where no row is left.
    """
    if not rows:
        raise WorkFailed(f"No tilt of {series_id} is left.")
    path = series_star(job.folder, series_id)
    _write_table(path, series_id, rows)
    return job.relative(path)


def write_global(
    job: JobContext[Any], name: str, rows: Sequence[Mapping[str, StarValue]], *, keep_hand: bool = False
) -> str:
    """Write ``<job>/<name>`` with one ``data_global`` row per series; returns its path relative to the project.

    Columns are those that all rows have, in the order of the first; rlnTomoHand follows the project's decision as it is
    now, however old the rows; with ``keep_hand`` (from the CTF step on, where the flag is in Warp's files) it is the
    rows' own. Without rows the file has no table (as RELION writes it).
    """
    path = job.folder / name
    hand = float(relion_hand(job.decisions))
    _write_table(path, "global", [{**row, HAND: hand} if HAND in row and not keep_hand else row for row in rows])
    return job.relative(path)


class TableJob(JobType[P]):
    """A job type whose global table has the rows that its series were gathered into."""

    keep_hand: ClassVar[bool] = False
    """See :func:`write_global`."""

    def gather_job(
        self,
        job: JobContext[P],
        results: Mapping[str, SeriesResult],
        contexts: Mapping[str, SeriesContext[P]],
    ) -> JobResult:
        name, node = self.main_output
        rows = [result.row for result in results.values() if result.row and not result.problem]
        return JobResult(nodes={write_global(job, name, rows, keep_hand=self.keep_hand): node})


def _write_table(path: Path, name: str, rows: Sequence[Mapping[str, StarValue]]) -> None:
    labels = [label for label in rows[0] if all(label in row for row in rows)] if rows else []
    block = star.loop_block(name, labels, [[row[label] for label in labels] for row in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, star.new_file([block]).render())


def relion_hand(decisions: Mapping[str, Decision]) -> int:
    """rlnTomoHand: +1 where the decision is ``no_flip``; -1 for ``flip`` and, as RELION does, while it is undecided."""
    decision = decisions.get(HANDEDNESS)
    return 1 if decision is not None and decision.state == "decided" and decision.value == "no_flip" else -1


def average_pixel_angstrom(context: SeriesContext[Any]) -> float | None:
    """Pixel size of the motion-corrected averages: the movies' one times 2^``bin_times`` of the ``frame_series`` step.

    None before there are averages, or where the movies' pixel size is not known.
    """
    pixel = context.acquisition.pixel_size_angstrom.value
    producer = context.ancestor("frame_series")
    values = context.values if hasattr(context.values, "bin_times") else producer.values if producer else None
    if pixel is None or values is None:
        return None
    return float(pixel) * math.exp2(getattr(values, "bin_times", 0.0))


def global_row(
    job: JobContext[Any], context: SeriesContext[Any], more: Mapping[str, StarValue] | None = None
) -> dict[str, StarValue]:
    """The series' row of a global table, in RELION's own order of columns, ``more`` at the end.

    The optics group's name and detector MTF are those of the import step. rlnTomoHand follows the project's decision.
    Values that nobody knows are left out.
    """
    series, acquisition = context.series, context.acquisition
    producer = context.ancestor("movies")
    imported = producer.values if producer is not None else context.values
    row: Row = {
        "rlnTomoName": series.id,
        "rlnTomoTiltSeriesStarFile": job.relative(series_star(job.folder, series.id)),
    }
    known = {
        "rlnVoltage": acquisition.voltage_kv.value,
        "rlnSphericalAberration": acquisition.spherical_aberration_mm.value,
        "rlnAmplitudeContrast": acquisition.amplitude_contrast.value,
        "rlnMicrographOriginalPixelSize": acquisition.pixel_size_angstrom.value,
    }
    row.update({label: float(value) for label, value in known.items() if value is not None})
    row[HAND] = float(relion_hand(job.decisions))
    if getattr(imported, "mtf_file", ""):
        row["rlnMtfFileName"] = str(getattr(imported, "mtf_file", ""))
    row["rlnOpticsGroupName"] = str(getattr(imported, "optics_group_name", "")) or acquisition.optics_group
    pixel = average_pixel_angstrom(context)
    if pixel is not None:
        row["rlnTomoTiltSeriesPixelSize"] = pixel
    row.update(more or {})
    return row
