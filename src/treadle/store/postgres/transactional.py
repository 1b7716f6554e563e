"""What the PostgreSQL store does inside a transaction of its caller's; see `store.contract`.

The same statements as the store's own, with the time as a parameter: on a connection of the
caller's nothing is set, also not for the transaction, so it may be in autocommit mode. Whoever
listens is told by the server, at the commit.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from treadle.core.errors import StoreError, StoreUnavailable
from treadle.core.gates.gate import BREAKER, read_gates
from treadle.core.job import Fate, JobState
from treadle.core.outcome import Verdict
from treadle.store.contract import LOGS_MAX
from treadle.store.postgres.engine.loan import alend, lend
from treadle.store.postgres.engine.pack import lenient
from treadle.store.postgres.engine.runner import Runner
from treadle.store.postgres.engine.sql import REST, Place, texts
from treadle.store.postgres.gates.line import written
from treadle.store.postgres.keys.taking import fates_of, rounds_of
from treadle.store.postgres.line.enqueue import check_jobs, state_at
from treadle.store.postgres.news.ears import ENDS, WORK
from treadle.store.statements import Adapter, AsyncAdapter, Rows, Script, Statement

if TYPE_CHECKING:
    from treadle.core.job import NewJob
    from treadle.core.outcome import Settlement
    from treadle.store.contract import Note
    from treadle.store.postgres.engine.target import Target

_NOW: Final = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"
_THERE: Final = "select to_regclass($1::text)::text"


class PostgresTransactional:
    """The transactions of one PostgreSQL store."""

    engine = "postgresql"
    exclusive = False

    def __init__(
        self,
        runner: Runner,
        place: Place,
        target: Target,
        now: Callable[[], int | None],
    ) -> None:
        """Take the runner, where the tables are, the server, and the clock of a test."""
        self._runner = runner
        self._place = place
        self._target = target
        self._now = now
        self._sql = texts(place)
        self.identity = ""
        """The mark of the store's own database, read when the store is opened.

        Never in the midst of a caller's transaction: behind a pooler that may hold the one
        connection over which it could be read.
        """

    def recognise(self) -> Script[None]:
        """Look for the store's own mark through the connection."""
        [[there]] = yield Statement(_THERE, [(f"{self._place.tables}meta",)])
        if not there or not (yield self._say("is_ours", (self.identity,))):
            raise self._elsewhere()

    def enqueue(self, jobs: Sequence[NewJob], *, now: int | None = None) -> Script[list[Fate]]:
        """Store a batch of new jobs, in one statement."""
        keyed = check_jobs(jobs)
        [[there]] = yield Statement(_THERE, [(f"{self._place.tables}meta",)])
        if not there:
            raise self._elsewhere()
        at = yield from self._at(now)
        queues = sorted({job.queue for job in jobs})
        yield self._say("insert_queues", (queues,))
        if keyed:
            return (yield from self._keyed(jobs, at))
        for name, values in self._inserts(jobs, at):
            if not (yield self._say(name, values)):
                raise self._elsewhere()
        yield from self._turns(jobs)
        yield self._say("ring", ([WORK],))
        return [state_at(job, at) for job in jobs]

    def _turns(self, jobs: Sequence[NewJob]) -> Script[None]:
        """Give turns to the jobs of tenants."""
        if any(job.tenant is not None for job in jobs):
            yield self._say("give_tags", ())

    def _keyed(self, jobs: Sequence[NewJob], at: int) -> Script[list[Fate]]:
        """Store a batch in which some jobs want keys.

        Raises:
            StoreError: no transaction is open, and a key would be taken before its job is stored.
        """
        yield from self._check_open()
        if not (yield self._say("is_ours", (self.identity,))):
            raise self._elsewhere()
        plain = [job for job in jobs if job.key is None]
        for name, values in self._inserts(plain, at) if plain else ():
            yield self._say(name, values)
        said: list[Sequence[Any]] = []
        for wanted in rounds_of(jobs):
            keys = [one.key for one in wanted]
            names = [key.name for key in keys]
            untils = [key.until.value for key in keys]
            hashes = [key.hash for key in keys]
            ids = [_id(one.job.id) for one in wanted]
            taken = (names, ids, untils, [key.hold for key in keys], hashes, at)
            yield self._say("take_keys", taken, now=6)
            yield self._say("take_left", taken, now=6)
            given = (
                _id(bytes(16)), *_columns([one.job for one in wanted]), names, untils, hashes,
                [key.conflict.value for key in keys], [key.max_wait for key in keys],
                [one.place for one in wanted], [written(one.job.gates) for one in wanted], at,
            )  # fmt: skip
            said += yield self._say("store_keyed", given, now=24)
        yield from self._turns(jobs)
        yield self._say("ring", ([WORK],))
        return fates_of(jobs, at, said)

    def _check_open(self) -> Script[None]:
        """Make sure that what is said is one transaction; a savepoint is refused outside of one."""
        try:
            yield Statement("savepoint treadle_keys")
        except Exception as error:
            raise StoreError(
                "a job with a key is written by several statements, and connection= is in no "
                f"transaction ({type(error).__name__}); begin one around the call"
            ) from error
        yield Statement("release savepoint treadle_keys")

    def _inserts(self, jobs: Sequence[NewJob], at: int) -> list[tuple[str, Sequence[Any]]]:
        """Write jobs; those with gates meet them when they are claimed."""
        plain = [job for job in jobs if job.gates is None]
        gated = [job for job in jobs if job.gates is not None]
        said: list[tuple[str, Sequence[Any]]] = []
        if plain or not gated:
            said.append(("enqueue_inside", (self.identity, *_columns(plain), at)))
        if gated:
            raw = [written(job.gates) for job in gated]
            said.append(("enqueue_inside_gated", (self.identity, *_columns(gated), at, raw)))
        return said

    def settle(
        self, settlement: Settlement, note: Note | None, *, now: int | None = None
    ) -> Script[Verdict]:
        """Write the settlement of a job that succeeded, after what it has said."""
        assert settlement.state is JobState.SUCCEEDED, "only a success shares a transaction"
        at = yield from self._at(now)
        if note is not None:
            yield from self._note(note)
        values = (
            _id(settlement.id),
            settlement.number,
            settlement.keep,
            settlement.ran,
            settlement.result,
            at,
        )
        if not (yield self._say("settle_inside", values)):
            return Verdict.LOST
        if settlement.keyed:
            yield self._say("free_ended", ([_id(settlement.id)],))
            yield self._say("hand_on", (at,), now=1)
            yield self._say("give_tags", ())
        for use in read_gates(settlement.gates):
            yield self._say("free_gate", (use.name, at))
            if use.kind == BREAKER:
                yield self._say("close_gate", (use.name, at, _id(settlement.id)))
        yield self._say("ring", ([ENDS, WORK] if settlement.gates else [ENDS],))
        return Verdict.APPLIED

    async def begin(self, keep: Callable[[Adapter | AsyncAdapter], None]) -> None:
        """Open a connection for a task on an event loop; it closes with its transaction."""
        keep(await alend(self._target, self._runner.timeout))

    def begin_now(self, keep: Callable[[Adapter | AsyncAdapter], None]) -> None:
        """Open a connection for a task in a thread; it closes with its transaction."""
        keep(lend(self._target, self._runner.timeout))

    def announce(self) -> None:
        """Do nothing: the server has told the listeners at the commit."""

    def check_outside(self) -> None:
        """Refuse nothing: a transaction keeps no other writer out."""

    def _note(self, note: Note) -> Script[None]:
        job = _id(note.id)
        if note.progress is not None:
            yield self._say("set_progress", ([job], [note.number], [note.progress]))
        if note.logs:
            ats, levels, said = zip(*note.logs, strict=True)
            many = len(note.logs)
            values = ([job] * many, [note.number] * many, list(ats))
            words = ([lenient(one) for one in levels], [lenient(one) for one in said])
            yield self._say("add_logs", (*values, *words))
            yield self._say("trim_logs", ([job], LOGS_MAX))

    def _at(self, now: int | None) -> Script[int]:
        """Give the time: what is said, the clock of a test, or the server's."""
        known = self._now() if now is None else now
        if known is not None:
            return known
        rows: Rows = yield Statement(_NOW)
        return int(rows[0][0])

    def _say(self, name: str, values: Sequence[Any], *, now: int = 17) -> Statement:
        """Say one of the store's own statements; `now` is the number of the time's parameter.

        What ends goes to `rest`: the caller's own user may have no right to a shelf.
        """
        text = self._sql[name].replace(self._sql["now"], f"${now}::bigint").replace("{again}", "")
        text = text.replace("{shelf}", REST).replace(self._sql["is_made"], "true")
        return Statement(text, [values])

    def _elsewhere(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._target.name}: connection= is open on another database, or does not see the "
            f"table {self._place.tables}meta; give one that is open on the store's own database, "
            "or leave connection= out"
        )


def _id(id_: bytes) -> str:
    """Write an id so that each driver takes it for a uuid."""
    return str(uuid.UUID(bytes=id_))


def _columns(jobs: Sequence[NewJob]) -> list[list[Any]]:
    """Give the columns of a batch, in the order of the statement's parameters."""
    return [
        [_id(job.id) for job in jobs],
        [job.task for job in jobs],
        [job.args for job in jobs],
        [job.queue for job in jobs],
        [job.priority for job in jobs],
        [job.at for job in jobs],
        [job.delay for job in jobs],
        [job.expires_at for job in jobs],
        [job.expires_in for job in jobs],
        [job.attempts_max for job in jobs],
        [job.policy for job in jobs],
        [job.tags for job in jobs],
        [job.meta for job in jobs],
        [job.tenant for job in jobs],
        [job.cost for job in jobs],
    ]
