#!/usr/bin/env python3
"""Stand-in for RELION's programs: strict about its command line, does next to no real processing.

A single file for a bare ``python3`` (3.7 or newer), called as ``python3 relion.py relion_run_motioncorr --i ...``. It
has RELION 5.1's options (``relion.json`` beside it), progress bars, errors, exit codes and files. Frames are summed as
they are; small tomograms are projected back without a filter, by RELION's geometry; larger pictures are files of the
right length that nobody reads. Motion is invented from a hash of the movie's name.

RELION itself only warns of options that it does not know: this refuses them. Programs that end with ``_mpi`` work in
rank 0 only. Settings (``CRBOOST_STANDIN_SECONDS``, ``_SIGMA``, ``_SEED``, ``_FAIL``, ``_PLAN``) and misbehaviour are
those of the stand-in for WarpTools; verbs are names of programs, series those of ``rlnTomoName``.
"""

# Python 3.7 knows neither list[int] at run time nor zip(strict=).
# ruff: noqa: B905, RUF007, UP006, UP031, UP035, UP045
from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import struct
import sys
import time
from array import array
from typing import Any, Dict, Iterable, List, NoReturn, Optional, Sequence, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))
Image = List[List[float]]
Row = Dict[str, str]
LARGE_PX = 1200000  # larger pictures are written as sparse files and never read
WORK_LIMIT = 4000000  # voxel-tilts that pure Python projects back in a few seconds
SPECTRUM_ANGSTROM = 1.4
BAR = 60
WRITTEN: List[str] = []


class Failed(Exception):
    """An error that RELION reports: message on stderr, exit code 1."""


def setting(name: str, default: str = "") -> str:
    """A setting of the stand-in, from the environment or ``standin.json`` beside this file."""
    value = os.environ.get("CRBOOST_STANDIN_" + name)
    if value is not None:
        return value
    try:
        with open(os.path.join(HERE, "standin.json")) as stream:
            found = json.load(stream).get(name.lower())
    except (OSError, ValueError, AttributeError):
        return default
    return default if found is None else str(found)


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def complain(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def stop(message: str, place: str = "./src/standin.cpp, line 1") -> NoReturn:
    """How RELION ends with an error."""
    complain("in: %s\nERROR: \n%s\n=== Backtrace  ===\n==================\nERROR: \n%s" % (place, message, message))
    sys.exit(1)


def chance(*key: object) -> random.Random:
    """Random numbers that depend on nothing but the names given."""
    return random.Random("|".join([setting("SEED", "1")] + [str(k) for k in key]))


# Command line.


class Options:
    """Values by long name without dashes, defaults included."""

    def __init__(self, values: Dict[str, str], given: Iterable[str]) -> None:
        self.values = values
        self.given = set(given)

    def flag(self, name: str) -> bool:
        return name in self.given

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def number(self, name: str) -> float:
        return float(self.values[name])


def parse(options: Sequence[Dict[str, Any]], words: Sequence[str]) -> Options:
    """Raises Failed for what RELION, or a careful reader of its command line, would not take."""
    by_name = {str(option["long"]): option for option in options}
    values = {name[2:]: str(option["default"]) for name, option in by_name.items() if "default" in option}
    given: List[str] = []
    errors: List[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        option = by_name.get(word)
        if option is None:
            errors.append("Option %s is not a valid RELION argument" % word)
            continue
        if word[2:] in given:
            errors.append("Argument %s is given twice" % word)
        given.append(word[2:])
        if option["type"] == "flag":
            continue
        if position >= len(words) or words[position] in by_name:
            errors.append("Argument %s not found or invalid argument" % word)
            continue
        value = words[position]
        position += 1
        if option["type"] in ("int", "decimal"):
            try:
                float(value) if option["type"] == "decimal" else int(value)
            except ValueError:
                errors.append("Argument %s has a value that is no number: %s" % (word, value))
        values[word[2:]] = value
    errors += [
        "Argument %s not found or invalid argument" % name
        for name, option in by_name.items()
        if option.get("required") and name[2:] not in given
    ]
    if errors:
        complain("The following errors were encountered upon command-line parsing: ")
        for error in errors:
            complain("ERROR: " + error)
        raise Failed("Errors encountered on the command line (see above), exiting...")
    return Options(values, given)


# Misbehaviour on demand: as in the stand-in for WarpTools.


def misbehaviour(program: str, series: str) -> str:
    rules: List[Dict[str, Any]] = []
    given = setting("FAIL").strip()
    if given.startswith("["):
        rules += json.loads(given)
    elif given:
        for part in given.split(","):
            pieces = (part.strip() + "::").split(":")
            rules.append({"verb": pieces[0], "series": pieces[1] or "*", "how": pieces[2] or "fail"})
    plan = setting("PLAN")
    if plan and os.path.exists(plan):
        with open(plan) as stream:
            rules += [dict(rule, number=number) for number, rule in enumerate(json.load(stream))]
    for rule in rules:
        if rule.get("verb", "*") not in ("*", program) or rule.get("series", "*") not in ("*", series):
            continue
        if "times" in rule and not take(plan + ".used", rule):
            continue
        return str(rule.get("how", "fail"))
    return ""


def take(folder: str, rule: Dict[str, Any]) -> bool:
    """Use a rule up once more; whether that was still allowed."""
    os.makedirs(folder, exist_ok=True)
    for use in range(int(rule["times"])):
        with contextlib.suppress(FileExistsError):
            path = os.path.join(folder, "%d.%d" % (rule["number"], use))
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            return True
    return False


def act(how: str, name: str) -> None:
    if how == "fail":
        raise Failed("the stand-in was told to fail on %s" % name)
    if how == "crash":
        complain("terminate called after throwing an instance of 'std::runtime_error'")
        os._exit(134)
    if how == "memory":
        complain("terminate called after throwing an instance of 'std::bad_alloc'")
        os.kill(os.getpid(), signal.SIGKILL)
    while how == "hang":
        time.sleep(1)


def halve() -> None:
    """Cut the largest file that was written to half its length."""
    if WRITTEN:
        largest = max(WRITTEN, key=os.path.getsize)
        os.truncate(largest, os.path.getsize(largest) // 2)


class Work:
    """The bar of one program, the time that it takes, and how it misbehaves."""

    def __init__(self, program: str, series: str, steps: int) -> None:
        self.series, self.steps, self.done = series, max(1, steps), 0
        self.how = misbehaviour(program, series)
        self.begun = time.time()
        say('000/??? sec ~~(,_,">' + " " * 58 + "[oo]")
        act(self.how, series)

    @property
    def silent(self) -> bool:
        return self.how == "silent"

    def step(self) -> None:
        self.done += 1
        seconds = float(setting("SECONDS", "0.2")) * (10.0 if self.how == "slow" else 1.0)
        sigma = float(setting("SIGMA", "0"))
        if sigma:
            seconds *= chance(self.series, "time").lognormvariate(0.0, sigma)
        time.sleep(max(0.0, seconds * self.done / self.steps - (time.time() - self.begun)))
        passed = int(time.time() - self.begun)
        dots = "." * (BAR * self.done // self.steps)
        end = '~~(,_,"> yum!\n' if self.done == self.steps else '~~(,_,">' + " " * (BAR - len(dots)) + "[oo]"
        say("\r%4d/%4d sec %s%s" % (passed, passed, dots, end))

    def finish(self) -> None:
        if self.how == "half":
            halve()


# STAR files.


def read_star(path: str) -> Dict[str, List[Row]]:
    """Tables by name; lists are left out."""
    if not os.path.exists(path):
        raise Failed("MetaDataTable::read: File %s does not exist" % path)
    blocks: Dict[str, List[Row]] = {}
    rows: List[Row] = []
    labels: List[str] = []
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            words = [word.strip('"') for word in line.split()]
            if not words or words[0].startswith("#"):
                if rows:
                    labels = []
                continue
            if words[0].startswith("data_"):
                labels = []
                rows = blocks[words[0][5:]] = []
            elif words[0].startswith("_"):
                labels.append(words[0][1:])
            elif words[0] != "loop_" and labels:
                if len(words) != len(labels):
                    raise Failed("A line in the STAR file contains fewer columns than the number of labels.")
                rows.append(dict(zip(labels, words)))
    return blocks


def table(path: str, name: str) -> List[Row]:
    blocks = read_star(path)
    if name not in blocks:
        raise Failed("MetaDataTable::read: %s has no table %s" % (path, name))
    return blocks[name]


def star(name: str, rows: Sequence[Row]) -> str:
    lines = ["", "# version 50001", "", "data_" + name, "", "loop_ "]
    lines += ["_%s #%d " % (label, number) for number, label in enumerate(rows[0] if rows else [], 1)]
    lines += [" ".join('""' if value == "" else value.rjust(10) for value in row.values()) + " " for row in rows]
    return "\n".join([*lines, " ", ""])


def number(value: float) -> str:
    return ("%12.6f" if value >= 0 else "%12.5f") % value


def write_text(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def series_of(options: Options, name: str) -> List[Row]:
    rows = table(options.text(name), "global")
    for row in rows:
        for label in ("rlnTomoName", "rlnTomoTiltSeriesStarFile"):
            if label not in row:
                raise Failed("The table of tilt series has no %s" % label)
    return rows


def moved_table(old: str, folder: str) -> str:
    """RELION's place of a job's table: what follows jobNNN/ in the old path."""
    parts = old.split("/")
    for position, part in enumerate(parts):
        if part.startswith("job") and part[3:].isdigit() and len(part) > 5:
            return folder + "/".join(parts[position + 1 :])
    return folder + old


# MRC files.


class Mrc:
    TYPES = {0: "b", 1: "h", 2: "f", 6: "H", 12: "e"}

    def __init__(self, path: str) -> None:
        try:
            with open(path, "rb") as stream:
                head = stream.read(1024)
            self.nx, self.ny, self.nz, self.mode = struct.unpack("<4i", head[:16])
            self.extended = int(struct.unpack("<i", head[92:96])[0])
            self.item = struct.calcsize("<" + self.TYPES[self.mode])
        except (OSError, struct.error, KeyError) as error:
            raise Failed("Cannot read the image %s" % path) from error
        self.path = path
        if os.path.getsize(path) < 1024 + self.extended + self.nx * self.ny * self.nz * self.item:
            raise Failed("Image %s is shorter than its header says" % path)

    def read(self, section: int = 0) -> Image:
        count = self.nx * self.ny
        with open(self.path, "rb") as stream:
            stream.seek(1024 + self.extended + section * count * self.item)
            data = stream.read(count * self.item)
        kind = self.TYPES[self.mode]
        values: Sequence[float] = struct.unpack("<%de" % count, data) if kind == "e" else array(kind, data)
        return [list(values[y * self.nx : (y + 1) * self.nx]) for y in range(self.ny)]


def write_mrc(path: str, size: Tuple[int, int, int], pixel: float, mode: int, sections: Optional[List[Image]]) -> None:
    """Without sections a sparse file of the right length."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    WRITTEN.append(path)
    nx, ny, nz = size
    flat = [value for section in sections or [] for row in section for value in row] or [0.0]
    head = bytearray(1024)
    struct.pack_into("<4i", head, 0, nx, ny, nz, mode)
    struct.pack_into("<3i", head, 28, nx, ny, nz)
    struct.pack_into("<6f", head, 40, nx * pixel, ny * pixel, nz * pixel if nz > 1 else 1.0, 90, 90, 90)
    struct.pack_into("<3i3f", head, 64, 1, 2, 3, min(flat), max(flat), sum(flat) / len(flat))
    struct.pack_into("<i", head, 108, 20140)
    head[208:216] = b"MAP \x44\x44\0\0"
    label = b"STAND-IN for RELION: no real processing"
    head[224 : 224 + len(label)] = label
    with open(path, "wb") as stream:
        stream.write(bytes(head))
        if sections is None:
            stream.truncate(1024 + nx * ny * nz * (2 if mode == 12 else 4))
        else:
            stream.write(struct.pack("<%de" % len(flat), *flat) if mode == 12 else array("f", flat).tobytes())


def movie_size(path: str, row: Row) -> Tuple[int, int, int]:
    """Of an MRC movie by its header; of another one by its number of frames and a usual side."""
    if not os.path.exists(path):
        raise Failed("Cannot find movie %s" % path)
    if path.endswith((".mrc", ".mrcs")):
        header = Mrc(path)
        return header.nx, header.ny, header.nz
    return 4096, 4096, int(float(row.get("rlnTomoTiltMovieFrameCount", "8")))


# Programs.


def run_motioncorr(program: str, options: Options) -> None:
    if options.flag("use_own") == options.flag("use_motioncor2"):
        raise Failed("You have to choose either UCSF MotionCor2 or RELION's own implementation.")
    if options.flag("float16") and options.number("grouping_for_ps") <= 0:
        raise Failed("When writing in float16, you have to write power spectra for CTFFIND.")
    for name in ("gainref", "defect_file"):
        if options.text(name) and not os.path.exists(options.text(name)):
            raise Failed("The file of --%s does not exist: %s" % (name, options.text(name)))
    folder = options.text("o").rstrip("/") + "/"
    whole = series_of(options, "i")
    tables = {row["rlnTomoName"]: table(row["rlnTomoTiltSeriesStarFile"], row["rlnTomoName"]) for row in whole}
    say(" Using our own implementation based on MOTIONCOR2 algorithm\n")
    say(" to correct beam-induced motion for the following micrographs: \n")
    say("".join("  * %s\n" % tilt["rlnMicrographMovieName"] for tilts in tables.values() for tilt in tilts))
    say(" Correcting beam-induced motions using our own implementation ...\n")
    for row in whole:
        name, tilts = row["rlnTomoName"], tables[row["rlnTomoName"]]
        work = Work(program, name, len(tilts))
        if work.silent:
            return
        for tilt in tilts:
            correct_movie(options, folder, row, tilt)
            work.step()
        work.finish()
        old = row["rlnTomoTiltSeriesStarFile"]
        row["rlnTomoTiltSeriesStarFile"] = moved_table(old, folder)
        row["rlnTomoTiltSeriesPixelSize"] = number(pixel_of(row) * options.number("bin_factor"))
        write_text(row["rlnTomoTiltSeriesStarFile"], star(name, tilts))
    say(" Generating joint STAR file ... \n")
    write_text(folder + "corrected_tilt_series.star", star("global", whole))
    say(" Written: %scorrected_tilt_series.star\n Now generating logfile.pdf ... \n" % folder)
    write_text(folder + "logfile.pdf", "%PDF-1.4\n%%EOF\n")
    say(" Done! Written: %slogfile.pdf\n" % folder)


def pixel_of(row: Row) -> float:
    return float(row["rlnMicrographOriginalPixelSize"])


def correct_movie(options: Options, folder: str, row: Row, tilt: Row) -> None:
    """Write the products of one movie and add their columns to its row."""
    movie = tilt["rlnMicrographMovieName"]
    width, height, frames = movie_size(movie, tilt)
    binning, pixel = options.number("bin_factor"), pixel_of(row)
    size = (int(width / binning), int(height / binning), 1)
    if binning != 1 and (size[0] % 2 or size[1] % 2):
        raise Failed("The dimensions of the image after binning must be even")
    root = folder + os.path.dirname(movie) + "/" + os.path.splitext(os.path.basename(movie))[0].replace(".", "_")
    mode = 12 if options.flag("float16") else 2
    numbers = chance(os.path.basename(movie), "motion")
    path = [(0.0, 0.0)]
    for frame in range(1, frames):
        step = 1.5 * math.exp(-frame / 3)
        path.append((path[-1][0] + numbers.gauss(0, step), path[-1][1] + numbers.gauss(0, step)))
    small = width * height <= LARGE_PX and movie.endswith((".mrc", ".mrcs"))
    wanted = {"": range(frames)}
    if options.flag("even_odd_split"):
        wanted = {"": range(frames), "_EVN": range(0, frames, 2), "_ODD": range(1, frames, 2)}
    for end, chosen in wanted.items():
        image = [summed(movie, chosen, size)] if small else None
        write_mrc(root + end + ".mrc", size, pixel * binning, mode, image)
    if options.number("grouping_for_ps") > 0:
        side = int(options.number("ps_size"))
        if min(size[:2]) < math.ceil(side * max(1.0, SPECTRUM_ANGSTROM / (pixel * binning))):
            raise Failed("Invalid size given to cropInFourierSpace")
        write_mrc(root + "_PS.mrc", (side, side, 1), pixel, 2, None)
        tilt["rlnCtfPowerSpectrum"] = root + "_PS.mrc"
    if options.flag("even_odd_split"):
        tilt["rlnMicrographNameEven"], tilt["rlnMicrographNameOdd"] = root + "_EVN.mrc", root + "_ODD.mrc"
    tilt["rlnMicrographName"], tilt["rlnMicrographMetadata"] = root + ".mrc", root + ".star"
    total = sum(math.hypot(b[0] - a[0], b[1] - a[1]) * pixel for a, b in zip(path, path[1:]))
    early = float(tilt.get("rlnMicrographPreExposure", "0")) < options.number("dose_motionstats_cutoff")
    tilt["rlnAccumMotionTotal"] = number(total)
    tilt["rlnAccumMotionEarly"] = number(total if early else 0.0)
    tilt["rlnAccumMotionLate"] = number(0.0 if early else total)
    general = {
        "rlnImageSizeX": str(width),
        "rlnImageSizeY": str(height),
        "rlnImageSizeZ": str(frames),
        "rlnMicrographMovieName": movie,
        "rlnMicrographBinning": number(binning),
        "rlnMicrographOriginalPixelSize": number(pixel),
        "rlnMicrographStartFrame": "1",
        "rlnMotionModelVersion": "0",
    }
    shifts = [
        {
            "rlnMicrographFrameNumber": str(frame),
            "rlnMicrographShiftX": number(x),
            "rlnMicrographShiftY": number(y),
        }
        for frame, (x, y) in enumerate(path, 1)
    ]
    listed = "".join("_%-48s %s\n" % (label, value) for label, value in general.items())
    text = "\n# version 50001\n\ndata_general\n\n" + listed + " \n"
    write_text(root + ".star", text + star("global_shift", shifts))


def summed(movie: str, frames: Iterable[int], size: Tuple[int, int, int]) -> Image:
    """The sum of some frames, without correction; binning takes every other pixel."""
    header = Mrc(movie)
    total: Optional[Image] = None
    for frame in frames:
        image = header.read(frame)
        total = image if total is None else [[a + b for a, b in zip(r, s)] for r, s in zip(total, image)]
    total = total or [[0.0] * header.nx for _ in range(header.ny)]
    return [[total[y * header.ny // size[1]][x * header.nx // size[0]] for x in range(size[0])] for y in range(size[1])]


def reconstruct_tomogram(program: str, options: Options) -> None:
    if not options.text("t"):
        raise Failed("No tomogram set specified.")
    folder = options.text("o").rstrip("/") + "/"
    whole = series_of(options, "t")
    tables = {row["rlnTomoName"]: table(row["rlnTomoTiltSeriesStarFile"], row["rlnTomoName"]) for row in whole}
    only = options.text("tn")
    chosen = [row for row in whole if only in ("*", row["rlnTomoName"])]
    if not chosen:
        raise Failed('ERROR: cannot find specific tomogram name "%s" in the input star file' % only)
    say("\n + Reconstructing %d tomograms: \n" % len(chosen))
    say("".join("  - %s\n" % row["rlnTomoName"] for row in chosen))
    fourier = options.flag("fourier")
    say(
        " + Using a %s algorithm \n" % ("Fourier-inversion reconstruction" if fourier else "real-space back-projection")
    )
    say(" + Reconstructing ... \n")
    for row in chosen:
        name, tilts = row["rlnTomoName"], tables[row["rlnTomoName"]]
        halves = options.flag("generate_split_tomograms") and not fourier
        work = Work(program, name, 2 if halves else 1)
        if work.silent:
            return
        check_tilts(name, tilts, halves or fourier)
        if options.number("tiltangle_offset"):
            for tilt in tilts:
                tilt["rlnTomoYTilt"] = number(float(tilt["rlnTomoYTilt"]) + options.number("tiltangle_offset"))
        volumes = {"": "rlnMicrographName"}
        if halves:
            volumes = {"_half1": "rlnMicrographNameEven", "_half2": "rlnMicrographNameOdd"}
        for end, label in volumes.items():
            one_tomogram(options, folder, row, tilts, end, label)
            work.step()
        work.finish()
    if only == "*":
        for row in chosen:
            old = row["rlnTomoTiltSeriesStarFile"]
            row["rlnTomoTiltSeriesStarFile"] = moved_table(old, folder)
            for tilt in tables[row["rlnTomoName"]]:
                tilt.setdefault("rlnCtfScalefactor", number(math.cos(math.radians(float(tilt["rlnTomoYTilt"])))))
            write_text(row["rlnTomoTiltSeriesStarFile"], star(row["rlnTomoName"], tables[row["rlnTomoName"]]))
        write_text(folder + "tomograms.star", star("global", chosen))
        say(" Written out: %stomograms.star\n" % folder)


def check_tilts(name: str, tilts: List[Row], halves: bool) -> None:
    for label in ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnMicrographName", "rlnMicrographPreExposure"):
        if any(label not in tilt for tilt in tilts):
            raise Failed("Label %s not present in %s" % (label, name))
    if halves:
        for label in ("rlnMicrographNameEven", "rlnMicrographNameOdd"):
            if any(label not in tilt for tilt in tilts):
                short = label.replace("rln", "rlnTomo")
                raise Failed("ERROR: tomogramTable for %s does not contain a %s label" % (name, short))
    for label in ("rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst"):
        if any(label not in tilt for tilt in tilts):
            raise Failed(
                "ERROR; tomograms do not have tilt series alignment parameters to calculate projectionMatrices!"
            )


def one_tomogram(options: Options, folder: str, row: Row, tilts: List[Row], end: str, label: str) -> None:
    """One volume and its projection; the row gets their columns."""
    pixel = float(row.get("rlnTomoTiltSeriesPixelSize") or pixel_of(row))
    binning = options.number("bin")
    if options.number("binned_angpix") > 0:
        binning = options.number("binned_angpix") / pixel
    unbinned = [int(options.number(side)) for side in "whd"]
    size = (int(unbinned[0] / binning + 0.5), int(unbinned[1] / binning + 0.5), int(unbinned[2] / binning))
    if min(size) < 1:
        raise Failed("The tomogram would have no voxels")
    images = [tilt[label] for tilt in tilts]
    for image in images:
        Mrc(image)
    volume = None
    if size[0] * size[1] * size[2] * len(tilts) <= WORK_LIMIT and all(os.path.getsize(one) < 5e6 for one in images):
        volume = back_projected(size, tilts, label, pixel, binning)
    name = "rec_%s%s.mrc" % (row["rlnTomoName"], end)
    write_mrc(folder + "tomograms/" + name, size, pixel * binning, 2, volume)
    if abs(binning - 1) > 0.01:
        row["rlnTomoTomogramBinning"] = number(binning)
    for axis, side in zip("XYZ", unbinned):
        row["rlnTomoSize" + axis] = "%12d" % side
    half = end.replace("_h", "H")
    row["rlnTomoReconstructedTomogram" + half] = folder + "tomograms/" + name
    if options.flag("do_proj"):
        sums = None
        if volume is not None:
            middle, thick = size[2] // 2 + int(options.number("centre_proj")), int(options.number("thickness_proj"))
            part = volume[max(0, middle - thick // 2) : middle + (thick + 1) // 2] or volume[:1]
            sums = [[[sum(column) for column in zip(*rows)] for rows in zip(*part)]]
        write_mrc(folder + "projections/" + name, (size[0], size[1], 1), pixel * binning, 2, sums)
        row["rlnTomogramHProjectionalf2" if half == "Half2" else "rlnTomogramProjection" + half] = (
            folder + "projections/" + name
        )


def back_projected(
    size: Tuple[int, int, int], tilts: List[Row], label: str, pixel: float, binning: float
) -> List[Image]:
    """Sums of the pixels that each voxel lands on: Rz(ZRot) Ry(YTilt) Rx(XTilt) x + shift, from image and volume
    centres of int(size / 2)."""
    nx, ny, nz = size
    volume = [[[0.0] * nx for _ in range(ny)] for _ in range(nz)]
    for tilt in tilts:
        header = Mrc(tilt[label])
        image = header.read()
        flat = [value for row in image for value in row]
        mean = sum(flat) / len(flat)
        sigma = math.sqrt(sum((value - mean) ** 2 for value in flat) / len(flat)) or 1.0
        rx, ry, rz = (
            math.radians(float(tilt.get(name, "0"))) for name in ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")
        )
        shift_x = float(tilt["rlnTomoXShiftAngst"]) / pixel + header.nx // 2
        shift_y = float(tilt["rlnTomoYShiftAngst"]) / pixel + header.ny // 2
        for z in range(nz):
            for y in range(ny):
                v = (y - ny // 2) * binning
                w = (z - nz // 2) * binning
                v, w = v * math.cos(rx) - w * math.sin(rx), v * math.sin(rx) + w * math.cos(rx)
                line = volume[z][y]
                for x in range(nx):
                    u = (x - nx // 2) * binning * math.cos(ry) + w * math.sin(ry)
                    column = int(u * math.cos(rz) - v * math.sin(rz) + shift_x + 0.5)
                    row = int(u * math.sin(rz) + v * math.cos(rz) + shift_y + 0.5)
                    if 0 <= column < header.nx and 0 <= row < header.ny:
                        line[x] += (image[row][column] - mean) / sigma
    return volume


PROGRAMS = {"relion_run_motioncorr": run_motioncorr, "relion_tomo_reconstruct_tomogram": reconstruct_tomogram}


def rank() -> int:
    """Of this process among those that an mpirun or srun started."""
    for name in ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def relion(called: str, words: List[str]) -> None:
    program = called[:-4] if called.endswith("_mpi") else called
    if "--version" in words:
        say("RELION version: 5.1.0 \nPrecision: BASE=double\n")
        return
    path = setting("RELION_CATALOGUE") or os.path.join(HERE, "relion.json")
    try:
        with open(path, encoding="utf-8") as stream:
            options = json.load(stream)["commands"][program]["options"]
    except (OSError, ValueError, KeyError) as error:
        complain("stand-in: its option catalogue %s cannot be read (%s)" % (path, error))
        sys.exit(2)
    if "--help" in words:
        say("+++ RELION: command line arguments (with defaults for optional ones between parentheses) +++\n")
        say("".join("%35s : \n" % option["long"] for option in options))
        return
    if called.endswith("_mpi") and rank() > 0:
        return
    control = ""
    try:
        parsed = parse(options, words)
        control = parsed.text("pipeline_control")
        PROGRAMS[program](program, parsed)
    except Failed as error:
        if control:
            write_text(os.path.join(control, "RELION_JOB_EXIT_FAILURE"), "")
        stop(str(error))
    if control:
        write_text(os.path.join(control, "RELION_JOB_EXIT_SUCCESS"), "")


def main() -> None:
    complain("STAND-IN for RELION: no real processing")
    program = os.path.basename(sys.argv[1]) if len(sys.argv) > 1 else ""
    if program in PROGRAMS or (program.endswith("_mpi") and program[:-4] in PROGRAMS):
        relion(program, sys.argv[2:])
    else:
        complain("usage: python3 relion.py %s [options]" % "|".join(PROGRAMS))
        sys.exit(2)


if __name__ == "__main__":
    main()
