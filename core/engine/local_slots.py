"""How many CPU and GPU slots tasks may use on this host."""

from __future__ import annotations

import os
from pathlib import Path

from core.cluster.slots import Slots
from core.project.site import Site


def local_slots(site: Site) -> Slots:
    """The site's numbers, else what this host has: its cores that we may use, and its NVIDIA devices."""
    cpus = site.local.cpus if site.local.cpus is not None else len(os.sched_getaffinity(0))
    gpus = site.local.gpus if site.local.gpus is not None else len(list(Path("/dev").glob("nvidia[0-9]*")))
    return Slots(cpus, gpus)
