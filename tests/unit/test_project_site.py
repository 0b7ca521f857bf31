"""The site's configuration, effective resources, and the pipelines that are shipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from core.errors import InputError
from core.formats import plain_yaml
from core.jobs._registry import job_types
from core.project import site as site_module
from core.project.create import create_project
from core.project.file import load
from core.project.model import Instance
from core.project.pipelines import list_pipelines, load_pipeline
from core.project.resources import effective
from core.project.site import Site, load_site, preset

DATA = Path(__file__).resolve().parents[2] / "config"
WARP_STEPS = [
    "importmovies",
    "fsMotionAndCtf",
    "tsImport",
    "aligntiltsWarp",
    "tsAutolevel",
    "tsCtf",
    "tsReconstruct",
]


@dataclass(frozen=True)
class Needs:
    cpus: int = 1
    gpus: int = 0
    memory_gb: int = 4
    minutes: int = 30


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRBOOST_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(site_module, "SITE_FILE", tmp_path / "etc.yaml")
    (tmp_path / "user" / "crboost").mkdir(parents=True)


def user(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "user" / "crboost" / "conf.yaml"
    path.write_text(text)
    return path


def test_what_is_shipped_holds_by_itself() -> None:
    site = load_site(None, DATA)
    assert sorted(site.profiles) == sorted(job_types())
    assert site.profiles["tsReconstruct"]["memory_gb"] == 64
    assert list(site.presets) == ["small", "standard", "large"]
    assert site.tools == {} and site.local.cpus is None and site.notify == ()
    assert site.qsub.extra[6].field == "gres"
    assert (site.warp_version, site.watch.mode, site.retries) == ("head", "auto", 2)
    assert {value.origin for value in site.values} == {"defaults"}


def test_later_layers_win_value_by_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    etc = tmp_path / "etc.yaml"
    etc.write_text("local: {cpus: 16, gpus: 2}\nresources: {partition: gpu, account: lab}\nretries: 1\n")
    mine = user(tmp_path, "local: {cpus: 4}\nresources: {partition: long}\n")
    root = tmp_path / "p"
    create_project(root, "x")
    (root / ".crboost" / "conf.yaml").write_text("retries: 0\n")
    site = load_site(root, DATA)
    assert (site.local.cpus, site.local.gpus, site.retries) == (4, 2, 0)
    assert dict(site.resources) == {"nodes": 1, "tasks": 1, "partition": "long", "account": "lab"}
    assert site.origin("local.cpus") == str(mine)
    assert site.origin("local.gpus") == str(etc)
    assert site.origin("retries") == str(root / ".crboost" / "conf.yaml")
    assert site.origin("warp.version") == "defaults"
    other = tmp_path / "other.yaml"
    other.write_text("retries: 7\n")
    monkeypatch.setenv("CRBOOST_CONFIG", str(other))
    site = load_site(None, DATA)
    assert (site.retries, site.local.gpus, site.local.cpus) == (7, None, 4)


def test_a_tool_is_one_value_in_both_forms(tmp_path: Path) -> None:
    (tmp_path / "etc.yaml").write_text(
        "containers: {warp_aretomo: /sif/warp.sif, relion: /sif/relion.sif}\n"
        "tools: {imod: {binary: true, container: false, path: tools/imod}}\n"
    )
    user(tmp_path, "tools: {warp: {binary: true, path: ''}}\n")
    site = load_site(None, DATA)
    assert (site.tools["warp"].binary, site.tools["warp"].container, site.tools["warp"].path) == (True, False, "")
    assert site.tools["relion"].container and site.tools["relion"].path == "/sif/relion.sif"
    assert site.tools["imod"].path == str(tmp_path / "tools" / "imod")
    assert site.origin("tools.relion") == str(tmp_path / "etc.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tool: {}\n", "tool: there is no setting 'tool' here. Did you mean 'tools'?"),
        ("local: {cpu: 3}\n", "local.cpu: there is no setting 'cpu' here. Did you mean 'cpus'?"),
        ("local: {cpus: 0}\n", "local.cpus: is 0, but must be at least 1."),
        ("resources: {memory: 3}\n", "resources.memory: there is no setting 'memory' here. Did you mean 'memory_gb'?"),
        ("profiles: {tsCtf: {minutes: 1.5}}\n", "profiles.tsCtf.minutes: is 1.5, but must be a whole number."),
        ("tools: {warp: {path: /x}}\n", "tools.warp: must be either a binary or a container"),
        ("tools: {warp: {container: true}}\n", "is a container without a path"),
        ("tools: {warp: {binarry: true}}\n", "Did you mean 'binary'?"),
        ("warp: {version: 2.0}\n", "warp.version: is 2.0, but must be 'head' or 'dev39'."),
        ("qsub: {extra: {11: {field: partition}}}\n", "qsub.extra"),
        ("qsub: {extra: {a: {field: partition}}}\n", "qsub.extra"),
        ("watch: {seconds: 0}\n", "watch.seconds: is 0, but must be greater than 0."),
        ('notify: "echo \'x"\n', "notify: has a quote that is not closed."),
        ("retries: 2\nretries: 3\n", "twice"),
        ("- a\n", "must hold a table"),
    ],
)
def test_mistakes_are_sentences_with_file_and_setting(tmp_path: Path, text: str, said: str) -> None:
    path = user(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_site(None, DATA)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_a_named_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRBOOST_CONFIG", "/nowhere/conf.yaml")
    with pytest.raises(InputError, match="CRBOOST_CONFIG names it"):
        load_site(None, DATA)


def test_one_field_is_one_placeholder(tmp_path: Path) -> None:
    user(tmp_path, "qsub: {extra: {1: {field: partition}, 9: {field: partition}}}\n")
    with pytest.raises(InputError, match="XXXextra1XXX and XXXextra9XXX"):
        load_site(None, DATA)


def test_a_table_of_extra_fields_replaces_the_one_below_it(tmp_path: Path) -> None:
    """It describes the lab's own template, in which XXXextra7XXX may be what XXXextra3XXX is in another one."""
    user(tmp_path, "qsub: {extra: {7: {field: nodes, label: Nodes}, 1: {field: licences}}}\n")
    site = load_site(None, DATA)
    assert {number: extra.field for number, extra in site.qsub.extra.items()} == {7: "nodes", 1: "licences"}
    assert site.qsub.command == "sbatch"


def of(site: Site, instance: Instance, needs: Needs | None = None) -> dict[str, tuple[object, str]]:
    found = effective(needs or Needs(), site, instance)
    return {name: (sourced.value, sourced.source) for name, sourced in found.items()}


def test_effective_resources_say_where_they_come_from(tmp_path: Path) -> None:
    mine = user(tmp_path, "resources: {partition: gpu, minutes: 5}\nprofiles: {tsCtf: {minutes: 20}}\n")
    instance = Instance(id="ctf", type="tsCtf", resources={"memory_gb": 12})
    found = of(load_site(None, DATA), instance)
    assert found["partition"] == ("gpu", f"site ({mine})")
    assert found["minutes"] == (20, f"profile tsCtf ({mine})")
    assert found["memory_gb"] == (12, "you")
    assert found["cpus"] == (2, "profile tsCtf (defaults)")
    assert found["gpus"] == (1, "profile tsCtf (defaults)")
    assert found["gres"] == ("gpu:1", "gpus")
    other = of(load_site(None, DATA), Instance(id="zz", type="somethingElse"), Needs(cpus=3))
    assert other["cpus"] == (3, "job type")
    assert "gres" not in other


def test_gpus_and_gres_agree() -> None:
    site = load_site(None, DATA)
    found = of(site, Instance(id="ctf", type="tsCtf", resources={"gres": "gpu:a100:2"}))
    assert (found["gpus"], found["gres"]) == ((2, "you"), ("gpu:a100:2", "you"))
    found = of(site, Instance(id="ctf", type="tsCtf", resources={"gpus": 0}))
    assert found["gpus"] == (0, "you") and "gres" not in found


def test_a_template_does_not_take_over_the_table_of_another_one(tmp_path: Path) -> None:
    user(tmp_path, "qsub: {template: qsub.sh}\n")
    assert load_site(None, DATA).qsub.extra == {}


def test_extra_fields_are_merged_by_name(tmp_path: Path) -> None:
    user(tmp_path, "resources: {extra: {licence: warp, scratch: 100}}\n")
    found = of(load_site(None, DATA), Instance(id="ctf", type="tsCtf", resources={"extra": {"scratch": 200}}))
    assert found["extra"][0] == {"licence": "warp", "scratch": 200}


def test_presets() -> None:
    site = load_site(None, DATA)
    assert preset(site, "large")["gpus"] == 4
    with pytest.raises(InputError, match="Did you mean 'standard'"):
        preset(site, "standart")


def test_the_pipelines_that_are_shipped(tmp_path: Path) -> None:
    found = {each.name: each for each in list_pipelines(DATA / "pipelines")}
    plain = [each.type for each in found["warp_to_tomograms"].pipeline]
    assert plain == [name for name in WARP_STEPS if name != "tsAutolevel"]
    assert [each.type for each in found["warp_to_tomograms_levelled"].pipeline] == WARP_STEPS
    ctf = next(each for each in found["warp_to_tomograms_levelled"].pipeline if each.type == "tsCtf")
    assert ctf.inputs == {"alignment": ["tsAutolevel"]}
    imod = next(each for each in found["warp_to_tomograms_imod"].pipeline if each.type == "aligntiltsWarp")
    assert imod.parameters == {"method": "IMOD patches"}
    with pytest.raises(InputError, match="Did you mean 'warp_to_tomograms'"):
        load_pipeline(DATA / "pipelines", "warp_to_tomogram")
    create_project(tmp_path / "p", "x", "", {"pipeline": [each.model_dump() for each in ctf_pipeline(found)]})
    assert len(load(tmp_path / "p").model.pipeline) == 7


def ctf_pipeline(found: object) -> list[Instance]:
    return list(found["warp_to_tomograms_levelled"].pipeline)  # type: ignore[index]


def test_a_wrong_pipeline_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(plain_yaml.dump({"title": "x", "summary": "y", "pipelin": []}))
    with pytest.raises(InputError, match="Did you mean 'pipeline'"):
        list_pipelines(tmp_path)
