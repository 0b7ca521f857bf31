"""How much disk space a project will still need."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from core.dataset.registry import load_registry
from core.engine.binding import Binding
from core.engine.decisions import load_decisions
from core.engine.states import TaskState
from core.engine.status import load_snapshot
from core.jobs._base import SeriesContext
from core.jobs._tilt_series import dimensions_px
from core.project.layout import ProjectPaths
from core.project.model import ProjectFile
from core.project.wanted import exclusions, read_wanted

HALF, SINGLE = 2, 4
"""Bytes of a pixel: Warp writes averages and tomograms with 16 bits, tilt stacks with 32."""
MARGIN = 1.1
"""For everything small: power spectra, tracks, XML, STAR files, logs."""

_GOOD = {state.value for state in TaskState if state.good}


def needed_bytes(root: Path, project: ProjectFile) -> float:
    """What the tasks that are not done will write, for the series that are not excluded::

        averages    tilts x width x height / 4^binning x 2 bytes x (1, 3 with halves)
        tilt stacks tilts x width x height x (pixel / pixel of the alignment)^2 x 4 bytes x 2 (as it was, and aligned)
        tomograms   X x Y x Z x (pixel / pixel of the tomogram)^3 x 2 bytes x (1 + 2 for each kind of halves + 1
                    where it is deconvolved)

    and a tenth more. Width and height are a movie's, X Y Z the unbinned size of a tomogram. Reads the project's files
    only. Raises :class:`core.errors.InputError` where they are wrong, or where a size is not known.
    """
    paths = ProjectPaths(root)
    registry = load_registry(paths.registry)
    excluded, tilts = exclusions(read_wanted(root))
    chosen = {name: frozenset(ids) for name, ids in tilts.items()}
    binding = Binding(root, project, registry, load_decisions(paths, project), {}, chosen)
    done = _done(paths)
    total = 0.0
    for instance, bound in binding.instances.items():
        job = binding.job_context(instance)
        for series in binding.series:
            if series in excluded or (instance, series) in done:
                continue
            context = binding.series_context(instance, series)
            if "frame_series" in bound.job_type.provides:
                total += _averages(context)
            elif hasattr(context.values, "alignment_pixel_size"):
                total += _stacks(context)
            elif "tomograms" in bound.job_type.provides:
                total += _tomograms(context, math.prod(dimensions_px(job, context)))
    return total * MARGIN


def _averages(context: SeriesContext[Any]) -> float:
    copies = 3 if getattr(context.values, "out_average_halves", False) else 1
    binning = float(getattr(context.values, "bin_times", 0.0))
    return float(_pixels(context) / 4.0**binning * HALF * copies)


def _stacks(context: SeriesContext[Any]) -> float:
    scale = _pixel_angstrom(context) / float(context.values.alignment_pixel_size)
    return _pixels(context) * scale**2 * SINGLE * 2


def _tomograms(context: SeriesContext[Any], voxels: int) -> float:
    values = context.values
    halves = getattr(values, "halfmap_frames", False) + getattr(values, "halfmap_tilts", False)
    copies = 1 + 2 * halves + getattr(values, "deconvolve", False)
    scale = _pixel_angstrom(context) / float(getattr(values, "pixel_size", 10.0))
    return voxels * min(scale, 1.0) ** 3 * HALF * copies


def _pixels(context: SeriesContext[Any]) -> int:
    """Of all usable tilts together."""
    acquisition = context.acquisition
    return len(context.used()) * (acquisition.image_width_px.value or 0) * (acquisition.image_height_px.value or 0)


def _pixel_angstrom(context: SeriesContext[Any]) -> float:
    return float(context.acquisition.pixel_size_angstrom.value or 0.0)


def _done(paths: ProjectPaths) -> set[tuple[str, str]]:
    """Job instance and series of every task whose products are there."""
    status = load_snapshot(paths)
    if status is None:
        return set()
    return {
        (job.id, key)
        for job in status.jobs
        for key, state in zip(status.keys(job), job.states, strict=False)
        if state in _GOOD
    }
