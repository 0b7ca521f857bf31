"""Tools in ``conf.yaml``, and what jobs say about them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.engine import requests
from core.engine.edits import assign
from core.engine.plan import make_plan
from core.engine.rendering import render_task
from core.engine.tool_table import tool_of
from core.errors import InputError
from core.project import site as site_module
from core.project.file import load, save
from core.project.layout import ProjectPaths
from core.project.site import Site, load_site
from core.tools.table import Tool
from tests.synthetic import DATA, make_project


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRBOOST_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(site_module, "SITE_FILE", tmp_path / "etc.yaml")


def site(tmp_path: Path, text: str) -> Site:
    (tmp_path / "etc.yaml").write_text(text)
    return load_site(None, DATA)


def test_a_tool_with_all_that_can_be_said_of_it(tmp_path: Path) -> None:
    found = site(
        tmp_path,
        "tools:\n  relion:\n    container: true\n    path: relion.sif\n    binds: [/scratch, ~/maps]\n"
        "    env: {OMP_NUM_THREADS: 4, A: 'x y', B: 0.5}\n    modules: [apptainer/1.4]\n    gpu: amd\n"
        "    mpi: outside\n",
    ).tools["relion"]
    assert tool_of(found) == Tool(
        "container",
        str(tmp_path / "relion.sif"),
        binds=("/scratch", str(Path.home() / "maps")),
        env=(("OMP_NUM_THREADS", "4"), ("A", "x y"), ("B", "0.5")),
        modules=("apptainer/1.4",),
        gpu="amd",
        mpi="outside",
    )


def test_ranks_of_a_container_are_started_inside_it_where_nothing_is_said(tmp_path: Path) -> None:
    found = site(tmp_path, "tools: {warp: {binary: true}}\ncontainers: {relion: /sif/relion.sif}\n").tools
    assert tool_of(found["relion"]) == Tool("container", "/sif/relion.sif", mpi="inside")
    assert tool_of(found["warp"]) == Tool("binary", mpi="outside")


@pytest.mark.parametrize(
    ("tool", "sentence"),
    [
        ("{binary: true, mpi: inside}", "which is for containers"),
        ("{container: true, path: /x.sif, gpu: intel}", "tools.warp.gpu"),
        ("{container: true, path: /x.sif, binds: [data]}", "tools.warp.binds"),
        ("{container: true, path: /x.sif, env: {A B: 1}}", "tools.warp.env"),
        ("{binary: true, modules: [--force]}", "tools.warp.modules"),
        ("{binary: true, modules: cuda}", "tools.warp.modules"),
    ],
)
def test_what_cannot_be_is_said_where_it_stands(tmp_path: Path, tool: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        site(tmp_path, f"tools: {{warp: {tool}}}\n")
    assert sentence in str(caught.value) and "etc.yaml" in str(caught.value)


CONTAINERS = """
tools:
  warp: {container: true, path: /images/warp.sif, env: {MARK: site}}
  warp_new: {container: true, path: /images/warp_new.sif, mpi: outside}
"""


def project(tmp_path: Path, *words: str) -> Path:
    root = make_project(tmp_path / "project", 1, 5)
    loaded = load(root)
    save(root, assign(loaded.model, ["acquisition.batch1.dose_per_tilt_e_per_a2=3.0", *words]), loaded.digest)
    return root


def problems(root: Path, instance: str) -> list[tuple[Any, ...]]:
    return [(p.fields, p.sentence) for name, p in make_plan(root, DATA).errors() if name == instance]


def test_a_job_may_take_another_entry_of_the_table(tmp_path: Path) -> None:
    site(tmp_path, CONTAINERS)
    root = project(tmp_path, "tsCtf.tools.warp=warp_new")
    assert "tools:\n    warp: warp_new\n" in (root / "crboost.yaml").read_text()
    assert problems(root, "tsCtf") == []
    text = render_task(root, DATA, "tsReconstruct", "TS_0001")
    assert "/images/warp.sif" in text and "MARK=site" in text
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_an_entry_or_a_tool_that_is_not_there_is_a_problem_of_the_form(tmp_path: Path) -> None:
    site(tmp_path, CONTAINERS)
    root = project(tmp_path, "tsCtf.tools.warp=warp_nwe", "tsImport.tools.relion=warp")
    (found,) = problems(root, "tsCtf")
    assert found == (("tools.warp",), "There is no tool 'warp_nwe' in conf.yaml. Did you mean 'warp_new'?")
    (found,) = problems(root, "tsImport")
    assert found == (("tools.relion",), "tsImport uses no tool relion: it uses warp.")


def test_several_nodes_with_the_mpi_inside_the_image_are_a_problem_of_the_form(tmp_path: Path) -> None:
    site(tmp_path, CONTAINERS)
    root = project(tmp_path, "tsCtf.resources.nodes=2", "tsReconstruct.resources.nodes=2")
    (found,) = problems(root, "tsCtf")
    assert found[0] == ("resources.nodes",) and "on one node only" in found[1] and "tools.warp.mpi" in found[1]
    assert problems(root, "importmovies") == []
    (ProjectPaths(root).state / "conf.yaml").write_text(
        "tools: {warp: {container: true, path: /w.sif, mpi: outside}}\n"
    )
    assert problems(root, "tsCtf") == []
    (ProjectPaths(root).state / "conf.yaml").write_text("tools: {warp: {binary: true}}\n")
    assert problems(root, "tsCtf") == []


def test_a_project_can_have_a_container_of_its_own(tmp_path: Path) -> None:
    site(tmp_path, CONTAINERS)
    root = project(tmp_path)
    (ProjectPaths(root).state / "conf.yaml").write_text("containers: {warp: mine.sif}\n")
    text = render_task(root, DATA, "tsReconstruct", "TS_0001")
    assert f"{ProjectPaths(root).state}/mine.sif" in text and "MARK=site" not in text


def test_a_run_is_refused_while_a_tool_that_it_needs_is_not_configured(tmp_path: Path) -> None:
    root = project(tmp_path)
    with pytest.raises(InputError, match="The tool warp is not configured: give its path under tools.warp"):
        requests.run(root, DATA, to="fsMotionAndCtf")
    requests.run(root, DATA, to="importmovies")
    (ProjectPaths(root).state / "conf.yaml").write_text("tools: {warp: {binary: true}}\n")
    requests.run(root, DATA, to="fsMotionAndCtf")
