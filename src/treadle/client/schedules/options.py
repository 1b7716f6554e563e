"""What a schedule may be told, checked where it is written."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypedDict

from treadle.core.durations import Duration, instant_us, to_us
from treadle.core.errors import ScheduleError
from treadle.core.schedule.record import MISFIRES, OVERLAPS, Misfire, Overlap, Plan
from treadle.core.when.cron import Cron
from treadle.core.when.triggers import AnyTrigger, At, Every, write_trigger
from treadle.definition import limit_us
from treadle.options import refuse_unknown
from treadle.task import Task


class ScheduleOptions(TypedDict, total=False):
    """What `app.schedule` takes beside its trigger. Durations are seconds or a timedelta."""

    args: Sequence[Any]
    """The positional arguments of each job."""
    kwargs: Mapping[str, Any]
    """Its keyword arguments."""
    name: str | None
    """The schedule's name in the store; default: the task's."""
    misfire: Misfire
    """Of several ticks that are due: `one`, the newest; `all`; `skip`, none that is late."""
    overlap: Overlap
    """What a tick does while the job before it has not ended: `skip`, `allow`, `queue_one`,
    `queue_all` or `cancel_running`."""
    grace: Duration | None
    """Drop ticks that are later than this."""
    jitter: Duration
    """Start each job up to this much later, by chance."""
    starts: datetime | None
    """No tick before this."""
    ends: datetime | None
    """No tick after this."""
    limit: int | None
    """So many jobs in all."""
    expires: Duration | Literal["next"] | None
    """A job that has not started so long after its tick, or by the `next` one, expires."""


_OPTIONS: Final = dict.fromkeys(sorted(ScheduleOptions.__annotations__))


def make_plan(
    trigger: AnyTrigger, name: str, task: Task[..., Any], options: ScheduleOptions
) -> Plan:
    """Make the plan of a schedule.

    Raises:
        TypeError, ValueError: an option is unknown, of another type or out of its range.
        BadArguments, PayloadError: the arguments are none for this task.
        ScheduleError: the task is bound to a delay (as by Debounce), an instant, a connection or
            an idempotency key.
    """
    check_options(options)
    if not isinstance(trigger, Cron | Every | At):
        raise TypeError(f"a trigger is a Cron, an Every or an At, not {type(trigger).__name__}")
    job = task._new_job(  # noqa: SLF001 -- a job that is made, not stored
        tuple(options.get("args", ())), dict(options.get("kwargs", {}))
    )
    if job.at is not None or job.delay or job.expires_at is not None or task.has_connection:
        raise ScheduleError(
            f"schedule {name!r}: {task.name} is bound to at, delay, an instant of expiry or a "
            "connection by .using(...), and a schedule makes jobs at its own ticks; leave it out"
        )
    if job.key is not None and job.key.hash is not None:
        raise ScheduleError(
            f"schedule {name!r}: {task.name} is bound to an idempotency key, which stands for one "
            "call; each tick is a call of its own and makes one job already. Leave it out"
        )
    starts = _instant(options.get("starts"), "starts")
    ends = _instant(options.get("ends"), "ends")
    if starts is not None and ends is not None and ends < starts:
        raise ValueError(f"schedule {name!r} ends before it starts")
    jitter, expires = to_us(options.get("jitter", 0), "jitter"), _expires(options, job.expires_in)
    if isinstance(expires, int) and jitter >= expires:
        raise ValueError(
            f"schedule {name!r}: its jobs expire {expires / 1e6:g} s after their tick and may wait "
            f"{jitter / 1e6:g} s for their jitter, so some would never run; make jitter smaller"
        )
    return Plan(
        trigger=write_trigger(trigger.for_name(name)),
        task=job.task,
        args=job.args,
        queue=job.queue,
        priority=job.priority,
        attempts_max=job.attempts_max,
        policy=job.policy,
        tags=job.tags,
        meta=job.meta,
        gates=job.gates,
        key=job.key,
        tenant=job.tenant,
        cost=job.cost,
        misfire=_one_of(options.get("misfire", "one"), MISFIRES, "misfire"),
        overlap=_one_of(options.get("overlap", "skip"), OVERLAPS, "overlap"),
        grace=limit_us(options.get("grace"), "grace"),
        jitter=jitter,
        starts=starts,
        ends=ends,
        limit=_limit(options.get("limit")),
        expires=expires,
    )


def check_options(options: ScheduleOptions) -> None:
    """Refuse options that a schedule does not have.

    Raises:
        TypeError: names the unknown ones and those there are.
    """
    refuse_unknown(options, _OPTIONS, "a schedule has no option", "it takes")
    for which, kind in (("args", Sequence), ("kwargs", Mapping)):
        value: object = options.get(which, ())
        if isinstance(value, str | bytes) or (which in options and not isinstance(value, kind)):
            shown = "a tuple" if which == "args" else "a dict"
            raise TypeError(f"{which} takes {shown}, not {type(value).__name__}")


def new_incarnation() -> str:
    """Make what tells a schedule from one of its name that was there before."""
    return secrets.token_hex(8)


def _one_of(value: Any, known: tuple[str, ...], name: str) -> Any:  # noqa: ANN401 -- a literal
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    return value


def _instant(value: datetime | None, name: str) -> int | None:
    return None if value is None else instant_us(value, name)


def _limit(value: int | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"limit must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"limit must be at least 1, not {value}")
    return value


def _expires(options: ScheduleOptions, of_task: int | None) -> int | Literal["next"] | None:
    value = options.get("expires")
    if isinstance(value, str):
        if value != "next":
            raise ValueError(f"expires takes a duration or 'next', not {value!r}")
        return "next"
    return of_task if value is None else limit_us(value, "expires")
