"""From the end of one task to the start of the next one of the same series, with the local submitter."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from core.engine.plan import make_plan
from core.engine.reading import load_status
from core.project.decisions import HANDEDNESS
from tests.rehearsed import DATA, rehearsal, run_to_end

SERIES = 50
TASK_SECONDS, SIGMA = 15.0, 0.4
"""Log-normal: long and varied enough that two cores are not busy with 50 stand-ins that begin and end all at once."""


def median_of_fifty_series(folder: Path) -> dict[str, float]:
    """Between the time of ``.state`` of the last producer and that of ``.start``.

    Every task asks for one CPU and no GPU and there are more slots than series, so that none waits for one; tilt axis
    and handedness are decided beforehand, so that none waits for the other series.
    """
    alone = {"resources": {"cpus": 1, "gpus": 0}}
    root = rehearsal(
        folder,
        series=SERIES,
        settings={"seconds": TASK_SECONDS, "sigma": SIGMA},
        parameters={"aligntiltsWarp": {"calibrate_axis": False}},
        pieces={**alone, "decisions": {HANDEDNESS: "flip"}},
        conf=f"submitter: local\nlocal: {{cpus: {2 * SERIES}, gpus: 0}}\n",
    )
    status = run_to_end(root, seconds=600.0)
    assert status.outcome() == "succeeded", status.outcome()
    return {"handover_local_median_s": median(_waits(root))}


def _waits(root: Path) -> list[float]:
    plan = make_plan(root, DATA)
    tasks = {job.id: root / job.folder / "tasks" for job in load_status(root).jobs}
    found = []
    for instance in plan.jobs:
        for key in plan.series:
            producers = plan.producers(instance, key, None)
            if producers:
                ended = max((tasks[name] / key / "1.state").stat().st_mtime for name in producers)
                found.append((tasks[instance] / key / "1.start").stat().st_mtime - ended)
    return found
