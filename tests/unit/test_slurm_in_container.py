"""How the host's Slurm is found for a container: programs, folders and sockets, wherever a site has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import InputError
from core.tools import slurm_in_container
from core.tools.command import Command
from core.tools.slurm_in_container import SlurmInside, find_slurm


class Site:
    """A site with Slurm in a folder of its own. Its programs are small scripts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.bin, self.plugins, self.etc, self.run = (folder / name for name in ("bin", "plugins", "etc", "run"))
        for one in (self.bin, self.plugins, self.etc, self.run):
            one.mkdir()
        for name in (*slurm_in_container.CLIENTS, "scontrol", "ldd"):
            self.program(name, "")
        self.conf, self.socket = self.etc / "slurm.conf", self.run / "socket"
        self.conf.touch()
        self.socket.touch()
        (self.plugins / "auth_munge.so").touch()
        self.configured(auth_info=f"socket={self.socket},cred_expire=5")
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def configured(self, auth_info: str = "(null)", kind: str = "auth/munge") -> None:
        lines = (
            f"AuthInfo                = {auth_info}",
            f"AuthType                = {kind}",
            f"PluginDir               = {self.plugins}",
            f"SLURM_CONF              = {self.conf}",
        )
        self.program("scontrol", "/bin/cat <<'END'\nConfiguration data as of now\n{}\nEND".format("\n".join(lines)))


RELION = Command("relion", ("relion_schemer",), "/p")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    (tmp_path / "site").mkdir()
    return Site(tmp_path / "site", monkeypatch)


def test_everything_of_a_site_is_shown_and_named(site: Site, tmp_path: Path) -> None:
    found = find_slurm(tmp_path / "inside")
    wanted = [*(site.bin / name for name in slurm_in_container.CLIENTS), site.plugins, site.run, site.etc, site.conf]
    assert set(map(str, wanted)) <= set(found.binds)
    assert dict(found.env) == {"SLURM_CONF": str(site.conf), "APPEND_PATH": str(site.bin)}
    command = found.given_to(Command("relion", ("relion_schemer",), "/p", env=(("A", "1"),), binds=("/data",)))
    assert command.binds == ("/data", *found.binds) and command.env == (("A", "1"), *found.env)


def test_libraries_come_as_copies_without_the_c_library(site: Site, tmp_path: Path) -> None:
    library = site.folder / "libmunge.so.2.0.0"
    library.write_text("munge")
    lines = (
        "linux-vdso.so.1 (0x00007ffd)",
        f"libmunge.so.2 => {library} (0x00007f21)",
        f"libslurmfull.so => {site.plugins}/libslurmfull.so (0x00007f21)",
        "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f20)",
        "libresolv.so.2 => /lib/x86_64-linux-gnu/libresolv.so.2 (0x00007f20)",
    )
    site.program(
        "ldd",
        "case $1 in *auth_munge.so) printf '\\t%s\\n' {} ;; *) exit 1 ;; esac".format(
            " ".join(f"'{line}'" for line in lines)
        ),
    )
    found = find_slurm(tmp_path / "inside")
    assert [path.name for path in (tmp_path / "inside").iterdir()] == ["libmunge.so.2"]
    assert (tmp_path / "inside/libmunge.so.2").read_text() == "munge"
    assert ("LD_LIBRARY_PATH", str(tmp_path / "inside")) in found.given_to(RELION).env
    assert not [path for path in found.binds if path.startswith("/lib")]


@pytest.mark.parametrize("project", ["/data/a:b", "/data/a;b", "/data/$LIB"])
def test_libraries_below_a_path_that_cannot_be_named_are_found_from_the_project(project: str) -> None:
    inside = SlurmInside((), (), f"{project}/.crboost/slurm")
    assert inside.given_to(replace(RELION, cwd=project)).env == (("LD_LIBRARY_PATH", ".crboost/slurm"),)
    with pytest.raises(InputError, match="choose another one"):
        inside.given_to(RELION)


def test_the_usual_socket_is_taken_where_nothing_else_is_said(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.configured()
    monkeypatch.setitem(slurm_in_container.SOCKETS, "auth/munge", ("/nowhere/socket", str(site.socket)))
    assert str(site.run) in find_slurm(tmp_path / "inside").binds


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda site: (site.bin / "sbatch").unlink(), "sbatch is not on the PATH"),
        (lambda site: site.program("scontrol", "exit 1"), "does not say how it is configured"),
        (lambda site: site.socket.unlink(), "socket of Slurm's authentication .auth/munge. is not there"),
        (lambda site: site.configured(kind="auth/other"), "no place for it is known"),
    ],
)
def test_what_is_missing_is_said(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Site], object], sentence: str
) -> None:
    monkeypatch.setenv("PATH", str(site.bin))
    spoil(site)
    with pytest.raises(InputError, match=sentence):
        find_slurm(tmp_path / "inside")


def test_a_user_of_a_directory_service_is_known_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nsswitch, passwd, pipes = tmp_path / "nsswitch.conf", tmp_path / "passwd", tmp_path / "pipes"
    pipes.mkdir()
    passwd.write_text("root:x:0:0::/root:/bin/sh\nslurm:x:64030:64030::/:/bin/false\n")
    nsswitch.write_text("# names\npasswd:  files sss systemd\ngroup: files\n")
    monkeypatch.setitem(slurm_in_container.SERVICES, "sss", str(pipes))
    cache = "\tlibnss_sss.so.2 (libc6,x86-64) => /lib64/libnss_sss.so.2\n"
    monkeypatch.setattr(slurm_in_container, "_run", lambda *argv: cache)
    monkeypatch.setattr(slurm_in_container, "_user", lambda: "ada")
    paths, libraries = slurm_in_container._names(nsswitch, passwd)
    assert paths[-2:] == [str(nsswitch), str(pipes)] and libraries == {"libnss_sss.so.2": "/lib64/libnss_sss.so.2"}
    passwd.write_text(passwd.read_text() + "ada:x:1000:1000::/home/ada:/bin/bash\n")
    assert slurm_in_container._names(nsswitch, passwd) == (["/etc/passwd", "/etc/group"], {})
