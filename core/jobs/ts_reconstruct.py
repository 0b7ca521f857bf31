"""``tsReconstruct``: WarpTools reconstructs a tomogram of each tilt series, with two half tomograms for denoising."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, radians
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from core.dataset.model import Acquisition
from core.errors import InputError, WorkFailed
from core.formats.mrc import read_mrc_header
from core.formats.warp_xml import read_tilt_series
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
from core.jobs._star import HAND, TableJob, write_series
from core.jobs._task import Check, MoveAside, Product, Work
from core.jobs._tilt_series import (
    aligned_row,
    average_pixel,
    check_pixel,
    clean_stage,
    dimensions_px,
    inputs,
    processing,
    read_product,
    series_options,
    series_settings,
    series_xml,
    upstream,
    upstream_rows,
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
from core.jobs.fields import Flag, Group, Level, Only, Unit

HALVES = ("even", "odd")


class TsReconstructParameters(WarpRun):
    pixel_size: Annotated[float, Unit("Å/px"), Flag("--angpix"), Field(ge=1, le=100)] = 10.0
    """Pixel size of the tomogram, with at most two decimals (they become part of its file name)."""
    halfmap_frames: Annotated[bool, Group("Halves"), Flag("--halfmap_frames")] = True
    """Two more tomograms, from even and odd frames: what cryoCARE and other denoisers learn from."""
    halfmap_tilts: Annotated[bool, Group("Halves"), Level.ADVANCED, Flag("--halfmap_tilts")] = False
    """Two more tomograms from alternate tilts, where the movies have no halves."""
    deconvolve: Annotated[bool, Group("Deconvolution"), Flag("--deconv")] = False
    """Another tomogram with more contrast for looking at. Not together with halves, which it would overwrite."""
    deconv_strength: Annotated[
        float,
        Group("Deconvolution"),
        Level.ADVANCED,
        Flag("--deconv_strength"),
        Only({"deconvolve": (True,)}),
        Field(gt=0, le=10),
    ] = 1.0
    """Strength of the deconvolution filter."""
    deconv_falloff: Annotated[
        float,
        Group("Deconvolution"),
        Level.ADVANCED,
        Flag("--deconv_falloff"),
        Only({"deconvolve": (True,)}),
        Field(gt=0, le=10),
    ] = 1.0
    """How fast the filter falls off towards high resolution."""
    deconv_highpass: Annotated[
        float,
        Unit("Å"),
        Group("Deconvolution"),
        Level.ADVANCED,
        Flag("--deconv_highpass"),
        Only({"deconvolve": (True,)}),
        Field(ge=10, le=10000),
    ] = 300.0
    """Coarser features than this are damped."""
    dont_invert: Annotated[bool, Group("Contrast"), Flag("--dont_invert")] = True
    """On: protein stays dark, as in the movies and in RELION's tomograms, and a template must be dark. Off: protein is
    bright, and a template must be bright."""
    dont_normalize: Annotated[bool, Group("Contrast"), Level.ADVANCED, Flag("--dont_normalize")] = False
    """Leave out the normalisation of each tilt."""
    keep_full_voxels: Annotated[bool, Group("Volume"), Level.ADVANCED, Flag("--keep_full_voxels")] = False
    """Set voxels to zero that some tilt does not show."""
    subvolume_size: Annotated[
        int, Unit("px"), Group("Volume"), Level.ADVANCED, Flag("--subvolume_size"), Field(ge=16, le=512)
    ] = 64
    """Side of the blocks that are reconstructed one by one, each with its own defocus."""
    subvolume_padding: Annotated[
        int, Group("Volume"), Level.ADVANCED, Flag("--subvolume_padding"), Field(ge=1, le=8)
    ] = 3
    """Padding of the blocks, as a factor. Larger needs more GPU memory."""


class TsReconstruct(TableJob[TsReconstructParameters]):
    name = "tsReconstruct"
    title = "Reconstruct tomograms (Warp)"
    summary = "Reconstructs a tomogram of every tilt series, with half tomograms for denoising."
    parameters = TsReconstructParameters
    slots = (Slot("tilt_series_ctf", "tilt_series_ctf", "Aligned tilt series with defocus."),)
    provides = ("tomograms",)
    main_output = ("tomograms.star", "TomogramGroupMetadata.star.relion.tomo.reconstruct")
    keep_hand = True
    tools = ("warp",)
    needs = Needs(cpus=4, gpus=1, memory_gb=48, minutes=60)
    acquisition_fields = ("pixel_size_angstrom",)

    def checks(self, values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
        problems = extra_argument_problems("ts_reconstruct", values["extra_arguments"])
        halves = values["halfmap_frames"] or values["halfmap_tilts"]
        if values["halfmap_frames"] and values["halfmap_tilts"]:
            sentence = "Choose one kind of halves: from frames or from tilts."
            problems.append(Problem("error", ("halfmap_frames", "halfmap_tilts"), sentence))
        if values["deconvolve"] and halves:
            sentence = (
                "Deconvolution overwrites the halves with deconvolved ones, which no denoiser may learn from: switch "
                "one off here, and add a second instance of tsReconstruct for the other."
            )
            problems.append(Problem("error", ("deconvolve", "halfmap_frames", "halfmap_tilts"), sentence))
        if abs(values["pixel_size"] - round(values["pixel_size"], 2)) > 1e-9:
            sentence = "WarpTools writes the pixel size with two decimals into file names: use no more here."
            problems.append(Problem("error", ("pixel_size",), sentence))
        pixel = acquisition.pixel_size_angstrom.value if acquisition is not None else None
        if pixel is not None and values["pixel_size"] < pixel:
            sentence = f"The tomogram's pixel is smaller than the movies' ({pixel:g} Å)."
            problems.append(Problem("error", ("pixel_size",), sentence))
        return problems

    def build(self, task: TaskContext[TsReconstructParameters]) -> Work:
        context = task.series
        assert context is not None
        job, before, values = task.job, upstream(context, "tilt_series_ctf"), context.values
        check_pixel(context, values.pixel_size, "pixel_size")
        if values.halfmap_frames:
            self._check_halves(context)
        options: list[tuple[str, OptionValue]] = [
            *series_options(context, job.folder, before.folder),
            ("--angpix", values.pixel_size),
            ("--halfmap_frames", values.halfmap_frames),
            ("--halfmap_tilts", values.halfmap_tilts),
            ("--deconv", values.deconvolve),
            ("--deconv_strength", values.deconv_strength if values.deconvolve else None),
            ("--deconv_falloff", values.deconv_falloff if values.deconvolve else None),
            ("--deconv_highpass", values.deconv_highpass if values.deconvolve else None),
            ("--dont_invert", values.dont_invert),
            ("--dont_normalize", values.dont_normalize),
            ("--keep_full_voxels", values.keep_full_voxels),
            ("--subvolume_size", values.subvolume_size),
            ("--subvolume_padding", values.subvolume_padding),
        ]
        volumes = [str(path) for path in volume_paths(job.folder, context.series.id, values).values()]
        return Work(
            stage=(
                *clean_stage(job.folder, context.series.id),
                *(MoveAside(str(path)) for path in all_volume_paths(job.folder, context.series.id, values).values()),
            ),
            commands=(
                series_settings(job, task, context, job.folder),
                warp_command(job, task, "ts_reconstruct", options, gpu=True, extra=values.extra_arguments),
            ),
            products=(Product(tuple(volumes), Check.MRC),),
            inputs=inputs(context, before.folder),
        )

    def _check_halves(self, context: SeriesContext[TsReconstructParameters]) -> None:
        frames = context.ancestor("frame_series")
        if frames is not None and getattr(frames.values, "out_average_halves", True) is False:
            raise InputError(
                f"{frames.instance} writes no averages of even and odd frames: switch them on there, or halfmap_frames "
                "off here.",
                "halfmap_frames",
            )

    def progress(self, log_tail: str) -> float | None:
        return warp_progress(log_tail)

    def cause(self, out_tail: str, err_tail: str) -> str:
        return warp_cause(out_tail, err_tail)

    def gather_series(
        self, job: JobContext[TsReconstructParameters], key: str, context: SeriesContext[TsReconstructParameters] | None
    ) -> SeriesResult:
        assert context is not None
        try:
            return self._gather(job, context)
        except (InputError, WorkFailed) as error:
            return SeriesResult(problem=str(error))

    def _gather(
        self, job: JobContext[TsReconstructParameters], context: SeriesContext[TsReconstructParameters]
    ) -> SeriesResult:
        series_id, before = context.series.id, upstream(context, "tilt_series_ctf")
        if series_xml(job.folder, series_id).exists():
            read_product(job.folder, series_id)
        inverted = read_tilt_series(series_xml(before.folder, series_id)).angles_inverted
        paths = volume_paths(job.folder, series_id, context.values)
        expected = expected_size_px(job, context)
        for path in paths.values():
            _check_volume(path, expected, context.values.pixel_size)
        row: dict[str, StarValue] = {
            **aligned_row(job, context),
            HAND: -1.0 if inverted else 1.0,
            "rlnTomoTomogramBinning": context.values.pixel_size / average_pixel(context),
            "rlnTomoReconstructedTomogram": job.relative(paths["full"]),
        }
        if "even" in paths:
            row["rlnTomoReconstructedTomogramHalf1"] = job.relative(paths["even"])
            row["rlnTomoReconstructedTomogramHalf2"] = job.relative(paths["odd"])
        rows = upstream_rows(context, "tilt_series_ctf")
        for tilt in rows:
            # as RELION's own reconstruction does where there is none
            tilt.setdefault("rlnCtfScalefactor", cos(radians(float(tilt["rlnTomoYTilt"]))))
        write_series(job, series_id, rows)
        return SeriesResult(
            row=row,
            numbers={
                "tomogram_pixel_angstrom": context.values.pixel_size,
                "tomogram_size_x_px": float(expected[0]),
                "tomogram_size_y_px": float(expected[1]),
                "tomogram_size_z_px": float(expected[2]),
            },
        )


def volume_paths(folder: Path, series_id: str, values: TsReconstructParameters) -> dict[str, Path]:
    """``full`` and, as far as they are wanted, ``even``, ``odd`` and ``deconv``."""
    halves = values.halfmap_frames or values.halfmap_tilts
    wanted = {"full": True, "even": halves, "odd": halves, "deconv": values.deconvolve}
    return {kind: path for kind, path in all_volume_paths(folder, series_id, values).items() if wanted[kind]}


def all_volume_paths(folder: Path, series_id: str, values: TsReconstructParameters) -> dict[str, Path]:
    name = f"{series_id}_{values.pixel_size:.2f}Apx.mrc"
    base = processing(folder) / "reconstruction"
    return {"full": base / name, **{kind: base / kind / name for kind in (*HALVES, "deconv")}}


def expected_size_px(job: JobContext[Any], context: SeriesContext[TsReconstructParameters]) -> tuple[int, int, int]:
    """Size of the binned tomogram; WarpTools makes every side even."""
    raw = needed(context.acquisition.pixel_size_angstrom, "pixel size", context.series.group)
    x, y, z = (round(side * raw / context.values.pixel_size / 2) * 2 for side in dimensions_px(job, context))
    return x, y, z


def _check_volume(path: Path, expected: tuple[int, int, int], pixel_angstrom: float) -> None:
    """Raises :class:`WorkFailed` where size or pixel size is not what was asked for. A side may differ by one rounding
    (2 px)."""
    header = read_mrc_header(path)
    found = (header.nx, header.ny, header.nz)
    if any(abs(a - b) > 2 for a, b in zip(found, expected, strict=True)):
        raise WorkFailed(f"{path.name} is {_sides(found)} px, {_sides(expected)} px were expected.")
    pixel = header.pixel_size_angstrom
    if pixel is None or abs(pixel - pixel_angstrom) > 0.005 * pixel_angstrom:
        said = "none" if pixel is None else f"{pixel:g} Å"
        raise WorkFailed(f"{path.name} says pixel size {said}, {pixel_angstrom:g} Å was expected.")


def _sides(size: tuple[int, int, int]) -> str:
    return " x ".join(str(side) for side in size)


JOB_TYPE = TsReconstruct()
