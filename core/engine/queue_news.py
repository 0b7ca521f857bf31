"""What Slurm says, told to the ledger and to people: the queue in words, what ended tasks used, whether it answers at
all, and what waits there in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.engine.slurm_queue import SlurmQueue
from core.engine.states import TaskState
from core.engine.status import Need

if TYPE_CHECKING:
    from core.engine.engine import Engine


class QueueNews:
    """The news for ``engine``. All methods are called in the engine's own thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.silent = False
        """Whether the ledger says that nothing is known of the tasks in the queue."""

    def tell(self) -> None:
        """Bring the ledger up to date."""
        engine = self.engine
        queue = engine.attempts.slurm
        if queue is None:
            return
        if queue.changed:
            gpus = {job: engine.submitting.asks_for_gpu(job) for job in engine.plan.jobs}
            engine.ledger.set_queue(asked=round(queue.asked_clock, 1), trouble=queue.trouble, rows=queue.rows(gpus))
        elif queue.trouble != engine.ledger.status.queue.trouble:
            engine.ledger.set_queue(trouble=queue.trouble)
        if queue.silent != self.silent:
            self.silent = queue.silent
            for (instance, key), live in engine.attempts.live.items():
                if live.in_slurm and engine.ledger.knows(instance, key):
                    known = TaskState.RUNNING if live.running else TaskState.QUEUED
                    engine.ledger.set_task(instance, key, TaskState.UNKNOWN if self.silent else known)
        self._note_usage(queue)

    def _note_usage(self, queue: SlurmQueue) -> None:
        accounts = queue.take_accounts()
        if not accounts:
            return
        for job in self.engine.ledger.status.jobs:
            mine = {key: accounts[name] for key, name in job.queue_ids.items() if name in accounts}
            if mine:
                self.engine.ledger.used(job.id, {key: account.usage() for key, account in mine.items()})

    def needs(self) -> list[Need]:
        """What only a person can bring forward."""
        found = []
        attempts = self.engine.attempts
        other = None if attempts.slurm is None else attempts.slurm.elsewhere()
        if other is not None:
            there, here = other
            sentence = f"Tasks are in the queue of cluster {there}, but this host speaks to {here}: run crboost there."
            found.append(Need("waits", "", sentence))
        for (instance, why), waiting in attempts.in_vain().items():
            sentence = f"{instance}: {len(waiting)} tasks wait in Slurm's queue in vain: {why.words}."
            if why.fields:
                sentence += " Correct its resources, then run again."
            found.append(Need("waits", instance, sentence, [f"resources.{name}" for name in why.fields]))
        return found
