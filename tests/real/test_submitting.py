"""Submission of what is ready: the lab's own template, arrays, retries, limits, packs and the budget."""

from __future__ import annotations

from pathlib import Path

from core.engine import requests
from tests.engine.driving import drive, engine_of, letters
from tests.real.cluster import PrivateCluster
from tests.real.slurm_project import array_of, indices, shown, site_conf, slurm_project
from tests.rehearsed import DATA, done_attempts, run_to_end, states
from tests.unit.test_template import BASH_LAB, BASH_TABLE


def test_a_labs_own_template_takes_the_whole_pipeline_through(cluster: PrivateCluster, tmp_path: Path) -> None:
    template = tmp_path / "qsub.sh"
    template.write_text(BASH_LAB)
    extra = {str(number): {"field": field} for number, field in BASH_TABLE.items()}
    conf = site_conf(resources={"memory_gb": 2, "cpus": 2}, qsub={"template": str(template), "extra": extra})
    root = slurm_project(tmp_path, conf=conf)
    status = run_to_end(root)
    assert status.outcome() == "succeeded", (states(status), status.needs)
    assert set(done_attempts(root).values()) == {1}
