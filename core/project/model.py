"""What a person would type: the model of ``crboost.yaml``.

Only values that are set explicitly are in it. Parameters stay plain mappings: the plan binds them to job types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, field_validator, model_validator
from pydantic_core import PydanticCustomError

from core.dataset.model import Acquisition
from core.errors import InputError
from core.project.decisions import HANDEDNESS, TILT_AXIS
from core.project.problems import nearest
from core.project.resources import ResourceTable

FORMAT = 1

ACQUISITION_FIELDS = tuple(field.name for field in fields(Acquisition) if field.name != "group")


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        if value != value or value in (float("inf"), float("-inf")):
            raise PydanticCustomError("scalar", "must be a finite number.")
        return value
    raise PydanticCustomError("scalar", "must be one value (a number, a text, true or false), not a list or a table.")


Scalar = Annotated[bool | int | float | str | None, PlainValidator(_scalar)]
ParameterTable = dict[str, Scalar]


def _instance_id(value: str) -> str:
    if "None" in value:
        raise PydanticCustomError("id", "must not contain 'None': RELION mangles such names.")
    if value.startswith("job"):
        raise PydanticCustomError("id", "must not begin with 'job': RELION keeps such names for its own folders.")
    return value


InstanceId = Annotated[
    str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", min_length=2, max_length=80), AfterValidator(_instance_id)
]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Instrument(_Part):
    """The microscope. What is absent comes from the files."""

    voltage_kv: Annotated[float, Field(gt=0, le=3000)] | None = None
    spherical_aberration_mm: Annotated[float, Field(ge=0, le=20)] | None = None
    amplitude_contrast: Annotated[float, Field(ge=0, le=1)] | None = None


class AcquisitionValues(_Part):
    """Explicit values of one acquisition group, by the names of :class:`core.dataset.model.Acquisition`."""

    optics_group: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] | None = None
    pixel_size_angstrom: Annotated[float, Field(gt=0, le=100)] | None = None
    voltage_kv: Annotated[float, Field(gt=0, le=3000)] | None = None
    spherical_aberration_mm: Annotated[float, Field(ge=0, le=20)] | None = None
    amplitude_contrast: Annotated[float, Field(ge=0, le=1)] | None = None
    dose_per_tilt_e_per_a2: Annotated[float, Field(gt=0, le=100)] | None = None
    tilt_axis_deg: Annotated[float, Field(ge=-360, le=360)] | None = None
    invert_tilt_angles: bool | None = None
    image_width_px: Annotated[int, Field(ge=1, le=100_000)] | None = None
    image_height_px: Annotated[int, Field(ge=1, le=100_000)] | None = None
    movie_extension: Annotated[str, Field(pattern=r"^\.?[A-Za-z0-9.]+$")] | None = None
    frames_per_movie: Annotated[int, Field(ge=1)] | None = None
    eer_frames_per_fraction: Annotated[int, Field(ge=0)] | None = None
    gain_path: str | None = None
    gain_flip_x: bool | None = None
    gain_flip_y: bool | None = None
    gain_transpose: bool | None = None
    defects_path: str | None = None
    confirmed: list[str] = []
    """Fields whose detected value a person has confirmed."""

    @field_validator("confirmed")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for number, name in enumerate(names):
            if name not in ACQUISITION_FIELDS:
                raise PydanticCustomError(
                    "confirmed",
                    "there is no acquisition field {name}.{nearest}",
                    {"name": repr(name), "nearest": nearest(name, ACQUISITION_FIELDS), "within": (number,)},
                )
        return names

    def explicit(self) -> dict[str, bool | int | float | str]:
        """The values that are set, without ``confirmed``."""
        return self.model_dump(exclude_none=True, exclude={"confirmed"})


class Instance(_Part):
    """One use of a job type. ``inputs``: slot -> instances in order of preference (absent: the nearest earlier
    provider). ``per_series``: series id -> overrides of parameters. ``tools``: tool -> the entry of the site's tools
    that takes its place in this job (another version of it)."""

    id: InstanceId
    type: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    inputs: dict[str, Annotated[list[str], Field(min_length=1)]] = {}
    parameters: ParameterTable = {}
    per_series: dict[str, ParameterTable] = {}
    resources: ResourceTable = {}
    tools: dict[str, Annotated[str, Field(min_length=1)]] = {}
    note: str = ""


def _check_order(pipeline: list[Instance]) -> list[Instance]:
    """Ids are unique, and inputs name instances that stand earlier, so that there are no circles."""
    counts = Counter(instance.id for instance in pipeline)
    every = set(counts)
    before: set[str] = set()
    for number, instance in enumerate(pipeline):
        if counts[instance.id] > 1 and instance.id in before:
            raise PydanticCustomError(
                "id", "{id} is the id of two instances: give one of them another.",
                {"id": repr(instance.id), "within": (number, "id")},
            )  # fmt: skip
        for slot, names in instance.inputs.items():
            for name in names:
                if name in before:
                    continue
                reason = (
                    "does not stand before the instance that uses it: move it up in the pipeline."
                    if name in every
                    else f"is no instance of this pipeline.{nearest(name, before)}"
                )
                raise PydanticCustomError(
                    "inputs", "{name} {reason}",
                    {"name": repr(name), "reason": reason, "within": (number, "inputs", slot)},
                )  # fmt: skip
        before.add(instance.id)
    return pipeline


Pipeline = Annotated[list[Instance], AfterValidator(_check_order)]


class ProjectFile(_Part):
    """``crboost.yaml``. Frozen: change it with ``model_copy(update=...)`` or :meth:`with_instance`."""

    format: Literal[1] = 1
    name: Annotated[str, Field(min_length=1, max_length=200)]
    note: str = ""
    rehearsal: bool = False
    """This is a rehearsal: its tools are stand-ins."""
    instrument: Instrument = Instrument()
    acquisition: dict[str, AcquisitionValues] = {}
    """Acquisition group -> its explicit values."""
    decisions: dict[str, float | str] = {}
    """Decisions by a person, which win over automatic ones (see ``core.project.decisions``)."""
    pipeline: Pipeline = []
    resources: ResourceTable = {}
    """Resources of every job of this project, over the site's."""

    @model_validator(mode="before")
    @classmethod
    def _numbers_as_they_are(cls, values: Any) -> Any:
        # Strict union members would refuse a whole number of degrees and name both members in the error.
        if not isinstance(values, dict) or not isinstance(values.get("decisions"), dict):
            return values
        decisions = {key: _decision(key, value) for key, value in values["decisions"].items()}
        return {**values, "decisions": decisions}

    def instance(self, id: str) -> Instance:
        """The instance of that id. Raises :class:`InputError` naming the nearest."""
        for instance in self.pipeline:
            if instance.id == id:
                return instance
        known = [instance.id for instance in self.pipeline]
        raise InputError(f"There is no job {id!r} in this pipeline.{nearest(id, known)}")

    def with_instance(self, instance: Instance) -> ProjectFile:
        """With ``instance`` in the place of the one of the same id, or at the end; checked like a loaded file."""
        pipeline = [instance if each.id == instance.id else each for each in self.pipeline]
        if instance.id not in {each.id for each in self.pipeline}:
            pipeline.append(instance)
        return ProjectFile.model_validate({**to_plain(self), "pipeline": [_instance_plain(each) for each in pipeline]})


def _decision(key: Any, value: Any) -> Any:
    within = ("decisions", key)
    if key == HANDEDNESS:
        if value not in ("flip", "no_flip"):
            raise PydanticCustomError("decision", "must be flip or no_flip.", {"within": within})
        return value
    if isinstance(key, str) and key.startswith(f"{TILT_AXIS}:"):
        if isinstance(value, bool) or not isinstance(value, int | float) or not -360 <= value <= 360:
            raise PydanticCustomError("decision", "must be an angle in degrees (-360 to 360).", {"within": within})
        return float(value)
    raise PydanticCustomError(
        "decision", "there is no such decision. Known are: handedness, tilt_axis:<acquisition group>.",
        {"within": within},
    )  # fmt: skip


def to_plain(model: ProjectFile) -> dict[str, Any]:
    """As plain values in a fixed order, without what is not set."""
    plain: dict[str, Any] = {"format": model.format, "name": model.name}
    if model.note:
        plain["note"] = model.note
    if model.rehearsal:
        plain["rehearsal"] = True
    rest = (
        ("instrument", model.instrument.model_dump(exclude_none=True)),
        ("acquisition", {name: dict(_acquisition_items(values)) for name, values in model.acquisition.items()}),
        ("decisions", dict(model.decisions)),
        ("resources", dict(model.resources)),
        ("pipeline", [_instance_plain(instance) for instance in model.pipeline]),
    )
    return plain | {name: value for name, value in rest if value}


def _acquisition_items(values: AcquisitionValues) -> Iterator[tuple[str, Any]]:
    yield from values.explicit().items()
    if values.confirmed:
        yield "confirmed", list(values.confirmed)


def _instance_plain(instance: Instance) -> dict[str, Any]:
    plain: dict[str, Any] = {"id": instance.id, "type": instance.type}
    for name in ("note", "inputs", "parameters", "per_series", "resources", "tools"):
        value = getattr(instance, name)
        if value:
            plain[name] = {key: list(each) for key, each in value.items()} if name == "inputs" else value
    return plain
