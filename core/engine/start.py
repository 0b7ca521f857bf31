"""Making sure that an engine is alive for a project: a detached process that survives whoever started it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from core.engine.causes import tail
from core.engine.lease import is_alive, read_lease, watch_until_known
from core.errors import CrboostError
from core.project.layout import ProjectPaths

START_SECONDS = 20.0


def ensure_engine(root: Path, data: Path) -> str:
    """Start an engine unless one lives; says which one it is. Raises :class:`CrboostError` where it does not start."""
    paths = ProjectPaths(root)
    paths.state.mkdir(exist_ok=True)
    if watch_until_known(paths.lease):
        lease = read_lease(paths.lease)
        assert lease is not None
        return f"the engine runs on {lease.host} (process {lease.pid})"
    before = read_lease(paths.lease)
    with open(paths.engine_log, "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.engine", str(root), "--data", str(data)],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    epoch = 0 if before is None else before.epoch
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        lease = read_lease(paths.lease)
        if lease is not None and lease.epoch > epoch and (is_alive(lease) is not False or lease.released):
            return f"engine started on {lease.host} (process {lease.pid})"
        if child.poll() is not None:
            last = tail(paths.engine_log).strip().splitlines()[-1:]
            raise CrboostError(f"The engine did not start: {last[0] if last else 'it ended at once'}", paths.engine_log)
        time.sleep(0.03)
    raise CrboostError(f"The engine did not start within {START_SECONDS:.0f} s.", paths.engine_log)
