"""A scheme for RELION: ``Schemes/NAME`` with the whole pipeline as external jobs, which ``relion_schemer`` runs.

Beside RELION's own files (``scheme.star``, ``<job>/job.star``) it has ``tasks/``: one script for each task, the same
that the engine would run; and ``<job>.sh``, which RELION calls and which runs them: in the queue as an array with a
task for each index, elsewhere one after another; then the job's table, where it has one. Their command lines are
complete, so the folder of a job must be known before RELION gives it its number: it is ``jobs/<job>``, a link that is
set when the job begins.

RELION waits for a job's marker, whatever becomes of it in the queue: a task that is killed without a word (a node that
fails) leaves it waiting, as with RELION's own jobs.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core import __version__
from core.cluster.batch import launcher
from core.cluster.quoting import comment, quote, variable, words
from core.cluster.slurm import slurm_is_there
from core.cluster.template import Template, fill, read_template, relion_queue_options, relion_variables
from core.dataset.model import Sourced
from core.engine.rendering import TaskResources
from core.engine.tool_table import tool_of
from core.errors import InputError
from core.export.tasks import Export, Job, make_export
from core.files import replace_text, write_error
from core.formats import star
from core.project.site import Site
from core.relion.job_star import EXTERNAL, external_options, job_star
from core.tools.command import Command
from core.tools.slurm_in_container import find_slurm
from core.tools.table import ToolTable
from core.tools.wrapper import prelude, readable_prelude, wrap

TASKS, JOBS, START, QSUB_FILE, EXIT = "tasks", "jobs", "start.sh", "qsub.sh", "EXIT"
_TAKEN = (TASKS, JOBS, "start", "qsub", EXIT)
MOST_PARAMETERS = 10
MOST_INDICES = 1000
"""Of one array: Slurm's default allows 0 to 1000."""

QSUB = """\
#!/bin/bash
# RELION submits its jobs with this one; what they ask for stands in their qsub option.
#SBATCH --job-name=XXXnameXXX
#SBATCH --output=XXXoutfileXXX
#SBATCH --error=XXXerrfileXXX
XXXcommandXXX
"""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_LINE = 100

_JOB = r"""
if [[ ${1-} != --o || -z ${2-} ]]; then
    echo 'This is an external job of RELION: --o and the folder of the job are missing.' >&2
    exit 2
fi
cd -- "$project" || exit
job=${2%/}
ended=$job/ended/${SLURM_ARRAY_JOB_ID:-$HOSTNAME.$$}
mkdir -p -- "$scheme/jobs" "$ended" || exit
link=$scheme/jobs/.$name.$HOSTNAME.$$
ln -s -- "../../../$job" "$link" && mv -f -T -- "$link" "$scheme/jobs/$name" || exit

first=0 step=1
if ((width > 0)); then
    first=${SLURM_ARRAY_TASK_ID:?is not set: RELION submits this as an array} step=$width
fi
child='' stopped=''
trap 'stopped=1; [[ -z $child ]] || kill -TERM "$child" 2> /dev/null' TERM INT HUP

run() { # key of a task
    mkdir -p -- "$job/tasks/$1" || return
    bash "$scheme/tasks/$name/$1.sh" < /dev/null &
    child=$!
    while kill -0 "$child" 2> /dev/null; do
        if [[ -e $job/RELION_JOB_ABORT_NOW ]]; then
            kill -TERM "$child" 2> /dev/null
        fi
        sleep 1
    done
    wait "$child"
    child=''
}

finish() { # each task writes its own file before it counts all of them, so whichever is the last one sees that it is
    local all=("$ended"/*) marker=FAILURE
    ((${#all[@]} == ${#keys[@]})) || return 0
    mkdir -- "$ended.counted" 2> /dev/null || return 0 # two may see it
    if [[ -e $job/RELION_JOB_ABORT_NOW ]]; then
        marker=ABORTED
    elif cat -- "${all[@]}" | grep -qx 'done' && tables; then
        marker=SUCCESS
        outputs
    fi
    : > "$job/RELION_JOB_EXIT_$marker"
}

tables() { # the table of the tilt series that are done, where the job has one
    [[ -n $tables ]] || return 0
    run "$tables"
    grep -q '^{"state":"done"' "$job/tasks/$tables/1.state"
}

outputs() { # what RELION offers to later jobs; paths in it as RELION numbers them
    [[ -n $output && -s $job/$output ]] || return 0
    local table
    for table in "$job"/{,tables/,tilt_series/,series/*/,series/*/tilt_series/}*.star; do
        if [[ -f $table ]] && grep -q -F "$scheme/jobs/$name/" "$table"; then
            sed "s|$scheme/jobs/$name/|$job/|g" "$table" > "$table.new" && mv -f -- "$table.new" "$table"
        fi
    done
    printf '\ndata_output_nodes\n\nloop_\n_rlnPipeLineNodeName #1\n_rlnPipeLineNodeTypeLabel #2\n%s %s\n\n' \
        "$job/$output" "$node" > "$job/RELION_OUTPUT_NODES.star"
}

for ((index = first; index < ${#keys[@]}; index += step)); do
    key=${keys[index]} how=failed
    if [[ -z $stopped && ! -e $job/RELION_JOB_ABORT_NOW ]]; then
        run "$key"
        grep -q '^{"state":"done"' "$job/tasks/$key/1.state" && how='done'
    fi
    echo "$name $key: $how"
    echo "$how" > "$ended/$index"
done
finish
"""


@dataclass(frozen=True, slots=True)
class Scheme:
    """What was written. ``start``: the script that runs it, where RELION is among the site's tools."""

    folder: Path
    jobs: tuple[str, ...]
    start: Path | None


def export_scheme(root: Path, data: Path, name: str) -> Scheme:
    """Write ``Schemes/<name>``. Raises :class:`InputError` where it is there already, for a bad name, and see
    :func:`core.export.tasks.make_export`."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for a scheme: letters, digits, _ and - only.")
    folder = root / "Schemes" / name
    if folder.exists():
        raise InputError("is there already: choose another name, or move it away.", folder)
    export = make_export(root, data, lambda _, job: folder / JOBS / job)
    taken = [job.id for job in export.jobs if job.id in _TAKEN]
    if taken:
        raise InputError(f"A job with the id {taken[0]} cannot be part of a scheme: give it another one.")
    new = folder.with_name(f".{name}.{os.getpid()}")
    try:
        (new / TASKS).mkdir(parents=True)
        start = _write(export, name, new)
        new.rename(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return Scheme(folder, tuple(job.id for job in export.jobs), folder / START if start else None)


def _write(export: Export, name: str, new: Path) -> bool:
    """All files of the scheme into the folder ``new``. Whether there is one that starts it."""
    site = export.sources.site
    queue = None
    if site.submitter == "slurm" or (site.submitter == "auto" and slurm_is_there()):
        own = new / QSUB_FILE
        if not site.qsub.template:
            _script(own, QSUB)
        queue = read_template(Path(site.qsub.template) if site.qsub.template else own)
    names = {job.id for job in export.jobs}
    for job in export.jobs:
        found = _queue(job, site, queue, name) if queue else _Queue({}, "", 0)
        (new / TASKS / job.id).mkdir()
        for task in (*job.tasks, *([job.tables] if job.tables else [])):
            _script(new / TASKS / job.id / f"{task.key}.sh", task.text)
        _script(new / f"{job.id}.sh", _job_script(job, export, name, found))
        before = [producer for producer in job.producers if producer in names][:MOST_PARAMETERS]
        above = _table_above(job, {one.id: one for one in export.jobs})
        options = {
            "in_mic": f"Schemes/{name}/{above[0]}/{above[1]}" if above else "",
            "fn_exe": f"Schemes/{name}/{job.id}.sh",
            "nr_threads": str(TaskResources.of(job.resources).cpus),
            **{f"param{number}_label": producer for number, producer in enumerate(before, 1)},
            # relion_schemer puts the folder of that job here, and in in_mic
            **{f"param{number}_value": f"Schemes/{name}/{producer}/" for number, producer in enumerate(before, 1)},
            **found.options,
        }
        (new / job.id).mkdir()
        replace_text(new / job.id / "job.star", job_star(EXTERNAL, external_options(options), is_tomo=False))
    replace_text(new / "scheme.star", _scheme_star(name, [job.id for job in export.jobs]))
    start = _start(export, name, queue is not None)
    if start:
        _script(new / START, start)
    return bool(start)


def _table_above(job: Job, jobs: Mapping[str, Job]) -> tuple[str, str] | None:
    """The nearest job before this one that offers a STAR file to RELION, and the file: RELION waits for an input that
    is not there."""
    before = [jobs[name] for name in job.producers if name in jobs]
    for one in before:
        if one.output:
            return one.id, one.output[0]
    return next((found for one in before if (found := _table_above(one, jobs))), None)


def _script(path: Path, text: str) -> None:
    replace_text(path, text)
    path.chmod(0o755)


@dataclass(frozen=True, slots=True)
class _Queue:
    """Options of ``job.star`` for the queue, how the site's template launches MPI, and how many indices the array of a
    job has (0: there is no queue)."""

    options: Mapping[str, str]
    launch: str
    width: int


def _queue(job: Job, site: Site, template: Template, name: str) -> _Queue:
    width = min(len(job.tasks), MOST_INDICES)
    resources = dict(job.resources)
    minutes, at_once = resources.get("minutes"), resources.pop("at_once", None)
    if minutes is not None:
        resources["minutes"] = Sourced(int(str(minutes.value)) * math.ceil(len(job.tasks) / width), minutes.source)
    filled = fill(template, resources, site.qsub, job_folder="External/job", tasks_file=Path("/tasks"))
    running = f"%{at_once.value}" if at_once is not None and at_once.value else ""
    words_of_sbatch = [f"--array=0-{width - 1}{running}", "--open-mode=append", *filled.options, *site.slurm.options]
    own = {"do_queue": "Yes", "qsubscript": f"Schemes/{name}/{QSUB_FILE}"}
    qsub = f"{site.qsub.command} {words(words_of_sbatch)}"
    return _Queue({**own, **relion_queue_options(site.qsub, resources), "qsub": qsub}, filled.launch, width)


def _job_script(job: Job, export: Export, name: str, queue: _Queue) -> str:
    output, node = job.output or ("", "")
    lines = [
        "#!/usr/bin/env bash",
        f"# {comment(job.id)}: {comment(job.title)}. Written by crboost {__version__}, which it does not need.",
        *([f"# {export.note}"] if export.note else []),
        "# An external job of RELION. "
        + (
            "Each index of its array in the queue does a task, the last one ends the job."
            if queue.width
            else "It does its tasks one after another."
        ),
        "",
        "set -u",
        variable("project", str(export.sources.paths.root)),
        variable("scheme", f"Schemes/{name}"),
        variable("name", job.id),
        variable("output", output),
        variable("node", node),
        variable("tables", job.tables.key if job.tables else ""),
        f"width={queue.width}",
        "keys=(",
        *(f"    {quote(task.key)}" for task in job.tasks),
        ")",
        *(launcher(queue.launch) if queue.width else []),
        *_JOB.splitlines(),
    ]
    return "\n".join([*lines, ""])


def _scheme_star(name: str, jobs: Sequence[str]) -> str:
    undefined = "undefined"
    operators = ("Name", "Type", "Output", "Input1", "Input2")
    columns = ("NameOriginal", "Name", "Mode", "HasStarted")
    edges = ("InputNodeName", "OutputNodeName", "IsFork", "OutputNodeNameIfTrue", "BooleanVariable")
    steps = zip(jobs, [*jobs[1:], EXIT], strict=True)
    return star.new_file(
        [
            star.list_block(
                "scheme_general", {"rlnSchemeName": f"Schemes/{name}/", "rlnSchemeCurrentNodeName": jobs[0]}
            ),
            star.loop_block(
                "scheme_operators",
                [f"rlnSchemeOperator{column}" for column in operators],
                [(EXIT, "exit", undefined, undefined, undefined)],
            ),
            star.loop_block(
                "scheme_jobs",
                [f"rlnSchemeJob{column}" for column in columns],
                [(job, job, "new", 0) for job in jobs],
            ),
            star.loop_block(
                "scheme_edges",
                [f"rlnSchemeEdge{column}" for column in edges],
                [(before, after, 0, undefined, undefined) for before, after in steps],
            ),
        ]
    ).render()


def _start(export: Export, name: str, queued: bool) -> str:
    """The script that runs the scheme, "" where RELION is not among the site's tools."""
    site, root = export.sources.site, export.sources.paths.root
    if "relion" not in site.tools:
        return ""
    tool = tool_of(site.tools["relion"])
    variables = relion_variables(site.qsub, site.resources) if queued and site.qsub.template else {}
    argv = ("relion_schemer", "--scheme", name, "--run", "--verb", "2", "--pipeline_control", f"Schemes/{name}/")
    binds = (site.qsub.template,) if site.qsub.template else ()
    command = Command("relion", argv, str(root), env=tuple(variables.items()), binds=binds)
    if queued and tool.kind == "container":
        command = find_slurm(export.sources.paths.state / "slurm").given_to(command)
    lines = [
        "#!/usr/bin/env bash",
        f"# Runs the scheme {name} with RELION. Written by crboost {__version__}, which it does not need.",
        f"cd -- {quote(str(root))} || exit",
        *(f"export {variable(key, value)}" for key, value in variables.items()),
        *_exec(wrap(command, ToolTable({"relion": tool}), project=root)),
    ]
    return "\n".join([*lines, ""])


def _exec(argv: Sequence[str]) -> Iterator[str]:
    """The lines that become this command. What comes before the runtime of containers can be read."""
    if prelude("none") in argv:
        yield from ("", f"container={quote(readable_prelude('none'))}", "")
    rows = ["exec"]
    for argument in argv:
        word = '"$container"' if argument == prelude("none") else quote(argument)
        if argument.startswith("-") or len(rows[-1]) + len(word) > _LINE:
            rows.append(word)
        else:
            rows[-1] += f" {word}"
    yield " \\\n    ".join(rows)
