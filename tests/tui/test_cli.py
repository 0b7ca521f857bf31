"""The command line as a person or a script uses it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.dataset.registry import load_registry
from core.engine.decisions import load_decisions
from core.engine.lease import read_lease
from core.errors import InputError
from core.project.file import load
from core.project.layout import ProjectPaths
from crboost_tui.cli import GROUPS
from crboost_tui.main import main
from tests.rehearsed import rehearsal
from tests.tui import seed

REPOSITORY = Path(__file__).resolve().parents[2]


def crboost(
    *arguments: str, cwd: Path = REPOSITORY, encoding: str = "utf-8", stdin: int = subprocess.DEVNULL
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, "-P", "-m", "crboost_tui.main", *arguments],
        cwd=cwd, env=environment, capture_output=True, encoding="utf-8", stdin=stdin, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new project without data."""
    root = tmp_path / "ribosome"
    assert main(["new", str(root)]) == 0
    return root


def test_the_next_command_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", str(tmp_path / "two words")]) == 0
    assert capsys.readouterr().err.endswith(f"Next: crboost plan '{tmp_path}/two words'\n")


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("crboost: ")
    assert "Traceback" not in told.err
    return told.err.strip()


def test_every_command_is_there_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for group in GROUPS.values():
        for name in group:
            with pytest.raises(SystemExit) as ended:
                main([name, "--help"])
            assert ended.value.code == 0
            assert f"usage: crboost {name}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["status", "--nonsense"], ["render", "one"], ["frobnicate"], ["logs"]])
def test_wrong_use_is_one_line_and_exit_code_2(arguments: list[str], tmp_path: Path) -> None:
    ended = crboost(*arguments, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("crboost: ")
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_folder_that_is_no_project(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert "not a project" in sentence(capsys)
    assert main(["status", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in sentence(capsys)


def test_the_project_is_found_from_inside(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    below = project / "frames" / "deeper"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == 1


def test_the_app_needs_a_terminal(project: Path) -> None:
    ended = crboost(str(project))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "crboost status" in ended.stderr


def test_set_writes_typed_values_and_says_the_version(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tsCtf.window=384", "instrument.voltage_kv=300", "acquisition.g1.pixel_size_angstrom=1.35"]
    assert main(["set", str(project), *words, "decisions.handedness=flip", "tsCtf.note=day: 3"]) == 0
    text = (project / "crboost.yaml").read_text(encoding="utf-8")
    for line in ("window: 384", "voltage_kv: 300.0", "pixel_size_angstrom: 1.35", "handedness: flip", "day: 3"):
        assert line in text
    assert main(["set", str(project), "--unset", "tsCtf.window"]) == 0
    assert "window" not in (project / "crboost.yaml").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["set", str(project), "--undo"]) == 0
    assert "window: 384" in (project / "crboost.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tsCtf.window=abc"], "window"),
        (["tsCtf.windo=512"], "Did you mean window?"),
        (["tsctf.window=512"], "tsCtf"),
        (["tsCtf.window"], "no value"),
        (["tsCtf.window=1", "oops"], "no value"),
        (["instrument.voltage_kv=many"], "voltage_kv"),
        (["instrument.volts=300"], "voltage_kv"),
        (["decisions.handedness=left"], "flip or no_flip"),
        (["tsCtf.resources.minutes=soon"], "minutes"),
        (["tsCtf.window.x.y=3"], "not the name of a value"),
        (["whatever=3"], "not the name of a value"),
        (["tsCtf.window=512", "--series", "TS_99"], "TS_99"),
    ],
)
def test_set_refuses_what_is_wrong_and_saves_nothing(
    project: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (project / "crboost.yaml").read_bytes()
    capsys.readouterr()
    assert main(["set", str(project), *words]) == 2
    assert told in sentence(capsys)
    assert (project / "crboost.yaml").read_bytes() == before


def test_new_refuses_a_folder_that_is_a_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["new", str(project)]) == 2
    assert "project already" in sentence(capsys)


def test_new_names_the_pipelines_that_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", str(tmp_path / "x"), "--pipeline", "warp"]) == 2
    assert "warp_to_tomograms" in sentence(capsys)
    assert main(["new", "--pipelines", "--json"]) == 0
    assert "warp_to_tomograms" in {each["name"] for each in json.loads(capsys.readouterr().out)}
    assert not (tmp_path / "x").exists()


def test_jobs_and_schema_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--json"]) == 0
    names = [each["name"] for each in json.loads(capsys.readouterr().out)]
    assert {"importmovies", "tsCtf", "tsReconstruct"} <= set(names)
    for name in names:
        assert main(["schema", name, "--json"]) == 0
        fields = json.loads(capsys.readouterr().out)["fields"]
        assert all(field["help"] for field in fields), name
        assert main(["schema", name, "--all"]) == 0
        capsys.readouterr()
    assert main(["schema", "tsctf"]) == 2


def test_a_plan_without_data_says_so_with_exit_code_2(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["plan", str(project), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert any("no tilt series" in problem["sentence"] for problem in told["problems"])


def test_run_refuses_a_plan_with_errors(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["run", str(project)]) == 2
    assert "no tilt series" in sentence(capsys)


def test_status_in_all_its_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(seed.write(tmp_path / "p", seed.waiting_for_you()))
    assert main(["status", root, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rehearsal"] is True
    assert told["jobs"][3]["causes"]["Position_3"].startswith("AreTomo2")
    assert main(["status", root]) == 0
    table = capsys.readouterr().out
    assert "REHEARSAL" in table
    assert "The handedness is unclear" in table
    assert "AreTomo2 ended with code 1" in table
    assert main(["status", root, "--oneline"]) == 0
    assert "✗1" in capsys.readouterr().out


def test_status_is_ascii_where_the_terminal_is(tmp_path: Path) -> None:
    root = str(seed.write(tmp_path / "p", seed.status()))
    for form in ([], ["--oneline"], ["--json"]):
        ended = crboost("status", root, *form, encoding="ascii")
        assert ended.returncode == 0
        assert ended.stdout.isascii()
    assert "Position_3" in crboost("status", root, encoding="ascii").stdout


def test_status_fits_the_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(seed.write(tmp_path / "p", seed.waiting_for_you(12)))
    for width in (80, 100, 120, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        assert main(["status", root]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= width


def test_watch_ends_when_no_engine_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(seed.write(tmp_path / "p", seed.finished()))
    assert main(["status", root, "--watch"]) == 0
    assert "succeeded" in capsys.readouterr().out


def test_logs_prints_the_output_and_says_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = seed.write(tmp_path / "p", seed.status())
    path = seed.write_log(root, "External/job004", "Position_3", "Patch 3\n", "no .aln\n")
    assert main(["logs", str(root), "aligntiltsWarp", "Position_3"]) == 0
    told = capsys.readouterr()
    assert told.err.strip() == str(path)
    assert main(["logs", str(root), "aligntiltsWarp", "Position_3", "--err", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "no .aln\n"
    assert main(["logs", str(root), "tsReconstruct", "Position_9"]) == 2
    assert "has not run" in sentence(capsys)
    assert main(["logs", str(root), "tsCtf", "Position_99"]) == 2
    assert main(["logs", str(root), "aligntiltsWarp", "Position_3", "--attempt", "7"]) == 2


def test_a_preset_is_spelt_out_and_can_be_changed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", str(project.with_name("second")), "--pipeline", "warp_to_tomograms"]) == 0
    root = project.with_name("second")
    assert main(["set", str(root), "tsCtf.resources=large", "tsCtf.resources.minutes=33"]) == 0
    resources = next(one.resources for one in load(root).model.pipeline if one.id == "tsCtf")
    assert resources == {"nodes": 1, "cpus": 8, "gpus": 4, "memory_gb": 64, "minutes": 33}
    assert main(["set", str(root), "resources=small"]) == 0
    assert load(root).model.resources["memory_gb"] == 16
    capsys.readouterr()
    assert main(["set", str(root), "tsCtf.resources=lage"]) == 2
    assert "Did you mean 'large'?" in sentence(capsys)


def test_config_shows_origins(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / ".crboost" / "conf.yaml").write_text("local: {cpus: 3}\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["config", str(project), "--json"]) == 0
    found = {each["setting"]: each for each in json.loads(capsys.readouterr().out)}
    assert found["local.cpus"]["value"] == 3
    assert "conf.yaml" in found["local.cpus"]["origin"]


def test_config_and_pipelines_read_well_at_80_columns(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".crboost" / "conf.yaml").write_text(
        "tools: {relion: {container: true, path: /images/relion.sif, binds: [/a/long/folder, /another/long/folder]}}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    assert main(["config", str(project)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in told if line.startswith(" ")) <= 80
    origin = next(number for number, line in enumerate(told) if line.endswith(".crboost/conf.yaml"))
    assert told[origin + 1].startswith("  tools.relion")
    assert main(["new", "--pipelines"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    root = seed.write(tmp_path / "p", seed.status(3000))
    line = f"{sys.executable} -P -m crboost_tui.main status {root} | head -n 1; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", line], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert ended.stderr == ""


def test_an_error_of_ours_is_kept_in_a_file(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("crboost_tui.cli.status.load_status", broken, raising=False)
    capsys.readouterr()
    import crboost_tui.cli.status as module

    monkeypatch.setattr(module, "load_status", broken)
    assert main(["status", str(project)]) == 2
    told = sentence(capsys)
    kept = list((tmp_path / "state" / "crboost").glob("crash-*.txt"))
    assert len(kept) == 1
    assert str(kept[0]) in told
    assert "ZeroDivisionError" in kept[0].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], ("textual", "pydantic", "yaml", "numpy", "pandas", "rich", "asyncio")),
        (["status", "--help"], ("textual", "pydantic", "numpy", "pandas", "rich")),
        (["status", "PROJECT", "--json"], ("textual", "pydantic", "numpy", "pandas", "starfile", "rich")),
        (["plan", "PROJECT"], ("textual", "numpy", "pandas", "starfile", "tifffile", "rich")),
    ],
)
def test_a_command_loads_only_what_it_needs(arguments: list[str], absent: tuple[str, ...], project: Path) -> None:
    words = [str(project) if word == "PROJECT" else word for word in arguments]
    code = (
        "import sys\nfrom crboost_tui.main import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {absent!r} if name in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.stderr.strip().splitlines()[-1] == "[]"


def test_the_app_loads_no_table_library() -> None:
    code = (
        "import sys\nimport crboost_tui.app, crboost_tui.screens.monitor, crboost_tui.screens.task\n"
        "import crboost_tui.screens.projects, core.engine.reading\n"
        "print([name for name in ('numpy', 'pandas', 'starfile', 'tifffile') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    assert ended.stdout.strip() == "[]"


def test_series_tilts_and_groups_that_are_not_there_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3)
    name = load_registry(ProjectPaths(root).registry).series[0].id
    capsys.readouterr()
    assert main(["exclude", str(root), "--tilts", f"{name}:999"]) == 2
    assert sentence(capsys) == f"crboost: {name} has no tilt 999. Its tilts are: 000, 001, 002."
    for words in (["--tilts", "nosuch:000"], ["--series", "nosuch"]):
        assert main(["exclude", str(root), *words]) == 2
        assert f"There is no tilt series nosuch. There are: {name}, " in sentence(capsys)
    assert main(["set", str(root), "acquisition.nosuch.pixel_size_angstrom=1"]) == 2
    assert "There is no acquisition group 'nosuch'. There are: " in sentence(capsys)
    assert not ProjectPaths(root).wanted.exists()


def test_render_writes_nothing_and_names_the_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = rehearsal(tmp_path, series=2, tilts=3)
    names = [one.id for one in load_registry(ProjectPaths(root).registry).series]
    shutil.rmtree(ProjectPaths(root).state / "standins")
    before = sorted(root.rglob("*"))
    capsys.readouterr()
    assert main(["render", str(root), "fsMotionAndCtf", names[0]]) == 0
    assert "standins/warptools.py" in capsys.readouterr().out
    assert main(["render", str(root), "tsCtf", "nosuch"]) == 2
    assert sentence(capsys) == f"crboost: tsCtf has no task nosuch. There are: {', '.join(names)}."
    assert sorted(root.rglob("*")) == before
    assert main(["status", str(root)]) == 0
    assert "0 of 2 series" in capsys.readouterr().out


def test_a_folder_that_may_not_be_read_is_no_error_of_ours(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def locked(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(project / ".crboost" / "status.json"))

    monkeypatch.setattr("core.engine.reading.load_snapshot", locked)
    capsys.readouterr()
    assert main(["status", str(project)]) == 2
    told = sentence(capsys)
    assert told.startswith(f"crboost: {project / '.crboost' / 'status.json'}: ")
    assert told.endswith("(Permission denied): ask its owner for permission.")


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"format": 2, "decisions": []}', "newer version"), ("[]", "move it away"), ("{", "move it away")],
)
def test_decisions_that_cannot_be_read(tmp_path: Path, text: str, said: str) -> None:
    root = tmp_path / "p"
    assert main(["new", str(root)]) == 0
    paths = ProjectPaths(root)
    paths.decisions.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        load_decisions(paths, load(root).model)
    assert "object" not in str(caught.value)


def test_a_binary_lease_is_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="move it away"):
        read_lease(path)
