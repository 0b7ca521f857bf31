"""Which tools a site has, and how each is run: plain data from ``conf.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core.errors import InputError


@dataclass(frozen=True, slots=True)
class Tool:
    """How a tool is run.

    ``binary``: ``path`` is a folder that holds the programs, or one executable, or empty (the node's PATH).
    ``container``: ``path`` is the image; ``binds`` are absolute paths that it must always see.
    ``standin``: ``prefix`` (``python3``, file of the stand-in) stands before the tool's own command line.
    ``prefix`` of the others is put before everything. ``modules`` are environment modules loaded first.
    """

    kind: Literal["binary", "container", "standin"]
    path: str = ""
    prefix: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolTable:
    """Tools by name (``warp``, ``relion``, ...)."""

    tools: Mapping[str, Tool]

    def tool(self, name: str) -> Tool:
        """Raises :class:`InputError`, naming the key of ``conf.yaml``, where the tool is not configured."""
        tool = self.tools.get(name)
        if tool is None:
            raise InputError(f"The tool {name} is not configured: give its path under tools.{name} in conf.yaml.")
        if tool.kind == "container" and not tool.path:
            raise InputError(
                f"The tool {name} is a container without an image: give it in tools.{name}.path in conf.yaml."
            )
        if tool.kind == "standin" and not tool.prefix:
            raise InputError(f"The stand-in of {name} has no program: this rehearsal cannot run it.")
        return tool
