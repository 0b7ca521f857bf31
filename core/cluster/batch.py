"""The table of tasks of one submission: which scripts each index of the array runs.

Slurm copies the script that is submitted, but a file that this one reads is read when a task starts: a table is never
rewritten. It needs bash 4.2 and coreutils.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.cluster.quoting import comment, words

_LAUNCH = r"""
# Runs a command with MPI as the site's template runs one.
crboost_launch() {
    local crboost_words='' crboost_word
    for crboost_word; do # the same as a text, for a template that hands it to another shell
        case $crboost_word in
        '' | *[!A-Za-z0-9_@%+=:,./-]*) crboost_word=\'${crboost_word//\'/\'\\\'\'}\' ;;
        esac
        crboost_words+="$crboost_word "
    done
    set +u # for the template's own variables
"""

_RUN = r"""
signal=''

see() { # script: a node may not see yet what another one wrote; listing its folder makes it look again
    until [[ -r $1 ]]; do
        [[ -z $signal ]] || return 143
        if ((SECONDS >= 90)); then
            echo "crboost: $1 cannot be seen on $HOSTNAME (looked for 90 s)." >&2
            return 75
        fi
        ls -- "${1%/*}" > /dev/null 2>&1
        sleep 1
    done
}

if (($# == 1)); then
    see "$1" || exit
    exec bash "$1"
fi

# Several, one after another. A signal is handed on to the one that runs, and no further one is started.
child='' code=0 good=''
trap 'signal=USR2 heard=1; kill -s USR2 $child 2> /dev/null' USR2
trap 'signal=TERM heard=1; kill -s TERM $child 2> /dev/null' TERM
for script; do
    [[ -z $signal ]] || break
    see "$script" || { code=$?; continue; }
    [[ -z $signal ]] || break
    bash "$script" < /dev/null &
    child=$!
    [[ -z $signal ]] || kill -s "$signal" "$child"
    code=127 heard=1
    while [[ -n $heard ]]; do # a signal ends the waiting, not the script
        heard=''
        wait "$child"
        ended=$?
        ((ended == 127)) || code=$ended
    done
    child=''
    ((code)) || good=1
done
[[ -z $good ]] || exit 0
exit "$code"
"""


def launcher(launch: str) -> list[str]:
    """The bash function with which task scripts launch their commands with MPI; ``launch`` is its body, from the filled
    template."""
    return [*_LAUNCH.splitlines(), f"    {launch}", "}", "export -f crboost_launch"]


def render_tasks(entries: Sequence[Sequence[Path]], launch: str, note: str) -> str:
    """The bash script that runs the task scripts of one array index: ``entries[SLURM_ARRAY_TASK_ID]``, the first where
    there is no array. ``launch`` comes from the filled template, ``note`` is a line of the header.

    One script takes its place, with its exit code. Several (a pack) give 0 if any of them did, else the last code. 75:
    a script cannot be seen, or there is no such index.
    """
    lines = [
        "#!/usr/bin/env bash",
        "# Which task scripts each index of the array runs. Needs bash and the tools, nothing else.",
        f"# {comment(note)}",
        *launcher(launch),
        "",
        'case "${SLURM_ARRAY_TASK_ID:-0}" in',
        *(f"{index}) set -- {words([str(script) for script in scripts])} ;;" for index, scripts in enumerate(entries)),
        '*) echo "crboost: there is no task $SLURM_ARRAY_TASK_ID in $0" >&2; exit 75 ;;',
        "esac",
        *_RUN.splitlines(),
    ]
    return "\n".join([*lines, ""])
