"""The state of a project for screens and commands: the snapshot, the events after it, and whether an engine lives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.engine.events import Event, EventReader
from core.engine.lease import is_alive, read_lease
from core.engine.status import DIED, Status, load_snapshot, position
from core.errors import InputError
from core.files import read_text
from core.project.layout import ProjectPaths


def load_status(root: Path) -> Status:
    """All that is known now. A project in which nothing ever ran has an empty status with its name."""
    return StatusFollower(root).status


class StatusFollower:
    """Keeps a :class:`Status` up to date. Not thread-safe; :meth:`update` reads files. ``load``: another
    way to read a snapshot."""

    def __init__(self, root: Path, load: Callable[[ProjectPaths], Status | None] | None = None) -> None:
        self.paths = ProjectPaths(root)
        self._load_snapshot = load or load_snapshot
        if not self.paths.file.exists():
            raise InputError("is not a crboost project: there is no crboost.yaml.", root)
        self._load()

    def _load(self) -> None:
        self.status = self._load_snapshot(self.paths) or self._unstarted()
        self._reader = EventReader(self.paths.events, self.status.event)
        self._behind = False
        self.update()

    def _unstarted(self) -> Status:
        """A project in which nothing ever ran: all that is known of it stands in its file and the registry."""
        from core.dataset.registry import load_registry
        from core.formats import plain_yaml  # which the status of a started project does not need

        values = plain_yaml.load(read_text(self.paths.file), str(self.paths.file))
        if not isinstance(values, dict):
            raise InputError("is no project file: its keys are missing.", self.paths.file)
        series = load_registry(self.paths.registry).series if self.paths.registry.exists() else ()
        return Status(
            name=str(values.get("name", self.paths.root.name)),
            rehearsal=values.get("rehearsal") is True,
            series=[one.id for one in series],
            names=[one.name for one in series],
        )

    def update(self) -> list[Event]:
        """Read on; the events that came. A gap in the events loads everything again."""
        found: list[Event] = []
        while events := self._reader.read():
            found.extend(events)
            for event in events:
                self.status.apply(event)
        if self._reader.gap or self._behind or self._unknown(self.status, found):
            self._reload()
        self._check_engine()
        return found

    def _reload(self) -> None:
        """The snapshot with the events after it: while a run begins, it is older than the events that were read."""
        snapshot = self._load_snapshot(self.paths)
        if snapshot is not None:
            self._behind = False
            self._reader = EventReader(self.paths.events, snapshot.event)
            while events := self._reader.read():
                # Of jobs or series that are new since: the engine writes them into the snapshot within seconds.
                self._behind = self._behind or self._unknown(snapshot, events)
                for event in events:
                    snapshot.apply(event)
            self.status = snapshot
        self._reader.gap = False

    def _unknown(self, status: Status, events: list[Event]) -> bool:
        """Whether events speak of jobs or tasks that the status has no columns for."""
        jobs = {job.id: job for job in status.jobs}
        for event in events:
            if event.kind in ("task", "job"):
                job = jobs.get(event.fields.get("job", ""))
                if job is None or (event.kind == "task" and position(status, job, event.fields["key"]) is None):
                    return True
        return False

    def _check_engine(self) -> None:
        """An engine that was killed cannot say so: its lease does, where it was on this host. One that is to be a job
        of Slurm has said nothing yet."""
        self.status.engine.queued = self.paths.engine_job.exists()
        if self.status.engine.state == "running":
            try:
                alive = is_alive(read_lease(self.paths.lease))
            except InputError:
                return
            if alive is False:
                self.status.engine.state = DIED
