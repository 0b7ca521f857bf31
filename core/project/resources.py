"""What a task asks of the cluster, and where each of these values comes from.

Effective resources are: what the job type needs < the site's defaults < the profile of the job type < the project's <
the instance's own. Nothing here knows about ``XXXextraNXXX``: that aliasing is the script writer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from core.dataset.model import Sourced
from core.project.problems import sentences

ResourceValue = str | int | Mapping[str, str | int]

_Text = Annotated[str, Field(pattern=r"^[^\n\r\x00]*$")]


class Resources(BaseModel):
    """The resource fields, each None where it is not set. An empty text means: explicitly none, its line is dropped."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    partition: _Text | None = None
    """Partition (queue) of the cluster."""
    constraint: _Text | None = None
    """Node features that are asked for."""
    nodes: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Nodes per task."""
    tasks: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """MPI ranks per node."""
    cpus: Annotated[int, Field(ge=1, le=4096)] | None = None
    """CPU cores per rank."""
    gpus: Annotated[int, Field(ge=0, le=64)] | None = None
    """GPUs per task; ``gres`` follows from it unless that is set."""
    gres: _Text | None = None
    """Generic resources as the scheduler writes them (``gpu:a100:2``)."""
    memory_gb: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Memory per node in GB."""
    minutes: Annotated[int, Field(ge=1, le=525_600)] | None = None
    """Time limit of one task in minutes."""
    account: _Text | None = None
    """Account that is charged."""
    qos: _Text | None = None
    """Quality of service."""
    at_once: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """How many tasks of the job may run at the same time."""
    series_per_task: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Tilt series that are packed into one submitted script, one after another; ``minutes`` is for each."""
    extra: dict[str, _Text | int] | None = None
    """Fields of the site's own template, by the names in ``qsub.extra``."""

    def explicit(self) -> dict[str, Any]:
        """Only what is set."""
        return self.model_dump(exclude_none=True)


def _check(values: dict[str, Any]) -> dict[str, Any]:
    try:
        Resources.model_validate(values)
    except ValidationError as error:
        path, sentence = sentences(error, Resources)[0]
        raise PydanticCustomError(
            "resources", "{sentence}", {"sentence": sentence, "within": tuple(path.split("."))}
        ) from error
    return values


ResourceTable = Annotated[dict[str, Any], AfterValidator(_check)]
"""A plain mapping that holds valid resource fields."""


class NeedsLike(Protocol):
    """What a job type says one of its tasks needs (``core.jobs._base.Needs``)."""

    @property
    def cpus(self) -> int: ...
    @property
    def gpus(self) -> int: ...
    @property
    def memory_gb(self) -> int: ...
    @property
    def minutes(self) -> int: ...


class SiteResources(Protocol):
    """The part of the site's configuration that speaks of resources (``core.project.site.Site``)."""

    def resource_layers(self, job_type: str) -> list[tuple[str, Mapping[str, Any]]]: ...


class InstanceLike(Protocol):
    @property
    def type(self) -> str: ...
    @property
    def resources(self) -> Mapping[str, Any]: ...


def effective(
    needs: NeedsLike, site: SiteResources, instance: InstanceLike, project: Mapping[str, Any] | None = None
) -> dict[str, Sourced[ResourceValue]]:
    """Every resource field that has a value, with its source: ``job type``, ``site (<file>)``,
    ``profile <type> (<file>)``, ``project``, ``you`` or ``gpus``. ``project`` is the whole project's table.

    ``gres`` is ``gpu:<gpus>`` where nobody sets it, and a ``gres`` that is set nearer to the instance than ``gpus``
    decides the number of GPUs. ``extra`` is merged name by name.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = [
        (
            "job type",
            {"cpus": needs.cpus, "gpus": needs.gpus, "memory_gb": needs.memory_gb, "minutes": needs.minutes},
        ),
        *site.resource_layers(instance.type),
        ("project", project or {}),
        ("you", instance.resources),
    ]
    found: dict[str, Sourced[ResourceValue]] = {}
    rank: dict[str, int] = {}
    for number, (source, values) in enumerate(layers):
        for name, value in values.items():
            if value is None:
                continue
            if name == "extra":
                before = found["extra"].value if "extra" in found else {}
                value = {**(before if isinstance(before, Mapping) else {}), **value}
            found[name] = Sourced(value, source)
            rank[name] = number
    gpus = found["gpus"].value
    gres = found.get("gres")
    if gres is not None and rank["gres"] > rank["gpus"]:
        found["gpus"] = Sourced(_gpus_of(str(gres.value)), gres.source)
    elif gpus:
        if gres is None or rank["gpus"] > rank["gres"]:
            found["gres"] = Sourced(f"gpu:{gpus}", "gpus")
    elif gres is not None and "gpu" in str(gres.value):
        del found["gres"]
    return found


def _gpus_of(gres: str) -> int:
    """GPUs in a gres text: ``gpu:a100:2`` 2, ``gpu`` 1, ``lscratch:100`` 0."""
    total = 0
    for part in gres.split(","):
        words = part.strip().split("(")[0].split(":")
        if words[0] in ("gpu", "gres/gpu"):
            total += int(words[-1]) if words[-1].isdigit() else 1
    return total
