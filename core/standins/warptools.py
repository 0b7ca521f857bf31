#!/usr/bin/env python3
"""Stand-in for WarpTools, with AreTomo2/3 and IMOD behind it: strict about its command line, does no real processing.

A single file for a bare ``python3`` (3.7 or newer), called as ``python3 warptools.py WarpTools <verb> ...``. It has
WarpTools' parser, exit codes, progress, files, failures and traps, as facts of WarpTools at e321344 say; numbers and
pictures are invented from a hash of the item's name, or follow ``session.json`` of a synthetic session beside the
movies. Small MRC movies are really summed and tomograms of them really back-projected.

Settings come from the environment, then from ``standin.json`` beside this file (same names without the prefix, lower
case; a scheduler may drop variables):

``CRBOOST_STANDIN_CATALOGUE``  option catalogue (otherwise ``warptools.json`` beside this file)
``CRBOOST_STANDIN_VERSION``    ``head`` or ``dev39``
``CRBOOST_STANDIN_SECONDS``    time for an item (0.2), ``CRBOOST_STANDIN_SIGMA``, ``CRBOOST_STANDIN_SEED``: log-normal
``CRBOOST_STANDIN_TRUTH``      the session.json to follow
``CRBOOST_STANDIN_FAIL``       ``verb:series:how``, several separated by commas; or a JSON list of rules
``CRBOOST_STANDIN_PLAN``       file with a JSON list of rules ``{"verb", "series", "how", "times"}``; uses are counted
                               in the folder ``<plan>.used``

``how``: fail, silent, hang, memory, half, crash, slow. ``*`` matches any verb or series; a series also matches its
movies.

Not imitated: the 10 s that CPU commands end late, workers that crash without a GPU, the cluster mode.
"""

# Python 3.7 knows neither list[int] at run time nor zip(strict=).
# ruff: noqa: B905, RUF005, RUF007, SIM905, UP006, UP031, UP035, UP045
from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import glob
import json
import math
import operator
import os
import random
import re
import shutil
import signal
import socket
import struct
import sys
import time
import xml.etree.ElementTree as ET
import zlib
from array import array
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))
Image = List[List[float]]
LARGE_PX = 1200000  # larger pictures are written as sparse files and never read
WORK_LIMIT = 60000000  # voxel-tilts that pure Python projects back in a few seconds
STATUS_PROCESSED, STATUS_UNPROCESSED, STATUS_LEAVE_OUT = 1, 3, 5
RETRY_CAP = 4
BLACKLIST_AT = 4


class Thrown(Exception):
    """An exception that WarpTools does not catch: trace on stderr, exit code 134."""


class TaskFailed(Exception):
    """One item fails; the others go on."""


WRITTEN: List[str] = []


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
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(text)
        sys.stdout.flush()


def complain(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def abort(message: str) -> None:
    """What .NET does with an uncaught exception."""
    complain("Unhandled exception. System.Exception: " + message)
    complain("   at WarpTools.Program.Main(String[] args)\nAborted (core dumped)")
    sys.stdout.flush()
    os._exit(134)


def chance(*key: object) -> random.Random:
    """Random numbers that depend on nothing but the names given."""
    return random.Random("|".join([setting("SEED", "1")] + [str(k) for k in key]))


# Command line: CommandLineParser 2.9.1 as WarpTools configures it.


class Options:
    """Parsed values by long name without dashes, defaults included."""

    def __init__(self, values: Dict[str, Any], given: Iterable[str]) -> None:
        self.values = values
        self.given = set(given)

    def flag(self, name: str) -> bool:
        return bool(self.values.get(name))

    def text(self, name: str) -> str:
        value = self.values.get(name)
        return "" if value is None else str(value)

    def number(self, name: str, default: float = 0.0) -> float:
        value = self.values.get(name)
        return default if value is None else float(value)

    def optional(self, name: str) -> Optional[float]:
        value = self.values.get(name)
        return None if value is None else float(value)

    def items(self, name: str) -> List[Any]:
        return list(self.values.get(name) or [])


def parse_value(kind: str, text: str) -> Any:
    """A value as .NET's invariant culture reads it. Raises ValueError for a bad format."""
    if kind == "string":
        return text
    text = text.strip()
    if kind == "int":
        if not re.match(r"^[+-]?\d+$", text):
            raise ValueError(text)
        number = int(text)
        if not -(2**31) <= number < 2**31:
            raise ValueError(text)
        return number
    # A comma is a thousands separator wherever it stands before the point: 10,5 is 105.
    if not re.match(r"^[+-]?(\d[\d,]*)?(\.\d*)?([eE][+-]?\d+)?$", text) or not re.search(r"\d", text):
        raise ValueError(text)
    return float(text.replace(",", ""))


def parse_arguments(options: Sequence[Dict[str, Any]], arguments: Sequence[str]) -> Tuple[Options, List[str]]:
    """Values and error sentences. Stray values are ignored, flags are true by being there."""
    by_name: Dict[str, Dict[str, Any]] = {}
    for option in options:
        by_name[option["long"]] = option
        if option.get("short"):
            by_name[option["short"]] = option
    errors: List[str] = []
    tokens: List[Tuple[str, str]] = []  # ("name", --long) | ("value", text)
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            if len(name) < 3 or (equals and not value):
                errors.append("Token '%s' is not recognized." % argument.lstrip("-"))
                continue
            tokens.append(("name", name))
            if equals:
                tokens.append(("own", value))
        elif argument.startswith("-") and len(argument) > 1 and not argument[1].isdigit():
            tokens.append(("name", argument[:2]))
            if len(argument) > 2 and argument[:2] in by_name:
                tokens.append(("own", argument[2:]))
        else:
            tokens.append(("value", argument))
    raw: Dict[str, List[str]] = {}
    position = 0
    while position < len(tokens):
        kind, text = tokens[position]
        position += 1
        if kind != "name":
            continue
        found = by_name.get(text)
        if found is None:
            errors.append("Option '%s' is unknown." % text.lstrip("-"))
            continue
        name = found["long"][2:]
        if name in raw:
            sentence = "Option '%s' is defined multiple times." % display(found)
            if sentence not in errors:
                errors.append(sentence)
        values: List[str] = []
        if found["type"].startswith("list"):
            while position < len(tokens) and tokens[position][0] != "name":
                values.append(tokens[position][1])
                position += 1
            if not values:
                errors.append("Option '%s' has no value." % display(found))
        elif found["type"] != "flag" and position < len(tokens) and tokens[position][0] != "name":
            values.append(tokens[position][1])
            position += 1
        raw[name] = values
    result: Dict[str, Any] = {}
    for option in options:
        name, kind = option["long"][2:], option["type"]
        result[name] = option.get("default")
        values = raw.get(name, [])
        if name in raw and kind == "flag":
            result[name] = True
        elif values:
            try:
                if kind.startswith("list"):
                    result[name] = [parse_value(kind[5:-1], value) for value in values]
                else:
                    result[name] = parse_value(kind, values[0])
            except ValueError:
                errors.append("Option '%s' is defined with a bad format." % display(option))
        elif option.get("required"):
            errors.append("Required option '%s' is missing." % display(option))
    return Options(result, raw), errors


def display(option: Dict[str, Any]) -> str:
    short = option.get("short")
    long = str(option["long"][2:])
    return "%s, %s" % (short[1:], long) if short else long


def help_text(options: Sequence[Dict[str, Any]]) -> str:
    lines = []
    for option in options:
        short = option.get("short")
        name = "%s, %s" % (short, option["long"]) if short else option["long"]
        note = "Required. " if option.get("required") else ""
        if option.get("default") is not None and option["type"] != "flag":
            note += "Default: %s. " % option["default"]
        lines.append("  %-26s %s(%s)" % (name, note, option["type"]))
    return "\n".join(lines) + "\n"


# Misbehaviour on demand.


class Misbehaviour:
    """The rules of ``CRBOOST_STANDIN_FAIL`` and ``CRBOOST_STANDIN_PLAN``."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.rules: List[Dict[str, Any]] = []
        self.counts = ""
        given = setting("FAIL").strip()
        if given.startswith("["):
            self.rules += json.loads(given)
        elif given:
            for part in given.split(","):
                pieces = (part.strip() + "::").split(":")
                self.rules.append({"verb": pieces[0], "series": pieces[1] or "*", "how": pieces[2] or "fail"})
        plan = setting("PLAN")
        if plan and os.path.exists(plan):
            self.counts = plan + ".used"
            with open(plan) as stream:
                for number, rule in enumerate(json.load(stream)):
                    self.rules.append(dict(rule, number=number))

    def of(self, name: str, series: str = "") -> str:
        """How to misbehave for this item, "" for not. A rule with ``times`` is used up by asking."""
        for rule in self.rules:
            if rule.get("verb", "*") not in ("*", self.verb):
                continue
            wanted = str(rule.get("series", "*"))
            if wanted != "*" and wanted not in (name, series) and (series or not name.startswith(wanted + "_")):
                continue
            if "times" in rule and not self.take(rule):
                continue
            return str(rule.get("how", "fail"))
        return ""

    def take(self, rule: Dict[str, Any]) -> bool:
        if not self.counts:
            raise Thrown("stand-in: 'times' needs a plan file (CRBOOST_STANDIN_PLAN)")
        os.makedirs(self.counts, exist_ok=True)
        for use in range(int(rule["times"])):
            with contextlib.suppress(FileExistsError):
                path = os.path.join(self.counts, "%d.%d" % (rule["number"], use))
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                return True
        return False


def act(how: str, name: str) -> None:
    """The misbehaviours that end or stop the whole program, and the plain failure."""
    if how == "fail":
        raise TaskFailed("the stand-in was told to fail on %s" % name)
    if how == "crash":
        abort("the stand-in was told to crash on %s" % name)
    if how == "memory":
        complain("terminate called after throwing an instance of 'std::bad_alloc'")
        complain("slurmstepd: error: Detected 1 oom_kill event. Some of the step tasks have been OOM Killed.")
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        wait_forever()


def wait_forever() -> None:
    while True:
        time.sleep(1)


def halve() -> None:
    """Cut the largest file that the item wrote to half its length."""
    present = [path for path in WRITTEN if os.path.exists(path)]
    if present:
        largest = max(present, key=os.path.getsize)
        os.truncate(largest, os.path.getsize(largest) // 2)


# Files: MRC, PNG, STAR, XML.


class Mrc:
    """Header of an MRC file: ``nx ny nz`` in pixels, pixel size in Angstrom."""

    TYPES = {0: "b", 1: "h", 2: "f", 6: "H", 12: "e"}

    def __init__(self, path: str) -> None:
        try:
            with open(path, "rb") as stream:
                head = stream.read(1024)
            self.nx, self.ny, self.nz, self.mode = struct.unpack("<4i", head[:16])
            cell = struct.unpack("<3f", head[40:52])
            samples = struct.unpack("<3i", head[28:40])
            self.mean = float(struct.unpack("<f", head[84:88])[0])
            self.extended = int(struct.unpack("<i", head[92:96])[0])
        except (OSError, struct.error) as error:
            raise TaskFailed("Could not read MRC header of %s: %s" % (path, error)) from error
        self.path = path
        self.pixel_size = cell[0] / samples[0] if samples[0] else 0.0
        if self.mode not in self.TYPES or min(self.nx, self.ny, self.nz) <= 0:
            raise TaskFailed("%s: not an MRC file, or its data type is not supported" % path)
        self.item = struct.calcsize("<" + self.TYPES[self.mode])
        if os.path.getsize(path) < 1024 + self.extended + self.nx * self.ny * self.nz * self.item:
            raise TaskFailed("%s: unexpected end of file" % path)

    def read(self, section: int = 0) -> Image:
        """One section as rows."""
        count = self.nx * self.ny
        with open(self.path, "rb") as stream:
            stream.seek(1024 + self.extended + section * count * self.item)
            data = stream.read(count * self.item)
        kind = self.TYPES[self.mode]
        values: Sequence[float] = struct.unpack("<%de" % count, data) if kind == "e" else array(kind, data)
        return [list(values[y * self.nx : (y + 1) * self.nx]) for y in range(self.ny)]


def half_mode() -> int:
    """Images are float16 unless Warp is told otherwise."""
    return 2 if os.environ.get("WARP_FORCE_MRC_FLOAT32") else 12


def pack(values: Sequence[float], mode: int) -> bytes:
    if mode == 2:
        return array("f", values).tobytes()
    return struct.pack("<%de" % len(values), *values)


def mrc_header(nx: int, ny: int, nz: int, mode: int, pixel: float, low: float, high: float, mean: float) -> bytes:
    head = bytearray(1024)
    struct.pack_into("<4i", head, 0, nx, ny, nz, mode)
    struct.pack_into("<3i", head, 28, nx, ny, nz)
    struct.pack_into("<6f", head, 40, nx * pixel, ny * pixel, nz * pixel, 90, 90, 90)
    struct.pack_into("<3i3f", head, 64, 1, 2, 3, low, high, mean)
    struct.pack_into("<i", head, 108, 20140)
    head[208:212] = b"MAP "
    head[212:216] = b"\x44\x44\0\0"
    struct.pack_into("<i", head, 220, 1)
    label = b"STAND-IN for WarpTools: no real processing"
    head[224 : 224 + len(label)] = label
    return bytes(head)


def write_mrc(path: str, sections: Iterable[Image], nz: int, pixel: float, mode: int) -> None:
    """Write sections one after the other; the statistics of the header follow at the end."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    WRITTEN.append(path)
    low, high, total, count, nx, ny = math.inf, -math.inf, 0.0, 0, 0, 0
    with open(path, "wb") as stream:
        stream.write(bytes(1024))
        for section in sections:
            ny, nx = len(section), len(section[0])
            for row in section:
                low, high, total = min(low, min(row)), max(high, max(row)), total + sum(row)
                stream.write(pack(row, mode))
            count += nx * ny
        stream.seek(0)
        stream.write(mrc_header(nx, ny, nz, mode, pixel, low, high, total / max(count, 1)))


def write_sparse_mrc(path: str, nx: int, ny: int, nz: int, pixel: float, mode: int) -> None:
    """A file of the right length that takes no room: for pictures too large for pure Python."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    WRITTEN.append(path)
    with open(path, "wb") as stream:
        stream.write(mrc_header(nx, ny, nz, mode, pixel, 0.0, 1.0, 0.5))
        row = pack([random.Random(nx).random() for _ in range(nx)], mode)
        stream.write(row * min(ny, 64))
        stream.truncate(1024 + nx * ny * nz * (4 if mode == 2 else 2))


def write_png(path: str, image: Image, long_edge: int = 0) -> None:
    """Grey, 8 bits, three standard deviations around the mean, largest Y on top as in a viewer."""
    if long_edge and max(len(image), len(image[0])) > long_edge:
        factor = long_edge / max(len(image), len(image[0]))
        image = resample(image, max(1, int(len(image[0]) * factor)), max(1, int(len(image) * factor)))
    values = [value for row in image for value in row]
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values)) or 1.0
    scale, offset = 128 / (3 * deviation), 128 - mean * 128 / (3 * deviation)
    lines = []
    for row in reversed(image):
        lines.append(b"\0" + bytes([min(255, max(0, int(value * scale + offset))) for value in row]))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) & 0xFFFFFFFF)

    os.makedirs(os.path.dirname(path), exist_ok=True)
    WRITTEN.append(path)
    with open(path, "wb") as stream:
        stream.write(b"\x89PNG\r\n\x1a\n")
        stream.write(chunk(b"IHDR", struct.pack(">2I5B", len(image[0]), len(image), 8, 0, 0, 0, 0)))
        stream.write(chunk(b"IDAT", zlib.compress(b"".join(lines), 6)) + chunk(b"IEND", b""))


def write_text(path: str, text: str) -> None:
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    WRITTEN.append(path)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def resample(image: Image, nx: int, ny: int) -> Image:
    """Fewer (or more) pixels: boxes of whole pixels are averaged, the rest is nearest neighbour."""
    box = int(min(len(image[0]) / nx, len(image) / ny))
    if box > 1:
        small = []
        width = len(image[0]) // box * box
        for y in range(0, len(image) // box * box, box):
            total = [sum(column) for column in zip(*image[y : y + box])]
            parts = [total[i:width:box] for i in range(box)]
            small.append([value / (box * box) for value in map(sum, zip(*parts))])
        image = small
    if len(image[0]) == nx and len(image) == ny:
        return image
    columns = [min(len(image[0]) - 1, int((x + 0.5) * len(image[0]) / nx)) for x in range(nx)]
    rows = [min(len(image) - 1, int((y + 0.5) * len(image) / ny)) for y in range(ny)]
    return [[image[y][x] for x in columns] for y in rows]


def even(value: float) -> int:
    """Warp rounds image sizes to even numbers."""
    return max(2, round(value / 2) * 2)


def num(value: float) -> str:
    """A number as .NET prints a single."""
    text = "%.7g" % value
    return str(int(float(text))) if "e" not in text and float(text) == int(float(text)) else text


def render_xml(element: ET.Element, depth: int = 0) -> str:
    escape = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}

    def safe(text: str) -> str:
        return "".join(escape.get(character, character) for character in text)

    attributes = "".join(' %s="%s"' % (key, safe(value)) for key, value in element.attrib.items())
    start = "%s<%s%s" % ("\t" * depth, element.tag, attributes)
    if len(element):
        inner = "\n".join(render_xml(child, depth + 1) for child in element)
        return "%s>\n%s\n%s</%s>" % (start, inner, "\t" * depth, element.tag)
    if element.text and element.text.strip():
        return "%s>%s</%s>" % (start, safe(element.text.strip()), element.tag)
    return start + " />"


def save_xml(path: str, root: ET.Element) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    WRITTEN.append(path)
    with open(path, "w", encoding="utf-8-sig") as stream:
        stream.write('<?xml version="1.0" encoding="utf-8"?>\n' + render_xml(root))


def load_xml(path: str) -> Optional[ET.Element]:
    """None where there is none, or where it cannot be read: WarpTools swallows that."""
    try:
        return ET.parse(path).getroot()
    except (OSError, ET.ParseError):
        return None


def put(root: ET.Element, child: ET.Element) -> None:
    for old in [c for c in root if c.tag == child.tag and c.get("ID") == child.get("ID")]:
        root.remove(old)
    root.append(child)


def params(tag: str, values: Dict[str, object]) -> ET.Element:
    element = ET.Element(tag)
    for name, value in values.items():
        shown = num(value) if isinstance(value, float) else str(value)
        ET.SubElement(element, "Param", {"Name": name, "Value": shown})
    return element


def grid(tag: str, size: Tuple[int, int, int], values: Sequence[float]) -> ET.Element:
    """Nodes run over X fastest, then Y, then Z."""
    attributes = {"Width": str(size[0]), "Height": str(size[1]), "Depth": str(size[2])}
    if tag.startswith("GridVolume"):
        element = ET.Element(tag, dict(attributes, Duration="1"))
    else:
        element = ET.Element(tag, dict(attributes, MarginX="0", MarginY="0", MarginZ="0"))
    position = 0
    for z in range(size[2]):
        for y in range(size[1]):
            for x in range(size[0]):
                node = {"X": str(x), "Y": str(y), "Z": str(z)}
                if tag.startswith("GridVolume"):
                    node["W"] = "0"
                node["Value"] = num(values[position])
                ET.SubElement(element, "Node", node)
                position += 1
    return element


def curve(tag: str, pairs: Sequence[Tuple[float, float]], identity: Optional[int] = None) -> ET.Element:
    element = ET.Element(tag, {} if identity is None else {"ID": str(identity)})
    element.text = ";".join("%s|%s" % (num(a), num(b)) for a, b in pairs)
    return element


def write_json(path: str, value: object) -> None:
    temporary = "%s.%d.tmp" % (path, os.getpid())
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(temporary, "w") as stream:
        json.dump(value, stream, indent=1)
    os.replace(temporary, path)


def relative_to(path: str, folder: str) -> str:
    """WarpTools takes a folder whose name contains a dot for a file, and makes the path relative to its parent."""
    folder = os.path.abspath(folder)
    if "." in os.path.basename(folder):
        folder = os.path.dirname(folder)
    return os.path.relpath(os.path.abspath(path), folder)


# Settings, items, tilt series.


class Settings:
    """What a ``.settings`` file says; WarpTools' defaults where it cannot be read."""

    def __init__(self, path: str) -> None:
        self.folder = os.path.dirname(os.path.abspath(path))
        self.values: Dict[str, str] = {}
        if not os.path.exists(path):
            say("File not found: %s\n" % path)
            sys.stdout.flush()
            os._exit(1)
        try:
            root = ET.parse(path).getroot()
        except (ET.ParseError, OSError, UnicodeDecodeError) as error:
            say("An error occurred: %s\n" % error)
            return
        for section in root:
            if section.tag == "Param":
                self.values[str(section.get("Name"))] = str(section.get("Value"))
            for param in section:
                self.values["%s/%s" % (section.tag, param.get("Name"))] = str(param.get("Value"))

    def text(self, name: str, default: str = "") -> str:
        return self.values.get(name, default)

    def number(self, name: str, default: float) -> float:
        try:
            return float(self.values[name])
        except (KeyError, ValueError):
            return default

    @property
    def pixel(self) -> float:
        """Pixel of the movies as recorded, in Angstrom."""
        return self.number("Import/PixelSize", 1.35)

    @property
    def binned(self) -> float:
        return self.pixel * math.pow(2.0, self.number("Import/BinTimes", 0.0))


class Item:
    """One movie or tilt series, with the folders that its metadata and images are in."""

    def __init__(self, path: str, source: str, target: str) -> None:
        self.path = path
        self.name = os.path.splitext(os.path.basename(path))[0]
        self.folder = os.path.dirname(path)
        self.is_tilt = path.lower().endswith(".tomostar")
        self.input_xml = os.path.join(source, self.name + ".xml")
        self.output = target
        self.output_xml = os.path.join(target, self.name + ".xml")
        self.series = "" if self.is_tilt else series_of_movie(path)

    def out(self, *parts: str) -> str:
        return os.path.join(self.output, *parts)


class Context:
    """One run of one verb on its items."""

    def __init__(self, verb: str, options: Options, version: str) -> None:
        self.verb = verb
        self.options = options
        self.version = version
        self.misbehaviour = Misbehaviour(verb)
        self.settings = Settings(options.text("settings"))
        self.items = self.find_items()
        self.processed: Dict[str, Dict[str, Any]] = {}
        self.failed: Dict[str, Dict[str, Any]] = {}

    def find_items(self) -> List[Item]:
        options, settings = self.options, self.settings
        data = os.path.join(settings.folder, settings.text("Import/DataFolder"))
        processing = os.path.join(settings.folder, settings.text("Import/ProcessingFolder") or data)
        source = target = os.path.normpath(processing)
        if options.text("input_processing"):
            source = target = os.path.abspath(options.text("input_processing"))
        if options.text("output_processing"):
            target = os.path.abspath(options.text("output_processing"))
        self.output = target
        recursive = options.flag("input_data_recursive") or settings.text("Import/DoRecursiveSearch") == "True"
        found: List[str] = []
        given = options.items("input_data")
        if options.flag("input_norawdata"):
            found = sorted(glob.glob(os.path.join(glob.escape(source), "*.xml")))
        elif not given:
            pattern = settings.text("Import/Extension", "*.mrc")
            found = sorted(search(data, pattern, settings.text("Import/DoRecursiveSearch") == "True"))
        for entry in given:
            if "*" in entry or "?" in entry:
                found += search(os.path.dirname(entry) or ".", os.path.basename(entry), recursive)
            elif entry.endswith(".txt"):
                if not os.path.exists(entry):
                    raise Thrown("File not found: %s" % entry)
                with open(entry) as stream:
                    found += stream.read().split("\n")
                if found and not found[-1]:
                    found.pop()
            else:
                found.append(entry)
        found = sorted(found)
        for path in found:
            if not os.path.isfile(path):
                raise Thrown("File not found: %s" % path)
        names = [os.path.splitext(os.path.basename(path))[0] for path in found]
        if len(set(names)) != len(names):
            raise Thrown("Not all input files have unique names")
        return [Item(path if path.startswith("/") else os.path.normpath(path), source, target) for path in found]

    def stop_unless(self, good: bool, message: str) -> None:
        if not good:
            raise Thrown(message)

    def record(self, item: Item, failed: bool) -> None:
        entry = summary(item)
        if failed:
            entry["ProcessingStatus"] = STATUS_LEAVE_OUT
            self.failed[item.name] = entry
        else:
            self.processed[item.name] = entry

    def write_lists(self, both: bool) -> None:
        """``both``: commands that iterate on the CPU list what failed in both files."""
        shown = dict(self.processed)
        if both:
            shown.update(self.failed)
        write_json(os.path.join(self.output, "processed_items.json"), list(shown.values()))
        if self.failed:
            write_json(os.path.join(self.output, "failed_items.json"), list(self.failed.values()))


def search(folder: str, pattern: str, recursive: bool) -> List[str]:
    result = []
    for current, folders, names in os.walk(folder):
        result += [os.path.join(current, n) for n in names if not n.startswith(".") and fnmatch.fnmatch(n, pattern)]
        if not recursive:
            break
        folders[:] = [f for f in folders if not f.startswith(".")]
    return result


def summary(item: Item) -> Dict[str, Any]:
    """The item's entry in processed_items.json."""
    root = load_xml(item.output_xml)
    entry: Dict[str, Any] = {"Path": item.path, "ProcessingStatus": STATUS_PROCESSED}
    if root is None:
        entry["ProcessingStatus"] = STATUS_UNPROCESSED
        return entry
    ctf = {str(p.get("Name")): str(p.get("Value")) for p in root.findall("CTF/Param")}
    if not item.is_tilt:
        entry.update(
            {
                "Defocus": float(ctf["Defocus"]) if "Defocus" in ctf else None,
                "Phase": float(ctf["PhaseShift"]) if "PhaseShift" in ctf else None,
                "Resolution": float(root.get("CTFResolutionEstimate", "0")) if "Defocus" in ctf else None,
                "AstigX": 0.0,
                "AstigY": 0.0,
                "Motion": float(root.get("MeanFrameMovement", "0")),
                "Junk": None,
                "Particles": None,
            }
        )
        return entry
    series = TiltSeries(item.path, root)
    entry["Tilts"] = [
        {"Angle": angle, "Dose": dose, "Use": use} for angle, dose, use in zip(series.angles, series.dose, series.use)
    ]
    entry["MinTilt"], entry["MaxTilt"] = min(series.angles), max(series.angles)
    for name, values in (("Axis", series.axis), ("ShiftX", series.offset_x), ("ShiftY", series.offset_y)):
        entry["Min" + name], entry["Max" + name] = min(values), max(values)
        entry["Mean" + name] = sum(values) / len(values)
    nodes = [float(node.get("Value", "0")) for node in root.findall("GridCTF/Node")]
    if root.find("OptionsCTF") is not None and nodes:
        entry["MinDefocus"], entry["MaxDefocus"] = min(nodes), max(nodes)
        entry["MeanDefocus"] = sum(nodes) / len(nodes)
        entry["Astigmatism"] = 0.02
        entry["MinPhase"] = entry["MeanPhase"] = entry["MaxPhase"] = 0.0
        entry["CtfResolution"] = float(root.get("CTFResolutionEstimate", "0"))
        entry["CtfInclination"] = 0.0
        entry["Particles"] = None
    return entry


class TiltSeries:
    """A tilt series as its XML has it: lists in the order of the tomostar's rows."""

    def __init__(self, tomostar: str, root: Optional[ET.Element]) -> None:
        self.folder = os.path.dirname(os.path.abspath(tomostar))
        self.name = os.path.splitext(os.path.basename(tomostar))[0]
        if root is not None and len(self.entries(root, "Angles")) > 1:
            self.root = root
            self.angles = [float(text) for text in self.entries(root, "Angles")]
            count = len(self.angles)
            self.dose = [float(text) for text in self.entries(root, "Dose")] or [0.0] * count
            self.use = [text == "True" for text in self.entries(root, "UseTilt")] or [True] * count
            self.axis = [float(text) for text in self.entries(root, "AxisAngle")] or [0.0] * count
            self.offset_x = [float(text) for text in self.entries(root, "AxisOffsetX")] or [0.0] * count
            self.offset_y = [float(text) for text in self.entries(root, "AxisOffsetY")] or [0.0] * count
            self.movies = self.entries(root, "MoviePath")
            self.fov = [float(text) for text in self.entries(root, "FOVFraction")] or [1.0] * count
            return
        table = read_tomostar(tomostar)
        for column in ("wrpAngleTilt", "wrpDose", "wrpMovieName"):
            if column not in table:
                raise Thrown("%s does not contain the column %s." % (tomostar, column))
        self.angles = [float(text) for text in table["wrpAngleTilt"]]
        count = len(self.angles)
        self.dose = [float(text) for text in table["wrpDose"]]
        self.movies = table["wrpMovieName"]
        self.axis = [float(text) for text in table.get("wrpAxisAngle", ["0"] * count)]
        self.offset_x = [float(text) for text in table.get("wrpAxisOffsetX", ["0"] * count)]
        self.offset_y = [float(text) for text in table.get("wrpAxisOffsetY", ["0"] * count)]
        self.use = [True] * count
        self.fov = [1.0] * count
        self.root = ET.Element(
            "TiltSeries",
            {
                "DataDirectory": self.folder,
                "AreAnglesInverted": "False",
                "PlaneNormal": "0, 0, 1",
                "LevelAngleX": "0",
                "LevelAngleY": "0",
                "Bfactor": "0",
                "Weight": "1",
                "MagnificationCorrection": "1, 0, 0, 1",
                "UnselectFilter": "False",
                "UnselectManual": "",
                "CTFResolutionEstimate": "0",
            },
        )

    @staticmethod
    def entries(root: ET.Element, tag: str) -> List[str]:
        text = (root.findtext(tag) or "").strip()
        return [line.strip() for line in text.split("\n")] if text else []

    def used(self) -> List[int]:
        return [index for index, use in enumerate(self.use) if use]

    def movie(self, index: int) -> str:
        """Where the movie would be in the frame processing folder."""
        return os.path.normpath(os.path.join(self.folder, self.movies[index]))

    def average(self, index: int, half: str = "") -> str:
        movie = self.movie(index)
        stem = os.path.splitext(os.path.basename(movie))[0] + ".mrc"
        return os.path.join(os.path.dirname(movie), "average", half, stem)

    def frame_xml(self, index: int) -> Optional[ET.Element]:
        return load_xml(os.path.splitext(self.movie(index))[0] + ".xml")

    def raw_movie(self, index: int) -> str:
        """The raw movie, found through the frame-series XML."""
        frame = self.frame_xml(index)
        folder = frame.get("DataDirectory", "") if frame is not None else os.path.dirname(self.movie(index))
        return os.path.join(folder, os.path.basename(self.movies[index]))

    def need_raw(self) -> None:
        raw = self.raw_movie(0)
        try:
            with open(raw, "rb") as stream:
                good = len(stream.read(16)) == 16
        except OSError:
            good = False
        if not good:
            raise TaskFailed("Could not find file '%s'." % raw)

    def need_averages(self) -> None:
        for index in range(len(self.movies)):
            if not os.path.exists(self.average(index)):
                raise TaskFailed("Could not find file '%s'." % self.average(index))

    def save(self, path: str) -> None:
        for tag, values in (
            ("Angles", [num(v) for v in self.angles]),
            ("Dose", [num(v) for v in self.dose]),
            ("UseTilt", ["True" if v else "False" for v in self.use]),
            ("AxisAngle", [num(v) for v in self.axis]),
            ("AxisOffsetX", [num(v) for v in self.offset_x]),
            ("AxisOffsetY", [num(v) for v in self.offset_y]),
            ("MoviePath", self.movies),
            ("FOVFraction", ["%.4f" % v for v in self.fov]),
        ):
            element = ET.Element(tag)
            element.text = "\n".join(values)
            put(self.root, element)
        for name in TILT_GRIDS:
            if self.root.find(name) is None:
                self.root.append(grid(name, (1, 1, 1), [1.0 if name.endswith("Weights") else 0.0]))
        order = {tag: number for number, tag in enumerate(TILT_ORDER)}
        self.root[:] = sorted(self.root, key=lambda e: (order.get(e.tag, 99), int(e.get("ID", "0"))))
        save_xml(path, self.root)


TILT_GRIDS = (
    "GridCTF GridCTFDefocusDelta GridCTFDefocusAngle GridCTFPhase GridMovementX GridMovementY GridVolumeWarpX "
    "GridVolumeWarpY GridVolumeWarpZ GridAngleX GridAngleY GridAngleZ GridDoseBfacs GridDoseBfacsDelta "
    "GridDoseBfacsAngle GridDoseWeights GridLocationBfacs GridLocationWeights"
).split()
TILT_ORDER = (
    "Angles Dose UseTilt AxisAngle AxisOffsetX AxisOffsetY MoviePath FOVFraction TiltPS1D TiltSimulatedScale PS1D "
    "SimulatedScale OptionsCTF CTF"
).split() + list(TILT_GRIDS)
FRAME_ORDER = (
    "OptionsCTF PS1D SimulatedBackground SimulatedScale CTF GridCTF GridCTFDefocusDelta GridCTFDefocusAngle GridCTFCs "
    "GridCTFPhase GridCTFDoming OptionsMovement GridMovementX GridMovementY GridLocalMovementX GridLocalMovementY "
    "GridAngleX GridAngleY GridAngleZ GridDoseBfacs GridDoseBfacsDelta GridDoseBfacsAngle GridDoseWeights "
    "GridLocationBfacs GridLocationWeights OptionsMovieExport"
).split()


def read_tomostar(path: str) -> Dict[str, List[str]]:
    """Columns of a STAR file with one loop, split at white space as WarpTools does."""
    with open(path, encoding="utf-8") as stream:
        lines = [line.strip() for line in stream]
    labels = [line.split()[0][1:] for line in lines if line.startswith("_")]
    rows = [line.split() for line in lines if line and not line.startswith(("_", "data_", "loop_", "#"))]
    for row in rows:
        if len(row) != len(labels):
            raise Thrown("%s: a row has %d values for %d columns." % (path, len(row), len(labels)))
    return {label: [row[number] for row in rows] for number, label in enumerate(labels)}


def manual_selection(item: Item, value: str) -> None:
    """Write UnselectManual into the item's XML, as a failed item gets it."""
    with contextlib.suppress(Thrown, OSError, ValueError):
        root = load_xml(item.output_xml)
        if root is None:
            root = load_xml(item.input_xml)
        if item.is_tilt:
            series = TiltSeries(item.path, root)
            series.root.set("UnselectManual", "" if value == "null" else value)
            series.save(item.output_xml)
        else:
            root = new_movie(item) if root is None else root
            root.set("UnselectManual", value)
            save_xml(item.output_xml, root)


# The two ways in which WarpTools goes through its items.


class Queue:
    """The file queue in ``task_dir``. It is emptied before the lock is taken, as WarpTools does."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.host = socket.gethostname()
        self.worker = "local-%d-gpu0" % os.getpid()
        for name in ("pending", "running", "done", "failed", "poisoned"):
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
        for name in ("pending", "running/" + self.worker, "done", "failed", "poisoned", "heartbeat", "logs"):
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        self.lock = open(os.path.join(folder, "pool.lock"), "a")  # noqa: SIM115 (held until the process ends)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Thrown("Another manager is already using queue dir %s" % folder) from error
        self.state = os.path.join(folder, "manager.state.json")
        self.failures: List[str] = []
        with contextlib.suppress(OSError, ValueError, KeyError), open(self.state) as stream:
            self.failures = list(json.load(stream)["failures"].get(self.host, []))
        self.beat()

    def path(self, *parts: str) -> str:
        return os.path.join(self.folder, *parts)

    def beat(self) -> None:
        for old in glob.glob(self.path("heartbeat", "tick-*")):
            with contextlib.suppress(OSError):
                os.unlink(old)
        with open(self.path("heartbeat", "tick-%d" % int(time.time())), "w"):
            pass

    def add(self, task: str, item: Item) -> None:
        write_json(self.path("pending", task + ".json"), {"Id": task, "Path": item.path})

    def claim(self, task: str) -> None:
        """Waits forever where the blacklist forbids this host to work or another run took the tasks away."""
        blacklisted = os.path.exists(self.path("blacklisted_nodes", self.host))
        try:
            if blacklisted:
                raise FileNotFoundError
            os.rename(self.path("pending", task + ".json"), self.path("running", self.worker, task + ".json"))
        except FileNotFoundError:
            with open(self.path("logs", self.worker + ".exit"), "w") as stream:
                stream.write("node is blacklisted\n" if blacklisted else "no task to be had\n")
            while True:
                self.beat()
                time.sleep(0.5)

    def finish(self, task: str, where: str) -> None:
        with contextlib.suppress(OSError):
            os.rename(self.path("running", self.worker, task + ".json"), self.path(where, task + ".json"))

    def count_failure(self, task: str) -> None:
        if task not in self.failures:
            self.failures.append(task)
        write_json(self.state, {"failures": {self.host: self.failures}})
        if len(self.failures) >= BLACKLIST_AT:
            os.makedirs(self.path("blacklisted_nodes"), exist_ok=True)
            with open(self.path("blacklisted_nodes", self.host), "w") as stream:
                stream.write("%d distinct tasks failed\n" % len(self.failures))


def clock(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 86400:
        return "%02d.%02d:%02d:%02d" % (whole // 86400, whole % 86400 // 3600, whole % 3600 // 60, whole % 60)
    if whole >= 3600:
        return "%02d:%02d:%02d" % (whole // 3600, whole % 3600 // 60, whole % 60)
    return "%02d:%02d" % (whole // 60, whole % 60)


def progress(done: int, total: int, failed: int, started: float) -> None:
    eta = (time.time() - started) / done * (total - done) if done else 0.0
    say("\r%d/%d%s, %s remaining" % (done, total, ", %d failed" % failed if failed else "", clock(eta)))


def spend(name: str, stage: str, started: float, share: float = 1.0) -> None:
    """Take the time that an item is to take, less what it took already."""
    seconds = float(setting("SECONDS", "0.2")) * share
    sigma = float(setting("SIGMA", "0"))
    if sigma:
        seconds *= chance(name, stage, "time").lognormvariate(0.0, sigma)
    time.sleep(max(0.0, seconds - (time.time() - started)))


Task = Callable[[Item, List[str]], None]


def parse_previous(context: Context) -> None:
    say("Parsing previous results for each item, if available...\n")
    total = len(context.items)
    found = sum(1 for item in context.items if os.path.exists(item.input_xml))
    say("0/%d\r%d/%d, previous metadata found for %d\n" % (total, total, total, found))


def distribute(context: Context, stage: str, work: Task, queue: Optional[Queue]) -> None:
    """One distribution of all items over the workers."""
    items, options = context.items, context.options
    total = len(items)
    workers = max(1, len(options.items("device_list"))) * max(1, int(options.number("perdevice", 1)))
    say("Distributing %d item(s) across up to %d local worker(s)...\n" % (total, workers))
    context.processed, context.failed = {}, {}
    tasks = {item.name: "%07d-%s-%s" % (number, stage, item.name) for number, item in enumerate(items)}
    if queue is not None:
        for item in items:
            queue.add(tasks[item.name], item)
    say("0/%d" % total)
    begun = time.time()
    for done, item in enumerate(items, 1):
        task = tasks[item.name]
        log = os.path.join(context.output, "logs", (task if queue is not None else item.name) + ".log")
        attempts = RETRY_CAP if queue is not None else 1
        for attempt in range(1, attempts + 1):
            if queue is not None:
                queue.claim(task)
            reason = run_one(context, item, stage, work, log, attempt)
            if not reason:
                if queue is not None:
                    queue.finish(task, "done")
                context.record(item, failed=False)
                break
            if queue is None:
                mark_failed(context, item, reason)
                break
            last = attempt == attempts
            fate = "poisoned after %d attempt(s)" % attempt if last else "will retry (attempt %d)" % attempt
            complain("[pool] task %s failed on %s — %s" % (task, queue.host, fate))
            complain("[pool]   error: %s" % reason)
            queue.finish(task, "poisoned" if last else "pending")
            queue.count_failure(task)
            if last:
                mark_failed(context, item, reason)
        if queue is not None:
            queue.beat()
        context.write_lists(both=False)
        progress(done, total, len(context.failed), begun)
    say("\nFinished processing in %s\n" % time.strftime("%H:%M:%S", time.gmtime(time.time() - begun)))
    say("Finished: %d processed, %d failed\n" % (total - len(context.failed), len(context.failed)))
    if total and len(context.failed) == total:
        raise Thrown("All items failed to process")


def run_one(context: Context, item: Item, stage: str, work: Task, log: str, attempt: int) -> str:
    """Do the work of one item. Returns why it failed, or ""."""
    del WRITTEN[:]
    started = time.time()
    lines = ["Processing %s (%s), attempt %d" % (item.path, stage, attempt)]
    how = context.misbehaviour.of(item.name, item.series)
    reason = ""
    try:
        act(how, item.name)
        if how != "silent":
            work(item, lines)
        if how == "half":
            halve()
        spend(item.name, stage, started, 10.0 if how == "slow" else 1.0)
        lines.append("Finished %s" % item.name)
    except TaskFailed as error:
        reason = str(error)
        lines.append("ERROR: %s" % reason)
        spend(item.name, stage, started, 0.25)
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, "a" if attempt > 1 else "w", encoding="utf-8") as stream:
        for line in lines:
            stream.write("%s %s\n" % (time.strftime("[%H:%M:%S]"), line))
    return reason


def mark_failed(context: Context, item: Item, reason: str) -> None:
    manual_selection(item, "True")
    context.record(item, failed=True)
    complain("Failed to process %s, marked as unselected." % item.path)
    complain("Exception details:\nSystem.Exception: %s" % reason)


def run_distributed(context: Context, stage: str, work: Task, passes: int = 1) -> None:
    """The frame of a distributed command: previous results, queue, one or more distributions."""
    options = context.options
    if options.text("cluster_script") or options.flag("external_provisioner"):
        raise Thrown("this stand-in has no cluster mode")
    parse_previous(context)
    os.makedirs(context.output, exist_ok=True)
    if not context.items:
        return
    queue = None
    if context.version != "dev39":
        queue = Queue(os.path.abspath(options.text("task_dir") or os.path.join(context.output, "tasks")))
    for _ in range(passes):
        distribute(context, stage, work, queue)


def run_iterated(context: Context, stage: str, work: Task) -> None:
    """The frame of a command that goes through its items on the CPU."""
    total, begun = len(context.items), time.time()
    os.makedirs(context.output, exist_ok=True)
    say("0/%d" % total)
    for done, item in enumerate(context.items, 1):
        log = os.path.join(context.output, "logs", "%s-%s.log" % (stage, item.name))
        reason = run_one(context, item, stage, work, log, 1)
        if reason:
            mark_failed(context, item, reason)
        else:
            context.record(item, failed=False)
        progress(done, total, len(context.failed), begun)
    say("\n")
    context.write_lists(both=True)
    if len(context.failed) == total:
        raise Thrown("All items failed to process")


# What is true of the specimen, and the numbers that follow from it.


class Truth:
    """``session.json`` of a synthetic session, or numbers from a hash of the names."""

    cache: Dict[str, Dict[str, Any]] = {}

    @classmethod
    def session(cls, movie: str) -> Dict[str, Any]:
        real = os.path.realpath(movie)
        folder = os.path.dirname(real)
        candidates = [setting("TRUTH")] + [
            os.path.join(place, "session.json") for place in (folder, os.path.dirname(folder))
        ]
        for path in candidates:
            if not path:
                continue
            if path not in cls.cache:
                try:
                    with open(path) as stream:
                        cls.cache[path] = json.load(stream)
                except (OSError, ValueError):
                    cls.cache[path] = {}
            if cls.cache[path]:
                return cls.cache[path]
        return {}

    def __init__(self, movie: str) -> None:
        self.root = os.path.splitext(os.path.basename(os.path.realpath(movie)))[0]
        session = self.session(movie)
        self.series, self.known, self.tilt = "", {}, {}  # type: str, Dict[str, Any], Dict[str, Any]
        for name, series in session.get("series", {}).items():
            if self.root in series["tilts"]:
                self.series, self.known, self.tilt = name, series, series["tilts"][self.root]
        guess = re.search(r"[_\[](-?\d{1,2}\.\d{1,2})(?=[_\].]|$)", self.root)
        self.angle = float(self.tilt.get("angle_deg", float(guess.group(1)) if guess else 0.0))
        stem = self.series or re.sub(r"_\d{2,4}[_\[].*$", "", self.root)
        numbers = chance(stem, "series")
        self.defocus = float(self.known.get("defocus_um", numbers.uniform(2.2, 4.2)))
        self.flip = bool(session.get("handedness_flip", True))
        self.axis = session.get("axis_deg")
        self.level_x = float(self.known.get("level_x_deg", numbers.gauss(0, 1.5)))
        self.level_y = float(self.known.get("level_y_deg", numbers.gauss(0, 2.5)))
        self.stem = stem

    def tilt_defocus(self) -> float:
        """Defocus in the middle of this tilt, in um: it wanders with the angle, as the height is never eucentric."""
        numbers = chance(self.root, "defocus")
        radians = math.radians(self.angle)
        return self.defocus + 0.12 * math.sin(radians) + 0.06 * (1 - math.cos(radians)) + numbers.gauss(0, 0.02)

    def resolution(self, binned: float) -> float:
        """CTF fit resolution in Angstrom: worse at high tilt, never beyond Nyquist."""
        numbers = chance(self.root, "resolution")
        thicker = 1 / max(0.3, math.cos(math.radians(self.angle))) - 1
        value = (4.6 + 5.5 * thicker) * numbers.lognormvariate(0.0, 0.08)
        return round(max(value, 2.05 * binned), 2)


def series_of_movie(movie: str) -> str:
    return Truth(movie).series


def movie_size(path: str) -> Tuple[int, int, int]:
    """Width, height and frames of an MRC, TIFF or EER movie. Raises TaskFailed where the header cannot be read."""
    lower = path.lower()
    if lower.endswith((".mrc", ".mrcs", ".st")):
        header = Mrc(path)
        return header.nx, header.ny, header.nz
    try:
        with open(path, "rb") as stream:
            head = stream.read(16)
            order = {b"II": "<", b"MM": ">"}[head[:2]]
            big = struct.unpack(order + "H", head[2:4])[0] == 43
            offset = struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])[0]
            width = height = frames = 0
            while offset and frames < 2000:
                stream.seek(offset)
                count = struct.unpack(order + ("Q" if big else "H"), stream.read(8 if big else 2))[0]
                entries = stream.read(count * (20 if big else 12))
                for number in range(count if not frames else 0):
                    entry = entries[number * (20 if big else 12) :]
                    tag, kind = struct.unpack(order + "2H", entry[:4])
                    at = 12 if big else 8
                    value = struct.unpack(order + ("H" if kind == 3 else "I"), entry[at : at + (2 if kind == 3 else 4)])
                    width, height = (value[0] if tag == 256 else width), (value[0] if tag == 257 else height)
                frames += 1
                offset = struct.unpack(order + ("Q" if big else "I"), stream.read(8 if big else 4))[0]
    except (OSError, KeyError, struct.error) as error:
        raise TaskFailed("Could not read header of %s: %s" % (path, error)) from error
    if not width or not height:
        raise TaskFailed("Could not read header of %s" % path)
    return width, height, frames


# Frame series.


def new_movie(item: Item) -> ET.Element:
    return ET.Element(
        "Movie",
        {
            "DataDirectory": item.folder,
            "UnselectFilter": "False",
            "UnselectManual": "null",
            "CTFResolutionEstimate": "0",
            "MeanFrameMovement": "0",
            "MaskPercentage": "-1",
            "Bfactor": "0",
            "Weight": "1",
            "MagnificationCorrection": "1, 0, 0, 1",
        },
    )


def smoothed(image: Image) -> Image:
    """Sums over 3 x 3 pixels."""
    rows = [[a + b + c for a, b, c in zip(row[:1] + row, row, row[1:] + row[-1:])] for row in image]
    return [list(map(sum, zip(*three))) for three in zip(rows[:1] + rows, rows, rows[1:] + rows[-1:])]


REACH_PX = 5


def dark_places(image: Image) -> List[int]:
    """Where (y * width + x) the image is darkest, away from its edge."""
    nx, ny = len(image[0]), len(image)
    smooth = smoothed(image)
    inside = [
        (smooth[y][x], y * nx + x) for y in range(REACH_PX, ny - REACH_PX) for x in range(REACH_PX, nx - REACH_PX)
    ]
    return [place for _, place in sorted(inside)[:600]]


def measured_shift(places: List[int], frame: Image) -> Tuple[int, int]:
    """The drift of a frame in whole px against the image whose dark places are given."""
    nx = len(frame[0])
    flat = [value for row in frame for value in row]
    span = range(-REACH_PX, REACH_PX + 1)
    scores = [(sum([flat[p + dy * nx + dx] for p in places]), abs(dx) + abs(dy), dx, dy) for dy in span for dx in span]
    return min(scores)[2:]


def shifted(image: Image, dx: int, dy: int) -> Image:
    """``result[y][x] = image[y + dy][x + dx]``, the edge repeated."""
    last = len(image) - 1
    result = []
    for y in range(len(image)):
        row = image[min(last, max(0, y + dy))]
        if dx > 0:
            row = row[dx:] + row[-1:] * dx
        elif dx < 0:
            row = row[:1] * -dx + row[:dx]
        result.append(row)
    return result


def add(a: Optional[Image], b: Image) -> Image:
    return b if a is None else [list(map(operator.add, x, y)) for x, y in zip(a, b)]


def scaled(image: Image, factor: float) -> Image:
    return [[value * factor for value in row] for row in image]


class Movie:
    """Drift and averages of one movie: real ones of a small MRC movie, otherwise invented."""

    def __init__(self, item: Item, settings: Settings) -> None:
        self.nx, self.ny, self.frames = movie_size(item.path)
        self.track: List[Tuple[float, float]] = []  # px of the movie
        self.halves: List[Image] = []
        self.gain = load_gain(settings, self.nx, self.ny)
        if self.nx * self.ny > LARGE_PX or not item.path.lower().endswith((".mrc", ".mrcs")):
            return
        header = Mrc(item.path)
        sums: List[Optional[Image]] = [None, None]
        places: List[int] = []
        for number in range(self.frames):
            frame = header.read(number)
            if self.gain:
                frame = [list(map(operator.mul, x, y)) for x, y in zip(frame, self.gain)]
            if number == 0:
                places = dark_places(frame)
            dx, dy = measured_shift(places, frame) if places and number else (0, 0)
            frame = shifted(frame, dx, dy)
            sums[number % 2] = add(sums[number % 2], frame)
            self.track.append((float(dx), float(dy)))
        self.halves = [image for image in sums if image is not None]


def load_gain(settings: Settings, nx: int, ny: int) -> Optional[Image]:
    """The gain with its flips, where it is small; its size is checked in any case."""
    path = settings.text("Import/GainPath")
    if not path or settings.text("Import/CorrectGain", "False") != "True":
        return None
    if not os.path.exists(path):
        raise TaskFailed("Could not find gain reference '%s'." % path)
    width, height, _ = movie_size(path)
    if settings.text("Import/GainTranspose") == "True":
        width, height = height, width
    eer = settings.text("Import/Extension") == "*.eer"
    if not any(width == nx * k and height == ny * k for k in ((1, 2, 4) if eer else (1,))):
        raise TaskFailed("Gain reference is %dx%d, but the movie is %dx%d" % (width, height, nx, ny))
    if not path.lower().endswith((".mrc", ".mrcs")) or width * height > LARGE_PX:
        return None
    gain = Mrc(path).read()
    if settings.text("Import/GainTranspose") == "True":
        gain = [list(column) for column in zip(*gain)]
    if settings.text("Import/GainFlipX") == "True":
        gain = [row[::-1] for row in gain]
    return gain[::-1] if settings.text("Import/GainFlipY") == "True" else gain


def parse_grid(context: Context, name: str) -> Optional[Tuple[int, int, int]]:
    text = context.options.text(name)
    if not text:
        return None
    match = re.match(r"^(\d+)x(\d+)x(\d+)$", text)
    if not match:
        raise Thrown("Grid dimensions must be specified as 3 values separated by 'x'")
    return int(match.group(1)), int(match.group(2)), int(match.group(3))


def frame_verb(context: Context) -> None:
    """fs_motion_and_ctf, fs_motion and fs_ctf."""
    options, settings, verb = context.options, context.settings, context.verb
    motion, ctf = verb != "fs_ctf", verb != "fs_motion"
    prefix_m, prefix_c, prefix_o = ("m_", "c_", "out_") if verb == "fs_motion_and_ctf" else ("", "", "")
    motion_grid = parse_grid(context, prefix_m + "grid") if motion else None
    ctf_grid = parse_grid(context, prefix_c + "grid") if ctf else None
    thumbnails = options.optional("out_thumbnails")
    averages = motion and (options.flag(prefix_o + "averages") or options.flag(prefix_o + "average_halves"))
    if ctf:
        context.stop_unless(
            not options.flag(prefix_c + "use_sum") or not ctf_grid or ctf_grid[2] <= 1,
            "Z dimension of the defocus grid must be 1 when using the sum",
        )
        low, high = options.number(prefix_c + "defocus_min"), options.number(prefix_c + "defocus_max")
        context.stop_unless(low <= high, "--%sdefocus_min can't be higher than max" % prefix_c)
    if thumbnails is not None:
        good = thumbnails > 0 and thumbnails % 2 == 0 and options.flag("out_averages")
        context.stop_unless(good, "--out_thumbnails must be an even number above 0, and needs --out_averages")
    context.stop_unless(not any(item.is_tilt for item in context.items), "Items must be frame series")

    def work(item: Item, log: List[str]) -> None:
        root = load_xml(item.input_xml)
        root = new_movie(item) if root is None else root
        root.set("DataDirectory", item.folder)
        truth = Truth(item.path)
        if motion:
            movie = Movie(item, settings)
            if movie.frames < 2:
                raise TaskFailed("Sequence contains no elements: a movie of one frame has no motion")
            write_motion(context, item, root, movie, motion_grid or (2, 2, movie.frames))
            if averages:
                write_averages(context, item, movie, options.flag(prefix_o + "average_halves"), thumbnails)
                root_export = {"DoAverage": "True", "DoStack": "False", "DoDeconv": "False"}
                put(root, params("OptionsMovieExport", dict(root_export)))
            log.append("Motion: %s A in the first third" % root.get("MeanFrameMovement"))
        else:
            movie_size(item.path)
        if ctf:
            write_frame_ctf(context, item, root, truth, ctf_grid or (2, 2, 1), prefix_c)
            log.append("CTF fitted to %s A" % root.get("CTFResolutionEstimate"))
        order = {tag: number for number, tag in enumerate(FRAME_ORDER)}
        root[:] = sorted(root, key=lambda e: order.get(e.tag, 99))
        save_xml(item.output_xml, root)

    names = {
        "fs_motion_and_ctf": "align_and_ctf_frameseries",
        "fs_motion": "motion_frameseries",
        "fs_ctf": "ctf_movies",
    }
    stage = {"fs_motion_and_ctf": "motionctf", "fs_motion": "motion", "fs_ctf": "ctf"}[verb]
    copy_settings(context, names[verb])
    run_distributed(context, stage, work)


def copy_settings(context: Context, name: str) -> None:
    os.makedirs(context.output, exist_ok=True)
    with contextlib.suppress(OSError, shutil.SameFileError):
        shutil.copyfile(context.options.text("settings"), os.path.join(context.output, name + ".settings"))


def write_motion(context: Context, item: Item, root: ET.Element, movie: Movie, size: Tuple[int, int, int]) -> None:
    """Tracks in Angstrom: the movie's own drift where it was measured, with the small rest that a fit leaves."""
    numbers = chance(item.name, "motion")
    track = movie.track
    if not track:
        x = y = 0.0
        track = []
        for number in range(movie.frames):
            track.append((x, y))
            step = 1.2 * math.exp(-number / 4.0) + 0.15
            x, y = x + numbers.gauss(0, step), y + numbers.gauss(0, step)
    pixel = context.settings.pixel
    smooth = [(x * pixel + numbers.gauss(0, 0.05), y * pixel + numbers.gauss(0, 0.05)) for x, y in track]
    steps = [math.hypot(b[0] - a[0], b[1] - a[1]) for a, b in zip(smooth, smooth[1:])]
    third = steps[: max(1, len(smooth) // 3)]
    root.set("MeanFrameMovement", num(sum(third) / len(third)))
    tracks = {}
    for gy in range(size[1]):
        for gx in range(size[0]):
            tilt = ((gx + 0.5) / size[0] - 0.5) * 0.2, ((gy + 0.5) / size[1] - 0.5) * 0.2
            tracks["%d_%d" % (gx, gy)] = {
                "x": [round(x * (1 + tilt[0]), 4) for x, _ in smooth],
                "y": [round(y * (1 + tilt[1]), 4) for _, y in smooth],
            }
    write_text(item.out("average", item.name + "_motion.json"), json.dumps(tracks))
    put(root, params("OptionsMovement", {"PixelSize": pixel, "RangeMin": 0.05, "RangeMax": 0.25, "Bfactor": -500}))
    count = len(smooth)
    put(root, grid("GridMovementX", (1, 1, count), [x for x, _ in smooth]))
    put(root, grid("GridMovementY", (1, 1, count), [y for _, y in smooth]))
    nodes = size[0] * size[1]
    put(root, grid("GridLocalMovementX", (size[0], size[1], 1), [numbers.gauss(0, 0.2) for _ in range(nodes)]))
    put(root, grid("GridLocalMovementY", (size[0], size[1], 1), [numbers.gauss(0, 0.2) for _ in range(nodes)]))


def write_averages(context: Context, item: Item, movie: Movie, halves: bool, thumbnails: Optional[float]) -> None:
    settings = context.settings
    factor = settings.pixel / settings.binned
    nx, ny = even(movie.nx * factor), even(movie.ny * factor)
    path, mode = item.out("average", item.name + ".mrc"), half_mode()
    parts = [item.out("average", name, item.name + ".mrc") for name in ("even", "odd")] if halves else []
    if not movie.halves:
        for target in [path] + parts:
            write_sparse_mrc(target, nx, ny, 1, settings.binned, mode)
        return
    pictures = [scaled(resample(image, nx, ny), 2.0 / movie.frames) for image in movie.halves]
    for target, picture in zip(parts, pictures):
        write_mrc(target, [picture], 1, settings.binned, mode)
    whole = scaled(add(pictures[0], pictures[1]), 0.5)
    write_mrc(path, [whole], 1, settings.binned, mode)
    if thumbnails is not None:
        write_png(item.out("thumbnails", item.name + ".png"), whole, int(thumbnails))


def wavelength(kilovolt: float) -> float:
    """Electron wavelength in Angstrom."""
    volt = kilovolt * 1000
    return 12.2643 / math.sqrt(volt * (1 + 0.978466e-6 * volt))


def thon(defocus_um: float, kilovolt: float, cs_mm: float, frequency: float) -> float:
    """|CTF| at a frequency in 1/Angstrom."""
    lam = wavelength(kilovolt)
    phase = math.pi * lam * defocus_um * 1e4 * frequency**2 - math.pi / 2 * cs_mm * 1e7 * lam**3 * frequency**4
    return abs(math.sin(phase + 0.07))


def spectrum_image(defocus: float, kilovolt: float, cs: float, pixel: float, numbers: random.Random) -> Image:
    """Half of a power spectrum with Thon rings, 64 x 32 pixels."""
    side = 64
    table = [thon(defocus, kilovolt, cs, k / side / pixel) ** 2 * math.exp(-k / 20) for k in range(side)]
    result = []
    for y in range(side // 2):
        row = []
        for x in range(side):
            row.append(table[min(side - 1, int(math.hypot(x - side // 2, y)))] + numbers.random() * 0.1)
        result.append(row)
    return result


def spectrum_curve(
    defocus: float, kilovolt: float, cs: float, pixel: float, noise: float, key: str
) -> List[Tuple[float, float]]:
    numbers = chance(key, "curve")
    result = []
    for step in range(64):
        k = step / 128
        value = 2000 / (1 + (40 * k) ** 2) + 60 * thon(defocus, kilovolt, cs, k / pixel) ** 2 * math.exp(-8 * k)
        result.append((k, value + numbers.gauss(0, noise)))
    return result


def ctf_params(context: Context, prefix: str, defocus: float, delta: float, angle: float) -> Dict[str, object]:
    options = context.options
    return {
        "PixelSize": context.settings.binned,
        "PixelSizeDeltaPercent": "0",
        "PixelSizeAngle": "0",
        "Distortion": "0, 0, 0",
        "Cs": options.number(prefix + "cs", 2.7),
        "Cc": 2.7,
        "Voltage": options.number(prefix + "voltage", 300),
        "Defocus": defocus,
        "DefocusDelta": delta,
        "DefocusAngle": angle,
        "Amplitude": options.number(prefix + "amplitude", 0.07),
        "Bfactor": "0",
        "BfactorDelta": "0",
        "BfactorAngle": "0",
        "Scale": "1",
        "PhaseShift": "0",
        "BeamTilt": "0, 0",
        "BeamTilt2": "0, 0",
        "ZernikeCoeffsOdd": "",
        "ZernikeCoeffsEven": "",
        "Thickness": "0",
    }


def ctf_options(context: Context, prefix: str, low: str, high: str) -> Dict[str, object]:
    options = context.options
    return {
        "Window": int(options.number(prefix + "window", 512)),
        "RangeMin": options.number(low, 30),
        "RangeMax": options.number(high, 4),
        "Voltage": options.number(prefix + "voltage", 300),
        "Cs": options.number(prefix + "cs", 2.7),
        "Amplitude": options.number(prefix + "amplitude", 0.07),
        "DoPhase": "True" if options.flag(prefix + "fit_phase") else "False",
        "ZMin": options.number(prefix + "defocus_min", 0.5),
        "ZMax": options.number(prefix + "defocus_max", 5.0),
    }


def write_frame_ctf(
    context: Context, item: Item, root: ET.Element, truth: Truth, size: Tuple[int, int, int], prefix: str
) -> None:
    """Defocus with the gradient that the tilted specimen has: its sign holds the true handedness.

    The specimen's plane at image position (u, v) from the centre lies u' tan(angle) deeper, u' across the tilt axis and
    the angle as ``ts_import`` writes it by default (minus the stage's); defocus grows with depth, or shrinks where the
    angles are to be inverted.
    """
    options = context.options
    low, high = options.number(prefix + "defocus_min", 0.5), options.number(prefix + "defocus_max", 5.0)
    defocus = min(max(truth.tilt_defocus(), low), high)
    numbers = chance(item.name, "ctf")
    nx, ny, _ = movie_size(item.path)
    axis = math.radians(float(truth.axis) if truth.axis is not None else 85.0)
    slope = math.tan(math.radians(-truth.angle)) * (-1 if truth.flip else 1)
    # A small field would hide the gradient behind the noise of a fit; a real one is several thousand Angstrom wide.
    field = max(1.0, 3000.0 / (nx * context.settings.pixel))
    values = []
    for _z in range(size[2]):
        for y in range(size[1]):
            for x in range(size[0]):
                u = (x / (size[0] - 1) - 0.5 if size[0] > 1 else 0.0) * nx * context.settings.pixel * field
                v = (y / (size[1] - 1) - 0.5 if size[1] > 1 else 0.0) * ny * context.settings.pixel * field
                across = u * math.cos(axis) + v * math.sin(axis)
                values.append(defocus + slope * across * 1e-4 + numbers.gauss(0, 0.01))
    delta, angle = abs(numbers.gauss(0.02, 0.01)), numbers.uniform(0, 180)
    resolution = truth.resolution(context.settings.binned)
    root.set("CTFResolutionEstimate", num(resolution))
    put(root, params("OptionsCTF", ctf_options(context, prefix, prefix + "range_min", prefix + "range_max")))
    put(root, params("CTF", ctf_params(context, prefix, defocus, delta, angle)))
    put(root, grid("GridCTF", size, values))
    put(root, grid("GridCTFDefocusDelta", (1, 1, 1), [delta]))
    put(root, grid("GridCTFDefocusAngle", (1, 1, 1), [angle]))
    put(root, grid("GridCTFPhase", (1, 1, 1), [0.0]))
    voltage, cs = options.number(prefix + "voltage", 300), options.number(prefix + "cs", 2.7)
    pairs = spectrum_curve(defocus, voltage, cs, context.settings.binned, 4.0, item.name)
    put(root, curve("PS1D", pairs))
    put(root, curve("SimulatedBackground", pairs[::8]))
    put(root, curve("SimulatedScale", [(k, max(1.0, 60 * math.exp(-8 * k))) for k, _ in pairs[::8]]))
    picture = spectrum_image(defocus, voltage, cs, context.settings.binned, numbers)
    write_mrc(item.out("powerspectrum", item.name + ".mrc"), [picture], 1, context.settings.binned, 2)


# Import of tilt series.

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()


def parse_time(text: str) -> Tuple[int, ...]:
    """``dd-MMM-yy`` or ``dd-MMM-yyyy``, then ``HH:mm:ss``."""
    match = re.match(r"^\s*(\d{1,2})-([A-Za-z]{3})-(\d{4}|\d{2})\s+(\d{2}):(\d{2}):(\d{2})\s*$", text)
    if not match or match.group(2).lower() not in MONTHS:
        raise TaskFailed("DateTime '%s' was not in the expected format" % text)
    year = int(match.group(3))
    year += 2000 if year < 100 else 0
    month = MONTHS.index(match.group(2).lower()) + 1
    return (year, month, int(match.group(1)), int(match.group(4)), int(match.group(5)), int(match.group(6)))


class Section:
    """One exposure of an mdoc."""

    def __init__(self, values: Dict[str, str], mdoc: str) -> None:
        for name in ("TiltAngle", "SubFramePath", "DateTime"):
            if name not in values:
                raise TaskFailed("%s is missing in a ZValue section of %s" % (name, mdoc))
        self.angle = float(values["TiltAngle"])
        self.movie = re.split(r"[\\/]", values["SubFramePath"].strip())[-1]
        self.root = os.path.splitext(self.movie)[0]
        self.time = parse_time(values["DateTime"])
        self.dose = 0.0
        self.intensity = 0.0


def read_mdoc(path: str) -> Tuple[Optional[float], List[Section]]:
    axis: Optional[float] = None
    sections: List[Section] = []
    values: Optional[Dict[str, str]] = None
    with open(path, encoding="utf-8-sig", errors="replace") as stream:
        for line in stream:
            line = line.strip()
            found = re.search(r"Tilt axis angle = (-?[\d.]+),|TiltAxisAngle = (-?[\d.]+)(?: |$)", line)
            if found:
                axis = float(found.group(1) or found.group(2))
            if line.startswith("["):
                if values is not None:
                    sections.append(Section(values, path))
                values = {} if line.startswith("[ZValue") else None
            elif "=" in line and values is not None:
                name, _, value = line.partition("=")
                values[name.strip()] = value.strip()
    if values is not None:
        sections.append(Section(values, path))
    return axis, sections


def ts_import(verb: str, options: Options, version: str) -> None:
    folder, frames, output = options.text("mdocs"), options.text("frameseries"), os.path.abspath(options.text("output"))
    rules = (
        (os.path.isdir(folder), "Mdocs directory %s doesn't exist" % folder),
        (os.path.isdir(frames), "Frame series directory %s doesn't exist" % frames),
        (options.number("tilt_exposure") > 0, "--tilt_exposure must be higher than 0"),
        (not (options.flag("auto_zero") and "tilt_offset" in options.given), "--auto_zero excludes --tilt_offset"),
        (options.number("max_tilt") > 0, "--max_tilt must be higher than 0"),
        (options.number("min_intensity") >= 0, "--min_intensity can't be negative"),
        (0 <= options.number("max_mask") <= 1, "--max_mask must be between 0 and 1"),
        (options.number("min_ntilts") >= 1, "--min_ntilts must be at least 1"),
    )
    for good, message in rules:
        if not good:
            raise Thrown(message)
    xmls = {os.path.splitext(n)[0]: load_xml(os.path.join(frames, n)) for n in os.listdir(frames) if n.endswith(".xml")}
    if not xmls:
        raise Thrown("No XML files found in %s" % frames)
    mdocs = sorted(n for n in os.listdir(folder) if fnmatch.fnmatch(n, options.text("pattern") or "*.mdoc"))
    exclude = options.text("exclude_pattern")
    mdocs = [n for n in mdocs if not exclude or not fnmatch.fnmatch(n, exclude)]
    misbehaviour = Misbehaviour(verb)
    os.makedirs(output, exist_ok=True)
    processed: List[Dict[str, Any]] = []
    failed: List[Dict[str, Any]] = []
    say("0/%d" % len(mdocs))
    for done, name in enumerate(mdocs, 1):
        stem = re.sub(r"\.mdoc$", "", name)
        stem = stem[:-4] if stem.endswith(".mrc") else stem
        path = os.path.join(output, stem + ".tomostar")
        del WRITTEN[:]
        started = time.time()
        how = misbehaviour.of(stem)
        try:
            act(how, stem)
            entry = {"Path": path, "ProcessingStatus": STATUS_UNPROCESSED}
            if how == "silent" or import_one(os.path.join(folder, name), path, xmls, options):
                processed.append(entry)
            if how == "half":
                halve()
            spend(stem, verb, started, 10.0 if how == "slow" else 1.0)
        except (TaskFailed, ValueError, OSError) as error:
            complain("Failed to parse %s: %s" % (name, error))
            failed.append({"Path": path, "ProcessingStatus": STATUS_LEAVE_OUT})
        say("\r%d/%d%s" % (done, len(mdocs), ", %d failed" % len(failed) if failed else ""))
    say("\nSuccessfully parsed %d MDOC files, %d failed\n" % (len(processed) + len(failed), len(failed)))
    write_json(os.path.join(output, "processed_items.json"), processed)
    if failed:
        write_json(os.path.join(output, "failed_items.json"), failed)


def import_one(mdoc: str, target: str, xmls: Dict[str, Optional[ET.Element]], options: Options) -> bool:
    """Write one tomostar. False where no tilt is left, which WarpTools counts as neither parsed nor failed."""
    frames = os.path.abspath(options.text("frameseries"))
    axis, sections = read_mdoc(mdoc)
    override = options.optional("override_axis")
    axis = override if override is not None else axis
    if axis is None:
        raise TaskFailed("No tilt axis angle found; set it with --override_axis")
    # The rank among the sections that are there now: one taken out lowers the dose of all later tilts.
    for rank, section in enumerate(sorted(sections, key=lambda s: s.time)):
        section.dose = rank * options.number("tilt_exposure")
    for section in sections:
        average = os.path.join(frames, "average", section.root + ".mrc")
        if section.root not in xmls:
            raise TaskFailed("Couldn't find %s.xml in the frame series" % section.root)
        if not os.path.exists(average):
            raise TaskFailed("Couldn't find average %s" % average)
        header = Mrc(average)
        if header.nx * header.ny > LARGE_PX:
            section.intensity = header.mean
        else:
            section.intensity = sum(map(sum, header.read())) / (header.nx * header.ny)

    def deselected(section: Section) -> bool:
        frame = xmls[section.root]
        return frame is not None and frame.get("UnselectManual") == "True"

    kept = sorted((s for s in sections if not deselected(s)), key=lambda s: s.angle)
    if kept and options.flag("auto_zero"):
        zero = max(kept, key=lambda s: s.intensity).angle
        for section in kept:
            section.angle -= zero
    for section in kept:
        section.angle += options.number("tilt_offset")
    kept = [s for s in kept if abs(s.angle) <= options.number("max_tilt") + 0.05]
    least = options.number("min_intensity")
    if kept and least:
        low = [s for s in kept if abs(s.angle) <= 10] or kept
        middle = kept.index(max(low, key=lambda s: s.intensity))
        brightest = kept[middle].intensity

        def bright(section: Section) -> bool:
            return section.intensity >= least * brightest * math.cos(math.radians(section.angle))

        first = last = middle
        while first > 0 and bright(kept[first - 1]):
            first -= 1
        while last < len(kept) - 1 and bright(kept[last + 1]):
            last += 1
        kept = kept[first : last + 1]
    if not kept or len(kept) < options.number("min_ntilts"):
        return False
    sign = 1 if options.flag("dont_invert") else -1
    labels = ("wrpMovieName", "wrpAngleTilt", "wrpAxisAngle", "wrpDose", "wrpAverageIntensity", "wrpMaskedFraction")
    lines = ["", "data_", "", "loop_"] + ["_%s #%d" % (label, number) for number, label in enumerate(labels, 1)]
    for section in kept:
        movie = relative_to(os.path.join(frames, section.movie), os.path.dirname(target))
        lines.append(
            "  %s  %.2f  %.3f  %s  %.3f  %.3f"
            % (movie, sign * section.angle + 0.0, axis, num(section.dose), section.intensity, 0.0)
        )
    write_text(target, "\n".join(lines) + "\n")
    return True


# Tilt series.


def need_tilt(context: Context) -> None:
    if any(not item.is_tilt for item in context.items):
        raise Thrown("Unable to cast object of type 'Warp.Movie' to type 'Warp.TiltSeries'.")


def load_series(item: Item) -> TiltSeries:
    root = load_xml(item.output_xml)
    if root is None:
        root = load_xml(item.input_xml)
    return TiltSeries(item.path, root)


def check_angpix(context: Context) -> float:
    """Pixel size of the stack in Angstrom: not finer than the averages."""
    wanted = context.options.optional("angpix")
    binned = context.settings.binned
    if wanted is not None and wanted < binned - 1e-6:
        raise Thrown("--angpix can't be smaller than the binned pixel size of the original data")
    return binned if wanted is None else wanted


def stack(context: Context, item: Item, series: TiltSeries, pixel: float) -> None:
    """The stack of used tilts, their angles and their thumbnails."""
    series.need_raw()
    series.need_averages()
    folder = item.out("tiltstack", item.name)
    used = series.used()
    first = Mrc(series.average(used[0]))
    source = first.pixel_size or context.settings.binned
    nx, ny = even(first.nx * source / pixel), even(first.ny * source / pixel)
    path = os.path.join(folder, item.name + ".st")
    if first.nx * first.ny > LARGE_PX:
        write_sparse_mrc(path, nx, ny, len(used), pixel, 2)
        pictures: List[Image] = []
    else:
        pictures = [resample(Mrc(series.average(index)).read(), nx, ny) for index in used]
        write_mrc(path, pictures, len(used), pixel, 2)
    write_text(os.path.join(folder, item.name + ".rawtlt"), "".join("%.2f\n" % series.angles[index] for index in used))
    blank: Image = [[0.0] * 8 for _ in range(8)]
    for position, index in enumerate(used):
        stem = os.path.splitext(os.path.basename(series.movies[index]))[0]
        write_png(os.path.join(folder, "thumbnails", stem + ".png"), pictures[position] if pictures else blank, 64)


def ts_stack(context: Context) -> None:
    need_tilt(context)
    pixel = check_angpix(context)

    def work(item: Item, log: List[str]) -> None:
        series = load_series(item)
        stack(context, item, series, pixel)
        series.save(item.output_xml)
        log.append("Wrote %d tilts at %.2f A" % (len(series.used()), pixel))

    run_distributed(context, "stack", work)


def rotate(angle_deg: float, x: float, y: float) -> Tuple[float, float]:
    """Counter-clockwise rotation."""
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return c * x - s * y, s * x + c * y


def true_offset(series: TiltSeries, index: int, pixel: float) -> Tuple[float, float]:
    """Image shift in Angstrom, as an alignment finds it: within a few Angstrom of the truth."""
    truth = Truth(series.raw_movie(index))
    numbers = chance(series.name, series.movies[index], "shift")
    if "shift_px" in truth.tilt:
        x, y = truth.tilt["shift_px"]
        return x * pixel + numbers.gauss(0, 0.5), y * pixel + numbers.gauss(0, 0.5)
    drift = math.sin(math.radians(series.angles[index]))
    return 60 * drift + numbers.gauss(0, 25), numbers.gauss(0, 25)


def found_axis(series: TiltSeries, start: float) -> float:
    """The tilt axis that a refinement of this series finds, in degrees."""
    truth = Truth(series.raw_movie(0))
    numbers = chance(series.name, "axis")
    return (float(truth.axis) if truth.axis is not None else start - 0.6) + numbers.gauss(0, 0.3)


def write_alignment(
    series: TiltSeries, folder: str, stem: str, axis: float, pixel: float, offset_deg: float, raw_pixel: float
) -> List[Tuple[float, float, float]]:
    """IMOD's ``.xf`` (of used tilts) and ``.tlt``. Returns rotation and shifts in px of the stack, for the ``.aln``."""
    transforms, angles, table = [], [], []
    c, s = math.cos(math.radians(axis)), math.sin(math.radians(axis))
    for index in series.used():
        x, y = true_offset(series, index, raw_pixel)
        dx, dy = rotate(-axis, -x / pixel, -y / pixel)
        transforms.append("%12.7f%12.7f%12.7f%12.7f%12.3f%12.3f\n" % (c, s, -s, c, dx, dy))
        angles.append("%7.2f\n" % (series.angles[index] + offset_deg))
        table.append((axis, x / pixel, y / pixel))
    write_text(os.path.join(folder, stem + ".xf"), "".join(transforms))
    write_text(os.path.join(folder, stem + ".tlt"), "".join(angles))
    return table


def import_alignment(series: TiltSeries, folder: str, pixel: float, min_fov: float, field: float) -> None:
    """Take rotations, shifts and angles from the first ``.xf`` that is found. Raises TaskFailed.

    ``pixel``: of the alignment, ``field``: width of an image, both in Angstrom. An old ``<ts>.xf`` in the folder comes
    before AreTomo's, whatever its age.
    """

    def first(suffix: str) -> str:
        places = ("", "..", series.name + "_Imod", series.name + "_aligned_Imod", "../" + series.name + "_Imod")
        for place in places:
            for stem in (series.name, series.name + "_st"):
                candidate = os.path.normpath(os.path.join(folder, place, stem + suffix))
                if os.path.exists(candidate):
                    return candidate
        raise TaskFailed("Could not find %s%s in %s" % (series.name, suffix, folder))

    with open(first(".xf")) as stream:
        lines = [[float(word) for word in line.split()] for line in stream if line.strip()]
    with open(first(".tlt")) as stream:
        angles = [float(line) for line in stream if line.strip()]
    used = series.used()
    if len(lines) != len(used):
        series.use = [True] * len(series.use)
        used = series.used()
    if len(lines) != len(used) or len(angles) < len(used):
        raise TaskFailed("%d transforms for %d tilts" % (len(lines), len(used)))
    for line, angle, index in zip(lines, angles, used):
        axis = math.degrees(math.atan2(line[1], line[0]))
        x, y = rotate(axis, -line[4] * pixel, -line[5] * pixel)
        series.axis[index], series.offset_x[index], series.offset_y[index] = round(axis, 4), round(x, 4), round(y, 4)
        series.angles[index] = angle
        series.fov[index] = max(0.0, 1 - (abs(x) + abs(y)) / max(field, 1.0))
        if series.fov[index] < min_fov:
            series.use[index] = False


def image_width(series: TiltSeries, fallback: float) -> float:
    try:
        header = Mrc(series.average(series.used()[0]))
    except (TaskFailed, IndexError):
        return fallback
    return float(header.nx * (header.pixel_size or 1.0))


def align_verb(context: Context) -> None:
    """ts_aretomo, ts_aretomo3, ts_etomo_patches and ts_etomo_fiducials."""
    need_tilt(context)
    options, verb = context.options, context.verb
    pixel = check_angpix(context)
    aretomo = verb.startswith("ts_aretomo")
    low = 0 if verb == "ts_aretomo3" else 1
    context.stop_unless(0 <= options.number("min_fov") <= 1, "--min_fov must be between 0 and 1")
    if aretomo:
        context.stop_unless(options.number("alignz") >= low, "--alignz must be at least 1")
        context.stop_unless(options.number("axis_iter") >= 0, "--axis_iter can't be negative")
        context.stop_unless(options.number("axis_batch") >= 0, "--axis_batch can't be negative")
        patches = options.text("patches")
        form = r"^\d+x\d+$" if verb == "ts_aretomo" else r"^\d+,\d+$"
        context.stop_unless(not patches or re.match(form, patches) is not None, "Could not parse --patches")
        program = options.text("exe")
        known = program in ("AreTomo2", "AreTomo3", "AreTomo") or shutil.which(program) is not None
        context.stop_unless(known, "Executable %s not found in PATH" % program)
    if verb == "ts_etomo_patches":
        context.stop_unless(options.number("patch_size") > 0, "--patch_size must be positive")
    stage = {"ts_aretomo": "aretomo", "ts_aretomo3": "aretomo3", "ts_etomo_patches": "etomopatch"}.get(verb, "etomofid")
    search_axis = options.number("axis_iter") > 0 if aretomo else options.flag("do_axis_search")
    passes = 1 + int(options.number("axis_iter")) if aretomo else (2 if search_axis else 1)
    given = options.optional("axis" if aretomo else "initial_axis")
    if given is None:
        means = [sum(series.axis) / len(series.axis) for series in map(load_series, context.items)]
        given = sum(means) / len(means) if means else 0.0
    start = given

    def work(item: Item, log: List[str]) -> None:
        series = load_series(item)
        folder = item.out("tiltstack", item.name)
        stack(context, item, series, pixel)
        axis = found_axis(series, start) if search_axis else start
        raw_pixel = context.settings.pixel
        if aretomo:
            # -TiltCor 1: the sample's own inclination goes into the angles.
            left = Truth(series.raw_movie(0)).level_y - levelled(item, series)
            tilt = left + chance(item.name, "alpha").gauss(0, 0.4)
            inner = "%s_aligned_Imod" % item.name if verb == "ts_aretomo" else "%s_Imod" % item.name
            place = os.path.join(folder, inner)
            table = write_alignment(series, place, item.name + "_st", axis, pixel, tilt, raw_pixel)
            write_aln(os.path.join(folder, item.name + ".aln"), series, table, tilt, folder)
            small = Mrc(os.path.join(folder, item.name + ".st"))
            write_sparse_mrc(os.path.join(folder, item.name + "_aligned.mrc"), 16, 16, small.nz, pixel, 2)
            log.append("AreTomo: tilt axis %.4f, tilt offset %.2f" % (axis, tilt))
        else:
            write_alignment(series, folder, item.name, axis, pixel, 0.0, raw_pixel)
            numbers = chance(item.name, "residual")
            mean, spread = numbers.uniform(0.35, 1.1), numbers.uniform(0.2, 0.5)
            text = " Residual error mean and sd:    %.3f    %.3f nm\n" % (mean, spread)
            write_text(os.path.join(folder, "align.log"), text)
            write_text(os.path.join(folder, "taError.log"), text)
            write_text(os.path.join(folder, item.name + ".edf"), "#STAND-IN\nSetup.DatasetName=%s\n" % item.name)
            log.append("tiltalign: tilt axis %.4f%s" % (axis, text.rstrip()))
        import_alignment(series, folder, pixel, options.number("min_fov"), image_width(series, 1.0))
        series.save(item.output_xml)
        if options.flag("delete_intermediate"):
            for name in os.listdir(folder):
                if name != "thumbnails":
                    path = os.path.join(folder, name)
                    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

    run_distributed(context, stage, work, passes)


def write_aln(
    path: str, series: TiltSeries, table: Sequence[Tuple[float, float, float]], tilt: float, folder: str
) -> None:
    size = Mrc(os.path.join(folder, series.name + ".st"))
    lines = [
        "# AreTomo Alignment / Priims bprmMn ",
        "# RawSize = %d %d %d" % (size.nx, size.ny, size.nz),
        "# NumPatches = 0",
        "# AlphaOffset = %8.2f" % tilt,
        "# BetaOffset =     0.00",
        "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT",
    ]
    for position, (index, row) in enumerate(zip(series.used(), table)):
        form = "%5d  %9.4f  %9.5f  %9.3f  %9.3f  %7.2f  %7.2f  %7.2f  %7.2f  %8.2f"
        lines.append(form % (position, row[0], 1.0, row[1], row[2], 1, 1, 1, 0, series.angles[index] + tilt))
    write_text(path, "\n".join(lines) + "\n")


def ts_import_alignments(context: Context) -> None:
    need_tilt(context)
    options = context.options
    pixel = options.number("alignment_angpix")
    context.stop_unless(pixel > 0, "--alignment_angpix must be higher than 0")
    context.stop_unless(options.number("min_fov") <= 1, "--min_fov can't be higher than 1")

    def work(item: Item, log: List[str]) -> None:
        series = load_series(item)
        folder = os.path.join(options.text("alignments"), item.name)
        import_alignment(series, folder, pixel, options.number("min_fov"), image_width(series, 1.0))
        series.save(item.output_xml)
        log.append("Imported %d transforms" % len(series.used()))

    run_iterated(context, "import", work)


def levelled(item: Item, series: TiltSeries) -> float:
    """What an alignment has already added to the angles, in degrees: it is not found again."""
    return series.angles[series.used()[0]] - float(read_tomostar(item.path)["wrpAngleTilt"][series.used()[0]])


def ts_autolevel(context: Context) -> None:
    need_tilt(context)
    check_angpix(context)
    context.stop_unless(context.options.number("patch_size") >= 80, "--patch_size must be at least 80")

    def work(item: Item, log: List[str]) -> None:
        series = load_series(item)
        series.need_averages()
        truth = Truth(series.raw_movie(0))
        numbers = chance(item.name, "level")
        applied = levelled(item, series)
        series.root.set("LevelAngleX", num(round(truth.level_x + numbers.gauss(0, 0.2), 4)))
        series.root.set("LevelAngleY", num(round(truth.level_y - applied + numbers.gauss(0, 0.2), 4)))
        series.save(item.output_xml)
        log.append("Level X %s Y %s" % (series.root.get("LevelAngleX"), series.root.get("LevelAngleY")))

    run_distributed(context, "autolevel", work)


def between(values: Dict[Tuple[int, int], float], size: Sequence[int], x: float, y: float) -> float:
    """Bilinear between the nodes of a grid; x and y are fractions of the image, the edge is repeated."""
    gx, gy = min(max(x, 0.0), 1.0) * (size[0] - 1), min(max(y, 0.0), 1.0) * (size[1] - 1)
    x0, y0 = min(int(gx), max(size[0] - 2, 0)), min(int(gy), max(size[1] - 2, 0))
    x1, y1 = min(x0 + 1, size[0] - 1), min(y0 + 1, size[1] - 1)
    fx, fy = gx - x0, gy - y0
    top = values[(x0, y0)] * (1 - fx) + values[(x1, y0)] * fx
    bottom = values[(x0, y1)] * (1 - fx) + values[(x1, y1)] * fx
    return top * (1 - fy) + bottom * fy


def hand_correlation(context: Context, series: TiltSeries) -> float:
    """Correlation of the defocus gradients that were fitted with those that the geometry predicts.

    Two points at the left and right end of the volume are followed through all tilts; AreAnglesInverted is left out.
    """
    width = context.settings.number("Tomo/DimensionsX", 3712) * context.settings.pixel
    fitted, assumed = [], []
    for index in series.used():
        frame = series.frame_xml(index)
        nodes = frame.findall("GridCTF/Node") if frame is not None else []
        grid_element = frame.find("GridCTF") if frame is not None else None
        if grid_element is None or len(nodes) < 2:
            raise Thrown("Frame series of %s needs a defocus grid of at least 2 nodes" % series.name)
        size = [int(grid_element.get(name, "1")) for name in ("Width", "Height")]
        values = {(int(n.get("X", "0")), int(n.get("Y", "0"))): float(n.get("Value", "0")) for n in nodes}
        try:
            header = Mrc(series.average(index))
            image = (header.nx * header.pixel_size, header.ny * header.pixel_size)
        except TaskFailed:
            image = (width, width)

        angle = math.radians(series.angles[index])
        ends = []
        for x in (-width / 2, width / 2):
            u, v = rotate(series.axis[index], x * math.cos(angle), 0.0)
            u, v = u + series.offset_x[index], v + series.offset_y[index]
            ends.append(between(values, size, u / image[0] + 0.5, v / image[1] + 0.5))
        fitted.append(ends[1] - ends[0])
        assumed.append(width * math.sin(angle))
    return correlation(fitted, assumed)


def correlation(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    spread = math.sqrt(sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b))
    return sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b)) / spread if spread else 0.0


def ts_defocus_hand(context: Context) -> None:
    need_tilt(context)
    options = context.options
    names = [name for name in ("check", "set_auto", "set_flip", "set_noflip", "set_switch") if options.flag(name)]
    context.stop_unless(len(names) == 1, "Exactly one of --check, --set_auto, --set_flip, --set_noflip, --set_switch")
    total = len(context.items)
    say("0/%d" % total)
    flip: Optional[bool] = {"set_flip": True, "set_noflip": False}.get(names[0])
    if names[0] in ("check", "set_auto"):
        begun = time.time()
        say("0/%d" % total)
        scores = []
        for done, item in enumerate(context.items, 1):
            how = context.misbehaviour.of(item.name) if names[0] == "check" else ""
            try:
                act(how, item.name)
            except TaskFailed as error:
                raise Thrown(str(error)) from error
            scores.append(hand_correlation(context, load_series(item)))
            progress(done, total, 0, begun)
        average = sum(scores) / len(scores) if scores else 0.0
        flip = average < 0
        say("\nAverage correlation: %.3f\n" % average)
        say("The average correlation is %s, " % ("negative" if flip else "positive"))
        say("which means that the defocus handedness should be set to '%s'\n" % ("flip" if flip else "no flip"))
        if names[0] == "check":
            return

    def work(item: Item, log: List[str]) -> None:
        series = load_series(item)
        inverted = series.root.get("AreAnglesInverted") == "True"
        value = not inverted if flip is None else flip
        series.root.set("AreAnglesInverted", "True" if value else "False")
        series.save(item.output_xml)
        log.append("AreAnglesInverted %s" % value)

    run_iterated(context, "hand", work)


def ts_ctf(context: Context) -> None:
    need_tilt(context)
    options, binned = context.options, context.settings.binned
    low, high = options.number("range_low"), options.number("range_high")
    for good, message in (
        (options.number("window") >= 128, "--window must be at least 128"),
        (low <= 999 and low > high, "--range_low must be at most 999, and higher than --range_high"),
        (
            high >= 1 and high > 2 * binned,
            "--range_high can't be lower than the binned pixel size's Nyquist (%.2f A)" % (2 * binned),
        ),
        (options.number("defocus_min") <= options.number("defocus_max"), "--defocus_min can't be higher than max"),
        (options.number("voltage") > 0, "--voltage must be higher than 0"),
        (options.number("cs") > 0, "--cs must be higher than 0"),
        (0 <= options.number("amplitude") <= 1, "--amplitude must be between 0 and 1"),
        (options.number("auto_hand") >= 0, "--auto_hand can't be negative"),
    ):
        context.stop_unless(good, message)
    auto = int(options.number("auto_hand"))
    flip: List[bool] = []
    if auto:
        scores = [hand_correlation(context, load_series(item)) for item in context.items[:auto]]
        average = sum(scores) / len(scores) if scores else 0.0
        say("Average correlation: %.3f\n" % average)
        flip.append(average < 0)
    copy_settings(context, "ctf_tiltseries")

    def work(item: Item, log: List[str]) -> None:
        series = load_series(item)
        series.need_raw()
        series.need_averages()
        if flip:
            series.root.set("AreAnglesInverted", "True" if flip[0] else "False")
        inverted = series.root.get("AreAnglesInverted") == "True"
        defocus, deltas, angles, pictures, resolutions = [], [], [], [], []
        voltage, cs = options.number("voltage"), options.number("cs")
        for index in range(len(series.angles)):
            frame = series.frame_xml(index)
            start = frame.find("CTF/Param[@Name='Defocus']") if frame is not None else None
            if start is None:
                raise TaskFailed("Frame series of %s has no CTF" % series.movies[index])
            truth = Truth(series.raw_movie(index))
            numbers = chance(item.name, series.movies[index], "ctf")
            value = float(start.get("Value", "3")) + numbers.gauss(0, 0.01)
            defocus.append(min(max(value, options.number("defocus_min")), options.number("defocus_max")))
            deltas.append(abs(numbers.gauss(0.015, 0.005)))
            angles.append(chance(item.name, "astigmatism").uniform(0, 180) + numbers.gauss(0, 3))
            # With the wrong handedness the fit of tilted images blurs.
            blur = 1.0 if inverted == truth.flip else 1 + 0.6 * abs(math.sin(math.radians(series.angles[index])))
            resolutions.append(truth.resolution(binned) * blur)
            pairs = spectrum_curve(defocus[-1], voltage, cs, binned, 6.0, item.name + str(index))
            put(series.root, curve("TiltPS1D", pairs, index))
            scale = [(k, max(1.0, 60 * math.exp(-8 * k))) for k, _ in pairs[::8]]
            put(series.root, curve("TiltSimulatedScale", scale, index))
            pictures.append(spectrum_image(defocus[-1], voltage, cs, binned, numbers))
        count = len(defocus)
        resolution = round(sorted(resolutions)[count // 3], 2)
        middle = min(range(count), key=lambda i: abs(series.angles[i]))
        series.root.set("CTFResolutionEstimate", num(resolution))
        put(series.root, params("OptionsCTF", ctf_options(context, "", "range_low", "range_high")))
        put(series.root, params("CTF", ctf_params(context, "", defocus[middle], deltas[middle], angles[middle])))
        put(series.root, grid("GridCTF", (1, 1, count), defocus))
        put(series.root, grid("GridCTFDefocusDelta", (1, 1, count), deltas))
        put(series.root, grid("GridCTFDefocusAngle", (1, 1, count), angles))
        put(series.root, grid("GridCTFPhase", (1, 1, count), [0.0] * count))
        put(series.root, curve("PS1D", spectrum_curve(defocus[middle], voltage, cs, binned, 2.0, item.name)))
        series.save(item.output_xml)
        write_mrc(item.out("powerspectrum", item.name + ".mrc"), pictures, count, binned, 2)
        log.append("CTF of %d tilts fitted to %.2f A" % (count, resolution))

    run_distributed(context, "ctf", work, 2 if auto else 1)


def filtered(row: List[float]) -> List[float]:
    """A short ramp filter along x: it sharpens what back-projection blurs."""
    padded = row[:1] * 5 + row + row[-1:] * 5
    c1, c3, c5 = 0.1013, 0.01126, 0.00405
    size = len(row)
    near = map(operator.add, padded[4 : size + 4], padded[6 : size + 6])
    far = map(operator.add, padded[2 : size + 2], padded[8 : size + 8])
    edge = map(operator.add, padded[:size], padded[10 : size + 10])
    sharp = [0.25 * v - c1 * a - c3 * b - c5 * c for v, a, b, c in zip(row, near, far, edge)]
    # Its noise at the highest frequencies hides small specimens.
    return [0.25 * a + 0.5 * b + 0.25 * c for a, b, c in zip(sharp[:1] + sharp, sharp, sharp[1:] + sharp[-1:])]


def aligned_image(series: TiltSeries, index: int, half: str, nx: int, ny: int, pixel: float) -> Image:
    """One tilt turned so that its axis runs along Y, shifts undone, at ``pixel`` Angstrom, filtered."""
    header = Mrc(series.average(index, half))
    if header.nx * header.ny > LARGE_PX:
        return synthetic_image(series, index, half, nx, ny, pixel)
    source = header.pixel_size or pixel
    width, height = max(2, round(header.nx * source / pixel)), max(2, round(header.ny * source / pixel))
    picture = resample(header.read(), width, height)
    values = [value for row in picture for value in row]
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values)) or 1.0
    c, s = math.cos(math.radians(series.axis[index])), math.sin(math.radians(series.axis[index]))
    x0 = width / 2 + series.offset_x[index] / pixel
    y0 = height / 2 + series.offset_y[index] / pixel
    result = []
    for y in range(ny):
        v = y - ny / 2
        row = []
        for x in range(nx):
            u = x - nx / 2
            column, line = int(c * u - s * v + x0), int(s * u + c * v + y0)
            inside = 0 <= column < width and 0 <= line < height
            row.append((picture[line][column] - mean) / deviation if inside else 0.0)
        result.append(filtered(row))
    return result


def synthetic_image(series: TiltSeries, index: int, half: str, nx: int, ny: int, pixel: float) -> Image:
    """An invented tilt image with a few dozen round particles, for movies that are too large to be summed here."""
    numbers = chance(series.name, index, half, "noise")
    image = [[numbers.gauss(0, 1.0) for _ in range(nx)] for _ in range(ny)]
    specimen = chance(series.name, "specimen")
    angle = math.radians(series.angles[index])
    for _ in range(40):
        x, y, z = specimen.uniform(-0.5, 0.5) * nx, specimen.uniform(-0.5, 0.5) * ny, specimen.uniform(-0.1, 0.1) * nx
        radius = specimen.uniform(1.5, 4.0) + 10 / pixel
        u, v = x * math.cos(angle) - z * math.sin(angle) + nx / 2, y + ny / 2
        for row in range(max(0, int(v - radius)), min(ny, int(v + radius) + 1)):
            for column in range(max(0, int(u - radius)), min(nx, int(u + radius) + 1)):
                if (row - v) ** 2 + (column - u) ** 2 <= radius * radius:
                    image[row][column] -= 2.0
    return [filtered(row) for row in image]


def back_project(
    series: TiltSeries,
    tilts: Sequence[int],
    half: str,
    size: Tuple[int, int, int],
    pixel: float,
    sections: Sequence[int],
) -> List[Image]:
    """Sections (z) of a back-projection of the tilts, one image each. Nearest neighbour, in Python's own loops."""
    nx, ny, nz = size
    level = float(series.root.get("LevelAngleY", "0"))
    pictures = [aligned_image(series, index, half, nx, ny, pixel) for index in tilts]
    angles = [math.radians(series.angles[index] + level) for index in tilts]
    result = []
    for z in sections:
        depth = z - nz / 2
        getters = []
        for angle in angles:
            c, s = math.cos(angle), math.sin(angle)
            columns = [min(nx - 1, max(0, int((x - nx / 2) * c - depth * s + nx / 2 + 0.5))) for x in range(nx)]
            getters.append(operator.itemgetter(*columns))
        section: Image = []
        for y in range(ny):
            section.append([float(v) for v in map(sum, zip(*[g(p[y]) for g, p in zip(getters, pictures)]))])
        result.append(section)
    return result


def ts_reconstruct(context: Context) -> None:
    need_tilt(context)
    options, settings = context.options, context.settings
    pixel = options.number("angpix")
    frames, alternating = options.flag("halfmap_frames"), options.flag("halfmap_tilts")
    for good, message in (
        (pixel > 0, "--angpix must be higher than 0"),
        (not (frames and alternating), "--halfmap_frames and --halfmap_tilts can't be used together"),
        (options.number("deconv_highpass") >= 10, "--deconv_highpass must be at least 10"),
        (options.number("subvolume_size") >= 16, "--subvolume_size must be at least 16"),
        (options.number("subvolume_padding") >= 1, "--subvolume_padding must be at least 1"),
    ):
        context.stop_unless(good, message)
    if frames and context.items:
        series = load_series(context.items[0])
        for half in ("even", "odd"):
            good = os.path.exists(series.average(0, half))
            context.stop_unless(good, "No %s averages found, run motion correction with halves first" % half)
    dimensions = [
        settings.number("Tomo/Dimensions" + name, default) for name, default in (("X", 3712), ("Y", 3712), ("Z", 1400))
    ]
    size = tuple(even(value * settings.pixel / pixel) for value in dimensions)

    def work(item: Item, log: List[str]) -> None:
        name = "%s_%.2fApx" % (item.name, pixel)
        target = item.out("reconstruction", name + ".mrc")
        if options.flag("dont_overwrite") and os.path.exists(target):
            log.append("%s exists, nothing to do" % target)
            return
        series = load_series(item)
        series.need_raw()
        series.need_averages()
        reconstruct(context, item, series, name, pixel, (size[0], size[1], size[2]))
        series.save(item.output_xml)
        log.append("Reconstructed %dx%dx%d at %.2f A" % (size[0], size[1], size[2], pixel))

    run_distributed(context, "reconstruct", work)


def reconstruct(
    context: Context, item: Item, series: TiltSeries, name: str, pixel: float, size: Tuple[int, int, int]
) -> None:
    """The tomogram, its halves and its deconvolved copy. Full and halves are linear: the full one is their mean."""
    options, mode = context.options, half_mode()
    used = series.used()
    sign = 1.0 if options.flag("dont_invert") else -1.0
    halves = options.flag("halfmap_frames") or options.flag("halfmap_tilts")
    work = size[0] * size[1] * size[2] * len(used) * (2 if halves else 1)
    # Too large: only a slab in the middle is filled, the rest of the file stays a hole.
    thick = size[2] if work <= WORK_LIMIT else max(1, int(size[2] * WORK_LIMIT / work))
    first = (size[2] - thick) // 2
    sections = range(first, first + thick)
    if options.flag("halfmap_frames"):
        parts = [back_project(series, used, half, size, pixel, sections) for half in ("even", "odd")]
    elif halves:
        parts = [back_project(series, used[start::2], "", size, pixel, sections) for start in (0, 1)]
    else:
        parts = [back_project(series, used, "", size, pixel, sections)]
    whole = parts[0]
    if halves:
        whole = [scaled(add(a, b), 0.5) for a, b in zip(parts[0], parts[1])]
    sample = [value for section in whole[:: max(1, thick // 8)] for row in section[::2] for value in row]
    mean = sum(sample) / len(sample)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in sample) / len(sample)) or 1.0
    if options.flag("dont_normalize"):
        mean, deviation = 0.0, 1.0

    def write(folder: Tuple[str, ...], volume: List[Image]) -> None:
        path = item.out("reconstruction", *(folder + (name + ".mrc",)))
        finished = [[[sign * (value - mean) / deviation for value in row] for row in section] for section in volume]
        if thick == size[2]:
            write_mrc(path, finished, size[2], pixel, mode)
            return
        write_sparse_mrc(path, size[0], size[1], size[2], pixel, mode)
        with open(path, "r+b") as stream:
            stream.seek(1024 + first * size[0] * size[1] * (4 if mode == 2 else 2))
            for section in finished:
                for row in section:
                    stream.write(pack(row, mode))

    def deconvolved(volume: List[Image]) -> List[Image]:
        half = (max(2, size[0] // 2), max(2, size[1] // 2))
        return [resample(resample(section, *half), size[0], size[1]) for section in volume]

    write((), whole)
    write_png(item.out("reconstruction", name + ".png"), scaled(whole[thick // 2], sign))
    if options.flag("deconv"):
        write(("deconv",), deconvolved(whole))
        # The halves are replaced by deconvolved data, as ts_reconstruct does.
        parts = [deconvolved(part) for part in parts]
    if halves:
        for half, part in zip(("even", "odd"), parts):
            write((half,), part)
        side = 32
        fall = [math.exp(-k / 12) for k in range(side)]
        weights: Image = [
            [fall[min(side - 1, int(math.hypot(x, y - side // 2)))] for x in range(side)] for y in range(side)
        ]
        write_mrc(item.out("reconstruction", "ctf", name + ".mrc"), [weights] * side, side, pixel, 2)


# Settings and selection.


def create_settings(verb: str, options: Options, version: str) -> None:
    output = options.text("output")
    given = options.given
    for good, message in (
        (not options.flag("recursive") or "folder_processing" in given, "--recursive needs --folder_processing"),
        (not ("bin" in given and "bin_angpix" in given), "--bin and --bin_angpix can't be used together"),
        (
            "eer_groupexposure" not in given or options.number("eer_groupexposure") > 0,
            "--eer_groupexposure must be higher than 0",
        ),
        (os.path.isdir(os.path.dirname(os.path.abspath(output))), "Could not find a part of the path '%s'" % output),
    ):
        if not good:
            raise Thrown(message)
    pixel = pixel_of(options.text("angpix"))
    bins = options.number("bin")
    if "bin_angpix" in given:
        bins = math.log(options.number("bin_angpix") / pixel) / math.log(2)
    exposure = options.number("exposure", 1.0)
    groups = int(options.number("eer_ngroups", 40))
    if "eer_groupexposure" in given:
        groups = round(exposure / options.number("eer_groupexposure"))
    dimensions = None
    if "tomo_dimensions" in given:
        dimensions = re.match(r"^(\d+)[xX](\d+)[xX](\d+)$", options.text("tomo_dimensions"))
        if dimensions is None:
            raise Thrown("Tomogram dimensions must be specified as 3 values separated by 'x'")
        if max(int(text) for text in dimensions.groups()) <= 3500:
            say("WARNING: no tomogram dimension is above 3500; are they really unbinned?\n")
    for name in ("gain_path", "defects_path"):
        if options.text(name) and not os.path.exists(options.text(name)):
            say("WARNING: %s %s not found\n" % (name, options.text(name)))
    how = Misbehaviour(verb).of(os.path.splitext(os.path.basename(output))[0])
    try:
        act(how, output)
    except TaskFailed as error:
        raise Thrown(str(error)) from error
    if how == "silent":
        return
    yes = {True: "True", False: "False"}
    extension = options.text("extension") or "*.mrc"
    root = ET.Element("Settings")
    for name in ("ProcessCTF", "ProcessMovement", "ProcessPicking"):
        ET.SubElement(root, "Param", {"Name": name, "Value": "True" if name != "ProcessPicking" else "False"})
    root.append(
        params(
            "Import",
            {
                "DataFolder": options.text("folder_data"),
                "ProcessingFolder": options.text("folder_processing"),
                "DoRecursiveSearch": yes[options.flag("recursive")],
                "Extension": extension,
                "PixelSize": pixel,
                "BinTimes": bins,
                "GainPath": options.text("gain_path"),
                "DefectsPath": options.text("defects_path"),
                "GainFlipX": yes[options.flag("gain_flip_x")],
                "GainFlipY": yes[options.flag("gain_flip_y")],
                "GainTranspose": yes[options.flag("gain_transpose")],
                "CorrectGain": yes[bool(options.text("gain_path"))],
                "CorrectDefects": yes[bool(options.text("defects_path"))],
                "DosePerAngstromFrame": -exposure,
                "EERGroupFrames": -groups,
            },
        )
    )
    root.append(
        params("CTF", {"Window": 512, "RangeMin": 30.0, "RangeMax": 4.0, "Voltage": 300, "Cs": 2.7, "Amplitude": 0.07})
    )
    root.append(params("Movement", {"RangeMin": 0.05, "RangeMax": 0.25, "Bfactor": -500}))
    root.append(params("Grids", {"CTFX": 5, "CTFY": 5, "CTFZ": 1, "MovementX": 5, "MovementY": 5, "MovementZ": 20}))
    sides = [int(text) for text in dimensions.groups()] if dimensions else [3712, 3712, 1400]
    root.append(params("Tomo", {"DimensionsX": sides[0], "DimensionsY": sides[1], "DimensionsZ": sides[2]}))
    save_xml(os.path.abspath(output), root)
    if how == "half":
        halve()


def pixel_of(text: str) -> float:
    """``--angpix``: a number, or a file whose header has it."""
    with contextlib.suppress(ValueError):
        value = float(text.replace(",", ""))
        if value <= 0:
            raise Thrown("--angpix must be higher than 0")
        return value
    files = sorted(glob.glob(text))
    if not files:
        raise Thrown("--angpix is neither a number nor a file: %s" % text)
    if files[0].endswith(".mdoc"):
        with open(files[0], errors="replace") as stream:
            found = re.search(r"PixelSpacing\s*=\s*([\d.]+)", stream.read())
        if found:
            return float(found.group(1))
    with contextlib.suppress(TaskFailed):
        return Mrc(files[0]).pixel_size
    raise Thrown("No pixel size found in %s" % files[0])


def change_selection(context: Context) -> None:
    names = [name for name in ("select", "deselect", "null", "invert") if context.options.flag(name)]
    context.stop_unless(len(names) == 1, "Exactly one of --select, --deselect, --null, --invert must be given")

    def work(item: Item, log: List[str]) -> None:
        value = {"select": "False", "deselect": "True", "null": "null"}.get(names[0])
        if value is None:
            root = load_xml(item.input_xml)
            value = "False" if root is not None and root.get("UnselectManual") == "True" else "True"
        root = load_xml(item.input_xml)
        if root is not None and item.input_xml != item.output_xml:
            save_xml(item.output_xml, root)
        manual_selection(item, value)
        log.append("UnselectManual %s" % value)

    run_iterated(context, "selection", work)


ON_ITEMS: Dict[str, Callable[[Context], None]] = {
    "fs_motion_and_ctf": frame_verb,
    "fs_motion": frame_verb,
    "fs_ctf": frame_verb,
    "ts_stack": ts_stack,
    "ts_aretomo": align_verb,
    "ts_aretomo3": align_verb,
    "ts_etomo_patches": align_verb,
    "ts_etomo_fiducials": align_verb,
    "ts_import_alignments": ts_import_alignments,
    "ts_autolevel": ts_autolevel,
    "ts_defocus_hand": ts_defocus_hand,
    "ts_ctf": ts_ctf,
    "ts_reconstruct": ts_reconstruct,
    "change_selection": change_selection,
}
ALONE: Dict[str, Callable[[str, Options, str], None]] = {"create_settings": create_settings, "ts_import": ts_import}


def load_catalogue(version: str) -> Dict[str, List[Dict[str, Any]]]:
    path = setting("CATALOGUE") or os.path.join(HERE, "warptools.json")
    try:
        with open(path, encoding="utf-8") as stream:
            commands = json.load(stream)["commands"]
    except (OSError, ValueError, KeyError) as error:
        complain("stand-in: its option catalogue %s cannot be read (%s)" % (path, error))
        sys.exit(2)
    return {
        verb: [option for option in command["options"] if version in option.get("versions", [version])]
        for verb, command in commands.items()
        if version in command.get("versions", [version])
    }


def warptools(arguments: List[str]) -> None:
    version = setting("VERSION", "head")
    commands = load_catalogue(version)
    verb = arguments[0] if arguments else ""
    if verb in ("--version", "version"):
        say("Version 2.0.0\n")
        complain(
            "Unhandled exception. System.NullReferenceException: Object reference not set to an instance of an object."
        )
        os._exit(134)
    if verb not in commands:
        if verb not in ("--help", "help"):
            say("ERROR(S):\n  %s\n\n" % ("Verb '%s' is not recognized." % verb if verb else "No verb selected."))
        say("".join("  %s\n" % name for name in sorted(commands)))
        return
    options = commands[verb]
    if "--help" in arguments[1:]:
        say(help_text(options))
        return
    if "--version" in arguments[1:]:
        say("Version 2.0.0\n")
        return
    parsed, errors = parse_arguments(options, arguments[1:])
    if errors:
        say("ERROR(S):\n%s\n%s" % ("".join("  %s\n" % error for error in errors), help_text(options)))
        return
    say("Running command %s with:\n" % verb)
    for option in options:
        name = option["long"][2:]
        value = parsed.values.get(name)
        if isinstance(value, list):
            value = ", ".join(str(entry) for entry in value)
        say("%s = %s\n" % (name, "" if value is None else value))
    say("\n")
    try:
        if verb in ALONE:
            ALONE[verb](verb, parsed, version)
        elif verb in ON_ITEMS:
            ON_ITEMS[verb](Context(verb, parsed, version))
        else:
            raise Thrown("this stand-in does not do %s" % verb)
    except (Thrown, TaskFailed) as error:
        abort(str(error))


def main() -> None:
    complain("STAND-IN for WarpTools: no real processing")
    program = os.path.basename(sys.argv[1]) if len(sys.argv) > 1 else ""
    if program == "WarpTools":
        warptools(sys.argv[2:])
    elif program in ("AreTomo", "AreTomo2", "AreTomo3"):
        say("%s stand-in, version 0.0.0\nUsage: %s Tags\n" % (program, program))
    elif program in ("batchruntomo", "submfg"):
        say("%s stand-in, IMOD Version 0.0.0\nUsage: %s [options]\n" % (program, program))
    else:
        complain("usage: python3 warptools.py WarpTools <verb> [options]")
        sys.exit(2)


if __name__ == "__main__":
    main()
