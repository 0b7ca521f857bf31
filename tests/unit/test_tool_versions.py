from __future__ import annotations

import json
import os
import struct
import uuid
from pathlib import Path

import pytest

from core.engine.tools_used import ToolsUsed
from core.errors import InputError
from core.formats.sif import Image, read_image
from core.tools.command import Command
from core.tools.table import Tool, ToolTable
from core.tools.version import version_of

ID = uuid.UUID("ce0842a0-12ba-4ed9-8619-d4ec1c096ac6")


def sif(path: Path, labels: object, *, id: uuid.UUID = ID, unused: bool = False) -> Path:
    """An image file with a definition and what ``inspect`` shows, as Apptainer 1.4 lays it out."""
    text = json.dumps({"data": {"attributes": {"labels": labels}}}).encode()
    parts = [(0x4001, b"Bootstrap: scratch\n"), (0x4006, text)]
    start, begin = 4096, 32176
    header = struct.pack(
        "<32s10s3s3s16s8q", b"#!/usr/bin/env run-singularity\n", b"SIF_MAGIC", b"01", b"02", id.bytes,
        0, 0, 45, 48, start, 48 * 585, begin, 0,
    )  # fmt: skip
    descriptors, data = b"", b""
    for number, (kind, part) in enumerate(parts, 1):
        more = (begin + len(data), len(part), len(part), 0, 0, 0, 0, b"", b"")
        descriptors += struct.pack("<i?3I7q128s384s", kind, not unused, number, 1, 0, *more)
        data += part
    path.write_bytes(header.ljust(start, b"\0") + descriptors.ljust(begin - start, b"\0") + data)
    return path


def test_labels_and_id_of_an_image_file(tmp_path: Path) -> None:
    labels = {"Version": "1.2.3", "org.label-schema.build-arch": "amd64"}
    assert read_image(sif(tmp_path / "x.sif", labels)) == Image(str(ID), labels)
    assert read_image(sif(tmp_path / "y.sif", labels, unused=True)).labels == {}
    assert read_image(sif(tmp_path / "z.sif", ["no table"])).labels == {}


def test_labels_of_an_image_folder(tmp_path: Path) -> None:
    assert read_image(tmp_path) == Image("", {})
    (tmp_path / ".singularity.d").mkdir()
    (tmp_path / ".singularity.d" / "labels.json").write_text('{"version": "5.1.0"}')
    assert read_image(tmp_path).labels == {"version": "5.1.0"}


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\0" * 5000])
def test_what_is_no_image_is_said_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.sif").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.sif: is no Apptainer image"):
        read_image(tmp_path / "x.sif")


def test_an_image_cut_short_has_no_labels(tmp_path: Path) -> None:
    path = sif(tmp_path / "x.sif", {"version": "1"})
    path.write_bytes(path.read_bytes()[:6000])
    assert read_image(path).labels == {}


def test_a_copy_of_an_image_is_the_same_version_and_another_build_is_not(tmp_path: Path) -> None:
    one, copy = sif(tmp_path / "one.sif", {"version": "1"}), sif(tmp_path / "copy.sif", {"version": "1"})
    os.utime(copy, (1, 1))
    other = sif(tmp_path / "other.sif", {"version": "1"}, id=uuid.uuid4())
    ids = [version_of(Tool("container", str(path)), "WarpTools").id for path in (one, copy, other)]
    assert ids[0] == ids[1] != ids[2]
    assert str(version_of(Tool("container", str(one)), "WarpTools")) == f"{one} (1)"


def test_a_binary_is_told_by_its_file_behind_links(tmp_path: Path) -> None:
    (tmp_path / "warp-2.0").mkdir()
    program = tmp_path / "warp-2.0" / "WarpTools"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "warp").symlink_to("warp-2.0")
    found = version_of(Tool("binary", str(tmp_path / "warp"), modules=("cuda/12",)), "WarpTools")
    assert (found.path, found.file, found.size) == (f"{tmp_path}/warp/WarpTools", str(program), 10)
    assert found.modules == ("cuda/12",)
    program.write_text("#!/bin/bash\n")
    assert version_of(Tool("binary", str(tmp_path / "warp"), modules=("cuda/12",)), "WarpTools").id != found.id
    assert version_of(Tool("binary"), "bash").file == os.path.realpath("/bin/bash")


def test_a_tool_that_only_the_nodes_see_has_a_version_too() -> None:
    found = version_of(Tool("binary", "/only/on/nodes", modules=("warp/2",)), "WarpTools")
    assert found.file == "" and found.id and "not seen from here" in str(found)
    assert found.id != version_of(Tool("binary", "/only/on/nodes", modules=("warp/3",)), "WarpTools").id


def test_tools_of_a_job_are_recorded_once_for_each_version(tmp_path: Path) -> None:
    image = sif(tmp_path / "warp.sif", {"version": "dev36"})
    table = ToolTable({"warp": Tool("container", str(image))})
    commands = [
        Command("host", ("awk",), "/"),
        Command("warp", ("WarpTools", "ts_ctf"), "/"),
    ]
    job = tmp_path / "job002"
    job.mkdir()
    used = ToolsUsed()
    rehearsed = ToolTable(table.tools, {"warp": ("python3",)})
    assert used.note(job, "Position_1/1", commands, rehearsed) == [] and not (job / "tools.json").exists()
    assert used.note(job, "Position_1/1", commands, table) == []
    (entry,) = json.loads((job / "tools.json").read_text())["tools"]
    assert (entry["tool"], entry["path"], entry["id"]) == ("warp", str(image), str(ID))
    assert entry["labels"] == {"version": "dev36"} and entry["first_attempt"] == "Position_1/1"
    before = (job / "tools.json").stat().st_mtime_ns
    assert (
        used.note(job, "Position_2/1", commands, table) == [] == ToolsUsed().note(job, "Position_3/1", commands, table)
    )
    assert (job / "tools.json").stat().st_mtime_ns == before
    sif(image, {"version": "dev39"}, id=uuid.uuid4())
    (said,) = ToolsUsed().note(job, "Position_1/2", commands, table)
    assert "(dev39)" in said and "(dev36)" in said
    assert len(json.loads((job / "tools.json").read_text())["tools"]) == 2


def test_a_damaged_record_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text('{"tools": [{}, 3')
    commands = [Command("warp", ("bash",), "/")]
    assert ToolsUsed().note(tmp_path, "a/1", commands, ToolTable({"warp": Tool("binary")})) == []
    assert json.loads((tmp_path / "tools.json").read_text())["format"] == 1
