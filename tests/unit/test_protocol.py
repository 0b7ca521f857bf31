from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cluster import protocol
from core.cluster.journal import Journal
from core.cluster.protocol import (
    AttemptPaths,
    claim,
    inbox_name,
    mark_start,
    newest_attempt,
    parse_inbox_name,
    read_start,
    read_state,
    withdraw,
    write_state,
)

NAME = st.text(st.characters(exclude_characters="\0/", codec="utf-8"), min_size=1, max_size=20)


def test_states_written_are_read(tmp_path: Path) -> None:
    paths = AttemptPaths(tmp_path, "@all", 3)
    assert read_state(paths.state) is None and read_start(paths.start) is None and newest_attempt(paths.folder) == 0
    assert claim(paths, "internal-1") and claim(paths, "internal-1") and not claim(paths, "internal-2")
    assert not withdraw(paths)
    mark = mark_start(paths, "internal-1")
    assert read_start(paths.start) == mark and mark.pid_start == protocol.process_start(mark.pid)
    state = write_state(paths, "failed", job="internal-1", start=12.9, code=1, step="merge", reason='no "rows"\nü')
    assert read_state(paths.state) == state and state.start == 12
    assert newest_attempt(paths.folder) == 3
    assert [path.name for path in paths.folder.iterdir() if path.name.startswith("3.claim.")] == []
    with pytest.raises(ValueError):
        write_state(paths, "great", job="", start=0)


@pytest.mark.parametrize(
    "text", ["", "{", '{"state":"done"', '{"state":"done"}', "[]", '{"state":"great","code":0}', "\x00\x00", "null"]
)
def test_torn_and_foreign_files_are_no_state(tmp_path: Path, text: str) -> None:
    path = tmp_path / "1.state"
    path.write_text(text)
    assert read_state(path) is None and read_start(path) is None


def test_one_of_many_claims_wins(tmp_path: Path) -> None:
    paths = AttemptPaths(tmp_path, "TS_01", 1)
    won: list[str] = []

    def one(name: str) -> None:
        if claim(paths, name):
            won.append(name)

    threads = [threading.Thread(target=one, args=(str(number),)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and paths.claim.read_text() == won[0] + "\n"


def test_withdrawing_is_repeatable(tmp_path: Path) -> None:
    paths = AttemptPaths(tmp_path, "TS_01", 1)
    assert withdraw(paths) and withdraw(paths) and not claim(paths, "7")


@settings(max_examples=50, deadline=None)
@given(NAME, NAME, st.integers(1, 10**6), st.sampled_from(sorted(protocol.STATES | {protocol.RUNNING})))
def test_inbox_names_go_back_and_forth(instance: str, key: str, number: int, state: str) -> None:
    name = inbox_name(instance, key, number, state)
    assert "/" not in name and name.isprintable() and parse_inbox_name(name) == (instance, key, number, state)


@pytest.mark.parametrize("name", ["", "x", "a~b~c~done", "a~b~1~great", "a~b~1~done~", ".a.tmp", "a~b~²~done"])
def test_other_names_in_the_inbox_are_passed_over(name: str) -> None:
    assert parse_inbox_name(name) is None


def test_the_journal_knows_what_is_open(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "submissions.jsonl")
    assert journal.read() == {}
    journal.intent("a", [("fs", "TS_01", 1), ("fs", "TS_02", 1)], kind="local")
    journal.intent("b", [("fs", "TS_03", 2)])
    journal.submitted("a", pid=5, boot="x")
    journal.intent("c", [("ctf", "TS_01", 1)])
    journal.settled("c")
    for one in (journal, Journal(journal.path)):
        found = one.read()
        assert list(found) == ["a", "b"]
        assert found["a"].attempts == (("fs", "TS_01", 1), ("fs", "TS_02", 1)) and found["a"].intent == {
            "kind": "local"
        }
        assert found["a"].fields == {"pid": 5, "boot": "x"} and found["b"].fields is None
        one.compact()
    assert len(journal.path.read_text().splitlines()) == 3


def test_the_journal_survives_a_torn_line_and_garbage(tmp_path: Path) -> None:
    path = tmp_path / "submissions.jsonl"
    journal = Journal(path)
    journal.intent("a", [("fs", "TS_01", 1)])
    whole = path.read_bytes()
    for cut in range(len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert Journal(path).read() == {}
        Journal(path).intent("b", [("fs", "TS_02", 1)])
        assert list(Journal(path).read()) == ["b"]
    path.write_bytes(
        b'\x00\xff\n[]\n{"submitted":"z","fields":{}}\n{"intent":"q","attempts":[1]}\n' + whole + b'{"settled":["a"]}\n'
    )
    assert list(Journal(path).read()) == ["a"]


def test_the_journal_is_compacted_when_large(tmp_path: Path) -> None:
    path = tmp_path / "submissions.jsonl"
    old = "".join(
        json.dumps({"intent": f"t{n}", "time": 1, "attempts": [["fs", "x" * 200, 1]]}) + "\n" for n in range(4000)
    )
    path.write_text(old + "".join(json.dumps({"settled": f"t{n}"}) + "\n" for n in range(3999)))
    journal = Journal(path)
    assert list(journal.read()) == ["t3999"]
    journal.intent("new", [("fs", "TS_01", 1)])
    journal.settled("t3999")
    assert path.stat().st_size < 1000 and list(journal.read()) == ["new"]
