"""Slurm's own commands on one cluster, and what they answer. Nothing of the product: tests look with other eyes."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

SEPARATOR = "\x1f"
# What daemons tell each other, and what asking for these figures costs itself: no client's doing.
NOT_OF_CLIENTS = re.compile(
    r"^(MESSAGE_|ACCOUNTING_|REQUEST_(PING|STATS_|COMPLETE_|STEP_COMPLETE|KILL_JOB|PERSIST|NODE_REG|FED_INFO))"
)
_RPC_LINE = re.compile(r"^\t([A-Z][A-Z0-9_]+)\s+\(\s*\d+\) count:(\d+)")


@dataclass(frozen=True)
class QueueRow:
    """One row of ``squeue``: a job, or one index of an array."""

    job_id: str  # as shown: 12, or 12_3 for an index of an array
    array_id: str  # 12 for all indices of 12_0, 12_1 ...; equal to job_id for a single job
    state: str  # PENDING, RUNNING, COMPLETED ...
    reason: str
    nodes: str
    partition: str
    name: str


QUEUE_FORMAT = SEPARATOR.join(("%i", "%F", "%T", "%r", "%N", "%P", "%j"))


def clean_environment(conf: Path) -> dict[str, str]:
    """Our environment for Slurm's commands: that cluster, nothing of a job that we may run in, and Debian's sbin."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))}
    sbin = [folder for folder in ("/usr/sbin", "/sbin") if folder not in kept.get("PATH", "").split(os.pathsep)]
    kept["PATH"] = os.pathsep.join([kept.get("PATH", "/usr/bin:/bin"), *sbin])
    return {**kept, "SLURM_CONF": str(conf), "SLURM_BITSTR_LEN": "0"}


class Slurm:
    """The clients' side of the cluster that ``conf`` (a ``slurm.conf``) describes."""

    def __init__(self, conf: Path) -> None:
        self.conf = conf

    @property
    def env(self) -> dict[str, str]:
        return clean_environment(self.conf)

    def call(self, *argv: str, seconds: float = 30.0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run one command, whatever becomes of it."""
        return subprocess.run(
            argv,
            env=self.env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def run(self, *argv: str, seconds: float = 30.0, cwd: Path | None = None) -> str:
        """Run one command that must succeed; what it printed."""
        ended = self.call(*argv, seconds=seconds, cwd=cwd)
        assert ended.returncode == 0, f"{' '.join(argv)}: exit code {ended.returncode}\n{ended.stderr}{ended.stdout}"
        return ended.stdout.strip()

    def submit(self, *options: str, command: str, folder: Path) -> str:
        """Submit one line of shell; the job's id. Slurm's output goes to ``folder``."""
        output = "--output=" + str(folder / "%j.out")
        said = self.run("sbatch", "--parsable", output, *options, "--wrap", command, cwd=folder)
        return said.split(";")[0]

    def jobs(self) -> list[QueueRow]:
        """Every job that Slurm still knows, each index of an array in a row of its own."""
        said = self.run("squeue", "-h", "-t", "all", "-r", "-o", QUEUE_FORMAT)
        rows = [line.split(SEPARATOR) for line in said.splitlines()]
        assert all(len(row) == len(fields(QueueRow)) for row in rows), said
        return [QueueRow(*row) for row in rows]

    def states(self, array_id: str) -> list[str]:
        """The states of one job, or of all indices of one array."""
        return [row.state for row in self.jobs() if row.array_id == array_id]

    def row(self, job_id: str) -> QueueRow | None:
        return next((row for row in self.jobs() if row.job_id == job_id), None)

    def wait_states(self, array_id: str, *wanted: str, seconds: float = 40.0) -> None:
        """Wait until every index of that job is in one of these states."""
        wait_until(
            lambda: set(self.states(array_id) or [""]) <= set(wanted),
            lambda: f"job {array_id} to be {' or '.join(wanted)}: {[r for r in self.jobs() if r.array_id == array_id]}",
            seconds,
        )

    def node_state(self, name: str) -> str:
        """``idle``, ``mixed``, ``allocated``, ``down`` ...; a star behind it: it does not answer.

        All nodes are asked for: of one alone (``-n``), ``sinfo`` 22.05 shows a dead node as ``mixed`` while nobody asks
        for all.
        """
        return dict(line.split() for line in self.run("sinfo", "-h", "-N", "-o", "%N %T").splitlines())[name]

    def wait_node(self, name: str, *wanted: str, seconds: float = 40.0) -> None:
        """Wait until a node is in one of these states (without a star it answers)."""
        wait_until(
            lambda: self.node_state(name) in wanted,
            lambda: f"node {name} to be {' or '.join(wanted)}: {self.node_state(name)}",
            seconds,
        )

    def rpcs(self) -> dict[str, int]:
        """How often the controller was asked what, of all that clients ask; see ``sdiag``."""
        found = {}
        for line in self.run("sdiag").splitlines():
            match = _RPC_LINE.match(line)
            if match and not NOT_OF_CLIENTS.match(match[1]):
                found[match[1]] = int(match[2])
        return found

    def rpc_count(self) -> int:
        return sum(self.rpcs().values())


def wait_until(true: Callable[[], bool], what: Callable[[], str], seconds: float) -> None:
    """Look ten times a second until it is true."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:.0f} s in vain for {what()}")
        time.sleep(0.1)
