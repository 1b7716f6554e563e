"""The adapter of the sqlite3 module."""

from __future__ import annotations

import sqlite3
from typing import Final

from treadle.core.errors import StoreUnavailable
from treadle.store.statements import Adapter, Lent, Rows, Statement, arranged, placed

_ADVICE: Final = {
    sqlite3.SQLITE_BUSY: "; another connection writes: give yours a longer timeout",
    # sqlite.org/isolation.html: who has read may write only while nobody else has since.
    sqlite3.SQLITE_BUSY_SNAPSHOT: "; its transaction has read, and another connection has written "
    "since: roll it back and do it again, from a BEGIN IMMEDIATE on",
}


class SqliteAdapter(Adapter):
    """Runs statements on a `sqlite3.Connection`, in whatever mode its owner has set."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection: sqlite3.Connection = connection
        self.anywhere = isinstance(connection, Lent)

    @property
    def engine(self) -> str:
        """SQLite's name."""
        return "sqlite"

    def run(self, statement: Statement) -> Rows:
        """Run a statement; rows come as tuples, whatever the owner's row factory makes.

        Raises:
            StoreUnavailable: the connection cannot take it now.
        """
        text, order = placed(statement.text, "?")
        rows = [arranged(values, order) for values in statement.values]
        cursor = self.connection.cursor()
        cursor.row_factory = None
        try:
            if len(rows) == 1:
                return cursor.execute(text, rows[0]).fetchall()
            cursor.executemany(text, rows)
        except sqlite3.OperationalError as error:
            advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0), "")
            msg = f"the given connection cannot take the jobs: {error}{advice}"
            raise StoreUnavailable(msg) from error
        return ()

    def begin(self) -> None:
        """Begin, also where the module would only do so before an insert."""
        if not self.connection.in_transaction:
            self.connection.execute("begin")

    def commit(self) -> None:
        """Commit."""
        if self._leaves_ends:
            self.connection.execute("commit")
        else:
            self.connection.commit()

    def rollback(self) -> None:
        """Roll back."""
        if self._leaves_ends:
            self.connection.execute("rollback")
        else:
            self.connection.rollback()

    @property
    def _leaves_ends(self) -> bool:
        """Whether the module leaves ends to the owner: `autocommit=True`, from Python 3.12 on."""
        return getattr(self.connection, "autocommit", None) is True and (
            self.connection.in_transaction
        )
