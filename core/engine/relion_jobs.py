"""The pipeline's jobs as RELION sees them: their folders, their state as a whole, and what stands in the way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from core.cluster.template import relion_queue_options
from core.engine.gathering import Gathering
from core.engine.ledger import Ledger
from core.engine.plan import Plan
from core.engine.relion_sync import RelionSync, relion_options, retry_command
from core.engine.rendering import TaskResources
from core.engine.states import JobState, TaskState
from core.engine.status import JobStatus, Need
from core.engine.wishes import Wish, Wishes
from core.errors import CrboostError
from core.project.resources import effective
from core.project.site import load_site

AGAIN_SECONDS = 15.0
_FINISHED = (JobState.SUCCEEDED.value, JobState.FAILED.value)


class RelionJobs:
    """Decides what RELION should be told. ``plan``, ``gathering`` and ``wishes`` are the engine's of the moment."""

    def __init__(self, root: Path, data: Path, ledger: Ledger, sync: RelionSync) -> None:
        self.root, self.data, self.ledger, self.sync = root, data, ledger, sync
        self.plan: Plan
        self.gathering: Gathering
        self.wishes: Wishes
        self.changed: set[str] = set()
        """Jobs with a task that changed since :meth:`update`."""
        self.unread: dict[str, str] = {}
        """Jobs whose results cannot be gathered, and why."""
        self._told: dict[str, tuple[JobState, dict[str, str]]] = {}
        self._trouble: dict[str, str] = {}
        self._again: dict[str, float] = {}

    def adopt(self, plan: Plan, gathering: Gathering) -> None:
        """Follow a new plan. A job that is no longer in it does not go on; what is wrong is looked at again."""
        self.plan, self.gathering = plan, gathering
        self._trouble.clear()
        self._again.clear()
        self.unread.clear()
        self.changed.update(plan.jobs)

    def abandon(self, job: JobStatus) -> None:
        """A job left the pipeline: RELION should not wait for it."""
        self._told.pop(job.id, None)
        if job.folder and job.state == JobState.RUNNING.value:
            self.sync.set_state(job.id, job.folder, JobState.ABORTED, {})

    def deploy(self, instance: str) -> None:
        """Have the job folder of an instance made, unless that is under way or was tried in vain just now."""
        if instance in self.sync.deploying or self._again.get(instance, 0.0) > time.monotonic():
            return
        bound = self.plan.jobs[instance].bound
        inputs: dict[str, str] = {}
        for names in bound.inputs.values():
            for name in names:
                producer = self.ledger.job(name)
                file, label = self.plan.jobs[name].bound.job_type.main_output
                if producer.folder and file:
                    inputs[f"{producer.folder}/{file}"] = label
        try:
            job = self.plan.binding.job_context(instance)
            contexts = [self.plan.binding.series_context(instance, key) for key in self.plan.series]
            site = load_site(self.root, self.data)
            resources = effective(bound.job_type.needs, site, bound.declared, self.plan.binding.project.resources)
            queue = relion_queue_options(site.qsub, resources)
            own, tasks = bound.job_type.relion_options(job, contexts), TaskResources.of(resources)
            running = {"nr_mpi": str(tasks.ranks), "nr_threads": str(tasks.cpus)}
            options = relion_options(self.data, bound, own, inputs, queue, running)
        except CrboostError as error:
            self._failed(instance, str(error))
            return
        kind = bound.job_type
        label = kind.relion_label + kind.relion_sublabel(bound.values)
        self.sync.deploy(instance, label, kind.relion_folder, options, inputs, is_tomo=kind.relion_is_tomo)

    def take(self) -> list[str]:
        """What became of earlier operations; the instances that have a folder now."""
        deployed = []
        for done in self.sync.results():
            instance = done.instance
            if done.error:
                self._told.pop(instance, None)
                self._failed(instance, done.error)
            elif instance not in self.plan.jobs:
                if done.kind == "deploy":
                    self.sync.set_state(instance, done.folder, JobState.ABORTED, {})
            elif done.kind == "deploy":
                self._trouble.pop(instance, None)
                self.ledger.set_job(instance, folder=done.folder, state=JobState.RUNNING.value)
                self._told[instance] = (JobState.RUNNING, {})
                self.changed.add(instance)
                deployed.append(instance)
            elif not done.folder:
                self.gone(instance)
            else:
                self._trouble.pop(instance, None)
        return deployed

    def gone(self, instance: str) -> None:
        """RELION's user removed this job."""
        folder = self.ledger.job(instance).folder
        self._trouble[instance] = (
            f"{instance}: its job {folder} was removed from RELION's pipeline. Ask to redo {instance} to have it made "
            f"anew, or take it out of the pipeline."
        )
        self._again[instance] = float("inf")

    def is_gone(self, instance: str) -> bool:
        """Whether the instance had a job folder that is no longer there."""
        folder = self.ledger.job(instance).folder
        return bool(folder) and not (self.root / folder).is_dir()

    def blocks(self, instance: str) -> bool:
        """Whether nothing can be started in this job, so that nobody need wait for it."""
        return self._again.get(instance) == float("inf")

    def again(self, instance: str, series: Sequence[str] | None) -> None:
        """Tasks of this job are run again on request: noted, and RELION told anew how the job stands."""
        folder = self.ledger.job(instance).folder
        if folder:
            self.sync.note(folder, retry_command(instance, series))
        self._told.pop(instance, None)
        self.changed.add(instance)

    def ended(self, instance: str, key: str, attempt: int, state: TaskState, cause: str) -> None:
        """A line about a task that ended, for RELION's windows."""
        folder = self.ledger.job(instance).folder
        if not folder:
            return
        clock = time.strftime("%Y-%m-%d %H:%M:%S")
        name = "run.out" if state.good else "run.err"
        what = state.name.lower() + (f": {cause}" if cause else "")
        self.sync.tell(folder, name, f"{clock} {key} (attempt {attempt}) {what}")

    def update(self) -> None:
        """The state of each job that changed, in the ledger and in RELION's files."""
        now = time.monotonic()
        due = {instance for instance in self._trouble if self._again.get(instance, 0.0) <= now}
        for instance in self.changed | due:
            if instance not in self.plan.jobs:
                continue
            job = self.ledger.job(instance)
            if not job.folder:
                continue
            state = self.state(instance)
            if state.value != job.state:
                self.ledger.set_job(instance, state=state.value)
            told = (state, job.nodes if state in (JobState.SUCCEEDED, JobState.FAILED) else {})
            if self._told.get(instance) != told and self._again.get(instance, 0.0) <= now:
                self._told[instance] = told
                self.sync.set_state(instance, job.folder, *told)
        self.changed.clear()

    def state(self, instance: str) -> JobState:
        """The state of the job as a whole."""
        job = self.ledger.job(instance)
        counts = job.count()
        total = sum(counts.values()) - counts[TaskState.EXCLUDED]
        good = counts[TaskState.DONE] + counts[TaskState.EMPTY] + counts[TaskState.STALE]
        unsettled = sum(number for state, number in counts.items() if not state.settled)
        if not total or (counts[TaskState.STOPPED] and not self._goes_on(instance)):
            return JobState.ABORTED
        if unsettled:
            return JobState.RUNNING
        if not self.gathering.complete(instance):
            # A finished job whose tables are only looked at again stays what it is.
            return JobState(job.state) if job.state in _FINISHED else JobState.RUNNING
        if instance in self.unread:
            return JobState.FAILED
        needed = max(1, self.plan.jobs[instance].bound.job_type.policy.done_fraction * total)
        return JobState.SUCCEEDED if good >= needed else JobState.FAILED

    def _goes_on(self, instance: str) -> bool:
        """Whether something of this job runs, or should."""
        job = self.ledger.job(instance)
        return any(
            (state := TaskState(character)).live or (not state.settled and self.wishes.of(instance, key) == Wish.RUN)
            for key, character in zip(self.ledger.status.keys(job), job.states, strict=True)
        )

    def needs(self) -> list[Need]:
        return [
            *(Need("problem", instance, sentence) for instance, sentence in self._trouble.items()),
            *(
                Need("problem", instance, f"{instance}: its results could not be read: {sentence}")
                for instance, sentence in self.unread.items()
            ),
        ]

    def again_at(self) -> float | None:
        """When something is tried again (monotonic clock), None where nothing is."""
        times = [self._again[name] for name in self._trouble if self._again.get(name, 0.0) != float("inf")]
        return min(times, default=None)

    def _failed(self, instance: str, sentence: str) -> None:
        """Tried again after a while: RELION's lock may be free then."""
        if self._trouble.get(instance) != sentence:
            self.ledger.notice(f"{instance}: {sentence}")
        self._trouble[instance] = sentence
        self._again[instance] = time.monotonic() + AGAIN_SECONDS
