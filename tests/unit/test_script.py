"""Task scripts, run for real under bash."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.cluster.batch import render_tasks
from core.cluster.protocol import AttemptPaths, AttemptState, read_start, read_state, withdraw
from core.cluster.quoting import comment, quote, variable, words
from core.cluster.script import COMMON, Attempt, render
from core.errors import InputError
from core.jobs._task import Check, Copy, Link, MakeFolder, MoveAside, Product, StageOperation, Work, WriteText
from core.tools.command import Command


class Bench:
    """A project folder in which attempts of one task are run."""

    def __init__(self, root: Path) -> None:
        self.project = root / "my project"
        self.job = self.project / "External" / "job002"
        self.inbox = self.project / ".crboost" / "inbox"
        self.inbox.mkdir(parents=True)
        self.paths = AttemptPaths(self.job, "TS_01", 1)
        self.paths.folder.mkdir(parents=True)

    def file(self, name: str) -> str:
        return str(self.job / name)

    def bash(self, text: str, **more: object) -> Command:
        """A command that is a small bash script."""
        return Command("host", ("bash", "-c", text), str(self.project), **more)  # type: ignore[arg-type]

    def write(self, work: Work, number: int = 1, visible_seconds: int = 0, **more: object) -> AttemptPaths:
        paths = AttemptPaths(self.job, "TS_01", number)
        attempt = Attempt(paths, "fs", self.project, self.inbox, visible_seconds, **more)  # type: ignore[arg-type]
        paths.script.write_text(render(work, attempt, lambda command: command.argv), encoding="utf-8")
        return paths

    def start(self, paths: AttemptPaths, job: str = "t1", slurm: str = "") -> subprocess.Popen[bytes]:
        environment = {"PATH": os.environ["PATH"], "CRBOOST_JOB_ID": job}
        if slurm:
            environment["SLURM_JOB_ID"] = slurm
        return subprocess.Popen(
            ["bash", str(paths.script)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A run that was started in the background ignores SIGINT, and no script can take that back.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(
        self, work: Work, number: int = 1, visible_seconds: int = 0, slurm: str = "", **more: object
    ) -> AttemptState:
        paths = self.write(work, number, visible_seconds, **more)
        process = self.start(paths, slurm=slurm)
        output, _ = process.communicate(timeout=60)
        state = read_state(paths.state)
        assert state is not None, output
        return state

    def dropped(self) -> set[str]:
        return {path.name for path in self.inbox.iterdir()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def mrc(nx: int, ny: int, nz: int, mode: int, data_bytes: int, extended: int = 0) -> bytes:
    header = bytearray(1024)
    struct.pack_into("<4i", header, 0, nx, ny, nz, mode)
    struct.pack_into("<i", header, 92, extended)
    return bytes(header) + bytes(extended + data_bytes)


def test_a_task_that_succeeds(bench: Bench) -> None:
    product = bench.file("out.txt")
    work = Work(
        stage=(MakeFolder(bench.file("a/b")), WriteText(bench.file("c/list.txt"), "one\n'two' $(x)\n")),
        commands=(bench.bash(f"echo alive; echo oops >&2; echo $NAME > '{product}'", env=(("NAME", "a 'b'\n$c"),)),),
        products=(Product((product,)),),
    )
    state = bench.run(work, note="REHEARSAL", version="1.0")
    assert (state.state, state.code, state.reason, state.job) == ("done", 0, "", "t1")
    assert state.host == os.uname().nodename and abs(state.end - time.time()) < 60 and state.start <= state.end
    assert Path(product).read_text() == "a 'b' $c\n"
    assert Path(bench.file("c/list.txt")).read_text() == "one\n'two' $(x)\n"
    assert "\nalive\n" in bench.paths.out.read_text() and bench.paths.err.read_text() == "oops\n"
    assert bench.dropped() == {"fs~TS_01~1~running", "fs~TS_01~1~done"}
    mark = read_start(bench.paths.start)
    assert mark is not None and mark.job == "t1" and mark.pid > 0 and mark.pid_start > 0
    assert mark.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    text = bench.paths.script.read_text()
    assert "# REHEARSAL" in text and "fs, tilt series TS_01, attempt 1. Written by crboost 1.0" in text
    assert not list(bench.paths.folder.glob("*.tmp")) and not list(bench.paths.folder.glob("*.claim.*"))


@pytest.mark.parametrize(
    ("text", "code", "words_of_reason"),
    [
        ("exit 3", 3, "exit code 3"),
        ("kill -KILL $$", 137, "out of memory"),
        ("kill -ABRT $$", 134, "SIGABRT"),
        ("kill -TERM $$", 143, "SIGTERM"),
    ],
)
def test_a_command_that_fails(bench: Bench, text: str, code: int, words_of_reason: str) -> None:
    later = bench.file("later")
    state = bench.run(Work(commands=(bench.bash(text), bench.bash(f"touch '{later}'"))))
    assert (state.state, state.code, state.step) == ("failed", code, "command 1 of 2: bash")
    assert words_of_reason in state.reason
    assert not Path(later).exists()
    assert "fs~TS_01~1~failed" in bench.dropped()


def test_a_program_that_is_not_there(bench: Bench) -> None:
    state = bench.run(Work(commands=(Command("host", ("no such program",), str(bench.project)),)))
    assert state.state == "failed" and state.code == 127 and "not found" in state.reason


def test_a_refused_command_line_counts_as_failed_although_the_exit_code_is_0(bench: Bench) -> None:
    marker = "Running command fs_motion with:"
    good = bench.bash(f"echo x; echo '{marker}'", alive_marker=marker)
    refused = bench.bash(
        "echo 'ERROR(S):'; echo; echo '  Option '\\''frobnicate'\\'' is unknown.'", alive_marker=marker
    )
    state = bench.run(Work(commands=(good, refused)))
    assert state.state == "failed" and state.step.startswith("command 2 of 2")
    assert "refused its command line: ERROR(S): /   Option 'frobnicate' is unknown." in state.reason
    assert bench.run(Work(commands=(good,)), number=2).state == "done"


def test_a_command_that_would_hang_is_ended(bench: Bench) -> None:
    watched = bench.file("tasks/TS_01/queue/blacklisted_nodes")
    Path(watched).mkdir(parents=True)
    (Path(watched) / "node of an earlier run").touch()
    hang = bench.bash(
        f"sleep 0.2; mkdir -p '{watched}'; touch '{watched}/node7'; sleep 300 & sleep 300", watch_folders=(watched,)
    )
    begun = time.monotonic()
    state = bench.run(Work(commands=(hang,)))
    assert state.state == "failed" and "would have hung" in state.reason and state.reason.endswith("node7 appeared.")
    assert time.monotonic() - begun < 10
    assert bench.run(Work(commands=(bench.bash("true", watch_folders=(watched,)),)), number=2).state == "done"


def test_products_that_are_missing_empty_or_old(bench: Bench) -> None:
    product = bench.file("p")
    work = Work(commands=(bench.bash("true"),), products=(Product((product,)),))
    assert "is missing: " + product in bench.run(work).reason
    Path(product).touch()
    assert "is empty" in bench.run(work, 2).reason
    Path(product).write_text("just written, in the same second and perhaps in the same tick")
    state = bench.run(work, 3)
    assert state.state == "failed" and state.step == "products" and "older than this attempt" in state.reason
    assert bench.run(Work(products=(Product((product,), Check.ANY_AGE),)), 4).state == "done"
    assert "must not be there" in bench.run(Work(products=(Product((product,), Check.ABSENT),)), 5).reason
    assert bench.run(Work(products=(Product((product + "x",), Check.ABSENT),)), 6).state == "done"
    os.utime(product, (time.time() + 3600, time.time() + 3600))
    assert "in the future" in bench.run(work, 7).reason


def test_a_staged_copy_is_no_product_until_it_is_rewritten(bench: Bench) -> None:
    source, copy = bench.project / "TS_01.xml", bench.file("xml/TS_01.xml")
    source.write_text("<TiltSeries>\n</TiltSeries>\n")
    source.chmod(0o444)
    stage = (Copy(copy, str(source)),)
    products = (Product((copy,), Check.XML),)
    assert "older" in bench.run(Work(stage, (bench.bash("true"),), products)).reason
    assert bench.run(Work(stage, (bench.bash(f"echo '<A>\n</A> ' > '{copy}'"),), products), 2).state == "done"
    assert source.read_text().startswith("<TiltSeries>")


def test_at_least_some_products(bench: Bench) -> None:
    files = tuple(bench.file(f"{n}.txt") for n in range(5))
    command = bench.bash(f"for n in 1 3; do echo > '{bench.job}/'$n.txt; done")
    assert bench.run(Work(commands=(command,), products=(Product(files, at_least=2),))).state == "done"
    state = bench.run(Work(commands=(command,), products=(Product(files, at_least=3),)), 2)
    assert state.reason == f"The product is missing: {files[0]} (whole: 2, needed: 3)"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (mrc(4, 3, 2, 2, 96), ""),
        (mrc(4, 3, 2, 2, 95), "cut short (1119 bytes for 4 x 3 x 2, mode 2)"),
        (mrc(4, 3, 2, 2, 48), "cut short"),
        (mrc(4, 3, 2, 2, 200), ""),
        (mrc(4, 3, 2, 2, 96, extended=512), ""),
        (mrc(4, 3, 2, 2, 95, extended=512), "cut short"),
        (mrc(5, 3, 1, 0, 15), ""),
        (mrc(5, 3, 1, 0, 14), "cut short"),
        (mrc(4, 3, 2, 1, 48), ""),
        (mrc(4, 3, 2, 6, 47), "cut short"),
        (mrc(4, 3, 2, 12, 48), ""),
        (mrc(5, 3, 2, 101, 18), ""),
        (mrc(5, 3, 2, 101, 17), "cut short"),
        (mrc(2000000000, 2000000000, 2000000000, 2, 96), "no MRC file"),
        (mrc(4, 3, 2, 77, 96), "no MRC file"),
        (b"short", "no whole MRC file (5 bytes)"),
    ],
)
def test_mrc_products_are_as_long_as_their_header_says(bench: Bench, content: bytes, reason: str) -> None:
    good, product, source = bench.file("0.mrc"), bench.file("1.mrc"), bench.project / "source"
    source.write_bytes(content)
    (bench.project / "good").write_bytes(mrc(4, 3, 2, 2, 96))
    command = bench.bash(f"cat good > '{good}'; cat source > '{product}'; cat good > '{good}2'")
    state = bench.run(Work(commands=(command,), products=(Product((good, product, good + "2"), Check.MRC),)))
    if reason:
        assert reason in state.reason and product in state.reason and "(whole: 2, needed: 3)" in state.reason
    else:
        assert state.state == "done", state.reason


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        ('\ufeff<?xml version="1.0"?>\r\n<Movie A="1">\r\n  <B />\r\n</Movie>\r\n', True),
        ("<Movie><B></B></Movie>", True),
        ("<Movie>\n<B></B>\n</Mov", False),
        ("<Movie>\n<B></B>\n", False),
        ("nothing", False),
    ],
)
def test_xml_products_have_their_closing_root_tag(bench: Bench, content: str, whole: bool) -> None:
    files = [bench.file(f"{n} =x.xml") for n in range(3)]
    (bench.project / "good").write_text("<Movie>\n</Movie>\n")
    (bench.project / "source").write_text(content)
    command = bench.bash(f"cat good > '{files[0]}'; cat source > '{files[1]}'; cat good > '{files[2]}'")
    state = bench.run(Work(commands=(command,), products=(Product(tuple(files), Check.XML),)))
    assert (state.state == "done") == whole
    assert whole or f"{files[1]} (whole: 2, needed: 3)" in state.reason


def test_products_with_words(bench: Bench) -> None:
    product = bench.file("a.star")
    command = bench.bash(f"printf 'data_particles\\n_rlnTomoName #1\\n' > '{product}'")
    assert (
        bench.run(
            Work(
                (),
                (command,),
                (
                    Product(
                        (product,),
                        Check.WORDS,
                        ("_rlnTomoName", "data_"),
                    ),
                ),
            )
        ).state
        == "done"
    )
    state = bench.run(
        Work(
            (),
            (command,),
            (
                Product(
                    (product,),
                    Check.WORDS,
                    ("data_", "it's $(not)"),
                ),
            ),
        ),
        2,
    )
    assert "without it's $(not)" in state.reason


def test_inputs_that_are_not_visible_block(bench: Bench) -> None:
    later = bench.file("later")
    work = Work(commands=(bench.bash(f"touch '{later}'"),), inputs=(bench.file("in/put"),))
    state = bench.run(work)
    assert (state.state, state.step) == ("blocked", "inputs")
    assert bench.file("in/put") in state.reason and not Path(later).exists()
    assert "fs~TS_01~1~blocked" in bench.dropped()


def test_an_input_that_becomes_visible_late(bench: Bench) -> None:
    late = Path(bench.file("late/input"))
    paths = bench.write(Work(inputs=(str(late),)), visible_seconds=20)
    process = bench.start(paths)
    time.sleep(0.5)
    assert read_state(paths.state) is None
    late.parent.mkdir()
    late.touch()
    process.wait(20)
    state = read_state(paths.state)
    assert state is not None and state.state == "done"


def test_stage_operations(bench: Bench) -> None:
    data = bench.project / "data"
    data.mkdir()
    names = ["a b.eer", "-dash.eer", "$(x).eer", "ü.eer"]
    for name in names:
        (data / name).write_text(name)
    old = Path(bench.file("old/average/x.mrc"))
    old.parent.mkdir(parents=True)
    old.write_text("old")
    upstream = bench.project / "upstream.txt"
    upstream.write_text("upstream")
    Path(bench.file("list.txt")).symlink_to(upstream)
    Path(bench.file("copy.txt")).symlink_to(upstream)
    Path(bench.file("relinked")).symlink_to("/nowhere")
    stage: tuple[StageOperation, ...] = (
        MoveAside(bench.file("old")),
        MoveAside(bench.file("never there")),
        MakeFolder(bench.file("old")),
        *(Link(bench.file(f"frames/{name}"), str(data / name)) for name in names),
        Link(bench.file("relinked"), str(data)),
        Copy(bench.file("copies"), str(data), "*.eer"),
        Copy(bench.file("copy.txt"), str(data / "a b.eer")),
        Copy(bench.file("same/a b.eer"), str(data / "a b.eer")),
        WriteText(bench.file("list.txt"), "text"),
        WriteText(bench.file("empty.txt"), ""),
    )
    assert bench.run(Work(stage)).state == "done"
    for name in names:
        assert Path(bench.file(f"frames/{name}")).readlink() == data / name
        assert Path(bench.file(f"copies/{name}")).read_text() == name
    assert Path(bench.file("relinked")).resolve() == data
    assert upstream.read_text() == "upstream"
    assert Path(bench.file("list.txt")).read_text() == "text" and Path(bench.file("copy.txt")).read_text() == "a b.eer"
    assert (bench.paths.aside / "old/average/x.mrc").read_text() == "old"
    assert list(Path(bench.file("old")).iterdir()) == []
    assert bench.run(Work(stage), 2).state == "done"
    Path(bench.file("frames/ü.eer")).unlink()
    Path(bench.file("frames/ü.eer")).write_text("a real file")
    state = bench.run(Work(stage), 3)
    assert state.state == "failed" and state.step == "stage" and "frames/ü.eer" in state.reason


def test_a_script_that_runs_twice_at_once_works_once(bench: Bench) -> None:
    log = bench.file("log")
    for number in range(1, 9):
        paths = bench.write(Work(commands=(bench.bash(f"echo {number} >> '{log}'; sleep 0.05"),)), number)
        slurm = ("", "") if number % 2 else ("41", "42")
        processes = [bench.start(paths, "same token", id_) for id_ in slurm]
        outputs = [process.communicate(timeout=30)[0] for process in processes]
        assert sorted(process.returncode for process in processes) == [0, 0]
        assert sum(b"duplicate" in output for output in outputs) == 1
        assert f"fs~TS_01~{number}~duplicate" in bench.dropped()
        state = read_state(paths.state)
        assert state is not None and state.state == "done"
    assert Path(log).read_text().split() == [str(number) for number in range(1, 9)]


def test_the_same_id_continues_after_a_requeue_and_an_end_is_final(bench: Bench) -> None:
    product, log = bench.file("p"), bench.file("log")
    paths = bench.write(
        Work((), (bench.bash(f"echo run >> '{log}'; echo > '{product}'; sleep 0.4"),), (Product((product,)),))
    )
    first = bench.start(paths, slurm="77")
    while not Path(log).exists():
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert read_state(paths.state) is None
    other = bench.start(paths, slurm="78")
    assert b"duplicate" in other.communicate(timeout=30)[0]
    assert bench.start(paths, slurm="77").wait(30) == 0
    state = read_state(paths.state)
    assert state is not None and state.state == "done" and state.job == "77"
    assert bench.start(paths, slurm="77").wait(30) == 0
    assert Path(log).read_text() == "run\nrun\n"


def test_a_withdrawn_attempt_ends_as_duplicate_and_a_claimed_one_cannot_be_withdrawn(bench: Bench) -> None:
    marker = bench.file("ran")
    won = 0
    for number in range(1, 11):
        paths = bench.write(Work(commands=(bench.bash(f"touch '{marker}'{number}"),)), number)
        process = bench.start(paths)
        time.sleep(random.random() * 0.015)
        fenced = withdraw(paths)
        process.communicate(timeout=30)
        ran = Path(f"{marker}{number}").exists()
        assert ran != fenced and (read_state(paths.state) is not None) == ran
        assert withdraw(paths) == fenced
        won += fenced
    paths = bench.write(Work(), 11)
    assert withdraw(paths) and b"duplicate" in bench.start(paths).communicate(timeout=30)[0]


@pytest.mark.parametrize(
    ("number", "state"), [(signal.SIGTERM, "stopped"), (signal.SIGINT, "stopped"), (signal.SIGUSR2, "failed")]
)
@pytest.mark.parametrize("whole_session", [False, True])
def test_a_signal_ends_the_command_and_is_told(
    bench: Bench, number: signal.Signals, state: str, whole_session: bool
) -> None:
    pids = bench.file("pids")
    paths = bench.write(Work(commands=(bench.bash(f"sleep 300 & echo $! $$ > '{pids}'; wait"),)))
    process = bench.start(paths)
    while not Path(pids).exists() or len(Path(pids).read_text().split()) < 2:
        time.sleep(0.01)
    if whole_session:  # as Slurm does: the tool first
        for pid in reversed([*map(int, Path(pids).read_text().split())]):
            os.kill(pid, number)
        time.sleep(0.1)
    os.killpg(process.pid, number)
    assert process.wait(20) == (143 if state == "stopped" else 1)
    ended = read_state(paths.state)
    assert ended is not None and ended.state == state
    assert ("time limit" in ended.reason) == (number == signal.SIGUSR2)
    for pid in map(int, Path(pids).read_text().split()):
        assert not _runs(pid)


def test_what_a_command_leaves_behind_is_ended(bench: Bench) -> None:
    pids = bench.file("pids")
    assert bench.run(Work(commands=(bench.bash(f"sleep 300 & echo $! > '{pids}'"),))).state == "done"
    assert not _runs(int(Path(pids).read_text()))


def test_killed_at_any_moment_there_is_either_no_state_or_a_true_one(bench: Bench) -> None:
    product = bench.file("p")
    for number in range(1, 13):
        Path(product).unlink(missing_ok=True)
        paths = bench.write(
            Work((), (bench.bash(f"sleep 0.01; echo whole > '{product}'"),), (Product((product,)),)), number
        )
        process = bench.start(paths)
        time.sleep(random.random() * 0.06)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        state = read_state(paths.state)
        if state is not None:
            assert state.state == "done" and Path(product).read_text() == "whole\n"
        time.sleep(0.03)


def test_a_script_that_is_cut_off_does_nothing(bench: Bench) -> None:
    paths = bench.write(Work(commands=(bench.bash("true"),)))
    text = paths.script.read_text()
    paths.script.write_text(text[: len(text) * 3 // 4])
    bench.start(paths).wait(20)
    assert not paths.claim.exists() and not bench.dropped()


def test_a_job_id_is_told_as_it_is(bench: Bench) -> None:
    paths = bench.write(Work())
    bench.start(paths, 'ü "x" \\ 1').communicate(timeout=30)
    state, mark = read_state(paths.state), read_start(paths.start)
    assert state is not None and mark is not None and state.job == mark.job == 'ü "x" \\ 1'


def test_a_project_that_is_not_there(bench: Bench, tmp_path: Path) -> None:
    paths = bench.write(Work())
    script = tmp_path / "1.sh"
    shutil.copy(paths.script, script)
    shutil.rmtree(bench.project)
    assert subprocess.run(["bash", str(script)], capture_output=True).returncode == 90


def test_reasons_are_whole_json(bench: Bench) -> None:
    name = bench.file('we "said"\n\\x\ty')
    state = bench.run(Work(products=(Product((name,)),)))
    assert state.reason == f'The product is missing: {bench.job}/we "said" \\x y (whole: 0, needed: 1)'
    json.loads(bench.paths.state.read_text())


def test_the_script_itself_takes_little_time(bench: Bench) -> None:
    """41 movies with 4 products each, as a motion correction task has."""
    bench.job.joinpath("src").mkdir()
    (bench.project / "x.mrc").write_bytes(mrc(4, 4, 1, 2, 64))
    (bench.project / "x.xml").write_text(
        "<Movie>\n" + '<Node X="0.25" Y="0.75" Z="0.5" Value="0.0123" />\n' * 500 + "</Movie>\n"
    )
    movies = [bench.project / f"movie_{n}.eer" for n in range(41)]
    for movie in movies:
        movie.touch()
    kinds = [("average", "mrc"), ("even", "mrc"), ("power", "mrc"), ("xml", "xml")]
    products = tuple(
        Product(tuple(bench.file(f"{folder}/{n}.{kind}") for n in range(41)), Check(kind)) for folder, kind in kinds
    )
    script = bench.project / "make.py"
    script.write_text(
        "import sys\n"
        f"for folder, kind in {kinds}:\n"
        "    data = open('x.' + kind, 'rb').read()\n"
        "    for n in range(41):\n"
        f"        open(f'{bench.job}/{{folder}}/{{n}}.{{kind}}', 'wb').write(data)\n"
    )
    stage: tuple[StageOperation, ...] = (
        *(MakeFolder(bench.file(folder)) for folder, _ in kinds),
        *(Link(bench.file(f"frames/{movie.name}"), str(movie)) for movie in movies),
    )
    command = Command("host", ("python3", "-S", "make.py"), str(bench.project))
    inputs = tuple(map(str, movies))
    times = []
    for number in range(1, 6):
        paths = bench.write(Work(stage, (command,), products, inputs), number)
        begun = time.perf_counter()
        bench.start(paths).wait(30)
        times.append(time.perf_counter() - begun)
        state = read_state(paths.state)
        assert state is not None and state.state == "done", state
    begun = time.perf_counter()
    subprocess.run(["python3", "-S", "make.py"], cwd=bench.project, check=True)
    alone = time.perf_counter() - begun
    print(f"overhead {min(times) - alone:.3f} s")
    assert min(times) - alone < 0.2  # 0.06 on a quiet machine


TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=30)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(
    ["", "-n", "a b", "'", "''", '"', "$(touch x)", "`x`", "\\", "a\nb\n", "é", "~", "*", "!", "#", "A=b", "\x7f\x01"]
)
@given(st.lists(TEXT, max_size=6))
def test_bash_reads_back_every_argument(arguments: list[str]) -> None:
    text = f"printf '%s\\0' {words(arguments)} end"
    result = subprocess.run(["bash", "-c", text], capture_output=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
    assert result.stdout.decode("utf-8").split("\0")[:-1] == [*arguments, "end"]
    assert result.stderr == b""


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(name="-r $(touch pwned) 'q' \"d\" \\ ü\n`x`", text="a\r\nb\x7f\x01", number=1)
@given(
    name=st.text(st.characters(exclude_characters="\0/~", codec="utf-8"), min_size=1, max_size=20).filter(
        lambda name: name not in (".", "..")
    ),
    text=TEXT,
    number=st.integers(1, 3),
)
def test_hostile_names_go_through_a_whole_script(
    tmp_path_factory: pytest.TempPathFactory, name: str, text: str, number: int
) -> None:
    bench = Bench(tmp_path_factory.mktemp("hostile"))
    product = bench.file(f"x/{name}")
    movie = bench.project / name
    movie.write_text("movie")
    work = Work(
        (Link(bench.file(f"links/{name}"), str(movie)), WriteText(bench.file(f"texts/{name}"), text)),
        (
            Command(
                "host",
                ("bash", "-c", 'mkdir -p -- "${1%/*}"; printf "%s" "$V.$2" > "$1"', "x", product, text),
                str(bench.project),
                (("V", text),),
            ),
        ),
        (Product((product,), Check.WORDS, (".",)),),
        (str(movie),),
    )
    paths = AttemptPaths(bench.job, name.replace("\n", " "), number)
    paths.folder.mkdir(parents=True, exist_ok=True)
    attempt = Attempt(paths, name, bench.project, bench.inbox, 0, note=f"{name}\nexit 7")
    paths.script.write_bytes(render(work, attempt, lambda command: command.argv).encode())
    process = bench.start(paths)
    output = process.communicate(timeout=30)[0]
    state = read_state(paths.state)
    assert state is not None and state.state == "done", (output, state)
    assert Path(product).read_bytes().decode() == f"{text}.{text}"
    assert Path(bench.file(f"texts/{name}")).read_bytes().decode() == text


def test_what_cannot_be_written_is_refused_with_a_sentence(bench: Bench) -> None:
    for bad in ("a\0b", "half \ud800"):
        with pytest.raises(InputError, match="contains"):
            quote(bad)
    with pytest.raises(InputError, match="environment variable"):
        variable("A B", "x")
    with pytest.raises(InputError, match="not absolute"):
        bench.write(Work(inputs=("relative/path",)))
    assert comment("a\nb\x1b[31m") == "a b [31m"


def test_long_commands_are_readable(bench: Bench) -> None:
    argv = ("WarpTools", "fs_motion", *(part for n in range(10) for part in (f"--option_number_{n}", f"{n} x")))
    text = render(
        Work(commands=(Command("host", argv, "/x"),)), Attempt(bench.paths, "fs", bench.project, bench.inbox), _argv
    )
    assert "        --option_number_3 '3 x' \\\n" in text


def test_commands_with_mpi_go_through_the_launcher(bench: Bench, tmp_path: Path) -> None:
    said = bench.file("said")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mpirun").write_text(f'#!/bin/bash\necho "mpirun $1 $2" >> "{said}"; shift 2; exec "$@"\n')
    (programs / "mpirun").chmod(0o755)
    path = (("PATH", f"{programs}:{os.environ['PATH']}"),)
    arguments = ("--name", "é 'q' $(touch x)\n", *(f"--option_{n}={n}" for n in range(20)))
    prints = ("bash", "-c", 'printf "%s|" "$V" "$@" >> "$0"', said, *arguments)
    work = Work(
        commands=(
            Command("relion", prints, str(bench.project), (("V", "v"),), mpi=True),
            bench.bash(f"echo alone >> '{said}'"),
            bench.bash("exit 3", mpi=True, may_fail=True),
            bench.bash("exit 4", mpi=True),
        )
    )
    state = bench.run(work, environment=path, ranks=3)
    assert (state.state, state.code, state.step) == ("failed", 4, "command 4 of 4: bash")
    expected = f"mpirun -n 3\nv|{'|'.join(arguments)}|alone\nmpirun -n 3\nmpirun -n 3\n"
    assert Path(said).read_text() == expected
    assert "ended with code 3" in bench.paths.err.read_text()

    # What the submission says comes first.
    Path(said).unlink()
    table = tmp_path / "table.sh"
    paths = bench.write(work, 2, environment=path, ranks=3)
    table.write_text(render_tasks([[paths.script]], f'echo srun >> {quote(said)}; "$@"', ""))
    subprocess.run(["bash", str(table)], env={"PATH": os.environ["PATH"]}, timeout=30, capture_output=True)
    assert Path(said).read_text() == expected.replace("mpirun -n 3", "srun")


def test_a_launched_command_is_ended_with_all_that_it_started(bench: Bench) -> None:
    pids = bench.file("pids")
    paths = bench.write(Work(commands=(bench.bash(f"sleep 300 & echo $! $$ > '{pids}'; wait", mpi=True),)))
    launch = 'bash -c "$crboost_words"'
    table = bench.project / "table.sh"
    table.write_text(render_tasks([[paths.script]], launch, ""))
    process = subprocess.Popen(["bash", str(table)], env={"PATH": os.environ["PATH"]}, start_new_session=True)
    while not Path(pids).exists() or len(Path(pids).read_text().split()) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR2)
    assert process.wait(30) == 1
    state = read_state(paths.state)
    assert state is not None and (state.state, state.code) == ("failed", 140)
    assert not any(_runs(pid) for pid in map(int, Path(pids).read_text().split()))


def test_without_mpi_a_script_knows_no_launcher(bench: Bench) -> None:
    attempt = Attempt(bench.paths, "fs", bench.project, bench.inbox, ranks=7)
    text = render(Work(commands=(bench.bash("true"),)), attempt, _argv)
    assert "crboost_launch" not in text.partition(COMMON)[0]


def test_what_starts_the_ranks_is_named_where_it_may_be_missing(bench: Bench) -> None:
    work = Work(commands=(bench.bash("exit 127", mpi=True),))
    state = bench.run(work, ranks=3)
    assert state.reason.startswith('bash, or what starts its ranks (mpirun -n 3 "$@"), was not found on ')
    paths = bench.write(work, 2)
    table = bench.project / "table.sh"
    table.write_text(render_tasks([[paths.script]], 'srunn --mpi=pmix "$@"', ""))
    subprocess.run(["bash", str(table)], env={"PATH": os.environ["PATH"]}, timeout=30, capture_output=True)
    told = read_state(paths.state)
    assert told is not None
    assert told.reason.startswith('bash, or what starts its ranks (srunn --mpi=pmix "$@"), was not found on ')
    alone = bench.write(Work(commands=(bench.bash("exit 127"), bench.bash("true", mpi=True))), 3)
    bench.start(alone).communicate(timeout=30)
    told = read_state(alone.state)
    assert told is not None and told.reason.startswith("bash was not found on ")


def _argv(command: Command) -> Sequence[str]:
    return command.argv


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
