"""Running task scripts on this host, as detached process groups that survive whoever started them.

A process is named by its number, its start time and the boot of the host: never by its number alone, which the system
gives again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.cluster.protocol import boot_id
from core.cluster.slots import Held, Slots
from core.errors import CrboostError

TOKEN = "CRBOOST_JOB_ID"
"""The variable by which a task is found again, and from which its script takes its job id."""

_HIDDEN = ("SLURM_", "SBATCH_", "SRUN_", "PMI_", "PMIX_", "OMPI_")
"""Of an engine that itself runs in a Slurm job: a local task is not part of that job."""


@dataclass(frozen=True, slots=True)
class LocalJob:
    """The leading process of a task. ``pid_start`` in clock ticks since ``boot``."""

    pid: int
    pid_start: int
    boot: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    state: str
    session: int
    start: int


class LocalSubmitter:
    """Starts task scripts and looks after them. All calls are quick, but for :meth:`cancel`."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self._boot = boot_id()
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def submit(self, script: Path, *, job_id: str, environment: Mapping[str, str], held: Held, cwd: Path) -> LocalJob:
        """Start ``script`` with the slots of ``held``, which the task keeps and this process gives up.

        ``job_id`` is the token of the submission. Raises :class:`CrboostError` where the host refuses.
        """
        variables = {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}
        if "SLURM_CONF" in os.environ:
            variables["SLURM_CONF"] = os.environ["SLURM_CONF"]
        variables.update(environment)
        variables[TOKEN] = job_id
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, held.gpu_indices))
        variables["OMP_NUM_THREADS"] = str(max(held.cpus, 1))
        try:
            child = subprocess.Popen(
                ["bash", str(script)],
                cwd=cwd,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=held.fds,
            )
        except OSError as error:
            raise CrboostError(f"the task could not be started ({error.strerror}).", script) from error
        finally:
            held.release()
        self._children[child.pid] = child
        # Not reaped yet, so even a child that has ended already still has its entry.
        process = _process(child.pid)
        return LocalJob(child.pid, process.start if process else 0, self._boot, job_id)

    def alive(self, job: LocalJob) -> bool:
        """Whether any process of the task is left, also where its leader was killed and a tool runs on."""
        self._reap(job.pid)
        return any(True for _ in self._members(job))

    def find_by_token(self, token: str) -> LocalJob | None:
        """The task with this token among all processes of this user, for one that was started just before a crash."""
        found = [process for process in _own_processes() if process.state != "Z" and _has_token(process.pid, token)]
        if not found:
            return None
        leader = next((process for process in found if process.session == process.pid), found[0])
        return LocalJob(leader.pid, leader.start, self._boot, token)

    def cancel(self, job: LocalJob, grace_seconds: float = 10.0) -> bool:
        """TERM, so that the script stops its command and says so; after ``grace_seconds`` KILL to whatever is left.
        Waits until all is seen gone; False where something is left all the same."""
        self._reap(job.pid)
        leader = _process(job.pid)
        if leader is not None and self._is_leader(leader, job):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(job.pid, signal.SIGTERM)
        else:
            self._signal_all(job, signal.SIGTERM)
        if self._gone_within(job, grace_seconds):
            return True
        end = time.monotonic() + 10.0
        while time.monotonic() < end:
            self._signal_all(job, signal.SIGKILL)
            if self._gone_within(job, 0.2):
                return True
        return False

    def exit_fd(self, job: LocalJob) -> int | None:
        """A descriptor that becomes readable when the leader ends (for an event loop; the caller closes it). None where
        it has ended already or the kernel has no such thing (before 5.3): then ask :meth:`alive`."""
        try:
            descriptor = os.pidfd_open(job.pid)
        except OSError:
            return None
        process = _process(job.pid)
        if process is not None and process.start == job.pid_start and job.boot == self._boot:
            return descriptor
        os.close(descriptor)
        return None

    def _reap(self, pid: int) -> None:
        child = self._children.get(pid)
        if child is not None and child.poll() is not None:
            self._children.pop(pid, None)  # another thread may have done so

    def _is_leader(self, process: _Process, job: LocalJob) -> bool:
        return process.start == job.pid_start and job.boot == self._boot

    def _members(self, job: LocalJob) -> Iterator[_Process]:
        """Living processes of the task: its leader, its session, and what left the session but carries its token."""
        if job.boot != self._boot:
            return
        leader = _process(job.pid)
        if leader is not None and self._is_leader(leader, job) and leader.state != "Z":
            yield leader
        # The number of a session is not given again while the session has members: another process under that
        # number means that nobody of the session is left.
        reused = leader is not None and not self._is_leader(leader, job)
        for process in _own_processes():
            if process.pid == job.pid or process.state == "Z" or process.start < job.pid_start:
                continue
            in_session = not reused and process.session == job.pid
            if in_session or (job.token and _has_token(process.pid, job.token)):
                yield process

    def _signal_all(self, job: LocalJob, number: signal.Signals) -> None:
        for process in list(self._members(job)):
            again = _process(process.pid)
            if again is not None and again.start == process.start:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, number)

    def _gone_within(self, job: LocalJob, seconds: float) -> bool:
        end = time.monotonic() + seconds
        pause = 0.01
        while self.alive(job):
            if time.monotonic() >= end:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)
        return True


def _process(pid: int) -> _Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b") ")[2].split()
        return _Process(pid, fields[0].decode("ascii"), int(fields[3]), int(fields[19]))
    except (OSError, IndexError, ValueError):
        return None


def _own_processes() -> Iterator[_Process]:
    user = os.getuid()
    with os.scandir("/proc") as entries:
        for entry in entries:
            if not entry.name.isdigit():
                continue
            try:
                if entry.stat().st_uid != user:
                    continue
            except OSError:
                continue
            process = _process(int(entry.name))
            if process is not None:
                yield process


def _has_token(pid: int, token: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return f"{TOKEN}={token}".encode() in stream.read().split(b"\0")
    except OSError:
        return False
