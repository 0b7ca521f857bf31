"""An engine that a site hosts in Slurm: the same process in a small job, which submits its successor before its time
ends. The successor says that it has begun, the one before ends in order, and then it takes the lease: at no moment two
of them act.

``engine_job.json`` names the job that was submitted last, until it is the engine.
"""

from __future__ import annotations

import json
import secrets
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.cluster.quoting import words
from core.cluster.slurm import NotKnown, Slurm
from core.cluster.slurm_words import Phase, state_meaning
from core.errors import CrboostError
from core.files import replace_text
from core.project.layout import ProjectPaths
from core.project.lock import project_lock
from core.project.site import load_site

NOTICE_SECONDS = 600
"""How long before its end an engine submits its successor, at most half of its time."""


def heir_seconds(minutes: int) -> float:
    """How long after its beginning an engine that may live for so many minutes submits its successor."""
    return minutes * 60.0 - min(NOTICE_SECONDS, minutes * 30.0)


def submit_engine_job(root: Path, data: Path, after: int = 0) -> str:
    """Submit an engine unless one waits already; a sentence. ``after``: the epoch of the engine that it succeeds, 0
    where none lives. Raises :class:`CrboostError` where Slurm refuses or does not answer."""
    known = _read(root)
    if (not after or known.get("after") == after) and engine_job_is_queued(root, data):
        return f"the engine's job {_read(root).get('job', '')} is in Slurm's queue"
    withdraw_engine_job(root, data)
    token = f"crboost-engine-{secrets.token_hex(4)}"
    _write(root, {"token": token, "after": after})
    try:
        number = _submit(root, data, token, after)
    except NotKnown:
        raise  # it may be in the queue: whoever asks next looks for its name
    except CrboostError:
        forget_engine_job(root, token)
        raise
    with project_lock(root):
        if _read(root) == {"token": token, "after": after}:  # else it has begun already
            _write(root, {"token": token, "after": after, "job": number})
    return f"the engine was submitted to Slurm as job {number}"


def engine_job_waits(root: Path) -> bool:
    """Whether an engine's job was submitted that is not the engine yet, as far as the project's files tell."""
    return bool(_read(root))


def engine_job_is_queued(root: Path, data: Path) -> bool:
    """The same as Slurm tells. What it no longer has is forgotten."""
    known = _read(root)
    if not known:
        return False
    slurm = _slurm(root, data)
    try:
        if "job" in known:
            queued = any(state_meaning(state).phase != Phase.ENDED for state in slurm.others(int(known["job"])))
        else:  # sbatch never said its number
            number = slurm.queue().named(str(known["token"]))
            queued = number is not None
            if number is not None:
                _write(root, {**known, "job": number})
    except NotKnown as error:
        raise CrboostError(f"Slurm does not say whether an engine's job waits already: {error}", root) from error
    if not queued:
        forget_engine_job(root, str(known["token"]))
    return queued


def withdraw_engine_job(root: Path, data: Path) -> None:
    """The job that waits, if there is one, is not needed."""
    known = _read(root)
    if known:
        _slurm(root, data).cancel([f"--jobname={known['token']}"])
        forget_engine_job(root, str(known["token"]))


def engine_job_begins(root: Path, token: str) -> None:
    """Tell the engine before that this job has begun and waits for the lease."""
    with project_lock(root):
        known = _read(root)
        if known.get("token") == token:
            _write(root, {**known, "began": True})


def engine_job_began(root: Path) -> bool:
    return bool(_read(root).get("began"))


def forget_engine_job(root: Path, token: str) -> None:
    """That job is the engine now, or never will be: nobody need wait for it."""
    with project_lock(root):
        if _read(root).get("token") == token:
            ProjectPaths(root).engine_job.unlink(missing_ok=True)


def _submit(root: Path, data: Path, token: str, after: int) -> int:
    site = load_site(root, data)
    command = [sys.executable, "-P", "-m", "core.engine", str(root), "--data", str(data), "--in-slurm", token]
    command += ["--after", str(after), "--seconds", str(heir_seconds(site.engine.minutes))]
    script = ProjectPaths(root).state / "engine.sh"
    replace_text(script, f"#!/bin/bash\n# The engine of this project, as crboost submits it.\nexec {words(command)}\n")
    options = [
        f"--job-name={token}",
        f"--chdir={root}",
        "--output=.crboost/engine.log",
        "--error=.crboost/engine.log",
        "--open-mode=append",
        "--requeue",
        "--export=ALL",
        f"--time={site.engine.minutes}",
    ]
    names = {
        "partition": "partition", "constraint": "constraint", "account": "account", "qos": "qos",
        "cpus": "cpus-per-task",
    }  # fmt: skip
    for name, value in site.engine.resources.items():
        if name in names and value:
            options.append(f"--{names[name]}={value}")
        elif name == "memory_gb":
            options.append(f"--mem={value}G")
    return _slurm(root, data).submit([*options, *site.slurm.options], script, root)


def _slurm(root: Path, data: Path) -> Slurm:
    site = load_site(root, data)
    return Slurm(ProjectPaths(root).slurm_calls, shlex.split(site.qsub.command), site.slurm.seconds)


def _read(root: Path) -> dict[str, Any]:
    """What was submitted last; empty where it is the engine, and where there is nothing that can be understood."""
    try:
        known = json.loads(ProjectPaths(root).engine_job.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and "token" in known else {}


def _write(root: Path, values: Mapping[str, Any]) -> None:
    replace_text(ProjectPaths(root).engine_job, json.dumps(values) + "\n")
