"""Whose project it is, and whether this user may change it. A colleague's is only looked at until one asks."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.project.layout import ProjectPaths


@dataclass(frozen=True, slots=True)
class Access:
    """``owner`` is "" where it is this user; ``writable``: the disk would allow a change."""

    owner: str = ""
    writable: bool = True

    def why_not(self, asked: bool) -> str:
        """Why nothing may be changed, and what to do; "" where it may. ``asked``: this user asked to work on it."""
        if not self.writable:
            if self.owner:
                return f"This project belongs to {self.owner}, and you may not write in it: ask {self.owner} for that."
            return "This project's folder cannot be written: see its permissions, or how its disk is mounted."
        if self.owner and not asked:
            return f"This project belongs to {self.owner}: it is open read-only. W works on it all the same."
        return ""

    def words(self, asked: bool) -> str:
        """For the head of a screen: ``read-only, anna's``, ``anna's``; "" for one's own."""
        whose = f"{self.owner}'s" if self.owner else ""
        return ", ".join(filter(None, ("read-only" if self.why_not(asked) else "", whose)))


def access_to(root: Path) -> Access:
    """The folder says whose a project is: the file in it is replaced by whoever changes it last."""
    try:
        number = root.stat().st_uid
    except OSError:
        return Access()  # that it is not there is said elsewhere
    paths = ProjectPaths(root)
    there = [path for path in (root, paths.state, paths.file) if path.exists()]
    writable = all(os.access(path, os.W_OK) for path in there)
    return Access("" if number == os.getuid() else _user_name(number), writable)


@cache
def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
