"""Submission of what is ready: the lab's own template, arrays, retries, limits, packs and the budget."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from core.cluster.protocol import AttemptPaths, read_start
from core.engine import requests
from core.engine.engine import Engine
from core.engine.slurm_queue import SlurmQueue
from tests.engine.driving import drive, engine_of, letters
from tests.real.cluster import PrivateCluster
from tests.real.conftest import MakeCluster
from tests.real.site import Site
from tests.real.slurm_project import array_of, calls, indices, most_at_once, shown, site_conf, slurm_project, stand_in
from tests.rehearsed import DATA, done_attempts, run_to_end, states
from tests.unit.test_template import BASH_LAB, BASH_TABLE

MOTION = "fsMotionAndCtf"
SERIES = 500 if os.environ.get("CRBOOST_SLOW") else 130


def test_a_labs_own_template_takes_the_whole_pipeline_through(cluster: PrivateCluster, tmp_path: Path) -> None:
    template = tmp_path / "qsub.sh"
    template.write_text(BASH_LAB)
    extra = {str(number): {"field": field} for number, field in BASH_TABLE.items()}
    conf = site_conf(resources={"memory_gb": 2, "cpus": 2}, qsub={"template": str(template), "extra": extra})
    root = slurm_project(tmp_path, conf=conf)
    status = run_to_end(root)
    assert status.outcome() == "succeeded", (states(status), status.needs)
    assert set(done_attempts(root).values()) == {1}

    job = status.job("tsCtf")
    array = job.queue_ids["Position_1"].partition("_")[0]
    token = cluster.run("squeue", "-h", "-t", "all", "-j", array, "-o", "%j").split()[0]
    script = root / job.folder / "submit" / f"{token}.sh"
    assert cluster.run("scontrol", "write", "batch_script", array, "-") + "\n" == script.read_text()
    header = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    assert header[:5] == [
        "#SBATCH --nodes=1   # how many",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --gres=gpu:0",
        "#SBATCH --mem 2G",
        "#SBATCH --time=168:00:00",
    ]
    asked = shown(
        cluster.run("scontrol", "show", "job", array), ["MinMemoryNode", "CPUs/Task", "TimeLimit", "NumNodes"]
    )
    assert asked == {"MinMemoryNode": "2G", "CPUs/Task": "2", "TimeLimit": "7-00:00:00", "NumNodes": "1"}
    logs = [log.read_text() for log in script.parent.glob("*.log")]
    assert len(logs) == 3 and all(re.fullmatch(r"running in \S*, ranks: 1\nended with 0\n", log) for log in logs), logs
    assert not (root / job.folder / "run.err").read_text()


def test_what_is_ready_goes_into_one_array_and_a_retry_takes_only_what_failed(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    root = slurm_project(tmp_path, series=6)
    stand_in(root, fail="fs_motion_and_ctf:Position_2:fail,fs_motion_and_ctf:Position_5:fail")
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, MOTION) == "+x++x+"
        assert indices(root) == ["0-5"]
        assert _ran_as_noted(root, engine, 1) == 6
        folder = root / engine.ledger.job(MOTION).folder
        others = [path for path in folder.rglob("*Position_[1346]_*.mrc") if path.is_file()]
        before = {path: path.stat().st_mtime_ns for path in others}
        stand_in(root)
        requests.retry(root, DATA, jobs=[MOTION])
        drive(engine, lambda: engine.ledger.status.engine.request == 2)
        drive(engine)
        assert letters(engine, MOTION) == "++++++"
        assert indices(root) == ["0-5", "0-1"]
        assert engine.ledger.job(MOTION).attempts == [1, 2, 1, 1, 2, 1]
        assert _ran_as_noted(root, engine, 2) == 2
        after = {path: path.stat().st_mtime_ns for path in before}
        assert len(before) >= 12 and after == before
    assert set(done_attempts(root).values()) == {1}


def _ran_as_noted(root: Path, engine: Engine, number: int) -> int:
    """How many attempts of this number there are; each ran as the job and index that the ledger and the table say."""
    job = engine.ledger.job(MOTION)
    found = 0
    for key in job.queue_ids:
        paths = AttemptPaths(root / job.folder, key, number)
        mark = read_start(paths.start)
        if mark is None:
            continue
        index = mark.job.partition("_")[2]
        if engine.ledger.attempt(MOTION, key) == number:
            assert job.queue_ids[key] == mark.job
        table = next(
            path for path in (root / job.folder).glob("submit/*.tasks.sh") if str(paths.script) in path.read_text()
        )
        assert f"\n{index}) set -- {paths.script} ;;\n" in table.read_text()
        found += 1
    return found


def test_fifty_ready_series_take_several_arrays_of_twenty(make_cluster: MakeCluster, tmp_path: Path) -> None:
    make_cluster(nodes=1, cpus=16, gpus=0, max_array_size=20)
    root = slurm_project(tmp_path, series=50)
    run_to_end(root, to="importmovies")
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, MOTION) == "+" * 50
    sizes = [int(text.removeprefix("0-")) + 1 for text in indices(root)]
    assert sum(sizes) == 50 and max(sizes) == 20 and len(sizes) <= 4
    assert len([call for call in calls(root, "sbatch") if call["code"]]) <= 2
    assert set(done_attempts(root).values()) == {1} and len(done_attempts(root)) == 100


def test_a_site_without_arrays_takes_one_series_after_another(make_cluster: MakeCluster, tmp_path: Path) -> None:
    make_cluster(nodes=1, gpus=0, max_array_size=0)
    root = slurm_project(tmp_path)
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, MOTION) == "+++"
        stand_in(root, seconds=30)
        requests.redo(root, DATA, jobs=[MOTION], series=["Position_1"])
        drive(engine, lambda: letters(engine, MOTION)[0] == ">")
        requests.ask(root, "stop")
        drive(engine, seconds=20)
        assert letters(engine, MOTION) == "s++"


def test_submissions_come_from_a_budget(make_cluster: MakeCluster, tmp_path: Path) -> None:
    make_cluster(nodes=1, gpus=0, max_array_size=2)
    conf = site_conf(slurm={"burst": 2, "per_second": 1.0})
    root = slurm_project(tmp_path, series=12, conf=conf)
    run_to_end(root, to="importmovies")
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, MOTION) == "+" * 12
    made = [call["t"] for call in calls(root, "sbatch")]
    assert len(made) == 6
    for number, moment in enumerate(made):
        allowed = max(0, number - 1)  # seconds after the first
        assert allowed - 0.1 <= moment - made[0] <= allowed + 1.5, [round(one - made[0], 2) for one in made]


@pytest.mark.timeout(600)
def test_a_submit_limit_is_found_out_by_being_refused_and_then_kept(site: Site, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=SERIES, conf=site_conf(resources={"account": "few"}))
    run_to_end(root, to="importmovies")
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        most = 0

        def done() -> bool:
            nonlocal most
            taken = [one.live for one in _queue(engine).submissions.values() if one.array is not None]
            most = max(most, sum(map(len, taken)))
            assert "x" not in letters(engine, MOTION)
            return engine.idle()

        drive(engine, done, seconds=500)
        assert letters(engine, MOTION) == "+" * SERIES
        assert 95 <= most <= 100
    refused = [call for call in calls(root, "sbatch") if call["code"]]
    assert 1 <= len(refused) <= 12
    assert all("AssocMaxSubmitJobLimit" in call["said"] for call in refused)
    assert set(done_attempts(root).values()) == {1} and len(done_attempts(root)) == 2 * SERIES


def test_a_job_never_runs_more_at_once_than_it_may_over_several_arrays(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    make_cluster(nodes=1, gpus=0, max_array_size=4)
    root = slurm_project(tmp_path, series=10, seconds=0.3, conf=site_conf(resources={"at_once": 3}))
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, MOTION) == "+" * 10
        assert most_at_once(root, engine.ledger.job(MOTION).folder) == 3
    assert len(indices(root)) >= 3
    throttled = [
        dict(word.split("=") for word in call["call"][2:])
        for call in calls(root, "scontrol")
        if "update" in call["call"]
    ]
    assert throttled and {"2", "3"} >= {one["ArrayTaskThrottle"] for one in throttled}
    assert {one["JobId"] for one in throttled} <= {str(number) for number in range(2, 10)}, "never the first array"


def test_a_pack_runs_one_series_after_another_and_each_has_its_own_end(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=5, conf=site_conf(resources={"series_per_task": 2}))
    stand_in(root, fail="fs_motion_and_ctf:Position_1:fail,fs_motion_and_ctf:Position_5:fail")
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine)
        assert letters(engine, MOTION) == "x+++x"
        assert indices(root) == ["0-2"]
        array = array_of(engine, MOTION, "Position_1")
        assert sorted(cluster.states(array)) == ["COMPLETED", "COMPLETED", "FAILED"]
        assert shown(cluster.run("scontrol", "show", "job", array), ["TimeLimit"]) == {"TimeLimit": "00:20:00"}
        stand_in(root)
        requests.retry(root, DATA, jobs=[MOTION])
        drive(engine, lambda: engine.ledger.status.engine.request == 2)
        drive(engine)
        assert letters(engine, MOTION) == "+++++"
        assert indices(root) == ["0-2", "0"]
        assert engine.ledger.job(MOTION).attempts == [2, 1, 1, 1, 2]
        assert most_at_once(root, engine.ledger.job(MOTION).folder) <= 3
    assert set(done_attempts(root).values()) == {1}


def test_a_pack_is_stopped_as_a_whole(cluster: PrivateCluster, tmp_path: Path) -> None:
    root = slurm_project(tmp_path, series=2, seconds=60, conf=site_conf(resources={"series_per_task": 2}))
    requests.run(root, DATA, to=MOTION)
    with engine_of(root) as engine:
        drive(engine, lambda: sorted(letters(engine, MOTION)) == [">", "q"])
        requests.ask(root, "stop")
        drive(engine, seconds=15)
        assert letters(engine, MOTION) == "ss"
        assert not [row for row in cluster.jobs() if row.state in ("PENDING", "RUNNING")]


def _queue(engine: Engine) -> SlurmQueue:
    assert engine.slurm is not None
    return engine.slurm
