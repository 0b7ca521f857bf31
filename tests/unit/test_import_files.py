"""What *New project* reads from the disk while one types: counts, completions, whether a folder will do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crboost_tui import import_files
from crboost_tui.import_files import complete, count_data, look_at_place, suggested_name, tilde


def never() -> bool:
    return False


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_patterns_folders_and_files_are_counted_together(tmp_path: Path) -> None:
    touch(tmp_path / "a", "1.eer", "2.eer", "notes.txt", ".hidden.eer", "gain.mrc")
    touch(tmp_path / "b" / "deep", "3.tif", "4.tif")
    found = count_data(f"{tmp_path}/a, {tmp_path}/b/**/*.tif, {tmp_path}/a/1.eer", "", never).movies
    assert (found.number, found.kinds, found.problem) == (5, (".eer", ".tif"), "")


def test_movies_in_folders_below_are_taken_eer_before_mrc(tmp_path: Path) -> None:
    touch(tmp_path / "s" / "grid1", "1.eer")
    touch(tmp_path / "s" / "grid2", "2.eer")
    touch(tmp_path / "s" / "averages", "1.mrc", "2.mrc")
    found = count_data(f"{tmp_path}/s", "", never).movies
    assert found.patterns == (f"{tmp_path}/s/grid1", f"{tmp_path}/s/grid2")
    assert (found.number, found.near) == (2, "grid1/, grid2/")


@pytest.mark.parametrize("place", ["frames", "", "mdocs", "frames/mdocs"])
def test_mdocs_are_found_near_the_movies(tmp_path: Path, place: str) -> None:
    touch(tmp_path / "s" / "frames", "1.eer")
    touch(tmp_path / "s" / place, "1.mdoc")
    found = count_data(f"{tmp_path}/s/frames/*.eer", "", never).mdocs
    assert (found.number, os.path.normpath(found.patterns[0])) == (1, os.path.normpath(tmp_path / "s" / place))


def test_one_bad_pattern_among_good_ones_is_told(tmp_path: Path) -> None:
    touch(tmp_path / "a", "1.eer")
    found = count_data(f"{tmp_path}/a, {tmp_path}/gone", "", never).movies
    assert found.number == 1
    assert found.problem == f"no file matches; {tmp_path} holds no files"


def test_counting_ends_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *(f"{number}.eer" for number in range(3000)))
    monkeypatch.setattr(import_files, "SECONDS", -1.0)
    found = count_data(str(tmp_path), "", never).movies
    assert found.more and 0 < found.number < 3000
    assert found.some


def test_a_newer_question_ends_an_older_one(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number}.eer" for number in range(3000)))
    assert count_data(str(tmp_path), "", lambda: True).movies.number < 3000


@pytest.mark.parametrize(
    ("text", "common", "names"),
    [
        ("{}/al", "{}/alp", ["alpha/", "alpine/"]),
        ("{}/beta", "{}/beta/", ["beta/"]),
        ("{}/TS", "{}/TS*.eer", ["TS*.eer"]),
        ("{}/x, {}/be", "{}/x, {}/beta/", ["beta/"]),
        ("{}/*.e", "{}/*.e", []),
        ("{}/gone/x", "{}/gone/x", []),
    ],
)
def test_completion(tmp_path: Path, text: str, common: str, names: list[str]) -> None:
    for name in ("alpha", "alpine", "beta", ".git"):
        (tmp_path / name).mkdir()
    touch(tmp_path, "TS_1.eer", "TS_2.eer", "other.txt")
    place = str(tmp_path)
    found = complete(text.replace("{}", place), "movies", never)
    assert found.common == common.replace("{}", place)
    assert [each.name for each in found.candidates] == names


def test_only_folders_are_completed_for_a_project(tmp_path: Path) -> None:
    touch(tmp_path, "p.eer")
    (tmp_path / "projects").mkdir()
    assert [each.name for each in complete(f"{tmp_path}/p", "folder", never).candidates] == ["projects/"]


def _project(root: Path) -> None:
    touch(root, "crboost.yaml")


def _file(root: Path) -> None:
    root.write_bytes(b"")


def _relion(root: Path) -> None:
    touch(root, "default_pipeline.star")


@pytest.mark.parametrize(
    ("make", "good", "words"),
    [
        (None, True, "will be made"),
        (_project, False, "a project is there already"),
        (_file, False, "is a file"),
        (_relion, True, "a RELION project is there"),
        (lambda root: touch(root, "notes.txt"), True, "not empty"),
        (lambda root: touch(root), True, "there and empty"),
    ],
)
def test_where_a_project_can_be_made(
    tmp_path: Path, make: Callable[[Path], object] | None, good: bool, words: str
) -> None:
    if make is not None:
        make(tmp_path / "p")
    found = look_at_place("p", str(tmp_path))
    assert (found.path, found.good) == (f"{tmp_path}/p", good)
    assert words in found.sentence


def test_a_name_is_taken_from_the_part_of_the_path_that_says_something() -> None:
    assert suggested_name(("/data/2026_ribosome/frames/*.eer",)) == "2026_ribosome"
    assert suggested_name(("/data/raw",)) == ""


def test_home_is_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert [tilde(path) for path in ("/home/ada", "/home/ada/p", "/home/adam")] == ["~", "~/p", "/home/adam"]
