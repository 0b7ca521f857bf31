"""Whole projects whose tools are stand-ins: a small synthetic session, its project, and what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.cluster.protocol import read_state
from core.engine import requests
from core.engine.reading import load_status
from core.engine.status import Status
from core.project.create import create_project
from core.project.data import add_data
from core.project.layout import ProjectPaths
from core.project.pipelines import load_pipeline
from core.standins.install import install
from core.standins.session import make_session

DATA = Path(__file__).resolve().parents[1] / "config"
CONF = "submitter: local\nlocal: {cpus: 64, gpus: 16}\n"


def rehearsal(
    folder: Path,
    *,
    series: int = 3,
    tilts: int = 5,
    settings: Mapping[str, str | float] | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    pipeline: str = "warp_to_tomograms",
    pieces: Mapping[str, Any] | None = None,
    faults: tuple[str, ...] = (),
    conf: str = CONF,
) -> Path:
    """A rehearsal project that is ready to run. ``settings`` are the stand-ins', ``parameters`` by instance id."""
    session = make_session(folder / "session", series=series, tilts=tilts, size_px=(48, 48), frames=3, faults=faults)
    root = folder / "project"
    instances = [
        {"id": one.id, "type": one.type, "parameters": {**one.parameters, **(parameters or {}).get(one.id, {})}}
        for one in load_pipeline(DATA / "pipelines", pipeline).pipeline
    ]
    create_project(root, "test (REHEARSAL)", "", {"pipeline": instances, "rehearsal": True, **(pieces or {})})
    paths = ProjectPaths(root)
    (paths.state / "conf.yaml").write_text(conf)
    add_data(root, [str(session.frames)], [str(session.mdocs)], settle_seconds=0)
    install(paths.state / "standins", DATA / "catalogues", settings={"seconds": 0.02, **(settings or {})})
    return root


def start_engine(root: Path, *more: str) -> subprocess.Popen[bytes]:
    """The engine in a process of its own, its log where the product puts it."""
    with open(ProjectPaths(root).engine_log, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "core.engine", str(root), "--data", str(DATA), *more],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def run_engine(root: Path, *more: str, seconds: float = 120.0) -> Status:
    """Run an engine to its end."""
    engine = start_engine(root, *more)
    try:
        code = engine.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(engine.pid, signal.SIGKILL)
        raise AssertionError(f"the engine did not end: {states(load_status(root))}") from None
    assert code == 0, ProjectPaths(root).engine_log.read_text()
    return load_status(root)


def run_to_end(root: Path, *, seconds: float = 120.0, **wish: Any) -> Status:
    """Ask for a run and let an engine carry it out."""
    requests.run(root, DATA, **wish)
    return run_engine(root, seconds=seconds)


def states(status: Status) -> dict[str, str]:
    return {job.id: "".join(job.states) for job in status.jobs}


def done_attempts(root: Path) -> Counter[str]:
    """How many attempts of each task ended as done, by ``job folder/key``."""
    found: Counter[str] = Counter()
    for path in root.glob("*/job*/tasks/*/*.state"):
        state = read_state(path)
        if state is not None and state.state == "done":
            found[f"{path.parents[2].name}/{path.parent.name}"] += 1
    return found


def wait_for(condition: Any, seconds: float = 30.0, what: str = "") -> Any:
    """Look every 20 ms until ``condition()`` is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain {what}")
