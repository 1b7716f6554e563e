"""What `transactional` promises, for stores that have it: nothing without the caller's commit."""

import pytest

from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.outcome import Succeeded, Verdict
from treadle.store.contract import BATCH_MAX, Note, Transactional
from treadle.store.statements import (
    COMMIT,
    ROLLBACK,
    Adapter,
    AsyncAdapter,
    Script,
    Statement,
    T,
    acarry,
    carry,
)
from treadle.testing.conformance.kit import Case, new_job, scenario, settlement

LINE = (1_700_000_000_000_000, "info", "half way")


class Desk:
    """A transaction of the store's own, on which the tests run scripts."""

    def __init__(self, transactional: Transactional) -> None:
        self.shared = transactional
        self._begun: list[Adapter | AsyncAdapter] = []

    async def begin(self) -> None:
        """Begin."""
        await self.shared.begin(self._begun.append)

    async def run(self, script: Script[T]) -> T:
        """Run a script on it."""
        adapter = self._begun[-1]
        if isinstance(adapter, AsyncAdapter):
            return await acarry(script, adapter)
        return carry(script, adapter)

    async def end(self, step: Statement) -> None:
        """Commit or roll back."""
        await self.run(_only(step))
        if step is COMMIT:
            self.shared.announce()


def _only(step: Statement) -> Script[None]:
    yield step


async def desk_of(case: Case) -> Desk:
    """Begin a transaction, where the store has them."""
    if case.store.transactional is None:
        pytest.skip("this store has no transactions to share")
    desk = Desk(case.store.transactional)
    await desk.begin()
    return desk


class TestTransactional:
    """What is done in a transaction is there when that commits, and never if it does not."""

    @pytest.mark.parametrize("count", [1, 2, BATCH_MAX])
    @scenario
    async def test_jobs_come_with_the_commit(self, case: Case, count: int) -> None:
        """In order, with the states that they are told to have; and they can be claimed."""
        jobs = [new_job(delay=60_000_000 * (n % 2)) for n in range(count)]
        desk = await desk_of(case)
        await desk.run(desk.shared.recognise())
        states = await desk.run(desk.shared.enqueue(jobs))
        assert states[:2] == [JobState.READY, JobState.SCHEDULED][: min(count, 2)]
        await desk.end(COMMIT)
        assert await case.states([job.id for job in jobs]) == states
        worker = await case.worker()
        assert [claim.id for claim in await worker.claim(1)] == [jobs[0].id]

    @scenario
    async def test_jobs_go_with_a_rollback(self, case: Case) -> None:
        """Nobody has ever seen them."""
        jobs = [new_job(queue="of_its_own") for _ in range(3)]
        desk = await desk_of(case)
        await desk.run(desk.shared.enqueue(jobs))
        await desk.end(ROLLBACK)
        assert await case.states([job.id for job in jobs]) == ["gone"] * 3

    @scenario
    async def test_a_batch_has_the_bound_of_enqueue(self, case: Case) -> None:
        """One job more is an error, and the transaction goes on."""
        desk = await desk_of(case)
        with pytest.raises(ValueError, match="at most"):
            await desk.run(desk.shared.enqueue([new_job() for _ in range(BATCH_MAX + 1)]))
        job = new_job()
        await desk.run(desk.shared.enqueue([job]))
        await desk.end(COMMIT)
        assert await case.states([job.id]) == ["ready"]

    @scenario
    async def test_a_success_and_its_note_come_with_the_commit(self, case: Case) -> None:
        """The same as an exchange writes, and what the job had to say."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        done = settlement(claim, Succeeded(b"42", 7))
        note = Note(job, claim.number, b"[1,1]", (LINE, LINE))
        desk = await desk_of(case)
        assert await desk.run(desk.shared.settle(done, note)) is Verdict.APPLIED
        await desk.end(COMMIT)
        record = await case.job(job)
        assert (record.state, record.result, record.progress) == ("succeeded", b"42", b"[1,1]")
        assert [tuple(line) for line in await case.store.logs(job)] == [(1, *LINE)] * 2
        assert await worker.settle(done) == [Verdict.LOST]

    @scenario
    async def test_a_success_goes_with_a_rollback(self, case: Case) -> None:
        """The job runs on, and can be settled otherwise."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        desk = await desk_of(case)
        note = Note(job, claim.number, b"[1,1]", (LINE,))
        await desk.run(desk.shared.settle(settlement(claim, Succeeded(b"42")), note))
        await desk.end(ROLLBACK)
        record = await case.job(job)
        assert (record.state, record.result, record.progress) == ("running", None, None)
        assert list(await case.store.logs(job)) == []
        assert await worker.finish(claim, Succeeded(b"43")) is Verdict.APPLIED

    @pytest.mark.parametrize("again", [False, True], ids=["cancelled", "claimed again"])
    @scenario
    async def test_it_is_fenced(self, case: Case, *, again: bool) -> None:
        """A claim that is over settles nothing, whoever holds the job by then."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await case.store.cancel([job])
        if again:
            await case.store.retry([job])
            assert await worker.claim()
        desk = await desk_of(case)
        verdict = await desk.run(desk.shared.settle(settlement(claim, Succeeded(b"42")), None))
        await desk.end(ROLLBACK)
        assert verdict is Verdict.LOST
        assert (await case.job(job)).state == ("running" if again else "cancelled")

    @scenario
    async def test_an_unknown_job_is_lost(self, case: Case) -> None:
        """As in an exchange."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        done = settlement(claim, Succeeded(b"1"))
        other = type(done)(new_id(), done.number, done.state, done.attempt, done.outcome)
        desk = await desk_of(case)
        assert await desk.run(desk.shared.settle(other, None)) is Verdict.LOST
        await desk.end(ROLLBACK)
