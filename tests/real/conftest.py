"""Clusters for the tests of this folder: private ones, and the site that ``make testbed`` sets up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.real import containers
from tests.real.cluster import PrivateCluster, missing_programs
from tests.real.site import Site, find_site

MakeCluster = Callable[..., PrivateCluster]


def absent(what: str) -> NoReturn:
    """Skip; fail where ``CRBOOST_TESTBED=required`` says that everything must be there."""
    if os.environ.get("CRBOOST_TESTBED") == "required":
        pytest.fail(f"{what} (CRBOOST_TESTBED=required)", pytrace=False)
    pytest.skip(what)


def _private_clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeCluster]:
    if os.getuid() == 0:
        absent("a private cluster belongs to an ordinary user: make testbed, then make real")
    if missing := missing_programs():
        absent(f"Slurm is not installed here ({', '.join(missing)}): make testbed")
    with ExitStack() as living, pytest.MonkeyPatch.context() as patch:

        def make(**options: Any) -> PrivateCluster:
            cluster = living.enter_context(PrivateCluster(tmp_path_factory.mktemp("cluster"), **options))
            patch.setenv("SLURM_CONF", str(cluster.conf))
            return cluster

        yield make


@pytest.fixture
def make_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeCluster]:
    """Starts special clusters, which end with the test; ``SLURM_CONF`` is that of the newest one."""
    yield from _private_clusters(tmp_path_factory)


@pytest.fixture(scope="module")
def module_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    for make in _private_clusters(tmp_path_factory):
        yield make()


@pytest.fixture
def cluster(module_cluster: PrivateCluster, monkeypatch: pytest.MonkeyPatch) -> PrivateCluster:
    """The default private cluster of this module, and its ``SLURM_CONF``."""
    monkeypatch.setenv("SLURM_CONF", str(module_cluster.conf))
    return module_cluster


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    """The site testbed, and its ``SLURM_CONF``."""
    found = find_site()
    if found is None:
        absent("the site testbed is not up, or not this user's: make testbed, then make real (as root)")
    monkeypatch.setenv("SLURM_CONF", str(found.conf))
    return found


@pytest.fixture(scope="session")
def image() -> Path:
    """The container that RELION 5.1 is in. It is left out, whatever is required, on a day without Debian unstable."""
    if os.getuid() == 0:
        absent("Apptainer is for ordinary users: make testbed, then make real")
    if reason := containers.facts().get("out_of_reach"):
        pytest.skip(f"DEBIAN UNSTABLE IS OUT OF REACH, SO THERE IS NO RELION 5.1: {reason}")
    if not containers.is_up():
        absent("Apptainer and RELION 5.1 are not set up: make testbed (as root)")
    return containers.IMAGE
