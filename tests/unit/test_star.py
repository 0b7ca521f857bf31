"""STAR files: identical bytes back, RELION's form for what is new, clear refusals."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.formats import star
from tests.shared import SHARED, shared

RELION_HEADER = "\n# version 50001\n\n"
HAND_WRITTEN = (
    "RELION_OUTPUT_NODES.star",
    "input_aligned_tilt_series.star",
    "import_tilt_series_SYNTHETIC.star",
    "import_tilt_series_TS_01_SYNTHETIC.star",
)


def sample_files() -> list[Path]:
    folders = [SHARED / "facts" / "relion-samples", SHARED / "data" / "relion"]
    return sorted(path for folder in folders for path in folder.rglob("*.star"))


def test_every_sample_comes_back_byte_for_byte() -> None:
    shared("facts/relion-samples")
    files = sample_files()
    assert len(files) >= 148
    for path in files:
        data = path.read_bytes()
        assert star.parse(data.decode(), str(path)).render().encode() == data, path


def label_types() -> dict[str, str]:
    text = shared("facts/relion-samples/metadata-labels-5.1.txt").read_text()
    return dict(re.findall(r"^ *(rln\w+) \((\w+(?: \w+)?)\)", text, re.MULTILINE))


def typed(label: str, text: str, types: dict[str, str]) -> star.StarValue:
    kind = types.get(label, "string")
    if kind == "double":
        return float(text)
    if kind in ("int", "bool"):
        return int(text)
    return text


def test_relions_own_files_are_recreated_from_their_values() -> None:
    types = label_types()
    recreated = 0
    for path in sample_files():
        text = path.read_text()
        if not text.startswith(RELION_HEADER) or not text.endswith("\n \n") or path.name in HAND_WRITTEN:
            continue
        parsed = star.parse(text)
        blocks = []
        for block in parsed.blocks:
            rows = [
                [typed(label, cell, types) for label, cell in zip(block.labels, row, strict=True)] for row in block.rows
            ]
            if block.is_loop:
                blocks.append(star.loop_block(block.name, block.labels, rows))
            else:
                blocks.append(star.list_block(block.name, dict(zip(block.labels, rows[0], strict=True))))
        mine = "".join(block.render() for block in blocks)
        assert mine == text, path
        recreated += 1
    assert recreated > 100


def test_a_new_file_has_relions_form() -> None:
    made = star.new_file(
        [
            star.list_block("general", {"rlnPipeLineJobCounter": 8}),
            star.loop_block(
                "x", ["rlnTomoName", "rlnVoltage", "rlnTomoFrameCount"], [["TS_1", 300.0, 41], ["a b", -0.00012, 3]]
            ),
            star.loop_block("empty", ["rlnTomoName"], []),
        ]
    )
    assert made.render() == (
        "\n# version 50001\n\ndata_general\n\n_rlnPipeLineJobCounter                       8\n \n"
        "\n# version 50001\n\ndata_x\n\nloop_ \n_rlnTomoName #1 \n_rlnVoltage #2 \n_rlnTomoFrameCount #3 \n"
        '      TS_1   300.000000           41 \n     "a b" -1.20000e-04            3 \n \n'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000000"),
        (1.0, "1.000000"),
        (-1.38051, "-1.38051"),
        (100000.0, "100000.00000"[:12]),
        (100001.0, "1.000010e+05"),
        (0.00099, "9.900000e-04"),
        (30100.0, "30100.000000"),
        (-30100.5, "-30100.50000"),
        (12345.6789012, "12345.678901"),
    ],
)
def test_numbers_by_relions_rules(value: float, text: str) -> None:
    assert star.format_float(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ("plain", "plain"),
        ("hello world", '"hello world"'),
        ("'a b'", "\"'a b'\""),
        ('"xy', '""xy"'),
        ('--flag --x "1 2"', '"--flag --x "1 2""'),
        ('say "a" b', '"say "a\a" b"'),
        ("#hash", '"#hash"'),
        ("a#b", "a#b"),
        ("C:\\x", "C:\\x"),
    ],
)
def test_strings_by_relions_rules(value: str, text: str) -> None:
    rendered = star.loop_block("x", ["a", "b"], [["k", value]]).render()
    assert rendered.splitlines()[-2] == "         k " + text.rjust(10) + " "
    assert star.parse(rendered).block("x").rows == [["k", value]]


def test_vectors_and_refused_values() -> None:
    block = star.loop_block("x", ["rlnTomoVisibleFrames", "a"], [[[1, 0, 1], "y"]])
    assert block.rows[0][0] == "[1,0,1]"
    for value in ("two\nlines", "bell\a", float("nan"), float("inf"), "return\r"):
        with pytest.raises(InputError):
            star.loop_block("x", ["a"], [[value]])


PIPELINE = (
    "\n# version 50001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter                       8\n \n"
    "\n# version 50001\n\ndata_pipeline_processes\n\nloop_ \n_rlnPipeLineProcessName #1 \n"
    "_rlnPipeLineProcessAlias #2 \n_rlnPipeLineProcessStatusLabel #3 \n"
    "External/job001/       None    Running \nExternal/job002/ External/x/     Failed \n \n"
)


def test_changes_touch_only_what_they_change() -> None:
    parsed = star.parse(PIPELINE)
    parsed.block("pipeline_general").set("rlnPipeLineJobCounter", 9)
    table = parsed.block("pipeline_processes")
    table.rows[0][table.index("rlnPipeLineProcessStatusLabel")] = "Succeeded"
    table.rows[1][1] = "None"
    table.append_row(
        {
            "rlnPipeLineProcessName": "External/job003/",
            "rlnPipeLineProcessAlias": "None",
            "rlnPipeLineProcessStatusLabel": "Scheduled",
        }
    )
    expected = (
        PIPELINE.replace("   Running ", " Succeeded ")
        .replace("External/x/", "      None")
        .replace("    8\n", "    9\n")
    )
    expected = expected[:-2] + "External/job003/       None  Scheduled \n \n"
    assert parsed.render() == expected
    with pytest.raises(InputError, match="missing or has too much"):
        table.append_row({"rlnPipeLineProcessName": "x"})


def test_rows_may_be_removed_reordered_and_columns_added() -> None:
    parsed = star.parse(PIPELINE)
    table = parsed.block("pipeline_processes")
    table.rows.reverse()
    table.set_column("rlnTomoFrameCount", [41, 7])
    lines = parsed.render().splitlines()
    assert lines[-5:] == [
        "_rlnPipeLineProcessStatusLabel #3 ",
        "_rlnTomoFrameCount #4 ",
        "External/job002/ External/x/     Failed           41 ",
        "External/job001/       None    Running            7 ",
        " ",
    ]
    del table.rows[0]
    assert star.parse(parsed.render()).block("pipeline_processes").column("rlnTomoFrameCount") == ["7"]


def test_files_of_the_starfile_package() -> None:
    text = (
        "# Created by the starfile Python package (version 0.5.13) at 11:53:14 on 15/03/2024\n\n\n"
        "data_global\n\nloop_\n_rlnTomoName #1\n_rlnVoltage #2\nTS_01\t300.000000\nTS_02\t300.000000\n\n\n"
        'data_\n\n_rlnA\t\t\t1\n_rlnB\t\t\t"two words"\n\n\n'
    )
    parsed = star.parse(text)
    assert parsed.render() == text
    assert parsed.block("global").column("rlnVoltage") == ["300.000000", "300.000000"]
    assert parsed.block("").pairs() == {"rlnA": "1", "rlnB": "two words"}
    parsed.block("global").rows[1][0] = "TS_03"
    assert "TS_03\t300.000000\n" in parsed.render()


def test_written_files_are_read_by_the_starfile_package(tmp_path: Path) -> None:
    import starfile

    path = tmp_path / "x.star"
    rows: list[list[star.StarValue]] = [["TS_01", 300.0, 1], ["TS_02", -2.5, 2]]
    path.write_text(
        star.new_file([star.loop_block("t", ["rlnTomoName", "rlnVoltage", "rlnTomoFrameCount"], rows)]).render()
    )
    table = starfile.read(path)
    assert list(table["rlnTomoName"]) == ["TS_01", "TS_02"]
    assert list(table["rlnVoltage"]) == [300.0, -2.5]


def test_old_and_odd_but_legal() -> None:
    text = "data_job\n\nloop_ \n_rlnJobOptionVariable #1 \n_rlnJobOptionValue #2 \n"
    text += " fn_mtf  \n# a comment\n  a   b # end\n\n"
    parsed = star.parse(text)
    assert parsed.block("job").rows == [["fn_mtf", ""], ["a", "b"]]
    assert parsed.render() == text
    both = "data_x\n_rlnA 1\nloop_\n_rlnB #1\n5\n"
    parsed = star.parse(both)
    assert [block.is_loop for block in parsed.blocks] == [False, True]
    assert parsed.render() == both


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("hello\n", "line 1.*before the first data_ block"),
        ("data_x\r\n", "line 1.*Windows line ends"),
        ("data_x\n\nloop_\n_a #1\n_b #2\n1 2\n1 2 3\n", "line 7.*too many columns.*3 where there are 2"),
        ("data_x\n\nloop_\n_a #1\n_b #2\n_c #3\n1 2\n", "line 7.*too few columns"),
        ("data_x\n\nloop_\n_a #1\n_b #2\n1 2\n\n3 4\n", "line 8.*after the end of a table"),
        ("data_x\n\nloop_\n_a #1\n_b #2\n1 2.34", "line 6.*cut off"),
        ("data_x\n\n_a 1.2", "line 3.*cut off"),
        ("data_x\n\n_a\n", "line 3.*no value"),
        ("data_x\n\n_a b c\n", "line 3.*more than one value"),
        ('data_x\n\n_a "b c\n', "line 3.*not closed"),
        ("data_x\n\n_a 1\n_a 2\n", "line 4.*twice"),
        ("data_x\n\nloop_\n\n", "line 3.*without labels"),
        ("data_x\n\0\x01\n", "line 2.*binary"),
        ("# only a comment\n", "no data_ block"),
    ],
)
def test_what_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        star.parse(text, "f.star")
    assert re.search(sentence, str(caught.value)), str(caught.value)
    assert str(caught.value).startswith("f.star")


def test_missing_blocks_and_labels_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.star"
    path.write_text(PIPELINE)
    with pytest.raises(InputError, match=r"x\.star: has no block data_nodes .found: data_pipeline_general"):
        star.read_columns(path, "nodes", ["a"])
    with pytest.raises(InputError, match=r"x\.star: has no rlnX"):
        star.read_columns(path, "pipeline_processes", ["rlnX"])
    (tmp_path / "b.star").write_bytes(b"\xff\xfe\x00data")
    with pytest.raises(InputError, match=r"b\.star"):
        star.read(tmp_path / "b.star")


def test_large_tables_are_fast() -> None:
    row = " ".join(f"{number:12.6f}" for number in range(60)) + " \n"
    wide = "data_x\n\nloop_ \n" + "".join(f"_c{n} #{n + 1} \n" for n in range(60)) + row * 2000 + " \n"
    start = time.perf_counter()
    parsed = star.parse(wide)
    assert len(parsed.blocks[0].rows) == 2000
    assert parsed.render() == wide
    assert time.perf_counter() - start < 0.5


cells = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\"' \t#_;\\"), min_size=0, max_size=12
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=5), cells)
def test_any_text_survives(rows: list[tuple[str, str, str]], value: str) -> None:
    made = star.new_file(
        [star.loop_block("t", ["a", "b", "c"], rows), star.list_block("l", {"x": value, "longer_label": "y"})]
    )
    text = made.render()
    parsed = star.parse(text)
    assert parsed.block("t").rows == [list(row) for row in rows]
    assert parsed.block("l").pairs() == {"x": value, "longer_label": "y"}
    assert parsed.render() == text
    parsed.block("t").rows[0][1] = value
    parsed.block("l").set("x", rows[0][0])
    again = star.parse(parsed.render())
    assert again.block("t").rows[0] == [rows[0][0], value, rows[0][2]]
    assert again.block("l").pairs()["x"] == rows[0][0]


@settings(max_examples=50, deadline=None)
@given(st.text(st.sampled_from("data_loop_ \n\t#\"'1ab_\a"), max_size=80))
def test_whatever_parses_renders_identically(text: str) -> None:
    try:
        parsed = star.parse("data_x\n" + text)
    except InputError:
        return
    assert parsed.render() == "data_x\n" + text
