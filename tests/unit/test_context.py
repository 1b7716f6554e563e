"""The context: what a running task knows of its job."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import json

from treadle.app import Treadle
from treadle.context import CURRENT, LOG_LINE_MAX, Context, TransactionBlock, context, current
from treadle.core.errors import BadTaskSignature
from treadle.core.ids import id_text, new_id
from treadle.core.job import Claim
from treadle.definition import define
from treadle.job import Job


class Running:
    """A carrier written for these tests: it keeps what the task says."""

    def __init__(self, *, may_wait: bool = True) -> None:
        self.claim = Claim(new_id(), 1, "a.task", "default", 0, 3, b"[1,[]]")
        self.deadline_us: int | None = 1_700_000_000_000_000
        self.cancelled = True
        self.cut_off = False
        self.may_wait = may_wait
        self.reports: list[Any] = []
        self.lines: list[tuple[str, str]] = []

    def report(self, progress: bytes) -> None:
        """Keep a report."""
        self.reports.append(json.decode(progress))

    def say(self, level: str, text: str) -> None:
        """Keep a line."""
        self.lines.append((level, text))

    def job(self) -> Job[Any]:
        """Fail: no test here asks for it."""
        raise NotImplementedError

    def transaction(self, connection: object) -> TransactionBlock[Any]:
        """Fail: no test here asks for it."""
        raise NotImplementedError(repr(connection))


@contextmanager
def running(carrier: Running) -> Iterator[Context]:
    """Publish a context as the worker does."""
    made = Context(carrier)
    token = CURRENT.set(made)
    try:
        yield made
    finally:
        CURRENT.reset(token)


def test_it_shows_the_attempt() -> None:
    """A context gives what its carrier knows, instants as aware datetimes."""
    carrier = Running()
    ctx = Context(carrier)
    assert ctx.attempt == 3
    assert ctx.idempotency_key == id_text(carrier.claim.id)
    assert ctx.deadline == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert (ctx.cancelled, ctx.cut_off) == (True, False)
    carrier.deadline_us = None
    assert ctx.deadline is None


def test_outside_a_job_it_says_so() -> None:
    """Without a running job the context and the default marker raise, saying what to do."""
    with pytest.raises(RuntimeError, match="no job is running here"):
        current()
    with pytest.raises(RuntimeError, match="pass a Context of your own"):
        context().progress(1)


def test_the_default_marker_speaks_for_the_running_job() -> None:
    """A task that calls another's function plainly hands its own context on."""
    with running(Running()) as ctx:
        assert current() is ctx
        assert context().attempt == 3


def test_threads_have_their_own() -> None:
    """A context published on one thread is not seen on another."""
    seen: list[object] = []
    with running(Running()):
        thread = threading.Thread(target=lambda: seen.append(CURRENT.get(None)))
        thread.start()
        thread.join()
    assert seen == [None]


def test_coroutines_started_inside_inherit_it() -> None:
    """An asyncio task that a job starts speaks for that job."""

    async def main() -> int:
        async def inner() -> int:
            return current().attempt

        with running(Running()):
            return await asyncio.create_task(inner())

    assert asyncio.run(main()) == 3


def test_a_report_never_fails_its_job() -> None:
    """A message that UTF-8 cannot carry is reported with escapes."""
    carrier = Running()
    Context(carrier).progress(1, message="row \ud800" + "x" * 600)
    [report] = carrier.reports
    assert report["message"].startswith("row \\ud800x"), report
    assert len(report["message"]) == 500


def test_progress_is_bounded() -> None:
    """A report carries numbers and at most 500 characters of text."""
    carrier = Running()
    Context(carrier).progress(1, 4, "x" * 900)
    Context(carrier).progress(2)
    assert carrier.reports == [{"done": 1, "total": 4, "message": "x" * 500}, {"done": 2}]


@pytest.mark.parametrize("done", [-1, float("nan"), float("inf"), "1", True])
def test_progress_takes_sound_numbers_only(done: object) -> None:
    """What is no finite number from zero on is refused."""
    with pytest.raises((TypeError, ValueError), match="done must be"):
        Context(Running()).progress(done)  # type: ignore[arg-type]


def test_log_lines_are_bounded() -> None:
    """A line keeps at most 4 KiB of UTF-8, never half a character, and lone surrogates pass."""
    carrier = Running()
    Context(carrier).log("é" * LOG_LINE_MAX, "warning")
    Context(carrier).log("\ud800")
    Context(carrier).log("a" + "é" * LOG_LINE_MAX)
    assert carrier.lines[0] == ("warning", "é" * (LOG_LINE_MAX // 2))
    assert carrier.lines[1] == ("info", "\\ud800")
    assert carrier.lines[2] == ("info", "a" + "é" * (LOG_LINE_MAX // 2 - 1))
    with pytest.raises(ValueError, match="level must be one of"):
        Context(carrier).log("x", "loud")


def with_default(a: int, ctx: Context = context()) -> int:  # noqa: B008 -- the documented form
    """Take the context by its default."""
    return a + ctx.attempt


def by_annotation(a: int, *, ctx: Context) -> int:
    """Take the context by its annotation alone."""
    return a + ctx.attempt


def by_text(ctx: "Context", a: int) -> int:
    """Take the context by an annotation written as text."""
    return a + ctx.attempt


@pytest.mark.parametrize("fn", [with_default, by_annotation, by_text])
def test_the_parameter_is_found_and_left_out(fn: Callable[..., int]) -> None:
    """A parameter for the context is no part of what callers may give."""
    definition = define(fn, "a.task", {})
    assert definition.context_param == "ctx"
    args, kwargs = definition.spec.decode(definition.spec.encode((1,), {}))
    assert fn(*args, **kwargs, ctx=Context(Running())) == 4
    with pytest.raises(TypeError, match="filled in by the worker"):
        definition.spec.encode((1,), {"ctx": 2})


def test_two_contexts_are_refused() -> None:
    """A function that asks for the context twice cannot be a task."""

    def twice(one: Context = context(), two: Context = context()) -> None:  # noqa: B008
        raise NotImplementedError(one, two)

    with pytest.raises(BadTaskSignature, match="both ask for the context"):
        define(twice, "a.task", {})


def test_a_sync_wait_in_an_async_task_is_refused() -> None:
    """`job.result()` in an async task would block the loop; the error names `aresult`."""
    app = Treadle("memory://")
    job = app.enqueue("other")

    async def main() -> None:
        with running(Running()), pytest.raises(RuntimeError, match=r"await job\.aresult"):
            job.result()

    asyncio.run(main())
    app.close()


def test_a_wait_in_the_last_slot_is_refused() -> None:
    """Waiting for a job in the worker's last slot is refused; the error names chains and flows."""
    app = Treadle("memory://")
    job = app.enqueue("other")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="chain or a flow"):
            await job.aresult()

    with running(Running(may_wait=False)):
        with pytest.raises(RuntimeError, match="chain or a flow"):
            job.result()
        asyncio.run(main())
    with running(Running(may_wait=True)):
        assert not job.wait(timeout=0.01)
    app.close()
