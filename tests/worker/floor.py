"""A floor to run attempts on: real executors on the running loop, without a store or a line.

Tests define tasks as plain functions, run them and read the outcomes. Nothing here decides
what an outcome means.
"""

import asyncio
import threading
from collections.abc import Callable
from itertools import count
from typing import Any, Final, Self, Unpack, cast

from treadle.core.job import Claim, JobRecord
from treadle.core.outcome import Failed, Outcome
from treadle.core.retry import JobPolicy
from treadle.definition import Definition, TaskOptions, define
from treadle.job import Job
from treadle.worker.attempt import Attempt, CallNext, Middleware, Surroundings
from treadle.worker.executors.group import Executors

WAIT_S: Final = 10.0
"""How long a test waits for what must come; far over what it takes."""

_numbers = count(1)


def claim_of(definition: Definition, args: bytes) -> Claim:
    """Make a claim of a job that nobody else has."""
    number = next(_numbers)
    return Claim(
        id=number.to_bytes(16, "big"),
        number=number,
        task=definition.name,
        queue="default",
        priority=0,
        attempt=1,
        args=args,
    )


def task(fn: Callable[..., Any], **options: Unpack[TaskOptions]) -> Definition:
    """Define a function as a task, named after it unless an option says otherwise."""
    return define(fn, options.get("name", fn.__name__), options)


class Floor:
    """Executors, and the outcomes they report."""

    def __init__(
        self,
        *,
        slots: int = 4,
        middleware: tuple[Middleware, ...] = (),
        result_max: int = 1_000,
        stuck_max: int = 4,
        stuck_after: float = 0.2,
    ) -> None:
        self.reported: list[str] = []
        """What tasks reported and said, in order."""
        self.outcomes: dict[Attempt, list[Outcome]] = {}
        """Every outcome of each attempt; a right executor reports one."""
        self.too_many_stuck = 0
        self.then: Callable[[Attempt], None] = lambda _: None
        """Called after each report, as a line starts its next job from there."""
        self.surroundings = Surroundings(
            report=lambda _, progress: self.reported.append(progress.decode()),
            say=lambda _, level, text: self.reported.append(f"{level}: {text}"),
            job_of=lambda record: cast("Job[Any]", record),
            may_wait=lambda: True,
            result_max=result_max,
            timeout_us=60_000_000,
            middleware=middleware,
        )
        self.executors = Executors(
            asyncio.get_running_loop(),
            slots=slots,
            finished=self._finished,
            stuck_max=stuck_max,
            on_too_many_stuck=self._count_too_many,
            stuck_after=stuck_after,
        )
        self._waiting: dict[Attempt, asyncio.Future[Outcome]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the executors; no attempt may have reported more than one outcome."""
        self.executors.close()
        doubled = {a.claim.task: found for a, found in self.outcomes.items() if len(found) > 1}
        assert not doubled, f"outcomes reported more than once: {doubled}"

    async def run(self, definition: Definition, *args: object, **kwargs: object) -> Outcome:
        """Run a task to its outcome."""
        return await self.outcome(self.start(definition, *args, **kwargs))

    def start(self, definition: Definition, *args: object, **kwargs: object) -> Attempt:
        """Start a task; its outcome is waited for with `outcome`."""
        return self.start_claim(
            claim_of(definition, definition.spec.encode(args, kwargs)), definition
        )

    def start_claim(
        self, claim: Claim, definition: Definition, policy: JobPolicy | None = None
    ) -> Attempt:
        """Start a claim as it is."""
        attempt = Attempt(claim, definition, policy or definition.policy, self.surroundings)
        self._waiting[attempt] = asyncio.get_running_loop().create_future()
        self.executors.start(attempt)
        return attempt

    async def outcome(self, attempt: Attempt) -> Outcome:
        """Wait for the outcome of an attempt."""
        return await asyncio.wait_for(self._waiting[attempt], WAIT_S)

    async def stuck(self, count: int) -> None:
        """Wait until so much code is stuck."""
        await until(lambda: self.executors.stuck_count == count)

    async def left(self, attempt: Attempt) -> None:
        """Wait until the code of a settled attempt has ended."""
        await until(lambda: not self.executors.is_stuck(attempt.claim.id))

    def _finished(self, attempt: Attempt, outcome: Outcome) -> None:
        self.outcomes.setdefault(attempt, []).append(outcome)
        if not self._waiting[attempt].done():
            self._waiting[attempt].set_result(outcome)
        self.then(attempt)

    def _count_too_many(self) -> None:
        self.too_many_stuck += 1


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until a condition holds, for at most `WAIT_S`."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 -- threads turn conditions, and set no event
            await asyncio.sleep(0.001)


def record_of(job: object) -> JobRecord:
    """Read the record of a job that `Surroundings.job_of` of a floor made."""
    assert isinstance(job, JobRecord)
    return job


def raising(error: BaseException | Callable[[], BaseException], *, is_async: bool) -> Definition:
    """Make a task, sync or async, that raises this."""
    return raising_with({}, error, is_async=is_async)


def raising_with(
    options: TaskOptions, error: BaseException | Callable[[], BaseException], *, is_async: bool
) -> Definition:
    """Make a task with options that raises this."""

    def made() -> BaseException:
        return error if isinstance(error, BaseException) else error()

    async def raises_async() -> None:
        raise made()

    def raises() -> None:
        raise made()

    return task(raises_async if is_async else raises, **options)


def outcome_of(
    definition: Definition, *args: object, middleware: tuple[Middleware, ...] = ()
) -> Outcome:
    """Run a task on a floor of its own."""

    async def scenario() -> Outcome:
        with Floor(middleware=middleware) as made:
            return await made.run(definition, *args)

    return asyncio.run(scenario())


def failure_of(
    definition: Definition, *args: object, middleware: tuple[Middleware, ...] = ()
) -> Failed:
    """Run a task that must fail."""
    outcome = outcome_of(definition, *args, middleware=middleware)
    assert isinstance(outcome, Failed), outcome
    return outcome


class Gate:
    """A place where tasks stop until the test lets them on; for threads and for the loop."""

    def __init__(self) -> None:
        self.inside = 0
        self._open = threading.Event()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Let every task on."""
        self._open.set()

    def shut(self) -> None:
        """Stop the tasks that come from now on."""
        self.inside = 0
        self._open.clear()

    def enter(self) -> None:
        """Wait in a thread."""
        with self._lock:
            self.inside += 1
        assert self._open.wait(WAIT_S)

    def spin(self) -> None:
        """Wait in a thread, in Python code that an error can strike."""
        with self._lock:
            self.inside += 1
        while not self._open.wait(0.001):
            pass

    async def aenter(self) -> None:
        """Wait on the loop."""
        self.inside += 1
        await until(self._open.is_set)


async def passes_on(_: object, call_next: CallNext) -> object:
    """Do nothing but go on."""
    return await call_next()
