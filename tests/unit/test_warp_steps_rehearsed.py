"""Import, frame series and tilt-series import, run in earnest against WarpTools' stand-in, in both versions."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.formats import star
from core.formats.tomostar import read_tomostar
from core.jobs import fs_motion_and_ctf, importmovies, ts_import
from core.jobs._task import Copy, Link, MakeFolder, MoveAside, Work, WriteText
from tests.unit import job_parts

REPOSITORY = Path(__file__).parents[2]
STANDIN = REPOSITORY / "core" / "standins" / "warptools.py"


def carry_out(work: Work, version: str, **environment: str) -> str:
    """Stage and commands, as the script writer would have them; returns standard output."""
    for step in work.stage:
        match step:
            case MakeFolder(path):
                Path(path).mkdir(parents=True, exist_ok=True)
            case MoveAside(path):
                shutil.rmtree(path, ignore_errors=True)
            case WriteText(path, text):
                Path(path).write_text(text)
            case Link(path, target):
                Path(path).symlink_to(target)
            case Copy(path, source, pattern):
                for file in Path(source).glob(pattern):
                    shutil.copy(file, path)
    out = ""
    for command in work.commands:
        prefix = [sys.executable, str(STANDIN)] if command.tool == "warp" else []
        settings = {
            "CRBOOST_STANDIN_CATALOGUE": str(REPOSITORY / "config" / "catalogues" / "warptools.json"),
            "CRBOOST_STANDIN_VERSION": version,
            "CRBOOST_STANDIN_SECONDS": "0",
            **environment,
            **dict(command.env),
        }
        result = subprocess.run(
            [*prefix, *command.argv],
            cwd=command.cwd,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, (command.argv[:2], result.stdout[-2000:], result.stderr[-2000:])
        assert command.alive_marker in result.stdout
        out += result.stdout
    return out


@pytest.mark.parametrize("version", ["head", "dev39"])
@pytest.mark.parametrize("failed", [False, True])
def test_from_movies_to_tomostar(tmp_path: Path, version: str, failed: bool) -> None:
    series = job_parts.series(count=7, extension="mrc", frame_count=(4,) * 7)
    values = job_parts.acquisition(movie_extension=".mrc", frames_per_movie=4, image_width_px=32, image_height_px=32)
    (tmp_path / "frames").mkdir()
    for name in series.tilts.movie:
        header = struct.pack("<10i", 32, 32, 4, 1, 0, 0, 0, 32, 32, 4) + struct.pack("<3f", 21.6, 21.6, 2.7)
        (tmp_path / "frames" / name).write_bytes(header.ljust(1024, b"\0") + b"\1\0" * (32 * 32 * 4))
    imported = job_parts.job_context(importmovies.JOB_TYPE, tmp_path, "Import/job001")
    first = job_parts.producer(importmovies.JOB_TYPE, imported)
    context: Any = job_parts.series_context(imported, series, values)
    importmovies.JOB_TYPE.run_internal(job_parts.task_context(imported, context))

    frames = job_parts.job_context(
        fs_motion_and_ctf.JOB_TYPE, tmp_path, "External/job002", version=version, allow_failed_tilts=1
    )
    second = job_parts.producer(fs_motion_and_ctf.JOB_TYPE, frames, movies=first)
    context = job_parts.series_context(frames, series, values, {"movies": first})
    work = fs_motion_and_ctf.JOB_TYPE.build(job_parts.task_context(frames, context))
    bad = series.tilts.movie[2].removesuffix(".mrc")
    out = carry_out(work, version, **({"CRBOOST_STANDIN_FAIL": f"fs_motion_and_ctf:{bad}:fail"} if failed else {}))
    assert fs_motion_and_ctf.JOB_TYPE.progress(out) == 1.0
    for product in work.products:
        there = sum(Path(path).exists() for path in product.paths)
        assert there >= (len(product.paths) if product.at_least is None else product.at_least)
    result = fs_motion_and_ctf.JOB_TYPE.gather_series(frames, "TS_01", context)
    assert result.problem == "" and len(result.notes) == int(failed)
    assert {"motion_angstrom_per_frame", "ctf_resolution_angstrom", "defocus_um"} <= set(result.numbers)
    labels = star.read(frames.folder / "tilt_series" / "TS_01.star").block("TS_01").labels
    assert {"rlnAccumMotionTotal", "rlnDefocusU", "rlnCtfImage", "rlnMicrographNameEven"} <= set(labels)

    tilts = job_parts.job_context(ts_import.JOB_TYPE, tmp_path, "External/job003", version=version)
    context = job_parts.series_context(tilts, series, values, {"frame_series": second}, frozenset(("004",)))
    work = ts_import.JOB_TYPE.build(job_parts.task_context(tilts, context))
    carry_out(work, version)
    assert all(Path(path).exists() for product in work.products for path in product.paths)
    result = ts_import.JOB_TYPE.gather_series(tilts, "TS_01", context)
    assert result.problem == "" and len(result.notes) == 1 + int(failed)
    tomostar = read_tomostar(tilts.folder / "tomostar" / "TS_01.tomostar")
    doses = dict(zip((movie.rsplit("/", 1)[-1] for movie in tomostar.movies), tomostar.doses, strict=True))
    gone = {4, 2} if failed else {4}
    assert doses == {movie: 3.0 * index for index, movie in enumerate(series.tilts.movie) if index not in gone}
