"""Apptainer (or singularity): is it there, may it do its work, and does it show a folder to an image?"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from core.checks.findings import Finding, failed, ok, warning
from core.checks.probing import ask
from core.checks.slurm import is_used
from core.checks.surroundings import Surroundings, cache_folder, short
from core.checks.tools import LATE, Trial
from core.cluster.quoting import words
from core.errors import listed
from core.project.layout import ProjectPaths

GROUP = "Containers"
RUNTIMES = ("apptainer", "singularity")
SECONDS = 16.0

_NAMESPACES = (
    Path("/proc/sys/kernel/unprivileged_userns_clone"),
    Path("/proc/sys/user/max_user_namespaces"),
    Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
)


def runtime(around: Surroundings) -> Iterator[Finding]:
    images = [name for name, tool in around.site.tools.items() if tool.container]
    found = next((name for name in RUNTIMES if shutil.which(name)), "")
    if not found:
        wanted = f"no apptainer and no singularity on the PATH, but {listed(images, 4)} are containers"
        if not images:
            yield ok("runtime", "no apptainer and no singularity, and no tool is a container")
        elif is_used(around):
            yield warning("runtime", wanted, "It is enough if the nodes have it: see the line of the job's node.")
        else:
            yield failed("runtime", wanted, "Install Apptainer, or load its module before crboost.")
        return
    answer = ask([found, "--version"])
    if answer.good:
        yield ok("runtime", f"{answer.out.strip()}, {short(shutil.which(found) or '')}")
    else:
        yield failed("runtime", answer.why, f"Try it by hand: {found} --version")


def rights(around: Surroundings) -> Iterator[Finding]:
    """What the kernel and the administrator let an ordinary user's containers do."""
    if not any(map(shutil.which, RUNTIMES)):
        return
    if os.getuid() == 0:
        yield ok("namespaces", "not needed by root")
    else:
        yield namespaces(_NAMESPACES, _is_setuid())
    yield _fuse()
    if not any(tool.container for tool in around.site.tools.values()):
        yield subordinate_ids(Path("/etc/subuid"))


def namespaces(files: tuple[Path, Path, Path], setuid: bool) -> Finding:
    """User namespaces, by what the kernel's files say and by a real attempt; a setuid installation needs none."""
    clone, most, armour = files
    if _number(clone) == 0:
        why = f"{clone.name} is 0"
    elif _number(most) == 0:
        why = f"{most.name} is 0"
    else:
        answer = ask(["unshare", "--user", "--map-root-user", "true"], 4.0)
        if answer.good or answer.code is None:
            count = _number(most)
            return ok("namespaces", f"allowed{f' ({count:,} at most)' if count is not None else ''}")
        restricted = " (AppArmor forbids them)" if _number(armour) == 1 else ""
        why = f"unshare: {answer.why}{restricted}"
    if setuid:
        return ok("namespaces", f"not allowed ({why}), but the runtime is installed setuid")
    advice = "Ask your administrator to allow user namespaces, or to install apptainer-suid."
    return failed("namespaces", f"not allowed: {why}", advice)


def _fuse() -> Finding:
    device = Path("/dev/fuse")
    if not device.exists():
        return warning("FUSE", "there is no /dev/fuse", "A .sif is then unpacked at every start: ask for FUSE.")
    if not os.access(device, os.R_OK | os.W_OK):
        return warning("FUSE", "/dev/fuse may not be opened", "A .sif is then unpacked at every start: ask for FUSE.")
    helpers = [name for name in ("squashfuse_ll", "squashfuse") if shutil.which(name)]
    return ok("FUSE", f"/dev/fuse may be opened{f', {helpers[0]} is there' if helpers else ''}")


def subordinate_ids(file: Path) -> Finding:
    """They are needed to build images as an ordinary user (``--fakeroot``), not to run them."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except (KeyError, OSError):
        user, lines = str(os.getuid()), []
    if os.getuid() == 0 or any(line.split(":")[0] in (user, str(os.getuid())) for line in lines):
        return ok("building", "images can be built here: crboost doctor --build")
    advice = "Only building needs it: build elsewhere, or ask for an entry (usermod --add-subuids)."
    return warning("building", f"{user} has no entry in {file}", advice)


def bind_and_write(around: Surroundings) -> Iterator[Finding]:
    """A file written from inside each image that there is, in a folder that it is shown; all at the same time."""
    if not any(map(shutil.which, RUNTIMES)):
        return
    images: dict[str, list[str]] = {}
    for name, tool in around.site.tools.items():
        if tool.container and os.path.exists(tool.path):
            images.setdefault(tool.path, []).append(name)
    if not images:
        return
    parents = [cache_folder()]
    if around.root is not None and os.access(ProjectPaths(around.root).state, os.W_OK):
        parents.insert(0, ProjectPaths(around.root).state)
    parents[0].mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="doctor-", dir=parents[0], ignore_cleanup_errors=True) as text,
        ThreadPoolExecutor(len(images)) as pool,
    ):
        yield from pool.map(partial(_bind, around, Path(text)), images.values())


def _bind(around: Surroundings, folder: Path, names: Sequence[str]) -> Finding:
    """Of one image; ``names``: of the tools that are in it."""
    tool, told = around.site.tools[names[0]], listed(names, 3)
    written = folder / names[0]
    answer = Trial(names[0], tool, folder).ask("touch", str(written))
    if answer.good and written.exists():
        owner = written.stat().st_uid
        mine = "" if owner == os.getuid() else f", but it belongs to user {owner}"
        return ok("bind", f"a file was written from inside {told} into {short(folder.parent)}{mine}")
    why = answer.why if not answer.good else "it said that it wrote, but nothing is there"
    return failed("bind", f"{told}: {why}", LATE if answer.late else _bind_advice(answer.text, tool.path))


def _bind_advice(text: str, image: str) -> str:
    if "executable file not found" in text:
        return "The image begins, but has not even the program touch: is it the right one?"
    if re.search(r"namespace|not permitted|Operation not", text):
        return "The kernel does not let the container begin: see the line on namespaces."
    if re.search(r"squash|fuse|mount", text, re.IGNORECASE):
        return "The image cannot be mounted: see the line on FUSE, or use it as a folder (apptainer build --sandbox)."
    runtime = next(filter(shutil.which, RUNTIMES))
    return f"Try it by hand: {words([runtime, 'exec', image, 'true'])}"


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text().strip())
    except (OSError, ValueError):
        return None


def _is_setuid() -> bool:
    """Whether the runtime has a helper that becomes root."""
    for name in RUNTIMES:
        program = shutil.which(name)
        if program:
            prefix = Path(program).resolve().parent.parent
            for helper in prefix.glob(f"lib*exec/{name}/bin/starter-suid"):
                return bool(helper.stat().st_mode & 0o4000)
    return False
