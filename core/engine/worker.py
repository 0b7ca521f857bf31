"""The engine's worker process: gather and internal tasks, so that pandas and slow disks never stop the engine.

``python -P -m core.engine.worker ROOT DATA`` reads one JSON request per line and answers each with one JSON line. It
ends at the end of its input, and by itself after a while without work, which gives its memory back.
"""

from __future__ import annotations

import json
import os
import select
import sys
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from core.cluster.protocol import AttemptPaths, claim, inbox_name, mark_start, write_state
from core.engine.binding import Binding, digest
from core.engine.gathered import GatheredResults
from core.engine.lease import LeaseLost, read_lease
from core.engine.plan import read_sources
from core.errors import CrboostError
from core.files import disk_is_full
from core.jobs._base import SeriesResult, TaskContext
from core.project.layout import ProjectPaths

IDLE_SECONDS = 60.0


class Worker:
    """Answers requests. Bindings and gathered results are kept between requests while nothing they rest on changes."""

    def __init__(self, root: Path, data: Path) -> None:
        self.root = root
        self.data = data
        self.paths = ProjectPaths(root)
        self._binding: tuple[str, Binding] | None = None
        self._gathered: dict[str, GatheredResults] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request; every error becomes a sentence in it."""
        try:
            reply = self._internal(request) if request["op"] == "internal" else self._gather(request)
        except (CrboostError, OSError) as error:
            reply = {"error": str(error), "full": disk_is_full(error)}
        except Exception as error:  # the engine must hear of a defect of ours as a sentence, not as silence
            sys.stderr.write(traceback.format_exc())
            reply = {"error": _defect(error)}
        return {"id": request["id"], **reply}

    def _bind(self, request: dict[str, Any]) -> Binding:
        stamp = [request["version"], request["folders"], *map(_stamp, (self.paths.registry, self.paths.decisions))]
        mark = digest([stamp, _stamp(self.paths.wanted)])
        if self._binding is None or self._binding[0] != mark:
            sources = read_sources(self.root, self.data, request["version"])
            folders = {name: self.root / folder for name, folder in request["folders"].items()}
            self._binding = (mark, sources.bind(folders))
        return self._binding[1]

    def _check_epoch(self, epoch: int) -> None:
        """What took long to read is not written once another engine has begun: its worker may be at the same tables."""
        lease = read_lease(self.paths.lease)
        if lease is not None and lease.epoch != epoch:
            raise LeaseLost("Another engine has taken over this project: its worker writes the tables.", self.root)

    def _internal(self, request: dict[str, Any]) -> dict[str, Any]:
        binding = self._bind(request)
        instance = request["instance"]
        job = binding.job_context(instance)
        kind = binding.instances[instance].job_type
        for task in request["tasks"]:
            key, number = task["key"], task["attempt"]
            paths = AttemptPaths(job.folder, key, number)
            if not claim(paths, task["job"]):
                continue
            started = mark_start(paths, task["job"])
            state, reason = "done", ""
            try:
                context = binding.series_context(instance, key, task["choices"])
                kind.run_internal(TaskContext(job, key, number, context, ()))
            except CrboostError as error:
                if disk_is_full(error):
                    raise
                state, reason = "failed", str(error)
            except Exception as error:  # a defect of ours is this task's failure, said as one
                sys.stderr.write(traceback.format_exc())
                state, reason = "failed", _defect(error)
            write_state(paths, state, job=task["job"], start=started.time, step=instance, reason=reason)
            (self.paths.inbox / inbox_name(instance, key, number, state)).touch()
        return {}

    def _gather(self, request: dict[str, Any]) -> dict[str, Any]:
        binding = self._bind(request)
        instance = request["instance"]
        job = replace(binding.job_context(instance), settled=request["settled"])
        kind = binding.instances[instance].job_type
        gathered = self._gathered.get(instance)
        if gathered is None:
            gathered = self._gathered[instance] = GatheredResults(self.paths.gathered / f"{instance}.jsonl")
        found: dict[str, tuple[str, SeriesResult]] = {}
        keys = request["keys"]
        contexts = {key: binding.series_context(instance, key, keys.get(key)) for key in binding.series}
        for item in request["items"]:
            key = item["key"]
            if gathered.marks.get(key) == item["mark"]:
                continue
            try:
                result = kind.gather_series(job, key, contexts.get(key))
            except CrboostError as error:
                if disk_is_full(error):
                    raise
                result = SeriesResult(problem=str(error))
            except Exception as error:  # products that a reader of ours chokes on are this series' failure
                if disk_is_full(error):
                    raise
                sys.stderr.write(traceback.format_exc())
                result = SeriesResult(problem=_defect(error))
            found[key] = (item["mark"], result)
        self._check_epoch(request["epoch"])
        gathered.add(found)
        included = {
            key: gathered.results[key] for key in keys if key in gathered.results and not gathered.results[key].problem
        }
        reply: dict[str, Any] = {"nodes": {}, "decisions": []}
        if included:
            outcome = kind.gather_job(job, included, contexts)
            reply = {"nodes": dict(outcome.nodes), "decisions": [asdict(made) for made in outcome.decisions]}
        items = {item["key"]: gathered.results[item["key"]] for item in request["items"]}
        reply["numbers"] = {key: dict(result.numbers) for key, result in items.items()}
        reply["notes"] = {key: list(result.notes) for key, result in items.items()}
        reply["problems"] = {key: result.problem for key, result in items.items() if result.problem}
        reply["empty"] = [key for key, result in items.items() if result.empty]
        return reply


def _defect(error: Exception) -> str:
    return f"a defect in crboost ({type(error).__name__}: {error}); the traceback is in .crboost/engine.log"


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return []
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def main() -> int:
    root, data = Path(sys.argv[1]), Path(sys.argv[2])
    worker = Worker(root, data)
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], IDLE_SECONDS)
        if not ready:
            return 0
        line = sys.stdin.buffer.readline()
        if not line:
            return 0
        try:
            answers.write(json.dumps(worker.answer(json.loads(line)), ensure_ascii=True) + "\n")
            answers.flush()
        except BrokenPipeError:  # the engine is gone; its successor asks again
            os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
