"""One task: what it is and why, its log as it grows, its script and its numbers, also of earlier attempts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from core.engine.states import TaskState
from core.errors import CrboostError
from core.project.access import access_to
from crboost_tui.actions import Action, bindings
from crboost_tui.data import config_dir
from crboost_tui.task_facts import (
    AttemptFacts,
    FactsReader,
    TaskFacts,
    internal_text,
    numbers_text,
    ran_words,
    script_text,
    state_words,
)
from crboost_tui.terminal import ASCII_TWINS, glyph, hue
from crboost_tui.widgets import log_view
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.log_view import LogView

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

LOOK_SECONDS = 0.5
AGE_SECONDS = 20.0
"""How old what is said of a running task may become: it says for how long it has run."""
WIDE_CELLS = 100
"""From this width on the head has room for the project's name."""

PARTS = {"log": "out", "errors": "err", "script": "sh", "numbers": ""}
"""What can be shown, and the ending of the attempt's file that has it."""
_PLAIN = {
    state.value
    for state in (
        TaskState.RUNNING,
        TaskState.DONE,
        TaskState.EMPTY,
        TaskState.FAILED,
        TaskState.STOPPED,
        TaskState.STALE,
    )
}
"""States that need no more words than their cause, once there is a log."""
_AGAIN = {state.value for state in (TaskState.FAILED, TaskState.STALE, TaskState.STOPPED, TaskState.BLOCKED)}

ACTIONS = (
    Action("part('log')", "l", "log", "its output, followed as it grows (tab: what comes next)"),
    Action("part('errors')", "E", "errors", "its error output"),
    Action("part('script')", "s", "script", "the script that was submitted, or that would be"),
    Action("part('numbers')", "#", "numbers", "what was read from its results: numbers, notes, tilts"),
    Action("retry", "r", "retry", "run again what failed or is stale in this series"),
    *log_view.ACTIONS,
    Action("series(1)", "J,>", "next series", "the same job's next tilt series"),
    Action("series(-1)", "K,<", "series before", "the same job's tilt series before", footer=False),
    Action("attempt_before", "[", "attempt before", "the attempt before (1 to 9: that one)", footer=False),
    Action("attempt_after", "]", "attempt after", "the attempt after it", footer=False),
    Action("copy_path", "y", "copy path", "copy the path of what is shown to the terminal's clipboard"),
    Action("copy_script", "Y", "copy script", "copy the whole script to the terminal's clipboard", footer=False),
    Action("exclude", "x", "exclude", "leave this series out of what follows (asks first)"),
    Action("back", "escape,q", "back", "back to where you came from"),
    Action("app.help", "question_mark", "help", "this page"),
)
EXTRA_KEYS = (
    Action("next_part(1)", "tab", "next part", ""),
    Action("next_part(-1)", "shift+tab", "part before", ""),
    *(Action(f"attempt({number})", str(number), f"attempt {number}", "") for number in range(1, 10)),
)


class TaskScreen(Screen[None]):
    """``state`` and ``cause`` are as whoever opened it knew them; ``opened`` is one of :data:`PARTS`."""

    app: CrboostApp
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS + EXTRA_KEYS)
    DEFAULT_CSS = """
    TaskScreen #head { background: $panel; }
    TaskScreen #cause { height: auto; max-height: 3; padding: 0 1; }
    TaskScreen #facts { color: $text-muted; padding: 0 1; }
    TaskScreen #parts { background: $surface; }
    """

    class Found(Message, bubble=False):
        """What a thread found: the facts of a task, or a sentence about why there are none."""

        def __init__(self, address: tuple[str, str], facts: TaskFacts | str) -> None:
            super().__init__()
            self.address = address
            self.facts = facts

    def __init__(self, root: Path, job: str, key: str, state: str = "", cause: str = "", opened: str = "log") -> None:
        super().__init__()
        self.root = root
        self.job = job
        self.key = key
        self.state = state
        self.cause = cause
        self.part = opened
        self.number = 0
        """The attempt that was chosen, 0 for the newest."""
        self.facts: TaskFacts | None = None
        self._problem = ""
        self._showing: tuple[object, ...] = ()
        self._gone = threading.Event()

    def compose(self) -> ComposeResult:
        yield Line(id="head")
        yield Static(id="cause", markup=False)
        yield Line(id="facts")
        yield Line(id="parts")
        yield LogView(self.app.utf8, id="view")
        yield Keys(self.ACTIONS, utf8=self.app.utf8)

    def on_mount(self) -> None:
        self.query_one(LogView).focus()
        self._begin()

    def on_unmount(self) -> None:
        self._gone.set()

    def on_resize(self) -> None:
        self._say()

    @property
    def attempt(self) -> AttemptFacts | None:
        """The attempt that is shown, None where there is none."""
        attempts = self.facts.attempts if self.facts else ()
        return next((one for one in attempts if one.number == self.number), attempts[-1] if attempts else None)

    def _begin(self) -> None:
        """Another task is to be shown."""
        self.facts, self._problem, self._showing, self.number = None, "", (), 0
        self._gone.set()
        self._gone = threading.Event()
        self.query_one(LogView).follow(None, "reading ...")
        self._say()
        self._follow(self.job, self.key, self._gone)

    @work(thread=True, group="follow", exit_on_error=False)
    def _follow(self, job: str, key: str, gone: threading.Event) -> None:
        """Follow what is known of the task, however slow the disk is."""
        reader: FactsReader | None = None
        told: TaskFacts | str | None = None
        at = 0.0
        while not gone.is_set():
            began = time.monotonic()
            found: TaskFacts | str
            try:
                reader = reader or FactsReader(self.root, job, key)
                found = reader.read()
            except Exception as error:  # whatever is wrong with the project's files, it is said and looked at again
                found = str(error) if isinstance(error, CrboostError) else f"{type(error).__name__}: {error}"
                reader = None
            live = not isinstance(found, str) and found.state == TaskState.RUNNING.value
            if found != told or (live and began - at > AGE_SECONDS):
                told, at = found, began
                self.post_message(self.Found((job, key), found))
            gone.wait(max(LOOK_SECONDS if reader else 1.0, 4 * (time.monotonic() - began)))

    def on_task_screen_found(self, message: Found) -> None:
        if message.address != (self.job, self.key):
            return  # of the series before
        if isinstance(message.facts, str):
            self._problem = message.facts
        else:
            self.facts, self._problem = message.facts, ""
            self.state, self.cause = message.facts.state, message.facts.cause
        self._say()
        self._show()

    # -- what stands on the screen

    def _say(self) -> None:
        facts, attempt = self.facts, self.attempt
        state = self.state
        head = Text(" ")
        if state:  # first, so that the narrowest terminal has it
            head.append(f"{glyph(state, self.app.utf8)} ", self.app.colour(hue(state)))
        head.append(facts.name if facts else self.key, "bold")
        head.append(f"  {facts.title if facts else self.job}")
        if state:
            head.append(f"   {state_words(state)}", self.app.colour(hue(state)))
        if facts and facts.progress:
            head.append(f" {facts.progress}", self.app.colour("run"))
        right = Text()
        wide = self.app.size.width >= WIDE_CELLS
        if facts and facts.rehearsal and not (wide and "REHEARSAL" in facts.project):
            right.append("REHEARSAL ", self.app.colour("rehearsal"))
        if wide:
            right.append(f"{facts.project if facts else self.root.name} ", self.app.colour("quiet"))
        self.query_one("#head", Line).say(self._text(head), self._text(right))
        self._say_cause()
        newest = facts is not None and attempt is not None and attempt == facts.attempts[-1]
        said = []
        if attempt is not None and facts is not None:
            of = f" of {facts.attempts[-1].number} [ ]" if len(facts.attempts) > 1 else ""  # and the keys for it
            said.append(f"attempt {attempt.number}{of}")
            said.append(ran_words(attempt, newest and state == TaskState.RUNNING.value, time.time()))
            said += [facts.slurm] if newest and facts.slurm else []
            said += [f"repeated {facts.retries} times by itself"] if newest and facts.retries else []
        elif facts is not None:
            said.append(f"attempt {facts.tries}" if facts.tries else "no attempt yet")
        self.query_one("#facts", Line).say(self._plain("   ".join(said)))
        self._say_parts()

    def _say_cause(self) -> None:
        facts, attempt = self.facts, self.attempt
        older = facts is not None and attempt is not None and attempt != facts.attempts[-1]
        if attempt is not None and older:
            said, style = attempt.reason, ""
        elif self._problem:  # where nothing else is known it stands in the log's place
            said, style = self._problem if facts is not None else "", self.app.colour("fail")
        else:
            # Where there is no log, the reason stands in its place.
            waits = facts is not None and attempt is not None and facts.state not in _PLAIN
            said = self.cause or (facts.why if facts is not None and waits else "")
            style = self.app.colour(hue(self.state)) if self.state else ""
        line = self.query_one("#cause", Static)
        line.display = bool(said)
        if said:
            line.update(self._text(Text(said, style)))

    def _say_parts(self) -> None:
        parts = Text()
        attempt = self.attempt
        for part in PARTS:
            parts.append(" ")
            empty = part == "errors" and attempt is not None and not attempt.errors
            style = "reverse" if part == self.part else self.app.colour("quiet") if empty else ""
            parts.append(f" {part} ", style)
        path = self.query_one(LogView).path
        shown = ""
        if path is not None:
            room = self.app.size.width - parts.cell_len - 3
            shown = str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)
            shown = shown if len(shown) <= room else f"…{shown[len(shown) - room + 1 :]}" if room > 8 else ""
        self.query_one("#parts", Line).say(parts, Text(self._plain(f"{shown} "), self.app.colour("quiet")))

    def _show(self) -> None:
        """Show what is chosen, unless it is shown already."""
        facts, attempt = self.facts, self.attempt
        view = self.query_one(LogView)
        if facts is None:
            self._change(("told", self._problem), lambda: view.follow(None, self._plain(self._problem)))
        elif self.part == "numbers":
            self._change((self.part, facts.gathered, attempt), lambda: self._make(numbers_text, "table"))
        elif facts.internal:
            self._change(("internal", facts.gathered, attempt), lambda: self._make(internal_text, "table"))
        elif attempt is None and self.part == "script":
            self._change((self.part, facts.state), lambda: self._make(_script, "script"))
        elif attempt is None or facts.folder is None:
            self._change(("told", facts.why), lambda: view.follow(None, self._plain(facts.why)))
        else:
            path = facts.folder / f"{attempt.number}.{PARTS[self.part]}"
            told = "Its log begins when it starts." if not attempt.ended else "This attempt left no such file."
            marks = "script" if self.part == "script" else "log"
            self._change((path, told), lambda: view.follow(path, self._plain(told), marks))
        self._say_parts()

    def _change(self, what: tuple[object, ...], show: Callable[[], object]) -> None:
        if what != self._showing:
            self._showing = what
            show()

    @work(thread=True, exclusive=True, group="make", exit_on_error=False)
    def _make(self, text: Callable[[Path, TaskFacts], str], marks: str) -> None:
        """Make a text that may take a while, and show it if it still is what is to be shown."""
        facts, showing = self.facts, self._showing
        assert facts is not None
        try:
            made = text(self.root, facts)
        except CrboostError as error:
            made = f"{error}\n"
        self.app.call_from_thread(self._made, showing, made, marks)

    def _made(self, showing: tuple[object, ...], text: str, marks: str) -> None:
        if self.is_mounted and showing == self._showing:
            self.query_one(LogView).show(text, marks)
            self._say_parts()

    def _text(self, text: Text) -> Text:
        text.plain = self._plain(text.plain)
        return text

    def _plain(self, text: str) -> str:
        return text if self.app.utf8 else text.translate(ASCII_TWINS)

    # -- what the keys do

    def action_part(self, part: str) -> None:
        self.part = part
        self._say_parts()
        self._show()

    def action_next_part(self, step: int) -> None:
        parts = list(PARTS)
        self.action_part(parts[(parts.index(self.part) + step) % len(parts)])

    def action_series(self, step: int) -> None:
        keys = self.facts.keys if self.facts else ()
        if self.key not in keys:
            self.app.tell("The series of this job are not known yet.")
            return
        at = keys.index(self.key) + step
        if not 0 <= at < len(keys):
            self.app.tell(f"This is the {'last' if step > 0 else 'first'} one.")
            return
        self.key, self.state, self.cause = keys[at], "", ""
        self._begin()

    def action_attempt(self, number: int) -> None:
        numbers = [one.number for one in self.facts.attempts] if self.facts else []
        if number not in numbers:
            self.app.tell(f"There is no attempt {number}.")
            return
        self.number = 0 if number == numbers[-1] else number
        self._say()
        self._show()

    def action_attempt_before(self) -> None:
        self._other_attempt(-1)

    def action_attempt_after(self) -> None:
        self._other_attempt(1)

    def _other_attempt(self, step: int) -> None:
        attempts = [one.number for one in self.facts.attempts] if self.facts else []
        at = attempts.index(self.attempt.number) + step if self.attempt else -1
        if 0 <= at < len(attempts):
            self.action_attempt(attempts[at])
        else:
            self.app.tell(f"There is no {'later' if step > 0 else 'earlier'} attempt.")

    def action_copy_path(self) -> None:
        path = self.query_one(LogView).path
        if path is None:
            self.app.tell("What is shown here is no file.")
            return
        self.app.copy_to_clipboard(str(path))
        self.app.tell(f"copied {path}")

    def action_copy_script(self) -> None:
        if self.facts is None:
            self.app.tell("There is no script yet.")
            return
        attempt = self.attempt
        folder = self.facts.folder
        self._copy_script(folder / f"{attempt.number}.sh" if attempt is not None and folder is not None else None)

    @work(thread=True, exclusive=True, group="copy", exit_on_error=False)
    def _copy_script(self, path: Path | None) -> None:
        try:
            text = script_text(self.root, self.job, self.key) if path is None else path.read_text("utf-8", "replace")
        except CrboostError as error:
            self.app.call_from_thread(self.app.tell, str(error), True)
        except OSError as error:
            self.app.call_from_thread(self.app.tell, f"The script cannot be read ({error.strerror}).", True)
        else:
            self.app.call_from_thread(self.app.copy_to_clipboard, text)
            self.app.call_from_thread(self.app.tell, f"copied the script, {text.count(chr(10))} lines")

    def action_retry(self) -> None:
        if self.state not in _AGAIN:
            state = state_words(self.state) if self.state else "not known yet"
            self.app.tell(f"Only what failed, was stopped, blocked or is stale is run again: this is {state}.")
            return
        key, name = self.key, self.facts.name if self.facts else self.key
        self._ask_for(
            lambda requests: requests.retry(self.root, config_dir(), series=[key]), f"{name}: retry asked for"
        )

    def action_exclude(self) -> None:
        facts = self.facts
        if facts is None or self.key.startswith("@"):
            self.app.tell("Only a tilt series can be excluded.")
            return
        if facts.state == TaskState.EXCLUDED.value:
            self.app.tell(facts.why)
            return
        from crboost_tui.screens.ask import AskScreen

        impact = (
            f"Its {facts.done} finished steps stay on disk; it takes no part in what follows. "
            "crboost include undoes it."
        )

        def answered(yes: bool | None) -> None:
            if yes:
                self._ask_for(
                    lambda requests: requests.ask(self.root, "exclude", series=[facts.key]), f"{facts.name} excluded"
                )

        self.app.push_screen(AskScreen(f"Exclude {facts.name}?", impact), answered)

    @work(thread=True, group="requests", exit_on_error=False)
    def _ask_for(self, call: Callable[[object], object], said: str) -> None:
        """Write a request and see that an engine lives, off the screen's loop."""
        from core.engine import requests
        from core.engine.start import ensure_engine

        why_not = access_to(self.root).why_not(self.root in self.app.working_on)
        if why_not:
            self.app.call_from_thread(self.app.tell, why_not, True)
            return
        try:
            call(requests)
            engine = ensure_engine(self.root, config_dir())
        except CrboostError as error:
            self.app.call_from_thread(self.app.tell, str(error), True)
            return
        self.app.call_from_thread(self.app.tell, f"{said}. {engine}")

    def action_back(self) -> None:
        self.dismiss()


def _script(root: Path, facts: TaskFacts) -> str:
    return script_text(root, facts.job, facts.key)
