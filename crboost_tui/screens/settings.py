"""Settings: yours, those of the site with the file that each comes from, the tools, and what works here (doctor)."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from crboost_tui.actions import Action, bindings, shown_key
from crboost_tui.settings import CHOICES, AppSettings, settings_file, textual_keys, wrong_keys
from crboost_tui.terminal import ASCII_TWINS, cell_width, fit, glyph, hue, shorten
from crboost_tui.widgets.keys import Keys
from crboost_tui.widgets.line import Line
from crboost_tui.widgets.line_list import Piece
from crboost_tui.widgets.lines import Lines, Row

if TYPE_CHECKING:
    from textual.widgets import Input

    from core.checks.findings import Finding
    from core.project.site import Site
    from crboost_tui.app import CrboostApp
    from crboost_tui.widgets.find import Find

PARTS = ("yours", "site", "tools", "doctor")
ACTIONS = (
    Action("change", "enter", "change", "change the value or the key under the cursor; in doctor: look again"),
    Action("default", "d", "default", "back to the default"),
    Action("find", "slash", "find", "only lines with these letters"),
    Action("part('yours')", "1", "yours", "your own settings: colours, pictures, bell, keys", False),
    Action(
        "part('site')", "2", "site", "the settings of site, user and project, and the file that each comes from", False
    ),
    Action("part('tools')", "3", "tools", "where each tool is, and its version", False),
    Action("part('doctor')", "4", "doctor", "what works here, what does not, and what to do", False),
    Action("turn(1)", "tab,right", "next part", "the next part"),
    Action("turn(-1)", "shift+tab,left", "part before", "the part before", False),
    Action("again", "r", "look again", "doctor: look again"),
    Action("scope", "s", "scope", "doctor: the site with this project, or the site alone"),
    Action("back", "escape,q", "back", "all lines again; back to the screen before"),
    Action("app.help", "question_mark", "help", "this page"),
)
_ABOUT = {
    "theme": "dark, light, or the terminal's own 16 colours",
    "pictures": "how tomograms are drawn: found out, or as you say",
    "bell": "a bell and a notice when something fails, or a run ends",
}
_MARKS = {"ok": "+", "warning": "!", "failed": "x"}


@dataclass(frozen=True, slots=True)
class ToolLine:
    """A tool as ``conf.yaml`` names it. ``version``: as far as it can be told without running it."""

    name: str
    kind: str
    path: str
    version: str


class SettingsScreen(Screen[None]):
    """``root``: the project whose settings count too, None for those of the site and the user alone."""

    app: CrboostApp
    ACTIONS = ACTIONS
    BINDINGS = bindings(ACTIONS)
    DEFAULT_CSS = """
    SettingsScreen #head { background: $panel; }
    SettingsScreen #told { padding: 0 1; color: $text-muted; }
    """

    def __init__(self, root: Path | None, part: str = "yours") -> None:
        super().__init__()
        self.root = root
        self.part = part
        self.whole_site = root is None
        """Doctor looks at the site alone."""
        self._actions: Mapping[str, tuple[Action, ...]] = {}
        self._site: Site | None = None
        self._problem = ""
        self._tools: tuple[ToolLine, ...] | None = None
        self._findings: tuple[Finding, ...] = ()
        self._progress = ""
        self._doctor: subprocess.Popen[str] | None = None
        self._queries: dict[str, str] = {}
        self._places: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        yield Line(id="head")
        yield Lines(self.app.colour, utf8=self.app.utf8, id="lines")
        yield Line(id="told")
        yield Keys(self.ACTIONS, utf8=self.app.utf8)

    def on_mount(self) -> None:
        self.lines.focus()
        self._read()
        if self.part == "doctor":
            self._examine()

    def on_unmount(self) -> None:
        self._end_doctor()

    def on_resize(self) -> None:
        self._show()

    @property
    def lines(self) -> Lines:
        return self.query_one(Lines)

    @property
    def _query(self) -> str:
        return self._queries.get(self.part, "")

    @work(thread=True, exit_on_error=False)
    def _read(self) -> None:
        """Everything that lies in files."""
        from core.errors import CrboostError
        from core.project.site import load_site
        from crboost_tui.actions import all_actions
        from crboost_tui.data import config_dir

        try:
            site = load_site(self.root, config_dir())
        except CrboostError as error:
            self.app.call_from_thread(self._take_site, None, str(error), ())
        else:
            self.app.call_from_thread(self._take_site, site, "", _tool_lines(site))
        self.app.call_from_thread(self._take_actions, all_actions())

    def _take_actions(self, actions: Mapping[str, tuple[Action, ...]]) -> None:
        self._actions = actions
        self._show()

    def _take_site(self, site: Site | None, problem: str, tools: tuple[ToolLine, ...]) -> None:
        self._site, self._problem, self._tools = site, problem, tools
        self._show()

    def _show(self) -> None:
        if not self.is_mounted:
            return
        rows, nothing = {
            "yours": self._yours,
            "site": self._site_rows,
            "tools": self._tool_rows,
            "doctor": self._doctor_rows,
        }[self.part]()
        words = self._query.lower().split()
        if words:
            rows = [row for row in rows if row.choice and all(word in _text(row).lower() for word in words)]
            nothing = ("", f"Nothing with {self._query!r}; esc shows all.")
        self.lines.show(rows, nothing)
        self._say()

    def _say(self) -> None:
        head = Text(" settings", "bold")
        parts = Text()
        for number, part in enumerate(PARTS, 1):
            parts.append(f" {number} {part} ", "reverse" if part == self.part else "")
        name = Text(f" {self.root.name} ") if self.root is not None and self.app.size.width > 60 else Text()
        head.append("  ").append_text(name)
        if self.root is not None and ".crboost/rehearsal/" in str(self.root):
            head.append(" REHEARSAL", self.app.colour("rehearsal"))
        self.query_one("#head", Line).say(head, parts)
        self.query_one("#told", Line).say(self._plain(self._told()), f"{self._progress} " if self._at_doctor else "")

    @property
    def _at_doctor(self) -> bool:
        return self.part == "doctor"

    def _told(self) -> str:
        if self.part == "yours":
            return f"kept in {settings_file()}"
        if self._at_doctor:
            whose = "the site" if self.whole_site else f"the site and {self.root.name if self.root else ''}"
            return f"of {whose}; s changes that" if self.root is not None else "of the site"
        return "crboost config shows the same; conf.template.yaml explains each"

    # -- yours ---------------------------------------------------------------------------------------------------------

    def _yours(self) -> tuple[list[Row], tuple[str, ...]]:
        settings, rows = self.app.settings, [_head("Yours")]
        for name in ("theme", "pictures", "bell"):
            value = getattr(settings, name)
            said = ("yes" if value else "no") if isinstance(value, bool) else str(value)
            how = "" if value == getattr(AppSettings(), name) else "need"
            about = self._why_no_colour() if name == "theme" and self.app.no_color else _ABOUT[name]
            rows.append(
                Row(name, ((f"   {fit(name, 18)}", ""), (fit(said, 14), f"bold {how}"), (self._cut(about), "quiet")))
            )
        wrong = [*self.app.wrong_settings, *(wrong_keys(settings.keys, self._actions) if self._actions else ())]
        rows += [Row(f"wrong {number}", ((f"   {text}", "fail"),)) for number, text in enumerate(wrong)]
        if not self._actions:
            rows += [_blank("keys"), Row("reading", (("   reading the keys ...", "quiet"),), False)]
        told: set[str] = set()
        for screen, actions in self._actions.items():
            new = [action for action in actions if action.id not in told]
            told |= {action.id for action in new}
            if new:
                rows += [_blank(screen), _head(f"Keys: {screen}")]
            for action in new:
                keys = " ".join(shown_key(key) for key in settings.keys.get(action.id, action.keys).split(","))
                how = "bold need" if action.id in settings.keys else "bold"
                id_cells = max(18, min(len(action.id) + 2, 24))
                pieces: tuple[Piece, ...] = (
                    (f"   {fit(action.label, 18)}", ""), (fit(keys, 14), how), (fit(action.id, id_cells), "quiet"),
                    (shorten(action.help, max(0, self.app.size.width - 37 - id_cells)), ""),
                )  # fmt: skip
                rows.append(Row(f"key {action.id}", pieces))
        return rows, ()

    def _cut(self, text: str) -> str:
        """What fits behind a name and its value."""
        return shorten(text, max(0, self.app.size.width - 37))

    def _why_no_colour(self) -> str:
        return "NO_COLOR is set: no colours, whatever stands here"

    # -- site and tools ------------------------------------------------------------------------------------------------

    def _site_rows(self) -> tuple[list[Row], tuple[str, ...]]:
        if self._site is None:
            return self._not_read()
        by_origin: dict[str, list[tuple[str, str]]] = {}
        for value in self._site.values:
            by_origin.setdefault(value.origin, []).append((value.path, _said(value.value)))
        rows: list[Row] = []
        # What somebody has said comes before what nobody has.
        for origin, values in sorted(by_origin.items(), key=lambda each: each[0] == "defaults"):
            rows += [_blank(origin)] if rows else []
            rows.append(_head(origin))
            names = min(34, max(cell_width(path) for path, _ in values))
            for path, text in values:
                rows += self._folded(path, fit(path, names), text, names)
        return rows, ("", "No settings.")

    def _tool_rows(self) -> tuple[list[Row], tuple[str, ...]]:
        if self._site is None or self._tools is None:
            return self._not_read()
        rows = []
        for tool in self._tools:
            ran = next((each for each in self._findings if each.group == "Tools" and each.name == tool.name), None)
            said = ran.found if ran is not None else tool.version
            state = _MARKS[ran.state] if ran is not None else ""
            mark: Piece = (f" {glyph(state, True) if state else ' '} ", hue(state) if state else "")
            begin: tuple[Piece, ...] = (mark, (fit(tool.name, 14), "bold"), (fit(tool.kind, 11), "quiet"))
            rows.append(Row(tool.name, (*begin, (f"{tool.path or 'on the PATH'}", ""))))
            rows.append(Row(f"{tool.name} version", ((" " * 28, ""), (said, "quiet")), False))
        none = ("", "No tools are named. conf.yaml says where they are:", "crboost config init writes a first one.")
        return rows, none

    def _not_read(self) -> tuple[list[Row], tuple[str, ...]]:
        if self._problem:
            width = max(20, self.app.size.width - 4)
            return [Row(line, ((f"  {line}", "fail"),)) for line in _wrap(self._problem, width)], ()
        return [], ("", "reading ...")

    def _folded(self, key: str, name: str, text: str, names: int) -> list[Row]:
        first, *rest = _wrap(text, max(16, self.app.size.width - names - 7)) or [""]
        rows = [Row(key, ((f"   {name}  ", "quiet"), (first, "")))]
        space = " " * (names + 5)
        return rows + [Row(f"{key} {n}", ((space, ""), (line, "")), False) for n, line in enumerate(rest)]

    # -- doctor --------------------------------------------------------------------------------------------------------

    def _doctor_rows(self) -> tuple[list[Row], tuple[str, ...]]:
        width = self.app.size.width - 2
        by_group: dict[str, list[Finding]] = {}
        for finding in self._findings:
            by_group.setdefault(finding.group, []).append(finding)
        names = max([6, *(cell_width(finding.name) for finding in self._findings)])
        indent = names + 7
        rows: list[Row] = []
        for group in sorted(by_group, key=_place_of):
            rows += [_blank(group)] if rows else []
            rows.append(_head(group))
            for number, finding in enumerate(by_group[group]):
                mark = _MARKS[finding.state]
                first, *rest = _wrap(finding.found, width - indent) or [""]
                key = f"{group} {finding.name} {number}"
                begin: tuple[Piece, ...] = ((f"   {glyph(mark, True)} ", hue(mark)), (fit(finding.name, names), "bold"))
                rows.append(Row(key, (*begin, (f"  {first}", ""))))
                rows += [Row(f"{key} {n}", ((" " * indent + line, ""),), False) for n, line in enumerate(rest)]
                advice = _wrap(finding.advice, width - indent - 2)
                for n, line in enumerate(advice):
                    lead = "→ " if n == 0 else "  "
                    rows.append(Row(f"{key} a{n}", ((" " * indent + lead, "bold"), (line, "quiet")), False))
        return rows, ("", "looking ..." if self._doctor is not None else "enter looks at this host and the site.")

    def _examine(self) -> None:
        self._end_doctor()
        self._findings = ()
        self._progress = "looking ..."
        self._run_doctor(None if self.whole_site else self.root)
        self._show()

    @work(thread=True, exclusive=True, group="doctor", exit_on_error=False)
    def _run_doctor(self, root: Path | None) -> None:
        from core.checks.findings import Finding
        from crboost_tui.checking import check, findings

        size = self.app.size
        process = check(root, size.width, size.height, "utf-8" if self.app.utf8 else "ascii")
        self._doctor = process
        for told in findings(process):
            if self._doctor is not process:
                return
            if isinstance(told, Finding):
                self.app.call_from_thread(self._found, process, told)
            else:
                self.app.call_from_thread(self._progressed, process, *told)
        process.wait()
        self.app.call_from_thread(self._examined, process)

    def _found(self, process: subprocess.Popen[str], finding: Finding) -> None:
        if self._doctor is process:
            self._findings += (finding,)
            if self.part in ("doctor", "tools"):
                self._show()

    def _progressed(self, process: subprocess.Popen[str], ended: int, left: Sequence[str]) -> None:
        if self._doctor is process and left:
            names = ", ".join(left[:2]) + (" ..." if len(left) > 2 else "")
            self._progress = f"{ended} of {ended + len(left)}, waiting for {names}"
            self._say()

    def _examined(self, process: subprocess.Popen[str]) -> None:
        if self._doctor is process:
            self._doctor = None
            counts = {state: sum(each.state == state for each in self._findings) for state in _MARKS}
            said = (f"{glyph(_MARKS[state], self.app.utf8)} {number}" for state, number in counts.items() if number)
            self._progress = "  ".join(said)
            self._show()

    def _end_doctor(self) -> None:
        """It takes back what it began; nobody waits for it."""
        process, self._doctor = self._doctor, None
        if process is not None and process.poll() is None:
            process.terminate()
            threading.Thread(target=process.wait, daemon=True).start()

    # -- actions -------------------------------------------------------------------------------------------------------

    def action_part(self, part: str) -> None:
        chosen = self.lines.selected
        if chosen is not None:
            self._places[self.part] = chosen.key
        self.part = part
        if part == "doctor" and not self._findings and self._doctor is None:
            self._examine()
        self._show()
        if not self.lines.go_to(self._places.get(part, "")):
            self.lines.go(0)

    def action_turn(self, parts: int) -> None:
        self.action_part(PARTS[(PARTS.index(self.part) + parts) % len(PARTS)])

    def action_again(self) -> None:
        if not self._at_doctor:
            self.app.tell("This looks again in doctor: 4, then r.")
            return
        self._examine()

    def action_scope(self) -> None:
        if not self._at_doctor:
            self.app.tell("This is for doctor: 4, then s.")
        elif self.root is None:
            self.app.tell("No project is open: doctor looks at the site alone.")
        else:
            self.whole_site = not self.whole_site
            self._examine()

    def action_change(self) -> None:
        if self._at_doctor:
            self._examine()
            return
        chosen = self.lines.selected
        if self.part != "yours" or chosen is None:
            self.app.tell("These are changed in the file above them: crboost config tells how they add up.")
            return
        if chosen.key in CHOICES:
            values = CHOICES[chosen.key]
            self._set(chosen.key, values[(values.index(getattr(self.app.settings, chosen.key)) + 1) % len(values)])
        elif chosen.key == "bell":
            self._set("bell", not self.app.settings.bell)
        elif chosen.key.startswith("key "):
            id = chosen.key.removeprefix("key ")
            self.app.push_screen(KeyScreen(id), lambda key: self._set_key(id, key))
        else:
            self.app.tell(f"This is put right in {settings_file()}.")

    def action_default(self) -> None:
        chosen = self.lines.selected
        if self.part != "yours" or chosen is None or chosen.key.startswith("wrong"):
            self.app.tell("Only your own settings have a default here.")
        elif chosen.key.startswith("key "):
            self._set_key(chosen.key.removeprefix("key "), "")
        else:
            self._set(chosen.key, getattr(AppSettings(), chosen.key))

    def _set(self, name: str, value: object) -> None:
        self.app.set_setting(name, value)
        self._show()

    def _set_key(self, id: str, key: str | None) -> None:
        """Another key for an action; "" for the default, None for no change."""
        if key is None:
            return
        names, wrong = textual_keys(key) if key else ("", "")
        if wrong:
            self.app.tell(wrong, wrong=True)
            return
        keys = {known: each for known, each in self.app.settings.keys.items() if known != id}
        if names:
            keys[id] = names
        before = set(wrong_keys(self.app.settings.keys, self._actions))
        self._set("keys", keys)
        for sentence in [each for each in wrong_keys(keys, self._actions) if each not in before][:1]:
            self.app.tell(sentence, wrong=True)

    def action_back(self) -> None:
        if self._query:
            self._queries.pop(self.part)
            self._show()
        else:
            self.dismiss()

    def action_find(self) -> None:
        from crboost_tui.widgets.find import Find

        if not self.query(Find):
            find = Find("letters of a setting, a key, a tool", self._query)
            self.mount(find, before="#told")
            find.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._queries[self.part] = event.value.strip()
        self._show()

    def on_find_stepped(self, event: Find.Stepped) -> None:
        self.lines.action_move(event.lines)

    async def on_find_left(self, event: Find.Left) -> None:
        from crboost_tui.widgets.find import Find

        await self.query(Find).remove()
        if not event.kept:
            self._queries.pop(self.part, None)
        self.lines.focus()
        self._show()

    def on_line_list_opened(self) -> None:
        self.action_change()

    def _plain(self, text: str) -> str:
        return text if self.app.utf8 else text.translate(ASCII_TWINS)


class KeyScreen(ModalScreen[str | None]):
    """Waits for the one key that an action shall have."""

    DEFAULT_CSS = """
    KeyScreen { align: center middle; background: $background 60%; }
    KeyScreen > Static { width: 58; max-width: 94%; height: auto; border: round $primary; padding: 1 2;
        background: $background; }
    """

    def __init__(self, id: str) -> None:
        super().__init__()
        self.id_of_action = id

    def compose(self) -> ComposeResult:
        yield Static(f"Press the new key for {self.id_of_action}.\n\nesc leaves it as it is.", markup=False)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self.dismiss(None if event.key == "escape" else event.key)


def _tool_lines(site: Site) -> tuple[ToolLine, ...]:
    from core.checks.tools import probe_of
    from core.engine.tool_table import tool_of
    from core.tools.version import version_of

    lines = []
    for name, tool in site.tools.items():
        probe = probe_of(name)
        version = version_of(tool_of(tool), probe.program if probe is not None else name)
        said = version.labels.get("version") or version.labels.get("Version") or version.modified
        lines.append(
            ToolLine(name, "container" if tool.container else "binary", tool.path, said or "not seen from here")
        )
    return tuple(lines)


_GROUPS = ("Settings", "Python", "Tools", "Containers", "Slurm", "Engine", "File systems", "Terminal")


def _place_of(group: str) -> int:
    return _GROUPS.index(group) if group in _GROUPS else len(_GROUPS)


def _head(text: str) -> Row:
    return Row(f"head {text}", ((f" {text}", "bold"),), False)


def _blank(text: str) -> Row:
    return Row(f"above {text}", (), False)


def _text(row: Row) -> str:
    return "".join(text for text, _ in row.pieces)


def _said(value: object) -> str:
    """A value as it stands in ``conf.yaml``, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_said(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value)) or "none"
    return str(value) or "none"


def _wrap(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, max(16, width), break_on_hyphens=False)
