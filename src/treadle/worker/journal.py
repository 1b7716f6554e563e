"""The journal: what the line tells of itself: log lines, events, hooks for dead letters.

One line when an attempt starts and one when it ends, each with the job's id, task, attempt
and duration as fields (`record.treadle`) for whatever formatter the program sets. When
nobody reads a level and nobody listens to events, a job costs two comparisons here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from treadle.core.ids import id_text
from treadle.core.job import Claim, JobState, read_error
from treadle.core.outcome import Settlement, Verdict
from treadle.events import Event, Events

_log = logging.getLogger("treadle.job")


class Journal:
    """Tells of one worker's jobs."""

    def __init__(self, events: Events, on_dead: Callable[[bytes], None] | None) -> None:
        """Take the application's events and whom to tell of dead letters."""
        self._events = events
        self._on_dead = on_dead
        self._quiet = True
        self.look()

    def look(self) -> None:
        """Ask again who reads; the worker does so each second, not for each job."""
        self._quiet = not (_log.isEnabledFor(logging.INFO) or self._events)

    def started(self, claim: Claim, worker: str) -> None:
        """Tell that an attempt begins."""
        if self._quiet:
            return
        fields = _fields(claim, worker)
        _log.info("started %s", claim.task, extra={"treadle": fields | {"event": "started"}})
        self._emit("job.started", claim, worker, None, {})

    def ended(self, claim: Claim, settlement: Settlement, worker: str) -> None:
        """Tell how an attempt ended; failures are warnings, dead letters errors."""
        if self._quiet and settlement.state is JobState.SUCCEEDED:
            return
        error = read_error(settlement.error)
        extra: dict[str, Any] = {
            "state": str(settlement.state),
            "outcome": settlement.outcome or "released",
            "duration_ms": settlement.ran / 1000,
        }
        if error is not None:
            extra["error"] = f"{error.type}: {error.message}"
        if settlement.reason is not None:
            extra["reason"] = settlement.reason
        if not settlement.state.is_terminal and settlement.delay:
            extra["next_in_s"] = settlement.delay / 1e6
        _log.log(
            _level(settlement),
            "%s %s",
            extra["outcome"],
            claim.task,
            extra={"treadle": _fields(claim, worker) | extra | {"event": "ended"}},
        )
        self._emit(f"job.{extra['outcome']}", claim, worker, settlement.ran, extra)

    def answered(self, settlement: Settlement, verdict: Verdict, worker: str) -> None:
        """Tell what the store answered: a settlement that came too late, or a dead letter."""
        if verdict is Verdict.LOST:
            _log.warning(
                "the settlement of job %s (attempt %d, %s) came too late and was refused: "
                "the job is no longer this worker's",
                id_text(settlement.id),
                settlement.attempt,
                settlement.state,
                extra={
                    "treadle": {
                        "event": "lost",
                        "job": id_text(settlement.id),
                        "attempt": settlement.attempt,
                        "worker": worker,
                    }
                },
            )
        elif settlement.state is JobState.FAILED and self._on_dead is not None:
            self._on_dead(settlement.id)

    def unreadable(self, claim: Claim, error: Exception) -> None:
        """Tell of a stored policy that cannot be read; the task's own is used."""
        _log.warning("the policy stored on job %s cannot be read: %s", id_text(claim.id), error)

    def cannot_start(self, claim: Claim, error: Exception) -> None:
        """Tell of a job that this process could not start; it is handed back."""
        _log.error("job %s is handed back: %s", id_text(claim.id), error)

    def _emit(
        self, name: str, claim: Claim, worker: str, ran: int | None, extra: dict[str, Any]
    ) -> None:
        if self._events:
            self._events.emit(
                Event(
                    name,
                    time.time_ns() // 1000,
                    id_text(claim.id),
                    claim.task,
                    claim.queue,
                    claim.attempt,
                    worker,
                    ran,
                    extra or None,
                )
            )


def _fields(claim: Claim, worker: str) -> dict[str, Any]:
    return {
        "job": id_text(claim.id),
        "task": claim.task,
        "queue": claim.queue,
        "attempt": claim.attempt,
        "worker": worker,
    }


def _level(settlement: Settlement) -> int:
    if settlement.state is JobState.FAILED:
        return logging.ERROR
    return logging.WARNING if settlement.error is not None else logging.INFO
