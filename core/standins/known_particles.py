"""Whether the particles of a synthetic session lie in tomograms of it where they were put: signs and axes at a glance.

``python3 -P -m core.standins.known_particles REQUEST`` with ``{"truth": path, "volumes": {series: [path, ...]}}``
prints one JSON object. Positions come from ``session.json`` alone: the specimen's coordinates in Å from the middle of a
volume (RELION's: pixel int(n / 2)). Several volumes of a series are halves: their mean is looked at. Particles are
dark; densities are given with the sign turned, in standard deviations of the slightly smoothed volume. It needs numpy:
that is why it is a process of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations, product
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import CrboostError, InputError
from core.files import read_error, read_text
from core.formats.mrc import HEADER_BYTES, read_mrc_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTICLES = 36
"""The first so many blobs of a session's specimen are particles, the others beads."""
FIELD = 0.4
"""Only particles within this part of the shorter side from the axis, which most tilts show, count."""


@dataclass(frozen=True, slots=True)
class Found:
    """Mean density at the true positions, and at the best of all mirrored and permuted ones (``reading`` says which:
    ``y x -z`` is X and Y exchanged and Z mirrored)."""

    particles: int
    density: float
    best_other: float
    reading: str


def look(truth: Path, volumes: Mapping[str, Sequence[Path]]) -> Found:
    """All series together. Raises :class:`CrboostError` for files that are not what they should be."""
    import numpy as np

    known = json.loads(read_text(truth))
    extent = min(known["size_px"]) * known["pixel_size_angstrom"]
    sums: dict[str, list[NDArray[np.float64]]] = {}
    for series, paths in volumes.items():
        blobs = np.array(known["series"][series]["blobs"])[:PARTICLES, :3]
        points = blobs[(np.abs(blobs[:, :2]) < FIELD * extent).all(axis=1)]
        volume, pixel = _mean_volume(paths)
        for axes in permutations(range(3)):
            for signs in product((1, -1), repeat=3):
                name = " ".join(("-" if sign < 0 else "") + "xyz"[axis] for axis, sign in zip(axes, signs, strict=True))
                sums.setdefault(name, []).append(_densities(volume, points[:, axes] * np.array(signs) / pixel))
    right = np.concatenate(sums.pop("x y z"))
    if not len(right):
        raise InputError("has no particle within the tomograms.", truth)
    others = {name: np.concatenate(found) for name, found in sums.items()}
    # A reading that leaves most positions outside of a flat volume says nothing.
    means = {name: float(found.mean()) for name, found in others.items() if 2 * len(found) >= len(right)}
    best = max(means, key=lambda name: means[name])
    return Found(len(right), float(right.mean()), means[best], best)


def _mean_volume(paths: Sequence[Path]) -> tuple[NDArray[np.float64], float]:
    """The mean of some volumes, smoothed, in standard deviations, dark things positive; and its pixel size in Å."""
    import numpy as np

    total, pixel = None, 0.0
    for path in paths:
        header = read_mrc_header(path)
        if header.mode != 2 or not header.pixel_size_angstrom:
            raise InputError("is no volume of 32-bit numbers with a pixel size.", path)
        try:
            data = path.read_bytes()[HEADER_BYTES + header.extended_bytes :]
        except OSError as error:
            raise read_error(path, error) from error
        volume = np.frombuffer(data, np.float32, header.nx * header.ny * header.nz).astype(np.float64)
        volume = volume.reshape(header.nz, header.ny, header.nx)
        total, pixel = volume if total is None else total + volume, header.pixel_size_angstrom
    assert total is not None
    for axis in range(3):
        total = (np.roll(total, 1, axis) + 2 * total + np.roll(total, -1, axis)) / 4
    return (total.mean() - total) / total.std(), pixel


def _densities(volume: NDArray[np.float64], points_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """At the nearest voxels of points (x, y, z) from the middle, those outside left out."""
    import numpy as np

    size = np.array(volume.shape[::-1])
    voxels = np.rint(points_px + size // 2).astype(int)
    x, y, z = voxels[((voxels >= 0) & (voxels < size)).all(axis=1)].T
    found: NDArray[np.float64] = volume[z, y, x]
    return found


def main() -> int:
    try:
        request = json.loads(sys.argv[1])
        volumes = {series: [Path(path) for path in paths] for series, paths in request["volumes"].items()}
        print(json.dumps(asdict(look(Path(request["truth"]), volumes))))
    except (CrboostError, KeyError, ValueError, IndexError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
