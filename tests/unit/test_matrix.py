"""Words, widths and cells of the matrix that screens and ``crboost status`` share."""

from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st

from core.engine.events import Event
from core.engine.states import TaskState
from core.engine.status import JobStatus, Status
from crboost_tui import matrix
from crboost_tui.terminal import ASCII_TWINS, Terminal, cell_width, fit, glyph, shorten
from tests.tui import seed


def jobs(*ids: str) -> list[JobStatus]:
    return [JobStatus(id=id, type=id, title=id) for id in ids]


def test_labels_are_words_and_differ() -> None:
    pipeline = jobs(*(id for id, _, _ in seed.JOBS))
    assert matrix.labels(pipeline, 6) == ["movies", "motion", "import", "align", "level", "ctf", "recon"]
    assert matrix.labels(pipeline, 3) == ["mov", "mot", "imp", "ali", "lev", "ctf", "rec"]
    assert matrix.labels(jobs("templatematching__ribosome", "templatematching__proteasome"), 6) == ["riboso", "protea"]
    assert len(set(matrix.labels(jobs("tsCtf", "tsCtf__again"), 6))) == 2


def test_counts_and_finished_series() -> None:
    found = seed.status()
    assert dict(matrix.counts(found))[TaskState.FAILED] == 1
    assert matrix.finished(found) == 0
    assert matrix.finished(seed.finished()) == 9
    assert [state for state, _ in matrix.counts(seed.finished())] == [TaskState.DONE, TaskState.FAILED]


def test_two_jobs_of_a_type_are_told_apart() -> None:
    two = jobs("aligntiltsWarp", "aligntiltsWarp__2", "tsCtf__a")
    assert matrix.labels(two, 7) == ["align", "align 2", "ctf a"]
    assert matrix.labels(two, 6) == ["align", "align2", "ctf a"]
    assert matrix.labels(two, 3) == ["ali", "al2", "cta"]
    for job in two[:2]:
        job.cohorts, job.states = ["@axis_optics1"], ["+"]
    two[2].cohorts, two[2].states = ["@pool_all"], ["."]
    found = [row.name for row in matrix.rows(Status(jobs=two))]
    assert found == ["axis optics1 align", "axis optics1 align 2", "pool all"]


def test_excluded_series_are_counted_apart() -> None:
    found = seed.finished(8)
    assert matrix.series_words(found) == "8 of 8 series finished"
    for job in found.jobs:
        job.states[1] = "-"
    assert matrix.series_words(found) == "7 of 7 series finished, 1 excluded"


def test_a_run_that_failed_says_how_much_failed() -> None:
    found = seed.finished()
    found.jobs[3].states[0] = "x"
    assert matrix.doing(found) == "1 failed"


def test_what_happens_now() -> None:
    found = seed.status()
    short = matrix.labels(found.jobs, 6)
    now = [matrix.now(found, row, short, matrix.queue_waits(found)) for row in matrix.rows(found)]
    assert now[0] == "recon 62 %"
    assert now[2] == "align: AreTomo2 ended with code 1, no .aln written"
    assert now[8] == "motion queued"


def test_used_tilts_are_of_all() -> None:
    found = seed.status()
    assert matrix.number_text(found, "Position_2", matrix.USED) == "40/41"
    assert matrix.number_text(found, "Position_9", matrix.NUMBERS[-1]) == "3.10"
    assert matrix.number_text(found, "nobody", matrix.USED) == "–"


def test_durations() -> None:
    told = [matrix.duration(seconds) for seconds in (-3, 42, 425, 11520, 187_200)]
    assert told == ["0 s", "42 s", "7 m", "3 h 12 m", "2 d 4 h"]


def test_events_as_sentences() -> None:
    found = seed.status()

    def told(kind: str, **values: object) -> tuple[str, str] | None:
        return matrix.event_text(Event(1, 0.0, kind, values), found)

    assert told("task", job="tsCtf", key="TS_1", state="x", cause="no .xml") == ("x", "TS_1  tsCtf failed: no .xml")
    assert told("task", job="tsCtf", key="TS_1", state=">", progress=0.5) is None
    assert told("task", job="tsCtf", key="TS_1", state="o") is None
    assert told("task", job="align", key="@axis_g1", state="+") == ("+", "axis g1  align done")
    assert told("job", job="tsCtf", state="Succeeded") == ("+", "tsCtf finished")
    assert told("job", job="tsCtf", paused="paused after 5 failures") == ("!", "tsCtf is paused after 5 failures")
    assert told("of a newer program", x=1) is None


def test_every_state_has_a_glyph_and_an_ascii_twin() -> None:
    assert len({glyph(state.value, True) for state in TaskState}) == len(TaskState)
    for state in TaskState:
        assert glyph(state.value, False).isascii()
        assert cell_width(glyph(state.value, True)) == 1
    assert glyph("Z", True) == "Z"


@settings(max_examples=60)
@given(st.text(max_size=60), st.integers(0, 40))
def test_fit_gives_exactly_the_cells(text: str, cells: int) -> None:
    assert cell_width(shorten(text, cells)) <= cells
    assert cell_width(fit(text, cells)) == cells
    assert "\n" not in fit(text, cells)
    assert "\x1b" not in fit(text, cells)


def test_plain_streams_get_no_escapes() -> None:
    terminal = Terminal.of(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert not terminal.colour
    assert terminal.text(terminal.state("+") + " Å ─ · –").isascii()
    assert all(len(twin) >= 1 for twin in ASCII_TWINS.values())
