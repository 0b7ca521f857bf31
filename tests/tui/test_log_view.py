"""The widget that shows a log: following, standing still, searching, and everything that can happen to a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.app import ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from crboost_tui.app import CrboostApp
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.log_view import LogView
from tests.tui.until import until

ROWS = 23
"""Lines of a log on a screen of 24."""


class OneLog(Screen[None]):
    def compose(self) -> ComposeResult:
        yield LogView(True, id="view")

    def on_mount(self) -> None:
        self.query_one(LogView).focus()


@contextlib.asynccontextmanager
async def shown(path: Path | None, told: str = "") -> AsyncIterator[tuple[Pilot[Any], LogView]]:
    app = CrboostApp(None, utf8=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = OneLog()
        await app.push_screen(screen)
        view = screen.query_one(LogView)
        view.follow(path, told)
        if path is not None:
            await until(pilot, lambda: view.seen is not None)
        yield pilot, view


def numbered(first: int, stop: int) -> str:
    return "".join(f"line {number}\n" for number in range(first, stop))


def append(path: Path, text: str) -> None:
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(text)


def state(view: LogView) -> str:
    return view.query_one("#state", Line)._left.plain


def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the app tells from now on."""
    sentences: list[str] = []
    monkeypatch.setattr(CrboostApp, "tell", lambda self, sentence, wrong=False: sentences.append(sentence))
    return sentences


async def test_a_log_is_followed_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(numbered(0, 100))
    async with shown(path) as (pilot, view):
        assert view.visible_lines() == [f"line {number}" for number in range(100 - ROWS, 100)]
        assert state(view) == "following   100 lines"
        append(path, numbered(100, 103))
        await until(pilot, lambda: view.visible_lines()[-1] == "line 102")


async def test_scrolling_up_stands_still_while_it_grows_and_the_end_follows_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(numbered(0, 100))
    async with shown(path) as (pilot, view):
        await pilot.press("up")
        before = view.visible_lines()
        assert before[-1] == "line 98" and state(view) == "line 99 of 100"
        append(path, numbered(100, 200))
        await until(pilot, lambda: state(view) == "line 99 of 200")
        assert view.visible_lines() == before
        await pilot.press("G")
        assert state(view).startswith("following")
        await until(pilot, lambda: view.visible_lines()[-1:] == ["line 199"])
        await pilot.press("pageup", "pageup")
        assert not view.following
        await pilot.press("pagedown", "pagedown")
        assert view.following


async def test_the_begin_of_a_log_is_one_key_away(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(numbered(0, 5000))
    async with shown(path) as (pilot, view):
        await pilot.press("g")
        await until(pilot, lambda: view.visible_lines()[:1] == ["line 0"])
        assert state(view) == "line 23 of 5,000"


async def test_a_progress_bar_is_one_line_in_its_last_state(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("begin\n\x1b[32m 10 %\r 20 %")
    async with shown(path) as (pilot, view):
        assert view.visible_lines() == ["begin", " 20 %"]
        append(path, "\r 30 %")
        await until(pilot, lambda: view.visible_lines() == ["begin", " 30 %"])
        append(path, "\r 100 %\ndone\n")
        await until(pilot, lambda: view.visible_lines() == ["begin", " 100 %", "done"])


async def test_only_the_lines_that_changed_are_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_text("begin\n 10 %")
    async with shown(path) as (pilot, view):
        await pilot.pause()
        drawn: list[tuple[Region, ...]] = []
        draw = view.refresh

        def refresh(*regions: Region, **options: Any) -> Any:
            drawn.append(regions)
            return draw(*regions, **options)

        monkeypatch.setattr(view, "refresh", refresh)
        append(path, "\r 30 %")
        await until(pilot, lambda: view.visible_lines()[-1] == " 30 %")
        assert drawn == [(Region(0, 1, 80, 1),)]


async def test_a_chatty_log_is_drawn_at_most_twice_a_second(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(numbered(0, 50))
    async with shown(path) as (pilot, view):
        seen: list[object] = []
        begun = time.monotonic()
        while time.monotonic() - begun < 2.5:
            append(path, numbered(0, 3))
            await asyncio.sleep(0.05)
            await pilot.pause()
            if not seen or seen[-1] is not view.seen:
                seen.append(view.seen)
        assert 2 <= len(seen) - 1 <= 2 * (time.monotonic() - begun) + 1


async def test_a_log_that_is_not_there_yet_says_so_and_comes(tmp_path: Path) -> None:
    path = tmp_path / "task" / "1.out"
    async with shown(path, "Its log begins when it starts.") as (pilot, view):
        assert view._empty(1) == "Its log begins when it starts." and state(view) == "no file"
        path.parent.mkdir()
        path.write_text("")
        await until(pilot, lambda: view._empty(1) == "Nothing is in it yet.")
        path.write_text("hello\n")
        await until(pilot, lambda: view.visible_lines() == ["hello"])


async def test_a_log_whose_folder_vanished_stays_on_the_screen(tmp_path: Path) -> None:
    path = tmp_path / "task" / "1.out"
    path.parent.mkdir()
    path.write_text("hello\n")
    async with shown(path) as (pilot, view):
        shutil.rmtree(path.parent)
        await until(pilot, lambda: state(view) == "the file is gone")
        assert view.visible_lines() == ["hello"]
        path.parent.mkdir()
        path.write_text("again\n")
        await until(pilot, lambda: view.visible_lines() == ["again"])


async def test_a_log_that_was_cut_or_replaced_is_followed_anew(tmp_path: Path) -> None:
    path, other = tmp_path / "log", tmp_path / "other"
    path.write_text(numbered(0, 100))
    async with shown(path) as (pilot, view):
        await pilot.press("up", "up")
        path.write_text("cut\n")
        await until(pilot, lambda: view.visible_lines() == ["cut"])
        assert view.following
        other.write_text("rotated\n")
        os.replace(other, path)
        await until(pilot, lambda: view.visible_lines() == ["rotated"])


async def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    async with shown(tmp_path) as (pilot, view):
        await until(pilot, lambda: view.seen is not None and view.seen.problem)
        assert str(tmp_path)[:20] in view._empty(1)


async def test_nothing_of_a_log_reaches_the_terminal_but_printable_characters(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\x1b]0;evil\x07\x1b[2J\x1b[31mred\x07 \x9b\xff\x00\x08 end\tx\n")
    async with shown(path) as (_, view):
        text = view.render_line(0).text
        assert text.isprintable() and text.split() == ["red", "\ufffd\ufffd", "end", "x"]


async def test_a_text_is_found_upwards_from_the_end_and_walked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    path.write_text(numbered(0, 2000))
    sentences = told(monkeypatch)
    async with shown(path) as (pilot, view):
        await pilot.press("n")
        assert sentences == ["Nothing was looked for yet: / finds a text, e an error."]
        await pilot.press("slash", *"LINE 77", "enter")
        await until(pilot, lambda: state(view) == "line 780 of 2,000")
        assert not view.query_one(Input).display and view.has_focus
        row = view.visible_lines().index("line 779")
        assert any(
            segment.text == "line 77" and segment.style.bgcolor for segment in view.render_line(row) if segment.style
        )
        await pilot.press("N")
        await until(pilot, lambda: state(view) == "line 779 of 2,000")
        await pilot.press("n")
        await until(pilot, lambda: state(view) == "line 780 of 2,000")
        await pilot.press("n")
        await until(pilot, lambda: sentences[1:] == ["No other “LINE 77” below."])
        await pilot.press("escape")
        assert not any(" 77" in segment.text[-3:] for segment in view.render_line(row)), "the marks are gone"


async def test_what_is_only_below_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_text(numbered(0, 2000))
    sentences = told(monkeypatch)
    async with shown(path) as (pilot, view):
        await pilot.press("g", "slash", *"line 1999", "enter")
        await until(pilot, lambda: state(view) == "line 2,000 of 2,000")
        append(path, "more\n")
        await until(pilot, lambda: state(view) == "line 2,000 of 2,001")
        await pilot.press("slash", *"nowhere", "enter")
        await until(pilot, lambda: sentences == ["No “nowhere”."])


async def test_e_goes_to_the_last_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_text("Error: first\n" + numbered(0, 50) + "Error: second\n" + numbered(0, 50) + "0 errors\n")
    sentences = told(monkeypatch)
    async with shown(path) as (pilot, view):
        await pilot.press("e")
        await until(pilot, lambda: state(view) == "line 52 of 103")
        row = view.visible_lines().index("Error: second")
        styles = [segment.style for segment in view.render_line(row) if segment.style is not None]
        assert view.app.colour("fail").split()[-1] in {style.color.name for style in styles if style.color}
        assert not any(style.bold for style in styles), "quietly"
        await pilot.press("N")
        await until(pilot, lambda: state(view) == "line 1 of 103")
        await pilot.press("N")
        await until(pilot, lambda: sentences == ["No other line above that tells of an error."])


async def test_escape_closes_the_search_before_it_leaves(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    async with shown(path) as (pilot, view):
        await pilot.press("slash", "x")
        assert view.query_one(Input).display
        await pilot.press("escape")
        assert not view.query_one(Input).display and view.has_focus
        assert view.check_action("leave", ()) is False


async def test_long_lines_are_cut_with_a_mark_and_scroll_sideways(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("begin " + "x" * 200 + " end\nshort\n")
    async with shown(path) as (pilot, view):
        assert view.render_line(0).text.rstrip().endswith("x›")
        assert view.render_line(1).text.rstrip() == " short"
        for _ in range(12):
            await pilot.press("right")
        assert view.render_line(0).text.startswith("‹x") and view.render_line(0).text.rstrip().endswith(" end")
        assert "from column" in state(view)
        for _ in range(12):
            await pilot.press("left")
        assert view.render_line(0).text.startswith(" begin")


async def test_a_gigabyte_opens_at_once_and_searching_it_freezes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "wb") as stream:
        stream.write(b"Needle in the first line\n" + b"x" * 99 + b"\n")
        stream.truncate(1_000_000_000)
        stream.seek(0, 2)
        stream.write(b"\n" + b"a line\n" * 100_000)
    async with shown(None) as (pilot, view):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.monotonic()
        view.follow(path)
        await until(pilot, lambda: view.visible_lines() == ["a line"] * ROWS)
        assert time.monotonic() - begun < 1.0
        assert state(view) == "following", "it was not counted"
        await pilot.press("slash", *"needle", "enter")
        longest = 0.0
        while state(view) != "line 1 of 100,003":
            at = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - at)
            assert time.monotonic() - begun < 60
        assert longest < 0.25, "the loop stood still while the file was looked through"
        assert view.visible_lines()[0] == "Needle in the first line"
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000, "kB"


async def test_a_search_can_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "wb") as stream:
        stream.truncate(30_000_000_000)
        stream.seek(0, 2)
        stream.write(b"\n" + b"a line\n" * 100)
    async with shown(path) as (pilot, view):
        await pilot.press("slash", *"needle", "enter")
        await until(pilot, lambda: re.match("looking for “needle”: .* of 30 GB", state(view)))
        await pilot.press("escape")
        await until(pilot, lambda: view.seen is not None and not view.seen.busy)
        assert view.visible_lines()[-1] == "a line"


async def test_a_log_goes_to_the_pager_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    called: list[list[str]] = []
    sentences = told(monkeypatch)

    @contextlib.contextmanager
    def suspend(self: CrboostApp) -> Iterator[None]:
        yield

    async with shown(path) as (pilot, _):
        await pilot.press("v")
        assert sentences == ["This terminal cannot be handed to another program."]
        monkeypatch.setattr(CrboostApp, "suspend", suspend)
        monkeypatch.setattr(subprocess, "run", lambda argv, **_: called.append(argv))
        monkeypatch.delenv("PAGER", raising=False)
        await pilot.press("v")
        monkeypatch.setenv("PAGER", "most -x 'a b'")
        await pilot.press("v")
        assert called == [["less", "+G", str(path)], ["most", "-x", "a b", str(path)]]
    monkeypatch.undo()


async def test_a_pager_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    sentences = told(monkeypatch)
    monkeypatch.setattr(CrboostApp, "suspend", lambda self: contextlib.nullcontext())
    monkeypatch.setenv("PAGER", "no-such-pager")
    async with shown(path) as (pilot, _):
        await pilot.press("v")
        assert sentences == ["no-such-pager cannot be started (No such file or directory): set $PAGER."]


async def test_a_tiny_screen_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(numbered(0, 100))
    async with shown(path) as (pilot, view):
        await pilot.resize_terminal(40, 3)
        await until(pilot, lambda: view.visible_lines() == ["line 98", "line 99"])
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: len(view.visible_lines()) == 39)
        assert view.visible_lines()[-1] == "line 99" and view.following
