"""Held: what a worker may take, and what it remembers of what it took."""

from __future__ import annotations

from treadle.core.ids import new_id
from treadle.core.job import Claim
from treadle.worker.claims.held import BUFFER_MAX, PLACES, Held


def claim(number: int = 1, id_: bytes | None = None) -> Claim:
    """Make a claim."""
    return Claim(id_ or new_id(), number, "app.work", "default", 0, 1, b"[]")


def test_nothing_is_buffered_before_jobs_are_known_to_be_short() -> None:
    """A worker that has seen no job end takes only what it can start."""
    held = Held(4)
    assert (held.room(0), held.room(3), held.room(4)) == (4, 1, 0)


def test_tiny_jobs_are_buffered_to_a_bound() -> None:
    """Jobs of some microseconds stream: hundreds are held, never more than the bound."""
    held = Held(4)
    held.learn(5)
    assert held.room(4) == BUFFER_MAX


def test_the_buffer_holds_about_20_ms_of_work() -> None:
    """With four slots and jobs of a millisecond, 80 more are 20 ms of work."""
    held = Held(4)
    held.learn(1_000)
    assert held.room(4) == 80


def test_long_jobs_are_never_hoarded() -> None:
    """With jobs of five seconds a worker holds what it runs and no more."""
    held = Held(16)
    held.learn(5_000_000)
    assert held.room(16) == 0
    assert held.room(15) == 1


def test_where_the_store_works_beside_the_loop_half_a_buffer_is_low() -> None:
    """The next exchange sets out while the other half of the buffer is still to be run."""
    held = Held(4, ahead=True)
    held.learn(5)
    held.take([claim() for _ in range(2 * BUFFER_MAX)])
    assert held.room(4) == 0
    while len(held.buffer) > BUFFER_MAX:
        assert not held.is_low
        held.buffer.popleft()
    assert held.is_low


def test_elsewhere_a_buffer_is_low_when_it_is_empty() -> None:
    """Where an exchange holds up the loop, the largest batches cost least."""
    held = Held(4)
    held.learn(5)
    held.take([claim()])
    assert not held.is_low
    held.buffer.clear()
    assert held.is_low


def test_half_a_small_buffer_is_not_worth_an_exchange() -> None:
    """With jobs of five milliseconds on four slots, 16 are buffered and all of them used up."""
    held = Held(4, ahead=True)
    held.learn(5_000)
    held.take([claim() for _ in range(held.room(4))])
    assert len(held.buffer) == 16
    while len(held.buffer) > 1:
        held.buffer.popleft()
    assert not held.is_low


def test_pace_is_forgotten_after_a_buffer_stood_still() -> None:
    """Tiny jobs before long ones do not make the worker hoard the long ones."""
    held = Held(4)
    held.learn(5)
    held.forget_pace()
    assert held.room(4) == 0


def test_places_are_lent_once_and_come_back() -> None:
    """No two started claims share a place, however often a job comes and goes."""
    held = Held(8)
    for _ in range(3 * PLACES):
        one, other = claim(), claim()
        held.take([one, other])
        places = {held.place(one), held.place(other)}
        assert len(places) == 2
        held.buffer.clear()
        held.let_go(one.id, one.number)
        held.let_go(other.id, other.number)
    assert not held.claims


def test_a_job_claimed_again_does_not_free_its_older_claim_s_place() -> None:
    """The same job under a new number is another claim with another place."""
    held = Held(8)
    first = claim()
    again = claim(2, first.id)
    held.take([first, again])
    places = [held.place(first), held.place(again)]
    assert len(set(places)) == 2
    held.let_go(again.id, 2)
    assert list(held.claims) == [(first.id, 1)]


def test_revoked_claims_leave_the_buffer_and_the_others_keep_their_order() -> None:
    """Only what was revoked is dropped."""
    held = Held(8)
    claims = [claim() for _ in range(5)]
    held.take(claims)
    held.drop_buffered({(claims[1].id, 1), (claims[3].id, 1), (claims[2].id, 9)})
    assert list(held.buffer) == [claims[0], claims[2], claims[4]]
    assert set(held.claims) == {(c.id, 1) for c in held.buffer}
