"""What must hold of every definition file, as far as it can be told without building it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from core.errors import InputError
from core.jobs._registry import job_types
from tests.definitions import Definition, read_definition

FOLDER = Path(__file__).resolve().parents[2] / "container_defs"
FILES = sorted(FOLDER.glob("*.def"))
NAMES = [path.stem for path in FILES]

_HOST = re.compile(r"https?:|://|\b[a-z0-9-]+(\.[a-z0-9-]+)*\.(?:com|org|io|edu|net|dev|uk|ch|de|eu)\b")
_USED = re.compile(r"\{\{ \w+ \}\}")
_INSTALLS = re.compile(r"\b(?:pip install|conda create)\b((?:.*\\\n)*.*)")

PROGRAMS = {
    "warp": ("WarpTools", "AreTomo2", "AreTomo3", "batchruntomo", "submfg", "newstack"),
    "relion": (
        "relion_refine",
        "run_motioncorr",
        "tomo_reconstruct_tomogram",
        "tomo_subtomo",
        "tomo_reconstruct_particle",
        "mpirun",
    ),
    "imod": ("newstack", "tilt", "header", "batchruntomo"),
    "cryocare": ("cryoCARE_extract_train_data.py", "cryoCARE_train.py", "cryoCARE_predict.py"),
    "pytom": ("match_template", "extract_candidates", "create_mask"),
}
"""What each tool's job types call: every one is run, or at least found, by the test of its images."""


@pytest.fixture(params=FILES, ids=NAMES)
def definition(request: pytest.FixtureRequest) -> Definition:
    return read_definition(request.param)


def test_there_is_one_for_every_tool_of_a_job_type() -> None:
    made = {read_definition(path).labels["crboost.tool"] for path in FILES}
    assert made == set(PROGRAMS)
    assert {tool for kind in job_types().values() for tool in kind.tools} <= made


def test_it_has_all_sections(definition: Definition) -> None:
    assert {"post", "environment", "labels", "test", "help"} <= set(definition.stages[-1].sections)
    assert definition.title and re.fullmatch(r"\d+ minutes, \d+ [MG]B", definition.takes)
    assert all(stage.header["bootstrap"] and stage.header["from"] for stage in definition.stages)
    names = [stage.header.get("stage", "") for stage in definition.stages]
    assert len(set(names)) == len(names)


def test_its_version_is_that_of_its_name_and_stands_in_its_labels(definition: Definition) -> None:
    version = definition.labels["version"]
    for name, value in definition.arguments.items():
        version = version.replace(f"{{{{ {name} }}}}", value)
    assert version in definition.path.stem


def test_everything_in_it_is_pinned(definition: Definition) -> None:
    for stage in definition.stages:
        base = stage.header["from"]
        for name, value in definition.arguments.items():
            base = base.replace(f"{{{{ {name} }}}}", value)
        if definition.arguments["BOOTSTRAP"] == "docker":
            assert re.fullmatch(r"[a-z0-9/]+:\d[\w.-]+", base), base
        for command in _INSTALLS.findall(stage.sections.get("post", "")):
            words = [word.strip('"') for word in _USED.sub("given", command.replace("\\\n", " ")).split()]
            packages = [
                word
                for before, word in zip(["", *words], words, strict=False)
                if not word.startswith("-") and before not in ("-c", "-n", "--channel-priority")
            ]
            assert packages and all(re.search(r"\w==?(\d|given)", package) for package in packages), packages


def test_it_names_no_host(definition: Definition) -> None:
    text = definition.path.read_text(encoding="utf-8")
    assert not _HOST.search(text), _HOST.search(text)
    assert "latest" not in text


def test_every_argument_has_a_default_or_is_said_to_be_needed(definition: Definition) -> None:
    assert definition.used() == set(definition.arguments) | set(definition.needs)
    assert not set(definition.arguments) & set(definition.needs)
    help_text = definition.stages[-1].sections["help"]
    assert all(name in help_text for name in definition.needs)
    assert f"{definition.path.stem}.sif" in help_text and definition.path.name in help_text


def test_its_test_runs_every_program_that_job_types_call(definition: Definition) -> None:
    test = definition.stages[-1].sections["test"]
    missing = [name for name in PROGRAMS[definition.labels["crboost.tool"]] if not _mentions(test, name)]
    assert not missing


def _mentions(test: str, program: str) -> bool:
    loop = re.sub(r"(extract_train_data|train|predict)(?=[ ;])", r"cryoCARE_\1.py", test)
    return re.search(rf"(?<![\w.]){re.escape(program)}(?![\w])", loop) is not None


def test_its_scripts_are_scripts(definition: Definition) -> None:
    for stage in definition.stages:
        for name in ("post", "test", "environment"):
            text = _USED.sub("value", stage.sections.get(name, ""))
            ended = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
            assert ended.returncode == 0, ended.stderr
            assert not text or name == "environment" or text.lstrip("\n").startswith("    set -eu")


def test_the_command_that_builds_it_says_what_must_be_given() -> None:
    definition = read_definition(FOLDER / "imod-5.1.3.def")
    assert definition.command == [
        "apptainer",
        "build",
        "--build-arg",
        "IMOD_INSTALLER=...",
        "imod-5.1.3.sif",
        str(FOLDER / "imod-5.1.3.def"),
    ]


def test_the_page_lists_them_all() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in FILES:
        definition = read_definition(path)
        assert re.search(rf"\| `{re.escape(path.name)}` \| .+ \| {definition.takes} \|", page), path.name
        assert all(name in page for name in definition.needs)
    assert not _HOST.search(page)


def test_what_is_no_definition_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "x.def").write_text("%post\n    true\n")
    with pytest.raises(InputError, match="no Bootstrap: line"):
        read_definition(tmp_path / "x.def")
