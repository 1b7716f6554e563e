"""A signature: a task with its arguments and options, not yet enqueued.

A plain frozen value, made by `task.s(...)` and `task.si(...)`. It is checked against the
task when it is enqueued, because the value before it in a chain may still add an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from treadle.job import Job
    from treadle.task import Task

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Signature(Generic[R]):
    """A call of a task that has not been made; `R` is what the task returns."""

    task: str
    """The task's name."""
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: Mapping[str, Any]
    """What `.using(...)` was given."""
    immutable: bool
    """Whether it takes no argument from a job before it (`.si`)."""
    bound: Task[..., R] = field(repr=False, compare=False)
    """The task with those options."""

    def enqueue(self) -> Job[R]:
        """Enqueue the call; return its job when it is stored.

        Raises:
            BadArguments, PayloadError: the arguments do not fit or cannot be stored.
            StoreUnavailable: it is not known whether the job was stored.
        """
        return self.bound.enqueue(*self.args, **self.kwargs)

    async def aenqueue(self) -> Job[R]:
        """Do the same as `enqueue` without blocking the event loop."""
        return await self.bound.aenqueue(*self.args, **self.kwargs)
