"""What a change would make stale, told before anything is saved, is what the engine then finds stale."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from core.dataset.registry import Registry
from core.engine.edits import with_edits
from core.engine.impact import Impact, impact
from core.engine.plan import Plan, job_folders, sources_of
from core.engine.reading import load_status
from core.engine.status import JobStatus, Status
from core.jobs._task import COHORT
from core.project.file import load
from core.project.model import ProjectFile
from tests.rehearsed import DATA, rehearsal, run_to_end, states


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of which all is done."""
    found = rehearsal(tmp_path_factory.mktemp("impact"), series=2, tilts=3)
    assert run_to_end(found).outcome() == "succeeded"
    return found


def would_be(root: Path, edits: Mapping[str, str | None]) -> Impact:
    sources, status = sources_of(root, DATA, load(root).model), load_status(root)
    model, refused = with_edits(sources.project, edits)
    assert not refused
    return impact(Plan(replace(sources, project=model).bind(job_folders(status, root)), 0), status)


def test_nothing_is_stale_while_nothing_changed(root: Path) -> None:
    assert not would_be(root, {})
    assert not would_be(root, {"tsCtf.processes_per_gpu": "2"})  # cannot change a result
    assert not would_be(root, {"tsCtf.resources.minutes": "999"})


def test_a_changed_job_and_what_takes_from_it_are_told_apart(root: Path) -> None:
    found = would_be(root, {"tsCtf.window": "256"})
    both = ("Position_1", "Position_2")
    assert found.direct == {"tsCtf": both}
    assert found.later == {"tsReconstruct": both}
    assert (found.series, found.tasks, found.jobs) == (2, 4, ("tsCtf", "tsReconstruct"))


def test_a_value_of_one_series_concerns_that_series_alone(root: Path) -> None:
    found = would_be(root, {"aligntiltsWarp.sample_thickness@Position_2": "90"})
    assert found.direct["aligntiltsWarp"][:1] == ("Position_2",)
    assert found.later == {"tsCtf": ("Position_2",), "tsReconstruct": ("Position_2",)}


def test_a_second_instance_makes_nothing_stale(root: Path) -> None:
    sources, status = sources_of(root, DATA, load(root).model), load_status(root)
    from core.engine.edits import copy_job

    model, id = copy_job(sources.project, "tsCtf")
    model, _ = with_edits(model, {f"{id}.window": "256"})
    assert not impact(Plan(replace(sources, project=model).bind(job_folders(status, root)), 0), status)


def test_another_producer_makes_stale_what_takes_from_it(root: Path) -> None:
    sources, status = sources_of(root, DATA, load(root).model), load_status(root)
    from core.engine.edits import connect, copy_job

    model, id = copy_job(sources.project, "tsCtf")
    model, _ = with_edits(model, {f"{id}.window": "256"})
    model = connect(model, "tsReconstruct", "tilt_series_ctf", [id])
    found = impact(Plan(replace(sources, project=model).bind(job_folders(status, root)), 0), status)
    assert set(found.direct) == {"tsReconstruct"} and not found.later


def test_what_was_foretold_is_what_the_engine_finds(tmp_path: Path) -> None:
    from core.project.file import save

    root = rehearsal(tmp_path, series=2, tilts=3)
    run_to_end(root)
    edits = {"tsCtf.window": "256", "aligntiltsWarp.sample_thickness@Position_2": "90"}
    told = would_be(root, edits)
    loaded = load(root)
    save(root, with_edits(loaded.model, edits)[0], loaded.digest)
    found = states(run_to_end(root))
    status = load_status(root)
    stale = {
        (job.id, key)
        for job in status.jobs
        for key, state in zip(status.keys(job), found[job.id], strict=True)
        if state == "#"
    }
    foretold = {(job, key) for part in (told.direct, told.later) for job, keys in part.items() for key in keys}
    assert stale == foretold
    now = Plan(sources_of(root, DATA, load(root).model).bind(job_folders(status, root)), 0)
    assert impact(now, status).tasks == len(stale)


def test_200_series_in_12_jobs_are_compared_in_a_fifth_of_a_second(root: Path) -> None:
    sources = sources_of(root, DATA, load(root).model)
    many = tuple(replace(sources.registry.series[0], id=f"TS_{number}", name=f"TS_{number}") for number in range(200))
    plain = [{"id": each.id, "type": each.type} for each in sources.project.pipeline]
    for number in (2, 3):
        plain += [{"id": f"{type}__{number}", "type": type} for type in ("aligntiltsWarp", "tsCtf", "tsReconstruct")]
    project = ProjectFile.model_validate({"name": "many", "pipeline": plain})
    sources = replace(sources, project=project, registry=Registry(many))
    plan = Plan(sources.bind({}), 0)
    jobs = []
    for job in plan.jobs.values():
        keys = [*plan.series, *job.cohorts]
        prints = [plan.expected(job.id, key) for key in keys]
        jobs.append(
            JobStatus(
                job.id, job.bound.job_type.name, "", cohorts=list(job.cohorts), states=["+"] * len(keys),
                attempts=[1] * len(keys), fingerprints=prints, started=[1.0] * len(keys), ended=[2.0] * len(keys),
            )
        )  # fmt: skip
    status = Status(series=list(plan.series), names=list(plan.series), jobs=jobs)
    assert len(jobs) == 12 and not impact(plan, status)
    model, _ = with_edits(project, {"fsMotionAndCtf.c_range_max": "5"})
    took = []
    for _ in range(3):
        begin = time.process_time()
        found = impact(Plan(replace(sources, project=model).bind({}), 0), status)
        took.append(time.process_time() - begin)
    assert found.series == 200 and found.tasks > 2000
    assert all(not key.startswith(COHORT) for key in found.direct["fsMotionAndCtf"])
    assert min(took) < 0.4, took  # 0.2 s on a quiet machine
