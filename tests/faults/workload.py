"""What the workers and producers of the crash tests do: tasks that keep a ledger.

Run as a program it is one worker or one producer:

    python tests/faults/workload.py worker STORE LEDGER [--slots N] [--tiny]
    python tests/faults/workload.py producer STORE LEDGER PREFIX [ROUNDS]

Settings (lease, beat, ...) come from `TREADLE_*`; a key names each job in the ledger.
"""

import argparse
import asyncio
import ctypes
import inspect
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from treadle import (
    Breaker,
    Concurrency,
    RateLimit,
    Reject,
    Retry,
    Snooze,
    Treadle,
    Worker,
    current,
)
from treadle.core.ids import new_id
from treadle.testing.ledger import Ledger

BOUND: Final = 2
"""How many bounded jobs run at once."""
WINDOW: Final = 10
"""How many windowed jobs start in any second."""
BATCH: Final = 40
"""Jobs of one `enqueue_many` of a producer."""
LOOK_S: Final = 0.01
LOOKS_MAX: Final = 60_000


def build(
    store: str,
    ledger: Ledger,
    settings: Mapping[str, object] | None = None,
    *,
    namespace: str = "default",
) -> Treadle:
    """Make an application whose tasks write to the ledger."""
    app = Treadle(store, namespace=namespace, settings=settings)
    add_quick_tasks(app, ledger)
    add_steered_tasks(app, ledger)
    add_long_tasks(app, ledger)
    add_deadly_tasks(app, ledger)
    add_gripping_tasks(app, ledger)
    add_selling_tasks(app, ledger)
    add_bounded_tasks(app, ledger)
    return app


def add_quick_tasks(app: Treadle, ledger: Ledger) -> None:
    """Add tasks that end at once; each has a single attempt."""

    @app.task(name="touch", retry=1)
    async def touch(key: str) -> str:
        ledger.write("START", key)
        await asyncio.sleep(0)
        ledger.write("END", key)
        return key

    @app.task(name="touch_in_thread", retry=1)
    def touch_in_thread(key: str) -> str:
        ledger.write("START", key)
        ledger.write("END", key)
        return key

    @app.task(name="tiny", retry=1)
    async def tiny(key: str) -> None:
        ledger.write("START", key)
        ledger.write("END", key)


def add_steered_tasks(app: Treadle, ledger: Ledger) -> None:
    """Add tasks that fail, snooze, reject and enqueue."""
    quick = Retry(attempts=3, base=0.1, jitter=False)

    @app.task(name="flaky", retry=quick)
    def flaky(key: str) -> int:
        ledger.write("START", key)
        attempt = current().attempt
        if attempt == 1:
            raise ConnectionError(f"{key} fails the first time")
        ledger.write("END", key)
        return attempt

    @app.task(name="nap")
    async def nap(key: str, seconds: float) -> None:
        slept = any(e.word == "START" and e.key == key for e in ledger.entries())
        ledger.write("START", key)
        if not slept:
            raise Snooze(seconds)
        ledger.write("END", key)

    @app.task(name="reject")
    async def reject(key: str) -> None:
        ledger.write("START", key)
        raise Reject(f"{key} is rejected on purpose")

    @app.task(name="spawn", retry=quick)
    async def spawn(key: str) -> None:
        ledger.write("START", key)
        child = f"{key}/{new_id().hex()}"
        ledger.write("TRY", child)
        await app.aenqueue("touch", child)
        ledger.write("OK", child)
        ledger.write("END", key)


def add_long_tasks(app: Treadle, ledger: Ledger) -> None:
    """Add tasks that go on for a while, or until a file appears."""

    @app.task(name="slow")
    async def slow(key: str, seconds: float) -> None:
        ledger.write("START", key)
        current().log("begun")
        await asyncio.sleep(seconds)
        ledger.write("END", key)

    @app.task(name="stubborn", timeout=900)
    async def stubborn(key: str, file: str) -> None:
        ledger.write("START", key)
        for _ in range(LOOKS_MAX):
            if is_there(file):
                break
            await asyncio.sleep(LOOK_S)
        ledger.write("END", key)

    @app.task(name="obedient", on_cut_off="cancel", retry=Retry(attempts=3, base=0.1))
    async def obedient(key: str, file: str) -> None:
        ledger.write("START", key)
        try:
            for _ in range(LOOKS_MAX):
                if is_there(file):
                    break
                await asyncio.sleep(LOOK_S)
        finally:
            ledger.write("END", key)


def add_deadly_tasks(app: Treadle, ledger: Ledger) -> None:
    """Add tasks that take their whole process down."""

    @app.task(name="die_async", retry=1)
    async def die_async(key: str) -> None:
        ledger.write("START", key)
        os._exit(1)

    @app.task(name="die_in_thread", retry=1)
    def die_in_thread(key: str) -> None:
        ledger.write("START", key)
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # SIGKILL reaches the other threads of a process a moment later.


def add_gripping_tasks(app: Treadle, ledger: Ledger) -> None:
    """Add tasks whose C code keeps the interpreter's lock until somebody opens a pipe.

    Each attempt that is to hold it has a pipe of its own: `pipe`, a dot and the count of starts.
    """

    def grip(key: str, pipe: str) -> None:
        ledger.write("START", key)
        starts = sum(e.word == "START" and e.key == key for e in ledger.entries())
        if is_there(f"{pipe}.{starts}"):
            ctypes.PyDLL(None).open(f"{pipe}.{starts}".encode(), os.O_RDONLY)
        ledger.write("END", key)

    @app.task(name="grip", retry=1)
    async def grip_on_loop(key: str, pipe: str) -> None:
        grip(key, pipe)

    @app.task(name="grip_in_thread", retry=1)
    def grip_in_thread(key: str, pipe: str) -> None:
        grip(key, pipe)


def add_selling_tasks(app: Treadle, ledger: Ledger) -> None:
    """Add tasks that write to a table of their own, and enqueue, together with their success."""
    place = "%s" if app.settings.store.startswith("postgres") else "?"
    insert = f"insert into {sales_table(app)} values ({place})"  # noqa: S608 -- a name of ours

    @app.task(name="sell", retry=1)
    async def sell(key: str) -> None:
        ledger.write("START", key)
        async with current().transaction() as db:
            written = db.execute(insert, (key,))
            if inspect.isawaitable(written):
                await written
            await asyncio.sleep(0)
            ledger.write("TRY", f"{key}/ship")
            await app.named("tiny").using(connection=db).aenqueue(f"{key}/ship")
        ledger.write("END", key)

    @app.task(name="sell_in_thread", retry=1)
    def sell_in_thread(key: str) -> None:
        ledger.write("START", key)
        with current().transaction() as db:
            db.execute(insert, (key,))
            ledger.write("TRY", f"{key}/ship")
            app.named("tiny").using(connection=db).enqueue(f"{key}/ship")
        ledger.write("END", key)


def add_bounded_tasks(app: Treadle, ledger: Ledger) -> None:
    """Add tasks behind gates.

    Of one no more than `BOUND` may run at once, in all processes together, and of one no more than
    `WINDOW` may start in any second; one fails while there
    is a file beside the ledger, and stands behind a breaker; one has such a breaker for each host.
    """

    @app.task(name="bounded", limits=Concurrency(BOUND, name="bounded"))
    async def bounded(key: str) -> None:
        ledger.write("START", key)
        await asyncio.sleep(0.01)
        ledger.write("END", key)

    @app.task(
        name="guarded",
        retry=Retry(attempts=20, base=0.01, jitter=False),
        limits=Breaker("shop", failures=3, cool_down=0.2, on=ConnectionError),
    )
    async def guarded(key: str) -> None:
        ledger.write("START", key)
        if is_there(f"{ledger.path}.down"):
            raise ConnectionError("the shop is down")
        ledger.write("END", key)

    @app.task(
        name="windowed",
        limits=RateLimit(f"{WINDOW}/s", name="windowed", window="sliding"),
    )
    async def windowed(key: str) -> None:
        ledger.write("START", key)
        ledger.write("END", key)

    @app.task(
        name="fetch",
        retry=Retry(attempts=20, base=0.01, jitter=False),
        limits=Breaker("host", key="{host}", failures=2, cool_down=0.2, on=ConnectionError),
    )
    async def fetch(key: str, host: str) -> None:
        ledger.write("START", key)
        if is_there(f"{ledger.path}.{host}.down"):
            raise ConnectionError(f"{host} is down")
        ledger.write("END", key)


def sales_table(app: Treadle) -> str:
    """Name the table that the selling tasks write to: on a server each namespace has its own."""
    near = app.settings.store.startswith("sqlite")
    return "sales" if near else f"sales_{app.settings.namespace}"


def is_there(file: str) -> bool:
    """Tell whether a file has appeared."""
    return Path(file).exists()


def produce(store: str, ledger: Ledger, prefix: str, rounds: int) -> None:
    """Enqueue in each way there is, noting each try and each answer."""
    app = build(store, ledger)
    for n in range(rounds):
        key = f"{prefix}-{n}"
        ledger.write("TRY", key)
        app.enqueue("touch", key)
        ledger.write("OK", key)
        keys = [f"{prefix}-{n}.{i}" for i in range(BATCH)]
        ledger.write("TRY", *keys)
        app.named("touch_in_thread").enqueue_many([(one,) for one in keys])
        ledger.write("OK", *keys)
        asyncio.run(produce_at_once(app, ledger, f"{prefix}-{n}+"))
    app.close()


async def produce_at_once(app: Treadle, ledger: Ledger, prefix: str) -> None:
    """Enqueue concurrently, so that several jobs share a write."""

    async def one(key: str) -> None:
        ledger.write("TRY", key)
        await app.aenqueue("touch", key)
        ledger.write("OK", key)

    await asyncio.gather(*(one(f"{prefix}{i}") for i in range(5)))


def main() -> int:
    """Be a worker or a producer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["worker", "producer"])
    parser.add_argument("store")
    parser.add_argument("ledger", type=Path)
    parser.add_argument("prefix", nargs="?", default="p")
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--grace", type=float, default=10.0)
    said = parser.parse_args()
    # A shell that starts a background job hands down an ignored SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    ledger = Ledger(said.ledger)
    if said.role == "producer":
        produce(said.store, ledger, said.prefix, said.rounds)
        return 0
    app = build(said.store, ledger)
    return Worker(app, concurrency=said.slots, grace=said.grace).run()


if __name__ == "__main__":
    sys.exit(main())
