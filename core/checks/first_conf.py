"""A site's first ``conf.yaml``, from what is found on this host: programs, modules, images, and what Slurm has."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.checks.probing import ask
from core.checks.settings import shipped
from core.checks.side_by_side import Job, side_by_side
from core.checks.slurm import COLUMNS, Nodes, Resources, effective_of_all, parse_nodes, unfit
from core.checks.surroundings import plural
from core.checks.tools import PROBES, Trial, trial_folder, warp_version
from core.cluster.slurm import environment, slurm_is_there
from core.dataset.model import Sourced
from core.errors import listed
from core.jobs._registry import job_types
from core.project.site import Site, Tool

SECONDS = 12.0

_USUAL_FOLDERS = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin")
_NAMES: Mapping[str, re.Pattern[str]] = {
    "warp": re.compile(r"warp(tools)?(?![a-z])"),
    "relion": re.compile(r"relion"),
    "imod": re.compile(r"imod(?![a-z])"),
    "cryocare": re.compile(r"cryocare"),
    "pytom": re.compile(r"pytom"),
}
"""How the names of modules and images begin that hold a tool."""
_VERSION = ("# This WarpTools takes the command lines of dev39, not those of 2026.", "warp: {version: dev39}", "")
_AVAILABLE = "module -t avail 2>&1"
_LOADED = 'module load "$1" > /dev/null 2>&1 && type -P "$2"'


@dataclass(frozen=True, slots=True)
class FoundTool:
    """``where`` is for a comment."""

    name: str
    where: str
    path: str = ""
    container: bool = False
    modules: tuple[str, ...] = ()

    def line(self) -> str:
        kind = f"binary: {str(not self.container).lower()}, container: {str(self.container).lower()}"
        modules = f", modules: {json.dumps(list(self.modules))}" if self.modules else ""
        return f"  {self.name}: {{{kind}, path: {json.dumps(self.path, ensure_ascii=False)}{modules}}}"


def first_conf(data: Path, images: Sequence[Path]) -> tuple[str, list[str]]:
    """The text of the file, and sentences about what was found. Ends within 25 s, whatever hangs."""
    site = shipped(data)
    job_types()
    jobs = [
        Job("PATH", _on_path, SECONDS),
        Job("modules", _in_modules, SECONDS),
        *(Job(str(folder), partial(_in_folder, folder), SECONDS) for folder in images),
        Job("Slurm", _nodes, SECONDS),
    ]
    on_path, in_modules, *in_folders, in_slurm = side_by_side(jobs, SECONDS)
    tools: dict[str, FoundTool] = {}
    for result in (in_modules, on_path, *reversed(in_folders)):  # an image that a person points to counts most
        tools.update({tool.name: tool for tool, _ in result.items})
    nodes = [row for row, _ in in_slurm.items]
    version = ""
    if "warp" in tools:
        (asked,) = side_by_side([Job("WarpTools", partial(_warp_version, tools["warp"]), SECONDS)], SECONDS)
        version = next((item for item, _ in asked.items), "")
    lines = [
        "# Written by crboost config init from what it found on this host. conf.template.yaml of crboost names every",
        "# setting; crboost config shows what holds, and crboost doctor whether it works.",
        "",
        *_tool_lines(tools),
        "",
        *(_VERSION if version == "dev39" else ()),
        *(_slurm_lines(site, nodes) if nodes else _local_lines()),
    ]
    late = [
        job.name for job, result in zip(jobs, (on_path, in_modules, *in_folders, in_slurm), strict=True) if result.late
    ]
    said = [f"{tool.name}: {tool.where}" for tool in tools.values()]
    said += [f"{listed(name for name in _NAMES if name not in tools)}: not found"] * (len(tools) < len(_NAMES))
    said.append(f"Slurm: {listed(sorted({row.partition for row in nodes}))}" if nodes else "Slurm: none")
    said += [f"{name} did not answer and is left out" for name in late]
    return "\n".join([*lines, ""]), said


# Tools.


def _warp_version(found: FoundTool) -> Iterator[str]:
    tool = Tool(binary=not found.container, container=found.container, path=found.path, modules=list(found.modules))
    with trial_folder() as folder:
        probe = PROBES["warp"]
        answer = Trial("warp", tool, folder).ask(probe.program, *probe.arguments, seconds=SECONDS - 1.0)
        if answer.good:
            yield warp_version(answer.text)


def _on_path() -> Iterator[FoundTool]:
    for name in _NAMES:
        program = PROBES[name].program
        found = shutil.which(program)
        if found is not None:
            folder = os.path.dirname(os.path.abspath(found))
            yield FoundTool(name, f"{program} on the PATH", "" if folder in _USUAL_FOLDERS else folder)


def _in_modules() -> Iterator[FoundTool]:
    """Modules whose name says what they hold, and that really bring its program."""
    listing = ask(["bash", "-lc", _AVAILABLE], SECONDS - 4.0).text
    names = re.findall(r"^([A-Za-z][\w.+/-]*?)(\(default\))?/?\s*$", listing, re.MULTILINE)
    for name, pattern in _NAMES.items():
        fitting = [(bool(default), _version_key(module), module) for module, default in names if _is(pattern, module)]
        for _, _, module in sorted(fitting, reverse=True)[:2]:
            answer = ask(["bash", "-lc", _LOADED, "load", module, PROBES[name].program], 4.0)
            if answer.good and answer.out.strip():
                yield FoundTool(name, f"module {module}", modules=(module,))
                break


def _in_folder(folder: Path) -> Iterator[FoundTool]:
    """Images by their names; of several for one tool the newest version, the others in the comment."""
    files = [path for path in folder.iterdir() if path.suffix in (".sif", ".simg") and path.name[0] != "."]
    for name, pattern in _NAMES.items():
        fitting = [path for path in files if _is(pattern, path.name)]
        if fitting:
            best, *others = sorted(fitting, key=lambda path: _image_key(path.name), reverse=True)
            more = f"; also there: {listed(path.name for path in others)}" if others else ""
            yield FoundTool(name, f"image {best.name}{more}", str(best.absolute()), container=True)


def _is(pattern: re.Pattern[str], name: str) -> bool:
    return pattern.match(name.lower()) is not None


def _version_key(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def _image_key(name: str) -> tuple[bool, tuple[int, ...]]:
    """An image without a GPU only where there is no other."""
    return re.search(r"(?<![a-z])cpu(?![a-z])", name.lower()) is None, _version_key(name)


def _tool_lines(tools: Mapping[str, FoundTool]) -> list[str]:
    missing = [name for name in _NAMES if name not in tools]
    lines = [
        "# Programs: each a binary (path: its folder, or nothing for what is on PATH) or a container (path: a .sif)."
    ]
    lines.append("tools:" if tools else "# tools:")
    for name in _NAMES:
        if name in tools:
            lines += [f"  # {_comment(tools[name].where)}", tools[name].line()]
    lines += [f"#   {name}: {{binary: false, container: true, path: /path/to/{name}.sif}}" for name in missing]
    return lines


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


# Where tasks run.


def _local_lines() -> list[str]:
    cpus = len(os.sched_getaffinity(0))
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return [
        "# There is no Slurm here: tasks run on this host and may use all of it. Smaller numbers leave something free.",
        f"local: {{cpus: {cpus}, gpus: {gpus}}}",
    ]


def _nodes() -> Iterator[Nodes]:
    if slurm_is_there():
        yield from parse_nodes(ask(["sinfo", "-h", "-e", "-o", COLUMNS], SECONDS - 2.0, env=environment()).out)


def _slurm_lines(site: Site, nodes: Sequence[Nodes]) -> list[str]:
    names = sorted({row.partition for row in nodes}, key=lambda name: (-_count(nodes, name), name))
    default = next((row.partition for row in nodes if row.default), names[0])
    lines = ["# Slurm's partitions:"]
    for name in names:
        for row in nodes:
            if row.partition == name:
                lines.append(f"#   {_comment(name)}: {_told(row)}")
    kinds = sorted({kind for row in nodes for kind in re.findall(r"gpu:([A-Za-z]\w*)", row.gres)})
    if kinds:
        lines.append(f'# Kinds of GPUs: {", ".join(kinds)}. To ask for one of them: gres: "gpu:{kinds[0]}:1"')
    elif not any("gpu" in row.gres for row in nodes):
        lines.append("# Slurm knows of no GPU (gres): steps that need one cannot run.")
    lines += ["resources:", f"  partition: {json.dumps(default)}"]
    profiles = list(_profiles(site, nodes, [default, *(name for name in names if name != default)]))
    if profiles:
        lines += ["# What the defaults ask for and the default partition cannot give.", "profiles:", *profiles]
    return lines


def _told(row: Nodes) -> str:
    gres = "" if row.gres == "(null)" else f", {row.gres}"
    limit = "no time limit" if row.minutes == float("inf") else f"{row.minutes:g} minutes at most"
    each = "each " if row.count > 1 else ""
    return f"{plural(row.count, 'node')}, {each}{row.cpus} CPUs, {row.memory_mb // 1024} GB{_comment(gres)}; {limit}"


def _count(nodes: Iterable[Nodes], name: str) -> int:
    return sum(row.count for row in nodes if row.partition == name)


def _profiles(site: Site, nodes: Sequence[Nodes], names: Sequence[str]) -> Iterator[str]:
    """A line for each job type that does not fit the first partition: another one, or as much as there is."""
    for job, asked in effective_of_all(site).items():
        places = [name for name in names if not unfit(_in(asked, name), nodes, name)]
        if places:
            values: dict[str, str | int] = {} if places[0] == names[0] else {"partition": places[0]}
        else:
            values = _as_much_as_there_is(asked, nodes, names)
        if values:
            inner = ", ".join(f"{name}: {json.dumps(value)}" for name, value in values.items())
            yield f"  {job}: {{{inner}}}"


def _in(asked: Resources, partition: str) -> Resources:
    return {**asked, "partition": Sourced(partition, "site")}


def _as_much_as_there_is(asked: Resources, nodes: Sequence[Nodes], names: Sequence[str]) -> dict[str, str | int]:
    """The partition with such a GPU and the most memory, with what it has of memory, cores and time."""

    def number(name: str) -> int:
        return int(str(asked[name].value)) if name in asked else 0

    lean: Resources = {name: asked[name] for name in ("gpus", "gres") if name in asked}
    places = [name for name in names if not unfit(_in(lean, name), nodes, name)]
    if not places:
        return {}
    rows = {name: [row for row in nodes if row.partition == name] for name in places}
    best = max(places, key=lambda name: max(row.memory_mb for row in rows[name]))
    row = max(rows[best], key=lambda row: row.memory_mb)
    values: dict[str, str | int] = {} if best == names[0] else {"partition": best}
    for name, most in (("memory_gb", row.memory_mb // 1024), ("cpus", row.cpus), ("minutes", row.minutes)):
        if 1 <= most < number(name):
            values[name] = int(most)
    return values
