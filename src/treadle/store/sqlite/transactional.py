"""What the SQLite store does inside a transaction of its caller's; see `store.contract`.

On a connection of the caller's it says statements; for a task it begins a transaction on a
connection of its own, which holds the file's write lock until it ends (`engine.loan`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from treadle.core.errors import StoreUnavailable
from treadle.core.gates.gate import BREAKER, GateUse
from treadle.core.job import JobState
from treadle.core.outcome import Verdict
from treadle.store.batches import check_batch
from treadle.store.contract import LOGS_MAX
from treadle.store.sqlite.engine.loan import INSIDE, Loan
from treadle.store.sqlite.engine.runner import Runner
from treadle.store.sqlite.enqueue import job_row, states_in
from treadle.store.sqlite.gates.book import uses_of
from treadle.store.sqlite.keys.freeing import SUCCEEDED, free_one
from treadle.store.sqlite.keys.steps import Steps
from treadle.store.sqlite.keys.taking import take_all
from treadle.store.sqlite.rows import Row
from treadle.store.statements import Script, Statement

if TYPE_CHECKING:
    from treadle.core.job import Fate, NewJob
    from treadle.core.outcome import Settlement
    from treadle.store.contract import Note

T = TypeVar("T")

_PLACE = re.compile(r"\?|(?<![:\w]):([a-z_]+)")


class SqliteTransactional:
    """The transactions of one SQLite store."""

    engine = "sqlite"
    exclusive = True

    def __init__(
        self,
        runner: Runner,
        prefix: str,
        sql: dict[str, str],
        now: Callable[[], int],
        announce: Callable[[], None],
    ) -> None:
        """Take what runs conversations, the tables' prefix, statements, clock and bell."""
        self._runner = runner
        self._prefix = prefix
        self._sql = sql
        self._now = now
        self.announce = announce

    def recognise(self) -> Script[None]:
        """Compare the file that the connection is open on with the store's own.

        Raises:
            StoreUnavailable: it is another one.
        """
        rows = yield Statement("pragma database_list")
        found = next((row[2] for row in rows if row[1] == "main"), "")
        main = os.fsdecode(found or "")
        path = self._runner.pool.path
        if path is None:
            same = not main and (yield from self._is_ours())
        else:
            same = bool(main) and Path(main).exists() and Path(main).samefile(path)
        if not same:
            msg = (
                f"{self._runner.name}: connection= is open on {main or 'a database in memory'}; "
                "give one that is open on the store's own file, or leave connection= out"
            )
            raise StoreUnavailable(msg)

    def _is_ours(self) -> Script[bool]:
        """Tell whether a database in memory is the store's, by what only that one holds."""
        if not (yield Statement(f"pragma table_info({self._prefix}meta)")):
            return False
        rows = yield self._say("mark", [()])
        return [row[0] for row in rows] == [self._runner.pool.mark]

    def enqueue(self, jobs: Sequence[NewJob], *, now: int | None = None) -> Script[list[Fate]]:
        """Store a batch of new jobs.

        The queues come first: their insert is what begins the transaction of a connection that
        begins one by itself, which it would not do for a savepoint, and the release of an
        outermost savepoint commits.
        """
        keyed = check_batch(jobs)
        yield from self.recognise()
        at = self._now() if now is None else now
        queues = sorted({job.queue for job in jobs})
        yield self._say("insert_queue", [(name,) for name in queues])
        if keyed:
            return (yield from self._keyed(jobs, at))
        rows = [job_row(job, at) for job in jobs]
        inserts = self._inserts(jobs, rows)
        if any(job.tenant is not None for job in jobs):
            inserts.append(self._say("give_tags", [()]))
        if len(inserts) == len(rows) == 1:
            yield inserts[0]
            return states_in(rows)
        yield from self._whole(self._all(inserts))
        return states_in(rows)

    def _keyed(self, jobs: Sequence[NewJob], at: int) -> Script[list[Fate]]:
        """Store a batch in which some jobs have keys."""
        fates = yield from self._whole(self._steps(take_all(jobs, at)))
        yield self._say("give_tags", [()])
        return fates

    def _whole(self, script: Script[T]) -> Script[T]:
        """Run several statements as one: what fails has not been."""
        yield Statement("savepoint treadle_enqueue")
        try:
            value = yield from script
        except Exception:
            yield Statement("rollback to treadle_enqueue")
            yield Statement("release treadle_enqueue")
            raise
        yield Statement("release treadle_enqueue")
        return value

    def _all(self, statements: Sequence[Statement]) -> Script[None]:
        for statement in statements:  # noqa: UP028 -- a list takes no rows that are sent back
            yield statement

    def _steps(self, steps: Steps[T]) -> Script[T]:
        """Say what steps name, and hand them the rows."""
        try:
            name, values = next(steps)
            while True:
                rows = yield self._say(name, [values])
                name, values = steps.send(rows)
        except StopIteration as done:
            value: T = done.value
            return value

    def _inserts(self, jobs: Sequence[NewJob], rows: Sequence[Row]) -> list[Statement]:
        """Write jobs; those with gates meet them when they are claimed."""
        plain = [row for job, row in zip(jobs, rows, strict=True) if job.gates is None]
        gated = [
            (*row, job.gates) for job, row in zip(jobs, rows, strict=True) if job.gates is not None
        ]
        said = (("insert_job", plain), ("insert_gated", gated))
        return [self._say(name, values) for name, values in said if values]

    def settle(
        self, settlement: Settlement, note: Note | None, *, now: int | None = None
    ) -> Script[Verdict]:
        """Write the settlement of a job that succeeded, after what it has said."""
        assert settlement.state is JobState.SUCCEEDED, "only a success shares a transaction"
        at = self._now() if now is None else now
        if note is not None:
            yield from self._note(note, settlement.attempt)
        values = (
            settlement.result,
            at,
            at + settlement.keep,
            settlement.ran,
            settlement.id,
            settlement.number,
        )
        rows = yield self._say("settle_succeeded", [values], " returning id")
        if rows and settlement.keyed:
            yield from self._steps(free_one(settlement.id, SUCCEEDED, at))
            yield self._say("give_tags", [()])
        for use in uses_of(settlement.gates) if rows else ():
            yield from self._let_go(settlement.id, use, at)
        return Verdict.APPLIED if rows else Verdict.LOST

    def _let_go(self, id_: bytes, use: GateUse, at: int) -> Script[None]:
        """Let go of what the job holds of a gate; `stage` wakes who waits there."""
        yield self._say("let_go", [(at, use.name)])
        if use.kind == BREAKER:
            yield self._say("let_through", [(at, use.name, id_, at)])
            yield self._say("let_off", [(at, use.name, id_)])

    def _note(self, note: Note, attempt: int) -> Script[None]:
        if note.progress is not None:
            yield self._say("set_progress", [(note.progress, note.id, note.number)])
        if note.logs:
            yield self._say(
                "add_log",
                [
                    {"job": note.id, "attempt": attempt, "at": at, "level": level, "text": text}
                    for at, level, text in note.logs
                ],
            )
            yield self._say("trim_logs", [{"job": note.id, "kept": LOGS_MAX}])

    async def begin(self, keep: Callable[[Loan], None]) -> None:
        """Begin a transaction for a task on an event loop, which goes on meanwhile."""
        self._runner.pool.check_file()
        INSIDE.set(await self._runner.lend(keep))

    def begin_now(self, keep: Callable[[Loan], None]) -> None:
        """Begin a transaction for a task in a thread."""
        self._runner.pool.check_file()
        INSIDE.set(self._runner.lend_now(keep))

    def check_outside(self) -> None:
        """Refuse a write to code inside a transaction of a task's."""
        self._runner.check_outside()

    def _say(self, name: str, values: Sequence[Any], more: str = "") -> Statement:
        """Say one of the store's own statements; its values are tuples, or dicts by name."""
        text, names = _numbered(self._sql[name] + more)
        if names:
            values = [tuple(one[name] for name in names) for one in values]
        return Statement(text, values)


@lru_cache(maxsize=64)
def _numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """Number the parameters of a statement; tell their names where they have some."""
    names: dict[str, int] = {}
    count = 0

    def place(match: re.Match[str]) -> str:
        nonlocal count
        name = match[1]
        if name in names:
            return f"${names[name]}"
        count += 1
        if name is not None:
            names[name] = count
        return f"${count}"

    return _PLACE.sub(place, text), tuple(names)
