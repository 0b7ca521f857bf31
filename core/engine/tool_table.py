"""The tools of a project: the site's, or the stand-ins of a rehearsal."""

from __future__ import annotations

from pathlib import Path

from core.engine.plan import Sources
from core.standins.install import install, prefixes
from core.tools.table import Tool, ToolTable


def tool_table(sources: Sources, data: Path, *, write: bool = True) -> ToolTable:
    """In a rehearsal every tool is its stand-in, which is put into the project's own folder; without ``write`` it is
    only named."""
    if sources.project.rehearsal:
        folder = sources.paths.state / "standins"
        found = install(folder, data / "catalogues") if write else prefixes(folder)
        return ToolTable({name: Tool("standin", prefix=tuple(prefix)) for name, prefix in found.items()})
    return ToolTable(
        {name: Tool("binary" if tool.binary else "container", tool.path) for name, tool in sources.site.tools.items()}
    )
