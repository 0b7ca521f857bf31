"""What gather has read of each finished task: one JSON line per reading, the newest of a key counts.

Kept beside the project so that the tables of a job with thousands of series are rewritten without reading
thousands of files again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.errors import CrboostError
from core.files import replace_text, write_error
from core.jobs._base import SeriesResult


class GatheredResults:
    """The results of one job instance by task key, each with the mark of what it was read from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.marks: dict[str, str] = {}
        self.results: dict[str, SeriesResult] = {}
        lines = 0
        for line in _lines(path):
            lines += 1
            try:
                item = json.loads(line)
                key, mark = str(item.pop("key")), str(item.pop("mark"))
                self.results[key] = _result(item)
                self.marks[key] = mark
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        if lines > 2 * len(self.results) + 100:
            self._compact()

    def add(self, found: Mapping[str, tuple[str, SeriesResult]]) -> None:
        """Remember results (key -> mark and result) and append them to the file."""
        if not found:
            return
        text = ""
        for key, (mark, result) in found.items():
            self.results[key], self.marks[key] = result, mark
            text += self._line(key) + "\n"
        try:
            self.path.parent.mkdir(exist_ok=True)
            with open(self.path, "ab") as stream:
                stream.write(text.encode())
        except OSError as error:
            raise write_error(self.path, error) from error

    def _line(self, key: str) -> str:
        return json.dumps({"key": key, "mark": self.marks[key], **asdict(self.results[key])}, separators=(",", ":"))

    def _compact(self) -> None:
        replace_text(self.path, "".join(self._line(key) + "\n" for key in self.results))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CrboostError(f"cannot be read ({error.strerror}).", path) from error


def _result(item: dict[str, Any]) -> SeriesResult:
    item["notes"] = tuple(item["notes"])
    return SeriesResult(**item)
