"""Talking to Slurm beside the engine's loop: every call runs in a thread, its answer is taken in a later step.

One ``sbatch`` at a time, one ``squeue`` an interval that grows while nothing changes, never one per job. What Slurm
does not answer is not known, and changes nothing.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from core.cluster.slurm import Account, Facts, JobId, NotKnown, Queue, Refused, Row, Slurm
from core.cluster.slurm_words import Phase, ReasonMeaning, reason_meaning, state_meaning, waiting_words
from core.cluster.submit_limits import throttles

HURRY_SECONDS = 1.0
HURRY_MOST_SECONDS = 10.0
"""However unclear something is, looks that show nothing new come ever less often."""
SOON_SECONDS = 5.0
QUIET_SECONDS = 60.0
AHEAD_SECONDS = 120.0
SEARCH_SECONDS = 10.0
"""Two looks at the queue that are to prove that something is not there lie this far apart."""
FACTS_SECONDS = 300.0
ACCOUNTS_SECONDS = 30.0
ACCOUNTS_TRIES = 4
SETTLE_SECONDS = 15.0
"""How long after the last task's end accounting is waited for."""
UNANSWERED_SECONDS = 30.0
CANCEL_AGAIN_SECONDS = 15.0
REMEMBERS_SECONDS = 300.0
"""How long Slurm remembers ended jobs, until it has said so itself: its default."""


@dataclass(slots=True)
class Submitted:
    """One ``sbatch``. ``array`` is its number, None while that is not known; ``at_once`` is the throttle that it has
    (0: none), ``limit`` the one of its whole job. A look at the queue that began after ``since`` shows it; ``missing``:
    when such a look did not. ``live``: the indices that have not ended. ``shown_as``: its name in the queue, by default
    the token; ``new`` until the queue has shown it. ``cluster``: where it was submitted, "" where that is not known."""

    token: str
    instance: str
    array: int | None = None
    at_once: int = 0
    limit: int = 0
    missing: list[float] = field(default_factory=list)
    said: str = ""
    since: float = field(default_factory=time.monotonic)
    live: set[int] = field(default_factory=set)
    shown_as: str = ""
    new: bool = False
    cluster: str = ""

    def __post_init__(self) -> None:
        self.shown_as = self.shown_as or self.token


@dataclass(slots=True)
class Inquiry:
    """A job that accounting is asked about. ``name`` is what Slurm calls it; ``tries``: how often it was asked."""

    token: str
    name: str
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a submission: its number, or why not. ``refused`` None and ``array`` None: it never arrived, and
    ``said`` is what ``sbatch`` did instead."""

    token: str
    array: int | None
    refused: Refused | None = None
    said: str = ""


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
        self._earliest = 0.0
        self._fresh = False
        self._ahead: dict[int, int] = {}
        self._ahead_due = 0.0
        self._facts_due = 0.0
        self._inquiries: dict[str, Inquiry] = {}
        self._accounts: dict[str, Account] = {}
        """Of jobs that are still followed."""
        self._new_accounts: dict[str, Account] = {}
        self._accounts_due = 0.0
        self._settle_until = 0.0
        self._cancelled: dict[str, float] = {}
        self._pause = HURRY_SECONDS
        self.renamed: list[Submitted] = []
        """Submissions to which the site gave another name, for the journal."""

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

    def adopt(
        self, token: str, instance: str, index: int, array: int | None, *, shown_as: str = "", cluster: str = ""
    ) -> None:
        """Take up a task of a submission that is not followed yet; without a number it is searched for in the queue."""
        made = self.submissions.setdefault(token, Submitted(token, instance, array, shown_as=shown_as, cluster=cluster))
        made.live.add(index)
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
        self._pause = HURRY_SECONDS
        self._settle_until = time.monotonic() + SETTLE_SECONDS
        if made.array is not None:
            job = f"{made.array}_{index}"
            if self._accounts.pop(job, None) is None:
                self._inquire(job, made)
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
        return found if found is not None and found.name == made.shown_as else None

    def in_vain(self, token: str, index: int) -> ReasonMeaning | None:
        """Why a task waits for what will not come by itself."""
        row = self.row(token, index)
        if row is None or row.state != "PENDING" or not reason_meaning(row.reason).person:
            return None
        words = waiting_words(row.reason, partition=row.partition, gpus=False, ahead=None)
        return replace(reason_meaning(row.reason), words=words)

    def shows(self, token: str) -> bool:
        """Whether anything of this submission is still in the queue."""
        made = self.submissions.get(token)
        if made is None or made.array is None or self.snapshot is None:
            return False
        return self.snapshot.names.get(made.array) == made.shown_as

    def phase(self, token: str, index: int) -> Phase | None:
        """Where a task stands; None where the queue was asked after it was submitted and does not show it."""
        made = self.submissions.get(token)
        if made is None:
            return None
        if made.array is None or self.snapshot is None or self.asked < made.since or self._elsewhere(made):
            return Phase.UNKNOWN
        row = self.row(token, index)
        return None if row is None else row.phase

    def _elsewhere(self, made: Submitted) -> bool:
        """Whether it is in the queue of another cluster than the one that answers here, as far as that is known."""
        return bool(made.cluster) and (self.facts is None or self.facts.cluster != made.cluster)

    def elsewhere(self) -> tuple[str, str] | None:
        """The cluster that has tasks of ours, and the one that this host speaks to, where they differ."""
        for made in self.submissions.values():
            if self.facts is not None and self._elsewhere(made):
                return made.cluster, self.facts.cluster
        return None

    def account(self, token: str, index: int) -> Account | None:
        """What accounting says of a task that the queue no longer shows. None while it is being asked, and where there
        is none; its state is "" where it knows nothing."""
        made = self.submissions.get(token)
        if made is None or made.array is None:
            return None
        job = f"{made.array}_{index}"
        if self.accounting and job not in self._accounts and job not in self._inquiries:
            self._inquire(job, made)
            self._accounts_due = min(self._accounts_due, time.monotonic() + HURRY_SECONDS)
        return self._accounts.get(job)

    def _inquire(self, job: str, made: Submitted) -> None:
        if self.facts is None or self.facts.accounting:
            self._inquiries.setdefault(job, Inquiry(made.token, made.shown_as))

    def settle_accounts(self) -> bool:
        """Nothing else is left to do: have accounting asked soon for what it still owes. Whether to wait for that."""
        now = time.monotonic()
        if not (self.accounting and self._inquiries) or now > self._settle_until:
            return False
        self._accounts_due = min(self._accounts_due, now + HURRY_SECONDS)
        return True

    @property
    def accounting(self) -> bool:
        return self.facts is not None and self.facts.accounting

    @property
    def remembers_seconds(self) -> float:
        """How long the queue shows a job that has ended."""
        return REMEMBERS_SECONDS if self.facts is None else self.facts.min_job_age_seconds

    @property
    def silent(self) -> bool:
        """Whether Slurm has not answered for a while."""
        return self._failing_since is not None and time.monotonic() - self._failing_since > UNANSWERED_SECONDS

    def want_facts(self) -> None:
        """Have Slurm asked what it is like, before anything is submitted."""
        if self.facts is None and self._facts_due <= time.monotonic():
            self._facts_due = time.monotonic() + SOON_SECONDS
            self._chores.append(self._ask_facts)
            self._wake()

    def hurry(self) -> None:
        """Something is unclear: look at the queue as soon as is decent."""
        self._due = min(self._due, self._earliest)

    # one round

    def step(self) -> list[Answer]:
        """Take what was answered and ask what is due; the submissions about which something is known now."""
        self._take_sbatch()
        self._take_poll()
        if self._chore is not None and self._chore.done():
            self._take_chore(self._chore)
        now = time.monotonic()
        if (self.submissions or self.trouble) and self._poll is None and now >= self._due:
            self._poll = (now, time.time(), self._start(self.slurm.queue))
        if self.submissions and now >= self._facts_due:
            self._facts_due = now + FACTS_SECONDS
            self._chores.append(self._ask_facts)
        if self.accounting and now >= self._accounts_due and self._inquiries:
            self._accounts_due = now + ACCOUNTS_SECONDS
            self._chores.append(partial(self._ask_accounts, list(self._inquiries)[:500]))
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
            if made is not None:
                made.since, made.said = time.monotonic(), str(error)
            self._failed(str(error))
            self.hurry()
        else:
            if made is not None:
                made.array = array
                made.new = True
                made.since = time.monotonic()
                self._answers.append(Answer(token, array))
            self._soon()

    def _take_poll(self) -> None:
        self._fresh = False
        if self._poll is None or not self._poll[2].done():
            return
        asked, clock, future = self._poll
        self._poll = None
        now = time.monotonic()
        try:
            found = future.result()
        except NotKnown as error:
            again = self._failing_since is not None
            self._interval = min(self._interval * 1.5, QUIET_SECONDS / 2) if again else SOON_SECONDS
            self._failed(str(error))
            self._due = self._earliest = now + self._interval
            return
        if self._failing_since is not None:
            self._cancelled.clear()  # what it was told meanwhile it may not have heard
        self.trouble, self._failing_since = "", None
        same = self.snapshot is not None and self._mine(found) == self._mine(self.snapshot)
        self.snapshot, self.asked, self.asked_clock, self.changed = found, asked, clock, True
        self._fresh = True
        self._interval = min(self._interval * 2, QUIET_SECONDS) if same else SOON_SECONDS
        if self.facts is not None and not self.facts.accounting:
            self._interval = min(self._interval, max(self.facts.min_job_age_seconds / 3.0, HURRY_SECONDS))
        self._pause = min(self._pause * 1.5, HURRY_MOST_SECONDS) if same else HURRY_SECONDS
        self._due, self._earliest = now + self._interval, max(now, asked + self._pause)
        self._note_names(found)
        self._search(found, asked)
        self._ask_ahead(found, now)

    def _mine(self, queue: Queue) -> dict[JobId, str]:
        arrays = {one.array for one in self.submissions.values()}
        return {job: row.state for job, row in queue.rows.items() if job[0] in arrays}

    def _note_names(self, queue: Queue) -> None:
        """A site may give jobs names of its own: what the first look shows under the number that ``sbatch`` gave is
        ours, whatever it is called. Later another name means another job: numbers begin again."""
        for made in self.submissions.values():
            if made.new and made.array is not None and (name := queue.names.get(made.array)) is not None:
                made.new = False
                if name != made.shown_as:
                    made.shown_as = name
                    self.renamed.append(made)

    def _search(self, queue: Queue, asked: float) -> None:
        """Submissions whose fate is not known: found by their name, or missing twice, ten seconds apart."""
        for made in list(self.submissions.values()):
            if (
                made.array is not None
                or self._elsewhere(made)
                or (self._sbatch is not None and self._sbatch[0] == made.token)
            ):
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
                self._answers.append(Answer(made.token, None, said=made.said))
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
        """Cancel tasks by submission: those that a look at the queue has shown just now under our own name, since
        numbers of jobs begin again; the others are left to a later call. No further conditions:
        ``scancel --state=PENDING 7_3`` would cancel whatever of array 7 waits."""
        if not self._fresh:
            self.hurry()
            return
        now = time.monotonic()
        names: list[str] = []
        for token, chosen in jobs.items():
            indices = set(chosen)
            shown = [i for i in indices if (row := self.row(token, i)) is not None and row.phase != Phase.ENDED]
            if not shown:
                continue
            made = self.submissions[token]
            wanted = [f"{made.array}_{index}" for index in shown]
            wanted = [name for name in wanted if now - self._cancelled.get(name, -1e9) > CANCEL_AGAIN_SECONDS]
            self._cancelled.update((name, now) for name in wanted)
            names += [str(made.array)] if wanted and indices >= made.live else wanted
        if names:
            self._chores.appendleft(partial(self._cancel, names))

    def _cancel(self, names: list[str]) -> Then:
        self.slurm.cancel(names)
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
        try:
            facts = self.slurm.facts()
        except NotKnown as error:
            return partial(self._without_facts, str(error))

        def then() -> None:
            self.facts = facts

        return then

    def _without_facts(self, sentence: str) -> None:
        if self.facts is None:  # nothing is submitted before they are known
            self._failed(sentence)
            self._facts_due = time.monotonic() + SOON_SECONDS
            self.hurry()

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
        try:
            found = self.slurm.accounts(wanted)
        except NotKnown:
            found = {}  # noted in the record of calls; it may be switched off

        def then() -> None:
            for job in wanted:
                inquiry = self._inquiries.get(job)
                if inquiry is None:
                    continue  # answered meanwhile
                inquiry.tries += 1
                account = found.get(job)
                mine = account is not None and account.name == inquiry.name
                if account is None or not mine or state_meaning(account.state).phase != Phase.ENDED:
                    if inquiry.tries < ACCOUNTS_TRIES:
                        continue
                    account = Account(inquiry.token, "", None, None, None, None)
                del self._inquiries[job]
                self._new_accounts[job] = account
                made = self.submissions.get(inquiry.token)
                if made is not None and int(job.partition("_")[2]) in made.live:
                    self._accounts[job] = account

        return then

    def take_accounts(self) -> dict[str, Account]:
        """What accounting said of ended jobs since the last call."""
        found, self._new_accounts = self._new_accounts, {}
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
                comes = row.phase == Phase.PENDING and row.start and not reason_meaning(row.reason).person
                if comes and (key not in starts or row.start < starts[key]):
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
        if (self.submissions or self.trouble) and self._poll is None:
            times.append(self._due)
        if self.submissions:
            times.append(self._facts_due)
        if self.accounting and self._inquiries:
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


def ahead_of(pending: Sequence[tuple[str, int, int, int]], ours: set[int]) -> dict[int, int]:
    """How many jobs of others stand before each array of ours, in the same partition and by priority."""
    found: dict[int, int] = {}
    for partition, priority, array, _ in pending:
        if array in ours:
            found[array] = sum(
                tasks
                for name, higher, other, tasks in pending
                if name == partition and other not in ours and (higher, -other) > (priority, -array)
            )
    return found
