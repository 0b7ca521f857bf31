"""``tools.json`` of a job: which versions of its tools its tasks ran with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import CrboostError
from core.files import read_text, replace_text
from core.tools.command import Command
from core.tools.table import ToolTable
from core.tools.version import version_of
from core.tools.wrapper import HOST

FILE = "tools.json"
FORMAT = 1


class ToolsUsed:
    """Remembers what stands in the files, so that each is written once for each version."""

    def __init__(self) -> None:
        self._known: dict[Path, list[dict[str, Any]]] = {}

    def note(self, folder: Path, attempt: str, commands: Sequence[Command], table: ToolTable) -> list[str]:
        """Record the tools of an attempt that is about to run. What to tell where one is not what it was before."""
        known = self._known.get(folder)
        if known is None:
            known = self._known[folder] = _read(folder / FILE)
        said: list[str] = []
        new: list[dict[str, Any]] = []
        for name, program in {command.tool: command.argv[0] for command in reversed(commands)}.items():
            if name == HOST or table.standins is not None:
                continue
            version = version_of(table.tool(name), program)
            before = next((entry for entry in reversed(known) if entry["tool"] == name), None)
            if before is not None and before["id"] == version.id:
                continue
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            new.append({"tool": name, "name": str(version), **version.plain(), "since": now, "first_attempt": attempt})
            if before is not None:
                said.append(f"{name} is now {version}; tasks until {now} ran with {before['name']}")
        if new:
            replace_text(folder / FILE, json.dumps({"format": FORMAT, "tools": [*known, *new]}, indent=1) + "\n")
            known += new
        return said


def _read(path: Path) -> list[dict[str, Any]]:
    """What was recorded; nothing where the file is not there or not whole."""
    try:
        entries = json.loads(read_text(path))["tools"]
        return [entry for entry in entries if {"tool", "id", "name"} <= set(entry)]
    except (CrboostError, ValueError, KeyError, TypeError):
        return []
