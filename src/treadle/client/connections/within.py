"""Storing jobs inside the caller's own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.store.statements import Adapter, AsyncAdapter, Script, acarry, carry

if TYPE_CHECKING:
    from treadle.client.snapshot import Home
    from treadle.core.job import Fate, NewJob
    from treadle.store.contract import Store, Transactional


def transactional_of(store: Store, adapter: Adapter | AsyncAdapter) -> Transactional:
    """Give the transactions of a store that a connection of this engine can share.

    Raises:
        TypeError: the store has none, or is another engine's.
    """
    shared = store.transactional
    kind = type(store).__name__
    if shared is None:
        raise TypeError(
            f"connection= takes a connection to the store's own database, and this store ({kind}) "
            "has none that can be shared; leave connection= out, or name your own database in the "
            "setting outbox and run `treadle relay`"
        )
    if adapter.engine != shared.engine:
        raise TypeError(
            f"connection= is a connection to {adapter.engine} and the jobs are stored in "
            f"{shared.engine} ({kind}); give one to the store's own database, or leave it out"
        )
    return shared


def _script(
    home: Home, adapter: Adapter | AsyncAdapter, jobs: Sequence[NewJob]
) -> Script[list[Fate]]:
    """Say what is written: jobs of the store, or rows of the outbox for the relay.

    The store is not even opened for an outbox: it may be away.
    """
    if home.outbox is None:
        return transactional_of(home.link.store, adapter).enqueue(jobs)
    if adapter.engine != home.outbox.engine:
        raise TypeError(
            f"connection= is a connection to {adapter.engine} and the outbox lies in "
            f"{home.outbox.engine}; give one to the database that the setting outbox names"
        )
    return home.outbox.enqueue(jobs)


def store_within(home: Home, adapter: Adapter | AsyncAdapter, jobs: Sequence[NewJob]) -> list[Fate]:
    """Store a batch on this thread.

    Raises:
        TypeError: the connection is awaited, or of another engine.
        StoreUnavailable: it is not open on the store's own database, or cannot take the jobs.
    """
    script = _script(home, adapter, jobs)
    if isinstance(adapter, AsyncAdapter):
        raise TypeError(
            f"enqueue cannot use connection=: a {_named(adapter)} is awaited; "
            "write await task.using(connection=...).aenqueue(...)"
        )
    return carry(script, adapter)


async def astore_within(
    home: Home, adapter: Adapter | AsyncAdapter, jobs: Sequence[NewJob], verb: str
) -> list[Fate]:
    """Do the same on an event loop; `verb` is what the caller has called.

    Raises:
        TypeError: the connection blocks, or is of another engine.
    """
    if home.outbox is None:
        await home.alink()
    script = _script(home, adapter, jobs)
    if isinstance(adapter, AsyncAdapter):
        return await acarry(script, adapter)
    if not adapter.anywhere:
        raise TypeError(
            f"{verb} cannot use connection=: a {_named(adapter)} is written to on its own "
            f"thread; call {verb.removeprefix('a')} there, inside your transaction"
        )
    return carry(script, adapter)


def _named(adapter: Adapter | AsyncAdapter) -> str:
    kind = type(adapter.connection)
    return f"{kind.__module__.partition('.')[0]} {kind.__name__}"
