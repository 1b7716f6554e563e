"""The lease: a thread that beats for all of a worker's claims, whatever its loop does.

One beat prolongs the right to every claim. It runs on a thread and a small event loop of its
own, so that a task that blocks the worker's loop costs neither the lease nor the signs of it.
When beats fail for two thirds of the lease the worker is cut off: it starts nothing new, and
what it runs goes on (the fence keeps a late settlement harmless).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from treadle.client.background import start_thread
from treadle.core import fault
from treadle.core.errors import StoreError

if TYPE_CHECKING:
    from treadle.store.contract import Beaten, StoreSession

_log = logging.getLogger("treadle.worker")

_LOOK_S = 0.2
"""How often the thread looks whether the worker's loop is blocked."""


class Holder(Protocol):
    """Whom the lease speaks for; each call comes from the lease's thread."""

    @property
    def id(self) -> str:
        """The worker's id; it changes with each incarnation."""
        ...

    def held_claims(self) -> Sequence[tuple[bytes, int]]:
        """Give the claims (id, number) held now."""
        ...

    def on_beaten(self, worker: str, beaten: Beaten) -> None:
        """Take the store's answer to a beat."""
        ...

    def on_cut_off(self) -> None:
        """Learn that the store has not been reached for two thirds of the lease."""
        ...


class Lease:
    """One worker's beats."""

    def __init__(self, store: StoreSession, holder: Holder, lease_s: float, beat_s: float) -> None:
        """Take the lease and the time between beats, in seconds."""
        self._store = store
        self._holder = holder
        self._safe_s = lease_s * 2 / 3
        self._beat_s = beat_s
        self._beaten_at = time.monotonic()
        self._look_at = self._beaten_at
        """When the next look is due, by the monotonic clock."""
        self._told = False
        self._stop = threading.Event()
        self._now = threading.Event()
        self._thread: threading.Thread | None = None
        self.woke: Callable[[float], None] | None = None
        """Called a few times a second with how many seconds late that is."""
        self.look: Callable[[], None] | None = None
        """Called then, too: the blocked-loop detector."""
        self.on_failed: Callable[[str], object] | None = None
        """Told why a beat failed, from this thread."""

    @property
    def cut_off(self) -> bool:
        """Tell whether the lease may end before the store is reached again."""
        return time.monotonic() - self._beaten_at > self._safe_s

    def start(self) -> None:
        """Start the thread; the worker has just registered, which counts as a beat."""
        self._beaten_at = time.monotonic()
        self._thread = start_thread(self._run, "treadle-lease")

    def stop(self) -> None:
        """End the thread and wait for it, at most for one beat's patience."""
        self._stop.set()
        self._now.set()
        if self._thread is not None:
            self._thread.join(timeout=self._safe_s)
            self._thread = None

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            next_beat = time.monotonic() + self._beat_s
            while not self._stop.is_set():
                now = time.monotonic()
                self._look_at = now + max(0.0, min(_LOOK_S, next_beat - now))
                self._now.wait(self._look_at - now)
                self._look()
                if time.monotonic() >= next_beat and not self._stop.is_set():
                    runner.run(self._beat_watched())
                    next_beat = time.monotonic() + self._beat_s
                self._check()

    def _look(self) -> None:
        """Look at the worker's loop; what goes wrong there must not cost the lease."""
        try:
            if self.woke is not None:
                self.woke(max(0.0, time.monotonic() - self._look_at))
            if self.look is not None:
                self.look()
        except Exception:  # noqa: BLE001 -- without this thread the worker's jobs would run twice
            _log.exception("the look at the worker's loop failed")

    async def _beat_watched(self) -> None:
        """Beat, and look as often as otherwise while the store takes its time."""
        self._look_at = time.monotonic() + _LOOK_S
        watch = asyncio.create_task(self._watch())
        try:
            await self._beat()
        finally:
            watch.cancel()
            # An answer that lay there when the process went on may come before the watch's turn.
            self._look()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._look_at - time.monotonic())
            self._look()
            self._look_at = time.monotonic() + _LOOK_S

    async def _beat(self) -> None:
        worker = self._holder.id
        begun = time.monotonic()
        try:
            fault.point("beat.before")
            async with asyncio.timeout(self._safe_s):
                beaten = await self._store.beat(worker, self._holder.held_claims())
        except (StoreError, TimeoutError) as error:
            why = str(error) or f"it was not answered within {self._safe_s:g} s"
            _log.warning("a beat failed, the next follows in %g s: %s", self._beat_s, why)
            self._fail(why)
            return
        except Exception as error:  # noqa: BLE001 -- as in `_look`
            _log.exception("a beat met an error of ours, the next follows in %g s", self._beat_s)
            self._fail(repr(error))
            return
        fault.point("beat.after")
        # The lease runs from before the call: the store may have noted it at any time since.
        self._beaten_at = begun
        self._told = False
        self._holder.on_beaten(worker, beaten)

    def _fail(self, why: str) -> None:
        if self.on_failed is not None:
            self.on_failed(why)

    def _check(self) -> None:
        if self.cut_off and not self._told:
            self._told = True
            _log.error(
                "the store has not been reached for %g s: nothing new is started; "
                "what runs goes on",
                self._safe_s,
            )
            self._holder.on_cut_off()
