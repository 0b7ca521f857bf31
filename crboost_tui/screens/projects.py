"""The projects of this user: opened before, or below the site's project folders."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.screen import Screen

from crboost_tui import project_list
from crboost_tui.actions import Action, bindings
from crboost_tui.project_list import Entry
from crboost_tui.recent import forget, remembered
from crboost_tui.terminal import ASCII_TWINS, glyph, hue
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.project_lines import ProjectLines, with_tilde

if TYPE_CHECKING:
    from textual.widgets import Input

    from crboost_tui.app import CrboostApp
    from crboost_tui.widgets.find import Find
    from crboost_tui.widgets.line_list import LineList

ACTIONS = (
    Action("open", "enter", "open", "open the project under the cursor"),
    Action("new", "n", "new", "make a project from movies and mdocs"),
    Action("find", "slash", "find", "only projects with these letters in their name or folder"),
    Action("order", "o", "order", "sort by last activity, or by name"),
    Action("forget", "x", "forget", "take the project out of this list (asks first; nothing on disk changes)"),
    Action("look_again", "r", "look again", "search the site's project folders again", footer=False),
    Action("back", "escape", "back", "show all again; back to the project that was open", footer=False),
    Action("app.settings", "comma", "settings", "colours, keys, the site's settings, and what works here (doctor)"),
    Action("app.command_palette", "ctrl+p", "all", "every action by name"),
    Action("app.help", "question_mark", "help", "this page"),
    Action("app.quit", "q", "quit", "leave; runs go on"),
)
REFRESH_SECONDS = 2.0
SEARCH_AFTER_SECONDS = 0.3
"""What reads the site's settings takes a while to import: not while the first frame is made."""


class ProjectsScreen(Screen[None]):
    """What is remembered is there at once, as it was when it was last seen; then as it is, line by line."""

    app: CrboostApp
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS)
    DEFAULT_CSS = """
    ProjectsScreen #head { background: $panel; }
    ProjectsScreen #columns { color: $text-muted; }
    ProjectsScreen #hint { padding: 0 1; color: $text-muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        seen = project_list.seen_before()
        self.entries = {str(root): seen.get(str(root)) or Entry(str(root), root.name) for root in remembered()}
        """By folder: those that are remembered, then those that were found."""
        self.by_name = False
        self.found: set[str] = set()
        self._order: list[str] = []
        self._ordered = False
        """Whether all have been looked at once, so that the order is right."""
        self._query = ""
        self._searching = False
        self._searched_once = False
        self._problem = ""
        self._looking = threading.Lock()
        self._gone = threading.Event()

    def compose(self) -> ComposeResult:
        yield Line(id="head")
        yield Line(id="columns")
        yield ProjectLines(self.app.colour, utf8=self.app.utf8, id="list")
        yield Line(id="hint")
        yield Keys(self.ACTIONS, utf8=self.app.utf8)

    def on_mount(self) -> None:
        self.lines.focus()
        self._sort()
        self._timer = self.set_interval(REFRESH_SECONDS, self._look, pause=True)
        self.set_timer(SEARCH_AFTER_SECONDS, self._search)

    def on_unmount(self) -> None:
        self._gone.set()

    def on_resize(self) -> None:
        self._show()

    def on_screen_resume(self) -> None:
        for root in remembered():
            self.entries.setdefault(str(root), Entry(str(root), root.name))
        self._ordered = False
        self._sort()
        self.call_after_refresh(self._look)
        self._timer.resume()

    def on_screen_suspend(self) -> None:
        """Under another screen it costs nothing: not a read, and not a byte to the terminal."""
        self._timer.pause()

    @property
    def lines(self) -> ProjectLines:
        return self.query_one(ProjectLines)

    def _look(self) -> None:
        """Look at all of them as they are now, in a thread that nobody waits for."""
        if self._looking.acquire(blocking=False):
            roots = [Path(root) for root in self._order]
            threading.Thread(target=self._look_at, args=(roots,), daemon=True, name="look at projects").start()

    def _look_at(self, roots: list[Path]) -> None:
        try:
            fresh: list[Entry] = []
            for entry in project_list.look_at_all(roots):
                fresh.append(entry)
                if entry.kind == "silent" or len(fresh) == len(roots):
                    self._tell_all(fresh)
                    fresh = []
            self._tell_all(fresh)
            self._call(self._looked)
        finally:
            self._looking.release()

    def _looked(self) -> None:
        """Only now it is known which one was active last."""
        if not self._ordered:
            self._ordered = True
            untouched = self.lines.cursor == 0
            self._sort()
            if untouched:
                self.lines.go(0)

    def _search(self) -> None:
        """Look for projects below the site's project folders, each in a thread of its own that may hang."""
        if not self._searching:
            self._searching = True
            threading.Thread(target=self._search_roots, daemon=True, name="search projects").start()

    def _search_roots(self) -> None:
        from core.errors import CrboostError
        from core.project.site import load_site
        from crboost_tui.data import config_dir

        try:
            roots = load_site(None, config_dir()).projects
        except CrboostError as error:
            roots, self._problem = (), str(error)
        threads = [
            threading.Thread(target=self._search_below, args=(root,), daemon=True, name="search") for root in roots
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(project_list.SEARCH_SECONDS)
        self._call(self._searched)

    def _search_below(self, root: Path) -> None:
        for folder in project_list.search(root):
            if self._gone.is_set():
                return
            if str(folder) not in self.entries:
                self._tell_all([project_list.read_entry(folder)], found=True)

    def _searched(self) -> None:
        self._searching, self._searched_once = False, True
        self._show()
        project_list.keep_seen(self.entries.values())

    def _tell_all(self, entries: Iterable[Entry], found: bool = False) -> None:
        self._call(self._take, list(entries), found)

    def _call(self, function: object, *arguments: object) -> None:
        if not self._gone.is_set() and self.app.is_running:
            self.app.call_later(function, *arguments)  # type: ignore[arg-type]

    def _take(self, entries: list[Entry], found: bool) -> None:
        """Entries as they are now; the order stays, so that nothing moves under a person's hand."""
        changed = [entry for entry in entries if entry != self.entries.get(entry.root)]
        for entry in changed:
            if entry.kind == "silent" and entry.root in self.entries:
                known = self.entries[entry.root]
                entry = Entry(entry.root, known.name, "silent", series=known.series, updated=known.updated)
            self.entries[entry.root] = entry
            if found:
                self.found.add(entry.root)
        if any(entry.root not in self._order for entry in changed):
            self._sort()
        elif changed:
            self._show()
        if changed and not self._searching:
            project_list.keep_seen(self.entries.values())

    def _sort(self) -> None:
        known = self.entries.values()
        if self.by_name:
            ordered = sorted(known, key=lambda entry: (entry.name.lower(), entry.root))
        else:
            ordered = sorted(known, key=lambda entry: (-entry.updated, entry.name.lower(), entry.root))
        self._order = [entry.root for entry in ordered]
        self._show()

    def _show(self) -> None:
        if not self.is_mounted:
            return
        words = self._query.lower().split()
        shown = [self.entries[root] for root in self._order]
        shown = [one for one in shown if all(word in f"{one.name} {one.root}".lower() for word in words)]
        nothing = ("", "No projects yet.", "n makes one from your movies and mdocs; crboost demo shows how it works.")
        self.lines.show(shown, ("", f"No project with {self._query!r}; esc shows all.") if words else nothing)
        width = self.app.size.width
        self.query_one("#columns", Line).say(self._plain(self.lines.head(width)) if shown else "")
        self._say_head(shown)
        self._say_hint()

    def _say_head(self, shown: list[Entry]) -> None:
        right = Text()
        for state in ">x!":
            number = sum(entry.count(state) or (entry.needs if state == "!" else 0) for entry in shown)
            if number:
                right.append(f"{glyph(state, self.app.utf8)} {number}  ", self.app.colour(hue(state)))
        head = Text(" ")
        head.append("crboost", "bold")
        head.append("  projects")
        self.query_one("#head", Line).say(head, right)

    def _say_hint(self) -> None:
        """What goes on behind the list, else where the project under the cursor lies."""
        if self._problem:
            said: Text | str = Text(self._plain(self._problem), self.app.colour("fail"))
        elif self._searching:
            said = "searching the site's project folders ..."
        else:
            chosen = self.lines.selected
            said = self._plain(with_tilde(chosen.root)) if chosen is not None else ""
        order = "by name" if self.by_name else "by last activity"
        self.query_one("#hint", Line).say(said, f"{order} " if len(self.lines.rows) > 1 else "")

    def _plain(self, text: str) -> str:
        return text if self.app.utf8 else text.translate(ASCII_TWINS)

    def on_line_list_moved(self) -> None:
        self._say_hint()

    def on_line_list_opened(self, event: LineList.Opened) -> None:
        self.action_open()

    def action_open(self) -> None:
        chosen = self.lines.selected
        if chosen is None:
            self.app.tell("There is no project here. n makes one.")
            return
        self.app.open_project(Path(chosen.root))

    def action_new(self) -> None:
        from crboost_tui.screens.new_project import NewProjectScreen

        self.app.push_screen(NewProjectScreen())

    def action_order(self) -> None:
        self.by_name = not self.by_name
        self._sort()

    def action_look_again(self) -> None:
        if self._searching:
            self.app.tell("The search is still on.")
            return
        self._problem = ""
        self._search()
        self._say_hint()

    def action_forget(self) -> None:
        chosen = self.lines.selected
        if chosen is None:
            self.app.tell("There is no project here.")
            return
        if chosen.root in self.found and Path(chosen.root) not in remembered():
            self.app.tell("This one lies in the site's project folders (projects.roots): it would be found again.")
            return
        from crboost_tui.screens.ask import AskScreen

        def answered(yes: bool | None) -> None:
            if yes:
                forget(Path(chosen.root))
                self.entries.pop(chosen.root, None)
                self._sort()

        impact = f"It only leaves this list: nothing in {chosen.root} changes, and opening it brings it back."
        self.app.push_screen(AskScreen(f"Forget {chosen.name}?", impact), answered)

    def action_back(self) -> None:
        if self._query:
            self._query = ""
            self._show()
        elif self.app.root is not None:
            self.app.open_project(self.app.root)

    def action_find(self) -> None:
        from crboost_tui.widgets.find import Find

        if not self.query(Find):
            find = Find("name or folder", self._query)
            self.mount(find, before="#hint")
            find.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._query = event.value.strip()
        self._show()

    def on_find_stepped(self, event: Find.Stepped) -> None:
        self.lines.action_move(event.lines)

    async def on_find_left(self, event: Find.Left) -> None:
        from crboost_tui.widgets.find import Find

        await self.query(Find).remove()
        if not event.kept:
            self._query = ""
        self.lines.focus()
        self._show()
