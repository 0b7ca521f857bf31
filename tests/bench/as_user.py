"""Figures that root cannot measure: the testbed's user does, in its copy of the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import redirect_stdout

from tests.bench.figures import NotMeasured
from tests.real import run
from tests.real.testbed import FOLDER, USER, Trouble, is_up


def measured_by_user(*names: str) -> dict[str, float]:
    """The figures of these names. Raises :class:`NotMeasured` where there is no testbed, or where they say so."""
    if not is_up():
        raise NotMeasured("it is measured by the testbed's user, and there is no testbed here: make testbed")
    try:
        with redirect_stdout(sys.stderr):
            run.prepare()
    except Trouble as trouble:
        raise NotMeasured(str(trouble)) from trouble
    home = f"HOME={FOLDER / 'home' / USER}"
    bench = [str(run.VENV / "bin" / "python"), "-m", "tests.bench", *names]
    said = subprocess.run(
        ["runuser", "-u", USER, "--", "env", home, f"USER={USER}", *bench],
        cwd=run.COPY,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    lines = [json.loads(line) for line in said.splitlines()]
    for line in lines:
        if "left_out" in line:
            raise NotMeasured(line["why"])
    return {line["figure"]: float(line["value"]) for line in lines if "figure" in line}
