"""Events: what happens on the line, told to whoever listens.

An observer cannot change the line: what it raises is logged and goes no further. Events
are made only when somebody listens, so that nobody pays for what nobody reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

_log: Final = logging.getLogger("treadle.events")

CALLBACKS_MAX: Final = 100
"""Callbacks of one application: each is called for each event."""


class Event(Struct, frozen=True):
    """Something that happened to a job or a worker."""

    name: str
    """For example `job.started`, `job.succeeded`, `worker.stopped`."""
    at: int
    """Microseconds since the epoch."""
    job: str | None = None
    """The job's id."""
    task: str | None = None
    queue: str | None = None
    attempt: int | None = None
    worker: str | None = None
    duration_us: int | None = None
    """How long the attempt ran, once it has ended."""
    extra: dict[str, Any] | None = None


Callback = Callable[[Event], object]


class Events:
    """The listeners of one application."""

    __slots__ = ("_callbacks",)

    def __init__(self) -> None:
        self._callbacks: tuple[Callback, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anybody listens; ask before an event is made."""
        return bool(self._callbacks)

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Call `callback` for each event from now on, on the thread where it happens.

        It must return at once: the line waits for it. Returns a function that ends this.

        Raises:
            TypeError: it cannot be called.
            ValueError: there are 100 already.
        """
        if not callable(callback):
            raise TypeError(f"a callback for events must be callable, not {callback!r}")
        if len(self._callbacks) >= CALLBACKS_MAX:
            raise ValueError(f"{CALLBACKS_MAX} callbacks listen already; let one pass events on")
        self._callbacks = (*self._callbacks, callback)
        return lambda: self._unsubscribe(callback)

    def _unsubscribe(self, callback: Callback) -> None:
        self._callbacks = tuple(each for each in self._callbacks if each is not callback)

    def emit(self, event: Event) -> None:
        """Tell every listener; what one of them raises is logged and stops nobody."""
        for callback in self._callbacks:
            try:
                callback(event)
            except Exception:  # noqa: BLE001 -- an observer cannot change the line
                _log.exception("a callback for events failed on %s: %r", event.name, callback)
