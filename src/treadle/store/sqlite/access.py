"""Access: the verbs for reading and for control, as the store's face has them.

They need only the runner, the statements and the bell; the verbs of the line, with all that
belongs to a worker, are in `store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.store.contract import Filter, QueueRecord, WorkerRecord
from treadle.store.sqlite import control, reads, workers
from treadle.store.sqlite.engine.bell import ENDS, WORK, FileBell, MemoryBell
from treadle.store.sqlite.engine.runner import Runner, drive, drive_now
from treadle.store.sqlite.gates import control as gates
from treadle.store.sqlite.gates.book import Book

if TYPE_CHECKING:
    from treadle.core.clock import Clock
    from treadle.core.gates.gate import GateRecord, GateUse
    from treadle.core.job import AttemptRecord, JobRecord
    from treadle.store.sqlite.engine.live import LiveFiles, LiveMemory


class SqliteAccess:
    """Reads and control of a store in SQLite."""

    _runner: Runner
    _sql: dict[str, str]
    _bell: FileBell | MemoryBell
    _lives: LiveFiles | LiveMemory
    _system: Clock

    # Reads

    async def get(self, ids: Sequence[bytes]) -> Sequence[JobRecord | None]:
        """Read jobs by id."""
        return await drive(self._runner.read(lambda db, at: reads.jobs(db, self._sql, ids, at)))

    def get_now(self, ids: Sequence[bytes]) -> Sequence[JobRecord | None]:
        """Read jobs by id on the caller's own thread."""
        return drive_now(self._runner.read(lambda db, at: reads.jobs(db, self._sql, ids, at)))

    async def ended(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Tell which jobs have ended or are gone."""
        return await drive(self._runner.read(lambda db, _: reads.ended(db, self._sql, ids)))

    async def find(
        self, which: Filter, *, limit: int = 100, before: bytes | None = None
    ) -> Sequence[JobRecord]:
        """Read the newest jobs that match."""
        return await drive(
            self._runner.read(lambda db, at: reads.find(db, self._sql, which, before, limit, at))
        )

    async def attempts(self, job: bytes) -> Sequence[AttemptRecord]:
        """Read a job's attempts."""
        return await drive(self._runner.read(lambda db, _: reads.attempts(db, self._sql, job)))

    async def logs(self, job: bytes) -> Sequence[tuple[int, int, str, str]]:
        """Read a job's log lines."""
        return await drive(self._runner.read(lambda db, _: reads.logs(db, self._sql, job)))

    async def queues(self) -> Sequence[QueueRecord]:
        """Read every queue with its counts."""
        return await drive(self._runner.read(lambda db, _: reads.queues(db, self._sql)))

    async def workers(self) -> Sequence[WorkerRecord]:
        """Read the registered workers."""
        monotonic = self._system.monotonic()
        return await drive(
            self._runner.read(lambda db, _: workers.workers(db, self._sql, self._lives, monotonic))
        )

    async def dead_groups(self, limit: int = 100) -> Sequence[tuple[str, str, str, int, int]]:
        """Count dead letters by task, reason and error."""
        return await drive(self._runner.read(lambda db, _: reads.dead_groups(db, self._sql, limit)))

    async def gates(
        self, *, only: str | None = None, after: str = "", limit: int = 100, now: int | None = None
    ) -> Sequence[GateRecord]:
        """Read gates by name."""
        return await drive(
            self._runner.read(
                lambda db, at: gates.gates(db, self._sql, only, after, limit, at), now
            )
        )

    # Control

    async def cancel(self, ids: Sequence[bytes], *, now: int | None = None) -> Sequence[bool]:
        """Cancel jobs that have not ended."""
        done = await drive(
            self._runner.write(lambda db, at: control.cancel(db, self._sql, ids, at), now)
        )
        self._bell.ring(ENDS)
        # Who waited behind one of them may be ready, and what a running one held of a gate is free.
        self._bell.ring(WORK)
        return done

    async def retry(self, ids: Sequence[bytes], *, now: int | None = None) -> Sequence[bool]:
        """Make ended or waiting jobs ready."""
        done = await drive(
            self._runner.write(lambda db, at: control.retry(db, self._sql, ids, at), now)
        )
        self._bell.ring(WORK)
        return done

    async def discard(self, ids: Sequence[bytes]) -> Sequence[bool]:
        """Delete ended jobs."""
        return await drive(
            self._runner.write(lambda db, at: control.discard(db, self._sql, ids, at))
        )

    async def purge(self, queue: str, *, limit: int, now: int | None = None) -> int:
        """Cancel waiting jobs of a queue."""
        done = await drive(
            self._runner.write(lambda db, at: control.purge(db, self._sql, queue, limit, at), now)
        )
        self._bell.ring(ENDS)
        return done

    async def pause(self, queue: str, *, now: int | None = None) -> bool:
        """Stop claims from a queue."""
        return await drive(
            self._runner.write(lambda db, at: control.pause(db, self._sql, queue, at), now)
        )

    async def resume(self, queue: str, *, now: int | None = None) -> bool:
        """Allow claims again."""
        done = await drive(
            self._runner.write(lambda db, _: control.resume(db, self._sql, queue), now)
        )
        self._bell.ring(WORK)
        return done

    async def shut_gate(
        self,
        name: str,
        *,
        delay: int | None = None,
        note: str | None = None,
        now: int | None = None,
    ) -> None:
        """Shut a gate."""
        await drive(
            self._runner.write(
                lambda db, at: gates.shut(Book(db, self._sql, at), name, delay, note), now
            )
        )

    async def open_gate(self, name: str, *, now: int | None = None) -> bool:
        """Open a gate."""
        done = await drive(
            self._runner.write(lambda db, at: gates.open_(Book(db, self._sql, at), name), now)
        )
        self._bell.ring(WORK)
        return done

    async def set_gate(
        self, use: GateUse, *, change_kind: bool = False, now: int | None = None
    ) -> bool:
        """Set a gate's numbers."""
        done = await drive(
            self._runner.write(
                lambda db, at: gates.set_numbers(Book(db, self._sql, at), use, change_kind), now
            )
        )
        self._bell.ring(WORK)
        return done

    async def reset_gate(self, name: str, *, now: int | None = None) -> bool:
        """Let jobs say a gate's numbers again."""
        return await drive(
            self._runner.write(lambda db, at: gates.reset(Book(db, self._sql, at), name), now)
        )
