"""What a job meets that wants a key: at most one job holds it."""
# ruff: noqa: ANN401 -- the keywords are those of Key, which checks them.

import asyncio
from typing import Any

import pytest

from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.job import Fate, How, JobState, Met, NewJob
from treadle.core.keys.key import NAME_MAX, Conflict, Key, Until
from treadle.core.outcome import Succeeded
from treadle.testing.conformance.kit import Case, new_job, scenario


def keyed(name: str = "k", *, fields: dict[str, Any] | None = None, **said: Any) -> NewJob:
    """Make a new job that wants a key."""
    return new_job(key=Key(name, **said), **(fields or {}))


async def store_one(case: Case, job: NewJob) -> Fate:
    """Enqueue one job and give its fate."""
    [fate] = await case.store.enqueue(new_id(), [job])
    return fate


async def holder(case: Case, name: str = "k") -> bytes | None:
    """Give the job that holds a key."""
    [record] = await case.store.keys([name])
    return None if record is None else record.job


class TestKeys:
    """A key has one holder, and every other job learns which."""

    @scenario
    async def test_the_first_job_takes_its_key(self, case: Case) -> None:
        """It is stored as any other, and the key says who holds it."""
        job = keyed()
        assert await store_one(case, job) is JobState.READY
        [record, none] = await case.store.keys(["k", "other"])
        assert none is None
        assert record is not None
        assert (record.name, record.job, record.until, record.next) == ("k", job.id, "end", None)
        assert (await case.job(job.id)).key == "k"

    @scenario
    async def test_a_job_whose_key_is_held_is_not_stored(self, case: Case) -> None:
        """It is answered with the one that holds the key and its state."""
        first, second = keyed(fields={"delay": SECOND}), keyed()
        await case.enqueue(first)
        assert await store_one(case, second) == Met(first.id, "kept", JobState.SCHEDULED)
        assert await case.states([second.id]) == ["gone"]

    @pytest.mark.parametrize(
        ("conflict", "how"),
        [(Conflict.KEEP, "kept"), (Conflict.SKIP, "kept"), (Conflict.REFUSE, "refused")],
    )
    @scenario
    async def test_each_job_of_a_batch_keeps_its_own_fate(
        self, case: Case, conflict: Conflict, how: How
    ) -> None:
        """Neighbours of a job whose key is held are stored, with keys and without."""
        held = keyed()
        await case.enqueue(held)
        batch = [new_job(), keyed(conflict=conflict), keyed("free"), new_job(delay=SECOND)]
        fates = await case.store.enqueue(new_id(), batch)
        assert list(fates) == [
            JobState.READY, Met(held.id, how, JobState.READY), JobState.READY, JobState.SCHEDULED,
        ]  # fmt: skip
        states = await case.states([job.id for job in batch])
        assert states == ["ready", "gone", "ready", "scheduled"]

    @scenario
    async def test_the_first_of_a_batch_has_the_key(self, case: Case) -> None:
        """Two jobs of one batch that want one key are judged in order."""
        batch = [keyed(), keyed(), keyed("l"), keyed()]
        fates = await case.store.enqueue(new_id(), batch)
        met = Met(batch[0].id, "kept", JobState.READY)
        assert list(fates) == [JobState.READY, met, JobState.READY, met]

    @scenario
    async def test_a_running_job_holds_its_key(self, case: Case) -> None:
        """Who asks meanwhile meets it running."""
        job = keyed()
        await case.enqueue(job)
        worker = await case.worker()
        [claim] = await worker.claim()
        assert claim.key == "k"
        assert await store_one(case, keyed()) == Met(job.id, "kept", JobState.RUNNING)

    @scenario
    async def test_one_of_many_at_once_has_the_key(self, case: Case) -> None:
        """Whatever comes first wins, and all the others meet it."""
        stores = [case.store, *[await case.other() for _ in range(3)]]
        batches = [[keyed(f"k{n}") for n in (0, 1, 2)] for _ in range(24)]
        answers = await asyncio.gather(
            *(stores[i % 4].enqueue(new_id(), batch) for i, batch in enumerate(batches))
        )
        for n in range(3):
            stored = [batch[n].id for batch, said in zip(batches, answers, strict=True)
                      if said[n] is JobState.READY]  # fmt: skip
            assert len(stored) == 1
            met = {one.job for said in answers if isinstance(one := said[n], Met)}
            assert met == set(stored) == {await holder(case, f"k{n}")}

    @scenario
    async def test_one_job_under_two_requests_at_once_is_stored_once(self, case: Case) -> None:
        """It never meets itself: both are answered as if they had been alone."""
        job, other = keyed(), await case.other()
        answers = await asyncio.gather(
            *(store.enqueue(new_id(), [job]) for store in (case.store, other, case.store))
        )
        assert [list(fates) for fates in answers] == [[JobState.READY]] * 3
        assert await holder(case) == job.id
        worker = await case.worker()
        assert len(await worker.claim(9)) == 1

    @scenario
    async def test_namespaces_share_no_key(self, case: Case) -> None:
        """A key of one namespace is free in another."""
        await case.enqueue(keyed())
        other = await case.open("other")
        assert list(await other.enqueue(new_id(), [keyed()])) == [JobState.READY]

    @scenario
    async def test_a_job_of_another_hash_is_refused(self, case: Case) -> None:
        """A key that stands for one call takes no other, and the call itself meets its job."""
        one = keyed(until=Until.RECORD, hash=b"1" * 32)
        await case.enqueue(one)
        same = await store_one(case, keyed(until=Until.RECORD, hash=b"1" * 32))
        other = await store_one(case, keyed(until=Until.RECORD, hash=b"2" * 32))
        assert same == Met(one.id, "kept", JobState.READY)
        assert other == Met(one.id, "refused", JobState.READY)

    @pytest.mark.parametrize("name", ["", "x" * (NAME_MAX + 1), "a\0b", "a\ud800"])
    @scenario
    async def test_a_name_that_is_none_is_refused_with_its_batch(
        self, case: Case, name: str
    ) -> None:
        """It is a ValueError that says what a name is, and nothing is stored."""
        batch = [new_job(), keyed(name)]
        with pytest.raises(ValueError, match="key"):
            await case.store.enqueue(new_id(), batch)
        assert await case.states([job.id for job in batch]) == ["gone", "gone"]

    @pytest.mark.parametrize("name", ["x" * NAME_MAX, "a b\n:{}'\"%*\\", "ключ 鍵"])
    @scenario
    async def test_any_text_is_a_name(self, case: Case, name: str) -> None:
        """A name is text and nothing else: no character of it means anything."""
        first = keyed(name)
        await case.enqueue(first)
        assert await store_one(case, keyed(name)) == Met(first.id, "kept", JobState.READY)
        assert await holder(case, name) == first.id

    @scenario
    async def test_a_job_under_its_own_old_id_changes_no_key(self, case: Case) -> None:
        """A job that has ended does not take its key again by being sent again."""
        job = keyed()
        await case.enqueue(job)
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Succeeded(b"1"))
        assert await store_one(case, job) is JobState.READY
        assert await holder(case) is None
        assert await case.states([job.id]) == ["succeeded"]


class TestKeyRequests:
    """A batch with keys that is sent again is answered as the first time."""

    @scenario
    async def test_the_same_batch_again_is_answered_as_before(self, case: Case) -> None:
        """Also when the keys have changed hands since."""
        old = keyed("a")
        await case.enqueue(old)
        request = new_id()
        batch = [keyed("a"), keyed("b"), keyed("c", fields={"delay": SECOND}), new_job()]
        first = list(await case.store.enqueue(request, batch))
        assert first == [
            Met(old.id, "kept", JobState.READY), JobState.READY, JobState.SCHEDULED, JobState.READY,
        ]  # fmt: skip
        await case.store.cancel([old.id, batch[1].id])
        assert list(await case.store.enqueue(request, batch)) == first
        assert await case.states([job.id for job in batch]) == [
            "gone", "cancelled", "scheduled", "ready",
        ]  # fmt: skip
        assert [await holder(case, name) for name in "abc"] == [None, None, batch[2].id]

    @scenario
    async def test_a_replacement_sent_again_is_not_made_again(self, case: Case) -> None:
        """What came between stays."""
        first = keyed(conflict=Conflict.REPLACE)
        await case.enqueue(first)
        request = new_id()
        again = [keyed(conflict=Conflict.REPLACE, fields={"args": b"[1,[2]]"})]
        said = list(await case.store.enqueue(request, again))
        await store_one(case, keyed(conflict=Conflict.REPLACE, fields={"args": b"[1,[3]]"}))
        assert list(await case.store.enqueue(request, again)) == said
        assert said == [Met(first.id, "replaced", JobState.READY)]
        assert (await case.job(first.id)).args == b"[1,[3]]"

    @scenario
    async def test_the_record_of_a_batch_goes_after_an_hour(self, case: Case) -> None:
        """Then the request is as new as any."""
        request, job = new_id(), keyed()
        await case.store.enqueue(request, [job])
        await case.store.cancel([job.id])
        case.clock.move(3_601)
        await case.store.prune(100)
        later = keyed()
        assert list(await case.store.enqueue(request, [later])) == [JobState.READY]
        assert await holder(case) == later.id
