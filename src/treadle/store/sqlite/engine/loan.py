"""A loan: one connection with the write lock, lent to a task until its function returns.

The task writes its own tables through a `TaskConnection`. It cannot end the transaction: that
is done by `commit`, together with the job's settlement, or by `rollback`. Another thread may
end it at any time with `abort`, also while the task's code goes on: each statement takes the
loan's turn, and after the end none is run any more.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, Never, TypeVar

from treadle.core.errors import StoreError, StoreUnavailable
from treadle.store.statements import Adapter, Lent, Rows, Statement, arranged, placed

T = TypeVar("T")

_PRUNE_AT: Final = 64
_COMMITTED: Final = "it was committed together with the job"


class Loan(Adapter):
    """A transaction that holds the write lock of the file."""

    anywhere = True
    refuses_ends = True

    def __init__(
        self,
        inner: sqlite3.Connection,
        take_back: Callable[[Loan], None],
        turn: Future[None],
        thread: int | None,
    ) -> None:
        """Take a connection in a write transaction, and who takes it back at the end.

        `turn` is its place in the line of those who lend, `thread` the one whose event loop the
        task runs on; None for a task in a thread.
        """
        self.inner = inner
        self.turn = turn
        self.thread = thread
        self.connection = TaskConnection(self)
        # Those that the task has made. Without callbacks: an error that is raised in this thread
        # would be lost if it struck there.
        self._cursors: list[weakref.ref[TaskCursor]] = []
        self._prune_at = _PRUNE_AT
        self._take_back = take_back
        # The same thread may come again: a function that SQL calls may use the connection.
        self._turn = threading.RLock()
        self._over: str | None = None
        self._closed = False
        inner.set_authorizer(_refuse_ends)

    @property
    def engine(self) -> str:
        """SQLite's name."""
        return "sqlite"

    @property
    def is_open(self) -> bool:
        """Whether the transaction goes on."""
        return self._over is None

    def run(self, statement: Statement) -> Rows:
        """Run a statement of the store's own.

        Raises:
            StoreError: the transaction is over.
            StoreUnavailable: the file is at fault.
        """
        text, order = placed(statement.text, "?")
        rows = [arranged(values, order) for values in statement.values]
        try:
            return self.do(self._run, text, rows)
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(f"the transaction of this job failed: {error}") from error

    def _run(self, text: str, rows: list[tuple[Any, ...]]) -> Rows:
        cursor = sqlite3.Cursor(self.inner)
        if len(rows) == 1:
            return cursor.execute(text, rows[0]).fetchall()
        cursor.executemany(text, rows)
        return ()

    def do(self, call: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 -- the call's own
        """Make a call on the connection, unless the transaction is over.

        Raises:
            StoreError: it is; says why.
        """
        with self._turn:
            self._check()
            try:
                answer = call(*args)
            except sqlite3.DatabaseError as error:
                self._check()
                if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_AUTH:
                    raise
                raise RuntimeError(_refusal("end or begin a transaction")) from error
            finally:
                # Whoever ended it while the statement ran has left the rest to this thread.
                if self._over is not None:
                    self._close()
        return answer

    def watch(self, cursor: TaskCursor) -> None:
        """Remember a cursor for as long as it lives."""
        if len(self._cursors) >= self._prune_at:
            self._cursors = [one for one in self._cursors if one() is not None]
            self._prune_at = 2 * len(self._cursors) + _PRUNE_AT
        self._cursors.append(weakref.ref(cursor))

    def begin(self) -> None:
        """Do nothing: a loan is a transaction that has begun."""

    def commit(self) -> None:
        """Commit, and give the connection back.

        Raises:
            StoreError: the transaction is over, or the file is at fault.
        """
        with self._turn:
            self._check()
            self.inner.set_authorizer(None)
            try:
                self.inner.execute("commit")
            except sqlite3.Error as error:
                raise StoreUnavailable(f"the commit of this job failed: {error}") from error
            self._over = _COMMITTED
            self._take_back(self)
            self._closed = True

    def rollback(self) -> None:
        """Roll back, and give the connection back."""
        self.abort("it was rolled back")

    def abort(self, why: str) -> bool:
        """Roll back from any thread; a statement that runs is interrupted and does it then."""
        if self._closed:
            return False
        self._over = self._over or why
        self._close()
        if not self._closed:
            with suppress(sqlite3.ProgrammingError):  # It has been closed in this very moment.
                self.inner.interrupt()
        return not self._closed

    def _check(self) -> None:
        if self._over is not None:
            raise StoreError(f"the transaction of this job is over: {self._over}")

    def _close(self) -> None:
        """Roll back and give back, unless another thread is inside a statement.

        An error raised in this thread may strike at any point of it; then it is done again.
        """
        if not self._turn.acquire(blocking=False):
            return
        try:
            if not self._closed and self._rolled_back():
                self._take_back(self)
                self._closed = True
        finally:
            self._turn.release()

    def _rolled_back(self) -> bool:
        """Roll back; False when it cannot be done yet, so that it is to be tried again.

        An interrupt lasts until no statement is under way. One whose rows nobody reads any more
        would hold it up, and the rollback itself would be interrupted: so cursors go first.
        """
        try:
            for cursor in tuple(self._cursors):
                if (alive := cursor()) is not None:
                    alive.close()
            self.inner.set_authorizer(None)
            if self.inner.in_transaction:
                self.inner.execute("rollback")
        except sqlite3.Error:
            return False
        return True


INSIDE: Final[ContextVar[Loan | None]] = ContextVar("treadle_loan", default=None)
"""The loan of the task that runs here, also after its end."""


class TaskCursor(sqlite3.Cursor):
    """A cursor on a lent connection: each step takes the loan's turn."""

    def __init__(self, connection: sqlite3.Connection, loan: Loan) -> None:
        super().__init__(connection)
        self._loan = loan
        loan.watch(self)

    def execute(self, sql: str, parameters: Any = (), /) -> TaskCursor:  # noqa: ANN401 -- sqlite3's
        """Run a statement."""
        self._loan.do(super().execute, sql, parameters)
        return self

    def executemany(self, sql: str, seq_of_parameters: Iterable[Any], /) -> TaskCursor:
        """Run a statement for each row of parameters."""
        self._loan.do(super().executemany, sql, seq_of_parameters)
        return self

    def executescript(self, sql_script: str, /) -> Never:  # noqa: ARG002 -- refused as it is
        """Refuse: sqlite3 commits before it runs a script."""
        raise RuntimeError(_refusal("run a script, which commits first"))

    def fetchone(self) -> Any:  # noqa: ANN401 -- a row is what the row factory makes
        """Read the next row."""
        return self._loan.do(super().fetchone)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Read some rows."""
        return self._loan.do(super().fetchmany, self.arraysize if size is None else size)

    def fetchall(self) -> list[Any]:
        """Read the rows that are left."""
        return self._loan.do(super().fetchall)

    def __next__(self) -> Any:  # noqa: ANN401 -- as in `fetchone`
        """Read the next row."""
        return self._loan.do(super().__next__)


class TaskConnection(Lent, sqlite3.Connection):
    """What a task writes its own tables through.

    A `sqlite3.Connection` by type, so that code which asks for one takes it; every statement
    goes to the loan's connection. What would end the transaction is refused.
    """

    def __init__(self, loan: Loan) -> None:
        """Stand for the loan; nothing of its own is opened."""
        self._loan = loan

    def cursor(self, *_: object) -> TaskCursor:  # type: ignore[override]  # one kind only
        """Make a cursor."""
        loan = self._loan
        made = loan.do(loan.inner.cursor, lambda inner: TaskCursor(inner, loan))
        assert isinstance(made, TaskCursor)
        if self.row_factory is not None:
            made.row_factory = self.row_factory
        return made

    def execute(self, sql: str, parameters: Any = (), /) -> TaskCursor:  # noqa: ANN401 -- sqlite3's
        """Run a statement."""
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> TaskCursor:
        """Run a statement for each row of parameters."""
        return self.cursor().executemany(sql, parameters)

    def create_function(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- sqlite3's own
        """Make a function of SQL, for the time of the transaction."""
        self._loan.do(lambda: self._loan.inner.create_function(*args, **kwargs))

    @property
    def in_transaction(self) -> bool:
        """Whether the transaction is still open."""
        return self._loan.is_open

    @property
    def text_factory(self) -> Any:  # noqa: ANN401 -- sqlite3's own
        """What makes a value of a text."""
        return self._loan.inner.text_factory

    @text_factory.setter
    def text_factory(self, make: Any) -> None:  # noqa: ANN401 -- sqlite3's own
        self._loan.inner.text_factory = make

    @property
    def total_changes(self) -> int:
        """How many rows the connection has changed."""
        return self._loan.inner.total_changes

    def executescript(self, sql_script: str, /) -> Never:  # noqa: ARG002 -- refused as it is
        """Refuse: sqlite3 commits before it runs a script."""
        raise RuntimeError(_refusal("run a script, which commits first"))

    def commit(self) -> Never:
        """Refuse."""
        raise RuntimeError(_refusal("commit"))

    def rollback(self) -> Never:
        """Refuse."""
        raise RuntimeError(_refusal("roll back; raise an error for that"))

    def close(self) -> Never:
        """Refuse."""
        raise RuntimeError(_refusal("be closed"))

    def __enter__(self) -> Never:
        raise RuntimeError(_refusal("be used with `with`, which commits at its end"))


def _refusal(what: str) -> str:
    return (
        f"the connection of ctx.transaction() cannot {what}: its writes are committed with the "
        "job when the task's function returns, and rolled back when it raises"
    )


def _refuse_ends(action: int, *_: object) -> int:
    """Deny what ends or begins a transaction; savepoints are free."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK
