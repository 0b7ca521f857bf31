"""``tsCtf``: WarpTools sets the handedness of a tilt series and fits the defocus of all its tilts together.

The handedness is the project's one decision, never a per-series guess of the tool. The flag is set first, from the
alignment's folder into this job's, and the fit then works on this job's XML, where the flag is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from core.dataset.model import Acquisition
from core.errors import InputError, WorkFailed
from core.formats.warp_xml import TiltSeriesXml
from core.jobs._base import (
    JobContext,
    Needs,
    Problem,
    SeriesContext,
    SeriesResult,
    Slot,
    StarValue,
    TaskContext,
)
from core.jobs._star import HAND, TableJob, add_columns, write_series
from core.jobs._task import Check, Product, Work
from core.jobs._tilt_series import (
    XmlTilt,
    aligned_row,
    average_pixel,
    clean_stage,
    dropped_notes,
    geometry_columns,
    inputs,
    per_tilt,
    read_product,
    series_options,
    series_settings,
    series_xml,
    upstream,
    upstream_rows,
    xml_tilts,
)
from core.jobs._warp import (
    OptionValue,
    WarpRun,
    extra_argument_problems,
    needed,
    warp_cause,
    warp_command,
    warp_progress,
)
from core.jobs.fields import Flag, Group, Level, Unit
from core.project.decisions import HANDEDNESS
from core.quality.geometry import relion_tilt

DEGREES_PER_WARP_PHASE = 180.0
"""Warp's phase shifts are in units of π, RELION's in degrees."""


class TsCtfParameters(WarpRun):
    defocus_hand: Annotated[Literal["project", "flip", "no_flip"], Flag("ts_defocus_hand --set_flip/--set_noflip")] = (
        "project"
    )
    """Handedness: the project's decision (made from the first aligned series or by you), or this value for this job."""
    window: Annotated[int, Unit("px"), Group("Fit"), Flag("--window"), Field(ge=128, le=4096)] = 512
    """Side of the windows from which spectra are made."""
    range_low: Annotated[float, Unit("Å"), Group("Fit"), Flag("--range_low"), Field(gt=0, le=999)] = 30.0
    """Low-resolution end of the fit."""
    range_high: Annotated[float, Unit("Å"), Group("Fit"), Flag("--range_high"), Field(ge=1, le=999)] = 6.0
    """High-resolution end of the fit; more than twice the pixel size."""
    defocus_min: Annotated[float, Unit("µm"), Group("Fit"), Flag("--defocus_min"), Field(ge=-10, le=50)] = 0.5
    """Least underfocus that is tried."""
    defocus_max: Annotated[float, Unit("µm"), Group("Fit"), Flag("--defocus_max"), Field(ge=-10, le=50)] = 8.0
    """Greatest underfocus that is tried."""
    fit_phase: Annotated[bool, Group("Fit"), Level.ADVANCED, Flag("--fit_phase")] = False
    """Also fit a phase shift (data from a phase plate)."""


class TsCtf(TableJob[TsCtfParameters]):
    name = "tsCtf"
    title = "CTF of tilt series (Warp)"
    summary = "Sets the project's handedness and fits the defocus of every tilt, all tilts of a series together."
    parameters = TsCtfParameters
    slots = (Slot("alignment", "alignment", "Aligned tilt series."),)
    provides = ("tilt_series_ctf",)
    main_output = ("tilt_series_ctf.star", "TomogramGroupMetadata.star.relion.tomo.ctffind")
    keep_hand = True
    tools = ("warp",)
    needs = Needs(cpus=4, gpus=1, memory_gb=32, minutes=30)
    acquisition_fields = ("pixel_size_angstrom", "voltage_kv", "spherical_aberration_mm", "amplitude_contrast")

    def checks(self, values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
        problems = extra_argument_problems("ts_ctf", values["extra_arguments"])
        if values["range_high"] >= values["range_low"]:
            sentence = "The high-resolution end of the fit must be a smaller number of Å than the low-resolution end."
            problems.append(Problem("error", ("range_low", "range_high"), sentence))
        if values["defocus_min"] > values["defocus_max"]:
            sentence = "The least defocus is above the greatest one."
            problems.append(Problem("error", ("defocus_min", "defocus_max"), sentence))
        pixel = acquisition.pixel_size_angstrom.value if acquisition is not None else None
        if pixel is not None and values["range_high"] <= 2 * pixel:
            sentence = f"The fit cannot go beyond {2 * pixel:g} Å, twice the pixel size: use a larger range_high."
            problems.append(Problem("error", ("range_high",), sentence))
        voltage = acquisition.voltage_kv.value if acquisition is not None else None
        if voltage is not None and voltage != round(voltage):
            sentence = f"WarpTools takes the voltage as whole kV; {voltage:g} kV is rounded."
            problems.append(Problem("warning", (), sentence))
        return problems

    def needs_decisions(
        self, job: JobContext[TsCtfParameters], context: SeriesContext[TsCtfParameters]
    ) -> tuple[str, ...]:
        return (HANDEDNESS,) if context.values.defocus_hand == "project" else ()

    def build(self, task: TaskContext[TsCtfParameters]) -> Work:
        context = task.series
        assert context is not None
        job, before, values = task.job, upstream(context, "alignment"), context.values
        acquisition, group = context.acquisition, context.series.group
        if values.range_high <= 2 * average_pixel(context):
            sentence = f"The fit cannot go beyond twice the averages' pixel size ({2 * average_pixel(context):g} Å)."
            raise InputError(sentence, "range_high")
        flag = "--set_flip" if is_flipped(job, values) else "--set_noflip"
        options: list[tuple[str, OptionValue]] = [
            *series_options(context, job.folder, job.folder),
            ("--window", values.window),
            ("--range_low", values.range_low),
            ("--range_high", values.range_high),
            ("--defocus_min", values.defocus_min),
            ("--defocus_max", values.defocus_max),
            # WarpTools refuses 300.0 for a whole number
            ("--voltage", round(float(needed(acquisition.voltage_kv, "voltage", group)))),
            ("--cs", needed(acquisition.spherical_aberration_mm, "spherical aberration", group)),
            ("--amplitude", needed(acquisition.amplitude_contrast, "amplitude contrast", group)),
            ("--fit_phase", values.fit_phase),
        ]
        xml = str(series_xml(job.folder, context.series.id))
        return Work(
            stage=clean_stage(job.folder, context.series.id),
            commands=(
                series_settings(job, task, context, job.folder),
                warp_command(
                    job,
                    task,
                    "ts_defocus_hand",
                    [*series_options(context, job.folder, before.folder), (flag, True)],
                    gpu=False,
                ),
                warp_command(job, task, "ts_ctf", options, gpu=True, extra=values.extra_arguments),
            ),
            # An XML is there after the first command already: only OptionsCTF says that the fit ran.
            products=(Product((xml,), Check.XML), Product((xml,), Check.WORDS, words=("<OptionsCTF",))),
            inputs=inputs(context, before.folder),
        )

    def progress(self, log_tail: str) -> float | None:
        return warp_progress(log_tail)

    def cause(self, out_tail: str, err_tail: str) -> str:
        return warp_cause(out_tail, err_tail)

    def gather_series(
        self, job: JobContext[TsCtfParameters], key: str, context: SeriesContext[TsCtfParameters] | None
    ) -> SeriesResult:
        assert context is not None
        try:
            return self._gather(job, context)
        except (InputError, WorkFailed) as error:
            return SeriesResult(problem=str(error))

    def _gather(self, job: JobContext[TsCtfParameters], context: SeriesContext[TsCtfParameters]) -> SeriesResult:
        xml = read_product(job.folder, context.series.id)
        if not xml.has_ctf:
            return SeriesResult(problem=f"The XML of {context.series.id} has no CTF fit.")
        if xml.angles_inverted != is_flipped(job, context.values):
            found = "inverted" if xml.angles_inverted else "not inverted"
            sentence = f"The angles of {context.series.id} are {found} in its XML, against the decision on handedness."
            return SeriesResult(problem=sentence)
        tilts = xml_tilts(xml)
        used = [tilt for tilt in tilts if tilt.used]
        unfitted = [tilt.movie for tilt in used if tilt.index not in xml.grid_ctf]
        if unfitted or not used:
            return SeriesResult(problem=f"No defocus was fitted for {', '.join(unfitted) or 'any tilt'}.")
        rows = upstream_rows(context, "alignment")
        columns = geometry_columns(tilts)
        for movie, defocus in defocus_columns(xml, used, with_phase=context.values.fit_phase).items():
            columns[movie].update(defocus)
        write_series(job, context.series.id, add_columns(rows, columns))
        flattest = min(used, key=lambda tilt: abs(tilt.geometry.angle_deg))
        defocus_um = {tilt.movie: tilt.geometry.defocus_um for tilt in used}
        return SeriesResult(
            row={**aligned_row(job, context), HAND: -1.0 if xml.angles_inverted else 1.0},
            numbers={
                **({"ctf_resolution_angstrom": xml.ctf_resolution_angstrom} if xml.ctf_resolution_angstrom > 0 else {}),
                "defocus_um": flattest.geometry.defocus_um,
                "astigmatism_um": flattest.geometry.defocus_delta_um,
                "tilts_used": float(len(used)),
            },
            tilts={
                "tilt_angle_deg": per_tilt(context, {tilt.movie: tilt.geometry.angle_deg for tilt in used}),
                "defocus_um": per_tilt(context, defocus_um),
                "astigmatism_um": per_tilt(context, {tilt.movie: tilt.geometry.defocus_delta_um for tilt in used}),
            },
            notes=dropped_notes(rows, tilts),
        )


def is_flipped(job: JobContext[Any], values: TsCtfParameters) -> bool:
    """The handedness of this job: Warp's AreAnglesInverted. Raises :class:`InputError` while it is undecided."""
    if values.defocus_hand != "project":
        return values.defocus_hand == "flip"
    decision = job.decisions.get(HANDEDNESS)
    if decision is None or decision.state != "decided":
        raise InputError("The handedness of the project is not decided yet.", "handedness")
    return decision.value == "flip"


def defocus_columns(
    xml: TiltSeriesXml, tilts: Sequence[XmlTilt], *, with_phase: bool
) -> dict[str, dict[str, StarValue]]:
    """RELION's CTF columns by movie name. Grid nodes belong to a tilt by their Z, whatever their order."""
    columns: dict[str, dict[str, StarValue]] = {}
    for tilt in tilts:
        relion = relion_tilt(tilt.geometry)
        columns[tilt.movie] = {
            "rlnDefocusU": relion.defocus_u_angstrom,
            "rlnDefocusV": relion.defocus_v_angstrom,
            "rlnCtfAstigmatism": relion.defocus_u_angstrom - relion.defocus_v_angstrom,
            "rlnDefocusAngle": xml.grid_ctf_angle.get(tilt.index, 0.0),
        }
        if with_phase:
            columns[tilt.movie]["rlnPhaseShift"] = xml.grid_ctf_phase.get(tilt.index, 0.0) * DEGREES_PER_WARP_PHASE
    return columns


JOB_TYPE = TsCtf()
