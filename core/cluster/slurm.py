"""Slurm's own commands: ``sbatch``, ``squeue``, ``scancel``, ``sacct``, ``scontrol``. The only place that runs them.

Every call has a time limit, a clean environment and a line in the project's record of calls. Whatever is not a plain
answer raises :class:`NotKnown`: it means neither "finished" nor "failed" nor "not submitted". All calls may wait for
the network, so the engine makes them in threads.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.cluster.slurm_words import Phase, Refusal, StateMeaning, refusal, sentence, state_meaning, unanswered
from core.errors import CrboostError

SEPARATOR = "\x1f"
RECORD_BYTES = 1_000_000
_JOB = re.compile(r"[0-9]+")
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"

JobId = tuple[int, int]
"""Number of an array and index in it."""


class NotKnown(CrboostError):
    """Slurm did not answer, or not in a form that can be relied upon."""


class Refused(CrboostError):
    """``sbatch`` said no, for certain. ``fields``: the resource fields that it is about."""

    def __init__(self, said: str, kind: Refusal, fields: tuple[str, ...]) -> None:
        super().__init__(f"Slurm refused the job: {said}")
        self.said, self.kind, self.fields = said, kind, fields


@dataclass(frozen=True, slots=True)
class Row:
    """One job of the queue. ``name`` is the token of its submission, ``start`` the expected or true start (seconds
    since 1970, 0 where Slurm does not say), ``node`` where it runs or ran."""

    state: str
    reason: str
    node: str
    partition: str
    start: float
    name: str

    @property
    def meaning(self) -> StateMeaning:
        return state_meaning("LAUNCH_FAILED" if self.reason == "JobLaunchFailure" else self.state)

    @property
    def phase(self) -> Phase:
        return self.meaning.phase


@dataclass(frozen=True, slots=True)
class Queue:
    """All jobs of this user at one moment. ``whole``: arrays of which a row speaks for all indices without their own
    (cancelled before any of them began). ``names``: of all arrays."""

    rows: Mapping[JobId, Row]
    whole: Mapping[int, Row]
    names: Mapping[int, str]

    def row(self, job: JobId) -> Row | None:
        return self.rows.get(job) or self.whole.get(job[0])

    def named(self, token: str) -> int | None:
        """The array that was submitted under this name."""
        return next((array for array, name in self.names.items() if name == token), None)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a site's Slurm is like. ``min_job_age_seconds``: how long it remembers ended jobs."""

    cluster: str
    version: str
    max_array_size: int
    min_job_age_seconds: float
    accounting: bool


@dataclass(frozen=True, slots=True)
class Account:
    """What accounting says of an ended job. None where it does not know. ``memory_gb`` is the most that it held;
    ``name`` tells whose it is, since numbers of jobs begin again."""

    name: str
    state: str
    seconds: float | None
    cpu_seconds: float | None
    cpus: int | None
    memory_gb: float | None

    def usage(self) -> dict[str, float]:
        """``memory_gb``, ``minutes``, and ``cpu_percent`` of the cores that it was given, as far as they are known."""
        found = {} if self.memory_gb is None else {"memory_gb": round(self.memory_gb, 3)}
        if self.seconds is not None:
            found["minutes"] = round(self.seconds / 60.0, 2)
            if self.cpu_seconds is not None and self.cpus and self.seconds:
                found["cpu_percent"] = round(100.0 * self.cpu_seconds / (self.seconds * self.cpus), 1)
        return found


class Slurm:
    """``record``: the file of all calls. ``sbatch``: the command that takes a submission. ``seconds``: the time limit
    of one call."""

    def __init__(self, record: Path, sbatch: Sequence[str] = ("sbatch",), seconds: float = 30.0) -> None:
        self.record = record
        self.sbatch = tuple(sbatch)
        self.seconds = seconds

    def submit(self, options: Sequence[str], script: Path, folder: Path) -> int:
        """Submit ``script``; the job's number. Raises :class:`Refused`, or :class:`NotKnown` where it may be in the
        queue all the same."""
        done = self._call([*self.sbatch, "--parsable", *options, str(script)], folder)
        words = [line.strip().split(";")[0] for line in done.stdout.splitlines()]
        numbers = [word for word in words if _JOB.fullmatch(word)]  # a site's wrapper may print a banner
        if done.returncode == 0 and len(numbers) == 1:
            return int(numbers[0])
        said = sentence(done.stderr or done.stdout)
        if done.returncode > 0 and said and not unanswered(done.stderr):
            raise Refused(said, *refusal(done.stderr or done.stdout))
        raise NotKnown(f"sbatch did not say whether it submitted the job: {said or 'it said nothing'}")

    def queue(self) -> Queue:
        """All jobs of this user, also those that ended and are not forgotten yet, and in partitions that are hidden."""
        return parse_queue(self._answer(["squeue", "--me", "--all", "-t", "all", "-o", SEPARATOR.join(_FIELDS)]))

    def others(self, array: int) -> list[str]:
        """States of the jobs of one array, whoever owns it; none where Slurm knows it no more."""
        done = self._call(["squeue", "-h", "-t", "all", "-o", "%T", "-j", f"{array},{array}"])
        if done.returncode == 0 and not done.stderr.strip():
            return done.stdout.split()
        if "Invalid job id" in done.stderr:
            return []
        raise NotKnown(f"squeue did not answer: {sentence(done.stderr)}")

    def pending(self, partitions: Iterable[str]) -> list[tuple[str, int, int, int]]:
        """Every waiting job of some partitions: partition, priority, array, and how many of its tasks wait."""
        wanted = ",".join(sorted(partitions))
        text = self._answer(
            ["squeue", "-h", "-t", "PENDING", "-p", wanted, "-o", SEPARATOR.join(("%P", "%Q", "%F", "%K"))]
        )
        found = []
        for line in text.splitlines():
            parts = line.split(SEPARATOR)
            if len(parts) != 4 or not parts[1].isdigit() or not parts[2].isdigit():
                raise NotKnown(f"squeue printed what nobody understands: {line[:80]!r}")
            tasks = 1 if parts[3] == "N/A" else len(parse_indices(parts[3]))
            found.append((parts[0], int(parts[1]), int(parts[2]), tasks))
        return found

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel jobs (``123_4``, or ``123`` for a whole array). That none is left says only the queue: ``scancel``
        returns 0 for ended and unknown jobs, and 1 where one of many has just ended."""
        for begin in range(0, len(jobs), 500):
            done = self._call(["scancel", *jobs[begin : begin + 500]])
            if done.returncode and unanswered(done.stderr):
                raise NotKnown(f"scancel was not answered: {sentence(done.stderr)}")

    def throttle(self, array: int, most: int) -> None:
        """Let ``most`` tasks of an array run at once. Returns 1 where some have ended, which is no error."""
        done = self._call(["scontrol", "update", f"JobId={array}", f"ArrayTaskThrottle={most}"])
        if done.returncode and unanswered(done.stderr):
            raise NotKnown(f"scontrol was not answered: {sentence(done.stderr)}")

    def accounts(self, jobs: Iterable[str]) -> dict[str, Account]:
        """What accounting knows of ended jobs, by ``123_4``. Raises :class:`NotKnown` where there is none."""
        fields = "JobID,State,ElapsedRaw,TotalCPU,AllocCPUS,MaxRSS,JobName"
        return parse_accounts(self._answer(["sacct", "-n", "-P", "-j", ",".join(jobs), f"--format={fields}"]))

    def facts(self) -> Facts:
        """What Slurm is like here."""
        values: dict[str, str] = {}
        for line in self._answer(["scontrol", "show", "config"]).splitlines():
            name, equals, value = line.partition("=")
            if equals:
                values[name.strip()] = value.strip()
        try:
            return Facts(
                values["ClusterName"],
                values["SLURM_VERSION"],
                int(values["MaxArraySize"]),
                float(values["MinJobAge"].split()[0]),
                values["AccountingStorageType"] not in ("accounting_storage/none", "(null)")
                and shutil.which("sacct") is not None,
            )
        except (KeyError, ValueError, IndexError) as error:
            raise NotKnown("scontrol printed what nobody understands") from error

    def _answer(self, argv: Sequence[str]) -> str:
        done = self._call(argv)
        if done.returncode or unanswered(done.stderr):
            said = sentence(done.stderr) or f"it ended with code {done.returncode}"
            raise NotKnown(f"{argv[0]} did not answer: {said}")
        return done.stdout

    def _call(self, argv: Sequence[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        begun, clock = time.monotonic(), time.time()
        try:
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            self._note(clock, argv, time.monotonic() - begun, None, error.strerror or str(error))
            raise NotKnown(f"{argv[0]} cannot be started ({error.strerror})") from error
        with process:
            try:
                out, complaint = process.communicate(timeout=self.seconds)
            except subprocess.TimeoutExpired as error:
                os.killpg(process.pid, signal.SIGKILL)  # a site's wrapper has children
                self._note(clock, argv, time.monotonic() - begun, None, "no answer in time")
                raise NotKnown(f"{argv[0]} did not answer within {self.seconds:g} s") from error
        self._note(clock, argv, time.monotonic() - begun, process.returncode, complaint)
        return subprocess.CompletedProcess(argv, process.returncode, out, complaint)

    def _note(self, clock: float, argv: Sequence[str], seconds: float, code: int | None, said: str) -> None:
        """A call that cannot be noted is made all the same."""
        words = [word if len(word) <= 300 else f"{word[:300]}..." for word in argv[:40]]
        line = {
            "t": round(clock, 3),
            "call": [word.replace(SEPARATOR, "|") for word in words],
            "more": max(0, len(argv) - 40),
            "seconds": round(seconds, 3),
            "code": code,
            "said": sentence(said),
        }
        try:
            if self.record.exists() and self.record.stat().st_size > RECORD_BYTES:
                os.replace(self.record, self.record.with_suffix(".old.jsonl"))
            with open(self.record, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError:
            return


_FIELDS = ("%F", "%K", "%T", "%r", "%N", "%P", "%S", "%j")


def environment() -> dict[str, str]:
    """Ours for Slurm's commands: nothing of a job that we may run in, which would become options of the new one, and
    nothing that changes how they print."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(
            ("SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_", "SACCT_", "SRUN_", "PMI_", "PMIX_", "OMPI_")
        )
    }
    for name in ("SLURM_CONF", "SLURM_CONF_SERVER"):
        if name in os.environ:
            kept[name] = os.environ[name]
    return {**kept, "LC_ALL": "C", "SLURM_TIME_FORMAT": _TIME_FORMAT, "SLURM_BITSTR_LEN": "0"}


def slurm_is_there() -> bool:
    """Whether this host can speak to a Slurm: its commands and a configuration."""
    if shutil.which("sbatch") is None:
        return False
    named = os.environ.get("SLURM_CONF")
    places = [named] if named else ["/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf", "/run/slurm/conf/slurm.conf"]
    return any(Path(place).exists() for place in places)


def parse_queue(text: str) -> Queue:
    """``squeue`` with our format. Its header proves that it has answered, be it with nothing; what stands before that
    is a site's banner. Raises :class:`NotKnown` for anything else."""
    rows: dict[JobId, Row] = {}
    whole: dict[int, Row] = {}
    names: dict[int, str] = {}
    lines = iter(text.splitlines())
    if not any(line.count(SEPARATOR) == len(_FIELDS) - 1 and not line[0].isdigit() for line in lines):
        raise NotKnown(f"squeue printed what nobody understands: {text[:80]!r}")
    for line in lines:
        parts = line.split(SEPARATOR, len(_FIELDS) - 1)
        if len(parts) != len(_FIELDS) or not _JOB.fullmatch(parts[0]):
            raise NotKnown(f"squeue printed what nobody understands: {line[:80]!r}")
        array, indices, state, reason, node, partition, start, name = parts
        row = Row(state, reason, node, partition, _seconds_since_1970(start), name)
        names[int(array)] = name
        if indices == "N/A":
            whole[int(array)] = row
            continue
        for index in parse_indices(indices):
            rows[(int(array), index)] = row
    return Queue(rows, whole, names)


def parse_indices(text: str) -> list[int]:
    """``3-5,9,20-30:2%4`` as numbers. Raises :class:`NotKnown` for anything else."""
    found: list[int] = []
    for part in text.strip("[]").partition("%")[0].split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if match is None:
            raise NotKnown(f"squeue printed indices that nobody understands: {text[:80]!r}")
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        found.extend(range(first, last + 1, max(step, 1)))
    return found


def indices_text(indices: Sequence[int]) -> str:
    """``[0, 1, 2, 7]`` as ``0-2,7``."""
    parts: list[str] = []
    begin = previous = None
    for index in [*sorted(indices), None]:
        if begin is not None and previous is not None and index != previous + 1:
            parts.append(str(begin) if begin == previous else f"{begin}-{previous}")
            begin = None
        if begin is None:
            begin = index
        previous = index
    return ",".join(parts)


def parse_accounts(text: str) -> dict[str, Account]:
    """``sacct --parsable2``: the job's row has its state and times, the rows of its steps have the memory."""
    found: dict[str, Account] = {}
    for line in text.splitlines():
        parts = line.split("|", 6)
        if len(parts) != 7:
            raise NotKnown(f"sacct printed what nobody understands: {line[:80]!r}")
        job, dot, _ = parts[0].partition(".")
        memory = _gigabytes(parts[5])
        if not dot:
            seconds = float(parts[2]) if parts[2].isdigit() else None
            cpus = int(parts[4]) if parts[4].isdigit() else None
            found[job] = Account(parts[6], parts[1], seconds, _cpu_seconds(parts[3]), cpus, memory)
        elif job in found and memory is not None:
            found[job] = replace(found[job], memory_gb=max(memory, found[job].memory_gb or 0.0))
    return found


def _gigabytes(text: str) -> float | None:
    match = re.fullmatch(r"([0-9.]+)([KMGT]?)", text)
    if match is None:
        return None
    return float(match[1]) * {"": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40}[match[2]] / 1e9


def _cpu_seconds(text: str) -> float | None:
    """``[days-][hours:]minutes:seconds`` of sacct's TotalCPU."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):([0-9.]+)", text)
    if match is None:
        return None
    days, hours, minutes, seconds = match.groups()
    return int(days or 0) * 86400 + int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)


def _seconds_since_1970(text: str) -> float:
    try:
        return time.mktime(time.strptime(text, _TIME_FORMAT))
    except (ValueError, OverflowError):
        return 0.0
