"""``crboost demo --real``: a synthetic session through the site's own RELION, whose known particles must lie right.

The session's image shifts are large and IMOD's files for it are right, so that each sign on the way from an ``.xf`` to
a tomogram shows. A second branch has files with the shifts' sign turned: it must not show the particles.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from core.errors import CrboostError, InputError
from core.files import replace_text
from crboost_tui.cli._common import say
from crboost_tui.data import config_dir
from crboost_tui.making import make_project

PIPELINE = "relion_to_tomograms"
SIDE_PX = 256
PIXEL_ANGSTROM = 4.0
SHIFT_ANGSTROM = 120.0
HALF_DEPTH = 0.25
TURNED = "turned"
DENSITY = 3.0
"""Standard deviations that the particles must at least stand out by; anything else at most half as much as they do."""

ALIGNMENTS, TOMOGRAMS = "importAlignments", "reconstructtomograms"


def make(folder: Path, root: Path, series: int, tilts: int, submitter: str) -> None:
    """Session, IMOD's files and project. Raises :class:`InputError` where the site has no RELION."""
    from core.dataset.scan import inspect
    from core.project.file import load, save
    from core.project.model import Instance
    from core.project.site import load_site
    from core.standins.imod_files import write_imod_files
    from core.standins.session import make_session

    if "relion" not in load_site(None, config_dir()).tools:
        raise InputError(
            "crboost demo --real needs RELION 5: say where it is under tools.relion in conf.yaml (crboost config)."
        )
    say(f"Making a synthetic session of {series} tilt series with {tilts} tilts in {folder / 'session'}")
    session = make_session(
        folder / "session",
        series=series,
        tilts=tilts,
        size_px=(SIDE_PX, SIDE_PX),
        pixel_size=PIXEL_ANGSTROM,
        shift_sigma_angstrom=SHIFT_ANGSTROM,
        half_depth=HALF_DEPTH,
    )
    found = inspect([str(session.frames)], [str(session.mdocs)], settle_seconds=0)
    size = {"xdim": SIDE_PX, "ydim": SIDE_PX, "zdim": SIDE_PX * 3 // 4, "binned_angpix": 2 * PIXEL_ANGSTROM}
    words = [f"{TOMOGRAMS}.{name}={value}" for name, value in size.items()]
    # The movies are smaller than RELION's power spectra.
    words += ["motioncorr.do_save_ps=false", "motioncorr.do_float16=false"]
    make_project(root, folder.name, found, PIPELINE, words)
    write_imod_files(session.truth, root / "alignments")
    write_imod_files(session.truth, root / TURNED, turn_shifts=True)
    loaded = load(root)
    pipeline = list(loaded.model.pipeline)
    pipeline += [
        Instance(
            id=f"{ALIGNMENTS}__{TURNED}",
            type=ALIGNMENTS,
            inputs={"averages": ["motioncorr"]},
            parameters={"xf_pattern": f"{TURNED}/{{series}}.xf", "tlt_pattern": f"{TURNED}/{{series}}.tlt"},
        ),
        loaded.model.instance(TOMOGRAMS).model_copy(
            update={
                "id": f"{TOMOGRAMS}__{TURNED}",
                "inputs": {"aligned_tilt_series": [f"{ALIGNMENTS}__{TURNED}"]},
            }
        ),
    ]
    save(root, loaded.model.model_copy(update={"pipeline": pipeline}), loaded.digest)
    needs = '{cpus: 1, gpus: 0, gres: "", memory_gb: 2, minutes: 10}'
    conf = f"submitter: {submitter}\nprofiles:\n" + f"  motioncorr: {needs}\n  {TOMOGRAMS}: {needs}\n"
    replace_text(root / ".crboost" / "conf.yaml", conf)


def verdict(folder: Path, root: Path) -> dict[str, Any]:
    """Look for the particles and say what was found; ``good`` is the answer. Raises :class:`CrboostError`."""
    truth = folder / "session" / "frames" / "session.json"
    right, turned = (_look(truth, _volumes(root, name)) for name in (TOMOGRAMS, f"{TOMOGRAMS}__{TURNED}"))
    density, wrong = right["density"], turned["density"]
    good = density >= DENSITY and max(wrong, right["best_other"]) <= density / 2
    say(f"Mean density at the {right['particles']} known particles, in standard deviations of the tomograms:")
    say(f"  {density:6.2f}  where they are (at least {DENSITY:g} wanted)")
    say(f"  {wrong:6.2f}  with the sign of the image shifts turned (at most {density / 2:.2f} wanted)")
    say(f"  {right['best_other']:6.2f}  in the best mirrored or permuted reading, {right['reading']} (the same)")
    say("The geometry is right." if good else "THE GEOMETRY IS WRONG: particles are not where they were put.")
    return {
        "good": good,
        "particles": right["particles"],
        "density": density,
        "density_shifts_turned": wrong,
        "density_best_other_reading": right["best_other"],
        "best_other_reading": right["reading"],
    }


def _volumes(root: Path, instance: str) -> dict[str, list[str]]:
    """The half tomograms of each series, as the job's own table has them."""
    from core.engine.reading import load_status
    from core.formats import star

    folder = next(job.folder for job in load_status(root).jobs if job.id == instance)
    table = star.read(root / folder / "tomograms.star").block("global")
    halves = [table.column(f"rlnTomoReconstructedTomogramHalf{half}") for half in (1, 2)]
    return {
        name: [str(root / path) for path in paths]
        for name, *paths in zip(table.column("rlnTomoName"), *halves, strict=True)
    }


def _look(truth: Path, volumes: dict[str, list[str]]) -> dict[str, Any]:
    """In a process of its own, which has numpy."""
    request = json.dumps({"truth": str(truth), "volumes": volumes})
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "core.standins.known_particles", request],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise CrboostError(f"The tomograms cannot be looked at: {ended.stderr.strip() or ended.returncode}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found
