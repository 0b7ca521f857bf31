"""The reconcile loop: compare what is wanted with what is, and act until they agree.

All of the engine's state is changed in :meth:`Engine.step`, which runs in one thread and never waits for a queue, a
lock or a tool; the event loop around it only wakes it up. What may take long (RELION's lock, gather, cancelling) runs
beside it and is collected in a later step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from core import __version__
from core.cluster.local import LocalSubmitter
from core.cluster.protocol import AttemptPaths
from core.cluster.slots import Held
from core.engine import causes
from core.engine.attempts import Attempts, Ended
from core.engine.decisions import save_decisions
from core.engine.gathering import Gathering
from core.engine.lease import HEARTBEAT_SECONDS, HeldLease
from core.engine.ledger import Ledger
from core.engine.local_slots import local_slots
from core.engine.plan import Plan, Sources, job_folders, read_sources
from core.engine.readiness import Readiness
from core.engine.relion_sync import RelionSync, relion_options
from core.engine.rendering import script_of, task_resources
from core.engine.states import JobState, TaskState
from core.engine.status import Need
from core.engine.tool_table import tool_table
from core.engine.trash import move_products
from core.engine.wishes import ONE_SHOT, Wish, Wishes, reduce_requests, selection
from core.engine.worker_client import WorkerClient
from core.errors import CrboostError
from core.files import drop_leftovers, replace_text
from core.jobs._base import JobType
from core.jobs._task import COHORT
from core.project.decisions import Decision
from core.project.layout import ProjectPaths
from core.project.lock import project_lock
from core.project.wanted import Request, read_wanted
from core.tools.catalogue import use

PROGRESS_SECONDS = 5.0
INTERNAL_BATCH = 100
LOST_RETRIES = 2
BLOCKED_RETRIES = 5
BLOCKED_PAUSE_SECONDS = 30.0


class Engine:
    """One engine of one project. ``wake`` may be called from any thread to ask for another step."""

    def __init__(self, root: Path, data: Path, wake: Callable[[], None]) -> None:
        self.paths = ProjectPaths(root)
        self.root, self.data = root, data
        for folder in (self.paths.state, self.paths.inbox, self.paths.events, self.paths.gathered):
            folder.mkdir(parents=True, exist_ok=True)
        self.lease = HeldLease.take(self.paths, __version__)
        for folder in (root, self.paths.state):
            drop_leftovers(folder)
        self.ledger = Ledger(self.paths)
        self.sources: Sources = read_sources(root, data, self._planned_version())
        site = self.sources.site
        use(data / "catalogues", site.warp_version)
        self.table = tool_table(self.sources, data)
        self.attempts = Attempts(self.paths, LocalSubmitter(local_slots(site)), wake)
        self.worker = WorkerClient(root, data, self.paths.engine_log, wake)
        self.relion = RelionSync(root, wake)
        self.streaks = causes.Streaks()
        self.plan: Plan
        self.readiness: Readiness
        self.gathering: Gathering
        self.wishes: Wishes
        self._wanted_stamp: tuple[int, int] | None = None
        self._dirty: set[tuple[str, str]] = set()
        self._ready: set[tuple[str, str]] = set()
        self._internal: list[tuple[str, str]] = []
        self._later: dict[tuple[str, str], float] = {}
        self._problems: list[Need] = []
        self._progress_due = 0.0
        self._beat_due = 0.0
        self._written_states: dict[str, JobState] = {}
        self._nodes: dict[str, dict[str, str]] = {}
        self.ledger.set_engine(
            host=self.lease.lease.host,
            pid=self.lease.lease.pid,
            version=__version__,
            state="running",
            since=time.time(),
            epoch=self.lease.lease.epoch,
        )
        self._replan(first=True)
        self._recover()

    def _planned_version(self) -> int | None:
        """The version that the newest request speaks of; what ``crboost.yaml`` says now where nobody asked yet."""
        versions = [r.version for r in read_wanted(self.root).requests if r.kind in ("run", *ONE_SHOT) and r.version]
        return versions[-1] if versions else None

    def _replan(self, *, first: bool = False) -> None:
        """Read everything again and judge every task anew."""
        if not first:
            self.sources = read_sources(self.root, self.data, self._planned_version())
        folders = job_folders(self.ledger.status, self.root)
        self.plan = Plan(self.sources.bind(folders), self.sources.version)
        self.ledger.adopt(self.plan, self.sources.project.name, self.sources.project.rehearsal)
        self._problems = [Need("problem", instance, problem.sentence) for instance, problem in self.plan.errors()]
        self._reduce()
        self.gathering = Gathering(self.plan, self.ledger, self.readiness)

    def _reduce(self) -> None:
        requests = read_wanted(self.root).requests
        self.wishes = reduce_requests(requests, self.plan.ancestors, self.plan.series)
        self.readiness = Readiness(self.plan, self.ledger, self.wishes, self.sources.excluded_series)
        self._dirty = {(job.id, key) for job in self.plan.jobs.values() for key in job.tasks}

    def _recover(self) -> None:
        """Take up what an earlier engine left: live tasks of the ledger, and submissions that it no longer noted."""
        for instance, key, number in self.attempts.unsettled():
            if self.ledger.knows(instance, key) and self.ledger.attempt(instance, key) < number:
                fingerprint = self._expected(instance, key)
                self.ledger.set_task(instance, key, TaskState.QUEUED, attempt=number, fingerprint=fingerprint)
        for job in self.ledger.status.jobs:
            for key, character in zip(self.ledger.status.keys(job), job.states, strict=True):
                if TaskState(character).live:
                    paths = AttemptPaths(self.root / job.folder, key, self.ledger.attempt(job.id, key))
                    self.attempts.recover(job.id, key, paths)

    def step(self) -> None:
        """One round. Raises :class:`CrboostError` where the engine must end (lease lost, folder gone)."""
        self._heartbeat()
        if self.lease.late:
            return
        self._take_requests()
        self._take_worker()
        self._take_relion()
        for ended in self.attempts.follow():
            self._ended(ended)
        self._mark_running()
        self._enforce_wishes()
        self._judge()
        self._submit()
        self._use_worker()
        self._update_jobs()
        self._read_progress()
        self.ledger.set_needs(self._needs())
        self.ledger.save()

    def _heartbeat(self) -> None:
        now = time.monotonic()
        if now >= self._beat_due:
            self.lease.beat()
            self._beat_due = now + HEARTBEAT_SECONDS

    def _take_requests(self) -> None:
        try:
            status = self.paths.wanted.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            return
        if stamp == self._wanted_stamp:
            return
        self._wanted_stamp = stamp
        handled = self.ledger.status.engine.request
        new = [request for request in read_wanted(self.root).requests if request.number > handled]
        if not new:
            return
        self._replan()
        for request in new:
            if request.kind in ONE_SHOT:
                self._again(request)
        self.ledger.set_engine(request=new[-1].number)

    def _again(self, request: Request) -> None:
        """Retry what failed, was stopped or is stale; with ``redo`` also what is done."""
        again = {TaskState.FAILED, TaskState.STOPPED, TaskState.STALE}
        if request.kind == "redo":
            again |= {TaskState.DONE, TaskState.EMPTY}
        chosen = selection(request, self.plan.ancestors, self.plan.series)
        instances = {instance for instance, _ in chosen} or set(request.jobs or ())
        chosen += [
            (instance, key)
            for instance in instances
            for key in self.plan.jobs[instance].cohorts
            if request.series is None or key in request.series
        ]
        for instance in instances:
            self.ledger.set_job(instance, paused="")
            self.streaks.succeeded(instance)
        for instance, key in chosen:
            verdict = self.readiness.judge(instance, key)
            if verdict.state in again:
                self._later.pop((instance, key), None)
                self.ledger.set_task(instance, key, TaskState.WAITING, retries=0, fingerprint="")
                self._cancel_downstream(instance, key, "its input is made again")
                self._touch(instance, key)

    def _cancel_downstream(self, instance: str, key: str, why: str) -> None:
        for name in self.plan.descendants(instance):
            for address in list(self.attempts.live):
                if address[0] == name and (
                    address[1] == key or address[1].startswith(COHORT) or key.startswith(COHORT)
                ):
                    self.attempts.cancel(*address, why)

    def _touch(self, instance: str, key: str) -> None:
        """This task changed: judge it and what depends on it."""
        self._dirty.add((instance, key))
        cohort = key.startswith(COHORT)
        own = self.plan.jobs[instance]
        if cohort:
            self._dirty.update((instance, other) for other in own.tasks)
        for name in self.plan.descendants(instance):
            job = self.plan.jobs[name]
            if not cohort:
                self._dirty.add((name, key))
            else:
                self._dirty.update((name, other) for other in job.tasks)
            self._dirty.update((name, other) for other in job.cohorts)
        self.gathering.dirty.add(instance)

    def _take_worker(self) -> None:
        answered = self.worker.answer()
        if answered is None:
            return
        request, answer = answered
        if request["op"] == "internal":
            if "error" in answer:
                self.ledger.notice(str(answer["error"]))
            return
        instance = request["instance"]
        if instance not in self.plan.jobs:
            return
        self.gathering.finished(instance)
        if "error" in answer:
            self.ledger.notice(f"{instance}: gathering failed: {answer['error']}")
            self._gather_failed(instance, str(answer["error"]))
            return
        job = self.ledger.job(instance)
        good = {key: mark for key, mark in request["marks"].items() if key not in answer["problems"]}
        numbers = {key: value for key, value in answer["numbers"].items() if key in good}
        self.ledger.gathered(instance, numbers, answer["notes"], good)
        for key, problem in answer["problems"].items():
            if self.ledger.state(instance, key).good:
                self._fail(instance, key, problem)
                self._cancel_downstream(instance, key, "its input is broken")
        for key in answer["empty"]:
            if self.ledger.state(instance, key) == TaskState.DONE:
                self.ledger.set_task(instance, key, TaskState.EMPTY)
                self._touch(instance, key)
        keys = [key for key in request["keys"] if key not in answer["problems"]]
        self.gathering.wrote(instance, keys, bool(request["settled"]))
        if answer["nodes"] and answer["nodes"] != self._nodes.get(instance):
            self._nodes[instance] = answer["nodes"]
            self._written_states.pop(instance, None)
        job.notes.update(answer["notes"])
        self._decide([Decision(**made) for made in answer["decisions"]])

    def _gather_failed(self, instance: str, sentence: str) -> None:
        if not any(need.key == f"gather:{instance}" for need in self._problems):
            self._problems.append(Need("problem", f"gather:{instance}", f"{instance}: {sentence}"))

    def _decide(self, made: Iterable[Decision]) -> None:
        """Keep new decisions. What was decided stays; an open question may be answered by later evidence."""
        current = self.plan.binding.decisions
        new = {
            decision.key: decision
            for decision in made
            if (decision.key not in current or current[decision.key].state == "ask")
            and current.get(decision.key) != decision
        }
        if not new:
            return
        decisions = {**current, **new}
        save_decisions(self.paths, decisions)
        self.plan.redecide(decisions)
        for decision in new.values():
            self.ledger.notice(f"{decision.key}: {decision.evidence}")
        self._reduce()
        self.gathering.readiness = self.readiness
        self.gathering.dirty.update(self.plan.jobs)

    def _take_relion(self) -> None:
        for instance, kind, result, error in self.relion.results():
            if error:
                self.ledger.notice(f"{instance}: {error}")
                self._problems.append(Need("problem", instance, error))
            elif kind == "deploy" and instance in self.plan.jobs:
                self.ledger.set_job(instance, folder=result, state=JobState.RUNNING.value)
                self._written_states[instance] = JobState.SCHEDULED
                self.plan.binding.set_folder(instance, self.root / result)

    def _ended(self, ended: Ended) -> None:
        live, state = ended.live, ended.state
        instance, key = live.instance, live.key
        if not self.ledger.knows(instance, key):
            return
        times = {} if state is None else {"started": float(state.start), "ended": float(state.end)}
        if ended.outcome == "done":
            self.streaks.succeeded(instance)
            self.ledger.set_task(instance, key, TaskState.DONE, **times)
        elif live.cancelled == "time limit":
            self._fail(instance, key, f"time limit of {live.limit_seconds / 60:.0f} min reached", **times)
        elif live.cancelled == "stop":
            self.ledger.set_task(instance, key, TaskState.STOPPED, fingerprint="", cause="stopped on request", **times)
        elif live.cancelled or ended.outcome == "withdrawn":
            self.ledger.set_task(instance, key, TaskState.WAITING, fingerprint="")
        elif ended.outcome == "blocked":
            self._try_again(ended, BLOCKED_RETRIES, BLOCKED_PAUSE_SECONDS)
        elif ended.outcome == "lost":
            self._try_again(ended, LOST_RETRIES, 0.0)
        elif ended.outcome == "stopped":
            self._fail(instance, key, state.reason if state and state.reason else "stopped from outside", **times)
        else:
            cause = causes.describe(self._type(instance), live.paths.out, live.paths.err, ended.reason)
            self._fail(instance, key, cause, **times)
        self._touch(instance, key)

    def _try_again(self, ended: Ended, most: int, pause_seconds: float) -> None:
        """A passing trouble of the host or the file system: another attempt, a few times."""
        instance, key = ended.live.instance, ended.live.key
        retries = self.ledger.job(instance).retries.get(key, 0)
        if retries >= most:
            self._fail(instance, key, ended.reason)
            return
        self.ledger.notice(f"{instance} {key}: {ended.reason}; it is tried again")
        self.ledger.set_task(instance, key, TaskState.WAITING, fingerprint="", retries=retries + 1)
        self._later[(instance, key)] = time.monotonic() + pause_seconds * (retries + 1)

    def _fail(self, instance: str, key: str, cause: str, **fields: float) -> None:
        self.ledger.set_task(instance, key, TaskState.FAILED, cause=cause, **fields)
        if self.streaks.failed(instance, cause, key) >= causes.PAUSE_AFTER and not self.ledger.job(instance).paused:
            sentence = f"paused after {causes.PAUSE_AFTER} failures of one cause: {cause}. Mend it, then retry."
            self.ledger.set_job(instance, paused=sentence)
            self._dirty.update((instance, other) for other in self.plan.jobs[instance].tasks)
        self._touch(instance, key)

    def _mark_running(self) -> None:
        for (instance, key), live in self.attempts.live.items():
            if (
                live.running
                and self.ledger.knows(instance, key)
                and self.ledger.state(instance, key) == TaskState.QUEUED
            ):
                self.ledger.set_task(instance, key, TaskState.RUNNING, started=round(time.time(), 1))

    def _enforce_wishes(self) -> None:
        """Cancel what is live and no longer wanted: stopped, excluded, or no longer in the pipeline."""
        for instance, key in list(self.attempts.live):
            if not self.ledger.knows(instance, key) or key in self.sources.excluded_series:
                self.attempts.cancel(instance, key, "excluded")
            elif self.wishes.of(instance, key) == Wish.STOP:
                self.attempts.cancel(instance, key, "stop")

    def _judge(self) -> None:
        """Bring the states of all tasks that something happened to up to date, upstream ones first."""
        order = {instance: index for index, instance in enumerate(self.plan.jobs)}
        while self._dirty:
            batch = sorted(self._dirty, key=lambda address: order.get(address[0], -1))
            self._dirty.clear()
            for instance, key in batch:
                if instance not in order or not self.ledger.knows(instance, key):
                    continue
                before = self.ledger.state(instance, key)
                verdict = self.readiness.judge(instance, key)
                if verdict.state == TaskState.READY:
                    self._ready.add((instance, key))
                else:
                    self._ready.discard((instance, key))
                if verdict.state != before:
                    fields = {"cause": verdict.why} if verdict.why else {}
                    if verdict.choices:
                        fields["choices"] = dict(verdict.choices)  # type: ignore[assignment]
                    self.ledger.set_task(instance, key, verdict.state, **fields)
                    self._touch(instance, key)
                    self._dirty.discard((instance, key))

    def _submit(self) -> None:
        """Submit what is ready: later steps first, so that a series flows through instead of queuing behind others."""
        if not self._ready or self._problems_block():
            return
        order = {instance: index for index, instance in enumerate(self.plan.jobs)}
        no_gpu = False
        now = time.monotonic()
        positions = self.ledger.status.positions
        for instance, key in sorted(self._ready, key=lambda a: (-order[a[0]], positions.get(a[1], -1))):
            if self._later.get((instance, key), 0.0) > now or self._descendant_live(instance, key):
                continue
            job = self.ledger.job(instance)
            if not job.folder:
                self._deploy(instance)
                continue
            kind = self._type(instance)
            if kind.internal:
                self._internal.append((instance, key))
                self._ready.discard((instance, key))
                continue
            resources = task_resources(self.sources.site, self.sources.project, self.plan.jobs[instance].bound)
            if no_gpu and resources.gpus:
                continue
            slots = self.attempts.submitter.slots
            held = slots.take(resources.cpus, resources.gpus)
            if held is None:
                # Whoever comes first waits for its slots; smaller tasks behind it must not take them for ever.
                no_gpu = slots.free()[1] < min(resources.gpus, slots.gpus)
                if no_gpu:
                    continue
                break
            try:
                self._start(instance, key, held, resources.minutes)
            except CrboostError as error:
                held.release()
                self._fail(instance, key, str(error))
                self._ready.discard((instance, key))

    def _start(self, instance: str, key: str, held: Held, minutes: int) -> None:
        job = self.ledger.job(instance)
        folder = self.root / job.folder
        number = self.attempts.next_number(folder, key, self.ledger.attempt(instance, key))
        paths = AttemptPaths(folder, key, number)
        cohort = self._cohort_of(instance, key)
        work, text = script_of(
            self.plan,
            self.table,
            self.sources.site,
            self.paths,
            instance,
            key,
            paths,
            self.readiness.choices(instance, key),
            cohort,
        )
        if self.ledger.attempt(instance, key) and number > 1:
            move_products(self.paths, work, paths)
        paths.folder.mkdir(parents=True, exist_ok=True)
        replace_text(paths.script, text)
        self.lease.check()
        self.attempts.submit(instance, paths, held, {}, minutes * 60.0)
        fields: dict[str, object] = {"attempt": number, "fingerprint": self._expected(instance, key, cohort)}
        if cohort:
            fields["cohort"] = list(cohort)
        self.ledger.set_task(instance, key, TaskState.QUEUED, **fields)
        self._ready.discard((instance, key))

    def _cohort_of(self, instance: str, key: str) -> tuple[str, ...]:
        return self.readiness.judge(instance, key).cohort if key.startswith(COHORT) else ()

    def _expected(self, instance: str, key: str, cohort: tuple[str, ...] = ()) -> str:
        return self.plan.expected(instance, key, self.readiness.choices(instance, key), cohort)

    def _descendant_live(self, instance: str, key: str) -> bool:
        """Whether a later attempt still reads what this task would write again."""
        if not self.attempts.live or not self.ledger.attempt(instance, key):
            return False
        return any((name, key) in self.attempts.live for name in self.plan.descendants(instance))

    def _deploy(self, instance: str) -> None:
        if instance in self.relion.deploying:
            return
        bound = self.plan.jobs[instance].bound
        inputs: dict[str, str] = {}
        for names in bound.inputs.values():
            for name in names:
                producer = self.ledger.job(name)
                file, label = self._type(name).main_output
                if producer.folder and file:
                    inputs[f"{producer.folder}/{file}"] = label
        job = self.plan.binding.job_context(instance)
        contexts = [self.plan.binding.series_context(instance, key) for key in self.plan.series]
        options = relion_options(self.data, bound, bound.job_type.relion_options(job, contexts), inputs)
        self.relion.deploy(instance, bound.job_type.relion_label, bound.job_type.relion_folder, options, inputs)

    def _use_worker(self) -> None:
        """Give the worker its next piece of work: internal tasks first, then gathering."""
        if self.worker.busy:
            return
        folders = {job.id: job.folder for job in self.ledger.status.jobs if job.folder}
        common = {"version": self.sources.version, "folders": folders}
        if self._internal:
            instance = self._internal[0][0]
            batch = [address for address in self._internal if address[0] == instance][:INTERNAL_BATCH]
            self._internal = [address for address in self._internal if address not in set(batch)]
            self.worker.ask({"op": "internal", "instance": instance, "tasks": self._begin_internal(batch), **common})
            return
        request = self.gathering.next_request()
        if request is not None:
            self.worker.ask({**request, **common})

    def _begin_internal(self, batch: list[tuple[str, str]]) -> list[dict[str, object]]:
        tasks: list[dict[str, object]] = []
        worker = self.worker.start()
        for instance, key in batch:
            if self.readiness.judge(instance, key).state != TaskState.READY:
                continue
            folder = self.root / self.ledger.job(instance).folder
            number = self.attempts.next_number(folder, key, self.ledger.attempt(instance, key))
            paths = AttemptPaths(folder, key, number)
            paths.folder.mkdir(parents=True, exist_ok=True)
            live = self.attempts.hand_to_worker(instance, paths, worker)
            self.ledger.set_task(
                instance, key, TaskState.QUEUED, attempt=number, fingerprint=self._expected(instance, key)
            )
            choices = self.readiness.choices(instance, key)
            tasks.append({"key": key, "attempt": number, "job": live.token, "choices": choices})
        self.ledger.save()
        return tasks

    def _update_jobs(self) -> None:
        """The state of each job as a whole, in the ledger and in RELION's files."""
        for instance in self.plan.jobs:
            job = self.ledger.job(instance)
            if not job.folder:
                continue
            state = self._job_state(instance)
            if state.value != job.state:
                self.ledger.set_job(instance, state=state.value)
            if self._written_states.get(instance) != state:
                self._written_states[instance] = state
                self.relion.set_state(instance, job.folder, state, self._nodes.get(instance, {}))

    def _job_state(self, instance: str) -> JobState:
        counts = self.ledger.job(instance).count()
        total = sum(counts.values()) - counts[TaskState.EXCLUDED]
        good = counts[TaskState.DONE] + counts[TaskState.EMPTY] + counts[TaskState.STALE]
        unsettled = sum(number for state, number in counts.items() if not state.settled)
        if unsettled or not self.gathering.complete(instance):
            return JobState.RUNNING
        if counts[TaskState.STOPPED]:
            return JobState.ABORTED
        needed = max(1, self._type(instance).policy.done_fraction * total)
        return JobState.SUCCEEDED if good >= needed else JobState.FAILED

    def _read_progress(self) -> None:
        now = time.monotonic()
        if now < self._progress_due:
            return
        self._progress_due = now + PROGRESS_SECONDS
        for (instance, key), live in self.attempts.live.items():
            if live.running and not live.worker and self.ledger.knows(instance, key):
                progress = self._type(instance).progress(causes.tail(live.paths.out))
                known = self.ledger.job(instance).progress.get(key, 0.0)
                if progress is not None and abs(progress - known) >= 0.01:
                    self.ledger.set_task(instance, key, TaskState.RUNNING, progress=round(progress, 3))

    def _needs(self) -> list[Need]:
        needs = list(self._problems)
        needs += [
            Need("decision", decision.key, decision.evidence)
            for decision in self.plan.binding.decisions.values()
            if decision.state == "ask"
        ]
        needs += [Need("paused", job.id, f"{job.id} is {job.paused}") for job in self.ledger.status.jobs if job.paused]
        return needs

    def _problems_block(self) -> bool:
        return any(need.kind == "problem" and not need.key.startswith("gather:") for need in self._problems)

    def _type(self, instance: str) -> JobType[Any]:
        return self.plan.jobs[instance].bound.job_type

    def due(self) -> float:
        """Seconds until the next step is needed although nothing wakes the engine."""
        now = time.monotonic()
        times = [self._beat_due, now + HEARTBEAT_SECONDS]
        if self.ledger.unsaved:
            times.append(now + 0.5)
        if self.attempts.uncertain:
            times.append(now + 0.2)
        if any(live.running and not live.worker for live in self.attempts.live.values()):
            times.append(self._progress_due)
        if not self.worker.busy and (waits := self.gathering.waits_until()) is not None:
            times.append(waits)
        times.extend(self._later[address] for address in self._ready if address in self._later)
        if self._ready and not self._problems_block():
            times.append(now + 1.0)
        return max(0.0, min(times) - now)

    @property
    def internal_waiting(self) -> bool:
        """Whether there is work for the worker that it has not begun."""
        return bool(self._internal)

    def idle(self) -> bool:
        """Whether actual equals wanted, as far as the engine can bring it about."""
        waiting = bool(self._ready) and not self._problems_block()
        return not (
            waiting
            or self.attempts.live
            or self._internal
            or self.worker.busy
            or self.relion.busy
            or self.gathering.dirty
        )

    def finish(self) -> bool:
        """End in order, unless a request came in this moment. Running local tasks are left to themselves."""
        with project_lock(self.root):
            if self.idle() and self._requests_waiting():
                return False
            self.ledger.set_engine(state="ended")
            self.ledger.save(force=True)
            self.lease.release()
        self.close()
        return True

    def _requests_waiting(self) -> bool:
        requests = read_wanted(self.root).requests
        return bool(requests) and requests[-1].number > self.ledger.status.engine.request

    def close(self) -> None:
        self.worker.close()
        self.relion.close()
        self.attempts.close()
