"""Schedules that are declared in code: `@app.schedule(...)` over `@app.task`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, Unpack

from msgspec import Struct

from treadle.client.schedules.options import ScheduleOptions, make_plan
from treadle.core.errors import DuplicateSchedule
from treadle.core.schedule.record import Plan, check_name
from treadle.core.when.triggers import AnyTrigger
from treadle.task import Task

T = TypeVar("T", bound=Task[..., Any])


class Declared(Struct, frozen=True):
    """A schedule as the code declares it."""

    name: str
    plan: Plan


class Declarations:
    """The schedules that one application's code declares; mixed into `Treadle`."""

    def __init__(self) -> None:
        self.declared: Final[dict[str, Declared]] = {}
        """By name; a worker stores them when it starts."""

    def schedule(self, trigger: AnyTrigger, **options: Unpack[ScheduleOptions]) -> Callable[[T], T]:
        """Run a task by itself: `@app.schedule(Cron("0 9 * * *"))` above `@app.task`.

        Workers store what is declared when they start; see `app.schedules.declare`. A task may
        have several schedules, each with a name of its own.

        Raises:
            TypeError, ValueError: an option is unknown, of another type or out of its range, or
                what is decorated is no task.
            BadArguments, PayloadError: `args` and `kwargs` are none for this task.
            DuplicateSchedule: the name is taken.
        """

        def declare(task: T) -> T:
            if not isinstance(task, Task):
                raise TypeError(
                    f"@app.schedule stands above @app.task: it takes a task, not {task!r}"
                )
            name = check_name(options.get("name") or task.name)
            if name in self.declared:
                taken = self.declared[name].plan.task
                raise DuplicateSchedule(name, f"it runs {taken}; give one of them another name=...")
            self.declared[name] = Declared(name, make_plan(trigger, name, task, options))
            return task

        return declare
