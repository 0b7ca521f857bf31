"""Which version of a tool this is, as far as it can be told from here without running anything.

A container is told by its image: the id that it got when it was built, and its labels. A binary by path, size and time
of its file (programs of this field rarely tell their own version: WarpTools says 2.0.0 whatever it is).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import InputError
from core.formats.sif import Image, read_image
from core.tools.table import Tool
from core.tools.wrapper import program_path


@dataclass(frozen=True, slots=True)
class ToolVersion:
    """``path`` is the image or program, ``file`` what it really is behind links ("" where only the nodes see it),
    ``id`` what tells it from others."""

    path: str
    file: str
    size: int
    modified: str
    id: str
    labels: dict[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = self.labels.get("version") or self.labels.get("Version")
        return f"{self.path} ({said or self.modified or 'not seen from here'})"

    def plain(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "path": self.path,
            "file": self.file,
            "size": self.size,
            "modified": self.modified,
            "id": self.id,
            "labels": self.labels,
            "modules": list(self.modules),
        }


def version_of(tool: Tool, program: str) -> ToolVersion:
    """The version of ``tool`` that runs ``program``."""
    path = tool.path if tool.kind == "container" else program_path(tool.path, program)
    found = path if "/" in path else shutil.which(path) or ""
    file = os.path.realpath(found) if found else ""
    try:
        status = os.stat(file)
    except OSError:
        return ToolVersion(path, "", 0, "", _digest(path, *tool.modules), modules=tool.modules)
    image = Image("", {})
    if tool.kind == "container":
        with contextlib.suppress(InputError):  # of an older format, whose labels cannot be read from here
            image = read_image(Path(file))
    return ToolVersion(
        path,
        file,
        status.st_size,
        datetime.fromtimestamp(status.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        image.id or _digest(file, status.st_size, status.st_mtime_ns, *tool.modules),
        image.labels,
        tool.modules,
    )


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
