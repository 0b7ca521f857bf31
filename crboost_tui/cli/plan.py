"""What would run: each job with its tasks and inputs, and every problem. Nothing is started."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from crboost_tui.cli._common import add_json, add_project, columns, find_project, print_json
from crboost_tui.terminal import Terminal

if TYPE_CHECKING:
    from core.engine.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from core.engine.plan import make_plan
    from crboost_tui.data import config_dir

    plan = make_plan(find_project(options.project), config_dir())
    if options.json:
        print_json(as_json(plan))
    else:
        for line in lines(plan, Terminal.of()):
            print(line)
    return 2 if plan.errors() else 0


def as_json(plan: Plan) -> dict[str, Any]:
    return {
        "version": plan.version,
        "series": plan.series,
        "jobs": [
            {
                "id": job.id,
                "type": job.bound.job_type.name,
                "inputs": {slot: list(names) for slot, names in job.bound.inputs.items()},
                "tasks": list(job.tasks),
            }
            for job in plan.jobs.values()
        ],
        "problems": [
            {"job": job, "level": problem.level, "fields": list(problem.fields), "sentence": problem.sentence}
            for job, problem in plan.problems()
        ],
    }


def lines(plan: Plan, terminal: Terminal) -> list[str]:
    table = [("job", "type", "tasks", "takes from")]
    for job in plan.jobs.values():
        sources = [" or ".join(names) for names in job.bound.inputs.values()]
        table.append((job.id, job.bound.job_type.name, str(len(job.tasks)), ", ".join(sources)))
    head, *rest = columns(table, right=(2,))
    found = [terminal.paint(head, "2"), *rest]
    tasks = sum(len(job.tasks) for job in plan.jobs.values())
    found.append(f"{len(plan.series)} tilt series, {tasks} tasks, version {plan.version} of crboost.yaml")
    for owner, problem in plan.problems():
        mark = terminal.state("x" if problem.level == "error" else "!")
        place = f"{owner}: " if owner else ""
        found.append(f"{mark} {place}{problem.sentence}")
    return [terminal.text(line) for line in found]
