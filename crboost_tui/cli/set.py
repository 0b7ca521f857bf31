"""Set values in crboost.yaml. Nothing that runs changes until the next: crboost run

crboost set tsCtf.window=512                            a parameter of a job
crboost set 'aligntiltsWarp.method=IMOD patches' --series TS_01,TS_02
crboost set tsCtf.resources.minutes=60                  what its tasks ask of the cluster
crboost set tsCtf.resources=large                       a preset of conf.yaml to begin from
crboost set tsCtf.tools.warp=warp_new                   another entry of conf.yaml's tools, for this job
crboost set instrument.voltage_kv=300
crboost set acquisition.batch1.pixel_size_angstrom=1.35
crboost set decisions.handedness=flip
crboost set --confirm acquisition.batch1.tilt_axis_deg  trust what was found in the files
crboost set --unset tsCtf.window                        back to the default
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import InputError, listed
from crboost_tui.cli._common import add_json, comma_list, find_project, print_json, say

if TYPE_CHECKING:
    from core.project.model import ProjectFile

_FORM = "NAME=VALUE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "crboost set [PROJECT] NAME=VALUE ... [--series A,B] [--unset NAME] [--confirm NAME] [--json]"
    parser.add_argument("words", nargs="*", metavar=_FORM, help="what to set; a first word without = is the project")
    parser.add_argument("--series", type=comma_list, metavar="A,B", help="for these tilt series only")
    parser.add_argument("--unset", action="append", default=[], metavar="NAME", help="back to the default")
    parser.add_argument("--confirm", action="append", default=[], metavar="NAME", help="trust a detected value")
    parser.add_argument("--undo", action="store_true", help="restore the version before the present one")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.engine.edits import assign, job_problems
    from core.project.file import load, save, undo

    words: list[str] = list(options.words)
    project = words.pop(0) if words and "=" not in words[0] else None
    root = find_project(project)
    if options.undo:
        say(f"The version before is restored, as version {undo(root)}.")
        return 0
    if not (words or options.unset or options.confirm):
        raise InputError("Nothing to set. The form is: crboost set tsCtf.window=512")
    loaded = load(root)
    words = _presets_spelt_out(root, loaded.model, words)
    model = assign(loaded.model, words, series=options.series, unset=options.unset, confirm=options.confirm)
    if options.series:
        _check_series(root, options.series)
    _check_groups(root, [*words, *options.confirm])
    problems = job_problems(model, {word.partition("=")[0].split(".")[0] for word in [*words, *options.unset]})
    errors = [sentence for level, _, sentence in problems if level == "error"]
    if errors:
        raise InputError(" ".join(errors) + " Nothing was saved.")
    version = save(root, model, loaded.digest)
    if options.json:
        found = [{"level": level, "job": job, "sentence": sentence} for level, job, sentence in problems]
        print_json({"version": version, "problems": found})
        return 0
    for _, job, sentence in problems:
        say(f"! {job}: {sentence}")
    say(f"Saved as version {version}. It takes effect with the next: crboost run")
    return 0


def _presets_spelt_out(root: Path, model: ProjectFile, words: Sequence[str]) -> list[str]:
    """``tsCtf.resources=large`` as one word for each field of the preset."""
    from core.project.site import load_site, preset
    from crboost_tui.data import config_dir

    jobs = {instance.id for instance in model.pipeline}
    found: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        job, _, rest = name.rpartition(".")
        if equals and rest == "resources" and (job in jobs or not job):
            fields = preset(load_site(root, config_dir()), value)
            found += [f"{name}.{field}={each}" for field, each in fields.items()]
        else:
            found.append(word)
    return found


def _check_series(root: Any, series: Sequence[str]) -> None:
    from core.dataset.registry import load_registry
    from core.project.layout import ProjectPaths
    from core.project.problems import nearest

    path = ProjectPaths(root).registry
    known = {each.id for each in load_registry(path).series} if path.exists() else set()
    for one in series:
        if one not in known:
            raise InputError(f"There is no tilt series {one!r} in this project.{nearest(one, known)}")


def _check_groups(root: Any, names: Sequence[str]) -> None:
    """Values for an acquisition group that no series belongs to would have no effect, and nobody would notice."""
    groups = [name.split(".")[1] for name in names if name.startswith("acquisition.") and name.count(".") >= 2]
    if not groups:
        return
    from core.dataset.registry import load_registry
    from core.project.layout import ProjectPaths

    path = ProjectPaths(root).registry
    if not path.exists():
        return
    known = sorted({each.group for each in load_registry(path).series})
    for group in groups:
        if known and group not in known:
            raise InputError(f"There is no acquisition group {group!r}. There are: {listed(known)}. Nothing was saved.")
