"""Make the pages that come from the code: ``python -m docs.make`` (``make docs``)."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from core.engine.states import GLYPH, MEANING, TaskState
from core.jobs._base import JobType
from core.jobs._registry import job_types
from core.jobs.fields import FieldInfo, Level, field_list
from crboost_tui.actions import Action, shown_key
from crboost_tui.cli.schema import allowed, value_text

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


def with_tables(page: str) -> str:
    """``the-app.md`` with its tables of keys and of states as the program has them now."""

    def keys(found: re.Match[str]) -> str:
        rows = ["| Key | Id | | |", "|---|---|---|---|", *(row for name in found[1].split() for row in _keys(name))]
        return "\n".join([f"<!-- keys: {found[1]} -->", *rows, "<!-- /keys -->"])

    page = re.sub(r"<!-- keys: (.*?) -->\n.*?<!-- /keys -->", keys, page, flags=re.S)
    states = [f"| {GLYPH[state]} | `{state.value}` | {MEANING[state]} |" for state in TaskState]
    states = ["| Glyph | without UTF-8 | |", "|---|---|---|", *states]
    block = "\n".join(["<!-- states -->", *states, "<!-- /states -->"])
    return re.sub(r"<!-- states -->\n.*?<!-- /states -->", lambda _: block, page, flags=re.S)


def _keys(name: str) -> list[str]:
    """A row for each action of ``package.module.NAME``."""
    module, _, attribute = name.rpartition(".")
    actions: tuple[Action, ...] = getattr(importlib.import_module(module), attribute)
    return [
        f"| {' '.join(f'`{_typed(key)}`' for key in action.keys.split(','))} | `{action.id}` | {action.label} "
        f"| {_cell(action.help)} |"
        for action in actions
    ]


def _typed(key: str) -> str:
    shown = shown_key(key)
    return f"ctrl+{shown[1:]}" if len(shown) > 1 and shown[0] == "^" else _cell(shown)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    (HERE / "job-types.md").write_text(job_types_page(), encoding="utf-8")
    app = HERE / "the-app.md"
    app.write_text(with_tables(app.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
