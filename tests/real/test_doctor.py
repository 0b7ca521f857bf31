"""``crboost doctor`` against real Slurm, real Apptainer and a disk that really hangs."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.bench import doctor as bench
from tests.real.cluster import PrivateCluster
from tests.real.conftest import MakeCluster, absent
from tests.real.site import Site
from tests.synthetic import DATA, make_project

LONGEST_SECONDS = 30.0

Found = dict[str, dict[str, str]]
"""Findings by ``group/name``; of several under one name the worst."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user of this host who has set nothing."""
    (tmp_path / "home").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "conf.yaml").touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "CRBOOST_"))}
    return {**kept, "HOME": str(tmp_path / "home"), "CRBOOST_CONFIG": str(tmp_path / "etc" / "conf.yaml")}


def doctor(environment: dict[str, str], conf: Path, *arguments: str) -> Found:
    findings = bench.doctor({**environment, "SLURM_CONF": str(conf)}, *arguments)
    order = {"ok": 0, "warning": 1, "failed": 2}
    worst_last = sorted(findings, key=lambda one: order[one["state"]])
    return {f"{one['group']}/{one['name']}": one for one in worst_last}


def settings(environment: dict[str, str], text: str) -> None:
    Path(environment["CRBOOST_CONFIG"]).write_text(text)


def test_a_job_comes_back_through_the_template(
    cluster: PrivateCluster, environment: dict[str, str], tmp_path: Path
) -> None:
    root = make_project(tmp_path / "it's $(a) project", 1)
    found = doctor(environment, cluster.conf, str(root))
    assert found["Slurm/a job"]["state"] == "ok", found["Slurm/a job"]
    assert " ran on n" in found["Slurm/a job"]["found"]
    for name in ("controller", "arrays", "memory of jobs", "accounting", "partitions", "template"):
        assert found[f"Slurm/{name}"]["state"] == "ok", found[f"Slurm/{name}"]
    assert found["Slurm/resources"]["state"] == "failed"
    assert "tsReconstruct: no node of main gives 64 GB (31 at most)" in found["Slurm/resources"]["found"]
    assert list((root / ".crboost").glob("doctor-*")) == []
    job = [row for row in cluster.jobs() if row.name.startswith("crboost-doctor-")]
    assert job and job[0].state in ("COMPLETED", "COMPLETING")


def test_a_first_conf_is_accepted(cluster: PrivateCluster, environment: dict[str, str]) -> None:
    written = subprocess.run(
        [*bench.CRBOOST, "config", "init", "--to", environment["CRBOOST_CONFIG"], "--force"],
        env={**environment, "SLURM_CONF": str(cluster.conf), "PYTHONPATH": str(DATA.parent)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert written.returncode == 0, written.stderr
    text = Path(environment["CRBOOST_CONFIG"]).read_text()
    assert 'partition: "main"' in text and "tsReconstruct: {memory_gb: 31}" in text
    found = doctor(environment, cluster.conf)
    assert [one for one in found.values() if one["state"] == "failed"] == []
    assert found["Slurm/resources"]["state"] == "ok"


def test_what_the_site_does_not_have_is_failed_with_the_nearest_name(
    cluster: PrivateCluster, environment: dict[str, str]
) -> None:
    settings(environment, "resources: {partition: mian}\nprofiles: {tsCtf: {gpus: 4, partition: main}}\n")
    found = doctor(environment, cluster.conf)
    assert found["Slurm/partition"]["state"] == "failed"
    assert "Did you mean 'main'?" in found["Slurm/partition"]["advice"]
    assert "tsCtf: no node of main has gpu:4" in found["Slurm/resources"]["found"]
    assert found["Slurm/a job"]["state"] == "failed"
    assert "partition" in found["Slurm/a job"]["advice"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("if true; then\nXXXcommandXXX", "no valid bash script"),
        ("#SBATCH --comment=XXXextra4XXX\nXXXcommandXXX", ""),
        ("echo there is no command", "no line with XXXcommandXXX"),
    ],
)
def test_the_site_s_template_is_read_and_used(
    cluster: PrivateCluster, environment: dict[str, str], tmp_path: Path, body: str, said: str
) -> None:
    template = tmp_path / "etc" / "qsub.sh"
    template.write_text(f"#!/bin/bash\n{body}\n")
    settings(environment, "qsub: {template: qsub.sh, extra: {4: {field: tasks}}}\n")
    found = doctor(environment, cluster.conf)
    assert found["Slurm/template"]["state"] == ("failed" if said else "ok"), found["Slurm/template"]
    assert found["Slurm/a job"]["state"] == ("failed" if said else "ok"), found["Slurm/a job"]
    assert said in found["Slurm/template"]["found"]


def test_a_template_that_ends_before_its_command_is_found_out(
    cluster: PrivateCluster, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "etc" / "qsub.sh").write_text(
        "#!/bin/bash\nmodule load nothing 2> /dev/null || { echo no module nothing; exit 1; }\nXXXcommandXXX\n"
    )
    settings(environment, "qsub: {template: qsub.sh}\n")
    found = doctor(environment, cluster.conf)["Slurm/a job"]
    assert found["state"] == "failed" and "no module nothing" in found["found"]


@pytest.mark.parametrize("there", [True, False])
def test_the_job_tries_the_launcher_of_the_template(
    cluster: PrivateCluster, environment: dict[str, str], tmp_path: Path, there: bool
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "relion_refine").write_text("#!/bin/sh\necho RELION version: 5.0.1\n")
    launcher = programs / ("starter" if there else "another")
    launcher.write_text(
        '#!/bin/bash\nn=$2; shift 2; for ((i = 0; i < n; i++)); do OMPI_COMM_WORLD_RANK=$i "$@" & done; wait\n'
    )
    for one in programs.iterdir():
        one.chmod(0o755)
    template = tmp_path / "etc" / "qsub.sh"
    template.write_text(f"#!/bin/bash\nPATH={programs}:$PATH\nstarter -n XXXmpinodesXXX XXXcommandXXX\n")
    settings(environment, f"qsub: {{template: qsub.sh}}\ntools: {{relion: {{binary: true, path: {programs}}}}}\n")
    found = doctor(environment, cluster.conf)
    assert found["Slurm/a job"]["state"] == "ok"
    assert found["Slurm/MPI"]["state"] == ("ok" if there else "failed"), found["Slurm/MPI"]
    assert there or "starter: command not found" in found["Slurm/MPI"]["found"]
    assert "Tools/relion MPI" not in found


def test_a_full_queue_is_a_warning_and_the_job_is_taken_back(
    make_cluster: MakeCluster, environment: dict[str, str], tmp_path: Path
) -> None:
    cluster = make_cluster(nodes=1, cpus=1, gpus=0)
    cluster.submit(command="sleep 300", folder=tmp_path)
    cluster.wait_states(cluster.jobs()[0].array_id, "RUNNING")
    begun = time.monotonic()
    found = doctor(environment, cluster.conf)["Slurm/a job"]
    assert time.monotonic() - begun < LONGEST_SECONDS
    assert found["state"] == "warning" and "waiting for free nodes in partition main" in found["found"]
    cluster.wait_states(next(row.array_id for row in cluster.jobs() if "doctor" in row.name), "CANCELLED")


def test_a_controller_that_hangs_or_is_down_keeps_nothing_else_from_being_found(
    make_cluster: MakeCluster, environment: dict[str, str]
) -> None:
    cluster = make_cluster(nodes=1, message_timeout_seconds=60)
    cluster.pause_controller()
    begun = time.monotonic()
    found = doctor(environment, cluster.conf)
    cluster.resume_controller()
    assert time.monotonic() - begun < LONGEST_SECONDS
    for name in ("controller", "limits", "partitions", "a job"):
        assert found[f"Slurm/{name}"]["state"] == "failed", found
    assert found["Slurm/template"]["state"] == found["File systems/scratch locks"]["state"] == "ok"
    cluster.stop_controller()
    found = doctor(environment, cluster.conf)
    assert "is DOWN" in found["Slurm/controller"]["found"]
    assert found["Slurm/a job"]["state"] == "failed"


def test_accounts_and_limits_of_a_site_with_accounting(site: Site, environment: dict[str, str]) -> None:
    found = doctor(environment, site.conf)
    assert found["Slurm/accounting"]["state"] == "ok"
    assert "lab" in found["Slurm/accounting"]["found"]
    assert "tiny (3 submitted" in found["Slurm/accounting"]["found"]
    assert found["Slurm/a job"]["state"] == "ok", found["Slurm/a job"]
    settings(environment, "resources: {account: labb}\n")
    found = doctor(environment, site.conf)
    assert found["Slurm/account"]["state"] == "failed"
    assert "Did you mean 'lab'?" in found["Slurm/account"]["advice"]


def test_relion_in_its_container_runs_writes_and_starts_two_ranks(
    image: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    settings(environment, f"tools: {{relion: {{container: true, path: {image}}}}}\nsubmitter: local\n")
    found = doctor(environment, tmp_path / "none.conf")
    assert "relion_refine runs, version 5.1" in found["Tools/relion"]["found"]
    assert found["Tools/relion options"]["state"] == "ok", found["Tools/relion options"]
    assert found["Tools/relion MPI"]["found"] == "two ranks started by the mpirun in the image"
    assert found["Containers/bind"]["state"] == "ok", found["Containers/bind"]
    assert found["Containers/namespaces"]["state"] == "ok"


def test_a_disk_and_every_program_that_hangs_are_named_within_the_time(tmp_path: Path) -> None:
    if not bench.can_mount():
        absent("bindfs cannot mount here")
    with bench.hanging_disk(tmp_path) as disk:
        root = make_project(tmp_path / "root", 1)
        bench.move_data(root, disk)
        environment = bench.hanging_site(tmp_path, (*bench.SLURM, *bench.OTHERS))
        begun = time.monotonic()
        findings = bench.doctor(environment, str(root))
        assert time.monotonic() - begun < LONGEST_SECONDS
    failed = {f"{one['group']}/{one['name']}" for one in findings if one["state"] == "failed"}
    named = {"Tools/warp", "Tools/relion", "Containers/runtime", "Slurm/controller", "Slurm/a job", "File systems/data"}
    assert failed >= named
    fine = {f"{one['group']}/{one['name']}" for one in findings if one["state"] == "ok"}
    assert fine >= {"Python/packages", "Slurm/template", "File systems/home locks", "Settings/values"}
    wanted = f"^sleep {bench.FOR_EVER}$"
    left = subprocess.run(["pgrep", "-f", wanted], capture_output=True, text=True, check=False)
    assert left.stdout == ""


def test_a_project_whose_disk_hangs_is_said_and_the_rest_is_found(tmp_path: Path, environment: dict[str, str]) -> None:
    if not bench.can_mount():
        absent("bindfs cannot mount here")
    with bench.hanging_disk(tmp_path) as disk:
        begun = time.monotonic()
        found = doctor(environment, tmp_path / "none.conf", str(disk / "project"))
        assert time.monotonic() - begun < LONGEST_SECONDS
    assert found["Settings/project"]["state"] == "failed"
    assert "not read within" in found["Settings/project"]["found"]
    assert found["File systems/home locks"]["state"] == found["Settings/values"]["state"] == "ok"
