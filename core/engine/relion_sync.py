"""Keeping RELION's files in step with the ledger, in a thread of its own: RELION's lock may make us wait a minute."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.engine.binding import BoundInstance
from core.engine.lease import LeaseLost
from core.engine.states import JobState
from core.errors import CrboostError
from core.files import append_line
from core.relion import project as relion
from core.relion.job_star import external_options, native_options


def relion_options(
    data: Path,
    bound: BoundInstance,
    own: Mapping[str, str],
    inputs: Mapping[str, str],
    queue: Mapping[str, str],
    running: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """All options of the instance's ``job.star``, with the ``queue``'s where its tasks go there. ``running``: the ranks
    and threads of its tasks.

    An external job names crboost as its program, so that RELION's own button runs again what failed: ``sh -c`` swallows
    the arguments that RELION appends (``--o``, ``--j``). That belongs on this host: ``do_queue`` stays No."""
    kind = bound.job_type
    queue = {} if kind.internal else queue
    if kind.relion_label.startswith("relion.external"):
        command = f"sh -c {shlex.quote(retry_command(bound.id))} crboost"
        program = {"fn_exe": command, "in_mic": next(iter(inputs), ""), "do_queue": "No"}
        return external_options({**queue, **program, **own})
    return native_options(data, kind.relion_label, {**queue, **own}, running)


def retry_command(instance: str, series: Sequence[str] | None = None) -> str:
    """The command line, in the project's folder, that runs again what failed of an instance."""
    words = ["crboost", "retry", ".", "--jobs", instance, *(["--series", ",".join(series)] if series else [])]
    return shlex.join(words)


@dataclass(frozen=True, slots=True)
class Synced:
    """A finished operation. ``folder``: of the job (``External/job003``), "" where RELION's pipeline has it no more."""

    instance: str
    kind: Literal["deploy", "state"]
    folder: str
    error: str


class RelionSync:
    """One operation after the other. Results are collected by :meth:`results` in the engine's own step.

    ``check`` raises where the project is no longer this engine's.
    """

    def __init__(self, root: Path, wake: Callable[[], None], check: Callable[[], None]) -> None:
        self.root = root
        self._wake = wake
        self._check = check
        self._pool = ThreadPoolExecutor(1, "relion")
        self._running: list[tuple[str, Literal["deploy", "state"], Future[str]]] = []
        self._telling: set[Future[None]] = set()
        self.deploying: set[str] = set()

    def deploy(
        self,
        instance: str,
        label: str,
        folder: str,
        options: Mapping[str, str],
        inputs: Mapping[str, str],
        *,
        is_tomo: bool = False,
    ) -> None:
        """Take a job number and make the job folder; the result is the folder's name (``External/job003``)."""
        self.deploying.add(instance)

        def work() -> str:
            relion.prepare_project(self.root)
            return relion.deploy_job(
                self.root,
                label=label,
                folder=folder,
                alias=instance,
                is_tomo=is_tomo,
                options=options,
                input_nodes=inputs,
            )

        self._submit(instance, "deploy", work)

    def set_state(self, instance: str, folder: str, state: JobState, nodes: Mapping[str, str]) -> None:
        """Bring the job's status, markers and output nodes up to date."""

        def work() -> str:
            name = folder + "/"
            match state:
                case JobState.SUCCEEDED | JobState.FAILED:
                    found = relion.finish_job(self.root, name, state == JobState.SUCCEEDED, nodes)
                case JobState.RUNNING:
                    found = relion.reopen_job(self.root, name)
                case _:
                    found = relion.set_status(self.root, name, state.value)
            return found or ""

        self._submit(instance, "state", work)

    def tell(self, folder: str, name: str, line: str) -> None:
        """Add a line to a job's ``run.out`` or ``run.err``, which RELION's windows show."""

        def work() -> None:
            self._check()
            if (self.root / folder).is_dir():
                append_line(self.root / folder / name, line)

        self._aside(work)

    def note(self, folder: str, command: str) -> None:
        """Add an entry to a job's ``note.txt``."""

        def work() -> None:
            self._check()
            if (self.root / folder).is_dir():
                relion.append_note(self.root, folder, [command])

        self._aside(work)

    def results(self) -> list[Synced]:
        """Operations that have finished since the last call."""
        finished = []
        for item in [item for item in self._running if item[2].done()]:
            self._running.remove(item)
            instance, kind, future = item
            if kind == "deploy":
                self.deploying.discard(instance)
            folder, error = "", ""
            try:
                folder = future.result().rstrip("/")
            except LeaseLost:
                raise
            except CrboostError as raised:
                error = str(raised)
            except OSError as raised:
                error = f"{raised.filename or self.root}: {raised.strerror}."
            finished.append(Synced(instance, kind, folder, error))
        return finished

    @property
    def busy(self) -> bool:
        return bool(self._running or self._telling)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, instance: str, kind: Literal["deploy", "state"], work: Callable[[], str]) -> None:
        def checked() -> str:
            self._check()
            return work()

        future = self._pool.submit(checked)
        self._running.append((instance, kind, future))
        future.add_done_callback(lambda _: self._wake())

    def _aside(self, work: Callable[[], None]) -> None:
        """What is for people's eyes only: where it cannot be written, nothing else suffers."""
        future = self._pool.submit(work)
        self._telling.add(future)

        def done(future: Future[None]) -> None:
            with contextlib.suppress(CrboostError, OSError, CancelledError):
                future.result()
            self._telling.discard(future)
            self._wake()

        future.add_done_callback(done)
