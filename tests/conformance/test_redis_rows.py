"""Keys that somebody changed by hand: one bad job never stops its neighbours.

Redis checks nothing, so anything may stand in a job's hash. These tests go past the store, with
a client of their own.
"""

import secrets
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import redis

from tests.conformance.damaged import DAMAGED_GATES, go_on_without
from treadle.core.clock import MovedClock
from treadle.core.errors import StoreError
from treadle.core.job import JobState
from treadle.core.outcome import Failed, Succeeded
from treadle.core.settings import Settings
from treadle.store.contract import Filter, Store
from treadle.store.open import open_store
from treadle.store.redis.keys import key
from treadle.testing.conformance.kit import (
    ANY_LIMIT,
    ERROR,
    Case,
    MakeStore,
    case,
    ids_of,
    new_job,
    scenario,
)

__all__ = ["case"]

CLAIMS_MAX = 6
UNREADABLE = {
    "a claim number that is none": {"number": b"many"},
    "a claim number at its end": {"number": b"9223372036854775807"},
    "an attempt that is none": {"attempt": b"1.5"},
    "an attempt at its end": {"attempt": b"9007199254740991"},
    "a state that is none": {"state": b"dreaming"},
    "a task that is no text": {"task": b"\xff\x80"},
    "a call that cannot be unpacked": {"call": b"\xc1\xff"},
    "a time that is none": {"created_at": b"noon"},
    "an expiry that is none": {"expires_at": b"soon"},
    "a priority that is none": {"priority": b"high"},
}
ODD = UNREADABLE | {
    "an error that is not JSON": {"error": b"\xff{"},
    "an error that is a number": {"error": b"7"},
    "a reason that is no text": {"reason": b"\xff"},
    "an end that is none": {"finished_at": b"x"},
}


class Hands:
    """A person with a Redis client, in one test's own namespace."""

    def __init__(self, url: str) -> None:
        self.client: Any = redis.Redis.from_url(url)
        self.own = secrets.token_hex(6)
        self.namespace = f"default_{self.own}"

    def change(self, job: bytes, fields: dict[str, bytes]) -> None:
        """Change fields of a job that is there."""
        name = key(self.namespace, "job", job.hex())
        assert self.client.exists(name)
        self.client.hset(name, mapping=fields)


@pytest.fixture
def hands(redis_url: str) -> Iterator[Hands]:
    """Give the test hands."""
    hands = Hands(redis_url)
    yield hands
    hands.client.close()


@pytest.fixture
def make_store(redis_url: str, hands: Hands, clock: MovedClock) -> MakeStore:
    """Make stores in the test's namespace."""

    def make(namespace: str = "default") -> Store:
        return open_store(redis_url, f"{namespace}_{hands.own}", Settings(), clock)

    return make


class TestUnreadable:
    """A job that cannot be read is set aside."""

    @pytest.mark.parametrize("queues", [[], ["default"], ["default", "other"]])
    @pytest.mark.parametrize("damage", UNREADABLE.values(), ids=list(UNREADABLE))
    @scenario
    async def test_its_neighbours_are_claimed(
        self, case: Case, hands: Hands, damage: dict[str, bytes], queues: list[str]
    ) -> None:
        """Within a few claims all others are given out, and the bad one is a dead letter."""
        ids = await case.add(5)
        hands.change(ids[2], damage)
        worker = await case.worker()
        taken: list[bytes] = []
        for _ in range(CLAIMS_MAX):
            taken += ids_of(await worker.claim(2, *queues))
        assert taken == [job for job in ids if job != ids[2]]
        record = await case.job(ids[2])
        assert (record.state, record.reason) == (JobState.FAILED, "unreadable")
        assert record.error_info() is not None
        [queue] = await case.store.queues()
        assert queue.counts == {"running": 4, "failed": 1}

    @pytest.mark.parametrize("field", ["task", "queue", "call", "created_at"])
    @scenario
    async def test_a_job_that_lacks_a_field_is_set_aside(
        self, case: Case, hands: Hands, field: str
    ) -> None:
        """Its neighbours are claimed in the same call, and it is a dead letter."""
        ids = await case.add(3)
        hands.client.hdel(key(hands.namespace, "job", ids[1].hex()), field)
        worker = await case.worker()

        assert ids_of(await worker.claim(3)) == [ids[0], ids[2]]
        assert (await case.job(ids[1])).reason == "unreadable"

    @scenario
    async def test_a_key_of_another_type_is_set_aside(self, case: Case, hands: Hands) -> None:
        """What stands in the place of a job and is none becomes a dead letter, too."""
        ids = await case.add(3)
        name = key(hands.namespace, "job", ids[1].hex())
        hands.client.delete(name)
        hands.client.set(name, "not a hash")
        worker = await case.worker()
        taken = ids_of(await worker.claim(5)) + ids_of(await worker.claim(5))
        assert taken == [ids[0], ids[2]]
        assert (await case.job(ids[1])).reason == "unreadable"

    @scenario
    async def test_a_job_that_is_gone_is_passed_over(self, case: Case, hands: Hands) -> None:
        """A hash deleted by hand leaves an entry that claims and upkeep drop."""
        ids = await case.add(3) + await case.add(2, delay=1_000_000)
        for job in (ids[0], ids[3]):
            hands.client.delete(key(hands.namespace, "job", job.hex()))
        worker = await case.worker()
        assert ids_of(await worker.claim(9)) == ids[1:3]
        case.clock.move(1)
        await case.store.stage([], ANY_LIMIT)
        assert ids_of(await worker.claim(9)) == ids[4:]

    @scenario
    async def test_settling_goes_on_beside_it(self, case: Case, hands: Hands) -> None:
        """A job that goes bad while it runs costs no other one its settlement."""
        ids = await case.add(3)
        worker = await case.worker()
        claims = await worker.claim(3)
        hands.client.delete(key(hands.namespace, "job", ids[1].hex()))
        hands.client.set(key(hands.namespace, "job", ids[1].hex()), "gone")
        for claim in claims:
            await worker.finish(claim, Succeeded(b"1"))
        states = await case.states([ids[0], ids[2]])
        assert states == [JobState.SUCCEEDED] * 2

    @scenario
    async def test_a_settled_batch_goes_on_beside_it(self, case: Case, hands: Hands) -> None:
        """The same in one batch."""
        ids = await case.add(4)
        worker = await case.worker()
        claims = await worker.claim(4)
        hands.change(ids[2], UNREADABLE["a time that is none"])
        hands.change(ids[1], UNREADABLE["a claim number that is none"])
        for claim in claims:
            await worker.finish(claim, Failed(ERROR, delay=0))
        states = await case.states([ids[0], ids[3]])
        assert states == [JobState.READY] * 2


class TestOdd:
    """Reads, upkeep and control go on beside a bad job."""

    @pytest.mark.parametrize("damage", ODD.values(), ids=list(ODD))
    @scenario
    async def test_reads_show_its_neighbours(
        self, case: Case, hands: Hands, damage: dict[str, bytes]
    ) -> None:
        """By id, by filter, by queue and by group, no read fails."""
        ids = await case.add(3, tags=b'["red"]')
        worker = await case.worker()
        claims = await worker.claim(3)
        for claim in claims:
            await worker.finish(claim, Failed(ERROR, retryable=False))
        hands.change(ids[1], damage)
        neighbours = {ids[0], ids[2]}
        for which in (Filter(), Filter(tag="red"), Filter(state=JobState.FAILED)):
            assert neighbours <= {record.id for record in await case.store.find(which)}
        first, _, third = await case.store.get(ids)
        assert first is not None
        assert third is not None
        [queue] = await case.store.queues()
        assert sum(queue.counts.values()) == len(ids)
        assert sum(group[3] for group in await case.store.dead_groups()) >= len(neighbours)
        await case.store.attempts(ids[1])
        await case.store.logs(ids[1])

    @pytest.mark.parametrize("damage", ODD.values(), ids=list(ODD))
    @scenario
    async def test_upkeep_and_control_go_on(
        self, case: Case, hands: Hands, damage: dict[str, bytes]
    ) -> None:
        """Due jobs become ready, are cancelled and pruned, whatever one of them holds."""
        ids = await case.add(3, delay=1_000_000)
        hands.change(ids[1], damage)
        case.clock.move(1)
        await case.store.stage(["shop.mail"], ANY_LIMIT)
        assert await case.states([ids[0], ids[2]]) == [JobState.READY] * 2
        await case.store.cancel(ids)
        await case.store.retry([ids[1]])
        await case.store.purge("default", limit=ANY_LIMIT)
        case.clock.move(100 * 86_400)
        await case.store.prune(ANY_LIMIT)
        assert await case.states([ids[0], ids[2]]) == ["gone"] * 2

    @scenario
    async def test_a_worker_that_is_not_json_stops_no_rescue(
        self, case: Case, hands: Hands
    ) -> None:
        """A dead worker whose record cannot be read is rescued by the usual lease."""
        await case.add()
        worker = await case.worker("dead")
        [claim] = await worker.claim()
        damage = {"info": b"\xff", "beat_at": b"never", "lease": b"long"}
        hands.client.hset(key(hands.namespace, "worker", "dead"), mapping=damage)
        case.clock.move(100)
        rescuer = await case.worker("rescuer")
        orphans = await rescuer.rescue_in_two_looks(case.clock)
        assert [orphan.claim.id for orphan in orphans] == [claim.id]
        assert "rescuer" in {record.info.id for record in await case.store.workers()}


class TestMisused:
    """A key of ours that is of another type is named, and nothing is done by halves."""

    @pytest.mark.parametrize(
        ("name", "count"),
        [("due", 3), *product(["jobs", "queues", "counts", "ready"], [1, 3])],
    )
    @scenario
    async def test_an_enqueue_names_it_and_stores_nothing(
        self, case: Case, hands: Hands, name: str, count: int
    ) -> None:
        """All or nothing, also here; once the key is mended it goes on."""
        misused = key(hands.namespace, name, "default" if name == "ready" else "")
        hands.client.set(misused, "mine")
        before = set(hands.client.keys(f"{{treadle:{hands.namespace}}}*"))
        with pytest.raises(StoreError, match=r"is a string where treadle keeps a (zset|hash)") as e:
            await case.add(count)
        assert misused in str(e.value)
        assert set(hands.client.keys(f"{{treadle:{hands.namespace}}}*")) == before
        hands.client.delete(misused)
        assert await case.states(await case.add()) == [JobState.READY]

    @scenario
    async def test_a_count_that_is_none_refuses_one_job_as_a_whole(
        self, case: Case, hands: Hands
    ) -> None:
        """A job that could not be counted is in no list, and goes in once the count is mended."""
        [first] = await case.add()
        counts = key(hands.namespace, "counts")
        hands.client.hset(counts, "default:ready", "many")
        with pytest.raises(StoreError, match="not an integer"):
            await case.add()
        assert hands.client.zrange(key(hands.namespace, "jobs"), 0, -1) == [first.hex().encode()]
        assert hands.client.zcard(key(hands.namespace, "ready", "default")) == 1
        hands.client.hset(counts, "default:ready", "1")
        assert await case.states(await case.add()) == [JobState.READY]

    @scenario
    async def test_an_exchange_names_it_and_settles_nothing(self, case: Case, hands: Hands) -> None:
        """The settlement is kept by its worker and goes through later."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        misused = key(hands.namespace, "ended")
        hands.client.set(misused, "mine")
        with pytest.raises(StoreError, match="ended is a string"):
            await worker.finish(claim, Succeeded(b"1"))
        hands.client.delete(misused)
        await worker.finish(claim, Succeeded(b"1"))
        assert await case.states([claim.id]) == [JobState.SUCCEEDED]


class TestAlone:
    """One plain job has a script of its own, and what it stores is no other thing."""

    @pytest.mark.parametrize("priority", [0, 7, -100])
    @scenario
    async def test_a_job_alone_is_stored_as_one_among_others(
        self, case: Case, hands: Hands, priority: int
    ) -> None:
        """Its hash, its place in each list, and the counts are those of a job of a batch."""
        [alone] = await case.add(priority=priority)
        one, *_ = await case.add(2, priority=priority)

        def stored(job: bytes) -> list[Any]:
            jobs, ready = (
                key(hands.namespace, name, of) for name, of in (("jobs", ""), ("ready", "default"))
            )
            return [
                hands.client.hgetall(key(hands.namespace, "job", job.hex())),
                *(hands.client.zscore(name, job.hex()) for name in (jobs, ready)),
            ]

        assert stored(alone) == stored(one)
        counts = hands.client.hgetall(key(hands.namespace, "counts"))
        assert counts == {b"default:ready": b"3"}

    @scenario
    async def test_a_job_alone_that_is_sent_again_changes_nothing(
        self, case: Case, hands: Hands
    ) -> None:
        """Its answer is the same, while it waits, while it runs and when it has ended."""
        job = new_job()
        worker = await case.worker()
        answers = [await case.store.enqueue(job.id, [job])]
        answers.append(await case.store.enqueue(job.id, [job]))
        [claim] = await worker.claim()
        answers.append(await case.store.enqueue(job.id, [job]))
        await worker.finish(claim, Succeeded(b"1"))
        answers.append(await case.store.enqueue(job.id, [job]))
        assert answers == [[JobState.READY]] * 4
        assert await case.states([job.id]) == [JobState.SUCCEEDED]
        counts = hands.client.hgetall(key(hands.namespace, "counts"))
        assert counts == {b"default:succeeded": b"1"}
        assert not await worker.claim()


OF_NO_COST = b'[{"name": "g", "kind": "places", "cost": "x"}]'


class TestDamagedGates:
    """Gates that cannot be read are none: the job goes on without, and its neighbours as before."""

    @pytest.mark.parametrize("damage", [*DAMAGED_GATES, OF_NO_COST])
    @scenario
    async def test_everything_goes_on(self, case: Case, hands: Hands, damage: bytes) -> None:
        """Upkeep counts without it, numbers can be set, and what waits comes to its turn."""
        await go_on_without(case, lambda job: hands.change(job, {"gates": damage}))
