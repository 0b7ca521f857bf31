"""What goes wrong around a real Slurm, made to go wrong: its clients, and a record of all that failed."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from core.engine.engine import Engine
from core.engine.events import EventReader
from core.engine.states import TaskState
from core.project.layout import ProjectPaths
from tests.rehearsed import done_attempts


class Client:
    """One of Slurm's commands, in front of the real one on PATH, which does as it is told when the product calls it."""

    def __init__(self, name: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._real = shutil.which(name)
        self._path = folder / "clients" / name
        self._path.parent.mkdir(exist_ok=True)
        self.behave()
        if not os.environ["PATH"].startswith(f"{self._path.parent}:"):
            patch.setenv("PATH", f"{self._path.parent}:{os.environ['PATH']}")

    def do(self, bash: str) -> None:
        """From the next call on: lines of bash, in which ``real`` is the real command."""
        new = self._path.with_name("new")
        ours = '[[ -n ${SLURM_TIME_FORMAT:-} ]] || { real "$@"; exit; }  # the tests ask too'
        new.write_text(f'#!/bin/bash\nreal() {{ {self._real} "$@"; }}\n{ours}\n{bash}\n')
        new.chmod(0o755)
        new.replace(self._path)

    def behave(self) -> None:
        self.do('real "$@"')


def events(root: Path, kind: str) -> list[dict[str, object]]:
    """All events of one kind, from the beginning."""
    reader = EventReader(ProjectPaths(root).events, 0)
    found: list[dict[str, object]] = []
    while some := reader.read():
        found += [dict(event.fields) for event in some if event.kind == kind]
    return found


def states_seen(root: Path, instance: str) -> set[TaskState]:
    """Every state that a task of this job has had."""
    return {TaskState(event["state"]) for event in events(root, "task") if event["job"] == instance}


def notices(root: Path) -> str:
    return "\n".join(str(event["sentence"]) for event in events(root, "notice"))


def check_once(root: Path, engine: Engine, instance: str) -> None:
    """Every task of this job is done, exactly one attempt of each ended so, and none ever failed."""
    job = engine.ledger.job(instance)
    assert set(job.states) == {TaskState.DONE.value}, (job.states, job.causes)
    assert TaskState.FAILED not in states_seen(root, instance), notices(root)
    mine = {
        task: number for task, number in done_attempts(root).items() if task.startswith(f"{Path(job.folder).name}/")
    }
    assert Counter(mine.values()) == {1: len(job.states)}, mine
