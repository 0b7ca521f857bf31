"""The files of settings: each one read by itself, every mistake with its line, and what is in force in the end."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from pydantic import ValidationError

import core.project.site as site_module
from core.checks.findings import Finding, failed, ok, warning
from core.checks.mending import mended
from core.checks.surroundings import Surroundings, plural, short
from core.errors import InputError
from core.files import read_text
from core.formats import plain_yaml
from core.project.file import load
from core.project.layout import ProjectPaths
from core.project.model import ProjectFile
from core.project.problems import sentences
from core.project.site import DEFAULTS, Site, SiteFile, load_site, user_config

_CORRECT = "Correct it: every other command stops at it. The other checks go on with what is right in that file."

OF_SITE, OF_USER, OF_PROJECT = "site's file", "your file", "project's file"


def read_site(data: Path) -> Iterator[Finding | Site]:
    """Findings about the site's file, then the settings with it, if it is right.

    This and the next two are to be run each in a process of its own: one disk may hang, and where a file is wrong they
    change their environment.
    """
    os.environ["XDG_CONFIG_HOME"] = os.devnull
    yield from _read([OF_SITE], None, data)


def read_user(data: Path) -> Iterator[Finding | Site]:
    """The same for the user's file, on top of the site's."""
    yield from _read([OF_SITE, OF_USER], None, data)


def read_project(root: Path, data: Path) -> Iterator[Finding | Site | ProjectFile]:
    """The same for a project's own file of settings, and its ``crboost.yaml``."""
    try:
        yield load(root).model
    except InputError as error:
        advice = "Correct it, or go back to the version before: crboost set --undo"
        yield failed("project", f"{short(ProjectPaths(root).file)}, {_said(error)}", advice)
    yield from _read([OF_SITE, OF_USER, OF_PROJECT], root, data)


def _read(names: Sequence[str], root: Path | None, data: Path) -> Iterator[Finding | Site]:
    """What is wrong with the last of these files, and the settings that all of them give where they are right."""
    paths = {name: _path(name, root) for name in names}
    found = {name: list(_one_file(name, path)) for name, path in paths.items()}
    yield from found[names[-1]]
    wrong = [name for name, findings in found.items() if any(one.state == "failed" for one in findings)]
    with tempfile.TemporaryDirectory(prefix="crboost-doctor-") as text:
        real = {str(_use_mended(name, paths[name], Path(text))): str(paths[name]) for name in wrong}
        try:
            site = load_site(Path(text) if OF_PROJECT in wrong else root, data)
        except InputError as error:
            advice = "Correct it; the other checks leave that file out."
            yield failed(names[-1], f"with those before it: {_said(error)}", advice)
            return
    values = (replace(value, origin=real.get(value.origin, value.origin)) for value in site.values)
    yield replace(site, values=tuple(values))


def _use_mended(name: str, path: Path, folder: Path) -> Path:
    """Put what is right in a file of settings at a place below ``folder``, and have it read in that file's stead."""
    copy = folder / {OF_SITE: "site.yaml", OF_USER: "crboost/conf.yaml", OF_PROJECT: ".crboost/conf.yaml"}[name]
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(mended(path) or "", encoding="utf-8", errors="surrogateescape")
    if name == OF_SITE:
        os.environ["CRBOOST_CONFIG"] = str(copy)
    elif name == OF_USER:
        os.environ["XDG_CONFIG_HOME"] = str(folder)
    return copy


def _path(name: str, root: Path | None) -> Path:
    if root is not None and name == OF_PROJECT:
        return ProjectPaths(root).state / "conf.yaml"
    named = os.environ.get("CRBOOST_CONFIG")
    return user_config() if name == OF_USER else Path(named) if named else site_module.SITE_FILE


def _one_file(name: str, path: Path) -> Iterator[Finding]:
    if not path.exists():
        if str(path) == os.environ.get("CRBOOST_CONFIG"):
            found = f"{short(path)} does not exist, but CRBOOST_CONFIG names it"
            yield failed(name, found, "Correct or unset that variable.")
        return
    try:
        text = read_text(path)
        values = plain_yaml.load(text, str(path))
    except InputError as error:
        yield failed(name, f"{short(path)}, {_said(error)}", _CORRECT)
        return
    try:
        SiteFile.model_validate({} if values is None else values)
    except ValidationError as error:
        for where, sentence in sentences(error, SiteFile):
            line = key_line(text, where)
            parts = [short(path), *([f"line {line}"] if line is not None else []), *([where] if where else [])]
            yield failed(name, f"{', '.join(parts)}: {sentence}", _CORRECT)
        return
    yield ok(name, f"{short(path)}: {', '.join(values) if values else 'empty'}")


def shipped(data: Path) -> Site:
    """The settings as they are where nobody says anything."""
    before = {name: os.environ.get(name) for name in ("CRBOOST_CONFIG", "XDG_CONFIG_HOME")}
    os.environ.update(dict.fromkeys(before, os.devnull))
    try:
        return load_site(None, data)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _said(error: InputError) -> str:
    return error.sentence if error.line is None else f"line {error.line}: {error.sentence}"


def key_line(text: str, path: str) -> int | None:
    """The line of the setting at ``path`` (``local.cpus``, ``pipeline[2].id``), or of the last part of it that is
    there."""
    node = yaml.compose(text, Loader=yaml.BaseLoader)
    line = None
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
        else:
            break
    return line


def values_in_force(around: Surroundings) -> Iterator[Finding]:
    """How many values each file gives, and whether what they name is there."""
    site = around.site
    counts = Counter(value.origin for value in site.values)
    parts = [f"{number} from {short(origin)}" for origin, number in counts.items() if origin != DEFAULTS]
    parts.append(plural(counts[DEFAULTS], "default"))
    yield ok("values", f"{', '.join(parts)}; each one: crboost config")
    if site.notify and shutil.which(os.path.expanduser(site.notify[0])) is None:
        yield warning(
            "notify", f"there is no program {site.notify[0]}", f"Correct notify in {short(site.origin('notify'))}."
        )
    for folder in site.projects:
        if not folder.is_dir():
            origin = short(site.origin("projects.roots"))
            yield warning("projects", f"{folder} is no folder", f"Correct projects.roots in {origin}.")
