"""Group commit: concurrent enqueues share writes and keep their own fates."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from treadle.client.coalesce import Writer
from treadle.core.errors import StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.job import Fate, JobState, NewJob

WAIT_S = 10.0


class Recorder:
    """A store's one verb, written for these tests: it remembers batches and can be held."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.refused: Callable[[str], bool] = lambda _: False
        self.fault: BaseException | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def enqueue_now(
        self, request: bytes, jobs: Sequence[NewJob], *, now: int | None = None
    ) -> Sequence[JobState]:
        """Take a batch unless one of its jobs is refused."""
        assert request
        assert now is None
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        if self.fault is not None:
            raise self.fault
        tasks = [job.task for job in jobs]
        for task in tasks:
            if self.refused(task):
                raise OverflowError(task)
        self.batches.append(tasks)
        return [JobState.READY] * len(jobs)

    @property
    def stored(self) -> list[str]:
        """Every job that was taken."""
        return [task for batch in self.batches for task in batch]


@pytest.fixture
def recorder() -> Recorder:
    """Give an open recorder."""
    return Recorder()


@pytest.fixture
def writer(recorder: Recorder) -> Iterator[Writer]:
    """Give a writer to it."""
    made = Writer(recorder, patience=WAIT_S)
    yield made
    recorder.gate.set()
    made.close()


def _job(task: str) -> NewJob:
    return NewJob(new_id(), task, b"[1,[]]")


def _write_all(writer: Writer, recorder: Recorder, count: int) -> list[object]:
    """Write from `count` threads while one write holds the store; give each thread's fate."""
    fates: list[object] = [None] * count

    def write(index: int) -> None:
        try:
            fates[index] = writer.write(_job(str(index)))
        except Exception as error:  # noqa: BLE001 -- the fate under test
            fates[index] = error

    recorder.gate.clear()
    first = threading.Thread(target=writer.write, args=(_job("first"),))
    first.start()
    assert recorder.entered.wait(WAIT_S)
    threads = [threading.Thread(target=write, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    _until(lambda: len(writer._queue) == count)  # noqa: SLF001 -- all have joined the queue
    recorder.gate.set()
    for thread in [first, *threads]:
        thread.join(WAIT_S)
    return fates


def _until(true: Callable[[], bool]) -> None:
    """Wait for a condition that other threads bring about."""
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.001)):
        if true():
            return
        pause.wait(0.001)
    raise AssertionError("it did not come about in time")


def test_a_lone_enqueue_writes_on_its_own_thread(writer: Writer, recorder: Recorder) -> None:
    """An enqueue that finds no other in flight is one call of the store."""
    assert writer.write(_job("a")) is JobState.READY
    assert recorder.batches == [["a"]]
    assert not writer._busy  # noqa: SLF001 -- the lead was handed on at once


def test_concurrent_enqueues_share_one_write(writer: Writer, recorder: Recorder) -> None:
    """Enqueues that come while one is in flight are written together, in order, by one of them."""
    assert _write_all(writer, recorder, 20) == [JobState.READY] * 20
    assert [len(batch) for batch in recorder.batches] == [1, 20]


def test_one_refused_job_fails_alone(writer: Writer, recorder: Recorder) -> None:
    """Of 50 coalesced enqueues with a bad one among them 49 are stored, and one raises."""
    recorder.refused = lambda task: task == "31"
    fates = _write_all(writer, recorder, 50)
    assert [index for index, fate in enumerate(fates) if fate is not JobState.READY] == [31]
    assert isinstance(fates[31], OverflowError)
    assert sorted(recorder.stored) == sorted(["first", *map(str, set(range(50)) - {31})])


def test_an_absent_store_fails_each_with_an_error_of_its_own(
    writer: Writer, recorder: Recorder
) -> None:
    """When the store is away a batch is not split, and no two threads raise one object."""
    recorder.gate.clear()
    errors: list[StoreUnavailable] = []

    def write() -> None:
        with pytest.raises(StoreUnavailable, match="away") as caught:
            writer.write(_job("a"))
        errors.append(caught.value)

    threads = [threading.Thread(target=write) for _ in range(5)]
    recorder.fault = StoreUnavailable("away")
    for thread in threads:
        thread.start()
    _until(lambda: len(writer._queue) == 4)  # noqa: SLF001 -- all but the first have joined
    recorder.gate.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert len({id(error) for error in errors}) == 5


def test_an_interrupted_leader_hands_the_lead_on(writer: Writer, recorder: Recorder) -> None:
    """An interrupt in the middle of a write leaves the writer usable."""
    recorder.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        writer.write(_job("a"))
    recorder.fault = None
    assert writer.write(_job("b")) is JobState.READY


def test_a_lost_leader_is_replaced(recorder: Recorder) -> None:
    """When a leader never ends its turn, whoever waits takes over after its patience."""
    writer = Writer(recorder, patience=0.05)
    writer._busy = True  # noqa: SLF001 -- a leader that vanished without handing on
    assert writer.write(_job("a")) is JobState.READY
    assert writer.write(_job("b")) is JobState.READY
    assert recorder.stored == ["a", "b"]


def test_a_job_in_a_lost_write_is_reported_as_unknown(recorder: Recorder) -> None:
    """A job that another thread took into a write that hangs raises, saying what is unknown."""
    writer = Writer(recorder, patience=0.3)
    recorder.gate.clear()
    fates: list[BaseException] = []

    def write(task: str) -> None:
        with pytest.raises(StoreUnavailable, match="not known whether") as caught:
            writer.write(_job(task))
        fates.append(caught.value)

    first = threading.Thread(target=writer.write, args=(_job("first"),))
    first.start()
    assert recorder.entered.wait(WAIT_S)
    joined = threading.Thread(target=write, args=("joined",))
    joined.start()
    _until(lambda: len(writer._queue) == 1)  # noqa: SLF001 -- it waits behind the first
    with writer._mutex:  # noqa: SLF001 -- as a leader takes its batch and then hangs
        writer._queue.clear()  # noqa: SLF001
    joined.join(WAIT_S)
    recorder.gate.set()
    first.join(WAIT_S)
    assert len(fates) == 1


def test_a_loop_is_not_blocked_while_the_store_writes(writer: Writer, recorder: Recorder) -> None:
    """While an async enqueue waits for a slow store, other coroutines of its loop run."""

    async def main() -> tuple[bool, Fate]:
        recorder.gate.clear()
        waiting = asyncio.ensure_future(writer.awrite(_job("a")))
        assert await asyncio.to_thread(recorder.entered.wait, WAIT_S)
        ran = not waiting.done()
        recorder.gate.set()
        return ran, await waiting

    assert asyncio.run(main()) == (True, JobState.READY)


def test_async_enqueues_coalesce(writer: Writer, recorder: Recorder) -> None:
    """Async enqueues that come while one is in flight are written together."""

    async def main() -> list[Fate | BaseException]:
        recorder.gate.clear()
        recorder.refused = lambda task: task == "7"
        first = asyncio.ensure_future(writer.awrite(_job("first")))
        assert await asyncio.to_thread(recorder.entered.wait, WAIT_S)
        others = [asyncio.ensure_future(writer.awrite(_job(str(n)))) for n in range(20)]
        await asyncio.sleep(0)
        recorder.gate.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    fates = asyncio.run(main())
    assert [n for n, fate in enumerate(fates) if fate is not JobState.READY] == [7]
    assert len(recorder.stored) == 20


def test_a_full_queue_refuses_and_says_so(
    writer: Writer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue of waiting enqueues is bounded; one more is refused and not stored."""
    monkeypatch.setattr("treadle.client.coalesce.WAITING_MAX", 1)
    recorder.gate.clear()
    threads = [threading.Thread(target=writer.write, args=(_job("a"),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    _until(lambda: len(writer._queue) == 1)  # noqa: SLF001 -- one writes, one waits
    with pytest.raises(StoreUnavailable, match="was not taken"):
        writer.write(_job("b"))
    recorder.gate.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert recorder.stored == ["a", "a"]


def test_closing_ends_the_writer_thread_and_it_starts_again(
    writer: Writer, recorder: Recorder
) -> None:
    """A closed writer leaves no thread; another async enqueue starts one again."""
    asyncio.run(writer.awrite(_job("a")))
    writer.close()
    assert "treadle-writer" not in [thread.name for thread in threading.enumerate()]
    asyncio.run(writer.awrite(_job("b")))
    assert recorder.stored == ["a", "b"]
