"""What becomes of the key of a job that leaves for another store."""

from treadle.core.job import JobState, Met
from treadle.core.keys.key import Conflict
from treadle.core.outcome import Failed
from treadle.store.parts.moving import Seal
from treadle.testing.conformance.keys.taking import holder, keyed, store_one
from treadle.testing.conformance.kit import ERROR, Case, ids_of, scenario

OUT = Seal("out", "m1")


async def leave(case: Case, job: bytes) -> None:
    """Seal a job and let it go."""
    [parcel] = await case.store.moving.seal([job], OUT)
    assert parcel is not None
    assert await case.store.moving.drop([job], OUT) == [True]


class TestKeyLeaves:
    """A job that goes takes its hold off its key in the same write."""

    @scenario
    async def test_a_job_that_leaves_frees_its_key(self, case: Case) -> None:
        """The next job of that key holds it at once."""
        first, second = keyed(), keyed()
        await case.enqueue(first)
        await leave(case, first.id)
        assert await holder(case) is None
        assert await store_one(case, second) is JobState.READY
        assert await holder(case) == second.id

    @scenario
    async def test_who_came_while_the_holder_was_sealed_has_its_key(self, case: Case) -> None:
        """It waits behind the sealed job, and is ready once that has left."""
        first, second = keyed(conflict=Conflict.REPLACE), keyed(conflict=Conflict.REPLACE)
        await case.enqueue(first)
        assert await case.store.moving.seal([first.id], OUT) != [None]
        assert await store_one(case, second) is JobState.BLOCKED
        assert await case.store.moving.drop([first.id], OUT) == [True]
        assert await case.states([second.id]) == ["ready"]
        assert await holder(case) == second.id
        worker = await case.worker()
        assert ids_of(await worker.claim(9)) == [second.id]

    @scenario
    async def test_who_waits_behind_a_retry_that_leaves_has_its_key(self, case: Case) -> None:
        """It is ready, holds the key, and a third call replaces it."""
        jobs = [keyed(conflict=Conflict.REPLACE) for _ in range(3)]
        await case.enqueue(jobs[0])
        worker = await case.worker()
        [claim] = await worker.claim()
        assert await store_one(case, jobs[1]) is JobState.BLOCKED
        await worker.finish(claim, Failed(ERROR, ran=1))
        assert await case.states([jobs[0].id]) == ["retrying"]
        await leave(case, jobs[0].id)
        assert await case.states([jobs[1].id]) == ["ready"]
        assert await store_one(case, jobs[2]) == Met(jobs[1].id, "replaced", JobState.READY)
        assert ids_of(await worker.claim(9)) == [jobs[1].id]
