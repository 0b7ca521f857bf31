"""Rehearsal projects whose tasks go to a real Slurm, and what Slurm and the project's record say of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.cluster.protocol import read_start, read_state
from core.engine.engine import Engine
from core.project.layout import ProjectPaths
from tests.rehearsed import rehearsal

JOBS = ("importmovies", "fsMotionAndCtf", "tsImport", "aligntiltsWarp", "tsAutolevel", "tsCtf", "tsReconstruct")
NO_COHORTS: dict[str, Any] = {"decisions": {"handedness": "flip"}}
NO_AXIS = {"aligntiltsWarp": {"calibrate_axis": False}}
SMALL: dict[str, Any] = {"cpus": 1, "gpus": 0, "gres": "", "memory_gb": 1, "minutes": 10}
FAST = {"burst": 1000, "per_second": 100.0}


def site_conf(*, resources: Mapping[str, Any] | None = None, **more: Any) -> str:
    """``conf.yaml`` of a site with Slurm: small tasks, with ``resources`` on top, and whatever else it says. JSON is
    YAML."""
    values = {"submitter": "slurm", "limits": {"min_free_gb": 0.0}, "slurm": FAST}
    profiles = {name: {**SMALL, **(resources or {})} for name in JOBS}
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in {**values, "profiles": profiles, **more}.items())


def slurm_project(folder: Path, *, series: int = 3, conf: str = "", seconds: float = 0.02, **more: Any) -> Path:
    """A project without cohorts, whose tilt series flow through on their own."""
    return rehearsal(
        folder,
        series=series,
        tilts=3,
        settings={"seconds": seconds},
        pieces=NO_COHORTS,
        parameters=NO_AXIS,
        conf=conf or site_conf(),
        **more,
    )


def stand_in(root: Path, **settings: Any) -> None:
    """Tell the stand-ins how to behave from now on."""
    (root / ".crboost/standins/standin.json").write_text(json.dumps({"seconds": 0.02, **settings}))


def calls(root: Path, command: str = "") -> list[dict[str, Any]]:
    """The project's record of the calls of Slurm's commands, of one of them where it is named."""
    lines = ProjectPaths(root).slurm_calls.read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [call for call in found if not command or Path(call["call"][0]).name == command]


def indices(root: Path) -> list[str]:
    """The ``--array`` of each ``sbatch`` that was taken."""
    options = [word for call in calls(root, "sbatch") if call["code"] == 0 for word in call["call"]]
    return [word.partition("=")[2] for word in options if word.startswith("--array=")]


def array_of(engine: Engine, instance: str, key: str) -> str:
    """The number of the array that a task was submitted in."""
    return engine.ledger.job(instance).queue_ids[key].partition("_")[0]


def most_at_once(root: Path, folder: str) -> int:
    """How many tasks of one job ran at the same time at most, by when each wrote its start and its end."""
    moments: list[tuple[int, int]] = []
    for state in (root / folder).glob("tasks/*/*.state"):
        start = state.with_suffix(".start")
        if read_state(state) is not None and read_start(start) is not None:
            moments += [(start.stat().st_mtime_ns, 1), (state.stat().st_mtime_ns, -1)]
    now = most = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most


def shown(text: str, names: Sequence[str]) -> dict[str, str]:
    """Values of ``scontrol show job``."""
    found = dict(word.split("=", 1) for word in text.split() if "=" in word)
    return {name: found.get(name, "") for name in names}
