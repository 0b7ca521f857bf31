"""``crboost demo --real``: movies of known particles through real RELION 5.1, and they are where they were put."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.real.cluster import PrivateCluster


def site_of(home: Path, image: Path) -> dict[str, str]:
    """The environment of a user whose conf.yaml says where RELION is."""
    folder = home / ".config" / "crboost"
    folder.mkdir(parents=True)
    relion = {"container": True, "binary": False, "path": str(image)}
    (folder / "conf.yaml").write_text(json.dumps({"tools": {"relion": relion}, "local": {"cpus": 2, "gpus": 0}}))
    return {**os.environ, "HOME": str(home)}


def demo(folder: Path, environment: dict[str, str], *more: str) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-m", "crboost_tui.main", "demo", "--real", "--json", "--dir", str(folder), *more],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def is_good(found: dict[str, Any]) -> bool:
    half = found["density"] / 2
    return bool(
        found["density"] >= 3 and found["density_shifts_turned"] <= half and found["density_best_other_reading"] <= half
    )


def test_known_particles_are_where_they_were_put(tmp_path: Path, image: Path) -> None:
    found = demo(tmp_path / "demo", site_of(tmp_path / "home", image), "--series", "1")
    assert found["succeeded"] and found["good"] and is_good(found)


def test_they_are_after_going_through_slurm_too(tmp_path: Path, image: Path, cluster: PrivateCluster) -> None:
    environment = {**site_of(tmp_path / "home", image), "SLURM_CONF": str(cluster.conf)}
    found = demo(tmp_path / "demo", environment, "--submitter", "slurm")
    assert found["good"] and is_good(found)
    calls = (tmp_path / "demo/project/.crboost/submissions.jsonl").read_text()
    assert "motioncorr" in calls and "reconstructtomograms__turned" in calls


def test_wrong_alignments_do_not_pass(tmp_path: Path, image: Path) -> None:
    """The verdict is about the particles: with the shifts' sign turned in the right files too it is bad."""
    environment = site_of(tmp_path / "home", image)
    demo(tmp_path / "demo", environment, "--series", "1", "--tilts", "15")
    root = tmp_path / "demo" / "project"
    for end in ("xf", "tlt"):
        (root / f"alignments/Position_1.{end}").write_text((root / f"turned/Position_1.{end}").read_text())
    again = [sys.executable, "-m", "crboost_tui.main"]
    redo = ["redo", str(root), "--jobs", "importAlignments,reconstructtomograms"]
    subprocess.run([*again, *redo], env=environment, check=True, capture_output=True, timeout=120)
    ended = subprocess.run(
        [*again, "demo", "--real", "--dir", str(tmp_path / "demo")],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 1 and "THE GEOMETRY IS WRONG" in ended.stderr


def test_without_relion_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "crboost_tui.main", "demo", "--real", "--dir", str(tmp_path / "demo")],
        env={**os.environ, "HOME": str(tmp_path / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2 and "tools.relion" in ended.stderr
