"""What a task that is not with the submitter should be: waiting, ready, blocked, done, stale, excluded or needs you.

Pure: it looks at the plan, the ledger and the wishes, and says what follows. Live and failed tasks are not its
business, but for the wish to run a stopped one again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.engine.ledger import Ledger
from core.engine.plan import Plan
from core.engine.states import TaskState
from core.engine.wishes import Wish, Wishes
from core.jobs._task import COHORT

_WITH_PRODUCTS = (TaskState.DONE, TaskState.EMPTY, TaskState.STALE, TaskState.EXCLUDED)


ON_HOLD = "on hold"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``why`` is a sentence for states in which a person may wonder. ``choices``: see :mod:`core.engine.binding`."""

    state: TaskState
    why: str = ""
    choices: Mapping[str, str] | None = None
    cohort: tuple[str, ...] = ()


class Readiness:
    """Bound to one plan, one ledger and the wishes of the moment."""

    def __init__(self, plan: Plan, ledger: Ledger, wishes: Wishes, excluded: frozenset[str]) -> None:
        self.plan = plan
        self.ledger = ledger
        self.wishes = wishes
        self.excluded = excluded

    def held(self) -> str:
        """Which tasks wait only because of a hold, in words; "" where none does."""
        found = []
        for job in self.ledger.status.jobs:
            keys = [key for key, cause in job.causes.items() if cause == ON_HOLD]
            if keys:
                found.append(f"{job.id} ({', '.join(keys[:5])}{' ...' if len(keys) > 5 else ''})")
        return ", ".join(found)

    def judge(self, instance: str, key: str) -> Verdict:
        """The state that the task should have now. Live tasks keep theirs."""
        state = self.ledger.state(instance, key)
        if state.live:
            return Verdict(state)
        if key in self.excluded:
            return Verdict(TaskState.EXCLUDED)
        # Only what is done, or was before it was excluded, has a fingerprint.
        if state in _WITH_PRODUCTS and self.ledger.fingerprint(instance, key):
            return self._finished(instance, key, state)
        wish = self.wishes.of(instance, key)
        if state == TaskState.FAILED:
            return Verdict(state, self.ledger.job(instance).causes.get(key, ""))
        if state == TaskState.STOPPED and wish != Wish.RUN:
            return Verdict(state)
        verdict = self._cohort(instance, key) if key.startswith(COHORT) else self._series(instance, key)
        if verdict.state != TaskState.READY:
            return verdict
        if wish != Wish.RUN:
            return Verdict(TaskState.WAITING, ON_HOLD if wish == Wish.HOLD else "", verdict.choices)
        paused = self.ledger.job(instance).paused
        if paused:
            return Verdict(TaskState.NEEDS_YOU, paused, verdict.choices)
        return verdict

    def _finished(self, instance: str, key: str, state: TaskState) -> Verdict:
        job = self.ledger.job(instance)
        expected = self.plan.expected(instance, key, self.choices(instance, key), tuple(job.cohort_series.get(key, ())))
        if expected != self.ledger.fingerprint(instance, key):
            return Verdict(TaskState.STALE, "its parameters, data or inputs changed since it ran")
        return Verdict(TaskState.EMPTY if state == TaskState.EMPTY else TaskState.DONE)

    def choices(self, instance: str, key: str) -> dict[str, str] | None:
        """Every recorded choice of producers of this series at this instance and upstream of it."""
        found: dict[str, str] = {}
        for name in self.plan.ancestors[instance]:
            found.update(self.ledger.job(name).choices.get(key, {}))
        return found or None

    def _series(self, instance: str, key: str) -> Verdict:
        planned = self.plan.jobs[instance]
        choices: dict[str, str] = {}
        waiting = False
        for slot, names in planned.bound.inputs.items():
            picked, blocked = self._pick(instance, names, key)
            if blocked:
                return Verdict(TaskState.BLOCKED, blocked)
            if picked is None:
                waiting = True
            elif len(names) > 1:
                choices[f"{instance}/{slot}"] = picked
        for need in planned.tasks[key].needs:
            state = self.ledger.state(instance, need)
            if state in (TaskState.FAILED, TaskState.BLOCKED):
                return Verdict(TaskState.BLOCKED, f"{need[1:]} of {instance} did not succeed")
            waiting = waiting or not state.good
        if waiting:
            return Verdict(TaskState.WAITING)
        for decision in planned.decisions[key]:
            made = self.plan.binding.decisions.get(decision)
            if made is None:
                return Verdict(TaskState.WAITING, f"{decision} is not decided yet")
            if made.state == "ask":
                return Verdict(TaskState.NEEDS_YOU, made.evidence)
        return Verdict(TaskState.READY, choices=choices or None)

    def _pick(self, instance: str, names: tuple[str, ...], key: str) -> tuple[str | None, str]:
        """The producer that this series takes: the first in order that is done once all before it have settled. Where
        the job reads tables, nothing is taken before these hold the series."""
        tables = self.plan.jobs[instance].bound.job_type.reads_tables
        for name in names:
            state = self.ledger.state(name, key)
            if state.good:
                return (None if tables and key not in self.ledger.job(name).gathered else name), ""
            if state not in (TaskState.FAILED, TaskState.BLOCKED, TaskState.EXCLUDED):
                return None, ""
        return None, f"{names[-1]} did not succeed for this series"

    def _cohort(self, instance: str, key: str) -> Verdict:
        planned = self.plan.jobs[instance]
        declaration = planned.tasks[key]
        members = [
            member
            for member in declaration.cohort
            if member not in self.excluded and self.wishes.of(instance, member) == Wish.RUN
        ]
        if not members:
            return Verdict(TaskState.WAITING)
        good: list[str] = []
        for member in members:
            blocked = False
            for names in planned.bound.inputs.values():
                picked, reason = self._pick(instance, names, member)
                if reason:
                    blocked = True
                elif picked is None:
                    return Verdict(TaskState.WAITING)
            if not blocked:
                good.append(member)
        if len(good) < min(declaration.at_least, len(members)) or not good:
            sentence = f"only {len(good)} of {len(members)} series are there, {declaration.at_least} are needed"
            return Verdict(TaskState.BLOCKED, sentence)
        return Verdict(TaskState.READY, cohort=tuple(good))
