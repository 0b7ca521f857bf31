"""Apptainer as an ordinary user finds it on the testbed: folders and image files, binds, and what stays outside."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from core.tools.command import Command
from core.tools.table import Tool, ToolTable
from core.tools.wrapper import wrap
from tests.real.containers import DEFINITION

PROGRAMS = ("usr/bin/sh", "usr/bin/dash", "usr/bin/cat")
LIBRARIES = ("usr/lib/x86_64-linux-gnu/libc.so.6", "usr/lib64/ld-linux-x86-64.so.2")


def execute(image: Path, folder: Path, *argv: str, binds: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command in the image through the product's wrapper."""
    table = ToolTable({"any": Tool("container", str(image))})
    command = Command("any", argv, str(folder), binds=tuple(map(str, binds)))
    return subprocess.run(wrap(command, table, project=folder), capture_output=True, text=True, check=False, cwd=folder)


def test_the_container_is_what_its_definition_says_and_passes_its_own_test(image: Path) -> None:
    tested = subprocess.run(["apptainer", "test", str(image)], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    told = subprocess.run(["apptainer", "inspect", "--deffile", str(image)], capture_output=True, text=True, check=True)
    of_definition, of_image = (text[text.index("%post") :].split() for text in (DEFINITION.read_text(), told.stdout))
    assert of_image == of_definition


def test_a_program_in_a_container_writes_into_the_project(image: Path, tmp_path: Path) -> None:
    ended = execute(image, tmp_path, "sh", "-c", "relion_refine --version > version; id -u >> version")
    assert (ended.returncode, ended.stderr) == (0, "")
    version, *_, user = (tmp_path / "version").read_text().splitlines()
    assert version.startswith("RELION version: 5.1") and user == str(os.getuid())
    assert (tmp_path / "version").stat().st_uid == os.getuid()


def test_a_bind_can_be_read_and_what_is_not_bound_is_not_there(image: Path) -> None:
    # Not below /tmp, which Apptainer shows as a whole.
    with tempfile.TemporaryDirectory(dir=pwd.getpwuid(os.getuid()).pw_dir) as temporary:
        project, data, private = (Path(temporary) / name for name in ("project", "data", "private"))
        for folder in (project, data, private):
            folder.mkdir()
            (folder / "file").write_text(f"{folder.name}\n")
        script = "cat file ../data/file; cat ../private/file 2> /dev/null || echo nothing"
        ended = execute(image, project, "sh", "-c", script, binds=(data,))
        assert ended.stdout.split() == ["project", "data", "nothing"], ended.stderr
        assert execute(image, project, "sh", "-c", "echo x > ../data/file", binds=(data,)).returncode != 0


def test_an_image_file_is_mounted_by_an_ordinary_user(image: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    for name in (*PROGRAMS, *LIBRARIES):
        (small / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(image / name, small / name, follow_symlinks=name not in PROGRAMS)
    for name in ("bin", "lib", "lib64"):
        (small / name).symlink_to(f"usr/{name}")
    (small / "usr/says").write_text("from the image file\n")
    build = ["apptainer", "--quiet", "build", "small.sif", "small"]
    built = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ended = execute(tmp_path / "small.sif", tmp_path, "sh", "-c", "cat /usr/says")
    assert ended.stdout == "from the image file\n", ended.stderr
    assert execute(tmp_path / "small.sif", tmp_path, "sh", "-c", "echo x > /usr/says").returncode != 0
