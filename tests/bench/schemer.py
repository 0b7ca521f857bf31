"""A chain of jobs that only sleep, with RELION's own ``relion_schemer`` 5.1 from its container."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from core.tools.slurm_in_container import find_slurm
from tests.bench.figures import NotMeasured
from tests.real import containers
from tests.real.relion import Relion, Row, options, table

TEMPLATE = """\
#!/bin/bash
#SBATCH --job-name=XXXnameXXX
#SBATCH --output=XXXoutfileXXX
#SBATCH --error=XXXerrfileXXX
#SBATCH --mem=1G
XXXcommandXXX
"""

WORK = """\
#!/bin/bash
# An external job of RELION: --o its folder --seconds how long ...
touch "$2/began" && sleep "$4" && touch "$2/RELION_JOB_EXIT_SUCCESS"
"""


def relion_image() -> Path:
    """The container of RELION 5.1: that of the testbed, or the one that ``CRBOOST_RELION`` names."""
    if named := os.environ.get("CRBOOST_RELION"):
        return Path(named)
    if reason := containers.facts().get("out_of_reach"):
        raise NotMeasured(f"Debian unstable, which RELION 5.1 comes from, was out of reach: {reason}")
    if not containers.is_up():
        raise NotMeasured("RELION 5.1 is not here: make testbed (as root), or CRBOOST_RELION=its container")
    return containers.IMAGE


def schemer_handovers(folder: Path, image: Path, durations: Sequence[float]) -> list[float]:
    """From the end of each job to the start of the next one."""
    write_chain(folder, durations)
    relion = Relion(folder, image, find_slurm(folder / ".crboost" / "slurm"))
    relion.run("relion_schemer", "--scheme", "chain", "--run", "--pipeline_control", "Schemes/chain/", seconds=120.0)
    jobs = [folder / "External" / f"job{number:03d}" for number in range(1, len(durations) + 1)]
    return [
        (after / "began").stat().st_mtime - (before / "RELION_JOB_EXIT_SUCCESS").stat().st_mtime
        for before, after in pairwise(jobs)
    ]


def write_chain(project: Path, durations: Sequence[float]) -> None:
    """A project with a scheme of external jobs, each of which goes through the queue after the one before."""
    scheme = project / "Schemes" / "chain"
    steps = [f"step{number}" for number in range(1, len(durations) + 1)]
    for name, seconds in zip(steps, durations, strict=True):
        (scheme / name).mkdir(parents=True)
        queue = {"do_queue": "Yes", "qsub": "sbatch", "qsubscript": "qsub.sh"}
        work = {"fn_exe": "./work.sh", "param1_label": "seconds", "param1_value": f"{seconds:.3f}"}
        (scheme / name / "job.star").write_text(options("relion.external", {**work, **queue}))
    (project / "work.sh").write_text(WORK)
    (project / "work.sh").chmod(0o755)
    (project / "qsub.sh").write_text(TEMPLATE)
    (project / "default_pipeline.star").write_text("\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n\n")
    jobs: list[Row] = [
        {
            "rlnSchemeJobNameOriginal": name,
            "rlnSchemeJobName": name,
            "rlnSchemeJobMode": "new",
            "rlnSchemeJobHasStarted": "0",
        }
        for name in steps
    ]
    edges: list[Row] = [
        {
            "rlnSchemeEdgeInputNodeName": before,
            "rlnSchemeEdgeOutputNodeName": after,
            "rlnSchemeEdgeIsFork": "0",
            "rlnSchemeEdgeOutputNodeNameIfTrue": "undefined",
            "rlnSchemeEdgeBooleanVariable": "undefined",
        }
        for before, after in pairwise([*steps, "EXIT"])
    ]
    operators: Row = {
        "rlnSchemeOperatorName": "EXIT",
        "rlnSchemeOperatorType": "exit",
        **{f"rlnSchemeOperator{one}": "undefined" for one in ("Output", "Input1", "Input2")},
    }
    general = f"\ndata_scheme_general\n\n_rlnSchemeName Schemes/chain/\n_rlnSchemeCurrentNodeName {steps[0]}\n\n"
    tables = (table("scheme_operators", [operators]), table("scheme_jobs", jobs), table("scheme_edges", edges))
    (scheme / "scheme.star").write_text(general + "".join(tables))
