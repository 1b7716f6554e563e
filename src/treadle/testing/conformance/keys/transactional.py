"""Keys in a transaction of the caller's, for stores that have it: all of it with the commit."""

from treadle.core.durations import SECOND
from treadle.core.job import JobState, Met
from treadle.core.keys.key import Conflict, Until
from treadle.core.outcome import Succeeded, Verdict
from treadle.store.statements import COMMIT, ROLLBACK
from treadle.testing.conformance.keys.taking import holder, keyed
from treadle.testing.conformance.kit import Case, ids_of, new_job, scenario, settlement
from treadle.testing.conformance.line.transactional import desk_of


class TestKeyTransactional:
    """A key is taken and freed with whatever else the transaction writes."""

    @scenario
    async def test_a_key_is_taken_by_the_commit(self, case: Case) -> None:
        """Each job of the batch has its own fate, within the transaction already."""
        desk = await desk_of(case)
        batch = [new_job(), keyed("a"), keyed("a"), keyed("b", fields={"delay": SECOND})]
        fates = await desk.run(desk.shared.enqueue(batch))
        assert list(fates) == [
            JobState.READY, JobState.READY, Met(batch[1].id, "kept", JobState.READY),
            JobState.SCHEDULED,
        ]  # fmt: skip
        await desk.end(COMMIT)
        assert [await holder(case, name) for name in "ab"] == [batch[1].id, batch[3].id]
        states = await case.states([job.id for job in batch])
        assert states == ["ready", "ready", "gone", "scheduled"]

    @scenario
    async def test_rolled_back_a_key_was_never_taken(self, case: Case) -> None:
        """Neither the job nor its key is there."""
        desk = await desk_of(case)
        job = keyed()
        await desk.run(desk.shared.enqueue([job]))
        await desk.end(ROLLBACK)
        assert (await holder(case), await case.states([job.id])) == (None, ["gone"])

    @scenario
    async def test_a_replacement_rolled_back_leaves_the_job_as_it_was(self, case: Case) -> None:
        """The job that waits keeps its own values."""
        first = keyed(conflict=Conflict.REPLACE)
        await case.enqueue(first)
        desk = await desk_of(case)
        newer = keyed(conflict=Conflict.REPLACE, fields={"args": b"[1,[2]]"})
        [fate] = await desk.run(desk.shared.enqueue([newer]))
        assert fate == Met(first.id, "replaced", JobState.READY)
        await desk.end(ROLLBACK)
        assert (await case.job(first.id)).args == first.args

    @scenario
    async def test_a_success_in_a_transaction_frees_the_key(self, case: Case) -> None:
        """The job that waits behind has its turn with the commit."""
        await case.enqueue(keyed(conflict=Conflict.REPLACE))
        worker = await case.worker()
        [claim] = await worker.claim()
        behind = keyed(conflict=Conflict.REPLACE)
        await case.enqueue(behind)
        desk = await desk_of(case)
        done = settlement(claim, Succeeded(b"1"))
        assert await desk.run(desk.shared.settle(done, None)) is Verdict.APPLIED
        await desk.end(COMMIT)
        assert await holder(case) == behind.id
        assert ids_of(await worker.claim(9)) == [behind.id]

    @scenario
    async def test_a_success_keeps_the_key_of_its_record(self, case: Case) -> None:
        """A key that stands for one call outlives the transaction that has made it."""
        await case.enqueue(keyed(until=Until.RECORD))
        worker = await case.worker()
        [claim] = await worker.claim()
        desk = await desk_of(case)
        await desk.run(desk.shared.settle(settlement(claim, Succeeded(b"1")), None))
        await desk.end(COMMIT)
        assert await holder(case) == claim.id
