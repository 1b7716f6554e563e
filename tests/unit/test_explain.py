"""What a job says of itself, as text."""

from typing import Any

import pytest

from treadle.client.explain import explain
from treadle.core.gates.gate import BREAKER, PLACES, RATE, WINDOW, Gate
from treadle.core.job import AttemptRecord, ErrorInfo, JobRecord, JobState, write_error
from treadle.core.settings import Settings
from treadle.store.parts.keyed import KeyRecord

NOW = 1_700_000_000_000_000
SECOND = 1_000_000
ID = bytes(range(16))
TEXT = "00010203-0405-0607-0809-0a0b0c0d0e0f"


def story(state: JobState, *attempts: AttemptRecord, **fields: object) -> str:
    """Explain a job of this state."""
    known: dict[str, Any] = {
        "id": ID,
        "task": "shop.mail",
        "queue": "email",
        "state": state,
        "priority": 0,
        "attempt": 1,
        "claim": 1,
        "args": b"[1,[]]",
        "created_at": NOW - 90 * SECOND,
        "run_at": NOW - 60 * SECOND,
        "as_of": NOW,
    }
    held = fields.pop("held", None)
    gate = fields.pop("at", None)
    assert held is None or isinstance(held, KeyRecord)
    assert gate is None or isinstance(gate, Gate)
    shown = None if gate is None else gate.record(1, 1, NOW, holds=2)
    return explain(JobRecord(**(known | fields)), attempts, Settings(), held, shown)


def test_a_retrying_job() -> None:
    """The whole text of a job that waits for its next attempt."""
    error = ErrorInfo("ConnectionError", "refused\nby host", "Traceback ...")
    said = "ConnectionError: refused by host"
    attempt = AttemptRecord(
        1, 1, "web-1:42", NOW - 20 * SECOND, NOW - 12 * SECOND, "failed", error, 7_500_000
    )
    assert story(
        JobState.RETRYING,
        attempt,
        run_at=NOW + 18 * SECOND,
        finished_at=NOW - 12 * SECOND,
        error=write_error(error),
    ).splitlines() == [
        f"Job {TEXT}: shop.mail in queue 'email', priority 0",
        "State: retrying since 2023-11-14 22:13:08Z (12 s ago); 1 of 5 attempts spent",
        "Why: Attempt 1 failed; the retry policy lets it rest.",
        f"Error: {said}",
        "Next: it becomes ready in 18 s, at 2023-11-14 22:13:38Z; then a worker starts attempt 2.",
        f"To do: nothing; `treadle jobs retry {TEXT}` starts it now.",
        "Attempts:",
        f"  1. 2023-11-14 22:13:00Z  failed after 7.5 s on web-1:42: {said}",
        "As of 2023-11-14 22:13:20Z.",
    ]


@pytest.mark.parametrize(
    ("state", "fields", "says"),
    [
        (JobState.READY, {"attempt": 0}, ["No worker has taken it yet", "(1 min ago)", "ls`"]),
        (JobState.READY, {"forgiven": 1}, ["0 of 5 attempts spent, 1 more forgiven"]),
        (JobState.SCHEDULED, {"run_at": NOW - 1}, ["becomes ready at once"]),
        (JobState.SCHEDULED, {"run_at": NOW + 90_000 * SECOND}, ["in 1 d 1 h", "has not come"]),
        (
            JobState.SCHEDULED,
            {"reason": "unknown_task"},
            ["knows the task 'shop.mail'", "aliases=['shop.mail']"],
        ),
        (
            JobState.RUNNING,
            {"worker": "w", "started_at": NOW - 250_000},
            ["Worker w runs attempt 1", "(250 ms ago)", "within about 20 s", "jobs cancel"],
        ),
        (JobState.BLOCKED, {}, ["waits for other jobs", "have ended"]),
        (JobState.SUCCEEDED, {"keep_until": NOW}, ["nothing; its record is kept until 2023"]),
        (JobState.CANCELLED, {"reason": "not wanted"}, ["It was cancelled: not wanted."]),
        (JobState.CANCELLED, {"reason": "cancelled"}, ["It was cancelled.", "runs it after all"]),
        (JobState.EXPIRED, {"expires_at": NOW}, ["had not started by 2023-11-14 22:13:20Z"]),
        (JobState.FAILED, {"reason": "exhausted"}, ["none is left", "dead replay"]),
        (JobState.FAILED, {"reason": "not_retried"}, ["does not try again"]),
        (JobState.FAILED, {"reason": "poison", "crashes": 3}, ["3 of 3 allowed"]),
        (JobState.FAILED, {"reason": "unknown_task"}, ["No worker knew its task for 1 d."]),
        (JobState.FAILED, {"reason": "bad_result"}, ["what it returned cannot be stored"]),
        (JobState.FAILED, {"reason": "no such user"}, ["Its task rejected it: no such user"]),
        (JobState.FAILED, {"attempts_max": 1}, ["1 of 1 attempt spent"]),
    ],
)
def test_each_state_says_why_and_what_next(
    state: JobState, fields: dict[str, Any], says: list[str]
) -> None:
    """Each state and reason has its own words for why, what next and what to do."""
    told = story(state, **fields)
    for part in says:
        assert part in told


def test_a_running_attempt_has_no_end() -> None:
    """The attempt that runs is listed without an outcome of its own."""
    attempt = AttemptRecord(2, 5, "w", NOW - SECOND, None, "")
    assert "  2. 2023-11-14 22:13:19Z  running on w\n" in story(JobState.RUNNING, attempt)


def test_a_long_error_is_cut() -> None:
    """An error takes one line of bounded length."""
    told = story(JobState.FAILED, error=write_error(ErrorInfo("E", "x" * 5_000)))
    assert max(map(len, told.splitlines())) < 400


OTHER = bytes(range(1, 17))
OTHER_TEXT = "01020304-0506-0708-090a-0b0c0d0e0f10"


@pytest.mark.parametrize(
    ("state", "held", "said"),
    [
        (JobState.READY, KeyRecord("k", ID, "end"), "it holds 'k' until it has ended."),
        (JobState.READY, KeyRecord("k", ID, "claim"), "it holds 'k' until it is first started."),
        (
            JobState.SUCCEEDED,
            KeyRecord("k", ID, "time", NOW + SECOND),
            "it holds 'k' until 2023-11-14 22:13:21Z.",
        ),
        (
            JobState.RUNNING,
            KeyRecord("k", ID, "end", next=OTHER),
            f"it holds 'k' until it has ended; job {OTHER_TEXT} waits behind it.",
        ),
        (
            JobState.BLOCKED,
            KeyRecord("k", OTHER, "end", next=ID),
            f"'k' is held by job {OTHER_TEXT}, and it is the next to have it.",
        ),
        (
            JobState.FAILED,
            KeyRecord("k", OTHER, "end"),
            (
                f"'k', which job {OTHER_TEXT} holds by now; until that has ended this one cannot "
                "be put back."
            ),
        ),
        (JobState.SUCCEEDED, None, "'k', which it no longer holds; it is free."),
    ],
)
def test_a_job_with_a_key(state: JobState, held: KeyRecord | None, said: str) -> None:
    """It is told which key the job holds, or which job keeps it from that."""
    assert f"Key: {said}" in story(state, key="k", held=held).splitlines()


def test_a_job_that_waits_behind_another_one() -> None:
    """It waits for its key, which is no fault of anybody's."""
    text = story(JobState.BLOCKED, key="k", reason="key", held=KeyRecord("k", OTHER, "end"))
    assert "Why: Another job holds its key and runs." in text
    assert "Next: it has its turn when the job that holds its key has ended." in text


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        (Gate("g", PLACES, 5, used=5), "where 5 of 5 places are taken, 2 of them outside jobs."),
        (
            Gate("g", RATE, 1, 60 * SECOND, 1, full_at=NOW + 60 * SECOND),
            "which lets 1 start in 60 s; the next one may at 2023-11-14 22:14:20Z.",
        ),
        (
            Gate("g", WINDOW, 1, 60 * SECOND, 1, lately=[NOW - 20 * SECOND, 1]),
            "which lets 1 start in any 60 s; the next one may at 2023-11-14 22:14:00Z.",
        ),
        (
            Gate("g", BREAKER, 1, 60 * SECOND, shut_until=NOW + SECOND, tripped=1, note="down"),
            "a breaker that is open until 2023-11-14 22:13:21Z, after 1 failure in 60 s: down.",
        ),
        (
            Gate("g", BREAKER, 5, 60 * SECOND, tripped=1, probe=ID),
            "a breaker that is half open: it lets one job through at a time, and closes",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Gate) else "",
)
def test_a_parked_job_says_what_keeps_it_at_its_gate(gate: Gate, told: str) -> None:
    """The places and who has them, when a rate lets it pass, what a breaker has seen."""
    said = story(JobState.BLOCKED, reason="gate", gate="g", at=gate)
    assert f"Why: It is parked at the gate 'g', {told}" in said
