"""A job that replaces: its values go into the one that waits, or it waits behind one that runs."""
# ruff: noqa: ANN401 -- the keywords are those of NewJob, which checks them.

from typing import Any

from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.job import JobState, Met, NewJob
from treadle.core.keys.key import Conflict, Until
from treadle.core.outcome import Failed, Released, Succeeded
from treadle.testing.conformance.keys.taking import holder, keyed, store_one
from treadle.testing.conformance.kit import ERROR, Case, ids_of, scenario


def newer(args: bytes = b"[1,[2]]", max_wait: int | None = None, **fields: Any) -> NewJob:
    """Make a job that replaces what waits under its key."""
    said = {"args": args, **fields}
    return keyed(conflict=Conflict.REPLACE, max_wait=max_wait, fields=said)


class TestReplace:
    """The newest call counts, at most one waits, and what runs is left alone."""

    @scenario
    async def test_a_waiting_job_is_changed_in_place(self, case: Case) -> None:
        """It keeps its id and its making, and runs with the newest values."""
        first = newer(b"[1,[1]]")
        await case.enqueue(first)
        case.clock.move(1)
        second = newer(priority=5, queue="other", tags=b'["t"]', attempts_max=2)
        assert await store_one(case, second) == Met(first.id, "replaced", JobState.READY)
        record = await case.job(first.id)
        assert (record.args, record.priority, record.queue) == (b"[1,[2]]", 5, "other")
        assert (record.tags, record.attempts_max) == (b'["t"]', 2)
        assert record.created_at == case.now - SECOND
        worker = await case.worker()
        [claim] = await worker.claim(9)
        assert (claim.id, claim.args, claim.queue) == (first.id, b"[1,[2]]", "other")
        assert await case.states([second.id]) == ["gone"]

    @scenario
    async def test_the_counts_follow_a_job_that_moves(self, case: Case) -> None:
        """A queue that a job has left counts it no more."""
        await case.enqueue(newer())
        await case.enqueue(newer(queue="other", delay=SECOND))
        counts = {
            q.name: {s: n for s, n in q.counts.items() if n} for q in await case.store.queues()
        }
        assert counts == {"default": {}, "other": {"scheduled": 1}}

    @scenario
    async def test_a_job_put_off_again_and_again_starts_at_last(self, case: Case) -> None:
        """Each call puts it off by its delay, at the latest to max_wait after the first."""
        first = newer(delay=10 * SECOND, max_wait=25 * SECOND)
        begun = case.now
        await case.enqueue(first)
        for at in (18, 25, 25):
            case.clock.move(8)
            await case.enqueue(newer(delay=10 * SECOND, max_wait=25 * SECOND))
            assert (await case.job(first.id)).run_at == begun + at * SECOND
        case.clock.move(1)
        await case.store.stage([], 10)
        worker = await case.worker()
        assert ids_of(await worker.claim(9)) == [first.id]

    @scenario
    async def test_behind_a_running_job_one_waits(self, case: Case) -> None:
        """The new job is blocked, a third one replaces it, and the end of the first frees it."""
        first, second, third = newer(), newer(b"[1,[2]]"), newer(b"[1,[3]]")
        await case.enqueue(first)
        worker = await case.worker()
        [claim] = await worker.claim()
        assert await store_one(case, second) is JobState.BLOCKED
        assert await store_one(case, third) == Met(second.id, "replaced", JobState.BLOCKED)
        assert await worker.claim(9) == []
        record = await case.job(second.id)
        assert (record.state, record.reason, record.args) == ("blocked", "key", b"[1,[3]]")
        assert (await case.job(first.id)).state == "running"
        [key] = await case.store.keys(["k"])
        assert key is not None
        assert (key.job, key.next) == (first.id, second.id)
        await worker.finish(claim, Succeeded(b"1"))
        await case.store.stage([], 10)
        [after] = await worker.claim(9)
        assert (after.id, after.args) == (second.id, b"[1,[3]]")
        assert await holder(case) == second.id
        await worker.finish(after, Succeeded(b"1"))
        assert await holder(case) is None

    @scenario
    async def test_a_job_that_waited_behind_waits_for_its_own_time_too(self, case: Case) -> None:
        """When its turn comes before its time, it is scheduled."""
        await case.enqueue(newer())
        worker = await case.worker()
        [claim] = await worker.claim()
        await case.enqueue(behind := newer(delay=10 * SECOND))
        await worker.finish(claim, Succeeded(b"1"))
        await case.store.stage([], 10)
        assert await case.states([behind.id]) == ["scheduled"]
        case.clock.move(10)
        await case.store.stage([], 10)
        assert ids_of(await worker.claim(9)) == [behind.id]

    @scenario
    async def test_a_job_that_runs_again_is_replaced_while_it_waits(self, case: Case) -> None:
        """Between two attempts it waits, so it takes the newest values and begins anew."""
        await case.enqueue(first := newer())
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Failed(ERROR, delay=60 * SECOND))
        assert await store_one(case, newer(b"[1,[9]]")) == Met(first.id, "replaced", JobState.READY)
        [again] = await worker.claim()
        assert (again.id, again.args, again.attempt - again.forgiven) == (first.id, b"[1,[9]]", 1)

    @scenario
    async def test_the_cancel_of_a_running_job_frees_who_waits_behind(self, case: Case) -> None:
        """Any end passes the key on."""
        await case.enqueue(first := newer())
        worker = await case.worker()
        await worker.claim()
        await case.enqueue(behind := newer())
        await case.store.cancel([first.id])
        await case.store.stage([], 10)
        assert ids_of(await worker.claim(9)) == [behind.id]
        assert await holder(case) == behind.id

    @scenario
    async def test_a_cancelled_job_waits_behind_no_more(self, case: Case) -> None:
        """The key stays with the one that runs, and is free after it."""
        await case.enqueue(newer())
        worker = await case.worker()
        [claim] = await worker.claim()
        await case.enqueue(behind := newer())
        assert list(await case.store.cancel([behind.id])) == [True]
        [key] = await case.store.keys(["k"])
        assert key is not None
        assert key.next is None
        assert await store_one(case, later := newer()) is JobState.BLOCKED
        await worker.finish(claim, Succeeded(b"1"))
        await case.store.stage([], 10)
        assert ids_of(await worker.claim(9)) == [later.id]

    @scenario
    async def test_both_cancelled_at_once_free_the_key(self, case: Case) -> None:
        """Holder and follower may end in one write."""
        await case.enqueue(first := newer())
        worker = await case.worker()
        await worker.claim()
        await case.enqueue(behind := newer())
        assert list(await case.store.cancel([first.id, behind.id])) == [True, True]
        await case.store.stage([], 10)
        assert await holder(case) is None
        assert await case.states([first.id, behind.id]) == ["cancelled", "cancelled"]

    @scenario
    async def test_a_job_that_expires_waits_behind_no_more(self, case: Case) -> None:
        """Its time may end before its turn comes."""
        await case.enqueue(newer())
        worker = await case.worker()
        [claim] = await worker.claim()
        await case.enqueue(behind := newer(expires_in=SECOND))
        case.clock.move(2)
        await case.store.stage([], 10)
        assert await case.states([behind.id]) == ["expired"]
        await worker.finish(claim, Succeeded(b"1"))
        assert await holder(case) is None

    @scenario
    async def test_a_batch_of_replacements_leaves_the_last(self, case: Case) -> None:
        """They are taken in order, as if they had come one by one."""
        batch = [newer(b"[1,[%d]]" % n) for n in range(4)]
        fates = await case.store.enqueue(new_id(), batch)
        met = Met(batch[0].id, "replaced", JobState.READY)
        assert list(fates) == [JobState.READY, met, met, met]
        assert (await case.job(batch[0].id)).args == b"[1,[3]]"


class TestRuleOfTheHolder:
    """How long a key is held was said by the job that took it."""

    @scenario
    async def test_a_start_frees_it_whatever_a_later_call_says(self, case: Case) -> None:
        """And it stays free when the job goes back unspent."""
        await case.enqueue(keyed(until=Until.CLAIM))
        assert isinstance(await store_one(case, newer()), Met)
        worker = await case.worker()
        [claim] = await worker.claim()
        assert await holder(case) is None
        await worker.finish(claim, Released())
        assert await holder(case) is None


class TestBehindATime:
    """A key that one rule holds for a time may have a job of another rule waiting behind it."""

    async def _behind(self, case: Case, **fields: Any) -> bytes:
        """Let a job wait behind one that has begun, and ended, and holds the key for a minute."""
        await case.enqueue(keyed(until=Until.TIME, hold=60 * SECOND))
        worker = await case.worker()
        [claim] = await worker.claim()
        behind = newer(**fields)
        assert await store_one(case, behind) is JobState.BLOCKED
        await worker.finish(claim, Succeeded(b"1"))
        await case.store.stage([], 10)
        assert await worker.claim(9) == []
        return behind.id

    @scenario
    async def test_upkeep_gives_it_to_who_waits_behind(self, case: Case) -> None:
        """When the time is over, the job that waits has its turn."""
        behind = await self._behind(case)
        case.clock.move(61)
        await case.store.prune(100)
        await case.store.stage([], 10)
        worker = await case.worker()
        [claim] = await worker.claim(9)
        assert (claim.id, await holder(case)) == (behind, behind)
        await worker.finish(claim, Succeeded(b"1"))
        assert await holder(case) is None

    @scenario
    async def test_who_asks_after_the_time_does_not_overtake_it(self, case: Case) -> None:
        """The job that waits has the key before a newcomer, and is not blocked for ever."""
        behind = await self._behind(case)
        case.clock.move(61)
        fate = await store_one(case, later := keyed())
        assert isinstance(fate, Met)
        assert (fate.job, fate.how) == (behind, "kept")
        await case.store.stage([], 10)
        worker = await case.worker()
        [claim] = await worker.claim(9)
        assert (claim.id, await holder(case)) == (behind, behind)
        await worker.finish(claim, Succeeded(b"1"))
        assert await store_one(case, later) is JobState.READY

    @scenario
    async def test_several_who_ask_after_the_time_all_meet_it(self, case: Case) -> None:
        """In one batch or the next one; cancelled before its turn, it leaves the key free."""
        behind = await self._behind(case)
        case.clock.move(61)
        later = [keyed(), keyed(), keyed()]
        fates = [*await case.store.enqueue(new_id(), later[:2]), await store_one(case, later[2])]
        assert [isinstance(fate, Met) and fate.job for fate in fates] == [behind] * 3
        assert list(await case.store.cancel([behind])) == [True]
        assert await store_one(case, keyed()) is JobState.READY

    @scenario
    async def test_who_replaces_after_the_time_replaces_it(self, case: Case) -> None:
        """Its values go into the job that waits, as at any other time."""
        behind = await self._behind(case)
        case.clock.move(61)
        fate = await store_one(case, newer(b"[1,[3]]"))
        assert isinstance(fate, Met)
        assert (fate.job, fate.how) == (behind, "replaced")
        await case.store.stage([], 10)
        worker = await case.worker()
        [claim] = await worker.claim(9)
        assert (claim.id, claim.args) == (behind, b"[1,[3]]")

    @scenario
    async def test_a_cancelled_one_leaves_the_key_to_the_next(self, case: Case) -> None:
        """Nobody waits then, so after the time whoever asks has the key."""
        behind = await self._behind(case)
        assert list(await case.store.cancel([behind])) == [True]
        case.clock.move(61)
        assert await store_one(case, keyed()) is JobState.READY
