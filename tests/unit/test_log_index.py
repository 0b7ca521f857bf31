"""Logs by their lines: of any size, as they grow, are cut, replaced, or go away; and what of a line is shown."""

from __future__ import annotations

import os
import random
import shutil
import time
import tracemalloc
from pathlib import Path

import pytest

from core.errors import InputError
from core.watch.log_index import BLOCK_BYTES, PIECE_BYTES, LogIndex, TextIndex
from core.watch.log_text import ERROR_WORDS, LONGEST_LINE, shown, trouble


def opened(path: Path, whole: bool = False) -> LogIndex:
    index = LogIndex(path)
    index.look()
    while index.behind:
        index.look()
    while whole and index.extend():
        pass
    return index


def everything(index: LogIndex) -> list[str]:
    return index.lines(index.first, index.stop - index.first)


def look(index: LogIndex) -> tuple[bool, bool, bool]:
    """Whether a look found anything new, the file, and a file that was begun anew."""
    return index.look(), index.there, index.restarted


def random_log(seed: int, ended: bool) -> bytes:
    """About 3 MB of lines of all lengths, some longer than a block."""
    dice = random.Random(seed)
    lines = []
    for number in range(4000):
        length = dice.choice((0, 1, 20, 80, 300, 5000)) if dice.random() > 0.002 else dice.randint(0, 4 * BLOCK_BYTES)
        lines.append(b"%d " % number + dice.choice((b"a", b"bc", "é".encode())) * (length // 2))
    return b"\n".join(lines) + (b"\n" if ended else b"")


@pytest.mark.parametrize("ended", [True, False])
def test_a_log_is_opened_at_its_end_and_known_to_its_begin_piece_by_piece(tmp_path: Path, ended: bool) -> None:
    data = random_log(1, ended)
    assert len(data) > 2 * PIECE_BYTES
    path = tmp_path / "log"
    path.write_bytes(data)
    expected = [shown(raw) for raw in data.removesuffix(b"\n").split(b"\n")]
    index = opened(path)
    assert not index.whole and index.stop - index.first < len(expected) / 2
    stop = index.stop
    assert index.lines(stop - 5, 100) == expected[-5:]
    while index.extend():
        assert index.stop == stop, "a line's number must not change when those before it become known"
    assert (index.whole, everything(index)) == (True, expected)


def test_any_window_of_lines_is_right_and_offsets_and_numbers_agree(tmp_path: Path) -> None:
    data = random_log(2, True)
    path = tmp_path / "log"
    path.write_bytes(data)
    index = opened(path, whole=True)
    expected = [shown(raw) for raw in data.removesuffix(b"\n").split(b"\n")]
    dice = random.Random(3)
    for _ in range(100):
        at = dice.randrange(len(expected))
        assert index.lines(index.first + at, 30) == expected[at : at + 30]
        offset = index.offset_of(index.first + at)
        assert data[:offset].count(b"\n") == at and (offset == 0 or data[offset - 1 : offset] == b"\n")
        assert index.line_at(offset) == index.first + at


def test_what_is_appended_is_known_after_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    index = opened(path)
    assert everything(index) == ["one", "tw"]
    assert look(index) == (False, True, False)
    with open(path, "ab") as stream:
        stream.write(b"o\nthree\n")
    assert look(index) == (True, True, False)
    assert everything(index) == ["one", "two", "three"]


def test_a_log_that_is_not_there_yet_comes_goes_and_comes_again(tmp_path: Path) -> None:
    folder = tmp_path / "task"
    path = folder / "1.out"
    index = LogIndex(path)
    assert look(index) == (False, False, False)
    folder.mkdir()
    path.write_text("one\n")
    assert look(index) == (True, True, False)
    shutil.rmtree(folder)
    assert look(index) == (True, False, False)
    assert everything(index) == [], "nothing can be read of it, and nothing breaks"
    folder.mkdir()
    path.write_text("new\n")
    index.look()
    index.look()
    assert everything(index) == ["new"]


def test_a_log_that_was_cut_is_begun_anew_at_the_second_look(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\ntwo\n")
    index = opened(path)
    path.write_text("new\n")
    assert look(index) == (False, True, False), "one look may be a stale size"
    assert look(index) == (True, True, True)
    assert everything(index) == ["new"]


def test_a_stale_size_is_forgiven(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\ntwo\n")
    index = opened(path)
    path.write_text("on")
    index.look()
    path.write_text("one\ntwo\nthree\n")
    assert look(index) == (True, True, False)
    assert everything(index) == ["one", "two", "three"]


def test_another_file_in_its_place_is_begun_anew_at_once(tmp_path: Path) -> None:
    path, other = tmp_path / "log", tmp_path / "other"
    path.write_text("one\n")
    index = opened(path)
    other.write_text("another\n")
    os.replace(other, path)
    assert look(index) == (True, True, True)
    assert everything(index) == ["another"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_log_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    path.chmod(0)
    with pytest.raises(InputError, match="log"):
        LogIndex(path).look()


def test_a_folder_in_the_place_of_a_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        LogIndex(tmp_path).look()


@pytest.mark.parametrize("whole", [True, False])
def test_searching_finds_what_a_plain_look_finds_both_ways(tmp_path: Path, whole: bool) -> None:
    data = random_log(4, True).replace(b"77 ", b"\x1b[31mNeed\x1b[0mle ")
    path = tmp_path / "log"
    path.write_bytes(data)
    lines = [shown(raw) for raw in data.removesuffix(b"\n").split(b"\n")]
    hits = [at for at, line in enumerate(lines) if "needle" in line.lower()]
    assert len(hits) > 20
    index = opened(path, whole)
    found, offset = [], index.end
    while True:
        at = next(
            (at for at in index.find(offset, True, (b"needle",), lambda line: "needle" in line.lower()) if at >= 0),
            None,
        )
        if at is None:
            break
        found.append(index.line_at(at) - index.stop + len(lines))
        offset = at
    assert found == hits[::-1]
    found, line = [], index.first
    while True:
        offsets = index.find(index.offset_of(line), False, (b"needle",), lambda line: "needle" in line.lower())
        at = next((at for at in offsets if at >= 0), None)
        if at is None:
            break
        found.append(index.line_at(at) - index.first)
        line = index.line_at(at) + 1
    assert found == hits


def test_what_a_progress_bar_overwrote_is_not_found(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\n" + b"".join(b" %d of 90000\r" % number for number in range(90000)) + b"done\nlast\n")
    index = opened(path, whole=True)
    assert everything(index) == ["first", "done", "last"]
    assert [at for at in index.find(index.end, True, (b"77 of",), lambda line: "77 of" in line) if at >= 0] == []


def test_a_gigabyte_is_opened_at_once_and_gone_through_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "wb") as stream:
        stream.write(b"Needle in the first line\n")
        stream.truncate(1_000_000_000)
        stream.seek(0, 2)
        stream.write(b"\n" + b"a line\n" * 100_000)
    tracemalloc.start()
    try:
        begun = time.perf_counter()
        index = opened(path)
        assert index.lines(index.stop - 50, 50) == ["a line"] * 50
        assert time.perf_counter() - begun < 0.5
        found, slowest = -1, 0.0
        steps = index.find(index.end, True, (b"needle",), lambda line: "Needle" in line)
        while found < 0:
            begun = time.perf_counter()
            found = next(steps)
            slowest = max(slowest, time.perf_counter() - begun)
        assert found == 0 and index.line_at(found) == index.first
        assert slowest < 0.5, "each step must be short, so that it can be stopped"
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


def test_a_text_is_looked_at_like_a_file() -> None:
    index = TextIndex("one\ntwo")
    index.look()
    assert everything(index) == ["one", "two"]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"plain", "plain"),
        (b"\x1b[1;31mred\x1b[0m and \x1b]0;title\x07plain", "red and plain"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b" 10%\r 20%\r 30%", " 30%"),
        (b" 10%\r 20%\r\x1b[K", " 20%"),
        (b"windows\r", "windows"),
        (b"a\tb", "a       b"),
        (b"bell\x07 back\x08 nul\x00 del\x7f csi\x9b31m", "bell back nul del csi\ufffd31m"),
        ("direction \u202eevil\u202c, C1 \u009b2J".encode(), "direction evil, C1 2J"),
        (b"\xff\xfe bad", "\ufffd\ufffd bad"),
        (b"unfinished \x1b[3", "unfinished 3"),
    ],
)
def test_only_printable_characters_are_shown(raw: bytes, expected: str) -> None:
    assert shown(raw) == expected
    assert shown(raw).isprintable()


def test_a_very_long_line_is_cut_with_a_mark() -> None:
    assert shown(b"x" * 100_000) == "x" * LONGEST_LINE + "…"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Error: no .aln", "error"),
        ("ValueError: bad", "error"),
        ("Traceback (most recent call last):", "error"),
        ("Unhandled exception. System.Exception: All items failed", "error"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch", "error"),
        ("/bin/bash: line 1: WarpTools: command not found", "error"),
        ("Segmentation fault (core dumped)", "error"),
        ("Killed", "error"),
        ("CUDA error: out of memory", "error"),
        ("1/1, 1 failed, 00:00 remaining", "error"),
        ("Finished: 1 processed, 0 failed", ""),
        ("0 errors, 0 warnings", ""),
        ("Residual error mean and sd:    0.63   0.31 nm", ""),
        ("Mean residual error: 0.6", ""),
        ("run with --error run.err", ""),
        ("/data/error/file.mrc", ""),
        ("zoom 3", ""),
        ("WARNING: 2 tilts were left out", "warning"),
        ("DeprecationWarning: x", "warning"),
        ("no warnings", ""),
        ("patch 3 of 16", ""),
    ],
)
def test_lines_that_tell_of_trouble_are_known_by_their_words(line: str, expected: str) -> None:
    assert trouble(line) == expected
    if expected == "error":
        assert any(word in line.lower().encode() for word in ERROR_WORDS)
