"""What doctor says of Python, the terminal, an engine's life after logout, and file systems."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from core.checks import engine, places, python, terminal
from core.checks.findings import Finding
from core.checks.settings import shipped
from core.checks.space import MARGIN, needed_bytes
from core.checks.surroundings import Screen, Surroundings
from core.engine.ledger import Ledger
from core.engine.plan import make_plan
from core.engine.states import TaskState
from core.engine.status import save_status
from core.project.file import load
from core.project.layout import ProjectPaths
from core.project.site import EngineHost, Watch
from core.quality.geometry import tomogram_dimensions_px
from tests.synthetic import DATA, make_project

REPOSITORY = Path(__file__).resolve().parents[2]


def around(*, cells: tuple[int, int] = (120, 40), encoding: str = "utf-8", tty: bool = True) -> Surroundings:
    return Surroundings(DATA, REPOSITORY, Screen(tty, *cells, encoding), shipped(DATA))


def states(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.name, finding.state) for finding in findings]


# Python


def test_the_packages_that_crboost_needs_are_there_and_can_be_imported() -> None:
    (found,) = python.packages(around())
    assert found.state == "ok"
    for name in ("numpy", "pydantic", "pyyaml", "starfile", "textual", "watchfiles"):
        assert name in found.found


@pytest.mark.parametrize(
    ("found", "rules", "good"),
    [
        ("2.10", ">=2.10,<3", True),
        ("2.9.3", ">=2.10,<3", False),
        ("3.0", ">=2.10,<3", False),
        ("8.2.8", "==8.2.8", True),
        ("8.2.9", "==8.2.8", False),
        ("1.26.0rc1", ">=1.26", True),
        ("1.0", ">1,!=1.5", False),
        ("4", "", True),
    ],
)
def test_versions_are_compared_as_numbers(found: str, rules: str, good: bool) -> None:
    assert python.fits(found, rules) is good


def test_another_core_than_the_one_beside_the_command_line_is_failed(tmp_path: Path) -> None:
    (found,) = python.ours(replace(around(), program=tmp_path))
    assert found.state == "failed" and "PYTHONPATH" in found.advice
    (found,) = python.ours(around())
    assert found.state == "ok"


# Terminal


def test_a_terminal_that_shows_everything() -> None:
    environment = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    assert states(list(terminal.size_and_text(around()))) == [("size", "ok"), ("text", "ok")]
    assert states(list(terminal.colours(around(), environment))) == [("colours", "ok")]


def test_a_small_terminal_without_utf8_and_colours() -> None:
    poor = around(cells=(79, 24), encoding="ANSI_X3.4-1968")
    assert states(list(terminal.size_and_text(poor))) == [("size", "warning"), ("text", "warning")]
    for environment in ({}, {"TERM": "dumb"}, {"TERM": "vt100"}):
        assert states(list(terminal.colours(poor, environment))) == [("colours", "warning")]
    assert states(list(terminal.colours(poor, {"TERM": "xterm", "NO_COLOR": "1"}))) == [("colours", "ok")]


def test_output_that_is_no_terminal_is_no_fault() -> None:
    piped = around(cells=(0, 0), tty=False)
    assert all(finding.state == "ok" for finding in terminal.size_and_text(piped))
    assert list(terminal.colours(piped, {})) == [] and list(terminal.pictures(piped, {})) == []


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "kitty"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "230800"}, "sixel"),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "211200"}, ""),
        ({"TERM": "xterm-256color"}, ""),
    ],
)
def test_the_image_protocol_is_guessed_from_the_environment(environment: dict[str, str], protocol: str) -> None:
    assert terminal.picture_protocol(environment) == protocol


def test_the_settings_of_tmux_are_told_with_the_lines_that_change_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tmux"
    program.write_text(
        '#!/bin/sh\ncase "$*" in\n-V) echo tmux 3.4 ;;\n*client_term*) echo "xterm-256color clipboard,focus" ;;\n'
        "*focus-events*) echo off ;;\n*passthrough*) echo on ;;\n*escape-time*) echo 500 ;;\n*) exit 1 ;;\nesac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = list(terminal.tmux(around(), {"TMUX": "/tmp/tmux-1/default,1,0"}))
    assert [finding.state for finding in found] == ["ok", "warning", "warning", "warning"]
    advice = " ".join(finding.advice for finding in found)
    assert "terminal-features ',xterm-256color:RGB'" in advice
    assert "focus-events on" in advice and "escape-time 20" in advice and "passthrough" not in advice


# Engine


def test_the_drop_ins_of_logind_win_over_its_files(tmp_path: Path) -> None:
    vendor, etc = tmp_path / "usr" / "logind.conf", tmp_path / "etc" / "logind.conf"
    for file in (vendor, etc):
        file.parent.mkdir()
        (file.parent / "logind.conf.d").mkdir()
    vendor.write_text("[Login]\n#KillUserProcesses=yes\nKillUserProcesses = no\n")
    assert engine.logind_value("KillUserProcesses", (vendor, etc)) == "no"
    (vendor.parent / "logind.conf.d" / "50-site.conf").write_text("[Login]\nKillUserProcesses=yes\n")
    etc.write_text("[Login]\nKillUserProcesses=no\n")
    assert engine.logind_value("KillUserProcesses", (vendor, etc)) == "yes"
    (etc.parent / "logind.conf.d" / "50-site.conf").write_text("[Login]\nKillUserProcesses=no\n")
    assert engine.logind_value("KillUserProcesses", (vendor, etc)) == "no"
    assert engine.logind_value("KillExcludeUsers", (vendor, etc)) == ""


def test_the_lowest_limit_of_all_control_groups_above_counts(tmp_path: Path) -> None:
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    own.write_text("1:cpu:/old\n0::/user.slice/user-1000.slice/session-3.scope\n")
    session = root / "user.slice" / "user-1000.slice" / "session-3.scope"
    session.mkdir(parents=True)
    (session / "pids.max").write_text("max\n")
    (session.parent / "pids.max").write_text("120\n")
    (session.parent / "memory.max").write_text("4000000000\n")
    (session.parent.parent / "memory.max").write_text("900000000\n")
    assert engine.group_limits(own, root) == {"pids.max": 120, "memory.max": 900_000_000}
    own.write_text("1:cpu:/old\n")
    assert engine.group_limits(own, root) == {}


def test_narrow_limits_are_warnings_that_say_what_to_use_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "group_limits", lambda: {"pids.max": 120, "memory.max": 500_000_000})
    found = [finding for finding in engine.limits(around()) if finding.state == "warning"]
    assert [finding.name for finding in found] == ["processes", "memory"]
    assert all("host: slurm" in finding.advice and "--once" in finding.advice for finding in found)


def test_an_engine_that_slurm_hosts_has_no_limits_here() -> None:
    hosted = around()
    hosted = replace(hosted, site=replace(hosted.site, engine=EngineHost(host="slurm")))
    assert states(list(engine.survives_logout(hosted))) == [("logout", "ok")]
    assert list(engine.limits(hosted)) == []


# File systems


def found_at(surroundings: Surroundings, name: str, raw: tuple[str, ...] = ()) -> list[Finding]:
    return [finding for check in places.checks(surroundings, raw) if check.name == name for finding in check.look()]


def test_locks_are_really_tried_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = found_at(around(), "scratch")
    assert states(found) == [("scratch", "ok"), ("scratch locks", "ok")]
    assert found[1].found == "hard links, mkdir and flock work"
    assert list(tmp_path.iterdir()) == []


def test_a_project_without_hard_links_is_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_project(tmp_path / "p", 1)

    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    found = found_at(replace(around(), root=root, project=load(root).model), "project")
    assert states(found)[-1] == ("project locks", "failed")
    assert "hard links do not work" in found[-1].found


def test_how_changes_are_seen_follows_kind_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "kind_of", lambda path, mounts: "nfs4")
    (found,) = found_at(around(), "data", (str(tmp_path),))
    assert found.found.endswith("nfs4, looked at every 2 s")
    monkeypatch.setattr(places, "kind_of", lambda path, mounts: "xfs")
    (found,) = found_at(around(), "data", (str(tmp_path),))
    assert found.found.endswith("xfs, announces changes")
    polling = around()
    polling = replace(polling, site=replace(polling.site, watch=Watch(mode="poll", seconds=5.0)))
    (found,) = found_at(polling, "data", (str(tmp_path),))
    assert found.found.endswith("xfs, looked at every 5 s")


def test_data_that_are_gone_are_failed_and_relink_is_named(tmp_path: Path) -> None:
    (found,) = found_at(around(), "data", (str(tmp_path / "gone"),))
    assert found.state == "failed" and "crboost relink" in found.advice


def test_the_folders_with_most_movies_are_looked_at(tmp_path: Path) -> None:
    assert places.raw_folders(make_project(tmp_path / "p", 2)) == ["/data/session/frames"]
    assert places.raw_folders(tmp_path) == []


def test_the_space_that_a_project_needs_follows_from_its_registry(tmp_path: Path) -> None:
    root = make_project(tmp_path / "p", 2, tilts=41)
    width, height, pixel = 3708, 3838, 1.35
    size = tomogram_dimensions_px((width, height), 85.3, 2000.0, pixel)
    project = load(root).model
    align = next(one for one in project.pipeline if one.type == "aligntiltsWarp")
    kind = make_plan(root, DATA).jobs[align.id].bound.values
    size = tomogram_dimensions_px((width, height), 85.3, kind.tomogram_thickness, pixel)  # type: ignore[attr-defined]
    averages = 41 * width * height * 2 * 3
    stacks = 41 * width * height * (pixel / 10.0) ** 2 * 4 * 2
    tomograms = math.prod(size) * (pixel / 10.0) ** 3 * 2 * 3
    whole = 2 * (averages + stacks + tomograms) * MARGIN
    assert needed_bytes(root, project) == pytest.approx(whole)

    ledger = Ledger(ProjectPaths(root))
    ledger.adopt(make_plan(root, DATA), "test", False)
    for job in ledger.status.jobs:
        job.states = [TaskState.DONE.value, *job.states[1:]]
    save_status(ledger.paths, ledger.status)
    assert needed_bytes(root, project) == pytest.approx(whole / 2)


def test_too_little_space_is_said_and_below_the_limit_it_is_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(tmp_path / "p", 50)
    here = replace(around(), root=root, project=load(root).model)
    real = os.statvfs(root)

    def free(gb: float) -> None:
        blocks = int(gb * 1e9 / real.f_frsize)
        values = (*real[:4], blocks, *real[5:10])
        monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(values))

    free(100.0)
    assert states(found_at(here, "project"))[0] == ("project", "warning")
    free(1.0)
    found = found_at(here, "project")[0]
    assert found.state == "failed" and "min_free_gb" in found.advice
    free(10_000.0)
    assert states(found_at(here, "project"))[0] == ("project", "ok")


def test_the_limits_of_inotify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "max_user_watches").write_text("8192\n")
    (tmp_path / "max_user_instances").write_text("100000\n")
    (found,) = places.inotify(around(), tmp_path)
    assert found.state == "ok"
    (tmp_path / "max_user_instances").write_text("4\n")
    (found,) = places.inotify(around(), tmp_path)
    assert found.state == "warning"
    monkeypatch.setattr(places, "_can_watch", lambda: False)
    (found,) = places.inotify(around(), tmp_path)
    assert "no watcher can be made" in found.found
