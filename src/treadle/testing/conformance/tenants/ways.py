"""Each way in which a job becomes ready gives it a turn."""
# ruff: noqa: ANN401 -- the keywords are those of NewJob, which checks them.

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from treadle.core.durations import SECOND
from treadle.core.gates.gate import write_gates
from treadle.core.ids import new_id
from treadle.core.keys.key import Conflict, Key
from treadle.core.outcome import Failed, Released, Snoozed, Succeeded, TaskUnknown
from treadle.store.parts.moving import Seal
from treadle.store.statements import COMMIT
from treadle.testing.conformance.gates.kit import claim, places
from treadle.testing.conformance.kit import ERROR, Case, Hand, ids_of, new_job, scenario
from treadle.testing.conformance.line.transactional import desk_of
from treadle.testing.conformance.tenants.kit import add, turns

Way = Callable[[Case, Hand], Awaitable[bytes]]
WAITING = 3


async def one(case: Case, **fields: Any) -> bytes:
    """Enqueue a job of tenant a that tests know by its arguments."""
    job = new_job(**({"tenant": "a", "args": b"A"} | fields))
    await case.store.enqueue(new_id(), [job])
    return job.id


async def backlog(case: Case) -> None:
    """Let the tenant have jobs waiting."""
    await add(case, "a", WAITING)


async def by_enqueue(case: Case, _: Hand) -> bytes:
    """Alone, behind what waits."""
    await backlog(case)
    return await one(case)


async def by_key(case: Case, _: Hand) -> bytes:
    """With a key of its own."""
    await backlog(case)
    return await one(case, key=Key("k"))


async def by_gate(case: Case, _: Hand) -> bytes:
    """With a gate that has room."""
    await backlog(case)
    return await one(case, gates=write_gates([places(quota=9)]))


async def by_stage(case: Case, _: Hand) -> bytes:
    """As its time comes."""
    job = await one(case, delay=SECOND)
    await backlog(case)
    case.clock.move(2)
    await case.store.stage((), 10)
    return job


async def by_stage_at_a_gate(case: Case, _: Hand) -> bytes:
    """As its time comes, with a gate that has room."""
    job = await one(case, delay=SECOND, gates=write_gates([places(quota=9)]))
    await backlog(case)
    case.clock.move(2)
    await case.store.stage((), 10)
    return job


async def by_failing(case: Case, worker: Hand) -> bytes:
    """By an attempt that failed, at once."""
    job = await one(case)
    [claim] = await worker.claim()
    await backlog(case)
    await worker.finish(claim, Failed(ERROR, delay=0))
    return job


async def by_backoff(case: Case, worker: Hand) -> bytes:
    """By an attempt that failed, after a while."""
    job = await one(case)
    [claim] = await worker.claim()
    await backlog(case)
    await worker.finish(claim, Failed(ERROR, delay=SECOND))
    case.clock.move(2)
    await case.store.stage((), 10)
    return job


async def by_snooze(case: Case, worker: Hand) -> bytes:
    """By a snooze."""
    job = await one(case)
    [claim] = await worker.claim()
    await backlog(case)
    await worker.finish(claim, Snoozed(SECOND))
    case.clock.move(2)
    await case.store.stage((), 10)
    return job


async def by_retry_of_a_waiting_one(case: Case, _: Hand) -> bytes:
    """By hand, before its time."""
    job = await one(case, delay=SECOND)
    await backlog(case)
    assert await case.store.retry([job]) == [True]
    return job


async def by_replay(case: Case, worker: Hand) -> bytes:
    """By hand, from the dead letters."""
    job = await one(case)
    [claim] = await worker.claim()
    await worker.finish(claim, Failed(ERROR, retryable=False))
    await backlog(case)
    assert await case.store.retry([job]) == [True]
    return job


async def by_replacing(case: Case, _: Hand) -> bytes:
    """By a newer call that gave it its values."""
    key = Key("k", conflict=Conflict.REPLACE)
    job = await one(case, key=key, tenant="b")
    await backlog(case)
    await case.store.enqueue(new_id(), [new_job(tenant="a", args=b"A", key=key)])
    return job


async def by_a_key_that_is_free(case: Case, worker: Hand) -> bytes:
    """From behind the holder of its key."""
    key = Key("k", conflict=Conflict.REPLACE)
    await case.store.enqueue(new_id(), [new_job(key=key)])
    [claim] = await worker.claim()
    job = await one(case, key=key)
    await backlog(case)
    await worker.finish(claim, Succeeded(None))
    return job


async def by_a_gate_that_opens(case: Case, worker: Hand) -> bytes:
    """From a gate at which it was parked."""
    gates = write_gates([places()])
    await case.store.enqueue(new_id(), [new_job(gates=gates)])
    [claim] = await worker.claim()
    job = await one(case, gates=gates)
    await backlog(case)
    await worker.finish(claim, Succeeded(None))
    await case.store.stage((), 10)
    return job


async def by_a_move_that_was_given_up(case: Case, _: Hand) -> bytes:
    """From under a seal."""
    job, seal = await one(case), Seal("out", "m1")
    await case.store.moving.seal([job], seal)
    await backlog(case)
    assert await case.store.moving.unseal([job], seal) == [True]
    return job


async def by_a_move(case: Case, _: Hand) -> bytes:
    """From another store."""
    elsewhere = await case.open("elsewhere")
    job = new_job(tenant="a", args=b"A")
    await elsewhere.enqueue(new_id(), [job])
    [parcel] = await elsewhere.moving.seal([job.id], Seal("out", "m1"))
    assert parcel is not None
    await backlog(case)
    await case.store.moving.adopt([parcel], Seal("in", "m1"))
    assert await case.store.moving.unseal([job.id], Seal("in", "m1")) == [True]
    return job.id


NEW_TURNS: list[Way] = [
    by_enqueue, by_key, by_gate, by_stage, by_stage_at_a_gate, by_failing, by_backoff, by_snooze,
    by_retry_of_a_waiting_one, by_replay, by_replacing, by_a_key_that_is_free,
    by_a_gate_that_opens, by_a_move_that_was_given_up, by_a_move,
]  # fmt: skip


async def by_leaving(case: Case, worker: Hand) -> bytes:
    """As its worker stops."""
    job = await one(case)
    await worker.claim()
    await backlog(case)
    await case.store.leave(worker.name)
    await worker.register()
    return job


async def by_a_lost_answer(case: Case, worker: Hand) -> bytes:
    """As its worker never saw the claim."""
    job = await one(case)
    await worker.claim()
    await backlog(case)
    await worker.beat()
    await worker.beat()
    return job


async def by_handing_back(case: Case, worker: Hand) -> bytes:
    """By a worker that could not begin it."""
    job = await one(case)
    [claim] = await worker.claim()
    await backlog(case)
    await worker.finish(claim, Released())
    return job


async def by_its_task_that_is_known(case: Case, worker: Hand) -> bytes:
    """As a worker comes that knows its task."""
    job = await one(case)
    [claim] = await worker.claim()
    await backlog(case)
    await worker.finish(claim, TaskUnknown())
    await case.store.stage(["shop.mail"], 10)
    return job


KEPT_TURNS: list[Way] = [
    by_leaving, by_a_lost_answer, by_handing_back, by_its_task_that_is_known,
]  # fmt: skip


def name_of(way: Way) -> str:
    """Name a way in a test's name."""
    return getattr(way, "__name__", "way")


class TestWays:
    """No way past the turns: a tag is given by whatever makes a job ready."""

    @pytest.mark.parametrize("way", NEW_TURNS, ids=name_of)
    @scenario
    async def test_a_job_that_becomes_ready_gets_a_turn(self, case: Case, way: Way) -> None:
        """It goes behind those of its tenant that wait, and before the second of another one."""
        worker = await case.worker()
        job = await way(case, worker)
        await add(case, "b", 9)
        claims = await worker.claim(2 * WAITING + 2)
        assert turns(claims) == "ab" * WAITING + "Ab"
        assert job in ids_of(claims)

    @pytest.mark.parametrize("way", KEPT_TURNS, ids=name_of)
    @scenario
    async def test_a_job_that_went_back_unspent_keeps_its_turn(self, case: Case, way: Way) -> None:
        """It is the first of its tenant, as before, and its tenant pays for it once."""
        worker = await case.worker()
        job = await way(case, worker)
        await add(case, "b", 9)
        claims = await worker.claim(5)
        assert ids_of(claims)[0] == job
        assert turns(claims) == "Aabab"

    @scenario
    async def test_a_job_that_went_back_never_waits_longer_than_a_new_one(self, case: Case) -> None:
        """Its place of old counts for nothing where the queue has begun anew meanwhile."""
        worker, other = await case.worker(), await case.worker("w2")
        await add(case, "a", 20)
        await worker.claim(19)
        [held] = await other.claim()
        await add(case, "b", 5)
        await other.finish(held, Released())
        assert turns(await other.claim(6)) == "abbbbb"

    @scenario
    async def test_a_callers_own_transaction_gives_turns(self, case: Case) -> None:
        """With and without a key or a gate, where the store can join one."""
        await backlog(case)
        desk = await desk_of(case)
        plain, key = new_job(tenant="a", args=b"A"), Key("k")
        gated = new_job(tenant="a", args=b"G", gates=write_gates([places(quota=9)]))
        await desk.run(desk.shared.enqueue([plain], now=case.now))
        await desk.run(desk.shared.enqueue([gated], now=case.now))
        keyed = new_job(tenant="a", args=b"K", key=key)
        await desk.run(desk.shared.enqueue([keyed], now=case.now))
        await desk.end(COMMIT)
        await add(case, "b", 9)
        assert turns(await (await case.worker()).claim(12)) == "ab" * WAITING + "AbGbKb"


class TestTurnsAtGates:
    """Who waits at a gate waits by turns, too."""

    @scenario
    async def test_a_tenant_with_many_parked_jobs_keeps_no_other_waiting(self, case: Case) -> None:
        """One place is passed from tenant to tenant."""
        gates = write_gates([places()])
        worker = await case.worker()
        await add(case, "a", 30, gates=gates)
        told = await claim(worker)
        await add(case, "b", 3, gates=gates)
        for _ in range(7):
            await worker.finish(told[-1], Succeeded(None))
            await case.store.stage((), 10)
            told += await worker.claim()
        assert turns(told) == "aabababa"

    @scenario
    async def test_parked_jobs_cost_nothing_in_the_queue(self, case: Case) -> None:
        """A tenant's jobs at a gate do not count for its jobs elsewhere."""
        gates = write_gates([places()])
        worker = await case.worker()
        await add(case, "a", 9, gates=gates)
        assert turns(await claim(worker)) == "a"
        await add(case, "b", 3)
        await add(case, "a", 3)
        assert turns(await worker.claim(6)) == "bababa"
