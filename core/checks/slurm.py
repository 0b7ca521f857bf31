"""Slurm: does it answer, what is it like, can it give what the job types ask for, and does a job come back?"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.checks.findings import Finding, failed, ok, warning
from core.checks.probing import Answer, ask
from core.checks.surroundings import Surroundings, cache_folder, short
from core.cluster.batch import render_tasks
from core.cluster.quoting import words
from core.cluster.slurm import NotKnown, Refused, Slurm, environment, slurm_is_there
from core.cluster.slurm_words import Phase, sentence, state_meaning, waiting_words
from core.cluster.template import Filled, Template, check, fill, read_template
from core.dataset.model import Sourced
from core.engine.tool_table import tool_of
from core.errors import CrboostError, InputError, listed
from core.files import replace_text
from core.jobs._base import Needs
from core.jobs._registry import job_types
from core.project.layout import ProjectPaths
from core.project.lock import user
from core.project.model import Instance, ProjectFile
from core.project.problems import nearest
from core.project.resources import ResourceValue, effective
from core.project.site import Site

GROUP = "Slurm"
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
SECONDS = 6.0
TRIP_SECONDS = 14.0
"""From the beginning of the round trip until nobody waits for its answer any more."""
LOOK_SECONDS = 2.0
"""How often the queue is asked meanwhile."""
LEAST_MEMORY_OF_ENDED_JOBS_SECONDS = 30.0

_ADMINISTRATOR = "Ask your administrator, or say submitter: local in conf.yaml."

_ANSWER = """\
#!/usr/bin/env bash
# Written by crboost doctor; it may be removed.
answer=${0%/*}/answer
{
    echo "$HOSTNAME"
    echo "${BASH_VERSION%%[!0-9.]*}"
    type -P apptainer || type -P singularity || echo
} > "$answer.part"
mv "$answer.part" "$answer"
"""

RANK = 'echo "rank ${OMPI_COMM_WORLD_RANK-${PMI_RANK-${PMIX_RANK-?}}}"'
"""What a rank runs in a trial: says its number, where whoever started it told it."""

_ASK_RANKS = f"""\
ranks=${{0%/*}}/ranks
{{
    (crboost_launch {words(["bash", "-c", RANK])})
    echo "ended $?"
}} > "$ranks.part" 2>&1 < /dev/null
mv "$ranks.part" "$ranks"
"""
"""After the answer: two ranks, started as the template starts a command with MPI."""

Resources = Mapping[str, Sourced[ResourceValue]]


def is_used(around: Surroundings) -> bool:
    """Whether tasks go to Slurm."""
    return around.site.submitter == "slurm" or (around.site.submitter == "auto" and slurm_is_there())


def answers(around: Surroundings) -> Iterator[Finding]:
    """Its commands, its configuration, and its controller."""
    submitter = around.site.submitter
    there = [name for name in COMMANDS if shutil.which(name)]
    if submitter == "local":
        yield ok("Slurm", f"not used: submitter is local ({short(around.site.origin('submitter'))})")
        return
    if not there:
        if submitter == "slurm":
            yield failed("commands", "sbatch is not on the PATH, but submitter is slurm", _ADMINISTRATOR)
        else:
            yield ok("Slurm", "none here (no sbatch on the PATH): tasks run on this host")
        return
    missing = [name for name in COMMANDS if name not in there]
    if missing:
        yield failed(
            "commands", f"{listed(missing)} not on the PATH", f"Add Slurm's bin folder to PATH. {_ADMINISTRATOR}"
        )
    named = os.environ.get("SLURM_CONF")
    if slurm_is_there():
        place = short(named) if named else "where Slurm keeps it"
        yield ok("slurm.conf", f"{place}; {len(there)} commands on the PATH")
    else:
        found = f"{short(named)}, which SLURM_CONF names, is not there" if named else "none where Slurm keeps it"
        advice = "Set SLURM_CONF to it; without it tasks run on this host."
        yield (failed if submitter == "slurm" else warning)("slurm.conf", found, advice)
        if submitter != "slurm":
            return
    answer = _ask("scontrol", "ping")
    states = re.findall(r"Slurmctld\((\S+)\) at (\S+) is (\w+)", answer.out)
    up = [host for _, host, state in states if state == "UP"]
    if up:
        version = _ask("sinfo", "--version").out.strip()
        yield ok("controller", f"{up[0]} answers; {version or 'version not told'}")
    else:
        told = ", ".join(f"{host} is {state}" for _, host, state in states) or answer.why
        yield failed("controller", told, "Nothing can be submitted until it answers: ask your administrator.")


def facts(around: Surroundings) -> Iterator[Finding]:
    """How large arrays may be, how long ended jobs are remembered, accounting, and limits."""
    if not is_used(around):
        return
    try:
        found = Slurm(Path(os.devnull), seconds=SECONDS).facts()
    except NotKnown as error:
        yield failed("limits", str(error), "It must answer before anything can run: ask your administrator.")
        return
    yield ok("arrays", f"{found.max_array_size:,} tasks in one at most (MaxArraySize)")
    seconds = found.min_job_age_seconds
    told = f"ended jobs are remembered for {seconds:g} s (MinJobAge)"
    if not found.accounting and seconds < LEAST_MEMORY_OF_ENDED_JOBS_SECONDS:
        advice = "crboost then asks every few seconds; ask for MinJobAge=300, or for accounting."
        yield warning("memory of jobs", f"{told}, and there is no accounting", advice)
    else:
        yield ok("memory of jobs", told)
    if found.accounting:
        yield from _accounting(around)
    else:
        yield ok("accounting", "none (sacct): what ended jobs used is not shown")


def _accounting(around: Surroundings) -> Iterator[Finding]:
    """The accounts that this user has, and their limits."""
    columns = "Account,QOS,MaxJobs,MaxSubmit"
    answer = _ask("sacctmgr", "-n", "-P", "show", "assoc", "where", f"user={user()}", f"format={columns}")
    rows = [line.split("|") for line in answer.out.splitlines() if line.count("|") == columns.count(",")]
    if not answer.good:
        yield warning("accounting", f"enabled, but {answer.why}", "What ended jobs used may not be shown.")
        return
    if not rows:
        yield warning("accounting", f"enabled, but it has no account of {user()}", "Ask your administrator for one.")
        return
    told = []
    for account, _, running, submitted in rows:
        limits = [f"{submitted} submitted"] * bool(submitted) + [f"{running} running"] * bool(running)
        told.append(account + (f" ({' and '.join(limits)} at most)" if limits else ""))
    yield ok("accounting", f"enabled; your accounts: {listed(dict.fromkeys(told))}")
    known = {"account": {row[0] for row in rows}, "qos": {name for row in rows for name in row[1].split(",") if name}}
    for name, values in known.items():
        for value, places in _asked(around, name).items():
            if values and str(value) not in values:
                found = f"{value!r} ({listed(places, 3)}) is none of yours"
                yield failed(name, found, f"Correct resources.{name}.{nearest(str(value), values)}")


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes of one partition that are alike."""

    partition: str
    default: bool
    cpus: int
    memory_mb: int
    gres: str
    minutes: float
    features: frozenset[str]
    usable: bool
    count: int


def parse_nodes(text: str) -> list[Nodes]:
    """``sinfo`` with :data:`COLUMNS`; lines that are something else are left out."""
    found = []
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) != len(COLUMNS.split("|")):
            continue
        name, cpus, memory, gres, limit, state, count, features = parts
        found.append(
            Nodes(
                partition=name.rstrip("*"),
                default=name.endswith("*"),
                cpus=_number(cpus),
                memory_mb=_number(memory),
                gres=gres,
                minutes=_minutes(limit),
                features=frozenset(features.split(",")),
                usable=not re.match(r"(down|drain|fail|maint|unk)", state.lower()),
                count=_number(count),
            )
        )
    return found


COLUMNS = "%P|%c|%m|%G|%l|%T|%D|%f"


def _number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def _minutes(text: str) -> float:
    """``infinite``, ``30:00``, ``10:00:00``, ``7-00:00:00``; infinite where it is none of these."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if match is None:
        return float("inf")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + minutes + seconds / 60


def gives(gres: str, part: str) -> bool:
    """Whether a node with ``gpu:a100:4(S:0-1),lscratch:100`` can give ``part`` (``gpu:2``, ``gpu:a100``)."""
    name, *words = part.removeprefix("gres/").split(":")
    wanted = int(words.pop()) if words and words[-1].isdigit() else 1
    total = 0
    for one in re.sub(r"\([^)]*\)", "", gres).split(","):
        own, *kind = one.strip().split(":")
        if own == name:
            count = int(kind.pop()) if kind and kind[-1].isdigit() else 1
            total += count if not words or words == kind else 0
    return total >= wanted if name == "gpu" else name in re.split(r"[,:(]", gres)


def requests(around: Surroundings) -> Iterator[Finding]:
    """What each job type asks for, against what the nodes of its partition have."""
    if not is_used(around):
        return
    answer = _ask("sinfo", "-h", "-e", "-o", COLUMNS)
    nodes = parse_nodes(answer.out)
    if not nodes:
        why = answer.why if not answer.good else "sinfo lists none"
        yield failed("partitions", why, _ADMINISTRATOR)
        return
    names = {row.partition for row in nodes}
    default = next((row.partition for row in nodes if row.default), "")
    shown = [f"{name}{' (default)' if name == default else ''}" for name in sorted(names)]
    yield ok("partitions", listed(shown))
    if not default and not all(
        "partition" in asked for asked in effective_of_all(around.site, around.project).values()
    ):
        advice = f"Say resources: {{partition: NAME}} in conf.yaml: {listed(sorted(names))}"
        yield failed("partition", "this Slurm has no default partition, and conf.yaml names none", advice)
    for value, places in _asked(around, "partition").items():
        if value and not names.issuperset(str(value).split(",")):
            found = f"there is no {value!r} ({listed(places, 3)})"
            yield failed("partition", found, f"Correct it.{nearest(str(value), names)}")
    problems: dict[str, list[str]] = {}
    for job, asked in effective_of_all(around.site, around.project).items():
        problem = unfit(asked, nodes, default)
        if problem:
            problems.setdefault(problem, []).append(job)
    for problem, jobs in problems.items():
        found = f"{listed(jobs, 4)}: {problem}"
        if around.project is not None:
            yield failed("resources", found, "Ask for less, or another partition: crboost set JOB.resources.NAME=VALUE")
        else:
            yield warning("resources", found, "Ask for less, or another partition: profiles in conf.yaml.")
    if not problems:
        yield ok(
            "resources", f"what {len(effective_of_all(around.site, around.project))} job types ask for can be given"
        )


def unfit(asked: Resources, nodes: Sequence[Nodes], default: str) -> str:
    """Why no node can give it, "" where one can or the partition is unknown (which is said elsewhere)."""

    def value(name: str) -> ResourceValue:
        found = asked.get(name)
        return "" if found is None or found.value is None else found.value

    wanted = str(value("partition") or default)
    left = [row for row in nodes if row.partition in wanted.split(",")]
    if not left:
        return ""
    tasks, cpus, memory = (int(str(value(name) or 1)) for name in ("tasks", "cpus", "memory_gb"))
    gres, minutes = str(value("gres")), int(str(value("minutes") or 0))
    for part in filter(None, map(str.strip, gres.split(","))):
        fitting = [row for row in left if gives(row.gres, part)]
        if not fitting:
            kinds = listed(dict.fromkeys(row.gres for row in left), 3)
            return f"no node of {wanted} has {part} (they have {kinds})"
        left = fitting
    limits: list[tuple[Callable[[Nodes], float], float, str]] = [
        (lambda row: row.cpus, tasks * cpus, "CPUs"),
        (lambda row: row.memory_mb // 1024, memory, "GB"),
        (lambda row: row.minutes, minutes, "minutes"),
    ]
    for has, needed, unit in limits:
        most = max(has(row) for row in left)
        if most < needed:
            return f"no node of {wanted} gives {needed:g} {unit} ({most:g} at most)"
        left = [row for row in left if has(row) >= needed]
    feature = str(value("constraint"))
    if re.fullmatch(r"\w+", feature) and not any(feature in row.features for row in left):
        return f"no such node of {wanted} has the feature {feature}"
    return "" if any(row.usable for row in left) else f"every such node of {wanted} is down or drained at the moment"


def template(around: Surroundings) -> Iterator[Finding]:
    """The site's template, filled in for every job type."""
    if not is_used(around):
        return
    command = shlex.split(around.site.qsub.command)[0]
    if shutil.which(command) is None:
        yield failed("qsub.command", f"{command} is not on the PATH", "Correct qsub.command in conf.yaml.")
    path = _template_path(around)
    try:
        found = read_template(path)
    except InputError as error:
        yield failed("template", str(error), "Correct it, or name another one: qsub.template in conf.yaml.")
        return
    problems: dict[str, list[str]] = {}
    seen: set[Filled] = set()
    for job, asked in effective_of_all(around.site, around.project).items():
        try:
            filled = _fill(around, found, asked, Path("/nowhere/tasks.sh"))
            if filled not in seen:
                check(filled, found)
            seen.add(filled)
        except InputError as error:
            problems.setdefault(str(error), []).append(job)
    for problem, jobs in problems.items():
        yield failed("template", f"{problem} ({listed(jobs, 3)})", "Correct it, or qsub.extra in conf.yaml.")
    if not problems:
        own = "" if around.site.qsub.template else ", as it is shipped"
        yield ok("template", f"{short(path)}{own}: a valid script for every job type")


def round_trip(around: Surroundings) -> Iterator[Finding]:
    """A real job through the site's template, which writes one small file that we then see; and where the template's
    launcher starts the ranks of a tool, two ranks by it."""
    if not is_used(around):
        return
    begun = time.monotonic()
    try:
        folder = _trial_folder(around)
    except OSError as error:
        yield failed("a job", f"no folder for it: {error.strerror}", "Make room, or ask for permission to write.")
        return
    slurm = Slurm(Path(os.devnull), shlex.split(around.site.qsub.command), SECONDS)
    name = f"crboost-doctor-{secrets.token_hex(4)}"
    number: int | None = None
    launched = _launched_tools(around)
    tried = not launched
    try:
        number = _submit(around, slurm, folder, name, 2 if launched else 1)
        answer = folder / "answer"
        look_at = time.monotonic() + LOOK_SECONDS
        while not answer.exists() and time.monotonic() < begun + TRIP_SECONDS:
            time.sleep(0.1)
            os.listdir(folder)
            if time.monotonic() >= look_at:
                if _has_failed(slurm, number):
                    break
                look_at = time.monotonic() + LOOK_SECONDS
        if answer.exists():
            text = answer.read_text()
            yield from _came_back(around, text, number, time.monotonic() - begun)
            ended = not launched or _seen(folder / "ranks", begun + TRIP_SECONDS)
            if launched and ended:
                tried = True
                yield _two_ranks(around, (folder / "ranks").read_text(errors="replace"), text.partition("\n")[0])
            number = None if ended else number
        else:
            slurm.seconds = 2.5
            yield _did_not_come(slurm, folder, number, time.monotonic() - begun)
    except Refused as error:
        advice = "Correct " + (listed(f"resources.{each}" for each in error.fields) or "resources") + " in conf.yaml."
        yield failed("a job", str(error), advice)
    except NotKnown as error:
        yield failed("a job", str(error), "It must answer before anything can run: ask your administrator.")
    except CrboostError as error:
        yield failed("a job", str(error), "Correct the template, or qsub in conf.yaml.")
    finally:
        if number is not None:
            slurm.seconds = 2.0
            with contextlib.suppress(NotKnown):
                slurm.cancel([str(number)])
        shutil.rmtree(folder, ignore_errors=True)
    if not tried:
        found = f"not tried whether the template starts ranks of {listed(launched, 3)}: no answer from a job in time"
        yield warning("MPI", found, "See the line of the job; then try again.")


def _launched_tools(around: Surroundings) -> list[str]:
    """The tools with programs in ranks that the template's launcher starts, and not the mpirun in their image."""
    relion = [name for name in around.site.tools if name == "relion" or name.startswith("relion_")]
    return [name for name in relion if not tool_of(around.site.tools[name]).one_node]


def _seen(file: Path, deadline: float) -> bool:
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
        os.listdir(file.parent)
    return file.exists()


def _two_ranks(around: Surroundings, text: str, node: str) -> Finding:
    """What came of two ranks, ``text``: all that they said, and then the launcher's exit code."""
    ranks = re.findall(r"rank (\d+|\?)", text)
    *said, last = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    by = f"by the launcher of {short(_template_path(around))}"
    if last == "ended 0" and set(ranks) == {"0", "1"}:
        return ok("MPI", f"two ranks started on {node} {by}")
    if last == "ended 0":
        why = f"{len(ranks)} of them began" if len(ranks) != 2 else "they do not know their number"
        advice = "Should it be mpirun, or srun with --mpi? Both must suit the MPI that the tool is built with."
        return warning("MPI", f"two ranks were not started on {node} {by}: {why}", advice)
    why = next((line for line in said if re.search("not found|[Nn]o such file", line)), said[-1] if said else last)
    why = f"{last.replace('ended', 'ended with code')}: {why[-160:]}"
    advice = "Load the module that has it in the template, or write the launcher that your nodes have."
    return failed("MPI", f"two ranks could not be started on {node} {by}: {why}", advice)


def _has_failed(slurm: Slurm, number: int) -> bool:
    """Whether nothing can come any more. What a job wrote that has ended well may still be on its way to us."""
    slurm.seconds = 2.5
    try:
        found = [state_meaning(state) for state in slurm.others(number)]
    except NotKnown:
        return False
    return bool(found) and all(one.phase == Phase.ENDED and one is not state_meaning("COMPLETED") for one in found)


def _trial_folder(around: Surroundings) -> Path:
    """Below the project, where one can write there, else where this user's programs keep their own."""
    places = [cache_folder()]
    if around.root is not None:
        places.insert(0, ProjectPaths(around.root).state)
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix="doctor-", dir=place))
        except OSError:
            if place == places[-1]:
                raise
    raise AssertionError("unreachable")


def _submit(around: Surroundings, slurm: Slurm, folder: Path, name: str, ranks: int) -> int:
    script, tasks, submit = folder / "answer.sh", folder / "tasks.sh", folder / "submit.sh"
    smallest = {"nodes": 1, "tasks": ranks, "cpus": 1, "gpus": 0, "memory_gb": 1, "minutes": 5}
    instance = Instance(id="doctor", type="doctor", resources=smallest)
    asked = effective(Needs(), around.site, instance, around.project.resources if around.project else None)
    found = read_template(_template_path(around))
    filled = _fill(around, found, asked, tasks)
    check(filled, found)
    replace_text(script, _ANSWER + (_ASK_RANKS if ranks > 1 else ""))
    replace_text(tasks, render_tasks([[script]], filled.launch, "crboost doctor"))
    replace_text(submit, filled.text)
    options = [f"--job-name={name}", f"--chdir={folder}", "--output=log", "--error=log", "--open-mode=append"]
    options += ["--no-requeue", "--export=ALL", *filled.options, *around.site.slurm.options]
    return slurm.submit(options, submit, folder)


def _came_back(around: Surroundings, text: str, number: int, seconds: float) -> Iterator[Finding]:
    """What the node said of itself."""
    node, bash, runtime, *_ = [*text.splitlines(), "", "", ""]
    yield ok("a job", f"job {number} ran on {node} and its file was seen after {seconds:.1f} s")
    if tuple(map(int, re.findall(r"\d+", bash)[:2])) < (4, 2):
        yield failed("node", f"bash {bash} on {node}", "Task scripts need bash 4.2: ask your administrator.")
    containers = [name for name, tool in around.site.tools.items() if tool.container]
    if containers and not runtime:
        yield failed(
            "node", f"neither apptainer nor singularity on {node}, but {listed(containers, 3)} need one",
            "Load its module in the template, or ask your administrator.",
        )  # fmt: skip
    elif containers:
        yield ok("node", f"{node} has {runtime}")


def _did_not_come(slurm: Slurm, folder: Path, number: int, seconds: float) -> Finding:
    """Why, as far as Slurm tells."""
    queue = slurm.queue()
    row = queue.whole.get(number) or queue.row((number, 0))
    if row is not None and row.phase == Phase.PENDING:
        why = waiting_words(row.reason, partition=row.partition, gpus=False, ahead=None)
        found = f"job {number} had not begun after {seconds:.0f} s: {why}"
        return warning("a job", found, "Nothing is wrong if the queue is full: try again later.")
    if row is not None and row.phase == Phase.RUNNING:
        found = f"job {number} runs on {row.node}, but its file was not seen after {seconds:.0f} s"
        return warning(
            "a job", found, f"Is {short(folder.parent)} there on {row.node}? A slow file system shows it later."
        )
    with contextlib.suppress(OSError):
        lines = (folder / "log").read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if last:
            return failed("a job", f"job {number} ended without its file: {last[:160]}", "Correct the template.")
    state = "Slurm has forgotten it" if row is None else f"it {state_meaning(row.state).words}"
    where = f" on {row.node}" if row is not None and row.node else ""
    return failed(
        "a job", f"job {number} wrote nothing: {state}{where}", f"Is {short(folder.parent)} there on the nodes?"
    )


def _template_path(around: Surroundings) -> Path:
    named = around.site.qsub.template
    return Path(named) if named else around.data / "qsub" / "slurm.sh"


def _fill(around: Surroundings, found: Template, asked: Resources, tasks: Path) -> Filled:
    return fill(found, asked, around.site.qsub, job_folder="crboost/doctor", tasks_file=tasks)


def effective_of_all(site: Site, project: ProjectFile | None = None) -> dict[str, dict[str, Sourced[ResourceValue]]]:
    """What a task of each job asks for: of the project's pipeline, or of every job type at this site."""
    known = job_types()
    jobs = project.pipeline if project is not None else [Instance(id=name, type=name) for name in known]
    common = project.resources if project is not None else None
    return {
        one.id: effective(known[one.type].needs, site, one, common)
        for one in jobs
        if one.type in known and not known[one.type].internal
    }


def _asked(around: Surroundings, field: str) -> dict[ResourceValue, list[str]]:
    """Every value of a resource field that anybody names, with where."""
    found: dict[ResourceValue, list[str]] = {}
    site, project = around.site, around.project
    tables: list[tuple[str, Mapping[str, ResourceValue]]] = [
        ("resources", site.resources),
        ("engine.resources", site.engine.resources),
        *((f"profiles.{name}", table) for name, table in site.profiles.items()),
        *((f"presets.{name}", table) for name, table in site.presets.items()),
    ]
    if project is not None:
        tables.append(("the project's resources", project.resources))
        tables += [(one.id, one.resources) for one in project.pipeline]
    for place, table in tables:
        value = table.get(field)
        if value is not None and value != "":
            found.setdefault(value, []).append(place)
    return found


def _ask(*argv: str) -> Answer:
    answer = ask(argv, SECONDS, env=environment())
    return answer if answer.code is None or answer.good else Answer(answer.code, answer.out, sentence(answer.err))
