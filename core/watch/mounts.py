"""Which kind of file system a path is on, and whether it announces what other machines write there."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MOUNT_TABLE = Path("/proc/self/mounts")

# By the beginning of the kind's name. overlay and fuse hide what is written below them, the others what other
# machines write; autofs is a network file system that is not mounted yet.
_HIDING = (
    "nfs", "lustre", "beegfs", "gpfs", "mmfs", "ceph", "fuse", "overlay", "cifs", "smb", "9p", "afs", "autofs", "aufs",
    "glusterfs", "orangefs", "pvfs", "panfs", "ocfs2", "gfs", "wekafs", "virtiofs", "vboxsf", "daos", "ncpfs", "coda",
)  # fmt: skip
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system: its folder and kind (``ext4``, ``nfs4``, ``fuse.bindfs`` ...)."""

    folder: str
    kind: str


def read_mounts(table: Path = MOUNT_TABLE) -> tuple[Mount, ...]:
    """The mount table, in its order; empty where there is none."""
    try:
        text = table.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return ()
    mounts = []
    for line in text.split("\n"):
        words = line.split(" ")
        if len(words) >= 3:
            mounts.append(Mount(_unescaped(words[1]), words[2]))
    return tuple(mounts)


def kind_of(path: Path, mounts: Sequence[Mount]) -> str:
    """The kind of file system that holds a path (which need not exist), "" where the table does not say."""
    real = os.path.realpath(path)
    best, kind = -1, ""
    for mount in mounts:
        folder = mount.folder.rstrip("/")
        # Of two mounts on one folder the later one is seen.
        if (real == folder or real.startswith(folder + "/")) and len(folder) >= best:
            best, kind = len(folder), mount.kind
    return kind


def hides_events(kind: str) -> bool:
    """Whether changes may happen on such a file system without an event here. An unknown one may."""
    return kind == "" or kind.startswith(_HIDING)


def _unescaped(text: str) -> str:
    """The table writes blanks, tabs, newlines and backslashes as octal numbers."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
