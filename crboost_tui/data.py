"""Where the program's own data lie: catalogues, pipelines, templates. The one function that knows."""

from __future__ import annotations

from pathlib import Path

from core.errors import InputError

_HERE = Path(__file__).resolve().parent


def gone(root: Path) -> InputError:
    """For a project that was there and is not now, on every screen the same."""
    return InputError(f"{root} is not there any more: it goes on when the folder is back.")


def config_dir() -> Path:
    """The folder with ``catalogues/``, ``pipelines/``, ``qsub/`` and ``conf.template.yaml``.

    In an installed wheel it lies inside this package; from a checkout it is the repository's own ``config/``.
    """
    for folder in (_HERE / "data" / "config", _HERE.parent / "config"):
        if (folder / "catalogues").is_dir():
            return folder
    raise InputError("The program's own data are missing (config/): install crboost again.", _HERE)
