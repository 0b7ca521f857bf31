"""What the wrapper adds to one command: making its argv here, and its bash prelude on the node."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from core.tools.command import Command
from core.tools.table import Tool, ToolTable
from core.tools.wrapper import folders_of, wrap

TILTS = 60
ROUNDS = 200


def per_command(folder: Path) -> dict[str, float]:
    """For a series of 60 tilts whose movies are links to elsewhere; the runtime is ``true``."""
    project, raw, archive, programs = (folder / name for name in ("project", "raw", "archive", "programs"))
    for one in (project / "External" / "job002", raw, archive, programs):
        one.mkdir(parents=True)
    movies = [raw / f"Position_1_{number:03d}.eer" for number in range(TILTS)]
    for movie in movies:
        (archive / movie.name).touch()
        movie.symlink_to(archive / movie.name)
    (programs / "apptainer").symlink_to(shutil.which("true") or "/bin/true")
    table = ToolTable({"warp": Tool("container", "/images/warp.sif", binds=(str(folder),))})
    argv = ("WarpTools", "fs_motion_and_ctf", *(f"--option_{n}={project}/External/job002/{n}" for n in range(25)))
    command = Command("warp", argv, str(project), (("LC_ALL", "C"),), (str(raw),), gpu=True)

    def make() -> tuple[str, ...]:
        return wrap(command, table, project=project, data=folders_of(map(str, movies)))

    wrapped = make()
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}

    def call(words: tuple[str, ...]) -> Callable[[], object]:
        return lambda: subprocess.run(words, env=environment, stderr=subprocess.DEVNULL, check=True)

    here = _seconds(make)
    on_the_node = _seconds(call(wrapped)) - _seconds(call((str(programs / "apptainer"),)))
    return {"wrapper_per_command_ms": 1000 * (here + on_the_node)}


def _seconds(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return median(taken)
