"""Series by jobs with their states, what happens now, and what needs you.

crboost status --relion            the jobs of RELION's pipeline, ours and RELION's own, with their states and inputs
crboost status RELION-PROJECT      the same, of a project that RELION has made
"""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from core.engine.reading import StatusFollower, load_status
from core.engine.states import TaskState
from core.engine.status import Status
from core.errors import CrboostError
from core.relion.listing import ListedJob, is_relion_project, list_jobs
from crboost_tui.cli._common import add_json, add_project, columns, find_project, print_json, project_or_none, say
from crboost_tui.matrix import (
    Row,
    counts,
    doing,
    engine_text,
    labels,
    need_text,
    now,
    queue_trouble,
    queue_waits,
    rows,
    series_words,
    stale_hint,
)
from crboost_tui.terminal import RELION_STATES, Terminal, cell_width, fit, glyph, shorten


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    add_json(parser)
    parser.add_argument("--relion", action="store_true", help="the jobs of RELION's pipeline, with states and inputs")
    parser.add_argument("--watch", action="store_true", help="show it again on every change, until the run has ended")
    parser.add_argument("--oneline", action="store_true", help="one line, for tmux and prompts")


def run(options: argparse.Namespace) -> int:
    made_by_relion = project_or_none(options.project) is None and is_relion_project(Path(options.project or "."))
    if options.relion or made_by_relion:
        return _relion(Path(options.project or ".") if made_by_relion else find_project(options.project), options)
    root = find_project(options.project)
    if options.watch:
        return _watch(options)
    status = load_status(root)
    if options.json:
        relion = [asdict(job) for job in list_jobs(root)] if is_relion_project(root) else []
        print_json({**status.to_json(), "outcome": status.outcome(), "relion": relion})
        return 0
    terminal = Terminal.of()
    if options.oneline:
        print(one_line(status, terminal))
        return 0
    for line in table(status, terminal):
        print(line)
    for line in _others(root, status, terminal):
        print(terminal.text(line))
    return 0


def _others(root: Path, status: Status, terminal: Terminal) -> list[str]:
    """The jobs of RELION's pipeline that are none of ours, in a line; a pipeline that cannot be read has none."""
    ours = {job.folder.rstrip("/") for job in status.jobs if job.folder}
    try:
        jobs = [job for job in list_jobs(root) if job.name not in ours] if is_relion_project(root) else []
    except CrboostError:
        return []
    if not jobs:
        return []
    told = Counter(job.status for job in jobs)
    counts = ", ".join(f"{number} {status.lower()}" for status, number in told.items())
    sentence = f"RELION has {len(jobs)} other jobs here: {counts}. crboost status --relion lists them."
    return [f"  {line}" for line in textwrap.wrap(sentence, terminal.width - 4)]


def _relion(root: Path, options: argparse.Namespace) -> int:
    jobs = list_jobs(root.resolve())
    if options.json:
        print_json({"relion": [asdict(job) for job in jobs]})
        return 0
    terminal = Terminal.of()
    for line in relion_lines(jobs, terminal):
        print(terminal.text(line))
    if project_or_none(options.project) is None:
        say("RELION has made this project. crboost new in its folder goes on from here; its jobs stay as they are.")
    return 0


def relion_lines(jobs: Sequence[ListedJob], terminal: Terminal) -> list[str]:
    """A line for each job, with the files that it takes below it."""
    cells = [
        [
            f" {terminal.state(RELION_STATES.get(job.status, '?'))}",
            job.name,
            job.status,
            job.type.removeprefix("relion."),
            job.alias,
        ]
        for job in jobs
    ]
    lines = []
    for line, job in zip(columns(cells), jobs, strict=True):
        lines.append(shorten(line, terminal.width - 1))
        lines += [terminal.paint(shorten(f"     {file}", terminal.width - 1), "2") for file, _ in job.inputs]
    return lines or [" RELION's pipeline has no jobs yet"]


def one_line(status: Status, terminal: Terminal) -> str:
    """``✓212 ✗3 ▶8 project``, with ``!2`` where two things need a person and ``?`` where the queue does not answer."""
    shown = [(state, number) for state, number in counts(status) if state != TaskState.NEEDS_YOU]
    found = [f"{glyph(state.value, terminal.utf8)}{number}" for state, number in shown]
    if status.needs:
        found.insert(0, f"{glyph(TaskState.NEEDS_YOU.value, terminal.utf8)}{len(status.needs)}")
    if queue_trouble(status):
        found.append(f"?{status.counts()[TaskState.UNKNOWN] or ''}")
    return terminal.text(" ".join([*found, status.name]))


def table(status: Status, terminal: Terminal, height: int | None = None) -> list[str]:
    """The lines of the whole picture, none wider than the terminal; with ``height`` at most so many of them."""
    every = rows(status)
    cells = 6 if terminal.width >= 36 + 7 * len(status.jobs) else 3
    short, waits = labels(status.jobs, cells), queue_waits(status)
    name_cells = min(24, max([6, *(cell_width(row.name) for row in every)]))
    needs = [line for need in status.needs for line in _need("!", need_text(need), terminal)]
    if trouble := queue_trouble(status):
        needs += _need("?", trouble, terminal)
    foot = _foot(status, terminal)
    shown = every
    if height is not None:
        room = max(3, height - len(needs) - len(foot) - 5)
        if len(every) > room:
            urgent = sorted(
                range(len(every)), key=lambda index: (not every[index].trouble, not every[index].live, index)
            )
            shown = [every[index] for index in sorted(urgent[: room - 1])]
    lines = [_head(status, terminal), terminal.paint(terminal.text("─" * (terminal.width - 1)), "2")]
    head = "  " + fit("series", name_cells) + "  " + " ".join(fit(label, cells) for label in short)
    lines.append(terminal.paint(terminal.text(head), "2"))
    lines += [_line(status, row, short, waits, cells, name_cells, terminal) for row in shown]
    if len(shown) < len(every):
        lines.append(terminal.paint(terminal.text(f"  … {len(every) - len(shown)} more"), "2"))
    if not every:
        lines.append("  nothing has run yet. Next: crboost plan, then crboost run")
    return lines + needs + foot


def _head(status: Status, terminal: Terminal) -> str:
    name = terminal.paint(shorten(status.name, 30), "1")
    tag = terminal.paint("  REHEARSAL", "33") if status.rehearsal and "REHEARSAL" not in status.name else ""
    told = "  ".join(f"{terminal.state(state.value)} {number}" for state, number in counts(status))
    engine = shorten(engine_text(status), max(10, terminal.width - cell_width(name + tag + told) - 8))
    return terminal.text(f" {name}{tag}   {engine}   {told}")


def _line(
    status: Status, row: Row, short: list[str], waits: Sequence[str], cells: int, name_cells: int, terminal: Terminal
) -> str:
    left = 2 if cells > 3 else 1
    marks = []
    for state in row.cells:
        mark = terminal.state(state) if state else " "
        marks.append(" " * left + mark + " " * (cells - left - 1))
    start = "  " + fit(row.name, name_cells) + "  " + " ".join(marks)
    room = terminal.width - cell_width(start) - 3
    words = shorten(now(status, row, short, waits), room) if room > 5 else ""
    return terminal.text(start + "  " + words).rstrip()


def _need(mark: str, sentence: str, terminal: Terminal) -> list[str]:
    first, *rest = textwrap.wrap(sentence, terminal.width - 6) or [""]
    return [terminal.text(line) for line in (f"  {terminal.state(mark)} {first}", *(f"    {more}" for more in rest))]


def _foot(status: Status, terminal: Terminal) -> list[str]:
    words = f"  {series_words(status)}   {doing(status)}"
    hint = stale_hint(status)
    stale = [f"  {terminal.state('#')} {hint}"] if hint else []
    return [terminal.text(line) for line in (*stale, words)]


def _watch(options: argparse.Namespace) -> int:
    live = StatusFollower(find_project(options.project))
    terminal = Terminal.of()
    shown: list[str] = []
    try:
        while True:
            if options.json:
                lines = []
                print_json({**live.status.to_json(), "outcome": live.status.outcome()})
            elif options.oneline:
                lines = [one_line(live.status, terminal)]
            else:
                lines = table(
                    live.status, terminal, shutil.get_terminal_size().lines - 1 if sys.stdout.isatty() else None
                )
            if lines != shown:
                _show(lines, shown, terminal)
                shown = lines
            if live.status.engine.state != "running" and not live.status.engine.queued:
                return 0
            _wait_for_change(live)
    except KeyboardInterrupt:
        return 0


def _wait_for_change(live: StatusFollower) -> None:
    deadline = time.monotonic() + 2.0
    while not live.update() and time.monotonic() < deadline:
        time.sleep(0.1)


def _show(lines: list[str], before: list[str], terminal: Terminal) -> None:
    """Draw over what was there, line by line: no flicker, and the scrollback stays."""
    if not sys.stdout.isatty():
        print("\n".join(lines), flush=True)
        return
    up = f"\x1b[{len(before)}A" if before else ""
    body = "".join(f"\x1b[2K{line}\n" for line in lines)
    rest = "\x1b[J"
    sys.stdout.write("\r" + up + body + rest)
    sys.stdout.flush()
