"""Access: the verbs for reading and for control, as the store's face has them.

They need only the runner, the statements and the ears; the verbs of the line, with all that
belongs to a worker, are in `store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.store.contract import Filter, QueueRecord, WorkerRecord
from treadle.store.postgres import control, reads, workers
from treadle.store.postgres.engine.runner import Runner, drive, drive_now
from treadle.store.postgres.gates import control as gates
from treadle.store.postgres.news.ears import ENDS, WORK, Ears

if TYPE_CHECKING:
    from treadle.core.gates.gate import GateRecord, GateUse
    from treadle.core.job import AttemptRecord, JobRecord
    from treadle.store.postgres.engine.sql import Statements


class PostgresAccess:
    """Reads and control of a store in PostgreSQL."""

    _runner: Runner
    _sql: Statements
    _ears: Ears

    # Reads

    async def get(self, ids: Sequence[bytes]) -> Sequence[JobRecord | None]:
        """Read jobs by id."""
        return await drive(self._runner.run(lambda: reads.jobs(self._sql, ids)))

    def get_now(self, ids: Sequence[bytes]) -> Sequence[JobRecord | None]:
        """Read jobs by id on the caller's own thread."""
        return drive_now(self._runner.run(lambda: reads.jobs(self._sql, ids)))

    async def ended(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Tell which jobs have ended or are gone."""
        return await drive(self._runner.run(lambda: reads.ended(self._sql, ids)))

    async def find(
        self, which: Filter, *, limit: int = 100, before: bytes | None = None
    ) -> Sequence[JobRecord]:
        """Read the newest jobs that match."""
        return await drive(self._runner.run(lambda: reads.find(self._sql, which, before, limit)))

    async def attempts(self, job: bytes) -> Sequence[AttemptRecord]:
        """Read a job's attempts."""
        return await drive(self._runner.run(lambda: reads.attempts(self._sql, job)))

    async def logs(self, job: bytes) -> Sequence[tuple[int, int, str, str]]:
        """Read a job's log lines."""
        return await drive(self._runner.run(lambda: reads.logs(self._sql, job)))

    async def queues(self) -> Sequence[QueueRecord]:
        """Read every queue with its counts."""
        return await drive(self._runner.run(lambda: reads.queues(self._sql)))

    async def workers(self) -> Sequence[WorkerRecord]:
        """Read the registered workers."""
        return await drive(self._runner.run(lambda: workers.workers(self._sql)))

    async def dead_groups(self, limit: int = 100) -> Sequence[tuple[str, str, str, int, int]]:
        """Count dead letters by task, reason and error."""
        return await drive(self._runner.run(lambda: reads.dead_groups(self._sql, limit)))

    async def gates(
        self, *, only: str | None = None, after: str = "", limit: int = 100, now: int | None = None
    ) -> Sequence[GateRecord]:
        """Read gates by name."""
        return await drive(
            self._runner.run(lambda: gates.gates(self._sql, only, after, limit), now)
        )

    # Control

    async def cancel(self, ids: Sequence[bytes], *, now: int | None = None) -> Sequence[bool]:
        """Cancel jobs that have not ended."""
        # What a running one held of a gate is free.
        ring = self._ears.ring(ENDS, WORK)
        return await drive(self._runner.run(lambda: control.cancel(self._sql, ids, ring), now))

    async def retry(self, ids: Sequence[bytes], *, now: int | None = None) -> Sequence[bool]:
        """Make ended or waiting jobs ready."""
        ring = self._ears.ring(WORK)
        return await drive(self._runner.run(lambda: control.retry(self._sql, ids, ring), now))

    async def discard(self, ids: Sequence[bytes]) -> Sequence[bool]:
        """Delete ended jobs."""
        return await drive(self._runner.run(lambda: control.discard(self._sql, ids)))

    async def purge(self, queue: str, *, limit: int, now: int | None = None) -> int:
        """Cancel waiting jobs of a queue."""
        ring = self._ears.ring(ENDS)
        return await drive(
            self._runner.run(lambda: control.purge(self._sql, queue, limit, ring), now)
        )

    async def pause(self, queue: str, *, now: int | None = None) -> bool:
        """Stop claims from a queue."""
        return await drive(self._runner.run(lambda: control.pause(self._sql, queue), now))

    async def resume(self, queue: str, *, now: int | None = None) -> bool:
        """Allow claims again."""
        ring = self._ears.ring(WORK)
        return await drive(self._runner.run(lambda: control.resume(self._sql, queue, ring), now))

    async def shut_gate(
        self,
        name: str,
        *,
        delay: int | None = None,
        note: str | None = None,
        now: int | None = None,
    ) -> None:
        """Shut a gate."""
        await drive(self._runner.run(lambda: gates.shut(self._sql, name, delay, note), now))

    async def open_gate(self, name: str, *, now: int | None = None) -> bool:
        """Open a gate."""
        ring = self._ears.ring(WORK)
        return await drive(self._runner.run(lambda: gates.open_(self._sql, name, ring), now))

    async def set_gate(
        self, use: GateUse, *, change_kind: bool = False, now: int | None = None
    ) -> bool:
        """Set a gate's numbers."""
        ring = self._ears.ring(WORK)
        return await drive(
            self._runner.run(lambda: gates.set_numbers(self._sql, use, change_kind, ring), now)
        )

    async def reset_gate(self, name: str, *, now: int | None = None) -> bool:
        """Let jobs say a gate's numbers again."""
        return await drive(self._runner.run(lambda: gates.reset(self._sql, name), now))
