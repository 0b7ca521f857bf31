"""Put stand-ins into a rehearsal project, where a compute node with a bare ``python3`` finds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from core.errors import CrboostError
from core.files import replace_bytes, replace_text, write_error

STANDINS = {"warp": "warptools", "relion": "relion"}
"""By tool: the name of its stand-in and of its option catalogue."""


def install(
    folder: Path,
    catalogues: Path,
    *,
    settings: Mapping[str, str | float] | None = None,
    python: str = "python3",
) -> dict[str, list[str]]:
    """Copy the stand-ins and their option catalogues into ``folder``.

    Returns, for each tool of the tool table, the words that stand before a command's own (its program's name and
    arguments). ``settings`` (``seconds``, ``sigma``, ``seed``, ``version``, ``truth``, ``plan``) are written beside the
    stand-ins, since a scheduler or container may drop variables; variables win over them. Without
    ``settings`` what an earlier call wrote stays. Raises :class:`CrboostError` where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    for name in STANDINS.values():
        _copy(Path(__file__).with_name(f"{name}.py"), folder / f"{name}.py")
        _copy(catalogues / f"{name}.json", folder / f"{name}.json")
    if settings is not None:
        replace_text(folder / "standin.json", json.dumps(dict(settings), indent=1) + "\n")
    return prefixes(folder, python)


def prefixes(folder: Path, python: str = "python3") -> dict[str, list[str]]:
    """What :func:`install` returns for ``folder``, without writing anything."""
    return {tool: [python, str(folder / f"{name}.py")] for tool, name in STANDINS.items()}


def _copy(source: Path, target: Path) -> None:
    try:
        data = source.read_bytes()
    except OSError as error:
        raise CrboostError(f"of this program cannot be read ({error.strerror}); install it again.", source) from error
    replace_bytes(target, data)
