"""Take the pipeline out of crboost: everything in complete command lines that need nothing of it.

crboost export script -o run.sh       the whole run as one bash file
crboost export scheme pilot           Schemes/pilot, for relion_schemer
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from crboost_tui.cli._common import add_json, add_project, find_project, print_json, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="script | scheme")
    script = kinds.add_parser("script", help="the whole run as one bash file")
    add_project(script)
    script.add_argument("-o", "--output", metavar="FILE", help="write it here, ready to be run (else it is printed)")
    scheme = kinds.add_parser("scheme", help="a scheme that relion_schemer runs")
    scheme.add_argument("name", metavar="NAME", help="name of the scheme: letters, digits, _ and -")
    add_project(scheme)
    add_json(scheme)


def run(options: argparse.Namespace) -> int:
    root = find_project(options.project)
    return _script(root, options.output) if options.kind == "script" else _scheme(root, options.name, options.json)


def _script(root: Path, output: str | None) -> int:
    from core.cluster.quoting import words
    from core.export.script import export_script
    from core.files import replace_text
    from crboost_tui.data import config_dir

    text = export_script(root, config_dir())
    if output is None:
        sys.stdout.write(text)
        return 0
    path = Path(output).expanduser().absolute()
    replace_text(path, text)
    path.chmod(0o755)
    say(f"Wrote {path}. It runs the whole pipeline, one task after another: {words(['bash', str(path)])}")
    return 0


def _scheme(root: Path, name: str, as_json: bool) -> int:
    from core.cluster.quoting import words
    from core.export.scheme import export_scheme
    from crboost_tui.data import config_dir

    made = export_scheme(root, config_dir(), name)
    if as_json:
        print_json({"folder": str(made.folder), "jobs": list(made.jobs), "start": str(made.start or "")})
    elif made.start is None:
        folder = words(["cd", str(root)])
        say(f"Wrote {made.folder}. Run it with: {folder} && relion_schemer --scheme {name} --run --verb 2")
    else:
        say(f"Wrote {made.folder}. Run it with: {words(['bash', str(made.start)])}")
    return 0
