"""A step whose tasks only sleep, each as long as its parameters and its series say: what is measured is what is around
them, and two cores can run sixteen at once."""

from __future__ import annotations

import math
import random

from core.jobs._base import JobContext, SeriesContext, SeriesResult, Slot, TaskContext
from core.jobs._star import TableJob, global_row
from core.jobs._task import Work
from core.jobs.fields import JobParameters
from core.tools.command import Command
from core.tools.wrapper import HOST


class Parameters(JobParameters):
    median_seconds: float = 0.0
    """The median of all tasks' durations, which are log-normal."""
    sigma: float = 0.0
    """Of their logarithms; 0: all last the same."""
    seed: int = 1
    """Together with step and series it makes a task's duration."""
    step: int = 0
    """Which one of the chain this is."""


def rest_seconds(values: Parameters, series: str) -> float:
    """How long the task of this series sleeps."""
    if not values.median_seconds:
        return 0.0
    dice = random.Random(f"{values.seed} {values.step} {series}")
    return round(dice.lognormvariate(math.log(values.median_seconds), values.sigma), 3)


class Rest(TableJob[Parameters]):
    name = "rest"
    title = "Rest"
    summary = "Sleeps."
    parameters = Parameters
    slots = (Slot("before", "rest", "What is to be over before.", required=False),)
    provides = ("rest",)
    main_output = ("tilt_series.star", "TomogramGroupMetadata.star.relion.tomo.import")

    def build(self, task: TaskContext[Parameters]) -> Work:
        assert task.series is not None
        seconds = rest_seconds(task.series.values, task.key)
        return Work(commands=(Command(HOST, ("sleep", f"{seconds:.3f}"), cwd=str(task.job.project)),))

    def gather_series(
        self, job: JobContext[Parameters], key: str, context: SeriesContext[Parameters] | None
    ) -> SeriesResult:
        assert context is not None
        return SeriesResult(row=global_row(job, context))


JOB_TYPE = Rest()
