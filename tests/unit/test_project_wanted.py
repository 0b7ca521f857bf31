"""Requests and the project's lock."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from core.errors import ConflictError, InputError
from core.project import lock as lock_module
from core.project.create import create_project
from core.project.layout import ProjectPaths
from core.project.lock import project_lock
from core.project.wanted import add_request, exclusions, read_wanted

spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    create_project(tmp_path / "p", "x")
    return tmp_path / "p"


def test_requests_are_numbered_and_name_a_version(root: Path) -> None:
    assert read_wanted(root).requests == ()
    add_request(root, "run", series=["A", "B"], to="tsReconstruct")
    second = add_request(root, "retry", jobs=["tsCtf"], version=1)
    first, again = read_wanted(root).requests
    assert (first.number, first.kind, first.version, first.series, first.to) == (
        1,
        "run",
        1,
        ("A", "B"),
        "tsReconstruct",
    )
    assert again == second
    assert first.by and first.at


def test_later_exclusions_win(root: Path) -> None:
    add_request(root, "exclude", series=["A", "B"])
    add_request(root, "include", series=["A"])
    add_request(root, "exclude_tilts", tilts={"C": ["000", "007"], "D": ["001"]})
    add_request(root, "include_tilts", tilts={"C": ["000"], "D": ["001"]})
    assert exclusions(read_wanted(root)) == ({"B"}, {"C": {"007"}})


def test_a_request_without_what_it_needs_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match="needs the tilt series"):
        add_request(root, "exclude")
    with pytest.raises(InputError, match="Did you mean 'retry'"):
        add_request(root, "rerty")  # type: ignore[arg-type]
    assert read_wanted(root).requests == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not valid JSON"),
        ('{"format": 2, "requests": []}', "made by a newer version"),
        ('{"format": 1, "requests": [{"number": 1, "kind": "jump"}]}', r"requests\[0\].kind"),
        ("[]", "must hold a table"),
    ],
)
def test_a_spoilt_file_is_a_sentence(root: Path, text: str, said: str) -> None:
    ProjectPaths(root).wanted.write_text(text)
    with pytest.raises(InputError, match=said):
        read_wanted(root)
    with pytest.raises(InputError, match=said):
        add_request(root, "run")
    assert ProjectPaths(root).wanted.read_text() == text


def _ask(root: Path, name: str, count: int) -> None:
    for number in range(count):
        add_request(root, "exclude", series=[f"{name}{number}"])


def test_processes_asking_at_the_same_time_lose_nothing(root: Path) -> None:
    workers = [spawn.Process(target=_ask, args=(root, name, 25)) for name in "abc"]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        read_wanted(root)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    requests = read_wanted(root).requests
    assert [request.number for request in requests] == list(range(1, 76))
    assert exclusions(read_wanted(root))[0] == {f"{name}{number}" for name in "abc" for number in range(25)}


def _hold(root: Path, told: Path) -> None:
    with project_lock(root):
        told.touch()
        time.sleep(60)


def _held(root: Path, tmp_path: Path) -> multiprocessing.process.BaseProcess:
    told = tmp_path / "told"
    worker = spawn.Process(target=_hold, args=(root, told), daemon=True)
    worker.start()
    while not told.exists():
        time.sleep(0.01)
    return worker


def test_a_lock_of_a_killed_process_is_taken_over_at_once(root: Path, tmp_path: Path) -> None:
    worker = _held(root, tmp_path)
    assert worker.pid is not None
    with (
        pytest.raises(ConflictError, match=rf"process {worker.pid} on {socket.gethostname()}"),
        project_lock(root, wait_seconds=0.2),
    ):
        pass
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    started = time.monotonic()
    add_request(root, "run")
    assert time.monotonic() - started < 1.0
    assert not list(ProjectPaths(root).state.glob("lock*"))


def test_a_lock_of_another_host_is_given_up_when_nobody_touches_it(root: Path) -> None:
    lock = ProjectPaths(root).state / "lock"
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "user": "ada", "token": "t"}))
    with pytest.raises(ConflictError, match="ada .process 1 on elsewhere"), project_lock(root, wait_seconds=0.1):
        pass
    old = time.time() - lock_module.STALE_SECONDS - 1
    os.utime(lock, (old, old))
    with project_lock(root, wait_seconds=5):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()


def test_the_lock_is_released_after_an_error(root: Path) -> None:
    with pytest.raises(ValueError), project_lock(root):
        raise ValueError
    with project_lock(root, wait_seconds=0.1):
        pass
