"""Where everything of a project lies. The only place that knows these names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROJECT_FILE = "crboost.yaml"


@dataclass(frozen=True, slots=True)
class ProjectPaths:
    """``root`` is the absolute project folder."""

    root: Path

    @property
    def file(self) -> Path:
        return self.root / PROJECT_FILE

    @property
    def state(self) -> Path:
        return self.root / ".crboost"

    @property
    def registry(self) -> Path:
        return self.state / "registry.json"

    @property
    def wanted(self) -> Path:
        return self.state / "wanted.json"

    @property
    def versions(self) -> Path:
        return self.state / "versions"

    @property
    def submissions(self) -> Path:
        return self.state / "submissions.jsonl"

    @property
    def slurm_calls(self) -> Path:
        """Every call of a Slurm command, one JSON line each."""
        return self.state / "slurm_calls.jsonl"

    @property
    def status(self) -> Path:
        return self.state / "status.json"

    @property
    def summary(self) -> Path:
        return self.state / "summary.json"

    @property
    def events(self) -> Path:
        """Folder of ``<first number>.jsonl`` files."""
        return self.state / "events"

    @property
    def inbox(self) -> Path:
        return self.state / "inbox"

    @property
    def lease(self) -> Path:
        return self.state / "lease.json"

    @property
    def engine_log(self) -> Path:
        return self.state / "engine.log"

    @property
    def engine_job(self) -> Path:
        """The Slurm job of an engine that has not begun yet."""
        return self.state / "engine_job.json"

    @property
    def decisions(self) -> Path:
        return self.state / "decisions.json"

    @property
    def gathered(self) -> Path:
        """Folder of ``<instance>.json``: what gather read of each series."""
        return self.state / "gathered"

    @property
    def rehearsal(self) -> Path:
        return self.state / "rehearsal"

    @property
    def frames(self) -> Path:
        return self.root / "frames"

    @property
    def mdoc(self) -> Path:
        return self.root / "mdoc"

    @property
    def trash(self) -> Path:
        return self.root / "Trash"
