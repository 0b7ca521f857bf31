"""A small tilt series and its contexts, for tests of job types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.dataset.model import Acquisition, Sourced, Tilts, TiltSeries
from core.jobs._base import JobContext, JobType, Producer, SeriesContext, TaskContext
from core.project.decisions import Decision


def angles(count: int, step: float = 3.0) -> list[float]:
    """Dose-symmetric: 0, 3, -3, 6, -6, ..."""
    return [step * ((index + 1) // 2) * (1 if index % 2 else -1) if index else 0.0 for index in range(count)]


def series(identifier: str = "TS_01", count: int = 41, extension: str = "tif", **changes: Any) -> TiltSeries:
    names = [f"{identifier}_{index:03d}_{angle:.1f}.{extension}" for index, angle in enumerate(angles(count))]
    columns: dict[str, Any] = {
        "ids": tuple(f"{index:03d}" for index in range(count)),
        "z_value": tuple(range(count)),
        "angle_deg": tuple(angles(count)),
        "acquired": tuple(f"2024-01-05T13:{index:02d}:09" for index in range(count)),
        "movie": tuple(names),
        "source": tuple(f"/raw/data/{name}" for name in names),
        "frame_count": (8,) * count,
        "exposure_e_per_a2": (0.0,) * count,
        "target_defocus_um": (-4.0,) * count,
        "problem": ("",) * count,
    }
    columns.update(changes)
    return TiltSeries(
        identifier, identifier, "main", f"/raw/{identifier}.mdoc", "d1", Tilts(**columns), "dose-symmetric"
    )


def acquisition(**changes: Any) -> Acquisition:
    values: dict[str, Any] = {
        "pixel_size_angstrom": 0.675,
        "voltage_kv": 300.0,
        "spherical_aberration_mm": 2.7,
        "amplitude_contrast": 0.1,
        "dose_per_tilt_e_per_a2": 3.0,
        "tilt_axis_deg": 85.3,
        "invert_tilt_angles": True,
        "image_width_px": 3710,
        "image_height_px": 3838,
        "movie_extension": ".tif",
        "frames_per_movie": 8,
        "eer_frames_per_fraction": 0,
        "gain_path": None,
        "gain_flip_x": False,
        "gain_flip_y": False,
        "gain_transpose": False,
        "defects_path": None,
    }
    values.update(changes)
    return Acquisition("main", "optics1", **{name: Sourced(value, "you") for name, value in values.items()})


def job_context(
    kind: JobType[Any],
    project: Path,
    folder: str,
    *,
    decisions: Mapping[str, Decision] | None = None,
    version: str = "head",
    **values: Any,
) -> JobContext[Any]:
    return JobContext(
        project, kind.name, project / folder, kind.parameters(**values), decisions or {}, warp_version=version
    )


def producer(kind: JobType[Any], job: JobContext[Any], **inputs: Producer) -> Producer:
    return Producer(job.instance, kind.name, kind.provides, job.folder, job.values, inputs)


def series_context(
    job: JobContext[Any],
    tilt_series: TiltSeries,
    values: Acquisition,
    inputs: Mapping[str, Producer] | None = None,
    excluded: frozenset[str] = frozenset(),
) -> SeriesContext[Any]:
    return SeriesContext(tilt_series, values, job.values, inputs or {}, excluded)


def task_context(job: JobContext[Any], context: SeriesContext[Any], attempt: int = 1) -> TaskContext[Any]:
    return TaskContext(job, context.series.id, attempt, context, (), cpus=4, gpus=1)


def without_movie(tilt_series: TiltSeries, *indices: int) -> TiltSeries:
    """The series with the movies of these exposures missing."""
    tilts = tilt_series.tilts
    gone = set(indices)
    return replace(
        tilt_series,
        tilts=replace(
            tilts,
            movie=tuple("" if index in gone else name for index, name in enumerate(tilts.movie)),
            source=tuple("" if index in gone else name for index, name in enumerate(tilts.source)),
            problem=tuple("the movie is missing" if index in gone else "" for index in range(len(tilts))),
        ),
    )
