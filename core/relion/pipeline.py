"""``default_pipeline.star``: processes, nodes and edges, as RELION 5 keeps them.

Byte-faithful where nothing changed, and in RELION's own form and order where something did
(facts/relion-pipeline.md 2; RELION src/pipeliner.cpp). Blocks and columns that we do not know are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from core.formats import star

STATUS_LABELS = ("Running", "Scheduled", "Succeeded", "Failed", "Aborted")

_GENERAL = "pipeline_general"
_PROCESSES = "pipeline_processes"
_NODES = "pipeline_nodes"
_INPUTS = "pipeline_input_edges"
_OUTPUTS = "pipeline_output_edges"

_COUNTER = "rlnPipeLineJobCounter"
_NAME = "rlnPipeLineProcessName"
_ALIAS = "rlnPipeLineProcessAlias"
_TYPE = "rlnPipeLineProcessTypeLabel"
_STATUS = "rlnPipeLineProcessStatusLabel"
_NODE = "rlnPipeLineNodeName"
_NODE_TYPE = "rlnPipeLineNodeTypeLabel"
_NODE_DEPTH = "rlnPipeLineNodeTypeLabelDepth"
_FROM = "rlnPipeLineEdgeFromNode"
_TO = "rlnPipeLineEdgeToNode"
_EDGE = "rlnPipeLineEdgeProcess"

_LABELS = {
    _PROCESSES: (_NAME, _ALIAS, _TYPE, _STATUS),
    _NODES: (_NODE, _NODE_TYPE, _NODE_DEPTH),
    _INPUTS: (_FROM, _EDGE),
    _OUTPUTS: (_EDGE, _TO),
}
_ORDER = (_GENERAL, _PROCESSES, _NODES, _INPUTS, _OUTPUTS)

_JOB = re.compile(r"(?:^|/)job(\d{3,})(?=/|$)")
_ALIAS_FORBIDDEN = re.compile(r'[*?()/"\\|#<>&%{}$\x00-\x1f]')


@dataclass(frozen=True, slots=True)
class Process:
    """``name`` is like ``External/job003/``; ``alias`` like ``External/myalias/`` or "" for none."""

    name: str
    alias: str
    label: str
    status: str

    @property
    def number(self) -> int | None:
        return job_number(self.name)


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    type: str
    depth: int = 1


class Pipeline:
    """A pipeline that can be changed. Raises :class:`InputError` for a file that RELION would choke on."""

    def __init__(self, file: star.StarFile) -> None:
        self._file = file
        counter = file.block(_GENERAL).pairs().get(_COUNTER, "")
        if not counter.isdigit():
            raise InputError(f"has {counter!r} as its job counter, where a number was expected.", file.place or None)
        for process in self.processes():
            if process.status not in STATUS_LABELS:
                raise InputError(
                    f"gives {process.name} the status {process.status!r}, on which RELION crashes. "
                    f"Edit it to one of: {', '.join(STATUS_LABELS)}.",
                    file.place or None,
                )

    def render(self) -> str:
        return self._file.render()

    @property
    def counter(self) -> int:
        """The number that the next job gets."""
        return int(self._file.block(_GENERAL).pairs()[_COUNTER])

    def set_counter(self, number: int) -> None:
        self._file.block(_GENERAL).set(_COUNTER, number)

    def processes(self) -> list[Process]:
        """All jobs, in order."""
        if not self._file.has(_PROCESSES):
            return []
        block = self._file.block(_PROCESSES)
        columns = zip(*(block.column(label) for label in _LABELS[_PROCESSES]), strict=True)
        return [Process(name, "" if alias == "None" else alias, type, status) for name, alias, type, status in columns]

    def process(self, name: str) -> Process | None:
        """The job of that name or alias, or of the same job number; None where RELION's user deleted it."""
        name = name.rstrip("/") + "/"
        number = job_number(name)
        found = None
        for process in self.processes():
            if name in (process.name, process.alias):
                return process
            if number is not None and process.number == number:
                found = process
        return found

    def nodes(self) -> list[Node]:
        if not self._file.has(_NODES):
            return []
        block = self._file.block(_NODES)
        depths = block.column(_NODE_DEPTH) if _NODE_DEPTH in block.labels else ["1"] * len(block.rows)
        columns = zip(block.column(_NODE), block.column(_NODE_TYPE), depths, strict=True)
        return [Node(name, type, int(depth) if depth.isdigit() else 1) for name, type, depth in columns]

    def input_edges(self) -> list[tuple[str, str]]:
        """``(node, process)``."""
        return self._edges(_INPUTS, _FROM, _EDGE)

    def output_edges(self) -> list[tuple[str, str]]:
        """``(process, node)``."""
        return self._edges(_OUTPUTS, _EDGE, _TO)

    def add_process(self, process: Process) -> None:
        """Add a job; the counter goes up by one, as RELION does it."""
        _check_status(process.status)
        check_name(process.name)
        if any(process.name == each.name for each in self.processes()):
            raise InputError(f"has a job {process.name} already.", self._file.place or None)
        self._append(_PROCESSES, (process.name, process.alias or "None", process.label, process.status))
        self.set_counter(self.counter + 1)

    def set_status(self, name: str, status: str) -> None:
        """Set the status of the job of exactly that name."""
        _check_status(status)
        block = self._file.block(_PROCESSES)
        position, column = block.column(_NAME).index(name), block.index(_STATUS)
        if block.rows[position][column] != status:
            # A plain row is written in RELION's own layout, which an edited one keeps only where widths agree.
            row = list(block.rows[position])
            row[column] = status
            block.rows[position] = row

    def add_input(self, node: Node, process: str) -> bool:
        """Make ``node`` an input of a job. A node that is new and lies in another job's folder becomes that one's
        output, as in RELION. Returns whether the node is new."""
        new = self._add_node(node)
        self._add_edge(_INPUTS, (node.name, process), process)
        if new:
            for each in self.processes():
                if each.name in node.name:
                    self._add_edge(_OUTPUTS, (each.name, node.name), each.name)
                    break
        return new

    def add_output(self, process: str, node: Node) -> bool:
        """Make ``node`` an output of a job, unless it is one of some job already. Returns whether the node is new."""
        new = self._add_node(node)
        if node.name not in {name for _, name in self.output_edges()}:
            self._add_edge(_OUTPUTS, (process, node.name), process)
        return new

    def remove_process(self, name: str) -> Pipeline:
        """Take a job, its output nodes and all their edges out, and return them as a pipeline of their own (RELION's
        ``deleted_pipeline.star``)."""
        nodes = {node for process, node in self.output_edges() if process == name}
        removed = []
        for block_name in _ORDER[1:]:
            if not self._file.has(block_name):
                continue
            block = self._file.block(block_name)
            doomed = [row for row in block.rows if _is_of(block, row, name, nodes)]
            removed.append(star.Block(block_name, True, block.labels, doomed))
            block.rows[:] = [row for row in block.rows if not _is_of(block, row, name, nodes)]
        self._file.blocks[:] = [block for block in self._file.blocks if block.rows or block.name not in _ORDER]
        general = star.list_block(_GENERAL, {_COUNTER: self.counter})
        return Pipeline(star.new_file([general, *removed]))

    def _add_node(self, node: Node) -> bool:
        check_name(node.name)
        if any(node.name == each.name for each in self.nodes()):
            return False
        self._append(_NODES, (node.name, node.type, node.depth))
        return True

    def _add_edge(self, block_name: str, edge: tuple[str, str], process: str) -> None:
        """RELION writes edges job by job, in the order of the jobs."""
        block = self._table(block_name)
        position = block.index(_EDGE)
        order = {each.name: number for number, each in enumerate(self.processes())}
        labels = _LABELS[block_name]
        values = dict(zip(labels, edge, strict=True))
        if any(all(row[block.index(label)] == values[label] for label in labels) for row in block.rows):
            return
        place = len(block.rows)
        while place > 0 and order.get(block.rows[place - 1][position], -1) > order[process]:
            place -= 1
        block.rows.insert(place, [values.get(label, "") for label in block.labels])

    def _append(self, block_name: str, values: Iterable[star.StarValue]) -> None:
        block = self._table(block_name)
        known = dict(zip(_LABELS[block_name], values, strict=True))
        block.append_row({label: known.get(label, "") for label in block.labels})

    def _table(self, name: str) -> star.Block:
        """The table of that name, made at its place where RELION left it out as empty."""
        if self._file.has(name):
            return self._file.block(name)
        block = star.loop_block(name, _LABELS[name], [])
        before = _ORDER[: _ORDER.index(name)]
        place = max(number for number, each in enumerate(self._file.blocks) if each.name in before) + 1
        self._file.blocks.insert(place, block)
        return block

    def _edges(self, name: str, first: str, second: str) -> list[tuple[str, str]]:
        if not self._file.has(name):
            return []
        block = self._file.block(name)
        return list(zip(block.column(first), block.column(second), strict=True))


def empty_pipeline() -> Pipeline:
    """A new project's pipeline; the first job gets number 1."""
    return Pipeline(star.new_file([star.list_block(_GENERAL, {_COUNTER: 1})]))


def parse_pipeline(text: str, place: str | Path) -> Pipeline:
    """Raises :class:`InputError` with file and line."""
    return Pipeline(star.parse(text, str(place)))


def job_number(name: str) -> int | None:
    """3 for ``External/job003/`` and for ``External/job003/tomograms.star``; None where there is none."""
    match = _JOB.search(name)
    return int(match[1]) if match else None


def job_name(folder: str, number: int) -> str:
    """``External/job003/``; RELION pads to three digits."""
    return f"{folder}/job{number:03d}/"


def check_name(name: str) -> None:
    """Refuse names of jobs and nodes that RELION mangles."""
    if "None" in name:
        raise InputError(f"{name!r} contains 'None', which RELION mangles in names: rename it.")
    if not name or name.startswith("/"):
        raise InputError(f"{name!r} is no path relative to the project, which RELION needs.")


def check_alias(alias: str, folder: str, pipeline: Pipeline) -> str:
    """The alias as RELION would store it (``External/my_alias/``). Raises :class:`InputError` by RELION's rules."""
    alias = alias.replace(" ", "_")
    if len(alias) < 2:
        raise InputError(f"The alias {alias!r} is too short: RELION wants at least two characters.")
    if alias.startswith("job"):
        raise InputError(f"The alias {alias!r} begins with 'job', which RELION keeps for its own folders.")
    if found := _ALIAS_FORBIDDEN.search(alias):
        raise InputError(f"The alias {alias!r} contains {found[0]!r}, which RELION does not allow.")
    if alias.startswith(".") or "None" in alias:
        raise InputError(f"The alias {alias!r} cannot be used: it begins with a dot or contains 'None'.")
    stored = f"{folder}/{alias}/"
    if any(process.alias == stored for process in pipeline.processes()):
        raise InputError(f"The alias {alias!r} is taken by another job.")
    return stored


def _check_status(status: str) -> None:
    if status not in STATUS_LABELS:
        raise InputError(f"{status!r} is no status of RELION: {', '.join(STATUS_LABELS)}.")


def _is_of(block: star.Block, row: list[str], process: str, nodes: set[str]) -> bool:
    cells = dict(zip(block.labels, row, strict=True))
    match block.name:
        case "pipeline_processes":
            return cells[_NAME] == process
        case "pipeline_nodes":
            return cells[_NODE] in nodes
        case _:
            return cells[_EDGE] == process or cells.get(_FROM) in nodes or cells.get(_TO) in nodes
