"""The site testbed: a small Slurm site on one machine, as root. ``python3 -m tests.real.testbed up|down|status``.

``up`` installs what a bare Debian 12 lacks and starts munge, MariaDB, slurmdbd, slurmctld and slurmd, all of them
below one folder with their own keys, sockets and ports: no service of the system is touched. It costs nothing while
all of it is up. ``down`` ends all of it. Needs nothing but Python 3.11.

What tests find there:

node        ``n1``: 16 CPUs and 4 GPUs declared, memory limits enforced with cgroups
partitions  ``main`` (default); ``low``, whose jobs ``main`` and ``high`` preempt and requeue; ``short`` (10 minutes);
            ``closed`` (account ``theirs`` alone)
accounts    ``lab`` (default); ``few``: 100 jobs submitted at most, for each user; ``tiny``: 3; ``shared``: 4 CPUs for
            all together; ``theirs``: our colleague alone
QOS         ``normal``; ``three``: 3 jobs submitted at most; ``two``: 2 run at most; ``theirs``: our colleague alone
users       ``crboost-a``, who runs the tests, and may run commands as ``crboost-b`` by sudo; group ``crboost-lab``
folders     ``lab``, where both may write; ``small``, a file system of 40 MB
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.real import conf, sweep
from tests.real.slurm import Slurm, wait_until

FOLDER = Path("/var/lib/crboost-testbed")
SITE = FOLDER / "site"  # what ``down`` removes
FACTS = SITE / "testbed.json"
LAB = SITE / "lab"
SMALL_DISK = SITE / "small"
DATABASE_SOCKET = SITE / "database" / "socket"
SUDOERS = Path("/etc/sudoers.d/crboost-testbed")
POLICY = Path("/usr/sbin/policy-rc.d")

USER, OTHER, GROUP, DATABASE_USER = "crboost-a", "crboost-b", "crboost-lab", "crboost-db"
FIRST_PORT = 11_816  # slurmdbd; slurmctld and slurmd follow. Private clusters begin higher
START_SECONDS = 30.0
CPUS, GPUS = 16, 4

# A file that must be there : Debian's package that brings it
PACKAGES = {
    "/usr/sbin/munged": "munge",
    "/usr/sbin/slurmctld": "slurmctld",
    "/usr/sbin/slurmd": "slurmd",
    "/usr/bin/sbatch": "slurm-client",
    "/usr/sbin/slurmdbd": "slurmdbd",
    "/usr/sbin/mariadbd": "mariadb-server-core",
    "/usr/bin/mariadb": "mariadb-client-core",
    "/usr/bin/sudo": "sudo",
    "/usr/bin/git": "git",
    "/usr/bin/ps": "procps",
    "/usr/bin/python3": "python3",  # for the tests' user, who may not be able to execute ours
    "/usr/share/doc/python3-venv": "python3-venv",
}

SLURM_CONF = """\
ClusterName=crboost
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthInfo=socket={site}/munge/socket,cred_expire=5
SlurmUser=slurm
StateSaveLocation={site}/state
SlurmdSpoolDir={site}/spool-%n
SlurmctldPidFile={site}/state/slurmctld.pid
SlurmdPidFile={site}/slurmd-%n.pid
SlurmctldLogFile={site}/log/slurmctld.log
SlurmdLogFile={site}/log/slurmd-%n.log
DefMemPerCPU=1000
MaxArraySize=1001
SlurmdTimeout=30
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStoragePass={site}/munge/socket
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=DEFAULT Nodes=ALL OverSubscribe=NO MaxTime=UNLIMITED
PartitionName=main Default=YES PriorityTier=5 PreemptMode=OFF
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high PriorityTier=10 PreemptMode=OFF
PartitionName=short PriorityTier=5 PreemptMode=OFF MaxTime=10
PartitionName=closed PriorityTier=5 PreemptMode=OFF AllowAccounts=theirs
"""

SLURMDBD_CONF = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
AuthType=auth/munge
AuthInfo=socket={site}/munge/socket
SlurmUser=slurm
PidFile={site}/state/slurmdbd.pid
LogFile={site}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct_db
"""

# Ways to hold a job to its memory, the first one that works counts: name : lines of slurm.conf, cgroup.conf.
CGROUP_LINES = "ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup\n"
CGROUPS = {
    "v1": (CGROUP_LINES, "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nConstrainRAMSpace=yes\n"),
    "v2": (CGROUP_LINES, "CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes\nConstrainRAMSpace=yes\n"),
    "": (conf.NO_CGROUPS, conf.NO_CGROUPS_CONF),
}
CGROUP_SIGNS = {"v1": Path("/sys/fs/cgroup/memory"), "v2": Path("/sys/fs/cgroup/cgroup.controllers"), "": Path("/")}

# What sacctmgr adds, in this order.
ACCOUNTING = (
    "cluster crboost",
    "qos three MaxSubmitJobsPerUser=3",
    "qos two MaxJobsPerUser=2",
    "qos theirs",
    "account lab Cluster=crboost",
    "account few Cluster=crboost MaxSubmitJobs=100",
    "account tiny Cluster=crboost MaxSubmitJobs=3",
    "account shared Cluster=crboost GrpTRES=cpu=4",
    "account theirs Cluster=crboost",
    f"user {USER} Account=lab,few,tiny,shared DefaultAccount=lab QOS=normal,three,two",
    f"user {OTHER} Account=lab,few,tiny,shared,theirs DefaultAccount=lab QOS=normal,three,two,theirs",
)

SUDOERS_TEXT = f"""\
Defaults:{USER} umask=0002, umask_override, !use_pty, env_keep+="SLURM_CONF CRBOOST_CONFIG"
{USER} ALL=({OTHER}) NOPASSWD: ALL
"""


class Trouble(Exception):
    """A sentence for whoever set it up."""


def is_up() -> bool:
    return FACTS.exists() and Slurm(SITE / "slurm.conf").call("scontrol", "ping").returncode == 0


def up() -> None:
    install(PACKAGES)
    if is_up():
        return
    down()
    make_users()
    make_folders()
    start_munge()
    start_database()
    start_slurm()


def down() -> None:
    """End every process of the site, with what its jobs started, and remove its folder."""
    left = sweep.end(SITE)
    if left:
        raise Trouble(f"these processes of the testbed do not end: {left}")
    while os.path.ismount(SMALL_DISK):
        command("umount", "--lazy", str(SMALL_DISK))
    SUDOERS.unlink(missing_ok=True)
    shutil.rmtree(SITE, ignore_errors=True)


def status() -> str:
    if not is_up():
        return "the site testbed is not up"
    facts = json.loads(FACTS.read_text())
    limits = f"memory held by cgroups {facts['cgroups']}" if facts["cgroups"] else "memory not held (no usable cgroups)"
    return f"the site testbed is up: SLURM_CONF={facts['conf']}, users {facts['user']} and {facts['other']}, {limits}"


def command(*argv: str, user: str | None = None) -> str:
    """Run one command that must succeed; what it printed."""
    ended: subprocess.CompletedProcess[str] = subprocess.run(
        argv, **_as(user), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/"
    )
    if ended.returncode != 0:
        last = (ended.stdout + ended.stderr).splitlines()[-10:]
        raise Trouble("\n".join([f"{' '.join(argv)}: exit code {ended.returncode}", *last]))
    return ended.stdout


def install(wanted: Mapping[str, str]) -> None:
    """Debian's packages, only what is missing, and without letting them start services."""
    packages = sorted({package for file, package in wanted.items() if not Path(file).exists()})
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise Trouble(f"not there, and no apt-get to install them: {', '.join(packages)}")
    print(f"installing {' '.join(packages)}", flush=True)
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    try:
        command("apt-get", "update", "-qq")
        command("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    finally:
        if ours:
            POLICY.unlink()


def make_users() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    FOLDER.chmod(0o755)
    (FOLDER / "home").mkdir(exist_ok=True)
    if not _known("group", GROUP):
        command("groupadd", GROUP)
    for user in (USER, OTHER):
        if not _known("passwd", user):
            command("useradd", "--create-home", "--base-dir", str(FOLDER / "home"), "--shell", "/bin/bash", user)
        command("usermod", "--append", "--groups", GROUP, user)
    if not _known("passwd", DATABASE_USER):
        command("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", DATABASE_USER)


def _known(kind: str, name: str) -> bool:
    return subprocess.run(["getent", kind, name], stdout=subprocess.DEVNULL, check=False).returncode == 0


def make_folders() -> None:
    for name, owner, mode in (
        ("", "root", 0o755),
        ("log", "root", 0o1777),
        ("munge", "munge", 0o755),
        ("state", "slurm", 0o755),
        ("database", DATABASE_USER, 0o755),
        ("lab", USER, 0o2775),
        ("small", USER, 0o755),
    ):
        folder = SITE / name
        folder.mkdir()
        shutil.chown(folder, owner, GROUP if folder == LAB else None)
        folder.chmod(mode)
    options = f"size=40m,mode=755,uid={_user_id(USER)},gid={_user_id(USER, '-g')}"
    command("mount", "-t", "tmpfs", "-o", options, "crboost-testbed", str(SMALL_DISK))
    SUDOERS.touch(0o440)
    SUDOERS.write_text(SUDOERS_TEXT)


def _user_id(user: str, which: str = "-u") -> str:
    return subprocess.run(["id", which, user], capture_output=True, text=True, check=True).stdout.strip()


def start_munge() -> None:
    key = SITE / "munge" / "key"
    key.touch(0o400)
    key.write_bytes(os.urandom(1024))
    shutil.chown(key, "munge")
    socket = SITE / "munge" / "socket"
    daemon(
        "munged",
        *("munged", "--foreground", f"--key-file={key}", f"--socket={socket}"),
        *(f"--pid-file={SITE / 'munge' / 'pid'}", f"--seed-file={SITE / 'munge' / 'seed'}"),
        user="munge",
    )
    wait(socket.exists, "munged")


def start_database() -> None:
    """MariaDB, reached by its socket alone, where each user of the system is the one of the same name."""
    data, socket = SITE / "database" / "data", DATABASE_SOCKET
    command(
        *("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db"),
        *("--auth-root-authentication-method=socket", f"--auth-root-socket-user={DATABASE_USER}"),
        user=DATABASE_USER,
    )
    daemon(
        "mariadbd",
        *("mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={socket}", "--skip-networking"),
        *(f"--pid-file={SITE / 'database' / 'pid'}", "--innodb-lock-wait-timeout=900"),
        user=DATABASE_USER,
    )
    wait(socket.exists, "mariadbd")
    sql = (
        "CREATE DATABASE slurm_acct_db;"
        "CREATE USER slurm@localhost IDENTIFIED VIA unix_socket;"
        "GRANT ALL ON slurm_acct_db.* TO slurm@localhost;"
    )
    command("mariadb", "--no-defaults", f"--socket={socket}", f"--user={DATABASE_USER}", "-e", sql, user=DATABASE_USER)


def start_slurm() -> None:
    """slurmdbd, the site's accounts, then the controller and its node, with the first kind of cgroups that works."""
    kinds = [kind for kind, sign in CGROUP_SIGNS.items() if sign.exists()]
    write_conf(kinds[0])
    daemon("slurmdbd", "slurmdbd", "-D", user="slurm")
    wait(lambda: client().call("sacctmgr", "-n", "show", "cluster").returncode == 0, "slurmdbd")
    for what in ACCOUNTING:
        client().run("sacctmgr", "--immediate", "add", *what.split())
    for kind in kinds:
        write_conf(kind)
        daemon("slurmctld", "slurmctld", "-D")
        daemon("slurmd-n1", "slurmd", "-D", "-N", "n1")
        if works(kind):
            facts = {"conf": client().conf, "user": USER, "other": OTHER, "lab": LAB, "small_disk": SMALL_DISK}
            FACTS.write_text(json.dumps({**{name: str(value) for name, value in facts.items()}, "cgroups": kind}))
            return
        print(f"cgroups {kind} do not hold a job to its memory here" if kind else "no node starts", flush=True)
        sweep.end(SITE, "n1")
        _daemons.pop("slurmctld").kill()
    raise Trouble(f"Slurm does not start; its logs are in {SITE / 'log'}")


def client() -> Slurm:
    return Slurm(SITE / "slurm.conf")


def write_conf(kind: str) -> None:
    """All of Slurm's files."""
    more, cgroup_conf = CGROUPS[kind]
    own = SLURM_CONF.format(host=conf.host(), port=FIRST_PORT + 1, dbd_port=FIRST_PORT, site=SITE)
    node = conf.nodes(1, FIRST_PORT + 2, f"CPUs={CPUS} RealMemory={CPUS * 1000} Gres=gpu:{GPUS}")
    client().conf.write_text(conf.COMMON + more + node + own)
    (SITE / "gres.conf").write_text(conf.gres(GPUS))
    (SITE / "cgroup.conf").write_text(cgroup_conf)
    dbd = SITE / "slurmdbd.conf"
    dbd.touch(0o600)
    shutil.chown(dbd, "slurm")
    dbd.write_text(SLURMDBD_CONF.format(port=FIRST_PORT, site=SITE))


def works(kind: str) -> bool:
    """Whether a job of the user's runs, and ends out of memory where cgroups are to see to that."""
    expected = "OUT_OF_MEMORY" if kind else "COMPLETED"
    trial = f"cd {LAB} && sbatch --parsable --output=/dev/null --mem=20M --wrap 'head -c 200M /dev/zero | tail'"
    try:
        client().wait_node("n1", "idle", seconds=START_SECONDS)
        job = client().run("runuser", "-u", USER, "--", "bash", "-c", trial)
        client().wait_states(job, expected, seconds=START_SECONDS)
    except AssertionError as error:
        print(error, file=sys.stderr)
        return False
    return True


_daemons: dict[str, subprocess.Popen[bytes]] = {}


def daemon(name: str, *argv: str, user: str | None = None) -> None:
    """Start what outlives us."""
    with open(SITE / "log" / f"{name}.said", "ab") as said:
        _daemons[name] = subprocess.Popen(
            argv,
            **_as(user),
            env={**client().env, "MYSQL_UNIX_PORT": str(DATABASE_SOCKET)},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def _as(user: str | None) -> dict[str, Any]:
    return {"user": user, "group": int(_user_id(user, "-g")), "extra_groups": []} if user else {}


def wait(true: Callable[[], bool], name: str) -> None:
    """Wait for a daemon that has just been started."""

    def what() -> str:
        return f"{name}:\n{(SITE / 'log' / f'{name}.said').read_text(errors='replace')}"

    def lives() -> bool:
        if _daemons[name].poll() is not None:
            raise Trouble(f"ended at once: {what()}")
        return true()

    wait_until(lives, what, START_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.real.testbed", description="the Slurm site for tests")
    parser.add_argument("what", choices=("up", "down", "status"))
    what = parser.parse_args().what
    if what != "status" and os.getuid() != 0:
        print("the site testbed is set up by root; private clusters need nothing but Debian's Slurm", file=sys.stderr)
        return 2
    try:
        if what == "up":
            up()
        elif what == "down":
            down()
    except (Trouble, AssertionError) as trouble:
        print(trouble, file=sys.stderr)
        return 1
    print(status())
    return 0


if __name__ == "__main__":
    sys.exit(main())
