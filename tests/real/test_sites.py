"""Sites with ways of their own: other names for jobs, another cluster behind the same commands, closed partitions."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.engine import attempts, requests
from core.errors import InputError
from core.project.site import load_site
from tests.engine.driving import drive, engine_of, letters, sentences
from tests.engine.test_changes import change
from tests.real.cluster import PrivateCluster
from tests.real.conftest import MakeCluster
from tests.real.faults import Client, check_once
from tests.real.slurm_project import SMALL, calls, site_conf, slurm_project, stand_in
from tests.rehearsed import DATA

STEP = "fsMotionAndCtf"


def test_a_site_that_names_jobs_itself(
    cluster: PrivateCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs is never taken for lost, also by an engine that takes over, and is stopped when it should be."""
    monkeypatch.setattr(attempts, "ABSENT_SECONDS", 2.0)
    Client("sbatch", tmp_path, monkeypatch).do('real "${@:1:$#-1}" --job-name=ours "${@: -1}"')
    root = slurm_project(tmp_path, series=2)
    stand_in(root, seconds=8)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=lambda: letters(engine, STEP) == ">>", seconds=30)
        drive(engine, until=lambda: len(calls(root, "squeue")) > 2, seconds=30)
    with engine_of(root) as engine:
        drive(engine, seconds=60)
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [1, 1]
    assert len(calls(root, "sbatch")) == 1


def test_options_that_a_submission_sets_itself_are_refused(tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=1, conf="slurm: {options: [--exclusive, --nice=10]}\n")
    assert load_site(root, DATA).slurm.options == ["--exclusive", "--nice=10"]
    for option in ("--job-name=mine", "--requeue", "-a", "-J", "--output=x", "--array=0-3"):
        (root / ".crboost/conf.yaml").write_text(f'slurm: {{options: ["{option}"]}}\n')
        with pytest.raises(InputError, match="slurm.options: has .* which crboost sets itself"):
            load_site(root, DATA)


def test_tasks_on_another_cluster_are_not_run_again(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ABSENT_SECONDS", 2.0)
    there = make_cluster(nodes=1, gpus=0)
    root = slurm_project(tmp_path, series=2)
    stand_in(root, seconds=12)
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=lambda: letters(engine, STEP) == ">>", seconds=30)
    here = make_cluster(nodes=1, gpus=0)
    monkeypatch.setenv("SLURM_CONF", here.env["SLURM_CONF"])
    with engine_of(root) as engine:
        drive(engine, until=lambda: "this host speaks to" in sentences(engine), seconds=30)
        drive(engine, seconds=60)
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [1, 1]
    assert not here.jobs() and len(there.jobs()) == 2


def test_what_waits_with_other_resources_is_submitted_again(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Also without any complaint of Slurm: a person has said what the tasks should ask for."""
    cluster = make_cluster(nodes=1, gpus=0, partitions=("main Nodes=ALL Default=YES", "night Nodes=ALL State=DOWN"))
    root = slurm_project(tmp_path, series=3, conf=site_conf(resources={"partition": "night"}))
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=lambda: letters(engine, STEP) == "qqq" and bool(cluster.jobs()), seconds=30)
        change(root, STEP, resources={**SMALL, "partition": "main"})
        requests.run(root, DATA, to=STEP)
        drive(engine, seconds=60)
        check_once(root, engine, STEP)
