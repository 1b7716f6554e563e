"""What is a task, once it is defined?

A `Definition` is the plain record that the decorator makes of a function and its options,
and that the worker reads: how to decode its arguments, how long it may take, how it is
retried. It runs nothing. Options of one call are told apart in `client.plan`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, Literal, TypedDict

from msgspec.structs import replace

from treadle.context import Context, is_marker
from treadle.core.durations import Duration, to_us
from treadle.core.errors import BadTaskSignature
from treadle.core.gates.limits import Limit, check_count, check_limits
from treadle.core.job import PRIORITY_MAX, PRIORITY_MIN
from treadle.core.keys.names import check_printable
from treadle.core.keys.naming import check_names
from treadle.core.keys.rules import Rule, check_rule
from treadle.core.lanes import check_queue
from treadle.core.payload.annotations import resolve_hints
from treadle.core.payload.codec import CallSpec, ResultCodec
from treadle.core.retry import DEFAULT_POLICY, JobPolicy, Retry, write_policy
from treadle.core.tenants.tenant import TenantOf, tenant_of
from treadle.options import refuse_unknown

OnCutOff = Literal["continue", "cancel"]

NAME_MAX: Final = 200
"""Characters of a task name."""


class TaskOptions(TypedDict, total=False):
    """What `app.task` takes. Durations are seconds or a timedelta."""

    name: str
    """The task's name in the store; default: its module and function name."""
    queue: str
    priority: int
    """From -100 to 100; higher goes first."""
    retry: Retry | int | None
    """A policy, or how many attempts there are in all."""
    timeout: Duration | None
    """Hard limit of one attempt; default: the settings' `timeout`."""
    soft_timeout: Duration | None
    """After which `SoftTimeout` is raised inside the task."""
    expires: Duration | None
    """A job that has not started by then after it was enqueued does not start any more."""
    limits: Limit | Sequence[Limit] | None
    """Bounds on how many jobs run or start at a time: `Concurrency(...)`, `RateLimit(...)`."""
    cost: int
    """What one job takes of its rates, from 1 to 1,000,000; default: 1."""
    on_cut_off: OnCutOff
    """What to do when the worker loses the store: `continue`, or `cancel` before the lease ends."""
    keep_result: bool | Duration
    """False stores no result; a duration says how long succeeded jobs are kept."""
    aliases: Iterable[str]
    """Former names, under which jobs may still be stored."""
    unique: Rule | None
    """What keeps its jobs from being doubled: a `Unique`, `Debounce` or `Throttle`."""
    tenant: str | None
    """To whom its jobs belong, in fairness: a name, or a template such as `"{account_id}"`."""


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """A task as the worker knows it; durations in microseconds."""

    name: str
    fn: Callable[..., Any]
    spec: CallSpec
    results: ResultCodec
    queue: str
    priority: int
    retry: Retry
    policy: JobPolicy
    policy_bytes: bytes | None
    timeout_us: int | None
    soft_timeout_us: int | None
    expires_us: int | None
    keep_result: bool
    """Whether results are stored; for how long is in `policy.keep`."""
    on_cut_off: OnCutOff
    is_async: bool
    context_param: str | None
    aliases: tuple[str, ...]
    limits: tuple[Limit, ...]
    cost: int
    unique: Rule | None
    tenant: TenantOf | None


_OPTIONS: Final = dict.fromkeys(sorted(TaskOptions.__annotations__))


def define(fn: Callable[..., Any], name: str, options: TaskOptions) -> Definition:
    """Make the definition of `fn` as the task `name`.

    Raises:
        BadTaskSignature: the function cannot be a task, or its annotations cannot carry jobs.
        TypeError, ValueError: an option is unknown, of another type or out of its range.
    """
    check_options(options)
    check_function(fn, name)
    param = _context_param(fn, name)
    spec = CallSpec.of(fn, name, skip=frozenset(() if param is None else (param,)))
    retry = as_retry(options.get("retry"))
    timeout, soft = _limits(options)
    keep_result, keep_us = _keep(options.get("keep_result", True))
    policy = replace(retry.policy, timeout=timeout, soft_timeout=soft, keep=keep_us)
    return Definition(
        name=check_name(name),
        fn=fn,
        spec=spec,
        results=ResultCodec.of(spec.returns, task=name),
        queue=check_queue(options.get("queue", "default")),
        priority=check_priority(options.get("priority", 0)),
        retry=retry,
        policy=policy,
        policy_bytes=None if policy == DEFAULT_POLICY else write_policy(policy),
        timeout_us=timeout,
        soft_timeout_us=soft,
        expires_us=_expires(options.get("expires")),
        keep_result=keep_result,
        on_cut_off=_on_cut_off(options.get("on_cut_off", "continue")),
        is_async=inspect.iscoroutinefunction(fn),
        context_param=param,
        aliases=_aliases(options.get("aliases", ()), name),
        limits=check_limits(options.get("limits"), name, spec.signature),
        cost=check_count(options.get("cost", 1), "cost"),
        unique=unique_of(options.get("unique"), spec),
        tenant=tenant_of(options.get("tenant"), name, spec.signature),
    )


def check_options(options: TaskOptions) -> None:
    """Refuse options that `app.task` does not have.

    Raises:
        TypeError: names the unknown ones and those there are.
    """
    refuse_unknown(options, _OPTIONS, "app.task has no option", "it takes")


def check_function(fn: object, name: str) -> None:
    """Refuse what is not a plain or async function.

    Raises:
        BadTaskSignature: it is a class, a generator function or no function at all.
    """
    if not callable(fn) or inspect.isclass(fn):
        raise BadTaskSignature(name, f"{fn!r} is no function; decorate a `def` or `async def`")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise BadTaskSignature(
            name, "it is a generator function; return a list, or enqueue a job for each item"
        )


def check_name(name: str) -> str:
    """Return a task name when it is a legal one.

    Raises:
        TypeError, ValueError: it is no str, is empty, or has over 200 characters.
    """
    return check_printable(name, "a task name", NAME_MAX)


def check_priority(priority: int) -> int:
    """Return a priority when it is a legal one.

    Raises:
        TypeError, ValueError: it is no int, or not from -100 to 100.
    """
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise TypeError(f"priority must be an int, not {type(priority).__name__}")
    if not PRIORITY_MIN <= priority <= PRIORITY_MAX:
        raise ValueError(
            f"priority must be from {PRIORITY_MIN} to {PRIORITY_MAX}, higher first; not {priority}"
        )
    return priority


def as_retry(value: Retry | int | None) -> Retry:
    """Turn what `retry=` takes into a policy; an int means so many attempts.

    Raises:
        TypeError, ValueError: it is neither, or out of range.
    """
    if value is None:
        return Retry()
    if isinstance(value, Retry):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"retry takes a Retry or a number of attempts, not {type(value).__name__}")
    return Retry(attempts=value)


def limit_us(value: Duration | None, name: str) -> int | None:
    """Turn a time limit into microseconds; None stays None.

    Raises:
        TypeError, ValueError: it is no duration, or not above zero.
    """
    if value is None:
        return None
    micros = to_us(value, name)
    if micros == 0:
        raise ValueError(f"{name} must be above zero; leave it out for no limit of its own")
    return micros


def unique_of(value: object, spec: CallSpec) -> Rule | None:
    """Return what `unique=` was given when this task can be kept unique by it.

    Raises:
        TypeError, ValueError: it is no rule, or its key names an argument that the task has not.
    """
    rule = check_rule(value)
    if rule is not None:
        check_names(rule.key, spec.signature)
    return rule


def _limits(options: TaskOptions) -> tuple[int | None, int | None]:
    timeout = limit_us(options.get("timeout"), "timeout")
    soft = limit_us(options.get("soft_timeout"), "soft_timeout")
    if timeout is not None and soft is not None and soft >= timeout:
        raise ValueError(
            f"soft_timeout ({soft / 1e6:g} s) must be below timeout ({timeout / 1e6:g} s), "
            "or the task has no time to tidy up"
        )
    return timeout, soft


def _expires(value: Duration | None) -> int | None:
    """An instant makes no sense here: it would be the same for every job to come."""
    return limit_us(value, "expires")


def _keep(value: bool | Duration, /) -> tuple[bool, int | None]:  # noqa: FBT001 -- as users say it
    if isinstance(value, bool):
        return value, None
    if not isinstance(value, (int, float, timedelta)):
        raise TypeError(f"keep_result takes a bool or a duration, not {type(value).__name__}")
    return True, to_us(value, "keep_result")


def _on_cut_off(value: OnCutOff) -> OnCutOff:
    if value not in ("continue", "cancel"):
        raise ValueError(f"on_cut_off must be 'continue' or 'cancel', not {value!r}")
    return value


def _aliases(value: Iterable[str], name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(f"aliases takes several names; write aliases=[{value!r}]")
    aliases = tuple(check_name(alias) for alias in value)
    if name in aliases:
        raise ValueError(f"{name!r} is the task's own name; an alias is a former one")
    return aliases


def _context_param(fn: Callable[..., Any], name: str) -> str | None:
    """Find the parameter that takes the context: by its default, or by its annotation alone.

    Raises:
        BadTaskSignature: there are two, or the annotation cannot be resolved.
    """
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError, NameError):
        return None  # `CallSpec.of` meets the same fault and explains it.
    found = [p.name for p in parameters.values() if is_marker(p.default)]
    for parameter in parameters.values():
        if parameter.name not in found and _asks_for_context(fn, name, parameter, parameters):
            found.append(parameter.name)
    if len(found) > 1:
        raise BadTaskSignature(name, f"{' and '.join(found)} both ask for the context; keep one")
    return found[0] if found else None


def _asks_for_context(
    fn: Callable[..., Any],
    name: str,
    parameter: inspect.Parameter,
    every: MappingProxyType[str, inspect.Parameter],
) -> bool:
    annotation = parameter.annotation
    if isinstance(annotation, str) and "Context" in annotation:
        others = frozenset({*every, "return"} - {parameter.name})
        annotation = resolve_hints(fn, name, others).get(parameter.name)
    return annotation is Context
