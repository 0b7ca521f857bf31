"""What doctor says of the files of settings, and that a wrong one does not keep the others from being used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import core.project.site as site_module
from core.checks.findings import Finding
from core.checks.settings import key_line, read_project, read_site, read_user, values_in_force
from core.checks.side_by_side import Job, side_by_side
from core.checks.surroundings import Screen, Surroundings
from core.project.create import create_project
from core.project.model import ProjectFile
from core.project.site import Site

DATA = Path(__file__).resolve().parents[2] / "config"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRBOOST_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(site_module, "SITE_FILE", tmp_path / "etc.yaml")
    (tmp_path / "user" / "crboost").mkdir(parents=True)


def read(function: Callable[[], Iterator[object]]) -> tuple[list[Finding], list[Site], list[ProjectFile]]:
    """In a process of its own, as doctor does: it may change its environment."""
    (result,) = side_by_side([Job("read", function, 20.0)], 20.0)
    assert not result.late and not result.broken
    items = [item for item, _ in result.items]
    return (
        [item for item in items if isinstance(item, Finding)],
        [item for item in items if isinstance(item, Site)],
        [item for item in items if isinstance(item, ProjectFile)],
    )


def test_every_mistake_has_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "etc.yaml").write_text("# Of the lab\nlocal:\n  cpus: 4\n  gpu: 1\nresorces: {partition: x}\n")
    findings, _, _ = read(lambda: read_site(DATA))
    assert [finding.state for finding in findings] == ["failed", "failed"]
    assert {finding.found for finding in findings} == {
        "~/etc.yaml, line 4, local.gpu: there is no setting 'gpu' here. Did you mean 'gpus'?",
        "~/etc.yaml, line 5, resorces: there is no setting 'resorces' here. Did you mean 'resources'?",
    }


def test_what_is_right_in_a_wrong_file_is_used_as_if_it_stood_there(tmp_path: Path) -> None:
    (tmp_path / "etc.yaml").write_text(
        "tools:\n  warp: {binary: true, path: bin/warp}\n  imod: {binary: true, path: WarpTools}\n"
        "  relion: {container: true, path: r.sif, bind: [/x]}\n  pytom: {binary: true, container: true}\n"
        "containers: {cryocare: c.sif}\nlocal: {cpus: 0, gpus: 2}\nresources: {partition: a, memry_gb: 3}\n"
        "qsub: {template: q.sh}\nretries: 7\n"
    )
    findings, (site,), _ = read(lambda: read_site(DATA))
    assert len(findings) == 4 and {finding.state for finding in findings} == {"failed"}
    assert {name: tool.path for name, tool in site.tools.items()} == {
        "warp": str(tmp_path / "bin" / "warp"),
        "imod": "WarpTools",
        "relion": str(tmp_path / "r.sif"),
        "cryocare": str(tmp_path / "c.sif"),
    }
    assert (site.local.cpus, site.local.gpus, site.retries) == (None, 2, 7)
    assert site.qsub.template == str(tmp_path / "q.sh")
    assert site.origin("retries") == str(tmp_path / "etc.yaml")


def test_a_wrong_file_leaves_what_the_others_say(tmp_path: Path) -> None:
    (tmp_path / "etc.yaml").write_text("local: {cpus: 0}\n")
    (tmp_path / "user" / "crboost" / "conf.yaml").write_text("retries: 7\n")
    findings, (site,), _ = read(lambda: read_user(DATA))
    assert [(one.name, one.state, one.found) for one in findings] == [
        ("your file", "ok", "~/user/crboost/conf.yaml: retries")
    ]
    assert (site.retries, site.local.cpus) == (7, None)


def test_a_wrong_file_of_the_user_or_the_project_leaves_the_site_s(tmp_path: Path) -> None:
    (tmp_path / "etc.yaml").write_text("retries: 5\n")
    (tmp_path / "user" / "crboost" / "conf.yaml").write_text("retries: [\n")
    root = tmp_path / "p"
    create_project(root, "p")
    (root / ".crboost" / "conf.yaml").write_text("limits: {min_free_gb: -1}\n")
    findings, (site,), (project,) = read(lambda: read_project(root, DATA))
    assert [(one.name, one.state) for one in findings] == [("project's file", "failed")]
    assert "line 1, limits.min_free_gb: is -1, but must be at least 0." in findings[0].found
    assert (site.retries, project.name) == (5, "p")
    findings, (site,), _ = read(lambda: read_user(DATA))
    assert [one.state for one in findings] == ["failed"]
    assert "not valid YAML" in findings[0].found and "line 2" in findings[0].found
    assert site.retries == 5


def test_a_damaged_project_file_is_one_finding_and_its_settings_are_read(tmp_path: Path) -> None:
    root = tmp_path / "p"
    create_project(root, "p")
    (root / "crboost.yaml").write_text("format: 1\nname: p\npipline: []\n")
    findings, sites, projects = read(lambda: read_project(root, DATA))
    assert [one.state for one in findings] == ["failed"]
    assert "~/p/crboost.yaml" in findings[0].found and "Did you mean 'pipeline'?" in findings[0].found
    assert len(sites) == 1 and projects == []


def test_a_named_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRBOOST_CONFIG", str(tmp_path / "gone.yaml"))
    findings, (site,), _ = read(lambda: read_site(DATA))
    assert [one.found for one in findings] == ["~/gone.yaml does not exist, but CRBOOST_CONFIG names it"]
    assert site.retries == 2


def test_what_only_all_values_together_show_is_one_finding(tmp_path: Path) -> None:
    (tmp_path / "user" / "crboost" / "conf.yaml").write_text("qsub: {extra: {1: {field: gres}, 2: {field: gres}}}\n")
    findings, sites, _ = read(lambda: read_user(DATA))
    assert [one.state for one in findings] == ["ok", "failed"]
    assert "'gres'" in findings[1].found
    assert sites == []


def test_values_are_counted_by_their_origin_and_what_they_name_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "etc.yaml").write_text("notify: tell-me now\nprojects: {roots: [/nowhere/projects]}\n")
    _, (site,), _ = read(lambda: read_site(DATA))
    found = list(values_in_force(Surroundings(DATA, DATA, Screen(False, 0, 0, ""), site)))
    assert [one.state for one in found] == ["ok", "warning", "warning"]
    assert found[0].found.startswith("2 from ~/etc.yaml, ")
    assert "tell-me" in found[1].found and "/nowhere/projects" in found[2].found


@pytest.mark.parametrize(
    ("path", "line"),
    [("a", 1), ("a.b", 2), ("a.c.d", 3), ("e[1].f", 7), ("a.nothing", 1), ("nothing", None), ("a.b.deeper", 2)],
)
def test_the_line_of_a_setting(path: str, line: int | None) -> None:
    assert key_line("a:\n  b: 1\n  c: {d: 2}\ne:\n- f: 1\n-\n  f: 2\n", path) == line
