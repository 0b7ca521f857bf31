"""Talking to Slurm beside the engine's loop: every call runs in a thread, its answer is taken in a later step.

One ``sbatch`` at a time, one ``squeue`` an interval that grows while nothing changes, never one per job. What Slurm
does not answer is not known, and changes nothing.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from core.cluster.slurm import Account, Facts, JobId, NotKnown, Queue, Refused, Row, Slurm
from core.cluster.slurm_words import Phase, state_meaning, waiting_words
from core.cluster.submit_limits import throttles

HURRY_SECONDS = 1.0
SOON_SECONDS = 5.0
QUIET_SECONDS = 60.0
AHEAD_SECONDS = 120.0
SEARCH_SECONDS = 10.0
"""Two looks at the queue that are to prove that something is not there lie this far apart."""
FACTS_SECONDS = 300.0
ACCOUNTS_SECONDS = 30.0
ACCOUNTS_TRIES = 4
UNANSWERED_SECONDS = 30.0
CANCEL_AGAIN_SECONDS = 15.0


@dataclass(slots=True)
class Submitted:
    """One ``sbatch``. ``array`` is its number, None while that is not known. ``script`` was handed over; ``at_once``
    is the throttle it has (0: none). ``missing``: when a look at the queue did not find it (monotonic)."""

    token: str
    instance: str
    size: int
    array: int | None = None
    at_once: int = 0
    limit: int = 0
    missing: list[float] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)
    live: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a submission: its number, or why not. ``refused`` None and ``array`` None: it never arrived."""

    token: str
    array: int | None
    refused: Refused | None = None


Then = Callable[[], None] | None
"""What is to be done in the engine's own thread with the answer of a chore."""


class SlurmQueue:
    """``wake`` asks for another step, from any thread."""

    def __init__(self, slurm: Slurm, wake: Callable[[], None]) -> None:
        self.slurm = slurm
        self.submissions: dict[str, Submitted] = {}
        self.facts: Facts | None = None
        self.snapshot: Queue | None = None
        self.asked = 0.0
        """When the snapshot was asked for (monotonic); what ended before that is in it."""
        self.asked_clock = 0.0
        self.trouble = ""
        self.changed = False
        """Whether the snapshot is new since :meth:`rows` was called."""
        self._wake = wake
        self._pool = ThreadPoolExecutor(4, "slurm")
        self._sbatch: tuple[str, Future[int]] | None = None
        self._poll: tuple[float, float, Future[Queue]] | None = None
        self._chore: Future[Then] | None = None
        self._chores: deque[Callable[[], Then]] = deque()
        self._answers: list[Answer] = []
        self._due = 0.0
        self._interval = SOON_SECONDS
        self._failing_since: float | None = None
        self._answered = time.monotonic()
        self._ahead: dict[int, int] = {}
        self._ahead_due = 0.0
        self._facts_due = 0.0
        self._ended: dict[str, int] = {}
        self._accounts: dict[str, Account] = {}
        self._accounts_due = 0.0
        self._cancelled: dict[str, float] = {}

    # submitting

    @property
    def submitting(self) -> bool:
        return self._sbatch is not None

    def submit(
        self, made: Submitted, options: Sequence[str], script: Path, folder: Path, indices: Iterable[int]
    ) -> None:
        """Hand a script to ``sbatch``. Its :class:`Answer` comes with a later :meth:`step`."""
        made.live = set(indices)
        self.submissions[made.token] = made
        future = self._start(lambda: self.slurm.submit(options, script, folder))
        self._sbatch = (made.token, future)

    def adopt(self, made: Submitted) -> None:
        """Take up a submission of an earlier engine; without a number it is searched for in the queue."""
        self.submissions[made.token] = made
        self.hurry()

    def forget(self, token: str) -> None:
        """Nothing of this submission is left."""
        self.submissions.pop(token, None)

    def room(self, instance: str, at_once: int) -> int:
        """How many tasks a new array of this job may run at once, 0 where it must wait for the older ones."""
        older = [len(one.live) for one in self.submissions.values() if one.instance == instance]
        return throttles([*older, at_once], at_once)[-1]

    @property
    def queued(self) -> int:
        """How many of our tasks are in the queue."""
        return sum(len(one.live) for one in self.submissions.values())

    def ended(self, token: str, index: int) -> None:
        """One task of a submission is over: whatever ran beside it may have its place now."""
        made = self.submissions.get(token)
        if made is None:
            return
        made.live.discard(index)
        if made.array is not None:
            self._ended.setdefault(f"{made.array}_{index}", 0)
        if made.limit:
            self._spread(made.instance, made.limit)
        if not made.live:
            self.forget(token)

    def _spread(self, instance: str, limit: int) -> None:
        mine = [one for one in self.submissions.values() if one.instance == instance and one.live]
        for one, share in zip(mine, throttles([len(one.live) for one in mine], limit), strict=True):
            if one.array is not None and one.at_once and share > one.at_once:
                one.at_once = share
                self._chores.append(partial(self.slurm.throttle, one.array, share))

    # what is known

    def row(self, token: str, index: int) -> Row | None:
        """The newest row of a task. None where the queue does not show it, or shows another job under that number."""
        made = self.submissions.get(token)
        if made is None or made.array is None or self.snapshot is None:
            return None
        found = self.snapshot.row((made.array, index))
        return found if found is not None and found.name == token else None

    def phase(self, token: str, index: int) -> Phase | None:
        """Where a task stands; None where the queue was asked after it was submitted and does not show it."""
        made = self.submissions.get(token)
        if made is None:
            return None
        if made.array is None or self.snapshot is None or self.asked < made.since:
            return Phase.UNKNOWN
        row = self.row(token, index)
        return None if row is None else row.phase

    def account(self, job: str) -> Account | None:
        return self._accounts.get(job)

    def ask_account(self, job: str) -> None:
        """Have accounting asked about a job that the queue no longer shows."""
        if self.facts is not None and self.facts.accounting and job not in self._accounts:
            self._ended.setdefault(job, 0)
            self._accounts_due = min(self._accounts_due, time.monotonic() + HURRY_SECONDS)

    @property
    def accounting(self) -> bool:
        return self.facts is not None and self.facts.accounting

    @property
    def silent(self) -> bool:
        """Whether Slurm has not answered for a while."""
        return self._failing_since is not None and time.monotonic() - self._failing_since > UNANSWERED_SECONDS

    def hurry(self) -> None:
        """Something is unclear: look at the queue soon."""
        self._due = min(self._due, max(time.monotonic(), self.asked + HURRY_SECONDS))

    # one round

    def step(self) -> list[Answer]:
        """Take what was answered and ask what is due; the submissions about which something is known now."""
        self._take_sbatch()
        self._take_poll()
        if self._chore is not None and self._chore.done():
            self._take_chore(self._chore)
        now = time.monotonic()
        if self.submissions and self._poll is None and now >= self._due:
            self._poll = (now, time.time(), self._start(self.slurm.queue))
        if self.submissions and now >= self._facts_due:
            self._facts_due = now + FACTS_SECONDS
            self._chores.append(self._ask_facts)
        if self.accounting and now >= self._accounts_due and any(job not in self._accounts for job in self._ended):
            self._accounts_due = now + ACCOUNTS_SECONDS
            wanted = [job for job in self._ended if job not in self._accounts][:500]
            self._chores.append(partial(self._ask_accounts, wanted))
        if self._chores and self._chore is None:
            self._chore = self._start(self._chores.popleft())
        answers, self._answers = self._answers, []
        return answers

    def _take_sbatch(self) -> None:
        if self._sbatch is None or not self._sbatch[1].done():
            return
        token, future = self._sbatch
        self._sbatch = None
        made = self.submissions.get(token)
        try:
            array = future.result()
        except Refused as refused:
            self.forget(token)
            self._answers.append(Answer(token, None, refused))
        except NotKnown as error:
            self._failed(str(error))
            self.hurry()
        else:
            if made is not None:
                made.array = array
                made.since = time.monotonic()
                self._answers.append(Answer(token, array))
            self._soon()

    def _take_poll(self) -> None:
        if self._poll is None or not self._poll[2].done():
            return
        asked, clock, future = self._poll
        self._poll = None
        now = time.monotonic()
        try:
            found = future.result()
        except NotKnown as error:
            self._failed(str(error))
            self._interval = min(max(self._interval, SOON_SECONDS) * 1.5, QUIET_SECONDS / 2)
            self._due = now + self._interval
            return
        self.trouble, self._failing_since, self._answered = "", None, now
        same = self.snapshot is not None and self._mine(found) == self._mine(self.snapshot)
        self.snapshot, self.asked, self.asked_clock, self.changed = found, asked, clock, True
        self._search(found, asked)
        self._interval = min(self._interval * 2, QUIET_SECONDS) if same else SOON_SECONDS
        if self.facts is not None and not self.facts.accounting:
            self._interval = min(self._interval, max(self.facts.min_job_age_seconds / 3.0, HURRY_SECONDS))
        self._due = now + self._interval
        self._ask_ahead(found, now)

    def _mine(self, queue: Queue) -> dict[JobId, str]:
        arrays = {one.array for one in self.submissions.values()}
        return {job: row.state for job, row in queue.rows.items() if job[0] in arrays}

    def _search(self, queue: Queue, asked: float) -> None:
        """Submissions whose fate is not known: found by their name, or missing twice, ten seconds apart."""
        for made in list(self.submissions.values()):
            if made.array is not None or (self._sbatch is not None and self._sbatch[0] == made.token):
                continue
            made.array = queue.named(made.token)
            if made.array is not None:
                made.since = asked
                self._answers.append(Answer(made.token, made.array))
                continue
            if asked < made.since:
                continue
            made.missing.append(asked)
            if made.missing[-1] - made.missing[0] >= SEARCH_SECONDS:
                self.forget(made.token)
                self._answers.append(Answer(made.token, None))
            self.hurry()

    def _failed(self, sentence: str) -> None:
        self.trouble = sentence
        if self._failing_since is None:
            self._failing_since = time.monotonic()

    def _soon(self) -> None:
        self._interval = SOON_SECONDS
        self._due = min(self._due, time.monotonic() + SOON_SECONDS)

    # chores: one after another

    def cancel(self, jobs: Mapping[str, Iterable[int]]) -> None:
        """Cancel tasks by submission; those whose number is not known yet are left to a later call. A job is named to
        ``scancel`` only if a look at the queue showed it under our own name, or it was submitted by us just now."""
        now = time.monotonic()
        names: list[str] = []
        for token, indices in jobs.items():
            made = self.submissions.get(token)
            if made is None or made.array is None:
                continue
            if self.snapshot is None or self.asked < made.since:
                mine = list(indices)  # its number came from sbatch, or its name from the queue, a moment ago
            else:
                mine = [i for i in indices if (row := self.row(token, i)) is not None and row.phase != Phase.ENDED]
            wanted = [f"{made.array}_{index}" for index in mine]
            wanted = [name for name in wanted if now - self._cancelled.get(name, -1e9) > CANCEL_AGAIN_SECONDS]
            self._cancelled.update((name, now) for name in wanted)
            whole = wanted and set(mine) >= made.live
            names += [str(made.array)] if whole else wanted
        if names:
            self._chores.appendleft(partial(self._cancel, names))

    def _cancel(self, names: list[str]) -> Then:
        try:
            self.slurm.cancel(names)
        except NotKnown:
            return self._cancelled.clear  # asked again with the next step that wants it
        return self.hurry

    def _take_chore(self, future: Future[Then]) -> None:
        self._chore = None
        try:
            then = future.result()
        except NotKnown:
            return  # noted in the record of calls; it says nothing about the queue, and is asked again when it is due
        if then is not None:
            then()

    def _ask_facts(self) -> Then:
        facts = self.slurm.facts()

        def then() -> None:
            self.facts = facts

        return then

    def _ask_ahead(self, queue: Queue, now: float) -> None:
        """Every two minutes while something of ours waits: how many jobs stand before it."""
        arrays = {one.array for one in self.submissions.values()}
        rows = [row for job, row in queue.rows.items() if job[0] in arrays and row.phase == Phase.PENDING]
        wanted = {row.partition.split(",")[0] for row in rows if row.reason in ("Priority", "Resources")}
        if not wanted or now < self._ahead_due:
            return
        self._ahead_due = now + AHEAD_SECONDS

        ours = {array for array in arrays if array is not None}
        self._chores.append(partial(self._ask_pending, wanted, ours))

    def _ask_pending(self, partitions: set[str], ours: set[int]) -> Then:
        ahead = ahead_of(self.slurm.pending(partitions), ours)

        def then() -> None:
            self._ahead, self.changed = ahead, True

        return then

    def _ask_accounts(self, wanted: list[str]) -> Then:
        found = self.slurm.accounts(wanted)

        def then() -> None:
            for job in wanted:
                tries = self._ended[job] = self._ended.get(job, 0) + 1
                account = found.get(job)
                if account is not None and state_meaning(account.state).phase == Phase.ENDED:
                    self._accounts[job] = account
                elif tries >= ACCOUNTS_TRIES:
                    self._accounts[job] = Account("", None, None, None, None)
                if job in self._accounts:
                    self._ended.pop(job)

        return then

    def take_accounts(self) -> dict[str, Account]:
        """What accounting said of ended jobs since the last call."""
        found, self._accounts = self._accounts, {}
        return {job: account for job, account in found.items() if account.state}

    # for people

    def rows(self, gpus: Mapping[str, bool]) -> list[dict[str, Any]]:
        """The queue in words, one row for each job of ours, state and reason. ``gpus``: which jobs ask for GPUs."""
        self.changed = False
        if self.snapshot is None:
            return []
        counts: Counter[tuple[str, str, str, str, str]] = Counter()
        starts: dict[tuple[str, str, str, str, str], float] = {}
        for made in self.submissions.values():
            for index in sorted(made.live):
                row = self.row(made.token, index)
                if row is None or row.phase == Phase.ENDED:
                    continue
                words = row.meaning.words
                if row.phase == Phase.PENDING and row.state == "PENDING":
                    ahead = self._ahead.get(made.array or 0)
                    gpu = gpus.get(made.instance, False)
                    words = waiting_words(row.reason, partition=row.partition, gpus=gpu, ahead=ahead)
                key = (made.instance, row.phase.value, row.reason, row.partition, words)
                counts[key] += 1
                if row.phase == Phase.PENDING and row.start and (key not in starts or row.start < starts[key]):
                    starts[key] = row.start
        return [
            {
                "job": job,
                "phase": phase,
                "reason": reason,
                "partition": partition,
                "words": words,
                "tasks": count,
                "start": starts.get((job, phase, reason, partition, words), 0.0),
            }
            for (job, phase, reason, partition, words), count in counts.items()
        ]

    def due(self) -> float | None:
        """When the next round is needed although nothing wakes the engine (monotonic)."""
        if self._chores and self._chore is None:
            return 0.0
        times = []
        if self.submissions:
            if self._poll is None:
                times.append(self._due)
            times.append(self._facts_due)
        if self.accounting and any(job not in self._accounts for job in self._ended):
            times.append(self._accounts_due)
        return min(times, default=None)

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited, or something is still to be said: one pass (``--once``) waits for it."""
        unclear = any(one.array is None for one in self.submissions.values())
        unseen = bool(self.submissions) and self.snapshot is None and not self.trouble
        return bool(self._sbatch or self._chores or self._chore or unclear or unseen) and not self.silent

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, call: Callable[[], Any]) -> Future[Any]:
        future = self._pool.submit(call)
        future.add_done_callback(lambda _: self._wake())
        return future


def ahead_of(pending: Sequence[tuple[str, int, int]], ours: set[int]) -> dict[int, int]:
    """How many jobs of others stand before each array of ours, in the same partition and by priority."""
    found: dict[int, int] = {}
    for partition, priority, array in pending:
        if array in ours:
            found[array] = sum(
                1
                for name, higher, other in pending
                if name == partition and other not in ours and (higher, -other) > (priority, -array)
            )
    return found
