"""Pictures of every screen, from a rehearsal that runs meanwhile: ``make screenshots``.

All of it happens on a disk and a host of its own (a mount and a host name that nobody else sees), so that neither this
machine's paths nor its name or its users come into the pictures. Needs Linux, and ``unshare`` of util-linux.
"""

from __future__ import annotations

import asyncio
import getpass
import html
import json
import os
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from crboost_tui.app import CrboostApp

REPOSITORY = Path(__file__).resolve().parents[1]
PICTURES = REPOSITORY / "docs" / "pictures"
DISK = Path("/mnt")
PROGRAM, HOME, DATA = DISK / "crboost", DISK / "home" / "ada", DISK / "data"
PROJECT = HOME / "ribosome_2026_11"
NORMAL, SMALL = (120, 34), (80, 24)
PATIENCE_SECONDS = 300.0
CELL = 12.2
"""Width of a character in Textual's pictures."""
_TEXT = re.compile(r'(<text [^>]*?)x="([\d.]+)"( y="[^"]*" textLength=")([\d.]+)("[^>]*>)([^<]*)</text>')

_INSIDE = """
set -e
mount -t tmpfs -o mode=755 tmpfs {disk}
mkdir -p {program} {home} {data}
mount --bind {repository} {program}
hostname login2
cd {home}
exec "$0" -m docs.screenshots inside "$@"
"""


def main() -> None:
    if sys.argv[1:2] == ["inside"]:
        make(sys.argv[2:])
        return
    script = _INSIDE.format(disk=DISK, program=PROGRAM, home=HOME, data=DATA, repository=REPOSITORY)
    python = Path(sys.executable)
    if python.is_relative_to(REPOSITORY):
        python = PROGRAM / python.relative_to(REPOSITORY)
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    words = ["unshare", *user, "--mount", "--uts", "sh", "-c", script, str(python), *sys.argv[1:]]
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    secrets = [str(REPOSITORY), str(Path.home()), socket.gethostname(), getpass.getuser()]
    mine = {"SECRETS": json.dumps([word for word in secrets if word != "root"])}  # must not come into a picture
    os.execvpe(words[0], words, kept | mine | _environment())


def _environment() -> dict[str, str]:
    """Of a person who works on that disk, in a terminal that can do everything."""
    return {
        "HOME": str(HOME), "USER": "ada", "LOGNAME": "ada", "LANG": "C.UTF-8", "TERM": "xterm-256color",
        "COLORTERM": "truecolor", "PYTHONPATH": str(PROGRAM), "TEXTUAL_ANIMATIONS": "none",
        "XDG_STATE_HOME": str(HOME / ".local/state"), "XDG_CONFIG_HOME": str(HOME / ".config"),
    }  # fmt: skip


# -- what is shown -----------------------------------------------------------------------------------------------------


def make(names: list[str]) -> None:
    """All pictures, or those whose names have one of these words in them."""
    PICTURES.mkdir(exist_ok=True)
    _write_data()
    _write_others()
    asyncio.run(Tour(names).all())


def _write_data() -> None:
    """A session to be run, and a larger one with odd and refused series to be looked at."""
    from core.standins.session import make_session

    make_session(DATA / "2026_11_24" / "ribosome", series=12, tilts=11, size_px=(320, 320), frames=3)
    odd = DATA / "2026_11_28" / "proteasome"
    make_session(odd, series=14, tilts=31, size_px=(64, 64), frames=3, names="Position_{n}",
                 faults=("missing_movie", "empty_movie", "montage"))  # fmt: skip
    make_session(
        odd, series=1, tilts=31, size_px=(64, 64), frames=3, names="Position_9_2", nominal_axis_deg=-84.9, seed=3
    )
    make_session(odd, series=1, tilts=17, size_px=(64, 64), frames=3, names="Position_12_2", seed=4)


def _write_others() -> None:
    """Other projects of the same person, so that the list has something in it."""
    from core.engine.status import Status
    from crboost_tui.recent import remember
    from tests.tui import seed

    def named(found: Status, name: str, days: float) -> None:
        found.name, found.updated = name, time.time() - days * 86400
        remember(seed.write(HOME / name, found))

    named(seed.finished(46), "apoferritin_2026_09", 61)
    named(seed.finished(112), "microtubules_2026_10", 33)
    ended = seed.status(24)
    ended.engine.state = "ended"
    for job in ended.jobs:
        job.states = ["s" if state in ">q" else state for state in job.states]
    named(ended, "nuclear_pore_2026_11", 5)


async def until(pilot: Pilot[Any], condition: Callable[[], object], what: str = "") -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        await pilot.pause()
        if condition():
            return
        if time.monotonic() > end:
            raise SystemExit(f"{what or 'a screen'} did not come; on the screen:\n" + "\n".join(lines_of(pilot.app)))
        await asyncio.sleep(0.05)


def lines_of(app: Any) -> list[str]:
    from tests.tui.until import text_of

    return text_of(app)


class Tour:
    """Through the app as a person would go."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.seen = ""
        """What the person had seen when the terminal was closed."""

    @asynccontextmanager
    async def app(self, root: Path | None = None, theme: str = "") -> AsyncIterator[Pilot[Any]]:
        from crboost_tui.app import CrboostApp

        app = CrboostApp(root, utf8=True)
        if theme:
            app.theme = theme
        async with app.run_test(size=NORMAL) as pilot:
            yield pilot

    async def shows(self, pilot: Pilot[Any], pattern: str) -> None:
        await until(pilot, lambda: any(re.search(pattern, line) for line in lines_of(pilot.app)), repr(pattern))

    async def take(self, pilot: Pilot[Any], name: str) -> None:
        """Once nothing moves and no sentence stands in the corner any more, but for a run."""
        if self.names and not any(word in name for word in self.names):
            return
        await until(pilot, lambda: not pilot.app._notifications)
        await pilot.pause(0.3)
        write(name, pilot.app)

    async def all(self) -> None:
        await self.new_project()
        await self.run()
        await self.after()
        await self.workspace()
        await self.around()

    async def new_project(self) -> None:
        async with self.app() as pilot:
            await self.shows(pilot, "nuclear_pore")
            await pilot.press("n")
            await self.shows(pilot, "session/frames")
            await pilot.press(*keys_of(str(DATA / "2026_11_28" / "proteasome" / "frames")))
            await self.shows(pilot, "✓ 18 mdocs|✓ 1[0-9] mdocs")
            await self.shows(pilot, "name +proteasome")
            await self.shows(pilot, "project folder .*proteasome")
            await self.take(pilot, "new-project-data")
            await pilot.press("enter")
            await self.shows(pilot, "chosen, ")
            await pilot.press("f")
            await self.take(pilot, "new-project-series")
            await pilot.press("enter")
            await self.shows(pilot, "e/Å²")
            await self.take(pilot, "new-project-tilts")
            await pilot.press("escape", "n")
            await self.shows(pilot, "tilt axis")
            await self.take(pilot, "new-project-values")
            await pilot.press("n")
            await self.shows(pilot, "Makes ~")
            await self.take(pilot, "new-project-make")

    async def run(self) -> None:
        """A rehearsal in which a series fails, and its monitor while it runs."""
        from core.dataset.scan import inspect
        from core.files import replace_text
        from core.project.layout import ProjectPaths
        from core.standins.install import install
        from crboost_tui.data import config_dir
        from crboost_tui.making import make_project
        from crboost_tui.picture import Picture
        from crboost_tui.screens.monitor import MonitorScreen
        from crboost_tui.since import mark_seen

        session = DATA / "2026_11_24" / "ribosome"
        found = inspect([str(session / "frames")], [str(session / "mdocs")], settle_seconds=0)
        small = ("aligntiltsWarp.tomogram_thickness=30", "tsReconstruct.pixel_size=7")  # as its field of view is
        make_project(PROJECT, PROJECT.name, found, "warp_to_tomograms_levelled", small, rehearsal=True)
        paths = ProjectPaths(PROJECT)
        replace_text(paths.state / "conf.yaml", "submitter: local\nlocal: {cpus: 8, gpus: 6}\n")
        plan = paths.state / "standin_plan.json"
        rules = [{"series": f"Position_{number}", "verb": verb, "how": "fail", "times": 5}
                 for number, verb in ((3, "ts_ctf"), (6, "fs_motion_and_ctf"))]  # fmt: skip
        replace_text(plan, json.dumps(rules))
        install(paths.state / "standins", config_dir() / "catalogues", settings={"seconds": 0.25, "plan": str(plan)})

        async with self.app(PROJECT) as pilot:
            await self.shows(pilot, "pipeline")
            await pilot.press("m")
            await self.shows(pilot, "R runs all|Position_12")
            await pilot.press("R")
            screen = pilot.app.screen
            assert isinstance(screen, MonitorScreen)

            def halfway() -> bool:
                picture: Picture | None = screen.picture
                counts = dict(picture.counts) if picture is not None else {}
                finished = sum(row.cells[-1:] == ("+",) for row in picture.rows) if picture is not None else 0
                return counts.get("x", 0) >= 1 and counts.get(">", 0) >= 3 and finished >= 3

            await until(pilot, halfway, "the middle of the run")
            await pilot.press("f")
            await until(
                pilot, lambda: not pilot.app._notifications and halfway(), "the middle of the run, without notices"
            )
            mark_seen(PROJECT)
            self.seen = _seen_file().read_text(encoding="utf-8")
            await self.take(pilot, "monitor")
            await pilot.resize_terminal(*SMALL)
            await self.take(pilot, "monitor-80x24")
            await pilot.resize_terminal(*NORMAL)
            await until(pilot, lambda: screen.picture is not None and screen.picture.outcome != "running", "its end")

    async def after(self) -> None:
        """The next morning: what became of it, and why."""
        await asyncio.sleep(1)  # the app before notes in a thread, a moment after its end, that everything was seen
        left = {**json.loads(self.seen), "at": time.time() - 9 * 3600}
        _seen_file().write_text(json.dumps(left), encoding="utf-8")
        async with self.app(PROJECT) as pilot:
            await self.shows(pilot, "^.* Since ")
            await self.take(pilot, "since")
            await pilot.press("f")
            await self.shows(pilot, "f failed")
            await self.take(pilot, "monitor-failed")
            await pilot.press("l")
            await self.shows(pilot, "told to fail")
            await self.take(pilot, "task-log")
            await pilot.press("s")
            await self.shows(pilot, "tasks/Position_3/1.sh")
            await self.take(pilot, "task-script")
            await pilot.press("escape")
            await pilot.press("home", "left", "left", "left", "left", "left", "left", "left", "right", "p")
            await self.shows(pilot, "motion")
            await self.take(pilot, "results-tilts")
            await pilot.press("v")
            await self.take(pilot, "results-plots")
            await pilot.press("escape")
            await self.shows(pilot, "f failed")
            await pilot.press(*["right"] * 7, "p")
            await self.shows(pilot, "Å")
            await pilot.press("v")
            await pilot.pause(1)
            await pilot.press("v")
            await self.shows(pilot, "▀|▄")
            await self.take(pilot, "results-tomogram")

    async def workspace(self) -> None:
        """The form with a mistake and with what a change would cost, and the other panes."""
        async with self.app(PROJECT) as pilot:
            await self.shows(pilot, "f failed")
            crboost(pilot).show_workspace(PROJECT, "tsCtf", "tsCtf.window")
            await self.shows(pilot, "▸ window")
            await pilot.press("enter", "ctrl+u", *keys_of("256"), "enter")
            await self.shows(pilot, "would become stale")
            crboost(pilot).show_workspace(PROJECT, "tsCtf", "tsCtf.range_low")
            await pilot.pause(1)
            await pilot.press("enter", "ctrl+u", "0")
            await self.shows(pilot, "✗")
            await self.take(pilot, "workspace")
            await pilot.press("escape")
            for tab, name, pattern in (
                ("2", "inputs", "alignment"),
                ("3", "resources", "memory"),
                ("4", "script", "WarpTools"),
                ("5", "tasks", "Position_12 "),
                ("6", "log", "."),
                ("7", "results", "Position_12 "),
            ):
                await pilot.press(tab)
                await self.shows(pilot, pattern)
                await pilot.pause(1)
                await self.take(pilot, f"workspace-{name}")
            await pilot.press("1", "escape", "a")
            await pilot.pause(0.5)
            await self.take(pilot, "choose")

    async def around(self) -> None:
        """What does not belong to one project, and other colours and sizes."""
        async with self.app() as pilot:
            await self.shows(pilot, "nuclear_pore")
            await self.take(pilot, "projects")
            await pilot.press("comma")
            await self.shows(pilot, "theme")
            await self.take(pilot, "settings")
            await pilot.press("4")
            await self.shows(pilot, r"of the site .*✓ \d+ +! \d+")
            await self.take(pilot, "doctor")
            await pilot.press("escape")
            crboost(pilot).open_project(PROJECT)
            await self.shows(pilot, "f failed")
            await pilot.press("question_mark")
            await pilot.pause(0.5)
            await self.take(pilot, "help")
            await pilot.press("escape", "ctrl+p")
            await pilot.press(*keys_of("ctf"))
            await self.shows(pilot, "tsCtf")
            await self.take(pilot, "palette")
        async with self.app(PROJECT, "crboost-light") as pilot:
            await self.shows(pilot, "f failed")
            await self.take(pilot, "monitor-light")
            crboost(pilot).show_workspace(PROJECT, "tsCtf", "tsCtf.window")
            await pilot.pause(1)
            await self.take(pilot, "workspace-light")
            await pilot.resize_terminal(*SMALL)
            await pilot.pause(1)
            await self.take(pilot, "workspace-80x24")


def _seen_file() -> Path:
    from crboost_tui.since import _file

    return _file(PROJECT)


def crboost(pilot: Pilot[Any]) -> CrboostApp:
    return pilot.app  # type: ignore[return-value]


def keys_of(text: str) -> list[str]:
    from textual.keys import _character_to_key

    return [_character_to_key(char) for char in text]


def _placed(found: re.Match[str]) -> str:
    """Each word of a text that is not plain ASCII, and each character of such a word, where its cell is: the fonts that
    have them are wider or narrower, and not every program that shows SVG stretches a text to its length."""
    before, start, between, after = found[1], float(found[2]), found[3], found[5]
    text = html.unescape(found[6]).replace("\xa0", " ")
    if text.isascii() or round(float(found[4]) / CELL) != len(text):
        return found[0]
    pieces = [
        (word.start() + index, piece)
        for word in re.finditer("[^ ]+", text)
        for index, piece in (enumerate(word[0]) if not word[0].isascii() else [(0, word[0])])
    ]
    return "".join(
        f'{before}x="{start + CELL * place:.1f}"{between}{CELL * len(piece):.1f}{after}{html.escape(piece)}</text>'
        for place, piece in pieces
    )


# -- writing -----------------------------------------------------------------------------------------------------------


def write(name: str, app: Any) -> None:
    """As SVG. Its fonts are those of whoever looks: nothing is fetched."""
    svg = app.export_screenshot(title="crboost")
    svg = re.sub(r',\s*url\("[^"]*"\)[^,;]*', "", svg).replace("<text ", '<text xml:space="preserve" ')
    svg = _TEXT.sub(_placed, svg)
    for secret in json.loads(os.environ["SECRETS"]):
        if re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", html.unescape(svg)):
            raise SystemExit(f"{name}: {secret} of this machine would come into the picture")
    (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")
    print(name, file=sys.__stderr__, flush=True)  # the app has the other one


if __name__ == "__main__":
    main()
