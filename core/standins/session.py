"""A synthetic tomography session: MRC movies of a known specimen, SerialEM mdocs, and the truth beside them.

An image position is ``Rz(axis) Ry(angle) x + shift``, x the specimen's coordinate from the centre in Å, angle the
stage's, as RELION and Warp have it. Specimen: gold beads and round particles in an inclined slab; they are dark, and
the background gets darker and noisier with the tilt. Everything follows from the seed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import InputError
from core.files import replace_bytes, replace_text, write_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FAULTS = ("missing_movie", "empty_movie", "montage")
MODES = {"int8": 0, "int16": 1, "uint16": 6}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MDOC_BINNING = 4
MARGIN_PX = 10
COUNTS_PER_FRAME = 22.0


@dataclass(frozen=True, slots=True)
class Session:
    """What was written. Movies are ``frames/*.mrc`` (each movie's size follows from the call), mdocs ``mdocs/*.mdoc``,
    and ``frames/session.json`` is the truth. ``faults`` says in sentences what was spoilt on purpose."""

    folder: Path
    frames: Path
    mdocs: Path
    truth: Path
    gain: Path | None
    series: tuple[str, ...]
    movies: int
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What all the series of a session share."""

    frames: int
    size_px: tuple[int, int]
    pixel_size_angstrom: float
    dose_e_per_a2: float
    axis_deg: float
    nominal_axis_deg: float
    voltage_kv: int
    mode: str
    shift_sigma_angstrom: float
    half_depth: float


def make_session(
    folder: Path,
    *,
    series: int = 4,
    tilts: int = 11,
    step_deg: float = 3.0,
    size_px: tuple[int, int] = (128, 128),
    frames: int = 4,
    pixel_size: float = 1.35,
    dose_per_tilt: float = 3.0,
    axis_deg: float = 84.7,
    nominal_axis_deg: float = 85.3,
    handedness_flip: bool = True,
    voltage_kv: int = 300,
    names: str = "Position_{n}",
    mode: str = "int8",
    gain: bool = False,
    faults: Sequence[str] = (),
    seed: int = 1,
    shift_sigma_angstrom: float = 0.0,
    half_depth: float = 0.12,
) -> Session:
    """Write a session into ``folder``.

    ``size_px``: width and height of a movie. ``pixel_size``: Å. ``dose_per_tilt``: e/Å². ``axis_deg`` is the true tilt
    axis, ``nominal_axis_deg`` what the mdocs say. Tilts are dose-symmetric (0, +3, -3, -6, +6, ...). ``names``: with
    ``{n}`` from 1. ``mode``: of the MRC data, int8, int16 or uint16. With ``gain`` the movies want ``gain.mrc``.
    ``faults`` of :data:`FAULTS`: one tilt of the last series without its movie, one of the last but one with an empty
    file, one montage among the mdocs. ``shift_sigma_angstrom``: standard deviation of each image's shift in X and in Y;
    with 0 they wander a little. ``half_depth``: of the slab, as a part of the image's shorter side.
    Raises :class:`InputError` for values that make no session.
    """
    import numpy as np

    if series < 1 or tilts < 1 or frames < 1 or min(size_px) < 48 or pixel_size <= 0:
        raise InputError("A session needs at least one series, tilt and frame, 48 pixels and a pixel size.")
    if mode not in MODES:
        raise InputError(f"Movies of mode {mode} cannot be written; choose from {', '.join(MODES)}.")
    unknown = [fault for fault in faults if fault not in FAULTS]
    if unknown:
        raise InputError(f"There is no fault {unknown[0]}; choose from {', '.join(FAULTS)}.")
    place, mdocs = folder / "frames", folder / "mdocs"
    try:
        place.mkdir(parents=True, exist_ok=True)
        mdocs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    plan = _Plan(
        frames,
        size_px,
        pixel_size,
        dose_per_tilt,
        axis_deg,
        nominal_axis_deg,
        voltage_kv,
        mode,
        shift_sigma_angstrom,
        half_depth,
    )
    random = np.random.default_rng(seed)
    gain_image: NDArray[np.float64] | None = None
    gain_path: Path | None = None
    if gain:
        gain_image = 1.0 + 0.08 * random.standard_normal((size_px[1], size_px[0]))
        gain_path = folder / "gain.mrc"
        replace_bytes(gain_path, _mrc(gain_image[None].astype(np.float32), 2, pixel_size))
    truth: dict[str, Any] = {
        "format": 1,
        "pixel_size_angstrom": pixel_size,
        "size_px": list(size_px),
        "frames": frames,
        "dose_per_tilt_e_per_a2": dose_per_tilt,
        "axis_deg": axis_deg,
        "nominal_axis_deg": nominal_axis_deg,
        "handedness_flip": handedness_flip,
        "voltage_kv": voltage_kv,
        "series": {},
    }
    order = acquisition_angles(tilts, step_deg)
    begun = datetime(2026, 3, 2, 9, 30, 0)
    ids = []
    for number in range(series):
        name = names.format(n=number + 1)
        ids.append(name)
        start = begun + timedelta(minutes=50 * number)
        truth["series"][name] = _series(plan, name, order, start, place, mdocs, gain_image, random)
    sentences = _spoil(faults, ids, truth, place, mdocs, begun)
    replace_text(place / "session.json", json.dumps(truth, indent=1) + "\n")
    return Session(
        folder, place, mdocs, place / "session.json", gain_path, tuple(ids), series * tilts, tuple(sentences)
    )


def acquisition_angles(tilts: int, step_deg: float = 3.0) -> list[float]:
    """Dose-symmetric stage angles in degrees as they are taken: 0, +1, -1, -2, +2, +3, -3 steps ..."""
    angles = [0.0]
    level = 1
    while len(angles) < tilts:
        first = 1 if level % 2 else -1
        angles += [first * level * step_deg, -first * level * step_deg]
        level += 1
    return angles[:tilts]


def _series(
    plan: _Plan,
    name: str,
    order: Sequence[float],
    start: datetime,
    place: Path,
    mdocs: Path,
    gain: NDArray[np.float64] | None,
    random: np.random.Generator,
) -> dict[str, Any]:
    import numpy as np

    width, height = plan.size_px
    extent = min(width, height) * plan.pixel_size_angstrom
    level_x, level_y = (round(float(v), 2) for v in random.normal(0.0, (1.0, 3.0)))
    specimen = _specimen(extent, plan.half_depth, plan.pixel_size_angstrom, level_x, level_y, random)
    defocus = round(float(random.uniform(2.4, 3.8)), 3)
    known: dict[str, Any] = {
        "defocus_um": defocus,
        "level_x_deg": level_x,
        "level_y_deg": level_y,
        "blobs": [[round(float(value), 2) for value in row] for row in specimen],
        "tilts": {},
    }
    sections = []
    wander = np.zeros(2)
    for rank, angle in enumerate(order):
        stage = round(angle + float(random.normal(0.0, 0.008)), 5)
        wander = wander + random.normal(0.0, 0.012 * min(width, height), 2)
        moved = np.clip(wander, -0.1 * width, 0.1 * width)
        if plan.shift_sigma_angstrom:
            moved = random.normal(0.0, plan.shift_sigma_angstrom / plan.pixel_size_angstrom, 2)
        shift = [round(float(v), 2) for v in moved]
        drift = _drift(plan.frames, random)
        movie = f"{name}_{rank:03d}_{angle:.1f}.mrc"
        data = _movie(plan, specimen, stage, shift, drift, gain, random)
        replace_bytes(place / movie, _mrc(data, MODES[plan.mode], plan.pixel_size_angstrom))
        known["tilts"][movie[:-4]] = {"angle_deg": stage, "order": rank, "shift_px": shift, "drift_px": drift}
        sections.append(_section(plan, rank, stage, movie, data, defocus, start + timedelta(seconds=58 * rank)))
    replace_text(mdocs / f"{name}.mrc.mdoc", _mdoc_head(plan, name, start) + "".join(sections))
    return known


def _specimen(
    extent: float, half_depth: float, pixel: float, level_x: float, level_y: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Rows x, y, z, radius in Å and strength: beads and particles in a slab inclined by the level angles."""
    import numpy as np

    particles, beads = 36, 7
    count = particles + beads
    x = random.uniform(-0.62, 0.62, count) * extent
    y = random.uniform(-0.62, 0.62, count) * extent
    z = random.uniform(-half_depth, half_depth, count) * extent
    z += x * math.tan(math.radians(level_y)) + y * math.tan(math.radians(level_x))
    scale = extent / 128
    radius = np.where(np.arange(count) < particles, random.uniform(3.5, 5.5, count), 2.6) * scale
    strength = np.where(np.arange(count) < particles, random.uniform(0.25, 0.4, count), 0.85)
    return np.stack([x, y, z, np.maximum(radius, 1.5 * pixel), strength], axis=1)


def _drift(frames: int, random: np.random.Generator) -> list[list[int]]:
    """Whole pixels for each frame against the first: fast in the beginning, then settling."""
    x = y = 0.0
    direction = float(random.uniform(0, 2 * math.pi))
    drift = []
    for number in range(frames):
        drift.append([round(x), round(y)])
        step = 1.6 * math.exp(-number / 3)
        x, y = x + step * math.cos(direction), y + step * math.sin(direction)
    return drift


def _movie(
    plan: _Plan,
    specimen: NDArray[np.float64],
    angle_deg: float,
    shift_px: Sequence[float],
    drift_px: Sequence[Sequence[int]],
    gain: NDArray[np.float64] | None,
    random: np.random.Generator,
) -> NDArray[Any]:
    """Frames (n, y, x) in counts: the specimen's shadow, moved by the drift, with Poisson noise."""
    import numpy as np

    width, height = plan.size_px
    angle, axis = math.radians(angle_deg), math.radians(plan.axis_deg)
    across = specimen[:, 0] * math.cos(angle) + specimen[:, 2] * math.sin(angle)
    along = specimen[:, 1]
    column = (across * math.cos(axis) - along * math.sin(axis)) / plan.pixel_size_angstrom + shift_px[0]
    row = (across * math.sin(axis) + along * math.cos(axis)) / plan.pixel_size_angstrom + shift_px[1]
    radius = specimen[:, 3] / plan.pixel_size_angstrom
    xs = np.arange(-MARGIN_PX, width + MARGIN_PX) - width / 2
    ys = np.arange(-MARGIN_PX, height + MARGIN_PX) - height / 2
    # A Gaussian blob is a product of its two profiles: all blobs are one product of matrices.
    profile_x = np.exp(-0.5 * ((xs[None] - column[:, None]) / (0.6 * radius[:, None])) ** 2)
    profile_y = np.exp(-0.5 * ((ys[None] - row[:, None]) / (0.6 * radius[:, None])) ** 2)
    shadow = (profile_y * specimen[:, 4:5]).T @ profile_x
    thickness = 1 / math.cos(angle)
    expected = COUNTS_PER_FRAME * math.exp(-0.25 * thickness) * np.exp(-shadow)
    frames = []
    for x, y in drift_px:
        top, left = MARGIN_PX - y, MARGIN_PX - x
        window = expected[top : top + height, left : left + width]
        frames.append(random.poisson(window).astype(np.float64))
    data = np.stack(frames)
    if gain is not None:
        data = np.rint(data / gain[None])
    return np.clip(data, 0, 127).astype({"int8": np.int8, "int16": np.int16, "uint16": np.uint16}[plan.mode])


def _mrc(data: NDArray[Any], mode: int, pixel: float) -> bytes:
    """An MRC2014 file of (n, y, x)."""
    import struct

    n, ny, nx = data.shape
    head = bytearray(1024)
    struct.pack_into("<4i", head, 0, nx, ny, n, mode)
    struct.pack_into("<3i", head, 28, nx, ny, n)
    struct.pack_into("<6f", head, 40, nx * pixel, ny * pixel, n * pixel, 90, 90, 90)
    low, high, mean = float(data.min()), float(data.max()), float(data.mean())
    struct.pack_into("<3i3f", head, 64, 1, 2, 3, low, high, mean)
    struct.pack_into("<i", head, 108, 20140)
    head[208:216] = b"MAP \x44\x44\x00\x00"
    return bytes(head) + data.tobytes()


def _date(moment: datetime, gap: str = "  ") -> str:
    return f"{moment.day:02d}-{MONTHS[moment.month - 1]}-{moment.year % 100:02d}{gap}{moment:%H:%M:%S}"


def _lines(lines: Sequence[str]) -> str:
    """SerialEM on Windows ends lines with CR LF."""
    return "".join(line + "\r\n" for line in lines)


def _mdoc_head(plan: _Plan, name: str, start: datetime) -> str:
    binning = MDOC_BINNING
    title = f"SerialEM: Acquired on a synthetic {plan.voltage_kv} kV microscope".ljust(58)
    axis = f"    Tilt axis angle = {plan.nominal_axis_deg:.1f}, binning = {binning}  spot = 8  camera = 1"
    return _lines(
        [
            f"PixelSpacing = {plan.pixel_size_angstrom * binning:.6g}",
            f"Voltage = {plan.voltage_kv}",
            f"ImageFile = {name}.mrc",
            f"ImageSize = {plan.size_px[0] // binning} {plan.size_px[1] // binning}",
            "DataMode = 1",
            "",
            f"[T = {title}  {_date(start)}    ]",
            "",
            f"[T = {axis}]",
            "",
        ]
    )


def _section(
    plan: _Plan, rank: int, angle: float, movie: str, data: NDArray[Any], defocus: float, moment: datetime
) -> str:
    total = data.sum(axis=0)
    return _lines(
        [
            f"[ZValue = {rank}]",
            f"TiltAngle = {angle:g}",
            "StagePosition = 20.7936 155.287",
            "StageZ = 63.803",
            "Magnification = 105000",
            "Intensity = 0.0900259",
            f"ExposureDose = {plan.dose_e_per_a2:g}",
            f"PixelSpacing = {plan.pixel_size_angstrom * MDOC_BINNING:.6g}",
            "SpotSize = 8",
            f"Defocus = {-defocus:.5f}",
            "ImageShift = -0.0108126 -0.121079",
            f"RotationAngle = {plan.nominal_axis_deg + 90:.4g}",
            "ExposureTime = 0.8",
            f"Binning = {MDOC_BINNING}",
            "CameraIndex = 1",
            "DividedBy2 = 0",
            "MagIndex = 31",
            f"MinMaxMean = {int(total.min())} {int(total.max())} {float(total.mean()):.3f}",
            f"TargetDefocus = {-round(defocus, 1):g}",
            f"SubFramePath = X:\\DATA\\synthetic\\frames\\{movie}",
            f"NumSubFrames = {plan.frames}",
            f"DateTime = {_date(moment)}",
            "",
        ]
    )


def _spoil(
    faults: Sequence[str], ids: Sequence[str], truth: dict[str, Any], place: Path, mdocs: Path, begun: datetime
) -> list[str]:
    """Take away, empty or add what ``faults`` names, and say it in sentences."""
    sentences = []
    last, before = ids[-1], ids[-2] if len(ids) > 1 else ids[-1]
    if "missing_movie" in faults:
        movie = _movie_of(truth, last, -3)
        (place / movie).unlink()
        sentences.append(f"{movie} of {last} is missing.")
    if "empty_movie" in faults:
        movie = _movie_of(truth, before, -1)
        replace_bytes(place / movie, b"")
        sentences.append(f"{movie} of {before} is empty.")
    if "montage" in faults:
        text = [
            "PixelSpacing = 656.139",
            "Voltage = 300",
            "ImageFile = LMM.mrc",
            "ImageSize = 5064 3976",
            "Montage = 1",
        ]
        text += ["DataMode = 1", "", f"[T = SerialEM: Synthetic microscope    {_date(begun)}]", ""]
        for number in range(2):
            text += [f"[ZValue = {number}]", f"PieceCoordinates = 0 {3400 * number} 0", "TiltAngle = -0.0065"]
            text += [f"DateTime = {_date(begun)}", ""]
        replace_text(mdocs / "LMM.mrc.mdoc", _lines(text))
        sentences.append("LMM.mrc.mdoc is a montage, not a tilt series.")
    return sentences


def _movie_of(truth: dict[str, Any], name: str, position: int) -> str:
    movies = list(truth["series"][name]["tilts"])
    return f"{movies[max(position, -len(movies))]}.mrc"
