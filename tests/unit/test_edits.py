"""Changing the project file: values, jobs and what feeds them."""

from __future__ import annotations

import pytest

from core.engine.edits import (
    add_job,
    candidates,
    connect,
    copy_job,
    inputs_of,
    remove_job,
    set_value,
    unfed,
    with_edits,
)
from core.errors import InputError
from core.project.model import ProjectFile


def project(*jobs: str, **inputs: dict[str, list[str]]) -> ProjectFile:
    """A project of these jobs (``tsCtf__2`` is a tsCtf), fed by the nearest ones unless ``inputs`` say otherwise."""
    pipeline = [{"id": id, "type": id.partition("__")[0], "inputs": inputs.get(id, {})} for id in jobs]
    return ProjectFile.model_validate({"name": "test", "pipeline": pipeline})


WARP = ("importmovies", "fsMotionAndCtf", "tsImport", "aligntiltsWarp", "tsCtf", "tsReconstruct")


def ids(model: ProjectFile) -> list[str]:
    return [each.id for each in model.pipeline]


def test_edits_give_values_to_jobs_resources_and_single_series() -> None:
    model, refused = with_edits(
        project(*WARP),
        {
            "tsCtf.window": "256",
            "tsCtf.resources.minutes": "90",
            "aligntiltsWarp.sample_thickness@Position_2": "90",
            "tsCtf.inputs.alignment": "aligntiltsWarp",
        },
    )
    assert refused == {}
    assert model.instance("tsCtf").parameters == {"window": 256}
    assert model.instance("tsCtf").resources == {"minutes": 90}
    assert model.instance("tsCtf").inputs == {"alignment": ["aligntiltsWarp"]}
    assert model.instance("aligntiltsWarp").per_series == {"Position_2": {"sample_thickness": 90.0}}


def test_a_wrong_edit_is_named_and_keeps_no_other_one_back() -> None:
    edits = {"tsCtf.resources.minutes": "soon", "tsCtf.window": "256", "no.job": "1"}
    model, refused = with_edits(project(*WARP), edits)
    assert set(refused) == {"tsCtf.resources.minutes", "no.job"}
    assert model.instance("tsCtf").parameters == {"window": 256}


def test_none_puts_a_value_back_and_does_nothing_where_none_is_set() -> None:
    changed, _ = with_edits(project(*WARP), {"tsCtf.window": "256"})
    back, refused = with_edits(changed, {"tsCtf.window": None, "tsCtf.range_low": None})
    assert refused == {}
    assert set_value(back, "tsCtf.window") is None
    assert set_value(changed, "tsCtf.window") == 256


def test_inputs_are_the_named_ones_or_the_nearest_that_fit() -> None:
    model = project(*WARP, "tsCtf__2", tsCtf__2={"alignment": ["aligntiltsWarp"]})
    assert inputs_of(model, "tsReconstruct") == {"tilt_series_ctf": ("tsCtf",)}
    assert inputs_of(model, "tsCtf__2") == {"alignment": ("aligntiltsWarp",)}
    assert inputs_of(model, "importmovies") == {}
    assert candidates(project(*WARP, "tsAutolevel", "tsCtf__2"), "tsCtf__2", "alignment") == [
        "aligntiltsWarp",
        "tsAutolevel",
    ]


def test_an_added_job_is_fed_by_the_line_that_it_is_added_to() -> None:
    model = project("importmovies", "fsMotionAndCtf", "tsImport", "aligntiltsWarp", "aligntiltsWarp__imod", "tsCtf")
    model = connect(model, "tsCtf", "alignment", ["aligntiltsWarp"])
    changed, id = add_job(model, "tsReconstruct", after="tsCtf")
    assert (id, ids(changed)[-1]) == ("tsReconstruct", "tsReconstruct")
    added, second = add_job(changed, "tsAutolevel", after="tsCtf")
    assert second == "tsAutolevel"
    assert added.instance("tsAutolevel").inputs == {"alignment": ["aligntiltsWarp"]}


def test_adding_and_copying_change_nothing_for_the_jobs_that_are_there() -> None:
    model = project(*WARP)
    before = {id: inputs_of(model, id) for id in WARP}
    for changed, new in (
        add_job(model, "tsAutolevel", after="aligntiltsWarp"),
        copy_job(model, "aligntiltsWarp", id="aligntiltsWarp__imod"),
        copy_job(model, "tsCtf"),
    ):
        assert {id: inputs_of(changed, id) for id in WARP} == before, new
        assert new not in WARP and new in ids(changed)


def test_a_copy_has_the_same_values_and_inputs_and_the_next_free_name() -> None:
    model, _ = with_edits(project(*WARP), {"tsCtf.window": "256", "tsCtf.resources.minutes": "90"})
    model, second = copy_job(model, "tsCtf")
    model, third = copy_job(model, "tsCtf")
    assert (second, third) == ("tsCtf__2", "tsCtf__3")
    assert model.instance(second).parameters == {"window": 256}
    assert model.instance(second).resources == {"minutes": 90}
    assert inputs_of(model, second) == {"alignment": ("aligntiltsWarp",)}


def test_a_job_that_nothing_feeds_is_refused_with_who_could() -> None:
    model = project("importmovies")
    assert unfed(model, "fsMotionAndCtf") == ""
    assert (
        unfed(model, "tsImport")
        == "tsImport needs frame series, which no job before it makes: add fsMotionAndCtf first."
    )
    with pytest.raises(InputError, match="no job before it makes"):
        add_job(model, "tsImport")
    # what comes later in the pipeline does not feed what stands before it
    assert unfed(project(*WARP), "tsReconstruct", after="tsImport")


def test_a_job_that_others_need_is_not_removed_also_where_they_do_not_name_it() -> None:
    with pytest.raises(InputError, match="tsReconstruct takes its tilt series ctf from tsCtf"):
        remove_job(project(*WARP), "tsCtf")
    assert ids(remove_job(project(*WARP), "tsReconstruct")) == list(WARP[:-1])


def test_removing_one_of_two_producers_leaves_the_other() -> None:
    model = project(*WARP, "aligntiltsWarp__imod", "tsCtf__2")
    model = connect(model, "tsCtf__2", "alignment", ["aligntiltsWarp__imod", "aligntiltsWarp"])
    left = remove_job(model, "aligntiltsWarp__imod")
    assert left.instance("tsCtf__2").inputs == {"alignment": ["aligntiltsWarp"]}


def test_only_what_fits_and_stands_before_can_be_connected() -> None:
    model = project(*WARP)
    with pytest.raises(InputError, match="cannot be the input alignment of tsCtf. Possible are: aligntiltsWarp"):
        connect(model, "tsCtf", "alignment", ["tsImport"])
    with pytest.raises(InputError, match="has no input movies"):
        connect(model, "tsCtf", "movies", ["importmovies"])
    named = connect(model, "tsCtf", "alignment", ["aligntiltsWarp"])
    assert connect(named, "tsCtf", "alignment", []).instance("tsCtf").inputs == {}
