"""The Warp steps one after another on a synthetic session with the stand-in tools: from movies to tomograms."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.dataset.acquisition import effective
from core.dataset.registry import Registry
from core.dataset.scan import inspect
from core.formats import star
from core.jobs import (
    align_tilts_warp,
    fs_motion_and_ctf,
    importmovies,
    ts_autolevel,
    ts_ctf,
    ts_import,
    ts_reconstruct,
)
from core.jobs._base import JobContext, JobType, Producer, SeriesContext, SeriesResult, TaskContext
from core.jobs._star import read_series
from core.jobs._task import COHORT, Check, Copy, Link, MakeFolder, MoveAside, Work, WriteText
from core.project.data import link_data
from core.project.decisions import Decision
from core.quality.axis import departure_deg
from core.standins.install import install
from core.standins.session import Session, make_session

CATALOGUES = Path(__file__).resolve().parents[2] / "config" / "catalogues"
STEPS: tuple[tuple[JobType[Any], str, dict[str, Any]], ...] = (
    (importmovies.JOB_TYPE, "Import/job001", {}),
    (fs_motion_and_ctf.JOB_TYPE, "External/job002", {}),
    (ts_import.JOB_TYPE, "External/job003", {}),
    (align_tilts_warp.JOB_TYPE, "External/job004", {"tomogram_thickness": 20.0, "sample_thickness": 15.0}),
    (ts_autolevel.JOB_TYPE, "External/job005", {}),
    (ts_ctf.JOB_TYPE, "External/job006", {}),
    (ts_reconstruct.JOB_TYPE, "External/job007", {"pixel_size": 5.4}),
)


class Walk:
    """Runs jobs in order, as the engine would: stage, commands, products, gather."""

    def __init__(self, project: Path, session: Session) -> None:
        self.project = project
        self.registry: Registry = link_data(
            project, inspect([str(session.frames)], [str(session.mdocs)], settle_seconds=0)
        )
        self.warp = install(project / "standins", CATALOGUES, settings={"seconds": 0}, python=sys.executable)["warp"]
        self.decisions: dict[str, Decision] = {}
        self.producers: dict[str, Producer] = {}
        self.results: dict[str, Mapping[str, SeriesResult]] = {}
        self.jobs: dict[str, JobContext[Any]] = {}

    def job(self, kind: JobType[Any], folder: str, values: Mapping[str, Any]) -> None:
        job = JobContext(self.project, kind.name, self.project / folder, kind.parameters(**values), self.decisions)
        job.folder.mkdir(parents=True, exist_ok=True)
        inputs = {slot.name: self.producers[slot.kind] for slot in kind.slots if slot.kind in self.producers}
        contexts = {
            # The session's handedness is said for the angles as WarpTools imports them by default: minus the stage's.
            series.id: SeriesContext(
                series, effective(series, {"invert_tilt_angles": True}, {}, {}), job.values, inputs
            )
            for series in self.registry.series
        }
        results: dict[str, SeriesResult] = {}
        declarations = kind.declare(job, list(contexts.values()))
        for declared in declarations:
            key = declared.series
            context = None if key.startswith(COHORT) else contexts[key]
            cohort = tuple(contexts[member] for member in declared.cohort)
            task = TaskContext(job, key, 1, context, cohort, cpus=1, gpus=1)
            work = kind.build(task)
            if work.internal:
                kind.run_internal(task)
            self.run(work)
            results[key] = kind.gather_series(job, key, context)
            assert results[key].problem == "", f"{kind.name} {key}"
            made = kind.gather_job(replace(job, settled=declared == declarations[-1]), results, contexts)
            self.decisions.update({decision.key: decision for decision in made.decisions})
            job = replace(job, decisions=self.decisions)
        for kept in kind.provides:
            self.producers[kept] = Producer(kind.name, kind.name, kind.provides, job.folder, job.values, inputs)
        self.results[kind.name], self.jobs[kind.name] = results, job

    def run(self, work: Work) -> None:
        for path in work.inputs:
            assert Path(path).exists(), path
        for operation in work.stage:
            self.stage(operation)
        for command in work.commands:
            argv = [*self.warp, *command.argv] if command.tool == "warp" else list(command.argv)
            environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **dict(command.env)}
            done = subprocess.run(argv, cwd=command.cwd, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command.argv}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            assert command.alive_marker in done.stdout
        for product in work.products:
            there = [path for path in product.paths if Path(path).exists() and Path(path).stat().st_size]
            needed = len(product.paths) if product.at_least is None else product.at_least
            assert len(there) >= needed, product.paths
            if product.check == Check.WORDS:
                assert all(word in Path(path).read_text() for path in there for word in product.words)

    def stage(self, operation: Any) -> None:
        path = Path(operation.path)
        match operation:
            case MakeFolder():
                path.mkdir(parents=True, exist_ok=True)
            case Link(target=target):
                path.unlink(missing_ok=True)
                path.symlink_to(target)
            case Copy(source=source, pattern=pattern):
                for file in Path(source).glob(pattern) if pattern else (Path(source),):
                    shutil.copy(file, path)
            case MoveAside():
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            case WriteText(text=text):
                path.write_text(text)


@pytest.fixture(scope="module", params=[84.7, -4.3])
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Walk, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("walk")
    axis = request.param
    flip = axis > 0
    session = make_session(
        folder / "data",
        series=2 if flip else 1,
        tilts=5,
        step_deg=9.0,
        size_px=(144, 112),
        axis_deg=axis,
        nominal_axis_deg=axis + 6,
        handedness_flip=flip,
    )
    project = folder / "project"
    project.mkdir()
    walk = Walk(project, session)
    for step in STEPS:
        walk.job(*step)
    return walk, json.loads(session.truth.read_text())


def test_the_calibrated_axis_is_the_true_one(walked: tuple[Walk, dict[str, Any]]) -> None:
    walk, truth = walked
    (axis,) = [decision for key, decision in walk.decisions.items() if key.startswith("tilt_axis:")]
    assert isinstance(axis.value, float)
    assert abs(departure_deg(axis.value, truth["axis_deg"])) < 1.5
    for series in walk.registry.series:
        numbers = walk.results["aligntiltsWarp"][series.id].numbers
        assert abs(numbers["tilt_axis_departure_deg"]) < 0.01


def test_the_handedness_is_the_true_one(walked: tuple[Walk, dict[str, Any]]) -> None:
    walk, truth = walked
    decision = walk.decisions["handedness"]
    assert decision.value == ("flip" if truth["handedness_flip"] else "no_flip"), decision.evidence
    block = star.read(walk.jobs["tsCtf"].folder / "tilt_series_ctf.star").block("global")
    assert {float(value) for value in block.column("rlnTomoHand")} == {-1.0 if truth["handedness_flip"] else 1.0}


def test_every_tilt_has_geometry_and_defocus(walked: tuple[Walk, dict[str, Any]]) -> None:
    walk, _ = walked
    for series in walk.registry.series:
        rows = read_series(walk.jobs["tsReconstruct"].folder, series.id)
        assert len(rows) == 5
        for row in rows:
            assert 1e3 < float(row["rlnDefocusU"]) < 1e5
            assert "rlnTomoZRot" in row
            assert "rlnCtfScalefactor" in row
            assert "rlnMicrographName" in row


def test_the_tomograms_are_named_for_relion(walked: tuple[Walk, dict[str, Any]]) -> None:
    walk, truth = walked
    block = star.read(walk.jobs["tsReconstruct"].folder / "tomograms.star").block("global")
    across = abs(truth["axis_deg"]) > 45
    for row in block.rows:
        values = dict(zip(block.labels, row, strict=True))
        assert (walk.project / values["rlnTomoReconstructedTomogramHalf2"]).is_file()
        assert (int(values["rlnTomoSizeX"]), int(values["rlnTomoSizeY"])) == ((112, 144) if across else (144, 112))
        assert float(values["rlnTomoTomogramBinning"]) == pytest.approx(4)
