"""When a run counts as stalled."""

from __future__ import annotations

from core.engine.stalled import PATIENCE_SECONDS, Stall


def test_it_is_said_once_and_again_only_after_something_has_happened() -> None:
    clock = [0.0]
    stall = Stall(lambda: clock[0])
    clock[0] = PATIENCE_SECONDS
    assert not stall.look(1, 0, 60.0)
    clock[0] += 3600.0
    assert stall.suspected and stall.look(1, 4, 60.0)
    assert stall.sentence == "stalled: nothing has begun or ended for 7 h, though 1 tasks run and 4 wait in the queue"
    assert not stall.look(1, 4, 60.0)
    stall.moved()
    assert not stall.sentence and not stall.look(1, 4, 60.0)
    clock[0] += PATIENCE_SECONDS + 1.0
    assert stall.look(1, 4, 60.0)


def test_long_tasks_are_given_their_time_and_nothing_stalls_where_nothing_is_to_come() -> None:
    clock = [0.0]
    stall = Stall(lambda: clock[0])
    clock[0] = 23.0 * 3600
    assert not stall.look(3, 0, 8 * 3600.0)
    assert not stall.look(0, 0, 0.0)
    clock[0] = 24.1 * 3600
    assert stall.look(3, 0, 8 * 3600.0)
