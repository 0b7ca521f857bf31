"""Which ready tasks are submitted now, and how: to this host's slots one by one, to Slurm as arrays.

Everything that keeps ready tasks back is here: slots, the budget and the limits of the queue, free space, pauses after
a trouble, and a job that Slurm refuses.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cluster.batch import render_tasks
from core.cluster.protocol import AttemptPaths
from core.cluster.slots import Held
from core.cluster.slurm import Facts, Refused, indices_text
from core.cluster.slurm_words import Refusal
from core.cluster.submit_limits import Budget, SubmitLimit
from core.cluster.template import Filled, Template, check, fill, read_template
from core.dataset.model import Sourced
from core.engine.attempts import Placed, Prepared, array_token
from core.engine.binding import digest
from core.engine.lease import LeaseLost
from core.engine.local_slots import local_slots
from core.engine.rendering import TaskResources, script_of, task_resources
from core.engine.space import Space
from core.engine.states import TaskState
from core.engine.status import Need
from core.engine.tools_used import ToolsUsed
from core.engine.trash import move_products
from core.errors import CrboostError, InputError
from core.files import disk_is_full, replace_text, write_error
from core.jobs._task import COHORT
from core.project.resources import ResourceValue
from core.project.site import Site

if TYPE_CHECKING:
    from core.engine.engine import Engine

Address = tuple[str, str]
"""Job instance and key of a task."""

CROWDED_SECONDS = 60.0
FILE_RETRIES = 2
FILE_PAUSE_SECONDS = 5.0
PREPARE_SECONDS = 1.0
"""How long scripts are written for one submission: what is ready beyond that goes into the next one."""
FIRST_ARRAY_SIZE = 1000
UNHEARD_SECONDS = 30.0
UNHEARD_MOST_SECONDS = 600.0
UNHEARD_TELL = 3
SIGNAL_SECONDS = 60
SIGNAL_FROM_MINUTES = 30
"""Shorter tasks are not told before their limit: what Slurm does at the limit itself is enough."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What tasks must share to go into one submission."""

    instance: str
    memory: int
    time: int
    avoid: frozenset[str]


class Submitting:
    """The ready tasks of ``engine``. All methods are called in the engine's own thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ready: dict[Address, float] = {}
        """Since when (monotonic)."""
        self.internal: list[Address] = []
        """Ready tasks that the worker will do."""
        self.later: dict[Address, float] = {}
        """Not before (monotonic)."""
        self.avoid: dict[Address, frozenset[str]] = {}
        """Nodes on which a task has failed."""
        self.refused: dict[str, Need] = {}
        """Jobs that Slurm refuses, and why."""
        self.space = Space(engine.root)
        self._resources: dict[str, TaskResources] = {}
        self._tools = ToolsUsed()
        self._crowded_due = 0.0
        self._refused_nodes: set[str] = set()
        self._unheard: Counter[str] = Counter()
        """Submissions of each job in a row that never arrived."""
        self._facts: Facts | None = None
        self._not_now = ""
        self._again = math.inf
        """When Slurm may be given something again (monotonic): all else that keeps tasks back ends with an event."""
        self.makes_room = False
        """Whether no task is submitted, so that the engine's own successor gets into the queue."""
        self._largest = FIRST_ARRAY_SIZE
        """Tasks in one array; where it is 1, nothing is submitted as an array."""
        self.configure(engine.sources.site)

    def configure(self, site: Site) -> None:
        """Follow the site's settings."""
        self.engine.attempts.submitter.slots = local_slots(site)
        self._budget = Budget(site.slurm.burst, site.slurm.per_second)
        self._limit = SubmitLimit(site.slurm.max_submitted)

    def replanned(self) -> None:
        """A new request, a new plan: what was refused is tried again."""
        self._resources.clear()
        self.refused.clear()

    def judge_anew(self) -> None:
        self.ready.clear()
        self.internal.clear()

    def add(self, address: Address) -> None:
        self.ready.setdefault(address, time.monotonic())

    def drop(self, address: Address) -> None:
        self.ready.pop(address, None)

    def put_off(self, address: Address, seconds: float) -> None:
        self.later[address] = time.monotonic() + seconds

    def again(self, address: Address) -> None:
        """A person asks for it: no pause, and no node is left out."""
        self.later.pop(address, None)
        self.avoid.pop(address, None)

    def waiting(self) -> list[Address]:
        """Tasks that are ready and that nobody but the engine can bring forward."""
        return [address for address in self.ready if not self.is_blocked(address[0])]

    def is_blocked(self, instance: str) -> bool:
        """Whether only a person can make it possible to start something in this job."""
        return instance in self.refused or self.engine.is_blocked(instance)

    def due(self) -> float | None:
        """When the next round is needed (monotonic)."""
        times = [self.later[address] for address in self.ready if address in self.later]
        if self.waiting():
            if self.space.sentence:
                times.append(self.space.due)
            elif self.engine.slurm is not None:
                times.append(self._again)
            else:
                times.append(time.monotonic() + 1.0)
        return min(times, default=None)

    def passing(self) -> bool:
        """Whether one pass (``--once``) should wait: something could be submitted within the budget."""
        slurm = self.engine.slurm
        if slurm is None or slurm.trouble or self.space.sentence or self._limit.wait_seconds():
            return False
        now = time.monotonic()
        return any(self.later.get(address, 0.0) <= now and self._has_room(address) for address in self.waiting())

    def _has_room(self, address: Address) -> bool:
        slurm = self.engine.slurm
        at_once = self._at_once(address[0])
        return slurm is not None and (not at_once or slurm.room(address[0], at_once) > 0)

    def submit(self) -> None:
        """Submit what is ready and may be."""
        if not (self.ready or self.space.sentence):
            return
        if not self.space.left(self.engine.sources.site.min_free_gb) or not self.ready:
            return
        if self.engine.slurm is None:
            self._submit_here()
        else:
            self._submit_to_slurm()

    def _candidates(self) -> list[Address]:
        """Ready tasks that may be submitted now, the longest waiting first. Those of the worker are set aside, and jobs
        without a folder get one."""
        engine = self.engine
        now = time.monotonic()
        found = []
        for address in list(self.ready):
            instance, key = address
            if self.later.get(address, 0.0) > now or self.is_blocked(instance):
                continue
            if not engine.ledger.job(instance).folder:
                engine.jobs.deploy(instance)
            elif engine.descendant_live(instance, key):
                continue
            elif engine.type_of(instance).internal:
                self.internal.append(address)
                self.drop(address)
            else:
                found.append(address)
        return found

    # this host

    def _submit_here(self) -> None:
        """Later steps first, so that a series flows through instead of queuing behind others."""
        engine = self.engine
        order = {instance: index for index, instance in enumerate(engine.plan.jobs)}
        positions = engine.ledger.status.positions
        no_gpu = False
        for address in sorted(self._candidates(), key=lambda a: (-order[a[0]], positions.get(a[1], -1))):
            resources = self._resources_of(address[0])
            if no_gpu and resources.gpus:
                continue
            slots = engine.attempts.submitter.slots
            held = slots.take(resources.cpus, resources.gpus)
            if held is None:
                # Whoever comes first waits for its slots; smaller tasks behind it must not take them for ever.
                self._say_crowded()
                no_gpu = slots.free()[1] < min(resources.gpus, slots.gpus)
                if no_gpu:
                    continue
                break
            try:
                self._start_here(address, held)
            finally:
                held.release()

    def _start_here(self, address: Address, held: Held) -> None:
        prepared = self._prepare(address)
        if prepared is None:
            return
        try:
            self.engine.attempts.submit(prepared, held, self.limit_seconds(*address))
        except (CrboostError, OSError) as error:
            self._went_wrong(address, error)
        else:
            self._submitted(prepared)

    def _say_crowded(self) -> None:
        """Say once in a while that it is other projects which have all the slots of this host."""
        now = time.monotonic()
        if not self.engine.attempts.live and now >= self._crowded_due:
            self._crowded_due = now + CROWDED_SECONDS
            self.engine.ledger.notice("waiting: other projects of yours have the CPU or GPU slots of this host")

    # Slurm

    def _submit_to_slurm(self) -> None:
        """One ``sbatch`` at a time, for the tasks of one job: those of which one has waited longest."""
        engine = self.engine
        slurm = engine.slurm
        assert slurm is not None
        if slurm.facts != self._facts and slurm.facts is not None:
            self._facts = slurm.facts
            self._largest = max(1, slurm.facts.max_array_size)
        candidates = self._candidates()
        wait = max(self._budget.wait_seconds(), self._limit.wait_seconds())
        self._again = time.monotonic() + wait if wait else math.inf
        if not candidates or slurm.submitting or slurm.trouble or self.makes_room or self._budget.wait_seconds():
            return
        if slurm.facts is None:  # whose cluster it is must be noted with what is submitted
            slurm.want_facts()
            return
        kinds: dict[Kind, list[Address]] = {}
        positions = engine.ledger.status.positions
        for address in sorted(candidates, key=lambda a: (round(self.ready[a], 1), positions.get(a[1], -1))):
            kinds.setdefault(self._kind(address), []).append(address)
        for kind, addresses in kinds.items():
            at_once = self._at_once(kind.instance)
            throttle = slurm.room(kind.instance, at_once) if at_once else 0
            if at_once and not throttle:
                continue
            wanted = len(addresses)
            packed = self._series_per_task(kind.instance)
            room = self._limit.room(slurm.queued, math.ceil(wanted / packed))
            most = min(room, self._largest) * packed
            chosen = sorted(addresses[:most], key=lambda address: positions.get(address[1], -1))
            if chosen and self._submit_array(kind, chosen, throttle, at_once, packed):
                return

    def _submit_array(self, kind: Kind, addresses: Sequence[Address], throttle: int, limit: int, packed: int) -> bool:
        engine = self.engine
        ends = time.monotonic() + PREPARE_SECONDS
        prepared = []
        for address in addresses:
            one = self._prepare(address)
            if one is not None:
                prepared.append(one)
            if time.monotonic() > ends:
                break
        if not prepared:
            return False
        folder = Path(engine.ledger.job(kind.instance).folder)
        packs = [prepared[begin : begin + packed] for begin in range(0, len(prepared), packed)]
        token = array_token(engine.ledger.status.name, str(folder))
        try:
            script, options = self._write_submission(kind, folder, token, packs, throttle)
            engine.lease.check()
            made = engine.attempts.submit_array(
                token,
                packs,
                options,
                script,
                at_once=min(throttle, len(packs)) if throttle else 0,
                limit=limit,
                asked=self.asked(kind.instance),
            )
        except LeaseLost:
            raise
        except (CrboostError, OSError) as error:
            if disk_is_full(error):
                self.space.ran_out(str(error))
                raise
            if isinstance(error, InputError):  # the template, or what is to be put into it
                self._refuse(kind.instance, str(error))
            else:
                for one in prepared:
                    self._went_wrong((one.instance, one.paths.key), error)
            return False
        self._budget.spend()
        for one in prepared:
            self._submitted(one)
        for live in made:
            engine.ledger.set_task(live.instance, live.key, TaskState.QUEUED)
        return True

    def _write_submission(
        self, kind: Kind, folder: Path, token: str, packs: Sequence[Sequence[Prepared]], throttle: int
    ) -> tuple[Path, list[str]]:
        """``submit/<token>.sh`` from the site's template, its table of tasks, and sbatch's options."""
        engine = self.engine
        submit = engine.root / folder / "submit"
        _make_durable(submit)
        resources = self.resources(kind, len(packs[0]))
        tasks_file = submit / f"{token}.tasks.sh"
        # A lab's template may end with "touch RELION_JOB_EXIT_SUCCESS" in the folder of its output: of one task among
        # many that must not be the job's own folder.
        filled = self._fill(f"{folder}/submit", tasks_file, resources)
        scripts = [[one.paths.script for one in pack] for pack in packs]
        note = f"{kind.instance}: which index of the array runs which attempt"
        replace_text(tasks_file, render_tasks(scripts, filled.launch, note))
        script = submit / f"{token}.sh"
        replace_text(script, filled.text)
        log = f"{folder}/submit/{token}_%a.log"
        options = [f"--job-name={token}", f"--chdir={engine.root}", f"--output={log}", f"--error={log}"]
        options += ["--open-mode=append", "--no-requeue", "--export=ALL"]
        if self._largest > 1:
            running = f"%{min(throttle, len(packs))}" if throttle else ""
            options.append(f"--array={indices_text(range(len(packs)))}{running}")
        minutes = resources.get("minutes")
        if minutes is not None and int(str(minutes.value)) >= SIGNAL_FROM_MINUTES and self.template().shell != "csh":
            options.append(f"--signal=B:USR2@{SIGNAL_SECONDS}")
        nodes = (kind.avoid | set(engine.bad_nodes.excluded)) - self._refused_nodes
        if nodes:
            options.append(f"--exclude={','.join(sorted(nodes))}")
        return script, [*engine.sources.site.slurm.options, *filled.options, *options]  # the last one wins

    def template(self) -> Template:
        """The lab's own, or the one that is shipped."""
        named = self.engine.sources.site.qsub.template
        return read_template(Path(named) if named else self.engine.data / "qsub" / "slurm.sh")

    def _fill(self, folder: str, tasks_file: Path, resources: dict[str, Sourced[ResourceValue]]) -> Filled:
        template = self.template()
        filled = fill(template, resources, self.engine.sources.site.qsub, job_folder=folder, tasks_file=tasks_file)
        check(filled, template)
        return filled

    def resources(self, kind: Kind, packed: int) -> dict[str, Sourced[ResourceValue]]:
        """What such a task asks for: its job's resources, more of them where it is tried again."""
        found = self.effective(kind.instance)
        for name, factor in (("memory_gb", kind.memory), ("minutes", kind.time)):
            value = found.get(name)
            if value is not None and factor > 1:
                found[name] = Sourced(int(str(value.value)) * factor, "retry")
        minutes = found.get("minutes")
        if minutes is not None and packed > 1:
            found["minutes"] = Sourced(int(str(minutes.value)) * packed, minutes.source)
        return found

    def limit_seconds(self, instance: str, key: str) -> float:
        """The time limit of a task's script."""
        longer = self.engine.ledger.job(instance).more.get(key, {}).get("time", 1)
        return self._resources_of(instance).minutes * 60.0 * longer

    def effective(self, instance: str) -> dict[str, Sourced[ResourceValue]]:
        bound = self.engine.plan.jobs[instance].bound
        return task_resources(self.engine.sources.site, self.engine.sources.project, bound)

    def asks_for_gpu(self, instance: str) -> bool:
        return self._number(instance, "gpus") > 0

    def asked(self, instance: str) -> str:
        """A digest of what the tasks of a job ask for: what waits in the queue with another one is submitted again."""
        return digest({name: str(value.value) for name, value in self.effective(instance).items()})

    def _number(self, instance: str, name: str) -> int:
        value = self.effective(instance).get(name)
        return 0 if value is None else int(str(value.value))

    def _at_once(self, instance: str) -> int:
        return self._number(instance, "at_once")

    def _series_per_task(self, instance: str) -> int:
        return max(1, self._number(instance, "series_per_task"))

    def _kind(self, address: Address) -> Kind:
        instance, key = address
        more = self.engine.ledger.job(instance).more.get(key, {})
        return Kind(instance, more.get("memory", 1), more.get("time", 1), self.avoid.get(address, frozenset()))

    def placed(self, placed: Placed) -> None:
        """Slurm has answered: note the number, or take the tasks back."""
        engine = self.engine
        slurm = engine.slurm
        assert slurm is not None
        if placed.array is not None:
            self._limit.accepted(slurm.queued)
            self._not_now = ""
            self._unheard.pop(placed.instance, None)
            ids = {live.key: f"{placed.array}_{live.index}" for live in placed.members}
            engine.ledger.queued(placed.instance, ids)
            return
        if placed.refused is None:
            self._never_arrived(placed)
            return
        for live in placed.members:
            if engine.ledger.knows(live.instance, live.key):
                engine.ledger.set_task(
                    live.instance, live.key, TaskState.WAITING, attempt=live.number - 1, fingerprint=""
                )
                engine.touch(live.instance, live.key)
        self._was_refused(placed, placed.refused, len({live.index for live in placed.members}))

    def _never_arrived(self, placed: Placed) -> None:
        """It is made again, more and more slowly where that does not help."""
        instance = placed.instance
        self._unheard[instance] += 1
        why = f" ({placed.said})" if placed.said else ""
        sentence = f"{instance}: a submission did not reach Slurm{why}; it is made again"
        self.engine.ledger.notice(sentence)
        if self._unheard[instance] == UNHEARD_TELL:
            self.engine.notify(sentence)
        for live in placed.members:
            self.put_off(
                (instance, live.key), min(UNHEARD_SECONDS * (self._unheard[instance] - 1), UNHEARD_MOST_SECONDS)
            )

    def _was_refused(self, placed: Placed, refused: Refused, tried: int) -> None:
        engine, instance = self.engine, placed.instance
        slurm = engine.slurm
        assert slurm is not None
        if refused.kind == Refusal.ARRAY and self._largest > 1:
            if tried <= self._largest:  # else its size has become known since
                self._largest = max(1, tried // 2)
        elif refused.kind == Refusal.LIMIT:
            self._limit.refused(slurm.queued, tried)
            if not slurm.queued and tried <= 1 and self._not_now != refused.said:
                self._not_now = refused.said
                engine.ledger.notice(f"{instance}: not now, says Slurm: {refused.said}")
        elif "constraint" in refused.fields and self._excluded(instance):
            # Without the nodes that are left out there may be none: better one of them than none at all.
            self._refused_nodes |= self._excluded(instance)
        elif more := [live for live in placed.members if engine.ledger.job(instance).more.get(live.key)]:
            for live in more:  # the others of their job do not ask for so much
                engine.fail(instance, live.key, f"it needs more than it asked for, but for more {refused}")
        else:
            self._refuse(instance, f"{refused}. Correct its resources, then run again.", refused.fields)

    def _refuse(self, instance: str, sentence: str, fields: Sequence[str] = ()) -> None:
        """Nothing more is submitted of this job before a person asks again."""
        self.refused[instance] = Need(
            "refused", instance, f"{instance}: {sentence}", [f"resources.{f}" for f in fields]
        )
        self.engine.notify(f"{instance}: {sentence}")

    def _excluded(self, instance: str) -> set[str]:
        mine = {node for address, nodes in self.avoid.items() if address[0] == instance for node in nodes}
        return (mine | set(self.engine.bad_nodes.excluded)) - self._refused_nodes

    # both

    def _submitted(self, prepared: Prepared) -> None:
        paths = prepared.paths
        self.engine.worked = True
        self.engine.ledger.set_task(
            prepared.instance, paths.key, TaskState.QUEUED, attempt=paths.number, **prepared.facts
        )
        self.drop((prepared.instance, paths.key))

    def _prepare(self, address: Address) -> Prepared | None:
        """Write the script of a task's next attempt. What is wrong with it alone is its failure (None); a full disk
        stops everybody and passes."""
        engine = self.engine
        instance, key = address
        if engine.jobs.is_gone(instance):
            engine.jobs.gone(instance)
            return None
        try:
            return self._write_script(instance, key)
        except LeaseLost:
            raise
        except (CrboostError, OSError) as error:
            self._went_wrong(address, error)
        except Exception as error:  # a job type that chokes on one series must not stop the others
            sys.excepthook(type(error), error, error.__traceback__)
            engine.fail(
                instance, key, f"a defect in crboost ({type(error).__name__}: {error}); see .crboost/engine.log"
            )
            self.drop(address)
        return None

    def _went_wrong(self, address: Address, error: CrboostError | OSError) -> None:
        engine = self.engine
        if disk_is_full(error):
            self.space.ran_out(str(error))
            raise error
        passing = isinstance(error, OSError) or isinstance(error.__cause__, OSError)
        if not (passing and engine.retried(*address, str(error), FILE_RETRIES, FILE_PAUSE_SECONDS)):
            engine.fail(*address, str(error))
        self.drop(address)

    def _write_script(self, instance: str, key: str) -> Prepared:
        engine = self.engine
        folder = engine.root / engine.ledger.job(instance).folder
        number = engine.attempts.next_number(folder, key, engine.ledger.attempt(instance, key))
        paths = AttemptPaths(folder, key, number)
        cohort = engine.readiness.judge(instance, key).cohort if key.startswith(COHORT) else ()
        work, text = script_of(
            engine.plan,
            engine.table,
            engine.sources.site,
            engine.paths,
            instance,
            key,
            paths,
            engine.readiness.choices(instance, key),
            cohort,
        )
        engine.lease.check()
        table = engine.table.choose(engine.plan.jobs[instance].bound.declared.tools)
        for changed in self._tools.note(folder, f"{key}/{number}", work.commands, table):
            engine.ledger.notice(f"{instance}: {changed}")
        move_products(engine.paths, work, paths)
        paths.folder.mkdir(parents=True, exist_ok=True)
        replace_text(paths.script, text)
        facts: dict[str, Any] = {"fingerprint": engine.expected(instance, key, cohort)}
        if cohort:
            facts["cohort"] = list(cohort)
            facts["short"] = len(cohort) < engine.plan.jobs[instance].tasks[key].at_least
        return Prepared(instance, paths, facts)

    def _resources_of(self, instance: str) -> TaskResources:
        if instance not in self._resources:
            self._resources[instance] = TaskResources.of(self.effective(instance))
        return self._resources[instance]

    def needs(self) -> list[Need]:
        return list(self.refused.values())


def _make_durable(folder: Path) -> None:
    """A folder for Slurm's own output must be on the disk before a node looks for it."""
    if folder.is_dir():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise write_error(folder, error) from error
