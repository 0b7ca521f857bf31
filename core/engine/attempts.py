"""Attempts that are with a submitter or the worker: submitting, following, cancelling, recovering.

Every attempt is journaled before it is submitted and claims itself before it does anything, so a kill of the engine
at any moment neither loses one nor runs one twice (design 2 and 5).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.cluster.journal import AttemptId, Journal, Submission
from core.cluster.local import LocalJob, LocalSubmitter
from core.cluster.protocol import (
    AttemptPaths,
    AttemptState,
    newest_attempt,
    parse_inbox_name,
    process_start,
    read_start,
    read_state,
    withdraw,
)
from core.cluster.slots import Held
from core.cluster.slurm import NotKnown, Refused
from core.cluster.slurm_words import STATES, Phase, ReasonMeaning, StateMeaning, Trouble, state_meaning
from core.engine.causes import tail
from core.engine.slurm_queue import SlurmQueue, Submitted
from core.errors import ConflictError, CrboostError
from core.project.layout import ProjectPaths
from core.project.lock import user

VISIBLE_SECONDS = 3.0
QUEUE_VISIBLE_SECONDS = 15.0
"""How long the state of a task that Slurm says has ended may take to become visible here. Like the next two it is
counted from one look at the queue to another: while Slurm does not answer, nothing is concluded."""
ABSENT_SECONDS = 60.0
"""The same, where Slurm does not show the job at all, or says no more than that its node does not answer."""
VERDICT_SECONDS = 20.0
"""How long a failed task waits for Slurm's word on why."""
GRACE_SECONDS = 10.0
_ANSWERED = -1
INTERNAL = "internal-"
TIME_LIMIT = "time limit"
TIME_LIMIT_CODE = 140
_REQUEUED = StateMeaning(Phase.ENDED, Trouble.REQUEUED, "was put back into the queue")


@dataclass(slots=True)
class Live:
    """One attempt that has been submitted and has not ended. ``worker`` is a process id for internal work; ``index``
    is the one in its Slurm array, -1 for a local one."""

    instance: str
    key: str
    number: int
    paths: AttemptPaths
    token: str
    job: LocalJob | None = None
    index: int = -1
    worker: int = 0
    worker_start: int = 0
    submitted: float = field(default_factory=time.time)
    running: bool = False
    said: bool = False
    """Whether it dropped a file into the inbox: then its state is looked for."""
    said_bytes: int = -1
    """How much its commands had said at the last look."""
    gone: float | None = None
    """Since when it is seen no more."""
    waited: float = 0.0
    """When it was last known to wait in the queue, 0 where it has begun since."""
    cancelled: str = ""
    fenced: bool = False
    """Whether it was withdrawn before it began, while the others of its pack go on."""
    limit_seconds: float = 0.0
    asked: str = ""
    """A digest of the resources that it was submitted with."""

    @property
    def in_slurm(self) -> bool:
        return self.index >= 0


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended. ``outcome``: a state of the protocol, ``lost``, or ``withdrawn`` (it never started).
    ``trouble``: what kept it from its own end, ``node`` where that was."""

    live: Live
    outcome: str
    state: AttemptState | None
    reason: str = ""
    trouble: Trouble = Trouble.NONE
    node: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An attempt whose script is written. ``facts``: what an engine that takes over must know of it."""

    instance: str
    paths: AttemptPaths
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Placed:
    """A submission that Slurm has answered. ``array`` None: it took none of ``members``; ``refused`` says why, None
    where it never arrived: then ``said`` is what ``sbatch`` did instead."""

    instance: str
    members: tuple[Live, ...]
    array: int | None
    refused: Refused | None
    said: str = ""


class Attempts:
    """All live attempts of this engine. ``slurm`` is None where the site has none."""

    def __init__(
        self, paths: ProjectPaths, submitter: LocalSubmitter, slurm: SlurmQueue | None, wake: Callable[[], None]
    ) -> None:
        self.paths = paths
        self.submitter = submitter
        self.slurm = slurm
        self.journal = Journal(paths.submissions)
        self.live: dict[tuple[str, str], Live] = {}
        self._pool = ThreadPoolExecutor(4, "cancel")
        self._cancelling: dict[tuple[str, str], Future[bool]] = {}
        self._wake = wake
        self._seen: set[tuple[str, str]] = set()
        self.trouble = ""
        """Why some attempt could not be looked at; it is tried again."""
        self._left: dict[str, int] = {}
        """Of each submission: how many attempts have not ended."""
        self._over: list[str] = []
        """Submissions that the journal is to forget, with the next :meth:`settle`."""

    def next_number(self, folder: Path, key: str, known: int) -> int:
        """The number of a new attempt: above every one that the ledger or the disk knows."""
        return max(known, newest_attempt(folder / "tasks" / key)) + 1

    def submit(self, prepared: Prepared, held: Held, limit_seconds: float) -> Live:
        """Start the script of an attempt as a detached process. Raises :class:`CrboostError` where it was not
        started."""
        paths = prepared.paths
        token = f"{paths.key.strip('@')}-{paths.number}-{secrets.token_hex(6)}"
        self._intent(token, [prepared], limit_seconds=limit_seconds)
        try:
            job = self.submitter.submit(paths.script, job_id=token, environment={}, held=held, cwd=self.paths.root)
        except CrboostError:
            self._over.append(token)
            raise
        live = Live(prepared.instance, paths.key, paths.number, paths, token, job=job, limit_seconds=limit_seconds)
        self._take(live)
        with contextlib.suppress(CrboostError):  # it runs: whoever takes over finds it by its token
            self.journal.submitted(token, pid=job.pid, pid_start=job.pid_start, boot=job.boot)
        return live

    def submit_array(
        self,
        token: str,
        members: Sequence[Sequence[Prepared]],
        options: Sequence[str],
        script: Path,
        *,
        at_once: int,
        limit: int,
        asked: str,
    ) -> list[Live]:
        """Hand a script to Slurm whose index ``i`` runs ``members[i]``. What became of it comes with :meth:`placed`.

        ``at_once``: the throttle that it has (0: none), ``limit`` the one of its whole job. ``asked``: a digest of the
        resources that it asks for."""
        assert self.slurm is not None
        cluster = "" if self.slurm.facts is None else self.slurm.facts.cluster
        flat = [(index, prepared) for index, pack in enumerate(members) for prepared in pack]
        where = {"slurm": True, "cluster": cluster, "indices": [index for index, _ in flat], "asked": asked}
        self._intent(token, [prepared for _, prepared in flat], **where)
        found = []
        for index, prepared in flat:
            paths = prepared.paths
            live = Live(prepared.instance, paths.key, paths.number, paths, token, index=index, asked=asked)
            self._take(live)
            found.append(live)
        made = Submitted(token, flat[0][1].instance, at_once=at_once, limit=limit, cluster=cluster)
        self.slurm.submit(made, options, script, self.paths.root, range(len(members)))
        return found

    def placed(self) -> list[Placed]:
        """Slurm's answers to submissions since the last call. What it did not take is no longer live."""
        if self.slurm is None:
            return []
        found = []
        answers = self.slurm.step()
        for made in self.slurm.renamed:
            with contextlib.suppress(CrboostError):
                self.journal.submitted(made.token, array=made.array, name=made.shown_as)
        self.slurm.renamed.clear()
        for answer in answers:
            members = tuple(live for live in self.live.values() if live.token == answer.token)
            if not members:
                continue
            if answer.array is not None:
                for live in members:
                    live.waited = time.time()
                with contextlib.suppress(CrboostError):  # whoever takes over finds it by its name
                    self.journal.submitted(answer.token, array=answer.array)
            elif answer.refused is not None:
                for live in members:
                    del self.live[(live.instance, live.key)]
                    with contextlib.suppress(OSError):  # never submitted: its number is free again
                        live.paths.script.unlink()
                    self._one_less(answer.token)
            # What never arrived is fenced one by one in follow(): a copy that comes all the same ends as duplicate.
            found.append(Placed(members[0].instance, members, answer.array, answer.refused, answer.said))
        return found

    def hand_to_worker(self, instance: str, paths: AttemptPaths, worker: int) -> Live:
        """Note an internal attempt that the worker process will carry out."""
        start = process_start(worker) or 0
        token = internal_token(worker, start)
        live = Live(instance, paths.key, paths.number, paths, token, worker=worker, worker_start=start)
        self.live[(instance, paths.key)] = live
        return live

    def recover(self, instance: str, key: str, paths: AttemptPaths, submission: Submission | None) -> None:
        """Take up an attempt that an earlier engine submitted; :meth:`follow` then finds out how it stands."""
        live = Live(instance, key, paths.number, paths, "", submitted=time.time() - VISIBLE_SECONDS)
        start = read_start(paths.start)
        if start is not None:
            live.submitted = min(live.submitted, float(start.time))
        if submission is not None:
            live.token = submission.token
            live.limit_seconds = float(submission.intent.get("limit_seconds", 0.0))
            if submission.intent.get("slurm"):
                self._recover_array(live, submission)
                return
            if submission.fields is not None:
                live.job = LocalJob(**submission.fields, token=submission.token)
            else:
                live.job = self.submitter.find_by_token(submission.token)
        if live.job is None and start is not None:
            if start.job.startswith(INTERNAL):
                live.worker, live.worker_start = start.pid, start.pid_start
            else:
                live.job = LocalJob(start.pid, start.pid_start, start.boot, start.job)
        self._take(live)

    def _recover_array(self, live: Live, submission: Submission) -> None:
        if self.slurm is None:
            raise ConflictError(
                "Tasks of this project are in Slurm's queue, but this host has no Slurm, or conf.yaml says submitter: "
                "local. Run it where they were submitted.",
                self.paths.root,
            )
        position = submission.attempts.index((live.instance, live.key, live.number))
        live.index = int(submission.intent["indices"][position])
        noted = submission.fields or {}
        array = int(noted["array"]) if "array" in noted else None
        live.asked = str(submission.intent.get("asked", ""))
        self.slurm.adopt(
            live.token,
            live.instance,
            live.index,
            array,
            shown_as=str(noted.get("name", "")),
            cluster=str(submission.intent.get("cluster", "")),
        )
        self._take(live)

    def unsettled(self) -> dict[AttemptId, Submission]:
        """Attempts of the journal whose end nobody has noted yet."""
        return {attempt: submission for submission in self.journal.read().values() for attempt in submission.attempts}

    def refuse_foreign(self, folders: Mapping[str, str]) -> None:
        """Raise :class:`ConflictError` where tasks are alive that only another host or user can look after: taking
        over would run them twice. ``folders``: the job folder of each instance, below the project."""
        here, me = os.uname().nodename, user()
        found: dict[tuple[str, str], list[str]] = {}
        queued: dict[int, bool] = {}
        for (instance, key, number), submission in self.unsettled().items():
            host, owner = str(submission.intent.get("host", here)), str(submission.intent.get("user", me))
            mine = owner == me and (host == here or bool(submission.intent.get("slurm")))
            if mine or instance not in folders:
                continue
            paths = AttemptPaths(self.paths.root / folders[instance], key, number)
            if read_state(paths.state) is not None:
                continue
            if submission.intent.get("slurm"):
                if self._in_queue(submission, owner, queued):
                    found.setdefault((owner, "the cluster"), []).append(f"{instance} {key}")
                continue
            if not paths.claim.exists():
                continue
            start = read_start(paths.start)
            if host == here and start is not None and process_start(start.pid) != start.pid_start:
                continue
            found.setdefault((owner, host), []).append(f"{instance} {key}")
        for (owner, host), tasks in found.items():
            more = f" and {len(tasks) - 3} more" if len(tasks) > 3 else ""
            raise ConflictError(
                f"Tasks of {owner} still run on {host} ({', '.join(tasks[:3])}{more}): only {owner} can take over, on "
                f"{host}, until they have ended. If they are gone for good, move .crboost/submissions.jsonl away.",
                self.paths.root,
            )

    def _in_queue(self, submission: Submission, owner: str, known: dict[int, bool]) -> bool:
        """Whether Slurm still has jobs of somebody else's submission; yes where that cannot be known."""
        if self.slurm is None or submission.fields is None:
            return True
        array = int(submission.fields["array"])
        if array not in known:
            try:
                states = self.slurm.slurm.others(array)
            except NotKnown as error:
                raise ConflictError(
                    f"Tasks of {owner} may still run, and Slurm does not answer ({error}): try again later.",
                    self.paths.root,
                ) from error
            known[array] = any(state_meaning(state).phase != Phase.ENDED for state in states)
        return known[array]

    def follow(self) -> list[Ended]:
        """Every attempt that has ended since the last call. Marks those that began to run."""
        self._read_inbox()
        ended: list[Ended] = []
        now = time.time()
        self.trouble = ""
        for address, live in list(self.live.items()):
            told = address in self._seen
            try:
                found = self._look_in_queue(live, now, told) if live.in_slurm else self._look(live, now, told)
            except (CrboostError, OSError) as error:  # it is looked at again; the others do not wait for it
                self.trouble = str(error)
                continue
            if found is None:
                continue
            cancelling = self._cancelling.get(address)
            if cancelling is not None and not cancelling.done():
                continue
            self._cancelling.pop(address, None)
            del self.live[address]
            if live.in_slurm and self.slurm is not None:
                pack = any(one.token == live.token and one.index == live.index for one in self.live.values())
                if not pack:
                    self.slurm.ended(live.token, live.index)
            if live.token and not live.worker:
                self._one_less(live.token)
            ended.append(found)
        self._seen.clear()
        return ended

    def _look(self, live: Live, now: float, told: bool) -> Ended | None:
        # An attempt that has just said its end is not looked for: that takes a walk through all processes.
        if told and (ended := _end_of(live)) is not None:
            return ended
        alive = self._alive(live)
        if not alive and (ended := _end_of(live)) is not None:
            return ended
        if not live.running and (told or not alive or now - live.submitted > 1.0):
            live.running = live.paths.start.exists()
        if alive:
            live.gone = None
            if live.limit_seconds and live.running and now - live.submitted > live.limit_seconds:
                self.cancel(live.instance, live.key, TIME_LIMIT)
            return None
        if live.gone is None:
            live.gone = now
        if now - live.gone < (0.2 if live.cancelled else VISIBLE_SECONDS):
            return None
        if withdraw(live.paths):
            return Ended(live, "withdrawn", None)
        reason = "its process is gone and left no state: killed from outside, or the host restarted"
        return Ended(live, "lost", None, reason, Trouble.LOST)

    def _look_in_queue(self, live: Live, now: float, told: bool) -> Ended | None:
        """As :meth:`_look`, for a task in Slurm: its own state file decides, Slurm only says why there is none."""
        queue = self.slurm
        assert queue is not None
        if live.token not in queue.submissions:
            return self._never_arrived(live, queue)
        if live.fenced:
            return Ended(live, "withdrawn", None)
        phase = queue.phase(live.token, live.index)
        live.said = live.said or told
        gone = phase is None or phase == Phase.ENDED
        if (live.said or gone) and (ended := _end_of(live)) is not None:
            return self._with_verdict(live, ended, now)
        if not live.running and (live.said or gone or phase == Phase.RUNNING):
            live.running = live.paths.start.exists()
        if not gone:
            live.gone = None
            if phase != Phase.UNKNOWN:
                live.waited = queue.asked_clock if phase == Phase.PENDING else 0.0
            return None
        newest_attempt(live.paths.folder)  # lists it, which makes a slow file system look again
        said = _size(live.paths.out)
        if live.gone is None or said != live.said_bytes:  # while it still says something, only its node is cut off
            live.gone, live.said_bytes = queue.asked_clock, said
        meaning, node = self._meaning(live, queue)
        # An index that is cancelled while it waits leaves its array without a trace.
        waited = live.gone - live.waited < queue.remembers_seconds
        taken_out = meaning is None and waited and queue.shows(live.token)
        certain = taken_out or (meaning is not None and meaning.trouble != Trouble.NODE)
        patience = QUEUE_VISIBLE_SECONDS if certain else ABSENT_SECONDS
        if queue.asked_clock - live.gone < (VISIBLE_SECONDS if live.cancelled else patience):
            queue.hurry()
            return None
        return self._without_state(live, meaning, node, taken_out)

    def _without_state(self, live: Live, meaning: StateMeaning | None, node: str, taken_out: bool) -> Ended:
        """What became of a task that will not say so itself."""
        job = self.job_name(live)
        trouble = Trouble.NONE if meaning is None else meaning.trouble
        where = f" on {node}" if node else ""
        reason = f"Slurm no longer knows its job {job}, and it left no state"
        if meaning is not None:
            reason = f"Slurm's job {job}{where} {meaning.words}"
        if trouble == Trouble.NONE:
            reason += self._last_words(live)
        if not withdraw(live.paths):
            return Ended(live, "lost", None, reason, Trouble.LOST if trouble == Trouble.NONE else trouble, node)
        if taken_out:
            return Ended(live, "withdrawn", None, f"Slurm's job {job} was taken out of the queue", Trouble.CANCELLED)
        # Slurm also says "cancelled" where a node could not start it.
        if trouble == Trouble.NONE or (trouble == Trouble.CANCELLED and node):
            trouble = Trouble.UNSEEN
        return Ended(live, "withdrawn", None, reason, trouble, node)

    def _last_words(self, live: Live) -> str:
        """The end of Slurm's own log of a task."""
        log = live.paths.job_folder / "submit" / f"{live.token}_{live.index}.log"
        lines = tail(log).strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def _meaning(self, live: Live, queue: SlurmQueue) -> tuple[StateMeaning | None, str]:
        """What Slurm or its accounting say of a job that has ended, and the node; None where they know nothing."""
        row = queue.row(live.token, live.index)
        if row is not None:
            return row.meaning, row.node
        account = queue.account(live.token, live.index)
        return (state_meaning(account.state) if account is not None and account.state else None), ""

    def _never_arrived(self, live: Live, queue: SlurmQueue) -> Ended | None:
        """Two looks at the queue did not find its submission. A copy that comes all the same ends as duplicate, unless
        it has come in this moment."""
        if withdraw(live.paths):
            return Ended(live, "withdrawn", None)
        claim = live.paths.claim.read_text(encoding="utf-8", errors="replace")
        number = re.match(r"[0-9]+", claim)
        queue.adopt(live.token, live.instance, live.index, None if number is None else int(number[0]))
        return None

    def _with_verdict(self, live: Live, ended: Ended, now: float) -> Ended | None:
        """A task that did not succeed by itself waits a moment for Slurm's word on why."""
        state = ended.state
        queue = self.slurm
        assert queue is not None and state is not None
        if state.state in ("done", "blocked") or live.cancelled:
            return ended
        if state.code == TIME_LIMIT_CODE:
            return Ended(live, state.state, state, "reached its time limit", Trouble.TIME, state.host)
        live.gone = live.gone or now
        row = queue.row(live.token, live.index)
        meaning, node = None, ""
        if row is None or row.phase == Phase.ENDED:
            meaning, node = self._meaning(live, queue)
        elif row.phase == Phase.PENDING and queue.asked_clock > live.gone:
            meaning, node = _REQUEUED, row.node
            queue.cancel({live.token: [live.index]})  # it would end at once, but stands in the queue
        if meaning is None:
            killed = state.state == "stopped" and row is not None  # by Slurm, which has not ended it yet
            if killed or queue.asked_clock - live.gone < VERDICT_SECONDS:
                queue.hurry()
                return None
            return ended
        if state.state == "stopped" and meaning == STATES["COMPLETED"]:
            meaning = _REQUEUED  # it has begun again since, and ended at once, as what has a state does
        if state.state == "failed" and meaning.trouble not in (Trouble.MEMORY, Trouble.TIME, Trouble.NODE):
            return Ended(live, state.state, state, ended.reason, node=node)
        return Ended(live, state.state, state, _because(meaning.words, ended), meaning.trouble, node or state.host)

    def job_name(self, live: Live) -> str:
        """How Slurm calls it (``123_4``), "" where that is not known."""
        made = self.slurm.submissions.get(live.token) if self.slurm is not None else None
        return "" if made is None or made.array is None else f"{made.array}_{live.index}"

    def _alive(self, live: Live) -> bool:
        if live.worker:
            return process_start(live.worker) == live.worker_start
        return live.job is not None and self.submitter.alive(live.job)

    def _intent(self, token: str, prepared: Sequence[Prepared], **fields: Any) -> None:
        who = {"host": os.uname().nodename, "user": user()}
        attempts = [(one.instance, one.paths.key, one.paths.number) for one in prepared]
        facts = {one.paths.key: dict(one.facts) for one in prepared}
        self.journal.intent(token, attempts, **who, **fields, facts=facts)

    def _take(self, live: Live) -> None:
        self.live[(live.instance, live.key)] = live
        if live.token:
            self._left[live.token] = self._left.get(live.token, 0) + 1

    def _one_less(self, token: str) -> None:
        self._left[token] -= 1
        if not self._left[token]:
            del self._left[token]
            self._over.append(token)

    def recovered(self) -> None:
        """After :meth:`recover`: submissions of the journal of which nothing is live are over."""
        self._over += [token for token in self.journal.read() if token not in self._left]

    def settle(self) -> None:
        """Let the journal forget submissions that are over. To be called when the ends of their attempts are on the
        disk: until then only the journal knows of them, and an engine that takes over would run them again."""
        over, self._over = self._over, []
        for token in over:
            with contextlib.suppress(CrboostError):  # one that is not noted is settled again by the next engine
                self.journal.settled(token)

    def _read_inbox(self) -> None:
        self.paths.inbox.mkdir(exist_ok=True)
        for path in sorted(self.paths.inbox.iterdir()):
            parsed = parse_inbox_name(path.name)
            if parsed is not None:
                self._seen.add((parsed[0], parsed[1]))
            with contextlib.suppress(OSError):
                path.unlink()

    @property
    def uncertain(self) -> bool:
        """Whether some attempt is gone and its state may only not be visible yet."""
        return any(live.gone is not None for live in self.live.values())

    def cancel(self, instance: str, key: str, why: str) -> None:
        """End a live attempt: asked kindly, then killed; it counts as ended when it is seen gone."""
        live = self.live.get((instance, key))
        if live is None or live.cancelled:
            return
        live.cancelled = why
        if live.job is not None:
            future = self._pool.submit(self.submitter.cancel, live.job, GRACE_SECONDS)
            self._cancelling[(instance, key)] = future
            future.add_done_callback(lambda _: self._wake())

    def in_vain(self) -> dict[tuple[str, ReasonMeaning], list[Live]]:
        """Tasks in Slurm's queue that only a person can bring forward, by job and reason."""
        found: dict[tuple[str, ReasonMeaning], list[Live]] = {}
        for live in self.live.values():
            why = self.slurm.in_vain(live.token, live.index) if self.slurm is not None and live.in_slurm else None
            if why is not None:
                found.setdefault((live.instance, why), []).append(live)
        return found

    def cancel_in_queue(self) -> None:
        """Tell Slurm to end what is to be cancelled, all of it in one call; again after a while, until it is gone."""
        if self.slurm is None:
            return
        wanted: dict[str, set[int]] = {}
        for live in self.live.values():
            if live.in_slurm and live.cancelled:
                wanted.setdefault(live.token, set()).add(live.index)
        if not wanted:
            return
        packs: dict[tuple[str, int], list[Live]] = {}
        for live in self.live.values():
            if live.index in wanted.get(live.token, ()):
                packs.setdefault((live.token, live.index), []).append(live)
        for (token, index), pack in packs.items():
            if _goes_on(pack):
                wanted[token].discard(index)
            for live in pack:  # they end together; whoever is wanted is submitted again
                if index in wanted[token] and not live.cancelled:
                    live.cancelled = "its pack was cancelled"
        self.slurm.cancel(wanted)

    def worker_answered(self, addresses: Iterable[tuple[str, str]]) -> None:
        """The worker is through with these internal attempts, whatever became of them: what left no state is lost,
        or has never begun."""
        for address in addresses:
            live = self.live.get(address)
            if live is not None and live.worker:
                live.worker_start = _ANSWERED

    @property
    def busy(self) -> bool:
        """Whether something is under way that one pass (``--once``) waits for."""
        if any(not future.done() for future in self._cancelling.values()):
            return True
        if any(live.worker or live.cancelled for live in self.live.values()):
            return True
        return self.slurm is not None and self.slurm.busy

    def due(self) -> float | None:
        """When Slurm is to be asked next (monotonic)."""
        return None if self.slurm is None else self.slurm.due()

    def close(self) -> None:
        self._pool.shutdown(wait=False)
        if self.slurm is not None:
            self.slurm.close()


def _goes_on(pack: Sequence[Live]) -> bool:
    """Whether a pack can go on without those of its series that are to be cancelled: as long as none of them has begun,
    which is made sure of here."""
    cancelled = [live for live in pack if live.cancelled]
    if len(cancelled) == len(pack):
        return False
    for live in cancelled:
        live.fenced = live.fenced or (not live.running and withdraw(live.paths))
    return all(live.fenced for live in cancelled)


def _end_of(live: Live) -> Ended | None:
    state = read_state(live.paths.state)
    if state is None or state.state == "duplicate":
        return None
    return Ended(live, state.state, state, state.reason, node=state.host)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _because(words: str, ended: Ended) -> str:
    return f"{words} ({ended.reason.rstrip('.')})" if ended.reason else words


def internal_token(worker: int, start: int) -> str:
    """The job id of work in the worker process."""
    return f"{INTERNAL}{worker}-{start}"


def array_token(project: str, folder: str) -> str:
    """A name for a submission that no other one has, as Slurm takes it: at most 64 of ``[A-Za-z0-9_.-]``."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", project).strip("_") or "crboost"
    return f"{plain[:32]}-{Path(folder).name}-{secrets.token_hex(4)}"
