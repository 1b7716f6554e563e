"""Locks: one holder, for as long as its lease, each hold under a higher number."""

import asyncio

from treadle.core.durations import SECOND
from treadle.testing.conformance.kit import Case, scenario

LEASE = 10 * SECOND
A, B = b"a" * 16, b"b" * 16
ROUNDS = 50
"""Calls that take longer than a server needs to see that a millisecond is over."""


class TestLocks:
    """A lock has one holder and falls with its lease."""

    @scenario
    async def test_a_lock_has_one_holder(self, case: Case) -> None:
        """The second one is told how long the first may still hold it."""
        mine = await case.store.lock_take("l", A, LEASE)
        case.clock.move(4)
        other = await case.store.lock_take("l", B, LEASE)
        assert mine.fence is not None
        assert (other.fence, other.wait) == (None, 6 * SECOND)
        assert (await case.store.lock_take("m", B, LEASE)).fence is not None

    @scenario
    async def test_the_number_of_a_hold_only_rises(self, case: Case) -> None:
        """After a release, after an end of lease, and after the record has gone."""
        seen = []
        for after, free in ((0, True), (11, False), (7_300, False), (0, False)):
            taken = await case.store.lock_take("l", A if free else B, LEASE)
            assert taken.fence is not None
            seen.append(taken.fence)
            if free:
                assert await case.store.lock_free("l", A)
            case.clock.move(after)
            await case.store.prune(100)
        assert seen[:3] == sorted(set(seen[:3]))
        assert seen[3] > seen[2]

    @scenario
    async def test_the_same_token_has_the_same_hold(self, case: Case) -> None:
        """A take whose answer was lost is sent again, and gives the same number."""
        first = await case.store.lock_take("l", A, LEASE)
        case.clock.move(5)
        assert await case.store.lock_take("l", A, LEASE) == first
        case.clock.move(6)
        assert (await case.store.lock_take("l", B, LEASE)).fence is None

    @scenario
    async def test_a_renewed_lock_is_held_on(self, case: Case) -> None:
        """Each renewal counts from its own time."""
        await case.store.lock_take("l", A, LEASE)
        for _ in range(3):
            case.clock.move(9)
            assert await case.store.lock_renew("l", A, LEASE)
        assert (await case.store.lock_take("l", B, LEASE)).fence is None

    @scenario
    async def test_a_hold_whose_lease_has_ended_is_over(self, case: Case) -> None:
        """It is neither renewed nor freed, whether or not somebody else has the lock by now."""
        await case.store.lock_take("l", A, LEASE)
        case.clock.move(10)
        assert not await case.store.lock_renew("l", A, LEASE)
        assert not await case.store.lock_free("l", A)
        assert (await case.store.lock_take("l", B, LEASE)).fence is not None
        assert not await case.store.lock_free("l", A)
        assert (await case.store.lock_take("l", A, LEASE)).fence is None

    @scenario
    async def test_a_lease_ends_by_the_clock_of_the_store_alone(self, case: Case) -> None:
        """While that stands still a hold of a microsecond lasts, however many calls are made."""
        await case.store.lock_take("l", A, 1)
        for _ in range(ROUNDS):
            assert (await case.store.lock_take("l", B, LEASE)).wait == 1
        case.clock.move(0.000_001)
        assert (await case.store.lock_take("l", B, LEASE)).fence is not None

    @scenario
    async def test_only_the_holder_frees_a_lock(self, case: Case) -> None:
        """A token that does not hold it changes nothing."""
        await case.store.lock_take("l", A, LEASE)
        assert not await case.store.lock_free("l", B)
        assert not await case.store.lock_renew("l", B, LEASE)
        assert not await case.store.lock_free("none", A)
        assert await case.store.lock_free("l", A)
        assert (await case.store.lock_take("l", B, LEASE)).fence is not None

    @scenario
    async def test_one_of_many_at_once_has_the_lock(self, case: Case) -> None:
        """Whoever comes first, and nobody else."""
        stores = [case.store, *[await case.other() for _ in range(3)]]
        taken = await asyncio.gather(
            *(stores[n % 4].lock_take("l", bytes([n]) * 16, LEASE) for n in range(24))
        )
        assert len([one for one in taken if one.fence is not None]) == 1
