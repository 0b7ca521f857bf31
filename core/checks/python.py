"""Python and the packages that crboost needs; and whether everybody finds the same crboost."""

from __future__ import annotations

import importlib
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import core
from core.checks.findings import Finding, failed, ok
from core.checks.probing import ask
from core.checks.surroundings import Surroundings, short

LEAST = (3, 11)

_MODULES = {"pyyaml": "yaml"}
"""Packages whose module has another name."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*([^;]*?)\s*(?:;.*)?")
_RULE = re.compile(r"(==|>=|<=|<|>|!=)\s*([0-9][0-9.]*)")
_AGAIN = "Install crboost again: make .venv in its folder, or pip install crboost."


def version(around: Surroundings) -> Iterator[Finding]:
    where = f"{platform.python_version()}, {short(sys.executable)}"
    if sys.version_info < LEAST:
        yield failed("Python", where, f"Use Python {LEAST[0]}.{LEAST[1]} or newer: make .venv PYTHON=...")
    else:
        yield ok("Python", where)


def packages(around: Surroundings) -> Iterator[Finding]:
    """Each required package: there, of a version that fits, and really imported (a broken one is found only so)."""
    try:
        needed = metadata.requires("crboost") or []
    except metadata.PackageNotFoundError:
        yield failed("packages", "crboost itself is not installed in this Python", _AGAIN)
        return
    good = []
    for line in needed:
        match = _REQUIREMENT.fullmatch(line)
        if match is None or "extra ==" in line:
            continue
        name, rules = match[1], match[2]
        try:
            found = metadata.version(name)
            importlib.import_module(_MODULES.get(name.lower(), name))
        except metadata.PackageNotFoundError:
            yield failed("packages", f"{name} is not there", _AGAIN)
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            yield failed("packages", f"{name} {found} cannot be imported ({said})", _AGAIN)
        else:
            if fits(found, rules):
                good.append(f"{name} {found}")
            else:
                yield failed("packages", f"{name} {found}, but {rules} is needed", _AGAIN)
    yield ok("packages", ", ".join(good))


def fits(found: str, rules: str) -> bool:
    """Whether a version follows rules like ``>=2.10,<3``. What is no number in it (``rc1``) counts for nothing."""
    have = _numbers(found)
    for sign, text in _RULE.findall(rules):
        wanted = _numbers(text)
        width = max(len(have), len(wanted))
        left, right = have + (0,) * (width - len(have)), wanted + (0,) * (width - len(wanted))
        good = {
            "==": left == right, "!=": left != right, ">=": left >= right, "<=": left <= right, ">": left > right,
            "<": left < right,
        }[sign]  # fmt: skip
        if not good:
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def ours(around: Surroundings) -> Iterator[Finding]:
    """``core`` must be the one beside the command line, also for an engine that is started in the project."""
    here = Path(core.__file__).resolve().parent
    beside = around.program.resolve() / "core"
    if here != beside:
        yield failed("crboost", f"{short(here)} is not beside {short(around.program)}", _FOREIGN)
        return
    argv = [sys.executable, "-P", "-c", "import core; print(core.__file__)"]
    answer = ask(argv, cwd=around.root)
    place = answer.out.strip()
    if not answer.good:
        yield failed("crboost", f"a second Python does not find it: {answer.why}", _AGAIN)
    elif Path(place).resolve().parent != here:
        yield failed("crboost", f"an engine would load {short(place)}, not {short(here)}", _FOREIGN)
    else:
        yield ok("crboost", f"{core.__version__} in {short(here.parent)}; an engine finds the same")


_FOREIGN = "Take the folder of the other one out of PYTHONPATH."
