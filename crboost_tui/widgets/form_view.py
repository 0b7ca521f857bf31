"""A form as lines with one editor that opens in place. Drawn line by line: only what changed goes over the wire."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.style import Style
from textual import events, work
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from core.dataset.model import CONFIRMED
from crboost_tui.actions import Action, bindings
from crboost_tui.form import Form, FormField
from crboost_tui.terminal import cell_width, fit, shorten
from crboost_tui.widgets.editor import LineEditor, completion
from crboost_tui.widgets.form_lines import Columns, Pen, columns_of, facts, shown, wrapped
from crboost_tui.widgets.form_rows import FOLD, Row, in_order, rows_of
from crboost_tui.widgets.keys import Keys

if TYPE_CHECKING:
    from crboost_tui.app import CrboostApp

FORM_ACTIONS = (
    Action("focused.move(-1)", "up,k", "up", "the field above (home, end, page keys too)", footer=False),
    Action("focused.move(1)", "down,j", "down", "the field below", footer=False),
    Action("focused.edit", "enter", "edit", "change the value; a switch turns at once, a choice opens a list"),
    Action("focused.default", "d", "default", "back to the default, or to what the files say"),
    Action(
        "focused.compare", "equals_sign", "compare", "beside defaults, what ran, or another job; again for the next"
    ),
    Action("focused.search", "slash", "find", "fields whose name, option or help has these letters"),
    Action("focused.advanced", "a", "advanced", "show or hide what is seldom changed", footer=False),
    Action("focused.next_problem", "exclamation_mark", "problem", "go to the next field with a problem"),
    Action("focused.per_series", "P", "per series", "values of their own for chosen tilt series", footer=False),
    Action("focused.confirm", "c", "confirm", "what was found in the files is right", footer=False),
    Action("focused.copy", "y", "copy", "copy the field as a crboost set command", footer=False),
)
"""The view has their keys itself; screens take them into their help and footer."""
_MORE_KEYS = (
    Action("focused.move(-1000000)", "home", "first", ""),
    Action("focused.move(1000000)", "end", "last", ""),
    Action("focused.page(-1)", "pageup", "page up", ""),
    Action("focused.page(1)", "pagedown", "page down", ""),
    Action("focused.fold(True)", "right", "unfold", ""),
    Action("focused.fold(False)", "left", "fold", ""),
)
_EDITOR_KEYS = (("enter", "keep"), ("esc", "leave"), ("↑↓", "keep, next"))
_CHOICE_KEYS = (("enter", "keep"), ("esc", "leave"), ("↑↓", "choose"))
_OF_THE_APP = ("ctrl+q", "ctrl+c", "ctrl+p", "ctrl+z")
"""Keys that an open editor leaves alone."""


class FormView(ScrollView, can_focus=True, inherit_bindings=False):
    """``locked``: why nothing can be changed here, as a sentence; "" where it can."""

    app: CrboostApp
    BINDINGS = bindings(FORM_ACTIONS + _MORE_KEYS)
    COMPONENT_CLASSES = {"form--text", "form--head", "form--cursor", "form--editor"}
    DEFAULT_CSS = """
    FormView { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }
    FormView, FormView .form--text { background: $background; color: $foreground; }
    FormView .form--head { background: $background; color: $secondary; text-style: bold; }
    FormView .form--cursor { background: $panel; color: $foreground; }
    FormView .form--editor { background: $panel; color: $foreground; }
    """

    class Typed(Message):
        """A key stroke in the editor. ``changes``: what would be edited now; empty where the editor was left without a
        change. The screen shows the form with these in it, without keeping them."""

        def __init__(self, changes: Mapping[str, str | None]) -> None:
            super().__init__()
            self.changes = changes

    class Edited(Message):
        """``changes``: name of a value -> its new text, None for back to the default. The screen keeps them among its
        edits and shows the form again."""

        def __init__(self, changes: Mapping[str, str | None]) -> None:
            super().__init__()
            self.changes = changes

    class Compare(Message):
        """The next thing to compare with, please."""

    class PerSeries(Message):
        """A person wants values of their own for chosen tilt series of this field."""

        def __init__(self, field: FormField) -> None:
            super().__init__()
            self.field = field

    class Selected(Message):
        """The cursor is on another field."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.form: Form | None = None
        self.locked = ""
        self._rows: list[Row] = []
        self._row = 0
        self._unfolded = False
        self._editor: LineEditor | None = None
        self._choosing = False
        self._search: LineEditor | None = None
        self._before_search = ""
        self._pending: dict[str, str | None] = {}
        self._told = ""
        self._columns: Columns | None = None
        self._strips: dict[int, Strip] = {}
        self._foot_strips: list[Strip] = []
        self._kept_pen: Pen | None = None

    # ---- What screens call

    def show(self, form: Form) -> None:
        """Draw a form. The cursor stays on its field, an open editor open; only lines that differ are drawn again."""
        self.form = form
        self._pending.clear()
        if (self._editor or self._choosing) and self._key not in form.by_name:
            self._editor, self._choosing = None, False
            self._say_keys()
        self._rebuild()

    @property
    def selected(self) -> FormField | None:
        """The field under the cursor."""
        return self._rows[self._row].field if self._row < len(self._rows) else None

    @property
    def editing(self) -> bool:
        """Whether keys go into an editor now."""
        return self._editor is not None or self._choosing or self._search is not None

    def go(self, name: str) -> bool:
        """Put the cursor on a field, unfolding what hides it; False where there is no such field."""
        if self.form is None or name not in self.form.by_name:
            return False
        self._commit(0)
        if self._search is not None:
            self._search = None
            self._rebuild()
        if self.form.by_name[name].advanced and not self._unfolded:
            self._unfolded = True
            self._rebuild()
        self._to(next(index for index, row in enumerate(self._rows) if row.key == name))
        return True

    def told(self) -> tuple[str, str, str]:
        """Of the selected field: what is wrong, its help, and its facts (option, default, where its value is from)."""
        field = self.selected
        if field is None:
            return "", "", ""
        sentences = " ".join(finding.sentence for finding in field.findings)
        only = f" It counts {field.only}." if field.only and not field.applies else ""
        return sentences, field.help + only, facts(field, self._layout())

    # ---- Rows

    @property
    def _key(self) -> str:
        return self._rows[self._row].key if self._row < len(self._rows) else ""

    def _rebuild(self, *, key: str | None = None, option: int = 0) -> None:
        """Make the rows again, the cursor on the same field (or ``key``), and draw the lines that differ."""
        if self.form is None:
            return
        key = self._key if key is None else key
        at = self._first_of(self._key) - self.scroll_offset.y
        before, columns = self._rows, self._columns
        old_row = self._row
        self._rows = rows_of(
            self.form,
            unfolded=self._unfolded,
            letters=self._search.text if self._search is not None else None,
            choosing=self._key if self._choosing else "",
        )
        self._columns = None
        place = next(
            (i for i, row in enumerate(self._rows) if row.key == key and (not option or row.option == option)), None
        )
        if place is None:
            place = 0 if self._search is not None else min(old_row, len(self._rows) - 1)
        self._row = self._nearest(place)
        shape = [row.place for row in self._rows]
        if [row.place for row in before] == shape and columns == self._layout():
            for index, (old, new) in enumerate(zip(before, self._rows, strict=True)):
                if old != new or index in (old_row, self._row):
                    self._draw(index)
            self._draw_foot()
        else:
            self._strips.clear()
            self._foot_strips = []
            self.virtual_size = Size(self.size.width, len(self._rows) + self._foot)
            here = self._first_of(self._key)
            if before and here - self.scroll_offset.y != at:
                self.scroll_to(y=max(0, here - at), animate=False)
            self._into_view()
            self.refresh()

    def _first_of(self, key: str) -> int:
        """The line of a field, above its open choices."""
        return next((index for index, row in enumerate(self._rows) if row.key == key), 0)

    def _nearest(self, index: int) -> int:
        """The row at or after ``index`` on which the cursor can be, else one before it."""
        order = [*range(index, len(self._rows)), *range(index - 1, -1, -1)]
        return next((i for i in order if self._rows[i].kind in ("field", "fold", "option")), 0)

    # ---- The cursor

    def _to(self, index: int) -> None:
        if index == self._row:
            return
        old, self._row = self._row, index
        for place in (old, index):
            self._strips.pop(place, None)
            y = place - self.scroll_offset.y
            if 0 <= y < self._body:
                self.refresh(Region(0, y, min(self.size.width, self._cursor_cells(place)), 1))
        self._told = ""
        self._into_view()
        self._draw_foot()
        self.post_message(self.Selected())

    def _cursor_cells(self, index: int) -> int:
        """Cells from the left that look different under the cursor."""
        row, columns = self._rows[index], self._layout()
        if row.kind == "field":
            return 2 + columns.label
        return columns.left + 4 + cell_width(row.text)

    def _into_view(self) -> None:
        """The cursor's line, with the head of its group where it is the first of it, and with its open choices."""
        top, last, first = self.scroll_offset.y, self._row, self._first_of(self._key)
        while first > 0 and self._rows[first - 1].kind in ("head", "note"):
            first -= 1
        first = max(first, self._row - self._body + 1)
        while self._choosing and last + 1 < len(self._rows) and self._rows[last + 1].key == self._key:
            last += 1
        last = min(last, first + self._body - 1)
        if first < top:
            self.scroll_to(y=first, animate=False)
        elif last >= top + self._body:
            self.scroll_to(y=last - self._body + 1, animate=False)

    def action_move(self, rows: int) -> None:
        places = [index for index, row in enumerate(self._rows) if row.kind in ("field", "fold")]
        if places:
            here = places.index(self._row) if self._row in places else 0
            if rows < 0 and here == 0 and self._row < self._body:
                self.scroll_to(y=0, animate=False)
            self._to(places[max(0, min(len(places) - 1, here + rows))])

    def action_page(self, pages: int) -> None:
        self.action_move(pages * max(1, self._body - 1))

    def action_fold(self, unfold: bool) -> None:
        if self._key == FOLD and self._unfolded != unfold:
            self._unfolded = unfold
            self._rebuild()

    def action_advanced(self) -> None:
        if self.form is None or not any(each.advanced for each in self.form.fields):
            self.app.tell("Nothing is hidden here.")
            return
        self._unfolded = not self._unfolded
        hidden = self.selected is not None and self.selected.advanced and not self._unfolded
        self._rebuild(key=FOLD if hidden else None)

    def action_next_problem(self) -> None:
        if self.form is None:
            return
        names = [each.name for each in in_order(self.form.fields)]
        here = names.index(self._key) if self._key in names else -1
        for name in (*names[here + 1 :], *names[: here + 1]):
            if self.form.by_name[name].findings or self.form.by_name[name].confirm:
                self.go(name)
                return
        self.app.tell("Nothing is wrong here.")

    # ---- Editing

    def action_edit(self) -> None:
        field = self.selected
        if field is None:
            self.action_fold(not self._unfolded)
        elif self.locked:
            self.app.tell(self.locked)
        elif field.kind == "bool":
            self._edit(field, "false" if self._value(field) == "true" else "true")
        elif field.kind == "choice":
            self._choosing = True
            value = self._value(field)
            self._rebuild(option=field.choices.index(value) + 1 if value in field.choices else 1)
        else:
            self._editor = LineEditor(self._value(field))
            self._draw(self._row)
        self._say_keys()

    def action_default(self) -> None:
        field = self.selected
        if field is None:
            return
        if self.locked:
            self.app.tell(self.locked)
        elif field.fills:
            self.post_message(self.Edited({name: None for fill in field.fills.values() for name in fill}))
        elif field.origin.startswith(("you", "differ")) or field.edited:
            self._edit(field, None)
        else:
            self.app.tell(f"{field.label} is at its default.")

    def action_confirm(self) -> None:
        field = self.selected
        if field is None or not field.confirm:
            self.app.tell("There is nothing to confirm here.")
        elif self.locked:
            self.app.tell(self.locked)
        else:
            self.post_message(self.Edited({field.name: CONFIRMED}))

    def action_compare(self) -> None:
        self.post_message(self.Compare())

    def action_per_series(self) -> None:
        field = self.selected
        if field is None or field.per_series < 0:
            self.app.tell("This value is the same for all tilt series.")
        else:
            self.post_message(self.PerSeries(field))

    def action_copy(self) -> None:
        field = self.selected
        if field is None:
            return
        name, _, series = field.name.partition("@")
        word = shlex.quote(f"{name}={self._value(field)}")
        command = f"crboost set {word}" + (f" --series {shlex.quote(series)}" if series else "")
        self.app.copy_to_clipboard(command)
        self.app.tell(f"Copied: {command}")

    def action_search(self) -> None:
        if self.form is not None and self.form.fields:
            self._before_search = self._key
            self._search = LineEditor("")
            self._rebuild()
            self._say_keys()

    def _say_keys(self) -> None:
        """While something is typed or chosen, the footer has the keys of that."""
        chooses = self._choosing or self._search is not None
        keys = _EDITOR_KEYS if self._editor is not None else _CHOICE_KEYS if chooses else ()
        for footer in self.screen.query(Keys):
            footer.say_instead(keys)

    def _value(self, field: FormField) -> str:
        """As it is or, while the screen makes the new form, as it was typed."""
        typed = self._pending.get(field.name, field.value)
        return field.default if typed is None else typed

    def _changes(self, field: FormField, text: str | None) -> dict[str, str | None]:
        """An empty number, or no choice, is the default."""
        if text is not None and not text.strip() and field.kind not in ("text", "path"):
            text = None
        if text is not None and text in field.fills:
            return dict(field.fills[text])
        return dict.fromkeys((field.name, *field.names), text)

    def _edit(self, field: FormField, text: str | None) -> None:
        changes = self._changes(field, text)
        self._pending.update(changes)
        self._draw(self._row)
        self.post_message(self.Edited(changes))

    def _commit(self, rows: int) -> None:
        """Close the editor, or an open list, and go on; what was typed counts."""
        field, editor = self.selected, self._editor
        if editor is None or field is None:
            self._leave()
            return
        self._editor, self._told = None, ""
        self._draw(self._row)
        if editor.text != field.value or field.edited:
            self._edit(field, editor.text)
        else:
            self.post_message(self.Typed({}))
        if rows:
            self.action_move(rows)

    def _leave(self) -> None:
        """Close the editor without a change."""
        if self._editor is not None:
            self._editor, self._told = None, ""
            self._draw(self._row)
            self._draw_foot()
            self.post_message(self.Typed({}))
        elif self._choosing:
            self._choosing = False
            self._rebuild()

    def on_blur(self) -> None:
        """What was typed counts when a person goes elsewhere in the app; the terminal's own window may come and go."""
        if not self.app.app_focus:
            return
        self._commit(0)
        if self._search is not None:
            self._end_search(self._key)
        self._say_keys()

    async def _on_key(self, event: events.Key) -> None:
        if self.editing:
            taken = (
                self._key_in_editor(event)
                if self._editor is not None
                else self._key_in_choice(event)
                if self._choosing
                else self._key_in_search(event)
            )
            self._say_keys()
            if taken:
                event.stop()
                event.prevent_default()
                return
        await super()._on_key(event)

    def on_paste(self, event: events.Paste) -> None:
        if self._editor is not None:
            self._editor.insert(event.text)
            self._typed()
        elif self._search is not None:
            self._search.insert(event.text)
            self._rebuild()
        else:
            return
        event.stop()

    def _key_in_editor(self, event: events.Key) -> bool:
        editor, field = self._editor, self.selected
        assert editor is not None
        match event.key:
            case "escape":
                self._leave()
            case "tab" if field is not None and field.kind == "path":
                self._complete(editor.text)
            case "enter" | "tab" | "down":
                self._commit(1)
            case "up" | "shift+tab":
                self._commit(-1)
            case _:
                text = editor.text
                if not editor.press(event.key, event.character):
                    return event.key not in _OF_THE_APP
                self._told = ""
                if editor.text != text:
                    self._typed()
                else:
                    self._draw(self._row)
        return True

    def _typed(self) -> None:
        self._draw(self._row)
        if self._editor is not None and self.selected is not None:
            self.post_message(self.Typed(self._changes(self.selected, self._editor.text)))

    def _key_in_choice(self, event: events.Key) -> bool:
        field, row = self.selected, self._rows[self._row]
        assert field is not None
        number = row.option
        match event.key:
            case "escape" | "left":
                self._leave()
                return True
            case "enter" | "tab" | "space" | "right":
                self._choosing = False
                self._rebuild()
                if field.choices[number - 1] != field.value or field.fills:
                    self._edit(field, field.choices[number - 1])
                return True
            case "down" | "j":
                number += 1
            case "up" | "k":
                number -= 1
            case "home":
                number = 1
            case "end":
                number = len(field.choices)
            case _:
                order = [*range(number, len(field.choices)), *range(number)]
                letter = (event.character or "\0").lower()
                number = next((i + 1 for i in order if field.choices[i].lower().startswith(letter)), number)
        number = max(1, min(len(field.choices), number))
        self._to(self._row + number - row.option)
        return event.key not in _OF_THE_APP

    def _key_in_search(self, event: events.Key) -> bool:
        search = self._search
        assert search is not None
        match event.key:
            case "escape":
                self._end_search(self._before_search)
            case "enter" | "tab":
                self._end_search(self._key or self._before_search)
            case "up":
                self.action_move(-1)
            case "down":
                self.action_move(1)
            case _:
                if not search.press(event.key, event.character):
                    return event.key not in _OF_THE_APP
                self._rebuild(key=self._before_search)
                self._draw_foot()
        return True

    def _end_search(self, key: str) -> None:
        self._search = None
        field = self.form.by_name.get(key) if self.form is not None else None
        if field is not None and field.advanced:
            self._unfolded = True
        self._rebuild(key=key)

    @work(thread=True, exclusive=True, group="complete", exit_on_error=False)
    def _complete(self, text: str) -> None:
        completed, told = completion(text)
        self.app.call_from_thread(self._completed, text, completed, told)

    def _completed(self, text: str, completed: str, told: str) -> None:
        if self._editor is None or self._editor.text != text:
            return
        self._told = told
        if completed != text:
            self._editor = LineEditor(completed)
            self._typed()
        self._draw_foot()

    # ---- The mouse

    def on_click(self, event: events.Click) -> None:
        index = event.y + self.scroll_offset.y
        if event.y >= self._body or index >= len(self._rows):
            return
        row = self._rows[index]
        if row.kind == "option":
            self._to(index)
            field = row.field
            self._choosing = False
            self._rebuild()
            if field is not None:
                self._edit(field, field.choices[row.option - 1])
            return
        if row.kind not in ("field", "fold"):
            return
        same = index == self._row and not self._choosing
        if same and self._editor is None:
            self.action_edit()
        elif not same:
            self._commit(0)
            self._to(next(i for i, each in enumerate(self._rows) if each.key == row.key))
            if row.kind == "fold":
                self.action_edit()

    # ---- Drawing

    @property
    def _foot(self) -> int:
        """Lines at the bottom that tell of the selected field: a rule, its words, its facts."""
        height = self.size.height if self.form is not None and self.form.fields else 0
        return 5 if height >= 20 else 4 if height >= 14 else 3 if height >= 9 else 1 if height >= 4 else 0

    @property
    def _body(self) -> int:
        return max(1, self.size.height - self._foot)

    def on_resize(self, event: events.Resize) -> None:
        self._columns = None
        self._strips.clear()
        self._foot_strips = []
        self.virtual_size = Size(event.size.width, len(self._rows) + self._foot)
        if self._rows:
            self._into_view()
        self.refresh()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._kept_pen = None
        self._strips.clear()
        self._foot_strips = []

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if self.form is None:
            return Strip.blank(width, self._style("text"))
        if y >= self._body:
            if not self._foot_strips:
                self._foot_strips = self._make_foot()
            place = y - self._body
            return self._foot_strips[place] if place < len(self._foot_strips) else Strip.blank(width)
        index = y + self.scroll_offset.y
        if index >= len(self._rows):
            return Strip.blank(width, self._style("text"))
        strip = self._strips.get(index)
        if strip is None:
            strip = self._strips[index] = self._line(index)
        return strip

    def _draw(self, index: int) -> None:
        self._strips.pop(index, None)
        y = index - self.scroll_offset.y
        if 0 <= y < self._body:
            self.refresh(Region(0, y, self.size.width, 1))

    def _draw_foot(self) -> None:
        """Of each line as much as holds text now or did before."""
        before, self._foot_strips = self._foot_strips, self._make_foot()
        for place, strip in enumerate(self._foot_strips):
            old = before[place] if place < len(before) else None
            if old is None or old != strip:
                cells = max(_used(strip), _used(old) if old is not None else self.size.width)
                self.refresh(Region(0, self._body + place, min(self.size.width, cells + 1), 1))

    def _layout(self) -> Columns:
        if self._columns is None:
            fields = self.form.fields if self.form is not None else ()
            values = [shown(each, self._value(each)) for each in fields]
            self._columns = columns_of(fields, values, self.size.width)
        return self._columns

    @property
    def _pen(self) -> Pen:
        if self._kept_pen is None:
            self._kept_pen = Pen(self._style, self.app.colour, self.app.utf8)
        return self._kept_pen

    def _line(self, index: int) -> Strip:
        row, cursor = self._rows[index], index == self._row
        value = self._value(row.field) if row.field is not None else ""
        editor = self._editor if cursor else None
        assert self.form is not None
        return self._pen.line(row, self.form, self._layout(), self.size.width, value, cursor, editor)

    def _make_foot(self) -> list[Strip]:
        """A rule, what is wrong with the field and what it is, its facts."""
        pen, width, lines = self._pen, self.size.width - 1, self._foot
        wrong, told, known = self.told()
        if self._search is not None:
            found = sum(row.kind == "field" for row in self._rows)
            known = f"/{self._search.text}   {found} of {len(self.form.fields) if self.form else 0} fields"
        if self._told:
            wrong, told = "", self._told
        field = self.selected
        severe = field is not None and any(each.level == "error" for each in field.findings)
        styles = (pen.meaning("fail" if severe else "need"), pen.text)
        drawn = [(line, styles[number]) for number, line in wrapped((wrong, told), width - 2, max(1, lines - 2))]
        fact = (shorten(known, width - 2), pen.meaning("quiet"))
        if lines >= 3:
            drawn = [("─" * (width - 2), fact[1]), *drawn, fact]
        elif self._search is not None:
            drawn = [fact]
        drawn += [("", pen.text)] * lines
        return [
            pen.strip([(fit(f" {line}", self.size.width), style)], self.size.width) for line, style in drawn[:lines]
        ]

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"form--{name}")


def _used(strip: Strip) -> int:
    """Cells up to the last character that is no space."""
    return cell_width(strip.text.rstrip())
