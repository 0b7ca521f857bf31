"""A rehearsal from nothing: a small synthetic session, a project of it, and the whole Warp pipeline with stand-ins.

  crboost demo                                       in ./demo, and opens the app on it
  crboost demo --dir /tmp/d --series 12 --tilts 41
  crboost demo --fail Position_3:fail --no-app       one series fails; exit code by the outcome
  crboost demo --real --submitter slurm              through the site's RELION and queue; looks for known particles

With no terminal, or with --no-app or --real, the run is followed to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from core.errors import InputError
from core.files import replace_text
from crboost_tui.cli._common import add_json, print_json, say
from crboost_tui.making import make_project

PIPELINE = "warp_to_tomograms_levelled"
SMALL = (
    "aligntiltsWarp.sample_thickness=10", "aligntiltsWarp.tomogram_thickness=14", "tsReconstruct.pixel_size=2.7"
)  # fmt: skip
"""Values that fit images of 17 nm: so that there is something to be seen in a tomogram."""
FAILURES = ("fail", "silent", "hang", "memory", "half", "crash", "slow")
FAILING_VERB = "ts_ctf"
WARP_TRIES = 5
"""WarpTools itself tries an item again up to four times: only then the task fails."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", type=Path, default=Path("demo"), metavar="D", help="where (by default ./demo)")
    parser.add_argument("--series", type=_count, metavar="N", help="tilt series (6; with --real 2)")
    parser.add_argument("--tilts", type=_count, metavar="M", help="tilts of each (11; with --real 21)")
    parser.add_argument(
        "--real", action="store_true",
        help="with the site's own RELION 5 in the place of stand-ins; exit code 1 if the known particles are not found",
    )  # fmt: skip
    parser.add_argument(
        "--submitter", choices=("local", "slurm"), default="local", help="where the tasks run: this host, or its Slurm"
    )
    parser.add_argument(
        "--fail", action="append", default=[], metavar="SERIES:HOW",
        help=f"let a series go wrong once in {FAILING_VERB}, or SERIES:VERB:HOW; HOW: {', '.join(FAILURES)}",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=0.15, metavar="S", help="time that a stand-in takes (0.15)")
    parser.add_argument("--no-app", action="store_true", help="follow to the end instead of opening the app")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    rules = [_rule(word) for word in options.fail]
    folder = options.dir.expanduser().absolute()
    root = folder / "project"
    if options.real and rules:
        raise InputError("--fail is for stand-ins: real tools fail by themselves.")
    if (root / "crboost.yaml").exists():
        _goes_on(root, options.real)
    elif options.real:
        from crboost_tui.cli import _real_demo

        _real_demo.make(folder, root, options.series or 2, options.tilts or 21, options.submitter)
    else:
        _make(folder, root, options.series or 6, options.tilts or 11, options.submitter)
    return _run_real(folder, root, options) if options.real else _rehearse(root, rules, options)


def _goes_on(root: Path, real: bool) -> None:
    """Raises :class:`InputError` where the project is of the other kind."""
    from core.project.file import load

    if load(root).model.rehearsal == real:
        kind = "a rehearsal, and --real was asked for" if real else "of a demo with --real"
        raise InputError(f"is {kind}: give another folder with --dir.", root)
    say(f"{root} is there already: it goes on from where it is.")


def _run_real(folder: Path, root: Path, options: argparse.Namespace) -> int:
    from core.engine import requests
    from core.engine.start import ensure_engine
    from crboost_tui.cli import _real_demo
    from crboost_tui.cli._follow import follow
    from crboost_tui.data import config_dir

    request = requests.run(root, config_dir())
    say(ensure_engine(root, config_dir()))
    code = follow(root, request.number)
    found = _real_demo.verdict(folder, root) if code == 0 else {"good": False}
    if options.json:
        print_json({"project": str(root), "succeeded": code == 0, **found})
    return 0 if found["good"] else 1


def _rehearse(root: Path, rules: list[dict[str, str | int]], options: argparse.Namespace) -> int:
    from core.engine import requests
    from core.engine.start import ensure_engine
    from crboost_tui.data import config_dir

    plan = root / ".crboost" / "standin_plan.json"
    replace_text(plan, json.dumps(rules))
    os.environ["CRBOOST_STANDIN_PLAN"] = str(plan)
    os.environ["CRBOOST_STANDIN_SECONDS"] = str(options.seconds)
    request = requests.run(root, config_dir())
    say(ensure_engine(root, config_dir()))
    if not options.no_app and sys.stdin.isatty() and sys.stdout.isatty() and not options.json:
        from crboost_tui.app import open_app

        return open_app(root)
    from crboost_tui.cli._follow import follow

    code = follow(root, request.number)
    if options.json:
        print_json({"project": str(root), "succeeded": code == 0})
    return code


def _make(folder: Path, root: Path, series: int, tilts: int, submitter: str) -> None:
    from core.dataset.scan import inspect
    from core.project.file import load
    from core.standins.session import make_session
    from crboost_tui.cli.inspect import progress_bar

    say(f"Making a synthetic session of {series} tilt series with {tilts} tilts in {folder / 'session'}")
    session = make_session(folder / "session", series=series, tilts=tilts)
    found = inspect([str(session.frames)], [str(session.mdocs)], progress=progress_bar("mdocs"), settle_seconds=0)
    make_project(root, f"{folder.name} REHEARSAL", found, PIPELINE, SMALL, rehearsal=True)
    # Stand-ins mostly sleep, so that more of them run at once than the machine has cores and GPUs.
    conf = f"submitter: {submitter}\nlocal: {{cpus: 8, gpus: 4}}\n"
    if submitter == "slurm":  # they need next to nothing of what the real tools ask for
        needs = '{cpus: 1, gpus: 0, gres: "", memory_gb: 1, minutes: 10}'
        conf += "profiles:\n" + "".join(f"  {job.type}: {needs}\n" for job in load(root).model.pipeline)
    replace_text(root / ".crboost" / "conf.yaml", conf)


def _rule(word: str) -> dict[str, str | int]:
    """``Position_3:fail`` or ``Position_3:fs_motion_and_ctf:fail`` as a rule of the stand-ins."""
    parts = word.split(":")
    if len(parts) == 2:
        parts.insert(1, FAILING_VERB)
    if len(parts) != 3 or not all(parts) or parts[2] not in FAILURES:
        raise InputError(f"--fail {word}: the form is SERIES:HOW, and HOW is one of {', '.join(FAILURES)}.")
    return {"series": parts[0], "verb": parts[1], "how": parts[2], "times": WARP_TRIES}


def _count(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if not 1 <= number <= 5000:
        raise argparse.ArgumentTypeError("a whole number from 1 to 5000 is needed")
    return number
