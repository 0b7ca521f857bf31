"""The definition files as the real Apptainer reads them (what was built: container_defs/README.md)."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.definitions import read_definition

FILES = sorted((Path(__file__).resolve().parents[2] / "container_defs").glob("*.def"))


def build(file: Path, folder: Path, arguments: Mapping[str, str]) -> str:
    """What Apptainer says to an attempt that must fail."""
    given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    command = ["apptainer", "build", *given, "x.sif", str(file)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode != 0 and not (folder / "x.sif").exists()
    return ended.stderr


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_with_all_arguments_only_the_base_is_missing(file: Path, tmp_path: Path) -> None:
    definition = read_definition(file)
    base = tmp_path / "no-such-base.sif"
    bases = {name: str(base) for name, value in definition.arguments.items() if ":" in value or name == "FROM"}
    said = build(file, tmp_path, {"BOOTSTRAP": "localimage", **bases, **dict.fromkeys(definition.needs, str(tmp_path))})
    assert str(base) in said and "build arg" not in said, said


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_an_argument_that_must_be_given_is_named(file: Path, tmp_path: Path) -> None:
    for missing in read_definition(file).needs:
        others = {name: str(tmp_path) for name in read_definition(file).needs if name != missing}
        said = build(file, tmp_path, {"BOOTSTRAP": "localimage", **others})
        assert missing in said, said
