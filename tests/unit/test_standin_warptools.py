"""The stand-in for WarpTools against the facts about the real one, called as a node calls it: a bare python3."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from core.formats.aln import read_aln
from core.formats.imod import read_tlt, read_xf
from core.formats.mdoc import read_mdoc
from core.formats.motion_json import read_tracks
from core.formats.mrc import read_mrc_header
from core.formats.tomostar import read_tomostar
from core.formats.warp_settings import read_settings
from core.formats.warp_xml import read_frame_series, read_tilt_series
from core.standins.install import install
from core.standins.session import make_session

CATALOGUES = Path(__file__).resolve().parents[2] / "config" / "catalogues"
TILTS = 7
PROGRESS = re.compile(r"(\d+)/(\d+)(?:, (\d+) failed)?, ((?:\d\d\.)?(?:\d\d:)?\d\d:\d\d) remaining")


class Bench:
    """A folder with a session and calls of the stand-in in it."""

    def __init__(self, folder: Path, prefix: list[str]) -> None:
        self.folder = folder
        self.prefix = prefix

    def environment(self, **extra: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "CRBOOST_STANDIN_SECONDS": "0", **extra}

    def run(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.prefix, "WarpTools", *arguments],
            cwd=self.folder,
            env=self.environment(**extra),
            capture_output=True,
            timeout=30,
            check=False,
        )
        # Decoded here: text mode would turn the carriage returns of the progress into line feeds.
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def good(self, *arguments: str, **extra: str) -> str:
        done = self.run(*arguments, **extra)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"Running command {arguments[0]} with:\n"), done.stdout
        return done.stdout

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.prefix, "WarpTools", *arguments],
            cwd=self.folder,
            env=self.environment(**extra),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def frames(self, *more: str, **extra: str) -> str:
        return self.good("fs_motion_and_ctf", *FRAME_OPTIONS, *more, **extra)


FRAME_OPTIONS = (
    *("--settings", "fs.settings", "--c_grid", "2x2x1", "--c_range_max", "7"),
    *("--out_averages", "--out_average_halves"),
)
ITEM = ("--settings", "ts.settings", "--input_data")


def make_bench(folder: Path) -> Bench:
    """Two series of seven tilts, settings and mdocs; nothing processed yet."""
    make_session(folder / "data", series=2, tilts=TILTS, size_px=(96, 96))
    bench = Bench(folder, install(folder / "standins", CATALOGUES, python=sys.executable)["warp"])
    bench.good(
        *("create_settings", "--output", "fs.settings", "--folder_data", "data/frames", "--angpix", "1.35"),
        *("--folder_processing", "fs", "--extension", "*.mrc", "--exposure", "3", "--eer_ngroups", "-16"),
    )
    bench.good(
        *("create_settings", "--output", "ts.settings", "--folder_data", "tomostar", "--angpix", "1.35"),
        *("--folder_processing", "ts", "--extension", "*.tomostar", "--tomo_dimensions", "96x96x48"),
    )
    return bench


@pytest.fixture(scope="module")
def imported_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bench = make_bench(tmp_path_factory.mktemp("once"))
    bench.frames("--m_grid", "2x2x4", "--out_thumbnails", "64")
    bench.good("ts_import", *IMPORT)
    return bench.folder


IMPORT = ("--mdocs", "data/mdocs", "--frameseries", "fs", "--tilt_exposure", "3", "--output", "tomostar")


@pytest.fixture
def bench(imported_once: Path, tmp_path: Path) -> Bench:
    """A fresh copy of a project in which frames are processed and series imported."""
    folder = tmp_path / "project"
    shutil.copytree(imported_once, folder)
    shutil.rmtree(folder / "fs" / "tasks")
    for path in (folder / "fs").glob("*.xml"):
        path.write_text(path.read_text("utf-8-sig").replace(str(imported_once), str(folder)), "utf-8-sig")
    return Bench(folder, [sys.executable, str(folder / "standins" / "warptools.py")])


def copy_item(name: str) -> tuple[str, ...]:
    return (*ITEM, f"tomostar/{name}.tomostar", "--task_dir", f"queue_{name}")


# Command line.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "No verb selected."),
        (("ts_magic",), "Verb 'ts_magic' is not recognized."),
        (("ts_ctf",), "Required option 'settings' is missing."),
        (("create_settings", "--folder_data", "d", "--angpix", "1"), "Required option 'o, output' is missing."),
        (("ts_ctf", "--settings", "s", "--windo", "512"), "Option 'windo' is unknown."),
        (("ts_ctf", "--Settings", "s"), "Option 'Settings' is unknown."),
        (("ts_ctf", "--settings", "s", "--settings", "t"), "Option 'settings' is defined multiple times."),
        (("ts_ctf", "--settings", "s", "--device_list", "0", "--device_list", "1"), "defined multiple times"),
        (("ts_ctf", "--settings", "s", "--device_list", "0,1"), "Option 'device_list' is defined with a bad format."),
        (("ts_ctf", "--settings", "s", "--device_list"), "Option 'device_list' has no value."),
        (("ts_ctf", "--settings", "s", "--window", "512.0"), "Option 'window' is defined with a bad format."),
        (("ts_ctf", "--settings", "s", "--window", "1e3"), "Option 'window' is defined with a bad format."),
        (("ts_ctf", "--settings", "s", "--cs", "two"), "Option 'cs' is defined with a bad format."),
        (("ts_ctf", "--settings="), "is not recognized."),
        (("ts_aretomo", "--settings", "s", "--alignz", "100", "--axis", "-.6"), "Option '.' is unknown."),
        (("ts_aretomo", "--settings"), "Required option 'settings' is missing."),
        (("ts_ctf", "--settings", "s", "--workers", "host:1"), "Option 'workers' is unknown."),
    ],
)
def test_refused_command_lines_exit_with_0_and_do_nothing(
    imported_once: Path, arguments: tuple[str, ...], message: str
) -> None:
    bench = Bench(imported_once, [sys.executable, str(imported_once / "standins" / "warptools.py")])
    done = bench.run(*arguments)
    assert done.returncode == 0
    assert message in done.stdout
    assert "Running command" not in done.stdout
    assert done.stderr.splitlines()[0] == "STAND-IN for WarpTools: no real processing"
    assert len(done.stdout.splitlines()) > 4  # the list of options follows


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--set_flip", "false"), "set_flip = True"),
        (("--set_flip=false",), "set_flip = True"),
        (("stray", "--set_flip", "more", "stray"), "set_flip = True"),
    ],
)
def test_flags_are_true_by_being_there_and_strays_are_ignored(
    bench: Bench, arguments: tuple[str, ...], expected: str
) -> None:
    bench.good("ts_stack", *ITEM, "tomostar/Position_1.tomostar")
    assert expected in bench.good("ts_defocus_hand", "--settings", "ts.settings", *arguments)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("--cs", "10,5"), "cs = 105.0"),
        (("--cs=2.0", "7"), "cs = 2.0"),
        (("--cs",), "cs = 2.7"),
        (("--cs", "1e1"), "cs = 10.0"),
        (("--device_list", "0", "1"), "device_list = 0, 1"),
    ],
)
def test_values(bench: Bench, given: tuple[str, ...], expected: str) -> None:
    done = bench.run("ts_ctf", *given, "--settings", "ts.settings")
    assert expected in done.stdout.splitlines()


def test_negative_numbers(bench: Bench) -> None:
    text = bench.good("ts_aretomo", *copy_item("Position_1"), "--alignz", "100", "--axis", "-0.6")
    assert "axis = -0.6" in text
    assert read_tilt_series(bench.folder / "ts/Position_1.xml").axis_angles_deg[0] == pytest.approx(-0.6)


def test_help_and_version(bench: Bench) -> None:
    assert "--task_dir" in bench.run("ts_ctf", "--help").stdout
    assert "--task_dir" not in bench.run("ts_ctf", "--help", CRBOOST_STANDIN_VERSION="dev39").stdout
    version = bench.run("--version")
    assert version.returncode == 134 and version.stdout == "Version 2.0.0\n"
    assert bench.run("ts_ctf", "--version").returncode == 0
    other = bench.run("ts_template_match", "--help")
    assert other.returncode == 0


def test_a_verb_that_is_not_imitated_is_refused_after_strict_parsing(bench: Bench) -> None:
    done = bench.run("threshold_picks", "--settings", "ts.settings", "--out_suffix", "x")
    assert "is unknown" not in done.stdout
    assert "Running command" in done.stdout or "Required option" in done.stdout
    done = bench.run("move_data", "--settings", "ts.settings", "--new", "x")
    assert done.returncode in (0, 134)


# Settings.


def test_settings_store_negated_values(bench: Bench) -> None:
    settings = read_settings(bench.folder / "fs.settings")["Import"]
    assert float(settings["DosePerAngstromFrame"]) == -3
    assert settings["EERGroupFrames"] == "16"
    assert float(settings["PixelSize"]) == 1.35
    assert read_settings(bench.folder / "ts.settings")["Tomo"]["DimensionsZ"] == "48"


def test_missing_settings_exit_with_1(bench: Bench) -> None:
    done = bench.run("ts_ctf", "--settings", "nowhere.settings")
    assert done.returncode == 1 and "File not found: nowhere.settings" in done.stdout


def test_broken_settings_go_on_with_defaults(bench: Bench) -> None:
    (bench.folder / "bad.settings").write_text("<Settings><Import>")
    done = bench.run("ts_stack", "--settings", "bad.settings", "--input_data", "tomostar/Position_1.tomostar")
    assert "An error occurred: " in done.stdout and done.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("ts_ctf", *ITEM, "tomostar/nothing.tomostar"),
        ("ts_ctf", "--settings", "ts.settings", "--range_high", "2.7"),
        ("ts_aretomo", "--settings", "ts.settings", "--alignz", "0"),
        ("ts_stack", "--settings", "ts.settings", "--angpix", "1.2"),
        ("ts_reconstruct", "--settings", "ts.settings", "--angpix", "5", "--halfmap_frames", "--halfmap_tilts"),
        ("ts_defocus_hand", "--settings", "ts.settings", "--check", "--set_flip"),
        ("fs_motion", "--settings", "fs.settings", "--grid", "1X1X3"),
        ("create_settings", "-o", "no/folder/x.settings", "--folder_data", "d", "--angpix", "1"),
        (
            "create_settings",
            "-o",
            "x.settings",
            "--folder_data",
            "d",
            "--angpix",
            "1",
            "--bin",
            "1",
            "--bin_angpix",
            "2",
        ),
        ("ts_import", "--mdocs", "nowhere", "--frameseries", "fs", "--tilt_exposure", "3", "-o", "t"),
        ("ts_ctf", "--settings", "fs.settings", "--range_high", "7"),
    ],
)
def test_failed_validation_aborts(bench: Bench, arguments: tuple[str, ...]) -> None:
    done = bench.run(*arguments)
    assert done.returncode == 134
    assert "Unhandled exception. System.Exception: " in done.stderr
    assert "Traceback" not in done.stderr


# Products.


def test_frame_products(bench: Bench) -> None:
    folder = bench.folder / "fs"
    truth = json.loads((bench.folder / "data/frames/session.json").read_text())["series"]
    xmls = sorted(folder.glob("*.xml"))
    assert len(xmls) == 2 * TILTS
    near = total = 0
    for path in xmls:
        xml = read_frame_series(path)
        assert xml.has_ctf and xml.has_movement and xml.unselect_manual is None
        assert (xml.ctf_grid.width, xml.ctf_grid.height, xml.ctf_grid.depth) == (2, 2, 1)
        assert 1.5 < xml.defocus_um < 4.5 and xml.mean_frame_movement_angstrom >= 0
        assert Path(xml.data_directory) == bench.folder / "data/frames"
        header = read_mrc_header(folder / "average" / f"{path.stem}.mrc")
        assert (header.nx, header.ny, header.mode, header.expected_bytes) == (96, 96, 12, header.actual_bytes)
        assert header.pixel_size_angstrom == pytest.approx(1.35)
        for part in ("average/even", "average/odd", "powerspectrum"):
            whole = read_mrc_header(folder / part / f"{path.stem}.mrc")
            assert whole.expected_bytes == whole.actual_bytes
        tracks = read_tracks(folder / "average" / f"{path.stem}_motion.json")
        assert len(tracks) == 4 and len(tracks[0]) == 4
        known = truth[path.stem.rsplit("_", 2)[0]]["tilts"][path.stem]["drift_px"]
        # What was measured is the drift that the session put in, to within a pixel.
        for (x, y), drift in zip(tracks[0], known, strict=True):
            total += 1
            near += abs(x / 1.35 - drift[0]) < 1.3 and abs(y / 1.35 - drift[1]) < 1.3
    assert near > 0.85 * total
    thumbnail = next((folder / "thumbnails").glob("*.png")).read_bytes()
    assert thumbnail.startswith(b"\x89PNG\r\n\x1a\n") and thumbnail.endswith(b"IEND\xaeB`\x82")
    items = json.loads((folder / "processed_items.json").read_text())
    assert {"Path", "ProcessingStatus", "Defocus", "Resolution", "Motion"} <= set(items[0])
    assert (folder / "align_and_ctf_frameseries.settings").is_file()


def test_ctf_is_worse_at_high_tilt(bench: Bench) -> None:
    resolution = [
        read_frame_series(path).ctf_resolution_angstrom
        for angle in ("0.0", "9.0")
        for path in (bench.folder / "fs").glob(f"*_{angle}.xml")
    ]
    assert all(2 * 1.35 < value < 12 for value in resolution)


def test_import_follows_time_and_mdoc_angle(bench: Bench) -> None:
    table = read_tomostar(bench.folder / "tomostar/Position_1.tomostar")
    # Sorted by the stage's angle, written with the sign turned: 0 +3 -3 -6 +6 +9 -9 were taken in this order.
    assert [round(angle) for angle in table.angles_deg] == [9, 6, 3, 0, -3, -6, -9]
    assert table.doses == (18.0, 9.0, 6.0, 0.0, 3.0, 12.0, 15.0)
    assert set(table.axis_deg) == {85.3}
    assert table.movies[3] == "../fs/Position_1_000_0.0.mrc"
    text = bench.good("ts_import", *IMPORT[:-1], "straight", "--dont_invert", "--override_axis", "-95.5")
    straight = read_tomostar(bench.folder / "straight/Position_1.tomostar")
    assert [round(angle) for angle in straight.angles_deg] == [-9, -6, -3, 0, 3, 6, 9]
    assert straight.axis_deg[0] == -95.5
    assert "Successfully parsed 2 MDOC files, 0 failed" in text


def test_a_section_taken_out_lowers_later_doses_and_a_deselected_tilt_does_not(bench: Bench) -> None:
    path = bench.folder / "data/mdocs/Position_1.mrc.mdoc"
    before = read_tomostar(bench.folder / "tomostar/Position_1.tomostar")
    bench.good("change_selection", "--deselect", "--settings", "fs.settings", "--input_data", *movies(bench, 2))
    bench.good("ts_import", *IMPORT[:-1], "deselected")
    table = read_tomostar(bench.folder / "deselected/Position_1.tomostar")
    assert len(table.movies) == TILTS - 1
    doses = dict(zip(before.movies, before.doses, strict=True))
    assert all(doses[movie] == dose for movie, dose in zip(table.movies, table.doses, strict=True))
    text = path.read_bytes().decode()
    cut = text[text.index("[ZValue = 2]") : text.index("[ZValue = 3]")]
    path.write_bytes(text.replace(cut, "").encode())
    assert len(read_mdoc(path).sections) == TILTS - 1
    bench.good("ts_import", *IMPORT[:-1], "cut")
    shorter = read_tomostar(bench.folder / "cut/Position_1.tomostar")
    assert max(shorter.doses) == 15.0


def movies(bench: Bench, order: int) -> list[str]:
    return [str(next((bench.folder / "data/frames").glob(f"Position_1_{order:03d}_*.mrc")))]


def test_one_missing_average_rejects_the_series_with_exit_0(bench: Bench) -> None:
    next((bench.folder / "fs/average").glob("Position_2_003_*.mrc")).unlink()
    done = bench.run("ts_import", *IMPORT[:-1], "again")
    assert done.returncode == 0
    assert "Failed to parse Position_2.mrc.mdoc: " in done.stderr
    assert "Successfully parsed 2 MDOC files, 1 failed" in done.stdout
    assert [path.name for path in (bench.folder / "again").glob("*.tomostar")] == ["Position_1.tomostar"]
    assert len(json.loads((bench.folder / "again/failed_items.json").read_text())) == 1


def test_a_dot_in_the_output_folder_breaks_relative_paths(bench: Bench) -> None:
    bench.good("ts_import", *IMPORT[:-1], "job.001")
    assert read_tomostar(bench.folder / "job.001/Position_1.tomostar").movies[0].startswith("fs/")


@pytest.mark.parametrize(("iterations", "passes"), [(0, 1), (1, 2)])
def test_aretomo(bench: Bench, iterations: int, passes: int) -> None:
    text = bench.good(
        *("ts_aretomo", *copy_item("Position_1"), "--alignz", "100", "--angpix", "2.7", "--axis", "85.3"),
        *("--axis_iter", str(iterations)),
    )
    assert text.count("Distributing 1 item(s)") == passes
    series = read_tilt_series(bench.folder / "ts/Position_1.xml")
    if iterations:
        assert abs(series.axis_angles_deg[0] - 84.7) < 1.2 and series.axis_angles_deg[0] != 85.3
    else:
        assert series.axis_angles_deg == pytest.approx([85.3] * TILTS, abs=1e-3)
    folder = bench.folder / "ts/tiltstack/Position_1"
    inner = folder / "Position_1_aligned_Imod"
    assert len(read_xf(inner / "Position_1_st.xf")) == len(read_tlt(inner / "Position_1_st.tlt")) == TILTS
    stack = read_mrc_header(folder / "Position_1.st")
    assert (stack.nx, stack.nz, stack.mode, stack.actual_bytes) == (48, TILTS, 2, stack.expected_bytes)
    assert read_tlt(folder / "Position_1.rawtlt") and len(read_aln(folder / "Position_1.aln").tilts) == TILTS
    assert len(list((folder / "thumbnails").glob("*.png"))) == TILTS
    truth = json.loads((bench.folder / "data/frames/session.json").read_text())["series"]["Position_1"]
    for movie, x in zip(series.movie_paths, series.offsets_x_angstrom, strict=True):
        assert x == pytest.approx(1.35 * truth["tilts"][Path(movie).stem]["shift_px"][0], abs=2.5)
    # The sample's inclination went into the angles, once however many passes there were.
    assert series.angles_deg[3] == pytest.approx(truth["level_y_deg"], abs=2)


@pytest.mark.parametrize("verb", ["ts_aretomo3", "ts_etomo_patches", "ts_etomo_fiducials"])
def test_other_alignments(bench: Bench, verb: str) -> None:
    extra = ("--fiducial_size", "10") if verb.endswith("fiducials") else ()
    bench.good(verb, *copy_item("Position_1"), *extra)
    series = read_tilt_series(bench.folder / "ts/Position_1.xml")
    assert series.axis_angles_deg == pytest.approx([85.3] * TILTS, abs=1e-3)
    inner = "Position_1_Imod/Position_1_st" if verb == "ts_aretomo3" else "Position_1"
    assert len(read_xf(bench.folder / f"ts/tiltstack/Position_1/{inner}.xf")) == TILTS


def test_an_old_xf_shadows_aretomo(bench: Bench) -> None:
    bench.good("ts_etomo_patches", *copy_item("Position_1"), "--initial_axis", "80")
    bench.good("ts_aretomo", *copy_item("Position_1"), "--alignz", "100", "--axis", "85.3")
    assert read_tilt_series(bench.folder / "ts/Position_1.xml").axis_angles_deg[0] == pytest.approx(80, abs=1e-3)


def test_an_old_xml_beats_a_new_tomostar(bench: Bench) -> None:
    bench.good("ts_stack", *copy_item("Position_1"))
    bench.good("ts_import", *IMPORT, "--override_axis", "12")
    bench.good("ts_stack", *copy_item("Position_1"))
    assert read_tilt_series(bench.folder / "ts/Position_1.xml").axis_angles_deg[0] == 85.3


def test_alignments_are_imported_with_their_pixel_size(bench: Bench) -> None:
    bench.good("ts_etomo_patches", *copy_item("Position_1"), "--angpix", "2.7")
    first = read_tilt_series(bench.folder / "ts/Position_1.xml")
    bench.good(
        *("ts_import_alignments", *ITEM, "tomostar/Position_1.tomostar", "--alignments", "ts/tiltstack"),
        *("--alignment_angpix", "5.4", "--output_processing", "elsewhere"),
    )
    second = read_tilt_series(bench.folder / "elsewhere/Position_1.xml")
    assert second.offsets_x_angstrom == pytest.approx([2 * x for x in first.offsets_x_angstrom], abs=0.02)


def test_handedness_and_ctf(bench: Bench) -> None:
    align = ("ts_aretomo", "--settings", "ts.settings", "--alignz", "100")
    bench.good(*align)
    text = bench.good("ts_defocus_hand", "--settings", "ts.settings", "--check")
    found = re.search(r"Average correlation: (-?\d\.\d+)", text)
    assert found is not None and float(found.group(1)) < -0.7
    assert "should be set to 'flip'" in text
    assert not read_tilt_series(bench.folder / "ts/Position_1.xml").angles_inverted
    assert "0/20/2" in text
    bench.good("ts_ctf", "--settings", "ts.settings", "--range_high", "7")
    wrong = read_tilt_series(bench.folder / "ts/Position_1.xml")
    bench.good("ts_defocus_hand", "--settings", "ts.settings", "--set_auto")
    bench.good("ts_ctf", "--settings", "ts.settings", "--range_high", "7")
    right = read_tilt_series(bench.folder / "ts/Position_1.xml")
    assert right.angles_inverted and right.has_ctf and sorted(right.grid_ctf) == list(range(TILTS))
    assert right.ctf_resolution_angstrom <= wrong.ctf_resolution_angstrom
    assert all(1.5 < value < 4.5 for value in right.grid_ctf.values())
    spectrum = read_mrc_header(bench.folder / "ts/powerspectrum/Position_1.mrc")
    assert spectrum.nz == TILTS and spectrum.actual_bytes == spectrum.expected_bytes
    bench.good("ts_defocus_hand", "--settings", "ts.settings", "--set_switch")
    assert not read_tilt_series(bench.folder / "ts/Position_1.xml").angles_inverted


def test_ctf_needs_averages_and_raw_movies(bench: Bench) -> None:
    ctf = ("ts_ctf", *copy_item("Position_1"), "--range_high", "7")
    bench.good(*ctf)
    average = next((bench.folder / "fs/average").glob("Position_1_002_*.mrc"))
    average.rename(average.with_suffix(".away"))
    assert bench.run(*ctf).returncode == 134
    average.with_suffix(".away").rename(average)
    (bench.folder / "data/frames").rename(bench.folder / "data/moved")
    done = bench.run(*ctf)
    assert done.returncode == 134 and "Could not find file" in done.stderr


def test_autolevel(bench: Bench) -> None:
    bench.good("ts_etomo_patches", *copy_item("Position_1"))
    bench.good("ts_autolevel", *copy_item("Position_1"))
    truth = json.loads((bench.folder / "data/frames/session.json").read_text())["series"]["Position_1"]
    series = read_tilt_series(bench.folder / "ts/Position_1.xml")
    assert series.level_angle_y_deg == pytest.approx(truth["level_y_deg"], abs=1)
    assert series.level_angle_x_deg == pytest.approx(truth["level_x_deg"], abs=1)


def test_reconstruction_with_halves(bench: Bench) -> None:
    item = copy_item("Position_1")
    bench.good("ts_aretomo", *item, "--alignz", "60")
    bench.good("ts_reconstruct", *item, "--angpix", "2.7", "--halfmap_frames")
    folder = bench.folder / "ts/reconstruction"
    for part in ("", "even", "odd"):
        header = read_mrc_header(folder / part / "Position_1_2.70Apx.mrc")
        assert (header.nx, header.ny, header.nz, header.mode) == (48, 48, 24, 12)
        assert header.actual_bytes == header.expected_bytes
        assert header.pixel_size_angstrom == pytest.approx(2.7)
    assert (folder / "Position_1_2.70Apx.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "ctf/Position_1_2.70Apx.mrc").is_file()
    half = (folder / "even/Position_1_2.70Apx.mrc").read_bytes()
    kept = (folder / "Position_1_2.70Apx.mrc").stat().st_mtime_ns
    bench.good("ts_reconstruct", *item, "--angpix", "2.7", "--halfmap_frames", "--deconv", "--dont_overwrite")
    assert (folder / "Position_1_2.70Apx.mrc").stat().st_mtime_ns == kept
    bench.good("ts_reconstruct", *item, "--angpix", "2.7", "--halfmap_frames", "--deconv")
    assert (folder / "deconv/Position_1_2.70Apx.mrc").is_file()
    assert (folder / "even/Position_1_2.70Apx.mrc").read_bytes() != half


def test_the_tomogram_shows_the_specimen(bench: Bench) -> None:
    import numpy as np

    item = copy_item("Position_1")
    bench.good("ts_aretomo", *item, "--alignz", "60", "--axis", "84.7")
    bench.good("ts_reconstruct", *item, "--angpix", "1.35", "--dont_overwrite")
    data = (bench.folder / "ts/reconstruction/Position_1_1.35Apx.mrc").read_bytes()
    volume = np.frombuffer(data, np.float16, offset=1024).reshape(48, 96, 96).astype(float)
    flat = volume.mean(axis=0)
    flat = (flat - flat.mean()) / flat.std()
    truth = json.loads((bench.folder / "data/frames/session.json").read_text())["series"]["Position_1"]
    values = []
    for x, y, _, _, _ in truth["blobs"]:
        column, row = round(x / 1.35 + 48), round(y / 1.35 + 48)
        if 14 <= column < 82 and 14 <= row < 82:
            values.append(flat[row - 1 : row + 2, column - 1 : column + 2].max())
    assert np.mean(values) > 1.0


# Failures, hangs and being told to misbehave.


def test_progress_lines_and_logs(bench: Bench) -> None:
    text = bench.frames("--task_dir", "q")
    assert "0/14\r14/14, previous metadata found for 14\n" in text
    chunks = [PROGRESS.search(chunk) for chunk in re.split(r"[\r\n]", text)]
    assert [int(match.group(1)) for match in chunks if match] == list(range(1, 15))
    assert re.search(r"\nFinished processing in \d\d:\d\d:\d\d\nFinished: 14 processed, 0 failed\n$", text)
    assert (bench.folder / "fs/logs/0000000-motionctf-Position_1_000_0.0.log").is_file()
    assert len(list((bench.folder / "q/done").iterdir())) == 14


def test_some_failed_is_exit_0_and_the_deselection_sticks(bench: Bench) -> None:
    root = "Position_1_001_3.0"
    done = bench.run("fs_motion_and_ctf", *FRAME_OPTIONS, CRBOOST_STANDIN_FAIL=f"fs_motion_and_ctf:{root}:fail")
    assert done.returncode == 0
    assert "Finished: 13 processed, 1 failed" in done.stdout
    assert "poisoned after 4 attempt(s)" in done.stderr
    assert "marked as unselected." in done.stderr
    assert read_frame_series(bench.folder / f"fs/{root}.xml").unselect_manual is True
    assert len(json.loads((bench.folder / "fs/failed_items.json").read_text())) == 1
    bench.frames()
    assert read_frame_series(bench.folder / f"fs/{root}.xml").unselect_manual is True
    bench.good("change_selection", "--null", "--settings", "fs.settings", "--input_data", *movies(bench, 1))
    assert read_frame_series(bench.folder / f"fs/{root}.xml").unselect_manual is None


def test_all_failed_is_134(bench: Bench) -> None:
    done = bench.run("ts_stack", *copy_item("Position_1"), CRBOOST_STANDIN_FAIL="*:Position_1:fail")
    assert done.returncode == 134 and "All items failed" in done.stderr


def test_nothing_found(bench: Bench) -> None:
    shutil.rmtree(bench.folder / "tomostar")
    assert bench.run("ts_stack", "--settings", "ts.settings").returncode == 0
    assert bench.run("change_selection", "--null", "--settings", "ts.settings").returncode == 134


def test_four_failures_blacklist_the_node_and_hang_and_block_the_folder(bench: Bench) -> None:
    rules = ("fs_motion_and_ctf", *FRAME_OPTIONS, "--task_dir", "q")
    first = bench.start(*rules, CRBOOST_STANDIN_FAIL="*:Position_1:fail")
    try:
        marker = bench.folder / "q/blacklisted_nodes"
        wait_for(lambda: marker.exists() and any(marker.iterdir()) and any((bench.folder / "q/logs").glob("*.exit")))
        time.sleep(0.3)
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    second = bench.start(*rules)
    try:
        time.sleep(1.0)
        assert second.poll() is None
    finally:
        second.kill()
        second.wait()


def test_a_shared_queue_destroys_the_first_run(bench: Bench) -> None:
    rules = ("fs_motion_and_ctf", *FRAME_OPTIONS, "--task_dir", "q")
    first = bench.start(*rules, CRBOOST_STANDIN_SECONDS="0.4")
    try:
        wait_for(lambda: (bench.folder / "q/pool.lock").exists() and any((bench.folder / "q/done").iterdir()))
        second = bench.run(*rules)
        assert second.returncode == 134 and "Another manager is already using queue dir" in second.stderr
        time.sleep(1.0)
        assert first.poll() is None and any((bench.folder / "q/logs").glob("*.exit"))
    finally:
        first.kill()
        first.wait()


def wait_for(condition: object, seconds: float = 15) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@pytest.mark.parametrize(("how", "code"), [("crash", 134), ("memory", -signal.SIGKILL), ("silent", 0), ("half", 0)])
def test_misbehaviour(bench: Bench, how: str, code: int) -> None:
    item = copy_item("Position_1")
    bench.good("ts_stack", *item)
    bench.good("ts_reconstruct", *item, "--angpix", "5.4", "--output_processing", "good")
    done = bench.run(
        "ts_reconstruct", *item, "--angpix", "5.4", CRBOOST_STANDIN_FAIL=f"ts_reconstruct:Position_1:{how}"
    )
    assert done.returncode == code
    product = bench.folder / "ts/reconstruction/Position_1_5.40Apx.mrc"
    assert product.exists() == (how == "half")
    if how == "half":
        header = read_mrc_header(product)
        assert header.actual_bytes < header.expected_bytes


def test_a_plan_counts_its_uses(bench: Bench) -> None:
    plan = bench.folder / "plan.json"
    plan.write_text(json.dumps([{"verb": "ts_stack", "series": "*", "how": "crash", "times": 2}]))
    codes = [
        bench.run("ts_stack", *copy_item("Position_1"), CRBOOST_STANDIN_PLAN=str(plan)).returncode for _ in range(3)
    ]
    assert codes == [134, 134, 0]


def test_hang(bench: Bench) -> None:
    process = bench.start("ts_stack", *copy_item("Position_1"), CRBOOST_STANDIN_FAIL="*:*:hang")
    time.sleep(1.0)
    alive = process.poll() is None
    process.terminate()
    assert alive and process.wait() == -signal.SIGTERM


def test_time_for_an_item(bench: Bench) -> None:
    begun = time.monotonic()
    bench.good("ts_stack", "--settings", "ts.settings", CRBOOST_STANDIN_SECONDS="0.5")
    assert time.monotonic() - begun > 1.0


def test_a_movie_without_content_fails_alone(bench: Bench) -> None:
    movie = Path(movies(bench, 4)[0])
    movie.write_bytes(b"")
    done = bench.run("fs_motion_and_ctf", *FRAME_OPTIONS)
    assert done.returncode == 0 and "13 processed, 1 failed" in done.stdout


def test_dev39_has_no_queue(bench: Bench) -> None:
    bench.frames(CRBOOST_STANDIN_VERSION="dev39")
    assert not (bench.folder / "fs/tasks").exists()
    assert (bench.folder / "fs/logs/Position_1_000_0.0.log").is_file()


def test_settings_beside_the_standin_replace_variables(bench: Bench) -> None:
    install(bench.folder / "standins", CATALOGUES, settings={"version": "dev39"})
    assert "--workers" in bench.run("ts_ctf", "--help").stdout
    install(bench.folder / "standins", CATALOGUES)
    assert "--workers" in bench.run("ts_ctf", "--help").stdout
    assert "--workers" not in bench.run("ts_ctf", "--help", CRBOOST_STANDIN_VERSION="head").stdout


def test_xml_begins_like_warps_own(bench: Bench) -> None:
    data = next((bench.folder / "fs").glob("*.xml")).read_bytes()
    assert data.startswith(b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\n<Movie DataDirectory=')
    assert data.endswith(b"</Movie>") and ElementTree.fromstring(data.decode("utf-8-sig")).tag == "Movie"


@pytest.mark.parametrize("program", ["AreTomo2", "AreTomo3", "batchruntomo", "submfg"])
def test_programs_behind_it_answer(bench: Bench, program: str) -> None:
    done = subprocess.run([*bench.prefix, program], env=bench.environment(), capture_output=True, check=False)
    assert done.returncode == 0 and done.stdout


def test_it_needs_only_a_bare_python(bench: Bench) -> None:
    prefix = [sys.executable, "-I", "-S", *bench.prefix[1:]]
    assert "Finished: 1 processed" in Bench(bench.folder, prefix).good("ts_stack", *copy_item("Position_1"))


def test_movies_too_large_for_pure_python(bench: Bench) -> None:
    """Real camera sizes: products of the right length that take no room, in little time."""
    raw = bench.folder / "raw"
    mdocs = bench.folder / "raw_mdocs"
    raw.mkdir()
    mdocs.mkdir()
    text = "[T = Tilt axis angle = 85.3, binning = 1]\n"
    for number, angle in enumerate((0, 3, -3)):
        tiff(raw / f"TS_01_{number:03d}_{angle}.0.tif", 4096, 4096, 3)
        text += f"[ZValue = {number}]\nTiltAngle = {angle}\nSubFramePath = D:\\x\\TS_01_{number:03d}_{angle}.0.tif\n"
        text += f"DateTime = 01-Jan-26 10:0{number}:00\n"
    (mdocs / "TS_01.mdoc").write_text(text)
    bench.good(
        "create_settings", *("-o", "r.settings", "--folder_data", "raw", "--angpix", "1", "--extension", "*.tif")
    )
    bench.good("fs_motion_and_ctf", "--settings", "r.settings", "--output_processing", "rf", *FRAME_OPTIONS[2:])
    header = read_mrc_header(bench.folder / "rf/average/TS_01_000_0.0.mrc")
    assert (header.nx, header.actual_bytes) == (4096, header.expected_bytes)
    assert (bench.folder / "rf/average/TS_01_000_0.0.mrc").stat().st_blocks * 512 < 2_000_000
    bench.good("ts_import", "--mdocs", "raw_mdocs", "--frameseries", "rf", "--tilt_exposure", "3", "-o", "rt")
    bench.good(
        *("create_settings", "-o", "rt.settings", "--folder_data", "rt", "--folder_processing", "rts", "--angpix", "1"),
        *("--extension", "*.tomostar", "--tomo_dimensions", "4096x4096x1200"),
    )
    bench.good("ts_aretomo", "--settings", "rt.settings", "--angpix", "10", "--alignz", "800")
    bench.good("ts_ctf", "--settings", "rt.settings")
    bench.good("ts_reconstruct", "--settings", "rt.settings", "--angpix", "40", "--halfmap_frames")
    tomogram = read_mrc_header(bench.folder / "rts/reconstruction/TS_01_40.00Apx.mrc")
    assert (tomogram.nx, tomogram.ny, tomogram.nz) == (102, 102, 30)
    assert tomogram.actual_bytes == tomogram.expected_bytes


def tiff(path: Path, width: int, height: int, frames: int) -> None:
    """A little-endian TIFF of ``frames`` directories that name a size and hold no data."""
    data = bytearray(b"II*\0" + struct.pack("<I", 8))
    for number in range(frames):
        entries = [(256, 4, 1, width), (257, 4, 1, height)]
        following = 0 if number == frames - 1 else len(data) + 2 + 12 * len(entries) + 4
        data += struct.pack("<H", len(entries)) + b"".join(struct.pack("<2H2I", *entry) for entry in entries)
        data += struct.pack("<I", following)
    path.write_bytes(data)
