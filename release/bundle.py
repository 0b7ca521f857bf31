"""``python -m release.bundle``: one archive with all wheels, for a cluster without network (``make bundle``).

The wheels are those of the lock, for Linux on x86-64 with glibc 2.28 (RHEL 8, Debian 10) or newer, and for several
versions of Python. That none of them needs more than that is read from the wheels themselves: from their names, and
from the versions of glibc's symbols that their libraries ask for.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import core

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
GLIBC = (2, 28)
MACHINE = "x86_64"
PIP = "pip==25.3 --hash=sha256:9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd"
"""What ``install.sh`` installs with: one that runs under all of these Pythons."""

_SYMBOL = re.compile(rb"\bGLIBC_(\d+)\.(\d+)(?:\.\d+)?\0")
_OLDER_NAMES = ("manylinux2014", "manylinux2010", "manylinux1")


class BundleError(Exception):
    """What is wrong with the bundle that would be made, as a sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m release.bundle", description="an archive with all wheels")
    parser.add_argument("--python", action="append", choices=PYTHONS, help=f"for these only (default: {PYTHONS})")
    parser.add_argument("--to", type=Path, default=REPOSITORY / "dist", metavar="FOLDER", help="default: dist/")
    options = parser.parse_args(arguments)
    try:
        archive = make(options.to, tuple(options.python or PYTHONS))
    except (BundleError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{archive} ({archive.stat().st_size / 1e6:.0f} MB), for Python {', '.join(options.python or PYTHONS)}")
    return 0


def make(folder: Path, pythons: Sequence[str]) -> Path:
    """The archive, in ``folder``."""
    name = f"crboost-{core.__version__}-linux-{MACHINE}"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        root = Path(temporary) / name
        wheels = root / "wheels"
        wheels.mkdir(parents=True)
        _pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(REPOSITORY))
        for python in pythons:
            _download(wheels, python, Path(temporary) / f"requirements-{python}.txt")
        check(wheels)
        (root / "install.sh").write_text(install_script(pythons), encoding="utf-8")
        (root / "install.sh").chmod(0o755)
        (root / "SHA256SUMS").write_text(sums(root), encoding="utf-8")
        archive = folder / f"{name}.tar.gz"
        with tarfile.open(archive, "w:gz") as stream:
            stream.add(root, name)
    return archive


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BundleError(f"pip {arguments[0]} ended with code {done.returncode}:\n{done.stderr.strip()}")


def _download(wheels: Path, python: str, file: Path) -> None:
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    file.write_text("\n".join([*locked(lock, python), PIP, ""]), encoding="utf-8")
    number = python.replace(".", "")
    platforms = [word for name in platform_names() for word in ("--platform", f"{name}_{MACHINE}")]
    target = ("--python-version", python, "--implementation", "cp", "--abi", f"cp{number}", "--abi", "abi3")
    choice = ("--only-binary", ":all:", "--no-deps", "--require-hashes")
    _pip("download", *choice, *target, "--abi", "none", *platforms, "-r", str(file), "-d", str(wheels))


def platform_names() -> list[str]:
    """Of wheels that run with our glibc, the newest first."""
    return [*(f"manylinux_2_{minor}" for minor in range(GLIBC[1], 4, -1)), *_OLDER_NAMES]


def locked(lock: str, python: str) -> Iterator[str]:
    """The lines of the lock that hold for this Python, without their conditions: pip would ask those of the Python
    that it runs in."""
    from packaging.markers import Marker

    holds = True
    for line in lock.splitlines():
        if line[:1].isalnum():
            requirement, _, rest = line.partition(";")
            marker = rest.rstrip("\\ ")
            full = f"{python}.0"
            holds = not marker or Marker(marker).evaluate({"python_version": python, "python_full_version": full})
            line = f"{requirement.rstrip()} \\" if marker else line
        if holds:
            yield line


def check(wheels: Path) -> None:
    """Raises :class:`BundleError` naming every wheel that needs a newer glibc than ours."""
    bad = [f"{wheel.name} {why}" for wheel in sorted(wheels.glob("*.whl")) if (why := too_new(wheel))]
    if bad:
        raise BundleError(f"These do not run with glibc {GLIBC[0]}.{GLIBC[1]}:\n" + "\n".join(bad))


def too_new(wheel: Path) -> str:
    """Why a wheel does not run with our glibc; "" where it does."""
    tags = wheel.stem.split("-")[-1].split(".")
    if not any(tag == "any" or tag in {f"{name}_{MACHINE}" for name in platform_names()} for tag in tags):
        return f"is for {', '.join(tags)}"
    needed = max(glibc_versions(wheel), default=(0, 0))
    return f"asks for symbols of glibc {needed[0]}.{needed[1]}" if needed > GLIBC else ""


def glibc_versions(wheel: Path) -> set[tuple[int, int]]:
    """The versions of glibc's symbols that the libraries in a wheel ask for."""
    found: set[tuple[int, int]] = set()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if ".so" in name:
                data = archive.read(name)
                if data.startswith(b"\x7fELF"):
                    found.update((int(major), int(minor)) for major, minor in _SYMBOL.findall(data))
    return found


def install_script(pythons: Iterable[str]) -> str:
    versions = list(pythons)
    text = (REPOSITORY / "release" / "install.sh").read_text(encoding="utf-8")
    values = {
        "@PYTHONS@": " ".join(f"python{version}" for version in reversed(versions)),
        "@VERSIONS@": " ".join(versions),
        "@CRBOOST@": core.__version__,
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def sums(root: Path) -> str:
    """For ``sha256sum -c``."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files)


if __name__ == "__main__":
    sys.exit(main())
