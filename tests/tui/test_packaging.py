"""The program as it is installed: from a wheel, from a checkout, and with other people's ``core.py`` in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import core
from release import bundle

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


def wheel(folder: Path, name: str, *symbols: str) -> Path:
    path = folder / f"{name}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/__init__.py", "GLIBC_2.99\0")
        archive.writestr("x/_c.so", b"\x7fELF" + b"".join(symbol.encode() + b"\0" for symbol in symbols))
    return path


def test_a_wheel_that_needs_a_newer_glibc_is_found_by_its_name_or_its_symbols(tmp_path: Path) -> None:
    good = ("GLIBC_2.2.5", "GLIBC_2.28", "GLIBCXX_3.4.99", "GLIBC_PRIVATE")
    assert bundle.too_new(wheel(tmp_path, "a-1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64", *good)) == ""
    assert bundle.too_new(wheel(tmp_path, "b-1-cp311-abi3-manylinux2014_x86_64", *good)) == ""
    assert bundle.too_new(wheel(tmp_path, "c-1-py3-none-any")) == ""
    for name in (
        "d-1-cp311-cp311-manylinux_2_31_x86_64",
        "e-1-cp311-cp311-musllinux_1_2_x86_64",
        "f-1-cp311-cp311-win32",
    ):
        assert bundle.too_new(wheel(tmp_path, name)) == f"is for {name.rsplit('-', 1)[1]}"
    newer = wheel(tmp_path, "g-1-cp311-cp311-manylinux_2_28_x86_64", *good, "GLIBC_2.34")
    assert bundle.too_new(newer) == "asks for symbols of glibc 2.34"
    with pytest.raises(bundle.BundleError, match=r"do not run with glibc 2\.28:\nd-1.*\ne-1.*\nf-1.*\ng-1"):
        bundle.check(tmp_path)


def test_the_lock_is_read_for_the_python_that_is_meant() -> None:
    lock = (
        "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:a\n    # via crboost\n"
        "numpy==2.5.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:b\nrich==15.0.0 \\\n    --hash=sha256:c\n"
    )
    rich = ["rich==15.0.0 \\", "    --hash=sha256:c"]
    assert list(bundle.locked(lock, "3.11"))[:2] == ["numpy==2.4.6 \\", "    --hash=sha256:a"]
    assert list(bundle.locked(lock, "3.14")) == ["numpy==2.5.5 \\", "    --hash=sha256:b", *rich]
    assert list(bundle.locked(lock, "3.11"))[-2:] == rich


def test_the_installer_of_a_bundle_says_what_it_lacks(tmp_path: Path) -> None:
    script = tmp_path / "install.sh"
    script.write_text(bundle.install_script(["3.11", "3.12"]), encoding="utf-8")
    assert "@" not in bundle.install_script(["3.11"]).replace('"$@"', "")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dirname").symlink_to("/usr/bin/dirname")
    none = run("/bin/sh", script, "there", cwd=tmp_path, PATH=str(tmp_path / "bin"))
    assert none.returncode == 2 and "none on the PATH: 3.11 3.12" in none.stderr
    (tmp_path / "full").mkdir()
    taken = run("/bin/sh", script, tmp_path / "full", cwd=tmp_path, PYTHON=sys.executable)
    assert taken.returncode == 2 and "is no virtual environment" in taken.stderr


@pytest.mark.timeout(600)
def test_a_bundle_is_made_and_installed_without_network(tmp_path: Path) -> None:
    """Its wheels are from pip's index, and it takes a minute: only where everything must be tried."""
    if os.environ.get("CRBOOST_TESTBED") != "required":
        pytest.skip("takes a minute (CRBOOST_TESTBED=required)")
    archive = bundle.make(tmp_path, [f"{sys.version_info[0]}.{sys.version_info[1]}"])
    assert run("tar", "-xzf", archive, cwd=tmp_path).returncode == 0
    (root,) = tmp_path.glob("crboost-*-linux-x86_64")
    assert run("sha256sum", "-c", "--quiet", "SHA256SUMS", cwd=root).returncode == 0
    nowhere = {"PIP_INDEX_URL": "file:///nowhere", "PIP_FIND_LINKS": "", "PYTHON": sys.executable}
    done = subprocess.run(["sh", root / "install.sh", tmp_path / "it"], env={**os.environ, **nowhere}, check=False)
    assert done.returncode == 0
    said = run(tmp_path / "it" / "bin" / "crboost", "jobs", cwd=tmp_path)
    assert said.returncode == 0 and "tsCtf" in said.stdout
