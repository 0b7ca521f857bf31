"""What the ``slurm.conf`` of every cluster here has in common."""

from __future__ import annotations

import socket

GPU_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

COMMON = """\
AuthType=auth/munge
CredType=cred/munge
MpiDefault=none
SwitchType=switch/none
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1,sched_min_interval=0
SlurmdParameters=config_overrides
GresTypes=gpu
"""

# For slurm.conf and cgroup.conf: slurmd loads a plugin for cgroups even so, and this one asks nothing of a machine.
NO_CGROUPS = "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n"
NO_CGROUPS_CONF = "CgroupPlugin=cgroup/v1\n"


def host() -> str:
    return socket.gethostname().split(".")[0]


def nodes(count: int, first_port: int, per_node: str) -> str:
    """The line for nodes ``n1``, ``n2`` ..., all of them on this machine."""
    port = f"[{first_port}-{first_port + count - 1}]" if count > 1 else str(first_port)
    names = f"n[1-{count}]" if count > 1 else "n1"
    return f"NodeName={names} NodeHostname={host()} NodeAddr=127.0.0.1 Port={port} {per_node} State=UNKNOWN\n"


def gres(gpus: int) -> str:
    """The ``gres.conf`` of GPUs that are device files which do nothing."""
    return "AutoDetect=off\n" + "".join(f"Name=gpu File={device}\n" for device in GPU_DEVICES[:gpus])
