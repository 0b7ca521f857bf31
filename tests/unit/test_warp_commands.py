"""What all WarpTools steps share: command lines, extra arguments, progress and reasons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.jobs import _warp
from core.jobs._base import TaskContext
from core.jobs.fs_motion_and_ctf import JOB_TYPE
from core.tools import catalogue
from tests.unit import job_parts

FOLDER = Path(__file__).parents[2] / "config" / "catalogues"


@pytest.fixture(autouse=True)
def warp() -> Iterator[catalogue.Catalogue]:
    catalogue.use(FOLDER)
    found = catalogue.default()
    assert found is not None
    yield found


def task(version: str = "head", attempt: int = 1, **acquisition: Any) -> TaskContext[Any]:
    job = job_parts.job_context(JOB_TYPE, Path("/p/my project"), "External/job002", version=version)
    context = job_parts.series_context(job, job_parts.series(count=5), job_parts.acquisition(**acquisition))
    return job_parts.task_context(job, context, attempt)


def create(extension: str = "*.tif", **acquisition: Any) -> tuple[str, ...]:
    made = task(**acquisition)
    assert made.series is not None
    return _warp.settings_command(
        made.job,
        made,
        output=Path("/p/a.settings"),
        folder_data=Path("/p/frames"),
        extension=extension,
        folder_processing=Path("/p/w"),
        acquisition=made.series.acquisition,
    ).argv


@pytest.mark.parametrize(
    ("value", "text"),
    [(10.0, "10"), (0.675, "0.675"), (-500.0, "-500"), (1e-5, "0.00001"), (-0.6, "-0.6"), (-0.0, "0"), (512, "512")],
)
def test_numbers_have_a_point_and_no_exponent(value: float, text: str) -> None:
    assert _warp.number_text(value) == text


@settings(max_examples=50)
@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_number_text_is_the_same_number(value: float) -> None:
    text = _warp.number_text(value)
    assert float(text) == value
    assert set(text) <= set("-.0123456789")


def after(words: tuple[str, ...], name: str) -> str:
    return words[words.index(name) + 1]


def test_exposure_is_always_given_because_its_default_is_1() -> None:
    assert after(create(), "--exposure") == "3"
    with pytest.raises(InputError, match="dose per tilt"):
        create(dose_per_tilt_e_per_a2=None)


def test_eer_frames_per_fraction_are_negative_and_only_for_eer() -> None:
    assert after(create("*.eer", eer_frames_per_fraction=32), "--eer_ngroups") == "-32"
    assert "--eer_ngroups" not in create("*.tif", eer_frames_per_fraction=32)
    with pytest.raises(InputError, match="EER frames per fraction"):
        create("*.eer", eer_frames_per_fraction=None)
    with pytest.raises(InputError, match="EER"):
        create("*.eer", eer_frames_per_fraction=0)


def test_gain_and_defects_are_absolute_and_flags_have_no_value(warp: catalogue.Catalogue) -> None:
    words = create(gain_path="/raw/gain.mrc", gain_flip_y=True, gain_transpose=True, defects_path="/raw/defects.txt")
    assert after(words, "--gain_path") == "/raw/gain.mrc"
    assert "--gain_flip_x" not in words
    assert "--gain_flip_y" in words and "--gain_transpose" in words
    assert warp.check(words, "head") == []
    with pytest.raises(InputError, match="absolute"):
        create(gain_path="gain.mrc")


def test_gain_flips_without_a_gain_are_not_passed() -> None:
    assert "--gain_flip_x" not in create(gain_flip_x=True)


def test_the_pattern_for_eer_is_exact() -> None:
    for extension in (".eer", "eer", "EER"):
        assert _warp.movie_pattern(job_parts.acquisition(movie_extension=extension)) == "*.eer"
    assert _warp.movie_pattern(job_parts.acquisition(movie_extension=None), ["a.b.tiff"]) == "*.tiff"
    with pytest.raises(InputError):
        _warp.movie_pattern(job_parts.acquisition(movie_extension=None))


def run(made: TaskContext[Any], *options: Any, verb: str = "ts_ctf", extra: str = "") -> tuple[str, ...]:
    return _warp.warp_command(made.job, made, verb, options, gpu=True, extra=extra).argv


def test_every_attempt_and_command_has_its_own_queue_in_head_only() -> None:
    first, second = run(task(attempt=1)), run(task(attempt=2))
    assert after(first, "--task_dir") == "/p/my project/External/job002/warp_tasks/TS_01/1/ts_ctf"
    assert after(first, "--task_dir") != after(second, "--task_dir")
    assert after(run(task(), verb="ts_stack"), "--task_dir") != after(first, "--task_dir")
    assert "--task_dir" not in run(task("dev39"))
    assert "--task_dir" not in run(task(), verb="change_selection")


def test_a_hanging_run_is_noticed() -> None:
    command = _warp.warp_command(task().job, task(), "ts_ctf", [], gpu=True)
    queue = after(command.argv, "--task_dir")
    assert command.watch_folders == (f"{queue}/blacklisted_nodes", f"{queue}/sick")
    assert command.alive_marker == "Running command ts_ctf with:"
    assert _warp.warp_command(task("dev39").job, task("dev39"), "ts_ctf", [], gpu=True).watch_folders == ()


def test_devices_are_never_named() -> None:
    assert "--device_list" not in run(task())


def test_option_values_become_words() -> None:
    words = run(
        task(),
        ("--fit_phase", True),
        ("--auto_hand", None),
        ("--use", False),
        ("--text", ""),
        ("--angle", -93.5),
        ("--name", "-x"),
        ("--list", [0, 1]),
        verb="change_selection",
    )
    assert words[2:] == ("--fit_phase", "--angle", "-93.5", "--name=-x", "--list", "0", "1")
    with pytest.raises(ValueError, match="twice"):
        run(task(), ("--a", 1), ("--a", 2))


def test_commands_that_are_distributed(warp: catalogue.Catalogue) -> None:
    known = {name for name, command in warp.commands.items() if command.distributed}
    assert known >= _warp.DISTRIBUTED
    assert not {"change_selection", "create_settings", "ts_import", "ts_import_alignments"} & _warp.DISTRIBUTED
    for verb, options in _warp.MANAGED.items():
        for option in options - _warp.COMMON_MANAGED:
            assert warp.commands[verb].option(option, "head"), (verb, option)


def test_data_behind_links_is_bound() -> None:
    command = _warp.warp_command(
        task().job, task(gain_path="/gains/g.mrc", defects_path="/gains/d.txt"), "ts_ctf", [], gpu=True
    )
    assert command.binds == ("/gains", "/raw/data")


def test_extra_arguments_go_to_the_command() -> None:
    assert run(task(), extra='--output "a b"', verb="filter_quality")[-2:] == ("--output", "a b")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("--task_dir /tmp", "set by the program"),
        ("--device_list 0", "set by the program"),
        ("--device_list=0", "set by the program"),
        ("--window 256 --window 512", "more than once"),
        ("--nonsense 3", "no option --nonsense"),
        ("--gird 1x1x1", "no option --gird"),
        ("--window 1e3", "not a whole number"),
        ("stray", "belongs to no option"),
        ("--window 512; rm -rf x", "shell syntax"),
        ("--window $(date)", "shell syntax"),
        ("--window `date`", "shell syntax"),
        ("--window 512\n--x", "shell syntax"),
        ("--window '512", "quotation mark"),
    ],
)
def test_extra_arguments_that_are_refused(text: str, part: str) -> None:
    problems = _warp.extra_argument_problems("fs_ctf", text)
    assert any(part in problem.sentence for problem in problems), problems
    assert all(problem.level == "error" and problem.fields == ("extra_arguments",) for problem in problems)
    with pytest.raises(InputError):
        run(task(), extra=text, verb="fs_ctf")


def test_extra_arguments_know_the_version() -> None:
    assert _warp.extra_argument_problems("fs_ctf", "--window 256", (), "dev39") == []
    assert _warp.extra_argument_problems("fs_ctf", "--window 256", ["--window"], "dev39")
    with pytest.raises(InputError, match="set by the program or by a field"):
        run(task(), ("--window", 512), extra="--window 256", verb="fs_ctf")


def test_grids_roots_and_lists() -> None:
    assert _warp.grid_size("2x2x1") == (2, 2, 1)
    assert _warp.grid_size("2X2x1") is None and _warp.grid_size("0x1x1") is None
    assert _warp.movie_root("a/TS_01_000_0.0.mrc") == "TS_01_000_0.0"
    assert _warp.tilt_list_text(["/a/b.tif", "/a/c d.tif"]) == "/a/b.tif\n/a/c d.tif\n"
    for path in ("relative.tif", "/a/b.tif ", "/a\n/b"):
        with pytest.raises(InputError):
            _warp.tilt_list_text([path])


def test_progress_is_that_of_the_running_distribution() -> None:
    text = (
        "Parsing previous results for each item, if available...\n0/5\r5/5, previous metadata found for 5\n"
        "Distributing 5 item(s) across up to 2 local worker(s)...\n0/5"
    )
    assert _warp.warp_progress("") is None
    assert _warp.warp_progress("Parsing...\n0/5\r5/5, previous metadata found for 5\n") is None
    assert _warp.warp_progress(text) == 0.0
    text += "\r1/5, 00:41 remaining\r2/5, 1 failed, 00:12 remaining"
    assert _warp.warp_progress(text) == pytest.approx(0.4)
    assert _warp.warp_progress("0/5[cluster] jobs: x\r3/5, 01.02:03:04 remaining\r4/5, 02:03:04 remaining") == 0.8
    text += "\r5/5, 00:00 remaining\nFinished processing in 00:01:03\n"
    assert _warp.warp_progress(text) == 1.0
    text += "Distributing 5 item(s) across up to 2 local worker(s)...\n0/5"
    assert _warp.warp_progress(text) == 0.0
    assert _warp.warp_progress(text + "\r1/5, 00:41 remaining") == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("out", "err", "cause"),
    [
        ("Option 'foo' is unknown.\n\n--settings  Required.", "", "Option 'foo' is unknown."),
        ("Required option 'settings' is missing.", "", "Required option 'settings' is missing."),
        ("File not found: /a/b.settings", "", "File not found: /a/b.settings"),
        (
            "",
            "[pool] task 0000000-ctf-TS_1 failed on n1 — will retry (attempt 2)\n[pool]   error: Gain size mismatch\n"
            "Unhandled exception. System.Exception: All items failed\n",
            "Gain size mismatch",
        ),
        ("", "Unhandled exception. System.Exception: No devices found or specified", "No devices found or specified"),
        ("", "Unhandled exception. System.IO.FileNotFoundException: no such list\n   at X", "no such list"),
        ("", "Failed to parse /a/TS_1.mdoc: average missing", "Failed to parse /a/TS_1.mdoc: average missing"),
        ("ERROR: TILTALIGN - Too few data points\n", "", "TILTALIGN - Too few data points"),
        ("all is well", "", ""),
    ],
)
def test_the_tools_own_reason_is_found(out: str, err: str, cause: str) -> None:
    assert cause in _warp.warp_cause(out, err)
    assert bool(cause) == bool(_warp.warp_cause(out, err))
    assert "\n" not in _warp.warp_cause(out, err)
