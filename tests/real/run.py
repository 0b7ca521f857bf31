"""The two suites of tests: ``python -m tests.real.run test|real|prepare [pytest's arguments]``.

The ordinary one runs with the Python that runs this. The real one, ``tests/real``, belongs to an ordinary user: for
root it runs as the testbed's user, in a copy of the checkout with an environment of its own, which ``prepare`` makes
(``make testbed``). Arguments that name tests go to the suite that they are of, all others to both.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.real.testbed import FOLDER, USER, Trouble, is_up

CHECKOUT = Path(__file__).resolve().parents[2]
REAL = "tests/real"
COPY = FOLDER / "checkout"
COPIED = FOLDER / "checkout.json"  # what is in the copy: path -> size and time
VENV = FOLDER / "venv"
LOCKS = ("requirements.lock", "requirements-dev.lock")
NO_TESTS = 5  # pytest's exit code


def main(arguments: list[str]) -> int:
    what, *options = arguments
    try:
        if what == "prepare":
            prepare()
            return 0
        return run(options, ordinary=what == "test")
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 1


def run(options: list[str], *, ordinary: bool) -> int:
    """Run the suites that are meant; the first bad exit code of theirs."""
    named = [option for option in options if (CHECKOUT / option.split("::")[0]).exists()]
    real = [name for name in named if Path(name.split("::")[0]).is_relative_to(REAL)]
    codes = []
    if ordinary and (len(real) < len(named) or not named):
        python = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "worksteal", f"--ignore={REAL}"]
        codes.append(_pytest([*python, *(option for option in options if option not in real)]))
    if real or not named:
        shared = [option for option in options if option not in named]
        codes.append(run_real([*(real or [REAL]), *shared]))
    if options:  # a choice of tests may be of one suite alone
        codes = [0 if code == NO_TESTS and len(codes) > 1 else code for code in codes]
    return next((code for code in codes if code), 0)


def run_real(options: list[str]) -> int:
    pytest = ["-m", "pytest", "-n", "2", "--dist", "loadfile", *options]
    if os.getuid() != 0:
        return _pytest([sys.executable, *pytest])
    if not is_up():
        absent = "tests/real left out: there is no testbed here (make testbed sets it up)"
        if os.environ.get("CRBOOST_TESTBED") == "required":
            raise Trouble(f"{absent}, and CRBOOST_TESTBED=required")
        print(absent)
        return 0
    prepare()
    given = os.environ.get("CRBOOST_SHARED", CHECKOUT.parent / "shared")
    variables = [
        "CRBOOST_TESTBED=required",
        f"CRBOOST_SHARED={given}",
        f"HOME={FOLDER / 'home' / USER}",
        f"USER={USER}",
    ]
    return _pytest(["runuser", "-u", USER, "--", "env", *variables, str(VENV / "bin" / "python"), *pytest], COPY)


def _pytest(argv: list[str], folder: Path = CHECKOUT) -> int:
    print(f"$ {' '.join(argv)}", flush=True)
    return subprocess.run(argv, cwd=folder, umask=0o002, check=False).returncode


def prepare() -> None:
    """The copy and its environment, as new as the checkout."""
    copy_checkout()
    locks = b"".join((CHECKOUT / name).read_bytes() for name in (*LOCKS, "pyproject.toml"))
    stamp = VENV / "made-of"
    made_of = hashlib.sha256(locks).hexdigest()
    if stamp.exists() and stamp.read_text() == made_of:
        return
    print("making an environment for the testbed's user", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([system_python(), "-m", "venv", str(VENV)], check=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    for lock in LOCKS:
        subprocess.run([*pip, "--require-hashes", "-r", str(CHECKOUT / lock)], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", str(COPY)], check=True)
    stamp.write_text(made_of)


def system_python() -> str:
    """The first Python that is new enough and that the testbed's user can execute."""
    enough = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
        path = shutil.which(name, path="/usr/local/bin:/usr/bin")
        tried = ["runuser", "-u", USER, "--", path or "", "-c", enough]
        if path and subprocess.run(tried, stderr=subprocess.DEVNULL, cwd="/", check=False).returncode == 0:
            return path
    raise Trouble(f"no Python 3.11 with venv that {USER} can execute: apt-get install python3-venv")


def copy_checkout() -> None:
    """Bring the copy up to date: what is new or changed is copied, what is gone is removed."""
    COPY.mkdir(exist_ok=True)
    shutil.chown(COPY, USER, USER)
    before: dict[str, list[int]] = json.loads(COPIED.read_text()) if COPIED.exists() else {}
    now = dict(_files())
    for name in before.keys() - now.keys():
        (COPY / name).unlink(missing_ok=True)
    for name, version in now.items():
        if before.get(name) == version and (COPY / name).exists():
            continue
        target = COPY / name
        for parent in reversed(target.relative_to(COPY).parents):
            if not (COPY / parent).exists():
                (COPY / parent).mkdir()
                shutil.chown(COPY / parent, USER, USER)
        shutil.copy2(CHECKOUT / name, target)
        shutil.chown(target, USER, USER)
    COPIED.write_text(json.dumps(now))


def _files() -> Iterator[tuple[str, list[int]]]:
    """The files of the checkout, committed or not, with what tells two versions apart."""
    listing = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (CHECKOUT / name).is_file():
            about = (CHECKOUT / name).stat()
            yield name, [about.st_size, about.st_mtime_ns, about.st_mode]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
