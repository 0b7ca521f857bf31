"""Reading and saving ``crboost.yaml``: with versions, undo, and refusal where somebody else changed it."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ConflictError, CrboostError, InputError
from core.files import read_text, replace_text
from core.formats import plain_yaml
from core.project.layout import PROJECT_FILE, ProjectPaths
from core.project.lock import project_lock
from core.project.model import FORMAT, ProjectFile, to_plain
from core.project.problems import refuse_newer, validated
from core.project.versions import drop_old_versions, read_version, version_numbers, version_path, write_version
from core.project.wanted import read_wanted

FIRST_LINE = "# A crboost project. Comments do not survive saving, except in note: keys.\n"

_RESTORED = re.compile(r"^# Restored from version (\d+)\.$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LoadedProject:
    """``digest`` is of ``text``, the file as it was read; give it back to :func:`save`."""

    model: ProjectFile
    digest: str
    text: str


def load(root: Path) -> LoadedProject:
    """Read ``crboost.yaml``. Raises :class:`InputError` that names every wrong field."""
    path = ProjectPaths(root).file
    if not path.exists() and root.is_dir():
        raise InputError(f"is no crboost project: it holds no {PROJECT_FILE}.", root)
    return _loaded(read_text(path), path)


def save(root: Path, model: ProjectFile, expected_digest: str) -> int:
    """Replace ``crboost.yaml`` and keep it as a new version, whose number is returned.

    ``expected_digest`` is what :func:`load` gave, "" for a new project. Raises :class:`ConflictError` with the
    difference where the file changed since; then nothing is written.
    """
    text = render(model)
    with project_lock(root):
        current = _current_text(root)
        if digest(current) != expected_digest:
            raise _changed(root, current, expected_digest)
        return _save_text(root, current, text)


def load_version(root: Path, number: int) -> ProjectFile:
    """One saved version."""
    return _loaded(read_version(root, number), version_path(root, number)).model


def latest_version(root: Path) -> int | None:
    """The number of the newest saved version, None where there is none."""
    return max(version_numbers(root), default=None)


def ensure_version(root: Path) -> int:
    """The number of the version that ``crboost.yaml`` is now; a file edited by hand becomes one, if it is valid."""
    latest = latest_version(root)
    if latest is not None and read_version(root, latest) == load(root).text:
        return latest
    with project_lock(root):
        return _keep_current(root, load(root).text)


def undo(root: Path) -> int:
    """Restore the version before the present one, as a new version; repeated, it goes further back.

    Raises :class:`InputError` where there is nothing to go back to.
    """
    with project_lock(root):
        return _restore(root, _before(root))


def version_before(root: Path) -> int:
    """The version that :func:`undo` would restore. Raises :class:`InputError` where there is none."""
    with project_lock(root):
        return _before(root)


def restore(root: Path, number: int) -> int:
    """Restore one saved version, as a new version, whose number is returned; the present one is kept too."""
    with project_lock(root):
        return _restore(root, number)


def render(model: ProjectFile) -> str:
    """The text of ``crboost.yaml`` for this model."""
    return FIRST_LINE + plain_yaml.dump(to_plain(model))


def digest(text: str) -> str:
    """SHA-256 of the text; "" for no file."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() if text else ""


def parse_project(text: str, place: str | Path) -> ProjectFile:
    """``text`` as a project file. Raises :class:`InputError`, with every wrong field."""
    value: Any = plain_yaml.load(text, str(place))
    refuse_newer(value, FORMAT, place)
    if isinstance(value, dict) and "format" not in value:
        raise InputError("has no 'format: 1' line: is it a crboost project file?", place)
    return validated(ProjectFile, value, place)


def _before(root: Path) -> int:
    current = _current_text(root)
    present = _keep_current(root, current)
    restored = _RESTORED.search(current)
    origin = int(restored[1]) if restored else present
    earlier = [number for number in version_numbers(root) if number < origin]
    if not earlier:
        raise InputError("there is no earlier version to go back to.", ProjectPaths(root).file)
    return earlier[-1]


def _restore(root: Path, number: int) -> int:
    # What is restored may itself have been a restored one; then the chain goes on from where that came from.
    text = read_version(root, number)
    before = _RESTORED.search(text)
    model = _loaded(text, version_path(root, number)).model
    note = f"# Restored from version {before[1] if before else number}.\n"
    return _save_text(root, _current_text(root), FIRST_LINE + note + plain_yaml.dump(to_plain(model)))


def _loaded(text: str, path: Path) -> LoadedProject:
    return LoadedProject(parse_project(text, path), digest(text), text)


def _current_text(root: Path) -> str:
    path = ProjectPaths(root).file
    return read_text(path) if os.path.lexists(path) else ""


def _keep_current(root: Path, text: str) -> int:
    latest = latest_version(root)
    if latest is not None and read_version(root, latest) == text:
        return latest
    return write_version(root, text)


def _save_text(root: Path, current: str, text: str) -> int:
    """The version is written first: a failure in between leaves at worst a version that nobody uses."""
    if current:
        kept = _keep_current(root, current)
        if text == current:
            return kept
    number = write_version(root, text)
    try:
        replace_text(ProjectPaths(root).file, text, sync=True)
    except CrboostError:
        with contextlib.suppress(OSError):
            os.unlink(version_path(root, number))
        raise
    with contextlib.suppress(InputError):
        # An unreadable wanted.json may name any version: nothing is dropped then.
        drop_old_versions(root, {each.version for each in read_wanted(root).requests if each.version is not None})
    return number


def _changed(root: Path, current: str, expected_digest: str) -> ConflictError:
    sentence = "was changed since it was read; nothing was saved. Load it again, then repeat your change."
    for number in reversed(version_numbers(root)):
        before = read_version(root, number)
        if digest(before) == expected_digest:
            lines = list(
                difflib.unified_diff(before.splitlines(), current.splitlines(), "as read", "now", "", "", 1, "")
            )
            shown = lines[:40] + ([f"... and {len(lines) - 40} more lines"] if len(lines) > 40 else [])
            return ConflictError("\n".join((sentence + " The difference:", *shown)), ProjectPaths(root).file)
    return ConflictError(sentence, ProjectPaths(root).file)
