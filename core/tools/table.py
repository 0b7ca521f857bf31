"""Which tools a site has, and how each is run: plain data from ``conf.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from core.errors import InputError


@dataclass(frozen=True, slots=True)
class Tool:
    """How a tool is run.

    ``binary``: ``path`` is a folder that holds the programs, or one executable, or empty (the node's PATH).
    ``container``: ``path`` is the image; ``binds`` are absolute paths that it sees where they exist on the node.
    ``standin``: ``prefix`` (``python3``, file of the stand-in) stands before the tool's own command line.
    ``prefix`` of the others is put before everything. ``modules`` are environment modules loaded first. ``gpu``: whose
    GPUs a container is shown (``auto``: those of the node). ``mpi``: whether ranks of a container are started by the
    ``mpirun`` in its image, or each as a container by the site's launcher.
    """

    kind: Literal["binary", "container", "standin"]
    path: str = ""
    prefix: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    modules: tuple[str, ...] = ()
    gpu: Literal["auto", "nvidia", "amd"] = "auto"
    mpi: Literal["inside", "outside"] = "outside"
    standin: tuple[str, ...] = ()
    """In a rehearsal: what stands before the tool's own command line inside a container."""

    @property
    def one_node(self) -> bool:
        """Whether its commands can use the CPUs of one node only."""
        return self.kind == "container" and self.mpi == "inside"


@dataclass(frozen=True, slots=True)
class ToolTable:
    """Tools by name (``warp``, ``relion``, ...). ``standins``: in a rehearsal, what takes their place, by tool."""

    tools: Mapping[str, Tool]
    standins: Mapping[str, tuple[str, ...]] | None = None

    def tool(self, name: str) -> Tool:
        """Raises :class:`InputError`, naming the key of ``conf.yaml``, where the tool is not configured."""
        if self.standins is not None:
            return self._rehearsed(name, self.standins.get(name, ()))
        tool = self.tools.get(name)
        if tool is None:
            raise InputError(f"The tool {name} is not configured: give its path under tools.{name} in conf.yaml.")
        if tool.kind == "container" and not tool.path:
            raise InputError(
                f"The tool {name} is a container without an image: give it in tools.{name}.path in conf.yaml."
            )
        return tool

    def _rehearsed(self, name: str, standin: tuple[str, ...]) -> Tool:
        """The stand-in, inside the container that the site has for the tool, and with its modules."""
        if not standin:
            raise InputError(f"There is no stand-in of {name}: this rehearsal cannot run it.")
        tool = self.tools.get(name, Tool("binary"))
        if tool.kind == "container":
            return replace(tool, standin=standin)
        return Tool("standin", prefix=standin, modules=tool.modules)

    def choose(self, choices: Mapping[str, str]) -> ToolTable:
        """The table of a job that takes other entries for some of its tools (``{"pytom": "pytom_0.10"}``). Raises
        :class:`InputError` for an entry that is not there."""
        taken = {name: ToolTable(self.tools).tool(entry) for name, entry in choices.items()}
        return ToolTable({**self.tools, **taken}, self.standins) if taken else self
