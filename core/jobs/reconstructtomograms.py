"""``reconstructtomograms``: RELION reconstructs a tomogram of each aligned tilt series, or two halves for denoising.

A task is RELION's own command with ``--tn <series>``: RELION then reads the table of all series, reconstructs one, and
writes no table. Gathering writes the tables that RELION's whole job would have written.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, radians
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from core.dataset.model import Acquisition
from core.errors import InputError, WorkFailed
from core.formats.mrc import MrcHeader, read_mrc_header
from core.jobs._base import JobContext, Needs, Problem, SeriesContext, SeriesResult, Slot, TaskContext
from core.jobs._relion import (
    PIXEL,
    RelionJob,
    RelionRun,
    folder_text,
    is_yes,
    number,
    program_name,
    split_arguments,
    tilt_series_pixel_angstrom,
)
from core.jobs._star import Row, global_row, series_star, write_series
from core.jobs._task import Check, MoveAside, Product, Work
from core.jobs.fields import Flag, Group, Level, Only, Unit

Y_TILT = "rlnTomoYTilt"
HALVES = ("half1", "half2")
TOMOGRAM = {
    "": ("rlnTomoReconstructedTomogram", "rlnTomogramProjection"),
    "half1": ("rlnTomoReconstructedTomogramHalf1", "rlnTomogramProjectionHalf1"),
    "half2": ("rlnTomoReconstructedTomogramHalf2", "rlnTomogramHProjectionalf2"),  # so it is called in RELION
}
"""Labels of a tomogram and of its projection."""


class ReconstructParameters(RelionRun):
    generate_split_tomograms: Annotated[bool, Group("Output"), Flag("--generate_split_tomograms")] = False
    """Generate tomograms for denoising: two, of the even and the odd frames, in the place of one. The motion
    correction must have saved images for denoising."""
    do_proj: Annotated[bool, Group("Output"), Flag("--do_proj")] = True
    """Write 2D sums of central Z-slices, to look at."""
    centre_proj: Annotated[
        int, Unit("px"), Group("Output"), Level.ADVANCED, Flag("--centre_proj"), Only({"do_proj": (True,)}),
        Field(ge=-2000, le=2000),
    ] = 0  # fmt: skip
    """Central Z-slice of the sums, in binned pixels from the middle."""
    thickness_proj: Annotated[
        int, Unit("px"), Group("Output"), Level.ADVANCED, Flag("--thickness_proj"), Only({"do_proj": (True,)}),
        Field(ge=1, le=2000),
    ] = 10  # fmt: skip
    """Number of Z-slices in the sums, in binned pixels."""
    xdim: Annotated[int, Unit("px"), Group("Volume"), Flag("--w"), Field(ge=1, le=60000)] = 4000
    """Unbinned tomogram width (Xdim), in pixels of the motion-corrected images. With a tilt axis near 90° it covers the
    height of an image."""
    ydim: Annotated[int, Unit("px"), Group("Volume"), Flag("--h"), Field(ge=1, le=60000)] = 4000
    """Unbinned tomogram height (Ydim), along the tilt axis."""
    zdim: Annotated[int, Unit("px"), Group("Volume"), Flag("--d"), Field(ge=1, le=60000)] = 2000
    """Unbinned tomogram thickness (Zdim)."""
    binned_angpix: Annotated[float, Unit("Å/px"), Group("Volume"), Flag("--binned_angpix"), Field(gt=0, le=100)] = 10
    """Binned pixel size of the tomogram."""
    tiltangle_offset: Annotated[
        float, Unit("°"), Group("Volume"), Flag("--tiltangle_offset"), Field(ge=-90, le=90)
    ] = 0  # fmt: skip
    """Tilt angle offset: added to all tilt angles, to level the specimen."""
    do_fourier: Annotated[bool, Group("Algorithm"), Flag("--fourier")] = True
    """Fourier-inversion with odd/even frames, and correction of the CTF: needs images for denoising and a fitted CTF.
    Otherwise RELION projects back in real space."""
    ctf_intact_first_peak: Annotated[
        bool, Group("Algorithm"), Flag("--ctf_intact_first_peak"), Only({"do_fourier": (True,)})
    ] = True
    """Ignore CTFs until first peak: leaves the contrast of coarse features."""
    do_skip_wiener: Annotated[
        bool, Group("Algorithm"), Level.ADVANCED, Flag("--skip_fourier_wiener"), Only({"do_fourier": (True,)})
    ] = False
    """Skip Wiener filter: only multiply by the CTF (RELION 5.1)."""


class ReconstructTomograms(RelionJob[ReconstructParameters]):
    name = "reconstructtomograms"
    title = "Reconstruct tomograms (RELION)"
    summary = "Reconstructs a tomogram of every aligned tilt series, or two half tomograms for denoising."
    parameters = ReconstructParameters
    slots = (Slot("aligned_tilt_series", "aligned_tilt_series", "Aligned tilt series with defocus."),)
    provides = ("tomograms",)
    main_output = ("tomograms.star", "TomogramGroupMetadata.star.relion.tomo.reconstruct")
    needs = Needs(cpus=8, gpus=0, memory_gb=64, minutes=120)
    relion_label = "relion.reconstructtomograms"
    relion_folder = "Tomograms"
    program = "relion_tomo_reconstruct_tomogram"
    input_option = "in_tiltseries"
    acquisition_fields = ("pixel_size_angstrom", "voltage_kv", "spherical_aberration_mm", "amplitude_contrast")

    def checks(self, values: Mapping[str, Any], acquisition: Acquisition | None) -> list[Problem]:
        problems = super().checks(values, acquisition)
        if values["generate_split_tomograms"] and values["do_fourier"]:
            sentence = (
                "RELION's Fourier inversion makes one tomogram of both halves, not two: switch one off here, and add a "
                "second instance of reconstructtomograms for the other."
            )
            problems.append(Problem("error", ("generate_split_tomograms", "do_fourier"), sentence))
        pixel = acquisition.pixel_size_angstrom.value if acquisition is not None else None
        if pixel is not None and values["binned_angpix"] < pixel:
            sentence = f"The tomogram's pixel is smaller than the movies' ({pixel:g} Å)."
            problems.append(Problem("error", ("binned_angpix",), sentence))
        return problems

    def unsplit_command(self, options: Mapping[str, str], folder: str) -> tuple[str, ...]:
        words = [program_name(self.program, options), "--t", options["in_tiltseries"], "--o", folder]
        words += ["--tn", options["tomo_name"]] if options["tomo_name"] else []
        words += ["--generate_split_tomograms"] if is_yes(options, "generate_split_tomograms") else []
        words += ["--w", options["xdim"], "--h", options["ydim"], "--d", options["zdim"]]
        words += ["--binned_angpix", options["binned_angpix"]]
        if is_yes(options, "do_fourier"):
            words.append("--fourier")
            words += ["--ctf_intact_first_peak"] if is_yes(options, "ctf_intact_first_peak") else []
            words += ["--skip_fourier_wiener"] if is_yes(options, "do_skip_wiener") else []
        if is_yes(options, "do_proj"):
            words.append("--do_proj")
            words += ["--centre_proj", options["centre_proj"], "--thickness_proj", options["thickness_proj"]]
        if abs(float(options["tiltangle_offset"])) > 0:
            words += ["--tiltangle_offset", options["tiltangle_offset"]]
        words += ["--j", options["nr_threads"]]
        return (*words, *split_arguments(options["other_args"]))

    def build(self, task: TaskContext[ReconstructParameters]) -> Work:
        context = task.series
        assert context is not None
        job, values, series_id = task.job, context.values, context.series.id
        pixel = tilt_series_pixel_angstrom(context)
        if values.binned_angpix < pixel - 1e-6:
            sentence = f"{values.binned_angpix:g} Å/px is finer than the averages of {series_id} ({pixel:g} Å/px)."
            raise InputError(sentence, "binned_angpix")
        _check_halves(context)
        before = self.producer(context)
        options = {**self.task_options(task, context), "tomo_name": series_id}
        paths = [path for pair in volume_paths(job.folder, series_id, values).values() for path in pair]
        wanted = [path for path in paths if values.do_proj or path.parent.name == "tomograms"]
        return Work(
            stage=tuple(MoveAside(str(path)) for path in paths),
            commands=(self.task_command(task, self.unsplit_command(options, folder_text(job, job.folder))),),
            products=(Product(tuple(str(path) for path in wanted), Check.MRC),),
            inputs=(
                str(job.project / self.input_table(job, context)),
                str(series_star(before.folder, series_id)),
            ),
        )

    def table_row(self, job: JobContext[ReconstructParameters], context: SeriesContext[ReconstructParameters]) -> Row:
        return _table_row(job, context, context.values.binned_angpix / tilt_series_pixel_angstrom(context))

    def gather_one(
        self, job: JobContext[ReconstructParameters], context: SeriesContext[ReconstructParameters]
    ) -> SeriesResult:
        values, series_id = context.values, context.series.id
        volumes = volume_paths(job.folder, series_id, values)
        headers = [read_mrc_header(volume) for volume, _ in volumes.values()]
        pixel = tilt_series_pixel_angstrom(context)
        binning = _check_volumes(headers, values, pixel)
        row = _table_row(job, context, binning)
        tilts = self.input_rows(context)
        write_series(job, series_id, [_reconstructed(tilt, values.tiltangle_offset) for tilt in tilts])
        notes = []
        if values.do_fourier and any("rlnCtfMaxResolution" not in tilt for tilt in tilts):
            notes.append("Its CTF was corrected by the nominal defocus: no CTF was fitted before.")
        return SeriesResult(
            row=row,
            numbers={
                "tilts_used": float(len(tilts)),
                "tomogram_pixel_angstrom": binning * pixel,
                "tomogram_size_x_px": float(headers[0].nx),
                "tomogram_size_y_px": float(headers[0].ny),
                "tomogram_size_z_px": float(headers[0].nz),
            },
            notes=tuple(notes),
        )


def _table_row(
    job: JobContext[ReconstructParameters], context: SeriesContext[ReconstructParameters], binning: float
) -> Row:
    values = context.values
    row = global_row(job, context, {PIXEL: tilt_series_pixel_angstrom(context)})
    if abs(binning - 1) > 0.01:
        row["rlnTomoTomogramBinning"] = binning
    row |= {"rlnTomoSizeX": values.xdim, "rlnTomoSizeY": values.ydim, "rlnTomoSizeZ": values.zdim}
    for kind, (volume, projection) in volume_paths(job.folder, context.series.id, values).items():
        tomogram, sums = TOMOGRAM[kind]
        row[tomogram] = job.relative(volume)
        if values.do_proj:
            row[sums] = job.relative(projection)
    return row


def volume_paths(folder: Path, series_id: str, values: ReconstructParameters) -> dict[str, tuple[Path, Path]]:
    """Tomogram and projection, by ``""`` or by ``half1`` and ``half2``."""
    kinds = HALVES if values.generate_split_tomograms else ("",)
    names = {kind: f"rec_{series_id}{'_' if kind else ''}{kind}.mrc" for kind in kinds}
    return {kind: (folder / "tomograms" / name, folder / "projections" / name) for kind, name in names.items()}


def _check_halves(context: SeriesContext[ReconstructParameters]) -> None:
    """Raises :class:`InputError` where the averages have no halves and this job needs them."""
    values, producer = context.values, context.ancestor("averages")
    if producer is None or getattr(producer.values, "do_even_odd_split", True):
        return
    for name in ("generate_split_tomograms", "do_fourier"):
        if getattr(values, name):
            raise InputError(
                f"{producer.instance} saves no images for denoising, which this needs: switch do_even_odd_split on "
                f"there, or {name} off here.",
                name,
            )


def _reconstructed(tilt: Row, offset_deg: float) -> Row:
    """A row as RELION's job leaves it: the offset is in the tilt, and there is a scale factor."""
    angle = number(tilt, Y_TILT) + offset_deg
    new = {**tilt, Y_TILT: angle} if offset_deg else dict(tilt)
    new.setdefault("rlnCtfScalefactor", cos(radians(angle)))
    return new


def _check_volumes(headers: list[MrcHeader], values: ReconstructParameters, pixel_angstrom: float) -> float:
    """The binning that RELION really used: its Fourier inversion rounds image sides to even numbers.

    Raises :class:`WorkFailed` where a size is not what was asked for.
    """
    found = headers[0].pixel_size_angstrom
    if found is None or abs(found - values.binned_angpix) > 0.1 * values.binned_angpix:
        said = "none" if found is None else f"{found:g} Å"
        raise WorkFailed(f"The tomogram says pixel size {said}, {values.binned_angpix:g} Å was expected.")
    exact = abs(found - values.binned_angpix) < 1e-3 * values.binned_angpix
    binning = (values.binned_angpix if exact else found) / pixel_angstrom
    expected = (values.xdim / binning, values.ydim / binning, values.zdim / binning)
    for header in headers:
        sides = (header.nx, header.ny, header.nz)
        if any(abs(side - wanted) > 2 for side, wanted in zip(sides, expected, strict=True)):
            wanted = " x ".join(f"{side:.0f}" for side in expected)
            raise WorkFailed(f"The tomogram has {' x '.join(map(str, sides))} px, {wanted} px were expected.")
    return binning


JOB_TYPE = ReconstructTomograms()
