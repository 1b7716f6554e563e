"""The relay's own connection to the database that an outbox lies in, and its wake-up.

One relay works at a time, so that jobs keep their order. On PostgreSQL its turn is a lock of its
transaction (`outbox/queries`), on SQLite a lock on a file beside the database; a killed relay
loses either at once. Others stand by.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import sqlite3
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final, Protocol, cast

from treadle.client.connections.sqlite import SqliteAdapter
from treadle.core.errors import SettingsError, StoreUnavailable
from treadle.store.open import sqlite_path
from treadle.store.outbox.table import Outbox, Waiting
from treadle.store.postgres.engine.adapters import PsycopgAdapter
from treadle.store.statements import Adapter, Script, T, carry


class Desk(ABC):
    """A connection of the relay's own, opened when it is needed and again when it broke."""

    def __init__(self, outbox: Outbox, timeout: float) -> None:
        """Take the outbox and the longest wait for its database (s)."""
        self.outbox = outbox
        self.timeout = timeout
        self._adapter: Adapter | None = None

    def run(self, script: Script[T]) -> T:
        """Run a script to its end.

        Raises:
            StoreUnavailable: the database cannot be reached, is locked or refuses; what was not
                committed is rolled back.
        """
        try:
            if self._adapter is None:
                self._adapter = self._open()
            return carry(script, self._adapter)
        except self._errors() as error:
            raise self._broken(error) from error
        except StoreUnavailable as error:
            # An adapter's word for an error of its driver; ours says more.
            if isinstance(error.__cause__, self._errors()):
                raise self._broken(error.__cause__) from error
            raise

    def page(self) -> list[Waiting] | None:
        """Read the rows to relay next; None while another relay has the turn.

        Raises:
            StoreUnavailable: as for `run`.
        """
        return self.run(self.outbox.page(self.timeout))

    def close(self) -> None:
        """Let go of the connection; what was not committed is rolled back."""
        if self._adapter is not None:
            adapter, self._adapter = self._adapter, None
            adapter.connection.close()

    @abstractmethod
    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Wait until rows may have come, until `stop`, or so long."""

    @abstractmethod
    def _open(self) -> Adapter: ...

    @abstractmethod
    def _errors(self) -> type[Exception]: ...

    @abstractmethod
    def _is_missing(self, error: Exception) -> bool: ...

    def _broken(self, error: Exception) -> StoreUnavailable:
        """Let go of the connection; the next script opens another one."""
        self.close()
        missing = self._is_missing(error)
        advice = "; make the table with `treadle relay --migrate`" if missing else ""
        return StoreUnavailable(f"the outbox's database: {' '.join(str(error).split())}{advice}")


class SqliteDesk(Desk):
    """A connection to a SQLite file."""

    def __init__(self, outbox: Outbox, timeout: float) -> None:
        super().__init__(outbox, timeout)
        self._path = sqlite_path(outbox.url)
        self._turn: int | None = None

    def page(self) -> list[Waiting] | None:
        """Read the rows to relay next, once the turn is ours."""
        return super().page() if self._my_turn() else None

    def _my_turn(self) -> bool:
        """Take the lock of a file beside the database, which the kernel frees when we end."""
        if self._turn is None:
            name = Path(f"{self._path}-{self.outbox.table}-relay")
            try:
                file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreUnavailable(
                    f"the outbox's lock file {name}: {error.strerror}"
                ) from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                return False
            self._turn = file
        return True

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Wait: nobody tells when another connection of a file commits."""
        stop.wait(seconds)

    def close(self) -> None:
        """Let go of the connection and of the turn."""
        super().close()
        if self._turn is not None:
            os.close(self._turn)
            self._turn = None

    def _open(self) -> Adapter:
        if not self._path.exists():
            raise StoreUnavailable(
                f"the outbox's database {self._path} is not there; it is your own database, so "
                "treadle does not make it"
            )
        return SqliteAdapter(
            sqlite3.connect(
                self._path,
                timeout=self.timeout,
                isolation_level=None,
                check_same_thread=False,
            )
        )

    def _errors(self) -> type[Exception]:
        return sqlite3.Error

    def _is_missing(self, error: Exception) -> bool:
        return "no such table" in str(error)


class _Driver(Protocol):
    """What is used of psycopg."""

    Error: type[Exception]
    Connection: Any


class PostgresDesk(Desk):
    """A connection to a PostgreSQL database, on which the server also tells of new rows."""

    def __init__(self, outbox: Outbox, timeout: float) -> None:
        super().__init__(outbox, timeout)
        try:
            self._driver = cast("_Driver", importlib.import_module("psycopg"))
            target = importlib.import_module("treadle.store.postgres.engine.target")
        except ImportError as error:
            msg = f'the outbox needs a driver: pip install "treadle[postgres]" ({error})'
            raise SettingsError([msg]) from error
        self._conninfo: str = target.read_target(outbox.url, timeout).conninfo.decode()

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Wait for the server's word; behind a pooler that carries none the time runs out."""
        if self._adapter is None:
            stop.wait(seconds)
            return
        try:
            for _ in self._adapter.connection.notifies(timeout=seconds, stop_after=1):
                return
        except self._driver.Error:
            # It broke: the next script opens another one, and says so if it cannot.
            self.close()

    def _open(self) -> Adapter:
        # Nothing is prepared: behind a pooler the next transaction may meet another server process.
        connection = self._driver.Connection.connect(
            self._conninfo,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=max(2, round(self.timeout)),
        )
        connection.execute(f'listen "{self.outbox.channel}"')
        return PsycopgAdapter(connection)

    def _errors(self) -> type[Exception]:
        return self._driver.Error

    def _is_missing(self, error: Exception) -> bool:
        return getattr(error, "sqlstate", None) == _UNDEFINED_TABLE


_UNDEFINED_TABLE: Final = "42P01"


def desk_of(outbox: Outbox, timeout: float) -> Desk:
    """Make the desk of an outbox; nothing is opened.

    Raises:
        SettingsError: the driver is missing, or the URL is wrong.
    """
    return (SqliteDesk if outbox.engine == "sqlite" else PostgresDesk)(outbox, timeout)
