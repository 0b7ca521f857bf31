"""The jobs of a RELION project, whoever made it, as a person wants to see them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.relion.lock import PIPELINE_FILE, read_pipeline


@dataclass(frozen=True, slots=True)
class ListedJob:
    """``name`` is the job's folder (``MotionCorr/job002``), ``alias`` "" where it has none. ``inputs``: the files that
    it takes, each with the job that made it ("" where no job did)."""

    name: str
    alias: str
    type: str
    status: str
    inputs: tuple[tuple[str, str], ...]


def is_relion_project(root: Path) -> bool:
    return (root / PIPELINE_FILE).is_file()


def list_jobs(root: Path) -> list[ListedJob]:
    """All jobs in the order of their numbers. Raises :class:`InputError` where there is no pipeline or it cannot be
    read."""
    pipeline = read_pipeline(root)
    maker = {node: process.rstrip("/") for process, node in pipeline.output_edges()}
    inputs: dict[str, list[tuple[str, str]]] = {}
    for node, process in pipeline.input_edges():
        inputs.setdefault(process, []).append((node, maker.get(node, "")))
    found = [
        ListedJob(
            process.name.rstrip("/"),
            process.alias.rstrip("/"),
            process.label,
            process.status,
            tuple(inputs.get(process.name, ())),
        )
        for process in pipeline.processes()
    ]
    return sorted(found, key=lambda job: job.name.rpartition("job")[2].zfill(9))
