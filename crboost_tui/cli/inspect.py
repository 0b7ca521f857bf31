"""Look at movies and mdocs: what each tilt series is, and what is odd about it. Nothing is written.

crboost inspect --frames '/data/session/*.eer' --mdocs '/data/session/*.mdoc'
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.errors import InputError
from crboost_tui.cli._common import add_json, columns, folded, print_json
from crboost_tui.terminal import Terminal, cell_width, shorten

if TYPE_CHECKING:
    from core.dataset.scan import Inspection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    add_json(parser)


def add_data(parser: argparse.ArgumentParser) -> None:
    """``--frames`` and ``--mdocs``."""
    parser.add_argument(
        "--frames", action="append", default=[], metavar="PATTERN", help="movies: a pattern or a folder"
    )
    parser.add_argument("--mdocs", action="append", default=[], metavar="PATTERN", help="mdocs: a pattern or a folder")


def run(options: argparse.Namespace) -> int:
    found = look(options)
    if options.json:
        print_json(as_json(found))
        return 0
    for line in overview_lines(found, Terminal.of()):
        print(line)
    return 0


def look(options: argparse.Namespace) -> Inspection:
    """Inspect what the options name, with a progress bar where a person watches."""
    if not options.mdocs:
        raise InputError("Say where the mdocs are: --mdocs '/data/session/*.mdoc'")
    from core.dataset.scan import inspect

    return inspect(options.frames, options.mdocs, progress=progress_bar("mdocs"))


def progress_bar(what: str) -> Any:
    """A function of (done, total) that draws on standard error, None where nobody would see it."""
    terminal = Terminal.of(sys.stderr)
    if not sys.stderr.isatty():
        return None
    shown = -1

    def draw(done: int, total: int) -> None:
        nonlocal shown
        share = int(30 * done / total) if total else 30
        if share == shown and done != total:
            return
        shown = share
        bar = terminal.text("█" * share + "░" * (30 - share))
        end = "\r\x1b[2K" if done >= total else ""
        print(f"\r  {bar} {done} of {total} {what}{end}", end="", file=sys.stderr, flush=True)

    return draw


def as_json(found: Inspection) -> dict[str, Any]:
    from dataclasses import asdict

    from core.dataset.overview import row

    departures = found.overview.departures
    return {
        "headline": found.overview.headline,
        "series": [
            {
                **asdict(row(series, departures.get(series.id, ()))),
                "name": series.name,
                "mdoc": series.mdoc,
                "group": series.group,
                "detected": {name: asdict(value) for name, value in series.detected.items()},
                "tilts_unusable": [
                    {"id": tilt, "problem": problem}
                    for tilt, problem in zip(series.tilts.ids, series.tilts.problem, strict=True)
                    if problem
                ],
            }
            for series in found.series
        ],
        "majorities": [asdict(majority) for majority in found.overview.majorities],
        "refused": [asdict(refused) for refused in found.refused],
    }


def overview_lines(found: Inspection, terminal: Terminal) -> list[str]:
    """The table by which a person decides whether to begin."""
    from core.dataset.overview import row

    departures = found.overview.departures
    rows = [row(series, departures.get(series.id, ())) for series in found.series]
    odd = sum(bool(one.notes) for one in rows)
    told = "  ".join(
        terminal.state(state, f"{mark} {count} {word}")
        for state, mark, count, word in (
            ("+", "✓", len(rows) - odd, "good"), ("!", "!", odd, "odd"), ("x", "✗", len(found.refused), "refused")
        )
    )  # fmt: skip
    headline = f"  {found.overview.headline}"
    if cell_width(f"{headline}    {told}") <= terminal.width:
        lines = [f"{headline}    {told}", ""]
    else:
        lines = [*(f"  {line}" for line in folded(found.overview.headline, terminal.width - 2)), f"  {told}", ""]
    table = [("", "series", "tilts", "range", "first", "scheme", "dose", "pixel", "axis", "missing")]
    for one in rows:
        pixel = "–" if one.pixel_size_angstrom is None else f"{one.pixel_size_angstrom:.4g} {one.pixel_size_source}"
        table.append(
            (
                "!" if one.notes else "✓",
                one.series,
                str(one.tilts),
                f"{one.lowest_deg:+.0f} … {one.highest_deg:+.0f}",
                _signed(one.first_deg),
                one.scheme or "–",
                "–" if one.total_dose_e_per_a2 is None else f"{one.total_dose_e_per_a2:.1f}",
                pixel.strip(),
                "–" if one.tilt_axis_deg is None else f"{one.tilt_axis_deg:.1f}",
                str(one.missing) if one.missing else "–",
            )
        )
    (head, *body), same = _fitting(table, terminal.width - 2)
    if same:
        lines += [f"  {line}" for line in folded(f"All of them: {', '.join(same)}.", terminal.width - 2)] + [""]
    lines.append(terminal.paint("  " + head, "2"))
    for one, text in zip(rows, body, strict=True):
        mark = "!" if one.notes else "+"
        lines.append("  " + terminal.state(mark, text[0]) + text[1:])
        lines += [f"     {terminal.state('!')} {shorten(note, terminal.width - 8)}" for note in one.notes]
    for refused in found.refused:
        name = refused.mdoc.rsplit("/", 1)[-1]
        lines.append(f"  {terminal.state('x')}  {shorten(f'{name}: {refused.reason}', terminal.width - 6)}")
    return [terminal.text(line) for line in lines]


def _fitting(table: Sequence[Sequence[str]], width: int) -> tuple[list[str], list[str]]:
    """A table as lines. Where they are too wide, columns that say the same in every row are left out and told apart."""
    rows = [list(row) for row in table]
    same: list[str] = []
    while True:
        head = rows[0]
        right = [index for index, name in enumerate(head) if name in ("tilts", "first", "dose", "axis", "missing")]
        lines = columns(rows, right=right)
        alike = [index for index in range(2, len(head)) if len({row[index] for row in rows[1:]}) == 1]
        if not alike or max(map(cell_width, lines)) <= width:
            return lines, same
        widest = max(alike, key=lambda index: max(cell_width(row[index]) for row in rows))
        same.append(f"{head[widest]} {rows[1][widest]}")
        for row in rows:
            del row[widest]


def _signed(angle_deg: float) -> str:
    return f"{angle_deg:+.1f}" if abs(angle_deg) >= 0.05 else "0.0"
