"""What the tests of outbox and relay share; nothing here asserts."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from treadle import Treadle
from treadle.core.ids import id_text
from treadle.store.contract import Store
from treadle.store.outbox.table import Outbox
from treadle.store.statements import Script, T
from treadle.testing.conformance.kit import Hand, worker_info
from treadle.transit.desk import Desk, desk_of
from treadle.transit.relay import Relay

WAIT_S: Final = 60.0


async def migrated(app: Treadle) -> None:
    """Make the tables of an application's store, which the application itself only opens."""
    store = app._make_store()  # noqa: SLF001 -- as above
    await store.migrate()
    await store.close()


class Shop:
    """An application with an outbox, and the database that it lies in."""

    def __init__(self, app: Treadle, url: str) -> None:
        self.app = app
        self.url = url
        assert app.outbox is not None, "the shop's application has an outbox"
        self.outbox: Outbox = app.outbox

        @app.task(name="mail")
        def mail(number: int) -> int:
            return number

        self.mail = mail

    @property
    def is_file(self) -> bool:
        """Whether the database is a SQLite file."""
        return self.outbox.engine == "sqlite"

    def make(self) -> None:
        """Make the outbox, and a table of the user's."""
        with self.connected() as db:
            db.execute("create table orders (who text)")
            db.commit()
        self.say(self.outbox.make())

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Connect as the caller does, on its schema."""
        if self.is_file:
            db: Any = sqlite3.connect(self.url.removeprefix("sqlite:///"))
        else:
            server, _, schema = self.url.partition("?schema=")
            db = psycopg.connect(server, options=f"-c search_path={schema}")
        try:
            yield db
        finally:
            db.close()

    def desk(self, timeout: float = 10.0) -> Desk:
        """Make a relay's own connection."""
        return desk_of(self.outbox, timeout)

    def say(self, script: Script[T]) -> T:
        """Run a script on a connection of its own."""
        desk = self.desk()
        try:
            return desk.run(script)
        finally:
            desk.close()

    @contextmanager
    def relay(self, store: Store | None = None) -> Iterator[Relay]:
        """Make a relay into the application's store, or into another one."""
        desk = self.desk()
        try:
            yield Relay(desk, store or self.app.store, poll=0.05)
        finally:
            desk.close()

    def stored(self) -> list[str]:
        """Give the ids of the jobs in the store, the oldest first."""
        return [job.id for job in reversed(self.app.jobs(limit=1_000))]

    def claimed(self, count: int) -> list[str]:
        """Claim jobs one by one, as a worker of one slot does; give their ids in that order."""
        return asyncio.run(_claimed(self.app.store, count))


async def _claimed(store: Store, count: int) -> list[str]:
    hand = Hand(store, worker_info("w1"))
    await hand.register()
    return [id_text(claim.id) for claim in await hand.claim(count)]
