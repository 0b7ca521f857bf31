"""The part of a task script that is the same in every task (bash 4.2, coreutils, awk). See ``core.cluster.script``."""

from __future__ import annotations

MACHINERY = r"""
started=0 step=claim job='' child='' watcher='' code=0
if [[ -n ${SLURM_JOB_ID:-} ]]; then
    HOSTNAME=${SLURMD_NODENAME:-$HOSTNAME} # as the queue calls it
fi

finish() { # state, exit code of the failed command, reason
    trap '' TERM INT HUP USR2
    local now text=${3:0:1500}
    printf -v now '%(%s)T' -1
    escape "$text"
    printf '{"state":"%s","code":%d,"step":"%s","reason":"%s","job":"%s","host":"%s","start":%d,"end":%d}\n' \
        "$1" "$2" "${step//[\"\\]/ }" "$escaped" "$job_text" "$HOSTNAME" "$started" "$now" > "$attempt.state.$$.tmp" &&
        mv -f -- "$attempt.state.$$.tmp" "$attempt.state" || exit 90
    drop "$1"
    printf '[crboost] %s%s\n' "$1" "${text:+: $text}"
    case $1 in done) exit 0 ;; blocked) exit 75 ;; stopped) exit 143 ;; *) exit 1 ;; esac
}

fail() { finish failed "${2:-0}" "$1"; }

drop() { { : > "$inbox~$1"; } 2> /dev/null; } # an empty file that tells the engine to look here

escape() { # text for JSON, into $escaped
    escaped=${1//\\/\\\\}
    escaped=${escaped//\"/\\\"}
    escaped=${escaped//[[:cntrl:]]/ }
}

pause() { # so that a signal is heard at once
    sleep "$1" &
    wait "$!"
}

end_group() { # process group, seconds of grace
    kill -TERM -- "-$1" 2> /dev/null || return 0
    kill -CONT -- "-$1" 2> /dev/null
    local left
    for ((left = $2 * 20; left > 0; left--)); do
        kill -0 -- "-$1" 2> /dev/null || return 0
        sleep 0.05
    done
    kill -KILL -- "-$1" 2> /dev/null
    for ((left = 40; left > 0; left--)); do
        kill -0 -- "-$1" 2> /dev/null || return 0
        sleep 0.05
    done
}

on_signal() { # its name: end what runs, then say so
    trap '' TERM INT HUP USR2
    local pid
    [[ -n $watcher ]] && kill -KILL -- "-$watcher" 2> /dev/null
    for pid in $(jobs -p); do
        kill -TERM "$pid" 2> /dev/null
    done
    [[ -n $child ]] || child=$(jobs -p) # started, but not yet noted
    for pid in $child; do
        end_group "$pid" 10
    done
    if [[ $1 == USR2 ]]; then
        fail 'The time limit of the job was reached.' 140
    fi
    finish stopped 0 "Ended from outside (SIG$1)."
}

claim() {
    local mine private owner='' fields tries
    if [[ -n ${SLURM_ARRAY_JOB_ID:-} && -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
        job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    else
        job=${SLURM_JOB_ID:-${CRBOOST_JOB_ID:-}}
    fi
    job=${job//[[:cntrl:]]/_}
    escape "$job"
    job_text=$escaped
    read -r fields < "/proc/$$/stat" && fields=(${fields##*) })
    pid_start=${fields[19]:-0}
    mine=$job
    # Only Slurm runs one id again after a requeue. Elsewhere an id that runs twice is a copy.
    [[ -n ${SLURM_JOB_ID:-} ]] || mine="$job $$ $pid_start"
    private=$attempt.claim.$HOSTNAME.$$.$RANDOM
    printf '%s\n' "$mine" > "$private" || exit 90
    ln -- "$private" "$attempt.claim" 2> /dev/null
    for ((tries = 5; tries > 0; tries--)); do
        { IFS= read -r owner < "$attempt.claim"; } 2> /dev/null && break
        pause 0.5
    done
    rm -f -- "$private"
    if [[ $owner != "$mine" ]]; then
        printf '[crboost] duplicate: %s belongs to %s, this is %s\n' "$attempt" "${owner:-nobody known}" "$mine"
        drop duplicate
        exit 0
    fi
    if [[ -e $attempt.state ]]; then
        printf '[crboost] %s has ended already\n' "$attempt"
        exit 0
    fi
}

mark_start() {
    local boot='' temporary=$attempt.start.$$.tmp
    { read -r boot < /proc/sys/kernel/random/boot_id; } 2> /dev/null
    printf -v started '%(%s)T' -1
    printf '{"job":"%s","host":"%s","boot":"%s","pid":%d,"pid_start":%d,"time":%d}\n' \
        "$job_text" "$HOSTNAME" "$boot" "$$" "$pid_start" "$started" > "$temporary" &&
        mv -f -- "$temporary" "$attempt.start" || exit 90
    drop running
}

look_for_inputs() { # a folder is listed each time, which makes a slow file system look again
    local file missing entry wait_for=0.2 began=$SECONDS
    while :; do
        missing=()
        for file in "${inputs[@]}"; do
            [[ -e $file ]] || missing+=("$file")
        done
        ((${#missing[@]})) || break
        if ((SECONDS - began >= visible_seconds)); then
            missing="${#missing[@]} of ${#inputs[@]} inputs cannot be seen on $HOSTNAME, first ${missing[0]}"
            finish blocked 0 "$missing (looked for $visible_seconds s)"
        fi
        pause "$wait_for"
        [[ $wait_for == 0.2 ]] && wait_for=1 || wait_for=3
        file=''
        for entry in "${missing[@]}"; do
            [[ ${entry%/*} == "$file" ]] && continue
            file=${entry%/*}
            for entry in "$file"/*; do break; done
        done
    done
    for file in "${inputs[@]}"; do
        [[ -r $file ]] || finish blocked 0 "The input $file may not be read on $HOSTNAME."
    done
}

make_folders() {
    local folder missing=() from
    for folder; do
        [[ -d $folder ]] || missing+=("$folder")
    done
    for ((from = 0; from < ${#missing[@]}; from += 500)); do
        mkdir -p -- "${missing[@]:from:500}" || fail "A folder cannot be made: ${missing[from]}"
    done
}

not_a_file() { # never replaces a file by a link
    if [[ -e $1 && ! -L $1 ]]; then
        fail "A link is to be made where there is a file: $1"
    fi
}

link_into() { # folder, targets
    local folder=$1 target from
    shift
    for target; do
        not_a_file "$folder/${target##*/}"
    done
    for ((from = 1; from <= $#; from += 500)); do
        ln -s -f -n -t "$folder" -- "${@:from:500}" || fail "Links cannot be made in $folder"
    done
}

link() { # path, target
    not_a_file "$1"
    ln -s -f -n -T -- "$2" "$1" || fail "The link cannot be made: $1"
}

# Copies keep the source's time, so that only a rewritten one counts as a product, but may be written to; a link in
# their place is replaced, not written through.
as_copies=(--remove-destination --preserve=timestamps --no-preserve=mode)

copy() { # path, source
    cp "${as_copies[@]}" -T -- "$2" "$1" || fail "$2 cannot be copied to $1"
}

copy_into() { # folder, sources
    local folder=$1 from
    shift
    for ((from = 1; from <= $#; from += 500)); do
        cp "${as_copies[@]}" -t "$folder" -- "${@:from:500}" || fail "Files cannot be copied to $folder, first ${!from}"
    done
}

copy_matching() { # folder, source folder, pattern
    local file files=() IFS=''
    for file in "$2"/$3; do
        [[ -f $file ]] && files+=("$file")
    done
    ((${#files[@]})) || return 0
    copy_into "$1" "${files[@]}"
}

move_aside() { # path, where to
    [[ -e $1 || -L $1 ]] || return 0
    local to=$2 number=1
    while [[ -e $to || -L $to ]]; do
        to=$2.$((++number))
    done
    { mkdir -p -- "${to%/*}" && mv -T -- "$1" "$to"; } || fail "$1 cannot be moved out of the way."
}

write_text() { # path, text; a link in its place is replaced, not written through
    if [[ -L $1 ]]; then
        rm -f -- "$1"
    fi
    printf '%s' "$2" > "$1" || fail "$1 cannot be written."
}

write_stamp() { # lists of products; ends up strictly newer than whatever is there before the commands run
    local list file tries=0
    step=stamp
    printf '%s\n' "$job" > "$attempt.stamp" || fail "$attempt.stamp cannot be written."
    for list; do
        list="$list[@]"
        for file in "${!list}"; do
            while [[ -e $file && ! $attempt.stamp -nt $file ]]; do
                ((tries++ < 150)) || fail "An older product has a time in the future; move it away: $file"
                sleep 0.02
                printf '%s\n' "$job" > "$attempt.stamp"
            done
        done
    done
}

watch() { # process group, folders: a file in one of them means that the command would hang
    local group=$1 folder file
    shift
    while sleep 2 && [[ -d /proc/$$ ]]; do
        for folder; do
            for file in "$folder"/*; do
                if [[ -e $file ]]; then
                    printf '%s' "$file" > "$attempt.hang"
                    end_group "$group" 10
                    exit
                fi
            done
        done
    done
}

run() { # number, program, title, text that shows that it is alive, folders to watch
    local number=$1 program=$2 marker=$4 mark now first folder launch
    step="command $number of $commands: $program"
    printf -v now '%(%Y-%m-%d %H:%M:%S)T' -1
    mark="[crboost $$.$started.$number]"
    printf '%s %s %s, job %s: %s\n' "$mark" "$now" "$HOSTNAME" "$job" "$3"
    shift 4
    [[ ! -e $attempt.hang ]] || rm -f -- "$attempt.hang"
    for folder; do # of a run that was cut off: its marks would end this one at once
        if [[ -d $folder ]]; then
            move_aside "$folder" "${attempt%/*}/aside/${attempt##*/}/watched/${folder##*/}"
        fi
    done
    set -m # a process group of its own
    "command_$number" < /dev/null &
    child=$!
    if (($#)); then
        watch "$child" "$@" < /dev/null &
        watcher=$!
    fi
    set +m
    wait "$child"
    code=$?
    if ((code == 143 || code == 130 || code == 140)); then
        pause 0.5 # the signal may be on its way to us too, and then decides
    fi
    if [[ -n $watcher ]]; then
        kill -TERM -- "-$watcher" 2> /dev/null
        wait "$watcher"
        watcher=''
    fi 2> /dev/null
    end_group "$child" 5 # what it left behind
    child=''
    if [[ -e $attempt.hang ]]; then
        IFS= read -r -d '' folder < "$attempt.hang"
        rm -f -- "$attempt.hang"
        fail "$program would have hung and was ended: $folder appeared." "$code"
    fi
    if ((code == 137)); then
        fail "$program was killed (SIGKILL), perhaps because it ran out of memory." "$code"
    elif ((code > 128 && code < 193)); then
        fail "$program was ended by SIG$(kill -l $((code - 128)))." "$code"
    elif ((code == 127)); then
        launch=''
        if [[ $(declare -f "command_$number") == *crboost_launch* ]]; then # its last line, as bash prints it
            launch=$(declare -f crboost_launch)
            launch=${launch%$'\n}'*}
            launch=${launch##*$'\n'}
            launch=", or what starts its ranks (${launch#"${launch%%[! ]*}"}),"
        fi
        fail "$program$launch was not found on $HOSTNAME." "$code"
    elif ((code == 126)); then
        fail "$program cannot be executed on $HOSTNAME." "$code"
    elif ((code)); then
        fail "$program ended with exit code $code." "$code"
    fi
    [[ -n $marker ]] || return 0
    first=$(mark=$mark marker=$marker awk '
        !on { on = index($0, ENVIRON["mark"]); next }
        index($0, ENVIRON["marker"]) { found = 1; exit }
        lines < 3 && /[^ \t\r]/ { text = text (lines++ ? " / " : "") substr($0, 1, 200) }
        END { if (!found) print text; exit !found }' "$attempt.out") ||
        fail "$program refused its command line: ${first:-it said nothing}" "$code"
}

broken() { # reason, file: only the first is kept
    [[ -n $first_broken ]] || first_broken="$1: $2"
}

check() { # kind, how many must be whole, list of paths, words
    local kind=$1 needed=$2 list="$3[@]" file first_broken='' good=() from count=0
    step=products
    for file in "${!list}"; do
        if [[ $kind == absent && (-e $file || -L $file) ]]; then
            broken 'A file must not be there' "$file"
        elif [[ $kind == absent ]]; then
            ((++count))
        elif [[ ! -e $file ]]; then
            broken 'The product is missing' "$file"
        elif [[ ! -s $file ]]; then
            broken 'The product is empty' "$file"
        elif [[ $kind != any_age && $attempt.stamp -nt $file ]]; then
            broken 'The product is older than this attempt' "$file"
        else
            good+=("$file")
        fi
    done
    for ((from = 0; from < ${#good[@]}; from += 500)); do
        case $kind in
        mrc) whole_mrc "${good[@]:from:500}" ;;
        xml) whole_text xml '' "${good[@]:from:500}" ;;
        words) whole_text words "$4" "${good[@]:from:500}" ;;
        *) ((count += (${#good[@]} - from < 500 ? ${#good[@]} - from : 500))) ;;
        esac
    done
    ((count >= needed)) || fail "$first_broken (whole: $count, needed: $needed)"
}

whole_mrc() { # files; all headers in one go: words 1 to 4 are nx ny nz mode, word 24 the length of the extended header
    local all=("$@") sizes files=() lengths=() words halves shape index nx ny nz mode extended
    sizes=($(stat -L -c %s -- "$@"))
    ((${#sizes[@]} == $#)) || { broken 'A product vanished while it was checked, one of' "$1" && return; }
    for ((index = 0; index < $#; index++)); do
        if ((sizes[index] < 1024)); then
            broken "The product is no whole MRC file (${sizes[index]} bytes)" "${all[index]}"
        else
            files+=("${all[index]}") lengths+=("${sizes[index]}")
        fi
    done
    ((${#files[@]})) || return 0
    words=($(head -q -c 96 -- "${files[@]}" | od -A n -v -t d4))
    ((${#words[@]} == 24 * ${#files[@]})) || { broken 'A product changed while it was checked, one of' "$1" && return; }
    for ((index = 0; index < ${#files[@]}; index++)); do
        nx=${words[index * 24]} ny=${words[index * 24 + 1]} nz=${words[index * 24 + 2]}
        mode=${words[index * 24 + 3]} extended=${words[index * 24 + 23]}
        case $mode in # half bytes of a voxel
        0) halves=2 ;;
        1 | 6 | 12) halves=4 ;;
        2 | 3) halves=8 ;;
        4) halves=16 ;;
        101) halves=1 ;;
        *) halves=0 ;;
        esac
        shape="$nx x $ny x $nz, mode $mode"
        if ((halves == 0 || extended < 0 || nx < 1 || ny < 1 || nz < 1)) ||
            ((nx > 1000000 || ny > 1000000 || nz > 1000000)); then
            broken "The product is no MRC file ($shape)" "${files[index]}"
        elif ((lengths[index] < 1024 + extended + (nx * halves + 1) / 2 * ny * nz)); then
            broken "The product is cut short (${lengths[index]} bytes for $shape)" "${files[index]}"
        else
            ((++count))
        fi
    done
}

whole_text() { # xml or words, words, files; one awk for all, which prints the number of each file that is not whole
    local kind=$1 words=$2 number what all
    shift 2
    all=("$@")
    ((count += $#))
    while IFS=' ' read -r number what; do
        ((--count))
        broken "The product is not whole ($what)" "${all[number - 1]}"
    done < <(kind=$kind words=$words awk '
        function judge(  i) {
            if (ENVIRON["kind"] == "xml") {
                sub(/[ \t\r]+$/, "", last)
                if (root == "" || substr(last, length(last) - length(root) - 2) != "</" root ">")
                    print number, (root == "" ? "no XML" : "no closing </" root ">")
                return
            }
            for (i = 1; i <= wanted; i++) if (!(i in seen)) { print number, "without " word[i]; return }
        }
        BEGIN { wanted = split(ENVIRON["words"], word, "\037") }
        FNR == 1 { if (number) judge(); number++; root = last = ""; split("", seen) }
        ENVIRON["kind"] == "words" { for (i = 1; i <= wanted; i++) if (index($0, word[i])) seen[i] = 1; next }
        root == "" && match($0, /<[A-Za-z_][^ \t\r\/>]*/) { root = substr($0, RSTART + 1, RLENGTH - 1) }
        /[^ \t\r]/ { last = $0 }
        END { if (number) judge() }' "$@")
}

main() {
    cd -- "$project" || exit 90
    claim
    trap 'on_signal TERM' TERM
    trap 'on_signal INT' INT
    trap 'on_signal HUP' HUP
    trap 'on_signal USR2' USR2
    exec >> "$attempt.out" 2>> "$attempt.err" || exit 90
    mark_start
    step=inputs
    ((${#inputs[@]})) && look_for_inputs
    step=stage
    stage
    work
    products
    step=''
    finish done 0 ''
}
"""
