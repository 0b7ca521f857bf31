"""One line of text being edited: what Textual's Input does, without a widget of its own."""

from __future__ import annotations

import os
import re

from crboost_tui.terminal import cell_width

_WORD_BEFORE = re.compile(r"\S*\s*\Z")


class LineEditor:
    """``text`` and the place of the cursor in it, as an index."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.cursor = len(text)

    def insert(self, text: str) -> None:
        """Type or paste; only the first line, and no control characters."""
        clean = "".join(char for char in text.split("\n")[0] if char.isprintable())
        self.text = self.text[: self.cursor] + clean + self.text[self.cursor :]
        self.cursor += len(clean)

    def press(self, key: str, character: str | None) -> bool:
        """Whether the key was for the editor."""
        before, after = self.text[: self.cursor], self.text[self.cursor :]
        match key:
            case "left" | "ctrl+b":
                self.cursor = max(0, self.cursor - 1)
            case "right" | "ctrl+f":
                self.cursor = min(len(self.text), self.cursor + 1)
            case "home" | "ctrl+a":
                self.cursor = 0
            case "end" | "ctrl+e":
                self.cursor = len(self.text)
            case "backspace" | "ctrl+h":
                self._replace(before[:-1], after)
            case "delete" | "ctrl+d":
                self._replace(before, after[1:])
            case "ctrl+u":
                self._replace("", after)
            case "ctrl+k":
                self._replace(before, "")
            case "ctrl+w":
                self._replace(_WORD_BEFORE.sub("", before), after)
            case _ if character is not None and character.isprintable() and not key.startswith("ctrl+"):
                self.insert(character)
            case _:
                return False
        return True

    def window(self, cells: int) -> tuple[str, str, str]:
        """What fits into ``cells``: the text before the cursor, the character under it, the text after it."""
        before, under = self.text[: self.cursor], self.text[self.cursor : self.cursor + 1] or " "
        room = max(1, cells) - cell_width(under)
        while cell_width(before) > room:
            before = before[1:]
        after, room = "", room - cell_width(before)
        for char in self.text[self.cursor + 1 :]:
            if cell_width(after + char) > room:
                break
            after += char
        return before, under, after + " " * (room - cell_width(after))

    def _replace(self, before: str, after: str) -> None:
        self.text, self.cursor = before + after, len(before)


def completion(text: str) -> tuple[str, str]:
    """What a path can be completed to for certain, and what it could go on with. Reads the disk."""
    folder, _, start = os.path.expanduser(text).rpartition("/")
    try:
        with os.scandir(folder or "/" if "/" in text else ".") as entries:
            found = sorted(
                f"{entry.name}/" if entry.is_dir() else entry.name
                for entry in entries
                if entry.name.startswith(start) and (start or not entry.name.startswith("."))
            )
    except OSError as error:
        return text, f"{folder or '.'}: {error.strerror}."
    if not found:
        return text, "Nothing there begins so."
    common = os.path.commonprefix(found)  # noqa: RUF071 (names, not paths)
    lead = f"{folder}/" if "/" in text else ""
    return lead + common, "" if len(found) == 1 else "  ".join(found[:12]) + (" ..." if len(found) > 12 else "")
