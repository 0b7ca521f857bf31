"""Raw data to make projects of: good series, odd ones, and an mdoc that is none. Headers and zeros, old enough."""

from __future__ import annotations

from pathlib import Path

from tests.unit.dataset_files import serialem, write_mrc, write_old

MONTAGE = (
    "PixelSpacing = 656\nMontage = 1\nImageSize = 10 10\n\n[ZValue = 0]\nPieceCoordinates = 0 0 0\nTiltAngle = 0\n"
)


def angles(tilts: int = 11, first: float = 0.0) -> list[float]:
    """Dose-symmetric in steps of 3°."""
    found, level = [first], 1
    while len(found) < tilts:
        side = 1 if level % 2 else -1
        found += [first + side * 3.0 * level, first - side * 3.0 * level]
        level += 1
    return found[:tilts]


def add_series(
    folder: Path,
    name: str,
    *,
    tilts: int = 11,
    first: float = 0.0,
    axis: float = 85.3,
    dose: float = 3.0,
    missing: tuple[int, ...] = (),
) -> None:
    """``frames/*.mrc`` and ``mdocs/*.mdoc`` of one series."""
    frames = folder / "frames"
    frames.mkdir(parents=True, exist_ok=True)
    taken = angles(tilts, first)
    write_old(folder / "mdocs" / f"{name}.mrc.mdoc", serialem(name, taken, axis=axis, dose=dose, spacing=1.35))
    for index, angle in enumerate(taken):
        if index not in missing:
            write_mrc(frames / f"{name}_{index:03d}_{angle:.1f}.mrc")


def session(folder: Path, good: int = 8) -> Path:
    """A session with good series, two odd ones and a montage; returns ``folder``."""
    for number in range(1, good + 1):
        add_series(folder, f"Position_{number}")
    add_series(folder, "Position_3_2", missing=(4, 7))
    add_series(folder, "Position_9_2", first=8.0, axis=-84.9)
    write_old(folder / "mdocs" / "LMM.mrc.mdoc", MONTAGE)
    return folder
