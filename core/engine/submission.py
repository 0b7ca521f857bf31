"""What is given to ``sbatch`` for the tasks of a job, as it would be submitted."""

from __future__ import annotations

from pathlib import Path

from core.cluster.quoting import words
from core.cluster.slurm import slurm_is_there
from core.cluster.template import fill, read_template
from core.engine.plan import Plan, Sources
from core.engine.rendering import task_resources


def goes_to_slurm(sources: Sources) -> bool:
    """Whether an engine on this host would submit to Slurm."""
    return sources.site.submitter != "local" and slurm_is_there()


def submission_of(sources: Sources, plan: Plan, data: Path, instance: str) -> str:
    """The site's template filled in for one job, after the options that go on ``sbatch``'s command line.

    Raises :class:`InputError` for what the template cannot take.
    """
    bound = plan.jobs[instance].bound
    resources = task_resources(sources.site, sources.project, bound)
    named = sources.site.qsub.template
    template = read_template(Path(named) if named else data / "qsub" / "slurm.sh")
    folder = plan.binding.job_context(instance).folder / "submit"
    filled = fill(
        template,
        resources,
        sources.site.qsub,
        job_folder=str(folder.relative_to(sources.paths.root)),
        tasks_file=folder / "TASKS.sh",
    )
    options = [*sources.site.slurm.options, *filled.options]
    first, _, rest = filled.text.partition("\n")
    told = f"# sbatch {words(options)}\n" if options else ""
    return f"{first}\n{told}{rest}"
