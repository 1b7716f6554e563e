"""Which tasks does an application have, and under which names?

A task's name is its module and function, so that every process that imports the module
knows it by the same name. A function that a worker could not import again is refused,
unless it has a name of its own or the store never leaves this process.
"""

from __future__ import annotations

import inspect
import sys
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, Unpack, overload

from treadle.client.snapshot import Home
from treadle.core.errors import BadTaskSignature, DuplicateTask
from treadle.core.gates.limits import Shared, share
from treadle.definition import Definition, TaskOptions, check_function, check_name, define
from treadle.task import Decorator, Task, _AsyncTask, _SyncTask, make_task, named_task

if TYPE_CHECKING:
    from treadle.job import Job

P = ParamSpec("P")
R = TypeVar("R")


class Registry(Home):
    """The tasks of one application."""

    def __init__(self) -> None:
        self.registry: Final[dict[str, Definition]] = {}
        """Every task by its name."""
        self._aliases: dict[str, Definition] = {}
        self._handles: dict[str, Task[..., Any]] = {}
        self._limits: Shared = {}

    @property
    @abstractmethod
    def stays_here(self) -> bool:
        """Whether jobs never leave this process, so that any function can be a task."""

    # The overlap is meant: an async function is a function too, and the first match wins.
    @overload
    def task(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> _AsyncTask[P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> _SyncTask[P, R]: ...
    @overload
    def task(self, **options: Unpack[TaskOptions]) -> Decorator: ...
    # mypy does not see that a call without a function gives the options alone.
    def task(  # type: ignore[misc]
        self, fn: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]
    ) -> Task[..., Any] | Callable[[Callable[..., Any]], Task[..., Any]]:
        """Make a task of a function: `@app.task`, or `@app.task(queue="mail", ...)`.

        Raises:
            BadTaskSignature: the function cannot be a task, or could not be imported again.
            DuplicateTask: its name is taken.
            TypeError, ValueError: an option is unknown, of another type or out of its range.
        """
        if fn is None:
            return lambda function: self._register(function, options)
        return self._register(fn, options)

    def definition(self, name: str) -> Definition | None:
        """Find a task by its name or a former one; None when its code is not here."""
        return self.registry.get(name) or self._aliases.get(name)

    def tasks_here(self) -> Mapping[str, Definition]:
        """Give the tasks that are registered in this process, by name."""
        return self.registry

    def named(self, name: str) -> Task[..., Any]:
        """Give a task by its name, to enqueue it whether or not its code is here.

        Raises:
            TypeError, ValueError: the name is not a legal one.
        """
        definition = self.definition(check_name(name))
        if definition is None:
            return named_task(self, name)
        return self._handles[definition.name]

    def enqueue(self, name: str, /, *args: object, **kwargs: object) -> Job[Any]:
        """Enqueue a task by its name, whether or not its code is here.

        Without the code the arguments are stored as they are, unchecked, in queue `default`;
        `app.named(name).using(...)` takes options.

        Raises:
            BadArguments: the code is here and the arguments do not fit it.
            NotSerializable, PayloadTooLarge: the arguments cannot be stored.
            StoreUnavailable: it is not known whether the job was stored.
        """
        return self.named(name).enqueue(*args, **kwargs)

    async def aenqueue(self, name: str, /, *args: object, **kwargs: object) -> Job[Any]:
        """Do the same as `enqueue` without blocking the event loop."""
        return await self.named(name).aenqueue(*args, **kwargs)

    def _register(self, fn: Callable[..., Any], options: TaskOptions) -> Task[..., Any]:
        name = options.get("name")
        if name is None:
            name = self._name_of(fn)
        definition = define(fn, name, options)
        for taken in (name, *definition.aliases):
            first = self.definition(taken)
            if first is not None:
                raise DuplicateTask(taken, _where(first.fn), _where(fn))
        share(definition.limits, name, self._limits)
        self.registry[name] = definition
        self._aliases |= dict.fromkeys(definition.aliases, definition)
        task = self._handles[name] = make_task(self, definition)
        return task

    def _name_of(self, fn: Callable[..., Any]) -> str:
        """Name a function so that every process finds it by that name."""
        shown = _where(fn)
        check_function(fn, shown)
        if not isinstance(fn, FunctionType):
            raise BadTaskSignature(shown, "it has no name of its own; give it one with name=...")
        nested = "<" in fn.__qualname__
        if nested and not self.stays_here:
            raise BadTaskSignature(
                shown,
                "a worker could not import a lambda or a function defined inside another; "
                "move it to the top of its module, or give it a name=... if each worker makes it",
            )
        return f"{module_name(fn.__module__)}.{fn.__qualname__.rpartition('<locals>.')[2]}"


def module_name(name: str) -> str:
    """Give the name under which other processes import a module.

    The script that is run is `__main__` only to itself: the others know it by its file.
    """
    main = sys.modules.get("__main__")
    if name != "__main__" or main is None:
        return name
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else name


def _where(fn: object) -> str:
    """Say where a function stands, for messages."""
    target = inspect.unwrap(fn) if callable(fn) else fn
    name = getattr(target, "__qualname__", None) or repr(target)
    return f"{module_name(getattr(target, '__module__', None) or '?')}.{name}"
