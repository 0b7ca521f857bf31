"""The whole run as one bash file, with every command line complete: to read, to keep, or to run without this program.

Tasks run one after another. Each runs as it does under the engine (stage, commands, checks of the products, the same
files in its task folder), so a second run of the file goes on with what is not done yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from core import __version__
from core.cluster.machinery import MACHINERY
from core.cluster.quoting import comment, quote, words
from core.cluster.script import COMMON, preludes
from core.export.tasks import Export, Job, Task, make_export

FOLDER = "Script"
"""Where the results go, in the project."""

_RUNNER = r"""
# How a task is run.

stopped='' failed=0 child=''
trap 'stopped=1; [[ -z $child ]] || kill -TERM "$child" 2> /dev/null' INT TERM HUP

newest() { # folder of a task: its newest attempt into $attempt and $number
    number=0
    while [[ -e $1/$((number + 1)).claim ]]; do
        ((++number))
    done
    attempt=$1/$number
}

is_done() { # folder of a task
    local attempt number
    newest "$1"
    [[ -e $attempt.state ]] && grep -q '^{"state":"done"' "$attempt.state"
}

task() { # number of its function, job, key, folder, folders of the tasks that it needs
    local function=task_$1 name="$2 $3" key=$3 folder=$4 need job code=0
    local attempt number
    shift 4
    [[ -z $stopped ]] || return
    # the table of a job is made each time: there may be more tilt series for it
    if [[ $key != @tables ]] && is_done "$folder"; then
        echo "$name: done before"
        return
    fi
    for need; do
        if ! is_done "$need"; then
            job=${need%/job[0-9]*}
            echo "$name: left out, because ${job##*/} ${need##*/} is not done"
            ((++failed))
            return
        fi
    done
    newest "$folder"
    attempt=$folder/$((number + 1))
    mkdir -p -- "$folder" || exit
    printf '%s: ' "$name"
    (
        this=$attempt
        "$function"
        attempt=$this
        main
    ) &
    child=$!
    wait "$child"
    code=$?
    while kill -0 "$child" 2> /dev/null; do # a signal has ended the waiting, not the task
        wait "$child"
        code=$?
    done
    child=''
    if ((code == 0)); then
        echo 'done'
    else
        echo "not done, see $attempt.out and $attempt.err"
        ((++failed))
    fi
}
"""


def render_script(export: Export) -> str:
    """The text of the file."""
    root = str(export.sources.paths.root)
    numbered: list[tuple[int, Job, Task]] = []
    for job in export.jobs:
        for task in (*job.tasks, *([job.tables] if job.tables else [])):
            numbered.append((len(numbered) + 1, job, task))
    folders = {(job.id, task.key): str(task.paths.folder) for _, job, task in numbered}
    lines = [
        "#!/usr/bin/env bash",
        f"# {comment(export.name)}: the whole run. Written by crboost {__version__}, which it does not need.",
        *([f"# {export.note}"] if export.note else []),
        "#",
        "# It runs one task after another, and needs bash, coreutils, awk and the tools. A tilt series that fails",
        "# misses its own later steps only. Run again, it goes on with what is not done yet. Results:",
        *(f"#   {comment(str(job.folder))}: {comment(job.title)}" for job in export.jobs),
        "",
        "set -u",
        "unset -f command_not_found_handle",
        "export LC_ALL=C",
        f"cd -- {quote(root)} || exit",
        "",
        *_preludes(task for _, _, task in numbered),
        *(line for number, job, task in numbered for line in _function(number, job, task)),
        "# From here on the same in every such file. First what a task needs.",
        "",
        *MACHINERY.strip("\n").splitlines(),
        *_RUNNER.splitlines(),
        "",
        "# What is run.",
        "",
        *(
            words(
                ["task", str(number), job.id, task.key, str(task.paths.folder), *(folders[need] for need in task.needs)]
            )
            for number, job, task in numbered
        ),
        "",
        '[[ -z $stopped ]] || echo "stopped: run it again to go on"',
        '((failed == 0)) || echo "$failed of ' + f'{len(numbered)} tasks are not done"',
        "[[ -z $stopped ]] && ((failed == 0))",
    ]
    return "\n".join([*lines, ""])


def _preludes(tasks: Iterable[Task]) -> list[str]:
    """What comes before the runtime of containers, once for all tasks."""
    texts = [task.text for task in tasks]
    return [line for prelude in preludes().values() if any(prelude in text for text in texts) for line in (prelude, "")]


def _function(number: int, job: Job, task: Task) -> Iterable[str]:
    """What is the task's own in its script, as a function that sets it up."""
    yield f"# {comment(job.id)}, {comment(task.key)}"
    yield f"task_{number}() {{"
    yield from _own(task.text)
    yield "}"
    yield ""


def _own(text: str) -> list[str]:
    """The lines between the head of a task's script, which ends with its export of LC_ALL, and the machinery."""
    head, _, rest = text.partition("\nexport LC_ALL=C\n")
    assert rest, head
    own = rest.partition(f"\n{COMMON}\n")[0]
    for prelude in preludes().values():
        own = own.replace(f"{prelude}\n\n", "")
    return own.rstrip("\n").splitlines()


def export_script(root: Path, data: Path) -> str:
    """The whole run of a project. Raises :class:`InputError`: see :func:`core.export.tasks.make_export`."""
    # RELION's programs know a job by /jobNNN/ in its path.
    return render_script(make_export(root, data, lambda number, job: root / FOLDER / job / f"job{number:03d}"))
