"""How long doctor takes at worst: where every program that it asks hangs, and a disk as well."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from core.project.layout import ProjectPaths
from tests.synthetic import make_project

CRBOOST = [sys.executable, "-P", "-m", "crboost_tui.main"]
SLURM = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr")
OTHERS = ("WarpTools", "apptainer", "singularity", "loginctl", "nvidia-smi", "rocm-smi", "mpirun", "unshare", "tmux")
FOR_EVER = "86399.5"
"""Seconds that a program hangs: a number by which what is left of it can be found."""
ATTRIBUTES_SECONDS = 1.5
"""How long the kernel remembers what a FUSE file system said."""


def worst(folder: Path) -> dict[str, float]:
    """From the start of the process until whoever reads its output is done: with all programs and the disk of the raw
    data hanging, and with the disk of the project itself hanging; the longer one."""
    taken = []
    for what in ("data", "project"):
        place = folder / what
        place.mkdir()
        with ExitStack() as hanging:
            disk = hanging.enter_context(hanging_disk(place)) if can_mount() else place / "gone"
            root = disk if what == "project" else make_project(place / "root", 3)
            if what == "data":
                move_data(root, disk)
            begun = time.perf_counter()
            findings = doctor(hanging_site(place, (*SLURM, *OTHERS)), str(root))
            taken.append(time.perf_counter() - begun)
            assert any(finding["state"] == "ok" for finding in findings), "nothing was found at all"
    return {"doctor_worst_s": max(taken)}


def doctor(environment: dict[str, str], *arguments: str) -> list[dict[str, str]]:
    """What ``crboost doctor --json`` finds."""
    ended = subprocess.run(
        [*CRBOOST, "doctor", "--json", *arguments],
        env={**environment, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode in (0, 1), ended.stderr
    findings: list[dict[str, str]] = json.loads(ended.stdout)
    return findings


def hanging_site(folder: Path, programs: Sequence[str]) -> dict[str, str]:
    """The environment of a user whose ``programs`` all hang; a site with Slurm, WarpTools and an image of RELION."""
    programs_folder = folder / "hanging"
    programs_folder.mkdir()
    for name in programs:
        program = programs_folder / name
        program.write_text(f"#!/bin/sh\nexec sleep {FOR_EVER}\n")
        program.chmod(0o755)
    (folder / "slurm.conf").touch()
    (folder / "relion.sif").touch()
    (folder / "conf.yaml").write_text(
        f"tools:\n  warp: {{binary: true, path: {programs_folder}}}\n"
        f"  relion: {{container: true, path: {folder / 'relion.sif'}}}\n"
    )
    home = folder / "home"
    home.mkdir()
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "SLURM_"))},
        "PATH": f"{programs_folder}:{os.environ['PATH']}",
        "HOME": str(home),
        "SLURM_CONF": str(folder / "slurm.conf"),
        "CRBOOST_CONFIG": str(folder / "conf.yaml"),
    }


def move_data(root: Path, folder: Path) -> None:
    """Let the registry of a made-up project say that its raw data lie below ``folder``."""
    registry = ProjectPaths(root).registry
    registry.write_text(registry.read_text().replace("/data/session", str(folder)))


def can_mount() -> bool:
    return shutil.which("bindfs") is not None and os.access("/dev/fuse", os.W_OK)


@contextmanager
def hanging_disk(folder: Path) -> Iterator[Path]:
    """A mounted file system whose server stands still: whoever touches it waits."""
    source, mounted = folder / "source", folder / "disk"
    source.mkdir()
    mounted.mkdir()
    server = subprocess.Popen(["bindfs", "-f", "--no-allow-other", str(source), str(mounted)], stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10.0
        while not os.path.ismount(mounted):
            assert server.poll() is None and time.monotonic() < end, "bindfs did not mount"
            time.sleep(0.05)
        server.send_signal(signal.SIGSTOP)
        time.sleep(ATTRIBUTES_SECONDS)
        yield mounted
    finally:
        server.send_signal(signal.SIGCONT)
        unmount = ["umount", "-l"] if os.getuid() == 0 else ["fusermount3", "-uz"]
        subprocess.run([*unmount, str(mounted)], check=False)
        server.terminate()
        server.wait(10)
