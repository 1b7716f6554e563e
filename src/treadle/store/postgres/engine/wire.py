"""The wire: one connection to the server, spoken over without waiting.

What a verb asks goes out as one pipeline: everything up to its end is one round trip and one
transaction, which the server itself rolls back where a statement fails. The methods that speak
are generators that yield what they wait for, so that a thread and an event loop carry the same
conversation; libpq (by `psycopg.pq`) does the talking (docs/adr/0009).
"""

from __future__ import annotations

import os
import select
from collections.abc import Generator, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from psycopg import Error, pq
from psycopg.adapt import Transformer
from psycopg.pq.abc import PGconn, PGresult

from treadle.store.postgres.engine.pack import TYPES, Value
from treadle.store.postgres.engine.sql import Statement
from treadle.store.postgres.engine.sql import statement as make_statement
from treadle.store.postgres.engine.trouble import ConnectionLost, ServerError

T = TypeVar("T")
Row = tuple[Any, ...]
Rows = list[Row]
Call = tuple[Statement, Sequence[Value]]


class Look(Struct, frozen=True):
    """Wait until the socket can be read, or also until it can be written."""

    socket: int
    writing: bool = False


Looks = Generator[Look, None, T]

_BINARY = pq.Format.BINARY
_PARAMETERS_MAX = 32
_PREPARED_MAX = 256
"""Statements that one connection prepares: those that name a shelf come and go with it."""
_FORMATS = [[_BINARY] * n for n in range(_PARAMETERS_MAX)]
_OK, _ROWS = pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK
_SYNC = pq.ExecStatus.PIPELINE_SYNC
_SOON_BACK = ("refused", "starting up", "in recovery mode", "No such file")
"""What a server says, or the kernel in its place, that restarts and may be back in a moment."""
_PID = make_statement("select pg_backend_pid()")


class Ask(Struct, frozen=True):
    """Statements to carry out together, in order."""

    calls: Sequence[Call]
    end: bool = True
    """Commit after them."""
    after: Sequence[Call] = ()
    """News for a transaction of their own once it has committed; their failure is none.

    They go out together with what they tell of; `told` then reads what came of them. Behind a
    pooler they are left to the runner, to be asked by themselves.
    """


class Wire:
    """One connection in pipeline mode; lent to one conversation at a time."""

    def __init__(self, db: PGconn) -> None:
        self._db = db
        self._prepared: set[bytes] = set()
        self._sent: set[bytes] = set()
        """Statements that the pipeline under way prepares: one that comes twice is sent once."""
        self._pid = os.getpid()
        self._news: Sequence[tuple[Statement, bool]] = ()
        """What was sent after the last transaction and is not answered yet."""
        self.is_pooled = False
        """A pooler answers in the server's place.

        To one that has failed a transaction PgBouncer 1.18 lends its connection on, whatever of
        the next one is under way: another client then reads answers that are not its own. So
        behind a pooler nothing is sent before the end of what came before it is read.
        """
        self.idle = True
        """Nothing is under way: the connection may be lent to somebody else."""

    @property
    def is_worn(self) -> bool:
        """The server keeps so many plans for it that a new one is better."""
        return len(self._prepared) > _PREPARED_MAX

    @property
    def version(self) -> int:
        """The server's version, 150003 for 15.3."""
        return self._db.server_version

    @property
    def socket(self) -> int:
        """The socket's descriptor."""
        return self._db.socket

    @property
    def pid(self) -> int:
        """The process id of the server's side."""
        return self._db.backend_pid

    def is_sound(self) -> bool:
        """Tell, without a round trip, whether an idle connection looks alive.

        A server that ended it has said so or closed it: then there is something to read.
        """
        poll = select.poll()
        poll.register(self._db.socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close the connection; in a fork's child the parent's is only forgotten."""
        if self._pid == os.getpid():
            self._db.finish()

    def ask(self, ask: Ask, *, prepare: bool = True) -> Looks[list[Rows]]:
        """Carry out statements and return the rows of each.

        Raises:
            ServerError: one was refused; the transaction is rolled back.
            ConnectionLost: it is not known what became of them.
        """
        self.idle = False
        self._sent.clear()
        try:
            sent = [self._send(call, prepare=prepare) for call in ask.calls]
            self._send_end(ask.end)
            soon = ask.end and not self.is_pooled
            after = self._send_after(ask, prepare=prepare) if soon else ()
            yield from self._flush()
            answers = yield from self._answers(sent, end=ask.end)
            if ask.end:
                yield from self._committed()
        except Error as error:
            raise ConnectionLost(str(error)) from error
        if ask.end:
            self._news = after
            self.idle = not after
        return answers

    @property
    def has_news(self) -> bool:
        """Whether `told` comes before anything else is asked."""
        return bool(self._news)

    def told(self) -> Looks[None]:
        """Read what came of the news: all that they tell of has committed before.

        Raises:
            ConnectionLost: the connection broke.
        """
        news, self._news = self._news, ()
        try:
            yield from self._finish_after(news)
        except Error as error:
            raise ConnectionLost(str(error)) from error
        self.idle = True

    def _send(self, call: Call, *, prepare: bool) -> tuple[Statement, bool]:
        """Send one call; tell whether it was preceded by its preparation."""
        statement, values = call
        formats = _FORMATS[len(values)]
        if not prepare:
            self._db.send_query_params(statement.text, values, None, formats, _BINARY)
            return statement, False
        new = statement.name not in self._prepared and statement.name not in self._sent
        if new:
            self._sent.add(statement.name)
            self._db.send_prepare(statement.name, statement.text)
        self._db.send_query_prepared(statement.name, values, formats, _BINARY)
        return statement, new

    def _send_end(self, end: bool) -> None:  # noqa: FBT001 -- of `Ask`
        """Send what commits, or ask for the answers so far."""
        if end:
            self._db.pipeline_sync()
        else:
            self._db.send_flush_request()

    def _send_after(self, ask: Ask, *, prepare: bool) -> Sequence[tuple[Statement, bool]]:
        """Send the transaction after it."""
        after = [self._send(call, prepare=prepare) for call in ask.after]
        if after:
            self._db.pipeline_sync()
        return after

    def _flush(self) -> Looks[None]:
        while self._db.flush():
            # What the server answers meanwhile is read, or it would stop reading from us.
            yield Look(self._db.socket, writing=True)
            self._db.consume_input()

    def _next(self) -> Looks[PGresult]:
        """Give the next result; those of one command end with a None, which is left out."""
        while True:
            while self._db.is_busy():
                yield Look(self._db.socket)
                self._db.consume_input()
            result = self._db.get_result()
            if result is not None:
                return result

    def _answers(self, sent: Sequence[tuple[Statement, bool]], *, end: bool) -> Looks[list[Rows]]:
        answers = []
        for statement, new in sent:
            if new:
                yield from self._checked(end=end)
                self._prepared.add(statement.name)
            result = yield from self._checked(end=end)
            answers.append(_rows(result))
        return answers

    def _checked(self, *, end: bool) -> Looks[PGresult]:
        result = yield from self._next()
        if result.status not in (_OK, _ROWS):
            yield from self._fail(result, end=end)
        return result

    def _fail(self, result: PGresult, *, end: bool) -> Looks[None]:
        """Read to the end of the failed pipeline, so that the connection stays usable."""
        state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        message = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode(
            "utf-8", "replace"
        )
        if not state:
            raise ConnectionLost(result.get_error_message())
        try:
            if not end:
                self._db.pipeline_sync()
                yield from self._flush()
            while result.status != _SYNC:
                result = yield from self._next()
        except Error as error:
            # What it has said before it hung up tells more than that it did.
            raise ConnectionLost(message) from error
        raise ServerError(state, message)

    def _committed(self) -> Looks[None]:
        """Read the end of the transaction: from here on it is committed."""
        result = yield from self._next()
        if result.status != _SYNC:
            # A check that waits for the commit has failed, or the commit itself.
            yield from self._fail(result, end=True)

    def _finish_after(self, after: Sequence[tuple[Statement, bool]]) -> Looks[None]:
        """Read what came of the transaction after it, which has a result for each thing sent."""
        for statement, new in after:
            if new:
                result = yield from self._next()
                if result.status == _OK:
                    self._prepared.add(statement.name)
            yield from self._next()
        yield from self._next()

    def meet(self, own: Call) -> Looks[None]:
        """Find out whether a pooler answers, which has greeted under a number of its own.

        Comes before whatever is to be sent with something after it. `own` is for a session that is
        ours alone.

        Raises:
            ConnectionLost, ServerError: as for `ask`.
        """
        [[[pid]]] = yield from self.ask(Ask([(_PID, ())]), prepare=False)
        self.is_pooled = pid != self.pid
        if not self.is_pooled:
            yield from self.ask(Ask([own]), prepare=False)

    def listen(self, channels: Sequence[str], key: int) -> Looks[None]:
        """Ask to be notified, under a lock by this key; the names have been checked."""
        self._db.send_query_params(f"select pg_advisory_lock({key})".encode(), None)
        for channel in channels:
            self._db.send_query_params(f'listen "{channel}"'.encode(), None)
        self._db.pipeline_sync()
        yield from self._flush()
        result = yield from self._next()
        while result.status != _SYNC:
            if result.status not in (_OK, _ROWS):
                yield from self._fail(result, end=True)
            result = yield from self._next()

    def heard(self) -> list[tuple[str, str]]:
        """Read what has arrived and give the channels that were notified, and what was said.

        Raises:
            ConnectionLost: the server is gone.
        """
        try:
            self._db.consume_input()
            news = []
            while (notify := self._db.notifies()) is not None:
                news.append((notify.relname.decode(), notify.extra.decode()))
        except Error as error:
            raise ConnectionLost(str(error)) from error
        return news


def connect(conninfo: bytes) -> Looks[Wire]:
    """Open a connection.

    Raises:
        ConnectionLost: it cannot be made.
    """
    db = pq.PGconn.connect_start(conninfo)
    done = False
    try:
        while (status := db.connect_poll()) != pq.PollingStatus.OK:
            if status == pq.PollingStatus.FAILED:
                said = db.error_message.decode("utf-8", "replace")
                raise ConnectionLost(said, may_try=any(words in said for words in _SOON_BACK))
            yield Look(db.socket, writing=status == pq.PollingStatus.WRITING)
        db.nonblocking = 1
        db.enter_pipeline_mode()
        done = True
    except Error as error:
        raise ConnectionLost(str(error)) from error
    finally:
        if not done:
            db.finish()
    return Wire(db)


def _rows(result: PGresult) -> Rows:
    count = result.ntuples
    if not count:
        return []
    reader = Transformer(TYPES)
    reader.set_pgresult(result)
    return reader.load_rows(0, count, tuple)
