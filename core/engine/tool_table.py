"""The tools of a project: the site's, or the stand-ins of a rehearsal."""

from __future__ import annotations

from pathlib import Path

from core.engine.plan import Sources
from core.standins.install import install
from core.tools.table import Tool, ToolTable


def tool_table(sources: Sources, data: Path) -> ToolTable:
    """In a rehearsal every tool is its stand-in, which is put into the project's own folder."""
    if sources.project.rehearsal:
        found = install(sources.paths.state / "standins", data / "catalogues")
        return ToolTable({name: Tool("standin", prefix=tuple(prefix)) for name, prefix in found.items()})
    return ToolTable(
        {name: Tool("binary" if tool.binary else "container", tool.path) for name, tool in sources.site.tools.items()}
    )
