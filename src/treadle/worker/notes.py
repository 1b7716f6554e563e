"""Notes: what running tasks report (progress, log lines), gathered and written in batches.

Only the newest progress of a job is kept, and its lines up to a bound, until the next flush,
a few times a second. Tasks report from any thread; a lock guards the gathering.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from treadle.core.errors import StoreError
from treadle.store.contract import LOGS_MAX, Note

if TYPE_CHECKING:
    from treadle.store.contract import StoreSession
    from treadle.worker.attempt import Attempt

_log = logging.getLogger("treadle.worker")
FLUSH_S = 0.25
LINES_MAX = 1_000
"""Lines of one write, but for those of a single job."""
JOBS_MAX = 10_000
"""Jobs whose notes are gathered between two flushes; more wait for the next report."""

_Key = tuple[bytes, int]


class Notes:
    """The notes of one worker's running jobs."""

    def __init__(self, store: StoreSession, worker: Callable[[], str]) -> None:
        self._store = store
        self._worker = worker
        self._lock = threading.Lock()
        self._writing = asyncio.Lock()
        self._progress: dict[_Key, bytes] = {}
        self._lines: dict[_Key, deque[tuple[int, str, str]]] = {}
        # What a write under way has taken; it is empty between writes.
        self._flying: tuple[dict[_Key, bytes], dict[_Key, deque[tuple[int, str, str]]]] = ({}, {})
        self.dropped = 0
        """Lines that were over a bound and are not kept."""

    def report(self, attempt: Attempt, progress: bytes) -> None:
        """Take a progress report."""
        with self._lock:
            if len(self._progress) < JOBS_MAX:
                self._progress[attempt.claim.id, attempt.claim.number] = progress

    def say(self, attempt: Attempt, level: str, text: str) -> None:
        """Take a log line."""
        key = (attempt.claim.id, attempt.claim.number)
        with self._lock:
            if len(self._lines) >= JOBS_MAX and key not in self._lines:
                self.dropped += 1
                return
            lines = self._lines.setdefault(key, deque(maxlen=LOGS_MAX))
            # The oldest line makes room, as in the store: what was said last explains the end.
            self.dropped += len(lines) == LOGS_MAX
            lines.append((time.time_ns() // 1000, level, text))

    def of(self, attempt: Attempt) -> Note | None:
        """Give what a job has said and is not written yet; for a transaction that writes it.

        What a write under way has taken is in it, too: that write comes after the transaction,
        and is refused then, because the job no longer runs.
        """
        key = (attempt.claim.id, attempt.claim.number)
        with self._lock:
            progress = self._progress.get(key, self._flying[0].get(key))
            lines = (*self._flying[1].get(key, ()), *self._lines.get(key, ()))
        return Note(*key, progress, lines) if lines or progress is not None else None

    def drop(self, attempt: Attempt) -> None:
        """Forget what a job has said: its transaction has written it."""
        key = (attempt.claim.id, attempt.claim.number)
        with self._lock:
            self._progress.pop(key, None)
            self._lines.pop(key, None)

    @property
    def empty(self) -> bool:
        """Tell whether nothing waits to be written or is being written."""
        return not (self._progress or self._lines or self._writing.locked())

    async def flush(self) -> None:
        """Write what has gathered; it must come before the settlements of the same jobs.

        One flush at a time: a second one waits, so when it returns nothing older is under way.

        Raises:
            StoreError: it was not written and is gathered again for the next flush.
        """
        async with self._writing:
            await self._flush()

    async def _flush(self) -> None:
        """Write what has gathered in steps, so that no step holds the store for long."""
        while self._progress or self._lines:
            await self._write(self._take())

    def _take(self) -> tuple[dict[_Key, bytes], dict[_Key, deque[tuple[int, str, str]]]]:
        """Take the progress, and the lines of as many jobs as fit one step."""
        with self._lock:
            progress, self._progress = self._progress, {}
            lines: dict[_Key, deque[tuple[int, str, str]]] = {}
            taken = 0
            while self._lines and taken < LINES_MAX:
                key = next(iter(self._lines))
                lines[key] = self._lines.pop(key)
                taken += len(lines[key])
            self._flying = progress, lines
        return progress, lines

    async def _write(
        self, taken: tuple[dict[_Key, bytes], dict[_Key, deque[tuple[int, str, str]]]]
    ) -> None:
        progress, lines = taken
        keys = progress.keys() | lines.keys()
        notes = [
            Note(id_, number, progress.get((id_, number)), tuple(lines.get((id_, number), ())))
            for id_, number in sorted(keys)
        ]
        try:
            if notes:
                await self._store.note(self._worker(), notes)
        except StoreError:
            with self._lock:
                self._flying = {}, {}
                self._progress = progress | self._progress
                for key, said in lines.items():
                    self._lines[key] = deque([*said, *self._lines.get(key, ())], LOGS_MAX)
            raise
        self._flying = {}, {}

    async def run(self) -> None:
        """Flush a few times a second until cancelled; say once that the store does not take it."""
        told = False
        while True:
            await asyncio.sleep(FLUSH_S)
            if self.empty:
                continue
            try:
                await self.flush()
                told = False
            except StoreError as error:
                if told:
                    continue
                told = True
                _log.warning("progress and log lines wait, the store does not answer: %s", error)
