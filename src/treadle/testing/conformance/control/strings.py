"""What any text may do to a store: nothing but be kept."""

import pytest

from treadle.core.durations import SECOND
from treadle.core.job import ErrorInfo, JobState
from treadle.core.lanes import check_queue
from treadle.core.outcome import Cancelled, Failed, Rejected, Verdict
from treadle.store.contract import Filter, Note
from treadle.testing.conformance.kit import ANY_LIMIT, Case, scenario

HOSTILE = [
    "'; drop table treadle_default_jobs; --",
    '" or 1=1 --',
    "a'b\"c`d\\e%_?:x",
    "{p}jobs {heads} {where}",
    "line\nbreak\r\t",
    "пошта 📮 \u202e",
    "x" * 5_000,
    " ",
]


class TestStrings:
    """Text is data, whatever it looks like."""

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    @scenario
    async def test_hostile_text_is_kept_as_it_is(self, case: Case, text: str) -> None:
        """As task, tag, tenant, worker, host, reason, error and log line."""
        tag = text.encode().hex()
        [job] = await case.add(task=text, tenant=text, tags=f'["{tag}"]'.encode())
        worker = await case.worker(text, host=text)
        [claim] = await worker.claim()
        assert (claim.task, claim.tenant) == (text, text)
        line = (case.now, "info", text)
        await case.store.note(text, [Note(job, claim.number, text.encode(), (line,))])
        assert await worker.finish(claim, Rejected(ErrorInfo(text, text), text)) == Verdict.APPLIED
        record = await case.job(job)
        assert (record.task, record.reason, record.worker) == (text, text, text)
        assert (record.error_info(), record.progress) == (ErrorInfo(text, text), text.encode())
        assert [tuple(found) for found in await case.store.logs(job)] == [(1, *line)]
        [group] = await case.store.dead_groups()
        assert tuple(group[:4]) == (text, text, text, 1)
        [shown] = await case.store.workers()
        assert (shown.info.id, shown.info.host) == (text, text)

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    @scenario
    async def test_hostile_text_finds_only_itself(self, case: Case, text: str) -> None:
        """As filter, as queue of a verb, as name of a worker and of a task."""
        ids = await case.add(3)
        assert list(await case.store.find(Filter(task=text))) == []
        assert list(await case.store.find(Filter(tag=text, reason=text, queue=text))) == []
        assert await case.store.purge(text, limit=ANY_LIMIT) == 0
        assert not await case.store.ready([text])
        assert await case.store.leave(text) == 0
        assert (await case.store.beat(text, [(ids[0], 0)])).gone
        assert await case.store.stage([text], ANY_LIMIT) == 0
        worker = await case.worker()
        assert await worker.claim(5, text) == []
        assert await case.states(ids) == [JobState.READY] * 3

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    @scenario
    async def test_a_parked_job_of_a_hostile_task_comes_back(self, case: Case, text: str) -> None:
        """Its name is compared, not read."""
        await case.add(task=text)
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Cancelled(text))
        assert [r.id for r in await case.store.find(Filter(task=text, reason=text))] == [claim.id]
        await case.store.retry([claim.id])
        [claim] = await worker.claim()
        await worker.finish(claim, Failed(ErrorInfo(text), delay=SECOND))
        assert (await case.job(claim.id)).error_info() == ErrorInfo(text)

    @pytest.mark.parametrize("text", [*HOSTILE, "", "a b", "a/b", "-a", "ä"])
    def test_a_queue_is_named_in_plain_letters(self, text: str) -> None:
        """Any other name is refused before it reaches a store."""
        with pytest.raises(ValueError, match="is not a queue name"):
            check_queue(text)
