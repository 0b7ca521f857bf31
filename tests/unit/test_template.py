"""The lab's own submission template as the script that is submitted, run under real shells."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.cluster.quoting import quote
from core.cluster.template import (
    Filled,
    Template,
    check,
    fill,
    read_template,
    relion_queue_options,
    relion_variables,
)
from core.dataset.model import Sourced
from core.engine.binding import BoundInstance
from core.engine.relion_sync import relion_options
from core.errors import InputError
from core.formats import plain_yaml
from core.jobs._registry import job_types
from core.project.problems import validated
from core.project.resources import Resources, ResourceValue
from core.project.site import Qsub, SiteFile
from crboost_tui.main import main

DATA = Path(__file__).resolve().parents[2] / "config"

# Forms that labs have. The first is for RELION's own programs only, with a table of its own.
BASH_LAB = """\
#!/bin/bash --norc
# Fields: nodes XXXextra1XXX, ranks XXXextra2XXX, not used XXXextra9XXX
#SBATCH --nodes=XXXextra1XXX   # how many
#SBATCH --ntasks-per-node=XXXextra2XXX
#SBATCH --partition=XXXextra3XXX
#SBATCH --gres=gpu:XXXextra4XXX
#SBATCH --mem XXXextra5XXXG
#SBATCH --time=168:00:00
#SBATCH -o XXXoutfileXXX
#SBATCH -e XXXerrfileXXX
##SBATCH --exclude=node7

echo "running in $PWD, ranks: XXXmpinodesXXX"
srun bash --norc -c "XXXcommandXXX"
echo "ended with $?"
"""
BASH_TABLE = {1: "nodes", 2: "tasks", 3: "partition", 4: "gpus", 5: "memory_gb"}

TCSH_LAB = """\
#!/bin/tcsh -f
#SBATCH -p XXXqueueXXX -n XXXmpinodesXXX -c XXXthreadsXXX
#SBATCH -t XXXextra1XXX:00:00
#SBATCH -J XXXnameXXX
#SBATCH XXXextra2XXX

setenv OMP_NUM_THREADS XXXthreadsXXX
mpiexec -n XXXmpinodesXXX XXXcommandXXX
set code = $status
echo "tcsh goes on: $code"
exit $code
"""
TCSH_TABLE = {1: "minutes", 2: "site_options"}

CONTINUED_LAB = """\
#!/usr/bin/env bash
#SBATCH --ntasks=XXXcoresXXX --mem-per-cpu 4G
set -euo pipefail
PLACES=socket
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"; echo cleaned' EXIT
mpirun -np "XXXmpinodesXXX" \\
    --map-by "$PLACES" \\
    XXXcommandXXX --scratch ${SCRATCH} > run.log 2>&1 || echo failed
echo "not reached after a failure"
"""


def qsub(table: dict[int, str], **more: str) -> Qsub:
    return Qsub.model_validate({"extra": {number: {"field": field} for number, field in table.items()}, **more})


def wanted(source: str = "job type", **values: ResourceValue) -> dict[str, Sourced[ResourceValue]]:
    return {name: Sourced(value, source) for name, value in values.items()}


class Lab:
    """A template in a folder, filled in and run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tasks = folder / "submit" / "t.tasks.sh"
        self.tasks.parent.mkdir(exist_ok=True)

    def template(self, text: str | bytes) -> Template:
        path = self.folder / "qsub.sh"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_template(path)

    def fill(
        self,
        text: str,
        resources: dict[str, Sourced[ResourceValue]] | None = None,
        table: dict[int, str] | None = None,
        explicit: Sequence[str] = (),
    ) -> Filled:
        return fill(
            self.template(text),
            resources or {},
            qsub(table or {}),
            job_folder="External/job002",
            tasks_file=self.tasks,
            explicit=explicit,
        )

    def header(self, line: str, resources: dict[str, Sourced[ResourceValue]], table: dict[int, str]) -> list[str]:
        """The ``#SBATCH`` lines that ``line`` becomes."""
        text = self.fill(f"#!/bin/bash\n{line}\nXXXcommandXXX\n", resources, table).text
        return [row for row in text.splitlines() if row.startswith("#SBATCH")]

    def write(
        self,
        text: str,
        tasks: str,
        resources: dict[str, Sourced[ResourceValue]] | None = None,
        table: dict[int, str] | None = None,
        seconds: int = 90,
    ) -> Path:
        """The script of a template whose table of tasks says ``tasks``."""
        filled = self.fill(text, resources, table)
        check(filled, self.template(text))
        self.tasks.write_text(tasks)
        script = self.folder / "submitted.sh"
        script.write_text(filled.text.replace("-ge 90", f"-ge {seconds}"))
        return script

    def run(
        self,
        text: str,
        tasks: str,
        shell: str = "bash",
        resources: dict[str, Sourced[ResourceValue]] | None = None,
        table: dict[int, str] | None = None,
    ) -> tuple[int, str]:
        """Exit code and output of a template whose table of tasks says ``tasks``."""
        done = subprocess.run(
            [shell, str(self.write(text, tasks, resources, table))],
            cwd=self.folder,
            input="of the script\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


# Words


def test_words_mean_what_they_mean_to_relion(lab: Lab) -> None:
    names = ["mpinodes", "threads", "cores", "dedicated", "nodes", "name", "outfile", "errfile", "queue"]
    names += ["extra1", "extra10"]
    text = "#!/bin/bash\n" + "".join(f"echo {name}=XXX{name}XXX,XXX{name}XXX\n" for name in names) + "XXXcommandXXX\n"
    resources = wanted(nodes=3, tasks=4, cpus=6, partition="gpu", minutes=3000)
    filled = lab.fill(text, resources, {1: "minutes", 10: "qos"}).text.splitlines()
    assert filled[1:12] == [
        "echo mpinodes=12,12",
        "echo threads=6,6",
        "echo cores=72,72",
        "echo dedicated=24,24",
        "echo nodes=3,3",
        "echo name=External/job002/,External/job002/",
        "echo outfile=External/job002/run.out,External/job002/run.out",
        "echo errfile=External/job002/run.err,External/job002/run.err",
        "echo queue=gpu,gpu",
        "echo extra1=2-02:00:00,2-02:00:00",
        "echo extra10=,",
    ]
    nothing_set = lab.fill("#!/bin/sh\n: XXXmpinodesXXX XXXdedicatedXXX 'XXXqueueXXX'\nXXXcommandXXX\n").text
    assert ": 1 1 ''\n" in nothing_set


@pytest.mark.parametrize(
    ("line", "resources", "becomes"),
    [
        ("#SBATCH --mem=XXXextra1XXX", wanted(memory_gb=16), ["#SBATCH --mem=16G"]),
        ("#SBATCH --mem=XXXextra1XXXG", wanted(memory_gb=16), ["#SBATCH --mem=16G"]),
        ("#SBATCH --mem XXXextra1XXXmb # all", wanted(memory_gb=2), ["#SBATCH --mem 2048mb # all"]),
        ("#SBATCH -t XXXextra2XXX", wanted(minutes=90), ["#SBATCH -t 1:30:00"]),
        ("#SBATCH -t XXXextra2XXX", wanted(minutes=5), ["#SBATCH -t 0:05:00"]),
        ("#SBATCH -t XXXextra2XXX:00:00", wanted(minutes=90), ["#SBATCH -t 2:00:00"]),
        ("#SBATCH -t XXXextra2XXX:00", wanted(minutes=90), ["#SBATCH -t 90:00"]),
        ("#SBATCH --gres=gpu:XXXextra3XXX", wanted(gpus=0), ["#SBATCH --gres=gpu:0"]),
        ("#SBATCH XXXextra4XXX", wanted(extra={"more": "--exclusive -L x"}), ["#SBATCH --exclusive -L x"]),
        ("#SBATCH --lic=XXXextra4XXX", wanted(extra={"more": 3}), ["#SBATCH --lic=3"]),
        ("#SBATCH --lic=XXXextra4XXX", {}, []),
        ("#SBATCH XXXextra4XXX", wanted(extra={"other": "x"}), []),
        ('#SBATCH --constraint="XXXextra5XXX"', wanted(constraint=""), []),
        ('#SBATCH --constraint="XXXextra5XXX"', wanted(constraint="a|b&c"), ['#SBATCH --constraint="a|b&c"']),
        # Only what is empty goes, and what was said with it stays.
        ("#SBATCH -C XXXextra5XXX --hint=x  -N 1 # and", {}, ["#SBATCH --hint=x  -N 1 # and"]),
        ("#SBATCH --x='a b' -C XXXextra5XXX # none", {}, ["#SBATCH --x='a b' # none"]),
        ("#SBATCH -C XXXextra5XXX # none", {}, []),
        ("#SBATCH --exclusive", {}, ["#SBATCH --exclusive"]),
        ("#SBATCH --x=XXXunknownXXX", {}, ["#SBATCH --x=XXXunknownXXX"]),
    ],
)
def test_header_lines(lab: Lab, line: str, resources: dict[str, Sourced[ResourceValue]], becomes: list[str]) -> None:
    table = {1: "memory_gb", 2: "minutes", 3: "gpus", 4: "more", 5: "constraint"}
    assert lab.header(line, resources, table) == becomes


def test_a_word_without_a_meaning_is_refused_where_it_counts(lab: Lab) -> None:
    with pytest.raises(
        InputError, match=r"qsub\.sh, line 2: XXXextra9XXX means nothing yet: .* qsub\.extra\.9 in conf"
    ):
        lab.fill("#!/bin/bash\n#SBATCH --x=XXXextra9XXX\nXXXcommandXXX\n")
    with pytest.raises(InputError, match=r"line 4: XXXextra3XXX"):
        lab.fill("#!/bin/bash\n\nmpirun \\\n  --x XXXextra3XXX XXXcommandXXX\n")
    text = "#!/bin/bash\n# fields: XXXextra9XXX XXXthreadsXXX XXXcommandXXX\n##SBATCH -p XXXextra9XXX\nXXXcommandXXX\n"
    filled = lab.fill(text).text
    assert "# fields: XXXextra9XXX 1 XXXcommandXXX\n##SBATCH -p XXXextra9XXX\n" in filled


def test_a_value_is_put_in_once(lab: Lab) -> None:
    values = wanted(partition="XXXextra1XXX", constraint="XXXcommandXXX", qos="XXXqueueXXX")
    text = "#!/bin/bash\n#SBATCH -p XXXqueueXXX -C XXXextra1XXX -q XXXextra2XXX\necho XXXextra1XXX\nXXXcommandXXX\n"
    filled = lab.fill(text, values, {1: "constraint", 2: "qos"}).text
    assert "#SBATCH -p XXXextra1XXX -C XXXcommandXXX -q XXXqueueXXX\necho XXXcommandXXX\n" in filled
    assert filled.count("exec bash") == 1


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"])
def test_a_line_break_in_a_value_is_refused(lab: Lab, bad: str) -> None:
    for resources in (wanted(qos=bad), wanted(extra={"own": bad})):
        with pytest.raises(InputError, match="line break"):
            lab.fill("#!/bin/bash\nXXXcommandXXX\n", resources)


# What the template does not say


GPU = wanted(gpus=2) | wanted("gpus", gres="gpu:2")
MY_GPUS = wanted("you", gpus=2) | wanted("gpus", gres="gpu:2")


@pytest.mark.parametrize(
    ("header", "resources", "options", "left"),
    [
        (
            "",
            wanted(
                partition="p",
                constraint="a|b",
                nodes=2,
                tasks=3,
                cpus=4,
                memory_gb=16,
                minutes=90,
                account="acc",
                qos="high",
                at_once=3,
                series_per_task=2,
                extra={"own": "x"},
            )
            | GPU,
            "--partition=p --constraint=a|b --nodes=2 --ntasks-per-node=3 --cpus-per-task=4 --gres=gpu:2 --mem=16G "
            "--time=1:30:00 --account=acc --qos=high",
            "",
        ),
        ("", wanted(partition="", constraint="", nodes=1), "--nodes=1", ""),
        # A word says it.
        ("-p XXXqueueXXX", wanted("you", partition="p"), "", "-p p"),
        ("-N XXXnodesXXX", wanted("you", nodes=2), "", "-N 2"),
        ("-n XXXmpinodesXXX", wanted("you", tasks=2, nodes=2), "--nodes=2", "-n 4"),
        ("-n XXXcoresXXX", wanted("you", tasks=2, cpus=2), "", "-n 4"),
        ("--ntasks-per-node=XXXdedicatedXXX", wanted(tasks=2, cpus=2), "", "--ntasks-per-node=4"),
        ("--gres=gpu:XXXextra1XXX", MY_GPUS, "", "--gres=gpu:2"),
        ("--gpus-per-node=XXXextra1XXX", GPU, "", "--gpus-per-node=2"),
        ("--mem-per-cpu=XXXextra2XXX", wanted("retry", memory_gb=3), "", "--mem-per-cpu=3G"),
        # A word in what the submission sets itself asks for nothing, nor does one in an empty line.
        ("--job-name=XXXqueueXXX", wanted(partition="p"), "--partition=p", "--job-name=p"),
        ("-p XXXqueueXXX --qos XXXextra3XXX", wanted(partition="p"), "", "-p p"),
        # The template's own stays, unless somebody wants just this.
        ("--mem=64G", wanted("profile tsCtf (x)", memory_gb=16), "", "--mem=64G"),
        ("--mem=64G", wanted("project", memory_gb=16), "--mem=16G", ""),
        ("--mem-per-cpu 8000 -c 4", wanted("retry", memory_gb=16), "--mem=16G", "-c 4"),
        ("--mem-per-gpu=8G", wanted(memory_gb=16), "", "--mem-per-gpu=8G"),
        ("-pgpu -A x -t 5 -c4 -N1", wanted(partition="p", account="y", minutes=1, cpus=2, nodes=2), "", None),
        ("-pgpu -A x -t 5", wanted("you", partition="p", account="y", minutes=1), None, ""),
        ("--ntasks=1", wanted("you", tasks=2), "--ntasks-per-node=2", ""),
        ("--gres=gpu:1", GPU, "", "--gres=gpu:1"),
        ("-G 1", MY_GPUS, "--gres=gpu:2", ""),
        ("--gres=gpu:1", wanted("you", gpus=0), "", ""),
        ("--gres=gpu:1", wanted("job type", gpus=0), "", "--gres=gpu:1"),
        ("--constraint=x", wanted("you", constraint=""), "", ""),
        ("--constraint=x", wanted("site (f)", constraint=""), "", "--constraint=x"),
        ("--time=1:00:00", wanted("site (f)", minutes=5, qos="q"), "--qos=q", "--time=1:00:00"),
        ("XXXextra4XXX", wanted(extra={"own": "--mem=3G --qos=a"}, memory_gb=9), "", "--mem=3G --qos=a"),
    ],
)
def test_what_no_word_asks_for_becomes_an_option(
    lab: Lab, header: str, resources: dict[str, Sourced[ResourceValue]], options: str | None, left: str | None
) -> None:
    text = f"#!/bin/bash\n#SBATCH {header}\nXXXcommandXXX\n"
    filled = lab.fill(text, resources, {1: "gpus", 2: "memory_gb", 3: "qos", 4: "own"})
    lines = [line.removeprefix("#SBATCH").strip() for line in filled.text.splitlines() if line.startswith("#SBATCH")]
    assert options is None or filled.options == tuple(options.split())
    assert left is None or lines == [left] * bool(left)


def test_only_lines_above_the_first_command_count_and_fields_can_be_asked_for_by_name(lab: Lab) -> None:
    text = "#!/bin/bash\n\n# note\n#SBATCH --mem=64G\nset -e\n#SBATCH --time=9 --qos=XXXextra1XXX\nXXXcommandXXX\n"
    resources = wanted(memory_gb=16, minutes=5)
    filled = lab.fill(text, resources, {1: "qos"})
    assert filled.options == ("--time=0:05:00",) and "\n#SBATCH --time=9 --qos=\n" in filled.text
    assert lab.fill(text, resources, {1: "qos"}, explicit=["memory_gb"]).options == ("--mem=16G", "--time=0:05:00")


# Reading


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "line 1: does not begin with #!"),
        (b"XXXcommandXXX\n", "line 1: does not begin with #!"),
        (b"\n#!/bin/bash\nXXXcommandXXX\n", "line 1: does not begin with #!"),
        (b"#!\nXXXcommandXXX\n", "line 1: does not begin with #!"),
        (b"#!/usr/bin/python3\nXXXcommandXXX\n", "line 1: is a script for python3"),
        (b"#!/usr/bin/env zsh\nXXXcommandXXX\n", "line 1: is a script for zsh"),
        (b"#!/bin/bash\necho hello\n", "no line with XXXcommandXXX"),
        (b"#!/bin/bash\n  # XXXcommandXXX\necho x # XXXcommandXXX\n#SBATCH XXXcommandXXX\n", "no line with XXXcommand"),
    ],
)
def test_what_is_no_template_is_refused(lab: Lab, text: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=r"qsub\.sh.*" + sentence):
        lab.template(text)


def test_a_template_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_template(tmp_path / "none.sh")
    with pytest.raises(InputError, match="cannot be read"):
        read_template(tmp_path)


@pytest.mark.parametrize(
    ("first", "shell"),
    [
        ("#!/bin/bash", "bash"),
        ("#!/bin/bash --norc", "bash"),
        ("#! /usr/local/bin/bash -l", "bash"),
        ("#!/usr/bin/env bash", "bash"),
        ("#!/usr/bin/env -S bash -e", "bash"),
        ("#!/bin/sh", "sh"),
        ("#!/bin/dash", "sh"),
        ("#!/bin/csh -f", "csh"),
        ("#!/bin/tcsh", "csh"),
    ],
)
def test_shells(lab: Lab, first: str, shell: str) -> None:
    assert lab.template(f"{first}\nXXXcommandXXX\n").shell == shell


def test_line_ends_of_windows_and_bytes_of_old_editors(lab: Lab) -> None:
    template = lab.template(b"#!/bin/bash\r\n# caf\xe9\r\n#SBATCH -p XXXqueueXXX\r\nXXXcommandXXX\r\n")
    filled = fill(template, wanted(partition="q"), Qsub(), job_folder="a", tasks_file=lab.tasks)
    written = filled.text.encode("utf-8", "surrogateescape")
    assert b"# caf\xe9\n#SBATCH -p q\n" in written and b"\r" not in written
    check(filled, template)


# The launcher


@pytest.mark.parametrize(
    ("line", "launch"),
    [
        ("XXXcommandXXX", 'mpirun -n 6 "$@"'),
        ("    srun XXXcommandXXX", 'srun "$@"'),
        ("mpirun -n XXXmpinodesXXX XXXcommandXXX", 'mpirun -n 6 "$@"'),
        ("srun bash --norc -c 'XXXcommandXXX'", "srun bash --norc -c ''\"$crboost_words\"''"),
        ('srun bash -c "XXXcommandXXX"', 'srun bash -c "$crboost_words"'),
        ('bash -c "cd \\"$X\\"; XXXcommandXXX; sync" > log', 'bash -c "cd \\"$X\\"; $crboost_words; sync"'),
        ("srun XXXcommandXXX --j 4 >> XXXoutfileXXX 2>> XXXerrfileXXX", 'srun "$@" --j 4'),
        ("srun XXXcommandXXX 2>&1 | tee log", 'srun "$@"'),
        ("if ! srun XXXcommandXXX; then exit 1; fi", 'srun "$@"'),
        ("(srun XXXcommandXXX) || touch failed", 'srun "$@"'),
        ("srun XXXcommandXXX & # in the background", 'srun "$@"'),
        ("srun XXXcommandXXX # as it is", 'srun "$@"'),
        (
            "module load mpi && srun XXXcommandXXX --x 'a;b' $(nproc)",
            "module load mpi && srun \"$@\" --x 'a;b' $(nproc)",
        ),
        (
            'mpirun -np "$N" \\\n  --map-by node:PE=$C \\\n  XXXcommandXXX',
            'mpirun -np "$N"    --map-by node:PE=$C    "$@"',
        ),
        ("XXXcommandXXX \\\n  --last", '"$@"    --last'),
        ("if [ -n x ]; then\nXXXcommandXXX\nelse\nsrun XXXcommandXXX\nfi", 'srun "$@"'),
    ],
)
def test_what_stands_around_the_command_launches_programs_with_mpi(lab: Lab, line: str, launch: str) -> None:
    text = f"#!/bin/bash\n{line}\n"
    filled = lab.fill(text, wanted(nodes=2, tasks=3))
    assert filled.launch == launch
    check(filled, lab.template(text))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('srun bash -c "\nmodule load x\nXXXcommandXXX\n"', "inside a text that begins on an earlier line"),
        ("srun bash -c '\nXXXcommandXXX\n'", "inside a text that begins on an earlier line"),
        ("bash <<EOF\nXXXcommandXXX\nEOF", "inside a text that begins on an earlier line"),
        ('srun bash -c "XXXcommandXXX\n"', "line 2: The quote around XXXcommandXXX is not closed"),
        ("if true; then\nXXXcommandXXX", "no valid bash script once it is filled in: .*unexpected end of file"),
        ("for x in 1; do srun XXXcommandXXX; done", "runs no command: for x in 1; do srun"),
    ],
)
def test_where_no_call_can_stand(lab: Lab, body: str, sentence: str) -> None:
    text = f"#!/bin/bash\necho it\\'s\n{body}\n".replace(
        "echo it\\'s\n", "" if "line 2" in sentence else "echo it\\'s\n"
    )
    with pytest.raises(InputError, match=sentence) as caught:
        check(lab.fill(text), lab.template(text))
    assert str(lab.folder / "qsub.sh") in str(caught.value)


# Running

EXIT_3 = 'echo "tasks: $(wc -c < /dev/stdin) $0"; exit 3\n'
SHELLS = [
    "bash",
    pytest.param("dash", marks=pytest.mark.skipif(not shutil.which("dash"), reason="no dash here")),
]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("before", "after", "code", "said"),
    [
        ("", "", 3, ""),
        ("", 'echo "code $?"', 0, "code 3"),
        ("set -u", "if [ $? -eq 0 ]; then echo good; else echo bad; fi; exit 9", 9, "bad"),
        ("set -eu", "echo not reached", 3, ""),
        ("set -eu\ntrap 'echo cleaned' EXIT", "echo not reached", 3, "cleaned"),
        ("if [ -d . ]; then", "echo $?\nelse\nXXXcommandXXX\nfi", 0, "3"),
        ("for word in a b; do", "done\necho two", 0, "tasks: 0"),
        ("read line\necho got $line", "read rest || echo nothing left", 0, "got of the script"),
        ("read line", "cat", 0, ""),
    ],
)
def test_the_rest_of_a_template_goes_on_with_the_code(
    lab: Lab, shell: str, before: str, after: str, code: int, said: str
) -> None:
    text = f"#!/bin/{shell}\n{before}\n  srun XXXcommandXXX\n{after}\n"
    assert lab.template(text).shell == ("bash" if shell == "bash" else "sh")
    found, output = lab.run(text, EXIT_3, shell)
    assert (found, said in output) == (code, True), output
    assert f"tasks: 0 {lab.tasks}" in output and "not reached" not in output
    assert output.count("tasks: 0") == (2 if "word in" in before else 1)
    assert lab.run(text, "exit 0", shell)[0] == (9 if "exit 9" in after else 0)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["USR2", "TERM"])
def test_signals_reach_the_tasks_and_the_template_ends_as_it_would(lab: Lab, shell: str, name: str) -> None:
    tasks = """
        trap 'echo "USR2 arrived"; sleep 0.3; exit 7' USR2
        trap 'echo "TERM arrived"; sleep 0.3; exit 7' TERM
        echo "waits"
        while :; do sleep 0.05; done
    """
    text = f"#!/bin/{shell}\nset -u\ntrap 'echo own' TERM\nXXXcommandXXX\necho \"code $?\"\nkill -s TERM $$\necho end\n"
    script = lab.write(text, tasks)
    output = lab.folder / "out"
    with open(output, "wb") as stream:
        process = subprocess.Popen([shell, str(script)], stdout=stream, stderr=stream, start_new_session=True)
    deadline = time.monotonic() + 20
    while "waits" not in output.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    for _ in range(2):
        os.kill(process.pid, signal.Signals[f"SIG{name}"])
        time.sleep(0.1)
    process.wait(20)
    lines = output.read_text().splitlines()
    assert f"{name} arrived" in lines and "code 7" in lines
    if shell == "bash":  # dash does not tell which traps there were
        assert lines[-2:] == ["own", "end"] and process.returncode == 0


def test_a_signal_before_the_tasks_have_begun(lab: Lab) -> None:
    script = lab.write("#!/bin/bash\nXXXcommandXXX\necho code $?\n", "exec sleep 60")
    text = script.read_text().replace("crboost_pid=$!", "kill -s TERM $$\ncrboost_pid=$!")
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=20)
    assert "code 143" in done.stdout


def test_a_table_that_becomes_visible_late(lab: Lab) -> None:
    script = lab.write("#!/bin/bash\nXXXcommandXXX\n", "exit 4")
    lab.tasks.rename(lab.folder / "later")
    process = subprocess.Popen(["bash", str(script)])
    time.sleep(0.5)
    assert process.poll() is None
    (lab.folder / "later").rename(lab.tasks)
    assert process.wait(20) == 4


@pytest.mark.parametrize("shell", ["bash", "tcsh"])
def test_a_table_that_cannot_be_seen(lab: Lab, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    script = lab.write(f"#!/bin/{shell}\nXXXcommandXXX\n", "exit 4", seconds=1)
    lab.tasks.unlink()
    done = subprocess.run([shell, str(script)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 75
    assert done.stderr.startswith(f"crboost: {lab.tasks} cannot be seen on ")


def test_the_forms_of_labs(lab: Lab) -> None:
    resources = wanted("you", nodes=2, tasks=2, cpus=3, partition="g", memory_gb=16, minutes=90) | GPU
    bash = lab.fill(BASH_LAB, resources, BASH_TABLE)
    assert bash.options == ("--cpus-per-task=3", "--time=1:30:00")
    assert "--nodes=2   # how many\n" in bash.text and "--gres=gpu:2\n#SBATCH --mem 16G\n#SBATCH -o" in bash.text
    assert "##SBATCH --exclude=node7" in bash.text and "ranks: 4" in bash.text and "168" not in bash.text
    assert lab.run(BASH_LAB, EXIT_3, "bash", resources, BASH_TABLE)[1].endswith("ended with 3\n")
    code, output = lab.run(CONTINUED_LAB, EXIT_3)
    assert code == 3 and "cleaned" in output and "not reached" not in output
    continued = lab.fill(CONTINUED_LAB, resources)
    assert continued.launch == 'mpirun -np "4"      --map-by "$PLACES"      "$@" --scratch ${SCRATCH}'
    assert "export PLACES SCRATCH\n" in continued.text and "run.log" not in continued.text
    assert "#SBATCH --ntasks=12\n" in continued.text and "--mem=16G" in continued.options


@pytest.mark.skipif(not shutil.which("tcsh"), reason="no tcsh here")
def test_a_template_for_tcsh(lab: Lab) -> None:
    resources = wanted(partition="q", nodes=2, tasks=3, cpus=4, minutes=61, extra={"site_options": "--exclusive"})
    filled = lab.fill(TCSH_LAB, resources, TCSH_TABLE)
    assert filled.launch == 'mpiexec -n 6 "$@"' and filled.options == ("--nodes=2",)
    header = "#SBATCH -p q -n 6 -c 4\n#SBATCH -t 2:00:00\n#SBATCH -J External/job002/\n#SBATCH --exclusive\n"
    assert f"#!/bin/tcsh -f\n{header}\nsetenv OMP_NUM_THREADS 4\n" in filled.text
    code, output = lab.run(TCSH_LAB, EXIT_3, "tcsh", resources, TCSH_TABLE)
    assert (code, output) == (3, f"tasks: 0 {lab.tasks}\ntcsh goes on: 3\n")


# Values that a shell would act on

HOSTILE = [
    "$(touch x)",
    "`touch x`",
    "'; touch x; '",
    '"; touch x; "',
    "x touch x",
    "a'b\"c\\",
    "\\",
    "#",
    "!!",
    "é ü",
    "*",
    "~",
    "A=b",
    "$HOME",
    "-n",
    "&",
    "\udcff",
]
VALUE = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.lists(st.sampled_from(["'", '"', "$(touch x)", "`", "\\", " ", ";", "a", "\t", "|"]), min_size=1).map("".join),
)
PRINTS = "#!/bin/bash\n# a comment: XXXextra1XXX\n#SBATCH --comment=XXXextra1XXX\nprintf '%s\\0' {} # XXXextra1XXX\n"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUE)
@example("$(touch x)")
@example("'; touch x; '")
def test_hostile_values_never_run_and_come_back_as_they_are(tmp_path: Path, value: str) -> None:
    lab = Lab(tmp_path)
    shown = """XXXextra1XXX "a XXXextra1XXX b" 'a XXXextra1XXX b' it\\'s"""
    text = PRINTS.format(shown) + "export KEPT=XXXextra1XXX; printf '%s\\0' \"$KEPT\"\nsrun XXXcommandXXX\n"
    filled = lab.fill(text, wanted("you", qos=value), {1: "qos"})
    check(filled, lab.template(text))
    lab.tasks.write_text("")
    script = tmp_path / "submitted.sh"
    script.write_bytes(filled.text.encode("utf-8", "surrogateescape"))
    done = subprocess.run(["bash", str(script)], cwd=tmp_path, capture_output=True, timeout=20)
    assert not (tmp_path / "x").exists()
    back = value.encode("utf-8", "surrogateescape")
    assert done.stdout.split(b"\0") == [back, b"a " + back + b" b", b"a " + back + b" b", b"it's", back, b""]
    other = lab.fill("#!/bin/bash\nXXXcommandXXX\n", wanted(qos=value)).options
    assert other == (f"--qos={value}",)


def test_a_field_of_the_sites_own_may_be_several_arguments(lab: Lab) -> None:
    text = "#!/bin/bash\nXXXextra1XXX\nA=XXXextra1XXX\necho XXXextra1XXX\nmpirun XXXextra1XXX XXXcommandXXX\n"
    filled = lab.fill(text, wanted(extra={"own": "--bind-to core"}), {1: "own"})
    assert "\n'--bind-to core'\nA='--bind-to core'\necho --bind-to core\n" in filled.text
    assert filled.launch == 'mpirun --bind-to core "$@"'
    assert lab.fill(text, wanted(extra={"own": "a $(x)"}), {1: "own"}).launch == "mpirun 'a $(x)' \"$@\""
    assert lab.fill(text, wanted(qos="a b"), {1: "qos"}).launch == "mpirun 'a b' \"$@\""


@pytest.mark.parametrize(
    "body",
    [
        'echo "$(echo "XXXextra1XXX")"',
        "echo `echo XXXextra1XXX`",
        "cat <<EOF\nXXXextra1XXX\nEOF",
        "cat <<'EOF'\n# XXXextra1XXX\nEOF",
    ],
)
def test_where_a_hostile_value_cannot_be_quoted_it_is_refused(lab: Lab, body: str) -> None:
    text = f"#!/bin/bash\n{body}\nXXXcommandXXX\n"
    assert "EOF" not in body or "\nplain\nEOF" in lab.fill(text, wanted(qos="plain"), {1: "qos"}).text.replace("# ", "")
    with pytest.raises(InputError, match=r"qsub\.sh, line [23]: XXXextra1XXX stands where the shell would act on"):
        lab.fill(text, wanted(qos="$(touch x)"), {1: "qos"})


@pytest.mark.skipif(not shutil.which("tcsh"), reason="no tcsh here")
@pytest.mark.parametrize("value", [value for value in HOSTILE if "!" not in value and value != "\udcff"])
def test_hostile_values_in_tcsh(lab: Lab, value: str) -> None:
    text = "#!/bin/tcsh -f\nprintf '%s\\n' XXXextra1XXX \"a XXXextra1XXX b\"\nXXXcommandXXX\n"
    script = lab.write(text, "", wanted(qos=value), {1: "qos"})
    done = subprocess.run(["tcsh", "-f", str(script)], cwd=lab.folder, capture_output=True, text=True, timeout=20)
    assert done.stdout == f"{value}\na {value} b\n", done.stderr
    assert not (lab.folder / "x").exists()


@pytest.mark.parametrize("shell", ["bash", "dash", "tcsh"])
@pytest.mark.parametrize("name", ["a b", 'it\'s "mine"', "$(touch x)`touch x`", "ü ; touch x", "-n", "#", "!", "a\nb"])
def test_projects_with_odd_names(tmp_path: Path, shell: str, name: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    folder = tmp_path / name
    folder.mkdir()
    lab = Lab(folder)
    text = f"#!/bin/{shell}\n  XXXcommandXXX\n"
    if shell == "tcsh" and name in ("!", "a\nb"):
        with pytest.raises(InputError, match="a ! or a line break"):
            lab.fill(text)
        return
    assert lab.run(text, 'printf "%s" "$0"; exit 6', shell) == (6, str(lab.tasks))
    assert not (folder / "x").exists()


def test_an_exclamation_mark_in_a_line_of_csh_is_refused(lab: Lab) -> None:
    with pytest.raises(InputError, match="line 2: XXXqueueXXX stands where the shell would act"):
        lab.fill("#!/bin/csh\necho XXXqueueXXX\nXXXcommandXXX\n", wanted(partition="a!b"))


# RELION


def test_relion_is_told_the_same_fields() -> None:
    table = qsub({1: "partition", 2: "memory_gb", 4: "scratch_gb"}, template="/a b/q.sh", command="my_sbatch")
    variables = relion_variables(table, {"partition": "gpu", "memory_gb": 16, "extra": {"scratch_gb": 3}})
    assert variables == {
        "RELION_QUEUE_USE": "yes",
        "RELION_QUEUE_NAME": "gpu",
        "RELION_QSUB_COMMAND": "my_sbatch",
        "RELION_QSUB_TEMPLATE": "/a b/q.sh",
        "RELION_QSUB_EXTRA_COUNT": "4",
        "RELION_QSUB_EXTRA1": "Partition",
        "RELION_QSUB_EXTRA1_DEFAULT": "gpu",
        "RELION_QSUB_EXTRA1_HELP": "Partition (queue) of the cluster.",
        "RELION_QSUB_EXTRA2": "Memory per node",
        "RELION_QSUB_EXTRA2_DEFAULT": "16G",
        "RELION_QSUB_EXTRA2_HELP": "Memory per node as Slurm takes it, e.g. 16G.",
        "RELION_QSUB_EXTRA4": "Scratch gb",
        "RELION_QSUB_EXTRA4_DEFAULT": "3",
    }
    resources = wanted(partition="gpu", tasks=2, cpus=4, memory_gb=16)
    assert relion_queue_options(table, resources) == {
        "do_queue": "Yes",
        "qsub": "my_sbatch",
        "qsubscript": "/a b/q.sh",
        "queuename": "gpu",
        "min_dedicated": "8",
        "qsub_extra1": "gpu",
        "qsub_extra2": "16G",
        "qsub_extra4": "",
    }
    assert relion_queue_options(qsub({1: "partition"}), resources) == {}


# Lines of #SBATCH with the table of each form that memory and time have in templates.
IN_RELION = {
    "gigabytes": ("#SBATCH --mem=XXXextra1XXXG\n#SBATCH --time=XXXextra2XXX:00:00", {1: "memory_gb", 2: "minutes"}),
    "megabytes": ("#SBATCH --mem XXXextra1XXXmb # all\n#SBATCH -t XXXextra2XXX:00", {1: "memory_gb", 2: "minutes"}),
    "as Slurm writes it": ("#SBATCH --mem=XXXextra1XXX -t XXXextra10XXX", {1: "memory_gb", 10: "minutes"}),
    "days first": ("#SBATCH --mem-per-cpu=XXXextra2XXXg --time 0-XXXextra1XXX:00:00", {2: "memory_gb", 1: "minutes"}),
    "own field": ("#SBATCH XXXextra1XXX\n#SBATCH --lic=XXXextra2XXX", {1: "site_options", 2: "more"}),
    "said before": ("# XXXextra1XXX\n#SBATCH --x=a # XXXextra1XXX\n#SBATCH --mem=XXXextra1XXXG", {1: "memory_gb"}),
    "said later": ("#SBATCH --mem=XXXextra1XXX\necho XXXextra1XXXG, XXXextra2XXX:00", {1: "memory_gb", 2: "minutes"}),
}
LABS = {
    "bash": (BASH_LAB, BASH_TABLE),
    "tcsh": (TCSH_LAB, TCSH_TABLE),
    "continued": (CONTINUED_LAB, {}),
    "shipped": (
        (DATA / "qsub" / "slurm.sh").read_text(),
        {1: "partition", 2: "constraint", 3: "nodes", 4: "tasks", 5: "cpus", 6: "gres", 7: "memory_gb"}
        | {8: "minutes", 9: "account", 10: "qos"},
    ),
    **{name: (f"#!/bin/bash\n{lines}\nXXXcommandXXX\n", table) for name, (lines, table) in IN_RELION.items()},
}


def as_relion_fills_it(text: str, job_star: dict[str, str], extra: dict[str, str], numbers: dict[str, int]) -> str:
    """RELION replaces the words as plain text, one after another, and drops nothing."""
    for word, value in (*extra.items(), *numbers.items(), ("queue", job_star["queuename"])):
        text = text.replace(f"XXX{word}XXX", str(value))
    text = text.replace("XXXnameXXX", "External/job002/")
    return text.replace("XXXoutfileXXX", "External/job002/run.out").replace("XXXerrfileXXX", "External/job002/run.err")


def sbatch_options(text: str) -> list[list[str]]:
    rows = (row.partition(" #")[0].split() for row in text.splitlines() if row.startswith("#SBATCH"))
    return [row for row in rows if row != ["#SBATCH"]]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("form", LABS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(memory=st.integers(1, 100_000), minutes=st.integers(1, 525_600))
@example(memory=1, minutes=90)
def test_relion_asks_slurm_for_the_same(tmp_path: Path, form: str, line_end: str, memory: int, minutes: int) -> None:
    """With its window's defaults as with what a job.star says."""
    lab, (text, fields) = Lab(tmp_path), LABS[form]
    texts: dict[str, ResourceValue] = {"partition": "p", "constraint": "c", "gres": "gpu:1", "account": "a", "qos": "q"}
    own: ResourceValue = {"site_options": "--exclusive", "more": 3}
    site: dict[str, ResourceValue] = {
        **texts,
        "nodes": 1,
        "tasks": 2,
        "cpus": 3,
        "gpus": 1,
        "memory_gb": memory,
        "minutes": minutes,
        "extra": own,
    }
    template = lab.template(text.replace("\n", line_end).encode())
    table = qsub(fields, template=str(template.path))
    filled = fill(template, wanted("site", **site), table, job_folder="External/job002", tasks_file=lab.tasks)
    variables = relion_variables(table, site)
    job_star = relion_queue_options(table, wanted("site", **site))
    defaults = {f"extra{number}": variables[f"RELION_QSUB_EXTRA{number}_DEFAULT"] for number in fields}
    assert defaults == {f"extra{number}": job_star[f"qsub_extra{number}"] for number in fields}
    numbers = {"mpinodes": 2, "threads": 3, "cores": 6, "dedicated": 6, "nodes": 1}
    submitted = as_relion_fills_it(template.text, job_star, defaults, numbers)
    assert sbatch_options(submitted) == sbatch_options(filled.text)


@pytest.mark.parametrize(
    ("form", "memory", "minutes", "in_help"),
    [
        ("gigabytes", "1", "2", ("in GB, a whole number.", "in hours, a whole number.")),
        ("megabytes", "1024", "90", ("in MB, a whole number.", "in minutes, a whole number.")),
        ("as Slurm writes it", "1G", "1:30:00", ("as Slurm takes it, e.g. 16G.", "as Slurm takes it, e.g. 1:30:00.")),
    ],
)
def test_relions_windows_say_what_is_to_be_entered(
    lab: Lab, form: str, memory: str, minutes: str, in_help: tuple[str, str]
) -> None:
    text, fields = LABS[form]
    table = qsub(fields, template=str(lab.template(text).path))
    variables = relion_variables(table, {"memory_gb": 1, "minutes": 90})
    first, second = (f"RELION_QSUB_EXTRA{number}" for number in fields)
    assert (variables[f"{first}_DEFAULT"], variables[f"{second}_DEFAULT"]) == (memory, minutes)
    assert variables[f"{first}_HELP"] == f"Memory per node {in_help[0]}"
    assert variables[f"{second}_HELP"] == f"Time limit {in_help[1]}"


def test_no_help_speaks_of_how_crboost_is_told() -> None:
    fields = sorted(set(Resources.model_fields) - {"extra"})
    for field in fields:
        said = relion_variables(qsub({1: field}), {})["RELION_QSUB_EXTRA1_HELP"]
        assert "`" not in said and ";" not in said and said.endswith("."), field


def test_the_number_of_a_field_must_be_one_that_relion_has() -> None:
    for number in ("0", "11", "12", "a"):
        with pytest.raises(InputError, match=rf"c, qsub\.extra\.{number}: is no XXXextraNXXX: .* must be 1 to 10\."):
            validated(SiteFile, {"qsub": {"extra": {number: {"field": "qos"}}}}, "c")


def test_jobs_of_ours_in_relions_windows() -> None:
    """What RELION's button runs for an external job is crboost, on the host where it is pressed."""
    queue = {"do_queue": "Yes", "queuename": "gpu", "qsub_extra1": "16G"}

    def options(label: str, internal: bool = False) -> dict[str, str]:
        kind = SimpleNamespace(relion_label=label, internal=internal)
        return relion_options(DATA, cast(BoundInstance, SimpleNamespace(id="a", job_type=kind)), {}, {}, queue)

    external, native, internal = (
        options("relion.external.x"),
        options("relion.importtomo"),
        options("relion.importtomo", True),
    )
    assert (external["do_queue"], external["queuename"], external["qsub_extra1"]) == ("No", "gpu", "16G")
    assert (native["do_queue"], native["queuename"], native["qsub_extra1"]) == ("Yes", "gpu", "16G")
    assert internal["do_queue"] == "No" and "qsub_extra1" not in internal


def test_crboost_config_prints_what_relion_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = tmp_path / "it's.yaml"
    monkeypatch.setenv("CRBOOST_CONFIG", str(conf))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    conf.write_text("resources: {partition: \"$(touch x) 'gpu'\"}\n")
    assert main(["config", "--relion"]) == 0
    output = capsys.readouterr().out
    assert f"export RELION_QSUB_TEMPLATE={quote(str(DATA / 'qsub' / 'slurm.sh'))}\n" in output
    conf.write_text(
        "qsub:\n  template: \"q '1'.sh\"\n  command: bsub\n  extra: {8: {field: minutes, label: Time limit}}\n"
        "resources: {partition: \"$(touch x) 'gpu'\"}\n"
    )
    assert main(["config", "--relion"]) == 0
    script = capsys.readouterr().out + 'printf "%s\\n" "$RELION_QSUB_TEMPLATE" "$RELION_QUEUE_NAME"; env'
    printed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path).stdout.splitlines()
    assert printed[:2] == [str(tmp_path / "q '1'.sh"), "$(touch x) 'gpu'"]
    assert {"RELION_QUEUE_USE=yes", "RELION_QSUB_COMMAND=bsub", "RELION_QSUB_EXTRA8=Time limit"} <= set(printed)
    assert not (tmp_path / "x").exists()
    assert main(["config", "--relion", "--json"]) == 0
    assert '"RELION_QSUB_EXTRA_COUNT": "8"' in capsys.readouterr().out


# What is shipped


def shipped() -> SiteFile:
    return SiteFile.model_validate(plain_yaml.load((DATA / "conf.template.yaml").read_text(), "conf.template.yaml"))


def test_the_shipped_template_asks_for_everything_with_the_shipped_table(lab: Lab) -> None:
    template = read_template(DATA / "qsub" / "slurm.sh")
    values: dict[str, ResourceValue] = {"partition": "p", "constraint": "c", "account": "a", "qos": "q"}
    numbers: dict[str, ResourceValue] = {"nodes": 2, "tasks": 3, "cpus": 4, "memory_gb": 5, "minutes": 6}
    resources = wanted("you", **values, **numbers) | MY_GPUS
    filled = fill(template, resources, shipped().qsub, job_folder="External/job002", tasks_file=lab.tasks)
    assert filled.options == () and filled.launch == 'mpirun -n 6 "$@"'
    header = [line for line in filled.text.splitlines() if line.startswith("#SBATCH")]
    assert len(header) == 13 and "#SBATCH --gres=gpu:2" in header
    check(filled, template)
    nothing = fill(template, {}, shipped().qsub, job_folder="External/job002", tasks_file=lab.tasks)
    assert [line for line in nothing.text.splitlines() if line.startswith("#SBATCH")] == header[-3:]
    fields = {extra.field for extra in shipped().qsub.extra.values()} | {"gpus"}
    assert fields == set(Resources.model_fields) - {"at_once", "series_per_task", "extra"}


def test_every_job_type_has_a_profile_and_the_presets_grow() -> None:
    site = shipped()
    assert set(site.profiles) == set(job_types())
    for name, profile in site.profiles.items():
        assert set(profile) == {"cpus", "gpus", "memory_gb", "minutes"}, name
        assert profile["gpus"] == job_types()[name].needs.gpus and profile["memory_gb"] >= 4, name
    small, standard, large = (site.presets[name] for name in ("small", "standard", "large"))
    assert set(small) == set(standard) == set(large)
    assert all(small[field] <= standard[field] <= large[field] for field in small)
