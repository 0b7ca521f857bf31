"""The reconcile loop: compare what is wanted with what is, and act until they agree.

All of the engine's state is changed in :meth:`Engine.step`, which runs in one thread and never waits for a queue, a
lock or a tool; the event loop around it only wakes it up. What may take long (RELION's lock, gather, cancelling) runs
beside it and is collected in a later step.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core import __version__
from core.cluster.local import LocalSubmitter
from core.cluster.protocol import AttemptPaths, read_start
from core.cluster.slurm import Slurm, slurm_is_there
from core.cluster.slurm_words import Trouble
from core.engine import causes
from core.engine.attempts import TIME_LIMIT, Attempts, Ended
from core.engine.bad_nodes import BadNodes
from core.engine.decisions import save_decisions
from core.engine.gathering import Gathering
from core.engine.lease import HEARTBEAT_SECONDS, HeldLease, LeaseLost
from core.engine.ledger import Ledger
from core.engine.local_slots import local_slots
from core.engine.notify import end_sentence, notify
from core.engine.plan import Plan, Sources, job_folders, read_sources
from core.engine.queue_news import QueueNews
from core.engine.readiness import Readiness
from core.engine.relion_jobs import RelionJobs
from core.engine.relion_sync import RelionSync
from core.engine.slurm_queue import SlurmQueue
from core.engine.space import SPACE_SECONDS
from core.engine.stalled import Stall
from core.engine.states import TaskState
from core.engine.status import Need
from core.engine.submitting import Address, Submitting
from core.engine.tool_table import tool_table
from core.engine.wishes import ONE_SHOT, Wish, Wishes, reduce_requests, selection
from core.engine.worker_client import WorkerClient
from core.errors import CrboostError, InputError
from core.files import disk_is_full, drop_leftovers
from core.jobs._base import JobType
from core.jobs._task import COHORT
from core.project.decisions import Decision
from core.project.layout import ProjectPaths
from core.project.lock import project_lock
from core.project.wanted import Request, read_wanted
from core.tools.table import ToolTable

PROGRESS_SECONDS = 5.0
TROUBLE_SECONDS = 2.0
INTERNAL_BATCH = 100
FILE_RETRIES = 2
FILE_PAUSE_SECONDS = 5.0
BLOCKED_RETRIES = 5
BLOCKED_PAUSE_SECONDS = 30.0
GATHER_TRIES = 3
GATHER_PAUSE_SECONDS = 2.0

HOW = {
    Trouble.TIME: "with twice the time",
    Trouble.MEMORY: "with twice the memory",
    Trouble.NODE: "on another node",
}
"""How a task is tried again after a trouble."""


class Engine:
    """One engine of one project. ``wake`` may be called from any thread to ask for another step."""

    def __init__(self, root: Path, data: Path, wake: Callable[[], None]) -> None:
        self.paths = ProjectPaths(root)
        self.root, self.data = root, data
        for folder in (self.paths.state, self.paths.inbox, self.paths.events, self.paths.gathered):
            folder.mkdir(parents=True, exist_ok=True)
        self.lease = HeldLease.take(self.paths, __version__)
        try:
            self._set_up(wake)
        except BaseException:
            with project_lock(root):
                self.lease.release()
            raise

    def _set_up(self, wake: Callable[[], None]) -> None:
        for folder in (self.root, self.paths.state):
            drop_leftovers(folder)
        self.ledger = Ledger(self.paths)
        self.sources: Sources = read_sources(self.root, self.data, self._planned_version())
        self.table: ToolTable
        queue = SlurmQueue(self._client(self.sources), wake) if slurm_is_there() else None
        self.attempts = Attempts(self.paths, LocalSubmitter(local_slots(self.sources.site)), queue, wake)
        self.slurm: SlurmQueue | None = None
        """Where tasks go; None where they run on this host."""
        self.submitting = Submitting(self)
        self._equip(self.sources)
        self.attempts.refuse_foreign({job.id: job.folder for job in self.ledger.status.jobs if job.folder})
        self.worker = WorkerClient(self.root, self.data, self.paths.engine_log, wake)
        self.relion = RelionSync(self.root, wake, self.lease.check)
        self.jobs = RelionJobs(self.root, self.data, self.ledger, self.relion)
        self.streaks = causes.Streaks()
        self.plan: Plan
        self.readiness: Readiness
        self.gathering: Gathering
        self.wishes: Wishes
        self._wanted_stamp: tuple[int, int] | None = None
        self._wanted_trouble = ""
        self._wanted_due = 0.0
        self._dirty: set[Address] = set()
        self.bad_nodes = BadNodes(self.ledger.status.queue.nodes)
        self.stall = Stall()
        self._problems: list[Need] = []
        self._blocked: set[str] = set()
        self._gather_tries: dict[str, int] = {}
        self._trouble = ""
        self._progress_due = 0.0
        self._beat_due = 0.0
        self.queue_news = QueueNews(self)
        self.worked = False
        self._outcome = self.ledger.status.outcome()
        self.ledger.set_engine(
            host=self.lease.lease.host,
            pid=self.lease.lease.pid,
            version=__version__,
            state="running",
            since=time.time(),
            epoch=self.lease.lease.epoch,
        )
        self._replan(self.sources)
        self.ledger.save(force=True)
        self._recover()

    def _planned_version(self) -> int | None:
        """The version that the newest request speaks of; what ``crboost.yaml`` says now where nobody asked yet."""
        versions = [r.version for r in read_wanted(self.root).requests if r.kind in ("run", *ONE_SHOT) and r.version]
        return versions[-1] if versions else None

    def _replan(self, sources: Sources) -> None:
        """Judge every task anew. Nothing has changed where this raises."""
        plan = Plan(sources.bind(job_folders(self.ledger.status, self.root)), sources.version)
        wishes = reduce_requests(read_wanted(self.root).requests, plan.ancestors, plan.series)
        if sources.site != self.sources.site:
            self._equip(sources)
        self.wishes = self.jobs.wishes = wishes
        self.sources, self.plan = sources, plan
        left = [job for job in self.ledger.status.jobs if job.id not in plan.jobs]
        self.ledger.adopt(plan, sources.project.name, sources.project.rehearsal)
        for instance, folder in job_folders(self.ledger.status, self.root).items():
            if instance in plan.jobs and plan.binding.folders.get(instance) != folder:
                plan.binding.set_folder(instance, folder)
        self.submitting.replanned()
        self._gather_tries.clear()
        self._problems = [Need("problem", instance, problem.sentence) for instance, problem in plan.errors()]
        self._blocked = set()
        for need in self._problems:
            self._blocked.update([need.key, *plan.descendants(need.key)] if need.key else plan.jobs)
        self._judge_anew()
        self.gathering = Gathering(plan, self.ledger, self.readiness)
        self.jobs.adopt(plan, self.gathering)
        for job in left:
            self.jobs.abandon(job)
        self._note_late_comers()

    def _equip(self, sources: Sources) -> None:
        """Follow the site's configuration. Raises :class:`InputError` where it wants a Slurm that is not there."""
        self.table = tool_table(sources, self.data)
        queue = self.attempts.slurm
        if sources.site.submitter == "slurm" and queue is None:
            raise InputError(
                "says submitter: slurm, but this host has no sbatch or no slurm.conf. Run crboost where Slurm's "
                "commands are, or say submitter: local.",
                "conf.yaml",
            )
        self.slurm = None if sources.site.submitter == "local" else queue
        if queue is not None:
            queue.slurm = self._client(sources)
        self.submitting.configure(sources.site)

    def _client(self, sources: Sources) -> Slurm:
        site = sources.site
        return Slurm(self.paths.slurm_calls, shlex.split(site.qsub.command), site.slurm.seconds)

    def _judge_anew(self) -> None:
        self.readiness = Readiness(self.plan, self.ledger, self.wishes, self.sources.excluded_series)
        self._dirty = {(job.id, key) for job in self.plan.jobs.values() for key in job.tasks}
        self.submitting.judge_anew()

    def _note_late_comers(self) -> None:
        """Say which series came after a cohort was frozen: they make nothing stale."""
        for job in self.plan.jobs.values():
            known = self.ledger.job(job.id)
            for key in job.cohorts:
                frozen = known.cohort_series.get(key)
                declared = [name for name in job.tasks[key].cohort if name not in self.sources.excluded_series]
                late = [name for name in declared if frozen and name not in frozen]
                note = f"Not in this cohort: {', '.join(late)}. Redo {key} to take them in."
                if late and note not in known.notes.get(key, []):
                    self.ledger.gathered(job.id, {}, {key: [*known.notes.get(key, []), note]}, {})

    def _recover(self) -> None:
        """Take up what an earlier engine left: live tasks of the ledger, and submissions that it no longer noted."""
        unsettled = self.attempts.unsettled()
        for (instance, key, number), submission in unsettled.items():
            known = self.ledger.knows(instance, key) and bool(self.ledger.job(instance).folder)
            if known and self.ledger.attempt(instance, key) < number:
                facts = submission.intent.get("facts", {}).get(key, {})
                self.ledger.set_task(instance, key, TaskState.QUEUED, attempt=number, **facts)
        for job in self.ledger.status.jobs:
            for key, character in zip(self.ledger.status.keys(job), job.states, strict=True):
                if TaskState(character).live:
                    self.queue_news.silent |= TaskState(character) == TaskState.UNKNOWN
                    number = self.ledger.attempt(job.id, key)
                    paths = AttemptPaths(self.root / job.folder, key, number)
                    self.attempts.recover(job.id, key, paths, unsettled.get((job.id, key, number)))
        self.attempts.recovered()

    def step(self) -> None:
        """One round. Raises :class:`LeaseLost` where the engine must end. A file that cannot be read or written now,
        or a full disk, is said and passes: what was not done is done in a later round."""
        try:
            self._heartbeat()
            if self.lease.late:
                return
            self._round()
            self._trouble = ""
        except LeaseLost:
            raise
        except (CrboostError, OSError) as error:
            if disk_is_full(error):
                self.submitting.space.ran_out(str(error))
            if str(error) != self._trouble:
                sys.stderr.write(f"crboost: {error}\n")
            self._trouble = str(error)
            self.ledger.set_needs(self._needs())

    def _round(self) -> None:
        self._take_requests()
        self._take_worker()
        for instance in self.jobs.take():
            self.plan.binding.set_folder(instance, self.root / self.ledger.job(instance).folder)
            self.ledger.save()  # before anything is submitted into that folder
        for placed in self.attempts.placed():
            self.submitting.placed(placed)
        for ended in self.attempts.follow():
            self._ended(ended)
        self._mark_running()
        self._enforce_wishes()
        self._judge()
        self.submitting.submit()
        self.queue_news.tell()
        self._use_worker()
        self.jobs.update()
        self._read_progress()
        if self.stall.suspected:
            self._look_whether_it_stalls()
        self.ledger.set_needs(self._needs())
        self.lease.check_if_unsure()
        self.ledger.save()
        self.attempts.settle()

    def _heartbeat(self) -> None:
        now = time.monotonic()
        if now >= self._beat_due:
            self._beat_due = now + HEARTBEAT_SECONDS
            self.lease.beat()

    def _take_requests(self) -> None:
        """Follow new requests. Where the project's files cannot be read now, the old plan holds until they can."""
        stamp = _stamp(self.paths.wanted)
        now = time.monotonic()
        if stamp is None or (stamp == self._wanted_stamp and not (self._wanted_trouble and now >= self._wanted_due)):
            return
        self._wanted_stamp = stamp
        try:
            handled = self.ledger.status.engine.request
            new = [request for request in read_wanted(self.root).requests if request.number > handled]
            if new:
                self._follow(new)
            if self._wanted_trouble:  # the worker reads the same files
                self._wanted_trouble = ""
                self._gather_tries.clear()
                self.gathering.dirty.update(self.plan.jobs)
        except LeaseLost:
            raise
        except (CrboostError, OSError) as error:
            self._wanted_trouble = str(error)
            self._wanted_due = now + FILE_PAUSE_SECONDS

    def _follow(self, new: list[Request]) -> None:
        self._replan(read_sources(self.root, self.data, self._planned_version()))
        again = [address for request in new if request.kind in ONE_SHOT for address in self._again(request)]
        again += self._grown_cohorts()
        if self._undecide(again):
            self._replan(read_sources(self.root, self.data, self._planned_version()))
        for instance, key in again:
            self._cancel_downstream(instance, key, "its input is made again")
        for live in list(self.attempts.live.values()):
            waits = live.in_slurm and not live.running and live.instance in self.plan.jobs
            if waits and live.asked not in ("", self.submitting.asked(live.instance)):
                self.attempts.cancel(live.instance, live.key, "it asks for other resources now")
        if again and self.bad_nodes.forgive():
            self.ledger.set_queue(nodes=[])
        self.ledger.set_engine(request=new[-1].number)
        self.stall.moved()

    def _again(self, request: Request) -> list[Address]:
        """Retry what failed, was stopped or is stale; with ``redo`` also what is done. The tasks that run again."""
        states = {TaskState.FAILED, TaskState.STOPPED, TaskState.STALE}
        if request.kind == "redo":
            states |= {TaskState.DONE, TaskState.EMPTY}
        chosen = selection(request, self.plan.ancestors, self.plan.series)
        for instance in self.plan.jobs if request.jobs is None else request.jobs:
            if instance in self.plan.jobs:
                cohorts = self.plan.jobs[instance].cohorts
                chosen += [(instance, key) for key in cohorts if request.series is None or key in request.series]
        found: list[Address] = []
        for instance in dict.fromkeys(instance for instance, _ in chosen):
            keys = [key for name, key in chosen if name == instance]
            self.ledger.set_job(instance, paused="")
            self.streaks.succeeded(instance)
            if self.jobs.is_gone(instance):
                self.ledger.set_job(instance, folder="")
                self.plan.binding.folders.pop(instance, None)
                keys, wanted = list(self.plan.jobs[instance].tasks), set(TaskState)
            else:
                wanted = states
            mine = []
            for key in keys:
                verdict = self.readiness.judge(instance, key)
                if verdict.state in wanted and not verdict.state.live and verdict.state != TaskState.EXCLUDED:
                    self.submitting.again((instance, key))
                    self.ledger.set_task(instance, key, TaskState.WAITING, retries=0, more={}, fingerprint="")
                    self.touch(instance, key)
                    mine.append((instance, key))
            if mine:
                self.jobs.again(instance, request.series)
            found += mine
        return found

    def _grown_cohorts(self) -> list[Address]:
        """Cohort tasks that a pilot had to do with fewer series than they should have, now that more are wanted: they
        run again, since what was decided from one or two series must not hold for all the others."""
        found: list[Address] = []
        for job in self.plan.jobs.values():
            for key in job.cohorts:
                frozen = self.ledger.job(job.id).cohort_series.get(key, [])
                wanted = [
                    name
                    for name in job.tasks[key].cohort
                    if name not in self.sources.excluded_series and self.wishes.of(job.id, name) == Wish.RUN
                ]
                small = key in self.ledger.job(job.id).short and len(wanted) > len(frozen)
                if small and self.ledger.state(job.id, key).good:
                    sentence = (
                        f"{job.id} {key[1:]}: {len(frozen)} series were too few; it runs again with {len(wanted)}"
                    )
                    self.ledger.notice(sentence)
                    self.ledger.set_task(job.id, key, TaskState.WAITING, retries=0, fingerprint="")
                    self.touch(job.id, key)
                    found.append((job.id, key))
        return found

    def _undecide(self, again: Iterable[Address]) -> bool:
        """Drop the automatic decisions that rest on what is made again: a calibration's, or a whole job's."""
        addresses = set(again)
        current = self.plan.binding.decisions
        dropped = set()
        for decision in current.values():
            job = self.plan.jobs.get(decision.source)
            if decision.by != "automatic" or job is None:
                continue
            mine = {key for instance, key in addresses if instance == job.id}
            within = any(decision.key in needed for needed in job.decisions.values())
            whole = mine and mine >= set(self.plan.series) - self.sources.excluded_series
            if whole or (within and mine & set(job.cohorts)):
                dropped.add(decision.key)
        if dropped:
            save_decisions(self.paths, {key: value for key, value in current.items() if key not in dropped})
        return bool(dropped)

    def _cancel_downstream(self, instance: str, key: str, why: str) -> None:
        for name in self.plan.descendants(instance):
            for address in list(self.attempts.live):
                if address[0] == name and (
                    address[1] == key or address[1].startswith(COHORT) or key.startswith(COHORT)
                ):
                    self.attempts.cancel(*address, why)

    def touch(self, instance: str, key: str) -> None:
        """This task changed: judge it and what depends on it."""
        self._dirty.add((instance, key))
        self.jobs.changed.add(instance)
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
        instance = request["instance"]
        if request["op"] == "internal":
            self.attempts.worker_answered((instance, task["key"]) for task in request["tasks"])
            if "error" in answer:
                self.ledger.notice(f"{instance}: {answer['error']}")
            return
        if instance not in self.plan.jobs:
            return
        self.gathering.finished(instance)
        self.jobs.changed.add(instance)
        if "error" in answer:
            self._gather_failed(instance, str(answer["error"]), bool(answer.get("full")))
            return
        self._decide([Decision(**{**made, "source": instance}) for made in answer["decisions"]])
        self._gather_tries.pop(instance, None)
        self.jobs.unread.pop(instance, None)
        good = {
            key: mark
            for key, mark in request["marks"].items()
            if key not in answer["problems"] and (instance, key) not in self.attempts.live  # it runs again already
        }
        numbers = {key: value for key, value in answer["numbers"].items() if key in good}
        if good:
            self.streaks.succeeded(instance)
        self.ledger.gathered(instance, numbers, answer["notes"], good)
        for key, problem in answer["problems"].items():
            if self.ledger.knows(instance, key) and self.ledger.state(instance, key).good:
                self.fail(instance, key, problem)
                self._cancel_downstream(instance, key, "its input is broken")
        for key in answer["empty"]:
            if self.ledger.knows(instance, key) and self.ledger.state(instance, key) == TaskState.DONE:
                self.ledger.set_task(instance, key, TaskState.EMPTY)
                self.touch(instance, key)
        keys = [key for key in request["keys"] if key not in answer["problems"]]
        self.gathering.wrote(instance, keys, bool(request["settled"]), answer["nodes"])
        for name in self.plan.downstream[instance]:
            if self.plan.jobs[name].bound.job_type.reads_tables:
                tasks = self.plan.jobs[name]
                self._dirty.update((name, key) for key in (*good, *tasks.cohorts) if key in tasks.tasks)

    def _gather_failed(self, instance: str, sentence: str, disk_full: bool) -> None:
        """The job's tables could not be written at all: tried again a few times, and with the next task that ends."""
        if disk_full:
            self.submitting.space.ran_out(sentence)
            self.gathering.put_off(instance, SPACE_SECONDS)
            return
        tries = self._gather_tries[instance] = self._gather_tries.get(instance, 0) + 1
        if self.jobs.unread.get(instance) != sentence:
            self.ledger.notice(f"{instance}: gathering failed: {sentence}")
            self.jobs.unread[instance] = sentence
        if tries < GATHER_TRIES:
            self.gathering.put_off(instance, GATHER_PAUSE_SECONDS)
        else:
            self.gathering.dirty.discard(instance)

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
        self._judge_anew()
        self.gathering.readiness = self.readiness
        self.gathering.dirty.update(self.plan.jobs)

    def _ended(self, ended: Ended) -> None:
        live, state = ended.live, ended.state
        instance, key = live.instance, live.key
        self.stall.moved()
        if not self.ledger.knows(instance, key):
            return
        times = {} if state is None else {"started": float(state.start), "ended": float(state.end)}
        trouble = Trouble.TIME if live.cancelled == TIME_LIMIT else ended.trouble
        if ended.outcome == "done":
            self.ledger.set_task(instance, key, TaskState.DONE, **times)
            self.jobs.ended(instance, key, live.number, TaskState.DONE, "")
            if live.in_slurm:
                for node, failed in self.bad_nodes.succeeded(ended.node, instance).items():
                    self._leave_out(node, failed)
        elif live.cancelled == "stop":
            self.ledger.set_task(instance, key, TaskState.STOPPED, fingerprint="", cause="stopped on request", **times)
            self.jobs.ended(instance, key, live.number, TaskState.STOPPED, "on request")
        elif live.cancelled and live.cancelled != TIME_LIMIT:
            self.ledger.set_task(instance, key, TaskState.WAITING, fingerprint="")
        elif ended.outcome == "blocked":
            self._try_again(ended, ended.reason, BLOCKED_RETRIES, BLOCKED_PAUSE_SECONDS)
        elif trouble == Trouble.UNSEEN:
            reason = f"it could not even begin{f' on {ended.node}' if ended.node else ''}: {ended.reason}"
            self._avoid(ended)
            self._try_again(ended, reason, BLOCKED_RETRIES, BLOCKED_PAUSE_SECONDS)
        elif trouble == Trouble.CANCELLED:
            self.fail(instance, key, "cancelled in Slurm, not by crboost; retry runs it again", times)
        elif trouble != Trouble.NONE:
            self._after_trouble(ended, trouble)
        elif ended.outcome == "withdrawn":
            self.ledger.set_task(instance, key, TaskState.WAITING, fingerprint="")
        elif ended.outcome == "stopped":
            self.fail(instance, key, state.reason if state and state.reason else "stopped from outside", times)
        else:
            cause = causes.describe(self.type_of(instance), live.paths.out, live.paths.err, ended.reason)
            began = max(live.submitted, self.ledger.job(instance).started[self.ledger.index(instance, key)])
            if self.submitting.space.explains(began, causes.tail(live.paths.out), causes.tail(live.paths.err)):
                self._try_again(ended, f"there was no space: {cause}", self.sources.site.retries, 0.0)
            else:
                self._failed(ended, cause, times)
        self.touch(instance, key)

    def _failed(self, ended: Ended, cause: str, times: Mapping[str, float]) -> None:
        """A task failed by itself. Where that may be its node's fault the job does not pause yet."""
        instance, key = ended.live.instance, ended.live.key
        if not ended.live.in_slurm or ended.state is None:
            self.fail(instance, key, cause, times)
            return
        elsewhere = self._runs_elsewhere(instance, ended.node)
        took = ended.state.end - ended.state.start
        again = self.bad_nodes.failed(ended.node, (instance, key), took, elsewhere)
        suspected = bool(elsewhere) and self.bad_nodes.suspects(ended.node, instance)
        self.fail(instance, key, cause, times, pause=not (again or suspected))
        if again:
            self._leave_out(ended.node, again)

    def _runs_elsewhere(self, instance: str, node: str) -> float:
        """For how many seconds a task of this job has been running on another node, 0 where none does."""
        job = self.ledger.job(instance)
        found = 0.0
        for (name, key), live in self.attempts.live.items():
            if name == instance and live.in_slurm and self.ledger.state(name, key) == TaskState.RUNNING:
                mark = read_start(live.paths.start)
                if mark is not None and mark.host != node:
                    found = max(found, time.time() - job.started[self.ledger.index(name, key)])
        return found

    def _leave_out(self, node: str, failed: Sequence[Address]) -> None:
        """Submit nothing to a bad node: tasks that failed there are tried elsewhere, and what waits in the queue of
        their jobs is submitted anew."""
        if node not in self.ledger.status.queue.nodes:
            sentence = f"{node} is left out: {len(failed)} tasks failed there at once, while others do well elsewhere"
            self.ledger.notice(sentence)
            self.ledger.set_queue(nodes=list(self.bad_nodes.excluded))
            self.notify(sentence)
            jobs = {instance for instance, _ in failed}
            for (instance, key), live in self.attempts.live.items():
                if instance in jobs and live.in_slurm and not live.running:
                    self.attempts.cancel(instance, key, f"{node} is left out")
        for address in failed:
            if self.ledger.knows(*address) and self.ledger.state(*address) == TaskState.FAILED:
                self.retried(*address, f"failed on {node}", self.sources.site.retries, 0.0, "elsewhere")

    def _after_trouble(self, ended: Ended, trouble: Trouble) -> None:
        """Nothing is wrong with the task itself: it is tried again, elsewhere or with more of what it lacked."""
        instance, key = ended.live.instance, ended.live.key
        reason = ended.reason or trouble.value
        if ended.live.cancelled == TIME_LIMIT:
            reason = f"time limit of {ended.live.limit_seconds / 60:.3g} min reached"
        if trouble == Trouble.NODE:
            self._avoid(ended)
        if not self.retried(instance, key, reason, self.sources.site.retries, 0.0, HOW.get(trouble, "")):
            self.fail(instance, key, reason)
            return
        lacked = {Trouble.TIME: "time", Trouble.MEMORY: "memory"}.get(trouble)
        if lacked is not None:
            more = self.ledger.job(instance).more.get(key, {})
            self.ledger.set_task(instance, key, TaskState.WAITING, more={**more, lacked: more.get(lacked, 1) * 2})

    def _avoid(self, ended: Ended) -> None:
        """The next attempt should run elsewhere."""
        if ended.node and ended.live.in_slurm:
            address = (ended.live.instance, ended.live.key)
            self.submitting.avoid[address] = self.submitting.avoid.get(address, frozenset()) | {ended.node}

    def _try_again(self, ended: Ended, reason: str, most: int, pause_seconds: float, how: str = "") -> None:
        """A passing trouble of the host or the file system: another attempt, a few times."""
        instance, key = ended.live.instance, ended.live.key
        if not self.retried(instance, key, reason, most, pause_seconds, how):
            self.fail(instance, key, reason)

    def retried(self, instance: str, key: str, reason: str, most: int, pause_seconds: float, how: str = "") -> bool:
        retries = self.ledger.job(instance).retries.get(key, 0)
        if retries >= most:
            return False
        self.ledger.notice(f"{instance} {key}: {reason}; it is tried again{' ' + how if how else ''}")
        self.ledger.set_task(instance, key, TaskState.WAITING, fingerprint="", retries=retries + 1)
        self.submitting.put_off((instance, key), pause_seconds * (retries + 1))
        self.touch(instance, key)
        return True

    def fail(
        self, instance: str, key: str, cause: str, times: Mapping[str, float] | None = None, *, pause: bool = True
    ) -> None:
        self.ledger.set_task(instance, key, TaskState.FAILED, cause=cause, fingerprint="", **(times or {}))
        self.jobs.ended(instance, key, self.ledger.attempt(instance, key), TaskState.FAILED, cause)
        often = self.streaks.failed(instance, cause, key) >= causes.PAUSE_AFTER
        if often and pause and not self.ledger.job(instance).paused:
            sentence = (
                f"paused after {causes.PAUSE_AFTER} failures of one cause: {cause.rstrip('.')}. Mend it, then retry."
            )
            self.ledger.set_job(instance, paused=sentence)
            self.notify(f"{instance} is {sentence}")
            self._dirty.update((instance, other) for other in self.plan.jobs[instance].tasks)
        self.touch(instance, key)

    def _mark_running(self) -> None:
        for (instance, key), live in self.attempts.live.items():
            if (
                live.running
                and not (self.queue_news.silent and live.in_slurm)
                and self.ledger.knows(instance, key)
                and self.ledger.state(instance, key) == TaskState.QUEUED
            ):
                self.stall.moved()
                self.ledger.set_task(instance, key, TaskState.RUNNING, started=round(time.time(), 1))

    def _enforce_wishes(self) -> None:
        """Cancel what is live and no longer wanted: stopped, excluded, or no longer in the pipeline."""
        for (instance, key), live in list(self.attempts.live.items()):
            if not self.ledger.knows(instance, key) or key in self.sources.excluded_series:
                self.attempts.cancel(instance, key, "excluded")
            elif self.wishes.of(instance, key) == Wish.STOP:
                self.attempts.cancel(instance, key, "stop")
            elif live.in_slurm and not live.running and self._is_held(instance, key):
                self.attempts.cancel(instance, key, "on hold")  # it only waits in the queue
        self.attempts.cancel_in_queue()

    def _is_held(self, instance: str, key: str) -> bool:
        """Whether nothing new should begin of it."""
        return bool(self.ledger.job(instance).paused) or self.wishes.of(instance, key) in (Wish.HOLD, Wish.DRAIN)

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
                    self.submitting.add((instance, key))
                else:
                    self.submitting.drop((instance, key))
                choices = dict(verdict.choices or {})
                chosen = self.ledger.job(instance).choices.get(key, {})
                unchanged = verdict.state == before and (not choices or choices == chosen)
                if unchanged and before == TaskState.WAITING:
                    if verdict.why != self.ledger.job(instance).causes.get(key, ""):
                        self.ledger.set_task(instance, key, before, cause=verdict.why)
                elif not unchanged:
                    fields: dict[str, Any] = {"cause": verdict.why} if verdict.why else {}
                    if choices:
                        fields["choices"] = choices
                    self.ledger.set_task(instance, key, verdict.state, **fields)
                    self.touch(instance, key)
                    self._dirty.discard((instance, key))

    def expected(self, instance: str, key: str, cohort: tuple[str, ...] = ()) -> str:
        return self.plan.expected(instance, key, self.readiness.choices(instance, key), cohort)

    def descendant_live(self, instance: str, key: str) -> bool:
        """Whether a later attempt still reads what this task would write again."""
        if not self.attempts.live or not self.ledger.attempt(instance, key):
            return False
        return any((name, key) in self.attempts.live for name in self.plan.descendants(instance))

    def _use_worker(self) -> None:
        """Give the worker its next piece of work: internal tasks first, then gathering."""
        if self.worker.busy:
            return
        folders = {job.id: job.folder for job in self.ledger.status.jobs if job.folder}
        common: Mapping[str, object] = {
            "version": self.sources.version, "folders": folders, "epoch": self.lease.lease.epoch
        }  # fmt: skip
        if internal := self.submitting.internal:
            worker = self.worker.start()
            instance = internal[0][0]
            batch = [address for address in internal if address[0] == instance][:INTERNAL_BATCH]
            taken = set(batch)
            self.submitting.internal = [address for address in internal if address not in taken]
            tasks = self._begin_internal(batch, worker)
            try:
                self.ledger.save()  # nothing else tells an engine that takes over which attempts the worker has
            except (CrboostError, OSError):
                self.attempts.worker_answered(batch)
                raise
            self.worker.ask({"op": "internal", "instance": instance, "tasks": tasks, **common}, again=False)
            return
        before = set(self.gathering.dirty)
        request = self.gathering.next_request()
        self.jobs.changed |= before - self.gathering.dirty
        if request is not None:
            self.worker.ask({**request, **common}, again=True)

    def _begin_internal(self, batch: list[Address], worker: int) -> list[dict[str, object]]:
        tasks: list[dict[str, object]] = []
        for instance, key in batch:
            if self.readiness.judge(instance, key).state != TaskState.READY:
                continue
            if self.jobs.is_gone(instance):
                self.jobs.gone(instance)
                self.submitting.add((instance, key))
                continue
            folder = self.root / self.ledger.job(instance).folder
            try:
                number = self.attempts.next_number(folder, key, self.ledger.attempt(instance, key))
            except OSError as error:
                if not self.retried(instance, key, str(error), FILE_RETRIES, FILE_PAUSE_SECONDS):
                    self.fail(instance, key, str(error))
                continue
            live = self.attempts.hand_to_worker(instance, AttemptPaths(folder, key, number), worker)
            fingerprint = self.expected(instance, key)
            self.ledger.set_task(instance, key, TaskState.QUEUED, attempt=number, fingerprint=fingerprint)
            choices = self.readiness.choices(instance, key)
            tasks.append({"key": key, "attempt": number, "job": live.token, "choices": choices})
        return tasks

    def _read_progress(self) -> None:
        now = time.monotonic()
        if now < self._progress_due:
            return
        self._progress_due = now + PROGRESS_SECONDS
        for (instance, key), live in self.attempts.live.items():
            if live.running and not live.worker and self.ledger.knows(instance, key):
                progress = self.type_of(instance).progress(causes.tail(live.paths.out))
                known = self.ledger.job(instance).progress.get(key, 0.0)
                if progress is not None and abs(progress - known) >= 0.01:
                    self.ledger.set_task(instance, key, TaskState.RUNNING, progress=round(progress, 3))

    def _look_whether_it_stalls(self) -> None:
        live = self.attempts.live.values()
        running = [one for one in live if one.running and one.instance in self.plan.jobs]
        longest = max((self.submitting.limit_seconds(one.instance, one.key) for one in running), default=0.0)
        if self.stall.look(len(running), len(live) - len(running), longest):
            self.ledger.notice(self.stall.sentence)
            self.notify(self.stall.sentence)

    def _needs(self) -> list[Need]:
        needs = [*self._problems, *self.jobs.needs(), *self.submitting.needs()]
        if self._wanted_trouble:
            needs.append(Need("problem", "wanted", f"New requests cannot be followed: {self._wanted_trouble}"))
        if self.stall.sentence:
            needs.append(Need("stalled", "", self.stall.sentence))
        if self.submitting.space.sentence:
            needs.append(Need("space", "", self.submitting.space.sentence))
        elif trouble := self._trouble or self.attempts.trouble:
            needs.append(Need("problem", "engine", trouble))
        needs += [
            Need("decision", decision.key, decision.evidence)
            for decision in self.plan.binding.decisions.values()
            if decision.state == "ask"
        ]
        needs += self.queue_news.needs()
        if held := self.readiness.held():
            needs.append(Need("held", "", f"On hold: {held}. crboost release lets them go on."))
        needs += [Need("paused", job.id, f"{job.id} is {job.paused}") for job in self.ledger.status.jobs if job.paused]
        return needs

    def notify(self, sentence: str) -> None:
        notify(self.sources.site.notify, self.root, self.ledger.status.name, sentence)

    def is_blocked(self, instance: str) -> bool:
        """Whether only a person can make it possible to start something in this job."""
        return instance in self._blocked or self.jobs.blocks(instance)

    def type_of(self, instance: str) -> JobType[Any]:
        return self.plan.jobs[instance].bound.job_type

    def due(self) -> float:
        """Seconds until the next step is needed although nothing wakes the engine."""
        now = time.monotonic()
        times = [self._beat_due, now + HEARTBEAT_SECONDS]
        if self._trouble:
            return TROUBLE_SECONDS
        if self.ledger.unsaved:
            times.append(now + 0.5)
        if self.attempts.uncertain:
            times.append(now + 0.2)
        if any(live.running and not live.worker for live in self.attempts.live.values()):
            times.append(self._progress_due)
        if not self.worker.busy and (waits := self.gathering.waits_until()) is not None:
            times.append(waits)
        if (again := self.jobs.again_at()) is not None:
            times.append(again)
        if self._wanted_trouble:
            times.append(self._wanted_due)
        times.extend(due for due in (self.submitting.due(), self.attempts.due()) if due is not None)
        return max(0.0, min(times) - now)

    @property
    def passing(self) -> bool:
        """Whether there is work under way beside the tasks: one pass (``--once``) waits for it."""
        return bool(
            self.submitting.internal
            or self.worker.busy
            or self.relion.busy
            or self.gathering.dirty
            or self.attempts.busy
            or (self.attempts.uncertain and not self.queue_news.silent)
            or self.submitting.passing()
            or (self.slurm is not None and self.slurm.settle_accounts())
        )

    def idle(self) -> bool:
        """Whether actual equals wanted, as far as the engine can bring it about."""
        return not (
            self._dirty
            or self.submitting.waiting()
            or self.attempts.live
            or self.submitting.internal
            or self.worker.busy
            or self.relion.busy
            or self.jobs.again_at() is not None
            or self.gathering.dirty
            or self._trouble
            or (self.slurm is not None and self.slurm.settle_accounts())
        )

    def finish(self, *, anyway: bool = False) -> bool:
        """End in order, unless a request came in this moment. Running local tasks are left to themselves."""
        with project_lock(self.root):
            if not anyway and not self._wanted_trouble and self._requests_waiting():
                return False
            self.lease.check()
            self.ledger.set_engine(state="ended")
            try:
                self.ledger.save(force=True)
                self.attempts.settle()
                self.lease.release()
            except (CrboostError, OSError):
                self.ledger.set_engine(state="running")
                raise
        sentence = end_sentence(self.ledger.status)
        if sentence and (self.worked or self.ledger.status.outcome() != self._outcome):
            self.notify(sentence)
        self.close()
        return True

    def _requests_waiting(self) -> bool:
        requests = read_wanted(self.root).requests
        return bool(requests) and requests[-1].number > self.ledger.status.engine.request

    def close(self) -> None:
        self.worker.close()
        self.relion.close()
        self.attempts.close()


def _stamp(path: Path) -> tuple[int, int] | None:
    """What tells that a file was replaced. Opened, because what ``stat`` says on a network file system may be old."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        return status.st_mtime_ns, status.st_ino
    finally:
        os.close(descriptor)
