"""Finding job types by module: adding a type is adding a file.

The type ``tsCtf`` is ``core/jobs/ts_ctf.py``: the module's name without underscores, whatever its capitals. A module is
imported when its type is used.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

import core.jobs
from core.errors import InputError
from core.jobs._base import JobType


@cache
def _modules() -> dict[str, str]:
    names = [module.name for module in pkgutil.iter_modules(core.jobs.__path__)]
    return {name.replace("_", ""): name for name in names if not name.startswith("_") and name != "fields"}


def job_types() -> dict[str, JobType[Any]]:
    """Every job type by name, in the alphabetical order of the modules."""
    types = [_load(module) for module in _modules().values()]
    return {found.name: found for found in types}


def job_type(name: str) -> JobType[Any]:
    """The job type of that name. Raises :class:`InputError` naming those that exist."""
    module = _modules().get(name.lower())
    found = None if module is None else _load(module)
    if found is None or found.name != name:
        known = ", ".join(sorted(job_types()))
        raise InputError(f"There is no job type {name!r}. Known are: {known}.")
    return found


@cache
def _load(module: str) -> JobType[Any]:
    found: JobType[Any] = importlib.import_module(f"core.jobs.{module}").JOB_TYPE
    return found
