"""Registries and projects made in memory, and sessions without images, for tests and benches that need no movies."""

from __future__ import annotations

import os
import struct
from datetime import datetime, timedelta
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


def write_session(folder: Path, series: int, tilts: int = 41) -> None:
    """``frames/*.mrc`` and ``mdocs/*.mdoc`` as SerialEM writes them. All movies of a series are one small file under
    many names, with a header that is right."""
    frames, mdocs = folder / "frames", folder / "mdocs"
    frames.mkdir(parents=True)
    mdocs.mkdir()
    header = struct.pack("<10i", 64, 64, 4, 0, 0, 0, 0, 64, 64, 4) + struct.pack("<3f", 86.4, 86.4, 5.4)
    image = header.ljust(208, b"\0") + b"MAP \x44\x44\0\0" + bytes(808 + 64 * 64 * 4)
    begun = datetime(2026, 3, 2, 9, 30)
    for number in range(1, series + 1):
        record = make_series(number, tilts)
        mdoc = mdocs / f"{record.id}.mdoc"
        mdoc.write_text(_mdoc_text(record, begun + timedelta(hours=number)))
        os.utime(mdoc, (begun.timestamp(), begun.timestamp()))  # nobody writes it any more
        first, *others = record.tilts.movie
        (frames / first).write_bytes(image)
        for other in others:
            os.link(frames / first, frames / other)


def _mdoc_text(series: TiltSeries, begun: datetime) -> str:
    lines = [
        "PixelSpacing = 5.4",
        "Voltage = 300",
        f"ImageFile = {series.name}.mrc",
        "ImageSize = 16 16",
        "DataMode = 1",
        "",
        "[T = SerialEM: Digitized on a microscope                       02-Mar-26  09:30:00    ]",
        "",
        "[T =     Tilt axis angle = 85.3, binning = 4  spot = 8  camera = 2]",
    ]
    for index, angle_deg in enumerate(series.tilts.angle_deg):
        taken = begun + timedelta(minutes=index)
        lines += [
            "",
            f"[ZValue = {index}]",
            f"TiltAngle = {angle_deg + 0.001:.6g}",
            "StagePosition = 20.7936 155.287",
            "StageZ = 163.803",
            "Magnification = 105000",
            "Intensity = 0.00900259",
            "ExposureDose = 3.01",
            "PixelSpacing = 5.4",
            "SpotSize = 8",
            "Defocus = 2.68083",
            "ImageShift = -0.0108126 -0.121079",
            "RotationAngle = 175.3",
            "ExposureTime = 0.8",
            "Binning = 4",
            "CameraIndex = 2",
            "DividedBy2 = 1",
            "MagIndex = 31",
            "MinMaxMean = 5 1403 623.699",
            "TargetDefocus = -4",
            f"SubFramePath = D:\\DATA\\session\\frames\\{series.tilts.movie[index]}",
            "NumSubFrames = 4",
            f"DateTime = {taken:%d-%b-%y  %H:%M:%S}",
        ]
    return "\n".join([*lines, ""])
