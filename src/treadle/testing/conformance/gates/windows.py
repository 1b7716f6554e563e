"""What a sliding window promises: never more starts in a time, wherever that time begins."""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

import asyncio
import random

from treadle.core.durations import HOUR, MINUTE, SECOND
from treadle.core.gates.gate import PLACES, GateUse
from treadle.core.outcome import Failed
from treadle.testing.conformance.gates.kit import add, claim, finish, gate, places, rate, window
from treadle.testing.conformance.kit import ERROR, Case, ids_of, scenario, take

LEASE = 10 * SECOND
A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


class TestWindows:
    """A job starts when what started in the last period leaves room for it."""

    @scenario
    async def test_what_is_over_the_number_waits_a_whole_period(self, case: Case) -> None:
        """Two in ten seconds: the third starts ten seconds after the first, and no moment sooner.

        A bucket of two would have let it start after five.
        """
        ids = await add(case, 4, window())
        worker = await case.worker()
        assert ids_of(await worker.claim(1)) == ids[:1]
        case.clock.move(4)
        assert ids_of(await claim(worker)) == ids[1:2]
        case.clock.move(5.999999)
        assert await claim(worker) == []
        case.clock.move(0.000001)
        assert ids_of(await claim(worker)) == ids[2:3]
        case.clock.move(3.999999)
        assert await claim(worker) == []
        case.clock.move(0.000001)
        assert ids_of(await claim(worker)) == ids[3:]

    @scenario
    async def test_a_rest_saves_nothing(self, case: Case) -> None:
        """After an hour without jobs two start, and the next two a period later."""
        await add(case, 1, window())
        worker = await case.worker()
        await finish(worker, *(await claim(worker)))
        case.clock.move(3_600)
        ids = await add(case, 5, window())
        assert ids_of(await claim(worker)) == ids[:2]
        case.clock.move(9.9)
        assert await claim(worker) == []
        case.clock.move(0.1)
        assert ids_of(await claim(worker)) == ids[2:4]

    @scenario
    async def test_a_dear_one_starts_as_soon_as_there_is_as_much(self, case: Case) -> None:
        """Also where the one before it was woken and claimed, and left less than it costs."""
        worker = await case.worker()
        for cost, rest in ((9, 0.5), (1, 0)):
            assert await add(case, 1, window("w", 10, cost=cost)) == ids_of(await claim(worker))
            case.clock.move(rest)
        [first] = await add(case, 1, window("w", 10, cost=7))
        [second] = await add(case, 1, window("w", 10, cost=3))
        case.clock.move(9.5)
        assert ids_of(await claim(worker)) == [first]
        case.clock.move(0.499999)
        assert await claim(worker) == []
        case.clock.move(0.000001)
        assert ids_of(await claim(worker)) == [second]

    @scenario
    async def test_no_window_has_more_and_none_waits_without_need(self, case: Case) -> None:
        """Random arrivals, costs and steps of the clock start just when the arithmetic says."""
        seed = random.randrange(2**32)  # noqa: S311 -- moves of a clock
        chance = random.Random(seed)  # noqa: S311 -- as above
        quota, period = 10, SECOND
        worker = await case.worker()
        started: list[tuple[int, int]] = []
        waiting: list[tuple[bytes, int]] = []
        seen = 0
        for _ in range(120):
            cost = chance.choice((1, 1, 2, 3, 7, 25))
            if len(waiting) < 8 and chance.random() < 0.7:
                [id_] = await add(case, 1, window("w", quota, period, cost))
                waiting.append((id_, min(cost, quota)))
            due = []
            while waiting:
                used = sum(took for at, took in started if at > case.now - period)
                if used + waiting[0][1] > quota:
                    break
                due.append(waiting[0][0])
                started.append((case.now, waiting.pop(0)[1]))
            assert ids_of(await claim(worker)) == due, f"seed {seed}"
            seen += len(due)
            case.clock.move(chance.choice((0, 0, 0.001, 0.08, 0.3, 0.999999, 1)))
        assert seen > 20, f"seed {seed}"
        for begun, _ in started:
            took_in = sum(took for at, took in started if begun <= at < begun + period)
            assert took_in <= quota, f"seed {seed}"

    @scenario
    async def test_the_store_tells_when_the_next_may_start(self, case: Case) -> None:
        """A worker with nothing to do sleeps until the oldest start has left the window."""
        await add(case, 3, window())
        worker = await case.worker()
        await worker.claim(1)
        case.clock.move(1)
        await claim(worker)
        answer = await worker.exchange(demand=take(5))
        assert answer.next_due == 9 * SECOND
        assert (await gate(case, "w")).opens_at == case.now + 9 * SECOND

    @scenario
    async def test_a_dear_job_waits_until_enough_have_left(self, case: Case) -> None:
        """Of five, one that costs three waits for the second of two that took two each."""
        ids = await add(case, 2, window("w", 5, 10 * SECOND, 2))
        worker = await case.worker()
        assert ids_of(await worker.claim(1)) == ids[:1]
        case.clock.move(3)
        assert ids_of(await claim(worker)) == ids[1:]
        dear = await add(case, 1, window("w", 5, 10 * SECOND, 4))
        case.clock.move(7)
        assert await claim(worker) == []
        case.clock.move(3)
        assert ids_of(await claim(worker)) == dear

    @scenario
    async def test_a_job_dearer_than_the_number_takes_a_window_of_its_own(self, case: Case) -> None:
        """It waits until nothing has started for a period, and cheap ones stay behind it."""
        first = await add(case, 1, window("w", 5))
        worker = await case.worker()
        assert ids_of(await claim(worker)) == first
        dear = await add(case, 1, window("w", 5, cost=50))
        case.clock.move(9)
        cheap = await add(case, 2, window("w", 5))
        assert await claim(worker) == []
        case.clock.move(1)
        assert ids_of(await claim(worker)) == dear
        case.clock.move(9.9)
        assert await claim(worker) == []
        case.clock.move(0.1)
        assert ids_of(await claim(worker)) == cheap

    @scenario
    async def test_an_attempt_counts_however_it_ends(self, case: Case) -> None:
        """A start is a start: what failed gives nothing back."""
        await add(case, 2, window(quota=1))
        worker = await case.worker()
        [one] = await claim(worker)
        await worker.finish(one, Failed(ERROR, retryable=False))
        assert await claim(worker) == []

    @scenario
    async def test_a_job_kept_back_by_another_gate_takes_nothing(self, case: Case) -> None:
        """It counts when it starts."""
        await add(case, 1, places("p"))
        worker = await case.worker()
        await claim(worker)
        await add(case, 1, places("p"), window(quota=1))
        assert await claim(worker) == []
        free = await add(case, 1, window(quota=1))
        assert ids_of(await claim(worker)) == free

    @scenario
    async def test_a_clock_that_steps_back_lets_no_more_start(self, case: Case) -> None:
        """The next one starts no sooner than a period after those before it, by any clock."""
        ids = await add(case, 3, window())
        worker = await case.worker()
        assert ids_of(await worker.claim(1)) == ids[:1]
        case.clock.step_wall(-5 * SECOND)
        assert ids_of(await claim(worker)) == ids[1:2]
        case.clock.move(9.9)
        assert await claim(worker) == []
        case.clock.move(5.1)
        assert ids_of(await claim(worker)) == ids[2:]


class TestWindowsTogether:
    """A window is one, however many workers meet it at once."""

    @scenario
    async def test_workers_at_once_start_no_more_than_one(self, case: Case) -> None:
        """Six that ask at the same moment, each in a store of its own, share the number."""
        ids = await add(case, 40, window("w", 7))
        stores = [case.store] + [await case.other() for _ in range(5)]
        workers = [await case.worker(f"w{n}", store=one) for n, one in enumerate(stores)]
        seen: list[bytes] = []
        for batch in (7, 14, 21, 28, 35, 40):
            claims = await asyncio.gather(*(claim(worker) for worker in workers))
            seen += [id_ for found in claims for id_ in ids_of(found)]
            assert len(seen) == batch
            case.clock.move(10)
        assert sorted(seen) == sorted(ids)


class TestWindowsAtWork:
    """A sliding window is a gate as the others are: held, paused, set, shown and pruned."""

    @scenario
    async def test_holds_and_jobs_share_the_window(self, case: Case) -> None:
        """What one takes the other does not find, and the answer says when to ask again."""
        use = window(quota=3)
        assert (await case.store.hold_take(use, A, LEASE)).is_held
        assert (await case.store.hold_take(use, A, LEASE)).is_held
        case.clock.move(1)
        ids = await add(case, 3, use)
        worker = await case.worker()
        assert ids_of(await claim(worker)) == ids[:2]
        assert await case.store.hold_free("w", A)
        assert await claim(worker) == []
        case.clock.move(9)
        assert ids_of(await claim(worker)) == ids[2:]
        taken = await case.store.hold_take(use, B, LEASE)
        assert (taken.is_held, taken.wait) == (False, SECOND)
        case.clock.move(1)
        assert (await case.store.hold_take(use, B, LEASE)).is_held

    @scenario
    async def test_a_dear_hold_takes_what_it_costs(self, case: Case) -> None:
        """It waits until there is as much, and one dearer than the number for a whole window."""
        assert (await case.store.hold_take(window("w", 5, cost=3), A, LEASE)).is_held
        assert not (await case.store.hold_take(window("w", 5, cost=3), B, LEASE)).is_held
        case.clock.move(10)
        assert (await case.store.hold_take(window("w", 5, cost=9), B, LEASE)).is_held
        assert (await gate(case, "w")).room == 0

    @scenario
    async def test_a_paused_window_lets_nothing_start(self, case: Case) -> None:
        """What has started before counts on when it is open again."""
        ids = await add(case, 3, window())
        worker = await case.worker()
        assert ids_of(await worker.claim(1)) == ids[:1]
        await case.store.shut_gate("w", delay=3 * SECOND)
        assert await claim(worker) == []
        case.clock.move(3)
        assert ids_of(await claim(worker)) == ids[1:2]
        case.clock.move(7)
        assert ids_of(await claim(worker)) == ids[2:]

    @scenario
    async def test_a_resumed_window_remembers_its_starts(self, case: Case) -> None:
        """To pause and resume it by hand makes no room."""
        ids = await add(case, 3, window())
        worker = await case.worker()
        assert ids_of(await claim(worker)) == ids[:2]
        await case.store.shut_gate("w")
        assert await case.store.open_gate("w")
        assert await claim(worker) == []
        case.clock.move(10)
        assert ids_of(await claim(worker)) == ids[2:]

    @scenario
    async def test_starts_count_when_the_numbers_change(self, case: Case) -> None:
        """A smaller number waits for what is over it to leave, a larger one lets start at once."""
        ids = await add(case, 6, window(quota=3))
        worker = await case.worker()
        assert ids_of(await claim(worker)) == ids[:3]
        await case.store.set_gate(window(quota=4, period=20 * SECOND))
        assert ids_of(await claim(worker)) == ids[3:4]
        await case.store.set_gate(window(quota=1, period=20 * SECOND))
        case.clock.move(19.9)
        assert await claim(worker) == []
        case.clock.move(0.1)
        assert ids_of(await claim(worker)) == ids[4:5]
        assert await case.store.reset_gate("w")
        ids += await add(case, 1, window(quota=3))
        assert ids_of(await claim(worker)) == ids[5:]

    @scenario
    async def test_a_window_that_was_another_limit_counts_from_then_on(self, case: Case) -> None:
        """What a bucket or places had let start is not known to it, and it leaves no trace."""
        await add(case, 1, rate("w", 1, MINUTE, 1))
        worker = await case.worker()
        assert len(await claim(worker)) == 1
        case.clock.move(1)
        ids = await add(case, 3, window())
        assert ids_of(await claim(worker)) == ids[:2]
        await case.store.set_gate(GateUse("w", PLACES, quota=4), change_kind=True)
        assert ids_of(await claim(worker)) == ids[2:]
        await case.store.set_gate(window(), change_kind=True)
        assert (await gate(case, "w")).room == 2

    @scenario
    async def test_a_long_window_is_kept_until_its_starts_have_left(self, case: Case) -> None:
        """Upkeep forgets no start that counts, and the gate goes when there is none."""
        use = window(quota=1, period=24 * HOUR)
        [first] = await add(case, 1, use)
        worker = await case.worker()
        [running] = await claim(worker)
        assert running.id == first
        await finish(worker, running)
        case.clock.move(23 * HOUR / SECOND)
        await case.store.prune(100)
        assert (await gate(case, "w")).room == 0
        case.clock.move(4 * HOUR / SECOND)
        await case.store.prune(100)
        assert await case.store.gates(only="w") == []

    @scenario
    async def test_a_full_window_of_single_starts_holds(self, case: Case) -> None:
        """Three hundred instants are kept, and each makes room when it leaves."""
        use = window(quota=300, period=100 * SECOND)
        ids = await add(case, 302, use)
        worker = await case.worker()
        for place in range(300):
            assert ids_of(await worker.claim(1)) == ids[place : place + 1]
            case.clock.move(0.1)
        assert await claim(worker) == []
        case.clock.move(70)
        assert ids_of(await claim(worker)) == ids[300:301]
        case.clock.move(0.1)
        assert ids_of(await claim(worker)) == ids[301:]
