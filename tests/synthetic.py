"""Registries and projects made in memory, for tests and benches that need no movies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.dataset.model import Sourced, Tilts, TiltSeries
from core.dataset.registry import Registry, save_registry
from core.project.create import create_project
from core.project.layout import ProjectPaths

DATA = Path(__file__).resolve().parents[1] / "config"

WARP_PIPELINE = [
    {"id": name, "type": name}
    for name in (
        "importmovies",
        "fsMotionAndCtf",
        "tsImport",
        "aligntiltsWarp",
        "tsAutolevel",
        "tsCtf",
        "tsReconstruct",
    )
]


def make_series(number: int, tilts: int = 41, group: str = "batch1") -> TiltSeries:
    """One dose-symmetric series ``TS_0001`` of 3° steps, 3 e/Å² per tilt, 1.35 Å/px, axis 85.3°."""
    angles = [0.0]
    step = 1
    while len(angles) < tilts:
        angles += [3.0 * step, -3.0 * step]
        step += 1
    name = f"TS_{number:04d}"
    count = range(tilts)
    columns = Tilts(
        ids=tuple(f"{index:03d}" for index in count),
        z_value=tuple(count),
        angle_deg=tuple(angles[:tilts]),
        acquired=tuple(f"2026-11-01T{10 + index // 60:02d}:{index % 60:02d}:00" for index in count),
        movie=tuple(f"{name}_{index:03d}.mrc" for index in count),
        source=tuple(f"/data/session/frames/{name}_{index:03d}.mrc" for index in count),
        frame_count=(8,) * tilts,
        exposure_e_per_a2=(3.0,) * tilts,
        target_defocus_um=(-4.0,) * tilts,
        problem=("",) * tilts,
    )
    detected: dict[str, Sourced[Any]] = {
        "pixel_size_angstrom": Sourced(1.35, "movie header"),
        "voltage_kv": Sourced(300.0, "mdoc"),
        "dose_per_tilt_e_per_a2": Sourced(3.0, "mdoc"),
        "tilt_axis_deg": Sourced(85.3, "mdoc"),
        "image_width_px": Sourced(3708, "movie header"),
        "image_height_px": Sourced(3838, "movie header"),
        "movie_extension": Sourced(".mrc", "movie header"),
        "frames_per_movie": Sourced(8, "movie header"),
    }
    return TiltSeries(
        name, name, group, f"/data/session/{name}.mdoc", f"{number:08x}", columns, "dose-symmetric 3°", detected
    )


def make_project(root: Path, series: int, tilts: int = 41, pipeline: list[dict[str, Any]] | None = None) -> Path:
    """A project whose registry is made up; nothing can run in it, everything can be planned."""
    create_project(root, "synthetic", "", {"pipeline": pipeline or WARP_PIPELINE})
    save_registry(ProjectPaths(root).registry, Registry(tuple(make_series(n, tilts) for n in range(1, series + 1))))
    return root
