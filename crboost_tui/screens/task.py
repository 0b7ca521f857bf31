"""One task: what it is, its script, and its log as it grows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Log
from textual.worker import get_current_worker

from core.engine.states import TaskState
from crboost_tui.actions import Action, bindings
from crboost_tui.matrix import queue_words, slurm_text
from crboost_tui.terminal import glyph, hue
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.line import Line

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

PIECE_BYTES = 200_000
POLL_SECONDS = 0.25
PARTS = ("log", "errors", "script")

ACTIONS = (
    Action("part('log')", "l", "log", "the task's output, followed as it grows"),
    Action("part('errors')", "e", "errors", "its error output"),
    Action("part('script')", "s", "script", "the script that ran, or would run"),
    Action("copy_path", "y", "copy path", "copy the file's path to the terminal's clipboard"),
    Action("back", "escape,q,left", "back", "back to the monitor"),
    Action("app.help", "question_mark", "help", "this page"),
)


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """Where an attempt's files are. ``folder`` is the task's own; ``attempt`` 0 where it has not run."""

    folder: Path
    attempt: int
    slurm: str = ""
    """What Slurm knows of it, in words."""

    def of(self, part: str) -> Path:
        ending = {"log": "out", "errors": "err", "script": "sh"}[part]
        return self.folder / f"{self.attempt}.{ending}"


class TaskScreen(Screen[None]):
    """``state`` and ``cause`` are as the monitor knew them when it was opened."""

    app: CrboostApp
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS)
    DEFAULT_CSS = """
    TaskScreen Log { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 1; }
    TaskScreen #head { background: $panel; }
    TaskScreen #cause { color: $text-muted; padding: 0 1; }
    """

    def __init__(self, root: Path, job: str, key: str, state: str, cause: str, part: str) -> None:
        super().__init__()
        self.root = root
        self.job = job
        self.key = key
        self.state = state
        self.cause = cause
        self.part = part
        self.files: TaskFiles | None = None

    def compose(self) -> ComposeResult:
        yield Line(id="head")
        yield Line(id="cause")
        yield Log(highlight=False, max_lines=20_000)
        yield Keys(self.ACTIONS, utf8=self.app.utf8)

    def on_mount(self) -> None:
        self.query_one(Log).focus()
        self._begin()

    def action_part(self, part: str) -> None:
        self.part = part
        self._begin()

    def action_back(self) -> None:
        self.dismiss()

    def action_copy_path(self) -> None:
        if self.files is None:
            self.app.tell("There is no file yet.")
            return
        path = str(self.files.of(self.part))
        self.app.copy_to_clipboard(path)
        self.app.tell(f"copied {path}")

    def _begin(self) -> None:
        self._title()
        log = self.query_one(Log)
        log.clear()
        log.auto_scroll = self.part != "script"
        self._follow(self.part)

    def _title(self) -> None:
        title = Text(" ")
        title.append(self.key, "bold")
        title.append(f"  {self.job}  ")
        title.append(glyph(self.state, self.app.utf8), self.app.colour(hue(self.state)))
        parts = Text()
        for part in PARTS:
            parts.append(f" {part} ", "reverse" if part == self.part else "")
        self.query_one("#head", Line).say(title, parts)
        where = "" if self.files is None else f"attempt {self.files.attempt}  {self.files.of(self.part)}"
        self.query_one("#cause", Line).say(self.cause or where, "" if self.files is None else self.files.slurm)

    @work(thread=True, exclusive=True, group="follow", exit_on_error=False)
    def _follow(self, part: str) -> None:
        """Read the file by offset in bounded pieces, and again from its start where it became shorter."""
        import time

        worker = get_current_worker()
        files, told = self._find()
        if files is None:
            text = self._rendered() if part == "script" else told
            self.app.call_from_thread(self._add, text, None)
            return
        path, offset, first = files.of(part), 0, True
        while not worker.is_cancelled:
            try:
                with open(path, "rb") as stream:
                    size = stream.seek(0, 2)
                    offset = 0 if size < offset else offset
                    skipped = first and size > 10 * PIECE_BYTES
                    offset = size - PIECE_BYTES if skipped else offset
                    stream.seek(offset)
                    data = stream.read(PIECE_BYTES)
            except OSError as error:
                data, skipped = b"", False
                if first:
                    self.app.call_from_thread(self._add, told or f"{path}: {error.strerror or error}\n", files)
            offset += len(data)
            if data or (first and path.exists()):
                text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
                text = text or "(empty so far)\n" if first else text
                begin = f"... {offset - len(data)} bytes before this are not shown\n" if skipped else ""
                self.app.call_from_thread(self._add, begin + text, files)
            first = False
            if len(data) < PIECE_BYTES:
                time.sleep(POLL_SECONDS)

    def _find(self) -> tuple[TaskFiles | None, str]:
        from core.engine.reading import load_status
        from core.engine.status import position
        from core.errors import CrboostError

        try:
            status = load_status(self.root)
            job = status.job(self.job)
            index = position(status, job, self.key)
        except CrboostError as error:
            return None, f"{error}\n"
        waits = ""
        if index is not None and job.states[index] == TaskState.QUEUED.value:
            why = queue_words(status, job.id)
            waits = f"Queued{f': {why}' if why else ''}.\nIts log begins when it starts.\n"
        if index is None or not job.folder or job.attempts[index] < 1:
            return None, waits or "This task has not run yet.\n"
        folder = self.root / job.folder / "tasks" / self.key
        return TaskFiles(folder, job.attempts[index], slurm_text(job, self.key)), waits

    def _rendered(self) -> str:
        from core.engine.rendering import render_task
        from core.errors import CrboostError
        from crboost_tui.data import config_dir

        try:
            return render_task(self.root, config_dir(), self.job, self.key)
        except CrboostError as error:
            return f"{error}\n"

    def _add(self, text: str, files: TaskFiles | None) -> None:
        if files is not None and files != self.files:
            self.files = files
            self._title()
        self.query_one(Log).write(text)
