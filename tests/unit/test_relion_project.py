"""Jobs in a RELION project, and its lock with several writers at once."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import socket
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from core.errors import ConflictError, CrboostError, InputError
from core.formats import star
from core.relion import project as relion
from core.relion.job_star import external_options
from core.relion.lock import locked_pipeline, read_pipeline, relion_lock
from core.relion.pipeline import parse_pipeline
from tests.shared import shared

spawn = multiprocessing.get_context("spawn")
TYPE = "TomogramGroupMetadata.star.relion.tomo.external"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    relion.prepare_project(tmp_path)
    return tmp_path


def deploy(root: Path, alias: str, **inputs: str) -> str:
    return relion.deploy_job(
        root,
        label="relion.external",
        alias=alias,
        is_tomo=False,
        options=external_options({"fn_exe": f"crboost run --job {alias}"}),
        input_nodes=inputs,
    )


def status(root: Path, name: str) -> str:
    found = relion.find_process(root, name)
    return "" if found is None else found.status


def test_a_prepared_project_is_left_as_it_is(root: Path) -> None:
    assert (root / ".gui_projectdir").exists()
    deploy(root, "aa")
    before = (root / "default_pipeline.star").read_text()
    relion.prepare_project(root)
    assert (root / "default_pipeline.star").read_text() == before
    assert not (root / ".relion_lock").exists()


def test_a_deployed_job_looks_like_relions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = shared("facts/relion-samples/external-local")
    monkeypatch.setattr(time, "ctime", lambda: "Mon Nov 23 06:22:08 2026")
    (root / "input").mkdir()
    (root / "input" / "tilt_series.star").touch()
    note = (samples / "note.txt").read_text()
    options = dict(star.read(samples / "job.star").block("joboptions_values").rows)
    name = relion.deploy_job(
        root,
        label="relion.external",
        alias="myalias",
        is_tomo=False,
        options=options,
        input_nodes={"input/tilt_series.star": "MicrographGroupMetadata.star.relion"},
        commands=[note.splitlines()[3]],
    )
    assert name == "External/job001/"
    job = root / name
    for file in ("job.star", "note.txt", "default_pipeline.star"):
        assert (job / file).read_text() == (samples / file).read_text(), file
    small = (samples / "job_pipeline.star").read_text()
    alias = small.replace("External/job001/       None", "External/job001/ External/myalias/")
    assert (job / "job_pipeline.star").read_text() == alias
    assert os.readlink(root / "External" / "myalias") == "../External/job001/"
    assert (root / "External" / "myalias" / "job.star").exists()
    assert (root / ".Nodes/MicrographGroupMetadata/input/tilt_series.star").exists()
    assert (root / ".pipeline_has_changed").exists()


def test_a_jobs_life(root: Path) -> None:
    first = deploy(root, "first")
    assert status(root, first) == "Running"
    (root / first / "tomograms.star").touch()
    (root / first / "RELION_JOB_EXIT_FAILURE").touch()
    assert relion.finish_job(root, first, True, {f"{first}tomograms.star": TYPE}) == first
    assert status(root, first) == "Succeeded"
    markers = {path.name for path in (root / first).glob("RELION_JOB_*")}
    assert markers == {"RELION_JOB_EXIT_SUCCESS"}
    outputs = star.read(root / first / "RELION_OUTPUT_NODES.star").block("output_nodes")
    assert outputs.rows == [[f"{first}tomograms.star", TYPE]]
    assert (root / ".Nodes/TomogramGroupMetadata/External/first/tomograms.star").exists()

    second = deploy(root, "second", **{f"{first}tomograms.star": TYPE})
    assert second == "External/job002/"
    pipeline = read_pipeline(root)
    assert pipeline.input_edges() == [(f"{first}tomograms.star", second)]
    assert pipeline.output_edges() == [(first, f"{first}tomograms.star")]

    assert relion.reopen_job(root, first) == first
    assert status(root, first) == "Running"
    assert not list((root / first).glob("RELION_JOB_*"))
    assert relion.finish_job(root, second, False, {}) == second
    assert status(root, second) == "Failed"
    assert (root / second / "RELION_JOB_EXIT_FAILURE").exists()
    assert relion.set_status(root, second, "Aborted") == second


def test_deploying_again_returns_the_same_job_and_completes_it(root: Path) -> None:
    name = deploy(root, "first")
    text = (root / name / "job.star").read_text()
    for file in ("job.star", "job_pipeline.star", "note.txt"):
        (root / name / file).unlink()
    (root / "External" / "first").unlink()
    assert deploy(root, "first") == name
    assert (root / name / "job.star").read_text() == text
    assert (root / "External" / "first").is_symlink()
    note = (root / name / "note.txt").read_text()
    assert deploy(root, "first") == name
    assert (root / name / "note.txt").read_text() == note
    assert read_pipeline(root).counter == 2


def test_the_number_of_a_folder_that_is_in_use_is_skipped(root: Path) -> None:
    (root / "External/job001").mkdir(parents=True)
    (root / "External/job002").mkdir()
    (root / "External/job002/data").touch()
    assert deploy(root, "first") == "External/job001/"
    assert deploy(root, "second") == "External/job003/"
    assert read_pipeline(root).counter == 4


def test_a_job_that_relions_user_deleted_is_none(root: Path) -> None:
    name = deploy(root, "first")
    relion.trash_job(root, name)
    assert relion.find_process(root, name) is None
    assert relion.set_status(root, name, "Failed") is None
    assert relion.finish_job(root, name, True, {}) is None
    assert relion.reopen_job(root, name) is None
    assert relion.trash_job(root, name) is None
    assert not (root / name).exists()


def test_trash_is_relions(root: Path) -> None:
    first = deploy(root, "first")
    (root / first / "a.star").touch()
    relion.finish_job(root, first, True, {f"{first}a.star": TYPE})
    second = deploy(root, "second", **{f"{first}a.star": TYPE})
    assert relion.trash_job(root, first) == "Trash/External/job001"
    assert (root / "Trash/External/job001/a.star").exists()
    deleted = parse_pipeline((root / "Trash/External/job001/deleted_pipeline.star").read_text(), "x")
    assert [process.name for process in deleted.processes()] == [first]
    assert [node.name for node in deleted.nodes()] == [f"{first}a.star"]
    left = read_pipeline(root)
    assert [process.name for process in left.processes()] == [second]
    assert left.nodes() == [] and left.input_edges() == [] and left.output_edges() == []
    assert not (root / "External/first").is_symlink()
    assert not (root / ".Nodes/TomogramGroupMetadata/External/first/a.star").exists()
    assert deploy(root, "first") == "External/job003/"


def test_bad_names_change_nothing(root: Path) -> None:
    before = (root / "default_pipeline.star").read_text()
    with pytest.raises(InputError, match="alias"):
        deploy(root, "jobs")
    with pytest.raises(InputError, match="None"):
        deploy(root, "good", **{"External/None_x.star": TYPE})
    (root / "External").mkdir(exist_ok=True)
    (root / "External" / "taken").mkdir()
    with pytest.raises(InputError, match="in the way"):
        deploy(root, "taken")
    assert (root / "default_pipeline.star").read_text() == before
    assert not (root / ".relion_lock").exists()


def test_an_error_inside_the_lock_writes_nothing_and_frees_it(root: Path) -> None:
    before = (root / "default_pipeline.star").read_text()
    with pytest.raises(ValueError), locked_pipeline(root) as pipeline:
        pipeline.set_counter(99)
        raise ValueError
    assert (root / "default_pipeline.star").read_text() == before
    assert not (root / ".relion_lock").exists()


def test_a_folder_that_cannot_be_locked_says_so_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    started = time.monotonic()
    with pytest.raises(CrboostError, match="may not be written"), locked_pipeline(root):
        pass
    assert time.monotonic() - started < 1


def test_relions_own_lock_is_never_broken(root: Path) -> None:
    folder = root / ".relion_lock"
    folder.mkdir(mode=0o700)
    (folder / "lock_default_pipeline.star").write_text("lock held\n")
    old = time.time() - 3600
    os.utime(folder, (old, old))
    with (
        pytest.raises(ConflictError, match=r"has held its lock for 36\d\d s.*remove this folder"),
        locked_pipeline(root, wait_seconds=0.2),
    ):
        pass
    assert (folder / "lock_default_pipeline.star").read_text() == "lock held\n"


def test_a_lock_of_ours_on_another_host_is_not_broken(root: Path) -> None:
    folder = root / ".relion_lock"
    folder.mkdir(mode=0o700)
    line = json.dumps({"crboost": "t", "host": "elsewhere", "pid": 1, "user": "ada"})
    (folder / "lock_default_pipeline.star").write_text(line)
    with pytest.raises(ConflictError, match="ada .process 1 on elsewhere"), locked_pipeline(root, wait_seconds=0.1):
        pass


def test_a_lock_that_was_taken_away_writes_nothing(root: Path) -> None:
    before = (root / "default_pipeline.star").read_text()
    folder = root / ".relion_lock"
    with pytest.raises(ConflictError, match="was removed while it was ours"), locked_pipeline(root) as pipeline:
        pipeline.set_counter(99)
        (folder / "lock_default_pipeline.star").write_text("relion's now\n")
    assert (root / "default_pipeline.star").read_text() == before
    assert (folder / "lock_default_pipeline.star").exists()


def _hold(root: Path, told: Path) -> None:
    with relion_lock(root):
        told.touch()
        time.sleep(60)


def _hold_half(root: Path, told: Path) -> None:
    """Dies between making the folder and writing the file in it."""
    from core.relion import lock

    def stop(path: Path, line: str) -> None:
        if path.name == lock.LOCK_FILE:
            told.touch()
            time.sleep(60)
        path.write_text(line)

    lock._write_line = stop
    _hold(root, told)


@pytest.mark.parametrize("half", [False, True])
def test_a_lock_of_a_killed_process_of_ours_is_broken(root: Path, monkeypatch: pytest.MonkeyPatch, half: bool) -> None:
    monkeypatch.setattr("core.relion.lock._EMPTY_SECONDS", 0.1)
    told = root / "told"
    worker = spawn.Process(target=_hold_half if half else _hold, args=(root, told), daemon=True)
    worker.start()
    while not told.exists():
        time.sleep(0.01)
    assert worker.pid is not None
    if not half:
        with (
            pytest.raises(ConflictError, match=rf"process {worker.pid} on {socket.gethostname()}"),
            locked_pipeline(root, wait_seconds=0.1),
        ):
            pass
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert (root / ".relion_lock").exists()
    with locked_pipeline(root, wait_seconds=5) as pipeline:
        pipeline.set_counter(5)
    assert read_pipeline(root).counter == 5
    assert not list((root / ".crboost").glob("relion_lock*"))


def _ours(root: Path, name: str, count: int) -> None:
    for number in range(count):
        job = deploy(root, f"{name}{number}")
        relion.finish_job(root, job, number % 2 == 0, {f"{job}out.star": TYPE})


def _foreign(root: Path, count: int) -> None:
    """RELION's protocol by somebody who has read only its description: mkdir, lock file, read, write in place in
    pieces, remove, rmdir. The 3 s between tries are shortened."""
    path, lock = root / "default_pipeline.star", root / ".relion_lock"
    for _ in range(count):
        while True:
            try:
                os.mkdir(lock, 0o700)
                break
            except FileExistsError:
                time.sleep(random.uniform(0.001, 0.02))
        (lock / "lock_default_pipeline.star").write_text("lock by relion\n")
        text = path.read_text()
        head, tail = text.split("_rlnPipeLineJobCounter", 1)
        number, rest = int(tail.split()[0]), tail.split("\n", 1)[1]
        row = f"MotionCorr/job{number:03d}/       None relion.motioncorr.own  Scheduled \n"
        mark = "_rlnPipeLineProcessStatusLabel #4 \n"
        if mark in rest:
            before, after = rest.split(mark)
            rows, end = after.split("\n \n", 1)
            rest = f"{before}{mark}{rows}\n{row} \n{end}"
        else:
            labels = "".join(
                f"_rlnPipeLineProcess{label} #{place} \n"
                for place, label in enumerate(("Name", "Alias", "TypeLabel", "StatusLabel"), 1)
            )
            rest += f"\n# version 50001\n\ndata_pipeline_processes\n\nloop_ \n{labels}{row} \n"
        changed = f"{head}_rlnPipeLineJobCounter{number + 1:24d}\n{rest}"
        with open(path, "w") as stream:
            half = len(changed) // 2
            stream.write(changed[:half])
            stream.flush()
            time.sleep(0.001)
            stream.write(changed[half:])
        os.unlink(lock / "lock_default_pipeline.star")
        os.rmdir(lock)


def _run(workers: list[BaseProcess], root: Path) -> None:
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        with contextlib.suppress(ConflictError):
            with locked_pipeline(root) as pipeline:
                assert pipeline.counter >= 1
            read_pipeline(root)
        time.sleep(0.02)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)


def test_two_of_ours_and_one_of_relions_protocol_lose_no_entry(root: Path) -> None:
    count = 30
    workers: list[BaseProcess] = [
        spawn.Process(target=_ours, args=(root, "aa", count)),
        spawn.Process(target=_ours, args=(root, "bb", count)),
        spawn.Process(target=_foreign, args=(root, count)),
    ]
    _run(workers, root)
    pipeline = read_pipeline(root)
    assert sorted(process.number or 0 for process in pipeline.processes()) == list(range(1, 3 * count + 1))
    assert pipeline.counter == 3 * count + 1
    aliases = {process.alias for process in pipeline.processes() if process.alias}
    assert aliases == {f"External/{name}{number}/" for name in ("aa", "bb") for number in range(count)}
    statuses = [process.status for process in pipeline.processes()]
    assert (statuses.count("Succeeded"), statuses.count("Failed"), statuses.count("Scheduled")) == (count,) * 3
    assert len(pipeline.nodes()) == len(pipeline.output_edges()) == 2 * count
    assert not (root / ".relion_lock").exists()


def test_killed_at_random_moments_nothing_is_lost_or_doubled(root: Path) -> None:
    """One of ours is killed and started again while the foreign one goes on; every step is repeatable."""
    chance = random.Random(7)
    foreign = spawn.Process(target=_foreign, args=(root, 20))
    foreign.start()
    fork = multiprocessing.get_context("fork")
    for _ in range(12):
        worker = fork.Process(target=_ours, args=(root, "aa", 10), daemon=True)
        worker.start()
        time.sleep(chance.uniform(0.01, 0.12))
        if worker.is_alive() and worker.pid is not None:
            os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    _ours(root, "aa", 10)
    foreign.join(30)
    assert foreign.exitcode == 0
    pipeline = read_pipeline(root)
    aliases = [process.alias for process in pipeline.processes() if process.alias]
    assert sorted(aliases) == sorted(f"External/aa{number}/" for number in range(10))
    numbers = [process.number for process in pipeline.processes()]
    assert len(numbers) == len(set(numbers)) == 30
    for process in pipeline.processes():
        if process.alias:
            assert (root / process.alias / "job.star").exists()
            assert process.status in ("Succeeded", "Failed")
