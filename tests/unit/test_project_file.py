"""crboost.yaml: sentences for mistakes, versions, undo, conflicts."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dataset.model import Acquisition
from core.errors import ConflictError, CrboostError, InputError
from core.project.create import create_project
from core.project.file import (
    ensure_version,
    latest_version,
    load,
    load_version,
    parse_project,
    render,
    save,
    undo,
)
from core.project.layout import ProjectPaths
from core.project.model import AcquisitionValues, Instance, ProjectFile
from core.project.wanted import add_request

PIPELINE = [
    {"id": "importmovies", "type": "importmovies"},
    {"id": "fs", "type": "fsMotionAndCtf", "inputs": {"movies": ["importmovies"]}, "parameters": {"c_window": 512}},
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    create_project(tmp_path / "p", "first", "a note", {"pipeline": PIPELINE})
    return tmp_path / "p"


def change(root: Path, name: str) -> int:
    loaded = load(root)
    return save(root, loaded.model.model_copy(update={"name": name}), loaded.digest)


def test_a_new_project_can_be_read_back(root: Path) -> None:
    loaded = load(root)
    assert loaded.model.name == "first"
    assert loaded.model.note == "a note"
    assert loaded.model.instance("fs").parameters == {"c_window": 512}
    assert loaded.text.startswith("# ") and "note:" in loaded.text.splitlines()[0]
    assert latest_version(root) == 1
    assert render(loaded.model) == loaded.text


def test_a_project_is_not_made_twice(root: Path) -> None:
    with pytest.raises(InputError, match="is a crboost project already"):
        create_project(root, "again")


def test_nothing_is_made_where_the_pieces_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pipeline\[0\].type: is missing"):
        create_project(tmp_path / "p", "x", "", {"pipeline": [{"id": "aa"}]})
    assert not (tmp_path / "p").exists()


def test_every_acquisition_field_can_be_set() -> None:
    names = {field.name for field in fields(Acquisition)} - {"group"}
    assert set(AcquisitionValues.model_fields) == names | {"confirmed"}


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("name: x\nnmae: y\n", "nmae", "Did you mean 'name'"),
        ("name: x\npipeline:\n - {id: aa, type: b, paramters: {}}\n", "pipeline[0].paramters", "'parameters'"),
        (
            "name: x\npipeline:\n - {id: aa, type: b, parameters: {window: [1]}}\n",
            "pipeline[0].parameters.window",
            "must be one value",
        ),
        ("name: 5\n", "name", "is 5, but must be a text"),
        ("note: x\n", "name", "is missing"),
        (
            "name: x\nacquisition: {g1: {pixel_size_angstrom: big}}\n",
            "acquisition.g1.pixel_size_angstrom",
            "is 'big', but must be a number",
        ),
        ("name: x\nacquisition: {g1: {tilt_axis: 3}}\n", "acquisition.g1.tilt_axis", "'tilt_axis_deg'"),
        ("name: x\nacquisition: {g1: {confirmed: [pixelsize]}}\n", "acquisition.g1.confirmed[0]", "pixel_size"),
        ("name: x\ninstrument: {voltage_kv: -1}\n", "instrument.voltage_kv", "greater than 0"),
        ("name: x\ndecisions: {handedness: left}\n", "decisions.handedness", "flip or no_flip"),
        ("name: x\ndecisions: {hand: flip}\n", "decisions.hand", "no such decision"),
        ("name: x\npipeline: [{id: aa, type: b}, {id: aa, type: b}]\n", "pipeline[1].id", "two instances"),
        (
            "name: x\npipeline: [{id: aa, type: b, inputs: {s: [bb]}}, {id: bb, type: b}]\n",
            "pipeline[0].inputs.s",
            "does not stand before",
        ),
        ("name: x\npipeline: [{id: aa, type: b, inputs: {s: [zz]}}]\n", "pipeline[0].inputs.s", "is no instance"),
        (
            "name: x\npipeline: [{id: aa, type: b, resources: {minuts: 3}}]\n",
            "pipeline[0].resources.minuts",
            "'minutes'",
        ),
        ("name: x\nresources: {cpus: many}\n", "resources.cpus", "whole number"),
        ("name: x\npipeline: [{id: jobby, type: b}]\n", "pipeline[0].id", "must not begin with 'job'"),
        ("name: x\nrehearsal: yes\n", "rehearsal", "true or false"),
        ("name: x\npipeline: {}\n", "pipeline", "a list"),
    ],
)
def test_mistakes_are_sentences_with_their_place(text: str, path: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_project("format: 1\n" + text, "crboost.yaml")
    assert str(caught.value).startswith(f"crboost.yaml, {path}: ")
    assert said in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parse_project("format: 1\nname: 5\ninstrument: {voltage_kv: x}\nfoo: 1\n", "crboost.yaml")
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("text", ["- a\n", "5\n", "", "name: x\n"])
def test_what_is_no_project_file_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^crboost\.yaml"):
        parse_project(text, "crboost.yaml")


def test_a_file_of_a_newer_version_is_refused() -> None:
    with pytest.raises(InputError, match="made by a newer version"):
        parse_project("format: 2\nname: x\nbrand_new: 1\n", "crboost.yaml")


def test_whole_numbers_and_none_stay_what_they_are() -> None:
    text = "format: 1\nname: x\npipeline: [{id: aa, type: b, parameters: {a: 1, b: true, c: null, d: 1.5, e: '1'}}]\n"
    values = parse_project(text, "f").pipeline[0].parameters
    assert [(value, type(value)) for value in values.values()] == [
        (1, int),
        (True, bool),
        (None, type(None)),
        (1.5, float),
        ("1", str),
    ]


scalars = st.one_of(
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20),
)


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.text("abc: #'\"-é", min_size=1, max_size=8), scalars, max_size=4),
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=30),
)
def test_whatever_is_saved_is_read_back(parameters: dict[str, object], note: str) -> None:
    model = ProjectFile.model_validate(
        {"name": "x", "note": note, "pipeline": [{"id": "aa", "type": "b", "parameters": parameters}]}
    )
    again = parse_project(render(model), "f")
    assert again.pipeline[0].parameters == parameters
    assert again.note == note
    assert render(again) == render(model)


def test_saving_refuses_what_was_changed_meanwhile_and_shows_it(root: Path) -> None:
    loaded = load(root)
    path = ProjectPaths(root).file
    path.write_text(loaded.text.replace("c_window: 512", "c_window: 1024"))
    edited = path.read_text()
    with pytest.raises(ConflictError) as caught:
        save(root, loaded.model.model_copy(update={"name": "mine"}), loaded.digest)
    assert re.search(r"-\s+c_window: 512\n\+\s+c_window: 1024", str(caught.value))
    assert path.read_text() == edited
    assert latest_version(root) == 1


def test_a_hand_edited_file_becomes_a_version(root: Path) -> None:
    path = ProjectPaths(root).file
    assert ensure_version(root) == 1
    path.write_text(path.read_text().replace("first", "by hand"))
    assert ensure_version(root) == 2
    assert ensure_version(root) == 2
    assert load_version(root, 2).name == "by hand"
    assert load_version(root, 1).name == "first"


def test_a_broken_hand_edit_becomes_no_version(root: Path) -> None:
    ProjectPaths(root).file.write_text("format: 1\nname: [\n")
    with pytest.raises(InputError, match="line"):
        ensure_version(root)
    assert latest_version(root) == 1


def test_a_save_over_a_hand_edit_keeps_the_edit_as_a_version(root: Path) -> None:
    path = ProjectPaths(root).file
    path.write_text(path.read_text().replace("first", "by hand"))
    assert change(root, "saved") == 3
    assert load_version(root, 2).name == "by hand"


def test_undo_goes_further_back_each_time(root: Path) -> None:
    for name in ("two", "three", "four"):
        change(root, name)
    names = []
    for _ in range(3):
        undo(root)
        names.append(load(root).model.name)
    assert names == ["three", "two", "first"]
    with pytest.raises(InputError, match="no earlier version"):
        undo(root)


def test_after_undo_and_a_change_undo_returns_to_what_was_before_the_change(root: Path) -> None:
    change(root, "two")
    change(root, "three")
    undo(root)
    change(root, "other")
    undo(root)
    assert load(root).model.name == "two"
    undo(root)
    assert load(root).model.name == "first"


def test_saving_the_same_again_makes_no_version(root: Path) -> None:
    assert change(root, "first") == 1


def test_fifty_versions_are_kept_and_those_that_requests_name(root: Path) -> None:
    add_request(root, "run")
    for number in range(60):
        change(root, f"n{number}")
    assert load_version(root, 1).name == "first"
    assert load_version(root, 61).name == "n59"
    assert len(list(ProjectPaths(root).versions.glob("*.yaml"))) == 51
    with pytest.raises(InputError, match="version 5 of this project is not kept"):
        load_version(root, 5)


def test_replacing_an_instance_is_checked(root: Path) -> None:
    model = load(root).model
    changed = model.instance("fs").model_copy(update={"parameters": {"c_window": 256}})
    assert model.with_instance(changed).instance("fs").parameters == {"c_window": 256}
    with pytest.raises(InputError, match="Did you mean 'importmovies'"):
        model.instance("importmovie")
    added = model.with_instance(Instance(id="fs__2", type="fsMotionAndCtf"))
    assert [each.id for each in added.pipeline] == ["importmovies", "fs", "fs__2"]


def _rename_many(root: Path, tag: str, count: int) -> None:
    done = 0
    while done < count:
        loaded = load(root)
        note = f"{loaded.model.note} {tag}{done}"
        try:
            save(root, loaded.model.model_copy(update={"note": note}), loaded.digest)
        except ConflictError:
            continue
        done += 1


def test_two_processes_saving_lose_nothing(root: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_rename_many, args=(root, tag, 8)) for tag in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    words = load(root).model.note.split()
    assert sorted(words) == sorted(["a", "note"] + [f"{tag}{n}" for tag in "ab" for n in range(8)])
    assert latest_version(root) == 17
    assert not list(ProjectPaths(root).state.glob("lock*"))


def test_a_folder_that_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no crboost project"):
        load(tmp_path)


def test_a_read_only_project_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(root)
    state = ProjectPaths(root).state
    if os.getuid() == 0:

        def refuse(*_: object, **__: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    else:
        state.chmod(0o500)
    try:
        with pytest.raises(CrboostError, match="may not be written"):
            save(root, before.model.model_copy(update={"name": "x"}), before.digest)
    finally:
        monkeypatch.undo()
        state.chmod(0o755)
    assert load(root) == before


def test_a_full_disk_says_so_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "x", disk]).returncode != 0:
        pytest.skip("a small disk needs root")
    try:
        root = disk / "p"
        create_project(root, "first")
        before = load(root)
        with pytest.raises(OSError), open(disk / "filler", "wb", buffering=0) as stream:
            while True:
                stream.write(b"x" * 4096)
        long = before.model.model_copy(update={"note": "word " * 2000})
        with pytest.raises(CrboostError, match="disk or your quota is full"):
            save(root, long, before.digest)
        with pytest.raises(CrboostError, match="disk or your quota is full"):
            add_request(root, "run")
        assert load(root) == before
        (disk / "filler").unlink()
        assert save(root, long, before.digest) == 2
    finally:
        subprocess.run(["umount", disk], check=True)
