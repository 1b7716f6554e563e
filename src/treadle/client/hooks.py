"""What an application wants to be told, and what it wraps around its tasks.

The lists are read by the worker, which calls what stands in them; nothing runs here.
Events, which only observe, are in `treadle.events`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from treadle.events import Callback, Events

if TYPE_CHECKING:
    from treadle.job import Job

CallNext = Callable[[], Awaitable[Any]]
Middleware = Callable[["Job[Any]", CallNext], Awaitable[Any]]
Hook = Callable[[], object]
DeadHook = Callable[["Job[Any]"], object]

H = TypeVar("H", bound=Hook)
D = TypeVar("D", bound=DeadHook)
M = TypeVar("M", bound=Middleware)
C = TypeVar("C", bound=Callback)


class Hooks:
    """The callbacks of one application, in the order in which they were given."""

    def __init__(self) -> None:
        self.events = Events()
        self.startup_hooks: list[Hook] = []
        self.shutdown_hooks: list[Hook] = []
        self.dead_hooks: list[DeadHook] = []
        self.middlewares: list[Middleware] = []

    def on_startup(self, hook: H) -> H:
        """Call `hook()` in a worker before it takes its first job; it may be async."""
        self.startup_hooks.append(hook)
        return hook

    def on_shutdown(self, hook: H) -> H:
        """Call `hook()` in a worker after its last job; it may be async."""
        self.shutdown_hooks.append(hook)
        return hook

    def on_dead(self, hook: D) -> D:
        """Call `hook(job)` in the worker whose settlement made the job a dead letter.

        It may be async. A worker that is killed in between does not call it: what must not be
        missed is read from `app.dead`.
        """
        self.dead_hooks.append(hook)
        return hook

    def middleware(self, wrapper: M) -> M:
        """Wrap each execution in `async wrapper(job, call_next)`; the first given is outermost.

        It returns what `await call_next()` returned, or something else in its stead.
        """
        self.middlewares.append(wrapper)
        return wrapper

    def on_event(self, callback: C) -> C:
        """Call `callback(event)` for each event, at once and on the thread where it happens."""
        self.events.subscribe(callback)
        return callback
