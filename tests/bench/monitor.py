"""The monitor in a terminal of 140 x 45: bytes that it sends, memory, and how soon an event is seen.

The app is a process of its own under a pty, with 24-bit colours (the longest sequences); a thread reads what it sends,
and knows at every moment what stands on the screen.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from core.engine import requests
from core.engine.events import EventLog
from core.engine.reading import load_status
from core.engine.status import EngineStatus, JobStatus, Status
from core.project.decisions import HANDEDNESS
from core.project.layout import ProjectPaths
from crboost_tui import matrix
from tests.rehearsed import DATA, rehearsal, start_engine, wait_for
from tests.tui import seed

WIDTH, HEIGHT = 140, 45
SETTLE_SECONDS = 3.0
IDLE_SECONDS = 15.0
BUSY_SECONDS = 20.0
KEYS = 20
SERIES = 24
TASK_SECONDS = 5.0
FIRST_ROW = 2
"""Line of the screen on which the first series stands."""
_TOKEN = re.compile(rb"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|[^\x1b]+", re.DOTALL)


class Terminal:
    """Enough of a terminal to know which character stands where. ``sent``: bytes until now."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process, self.fd = process, fd
        self.sent = 0
        self.grid = [[" "] * WIDTH for _ in range(HEIGHT)]
        self.since: dict[tuple[int, int, str], float] = {}
        """Row, column and character -> when it came there first (seconds since 1970)."""
        self._x = self._y = 0
        self._rest = b""
        threading.Thread(target=self._read, daemon=True).start()

    def line(self, row: int) -> str:
        return "".join(self.grid[row])

    def text(self) -> str:
        return "\n".join(map(self.line, range(HEIGHT)))

    def press(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def bytes_during(self, seconds: float) -> int:
        before = self.sent
        time.sleep(seconds)
        return self.sent - before

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return
            if not data:
                return
            self.sent += len(data)
            self._take(self._rest + data)

    def _take(self, data: bytes) -> None:
        end = data.rfind(b"\x1b")
        whole = (
            len(data) if end < 0 or re.search(rb"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[^\[\]])", data[end:]) else end
        )
        while whole and whole == len(data) and data[whole - 1] >= 0x80 and not _is_text(data[:whole]):
            whole -= 1
        data, self._rest = data[:whole], data[whole:]
        for piece in _TOKEN.finditer(data):
            if piece[2] == b"H":
                line, _, cell = (piece[1] or b"1;1").partition(b";")
                self._y, self._x = int(line) - 1, int(cell or b"1") - 1
            elif piece[0][:1] != b"\x1b":
                self._write(piece[0].decode("utf-8", "replace"))

    def _write(self, text: str) -> None:
        for char in text:
            if char == "\n":
                self._y += 1
            elif char == "\r":
                self._x = 0
            elif self._y < HEIGHT and self._x < WIDTH:
                if self.grid[self._y][self._x] != char:
                    self.since[self._y, self._x, char] = time.time()
                self.grid[self._y][self._x] = char
                self._x += 1


@contextmanager
def app_on(root: Path, home: Path) -> Iterator[Terminal]:
    """The app, open on a project, when its monitor stands on the screen."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "TEXTUAL_"))}
    environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", "HOME": str(home)}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "crboost_tui.main", str(root)],
        stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(child)
    terminal = Terminal(process, parent)
    try:
        wait_for(lambda: "series finished" in terminal.text(), 30.0, "for the monitor")
        time.sleep(SETTLE_SECONDS)
        yield terminal
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        os.close(parent)


def bytes_sent(folder: Path) -> dict[str, float]:
    """Nothing happens; then an arrow key, up, down, left and right; then 200 series of which 40 are running, each with
    another progress every second, and five tasks a second that end or begin."""
    root = seed.write(folder / "project", busy(200, 40))
    with app_on(root, folder) as terminal:
        idle = terminal.bytes_during(IDLE_SECONDS) / IDLE_SECONDS
        longest = 0
        for key in [b"\x1b[B", b"\x1b[C", b"\x1b[A", b"\x1b[D"] * (KEYS // 4) + [b"\x1b[B"] * 10:
            before = terminal.sent
            terminal.press(key)
            time.sleep(0.25)
            longest = max(longest, terminal.sent - before)
        log = EventLog(ProjectPaths(root).events, load_status(root).event)
        before, begun = terminal.sent, time.monotonic()
        for second in range(int(BUSY_SECONDS)):
            for part in range(5):
                if part == 0:
                    for number in range(40):
                        progress = (second + number) % 100 / 100
                        log.add(
                            time.time(), "task", job="tsCtf", key=f"Position_{number + 1}", state=">", progress=progress
                        )
                series = f"Position_{41 + (5 * second + part) % 150}"
                log.add(time.time(), "task", job="tsCtf", key=series, state="+>"[part % 2], ended=time.time())
                log.flush()
                time.sleep(max(0.0, begun + second + (part + 1) / 5 - time.monotonic()))
        busy_bytes = (terminal.sent - before) / BUSY_SECONDS
    return {"pty_idle_bytes_per_s": idle, "pty_arrow_key_bytes": longest, "pty_200_series_bytes_per_s": busy_bytes}


def memory(folder: Path) -> dict[str, float]:
    """Resident memory of the app on 2,000 series x 12 jobs, after the whole matrix was scrolled through."""
    root = seed.write(folder / "project", busy(2000, 40, jobs=12))
    with app_on(root, folder) as terminal:
        for key in [b"\x1b[6~"] * 60 + [b"\x1b[F", b"\x1b[H"]:
            terminal.press(key)
            time.sleep(0.05)
        time.sleep(1.0)
        resident = re.search(r"VmRSS:\s+([0-9]+)", Path(f"/proc/{terminal.process.pid}/status").read_text())
    assert resident is not None
    return {"matrix_2000x12_memory_mb": int(resident[1]) / 1000}


def event_to_screen(folder: Path) -> dict[str, float]:
    """From the time of a task's state file to the tick in its cell on the terminal, with a real engine, the local
    submitter and stand-ins (the whole way; stand-ins of two dozen series on two cores keep it to some ten events a
    second), and from an event's line to the cell at 20 events a second (the app's part alone, without an engine): the
    longer one of the two medians. Both are said on stderr."""
    whole, alone = _whole_way(folder / "whole"), _app_alone(folder / "alone")
    print(f"whole way {whole:.3f} s, app alone {alone:.3f} s", file=sys.stderr)
    return {"event_to_screen_median_s": max(whole, alone)}


def _whole_way(folder: Path) -> float:
    alone = {"resources": {"cpus": 1, "gpus": 0}, "decisions": {HANDEDNESS: "flip"}}
    root = rehearsal(
        folder, series=SERIES, tilts=3, settings={"seconds": TASK_SECONDS, "sigma": 0.5}, pieces=alone,
        parameters={"aligntiltsWarp": {"calibrate_axis": False}},
        conf=f"submitter: local\nlocal: {{cpus: {2 * SERIES}, gpus: 0}}\n",
    )  # fmt: skip
    requests.run(root, DATA)
    engine = start_engine(root)
    try:
        wait_for(lambda: any(">" in job.states for job in load_status(root).jobs), 60.0, "for a running task")
        with app_on(root, folder) as terminal:
            begun = time.time()
            engine.wait(300)
            time.sleep(2.0)
            status = load_status(root)
            labels = terminal.line(FIRST_ROW - 1)
            seen = dict(terminal.since)
    finally:
        engine.kill()
    taken = []
    for job, label in zip(status.jobs, matrix.labels(status.jobs, 6), strict=True):
        column = labels.index(f" {label} ") + 3
        for row, key in enumerate(status.series):
            state = root / job.folder / "tasks" / key / f"{job.attempts[row]}.state"
            ended = state.stat().st_mtime if state.exists() else 0.0
            if ended > begun:
                taken.append(seen[FIRST_ROW + row, column, "✓"] - ended)
    assert len(taken) > 2 * SERIES, f"only {len(taken)} tasks were seen to end"
    return median(taken)


def _app_alone(folder: Path) -> float:
    root = seed.write(folder / "project", busy(30, 0))
    with app_on(root, folder) as terminal:
        log = EventLog(ProjectPaths(root).events, load_status(root).event)
        column = terminal.line(FIRST_ROW - 1).index("recon") + 2
        taken = []
        for number in range(200):
            row = FIRST_ROW + number % 25
            state, glyph, at = ("+", "✓", column) if terminal.grid[row][column] != "✓" else (">", "▶", column - 2)
            log.add(
                time.time(), "task", job="tsReconstruct", key=f"Position_{number % 25 + 1}", state=state, progress=0.5
            )
            begun = time.time()
            log.flush()
            wait_for(lambda row=row, at=at, glyph=glyph: terminal.grid[row][at] == glyph, 5.0, f"for {glyph}")
            taken.append(terminal.since[row, at, glyph] - begun)
            time.sleep(max(0.0, begun + 0.05 - time.time()))
    return median(taken)


def busy(series: int, running: int, jobs: int = 7) -> Status:
    """A run of so many series, ``running`` of which are in their CTF; all have the numbers that they would have."""
    names = [f"Position_{number}" for number in range(1, series + 1)]
    kinds = [*seed.JOBS, *((f"more{number}", f"More {number}", "") for number in range(12))][:jobs]
    found = Status(name="bench", updated=seed.NOW, series=names, names=list(names))
    found.engine = EngineStatus(host="login2", pid=4242, version="0.1.0", state="running", request=1)
    for place, (id, title, folder) in enumerate(kinds):
        states = ["+" if place < 5 else "." for _ in names]
        if place == 5:
            states = [">" if number < running else "q" for number in range(series)]
        job = JobStatus(
            id=id, type=id, title=title, folder=folder, states=states, attempts=[1] * series,
            fingerprints=["0123456789ab"] * series, started=[seed.NOW - 900.0] * series, ended=[0.0] * series,
            state="Running",
        )  # fmt: skip
        job.progress = {name: 0.5 for name, state in zip(names, states, strict=True) if state == ">"}
        job.gathered = dict.fromkeys(names, "1 0123456789ab") if place < 5 else {}
        found.jobs.append(job)
    for number, name in enumerate(names):
        found.jobs[0].numbers[name] = {"tilts": 41.0}
        found.jobs[1].numbers[name] = {
            "motion_angstrom_per_frame": 0.19 + number % 40 / 100, "ctf_resolution_angstrom": 5.2 + number % 30 / 10,
            "defocus_um": 2.7 + number % 25 / 20,
        }  # fmt: skip
        found.jobs[3].numbers[name] = {
            "tilts_used": 41.0 - number % 3, "tilt_axis_departure_deg": 0.1 - 0.1 * (number % 3),
            "largest_shift_angstrom": 112.0 + number % 90,
        }  # fmt: skip
    return found


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.end < len(data) or error.reason != "unexpected end of data"
    return True
