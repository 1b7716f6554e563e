"""With which options is the next call of a task enqueued?

A `Plan` is the frozen answer: a task's own options, overlaid by `.using(...)`. It is worked
out once and reused for every job, so that enqueueing many costs nothing for it. What the
options of the task itself are is told in `treadle.definition`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypedDict

from msgspec import json
from msgspec.structs import replace as changed

from treadle.client.connections.find import adapter_of
from treadle.core.durations import Duration, instant_us, to_us
from treadle.core.gates.gate import write_gates
from treadle.core.gates.limits import Limit, check_count
from treadle.core.ids import new_id
from treadle.core.job import NewJob
from treadle.core.keys.key import Key
from treadle.core.keys.naming import hash_of, name_of
from treadle.core.keys.rules import (
    Debounce,
    Rule,
    check_idempotency_key,
    idempotency_key,
    unique_name,
)
from treadle.core.lanes import check_queue
from treadle.core.payload.codec import CallSpec
from treadle.core.payload.jsonable import pack
from treadle.core.payload.signature import CallerSignature
from treadle.core.payload.template import arguments_of
from treadle.core.retry import DEFAULT_POLICY, JobPolicy, Retry, write_policy
from treadle.core.tenants.tenant import TenantOf, tenant_of
from treadle.definition import Definition, as_retry, check_priority, limit_us, unique_of
from treadle.options import refuse_unknown
from treadle.store.statements import Adapter, AsyncAdapter

TAGS_MAX: Final = 20
TAG_LENGTH_MAX: Final = 100
META_MAX: Final = 16_384
"""Bytes of JSON that `meta` may take."""


class CallOptions(TypedDict, total=False):
    """What `.using` takes. Durations are seconds or a timedelta, instants aware datetimes."""

    queue: str
    priority: int
    delay: Duration
    """Wait so long before the job may start."""
    at: datetime
    """Do not start before this instant; instead of `delay`."""
    expires: Duration | datetime | None
    """Do not start after this."""
    retry: Retry | int | None
    """How often and after which delays; which errors count is the decorator's to say."""
    timeout: Duration | None
    tags: Iterable[str]
    """Up to 20 words to find the job by."""
    meta: Mapping[str, Any]
    """Up to 16 KiB of JSON that is kept with the job."""
    cost: int
    """What the job takes of its rates, from 1 to 1,000,000."""
    tenant: str | None
    """To whom the job belongs, by name; None: to nobody."""
    unique: Rule | None
    """What keeps this call's job from being doubled, instead of what the task says."""
    idempotency_key: str | None
    """Gives the job that this key was enqueued with before, for as long as that is kept."""
    connection: object | None
    """Write the job inside this connection's own transaction: of sqlite3, SQLAlchemy, psycopg or
    asyncpg, open on the store's own database, or on the one that the setting `outbox` names."""


_OPTIONS: Final = dict.fromkeys(sorted(CallOptions.__annotations__))


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of the calls to come; durations and instants in microseconds."""

    task: str
    queue: str = "default"
    priority: int = 0
    at: int | None = None
    delay: int = 0
    expires_at: int | None = None
    expires_in: int | None = None
    attempts_max: int | None = None
    policy: JobPolicy | None = None
    """None: as the task says, where the worker's code may have changed since."""
    tags: bytes | None = None
    meta: bytes | None = None
    cost: int = 1
    limits: tuple[Limit, ...] = ()
    tenant: TenantOf | None = None
    unique: Rule | None = None
    idempotency_key: str | None = None
    connection: Adapter | AsyncAdapter | None = None
    """What writes on the caller's own connection."""

    @classmethod
    def of(cls, definition: Definition) -> Plan:
        """Make the plan of a task's plain calls."""
        return cls(
            task=definition.name,
            queue=definition.queue,
            priority=definition.priority,
            expires_in=definition.expires_us,
            attempts_max=definition.retry.attempts,
            policy=None if definition.policy == DEFAULT_POLICY else definition.policy,
            cost=definition.cost,
            limits=definition.limits,
            tenant=definition.tenant,
            unique=definition.unique,
        )

    def using(self, options: CallOptions, spec: CallSpec) -> Plan:
        """Overlay these options for calls of this kind.

        Raises:
            TypeError, ValueError: an option is unknown, of another type or out of its range.
        """
        refuse_unknown(options, _OPTIONS, ".using has no option", "it takes")
        found = {**_plain(options), **_timing(options), **_policy(self, options)}
        if "tenant" in options:
            value = options["tenant"]
            found["tenant"] = tenant_of(value, self.task, spec.signature, literal=True)
        plan = replace(self, **found, **_keys(options, spec))
        _check_together(plan)
        return plan

    @property
    def keyed(self) -> bool:
        """Whether each job wants a key."""
        return self.unique is not None or self.idempotency_key is not None

    def key(self, spec: CallSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key | None:
        """Give the key that the job of this call wants.

        Raises:
            TypeError, ValueError: the key cannot be made of these arguments.
            NotSerializable: an argument that the key is made of cannot be stored.
        """
        if self.idempotency_key is not None:
            return idempotency_key(self.idempotency_key, hash_of(spec.signature, args, kwargs))
        if self.unique is None:
            return None
        name = name_of(self.unique.key, spec.signature, args, kwargs)
        return self.unique.named(unique_name(self.task, name))

    def tail(self) -> tuple[Any, ...]:
        """Give the fields of `NewJob` after its id, task and arguments, in its order."""
        return (
            self.queue,
            self.priority,
            self.at,
            to_us(self.unique.wait, "wait") if isinstance(self.unique, Debounce) else self.delay,
            self.expires_at,
            self.expires_in,
            self.attempts_max,
            # An explicit policy of nothing but defaults still wins over the task's own.
            None if self.policy is None else write_policy(self.policy) or b"{}",
            self.tags,
            self.meta,
            None if self.tenant is None or self.tenant.fields else self.tenant.text,
            self.cost,
        )

    @property
    def varies(self) -> bool:
        """Whether a job hangs on its arguments: by its keys, its gates or its tenant."""
        by_tenant = self.tenant is not None and bool(self.tenant.fields)
        return self.keyed or bool(self.limits) or by_tenant

    def tenant_name(
        self, signature: CallerSignature, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> str | None:
        """Give the tenant of one call.

        Raises:
            BadArguments: an argument that names the tenant has no plain text.
        """
        if self.tenant is None or not self.tenant.fields:
            return None if self.tenant is None else self.tenant.text
        return self.tenant.name(self.task, arguments_of(signature, args, kwargs))

    def gates(
        self, signature: CallerSignature, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> bytes | None:
        """Give the gates of one call, None where its task has no limits.

        Raises:
            BadArguments: an argument that a key names has no plain text.
        """
        if not self.limits:
            return None
        arguments = arguments_of(signature, args, kwargs)
        return write_gates([limit.use(self.task, arguments, self.cost) for limit in self.limits])

    def job(self, payload: bytes) -> NewJob:
        """Make one job of encoded arguments."""
        return NewJob(new_id(), self.task, payload, *self.tail())


def _plain(options: CallOptions) -> dict[str, Any]:
    """Read the options that stand for themselves."""
    found: dict[str, Any] = {}
    if "queue" in options:
        found["queue"] = check_queue(options["queue"])
    if "priority" in options:
        found["priority"] = check_priority(options["priority"])
    if "tags" in options:
        found["tags"] = _tags(options["tags"])
    if "meta" in options:
        found["meta"] = _meta(options["meta"])
    if "cost" in options:
        found["cost"] = check_count(options["cost"], "cost")
    if "connection" in options:
        found["connection"] = _connection(options["connection"])
    return found


def _keys(options: CallOptions, spec: CallSpec) -> dict[str, Any]:
    """Read what keeps jobs from being doubled."""
    found: dict[str, Any] = {}
    if "unique" in options:
        found["unique"] = unique_of(options["unique"], spec)
    if "idempotency_key" in options:
        found["idempotency_key"] = check_idempotency_key(options["idempotency_key"])
    return found


def _check_together(plan: Plan) -> None:
    """Refuse options that contradict each other."""
    if plan.unique is not None and plan.idempotency_key is not None:
        raise ValueError(
            f"a job has one key, and {plan.task} has unique={plan.unique} already; write "
            ".using(unique=None, idempotency_key=...) for this call"
        )
    if isinstance(plan.unique, Debounce) and (plan.at is not None or plan.delay):
        raise ValueError(
            "a Debounce says itself when the job starts; leave delay and at out of this call"
        )


def _timing(options: CallOptions) -> dict[str, Any]:
    """Read when the job may start."""
    found: dict[str, Any] = {}
    if "delay" in options and "at" in options:
        raise ValueError("give delay or at, not both: they answer the same question")
    if "delay" in options:
        found |= {"delay": to_us(options["delay"], "delay"), "at": None}
    if "at" in options:
        found["at"] = instant_us(options["at"], "at")  # It wins over a delay given before.
    if "expires" in options:
        expires = options["expires"]
        found |= {"expires_at": None, "expires_in": None}
        if isinstance(expires, datetime):
            found["expires_at"] = instant_us(expires, "expires")
        else:
            found["expires_in"] = limit_us(expires, "expires")
    return found


def _policy(plan: Plan, options: CallOptions) -> dict[str, Any]:
    """Read what travels with the job as its policy."""
    found: dict[str, Any] = {}
    policy = plan.policy or DEFAULT_POLICY
    given = options.get("retry")
    if given is not None:
        retry = as_retry(given)
        _check_numbers_only(retry)
        found["attempts_max"] = retry.attempts
    if isinstance(given, Retry):
        kept = {name: getattr(policy, name) for name in ("timeout", "soft_timeout", "keep")}
        found["policy"] = policy = changed(given.policy, **kept)
    if "timeout" in options:
        timeout = limit_us(options["timeout"], "timeout")
        found["policy"] = changed(policy, timeout=timeout)
    return found


def _check_numbers_only(retry: Retry) -> None:
    """Refuse what cannot travel with a job: classes and functions live in the worker's code."""
    if callable(retry.backoff) or retry.on != (Exception,) or retry.never:
        raise ValueError(
            "the retry of one call takes numbers only; on=, never= and a callable backoff are "
            "code, which the worker reads from the decorator: give them to app.task"
        )


def _tags(value: Iterable[str]) -> bytes | None:
    if isinstance(value, str):
        raise TypeError(f"tags takes several words; write tags=[{value!r}]")
    tags = list(dict.fromkeys(value))
    for tag in tags:
        if not isinstance(tag, str):
            raise TypeError(f"a tag is a str, not {type(tag).__name__}")
        if not 0 < len(tag) <= TAG_LENGTH_MAX:
            raise ValueError(f"a tag has 1 to {TAG_LENGTH_MAX} characters, {tag[:50]!r} does not")
        if not tag.isascii() and any("\ud800" <= char <= "\udfff" for char in tag):
            raise ValueError(f"the tag {tag!r} has a lone surrogate, which UTF-8 cannot carry")
    if len(tags) > TAGS_MAX:
        raise ValueError(f"a job has at most {TAGS_MAX} tags, not {len(tags)}")
    return json.encode(tags) if tags else None


def _meta(value: Mapping[str, Any]) -> bytes | None:
    if not isinstance(value, Mapping):
        raise TypeError(f"meta takes a mapping, not {type(value).__name__}")
    meta = dict(value)
    if not all(isinstance(key, str) for key in meta):
        raise TypeError("the keys of meta are str")
    return pack(meta, lambda whole: (("meta", whole),), "meta", META_MAX) if meta else None


def _connection(value: object) -> Adapter | AsyncAdapter | None:
    return None if value is None else adapter_of(value)
