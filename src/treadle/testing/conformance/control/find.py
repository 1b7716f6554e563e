"""What `find` promises: filters, newest first, page by page."""

import pytest

from treadle.core.durations import SECOND
from treadle.core.job import JobState
from treadle.core.outcome import Failed, Outcome, Rejected, Succeeded
from treadle.store.contract import Filter
from treadle.testing.conformance.kit import ERROR, Case, scenario

CASES = [
    (Filter(), "0123456"),
    (Filter(state=JobState.READY), "3456"),
    (Filter(state=JobState.FAILED), "12"),
    (Filter(state=JobState.BLOCKED), ""),
    (Filter(queue="mail"), "135"),
    (Filter(task="shop.mail"), "0145"),
    (Filter(tag="red"), "36"),
    (Filter(tag="re"), ""),
    (Filter(tag="r%"), ""),
    (Filter(tag='red","blue'), ""),
    (Filter(reason="bad_result"), "2"),
    (Filter(reason="not_retried"), "1"),
    (Filter(state=JobState.READY, queue="mail", task="shop.mail"), "5"),
    (Filter(state=JobState.READY, tag="red", queue="mail"), "3"),
    (Filter(queue="nowhere"), ""),
]


async def filled(case: Case) -> list[bytes]:
    """Store seven jobs that differ in what a filter looks at."""
    ids: list[bytes] = []
    for n in range(7):
        ids += await case.add(
            queue="mail" if n % 2 else "default",
            task="shop.mail" if n % 4 in {0, 1} else "shop.bill",
            tags={3: b'["blue","red"]', 4: b'["blue"]', 5: b"[]", 6: b'["red"]'}.get(n),
        )
    worker = await case.worker()
    ends: list[Outcome] = [
        Succeeded(b"1"),
        Failed(ERROR, retryable=False),
        Rejected(ERROR, "bad_result"),
    ]
    for queue, end in zip(["default", "mail", "default"], ends, strict=True):
        [claim] = await worker.claim(1, queue)
        await worker.finish(claim, end)
    return ids


class TestFind:
    """Jobs are found by what they are."""

    @pytest.mark.parametrize(("which", "found"), CASES)
    @scenario
    async def test_a_filter_finds_its_jobs(self, case: Case, which: Filter, found: str) -> None:
        """Every field that is given must fit; the newest job comes first."""
        ids = await filled(case)
        records = await case.store.find(which)
        assert [ids.index(record.id) for record in records] == [int(n) for n in reversed(found)]

    @scenario
    async def test_pages_go_on_where_the_last_one_ended(self, case: Case) -> None:
        """The last id of a page is the cursor of the next; none is skipped or shown twice."""
        ids = await case.add(25)
        pages: list[list[bytes]] = []
        cursor: bytes | None = None
        while not pages or pages[-1]:
            records = await case.store.find(Filter(queue="default"), limit=10, before=cursor)
            pages.append([record.id for record in records])
            cursor = pages[-1][-1] if pages[-1] else None
        assert [len(page) for page in pages] == [10, 10, 5, 0]
        assert [job for page in pages for job in page] == ids[::-1]

    @scenario
    async def test_new_jobs_do_not_move_the_pages_after(self, case: Case) -> None:
        """What arrives while one reads stands before the first page."""
        ids = await case.add(4)
        first = await case.store.find(Filter(), limit=2)
        await case.add(3)
        rest = await case.store.find(Filter(), limit=9, before=first[-1].id)
        assert [record.id for record in [*first, *rest]] == ids[::-1]

    @scenario
    async def test_a_found_job_is_the_one_that_get_reads(self, case: Case) -> None:
        """Both reads give the same record."""
        [job] = await case.add(priority=3, meta=b'{"a":1}', expires_in=SECOND)
        assert list(await case.store.find(Filter())) == [await case.job(job)]
