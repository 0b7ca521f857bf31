"""Small raw data for tests: MRC movies that are headers and zeros, and mdocs as SerialEM and Tomo 5 write them."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path

DOSE_SYMMETRIC = (0.0, 3.0, -3.0, -6.0, 6.0, 9.0, -9.0)


def write_mrc(path: Path, width: int = 64, height: int = 48, frames: int = 4, pixel_angstrom: float = 0.0) -> Path:
    """An MRC file of mode 0 (one byte per pixel), sparse, as long as its header says."""
    header = bytearray(1024)
    struct.pack_into("<4i", header, 0, width, height, frames, 0)
    struct.pack_into("<3i", header, 28, width, height, frames)
    struct.pack_into("<3f", header, 40, width * pixel_angstrom, height * pixel_angstrom, frames * pixel_angstrom)
    header[208:212] = b"MAP "
    header[212:214] = b"\x44\x44"
    with open(path, "wb") as stream:
        stream.write(header)
        stream.truncate(1024 + width * height * frames)
    return path


def serialem(
    name: str,
    angles: Sequence[float] = DOSE_SYMMETRIC,
    *,
    movie: str = "{name}_{index:03d}_{angle:.1f}.mrc",
    folder: str = "D:\\DATA\\frames\\",
    spacing: float = 2.0,
    image: str = "64 48",
    dose: float = 3.0,
    axis: float = 85.3,
    start_minute: int = 0,
    with_path: bool = True,
    with_time: bool = True,
    extra: str = "",
) -> str:
    """A SerialEM mdoc, one minute per tilt."""
    lines = [
        f"PixelSpacing = {spacing}",
        "Voltage = 300",
        f"ImageFile = {name}.mrc",
        f"ImageSize = {image}",
        "DataMode = 1",
        "",
        "[T = SerialEM: Digitized on a Krios                       30-Nov-15  15:14:20    ]",
        "",
        f"[T =     Tilt axis angle = {axis}, binning = 1  spot = 8  camera = 2]",
        "",
    ]
    for index, angle in enumerate(angles):
        minute = start_minute + index
        lines += [f"[ZValue = {index}]", f"TiltAngle = {angle}", f"ExposureDose = {dose}", "TargetDefocus = -4"]
        lines += [f"RotationAngle = {axis + 90}", "NumSubFrames = 4"]
        if extra:
            lines.append(extra)
        if with_path:
            lines.append(f"SubFramePath = {folder}{movie.format(name=name, index=index, angle=angle)}")
        if with_time:
            lines.append(f"DateTime = 30-Nov-15  {15 + minute // 60:02d}:{minute % 60:02d}:00")
        lines.append("")
    return "\n".join(lines) + "\n"


def write_old(path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    """A file last changed an hour ago, so that nothing takes it for unfinished."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    age(path)
    return path


def age(path: Path) -> None:
    then = time.time() - 3600
    os.utime(path, (then, then))


def write_session(
    root: Path, names: Sequence[str], angles: Sequence[float] = DOSE_SYMMETRIC, **options: object
) -> tuple[Path, Path]:
    """Folders ``frames`` and ``mdoc`` with a series of each name, taken one after the other. Options of serialem()."""
    frames, mdocs = root / "raw" / "frames", root / "raw" / "mdoc"
    frames.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        text = serialem(name, angles, start_minute=number * 45, **options)  # type: ignore[arg-type]
        write_old(mdocs / f"{name}.mrc.mdoc", text)
        for index, angle in enumerate(angles):
            write_mrc(frames / f"{name}_{index:03d}_{angle:.1f}.mrc")
    return frames, mdocs
