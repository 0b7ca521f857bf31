"""All checks of a site, side by side, each with its own time limit: doctor ends within 30 s whatever hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from core.checks import containers, engine, places, python, settings, slurm, terminal, tools
from core.checks.findings import Check, Finding, failed
from core.checks.side_by_side import Job, Result, side_by_side
from core.checks.surroundings import Screen, Surroundings
from core.errors import InputError
from core.jobs._registry import job_types
from core.project.model import ProjectFile
from core.project.site import Site

SETTINGS = "Settings"
READ_SECONDS = 4.5
"""For finding and reading the project and the settings, on which all else depends."""
CHECK_SECONDS = 21.0
"""For everything else together."""

Told = Callable[[int, Sequence[str]], None]
"""Hears how many checks have ended, and the names of those that have not."""


def all_checks(around: Surroundings, raw_folders: Iterable[str]) -> list[Check]:
    """Every check in the order in which it is shown."""
    look = partial(partial, around=around)
    return [
        Check("Python", "Python", look(python.version)),
        Check("Python", "packages", look(python.packages), 15.0),
        Check("Python", "crboost", look(python.ours)),
        Check(SETTINGS, "values", look(settings.values_in_force), late="A folder that they name does not answer."),
        *tools.checks(around),
        Check(containers.GROUP, "runtime", look(containers.runtime)),
        Check(containers.GROUP, "rights", look(containers.rights)),
        Check(containers.GROUP, "bind", look(containers.bind_and_write), containers.SECONDS),
        Check(slurm.GROUP, "Slurm", look(slurm.answers), 16.0),
        Check(slurm.GROUP, "limits", look(slurm.facts), 16.0),
        Check(slurm.GROUP, "resources", look(slurm.requests), 16.0),
        Check(slurm.GROUP, "template", look(slurm.template), 16.0),
        Check(slurm.GROUP, "a job", look(slurm.round_trip), 20.5),
        Check("Engine", "logout", look(engine.survives_logout)),
        Check("Engine", "limits", look(engine.limits)),
        *places.checks(around, raw_folders),
        Check("Terminal", "size", look(terminal.size_and_text)),
        Check("Terminal", "colours", look(terminal.colours)),
        Check("Terminal", "pictures", look(terminal.pictures)),
        Check("Terminal", "tmux", look(terminal.tmux), 18.0),
    ]


def examine(
    find_project: Callable[[], Path | None],
    data: Path,
    program: Path,
    screen: Screen,
    told: Told | None = None,
    came: Callable[[Finding], None] | None = None,
) -> list[Finding]:
    """Everything that was found, group by group. ``came`` gets each finding as soon as its check has ended.

    ``find_project`` gives the project's folder, None where there is none; it runs in a process of its own, since it
    may wait for a dead mount. Raises :class:`InputError` where that does: the project that was named is none.
    """
    job_types()  # imported once, before the processes part
    reading = (
        Reading("site's file", partial(settings.read_site, data), "Ask your administrator."),
        Reading("your file", partial(settings.read_user, data), "The disk of your home folder does not answer."),
        Reading("project", partial(_project, find_project, data), "Its disk does not answer: ask your administrator."),
    )
    read = side_by_side([Job(one.name, one.look, READ_SECONDS) for one in reading], READ_SECONDS)
    findings = [finding for one, result in zip(reading, read, strict=True) for finding in _read_findings(one, result)]
    around, raw = _surroundings(read, data, program, screen)
    checks = all_checks(around, raw)

    def ended(number: int, result: Result) -> None:
        tell(_findings(checks[number], result))

    def tell(known: Iterable[Finding]) -> None:
        if came is not None:
            for finding in known:
                came(finding)

    tell(findings)
    jobs = [Job(one.name, one.look, one.seconds) for one in checks]
    results = side_by_side(jobs, CHECK_SECONDS, told, ended)
    for check, result in zip(checks, results, strict=True):
        findings += _findings(check, result)
    order = list(dict.fromkeys(check.group for check in checks))
    return sorted(findings, key=lambda finding: order.index(finding.group))


def _project(find_project: Callable[[], Path | None], data: Path) -> Iterator[object]:
    try:
        root = find_project()
    except InputError as error:
        yield _NoProject(str(error))
        return
    if root is None:
        return
    yield root
    yield from settings.read_project(root, data)
    yield places.raw_folders(root)


class _NoProject(str):
    """Why what was named is no project."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Something that is read before all else. ``late``: what to do where that takes too long."""

    name: str
    look: Callable[[], Iterable[object]]
    late: str


def _read_findings(one: Reading, result: Result) -> Iterator[Finding]:
    for item, seconds in result.items:
        if isinstance(item, _NoProject):
            raise InputError(item)
        if isinstance(item, Finding):
            yield replace(item, group=SETTINGS, seconds=seconds)
    if result.late:
        found = f"not read within {READ_SECONDS:g} s; the other checks go on without"
        yield replace(failed(one.name, found, one.late), group=SETTINGS, seconds=READ_SECONDS)
    elif result.broken:
        yield replace(failed(one.name, result.broken, _BROKEN), group=SETTINGS)


def _surroundings(read: Sequence[Result], data: Path, program: Path, screen: Screen) -> tuple[Surroundings, list[str]]:
    """What was read, later settings before earlier ones; and the folders of the raw data."""
    items = [item for result in read for item, _ in result.items]
    sites = [item for item in items if isinstance(item, Site)]
    site = sites[-1] if sites else settings.shipped(data)
    root = next((item for item in items if isinstance(item, Path)), None)
    project = next((item for item in items if isinstance(item, ProjectFile)), None)
    raw = next((item for item in items if isinstance(item, list)), [])
    return Surroundings(data, program, screen, site, root, project), raw


def _findings(check: Check, result: Result) -> Iterator[Finding]:
    for item, seconds in result.items:
        yield replace(item, group=check.group, seconds=seconds)
    if result.late:
        found = f"{check.about}{': ' if check.about else ''}no answer within {check.seconds:g} s"
        advice = check.late or "Something that it asks hangs: try again, and ask your administrator."
        yield replace(failed(check.name, found, advice), group=check.group, seconds=check.seconds)
    elif result.broken:
        yield replace(failed(check.name, result.broken, _BROKEN), group=check.group)


_BROKEN = "This check could not go on; the others are not touched by it."
