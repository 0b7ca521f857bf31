"""Two people and one project: each reads and asks, one engine acts, and nobody touches the jobs of the other."""

from __future__ import annotations

import grp
import os
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.engine import requests
from core.engine.lease import read_lease
from core.engine.reading import load_status
from core.project.layout import ProjectPaths
from tests.kills import CRBOOST
from tests.real.site import Site
from tests.real.slurm_project import slurm_project, stand_in
from tests.rehearsed import DATA, done_attempts, start_engine, states, wait_for

MOTION = "fsMotionAndCtf"


@pytest.fixture
def folder(site: Site) -> Iterator[Path]:
    """A folder of the lab: of its group, and so is what is made in it; both write so that the other may."""
    before = os.umask(0o002)
    folder = site.lab / f"two-users-{secrets.token_hex(4)}"
    folder.mkdir()
    yield folder
    os.umask(before)
    site.as_other("chmod", "-R", "g+w", str(folder))
    shutil.rmtree(folder)


def colleague(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    """Our colleague's ``crboost``."""
    return site.as_other(*CRBOOST, *words, seconds=60)


def live_jobs(site: Site, root: Path) -> list[str]:
    """Jobs of the project that Slurm has not ended."""
    ours = {name for job in load_status(root).jobs for name in job.queue_ids.values()}
    return [row.job_id for row in site.jobs() if row.job_id in ours and row.state in ("PENDING", "RUNNING")]


def refuse_to_share(root: Path, group: str) -> list[str]:
    """What one of the lab could not write."""
    number = grp.getgrnam(group).gr_gid
    found = []
    for path in root.rglob("*"):
        about = path.lstat()
        if not stat.S_ISLNK(about.st_mode) and (about.st_gid != number or not about.st_mode & stat.S_IWGRP):
            found.append(f"{path.relative_to(root)} {stat.filemode(about.st_mode)} {about.st_gid}")
    return found


def test_a_colleague_reads_and_asks_and_the_one_engine_follows(site: Site, folder: Path) -> None:
    root = slurm_project(folder, seconds=1.5)
    requests.run(root, DATA, to=MOTION)
    engine = start_engine(root)
    wait_for(lambda: states(load_status(root)).get(MOTION) == ">>>", what="for running tasks")
    status = colleague(site, "status", str(root))
    assert status.returncode == 0 and "Position_3" in status.stdout, status.stderr
    queue = colleague(site, "queue", str(root))
    assert queue.returncode == 0 and "3 running" in queue.stdout, (queue.stdout, queue.stderr)
    asked = colleague(site, "run", str(root), "--to", "tsImport")
    assert asked.returncode == 0 and f"the engine runs on {os.uname().nodename}" in asked.stderr, asked.stderr
    wait_for(lambda: states(load_status(root))["tsImport"] == "+++", what="for what our colleague asked for")
    assert engine.wait(30) == 0
    assert set(done_attempts(root).values()) == {1}
    assert not refuse_to_share(root, "crboost-lab")


def test_a_colleague_does_not_take_over_while_our_jobs_live_and_does_when_they_have_ended(
    site: Site, folder: Path
) -> None:
    root = slurm_project(folder, seconds=8)
    requests.run(root, DATA, to="tsImport")
    engine = start_engine(root)
    wait_for(lambda: states(load_status(root)).get(MOTION) == ">>>", what="for running tasks")
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    ours = live_jobs(site, root)
    assert len(ours) == 3
    for words in (("run", str(root)), ("stop", str(root))):
        refused = colleague(site, *words)
        assert refused.returncode != 0, refused.stderr
        assert f"Tasks of {site.me} still run on the cluster ({MOTION} Position_1" in refused.stderr
    assert live_jobs(site, root) == ours
    requests.run(root, DATA, to="tsImport")  # the colleague's wish to stop is the last one no more
    stand_in(root)
    wait_for(lambda: not live_jobs(site, root), 40, "for the end of our jobs")
    taken = colleague(site, "run", str(root), "--to", "tsImport", "--wait")
    assert taken.returncode == 0, taken.stderr
    lease = read_lease(ProjectPaths(root).lease)
    assert lease is not None and lease.user == site.other
    assert states(load_status(root))["tsImport"] == "+++"
    assert set(done_attempts(root).values()) == {1}
    assert not refuse_to_share(root, "crboost-lab")

    # And back again.
    requests.redo(root, DATA, jobs=["tsImport"], series=["Position_1"])
    assert start_engine(root).wait(60) == 0
    assert load_status(root).job("tsImport").attempts == [2, 1, 1]
    assert states(load_status(root))["tsImport"] == "+++"
