"""What a container needs so that a program in it can submit to the host's Slurm: files to show it, variables to set.

RELION submits by itself: its GUI, ``relion_pipeliner`` and ``relion_schemer`` call ``sbatch``. All of it is found on
the host: the client programs on the PATH, their libraries by ``ldd``, folders of plugins and configuration by
``scontrol show config``, the socket of the authentication, and where the host knows its users from.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import InputError
from core.files import write_error
from core.tools.command import Command

CLIENTS = ("sbatch", "squeue", "scancel", "sinfo")
SECONDS = 30.0

SOCKETS = {
    "auth/munge": ("/run/munge/munge.socket.2", "/var/run/munge/munge.socket.2"),
    "auth/slurm": ("/run/slurm/sack.socket", "/run/slurmctld/sack.socket"),
}
"""Where each kind of authentication has its socket unless AuthInfo says otherwise."""

USERS = ("/etc/passwd", "/etc/group")
SERVICES = {"sss": "/var/lib/sss/pipes", "ldap": "/run/nslcd", "winbind": "/run/samba/winbindd"}
"""Folder of the sockets over which a service of nsswitch.conf answers."""

IN_EVERY_IMAGE = re.compile(
    r"(linux-vdso|ld-linux|libc\.|libm\.|libdl|librt|libpthread|libresolv|libutil|libgcc_s|libstdc\+\+)"
)
"""The image's own C library and its family: the host's would not fit its programs."""

_SPLIT = re.compile("[:;$]")
"""What the dynamic linker takes for an end, or a name, in LD_LIBRARY_PATH."""

_NEEDED = re.compile(r"^\s*(\S+) => (/.+) \(0x")
_SETTING = re.compile(r"^(\w+)\s*= (.*)$", re.MULTILINE)
_USUAL_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")


@dataclass(frozen=True, slots=True)
class SlurmInside:
    """``binds``: absolute paths of the host, at the same place inside. ``env``: variables inside."""

    binds: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    libraries: str = ""
    """The folder of the copies, absolute; "" where none is needed."""

    def given_to(self, command: Command) -> Command:
        """The same command, able to submit."""
        env = dict(self.env)
        if self.libraries:
            env["LD_LIBRARY_PATH"] = _searched(self.libraries, command.cwd)
        return replace(command, binds=(*command.binds, *self.binds), env=(*command.env, *env.items()))


def find_slurm(folder: Path) -> SlurmInside:
    """How this host's Slurm is made available. ``folder``, which the container sees, gets copies of the few libraries
    that are needed: the folders where the host has them would take the place of the image's own.

    Raises :class:`InputError` where something that is needed is not there, or Slurm does not answer.
    """
    clients = [found for name in CLIENTS if (found := shutil.which(name))]
    if not clients or Path(clients[0]).name != CLIENTS[0]:
        raise InputError("sbatch is not on the PATH of this host: a container cannot submit from here.")
    settings = _settings()
    plugins = [Path(part) for part in settings.get("PluginDir", "").split(":") if part]
    kind = settings.get("AuthType", "")
    authentication = [plugin / f"{kind.replace('/', '_')}.so" for plugin in plugins]
    libraries = _libraries([*clients, *(str(path) for path in authentication if path.exists())], plugins)
    names, name_libraries = _names()
    libraries.update(name_libraries)
    conf = settings.get("SLURM_CONF", "")
    binds = [*clients, *map(str, plugins), str(_socket(kind, settings).parent), *names]
    env = {}
    if os.path.isfile(conf):
        binds += [os.path.dirname(conf), conf]
        env["SLURM_CONF"] = conf
    if libraries:
        _copy(libraries, folder)
    if strange := [name for name in dict.fromkeys(map(os.path.dirname, clients)) if name not in _USUAL_PATH]:
        env["APPEND_PATH"] = ":".join(strange)
    return SlurmInside(tuple(dict.fromkeys(binds)), tuple(env.items()), str(folder) if libraries else "")


def _searched(folder: str, cwd: str) -> str:
    """``folder`` for LD_LIBRARY_PATH, where nothing can be quoted: a path that would be split or expanded is given as
    seen from ``cwd``, in which RELION stays. Raises :class:`InputError` where that does not help either."""
    for path in (folder, os.path.relpath(folder, cwd)):
        if not _SPLIT.search(path):
            return path
    raise InputError(
        "No container can load Slurm's libraries from a path with : ; or $ in it: choose another one.", Path(folder)
    )


def _settings() -> Mapping[str, str]:
    said = _run("scontrol", "show", "config")
    if not said:
        raise InputError("Slurm does not say how it is configured (scontrol show config): a container cannot use it.")
    return {name: value.strip() for name, value in _SETTING.findall(said)}


def _run(*argv: str) -> str:
    """What a program of the host says, "" where it fails or is not there."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        ended = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout if ended.returncode == 0 else ""


def _libraries(programs: Iterable[str], plugins: Sequence[Path]) -> dict[str, str]:
    """Name and path of what they load that is neither in every image nor in a folder of plugins."""
    found = {}
    for program in programs:  # one by one: a site's sbatch may be a script, which ends ldd
        for line in _run("ldd", program).splitlines():
            match = _NEEDED.match(line)
            if match and not IN_EVERY_IMAGE.match(match[1]) and Path(match[2]).parent not in plugins:
                found[match[1]] = match[2]
    return found


def _socket(kind: str, settings: Mapping[str, str]) -> Path:
    options = dict(part.partition("=")[::2] for part in settings.get("AuthInfo", "").split(","))
    candidates = (options["socket"],) if options.get("socket") else SOCKETS.get(kind, ())
    for candidate in candidates:
        if os.path.exists(candidate):
            return Path(candidate)
    tried = " or ".join(candidates) or "no place for it is known"
    raise InputError(f"The socket of Slurm's authentication ({kind or 'unknown'}) is not there: {tried}.")


def _names(
    nsswitch: Path = Path("/etc/nsswitch.conf"), passwd: Path = Path("/etc/passwd")
) -> tuple[list[str], dict[str, str]]:
    """What tells a container who its user and Slurm's are: paths, and libraries by name.

    Where the user is not in a file of this host, the services that know him are shown too.
    """
    paths = [path for path in USERS if os.path.exists(path)]
    if any(line.startswith(f"{_user()}:") for line in _lines(passwd)):
        return paths, {}
    listed = next((line.split()[1:] for line in _lines(nsswitch) if line.startswith("passwd:")), [])
    services = [service for service in listed if service in SERVICES]
    libraries = dict(re.findall(r"^\s*(libnss_\w+\.so\.2) .*=> (/.+)$", _run(_ldconfig(), "-p"), re.MULTILINE))
    wanted = {name: libraries[name] for service in services if (name := f"libnss_{service}.so.2") in libraries}
    places = [SERVICES[service] for service in services if os.path.exists(SERVICES[service])]
    return [*paths, str(nsswitch), *places], wanted


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _ldconfig() -> str:
    """It lies where an ordinary user's PATH may not lead."""
    return shutil.which("ldconfig", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])) or ""


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _copy(libraries: Mapping[str, str], folder: Path) -> None:
    """A library that is in use is replaced, not written into."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in libraries.items():
            new = folder / f".{name}.{os.getpid()}"
            shutil.copyfile(path, new)
            new.replace(folder / name)
    except OSError as error:
        raise write_error(folder, error) from error
