"""One call of a tool, as a list of arguments. It becomes text only in the script writer."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be run.

    ``tool`` is a name of the ``tools:`` table (``warp``, ``relion``, ...) or ``host`` for a program that every
    compute node has (``awk``). ``argv`` begins with the program's own name as it is called inside the tool
    (``WarpTools``). ``cwd`` is absolute. ``env`` is set for this call only. ``binds`` are further absolute paths
    that a container must be able to read. ``mpi``: it runs in as many ranks as the job asked for. With ``may_fail``
    the attempt goes on where this call fails (one series of a calibration): its products decide. ``alive_marker`` is a
    text that the program's standard output must contain if it really ran: WarpTools exits with 0 after refusing its
    command line.
    """

    tool: str
    argv: tuple[str, ...]
    cwd: str
    env: tuple[tuple[str, str], ...] = ()
    binds: tuple[str, ...] = ()
    gpu: bool = False
    mpi: bool = False
    ranks: int = 0
    """Ranks that the ``mpirun`` of the tool's own image starts. Set by :func:`core.tools.wrapper.launched` alone."""
    may_fail: bool = False
    alive_marker: str = ""
    watch_folders: tuple[str, ...] = field(default=())
    """Folders in which the appearance of a file means that the call will hang and must be ended
    (WarpTools' ``<task_dir>/blacklisted_nodes`` and ``sick``)."""
