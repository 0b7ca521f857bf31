"""Raw data of a project: linked and never touched, added to, and followed when they move."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.dataset.registry import load_registry
from core.dataset.scan import inspect
from core.errors import ConflictError, InputError
from core.formats.mdoc import read_mdoc
from core.project.data import add_data, link_data, relink
from core.project.layout import ProjectPaths
from tests.unit.dataset_files import DOSE_SYMMETRIC, serialem, write_mrc, write_old, write_session


def state_of(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*"))


def test_links_mdocs_as_used_and_registry(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS 1"])
    (frames / "TS 1_002_-3.0.mrc").unlink()
    before = state_of(tmp_path / "raw")
    root = tmp_path / "project"
    registry = link_data(root, inspect([str(frames)], [str(mdocs)]))
    paths = ProjectPaths(root)
    assert load_registry(paths.registry) == registry
    assert registry.batches[0].added
    assert sorted(os.listdir(paths.frames)) == sorted(
        f"TS_1_{index:03d}_{angle:.1f}.mrc" for index, angle in enumerate(DOSE_SYMMETRIC) if index != 2
    )
    assert os.readlink(paths.frames / "TS_1_000_0.0.mrc") == str(frames / "TS 1_000_0.0.mrc")
    used, raw = read_mdoc(paths.mdoc / "TS_1.mdoc"), read_mdoc(mdocs / "TS 1.mrc.mdoc")
    assert len(used.sections) == 7
    assert (used.header, used.titles) == (raw.header, raw.titles)
    for number, (mine, theirs) in enumerate(zip(used.sections, raw.sections, strict=True)):
        assert mine.values["SubFramePath"] == f"TS_1_{number:03d}_{DOSE_SYMMETRIC[number]:.1f}.mrc"
        assert {**mine.values, "SubFramePath": ""} == {**theirs.values, "SubFramePath": ""}
    assert state_of(tmp_path / "raw") == before


def test_subframepath_is_added_where_there_was_none_and_repeats_leave(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    write_old(mdocs / "TS_1.mrc.mdoc", serialem("TS_1", with_path=False))
    link_data(tmp_path / "p1", inspect([str(frames)], [str(mdocs)]))
    used = read_mdoc(tmp_path / "p1/mdoc/TS_1.mdoc")
    assert used.sections[3].values["SubFramePath"] == "TS_1_003_-6.0.mrc"
    text = serialem("TS_1")
    write_old(mdocs / "TS_1.mrc.mdoc", text + text[text.index("[ZValue = 6]") :])
    link_data(tmp_path / "p2", inspect([str(frames)], [str(mdocs)]))
    assert len(read_mdoc(tmp_path / "p2/mdoc/TS_1.mdoc").sections) == 7


def test_doing_it_again_changes_nothing(tmp_path: Path) -> None:
    frames, mdocs = write_session(tmp_path, ["TS_1", "TS_2"])
    root = tmp_path / "project"
    add_data(root, [str(frames)], [str(mdocs)])
    before = {path: os.lstat(path).st_mtime_ns for path in (root / "frames").iterdir()}
    mdoc_before = state_of(root / "mdoc")
    registry = load_registry(ProjectPaths(root).registry)
    assert add_data(root, [str(frames)], [str(mdocs)]).added == ()
    assert load_registry(ProjectPaths(root).registry) == registry
    assert before == {path: os.lstat(path).st_mtime_ns for path in (root / "frames").iterdir()}
    assert state_of(root / "mdoc") == mdoc_before


def test_data_are_added_and_ids_stay(tmp_path: Path) -> None:
    root = tmp_path / "project"
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    last = frames / "TS_1_006_-9.0.mrc"
    last.unlink()
    add_data(root, [str(frames)], [str(mdocs)])
    assert load_registry(ProjectPaths(root).registry).series[0].tilts.problem[6]
    write_mrc(last)
    write_old(mdocs / "lowmag.mdoc", "Montage = 1\n\n[ZValue = 0]\nTiltAngle = 0\n")
    write_session(tmp_path, ["TS_1", "TS_2"])
    other = write_session(tmp_path / "second", ["TS_1"], axis=80.0)
    write_old(other[1] / "TS_1.mrc.mdoc", serialem("TS_1", start_minute=200))
    assert add_data(root, [str(frames)], [str(mdocs)]).added == ("TS_2",)
    assert add_data(root, [str(other[0])], [str(other[1])]).added == ("TS_1_2",)
    registry = load_registry(ProjectPaths(root).registry)
    assert [(series.id, series.group) for series in registry.series] == [
        ("TS_1", "optics1"),
        ("TS_2", "optics1"),
        ("TS_1_2", "optics2"),
    ]
    assert [batch.name for batch in registry.batches] == ["batch1", "batch2"]
    assert registry.series[0].tilts.problem == ("",) * 7
    assert registry.series[2].tilts.movie[0] == "TS_1_2_TS_1_000_0.0.mrc"
    assert [refused.reason for refused in registry.refused] == ["a montage, not a tilt series"]
    assert len(os.listdir(root / "frames")) == 21


def test_an_old_inspection_and_a_real_file_in_the_way_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "project"
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    stale = inspect([str(frames)], [str(mdocs)])
    other = write_session(tmp_path / "second", ["TS_1"])
    write_old(other[1] / "TS_1.mrc.mdoc", serialem("TS_1", start_minute=200))
    add_data(root, [str(other[0])], [str(other[1])])
    with pytest.raises(ConflictError, match="inspect them again"):
        link_data(root, stale)
    (tmp_path / "p2" / "frames").mkdir(parents=True)
    (tmp_path / "p2" / "frames" / "TS_1_000_0.0.mrc").write_text("mine")
    with pytest.raises(InputError, match="is a file where the link"):
        link_data(tmp_path / "p2", stale)


def test_relink_after_the_raw_data_moved(tmp_path: Path) -> None:
    root = tmp_path / "project"
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    write_mrc(frames.parent / "gain.mrc", frames=1)
    add_data(root, [str(frames)], [str(mdocs)])
    (tmp_path / "raw").rename(tmp_path / "archive")
    target = tmp_path / "archive" / "frames" / "TS_1_003_-6.0.mrc"
    data = target.read_bytes()
    target.write_bytes(data[:-1])
    registry = (root / ".crboost/registry.json").read_bytes()
    report = relink(root, str(tmp_path / "raw"), str(tmp_path / "archive"))
    assert (report.done, report.moved, report.different, report.missing) == (False, 6, (str(target),), ())
    assert (root / ".crboost/registry.json").read_bytes() == registry
    assert not (root / "frames" / "TS_1_000_0.0.mrc").exists()
    target.write_bytes(data)
    report = relink(root, f"{tmp_path}/raw/", f"{tmp_path}/archive/")
    assert (report.done, report.moved) == (True, 7)
    assert all(path.exists() for path in (root / "frames").iterdir())
    series = load_registry(ProjectPaths(root).registry).series[0]
    assert series.tilts.source[3] == str(target)
    assert series.mdoc == str(tmp_path / "archive/mdoc/TS_1.mrc.mdoc")
    assert series.detected["gain_path"].value == str(tmp_path / "archive/gain.mrc")
    assert add_data(root, [str(tmp_path / "archive/frames")], [str(tmp_path / "archive/mdoc")]).added == ()
    assert len(load_registry(ProjectPaths(root).registry).batches) == 1
    with pytest.raises(InputError, match="no raw data"):
        relink(root, str(tmp_path / "raw"), str(tmp_path / "archive"))


def test_relink_anyway(tmp_path: Path) -> None:
    root = tmp_path / "project"
    frames, mdocs = write_session(tmp_path, ["TS_1"])
    add_data(root, [str(frames)], [str(mdocs)])
    (tmp_path / "raw").rename(tmp_path / "archive")
    (tmp_path / "archive/frames/TS_1_000_0.0.mrc").unlink()
    report = relink(root, str(tmp_path / "raw"), str(tmp_path / "archive"), anyway=True)
    assert report.done and len(report.missing) == 1
    assert os.readlink(root / "frames/TS_1_000_0.0.mrc") == str(tmp_path / "archive/frames/TS_1_000_0.0.mrc")
