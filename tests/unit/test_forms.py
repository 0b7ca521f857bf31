"""Forms made from the fields of the job types, from files and from what was typed."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.dataset.model import CONFIRMED, Sourced
from core.dataset.registry import Registry
from core.engine.edits import with_edits
from core.engine.plan import Sources, make_plan, read_sources
from core.engine.states import TaskState
from core.engine.status import JobStatus, Need, Status
from core.errors import ConflictError, InputError
from core.jobs._registry import job_types
from core.jobs.fields import FieldInfo, field_list
from core.project.file import load, save
from core.project.layout import ProjectPaths
from core.project.wanted import add_request
from crboost_tui.form import Form
from crboost_tui.forms import (
    RAN,
    acquisition_form,
    allowed,
    comparisons,
    copied,
    instrument_form,
    parameter_form,
    resource_form,
    saved,
)
from tests.synthetic import DATA, WARP_PIPELINE, make_project, make_series

ALIGN = "aligntiltsWarp"
CONF = """
tools:
  warp: {binary: true, path: /opt/warp}
  warp_new: {binary: true, path: /opt/warp_new}
resources: {partition: gpu}
qsub:
  template: lab.sh
  extra:
    1: {field: partition, label: Partition}
    2: {field: lscratch, label: Local scratch}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    found = make_project(tmp_path / "project", 3)
    (ProjectPaths(found).state / "conf.yaml").write_text(CONF)
    return found


def sources(root: Path) -> Sources:
    return read_sources(root, DATA)


def sentences(form: Form, name: str) -> list[str]:
    return [finding.sentence for finding in form.by_name[name].findings]


def everything_differs(pipeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*pipeline[:4], {**pipeline[3], "id": "aligntiltsWarp__2", "parameters": {"sample_thickness": 250.0}}]


@pytest.mark.parametrize("job", [each["id"] for each in WARP_PIPELINE])
def test_every_parameter_of_a_job_is_in_its_form(root: Path, job: str) -> None:
    form = parameter_form(sources(root), job, {})
    infos = field_list(job_types()[job].parameters)
    assert [each.name for each in form.fields] == [f"{job}.{info.name}" for info in infos]
    for field, info in zip(form.fields, infos, strict=True):
        assert (field.kind, field.unit, field.help, field.flag) == (info.kind, info.unit, info.help, info.flag)
        assert field.help, f"{field.name} has no help"
        assert field.origin == "default" and not field.edited and field.value == field.default


def test_a_value_says_whether_it_counts_and_with_what(root: Path) -> None:
    form = parameter_form(sources(root), ALIGN, {})
    assert form.by_name[f"{ALIGN}.sample_thickness"].applies
    assert not form.by_name[f"{ALIGN}.patch_size"].applies
    assert form.by_name[f"{ALIGN}.patch_size"].only == "only with method IMOD patches"
    form = parameter_form(sources(root), ALIGN, {f"{ALIGN}.method": "IMOD patches"})
    assert form.by_name[f"{ALIGN}.patch_size"].applies
    assert not form.by_name[f"{ALIGN}.sample_thickness"].applies
    assert form.by_name[f"{ALIGN}.sample_thickness"].only == "only with method AreTomo2 or AreTomo3"


def test_what_is_typed_stands_in_the_form_with_what_is_wrong_with_it(root: Path) -> None:
    name = f"{ALIGN}.alignment_pixel_size"
    form = parameter_form(sources(root), ALIGN, {name: "5x", f"{ALIGN}.beads_target": "7"})
    field = form.by_name[name]
    assert (field.value, field.default, field.origin, field.edited) == ("5x", "10", "you", True)
    assert sentences(form, name) == ["alignment_pixel_size is '5x'; a number was expected."]
    assert form.by_name[f"{ALIGN}.beads_target"].value == "7"
    assert form.errors == 1
    assert sentences(parameter_form(sources(root), ALIGN, {name: "99"}), name) == [
        "alignment_pixel_size is 99.0 Å/px; it must be between 1 and 50 Å/px."
    ]


@pytest.mark.parametrize("text", ["[1", '"', "{", "1: 2", "&a", "- x", ".inf", "null", "\t", "a: b: c"])
def test_whatever_is_typed_makes_a_form(root: Path, text: str) -> None:
    edits = {f"{ALIGN}.sample_thickness": text, f"{ALIGN}.extra_arguments": text, f"{ALIGN}.method": text}
    form = parameter_form(sources(root), ALIGN, edits)
    assert form.by_name[f"{ALIGN}.extra_arguments"].value == text
    assert form.by_name[f"{ALIGN}.sample_thickness"].findings


def test_problems_across_fields_stand_beside_each_of_them(root: Path) -> None:
    form = parameter_form(sources(root), "tsReconstruct", {"tsReconstruct.halfmap_tilts": "true"})
    for name in ("halfmap_frames", "halfmap_tilts"):
        assert "Choose one kind of halves: from frames or from tilts." in sentences(form, f"tsReconstruct.{name}")


def test_an_input_that_is_not_connected_is_a_finding_of_the_form(tmp_path: Path) -> None:
    root = make_project(tmp_path / "p", 2, pipeline=[{"id": "tsCtf", "type": "tsCtf"}])
    form = parameter_form(sources(root), "tsCtf", {})
    assert [name for name, _ in form.findings] == ["tsCtf.inputs.alignment", "tsCtf.tools.warp"]
    assert "is not connected" in form.findings[0][1].sentence


def test_a_need_stands_beside_the_field_that_settles_it(root: Path) -> None:
    status = Status(needs=[Need("waits", ALIGN, "Partition gpu has no such node.", ["resources.partition"])])
    form = resource_form(sources(root), ALIGN, {}, status=status)
    assert sentences(form, f"{ALIGN}.resources.partition") == ["Partition gpu has no such node."]
    assert not sentences(resource_form(sources(root), "tsCtf", {}, status=status), "tsCtf.resources.partition")


def test_a_parameter_of_another_version_can_be_taken_out(root: Path) -> None:
    loaded = load(root)
    odd = loaded.model.instance(ALIGN).model_copy(update={"parameters": {"alignment_pixel": 3}})
    save(root, loaded.model.with_instance(odd), loaded.digest)
    form = parameter_form(sources(root), ALIGN, {})
    assert "There is no parameter alignment_pixel." in sentences(form, f"{ALIGN}.alignment_pixel")[0]
    form = parameter_form(sources(root), ALIGN, {f"{ALIGN}.alignment_pixel": None})
    assert f"{ALIGN}.alignment_pixel" not in form.by_name and form.errors == 0


# ---- Series of their own


def test_the_form_of_series_shows_and_edits_theirs(root: Path) -> None:
    thickness = f"{ALIGN}.sample_thickness"
    edits = {f"{thickness}@TS_0001": "120"}
    form = parameter_form(sources(root), ALIGN, edits, series=["TS_0001"])
    field = form.by_name[f"{thickness}@TS_0001"]
    assert (field.value, field.origin, field.default, field.edited) == ("120", "you", "180", True)
    assert all(each.per_series >= 0 for each in form.fields)
    assert f"{ALIGN}.beads_target@TS_0001" not in form.by_name

    both = parameter_form(sources(root), ALIGN, edits, series=["TS_0001", "TS_0002"]).by_name[f"{thickness}@TS_0001"]
    assert (both.value, both.origin) == ("", "differ: 120, 180")
    assert both.names == (f"{thickness}@TS_0002",)

    job = parameter_form(sources(root), ALIGN, edits).by_name[thickness]
    assert (job.value, job.per_series) == ("180", 1)
    assert parameter_form(sources(root), ALIGN, edits).by_name[f"{ALIGN}.beads_target"].per_series == -1


def test_a_wrong_value_of_one_series_stands_beside_the_job_s_field(root: Path) -> None:
    edits = {f"{ALIGN}.sample_thickness@TS_0002": "-5"}
    form = parameter_form(sources(root), ALIGN, edits)
    assert sentences(form, f"{ALIGN}.sample_thickness")[0].startswith("TS_0002: sample_thickness is -5")
    own = parameter_form(sources(root), ALIGN, edits, series=["TS_0002"])
    assert own.errors == 1
    assert parameter_form(sources(root), ALIGN, edits, series=["TS_0001"]).errors == 0


# ---- What ran, and other comparisons


def ran(root: Path, job: str, state: TaskState = TaskState.DONE) -> Status:
    """A status in which the first series of a job was finished with the project as it stands."""
    plan = make_plan(root, DATA)
    add_request(root, "run", version=plan.version)
    began = time.time() + 5.0
    jobs = [
        JobStatus(
            each, each, each, states=[state.value, ".", "."], attempts=[1, 0, 0], started=[began, 0.0, 0.0],
            ended=[began + 60, 0.0, 0.0], fingerprints=[plan.expected(each, "TS_0001"), "", ""],
        )
        for each in plan.jobs
        if each == job
    ]  # fmt: skip
    return Status(series=list(plan.series), names=list(plan.series), jobs=jobs)


def change(root: Path, edits: dict[str, str | None]) -> int:
    return saved(sources(root), edits)


def test_what_finished_tasks_used_is_shown_where_it_differs(root: Path) -> None:
    change(root, {f"{ALIGN}.sample_thickness": "150"})
    status = ran(root, ALIGN)
    assert all(each.used is None for each in parameter_form(sources(root), ALIGN, {}, status=status).fields)
    change(root, {f"{ALIGN}.sample_thickness": "170"})
    add_request(root, "run", version=change(root, {f"{ALIGN}.sample_thickness": "190"}))  # nothing finished with it yet
    form = parameter_form(sources(root), ALIGN, {f"{ALIGN}.min_fov": "0.5"}, status=status)
    used = {each.name: each.used for each in form.fields if each.used is not None}
    assert used == {f"{ALIGN}.sample_thickness": "150", f"{ALIGN}.min_fov": "0"}
    assert RAN in comparisons(sources(root), ALIGN, status)
    beside = parameter_form(sources(root), ALIGN, {}, compare=RAN, status=status)
    assert beside.by_name[f"{ALIGN}.sample_thickness"].compared == "150" and beside.compared_with == RAN


def test_what_ran_is_found_by_time_where_no_version_gives_the_fingerprint(root: Path) -> None:
    change(root, {f"{ALIGN}.sample_thickness": "150"})
    status = ran(root, ALIGN, TaskState.STALE)
    status.jobs[0].fingerprints[0] = "of_other_tilts"
    change(root, {f"{ALIGN}.sample_thickness": "170"})
    form = parameter_form(sources(root), ALIGN, {}, status=status)
    assert form.by_name[f"{ALIGN}.sample_thickness"].used == "150"


def test_a_job_that_never_finished_used_nothing(root: Path) -> None:
    status = ran(root, ALIGN, TaskState.RUNNING)
    change(root, {f"{ALIGN}.sample_thickness": "170"})
    assert all(each.used is None for each in parameter_form(sources(root), ALIGN, {}, status=status).fields)
    assert comparisons(sources(root), ALIGN, status) == ("defaults",)


def test_two_jobs_of_a_type_and_two_projects_can_be_compared_and_copied(tmp_path: Path, root: Path) -> None:
    other = make_project(tmp_path / "other", 1, pipeline=everything_differs(WARP_PIPELINE))
    name = f"{ALIGN}.sample_thickness"
    there = sources(other)
    assert comparisons(there, ALIGN) == ("defaults", "aligntiltsWarp__2")
    assert parameter_form(there, ALIGN, {}, compare="aligntiltsWarp__2").by_name[name].compared == "250"
    change(root, {f"{ALIGN}.min_fov": "0.25"})
    here = sources(root)
    form = parameter_form(here, ALIGN, {}, compare=f"{other}:aligntiltsWarp__2")
    assert {each.name for each in form.fields if each.compared is not None} == {name, f"{ALIGN}.min_fov"}
    edits = copied(f"{other}:aligntiltsWarp__2", here, ALIGN)
    assert edits == {f"{ALIGN}.min_fov": None, name: "250"}
    saved(here, edits)
    assert load(root).model.instance(ALIGN).parameters == {"sample_thickness": 250.0}
    with pytest.raises(InputError, match="only another aligntiltsWarp has the same parameters"):
        copied("tsCtf", sources(root), ALIGN)


# ---- Resources


def test_each_resource_says_where_it_comes_from(root: Path) -> None:
    form = resource_form(sources(root), ALIGN, {f"{ALIGN}.resources.minutes": "90"})
    origin = {each.name.removeprefix(f"{ALIGN}.resources."): each.origin for each in form.fields}
    conf = ProjectPaths(root).state / "conf.yaml"
    assert origin["partition"] == f"site ({conf})"
    assert origin["cpus"] == "profile aligntiltsWarp (defaults)"
    assert (origin["minutes"], origin["account"], origin["gres"]) == ("you", "not set", "gpus")
    minutes = form.by_name[f"{ALIGN}.resources.minutes"]
    assert (minutes.value, minutes.default, minutes.unit, minutes.edited) == ("90", "15", "min", True)
    assert form.by_name[f"{ALIGN}.resources.cpus"].allowed == "1–4096"
    assert "`" not in "".join(each.help for each in form.fields)


def test_a_preset_fills_the_other_fields(root: Path) -> None:
    form = resource_form(sources(root), ALIGN, {})
    preset = form.by_name[f"{ALIGN}.resources"]
    assert preset.choices == ("small", "standard", "large") and preset.value == ""
    filled = resource_form(sources(root), ALIGN, preset.fills["large"])
    assert filled.by_name[f"{ALIGN}.resources.memory_gb"].value == "64"
    assert filled.by_name[f"{ALIGN}.resources"].value == "large"


def test_the_site_s_own_fields_and_tools_can_be_chosen(root: Path) -> None:
    edits = {f"{ALIGN}.resources.extra.lscratch": "200", f"{ALIGN}.tools.warp": "warp_new"}
    form = resource_form(sources(root), ALIGN, edits)
    scratch = form.by_name[f"{ALIGN}.resources.extra.lscratch"]
    assert (scratch.label, scratch.value, scratch.origin, scratch.group) == ("Local scratch", "200", "you", "This site")
    assert form.by_name[f"{ALIGN}.tools.warp"].choices == ("warp", "warp_new")
    saved(sources(root), edits)
    instance = load(root).model.instance(ALIGN)
    assert instance.resources == {"extra": {"lscratch": 200}} and instance.tools == {"warp": "warp_new"}
    wrong = resource_form(sources(root), ALIGN, {f"{ALIGN}.tools.warp": "warp_old"})
    assert "There is no tool 'warp_old' in conf.yaml" in sentences(wrong, f"{ALIGN}.tools.warp")[0]


def test_a_wrong_resource_is_said_beside_it_and_not_saved(root: Path) -> None:
    edits = {f"{ALIGN}.resources.cpus": "0", f"{ALIGN}.resources.memory_gb": "a lot"}
    form = resource_form(sources(root), ALIGN, edits)
    assert sentences(form, f"{ALIGN}.resources.cpus") == ["CPUs is 0, but must be at least 1."]
    assert form.by_name[f"{ALIGN}.resources.memory_gb"].value == "a lot"
    with pytest.raises(InputError, match="Nothing was saved"):
        saved(sources(root), edits)
    assert load(root).model.instance(ALIGN).resources == {}


def test_making_a_form_leaves_the_project_as_it_is(root: Path) -> None:
    change(root, {f"{ALIGN}.resources.minutes": "60"})
    here = sources(root)
    resource_form(here, ALIGN, {f"{ALIGN}.resources.minutes": "90"})
    assert here.project.instance(ALIGN).resources == {"minutes": 60}


def test_a_job_that_crboost_does_itself_has_no_resources(tmp_path: Path) -> None:
    internal = next(name for name, each in job_types().items() if each.internal)
    root = make_project(tmp_path / "p", 1, pipeline=[{"id": "itself", "type": internal}])
    form = resource_form(sources(root), "itself", {})
    assert form.fields == () and "itself" in form.empty


# ---- Acquisition


def test_each_acquisition_value_has_its_source_and_what_is_not_certain_can_be_confirmed(root: Path) -> None:
    here = sources(root)
    first = here.registry.series[0]
    unsure: dict[str, Sourced[Any]] = {**first.detected, "dose_per_tilt_e_per_a2": Sourced(2.9, "mdoc", False)}
    registry = Registry((*(replace(each, detected=unsure) for each in here.registry.series[:2]), make_series(9)))
    name = "acquisition.batch1.dose_per_tilt_e_per_a2"
    form = acquisition_form(here.project, registry, "batch1", {})
    dose = form.by_name[name]
    assert (dose.value, dose.origin, dose.unit) == ("2.9", "mdoc (1 of 3 series differ)", "e/Å²")
    assert dose.confirm and "confirm or set dose_per_tilt_e_per_a2" in sentences(form, name)[0]
    pixel = form.by_name["acquisition.batch1.pixel_size_angstrom"]
    assert (pixel.value, pixel.origin, pixel.confirm) == ("1.35", "movie header", False)

    form = acquisition_form(here.project, registry, "batch1", {name: CONFIRMED})
    assert (form.by_name[name].value, form.by_name[name].confirm, form.by_name[name].edited) == ("2.9", False, True)
    assert form.errors == 0
    model, refused = with_edits(here.project, {name: CONFIRMED})
    assert not refused and model.acquisition["batch1"].confirmed == ["dose_per_tilt_e_per_a2"]

    form = acquisition_form(here.project, registry, "batch1", {name: "3.3"})
    assert (form.by_name[name].value, form.by_name[name].origin) == ("3.3", "you")
    form = acquisition_form(here.project, registry, "batch1", {name: "none"})
    assert form.by_name[name].value == "none" and "dose per tilt is 'none'" in sentences(form, name)[0]


def test_the_microscope_holds_for_all_groups(root: Path) -> None:
    here = sources(root)
    form = instrument_form(here.project, here.registry, {"instrument.voltage_kv": "200"})
    voltage = form.by_name["instrument.voltage_kv"]
    assert (voltage.value, voltage.origin, voltage.default, voltage.edited) == ("200", "you", "300", True)
    form = instrument_form(here.project, here.registry, {"instrument.voltage_kv": "-1"})
    assert "must be greater than 0" in sentences(form, "instrument.voltage_kv")[0]


def test_forms_of_nothing_say_so(root: Path) -> None:
    here = sources(root)
    assert acquisition_form(here.project, here.registry, "nobody", {}).empty
    assert instrument_form(here.project, Registry(()), {}).fields == ()


# ---- Saving


def test_saving_wrong_values_is_refused_and_warnings_are_not(root: Path) -> None:
    with pytest.raises(InputError, match="a number was expected. Nothing was saved"):
        saved(sources(root), {f"{ALIGN}.sample_thickness": "thick"})
    assert load(root).model.instance(ALIGN).parameters == {}
    saved(sources(root), {f"{ALIGN}.patch_size": "20", f"{ALIGN}.method": "IMOD patches"})
    assert load(root).model.instance(ALIGN).parameters == {"patch_size": 20.0, "method": "IMOD patches"}


def test_what_was_wrong_before_keeps_nothing_from_being_saved(root: Path) -> None:
    loaded = load(root)
    wrong = loaded.model.instance(ALIGN).model_copy(update={"parameters": {"sample_thickness": -3}})
    save(root, loaded.model.with_instance(wrong), loaded.digest)
    saved(sources(root), {f"{ALIGN}.min_fov": "0.5"})
    assert load(root).model.instance(ALIGN).parameters == {"sample_thickness": -3, "min_fov": 0.5}


def test_somebody_else_s_change_is_a_conflict_with_the_difference(root: Path) -> None:
    mine = sources(root)
    change(root, {f"{ALIGN}.min_fov": "0.5"})
    with pytest.raises(ConflictError, match=r"(?s)was changed since it was read.*min_fov: 0.5"):
        saved(mine, {f"{ALIGN}.sample_thickness": "150"})


def test_back_to_the_default_takes_the_value_out_of_the_file(root: Path) -> None:
    change(root, {f"{ALIGN}.min_fov": "0.5"})
    form = parameter_form(sources(root), ALIGN, {f"{ALIGN}.min_fov": None})
    field = form.by_name[f"{ALIGN}.min_fov"]
    assert (field.value, field.origin, field.edited) == ("0", "default", True)
    saved(sources(root), {f"{ALIGN}.min_fov": None, f"{ALIGN}.mask_images": None})
    assert load(root).model.instance(ALIGN).parameters == {}


def texts(info: FieldInfo) -> st.SearchStrategy[str]:
    """Texts that are good for a field, as a form shows them."""
    low, high = info.minimum, info.maximum
    match info.kind:
        case "bool":
            return st.sampled_from(["true", "false"])
        case "choice":
            return st.sampled_from(info.choices)
        case "int":
            numbers = st.integers(int(low if low is not None else -999), int(high if high is not None else 999))
            return numbers.filter(lambda value: not (info.minimum_excluded and value == low)).map(str)
        case "float":
            floats = st.floats(
                low if low is not None else -1e6, high if high is not None else 1e6, allow_nan=False,
                exclude_min=info.minimum_excluded, exclude_max=info.maximum_excluded,
            )  # fmt: skip
            return floats.map(lambda value: repr(value + 0.0).removesuffix(".0"))
        case _:
            if info.pattern:
                return st.from_regex(info.pattern, fullmatch=True).filter(lambda text: text.isprintable())
            return st.text(st.characters(exclude_categories=["C", "Z"]), max_size=12).map(lambda text: f"x{text}")


EVERY_FIELD = [
    (job, info) for job in (each["id"] for each in WARP_PIPELINE) for info in field_list(job_types()[job].parameters)
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_typed_and_saved_is_what_the_form_shows_then(root: Path, data: st.DataObject) -> None:
    job, info = data.draw(st.sampled_from(EVERY_FIELD))
    name, text = f"{job}.{info.name}", data.draw(texts(info))
    here = sources(root)
    typed = parameter_form(here, job, {name: text}).by_name[name]
    assert typed.value == text
    if any(finding.level == "error" for finding in typed.findings):
        return  # fields can be wrong together
    saved(here, {name: text})
    field = parameter_form(sources(root), job, {}).by_name[name]
    assert (field.value, field.origin, field.edited) == (text, "you", False)
    saved(sources(root), {name: None})


def test_ranges_are_said_in_words() -> None:
    assert {allowed(info) for _, info in EVERY_FIELD} >= {"1–50", "0–1", "-360 to 360", "above 0, at most 10000", ""}
