"""Keeping RELION's files in step with the ledger, in a thread of its own: RELION's lock may make us wait a minute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from core.engine.binding import BoundInstance
from core.engine.states import JobState
from core.errors import CrboostError
from core.relion import project as relion
from core.relion.job_star import external_options, native_options


def relion_options(
    data: Path, bound: BoundInstance, own: Mapping[str, str], inputs: Mapping[str, str]
) -> dict[str, str]:
    """All options of the instance's ``job.star``. An external job names crboost as its program: RELION's own button
    would otherwise run nothing and wait for ever."""
    kind = bound.job_type
    if kind.relion_label.startswith("relion.external"):
        values = {"fn_exe": f"crboost retry . --jobs {bound.id}", "in_mic": next(iter(inputs), "")}
        return external_options({**values, **own})
    return native_options(data, kind.relion_label, own)


class RelionSync:
    """One operation after the other. Results are collected by :meth:`results` in the engine's own step."""

    def __init__(self, root: Path, wake: Callable[[], None]) -> None:
        self.root = root
        self._wake = wake
        self._pool = ThreadPoolExecutor(1, "relion")
        self._running: list[tuple[str, str, Future[str]]] = []
        self.deploying: set[str] = set()

    def deploy(
        self, instance: str, label: str, folder: str, options: Mapping[str, str], inputs: Mapping[str, str]
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
                is_tomo=False,
                options=options,
                input_nodes=inputs,
            ).rstrip("/")

        self._submit(instance, "deploy", work)

    def set_state(self, instance: str, process: str, state: JobState, nodes: Mapping[str, str]) -> None:
        """Bring the job's status, markers and output nodes up to date."""

        def work() -> str:
            name = process.rstrip("/") + "/"
            match state:
                case JobState.SUCCEEDED | JobState.FAILED:
                    relion.finish_job(self.root, name, state == JobState.SUCCEEDED, nodes)
                case JobState.RUNNING:
                    relion.reopen_job(self.root, name)
                case _:
                    relion.set_status(self.root, name, state.value)
            return ""

        self._submit(instance, "state", work)

    def results(self) -> list[tuple[str, str, str, str]]:
        """Finished operations: instance, ``deploy`` or ``state``, result, error sentence."""
        finished = []
        for item in [item for item in self._running if item[2].done()]:
            self._running.remove(item)
            instance, kind, future = item
            if kind == "deploy":
                self.deploying.discard(instance)
            try:
                finished.append((instance, kind, future.result(), ""))
            except CrboostError as error:
                finished.append((instance, kind, "", str(error)))
            except OSError as error:
                finished.append((instance, kind, "", f"{error.filename or self.root}: {error.strerror}."))
        return finished

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def close(self) -> None:
        self._pool.shutdown(wait=True)

    def _submit(self, instance: str, kind: str, work: Callable[[], str]) -> None:
        future = self._pool.submit(work)
        self._running.append((instance, kind, future))
        future.add_done_callback(lambda _: self._wake())
