"""The testbed itself: what the other tests rely on is really so."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import containers, sweep
from tests.real.cluster import PrivateCluster
from tests.real.conftest import MakeCluster, absent
from tests.real.site import Site
from tests.real.slurm import wait_until

NOT_POLICY = "Job violates accounting/QOS policy"
SHORT = ("--mem=100", "--time=1")


@pytest.fixture
def folder(site: Site, tmp_path: Path) -> Iterator[Path]:
    """A folder for what a job of the site says; whatever we left in the queue is cancelled."""
    before = {row.array_id for row in site.jobs()}
    yield tmp_path
    ours = {row.array_id for row in site.jobs()} - before
    site.call("scancel", *ours)


def test_both_nodes_of_a_private_cluster_run_jobs_with_a_gpu(cluster: PrivateCluster, tmp_path: Path) -> None:
    says = "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"
    jobs = [cluster.submit("-w", node, "--gres=gpu:1", command=says, folder=tmp_path) for node in cluster.nodes]
    for job, node in zip(jobs, cluster.nodes, strict=True):
        cluster.wait_states(job, "COMPLETED")
        assert (tmp_path / f"{job}.out").read_text() == f"{node} 0\n"
    assert os.environ["SLURM_CONF"] == str(cluster.conf)


def test_a_container_is_made_again_for_another_definition_but_not_for_another_comment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition, image, facts = tmp_path / "x.def", tmp_path / "image", tmp_path / "facts.json"
    for name, path in (("DEFINITION", definition), ("IMAGE", image), ("FACTS", facts)):
        monkeypatch.setattr(containers, name, path)
    monkeypatch.setattr(containers, "_apptainer_runs", lambda: True)
    definition.write_text("# One.\nFrom: a\n%post\n    # two\n    true\n")
    assert "no containers here" in containers.status()
    image.mkdir()
    facts.write_text(json.dumps({"made_of": containers._made_of()}))
    definition.write_text("# Another.\n# One.\nFrom: a\n%post\n    # three\n    true\n")
    assert containers.is_up() and str(image) in containers.status()
    definition.write_text("From: b\n%post\n    true\n")
    assert not containers.is_up() and "made from another definition: make testbed" in containers.status()


def test_rpcs_are_counted(cluster: PrivateCluster) -> None:
    cluster.reset_rpcs()
    assert cluster.rpc_count() == 0
    for _ in range(3):
        cluster.run("squeue", "-h", "-o", "%i")
    assert cluster.rpcs()["REQUEST_JOB_INFO"] == 3
    assert "REQUEST_SUBMIT_BATCH_JOB" not in cluster.rpcs()


def test_squeue_times_out_while_the_controller_stands_still(cluster: PrivateCluster) -> None:
    cluster.pause_controller()
    try:
        ended = cluster.call("squeue")
        assert ended.returncode == 1 and "Socket timed out" in ended.stderr
    finally:
        cluster.resume_controller()
    assert cluster.call("squeue").returncode == 0


def test_a_controller_that_starts_again_knows_its_jobs(cluster: PrivateCluster, tmp_path: Path) -> None:
    job = cluster.submit(command="sleep 60", folder=tmp_path)
    cluster.wait_states(job, "RUNNING")
    cluster.stop_controller()
    assert "Unable to contact" in cluster.call("squeue").stderr
    cluster.start_controller()
    cluster.wait_states(job, "RUNNING")
    cluster.run("scancel", job)
    cluster.wait_states(job, "CANCELLED")


def test_a_killed_node_goes_down_and_its_job_runs_again(cluster: PrivateCluster, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    again = cluster.submit("-w", "n1", "--requeue", command=f"echo x >> {runs}; sleep 300", folder=tmp_path)
    once = cluster.submit("-w", "n1", "--no-requeue", command="setsid env -i sleep 300", folder=tmp_path)
    cluster.wait_states(again, "RUNNING")
    cluster.wait_states(once, "RUNNING")
    cluster.kill_node("n1")
    assert sweep.find(cluster.folder, "n1") == set()
    cluster.wait_node("n1", "down", "down*")
    cluster.wait_states(once, "NODE_FAIL")
    cluster.start_node("n1")
    cluster.wait_states(again, "RUNNING")
    wait_until(lambda: runs.read_text() == "x\nx\n", runs.read_text, 10)
    cluster.run("scancel", again)


def test_nothing_outlives_a_cluster(make_cluster: MakeCluster, tmp_path: Path) -> None:
    special = make_cluster(nodes=1, gpus=0, min_job_age=2)
    forgotten = special.submit(command="true", folder=tmp_path)
    job = special.submit(command="setsid sleep 300 & env -i sleep 300", folder=tmp_path)
    special.wait_states(job, "RUNNING")
    assert len(sweep.find(special.folder)) >= 7  # munged, slurmctld, its helper, slurmd, slurmstepd, script, sleep
    wait_until(lambda: not special.states(forgotten), lambda: f"{forgotten} to be forgotten", 30)
    special.end()
    assert sweep.find(special.folder) == set()


def test_memory_above_the_limit_ends_a_job(site: Site, folder: Path) -> None:
    if not site.limits_memory:
        absent("cgroups do not hold a job to its memory on this machine")
    job = site.submit("--mem=20M", command="head -c 200M /dev/zero | tail", folder=folder)
    site.wait_states(job, "OUT_OF_MEMORY")
    assert _sacct(site, job, "State").splitlines()[0] == "OUT_OF_MEMORY"


def test_sacct_tells_the_memory_that_was_used(site: Site, folder: Path) -> None:
    job = site.submit(*SHORT, command="head -c 40M /dev/zero | tail | (sleep 3; wc -c)", folder=folder)
    site.wait_states(job, "COMPLETED")
    used = _sacct(site, f"{job}.batch", "MaxRSS")  # bytes; 45.50M without --noconvert
    assert 35 < int(used) / 2**20 < 60, used


def test_submit_limits_refuse(site: Site, folder: Path) -> None:
    for option, reason in (
        ("--account=tiny", "AssocMaxSubmitJobLimit"),
        ("--qos=three", "QOSMaxSubmitJobPerUserLimit"),
    ):
        site.submit(*SHORT, option, "--array=0-2", command="sleep 30", folder=folder)
        refused = site.call("sbatch", option, "--wrap", "true", cwd=folder)
        assert refused.returncode == 1
        assert reason in refused.stderr and NOT_POLICY in refused.stderr


def test_other_limits_let_a_job_wait(site: Site, folder: Path) -> None:
    for options, reason in (
        (("--qos=two", "--array=0-2"), "QOSMaxJobsPerUserLimit"),
        (("--account=shared", "-c4", "--array=0-1"), "AssocGrpCpuLimit"),
        (("--partition=short", "--time=20"), "PartitionTimeLimit"),
    ):
        job = site.submit("--mem=100", *options, command="sleep 30", folder=folder)
        _wait_reason(site, job, reason)
        site.run("scancel", job)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--account=nope", "Invalid account or account/partition combination specified"),
        ("--account=theirs", "Invalid account or account/partition combination specified"),
        ("--qos=nope", "Invalid qos specification"),
        ("--qos=theirs", "Invalid qos specification"),
        ("--partition=nope", "Invalid partition name specified"),
        ("--constraint=nope", "Invalid feature specification"),
    ],
)
def test_what_is_not_ours_is_refused(site: Site, folder: Path, option: str, sentence: str) -> None:
    refused = site.call("sbatch", option, "--wrap", "true", cwd=folder)
    assert refused.returncode == 1 and sentence in refused.stderr


def test_a_preempted_job_runs_again(site: Site, folder: Path) -> None:
    runs = folder / "runs"
    said = f"echo $SLURM_RESTART_COUNT >> {runs}; sleep 60"
    low = site.submit("--partition=low", "--mem=100", "--requeue", "--exclusive", command=said, folder=folder)
    site.wait_states(low, "RUNNING")
    high = site.submit("--partition=high", "--mem=100", "--exclusive", command="sleep 1", folder=folder)
    site.wait_states(high, "COMPLETED")
    site.wait_states(low, "RUNNING", seconds=60)
    assert "PREEMPTED" in site.run("sacct", "-n", "-P", "-X", "-D", "-j", low, "-o", "State")
    wait_until(lambda: runs.read_text() == "\n1\n", runs.read_text, 10)


def test_two_users_of_one_site(site: Site, folder: Path) -> None:
    theirs = site.as_other("sbatch", "--parsable", *SHORT, "--output=/dev/null", "--wrap", "sleep 30").stdout.strip()
    assert site.call("scancel", theirs).stderr.strip().endswith("Access/permission denied")
    assert site.as_other("scancel", theirs).returncode == 0
    assert site.as_other("sh", "-c", f"echo x > {site.lab / 'theirs'}").returncode == 0
    (site.lab / "theirs").write_text("ours\n")


def test_a_small_disk_is_full_soon(site: Site) -> None:
    file = site.small_disk / "filled"
    with pytest.raises(OSError, match="No space left"):
        file.write_bytes(bytes(50 * 2**20))
    file.unlink()


def _sacct(site: Site, job: str, field: str) -> str:
    """One field of a job, once slurmdbd has its end."""

    def said(what: str) -> list[str]:
        return site.run("sacct", "-n", "-P", "--noconvert", "-j", job, "-o", what).splitlines()

    wait_until(lambda: {"RUNNING", "PENDING"}.isdisjoint(said("State") or ["PENDING"]), lambda: f"sacct's {job}", 20)
    return "\n".join(said(field))


def _wait_reason(site: Site, job: str, reason: str) -> None:
    wait_until(
        lambda: reason in {row.reason for row in site.jobs() if row.array_id == job},
        lambda: f"{reason}: {[row for row in site.jobs() if row.array_id == job]}",
        20,
    )
