"""Killing engines and commands at random moments, and what must be true of a project afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from core.cluster.protocol import AttemptPaths, read_state
from core.engine import requests
from core.engine.lease import is_alive, read_lease
from core.engine.reading import load_status
from core.formats import star
from core.project.layout import ProjectPaths
from core.relion.lock import read_pipeline
from tests.real.slurm import QueueRow
from tests.rehearsed import DATA, done_attempts, start_engine, states, wait_for

CRBOOST = [sys.executable, "-P", "-m", "crboost_tui.main"]
FINISH_SECONDS = 300.0


def kill_until_done(root: Path, kills: int, seed: int) -> int:
    """Let the project run to its end while engines and, now and then, commands are killed; how many were."""
    dice = random.Random(seed)
    done = 0
    while done < kills:
        if not ProjectPaths(root).wanted.exists() or dice.random() < 0.2:
            done += _kill_command(root, dice.uniform(0.0, 1.0))
        else:
            done += _kill_engine(root, dice)
        if _ended(root):
            break
    return done


def _kill_command(root: Path, after_seconds: float) -> bool:
    command = subprocess.Popen([*CRBOOST, "run", str(root)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after_seconds)
    in_time = command.poll() is None
    command.kill()
    command.wait()
    return in_time


def _kill_engine(root: Path, dice: random.Random) -> bool:
    """Kill the living engine, which a command may have started, or else one of our own."""
    pid = _engine_pid(root)
    engine = None if pid else start_engine(root)
    _wait_for_moment(root, dice)
    if engine is not None:
        in_time = engine.poll() is None
        engine.kill()
        engine.wait()
        return in_time
    if _engine_pid(root) != pid:
        return False
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not _engine_pid(root), what="for the killed engine to be gone")
    return True


def _wait_for_moment(root: Path, dice: random.Random) -> None:
    """Any moment, or one in which something is being submitted: between the intent and the note of what came of it."""
    how = dice.randrange(3)
    if how < 2:
        time.sleep(dice.uniform(0.2, 1.0) if how else dice.uniform(0.5, 3.0))
        return
    journal = ProjectPaths(root).submissions
    before, end = _size(journal), time.monotonic() + 1.5
    while _size(journal) == before and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(dice.uniform(0.0, 0.03))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _engine_pid(root: Path) -> int:
    """The process of the living engine, 0 where none lives."""
    lease = read_lease(ProjectPaths(root).lease)
    return lease.pid if lease is not None and is_alive(lease) else 0


def _ended(root: Path) -> bool:
    """Whether all is done and an engine has ended in order since: one that is killed after the last task has not
    told RELION yet."""
    lease = read_lease(ProjectPaths(root).lease)
    return lease is not None and lease.released and load_status(root).outcome() == "succeeded"


def finish(root: Path) -> None:
    """Let the project come to its end undisturbed."""
    if not ProjectPaths(root).wanted.exists():
        requests.run(root, DATA)
    end = time.monotonic() + FINISH_SECONDS
    while not _ended(root) and time.monotonic() < end:
        if _engine_pid(root):
            time.sleep(0.1)
            continue
        # One that a killed command has started may have taken the lease just before: then this one ends at once.
        code = start_engine(root).wait(end - time.monotonic())
        if code == 0 and load_status(root).outcome() in ("failed", "needs you"):
            return


def check_whole(root: Path) -> None:
    """Every task done exactly once, no half-written file, RELION's files readable."""
    status = load_status(root)
    assert status.outcome() == "succeeded", (status.outcome(), states(status), [job.causes for job in status.jobs])
    done = done_attempts(root)
    twice = {task: count for task, count in done.items() if count != 1}
    assert not twice, twice
    assert sum(done.values()) == sum(len(job.states) for job in status.jobs)
    for path in root.rglob("*.star"):
        if ".Nodes" not in path.parts:  # RELION's menus: empty files
            star.read(path)
    assert {process.status for process in read_pipeline(root).processes()} == {"Succeeded"}
    json.loads(ProjectPaths(root).status.read_text())
    for path in root.rglob("*.tmp"):  # what a kill left behind is hidden, and no product has such a name
        assert path.name.startswith("."), path


def check_submissions(root: Path, queue: Sequence[QueueRow]) -> None:
    """No attempt was submitted twice or claimed twice, and each was done by the one job of Slurm that had it.
    ``queue``: all jobs that Slurm has ever had."""
    submissions: dict[tuple[str, str, int], list[str]] = {}
    for line in ProjectPaths(root).submissions.read_text().splitlines():
        with contextlib.suppress(ValueError):  # cut off by a kill
            values = json.loads(line)
            for index, (instance, key, number) in enumerate(values.get("attempts", ())):
                where = f"{values['intent']}_{values['with']['indices'][index]}" if "with" in values else ""
                submissions.setdefault((instance, key, number), []).append(where)
    twice = {attempt: where for attempt, where in submissions.items() if len(where) > 1}
    assert not twice, f"attempts that were submitted twice: {twice}"
    jobs: dict[str, list[str]] = {}
    for row in queue:
        jobs.setdefault(f"{row.name}_{row.job_id.partition('_')[2]}", []).append(row.job_id)
    copies = {where: ids for where, ids in jobs.items() if len(ids) > 1}
    assert not copies, f"submissions that Slurm has twice: {copies}"
    folders = {job.id: root / job.folder for job in load_status(root).jobs}
    for (instance, key, number), (where,) in submissions.items():
        paths = AttemptPaths(folders[instance], key, number)
        claims = list(paths.folder.glob(f"{number}.claim*"))
        assert claims == [paths.claim], claims
        owner, state = paths.claim.read_text().strip(), read_state(paths.state)
        if state is None:
            assert owner.startswith("withdrawn "), (paths.claim, owner)
        else:
            assert state.job == owner and jobs[where] == [owner], (paths.state, owner, jobs.get(where))
    duplicates = [log for log in root.glob("*/job*/submit/*.log") if "[crboost] duplicate" in log.read_text()]
    assert not duplicates, duplicates
