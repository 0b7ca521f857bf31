"""Every tool of the site: is it there, does it run, which version is it, and does it take our command lines?"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from core.checks.findings import Check, Finding, failed, ok, warning
from core.checks.option_help import HELPS, Help, difference
from core.checks.probing import Answer, ask
from core.checks.slurm import RANK, is_used
from core.checks.surroundings import Surroundings, cache_folder, plural, short
from core.engine.tool_table import tool_of
from core.errors import CrboostError, listed
from core.jobs._registry import job_type, job_types
from core.project.model import Instance
from core.project.site import Tool
from core.tools.catalogue import Catalogue
from core.tools.command import Command
from core.tools.table import ToolTable
from core.tools.wrapper import launched, wrap

GROUP = "Tools"
SECONDS = 19.0
ASK_SECONDS = 12.0
"""For one call: the first start of an image on a network file system takes long, and so does a Python with CUDA."""
AT_ONCE = 3
"""Calls of one tool at the same time."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How a tool is asked for its version. ``mpi``: it has programs that run in ranks."""

    program: str
    arguments: tuple[str, ...]
    version: re.Pattern[str] = re.compile(r"[Vv]ersion:?\s+v?(\d[\w.+-]*)")
    mpi: bool = False


PROBES: Mapping[str, Probe] = {
    "warp": Probe("WarpTools", ("ts_ctf", "--help")),
    "relion": Probe("relion_refine", ("--version",), mpi=True),
    "imod": Probe("batchruntomo", ("-help",)),
    "aretomo2": Probe("AreTomo2", ("--version",)),
    "aretomo3": Probe("AreTomo3", ("--version",)),
    "aretomo": Probe("AreTomo", ("--version",)),
    "cryocare": Probe("cryoCARE_train.py", ("--help",)),
    "pytom": Probe("pytom_match_template.py", ("--help",)),
}
"""By the tool's name, or the beginning of it (``pytom_0.10``)."""

ALIGNERS = {
    "AreTomo2": "AreTomo2", "AreTomo3": "AreTomo3", "IMOD patches": "batchruntomo", "IMOD fiducials": "batchruntomo"
}  # fmt: skip
"""What WarpTools calls for each method of ``aligntiltsWarp``: it must be on the PATH beside it."""

_NOT_STARTED = (126, 127, 255)


def probe_of(name: str) -> Probe | None:
    return next((probe for known, probe in PROBES.items() if name == known or name.startswith(f"{known}_")), None)


def checks(around: Surroundings) -> list[Check]:
    found = [Check(GROUP, name, partial(_tool, around, name), SECONDS, LATE) for name in around.site.tools]
    return [
        *found,
        Check(GROUP, "job types", partial(missing_tools, around)),
        Check(GROUP, "GPU", partial(gpu, around)),
    ]


def _tool(around: Surroundings, name: str) -> Iterator[Finding]:
    """One tool, inside its wrapper as a task would run it, from an empty folder."""
    begun = time.monotonic()
    tool, probe = around.site.tools[name], probe_of(name)
    setting = f"tools.{name} in {short(around.site.origin(f'tools.{name}'))}"
    kind = "container" if tool.container else "binary"
    if tool.path and not os.path.exists(tool.path):
        yield failed(name, f"{short(tool.path)} is not there", f"Correct {setting}, or mount its disk.")
        return
    if tool.container and not os.access(tool.path, os.R_OK):
        yield failed(name, f"{short(tool.path)} may not be read", "Ask its owner for permission.")
        return
    if probe is None and not tool.container:
        yield ok(name, f"{kind} {short(tool.path)}; crboost has no way to try this tool")
        return
    with trial_folder() as folder:
        trial = Trial(name, tool, folder)
        if probe is None:
            answer = trial.ask("true")
            if answer.good:
                yield ok(name, f"{kind} {short(tool.path)} starts; crboost has no way to try the tool in it")
            else:
                yield failed(name, f"{short(tool.path)}: {answer.why}", f"Is it a whole image? {setting}")
            return
        answer = trial.ask(probe.program, *probe.arguments)
        version = probe.version.search(answer.text)
        if not answer.good and (version is None or answer.code is None or answer.code in _NOT_STARTED):
            advice = LATE if answer.late else f"Correct {setting}, or install it."
            yield failed(name, f"{probe.program} of {short(tool.path) or 'the PATH'}: {answer.why}", advice)
            return
        if probe is PROBES["warp"] and not HELPS["warp"].options(answer.text):
            first = answer.text.strip().partition("\n")[0][:120] or "nothing"
            yield failed(name, f"WarpTools ts_ctf --help lists no options, but says: {first}", f"Correct {setting}.")
            return
        if probe is PROBES["warp"]:
            yield from _warp(around, trial, answer.text, kind, begun + SECONDS - 2.0)
        else:
            told = f"version {version[1]}" if version else "it does not tell its version"
            yield ok(name, f"{kind}, {probe.program} runs, {told}")
        if probe is PROBES["relion"]:
            yield from _catalogue(around, trial, HELPS["relion"], "", begun + SECONDS - 5.0)
        if probe.mpi:
            yield from _two_ranks(around, trial)
        if tool.container and _gpus_here():
            seen = trial.ask("nvidia-smi", "-L", gpu=True)
            if seen.good:
                yield ok(f"{name} GPU", f"{plural(seen.out.count('GPU '), 'GPU')} visible in the container")
            else:
                yield warning(f"{name} GPU", f"not visible in the container: {seen.why}", _NV)


LATE = "It hangs, or is very slow to start from where it lies: try it by hand."
_NV = "Is NVIDIA's driver whole on this host? Is tools.*.gpu in conf.yaml right?"


class Trial:
    """Calls of one tool in ``folder``."""

    def __init__(self, name: str, tool: Tool, folder: Path) -> None:
        self.name, self.tool, self.folder = name, tool, folder
        self.table = ToolTable({name: tool_of(self.tool)})

    def ask(self, *argv: str, gpu: bool = False, ranks: int = 0, seconds: float = ASK_SECONDS) -> Answer:
        command = Command(self.name, argv, str(self.folder), gpu=gpu, mpi=ranks > 0)
        try:
            line = wrap(launched(command, self.table, ranks), self.table, project=self.folder)
        except CrboostError as error:
            return Answer(None, trouble=str(error))
        return ask(line, seconds, cwd=self.folder, name=argv[0])


@contextlib.contextmanager
def trial_folder() -> Iterator[Path]:
    """An empty folder that containers can be shown: not below /tmp, which they may have of their own."""
    parent: Path | None = cache_folder()
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
    except OSError:
        parent = None
    with tempfile.TemporaryDirectory(prefix="doctor-", dir=parent, ignore_cleanup_errors=True) as text:
        yield Path(text).resolve()


def warp_version(help_of_ts_ctf: str) -> Literal["head", "dev39"]:
    """WarpTools cannot tell its own versions apart: only an option can (facts/warptools.md)."""
    return "head" if "--task_dir" in help_of_ts_ctf else "dev39"


def _warp(around: Surroundings, trial: Trial, text: str, kind: str, deadline: float) -> Iterator[Finding]:
    name = trial.name
    found = warp_version(text)
    if found != around.site.warp_version:
        wanted = f"but warp.version is {around.site.warp_version}: its command lines would be refused"
        origin = short(around.site.origin("warp.version"))
        advice = f"Say warp: {{version: {found}}} in conf.yaml (now from {origin})."
        yield failed(name, f"{kind}, WarpTools runs and is {found}, {wanted}", advice)
    else:
        yield ok(name, f"{kind}, WarpTools runs, command lines of {found}")
    yield from _aligners(around, trial)
    yield from _catalogue(around, trial, HELPS["warp"], found, deadline)


def _catalogue(around: Surroundings, trial: Trial, how: Help, version: str, deadline: float) -> Iterator[Finding]:
    """The help of every command, those that job types use first, as far as time allows. ``version``: which one of the
    catalogue's it must be, by default the newest."""
    name = f"{trial.name} options"
    catalogue = Catalogue.load(around.data / "catalogues" / how.catalogue)
    version = version or catalogue.versions[-1]
    commands = sorted(catalogue.commands, key=lambda command: (command not in how.written, command))

    def help_of(command: str) -> str | None:
        left = deadline - time.monotonic()
        return trial.ask(*how.argv(command), seconds=min(left, ASK_SECONDS)).text if left > 0.2 else None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        texts = dict(zip(commands, pool.map(help_of, commands), strict=True))
    asked = {command: text for command, text in texts.items() if text is not None}
    found = {command: difference(how, catalogue.commands[command], version, asked[command]) for command in asked}
    differences = [one for one in found.values() if one is not None]
    missing = [(one.command, option) for one in differences for option in one.missing]
    new = [f"{one.command} {option}" for one in differences for option in one.new]
    broken = [command for command, one in found.items() if one is None and command in how.written]
    broken += [f"{command} {option}" for command, option in missing if option in how.written.get(command, ())]
    told = f"{len(differences)} of {plural(len(commands), 'command')} compared with our catalogue"
    if broken:
        advice = "Use another version of it, or a newer crboost."
        yield failed(name, f"crboost writes what it does not have: {listed(broken, 5)}", advice)
    elif missing:
        lacks = listed((" ".join(one) for one in missing), 4)
        yield warning(name, f"{told}; it does not have {lacks}", "Steps or extra arguments with these would fail.")
    else:
        more = f"; {plural(len(new), 'option')} new to crboost ({listed(new, 3)})" if new else ""
        yield ok(name, f"{told}{more}")


def _aligners(around: Surroundings, trial: Trial) -> Iterator[Finding]:
    """The programs that WarpTools calls to align tilt series."""
    programs = tuple(dict.fromkeys(ALIGNERS.values()))
    if trial.tool.container:
        told = trial.ask("bash", "-c", 'type -P "$@"', "type", *programs).out
        there = {os.path.basename(line) for line in told.splitlines()}
    elif trial.tool.modules:
        return
    else:
        there = {program for program in programs if shutil.which(program)}
    name = f"{trial.name} aligners"
    missing = [program for program in programs if program not in there]
    wanted = {ALIGNERS[method] for method in _methods(around)}
    if wanted & set(missing):
        found = f"{listed(sorted(wanted & set(missing)))} not on the PATH beside WarpTools, but aligntiltsWarp needs it"
        yield failed(name, found, "Add it to PATH (on the nodes too) or to the image, or set another method.")
    elif not there:
        found = f"none of {listed(programs)} on the PATH beside WarpTools"
        yield warning(name, found, "aligntiltsWarp needs one of them: add it to PATH or to the image.")
    else:
        yield ok(name, f"{listed(sorted(there))}{f'; not there: {listed(missing)}' if missing else ''}")


def _methods(around: Surroundings) -> list[str]:
    """The methods of alignment that the project's pipeline uses."""
    if around.project is None:
        return []
    return [
        str(one.parameters.get("method", job_type(one.type).parameters.model_fields["method"].default))
        for one in around.project.pipeline
        if one.type == "aligntiltsWarp" and not one.parameters.get("executable")
    ]


def _two_ranks(around: Surroundings, trial: Trial) -> Iterator[Finding]:
    """Two ranks on this host, started as a task's would be. Where Slurm's template starts them, the job that is sent
    through it tries that (:func:`core.checks.slurm.round_trip`)."""
    name = f"{trial.name} MPI"
    if trial.table.tool(trial.name).one_node:
        answer = trial.ask("bash", "-c", RANK, ranks=2)
        where = "by the mpirun in the image"
    elif is_used(around):
        return
    elif shutil.which("mpirun") is None:
        found = "not tried: mpirun, which would start the ranks of its programs here, is not on the PATH"
        yield warning(name, found, "Install Open MPI, or load its module before crboost.")
        return
    else:
        answer = ask(["mpirun", "-n", "2", "bash", "-c", RANK], ASK_SECONDS)
        where = "by the mpirun of this host"
    ranks = set(re.findall(r"rank (\d+)", answer.out))
    if ranks == {"0", "1"}:
        yield ok(name, f"two ranks started {where}")
    else:
        why = answer.why if not answer.good else f"it started {plural(len(ranks), 'rank')} that know their number"
        advice = f"Say tools.{trial.name}.mpi in conf.yaml: inside or outside of the image."
        yield warning(name, f"two ranks were not started {where}: {why}", advice)


def missing_tools(around: Surroundings) -> Iterator[Finding]:
    """Which job types (of the project's pipeline, else of all) need a tool that the site does not have."""
    known = job_types()
    if around.project is not None:
        jobs = [one for one in around.project.pipeline if one.type in known]
    else:
        jobs = [Instance(id=name, type=name) for name in known]
    lacking: dict[str, list[str]] = {}
    for one in jobs:
        for tool in known[one.type].tools:
            entry = one.tools.get(tool, tool)
            if entry not in around.site.tools:
                lacking.setdefault(entry, []).append(one.id)
    for entry, names in lacking.items():
        found = f"there is no tool {entry}, which {listed(names, 4)} {'needs' if len(names) == 1 else 'need'}"
        advice = f"Say where it is: tools.{entry} in conf.yaml; crboost config init looks for it."
        if around.project is not None and not around.project.rehearsal:
            yield failed("job types", found, advice)
        else:
            yield warning("job types", found, advice)
    if not lacking:
        yield ok("job types", f"every tool of {plural(len(jobs), 'job type')} is named")


def gpu(around: Surroundings) -> Iterator[Finding]:
    """GPUs of this host. On a head node there are none, and none are needed."""
    devices = _gpus_here()
    if devices:
        answer = ask(["nvidia-smi", "-L"], 8.0)
        cards = [line for line in answer.out.splitlines() if line.startswith("GPU ")]
        if answer.good and cards:
            names = dict.fromkeys(re.sub(r"^GPU \d+: | \(UUID.*", "", card) for card in cards)
            yield ok("GPU", f"{len(cards)} NVIDIA: {listed(names, 3)}")
        else:
            advice = "Is the driver that runs the one that is installed? A reboot usually helps."
            yield warning("GPU", f"{plural(devices, 'NVIDIA device')}, but nvidia-smi: {answer.why}", advice)
    elif Path("/dev/kfd").exists():
        answer = ask(["rocm-smi", "--showproductname"], 8.0)
        cards = sorted(set(re.findall(r"Card [Ss]eries:\s*(.+)", answer.out)))
        if answer.good:
            yield ok("GPU", f"AMD: {listed(cards, 3) or 'present'}")
        else:
            yield warning("GPU", f"AMD device, but rocm-smi: {answer.why}", "Is ROCm installed whole?")
    elif is_used(around):
        yield ok("GPU", "none on this host; tasks get theirs from Slurm")
    else:
        advice = (
            "Steps with WarpTools or RELION's GPU programs cannot run here; give conf.yaml a Slurm, or another host."
        )
        yield warning("GPU", "none on this host, and tasks run here", advice)


def _gpus_here() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))
