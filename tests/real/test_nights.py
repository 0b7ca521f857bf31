"""What happens on a real Slurm while nobody looks: bad nodes, too little memory, pauses, full disks; who is told."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.engine import requests, stalled
from core.engine.states import TaskState
from core.project.layout import ProjectPaths
from tests.engine.driving import drive, engine_of, letters, sentences
from tests.real.cluster import PrivateCluster
from tests.real.conftest import MakeCluster, absent
from tests.real.faults import notices, states_seen
from tests.real.site import Site
from tests.real.slurm_project import array_of, calls, shown, site_conf, slurm_project, stand_in
from tests.rehearsed import DATA, done_attempts, run_to_end, wait_for

MOTION = "fsMotionAndCtf"
TEMPLATE = "#!/bin/bash\n{line}\nXXXcommandXXX\n"


class Told:
    """The site's ``notify`` command, which notes what it is told."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "told"
        self.command = folder / "tell.sh"
        self.command.write_text(f'#!/bin/sh\nprintf "%s\\n" "$2" >> {self.path}\n')
        self.command.chmod(0o755)

    def __str__(self) -> str:
        return self.path.read_text() if self.path.exists() else ""

    def wait(self, words: str) -> None:
        wait_for(lambda: words in str(self), 10, f"for {words!r} to be told; it was: {self}")


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def with_line(folder: Path, line: str) -> dict[str, str]:
    """``qsub`` of a site whose template has this line before the command."""
    path = folder / "qsub.sh"
    path.write_text(TEMPLATE.format(line=line))
    return {"template": str(path)}


def test_a_node_on_which_all_fails_is_left_out_although_the_others_are_not_done_yet(
    make_cluster: MakeCluster, tmp_path: Path, told: Told
) -> None:
    """Its two slots eat one series after another, while nothing has succeeded yet."""
    make_cluster(nodes=3, cpus=2, gpus=0)
    broken = "[ \"$SLURMD_NODENAME\" != n1 ] || export CRBOOST_STANDIN_FAIL='*:*:fail'"
    conf = site_conf(qsub=with_line(tmp_path, broken), notify=[str(told.command)])
    root = slurm_project(tmp_path, series=10, seconds=1.5, conf=conf)
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, MOTION) == "+" * 10, (sentences(engine), notices(root))
        assert engine.ledger.status.queue.nodes == ["n1"]
        again = [
            key
            for key, number in zip(engine.ledger.status.series, engine.ledger.job(MOTION).attempts, strict=True)
            if number > 1
        ]
    assert 3 <= len(again) <= 8, again
    excluding = [call for call in calls(root, "sbatch") if "--exclude=n1" in call["call"]]
    assert excluding and all(call["code"] == 0 for call in excluding)
    assert "n1 is left out" in str(told) and "paused" not in str(told)
    assert set(done_attempts(root).values()) == {1}


def test_five_failures_of_one_cause_pause_a_job_and_empty_the_queue_of_it(
    make_cluster: MakeCluster, tmp_path: Path, told: Told
) -> None:
    make_cluster(nodes=1, cpus=1, gpus=0)
    root = slurm_project(tmp_path, series=8, conf=site_conf(notify=[str(told.command)]))
    stand_in(root, seconds=0.5, fail="*:*:fail")
    run_to_end(root, to="importmovies")
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine)
        failed = letters(engine, MOTION).count("x")
        assert 5 <= failed <= 7 and letters(engine, MOTION).count("!") == 8 - failed
        assert "paused after 5 failures of one cause" in sentences(engine)
        told.wait(f"{MOTION} is paused after 5 failures of one cause: the stand-in was told to fail")
        stand_in(root)
        requests.retry(root, DATA, jobs=[MOTION])
        drive(engine, lambda: engine.ledger.status.engine.request == 3)
        drive(engine)
        assert letters(engine, MOTION) == "+" * 8
    assert set(done_attempts(root).values()) == {1}


def test_a_task_that_ran_out_of_memory_gets_twice_as_much(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    """For real: what the tool allocates is more than the first attempt may have."""
    if not site.limits_memory:
        absent("cgroups do not hold a job to its memory on this machine")
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(
        '#!/bin/bash\n[ "${SLURM_MEM_PER_NODE:-9999}" -gt 1024 ] ||'
        " /usr/bin/python3 -c \"b'x' * 1500 * 2**20\" || exit 137\n"
        'exec /usr/bin/python3 "$@"\n'
    )
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{python.parent}:{os.environ['PATH']}")
    root = slurm_project(tmp_path, series=1, conf=site_conf(notify=[str(told.command)]))
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, MOTION) == "+", notices(root)
        assert engine.ledger.job(MOTION).attempts == [2]
        memory = shown(site.run("scontrol", "show", "job", array_of(engine, MOTION, "Position_1")), ["MinMemoryNode"])
        assert memory == {"MinMemoryNode": "2G"}
    assert "needed more memory than it asked for" in notices(root) and "with twice the memory" in notices(root)
    assert TaskState.FAILED not in states_seen(root, MOTION)


def test_what_ended_tasks_used_is_known_where_accounting_is(site: Site, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, seconds=0.6, conf=site_conf(resources={"cpus": 2}))
    status = run_to_end(root, to=MOTION)
    usage = status.job(MOTION).usage
    assert set(usage) == set(status.series)
    for one in usage.values():
        assert 0.001 < one["memory_gb"] < 0.5
        assert 0.01 < one["minutes"] < 0.5
        assert 0 < one["cpu_percent"] <= 100


def test_a_refusal_is_said_and_told_and_a_new_request_tries_again(
    cluster: PrivateCluster, tmp_path: Path, told: Told
) -> None:
    def conf(partition: str) -> str:
        return site_conf(resources={"partition": partition}, notify=[str(told.command)])

    root = slurm_project(tmp_path, series=1, conf=conf("nowhere"))
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine)
        (need,) = engine.ledger.status.needs
        assert need.kind == "refused" and need.fields == ["resources.partition"]
        told.wait("Invalid partition name specified. Correct its resources, then run again.")
        (root / ".crboost/conf.yaml").write_text(conf("main"))
        requests.run(root, DATA, to=MOTION)
        drive(engine, lambda: engine.ledger.status.engine.request == 2)
        drive(engine)
        assert letters(engine, MOTION) == "+" and not engine.ledger.status.needs
    assert set(done_attempts(root).values()) == {1}


def test_a_retry_with_more_that_slurm_refuses_fails_alone(make_cluster: MakeCluster, tmp_path: Path) -> None:
    make_cluster(
        nodes=1, gpus=0, partitions=("main Nodes=ALL Default=YES MaxTime=15",), extra=("EnforcePartLimits=ALL",)
    )
    root = slurm_project(tmp_path)
    run_to_end(root, to="importmovies")
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        engine.ledger.set_task(MOTION, "Position_2", TaskState.WAITING, more={"time": 2})
        drive(engine)
        assert letters(engine, MOTION) == "+x+" and not engine.ledger.status.needs
        assert "for more Slurm refused the job" in engine.ledger.job(MOTION).causes["Position_2"]


def test_the_site_is_told_how_a_run_ended(cluster: PrivateCluster, tmp_path: Path, told: Told) -> None:
    root = slurm_project(tmp_path, series=2, conf=site_conf(notify=[str(told.command)]))
    stand_in(root, fail="*:Position_2:fail")
    run_to_end(root, to=MOTION)
    told.wait("failed: 1 tasks failed")
    stand_in(root)
    requests.retry(root, DATA)
    run_to_end(root)
    told.wait("finished: all jobs succeeded")
    assert str(told).count("\n") == 2, str(told)


def test_a_run_in_which_nothing_happens_any_more_is_told(
    cluster: PrivateCluster, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalled, "PATIENCE_SECONDS", 3.0)
    root = slurm_project(tmp_path, series=1, conf=site_conf(resources={"minutes": 1}, notify=[str(told.command)]))
    run_to_end(root, to="importmovies")
    cluster.run("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        requests.run(root, DATA, to=MOTION)
        with engine_of(root) as engine:
            drive(engine, lambda: "stalled" in sentences(engine))
            told.wait("stalled: nothing has begun or ended for 0 h, though 0 tasks run and 1 wait in the queue")
            cluster.run("scontrol", "update", "PartitionName=main", "State=UP")
            drive(engine)
            assert letters(engine, MOTION) == "+" and not engine.ledger.status.needs
    finally:
        cluster.run("scontrol", "update", "PartitionName=main", "State=UP")
    assert str(told).count("stalled") == 1


@pytest.fixture
def small_disk(site: Site) -> Iterator[Path]:
    """A folder on the disk of 40 MB."""
    folder = site.small_disk / f"nights-{secrets.token_hex(4)}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_nothing_is_submitted_while_less_is_free_than_the_site_wants(site: Site, small_disk: Path) -> None:
    root = slurm_project(small_disk, series=1, conf=site_conf(limits={"min_free_gb": 0.02}))
    filling = small_disk / "filling"
    filling.write_bytes(bytes(22 * 2**20))
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine, lambda: "are free on this project's disk, the limit is 0.02 GB" in sentences(engine))
        assert letters(engine, MOTION) in (".", "o") and not ProjectPaths(root).slurm_calls.exists()
        filling.unlink()
        drive(engine)
        assert letters(engine, MOTION) == "+" and not engine.ledger.status.needs
    assert set(done_attempts(root).values()) == {1}


def test_a_disk_that_fills_up_costs_nothing_but_time(site: Site, small_disk: Path) -> None:
    root = slurm_project(small_disk, series=2, seconds=0.5)
    filling = small_disk / "filling"
    requests.run(root, DATA, to="tsImport")
    with engine_of(root) as engine:
        drive(engine, lambda: letters(engine, MOTION) == ">>")
        _fill(filling)
        drive(engine, lambda: "full" in sentences(engine), seconds=20)
        filling.unlink()
        drive(engine)
        assert letters(engine, "tsImport") == "++", (sentences(engine), notices(root))
    assert set(done_attempts(root).values()) == {1}


def _fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(64 * 1024)):
            pass
