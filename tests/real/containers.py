"""Apptainer, and RELION 5.1 in a container, as root: ``python3 -m tests.real.containers up|down|status``.

Debian 12 has neither; Debian unstable has both. ``up`` puts a small Debian unstable into one folder and takes Apptainer
from it for this machine, bound to that folder's C library. With that, an ordinary user builds the container of
``container_defs/relion-5.1.0-cpu.def``, whose ``%test`` must pass, on top of the same small Debian; as a folder,
because a .sif would take a minute more and 500 MB. Everything is made once, and again when the definition changes; it
costs nothing while all of it is there. Needs nothing but Python 3.11. Where Debian unstable is out of reach this is
said, and remembered for the tests, which then leave out what needs it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.real.testbed import FOLDER, USER, Trouble, command, install, make_users

VERSION = "5.1.0"
DEFINITION = Path(__file__).resolve().parents[2] / "container_defs" / f"relion-{VERSION}-cpu.def"
BASE = FOLDER / "unstable"
IMAGE = FOLDER / "relion"
FACTS = FOLDER / "containers.json"
FUSE = Path("/dev/fuse")
SUITE = "sid"

# A file that must be there : Debian's package that brings it
PACKAGES = {
    "/usr/sbin/debootstrap": "debootstrap",
    "/usr/bin/patchelf": "patchelf",
    "/usr/bin/mksquashfs": "squashfs-tools",
    "/usr/bin/squashfuse": "squashfuse",
    "/usr/bin/fusermount3": "fuse3",
    "/usr/bin/newuidmap": "uidmap",
}
LIBRARIES = ("libseccomp2", "libsqlite3-0")  # Apptainer's own
APPTAINER = Path("/usr/bin/apptainer")
PROGRAMS = ("usr/bin/apptainer", "usr/lib/x86_64-linux-gnu/apptainer/bin/starter")
PLACES = ("usr/bin/apptainer", "usr/lib/x86_64-linux-gnu/apptainer", "etc/apptainer", "var/lib/apptainer")

APT_CONF = 'Acquire::Check-Valid-Until "false";\nAPT::Install-Recommends "false";\nAcquire::Languages "none";\n'
DPKG_CONF = "force-unsafe-io\n" + "".join(
    f"path-exclude=/usr/share/{name}/*\n" for name in ("doc", "man", "locale", "info")
)


class OutOfReach(Trouble):
    """Debian unstable cannot be had today."""


def facts() -> dict[str, str]:
    """What ``up`` left: ``made_of``, ``apptainer`` (that this machine had or got), or ``out_of_reach``: why."""
    try:
        found: dict[str, str] = json.loads(FACTS.read_text())
    except FileNotFoundError:
        return {}
    return found


def is_up() -> bool:
    return facts().get("made_of") == _made_of() and IMAGE.is_dir() and _apptainer_runs()


def _made_of() -> str:
    """What decides how it turns out: of the definition all but its comments."""
    definition = [line for line in DEFINITION.read_text().splitlines() if not line.lstrip().startswith("# ")]
    parts = (SUITE, LIBRARIES, PROGRAMS, PLACES, APT_CONF, DPKG_CONF, definition)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _apptainer_runs() -> bool:
    found = shutil.which("apptainer")
    return found is not None and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0


def up() -> None:
    open_fuse()
    if is_up():
        return
    install(PACKAGES)
    make_users()
    ours = not _apptainer_runs() or facts().get("apptainer") == "got"
    FACTS.unlink(missing_ok=True)
    print("setting up Apptainer and RELION 5.1 from Debian unstable (two minutes)", flush=True)
    try:
        make_base()
        if ours:
            install_apptainer()
        build_image()
    except OutOfReach as trouble:
        FACTS.write_text(json.dumps({"out_of_reach": str(trouble)}))
        return
    FACTS.write_text(json.dumps({"made_of": _made_of(), "apptainer": "got" if ours else "had"}))


def down() -> None:
    """Remove the container, and Apptainer where we brought it."""
    if facts().get("apptainer") == "got":
        for place in PLACES:
            _remove(Path("/") / place)
    FACTS.unlink(missing_ok=True)
    _remove(IMAGE)
    _remove(BASE)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def status() -> str:
    if reason := facts().get("out_of_reach"):
        return (
            "DEBIAN UNSTABLE IS OUT OF REACH: NO APPTAINER AND NO RELION 5.1. TESTS THAT NEED THEM ARE LEFT OUT.\n"
            f"({reason})"
        )
    if IMAGE.is_dir() and facts().get("made_of", _made_of()) != _made_of():
        return f"the container {IMAGE} was made from another definition: make testbed"
    if not is_up():
        return "no containers here: Apptainer and RELION 5.1 are not set up"
    return f"Apptainer is {shutil.which('apptainer')}, and RELION 5.1 is in the container {IMAGE}"


def open_fuse() -> None:
    """Every user may mount an image file."""
    if not FUSE.exists():
        try:
            os.mknod(FUSE, 0o020666, os.makedev(10, 229))
        except OSError as error:
            print(f"there is no {FUSE}, and none can be made ({error.strerror}): no .sif can be mounted", flush=True)
            return
    FUSE.chmod(0o666)


def make_base() -> None:
    """Debian unstable in one folder, readable for everybody. It gets its name when it is whole."""
    with tempfile.TemporaryDirectory(prefix="base-", dir=FOLDER) as temporary:
        root = Path(temporary) / "root"
        try:
            command("nice", "debootstrap", "--variant=minbase", SUITE, str(root), mirror())
            (root / "etc/apt/apt.conf.d/crboost").write_text(APT_CONF)
            (root / "etc/dpkg/dpkg.cfg.d/crboost").write_text(DPKG_CONF)
            inside(root, "apt-get", "update", "-qq")
            inside(root, "apt-get", "install", "-y", "-qq", *LIBRARIES)
            inside(root, "sh", "-c", "cd /var/cache/apt && apt-get download -qq apptainer")
            inside(root, "apt-get", "install", "-qq", "--simulate", f"relion={VERSION}*")
        except Trouble as trouble:
            raise OutOfReach(trouble) from trouble
        inside(root, "apt-get", "clean")
        for unwanted in [*(root / "dev").iterdir(), *(root / "var/lib/apt/lists").iterdir()]:
            _remove(unwanted)
        command("chmod", "-R", "a+rX", str(root))
        _remove(BASE)
        root.rename(BASE)


def build_image() -> None:
    """The container, built by an ordinary user as a site would build it. Its name is that of a whole one."""
    with tempfile.TemporaryDirectory(prefix="image-", dir=FOLDER) as temporary:
        shutil.chown(temporary, USER)
        definition, new = Path(temporary) / DEFINITION.name, Path(temporary) / "image"
        definition.write_text(DEFINITION.read_text())
        definition.chmod(0o644)
        command(
            *("env", f"HOME={FOLDER / 'home' / USER}", f"APPTAINER_TMPDIR={temporary}", "nice", "apptainer", "build"),
            *("--build-arg", "BOOTSTRAP=localimage", "--build-arg", f"FROM={BASE}"),
            *("--sandbox", str(new), str(definition)),
            user=USER,
        )
        _remove(IMAGE)
        new.rename(IMAGE)


def mirror() -> str:
    """Where apt on this machine has Debian from."""
    said = command("apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Label: Debian")
    if not said:
        raise Trouble("apt has no list of Debian's packages here: apt-get update, and see its sources")
    return said.splitlines()[0]


def inside(root: Path, *argv: str) -> str:
    return command("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "nice", "chroot", str(root), *argv)


def install_apptainer() -> None:
    """Unstable's Apptainer on this machine, with the C library and the others of the folder that it is from."""
    (package,) = (BASE / "var/cache/apt").glob("apptainer_*.deb")
    with tempfile.TemporaryDirectory() as temporary:
        command("dpkg-deb", "--extract", str(package), temporary)
        for program in PROGRAMS:
            command(
                *("patchelf", "--force-rpath", "--set-interpreter", str(BASE / "lib64/ld-linux-x86-64.so.2")),
                *("--set-rpath", str(BASE / "usr/lib/x86_64-linux-gnu"), str(Path(temporary) / program)),
            )
        for place in PLACES:
            _remove(Path("/") / place)
            (Path("/") / place).parent.mkdir(parents=True, exist_ok=True)
            command("cp", "-a", str(Path(temporary) / place), str(Path("/") / place))
    if not _apptainer_runs():
        raise Trouble(f"{APPTAINER} does not run on this machine")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.real.containers", description="Apptainer and RELION 5.1 for tests"
    )
    parser.add_argument("what", choices=("up", "down", "status"))
    what = parser.parse_args().what
    if what != "status" and os.getuid() != 0:
        print("Apptainer and the container are set up by root", file=sys.stderr)
        return 2
    try:
        if what == "up":
            up()
        elif what == "down":
            down()
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 1
    print(status())
    return 0


if __name__ == "__main__":
    sys.exit(main())
