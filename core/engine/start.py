"""Making sure that somebody acts on a request: an engine that is alive, or a single pass."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from core import __version__
from core.engine.causes import tail
from core.engine.engine_job import submit_engine_job
from core.engine.lease import Lease, is_alive, read_lease, watch_until_known
from core.errors import CrboostError, InputError
from core.project.layout import ProjectPaths
from core.project.site import load_site

Host = Literal["here", "slurm"]

START_SECONDS = 45.0
"""Longer than a new engine looks at the heartbeat of one on another host."""


def ensure_engine(root: Path, data: Path, host: Host | None = None) -> str:
    """Start an engine unless one lives; says which one it is. ``host``: where, by default as the site says. Raises
    :class:`CrboostError` where it does not start."""
    paths = ProjectPaths(root)
    paths.state.mkdir(exist_ok=True)
    seen = watch_until_known(paths.lease)
    if seen.alive and seen.lease is not None:
        return _runs(seen.lease)
    if (host or load_site(root, data).engine.host) == "slurm":
        return submit_engine_job(root, data)
    child = _start(paths, data)
    lease = seen.lease
    epoch = 0 if seen.lease is None else seen.lease.epoch
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        ended = child.poll() is not None
        with contextlib.suppress(InputError):  # a damaged one, which the new engine is about to replace
            lease = read_lease(paths.lease)
        new = lease if lease is not None and lease.epoch > epoch else None
        lives = new is not None and is_alive(new) is not False
        # Its heart beats for the first time when it has found nothing that forbids it to act.
        if new is not None and new.beat and (lives or new.released):
            return f"engine started on {new.host} (process {new.pid})"
        if ended and not lives:  # else somebody else's, started in the same moment, was faster
            raise CrboostError(f"The engine did not start: {_last_line(paths)}", paths.engine_log)
        time.sleep(0.03)
    raise CrboostError(f"The engine did not start within {START_SECONDS:.0f} s.", paths.engine_log)


def stop_now(root: Path, data: Path) -> str:
    """See that a wish to stop is carried out: by the engine that lives, else by one pass, which is waited for."""
    paths = ProjectPaths(root)
    seen = watch_until_known(paths.lease)
    if seen.alive and seen.lease is not None:
        return _runs(seen.lease)
    if _start(paths, data, "--once").wait() == 0:
        return "done; no engine was running"
    seen = watch_until_known(paths.lease)
    if seen.alive and seen.lease is not None:  # somebody started one in this moment
        return _runs(seen.lease)
    raise CrboostError(f"The pass did not succeed: {_last_line(paths)}", paths.engine_log)


def _start(paths: ProjectPaths, data: Path, *more: str) -> subprocess.Popen[bytes]:
    with open(paths.engine_log, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "core.engine", str(paths.root), "--data", str(data), *more],
            cwd=paths.root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _runs(lease: Lease) -> str:
    other = f", version {lease.version}, this is {__version__}" if lease.version != __version__ else ""
    return f"the engine runs on {lease.host} (process {lease.pid}{other})"


def _last_line(paths: ProjectPaths) -> str:
    last = tail(paths.engine_log).strip().splitlines()[-1:]
    return last[0] if last else "it ended at once"
