"""Whether an engine lives on here after its person has logged out, and what to use where it does not."""

from __future__ import annotations

import os
import pwd
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from core.checks.findings import Finding, ok, warning
from core.checks.probing import ask
from core.checks.surroundings import Surroundings

LEAST_PROCESSES = 200
"""An engine and its worker are a handful of processes with a dozen threads each; local tasks come on top."""
LEAST_MEMORY_GB = 1.0
"""An engine and its worker take some 300 MB; a gather of a large project three times that."""

LOGIND_FILES = (
    Path("/usr/lib/systemd/logind.conf"),
    Path("/run/systemd/logind.conf"),
    Path("/etc/systemd/logind.conf"),
)
"""Later ones win; each has a folder of drop-ins, which win over all of them."""

_INSTEAD = (
    "Have Slurm host it: engine: {host: slurm} in conf.yaml, or crboost run --engine slurm; or let cron make its "
    "passes: */5 * * * * crboost engine --once PROJECT"
)


def survives_logout(around: Surroundings) -> Iterator[Finding]:
    """A session's processes are ended at its end only where logind is told so (``KillUserProcesses``)."""
    if around.site.engine.host == "slurm":
        yield ok("logout", "engines live in Slurm (engine.host in conf.yaml)")
        return
    if not Path("/run/systemd/system").is_dir():
        yield ok("logout", "no systemd here: nothing ends what a session leaves behind")
        return
    answer = ask(["loginctl", "show-session", "-p", "KillUserProcesses", "-p", "KillExcludeUsers"], 4.0)
    told = dict(line.split("=", 1) for line in answer.out.splitlines() if "=" in line) if answer.good else {}
    kills = told.get("KillUserProcesses") or logind_value("KillUserProcesses") or "no"
    user = _user()
    spared = (told.get("KillExcludeUsers") or logind_value("KillExcludeUsers") or "root").split()
    if kills.lower() not in ("yes", "true", "1", "on") or user in spared:
        yield ok("logout", "an engine lives on after logout (logind leaves a session's processes alone)")
        return
    lingers = ask(["loginctl", "show-user", user, "-p", "Linger", "--value"], 4.0).out.strip() == "yes"
    way = "systemd-run --user --scope crboost run" + ("" if lingers else ", after loginctl enable-linger")
    yield warning("logout", "an engine is killed at logout (logind has KillUserProcesses=yes)", f"{_INSTEAD}; or {way}")


def logind_value(name: str, files: tuple[Path, ...] = LOGIND_FILES) -> str:
    """A setting of logind as its files say it, "" where none does."""
    dropped: dict[str, Path] = {}
    for file in files:
        folder = file.with_name(file.name + ".d")
        if folder.is_dir():
            dropped |= {path.name: path for path in folder.glob("*.conf")}
    found = ""
    for path in [*files, *(dropped[key] for key in sorted(dropped))]:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for value in re.findall(rf"^\s*{re.escape(name)}\s*=\s*(.*?)\s*$", text, re.MULTILINE):
            found = value
    return found


def limits(around: Surroundings) -> Iterator[Finding]:
    """Limits of a login session that an engine, which lives for days, would run into."""
    if around.site.engine.host == "slurm":
        return
    said = []
    seconds = resource.getrlimit(resource.RLIMIT_CPU)[0]
    if seconds != resource.RLIM_INFINITY:
        found = f"a process is killed after {seconds / 60:.0f} min of CPU time (ulimit -t)"
        yield warning("CPU time", found, f"An engine needs minutes a day, local tasks much more. {_INSTEAD}")
    else:
        said.append("no limit on CPU time")
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if processes != resource.RLIM_INFINITY and processes < LEAST_PROCESSES and os.getuid():
        yield warning("processes", f"{processes} at most (ulimit -u)", f"Ask for {LEAST_PROCESSES} or more. {_INSTEAD}")
    else:
        said.append("processes without limit" if processes == resource.RLIM_INFINITY else f"{processes:,} processes")
    for name, value in group_limits().items():
        if name == "pids.max" and value < LEAST_PROCESSES:
            found = f"{value} at most for all of your sessions (cgroup)"
            yield warning("processes", found, f"Ask for {LEAST_PROCESSES} or more. {_INSTEAD}")
        elif name == "memory.max" and value < LEAST_MEMORY_GB * 1e9:
            found = f"{value / 1e9:.1f} GB at most for all of your sessions (cgroup)"
            yield warning("memory", found, f"Ask for {LEAST_MEMORY_GB:g} GB or more. {_INSTEAD}")
        else:
            said.append(f"{value:,} processes" if name == "pids.max" else f"{value / 1e9:.1f} GB of memory")
    if said:
        yield ok("limits", ", ".join(said))


def group_limits(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> dict[str, int]:
    """The lowest ``pids.max`` and ``memory.max`` of our control group and those above it (version 2)."""
    try:
        line = next(line for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return {}
    found: dict[str, int] = {}
    folder = root / line[3:].strip("/")
    while folder.is_relative_to(root):
        for name in ("pids.max", "memory.max"):
            try:
                text = (folder / name).read_text().strip()
            except OSError:
                continue
            if text.isdecimal():
                found[name] = min(found.get(name, int(text)), int(text))
        folder = folder.parent
    return found


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
