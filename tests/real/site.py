"""The site testbed as tests see it: a Slurm with accounting and cgroups, two users, a shared and a full folder."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from pathlib import Path

from tests.real.slurm import Slurm
from tests.real.testbed import FACTS


class Site(Slurm):
    """What ``testbed.py up`` left: see there for accounts, QOS and partitions."""

    def __init__(self, facts: dict[str, str]) -> None:
        super().__init__(Path(facts["conf"]))
        self.me, self.other = facts["user"], facts["other"]
        self.lab = Path(facts["lab"])  # where both may write: group of the lab, setgid
        self.small_disk = Path(facts["small_disk"])  # 40 MB
        self.limits_memory = facts["cgroups"] != ""

    def as_other(self, *argv: str, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command as our colleague."""
        return self.call("sudo", "-n", "-u", self.other, "--", *argv, seconds=seconds)


def find_site() -> Site | None:
    """The site where it is up and we are its first user."""
    try:
        facts = json.loads(FACTS.read_text())
    except FileNotFoundError:
        return None
    found = Site(facts)
    if pwd.getpwuid(os.getuid()).pw_name != found.me or found.call("scontrol", "ping").returncode != 0:
        return None
    return found
