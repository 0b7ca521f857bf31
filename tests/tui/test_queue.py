"""``crboost queue``: what waits and why, without asking Slurm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.engine.states import TaskState
from core.engine.status import Need, QueueStatus, Status
from core.project.layout import ProjectPaths
from crboost_tui.app import CrboostApp
from crboost_tui.main import main
from crboost_tui.matrix import labels, now, queue_rows, queue_trouble, queue_waits, queue_words, rows, slurm_text
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.matrix_view import MatrixView
from tests.tui import seed
from tests.tui.test_monitor import shown
from tests.tui.until import text_of, until


def in_slurm() -> Status:
    status = seed.status()
    status.queue = QueueStatus(
        asked=seed.NOW,
        rows=[
            {"job": "fsMotionAndCtf", "phase": "pending", "reason": "Priority", "partition": "gpu", "tasks": 2,
             "words": "waiting for a GPU in partition gpu: 3 jobs before it", "start": seed.NOW + 3600.0},
            {"job": "tsReconstruct", "phase": "running", "reason": "None", "partition": "gpu", "tasks": 1,
             "words": "runs", "start": 0.0},
        ],
        nodes=["n7"],
    )  # fmt: skip
    status.jobs[1].queue_ids = {"Position_8": "123_4"}
    return status


def test_the_queue_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    root = seed.write(tmp_path / "p", in_slurm())
    assert main(["queue", str(root)]) == 0
    told = capsys.readouterr().out
    assert "waiting for a GPU in partition gpu: 3 jobs before it; expected" in " ".join(told.split())
    assert "n7" in told
    assert all(len(line) <= 80 for line in told.splitlines())


def test_a_queue_that_does_not_answer_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = in_slurm()
    status.queue.trouble = "squeue did not answer within 30 s"
    root = seed.write(tmp_path / "p", status)
    assert main(["queue", str(root)]) == 0
    assert "Slurm does not answer: squeue did not answer within 30 s" in capsys.readouterr().out


def test_a_refusal_stands_with_its_reason_and_its_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = in_slurm()
    sentence = "tsCtf: Slurm refused the job: Invalid partition name specified."
    status.needs = [Need("refused", "tsCtf", sentence, ["resources.partition"])]
    root = seed.write(tmp_path / "p", status)
    assert main(["queue", str(root)]) == 0
    assert sentence in " ".join(capsys.readouterr().out.split())
    assert main(["status", "--json", str(root)]) == 0
    assert json.loads(capsys.readouterr().out)["needs"][0]["fields"] == ["resources.partition"]


def test_tasks_have_the_numbers_that_slurm_gave_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = seed.write(tmp_path / "p", in_slurm())
    assert main(["queue", "--json", str(root)]) == 0
    found = json.loads(capsys.readouterr().out)
    tasks = {(task["job"], task["key"]): task for task in found["tasks"]}
    assert tasks[("fsMotionAndCtf", "Position_8")]["id"] == "123_4"
    assert found["nodes"] == ["n7"]
    assert sum(row["tasks"] for row in found["rows"]) == len(found["tasks"])
    assert {task["state"] for task in found["tasks"]} == {"queued", "running"}
    assert main(["queue", "--tasks", str(root)]) == 0
    assert "123_4" in capsys.readouterr().out


def test_calls_are_shown_and_torn_lines_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = seed.write(tmp_path / "p", in_slurm())
    call = {"t": seed.NOW, "call": ["squeue", "--me"], "more": 0, "seconds": 0.012, "code": 0, "said": ""}
    lost = {**call, "call": ["sbatch", "x.sh"], "seconds": 30.0, "code": None, "said": "no answer in time"}
    ProjectPaths(root).slurm_calls.write_text(f"{json.dumps(call)}\n{json.dumps(lost)}\n{{torn")
    assert main(["queue", "--calls", str(root)]) == 0
    told = capsys.readouterr().out
    assert "squeue --me" in told and "30.00 s" in told and "no answer in time" in told
    assert main(["queue", "--calls", "--json", str(root)]) == 0
    assert [c["code"] for c in json.loads(capsys.readouterr().out)["calls"]] == [0, None]


def test_an_empty_queue_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = seed.write(tmp_path / "p", seed.finished())
    assert main(["queue", str(root)]) == 0
    assert "nothing is in the queue" in capsys.readouterr().out
    assert main(["queue", "--calls", str(root)]) == 0
    assert "no command of Slurm" in capsys.readouterr().out


def test_a_waiting_series_says_what_it_waits_for() -> None:
    status = in_slurm()
    short = labels(status.jobs, 6)
    waiting = next(row for row in rows(status) if row.cells[1] == TaskState.QUEUED.value)
    assert now(status, waiting, short, queue_waits(status)) == "a GPU in gpu: 3 jobs before it"


def test_the_queue_has_as_many_tasks_as_their_states_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = in_slurm()
    told = {(row["job"], row["phase"]): (row["tasks"], row["words"]) for row in queue_rows(status)}
    assert told["fsMotionAndCtf", "pending"] == (3, "waiting for a GPU in partition gpu: 3 jobs before it")
    assert told["tsImport", "pending"] == (1, "queued") and told["tsReconstruct", "running"] == (1, "runs")
    status.jobs[2].queue_ids = {"Position_6": "124_0"}
    assert queue_words(status, "tsImport") == "just submitted"
    status.jobs[1].states = [TaskState.RUNNING.value] * 9
    assert [row["phase"] for row in queue_rows(status) if row["job"] == "fsMotionAndCtf"] == ["running"]
    ended = seed.finished()
    ended.queue = status.queue
    root = seed.write(tmp_path / "p", ended)
    assert main(["queue", "--json", str(root)]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == []


def test_status_says_that_slurm_does_not_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = in_slurm()
    status.queue.trouble = "squeue did not answer within 30 s"
    root = seed.write(tmp_path / "p", status)
    assert main(["status", str(root)]) == 0
    assert "Slurm does not answer: squeue did not answer within 30 s" in capsys.readouterr().out
    assert main(["status", "--oneline", str(root)]) == 0
    assert " ? " in capsys.readouterr().out
    status.jobs = seed.finished().jobs
    assert queue_trouble(status) == ""


def test_what_waits_in_vain_names_its_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = in_slurm()
    sentence = "tsCtf: 3 tasks wait in Slurm's queue in vain: its account may not use partition gpu."
    status.needs = [Need("waits", "tsCtf", sentence, ["resources.account", "resources.partition"])]
    root = seed.write(tmp_path / "p", status)
    for command in ("queue", "status"):
        assert main([command, str(root)]) == 0
        told = " ".join(capsys.readouterr().out.split())
        assert f"{sentence} (tsCtf.resources.account, tsCtf.resources.partition)" in told


def test_a_submission_is_shown_whole_at_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    root = seed.write(tmp_path / "p", in_slurm())
    argv = ["sbatch", "--parsable", "--job-name=ribosome-job002-04329493", "--chdir=/data/p", "--no-requeue",
            "--array=0-7", "/data/p/External/job002/submit/ribosome-job002-04329493.sh"]  # fmt: skip
    answer = "Unable to contact slurm controller (connect failure)"
    call = {"t": seed.NOW, "call": argv, "more": 0, "seconds": 4.015, "code": 1, "said": answer}
    ProjectPaths(root).slurm_calls.write_text(json.dumps(call) + "\n")
    assert main(["queue", "--calls", str(root)]) == 0
    told = capsys.readouterr().out
    assert "sbatch External/job002 ribosome-job002-04329493 array 0-7" in " ".join(told.split())
    assert any(line.strip() == answer for line in told.splitlines())
    assert all(len(line) <= 80 for line in told.splitlines())


async def test_the_monitor_and_the_task_say_why_a_task_waits(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", in_slurm())
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        screen.query_one(MatrixView).go(7, 1)
        await pilot.pause()
        reason = "waiting for a GPU in partition gpu: 3 jobs before it"
        assert "queued: a GPU in gpu: 3 jobs before it" in screen.query_one("#told", Line).render().plain
        assert "waiting: a GPU in gpu: 3 jobs before it" in screen.query_one("#summary", Line).render().plain
        await pilot.press("enter")
        await until(pilot, lambda: any(reason in line for line in text_of(pilot.app)))
        assert not any("No such file" in line for line in text_of(pilot.app))


async def test_the_monitor_says_that_slurm_does_not_answer(tmp_path: Path) -> None:
    status = in_slurm()
    status.queue.trouble = "squeue did not answer within 30 s"
    root = seed.write(tmp_path / "p", status)
    async with CrboostApp(root, utf8=True).run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        assert "? Slurm does not answer" in screen.query_one("#head", Line).render().plain
        assert status.queue.trouble in screen.query_one("#summary", Line).render().plain


def test_a_log_says_what_slurm_knew_of_its_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = in_slurm()
    status.jobs[1].usage = {"Position_1": {"minutes": 12.5, "memory_gb": 14.2, "cpu_percent": 88.4}}
    status.jobs[1].queue_ids["Position_1"] = "120_3"
    root = seed.write(tmp_path / "p", status)
    seed.write_log(root, "External/job002", "Position_1", "all went well\n")
    assert main(["logs", str(root), "fsMotionAndCtf", "Position_1"]) == 0
    told = capsys.readouterr()
    assert told.out == "all went well\n"
    assert "Slurm's job 120_3, 12 m, 14.2 GB, 88 % of its cores" in told.err
    assert slurm_text(status.jobs[1], "Position_2") == ""
