"""The tools of a project: the site's, in a rehearsal with stand-ins in them."""

from __future__ import annotations

from pathlib import Path

from core.engine.plan import Sources
from core.project.site import Tool as SiteTool
from core.standins.install import install, prefixes
from core.tools.table import Tool, ToolTable


def tool_table(sources: Sources, data: Path, *, write: bool = True) -> ToolTable:
    """In a rehearsal every tool is its stand-in, which is put into the project's own folder; without ``write`` it is
    only named."""
    tools = {name: tool_of(tool) for name, tool in sources.site.tools.items()}
    if not sources.project.rehearsal:
        return ToolTable(tools)
    folder = sources.paths.state / "standins"
    found = install(folder, data / "catalogues") if write else prefixes(folder)
    return ToolTable(tools, {name: tuple(prefix) for name, prefix in found.items()})


def tool_of(tool: SiteTool) -> Tool:
    """A tool as ``conf.yaml`` has it. Where nothing is said, ranks of a container are started by its own mpirun: that
    needs nothing of the site, while a launcher outside must speak the same PMI as the MPI inside."""
    return Tool(
        "binary" if tool.binary else "container",
        tool.path,
        binds=tuple(tool.binds),
        env=tuple(tool.env.items()),
        modules=tuple(tool.modules),
        gpu=tool.gpu,
        mpi=tool.mpi or ("outside" if tool.binary else "inside"),
    )
