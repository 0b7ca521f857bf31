"""RELION 5.1 in its container, called through the product's own wrapper, and projects for it to work in."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.standins.session import Session, make_session
from core.tools.command import Command
from core.tools.slurm_in_container import SlurmInside
from core.tools.table import Tool, ToolTable
from core.tools.wrapper import wrap

OPTICS = {"rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1}
Row = Mapping[str, str | float]


class Relion:
    """RELION from the image, in one project folder. With ``slurm`` it can submit from inside."""

    def __init__(self, project: Path, image: Path, slurm: SlurmInside | None = None) -> None:
        self.project = project
        self.table = ToolTable({"relion": Tool("container", str(image))})
        self.slurm = slurm

    def argv(self, *argv: str, binds: Sequence[Path] = ()) -> tuple[str, ...]:
        """The command line that runs one program in the container."""
        command = Command("relion", argv, str(self.project), binds=tuple(map(str, binds)))
        if self.slurm is not None:
            command = self.slurm.given_to(command)
        return wrap(command, self.table, project=self.project)

    def call(self, *argv: str, binds: Sequence[Path] = (), seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*argv, binds=binds),
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def run(self, *argv: str, binds: Sequence[Path] = (), seconds: float = 60.0) -> str:
        """Run one program that must succeed; what it printed."""
        ended = self.call(*argv, binds=binds, seconds=seconds)
        assert ended.returncode == 0, f"{' '.join(argv)}: exit code {ended.returncode}\n{ended.stderr}{ended.stdout}"
        return ended.stdout


def table(name: str, rows: Sequence[Row]) -> str:
    """A STAR table as RELION takes it."""
    labels = "".join(f"_{label} #{number}\n" for number, label in enumerate(rows[0], 1))
    return f"\ndata_{name}\n\nloop_\n{labels}" + "".join(f"{' '.join(map(str, row.values()))}\n" for row in rows) + "\n"


def options(kind: str, values: Mapping[str, str], *, tomo: bool = False) -> str:
    """A ``job.star``."""
    rows = [{"rlnJobOptionVariable": name, "rlnJobOptionValue": value or '""'} for name, value in values.items()]
    head = f"\ndata_job\n\n_rlnJobTypeLabel {kind}\n_rlnJobIsContinue 0\n_rlnJobIsTomo {int(tomo)}\n\n"
    return head + table("joboptions_values", rows)


def movies(project: Path, **session: Any) -> Session:
    """A small synthetic session below ``project``, and ``tilt_series.star`` as RELION's own import writes it."""
    given = {"series": 1, "tilts": 5, "size_px": (128, 128), "pixel_size": 4.0, **session}
    made = make_session(project, **given)
    truth = json.loads(made.truth.read_text())
    rows: list[Row] = []
    (project / "tilt_series").mkdir()
    for name in made.series:
        tilts = [
            {
                "rlnMicrographMovieName": f"frames/{movie}.mrc",
                "rlnTomoTiltMovieFrameCount": truth["frames"],
                "rlnTomoNominalStageTiltAngle": tilt["angle_deg"],
                "rlnTomoNominalTiltAxisAngle": truth["nominal_axis_deg"],
                "rlnMicrographPreExposure": truth["dose_per_tilt_e_per_a2"] * tilt["order"],
            }
            for movie, tilt in truth["series"][name]["tilts"].items()
        ]
        (project / f"tilt_series/{name}.star").write_text(table(name, tilts))
        pixel = {"rlnMicrographOriginalPixelSize": truth["pixel_size_angstrom"], "rlnTomoHand": -1.0}
        place = f"tilt_series/{name}.star"
        rows.append(
            {"rlnTomoName": name, "rlnTomoTiltSeriesStarFile": place, **OPTICS, **pixel, "rlnOpticsGroupName": "og1"}
        )
    (project / "tilt_series.star").write_text(table("global", rows))
    return made
