"""200 kills of engines and commands in rehearsed projects, each of which must end whole: on this host and on Slurm."""

from __future__ import annotations

import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.bench.slurm import bench_cluster
from tests.kills import check_submissions, check_whole, finish, kill_until_done
from tests.real.slurm_project import slurm_project, stand_in
from tests.rehearsed import rehearsal

KILLS = 200
PER_PROJECT = 20


def survived(folder: Path) -> dict[str, float]:
    return {"kills_survived": _survived(folder, lambda place: rehearsal(place, series=4, tilts=5), check_whole)}


def survived_on_slurm(folder: Path) -> dict[str, float]:
    """As above; besides, nothing was submitted or claimed twice."""

    def check(root: Path) -> None:
        check_whole(root)
        check_submissions(root, cluster.jobs())

    with bench_cluster(folder) as cluster:
        return {"slurm_kills_survived": _survived(folder, _varied_project, check)}


def _varied_project(place: Path) -> Path:
    """Each series at its own pace, so that there is a submission for almost every task."""
    root = slurm_project(place, series=4)
    stand_in(root, seconds=0.3, sigma=0.8)
    return root


def _survived(folder: Path, make: Callable[[Path], Path], check: Callable[[Path], None]) -> int:
    """Kills after which every task was done exactly once, no file was half written and RELION's files were readable.

    A project that is not whole in the end counts for none of its kills.
    """
    killed = good = seed = 0
    while killed < KILLS:
        seed += 1
        place = folder / str(seed)
        root = make(place)
        kills = kill_until_done(root, min(PER_PROJECT, KILLS - killed), seed)
        killed += kills
        try:
            finish(root)
            check(root)
            good += kills
            shutil.rmtree(place)
        except Exception:
            kept = shutil.move(place, f"{folder}-{seed}")
            print(f"project {seed} did not survive; it is kept in {kept}", file=sys.stderr)
            traceback.print_exc()
    return good
