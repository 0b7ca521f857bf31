"""RELION that submits to the host's Slurm from inside its container: relion_pipeliner and relion_schemer 5.1."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.formats import star
from core.tools.slurm_in_container import find_slurm
from tests.real.cluster import PrivateCluster
from tests.real.relion import Relion, Row, options, table

TEMPLATE = """\
#!/bin/bash
#SBATCH --job-name=XXXnameXXX
#SBATCH --output=XXXoutfileXXX
#SBATCH --error=XXXerrfileXXX
XXXcommandXXX
"""

WORK = """\
#!/bin/bash
# An external job of RELION, on the node: --o its folder --after that of the job before ...
trap '[[ $? == 0 ]] || touch "$2/RELION_JOB_EXIT_FAILURE"' EXIT
set -e
echo "$SLURM_JOB_ID $SLURM_JOB_NAME $([[ -d /.singularity.d ]] && echo inside || echo outside)" > "$2/where"
[[ $3 != --after || -e $4/where ]]
touch "$2/RELION_JOB_EXIT_SUCCESS"
"""


@pytest.fixture
def relion(image: Path, cluster: PrivateCluster, tmp_path: Path) -> Relion:
    """A project with a script that is an external job, and a template; RELION there may submit to the cluster."""
    (tmp_path / "work.sh").write_text(WORK)
    (tmp_path / "work.sh").chmod(0o755)
    (tmp_path / "qsub.sh").write_text(TEMPLATE)
    (tmp_path / "default_pipeline.star").write_text("\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n\n")
    return Relion(tmp_path, image, find_slurm(tmp_path / ".crboost/slurm"))


def external(after: str = "") -> str:
    """A ``job.star`` of work.sh through the queue, perhaps after another job's folder."""
    queue = {"do_queue": "Yes", "qsub": "sbatch", "qsubscript": "qsub.sh"}
    parameter = {"param1_label": "after", "param1_value": after} if after else {}
    return options("relion.external", {"fn_exe": "./work.sh", **queue, **parameter})


def processes(project: Path) -> list[tuple[str, str]]:
    """Jobs and how RELION says that they stand."""
    name, status = "rlnPipeLineProcessName", "rlnPipeLineProcessStatusLabel"
    found = star.read_columns(project / "default_pipeline.star", "pipeline_processes", [name, status])
    return list(zip(found[name], found[status], strict=True))


def test_slurms_commands_work_inside(relion: Relion, cluster: PrivateCluster) -> None:
    job = relion.run("sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 300").strip()
    assert job in relion.run("squeue", "--noheader", "--format=%i").split()
    assert relion.run("sinfo", "--noheader", "--format=%P").split() == ["main*"]
    relion.run("scancel", job)
    cluster.wait_states(job, "CANCELLED")


@pytest.mark.parametrize("name", ["a:b;c", "$LIB, it's"])
def test_slurms_commands_work_in_a_project_with_any_name(
    name: str, image: Path, cluster: PrivateCluster, tmp_path: Path
) -> None:
    project = tmp_path / name
    project.mkdir()
    relion = Relion(project, image, find_slurm(project / ".crboost/slurm"))
    job = relion.run("sbatch", "--parsable", "--output=/dev/null", "--wrap", "true").strip()
    cluster.wait_states(job, "COMPLETED")


def test_a_job_of_relion_pipeliner_runs_on_a_node_outside_the_container(
    relion: Relion, cluster: PrivateCluster
) -> None:
    project = relion.project
    (project / "job.star").write_text(external())
    relion.run("relion_pipeliner", "--addJobFromStar", "job.star")
    run = ("--RunJobs", "External/job001/", "--schedule", "once", "--sec_wait_after", "1")
    assert "Submitted batch job" in relion.run("relion_pipeliner", *run)
    job, name, place = (project / "External/job001/where").read_text().split()
    assert (name, place) == ("External/job001/", "outside")
    cluster.wait_states(job, "COMPLETED")
    assert processes(project) == [("External/job001/", "Succeeded")]


def test_a_chain_of_relion_schemer_goes_through_the_queue(relion: Relion, cluster: PrivateCluster) -> None:
    project, scheme = relion.project, relion.project / "Schemes/chain"
    names = ["one", "two", "three"]
    for before, name in zip(["", *names], names, strict=False):
        (scheme / name).mkdir(parents=True)
        (scheme / name / "job.star").write_text(external(f"Schemes/chain/{before}/" if before else ""))
    rows: list[Row] = [
        {
            "rlnSchemeJobNameOriginal": name,
            "rlnSchemeJobName": name,
            "rlnSchemeJobMode": "new",
            "rlnSchemeJobHasStarted": "0",
        }
        for name in names
    ]
    edges: list[Row] = [
        {
            "rlnSchemeEdgeInputNodeName": before,
            "rlnSchemeEdgeOutputNodeName": after,
            "rlnSchemeEdgeIsFork": "0",
            "rlnSchemeEdgeOutputNodeNameIfTrue": "undefined",
            "rlnSchemeEdgeBooleanVariable": "undefined",
        }
        for before, after in zip(names, [*names[1:], "EXIT"], strict=True)
    ]
    operators = {"rlnSchemeOperatorName": "EXIT", "rlnSchemeOperatorType": "exit"}
    operators.update({f"rlnSchemeOperator{one}": "undefined" for one in ("Output", "Input1", "Input2")})
    general = "\ndata_scheme_general\n\n_rlnSchemeName Schemes/chain/\n_rlnSchemeCurrentNodeName one\n\n"
    tables = (table("scheme_operators", [operators]), table("scheme_jobs", rows), table("scheme_edges", edges))
    (scheme / "scheme.star").write_text(general + "".join(tables))
    relion.run("relion_schemer", "--scheme", "chain", "--run", "--verb", "2", "--pipeline_control", "Schemes/chain/")
    jobs = [f"External/job{number:03d}/" for number in (1, 2, 3)]
    assert processes(project) == [(job, "Succeeded") for job in jobs]
    where = [(project / job / "where").read_text().split() for job in jobs]
    assert [one[1:] for one in where] == [[job, "outside"] for job in jobs]
    assert len({one[0] for one in where}) == 3
