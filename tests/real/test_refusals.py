"""What Slurm refuses stands beside the field that is wrong; once that is corrected the job goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.engine import requests
from crboost_tui.main import main
from tests.engine.driving import drive, engine_of, letters, sentences
from tests.real.conftest import MakeCluster
from tests.real.faults import check_once
from tests.real.site import Site
from tests.real.slurm_project import site_conf, slurm_project
from tests.rehearsed import DATA

STEP = "fsMotionAndCtf"
WRONG = [
    ("partition", "nope", "main", "invalid partition specified: nope; Invalid partition name specified"),
    ("constraint", "a100", "", "Invalid feature specification"),
    ("gres", "gup:1", "", "Invalid generic resource (gres) specification"),
    ("gres", "gpu:h100:1", "", "Requested node configuration is not available"),
    ("minutes", "900", "10", "Requested time limit is invalid (missing or exceeds some limit)"),
    ("memory_gb", "4000", "1", "Memory specification can not be satisfied"),
    ("cpus", "500", "1", "More processors requested than permitted"),
    ("nodes", "9", "1", "Node count specification invalid"),
]
"""Field, a wrong value, a right one, and what Slurm says."""


def test_each_refusal_names_its_field_and_ends_with_its_correction(make_cluster: MakeCluster, tmp_path: Path) -> None:
    make_cluster(partitions=("main Nodes=ALL Default=YES MaxTime=60",), extra=("EnforcePartLimits=ALL",))
    root = slurm_project(tmp_path, series=2)
    with engine_of(root) as engine:
        for name, wrong, right, said in WRONG:
            assert main(["set", str(root), f"{STEP}.resources.{name}={wrong}"]) == 0
            requests.run(root, DATA, to=STEP)
            drive(engine, until=lambda: engine.ledger.status.needs, seconds=20)
            (need,) = engine.ledger.status.needs
            assert (need.kind, need.key) == ("refused", STEP)
            assert need.sentence.startswith(f"{STEP}: Slurm refused the job: {said}")
            assert f"resources.{name}" in need.fields
            assert len(need.fields) == 1 or said == "Requested node configuration is not available"
            drive(engine, seconds=10)  # nothing but a person can go on
            assert letters(engine, STEP) == "oo"
            assert main(["set", str(root), f"{STEP}.resources.{name}={right}"]) == 0
        requests.run(root, DATA, to=STEP)
        drive(engine, seconds=40)
        check_once(root, engine, STEP)
        assert engine.ledger.status.needs == []


def test_what_slurm_takes_but_will_never_start_is_said_beside_its_field_too(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    make_cluster(partitions=("main Nodes=ALL Default=YES MaxTime=60",))
    root = slurm_project(tmp_path, series=2)
    assert main(["set", str(root), f"{STEP}.resources.minutes=900"]) == 0
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        sentence = f"{STEP}: 2 tasks wait in Slurm's queue in vain: asks for more time than partition main allows."
        drive(engine, until=lambda: sentence in sentences(engine), seconds=30)
        (need,) = engine.ledger.status.needs
        assert (need.kind, need.key, need.fields) == ("waits", STEP, ["resources.minutes", "resources.partition"])
        assert main(["set", str(root), f"{STEP}.resources.minutes=10"]) == 0
        requests.run(root, DATA, to=STEP)
        drive(engine, until=lambda: engine.ledger.status.engine.request == 2)
        drive(engine, seconds=40)
        check_once(root, engine, STEP)
        assert engine.ledger.job(STEP).attempts == [2, 2]
        assert engine.ledger.status.needs == []


@pytest.mark.parametrize(("name", "value"), [("account", "nope"), ("account", "theirs"), ("qos", "nope")])
def test_accounts_and_qualities_of_service_are_fields_too(site: Site, tmp_path: Path, name: str, value: str) -> None:
    root = slurm_project(tmp_path, series=1, conf=site_conf(resources={name: value}))
    requests.run(root, DATA, to=STEP)
    with engine_of(root) as engine:
        drive(engine, until=lambda: engine.ledger.status.needs, seconds=20)
        (need,) = engine.ledger.status.needs
        assert f"resources.{name}" in need.fields and name in need.sentence
