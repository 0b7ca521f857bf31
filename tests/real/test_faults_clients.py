"""Slurm's commands hang, lie and fall silent, and engines die while they speak to them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from core.cluster import protocol
from core.cluster.protocol import AttemptPaths
from core.engine import attempts, requests, slurm_queue, submitting
from core.engine.engine import Engine
from tests.engine.driving import drive, engine_of, letters
from tests.real.cluster import PrivateCluster
from tests.real.faults import Client, check_once, notices
from tests.real.slurm_project import calls, site_conf, slurm_project, stand_in
from tests.rehearsed import DATA, start_engine, wait_for

STEP = "fsMotionAndCtf"
IMPATIENT = {"burst": 1000, "per_second": 100.0, "seconds": 3}
HANG = f"sleep 4321.{os.getpid()}"
TIMED_OUT = "Socket timed out on send/recv operation"


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    return Client("sbatch", tmp_path, monkeypatch)


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    return Client("squeue", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(HANG, id="hangs"),
        pytest.param(f"echo 'sbatch: error: Batch job submission failed: {TIMED_OUT}' >&2; exit 1", id="times out"),
        pytest.param("echo Bonjour", id="garbage"),
        pytest.param("echo 17; echo 4", id="numbers"),
        pytest.param("kill -KILL $$", id="dies"),
    ],
)
def test_an_sbatch_that_took_the_job_but_did_not_say_so(
    cluster: PrivateCluster, tmp_path: Path, sbatch: Client, answer: str
) -> None:
    sbatch.do(f'real "$@" > /dev/null\n{answer}')
    root = slurm_project(tmp_path, series=2, conf=site_conf(slurm=IMPATIENT))
    stand_in(root, seconds=1.5)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine)
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [1, 1]
    assert len(calls(root, "sbatch")) == 1
    assert not subprocess.run(["pgrep", "-f", f"^{re.escape(HANG)}$"], capture_output=True, check=False).stdout


def test_an_sbatch_that_hangs_longer_than_its_tasks_take_does_not_hold_up_the_others(
    cluster: PrivateCluster, tmp_path: Path, sbatch: Client
) -> None:
    first = tmp_path / "first"
    sbatch.do(f'if [[ ! -e {first} ]]; then : > {first}; real "$@"; {HANG}; fi; real "$@"')
    root = slurm_project(tmp_path, series=1, conf=site_conf(slurm=IMPATIENT))
    requests.run(root, DATA, to="tsImport")
    with engine_of(root) as engine:
        drive(engine, seconds=30)
        check_once(root, engine, STEP)
        check_once(root, engine, "tsImport")


def test_a_banner_around_the_number_of_the_job_does_no_harm(
    cluster: PrivateCluster, tmp_path: Path, sbatch: Client
) -> None:
    sbatch.do('echo "*** Maintenance on 27 November ***"; echo careful >&2; real "$@"; echo "Have a nice day"')
    root = slurm_project(tmp_path, series=1)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=lambda: engine.ledger.job(STEP).queue_ids, seconds=20)
        assert not engine.ledger.status.queue.trouble
        drive(engine)
        check_once(root, engine, STEP)


def test_a_submission_that_never_arrived_is_made_again_after_two_looks(
    cluster: PrivateCluster, tmp_path: Path, sbatch: Client
) -> None:
    sbatch.do(HANG)
    root = slurm_project(tmp_path, series=2, conf=site_conf(slurm=IMPATIENT))
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=lambda: "sbatch" in engine.ledger.status.queue.trouble)
        sbatch.behave()
        drive(engine)
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [2, 2]
    assert_looked_twice(root)


def test_an_sbatch_that_never_submits_is_tried_more_and_more_slowly_and_said(
    cluster: PrivateCluster, tmp_path: Path, sbatch: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "SEARCH_SECONDS", 1.0)
    monkeypatch.setattr(submitting, "UNHEARD_SECONDS", 2.0)
    told = tmp_path / "told"
    sbatch.do("echo Bonjour")
    notify = ["sh", "-c", f'echo "$0" "$@" >> {told}']
    root = slurm_project(tmp_path, series=2, conf=site_conf(slurm=IMPATIENT, notify=notify))
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=told.exists, seconds=40)
        sbatch.behave()
        drive(engine)
        check_once(root, engine, STEP)
    tried = [call["t"] for call in calls(root, "sbatch")]
    assert len(tried) == 4 and tried[2] - tried[1] > 2 and tried[3] - tried[2] > 4
    assert "did not reach Slurm (sbatch did not say whether it submitted the job: Bonjour)" in notices(root)
    assert "did not reach Slurm" in told.read_text()


def assert_looked_twice(root: Path) -> None:
    """Between the first submission and the second one."""
    first, second = (call["t"] + call["seconds"] for call in calls(root, "sbatch"))
    looks = [call["t"] for call in calls(root, "squeue") if first <= call["t"] < second]
    assert looks[-1] - looks[0] >= slurm_queue.SEARCH_SECONDS


LIES = {
    "hangs": HANG,
    "fails": "exit 1",
    "says nothing": "exit 0",
    "garbage": "echo '<html><title>502 Bad Gateway</title></html>'",
    "times out": f"echo 'slurm_load_jobs error: {TIMED_OUT}' >&2; exit 1",
    "times out with code 0": f"echo 'slurm_load_jobs error: {TIMED_OUT}' >&2; real \"$@\" | head -n 1",
    "stops half-way": "real \"$@\" | head -n 1; echo 'slurm_load_jobs error: Zero Bytes were transmitted or received'",
}


def test_a_squeue_that_lies_changes_nothing(
    cluster: PrivateCluster, tmp_path: Path, squeue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SOON_SECONDS", "HURRY_SECONDS", "QUIET_SECONDS"):
        monkeypatch.setattr(slurm_queue, name, 0.3)
    for name in ("QUEUE_VISIBLE_SECONDS", "ABSENT_SECONDS"):
        monkeypatch.setattr(attempts, name, 0.5)
    root = slurm_project(tmp_path, series=2, conf=site_conf(slurm={**IMPATIENT, "seconds": 1}))
    stand_in(root, seconds=9)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=lambda: letters(engine, STEP) == ">>", seconds=30)
        for name, lie in LIES.items():
            squeue.do(lie)
            drive(engine, until=lambda: engine.ledger.status.queue.trouble, seconds=10)
            steps(engine, 1.5)
            assert letters(engine, STEP) == ">>", name
            squeue.behave()
            drive(engine, until=lambda: not engine.ledger.status.queue.trouble, seconds=10)
        squeue.do('echo "*** Maintenance on Friday ***"; echo careful >&2; real "$@"')
        stand_in(root)
        drive(engine)
        assert not engine.ledger.status.queue.trouble
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [1, 1]


def steps(engine: Engine, seconds: float) -> None:
    until = time.monotonic() + seconds
    drive(engine, until=lambda: time.monotonic() > until, seconds=seconds + 30)


def test_one_look_that_misses_a_job_is_no_proof_while_slurm_is_silent(
    cluster: PrivateCluster, tmp_path: Path, squeue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ABSENT_SECONDS", 2.0)
    monkeypatch.setattr(slurm_queue, "SOON_SECONDS", 1.0)
    root = slurm_project(tmp_path, series=2)
    stand_in(root, seconds=4)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=lambda: letters(engine, STEP) == ">>", seconds=30)
        marker = tmp_path / "looked"
        squeue.do(f'[[ -e {marker} ]] && exit 1; real "$@" | head -n 1; : > {marker}')
        drive(engine, until=marker.exists, seconds=20)
        steps(engine, 5)
        assert letters(engine, STEP) == ">>"
        squeue.behave()
        stand_in(root)
        drive(engine)
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [1, 1]


def test_a_state_that_nobody_knows_is_no_end(cluster: PrivateCluster, tmp_path: Path, squeue: Client) -> None:
    squeue.do('real "$@" | sed s/RUNNING/HIBERNATING/')
    root = slurm_project(tmp_path, series=1)
    stand_in(root, seconds=3)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=lambda: "crboost does not know (HIBERNATING)" in str(engine.ledger.status.queue.rows))
        drive(engine)
        check_once(root, engine, STEP)


def test_an_accounting_that_is_promised_but_disabled_is_done_without(
    cluster: PrivateCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "ACCOUNTS_SECONDS", 1.0)
    scontrol = Client("scontrol", tmp_path, monkeypatch)
    scontrol.do('real "$@" | sed s,accounting_storage/none,accounting_storage/slurmdbd,')
    root = slurm_project(tmp_path, series=2)
    first = "Position_1"
    stand_in(root, fail=f"*:{first}:fail")
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, seconds=30)
        assert letters(engine, STEP) == "x+"
    asked = calls(root, "sacct")
    assert "disabled" in asked[0]["said"] and len(asked) <= 2 * slurm_queue.ACCOUNTS_TRIES


def killed_with(root: Path, sbatch: Client, bash: str) -> None:
    """Run an engine whose first ``sbatch`` is these lines, in which ``dies`` kills the engine."""
    sbatch.do(f"dies() {{ kill -KILL $PPID; }}\n{bash}")
    requests.run(root, DATA, to=STEP)
    engine = start_engine(root)
    try:
        assert engine.wait(30) == -9
    finally:
        engine.kill()
    sbatch.behave()


def test_a_new_engine_finds_what_a_killed_one_submitted(
    cluster: PrivateCluster, tmp_path: Path, sbatch: Client
) -> None:
    root = slurm_project(tmp_path, series=2)
    killed_with(root, sbatch, 'real "$@" > /dev/null; dies')
    with engine_of(root) as engine:
        drive(engine)
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [1, 1]


def test_a_new_engine_submits_again_what_a_killed_one_did_not_and_a_late_copy_does_nothing(
    cluster: PrivateCluster, tmp_path: Path, sbatch: Client
) -> None:
    root = slurm_project(tmp_path, series=2)
    late, now = tmp_path / "late", tmp_path / "now"
    killed_with(root, sbatch, f'dies; until [[ -e {now} ]]; do sleep 0.2; done; real "$@" > {late}')
    stand_in(root, seconds=2)
    with engine_of(root) as engine:
        drive(engine, until=lambda: letters(engine, STEP) == ">>", seconds=60)
        now.touch()  # it comes while the new ones are there
        wait_for(lambda: late.exists() and late.read_text())
        assert letters(engine, STEP) == ">>"
        drive(engine)
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [2, 2]
    looks = [call["t"] for call in calls(root, "squeue") if call["t"] < calls(root, "sbatch")[-1]["t"]]
    assert looks[-1] - looks[0] >= slurm_queue.SEARCH_SECONDS
    array = late.read_text().strip()
    cluster.wait_states(array, "COMPLETED")
    assert all("duplicate" in log.read_text() for log in root.glob(f"*/job*/submit/*_{array}_*.log"))


def test_a_submission_that_comes_in_the_moment_in_which_it_is_given_up_is_followed(
    cluster: PrivateCluster, tmp_path: Path, sbatch: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "SEARCH_SECONDS", 1.0)
    command = tmp_path / "command"
    sbatch.do(f'printf "%q " "$@" > {command}; exit 0')
    root = slurm_project(tmp_path, series=2)
    stand_in(root, seconds=2)

    def late(paths: AttemptPaths) -> bool:
        if not paths.claim.exists():
            subprocess.run(["sbatch", *shlex.split(command.read_text())], check=True, cwd=root)
            wait_for(paths.claim.exists)
        return protocol.withdraw(paths)

    monkeypatch.setattr(attempts, "withdraw", late)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine)
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [1, 1]
    assert len(calls(root, "sbatch")) == 1
