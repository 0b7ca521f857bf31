"""An engine that a site hosts in Slurm: the same process in a small job, which submits its successor before its time
ends. The successor waits until the lease is free, so that at no moment two of them act.
"""

from __future__ import annotations

import json
import secrets
import shlex
import sys
from pathlib import Path

from core.cluster.quoting import words
from core.cluster.slurm import NotKnown, Slurm
from core.cluster.slurm_words import Phase, state_meaning
from core.errors import CrboostError
from core.files import replace_text
from core.project.layout import ProjectPaths
from core.project.site import Site, load_site

NOTICE_SECONDS = 600
"""How long before its end an engine submits its successor, at most half of its time."""


def submit_engine_job(root: Path, data: Path) -> str:
    """Submit an engine unless one waits already; a sentence. Raises :class:`CrboostError` where Slurm refuses."""
    paths = ProjectPaths(root)
    site = load_site(root, data)
    slurm = Slurm(paths.slurm_calls, shlex.split(site.qsub.command), site.slurm.seconds)
    waiting = _waiting_job(paths, slurm)
    if waiting:
        return f"the engine's job {waiting} is in Slurm's queue"
    number = _submit(paths, data, site, slurm)
    return f"the engine was submitted to Slurm as job {number}"


def submit_successor(root: Path, data: Path) -> str:
    """As :func:`submit_engine_job`, from the engine that is about to end: its own job still runs."""
    paths = ProjectPaths(root)
    site = load_site(root, data)
    slurm = Slurm(paths.slurm_calls, shlex.split(site.qsub.command), site.slurm.seconds)
    return f"the engine's time ends soon; its successor is job {_submit(paths, data, site, slurm)}"


def engine_job_waits(root: Path) -> bool:
    """Whether an engine's job was submitted that has not begun, as far as the project's files tell."""
    return ProjectPaths(root).engine_job.exists()


def engine_job_begins(root: Path) -> None:
    """This process is the engine of a job: the next one is submitted anew."""
    ProjectPaths(root).engine_job.unlink(missing_ok=True)


def _waiting_job(paths: ProjectPaths, slurm: Slurm) -> int | None:
    try:
        number = int(json.loads(paths.engine_job.read_text())["job"])
        states = slurm.others(number)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    except NotKnown as error:
        raise CrboostError(f"Slurm does not say whether an engine's job waits already: {error}", paths.root) from error
    return number if any(state_meaning(state).phase != Phase.ENDED for state in states) else None


def _submit(paths: ProjectPaths, data: Path, site: Site, slurm: Slurm) -> int:
    command = [sys.executable, "-P", "-m", "core.engine", str(paths.root), "--data", str(data), "--in-slurm"]
    script = paths.state / "engine.sh"
    replace_text(script, f"#!/bin/bash\n# The engine of this project, as crboost submits it.\nexec {words(command)}\n")
    notice = min(NOTICE_SECONDS, site.engine.minutes * 30)
    options = [
        f"--job-name=crboost-engine-{secrets.token_hex(4)}",
        f"--chdir={paths.root}",
        "--output=.crboost/engine.log",
        "--error=.crboost/engine.log",
        "--open-mode=append",
        "--requeue",
        "--export=ALL",
        f"--time={site.engine.minutes}",
        f"--signal=B:USR1@{notice}",
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
    number = slurm.submit([*options, *site.slurm.options], script, paths.root)
    replace_text(paths.engine_job, json.dumps({"job": number}) + "\n")
    return number
