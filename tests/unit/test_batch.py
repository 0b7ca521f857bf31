"""The table of tasks of one submission, run for real under bash."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.cluster.batch import render_tasks
from core.cluster.quoting import quote, words
from core.cluster.template import fill, read_template
from core.project.site import Qsub


class Table:
    """Task scripts, and the table that names them, in a folder with an awkward name."""

    def __init__(self, root: Path) -> None:
        self.folder = root / 'it\'s a $(touch x) "project"'
        self.folder.mkdir()
        self.path = self.folder / "t.tasks.sh"
        self.count = 0

    def script(self, text: str) -> Path:
        self.count += 1
        path = self.folder / f"{self.count}.sh"
        path.write_text(text)
        return path

    def write(self, entries: Sequence[Sequence[Path]], launch: str = 'mpirun "$@"', seconds: int = 90) -> None:
        text = render_tasks(entries, launch, "a note\nexit 9")
        self.path.write_text(text.replace(">= 90", f">= {seconds}"))

    def start(self, index: int | None = None, variables: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        environment = {"PATH": f"{self.folder}:/usr/bin:/bin", **(variables or {})}
        if index is not None:
            environment["SLURM_ARRAY_TASK_ID"] = str(index)
        return subprocess.Popen(
            ["bash", str(self.path)],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, index: int | None = None, variables: Mapping[str, str] | None = None) -> tuple[int, str]:
        process = self.start(index, variables)
        output = process.communicate(timeout=60)[0]
        return process.returncode, output


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


def test_each_index_runs_its_script_in_its_own_place(table: Table) -> None:
    entries = [[table.script(f'echo "{n} $$ $0"; exit {n}')] for n in range(12)]
    table.write(entries)
    for index in (None, 0, 1, 11):
        process = table.start(index)
        output = process.communicate(timeout=20)[0]
        number = index or 0
        assert (process.returncode, output) == (number, f"{number} {process.pid} {entries[number][0]}\n")
    assert table.run(12) == (75, f"crboost: there is no task 12 in {table.path}\n")
    assert table.path.read_text().splitlines()[2] == "# a note exit 9"


@pytest.mark.parametrize(
    ("codes", "code", "ran"),
    [
        ([0, 0], 0, "01"),
        ([3, 0], 0, "01"),
        ([0, 3], 0, "01"),
        ([3, 4], 4, "01"),
        ([1, 127, 75], 75, "012"),
        ([1, 127], 127, "01"),
    ],
)
def test_a_pack_is_good_if_any_member_is(table: Table, codes: list[int], code: int, ran: str) -> None:
    table.write([[table.script(f"echo -n {n}; exit {each}") for n, each in enumerate(codes)]])
    assert table.run() == (code, ran)


@pytest.mark.parametrize("name", ["USR2", "TERM"])
@pytest.mark.parametrize("first", ["exit 0", "exit 5"])
def test_a_signal_ends_the_member_that_runs_and_no_other_begins(table: Table, name: str, first: str) -> None:
    begun = table.folder / "begun"
    script = f"trap 'echo got {name}; sleep 0.3; exit 7' {name}; touch begun; while :; do sleep 0.05; done"
    table.write([[table.script(first), table.script(script), table.script("echo never")]])
    process = table.start(0)
    while not begun.exists():
        time.sleep(0.02)
    for _ in range(2):
        os.kill(process.pid, signal.Signals[f"SIG{name}"])
        time.sleep(0.1)
    output = process.communicate(timeout=20)[0]
    assert process.returncode == (0 if first == "exit 0" else 7)
    assert f"got {name}" in output and "never" not in output


def test_scripts_that_become_visible_late_or_never(table: Table) -> None:
    late, never = table.script("echo late; exit 4"), table.folder / "never.sh"
    late.rename(table.folder / "elsewhere")
    table.write([[late], [never], [never, table.script("exit 6")], [table.script("exit 6"), never]], seconds=2)
    process = table.start(0)
    time.sleep(0.5)
    (table.folder / "elsewhere").rename(late)
    assert process.communicate(timeout=20)[0] == "late\n" and process.returncode == 4
    code, output = table.run(1)
    assert code == 75 and output.startswith(f"crboost: {never} cannot be seen on ")
    assert table.run(2)[0] == 6
    assert table.run(3)[0] == 75


def test_a_pack_that_waits_for_a_script_hears_a_signal(table: Table) -> None:
    table.write([[table.folder / "never.sh", table.script("echo never")]])
    process = table.start()
    time.sleep(0.5)
    process.terminate()
    assert process.communicate(timeout=20)[0] == "" and process.returncode == 143


SRUN = '#!/bin/bash\necho -n "srun $1: "; shift; exec "$@"\n'


def test_commands_with_mpi_run_as_in_the_template(table: Table) -> None:
    task = table.script("set -u; crboost_launch printf '[%s]' one 'two  2' ''; echo; crboost_launch bash -c 'exit 5'")
    (table.folder / "srun").write_text(SRUN)
    (table.folder / "srun").chmod(0o755)
    for launch, said in {
        '"$@"': "[one][two  2][]\n",
        'srun "$N" "$@"': "srun 4: [one][two  2][]\nsrun 4: ",
        'srun "${NONE}" "$@" | cat': "srun : [one][two  2][]\nsrun : ",
        'srun x bash --norc -c "$crboost_words"': "srun x: [one][two  2][]\nsrun x: ",
        "srun x sh -c 'exec '\"$crboost_words\"''": "srun x: [one][two  2][]\nsrun x: ",
    }.items():
        table.write([[task]], launch)
        code, output = table.run(variables={"N": "4"})
        assert output == said, launch
        assert code == (0 if "cat" in launch else 5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10), max_size=4))
@example(["", "$(touch x)", "`touch x`", "'", '"', "\\", "a\nb", "é", "*", "!", "~", "A=b", "\x7f\x01", "-n", "& ; |"])
def test_arguments_come_through_another_shell_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, argv: list[str]
) -> None:
    table = Table(tmp_path_factory.mktemp("launch"))
    task = table.script(f"export LC_ALL=C; crboost_launch printf '%s\\0' end {words(argv)}")
    for line in ('bash --norc -c "XXXcommandXXX"', "sh -c 'XXXcommandXXX'", "env XXXcommandXXX"):
        template = table.folder / "qsub.sh"
        template.write_text(f"#!/bin/bash\n{line}\n")
        filled = fill(read_template(template), {}, Qsub(), job_folder="External/job002", tasks_file=table.path)
        table.write([[task]], filled.launch)
        done = subprocess.run(
            ["bash", "-c", filled.text], cwd=table.folder, capture_output=True, env={"PATH": "/usr/bin:/bin"}
        )
        assert done.stdout.decode().split("\0") == ["end", *argv, ""], (line, done.stderr)
    assert not (table.folder / "x").exists()


def test_variables_of_the_template_reach_its_launcher(table: Table) -> None:
    template = table.folder / "qsub.sh"
    template.write_text("#!/bin/bash\nset -eu\nNAME='a b'\nenv \"WHO=${NAME}\" XXXcommandXXX > log\necho after $?\n")
    filled = fill(read_template(template), {}, Qsub(), job_folder="External/job002", tasks_file=table.path)
    table.write([[table.script("set -u; crboost_launch bash -c 'echo \"who: $WHO\"'")]], filled.launch)
    done = subprocess.run(["bash", "-c", filled.text], cwd=table.folder, capture_output=True, text=True)
    assert done.stdout == "who: a b\nafter 0\n", done.stderr


def test_paths_are_quoted(table: Table) -> None:
    script = table.script("echo fine")
    table.write([[script]])
    assert quote(str(script)) in table.path.read_text()
    assert table.run(0) == (0, "fine\n") and not (table.folder / "x").exists()
