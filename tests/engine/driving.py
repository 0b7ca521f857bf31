"""An engine in this process, stepped by hand, so that what surrounds it can be made to fail."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from core.engine.engine import Engine
from tests.rehearsed import DATA


@contextlib.contextmanager
def engine_of(root: Path) -> Iterator[Engine]:
    # Slots of its own: others of this host may be taken by whoever tests beside us.
    with mock.patch("core.cluster.slots.slot_folder", lambda: root.with_name("slots")):
        engine = Engine(root, DATA, lambda: None)
        try:
            yield engine
        finally:
            with contextlib.suppress(Exception):
                engine.finish(anyway=True)
            engine.close()


def drive(engine: Engine, until: Callable[[], object] | None = None, seconds: float = 60.0) -> None:
    """Step until ``until()`` is true, by default until there is nothing left to do."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        engine.step()
        if until() if until is not None else engine.idle():
            return
        time.sleep(0.01)
    raise AssertionError([(job.id, "".join(job.states), job.causes) for job in engine.ledger.status.jobs])


class _Killed(BaseException):
    """Nothing that is there for errors sees it."""


def kill_before_saving(engine: Engine, when: Callable[[], object]) -> None:
    """Step until ``when()`` is true at a moment in which the engine would save its ledger, and end it there as a kill
    does: with whatever it has done since it saved last, and without another word."""
    save = engine.ledger.save

    def killed(*, force: bool = False) -> None:
        if when():
            raise _Killed
        save(force=force)

    with mock.patch.object(engine.ledger, "save", killed), pytest.raises(_Killed):
        drive(engine, until=lambda: False)
    engine.paths.lease.unlink()  # so it cannot end in order any more, and another one may begin


def letters(engine: Engine, instance: str) -> str:
    return "".join(engine.ledger.job(instance).states)


def sentences(engine: Engine) -> str:
    return " | ".join(need.sentence for need in engine.ledger.status.needs)
