"""Jobs in the hands of users: snapshots, results, control."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.unit.line_kit import Line
from treadle.app import Treadle
from treadle.core.errors import (
    JobCancelled,
    JobExpired,
    JobFailed,
    JobNotFound,
    PayloadError,
    ResultExpired,
    ResultTimeout,
)
from treadle.core.ids import id_text, new_id
from treadle.core.job import JobState
from treadle.core.outcome import Cancelled, Succeeded
from treadle.store.contract import Note


def make(count: int, who: UUID) -> dict[str, datetime]:
    """Stand for a task with types that JSON does not have."""
    raise NotImplementedError(count, who)


@pytest.fixture(params=["memory", "file"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Treadle]:
    """Give an application on each kind of store."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    made = Treadle(url)
    yield made
    made.close()


def test_a_snapshot_shows_the_record(app: Treadle) -> None:
    """A job's attributes are its record's, decoded by the task's annotations."""
    who = UUID(int=7)
    job = app.task(make).using(tags=["t"], meta={"m": 1}).enqueue(1, who=who)
    assert (job.task, job.queue, job.state) == (f"{__name__}.make", "default", "ready")
    assert (job.args, job.kwargs) == ((1,), {"who": who})
    assert (job.priority, job.attempt, job.attempts_max) == (0, 0, 5)
    assert (job.tags, job.meta, job.progress) == (("t",), {"m": 1}, None)
    assert (job.started_at, job.finished_at, job.expires_at) == (None, None, None)
    assert (job.error, job.worker, job.is_terminal) == (None, None, False)
    assert abs(datetime.now(UTC) - job.created_at) < timedelta(minutes=1)
    assert job.run_at == job.created_at


def test_arguments_are_plain_without_the_code(app: Treadle) -> None:
    """Where the task's code is not, or has changed, arguments are shown as stored."""
    assert app.enqueue("gone", 1, a="b").kwargs == {"a": "b"}
    job = app.named(f"{__name__}.make").enqueue("not a number")
    app.task(make)
    assert job.args == ("not a number",)


def test_attempts_max_falls_back_to_the_settings(app: Treadle) -> None:
    """A job whose caller did not know its attempts shows the settings' number."""
    assert app.enqueue("gone").attempts_max == app.settings.attempts


def test_a_snapshot_does_not_move(app: Treadle) -> None:
    """A job looks as it did until it is refreshed, and its repr says as of when."""
    job = app.task(make).enqueue(1, UUID(int=1))
    assert " ready as of " in repr(job)
    app.job(job.id).cancel()
    assert str(job.state) == "ready"
    assert job.refresh() is job
    assert str(job.state) == "cancelled"
    assert f"{job.as_of:%H:%M:%S}Z>" in repr(job)


def test_a_result_is_decoded_by_annotation(app: Treadle) -> None:
    """A result comes back as the task's return annotation says; plain without the code."""
    app.task(make)
    jobs = [app.enqueue(f"{__name__}.make", 1, UUID(int=1)), app.enqueue("gone")]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    line = Line(app)
    line.succeed({"at": at})
    line.succeed({"at": at})
    line.leave()
    assert jobs[0].result(timeout=5) == {"at": at}
    assert asyncio.run(jobs[1].aresult(timeout=5)) == {"at": "2026-01-01T00:00:00Z"}


def test_a_result_that_does_not_fit_its_annotation_names_it(app: Treadle) -> None:
    """A stored result that the annotation cannot read is a PayloadError, not a wrong value."""
    job = app.task(make).enqueue(1, UUID(int=1))
    line = Line(app)
    line.succeed([1])
    line.leave()
    with pytest.raises(PayloadError, match="dict"):
        job.result()


def test_what_ended_without_a_result_raises(app: Treadle) -> None:
    """Each end that is no success has an error of its own."""
    jobs = [app.enqueue("gone", n) for n in range(4)]
    line = Line(app)
    line.fail("no such address")
    line.settle(line.claim(), Cancelled("not wanted"))
    line.settle(line.claim(), Succeeded(None))
    line.leave()
    jobs[3].cancel()
    with pytest.raises(JobFailed, match="ValueError: no such address") as failed:
        jobs[0].result()
    assert failed.value.job is jobs[0]
    assert failed.value.error == jobs[0].error
    with pytest.raises(JobCancelled, match="not wanted"):
        jobs[1].result()
    with pytest.raises(ResultExpired):
        jobs[2].result()
    with pytest.raises(JobCancelled, match=r"was cancelled$"):
        asyncio.run(jobs[3].aresult())


def test_an_expired_job_says_so(app: Treadle) -> None:
    """A job that was not started in time raises JobExpired."""
    job = app.named("gone").using(expires=0.000_001).enqueue()
    asyncio.run(app.store.stage((), 10))
    with pytest.raises(JobExpired):
        job.result()


def test_a_result_is_waited_for(app: Treadle) -> None:
    """A waiter on a thread and one on a loop both see the end while they wait."""
    job = app.enqueue("gone")
    line = Line(app)
    claim = line.claim()
    got: list[object] = []
    waiters = [
        threading.Thread(target=lambda: got.append(job.refresh().result(timeout=10))),
        threading.Thread(target=lambda: got.append(asyncio.run(app.job(job.id).aresult(10)))),
    ]
    for waiter in waiters:
        waiter.start()
    line.settle(claim, Succeeded(b"7"))
    for waiter in waiters:
        waiter.join(10)
    line.leave()
    assert got == [7, 7]


def test_a_wait_is_bounded(app: Treadle) -> None:
    """A job that does not end in time goes on; the error says in which state it is."""
    job = app.enqueue("gone")
    with pytest.raises(ResultTimeout, match=r"within 0\.01 s \(it is ready\)"):
        job.result(timeout=timedelta(milliseconds=10))
    assert not asyncio.run(job.await_(timeout=0))
    with pytest.raises(ValueError, match="timeout must be"):
        job.wait(timeout=-1)


def test_cancel_and_retry_are_conditional(app: Treadle) -> None:
    """Cancel and retry tell whether they did it, and the snapshot shows the outcome."""
    job = app.enqueue("gone")
    assert [job.cancel(), job.cancel()] == [True, False]
    assert str(job.state) == "cancelled"
    assert job.retry()
    assert str(job.state) == "ready"
    line = Line(app)
    line.succeed(1)
    line.leave()
    assert not job.retry()
    assert str(job.state) == "succeeded"


def test_attempts_logs_and_progress_are_shown(app: Treadle) -> None:
    """What a running job reported and how its attempts went can be read."""
    job = app.named("gone").using(retry=2).enqueue()
    line = Line(app)
    claim = line.claim()
    at = 1_700_000_000_000_000
    report = b'{"done":1,"total":4,"message":"quarter"}'
    line.note(Note(claim.id, claim.number, report, ((at, "info", "hello"),)))
    progress = job.refresh().progress
    assert progress is not None
    assert (progress.done, progress.total, progress.message) == (1, 4, "quarter")
    assert (job.state, job.worker) == (JobState.RUNNING, line.name)
    line.settle(claim, Succeeded(b"1", ran=1_500_000))
    line.leave()
    [said] = job.logs()
    assert (said.attempt, said.level, said.text) == (1, "info", "hello")
    assert said.at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    [attempt] = asyncio.run(job.aattempts())
    assert (attempt.number, attempt.outcome, attempt.ran) == (1, "succeeded", 1.5)
    assert attempt.started_at <= (attempt.finished_at or attempt.started_at)


def test_explain_tells_the_story(app: Treadle) -> None:
    """A job explains itself from what is stored now, not from the snapshot."""
    job = app.enqueue("gone")
    line = Line(app)
    line.fail("no such address")
    line.leave()
    assert "no such address" in job.explain()
    assert str(job.state) == "failed"


def test_an_unknown_job_is_not_found(app: Treadle) -> None:
    """An id that no job has, and a text that is no id, are told apart."""
    unknown = id_text(new_id())
    with pytest.raises(JobNotFound, match=unknown):
        app.job(unknown)
    with pytest.raises(LookupError):
        asyncio.run(app.ajob(unknown))
    with pytest.raises(ValueError, match="is not a job id"):
        app.job("seven")


def test_a_light_job_that_is_gone_says_so(app: Treadle) -> None:
    """An attribute of a job whose record was discarded raises JobNotFound."""
    job = app.enqueue("gone")
    app.job(job.id).cancel()
    asyncio.run(app.store.discard([bytes.fromhex(job.id.replace("-", ""))]))
    with pytest.raises(JobNotFound):
        _ = job.priority
