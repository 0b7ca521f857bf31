"""A project as it is in the middle of a run, made of files alone: what screens and commands are tried on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from core.engine.events import EventLog
from core.engine.lease import Lease
from core.engine.states import JobState, TaskState
from core.engine.status import EngineStatus, JobStatus, Need, Status, save_status
from core.project.layout import ProjectPaths

JOBS = (
    ("importmovies", "Import movies", "Import/job001/"),
    ("fsMotionAndCtf", "Motion and CTF", "External/job002/"),
    ("tsImport", "Tilt series for Warp", "External/job003/"),
    ("aligntiltsWarp", "Alignment", "External/job004/"),
    ("tsAutolevel", "Levelling", "External/job005/"),
    ("tsCtf", "CTF of tilt series", "External/job006/"),
    ("tsReconstruct", "Tomograms", ""),
)
NOW = time.mktime((2026, 11, 23, 14, 2, 0, 0, 0, -1))
"""Two minutes past two in local time, so that pictures do not depend on the zone."""


def status(series: int = 9) -> Status:
    """A run whose third series failed in the alignment; each later series is a step behind the one before."""
    names = [f"Position_{number}" for number in range(1, series + 1)]
    jobs = []
    for place, (id, title, folder) in enumerate(JOBS):
        cohorts = ["@axis_batch1"] if id == "aligntiltsWarp" else []
        states = [_state(number, place) for number in range(series)] + ["+"] * len(cohorts)
        began = [NOW - 600 + 20 * place + number if state in "+>x" else 0.0 for number, state in enumerate(states)]
        job = JobStatus(
            id=id, type=id, title=title, folder=folder, cohorts=cohorts, states=states,
            attempts=[1 if state in "+>x" else 0 for state in states], fingerprints=[""] * len(states), started=began,
            ended=[time + 15 if state in "+x" else 0.0 for time, state in zip(began, states, strict=True)],
            state=(JobState.RUNNING if folder else JobState.PLANNED).value,
        )  # fmt: skip
        for name, state in zip(names, states, strict=False):
            if state == ">":
                job.progress[name] = 0.62 if place == 6 else 0.2
            if state == "x":
                job.causes[name] = "AreTomo2 ended with code 1, no .aln written"
        jobs.append(job)
    for number, name in enumerate(names):
        jobs[0].numbers[name] = {"tilts": 41.0}
        jobs[1].numbers[name] = {
            "motion_angstrom_per_frame": 0.74 if number == 2 else 0.19 + 0.01 * number,
            "ctf_resolution_angstrom": 11.8 if number == 2 else 5.2 + 0.1 * number,
            "defocus_um": 2.7 + 0.05 * number,
        }
        if jobs[3].states[number] == "+":
            jobs[3].numbers[name] = {
                "tilts_used": 41.0 - number % 3, "tilt_axis_departure_deg": 0.1 - 0.1 * (number % 3),
                "largest_shift_angstrom": 112.0 + 17 * number,
            }  # fmt: skip
    return Status(
        name="ribosome_2026_11", event=0, updated=NOW, series=names, names=list(names), jobs=jobs,
        engine=EngineStatus(host="login2", pid=4242, version="0.1.0", state="running", request=1),
    )  # fmt: skip


def finished(series: int = 9) -> Status:
    """The same when all has gone well."""
    found = status(series)
    found.engine.state = "ended"
    for job in found.jobs:
        job.states = [TaskState.DONE.value] * len(job.states)
        job.attempts = [1] * len(job.states)
        job.causes.clear()
        job.progress.clear()
        job.state = JobState.SUCCEEDED.value
        job.folder = job.folder or "Tomograms/job007/"
    return found


def waiting_for_you(series: int = 9) -> Status:
    """A run in which a person must decide, in a rehearsal."""
    found = status(series)
    found.rehearsal = True
    found.jobs[5].states[0] = TaskState.NEEDS_YOU.value
    found.jobs[6].states[0] = TaskState.WAITING.value
    found.needs = [
        Need("decision", "handedness", "The handedness is unclear (correlation 0.03): set decisions.handedness.")
    ]
    return found


def write(root: Path, found: Status) -> Path:
    """The files of a project with this status; returns ``root``."""
    paths = ProjectPaths(root)
    paths.events.mkdir(parents=True)
    paths.file.write_text(f"format: 1\nname: {found.name}\n", encoding="utf-8")
    log = EventLog(paths.events, 0)
    if found.jobs:
        first = found.jobs[6].states[0]
        log.add(
            NOW - 60,
            "task",
            job="tsReconstruct",
            key="Position_1",
            state=first,
            progress=0.62 if first == ">" else None,
        )
        log.add(NOW - 30, "task", job="tsCtf", key="Position_2", state="+")
    if any("x" in job.states for job in found.jobs):
        cause = found.jobs[3].causes["Position_3"]
        log.add(NOW - 5, "task", job="aligntiltsWarp", key="Position_3", state="x", cause=cause)
    log.flush()
    save_status(paths, found)
    if found.engine.state == "running":
        lease = Lease(found.engine.host, found.engine.pid, "", "", "0.1.0", 1, 1, "ada")
        paths.lease.write_text(json.dumps(asdict(lease)), encoding="utf-8")
    return root


def write_log(root: Path, job: str, key: str, out: str, err: str = "", script: str = "#!/bin/bash\n") -> Path:
    """The files of the first attempt of a task; returns its log."""
    folder = root / job / "tasks" / key
    folder.mkdir(parents=True)
    for ending, text in (("out", out), ("err", err), ("sh", script)):
        (folder / f"1.{ending}").write_text(text, encoding="utf-8")
    return folder / "1.out"


def _state(number: int, place: int) -> str:
    if number == 2 and place >= 3:
        return "x" if place == 3 else "b"
    done = max(1, 6 - max(0, number - 1))
    if number < 2:
        done = 6 - number
    if place < done:
        return "+"
    return ">" if place == done and number < 5 else "q" if place == done else "."
