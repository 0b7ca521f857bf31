"""Warp's metadata per movie and per tilt series (``<name>.xml``), as WarpTools writes them.

Format: facts/warptools.md section 6 (WarpLib Movie.cs, TiltSeries.cs). Grid nodes are placed by their X, Y, Z, never by
their position in the file. What WarpTools leaves out of a file is NaN, None or empty here, as each field says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from core.errors import InputError
from core.files import read_error

_LARGEST_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Grid:
    """A cubic grid of values that spans an image (X, Y) and a movie or series (Z).

    ``values`` has ``width * height * depth`` entries, X fastest, then Y, then Z; empty where the file has no such grid.
    """

    width: int
    height: int
    depth: int
    values: tuple[float, ...]

    def by_z(self) -> dict[int, float]:
        """Z to the value, of a grid with one node per Z; of a wider one the mean over X and Y."""
        area = self.width * self.height
        return {z: sum(self.values[z * area : (z + 1) * area]) / area for z in range(self.depth)} if self.values else {}


@dataclass(frozen=True, slots=True)
class FrameSeriesXml:
    """One movie. Defocus is positive for underfocus; ``defocus_delta_um`` is the full difference U - V.

    ``mean_frame_movement_angstrom`` is Warp's MeanFrameMovement: the mean step in the first third of the frames, not
    the accumulated motion. ``has_ctf`` and ``has_movement`` say that those steps ran. Numbers that the file does not
    have are NaN. ``unselect_manual`` is None where nobody decided.
    """

    data_directory: str
    ctf_resolution_angstrom: float
    mean_frame_movement_angstrom: float
    unselect_manual: bool | None
    defocus_um: float
    defocus_delta_um: float
    defocus_angle_deg: float
    phase_shift_pi: float
    ctf_grid: Grid
    has_ctf: bool
    has_movement: bool


@dataclass(frozen=True, slots=True)
class TiltSeriesXml:
    """One tilt series; per-tilt columns in the order of the rows of its ``.tomostar``.

    ``doses`` are accumulated before each tilt, in e/Å². ``movie_paths`` are relative to ``data_directory``. Grids map
    the tilt's index (Z) to a value: defocus and its delta in µm, the angle in degrees, the phase in π. They are empty
    before ``ts_ctf`` where the file has none. ``fov_fraction`` is empty in files of older versions.
    """

    data_directory: str
    angles_deg: tuple[float, ...]
    doses: tuple[float, ...]
    use_tilt: tuple[bool, ...]
    axis_angles_deg: tuple[float, ...]
    offsets_x_angstrom: tuple[float, ...]
    offsets_y_angstrom: tuple[float, ...]
    movie_paths: tuple[str, ...]
    fov_fraction: tuple[float, ...]
    level_angle_x_deg: float
    level_angle_y_deg: float
    angles_inverted: bool
    plane_normal: tuple[float, float, float]
    ctf_resolution_angstrom: float
    has_ctf: bool
    unselect_manual: bool | None
    grid_ctf: dict[int, float]
    grid_ctf_delta: dict[int, float]
    grid_ctf_angle: dict[int, float]
    grid_ctf_phase: dict[int, float]


def read_frame_series(path: Path) -> FrameSeriesXml:
    """Read a movie's file. Raises :class:`InputError` where it is cut off, or is none."""
    root = parse_root(path, "Movie")
    ctf = _parameters(root.find("CTF"))
    return FrameSeriesXml(
        data_directory=root.get("DataDirectory", ""),
        ctf_resolution_angstrom=_number(root.get("CTFResolutionEstimate", "")),
        mean_frame_movement_angstrom=_number(root.get("MeanFrameMovement", "")),
        unselect_manual=_decision(root.get("UnselectManual", "")),
        defocus_um=_number(ctf.get("Defocus", "")),
        defocus_delta_um=_number(ctf.get("DefocusDelta", "")),
        defocus_angle_deg=_number(ctf.get("DefocusAngle", "")),
        phase_shift_pi=_number(ctf.get("PhaseShift", "")),
        ctf_grid=_grid(root, "GridCTF", path),
        has_ctf=root.find("OptionsCTF") is not None,
        has_movement=root.find("OptionsMovement") is not None,
    )


def read_tilt_series(path: Path) -> TiltSeriesXml:
    """Read a tilt series' file. Raises :class:`InputError` where it is cut off, is none, or its columns disagree."""
    root = parse_root(path, "TiltSeries")
    angles = _numbers(root, "Angles", path)
    if not angles:
        raise InputError("has no tilt angles.", path)
    count = len(angles)
    zeros = (0.0,) * count
    columns = {
        name: _numbers(root, name, path) for name in ("Dose", "AxisAngle", "AxisOffsetX", "AxisOffsetY", "FOVFraction")
    }
    use_tilt = tuple(text.strip().lower() == "true" for text in _lines(root, "UseTilt")) or (True,) * count
    movies = tuple(_lines(root, "MoviePath"))
    for name, length in [*((name, len(column)) for name, column in columns.items()), ("UseTilt", len(use_tilt))]:
        if length not in (0, count):
            raise InputError(f"has {length} values in {name} for {count} tilts.", path)
    if len(movies) != count:
        raise InputError(f"has {len(movies)} movies for {count} tilts.", path)
    normal = [_number(text) for text in root.get("PlaneNormal", "0, 0, 1").split(",")]
    if len(normal) != 3 or not all(math.isfinite(value) for value in normal):
        raise InputError("has a PlaneNormal that is not three numbers.", path)
    return TiltSeriesXml(
        data_directory=root.get("DataDirectory", ""),
        angles_deg=angles,
        doses=columns["Dose"] or zeros,
        use_tilt=use_tilt,
        axis_angles_deg=columns["AxisAngle"] or zeros,
        offsets_x_angstrom=columns["AxisOffsetX"] or zeros,
        offsets_y_angstrom=columns["AxisOffsetY"] or zeros,
        movie_paths=movies,
        fov_fraction=columns["FOVFraction"],
        level_angle_x_deg=_finite(root.get("LevelAngleX", "0"), "LevelAngleX", path),
        level_angle_y_deg=_finite(root.get("LevelAngleY", "0"), "LevelAngleY", path),
        angles_inverted=root.get("AreAnglesInverted", "").lower() == "true",
        plane_normal=(normal[0], normal[1], normal[2]),
        ctf_resolution_angstrom=_number(root.get("CTFResolutionEstimate", "")),
        has_ctf=root.find("OptionsCTF") is not None,
        unselect_manual=_decision(root.get("UnselectManual", "")),
        grid_ctf=_grid(root, "GridCTF", path).by_z(),
        grid_ctf_delta=_grid(root, "GridCTFDefocusDelta", path).by_z(),
        grid_ctf_angle=_grid(root, "GridCTFDefocusAngle", path).by_z(),
        grid_ctf_phase=_grid(root, "GridCTFPhase", path).by_z(),
    )


def parse_root(path: Path, tag: str) -> ElementTree.Element:
    """The root element of a Warp file. Raises :class:`InputError` with the line where it is cut off or is none."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise read_error(path, error) from error
    if len(data) > _LARGEST_BYTES:
        raise InputError(f"is larger than {_LARGEST_BYTES // 2**20} MB; is it the right file?", path)
    if not data.strip():
        raise InputError("is empty: it was cut off while it was written.", path)
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        line = error.position[0] if isinstance(error, ElementTree.ParseError) else None
        raise InputError(f"is not whole XML: it was cut off or damaged ({error}).", path, line) from error
    if root.tag != tag:
        raise InputError(f"is not the file that was expected: it begins with <{root.tag}>, not <{tag}>.", path)
    return root


def _parameters(element: ElementTree.Element | None) -> dict[str, str]:
    if element is None:
        return {}
    return {child.get("Name", ""): child.get("Value", "") for child in element.findall("Param")}


def _grid(root: ElementTree.Element, name: str, path: Path) -> Grid:
    element = root.find(name)
    nodes = [] if element is None else element.findall("Node")
    if element is None or not nodes:
        return Grid(0, 0, 0, ())
    try:
        width, height, depth = (int(element.get(side, "1")) for side in ("Width", "Height", "Depth"))
    except ValueError as error:
        raise InputError(f"has a {name} without a size.", path) from error
    if not (0 < width * height * depth == len(nodes)):
        raise InputError(f"has {len(nodes)} nodes in {name}, which is {width} x {height} x {depth}.", path)
    values: list[float | None] = [None] * len(nodes)
    for node in nodes:
        try:
            x, y, z = (int(node.get(axis, "")) for axis in "XYZ")
        except ValueError as error:
            raise InputError(f"has a node without a place in {name}.", path) from error
        if not (0 <= x < width and 0 <= y < height and 0 <= z < depth):
            raise InputError(f"has a node outside of {name}: {x}, {y}, {z}.", path)
        values[(z * height + y) * width + x] = _finite(node.get("Value", ""), name, path)
    placed = tuple(value for value in values if value is not None)
    if len(placed) != len(values):
        raise InputError(f"has two nodes at one place in {name}.", path)
    return Grid(width, height, depth, placed)


def _lines(root: ElementTree.Element, name: str) -> list[str]:
    text = (root.findtext(name) or "").strip()
    return [line.strip() for line in text.split("\n")] if text else []


def _numbers(root: ElementTree.Element, name: str, path: Path) -> tuple[float, ...]:
    return tuple(_finite(line, name, path) for line in _lines(root, name))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _finite(text: str, name: str, path: Path) -> float:
    value = _number(text)
    if not math.isfinite(value):
        raise InputError(f"has {text!r} in {name} where a number was expected.", path)
    return value


def _decision(text: str) -> bool | None:
    """``True``, ``False``, and ``null`` or nothing for no decision."""
    return {"true": True, "false": False}.get(text.lower())
