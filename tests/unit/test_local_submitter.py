"""Slots and local tasks, with real processes."""

from __future__ import annotations

import os
import secrets
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.cluster.local import LocalJob, LocalSubmitter
from core.cluster.slots import Slots
from core.errors import CrboostError


@pytest.fixture
def submitter(tmp_path: Path) -> LocalSubmitter:
    return LocalSubmitter(Slots(4, 2, tmp_path / "slots"))


TOKEN = f"t{secrets.token_hex(6)}"
"""Of this process alone: other tests of the same user may run beside it."""


def start(
    submitter: LocalSubmitter, folder: Path, text: str, token: str = TOKEN, cpus: int = 1, gpus: int = 0
) -> LocalJob:
    script = folder / f"{token}.sh"
    script.write_text(text)
    held = submitter.slots.take(cpus, gpus)
    assert held is not None
    return submitter.submit(script, job_id=token, environment={"MINE": "a b"}, held=held, cwd=folder)


def until(condition: object, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_slots_are_taken_all_or_none_and_freed(tmp_path: Path) -> None:
    mine, other_project = Slots(4, 2, tmp_path / "s"), Slots(4, 2, tmp_path / "s")
    first = mine.take(3, 1)
    assert first is not None and first.gpu_indices == (0,) and len(first.fds) == 4
    assert other_project.take(2, 0) is None
    assert other_project.take(1, 2) is None
    second = other_project.take(1, 1)
    assert second is not None and second.gpu_indices == (1,)
    assert mine.free() == (0, 0)
    first.release()
    first.release()
    assert mine.free() == (3, 1)
    second.release()
    everything = mine.take(100, 0)
    assert everything is not None and everything.cpus == 4
    everything.release()


def test_a_slot_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").symlink_to(tmp_path)
    with pytest.raises(CrboostError, match="your own"):
        Slots(1, 0, tmp_path / "s")
    Slots(1, 0, tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700


def test_a_task_gets_its_environment_and_holds_its_slots(
    submitter: LocalSubmitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    seen = "$CRBOOST_JOB_ID,$CUDA_VISIBLE_DEVICES,$OMP_NUM_THREADS,$MINE,${SLURM_JOB_ID-none},$PWD"
    text = f"echo {seen} > out.tmp; mv out.tmp out; sleep 300"
    begun = time.perf_counter()
    job = start(submitter, tmp_path, text, cpus=3, gpus=2)
    took = time.perf_counter() - begun
    until((tmp_path / "out").exists)
    assert (tmp_path / "out").read_text() == f"{TOKEN},0,1,3,a b,none,{tmp_path}\n"
    assert submitter.slots.free() == (1, 0)
    assert submitter.alive(job)
    assert submitter.find_by_token(TOKEN) == job
    assert submitter.find_by_token(TOKEN[:-1]) is None
    assert submitter.cancel(job, 5)
    assert not submitter.alive(job) and submitter.find_by_token(TOKEN) is None
    until(lambda: submitter.slots.free() == (4, 2))
    assert took < 0.1  # some 3 ms on a quiet machine


def test_an_exit_is_seen(submitter: LocalSubmitter, tmp_path: Path) -> None:
    job = start(submitter, tmp_path, "sleep 0.1")
    descriptor = submitter.exit_fd(job)
    assert descriptor is not None
    assert select.select([descriptor], [], [], 10)[0]
    os.close(descriptor)
    until(lambda: not submitter.alive(job), 2)
    assert submitter.exit_fd(job) is None


def test_somebody_elses_process_is_never_touched(submitter: LocalSubmitter, tmp_path: Path) -> None:
    foreign = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        job = start(submitter, tmp_path, "exit 0")
        until(lambda: not submitter.alive(job))
        for reused in (
            LocalJob(foreign.pid, job.pid_start - 5, job.boot, TOKEN),
            LocalJob(foreign.pid, 0, job.boot),
            LocalJob(foreign.pid, job.pid_start, "another boot", TOKEN),
        ):
            assert not submitter.alive(reused)
            assert submitter.exit_fd(reused) is None
            assert submitter.cancel(reused, 0.1)
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


def test_a_task_that_ignores_signals_or_lost_its_leader_is_ended(submitter: LocalSubmitter, tmp_path: Path) -> None:
    stubborn = "trap '' TERM; (trap '' TERM; set -m; sleep 300 & sleep 300 & echo x > up; wait) & wait"
    job = start(submitter, tmp_path, stubborn)
    until((tmp_path / "up").exists)
    assert submitter.cancel(job, 0.2) and not submitter.alive(job)
    assert submitter.slots.free() == (4, 2)
    orphan = start(submitter, tmp_path, "set -m; sleep 300 & echo x > up2; wait", "t2")
    until((tmp_path / "up2").exists)
    os.kill(orphan.pid, signal.SIGKILL)
    time.sleep(0.1)
    assert submitter.alive(orphan), "a tool still runs and may still write"
    assert submitter.slots.free() == (3, 2)
    assert submitter.cancel(orphan, 2) and not submitter.alive(orphan)
    assert submitter.slots.free() == (4, 2)


def test_a_task_survives_whoever_started_it(submitter: LocalSubmitter, tmp_path: Path) -> None:
    (tmp_path / "task.sh").write_text("sleep 300")
    program = f"""
import os, signal
from pathlib import Path
from core.cluster.local import LocalSubmitter
from core.cluster.slots import Slots
submitter = LocalSubmitter(Slots(4, 2, Path({str(tmp_path / "slots")!r})))
folder = Path({str(tmp_path)!r})
held = submitter.slots.take(2, 1)
submitter.submit(folder / "task.sh", job_id="survivor-{os.getpid()}", environment={{}}, held=held, cwd=folder)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False)
    job = submitter.find_by_token(f"survivor-{os.getpid()}")
    assert job is not None and submitter.alive(job)
    assert submitter.slots.free() == (2, 1)
    descriptor = submitter.exit_fd(job)
    assert descriptor is not None
    os.close(descriptor)
    assert submitter.cancel(job, 5)
    until(lambda: submitter.slots.free() == (4, 2))
