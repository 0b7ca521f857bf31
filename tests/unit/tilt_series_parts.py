"""A small project on disk up to tsImport, and Warp's XML files, for tests of the tilt-series steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import cos, radians, sin, tan
from pathlib import Path
from typing import Any

from core.dataset.model import Acquisition, Sourced, TiltSeries
from core.jobs import ts_import
from core.jobs._base import JobContext, JobType, Producer, SeriesContext
from core.jobs._star import write_series
from core.project.decisions import Decision
from tests.unit.job_parts import acquisition, job_context, producer, series, series_context


def nominal(**changes: Any) -> Acquisition:
    """Acquisition values with a nominal tilt axis."""
    values = acquisition(**changes)
    return replace(values, tilt_axis_deg=Sourced(values.tilt_axis_deg.value, "nominal", confirmed=False))


@dataclass(frozen=True)
class Imported:
    """A project folder with a finished tsImport job."""

    project: Path
    producer: Producer

    def add(self, tilt_series: TiltSeries) -> None:
        job = job_context(ts_import.JOB_TYPE, self.project, "External/job003")
        rows: list[dict[str, Any]] = [
            {
                "rlnMicrographMovieName": f"frames/{movie}",
                "rlnTomoNominalStageTiltAngle": tilt_series.tilts.angle_deg[index],
                "rlnMicrographPreExposure": 3.0 * index,
            }
            for index, movie in enumerate(tilt_series.tilts.movie)
        ]
        write_series(job, tilt_series.id, rows)

    def context(
        self, job: JobContext[Any], tilt_series: TiltSeries, values: Acquisition, **inputs: Producer
    ) -> SeriesContext[Any]:
        return series_context(job, tilt_series, values, inputs or {"tomostar": self.producer})


def imported(project: Path) -> Imported:
    job = job_context(ts_import.JOB_TYPE, project, "External/job003")
    return Imported(project, producer(ts_import.JOB_TYPE, job))


def upstream(kind: JobType[Any], job: JobContext[Any], **inputs: Producer) -> Producer:
    return producer(kind, job, **inputs)


def small(identifier: str = "TS_01", count: int = 5) -> TiltSeries:
    return series(identifier, count)


def tilt_order(tilt_series: TiltSeries) -> list[int]:
    """Rows of a tomostar are sorted by angle, not by time."""
    angles = tilt_series.tilts.angle_deg
    return sorted(range(len(angles)), key=lambda index: angles[index])


def write_xml(
    path: Path,
    tilt_series: TiltSeries,
    *,
    axis: float = 85.0,
    sign: int = -1,
    inverted: bool = False,
    level: tuple[float, float] = (0.0, 0.0),
    shifts: Mapping[int, tuple[float, float]] | None = None,
    unused: Sequence[int] = (),
    unselected: str = "",
    defocus: Mapping[int, tuple[float, float, float, float]] | None = None,
) -> None:
    """A series XML. ``shifts`` by index in acquisition order (by default 10, -20 Å and more); ``unused`` likewise.
    ``defocus`` by index: defocus µm, delta µm, angle°, phase in π; then the file has OptionsCTF and its nodes stand in
    reverse order."""
    order = tilt_order(tilt_series)
    tilts = tilt_series.tilts

    def column(name: str, values: Sequence[Any]) -> str:
        return f"<{name}>" + "\n".join(str(value) for value in values) + f"</{name}>"

    found = {index: (10.0 + index, -20.0 - index) for index in order} if shifts is None else dict(shifts)
    parts = [
        column("Angles", [sign * tilts.angle_deg[i] for i in order]),
        column("Dose", [3.0 * i for i in order]),
        column("UseTilt", [i not in unused for i in order]),
        column("AxisAngle", [axis for _ in order]),
        column("AxisOffsetX", [found[i][0] for i in order]),
        column("AxisOffsetY", [found[i][1] for i in order]),
        column("MoviePath", [f"../warp_frameseries/{tilt_series.id}/{tilts.movie[i]}" for i in order]),
    ]
    if defocus is not None:
        parts.append("<OptionsCTF><Param Name='Window' Value='512' /></OptionsCTF>")
        for number, name in enumerate(("GridCTF", "GridCTFDefocusDelta", "GridCTFDefocusAngle", "GridCTFPhase")):
            nodes = "".join(
                f'<Node X="0" Y="0" Z="{z}" Value="{defocus[i][number]}" />'
                for z, i in reversed(list(enumerate(order)))
            )
            parts.append(f'<{name} Width="1" Height="1" Depth="{len(order)}">{nodes}</{name}>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<TiltSeries DataDirectory="/p" AreAnglesInverted="{inverted}" PlaneNormal="0, 0, 1" LevelAngleX="{level[0]}" '
        f'LevelAngleY="{level[1]}" UnselectManual="{unselected}" CTFResolutionEstimate="6.8">'
        + "".join(parts)
        + "</TiltSeries>",
        encoding="utf-8-sig",
    )


def write_movie_xml(folder: Path, movie: str, angle: float, axis: float, sign: int, width: float) -> None:
    """A frame-series XML with a 2x2 defocus grid: sign * tan(angle) * distance from the axis."""
    nodes = ""
    for y in range(2):
        for x in range(2):
            u, v = (x - 0.5) * width, (y - 0.5) * width
            across = u * cos(radians(axis)) + v * sin(radians(axis))
            value = 3 + sign * tan(radians(angle)) * across * 1e-4
            nodes += f'<Node X="{x}" Y="{y}" Z="0" Value="{value:.6f}" />'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{movie.rsplit('.', 1)[0]}.xml").write_text(
        '<Movie UnselectManual="null" CTFResolutionEstimate="5" MeanFrameMovement="0.5"><OptionsCTF />'
        f'<GridCTF Width="2" Height="2" Depth="1">{nodes}</GridCTF></Movie>'
    )


def decided(key: str, value: float | str, by: Any = "automatic") -> dict[str, Decision]:
    return {key: Decision(key, "decided", value, "because", by)}
