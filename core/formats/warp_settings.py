"""WarpTools' ``.settings`` files, read to check them: WarpTools goes on with its defaults after a bad one.

Format: facts/warptools.md section 6 (WarpLib OptionsWarp.cs).
"""

from __future__ import annotations

from pathlib import Path

from core.errors import InputError
from core.formats.warp_xml import parse_root


def read_settings(path: Path) -> dict[str, dict[str, str]]:
    """Section -> name -> value as written; the section ``""`` holds what stands outside of sections.

    Raises :class:`InputError` where the file is cut off, is none, or has no ``Import`` section with a data folder and
    a pixel size, without which WarpTools would work on the wrong data.
    """
    root = parse_root(path, "Settings")
    result: dict[str, dict[str, str]] = {"": {}}
    for child in root:
        if child.tag == "Param":
            result[""][_name(child.get("Name"), path)] = child.get("Value", "")
        else:
            section = result.setdefault(child.tag, {})
            for parameter in child.findall("Param"):
                section[_name(parameter.get("Name"), path)] = parameter.get("Value", "")
    found = result.get("Import", {})
    for name in ("DataFolder", "PixelSize"):
        if not found.get(name):
            raise InputError(f"has no {name} in its Import section: WarpTools would take its default.", path)
    return result


def _name(name: str | None, path: Path) -> str:
    if not name:
        raise InputError("has a parameter without a name.", path)
    return name
