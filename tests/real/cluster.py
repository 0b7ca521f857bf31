"""A Slurm cluster of one's own: munge, a controller and some nodes on this machine, all of them ordinary processes.

    with PrivateCluster(folder, nodes=2, gpus=2) as cluster:
        cluster.run("sbatch", ...)

It needs no rights, takes two seconds, and several can live side by side: each has its own folder, key and ports.
Nothing of it outlives the ``with``, not even when the process that made it is killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from types import TracebackType

from tests.real import conf, sweep
from tests.real.slurm import Slurm, clean_environment, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
FIRST_PORT = 12_000  # below what the kernel hands out by itself (32768 ...)
LAST_PORT = 31_000
PORTS = 16  # each cluster's share
START_SECONDS = 20.0
LONGEST_FOLDER = 70  # the path of a socket has at most 107 characters
MAIN = "main Nodes=ALL Default=YES MaxTime=UNLIMITED"

CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthInfo=socket={folder}/munge/socket,cred_expire={requeue_seconds}
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
DefMemPerCPU={memory_per_cpu_mb}
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdTimeout={node_timeout_seconds}
MessageTimeout={message_timeout_seconds}
MinJobAge={min_job_age}
MaxArraySize={max_array_size}
"""


def missing_programs() -> list[str]:
    """Which of Slurm's programs this machine lacks."""
    path = clean_environment(Path())["PATH"]
    return [program for program in PROGRAMS if shutil.which(program, path=path) is None]


class PrivateCluster(Slurm):
    """A private cluster, from entering to leaving its ``with``.

    Nodes are ``n1``, ``n2`` ...; GPUs are device files that do nothing. ``partitions`` are their names with options of
    ``slurm.conf``, ``extra`` further lines of it (where an option is there twice the last one counts). A requeued job
    waits ``requeue_seconds`` before it starts again (120 by Slurm's own default).
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 2,
        cpus: int = 8,
        gpus: int = 2,
        memory_mb: int = 32_000,
        min_job_age: int = 300,
        max_array_size: int = 1001,
        requeue_seconds: int = 5,
        node_timeout_seconds: int = 5,
        message_timeout_seconds: int = 5,
        partitions: tuple[str, ...] = (MAIN,),
        extra: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder.resolve()
        assert len(str(self.folder)) <= LONGEST_FOLDER, f"too long for the sockets below it: {self.folder}"
        assert nodes < PORTS and gpus <= len(conf.GPU_DEVICES)
        super().__init__(self.folder / "slurm.conf")
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self._per_node = f"CPUs={cpus} RealMemory={memory_mb}" + (f" Gres=gpu:{gpus}" if gpus else "")
        self._gpus = gpus
        self._partitions = partitions
        self._extra = extra
        self._options = {
            "memory_per_cpu_mb": memory_mb // cpus,
            "min_job_age": min_job_age,
            "max_array_size": max_array_size,
            "requeue_seconds": requeue_seconds,
            "node_timeout_seconds": node_timeout_seconds,
            "message_timeout_seconds": message_timeout_seconds,
        }
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._share: socket.socket | None = None
        self._counted: dict[str, int] = {}

    def __enter__(self) -> PrivateCluster:
        for name in ("munge", "state", "log", *(f"spool-{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "munge").chmod(0o755)
        key = self.folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        self._guard = subprocess.Popen(
            [sys.executable, "-I", sweep.__file__, str(self.folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        try:
            self._start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End every process of the cluster and of its jobs; the folder with the logs stays."""
        left = sweep.end(self.folder)
        for daemon in self._daemons.values():
            daemon.wait()
        self._daemons.clear()
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait()
        if self._share is not None:
            self._share.close()
        assert not left, f"processes of the cluster did not end: {left}"

    # What a test does to it.

    def pause_controller(self) -> None:
        """The controller stands still: whoever asks waits until its own time is over."""
        self._daemons["slurmctld"].send_signal(signal.SIGSTOP)

    def resume_controller(self) -> None:
        self._daemons["slurmctld"].send_signal(signal.SIGCONT)

    def stop_controller(self) -> None:
        """The controller ends in order: whoever asks is refused at once. It keeps what it knows."""
        controller = self._daemons.pop("slurmctld")
        controller.send_signal(signal.SIGCONT)
        controller.terminate()
        controller.wait(30)

    def start_controller(self) -> None:
        self._start_daemon("slurmctld", "slurmctld", "-D")
        self._wait_controller()

    def kill_node(self, name: str) -> None:
        """A node's crash: its daemon and every process of its jobs are gone between two instructions."""
        left = sweep.end(self.folder, name)
        assert not left, f"processes of {name} did not end: {left}"
        self._daemons.pop(name).wait()

    def start_node(self, name: str) -> None:
        """Start a node, again or for the first time, and wait until the controller has it."""
        self._start_daemon(name, "slurmd", "-D", "-N", name)
        self.wait_node(name, "idle", "mixed", "allocated", seconds=START_SECONDS)

    def reset_rpcs(self) -> None:
        """Count from now on."""
        self._counted = super().rpcs()

    def rpcs(self) -> dict[str, int]:
        now = super().rpcs()
        return {name: count for name, all_ in now.items() if (count := all_ - self._counted.get(name, 0)) > 0}

    # How it starts.

    def _start(self) -> None:
        munge = self.folder / "munge"
        self._start_daemon(
            "munged",
            *("munged", "--foreground", "--force", f"--key-file={munge / 'key'}", f"--socket={munge / 'socket'}"),
            *(f"--pid-file={munge / 'pid'}", f"--seed-file={munge / 'seed'}"),
        )
        self._share, port = take_ports(PORTS)
        self._write_conf(port)
        wait_until(lambda: (munge / "socket").exists(), lambda: f"munge: {self._why()}", START_SECONDS)
        self._start_daemon("slurmctld", "slurmctld", "-D")
        for node in self.nodes:
            self._start_daemon(node, "slurmd", "-D", "-N", node)
        self._wait_controller()
        for node in self.nodes:
            self.wait_node(node, "idle", seconds=START_SECONDS)

    def _write_conf(self, port: int) -> None:
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        own = CONF.format(
            name=f"private{port}", host=conf.host(), port=port, folder=self.folder, user=user, **self._options
        )
        nodes = conf.nodes(len(self.nodes), port + 1, self._per_node)
        partitions = [f"PartitionName={partition} OverSubscribe=NO\n" for partition in self._partitions]
        extra = [f"{line}\n" for line in self._extra]
        self.conf.write_text("".join([conf.COMMON, conf.NO_CGROUPS, own, nodes, *partitions, *extra]))
        (self.folder / "cgroup.conf").write_text(conf.NO_CGROUPS_CONF)
        (self.folder / "gres.conf").write_text(conf.gres(self._gpus))

    def _start_daemon(self, name: str, *argv: str) -> None:
        with open(self.folder / "log" / f"{name}.said", "ab") as said:
            self._daemons[name] = subprocess.Popen(
                argv, env=self.env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )

    def _wait_controller(self) -> None:
        wait_until(
            lambda: self._all_live() and "is UP" in self.call("scontrol", "ping").stdout,
            lambda: f"the controller: {self._why()}",
            START_SECONDS,
        )

    def _all_live(self) -> bool:
        ended = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
        assert not ended, f"{ended} ended at once. {self._why()}"
        return True

    def _why(self) -> str:
        """The last lines of every log."""
        logs = sorted((self.folder / "log").iterdir())
        tails = ["\n".join(log.read_text(errors="replace").splitlines()[-8:]) for log in logs]
        return "\n".join(f"--- {log.name}\n{tail}" for log, tail in zip(logs, tails, strict=True))


def take_ports(count: int) -> tuple[socket.socket, int]:
    """The first of ``count`` free ports in a row, ours until the returned socket is closed or we die.

    A name that only the kernel knows stands for each share, so that clusters that start at the same time do not meet.
    """
    starts = list(range(FIRST_PORT, LAST_PORT, count))
    Random(os.getpid() ^ time.time_ns()).shuffle(starts)
    for start in starts:
        share = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with suppress(OSError):
            share.bind(f"\0crboost-ports-{start}")
            for port in range(start, start + count):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("", port))
            return share, start
        share.close()
    raise AssertionError(f"no {count} free ports in a row")
