"""A tenant: who owns a job, and how much of a queue's turns it gets.

Jobs of tenants are ordered by start-time fair queueing (P. Goyal, H. M. Vin and H. Cheng, 1996):
as a job becomes ready it is given a tag, the larger one of the tag at the head of its queue and
the last tag of its tenant that still waits there, plus the tenant's stride. Tags are whole numbers
of at most 46 bits, so that a double holds one together with a priority.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from msgspec import Struct

from treadle.core.errors import BadArguments
from treadle.core.keys.names import check_printable
from treadle.core.payload.template import check_fields, fields_of

if TYPE_CHECKING:
    from treadle.core.payload.signature import CallerSignature

STRIDE: Final = 1_000
"""What a job of a tenant of weight 1 adds to its tenant's tag."""
TAG_MAX: Final = 2**46 - 1
"""The largest tag; jobs that come to it stand in the order of their ids."""
UNTAGGED: Final = -TAG_MAX
"""The tag of a tenant's job that waits for none yet; a tag below zero is the most that the next
one may be, turned round."""
WEIGHT_MIN, WEIGHT_MAX = 0.01, 100
NAME_MAX: Final = 200
"""Characters of a tenant's name."""

_PLAIN: Final = (str, int, UUID, Enum)


class TenantRecord(Struct, frozen=True):
    """A tenant whose weight was set."""

    name: str
    stride: int
    """What one of its jobs adds to its tag: `STRIDE` divided by its weight."""


class TenantOf(Struct, frozen=True):
    """To which tenant the jobs of a task belong: a name, or a template over the arguments."""

    text: str
    fields: tuple[str, ...] = ()

    def name(self, task: str, arguments: Mapping[str, Any]) -> str:
        """Give the tenant of a call.

        Raises:
            BadArguments: an argument that the template names has no plain text, or the name that
                comes of it is none.
        """
        if not self.fields:
            return self.text
        values = {field: _plain(task, self.text, field, arguments[field]) for field in self.fields}
        try:
            return check_tenant(self.text.format(**values))
        except ValueError as error:
            raise BadArguments(task, f"tenant={self.text!r} makes no name: {error}") from error


def stride_of(weight: float) -> int:
    """Give what one job adds to the tag of a tenant of this weight.

    Raises:
        TypeError, ValueError: the weight is no number from 0.01 to 100.
    """
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise TypeError(f"weight is a number, not {type(weight).__name__}")
    if not (math.isfinite(weight) and WEIGHT_MIN <= weight <= WEIGHT_MAX):
        raise ValueError(f"weight must be from {WEIGHT_MIN} to {WEIGHT_MAX}, not {weight}")
    return round(STRIDE / weight)


def check_tenant(name: str) -> str:
    """Return the name of a tenant when it is a legal one.

    Raises:
        TypeError, ValueError: it is no str, is empty, over 200 characters or not printable.
    """
    return check_printable(name, "a tenant", NAME_MAX)


def tenant_of(
    value: str | None, task: str, signature: CallerSignature, *, literal: bool = False
) -> TenantOf | None:
    """Return what `tenant=` was given when jobs of this task can belong to it.

    `literal` takes a text for a name, braces and all.

    Raises:
        TypeError, ValueError: it is no str, no template, or names an argument that the task does
            not have.
    """
    if value is None:
        return None
    if literal or "{" not in check_tenant(value):
        return TenantOf(check_tenant(value))
    fields = fields_of(value, f"tenant={value!r}")
    if not fields:
        raise ValueError(f"tenant={value!r} names no argument; a plain name has no braces")
    check_fields(fields, f"tenant={value!r}", task, signature)
    return TenantOf(value, fields)


def _plain(task: str, template: str, field: str, value: object) -> object:
    if not isinstance(value, _PLAIN) or isinstance(value, bool):
        raise BadArguments(
            task,
            f"argument {field!r} is a {type(value).__name__}, which names no tenant for "
            f"tenant={template!r}; give it a str or a number, or name the tenant of this call with "
            ".using(tenant=...)",
        )
    return value.value if isinstance(value, Enum) else value
