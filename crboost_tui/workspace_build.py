"""The thread that makes forms, scripts and costs while somebody types: of several wishes only the newest is served."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import CrboostError
from crboost_tui.form import Form
from crboost_tui.workspace_data import (
    NO_COST,
    PROJECT,
    Built,
    Cost,
    Edited,
    Opened,
    Rendered,
    build,
    changed_lines,
    cost_of,
    edit,
    plan_of,
    rendered,
    without_wrong,
)

if TYPE_CHECKING:
    from core.engine.status import Status

PAUSE_SECONDS = 0.15
"""So long typing must rest before a plan is made of it."""
HEAD_START_SECONDS = 0.02
"""What a key changes by itself is drawn first: two threads that compute at once are each half as fast."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What the screen shows now. ``tab``: its name. ``unsaved``: whether the edits are more than the project file."""

    number: int
    opened: Opened
    edits: Mapping[str, str | None]
    job: str
    tab: str
    key: str
    per_series: tuple[str, ...]
    compare: str
    unsaved: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """What is there at once. ``form`` is that of ``job`` and ``tab``, where these have one."""

    number: int
    built: Built
    job: str
    tab: str
    form: Form | None


@dataclass(frozen=True, slots=True)
class Costly:
    """What takes a plan. ``changed``: lines of the script that are not as they were shown before, or as they are with
    what is saved where it was not shown yet."""

    number: int
    cost: Cost
    rendered: Rendered | None = None
    changed: frozenset[int] = frozenset()


class Builder:
    """:meth:`ask` from the screen, :meth:`work` in a thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._wish: Ask | None = None
        self._woken = threading.Event()
        self._closed = False
        self._script: tuple[tuple[str, str], tuple[str, ...], frozenset[int]] = (("", ""), (), frozenset())

    def ask(self, wish: Ask) -> None:
        self._wish = wish
        self._woken.set()

    def close(self) -> None:
        self._closed = True
        self._woken.set()

    def work(self, data: Path) -> Iterator[Shown | Costly | str]:
        """Serve wishes until :meth:`close`; a sentence where one could not be."""
        from core.engine.reading import StatusFollower

        follower: StatusFollower | None = None
        problem = ""
        while True:
            self._woken.wait()
            self._woken.clear()
            time.sleep(HEAD_START_SECONDS)
            wish = self._wish
            if self._closed:
                return
            if wish is None:
                continue
            try:
                if follower is None:
                    follower = StatusFollower(self.root)
                else:
                    follower.update()
                status = follower.status
                edited = edit(wish.opened, wish.edits)
                if edited is None:
                    form = Form(wish.job, (), empty="The project file cannot be read; tasks, log and results can.")
                    yield Shown(wish.number, Built(slots_of=wish.job), wish.job, wish.tab, form)
                    yield Costly(wish.number, NO_COST)
                    continue
                folders = {job.id: self.root / job.folder for job in status.jobs if job.folder}
                built = build(edited, folders, wish.job)
                yield Shown(wish.number, built, wish.job, wish.tab, form_of(wish, edited, status))
                if self._woken.wait(PAUSE_SECONDS):
                    continue
                yield self._costly(wish, edited, built, status, folders, data)
                problem = ""
            except Exception as error:
                follower = None
                sentence = str(error) if isinstance(error, CrboostError) else f"{type(error).__name__}: {error}"
                if sentence != problem:
                    problem = sentence
                    yield sentence

    def _costly(
        self, wish: Ask, edited: Edited, built: Built, status: Status, folders: Mapping[str, Path], data: Path
    ) -> Costly:
        from core.engine.impact import impact

        good = without_wrong(wish.edits, built.troubles)
        planned = edited if len(good) == len(wish.edits) else edit(wish.opened, good)
        assert planned is not None
        plan = plan_of(planned, folders)
        cost = cost_of(impact(plan, status), wish.unsaved) if status.jobs else NO_COST
        if wish.tab != "Script" or wish.job not in plan.jobs:
            return Costly(wish.number, cost)
        tasks = plan.jobs[wish.job].tasks
        key = wish.key if wish.key in tasks else next(iter(tasks), "")
        if planned is not edited:
            plan = plan_of(edited, folders)
        found = rendered(edited, plan, status, data, wish.job, key, key or "no tilt series")
        place, before, marked = self._script
        if found.problem:
            return Costly(wish.number, cost, found)
        if place != (wish.job, key):
            before, marked = found.script, frozenset()
            saved = edit(wish.opened, {}) if wish.unsaved else None
            if saved is not None and wish.job in {each.id for each in saved.model.pipeline}:
                old = rendered(saved, plan_of(saved, folders), status, data, wish.job, key, key)
                before = old.script or before
        if before != found.script:
            marked = changed_lines(before, found.script)
        self._script = ((wish.job, key), found.script, marked)
        return Costly(wish.number, cost, found, marked)


def form_of(wish: Ask, edited: Edited, status: Status) -> Form | None:
    """The form that the present tab shows."""
    from crboost_tui.forms import acquisition_form, instrument_form, parameter_form, resource_form

    sources = wish.opened.sources
    assert sources is not None
    ids = {each.id for each in edited.model.pipeline}
    if wish.tab not in ("Parameters", "Resources"):
        return None
    if wish.job == PROJECT:
        if wish.tab == "Resources":
            return Form("Microscope and data", (), empty="Choose a job on the left.")
        groups = list(dict.fromkeys(each.group for each in sources.registry.series))
        fields = list(instrument_form(sources.project, sources.registry, wish.edits).fields)
        fields = [replace(each, group="Microscope, for all") for each in fields]
        for group in groups:
            one = acquisition_form(sources.project, sources.registry, group, wish.edits)
            lead = f"{group}: " if len(groups) > 1 else ""
            fields += [replace(each, group=f"{lead}{each.group}") for each in one.fields]
        return Form("Microscope and data", tuple(fields), empty="There are no tilt series yet: crboost add adds some.")
    if wish.job not in ids:
        return Form(wish.job, (), empty="This job stands no more in the project file.")
    if wish.tab == "Resources":
        return resource_form(sources, wish.job, wish.edits, wish.compare or None, status)
    return parameter_form(sources, wish.job, wish.edits, list(wish.per_series) or None, wish.compare or None, status)
