"""execute: the third step of the line. It runs one attempt and returns what happened as a value.

`execute` runs async tasks and everything that goes through middleware, `execute_in_thread`
runs sync tasks. Neither picks a state, writes anything or watches the clock: the outcome goes
to `core.decide`, time limits are in `executors.limits`, what an error means in
`outcomes.raised`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from treadle.context import CURRENT, Context
from treadle.core.outcome import Outcome, Succeeded
from treadle.worker.attempt import Attempt
from treadle.worker.executors.soft import driven
from treadle.worker.outcomes.raised import bad_result, outcome_of

InThread = Callable[[Attempt, Callable[[], Any]], Awaitable[Any]]
"""Runs a call in a thread of its own and gives what it returns or raises."""

_NOTHING: Final = object()


async def execute(attempt: Attempt, in_thread: InThread) -> Outcome:
    """Run an attempt on the loop and tell what it came to; never raises.

    `in_thread` runs the innermost call of a sync task that has middleware around it.
    """
    value = _NOTHING
    try:
        args, kwargs = _arguments(attempt)
        if attempt.surroundings.middleware:
            running = _through_middleware(attempt, in_thread, args, kwargs)
        else:
            running = attempt.definition.fn(*args, **kwargs)
        attempt.code = running
        if attempt.policy.soft_timeout is not None:
            running = driven(attempt, running)
        value = await running
        outcome: Outcome = _succeeded(attempt, value)
    except BaseException as error:  # noqa: BLE001 -- here errors become values
        returned = value is not _NOTHING
        outcome = bad_result(attempt, error) if returned else outcome_of(attempt, error)
    return outcome if attempt.own is None else await attempt.own.conclude(outcome)


def execute_in_thread(attempt: Attempt, leave: Callable[[], None]) -> Outcome:
    """Run a sync attempt on this thread and tell what it came to.

    `leave` ends the time in which another thread may raise an error in this one. Until it has
    returned such an error can strike at any point: the one that strikes here after the task
    has returned is late and changes nothing. One more can strike inside the handler; it goes
    to the caller.
    """
    value = _NOTHING
    try:
        args, kwargs = _arguments(attempt)
        value = attempt.definition.fn(*args, **kwargs)
        leave()
    except BaseException as error:  # noqa: BLE001 -- as in `execute`
        leave()
        if value is _NOTHING:
            outcome = outcome_of(attempt, error)
            return outcome if attempt.own is None else attempt.own.conclude_now(outcome)
    outcome = _encoded(attempt, value)
    return outcome if attempt.own is None else attempt.own.conclude_now(outcome)


def _arguments(attempt: Attempt) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Decode the arguments and publish the context, which may be one of them."""
    definition = attempt.definition
    args, kwargs = definition.spec.decode(attempt.claim.args)
    context = Context(attempt)
    CURRENT.set(context)
    if definition.context_param is not None:
        kwargs[definition.context_param] = context
    return args, kwargs


def _encoded(attempt: Attempt, value: object) -> Outcome:
    """Say what an attempt came to that returned this value."""
    try:
        return _succeeded(attempt, value)
    except BaseException as error:  # noqa: BLE001 -- a value's own code may raise anything
        return bad_result(attempt, error)


def _succeeded(attempt: Attempt, value: object) -> Succeeded:
    """Encode the result of a task that returned."""
    definition = attempt.definition
    ran = attempt.ran()
    if not definition.keep_result:
        return Succeeded(None, ran)
    return Succeeded(definition.results.encode(value, attempt.surroundings.result_max), ran)


async def _through_middleware(
    attempt: Attempt, in_thread: InThread, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> object:
    """Run the task inside the middleware, the first one outermost.

    Each one may be called on only once it calls the next, so a chain costs nothing when the
    application has none.
    """
    call: Callable[[], Any] = partial(attempt.definition.fn, *args, **kwargs)
    if attempt.definition.is_async:
        call = partial(_whole, attempt, call)
    else:
        call = partial(in_thread, attempt, partial(_whole_now, attempt, call))
    job = attempt.job()
    for one in reversed(attempt.surroundings.middleware):
        call = partial(one, job, call)
    return await call()


async def _whole(attempt: Attempt, call: Callable[[], Awaitable[Any]]) -> object:
    """Run an async task inside middleware, and end its transaction when it has returned.

    The middleware around it may close the session that the task has written through, so the
    transaction cannot wait for that to end.
    """
    try:
        value = await call()
    except BaseException:
        if attempt.own is not None:
            await attempt.own.undo()
        raise
    own = attempt.own
    if own is not None and not isinstance(await own.conclude(_encoded(attempt, value)), Succeeded):
        raise own.error or RuntimeError("the result of the task cannot be stored")
    return value


def _whole_now(attempt: Attempt, call: Callable[[], Any]) -> object:
    """Do the same for a sync task, on its thread."""
    try:
        value = call()
    except BaseException:
        if attempt.own is not None:
            attempt.own.undo_now()
        raise
    own = attempt.own
    if own is not None and not isinstance(own.conclude_now(_encoded(attempt, value)), Succeeded):
        raise own.error or RuntimeError("the result of the task cannot be stored")
    return value
