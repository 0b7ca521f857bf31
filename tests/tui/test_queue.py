"""``crboost queue``: what waits and why, without asking Slurm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.engine.states import TaskState
from core.engine.status import Need, QueueStatus, Status
from core.project.layout import ProjectPaths
from crboost_tui.main import main
from crboost_tui.matrix import labels, now, rows, slurm_text
from tests.tui import seed


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
    assert found["nodes"] == ["n7"] and len(found["rows"]) == 2
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
    assert now(status, waiting, short).endswith("waiting for a GPU in partition gpu: 3 jobs before it")


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
