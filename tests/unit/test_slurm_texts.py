"""What Slurm prints and says: queues, indices, accounting, states, reasons, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cluster.slurm import NotKnown, indices_text, parse_accounts, parse_indices, parse_queue
from core.cluster.slurm_words import (
    REASONS,
    STATES,
    Phase,
    Refusal,
    Trouble,
    reason_meaning,
    refusal,
    sentence,
    state_meaning,
    unanswered,
    waiting_words,
)


def line(*fields: str) -> str:
    return "\x1f".join(fields) + "\n"


HEADER = line("ARRAY_JOB_ID", "ARRAY_TASK_ID", "STATE", "REASON", "NODELIST", "PARTITION", "START_TIME", "NAME")
ROW = line("7", "0", "RUNNING", "None", "n1", "gpu", "N/A", "crb")


def test_a_queue_with_an_array_half_begun() -> None:
    text = HEADER + line("7", "3-5,9%2", "PENDING", "Resources", "", "gpu", "N/A", "crb|a")
    text += line("7", "0", "RUNNING", "None", "n1", "gpu", "2026-11-23T12:00:00", "crb|a")
    queue = parse_queue(text)
    assert list(queue.rows) == [(7, 3), (7, 4), (7, 5), (7, 9), (7, 0)]
    row = queue.row((7, 0))
    assert row is not None and row.phase == Phase.RUNNING and row.node == "n1" and row.start > 1.7e9
    assert queue.row((7, 8)) is None and queue.row((8, 0)) is None
    assert queue.named("crb|a") == 7 and queue.named("other") is None


def test_an_array_that_was_cancelled_before_it_began_speaks_for_all_its_indices() -> None:
    queue = parse_queue(
        HEADER
        + line("15", "N/A", "CANCELLED", "Resources", "", "main", "2026-11-27T20:20:49", "x")
        + line("15", "1", "COMPLETED", "None", "n1", "main", "2026-11-27T20:20:48", "x")
    )
    done, never = queue.row((15, 1)), queue.row((15, 18))
    assert done is not None and done.state == "COMPLETED"
    assert never is not None and never.meaning.trouble == Trouble.CANCELLED


def test_an_empty_queue_is_not_the_same_as_no_answer() -> None:
    assert not parse_queue(HEADER).rows
    assert parse_queue("*** Maintenance on Friday ***\n\n" + HEADER + ROW).named("crb") == 7
    with pytest.raises(NotKnown, match="understands"):
        parse_queue("")


@pytest.mark.parametrize(
    "text",
    [
        "slurm_load_jobs error: Socket timed out\n",
        ROW,
        HEADER + "7|0|RUNNING\n",
        HEADER + line("x", *"0123456"),
        HEADER + ROW + "slurm_load_jobs error: Zero Bytes were transmitted or received\n",
    ],
)
def test_anything_else_is_not_known(text: str) -> None:
    with pytest.raises(NotKnown, match="understands"):
        parse_queue(text)


@given(st.sets(st.integers(0, 3000), min_size=1))
def test_indices_come_back(indices: set[int]) -> None:
    assert parse_indices(indices_text(list(indices))) == sorted(indices)


def test_indices_as_slurm_prints_them() -> None:
    assert parse_indices("[0-3%2]") == [0, 1, 2, 3]
    assert parse_indices("1,5-9:2") == [1, 5, 7, 9]
    with pytest.raises(NotKnown):
        parse_indices("1,...")


def test_accounting_takes_the_memory_of_the_steps() -> None:
    text = (
        "7_0|COMPLETED|120|00:03:30.5|2||crb\n"
        "7_0.batch|COMPLETED|120|00:03:30.5|2|1048576K|batch\n"
        "7_1|CANCELLED by 1000|5|00:00.010|1||some|body\n"
    )
    found = parse_accounts(text)
    assert found["7_0"].usage() == {"memory_gb": 1.074, "minutes": 2.0, "cpu_percent": 87.7}
    assert found["7_1"].usage() == {"minutes": 0.08, "cpu_percent": 0.2}
    assert (found["7_0"].name, found["7_1"].name) == ("crb", "some|body")
    assert state_meaning(found["7_1"].state).trouble == Trouble.CANCELLED
    with pytest.raises(NotKnown):
        parse_accounts("accounting storage is disabled\n")


# Every state of slurm.h (22.05 to 24.11), with squeue's and sacct's ways of cutting and decorating it.
@pytest.mark.parametrize(
    ("raw", "phase", "trouble"),
    [
        ("PENDING", Phase.PENDING, Trouble.NONE),
        ("CONFIGURING", Phase.PENDING, Trouble.NONE),
        ("REQUEUE_HOLD", Phase.PENDING, Trouble.REQUEUED),
        ("RUNNING", Phase.RUNNING, Trouble.NONE),
        ("SUSPENDED", Phase.RUNNING, Trouble.NONE),
        ("COMPLETING", Phase.RUNNING, Trouble.NONE),
        ("COMPLETED", Phase.ENDED, Trouble.NONE),
        ("FAILED", Phase.ENDED, Trouble.NONE),
        ("TIMEOUT", Phase.ENDED, Trouble.TIME),
        ("OUT_OF_MEMORY", Phase.ENDED, Trouble.MEMORY),
        ("OUT_OF_ME+", Phase.ENDED, Trouble.MEMORY),
        ("NODE_FAIL", Phase.ENDED, Trouble.NODE),
        ("BOOT_FAIL", Phase.ENDED, Trouble.NODE),
        ("PREEMPTED", Phase.ENDED, Trouble.PREEMPTED),
        ("CANCELLED by 1000", Phase.ENDED, Trouble.CANCELLED),
        ("SOMETHING_NEW", Phase.UNKNOWN, Trouble.NONE),
    ],
)
def test_states(raw: str, phase: Phase, trouble: Trouble) -> None:
    meaning = state_meaning(raw)
    assert (meaning.phase, meaning.trouble) == (phase, trouble)
    assert meaning.words


def test_only_a_known_end_is_an_end() -> None:
    assert all(meaning.phase != Phase.UNKNOWN for meaning in STATES.values())
    assert state_meaning("").phase == Phase.UNKNOWN


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "waiting for a GPU in partition gpu: 3 jobs before it"),
        ("Dependency", "held by its dependency"),
        ("AssocGrpGRES", "your group's limit of GPUs (AssocGrpGRES)"),
        ("QOSMaxJobsPerUserLimit", "your own limit of running jobs (QOSMaxJobsPerUserLimit)"),
        ("QOSGrpCpuLimit", "your group's limit of CPU cores (QOSGrpCpuLimit)"),
        ("(JobHeldUser)", "held in the queue by its owner: scontrol release lets it go on"),
        ("ReqNodeNotAvail, UnavailableNodes:n1", "the nodes that it needs are down, drained or reserved"),
        ("Nova", "Slurm says: Nova"),
    ],
)
def test_reasons_in_words(reason: str, words: str) -> None:
    assert waiting_words(reason, partition="gpu", gpus=True, ahead=3) == words


def test_what_only_a_person_can_change_is_marked() -> None:
    assert reason_meaning("PartitionTimeLimit").person and reason_meaning("QOSMaxWallDurationPerJobLimit").person
    assert not reason_meaning("Priority").person and not reason_meaning("AssocGrpGRES").person
    assert all("{" not in m.words.format(partition="p", what="w", ahead="") for m in REASONS.values())


FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    ("text", "kind", "field"),
    [
        ("sbatch: error: invalid partition specified: nope\n" + FAILED + "Invalid partition name specified",
         Refusal.FIELD, "partition"),
        (FAILED + "Invalid feature specification", Refusal.FIELD, "constraint"),
        (FAILED + "Invalid account or account/partition combination specified", Refusal.FIELD, "account"),
        (FAILED + "Invalid qos specification", Refusal.FIELD, "qos"),
        (FAILED + "Invalid generic resource (gres) specification", Refusal.FIELD, "gres"),
        ("sbatch: error: Memory specification can not be satisfied", Refusal.FIELD, "memory_gb"),
        (FAILED + "Requested time limit is invalid (missing or exceeds some limit)", Refusal.FIELD, "minutes"),
        (FAILED + "Requested node configuration is not available", Refusal.FIELD, "cpus"),
        (FAILED + "Invalid job array specification", Refusal.ARRAY, None),
        ("sbatch: error: AssocMaxSubmitJobLimit\n" + FAILED + "Job violates accounting/QOS policy (job submit limit, "
         "user's size and/or time limits)", Refusal.LIMIT, None),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + FAILED + "Job violates accounting/QOS policy (job submit "
         "limit, user's size and/or time limits)", Refusal.LIMIT, None),
        ("sbatch: error: QOSMaxWallDurationPerJobLimit\n" + FAILED + "Job violates accounting/QOS policy (job submit "
         "limit, user's size and/or time limits)", Refusal.FIELD, "minutes"),
    ],
)  # fmt: skip
def test_refusals_know_their_field(text: str, kind: Refusal, field: str | None) -> None:
    found, fields = refusal(text)
    assert found == kind
    assert (fields[0] if fields else None) == field
    assert not unanswered(text)


@pytest.mark.parametrize(
    "text",
    [
        FAILED + "Socket timed out on send/recv operation",
        FAILED + "Unable to contact slurm controller (connect failure)",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
        "squeue: error: Unable to contact slurm controller (connect failure)",
        "slurm_load_jobs error: Zero Bytes were transmitted or received",
    ],
)
def test_silence_is_no_refusal(text: str) -> None:
    assert unanswered(text)


def test_a_sentence_from_slurm_has_no_program_in_it() -> None:
    text = "sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: Invalid\n"
    assert sentence(text) == "invalid partition specified: x; Invalid"
