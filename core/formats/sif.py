"""The labels of an Apptainer image, read from its file: no runtime is needed, which the head node often has not.

A ``.sif`` begins with a header of 128 bytes and descriptors of 585 bytes (apptainer/sif, pkg/sif). What
``apptainer inspect`` shows is one of its parts, a JSON text. A folder (sandbox) has the labels in a file.
"""

from __future__ import annotations

import json
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import InputError
from core.files import read_error

_HEADER = struct.Struct("<32s10s3s3s16s8q")
_DESCRIPTOR = struct.Struct("<i?3I7q128s384s")
_MAGIC = b"SIF_MAGIC"
_JSON = 0x4006
_MOST_PARTS = 1000
_MOST_JSON_BYTES = 2**22


@dataclass(frozen=True, slots=True)
class Image:
    """``id``: given when it was built, the same in every copy of the file; "" for a folder."""

    id: str
    labels: dict[str, str]


def read_image(path: Path) -> Image:
    """Labels and id of an image. Raises :class:`InputError` where it is none or cannot be read."""
    try:
        if path.is_dir():
            return Image("", _folder_labels(path))
        with open(path, "rb") as stream:
            return _read(path, stream)
    except OSError as error:
        raise read_error(path, error) from error


def _folder_labels(path: Path) -> dict[str, str]:
    file = path / ".singularity.d" / "labels.json"
    return _texts(_json(file.read_bytes())) if file.exists() else {}


def _read(path: Path, stream: BinaryIO) -> Image:
    head = stream.read(_HEADER.size)
    if len(head) < _HEADER.size or not head[32:].startswith(_MAGIC):
        raise InputError("is no Apptainer image (.sif): it does not begin as one.", path)
    fields = _HEADER.unpack(head)
    total, offset = fields[8], fields[9]
    labels: dict[str, str] = {}
    stream.seek(offset)
    parts = stream.read(_DESCRIPTOR.size * max(0, min(total, _MOST_PARTS)))
    for start in range(0, len(parts) - _DESCRIPTOR.size + 1, _DESCRIPTOR.size):
        kind, used, _, _, _, begin, size, *_ = _DESCRIPTOR.unpack_from(parts, start)
        if used and kind == _JSON and 0 < size <= _MOST_JSON_BYTES:
            stream.seek(begin)
            data = _json(stream.read(size))
            for name in ("data", "attributes", "labels"):
                data = data.get(name) if isinstance(data, dict) else None
            labels |= _texts(data)
    return Image(str(uuid.UUID(bytes=fields[4])), labels)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _texts(values: Any) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()} if isinstance(values, dict) else {}
