"""The site's configuration: ``conf.yaml`` in layers, each value with the file it comes from.

Lowest first: ``conf.template.yaml`` as shipped; the file that ``$CRBOOST_CONFIG`` names, else
``/etc/crboost/conf.yaml``; ``$XDG_CONFIG_HOME/crboost/conf.yaml`` of the user; ``.crboost/conf.yaml`` of the project.
Later wins, value by value; a tool is one value.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from core.errors import InputError
from core.files import read_text
from core.formats import plain_yaml
from core.project.layout import ProjectPaths
from core.project.problems import nearest, validated
from core.project.resources import Resources, ResourceTable

TEMPLATE = "conf.template.yaml"
SITE_FILE = Path("/etc/crboost/conf.yaml")
DEFAULTS = "defaults"
"""Origin of values that no file but the shipped template gives."""

_OLD_TOOL_NAMES = {"warp_aretomo": "warp"}

RESOURCE_FIELDS = tuple(Resources.model_fields)


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _texts(values: Any) -> Any:
    """Numbers and switches of YAML as the texts that variables hold."""
    if not isinstance(values, dict):
        return values
    return {
        name: str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        for name, value in values.items()
    }


class Tool(_Part):
    """A binary (``path`` is a folder, an executable, or empty for what is on PATH) or a container (a .sif file).

    ``binds``: further folders that the container sees where they exist on the node. ``env``: variables that are set as
    they stand here. ``modules``: loaded first (``module load``). ``gpu``: whose GPUs the container is shown; auto:
    those that the node has. ``mpi``: whether ranks are started by the mpirun inside the image (one node; what holds for
    a container where nothing is said) or, each in a container of its own, by the site's launcher.
    """

    binary: bool = False
    container: bool = False
    path: str = ""
    binds: list[Annotated[str, Field(pattern=r"^[/~]")]] = []
    env: Annotated[dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str], BeforeValidator(_texts)] = {}
    modules: list[Annotated[str, Field(min_length=1, pattern=r"^[^-\s]\S*$")]] = []
    gpu: Literal["auto", "nvidia", "amd"] = "auto"
    mpi: Literal["inside", "outside"] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Tool:
        if self.binary == self.container:
            raise PydanticCustomError(
                "tool", "must be either a binary or a container: set exactly one of them to true."
            )
        if self.container and not self.path:
            raise PydanticCustomError("tool", "is a container without a path: give its .sif file as path.")
        if self.binary and self.mpi == "inside":
            raise PydanticCustomError(
                "tool", "has mpi: inside, which is for containers: the ranks of a binary are started by the site."
            )
        return self


class Local(_Part):
    """What tasks on this machine may use; absent: all that it has."""

    cpus: Annotated[int, Field(ge=1)] | None = None
    gpus: Annotated[int, Field(ge=0)] | None = None


class ExtraField(_Part):
    """The resource field that one ``XXXextraNXXX`` of the template stands for. ``field`` is a resource field or a name
    of the site's own (then it is set as ``extra.<name>``)."""

    field: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    label: str = ""


def _numbered(table: Any) -> Any:
    """With numbers as keys, which are texts in our YAML."""
    if not isinstance(table, dict):
        return table
    numbers = {str(number): number for number in range(1, 11)}
    for key in table:
        if str(key) not in numbers:
            raise PydanticCustomError(
                "qsub_extra", "is no XXXextraNXXX: the number must be 1 to 10.", {"within": (str(key),)}
            )
    return {numbers[str(key)]: value for key, value in table.items()}


class Qsub(_Part):
    template: str = ""
    """The lab's RELION qsub template."""
    command: Annotated[str, Field(min_length=1)] = "sbatch"
    extra: Annotated[dict[int, ExtraField], BeforeValidator(_numbered)] = {}


_MANAGED = re.compile(
    r"--(job-name|array|output|error|requeue|no-requeue|open-mode|chdir|signal|export|parsable|wrap|wait|dependency|hold"
    r"|kill-on-invalid-dep|test-only|uid|gid|clusters|cluster)(=|$)|-[JaoeDWdHM]"
)


def _not_managed(options: list[str]) -> list[str]:
    """Options of ``sbatch`` that every submission sets itself: tasks could not be followed without them."""
    for option in options:
        if _MANAGED.match(option):
            raise PydanticCustomError(
                "managed", "has {option}, which crboost sets itself: take it out.", {"option": option}
            )
    return options


class Slurm(_Part):
    """How Slurm is spoken to. ``max_submitted``: our share of the site's limit on jobs in the queue; absent: found out
    by being refused. The budget: ``burst`` submissions at once, then ``per_second``. ``seconds``: time that one call of
    Slurm may take. ``options``: further options of every ``sbatch``."""

    max_submitted: Annotated[int, Field(ge=1)] | None = None
    burst: Annotated[int, Field(ge=1, le=1000)] = 10
    per_second: Annotated[float, Field(gt=0, le=100)] = 1.0
    seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    options: Annotated[list[str], AfterValidator(_not_managed)] = []


class EngineHost(_Part):
    """Where engines live: ``here`` (the host of whoever asks) or ``slurm`` (a small job, which ends after ``minutes``
    and submits its successor before). ``resources`` are that job's."""

    host: Literal["here", "slurm"] = "here"
    minutes: Annotated[int, Field(ge=2, le=525_600)] = 1440
    resources: ResourceTable = {}


class Projects(_Part):
    roots: list[str] = []


class Warp(_Part):
    version: Literal["head", "dev39"] = "head"


class Watch(_Part):
    mode: Literal["auto", "events", "poll"] = "auto"
    seconds: Annotated[float, Field(gt=0, le=600)] = 2.0


class Limits(_Part):
    min_free_gb: Annotated[float, Field(ge=0)] = 2.0


class SiteFile(_Part):
    """One ``conf.yaml``; also all of them merged."""

    tools: dict[str, Tool] = {}
    containers: dict[str, Annotated[str, Field(min_length=1)]] = {}
    local: Local = Local()
    submitter: Literal["auto", "local", "slurm"] = "auto"
    slurm: Slurm = Slurm()
    engine: EngineHost = EngineHost()
    resources: ResourceTable = {}
    profiles: dict[str, ResourceTable] = {}
    presets: dict[str, ResourceTable] = {}
    qsub: Qsub = Qsub()
    projects: Projects = Projects()
    warp: Warp = Warp()
    watch: Watch = Watch()
    notify: str | list[str] = ""
    limits: Limits = Limits()
    retries: Annotated[int, Field(ge=0, le=10)] = 2


@dataclass(frozen=True, slots=True)
class SiteValue:
    """One value, by its path (``local.cpus``), and the file that it comes from (or ``defaults``)."""

    path: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Site:
    """All layers merged. ``notify`` is a command (empty for none). ``values`` lists everything with its origin."""

    tools: Mapping[str, Tool]
    local: Local
    submitter: Literal["auto", "local", "slurm"]
    slurm: Slurm
    engine: EngineHost
    resources: Mapping[str, Any]
    profiles: Mapping[str, Mapping[str, Any]]
    presets: Mapping[str, Mapping[str, Any]]
    qsub: Qsub
    projects: tuple[Path, ...]
    warp_version: Literal["head", "dev39"]
    watch: Watch
    notify: tuple[str, ...]
    min_free_gb: float
    retries: int
    values: tuple[SiteValue, ...]

    def origin(self, path: str) -> str:
        """Where the value at ``path`` comes from; ``defaults`` where nobody gives it."""
        for value in self.values:
            if value.path == path:
                return value.origin
        return DEFAULTS

    def resource_layers(self, job_type: str) -> list[tuple[str, Mapping[str, Any]]]:
        """The site's defaults, then the profile of the job type, one layer per value with its source."""
        own = [(f"site ({self.origin(f'resources.{name}')})", {name: each}) for name, each in self.resources.items()]
        profile = self.profiles.get(job_type, {})
        return own + [
            (f"profile {job_type} ({self.origin(f'profiles.{job_type}.{name}')})", {name: each})
            for name, each in profile.items()
        ]


def load_site(project_root: Path | None, data: Path) -> Site:
    """Merge all layers. ``data`` is the folder of ``conf.template.yaml``.

    Raises :class:`InputError` with file and setting for anything wrong, naming the nearest setting for an unknown one.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for path, origin in _layers(project_root, data):
        layer = _read_layer(path)
        if "extra" in layer.get("qsub", {}):  # it describes one template: nothing of another one's is left beside it
            merged.get("qsub", {}).pop("extra", None)
        for parts, value in _leaves(layer):
            _put(merged, parts, value)
            dotted = ".".join(map(str, parts))
            origins[dotted] = origin
    site = validated(SiteFile, merged, "conf.yaml (all layers together)")
    _check_extra(site.qsub)
    values = tuple(
        SiteValue(".".join(map(str, parts)), value, origins.get(".".join(map(str, parts)), DEFAULTS))
        for parts, value in _leaves(merged)
    )
    return Site(
        tools=site.tools,
        local=site.local,
        submitter=site.submitter,
        slurm=site.slurm,
        engine=site.engine,
        resources=site.resources,
        profiles=site.profiles,
        presets=site.presets,
        qsub=site.qsub,
        projects=tuple(Path(root) for root in site.projects.roots),
        warp_version=site.warp.version,
        watch=site.watch,
        notify=tuple(shlex.split(site.notify) if isinstance(site.notify, str) else site.notify),
        min_free_gb=site.limits.min_free_gb,
        retries=site.retries,
        values=values,
    )


def user_config() -> Path:
    """The user's own ``conf.yaml``, whether it is there or not."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "crboost" / "conf.yaml"


def _layers(project_root: Path | None, data: Path) -> Iterator[tuple[Path, str]]:
    yield data / TEMPLATE, DEFAULTS
    named = os.environ.get("CRBOOST_CONFIG")
    if named:
        if not os.path.exists(named):
            raise InputError("does not exist, but CRBOOST_CONFIG names it: correct or unset that variable.", named)
        yield Path(named), named
    elif SITE_FILE.exists():
        yield SITE_FILE, str(SITE_FILE)
    if user_config().exists():
        yield user_config(), str(user_config())
    if project_root is not None:
        path = ProjectPaths(project_root).state / "conf.yaml"
        if path.exists():
            yield path, str(path)


def _read_layer(path: Path) -> dict[str, Any]:
    """One file, checked, with the older ``containers:`` map as tools and with whole paths."""
    value = plain_yaml.load(read_text(path), str(path))
    if value is None:
        return {}
    checked = validated(SiteFile, value, path)
    if isinstance(checked.notify, str):
        try:
            shlex.split(checked.notify)
        except ValueError as error:
            raise InputError("has a quote that is not closed.", f"{path}, notify") from error
    layer: dict[str, Any] = {name: each for name, each in value.items() if each is not None and name != "containers"}
    tools = {
        _OLD_TOOL_NAMES.get(name, name): {"binary": False, "container": True, "path": image}
        for name, image in checked.containers.items()
    }
    tools |= {
        name: {**tool.model_dump(include={"binary", "container", "path"}), **tool.model_dump(exclude_defaults=True)}
        for name, tool in checked.tools.items()
    }
    if tools:
        layer["tools"] = {name: _whole_tool(tool, path) for name, tool in tools.items()}
    if checked.qsub.template:
        template = Path(os.path.expanduser(checked.qsub.template))
        # Its XXXextraNXXX mean what its own lab says: never what the table of another template says.
        layer["qsub"] = {"extra": {}, **value["qsub"], "template": str(path.parent / template)}
    if checked.projects.roots:
        roots = [os.path.expandvars(os.path.expanduser(root)) for root in checked.projects.roots]
        layer["projects"] = {"roots": roots}
    return layer


def _whole_tool(tool: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """With ``~`` resolved and a path relative to the file's folder; a binary's bare name stays (PATH)."""
    path = os.path.expanduser(str(tool["path"]))
    if tool["container"] or "/" in path:
        path = str(file.parent / path)
    binds = [os.path.expanduser(bind) for bind in tool.get("binds", ())]
    return {**tool, "path": path, **({"binds": binds} if binds else {})}


def _leaves(values: Mapping[Any, Any], before: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """``(path, value)`` of everything that is replaced as a whole: scalars, lists, tools and the table of extra
    fields, which belongs to one template."""
    for name, value in values.items():
        path = (*before, name)
        unit = (len(path) == 2 and path[0] == "tools") or path == ("qsub", "extra")
        if isinstance(value, Mapping) and not unit:
            yield from _leaves(value, path)
        elif value is not None:
            yield path, value


def _put(values: dict[Any, Any], path: tuple[Any, ...], value: Any) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
    values[path[-1]] = value


def _check_extra(qsub: Qsub) -> None:
    """Each resource field may be one ``XXXextraNXXX`` only."""
    seen: dict[str, int] = {}
    for number, extra in qsub.extra.items():
        if extra.field in seen:
            raise InputError(
                f"gives {extra.field!r} to both XXXextra{seen[extra.field]}XXX and XXXextra{number}XXX: correct one.",
                f"qsub.extra.{number}",
            )
        seen[extra.field] = number


def preset(site: Site, name: str) -> Mapping[str, Any]:
    """The resources of one preset. Raises :class:`InputError` naming the nearest."""
    if name not in site.presets:
        raise InputError(f"There is no preset {name!r}.{nearest(name, site.presets)}")
    return site.presets[name]
