"""What WarpTools' frame-series step leaves of one series, for tests: small files in the right places."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from core.jobs import fs_motion_and_ctf as frame_series

XML = (
    '\ufeff<?xml version="1.0" encoding="utf-8"?>\n<Movie DataDirectory="/p/frames" UnselectFilter="False" '
    'UnselectManual="{manual}" CTFResolutionEstimate="{resolution}" MeanFrameMovement="{motion}">\n'
    '<OptionsCTF><Param Name="Window" Value="512" /></OptionsCTF>\n'
    '<CTF><Param Name="PixelSize" Value="0.675" /><Param Name="Defocus" Value="{defocus}" />'
    '<Param Name="DefocusDelta" Value="{delta}" /><Param Name="DefocusAngle" Value="{angle}" />'
    '<Param Name="PhaseShift" Value="{phase}" /></CTF>\n'
    "<OptionsMovement></OptionsMovement>\n</Movie>\n"
)
TRACKS = {
    "0_0": {"x": [0.0, 3.0, 3.0, 3.0], "y": [0.0, 4.0, 5.0, 5.0]},
    "1_0": {"x": [0.0] * 4, "y": [0.0, 0.0, 2.0, 4.0]},
}


def write_movie(job_folder: Path, series: str, movie: str, **values: object) -> None:
    """XML, averages with halves, spectrum and tracks of one movie."""
    files = frame_series.tilt_files(job_folder, series, movie)
    for path in (files.xml, files.average, files.even, files.odd, files.spectrum):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(struct.pack("<3i", 4, 4, 1) + bytes(1044))
    numbers: dict[str, object] = {
        "manual": "null",
        "resolution": "4.3",
        "motion": "0.61",
        "defocus": "2.41",
        "delta": "0.06",
        "angle": "31.5",
        "phase": "0.25",
    }
    files.xml.write_text(XML.format(**{**numbers, **values}), encoding="utf-8")
    files.tracks.write_text(json.dumps(TRACKS))
