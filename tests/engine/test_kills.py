"""SIGKILL at random moments: nothing is lost, nothing runs twice, nothing is half written."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from core.engine.engine import Engine  # noqa: F401  # a defect on import must fail here, not in the engine's log
from core.engine.reading import load_status
from core.formats import star
from core.project.layout import ProjectPaths
from core.relion.lock import read_pipeline
from tests.rehearsed import DATA, done_attempts, rehearsal, start_engine, states, wait_for

CRBOOST = [sys.executable, "-P", "-m", "crboost_tui.main"]


def kill_until_done(root: Path, kills: int, seed: int) -> int:
    """Run the project to its end while killing engines (and the command line) at random moments."""
    dice = random.Random(seed)
    command = subprocess.Popen([*CRBOOST, "run", str(root)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(dice.uniform(0.0, 1.5))
    command.kill()
    command.wait()
    done = 0
    while done < kills:
        from core.engine import requests

        if not ProjectPaths(root).wanted.exists():
            requests.run(root, DATA)
        engine = start_engine(root)
        time.sleep(dice.choice((dice.uniform(0.2, 1.0), dice.uniform(0.5, 3.0))))
        if engine.poll() is not None:
            if load_status(root).outcome() == "succeeded":
                break
            continue
        os.kill(engine.pid, signal.SIGKILL)
        engine.wait()
        done += 1
    return done


def check_whole(root: Path) -> None:
    status = load_status(root)
    assert status.outcome() == "succeeded", (states(status), [job.causes for job in status.jobs])
    twice = {task: count for task, count in done_attempts(root).items() if count != 1}
    assert not twice, twice
    assert sum(done_attempts(root).values()) == sum(len(job.states) for job in status.jobs)
    for path in root.rglob("*.star"):
        if ".Nodes" not in path.parts:  # RELION's menus: empty files
            star.read(path)
    assert {process.status for process in read_pipeline(root).processes()} == {"Succeeded"}
    json.loads((root / ".crboost/status.json").read_text())
    for path in root.rglob("*.tmp"):  # what a kill left behind is hidden, and no product has such a name
        assert path.name.startswith("."), path


def finish(root: Path) -> None:
    for _ in range(5):
        engine = start_engine(root)
        engine.wait(120)
        if load_status(root).outcome() == "succeeded":
            return


def executions(root: Path) -> Counter[str]:
    """How often each series' tool really ran to its end, as the tool itself noted."""
    found: Counter[str] = Counter()
    for path in root.glob("*/job*/tasks/*/*.claim"):
        if not path.read_text().startswith("withdrawn"):
            found[str(path.parent)] += 1
    return found


def test_twenty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    root = rehearsal(tmp_path, series=4, tilts=5, settings={"seconds": 0.15})
    assert kill_until_done(root, 20, seed=1) > 0
    finish(root)
    check_whole(root)


def test_a_killed_engine_is_taken_over_and_running_tasks_are_kept(tmp_path: Path) -> None:
    from core.engine import requests

    root = rehearsal(tmp_path, series=1, settings={"seconds": 2.0})
    requests.run(root, DATA)
    engine = start_engine(root)
    wait_for(lambda: ">" in states(load_status(root)).get("fsMotionAndCtf", ""), what="for a running task")
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    (root / ".crboost/standins/standin.json").write_text('{"seconds": 0.05}')
    finish(root)
    check_whole(root)
    assert set(executions(root).values()) == {1}
