"""What `note` promises: progress and log lines of running jobs, fenced and bounded."""

from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.outcome import Failed, Succeeded
from treadle.store.contract import LOGS_MAX, Note
from treadle.testing.conformance.kit import ERROR, Case, scenario

LINE = (1_700_000_000_000_000, "info", "half way")


class TestNotes:
    """What a running task reports is kept with its job."""

    @scenario
    async def test_progress_is_the_last_one_reported(self, case: Case) -> None:
        """A note without progress leaves it as it is."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        assert (await case.job(job)).progress is None
        for progress in (b"[1,10]", b"[2,10]", None):
            await case.store.note(worker.name, [Note(job, claim.number, progress, (LINE,))])
        assert (await case.job(job)).progress == b"[2,10]"

    @scenario
    async def test_log_lines_come_in_order_with_their_attempt(self, case: Case) -> None:
        """Oldest first, over notes and over attempts."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        lines = [(case.now + n, level, f"line {n}") for n, level in enumerate(["info", "error"])]
        await case.store.note(worker.name, [Note(job, claim.number, logs=tuple(lines))])
        await worker.finish(claim, Failed(ERROR, delay=SECOND))
        case.clock.move(1)
        await case.store.stage([], 10)
        [claim] = await worker.claim()
        await case.store.note(worker.name, [Note(job, claim.number, logs=(LINE,))])
        found = [tuple(line) for line in await case.store.logs(job)]
        assert found == [(1, *lines[0]), (1, *lines[1]), (2, *LINE)]

    @scenario
    async def test_a_note_under_a_number_that_is_over_is_dropped(self, case: Case) -> None:
        """A late worker writes neither progress nor logs, and an unknown job gets none."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await case.store.cancel([job])
        await case.store.retry([job])
        [again] = await worker.claim()
        stale = [Note(job, claim.number, b"[1,1]", (LINE,)), Note(new_id(), 1, b"[1,1]", (LINE,))]
        await case.store.note(worker.name, stale)
        assert ((await case.job(job)).progress, list(await case.store.logs(job))) == (None, [])
        await worker.finish(again, Succeeded(b"1"))
        await case.store.note(worker.name, [Note(job, again.number, b"[9,9]", (LINE,))])
        assert ((await case.job(job)).progress, list(await case.store.logs(job))) == (None, [])
        assert (await case.job(job)).state == JobState.SUCCEEDED

    @scenario
    async def test_a_dropped_note_does_not_drop_its_neighbours(self, case: Case) -> None:
        """Each note of a batch stands for itself."""
        await case.add(2)
        worker = await case.worker()
        first, second = await worker.claim(2)
        notes = [Note(first.id, 99, b"[1,1]"), Note(second.id, second.number, b"[2,2]")]
        await case.store.note(worker.name, notes)
        progress = [(await case.job(claim.id)).progress for claim in (first, second)]
        assert progress == [None, b"[2,2]"]

    @scenario
    async def test_log_lines_are_bounded(self, case: Case) -> None:
        """A task that never stops talking keeps the last LOGS_MAX lines."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        for start in range(0, LOGS_MAX * 2, LOGS_MAX // 2):
            texts = range(start, start + LOGS_MAX // 2)
            logs = tuple((case.now, "info", str(n)) for n in texts)
            await case.store.note(worker.name, [Note(job, claim.number, logs=logs)])
        kept = [text for _, _, _, text in await case.store.logs(job)]
        assert kept == [str(n) for n in range(LOGS_MAX, LOGS_MAX * 2)]

    @scenario
    async def test_a_job_without_logs_has_none(self, case: Case) -> None:
        """Nor has one that is not there."""
        [job] = await case.add()
        assert list(await case.store.logs(job)) == list(await case.store.logs(new_id())) == []
