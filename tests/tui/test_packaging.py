"""The program as it is installed: from a wheel, from a checkout, and with other people's ``core.py`` in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import core

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(argument) for argument in arguments], cwd=cwd, env={**kept, **environment}, capture_output=True, text=True,
        timeout=110, check=False,
    )  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with a ``core.py`` that must never be loaded."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "core.py").write_text("raise SystemExit('the wrong core was loaded')\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked into a folder of its own."""
    pytest.importorskip("hatchling")
    place = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    built = run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", place, REPOSITORY, cwd=place)
    assert built.returncode == 0, built.stderr
    (wheel,) = place.glob("crboost-*.whl")
    done = run(*pip, "install", "--no-deps", "--no-index", "-q", "--target", place / "site", wheel, cwd=place)
    assert done.returncode == 0, done.stderr
    return place / "site"


def test_the_wheel_holds_its_own_data(installed: Path, tmp_path: Path) -> None:
    code = "from crboost_tui.data import config_dir; print(config_dir())"
    found = run(sys.executable, "-P", "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert found.stdout.strip() == str(installed / "crboost_tui" / "data" / "config")
    for name in ("catalogues/warptools.json", "pipelines", "conf.template.yaml"):
        assert (installed / "crboost_tui" / "data" / "config" / name).exists()
    assert (installed / "crboost_tui" / "data" / "container_defs").is_dir()
    assert not (installed / "tests").exists()


def test_the_wheel_makes_and_plans_a_project_in_a_hostile_folder(installed: Path, hostile: Path) -> None:
    crboost = (sys.executable, "-P", installed / "bin" / "crboost")
    made = run(*crboost, "new", "project", cwd=hostile, PYTHONPATH=str(installed))
    assert made.returncode == 0, made.stderr
    planned = run(*crboost, "plan", "project", cwd=hostile, PYTHONPATH=str(installed))
    assert "importmovies" in planned.stdout
    assert "no tilt series" in planned.stdout


def test_a_core_on_the_python_path_is_refused_in_a_sentence(installed: Path, hostile: Path, tmp_path: Path) -> None:
    path = f"{hostile}:{installed}"
    ended = run(sys.executable, "-P", installed / "bin" / "crboost", "jobs", cwd=tmp_path, PYTHONPATH=path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "PYTHONPATH" in ended.stderr
    assert str(hostile / "core.py") in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_command_of_a_checkout_in_a_hostile_folder(hostile: Path, tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("crboost")
    if not command.exists():
        pytest.skip("crboost is not installed in this environment")
    good = run(command, "--version", cwd=hostile)
    assert good.stdout.strip() == f"crboost {core.__version__}"
    jobs = run(command, "jobs", "--json", cwd=hostile)
    assert jobs.returncode == 0, jobs.stderr
    refused = run(command, "jobs", cwd=tmp_path, PYTHONPATH=str(hostile))
    assert refused.returncode == 2
    assert "PYTHONPATH" in refused.stderr


def test_one_version_everywhere() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == core.__version__


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_pin_all_and_name_no_place(name: str) -> None:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text and "--find-links" not in text
    pins = [line for line in text.splitlines() if line and line[0].isalpha()]
    assert len(pins) > 15
    assert all("==" in line for line in pins)
