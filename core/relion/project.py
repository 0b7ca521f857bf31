"""Jobs in a RELION project: deployed, finished, reopened, moved to the Trash; RELION may be open on it meanwhile.

Every step can be repeated after a crash. A job is known by its process name (``External/job003/``); functions that
change one return the name it has in the pipeline, or None where RELION's user deleted it meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.errors import CrboostError, InputError
from core.files import append_line, read_text, replace_text, write_error
from core.formats import star
from core.relion.job_star import job_star
from core.relion.lock import PIPELINE_FILE, locked_pipeline, read_pipeline, relion_lock, touch
from core.relion.pipeline import Node, Pipeline, Process, check_alias, check_name, empty_pipeline, job_name

GUI_MARKER = ".gui_projectdir"
SUCCESS = "RELION_JOB_EXIT_SUCCESS"
FAILURE = "RELION_JOB_EXIT_FAILURE"
ABORTED = "RELION_JOB_EXIT_ABORTED"
ABORT_NOW = "RELION_JOB_ABORT_NOW"
OUTPUT_NODES = "RELION_OUTPUT_NODES.star"


def prepare_project(root: Path) -> None:
    """Make ``root`` a RELION project, if it is none yet: ``.gui_projectdir`` and an empty pipeline."""
    touch(root / GUI_MARKER)
    path = root / PIPELINE_FILE
    if os.path.lexists(path):
        return
    with relion_lock(root):
        if not os.path.lexists(path):
            replace_text(path, empty_pipeline().render(), sync=True)


def deploy_job(
    root: Path,
    *,
    label: str,
    folder: str = "External",
    alias: str,
    is_tomo: bool,
    options: Mapping[str, str],
    input_nodes: Mapping[str, str],
    status: str = "Running",
    commands: Sequence[str] = (),
) -> str:
    """Make a job and return its process name (``External/job003/``).

    The number is taken from the pipeline under RELION's lock. ``alias`` is the job's lasting name: where a job of that
    alias is in ``folder`` already (a crash came in between, or somebody else was first), that one is completed and
    returned. ``options`` are all of ``job.star``'s, ``input_nodes`` maps node path -> type label, ``commands`` go into
    its note. Raises :class:`InputError` for an alias or node name that RELION cannot keep.
    """
    for node in input_nodes:
        check_name(node)
    stored = f"{folder}/{alias.replace(' ', '_')}/"
    with locked_pipeline(root) as pipeline:
        process = next((each for each in pipeline.processes() if each.alias == stored), None)
        if process is None:
            check_alias(alias, folder, pipeline)
            _check_link(root, stored)
            process = Process(_free_folder(root, folder, pipeline), stored, label, status)
            pipeline.add_process(process)
        new = [
            Node(path, type) for path, type in input_nodes.items() if pipeline.add_input(Node(path, type), process.name)
        ]
        aliases = _aliases(pipeline)
    _complete_folder(root, process, is_tomo, options, input_nodes, commands)
    _touch_nodes(root, aliases, new, even_if_absent=status == "Scheduled")
    return process.name


def find_process(root: Path, process: str) -> Process | None:
    """The job as the pipeline has it now, by name or by number; None where it is gone."""
    return read_pipeline(root).process(process)


def set_status(root: Path, process: str, status: str) -> str | None:
    """Set a job's status label."""
    with locked_pipeline(root) as pipeline:
        found = pipeline.process(process)
        if found is None:
            return None
        pipeline.set_status(found.name, status)
        return found.name


def finish_job(root: Path, process: str, success: bool, nodes: Mapping[str, str]) -> str | None:
    """End a job: its output nodes (path -> type label) and its exit marker on disk, then the pipeline.

    The marker is what counts for RELION; where we die before the pipeline is written, RELION or a repeated call does
    the rest.
    """
    for node in nodes:
        check_name(node)
    with locked_pipeline(root) as pipeline:
        found = pipeline.process(process)
        if found is None or not (root / found.name).is_dir():
            return None
        job = root / found.name
        _write_output_nodes(job, nodes)
        _remove_markers(job, SUCCESS if success else FAILURE)
        touch(job / (SUCCESS if success else FAILURE))
        pipeline.set_status(found.name, "Succeeded" if success else "Failed")
        for path, type in nodes.items():
            pipeline.add_output(found.name, Node(path, type))
        aliases = _aliases(pipeline)
    _touch_nodes(root, aliases, [Node(path, type) for path, type in nodes.items()])
    return found.name


def reopen_job(root: Path, process: str) -> str | None:
    """A job that gains work goes back to Running; its exit markers are removed first."""
    with locked_pipeline(root) as pipeline:
        found = pipeline.process(process)
        if found is None or not (root / found.name).is_dir():
            return None
        _remove_markers(root / found.name, "")
        pipeline.set_status(found.name, "Running")
        return found.name


def append_note(root: Path, process: str, commands: Sequence[str]) -> None:
    """Add an entry to the job's ``note.txt``, in the form in which RELION notes what it executes."""
    text = "\n".join(
        (
            "",
            f" ++++ Executing new job on {time.ctime()}",
            " ++++ with the following command(s): ",
            *commands,
            " ++++ ",
        )
    )
    append_line(root / process / "note.txt", text)


def trash_job(root: Path, process: str) -> str | None:
    """Move a job to ``Trash/`` as RELION does: out of the pipeline, its alias's link removed, with what was taken out
    of the pipeline in its ``deleted_pipeline.star``. Returns its path below the project, or None where it is gone."""
    with locked_pipeline(root) as pipeline:
        found = pipeline.process(process)
        if found is None:
            return None
        nodes = {path for name, path in pipeline.output_edges() if name == found.name}
        gone = [node for node in pipeline.nodes() if node.name in nodes]
        aliases = _aliases(pipeline)
        removed = pipeline.remove_process(found.name)
        target = f"Trash/{found.name.rstrip('/')}"
        if (root / found.name).is_dir():
            target = _free_name(root, target)
            replace_text(root / found.name / "deleted_pipeline.star", removed.render())
            try:
                (root / target).parent.mkdir(parents=True, exist_ok=True)
                os.rename(root / found.name, root / target)
            except OSError as error:
                raise write_error(root / target, error) from error
        if found.alias and (root / found.alias.rstrip("/")).is_symlink():
            (root / found.alias.rstrip("/")).unlink()
    for node in gone:
        for path in _node_files(root, aliases, node):
            with contextlib.suppress(OSError):
                path.unlink()
    return target


def _free_folder(root: Path, folder: str, pipeline: Pipeline) -> str:
    """Make the folder of the next job. A number whose folder is there and not empty was used before: it is skipped."""
    try:
        (root / folder).mkdir(exist_ok=True)
        while True:
            name = job_name(folder, pipeline.counter)
            path = root / name
            if pipeline.process(name) is None:
                with contextlib.suppress(FileExistsError):
                    path.mkdir()
                if path.is_dir() and not any(path.iterdir()):
                    return name
            pipeline.set_counter(pipeline.counter + 1)
    except OSError as error:
        raise write_error(root / folder, error) from error


def _check_link(root: Path, stored: str) -> None:
    path = root / stored.rstrip("/")
    if os.path.lexists(path) and not path.is_symlink():
        raise InputError("is in the way of a job's alias: rename it.", path)


def _complete_folder(
    root: Path,
    process: Process,
    is_tomo: bool,
    options: Mapping[str, str],
    input_nodes: Mapping[str, str],
    commands: Sequence[str],
) -> None:
    """What RELION puts into a job's folder. What is there already stays."""
    job = root / process.name
    try:
        job.mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(job, error) from error
    if not (job / "job.star").exists():
        replace_text(job / "job.star", job_star(process.label, options, is_tomo=is_tomo))
    if not (job / "job_pipeline.star").exists():
        small = empty_pipeline()
        small.add_process(Process(process.name, process.alias, process.label, process.status))
        for path, type in input_nodes.items():
            small.add_input(Node(path, type), process.name)
        replace_text(job / "job_pipeline.star", small.render())
    if not (job / "note.txt").exists():
        append_note(root, process.name, commands)
    if not (job / PIPELINE_FILE).exists():
        replace_text(job / PIPELINE_FILE, read_text(root / PIPELINE_FILE))
    for name in ("run.out", "run.err"):
        touch(job / name)
    link = root / process.alias.rstrip("/")
    target = f"../{process.name}"
    if not link.is_symlink() or os.readlink(link) != target:
        _replace_link(link, target)


def _replace_link(link: Path, target: str) -> None:
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        os.symlink(target, temporary)
        os.replace(temporary, link)
    except OSError as error:
        raise write_error(link, error) from error


def _write_output_nodes(job: Path, nodes: Mapping[str, str]) -> None:
    path = job / OUTPUT_NODES
    if not nodes:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        return
    table = star.loop_block("output_nodes", ("rlnPipeLineNodeName", "rlnPipeLineNodeTypeLabel"), nodes.items())
    replace_text(path, star.new_file([table]).render())


def _remove_markers(job: Path, keep: str) -> None:
    for name in (SUCCESS, FAILURE, ABORTED, ABORT_NOW):
        if name == keep:
            continue
        try:
            os.unlink(job / name)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise write_error(job / name, error) from error


def _aliases(pipeline: Pipeline) -> dict[str, str]:
    return {process.name: process.alias for process in pipeline.processes() if process.alias}


def _node_files(root: Path, aliases: Mapping[str, str], node: Node) -> list[Path]:
    """The empty files behind RELION's Browse menus: by the first part of the type label, and of a deeper one also by
    its first parts, with the alias in the place of the job's folder."""
    name = node.name
    for process, alias in aliases.items():
        if name.startswith(process):
            name = alias + name[len(process) :]
    parts = node.type.split(".")
    types = [parts[0]] + ([".".join(parts[: node.depth])] if node.depth > 1 else [])
    return [root / ".Nodes" / type / name for type in types]


def _touch_nodes(root: Path, aliases: Mapping[str, str], nodes: Sequence[Node], even_if_absent: bool = False) -> None:
    """Menus are a convenience: a folder that cannot be written there stops nothing."""
    for node in nodes:
        if not even_if_absent and not (root / node.name).exists():
            continue
        for path in _node_files(root, aliases, node):
            with contextlib.suppress(OSError, CrboostError):
                path.parent.mkdir(parents=True, exist_ok=True)
                touch(path)


def _free_name(root: Path, name: str) -> str:
    number, free = 1, name
    while os.path.lexists(root / free):
        number += 1
        free = f"{name}_{number}"
    return free
