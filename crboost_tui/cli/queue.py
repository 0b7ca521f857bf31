"""The project's queue in words: what runs, what waits and for what, as the engine last saw it. Slurm is not asked.

crboost queue            a line for each job and reason
crboost queue --tasks    a line for each task, with Slurm's number
crboost queue --calls    the last calls of Slurm's commands that the engine made
"""

from __future__ import annotations

import argparse
import itertools
import json
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.engine.reading import load_status
from core.engine.states import TaskState
from core.engine.status import JobStatus, Status
from core.project.layout import ProjectPaths
from crboost_tui.cli._common import add_json, add_project, columns, find_project, print_json
from crboost_tui.matrix import duration, engine_text, need_text, queue_rows, queue_trouble
from crboost_tui.terminal import Terminal, cell_width, fit

CALLS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    add_json(parser)
    parser.add_argument("--tasks", action="store_true", help="every task that is in the queue")
    parser.add_argument("--calls", action="store_true", help=f"the last {CALLS} calls of Slurm's commands")


def run(options: argparse.Namespace) -> int:
    root = find_project(options.project)
    status = load_status(root)
    if options.json:
        print_json(as_json(status, root if options.calls else None))
        return 0
    terminal = Terminal.of()
    if options.calls:
        lines = call_lines(ProjectPaths(root), terminal)
    elif options.tasks:
        lines = task_lines(status, terminal)
    else:
        lines = summary_lines(status, terminal, ProjectPaths(root).slurm_calls.exists())
    for line in lines:
        print(terminal.text(line))
    return 0


def as_json(status: Status, root: Path | None) -> dict[str, Any]:
    """``rows``: what is in the queue by job and reason, ``tasks``: each of them, ``nodes``: those left out."""
    found: dict[str, Any] = {
        "asked": status.queue.asked,
        "trouble": status.queue.trouble,
        "rows": queue_rows(status),
        "nodes": status.queue.nodes,
        "tasks": [
            {"job": job.id, "key": key, "state": state.name.lower(), "id": job.queue_ids.get(key, "")}
            for job, key, state in _live(status)
        ],
    }
    if root is not None:
        found["calls"] = read_calls(ProjectPaths(root))
    return found


def summary_lines(status: Status, terminal: Terminal, in_slurm: bool) -> list[str]:
    """What waits and why, in as few lines as there are reasons. ``in_slurm``: Slurm was ever asked for something."""
    counts = status.counts()
    live = {state: counts[state] for state in TaskState if state.live and counts[state]}
    told = "  ".join(f"{terminal.state(state.value)} {number} {state.name.lower()}" for state, number in live.items())
    lines = [f" {terminal.paint(status.name, '1')}   {engine_text(status)}   {told or 'nothing is in the queue'}"]
    queue = status.queue
    if queue.asked:
        age = duration(max(0.0, time.time() - queue.asked))
        lines.append(terminal.paint(f" Slurm's queue, asked {age} ago", "2"))
    elif live and not in_slurm:
        lines.append(terminal.paint(" tasks run on the engine's own host; Slurm has none of them", "2"))
    if trouble := queue_trouble(status):
        lines += _folded(terminal.state("?"), trouble, terminal)
    lines += _table(queue_rows(status), terminal)
    if queue.nodes:
        nodes = f"left out, because tasks failed there at once: {', '.join(queue.nodes)} (retry takes them in again)"
        lines += _folded(" ", nodes, terminal)
    for need in status.needs:
        if need.kind in ("refused", "space", "waits"):
            lines += _folded(terminal.state("!"), need_text(need), terminal)
    return lines


def _folded(mark: str, sentence: str, terminal: Terminal) -> list[str]:
    first, *rest = textwrap.wrap(sentence, terminal.width - 4) or [""]
    return [f" {mark} {first}", *(f"   {more}" for more in rest)]


def _table(rows: list[dict[str, Any]], terminal: Terminal) -> list[str]:
    """A line for each row, the words folded under themselves where the terminal is narrow."""
    if not rows:
        return []
    cells = [["  job", "tasks", "state"], *([f"  {row['job']}", str(row["tasks"]), row["phase"]] for row in rows)]
    starts = columns(cells, right=(1,))
    width = max(cell_width(start) for start in starts) + 2
    lines = []
    for start, words in zip(starts, ["in words", *map(_words, rows)], strict=True):
        first, *rest = textwrap.wrap(words, max(20, terminal.width - 1 - width)) or [""]
        lines += [fit(start, width) + first, *(" " * width + more for more in rest)]
    return lines


def task_lines(status: Status, terminal: Terminal) -> list[str]:
    rows = [["  ", "job", "series", "Slurm's job", "since"]]
    for job, key, state in _live(status):
        began = job.started[status.keys(job).index(key)] if state == TaskState.RUNNING else 0.0
        since = duration(time.time() - began) if began else ""
        rows.append([f" {terminal.state(state.value)}", job.id, key, job.queue_ids.get(key, ""), since])
    return columns(rows) if len(rows) > 1 else [" nothing is in the queue"]


def call_lines(paths: ProjectPaths, terminal: Terminal) -> list[str]:
    """Each call with its telling words, and under it what Slurm said."""
    calls = read_calls(paths)
    if not calls:
        return [" no command of Slurm was called for this project"]
    cells = [["  when", "took", "code"]]
    for call in calls:
        clock = time.strftime("%H:%M:%S", time.localtime(call["t"]))
        cells.append([f"  {clock}", f"{call['seconds']:.2f} s", "-" if call["code"] is None else str(call["code"])])
    head, *starts = columns(cells, right=(1, 2))
    width = cell_width(head) + 2
    lines = [fit(head, width) + "call, and its answer"]
    for start, call in zip(starts, calls, strict=True):
        room = max(20, terminal.width - 1 - width)
        first, *rest = textwrap.wrap(telling_words(call), room, break_on_hyphens=False) or [""]
        rest += textwrap.wrap(call["said"], room)
        lines += [fit(start, width) + first, *(" " * width + more for more in rest)]
    return lines


def telling_words(call: dict[str, Any]) -> str:
    """A call as it was made; of a submission the job's folder, its name and the array, not the dozen other options."""
    words = [str(word) for word in call["call"]]
    options = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
    name, folder = options.get("--job-name"), options.get("--chdir", "")
    if name is None:
        return " ".join(words) + (f" and {call['more']} more" if call["more"] else "")
    program = itertools.takewhile(lambda word: not word.startswith("-"), words)
    script = Path(words[-1].removeprefix(f"{folder}/"))
    job = script.parent.parent if script.parent.name == "submit" else script.parent
    array = f" array {options['--array']}" if "--array" in options else ""
    return f"{' '.join(program)} {job} {name}{array}"


def read_calls(paths: ProjectPaths) -> list[dict[str, Any]]:
    """The last calls, oldest first. Torn lines are passed over."""
    try:
        lines = paths.slurm_calls.read_text(encoding="utf-8", errors="replace").splitlines()[-CALLS:]
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            call = json.loads(line)
            found.append({name: call[name] for name in ("t", "call", "more", "seconds", "code", "said")})
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _live(status: Status) -> Iterator[tuple[JobStatus, str, TaskState]]:
    for job in status.jobs:
        for key, character in zip(status.keys(job), job.states, strict=True):
            state = TaskState(character)
            if state.live:
                yield job, key, state


def _words(row: dict[str, Any]) -> str:
    start = float(row.get("start") or 0.0)
    if row["phase"] != "pending" or not start:
        return str(row["words"])
    same_day = time.strftime("%F", time.localtime(start)) == time.strftime("%F")
    return f"{row['words']}; expected {time.strftime('%H:%M' if same_day else '%a %d %b %H:%M', time.localtime(start))}"
