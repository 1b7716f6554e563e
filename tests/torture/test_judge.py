"""The judge and the plan of torture runs: what is broken is found, and a seed is a plan."""

from collections.abc import Sequence
from typing import Final

import pytest

from tests.torture.judge import Found, Tally, call_to_account
from tests.torture.plan import Means, odds_of, plan
from tests.torture.report import figures, table
from treadle import JobState
from treadle.testing.ledger import Entry, Word

DONE: Final = JobState.SUCCEEDED
A: Final = Found("id-a", "a", "touch", DONE, 1)
MEANS: Final = Means("postgres", 4, 2, ("beat.after",), clocks=True, disk=True)


def lines(*said: tuple[Word, str, int]) -> list[Entry]:
    """Make lines of a ledger from (word, key, milliseconds)."""
    return [Entry(word, key, 1, at) for word, key, at in said]


WHOLE: Final = lines(
    ("TRY", "a", 1), ("OK", "a", 2), ("START", "a", 3), ("END", "a", 4),
    ("APPLIED", "id-a:1:succeeded", 5),
)  # fmt: skip


def judged(entries: Sequence[Entry], found: Sequence[Found], *, kills: Sequence[int] = ()) -> Tally:
    """Judge without what was seen during the run."""
    return call_to_account(entries, found, {}, kills)


def test_a_run_in_which_all_went_well_is_sound() -> None:
    """Every figure is there, and the table says so."""
    tally = judged(WHOLE, [A])
    assert tally.sound
    assert (tally.enqueued, tally.executed, tally.settled, tally.executed_again) == (1, 1, 1, 0)
    assert "verdict: sound" in table("a run", tally, {"reset": 2})
    assert figures(tally)["sound"] is True


def test_an_enqueue_without_an_answer_is_counted_found_or_not() -> None:
    """What raised, or was cut off, may be stored or not; what a sale enqueues goes with it."""
    unknown = lines(("TRY", "b", 1), ("ERR", "b", 2), ("TRY", "c", 1), ("TRY", "a/ship", 1))
    stored = [Found("id-b", "b", "touch", JobState.CANCELLED, 0)]
    tally = judged([*WHOLE, *unknown], [A, *stored])
    assert tally.sound
    assert (tally.indeterminate, tally.indeterminate_found, tally.enqueued) == (2, 1, 2)


def test_a_job_that_is_gone_is_lost() -> None:
    """It was acknowledged and is not there."""
    tally = judged(WHOLE, [])
    assert not tally.sound
    assert tally.lost == ["a"]
    assert "BROKEN" in table("a run", tally, {})


@pytest.mark.parametrize(
    ("kill", "lost", "forgotten"), [(1_500, [], ["a"]), (2_003, ["a"], []), (1, ["a"], [])]
)
def test_what_a_server_may_forget_is_counted_apart(
    kill: int, lost: list[str], forgotten: list[str]
) -> None:
    """Only what was answered in the two seconds before the kill, and only where that is given."""
    tally = judged(WHOLE, [], kills=[kill])
    assert (tally.lost, tally.forgotten) == (lost, forgotten)
    assert tally.sound == (not lost)


@pytest.mark.parametrize(
    "more",
    [
        lines(("APPLIED", "id-a:2:succeeded", 9)),
        lines(("APPLIED", "id-a:1:succeeded", 9)),
        lines(("APPLIED", "id-a:3:retrying", 9)),
    ],
    ids=["another claim", "the same claim", "back from its end"],
)
def test_two_verdicts_for_one_job_are_settled_twice(more: list[Entry]) -> None:
    """A worker whose claim another had taken over was told that its settlement applied."""
    tally = judged([*WHOLE, *more], [A])
    assert not tally.sound
    [name] = tally.settled_twice
    assert name.startswith("id-a a: applied")


def test_a_retry_before_the_end_is_no_second_settlement() -> None:
    """Under rising claim numbers a job may fail, be handed back, and end once."""
    before = lines(("APPLIED", "id-a:1:retrying", 3), ("APPLIED", "id-a:2:ready", 4))
    after = lines(("APPLIED", "id-a:3:succeeded", 5))
    assert judged([*WHOLE[:4], *before, *after], [A]).sound


def test_two_successes_in_the_store_are_settled_twice() -> None:
    """Also when the worker died before it could note its verdict."""
    [name] = judged(WHOLE, [Found("id-a", "a", "touch", DONE, 2)]).settled_twice
    assert "2 attempts succeeded" in name


def test_an_end_that_changed_is_settled_twice() -> None:
    """A job was seen in another terminal state, or another one was applied."""
    seen = call_to_account(WHOLE, [A], {"id-a": JobState.FAILED})
    assert "was seen as failed" in seen.settled_twice[0]
    failed = Found("id-a", "a", "touch", JobState.FAILED, 0)
    assert "succeeded was applied" in judged(WHOLE, [failed]).settled_twice[0]


def test_what_has_not_ended_or_was_not_tried_is_broken() -> None:
    """A job that hangs, and one that nobody enqueued."""
    hangs = Found("id-a", "a", "touch", JobState.RUNNING, 0)
    assert judged(WHOLE[:3], [hangs]).unsettled == ["a"]
    stranger = Found("id-x", "x", "touch", JobState.FAILED, 0)
    assert judged(WHOLE, [A, stranger]).other == ["1 unexpected: x"]


def test_dead_letters_are_counted_by_their_cause() -> None:
    """Those that met too many dead workers, and those whose attempts failed; meant ones are not."""
    dead = [
        Found("id-b", "b", "slow", JobState.FAILED, 0, "poison"),
        Found("id-c", "c", "sell", JobState.FAILED, 0, "exhausted"),
        Found("id-d", "d", "die_async", JobState.FAILED, 0, "poison"),
    ]
    tried = lines(("TRY", "b", 1), ("TRY", "c", 1), ("TRY", "d", 1))
    tally = judged([*WHOLE, *tried], [A, *dead])
    assert tally.sound
    assert (tally.buried, tally.failed) == (1, 1)


def test_the_same_seed_is_the_same_plan() -> None:
    """And another seed another one; every fault that can be drawn comes in ten minutes."""
    drawn = plan(7, 600, MEANS)
    assert drawn == plan(7, 600, MEANS)
    assert drawn != plan(8, 600, MEANS)
    assert {stroke.kind for stroke in drawn} == {odds.kind for odds in odds_of(MEANS)}
    assert plan(7, 60, MEANS) == [stroke for stroke in drawn if stroke.tick < 240]
