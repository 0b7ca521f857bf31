"""Make the pages and pictures that come from the code: ``python -m docs.make`` (``make docs``)."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from pathlib import Path

from core.jobs._base import JobType
from core.jobs._registry import job_types
from core.jobs.fields import FieldInfo, Level, field_list
from crboost_tui.cli.schema import allowed, value_text
from docs.keys import keys_page

HERE = Path(__file__).resolve().parent


def job_types_page() -> str:
    """The text of ``job-types.md``."""
    lines = [
        "# Job types",
        "",
        "Made by `make docs` from the fields of each job type; do not edit. `crboost schema TYPE` shows the same.",
        "*Per series*: can be set for single tilt series. *No result*: cannot change a result, so that a change makes",
        "nothing stale.",
    ]
    for kind in job_types().values():
        lines += ["", *_job_type(kind)]
    return "\n".join(lines) + "\n"


def _job_type(kind: JobType) -> list[str]:  # type: ignore[type-arg]
    takes = ", ".join(f"{slot.kind}{'' if slot.required else ' (optional)'}" for slot in kind.slots) or "the data set"
    needs = kind.needs
    lines = [
        f"## {kind.name}",
        "",
        f"**{kind.title}.** {kind.summary}",
        "",
        f"Works {kind.scope.value}; takes {takes}; makes {', '.join(kind.provides) or 'numbers'}. "
        f"In RELION: `{kind.relion_label}`. A task needs by default {needs.cpus} CPU, {needs.gpus} GPU, "
        f"{needs.memory_gb} GB, {needs.minutes} minutes.",
    ]
    infos = field_list(kind.parameters)
    for level, title in ((Level.BASIC, "Parameters"), (Level.ADVANCED, "Advanced")):
        chosen = [info for info in infos if info.level is level]
        if chosen:
            lines += ["", f"| {title} | Default | Allowed | |", "|---|---|---|---|", *map(_row, chosen)]
    return lines


def _row(info: FieldInfo) -> str:
    marks = [f"`{info.flag}`" if info.flag else "", "*per series*" if info.per_series else ""]
    told = " ".join([info.help, *filter(None, marks), *(["*no result*"] if info.no_result else [])])
    unit = f" ({info.unit})" if info.unit and info.default is None else f" {info.unit}" if info.unit else ""
    cells = (f"`{info.name}`", f"{value_text(info.default)}{unit}", allowed(info), told)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


async def monitor_picture() -> str:
    """The monitor in the middle of a run, as SVG."""
    from crboost_tui.app import CrboostApp
    from crboost_tui.screens.monitor import MonitorScreen
    from tests.tui import seed

    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        root = seed.write(Path(folder) / "p", seed.waiting_for_you(16))
        app = CrboostApp(root, utf8=True)
        async with app.run_test(size=(120, 28)) as pilot:
            while not (isinstance(app.screen, MonitorScreen) and app.screen.picture is not None):
                await pilot.pause(0.05)
            await pilot.press("f", "f")
            await pilot.pause(0.3)
            svg = app.export_screenshot(title="crboost")
    return re.sub(r',\s*url\("[^"]*"\)[^,;]*', "", svg).replace("<text ", '<text xml:space="preserve" ')


def main() -> None:
    (HERE / "job-types.md").write_text(job_types_page(), encoding="utf-8")
    (HERE / "keys.md").write_text(keys_page(), encoding="utf-8")
    os.environ["TEXTUAL_ANIMATIONS"] = "none"
    (HERE / "monitor.svg").write_text(asyncio.run(monitor_picture()), encoding="utf-8")


if __name__ == "__main__":
    main()
