from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InputError
from core.tools.catalogue import Catalogue

FOLDER = Path(__file__).parents[2] / "config" / "catalogues"


@pytest.fixture(scope="module")
def warp() -> Catalogue:
    return Catalogue.load(FOLDER / "warptools.json")


SELECTION = ["WarpTools", "change_selection", "--settings", "a.settings"]
CTF = ["WarpTools", "fs_ctf", "--settings", "a.settings"]


def test_a_good_command_has_no_problem(warp: Catalogue) -> None:
    words = [*CTF, "--range_min", "30", "--range_max", "4.5", "--use_sum", "--device_list", "0", "1", "--grid", "2x2x1"]
    assert warp.check(words, "head") == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([*CTF, "--rnage_min", "30"], "no option --rnage_min"),
        ([*CTF, "--range", "30"], "no option --range "),  # no abbreviations
        ([*CTF, "--Range_min", "30"], "no option --Range_min"),  # case counts
        ([*CTF, "--window", "512", "--window", "512"], "more than once"),
        ([*CTF, "--device_list", "0", "--device_list", "1"], "more than once"),
        ([*CTF, "--device_list", "0,1"], "not a whole number"),
        ([*CTF, "--window"], "has no value"),
        ([*CTF, "--window="], "has no value"),
        ([*CTF, "--window", "10.0"], "not a whole number"),
        ([*CTF, "--window", "1e3"], "not a whole number"),
        ([*CTF, "--range_min", "10,5"], "decimal point"),  # WarpTools would read 105
        ([*CTF, "--range_min", "1e-3"], "decimal point"),
        ([*CTF, "--range_min", "-.6"], "has no value"),
        ([*CTF, "--range_min=.6"], "decimal point"),
        ([*CTF, "--use_sum", "false"], "takes no value"),  # would be true
        ([*CTF, "--use_sum=false"], "takes no value"),
        ([*CTF, "--window", "512", "600"], "would be ignored"),
        (["WarpTools", "fs_ctf", "stray", "--settings", "a"], "belongs to no option"),
        (["WarpTools", "fs_ctf", "--window", "512"], "needs --settings"),
        (["WarpTools", "fs_ctff"], "no command"),
        (["WarpTools"], "needs a command"),
    ],
)
def test_what_the_parser_refuses_or_swallows_is_a_problem(warp: Catalogue, words: list[str], part: str) -> None:
    assert any(part in problem for problem in warp.check(words, "head")), warp.check(words, "head")


def test_values_with_a_minus(warp: Catalogue) -> None:
    assert warp.check([*CTF, "--range_min", "-0.6"], "head") == []
    assert warp.check([*SELECTION, "--input_processing=-odd/name"], "head") == []
    assert any("no value" in problem for problem in warp.check([*SELECTION, "--input_processing", "-odd"], "head"))


def test_short_options_are_the_same_option(warp: Catalogue) -> None:
    base = ["WarpTools", "create_settings", "--folder_data", "f", "--angpix", "1"]
    assert warp.check([*base, "-o", "x"], "head") == []
    assert any("more than once" in p for p in warp.check([*base, "-o", "x", "--output", "y"], "head"))


def test_versions_differ_in_the_queue_options(warp: Catalogue) -> None:
    words = [*CTF, "--task_dir", "/scratch/q"]
    assert warp.check(words, "head") == []
    assert any("--task_dir" in problem for problem in warp.check(words, "dev39"))
    assert any("no version" in problem for problem in warp.check(words, "3.0"))


def test_a_broken_catalogue_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "warptools.json"
    for text in ("{", "[]", '{"tool": "x", "versions": [], "commands": {"a": {}}}'):
        path.write_text(text)
        with pytest.raises(InputError, match="not an option catalogue"):
            Catalogue.load(path)
